"""A training step on the whole chip as RTL: the golden model's bits, and torch's loss beside it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nofm.dataflow.accelerator import Accelerator
from nofm.kernels.errors import InputError, positive, unknown
from nofm.verification import HIERARCHICAL, TOOLS, cache_folder

if TYPE_CHECKING:
    from nofm.chip_program import MemoryTime
    from nofm.rtl.program.step import Placed, TrainingStep
    from nofm.rtl.program.training import Example

Array = np.ndarray[Any, Any]

SCHEMA = "nofm.chip-training/1"

MOST_STEPS = 100
"""More would be simulated for hours."""

WATCHDOG_CYCLES = 20_000
PROGRAM_CYCLES = 5_000_000
"""A program that takes longer has gone wrong."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class StepVerdict:
    """One training step on the chip.

    Attributes:
        number: from 1 on.
        loss: of the RTL's logits, before the update.
        golden_loss, torch_loss: the same of the golden model, and of torch in FP32.
        bit_exact: whether all of memory is the golden model's after the step.
        differing: elements that are not.
        forward_cycles, backward_cycles: of both programs, counted by the chip.
        counters: all of its counters, both programs together.
        error: why the chip stopped, if it did.
    """

    number: int
    loss: float
    golden_loss: float
    torch_loss: float
    bit_exact: bool
    differing: int
    forward_cycles: int
    backward_cycles: int
    counters: Mapping[str, int]
    error: str = ""

    @property
    def cycles(self) -> int:
        """Of the whole step."""
        return self.forward_cycles + self.backward_cycles


@dataclass(frozen=True)
class TrainingVerdict:
    """A training run on the chip.

    Attributes:
        example: what trained.
        steps: one after the other; they end with the first one that has an error.
        tool: the RTL's simulator and its version.
        simulator_cycles: of a step's programs, forward and backward, as NofM's simulator says.
    """

    example: Example
    steps: tuple[StepVerdict, ...]
    tool: str
    simulator_cycles: Mapping[str, int]

    @property
    def equal(self) -> bool:
        """Whether every step's memory was the golden model's."""
        return all(step.bit_exact and not step.error for step in self.steps)


def simulator_cycles(step: TrainingStep, memory: MemoryTime) -> dict[str, int]:
    """What the simulator says of a step's programs, by program."""
    from nofm.chip_program import ProgramTime
    from nofm.rtl.program.training import program_at

    found = {}
    for name in ("forward", "backward"):
        program = ProgramTime(step.target, getattr(step, name), program_at(step))
        found[name] = program.run(memory)["cycles"]
    return found


def verify_training(
    accelerator: Accelerator,
    example: Example,
    steps: int = 1,
    *,
    tool: str = "auto",
    folder: Path | None = None,
    progress: Progress = lambda what, done, of: None,
) -> TrainingVerdict:
    """Train a small network on the chip's RTL, by the code that a host runs.

    Args:
        accelerator: the chip.
        example: network, method, pattern and random numbers.
        steps: how many, each from the last one's memory.
        tool: icarus, verilator, or auto.
        folder: where builds are kept; the user's cache, if not given.
        progress: told what is done now.

    Raises:
        InputError: what the chip cannot do, an unknown name, or a missing tool.
    """
    positive("steps", steps, at_most=MOST_STEPS)
    if tool not in TOOLS:
        raise unknown("simulator", tool, TOOLS)
    from nofm.chip_program import MemoryTime
    from nofm.rtl.chip.chip import Chip
    from nofm.rtl.hierarchy import emitted
    from nofm.rtl.program.training import GoldenMachine, train
    from nofm.rtl.tools.cocotb_runner import run

    step, memory = example.step(accelerator), MemoryTime.of(accelerator)
    chip = Chip(accelerator)
    progress("golden model", 0, 1)
    golden = list(train(GoldenMachine(step.target, step.elements), example, step, steps))
    theirs = torch_losses(example, step, steps)
    sources: dict[str, str] = {}
    known = {chip.module_name}
    for each in emitted(chip):
        sources[each.unit.module_name] = each.verilog
        known |= set(each.places)
        progress("Verilog", len(sources), len(known))
    progress("RTL", 0, 1)
    bus = chip.bus
    with tempfile.TemporaryDirectory(prefix="nofm-") as here:
        done = run(
            sources,
            chip.module_name,
            "nofm.rtl.bench.chip_training",
            folder=Path(here),
            builds=cache_folder() if folder is None else folder,
            tool="verilator" if tool == "auto" else tool,
            name=f"training-{os.getpid()}",
            hierarchical=HIERARCHICAL,
            optimized=False,
            arguments={
                "hardware": accelerator.to_toml(),
                "example": vars(example),
                "steps": steps,
                "memory": {
                    "latency": memory.latency,
                    "bandwidth": [memory.beats, memory.cycles],
                },
                "rules": {"burst_beats": bus.burst_beats, "outstanding": bus.outstanding},
                "limit": PROGRAM_CYCLES,
                "watchdog": WATCHDOG_CYCLES,
            },
        )
        verdicts = [
            _verdict(number, found, want, loss)
            for number, (found, want, loss) in enumerate(
                zip(done.results["steps"], golden, theirs, strict=False), 1
            )
        ]
    progress("RTL", 1, 1)
    simulated = simulator_cycles(step, memory)
    return TrainingVerdict(example, tuple(verdicts), f"{done.tool} {done.version}", simulated)


