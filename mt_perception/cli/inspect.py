# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception inspect``: what a model folder offers, and whether it is sound."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mt_perception.errors import OutputError
from mt_perception.model.folder import ModelFolder, open_model
from mt_perception.model.graph_text import graph_svg, graph_text
from mt_perception.model.manifest import Manifest
from mt_perception.model.sessions import load_sessions
from mt_perception.model.split import Cut
from mt_perception.model.task_graph import Block
from mt_perception.resources import find_model

SHOWN_LABELS = 12
RASTERISER = 'rsvg-convert'


@click.command()
@click.argument('model', default='cspnano')
@click.option('--labels', is_flag=True, help='List every class.')
@click.option(
    '--graph',
    'picture',
    type=click.Path(dir_okay=False, path_type=Path),
    metavar='FILE.svg',
    help='Draw the task graph into an SVG file; or .png, by rsvg-convert.',
)
def inspect(model: str, labels: bool, picture: Path | None) -> None:
    """Show and check MODEL: the name of an installed model, or a model folder.

    Every file is read and compared with its checksum, and every graph is loaded; a folder that
    passes is one that the perception node takes.
    """
    folder = open_model(find_model(model))
    load_sessions(folder)
    manifest = folder.manifest
    console = Console()
    spec = manifest.input
    console.print(
        f'[bold]{manifest.name} {escape(manifest.version)}[/] ({escape(manifest.licence)})'
    )
    console.print(escape(manifest.description))
    console.print(
        f'in {escape(str(folder.path))}\n'
        f'input: uint8 BGR, long side {spec.size} px '
        f'({spec.min_size} to {spec.max_size}, multiples of {spec.multiple})',
        highlight=False,
    )
    console.print(_blocks(folder))
    console.print(_graph(manifest))
    console.print(f'{graph_text(manifest.graph)}\n', markup=False, highlight=False, soft_wrap=True)
    if len(manifest.paths.choices) > 1:
        console.print(_paths(manifest))
    if manifest.cut is not None:
        console.print(_cut(manifest.cut, list(manifest.tasks)))
    console.print(_tasks(manifest, labels))
    if manifest.accuracy:
        console.print(_accuracy(manifest))
    console.print('[green]✓[/] every file is as the manifest says, and every graph loads')
    if picture is not None:
        _draw(manifest, picture)
        console.print(f'the task graph is drawn in {escape(str(picture))}', highlight=False)


def _draw(manifest: Manifest, picture: Path) -> None:
    svg = graph_svg(manifest.graph, f'{manifest.name} {manifest.version}').encode()
    try:
        picture.write_bytes(_as_png(svg) if picture.suffix == '.png' else svg)
    except OSError as error:
        raise OutputError(f'{picture} cannot be written: {error.strerror}') from error


def _as_png(svg: bytes) -> bytes:
    """The picture in pixels, by librsvg's own tool: a package for this alone is not worth it."""
    tool = shutil.which(RASTERISER)
    if tool is None:
        raise OutputError(
            f'a PNG needs {RASTERISER}, which is not here; name an .svg file, or install it '
            '(apt install librsvg2-bin)'
        )
    return subprocess.run([tool, '--zoom=2'], input=svg, stdout=subprocess.PIPE, check=True).stdout


def _blocks(folder: ModelFolder) -> Table:
    manifest = folder.manifest
    height, width = manifest.reference_size
    table = _table(f'files ({width}x{height})', 'block', 'file')
    for name in ('MMAC', 'parameters', 'kB', 'sha256'):
        table.add_column(name, justify='right', no_wrap=True)
    blocks = manifest.graph.blocks
    for block in blocks.values():
        table.add_row(*_file(folder, block))
    table.add_section()
    table.add_row(
        'all',
        '',
        f'{sum(block.macs for block in blocks.values()) / 1e6:.0f}',
        f'{sum(block.parameters for block in blocks.values()):,}',
        f'{sum(len(folder.contents[name]) for name in blocks) / 1e3:.0f}',
        '',
    )
    paths = manifest.paths
    others = [*paths.variants, *([paths.policy.block] if paths.policy else [])]
    if others:
        table.add_section()
    for block in others:
        table.add_row(*_file(folder, block))
    return table


def _file(folder: ModelFolder, block: Block) -> tuple[str, ...]:
    """The row of one block's file."""
    file = folder.manifest.files[block.name]
    return (
        block.name,
        escape(str(file.path)),
        f'{block.macs / 1e6:.0f}',
        f'{block.parameters:,}',
        f'{len(folder.contents[block.name]) / 1e3:.0f}',
        f'{file.sha256[:6]}… [green]✓[/]',
    )


def _graph(manifest: Manifest) -> Table:
    table = _table('graph', 'block', 'reads', 'makes')
    for name, block in manifest.graph.blocks.items():
        made = ', '.join(block.tensor(output) for output in block.outputs)
        table.add_row(name, escape(', '.join(block.inputs.values())), escape(made))
    return table


def _paths(manifest: Manifest) -> Table:
    paths = manifest.paths
    table = _table('paths', 'path', 'other blocks')
    for name in ('size', 'MACs', 'time', *manifest.tasks):
        table.add_column(name, justify='right', no_wrap=True)
    spec = manifest.input
    for path in paths.choices:
        table.add_row(
            path.name,
            ', '.join(block.name for block in path.variants),
            str(spec.side(spec.size, path.scale)),
            f'{path.relative_macs:.2f}',
            f'{path.relative_latency:.2f}',
            *(f'{path.accuracy[t]:.3f}' if t in path.accuracy else '' for t in manifest.tasks),
        )
    policy = paths.policy
    if policy is not None:
        height, width = policy.size
        table.caption = (
            f'chosen by a policy of {policy.block.macs / 1e6:.2f} MMAC that looks at the image '
            f'at {width}x{height}'
        )
    return table


def _cut(cut: Cut, tasks: Sequence[str]) -> Table:
    table = _table('offload', 'rate')
    for name in ('bytes a frame', *tasks):
        table.add_column(name, justify='right', no_wrap=True)
    for number, rate in enumerate(cut.rates):
        found = (f'{rate.accuracy[t]:.3f}' if t in rate.accuracy else '' for t in tasks)
        table.add_row(str(number), f'{rate.payload_bytes:,}', *found)
    remote = sum(block.macs for block in cut.graph.blocks.values())
    table.caption = (
        f'{cut.encoder.macs / 1e6:.3g} MMAC on the robot, {remote / 1e9:.3g} GMAC on a remote host'
    )
    return table


def _tasks(manifest: Manifest, everything: bool) -> Table:
    table = _table('tasks', 'task', 'from', 'classes')
    for task in manifest.tasks.values():
        shown = task.labels if everything else task.labels[:SHOWN_LABELS]
        more = len(task.labels) - len(shown)
        classes = f'{len(task.labels)}: {", ".join(shown)}' if shown else ''
        table.add_row(
            task.name if task.name == task.kind else f'{task.name} ({task.kind})',
            escape(', '.join(dict.fromkeys(task.outputs.values()))),
            escape(classes) + (f' … and {more} more (--labels)' if more else ''),
        )
    return table


def _accuracy(manifest: Manifest) -> Table:
    table = _table('accuracy', 'task', 'metric', 'measured on')
    table.add_column('value', justify='right')
    for figure in manifest.accuracy:
        table.add_row(
            figure.task, escape(figure.metric), escape(figure.data), f'{figure.value:.3f}'
        )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify='left', title_style='bold', box=box.SIMPLE_HEAD)
    for number, name in enumerate(columns):
        table.add_column(name, overflow='fold', no_wrap=number == 0)
    return table
