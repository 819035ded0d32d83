// What the person sees: the form, and what becomes of it.

import { added, isKept, labelOf, read, shown, typed } from "./claims.js";
import { byId, el, fill, seconds } from "./elements.js";

const CALLED = "Connector";

const WORDS = {
  "after-federation": {
    steps: ["Identity provider", CALLED, "Form", "Account"],
    heading: "Signed in at your identity provider",
    text: "It sent these claims. The form comes next.", button: "Continue",
  },
  "before-create": {
    steps: ["Sign in", "Form", CALLED, "Account"],
    heading: "Create your account", text: "Tell us about you.", button: "Create account",
  },
  "before-token": {
    steps: ["Sign in", CALLED, "Token"],
    heading: "Sign in", text: "You are known. The token is about to be issued.", button: "Sign in",
  },
  custom: {
    steps: ["Policy begins", CALLED, "Policy goes on"],
    heading: "One more step", text: "A custom policy asks the connector.", button: "Continue",
  },
};

const wordsOf = (connector) => WORDS[connector.step] || WORDS.custom;

export function showSteps(connector, at) {
  const { steps } = wordsOf(connector);
  const called = steps.indexOf(CALLED);
  const now = at === "before" ? called - 1 : at === "during" ? called : called + 1;
  fill(byId("steps"), steps.map((step, index) =>
    el("li", { class: index < now ? "done" : index === now ? "now" : null, "aria-current": index === now ? "step" : null }, step)));
}

// The form, with a message where there is one. `typing` is told what is typed; `send` sends.
export function showForm(connector, text, { typing, send, message }) {
  const { heading, text: line, button } = wordsOf(connector);
  const { members } = read(text);
  const fields = members ? typed(members) : [];
  const is_locked = fields.length > 0 && !isKept(text);
  const others = members ? added(members) : [];
  const form = el("form", { novalidate: true, autocomplete: "off", on: { submit: (event) => { event.preventDefault(); send(); } } },
    el("h3", {}, heading),
    el("p", { class: "lead" }, line),
    message ? el("p", { class: "message", role: "alert" }, message) : null,
    fields.map(([name, value], index) => {
      const id = `attribute-${index}`;
      const input = el("input", { id, type: "text", autocomplete: "off", spellcheck: "false", readonly: is_locked, "data-claim": name,
        on: { input: () => typing(name, input.value) } });
      input.value = String(value);
      return el("div", { class: "field" }, el("label", { for: id }, labelOf(name)), input);
    }),
    is_locked ? el("p", { class: "note" }, "Edit these claims as JSON: the form would change more of them than what is typed.") : null,
    members ? null : el("p", { class: "lead" }, "The claims are not one JSON object, so there is no form."),
    others.length ? el("p", { class: "note" }, `The caller adds: ${others.join(", ")}.`) : null,
    el("button", { type: "submit", class: "main", id: "send" }, button));
  fill(byId("screen"), form);
  showSteps(connector, "before");
  // A message at the form is an alert of its own.
  say("");
}

// For who does not see the screen. Said once, however often the screen is drawn.
function say(text) {
  if (byId("spoken").textContent !== text) byId("spoken").textContent = text;
}

// Whoever sends is led to its heading, which says it to who does not see it.
export function showWaiting(connector, elapsed) {
  const screen = byId("screen");
  let counter = screen.querySelector(".elapsed");
  if (!counter) {
    counter = el("p", { class: "elapsed" });
    fill(screen, el("div", { class: "waiting" }, el("div", { class: "spinner", "aria-hidden": "true" }),
      el("h3", { id: "waiting", tabindex: "-1" }, "Please wait…"), counter));
    showSteps(connector, "during");
  }
  counter.textContent = `${(elapsed / 1000).toFixed(1)} s of the ${seconds(connector.caller_waits_ms)} that the caller waits`;
}

