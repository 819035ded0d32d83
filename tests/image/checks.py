"""All checks, in the order in which they run. Each is a function that yields faults; its name says
what holds."""

import contextlib
import dataclasses
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import building
import elf
from building import ARCHITECTURES, Image
from checking import Note, answers, free_ports
from container import Bundle

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
HERE = {machine: architecture for architecture, machine in MACHINES.items()}[platform.machine()]
UNPACKED_MAX = 8_000_000
COMPRESSED_MAX = 4_000_000

# From musl's memcpy for x86_64: what it does with whole words.
#   mov %rdx,%rcx; shr $3,%rcx; rep movsq; and $7,%edx
MUSL_MEMCPY = bytes.fromhex("4889d1 48c1e903 f348a5 83e207")

CONFIG = """
listen: 127.0.0.1:{listen}
admin_listen: 127.0.0.1:{admin}
drain_delay: 200ms
nats: {{servers: ["{nats}"]}}
connectors:
  sign-up:
    protocol: entra
    step: before-create
    auth: {{basic: [{{username: entra, password_file: /run/connector-bridge/password}}]}}
"""


@dataclasses.dataclass
class Subject:
    """What is checked, and what with."""

    root: Path
    tools: building.Tools
    programs: Path
    layout: Path
    nats_server: Path
    nats_python: Path
    revision: str


def hadolint_finds_nothing(subject):
    command = [subject.tools.folder / "python/bin/hadolint", subject.root / "deploy/Dockerfile"]
    environment = {**os.environ, "PYTHONPATH": str(subject.tools.folder / "python")}
    # Versions of Debian's packages in a stage of which nothing but the program is kept.
    done = subprocess.run(
        [*command, "--ignore", "DL3008"], env=environment, capture_output=True, text=True
    )
    yield from done.stdout.splitlines()
    if done.returncode and not done.stdout:
        yield done.stderr


def the_dockerfile_builds_for_both_architectures(subject):
    building.build(subject.tools, subject.root, subject.programs, subject.layout, subject.revision)
    found = set(building.architectures(subject.layout))
    if found != set(ARCHITECTURES):
        yield f"{found}"


def the_same_programs_give_the_same_image(subject):
    again = subject.tools.scratch / "again"
    for architecture in ARCHITECTURES:
        os.utime(subject.programs / architecture / "connector-bridge")
    building.build(subject.tools, subject.root, subject.programs, again, subject.revision)
    first, second = (building.architectures(layout) for layout in (subject.layout, again))
    if first != second:
        yield f"{first} and {second}"


def one_layer_holds_one_program_of_the_size_allowed(subject):
    for architecture in ARCHITECTURES:
        image = Image(subject.layout, architecture)
        members = list(image.members())
        if [member.name.lstrip("./") for member in members if not member.isdir()] != ["connector-bridge"]:
            yield f"{architecture}: {[member.name for member in members]}"
        if len(image.layers()) != 1:
            yield f"{architecture}: {len(image.layers())} layers"
        if any(member.mode & 0o022 or member.mode & 0o6000 for member in members):
            yield f"{architecture}: others may write, or a set-id bit"
        unpacked = sum(member.size for member in members)
        compressed = sum(layer.stat().st_size for layer in image.layers())
        yield Note(f"{architecture} {unpacked / 1e6:.2f} MB, compressed {compressed / 1e6:.2f} MB")
        if unpacked > UNPACKED_MAX or compressed > COMPRESSED_MAX:
            yield f"{architecture}: {unpacked} bytes unpacked, {compressed} compressed"


def user_entry_point_and_labels_are_right(subject):
    version = tomllib.loads((subject.root / "Cargo.toml").read_text())["package"]["version"]
    for architecture in ARCHITECTURES:
        config = Image(subject.layout, architecture).config["config"]
        labels = {
            name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()
        }
        wanted = {"title": "connector-bridge", "licenses": "Apache-2.0", "version": version, "revision": subject.revision}
        yield from (f"{name}: {labels.get(name)}" for name in wanted if labels.get(name) != wanted[name])
        if config["User"] != "65532:65532" or config["Entrypoint"] != ["/connector-bridge"]:
            yield f"{architecture}: {config}"


def programs_are_static_and_hardened(subject):
    for architecture in ARCHITECTURES:
        program = elf.Program(subject.programs / architecture / "connector-bridge")
        if program.architecture != architecture:
            yield f"{architecture}: made for {program.architecture}"
        yield from (f"{architecture}: {fault}" for fault in elf.faults(program))


def the_program_for_amd64_is_without_the_slow_memcpy(subject):
    program = (subject.programs / "amd64/connector-bridge").read_bytes()
    if MUSL_MEMCPY in program:
        yield "musl's memcpy is in it"


def no_path_of_the_machine_is_in_a_program(subject):
    homes = {str(subject.root), str(Path.home()), os.environ.get("CARGO_HOME", str(Path.home() / ".cargo"))}
    for architecture in ARCHITECTURES:
        content = (subject.programs / architecture / "connector-bridge").read_bytes()
        for home in homes:
            found = re.search(re.escape(home.encode()) + rb"/[\x20-\x7e]{0,80}", content)
            if found:
                yield f"{architecture}: {found.group().decode()}"


