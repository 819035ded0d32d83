"""The checks, each a function that yields faults. Its name says what holds."""

import copy
import dataclasses
import functools
import json
import re
import shutil
import socket
import subprocess
import tempfile
import time
import traceback
import urllib.request
from pathlib import Path

import celpy
import yaml

import custom
import hardening
import readme
import rendering
import schema
import strict
from rendering import KUBERNETES, Refused, pick

LATEST = KUBERNETES[-1]
HERE = Path(__file__).parent
INJECTED_FROM = "1.36"


@dataclasses.dataclass
class Chart:
    """The chart that is checked, and what with."""

    folder: Path
    root: Path
    helms: list
    program: Path
    npm: Path | None
    pool: object
    update: bool = False
    versions: tuple = tuple(KUBERNETES)
    golden: Path = HERE / "golden"

    def files(self):
        return sorted((self.folder / "ci").glob("*.yaml"))

    def file(self, name):
        return self.folder / "ci" / f"{name}-values.yaml"

    def rendered(self, *values, helm=None, kubernetes=LATEST, **named):
        values = [self.file(value) if isinstance(value, str) else value for value in values]
        return (helm or self.helms[0]).render(self.folder, values, kubernetes, **named)

    @functools.cached_property
    def matrix(self):
        """Every render, by (name of the values, Helm, Kubernetes); a fault where there is none."""
        keys = [
            (path, helm, version)
            for path in self.files()
            for helm in self.helms
            for version in self.versions
            if path.stem != "injection-values" or version >= INJECTED_FROM
        ]

        def render(key):
            path, helm, version = key
            try:
                return helm.render(self.folder, [path], version)
            except Refused as refused:
                return str(refused)

        found = self.pool.map(render, keys)
        return {(path.stem, helm.name, version): each for (path, helm, version), each in zip(keys, found)}

    def latest(self):
        """One render of every values file, as (name, objects)."""
        for (name, helm, version), documents in self.matrix.items():
            if helm == self.helms[0].name and version == LATEST and not isinstance(documents, str):
                yield name, documents


@dataclasses.dataclass
class Outcome:
    faults: list
    note: str = ""


def outcome(check, chart):
    """A check that breaks has failed."""
    notes, faults = [], []
    try:
        for found in check(chart):
            (notes if isinstance(found, Note) else faults).append(str(found))
    except Exception:
        faults.append(traceback.format_exc())
    return Outcome(faults, f": {', '.join(notes)}" if notes else "")


class Note(str):
    """Said, but no fault."""


def made(chart, path, wanted):
    """A file that is made of something else."""
    if chart.update:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted)
    elif not path.exists() or path.read_text() != wanted:
        yield f"{path.relative_to(path.parents[2])} is out of date: tests/chart/run.py --update"


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
        text += yaml.safe_dump_all(documents, sort_keys=False, width=100, allow_unicode=True)
        path = chart.golden / f"{name}.yaml"
        if not chart.update and path.exists() and path.read_text() != text:
            had, has = path.read_text().splitlines(), text.splitlines()
            place = next((i for i, (a, b) in enumerate(zip(had, has)) if a != b), min(len(had), len(has)))
            yield f"golden/{name}.yaml:{place + 1}: {' '.join(had[place : place + 1])} is now {' '.join(has[place : place + 1])}"
        else:
            yield from made(chart, path, text)
    yield from (f"golden/{path.name} has no values" for path in chart.golden.glob("*") if path.name not in names)


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


def the_program_accepts_every_configuration(chart):
    with tempfile.TemporaryDirectory() as folder:
        for name, documents in chart.latest():
            path = Path(folder) / "bridge.yaml"
            path.write_text(rendering.configuration(documents))
            done = subprocess.run([chart.program, "check", "--config", path], capture_output=True, text=True)
            if done.returncode:
                yield f"{name}: {done.stdout}{done.stderr}"
            if "shutdown_grace" in done.stderr:
                yield f"{name}: {done.stderr}"


