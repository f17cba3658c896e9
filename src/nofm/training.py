"""Training and simulation of one recipe, side by side: what it learns, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from nofm.dataflow.accelerator import Accelerator
from nofm.dataflow.methods import METHODS
from nofm.dataflow.products import products
from nofm.kernels.errors import InputError
from nofm.kernels.pattern import DENSE, Pattern
from nofm.simulator.result import StepResult
from nofm.simulator.step import simulate_step
from nofm.workloads.layer import Layer
from nofm.workloads.methods import Method
from nofm.workloads.trace import Trace
from nofm.workloads.training.run import Recipe, Run
from nofm.workloads.training.run import train as train_one

Progress = Callable[[str, int, int], None]


def train(
    recipe: Recipe,
    accelerator: Accelerator,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    folder: Path | None = None,
    threads: int = 1,
    record: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a recipe with several seeds, and simulate its steps.

    Args:
        recipe: with any seed.
        accelerator: what the steps are simulated on.
        seeds: of the trainings.
        folder: for checkpoints, a file for each seed; trainings that are there go on, or are done.
        threads: of torch; results may depend on it.
        record: a trace file for a step of the training with the first seed, as
            `nofm.workloads.training.run.train` writes it.
        progress: told what runs, how much is done, and of how much.

    Returns:
        The document that `nofm train --json` prints (docs/json.md).

    Raises:
        InputError: as `nofm.workloads.training.run.train`.
    """
    import torch

    if not seeds or len(set(seeds)) != len(seeds):
        raise InputError(f"seeds must be different numbers, at least one, not {list(seeds)}")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        runs = [
            train_one(
                replace(recipe, seed=seed),
                None if folder is None else folder / file_name(recipe, seed),
                progress,
                record=record if seed == seeds[0] else None,
            )
            for seed in seeds
        ]
    finally:
        torch.set_num_threads(before)
    return _document(recipe, accelerator, runs)


def file_name(recipe: Recipe, seed: int) -> str:
    """Of a training's checkpoint."""
    pattern = str(recipe.pattern).replace(":", "of")
    return f"{recipe.dataset}-{recipe.network}-{recipe.method.name}-{pattern}-{seed}.pt"


def _document(recipe: Recipe, accelerator: Accelerator, runs: Sequence[Run]) -> dict[str, Any]:
    accuracies = [run.accuracy for run in runs]
    described = {key: value for key, value in recipe.describe().items() if key != "seed"}
    return {
        "schema": "nofm.train/1",
        **described,
        "accuracy": fmean(accuracies),
        "accuracy_spread": stdev(accuracies) if len(accuracies) > 1 else 0.0,
        **costs(recipe, accelerator, runs[0]),
        "runs": [
            {
                "seed": run.recipe.seed,
                "accuracy": run.accuracy,
                "patterns": {name: str(pattern) for name, pattern in run.patterns.items()},
                "history": list(run.history),
            }
            for run in runs
        ],
    }


def costs(recipe: Recipe, accelerator: Accelerator, run: Run) -> dict[str, Any]:
    """Multiply-accumulates of a training and of one sample's inference, and what the simulator says
    of the training. Steps before the method's record holds count as dense; layers have the patterns
    of `run`.
    """
    from nofm.workloads.training import datasets

    data = datasets.load(recipe.dataset)
    trace = _trace(recipe)
    steps = len(data.x) // recipe.batch
    all_steps, sparse_steps = recipe.epochs * steps, len(recipe.sparse_epochs) * steps
    settled = recipe.method.for_steps(max(1, sparse_steps)).settled(recipe.pattern)
    sparse_share = max(0, sparse_steps - settled) / all_steps

    def pattern_of(layer: Layer) -> Pattern:
        return run.patterns.get(layer.name, DENSE)

    def blend(sparse: float, dense: float) -> float:
        return sparse_share * sparse + (1 - sparse_share) * dense

    dense_macs = _macs(trace, METHODS["dense"], pattern_of)
    macs = _macs(trace, recipe.method, pattern_of)
    one = trace.with_batch(1)
    deployed = METHODS["asp" if recipe.method.deployed else "dense"]
    found: dict[str, Any] = {
        "training_macs": round(all_steps * blend(macs, dense_macs)),
        "dense_training_macs": all_steps * dense_macs,
        "inference_macs": _macs(one, deployed, pattern_of, stages=("ff",)),
        "dense_inference_macs": _macs(one, METHODS["dense"], pattern_of, stages=("ff",)),
        "hardware": accelerator.name,
        "speedup": None,
        "energy_ratio": None,
        "training_seconds": None,
        "training_joules": None,
        "notes": [],
    }
    try:
        step = simulate_step(trace, accelerator, recipe.method, pattern_of)
    except InputError as error:
        found["notes"].append(f"not simulated: {error}")
        return found
    dense = step.dense or step
    sparse_seconds, sparse_joules = _per_step(step)
    dense_seconds, dense_joules = _per_step(dense)
    seconds, joules = blend(sparse_seconds, dense_seconds), blend(sparse_joules, dense_joules)
    found |= {
        "speedup": dense_seconds / seconds,
        "energy_ratio": dense_joules / joules,
        "training_seconds": all_steps * seconds,
        "training_joules": all_steps * joules,
        "notes": list(step.notes),
    }
    return found


def _per_step(step: StepResult) -> tuple[float, float]:
    """Seconds and joules."""
    return step.total["seconds"], step.total["energy_pj"] * 1e-12


def _macs(
    trace: Trace,
    method: Method,
    pattern_of: Callable[[Layer], Pattern],
    stages: Sequence[str] = ("ff", "bp", "wu"),
) -> int:
    """Multiply-accumulates on kept elements in one pass over a trace's batch."""
    return sum(
        product.effective_macs
        for layer in trace.layers
        for stage in stages
        for product in products(layer, stage, method, pattern_of(layer))
    )


def _trace(recipe: Recipe) -> Trace:
    """One step of the dense network."""
    from nofm.workloads.capture import capture
    from nofm.workloads.tensor_spec import TensorSpec
    from nofm.workloads.training import datasets, models

    data = datasets.load(recipe.dataset)
    model = models.build(recipe.network, data, recipe.dataset)
    shape = (recipe.batch, *data.x.shape[1:])
    spec = TensorSpec(shape, str(data.x.dtype).removeprefix("torch."))
    return capture(model, spec, name=f"{recipe.network} on {recipe.dataset}")


def row(document: Mapping[str, Any]) -> dict[str, Any]:
    """A trained recipe as a row of a table: counts in shares of dense training's, accuracy in %."""
    return {
        "method": METHODS[document["method"]].title,
        "pattern": document["pattern"],
        "accuracy": 100 * document["accuracy"],
        "spread": 100 * document["accuracy_spread"],
        "training_macs": document["training_macs"] / document["dense_training_macs"],
        "inference_macs": document["inference_macs"] / document["dense_inference_macs"],
        "speedup": document["speedup"],
        "energy_ratio": document["energy_ratio"],
    }


COLUMNS = {
    "method": "method",
    "pattern": "N:M",
    "accuracy": "accuracy\n%",
    "spread": "spread\n%",
    "training_macs": "training\nMACs",
    "inference_macs": "inference\nMACs",
    "speedup": "training\nspeedup",
    "energy_ratio": "energy\nratio",
}
"""Columns of the table that `row` makes rows for, and their headers."""
