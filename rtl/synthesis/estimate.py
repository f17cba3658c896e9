"""What an array would take of a device, by the fitted model: an answer at once, for any size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nofm.dataflow.accelerator import Accelerator
from nofm.kernels.errors import unknown
from nofm.rtl.stce.geometry import Geometry
from nofm.rtl.synthesis.families import KINDS, Resources
from nofm.rtl.synthesis.fit import DEVICES, fit
from nofm.rtl.synthesis.measure import number
from nofm.rtl.synthesis.report import TITLES
from nofm.rtl.synthesis.samples import FAMILY, beyond, stored

SCHEMA = "nofm.estimate/1"


@dataclass(frozen=True)
class Estimate:
    """An array on a device.

    Attributes:
        device: a name in `DEVICES`.
        needs, has: of the array; of the device.
        errors: largest relative error by resource, on arrays that were kept out of the fit.
        kept_out: how many these were, and the most USPEs that one of them has.
        beyond: parameters of the array that lie outside those of the fit, as texts.
    """

    device: str
    needs: Resources
    has: Resources
    errors: Mapping[str, float]
    kept_out: tuple[int, int]
    beyond: tuple[str, ...]


def estimate(geometry: Geometry, device: str) -> Estimate:
    """What an array takes of a device.

    Raises:
        InputError: an unknown device.
    """
    if device not in DEVICES:
        raise unknown("device", device, DEVICES)
    model = fit()
    kept_out = [sample.geometry for sample in stored() if not sample.fitted]
    return Estimate(
        device=device,
        needs=model.predict(geometry),
        has=DEVICES[device],
        errors=model.errors,
        kept_out=(len(kept_out), max(g.rows * g.columns for g in kept_out)),
        beyond=tuple(beyond(geometry)),
    )


def records(found: Estimate) -> list[dict[str, Any]]:
    """A record for each resource; what the device has none of has no share."""
    rows = []
    for kind in KINDS:
        has = getattr(found.has, kind)
        rows.append(
            {
                "resource": TITLES[kind].replace("\n", " "),
                "needs": number(getattr(found.needs, kind)),
                "has": number(has) if has else None,
                "share": 100 * getattr(found.needs, kind) / has if has else None,
                "error": 100 * found.errors[kind],
            }
        )
    return rows


def notes(found: Estimate) -> list[str]:
    """What the figures are worth."""
    number, uspes = found.kept_out
    told = [
        f"A model fitted to synthesized arrays ({FAMILY}, Yosys). Its largest errors are those on "
        f"{number} arrays of up to {uspes} USPEs that it was not fitted to."
    ]
    told += [f"{text}: what it takes is a guess." for text in found.beyond]
    told += [
        f"It does not fit: {100 * share:.0f} % of the {TITLES[kind]}s of the device."
        for kind in ("lut", "ff", "dsp", "bram")
        if (share := getattr(found.needs, kind) / getattr(found.has, kind)) > 1
    ]
    return told


def to_json(accelerator: Accelerator, found: Estimate) -> dict[str, Any]:
    """The estimate as a JSON document."""
    return {
        "schema": SCHEMA,
        "hardware": accelerator.to_document(),
        "device": found.device,
        "needs": {kind: number(getattr(found.needs, kind)) for kind in KINDS},
        "has": {kind: number(getattr(found.has, kind)) for kind in KINDS},
        "largest_error": dict(found.errors),
        "notes": notes(found),
    }
