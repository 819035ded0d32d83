import assert from "node:assert/strict";
import { test } from "node:test";

import { countryCode } from "../src/country.js";

test("a country is understood in many languages, and however it is typed", () => {
  for (const [typed, code] of [
    ["de", "DE"],
    ["Germany", "DE"],
    ["DEUTSCHLAND", "DE"],
    ["Allemagne", "DE"],
    ["Österreich", "AT"],
    ["osterreich", "AT"],
    ["cote divoire", "CI"],
    ["USA", "US"],
    ["U.S.A.", "US"],
    ["uk", "GB"],
  ] as const) {
    assert.equal(countryCode(typed), code, typed);
  }
});

test("the device's languages are understood too, the first of them", () => {
  assert.equal(countryCode("Saksa"), undefined);
  assert.equal(countryCode("Saksa", "fi-FI"), "DE");
  assert.equal(countryCode("Saksa", "sv-FI fi"), "DE");
  assert.equal(countryCode("Saksa", "sv, da, nb, fi"), undefined);
});

test("what is no country stays unknown, also with locales that are none", () => {
  for (const locales of ["", "xx", "e", "english", "../..", "en-GB-oed"]) {
    assert.equal(countryCode("Atlantis", locales), undefined);
  }
  assert.equal(countryCode(""), undefined);
  assert.equal(countryCode("XX"), undefined);
});
