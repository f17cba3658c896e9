"""`nofm verify`: the array's RTL against the golden model."""

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
            "place of running what trained."
        ),
    ] = None,
    tiles: Annotated[
        int, typer.Option(help="Most tiles of each of a trace's products that are run.")
    ] = 2,
    seed: Annotated[int, typer.Option(help="Of all random numbers.")] = 0,
    tool: Annotated[str, typer.Option(help="auto, icarus or verilator.")] = "auto",
    json: Json = False,
) -> None:
    """Simulate the array's RTL and compare bits and cycles with the golden model's; exit code 1 on
    any difference, with the waveform kept."""
    check_together(context)
    if sum(each is not None for each in (gemm, random, trace)) != 1:
        raise InputError(
            "nofm verify needs --gemm MxKxN, --random NUMBER or --trace FILE, one of them"
        )
    if random is not None:
        positive("--random", random, at_most=100_000)
    check_seed("--seed", seed)
    machine = accelerator(hardware, settings)
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
