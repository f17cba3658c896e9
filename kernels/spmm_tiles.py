"""The compiled part of `kernels.spmm`: tiles of results in registers, and what feeds them.

Where Numba has no words for it, the code is written in LLVM's own language: `_tile` holds its
accumulators in vector registers whatever the compiler thinks of it. Tuples stand for their lengths,
which are a part of their type: compiled code is a different one for each, and Numba's cache, which
watches this one file, knows it. Addresses are integers; all sizes are checked by `kernels.spmm`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LINE_BYTES = 64
"""Of a cache line."""

AHEAD = 8
"""Rows that are fetched ahead where the next one lies on another page."""


def _word(value: int) -> Any:
    return ir.Constant(ir.IntType(64), value)


def _pointer(builder: Any, address: Any, offset: int, kind: Any) -> Any:
    return builder.inttoptr(builder.add(address, _word(offset)), kind.as_pointer())


def _declare(builder: Any, gives: Any, takes: Any, name: str) -> Any:
    """A function of LLVM itself."""
    insert: Any = cgutils.get_or_insert_function
    return insert(builder.module, ir.FunctionType(gives, takes), name)


def _emit_tile(
    typing: Any,
    rows: Any,
    vectors: Any,
    lanes: Any,
    panel: Any,
    places: Any,
    values: Any,
    count: Any,
    out: Any,
    more: Any,
) -> Any:
    """Add one block of the reduction to a tile of results.

    Arguments are addresses but `count`, the kept elements, at least one. `places` holds int32
    rows of `panel`; `values` float32 [count, rows]; `out` is float32 [rows, vectors x lanes]. It is
    written where `more` is 0, and added to otherwise.
    """
    height, width, lane = len(rows), len(vectors), len(lanes)
    row_bytes, vector_bytes = 4 * width * lane, 4 * lane

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        panel, places, values, count, out, more = arguments[3:]
        single, integer, word = ir.FloatType(), ir.IntType(32), ir.IntType(64)
        vector = ir.VectorType(single, lane)
        fma = _declare(builder, vector, [vector] * 3, f"llvm.fma.v{lane}f32")
        tile = [(row, i) for row in range(height) for i in range(width)]
        results = {
            (row, i): _pointer(builder, out, row * row_bytes + i * vector_bytes, vector)
            for row, i in tile
        }
        entry = builder.block
        loop, add, write, end = (
            builder.append_basic_block(name) for name in ("loop", "add", "write", "end")
        )
        builder.branch(loop)

        builder.position_at_end(loop)
        i = builder.phi(word)
        i.add_incoming(_word(0), entry)
        sums = {at: builder.phi(vector) for at in tile}
        for phi in sums.values():
            phi.add_incoming(ir.Constant(vector, [0.0] * lane), entry)
        place = builder.inttoptr(
            builder.add(places, builder.mul(i, _word(4))), integer.as_pointer()
        )
        row_number = builder.zext(builder.load(place, align=4), word)
        activations = builder.add(panel, builder.mul(row_number, _word(row_bytes)))
        weights = builder.add(values, builder.mul(i, _word(4 * height)))
        loaded = [
            builder.load(_pointer(builder, activations, vector_bytes * i, vector), align=4)
            for i in range(width)
        ]
        undefined = ir.Constant(vector, ir.Undefined)
        first = ir.Constant(ir.VectorType(integer, lane), [0] * lane)
        following = {}
        for row in range(height):
            weight = builder.load(_pointer(builder, weights, 4 * row, single), align=4)
            one = builder.insert_element(undefined, weight, ir.Constant(integer, 0))
            everywhere = builder.shuffle_vector(one, undefined, first)
            for v in range(width):
                arguments = [everywhere, loaded[v], sums[row, v]]
                following[row, v] = builder.call(fma, arguments)
        after = builder.add(i, _word(1))
        i.add_incoming(after, loop)
        for at in tile:
            sums[at].add_incoming(following[at], loop)
        left = builder.append_basic_block("left")
        builder.cbranch(builder.icmp_signed("<", after, count), loop, left)

        builder.position_at_end(left)
        builder.cbranch(builder.icmp_signed("!=", more, _word(0)), add, write)
        builder.position_at_end(add)
        for at in tile:
            total = builder.fadd(builder.load(results[at], align=4), following[at])
            builder.store(total, results[at], align=4)
        builder.branch(end)
        builder.position_at_end(write)
        for at in tile:
            builder.store(following[at], results[at], align=4)
        builder.branch(end)
        builder.position_at_end(end)
        return context.get_dummy_value()

    kinds = (types.intp,) * 6
    return types.void(rows, vectors, lanes, *kinds), codegen


_tile: Any = intrinsic(_emit_tile)


def _emit_copy(typing: Any, vectors: Any, lanes: Any, kind: Any, source: Any, target: Any) -> Any:
    """Copy vectors x lanes elements to singles; `kind` is a number of the source's type, where
    uint16 stands for the bits of halves. Both places are addresses."""
    width, lane = len(vectors), len(lanes)
    halves = kind == types.uint16

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, target = arguments[3:]
        vector = ir.VectorType(ir.FloatType(), lane)
        read = ir.VectorType(ir.HalfType(), lane) if halves else vector
        size = lane * (2 if halves else 4)
        loaded = [
            builder.load(_pointer(builder, source, size * i, read), align=size // lane)
            for i in range(width)
        ]
        for i, values in enumerate(loaded):
            wide = builder.fpext(values, vector) if halves else values
            builder.store(wide, _pointer(builder, target, 4 * lane * i, vector), align=4)
        return context.get_dummy_value()

    return types.void(vectors, lanes, kind, types.intp, types.intp), codegen


_copy: Any = intrinsic(_emit_copy)


def _emit_prefetch(
    typing: Any, address: Any, vectors: Any, lanes: Any, kind: Any, writing: Any
) -> Any:
    """Fetch the cache lines of vectors x lanes elements from an address on, to be read soon, or
    written."""
    size = len(vectors) * len(lanes) * (2 if kind == types.uint16 else 4)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = arguments[0]
        byte, integer = ir.IntType(8), ir.IntType(32)
        takes = [byte.as_pointer(), *[integer] * 3]
        fetch = _declare(builder, ir.VoidType(), takes, "llvm.prefetch.p0")
        write = signature.args[-1].literal_value
        for offset in range(0, size, LINE_BYTES):
            place = _pointer(builder, address, offset, byte)
            numbers = [ir.Constant(integer, number) for number in (int(write), 3, 1)]
            builder.call(fetch, [place, *numbers])
        return context.get_dummy_value()

    if not isinstance(writing, types.Literal):
        return None
    return types.void(address, vectors, lanes, kind, writing), codegen


_prefetch: Any = intrinsic(_emit_prefetch)


def _emit_single(typing: Any, element: Any) -> Any:
    """A single: the element itself, or the half whose bits it is."""
    halves = element == types.uint16

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (given,) = arguments
        if not halves:
            return given
        return builder.fpext(builder.bitcast(given, ir.HalfType()), ir.FloatType())

    return types.float32(element), codegen


_single: Any = intrinsic(_emit_single)


def _emit_transpose(
    typing: Any,
    lanes: Any,
    kind: Any,
    source: Any,
    source_step: Any,
    target: Any,
    target_step: Any,
) -> Any:
    """Transpose lanes x lanes elements to singles; addresses, and bytes from row to row."""
    lane = len(lanes)
    halves = kind == types.uint16

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, source_step, target, target_step = arguments[2:]
        vector = ir.VectorType(ir.FloatType(), lane)
        read = ir.VectorType(ir.HalfType(), lane) if halves else vector
        rows = []
        for i in range(lane):
            address = builder.add(source, builder.mul(source_step, _word(i)))
            loaded = builder.load(_pointer(builder, address, 0, read), align=2 if halves else 4)
            rows.append(builder.fpext(loaded, vector) if halves else loaded)
        # Interleaving the first half of the rows with the second, log2(lanes) times over, moves
        # each element to its transposed place.
        half = lane // 2
        number = ir.VectorType(ir.IntType(32), lane)
        low = ir.Constant(number, [i // 2 + i % 2 * lane for i in range(lane)])
        high = ir.Constant(number, [half + i // 2 + i % 2 * lane for i in range(lane)])
        for _ in range(half.bit_length()):
            rows = [
                builder.shuffle_vector(rows[i], rows[i + half], order)
                for i in range(half)
                for order in (low, high)
            ]
        for i, row in enumerate(rows):
            address = builder.add(target, builder.mul(target_step, _word(i)))
            builder.store(row, _pointer(builder, address, 0, vector), align=4)
        return context.get_dummy_value()

    return types.void(lanes, kind, *(types.intp,) * 4), codegen


_transpose: Any = intrinsic(_emit_transpose)


def _emit_take(typing: Any, counter: Any) -> Any:
    """The int64 at an address, which becomes one more: no two threads take the same."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _pointer(builder, arguments[0], 0, ir.IntType(64))
        return builder.atomic_rmw("add", place, _word(1), "monotonic")

    return types.int64(types.intp), codegen


