"""What holds for every example worker."""

import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from itertools import count
from pathlib import Path

import page
from bus import Message
from checking import SOON_SECONDS, Total, expect, until
from example import REPLAY_WINDOW_SECONDS, Example, Sample
from login import end_login
from stage import Stage, Tools

TRACE, PARENT = "7a085853722dc6d2d7a1a5a4c1b9e3f0", "00f067aa0ba902b7"

# How many calls two copies share.
SHARED_CALLS = 40

# How many calls wait when a copy is told to stop, and how much longer each is made: together more
# than a worker takes from its socket at once.
WAITING_CALLS = 100
NOTE_BYTES = 32_768


def run(example: Example, files: dict[str, str], tools: Tools, total: Total) -> None:
    """Builds a worker and holds it against everything; one from the page, whose files are given,
    against what it promises. Stops where the rest would be in vain."""

    def check(name: str, work: Callable[..., None], *arguments: object) -> bool:
        return total.check(f"{example.name}: {name}", work, *arguments)

    with tempfile.TemporaryDirectory() as scratch, Stage(example, tools, Path(scratch)) as stage:
        if not check("builds", build, stage, files):
            return
        if example.test:
            check("its own tests pass", test, stage)
        if not check("is listed by the bridge", start, stage):
            return
        for sample in example.samples:
            check(sample.name, play, stage, sample)
        calls = Calls(stage)
        check("says so where it cannot decide", cannot_decide, calls)
        check("keeps the contract", worker_check, stage)
        if files:
            if example.language == page.SHOWN:
                check("prints what the page shows", shown, stage)
            return
        check("is not deaf when its login has ended", end_login, stage)
        check("continues the trace", trace, calls)
        check("repeats no effect", repeat, calls)
        check("shares its calls with a copy", share, calls)
        check("starts nothing late, and finishes what it has when it is told to stop", stop, calls)
        check("logs nothing of the claims", log, calls)


def build(stage: Stage, files: dict[str, str]) -> None:
    stage.start_nats_server()
    if files:
        page.save(files, stage.example.folder, stage.places["nats"])
    for command in stage.example.build:
        stage.command(command)


def test(stage: Stage) -> None:
    for command in stage.example.test:
        stage.command(command)


def start(stage: Stage) -> None:
    stage.start_helpers()
    stage.start_worker()
    # The bridge asks when it starts, and then only every 15 s.
    stage.start_bridge()

    def all_seen() -> bool:
        connectors = stage.status()["connectors"]
        return all(connectors[name]["workers_available"] == 1 for name in stage.example.connectors)

    until("workers_available is 1", all_seen)


def play(stage: Stage, sample: Sample) -> None:
    """A person signs up, and gets what is documented."""
    if sample.restart:
        stage.stop_worker()
        stage.start_worker()
    if sample.before:
        printed = stage.command(sample.before)
        is_as_said = sample.prints in printed and bool(sample.prints) == bool(printed)
        expect(is_as_said, f"{sample.before} prints {printed!r}")
    status, source, body = stage.post(sample.connector, sample.claims)
    if sample.anew:
        end = time.monotonic() + 3 * REPLAY_WINDOW_SECONDS
        while source == "replay" and time.monotonic() < end:
            time.sleep(0.1)
            status, source, body = stage.post(sample.connector, sample.claims)
    body = {name: value for name, value in body.items() if name not in ("version", "status")}
    found = (status, source, body)
    wanted = (sample.expected_status, sample.source, sample.answer)
    expect(found == wanted, f"wanted {wanted}\nfound  {found}")


