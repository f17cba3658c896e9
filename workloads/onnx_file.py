"""ONNX models as traces: each operator becomes a layer, elements moved, or nothing.

Products are lowered or refused by name, never dropped. Other work is counted in elements moved,
from the sizes of its tensors. An ONNX file has no backward pass: docs/onnx.md says how this one
estimates what the backward pass moves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from nofm.kernels.errors import InputError, positive
from nofm.workloads.layer import Layer, Linear, MatMul, WeightLayer
from nofm.workloads.onnx_graph import OnnxGraph, OnnxNode, read
from nofm.workloads.onnx_products import PRODUCTS, lower, refusal
from nofm.workloads.onnx_vector import (
    FREE_OPERATORS,
    VECTOR_OPERATORS,
    bias_work,
    is_embedding,
    parameters,
    vector_work,
)
from nofm.workloads.trace import Trace

OTHER_PRODUCTS = re.compile(
    "attention|conv|dft|^det$|einsum|gemm|gru|(?<!quantize)linear|lstm|matmul|rnn|stft", re.I
)
"""Names of operators that hold products, beside those that are lowered."""

MAX_NAME = 200
"""Most characters of a layer's name."""
MAX_SHOWN = 3
"""Most nodes that a note names."""


def load(path: str | Path, batch: int | None = None) -> Trace:
    """Read an ONNX file as a trace of its training step.

    Sizes come from ONNX's shape inference; weights are not read, and external weight files are
    not needed. Every parameter is taken to be trained. Layers that no weight layer or embedding
    stands before stay dense, and so does the last one where it is a linear layer.

    Args:
        path: the file.
        batch: samples a step; where it is None, the file's batch, or 1 where it is open.

    Raises:
        InputError: the file is not an ONNX model, a size is open beyond the batch, a product
            cannot be lowered, or the batch is not positive.
    """
    if batch is not None:
        positive("batch", batch)
    graph = read(path)
    lowering = _Lowering(graph)
    for node in graph.nodes:
        lowering.lower(node)
    if not lowering.layers:
        raise InputError(f"{graph.name}: an ONNX graph needs at least one layer, not none")
    trace = Trace(
        name=Path(path).stem,
        batch=1,
        layers=lowering.finished(),
        source=f"ONNX file {graph.name}" + (f", {graph.producer}" if graph.producer else ""),
        notes=lowering.notes(),
        parameters=lowering.parameters(),
    )
    return trace.with_batch(batch or graph.batch or 1)


