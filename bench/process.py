"""Processes that are started, looked at and ended."""

import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from checking import Fault, answers, free_ports, listens, until  # noqa: E402: only now it can be found


class Program:
    """A process whose output goes to a file."""

    def __init__(self, command: list, log: Path, environment: dict[str, str] | None = None) -> None:
        self.log = log
        # Where it serves its metrics, if it does.
        self.admin: int | None = None
        with log.open("wb") as out:
            self.begun = time.monotonic()
            self.process = subprocess.Popen(
                command, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    @property
    def id(self) -> int:
        return self.process.pid

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def says(self, word: str) -> bool:
        """Whether this word has come. A program that has ended is a fault."""
        if self.process.poll() is not None:
            raise Fault(f"{self.process.args[0]} has ended\n{self.said()}")
        return word in self.said()

    def wait_for_port(self, port: int) -> float:
        """Milliseconds from just before the program was started to the first connection that it took."""

        def look() -> bool:
            if self.process.poll() is not None:
                raise Fault(f"{self.process.args[0]} has ended\n{self.said()}")
            return listens(port)

        until(f"{self.process.args[0]} listens", look, pause=0.0001)
        return (time.monotonic() - self.begun) * 1_000

    def memory(self) -> dict[str, float]:
        """MiB that are resident now, and the most that ever were."""
        lines = Path(f"/proc/{self.id}/status").read_text().splitlines()
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Vm")}
        return {"now": kib["VmRSS"] / 1_024, "most": kib["VmHWM"] / 1_024}

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
