# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Learn how to run one task only if another one finds something.

python examples/condition.py film.mp4
"""

from __future__ import annotations

import sys

from mt_perception import Options, Pipeline, open_source


def main(film: str) -> None:
    """Segment only the frames with a person."""
    condition = 'segmentation if detection finds person'
    pipeline = Pipeline.load('cspnano', Options(conditions=(condition,)))
    frames = segmented = 0
    with open_source(film) as source:
        for frame in source:
            # Detection decides, so it runs first even though it is not among the wanted tasks.
            result = pipeline.run(frame, tasks=['segmentation'])
            frames += 1
            segmented += result.segmentation is not None
    print(f'{segmented} of {frames} frames have a person and were segmented')


if __name__ == '__main__':
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1])
