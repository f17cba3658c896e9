"""The Vivado script of an engine: synthesis out of context, with reports."""

from __future__ import annotations

from collections.abc import Sequence

PART = "xcvu9p-fsgd2104-2L-e"
"""The device of a VCU1525 board."""


def clock(clock_mhz: float) -> str:
    """The command that says what clock to aim at."""
    return f"create_clock -name clk -period {1000 / clock_mhz:.3f} [get_ports clk]"


def constraints(engine: str, clock_mhz: float) -> str:
    """The text of a file of constraints for an engine alone.

    Args:
        engine: its name.
        clock_mhz: the clock to aim at.
    """
    return (
        f"# For the {engine} alone, out of context: in a design that holds it, clk comes with a\n"
        "# clock of that design. All ports belong to clk.\n"
        f"{clock(clock_mhz)}\n"
    )


def script(
    engine: str, top: str, paths: Sequence[str], clock_mhz: float, constrained: str | None = None
) -> str:
    """The text of the script.

    Args:
        engine: name of the engine, which the reports get.
        top: its top module.
        paths: its Verilog files, relative to the script's folder.
        clock_mhz: the clock to aim at.
        constrained: file of constraints, likewise, that stands for the clock.
    """
    lines = [
        f"# vivado -mode batch -source {engine}.tcl [-tclargs PART]",
        "# Synthesizes the engine alone and writes its reports into the current folder.",
        "set here [file dirname [file normalize [info script]]]",
        f"set part [expr {{$argc > 0 ? [lindex $argv 0] : {{{PART}}}}}]",
        *(f"read_verilog [file join $here {path}]" for path in paths),
        *(
            [f"read_xdc -mode out_of_context [file join $here {constrained}]"]
            if constrained
            else []
        ),
        f"synth_design -top {top} -part $part -mode out_of_context",
        *([] if constrained else [clock(clock_mhz)]),
        f"report_utilization -hierarchical -file {engine}_utilization.rpt",
        f"report_timing_summary -file {engine}_timing.rpt",
        f"write_checkpoint -force {engine}.dcp",
    ]
    return "\n".join(lines) + "\n"
