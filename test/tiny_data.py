# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Tiny data sets on disk: a few painted images with labels of every kind."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy

LABELS = ('person', 'chair', 'dining table')
SIZE = (48, 64)  # height, width


def classes() -> ClassMap:
    taxonomy = read_taxonomy()
    return ClassMap(LABELS, taxonomy.labels, taxonomy)


def write_coco(
    folder: Path,
    images: int = 4,
    names: tuple[str, ...] = LABELS,
    panoptic_images: tuple[int, ...] = (0,),
) -> Path:
    """One box and polygon of each class per image; some images have a panoptic map too."""
    (folder / 'images').mkdir(parents=True)
    (folder / 'semantic').mkdir()
    rng = np.random.default_rng(0)
    annotations = []
    for number in range(images):
        picture = rng.integers(0, 255, (*SIZE, 3), np.uint8)
        cv2.imwrite(str(folder / 'images' / f'{number:03}.png'), picture)
        for category, x in enumerate((4, 24, 44)[: len(names)]):
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': number,
                    'category_id': category + 1,
                    'bbox': [x, 8, 16, 24],
                    'area': 384,
                    'iscrowd': 0,
                    'segmentation': [[x, 8, x + 16, 8, x + 16, 32, x, 32]],
                }
            )
    panoptic = np.zeros(SIZE, np.uint8)
    panoptic[24:], panoptic[:24, :32] = 190, 1
    for number in panoptic_images:
        cv2.imwrite(str(folder / 'semantic' / f'{number:03}.png'), panoptic)
    (folder / 'panoptic_classes.yaml').write_text(
        'classes:\n  0: unlabeled\n  1: person\n  190: floor-other-merged\n'
    )
    listed = [
        {'id': n, 'file_name': f'{n:03}.png', 'height': SIZE[0], 'width': SIZE[1],
         'coco_split': 'train2017' if n % 2 == 0 else 'val2017'}
        for n in range(images)
    ]  # fmt: skip
    (folder / 'instances.json').write_text(
        json.dumps(
            {
                'images': listed,
                'annotations': annotations,
                'categories': [{'id': i + 1, 'name': n} for i, n in enumerate(names)],
            }
        )
    )
    return folder


def write_rgbd(folder: Path, frames: int = 25) -> Path:
    """Frames of a wall at two metres on the left and at one metre on the right."""
    (folder / 'rgb').mkdir(parents=True)
    (folder / 'depth_mm').mkdir()
    for number in range(frames):
        picture = np.full((*SIZE, 3), 60, np.uint8)
        picture[:, 32:] = 200
        depth = np.full((SIZE[0] // 2, SIZE[1] // 2), 2000, np.uint16)
        depth[:, 16:] = 1000
        depth[:4] = 0
        cv2.imwrite(str(folder / 'rgb' / f'{number:03}.png'), picture)
        cv2.imwrite(str(folder / 'depth_mm' / f'{number:03}.png'), depth)
    return folder
