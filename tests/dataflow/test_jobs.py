"""The jobs of a training step: which there are, in what order, and what they move."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from nofm.dataflow.jobs import OTHER_PARAMETERS, Job, Matrix, Widths, jobs
from nofm.dataflow.methods import METHODS
from nofm.kernels.pattern import DENSE, Pattern
from nofm.workloads.layer import Convolution, Layer, Linear, MatMul, VectorWork
from nofm.workloads.trace import Trace

WIDTHS = Widths(operand=16, master=32)
P28 = Pattern(2, 8)  # 19 bits for a kept FP16 weight


def linear(name: str, **values: object) -> Linear:
    return Linear(**{"name": name, "batch": 4, "in_features": 40, "out_features": 24, **values})


def convolution(name: str, **values: object) -> Convolution:
    return Convolution(
        **{
            "name": name,
            "batch": 4,
            "in_channels": 16,
            "out_channels": 32,
            "size": (8, 8),
            "kernel": (3, 3),
            "stride": (1, 1),
            "padding": ((1, 1), (1, 1)),
            "dilation": (1, 1),
            **values,
        }
    )


NORM = VectorWork(
    name="norm",
    work="normalisation",
    batch=4,
    forward_reads=10,
    forward_writes=8,
    backward_reads=20,
    backward_writes=9,
    fixed_forward_reads=3,
    fixed_backward_writes=2,
)
RELU = VectorWork(name="relu", work="elementwise", batch=4, forward_reads=10, forward_writes=10)
FIRST = convolution("first", input_gradient=False)
SCORES = MatMul(name="scores", batch=4, count=2, m=5, k=6, n=7)


def step(
    *layers: Layer,
    method: str = "bdwp",
    pattern: Pattern = P28,
    pregeneration: bool = True,
    parameters: int = 0,
) -> tuple[Job, ...]:
    trace = Trace(name="net", batch=4, layers=layers, parameters=parameters)
    return jobs(
        trace,
        METHODS[method],
        pattern,
        widths=WIDTHS,
        pregeneration=pregeneration,
        fused=("elementwise",),
    )


def order(todo: tuple[Job, ...]) -> list[str]:
    return [f"{job.layer} {job.stage}" for job in todo]


def only(todo: tuple[Job, ...], layer: str, stage: str) -> Job:
    (found,) = [job for job in todo if (job.layer, job.stage) == (layer, stage)]
    return found


def test_order() -> None:
    todo = step(FIRST, NORM, RELU, SCORES, linear("fc"), parameters=77)
    assert order(todo) == [
        *("first ff", "norm ff", "scores ff", "fc ff"),
        *("fc bp", "fc wu", "fc update"),
        *("scores bp", "scores wu", "norm bp", "first wu", "first update"),
        f"{OTHER_PARAMETERS} update",
    ]
    assert [job.engine for job in todo] == [
        *("array", "vector", "array", "array"),
        *("array", "array", "wuve+sore"),
        *("array", "array", "vector", "array", "wuve+sore", "wuve"),
    ]


def test_order_without_pregeneration() -> None:
    todo = step(FIRST, linear("fc"), pregeneration=False)
    assert order(todo) == [
        *("first prune", "first ff", "fc prune", "fc ff"),
        *("fc prune", "fc bp", "fc wu", "fc update", "first wu", "first update"),
    ]
    assert {job.engine for job in todo if job.stage == "prune"} == {"sore"}
    assert {job.engine for job in todo if job.stage == "update"} == {"wuve"}


def test_gradients_are_pruned_in_every_step() -> None:
    """They exist only then: generating weights ahead changes nothing."""
    assert order(step(FIRST, linear("fc"), method="sdgp")) == [
        *("first ff", "fc ff", "fc prune", "fc bp", "fc wu", "fc update"),
        *("first wu", "first update"),
    ]
    assert order(step(linear("fc"), method="fst")) == [
        *("fc ff", "fc bp", "fc prune", "fc wu", "fc update")
    ]
    for name in ("sdgp", "dense"):
        ahead = step(FIRST, linear("fc"), NORM, method=name)
        assert ahead == step(FIRST, linear("fc"), NORM, method=name, pregeneration=False)


def test_vector_work_counts_what_moves_whatever_the_batch() -> None:
    todo = step(NORM)
    assert [(job.stage, job.elements, job.read_bits, job.written_bits) for job in todo] == [
        ("ff", 43, {"activation": 43 * 16}, {"activation": 32 * 16}),
        ("bp", 80, {"gradient": 80 * 16}, {"gradient": 38 * 16}),
    ]
    assert step(RELU) == ()
    assert len(step(replace(RELU, work="copy"))) == 1  # and no backward pass


# Bits of one weight that the update writes for the next step, beside its FP32 master. Of 40 x 24
# weights, 2:8 keeps 10 of 40 along Ci and 6 of 24 along Co; a kept one takes 16 + 3 bits.
FF, BP, WHOLE = 24 * 10 * 19, 40 * 6 * 19, 40 * 24 * 16


@pytest.mark.parametrize(
    ("method", "inner", "first"),
    [
        ("dense", WHOLE, WHOLE),
        ("srste", FF + WHOLE, FF),
        ("sdgp", WHOLE, WHOLE),
        ("sdwp", WHOLE + BP, WHOLE),
        ("bdwp", FF + BP, FF),
        ("transposable", FF + BP, FF),
        ("bimask", FF + BP, FF),
        ("pgf", FF + WHOLE, FF),
        ("fst", FF + BP, FF),
        ("sste", FF + WHOLE, FF),
        ("cast", WHOLE, WHOLE),
        ("asp", FF + WHOLE, FF),
        ("owl", FF + WHOLE, FF),
    ],
)
@pytest.mark.parametrize("is_first", [False, True])
def test_update_writes_what_the_next_step_reads(
    method: str, inner: int, first: int, is_first: bool
) -> None:
    """A first layer has no BP, so nothing is written for it."""
    layer = linear("fc", input_gradient=not is_first)
    update = only(step(layer, method=method), "fc", "update")
    masters, mask = 2 * 960 * 32, 960 if METHODS[method].stored_mask else 0
    assert update.elements == 960
    assert update.written_bits == {"optimizer": masters, "weight": first if is_first else inner}
    assert update.read_bits == {"weight_gradient": 960 * 16, "optimizer": masters + mask}
    forms = sum(METHODS[method].operand(stage) == "weight" for stage in ("ff", "bp"))
    if is_first:
        forms = min(forms, METHODS[method].ff == "weight")
    assert update.forms == (P28,) * forms
    assert update.engine == ("wuve+sore" if forms else "wuve")

    later = only(step(layer, method=method, pregeneration=False), "fc", "update")
    assert later.written_bits == {"optimizer": masters, "weight": WHOLE}
    assert later.read_bits == {"weight_gradient": 960 * 16, "optimizer": masters}
    assert (later.engine, later.forms) == ("wuve", ())


LAYERS = {
    "linear": linear("x"),
    "ragged": linear("x", in_features=21, out_features=13),
    "convolution": convolution("x"),
    "strided": convolution("x", stride=(2, 2)),
    "grouped": convolution("x", groups=4, in_channels=40, out_channels=72),
    "transposed": convolution("x", transposed=True, stride=(2, 2)),
    "patches": convolution("x", kernel=(2, 2), stride=(2, 2)),
}


def gradient_elements(layer: Layer) -> int:
    if isinstance(layer, Convolution):
        height, width = layer.output_size
        return layer.batch * layer.out_channels * height * width
    assert isinstance(layer, Linear)
    return layer.batch * layer.out_features


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("method", METHODS)
def test_the_pruner_writes_what_the_products_read(method: str, layer: Layer) -> None:
    """Read once, the sparse operand of a stage has the bits that were written for it."""
    todo = step(layer, method=method, pregeneration=False)
    for job, following in pairwise(todo):
        if job.stage != "prune":
            continue
        tensor = METHODS[method].operand(following.stage)
        (pattern,) = job.forms
        bits = sum(
            p.count * p.taps * p.pattern.kept(p.length) * p.n * (16 + pattern.index_bits)
            for p in following.products
        )
        if tensor == "gradient" and following.stage == "bp":
            # A gradient is stored once, and each of its elements read under several taps.
            assert job.elements == gradient_elements(layer)
            length = following.products[0].length
            bits = job.elements // length * pattern.kept(length) * (16 + pattern.index_bits)
        assert job.written_bits == {tensor: bits}
        assert job.read_bits[tensor] == job.elements * 16
        mask = METHODS[method].stored_mask and tensor == "weight"
        assert job.read_bits.get("optimizer", 0) == (job.elements if mask else 0)


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("pregeneration", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_matrices_that_pass_the_pruner(method: str, pregeneration: bool, layer: Layer) -> None:
    """Every element passes once, and the compressed forms that are written are the matrix's."""
    todo = step(layer, method=method, pregeneration=pregeneration)
    lengths = {job.stage: job.products[0].length for job in todo if job.products}
    for place, job in enumerate(todo):
        matrix = job.matrix
        if not job.forms:
            assert matrix == Matrix()
            continue
        assert matrix.taps * matrix.length * matrix.columns == job.elements
        assert set(job.forms) == {P28}
        runs = matrix.taps * matrix.columns
        bits = runs * P28.kept(matrix.length) * 19
        if job.stage == "prune":
            assert matrix.length == lengths[todo[place + 1].stage]
            assert bits == sum(job.written_bits.values())
        elif len(job.forms) == 2:
            assert (matrix.length, matrix.columns) == (lengths["ff"], lengths["bp"])
            bits += matrix.taps * matrix.length * P28.kept(matrix.columns) * 19
            assert job.written_bits["weight"] == bits
        else:
            (stage,) = (s for s in ("ff", "bp") if METHODS[method].operand(s) == "weight")
            assert matrix.length == lengths[stage]
            assert job.written_bits["weight"] == bits + 16 * job.elements