def the_program_starts_as_rendered_and_answers_the_test(chart):
    """With the arguments, files, probes and test of the renders, and without NATS: it is ready and
    answers all the same."""
    with tempfile.TemporaryDirectory() as folder:
        listen, admin = free_ports(2)
        ports = {"listen": f"0.0.0.0:{listen}", "admin_listen": f"0.0.0.0:{admin}"}
        # Nobody listens there.
        nats = {"servers": ["nats://127.0.0.1:1"], "token_file": "secret://bridge-nats/token"}
        values = yaml.safe_load(chart.file("minimal").read_text())
        values["config"] = {**values["config"], **ports, "nats": nats}
        documents = chart.rendered(values)
        here = lambda text: text.replace("/run/connector-bridge", folder)
        deployment = pick(documents, "Deployment")["spec"]["template"]["spec"]
        [container] = deployment["containers"]
        for source in deployment["volumes"][0]["projected"]["sources"]:
            for item in source.get("secret", {}).get("items", []):
                path = Path(folder) / item["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("0123456789abcdef0123456789abcdef\n")
        (Path(folder) / "bridge.yaml").write_text(here(rendering.configuration(documents)))
        command = [chart.program, *map(here, container["args"])]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as bridge:
            try:
                for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                    action = container[probe]["httpGet"]
                    if not answers(f"http://127.0.0.1:{action['port']}{action['path']}"):
                        yield f"{probe} fails"
                test = pick(documents, "Pod", "-test")["spec"]["containers"][0]
                target = pick(documents, "Service", "bridge")["spec"]["ports"][0]
                host = f"demo-connector-bridge.sign-up.svc:{target['port']}"
                arguments = [here(each).replace(host, f"127.0.0.1:{target['targetPort']}") for each in test["args"]]
                done = subprocess.run([chart.program, *arguments], capture_output=True, text=True)
                if done.returncode or "answer-source default" not in done.stdout:
                    yield f"{arguments}: {done.stdout}{done.stderr}"
            finally:
                bridge.kill()


def free_ports(count):
    """Ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def answers(url, seconds=20):
    """Whether this URL answers with 200 within some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=2) as response:
                return response.status == 200
        except OSError:
            time.sleep(0.05)
    return False


def what_is_configured_stays_as_it_is_written(chart):
    """Every key of section config and connectors, but for references and what the chart fills in."""
    directory = "/run/connector-bridge/secrets"
    for name, documents in chart.latest():
        values = yaml.safe_load((chart.folder / "ci" / f"{name}.yaml").read_text())
        written = {**values.get("config", {}), "connectors": values["connectors"]}
        wanted = json.loads(json.dumps(written).replace("secret://", f"{directory}/"))
        found = yaml.safe_load(rendering.configuration(documents))
        for key, value in wanted.items():
            if isinstance(value, dict) and key != "connectors":
                for inner in value:
                    if found[key].get(inner) != value[inner]:
                        yield f"{name}: {key}.{inner} is {found[key].get(inner)}"
            elif found.get(key) != value:
                yield f"{name}: {key} is {found.get(key)}"
        allowed = set(written) | {"calls", "shutdown_grace", "tls"}
        yield from (f"{name}: {key} was not written" for key in set(found) - allowed)


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


def several_replicas_share_their_calls(chart):
    for values, store in [
        ({"replicas": 1}, None),
        ({"replicas": 2}, "jetstream"),
        ({"replicas": 2, "config": {"calls": {"store": "memory"}}}, "memory"),
        ({"replicas": 1, "autoscaling": {"enabled": True}}, "jetstream"),
        ({"replicas": 3, "autoscaling": {"enabled": True, "minReplicas": 1, "maxReplicas": 1}}, None),
    ]:
        found = yaml.safe_load(rendering.configuration(chart.rendered("minimal", values)))
        if found["calls"].get("store") != store:
            yield f"{values}: {found['calls']}"


def bad_values_are_refused_and_the_key_is_named(chart):
    cases = yaml.safe_load((HERE / "refused.yaml").read_text())

    def refuse(work):
        helm, case = work
        custom_apis = rendering.CUSTOM if case.get("custom", True) else []
        try:
            version = case.get("kubernetes", LATEST)
            base = [] if case.get("alone") else ["minimal"]
            chart.rendered(*base, case["values"], helm=helm, kubernetes=version, custom=custom_apis)
        except Refused as refused:
            missing = [word for word in case["says"] if str(word) not in str(refused)]
            return missing and f"{helm.name}, {case['name']}: {missing} not in: {refused}"
        return f"{helm.name}, {case['name']}: is taken"

    work = [(helm, case) for helm in chart.helms for case in cases]
    yield from filter(None, chart.pool.map(refuse, work))
    yield Note(f"{len(cases)} cases")


