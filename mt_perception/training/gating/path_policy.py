# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Trains the policy that chooses among exported paths, and adds it to the model folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mt_perception.errors import ModelError
from mt_perception.model.folder import read_manifest_data, write_manifest_data
from mt_perception.network.macs import count_macs, count_parameters
from mt_perception.network.multitask import TASKS, Multitask
from mt_perception.network.policy import THUMBNAIL, PathScores
from mt_perception.training.checkpoint import load_checkpoint
from mt_perception.training.data.batches import SampleSet
from mt_perception.training.data.recipe_sets import network_classes, read_sets
from mt_perception.training.export.export import (
    difference,
    export_onnx,
    sha256,
)
from mt_perception.training.gating.path_losses import (
    measure_path_losses,
    open_reference_detector,
    path_pipelines,
    relative,
)
from mt_perception.training.gating.paths import (
    RECIPE,
    export_paths,
    full_network,
)
from mt_perception.training.recipe import Recipe, read_recipe
from mt_perception.types import DETECTION

PATH_LOSSES = 'regrets.npz'
POLICY_FILE = 'policy.onnx'
BUDGETS = tuple(round(0.1 * n, 1) for n in range(2, 11))
_MOST = 300
_STEPS = 1500
_BATCH = 64
_RATE = 1e-3
_DECAY = 0.1
_DROPOUT = 0.3
_LARGEST = 1.0
_FOLDS = 4
_ROW = 10
_TOLERANCE = 1e-4


