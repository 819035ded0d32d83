// What goes on at the bridge: its state, and the last calls, of whomever.

import { badge, byId, decided, el, fill, seconds } from "./elements.js";

let calls = [];

export function showState(status, chosen) {
  const nats = status.nats.connected ? ["good", `NATS ${status.nats.server_version || ""}`.trim()] : ["bad", "NATS is away"];
  const items = [nats];
  const lane = status.connectors[chosen];
  if (lane) {
    items.push(workers(lane.workers_available));
    items.push(lane.breaker === "open" ? ["bad", "breaker open"] : ["good", "breaker closed"]);
  }
  if (status.store) items.push(status.store.available ? ["good", "store"] : ["bad", "store is away"]);
  if (status.nats.missing_rights && status.nats.missing_rights.length) items.push(["bad", "NATS rights are missing"]);
  if (status.state !== "running") items.push(["bad", `bridge is ${status.state}`]);
  strip(items);
  update(byId("connectors"), Object.entries(status.connectors).map(([name, lane]) => el("tr", {},
    el("th", { scope: "row" }, name), el("td", {}, `${lane.protocol}, ${lane.step}`), el("td", {}, badge(...workers(lane.workers_available))),
    el("td", {}, badge(lane.breaker === "open" ? "bad" : "good", lane.breaker)), el("td", {}, String(lane.in_flight)),
    el("td", {}, lane.cached_decisions === null ? "no cache" : String(lane.cached_decisions)),
    el("td", {}, seconds(lane.deadline_seconds * 1000)), el("td", {}, seconds(lane.caller_timeout_seconds * 1000)))));
}

// While the bridge cannot be asked, its last state is no longer what it is.
export function showNoState() {
  strip(["NATS", "workers", "breaker"].map((what) => ["quiet", `${what} not known`]));
}

function strip(items) {
  update(byId("strip"), items.map(([kind, text]) => el("li", {}, badge(kind, text))));
}

function workers(count) {
  if (count < 0) return ["quiet", "workers not known"];
  return count === 0 ? ["bad", "no worker"] : ["good", `${count} worker${count === 1 ? "" : "s"}`];
}

// Only where something has changed: a reader's place in a table is not lost every second.
function update(element, children) {
  const next = el("div", {}, children);
  if (next.textContent !== element.textContent || next.childElementCount !== element.childElementCount) fill(element, children);
}

export function showCalls(last) {
  calls = last;
  draw();
}

export function offerFilters(connectors) {
  byId("filter-connector").append(...connectors.map(({ name }) => el("option", { value: name }, name)));
  byId("filter-connector").addEventListener("change", draw);
  byId("filter-outcome").addEventListener("change", draw);
}

function fits(call) {
  const [connector, outcome] = [byId("filter-connector").value, byId("filter-outcome").value];
  if (connector && call.connector !== connector) return false;
  if (!outcome) return true;
  if (!call.end) return false;
  const is_refused = call.end.source === "none";
  if (outcome === "refused") return is_refused;
  if (outcome === "fallback") return !is_refused && call.end.reason !== null;
  return !is_refused && call.end.action === outcome;
}

function draw() {
  const shown = calls.filter(fits);
  byId("no-calls").hidden = shown.length > 0;
  byId("no-calls").textContent = calls.length ? "No call fits the filter." : "No call yet. Calls of others appear here too, without the values of their claims.";
  update(byId("calls"), shown.map(row));
}

function row(call) {
  const time = new Date(call.at_ms);
  return el("tr", {}, el("td", {}, el("time", { datetime: time.toISOString() }, time.toTimeString().slice(0, 8))),
    el("th", { scope: "row" }, call.connector), el("td", {}, outcome(call)),
    el("td", {}, from(call)), el("td", {}, call.end ? String(call.end.status) : "–"),
    el("td", { class: "number" }, call.ms === null ? "–" : call.ms.toFixed(call.ms < 10 ? 1 : 0)),
    el("td", { class: "masked" }, call.claims ? call.claims.map((name) => `${name}: •••`).join(", ") : ""),
    el("td", { class: "because" }, [call.why, call.late_reply ? "A reply came late." : null].filter(Boolean).join(" ")));
}

function outcome(call) {
  if (!call.end) return badge("quiet", call.state === "left" ? "left" : "under way");
  if (call.end.source === "none") return badge("bad", "turned away");
  return badge(...decided(call.end));
}

function from(call) {
  if (!call.end || call.end.source === "none") return "–";
  return call.found === "joined" ? `${call.end.source}, joined` : call.end.source;
}
