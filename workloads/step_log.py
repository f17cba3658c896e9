"""Every ATen operator of one training step, recorded while a model runs on the meta device.

Nothing is computed: meta tensors have shapes and no elements. Each operator becomes an `Event`
that says which module called it, what it read and wrote, and, in the backward pass, which autograd
node ran it. `nofm.workloads.lowering` makes layers of them.

Two things are followed from operator to operator. *Where a tensor comes from* (`Origin`) tells
weights from activations, also when a weight is sliced, masked or normalised before use. *Autograd
sequence numbers* tie gradient work to the forward operator it belongs to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import is_dataclass, replace
from typing import Any

import torch
from torch._C._autograd import _get_sequence_nr
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from nofm.kernels.errors import InputError
from nofm.workloads import aten_ops
from nofm.workloads.fused_ops import StandIns
from nofm.workloads.layer import VectorKind
from nofm.workloads.step_events import Event, Operand, Origin, Parameter, StepLog, Work


def record(name: str, model: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> StepLog:
    """Run one training step of `model` on the meta device.

    The loss is any function of all output tensors; its own work is not recorded.

    Args:
        name: of the model, for errors.
        model: with all tensors on the meta device; gradients are cleared.
        inputs: meta tensors, the model's positional arguments.

    Raises:
        InputError: the model fails there, or no output depends on anything trainable.
    """
    recorder = _Recorder(model, inputs)
    model.zero_grad(set_to_none=True)
    with ExitStack() as stack:
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.device("meta"))
        # The other attention kernels hide their two products. (Torch 2.13 has only this one there.)
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(recorder.following_modules())
        stack.enter_context(StandIns(recorder.named))
        stack.enter_context(recorder)
        try:
            outputs = model(*inputs)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"model {name!r}: {recorder.where()} fails on the meta device: {one_line(error)}"
            ) from error
        roots = [output for output in _tensors(outputs) if output.requires_grad]
        if not roots:
            raise InputError(
                f"model {name!r}: a training step needs an output that depends on a trainable "
                "parameter, but none does"
            )
        try:
            torch.autograd.backward(roots, recorder.seeds(roots))
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"model {name!r}: its backward pass fails on the meta device: {one_line(error)}"
            ) from error
        finally:
            model.zero_grad(set_to_none=True)
    return recorder.log


def one_line(error: BaseException) -> str:
    """The first line of an error's text, with its type."""
    text = str(error).strip().split("\n")[0].strip()
    text = text if len(text) <= 200 else f"{text[:197]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _tensors(value: object) -> Iterator[torch.Tensor]:
    """The tensors in whatever a model returns, each once."""
    seen: set[int] = set()
    stack = [value]
    while stack:
        item = stack.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, torch.Tensor):
            yield item
        elif isinstance(item, Mapping):
            stack.extend(reversed(list(item.values())))
        elif isinstance(item, (list, tuple, set)):
            stack.extend(reversed(list(item)))
        elif (is_dataclass(item) or hasattr(item, "__dict__")) and not isinstance(item, type):
            stack.extend(reversed(list(vars(item).values())))


