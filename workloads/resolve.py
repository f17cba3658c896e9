"""A workload by what a user calls it: a network's name or a file."""

from __future__ import annotations

from pathlib import Path

from nofm.kernels.errors import InputError, positive, unknown
from nofm.workloads import networks, trace_file
from nofm.workloads.trace import Trace

FILES = {
    ".safetensors": "trace",
    ".onnx": "ONNX model",
    ".csv": "SCALE-Sim topology",
}
"""Kinds of workload files by their ending."""


def resolve(workload: str | Path, batch: int | None = None) -> Trace:
    """The trace of a network or a file.

    Args:
        workload: a network's name, or a file whose ending is one of `FILES`.
        batch: samples a step; the workload's own without it.

    Raises:
        InputError: no such network or file, a malformed file, or a batch out of range.
    """
    if batch is not None:
        positive("batch", batch)
    name = str(workload)
    if name in networks.NETWORKS:
        return networks.load(name, batch)
    ending = Path(name).suffix.lower()
    if ":" in name and ending not in FILES:
        raise InputError(
            f"{name} is a torch model: capture it first with nofm trace {name} --input SHAPE "
            "-o model.safetensors"
        )
    if ending not in FILES:
        raise unknown("network", name, networks.NETWORKS)
    if ending == ".onnx":
        from nofm.workloads import onnx_file

        return onnx_file.load(name, batch)
    if ending == ".csv":
        from nofm.workloads import scalesim_csv

        found = scalesim_csv.load(name)
    else:
        found = trace_file.load(name)
    return found if batch is None else found.with_batch(batch)
