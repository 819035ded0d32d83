// The claims as text, and what can be typed of them in a form. The text is what is sent, byte for
// byte; the form only writes into it, where that changes nothing else.

const LABELS = new Map(Object.entries({
  email: "Email address", displayName: "Display name", givenName: "Given name", surname: "Surname",
  jobTitle: "Job title", streetAddress: "Street address", city: "City", state: "State or province",
  postalCode: "Postal code", country: "Country or region", loyaltyNumber: "Loyalty number",
}));

// What callers add on their own: no person types it.
const ADDED = new Set(["ui_locales", "step", "client_id", "clientId", "objectId", "identities", "correlationId"]);

export function labelOf(name) {
  const extension = /^extension_(?:[0-9a-fA-F]{32}_)?(.+)$/.exec(name);
  return LABELS.get(name) || (extension ? extension[1] : name);
}

// The members of the one object, or what is wrong with the text.
export function read(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { fault: `This is not JSON: ${error.message}.` };
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    const what = value === null ? "null" : Array.isArray(value) ? "a list" : `a ${typeof value}`;
    return { fault: `The claims must be one JSON object like {"email": "you@example.com"}; this is ${what}.` };
  }
  return { members: value };
}

// With line breaks, where that changes nothing: two keys of one name would become one.
export function spread(text) {
  const { members } = read(text);
  return members && JSON.stringify(members) === text ? JSON.stringify(members, null, 2) : text;
}

// Whether the text says no more than a parser keeps of it, spaces aside: digits of a long number, a
// key that stands twice or an escape would be lost by writing the claims anew.
export function isKept(text) {
  const { members } = read(text);
  const dense = text.replace(/("(?:[^"\\]|\\.)*")|\s+/g, "$1");
  return members !== undefined && JSON.stringify(members) === dense;
}

// What the person can type: everything but what callers add, and what is no plain value.
export function typed(members) {
  return Object.entries(members).filter(([name, value]) => !ADDED.has(name) && typeof value !== "object");
}

export function added(members) {
  return Object.keys(members).filter((name) => ADDED.has(name) || typeof members[name] === "object");
}

// The text with another value for one claim. A value that is no text stays what it is, if it can.
export function written(text, name, typedText) {
  const { members } = read(text);
  if (!members) return text;
  const before = members[name];
  let value = typedText;
  if (typeof before === "number" && typedText.trim() !== "" && Number.isFinite(Number(typedText))) {
    value = Number(typedText);
  } else if (typeof before === "boolean" && /^(true|false)$/.test(typedText)) {
    value = typedText === "true";
  }
  return JSON.stringify({ ...members, [name]: value }, null, 2);
}

// A claim that came back, as a person would read it. `raw` is JSON.
export function shown(raw) {
  try {
    const value = JSON.parse(raw);
    return typeof value === "string" ? value : raw;
  } catch {
    return raw;
  }
}
