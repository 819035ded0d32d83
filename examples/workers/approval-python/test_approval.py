"""The rules, with a database in memory and without NATS: python3 -m unittest"""

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import unittest
from datetime import datetime, timedelta, timezone
from pathlib import Path
from unittest import mock

import approvals
import register

NOW = datetime(2026, 11, 21, 2, 21, 2, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)
WAITING, APPROVED, REFUSED = (register.DECISIONS[status] for status in ("waiting", "approved", "refused"))


def call(call_id: str = "a", **changed) -> register.Call:
    fields = {"attempt": 1, "deadline": NOW + timedelta(seconds=15), "step": "before-create"}
    return register.Call(id=call_id, **{**fields, "email": "ada@example.com", "name": "Ada", **changed})


class Register(unittest.TestCase):
    def setUp(self) -> None:
        with mock.patch.dict(os.environ, DATABASE=":memory:"):
            self.db = register.open_register()
        self.addCleanup(self.db.close)

    def decide(self, *arguments, now: datetime = NOW, **changed) -> dict | None:
        decision = register.decide(self.db, call(*arguments, **changed), lambda: now)
        return decision and json.loads(decision)

    def settle(self, status: str, now: datetime = NOW) -> bool:
        return register.settle(self.db, "ada@example.com", status, lambda: now)

    def count(self, table: str) -> int:
        return self.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]

    def test_a_person_waits_until_somebody_approves(self) -> None:
        self.assertEqual(self.decide(), WAITING)
        self.assertTrue(self.settle("approved"))
        self.assertEqual(self.decide(), APPROVED)

    def test_who_is_refused_stays_out_until_somebody_thinks_again(self) -> None:
        self.decide()
        self.settle("refused")
        self.assertEqual(self.decide("b", name="Somebody else"), REFUSED)
        self.settle("approved")
        self.assertEqual(self.decide("b"), APPROVED)

    def test_one_person_is_one_request_whatever_else_was_typed(self) -> None:
        for call_id, name in [("a", "Ada"), ("a", "Ada"), ("b", "Ada L.")]:
            self.decide(call_id, name=name)
        self.assertEqual(register.requests(self.db, ["waiting"]), [("ada@example.com", "waiting", NOW.isoformat(), "Ada")])

    def test_from_attempt_2_on_the_stored_decision_counts_also_after_the_deadline(self) -> None:
        self.decide()
        self.assertEqual(self.decide(attempt=2, now=NOW + register.ROUND - SECOND), WAITING)

    def test_a_decision_of_an_earlier_round_counts_no_more(self) -> None:
        self.decide()
        self.assertIsNone(self.decide(attempt=2, now=NOW + register.ROUND))
        self.db.execute("UPDATE requests SET status = 'approved'")
        later = NOW + register.ROUND
        self.assertEqual(self.decide(attempt=2, now=later, deadline=later + SECOND), APPROVED)

    def test_what_was_settled_since_counts_and_not_the_stored_decision(self) -> None:
        self.decide()
        self.settle("approved")
        self.assertEqual(self.decide(now=NOW + SECOND), APPROVED)
        self.settle("refused", NOW + 2 * SECOND)
        self.assertEqual(self.decide(attempt=2, now=NOW + 3 * SECOND), REFUSED)
        self.assertEqual(self.decide(attempt=3, now=NOW + 20 * SECOND), REFUSED)  # stored too

    def test_nothing_is_started_at_the_deadline(self) -> None:
        for attempt in (1, 2):
            self.assertIsNone(self.decide(attempt=attempt, now=NOW + timedelta(seconds=15)))
        self.assertEqual((self.count("requests"), self.count("decisions")), (0, 0))

    def test_the_time_counts_that_it_is_when_no_other_copy_writes_any_more(self) -> None:
        writes = []

        def clock() -> datetime:
            writes.append(self.db.in_transaction)
            return NOW

        register.decide(self.db, call(), clock)
        register.settle(self.db, "ada@example.com", "approved", clock)
        self.assertEqual(writes, [True, True])

    def test_addresses_that_differ_in_other_letters_are_other_people(self) -> None:
        # The second has a sharp s, the last the sign for kelvin.
        addresses = ["strasse@example.com", "straße@example.com", "k@example.com", "\u212a@example.com"]
        for address in addresses:
            call = register.Call.read(
                {**Reading.HEADERS, "Connector-Call-Id": address}, json.dumps({"email": address}).encode()
            )
            register.decide(self.db, call, lambda: NOW)
        self.assertEqual({email for email, *_ in register.requests(self.db, ["waiting"])}, set(addresses))

    def test_at_every_step_but_the_one_before_the_form_the_person_asks(self) -> None:
        for step in ("before-create", "before-token", "custom"):
            self.assertEqual(self.decide(step, step=step, email=step), WAITING, step)
        self.assertEqual(self.count("requests"), 3)

    def test_a_request_that_is_not_stored_lets_nobody_in(self) -> None:
        self.db.execute("CREATE TRIGGER lost BEFORE INSERT ON requests BEGIN SELECT RAISE(IGNORE); END")
        for step in ("before-create", "before-token", "custom"):
            with self.assertRaises(LookupError):
                self.decide(step, step=step)

    def test_before_the_form_nothing_is_asked_for(self) -> None:
        self.assertEqual(self.decide(step="after-federation"), {"action": "Continue"})
        self.assertEqual(self.count("requests"), 0)
        self.decide()
        self.assertEqual(self.decide("b", step="after-federation"), WAITING)

    def test_decisions_are_forgotten_when_nobody_retries_any_more(self) -> None:
        self.decide("old")
        later = NOW + register.ROUND
        self.decide("new", now=later, deadline=later + timedelta(seconds=15))
        self.assertEqual(self.db.execute("SELECT call_id FROM decisions").fetchall(), [("new",)])

    def test_who_has_not_asked_cannot_be_approved(self) -> None:
        self.assertFalse(self.settle("approved"))


