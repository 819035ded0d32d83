import assert from "node:assert/strict";
import { test } from "node:test";

import { overwrite, type Claims } from "../src/attributes.js";

const PHONE = "extension_0123456789abcdef0123456789abcdef_Phone";

function assertOverwritten(claims: Claims, expected: Record<string, string>): void {
  assert.deepEqual(overwrite(claims, "Phone"), expected);
}

test("only what comes out otherwise is overwritten", () => {
  assertOverwritten({ displayName: "Ada Lovelace", givenName: "Ada", surname: "Lovelace", city: "London", country: "GB" }, {});
  assertOverwritten({ city: " london", postalCode: "SW1A  1AA", email: " Ada@Example.com " }, { city: "London", postalCode: "SW1A 1AA" });
});

test("a display name gives a given name and a surname where the person typed neither", () => {
  const split = { displayName: "Ada Lovelace", givenName: "Ada", surname: "Lovelace" };
  assertOverwritten({ displayName: "lovelace, ADA" }, split);
  assertOverwritten({ displayName: "ada lovelace", givenName: " " }, split);
  assertOverwritten({ displayName: "ada lovelace", surname: "King" }, { displayName: "Ada Lovelace" });
  assertOverwritten({ displayName: "plato" }, { displayName: "Plato" });
});

test("a given name and a surname give a display name where there is none", () => {
  assertOverwritten({ givenName: "ada", surname: "LOVELACE" }, { givenName: "Ada", surname: "Lovelace", displayName: "Ada Lovelace" });
  assertOverwritten({ givenName: "Ada" }, {});
});

test("a telephone number is one of the country that was typed, unless it says otherwise", () => {
  assertOverwritten({ country: "Germany", [PHONE]: "(030) 12 34 56" }, { country: "DE", [PHONE]: "+4930123456" });
  assertOverwritten({ country: "Deutschland", [PHONE]: "0044 20 7946 0958" }, { country: "DE", [PHONE]: "+442079460958" });
  assertOverwritten({ [PHONE]: "+49 30 123456" }, { [PHONE]: "+4930123456" });
  assertOverwritten({ extension_phone: "+49 30 123456" }, { extension_phone: "+4930123456" });
});

test("what is not understood stays as it is", () => {
  assertOverwritten({ country: "Atlantis", [PHONE]: "030 123456" }, {});
  assertOverwritten({ country: "DE", [PHONE]: "12" }, {});
  assertOverwritten({ displayName: 7, city: null, surname: ["Lovelace"], country: {}, [PHONE]: true }, {});
  assertOverwritten({}, {});
});