# Taps, rows of a run and columns: forward, backward, and both at once.
@pytest.mark.parametrize(
    ("name", "forward", "backward", "both"),
    [
        ("ragged", (1, 21, 13), (1, 13, 21), (1, 21, 13)),
        ("convolution", (9, 16, 32), (9, 32, 16), (9, 16, 32)),
        ("strided", (9, 16, 32), (9, 32, 16), (9, 16, 32)),
        ("grouped", (36, 10, 18), (36, 18, 10), (36, 10, 18)),
        ("transposed", (9, 16, 32), (9, 32, 16), (9, 16, 32)),
        # Windows do not overlap: the taps are columns of one product.
        ("patches", (4, 16, 32), (1, 32, 64), (4, 16, 32)),
    ],
)
def test_weights_as_they_pass_the_pruner(
    name: str, forward: tuple[int, ...], backward: tuple[int, ...], both: tuple[int, ...]
) -> None:
    def seen(stage: str, **values: object) -> list[tuple[int, ...]]:
        todo = step(LAYERS[name], **values)
        found = [job.matrix for job in todo if job.stage == stage]
        return [(matrix.taps, matrix.length, matrix.columns) for matrix in found]

    assert seen("update") == [both]
    assert seen("prune", pregeneration=False) == [forward, backward]
    assert seen("update", method="srste") == [forward]
    assert seen("update", method="sdwp") == [backward]


