# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception inspect``: shows a model folder, checks all files and runs a frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mt_perception.cli.new_path import NewPath
from mt_perception.errors import ModelError, OptionError
from mt_perception.evaluation.output import write_new_text
from mt_perception.first_run import FirstRun, first_run
from mt_perception.model.folder import ModelFolder, file_problems, open_model, read_manifest
from mt_perception.model.graph_text import graph_dot, graph_mermaid, graph_text
from mt_perception.model.input_spec import InputSpec
from mt_perception.model.manifest import Manifest
from mt_perception.model.split import Cut
from mt_perception.model.task_graph import Block
from mt_perception.resources import find_model

SHOWN_LABELS = 12
_GRAPHS = {'.mmd': graph_mermaid, '.dot': graph_dot}


@click.command()
@click.argument('model', default='cspnano')
@click.option('--labels', is_flag=True, help='List every class.')
@click.option(
    '--graph',
    'graph_file',
    type=NewPath(dir_okay=False),
    metavar='FILE.mmd|.dot',
    help='Write the task graph in Mermaid (.mmd) or Graphviz (.dot).',
)
@click.option(
    '--image',
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='Image to run; warnings name suspicious results.',
)
def inspect(model: str, labels: bool, graph_file: Path | None, image: Path | None) -> None:
    """Show and check MODEL: the name of an installed model (default: cspnano), or a model folder.

    Compares every file with its checksum, loads every graph and runs a frame on every path, in a
    process with limits on time and memory. The perception node accepts a folder that passes.
    """
    if graph_file is not None and graph_file.suffix not in _GRAPHS:
        raise OptionError(f'--graph {graph_file}: expected a name that ends in .mmd or .dot')
    folder, run = _checked(find_model(model), image)
    manifest = folder.manifest
    console = Console()
    spec = manifest.input
    title = f'{manifest.name} {manifest.version}'
    console.print(f'[bold]{escape(title)}[/] ({escape(manifest.licence)})')
    console.print(escape(manifest.description))
    console.print(
        f'in {escape(str(folder.path))}\ninput: uint8 BGR, {_input(spec)}',
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
    console.print('[green]✓[/] all checksums match, all graphs load, and a frame runs')
    if image is not None:
        found = f'{run.total_ms:.0f} ms, {run.detections} detections'
        console.print(f'{escape(str(image))}: {found}', highlight=False)
    for warning in run.warnings:
        console.print(f'[yellow]warning:[/] {escape(warning)}', highlight=False)
    if graph_file is not None:
        text = _GRAPHS[graph_file.suffix](manifest.graph, title)
        first = text.splitlines()[0]
        write_new_text(graph_file, text, lambda old: old.startswith(f'{first}\n'))
        console.print(f'task graph written to {escape(str(graph_file))}', highlight=False)


def _checked(path: Path, image: Path | None) -> tuple[ModelFolder, FirstRun]:
    """The model and its first run.

    Raises:
        ModelError: The model is refused; the message lists all problems that were found.
    """
    manifest = read_manifest(path)
    problems = file_problems(path, manifest)
    run = FirstRun(())
    if not problems:
        run = first_run(path, image)
        problems += run.problems
    if problems:
        raise ModelError(*problems)
    return open_model(path), run


def _input(spec: InputSpec) -> str:
    """The sizes that a model accepts, in words."""
    if spec.fixed is not None:
        height, width = spec.fixed
        return f'always {width}x{height} px ({spec.fit})'
    sizes = f'{spec.min_size} to {spec.max_size}, multiples of {spec.multiple}'
    return f'long side {spec.size} px ({sizes})'


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
    others = [*paths.variants, *manifest.early_exit.gates.values()]
    others += [paths.policy.block] if paths.policy else []
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
            f'chosen by a policy of {policy.block.macs / 1e6:.2f} MMAC from the image at '
            f'{width}x{height}'
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
        'accuracy: AP, mIoU or AbsRel; '
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
