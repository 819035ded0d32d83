"""What a worker does when its login ends: somebody has changed the password in the configuration of
nats-server. Several clients give up for good then, and a worker that lives on without one is deaf."""

import os
import signal
from pathlib import Path

from bus import Bus
from checking import expect, free_ports, listens, until
from stage import Program, Stage

# One of the connections that a client tries may be refused, and the next one not.
REFUSALS = 3


def end_login(stage: Stage) -> None:
    """It ends with an error that its log tells, or comes back once its password counts again."""
    folder = stage.scratch / "login"
    folder.mkdir()
    [port] = free_ports(1)
    configure(folder, port, "first")
    server = stage.start([stage.tools.nats_server, "--config", folder / "nats.conf"], folder, folder / "out", dict(os.environ))
    until("nats-server listens", lambda: listens(port))
    environment = {**stage.environment(), "NATS_URL": f"nats://worker:first@127.0.0.1:{port}"}
    worker = stage.start_worker_at(bus := Bus(port), 1, environment)
    before = len(worker.said())

    reload(server, folder, port, "second")
    log = folder / "log"
    until("it is refused", lambda: not worker.is_running() or log.read_text().count("authentication error") >= REFUSALS)
    reload(server, folder, port, "first")
    until("it has ended, or listens again", lambda: not worker.is_running() or bus.is_served(stage.example.subject))
    if not worker.is_running():
        expect(worker.ended() > 0, f"ends with {worker.ended()}")
        said = worker.said()[before:].lower()
        expect("clos" in said or "auth" in said, f"does not say why it ends: {said}")
    worker.kill()


def configure(folder: Path, port: int, password: str) -> None:
    """Everybody else has all rights without a password."""
    (folder / "nats.conf").write_text(f"""
        listen: "127.0.0.1:{port}"
        logfile: "{folder}/log"
        jetstream: {{store_dir: "{folder}/jetstream"}}
        no_auth_user: all
        authorization: {{users: [{{user: all, password: all}}, {{user: worker, password: {password}}}]}}
    """)


def reload(server: Program, folder: Path, port: int, password: str) -> None:
    configure(folder, port, password)
    before = (folder / "log").read_text().count("Reloaded")
    server.signal(signal.SIGHUP)
    until("nats-server has reloaded", lambda: (folder / "log").read_text().count("Reloaded") > before)
