# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Learn how to measure the model on a bag, and to compare two settings.

python examples/evaluate_bag.py my_bag out
"""

from __future__ import annotations

import sys
from pathlib import Path

from mt_perception import Options
from mt_perception.evaluation.comparison import compare_runs
from mt_perception.evaluation.job import Job, run_job
from mt_perception.evaluation.predictor import RunSettings
from mt_perception.evaluation.runs import read_run
from mt_perception.resources import find_model


def main(bag: str, out: str) -> None:
    """Evaluate a bag with two input sizes, and test whether they differ."""
    model = str(find_model('cspnano'))
    runs = []
    for size in (416, 256):
        folder = Path(out) / str(size)
        # A score threshold of 0 keeps every detection, as average precision needs it.
        settings = RunSettings(Options(size=size, score_threshold=0.0))
        summary = run_job(Job(bag, model, folder, settings=settings))
        print(f'size {size}: {summary.counts["frames"]} frames')
        runs.append(read_run(folder))
    # A paired bootstrap over the frames: a difference within its interval is noise.
    for change in compare_runs(*runs).changes:
        print(f'{change.metric} {change.name}: {change.a:.3f} → {change.b:.3f}, {change.verdict}')


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:3])
