"""What compose.yaml starts, as plain processes. Each service gets a folder that stands for the file
system of its container: what is mounted lies there at the same path. In commands, environment and
configuration, paths then begin with that folder, and names and ports of services are ports here.
Nothing else is changed."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import yaml

from checking import free_ports

# The ports that programs listen on in their containers, for those who do not write them down.
PORTS = {"nats": (4222, 8222), "bridge": (8080, 9090), "prometheus": (9090,), "alertmanager": (9093,), "grafana": (3000,)}


class Laptop:
    """The services of compose.yaml, in a folder of their own."""

    def __init__(self, deploy, folder):
        self.deploy, self.folder = deploy, folder
        self.place = folder / "repository/deploy"
        kept_out = shutil.ignore_patterns("secrets", ".terraform*")
        shutil.copytree(deploy.root / "deploy", self.place, ignore=kept_out)
        for name in ("dashboards", "examples"):
            (folder / "repository" / name).symlink_to(deploy.root / name)
        subprocess.run([self.place / "compose/make-secrets"], check=True)
        self.compose = yaml.safe_load((self.place / "compose.yaml").read_text())
        pairs = [(name, port) for name, ports in PORTS.items() for port in ports]
        self.ports = dict(zip(pairs, free_ports(len(pairs))))
        self.processes = {}
        for name, service in self.compose["services"].items():
            self.lay_out(name, service)

    def mounts(self, service):
        """(where it is here, where it is in the container) of every file that is mounted."""
        for volume in service.get("volumes", []):
            source, target, *_ = volume.split(":")
            if source.startswith("."):
                yield self.place / source, target
        for secret in service.get("secrets", []):
            yield self.place / self.compose["secrets"][secret]["file"], f"/run/secrets/{secret}"

    def volumes(self, service):
        """Where folders that are kept are mounted."""
        return [target for source, target, *_ in (each.split(":") for each in service.get("volumes", [])) if source[0] != "."]

    def lay_out(self, name, service):
        for source, target in self.mounts(service):
            path = self.root(name) / target[1:]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.translated(name, source.read_text()))
        for target in self.volumes(service):
            (self.root(name) / target[1:]).mkdir(parents=True, exist_ok=True)

    def root(self, name):
        return self.folder / name

    def translated(self, name, text):
        """A text of this service, as it has to be here."""
        service = self.compose["services"][name]
        targets = [target for _, target in self.mounts(service)] + self.volumes(service)
        # Folders that hold what is mounted, longest first, so that no path is changed twice.
        folders = sorted({str(Path(target).parent) for target in targets} | set(self.volumes(service)), key=len, reverse=True)
        folders = [each for each in folders if each != "/"]
        if folders:
            pattern = "|".join(re.escape(each) for each in folders)
            text = re.sub(rf"(?<![\w./-])({pattern})(?=[/\s\"']|$)", lambda found: f"{self.root(name)}{found[1]}", text)
        for (other, port), here in self.ports.items():
            if other == name:
                text = re.sub(rf"\b(0\.0\.0\.0|127\.0\.0\.1):{port}\b", f"127.0.0.1:{here}", text)
            text = re.sub(rf"\b{other}:{port}\b", f"127.0.0.1:{here}", text)
        return text

    def words(self, name, words):
        """A command of this service, without the shell's own escape of Compose."""
        return [self.translated(name, word.replace("$$", "$")) for word in words]

    def program(self, name):
        """What the image begins with, and where compose.yaml says otherwise, that."""
        service = self.compose["services"][name]
        own = {
            "bridge": [self.deploy.program],
            "prometheus": [self.deploy.prometheus / "prometheus", f"--web.listen-address=127.0.0.1:{self.ports['prometheus', 9090]}"],
            "alertmanager": [
                self.deploy.prometheus / "alertmanager", f"--web.listen-address=127.0.0.1:{self.ports['alertmanager', 9093]}",
            ],
        }  # fmt: skip
        return own.get(name, []) + self.words(name, service.get("entrypoint", []))

    def environment(self, name):
        service = self.compose["services"][name]
        written = {key: self.translated(name, value) for key, value in service.get("environment", {}).items()}
        path = f"{self.deploy.nats_server.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {"PATH": path, "PYTHONPATH": str(self.deploy.nats_python), **written}

    def run(self, name, words, **more):
        """A command in the place of this service, to its end."""
        return subprocess.run(
            [str(word) for word in words], cwd=self.workdir(name), env=self.environment(name),
            capture_output=True, text=True, timeout=60, **more,
        )  # fmt: skip

    def workdir(self, name):
        build = self.compose["services"][name].get("build", {})
        context = self.place / build.get("context", ".")
        # The worker's image holds the files of its folder.
        return context if name == "worker" else self.root(name)

    def start(self, name):
        service = self.compose["services"][name]
        words = [str(word) for word in self.program(name) + self.words(name, service.get("command", []))]
        with open(self.folder / f"{name}.log", "a") as log:
            self.processes[name] = subprocess.Popen(
                words, cwd=self.workdir(name), env=self.environment(name), stdout=log, stderr=log, start_new_session=True
            )

    def stop(self, name):
        """As Compose does: SIGTERM, and its exit code."""
        process = self.processes.pop(name)
        process.terminate()
        try:
            return process.wait(30)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return process.wait()

    def log(self, name):
        return (self.folder / f"{name}.log").read_text()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for name in list(self.processes):
            self.stop(name)
