"""The table of values in the chart's README, made of the comments in values.yaml."""

import json
import re

import yaml

BEGIN = "<!-- values: made of values.yaml by tests/chart/run.py --update -->\n"
END = "<!-- end of values -->\n"
DEFAULT_CHARACTERS_MAX = 90


def described(text):
    """Each commented key, as (path, description)."""
    comment, path, found = [], [], []
    for line in text.splitlines():
        if match := re.fullmatch(r" *# -- (.*)", line):
            comment = [match[1]]
        elif comment and (match := re.fullmatch(r" *# (.*)", line)):
            comment.append(match[1])
        elif match := re.match(r"( *)([A-Za-z]+):", line):
            path = path[: len(match[1]) // 2] + [match[2]]
            if comment:
                found.append((".".join(path), " ".join(comment)))
            comment = []
        elif not line.strip():
            comment = []
    return found


def value_at(values, path):
    for key in path.split("."):
        values = values[key]
    return values


def leaves(values, described_paths, prefix=""):
    """The keys that have to be described: those of mappings that are not described as a whole."""
    for key, value in values.items():
        path = f"{prefix}{key}"
        if path in described_paths or not (isinstance(value, dict) and value):
            yield path
        else:
            yield from leaves(value, described_paths, path + ".")


def table(text):
    values = yaml.safe_load(text)
    lines = ["| key | default | meaning |", "| --- | --- | --- |"]
    for path, description in described(text):
        default = json.dumps(value_at(values, path), ensure_ascii=False)
        if len(default) > DEFAULT_CHARACTERS_MAX:
            default = "see values.yaml"
        else:
            default = f"`{default}`"
        lines.append(f"| `{path}` | {default} | {description} |")
    return "\n".join(lines) + "\n"


def updated(readme, text):
    """The README with the table as it should be."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return before + BEGIN + "\n" + table(text) + "\n" + END + after
