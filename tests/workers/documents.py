"""What the documents say about themselves: their links, and that nobody is told to open a bridge
that asks for no credentials to the network."""

import re
from pathlib import Path

from checking import expect

# Beside the tools, what other tools make.
NOT_OURS = {".git", ".tools", "target", "node_modules"}


def links_lead_somewhere(root: Path) -> None:
    """Every link from a document to a file of ours, and to a heading in it."""
    dead = []
    for document in documents(root):
        for link in re.findall(r"\]\(([^)\s]+)\)", without_blocks(document.read_text())):
            path, _, anchor = link.partition("#")
            target = document.parent / path if path else document
            if re.match(r"[a-z]+:", link):
                continue
            if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
                dead.append(f"{document.relative_to(root)}: {link}")
    expect(not dead, "\n".join(dead))


def documents(root: Path) -> list[Path]:
    found = [path for path in root.rglob("*.md") if not NOT_OURS & set(path.relative_to(root).parts)]
    expect(found, f"no document in {root}")
    return sorted(found)


def anchors(document: Path) -> set[str]:
    """Of its headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(document.read_text()), re.MULTILINE)
    texts = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-") for text in texts}


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def open_bridges_listen_here(root: Path) -> None:
    """The first configuration of the page and of each worker's readme has no `auth`, so nobody but
    this machine reaches it."""
    for document in (root / "docs/workers.md", *sorted(root.glob("examples/workers/*/README.md"))):
        blocks = re.findall(r"^```yaml\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE)
        first = blocks[0] if blocks else ""
        is_open = "auth: none" in first
        is_here = "\nlisten: 127.0.0.1:8080\nadmin_listen: 127.0.0.1:9090\n" in f"\n{first}"
        expect(is_open and is_here, f"{document.relative_to(root)}:\n{first}")