_take: Any = intrinsic(_emit_take)


@njit(cache=True, nogil=True)
def product(
    tile_rows: Any,
    vectors: Any,
    lanes: Any,
    a: Any,
    by_rows: Any,
    values: Any,
    places: Any,
    edges: Any,
    kept: Any,
    tiles: Any,
    turn: Any,
    all_panels: Any,
    together: Any,
    singles: Any,
    parts: Any,
    masks: Any,
    n: Any,
    stretch: Any,
    panel_size: Any,
    result_size: Any,
    room: Any,
    out: Any,
) -> None:
    """The results of the panels and masks that no other thread takes.

    `turn` int64 [1] counts what is taken: `together` panels at a time, the last `singles` one at a
    time, with one of `parts` parts of the masks. The panels are packed, block by block of the
    reduction; then each stretch of weights is multiplied by one panel after the other.
    """
    height, wide = len(tile_rows), len(vectors) * len(lanes)
    m = out.shape[1] if not by_rows else out.shape[0]
    blocks = len(edges) - 1
    several = (all_panels - singles) // together
    # Addresses, and places in `room`.
    packed, result_place = room.ctypes.data, together * panel_size
    single_values = packed + 4 * (result_place + together * result_size)
    kind = values.dtype.type(0)
    halves = values.itemsize == 2

    while True:
        taken = _take(turn.ctypes.data)
        if taken >= parts * (several + singles):
            break
        part, nth_panels = taken // (several + singles), taken % (several + singles)
        first_mask, last_mask = masks * part // parts, masks * (part + 1) // parts
        first_panel, panels = nth_panels * together, together
        if nth_panels >= several:
            first_panel, panels = several * together + nth_panels - several, 1
        for block in range(blocks):
            start, length = edges[block], edges[block + 1] - edges[block]
            for panel in range(panels):
                left = (first_panel + panel) * wide
                columns = min(wide, m - left)
                base = panel * panel_size
                if by_rows:
                    _pack_rows(lanes, kind, a, left, columns, start, length, wide, room, base)
                elif columns < wide:
                    _pack_part(a, left, columns, start, length, wide, room, base)
            if not by_rows:
                whole = panels
                if (first_panel + panels) * wide > m:
                    whole -= 1
                for k in range(length):
                    source = a.ctypes.data + a.itemsize * ((start + k) * m + first_panel * wide)
                    target = packed + 4 * k * wide
                    ahead = a.itemsize * m * AHEAD if k + AHEAD < length else 0
                    for _ in range(whole):
                        _prefetch(source + ahead, vectors, lanes, kind, False)
                        _copy(vectors, lanes, kind, source, target)
                        source += a.itemsize * wide
                        target += 4 * panel_size
            count = kept[block + 1] - kept[block]
            place = places.ctypes.data + 4 * kept[block] * masks
            value = kept[block] * masks * tiles * height
            for mask in range(first_mask, last_mask, stretch):
                last = min(last_mask, mask + stretch)
                begin = value + mask * tiles * count * height
                weights = values.ctypes.data + 4 * begin
                if halves:
                    size = (last - mask) * tiles * count * height
                    _widen(lanes, kind, values, begin, size, single_values)
                    weights = single_values
                row = mask * tiles * height
                for panel in range(panels):
                    base = result_place + panel * result_size
                    if blocks > 1:
                        base += (row - first_mask * tiles * height) * wide
                    target, weight = room.ctypes.data + 4 * base, weights
                    for nth in range(mask, last):
                        for _ in range(tiles):
                            _tile(
                                tile_rows,
                                vectors,
                                lanes,
                                packed + 4 * panel * panel_size,
                                place + 4 * nth * count,
                                weight,
                                count,
                                target,
                                block,
                            )
                            weight += 4 * count * height
                            target += 4 * height * wide
                if block < blocks - 1:
                    continue
                base, rows = result_place, min(n, last * tiles * height) - row
                if blocks > 1:
                    base += (row - first_mask * tiles * height) * wide
                left = first_panel * wide
                columns = min(panels * wide, m - left)
                if by_rows:
                    for panel in range(panels):
                        _unpack_rows(
                            lanes,
                            out,
                            left + panel * wide,
                            min(wide, columns - panel * wide),
                            row,
                            rows,
                            wide,
                            room,
                            base + panel * result_size,
                        )
                else:
                    _unpack_columns(
                        vectors, lanes, out, left, columns, row, rows, result_size, room, base
                    )


