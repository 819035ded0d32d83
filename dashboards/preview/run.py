#!/usr/bin/env python3
"""Runs two bridges, NATS, a worker, callers and a Prometheus for some minutes, breaks one thing at
the end, and draws the dashboards from what Prometheus saw. Ends everything that it started."""

import argparse
import base64
import http.client
import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import draw

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FAULTS = (
    "none", "worker-gone", "nats-gone", "worker-slow", "worker-silent", "worker-nonsense", "wrong-password",
    "overload", "store-gone", "bridge-down",
)  # fmt: skip
SUBJECTS = {
    "approve-signup": "before-create",
    "verify-identity": "after-federation",
    "enrich-token": "before-token",
}
CONFIGURATION = """
listen: 127.0.0.1:{listen}
admin_listen: 127.0.0.1:{admin}
drain_delay: 0s
nats: {{servers: ["nats://127.0.0.1:{nats}"]}}
calls: {{store: jetstream, replay_window: 45s, hash_key_file: {folder}/key}}
connectors:
  approve-signup:
    protocol: entra
    step: before-create
    deadline: 4s
    max_in_flight: 12
    auth: {{basic: [{{username: entra, password_file: {folder}/password}}]}}
    claims: {{require: [email]}}
    fallback: {{cached: {{by: [email], max_age: 1h}}}}
    breaker: {{failures: 5, open_for: 5s}}
  verify-identity:
    protocol: entra
    step: after-federation
    deadline: 4s
    max_in_flight: 12
    auth: {{basic: [{{username: entra, password_file: {folder}/password}}]}}
    fallback: {{default: block}}
  enrich-token:
    protocol: b2c
    step: before-token
    max_in_flight: 12
    auth: {{basic: [{{username: b2c, password_file: {folder}/password}}]}}
    fallback: {{default: continue}}
"""


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for(port):
    for _ in range(200):
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
    sys.exit(f"nothing listens on port {port}")


class Callers:
    """People who sign up: so many a second, more or fewer with the time of day."""

    def __init__(self, ports):
        self.ports, self.each_second, self.password, self.ends = ports, 6.0, "right", False
        self.threads = [threading.Thread(target=self.sign_up_again_and_again, daemon=True) for _ in range(60)]
        self.turn, self.lock = time.monotonic(), threading.Lock()
        for one in self.threads:
            one.start()

    def next_turn(self):
        with self.lock:
            now = time.monotonic()
            wave = 1 + 0.35 * math.sin(now / 25)
            self.turn = max(self.turn, now - 1) + random.expovariate(self.each_second * wave)
            return self.turn - now

    def sign_up_again_and_again(self):
        while not self.ends:
            time.sleep(max(0, self.next_turn()))
            if not self.ends:
                self.sign_up()

    def sign_up(self):
        connector = random.choices(list(SUBJECTS), (50, 33, 17))[0]
        domain = random.choices(("example.com", "blocked.example", "typo.example"), (78, 13, 9))[0]
        claims = {
            "email": f"{random.randrange(400)}@{domain}",
            "ui_locales": "en",
            "postalCode": str(random.random()),
        }
        if random.random() < 0.01:
            claims.pop("email")
        body = json.dumps(claims) if random.random() > 0.004 else "no JSON"
        password = self.password if random.random() > 0.006 else "old"
        for _ in range(1 + (random.random() < 0.04)):  # some ask twice
            self.post(connector, body, password)

    def post(self, connector, body, password):
        user = "b2c" if connector == "enrich-token" else "entra"
        basic = base64.b64encode(f"{user}:{password}".encode()).decode()
        headers = {"Content-Type": "application/json", "Authorization": f"Basic {basic}"}
        try:
            connection = http.client.HTTPConnection("127.0.0.1", random.choice(self.ports), timeout=20)
            connection.request("POST", f"/connectors/{connector}", body, headers)
            connection.getresponse().read()
            connection.close()
        except OSError:
            time.sleep(0.1)


