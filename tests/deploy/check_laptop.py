"""What compose.yaml starts, really run: see laptop.py."""

import json
import re
import shlex
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import yaml

from checking import Note, answers
from laptop import Laptop


def every_program_accepts_its_configuration(deploy):
    with tempfile.TemporaryDirectory() as folder:
        laptop = Laptop(deploy, Path(folder))
        root = laptop.root
        nats = laptop.words("nats", laptop.compose["services"]["nats"]["command"])[0]
        commands = {
            "bridge": [deploy.program, "check", "--files", "--config", root("bridge") / "etc/connector-bridge/bridge.yaml"],
            "nats": ["sh", "-ec", nats.replace("exec nats-server", "exec nats-server -t")],
            "prometheus": [deploy.prometheus / "promtool", "check", "config", root("prometheus") / "etc/prometheus/prometheus.yaml"],
            "alertmanager": [deploy.prometheus / "amtool", "check-config", root("alertmanager") / "etc/alertmanager/alertmanager.yaml"],
        }  # fmt: skip
        for name, command in commands.items():
            said = laptop.run(name, command)
            if said.returncode:
                yield f"{name}: {said.stdout}{said.stderr}"
            if name == "bridge" and said.stderr:
                yield f"the bridge warns: {said.stderr}"
        without = laptop.run("nats", ["sh", "-ec", "nats-server -t --config " + str(root("nats") / "etc/nats/nats.conf")])
        if not without.returncode:
            yield "nats-server needs no passwords"


def a_sign_up_goes_all_the_way(deploy):
    """As compose/README.md tells it, twice: the second time with what the first has left."""
    text = (deploy.root / "deploy/compose/README.md").read_text()
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```", text, re.S | re.M) for line in block.replace("\\\n", " ").splitlines()]
    first, ada = [shlex.split(line) for line in lines if line.startswith("docker compose run")]
    [approve] = [shlex.split(line) for line in lines if line.startswith("docker compose exec worker")]
    [echo] = [line for line in lines if line.startswith("echo ")]
    with tempfile.TemporaryDirectory() as folder, Laptop(deploy, Path(folder)) as laptop:
        # The retry memory lasts 45 s: nobody waits for that here.
        config = laptop.root("bridge") / "etc/connector-bridge/bridge.yaml"
        config.write_text(config.read_text().replace("calls:\n", "calls:\n  replay_window: 1s\n"))
        yield from started(laptop)
        yield from sees(laptop, first, 'block page: Your request is waiting for approval.', "worker")
        yield from watched(laptop)
        said = laptop.run("worker", laptop.words("worker", approve[approve.index("worker") + 1 :]))
        if said.returncode:
            yield f"approval: {said.stderr}"
        time.sleep(1)  # the window that is configured above
        yield from sees(laptop, first, "goes on", "worker")
        laptop.stop("worker")
        (laptop.root("bridge") / "ada.json").write_text(shlex.split(echo)[1])
        yield from sees(laptop, ada, "block page: Wir konnten Ihre Anfrage nicht prüfen.", "default")
        codes = {name: laptop.stop(name) for name in list(laptop.processes)}
        yield from (f"{name} ends with {code}" for name, code in codes.items() if code not in (0, 1) or (name == "bridge" and code))
        yield from started(laptop)
        time.sleep(1)
        yield from sees(laptop, first, "goes on", "worker")
        errors = [line for line in laptop.log("bridge").splitlines() if json.loads(line)["level"] in ("ERROR", "error")]
        yield from (f"the bridge logs {line}" for line in errors)
        secrets = [path.read_text() for path in (laptop.place / "compose/secrets").iterdir()]
        for name in laptop.compose["services"]:
            if (laptop.folder / f"{name}.log").exists() and any(secret in laptop.log(name) for secret in secrets):
                yield f"{name} logs a secret"


def started(laptop):
    """All services but Grafana, in the order that depends_on asks for, each healthy by its own check."""
    names = [name for name in laptop.compose["services"] if name != "grafana"]
    names.sort(key=lambda name: len(laptop.compose["services"][name].get("depends_on", {})))
    for name in names:
        if name == "worker":
            yield from healthy(laptop, "nats")
        laptop.start(name)
    for name in ("prometheus", "alertmanager"):
        yield from healthy(laptop, name)
    subscribed = f"http://127.0.0.1:{laptop.ports['nats', 8222]}/connz?subs=1"
    if not within(20, lambda: '"connectors.approve-signup.before-create"' in fetched(subscribed)):
        yield f"the worker does not listen: {laptop.log('worker')[-500:]}"


def healthy(laptop, name):
    """The URLs that a health check asks."""
    test = " ".join(laptop.words(name, laptop.compose["services"][name]["healthcheck"]["test"]))
    urls = re.findall(r"http://\S+", test)
    if not urls or test.count("wget -q -O /dev/null") != len(urls):
        yield f"{name}: {test}"
    for url in urls:
        if not answers(url):
            yield f"{name}: {url} does not answer: {laptop.log(name)[-500:]}"


def sees(laptop, words, text, source):
    """What `docker compose run bridge send …` prints, without Compose."""
    words = words[words.index("bridge") + 1 :]
    words = ["ada.json" if word == "/ada.json" else word for word in laptop.words("bridge", words)]
    said = laptop.run("bridge", [*laptop.program("bridge"), *words])
    if said.returncode or text not in said.stdout or f"connector-answer-source {source}" not in said.stdout:
        yield f"{words}: {said.stdout}{said.stderr}"


def watched(laptop):
    """Prometheus has the bridge, the rules and Alertmanager."""
    api = f"http://127.0.0.1:{laptop.ports['prometheus', 9090]}/api/v1"
    query = f"{api}/query?query=connector_bridge_requests_total%7Baction%3D%22show_block_page%22%7D%3E0"
    if not within(20, lambda: json.loads(fetched(query))["data"]["result"]):
        yield "Prometheus does not see the sign-up"
    [target] = json.loads(fetched(f"{api}/targets"))["data"]["activeTargets"]
    if target["health"] != "up" or target["labels"]["job"] != "connector-bridge":
        yield f"the target is {target}"
    rules = [rule for group in json.loads(fetched(f"{api}/rules"))["data"]["groups"] for rule in group["rules"]]
    written = yaml.safe_load((laptop.place / "prometheus/rules.yaml").read_text())["groups"]
    if len(rules) != sum(len(group["rules"]) for group in written):
        yield f"{len(rules)} rules are loaded"
    if len(json.loads(fetched(f"{api}/alertmanagers"))["data"]["activeAlertmanagers"]) != 1:
        yield "Prometheus has no Alertmanager"
    yield Note(f"{len(rules)} rules")


def fetched(url):
    with urllib.request.urlopen(url, timeout=5) as response:
        return response.read().decode()


def within(seconds, holds):
    """Whether something comes to hold within some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.1)
    return False
