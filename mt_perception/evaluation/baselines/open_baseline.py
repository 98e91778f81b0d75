# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Opens a baseline by its specification, such as ``onnx:a.onnx+b.onnx:yolox``."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from mt_perception.errors import ModelError
from mt_perception.evaluation.baselines.baseline import Baseline, Net
from mt_perception.evaluation.baselines.labels import COCO, VOC, VOC_SHARED
from mt_perception.execution.options import Options
from mt_perception.pipeline import Pipeline
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION

PREFIX = 'onnx:'
_SEPARATOR = ':'
_ALIASES = {'deeplab': 'deeplab-tensorflow'}
"""Kinds by the names of earlier versions."""


def open_baseline(spec: str, options: Options | None = None, threads: int = 1) -> Baseline:
    """Import the networks of a baseline and open them.

    Args:
        spec: ``onnx:FILE[:KIND]``, several joined by ``+``; a kind is a name of
            ``mt_perception import --decode``, by default recognised. Class names lie beside a
            file as ``<file>.txt``; else they are COCO's, or Pascal VOC's for segmentation.
        options: Score threshold and number of detections.
        threads: Threads inside one operator; 0 lets ONNX Runtime use one per core.

    Raises:
        ModelError: A file cannot be read or run, or is of an unknown kind.
        ModuleNotFoundError: The package ``onnx`` is not installed.
    """
    if not spec.startswith(PREFIX) or len(spec) == len(PREFIX):
        raise ModelError(f'a baseline is given as onnx:FILE[:KIND][+FILE[:KIND]…], found {spec!r}')
    parts = spec.removeprefix(PREFIX).split('+')
    nets = [_open_net(part.removeprefix(PREFIX), options or Options(), threads) for part in parts]
    return Baseline(nets)


def _open_net(part: str, options: Options, threads: int) -> Net:
    # The package `onnx` is needed for baselines only.
    from mt_perception.model.importers.choice import AUTO, Card, Choice
    from mt_perception.model.importers.folder_writer import write_model_folder
    from mt_perception.model.importers.foreign_network import read_network
    from mt_perception.model.importers.import_plan import plan_task
    from mt_perception.model.importers.label_files import read_labels
    from mt_perception.model.importers.presets import PRESETS

    name, _, kind = part.rpartition(_SEPARATOR)
    kind = _ALIASES.get(kind, kind)
    if kind not in PRESETS:
        name, kind = part, AUTO
    file = Path(os.path.expanduser(name))
    network = read_network(file)
    task = PRESETS[kind].task if kind in PRESETS else _task([o.shape for o in network.outputs])
    known = {DETECTION: COCO, SEGMENTATION: VOC, DEPTH: ()}[task]
    beside = file.with_suffix('.txt')
    choice = Choice(
        task=task,
        path=file,
        labels=read_labels(beside) if beside.is_file() and task != DEPTH else known,
        decode=kind,
        depth_kind='inverse-relative',
    )
    planned = plan_task(choice, network, known)
    with tempfile.TemporaryDirectory() as folder:
        write_model_folder(Path(folder), [planned], Card('baseline'))
        pipeline = Pipeline.load(folder, options, threads=threads)
    labels = planned.choice.labels
    groups = VOC_SHARED if task == SEGMENTATION and labels == VOC else None
    macs = sum(block.macs for block in pipeline.manifest.graph.blocks.values())
    return Net(
        name=file.stem,
        kind=planned.preset,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        macs=macs or None,
        task=task,
        labels=labels if groups is None else tuple(groups),
        pipeline=pipeline,
        groups=groups,
    )


def _task(shapes: list[tuple[int, ...]]) -> str:
    """The task of a network without a given kind: maps have one channel or VOC's classes."""
    if len(shapes) == 1 and len(shapes[0]) == 4:
        _, second, _, last = shapes[0]
        if len(VOC) in (second, last):
            return SEGMENTATION
        if second == 1:
            return DEPTH
    return DETECTION
