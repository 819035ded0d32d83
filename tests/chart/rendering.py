"""Rendering the chart with either version of Helm."""

import json
import subprocess
import tempfile
from pathlib import Path

import yaml

KUBERNETES = [f"1.{minor}" for minor in range(29, 38)]
# What is rendered only where the cluster knows it.
CUSTOM = [
    "monitoring.coreos.com/v1/PodMonitor",
    "monitoring.coreos.com/v1/ServiceMonitor",
    "monitoring.coreos.com/v1/PrometheusRule",
    "gateway.networking.k8s.io/v1/HTTPRoute",
    "gateway.networking.k8s.io/v1/BackendTLSPolicy",
    "gateway.networking.k8s.io/v1/TLSRoute",
    "cert-manager.io/v1/Certificate",
    "external-secrets.io/v1/ExternalSecret",
]


class Refused(Exception):
    """Helm did not render; holds what it said."""


class Helm:
    """One version of Helm."""

    def __init__(self, program, name):
        self.program, self.name = str(program), name
        self.count = 0

    def run(self, *arguments):
        self.count += 1
        done = subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode:
            raise Refused(done.stderr + done.stdout)
        return done.stdout

    def text(self, chart, values, kubernetes, custom=CUSTOM):
        """What `helm template` prints. `values` are files, or mappings that count one after the other."""
        apis = [argument for api in custom for argument in ("--api-versions", api)]
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for number, value in enumerate(values):
                if isinstance(value, dict):
                    path = Path(folder) / f"{number}.json"
                    path.write_text(json.dumps(value))
                    value = path
                files += ["--values", value]
            return self.run(
                "template", "demo", chart, "--namespace", "sign-up",
                "--kube-version", kubernetes, *apis, *files,
            )

    def render(self, *arguments, **named):
        """The objects in it, in a fixed order."""
        return objects(self.text(*arguments, **named))


def objects(text):
    found = [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]
    return sorted(found, key=lambda found: (found["kind"], found["metadata"]["name"]))


def pick(rendered, kind, suffix=""):
    """The one object of a kind whose name has this end."""
    found = [
        document
        for document in rendered
        if document["kind"] == kind and document["metadata"]["name"].endswith(suffix)
    ]
    assert len(found) == 1, f"{len(found)} objects of kind {kind} in place of one"
    return found[0]


def configuration(rendered):
    """The text of bridge.yaml."""
    [found] = [
        document["data"]["bridge.yaml"]
        for document in rendered
        if document["kind"] == "ConfigMap" and "bridge.yaml" in document.get("data", {})
    ]
    return found


def pod_specs(rendered):
    """Every pod in it, as (object's name, the pod's spec)."""
    for document in rendered:
        name = f"{document['kind']} {document['metadata']['name']}"
        if document["kind"] == "Pod":
            yield name, document["spec"]
        elif "template" in document.get("spec", {}) and document["kind"] == "Deployment":
            yield name, document["spec"]["template"]["spec"]
