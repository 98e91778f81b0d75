# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Trains a bottleneck in Ladon's two stages: imitate features, then finish the remote half.

Stage 1 trains encoder, gains, density and decoder: what the frozen trunk sees in the decoder's
image must be what it sees in the real one, at a price for every bit. Stage 2 freezes all that
decides about bytes, and trains the decoder with a copy of the network behind it to answer as the
whole network answers on the real image.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor, nn
from torch.nn import functional

from mt_perception.network.bottleneck import Bottleneck
from mt_perception.network.multitask import Multitask, Outputs
from mt_perception.network.trunk import Trunk
from mt_perception.training.batches import SampleSet
from mt_perception.training.checkpoint import FILE, load_checkpoint, save_checkpoint
from mt_perception.training.cut_recipe import CutRecipe, Stage
from mt_perception.training.losses.detection import distillation_loss
from mt_perception.training.plain_images import image_batches
from mt_perception.training.principal import start_from_principal_components
from mt_perception.training.schedule import RelativeAdamW

IMITATE, FINISH = 'imitate', 'finish'
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
        self.remote = copy.deepcopy(network)


def backbone(trunk: Trunk, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The trunk's own stages, before its pyramid: what is imitated."""
    s4 = trunk.stage2(trunk.stem(image))
    c8 = trunk.stage3(s4)
    c16 = trunk.stage4(c8)
    return s4, c8, c16, trunk.stage5(c16)


def train_cut(
    recipe: CutRecipe, network: Multitask, sets: Sequence[SampleSet], run: Path
) -> Iterator[CutProgress]:
    """Train, or go on with a run that was interrupted; yield after every step.

    Args:
        recipe: what to do.
        network: the whole network, trained; it is not changed.
        sets: images; their labels are not used.
        run: folder of the run: checkpoint.pt.
    """
    torch.set_num_threads(recipe.threads)
    cv2.setNumThreads(1)
    run.mkdir(parents=True, exist_ok=True)
    state = _State(recipe, network, sets)
    step = state.resume(run) if (run / FILE).exists() else 0
    ends = {IMITATE: recipe.imitate.steps, FINISH: recipe.imitate.steps + recipe.finish.steps}
    for stage, end in ends.items():
        plan = recipe.imitate if stage == IMITATE else recipe.finish
        if step >= end:
            continue
        begin = end - plan.steps
        state.begin(stage, plan)
        if step > begin:
            state.restore_optimizer(run)
        for images in image_batches(
            sets, recipe.canvas, plan.batch_size, recipe.seed, range(step, end)
        ):
            started = time.perf_counter()
            error, bits = state.step(images, stage, plan, step - begin)
            step += 1
            speed = plan.batch_size / (time.perf_counter() - started)
            if step % recipe.checkpoint_every == 0 or step == end:
                state.save(run, step)
            yield CutProgress(step, recipe.steps, stage, error, bits, speed)


class _State:
    def __init__(self, recipe: CutRecipe, network: Multitask, sets: Sequence[SampleSet]) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.teacher = copy.deepcopy(network).requires_grad_(False).eval()
        self.cut = CutNetwork(network, recipe)
        first = next(iter(image_batches(sets, recipe.canvas, 32, recipe.seed + 1, range(1))))
        start_from_principal_components(self.cut.bottleneck, first.float())
        for parameter in (*self.teacher.parameters(), *self.cut.parameters()):
            # Channels last is the layout in which the CPU's bfloat16 kernels are fast.
            if parameter.ndim == 4:
                parameter.data = parameter.data.to(memory_format=torch.channels_last)
        self.prices = torch.tensor(recipe.bit_prices)
        self.optimizer: torch.optim.Optimizer | None = None

    def begin(self, stage: str, plan: Stage) -> None:
        bottleneck, remote = self.cut.bottleneck, self.cut.remote
        self.cut.requires_grad_(False)
        if stage == IMITATE:
            bottleneck.requires_grad_(True)
            halves = [*bottleneck.encoder.parameters(), *bottleneck.decoder.parameters()]
            others = [
                bottleneck.log_gain,
                bottleneck.log_inverse,
                *bottleneck.density.parameters(),
            ]
            # The others are numbers of the order of one, each with a whole channel behind it.
            groups = [_group(halves, plan.learning_rate), _group(others, 5 * plan.learning_rate)]
        else:
            bottleneck.decoder.requires_grad_(True)
            bottleneck.log_inverse.requires_grad_(True)
            remote.requires_grad_(True)
            decoder = [*bottleneck.decoder.parameters(), bottleneck.log_inverse]
            groups = [
                _group(decoder, plan.learning_rate),
                _group(remote.parameters(), plan.remote_rate, relative=True),
            ]
        self.optimizer = RelativeAdamW(groups)

    def step(self, images: Tensor, stage: str, plan: Stage, step: int) -> tuple[float, float]:
        assert self.optimizer is not None
        # Which rate stands where depends on the step alone, so that a run can be resumed.
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)
        rate = torch.randint(len(self.prices), (len(images),), generator=generator)
        torch.manual_seed(self.recipe.seed * 7919 + step)
        for group in self.optimizer.param_groups:
            group['lr'] = group['peak'] * plan.rate_factor(step)
        image = images.float()
        losses = self.imitation(image, rate) if stage == IMITATE else self.answers(image, rate)
        error, bits_per_pixel = losses
        loss = error.mean()
        if stage == IMITATE:
            loss = loss + (self.prices[rate] * bits_per_pixel).mean()
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        trained = [p for group in self.optimizer.param_groups for p in group['params']]
        torch.nn.utils.clip_grad_norm_(trained, _CLIP)
        self.optimizer.step()
        return float(error.mean().detach()), float(bits_per_pixel.mean().detach())

    def imitation(self, image: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        """Each image's error of features, relative to their variance, and its bits per pixel."""
        with self.autocast():
            with torch.no_grad():
                wanted = backbone(self.teacher.trunk, image)
            compressed = self.cut.bottleneck(image, rate)
            found = backbone(self.teacher.trunk, compressed.image)
        weights = self.recipe.stage_weights
        error = torch.stack(
            [w * relative_error(f, t) for w, f, t in zip(weights, found, wanted, strict=True)]
        ).sum(dim=0)
        return error, compressed.bits / image[0, 0].numel()

    def answers(self, image: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        """How far the remote half's features and answers are from the whole network's."""
        with self.autocast():
            with torch.no_grad():
                wanted = self.teacher.trunk(image)
                targets = self.teacher.heads(wanted)
            compressed = self.cut.bottleneck(image, rate)
            found = self.cut.remote.trunk(compressed.image)
            outputs = self.cut.remote.heads(found)
        features = torch.stack(
            [relative_error(f, t).mean() for f, t in zip(found, wanted, strict=True)]
        ).sum()
        return features + distillation(outputs, targets), compressed.bits / image[0, 0].numel()

    def autocast(self) -> torch.autocast:
        precision = getattr(torch, self.recipe.precision)
        return torch.autocast('cpu', precision, enabled=precision != torch.float32)

    def save(self, run: Path, step: int) -> None:
        assert self.optimizer is not None
        state = {'step': step, 'cut': self.cut.state_dict()}
        save_checkpoint(run, {**state, 'optimizer': self.optimizer.state_dict()})

    def resume(self, run: Path) -> int:
        saved = load_checkpoint(run)
        self.cut.load_state_dict(saved['cut'])
        return int(saved['step'])

    def restore_optimizer(self, run: Path) -> None:
        assert self.optimizer is not None
        peaks = [group['peak'] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(load_checkpoint(run)['optimizer'])
        # The recipe may have changed since; what it says now is what counts.
        for group, peak in zip(self.optimizer.param_groups, peaks, strict=True):
            group['peak'] = peak


def relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared error of each of B feature maps, relative to the variance of the whole batch."""
    wanted = wanted.float()
    return (found.float() - wanted).square().mean(dim=(1, 2, 3)) / wanted.var()


def distillation(found: Outputs, wanted: Outputs) -> Tensor:
    """How far the heads' answers are from a teacher's, all three weighing about the same."""
    assert found.detection is not None
    assert wanted.detection is not None
    assert found.segmentation is not None
    assert wanted.segmentation is not None
    assert found.depth is not None
    assert wanted.depth is not None
    detection = distillation_loss(
        type(found.detection)(*(t.float() for t in found.detection)),
        type(wanted.detection)(*(t.float() for t in wanted.detection)),
    )
    segmentation = functional.kl_div(
        found.segmentation.float().log_softmax(dim=1),
        wanted.segmentation.float().log_softmax(dim=1),
        reduction='none',
        log_target=True,
    )
    depth = (found.depth.float() - wanted.depth.float()).abs().mean()
    return detection + segmentation.sum(dim=1).mean() + 2 * depth


def _group(
    parameters: Iterable[nn.Parameter], rate: float, relative: bool = False
) -> dict[str, Any]:
    return {
        'params': list(parameters),
        'lr': rate,
        'peak': rate,
        'weight_decay': 0.0,
        'relative': relative,
    }
