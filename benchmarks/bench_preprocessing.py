# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Preprocessing: uint8 with the normalisation in the graph, against what is usually written.

Usage: python benchmarks/bench_preprocessing.py
"""

from __future__ import annotations

import cv2
import numpy as np
from interleaved import medians_ms

from mt_perception.image.letterbox import fit

BAR = 0.25
MEAN = np.array([104, 117, 124], np.float32)
DEVIATION = np.array([57, 57, 58], np.float32)


def main() -> None:
    cv2.setNumThreads(1)
    print('image      network   numpy      ours      blobFromImage  ours/numpy  aim')
    for image_size, long_side in (((480, 640), 320), ((480, 640), 416), ((1080, 1920), 416)):
        image = np.random.default_rng(0).integers(0, 255, (*image_size, 3), np.uint8)
        box = fit(image_size, long_side, 32)
        height, width = box.content_size

        def usual(image=image, height=height, width=width) -> np.ndarray:
            scaled = cv2.resize(image, (width, height)).astype(np.float32)
            return np.ascontiguousarray(((scaled - MEAN) / DEVIATION).transpose(2, 0, 1)[None])

        def ours(image=image, box=box) -> np.ndarray:
            return box.network_image(image, 114)

        def blob(image=image, height=height, width=width) -> np.ndarray:
            return cv2.dnn.blobFromImage(image, 1 / 57, (width, height), (104, 117, 124))

        ms = medians_ms({'usual': usual, 'ours': ours, 'blob': blob}, rounds=200)
        print(
            f'{image_size[1]}x{image_size[0]:<5} {width}x{height:<5} {ms["usual"]:6.2f} ms '
            f'{ms["ours"]:6.2f} ms {ms["blob"]:8.2f} ms {ms["ours"] / ms["usual"]:13.2f}  {BAR}'
        )


if __name__ == '__main__':
    main()
