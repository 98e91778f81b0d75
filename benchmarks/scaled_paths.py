# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A model folder with paths: its own, or else smaller inputs, which need no training."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml
from bench_pipeline import smooth_picture
from interleaved import medians_ms

from mt_perception.model.folder import read_manifest
from mt_perception.model.paths import FULL_PATH
from mt_perception.pipeline import Pipeline
from mt_perception.planning.budget import Budget
from mt_perception.types import Frame

SIDES = (0.85, 0.77, 0.62)


def model_with_paths(model: Path, folder: Path) -> Path:
    """The model, if it has paths; else a copy of it that also runs at smaller sizes.

    Args:
        model: A model folder.
        folder: Where a copy may be written.
    """
    manifest = read_manifest(model)
    if len(manifest.paths.choices) > 1:
        return model
    copy = folder / model.name
    shutil.copytree(model, copy)
    data = yaml.safe_load((copy / 'manifest.yaml').read_text(encoding='utf-8'))
    spec = manifest.input
    data['paths'] = []
    for scale in (1.0, *SIDES):
        side = spec.side(spec.size, scale)
        cost = (side / spec.size) ** 2
        data['paths'].append(
            {
                'name': 'full' if scale == 1 else f's{side}',
                'variants': [],
                'scale': scale,
                'relative_macs': cost,
                'relative_latency': cost,
                'accuracy': {},
            }
        )
    _write(copy, data)
    pipelines = {
        p['name']: Pipeline.load(copy, budget=Budget(path=p['name'])) for p in data['paths']
    }
    frame = Frame(smooth_picture(480, 640))
    ms = medians_ms({n: lambda p=p: p.run(frame) for n, p in pipelines.items()}, rounds=20)
    for path in data['paths']:
        path['relative_latency'] = min(1.0, ms[path['name']] / ms[FULL_PATH])
    _write(copy, data)
    return copy


def _write(folder: Path, data: object) -> None:
    text = yaml.safe_dump(data, sort_keys=False)
    (folder / 'manifest.yaml').write_text(text, encoding='utf-8')
