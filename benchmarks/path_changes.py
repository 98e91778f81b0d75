# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Prints what changes of path cost on video: boxes that are kept, lost again, or invented.

python benchmarks/path_changes.py ../shared/data/video/vtest.avi --compute 0.5

Every frame runs on the full path, within the budget as video, and within the budget as an
unrelated image, which has no stamp: there the path changes as often as the budget asks. A box of
the full path with a score of 0.5 or more is kept if the run has a box of its class with an
IoU of 0.5 or more. A box of a run is lost if the next frame of the same run has none there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import click
import cv2

from mt_perception.evaluation.metrics.matching import box_overlaps
from mt_perception.pipeline import Pipeline
from mt_perception.planning.budget import Budget
from mt_perception.types import Detections, Frame

SURE, OVERLAP = 0.5, 0.5
PERIOD_NS = 100_000_000


@dataclass
class Tally:
    """What is counted for one run."""

    kept: int = 0
    lost: int = 0
    invented: int = 0
    macs: int = 0
    paths: list[str] = field(default_factory=list)
    last: Detections | None = None


def missing(sure: Detections, found: Detections) -> int:
    """Count boxes that have no box of their class near them."""
    near = box_overlaps(sure.boxes, found.boxes) >= OVERLAP
    near &= sure.class_ids[:, None] == found.class_ids[None]
    return int((~near.any(axis=1)).sum())


@click.command()
@click.argument('video', type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option('--model', default='cspnano', show_default=True)
@click.option('--compute', default=0.5, show_default=True)
@click.option('--frames', default=250, show_default=True)
@click.option('--label', default='sports ball', show_default=True, help='Class that is not there.')
def main(video: Path, model: str, compute: float, frames: int, label: str) -> None:
    """Compare a budget with and without hysteresis between paths on VIDEO."""
    runs = {
        'full': Pipeline.load(model),
        'video': Pipeline.load(model, budget=Budget(compute=compute)),
        'images': Pipeline.load(model, budget=Budget(compute=compute)),
    }
    tallies, capture, total = {name: Tally() for name in runs}, cv2.VideoCapture(str(video)), 0
    for number in range(1, frames + 1):
        there, image = capture.read()
        if not there:
            break
        sure = None
        for name, pipeline in runs.items():
            stamp_ns = 0 if name == 'images' else number * PERIOD_NS
            result = pipeline.run(Frame(image, stamp_ns=stamp_ns))
            found, tally = result.detections, tallies[name]
            assert found is not None
            sure = found.filter(min_score=SURE) if sure is None else sure
            tally.kept += len(sure) - missing(sure, found)
            tally.lost += 0 if tally.last is None else missing(tally.last, found)
            tally.last = found.filter(min_score=SURE)
            tally.invented += len(found.filter(labels=[label]))
            tally.macs += result.execution.macs
            tally.paths.append(result.execution.path)
        total += 0 if sure is None else len(sure)
    print(f'| run | MACs | changes of path | kept | lost | {label} |\n|---|---|---|---|---|---|')
    for name, tally in tallies.items():
        changes = sum(a != b for a, b in zip(tally.paths, tally.paths[1:], strict=False))
        print(
            f'| {name} | {tally.macs / tallies["full"].macs:.3f} | {changes} | '
            f'{tally.kept / max(1, total):.3f} | {tally.lost} | {tally.invented} |'
        )


if __name__ == '__main__':
    main()
