"""Who asks to be let in, and what was said to them: two tables in SQLite. Knows nothing of NATS."""

import json
import os
import sqlite3
import string
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

# The key of `requests` keeps it to one per person, and so to one per call id: the same call id means
# the same claims. No check before it could, since two workers may look at the same moment.
TABLES = """
CREATE TABLE IF NOT EXISTS requests (
    email      TEXT PRIMARY KEY,
    call_id    TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    status     TEXT NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'approved', 'refused')),
    asked_at   TEXT NOT NULL,
    settled_at TEXT,
    notified   INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS decisions (
    call_id  TEXT PRIMARY KEY,
    decision TEXT NOT NULL,
    made_at  TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS decisions_by_age ON decisions (made_at);
"""

DECISIONS = {
    "waiting": {"action": "ShowBlockPage", "userMessage": "Your request is waiting for approval."},
    "approved": {"action": "Continue"},
    "refused": {"action": "ShowBlockPage", "userMessage": "Your request was declined."},
}

# The step before the form, where nobody can ask yet: whom the register does not know goes on to the form.
BEFORE_THE_FORM = "after-federation"
GO_ON = {"action": "Continue"}

# Letters beyond ASCII stay as they are: `casefold` would make one person of straße@ and strasse@.
SMALL = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)

# The attempts of one call come within its deadline and the bridge's `calls.replay_window`: 15 s and 45 s
# by default. What was decided longer ago belongs to an earlier call with the same claims.
ROUND = timedelta(seconds=60)

# What was said in this round, unless somebody has settled the request since.
SAID_IN_THIS_ROUND = """
SELECT decision FROM decisions WHERE call_id = :call_id AND made_at > :round_began
AND made_at > coalesce((SELECT settled_at FROM requests WHERE email = :email), '')
"""


@dataclass(frozen=True)
class Call:
    """What is to be decided."""

    id: str
    attempt: int
    deadline: datetime
    step: str
    email: str
    name: str

    @classmethod
    def read(cls, headers: dict[str, str], payload: bytes) -> "Call":
        """Reads a message. Raises an exception where it is no call that can be decided."""
        claims = json.loads(payload)
        email, name = claims.get("email"), claims.get("displayName")
        if not isinstance(email, str) or not email.strip():
            # Calls that name nobody share a call id, so an effect must not hang on it.
            raise ValueError("the connector must require `email`")
        return cls(
            id=headers["Connector-Call-Id"],
            attempt=int(headers["Connector-Attempt"]),
            deadline=datetime.fromisoformat(headers["Connector-Deadline"]),
            step=headers["Connector-Step"],
            email=normal(email),
            name=name if isinstance(name, str) else "",
        )


def normal(email: str) -> str:
    """The same text for the same mailbox, however it is typed."""
    return email.strip().translate(SMALL)


def open_register() -> sqlite3.Connection:
    """The database that `DATABASE` names; made where there is none."""
    db = sqlite3.connect(os.environ.get("DATABASE", "requests.db"), timeout=2, isolation_level=None)
    use_wal(db)
    db.executescript(TABLES)
    return db


def use_wal(db: sqlite3.Connection) -> None:
    """One write to the disk for each decision. Here SQLite itself does not wait for another copy of
    the worker that starts at the same moment."""
    for tries_left in reversed(range(40)):
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if tries_left == 0:
                raise
            time.sleep(0.05)


def decide(db: sqlite3.Connection, call: Call, clock: Callable[[], datetime]) -> str | None:
    """Returns the decision as JSON, or None where it is too late to start.

    Request and decision are one transaction, which ends before the reply is sent. A crash leaves
    both or neither. BEGIN IMMEDIATE lets one worker in at a time; it may wait for that, so the time
    is taken behind it.
    """
    with db:
        db.execute("BEGIN IMMEDIATE")
        now = clock()
        round_began = (now - ROUND).isoformat()
        if call.attempt > 1:
            said = {"call_id": call.id, "email": call.email, "round_began": round_began}
            row = db.execute(SAID_IN_THIS_ROUND, said).fetchone()
            if row is not None:
                return row[0]  # also after the deadline: the bridge keeps it for the next try
        if now >= call.deadline:
            return None
        if call.step != BEFORE_THE_FORM:
            db.execute(
                "INSERT INTO requests (email, call_id, name, asked_at) VALUES (?, ?, ?, ?) ON CONFLICT (email) DO NOTHING",
                (call.email, call.id, call.name, now.isoformat()),
            )
        row = db.execute("SELECT status FROM requests WHERE email = ?", (call.email,)).fetchone()
        if row is None and call.step != BEFORE_THE_FORM:
            raise LookupError("the request was not stored")  # nobody gets in without one
        decision = json.dumps(DECISIONS[row[0]] if row else GO_ON)
        db.execute("REPLACE INTO decisions (call_id, decision, made_at) VALUES (?, ?, ?)", (call.id, decision, now.isoformat()))
        db.execute("DELETE FROM decisions WHERE made_at <= ?", (round_began,))
        return decision


def settle(db: sqlite3.Connection, email: str, status: str, clock: Callable[[], datetime]) -> bool:
    """Approves or refuses a request, also one that was settled before. False where there is none."""
    with db:
        db.execute("BEGIN IMMEDIATE")
        settled = (status, clock().isoformat(), normal(email))
        return db.execute("UPDATE requests SET status = ?, settled_at = ? WHERE email = ?", settled).rowcount == 1


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


def requests(db: sqlite3.Connection, statuses: list[str]) -> list[tuple[str, str, str, str]]:
    """Email, status, time and name of the requests with one of these statuses, oldest first."""
    marks = ", ".join("?" for _ in statuses)
    return db.execute(
        f"SELECT email, status, asked_at, name FROM requests WHERE status IN ({marks}) ORDER BY asked_at", statuses
    ).fetchall()
