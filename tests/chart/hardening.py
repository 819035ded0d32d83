"""What a security review asks of every object: the restricted profile, and what this chart promises
beyond it."""

import re

RESTRICTED_CONTAINER = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
VOLUMES = {"configMap", "secret", "projected", "emptyDir", "downwardAPI"}
HOST = ("hostNetwork", "hostPID", "hostIPC", "hostUsers")


def pod_faults(spec, ours=("connector-bridge", "send")):
    """What is wrong with a pod's spec."""
    faults = []

    def expect(holds, fault):
        if not holds:
            faults.append(fault)

    expect(spec.get("automountServiceAccountToken") is False, "mounts a service account's token")
    expect(spec.get("enableServiceLinks") is False, "has variables of all Services")
    expect(not any(spec.get(key) for key in HOST), "shares something with the node")
    pod = spec.get("securityContext", {})
    for volume in spec.get("volumes", []):
        expect(set(volume) - {"name"} <= VOLUMES, f"volume {volume['name']} is of a forbidden type")
    for container in spec.get("initContainers", []) + spec["containers"]:
        name = container["name"]
        context = container.get("securityContext", {})
        for key, value in RESTRICTED_CONTAINER.items():
            expect(context.get(key) == value, f"{name}: {key} is {context.get(key)}")
        merged = {**pod, **context}
        expect(merged.get("runAsNonRoot") is True, f"{name}: may run as root")
        expect(merged.get("runAsUser", 0) > 0, f"{name}: has no user")
        expect(merged.get("seccompProfile") == {"type": "RuntimeDefault"}, f"{name}: no seccomp profile")
        resources = container.get("resources", {})
        for variable in container.get("env", []):
            expect("secretKeyRef" not in variable.get("valueFrom", {}), f"{name}: a secret in a variable")
        expect(not container.get("envFrom"), f"{name}: variables from outside")
        if name not in ours:
            continue
        # These hold in the pods of others too, so the container has to say them itself.
        expect(context.get("runAsUser") == 65532, f"{name}: does not run as 65532")
        expect(context.get("runAsNonRoot") is True, f"{name}: does not say itself that it is not root")
        expect("seccompProfile" in context, f"{name}: does not say its seccomp profile itself")
        expect("memory" in resources.get("limits", {}), f"{name}: no limit of memory")
        expect("cpu" not in resources.get("limits", {}), f"{name}: a limit of CPU")
        expect(all(mount.get("readOnly") for mount in container["volumeMounts"]), f"{name}: a mount can be written")
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if name == "connector-bridge":
                action = container.get(probe, {}).get("httpGet", {})
                expect(isinstance(action.get("port"), int), f"{name}: {probe} has no port by number")
                wanted = "/livez" if probe == "livenessProbe" else "/readyz"
                expect(action.get("path") == wanted, f"{name}: {probe} does not ask {wanted}")
    return faults


def object_faults(document):
    """What is wrong with any other object."""
    faults = []
    kind, spec = document["kind"], document.get("spec", {})
    if kind in ("Secret", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"):
        faults.append(f"there is a {kind}")
    if kind == "ServiceAccount" and document.get("automountServiceAccountToken") is not False:
        faults.append("mounts its token")
    if kind == "Service":
        faults += ["targetPort by name" for port in spec["ports"] if not isinstance(port["targetPort"], int)]
    if kind == "NetworkPolicy":
        rules = spec["ingress"] + spec["egress"]
        ports = [port["port"] for rule in rules for port in rule.get("ports", [])]
        faults += ["port by name" for port in ports if not isinstance(port, int)]
        if spec["policyTypes"] != ["Ingress", "Egress"]:
            faults.append("leaves a direction open")
    return faults


def milliseconds(text):
    number, unit = re.fullmatch(r"([0-9.]+) *([a-z]+)", text).groups()
    return float(number) * {"ms": 1, "s": 1e3, "m": 6e4, "h": 3.6e6, "d": 8.64e7}[unit]


def grace_needed(configuration):
    """The least grace period of a pod, in seconds: drain_delay, the longest deadline and 5 s."""
    default = {"entra": "15s", "b2c": "3.5s", "b2c-policy": "7.5s"}
    deadlines = [
        milliseconds(connector.get("deadline", default[connector["protocol"]]))
        for connector in configuration["connectors"].values()
    ]
    drain = milliseconds(configuration.get("drain_delay", "5s"))
    shutdown = milliseconds(configuration.get("shutdown_grace", "25s"))
    return max(drain + max(deadlines) + 5000, shutdown + 1000) / 1000
