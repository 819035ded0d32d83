"""What may grow, and how far: each question has points, and each point is one measurement of the bridge."""

import dataclasses
import json
import subprocess
import time

from process import Fault, Program, free_ports
from stage import Stage, Tools
from systems import AUTHORIZATION, start_bridge, store_trouble, wait_for_store
from turn import SETTLE_SECONDS, Lengths

IN_FLIGHT = 64
SLOW_IN_FLIGHT = 1_000


@dataclasses.dataclass(frozen=True)
class Point:
    label: str
    # What is different at the root of the configuration.
    changes: dict = dataclasses.field(default_factory=dict)
    connectors: int = 1
    # What is different in `fallback.cached`.
    cached: dict = dataclasses.field(default_factory=dict)
    body_bytes: int = 700
    in_flight: int = IN_FLIGHT
    # Calls that are made before anything is measured.
    filled: int = 0
    idle_connections: int = 0
    # Of the bridge and of NATS.
    replicas: int = 1
    worker_after_ms: int = 0


@dataclasses.dataclass(frozen=True)
class Question:
    name: str
    title: str
    # What the points count.
    axis: str
    points: tuple[Point, ...]
    # By how many percent the CPU time of a call may grow from the first point on.
    grows_at_most: float | None = None


def _remembered(entries: int) -> Point:
    calls = {"replay_window": "1h", "max_entries": entries}
    return Point(f"{entries:,}", {"calls": calls}, filled=entries)


def _cached(entries: int) -> Point:
    # The retry memory is kept small, to see this alone.
    few = {"calls": {"max_entries": 1_000}}
    return Point(f"{entries:,}", few, cached={"max_entries": entries}, filled=entries)


def _idle(connections: int) -> Point:
    changes = {"max_connections": connections + 1_000, "read_timeout": "5m"}
    return Point(f"{connections:,}", changes, idle_connections=connections)


SHARED = {"calls": {"store": "jetstream"}}

QUESTIONS = (
    Question(
        "connectors", "Connectors", "connectors, called by turns",
        tuple(Point(f"{count:,}", connectors=count) for count in (1, 10, 100, 1_000)), grows_at_most=10,
    ),
    Question(
        "remembered", "Remembered calls", "`calls.max_entries`, all taken",
        tuple(map(_remembered, (1_000, 10_000, 100_000, 1_000_000))), grows_at_most=10,
    ),
    Question(
        "cached", "Cached decisions", "`fallback.cached.max_entries`, all taken",
        tuple(map(_cached, (1_000, 10_000, 100_000, 1_000_000))),
    ),
    Question(
        "bodies", "Length of bodies", "bytes of claims",
        tuple(Point(f"{length:,}", body_bytes=length) for length in (200, 700, 2_000, 8_000, 32_000, 64_000)),
    ),
    Question("idle", "Idle connections", "connections that say nothing", tuple(map(_idle, (0, 100, 1_000, 10_000)))),
    Question(
        "replicas", "Replicas with the shared store", "bridges, with as many NATS servers",
        (Point("1", SHARED), Point("3", SHARED, replicas=3)),
    ),
    Question(
        "slow", f"Slow workers, {SLOW_IN_FLIGHT:,} in flight", "ms until a worker answers",
        tuple(Point(f"{after:,}", worker_after_ms=after, in_flight=SLOW_IN_FLIGHT) for after in (0, 200, 2_000)),
    ),
)  # fmt: skip


def measure(point: Point, tools: Tools, lengths: Lengths) -> dict:
    """CPU time, latency and memory of one point."""
    with Stage(tools, servers=point.replicas, after_ms=point.worker_after_ms) as stage:
        ports = free_ports(point.replicas)
        bridges = [start_bridge(stage, port, point.changes, point.connectors, point.cached) for port in ports]
        for bridge, port in zip(bridges, ports):
            bridge.wait_for_port(port)
            wait_for_store(bridge)
        time.sleep(SETTLE_SECONDS)
        words: list = ["http", "--authorization", AUTHORIZATION, "--body", point.body_bytes]
        words += ["--connectors", point.connectors, "--in-flight", point.in_flight]
        for bridge, port in zip(bridges, ports):
            words += ["--to", f"127.0.0.1:{port}", "--watch", bridge.id]
        idle = bridges[0].memory()
        _fill(stage, words, point.filled)
        # Enough for all to be in step, and for everybody to have been asked some times.
        slow = 2 * point.worker_after_ms / 1_000
        words += ["--warmup", lengths.warmup + slow, "--seconds", lengths.seconds + slow]
        with _Silent(tools, ports[0], point.idle_connections) as silent:
            measured = stage.load(*words)
            measured["idle"], measured["after"] = idle, bridges[0].memory()
        measured["still_open"] = silent.still_open
        if silent.still_open != point.idle_connections:
            measured |= {"void": True, "first_error": f"{silent.still_open} idle connections are left"}
        trouble = store_trouble(bridges[0]) if point.changes == SHARED else None
        return {**measured, "notes": [trouble] if trouble else []}


def _fill(stage: Stage, words: list, calls: int) -> None:
    """Makes at least so many calls."""
    seconds = 0.2
    while calls > 0:
        made = stage.load(*words, "--seconds", seconds)
        if made["void"]:
            raise Fault(f"cannot be filled: {made['first_error']}")
        calls -= made["calls"]
        seconds = max(0.2, 1.05 * calls / made["calls_per_s"])


class _Silent:
    """Connections that are held open and say nothing."""

    def __init__(self, tools: Tools, port: int, connections: int) -> None:
        command = [tools.programs / "load", "idle", "--to", f"127.0.0.1:{port}", "--connections", str(connections)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "_Silent":
        if self.process.stdout.readline() != "open\n":
            raise Fault("idle connections cannot be opened")
        return self

    def __exit__(self, *_: object) -> None:
        said, _ = self.process.communicate("")
        self.still_open = json.loads(said)["still_open"] if said else 0
