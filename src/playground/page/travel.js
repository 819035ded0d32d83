// What travelled where: the request, the message, the reply, the answer.

import { badge, byId, decided, el, fill, milliseconds } from "./elements.js";
import { timeline } from "./timeline.js";

const FOUND = { joined: "joined", replayed: "replayed", taken_over: "taken over" };

// As far as the play has come.
export function showPlay(play) {
  byId("hint").hidden = true;
  const last = play.tries[play.tries.length - 1];
  fill(byId("timelines"), play.tries.map((request, index) => {
    const title = play.tries.length > 1 ? `Request ${index + 1}, ${milliseconds(request.began_ms)} after the first` : "Timeline, to scale";
    const now = play.over ? 0 : play.elapsed_ms - request.began_ms;
    return timeline(request, play, now, index === 0 && play.tries.length > 1 ? "Request 1" : title);
  }));
  fill(byId("result"), play.over && last ? summary(play) : null);
  // What was opened or closed stays as it is.
  const were = new Map([...byId("exchange").querySelectorAll("details")].map((details) => [details.dataset.key, details.open]));
  fill(byId("exchange"), play.tries.map((request, index) =>
    el("div", { class: "exchange" }, cards(request, play.tries.length > 1 ? index + 1 : null))));
  for (const details of byId("exchange").querySelectorAll("details")) {
    if (were.has(details.dataset.key)) details.open = were.get(details.dataset.key);
  }
}

export function clear() {
  byId("hint").hidden = false;
  for (const id of ["timelines", "result", "exchange"]) fill(byId(id));
}

function summary(play) {
  return play.tries.map((request, index) => {
    const end = request.noted && request.noted.end;
    const [kind, words] = end && end.source !== "none" ? decided(end) : ["bad", end ? "turned away" : "no answer"];
    const found = FOUND[request.noted && request.noted.found];
    const sent = request.noted ? request.noted.messages.length : 0;
    const facts = [
      end && !request.answer ? `the bridge said ${words}` : null,
      end && (end.source === "none" ? end.reason : `from ${end.source}`),
      request.answer ? `HTTP ${request.answer.status}` : request.nothing,
      found, `${sent} message${sent === 1 ? "" : "s"} to workers`, milliseconds(request.heard_ms),
    ];
    const why = request.noted && request.noted.why;
    return el("div", { class: "line" }, play.tries.length > 1 ? el("b", {}, `${index + 1}. `) : null,
      request.answer ? badge(kind, words) : badge("bad", "not heard"),
      el("span", { class: "facts" }, facts.filter(Boolean).join(" · ")), why ? el("p", { class: "why" }, why) : null);
  });
}

function cards(request, number) {
  const of = number === null ? "" : ` ${number}`;
  const noted = request.noted;
  const found = [card(`request${of}`, `HTTP request${of}`, "caller → bridge",
    [code([request.request.line, ...lines(request.request.headers)].join("\n")), body(request.request.body)])];
  const messages = noted ? noted.messages : [];
  messages.forEach((message, index) => {
    const name = index > 0 ? `NATS message${of}, sent again` : `NATS message${of}`;
    // One that is sent again differs in its times alone.
    found.push(card(`message${of}.${index}`, name, message.result ? `bridge → worker: ${message.result}` : "bridge → worker", [
      el("p", { class: "subject" }, message.subject), code(lines(message.headers).join("\n")), body(message.payload)], index === 0));
  });
  if (noted && noted.end && messages.length === 0) {
    found.push(card(`message${of}`, `NATS message${of}`, "none was sent", [el("p", { class: "note" }, noted.why || "")]));
  }
  for (const [index, reply] of (noted ? noted.replies : []).entries()) {
    const allows = [reply.no_store ? "Cache-Control: no-store" : null,
      reply.stale_if_error_s !== null ? `Cache-Control: stale-if-error=${reply.stale_if_error_s}` : null,
      reply.service_error ? `Nats-Service-Error-Code: ${reply.service_error.code ?? "none"}` : null].filter(Boolean);
    found.push(card(`reply${of}.${index}`, `Worker's reply${of}`, reply.late ? "worker → bridge, too late" : "worker → bridge, as it came",
      [allows.length ? code(allows.join("\n")) : null, body(reply.payload)]));
  }
  if (messages.length && !noted.replies.length && noted.end) {
    found.push(card(`reply${of}`, `Worker's reply${of}`, "none came", [el("p", { class: "note" }, noted.why || "")]));
  }
  if (request.answer) {
    found.push(card(`answer${of}`, `HTTP answer${of}`, "bridge → caller",
      [code([`HTTP/1.1 ${request.answer.status}`, ...lines(request.answer.headers)].join("\n")), body(request.answer.body)]));
  } else if (request.nothing) {
    found.push(card(`answer${of}`, `HTTP answer${of}`, "none was heard", [el("p", { class: "note" }, request.nothing)]));
  }
  return found;
}

function card(key, title, way, content, open = true) {
  return el("details", { class: "card", open, "data-key": key },
    el("summary", {}, el("b", {}, title), " ", el("span", {}, way)), content);
}

const lines = (headers) => headers.map(([name, value]) => `${name}: ${value}`);

function code(text) {
  return el("pre", { tabindex: "0" }, text);
}

function body(part) {
  if (!part) return el("p", { class: "note" }, "Its body is not kept.");
  if (part.bytes === 0) return el("p", { class: "note" }, "No body.");
  const cut = part.bytes > 65536 ? `\n… ${part.bytes} bytes in all` : "";
  return el("pre", { class: "body", tabindex: "0" }, part.text + cut);
}
