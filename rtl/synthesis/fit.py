"""A model of an array's resources, fitted to small synthesized ones, for sizes nobody synthesizes.

Resources are linear in what an array is made of: USPEs (rows times columns of them) with their
group, weight registers, sums and pipeline stages; row edges with their port, replay buffer and
delay line; column edges with their accumulation buffer; and a fixed part. The coefficients are
those of least squares of the relative error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nofm.rtl.stce.geometry import Geometry
from nofm.rtl.synthesis.families import KINDS, Resources
from nofm.rtl.synthesis.samples import Sample, stored

DEVICES = {
    "xcvu9p": Resources(lut=1_182_240, ff=2_364_480, dsp=6_840, bram=2_160),
}
"""What a device has. XCVU9P: AMD DS890; it also has 960 URAM, which Yosys is not told to use."""

RAM_WORDS = 32
"""Words of one memory of look-up tables."""


def terms(geometry: Geometry) -> dict[str, int]:
    """What an array is made of, by name; every resource is a sum of these times a coefficient."""
    g = geometry
    uspes, halves = g.rows * g.columns, 17
    kept = halves + g.index_bits
    sum_blocks = -(-(1 << g.sum_bits) // RAM_WORDS)
    line_blocks = -(-(1 << g.longest_row_delay.bit_length()) // RAM_WORDS)
    return {
        "uspe": uspes,
        "uspe group bits": uspes * g.group * halves,
        "uspe weight bits": uspes * 2 * g.registers * kept,
        "uspe sum blocks": uspes * sum_blocks,
        "uspe adder stages": uspes * g.adder_cycles,
        "uspe multiplier stages": uspes * g.multiplier_cycles,
        "row": g.rows,
        "row port elements": g.rows * g.port,
        "row replay blocks": g.rows * g.beats * g.port * halves * sum_blocks,
        "row delay blocks": g.rows * line_blocks,
        "column": g.columns,
        "column accumulator words": g.columns * g.accumulator_words,
        "fixed": 1,
    }


@dataclass(frozen=True)
class Model:
    """A fitted model.

    Attributes:
        coefficients: by resource, then by the names of `terms`.
        errors: largest relative error by resource on samples that the fit did not see.
        fit_errors: the same on those that it saw.
    """

    coefficients: dict[str, dict[str, float]]
    errors: dict[str, float]
    fit_errors: dict[str, float]

    def predict(self, geometry: Geometry) -> Resources:
        """What an array of this geometry takes, rounded to whole cells (block memories to halves).

        It cannot say more than its samples did: far outside their parameters it is a guess.
        """
        parts = terms(geometry)
        found = {
            kind: sum(own[name] * count for name, count in parts.items())
            for kind, own in self.coefficients.items()
        }
        return Resources(
            **{
                kind: round(2 * value) / 2 if kind == "bram" else float(round(value))
                for kind, value in found.items()
            }
        )

    def utilization(self, geometry: Geometry, device: str = "xcvu9p") -> dict[str, float]:
        """Share of a device that an array takes, by resource, as a fraction."""
        has, needs = DEVICES[device], self.predict(geometry)
        return {
            kind: getattr(needs, kind) / getattr(has, kind) for kind in KINDS if getattr(has, kind)
        }

    def to_json(self) -> dict[str, Any]:
        """The model as a JSON object."""
        return {
            "coefficients": self.coefficients,
            "largest_error": self.errors,
            "largest_error_in_fit": self.fit_errors,
        }


def fit(samples: Sequence[Sample] | None = None) -> Model:
    """Fit a model to samples, by default those that come with NofM."""
    known = stored() if samples is None else list(samples)
    seen = [sample for sample in known if sample.fitted]
    kept_out = [sample for sample in known if not sample.fitted]
    names = list(terms(seen[0].geometry))
    model = Model(
        {kind: _least_squares(seen, kind, names) for kind in KINDS},
        errors={},
        fit_errors={},
    )
    return Model(model.coefficients, _errors(model, kept_out), _errors(model, seen))


def _least_squares(samples: Sequence[Sample], kind: str, names: Sequence[str]) -> dict[str, float]:
    counts = np.array([getattr(sample.resources, kind) for sample in samples])
    matrix: npt.NDArray[np.float64] = np.array(
        [list(terms(sample.geometry).values()) for sample in samples], float
    )
    weight = 1 / np.maximum(counts, 1)
    scale = np.abs(matrix).max(axis=0)
    solved, *_ = np.linalg.lstsq(matrix / scale * weight[:, None], counts * weight, rcond=None)
    return {name: round(float(value), 6) for name, value in zip(names, solved / scale, strict=True)}


def _errors(model: Model, samples: Sequence[Sample]) -> dict[str, float]:
    found = dict.fromkeys(KINDS, 0.0)
    for sample in samples:
        predicted = model.predict(sample.geometry)
        for kind in KINDS:
            real = getattr(sample.resources, kind)
            error = abs(getattr(predicted, kind) - real) / max(real, 1)
            found[kind] = max(found[kind], error)
    return found
