# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Learn how to limit the cost of frames, and what a budget changes.

python examples/budget.py film.mp4
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter

from mt_perception import Budget, Pipeline, open_source

BUDGETS = {
    'no budget': Budget(),
    'half of the compute': Budget(compute=0.5),
    'half of the compute, results up to 0.3 s old': Budget(compute=0.5, max_stale_ms=300),
    'always the smallest input': Budget(path='tiny'),
}


def main(film: str, frames: int = 60) -> None:
    """Run the same frames under several budgets and print their cost."""
    pipeline = Pipeline.load('cspnano')
    full = 0
    for name, budget in BUDGETS.items():
        pipeline.budget = budget
        # A video that starts again shares nothing with its last run: stamps went back.
        macs, paths = 0, Counter[str]()
        with open_source(film) as source:
            for frame in itertools.islice(source, int(frames)):
                execution = pipeline.run(frame).execution
                macs += execution.macs
                paths[execution.path] += 1
        full = full or macs
        chosen = ', '.join(f'{path} {count}' for path, count in paths.most_common())
        print(f'{name}: {macs / full:.2f} of the multiply-accumulates; paths: {chosen}')


if __name__ == '__main__':
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1])
