"""`nofm codesign`: accuracy against simulated speedup, over methods and patterns."""

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
    need_torch,
)
from nofm.cli.output import print_json, print_path, print_table, progress_bar
from nofm.kernels.errors import positive


def codesign(
    dataset: Dataset,
    network: TrainedNetwork = "cnn",
    methods: Annotated[
        list[str] | None,
        typer.Option("--method", help="Only this method (repeat for more), beside dense training."),
    ] = None,
    patterns: Annotated[
        list[str] | None,
        typer.Option("--pattern", help="Only this pattern (repeat for more); else 2:4, 2:8, 1:8."),
    ] = None,
    epochs: Epochs = 20,
    batch: Batch = 128,
    learning_rate: LearningRate = 1e-2,
    seeds: Seeds = 3,
    threads: Threads = 1,
    hardware: Hardware = "sat-32x32",
    settings: Settings = None,
    checkpoints: Checkpoints = None,
    json: Json = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for the picture and the table.")
    ] = None,
) -> None:
    """Train by many methods and patterns: accuracy against simulated training speedup."""
    check_folder(output)
    check_folder(checkpoints)
    machine = accelerator(hardware, settings)
    need_torch("codesign")
    from nofm import codesign as experiment
    from nofm import training
    from nofm.kernels.pattern import DENSE, Pattern
    from nofm.workloads.methods import METHODS
    from nofm.workloads.training.run import Recipe

    recipe = Recipe(
        dataset=dataset,
        network=network,
        method=METHODS["dense"],
        pattern=DENSE,
        epochs=epochs,
        batch=positive("batch", batch),
        learning_rate=learning_rate,
    )
    with progress_bar(json) as progress:
        document = experiment.codesign(
            recipe,
            machine,
            methods=methods or (),
            patterns=[Pattern.parse(text) for text in patterns or experiment.PATTERNS],
            seeds=range(positive("--seeds", seeds, at_most=1000)),
            folder=checkpoints,
            threads=positive("--threads", threads, at_most=1024),
            progress=progress,
        )
    if output is not None:
        experiment.write(document, output)
    if json:
        print_json(document)
        return
    rows = [
        training.row(one) | {"pareto": "yes" if point["pareto"] else ""}
        for one, point in zip(document["trainings"], document["points"], strict=True)
    ]
    title = f"{network} on {dataset}, {epochs} epochs, {seeds} seeds; steps on {machine.name}"
    columns = training.COLUMNS | {"pareto": "best for\nits speed"}
    print_table(title, rows, columns)
    if output is not None:
        print_path(f"Wrote {output}: codesign.json, .csv, .png and .svg.")
