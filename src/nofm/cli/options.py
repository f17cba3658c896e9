"""Options that several commands have, what they mean, and which of them exclude each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nofm.kernels.errors import InputError

if TYPE_CHECKING:
    from nofm.dataflow.accelerator import Accelerator

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document for programs.")]
Hardware = Annotated[
    str, typer.Option("--hardware", help="A preset (see `nofm hardware`) or a TOML file.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Change an entry, as array.rows=16."),
]

# Of trainings.
Dataset = Annotated[str, typer.Argument(help="mnist1d, digits or stdlib.")]
TrainedNetwork = Annotated[str, typer.Option("--network", help="cnn, mlp or gpt.")]
Epochs = Annotated[int, typer.Option(help="Passes over the data.")]
Batch = Annotated[int, typer.Option(help="Samples a step.")]
LearningRate = Annotated[float, typer.Option("--lr", help="The learning rate, at its highest.")]
Seeds = Annotated[int, typer.Option(help="Trainings of each kind, with seeds 0, 1, ...")]
Threads = Annotated[int, typer.Option(help="Threads of torch.")]
Checkpoints = Annotated[
    Path | None,
    typer.Option("--checkpoints", help="Folder to keep trainings in, and to go on from."),
]


# Options that only make sense, and those that make none, beside another: of several, any that the
# command has.
NEEDS = {
    "stage": ("gemm", "trace"),
    "layer": ("trace",),
    "method": ("trace", "small_network"),
    "steps": ("small_network",),
    "picture": ("small_network",),
    "tiles": ("trace",),
    "array": ("peer",),
    "route": ("synth",),
    "placer_seed": ("synth",),
}
EXCLUDES = {
    "gemm": ("workload", "batch", "explain"),
    "peer": ("gemm", "batch", "schedule", "explain", "output"),
    "explain": ("output", "all_rows"),
    "dataflow": ("schedule",),
    "random": ("pattern", "dataflow", "stage"),
    "trace": ("seed",),
    "small_network": ("dataflow", "stage"),
    "estimate": ("synth", "engines", "output"),
}


def check_together(context: typer.Context) -> None:
    """Refuse options that would be ignored: who gives one expects it to count."""

    def given(name: str) -> bool:
        source = context.get_parameter_source(name)
        return source is not None and source.name == "COMMANDLINE"

    def title(name: str) -> str:
        titles = {"workload": "a workload", "all_rows": "--all", "engines": "--engine"}
        titles |= {"small_network": "--network", "picture": "--output"}
        return titles.get(name, f"--{name.replace('_', '-')}")

    for name, needed in NEEDS.items():
        others = [other for other in needed if other in context.params]
        if others and given(name) and not any(map(given, others)):
            titles = " or ".join(map(title, others))
            raise InputError(f"{title(name)} only goes with {titles}, which is not given")
    for name, excluded in EXCLUDES.items():
        for other in excluded:
            if given(name) and given(other):
                raise InputError(f"{title(other)} does not go with {title(name)}: give one of them")


def check_trace_file(path: Path | None) -> None:
    """Refuse what cannot become a trace file before any work is done for it."""
    if path is None:
        return
    if path.suffix != ".safetensors":
        raise InputError(f"a trace file's name ends in .safetensors, not {path.name!r}")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: {path.parent} is not a folder")


def check_seed(option: str, seed: int) -> None:
    """Refuse what no generator of random numbers here takes as its seed."""
    if not 0 <= seed < 2**31:
        raise InputError(f"{option} must be from 0 to {2**31 - 1}, not {seed}")


def check_folder(output: Path | None) -> None:
    """Refuse what cannot become a folder before any work is done for it."""
    if output is None:
        return
    if str(output) in ("", "."):
        raise InputError("-o needs a folder of its own, not the current one")
    from nofm.kernels.folder import check_folder

    check_folder(output)


def accelerator(hardware: str, settings: Sequence[str] | None) -> Accelerator:
    """What `--hardware` and `--set` ask for."""
    from nofm.dataflow.accelerator import load

    found = load(hardware)
    return found.with_values(**values("--set", settings)) if settings else found


def values(option: str, settings: Sequence[str] | None) -> dict[str, Any]:
    """Names and TOML values of NAME=VALUE texts."""
    import tomllib

    example = {
        "--set": "array.rows=16",
        "--setting": "decay=0.0002",
        "--link": "link.latency_us=2.0",
    }[option]
    found: dict[str, Any] = {}
    for setting in settings or ():
        name, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"{option} must look like {example}, not {setting!r}")
        try:
            found[name.strip()] = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):  # no TOML value: taken as text, which the entry checks
            found[name.strip()] = text
    return found


def need_torch(command: str) -> None:
    """Refuse a command that needs torch where there is none."""
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise InputError(
            f"nofm {command} needs torch, which is not installed: pip install 'nofm[train]'"
        )
