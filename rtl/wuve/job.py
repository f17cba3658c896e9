"""Jobs of WUVE and the words of its streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nofm.kernels.errors import positive
from nofm.kernels.optimizer import Halves, Sgd, Singles, Updated
from nofm.rtl.fields import pack

SIZE_BITS = 48

HYPER_PARAMETERS = {"learning_rate": 32, "momentum": 32, "weight_decay": 32}
"""FP32 bits of the hyper-parameters."""

JOB = {"elements": SIZE_BITS, **HYPER_PARAMETERS}
"""Fields of a job: parameters to update, and by what."""

GIVEN = {"weight": 32, "momentum": 32, "gradient": 16}
"""Fields of a lane in an input beat: FP32 w and v, FP16 g. Lane 0 is in the low bits."""

UPDATED = {"weight": 32, "momentum": 32, "half": 16}
"""Fields of a lane in an output beat: FP32 w' and v', FP16 h. Lane 0 is in the low bits."""


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

    def encode(self) -> int:
        """The packed word of the job."""
        return pack(JOB, {"elements": self.elements, **hyper_parameters(self.by)})


def input_beats(weights: Singles, momenta: Singles, gradients: Halves, lanes: int) -> list[int]:
    """Input beats of a job; lanes of the last beat that no parameter is left for hold 0.

    Args:
        weights, momenta: float32 [elements].
        gradients: float16 [elements].
        lanes: lanes of the engine.
    """
    words = np.zeros((-(-len(weights) // lanes), lanes), _layout(GIVEN))
    flat = words.reshape(-1)[: len(weights)]
    for name, values in zip(GIVEN, (weights, momenta, gradients), strict=True):
        flat[name] = values.view(flat.dtype[name])
    return [int.from_bytes(beat.tobytes(), "little") for beat in words]


def updated(beats: Sequence[int], elements: int, lanes: int) -> Updated:
    """What the output beats of a job hold; arrays have the shape [elements]."""
    layout = _layout(UPDATED)
    size = lanes * layout.itemsize
    words = np.frombuffer(b"".join(beat.to_bytes(size, "little") for beat in beats), layout)
    weight, momentum, half = (words[name][:elements].copy() for name in UPDATED)
    return Updated(weight.view(np.float32), momentum.view(np.float32), half.view(np.float16))


def _layout(widths: Mapping[str, int]) -> np.dtype[np.void]:
    """The fields of a lane as NumPy sees them in memory."""
    return np.dtype([(name, f"<u{width // 8}") for name, width in widths.items()])
