"""Builds images with buildah, and reads them."""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

ARCHITECTURES = ("amd64", "arm64")


@dataclasses.dataclass
class Tools:
    """Where programs are, and a folder for what they keep."""

    folder: Path
    scratch: Path

    def run(self, program, *arguments, **named):
        """Runs one of them to its end. What it says comes as an error if it fails."""
        done = subprocess.run(
            [self.folder / "bin" / program, *map(str, arguments)],
            env={
                **os.environ,
                "STORAGE_DRIVER": "vfs",
                "BUILDAH_ISOLATION": "chroot",
                "CONTAINERS_REGISTRIES_CONF": str(self.folder / "containers/registries.conf"),
                "TMPDIR": str(self.scratch),
            },
            capture_output=True,
            text=True,
            **named,
        )
        if done.returncode:
            raise RuntimeError(f"{program} {arguments[0]}: {done.stdout}{done.stderr}")
        return done.stdout

    def buildah(self, *arguments):
        """Runs buildah with a store of its own."""
        store = self.scratch / "store"
        return self.run("buildah", "--root", store, "--runroot", store / "run", *arguments)


def build(tools, root, programs, layout, revision):
    """Builds deploy/Dockerfile for both architectures. What its first stage would compile is taken
    from `programs`: its base would have to come from a registry of images."""
    policy = tools.folder / "containers/policy.json"
    name = f"connector-bridge-{layout.name}"
    tools.buildah("manifest", "create", name)
    for architecture in ARCHITECTURES:
        stage = tools.scratch / f"stage-{layout.name}-{architecture}"
        (stage / "program").mkdir(parents=True)
        shutil.copy(programs / architecture / "connector-bridge", stage / "program")
        tools.buildah(
            "bud", "--signature-policy", policy, "--format", "oci", "--timestamp", 0, "--layers=false",
            "--platform", f"linux/{architecture}", "--build-context", f"build={stage}",
            "--build-arg", f"REVISION={revision}", "--manifest", name,
            "--file", root / "deploy/Dockerfile", stage,
        )  # fmt: skip
    shutil.rmtree(layout, ignore_errors=True)
    tools.buildah("manifest", "push", "--signature-policy", policy, "--all", name, f"oci:{layout}:latest")


class Image:
    """One architecture of an image in an OCI layout."""

    def __init__(self, layout, architecture):
        self.layout = layout
        self.index = blob(layout, read(layout / "index.json")["manifests"][0])
        [self.entry] = [
            each for each in self.index["manifests"] if each["platform"]["architecture"] == architecture
        ]
        self.manifest = blob(layout, self.entry)
        self.config = blob(layout, self.manifest["config"])

    def alone(self, folder):
        """A layout that has this architecture only, for tools that do not choose."""
        folder.mkdir(parents=True)
        (folder / "blobs").symlink_to(self.layout / "blobs")
        shutil.copy(self.layout / "oci-layout", folder)
        named = {**self.entry, "annotations": {"org.opencontainers.image.ref.name": "latest"}}
        (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
        return folder

    def layers(self):
        """The compressed layers, as paths."""
        return [path(self.layout, layer) for layer in self.manifest["layers"]]

    def members(self):
        """What is in the layers."""
        for layer in self.layers():
            with tarfile.open(layer) as archive:
                yield from archive.getmembers()


def architectures(layout):
    """Those that the image has, with the digest of each."""
    index = blob(layout, read(layout / "index.json")["manifests"][0])
    return {each["platform"]["architecture"]: each["digest"] for each in index["manifests"]}


def path(layout, descriptor):
    algorithm, digest = descriptor["digest"].split(":")
    found = layout / "blobs" / algorithm / digest
    if hashlib.new(algorithm, found.read_bytes()).hexdigest() != digest:
        raise ValueError(f"{found} is not what its name says")
    return found


def blob(layout, descriptor):
    return read(path(layout, descriptor))


def read(file):
    return json.loads(file.read_text())
