"""What is known of each design beside its parameters: names, types and units of the columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nofm.simulator.report.units import BYTES, COUNT, SECONDS, Units

JOULES: Units = {"pJ": 1e-12, "nJ": 1e-9, "µJ": 1e-6, "mJ": 1e-3, "J": 1, "kJ": 1e3, "MJ": 1e6}
JOULE_SECONDS: Units = {"pJ s": 1e-12, "nJ s": 1e-9, "µJ s": 1e-6, "mJ s": 1e-3, "J s": 1}
WATTS: Units = {"mW": 1e-3, "W": 1, "kW": 1e3}
KIB: Units = {"KiB": 1, "MiB": 1024}
PLAIN: Units = {"": 1}


@dataclass(frozen=True)
class Column:
    """A figure of a design.

    Attributes:
        title: short, for tables and pictures.
        meaning: one line, for docs and pages.
        whole: an integer; else a float.
        units: to show it in.
        area: whether it comes from the model of FPGA resources.
    """

    title: str
    meaning: str
    units: Units
    whole: bool = False
    area: bool = False


COLUMNS: Mapping[str, Column] = {
    "cycles": Column("cycles", "cycles of a training step", COUNT, whole=True),
    "seconds": Column("time", "time of a training step at the design's clock", SECONDS),
    "energy_joules": Column("energy", "energy of a training step", JOULES),
    "edp": Column("energy × time", "energy times time of a training step", JOULE_SECONDS),
    "dram_bytes": Column(
        "DRAM traffic", "bytes to and from DRAM in a training step", BYTES, whole=True
    ),
    "peak_macs_per_cycle": Column("USPEs", "USPEs of the array", PLAIN, whole=True),
    "buffers_kib": Column("buffers", "sum of the three buffers, in KiB", KIB, whole=True),
    "lut": Column("LUTs", "look-up tables", COUNT, area=True),
    "ff": Column("flip-flops", "flip-flops", COUNT, area=True),
    "dsp": Column("DSPs", "DSP slices", COUNT, area=True),
    "bram": Column("block memories", "block memories", COUNT, area=True),
    "uram": Column("large block memories", "large block memories", COUNT, area=True),
    "power_watts": Column("power", "power of the device", WATTS, area=True),
    "accuracy": Column("accuracy", "accuracy of the method with the pattern, as given", PLAIN),
}
"""Columns that a result may have; `accuracy` is there where it is given."""


AREA = tuple(name for name, column in COLUMNS.items() if column.area)
"""Columns of the model of hardware's resources."""


def figures(accuracy: bool) -> list[str]:
    """Names of the columns that designs have, with an accuracy or without."""
    return [name for name in COLUMNS if accuracy or name != "accuracy"]
