import assert from "node:assert/strict";
import { test } from "node:test";

import { readCall } from "../src/call.js";

const HEADERS: Record<string, string> = {
  "Connector-Call-Id": "b61f35f4f3634164fe83f2c703a4a1d0",
  "Connector-Attempt": "2",
  "Connector-Deadline": "2026-11-21T02:21:02.033Z",
};

const read = (payload: string, changed: Record<string, string> = {}) =>
  readCall((name) => ({ ...HEADERS, ...changed })[name] ?? "", payload);

test("a message is read", () => {
  assert.deepEqual(read('{"email":"ada@example.com"}'), {
    id: "b61f35f4f3634164fe83f2c703a4a1d0",
    attempt: 2,
    deadline: new Date(Date.UTC(2026, 10, 21, 2, 21, 2, 33)),
    claims: { email: "ada@example.com" },
  });
});

test("what is no call is not read", () => {
  for (const payload of ["", "no JSON", "[]", "null", "7", '"ada"']) {
    assert.throws(() => read(payload), payload);
  }
  for (const changed of [{ "Connector-Deadline": "soon" }, { "Connector-Attempt": "0" }, { "Connector-Attempt": "first" }]) {
    assert.throws(() => read("{}", changed), TypeError);
  }
});
