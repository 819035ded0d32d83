import type { Claims } from "./attributes.js";

/** What is to be decided. */
export interface Call {
  readonly id: string;
  readonly attempt: number;
  readonly deadline: Date;
  readonly claims: Claims;
}

/** Reads a message. Throws where it is no call that can be decided; what it throws quotes no claim. */
export function readCall(header: (name: string) => string, payload: string): Call {
  const deadline = new Date(header("Connector-Deadline"));
  const attempt = Number(header("Connector-Attempt"));
  if (Number.isNaN(deadline.getTime()) || !Number.isInteger(attempt) || attempt < 1) {
    throw new TypeError("the headers are not those of a call");
  }
  return { id: header("Connector-Call-Id"), attempt, deadline, claims: readClaims(payload) };
}

function readClaims(payload: string): Claims {
  const claims: unknown = JSON.parse(payload);
  if (typeof claims !== "object" || claims === null || Array.isArray(claims)) {
    throw new TypeError("the claims are not an object");
  }
  return claims as Claims;
}
