"""`nofm train`: what a network learns by a method, and what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nofm.cli.options import (
    Batch,
    Checkpoints,
    Dataset,
    Epochs,
    Hardware,
    Json,
    LearningRate,
    Seeds,
    Settings,
    Threads,
    TrainedNetwork,
    accelerator,
    check_folder,
    check_trace_file,
    need_torch,
    values,
)
from nofm.cli.output import print_json, print_notes, print_path, print_table, progress_bar
from nofm.kernels.errors import positive


def train(
    dataset: Dataset,
    network: TrainedNetwork = "cnn",
    method: Annotated[str, typer.Option(help="N:M training method (see `nofm methods`).")] = "bdwp",
    pattern: Annotated[str, typer.Option(help="N:M, or dense.")] = "2:8",
    method_settings: Annotated[
        list[str] | None,
        typer.Option("--setting", metavar="NAME=VALUE", help="Of the method, as decay=0.0002."),
    ] = None,
    epochs: Epochs = 20,
    batch: Batch = 128,
    learning_rate: LearningRate = 1e-2,
    seeds: Seeds = 3,
    threads: Threads = 1,
    hardware: Hardware = "sat-32x32",
    settings: Settings = None,
    checkpoints: Checkpoints = None,
    record: Annotated[
        Path | None,
        typer.Option(
            help="Trace file, *.safetensors, for the tensors of the last step that the method "
            "trains, with the first seed: what `nofm verify --trace` runs."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Train a network by an N:M method, and say what it learns and what it costs."""
    machine = accelerator(hardware, settings)
    need_torch("train")
    check_folder(checkpoints)
    check_trace_file(record)
    from nofm import training
    from nofm.kernels.pattern import Pattern
    from nofm.workloads.methods import method as find_method
    from nofm.workloads.training.run import Recipe

    chosen = find_method(method).with_settings(**values("--setting", method_settings))
    recipe = Recipe(
        dataset=dataset,
        network=network,
        method=chosen,
        pattern=Pattern.parse(pattern),
        epochs=epochs,
        batch=positive("batch", batch),
        learning_rate=learning_rate,
    )
    with progress_bar(json) as progress:
        document = training.train(
            recipe,
            machine,
            seeds=range(positive("--seeds", seeds, at_most=1000)),
            folder=checkpoints,
            threads=positive("--threads", threads, at_most=1024),
            record=record,
            progress=progress,
        )
    if json:
        print_json(document)
        return
    title = f"{network} on {dataset}, {epochs} epochs, {seeds} seeds; steps on {machine.name}"
    print_table(title, [training.row(document)], training.COLUMNS)
    print_notes(document["notes"])
    if record is not None:
        print_path(f"Wrote {record}.")
