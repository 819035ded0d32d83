/** Words that stay small inside a name, and belong to the surname. */
const PARTICLES = new Set(["af", "da", "de", "del", "den", "der", "di", "do", "dos", "du", "la", "le", "van", "von", "zu"]);

export interface FullName {
  readonly given: string;
  readonly surname: string;
}

/** One way to write the same characters, and one space between words. */
export function tidyText(text: string): string {
  return text.normalize("NFC").replace(/\s+/gu, " ").trim();
}

/**
 * A surname as its bearer would write it on a good day. Only words without a mixture of upper and
 * lower case are changed: who types "McDonald" means it.
 */
export function tidySurname(name: string): string {
  return tidyText(name)
    .split(" ")
    .map((word) => (PARTICLES.has(word.toLowerCase()) ? keepSmall(word) : capitalise(word)))
    .join(" ");
}

/** The same for other names, which always begin with a capital letter. */
export function tidyName(name: string): string {
  const [first = "", ...rest] = tidySurname(name).split(" ");
  return [capitalise(first), ...rest].join(" ");
}

/**
 * "Ludwig van Beethoven" and "van Beethoven, Ludwig" are the same two parts. Undefined where nothing
 * says which part is which: then it is better not to guess.
 */
export function splitName(name: string): FullName | undefined {
  const parts = name.split(",").map((part) => part.trim());
  const [first = "", second = ""] = parts;
  if (parts.length === 2 && first !== "" && second !== "") {
    return { given: second, surname: first };
  }
  const words = name.split(" ");
  if (parts.length > 1 || words.length < 2) {
    return undefined;
  }
  let begin = words.length - 1;
  while (begin > 0 && PARTICLES.has(words[begin - 1] ?? "")) {
    begin -= 1;
  }
  if (begin === 0) {
    return undefined;
  }
  return { given: words.slice(0, begin).join(" "), surname: words.slice(begin).join(" ") };
}

/** "VAN" and "van" are small; "Van" may be meant. */
function keepSmall(word: string): string {
  return isMixed(word) ? word : word.toLowerCase();
}

/** Each part of a double name by itself. */
function capitalise(word: string): string {
  return word.replace(/[\p{L}\p{M}]+/gu, (part) => (isMixed(part) ? part : upperFirst(lower(part))));
}

/** The Turkish "İ" would leave its dot behind. */
function lower(part: string): string {
  return part.toLowerCase().replaceAll("i\u0307", "i");
}

function upperFirst(part: string): string {
  const [first = "", ...rest] = part;
  return first.toUpperCase() + rest.join("");
}

function isMixed(word: string): boolean {
  return word !== word.toLowerCase() && word !== word.toUpperCase();
}
