# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Trains a bottleneck in Ladon's two stages, and then what a remote host has room for besides.

Stage 1 trains encoder, gains, density and decoder: what frozen networks see in the decoder's
image must be what they see in the real one, at a price for every bit. Stage 2 freezes all that
decides about bytes, and trains the decoder and a larger network behind it: `finish`. Stage 3
trains a second opinion for the dense heads: `widen`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import nn

from mt_perception.errors import ModelError
from mt_perception.network.bottleneck import Bottleneck
from mt_perception.network.multitask import Multitask
from mt_perception.network.picodet import PicoDet
from mt_perception.network.remote import Remote
from mt_perception.training.checkpoint import FILE, load_checkpoint, save_checkpoint
from mt_perception.training.cpu_bfloat16 import quicken
from mt_perception.training.data.batches import SampleSet
from mt_perception.training.distributed import Place, joined, mean_gradients
from mt_perception.training.schedules.optimizer import RelativeAdamW
from mt_perception.training.split.recipe import CutRecipe
from mt_perception.training.split.stage import CutStage
from mt_perception.training.split.stage1_bottleneck import Imitation
from mt_perception.training.split.stage2_decoder import Finishing, Lessons
from mt_perception.training.split.stage3_dense_head import Widening

IMITATE, FINISH, WIDEN = 'imitate', 'finish', 'widen'
_CLIP = 1.0


@dataclass(frozen=True)
class CutProgress:
    """What the loop tells after every step."""

    step: int
    steps: int
    stage: str
    error: float
    bits_per_pixel: float
    images_per_s: float


class CutNetwork(nn.Module):
    """A bottleneck and the network behind it; both halves in one."""

    def __init__(self, network: Multitask, recipe: CutRecipe) -> None:
        super().__init__()
        self.bottleneck = Bottleneck(len(recipe.bit_prices))
        self.remote = Remote(network)


def train_cut(
    recipe: CutRecipe,
    network: Multitask,
    detector: PicoDet,
    sets: Sequence[SampleSet],
    run: Path,
) -> Iterator[CutProgress]:
    """Train, or go on with a run that was interrupted; yield after every step.

    Args:
        recipe: what to do.
        network: the whole network, trained; it is not changed.
        detector: the detector that the remote half has besides, trained; it is not changed.
        sets: images; the later stages read their labels, and what the pixel teacher says.
        run: folder of the run: checkpoint.pt.

    Raises:
        ModelError: the detector has not as many classes as the network.
    """
    torch.set_num_threads(recipe.threads)
    cv2.setNumThreads(1)
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    cut = CutNetwork(network, recipe)
    if detector.classes != cut.remote.detector.classes:
        raise ModelError(
            f'the detector has {detector.classes} classes, the network '
            f'{cut.remote.detector.classes}; name one of the same classes in the recipe'
        )
    cut.remote.detector.load_state_dict(detector.state_dict())
    quicken(cut)
    with joined('cpu') as place:
        yield from _run_stages(recipe, network, detector, cut, sets, run, place)


def _run_stages(
    recipe: CutRecipe,
    network: Multitask,
    detector: PicoDet,
    cut: CutNetwork,
    sets: Sequence[SampleSet],
    run: Path,
    place: Place,
) -> Iterator[CutProgress]:
    bottleneck, remote = cut.bottleneck, cut.remote
    imitate = Imitation(recipe, network, detector, bottleneck, sets, place)
    lessons = Lessons(network, sets, recipe.seed, place)
    finish = Finishing(recipe, lessons, detector, bottleneck, remote, place)
    widen = Widening(recipe, lessons, bottleneck, remote, place)
    stages: dict[str, CutStage[Any]] = {IMITATE: imitate, FINISH: finish, WIDEN: widen}
    if (run / FILE).exists():
        saved = load_checkpoint(run)
        cut.load_state_dict(saved['cut'])
        step = int(saved['step'])
    else:
        imitate.start()
        step = 0
    begin = 0
    for name, stage in stages.items():
        end = begin + stage.plan.steps
        if step < end:
            for row in _run_stage(recipe, (name, stage), cut, range(step, end), begin, run):
                step = row.step
                yield row
        begin = end


def _run_stage(
    recipe: CutRecipe,
    named: tuple[str, CutStage[Any]],
    cut: CutNetwork,
    steps: range,
    begin: int,
    run: Path,
) -> Iterator[CutProgress]:
    name, stage = named
    cut.requires_grad_(False)
    optimizer = RelativeAdamW(stage.groups())
    if steps.start > begin:
        _restore(optimizer, load_checkpoint(run)['optimizer'])
    for step, batch in zip(steps, stage.batches(steps), strict=True):
        started = time.perf_counter()
        for members in optimizer.param_groups:
            members['lr'] = members['peak'] * stage.plan.rate_factor(step - begin)
        losses = stage.losses(batch, step - begin)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(losses.loss)
        mean_gradients(cut.parameters())
        for members in optimizer.param_groups:
            # Apart: a stem that reads 0 to 255 has gradients a thousand times as large as others.
            nn.utils.clip_grad_norm_(members['params'], _CLIP)
        optimizer.step()
        speed = stage.plan.batch_size * stage.place.count / (time.perf_counter() - started)
        done = step + 1
        if stage.place.first and (done % recipe.checkpoint_every == 0 or done == steps.stop):
            state = {'step': done, 'cut': cut.state_dict(), 'optimizer': optimizer.state_dict()}
            save_checkpoint(run, state)
        yield CutProgress(done, recipe.steps, name, losses.error, losses.bits_per_pixel, speed)


def _restore(optimizer: RelativeAdamW, state: dict[str, Any]) -> None:
    peaks = [members['peak'] for members in optimizer.param_groups]
    optimizer.load_state_dict(state)
    # The recipe may have changed since; what it says now is what counts.
    for members, peak in zip(optimizer.param_groups, peaks, strict=True):
        members['peak'] = peak
