"""The command line, `nofm`. What is slow to import is imported by the command that needs it."""

from __future__ import annotations

import json as json_module
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.exceptions import TyperException

from nofm.kernels.errors import InputError, positive, unknown

if TYPE_CHECKING:
    from nofm.dataflow.accelerator import Accelerator
    from nofm.verification import Verdict
    from nofm.workloads.trace import Trace

app = typer.Typer(
    name="nofm",
    help="Co-design of N:M sparse training accelerators.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document for programs.")]
Hardware = Annotated[
    str, typer.Option("--hardware", help="A preset (see `nofm hardware`) or a TOML file.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Change an entry, as array.rows=16."),
]


def _print_version(asked: bool) -> None:
    if asked:
        from nofm import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


# Options of `simulate` that only make sense, and those that make none, beside another.
NEEDS = {"stage": "gemm", "array": "peer", "route": "synth", "placer_seed": "synth"}
EXCLUDES = {
    "gemm": ("workload", "batch", "explain"),
    "peer": ("gemm", "batch", "schedule", "explain", "output"),
    "explain": ("output", "all_rows"),
    "dataflow": ("schedule",),
    "random": ("pattern", "dataflow", "stage"),
    "estimate": ("synth", "engines", "output"),
}


@app.command()
def simulate(
    context: typer.Context,
    workload: Annotated[
        str | None,
        typer.Argument(help="A network's name, or a file: trace, ONNX or SCALE-Sim CSV."),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Samples a step.")] = None,
    method: Annotated[str, typer.Option(help="N:M training method (see `nofm methods`).")] = "bdwp",
    pattern: Annotated[str, typer.Option(help="N:M, or dense.")] = "2:8",
    hardware: Hardware = "sat-32x32",
    settings: Settings = None,
    gemm: Annotated[
        str | None, typer.Option(metavar="MxKxN", help="One product in place of a workload.")
    ] = None,
    stage: Annotated[str, typer.Option(help="Stage of the product: ff, bp or wu.")] = "ff",
    dataflow: Annotated[
        str | None, typer.Option(help="Only this dataflow: ws or os (with --peer, also is).")
    ] = None,
    schedule: Annotated[
        str, typer.Option(help="How dataflows are chosen: offline, fixed, ws or os.")
    ] = "offline",
    interleave: Annotated[
        bool, typer.Option("--interleave/--no-interleave", help="Interleave mapping.")
    ] = True,
    pregeneration: Annotated[
        bool, typer.Option("--pregeneration/--no-pregeneration", help="Generate N:M weights ahead.")
    ] = True,
    peer: Annotated[
        str | None, typer.Option(help="Time the workload as another simulator does: scalesim.")
    ] = None,
    array: Annotated[str, typer.Option(metavar="RxC", help="The peer's array.")] = "32x32",
    explain: Annotated[
        str | None,
        typer.Option(metavar="LAYER", help="Show what the scheduler considered for this layer."),
    ] = None,
    all_rows: Annotated[bool, typer.Option("--all", help="Print every row.")] = False,
    json: Json = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for tables, figures, report.")
    ] = None,
) -> None:
    """Simulate a network's N:M training step, or one matrix product."""
    _check_together(context)
    _check_folder(output)
    machine = _accelerator(hardware, settings)
    if peer is not None:
        if workload is None:
            raise InputError("--peer needs a SCALE-Sim topology CSV, not nothing")
        from nofm.peers import simulate_peer

        _print_peer(simulate_peer(workload, peer, array, dataflow or "ws", machine), json)
        return
    if explain is not None:
        options = (interleave, pregeneration, _policy(dataflow, schedule))
        _explain(explain, workload, batch, method, pattern, machine, options, json)
        return
    from nofm.api import simulate as run
    from nofm.workloads.resolve import resolve

    found = None if workload is None else resolve(workload, batch)
    result = run(
        found,
        method=method,
        pattern=pattern,
        hardware=machine,
        gemm=gemm,
        stage=stage,
        interleave=interleave,
        pregeneration=pregeneration,
        schedule=_policy(dataflow, schedule),
    )
    from nofm.simulator.report import export, tables

    if output is not None:
        from nofm.simulator.reproduce import ablate

        command = "nofm " + shlex.join(sys.argv[1:])
        ablation = () if found is None or result.dense is None else tuple(ablate(found, result))
        export.write(result, output, ablation=ablation, command=command)
    if json:
        _print_json(export.to_json(result))
        return
    console = _console()
    console.print(tables.step_tables(result, width=console.width, all_rows=all_rows))
    if output is not None:
        _print_path(
            f"Wrote {output}/report.html and the tables, figures and timeline beside it.", console
        )


