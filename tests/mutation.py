"""Breaks copies in one place after the other. Each must be noticed by the check named, or that check
could not fail."""

import tempfile
from pathlib import Path

from checking import outcome


def run(mutants, checks, copied, unbreakable=()):
    """0 if every mutant was noticed, and a whole copy passes.

    mutants      file, what stands there, what stands there instead, the check that has to notice
    checks       all of them
    copied       copies what is checked to a folder: where the files are then, and the checks' subject
    unbreakable  names of checks that no mutant can break
    """
    by_name = {check.__name__: check for check in checks}
    missed = whole(checks, copied)
    for file, old, new, name in mutants:
        with tempfile.TemporaryDirectory() as folder:
            root, subject = copied(Path(folder))
            path = root / file
            text = path.read_text()
            path.write_text(text.replace(old, new))
            faults = outcome(by_name[name], subject).faults if old in text else []
        word = "ok    " if faults else "MISSED" if old in text else "ABSENT"
        first = faults[0].strip().splitlines()[-1][:110] if faults else ""
        print(f"{word} {file}: {old!r} as {new!r}: {first}", flush=True)
        missed += not faults
    unheld = set(by_name) - {name for *_, name in mutants} - set(unbreakable)
    if unheld:
        print(f"no mutant for {', '.join(sorted(unheld))}")
    print(f"{len(mutants)} mutants, {missed} missed")
    return 1 if missed or unheld else 0


def whole(checks, copied):
    """How many checks fail for a copy that nobody has broken, and so would notice anything."""
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        _, subject = copied(Path(folder))
        for check in checks:
            if faults := outcome(check, subject).faults:
                print(f"MISSED {check.__name__} fails for a whole copy: {faults[0]}", flush=True)
                failed += 1
    return failed
