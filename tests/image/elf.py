"""What stands in the headers of a program for Linux, 64 bits, little-endian."""

import struct
from pathlib import Path

MACHINES = {62: "amd64", 183: "arm64"}
DYNAMIC, INTERPRETER, STACK, RELRO = 2, 3, 0x6474E551, 0x6474E552
EXECUTABLE = 1
NEEDED, BIND_NOW, FLAGS, FLAGS_1, TEXT_RELOCATIONS = 1, 24, 30, 0x6FFFFFFB, 22


class Program:
    """A program's headers."""

    def __init__(self, file: Path):
        self.bytes = file.read_bytes()
        if self.bytes[:6] != b"\x7fELF\x02\x01":
            raise ValueError(f"{file}: not a program for 64 bits, little-endian")
        self.type, machine = struct.unpack_from("<HH", self.bytes, 16)
        self.architecture = MACHINES.get(machine, machine)
        start, size, count = (
            *struct.unpack_from("<Q", self.bytes, 32),
            *struct.unpack_from("<HH", self.bytes, 54),
        )
        self.segments = [struct.unpack_from("<IIQQQQQQ", self.bytes, start + size * n) for n in range(count)]
        names_at, section_size, sections, names = (
            *struct.unpack_from("<Q", self.bytes, 40),
            *struct.unpack_from("<HHH", self.bytes, 58),
        )
        headers = [struct.unpack_from("<IIQQQQ", self.bytes, names_at + section_size * n) for n in range(sections)]
        texts = headers[names][4]
        self.sections = {self.text(texts + header[0]) for header in headers}

    def text(self, at):
        return self.bytes[at : self.bytes.index(b"\0", at)].decode()

    def segment(self, kind):
        """The segment of a kind, if there is one."""
        return next((each for each in self.segments if each[0] == kind), None)

    def dynamic(self):
        """The entries of the dynamic section, as (tag, value)."""
        segment = self.segment(DYNAMIC)
        if segment is None:
            return []
        return list(struct.iter_unpack("<QQ", self.bytes[segment[2] : segment[2] + segment[5]]))


def faults(program):
    """What a security review would find."""
    entries = program.dynamic()
    tags = dict(entries)
    if program.segment(INTERPRETER) or NEEDED in tags:
        yield "not static"
    if program.type != 3:
        yield "not position-independent"
    stack = program.segment(STACK)
    if stack is None or stack[1] & EXECUTABLE:
        yield "the stack can be executed"
    if program.segment(RELRO) is None:
        yield "relocated data stay writable"
    if not (BIND_NOW in tags or tags.get(FLAGS, 0) & 8 or tags.get(FLAGS_1, 0) & 1):
        yield "not bound at the start"
    if TEXT_RELOCATIONS in tags:
        yield "code is relocated"
    if {".symtab", ".debug_info"} & program.sections:
        yield "symbols are left"