class _Recorder(TorchDispatchMode):
    """Appends every operator that runs under it to `log`."""

    def __init__(self, model: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._paths = {module: path for path, module in model.named_modules()}
        self.log = StepLog(
            modules=frozenset(self._paths.values()),
            leaves=frozenset(
                path
                for module, path in self._paths.items()
                if type(module).__module__.startswith("torch.nn.")
                and next(module.children(), None) is None
            ),
            parameters={
                name: Parameter(parameter.numel(), parameter.requires_grad)
                for name, parameter in model.named_parameters()
            },
        )
        self._stack: list[torch.nn.Module] = [model]
        self._origins: dict[int, Origin] = {}
        self._parameter_of: dict[int, str] = {}
        self._names = {id(parameter): name for name, parameter in model.named_parameters()}
        # Kept alive, so that no address is used twice.
        self._storages: list[torch.UntypedStorage] = []
        for name, parameter in model.named_parameters():
            self._parameter_of[self._storage(parameter)] = name
            self._mark(parameter, Origin(parameters=frozenset({name})))
        for tensor in inputs:
            self._mark(tensor, Origin(data=True))
        self._next_node = _get_sequence_nr()
        self._unclaimed: list[int] = []
        self._function: int | None = None
        self._name = ""

    def where(self) -> str:
        """The innermost module that runs, for an error."""
        module = self._stack[-1]
        path = self._paths.get(module, "")
        return f"module {path!r} ({type(module).__name__})" if path else "it"

    def seeds(self, roots: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Gradients of the outputs, as a loss would send them."""
        found = []
        for root in roots:
            seed = torch.empty(root.shape, dtype=root.dtype, device="meta")
            self._mark(seed, Origin(data=True, deep=True))
            found.append(seed)
        return found

    @contextmanager
    def following_modules(self) -> Iterator[None]:
        """Keep track of which module of the model runs."""

        def enter(module: torch.nn.Module, args: Any) -> None:
            if module in self._paths:
                self._stack.append(module)

        def leave(module: torch.nn.Module, args: Any, output: Any) -> None:
            if module in self._paths:
                self._stack.pop()

        handles = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def named(self, name: str) -> Iterator[None]:
        """Call the operators that run by another name."""
        self._name = name
        try:
            yield
        finally:
            self._name = ""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if not isinstance(func, torch._ops.OpOverload):
            raise InputError(f"{self.where()} uses the operator {func}, which cannot be recorded")
        name = aten_ops.plain_name(func._schema.name)
        if name == "detach":  # a view; autograd makes many, some before their operator's own event
            return func(*args, **kwargs)
        qualified = str(func.name())  # type: ignore[no-untyped-call]
        if torch._C._dispatch_has_kernel_for_dispatch_key(qualified, "CompositeImplicitAutograd"):
            # Such an operator comes whole only where autograd is off altogether (inference mode).
            with self:
                return func.decompose(*args, **kwargs)
        fresh = self._fresh_nodes()
        output = func(*args, **kwargs)
        inputs, outputs = _tensor_leaves((args, kwargs)), _tensor_leaves(output)
        differentiable = (
            name not in aten_ops.SHAPE_ONLY
            and any(tensor.requires_grad for tensor in inputs)
            and any(tensor.is_floating_point() for tensor in outputs)
        )
        node, function = self._claim_node(fresh, differentiable=differentiable)
        self._append(func, name, args, kwargs, inputs, outputs, node, function)
        return output

    def _fresh_nodes(self) -> list[int]:
        """Autograd nodes made since the last operator."""
        upcoming = _get_sequence_nr()
        fresh = list(range(self._next_node, upcoming))
        self._next_node = max(self._next_node, upcoming)
        return fresh

    def _claim_node(
        self, fresh: list[int], *, differentiable: bool
    ) -> tuple[int | None, int | None]:
        """The autograd node that belongs to the operator that ran, and its custom function's.

        Autograd makes an operator's node before it runs the operator, and numbers the nodes in
        turn. Now and then it runs another operator in between (a copy of what an in-place operator
        overwrites); then the number is still unclaimed when its own operator comes.

        A node that is made before an operator runs without gradients belongs to a custom function;
        or to the next operator, when hooks on saved tensors ran in between.
        """
        if not torch.is_grad_enabled():
            if fresh:
                self._function = fresh.pop()
                self._unclaimed += fresh
            return None, self._function
        function, self._function = self._function, None
        if fresh:
            self._unclaimed += fresh
            return self._unclaimed.pop(), None
        if not differentiable:
            self._function = function
            return None, None
        if function is not None:
            self._release(function)
            return function, None
        return (self._unclaimed.pop() if self._unclaimed else None), None

    def _release(self, function: int) -> None:
        """The latest operators did not run in a custom function after all."""
        events = self.log.events
        for index in range(len(events) - 1, -1, -1):
            if events[index].function != function:
                break
            events[index] = replace(events[index], function=None)

    def _append(
        self,
        func: Any,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: list[torch.Tensor],
        outputs: list[torch.Tensor],
        node: int | None,
        function: int | None,
    ) -> None:
        changed = _changed(func, name, args, kwargs)
        seen = {self._storage(tensor) for tensor in inputs}
        made = [tensor for tensor in outputs if self._storage(tensor) not in seen]
        if not (outputs or changed):
            return
        view = bool(inputs) and not made and not changed
        operands = [self._operand(tensor) for tensor in inputs]
        union = Origin()
        if name not in aten_ops.SHAPE_ONLY:
            for operand in operands:
                union |= operand.origin
        tags = [tag.name for tag in func.tags]
        work, kind = _classify(name, tags, view)
        if kind == "embedding" or (
            work in ("product", "convolution")
            and any(operand.origin.parameters for operand in operands)
        ):
            union |= Origin(deep=True)
        in_backward = torch._C._current_graph_task_id() != -1
        gradient = in_backward and not torch.is_grad_enabled()
        accumulated = ""
        if gradient:
            union |= Origin(data=True)
            node, accumulated = self._running_node()
        for tensor in made:
            self._mark(tensor, union)
        for tensor in changed:
            self._mark(tensor, self._origin(tensor) | union)
        written = sum(_distinct(tensor) for tensor in (*made, *changed))
        plain_args = tree_map_only(torch.Tensor, self._operand, args)
        self.log.events.append(
            Event(
                op=self._name or name,
                work=work,
                kind=kind,
                module=self._paths.get(self._stack[-1], ""),
                args=plain_args,
                operands=tuple(operands),
                reads=0
                if view
                else _reads(name, plain_args, operands, changed=bool(changed), written=written),
                writes=written,
                constant=union.constant,
                gradient=gradient,
                again=in_backward and not gradient,
                node=node,
                function=function,
                accumulated=accumulated,
            )
        )

    def _running_node(self) -> tuple[int | None, str]:
        """The autograd node that the backward pass is in, and the parameter if it ends there."""
        node = torch._C._current_autograd_node()
        if node is None:
            return None, ""
        variable = getattr(node, "variable", None)
        if isinstance(variable, torch.Tensor):
            return None, self._names.get(id(variable), "")
        return node._sequence_nr(), ""

    def _storage(self, tensor: torch.Tensor) -> int:
        return int(tensor.untyped_storage()._cdata)

    def _origin(self, tensor: torch.Tensor) -> Origin:
        return self._origins.get(self._storage(tensor), Origin())

    def _mark(self, tensor: torch.Tensor, origin: Origin) -> None:
        self._origins[self._storage(tensor)] = origin
        self._storages.append(tensor.untyped_storage())

    def _operand(self, tensor: torch.Tensor) -> Operand:
        storage = self._storage(tensor)
        return Operand(
            shape=tuple(tensor.shape),
            strides=tensor.stride(),
            offset=int(tensor.storage_offset()),
            elements=_distinct(tensor),
            storage=storage,
            origin=self._origins.get(storage, Origin()),
            requires_grad=tensor.requires_grad,
            complex=tensor.is_complex(),
            parameter=self._parameter_of.get(storage, ""),
        )


def _tensor_leaves(value: object) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _changed(
    func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[torch.Tensor]:
    """The tensor arguments that an operator writes to."""
    if name == "native_batch_norm" and args[aten_ops.BATCH_NORM_TRAINING[name]]:
        # Its running mean and variance, which its schema does not tell.
        return [arg for arg in args[3:5] if isinstance(arg, torch.Tensor)]
    if not func._schema.is_mutable:
        return []
    found: list[torch.Tensor] = []
    for index, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[index] if index < len(args) else kwargs.get(argument.name)
            found += _tensor_leaves(value)
    return found


def _classify(name: str, tags: list[str], view: bool) -> tuple[Work, VectorKind | None]:
    if name in aten_ops.PRODUCTS:
        return "product", None
    if name == aten_ops.CONVOLUTION:
        return "convolution", None
    if name == aten_ops.CONVOLUTION_BACKWARD:
        return "convolution_backward", None
    if view:
        return "view", None
    if aten_ops.is_unsupported_product(name):
        return "unsupported", None
    return "vector", aten_ops.vector_kind(name, tags)


def _distinct(tensor: torch.Tensor) -> int:
    """Elements of a tensor, those of an expanded or overlapping dimension once."""
    elements = math.prod(
        size
        for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
        if stride or not size
    )
    return int(min(elements, tensor.untyped_storage().nbytes() // tensor.element_size()))


def _reads(
    name: str, args: tuple[Any, ...], operands: list[Operand], *, changed: bool, written: int
) -> int:
    """Elements that an operator reads: each distinct tensor once, but for what the tables say."""
    if name in aten_ops.SHAPE_ONLY:
        return 0
    first = args[0] if args and isinstance(args[0], Operand) else None
    twice = [args[index] for index in aten_ops.TWO_PASSES.get(name, ())]
    training = aten_ops.BATCH_NORM_TRAINING.get(name)
    if training is not None and not args[training]:
        twice = []
    total = 0
    seen = set()
    for operand in operands:
        key = (operand.storage, operand.offset, operand.shape, operand.strides)
        if key in seen:
            continue
        seen.add(key)
        if operand == first:
            if changed and name in aten_ops.OVERWRITES:
                continue
            if name in aten_ops.GATHERS:
                total += min(written, operand.elements)
                continue
        total += operand.elements * (2 if operand in twice else 1)
    return total
