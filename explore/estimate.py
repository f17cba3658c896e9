"""What an accelerator would take of a device, part by part: an answer at once, for any size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nofm.dataflow.accelerator import Accelerator
from nofm.dataflow.design_table import DesignTable
from nofm.explore import area, power
from nofm.explore.area import KINDS
from nofm.rtl.stce.geometry import Geometry
from nofm.rtl.synthesis.devices import device as find_device
from nofm.rtl.synthesis.families import number
from nofm.rtl.synthesis.fit import models
from nofm.rtl.synthesis.parts import FAMILY
from nofm.rtl.synthesis.samples import beyond

SCHEMA = "nofm.estimate/2"

TITLES = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram": "BRAM", "uram": "URAM"}

ENGINES = {"array": "stce", "sore": "sore", "wuve": "wuve"}
"""Parts of an accelerator that have a fitted model, and the model's name; the others are buffers,
whose block memories are counted."""

Counts = Mapping[str, float]


@dataclass(frozen=True)
class Estimate:
    """An accelerator on a device.

    Attributes:
        device: a name in `devices.DEVICES`.
        parts: what each part of the accelerator takes, by resource.
        total, has: of all of them; of the device.
        errors: of each fitted part, the largest relative error by resource on engines that were
            kept out of the fit.
        beyond: parameters that lie outside those of the fits, as texts.
        power_w: of everything working at the accelerator's clock, in W.
    """

    device: str
    parts: Mapping[str, Counts]
    total: Counts
    has: Counts
    errors: Mapping[str, Counts]
    beyond: tuple[str, ...]
    power_w: float

    @property
    def fits(self) -> bool:
        """Whether the device has enough of everything."""
        return all(self.total[kind] <= self.has[kind] for kind in KINDS)


def estimate(accelerator: Accelerator, device: str) -> Estimate:
    """What an accelerator takes of a device.

    Raises:
        InputError: an unknown device, a number format that no engine computes in, or an
            accelerator whose array cannot be built.
    """
    has = dict(find_device(device))
    Geometry.of(accelerator)
    table = DesignTable(accelerator, {}, 1)
    parts = area.by_part(table, device)
    total = area.resources(table, device)
    given = area.parameters(table)
    told = [
        f"{text}" if part == "array" else f"{part} {text}"
        for part, engine in ENGINES.items()
        if parts[part]["lut"][0]
        for text in beyond(engine, {name: int(v[0]) for name, v in given[engine].items()})
    ]
    return Estimate(
        device=device,
        parts={name: _plain(part) for name, part in parts.items()},
        total=_plain(total),
        has={kind: float(has[kind]) for kind in KINDS},
        errors={
            part: {kind: models()[engine].errors[kind] for kind in KINDS if kind != "uram"}
            for part, engine in ENGINES.items()
        },
        beyond=tuple(told),
        power_w=float(power.of_resources(table, total, device)[0]),
    )


def _plain(counts: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, float]:
    return {kind: float(counts[kind][0]) for kind in KINDS}


def records(found: Estimate) -> list[dict[str, Any]]:
    """A record for each part, the total, the device, the share of it, and the largest error."""
    rows: list[dict[str, Any]] = [
        {"part": name, **{kind: number(part[kind]) for kind in KINDS}}
        for name, part in found.parts.items()
    ]
    rows.append({"part": "total", **{kind: number(found.total[kind]) for kind in KINDS}})
    rows.append({"part": f"{found.device.upper()} has", **{k: number(found.has[k]) for k in KINDS}})
    rows.append(
        {"part": "share, %", **{k: 100 * found.total[k] / found.has[k] for k in KINDS}},
    )
    for part, errors in found.errors.items():
        worst = {kind: 100 * error for kind, error in errors.items()}
        rows.append({"part": f"largest error of {part}, %", **worst})
    return rows


def notes(found: Estimate) -> list[str]:
    """What the figures are worth."""
    kept_out = sum(model.kept_out for model in models().values())
    told = [
        f"Array, SORE and WUVE: models fitted to synthesized parts of them ({FAMILY}, Yosys). The "
        f"largest errors are those on {kept_out} engines that they were not fitted to.",
        "Buffers: block memories counted by the rule of docs/synthesis.md. What connects the "
        "parts, the vector engine and memory controllers have no RTL, and are not counted.",
        f"With all of it working at its clock, an estimated {found.power_w:.1f} W, of which "
        "docs/synthesis.md says what is assumed.",
    ]
    told += [f"{text}: what it takes is a guess." for text in found.beyond]
    told += [
        f"It does not fit: {100 * share:.0f} % of the {TITLES[kind]}s of the device."
        for kind in KINDS
        if (share := found.total[kind] / found.has[kind]) > 1
    ]
    return told


def to_json(accelerator: Accelerator, found: Estimate) -> dict[str, Any]:
    """The estimate as a JSON document."""

    def written(counts: Counts) -> dict[str, int | float]:
        return {kind: number(counts[kind]) for kind in KINDS}

    return {
        "schema": SCHEMA,
        "hardware": accelerator.to_document(),
        "device": found.device,
        "parts": {name: written(part) for name, part in found.parts.items()},
        "needs": written(found.total),
        "has": written(found.has),
        "fits": found.fits,
        "largest_error": {part: dict(errors) for part, errors in found.errors.items()},
        "power_w": found.power_w,
        "notes": notes(found),
    }
