"""What a file in tests/workers/examples says. Its name is that of the folder in examples/workers.

language     one of languages.py
subject      where the worker listens
build        commands that build it, in its folder; may leave things behind that git ignores
test         commands that run its own tests, of which there must be some
run          the command that starts it. Variables that it gets: NATS_URL, and those of OpenTelemetry
environment  more variables, for all of its commands
ports        names of ports that nobody listens on; each is a placeholder
helpers      commands of programs that it needs and that listen on these ports
exit         its exit code after SIGTERM; 0 where it is left out
effects      what it does beside replying: {command = [...]}, a command that prints all effects, and
             {published = "..."}, the subject where it publishes them. None where it is left out
probe        claims that the worker decides, with {n} in what makes the person another one
connectors   the connectors of the bridge, as in its configuration; `auth: none` where nothing is said
samples      the documented sign-ups, in their order

Of a sample:

name         what its person gets, in words
claims       what is posted
answer       what comes back, without `version` and `status`
connector    which is asked; the first one where it is left out
source       "worker" where it is left out
status       what belongs to the action where it is left out
before       a command that is run first
prints       part of what that command prints; nothing where it is left out
restart      true: the worker is stopped and started first
anew         true: posted until the bridge no longer replays what was decided before

Placeholders in commands and variables: {scratch}, a folder that is empty at the start; {tools};
{nats}, the URL of nats-server; those of ports.
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent

# How long a decision is replayed: long enough for a retry on a slow machine.
REPLAY_WINDOW_SECONDS = 3

STATUS = {"Continue": 200, "ShowBlockPage": 200, "ValidationError": 400}


@dataclass(frozen=True)
class Sample:
    name: str
    claims: str
    answer: dict
    connector: str
    source: str = "worker"
    status: int = 0
    before: list[str] = field(default_factory=list)
    prints: str = ""
    restart: bool = False
    anew: bool = False

    @property
    def expected_status(self) -> int:
        return self.status or STATUS[self.answer["action"]]


@dataclass(frozen=True)
class Example:
    name: str
    folder: Path
    language: str
    subject: str
    run: list[str]
    probe: str
    connectors: dict
    samples: list[Sample]
    build: list[list[str]] = field(default_factory=list)
    test: list[list[str]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    ports: list[str] = field(default_factory=list)
    helpers: list[list[str]] = field(default_factory=list)
    effects: dict = field(default_factory=dict)
    exit: int = 0

    def configuration(self) -> dict:
        """The bridge's configuration, but for its addresses."""
        connectors = {name: {"auth": "none", **keys} for name, keys in self.connectors.items()}
        return {"calls": {"replay_window": f"{REPLAY_WINDOW_SECONDS}s"}, "connectors": connectors}


def read(path: Path, root: Path) -> Example:
    keys = tomllib.loads(path.read_text())
    first = next(iter(keys["connectors"]))
    samples = [Sample(**{"connector": first, **sample}) for sample in keys.pop("samples")]
    if not keys.get("test"):
        raise SystemExit(f"{path.name}: an example has tests of its own")
    return Example(name=path.stem, folder=root / "examples/workers" / path.stem, samples=samples, **keys)


def all_of(root: Path) -> list[Example]:
    """A folder without a file, or a file without a folder, is an error."""
    files = {path.stem: path for path in sorted((HERE / "examples").glob("*.toml"))}
    folders = {path.name for path in (root / "examples/workers").iterdir() if path.is_dir()}
    if files.keys() != folders:
        raise SystemExit(f"only one of folder and file: {sorted(files.keys() ^ folders)}")
    return [read(path, root) for path in files.values()]
