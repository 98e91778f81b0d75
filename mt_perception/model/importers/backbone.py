# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Splits a network with several tasks into the backbone that they share and one head for each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import onnx


@dataclass(frozen=True, eq=False)
class Part:
    """A part of a network.

    Attributes:
        model: Its graph.
        nodes: Indices of its nodes in the whole network.
        inputs: Names of its inputs.
        outputs: Names of its outputs.
    """

    model: onnx.ModelProto
    nodes: tuple[int, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class SplitNetwork:
    """A backbone, and the head of each task that has nodes of its own."""

    backbone: Part
    heads: Mapping[str, Part]


def split_backbone(
    model: onnx.ModelProto, tasks: Mapping[str, Collection[str]]
) -> SplitNetwork | None:
    """Split a network at the tensors where its tasks part.

    Args:
        model: The network.
        tasks: Task → the outputs that it reads; at least two tasks.

    Returns:
        None if the tasks share no node, or the type of a tensor between the parts is unknown.
    """
    types = _types(model)
    reads = [tuple(_reads(node)) for node in model.graph.node]
    needed = {task: _ancestors(model, reads, outputs) for task, outputs in tasks.items()}
    shared = {
        index
        for nodes in needed.values()
        for index in nodes
        if sum(index in other for other in needed.values()) > 1
    }
    own = {task: nodes - shared for task, nodes in needed.items()}
    made = {name for index in shared for name in model.graph.node[index].output}
    read = {name for nodes in own.values() for index in nodes for name in reads[index]}
    wanted = {name for outputs in tasks.values() for name in outputs}
    between = sorted(made & (read | wanted))
    if not shared or not types.keys() >= set(between):
        return None
    graph_inputs = [value.name for value in model.graph.input]
    heads = {
        task: _part(model, types, reads, nodes, [*graph_inputs, *between], set(tasks[task]) - made)
        for task, nodes in own.items()
        if nodes
    }
    return SplitNetwork(_part(model, types, reads, shared, graph_inputs, between), heads)


def _types(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """Tensor → its type and shape, as far as they are known."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    return {value.name: value for value in values if value.type.tensor_type.elem_type}


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Tensors that a node reads, also from within its branches and loops."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        graphs = [*attribute.graphs, *([attribute.g] if attribute.HasField('g') else [])]
        for graph in graphs:
            for inner in graph.node:
                yield from _reads(inner)
            yield from (value.name for value in graph.output)


def _ancestors(
    model: onnx.ModelProto, reads: list[tuple[str, ...]], outputs: Iterable[str]
) -> set[int]:
    """Indices of the nodes that these outputs need."""
    maker = {name: i for i, node in enumerate(model.graph.node) for name in node.output if name}
    found: set[int] = set()
    stack = [maker[name] for name in outputs if name in maker]
    while stack:
        index = stack.pop()
        if index not in found:
            found.add(index)
            stack += [maker[name] for name in reads[index] if name in maker]
    return found


def _part(
    model: onnx.ModelProto,
    types: Mapping[str, onnx.ValueInfoProto],
    reads: list[tuple[str, ...]],
    nodes: Collection[int],
    inputs: Iterable[str],
    outputs: Iterable[str],
) -> Part:
    read = {name for index in nodes for name in reads[index]}
    used = [name for name in inputs if name in read]
    returned = sorted(outputs)
    order = sorted(nodes)
    part = onnx.ModelProto()
    part.CopyFrom(model)
    graph = part.graph
    weights = [tensor for tensor in model.graph.initializer if tensor.name in read]
    sparse = [tensor for tensor in model.graph.sparse_initializer if tensor.values.name in read]
    for field in ('node', 'initializer', 'sparse_initializer', 'input', 'output', 'value_info'):
        graph.ClearField(field)
    graph.node.extend(model.graph.node[index] for index in order)
    graph.initializer.extend(weights)
    graph.sparse_initializer.extend(sparse)
    graph.input.extend(types[name] for name in used)
    graph.output.extend(types[name] for name in returned)
    return Part(part, tuple(order), tuple(used), tuple(returned))
