"""The Vivado script that packages a chip as an IP core for block designs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nofm.rtl.emit.vivado import PART

CONTROL, MEMORY = "s_axi", "m_axi"
"""AXI interfaces of a chip: its registers, and its master to memory."""


def ip_version(version: str) -> str:
    """The numbers that a version begins with, which is all that Vivado takes: two of them."""
    numbers = re.findall(r"\d+", version)
    return ".".join([*numbers, "0", "0"][:2])


def ip_script(
    name: str, top: str, paths: Sequence[str], *, version: str, title: str, register_bytes: int
) -> str:
    """The text of the script. It fails where Vivado does not see both AXI interfaces.

    Args:
        name: of the core.
        top: the top module.
        paths: its Verilog files, relative to the script's folder.
        version: of NofM.
        title: what the core is, for people.
        register_bytes: bytes of the address range of its registers.
    """
    lines = [
        f"# vivado -mode batch -source {name}_ip.tcl [-tclargs FOLDER [PART]]",
        "# Packages the chip as an IP core in FOLDER (nofm_ip, if none is given). In a project:",
        "#   set_property ip_repo_paths FOLDER [current_project]; update_ip_catalog",
        f"#   create_bd_cell -type ip -vlnv nofm:rtl:{name} chip",
        "set here [file dirname [file normalize [info script]]]",
        "set folder [expr {$argc > 0 ? [lindex $argv 0] : {nofm_ip}}]",
        f"set part [expr {{$argc > 1 ? [lindex $argv 1] : {{{PART}}}}}]",
        f"create_project -force {name}_ip [file join $folder project] -part $part",
        *(f"read_verilog [file join $here {path}]" for path in paths),
        f"set_property top {top} [current_fileset]",
        "ipx::package_project -root_dir $folder -vendor nofm -library rtl -taxonomy /Accelerators"
        " -import_files",
        "set core [ipx::current_core]",
        f"set_property name {name} $core",
        f"set_property version {ip_version(version)} $core",
        f"set_property display_name {{{title}}} $core",
        "# Both interfaces are inferred from attributes in the Verilog.",
        f"foreach bus {{{CONTROL} {MEMORY}}} {{",
        "    if {[llength [ipx::get_bus_interfaces $bus -of_objects $core]] != 1} {",
        '        error "no AXI interface $bus was found"',
        "    }",
        "    ipx::associate_bus_interfaces -busif $bus -clock clk $core",
        "}",
        "ipx::remove_all_memory_map $core",
        f"set map [ipx::add_memory_map {CONTROL} $core]",
        "set block [ipx::add_address_block registers $map]",
        f"set_property range {register_bytes} $block",
        f"set_property slave_memory_map_ref {CONTROL} "
        f"[ipx::get_bus_interfaces {CONTROL} -of_objects $core]",
        "ipx::create_xgui_files $core",
        "ipx::update_checksums $core",
        "ipx::check_integrity $core",
        "ipx::save_core $core",
        "close_project",
    ]
    return "\n".join(lines) + "\n"
