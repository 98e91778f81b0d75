# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A picture of a task graph: what each block costs, and which tasks share it; SVG or text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from itertools import count

from mt_perception.model.task_graph import IMAGE, Block, TaskGraph

WIDTH, HEIGHT = 232, 56
COLUMN, ROW = WIDTH + 64, HEIGHT + 18
MARGIN, TOP = 20, 64
CHIP, LETTER = 10, 8

# Okabe and Ito's colours, which the colour-blind can tell apart too.
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#8c6d31')
SHARED, INK, PALE, BOX, PAPER = '#5a6270', '#1f2328', '#e8eaed', '#f8f9fa', 'white'


@dataclass(frozen=True)
class _Tree:
    """A graph as a tree: every block and task under the last block that it waits for.

    Attributes:
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


@dataclass(frozen=True)
class _Layout:
    """Where everything is, in columns and rows; tasks lie in the column behind all blocks."""

    blocks: dict[str, tuple[int, float]]
    tasks: dict[str, float]

    @property
    def columns(self) -> int:
        return 1 + max((column for column, _ in self.blocks.values()), default=0)

    @property
    def rows(self) -> float:
        return 1 + max([0, *self.tasks.values(), *(row for _, row in self.blocks.values())])


def _sources(block: Block) -> set[str]:
    """The blocks that a block reads from; IMAGE where it reads the image."""
    return {tensor.split('/')[0] for tensor in block.inputs.values()}


def graph_text(graph: TaskGraph) -> str:
    """The graph as a tree of lines: cost of each block, and who shares it."""
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


def graph_svg(graph: TaskGraph, title: str) -> str:
    """The graph as an SVG picture; hovering over a block tells what it reads and makes."""
    tree = _Tree.of(graph)
    layout = _laid_out(tree)
    colours = {task: COLOURS[number % len(COLOURS)] for number, task in enumerate(graph.tasks)}
    longest = max(map(len, [*graph.tasks, '']))
    width = 2 * MARGIN + layout.columns * COLUMN + 8 * longest
    height = TOP + MARGIN + layout.rows * ROW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif" font-size="12" '
        f'fill="{INK}">',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="{PAPER}"/>',
        _text(MARGIN, 28, title, 'font-size="16" font-weight="bold"'),
        _text(MARGIN, 46, _headline(graph), f'fill="{SHARED}"'),
        *_edges(tree, layout, colours),
    ]
    parts += [_box(tree, name, place, colours) for name, place in layout.blocks.items()]
    for task, row in layout.tasks.items():
        x, y = _corner(layout.columns, row)
        parts.append(f'<circle cx="{x}" cy="{y + HEIGHT / 2}" r="5" fill="{colours[task]}"/>')
        parts.append(_text(x + 10, y + HEIGHT / 2 + 4, task, 'font-weight="bold"'))
    return '\n'.join([*parts, '</svg>\n'])


def _laid_out(tree: _Tree) -> _Layout:
    """Tasks and dead ends have a row each; a block lies in the middle of what is under it."""
    layout = _Layout({}, {})
    free = count()

    def place(name: str, column: int) -> float:
        rows = [place(child, column + 1) for child in tree.children[name]]
        for task in tree.tasks[name]:
            layout.tasks[task] = float(next(free))
            rows.append(layout.tasks[task])
        row = (rows[0] + rows[-1]) / 2 if rows else float(next(free))
        layout.blocks[name] = (column, row)
        return row

    place(IMAGE, -1)
    del layout.blocks[IMAGE]
    return layout


def _corner(column: float, row: float) -> tuple[float, float]:
    return MARGIN + column * COLUMN, TOP + row * ROW


def _edges(tree: _Tree, layout: _Layout, colours: Mapping[str, str]) -> Iterator[str]:
    for name, block in tree.graph.blocks.items():
        colour = _colour(tree.served[name], colours)
        for source in sorted(_sources(block) - {IMAGE}):
            dashed = name not in tree.children[source]
            yield _edge(layout.blocks[source], layout.blocks[name], colour, dashed)
    for source, tasks in tree.tasks.items():
        for task in tasks if source != IMAGE else ():
            end = (layout.columns, layout.tasks[task])
            yield _edge(layout.blocks[source], end, colours[task], dashed=False)


def _edge(start: tuple[float, float], end: tuple[float, float], colour: str, dashed: bool) -> str:
    """A curve to the end's row, and along it; a dashed one runs between the rows, below boxes."""
    x0, y0 = _corner(*start)
    x1, y1 = _corner(*end)
    x0, y0, y1 = x0 + WIDTH, y0 + HEIGHT / 2, y1 + HEIGHT / 2
    gap = COLUMN - WIDTH
    if dashed:
        y = y1 + ROW / 2
        way = f'C{x0 + gap / 2} {y0} {x0 + gap / 2} {y} {x0 + gap} {y} L{x1 - gap} {y} '
        way += f'C{x1 - gap / 2} {y} {x1 - gap / 2} {y1} {x1} {y1}'
    else:
        way = f'C{x0 + gap / 2} {y0} {x0 + gap / 2} {y1} {x0 + gap} {y1} L{x1} {y1}'
    dashes = ' stroke-dasharray="4 4"' if dashed else ''
    return f'<path d="M{x0} {y0} {way}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'


