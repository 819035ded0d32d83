"""One turn of one system: all that is measured of it in one round."""

import dataclasses
import statistics
import time

from process import Program, free_ports
from stage import Stage, Tools
from systems import AUTHORIZATION, NAIVE, SUBJECT, SYSTEMS, System, store_trouble, wait_for_store

IN_FLIGHT = (1, 16, 64, 256)

# Calls a second with the open loop, besides half of what saturates the naive bridge.
LOW_RATE = 1_000

# How long a program is left alone before its idle memory is read.
SETTLE_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Lengths:
    """How long and how often."""

    rounds: int
    seconds: float
    warmup: float
    # In each turn.
    starts: int


def target(system: System, stage: Stage, port: int, program: Program | None) -> list:
    if program is None:
        return ["nats", "--to", stage.nats, "--subject", SUBJECT]
    return [
        "http", "--to", f"127.0.0.1:{port}", "--authorization", AUTHORIZATION, "--expect", system.expect,
        "--watch", program.id,
    ]  # fmt: skip


def take(system: System, tools: Tools, lengths: Lengths, rates: dict[str, int]) -> dict:
    """Everything of one system."""
    found: dict = {"closed": {}, "open": {}, "start_ms": [], "notes": []}
    with Stage(tools) as stage:
        program, [port] = None, free_ports(1)
        if system.start:
            for _ in range(lengths.starts - 1):
                found["start_ms"].append((once := system.start(stage, port)).wait_for_port(port))
                stage.end(once)
            program = system.start(stage, port)
            found["start_ms"].append(program.wait_for_port(port))
            if program.admin:
                wait_for_store(program)
            time.sleep(SETTLE_SECONDS)
            found["idle"] = program.memory()
        called = target(system, stage, port, program)
        # What compiles while it runs has compiled then.
        stage.load(*called, "--in-flight", 64, "--seconds", 2 * lengths.warmup)
        words = [*called, "--warmup", lengths.warmup, "--seconds", lengths.seconds]
        for in_flight in IN_FLIGHT:
            found["closed"][str(in_flight)] = stage.load(*words, "--in-flight", in_flight)
        if program:
            found["after"] = program.memory()
        most = max(each["calls_per_s"] for each in found["closed"].values())
        for name, rate in rates.items():
            # Who cannot keep up would be shown by nothing but the length of the run.
            if most > 1.1 * rate:
                found["open"][name] = {"rate": rate, **stage.load(*words, "--rate", rate)}
        if system.name == "bridge-jetstream" and (trouble := store_trouble(program)):
            found["notes"].append(trouble)
    for kind in ("closed", "open"):
        for name, each in found[kind].items():
            if each["void"] or each["unfinished"]:
                what = f"{each['errors']} errors, {each['unfinished']} unfinished, first: {each['first_error']}"
                found["notes"].append(f"void: {kind} {name}: {what}")
    return found


def half_of_saturation(tools: Tools, lengths: Lengths) -> int:
    """Half of what the naive bridge can do, in calls a second; the same rate for all rounds."""
    naive = next(system for system in SYSTEMS if system.name == NAIVE)
    with Stage(tools) as stage:
        [port] = free_ports(1)
        program = naive.start(stage, port)
        program.wait_for_port(port)
        words = [*target(naive, stage, port, program), "--warmup", lengths.warmup, "--seconds", lengths.seconds]
        most = statistics.median(stage.load(*words, "--in-flight", 256)["calls_per_s"] for _ in range(3))
    return max(LOW_RATE, round(most / 200) * 100)
