# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception condition``: how often a conditional task runs, and what that saves."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import click
from rich.console import Console

from mt_perception.cli.shared_options import COUNT
from mt_perception.errors import OptionError
from mt_perception.evaluation.condition_rate import (
    ConditionRate,
    condition_rate,
    detected_labels,
    recorded_labels,
)
from mt_perception.evaluation.records import FRAMES_FILE
from mt_perception.execution.options import Options
from mt_perception.model.folder import open_model
from mt_perception.model.manifest import Manifest
from mt_perception.pipeline import Pipeline
from mt_perception.planning.conditions import (
    TaskCondition,
    check_conditions,
    parse_condition,
    saved_macs,
    task_order,
)
from mt_perception.resources import find_model
from mt_perception.sources import open_source
from mt_perception.types import DETECTION


@click.command()
@click.argument('rule')
@click.argument('source')
@click.option('--model', default='cspnano', help='Installed model or model folder.')
@click.option('--score', default=Options.score_threshold, help='Score threshold of detections.')
@click.option('--topic', help='Image topic of a bag.')
@click.option('--limit', type=COUNT, default=0, help='Number of frames; 0: all.')
def condition(
    rule: str, source: str, model: str, score: float, topic: str | None, limit: int
) -> None:
    """Estimate how often RULE holds on SOURCE, and print the saving.

    RULE is a condition such as "segmentation if detection finds person or dog". SOURCE is a bag,
    a video, a folder of images, or a folder of `run --jsonl` or `evaluate`. The printed rule with
    its probability is valid for `--condition` and the node's parameter `tasks.conditions`.
    """
    wanted = parse_condition(rule)
    folder = find_model(model)
    manifest = open_model(folder).manifest
    check_conditions((rule,), manifest.tasks)
    console = Console(soft_wrap=True, highlight=False)
    if os.path.isdir(source) and any(Path(source).rglob(FRAMES_FILE)):
        if wanted.on != DETECTION:
            raise OptionError(
                f'records have results of {DETECTION}, not of {wanted.on}; name a bag or a video'
            )
        rate = condition_rate(wanted, recorded_labels(Path(source), score))
    else:
        with open_source(source, topic, None) as frames, console.status(f'running {wanted.on}'):
            pipeline = Pipeline.load(folder, Options(score_threshold=score))
            found = detected_labels(pipeline, islice(frames, limit or None), wanted.on)
            rate = condition_rate(wanted, found)
    _print(console, rate, manifest)


def _print(console: Console, rate: ConditionRate, manifest: Manifest) -> None:
    low, high = rate.interval
    learned: TaskCondition = rate.rule
    console.print(
        f'it holds on {rate.held} of {rate.frames} frames: {learned.probability:.3f} '
        f'(95 %: {low:.3f} to {high:.3f})',
        markup=False,
    )
    console.print(str(learned), markup=False, style='bold')
    graph = manifest.graph
    saved = saved_macs(graph, {learned.task: learned})
    order = task_order(graph, frozenset(graph.tasks), (learned,))
    console.print(
        f'saves {saved:.1%} of the MACs of all tasks; order: {", ".join(order)}', markup=False
    )
