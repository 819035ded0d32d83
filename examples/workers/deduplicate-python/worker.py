"""Lets people in whom somebody has approved, and makes one request per call, however often the call comes.

The first time a person signs up, there is no request yet: the worker makes one, and the person reads
that it waits. Once it is approved, the same claims let the person in. So decisions change, and are
made anew at attempt 1; the request, which is the effect, is made once.
"""

import asyncio
import functools
import json
import logging
import os
import signal
import sqlite3
from datetime import datetime, timezone

import nats
from nats import micro
from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

NATS_URL = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
SUBJECT = os.environ.get("SUBJECT", "connectors.approve-signup.before-create")
DATABASE = os.environ.get("DATABASE", "requests.db")

# The key of `requests` keeps the effect to one per call id. No check before it could: two copies
# of the worker may look at the same moment.
TABLES = """
CREATE TABLE IF NOT EXISTS requests (
    call_id  TEXT PRIMARY KEY,
    email    TEXT NOT NULL,
    status   TEXT NOT NULL DEFAULT 'waiting',
    notified INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS decisions (
    call_id  TEXT PRIMARY KEY,
    decision TEXT NOT NULL
);
"""

DECISIONS = {
    "waiting": {"action": "ShowBlockPage", "userMessage": "Your request is waiting for approval."},
    "approved": {"action": "Continue"},
    "denied": {"action": "ShowBlockPage", "userMessage": "Your request was declined."},
}


def decide(db, call_id, attempt, deadline, email):
    """Returns the decision as JSON, or None where it is too late to start.

    Effect and decision are one transaction, which ends before the reply is sent. A crash leaves
    both or neither. BEGIN IMMEDIATE lets one copy in at a time.
    """
    with db:
        db.execute("BEGIN IMMEDIATE")
        if attempt > 1:
            row = db.execute("SELECT decision FROM decisions WHERE call_id = ?", (call_id,)).fetchone()
            if row is not None:
                return row[0]  # also after the deadline: the bridge keeps it for the next try
        if datetime.now(timezone.utc) >= deadline:
            return None
        db.execute("INSERT INTO requests (call_id, email) VALUES (?, ?) ON CONFLICT DO NOTHING", (call_id, email))
        (status,) = db.execute("SELECT status FROM requests WHERE call_id = ?", (call_id,)).fetchone()
        decision = json.dumps(DECISIONS[status])
        db.execute(
            "INSERT INTO decisions (call_id, decision) VALUES (?, ?)"
            " ON CONFLICT (call_id) DO UPDATE SET decision = excluded.decision",
            (call_id, decision),
        )
        return decision


def continue_trace(call):
    """Begins a span below that of the bridge's message."""
    headers = call.headers or {}
    return trace.get_tracer("deduplicate").start_as_current_span(
        f"process {SUBJECT}",
        context=propagate.extract(headers),
        kind=trace.SpanKind.CONSUMER,
        attributes={
            "messaging.system": "nats",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": SUBJECT,
            "messaging.message.id": headers.get("Connector-Call-Id", ""),
        },
        record_exception=False,  # its text may quote claims
    )


async def handle(db, call):
    with continue_trace(call) as span:
        await decide_and_reply(db, call, span)


async def decide_and_reply(db, call, span):
    try:
        claims = json.loads(call.data)
        if not claims.get("email"):
            # Calls that name nobody share a call id, so an effect must not hang on it.
            raise ValueError("the connector must require `email`")
        decision = decide(
            db,
            call.headers["Connector-Call-Id"],
            int(call.headers["Connector-Attempt"]),
            datetime.fromisoformat(call.headers["Connector-Deadline"]),
            claims["email"],
        )
    except Exception as error:
        logging.error("cannot decide: %s", type(error).__name__)  # its text may quote claims
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(trace.StatusCode.ERROR)
        await call.respond_error("500", "cannot decide")
        return
    if decision is not None:
        await call.respond(decision.encode())


async def log_error(error):
    logging.warning("NATS: %s", error or type(error).__name__)


def start_tracing():
    """Spans go to the collector that the standard OTEL variables name, and nowhere without one."""
    provider = TracerProvider()
    if any(name in os.environ for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")):
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


async def main():
    provider = start_tracing()
    db = sqlite3.connect(DATABASE, timeout=2, isolation_level=None)
    db.executescript(TABLES)
    # Comes back however long NATS was away, and within the 500 ms that the bridge waits for a worker.
    nc = await nats.connect(
        NATS_URL, name="deduplicate", max_reconnect_attempts=-1, reconnect_time_wait=0.2, error_cb=log_error
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    service = await micro.add_service(nc, name="deduplicate", version="1.0.0")
    await service.add_endpoint(
        name="decide", subject=SUBJECT, queue_group="workers", handler=functools.partial(handle, db)
    )
    await stop.wait()
    if nc.is_connected:
        await nc.drain()  # decides the calls that are here; `service.stop()` would drop them
    else:
        await nc.close()
    db.close()
    provider.shutdown()  # sends the last spans


asyncio.run(main())
