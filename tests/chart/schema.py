"""The program's own schema of its configuration, as definitions for values.schema.json.

Helm 3 silently skips what is newer than draft-07 and has the regular expressions of Go, so newer
words are rewritten. What the chart adds: a file may be a reference to a Secret.
"""

import copy
import re

ANNOTATIONS = {"description", "default", "title"}
REFERENCE = r"^secret://[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[-._A-Za-z0-9]+$"


def definitions(program):
    """The definitions bridge-config, bridge-connectors, and what they refer to."""
    root = {key: value for key, value in program.items() if key not in ("$schema", "$defs", "title")}
    properties = dict(root["properties"])
    connectors = properties.pop("connectors")
    # With none at all, the chart says how one is written.
    connectors.pop("minProperties", None)
    # cert-manager may bring both files, so they are asked for outside of the definitions.
    properties["tls"] = {key: value for key, value in properties["tls"].items() if key != "required"}
    root["properties"] = properties
    root["required"] = [key for key in root["required"] if key != "connectors"]
    if not root["required"]:
        del root["required"]
    found = {"config": root, "connectors": connectors, **copy.deepcopy(program["$defs"])}
    found["file"] = {
        "description": "A file name, or secret://NAME/KEY.",
        **{key: value for key, value in found["file"].items() if key != "description"},
        "if": {"pattern": "^secret:"},
        "then": {"pattern": REFERENCE},
    }
    return {f"bridge-{name}": adapt(schema) for name, schema in sorted(found.items())}


def adapt(schema):
    """The same in draft-07."""
    if isinstance(schema, list):
        return [adapt(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: adapt(value) for key, value in schema.items()}
    if "pattern" in schema:
        schema["pattern"] = re.sub(r"\\u00([0-9A-Fa-f]{2})", r"\\x\1", schema["pattern"])
    dependencies = {**schema.pop("dependentRequired", {}), **schema.pop("dependentSchemas", {})}
    if dependencies:
        schema["dependencies"] = dependencies
    if "$ref" in schema:
        schema = adapt_reference(schema)
    if "oneOf" in schema:
        schema = adapt_choice(schema)
    return schema


def adapt_reference(schema):
    """Beside $ref nothing counts in draft-07."""
    reference = {"$ref": schema["$ref"].replace("#/$defs/", "#/definitions/bridge-")}
    notes = {key: value for key, value in schema.items() if key in ANNOTATIONS}
    rest = {key: value for key, value in schema.items() if key not in ANNOTATIONS and key != "$ref"}
    if not notes and not rest:
        return reference
    return {**notes, "allOf": [reference] + ([rest] if rest else [])}


def adapt_choice(schema):
    """A word or a mapping. As if and else, so that a fault in the mapping is named."""
    word, mapping = schema["oneOf"]
    rest = {key: value for key, value in schema.items() if key != "oneOf"}
    return {**rest, "if": {"type": "string"}, "then": word, "else": mapping}