def _box(tree: _Tree, name: str, place: tuple[int, float], colours: Mapping[str, str]) -> str:
    """One block: name, cost, a square for every task it serves, its part of all MACs as a bar."""
    x, y = _corner(*place)
    block, served = tree.graph.blocks[name], tree.served[name]
    total = sum(b.macs for b in tree.graph.blocks.values())
    part = block.macs / total if total else 0.0
    colour = _colour(served, colours)
    reads = ', '.join(block.inputs.values())
    made = ', '.join(map(block.tensor, block.outputs))
    chips = ''.join(
        f'<rect x="{x + WIDTH - 8 - (len(served) - number) * (CHIP + 2)}" y="{y + 8}" '
        f'width="{CHIP}" height="{CHIP}" fill="{colours[task]}"/>'
        for number, task in enumerate(served)
        if len(served) <= len(COLOURS)
    )
    if not chips:
        chips = _text(x + WIDTH - 8, y + 17, f'{len(served)} tasks', 'text-anchor="end"')
    dashes = ' stroke-dasharray="5 3"' if block.skippable else ''
    return (
        f'<g><title>{escape(f"{name}: reads {reads}; makes {made}")}</title>'
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{BOX}" '
        f'stroke="{colour}" stroke-width="1.5"{dashes}/>'
        f'<rect x="{x + 8}" y="{y + HEIGHT - 11}" width="{WIDTH - 16}" height="5" fill="{PALE}"/>'
        f'<rect x="{x + 8}" y="{y + HEIGHT - 11}" width="{part * (WIDTH - 16):.1f}" height="5" '
        f'fill="{colour}"/>'
        + _text(x + 8, y + 17, _fitting(name, len(served)), 'font-weight="bold"')
        + _text(x + 8, y + 35, f'{_cost(block)}, {part:.0%}', f'fill="{SHARED}"')
        + f'{chips}</g>'
    )


def _colour(served: tuple[str, ...], colours: Mapping[str, str]) -> str:
    return colours[served[0]] if len(served) == 1 else SHARED


def _fitting(name: str, chips: int) -> str:
    """A name, shortened where the squares leave no room for it."""
    room = (WIDTH - 24 - (chips if chips <= len(COLOURS) else 6) * (CHIP + 2)) // LETTER
    return name if len(name) <= room else f'{name[: room - 1]}…'


def _text(x: float, y: float, content: str, style: str) -> str:
    return f'<text x="{x}" y="{y}" {style}>{escape(content)}</text>'


def _headline(graph: TaskGraph) -> str:
    """What the whole graph costs, and what its tasks would cost as networks of their own."""
    blocks = graph.blocks.values()
    whole = Block('', {}, (), sum(b.macs for b in blocks), sum(b.parameters for b in blocks))
    apart = sum(block.macs for task in graph.tasks for block in graph.blocks_for([task]))
    ratio = f'; {whole.macs / apart:.2f} of the MACs of separate networks' if apart else ''
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
