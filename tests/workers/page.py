"""The workers in docs/workers.md, taken from the page as people read it.

Below `## Write a worker` each language has a section: a line with "Save as `NAME`:", the file in a
fenced block, and indented commands, of which the last one starts the worker.
"""

import re
import subprocess
from pathlib import Path

import languages
from checking import expect
from example import Example, Sample

PAGE = "docs/workers.md"
SUBJECT = "connectors.approve-signup.before-create"
NATS_URL = "nats://127.0.0.1:4222"
BRIDGE_URL = "http://127.0.0.1:8080"

# The language whose worker the page shows at work.
SHOWN = "Python"

# In a block, where lines are left out.
GAP = "…"

SAMPLES = [
    Sample(
        name="lets somebody in",
        connector="approve-signup",
        claims='{"email": "ada@example.com"}',
        answer={"action": "Continue", "extension_Tier": "gold"},
    ),
    Sample(
        name="keeps somebody out",
        connector="approve-signup",
        claims='{"email": "mallory@blocked.example"}',
        answer={"action": "ShowBlockPage", "userMessage": "Sign-up is not open to you."},
    ),
    Sample(
        name="keeps somebody out whose address has capitals",
        connector="approve-signup",
        claims='{"email": "Mallory@Blocked.EXAMPLE"}',
        answer={"action": "ShowBlockPage", "userMessage": "Sign-up is not open to you."},
    ),
]


def workers(root: Path, folder: Path) -> list[tuple[Example, dict[str, str]]]:
    """One worker for each language, and the files that people save. A section that has something to
    save and is no language's, or a language without one, is an error."""
    text = (root / PAGE).read_text()
    part = text.split("## Write a worker\n", 1)[1].split("\n## ", 1)[0]
    sections = [section.split("\n", 1) for section in part.split("\n### ")[1:]]
    sections = [(title, section) for title, section in sections if "Save as `" in section]
    if sorted(title for title, _ in sections) != sorted(languages.TOOLCHAINS):
        raise SystemExit(f"{PAGE} has workers in {[title for title, _ in sections]}, not in {list(languages.TOOLCHAINS)}")
    return [worker(title, section, folder / title) for title, section in sections]


def worker(language: str, section: str, folder: Path) -> tuple[Example, dict[str, str]]:
    files = dict(re.findall(r"Save as `([^`]+)`:\n\n```\w+\n(.*?\n)```", section, re.DOTALL))
    *lines, last = re.findall(r"^    (.+)$", without_blocks(section), re.MULTILINE)
    example = Example(
        name=f"{PAGE}, {language}",
        folder=folder,
        language=language,
        subject=SUBJECT,
        build=[["sh", "-c", line] for line in lines],
        run=["sh", "-c", f"exec {last}"],
        probe='{"email": "probe-{n}@example.com"}',
        connectors={"approve-signup": {"protocol": "entra", "step": "before-create"}},
        samples=SAMPLES,
    )
    return example, files


def without_blocks(section: str) -> str:
    return re.sub(r"```.*?```", "", section, flags=re.DOTALL)


def save(files: dict[str, str], folder: Path, nats: str) -> None:
    """As people do, but for where nats-server listens."""
    expect(any(NATS_URL in text for text in files.values()), f"nothing to save that connects to {NATS_URL}")
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.replace(NATS_URL, nats))


def shows_what_is_printed(root: Path, folder: Path, program: Path, places: dict[str, str]) -> None:
    """Runs the lines of every ```console block, with other addresses, and holds what they print
    against it. Times are any time."""
    blocks = re.findall(r"^```console\n(.*?)^```", (root / PAGE).read_text(), re.DOTALL | re.MULTILINE)
    expect(len(blocks) == 2, f"{len(blocks)} blocks")
    for block in blocks:
        for line, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            done = subprocess.run(
                ["sh", "-c", with_places(line.replace("connector-bridge", str(program)), places)],
                cwd=folder, capture_output=True, text=True,
            )
            found = done.stdout
            for url, place in places.items():
                found = found.replace(place, url)
            wanted = "".join("(?:.*\n)*" if each == GAP else f"{re.escape(each)}\n" for each in timeless(shown).splitlines())
            expect(re.fullmatch(wanted, timeless(found)), f"{line}\nprints\n{found}{done.stderr}\nand the page says\n{shown}")


def timeless(text: str) -> str:
    return re.sub(r" +[\d.]+ m?s\b", " TIME", text)


def with_places(line: str, places: dict[str, str]) -> str:
    if "worker-check" in line:
        line += f" --server {NATS_URL}"
    for url, place in places.items():
        line = line.replace(url, place)
    return line


def readme_has_the_same(root: Path) -> None:
    """The README shows the worker of the page in the same language, and fetches and starts it by the
    same lines."""
    section = (root / PAGE).read_text().split(f"### {SHOWN}\n", 1)[1].split("\n### ", 1)[0]
    same = section[section.index("```") :].strip()
    expect(same in (root / "README.md").read_text(), f"the README does not have the worker in {SHOWN} of {PAGE}")
