"""The chart that is checked, and what a check says."""

import dataclasses
import functools
from pathlib import Path

from rendering import KUBERNETES, Refused

LATEST = KUBERNETES[-1]
HERE = Path(__file__).parent


@dataclasses.dataclass
class Chart:
    """The chart that is checked, and what with."""

    folder: Path
    root: Path
    helms: list
    program: Path
    npm: Path | None
    pool: object
    update: bool = False
    versions: tuple = tuple(KUBERNETES)
    golden: Path = HERE / "golden"

    def files(self):
        return sorted((self.folder / "ci").glob("*.yaml"))

    def file(self, name):
        return self.folder / "ci" / f"{name}-values.yaml"

    def rendered(self, *values, helm=None, kubernetes=LATEST, **named):
        values = [self.file(value) if isinstance(value, str) else value for value in values]
        return (helm or self.helms[0]).render(self.folder, values, kubernetes, **named)

    @functools.cached_property
    def matrix(self):
        """Every render, by (name of the values, Helm, Kubernetes); a fault where there is none."""
        keys = [
            (path, helm, version)
            for path in self.files()
            for helm in self.helms
            for version in self.versions
        ]

        def render(key):
            path, helm, version = key
            try:
                return helm.render(self.folder, [path], version)
            except Refused as refused:
                return str(refused)

        found = self.pool.map(render, keys)
        return {(path.stem, helm.name, version): each for (path, helm, version), each in zip(keys, found)}

    def latest(self):
        """One render of every values file, as (name, objects)."""
        for (name, helm, version), documents in self.matrix.items():
            if helm == self.helms[0].name and version == LATEST and not isinstance(documents, str):
                yield name, documents


def made(chart, path, wanted):
    """A file that is made of something else."""
    if chart.update:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted)
    elif not path.exists() or path.read_text() != wanted:
        yield f"{path.relative_to(path.parents[2])} is out of date: tests/chart/run.py --update"
