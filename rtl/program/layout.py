"""Where the tensors of a training step lie in memory. Addresses count FP16 elements.

    feature maps      [batch][y][x][channel]
    dense weights     [channel group][tap][channel of the large map][channel of the small map]
    compressed forms  [channel group][tap][N:M group][column][slot], as `forms` says
    weight gradients  as dense weights, or tap by tap in the order of the pruner's beats

The large map of an ordinary convolution is its input, of a transposed one its output.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nofm.kernels.compressed import Compressed
from nofm.kernels.pattern import Pattern
from nofm.rtl.program.load import Halves, compressed_halves, pack_kept
from nofm.rtl.program.sizes import BLOCK


@dataclass(frozen=True)
class FeatureMap:
    """A feature map in memory; a matrix is a map of `batch` rows, of one place each."""

    address: int
    batch: int
    height: int
    width: int
    channels: int

    @property
    def elements(self) -> int:
        """FP16 elements."""
        return self.batch * self.height * self.width * self.channels


@dataclass(frozen=True)
class Form:
    """A compressed form: rows of `columns` x N kept elements, for each tap and N:M group."""

    address: int
    pattern: Pattern
    columns: int

    @property
    def row(self) -> int:
        """FP16 words of a row."""
        return compressed_halves(self.columns * self.pattern.n, self.pattern.index_bits)

    def rows(self, taps: int, length: int) -> int:
        """FP16 words of a channel group's form."""
        return taps * self.pattern.groups(length) * self.row

    def columns_from(self, first: int, last: int) -> tuple[int, int, int]:
        """The whole blocks of a row that hold columns `first` to `last`, less one: their first
        kept element, their number of kept elements, and where in the row they begin."""
        n = self.pattern.n
        begin = first * n // BLOCK * BLOCK
        end = min(-(-last * n // BLOCK) * BLOCK, self.columns * n)
        return begin, end - begin, begin // BLOCK * (BLOCK + self.pattern.index_bits)


@dataclass(frozen=True)
class Beats:
    """The order in which a pruner takes a weight: groups of `group` rows, slots of `columns`."""

    group: int
    columns: int


@dataclass(frozen=True)
class Tensors:
    """Where a layer's tensors lie; what a stage does not need may be missing.

    Attributes:
        input, output: maps of activations; input_gradient, gradient: of their gradients.
        weight: address of the dense weights.
        along_large, along_small: addresses of the forms with groups along the channels of the
            large and of the small map: those of FF and of BP of an ordinary convolution.
        gradient_form: address of the gradient's form along positions, for a sparse WU.
        weight_gradient: address; in the order of `beats`, where given.
    """

    input: FeatureMap | None = None
    output: FeatureMap | None = None
    input_gradient: FeatureMap | None = None
    gradient: FeatureMap | None = None
    weight: int | None = None
    along_large: int | None = None
    along_small: int | None = None
    gradient_form: int | None = None
    weight_gradient: int | None = None
    beats: Beats | None = None


def pack_form(form: Compressed) -> Halves:
    """Compressed weights float16 [count, groups, N, n] as they lie in memory."""
    values = form.values.view(np.uint16)
    index = form.unshared().index
    bits = form.pattern.index_bits
    rows = [
        pack_kept(values[p, g].T.reshape(-1), index[p, g].T.reshape(-1), bits)
        for p in range(values.shape[0])
        for g in range(values.shape[1])
    ]
    return np.concatenate(rows)
