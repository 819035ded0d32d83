// Puts the page together: what is chosen, what is played, what goes on.

import { read, spread, written } from "./claims.js";
import { byId, el, fill } from "./elements.js";
import { showFaults } from "./faults.js";
import { offerFilters, showCalls, showNoState, showState } from "./live.js";
import { showForm, showSeen, showWaiting } from "./person.js";
import * as server from "./server.js";
import { clear, showPlay } from "./travel.js";

const LIVE_EVERY_MS = 1000;
const LOOK_EVERY_MS = 120;
// So long is looked for a reply that comes too late.
const LATE_LOOKS = 12;
const TIMES = {
  give_up: ["gives up after (s)", 0.5],
  retry: ["closes after (s)", 0.5],
  slow: ["body takes (s)", 2],
};

const troubles = new Map();

let connectors = [];
let playing = 0;
let is_under_way = false;

const chosen = () => connectors.find(({ name }) => name === byId("connector").value);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// What is wrong with one thing, until that same thing succeeds. Not said anew every second.
function trouble(what, error) {
  if (error) troubles.set(what, `${what}: ${error.message}.`);
  else troubles.delete(what);
  const text = [...troubles.values()].join(" ");
  if (byId("trouble").textContent !== text) byId("trouble").textContent = text;
  byId("trouble").hidden = !text;
}

const away = (error) => trouble("The playground's server does not answer", error);
const stuck = (error) => trouble("The switch was not turned", error);

function options(select, values) {
  fill(select, values.map(([value, text]) => el("option", { value }, text)));
}

function chooseConnector() {
  const connector = chosen();
  options(byId("sample"), connector.samples.map(({ name }, index) => [index, name]));
  const { basic, api_key, certificate_only } = connector.shows;
  const notes = [`${connector.protocol}, ${connector.step}: POST /connectors/${connector.name}, then NATS subject ${connector.subject}.`];
  if (certificate_only) notes.push("This connector wants a client certificate, whose key only the caller has: the playground cannot show one, and the bridge will turn it away.");
  else if (!basic) notes.push("This connector lets everyone call.");
  if (api_key) notes.push("A key goes into the URL, which this page never sees.");
  byId("setup-note").textContent = notes.join(" ");
  byId("credentials").querySelector("[value=wrong]").disabled = !basic;
  chooseSample();
}

function chooseSample() {
  const sample = chosen().samples[byId("sample").value];
  byId("claims").value = spread(sample.claims);
  byId("credentials").value = chosen().shows.basic || sample.credentials === "right" ? sample.credentials : "none";
  start();
}

function chooseManner() {
  const time = TIMES[byId("manner").value];
  byId("time-field").hidden = !time;
  if (time) {
    byId("time-field").querySelector("label").textContent = time[0];
    byId("time").value = time[1];
  }
}

// The form again, and nothing played.
function start() {
  playing += 1;
  is_under_way = false;
  clear();
  check();
  form();
}

// Whether the keyboard is with the person's screen, or nowhere: only then may a new screen take it.
function isFocusHere() {
  const focused = document.activeElement;
  return !focused || focused === document.body || byId("screen").contains(focused);
}

function form(message) {
  showForm(chosen(), byId("claims").value, { message, send, typing: (name, value) => {
    byId("claims").value = written(byId("claims").value, name, value);
    check();
  } });
}

// Whether something may still be noted of a request: its end, or a reply that comes too late.
function isAwaited({ noted }) {
  return noted && (!noted.end || noted.messages.length > noted.replies.length);
}

// Says at the field what is wrong with the claims, if anything is.
function check() {
  const { fault } = read(byId("claims").value);
  byId("claims-fault").textContent = fault || "";
  byId("claims").setAttribute("aria-invalid", fault ? "true" : "false");
  byId("claims").rows = Math.min(Math.max(byId("claims").value.split("\n").length, 5), 16);
  return !fault;
}

async function send() {
  if (!check()) {
    byId("claims").focus();
    return;
  }
  playing += 1;
  is_under_way = true;
  const own = playing;
  const [connector, sent] = [chosen(), byId("claims").value];
  const ms = Math.round(Number(byId("time").value || 0) * 1000);
  const wanted = { connector: connector.name, claims: sent, manner: byId("manner").value, ms: Math.min(Math.max(ms, 0), 30000), credentials: byId("credentials").value };
  clear();
  showWaiting(connector, 0);
  // The button that had the focus is gone.
  byId("waiting").focus({ preventScroll: true });
  try {
    const { token } = await server.play(wanted);
    let shown = "";
    for (let looks = 0; looks < LATE_LOOKS; ) {
      const play = await server.look(token);
      if (own !== playing) return;
      const now = JSON.stringify(play.tries);
      if (!play.over || now !== shown) showPlay(play);
      shown = now;
      if (!play.over) {
        showWaiting(connector, play.elapsed_ms);
        await pause(LOOK_EVERY_MS);
        continue;
      }
      if (looks === 0) finish(connector, play, sent);
      if (!play.tries.some(isAwaited)) return;
      looks += 1;
      await pause(LIVE_EVERY_MS);
    }
  } catch (error) {
    // Where the end is there, only the look for a late reply has failed.
    if (own !== playing || !is_under_way) return;
    is_under_way = false;
    const is_here = isFocusHere();
    form();
    if (is_here) byId("send").focus({ preventScroll: true });
    fill(byId("result"), el("p", { class: "fault" }, `It could not be played: ${error.message}.`));
  }
}

function finish(connector, play, sent) {
  is_under_way = false;
  const is_here = isFocusHere();
  if (play.seen.kind === "validation") {
    form(play.seen.message);
    if (is_here) byId("screen").querySelector("input, button").focus();
    return;
  }
  const back = () => {
    start();
    byId("screen").querySelector("input, button").focus();
  };
  showSeen(connector, play.seen, sent, back, play.overwrites_form);
  if (is_here) byId("again").focus({ preventScroll: true });
  refresh();
}

async function refresh() {
  try {
    if (!connectors.length) begin(await server.about());
    const { status, calls, faults } = await server.live();
    showState(status, byId("connector").value);
    showCalls(calls);
    showFaults(faults, stuck);
    away(null);
  } catch (error) {
    showNoState();
    away(error);
  }
}

async function follow() {
  for (;;) {
    if (!document.hidden) await refresh();
    await pause(LIVE_EVERY_MS);
  }
}

function begin(about) {
  connectors = about.connectors;
  byId("version").textContent = `Version ${about.version}.`;
  options(byId("connector"), connectors.map(({ name }) => [name, name]));
  const first = connectors.find(({ samples }) => samples.length > 1) || connectors[0];
  byId("connector").value = first.name;
  byId("connector").addEventListener("change", chooseConnector);
  byId("sample").addEventListener("change", chooseSample);
  byId("manner").addEventListener("change", chooseManner);
  byId("claims").addEventListener("input", () => {
    check();
    if (!is_under_way) form();
  });
  offerFilters(connectors);
  chooseConnector();
}

follow();
