"""The one container, wherever it runs."""

import copy
import shutil
import tempfile
from pathlib import Path

import celpy
import yaml

import custom
import hardening
import strict
from chart import LATEST
from rendering import pick


def the_container_is_the_same_wherever_it_runs(chart):
    base = yaml.safe_load(chart.file("minimal").read_text())
    deployment = pick(chart.rendered(base), "Deployment")["spec"]["template"]["spec"]
    [alone] = deployment["containers"]
    worker = {"workers": {"containers": [{"name": "worker", "image": "worker:1"}]}}
    beside = pick(chart.rendered(base, worker), "Deployment")["spec"]["template"]["spec"]
    sidecar = beside["initContainers"][0]
    if sidecar != {**alone, "restartPolicy": "Always"}:
        yield f"as a sidecar: {sidecar}"
    if [container["name"] for container in beside["containers"]] != ["worker"]:
        yield "the bridge is not only a sidecar"
    if beside["volumes"] != deployment["volumes"]:
        yield "as a sidecar, other volumes"

    labels = {"deployment": {"enabled": False}, "podSelector": {"app": "x"}, "injection": {"enabled": True}}
    policy = pick(chart.rendered(base, labels), "MutatingAdmissionPolicy")
    expression = policy["spec"]["mutations"][0]["jsonPatch"]["expression"]
    containers = [{"name": "worker", "image": "worker:1"}]
    for spec in (
        {"containers": containers},
        {
            "containers": containers,
            "initContainers": [{"name": "first", "image": "first:1"}],
            "volumes": [{"name": "cache", "emptyDir": {}}],
            "terminationGracePeriodSeconds": 600,
        },
    ):
        injected = apply(expression, spec)
        if injected["initContainers"] != [sidecar, *spec.get("initContainers", [])]:
            yield f"injected: {injected['initContainers'][0]}"
        if injected["volumes"] != spec.get("volumes", []) + deployment["volumes"]:
            yield f"injected volumes: {injected['volumes']}"
        if injected["terminationGracePeriodSeconds"] != spec.get("terminationGracePeriodSeconds", 40):
            yield f"injected grace period: {injected['terminationGracePeriodSeconds']}"
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": injected}
        yield from (f"injected: {fault}" for fault in strict.faults(pod, LATEST))
    condition = policy["spec"]["matchConditions"][0]["expression"]
    for spec, wanted in (({"containers": containers}, True), (injected, False)):
        if bool(evaluate(condition, {"spec": spec})) != wanted:
            yield f"the condition is not {wanted} for {[each['name'] for each in spec.get('initContainers', [])]}"


def evaluate(expression, pod):
    """An expression in CEL. The type that only the API server knows becomes a plain map."""
    expression = expression.replace("JSONPatch{op:", '{"op":').replace(", path:", ', "path":').replace(", value:", ', "value":')
    environment = celpy.Environment()
    program = environment.program(environment.compile(expression))
    return program.evaluate({"object": celpy.json_to_cel(pod)})


def plain(value):
    """What CEL gives, as Python has it. A boolean there is a kind of number here."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, celpy.celtypes.BoolType):
        return bool(value)
    return int(value) if isinstance(value, int) else str(value)


def apply(expression, spec):
    """The pod's spec after the patch, which only adds."""
    pod = copy.deepcopy({"spec": spec})
    for step in plain(evaluate(expression, pod)):
        *path, last = step["path"].strip("/").split("/")
        node = pod
        for key in path:
            node = node[key]
        if isinstance(node, list):
            node.insert(len(node) if last == "-" else int(last), step["value"])
        else:
            node[last] = step["value"]
    return pod["spec"]


def another_chart_includes_the_sidecar_in_two_lines(chart):
    example = chart.root / "examples/charts/worker-with-sidecar"
    wanted = pick(chart.rendered("minimal", {"workers": {"containers": [{"name": "worker", "image": "x"}]}}), "Deployment")
    wanted = wanted["spec"]["template"]["spec"]["initContainers"][0]
    for helm in chart.helms:
        with tempfile.TemporaryDirectory() as folder:
            there = Path(folder) / "example"
            shutil.copytree(example, there, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
            about = there / "Chart.yaml"
            about.write_text(about.read_text().replace("file://../../../helm/connector-bridge", f"file://{chart.folder}"))
            helm.run("dependency", "build", there)
            for version in chart.versions:
                documents = helm.render(there, [], version)
                for document in documents:
                    if not custom.is_custom(document):
                        yield from (f"{helm.name}: {fault}" for fault in strict.faults(document, version))
                deployments = [each for each in documents if each["kind"] == "Deployment"]
                [deployment] = deployments
                template = deployment["spec"]["template"]
                if template["spec"]["initContainers"] != [wanted]:
                    yield f"{helm.name}, Kubernetes {version}: another sidecar"
                yield from (f"{helm.name}: {fault}" for fault in hardening.pod_faults(template["spec"]))
                if template["spec"]["terminationGracePeriodSeconds"] != 40:
                    yield f"{helm.name}: {template['spec']['terminationGracePeriodSeconds']} s of grace"
                for kind, selector in (
                    ("Service", lambda each: each["spec"]["selector"]),
                    ("NetworkPolicy", lambda each: each["spec"]["podSelector"]["matchLabels"]),
                    ("PodMonitor", lambda each: each["spec"]["selector"]["matchLabels"]),
                ):
                    if selector(pick(documents, kind)).items() - template["metadata"]["labels"].items():
                        yield f"{helm.name}: the {kind} does not find the pods"
                mounted = template["spec"]["volumes"][0]["projected"]["sources"][0]["configMap"]["name"]
                if mounted != pick(documents, "ConfigMap", "connector-bridge")["metadata"]["name"]:
                    yield f"{helm.name}: mounts {mounted}"