class Demo:
    def __init__(self, folder, told):
        self.folder, self.told, self.processes = folder, told, []
        self.nats_port, self.prometheus_port, *ports = free_ports(6)
        self.bridges = [(ports[0], ports[1]), (ports[2], ports[3])]
        (folder / "password").write_text("right")
        (folder / "key").write_text("k" * 32)
        scraped = [f"127.0.0.1:{admin}" for _, admin in self.bridges]
        job = {"job_name": "connector-bridge", "static_configs": [{"targets": scraped}]}
        every = {"global": {"scrape_interval": "2s", "scrape_timeout": "1s"}, "scrape_configs": [job]}
        (folder / "prometheus.yml").write_text(json.dumps(every))

    def start(self, *command, **more):
        with open(self.folder / "log", "ab") as log:
            process = subprocess.Popen([str(one) for one in command], stdout=log, stderr=log, **more)
        self.processes.append(process)
        return process

    def end(self, process):
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def nats(self, *more):
        self.server = self.start(self.told.nats_server, "-a", "127.0.0.1", "-p", self.nats_port, *more)
        wait_for(self.nats_port)

    def mood(self, mood):
        (self.folder / "mood").write_text(mood)

    def worker(self):
        self.mood("well")
        subjects = [f"connectors.{connector}.{step}" for connector, step in SUBJECTS.items()]
        path = {**os.environ, "PYTHONPATH": str(ROOT / ".tools/python")}
        url = f"nats://127.0.0.1:{self.nats_port}"
        self.working = self.start(
            sys.executable, HERE / "worker.py", url, self.folder / "mood", *subjects, env=path
        )

    def bridge(self, at):
        listen, admin = self.bridges[at]
        file = self.folder / f"{at}.yaml"
        text = CONFIGURATION.format(listen=listen, admin=admin, nats=self.nats_port, folder=self.folder)
        file.write_text(text)
        process = self.start(self.told.bridge, "serve", "--config", file)
        wait_for(listen)
        return process

    def run(self):
        self.nats("-js", "-sd", self.folder / "js")
        self.worker()
        running = [self.bridge(0), self.bridge(1)]
        self.start(
            self.told.prometheus, f"--config.file={self.folder}/prometheus.yml",
            f"--storage.tsdb.path={self.folder}/data", f"--web.listen-address=127.0.0.1:{self.prometheus_port}",
        )  # fmt: skip
        wait_for(self.prometheus_port)
        callers = Callers([listen for listen, _ in self.bridges])
        try:
            if self.told.fault == "none":
                self.day(running)
            else:
                time.sleep(self.told.well)
                self.fault(callers, running)
                time.sleep(self.told.ill)
        finally:
            callers.ends = True

    def day(self, running):
        """A bit of everything, and all well at the end."""
        part = (self.told.well + self.told.ill) / 12
        time.sleep(3 * part)
        self.end(self.working)  # nobody decides, for a while
        time.sleep(1.2 * part)
        self.worker()
        time.sleep(2 * part)
        self.end(running[1])  # one of the two is replaced
        self.bridge(1)
        time.sleep(1 * part)
        self.mood("slow")
        time.sleep(0.6 * part)
        self.mood("well")
        time.sleep(4.2 * part)

    def fault(self, callers, running):
        fault = self.told.fault
        if fault == "worker-gone":
            self.end(self.working)
        elif fault == "worker-slow":
            self.mood("slow")
        elif fault == "worker-nonsense":
            self.mood("nonsense")
        elif fault == "worker-silent":
            self.working.send_signal(signal.SIGSTOP)
        elif fault == "overload":
            self.mood("busy")
            callers.each_second = 160
        elif fault == "nats-gone":
            self.end(self.server)
        elif fault == "store-gone":
            self.end(self.server)
            self.nats()  # without JetStream
        elif fault == "wrong-password":
            callers.password = "changed"
        elif fault == "bridge-down":
            for one in running:
                self.end(one)

    def pictures(self):
        seconds = self.told.well + self.told.ill - 20  # the first moments are all start
        url, now = f"http://127.0.0.1:{self.prometheus_port}", time.time()
        self.told.out.mkdir(parents=True, exist_ok=True)
        for name in ("operations", "identity"):
            dashboard = ROOT / f"dashboards/{name}.json"
            more = {"end": now, "seconds": seconds, "scrape": 5, "theme": self.told.theme}
            draw.draw(dashboard, self.told.out / name, url, rows=self.told.rows, **more)
            if self.told.expand:
                draw.draw(dashboard, self.told.out / f"{name}-all", url, expand=True, **more)


def found(name, *places):
    return shutil.which(name) or next((str(one) for one in places if Path(one).exists()), name)


def main():
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    ask.add_argument("--fault", choices=FAULTS, default="none")
    ask.add_argument("--well", type=float, default=170, help="seconds before the fault")
    ask.add_argument("--ill", type=float, default=140, help="seconds with it")
    ask.add_argument("--theme", choices=draw.THEMES, default="dark")
    ask.add_argument("--rows", type=int, default=0, help="only so many rows of each dashboard")
    ask.add_argument("--expand", action="store_true", help="pictures with all rows open, too")
    ask.add_argument(
        "--keep", action="store_true", help="then wait for a key, so that Prometheus can be asked"
    )
    ask.add_argument("--bridge", default=str(ROOT / "target/release/connector-bridge"))
    ask.add_argument(
        "--nats-server", default=found("nats-server", ROOT / ".tools/nats-server/bin/nats-server")
    )
    ask.add_argument("--prometheus", default=found("prometheus", ROOT / ".tools/prometheus/prometheus"))
    told = ask.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that all is ended then, too
    with tempfile.TemporaryDirectory() as folder:
        demo = Demo(Path(folder), told)
        try:
            demo.run()
            demo.pictures()
            if told.keep:
                input(f"Prometheus: http://127.0.0.1:{demo.prometheus_port}  (Enter ends it)")
        except BaseException:
            print((Path(folder) / "log").read_text(errors="replace")[-2000:], file=sys.stderr)
            raise
        finally:
            for process in demo.processes:
                if process.poll() is None:
                    demo.end(process)


if __name__ == "__main__":
    main()
