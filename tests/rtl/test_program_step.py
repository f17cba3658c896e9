"""Whole training steps as programs: the same bits as a step in NumPy, and losses like torch's."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nofm.chip_training import torch_losses
from nofm.dataflow.accelerator import load
from nofm.dataflow.methods import METHODS
from nofm.kernels.compressed import compress, prune
from nofm.kernels.errors import InputError
from nofm.kernels.optimizer import update
from nofm.kernels.pattern import Pattern
from nofm.rtl.program import networks
from nofm.rtl.program.encoding import decode_program, encode_program
from nofm.rtl.program.image import map_halves, map_values
from nofm.rtl.program.interpret import Chip
from nofm.rtl.program.layout import pack_form
from nofm.rtl.program.product import Target
from nofm.rtl.program.step import Operation, Parameters, Placed, Pool, TrainingStep, Weighted
from nofm.rtl.program.training import UPDATE, Example, GoldenMachine, loss_and_gradient, train
from nofm.workloads.layer import Convolution, Linear

Array = np.ndarray[Any, Any]
BY = UPDATE
SMALL = {"buffers.activation_kib": 4, "buffers.weight_kib": 2, "buffers.output_kib": 4}


BATCH = networks.BATCH


def linear(name: str, ci: int, co: int) -> Linear:
    return Linear(name=name, batch=BATCH, in_features=ci, out_features=co)


class Golden:
    """A training step directly on tensors: maps [batch, channels, y, x], FP16 in FP32 sums."""

    def __init__(self, step: TrainingStep, example: Example) -> None:
        self.step, self.method, self.pattern = step, step.method, step.pattern
        self.weights, self.biases = example.weights(step)
        self.momenta = {
            (kind, name): np.zeros_like(values)
            for kind, own in (("weight", self.weights), ("bias", self.biases))
            for name, values in own.items()
        }

    def half(self, each: Placed, stage: str) -> Array:
        """A layer's weight as a stage uses it, [co, ci, ky, kx]."""
        w = self.weights[each.layer.name].astype(np.float16)
        w = w.reshape(*w.shape[:2], *(w.shape[2:] or (1, 1)))
        operand = self.method.operand(stage)
        axis = 1 if stage == "ff" else 0
        if operand is None or not each.layer.prunable or w.shape[axis] <= self.pattern.n:
            return w
        return prune(w, self.pattern, axis)

    def geometry(self, each: Placed) -> tuple[int, int]:
        layer = each.layer
        if isinstance(layer, Convolution):
            return layer.stride[0], layer.padding[0][0]
        return 1, 0

    def taps(self, each: Placed, x: tuple[int, ...], y: tuple[int, ...]) -> Any:
        """Every tap with its places in the larger and in the smaller map."""
        stride, pad = self.geometry(each)
        kernel = self.half(each, "ff").shape[2:]
        for tap in itertools.product(*map(range, kernel)):
            own = []
            for d in range(2):
                small = np.arange(y[d])
                large = small * stride + tap[d] - pad
                real = (large >= 0) & (large < x[d])
                own.append((large[real], small[real]))
            yield tap, np.ix_(own[0][0], own[1][0]), np.ix_(own[0][1], own[1][1])

    def cut(self, each: Placed, stage: str, whole: int) -> int:
        lengths = {min(cut.tile_length, whole) for cut in self.step.cuts[each.layer.name, stage]}
        assert len(lengths) == 1
        return lengths.pop()

    def forward(self, x: Array) -> Array:
        """Keeps what every operation read and gave."""
        self.seen: list[tuple[Array, Array]] = []
        for each in self.step.placed:
            if isinstance(each.operation, Pool):
                y = self.pool(x, each.operation)
            else:
                if isinstance(each.layer, Linear):
                    x = np.moveaxis(x, 1, 3).reshape(BATCH, -1, 1, 1)
                y = self.product(each, x)
                bias = self.biases[each.layer.name].astype(np.float16)
                y = (y.astype(np.float32) + bias[:, None, None]).astype(np.float16)
                if each.operation.relu:
                    y = np.where(y > 0, y, np.float16(0))
            self.seen.append((x, y))
            x = y
        return x

    def product(self, each: Placed, x: Array) -> Array:
        w = self.half(each, "ff").astype(np.float32)
        wide = x.astype(np.float32)
        shape = (BATCH, w.shape[0], each.written.height, each.written.width)
        out = np.zeros(shape, np.float32)
        tile = self.cut(each, "ff", w.shape[1])
        for first in range(0, w.shape[1], tile):
            for tap, large, small in self.taps(each, x.shape[2:], shape[2:]):
                for c in range(first, min(first + tile, w.shape[1])):
                    by = w[:, c, tap[0], tap[1], None, None]
                    out[(..., *small)] += wide[:, c : c + 1][(..., *large)] * by
        return out.astype(np.float16)

    def windows(self, x: Array, size: int) -> Array:
        """[batch, channels, y, x, places of a window]."""
        b, c, h, w = (*x.shape[:2], x.shape[2] // size, x.shape[3] // size)
        cut = x[:, :, : h * size, : w * size].reshape(b, c, h, size, w, size)
        return cut.transpose(0, 1, 2, 4, 3, 5).reshape(b, c, h, w, size * size)

    def pool(self, x: Array, pool: Pool) -> Array:
        windows = self.windows(x, pool.size).astype(np.float32)
        if pool.kind == "largest":
            return windows.max(axis=-1).astype(np.float16)
        total = windows[..., 0]
        for k in range(1, pool.size**2):
            total = total + windows[..., k]
        return (total * np.float32(1 / pool.size**2)).astype(np.float16)

    def pool_backward(self, x: Array, y: Array, dy: Array, pool: Pool) -> Array:
        windows, count = self.windows(x, pool.size), pool.size**2
        if pool.kind == "average":
            given = (dy.astype(np.float32) * np.float32(1 / count)).astype(np.float16)
            given = np.repeat(given[..., None], count, axis=-1)
        else:
            place = (windows == y[..., None]).argmax(axis=-1)
            given = np.where(np.arange(count) == place[..., None], dy[..., None], np.float16(0))
        b, c, h, w, _ = given.shape
        out = np.zeros_like(x)
        size = pool.size
        spread = given.reshape(b, c, h, w, size, size).transpose(0, 1, 2, 4, 3, 5)
        out[:, :, : h * size, : w * size] = spread.reshape(b, c, h * size, w * size)
        return out

    def backward(self, dy: Array) -> None:
        for each, (x, y) in zip(self.step.placed[::-1], self.seen[::-1], strict=True):
            if dy.shape != y.shape:  # a linear layer's input, as the map that it is
                dy = np.moveaxis(dy.reshape(BATCH, *y.shape[2:], y.shape[1]), 3, 1)
            if isinstance(each.operation, Pool):
                dy = self.pool_backward(x, y, dy, each.operation)
                continue
            if each.operation.relu:
                dy = np.where(y > 0, dy, np.float16(0))
            dx = self.scatter(each, x, dy) if each.read_gradient is not None else dy
            gradients = {
                "bias": self.bias_gradient(dy),
                "weight": self.weight_gradient(each, x, dy),
            }
            for kind, own in (("weight", self.weights), ("bias", self.biases)):
                name = each.layer.name
                half = gradients[kind].reshape(own[name].shape)
                after = update(own[name], self.momenta[kind, name], half, BY)
                own[name], self.momenta[kind, name] = after.weights, after.momenta
            dy = dx

    def bias_gradient(self, dy: Array) -> Array:
        rows = np.moveaxis(dy, 1, 3).reshape(-1, dy.shape[1]).astype(np.float32)
        total = rows[0]
        for row in rows[1:]:
            total = total + row
        return total.astype(np.float16)

    def scatter(self, each: Placed, x: Array, dy: Array) -> Array:
        w, wide = self.half(each, "bp").astype(np.float32), dy.astype(np.float32)
        out = np.zeros(x.shape, np.float32)
        tile = self.cut(each, "bp", w.shape[0])
        for first in range(0, w.shape[0], tile):
            for tap, large, small in self.taps(each, x.shape[2:], dy.shape[2:]):
                for o in range(first, min(first + tile, w.shape[0])):
                    by = w[o, :, tap[0], tap[1], None, None]
                    out[(..., *large)] += wide[:, o : o + 1][(..., *small)] * by
        return out.astype(np.float16)

    def weight_gradient(self, each: Placed, x: Array, dy: Array) -> Array:
        wide, other = x.astype(np.float32), dy.astype(np.float32)
        shape = self.half(each, "ff").shape
        out = np.zeros(shape, np.float32)
        q = np.moveaxis(other, 1, 0).reshape(shape[0], -1)
        for tap, large, small in self.taps(each, x.shape[2:], dy.shape[2:]):
            place = np.zeros((*x.shape[:2], *dy.shape[2:]), np.float32)
            place[(..., *small)] = wide[(..., *large)]
            p = np.moveaxis(place, 1, 0).reshape(shape[1], -1)
            for k in range(p.shape[1]):
                out[:, :, tap[0], tap[1]] += q[:, None, k] * p[None, :, k]
        return out.astype(np.float16)


def same_parameters(step: TrainingStep, golden: Golden, memory: Array) -> None:
    """Masters, momenta, FP16 weights and both forms in memory are the golden step's."""
    for each in step.placed:
        if each.weight is None or each.bias is None:
            continue
        name = each.layer.name
        w, v = golden.weights[name], golden.momenta["weight", name]

        def by_tap(values: Array) -> Array:
            return values.reshape(*values.shape[:2], -1).transpose(2, 1, 0)

        same(step.masters(memory, each.weight), by_tap(w).reshape(-1))
        same(step.momenta(memory, each.weight), by_tap(v).reshape(-1))
        same(step.masters(memory, each.bias), golden.biases[name])
        same(step.momenta(memory, each.bias), golden.momenta["bias", name])
        half = np.ascontiguousarray(by_tap(w.astype(np.float16)))
        same_halves(memory, each.bias, golden.biases[name].astype(np.float16))
        same_halves(memory, each.weight, half)
        for at, dense in (
            (each.weight.rows, half),
            (each.weight.columns, np.ascontiguousarray(half.swapaxes(1, 2))),
        ):
            if at is not None:
                form = pack_form(compress(dense[np.newaxis], step.pattern))
                same(memory[at : at + len(form)], form)


def same_halves(memory: Array, of: Parameters, want: Array) -> None:
    if of.halves is not None:
        same(memory[of.halves : of.halves + want.size], want.reshape(-1).view(np.uint16))


def same(got: Array, want: Array) -> None:
    assert got.dtype == want.dtype
    assert np.array_equal(got.view(np.uint8), np.ascontiguousarray(want).view(np.uint8))


def check(network: str, method: str, pattern: str, steps: int, **entries: Any) -> list[float]:
    """Train by programs and by the golden step; losses fall as torch's do."""
    accelerator = load("sat-4x4").with_values(**entries)
    example = Example(network, method, pattern, seed=5)
    step = example.step(accelerator)
    golden = Golden(step, example)
    memory = step.memory(golden.weights, golden.biases)
    same_parameters(step, golden, memory)
    form = step.target.format
    programs = [
        decode_program(form, encode_program(form, each)) for each in (step.forward, step.backward)
    ]
    x, labels = example.samples(step)
    losses = []
    for number in range(steps):
        at = step.input.address
        memory[at : at + x.size] = map_halves(step.input, x)
        chip = Chip(accelerator, memory, np.random.default_rng(number) if number % 2 else None)
        chip.run(programs[0])
        logits = map_values(step.output, memory)
        same(logits, golden.forward(x))
        loss, gradient = loss_and_gradient(logits, labels)
        at = step.loss_gradient.address
        memory[at : at + gradient.size] = map_halves(step.loss_gradient, gradient)
        chip.run(programs[1])
        golden.backward(gradient)
        same_parameters(step, golden, memory)
        losses.append(loss)
    hosted = train(GoldenMachine(step.target, step.elements), example, step, steps)
    assert [each.loss for each in hosted] == losses
    theirs = torch_losses(example, step, steps)
    assert np.allclose(losses, theirs, rtol=0.02, atol=0.02), (losses, theirs)
    return losses


@pytest.mark.parametrize("method", ["dense", "srste", "bdwp"])
def test_a_perceptron(method: str) -> None:
    """Two layers learn their batch in eleven steps, with the bits of the golden step in each."""
    losses = check("mlp", method, "2:4", 11)
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("network", ["cnn", "strided"])
def test_a_small_convolutional_network(network: str) -> None:
    """A step and another one on its memory, tiles cut to what little buffers hold."""
    losses = check(network, "bdwp", "2:4", 2, **SMALL)
    assert losses[1] < losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dense", "srste", "bdwp"])
@pytest.mark.parametrize("network", ["cnn", "strided"])
def test_eleven_steps_of_a_convolutional_network(network: str, method: str) -> None:
    losses = check(network, method, "2:8" if method == "bdwp" else "2:4", 11)
    assert losses[-1] < 0.6 * losses[0]


def test_what_cannot_be_placed() -> None:
    """One line says what does not fit."""
    target = Target(load("sat-4x4"))

    def refused(network: list[Operation], method: str = "bdwp") -> str:
        with pytest.raises(InputError) as found:
            TrainingStep(target, network, METHODS[method], Pattern(2, 8), BY)
        return str(found.value)

    assert refused([Pool(kind="average", size=2)]) == (
        "a network must begin with a layer, not with pooling"
    )
    first = Weighted(layer=linear("first", 24, 30))
    assert refused([first, Weighted(layer=linear("second", 31, 4))]) == (
        "layer 'second': its input must be what the operation before it gives, 6 x 1 x 1 x 30, "
        "not 6 x 1 x 1 x 31"
    )
    assert refused([first, Pool(kind="largest", size=2)]) == (
        "a window of pooling must fit the map of 1 x 1, not 2"
    )
    wide = Weighted(layer=linear("second", 30, 24))
    assert refused([first, wide], "srste") == (
        "layer 'second': a weight that is read both pruned and dense must have rows in whole "
        "groups of 8 and columns in whole beats of 4, not 30 x 24"
    )
    sdwp = [first, replace(wide, layer=linear("second", 30, 24))]
    assert refused(sdwp, "sdwp") == (
        "layer 'second': a form along columns alone is not made; method sdwp needs it"
    )