@pytest.mark.parametrize(
    ("name", "backward", "update"),
    [
        ("ragged", (1, 13, 4), (1, 4, 13)),
        ("convolution", (1, 32, 4 * 64), (1, 4 * 64, 32)),
        ("strided", (1, 32, 4 * 16), (1, 4 * 16, 32)),
        ("grouped", (4, 18, 4 * 64), (4, 4 * 64, 18)),
        ("transposed", (1, 32, 4 * 225), None),
    ],
)
def test_gradients_as_they_pass_the_pruner(
    name: str, backward: tuple[int, ...], update: tuple[int, ...] | None
) -> None:
    for method, wanted in (("sdgp", backward), ("fst", update)):
        todo = step(LAYERS[name], method=method)
        found = [job.matrix for job in todo if job.stage == "prune"]
        sizes = [(matrix.taps, matrix.length, matrix.columns) for matrix in found]
        assert sizes == ([] if wanted is None else [wanted])


@pytest.mark.parametrize("method", METHODS)
def test_the_pruner_makes_as_many_forms_ahead_as_later(method: str) -> None:
    layers = (FIRST, convolution("b", groups=16, out_channels=16), linear("c"), NORM)
    made = [
        sum((Counter({job.layer: len(job.forms)}) for job in todo), Counter())
        for todo in (
            step(*layers, method=method),
            step(*layers, method=method, pregeneration=False),
        )
    ]
    assert made[0] == made[1]


