"""What a prediction needs to know of a CPU or a GPU, read from TOML and checked."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from nofm.dataflow import toml_text
from nofm.kernels.errors import InputError, unknown

Positive = Annotated[float, Field(gt=0, le=1e15, allow_inf_nan=False)]
Factor = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=2**40, strict=True)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tile(_Table):
    """A tile of results that stays in registers: rows that share a mask, by vectors of samples."""

    rows: Count
    vectors: Count


class Calibration(_Table):
    """Factors of a model's terms, and where they come from.

    Attributes:
        source: "none", or the results file that they were fitted to.
        dense, sparse: factor by the name of a term (`cpu.dense_terms`, `cpu.sparse_terms`, or
            those of `gpu`); a term that is not named counts once.
    """

    source: str = "none"
    dense: dict[str, Factor] = {}
    sparse: dict[str, Factor] = {}


class Cpu(_Table):
    """A core of a CPU, and the memory behind it.

    Attributes:
        sources: where the figures come from.
        clock_mhz: under load.
        lanes: FP32 numbers of a vector.
        fma_per_cycle, loads_per_cycle, issue_per_cycle: vector multiply-adds, vector loads and
            instructions that a core can begin in a cycle.
        weights_per_load: 1 where a weight is broadcast as it is loaded; as many as a vector holds
            where multiply-adds take one element of a loaded vector.
        tiles: of the N:M kernel.
        panel_kib: of packed activations, which bounds a block of the reduction.
        l2_gbps, memory_gbps: what a core can read, in 10^9 bytes a second.
        overhead_us: of a call.
    """

    kind: Literal["cpu"]
    name: str
    sources: tuple[str, ...]
    clock_mhz: Positive
    lanes: Count
    fma_per_cycle: Positive
    loads_per_cycle: Positive
    issue_per_cycle: Positive
    weights_per_load: Count
    tiles: tuple[Tile, ...]
    panel_kib: Positive
    l2_gbps: Positive
    memory_gbps: Positive
    overhead_us: Positive
    calibration: Calibration = Calibration()

    @model_validator(mode="after")
    def _has_a_tile_of_one(self) -> Cpu:
        if not any(tile.rows == 1 for tile in self.tiles):
            raise ValueError("tiles must have one of 1 row, for masks that nothing shares")
        return self

    def tile(self, sharing: int) -> Tile:
        """The largest tile whose rows divide a mask's."""
        return max((t for t in self.tiles if sharing % t.rows == 0), key=lambda t: t.rows)


class GpuTile(_Table):
    """A block of results that one multiprocessor works on, and the step of its reduction."""

    m: Count
    n: Count
    k: Count


class Gpu(_Table):
    """A GPU with (sparse) tensor cores.

    Attributes:
        sources: where the figures come from.
        multiprocessors: of the whole GPU.
        clock_mhz: under load.
        fma_per_cycle: dense FP16 multiply-adds of a multiprocessor's tensor cores in a cycle.
        sparse_factor: how many times as many dense-equivalent ones in 2:4.
        tiles: what the library's kernels are compiled for.
        cluster: tiles whose multiprocessors read shared operands together (from Hopper on).
        prologue_cycles: of a tile, until its multiplications run and after they end.
        l2_kib: second cache.
        l2_gbps, memory_gbps: what the GPU can read, in 10^9 bytes a second.
        launch_us: of a kernel.
    """

    kind: Literal["gpu"]
    name: str
    sources: tuple[str, ...]
    multiprocessors: Count
    clock_mhz: Positive
    fma_per_cycle: Positive
    sparse_factor: Positive
    tiles: tuple[GpuTile, ...] = Field(min_length=1)
    cluster: Count
    prologue_cycles: Factor
    l2_kib: Count
    l2_gbps: Positive
    memory_gbps: Positive
    launch_us: Positive
    calibration: Calibration = Calibration()


Processor = Annotated[Cpu | Gpu, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[Cpu | Gpu] = TypeAdapter(Processor)


def from_toml(text: str, source: str) -> Cpu | Gpu:
    """Read a description.

    Raises:
        InputError: malformed TOML, or an entry that is unknown, missing or out of range.
    """
    try:
        return _ADAPTER.validate_python(toml_text.read(text, source))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "kind"
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{source}: {where}: {message[0].lower() + message[1:]}") from None


def to_toml(processor: Cpu | Gpu) -> str:
    """The description as TOML; `from_toml` reads it back."""
    document = processor.model_dump(mode="json")
    calibration, tiles = document.pop("calibration"), document.pop("tiles")
    lines = [f"{key} = {toml_text.written(value)}" for key, value in document.items()]
    for tile in tiles:
        lines += ["", "[[tiles]]", *(f"{key} = {value}" for key, value in tile.items())]
    lines += ["", "[calibration]", f"source = {toml_text.written(calibration['source'])}"]
    for part in ("dense", "sparse"):
        lines += ["", f"[calibration.{part}]"]
        lines += [f"{key} = {value!r}" for key, value in calibration[part].items()]
    return "\n".join(lines) + "\n"


def _files() -> dict[str, Any]:
    return toml_text.preset_files("nofm.simulator.processors")


def presets() -> list[str]:
    """Names of the processors that come with NofM."""
    return list(_files())


@cache
def _preset(name: str) -> Cpu | Gpu:
    return from_toml(_files()[name].read_text("utf-8"), f"preset {name!r}")


def load(name_or_path: str | Path) -> Cpu | Gpu:
    """A preset by its name, or a description from a TOML file.

    Raises:
        InputError: there is neither, or the description is wrong.
    """
    text = str(name_or_path)
    if text in _files():
        return _preset(text)
    path = Path(text)
    if path.suffix != ".toml":
        raise unknown("processor", text, presets())
    try:
        return from_toml(path.read_text("utf-8"), text)
    except UnicodeDecodeError:
        raise InputError(f"{text} is not valid TOML: it is not UTF-8") from None
    except OSError as error:
        raise InputError(f"cannot read {text}: {error.strerror}") from None
