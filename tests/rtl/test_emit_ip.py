"""The script that packages a chip: run by Tcl, with Vivado's commands recorded in place of done."""

from __future__ import annotations

from pathlib import Path

import pytest

from nofm.rtl.emit.ip import ip_script, ip_version

RECORD = """
set calls {{}}
foreach name {{create_project read_verilog set_property close_project ipx::package_project
    ipx::associate_bus_interfaces ipx::remove_all_memory_map ipx::create_xgui_files
    ipx::update_checksums ipx::check_integrity ipx::save_core}} {{
    namespace eval [namespace qualifiers ::$name] {{}}
    proc ::$name args "lappend ::calls \\[linsert \\$args 0 $name\\]; return {{}}"
}}
proc current_fileset {{}} {{return sources}}
proc ipx::current_core {{}} {{return core}}
proc ipx::add_memory_map {{name core}} {{return map:$name}}
proc ipx::add_address_block {{name map}} {{return block:$name:$map}}
proc ipx::get_bus_interfaces {{name args}} {{
    return [expr {{$name in {{{found}}} ? "bus:$name" : ""}}]
}}
set argc [llength $argv]
"""


def play(text: str, folder: Path, *arguments: str, found: str = "s_axi m_axi") -> list[list[str]]:
    """The commands of a script, with the interfaces that Vivado would find."""
    tkinter = pytest.importorskip("tkinter", reason="Python was built without Tcl")
    path = folder / "chip_ip.tcl"
    path.write_text(text, encoding="utf-8")
    tcl = tkinter.Tcl()
    tcl.eval(f"set argv {{{' '.join(arguments)}}}")
    tcl.eval(RECORD.format(found=found))
    tcl.eval(f"source {{{path}}}")
    return [list(tcl.splitlist(call)) for call in tcl.splitlist(tcl.eval("set calls"))]


@pytest.fixture(scope="module")
def text() -> str:
    return ip_script(
        "chip",
        "nofm_chip",
        ["verilog/nofm_chip.v", "verilog/nofm_stce.v"],
        version="0.3.1.dev2",
        title="SAT [4x4] of $5",
        register_bytes=4096,
    )


def test_what_is_packaged(text: str, tmp_path: Path) -> None:
    calls = play(text, tmp_path, "/elsewhere", "xc7")
    names = [call[0] for call in calls]
    assert calls[0] == ["create_project", "-force", "chip_ip", "/elsewhere/project", "-part", "xc7"]
    assert [call[1] for call in calls if call[0] == "read_verilog"] == [
        str(tmp_path / "verilog/nofm_chip.v"),
        str(tmp_path / "verilog/nofm_stce.v"),
    ]
    properties = {call[1]: call[2] for call in calls if call[0] == "set_property"}
    assert properties == {
        "top": "nofm_chip",
        "name": "chip",
        "version": "0.3",
        "display_name": "SAT [4x4] of $5",
        "range": "4096",
        "slave_memory_map_ref": "s_axi",
    }
    clocks = [call[1:] for call in calls if call[0] == "ipx::associate_bus_interfaces"]
    assert clocks == [["-busif", bus, "-clock", "clk", "core"] for bus in ("s_axi", "m_axi")]
    assert names[-2:] == ["ipx::save_core", "close_project"]
    assert names.index("ipx::package_project") > names.index("read_verilog")


def test_without_arguments_it_goes_to_a_folder_of_its_own(text: str, tmp_path: Path) -> None:
    assert play(text, tmp_path)[0][3] == "nofm_ip/project"


@pytest.mark.parametrize("found", ["s_axi", "m_axi", ""])
def test_a_core_without_its_interfaces_is_none(text: str, tmp_path: Path, found: str) -> None:
    tkinter = pytest.importorskip("tkinter", reason="Python was built without Tcl")
    with pytest.raises(tkinter.TclError, match=r"no AXI interface [sm]_axi was found"):
        play(text, tmp_path, found=found)


@pytest.mark.parametrize(
    ("version", "numbers"), [("0.1", "0.1"), ("1.2.3", "1.2"), ("4", "4.0"), ("dev", "0.0")]
)
def test_versions(version: str, numbers: str) -> None:
    assert ip_version(version) == numbers
