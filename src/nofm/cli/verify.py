"""`nofm verify`: RTL against the golden model: the array, or a training step on the chip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nofm.cli.options import Hardware, Json, Settings, accelerator, check_seed, check_together
from nofm.cli.output import (
    new_console,
    print_json,
    print_notes,
    print_path,
    print_table,
    progress_bar,
)
from nofm.kernels.errors import InputError, positive

if TYPE_CHECKING:
    from nofm.chip_training import TrainingVerdict
    from nofm.dataflow.accelerator import Accelerator
    from nofm.recorded import Selection
    from nofm.verification import Gemm, Verdict


def verify(
    context: typer.Context,
    hardware: Hardware = "sat-4x4",
    settings: Settings = None,
    gemm: Annotated[str | None, typer.Option(metavar="MxKxN", help="One product.")] = None,
    random: Annotated[
        int | None, typer.Option(help="This many random products in place of one.")
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(help="Products of a recorded training step (see `nofm train --record`)."),
    ] = None,
    small_network: Annotated[
        str | None,
        typer.Option(
            "--network",
            metavar="NAME",
            help="A training step of a small network on the whole chip: tiny, mlp, cnn or strided.",
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option(help="Training steps of a network, each from the last one's memory.")
    ] = 1,
    pattern: Annotated[
        str | None, typer.Option(help="N:M of the right operand, or dense (the default).")
    ] = None,
    dataflow: Annotated[
        str | None, typer.Option(help="ws or os; the scheduler's choice if not given.")
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(
            help="ff, bp or wu: what the operands look like; only this one of a trace's stages."
        ),
    ] = None,
    layer: Annotated[str | None, typer.Option(help="Only this one of a trace's layers.")] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Prune a trace's dense tensors by magnitude for this method and --pattern, in "
            "place of running what trained; of a network: dense, srste or bdwp (the default)."
        ),
    ] = None,
    tiles: Annotated[
        int, typer.Option(help="Most tiles of each of a trace's products that are run.")
    ] = 2,
    seed: Annotated[int, typer.Option(help="Of all random numbers.")] = 0,
    tool: Annotated[str, typer.Option(help="auto, icarus or verilator.")] = "auto",
    picture: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder for a network's loss as a picture."),
    ] = None,
    json: Json = False,
) -> None:
    """Simulate RTL and compare it with the golden model's bits, and the array's cycles with the
    simulator's; exit code 1 on any difference, with the array's waveform kept."""
    check_together(context)
    if sum(each is not None for each in (gemm, random, trace, small_network)) != 1:
        raise InputError(
            "nofm verify needs --gemm MxKxN, --random NUMBER, --trace FILE or --network NAME, one "
            "of them"
        )
    if random is not None:
        positive("--random", random, at_most=100_000)
    check_seed("--seed", seed)
    machine = accelerator(hardware, settings)
    if small_network is not None:
        _train(machine, small_network, method, pattern, steps, seed, tool, picture, json)
        return
    from nofm import verification

    notes: list[str] = []
    todo: Sequence[Gemm]
    if random is not None:
        todo = list(verification.random_gemms(machine, random, seed))
    elif trace is not None:
        from nofm.recorded import recorded_gemms

        selection = _selection(layer, stage, method, pattern, dataflow, tiles)
        todo, notes = recorded_gemms(trace, machine, selection)
    else:
        from nofm.api import gemm_sizes
        from nofm.kernels.pattern import Pattern

        m, k, n = gemm_sizes(gemm or "")
        todo = [
            verification.Gemm(
                m=m,
                length=k,
                n=n,
                pattern=Pattern.parse(pattern or "dense"),
                dataflow=None if dataflow is None else verification.dataflow(dataflow),
                stage=stage or "ff",
                seed=seed,
            )
        ]
    with progress_bar(json) as progress:
        progress("building", 0, len(todo))
        array = verification.Array(machine, tool=tool)
        verdicts = array.verify(todo, lambda done: progress("verifying", done, len(todo)))
    if json:
        print_json(verification.to_json(verdicts, one=gemm is not None, notes=notes))
    else:
        _print_verdicts(verdicts)
        print_notes(notes)
    if not all(verdict.equal for verdict in verdicts):
        raise typer.Exit(1)


def _train(
    machine: Accelerator,
    network: str,
    method: str | None,
    pattern: str | None,
    steps: int,
    seed: int,
    tool: str,
    output: Path | None,
    json: bool,
) -> None:
    """A network's training steps on the chip."""
    from nofm.chip_training import to_json, verify_training
    from nofm.kernels.folder import check_folder
    from nofm.rtl.program.training import Example

    if output is not None:
        check_folder(output)
    example = Example(network, method or "bdwp", pattern or "2:4", seed)
    with progress_bar(json) as progress:
        verdict = verify_training(machine, example, steps, tool=tool, progress=progress)
    if json:
        print_json(to_json(verdict, machine))
    else:
        _print_training(verdict)
    if output is not None:
        from nofm.chip_training_figure import training_figure
        from nofm.simulator.report.figures import render

        output.mkdir(parents=True, exist_ok=True)
        path = output / f"{network}-{example.method}.png"
        path.write_bytes(render(training_figure(verdict), "png"))
        if not json:
            print_path(f"wrote {path}")
    if not verdict.equal:
        raise typer.Exit(1)


