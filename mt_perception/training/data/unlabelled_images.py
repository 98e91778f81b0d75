# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Batches of images without labels: what imitation needs, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mt_perception.image.letterbox import fit
from mt_perception.training.data.batches import SampleSet, draw
from mt_perception.training.data.samples import read_image
from mt_perception.training.export.export import INPUT

_AHEAD = 3
_GREY = 114
# Relative to the whole image at the network's input size.
_SCALES = (0.6, 1.3)


def image_batches(
    sets: Sequence[SampleSet],
    canvases: Sequence[tuple[int, int]],
    batch_size: int,
    seed: int,
    steps: range,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Tensor]:
    """Make the batches of some steps, (B, 3, H, W) uint8, a few ahead in a thread.

    Args:
        sets: the data.
        canvases: sizes, of which every step takes one.
        batch_size: images of this process.
        seed: of everything random.
        steps: of the run.
        share: which of how many processes this is.
    """

    def make(step: int) -> Tensor:
        canvas = canvases[int(np.random.default_rng((seed, step, 2)).integers(len(canvases)))]
        first = (step * share[1] + share[0]) * batch_size
        positions = range(first, first + batch_size)
        images = [
            random_view(
                read_image(draw(sets, seed, p).image_path),
                canvas,
                np.random.default_rng((seed, p, 1)),
            )
            for p in positions
        ]
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)

    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(make, step) for step in steps[:_AHEAD]]
        for index in range(len(steps)):
            if index + _AHEAD < len(steps):
                waiting.append(pool.submit(make, steps[index + _AHEAD]))
            yield waiting.pop(0).result()


def random_view(
    image: NDArray[np.uint8], canvas: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Scale, place, flip and light an image at random, (H, W, 3).

    The scale is about the one at which the network will see such an image, whatever part of it
    fits on the canvas: how many bits a block needs depends on it.
    """
    height, width = image.shape[:2]
    fitted = fit((height, width), INPUT.size, INPUT.multiple).content_size
    scale = fitted[1] / width * float(rng.uniform(*_SCALES))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(image, size, interpolation=how)
    top, left = (
        int(rng.integers(min(0, room), max(0, room) + 1))
        for room in (scaled.shape[0] - canvas[0], scaled.shape[1] - canvas[1])
    )
    view = np.full((*canvas, 3), _GREY, np.uint8)
    seen = scaled[max(top, 0) : top + canvas[0], max(left, 0) : left + canvas[1]]
    row, column = max(-top, 0), max(-left, 0)
    view[row : row + seen.shape[0], column : column + seen.shape[1]] = seen
    if rng.random() < 0.5:
        view = view[:, ::-1]
    levels = np.arange(256) * rng.uniform(0.7, 1.2) + rng.uniform(-15, 15)
    lit: NDArray[np.uint8] = np.clip(levels, 0, 255).astype(np.uint8)[view]
    return lit