def every_value_does_something(chart):
    """Each key of values.yaml is written in some ci/*.yaml, and taking it out there changes a render."""
    text = (chart.folder / "values.yaml").read_text()
    known = [path for path, _ in readme.described(text)]
    files = {path.stem: yaml.safe_load(path.read_text()) for path in chart.files()}
    # Helm itself writes the one, and nothing is rendered without the other.
    exempt = {"global", "connectors"}

    def without(values, path):
        values = copy.deepcopy(values)
        node = values
        for key in path[:-1]:
            node = node[key]
        del node[path[-1]]
        return values

    def has(values, path):
        for key in path:
            if not isinstance(values, dict) or key not in values:
                return False
            values = values[key]
        return True

    def attempt(values, apis):
        try:
            return chart.rendered(values, custom=apis)
        except Refused as refused:
            return str(refused)

    def counts(path):
        keys = path.split(".")
        written = [values for values in files.values() if has(values, keys)]
        for values in written:
            # What is done about a missing API shows only where one is missing.
            apis = [] if path == "renderMode" else rendering.CUSTOM
            if attempt(values, apis) != attempt(without(values, keys), apis):
                return None
        return f"{path}: {'changes nothing' if written else 'is in no ci/*.yaml'}"

    paths = [path for path in known if path not in exempt]
    yield from filter(None, chart.pool.map(counts, paths))
    yield Note(f"{len(paths)} values")


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


def alerts_come_out_as_they_are_tested(chart):
    source = yaml.safe_load((chart.root / "deploy/prometheus/rules.yaml").read_text())["groups"]
    plain = pick(chart.rendered("minimal"), "PrometheusRule")["spec"]["groups"]
    if plain != source:
        yield "with the defaults they are others than in deploy/prometheus/rules.yaml"
    found = pick(chart.rendered("full"), "PrometheusRule")["spec"]["groups"]
    wanted = copy.deepcopy(source)
    for group in wanted:
        group["rules"] = [rule for rule in group["rules"] if rule.get("alert") != "ConnectorBridgeRetries"]
        for rule in group["rules"]:
            if "alert" in rule:
                rule["labels"]["team"] = "identity"
                url = rule["annotations"]["runbook_url"]
                rule["annotations"]["runbook_url"] = url.replace("runbooks.example.com", "wiki.example.com")
    if found != wanted:
        yield "with labels, a runbook and one disabled they are not as expected"
    job = re.compile(re.search(r'up\{job=~"([^"]*)"', json.dumps(source).replace('\\"', '"'))[1])
    for values in ({}, {"fullnameOverride": "sign-up"}):
        monitor = pick(chart.rendered("minimal", values), "PodMonitor")
        name = monitor["spec"]["podMetricsEndpoints"][0]["relabelings"][0]["replacement"]
        if not job.fullmatch(name):
            yield f"the job {name} is not found by ConnectorBridgeDown"


def dashboards_come_out_as_they_are_tested(chart):
    documents = chart.rendered("minimal")
    for source in (chart.root / "dashboards").glob("*.json"):
        found = pick(documents, "ConfigMap", f"-{source.stem}")
        [text] = found["data"].values()
        if json.loads(text) != json.loads(source.read_text()):
            yield f"{source.name} is another"
        # kubectl apply keeps a copy of the object in an annotation, which has a bound.
        if len(json.dumps(found)) > 240_000:
            yield f"{source.name} is too large for kubectl apply"


def custom_resources_follow_render_mode(chart):
    kinds = lambda documents: {each["kind"] for each in documents if custom.is_custom(each)}
    everything = {api.split("/")[-1] for api in rendering.CUSTOM} - {"ServiceMonitor"}
    for mode, apis, wanted in [
        ("skipIfMissing", [], set()),
        ("skipIfMissing", ["cert-manager.io/v1/Certificate"], {"Certificate"}),
        ("skipIfMissing", rendering.CUSTOM, everything),
        ("alwaysRender", [], everything),
        ("failIfMissing", rendering.CUSTOM, everything),
    ]:
        found = kinds(chart.rendered("full", {"renderMode": mode}, custom=apis))
        if found != wanted:
            yield f"{mode}, {len(apis)} known: {found}"