def scanners_see_every_crate(subject):
    """syft reads the list that is in the program itself: all crates that the program is linked from,
    and none that Cargo.lock does not have."""
    locked = {
        (package["name"], package["version"])
        for package in tomllib.loads((subject.root / "Cargo.lock").read_text())["package"]
    }
    for architecture in ARCHITECTURES:
        image = Image(subject.layout, architecture)
        layout = image.alone(subject.tools.scratch / f"syft-{architecture}")
        done = subprocess.run(
            [subject.tools.folder / "python/bin/syft", f"oci-dir:{layout}", "--output", "json", "--quiet"],
            env={
                **os.environ,
                "PYTHONPATH": str(subject.tools.folder / "python"),
                "SYFT_CHECK_FOR_APP_UPDATE": "false",
            },
            capture_output=True,
            text=True,
        )
        if done.returncode:
            yield f"{architecture}: {done.stderr}"
            continue
        found = {(each["name"], each["version"]) for each in json.loads(done.stdout)["artifacts"]}
        yield Note(f"{architecture} {len(found)} crates")
        yield from (f"{architecture}: {each} is not in Cargo.lock" for each in found - locked)
        yield from (f"{architecture}: {each} is not listed" for each in linked(subject.root, architecture) - found)


def linked(root, architecture):
    """Name and version of each crate that becomes part of the program. Macros do not, nor what they
    are made of."""
    target = f"{MACHINES[architecture]}-unknown-linux-musl"
    command = ["cargo", "tree", "--locked", "--target", target, "--edges", "normal,no-proc-macro", "--prefix", "none"]
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    words = [line.split() for line in done.stdout.splitlines() if line]
    return {(name, version.removeprefix("v")) for name, version, *_ in words}


def arm64_runs_in_an_emulator(subject):
    if HERE == "arm64":
        yield Note("it runs without one")
        return
    program = subject.programs / "arm64/connector-bridge"
    folder = subject.tools.scratch / "arm64"
    config = written(subject, folder, nats="nats://127.0.0.1:1")[0]
    for arguments in (["--version"], ["check", "--config", config]):
        try:
            subject.tools.run("qemu-aarch64-static", program, *arguments)
        except RuntimeError as fault:
            yield str(fault)


def a_container_under_the_restricted_profile_answers_a_real_call(subject):
    """With a real nats-server and a real worker. The call is made as `helm test` makes it: by the
    same image, in a container of its own."""
    folder = subject.tools.scratch / "run"
    image = Image(subject.layout, HERE)
    bridge, caller = Bundle(subject.tools, image, "bridge"), Bundle(subject.tools, image, "caller")
    with contextlib.ExitStack() as stack:
        [nats] = free_ports(1)
        server = f"nats://127.0.0.1:{nats}"
        started(stack, [subject.nats_server, "-a", "127.0.0.1", "-p", str(nats)])
        _, listen, admin = written(subject, folder, server)
        environment = {**os.environ, "PYTHONPATH": str(subject.nats_python)}
        worker = [sys.executable, subject.root / "tests/worker.py", server, "connectors.sign-up.before-create"]
        worker = started(stack, worker, env=environment, stdout=subprocess.PIPE)
        worker.stdout.readline()

        mounts = [("/run/connector-bridge", folder)]
        log = folder / "log"
        serving = bridge.start(["serve", "--config", "/run/connector-bridge/bridge.yaml"], mounts, log)
        stack.callback(serving.kill)
        stack.callback(bridge.remove)
        if not answers(f"http://127.0.0.1:{admin}/readyz"):
            yield f"not ready: {log.read_text()}"
            return
        yield from restricted(bridge.pid())
        url = f"http://127.0.0.1:{listen}/connectors/sign-up"
        credentials = ["--user", "entra", "--password-file", "/run/connector-bridge/password"]
        said = caller.run(["send", url, *credentials], mounts)
        if said.returncode or "answer-source worker" not in said.stdout:
            yield f"{said.stdout}{said.stderr}{log.read_text()}"

        bridge.signal("TERM")
        if serving.wait(10) != 0:
            yield f"SIGTERM: exit code {serving.returncode}: {log.read_text()}"
        shell = caller.run(["--help"], mounts)
        if shell.returncode:
            yield f"--help: {shell.stderr}"


def restricted(pid):
    """What the kernel says of the process."""
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    wanted = {"Uid": "65532\t" * 3 + "65532", "Gid": "65532\t" * 3 + "65532", "NoNewPrivs": "1", "Seccomp": "2"}
    wanted |= {capabilities: "0" * 16 for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    yield from (f"{key} is {status.get(key)}" for key in wanted if status.get(key) != wanted[key])
    root = next(
        line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines() if line.split()[4] == "/"
    )
    if "ro" not in root[5].split(","):
        yield f"/ is {root[5]}"
    yield Note(f"{status['VmRSS'].strip()} resident")


def written(subject, folder, nats):
    """The files of a bridge, and its two ports."""
    folder.mkdir()
    listen, admin = free_ports(2)
    config = folder / "bridge.yaml"
    config.write_text(CONFIG.format(listen=listen, admin=admin, nats=nats))
    (folder / "password").write_text("0123456789abcdef\n")
    return config, listen, admin


def started(stack, command, **named):
    """A process that is ended with the stack."""
    named = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **named}
    process = subprocess.Popen(command, **named)
    stack.callback(process.wait)
    stack.callback(process.send_signal, signal.SIGKILL)
    return process


ALL = [
    hadolint_finds_nothing,
    the_dockerfile_builds_for_both_architectures,
    the_same_programs_give_the_same_image,
    one_layer_holds_one_program_of_the_size_allowed,
    user_entry_point_and_labels_are_right,
    programs_are_static_and_hardened,
    the_program_for_amd64_is_without_the_slow_memcpy,
    no_path_of_the_machine_is_in_a_program,
    scanners_see_every_crate,
    arm64_runs_in_an_emulator,
    a_container_under_the_restricted_profile_answers_a_real_call,
]