def _verdict(number: int, found: Mapping[str, Any], want: Any, torch_loss: float) -> StepVerdict:
    """What became of a step."""
    if "error" in found:
        nothing = {"loss": float("nan"), "forward": {}, "backward": {}}
        found = {**nothing, **found}
        differing = len(want.memory)
    else:
        memory = np.fromfile(found["memory"], np.uint16)
        differing = int((memory != want.memory).sum())
    forward, backward = found["forward"], found["backward"]
    return StepVerdict(
        number=number,
        loss=found["loss"],
        golden_loss=want.loss,
        torch_loss=torch_loss,
        bit_exact=differing == 0,
        differing=differing,
        forward_cycles=forward.get("cycles", 0),
        backward_cycles=backward.get("cycles", 0),
        counters={name: forward[name] + backward[name] for name in forward},
        error=found.get("error", ""),
    )


def to_json(verdict: TrainingVerdict, accelerator: Accelerator) -> dict[str, Any]:
    """What `nofm verify --network NAME --json` prints (docs/json.md)."""
    return {
        "schema": SCHEMA,
        **vars(verdict.example),
        "hardware": accelerator.to_document(),
        "tool": verdict.tool,
        "equal": verdict.equal,
        "simulator_cycles": dict(verdict.simulator_cycles),
        "steps": [{**vars(step), "cycles": step.cycles} for step in verdict.steps],
    }


def torch_losses(example: Example, step: TrainingStep, steps: int) -> list[float]:
    """The losses of the same training by torch in FP32, weights pruned as the method says.

    Raises:
        InputError: torch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise InputError("the Python package torch is not installed: pip install torch") from None
    rival = _Rival(example, step)
    x, labels = example.samples(step)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more of them cost more than layers so small
    try:
        return [rival.step(x, labels) for _ in range(steps)]
    finally:
        torch.set_num_threads(threads)


class _Rival:
    """Torch's training of an example."""

    def __init__(self, example: Example, step: TrainingStep) -> None:
        import torch

        self.placed: Sequence[Placed] = step.placed
        self.method, self.pattern = step.method, step.pattern
        self.parameters = {
            kind: {name: torch.tensor(values, requires_grad=True) for name, values in own.items()}
            for kind, own in zip(("weight", "bias"), example.weights(step), strict=True)
        }
        every = [each for own in self.parameters.values() for each in own.values()]
        by = step.by
        self.optimizer = torch.optim.SGD(
            every, lr=by.learning_rate, momentum=by.momentum, weight_decay=by.weight_decay
        )

    def masked(self, each: Placed, stage: str) -> Any:
        """The weight with a stage's mask, its gradient that of the whole weight."""
        import torch

        from nofm.kernels.compressed import prune

        w = self.parameters["weight"][each.layer.name]
        axis = 1 if stage == "ff" else 0
        operand = self.method.operand(stage)
        if operand is None or not each.layer.prunable or w.shape[axis] <= self.pattern.n:
            return w
        mask = torch.tensor(prune(w.detach().numpy(), self.pattern, axis) != 0)
        return w + (w * mask - w).detach()

    def layer(self, each: Placed, x: Any) -> Any:
        """Forward by one mask, the input's gradient by the other, the weight's dense."""
        from torch.nn import functional

        from nofm.workloads.layer import Convolution

        of = each.layer

        def apply(x: Any, w: Any) -> Any:
            if not isinstance(of, Convolution):
                return functional.linear(x, w)
            return functional.conv2d(x, w, None, of.stride, tuple(p for p, _ in of.padding))

        if not isinstance(of, Convolution):
            x = x.movedim(1, -1).flatten(1) if x.ndim == 4 else x
        forward, backward = self.masked(each, "ff"), self.masked(each, "bp")
        # Values of the first term; gradients of x from the second, of w from the third.
        y = apply(x, forward).detach()
        by_x, by_w = apply(x, backward.detach()), apply(x.detach(), forward)
        y = y + by_x - by_x.detach() + by_w - by_w.detach()
        bias = self.parameters["bias"][of.name]
        return y + (bias if y.ndim == 2 else bias[:, None, None])

    def step(self, x: Array, labels: Array) -> float:
        """One step; its loss before the update."""
        import torch
        from torch.nn import functional

        from nofm.rtl.program.step import Pool

        y = torch.tensor(x.astype(np.float32))
        for each in self.placed:
            operation = each.operation
            if isinstance(operation, Pool):
                largest = operation.kind == "largest"
                by = functional.max_pool2d if largest else functional.avg_pool2d
                y = by(y, operation.size)
            else:
                y = self.layer(each, y)
                y = y.relu() if operation.relu else y
        loss = functional.cross_entropy(y, torch.tensor(labels))
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return float(loss.detach())
