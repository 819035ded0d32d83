"""From all turns to figures: ratios are taken inside a round, and then the median over the rounds."""

import dataclasses
import statistics
from collections.abc import Callable, Iterable

# What is read from a turn; None where it was not measured, or is void.
Reader = Callable[[dict], float | None]

# By round, then by system.
Rounds = list[dict[str, dict]]


@dataclasses.dataclass(frozen=True)
class Spread:
    """The median over the rounds, the least and the most."""

    middle: float
    low: float
    high: float


def spread(values: Iterable[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    return Spread(statistics.median(known), min(known), max(known)) if known else None


def closed(in_flight: int, key: str) -> Reader:
    return lambda turn: _sound(turn["closed"].get(str(in_flight)), key)


def opened(rate: str, key: str) -> Reader:
    return lambda turn: _sound(turn["open"].get(rate), key)


def memory(when: str, which: str) -> Reader:
    return lambda turn: turn[when][which] if when in turn else None


def start_ms(turn: dict) -> float | None:
    return statistics.median(turn["start_ms"]) if turn["start_ms"] else None


def _sound(measured: dict | None, key: str) -> float | None:
    return measured[key] if measured and not measured["void"] and not measured["unfinished"] else None


def absolute(rounds: Rounds, system: str, read: Reader) -> Spread | None:
    return spread(read(each[system]) for each in rounds if system in each)


def compared(
    rounds: Rounds, system: str, read: Reader, to: str, how: Callable[[float, float], float] = lambda a, b: a / b
) -> Spread | None:
    """What is read of one system, compared with the same of another one in the same round."""

    def one(each: dict[str, dict]) -> float | None:
        if system not in each or to not in each:
            return None
        a, b = read(each[system]), read(each[to])
        return how(a, b) if a is not None and b else None

    return spread(map(one, rounds))
