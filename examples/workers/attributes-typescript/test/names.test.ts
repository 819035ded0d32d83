import assert from "node:assert/strict";
import { test } from "node:test";

import { splitName, tidyName, tidySurname, tidyText } from "../src/names.js";

test("a name is written as its bearer would write it", () => {
  for (const [typed, tidied] of [
    ["  ada   LOVELACE ", "Ada Lovelace"],
    ["anne-MARIE o’neill", "Anne-Marie O’Neill"],
    ["ludwig VAN beethoven", "Ludwig van Beethoven"],
    ["van der berg", "Van der Berg"],
    ["Ronald McDonald", "Ronald McDonald"],
    ["Cherie Van Dyke", "Cherie Van Dyke"],
    ["ÖZGÜR ÇELİK", "Özgür Çelik"],
    ["王小明", "王小明"],
    ["", ""],
  ] as const) {
    assert.equal(tidyName(typed), tidied);
  }
});

test("a surname may begin small", () => {
  for (const typed of ["van beethoven", "VAN BEETHOVEN", "van Beethoven"]) {
    assert.equal(tidySurname(typed), "van Beethoven");
  }
  assert.equal(tidySurname("Van Dyke"), "Van Dyke");
  assert.equal(tidySurname("LOVELACE"), "Lovelace");
});

test("a text has one space between words, and one way to write a character", () => {
  assert.equal(tidyText("\t12  Sankt-Annen-Straße\n"), "12 Sankt-Annen-Straße");
  assert.equal(tidyText("Mu\u0308nchen"), "M\u00fcnchen");
});

test("a full name is split where it says how", () => {
  for (const [name, given, surname] of [
    ["Ada Lovelace", "Ada", "Lovelace"],
    ["Ada King Lovelace", "Ada King", "Lovelace"],
    ["Ludwig van Beethoven", "Ludwig", "van Beethoven"],
    ["Walther von der Vogelweide", "Walther", "von der Vogelweide"],
    ["Lovelace, Ada", "Ada", "Lovelace"],
  ] as const) {
    assert.deepEqual(splitName(name), { given, surname });
  }
});

test("a name that does not say how is not split", () => {
  for (const name of ["Plato", "", "a, b, c", "Lovelace,", "van Beethoven", "王小明"]) {
    assert.equal(splitName(name), undefined, name);
  }
});