def upgrades_and_roll_backs_keep_what_cannot_change(chart):
    base = yaml.safe_load(chart.file("minimal").read_text())
    before = chart.rendered(base)
    checksum = lambda documents: pick(documents, "Deployment")["spec"]["template"]["metadata"]["annotations"]["checksum/connector-bridge"]
    fixed = lambda documents: (
        pick(documents, "Deployment")["spec"]["selector"],
        pick(documents, "Service")["spec"]["selector"],
        sorted((each["kind"], each["metadata"]["name"]) for each in documents if not each["metadata"].get("annotations", {}).get("helm.sh/hook")),
    )
    changed_configuration = {"connectors": {"approve-signup": {"deadline": "12s"}}}
    upgrades = {
        "a deadline": (changed_configuration, True),
        "a log level": ({"config": {"log": {"level": "debug"}}}, True),
        "more replicas": ({"replicas": 5}, False),
        "an image": ({"image": {"tag": "0.2.0"}}, False),
        "resources": ({"resources": {"limits": {"memory": "256Mi"}}}, False),
        "labels of everything": ({"commonLabels": {"team": "identity"}}, False),
        "a worker beside it": ({"workers": {"containers": [{"name": "worker", "image": "x"}]}}, False),
    }
    for name, (values, rolls) in upgrades.items():
        after = chart.rendered(base, values)
        if after == before:
            yield f"{name}: changes nothing"
        if fixed(after) != fixed(before):
            yield f"{name}: changes a selector or a name"
        if (checksum(after) != checksum(before)) != rolls:
            yield f"{name}: rolls pods out: {not rolls}"
    # Rolling back renders the old values again: nothing may depend on time, chance or order.
    if chart.rendered(base) != before:
        yield "the same values give another render"
    # A newer chart with the same values must be able to take the Deployment over.
    with tempfile.TemporaryDirectory() as folder:
        newer = Path(folder) / "connector-bridge"
        shutil.copytree(chart.folder, newer)
        about = newer / "Chart.yaml"
        about.write_text(re.sub(r"ersion: 0\.1\.0", "ersion: 0.2.0", about.read_text()))
        after = chart.helms[0].render(newer, [chart.file("minimal")], LATEST)
        if fixed(after) != fixed(before) or checksum(after) != checksum(before):
            yield "a newer chart changes a selector, a name or the checksum"


def notes_name_the_url_and_warn(chart):
    """By Helm 4, which prints them without a cluster."""
    cases = [
        ("minimal", ["https://HOST/connectors/approve-signup", "Basic authentication as entra", "helm test demo", "config.tls", "PodMonitor, PrometheusRule"],
            ["replicas:", "auth: none", "continue", "hash_key_file"]),
        ("open", ["replicas: there is only one", "connectors.trial.auth: none", "connectors.trial.fallback.default: continue", "without TLS", "networkPolicy.enabled: is off", "hash_key_file"],
            ["helm test"]),
        ("jetstream", [], ["encryption_key_files", "hash_key_file"]),
        ("tls", ["https://sign-up.example.com/connectors/approve-signup", "a client certificate", "?code=KEY", "TLSRoute"],
            ["Mind:\n\n- config.tls", "HOST"]),
        ("library", ["https://HOST/connectors/approve-signup"], []),
    ]
    extra = [
        ({"ingress": {"enabled": True, "hosts": ["a.example"]}}, ["http://a.example/connectors/approve-signup", "ingress.tls: a host has no TLS"]),
        ({"config": {"calls": {"store": "memory"}}}, ["config.calls.store: memory"]),
    ]
    helm = chart.helms[1]
    for name, wanted, unwanted in cases:
        text = notes(helm, chart, chart.file(name))
        yield from (f"{name}: does not say {words}" for words in wanted if words not in text)
        yield from (f"{name}: says {words}" for words in unwanted if words in text)
    for values, wanted in extra:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(values, file)
            file.flush()
            text = notes(helm, chart, chart.file("minimal"), file.name)
        yield from (f"{values}: does not say {words}" for words in wanted if words not in text)


def notes(helm, chart, *files):
    values = [argument for file in files for argument in ("--values", file)]
    text = helm.run("install", "demo", chart.folder, "--namespace", "sign-up", "--dry-run=client", *values)
    return text.split("\nNOTES:\n")[1]


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


ALL = [
    rules_and_dashboards_are_copies_of_the_one_source,
    the_schema_has_the_programs_own_schema,
    the_schema_is_draft_07_and_closed,
    the_readme_lists_every_value,
    both_helms_find_nothing_to_lint,
    every_render_is_valid_in_every_kubernetes,
    both_helms_render_the_same,
    custom_resources_fit_their_definitions,
    renders_are_as_golden,
    every_object_is_hardened,
    the_grace_period_covers_the_longest_deadline,
    the_program_accepts_every_configuration,
    the_program_starts_as_rendered_and_answers_the_test,
    what_is_configured_stays_as_it_is_written,
    every_file_that_is_named_is_mounted,
    several_replicas_share_their_calls,
    bad_values_are_refused_and_the_key_is_named,
    every_value_does_something,
    the_container_is_the_same_wherever_it_runs,
    another_chart_includes_the_sidecar_in_two_lines,
    selectors_find_the_pods,
    alerts_come_out_as_they_are_tested,
    dashboards_come_out_as_they_are_tested,
    custom_resources_follow_render_mode,
    upgrades_and_roll_backs_keep_what_cannot_change,
    notes_name_the_url_and_warn,
    a_package_holds_what_is_needed_and_no_more,
]
