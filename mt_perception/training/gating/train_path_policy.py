# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Trains the policy that selects an exported path for each frame, and exports it."""

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
from mt_perception.training.export.write_model import (
    difference,
    export_onnx,
    sha256,
)
from mt_perception.training.gating.add_paths import (
    RECIPE,
    export_paths,
    full_network,
)
from mt_perception.training.gating.path_losses import (
    measure_path_losses,
    open_reference_detector,
    path_pipelines,
    relative,
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
    """Measure the paths' losses on training images; the file is kept in the run.

    Args:
        run: folder of a run of `train_gates` whose paths are exported.
        model: the model folder.
        data: the data folder; at most 300 evenly spaced images of each set are used.
    """
    path = run / PATH_LOSSES
    if path.exists():
        return path
    recipe = read_recipe(run / RECIPE)
    pipelines = path_pipelines(model)
    reference = None
    if recipe.gating is not None and recipe.gating.reference_detector:
        labels = pipelines[0].manifest.tasks[DETECTION].labels
        reference = open_reference_detector(data / recipe.gating.reference_detector, labels)
    sets = _labelled_sets(recipe, run, data)
    samples = [s for group in sets for s in group.samples[:: -(-len(group.samples) // _MOST)]]
    measured = measure_path_losses(samples, pipelines, reference, THUMBNAIL)
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
    """Train the policy to predict the measured losses.

    Args:
        full: the full network, whose first stages are the policy's features.
        costs: costs of the paths.
        thumbnails: (N, h, w, 3) BGR.
        losses: (N, T, P) relative to the full path's.
        seed: seed of order and dropout.
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
        pooled = views[int(torch.randint(2, ()))][chosen]
        # Dropped features are replaced by their mean.
        dropped = torch.rand_like(pooled) < _DROPOUT
        pooled = torch.where(dropped, policy.glance.centre, pooled)
        found = policy.read(pooled)[:, :, 1:]
        wanted = (target[chosen] - middle) / spread
        loss = functional.smooth_l1_loss(found, wanted)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        # From standard deviations back to losses.
        policy.losses.weight.mul_(spread.reshape(-1, 1))
        policy.losses.bias.mul_(spread.reshape(-1)).add_(middle.reshape(-1))
    return policy.requires_grad_(False).eval()


def shrunk_policy(
    full: Multitask,
    costs: Sequence[float],
    thumbnails: NDArray[np.uint8],
    losses: NDArray[np.float32],
    seed: int,
) -> PathScores:
    """Train a policy whose predictions are shrunk towards their mean by cross-validation.

    Losses of single images are noisy. In four-fold cross-validation the regression slope of
    measured on predicted losses gives each task's shrinkage factor, in [0, 1].

    Args:
        full: the full network.
        costs: costs of the paths.
        thumbnails: (N, h, w, 3) BGR.
        losses: (N, T, P) relative to the full path's.
        seed: seed of order and dropout.
    """
    target = np.clip(losses, -_LARGEST, _LARGEST)
    predicted = np.zeros_like(target)
    # Consecutive images of a recording are similar, so they stay in one fold.
    row = min(_ROW, max(1, len(target) // _FOLDS))
    for fold in range(_FOLDS):
        apart = np.arange(len(target)) // row % _FOLDS == fold
        policy = train_policy(full, costs, thumbnails[~apart], losses[~apart], seed)
        with torch.no_grad():
            predicted[apart] = policy.read(_pooled(policy, thumbnails[apart])).numpy()
    middle = target.mean(axis=0)
    deviation = predicted - predicted.mean(axis=0)
    covariance = (deviation * (target - middle)).sum(axis=(0, 2))
    variance = (deviation**2).sum(axis=(0, 2))
    slope = np.clip(covariance / np.maximum(variance, 1e-9), 0, 1)
    policy = train_policy(full, costs, thumbnails, losses, seed)
    share = torch.from_numpy(slope).float().repeat_interleave(len(costs) - 1)
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
    """Return the path of every image by predicted losses (N, P), like the exported graph."""
    chosen: NDArray[np.intp] = np.argmin(
        losses + 2 * (1 - budget) ** 3 * np.asarray(costs), axis=1
    )
    return chosen


def calibrate(
    losses: NDArray[np.float32], costs: Sequence[float], own: float
) -> dict[float, float]:
    """Return for every target budget the policy input whose mean cost is the target.

    Args:
        losses: (N, P) predicted losses over all tasks.
        costs: costs of the paths.
        own: cost of the policy itself, which counts.
    """
    inputs = np.linspace(0.01, 1.0, 397)
    spent = (
        np.array([np.asarray(costs)[choose_paths(losses, costs, b)].mean() for b in inputs]) + own
    )
    table = {b: float(inputs[int(np.argmin(np.abs(spent - b)))]) for b in BUDGETS}
    rising = np.maximum.accumulate([table[b] for b in BUDGETS])
    return {b: round(float(value), 4) for b, value in zip(BUDGETS, rising, strict=True)}


def add_policy(run: Path, model: Path, data: Path) -> None:
    """Train the policy of exported paths and add it to the model folder.

    Args:
        run: folder of a run of `train_gates` whose paths are exported to `model`.
        model: the model folder.
        data: the data folder.
    """
    manifest = read_manifest_data(model)
    costs = [row['relative_macs'] for row in manifest['paths']]
    full = full_network(load_checkpoint(run))
    with np.load(measured_path_losses(run, model, data)) as measured:
        thumbnails = measured['thumbnails']
        losses = relative(measured['losses'], measured['labelled'])
    policy = shrunk_policy(full, costs, thumbnails, losses, seed=1)
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
    """Read a run's data with labels of people and sensors only, without teachers."""
    specs = tuple(replace(s, voc_labels=False, relative_depth=False) for s in recipe.sets)
    recipe = replace(recipe, sets=specs)
    return read_sets(recipe, data, network_classes(recipe, data), run)


def export_policy(policy: PathScores, path: Path) -> None:
    """Write the policy as ONNX for batches of any size, and compare it with torch.

    Raises:
        ModelError: ONNX Runtime and torch give different results.
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
    """Add the paths of a run to a model folder; with data also their accuracy and the policy.

    Returns:
        `<path>/<task>` → accuracy, `<path>/relative_macs` and `<path>/relative_latency`.
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
