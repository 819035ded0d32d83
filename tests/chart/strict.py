"""Objects against the schemas of each version of Kubernetes, unknown keys refused."""

import functools
import json
import re
from pathlib import Path

import jsonschema
import kubernetes_validate
from referencing import Registry, Resource

SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"


@functools.cache
def definitions(version):
    return Resource.from_contents(json.loads((folder(version) / "_definitions.json").read_text()))


def folder(version):
    return SCHEMAS / f"v{version}.0-local-strict"


@functools.cache
def validator(version, kind, api):
    path = folder(version) / f"{kind.lower()}-{api}.json"
    if not path.exists():
        return None
    schema = Resource.from_contents(json.loads(path.read_text()))
    registry = schema @ (definitions(version) @ Registry())
    return jsonschema.Draft202012Validator(schema.contents, registry=registry)


def faults(document, version):
    """What this version of Kubernetes would not take."""
    api = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", document["apiVersion"])
    found = validator(version, document["kind"], api)
    if found is None:
        return [f"Kubernetes {version} has no {document['apiVersion']} {document['kind']}"]
    return [f"{error.json_path}: {error.message[:300]}" for error in found.iter_errors(document)]