class Reading(unittest.TestCase):
    HEADERS = {
        "Connector-Call-Id": "a",
        "Connector-Attempt": "2",
        "Connector-Deadline": "2026-11-21T02:21:17.000Z",
        "Connector-Step": "before-create",
    }

    def test_a_message_is_read(self) -> None:
        payload = b'{"email": " ADA@example.com", "displayName": "Ada", "postalCode": "12349"}'
        self.assertEqual(register.Call.read(self.HEADERS, payload), call(attempt=2))

    def test_a_name_that_is_none_is_left_out(self) -> None:
        self.assertEqual(register.Call.read(self.HEADERS, b'{"email": "ada@example.com", "displayName": 7}').name, "")

    def test_what_names_nobody_is_no_call(self) -> None:
        for payload in (b"", b"no JSON", b"[]", b"{}", b'{"email": ""}', b'{"email": " "}', b'{"email": ["a"]}'):
            with self.subTest(payload), self.assertRaises(Exception):
                register.Call.read(self.HEADERS, payload)

    def test_a_message_that_no_bridge_has_sent_is_no_call(self) -> None:
        with self.assertRaises(KeyError):
            register.Call.read({}, b'{"email": "ada@example.com"}')


class CommandLine(unittest.TestCase):
    def setUp(self) -> None:
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.enterContext(mock.patch.dict(os.environ, DATABASE=f"{folder}/requests.db"))
        db = register.open_register()
        self.addCleanup(db.close)
        deadline = NOW + timedelta(seconds=15)
        register.decide(db, call(name="Ada\x1b[2J\nLovelace", deadline=deadline), lambda: NOW)

    def run_with(self, *arguments: str) -> tuple[int, str]:
        out = io.StringIO()
        with mock.patch("sys.argv", ["approvals.py", *arguments]):
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                return approvals.main(), out.getvalue()

    def test_who_waits_is_listed_until_it_is_settled_and_cannot_write_to_the_terminal(self) -> None:
        line = f"ada@example.com\twaiting\t{NOW.isoformat()}\tAda?[2J?Lovelace\n"
        self.assertEqual(self.run_with("list"), (0, line))
        self.assertEqual(self.run_with("approve", "Ada@Example.com"), (0, "Ada@Example.com is approved\n"))
        self.assertEqual(self.run_with("list"), (0, ""))
        self.assertEqual(self.run_with("list", "--all"), (0, line.replace("waiting", "approved")))
        self.assertEqual(self.run_with("refuse", "ada@example.com"), (0, "ada@example.com is refused\n"))

    def test_an_address_that_is_not_there_is_an_error(self) -> None:
        self.assertEqual(self.run_with("approve", "alan@example.com"), (1, "alan@example.com has not asked\n"))


class WithoutNats(unittest.TestCase):
    def test_it_ends_when_it_is_told_to_also_before_it_has_reached_nats(self) -> None:
        folder = self.enterContext(tempfile.TemporaryDirectory())
        nobody = self.enterContext(socket.socket())
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        there = {"NATS_URL": f"nats://127.0.0.1:{nobody.getsockname()[1]}", "DATABASE": f"{folder}/requests.db"}
        command = [sys.executable, Path(__file__).with_name("worker.py")]
        worker = subprocess.Popen(command, env={**os.environ, **there}, stderr=subprocess.PIPE, text=True)
        self.addCleanup(worker.stderr.close)
        self.addCleanup(worker.wait)
        self.addCleanup(worker.kill)
        self.assertIn("NATS", worker.stderr.readline())  # it has tried
        worker.terminate()
        self.assertEqual(worker.wait(60), 0)


if __name__ == "__main__":
    unittest.main()
