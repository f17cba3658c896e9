"""What an `Accelerator` says of WUVE and SORE in a chain, as the numbers that it is made from."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nofm.dataflow.accelerator import Accelerator
from nofm.rtl.sore import geometry as sore
from nofm.rtl.wuve import geometry as wuve


@dataclass(frozen=True)
class Geometry:
    """Sizes of WUVE and SORE in a chain.

    Attributes:
        wuve: its lanes, no more than SORE can take.
        sore: its lanes.
    """

    wuve: wuve.Geometry
    sore: sore.Geometry

    @classmethod
    def of(cls, accelerator: Accelerator) -> Geometry:
        """The geometry of an accelerator's chain.

        Raises:
            InputError: WUVE or SORE cannot be built for it.
        """
        first, second = wuve.Geometry.of(accelerator), sore.Geometry.of(accelerator)
        if first.lanes < second.lanes:
            return cls(first, replace(second, feed=first.lanes))
        return cls(replace(first, lanes=second.lanes), second)

    @property
    def latency_cycles(self) -> int:
        """From a group's last parameter being taken to its result leaving SORE's lane."""
        return self.wuve.latency_cycles + self.sore.latency_cycles

    @property
    def suffix(self) -> str:
        """What tells module names of different geometries apart."""
        return f"{self.wuve.suffix}_{self.sore.suffix}"
