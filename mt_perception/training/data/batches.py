# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Batches over several data sets; the samples of a step are a function of seed and step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mt_perception.image.letterbox import fit
from mt_perception.training.data.augment import PAD_VALUE, Example, make_example
from mt_perception.training.data.samples import Boxes, Sample
from mt_perception.training.export.write_model import INPUT

T = TypeVar('T')

# Steps of the golden ratio spread the sets evenly over every stretch of the sequence.
_GOLDEN = 0.6180339887498949
_AHEAD = 3
# Scales of unlabelled images, relative to the network's input size.
_SCALES = (0.6, 1.3)


@dataclass(frozen=True)
class SampleSet:
    """A data set with its sampling weights.

    Args:
        name: name in the log.
        samples: the samples.
        weight: how often the set is drawn, relative to other sets.
        shares: probability of each sample within the set; None draws uniformly.
    """

    name: str
    samples: tuple[Sample, ...]
    weight: float
    shares: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Batch:
    """A batch; see `augment.Example` for the fields."""

    clean: Tensor  # (B, 3, H, W) uint8
    image: Tensor  # (B, 3, H, W) uint8
    boxes: tuple[Boxes | None, ...]
    semantic: Tensor  # (B, H/4, W/4) int64
    depth_per_focal: Tensor  # (B, H/4, W/4) float32
    relative_depth: Tensor  # (B, H/4, W/4) float32
    inside: Tensor  # (B, H/4, W/4) bool
    soft_labels: Tensor | None = None  # (B, C, H/4, W/4) uint8
    teacher_boxes: tuple[Boxes | None, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device, except for boxes, which are copied when they are used."""
        if device.type == 'cpu':
            return self
        moved = {
            f.name: getattr(self, f.name).to(device, non_blocking=True)
            for f in fields(self)
            if f.name not in ('boxes', 'teacher_boxes')
        }
        return replace(self, **moved)


def draw(sets: Sequence[SampleSet], seed: int, position: int) -> Sample:
    """Return the sample at a position of the infinite training sequence."""
    ends = np.cumsum([s.weight for s in sets])
    turn = (position * _GOLDEN) % 1.0 * ends[-1]
    chosen = sets[min(int(np.searchsorted(ends, turn, side='right')), len(sets) - 1)]
    rng = np.random.default_rng((seed, position, 0))
    if chosen.shares is not None:
        return chosen.samples[int(rng.choice(len(chosen.samples), p=chosen.shares))]
    return chosen.samples[int(rng.integers(len(chosen.samples)))]


def make_batch(
    sets: Sequence[SampleSet],
    canvases: Sequence[tuple[int, int]],
    batch_size: int,
    seed: int,
    step: int,
    share: tuple[int, int] = (0, 1),
) -> Batch:
    """Make the batch of a step; equal arguments give equal batches.

    Args:
        sets: the data.
        canvases: sizes (height, width), one of which is drawn for the step.
        batch_size: images of this process.
        seed: seed of all random numbers.
        step: step of the run.
        share: rank and number of processes. All processes together have the images of one
            process with the sum of their batch sizes.
    """
    canvas, positions = _canvas_and_positions(canvases, batch_size, seed, step, share)
    return collate(
        [
            make_example(draw(sets, seed, p), canvas, np.random.default_rng((seed, p, 1)))
            for p in positions
        ]
    )


def collate(examples: Sequence[Example]) -> Batch:
    """Stack examples of one canvas size."""
    return Batch(
        clean=_images([e.clean for e in examples]),
        image=_images([e.image for e in examples]),
        boxes=tuple(e.boxes for e in examples),
        semantic=torch.from_numpy(np.stack([e.semantic for e in examples])).long(),
        depth_per_focal=torch.from_numpy(np.stack([e.depth_per_focal for e in examples])),
        relative_depth=torch.from_numpy(np.stack([e.relative_depth for e in examples])),
        inside=torch.from_numpy(np.stack([e.inside for e in examples])),
        soft_labels=_stack_soft_labels(examples),
        teacher_boxes=tuple(e.teacher_boxes for e in examples),
    )


def batches(
    sets: Sequence[SampleSet],
    canvases: Sequence[tuple[int, int]],
    batch_size: int,
    seed: int,
    steps: range,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Yield the batches of some steps; a thread prepares the next ones."""
    return _prefetched(
        lambda step: make_batch(sets, canvases, batch_size, seed, step, share), steps
    )


def image_batches(
    sets: Sequence[SampleSet],
    canvases: Sequence[tuple[int, int]],
    batch_size: int,
    seed: int,
    steps: range,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Tensor]:
    """Yield batches of images without labels, (B, 3, H, W) uint8; see `make_batch`."""

    def make(step: int) -> Tensor:
        canvas, positions = _canvas_and_positions(canvases, batch_size, seed, step, share)
        return _images(
            [
                view_of_image(
                    draw(sets, seed, p).image(),
                    canvas,
                    np.random.default_rng((seed, p, 1)),
                )
                for p in positions
            ]
        )

    return _prefetched(make, steps)


def view_of_image(
    image: NDArray[np.uint8], canvas: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Scale, place, flip and brighten an image at random, (H, W, 3).

    The scale is close to that of deployment, because the bits per block depend on it.
    """
    height, width = image.shape[:2]
    fitted = fit((height, width), INPUT.size, INPUT.multiple).content_size
    scale = fitted[1] / width * float(rng.uniform(*_SCALES))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(image, size, interpolation=method)
    top, left = (
        int(rng.integers(min(0, room), max(0, room) + 1))
        for room in (scaled.shape[0] - canvas[0], scaled.shape[1] - canvas[1])
    )
    view = np.full((*canvas, 3), PAD_VALUE, np.uint8)
    part = scaled[max(top, 0) : top + canvas[0], max(left, 0) : left + canvas[1]]
    row, column = max(-top, 0), max(-left, 0)
    view[row : row + part.shape[0], column : column + part.shape[1]] = part
    if rng.random() < 0.5:
        view = view[:, ::-1]
    levels = np.arange(256) * rng.uniform(0.7, 1.2) + rng.uniform(-15, 15)
    brightened: NDArray[np.uint8] = np.clip(levels, 0, 255).astype(np.uint8)[view]
    return brightened


def _canvas_and_positions(
    canvases: Sequence[tuple[int, int]],
    batch_size: int,
    seed: int,
    step: int,
    share: tuple[int, int],
) -> tuple[tuple[int, int], range]:
    """Return a step's canvas, and this process's positions in the training sequence."""
    canvas = canvases[int(np.random.default_rng((seed, step, 2)).integers(len(canvases)))]
    first = (step * share[1] + share[0]) * batch_size
    return canvas, range(first, first + batch_size)


def _prefetched(make: Callable[[int], T], steps: range) -> Iterator[T]:
    """Yield `make(step)` for each step; a thread computes a few results in advance."""
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(make, step) for step in steps[:_AHEAD]]
        for index in range(len(steps)):
            if index + _AHEAD < len(steps):
                waiting.append(pool.submit(make, steps[index + _AHEAD]))
            yield waiting.pop(0).result()


def _stack_soft_labels(examples: Sequence[Example]) -> Tensor | None:
    given = [e.soft_labels for e in examples if e.soft_labels is not None]
    if not given:
        return None
    missing = np.zeros_like(given[0])
    return torch.from_numpy(
        np.stack([missing if e.soft_labels is None else e.soft_labels for e in examples])
    )


def _images(images: Sequence[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]) -> Tensor:
    # A permuted (B, H, W, 3) is what torch calls channels last: no copy, and the fast layout.
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
