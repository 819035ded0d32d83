"""A bridge under callgrind, with a caller, a nats-server and a worker."""

import base64
import contextlib
import dataclasses
import http.client
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import checking

# Lines of the configuration that make a difference to a call.
SETTINGS = {"no log line": "log: {level: warn}", "a log line": "log: {level: info}"}

# The calls of the first run, and how many more the second has.
FEW, MORE = 300, 2_000

SUBJECT = "connectors.signup.before-create"
PASSWORD = "a password of the usual length"
CLAIMS = {
    "displayName": "John Smith",
    "givenName": "John",
    "surname": "Smith",
    "jobTitle": "Supplier",
    "streetAddress": "1000 Microsoft Way",
    "city": "Seattle",
    "postalCode": "12345",
    "state": "Washington",
    "country": "United States",
    "ui_locales": "en-US",
    "identities": [{"signInType": "federated", "issuer": "facebook.com", "issuerAssignedId": "0123456789"}],
}


@dataclasses.dataclass
class Place:
    folder: Path
    program: Path
    valgrind: Path
    nats_server: Path
    nats_python: Path


@contextlib.contextmanager
def running(command, **options):
    """A process; killed at the end, if it has not ended."""
    process = subprocess.Popen(command, text=True, **options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def instructions_of_a_call(place, lines):
    few = instructions(place, lines, FEW)
    return round((instructions(place, lines, FEW + MORE) - few) / MORE)


def instructions(place, lines, calls):
    """What the program has carried out from its start to its end, with so many calls in between."""
    port, admin_port, nats_port = checking.free_ports(3)
    (place.folder / "password").write_text(PASSWORD)
    (place.folder / "config.yaml").write_text(
        f"listen: 127.0.0.1:{port}\n"
        f"admin_listen: 127.0.0.1:{admin_port}\n"
        f'nats: {{servers: ["nats://127.0.0.1:{nats_port}"]}}\n'
        f"{lines}\n"
        "connectors:\n"
        "  signup:\n"
        "    protocol: entra\n"
        "    step: before-create\n"
        "    fallback: {cached: {by: [email]}}\n"
        f"    auth: {{basic: [{{username: entra, password_file: {place.folder}/password}}]}}\n"
    )
    with contextlib.ExitStack() as stack:
        server = [place.nats_server, "--addr", "127.0.0.1", "--port", str(nats_port)]
        stack.enter_context(running(server, stderr=subprocess.DEVNULL))
        stack.enter_context(worker(place, f"nats://127.0.0.1:{nats_port}"))
        bridge = stack.enter_context(callgrind(place))
        if not checking.answers(f"http://127.0.0.1:{admin_port}/readyz", 60):
            raise RuntimeError("the bridge is not ready")
        sign_up(port, calls)
        bridge.terminate()
        bridge.wait(60)
        said = (place.folder / "log").read_text()
    return int(re.search(r"Collected : (\d+)", said).group(1))


@contextlib.contextmanager
def worker(place, server):
    command = [sys.executable, Path(__file__).parents[1] / "worker.py", server, SUBJECT]
    environment = {**os.environ, "PYTHONPATH": str(place.nats_python)}
    with running(command, env=environment, stdout=subprocess.PIPE) as process:
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the worker is not ready")
        yield


@contextlib.contextmanager
def callgrind(place):
    """On one core, so that there is one thread for calls."""
    command = [
        place.valgrind,
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        place.program,
        "serve",
        "--config",
        place.folder / "config.yaml",
    ]
    # Where its tools are, wherever it was unpacked.
    environment = {**os.environ, "VALGRIND_LIB": str(place.valgrind.parents[1] / "libexec/valgrind")}
    core = {min(os.sched_getaffinity(0))}
    with (place.folder / "log").open("w") as log:
        pinned = {"preexec_fn": lambda: os.sched_setaffinity(0, core)}
        with running(command, env=environment, stderr=log, **pinned) as process:
            yield process


def sign_up(port, calls):
    """One person after the other, over one connection. All are decided by the worker."""
    secret = base64.b64encode(f"entra:{PASSWORD}".encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {secret}"}
    caller = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for person in range(calls):
        claims = {"email": f"person-{person:06}@example.com", **CLAIMS}
        caller.request("POST", "/connectors/signup", json.dumps(claims), headers)
        answer = caller.getresponse()
        answer.read()
        if (answer.status, answer.headers["Connector-Answer-Source"]) != (200, "worker"):
            raise RuntimeError(f"call {person} got {answer.status} {answer.headers}")
