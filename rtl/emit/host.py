"""Files with which a host drives an emitted chip: its registers and its programs."""

from __future__ import annotations

from nofm.rtl.axi.register_text import TEXTS
from nofm.rtl.engines import Host
from nofm.rtl.program import program_text


def host_files(name: str, host: Host) -> dict[str, str]:
    """The texts of a chip's registers and descriptors, by file.

    Args:
        name: of the chip, with which the files' names begin.
        host: what a host knows of it.
    """
    return {
        **{f"{name}_registers{ending}": make(host.registers) for ending, make in TEXTS.items()},
        f"{name}_program.h": program_text.c_header(host.form),
        f"{name}_program.md": program_text.markdown(host.form),
    }
