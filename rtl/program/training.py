"""Training on a chip, as its host does it: the same lines for a board, for a simulation of the RTL
and for the golden model.

In each step the host writes the samples, runs the forward program, reads what the network gives,
writes the gradient of the loss, and runs the backward program, which updates all parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from nofm.dataflow.accelerator import Accelerator
from nofm.dataflow.methods import METHODS
from nofm.kernels.errors import InputError, positive, unknown
from nofm.kernels.optimizer import Sgd
from nofm.kernels.pattern import Pattern
from nofm.rtl.driver import Driver
from nofm.rtl.program.encoding import decode_program, encode_program
from nofm.rtl.program.image import map_halves, map_values
from nofm.rtl.program.interpret import Chip
from nofm.rtl.program.layout import FeatureMap
from nofm.rtl.program.networks import network
from nofm.rtl.program.product import Target
from nofm.rtl.program.relocate import PAGE, checked_base, relocated
from nofm.rtl.program.sizes import HALF_BYTES
from nofm.rtl.program.step import TrainingStep, Weighted
from nofm.workloads.layer import Convolution, Linear

Array = np.ndarray[Any, Any]

UPDATE = Sgd(learning_rate=0.1, momentum=0.9, weight_decay=1e-3)
"""Hyper-parameters of the examples."""

METHODS_HERE = ("dense", "srste", "bdwp")
"""Methods whose step a program does as a whole."""


class Machine(Protocol):
    """What runs programs on a memory. Addresses are in bytes."""

    def read(self, address: int, size: int) -> bytes:
        """Bytes of memory."""
        ...

    def write(self, address: int, data: bytes) -> None:
        """Write bytes of memory."""
        ...

    def run(self, program: bytes) -> Mapping[str, int]:
        """Run a program to its end; the chip's counters, if it has some."""
        ...


class DrivenMachine:
    """A chip behind its driver, wherever that is.

    Args:
        driver: of the chip.
        program_at: where programs go, in bytes.
        timeout_seconds: how long a program may take.
    """

    def __init__(self, driver: Driver, program_at: int, timeout_seconds: float = 10.0) -> None:
        self._driver, self._at, self._timeout = driver, program_at, timeout_seconds

    def read(self, address: int, size: int) -> bytes:
        """Bytes of memory."""
        return self._driver.board.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        """Write bytes of memory."""
        self._driver.board.write(address, data)

    def run(self, program: bytes) -> Mapping[str, int]:
        """Run a program to its end, and give the chip's counters."""
        return self._driver.run(program, self._at, self._timeout)


class GoldenMachine:
    """The golden model of a chip.

    Args:
        target: the chip.
        elements: FP16 elements of its memory.
        base: where that begins, in bytes; a multiple of 4096.

    Raises:
        InputError: no memory can be there.
    """

    def __init__(self, target: Target, elements: int, base: int = 0) -> None:
        self._target, self._base = target, checked_base(base, HALF_BYTES * elements)
        self.memory = np.zeros(elements, np.uint16)

    def read(self, address: int, size: int) -> bytes:
        """Bytes of memory."""
        first = self._place(address, size)
        return self.memory.view(np.uint8)[first : first + size].tobytes()

    def write(self, address: int, data: bytes) -> None:
        """Write bytes of memory."""
        first = self._place(address, len(data))
        self.memory.view(np.uint8)[first : first + len(data)] = np.frombuffer(data, np.uint8)

    def _place(self, address: int, size: int) -> int:
        """Where in memory that is."""
        first, held = address - self._base, self.memory.nbytes
        if not 0 <= first <= held - size:
            raise InputError(
                f"memory is from {self._base:#x} to {self._base + held:#x}, not {size} bytes at "
                f"{address:#x}"
            )
        return first

    def run(self, program: bytes) -> Mapping[str, int]:
        """Run a program to its end."""
        found = decode_program(self._target.format, program)
        Chip(self._target.accelerator, self.memory).run(relocated(found, -self._base))
        return {}


