# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception models``: the installed models, their cost and accuracy, and which to use."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mt_perception.model.folder import read_manifest
from mt_perception.model.manifest import Manifest
from mt_perception.resources import find_model, list_models, share_folder

METRICS = {'ap': ('AP', True), 'miou': ('mIoU', True), 'abs_rel': ('AbsRel', False)}
"""Metric of a manifest → its name, and whether a higher value is better."""


@click.command()
def models() -> None:
    """List the installed models with their cost and accuracy, and say which to use.

    Accuracy is as the manifests state it; `mt_perception inspect MODEL` names the data.
    """
    console = Console()
    found = [read_manifest(find_model(name)) for name in list_models()]
    if not found:
        console.print(f'no model is installed in {escape(str(share_folder() / "models"))}')
        return
    for one in found:
        console.print(f'[bold]{escape(one.name)}[/]: {escape(one.description)}', highlight=False)
    console.print(_table(found))
    for sentence in advice(found):
        console.print(escape(sentence), highlight=False)
    console.print(
        'details: mt_perception inspect MODEL; use: --model MODEL or the parameter model',
        highlight=False,
    )


def advice(found: Sequence[Manifest]) -> list[str]:
    """Which of several models to use: the cheapest, the most accurate of each task, offloading."""
    if len(found) < 2:
        return []
    cheap, costly = min(found, key=_macs), max(found, key=_macs)
    lines = []
    if _macs(cheap) < _macs(costly):
        share = _macs(cheap) / _macs(costly)
        lines.append(f'least compute: {cheap.name} ({share:.2f} of the MACs of {costly.name})')
    for metric, (title, higher_is_better) in METRICS.items():
        values = {one.name: value for one in found if (value := _value(one, metric)) is not None}
        if len(set(values.values())) > 1:
            best = (max if higher_is_better else min)(values, key=lambda name: values[name])
            lines.append(f'best {title}: {best}')
    remote = [one.name for one in found if one.cut is not None]
    if 0 < len(remote) < len(found):
        lines.append(f'offloading: {", ".join(remote)} only')
    return lines


def _table(found: Sequence[Manifest]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column('model', no_wrap=True)
    for name in ('version', 'MMAC', *(title for title, _ in METRICS.values()), 'paths'):
        table.add_column(name, justify='right', no_wrap=True)
    table.add_column('offloads')
    for one in found:
        values = (_value(one, metric) for metric in METRICS)
        table.add_row(
            escape(one.name),
            escape(one.version),
            f'{_macs(one) / 1e6:.0f}',
            *('' if value is None else f'{value:.3f}' for value in values),
            str(len(one.paths.choices)),
            'no' if one.cut is None else 'yes',
        )
    return table


def _macs(manifest: Manifest) -> int:
    return sum(block.macs for block in manifest.graph.blocks.values())


def _value(manifest: Manifest, metric: str) -> float | None:
    """The first figure of a metric in a manifest."""
    return next((one.value for one in manifest.accuracy if one.metric == metric), None)
