import assert from "node:assert/strict";
import { test } from "node:test";

import { Tracing } from "../src/tracing.js";

const TRACE = "e3a746c1dcbc2e8281565afab007c714";

const traceOf = (traceparent: string) => new Tracing({}).start("a.b", (name) => ({ traceparent })[name] ?? "").spanContext().traceId;

test("the trace of a message goes on, whether it is recorded or not", () => {
  for (const flags of ["00", "01"]) {
    assert.equal(traceOf(`00-${TRACE}-54d2e76796f9b7ff-${flags}`), TRACE);
  }
});

test("without a trace a new one begins", () => {
  for (const traceparent of ["", "nonsense", "00-E3A7-54d2e76796f9b7ff-00"]) {
    assert.match(traceOf(traceparent), /^(?!0{32})[0-9a-f]{32}$/u);
  }
});
