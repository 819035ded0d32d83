"""What checks written in Python have in common: how one is carried out, and what it says."""

import dataclasses
import socket
import time
import traceback
import urllib.request


class Note(str):
    """Said, but no fault."""


@dataclasses.dataclass
class Outcome:
    faults: list
    note: str = ""


def outcome(check, subject):
    """A check yields faults; one that breaks has failed."""
    notes, faults = [], []
    try:
        for found in check(subject):
            (notes if isinstance(found, Note) else faults).append(str(found))
    except Exception:
        faults.append(traceback.format_exc())
    return Outcome(faults, f": {', '.join(notes)}" if notes else "")


def carry_out(checks, subject):
    """Prints what each check says. How many failed."""
    failed = 0
    for check in checks:
        begun = time.monotonic()
        said = outcome(check, subject)
        name = check.__name__.replace("_", " ")
        print(f"{'FAIL' if said.faults else 'ok  '} {name} ({time.monotonic() - begun:.1f} s){said.note}", flush=True)
        for fault in said.faults[:20]:
            print(f"     {fault}")
        failed += bool(said.faults)
    return failed


def free_ports(count):
    """Ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


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
