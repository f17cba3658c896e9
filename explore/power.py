"""Power of designs on an FPGA, estimated in two ways. Neither is a measurement.

`of_step` spreads the energy that the simulator counts over the step's time. Its figures are of
events (`nofm.simulator.energy`; the presets name their source) in an ASIC of 45 nm, so an FPGA
draws more than it says. `of_resources` asks what logic of this size draws at this clock, whatever
it computes. Both add what the device draws anyway. They differ by what they leave out; compare
designs by one of them, and measure a board before you believe either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from nofm.explore.area import Designs
from nofm.kernels.errors import InputError
from nofm.rtl.synthesis.devices import device

Array = npt.NDArray[np.float64]

STATIC_W = {"xcvu9p": 3.0}
"""What a device draws with its clock stopped, in W. Assumed: it depends on voltage and temperature,
and `energy.static_w` of the accelerator takes its place."""

TYPICAL_TOGGLE = 0.125
"""Changes of a signal a cycle that `CYCLE_PJ` is for: the default of AMD's power tools (UG907)."""

# Shang, Kaviani and Bathala, "Dynamic power consumption in Virtex-II FPGA family", FPGA 2002: a CLB
# (eight look-up tables and flip-flops) draws 5.9 uW per MHz in typical designs; of the power of a
# design 60 % are routing, 16 % logic and 14 % clocks. That is 150 nm at 1.5 V. Assumed: that
# wires and logic go with look-up tables and clocks with flip-flops, that typical designs toggle as
# TYPICAL_TOGGLE says, and that capacitance shrinks with the process, to 16 nm at 0.85 V.
_CLB_PJ, _OF_LUT, _OF_FF = 5.9 / 8, 76 / 90, 14 / 90
_SHRINK = 16 / 150 * (0.85 / 1.5) ** 2

CYCLE_PJ = {
    "lut": _CLB_PJ * _OF_LUT * _SHRINK,
    "ff": _CLB_PJ * _OF_FF * _SHRINK,
    "dsp": 3.1,
    "bram": 10.0,
    "uram": 20.0,
}
"""Energy of a cycle, in pJ. Blocks: M. Horowitz, "Computing's energy problem", ISSCC 2014, figure
1.1.9: an integer multiplication of 32 bits, and 64 bits from memories of 8 and 32 KiB (a RAMB36E2
has 4.5 KiB, a URAM288 36), at 45 nm. Assumed: that an FPGA's blocks at 16 nm take as much, and that
every block works in every cycle."""


def static_w(table: Designs, target: str = "xcvu9p") -> Array:
    """What is drawn whatever happens, in W: `energy.static_w` where that is above 0, else
    `STATIC_W`: float64 [n].

    Raises:
        InputError: an unknown device.
    """
    device(target)
    own = np.asarray(table.column("energy.static_w"), np.float64)
    return np.where(own > 0, own, STATIC_W[target])


def of_step(
    table: Designs, energy_joules: npt.ArrayLike, seconds: npt.ArrayLike, target: str = "xcvu9p"
) -> Array:
    """Average power in a training step, in W, estimated from its events: float64 [n].

    Args:
        table: the designs.
        energy_joules: of the step of each, [n], as simulated (with `energy.static_w` in it).
        seconds: that it took, [n].
        target: the device.

    Raises:
        InputError: an unknown device, or a step that took no time.
    """
    energy, time = np.asarray(energy_joules, np.float64), np.asarray(seconds, np.float64)
    if not (time > 0).all():
        raise InputError(f"a step's seconds must be above 0, not {float(time.min()):g}")
    counted = np.asarray(table.column("energy.static_w"), np.float64)
    return energy / time + static_w(table, target) - counted


def of_resources(
    table: Designs,
    taken: Mapping[str, npt.NDArray[Any]],
    target: str = "xcvu9p",
    toggle: float = TYPICAL_TOGGLE,
) -> Array:
    """Power of everything working, in W, estimated from size and clock: float64 [n].

    Args:
        table: the designs.
        taken: what they take, of `nofm.explore.area.resources`.
        target: the device.
        toggle: changes of a signal of the logic a cycle, 0 to 1.

    Raises:
        InputError: an unknown device, or `toggle` is out of range.
    """
    if not 0 <= toggle <= 1:
        raise InputError(f"toggle must be from 0 to 1, not {toggle:g}")
    activity = {"lut": toggle / TYPICAL_TOGGLE, "ff": toggle / TYPICAL_TOGGLE}
    cycle_pj = sum(
        (taken[kind] * (each * activity.get(kind, 1.0)) for kind, each in CYCLE_PJ.items()),
        np.zeros(()),
    )
    hertz = np.asarray(table.column("clock_mhz"), np.float64) * 1e6
    return static_w(table, target) + cycle_pj * 1e-12 * hertz