def _explain(
    layer: str,
    workload: str | None,
    batch: int | None,
    method: str,
    pattern: str,
    machine: Accelerator,
    options: tuple[bool, bool, str],
    json: bool,
) -> None:
    from nofm.dataflow.methods import method as find_method
    from nofm.kernels.pattern import Pattern
    from nofm.simulator.explain import considered
    from nofm.simulator.report.tables import records_table
    from nofm.simulator.step import Options
    from nofm.workloads.resolve import resolve

    if workload is None:
        raise InputError("--explain needs a workload, not nothing")
    interleave, pregeneration, schedule = options
    rows = considered(
        resolve(workload, batch),
        machine,
        find_method(method),
        Pattern.parse(pattern),
        Options(interleave=interleave, pregeneration=pregeneration, schedule=schedule),
        layer,
    )
    if json:
        _print_json({"schema": "nofm.considered/1", "layer": layer, "considered": rows})
        return
    shown = [
        row
        | {
            "product": f"{row['m']} x {row['k']} x {row['n']}",
            "share": 100 * row["compute_cycles"] / row["cycles"],
            "mark": "chosen" if row["chosen"] else "",
        }
        for row in rows
    ]
    columns = {
        "stage": "stage",
        "product": "product",
        "pattern": "N:M",
        "dataflow": "on",
        "interleave": "sums",
        "tile": "tile",
        "cycles": "cycles",
        "share": "compute\n%",
        "dram_bytes": "DRAM\nbytes",
        "mark": "",
    }
    _console().print(records_table(f"{layer}: mappings considered", shown, columns))


def _policy(dataflow: str | None, schedule: str) -> str:
    if dataflow is None:
        return schedule
    from nofm.dataflow.accelerator import DATAFLOWS

    if dataflow not in DATAFLOWS:
        raise unknown("dataflow", dataflow, DATAFLOWS)
    return dataflow


def _accelerator(hardware: str, settings: Sequence[str] | None) -> Accelerator:
    from nofm.dataflow.accelerator import load

    accelerator = load(hardware)
    return accelerator.with_values(**_values("--set", settings)) if settings else accelerator


def _values(option: str, settings: Sequence[str] | None) -> dict[str, Any]:
    """Names and TOML values of NAME=VALUE texts."""
    import tomllib

    example = {"--set": "array.rows=16", "--setting": "decay=0.0002"}[option]
    values: dict[str, Any] = {}
    for setting in settings or ():
        name, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"{option} must look like {example}, not {setting!r}")
        try:
            values[name.strip()] = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):  # no TOML value: taken as text, which the entry checks
            values[name.strip()] = text
    return values


def _console() -> Any:
    from rich.console import Console

    # Piped output has no width of its own; tables need one that they were designed for.
    return Console(width=None if sys.stdout.isatty() else 120)


def _print_notes(notes: Sequence[str], console: Any) -> None:
    for note in notes:
        console.print(f"- {note}", markup=False)


