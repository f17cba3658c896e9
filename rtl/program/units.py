"""The units that jobs are for, the fields of their jobs, and programs: jobs in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nofm.dataflow.accelerator import Accelerator
from nofm.rtl.fields import pack
from nofm.rtl.program.feed import activation_feed_fields, weight_feed_fields
from nofm.rtl.program.load import activation_load_fields, weight_load_fields
from nofm.rtl.program.results import collect_fields, store_fields
from nofm.rtl.program.sizes import ChipSizes
from nofm.rtl.stce.control import job_fields
from nofm.rtl.stce.geometry import Geometry

LOAD_ACTIVATIONS, LOAD_WEIGHTS, PRODUCT, STORE = (
    "load_activations",
    "load_weights",
    "product",
    "store",
)
TILE_UNITS = frozenset((LOAD_ACTIVATIONS, LOAD_WEIGHTS, PRODUCT, STORE))
"""Units that work on a product's tiles."""


@dataclass(frozen=True)
class Job:
    """A job of a unit.

    Attributes:
        unit: its name.
        fields: values of the unit's fields.
        after: units that are idle before it is dispatched. Jobs are dispatched in their order.
    """

    unit: str
    fields: Mapping[str, int]
    after: frozenset[str] = frozenset()


def product_fields(sizes: ChipSizes, geometry: Geometry) -> dict[str, int]:
    """Fields of a product's job, and their widths.

    begins: the array gets a job, and so does the collector, if `collects`; else both feeds go on
        with the array's last job, which is OS.
    ends: the unit is idle once the array and the collector are; else once both feeds are.
    array_..., collect_..., activation_..., weight_...: jobs of the array (`StceJob`), the collector
        and the two feeders.
    """
    parts = {
        "array_": job_fields(geometry),
        "collect_": collect_fields(sizes),
        "activation_": activation_feed_fields(sizes),
        "weight_": weight_feed_fields(sizes),
    }
    fields = {"begins": 1, "ends": 1, "collects": 1}
    for prefix, part in parts.items():
        fields |= {prefix + name: width for name, width in part.items()}
    return fields


def part_of(fields: Mapping[str, int], prefix: str) -> dict[str, int]:
    """The fields that begin with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in fields.items() if k.startswith(prefix)}


def unit_fields(accelerator: Accelerator) -> dict[str, dict[str, int]]:
    """Fields of every unit's jobs, and their widths."""
    sizes, geometry = ChipSizes.of(accelerator), Geometry.of(accelerator)
    return {
        LOAD_ACTIVATIONS: activation_load_fields(sizes),
        LOAD_WEIGHTS: weight_load_fields(sizes),
        PRODUCT: product_fields(sizes, geometry),
        STORE: store_fields(sizes),
    }


def check(fields: Mapping[str, Mapping[str, int]], job: Job) -> None:
    """Refuse a job that is not one of its unit.

    Args:
        fields: from `unit_fields`.

    Raises:
        InputError: a number does not fit its field.
    """
    widths = fields[job.unit]
    if widths.keys() != job.fields.keys():
        odd: Any = sorted(widths.keys() ^ job.fields.keys())
        raise ValueError(f"a job of {job.unit} has other fields: {odd}")
    pack(widths, job.fields)
