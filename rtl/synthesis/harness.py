"""A frame of three pins around a design that has more than the package, for place and route."""

from __future__ import annotations

from nofm.kernels.errors import InputError
from nofm.rtl.synthesis.design import Design

TOP = "harness"
INSTANCE = "dut"
CLOCK = "clk"
DRIVE, CATCH = "drive_", "catch_"
"""The register of an input or output is named after its port, behind one of these."""


def harness(design: Design) -> str:
    """Verilog of a module `TOP` that holds `design` as its instance `INSTANCE`.

    Nothing can be optimised away: every input bit of the design comes from a register of its own,
    and every output bit is seen. The registers of the inputs form one shift register. Each output
    bit goes into a register, and these are folded into a second shift register by exclusive or:
    one look-up table and two flip-flops an output bit, one flip-flop an input bit. Paths within the
    harness are a register, at most one look-up table, and a register.

    Raises:
        InputError: the design has no input `clk`, or no output.
    """
    inputs = {name: width for name, (way, width) in design.ports.items() if way == "input"}
    outputs = {name: width for name, (way, width) in design.ports.items() if way == "output"}
    if inputs.pop(CLOCK, None) != 1:
        raise InputError(f"place and route needs a module with a clock clk, not {design.top}")
    if not outputs:
        raise InputError(f"place and route needs a module with an output, not {design.top}")
    registers = [f"reg [{width - 1}:0] {DRIVE}{name};" for name, width in inputs.items()]
    registers += [f"reg [{width - 1}:0] {CATCH}{name};" for name, width in outputs.items()]
    registers += [f"wire [{width - 1}:0] seen_{name};" for name, width in outputs.items()]
    ports = [CLOCK, *inputs, *outputs]
    nets = [CLOCK, *(f"{DRIVE}{name}" for name in inputs), *(f"seen_{name}" for name in outputs)]
    connections = [f".{port}({net})" for port, net in zip(ports, nets, strict=True)]
    drive = ", ".join(["first", *(f"{DRIVE}{name}" for name in inputs)])
    caught = ", ".join(f"{CATCH}{name}" for name in outputs)
    seen = ", ".join(f"seen_{name}" for name in outputs)
    lines = [
        f"module {TOP}(input {CLOCK}, input serial, output reg folded);",
        # Its own path begins at a pin, and it drives nothing but the next register.
        "  reg first;",
        *(f"  {register}" for register in registers),
        f"  reg [{sum(outputs.values()) - 1}:0] chain;",
        f"  always @(posedge {CLOCK}) begin",
        f"    {{{drive}}} <= {{serial, {drive}}} >> 1;",
        f"    {{{caught}}} <= {{{seen}}};",
        f"    chain <= {{{caught}}} ^ (chain >> 1);",
        "    folded <= chain[0];",
        "  end",
        f"  {design.top} {INSTANCE} ({', '.join(connections)});",
        "endmodule",
    ]
    return "\n".join(lines) + "\n"
