"""A nats-server and a worker, and where things are. Each turn has its own: nothing is left over from
the turn before, such as records in the store that end one after the other."""

import contextlib
import dataclasses
import json
import subprocess
import tempfile
from pathlib import Path

from process import Fault, Program, free_ports, until

HERE = Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Tools:
    bridge: Path
    nats_server: Path
    # What bench/Cargo.toml builds.
    programs: Path
    # Where `make` has put what the bridges in Node and Python need.
    packages: Path


class Stage:
    """To be entered: what was started is ended at the end."""

    def __init__(self, tools: Tools, servers: int = 1, after_ms: int = 0) -> None:
        self.tools = tools
        self.count = servers
        self.after_ms = after_ms
        self.programs: list[Program] = []
        self.nats = ""

    def __enter__(self) -> "Stage":
        with contextlib.ExitStack() as undo:
            folder = tempfile.TemporaryDirectory(prefix="connector-bridge-bench-")
            undo.callback(folder.cleanup)
            self.scratch = Path(folder.name)
            undo.callback(self._end)
            self._start_servers()
            self._start_worker()
            self.undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.undo.close()

    def _end(self) -> None:
        for program in reversed(self.programs):
            program.kill()

    def start(self, command: list, environment: dict[str, str] | None = None) -> Program:
        log = self.scratch / f"{len(self.programs)}.log"
        program = Program(command, log, environment)
        self.programs.append(program)
        return program

    def end(self, program: Program) -> None:
        program.kill()
        self.programs.remove(program)
        program.log.unlink()

    def file(self, name: str, text: str) -> Path:
        path = self.scratch / name
        path.write_text(text)
        return path

    def load(self, *words: object) -> dict:
        """One measurement by the load generator."""
        command = [self.tools.programs / "load", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Fault(f"load {' '.join(map(str, words))}\n{done.stderr}")
        return json.loads(done.stdout)

    def _start_servers(self) -> None:
        ports = free_ports(self.count)
        routes = free_ports(self.count)
        servers = []
        for number, port in enumerate(ports):
            command = [self.tools.nats_server, "--addr", "127.0.0.1", "--port", str(port), "--jetstream"]
            command += ["--store_dir", self.scratch / f"jetstream-{number}", "--name", f"bench-{number}"]
            if self.count > 1:
                urls = ",".join(f"nats://127.0.0.1:{route}" for route in routes)
                command += ["--cluster_name", "bench", "--cluster", f"nats://127.0.0.1:{routes[number]}"]
                command += ["--routes", urls]
            servers.append(self.start(command))
        for server, port in zip(servers, ports):
            server.wait_for_port(port)
        if self.count > 1:
            until("a leader of JetStream", lambda: any(s.says("JetStream cluster new metadata leader") for s in servers))
        self.nats = ",".join(f"nats://127.0.0.1:{port}" for port in ports)

    def _start_worker(self) -> None:
        settings = {"NATS_URL": self.nats} | ({"AFTER_MS": str(self.after_ms)} if self.after_ms else {})
        worker = self.start([self.tools.programs / "worker"], settings)
        until("the worker listens", lambda: worker.says("listening"))
