import { getCountries, isSupportedCountry, type CountryCode } from "libphonenumber-js";

/** In which languages countries are understood, beside those that the person's device asks for. */
const LANGUAGES = ["en", "de", "fr", "es", "it", "nl", "pt"];

/** How many of the device's languages are looked at: a list of names has to be made for each. */
const LOCALES_MAX = 3;

/** What people write and no list has. */
const ALSO: readonly (readonly [string, CountryCode])[] = [
  ["uk", "GB"],
  ["england", "GB"],
  ["usa", "US"],
  ["united states of america", "US"],
  ["holland", "NL"],
];

/** Names of countries in one language, as Node.js knows them. */
const byLanguage = new Map<string, Map<string, CountryCode>>();

/** The ISO 3166-1 code of a country that somebody typed; undefined where it is not understood. */
export function countryCode(typed: string, locales = ""): CountryCode | undefined {
  const upper = typed.toUpperCase();
  if (isSupportedCountry(upper)) {
    return upper;
  }
  const name = plain(typed);
  const also = ALSO.find(([known]) => known === name);
  if (also !== undefined) {
    return also[1];
  }
  for (const language of [...languagesOf(locales), ...LANGUAGES]) {
    const code = namesIn(language).get(name);
    if (code !== undefined) {
      return code;
    }
  }
  return undefined;
}

function languagesOf(locales: string): string[] {
  const languages = locales.split(/[\s,;]+/u).flatMap((locale) => /^[a-z]{2}(?![a-z])/iu.exec(locale)?.[0].toLowerCase() ?? []);
  return languages.slice(0, LOCALES_MAX);
}

function namesIn(language: string): Map<string, CountryCode> {
  let names = byLanguage.get(language);
  if (names === undefined) {
    const display = new Intl.DisplayNames([language], { type: "region", fallback: "none" });
    names = new Map(getCountries().map((code) => [plain(display.of(code) ?? code), code]));
    byLanguage.set(language, names);
  }
  return names;
}

/** Without accents, case and punctuation, which people leave out. */
function plain(name: string): string {
  return name.normalize("NFD").replace(/[^\p{L}\s]/gu, "").toLowerCase().replace(/\s+/gu, " ").trim();
}
