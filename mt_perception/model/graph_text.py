# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A task graph as text: a tree for the terminal, Mermaid or Graphviz source for a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mt_perception.model.task_graph import IMAGE, Block, TaskGraph


@dataclass(frozen=True)
class _Tree:
    """A graph as a tree: each block and task under the last block that it waits for.

    Attributes:
        graph: The graph.
        children: Block name, or IMAGE → the blocks under it.
        tasks: Block name, or IMAGE → the tasks under it.
        served: Block name → the tasks that need it.
    """

    graph: TaskGraph
    children: Mapping[str, list[str]]
    tasks: Mapping[str, list[str]]
    served: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, graph: TaskGraph) -> _Tree:
        order = {name: number for number, name in enumerate((IMAGE, *graph.blocks))}
        children: dict[str, list[str]] = {name: [] for name in order}
        tasks: dict[str, list[str]] = {name: [] for name in order}
        for name, block in graph.blocks.items():
            children[max(_sources(block), key=order.__getitem__, default=IMAGE)].append(name)
        for task, tensors in graph.tasks.items():
            makers = (tensor.split('/')[0] for tensor in tensors)
            tasks[max(makers, key=order.__getitem__, default=IMAGE)].append(task)
        needed = {task: {b.name for b in graph.blocks_for([task])} for task in graph.tasks}
        served = {
            name: tuple(task for task, names in needed.items() if name in names)
            for name in graph.blocks
        }
        return cls(graph, children, tasks, served)


def _sources(block: Block) -> set[str]:
    """The blocks that a block reads from; IMAGE where it reads the image."""
    return {tensor.split('/')[0] for tensor in block.inputs.values()}


def graph_text(graph: TaskGraph) -> str:
    """The graph as a tree of lines, with the cost of each block and the tasks that share it."""
    tree = _Tree.of(graph)
    return '\n'.join([_headline(graph), IMAGE, *_lines(tree, IMAGE, '')])


def _lines(tree: _Tree, name: str, indent: str) -> Iterator[str]:
    under = [(child, True) for child in tree.children[name]]
    under += [(task, False) for task in tree.tasks[name]]
    for number, (child, is_block) in enumerate(under):
        last = number == len(under) - 1
        branch, deeper = ('└── ', '    ') if last else ('├── ', '│   ')
        if not is_block:
            yield f'{indent}{branch}▸ {child}'
            continue
        block, served = tree.graph.blocks[child], tree.served[child]
        others = sorted(_sources(block) - {name})
        also = f'  also reads {", ".join(others)}' if others else ''
        shared = f'  shared by {", ".join(served)}' if len(served) > 1 else ''
        yield f'{indent}{branch}{child}  {_cost(block)}{also}{shared}'
        yield from _lines(tree, child, indent + deeper)


def graph_mermaid(graph: TaskGraph, title: str) -> str:
    """The graph as a Mermaid flowchart, which GitHub and most Markdown viewers draw.

    Args:
        graph: The graph.
        title: Title of the chart.
    """
    lines = ['---', f'title: "{_mermaid(title)}"', '---', 'flowchart LR']
    for node in _nodes(graph):
        left, right = ('([', '])') if node.is_end else ('[', ']')
        text = '<br/>'.join(map(_mermaid, node.lines))
        lines.append(f'  {node.name}{left}"{text}"{right}')
        if node.is_skippable:
            lines.append(f'  style {node.name} stroke-dasharray: 5 3')
    lines += [f'  {source} --> {end}' for source, end in _edges(graph)]
    return '\n'.join(lines) + '\n'


def graph_dot(graph: TaskGraph, title: str) -> str:
    """The graph in Graphviz's language, for ``dot -Tsvg``.

    Args:
        graph: The graph.
        title: Title of the picture.
    """
    lines = [
        'digraph {',
        f'  graph [rankdir=LR, labelloc=t, label="{_dot(title)}"];',
        '  node [shape=box, style=rounded, fontname="sans-serif"];',
    ]
    for node in _nodes(graph):
        shape = ', shape=oval' if node.is_end else ''
        style = ', style="rounded,dashed"' if node.is_skippable else ''
        text = '\\n'.join(map(_dot, node.lines))
        lines.append(f'  {node.name} [label="{text}"{shape}{style}];')
    lines += [f'  {source} -> {end};' for source, end in _edges(graph)]
    return '\n'.join([*lines, '}']) + '\n'


@dataclass(frozen=True)
class _Node:
    """The image, a block or a task: an identifier, the lines of its label, and its shape."""

    name: str
    lines: tuple[str, ...]
    is_end: bool = False
    is_skippable: bool = False


def _nodes(graph: TaskGraph) -> Iterator[_Node]:
    served = _Tree.of(graph).served
    total = sum(block.macs for block in graph.blocks.values()) or 1
    yield _Node(_block_name(graph, IMAGE), (IMAGE,), is_end=True)
    for name, block in graph.blocks.items():
        cost = f'{_cost(block)}, {block.macs / total:.0%}'
        lines = (name, cost, ', '.join(served[name]))
        yield _Node(_block_name(graph, name), lines, is_skippable=block.skippable)
    for number, task in enumerate(graph.tasks):
        yield _Node(f'task{number}', (task,), is_end=True)


def _edges(graph: TaskGraph) -> Iterator[tuple[str, str]]:
    for name, block in graph.blocks.items():
        for source in sorted(_sources(block)):
            yield _block_name(graph, source), _block_name(graph, name)
    for number, tensors in enumerate(graph.tasks.values()):
        for source in sorted({tensor.split('/')[0] for tensor in tensors}):
            yield _block_name(graph, source), f'task{number}'


def _block_name(graph: TaskGraph, name: str) -> str:
    """An identifier in both languages, whatever the manifest calls the block."""
    return IMAGE if name == IMAGE else f'block{list(graph.blocks).index(name)}'


def _mermaid(text: str) -> str:
    return ''.join(c if c.isalnum() or c in ' .,;:-_/%()' else f'#{ord(c)};' for c in text)


def _dot(text: str) -> str:
    return text.replace('\\', '\\\\').replace('"', '\\"')


def _headline(graph: TaskGraph) -> str:
    """Cost of the whole graph, and its ratio to that of a separate network for each task."""
    blocks = graph.blocks.values()
    whole = Block('', {}, (), sum(b.macs for b in blocks), sum(b.parameters for b in blocks))
    separate = sum(block.macs for task in graph.tasks for block in graph.blocks_for([task]))
    ratio = f'; {whole.macs / separate:.2f} of the MACs of separate networks' if separate else ''
    return f'{_cost(whole)}{ratio}'


def _cost(block: Block) -> str:
    macs, prefix = _short(block.macs)
    weights, thousands = _short(block.parameters)
    return f'{macs} {prefix}MAC, {weights} {thousands} weights'.replace('  ', ' ')


def _short(number: int) -> tuple[str, str]:
    """Three digits and a prefix: ``321``, ``M``."""
    for factor, prefix in ((10**9, 'G'), (10**6, 'M'), (10**3, 'k')):
        if number >= factor:
            return f'{float(f"{number / factor:.3g}"):g}', prefix
    return str(number), ''
