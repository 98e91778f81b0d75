# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Post-processing: each task's part, and suppression against plain numpy.

Usage: python benchmarks/bench_postprocessing.py
"""

from __future__ import annotations

import cv2
import numpy as np
from interleaved import medians_ms

from mt_perception.execution.options import Options
from mt_perception.execution.postprocess.depth import network_depth
from mt_perception.execution.postprocess.detection import detections
from mt_perception.execution.postprocess.segmentation import segmentation
from mt_perception.image.letterbox import fit

LABELS = tuple(str(i) for i in range(80))
CANDIDATES = 3549


def main() -> None:
    cv2.setNumThreads(1)
    box = fit((480, 640), 416, 32)
    rng = np.random.default_rng(0)
    high, wide = (side // 4 for side in box.network_size)
    class_ids = rng.integers(0, 15, (1, high, wide), np.uint8)
    distances = rng.uniform(0.001, 0.02, (1, high, wide)).astype(np.float32)
    for above in (20, 100, 400):
        outputs = candidates(rng, above)
        options = Options(score_threshold=0.5)
        ms = medians_ms(
            {
                'detection': lambda o=outputs, p=options: detections(o, box, LABELS, p),
                'numpy': lambda o=outputs: plain_suppression(o, 0.65),
                'segmentation': lambda: segmentation(class_ids, box, LABELS),
                'depth': lambda: network_depth(distances, box, None).depth_map(20),
            }
        )
        print(
            f'640x480, {above} of {CANDIDATES} candidates above the threshold:  '
            f'detection {ms["detection"]:.2f} ms ({ms["detection"] / ms["numpy"]:.2f} of numpy '
            f'suppression alone)  segmentation {ms["segmentation"]:.2f} ms  '
            f'depth {ms["depth"]:.2f} ms'
        )


def candidates(rng: np.random.Generator, above: int) -> dict[str, np.ndarray]:
    corners = rng.uniform(0, 250, (1, CANDIDATES, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(20, 80, corners.shape)], axis=2)
    scores = rng.uniform(0, 0.4, (1, CANDIDATES))
    scores[0, :above] += 0.5
    class_ids = rng.integers(0, 5, (1, CANDIDATES))
    return {
        'boxes': boxes.astype(np.float32),
        'scores': scores.astype(np.float32),
        'class_ids': class_ids,
    }


def plain_suppression(outputs: dict[str, np.ndarray], iou: float) -> list[int]:
    """The usual greedy loop with one vectorised row of overlaps at a time."""
    boxes = outputs['boxes'][0] + outputs['class_ids'][0][:, None] * 1000
    scores = outputs['scores'][0]
    order = np.flatnonzero(scores >= 0.5)
    order = order[np.argsort(-scores[order])]
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:], boxes[order, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        order = order[shared <= iou * (areas[best] + areas[order] - shared)]
    return kept


if __name__ == '__main__':
    main()