@njit(cache=True, nogil=True)
def _pack_rows(
    lanes: Any,
    kind: Any,
    a: Any,
    left: Any,
    columns: Any,
    start: Any,
    length: Any,
    wide: Any,
    room: Any,
    base: Any,
) -> None:
    """A panel from samples in rows, a sample a column; columns past the last sample are 0."""
    lane = len(lanes)
    full, whole = columns // lane * lane, length // lane * lane
    step = a.itemsize * a.shape[1]
    for column in range(0, full, lane):
        source = a.ctypes.data + step * (left + column) + a.itemsize * start
        target = room.ctypes.data + 4 * (base + column)
        for k in range(0, whole, lane):
            _transpose(lanes, kind, source + a.itemsize * k, step, target + 4 * k * wide, 4 * wide)
    for column in range(columns):
        row = a[left + column]
        for k in range(whole if column < full else 0, length):
            room[base + k * wide + column] = _single(row[start + k])
    for column in range(columns, wide):
        for k in range(length):
            room[base + k * wide + column] = np.float32(0)


@njit(cache=True, nogil=True)
def _pack_part(
    a: Any, left: Any, columns: Any, start: Any, length: Any, wide: Any, room: Any, base: Any
) -> None:
    """The last panel of columns, which are fewer than it has."""
    for k in range(length):
        for column in range(columns):
            room[base + k * wide + column] = _single(a[start + k, left + column])
        for column in range(columns, wide):
            room[base + k * wide + column] = np.float32(0)


