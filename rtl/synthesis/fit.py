"""Models of engines' resources, fitted to their synthesized parts: an answer for any size at once.

An engine takes what its parts take, as often as each stands. What a part takes is a sum of terms
that follow from its structure (`terms`), times coefficients: those of least squares of the relative
error on synthesized parts (`samples`). None of them is negative, so no model says that more of
anything takes less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nofm.rtl.synthesis.families import KINDS
from nofm.rtl.synthesis.parts import ALL
from nofm.rtl.synthesis.samples import Sample, stored
from nofm.rtl.synthesis.terms import TERMS

Array = npt.NDArray[np.float64]
Coefficients = dict[str, dict[str, dict[str, float]]]

PIECE = 1 << 13
"""Designs that are computed at a time: their columns stay in a core's cache."""


@dataclass(frozen=True)
class Model:
    """A fitted model of an engine.

    Attributes:
        engine: a name in `terms.TERMS`.
        coefficients: by part, resource and term.
        errors: largest relative error by resource on whole engines that the fit did not see.
        fit_errors: the same on the parts that it saw.
        kept_out: how many engines the fit did not see.
    """

    engine: str
    coefficients: Coefficients
    errors: Mapping[str, float]
    fit_errors: Mapping[str, float]
    kept_out: int

    def predict(
        self, parameters: Mapping[str, npt.ArrayLike], kinds: Sequence[str] = KINDS
    ) -> dict[str, Array]:
        """What engines take, by resource, in whole cells (block memories in halves).

        It cannot say more than its samples did: far outside their parameters it is a guess.

        Args:
            parameters: of the engines, arrays [n] by the names of `parts.ENGINES`.
            kinds: resources that are asked for.

        Returns:
            float64 [n] each.
        """
        given = {name: np.atleast_1d(value) for name, value in parameters.items()}
        count = len(next(iter(given.values())))
        pieces = [
            _predict(
                self.engine,
                self.coefficients,
                {name: values[first : first + PIECE] for name, values in given.items()},
                kinds,
            )
            for first in range(0, max(count, 1), PIECE)
        ]
        return {kind: np.concatenate([piece[kind] for piece in pieces]) for kind in kinds}


def _predict(
    engine: str,
    coefficients: Coefficients,
    parameters: Mapping[str, npt.ArrayLike],
    kinds: Sequence[str],
) -> dict[str, Array]:
    given = {name: np.atleast_1d(np.asarray(value, float)) for name, value in parameters.items()}
    total = {kind: np.zeros(len(next(iter(given.values())))) for kind in kinds}
    sizes = TERMS[engine].sizes(given)
    for part, own in coefficients.items():
        law = TERMS[engine].parts[part]
        instances = law.count(sizes)
        for kind in kinds:
            terms = law.terms(kind, sizes)
            each = sum((each * terms[name] for name, each in own[kind].items()), np.zeros(()))
            # A part is made of whole cells; block memories come in halves.
            total[kind] += instances * (
                np.round(2 * each) / 2 if kind == "bram" else np.round(each)
            )
    return total


@cache
def models() -> dict[str, Model]:
    """The models of all engines, fitted to the samples that come with NofM."""
    return fit(stored())


def fit(samples: Sequence[Sample]) -> dict[str, Model]:
    """Fit a model to samples of each engine."""
    found = {}
    for engine, law in TERMS.items():
        own = [sample for sample in samples if sample.engine == engine]
        coefficients: Coefficients = {}
        fit_errors = dict.fromkeys(KINDS, 0.0)
        for part in law.parts:
            seen = [sample for sample in own if sample.part == part]
            coefficients[part] = {kind: _coefficients(seen, kind) for kind in KINDS}
            alone = {part: coefficients[part]}
            for sample in seen:
                _widen(fit_errors, sample, _predict_part(engine, alone, sample))
        errors = dict.fromkeys(KINDS, 0.0)
        kept_out = [sample for sample in own if sample.part == ALL]
        for sample in kept_out:
            _widen(errors, sample, _predict(engine, coefficients, sample.parameters, KINDS))
        found[engine] = Model(engine, coefficients, errors, fit_errors, len(kept_out))
    return found


def _predict_part(engine: str, alone: Coefficients, sample: Sample) -> dict[str, Array]:
    """What one such part takes."""
    found = _predict(engine, alone, sample.parameters, KINDS)
    law = TERMS[engine]
    sizes = law.sizes({name: np.array([value], float) for name, value in sample.parameters.items()})
    (instances,) = law.parts[sample.part].count(sizes)
    return {kind: count / max(instances, 1) for kind, count in found.items()}


def _widen(errors: dict[str, float], sample: Sample, found: Mapping[str, Array]) -> None:
    for kind in KINDS:
        real = getattr(sample.resources, kind)
        errors[kind] = max(errors[kind], abs(float(found[kind][0]) - real) / max(real, 1))


def _coefficients(samples: Sequence[Sample], kind: str) -> dict[str, float]:
    """Least squares of the relative error; a term whose coefficient comes out below zero is left
    out, the lowest first."""
    engine, part = samples[0].engine, samples[0].part
    names = samples[0].parameters
    law = TERMS[engine]
    columns = law.parts[part].terms(
        kind,
        law.sizes({name: np.array([s.parameters[name] for s in samples], float) for name in names}),
    )
    counts = np.array([getattr(sample.resources, kind) for sample in samples], float)
    weight = 1 / np.maximum(counts, 1)
    left = {
        name: np.broadcast_to(column, counts.shape)
        for name, column in columns.items()
        if np.any(column)
    }
    while left:
        matrix = np.array(list(left.values())).T
        scale = np.abs(matrix).max(axis=0)
        solved, *_ = np.linalg.lstsq(matrix / scale * weight[:, None], counts * weight, rcond=None)
        if solved.min() >= -1e-9:
            found = zip(left, solved / scale, strict=True)
            return {name: round(float(value), 6) for name, value in found if value > 1e-9}
        del left[list(left)[int(np.argmin(solved))]]
    return {}


def to_json(found: Mapping[str, Model]) -> dict[str, Any]:
    """Models as a JSON object, by engine."""
    return {
        engine: {
            "coefficients": model.coefficients,
            "largest_error": dict(model.errors),
            "largest_error_in_fit": dict(model.fit_errors),
        }
        for engine, model in found.items()
    }
