"""Names that nothing reads: taken out of Verilog, so that a linter's word on the rest counts.

Amaranth gives every name of a net a wire of its own, and Yosys leaves the inverters of multiplexers
that it has turned round. Neither is hardware. What is computed for a name and not read stays.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict

NAME = r"(?:\\\S+|[A-Za-z_$][\w$]*)"
# A net, or bits of one; a constant.
PIECE = rf"(?:{NAME} ?(?:\[\d+(?::\d+)?\])?|\d+'[bdh][\da-fx]+)"
NAMES = re.compile(NAME)
NUMBERED = re.compile(r"\\\$\d+")
# What an instance calls its ports is no net of the module.
PORT = re.compile(rf"\.{NAME} ?\(")
WIRE = re.compile(rf"  wire (?:\[-?\d+:\d+\] )?({NAME}) ?;")
ASSIGN = re.compile(rf"  assign ({NAME}) ?(?:\[\d+(?::\d+)?\])? = (.*);")
ALIAS = re.compile(rf"{PIECE} ?|\{{ {PIECE} ?(?:, {PIECE} ?)*\}} ?")


def without_unread(verilog: str) -> str:
    """A module without wires that nothing reads, as far as they are only other names of nets, or
    results of Yosys that never had a name.

    Args:
        verilog: one module, as Yosys writes it.
    """
    lines = verilog.split("\n")
    wires: dict[str, int] = {}
    assigned = defaultdict[str, list[tuple[int, str]]](list)
    # How often each name stands elsewhere than where it is declared or assigned.
    reads = Counter[str]()
    for at, line in enumerate(lines):
        if wire := WIRE.fullmatch(line):
            wires[wire[1]] = at
        elif assign := ASSIGN.fullmatch(line):
            assigned[assign[1]].append((at, assign[2]))
            reads.update(NAMES.findall(assign[2]))
        else:
            reads.update(NAMES.findall(PORT.sub("(", line)))
    aliases = {
        name
        for name in wires.keys() & assigned.keys()
        if all(ALIAS.fullmatch(source) for _, source in assigned[name])
    }

    gone = set[int]()
    waiting = [
        name
        for name in wires.keys() & assigned.keys()
        if not reads[name] and (name in aliases or NUMBERED.fullmatch(name))
    ]
    while waiting:
        name = waiting.pop()
        gone.add(wires[name])
        for at, source in assigned[name]:
            gone.add(at)
            for read in NAMES.findall(source):
                reads[read] -= 1
                if not reads[read] and read in aliases:
                    waiting.append(read)
    # What is said of a wire stands on the lines before it.
    for at in sorted(gone):
        while lines[at - 1].startswith("  (*"):
            at -= 1
            gone.add(at)
    return "\n".join(line for at, line in enumerate(lines) if at not in gone)
