"""The bus side of a chip: AXI4 masters that read and write memory, AXI4-Lite registers."""

from nofm.rtl.axi.bus import Bus, Command
from nofm.rtl.axi.read_master import ReadMaster
from nofm.rtl.axi.register_map import Access, Field, Register, RegisterMap
from nofm.rtl.axi.registers import Registers
from nofm.rtl.axi.strided import StridedRead, StridedWrite
from nofm.rtl.axi.strider import Loop, Strider, Strides, Walk
from nofm.rtl.axi.write_master import WriteMaster

__all__ = [
    "Access",
    "Bus",
    "Command",
    "Field",
    "Loop",
    "ReadMaster",
    "Register",
    "RegisterMap",
    "Registers",
    "StridedRead",
    "StridedWrite",
    "Strider",
    "Strides",
    "Walk",
    "WriteMaster",
]
