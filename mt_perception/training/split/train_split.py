# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop of a split: three stages, checkpoints, resuming."""

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
from mt_perception.training.checkpoint import (
    FILE,
    load_checkpoint,
    load_weights,
    save_checkpoint,
)
from mt_perception.training.cpu_bfloat16 import prepare_for_bfloat16
from mt_perception.training.data.batches import SampleSet
from mt_perception.training.distributed import Process, mean_gradients, process_group
from mt_perception.training.losses.objective import check_finite
from mt_perception.training.schedules.optimizer import RelativeAdamW, rate_factor, set_rates
from mt_perception.training.split.losses import DenseTeacher
from mt_perception.training.split.split_recipe import SplitRecipe
from mt_perception.training.split.stages import (
    BottleneckStage,
    DecoderStage,
    DenseHeadStage,
    SplitStage,
)

_CLIP = 1.0


@dataclass(frozen=True)
class SplitProgress:
    """Progress after a step."""

    step: int
    steps: int
    stage: str
    error: float
    bits_per_pixel: float
    images_per_s: float


class SplitNetwork(nn.Module):
    """Both parts of a split: the bottleneck and the remote network behind it."""

    def __init__(self, network: Multitask, recipe: SplitRecipe) -> None:
        super().__init__()
        self.bottleneck = Bottleneck(len(recipe.bit_prices))
        self.remote = Remote(network)


def train_split(
    recipe: SplitRecipe,
    network: Multitask,
    detector: PicoDet,
    sets: Sequence[SampleSet],
    run: Path,
) -> Iterator[SplitProgress]:
    """Train, or resume an interrupted run; yield after every step.

    Args:
        recipe: the recipe.
        network: the complete network, trained; not changed.
        detector: the remote network's second detector, trained; not changed.
        sets: images; stages 2 and 3 read labels and soft labels.
        run: folder of the run, for checkpoint.pt.

    Raises:
        ModelError: detector and network have different numbers of classes.
    """
    torch.set_num_threads(recipe.threads)
    cv2.setNumThreads(1)
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    split = SplitNetwork(network, recipe)
    if detector.classes != split.remote.detector.classes:
        raise ModelError(
            f'the detector has {detector.classes} classes, the network '
            f'{split.remote.detector.classes}; set `detector` to one of the same classes'
        )
    split.remote.detector.load_state_dict(detector.state_dict())
    prepare_for_bfloat16(split)
    with process_group('cpu') as process:
        yield from _run_stages(recipe, network, detector, split, sets, run, process)


def _run_stages(
    recipe: SplitRecipe,
    network: Multitask,
    detector: PicoDet,
    split: SplitNetwork,
    sets: Sequence[SampleSet],
    run: Path,
    process: Process,
) -> Iterator[SplitProgress]:
    bottleneck, remote = split.bottleneck, split.remote
    first = BottleneckStage(recipe, network, detector, bottleneck, sets, process)
    teacher = DenseTeacher(network, sets, recipe.seed, process)
    stages: dict[str, SplitStage[Any]] = {
        'bottleneck': first,
        'decoder': DecoderStage(recipe, teacher, detector, bottleneck, remote, process),
        'dense head': DenseHeadStage(recipe, teacher, bottleneck, remote, process),
    }
    if (run / FILE).exists():
        saved = load_checkpoint(run, ('cut', 'step', 'optimizer'))
        load_weights(split, saved, 'cut')
        step = int(saved['step'])
    else:
        first.start()
        step = 0
    begin = 0
    for name, stage in stages.items():
        end = begin + stage.spec.steps
        if step < end:
            for row in _run_stage(recipe, (name, stage), split, range(step, end), begin, run):
                step = row.step
                yield row
        begin = end


def _run_stage(
    recipe: SplitRecipe,
    named: tuple[str, SplitStage[Any]],
    split: SplitNetwork,
    steps: range,
    begin: int,
    run: Path,
) -> Iterator[SplitProgress]:
    name, stage = named
    split.requires_grad_(False)
    optimizer = RelativeAdamW(stage.groups())
    if steps.start > begin:
        _restore(optimizer, load_checkpoint(run))
    for step, batch in zip(steps, stage.batches(steps), strict=True):
        started = time.perf_counter()
        set_rates(optimizer, rate_factor(stage.spec, step - begin))
        losses = stage.losses(batch, step - begin)
        check_finite({name: losses.loss})
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(losses.loss)
        mean_gradients(split.parameters())
        for members in optimizer.param_groups:
            # Per group: a stem that reads 0 to 255 has gradients 1000 times as large as others.
            nn.utils.clip_grad_norm_(members['params'], _CLIP)
        optimizer.step()
        speed = stage.spec.batch_size * stage.process.count / (time.perf_counter() - started)
        done = step + 1
        if stage.process.first and (done % recipe.checkpoint_every == 0 or done == steps.stop):
            state = {'step': done, 'cut': split.state_dict(), 'optimizer': optimizer.state_dict()}
            save_checkpoint(run, state)
        yield SplitProgress(done, recipe.steps, name, losses.error, losses.bits_per_pixel, speed)


def _restore(optimizer: RelativeAdamW, state: dict[str, Any]) -> None:
    peaks = [members['peak'] for members in optimizer.param_groups]
    load_weights(optimizer, state, 'optimizer')
    # The peak rates of the recipe apply, even if they have changed since the checkpoint.
    for members, peak in zip(optimizer.param_groups, peaks, strict=True):
        members['peak'] = peak
