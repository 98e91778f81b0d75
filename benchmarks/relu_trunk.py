# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The accuracy that the shipped network loses with ReLU in place of SiLU, by training step.

A network with ReLU is faster, in 8 bits above all (bench_activations.py). The weights start from
the model's. Over the first half of the training every activation moves from SiLU to ReLU. The
targets are the features and outputs of the model on the images of a recipe. Every --every steps
the script prints the accuracy on the part `choose`; an interrupted run resumes. The averaged
weights are exported as a model folder, the input of `mt_perception quantize`.

Usage: python benchmarks/relu_trunk.py --model models/cspnano --data DATA --out OUT --steps 4000
"""

from __future__ import annotations

import argparse
import copy
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

import cv2
import torch
from torch import Tensor, nn
from torch.nn import functional

from mt_perception.network.conv_blocks import ConvAct, Focus
from mt_perception.network.multitask import Multitask
from mt_perception.training.data import recipe_sets
from mt_perception.training.data.batches import Batch, SampleSet, batches
from mt_perception.training.export.model_metrics import measure_metrics
from mt_perception.training.export.torch_runner import torch_pipeline
from mt_perception.training.export.write_model import ModelCard, export_folder
from mt_perception.training.losses.detection import distillation_loss
from mt_perception.training.recipe import Recipe, read_recipe
from mt_perception.training.schedules.optimizer import (
    make_optimizer,
    rate_factor,
    set_rates,
    update_average,
)
from mt_perception.training.start import read_start, start_network

ROOT = Path(__file__).resolve().parent.parent
RATE = 0.001
_CLIP = 10.0
SHOWN = ('ap', 'miou', 'abs_rel', 'abs_rel/unseen', 'abs_rel_scaled/unseen')


class Activation:
    """The activation of all layers of the network with ReLU."""

    relu = 1.0
    """Share of ReLU; the rest is SiLU."""


class ReluConv(ConvAct):
    """A convolution with an activation between SiLU and ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return activate(self.conv(x))


class ReluFocus(Focus):
    """The first convolution, with the same activation."""

    def forward(self, x: Tensor) -> Tensor:
        return activate(self.conv(x))


def activate(x: Tensor) -> Tensor:
    if Activation.relu >= 1:
        return functional.relu(x)
    return torch.lerp(functional.silu(x), functional.relu(x), Activation.relu)


def with_relu(network: Multitask) -> Multitask:
    """Return a copy whose layers with SiLU have the activation above."""
    changed = copy.deepcopy(network)
    kinds: dict[type[nn.Module], type[nn.Module]] = {ConvAct: ReluConv, Focus: ReluFocus}
    for module in changed.modules():
        module.__class__ = kinds.get(type(module), type(module))
    return changed


def loss(student: Multitask, teacher: Multitask, batch: Batch) -> Tensor:
    """Return the distance of the student's features and outputs to the teacher's."""
    image = batch.image.float()
    with torch.no_grad():
        features = teacher.trunk(image)
        wanted = teacher.heads(features)
    found = student.trunk(image)
    outputs = student.heads(found)
    total = distillation_loss(outputs.detection, wanted.detection)
    for ours, theirs in zip(found, features, strict=True):
        spread = theirs.square().mean(dim=(0, 2, 3), keepdim=True).sqrt() + 1e-3
        total = total + ((ours - theirs) / spread).abs().mean()
    labels = functional.log_softmax(outputs.segmentation, dim=1)
    total = (
        total
        + functional.kl_div(labels, wanted.segmentation.softmax(dim=1), reduction='none')
        .sum(dim=1)
        .mean()
    )
    return total + (outputs.depth - wanted.depth).abs().mean()


Labels = tuple[tuple[str, ...], tuple[str, ...]]


def measure(network: Multitask, labels: Labels, recipe: Recipe, data: Path) -> str:
    pipeline = torch_pipeline(network.eval(), ModelCard('relu', 'none', 'none', '', *labels))
    found = measure_metrics(pipeline, data, recipe)
    return '  '.join(f'{name} {found[name]:.4f}' for name in SHOWN if name in found)


def distil(
    teacher: Multitask, recipe: Recipe, sets: Sequence[SampleSet], folder: Path, steps: int
) -> Iterator[tuple[int, Multitask]]:
    """Train a copy of a network with ReLU; yield the step and the averaged weights."""
    phase = replace(
        recipe.phases[-1],
        steps=steps,
        learning_rates={'segmentation': RATE / 2, 'depth': RATE / 2},
        relative_rates={'trunk': RATE, 'detection': RATE},
    )
    student = with_relu(teacher)
    average = copy.deepcopy(student)
    optimizer = make_optimizer(student, phase, 0.0)
    file, step = folder / 'checkpoint.pt', 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        step = state['step']
        student.load_state_dict(state['student'])
        average.load_state_dict(state['average'])
        optimizer.load_state_dict(state['optimizer'])
    left = range(step, steps)
    for batch in batches(sets, recipe.canvases, phase.batch_size, recipe.seed, left, (0, 1)):
        Activation.relu = min(1.0, 2 * (step + 1) / steps)
        set_rates(optimizer, rate_factor(phase, step))
        optimizer.zero_grad(set_to_none=True)
        value = loss(student, teacher, batch)
        value.backward()
        nn.utils.clip_grad_norm_(student.parameters(), _CLIP)
        optimizer.step()
        update_average(average, student, recipe.ema_decay, step)
        step += 1
        if step % 100 == 0 or step == steps:
            print(f'{step} relu {Activation.relu:.2f} loss {value.item():.3f}', flush=True)
            state = {'step': step, 'student': student.state_dict()}
            state |= {'average': average.state_dict(), 'optimizer': optimizer.state_dict()}
            torch.save(state, file)
            yield step, average


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data = os.environ.get('MT_PERCEPTION_DATA', str(ROOT.parent / 'shared' / 'data'))
    parser.add_argument('--model', type=Path, default=ROOT / 'models' / 'cspnano')
    parser.add_argument('--recipe', type=Path, default=ROOT / 'recipes' / 'cspnano_joint.yaml')
    parser.add_argument('--data', type=Path, default=Path(data))
    parser.add_argument('--cache', type=Path, required=True, help='cache of a run of the recipe')
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--steps', type=int, default=4000)
    parser.add_argument('--every', type=int, default=600)
    args = parser.parse_args()
    recipe = read_recipe(args.recipe)
    torch.set_num_threads(recipe.threads)
    cv2.setNumThreads(1)
    classes = recipe_sets.network_classes(recipe, args.data)
    sets = recipe_sets.read_sets(recipe, args.data, classes, args.cache)
    labels = (classes.detection, classes.segmentation)
    teacher = start_network(read_start(args.model), recipe.network, labels).network
    teacher.requires_grad_(False)
    args.out.mkdir(parents=True, exist_ok=True)
    print('model:', measure(teacher, labels, recipe, args.data), flush=True)
    for step, average in distil(teacher, recipe, sets, args.out, args.steps):
        if step % args.every == 0 or step == args.steps:
            print(f'{step}:', measure(average, labels, recipe, args.data), flush=True)
    card = ModelCard('cspnano_relu', 'none', 'none', '', *labels)
    export_folder(average.eval(), card, args.out / 'model')


if __name__ == '__main__':
    main()