class Calls:
    """Calls straight to the worker, each of another person."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.bus, self.subject = stage, stage.bus, stage.example.subject
        self.numbers = count(1)
        self.sent: list[bytes] = []
        self.connector = next(iter(stage.example.connectors))
        self.step = stage.example.connectors[self.connector]["step"]

    def claims(self) -> bytes:
        """Those of somebody who did not sign up before."""
        self.sent.append(self.stage.example.probe.replace("{n}", str(next(self.numbers))).encode())
        return self.sent[-1]

    def long_claims(self) -> bytes:
        return json.dumps({**json.loads(self.claims()), "note": "x" * NOTE_BYTES}).encode()

    def headers(self, call_id: str, attempt: int = 1, seconds: float = SOON_SECONDS) -> dict[str, str]:
        """As the bridge sends them. The deadline is in so many seconds, or was where they are negative."""
        deadline = datetime.now(timezone.utc) + timedelta(seconds=seconds)
        protocol = self.stage.example.connectors[self.connector]["protocol"]
        return {
            "Content-Type": "application/json",
            "Connector-Name": self.connector,
            "Connector-Step": self.step,
            "Connector-Protocol": protocol,
            "Connector-Call-Id": call_id,
            "Nats-Msg-Id": call_id,
            "Connector-Attempt": str(attempt),
            "Connector-Deadline": deadline.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "traceparent": f"00-{TRACE}-{PARENT}-01",
        }

    def ask(self, claims: bytes, call_id: str, attempt: int = 1) -> Message:
        return self.bus.request(self.subject, claims, self.headers(call_id, attempt))

    def effects(self) -> list[str]:
        """What the worker has done so far, beside replying."""
        effects = self.stage.example.effects
        return self.stage.command(effects["command"]).splitlines() if effects else []


def action(reply: Message) -> str:
    """Of a reply that is a decision."""
    expect("Nats-Service-Error-Code" not in reply.headers, reply)
    return json.loads(reply.payload)["action"].lower()


def cannot_decide(calls: Calls) -> None:
    for claims in (b"no JSON", b"[]", b"", calls.claims()[:-1]):
        reply = calls.bus.request(calls.subject, claims, calls.headers("0" * 32))
        expect(reply.headers.get("Nats-Service-Error-Code", "").isdigit(), f"{claims!r}: {reply}")
        expect(reply.headers.get("Nats-Service-Error"), f"{claims!r}: {reply}")


def trace(calls: Calls) -> None:
    action(calls.ask(calls.claims(), "1" * 32))
    expect(calls.stage.collector.until_below(TRACE, PARENT, SOON_SECONDS), "no span below the message's")


def repeat(calls: Calls) -> None:
    """Attempt 1 again, as after the replay window or from another replica, and attempt 2."""
    claims, before = calls.claims(), calls.effects()
    first = action(calls.ask(claims, "2" * 32))
    if calls.stage.example.effects:
        until("the effect", lambda: len(calls.effects()) == len(before) + 1)
    after = calls.effects()
    for attempt in (1, 2, 1, 3):
        expect(action(calls.ask(claims, "2" * 32, attempt)) == first, f"decides otherwise at attempt {attempt}")
    # An effect may come behind the reply; those of other calls come behind this one's.
    if calls.stage.example.effects:
        action(calls.ask(calls.claims(), "3" * 32))
        until("the effect of another call", lambda: len(calls.effects()) > len(after))
        expect(len(calls.effects()) == len(after) + 1, f"{len(calls.effects()) - len(after) - 1} effects were repeated")


def share(calls: Calls) -> None:
    """Two copies: each call goes to one of them, and both get some."""
    stage = calls.stage
    before = requests(calls, 1)
    stage.start_worker()
    number = calls.bus.subscribe("share.*")
    for call in range(SHARED_CALLS):
        calls.bus.publish(calls.subject, calls.claims(), f"share.{call}", calls.headers(f"{call:031}a"))
    replies = [calls.bus.next(number) for _ in range(SHARED_CALLS)]
    expect(all(replies), f"{replies.count(None)} calls without a reply")
    asked = requests(calls, 2)
    expect(sum(asked) - sum(before) == SHARED_CALLS, f"two copies got {sum(asked) - sum(before)} of {SHARED_CALLS} calls")
    expect(all(new > 0 for new in asked) and sorted(asked)[-1] < sum(before) + SHARED_CALLS, f"one got all: {asked}")
    stage.stop_worker()
    late = calls.bus.arrived(number)
    calls.bus.unsubscribe(number)
    expect(not late, f"{len(late)} calls with two replies")


def requests(calls: Calls, copies: int) -> list[int]:
    """How many calls each copy got, as it says itself."""
    stats = calls.bus.services("STATS", calls.subject, copies)
    return [
        endpoint["num_requests"]
        for service in stats for endpoint in service["endpoints"] if endpoint["subject"] == calls.subject
    ]


def stop(calls: Calls) -> None:
    """Calls have arrived when the signal comes: those in time are answered, one that is late is not,
    and has no effect."""
    [worker] = calls.stage.workers
    before = calls.effects()
    number = calls.bus.subscribe("stop.*")
    worker.signal(signal.SIGSTOP)
    calls.bus.publish(calls.subject, calls.claims(), "stop.late", calls.headers("4" * 32, seconds=-1))
    wanted = {f"stop.{call}" for call in range(WAITING_CALLS)}
    for call in range(WAITING_CALLS):
        calls.bus.publish(calls.subject, calls.long_claims(), f"stop.{call}", calls.headers(f"{call:031}b"))
    calls.bus.flush()  # the server has passed them all on
    worker.signal(signal.SIGTERM)
    worker.signal(signal.SIGCONT)
    calls.stage.workers.clear()
    calls.stage.expect_clean_end(worker)
    replies = calls.bus.arrived(number)
    found = [reply.subject for reply in replies if action(reply)]
    expect("stop.late" not in found, "a call was decided after its deadline")
    expect(set(found) == wanted, f"{len(wanted - set(found))} of {len(wanted)} calls are not answered\n{worker.said()}")
    expect(len(found) == len(wanted), "a call has two replies")
    if calls.stage.example.effects:
        done = len(calls.effects()) - len(before)
        expect(done == len(wanted), f"{done} effects for {len(wanted)} calls in time and one that is late")


def worker_check(stage: Stage) -> None:
    """As the program itself judges it, with its effects where it publishes them."""
    command = [stage.tools.program, "worker-check", stage.example.subject, "--server", stage.places["nats"]]
    if subject := stage.example.effects.get("published"):
        claims = stage.scratch / "claims.json"
        claims.write_text(stage.example.probe.replace("{n}", "0"))
        command += ["--effects", subject, "--claims", claims]
    done = subprocess.run(command, capture_output=True, text=True)
    expect(done.returncode == 0, f"ends with {done.returncode}\n{done.stdout}{done.stderr}")


def shown(stage: Stage) -> None:
    places = {page.NATS_URL: stage.places["nats"], page.BRIDGE_URL: f"http://127.0.0.1:{stage.port}"}
    page.shows_what_is_printed(stage.tools.root, stage.scratch, stage.tools.program, places)


def log(calls: Calls) -> None:
    """No text of a claim with some length, be it one that came or one that went back."""
    samples = calls.stage.example.samples
    claims = [json.loads(each) for each in (*calls.sent, *(sample.claims for sample in samples))]
    claims += [{**sample.answer, "action": "", "userMessage": ""} for sample in samples]
    looked_for = {text for text in texts(claims) if len(text) >= 8}
    expect(looked_for, "no claim is long enough to look for")
    logs = calls.stage.logs()
    found = sorted(text for text in looked_for if text in logs)
    expect(not found, f"the log has {found}\n{logs}")


def texts(value: object) -> Iterator[str]:
    """Every string in a JSON value that is not the name of a member."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts(each)
