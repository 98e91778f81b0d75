# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Learn how to read a ROS 1 or ROS 2 bag, with its camera, without ROS.

python examples/bag.py my_bag
python examples/bag.py my_bag /camera/image_raw
"""

from __future__ import annotations

import sys

import numpy as np

from mt_perception import Pipeline, open_source


def main(bag: str, topic: str | None = None) -> None:
    """Print the depth in the middle of every image of a bag."""
    pipeline = Pipeline.load('cspnano')
    with open_source(bag, topic) as source:
        for frame in source:
            result = pipeline.run(frame, tasks=['depth'])
            height, width = result.depth.depth.shape
            middle = result.depth.depth[height // 3 : -height // 3, width // 3 : -width // 3]
            known = middle[np.isfinite(middle)]
            metres = f'{np.median(known):.2f} m' if known.size else 'unknown'
            # Without a camera_info the pipeline assumes a typical lens.
            scale = 'assumed' if result.depth.assumed_intrinsics else 'calibrated'
            print(f'{frame.stamp_ns * 1e-9:.2f} s: {metres} ({scale} camera)')
        for reason, count in source.rejects.items():
            print(f'{count} images were skipped: {reason}')


if __name__ == '__main__':
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:3])