@dataclass(frozen=True)
class Example:
    """A training run that can be repeated: a network, how it is pruned, and the random numbers of
    its weights and samples.

    Attributes:
        network: one of `nofm.rtl.program.networks.NETWORKS`.
        method: one of `METHODS_HERE`.
        pattern: N:M of the layers that the method prunes.
        seed: of weights and samples.
    """

    network: str
    method: str
    pattern: str
    seed: int = 0

    def step(self, accelerator: Accelerator, base: int = 0) -> TrainingStep:
        """The programs of a step, for memory that begins at `base`, in bytes.

        Raises:
            InputError: an unknown name, or what the chip cannot do.
        """
        if self.method not in METHODS_HERE:
            raise unknown("method of a training step in RTL", self.method, METHODS_HERE)
        pattern = Pattern.parse(self.pattern)
        if self.method != "dense":
            accelerator.require_pattern(pattern)
        return TrainingStep(
            Target(accelerator),
            network(self.network),
            METHODS[self.method],
            pattern,
            UPDATE,
            base=base,
        )

    def weights(self, step: TrainingStep) -> tuple[dict[str, Array], dict[str, Array]]:
        """Weights and biases, float32 by layer's name, in torch's shapes."""
        rng = np.random.default_rng([self.seed, 0])
        weights: dict[str, Array] = {}
        biases: dict[str, Array] = {}
        for each in step.placed:
            if not isinstance(each.operation, Weighted):
                continue
            layer = each.layer
            if isinstance(layer, Linear):
                shape: tuple[int, ...] = (layer.out_features, layer.in_features)
            else:
                assert isinstance(layer, Convolution)
                shape = (layer.out_channels, layer.in_channels, *layer.kernel)
            scale = (2 / np.prod(shape[1:])) ** 0.5
            weights[layer.name] = (rng.standard_normal(shape) * scale).astype(np.float32)
            biases[layer.name] = np.zeros(shape[0], np.float32)
        return weights, biases

    def samples(self, step: TrainingStep) -> tuple[Array, Array]:
        """Samples, float16 [batch, channels, height, width], and labels, int64 [batch]."""
        rng = np.random.default_rng([self.seed, 1])
        to, out = step.input, step.output
        batch = out.batch * out.height * out.width
        x = rng.standard_normal((to.batch, to.channels, to.height, to.width))
        return x.astype(np.float16), np.arange(batch) % out.channels


def loss_and_gradient(logits: Array, labels: Array) -> tuple[float, Array]:
    """Cross entropy, and its gradient as the chip takes it.

    Args:
        logits: float16 [batch, classes, ...] with one place of a map.
        labels: int64 [batch].

    Returns:
        The mean over the batch, and float16 of the logits' shape.
    """
    wide = logits.reshape(len(labels), -1).astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    share = np.exp(wide) / np.exp(wide).sum(axis=1, keepdims=True)
    own = np.arange(len(labels)), labels
    loss = float(-np.log(share[own]).mean())
    share[own] -= 1
    return loss, (share / len(labels)).astype(np.float16).reshape(logits.shape)


@dataclass(frozen=True)
class Trained:
    """One step of a training run.

    Attributes:
        loss: before the update.
        forward, backward: the chip's counters of both programs.
        memory: all tensors after it, uint16.
    """

    loss: float
    forward: Mapping[str, int]
    backward: Mapping[str, int]
    memory: Array


def program_at(step: TrainingStep) -> int:
    """The address where programs can go, in bytes: a page of their own behind all tensors."""
    return step.base - (-step.elements * HALF_BYTES // PAGE) * PAGE


def memory_bytes(step: TrainingStep) -> int:
    """Bytes of memory that tensors and programs take, from the step's base on."""
    form = step.target.format
    longest = max(len(encode_program(form, each)) for each in (step.forward, step.backward))
    return program_at(step) - step.base + -(-longest // PAGE) * PAGE


def train(machine: Machine, example: Example, step: TrainingStep, steps: int) -> Iterator[Trained]:
    """Train from the example's weights on, the same samples in every step.

    Raises:
        InputError: fewer than one step.
    """
    positive("steps", steps)
    form = step.target.format
    forward, backward = (encode_program(form, each) for each in (step.forward, step.backward))
    machine.write(step.base, step.memory(*example.weights(step)).tobytes())
    x, labels = example.samples(step)
    output, gradient = step.output, step.loss_gradient

    def place(of: FeatureMap) -> int:
        return step.base + HALF_BYTES * of.address

    for _ in range(steps):
        machine.write(place(step.input), map_halves(step.input, x).tobytes())
        first = dict(machine.run(forward))
        given = machine.read(place(output), HALF_BYTES * output.elements)
        logits = map_values(replace(output, address=0), np.frombuffer(given, np.uint16))
        loss, back = loss_and_gradient(logits, labels)
        machine.write(place(gradient), map_halves(gradient, back).tobytes())
        second = dict(machine.run(backward))
        memory = np.frombuffer(machine.read(step.base, HALF_BYTES * step.elements), np.uint16)
        yield Trained(loss, first, second, memory)
