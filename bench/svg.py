"""Pieces of pictures. A picture has its own ground, light or dark as the reader's screen asks, so that it
can be read on any page."""

from html import escape

STYLE = """
svg { --ground: #ffffff; --ink: #1f2328; --quiet: #59636e; --line: #d1d9e0; --ours: #0969da; --base: #59636e; --other: #afb8c1; }
@media (prefers-color-scheme: dark) {
  svg { --ground: #0d1117; --ink: #f0f6fc; --quiet: #9198a1; --line: #3d444d; --ours: #4493f8; --base: #9198a1; --other: #4d565f; }
}
text { paint-order: stroke; stroke: var(--ground); stroke-width: 3px; font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--ink); }
.title { font-weight: 600; font-size: 15px; }
.quiet { fill: var(--quiet); font-size: 11px; }
.strong { font-weight: 600; }
.end { text-anchor: end; }
.middle { text-anchor: middle; }
.ground { fill: var(--ground); stroke: var(--line); }
.grid { stroke: var(--line); }
.mark { stroke: var(--ink); stroke-dasharray: 3 3; }
.whisker { stroke: var(--ink); stroke-width: 1.5; }
.ours { fill: var(--ours); }
.base { fill: var(--base); }
.other { fill: var(--other); }
.curve { fill: none; stroke: var(--ours); stroke-width: 2; }
.dot { fill: var(--ours); }
"""


def text(x: float, y: float, what: str, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}">{escape(what)}</text>'


def bar(x: float, y: float, width: float, height: float, style: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" class="{style}"/>'


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"/>'


def curve(points: list[tuple[float, float]], style: str = "curve") -> str:
    return f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" class="{style}"/>'


def dot(x: float, y: float, style: str = "dot") -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" class="{style}"/>'


def wrapped(what: str, letters: int) -> list[str]:
    """Lines of at most so many letters, broken between words."""
    lines = [""]
    for word in what.split():
        if len(lines[-1]) + len(word) > letters:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return lines


def picture(width: float, height: float, title: str, parts: list[str], foot: str) -> str:
    """The whole, with the machine below."""
    lines = wrapped(foot, int(width / 6))
    whole = height + 16 * len(lines) + 12
    feet = [text(20, height + 16 * number, one, "quiet") for number, one in enumerate(lines)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {whole:g}" width="{width:g}" height="{whole:g}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect x="0.5" y="0.5" width="{width - 1:g}" height="{whole - 1:g}" rx="8" class="ground"/>',
            *parts,
            *feet,
            "</svg>\n",
        ]
    )