def test_a_transposed_convolution_prunes_its_output_gradient() -> None:
    layer = LAYERS["transposed"]
    prune = only(step(layer, method="sdgp"), "x", "prune")
    assert layer.output_size == (15, 15)
    assert prune.elements == 4 * 32 * 15 * 15
    assert "x prune" not in order(step(layer, method="fst"))  # WU reads it through the window


def test_shared_weights_are_updated_once_when_all_their_gradients_are_there() -> None:
    a = linear("a", weight="w", out_features=40, input_gradient=False)
    b = linear("b", weight="w", out_features=40)
    for pregeneration in (True, False):
        todo = step(a, NORM, b, pregeneration=pregeneration)
        updates = [job.layer for job in todo if job.stage == "update"]
        assert updates == ["a"]
        assert order(todo)[-1] == "a update"
        # Pruned once for each stage that reads it, however many layers do.
        assert sum(len(job.forms) for job in todo) == 2
    # The first layer has no BP, but another layer that shares its weight has.
    assert only(step(a, b), "a", "update").forms == (P28, P28)
    assert only(step(a), "a", "update").forms == (P28,)


def test_frozen_weights_are_not_updated() -> None:
    todo = step(linear("a"), linear("frozen", weight_gradient=False), linear("c"))
    assert "frozen wu" not in order(todo)
    assert "frozen update" not in order(todo)
    assert {"frozen ff", "frozen bp", "a update", "c update"} <= set(order(todo))


@pytest.mark.parametrize("method", METHODS)
def test_what_is_not_prunable_is_trained_dense(method: str) -> None:
    head = linear("head", prunable=False)
    assert step(head, method=method) == step(head, method="dense", pattern=DENSE)


@pytest.mark.parametrize("method", METHODS)
def test_dense_patterns_are_dense_training(method: str) -> None:
    layers = (FIRST, NORM, SCORES, linear("fc"))
    for pattern in (DENSE, Pattern(4, 4)):
        assert step(*layers, method=method, pattern=pattern) == step(*layers, method="dense")


def test_patterns_by_layer() -> None:
    def choose(layer: Layer) -> Pattern:
        return {"a": Pattern(1, 4), "b": DENSE}[layer.name]

    trace = Trace(name="net", batch=4, layers=(linear("a"), linear("b", in_features=24)))
    todo = jobs(trace, METHODS["bdwp"], choose, widths=WIDTHS)
    assert {product.pattern for product in only(todo, "a", "ff").products} == {Pattern(1, 4)}
    assert {product.pattern for product in only(todo, "b", "ff").products} == {DENSE}
    assert only(todo, "a", "update").forms == (Pattern(1, 4),) * 2
    assert only(todo, "b", "update").engine == "wuve"


def test_other_parameters() -> None:
    *_, last = step(linear("fc"), parameters=100)
    assert (last.layer, last.stage, last.engine) == (OTHER_PARAMETERS, "update", "wuve")
    assert last.elements == 100
    assert last.read_bits == {"weight_gradient": 1600, "optimizer": 6400}
    assert last.written_bits == {"optimizer": 6400, "weight": 1600}
