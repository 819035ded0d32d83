// The demo's switches: what is broken on purpose.

import { byId, el, fill } from "./elements.js";
import { setFaults } from "./server.js";

const SWITCHES = [
  ["worker", "The worker", [["none", "works"], ["slow", "is too slow"], ["silent", "keeps silent"], ["wrong", "replies nonsense"], ["gone", "is gone"]]],
  ["nats", "NATS", [["none", "runs"], ["stopped", "is stopped"]]],
];

let faults = null;

// Shows the switches as they stand; there are none outside of the demo.
export function showFaults(now, failed) {
  byId("faults").hidden = !now;
  if (!now || JSON.stringify(now) === JSON.stringify(faults)) return;
  faults = now;
  if (!byId("switches").childElementCount) fill(byId("switches"), SWITCHES.map((one) => group(one, failed)));
  draw();
}

function draw() {
  for (const [name] of SWITCHES) {
    const input = byId(`${name}-${faults[name]}`);
    if (input) input.checked = true;
  }
  const is_broken = SWITCHES.some(([name]) => faults[name] !== "none");
  byId("faults").classList.toggle("broken", is_broken);
}

// `failed` is told what went wrong with a switch, and with nothing once one was turned.
function group([name, title, choices], failed) {
  const change = async (event) => {
    try {
      showFaults((await setFaults({ ...faults, [name]: event.target.value })).faults, failed);
      failed(null);
    } catch (error) {
      // The switches stand as they do at the server, not as they were clicked.
      draw();
      failed(error);
    }
  };
  return el("fieldset", {}, el("legend", {}, title), choices.map(([value, words]) => {
    const id = `${name}-${value}`;
    return el("div", { class: "choice" }, el("input", { type: "radio", name, id, value, on: { change } }), el("label", { for: id }, words));
  }));
}
