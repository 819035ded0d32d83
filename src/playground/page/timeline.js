// A request's way through time, drawn to scale: the whole time that the caller waits, and below it
// the part in which something happened.

import { el, milliseconds, seconds } from "./elements.js";

// Points that are nearer to each other than this share of the scale are not numbered twice.
const NEAR = 0.055;

// All that happened, in its order. `at` is milliseconds since the caller began.
export function points(request) {
  const noted = request.noted;
  const found = [{ at: 0, lane: "caller", name: "Caller connects" }];
  if (noted) {
    found.push({ at: noted.arrived_ms, lane: "bridge", name: "First byte received" });
    if (noted.authenticated_ms !== null) found.push({ at: noted.authenticated_ms, lane: "bridge", name: "Authenticated" });
    if (noted.read_ms !== null) found.push({ at: noted.read_ms, lane: "bridge", name: "Whole body read" });
    for (const message of noted.messages) found.push({ at: message.at_ms, lane: "worker", name: "Sent to NATS" });
    for (const reply of noted.replies) {
      found.push({ at: reply.at_ms, lane: "worker", name: reply.late ? "Reply, too late" : "Worker's reply" });
    }
    if (noted.answered_ms !== null) {
      const is_refused = noted.end.source === "none";
      found.push({ at: noted.answered_ms, lane: "bridge", name: is_refused ? "Turned away" : "Answered" });
    }
  }
  if (request.heard_ms !== null) {
    found.push({ at: request.heard_ms, lane: "caller", name: request.answer ? "Caller has the answer" : "Caller gives up" });
  }
  return found.sort((one, other) => one.at - other.at);
}

export function timeline(request, { deadline_ms, caller_waits_ms }, now, title) {
  const all = points(request).map((point, index) => ({ ...point, number: index + 1 }));
  const deadline = request.noted ? request.noted.arrived_ms + deadline_ms : null;
  const last = all[all.length - 1].at;
  const end = request.heard_ms === null ? Math.max(now, last) : last;
  const whole = Math.max(caller_waits_ms, end) * 1.02;
  const part = Math.max(end, 0.5) * 1.04;
  return el("figure", { class: "timeline" },
    el("figcaption", {}, title),
    overview(whole, part, request.heard_ms ?? end, deadline, caller_waits_ms),
    lanes(request, all, part, end, deadline),
    el("ol", { class: "points" }, all.map((point) =>
      el("li", { class: point.lane }, el("span", { class: "at" }, milliseconds(point.at)), " ", point.name))));
}

function place(element, from, to, scale) {
  element.style.left = `${(100 * from) / scale}%`;
  if (to !== null) element.style.width = `${(100 * Math.max(to - from, 0)) / scale}%`;
  return element;
}

function overview(whole, part, used, deadline, waits) {
  const text = `Of the ${seconds(waits)} that the caller waits, ${milliseconds(used)} are used.`;
  // A label stays within the drawing: beyond its middle it stands on the left of its line.
  const mark = (at, kind, label) => place(el("div", { class: `mark ${kind}${at > whole / 2 ? " beyond" : ""}` }, el("span", {}, label)), at, null, whole);
  return el("div", { class: "overview", role: "img", "aria-label": text },
    el("div", { class: "track" }, place(el("div", { class: "used" }), 0, Math.min(used, whole), whole),
      part < whole * 0.6 ? place(el("div", { class: "lens" }), 0, part, whole) : null),
    mark(0, "start", "0"),
    deadline === null ? null : mark(deadline, "deadline", `deadline ${milliseconds(deadline)}`),
    mark(waits, "limit", `caller's limit ${seconds(waits)}`));
}

function lanes(request, all, part, end, deadline) {
  const noted = request.noted;
  const bars = { caller: [[0, request.heard_ms ?? end]], bridge: [], worker: [] };
  if (noted) {
    bars.bridge.push([noted.arrived_ms, noted.answered_ms ?? end]);
    for (const message of noted.messages) bars.worker.push([message.at_ms, message.ended_ms ?? end]);
  }
  const names = { caller: "Caller", bridge: "Bridge", worker: "NATS and worker" };
  const text = `The first ${milliseconds(part)} in detail; the list below has every point.`;
  return el("div", { class: "lanes", role: "img", "aria-label": text },
    Object.entries(names).map(([lane, name]) => el("div", { class: `lane ${lane}` }, el("span", { class: "name" }, name),
      el("div", { class: "track" }, bars[lane].map(([from, to]) => place(el("div", { class: "bar" }), from, to, part)),
        numbers(all.filter((point) => point.lane === lane), part)))),
    el("div", { class: "scale" }, el("div", { class: "track" },
      [0, 0.25, 0.5, 0.75, 1].map((share) => place(el("span", {}, milliseconds((part * share) / 1.04)), (part * share) / 1.04, null, part)),
      deadline !== null && deadline <= part ? place(el("div", { class: "mark deadline" }), deadline, null, part) : null)));
}

function numbers(found, scale) {
  let before = -Infinity;
  return found.map((point) => {
    const is_near = point.at - before < NEAR * scale;
    if (!is_near) before = point.at;
    return place(el("i", { class: is_near ? "tick" : "dot" }, is_near ? "" : String(point.number)), point.at, null, scale);
  });
}
