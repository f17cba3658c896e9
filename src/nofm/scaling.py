"""Training on many boards: the Python API, and the files that `nofm scale` writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from nofm.dataflow.accelerator import Accelerator, load
from nofm.dataflow.methods import Method
from nofm.dataflow.methods import method as find_method
from nofm.kernels.errors import InputError
from nofm.kernels.folder import write_folder
from nofm.kernels.pattern import Pattern
from nofm.simulator.scaleout import interconnect as interconnects
from nofm.simulator.scaleout import scaling
from nofm.simulator.scaleout.interconnect import Interconnect
from nofm.simulator.scaleout.scaling import ScaleOut
from nofm.simulator.step import Options
from nofm.workloads.trace import Trace


def scale_out(
    workload: str | Path | Trace,
    *,
    batch: int | None = None,
    global_batch: int | None = None,
    boards: Sequence[int] | None = None,
    method: str | Method = "bdwp",
    pattern: str | Pattern = "2:8",
    hardware: str | Path | Accelerator = "sat-32x32",
    interconnect: str | Path | Interconnect = "roce-100g",
    exchange: str = "dense",
    algorithm: str = "auto",
    bucket_mib: float = 25.0,
    overlap: bool = True,
    interleave: bool = True,
    pregeneration: bool = True,
    schedule: str = "offline",
    progress: scaling.Progress = lambda what, done, of: None,
) -> ScaleOut:
    """Weak and strong scaling of data-parallel training.

    Args:
        workload: a network's name, a trace, or a file, as for `simulate`.
        batch: samples of one board in weak scaling; the workload's own when None.
        global_batch: samples of all boards in strong scaling; `batch` when None.
        boards: how many; powers of two up to 131,072 when None.
        method, pattern, hardware, interleave, pregeneration, schedule: as for `simulate`.
        interconnect: what joins the boards: a preset's name, a TOML file, or an `Interconnect`.
        exchange: how boards share what they learn: dense, shared-mask or sharded.
        algorithm: of the collectives: ring, halving, doubling, hierarchical, or auto, the fastest
            for each message.
        bucket_mib: gradients of at least so many MiB are sent together.
        overlap: whether they are sent while the backward pass goes on.
        progress: called with what is simulated, how many steps are, and of how many.

    Returns:
        The scaling: `points` is a DataFrame, a row for each scaling and number of boards.

    Raises:
        InputError: anything above that cannot be used.
    """
    if not 0 < bucket_mib <= 2**20:
        raise InputError(f"bucket_mib must be more than 0 and at most {2**20}, not {bucket_mib}")
    sharing = scaling.Sharing(
        exchange=exchange,
        algorithm=algorithm,
        bucket_bytes=max(1, round(bucket_mib * 2**20)),
        overlap=overlap,
    )
    return scaling.scale_out(
        _trace(workload, batch),
        load(hardware),
        find_method(method),
        Pattern.parse(pattern),
        Options(interleave=interleave, pregeneration=pregeneration, schedule=schedule),
        interconnects.load(interconnect),
        sharing,
        global_batch=global_batch,
        boards=scaling.BOARDS if boards is None else boards,
        progress=progress,
    )


def _trace(workload: str | Path | Trace, batch: int | None) -> Trace:
    if not isinstance(workload, Trace):
        from nofm.workloads.resolve import resolve

        return resolve(workload, batch)
    return workload if batch is None else workload.with_batch(batch)


def write(result: ScaleOut, folder: Path) -> list[Path]:
    """Write scale.json, scale.csv, the picture as PNG and SVG, and interconnect.toml.

    Raises:
        InputError: the folder cannot be written.
    """
    from nofm.simulator.report import figures, scaling_figure

    drawn = scaling_figure.figure(result)
    files = {
        "scale.json": json.dumps(result.to_document(), allow_nan=False).encode() + b"\n",
        "scale.csv": result.points.to_csv(index=False, lineterminator="\n").encode(),
        "scale.png": figures.render(drawn, "png"),
        "scale.svg": figures.render(drawn, "svg"),
        "interconnect.toml": result.interconnect.to_toml().encode(),
    }
    return write_folder(folder, files)


__all__ = ["scale_out", "write"]
