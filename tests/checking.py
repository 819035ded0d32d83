"""What checks written in Python have in common: how one is carried out, and what it says."""

import dataclasses
import socket
import time
import traceback
import urllib.request

# How long anything may take that should happen soon.
SOON_SECONDS = 60


class Note(str):
    """Said, but no fault."""


class Fault(Exception):
    """What is wrong, in words. Ends a check."""


def expect(holds, fault):
    if not holds:
        raise Fault(fault)


@dataclasses.dataclass
class Outcome:
    faults: list
    note: str = ""


def outcome(check, *subject):
    """A check yields faults and notes, or raises its one fault; one that breaks has failed."""
    notes, faults = [], []
    try:
        for found in check(*subject) or ():
            (notes if isinstance(found, Note) else faults).append(str(found))
    except Fault as fault:
        faults.append(str(fault))
    except Exception:
        faults.append(traceback.format_exc())
    return Outcome(faults, f": {', '.join(notes)}" if notes else "")


class Total:
    """How many checks passed, failed and were not run; says each as it comes."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def check(self, name, check, *subject):
        """Carries out a check. Whether it passed."""
        begun = time.monotonic()
        said = outcome(check, *subject)
        print(f"{'FAIL' if said.faults else 'ok  '} {name} ({time.monotonic() - begun:.1f} s){said.note}", flush=True)
        for fault in said.faults[:20]:
            print("\n".join(f"     {line}" for line in fault.splitlines()[-40:]), flush=True)
        self.passed += not said.faults
        self.failed += bool(said.faults)
        return not said.faults

    def skip(self, why):
        self.skipped += 1
        print(f"skip {why}", flush=True)

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def carry_out(checks, subject):
    """Each of these checks, by its name."""
    total = Total()
    for check in checks:
        total.check(check.__name__.replace("_", " "), check, subject)
    return total


def free_ports(count):
    """Ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def listens(port):
    """Whether somebody takes connections at this port."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def until(what, look, seconds=SOON_SECONDS, pause=0.02):
    """What `look` finds, as soon as it finds something."""
    end = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > end:
            raise Fault(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)
    return found


def answers(url, seconds=20):
    """Whether this URL answers with 200 within some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=2) as response:
                return response.status == 200
        except OSError:
            time.sleep(0.05)
    return False
