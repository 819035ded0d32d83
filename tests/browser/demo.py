"""The demo as people start it: a process, and what it prints."""

import base64
import json
import re
import subprocess
import urllib.request
from pathlib import Path


class Demo:
    """Ended, by a signal to this process alone, when left."""

    def __init__(self, program: Path, nats_server: Path):
        command = [program, "demo", "--nats-server", nats_server]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        printed = ""
        for line in self.process.stdout:
            printed += line
            # The last line that it prints before it waits.
            if re.fullmatch(r"\s+http://127\.0\.0\.1:\d+/connectors/sign-up\n", line):
                break
        self.page = re.search(r"yourself at (http://127\.0\.0\.1:\d+)", printed)[1]
        self.bridge = re.search(r"the bridge on (http://127\.0\.0\.1:\d+)", printed)[1]
        self.password = re.search(r"curl -si -u demo:(\S+)", printed)[1]
        assert "FAIL" not in printed, printed

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(timeout=20) == 0

    @property
    def basic(self) -> str:
        return base64.b64encode(f"demo:{self.password}".encode()).decode()

    def call(self, connector: str, claims: dict) -> int:
        """A call of somebody else, who knows the password."""
        request = urllib.request.Request(
            f"{self.bridge}/connectors/{connector}",
            json.dumps(claims).encode(),
            {"Authorization": f"Basic {self.basic}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return answer.status