@njit(cache=True, nogil=True)
def _unpack_rows(
    lanes: Any,
    out: Any,
    left: Any,
    columns: Any,
    first: Any,
    rows: Any,
    wide: Any,
    room: Any,
    base: Any,
) -> None:
    """Results [rows, wide] to samples in rows."""
    lane = len(lanes)
    full, whole = columns // lane * lane, rows // lane * lane
    step = 4 * out.shape[1]
    for column in range(0, full, lane):
        source = room.ctypes.data + 4 * (base + column)
        target = out.ctypes.data + step * (left + column) + 4 * first
        for row in range(0, whole, lane):
            _transpose(
                lanes, np.float32(0), source + 4 * row * wide, 4 * wide, target + 4 * row, step
            )
    for column in range(columns):
        line = out[left + column]
        for row in range(whole if column < full else 0, rows):
            line[first + row] = room[base + row * wide + column]


@njit(cache=True, nogil=True)
def _unpack_columns(
    vectors: Any,
    lanes: Any,
    out: Any,
    left: Any,
    columns: Any,
    first: Any,
    rows: Any,
    result_size: Any,
    room: Any,
    base: Any,
) -> None:
    """Results of several panels, [rows, vectors x lanes] each, to samples in columns."""
    wide, m = len(vectors) * len(lanes), out.shape[1]
    whole = columns // wide
    for row in range(rows):
        source = room.ctypes.data + 4 * (base + row * wide)
        target = out.ctypes.data + 4 * ((first + row) * m + left)
        ahead = 4 * m * AHEAD if row + AHEAD < rows else 0
        for _ in range(whole):
            _prefetch(target + ahead, vectors, lanes, np.float32(0), True)
            _copy(vectors, lanes, np.float32(0), source, target)
            source += 4 * result_size
            target += 4 * wide
    for row in range(rows):
        for column in range(whole * wide, columns):
            place = base + whole * result_size + row * wide + column - whole * wide
            out[first + row, left + column] = room[place]


@njit(cache=True, nogil=True)
def _widen(lanes: Any, kind: Any, values: Any, first: Any, count: Any, target: Any) -> None:
    """Halves to singles at an address, whole vectors as long as there are any."""
    lane = len(lanes)
    whole = count // lane * lane
    source = values.ctypes.data + values.itemsize * first
    for i in range(0, whole, lane):
        _copy((0,), lanes, kind, source + values.itemsize * i, target + 4 * i)
    for i in range(whole, count):
        _copy((0,), (0,), kind, source + values.itemsize * i, target + 4 * i)
