# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Draws instances, obstacles and confidence of one image for ``docs/outputs.md``.

Usage: python tools/output_pictures.py --image FRAME [--only obstacles] [--focal-px 500]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.geometry.instances import instance_image
from mt_perception.geometry.obstacles import ObstacleOptions, fit_ground, obstacle_points
from mt_perception.image.read import read_image
from mt_perception.pipeline import Pipeline
from mt_perception.types import Frame, Intrinsics, Result

ROOT = Path(__file__).resolve().parent.parent
Picture = NDArray[np.uint8]
METRES, CELL_PX = 12.0, 32
"""Depth and half width of the view from above, and its scale in pixels per metre."""


def instances(image: Picture, result: Result) -> Picture:
    """The image with one colour for each instance."""
    assert result.detections is not None
    assert result.segmentation is not None
    values = instance_image(result.detections, result.segmentation, result.depth)
    picture = image // 2
    for index, value in enumerate(np.unique(values[values > 0]).tolist()):
        colour = np.array(PALETTE[index % len(PALETTE)], np.float32)
        mask = values == value
        picture[mask] = (0.5 * image[mask] + 0.5 * colour).astype(np.uint8)
    return picture


PALETTE = (
    (60, 76, 231), (219, 152, 52), (113, 204, 46), (15, 196, 241), (182, 89, 155), (156, 188, 26),
    (34, 126, 230), (80, 62, 44), (199, 195, 189),
)  # fmt: skip


def obstacles(image: Picture, result: Result) -> Picture:
    """The points in the image, and from above; red is near."""
    depth, classes = result.depth, result.segmentation
    assert depth is not None
    assert classes is not None
    ground = fit_ground(depth, classes)
    if ground is None:
        raise SystemExit('no ground is visible in this image')
    options = ObstacleOptions(max_range_m=METRES, stride=4)
    points = obstacle_points(depth, image, ground, classes, options)
    colours = cv2.applyColorMap(
        (255 - points['z'] / METRES * 255).astype(np.uint8)[:, None], cv2.COLORMAP_JET
    )[:, 0]
    picture, camera = image // 2, depth.intrinsics
    above = np.full((image.shape[0], int(METRES * CELL_PX), 3), 40, np.uint8)
    for point, colour in zip(points, colours.tolist(), strict=True):
        x, y, z = (float(point[axis]) for axis in 'xyz')
        u, v = x * camera.fx / z + camera.cx, y * camera.fy / z + camera.cy
        cv2.circle(picture, (round(u), round(v)), 2, colour, -1)
        column = round(above.shape[1] / 2 + x * CELL_PX)
        row = round(above.shape[0] - 1 - z * CELL_PX)
        cv2.circle(above, (column, row), 2, colour, -1)
    for metres in range(2, int(METRES), 2):
        row = round(above.shape[0] - 1 - metres * CELL_PX)
        cv2.line(above, (0, row), (above.shape[1], row), (90, 90, 90), 1)
        cv2.putText(above, f'{metres} m', (4, row - 4), 0, 0.4, (200, 200, 200), 1)
    return np.hstack((picture, above))


def confidence(image: Picture, result: Result) -> Picture | None:
    """The image beside its confidence, white where the class is certain; None without one."""
    if result.segmentation is None or result.segmentation.confidence is None:
        return None
    shades = cv2.cvtColor(result.segmentation.confidence, cv2.COLOR_GRAY2BGR)
    both = np.hstack((image, shades))
    return np.asarray(
        cv2.resize(both, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA), np.uint8
    )


DRAW = (instances, obstacles, confidence)


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--model', default='cspnano')
    parser.add_argument('--image', type=Path, required=True)
    parser.add_argument('--only', choices=[draw.__name__ for draw in DRAW])
    parser.add_argument('--focal-px', type=float, default=500.0)
    parser.add_argument('--out', type=Path, default=ROOT / 'docs' / 'images')
    arguments = parser.parse_args()
    image = read_image(arguments.image)
    height, width = image.shape[:2]
    focal = arguments.focal_px
    camera = Intrinsics(focal, focal, width / 2, height / 2, width, height)
    frame = Frame(image, intrinsics=camera)
    result = Pipeline.load(arguments.model).run(frame, confidence=True)
    arguments.out.mkdir(exist_ok=True)
    for draw in DRAW:
        if arguments.only not in (None, draw.__name__):
            continue
        picture = draw(image, result)
        if picture is None:
            print(f'{arguments.model} has no {draw.__name__}')
            continue
        path = arguments.out / f'{draw.__name__}.jpg'
        cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 80])
        print(f'{path}: {path.stat().st_size} bytes')


if __name__ == '__main__':
    main()
