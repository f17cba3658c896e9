"""`nofm verify`: the array's RTL against the golden model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from nofm.cli.options import Hardware, Json, Settings, accelerator, check_together
from nofm.cli.output import new_console, print_json, print_path, print_table, progress_bar
from nofm.kernels.errors import InputError, positive

if TYPE_CHECKING:
    from nofm.verification import Verdict


def verify(
    context: typer.Context,
    hardware: Hardware = "sat-4x4",
    settings: Settings = None,
    gemm: Annotated[str | None, typer.Option(metavar="MxKxN", help="One product.")] = None,
    pattern: Annotated[str, typer.Option(help="N:M of its right operand, or dense.")] = "dense",
    dataflow: Annotated[
        str | None, typer.Option(help="ws or os; the scheduler's choice if not given.")
    ] = None,
    stage: Annotated[
        str, typer.Option(help="What its operands look like: those of ff, bp or wu.")
    ] = "ff",
    random: Annotated[
        int | None, typer.Option(help="This many random products in place of one.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all random numbers.")] = 0,
    tool: Annotated[str, typer.Option(help="auto, icarus or verilator.")] = "auto",
    json: Json = False,
) -> None:
    """Simulate the array's RTL and compare bits and cycles with the golden model's; exit code 1 on
    any difference, with the waveform kept."""
    check_together(context)
    if (gemm is None) == (random is None):
        raise InputError("nofm verify needs --gemm MxKxN or --random NUMBER, one of them")
    if random is not None:
        positive("--random", random, at_most=100_000)
    if not 0 <= seed < 2**31:
        raise InputError(f"--seed must be from 0 to {2**31 - 1}, not {seed}")
    machine = accelerator(hardware, settings)
    from nofm import verification
    from nofm.api import gemm_sizes

    if random is not None:
        todo = list(verification.random_gemms(machine, random, seed))
    else:
        from nofm.kernels.pattern import Pattern

        m, k, n = gemm_sizes(gemm or "")
        todo = [
            verification.Gemm(
                m=m,
                length=k,
                n=n,
                pattern=Pattern.parse(pattern),
                dataflow=None if dataflow is None else verification.dataflow(dataflow),
                stage=stage,
                seed=seed,
            )
        ]
    with progress_bar(json) as progress:
        progress("building", 0, len(todo))
        array = verification.Array(machine, tool=tool)
        verdicts = array.verify(todo, lambda done: progress("verifying", done, len(todo)))
    if json:
        print_json(verification.to_json(verdicts, one=random is None))
    else:
        _print_verdicts(verdicts)
    if not all(verdict.equal for verdict in verdicts):
        raise typer.Exit(1)


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
