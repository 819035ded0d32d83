"""What the bridge is to reach, and whether it does. Nothing fails where it does not."""

import dataclasses

import summary
from summary import Rounds, Spread
from systems import BARE, NAIVE
from turn import IN_FLIGHT


@dataclasses.dataclass(frozen=True)
class Goal:
    measure: str
    # The first is the goal, the second what would be better than anyone needs.
    bounds: tuple[float, float]
    measured: Spread | None
    unit: str = ""
    more_is_better: bool = False

    def verdict(self) -> str:
        if self.measured is None:
            return "not measured"
        sign = -1 if self.more_is_better else 1
        met = [sign * self.measured.middle <= sign * bound for bound in self.bounds]
        return "better than needed" if met[1] else "met" if met[0] else "not met"


def share_more(a: float, b: float) -> float:
    """By how many percent a is more than b."""
    return (a / b - 1) * 100


def goals(rounds: Rounds) -> list[Goal]:
    def ratio(read: summary.Reader, to: str) -> Spread | None:
        return summary.compared(rounds, "bridge", read, to)

    cpu, throughput = summary.closed(64, "cpu_us_per_call"), summary.closed(64, "calls_per_s")
    one_by_one, late = summary.closed(1, "p50_us"), summary.opened("half", "p99_us")
    log = summary.compared(rounds, "bridge-info", cpu, "bridge", share_more)
    store = summary.compared(rounds, "bridge-jetstream", one_by_one, "bridge", lambda a, b: (a - b) / 1_000)
    idle = summary.absolute(rounds, "bridge", summary.memory("idle", "now"))
    after = summary.absolute(rounds, "bridge", summary.memory("after", "now"))
    start = summary.absolute(rounds, "bridge", summary.start_ms)
    others = (("node", "Node", (4, 5)), ("aiohttp", "aiohttp", (3, 4)), ("fastapi", "FastAPI", (9, 12)))
    most = IN_FLIGHT[-1]
    return [
        Goal("CPU per call, 64 in flight, to the naive bridge", (0.60, 0.45), ratio(cpu, NAIVE)),
        Goal("throughput, 64 in flight, to the naive bridge", (1.3, 1.6), ratio(throughput, NAIVE), more_is_better=True),
        Goal("throughput, 64 in flight, to NATS without a bridge", (0.50, 0.65), ratio(throughput, BARE), more_is_better=True),
        *(
            Goal(f"throughput, 64 in flight, to the bridge with {title}", bounds, ratio(throughput, name), more_is_better=True)
            for name, title, bounds in others
        ),
        Goal("one call at a time: p50, to NATS without a bridge", (1.25, 1.15), ratio(one_by_one, BARE)),
        Goal("half of saturation: p99, to the naive bridge", (0.8, 0.5), ratio(late, NAIVE)),
        Goal("one log line per call: extra CPU, 64 in flight", (15, 8), log, " %"),
        Goal("shared store: extra p50, one call at a time", (0.3, 0.15), store, " ms"),
        Goal("resident memory, idle", (12, 8), idle, " MiB"),
        Goal(f"resident memory, after {most} in flight", (24, 14), after, " MiB"),
        Goal("from start to listening", (30, 10), start, " ms"),
    ]