// What became of it. `back` leads to the form again.
export function showSeen(connector, seen, sent, back, overwrites) {
  const again = (text) => el("button", { type: "button", class: "plain", id: "again", on: { click: back } }, text);
  const screen = byId("screen");
  // Who is turned away comes no further.
  showSteps(connector, seen.kind === "continue" ? "after" : "during");
  if (seen.kind === "block") {
    fill(screen, el("div", { class: "page block" }, sign("stop", "!"), el("h3", {}, "You cannot sign up"),
      el("p", { class: "message-text" }, seen.message), again("Start over")));
  } else if (seen.kind === "error") {
    fill(screen, el("div", { class: "page error" }, sign("bad", "×"), el("h3", {}, "Something went wrong"),
      el("p", {}, "The caller shows an error page of its own, in its own words."),
      el("dl", {}, el("dt", {}, "What it would log"), el("dd", { class: "log" }, seen.log)), again("Start over")));
  } else {
    const page = goesOn(connector, seen, sent, overwrites);
    page.append(again("Start over"));
    fill(screen, page);
  }
  say(spoken(screen));
}

// What stands on a screen, as sentences: its heading, its text, and how much the worker has changed.
function spoken(screen) {
  const sentences = [...screen.querySelectorAll("h3, p")].map((part) => part.textContent);
  for (const [found, what] of [["input.filled", "filled in"], ["dd.overwritten", "overwritten"], ["dd.added", "added"]]) {
    const count = screen.querySelectorAll(found).length;
    if (count) sentences.push(`${count} ${count === 1 ? "field" : "fields"} ${what}`);
  }
  return sentences.map((sentence) => (/[.!?]$/.test(sentence) ? sentence : `${sentence}.`)).join(" ");
}

function sign(kind, text) {
  return el("div", { class: `sign ${kind}`, "aria-hidden": "true" }, text);
}

function goesOn(connector, seen, sent, overwrites) {
  const before = read(sent).members || {};
  const returned = new Map(seen.claims.map(([name, raw]) => [name, shown(raw)]));
  if (connector.step === "after-federation") return prefilled(before, returned);
  const heading = { "before-create": "Account created", "before-token": "Signed in" }[connector.step] || "The policy goes on";
  const rows = [];
  if (overwrites && connector.step === "before-create") {
    for (const [name, value] of typed(before)) {
      const now = returned.get(name);
      const is_other = now !== undefined && now !== String(value);
      rows.push(row(name, is_other ? now : String(value), is_other ? "overwritten" : null, is_other ? String(value) : null));
      returned.delete(name);
    }
  }
  for (const [name, value] of returned) rows.push(row(name, value, "added", null));
  const what = connector.step === "before-token" ? "Claims that go into the token" : "Claims that the person has now";
  return el("div", { class: "page" }, sign("good", "✓"), el("h3", {}, heading),
    rows.length ? el("dl", { class: "attributes", "aria-label": what }, rows) : el("p", {}, "No claim came back."));
}

function row(name, value, change, before) {
  return [el("dt", {}, labelOf(name)),
    el("dd", { class: change }, before === null ? null : el("s", {}, before), before === null ? null : " ", el("span", {}, value),
      change ? el("small", {}, change === "added" ? "added by the worker" : "overwritten by the worker") : null)];
}

function prefilled(before, returned) {
  const values = new Map(typed(before).map(([name, value]) => [name, String(value)]));
  const fields = new Set([...values.keys(), ...returned.keys()]);
  return el("div", { class: "page form" }, el("h3", {}, "Create your account"),
    el("p", { class: "lead" }, returned.size ? "The worker has filled in what is marked." : "Nothing was filled in."),
    [...fields].map((name, index) => {
      const [id, is_new] = [`prefilled-${index}`, returned.has(name)];
      const input = el("input", { id, type: "text", readonly: true, class: is_new ? "filled" : null, "data-claim": name });
      input.value = is_new ? returned.get(name) : values.get(name);
      return el("div", { class: "field" }, el("label", { for: id }, labelOf(name), is_new ? el("small", {}, " filled in") : null), input);
    }));
}