def measured_path_losses(run: Path, model: Path, data: Path) -> Path:
    """Measure what the paths lose on training pictures; kept in the run, as it takes minutes.

    Args:
        run: folder of a run of `train_gates`, its paths exported.
        model: the model folder.
        data: the data folder; of each set at most 300 pictures, evenly spaced, are taken.
    """
    path = run / PATH_LOSSES
    if path.exists():
        return path
    recipe = read_recipe(run / RECIPE)
    pipelines = path_pipelines(model)
    judge = None
    if recipe.gating is not None and recipe.gating.reference_detector:
        labels = pipelines[0].manifest.tasks[DETECTION].labels
        judge = open_reference_detector(data / recipe.gating.reference_detector, labels)
    sets = _labelled_sets(recipe, run, data)
    samples = [s for group in sets for s in group.samples[:: -(-len(group.samples) // _MOST)]]
    measured = measure_path_losses(samples, pipelines, judge, THUMBNAIL)
    with path.open('wb') as file:
        np.savez_compressed(
            file,
            losses=measured['losses'],
            labelled=measured['labelled'],
            thumbnails=measured['thumbnails'],
        )
    return path


def train_policy(
    full: Multitask,
    costs: Sequence[float],
    thumbnails: NDArray[np.uint8],
    losses: NDArray[np.float32],
    seed: int,
) -> PathScores:
    """Fit the policy's losses to measured ones.

    Args:
        full: the full network, whose first stages the policy looks through.
        costs: of the paths.
        thumbnails: (N, h, w, 3) BGR.
        losses: (N, T, P) relative to the full path's.
        seed: of the order and the dropout.
    """
    torch.manual_seed(seed)
    policy = PathScores(full.trunk, costs)
    views = [_pooled(policy, thumbnails), _pooled(policy, thumbnails[:, :, ::-1])]
    policy.glance.fit(torch.cat(views))
    target = torch.from_numpy(losses).clamp(-_LARGEST, _LARGEST)[:, :, 1:]
    middle, spread = target.mean(dim=0), target.std(dim=0).clamp_min(1e-4)
    with torch.no_grad():
        policy.losses.weight.mul_(0.1)
        policy.losses.bias.zero_()
    trained = [p for p in policy.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    for _ in range(_STEPS):
        chosen = torch.randint(len(target), (_BATCH,))
        seen = views[int(torch.randint(2, ()))][chosen]
        # Dropped features fall back to their mean, which is what no information looks like.
        dropped = torch.rand_like(seen) < _DROPOUT
        seen = torch.where(dropped, policy.glance.centre, seen)
        found = policy.read(seen)[:, :, 1:]
        wanted = (target[chosen] - middle) / spread
        loss = functional.smooth_l1_loss(found, wanted)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        # Back from standard deviations to losses.
        policy.losses.weight.mul_(spread.reshape(-1, 1))
        policy.losses.bias.mul_(spread.reshape(-1)).add_(middle.reshape(-1))
    return policy.requires_grad_(False).eval()


def trusted_policy(
    full: Multitask,
    costs: Sequence[float],
    thumbnails: NDArray[np.uint8],
    losses: NDArray[np.float32],
    seed: int,
) -> PathScores:
    """Fit a policy, and pull each task's losses to their mean as far as they deserve no trust.

    What a picture loses is mostly chance. Policies that did not see a quarter of the pictures
    tell how much of a predicted difference comes true there; the rest is taken away.

    Args:
        full: the full network.
        costs: of the paths.
        thumbnails: (N, h, w, 3) BGR.
        losses: (N, T, P) relative to the full path's.
        seed: of the order and the dropout.
    """
    target = np.clip(losses, -_LARGEST, _LARGEST)
    said = np.zeros_like(target)
    # Neighbours in a recording are alike: some in a row stay together.
    row = min(_ROW, max(1, len(target) // _FOLDS))
    for fold in range(_FOLDS):
        apart = np.arange(len(target)) // row % _FOLDS == fold
        policy = train_policy(full, costs, thumbnails[~apart], losses[~apart], seed)
        with torch.no_grad():
            said[apart] = policy.read(_pooled(policy, thumbnails[apart])).numpy()
    middle = target.mean(axis=0)
    apart_from_mean = said - said.mean(axis=0)
    true = (apart_from_mean * (target - middle)).sum(axis=(0, 2))
    trust = np.clip(true / np.maximum((apart_from_mean**2).sum(axis=(0, 2)), 1e-9), 0, 1)
    policy = train_policy(full, costs, thumbnails, losses, seed)
    share = torch.from_numpy(trust).float().repeat_interleave(len(costs) - 1)
    with torch.no_grad():
        policy.losses.weight.mul_(share[:, None])
        policy.losses.bias.mul_(share)
        policy.losses.bias.add_((1 - share) * torch.from_numpy(middle[:, 1:]).flatten())
    return policy


@torch.no_grad()
def _pooled(policy: PathScores, thumbnails: NDArray[np.uint8]) -> Tensor:
    parts = []
    for start in range(0, len(thumbnails), _BATCH):
        part = np.ascontiguousarray(thumbnails[start : start + _BATCH])
        parts.append(policy.glance.pool(torch.from_numpy(part).permute(0, 3, 1, 2).float()))
    return torch.cat(parts)


def choose_paths(
    losses: NDArray[np.float32], costs: Sequence[float], budget: float
) -> NDArray[np.intp]:
    """Give the path of every picture by predicted losses (N, P), as the exported graph does."""
    chosen: NDArray[np.intp] = np.argmin(
        losses + 2 * (1 - budget) ** 3 * np.asarray(costs), axis=1
    )
    return chosen


def calibrate(
    losses: NDArray[np.float32], costs: Sequence[float], own: float
) -> dict[float, float]:
    """Find the budget to feed for every budget wanted, so that the mean cost is that one.

    Args:
        losses: (N, P) predicted, over all tasks.
        costs: of the paths.
        own: cost of the policy itself, which is part of what is spent.
    """
    fed = np.linspace(0.01, 1.0, 397)
    spent = np.array([np.asarray(costs)[choose_paths(losses, costs, b)].mean() for b in fed]) + own
    table = {b: float(fed[int(np.argmin(np.abs(spent - b)))]) for b in BUDGETS}
    rising = np.maximum.accumulate([table[b] for b in BUDGETS])
    return {b: round(float(value), 4) for b, value in zip(BUDGETS, rising, strict=True)}


def add_policy(run: Path, model: Path, data: Path) -> None:
    """Train the policy of exported paths and write it into the model folder.

    Args:
        run: folder of a run of `train_gates`, its paths exported to `model`.
        model: the model folder.
        data: the data folder.
    """
    manifest = read_manifest_data(model)
    costs = [row['relative_macs'] for row in manifest['paths']]
    full = full_network(load_checkpoint(run))
    with np.load(measured_path_losses(run, model, data)) as measured:
        thumbnails = measured['thumbnails']
        losses = relative(measured['losses'], measured['labelled'])
    policy = trusted_policy(full, costs, thumbnails, losses, seed=1)
    with torch.no_grad():
        predicted = policy.read(_pooled(policy, thumbnails)).mean(dim=1).numpy()
    path = model / POLICY_FILE
    export_policy(policy, path)
    macs = count_macs(policy, _example(1))
    own = macs / sum(block['macs'] for block in manifest['blocks'].values())
    manifest['policy'] = {
        'file': POLICY_FILE,
        'sha256': sha256(path),
        'macs': macs,
        'parameters': count_parameters(policy),
        'size': list(THUMBNAIL),
        'calibration': calibrate(predicted, costs, own),
    }
    write_manifest_data(model, manifest)


def _labelled_sets(recipe: Recipe, run: Path, data: Path) -> tuple[SampleSet, ...]:
    """Read a run's data with what people and sensors labelled, and no teacher's opinion."""
    specs = tuple(replace(s, voc_labels=False, relative_depth=False) for s in recipe.sets)
    recipe = replace(recipe, sets=specs)
    return read_sets(recipe, data, network_classes(recipe, data), run)


def export_policy(policy: PathScores, path: Path) -> None:
    """Write the policy as a graph for batches of any size, and compare it with torch.

    Raises:
        ModelError: ONNX Runtime does not compute what torch computes.
    """
    names = ('image', 'tasks', 'budget')
    axes = {name: {0: 'batch'} for name in (*names, 'scores')}
    export_onnx(policy, _example(1), path, names, ('scores',), axes)
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    given = _example(3)
    feed = {name: t.numpy() for name, t in zip(names, given, strict=True)}
    worst = difference(policy(*given).numpy(), session.run(['scores'], feed)[0])
    if not worst <= _TOLERANCE:
        raise ModelError(f'{path}: ONNX Runtime differs from torch by {worst:g}')


def _example(images: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (images, *THUMBNAIL, 3), dtype=torch.uint8, generator=generator)
    return image, torch.ones(images, len(TASKS)), torch.full((images, 1), 0.5)


def add_paths(run: Path, model: Path, data: Path | None) -> dict[str, float]:
    """Add the paths of a run, and with data their figures and the policy, to a model folder.

    Returns:
        Path and task → accuracy, path → share of the multiply-accumulates and of the time.
    """
    export_paths(run, model, data)
    if data is not None:
        add_policy(run, model, data)
    found: dict[str, float] = {}
    for row in read_manifest_data(model)['paths']:
        found |= {f'{row["name"]}/{task}': value for task, value in row['accuracy'].items()}
        for name in ('relative_macs', 'relative_latency'):
            found[f'{row["name"]}/{name}'] = row[name]
    return found
