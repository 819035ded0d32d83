"""The real programs that an example runs with: nats-server, the bridge, and the worker itself."""

import contextlib
import dataclasses
import http.client
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import languages
from bus import Bus
from checking import SOON_SECONDS, Fault, expect, free_ports, listens, until
from collector import Collector
from example import Example


@dataclasses.dataclass(frozen=True)
class Tools:
    root: Path
    program: Path
    nats_server: Path
    tools: Path


class Program:
    """A process whose output goes to a file."""

    def __init__(self, command: list, folder: Path, log: Path, environment: dict[str, str]) -> None:
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def is_running(self) -> bool:
        return self.process.poll() is None

    def ended(self) -> int:
        """Its exit code, once it has ended."""
        try:
            return self.process.wait(SOON_SECONDS)
        except subprocess.TimeoutExpired:
            raise Fault(f"does not end:\n{self.said()}") from None

    def kill(self) -> None:
        """With everything that it has started itself."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Stage:
    """Everything that runs for one example; closed at its end, whatever happened."""

    def __init__(self, example: Example, tools: Tools, scratch: Path) -> None:
        self.example, self.tools, self.scratch = example, tools, scratch
        self.programs: list[Program] = []
        self.workers: list[Program] = []
        self.collector = Collector()
        (scratch / "own").mkdir()
        self.places = dict(zip(example.ports, free_ports(len(example.ports))))
        self.places |= {"scratch": scratch / "own", "tools": tools.tools}

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        for program in reversed(self.programs):
            program.kill()
        self.collector.close()

    # What runs beside the worker.

    def start_nats_server(self) -> None:
        log = self.scratch / "nats-server.log"
        command = [self.tools.nats_server, "--addr", "127.0.0.1", "--port", "-1", "--jetstream"]
        command += ["--store_dir", self.scratch / "jetstream", "--ports_file_dir", self.scratch]
        server = self.start(command, self.scratch, log, dict(os.environ))

        def port() -> int | None:
            expect(server.is_running(), server.said())
            for file in self.scratch.glob("*.ports"):
                try:
                    return int(json.loads(file.read_text())["nats"][0].rsplit(":", 1)[1])
                except json.JSONDecodeError:
                    return None  # half written
            return None

        self.nats_port = until("nats-server listens", port)
        self.places["nats"] = f"nats://127.0.0.1:{self.nats_port}"
        self.bus = Bus(self.nats_port)

    def start_bridge(self) -> None:
        addresses = {"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0"}
        configuration = {**addresses, "nats": {"servers": [self.places["nats"]]}, **self.example.configuration()}
        file = self.scratch / "bridge.yaml"
        file.write_text(json.dumps(configuration))  # JSON is YAML
        bridge = self.start([self.tools.program, "serve", "--config", file], self.scratch, self.scratch / "bridge.log", {})

        def ports() -> list[str] | None:
            expect(bridge.is_running(), bridge.said())
            lines = [line for line in bridge.said().splitlines() if "listening" in line]
            return re.findall(r"127\.0\.0\.1:(\d+)", lines[0]) if lines else None

        self.port, self.admin_port = map(int, until("the bridge listens", ports))

    def start_helpers(self) -> None:
        for number, command in enumerate(self.example.helpers):
            self.start(self._filled(command), self.example.folder, self.scratch / f"helper-{number}.log", self.environment())
        for name in self.example.ports:
            until(f"a helper listens at {name}", lambda: listens(self.places[name]))

    # The worker.

    def environment(self) -> dict[str, str]:
        tracing = {"OTEL_EXPORTER_OTLP_ENDPOINT": self.collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        own = {name: self._fill(value) for name, value in self.example.environment.items()}
        nats = {"NATS_URL": self.places["nats"]} if "nats" in self.places else {}
        return {**languages.environment(self.example.language, self.tools.tools), **nats, **tracing, **own}

    def command(self, command: list[str]) -> str:
        """Runs a command of the example to its end, and returns what it prints."""
        done = subprocess.run(
            self._filled(command), cwd=self.example.folder, env=self.environment(), stdin=subprocess.DEVNULL,
            capture_output=True, text=True,
        )
        expect(done.returncode == 0, f"{command} ends with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def start_worker(self) -> None:
        """Starts one more copy, and waits until it listens."""
        self.workers.append(self.start_worker_at(self.bus, len(self.workers) + 1, self.environment()))

    def start_worker_at(self, bus: Bus, count: int, environment: dict[str, str]) -> Program:
        """Starts a copy and returns it when so many listen at the server of this bus."""
        log = self.scratch / f"worker-{len(self.programs)}.log"
        worker = self.start(self._filled(self.example.run), self.example.folder, log, environment)
        try:
            bus.services("INFO", self.example.subject, count)
        except TimeoutError as error:
            raise Fault(f"{error}\n{worker.said()}") from None
        return worker

    def stop_worker(self) -> None:
        """Stops the copy that was started last."""
        worker = self.workers.pop()
        worker.signal(signal.SIGTERM)
        self.expect_clean_end(worker)

    def expect_clean_end(self, worker: Program) -> None:
        code = worker.ended()
        expect(code == self.example.exit, f"ends with {code}\n{worker.said()}")

    def logs(self) -> str:
        """What all copies wrote so far."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.scratch.glob("worker-*.log")))

    # The person.

    def post(self, connector: str, claims: str) -> tuple[int, str, dict]:
        """Status, source and body of the bridge's answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SOON_SECONDS)
        try:
            connection.request("POST", f"/connectors/{connector}", claims.encode(), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.getheader("Connector-Answer-Source", "none"), json.loads(answer.read())
        finally:
            connection.close()

    def status(self) -> dict:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=SOON_SECONDS)
        try:
            connection.request("GET", "/status")
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def start(self, command: list, folder: Path, log: Path, environment: dict[str, str]) -> Program:
        program = Program(command, folder, log, environment)
        self.programs.append(program)
        return program

    def _filled(self, command: list[str]) -> list[str]:
        return [self._fill(word) for word in command]

    def _fill(self, text: str) -> str:
        for name, value in self.places.items():
            text = text.replace(f"{{{name}}}", str(value))
        return text