def _print_path(text: str, console: Any) -> None:
    """Print a line that holds a path: never broken, so that the path can be copied."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _print_json(document: Any) -> None:
    typer.echo(json_module.dumps(document, allow_nan=False))


def _check_together(context: typer.Context) -> None:
    """Refuse options that would be ignored: who gives one expects it to count."""

    def given(name: str) -> bool:
        source = context.get_parameter_source(name)
        return source is not None and source.name == "COMMANDLINE"

    def title(name: str) -> str:
        titles = {"workload": "a workload", "all_rows": "--all", "engines": "--engine"}
        return titles.get(name, f"--{name.replace('_', '-')}")

    for name, other in NEEDS.items():
        if given(name) and not given(other):
            raise InputError(f"{title(name)} only goes with {title(other)}, which is not given")
    for name, others in EXCLUDES.items():
        for other in others:
            if given(name) and given(other):
                raise InputError(f"{title(other)} does not go with {title(name)}: give one of them")


def _check_folder(output: Path | None) -> None:
    """Refuse what cannot become a folder before any work is done for it."""
    if output is None:
        return
    if str(output) in ("", "."):
        raise InputError("-o needs a folder of its own, not the current one")
    from nofm.kernels.folder import check_folder

    check_folder(output)


@app.command()
def rtl(
    context: typer.Context,
    hardware: Hardware = "sat-4x4",
    settings: Settings = None,
    engines: Annotated[
        list[str] | None,
        typer.Option(
            "--engine", help="Only this engine (repeat for more); else all that can be built."
        ),
    ] = None,
    synth: Annotated[
        str | None,
        typer.Option(
            metavar="FAMILY",
            help="Synthesize instead, for xcup, ecp5 (placed and routed as well) or ice40.",
        ),
    ] = None,
    route: Annotated[
        bool, typer.Option("--route/--no-route", help="Place and route what can be.")
    ] = True,
    placer_seed: Annotated[int, typer.Option(help="Of the placer's random numbers.")] = 1,
    estimate: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE",
            help="Instead, estimate the array's share of xcvu9p by a model fitted to small ones.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder of its own for the Verilog, or the reports."),
    ] = None,
    json: Json = False,
) -> None:
    """Write the accelerator's engines as Verilog, with what other tools need to use them; or tell
    what they take of an FPGA, and their clock."""
    _check_together(context)
    if output is None and synth is None and estimate is None:
        raise InputError("nofm rtl needs a folder to write to, as -o build/")
    _check_folder(output)
    machine = _accelerator(hardware, settings)
    if estimate is not None:
        _estimate(machine, estimate, json)
    elif synth is not None:
        _synthesize(machine, synth, engines or (), route, placer_seed, output, json)
    else:
        assert output is not None
        _emit(machine, engines or (), output, json)


def _emit(machine: Accelerator, engines: Sequence[str], output: Path, json: bool) -> None:
    from nofm.rtl.engines import require_amaranth

    require_amaranth()
    from nofm.rtl.emit.folder import emit
    from nofm.samples import cases

    with _progress(json) as progress:
        document = emit(machine, output, engines, lambda name: cases(name, machine), progress)
    if json:
        _print_json(document)
        return
    _print_engines(document, output)


def _synthesize(
    machine: Accelerator,
    family: str,
    engines: Sequence[str],
    route: bool,
    placer_seed: int,
    output: Path | None,
    json: bool,
) -> None:
    if not 0 <= placer_seed < 2**31:
        raise InputError(f"--placer-seed must be from 0 to {2**31 - 1}, not {placer_seed}")
    from nofm.rtl.engines import require_amaranth

    require_amaranth()
    from nofm.rtl.synthesis import report
    from nofm.rtl.synthesis.engines import measure_engines

    with _progress(json) as progress, report.work_folder() as work:
        rows, left_out = measure_engines(
            machine, family, work, engines, route=route, seed=placer_seed, progress=progress
        )
        document = report.to_json(machine, rows, left_out)
        if output is not None:
            report.write(rows, document, work, output)
    if json:
        _print_json(document)
        return
    console = _console()
    console.print(report.table(rows))
    _print_notes([f"{name} is left out: {reason}" for name, reason in left_out.items()], console)
    if output is not None:
        _print_path(f"Wrote {output}/synthesis.json and .csv, and the tools' logs.", console)


def _estimate(machine: Accelerator, device: str, json: bool) -> None:
    from nofm.rtl.stce.geometry import Geometry
    from nofm.rtl.synthesis import estimate

    found = estimate.estimate(Geometry.of(machine), device)
    if json:
        _print_json(estimate.to_json(machine, found))
        return
    from nofm.simulator.report.tables import records_table

    columns = {
        "resource": "resource",
        "needs": "needs",
        "has": f"{device.upper()}\nhas",
        "share": "share\n%",
        "error": "largest\nerror %",
    }
    array = f"{machine.array.rows} x {machine.array.columns}"
    title = f"Array of {machine.name}, {array}, estimated"
    console = _console()
    console.print(records_table(title, estimate.records(found), columns))
    _print_notes(estimate.notes(found), console)


def _print_engines(document: dict[str, Any], output: Path) -> None:
    from nofm.simulator.report.tables import records_table

    lines = {module["file"]: module["lines"] for module in document["modules"]}
    rows = [
        {
            **{key: engine[key] for key in ("engine", "title", "top")},
            "modules": len(engine["files"]),
            "lines": sum(lines[path] for path in engine["files"]),
            "ports": len(engine["ports"]),
            "job": sum(field["width"] for field in engine["job"]),
        }
        for engine in document["engines"]
    ]
    columns = {
        "engine": "engine",
        "title": "what it is",
        "top": "top module",
        "modules": "modules",
        "lines": "lines",
        "ports": "ports",
        "job": "job\nbits",
    }
    console = _console()
    console.print(records_table(f"RTL of {document['hardware']['name']}", rows, columns))
    _print_notes(
        [f"{each['engine']} is left out: {each['reason']}" for each in document["left_out"]],
        console,
    )
    files = len(document["files"])
    _print_path(f"Wrote {output}: {files} files; README.md says what they are.", console)


def _print_peer(document: dict[str, Any], json: bool) -> None:
    if json:
        _print_json(document)
        return
    from nofm.simulator.report.tables import records_table

    shape = f"{document['array']['rows']} x {document['array']['columns']}"
    percent = [
        row | {name: 100 * row[name] for name in ("mapping_efficiency", "compute_utilization")}
        for row in document["layers"]
    ]
    columns = {
        "layer": "layer",
        "m": "M",
        "k": "K",
        "n": "N",
        "pattern": "N:M",
        "cycles": "cycles",
        "mapping_efficiency": "mapping\n%",
        "compute_utilization": "util\n%",
        "sat_cycles": "SAT\ncycles",
    }
    title = f"{document['workload']}, {document['peer']}, {shape}, {document['dataflow']}"
    console = _console()
    console.print(
        records_table(title, [*percent, {"layer": "total", **document["total"]}], columns)
    )
    _print_notes(document["notes"], console)


@app.command()
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
    _check_together(context)
    if (gemm is None) == (random is None):
        raise InputError("nofm verify needs --gemm MxKxN or --random NUMBER, one of them")
    if random is not None:
        positive("--random", random, at_most=100_000)
    if not 0 <= seed < 2**31:
        raise InputError(f"--seed must be from 0 to {2**31 - 1}, not {seed}")
    machine = _accelerator(hardware, settings)
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
    with _progress(json) as progress:
        progress("building", 0, len(todo))
        array = verification.Array(machine, tool=tool)
        verdicts = array.verify(todo, lambda done: progress("verifying", done, len(todo)))
    if json:
        _print_json(verification.to_json(verdicts, one=random is None))
    else:
        _print_verdicts(verdicts)
    if not all(verdict.equal for verdict in verdicts):
        raise typer.Exit(1)


def _print_verdicts(verdicts: Sequence[Verdict]) -> None:
    from nofm.simulator.report.tables import records_table

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
    console = _console()
    equal = sum(verdict.equal for verdict in verdicts)
    tool = verdicts[0].tool
    console.print(records_table(f"RTL in {tool} against the golden model", rows, columns))
    console.print(f"{equal} of {len(verdicts)} equal in every bit and cycle.")
    for verdict in verdicts:
        for difference in verdict.differences:
            console.print(f"{verdict.gemm}: {difference}", markup=False)
        if verdict.waveform is not None:
            _print_path(f"{verdict.gemm}: waveform {verdict.waveform}", console)


@app.command()
def trace(
    model: Annotated[
        str, typer.Argument(help="A network's name, package.module:factory, or an ONNX file.")
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="SHAPE", help="512x3x224x224, or 8x128:int64 for ids."),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Samples a step.")] = None,
    inner: Annotated[
        bool, typer.Option("--inner", help="A part of a network: no first layer, no head.")
    ] = False,
    allow_unsupported: Annotated[
        bool,
        typer.Option("--allow-unsupported", help="Note products that cannot be lowered, go on."),
    ] = False,
    json: Json = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The trace file, *.safetensors.")
    ] = None,
) -> None:
    """Capture a model's training step from torch, forward and backward, without computing it."""
    from nofm.workloads import trace_file

    if output is not None and output.suffix != ".safetensors":
        raise InputError(f"a trace file's name ends in .safetensors, not {output.name!r}")
    if output is not None and not output.parent.is_dir():
        raise InputError(f"cannot write {output}: {output.parent} is not a folder")
    if batch is not None:
        positive("batch", batch)
    found = _capture(model, inputs, batch, inner, allow_unsupported)
    if output is not None:
        trace_file.save(found, output)
    if json:
        _print_json(trace_file.to_document(found))
        return
    from nofm.simulator.report.tables import records_table

    console = _console()
    rows = [
        {"layer": layer.name, "kind": layer.kind, "work": layer.describe()}
        for layer in found.layers
    ]
    title = f"{found.name}, batch {found.batch}: {len(rows)} layers"
    console.print(records_table(title, rows, {"layer": "layer", "kind": "kind", "work": "work"}))
    _print_notes(found.notes, console)
    if output is not None:
        _print_path(f"Wrote {output}.", console)