def _print_training(verdict: TrainingVerdict) -> None:
    rows = [
        {
            "step": step.number,
            "loss": step.loss,
            "golden": step.golden_loss,
            "torch": step.torch_loss,
            "bits": "equal" if step.bit_exact else f"{step.differing} DIFFER",
            "forward": step.forward_cycles,
            "forward_model": verdict.simulator_cycles["forward"],
            "backward": step.backward_cycles,
            "backward_model": verdict.simulator_cycles["backward"],
        }
        for step in verdict.steps
    ]
    columns = {
        "step": "step",
        "loss": "loss\nin RTL",
        "golden": "\ngolden",
        "torch": "\ntorch",
        "bits": "memory",
        "forward": "forward\nin RTL",
        "forward_model": "\nsimulator",
        "backward": "backward\nin RTL",
        "backward_model": "\nsimulator",
    }
    example = verdict.example
    how = example.method if example.method == "dense" else f"{example.method} {example.pattern}"
    print_table(f"{example.network}, {how}, on the chip in {verdict.tool}", rows, columns)
    exact = sum(step.bit_exact for step in verdict.steps)
    new_console().print(
        f"All of memory equal to the golden model's after {exact} step{'s' * (exact != 1)}."
    )
    for step in verdict.steps:
        if step.error:
            new_console().print(f"step {step.number}: {step.error}", markup=False)


def _selection(
    layer: str | None,
    stage: str | None,
    method: str | None,
    pattern: str | None,
    dataflow: str | None,
    tiles: int,
) -> Selection:
    """What of a trace is run."""
    from nofm import verification
    from nofm.kernels.pattern import DENSE, Pattern
    from nofm.recorded import Selection
    from nofm.workloads.methods import method as find_method

    found = None if method is None else find_method(method)
    if found is None and pattern is not None:
        raise InputError("--pattern only goes with --method beside --trace: a trace has its own")
    if found is not None and found.name != "dense" and pattern is None:
        raise InputError(f"--method {found.name} needs --pattern N:M, which is not given")
    return Selection(
        layer=layer,
        stage=stage,
        method=found,
        pattern=DENSE if pattern is None else Pattern.parse(pattern),
        dataflow=None if dataflow is None else verification.dataflow(dataflow),
        tiles=tiles,
    )


def _print_verdicts(verdicts: Sequence[Verdict]) -> None:
    rows = [
        {
            "product": str(verdict.gemm),
            "sums": verdict.gemm.interleave,
            "rtl": verdict.rtl_cycles,
            "simulator": verdict.simulator_cycles,
            "bits": "equal" if verdict.bit_exact else "DIFFER",
            "cycles": "equal" if verdict.cycles_equal else "DIFFER",
        }
        for verdict in verdicts
    ]
    columns = {
        "product": "product",
        "sums": "sums",
        "rtl": "RTL\ncycles",
        "simulator": "simulator\ncycles",
        "bits": "bits",
        "cycles": "cycles",
    }
    equal = sum(verdict.equal for verdict in verdicts)
    tool = verdicts[0].tool
    print_table(f"RTL in {tool} against the golden model", rows, columns)
    new_console().print(f"{equal} of {len(verdicts)} equal in every bit and cycle.")
    for verdict in verdicts:
        for difference in verdict.differences:
            new_console().print(f"{verdict.gemm}: {difference}", markup=False)
        if verdict.waveform is not None:
            print_path(f"{verdict.gemm}: waveform {verdict.waveform}")
