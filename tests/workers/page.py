"""The workers in docs/workers.md, taken from the page as people read it.

Below `## Write a worker` each language has a section: a line with "Save as `NAME`:", the file in a
fenced block, and indented commands, of which the last one starts the worker.
"""

import re
from pathlib import Path

import languages
from checking import expect
from example import Example, Sample

PAGE = "docs/workers.md"
SUBJECT = "connectors.approve-signup.before-create"
NATS_URL = "nats://127.0.0.1:4222"

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
        trace="none",
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


def readme_has_the_same(root: Path) -> None:
    """The README shows the worker in Python of the page."""
    readme, page = (re.findall(r"```python\n.*?```", (root / name).read_text(), re.DOTALL) for name in ("README.md", PAGE))
    expect(page and page[0] in readme, f"the worker in the README is not the first one in {PAGE}")
