"""The program takes what the chart makes for it."""

import json
import subprocess
import tempfile
from pathlib import Path

import yaml

import rendering
from checking import answers, free_ports
from rendering import pick


def the_program_accepts_every_configuration(chart):
    with tempfile.TemporaryDirectory() as folder:
        for name, documents in chart.latest():
            path = Path(folder) / "bridge.yaml"
            path.write_text(rendering.configuration(documents))
            done = subprocess.run([chart.program, "check", "--config", path], capture_output=True, text=True)
            if done.returncode:
                yield f"{name}: {done.stdout}{done.stderr}"
            if "shutdown_grace" in done.stderr:
                yield f"{name}: {done.stderr}"


def the_program_starts_as_rendered_and_answers_the_test(chart):
    """With the arguments, files, probes and test of the renders, and without NATS: it is ready and
    answers all the same, and the test says that no worker did."""
    with tempfile.TemporaryDirectory() as folder:
        listen, admin = free_ports(2)
        ports = {"listen": f"0.0.0.0:{listen}", "admin_listen": f"0.0.0.0:{admin}"}
        # Nobody listens there.
        nats = {"servers": ["nats://127.0.0.1:1"], "token_file": "secret://bridge-nats/token"}
        values = yaml.safe_load(chart.file("minimal").read_text())
        values["config"] = {**values["config"], **ports, "nats": nats}
        documents = chart.rendered(values)
        here = lambda text: text.replace("/run/connector-bridge", folder)
        deployment = pick(documents, "Deployment")["spec"]["template"]["spec"]
        [container] = deployment["containers"]
        for source in deployment["volumes"][0]["projected"]["sources"]:
            for item in source.get("secret", {}).get("items", []):
                path = Path(folder) / item["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("0123456789abcdef0123456789abcdef\n")
        (Path(folder) / "bridge.yaml").write_text(here(rendering.configuration(documents)))
        command = [chart.program, *map(here, container["args"])]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as bridge:
            try:
                for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                    action = container[probe]["httpGet"]
                    if not answers(f"http://127.0.0.1:{action['port']}{action['path']}"):
                        yield f"{probe} fails"
                test = pick(documents, "Pod", "-test")["spec"]["containers"][0]
                target = pick(documents, "Service", "bridge")["spec"]["ports"][0]
                host = f"demo-connector-bridge.sign-up.svc:{target['port']}"
                arguments = [here(each).replace(host, f"127.0.0.1:{target['targetPort']}") for each in test["args"]]
                done = subprocess.run([chart.program, *arguments], capture_output=True, text=True)
                fell_back = "answer-source default" in done.stdout and "No worker decided" in done.stdout
                if done.returncode != 1 or not fell_back:
                    yield f"{arguments}: {done.stdout}{done.stderr}"
            finally:
                bridge.kill()


def what_is_configured_stays_as_it_is_written(chart):
    """Every key of section config and connectors, but for references and what the chart fills in."""
    directory = "/run/connector-bridge/secrets"
    for name, documents in chart.latest():
        values = yaml.safe_load((chart.folder / "ci" / f"{name}.yaml").read_text())
        written = {**values.get("config", {}), "connectors": values["connectors"]}
        wanted = json.loads(json.dumps(written).replace("secret://", f"{directory}/"))
        found = yaml.safe_load(rendering.configuration(documents))
        for key, value in wanted.items():
            if isinstance(value, dict) and key != "connectors":
                for inner in value:
                    if found[key].get(inner) != value[inner]:
                        yield f"{name}: {key}.{inner} is {found[key].get(inner)}"
            elif found.get(key) != value:
                yield f"{name}: {key} is {found.get(key)}"
        allowed = set(written) | {"calls", "shutdown_grace", "tls"}
        yield from (f"{name}: {key} was not written" for key in set(found) - allowed)


def several_replicas_share_their_calls(chart):
    for values, store in [
        ({"replicas": 1}, None),
        ({"replicas": 2}, "jetstream"),
        ({"replicas": 2, "config": {"calls": {"store": "memory"}}}, "memory"),
        ({"replicas": 1, "autoscaling": {"enabled": True}}, "jetstream"),
        ({"replicas": 3, "autoscaling": {"enabled": True, "minReplicas": 1, "maxReplicas": 1}}, None),
    ]:
        found = yaml.safe_load(rendering.configuration(chart.rendered("minimal", values)))
        if found["calls"].get("store") != store:
            yield f"{values}: {found['calls']}"
