import { parsePhoneNumberFromString } from "libphonenumber-js";

import { countryCode } from "./country.js";
import { splitName, tidyName, tidySurname, tidyText } from "./names.js";

/** What the caller posts: one JSON object. Any claim may be missing. */
export type Claims = Readonly<Record<string, unknown>>;

/** Names of people and places, and other texts. */
const NAMES = ["givenName", "city"];
const TEXTS = ["jobTitle", "streetAddress", "state", "postalCode"];

/**
 * The claims that should replace what was typed: only those that come out otherwise. What is not
 * understood stays as it is, since tidying is no reason to keep anybody out.
 */
export function overwrite(claims: Claims, phoneAttribute: string): Record<string, string> {
  const tidied = {
    ...each(claims, NAMES, tidyName),
    ...each(claims, ["surname"], tidySurname),
    ...each(claims, TEXTS, tidyText),
    ...fullName(claims),
    ...placeAndPhone(claims, phoneAttribute),
  };
  return Object.fromEntries(Object.entries(tidied).filter(([name, value]) => value !== "" && value !== claims[name]));
}

/** A claim's text; undefined where it is missing, blank or something else. */
function textOf(claims: Claims, name: string): string | undefined {
  const value = claims[name];
  return typeof value === "string" && value.trim() !== "" ? value : undefined;
}

function each(claims: Claims, names: readonly string[], tidy: (text: string) => string): Record<string, string> {
  return Object.fromEntries(
    names.flatMap((name) => {
      const text = textOf(claims, name);
      return text === undefined ? [] : [[name, tidy(text)]];
    }),
  );
}

/** The display name, and given name and surname out of it where the person typed neither. */
function fullName(claims: Claims): Record<string, string> {
  const typed = textOf(claims, "displayName");
  const [given, surname] = [textOf(claims, "givenName"), textOf(claims, "surname")];
  if (typed === undefined) {
    return given === undefined || surname === undefined ? {} : { displayName: `${tidyName(given)} ${tidySurname(surname)}` };
  }
  const displayName = tidyName(typed);
  const parts = splitName(displayName);
  if (parts === undefined || given !== undefined || surname !== undefined) {
    return { displayName };
  }
  return { displayName: `${parts.given} ${parts.surname}`, givenName: parts.given, surname: parts.surname };
}

/** ISO 3166-1 for the country, and E.164 for the number, which without a country code is one of that country. */
function placeAndPhone(claims: Claims, phoneAttribute: string): Record<string, string> {
  const changed: Record<string, string> = {};
  const typed = textOf(claims, "country");
  const country = typed === undefined ? undefined : countryCode(typed, textOf(claims, "ui_locales"));
  if (country !== undefined) {
    changed["country"] = country;
  }
  const name = nameOfAttribute(claims, phoneAttribute);
  const phone = name === undefined ? undefined : parsePhoneNumberFromString(textOf(claims, name) ?? "", country);
  if (name !== undefined && phone?.isValid() === true) {
    changed[name] = phone.number;
  }
  return changed;
}

/** Custom attributes arrive as `extension_<id of the extensions app>_<name>`. */
function nameOfAttribute(claims: Claims, attribute: string): string | undefined {
  const ending = `_${attribute}`.toLowerCase();
  return Object.keys(claims).find((name) => name.startsWith("extension_") && name.toLowerCase().endsWith(ending));
}
