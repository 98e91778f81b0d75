# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Mixed batches: which sample stands where is a pure function of the seed and the step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from mt_perception.training.data.augment import Example, make_example
from mt_perception.training.data.samples import Boxes, Sample

# Steps of the golden ratio spread the sets evenly over every stretch of the sequence.
_GOLDEN = 0.6180339887498949
_AHEAD = 3


@dataclass(frozen=True)
class SampleSet:
    """Samples that are drawn together, how often relative to the other sets, and which how often.

    Args:
        name: for the log.
        samples: the samples.
        weight: relative to other sets.
        shares: how often each sample is drawn, with sum 1; None draws all alike.
    """

    name: str
    samples: tuple[Sample, ...]
    weight: float
    shares: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Batch:
    """A batch; what each field means stands in `augment.Example`."""

    clean: Tensor  # (B, 3, H, W) uint8
    image: Tensor  # (B, 3, H, W) uint8
    boxes: tuple[Boxes | None, ...]
    semantic: Tensor  # (B, H/4, W/4) int64
    depth_per_focal: Tensor  # (B, H/4, W/4) float32
    relative_depth: Tensor  # (B, H/4, W/4) float32
    inside: Tensor  # (B, H/4, W/4) bool
    opinion: Tensor | None = None  # (B, C, H/4, W/4) uint8

    def to(self, device: torch.device) -> Batch:
        """Give the batch on a device; the boxes' arrays follow when they are used."""
        if device.type == 'cpu':
            return self
        moved = {
            f.name: getattr(self, f.name).to(device, non_blocking=True)
            for f in fields(self)
            if f.name != 'boxes'
        }
        return replace(self, **moved)


def draw(sets: Sequence[SampleSet], seed: int, position: int) -> Sample:
    """Give the sample at a position of the endless training sequence."""
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
    """Make the batch of a step; the same arguments always give the same batch.

    Args:
        sets: the data.
        canvases: sizes, of which every step takes one.
        batch_size: images of this process.
        seed: of everything random.
        step: of the run.
        share: which of how many processes this is; together they see what one process with a
            batch as large as all of theirs would see.
    """
    canvas = canvases[int(np.random.default_rng((seed, step, 2)).integers(len(canvases)))]
    first = (step * share[1] + share[0]) * batch_size
    positions = range(first, first + batch_size)
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
        opinion=_opinions(examples),
    )


def batches(
    sets: Sequence[SampleSet],
    canvases: Sequence[tuple[int, int]],
    batch_size: int,
    seed: int,
    steps: range,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Make the batches of some steps, a few ahead in a thread beside the training."""
    with ThreadPoolExecutor(1) as pool:
        waiting = [
            pool.submit(make_batch, sets, canvases, batch_size, seed, step, share)
            for step in steps[:_AHEAD]
        ]
        for index in range(len(steps)):
            ahead = index + _AHEAD
            if ahead < len(steps):
                waiting.append(
                    pool.submit(make_batch, sets, canvases, batch_size, seed, steps[ahead], share)
                )
            yield waiting.pop(0).result()


def _opinions(examples: Sequence[Example]) -> Tensor | None:
    asked = [e.opinion for e in examples if e.opinion is not None]
    if not asked:
        return None
    silent = np.zeros_like(asked[0])
    return torch.from_numpy(
        np.stack([silent if e.opinion is None else e.opinion for e in examples])
    )


def _images(images: Sequence[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]) -> Tensor:
    # A permuted (B, H, W, 3) is what torch calls channels last: no copy, and the fast layout.
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
