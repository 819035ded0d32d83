/**
 * Tidies what people typed when they sign up: a NATS service that replaces claims. It has no effects
 * beside its reply, and the same claims always give the same reply; so a call that comes twice needs
 * nothing remembered.
 */

import { setTimeout } from "node:timers/promises";

import { Svcm, type ServiceMsg } from "@nats-io/services";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { SpanStatusCode } from "@opentelemetry/api";

import { overwrite } from "./attributes.js";
import { readCall } from "./call.js";
import { Tracing } from "./tracing.js";

const NATS_URL = process.env["NATS_URL"] ?? "nats://127.0.0.1:4222";
const SUBJECT = process.env["SUBJECT"] ?? "connectors.tidy-attributes.before-create";
const PHONE_ATTRIBUTE = process.env["PHONE_ATTRIBUTE"] ?? "Phone";

/** How long the end may take. */
const DRAIN_MS_MAX = 10_000;

/** One JSON object a line, for machines. Never a claim: they are personal data. */
function log(level: "info" | "error", message: string, fields: Record<string, unknown> = {}): void {
  console.log(JSON.stringify({ time: new Date().toISOString(), level, message, ...fields }));
}

function handle(message: ServiceMsg, tracing: Tracing): void {
  const header = (name: string): string => message.headers?.get(name) ?? "";
  const span = tracing.start(SUBJECT, header);
  const traceId = span.spanContext().traceId;
  try {
    const call = readCall(header, message.string());
    const known = { call_id: call.id, attempt: call.attempt, trace_id: traceId };
    if (new Date() >= call.deadline) {
      log("info", "too late to start", known);
      return;
    }
    const claims = overwrite(call.claims, PHONE_ATTRIBUTE);
    message.respond(JSON.stringify({ ...claims, action: "Continue" }));
    log("info", "decided", { ...known, overwritten: Object.keys(claims).length });
  } catch (error) {
    // The text of an error may quote claims, its name does not.
    log("error", "cannot decide", { error: error instanceof Error ? error.name : typeof error, trace_id: traceId });
    span.setStatus({ code: SpanStatusCode.ERROR });
    message.respondError(500, "cannot decide");
  } finally {
    span.end();
  }
}

/** The user that stands in a URL, which the client does not read there. */
function login(url: string): { user?: string; pass?: string } {
  const { username, password } = URL.canParse(url) ? new URL(url) : { username: "", password: "" };
  return username === "" ? {} : { user: decodeURIComponent(username), pass: decodeURIComponent(password) };
}

/** Takes no new calls, and decides those that are here; where NATS is away, there are none. Sends the last spans. */
async function leave(nc: NatsConnection, tracing: Tracing): Promise<void> {
  const timeUp = setTimeout(DRAIN_MS_MAX, undefined, { ref: false });
  await Promise.race([Promise.allSettled([nc.drain()]), timeUp]);
  await nc.close();
  await tracing.stop().catch(() => log("error", "the last spans are lost"));
}

async function main(): Promise<void> {
  // Comes back however long NATS was away, and within the 500 ms that the bridge waits for a worker.
  const nc = await connect({
    servers: NATS_URL,
    ...login(NATS_URL),
    name: "attributes",
    maxReconnectAttempts: -1,
    reconnectTimeWait: 200,
  });
  const tracing = new Tracing(process.env);
  const service = await new Svcm(nc).add({ name: "attributes", version: "1.0.0", queue: "workers" });
  service.addEndpoint("decide", {
    subject: SUBJECT,
    handler: (error, message) => {
      if (error === null) {
        handle(message, tracing);
      }
    },
  });
  log("info", "listening", { subject: SUBJECT });
  let isLeaving = false;
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      isLeaving = true;
      void leave(nc, tracing);
    });
  }
  const error = await service.stopped;
  if (!isLeaving) {
    const refused = nc.isClosed() ? await nc.closed() : undefined; // as where the login has ended
    throw refused ?? error ?? new Error("the connection is closed"); // or a right is missing
  }
}

main().catch((error: unknown) => {
  log("error", "stopped", { error: error instanceof Error ? error.message : typeof error });
  process.exit(1);
});