def _capture(
    model: str,
    inputs: Sequence[str] | None,
    batch: int | None,
    inner: bool,
    allow_unsupported: bool,
) -> Trace:
    from nofm.workloads import networks

    if ":" in model:
        from nofm.workloads.capture import capture_from_path

        if not inputs:
            raise InputError(f"{model} needs its inputs' shapes, as --input 512x3x224x224")
        return capture_from_path(
            model, inputs, batch=batch, inner=inner, allow_unsupported=allow_unsupported
        )
    if inputs:
        raise InputError("--input goes with package.module:factory; a network has its own shapes")
    if model in networks.NETWORKS:
        found = networks.network(model)
        return networks.capture(model, found.batch if batch is None else batch)
    from nofm.workloads.resolve import resolve

    return resolve(model, batch)


@app.command()
def reproduce(
    networks: Annotated[
        list[str] | None, typer.Option("--network", help="Only this network (repeat for more).")
    ] = None,
    batch: Annotated[int, typer.Option(help="Samples a step.")] = 512,
    hardware: Hardware = "sat-32x32",
    settings: Settings = None,
    json: Json = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for tables and figures.")
    ] = None,
) -> None:
    """Run the SAT paper's experiment: networks, methods, patterns, ablation, sensitivity."""
    from nofm.simulator import reproduce as experiment
    from nofm.workloads.resolve import resolve

    _check_folder(output)
    traces = [resolve(name, batch) for name in networks or experiment.NETWORKS]
    machine = _accelerator(hardware, settings)
    with _progress(json) as progress:
        found = experiment.reproduce(traces, machine, progress)
    from nofm.simulator.report import reproduction

    if output is not None:
        reproduction.write(found, output)
    if json:
        _print_json(reproduction.to_json(found))
        return
    reproduction.print_tables(found, _console())


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


