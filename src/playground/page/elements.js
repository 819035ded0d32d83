// Makes elements. Text goes in as text only: there is no way here from a text to markup.

export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...there(children));
  return element;
}

// Lists of children may hold lists, and holes.
function there(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined);
}

export function byId(id) {
  return document.getElementById(id);
}

export function fill(element, ...children) {
  element.replaceChildren(...there(children));
}

// A status for eyes that see colours, and in words for all.
export function badge(kind, text) {
  return el("span", { class: `badge ${kind}` }, text);
}

export function milliseconds(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 10) return `${ms.toFixed(2)} ms`;
  if (ms < 1000) return `${ms.toFixed(0)} ms`;
  return `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
}

export function seconds(ms) {
  return `${ms / 1000} s`;
}

// What was decided, in a word or two, and how good that is.
const ACTIONS = {
  continue: ["good", "continue"],
  show_block_page: ["stop", "block page"],
  validation_error: ["stop", "message at the form"],
  none: ["bad", "no decision"],
};

// What the person has instead, by the HTTP status that said it: a step without such an answer gets
// an error, and a custom policy knows messages alone.
const SHOWN_AS = new Map([[503, ["bad", "an error page"]], [409, ["stop", "a message at the form"]]]);

// What was decided, and what the person has of it where that is something else.
export function decided({ action, status }) {
  const [kind, words] = ACTIONS[action];
  const [shown_kind, shown] = SHOWN_AS.get(status) || [kind, words];
  return action === "none" || shown.endsWith(words) ? [kind, words] : [shown_kind, `${words}, shown as ${shown}`];
}
