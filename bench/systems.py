"""What is measured side by side, and how each is started."""

import base64
import dataclasses
import json
import shutil
import sys
import urllib.request
from collections.abc import Callable

from process import Program, answers, free_ports, until
from stage import HERE, Stage, Tools

USER, PASSWORD = "entra", "bench-password"
AUTHORIZATION = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

# Where the worker is asked: by all bridges, and by those who ask it without one.
SUBJECT = "connectors.bench.before-create"

NAIVE, BARE = "naive", "bare-nats"


@dataclasses.dataclass(frozen=True)
class System:
    name: str
    title: str
    # Starts it at a port; None for what has no process of its own.
    start: Callable[[Stage, int], Program] | None
    # What an answer holds.
    expect: str = '"Continue"'
    # Why it cannot be measured here.
    missing: Callable[[Tools], str | None] = lambda _: None


def start_bridge(
    stage: Stage, port: int, changes: dict | None = None, connectors: int = 1, cached: dict | None = None
) -> Program:
    """With everything switched on that can be. `changes` replace what stands at the root of the
    configuration, and `cached` what stands in `fallback.cached`."""
    password = stage.file(f"password-{port}", PASSWORD)
    next_password = stage.file(f"next-password-{port}", f"not-{PASSWORD}")
    connector = {
        "protocol": "entra",
        "step": "before-create",
        "auth": {"basic": [{"username": USER, "password_file": str(file)} for file in (password, next_password)]},
        "claims": {"require": ["email"]},
        "fallback": {"default": "block", "cached": {"by": ["email"], **(cached or {})}},
    }
    names = ["bench"] if connectors == 1 else [f"bench-{number}" for number in range(connectors)]
    settings = {
        "listen": f"127.0.0.1:{port}",
        "admin_listen": f"127.0.0.1:{(admin := free_ports(1)[0])}",
        "log": {"level": "warn"},
        "nats": {"servers": stage.nats.split(",")},
        "connectors": dict.fromkeys(names, connector),
        **(changes or {}),
    }
    hash_key = stage.file(f"hash-key-{port}", "0123456789abcdef" * 2)
    settings["calls"] = {"hash_key_file": str(hash_key), **settings.get("calls", {})}
    file = stage.file(f"bridge-{port}.yaml", json.dumps(settings))  # JSON is YAML
    bridge = stage.start([stage.tools.bridge, "serve", "--config", file])
    bridge.admin = admin
    return bridge


def metrics(bridge: Program) -> dict[str, float]:
    """What a bridge counts about itself."""
    with urllib.request.urlopen(f"http://127.0.0.1:{bridge.admin}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[:1] != "#")}


def wait_for_store(bridge: Program) -> None:
    """Until the shared store can be used, which a cluster of servers takes seconds for."""
    # The port for callers is opened before this one.
    answers(f"http://127.0.0.1:{bridge.admin}/livez")
    until("the store can be used", lambda: metrics(bridge).get("connector_bridge_store_available"))


def store_trouble(bridge: Program) -> str | None:
    """What the shared store did not do as it should, of all that it was asked."""
    counted = metrics(bridge)
    operations = {name: value for name, value in counted.items() if "store_operations_total" in name and value}
    bad = {name: value for name, value in operations.items() if 'result="ok"' not in name}
    if not counted["connector_bridge_store_available"]:
        return "the store is away"
    if not operations:
        return "the store was not asked"
    return f"{sum(bad.values()):.0f} of {sum(operations.values()):.0f} operations of the store were not ok" if bad else None


def _bridge(**changes: dict) -> Callable[[Stage, int], Program]:
    return lambda stage, port: start_bridge(stage, port, changes)


def _variables(stage: Stage, port: int) -> dict[str, str]:
    return {"LISTEN": f"127.0.0.1:{port}", "NATS_URL": stage.nats}


def _rust(name: str) -> Callable[[Stage, int], Program]:
    return lambda stage, port: stage.start([stage.tools.programs / name], _variables(stage, port))


def _node(stage: Stage, port: int) -> Program:
    return stage.start(["node", stage.tools.packages / "node/bridge.js"], _variables(stage, port))


def _python(name: str) -> Callable[[Stage, int], Program]:
    def start(stage: Stage, port: int) -> Program:
        settings = {**_variables(stage, port), "PYTHONPATH": str(stage.tools.packages / "python")}
        return stage.start([sys.executable, HERE / "python" / name], settings)

    return start


def _no_node(tools: Tools) -> str | None:
    if not shutil.which("node"):
        return "there is no node"
    return None if (tools.packages / "node/node_modules").is_dir() else "there was no npm to fetch what it needs"


SYSTEMS = (
    System(NAIVE, "naive bridge (Rust)", _rust("naive")),
    System("bridge", "connector-bridge", _bridge()),
    System("bridge-info", "connector-bridge, one log line per call", _bridge(log={"level": "info"})),
    System("bridge-jetstream", "connector-bridge, shared store", _bridge(calls={"store": "jetstream"})),
    System(BARE, "NATS without a bridge", None),
    System("echo", "axum echo without NATS", _rust("echo"), expect='"email"'),
    System("node", "bridge in Node (http)", _node, missing=_no_node),
    System("aiohttp", "bridge in Python (aiohttp)", _python("aiohttp_bridge.py")),
    System("fastapi", "bridge in Python (FastAPI, uvicorn)", _python("fastapi_bridge.py")),
)
