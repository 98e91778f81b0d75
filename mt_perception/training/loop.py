# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop: phases one after the other, validations, checkpoints, the log."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import torch

from mt_perception.network.multitask import Multitask
from mt_perception.training.checkpoint import FILE
from mt_perception.training.data.batches import SampleSet, batches
from mt_perception.training.distributed import broadcast_bool, process_group
from mt_perception.training.recipe import Phase, Recipe
from mt_perception.training.run_record import LOG, RunLog
from mt_perception.training.run_state import RunState, StepResult, count_classes

__all__ = ['LOG', 'Progress', 'Validate', 'count_classes', 'train']


@dataclass(frozen=True)
class Progress:
    """What the loop tells after every step.

    Args:
        step: how many steps have been taken.
        steps: how many there are at most.
        phase: its name.
        losses: unweighted, by name.
        images_per_s: of all processes.
        figures: of the validation, where there was one.
        controls: the tasks' factors and weights, where they are not what the recipe says.
        gmacs: what the step cost, 10⁹ multiply-accumulates.
        spent_gmacs: what the run has cost so far.
    """

    step: int
    steps: int
    phase: str
    losses: Mapping[str, float]
    images_per_s: float
    figures: Mapping[str, float] | None = None
    controls: Mapping[str, float] = field(default_factory=dict)
    gmacs: float = 0.0
    spent_gmacs: float = 0.0


Validate = Callable[[Multitask], Mapping[str, float]]


def train(
    recipe: Recipe,
    sets: Sequence[SampleSet],
    labels: tuple[Sequence[str], Sequence[str]],
    initial_weights: Path | None,
    run: Path,
    validate: Validate | None = None,
    network: Multitask | None = None,
    board: bool = False,
) -> Iterator[Progress]:
    """Train, or go on with a run that was interrupted; yield after every step.

    The same recipe, data, number of threads and of processes give the same weights, in one go or
    in pieces.

    Args:
        recipe: what to do.
        sets: the data.
        labels: detection and segmentation class names, kept in the checkpoint.
        initial_weights: YOLOX checkpoint, or None for random weights.
        run: folder of the run: checkpoint.pt and log.csv.
        validate: gives figures for the averaged weights.
        network: what to train; else the network that the recipe names, from `initial_weights`.
            Those are in any case what the detections are distilled from.
        board: write TensorBoard's files too.
    """
    torch.set_num_threads(recipe.threads)
    # OpenCV's own threads would fight with torch's for the same cores.
    cv2.setNumThreads(1)
    with process_group(recipe.device) as place:
        state = RunState(recipe, sets, labels, initial_weights, network, place)
        run.mkdir(parents=True, exist_ok=True)
        step = state.resume(run) if (run / FILE).exists() else 0
        log = RunLog(run, step, board) if place.first else None
        while state.phase < len(recipe.phases):
            for now in _phase(state, sets, step, validate):
                step = now.step
                values = {**now.losses, **now.controls, 'gmacs': now.gmacs, **(now.figures or {})}
                finished = state.phase == len(recipe.phases)
                if log is not None:
                    log.add(step, now.phase, values)
                    if step % recipe.checkpoint_every == 0 or finished:
                        state.save(run, step)
                yield now
        if log is not None:
            log.close()


def _phase(
    state: RunState, sets: Sequence[SampleSet], step: int, validate: Validate | None
) -> Iterator[Progress]:
    """Take the steps of a phase that are left, and end it."""
    recipe, place = state.recipe, state.place
    phase, begun = recipe.phases[state.phase], state.begun
    if step == begun:
        state.begin(phase)
    left = range(step, begun + phase.steps)
    for batch in batches(sets, recipe.canvases, phase.batch_size, recipe.seed, left, place.share):
        started = time.perf_counter()
        state.switch_if_due(phase, step - begun)
        result = state.step(batch, phase, step - begun)
        step += 1
        speed = phase.batch_size * place.count / (time.perf_counter() - started)
        last = step == begun + phase.steps
        final = last and state.phase == len(recipe.phases) - 1
        figures = None
        if validate is not None and (step % recipe.validate_every == 0 or final):
            figures = _measured(state, validate)
            last = _stops(state, phase) or last
        if last:
            state.end_phase(step)
        yield _progress(state, phase, step, result, speed, figures)
        if last:
            return


def _measured(state: RunState, validate: Validate) -> dict[str, float] | None:
    """Let the first process measure the averaged weights."""
    if not state.place.first:
        return None
    average = state.average
    if state.place.device.type != 'cpu':
        average = copy.deepcopy(average).cpu()
    figures = dict(validate(average))
    state.history.append(figures)
    return figures


def _stops(state: RunState, phase: Phase) -> bool:
    """Tell every process whether the phase's figure has come to rest."""
    rests = phase.stop is not None and phase.stop.reached(state.history)
    return broadcast_bool(rests, state.place) if phase.stop is not None else False


def _progress(
    state: RunState,
    phase: Phase,
    step: int,
    result: StepResult,
    speed: float,
    figures: Mapping[str, float] | None,
) -> Progress:
    return Progress(
        step,
        state.recipe.steps,
        phase.name,
        result.losses,
        speed,
        figures,
        result.controls,
        result.macs / 1e9,
        state.macs / 1e9,
    )
