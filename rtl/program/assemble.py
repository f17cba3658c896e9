"""Assembling: jobs in their order become the descriptors of a program."""

from __future__ import annotations

from collections.abc import Iterable

from nofm.rtl.program.descriptors import ProgramFormat
from nofm.rtl.program.encoding import Descriptor, encode_program
from nofm.rtl.program.units import PRODUCT, Job, part_of

FEEDS = {"feed_activations": "activation_", "feed_weights": "weight_"}
"""Units that feed the array, and where a product's job has theirs."""


def descriptors(jobs: Iterable[Job]) -> list[Descriptor]:
    """A descriptor for each job, and one that ends the program.

    A product's job goes to the feeders, and where it begins one of the array, to the array and the
    collector: who waits for a product that does not end waits for the feeders only.
    """
    found: list[Descriptor] = []
    product: tuple[str, ...] = ()
    for job in jobs:
        wait = [
            name
            for unit in sorted(job.after)
            for name in (product if unit == PRODUCT else (unit,))
        ]
        if job.unit != PRODUCT:
            found.append(Descriptor(job.unit, {job.unit: job.fields}, tuple(wait)))
            continue
        fields = job.fields
        own = {name: part_of(fields, prefix) for name, prefix in FEEDS.items()}
        if fields["begins"]:
            own["array"] = part_of(fields, "array_")
        if fields["collects"]:
            own["collect"] = part_of(fields, "collect_")
        found.append(Descriptor(PRODUCT, own, tuple(wait)))
        product = (*FEEDS, "array", "collect") if fields["ends"] else tuple(FEEDS)
    return [*found, Descriptor("barrier", last=True)]


def assemble(form: ProgramFormat, jobs: Iterable[Job]) -> bytes:
    """The program that does some jobs, as it lies in memory.

    Raises:
        InputError: it is too long.
    """
    return encode_program(form, descriptors(jobs))
