"""Keeps an audit table of what sign-ups were answered, and sends a notification of some of them.

Reads the bridge's records of decisions from their JetStream stream. A record is acknowledged once it
is in the table and what was to be sent is sent; until then it comes again, to this copy or another.
"""

import asyncio
import http.client
import json
import logging
import os
import re
import signal
import sqlite3
import sys
import urllib.error
import urllib.parse
import urllib.request

import nats
from nats.js.api import ConsumerConfig

NATS_URL = os.environ.get("NATS_URL", "nats://127.0.0.1:4222")
STREAM = os.environ.get("STREAM", "CONNECTOR_EVENTS")
SUBJECT = os.environ.get("SUBJECT", "connector-events.decided")
DURABLE = os.environ.get("DURABLE", "audit")
DATABASE = os.environ.get("DATABASE", "audit.db")
WEBHOOK = os.environ.get("WEBHOOK", "")  # nobody is notified without one

# After so long a record comes again whose copy has died. Longer than a batch can take, or it would
# come to a second copy while the first one has it.
ACK_WAIT_SECONDS = float(os.environ.get("ACK_WAIT", 60))
BATCH = 4
WEBHOOK_SECONDS = 5
RETRY_SECONDS_MAX = 300
PAUSE_SECONDS = 1

# The key keeps the table to one row per decision, whatever comes twice.
TABLE = """
CREATE TABLE IF NOT EXISTS records (
    id           TEXT PRIMARY KEY,
    answered     TEXT NOT NULL,
    connector    TEXT NOT NULL,
    call_id      TEXT NOT NULL,
    action       TEXT NOT NULL,
    source       TEXT NOT NULL,
    reason       TEXT,
    status       INTEGER NOT NULL,
    record       TEXT NOT NULL,
    notification TEXT NOT NULL
);
"""


def is_of_interest(data: dict) -> bool:
    """Whether somebody is to be notified: here, where a person was not let in, or no worker was asked."""
    return data["action"] != "continue" or data["source"] in ("cache", "default")


class Stay(urllib.request.HTTPRedirectHandler):
    """Goes nowhere else: a POST that is redirected would be a GET without the record."""

    def redirect_request(self, *_) -> None:
        return None


OPENER = urllib.request.build_opener(Stay)


class Poison(Exception):
    """What came is no record of a decision, and will not be one the next time."""


# What the bridge's ids are like, and what can stand in a header.
ID = re.compile(r"[!-~]{1,128}")


def whole(digits: str) -> int | float:
    """A claim may be a number of any length. Python converts few thousand digits, SQLite holds 64 bits."""
    return int(digits) if len(digits) < 19 else float(digits)


def no_json(constant: str) -> None:
    raise Poison(f"{constant} is no JSON")


def read(payload: bytes) -> tuple[str, dict]:
    """The id and the data of a record. Members that are not known are nobody's fault."""
    try:
        record = json.loads(payload.decode(), parse_int=whole, parse_constant=no_json)
        json.dumps(record, ensure_ascii=False).encode()  # fails at half of a surrogate pair, wherever it is
        if record["type"] != "connector-bridge.call.answered":
            raise Poison("another type")
        names = ("answered", "connector", "call_id", "action", "source")
        texts = {name: record["data"][name] for name in names}
        reason, status, event_id = record["data"].get("reason", ""), record["data"]["status"], record["id"]
        if not isinstance(status, int) or not all(isinstance(text, str) for text in (event_id, reason, *texts.values())):
            raise Poison("a member of another type")
        if not 100 <= status <= 599:
            raise Poison("no HTTP status")
        if not (ID.fullmatch(event_id) and ID.fullmatch(texts["call_id"])):
            raise Poison("no id")
        return event_id, {**texts, "reason": reason or None, "status": status}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Poison(type(error).__name__) from error


def keep(db: sqlite3.Connection, event_id: str, data: dict, payload: bytes) -> str:
    """Makes the row where there is none, and returns how far its notification is."""
    due = "due" if WEBHOOK and is_of_interest(data) else "none"
    row = {**data, "id": event_id, "record": payload.decode(), "notification": due}
    with db:
        db.execute(
            "INSERT INTO records VALUES (:id, :answered, :connector, :call_id, :action, :source,"
            " :reason, :status, :record, :notification) ON CONFLICT DO NOTHING",
            row,
        )
        return db.execute("SELECT notification FROM records WHERE id = ?", (event_id,)).fetchone()[0]


