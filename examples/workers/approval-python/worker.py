"""Lets people in whom somebody has approved.

The first time a person signs up, there is no request yet: the worker makes one, and the person reads
that it waits. Once it is approved, the same claims let the person in. So decisions change, and are
made anew at attempt 1; the request, which is the effect, is made once.
"""

import asyncio
import functools
import logging
import os
import signal
import sqlite3
import sys

import nats
from nats import micro
from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import register

NATS_URL = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
SUBJECT = os.environ.get("SUBJECT", "connectors.approve-signup.before-create")


def continue_trace(call: micro.Request):
    """Begins a span below that of the bridge's message."""
    headers = call.headers or {}
    return trace.get_tracer("approval").start_as_current_span(
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


async def handle(db: sqlite3.Connection, message: micro.Request) -> None:
    with continue_trace(message) as span:
        try:
            call = register.Call.read(message.headers or {}, message.data)
            decision = register.decide(db, call, register.utc_now)
        except Exception as error:
            logging.error("cannot decide: %s", type(error).__name__)  # its text may quote claims
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(trace.StatusCode.ERROR)
            await message.respond_error("500", "cannot decide")
            return
        if decision is not None:
            await message.respond(decision.encode())


async def log_error(error: Exception) -> None:
    logging.warning("NATS: %s", error or type(error).__name__)


def start_tracing() -> TracerProvider:
    """Spans go to the collector that the standard OTEL variables name, and nowhere without one."""
    provider = TracerProvider()
    if any(name in os.environ for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")):
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


async def connect(stop: asyncio.Event) -> nats.NATS | None:
    """Waits for NATS; None where it is to stop before that. A connection that is closed sets `stop`."""

    async def on_closed() -> None:
        stop.set()

    # Comes back however long NATS was away, and within the 500 ms that the bridge waits for a worker.
    connecting = asyncio.create_task(nats.connect(
        NATS_URL, name="approval", max_reconnect_attempts=-1, reconnect_time_wait=0.2,
        error_cb=log_error, closed_cb=on_closed,
    ))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([connecting, stopping], return_when=asyncio.FIRST_COMPLETED)
    return connecting.result() if connecting.done() else None


async def main() -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    provider = start_tracing()
    db = register.open_register()
    nc = await connect(stop)
    if nc is None:
        return 0
    service = await micro.add_service(nc, name="approval", version="1.0.0")
    await service.add_endpoint(
        name="decide", subject=SUBJECT, queue_group="workers", handler=functools.partial(handle, db)
    )
    await stop.wait()
    is_refused = nc.is_closed  # the server refuses us for good; whoever runs this may start it again
    if is_refused:
        logging.error("the connection is closed: %s", nc.last_error)
    elif nc.is_connected:
        await nc.drain()  # decides the calls that are here; `service.stop()` would drop them
    else:
        await nc.close()
    db.close()
    provider.shutdown()  # sends the last spans
    return 1 if is_refused else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
