"""Strider: nested loops of strides, as commands for a master; what lies outside becomes zeros."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Signal, Value
from amaranth.lib.wiring import In, Out

from nofm.kernels.errors import InputError
from nofm.rtl.axi.bus import Bus, read_command, write_command
from nofm.rtl.fields import pack, split
from nofm.rtl.hierarchy import Unit


@dataclass(frozen=True)
class Walk:
    """Sizes of a `Strider`.

    Attributes:
        loops: nested loops, 2 to 8.
        axes: positions that loops move and that must lie inside a size, 0 to 3. With any, commands
            are those of a `ReadMaster`; without, those of a `WriteMaster`, which a `ReadMaster`
            takes with `zero` low.
        count_bits: width of a loop's count, less one.
        step_bits: width of a step of the address, signed, in granules.
        position_bits: width of a position, signed, and of its steps; sizes are up to half of it.

    Raises:
        InputError: a size is outside of these.
    """

    loops: int = 5
    axes: int = 2
    count_bits: int = 16
    step_bits: int = 32
    position_bits: int = 16

    def __post_init__(self) -> None:
        for name, least, most in (
            ("loops", 2, 8),
            ("axes", 0, 3),
            ("count_bits", 1, 32),
            ("step_bits", 2, 32),
            ("position_bits", 2, 32),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or not least <= value <= most:
                raise InputError(f"{name} of a walk must be from {least} to {most}, not {value!r}")

    @property
    def suffix(self) -> str:
        """What tells module names of different sizes apart."""
        sizes = (self.loops, self.axes, self.count_bits, self.step_bits, self.position_bits)
        return "_".join(map(str, sizes))


def job_fields(bus: Bus, walk: Walk) -> dict[str, int]:
    """Fields of a job's word and their widths. Loop 0 is the innermost.

    address: of the first granule of the first run.
    length: granules of each run, less one.
    tag: the low bits of each command's tag; its highest bit marks the last command.
    count_i: passes of loop i, less one.
    step_i: what the address moves, in granules, when loop i goes on and those inside begin again.
    begin_a: the first position on axis a.
    size_a: positions from 0 to below this are inside.
    move_a_i: what the position on axis a moves when loop i goes on and those inside begin again.
    """
    fields = {
        "address": bus.granule_address_bits,
        "length": bus.length_bits,
        "tag": bus.tag_bits - 1,
    }
    for loop in range(walk.loops):
        fields |= {f"count_{loop}": walk.count_bits, f"step_{loop}": walk.step_bits}
    for axis in range(walk.axes):
        fields |= {f"begin_{axis}": walk.position_bits, f"size_{axis}": walk.position_bits}
        fields |= {f"move_{axis}_{loop}": walk.position_bits for loop in range(walk.loops)}
    return fields


class Strider(Unit):
    """Walks through nested loops: a job in, one command for each pass of the innermost loop out.

    Everything moves by addition: a loop that goes on adds what its own stride is, less all that the
    loops inside of it have added, which the job tells. A run whose position on any axis is negative
    or not below the axis' size is padding: its command says `zero`.

    | port | width | direction | |
    |---|---|---|---|
    | job_valid, job_ready, job_data | 1, 1, `job_fields` | in, out, in | one is taken at a time |
    | command_valid, command_ready | 1, 1 | out, in | a command is taken when both are high |
    | command_data | `read_command` or `write_command` | out | |

    A job that is taken in cycle t gives its first command in cycle t + 1. Throughput: a command a
    cycle; a job takes one cycle more than it has commands. No ready depends on a valid.
    """

    def __init__(self, bus: Bus, walk: Walk) -> None:
        self.bus = bus
        self.walk = walk
        if bus.tag_bits < 2:
            raise InputError(
                f"tag_bits of a bus with a strider must be 2 or more, not {bus.tag_bits}"
            )
        self.module_name = f"nofm_axi_strider_{walk.suffix}_{bus.suffix}"
        super().__init__(
            {
                "job_valid": In(1),
                "job_ready": Out(1),
                "job_data": In(sum(job_fields(bus, walk).values())),
                "command_valid": Out(1),
                "command_ready": In(1),
                "command_data": Out(sum(self.command.values())),
            }
        )

    @property
    def command(self) -> dict[str, int]:
        """Fields of a command and their widths."""
        return read_command(self.bus) if self.walk.axes else write_command(self.bus)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        loops, axes = range(self.walk.loops), range(self.walk.axes)
        fields = job_fields(self.bus, self.walk)
        given = split(fields, self.job_data)
        # The job, of which what moves is replaced as it goes.
        job = {name: Signal(width, name=name) for name, width in fields.items() if width}
        left = [Signal(self.walk.count_bits, name=f"left_{loop}") for loop in loops]
        moves, last, start = Signal(), Signal(), Signal()
        over = Signal(self.walk.loops)
        # The loop that goes on: the innermost one that is not over.
        loop = Signal(range(self.walk.loops))
        m.d.comb += [
            self.job_ready.eq(~self.command_valid),
            start.eq(self.job_valid & self.job_ready),
            moves.eq(self.command_valid & self.command_ready),
            over.eq(Cat(count == 0 for count in left)),
            last.eq(over.all()),
        ]
        for each in reversed(loops):
            with m.If(~over[each]):
                m.d.comb += loop.eq(each)
        with m.If(start):
            m.d.sync += [self.command_valid.eq(1), *(job[name].eq(given[name]) for name in job)]
            m.d.sync += [left[each].eq(given[f"count_{each}"]) for each in loops]
        with m.Elif(moves):
            m.d.sync += self.command_valid.eq(~last)
            m.d.sync += job["address"].eq(
                job["address"] + Array(job[f"step_{each}"].as_signed() for each in loops)[loop]
            )
            for axis in axes:
                move = Array(job[f"move_{axis}_{each}"] for each in loops)[loop]
                m.d.sync += job[f"begin_{axis}"].eq(job[f"begin_{axis}"] + move)
            for each in loops:
                with m.If(loop == each):
                    m.d.sync += left[each].eq(left[each] - 1)
                if each != loops[-1]:
                    with m.Elif(loop > each):
                        m.d.sync += left[each].eq(job[f"count_{each}"])
        # A negative position is a large number.
        outside: list[Value] = [job[f"begin_{axis}"] >= job[f"size_{axis}"] for axis in axes]
        command = split(self.command, self.command_data)
        values: dict[str, Value] = {
            "address": job["address"],
            "length": job["length"],
            "tag": Cat(job["tag"], last),
            "zero": Cat(outside).any() if outside else Const(0),
        }
        m.d.comb += [command[name].eq(values[name]) for name in command]
        return m


@dataclass(frozen=True)
class Loop:
    """One loop of `Strides`.

    Attributes:
        count: passes, 1 or more.
        stride_bytes: from one pass to the next.
        moves: what a pass moves the position on each axis.
    """

    count: int
    stride_bytes: int
    moves: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Strides:
    """A job of a `Strider`, as people say it.

    Attributes:
        address: of the first byte of the first run.
        run_bytes: length of each run.
        loops: the innermost first; fewer than the hardware has are filled up with single passes.
        begins: the first position on each axis.
        sizes: positions from 0 to below these are inside; all of those are, where not given.
        tag: any number that fits.
    """

    address: int
    run_bytes: int
    loops: Sequence[Loop]
    begins: Sequence[int] = ()
    sizes: Sequence[int] = ()
    tag: int = 0

    def encode(self, bus: Bus, walk: Walk) -> int:
        """The packed word of the job.

        Raises:
            InputError: it has more loops or axes than the hardware, a number does not fit, or is no
                multiple of a granule.
        """
        loops = [*self.loops, *[Loop(1, 0)] * (walk.loops - len(self.loops))]
        if len(loops) != walk.loops:
            raise InputError(f"strides must have {walk.loops} loops at most, not {len(loops)}")
        axes = len(self.sizes)
        if axes > walk.axes or len(self.begins) != axes:
            raise InputError(
                f"strides must have a begin for each size, and {walk.axes} at most, not "
                f"{len(self.begins)} and {axes}"
            )
        values = {
            "address": _granules(self.address, "address", bus) % (1 << bus.granule_address_bits),
            "length": _granules(self.run_bytes, "run_bytes", bus) - 1,
            "tag": self.tag,
        }
        strides = [_granules(loop.stride_bytes, "stride_bytes", bus) for loop in loops]
        for i, step in enumerate(_steps(loops, strides)):
            values[f"count_{i}"] = loops[i].count - 1
            values[f"step_{i}"] = _wrapped(step, walk.step_bits, f"step of loop {i}")
        half = 1 << walk.position_bits - 1
        for a in range(walk.axes):
            # An axis that is not used stays at 0, inside.
            begin, size = (self.begins[a], self.sizes[a]) if a < axes else (0, 1)
            if not 0 <= size <= half:
                raise InputError(f"size of an axis must be from 0 to {half}, not {size}")
            moves = [loop.moves[a] if a < len(loop.moves) else 0 for loop in loops]
            self._reach(begin, moves, loops, half)
            values[f"begin_{a}"] = _wrapped(begin, walk.position_bits, f"begin of axis {a}")
            values[f"size_{a}"] = size
            for i, step in enumerate(_steps(loops, moves)):
                values[f"move_{a}_{i}"] = step % (1 << walk.position_bits)
        return pack(job_fields(bus, walk), values)

    @staticmethod
    def _reach(begin: int, moves: Sequence[int], loops: Sequence[Loop], half: int) -> None:
        """Refuse positions that would wrap round."""
        ways = [(loop.count - 1) * move for loop, move in zip(loops, moves, strict=True)]
        low, high = begin + sum(min(w, 0) for w in ways), begin + sum(max(w, 0) for w in ways)
        if low < -half or high >= half:
            raise InputError(
                f"positions of an axis must stay from {-half} to {half - 1}, not {low} to {high}"
            )


def _granules(value: int, what: str, bus: Bus) -> int:
    if value % bus.granule_bytes:
        raise InputError(
            f"{what} of strides must be a multiple of {bus.granule_bytes}, not {value}"
        )
    return value // bus.granule_bytes


def _steps(loops: Sequence[Loop], strides: Sequence[int]) -> list[int]:
    """What each loop adds when it goes on: its stride, less the way of all inside of it."""
    steps, inside = [], 0
    for loop, stride in zip(loops, strides, strict=True):
        steps.append(stride - inside)
        inside += (loop.count - 1) * stride
    return steps


def _wrapped(value: int, bits: int, what: str) -> int:
    """A signed number as an unsigned one of `bits`."""
    half = 1 << bits - 1
    if not -half <= value < half:
        raise InputError(f"{what} must be from {-half} to {half - 1}, not {value}")
    return value % (1 << bits)
