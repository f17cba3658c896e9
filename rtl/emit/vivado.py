"""The Vivado script of an engine: synthesis out of context, with reports."""

from __future__ import annotations

from collections.abc import Sequence

PART = "xcvu9p-fsgd2104-2L-e"
"""The device of a VCU1525 board."""


def script(engine: str, top: str, paths: Sequence[str], clock_mhz: float) -> str:
    """The text of the script.

    Args:
        engine: name of the engine, which the reports get.
        top: its top module.
        paths: its Verilog files, relative to the script's folder.
        clock_mhz: the clock to aim at.
    """
    lines = [
        f"# vivado -mode batch -source {engine}.tcl [-tclargs PART]",
        "# Synthesizes the engine alone and writes its reports into the current folder.",
        "set here [file dirname [file normalize [info script]]]",
        f"set part [expr {{$argc > 0 ? [lindex $argv 0] : {{{PART}}}}}]",
        *(f"read_verilog [file join $here {path}]" for path in paths),
        f"synth_design -top {top} -part $part -mode out_of_context",
        f"create_clock -name clk -period {1000 / clock_mhz:.3f} [get_ports clk]",
        f"report_utilization -hierarchical -file {engine}_utilization.rpt",
        f"report_timing_summary -file {engine}_timing.rpt",
        f"write_checkpoint -force {engine}.dcp",
    ]
    return "\n".join(lines) + "\n"
