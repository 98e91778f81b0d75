# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Learn how to run the model on a picture and to read its three results.

python examples/picture.py street.jpg out.jpg
"""

from __future__ import annotations

import sys

import cv2
import numpy as np

from mt_perception import Pipeline


def main(picture: str, out: str) -> None:
    """Print what is in a picture and draw it."""
    image = cv2.imread(picture)
    if image is None:
        raise SystemExit(f'{picture} is no readable picture')
    pipeline = Pipeline.load('cspnano')
    result = pipeline.run(image)

    for detection in result.detections.filter(min_score=0.5):
        x0, y0, x1, y1 = detection.box.round().astype(int)
        # Depth has a metric scale only if the camera is known; NaN is unknown depth.
        depth = result.depth.depth[y0:y1, x0:x1]
        distance = np.nanmedian(depth) if np.isfinite(depth).any() else np.nan
        print(
            f'{detection.label} {detection.score:.2f} at ({x0}, {y0}), about {distance:.1f} m away'
        )

    ground = result.segmentation.mask('ground')
    print(f'{ground.mean():.0%} of the picture is ground')
    print(f'{result.execution.stage_ms["total"]:.0f} ms')
    cv2.imwrite(out, result.draw())


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:3])
