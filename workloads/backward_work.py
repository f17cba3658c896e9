"""Which gradient work of a recorded step belongs to which forward operator.

Autograd runs each forward operator's gradient in a node of its own, so nodes tie the two together.
Where a custom autograd function computes several products in one node, operands and sizes do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from nofm.workloads.aten_ops import ADDED
from nofm.workloads.step_events import Event, Operand

_VECTOR_PRODUCTS = frozenset({"mv", "addmv", "dot", "vdot"})  # their gradients use `mul` as well


@dataclass(frozen=True)
class Factors:
    """A product as `count` products of a first [m, k] by a second [k, n] matrix."""

    count: int
    m: int
    k: int
    n: int
    first: Operand
    second: Operand
    added: Operand | None


def factors(event: Event) -> Factors:
    """The operands and sizes of a product operator."""
    added = event.args[0] if event.op in ADDED else None
    first, second = event.args[1:3] if event.op in ADDED else event.args[:2]
    count = first.shape[0] if len(first.shape) == 3 else 1
    m = first.shape[-2] if len(first.shape) > 1 else 1
    n = second.shape[-1] if len(second.shape) > 1 else 1
    return Factors(count, m, first.shape[-1], n, first, second, added)


@dataclass
class BackwardWork:
    """What the backward pass does for one forward operator, as numbers of events.

    Attributes:
        first, second: the products that give the gradients of its first and second operand (data
            and weight of a convolution).
        bias: of a convolution's backward pass that sums the gradient of its bias.
        products: further products, such as recomputed ones.
        moves: everything else.
    """

    first: int | None = None
    second: int | None = None
    bias: int | None = None
    products: list[int] = field(default_factory=list)
    moves: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self != BackwardWork()


def backward_work(events: Sequence[Event]) -> dict[int, BackwardWork]:
    """The gradient work of every forward event, by the forward event's number."""
    forward = [index for index, event in enumerate(events) if not event.gradient]
    found = {index: BackwardWork() for index in forward}
    by_node = {events[index].node: index for index in forward if events[index].node is not None}
    by_function: dict[int, list[int]] = {}
    for index in forward:
        if (function := events[index].function) is not None:
            by_function.setdefault(function, []).append(index)
    owner = forward[-1] if forward else 0
    for index, event in enumerate(events):
        if not event.gradient:
            continue
        owners = [owner]  # a hook runs outside of any node: it goes with the work before it
        if event.node in by_node:
            owners = [by_node[event.node]]
        elif event.node in by_function:
            owners = by_function[event.node]
        elif event.node is not None:
            # A custom function without operators of its own: the next that was made.
            later = [node for node in by_node if node is not None and node > event.node]
            owners = [by_node[min(later)]] if later else owners
        owner = owners[-1]
        _assign(events, index, owners, found)
    return found


def _assign(
    events: Sequence[Event], index: int, owners: list[int], found: dict[int, BackwardWork]
) -> None:
    event = events[index]
    if event.work == "convolution_backward":
        free = [
            candidate
            for candidate in owners
            if events[candidate].work == "convolution"
            and found[candidate].first is None
            and found[candidate].second is None
        ]
        if not free:
            found[owners[-1]].products.append(index)
            return
        to_input, to_weight, to_bias = event.args[10]
        work = found[free[0]]
        work.first = index if to_input else None
        work.second = index if to_weight else None
        work.bias = index if to_bias else None
        return
    for candidate in owners:
        role = _role(events[candidate], event)
        work = found[candidate]
        if role in ("first", "either") and work.first is None:
            work.first = index
            return
        if role in ("second", "either") and work.second is None:
            work.second = index
            return
    work = found[owners[-1]]
    multiplies = event.work in ("product", "convolution", "unsupported")
    (work.products if multiplies else work.moves).append(index)


def _role(forward: Event, gradient: Event) -> str | None:
    """Whether a gradient event gives the gradient of a product's "first" or "second" operand.

    "either" where sizes and operands do not tell, as for the square of a matrix.
    """
    if forward.work != "product":
        return None
    of = factors(forward)
    used = {operand.storage for operand in gradient.operands}
    uses_first, uses_second = of.first.storage in used, of.second.storage in used
    if gradient.op == "mul" and forward.op in _VECTOR_PRODUCTS:
        return "first" if uses_second else "second" if uses_first else None
    if gradient.work != "product":
        return None
    by = factors(gradient)
    if by.count != of.count or sorted((by.m, by.k, by.n)) != sorted((of.m, of.k, of.n)):
        return None
    # dA reduces over n, dB over m.
    to_first, to_second = by.k == of.n, by.k == of.m
    if uses_first != uses_second:
        to_first, to_second = to_first and uses_second, to_second and uses_first
    if to_first and to_second and of.first.requires_grad != of.second.requires_grad:
        return "first" if of.first.requires_grad else "second"
    if to_first == to_second:
        return "either" if to_first else None
    return "first" if to_first else "second"