@app.command()
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
    json: Json = False,
) -> None:
    """Train a network by an N:M method, and say what it learns and what it costs."""
    machine = _accelerator(hardware, settings)
    _need_torch("train")
    _check_folder(checkpoints)
    from nofm import training
    from nofm.kernels.pattern import Pattern
    from nofm.workloads.methods import method as find_method
    from nofm.workloads.training.run import Recipe

    chosen = find_method(method).with_settings(**_values("--setting", method_settings))
    recipe = Recipe(
        dataset=dataset,
        network=network,
        method=chosen,
        pattern=Pattern.parse(pattern),
        epochs=epochs,
        batch=positive("batch", batch),
        learning_rate=learning_rate,
    )
    with _progress(json) as progress:
        document = training.train(
            recipe,
            machine,
            seeds=range(positive("--seeds", seeds, at_most=1000)),
            folder=checkpoints,
            threads=positive("--threads", threads, at_most=1024),
            progress=progress,
        )
    if json:
        _print_json(document)
        return
    from nofm.simulator.report.tables import records_table

    title = f"{network} on {dataset}, {epochs} epochs, {seeds} seeds; steps on {machine.name}"
    console = _console()
    console.print(records_table(title, [training.row(document)], training.COLUMNS))
    _print_notes(document["notes"], console)


