"""What is made of something else is up to date, and the chart's own files are in order."""

import json
import re
import subprocess
import tempfile
from pathlib import Path

import yaml

import readme
import schema
from chart import LATEST, made
from rendering import Refused, pick


def rules_and_dashboards_are_copies_of_the_one_source(chart):
    rules = chart.root / "deploy/prometheus/rules.yaml"
    yield from made(chart, chart.folder / "files/rules.yaml", rules.read_text())
    sources = sorted((chart.root / "dashboards").glob("*.json"))
    for source in sources:
        yield from made(chart, chart.folder / "files/dashboards" / source.name, source.read_text())
    copies = {path.name for path in (chart.folder / "files/dashboards").iterdir()}
    yield from (f"files/dashboards/{name} has no source" for name in copies - {path.name for path in sources})


def the_schema_has_the_programs_own_schema(chart):
    path = chart.folder / "values.schema.json"
    found = json.loads(path.read_text())
    program = chart.root / "src/schemas/config.json"
    found["definitions"] = schema.definitions(json.loads(program.read_text()))
    yield from made(chart, path, json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def the_schema_is_draft_07_and_closed(chart):
    """Helm 3 skips newer words without a word of its own."""
    found = json.loads((chart.folder / "values.schema.json").read_text())
    newer = {"$defs", "dependentRequired", "dependentSchemas", "unevaluatedProperties", "prefixItems"}

    def walk(node, path):
        if isinstance(node, list):
            for index, item in enumerate(node):
                yield from walk(item, f"{path}/{index}")
        elif isinstance(node, dict):
            yield from (f"{path}: {key} is newer than draft-07" for key in newer & set(node))
            if "$ref" in node and len(node) > 1:
                yield f"{path}: nothing counts beside $ref"
            if node.get("type") == "object" and isinstance(node.get("properties"), dict) and not path.endswith("/items"):
                if node.get("additionalProperties") is not False:
                    yield f"{path}: takes unknown keys"
            for key, item in node.items():
                yield from walk(item, f"{path}/{key}")

    yield from walk(found, "")


def the_readme_lists_every_value(chart):
    text = (chart.folder / "values.yaml").read_text()
    known = [path for path, _ in readme.described(text)]
    for leaf in readme.leaves(yaml.safe_load(text), known):
        if leaf not in known:
            yield f"values.yaml: {leaf} has no comment"
    properties = json.loads((chart.folder / "values.schema.json").read_text())["properties"]
    for path in known:
        node = {"properties": properties}
        for key in path.split("."):
            node = node.get("properties", {}).get(key)
            if node is None:
                yield f"values.schema.json: does not know {path}"
                break
    path = chart.folder / "README.md"
    yield from made(chart, path, readme.updated(path.read_text(), text))


def the_example_in_the_readme_renders(chart):
    [example] = re.findall(r"```yaml\n(.*?)```", (chart.folder / "README.md").read_text(), re.DOTALL)
    for helm in chart.helms:
        documents = chart.rendered(yaml.safe_load(example), helm=helm)
        image = pick(documents, "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"]
        if image != "registry.example.com/connector-bridge:0.1.0":
            yield f"the image is {image}"


def both_helms_find_nothing_to_lint(chart):
    def lint(work):
        helm, path = work
        try:
            helm.run("lint", chart.folder, "--strict", "--quiet", *(["--values", path] if path else []))
        except Refused as refused:
            return f"{helm.name}, {path and path.stem}: {refused}"

    # Nothing is written with the defaults alone, but tools look at a chart without values.
    work = [(helm, path) for helm in chart.helms for path in [None, *chart.files()]]
    yield from filter(None, chart.pool.map(lint, work))


def a_package_holds_what_is_needed_and_no_more(chart):
    for helm in chart.helms:
        with tempfile.TemporaryDirectory() as folder:
            helm.run("package", chart.folder, "--destination", folder)
            [package] = Path(folder).iterdir()
            names = subprocess.run(["tar", "tf", package], capture_output=True, text=True, check=True).stdout.split()
            if any("/ci/" in name for name in names) or not any("/files/rules.yaml" in name for name in names):
                yield f"{helm.name}: {names}"
            documents = helm.render(package, [chart.file("minimal")], LATEST)
            if documents != chart.rendered("minimal", helm=helm):
                yield f"{helm.name}: the package renders something else"
