"""Runs an image with runc as Kubernetes would under the restricted profile."""

import contextlib
import json
import os
import subprocess
from pathlib import Path

RUN_SECONDS_MAX = 60
SECCOMP_ARCHITECTURES = {"amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64"}


def seccomp(profile, architecture):
    """The runtime's default profile, for a container without capabilities."""
    source = json.loads(profile.read_text())
    rules = []
    for rule in source["syscalls"]:
        wanted, unwanted = rule.get("includes") or {}, rule.get("excludes") or {}
        if wanted.get("caps") or architecture not in (wanted.get("arches") or [architecture]):
            continue
        if architecture in (unwanted.get("arches") or []):
            continue
        kept = {"names": rule["names"], "action": rule["action"]}
        kept |= {key: rule[key] for key in ("args", "errnoRet") if rule.get(key)}
        rules.append(kept)
    return {
        "defaultAction": source["defaultAction"],
        "defaultErrnoRet": source["defaultErrnoRet"],
        "architectures": [SECCOMP_ARCHITECTURES[architecture]],
        "syscalls": rules,
    }


class Bundle:
    """An image, unpacked and ready to run. It shares the network of the machine: a nats-server on
    loopback is reached."""

    def __init__(self, tools, image, name):
        self.tools, self.name = tools, f"{name}-{os.getpid()}"
        self.architecture = image.config["architecture"]
        self.folder = tools.scratch / name
        layout = image.alone(tools.scratch / f"{name}-layout")
        tools.run("umoci", "unpack", "--image", f"{layout}:latest", self.folder)
        self.path = self.folder / "config.json"
        self.config = json.loads(self.path.read_text())

    @property
    def state(self):
        return self.tools.scratch / "runc"

    def restrict(self, arguments, mounts=()):
        """Writes what runc reads: the image's own user and entry point, and these arguments."""
        entry = self.config["process"]["args"][:1]
        process = {
            "terminal": False,
            "user": self.config["process"]["user"],
            "args": [*entry, *arguments],
            "env": self.config["process"]["env"],
            "cwd": "/",
            "capabilities": {},
            "rlimits": [],
            "noNewPrivileges": True,
        }
        config = {
            "ociVersion": "1.0.2",
            "process": process,
            "root": {"path": "rootfs", "readonly": True},
            "hostname": self.name,
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                *(
                    {"destination": inside, "type": "bind", "source": str(outside), "options": ["bind", "ro"]}
                    for inside, outside in mounts
                ),
            ],
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup")],
                "seccomp": seccomp(self.tools.folder / "seccomp.json", self.architecture),
                "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/sysrq-trigger"],
                "readonlyPaths": ["/proc/sys"],
            },
        }
        self.path.write_text(json.dumps(config))

    def run(self, arguments, mounts=()):
        """Runs it to its end."""
        self.restrict(arguments, mounts)
        return subprocess.run(
            self._command(), capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=RUN_SECONDS_MAX
        )

    def start(self, arguments, mounts, log: Path):
        """Starts it. What it says goes to a file."""
        self.restrict(arguments, mounts)
        with log.open("w") as out:
            return subprocess.Popen(self._command(), stdout=out, stderr=out, stdin=subprocess.DEVNULL)

    def _command(self):
        return [self.tools.folder / "bin/runc", "--root", self.state, "run", "--bundle", self.folder, self.name]

    def pid(self):
        """The program inside, as the machine numbers it."""
        state = self.tools.run("runc", "--root", self.state, "state", self.name)
        return json.loads(state)["pid"]

    def signal(self, signal):
        self.tools.run("runc", "--root", self.state, "kill", self.name, signal)

    def remove(self):
        """Ends it, if it still runs."""
        with contextlib.suppress(RuntimeError):
            self.tools.run("runc", "--root", self.state, "delete", "--force", self.name)
