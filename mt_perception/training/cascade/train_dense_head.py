# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Trains the wide dense head of a cascade on real images; both networks are frozen."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from mt_perception.errors import ModelError
from mt_perception.model.folder import read_file, read_manifest
from mt_perception.network.multitask import Multitask
from mt_perception.network.pretrained import load_picodet
from mt_perception.network.remote import Remote
from mt_perception.training.cascade.cascade_recipe import CascadeRecipe
from mt_perception.training.checkpoint import (
    FILE,
    load_checkpoint,
    load_weights,
    save_checkpoint,
)
from mt_perception.training.cpu_bfloat16 import autocast, prepare_for_bfloat16
from mt_perception.training.data.batches import SampleSet, batches
from mt_perception.training.distributed import mean_gradients, process_group
from mt_perception.training.losses.objective import check_finite
from mt_perception.training.schedules.optimizer import RelativeAdamW, rate_factor, set_rates
from mt_perception.training.split.losses import DenseLosses
from mt_perception.training.split.stages import channel_dropout, dense_head_group

_CLIP = 1.0
_REMOTE = {'pyramid': 'detector.', 'sides': 'detector.', 'wide': 'head.'}
"""Block of a cut → prefix of its weights' names."""


@dataclass(frozen=True)
class HeadProgress:
    """Progress after a step."""

    step: int
    loss: float
    images_per_s: float


def cut_weights(model: Path) -> Mapping[str, Tensor]:
    """Return the weights of a cut's second network by their names in `Remote`; empty without."""
    manifest = read_manifest(model)
    if manifest.cut is None:
        return {}
    found: dict[str, Tensor] = {}
    for block, prefix in _REMOTE.items():
        if block not in manifest.cut.files:
            continue
        graph = onnx.load_from_string(read_file(model, manifest.cut.files[block])).graph
        part = 'wide' if block == 'wide' else 'detector'
        for tensor in graph.initializer:
            if tensor.name.startswith(prefix):
                name = f'{part}.{tensor.name.removeprefix(prefix)}'
                found[name] = torch.from_numpy(numpy_helper.to_array(tensor).copy())
    return found


def start_cascade(
    network: Multitask, recipe: CascadeRecipe, data: Path, cut: Mapping[str, Tensor]
) -> Remote:
    """Return both networks and a wide head to train.

    The weights of the detector are the mean of a checkpoint's and of those that `cut` trained
    further (Wortsman et al., arXiv 2109.01903). The wide head starts from that of the cut.

    Args:
        network: the robot's network, trained.
        recipe: names the checkpoint.
        data: the data folder.
        cut: see `cut_weights`.

    Raises:
        ModelError: the checkpoint is not a PicoDet-S with the network's classes, or the cut is of
            another network.
    """
    remote = Remote(network)
    load_picodet(remote.detector, data / recipe.detector)
    state = remote.state_dict()
    for name, theirs in cut.items():
        ours = state.get(name)
        if ours is None or ours.shape != theirs.shape:
            raise ModelError(
                f'the weights {name} of the cut do not fit the second network of this model'
            )
        share = recipe.detector_share if name.startswith('detector.') else 0.0
        ours.copy_(share * ours + (1 - share) * theirs)
    return remote


def train_dense_head(
    recipe: CascadeRecipe, remote: Remote, sets: Sequence[SampleSet], run: Path
) -> Iterator[HeadProgress]:
    """Train, or resume an interrupted run; yield after every step.

    Args:
        recipe: the recipe.
        remote: its wide head is trained in place.
        sets: labelled images; the first set has a label on every pixel.
        run: folder of the run, for checkpoint.pt.
    """
    torch.set_num_threads(recipe.threads)
    cv2.setNumThreads(1)
    run.mkdir(parents=True, exist_ok=True)
    spec = recipe.dense_head
    labels = DenseLosses(remote, sets)
    remote.eval().requires_grad_(False)
    prepare_for_bfloat16(remote)
    optimizer = RelativeAdamW([dense_head_group(remote, spec)])
    first = 0
    if (run / FILE).exists():
        saved = load_checkpoint(run, ('remote', 'optimizer', 'step'))
        load_weights(remote, saved, 'remote')
        load_weights(optimizer, saved, 'optimizer')
        first = int(saved['step'])
    with process_group('cpu') as process:
        steps = range(first, spec.steps)
        drawn = batches(sets, spec.canvases, spec.batch_size, recipe.seed, steps, process.share)
        for step, batch in zip(steps, drawn, strict=True):
            started = time.perf_counter()
            set_rates(optimizer, rate_factor(spec, step))
            # The random state depends on step and process alone, so that a run can be resumed.
            torch.manual_seed((recipe.seed * 1_000_003 + step) * process.count + process.rank)
            with autocast(recipe.precision):
                with torch.no_grad():
                    image = batch.image.float()
                    features, backbone = remote.trunk(image), remote.detector.backbone(image)
                    own = remote.segmentation(features)
                wide = remote.wide(channel_dropout(features), channel_dropout(backbone))
                # The last channel is for depth, which only a remote host corrects.
                loss = labels.segmentation(wide[:, :-1], own, batch)
            check_finite({'segmentation': loss})
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            mean_gradients(remote.wide.parameters())
            nn.utils.clip_grad_norm_(remote.wide.parameters(), _CLIP)
            optimizer.step()
            done = step + 1
            if process.first and (done % recipe.checkpoint_every == 0 or done == spec.steps):
                state = {'step': done, 'remote': remote.state_dict()}
                save_checkpoint(run, {**state, 'optimizer': optimizer.state_dict()})
            speed = spec.batch_size * process.count / (time.perf_counter() - started)
            yield HeadProgress(done, float(loss.detach()), speed)