def is_web_url(text: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def notify(event_id: str, payload: bytes) -> str:
    """Posts the record. Returns what to note; raises where it has to be tried again."""
    request = urllib.request.Request(
        WEBHOOK,
        data=payload,
        headers={"Content-Type": "application/cloudevents+json", "Idempotency-Key": event_id},
    )
    try:
        with OPENER.open(request, timeout=WEBHOOK_SECONDS):
            return "sent"
    except urllib.error.HTTPError as error:
        if 300 <= error.code < 500 and error.code not in (408, 425, 429):
            return "refused"  # it will say so every time
        raise


async def handle(db: sqlite3.Connection, message) -> None:
    try:
        event_id, data = read(message.data)
    except Poison as poison:
        place = message.metadata.sequence.stream
        logging.error("message %s of the stream is no record of a decision: %s", place, poison)
        await message.term()
        return
    try:
        if keep(db, event_id, data, message.data) == "due" and WEBHOOK:
            noted = await asyncio.to_thread(notify, event_id, message.data)
            with db:
                db.execute("UPDATE records SET notification = ? WHERE id = ?", (noted, event_id))
            if noted == "refused":
                logging.error("the webhook refuses the notification of %s", event_id)
    except (OSError, http.client.HTTPException, sqlite3.OperationalError) as error:
        delay = min(2 ** min(message.metadata.num_delivered, 16), RETRY_SECONDS_MAX)
        logging.warning("%s: %s; again in %s s", event_id, type(error).__name__, delay)
        await message.nak(delay=delay)
        return
    await message.ack()


async def subscribe(nc):
    """Binds the durable consumer, which is made where it is missing. The stream is not."""
    config = ConsumerConfig(ack_wait=ACK_WAIT_SECONDS)
    return await nc.jetstream().pull_subscribe(SUBJECT, durable=DURABLE, stream=STREAM, config=config)


async def consume(nc, db: sqlite3.Connection, stop: asyncio.Event) -> None:
    """Handles records until it is to stop; what it has in hand is finished."""
    records, was_told = None, False
    while not stop.is_set():
        try:
            records = records or await subscribe(nc)
            batch = await records.fetch(BATCH, timeout=1)
            was_told = False
        except asyncio.TimeoutError:
            continue
        except nats.errors.Error as error:
            if not was_told:
                logging.warning("no records for now: %s", type(error).__name__)
            records, was_told = None, True
            await asyncio.sleep(PAUSE_SECONDS)
            continue
        for message in batch:
            await handle(db, message)


async def log_error(error) -> None:
    logging.warning("NATS: %s", error or type(error).__name__)


async def connect(stop: asyncio.Event):
    """Waits for NATS; None where it is to stop before that. A connection that is closed sets `stop`."""

    async def on_closed() -> None:
        stop.set()

    connecting = asyncio.create_task(nats.connect(
        NATS_URL, name=DURABLE, inbox_prefix=f"_INBOX_{DURABLE}", max_reconnect_attempts=-1,
        error_cb=log_error, closed_cb=on_closed,
    ))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([connecting, stopping], return_when=asyncio.FIRST_COMPLETED)
    return connecting.result() if connecting.done() else None


async def main() -> int:
    logging.basicConfig(format="%(levelname)s %(message)s")
    if WEBHOOK and not is_web_url(WEBHOOK):
        logging.error("WEBHOOK is no http or https URL")  # which may hold a secret
        return os.EX_USAGE
    db = sqlite3.connect(DATABASE, timeout=5, isolation_level="IMMEDIATE")
    db.executescript(TABLE)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    nc = await connect(stop)
    if nc is None:
        return 0
    await consume(nc, db, stop)
    is_refused = nc.is_closed  # the server refuses us for good; whoever runs this may start it again
    if is_refused:
        logging.error("the connection is closed: %s", nc.last_error)
    elif nc.is_connected:
        await nc.flush()  # the last acknowledgements
    await nc.close()
    db.close()
    return 1 if is_refused else 0


sys.exit(asyncio.run(main()))