@dataclass(slots=True)
class _Lowering:
    """The layers of a graph so far.

    Attributes:
        trained: tensors that depend on a parameter: their gradient is needed.
        learned: tensors that depend on a weight layer or an embedding.
        fused: nodes that a layer before them has taken in.
        elements: of each parameter, by its name.
        odd: names of the nodes that something is to be said of, by what is said.
    """

    graph: OnnxGraph
    layers: list[Layer] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    trained: set[str] = field(default_factory=set)
    learned: set[str] = field(default_factory=set)
    fused: set[str] = field(default_factory=set)
    elements: dict[str, int] = field(default_factory=dict)
    odd: dict[str, list[str]] = field(default_factory=dict)

    def lower(self, node: OnnxNode) -> None:
        """Lower one node; those that its inputs come from were lowered before."""
        self._look_inside(node)
        if all(name in self.graph.constants for name in node.outputs):
            if node.operator in PRODUCTS:
                self.odd.setdefault("products of parameters alone are not counted", []).append(
                    node.name
                )
            return
        for known in (self.trained, self.learned):
            if any(name in known for name in node.inputs):
                known.update(name for name in node.outputs if name in self.graph.floats)
        if node.operator in PRODUCTS:
            self._product(node)
        elif node.operator not in FREE_OPERATORS and node.name not in self.fused:
            self._vector(node)

    def finished(self) -> tuple[Layer, ...]:
        """The layers; a last weight layer that is linear is the head, and stays dense."""
        weights = [i for i, layer in enumerate(self.layers) if isinstance(layer, WeightLayer)]
        if weights and isinstance(head := self.layers[weights[-1]], Linear):
            self.layers[weights[-1]] = replace(head, prunable=False)
        return tuple(self.layers)

    def notes(self) -> tuple[str, ...]:
        """What had to be assumed, one line each."""
        notes = [
            "an ONNX file has no backward pass: what it moves is estimated from the forward sizes",
            "an ONNX file does not say what is trained: every parameter is taken to be",
        ]
        if (batch := self.graph.batch) is not None:
            notes.append(
                f"the file fixes the batch at {batch}: sizes that it divides are taken to grow"
            )
        for text, names in self.odd.items():
            more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
            notes.append(f"{text}: {', '.join(names[:MAX_SHOWN])}{more}")
        return tuple(notes)

    def parameters(self) -> int:
        """Trained elements that are in no layer's weight."""
        weights = {layer.weight for layer in self.layers if isinstance(layer, WeightLayer)}
        return sum(count for name, count in self.elements.items() if name not in weights)

    def _look_inside(self, node: OnnxNode) -> None:
        """Refuse control flow with a product inside, for it would be lost."""
        for value in node.attributes.values():
            if isinstance(value, frozenset):
                for name in sorted(value):
                    if name in PRODUCTS or OTHER_PRODUCTS.search(name):
                        raise refusal(self.graph, node, f"holds a subgraph with {name}")

    def _unique(self, name: str) -> str:
        """`name`, with "#2", "#3" ... behind it where a layer has it."""
        candidate = name
        while candidate in self.names:
            self.names[name] += 1
            candidate = f"{name}#{self.names[name]}"
        self.names[candidate] = 1
        return candidate

    def _train(self, node: OnnxNode, names: Iterable[str]) -> None:
        """Count parameters that are no layer's weight."""
        for name in names:
            if self.graph.is_stored_parameter(name):
                parameter = self.graph.constants[name]
                self.elements[parameter] = self.graph.elements(node, parameter).fixed

    def _product(self, node: OnnxNode) -> None:
        product = lower(self.graph, node)
        layer: Layer
        if isinstance(product.layer, MatMul):
            layer = replace(
                product.layer,
                name=self._unique(node.name),
                input_gradient=product.first in self.trained,
                second_gradient=product.second in self.trained,
            )
        else:
            parameter = self.graph.constants[product.second]
            bias = product.bias or self._added_bias(node)
            self._train(node, [bias])
            layer = replace(
                product.layer,
                name=self._unique(_layer_name(parameter, node)),
                weight=parameter,
                bias=bool(bias),
                input_gradient=product.first in self.trained,
                prunable=product.first in self.learned,
            )
            for known in (self.trained, self.learned):
                known.update(node.outputs)
        self.layers.append(layer if product.grows else replace(layer, batched=False))
        if isinstance(layer, WeightLayer) and layer.bias:
            work = bias_work(self.graph, node)
            self.layers.append(replace(work, name=self._unique(f"{layer.name}.bias")))

    def _added_bias(self, node: OnnxNode) -> str:
        """The constant vector that the one user of a MatMul adds to it, "" where there is none."""
        users = self.graph.users.get(node.outputs[0], [])
        if node.operator != "MatMul" or len(users) != 1 or users[0].operator != "Add":
            return ""
        (add,) = users
        for name in add.inputs:
            if self.graph.is_parameter(name) and len(self.graph.shape(add, name)[0]) == 1:
                self.fused.add(add.name)
                return name
        return ""

    def _vector(self, node: OnnxNode) -> None:
        if node.operator not in VECTOR_OPERATORS:
            self._check_unknown(node)
        found = parameters(self.graph, node)
        embedding = is_embedding(self.graph, node)
        # A constant that is added to an input or scales it may be preprocessing: that alone
        # does not ask for a gradient.
        if embedding or (found and VECTOR_OPERATORS[node.operator][0] == "normalisation"):
            self.trained.update(node.outputs)
        if embedding:
            self.learned.update(node.outputs)
        if any(name in self.trained for name in node.outputs):
            self._train(node, found)
        work = vector_work(self.graph, node, self.trained)
        self.layers.append(replace(work, name=self._unique(node.name)))

    def _check_unknown(self, node: OnnxNode) -> None:
        """Refuse an operator that may hold a product; note any other."""
        if OTHER_PRODUCTS.search(node.operator):
            raise refusal(self.graph, node, "is not among those that are")
        for name in node.inputs:
            if self.graph.is_parameter(name) and len(self.graph.shape(node, name)[0]) > 1:
                raise refusal(self.graph, node, "is not known, and has a weight")
        text = f"operator {node.operator} is not known and counted as elementwise"
        self.odd.setdefault(text, []).append(node.name)


def _layer_name(parameter: str, node: OnnxNode) -> str:
    """The module's path where the weight's name has it, or the node's name."""
    path = parameter.removesuffix(".weight")
    plain = path != parameter and path.isprintable() and 0 < len(path) <= MAX_NAME
    return path if plain else node.name
