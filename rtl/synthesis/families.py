"""FPGA families: how Yosys maps to each, and what each of its cells takes of the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from nofm.kernels.errors import unknown


@dataclass(frozen=True)
class Resources:
    """What a design takes.

    Attributes:
        lut: look-up tables of the family (6 inputs on xcup, else 4), in logic, carry and memory.
        lut_ram: those of `lut` that are memory or shift registers.
        ff: flip-flops.
        dsp: multipliers: DSP48E2, MULT18X18D, SB_MAC16.
        bram: block memories: RAMB36E2 (a RAMB18E2 is half of one), DP16KD, SB_RAM40_4K.
        carry: carry cells: CARRY4 (4 bits), CCU2C (2 bits), SB_CARRY (1 bit).
    """

    lut: float = 0
    lut_ram: float = 0
    ff: float = 0
    dsp: float = 0
    bram: float = 0
    carry: float = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(*(a + b for a, b in zip(self.values(), other.values(), strict=True)))

    def __sub__(self, other: Resources) -> Resources:
        return self + -1 * other

    def __rmul__(self, count: int) -> Resources:
        return Resources(*(count * value for value in self.values()))

    def values(self) -> tuple[float, ...]:
        """The counts, in the order of `KINDS`."""
        return tuple(getattr(self, kind) for kind in KINDS)


KINDS = tuple(entry.name for entry in fields(Resources))


def number(value: float) -> int | float:
    """A count of cells for a document: whole where it is; only block memories come in halves."""
    return int(value) if value == int(value) else value


def _lut(count: int = 1) -> Resources:
    return Resources(lut=count)


def _ram(count: int) -> Resources:
    return Resources(lut=count, lut_ram=count)


_FF, _DSP, _NOTHING = Resources(ff=1), Resources(dsp=1), Resources()


@dataclass(frozen=True)
class Family:
    """An FPGA family.

    Attributes:
        title: for people.
        synthesize: the pass of Yosys, and its options. It inserts no pads: engines are parts.
        notes: what the counts do not tell.
        cells: what one cell takes, by its type; types that end in `*` stand for all that begin so.
    """

    title: str
    synthesize: str
    notes: tuple[str, ...]
    cells: Mapping[str, Resources] = field(repr=False)

    def count(self, cells: Mapping[str, int]) -> Resources:
        """What `cells`, a number by type, take.

        Raises:
            LookupError: a type that the family does not know: its table here lacks it.
        """
        total = Resources()
        for cell, number in cells.items():
            total += number * self._cell(cell)
        return total

    def _cell(self, cell: str) -> Resources:
        for name, taken in self.cells.items():
            if cell == name or (name.endswith("*") and cell.startswith(name[:-1])):
                return taken
        raise LookupError(f"{self.title}: what a cell {cell} takes is not known")


FAMILIES: dict[str, Family] = {
    # Sizes of memories: AMD UG974. An inverter is absorbed by what it drives.
    "xcup": Family(
        title="AMD UltraScale+",
        synthesize="synth_xilinx -family xcup -noiopad -noclkbuf",
        notes=(
            "Estimates. Yosys maps carry to CARRY4, two of which fit the CARRY8 of the device; it "
            "puts no registers into DSP48E2, and never two small functions into one look-up table.",
        ),
        cells={
            "INV": _NOTHING,
            "MUXF*": _NOTHING,
            **{f"LUT{inputs}": _lut() for inputs in range(1, 7)},
            "CARRY4": Resources(carry=1),
            **{f"FD{kind}E": _FF for kind in "RSCP"},
            **{f"SRL{kind}E": _ram(1) for kind in ("16", "C16", "C32")},
            **{f"RAM{words}X1S": _ram(luts) for words, luts in ((32, 1), (64, 1), (128, 2))},
            **{f"RAM{words}X1D": _ram(luts) for words, luts in ((32, 2), (64, 2), (128, 4))},
            **{"RAM256X1S": _ram(4), "RAM256X1D": _ram(8), "RAM512X1S": _ram(8)},
            **{"RAM32M": _ram(4), "RAM64M": _ram(4), "RAM32M16": _ram(8), "RAM64M8": _ram(8)},
            "DSP48E2": _DSP,
            **{"RAMB18E2": Resources(bram=0.5), "RAMB36E2": Resources(bram=1)},
        },
    ),
    # A 16 x 4 memory is four LUTs, and its write port takes the place of two more.
    "ecp5": Family(
        title="Lattice ECP5",
        synthesize="synth_ecp5",
        notes=("Yosys puts no registers into MULT18X18D.",),
        cells={
            **{"PFUMX": _NOTHING, "L6MUX21": _NOTHING},
            "LUT4": _lut(),
            "CCU2C": Resources(lut=2, carry=1),
            "TRELLIS_FF": _FF,
            "TRELLIS_DPR16X4": Resources(lut=6, lut_ram=6),
            "MULT18X18D": _DSP,
            "DP16KD": Resources(bram=1),
            "PDPW16KD": Resources(bram=1),
        },
    ),
    "ice40": Family(
        title="Lattice iCE40",
        synthesize="synth_ice40 -dsp",
        notes=(
            "The family has no memory in look-up tables: small memories are flip-flops. SB_MAC16 "
            "and its registers are those of an UltraPlus.",
        ),
        cells={
            "SB_LUT4": _lut(),
            "SB_CARRY": Resources(carry=1),
            "SB_DFF*": _FF,
            "SB_MAC16": _DSP,
            "SB_RAM40_4K*": Resources(bram=1),
        },
    ),
}
"""Every family that designs can be synthesized for."""


def family(name: str) -> Family:
    """The family of that name.

    Raises:
        InputError: there is none.
    """
    if name not in FAMILIES:
        raise unknown("FPGA family", name, FAMILIES)
    return FAMILIES[name]
