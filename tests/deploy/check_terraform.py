"""deploy/entra/terraform, read by HashiCorp's own parser. Nothing here runs Terraform: its program
and its providers come from no registry of packages."""

import json
import re

import pygohcl

from checking import Note
from graph import STEPS, faults_of

META = {"count", "for_each", "depends_on", "provider", "lifecycle"}
# What the provider's documentation lists for its version 0.3, in docs/resources/resource.md and
# docs/resources/resource_action.md of microsoft/terraform-provider-msgraph.
SHARED = {"api_version", "body", "response_export_values", "retry", "timeouts"}
ATTRIBUTES = {
    "msgraph_resource": SHARED | {
        "url", "ignore_missing_property", "update_method",
        "create_query_parameters", "read_query_parameters", "update_query_parameters", "delete_query_parameters",
    },
    "msgraph_resource_action": SHARED | {"resource_url", "action", "method", "headers", "query_parameters"},
}  # fmt: skip
REQUIRED = {"msgraph_resource": {"url"}, "msgraph_resource_action": {"resource_url", "method"}}


def read(deploy):
    """Text and contents of all files together."""
    text = "\n".join(path.read_text() for path in sorted((deploy.root / "deploy/entra/terraform").glob("*.tf")))
    return text, pygohcl.loads(text)


def terraform_files_name_what_their_provider_has(deploy):
    text, found = read(deploy)
    for kind, resources in found["resource"].items():
        for name, resource in resources.items():
            written = set(resource) - META
            yield from (f"{kind}.{name}: {each} is not documented" for each in written - ATTRIBUTES[kind])
            yield from (f"{kind}.{name} lacks {each}" for each in REQUIRED[kind] - written)
    names = set(found["variable"])
    yield from (f"var.{name} is not declared" for name in set(re.findall(r"\bvar\.(\w+)", text)) - names)
    used = re.sub(r'^variable .*?^}', "", text, flags=re.S | re.M)
    yield from (f"var.{name} is not used" for name in names if f"var.{name}" not in used)
    yield from (f"local.{name} is not there" for name in set(re.findall(r"\blocal\.(\w+)", text)) - set(found["locals"]))
    for kind, name in re.findall(r"\b(msgraph_\w+)\.(\w+)\b", text):
        if name not in found["resource"].get(kind, {}):
            yield f"{kind}.{name} is not there"
    yield Note("parsed and compared, not run")


def terraform_sends_what_graph_documents(deploy):
    """For each kind of flow, with the values that its expressions then have."""
    _, found = read(deploy)
    for flow, graph, flows in [
        ("B2X_1_signup", "v1.0", "identity/b2xUserFlows"),
        ("B2C_1_signup", "beta", "identity/b2cUserFlows"),
    ]:
        # As the expressions say; they are compared, so that a changed one is noticed here.
        for name, expression in [
            ("is_b2c", 'startswith(var.flow, "B2C_1_")'),
            ("graph", 'local.is_b2c ? "beta" : "v1.0"'),
            ("flows", 'local.is_b2c ? "identity/b2cUserFlows" : "identity/b2xUserFlows"'),
        ]:
            if found["locals"][name] != expression:
                yield f"local.{name} is {found['locals'][name]}"
        values = {
            "local.graph": graph, "local.flows": flows, "var.flow": flow, "var.name": "approve-signup",
            "var.url": "https://bridge.example.com/connectors/approve-signup",
            "msgraph_resource.connector.id": "45715bb8-13f9-4bf6-927f-ef96c102d394",
        }  # fmt: skip
        text = json.dumps(found["resource"])
        for name, value in values.items():
            text = text.replace(name, value)
        resources = json.loads(text)
        connector, attach = resources["msgraph_resource"]["connector"], resources["msgraph_resource_action"]["attach"]
        if (connector["url"], connector["api_version"]) != ("identity/apiConnectors", "v1.0"):
            yield f"{flow}: the connector is at {connector['url']}"
        yield from faults_of(connector["body"], "create")
        yield from faults_of(attach["body"], "reference")
        place = f"{flows}/{flow}/apiConnectorConfiguration/local.steps[var.step]/$ref"
        if (attach["method"], attach["api_version"], attach["resource_url"]) != ("PUT", graph, place):
            yield f"{flow}: {attach}"
    steps = tuple(found["locals"]["steps"].values())
    if steps != STEPS["beta/identity/b2cUserFlows"]:
        yield f"steps are {steps}"
    if found["resource"]["msgraph_resource"]["connector"]["lifecycle"] != {"ignore_changes": ["body.authenticationConfiguration"]}:
        yield "every plan would put the first credential back"
