"""Custom resources against the types that are generated from their definitions: TypeScript refuses
unknown keys as well as wrong values."""

import json
import re
import subprocess
from pathlib import Path

PACKAGES = {
    "monitoring.coreos.com": "prometheus-operator",
    "gateway.networking.k8s.io": "gateway-api",
    "cert-manager.io": "cert-manager",
    "external-secrets.io": "external-secrets",
}


def is_custom(document):
    return document["apiVersion"].split("/")[0] in PACKAGES


def faults(documents, npm):
    """What the compiler says of these objects; the names of their kinds in it."""
    lines = []
    for number, document in enumerate(documents):
        group, version = document["apiVersion"].split("/")
        module = f"@kubernetes-models/{PACKAGES[group]}/{group}/{version}/{document['kind']}"
        lines.append(f'import type {{ I{document["kind"]} as T{number} }} from "{module}";')
        lines.append(f"export const {document['kind']}{number}: T{number} = {json.dumps(document, indent=1)};")
    source = Path(npm) / "objects.mts"
    source.write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [
            "node", "node_modules/typescript/bin/tsc", "--noEmit", "--strict", "--skipLibCheck",
            "--target", "es2022", "--module", "nodenext", "--moduleResolution", "nodenext", source.name,
        ],
        cwd=npm, capture_output=True, text=True,
    )
    if done.returncode == 0:
        return []
    return re.findall(r"error .*", done.stdout) or [done.stdout + done.stderr]