@app.command()
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
    _check_folder(output)
    _check_folder(checkpoints)
    machine = _accelerator(hardware, settings)
    _need_torch("codesign")
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
    with _progress(json) as progress:
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
        _print_json(document)
        return
    from nofm.simulator.report.tables import records_table

    rows = [
        training.row(one) | {"pareto": "yes" if point["pareto"] else ""}
        for one, point in zip(document["trainings"], document["points"], strict=True)
    ]
    title = f"{network} on {dataset}, {epochs} epochs, {seeds} seeds; steps on {machine.name}"
    console = _console()
    columns = training.COLUMNS | {"pareto": "best for\nits speed"}
    console.print(records_table(title, rows, columns))
    if output is not None:
        _print_path(f"Wrote {output}: codesign.json, .csv, .png and .svg.", console)


def _need_torch(command: str) -> None:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise InputError(
            f"nofm {command} needs torch, which is not installed: pip install 'nofm[train]'"
        )


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on stderr; none where nobody looks."""
    if quiet or not sys.stderr.isatty():
        yield lambda what, done, of: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, of: bar.update(task, description=what, completed=done, total=of)


@app.command()
def networks(json: Json = False) -> None:
    """List the networks that come with NofM."""
    from nofm.workloads.networks import NETWORKS

    rows = [
        {"network": n.name, "sample": n.sample, "dataset": n.dataset, "source": n.source}
        for n in NETWORKS.values()
    ]
    _print_rows("Networks", rows, "networks", json)


@app.command()
def methods(json: Json = False) -> None:
    """List the N:M training methods."""
    from nofm.dataflow.methods import METHODS

    rows = [
        {"method": m.name, "title": m.title, "sparse": m.axes, "reference": m.reference}
        for m in METHODS.values()
    ]
    _print_rows("N:M training methods", rows, "methods", json)


@app.command()
def hardware(json: Json = False) -> None:
    """List the accelerators that come with NofM."""
    from nofm.dataflow.accelerator import load, presets

    rows = []
    for name in presets():
        item = load(name)
        rows.append(
            {
                "name": name,
                "array": f"{item.array.rows} x {item.array.columns}",
                "clock_mhz": item.clock_mhz,
                "dram_gbps": item.dram.bandwidth_gbps,
                "patterns": " ".join(map(str, item.array.patterns)) or "dense only",
            }
        )
    _print_rows("Accelerators", rows, "hardware", json)


def _print_rows(title: str, rows: list[dict[str, Any]], key: str, json: bool) -> None:
    if json:
        _print_json({"schema": f"nofm.{key}/1", key: rows})
        return
    from nofm.simulator.report.tables import records_table

    _console().print(records_table(title, rows, {name: name for name in rows[0]}))


def main() -> None:
    """Run the command line; bad input is one line on stderr and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except InputError as error:
        code = _refuse(str(error))
    except TyperException as error:
        code = _refuse(error.format_message())
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:
        # The reader has gone; nothing more can be said to it.
        sys.stderr.close()
        code = 141
    except OSError as error:
        code = _refuse(
            f"cannot use {error.filename}: {error.strerror}" if error.filename else str(error)
        )
    sys.exit(code if isinstance(code, int) else 0)


def _refuse(reason: str) -> int:
    if reason:  # there is none when a group of commands was named without one: that prints help
        typer.echo("nofm: " + " ".join(reason.split()), err=True)
    return 2


if __name__ == "__main__":
    main()
