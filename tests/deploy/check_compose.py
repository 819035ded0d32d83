"""deploy/compose.yaml and what it mounts, read and compared. check_laptop.py runs it."""

import json
import os
import re
import stat
import subprocess
import tempfile
from pathlib import Path

import yaml
from compose_spec.compose_spec import PyCompose

from checking import Note
from laptop import Laptop


def read(deploy):
    return yaml.safe_load((deploy.root / "deploy/compose.yaml").read_text())


def compose_file_follows_the_specification(deploy):
    """As a strict reader of the Compose specification sees it, names of members included."""
    compose = read(deploy)
    try:
        PyCompose.from_json(json.dumps({key: value for key, value in compose.items() if not key.startswith("x-")})).validate()
    except ValueError as fault:
        yield str(fault)
    if "${" in (deploy.root / "deploy/compose.yaml").read_text():
        yield "takes something from the environment, which the tests do not"


def every_service_is_pinned_closed_and_local(deploy):
    for name, service in read(deploy)["services"].items():
        if not re.search(r":v?\d+\.\d+\.\d+(-[a-z0-9]+)?$", service["image"]) and not service["image"].endswith(":local"):
            yield f"{name}: {service['image']} is no whole version"
        if service["image"].endswith(":local") != ("build" in service):
            yield f"{name}: {service['image']} is not built here"
        wanted = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
        yield from (f"{name}: {key} is {service.get(key)}" for key, value in wanted.items() if service.get(key) != value)
        yield from (f"{name}: {port} is open to others" for port in service.get("ports", []) if not port.startswith("127.0.0.1:"))
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN", key.removeprefix("GF_SECURITY_")):
                yield f"{name}: {key} is in the environment"
            if not isinstance(value, str):
                yield f"{name}: {key} is no text"
        # Nothing but the program is in the bridge's image: no shell, no wget.
        if ("healthcheck" in service) != (name not in ("bridge", "worker")):
            yield f"{name}: a health check needs what it runs"
        if name == "worker" and service.get("restart") != "on-failure":
            yield f"{name}: nobody starts it again"


def every_mounted_file_is_there(deploy):
    """In the repository, not just on this disk; secrets are made."""
    compose, place = read(deploy), deploy.root / "deploy"
    kept = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=deploy.root, capture_output=True, text=True)
    files = {deploy.root / name for name in kept.stdout.splitlines()} if not kept.returncode else None
    count = 0
    for name, service in compose["services"].items():
        for source, *_ in (volume.split(":") for volume in service.get("volumes", [])):
            path = (place / source).resolve()
            if not source.startswith("."):
                if source not in compose["volumes"]:
                    yield f"{name}: there is no volume {source}"
            elif not path.is_file() or (files is not None and path not in files):
                yield f"{name}: {source} is not there"
            count += 1
        yield from (f"{name}: {volume} can be written to" for volume in service.get("volumes", []) if volume[0] == "." and not volume.endswith(":ro"))
        yield from (f"{name}: there is no secret {each}" for each in service.get("secrets", []) if each not in compose["secrets"])
        if "build" in service:
            context = place / service["build"]["context"]
            recipe = (context / service["build"]["dockerfile"]).resolve()
            if not context.is_dir():
                yield f"{name}: {context} is not there"
            if not recipe.is_file():
                yield f"{recipe} is not there"
            elif name == "worker":
                copied = re.findall(r"^COPY (\S+) ", recipe.read_text(), re.M)
                yield from (f"{recipe.name}: {each} is not in {context}" for each in copied if not list(context.glob(each)))
    used = {each for service in compose["services"].values() for each in service.get("secrets", [])}
    yield from (f"nobody has the secret {each}" for each in set(compose["secrets"]) - used)
    yield Note(f"{count} mounts")


def secrets_are_made_once_and_kept_from_others(deploy):
    with tempfile.TemporaryDirectory() as folder:
        # As strict as it gets on the machine of the one who calls it.
        before = os.umask(0o077)
        try:
            laptop = Laptop(deploy, Path(folder))
        finally:
            os.umask(before)
        secrets = laptop.place / "compose/secrets"
        made = {path.name: path.read_text() for path in secrets.iterdir()}
        if set(made) != {Path(each["file"]).name for each in laptop.compose["secrets"].values()}:
            yield f"makes {sorted(made)}"
        yield from (f"{name} is {len(text)} characters" for name, text in made.items() if not re.fullmatch("[0-9a-f]{64}", text))
        if len(set(made.values())) != len(made):
            yield "some are the same"
        if stat.S_IMODE(secrets.stat().st_mode) != 0o700:
            yield "others can look into the folder"
        # The programs in the containers are other users.
        yield from (f"{path.name} cannot be read in a container" for path in secrets.iterdir() if stat.S_IMODE(path.stat().st_mode) != 0o644)
        subprocess.run([laptop.place / "compose/make-secrets"], check=True)
        if made != {path.name: path.read_text() for path in secrets.iterdir()}:
            yield "the second time makes others"
        if subprocess.run(["git", "check-ignore", "-q", "deploy/compose/secrets/hash-key"], cwd=deploy.root).returncode:
            yield "git does not ignore them"


def grafana_is_given_what_its_dashboards_ask_for(deploy):
    compose, place = read(deploy), deploy.root / "deploy"
    grafana = compose["services"]["grafana"]
    mounted = {target: place / source for source, target, *_ in (each.split(":") for each in grafana["volumes"])}
    sources = yaml.safe_load((place / "compose/grafana/datasources.yaml").read_text())
    [source] = sources["datasources"]
    [provider] = yaml.safe_load((place / "compose/grafana/dashboards.yaml").read_text())["providers"]
    scraped = yaml.safe_load((place / "compose/prometheus.yaml").read_text())["global"]
    for key, value in {"type": "prometheus", "access": "proxy", "url": "http://prometheus:9090", "isDefault": True}.items():
        if source.get(key) != value:
            yield f"the data source's {key} is {source.get(key)}"
    if source["jsonData"]["timeInterval"] != scraped["scrape_interval"]:
        yield "rates are as wide as another scrape interval wants"
    if "/etc/grafana/provisioning/datasources/prometheus.yaml" not in mounted or sources["apiVersion"] != 1:
        yield "Grafana does not read the data source"
    if "/etc/grafana/provisioning/dashboards/connector-bridge.yaml" not in mounted or provider["type"] != "file":
        yield "Grafana does not read the provider"
    found = {target: path for target, path in mounted.items() if str(Path(target).parent) == provider["options"]["path"]}
    shipped = set((deploy.root / "dashboards").glob("*.json"))
    if {path.resolve() for path in found.values()} != shipped:
        yield f"{sorted(found)} are not the dashboards"
    if grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] not in found:
        yield "the first page is no dashboard"
    for path in shipped:
        yield from unanswered(path, source)


def unanswered(path, source):
    """Whom a dashboard asks beside Grafana itself and the default Prometheus."""
    dashboard = json.loads(path.read_text())
    variables = {each["name"]: each for each in dashboard["templating"]["list"] if each["type"] == "datasource"}
    if variables["datasource"]["query"] != source["type"] or variables["datasource"]["current"]["value"] != "default":
        yield f"{path.name} does not begin with the default data source"
    asked = set(re.findall(r'"uid": *"([^"]*)"', json.dumps([dashboard["panels"], dashboard["templating"], dashboard.get("annotations")])))
    yield from (f"{path.name} asks {uid}" for uid in asked - {"$datasource", source["uid"], "-- Grafana --"})
