"""What holds for every render of ci/*.yaml."""

import copy
import json
import re

import yaml

import custom
import hardening
import rendering
import strict
from chart import LATEST, made
from checking import Note
from rendering import pick


def every_render_is_valid_in_every_kubernetes(chart):
    renders = objects = 0
    seen = {}
    for (name, helm, version), documents in chart.matrix.items():
        if isinstance(documents, str):
            yield f"{name}, {helm}, Kubernetes {version}: {documents}"
            continue
        renders += 1
        for document in documents:
            objects += 1
            if custom.is_custom(document):
                continue
            key = (version, json.dumps(document, sort_keys=True))
            if key not in seen:
                seen[key] = strict.faults(document, version)
                for fault in seen[key]:
                    yield f"{name}, {helm}, Kubernetes {version}, {document['kind']}: {fault}"
    yield Note(f"{renders} renders, {objects} objects, {len(seen)} different ones")


def both_helms_render_the_same(chart):
    first, second = (helm.name for helm in chart.helms)
    for (name, helm, version), documents in chart.matrix.items():
        if helm == first and documents != chart.matrix[name, second, version]:
            yield f"{name}, Kubernetes {version}"


def custom_resources_fit_their_definitions(chart):
    if chart.npm is None:
        yield Note("SKIPPED, needs node and npm")
        return
    found = {
        json.dumps(document, sort_keys=True): document
        for _, documents in chart.latest()
        for document in documents
        if custom.is_custom(document)
    }
    documents = list(found.values())
    kinds = {document["kind"] for document in documents}
    wanted = {api.split("/")[-1] for api in rendering.CUSTOM}
    yield from (f"no values render a {kind}" for kind in wanted - kinds)
    # A compiler that finds nothing may have looked at nothing.
    wrong = [copy.deepcopy(document) for document in documents if document["kind"] == "HTTPRoute"][:1]
    wrong[0]["spec"]["hostname"] = "x"
    if not custom.faults(wrong, chart.npm):
        yield "an unknown key is not noticed"
    yield from custom.faults(documents, chart.npm)
    yield Note(f"{len(documents)} objects of {len(kinds)} kinds")


def renders_are_as_golden(chart):
    names = set()
    for name, documents in chart.latest():
        names.add(f"{name}.yaml")
        documents = [shortened(document) for document in copy.deepcopy(documents)]
        text = f"# ci/{name}.yaml, Kubernetes {LATEST}, every custom resource known.\n"
        text += yaml.dump_all(documents, Dumper=Readable, sort_keys=False, width=100, allow_unicode=True)
        path = chart.golden / f"{name}.yaml"
        if not chart.update and path.exists() and path.read_text() != text:
            had, has = path.read_text().splitlines(), text.splitlines()
            place = next((i for i, (a, b) in enumerate(zip(had, has)) if a != b), min(len(had), len(has)))
            yield f"golden/{name}.yaml:{place + 1}: {' '.join(had[place : place + 1])} is now {' '.join(has[place : place + 1])}"
        else:
            yield from made(chart, path, text)
    yield from (f"golden/{path.name} has no values" for path in chart.golden.glob("*") if path.name not in names)


class Readable(yaml.SafeDumper):
    """Texts of several lines as such."""

    def represent_text(self, text):
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Readable.add_representer(str, Readable.represent_text)


def shortened(document):
    """Without what is checked elsewhere and would fill pages."""
    if document["kind"] == "PrometheusRule":
        for group in document["spec"]["groups"]:
            group["rules"] = [rule.get("alert") or rule["record"] for rule in group["rules"]]
    for key, value in document.get("data", {}).items():
        if key.endswith(".json"):
            document["data"][key] = "(dashboard)"
    return document


def every_object_is_hardened(chart):
    pods = 0
    for name, documents in chart.latest():
        for document in documents:
            for fault in hardening.object_faults(document):
                yield f"{name}, {document['kind']} {document['metadata']['name']}: {fault}"
        for where, spec in rendering.pod_specs(documents):
            pods += 1
            yield from (f"{name}, {where}: {fault}" for fault in hardening.pod_faults(spec))
    yield Note(f"{pods} pods")


def the_grace_period_covers_the_longest_deadline(chart):
    for name, documents in chart.latest():
        values = yaml.safe_load((chart.folder / "ci" / f"{name}.yaml").read_text())
        needed = hardening.grace_needed(yaml.safe_load(rendering.configuration(documents)))
        if values.get("workers"):
            needed += values["workers"]["shutdownSeconds"]
        for document in documents:
            if document["kind"] == "Deployment":
                found = document["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
                if not needed <= found <= needed + 10:
                    yield f"{name}: {found} s, and {needed} s are needed"
    # A longer drain makes both times longer.
    long = chart.rendered("minimal", {"config": {"drain_delay": "1.5m"}})
    grace = pick(long, "Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    if grace != 111 or "shutdown_grace: 106s" not in rendering.configuration(long):
        yield f"with a drain of 90 s: {grace} s"


def selectors_find_the_pods(chart):
    for name, documents in chart.latest():
        deployments = [document for document in documents if document["kind"] == "Deployment"]
        for deployment in deployments:
            labels = deployment["spec"]["template"]["metadata"]["labels"].items()
            for document in documents:
                spec = document.get("spec", {})
                selector = {
                    "Deployment": lambda: spec["selector"]["matchLabels"],
                    "Service": lambda: spec["selector"],
                    "NetworkPolicy": lambda: spec["podSelector"]["matchLabels"],
                    "PodDisruptionBudget": lambda: spec["selector"]["matchLabels"],
                    "PodMonitor": lambda: spec["selector"]["matchLabels"],
                }.get(document["kind"])
                if selector and selector().items() - labels:
                    yield f"{name}: the {document['kind']} does not find the pods"
        for document in documents:
            if document["kind"] == "Pod" and deployments:
                if not deployments[0]["spec"]["selector"]["matchLabels"].items() - document["metadata"]["labels"].items():
                    yield f"{name}: the Service sends calls to the pod of helm test"
            if document["kind"] == "ServiceMonitor":
                wanted = document["spec"]["selector"]["matchLabels"].items()
                service = pick(documents, "Service", "-metrics")
                if wanted - service["metadata"]["labels"].items():
                    yield f"{name}: the ServiceMonitor does not find its Service"


def every_file_that_is_named_is_mounted(chart):
    for name, documents in chart.latest():
        text = rendering.configuration(documents)
        named = set(re.findall(r"/run/connector-bridge/(secrets/\S+)", text))
        for where, spec in rendering.pod_specs(documents):
            if where.startswith("Pod"):
                arguments = spec["containers"][0]["args"]
                wanted = {path.removeprefix("/run/connector-bridge/secrets/") for path in arguments if "/secrets/" in path}
                volume = "secrets"
            else:
                wanted, volume = named, "connector-bridge"
            mounted = {
                item["path"]
                for each in spec["volumes"]
                if each["name"] == volume
                for source in each["projected"]["sources"]
                for item in source.get("secret", {}).get("items", [])
            }
            if mounted != wanted:
                yield f"{name}, {where}: mounts {mounted}, and {wanted} are named"
