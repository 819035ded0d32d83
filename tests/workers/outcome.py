"""What came of the checks."""

import time
import traceback
from collections.abc import Callable


class Fault(Exception):
    """What is wrong, in words."""


def expect(holds: object, fault: object) -> None:
    if not holds:
        raise Fault(fault)


class Total:
    """How many checks passed, failed and were not run; says each as it comes."""

    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0

    def check(self, name: str, work: Callable[[], object]) -> bool:
        """Runs a check. One that breaks has failed."""
        begun = time.monotonic()
        try:
            work()
        except Fault as fault:
            return self._fail(name, str(fault))
        except Exception:
            return self._fail(name, traceback.format_exc())
        self.passed += 1
        print(f"ok   {name} ({time.monotonic() - begun:.1f} s)", flush=True)
        return True

    def _fail(self, name: str, fault: str) -> bool:
        self.failed += 1
        lines = "\n     ".join(fault.splitlines()[-40:])
        print(f"FAIL {name}\n     {lines}", flush=True)
        return False

    def skip(self, why: str) -> None:
        self.skipped += 1
        print(f"skip {why}", flush=True)

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"
