"""Jobs of WUVE: how many parameters to update, and by what hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nofm.kernels.errors import positive
from nofm.kernels.optimizer import Sgd
from nofm.rtl.fields import pack
from nofm.rtl.wuve.geometry import Geometry

SIZE_BITS = 48

HYPER_PARAMETERS = {"learning_rate": 32, "momentum": 32, "weight_decay": 32}
"""Fields of an update's hyper-parameters."""


def job_fields() -> dict[str, int]:
    """Fields of a job's word and their widths.

    beats: input beats, less one.
    learning_rate: FP32 bits of lr.
    momentum: FP32 bits of mu.
    weight_decay: FP32 bits of wd.
    """
    return {"beats": SIZE_BITS, **HYPER_PARAMETERS}


def hyper_parameters(by: Sgd) -> dict[str, int]:
    """Values of the fields `HYPER_PARAMETERS`."""
    return {name: int(np.float32(getattr(by, name)).view(np.uint32)) for name in HYPER_PARAMETERS}


@dataclass(frozen=True, kw_only=True)
class WuveJob:
    """One job: an update of `elements` parameters.

    Attributes:
        elements: parameters; lane l of beat b has number b * lanes + l.
        by: the hyper-parameters.

    Raises:
        InputError: `elements` is not from 1 to 2^48 - 1.
    """

    elements: int
    by: Sgd

    def __post_init__(self) -> None:
        positive("elements of a WUVE job", self.elements, at_most=(1 << SIZE_BITS) - 1)

    def encode(self, geometry: Geometry) -> int:
        """The packed word of the job."""
        beats = -(-self.elements // geometry.lanes)
        return pack(job_fields(), {"beats": beats - 1, **hyper_parameters(self.by)})
