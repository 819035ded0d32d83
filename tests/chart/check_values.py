"""What single values do, and which ones are refused."""

import copy
import json
import re
import shutil
import tempfile
from pathlib import Path

import yaml

import custom
import readme
import rendering
from chart import HERE, LATEST
from checking import Note
from rendering import Refused, pick


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
    for version, mode, wanted in [
        ("1.35", "skipIfMissing", 0),
        ("1.35", "alwaysRender", 1),
        ("v1.36.2-gke.1", "skipIfMissing", 1),
    ]:
        documents = chart.rendered("injection", {"renderMode": mode}, kubernetes=version)
        found = sum(document["kind"] == "MutatingAdmissionPolicy" for document in documents)
        if found != wanted:
            yield f"Kubernetes {version}, {mode}: {found} policies"


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
        "resources": ({"resources": {"limits": {"memory": "512Mi"}}}, False),
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
        (
            {
                "config": {"tls": {"cert_file": "a", "key_file": "b"}},
                "ingress": {"enabled": True, "hosts": ["a.example"]},
                "httpRoute": {"enabled": True, "hostnames": ["b.example"], "parentRefs": [{"name": "c"}]},
            },
            ["httpRoute.backendTLS: is off", "ingress.annotations: are empty", "https://b.example/connectors/approve-signup"],
        ),
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
