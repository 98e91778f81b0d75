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
    """Progress after a step.

    Args:
        step: number of steps so far.
        steps: largest number of steps.
        phase: name of the phase.
        losses: unweighted losses by name.
        images_per_s: throughput of all processes.
        metrics: metrics of a validation after this step, or None.
        controls: scheduled and balanced task weights.
        gmacs: cost of the step, 10⁹ multiply-accumulates.
        spent_gmacs: cost of the run so far.
    """

    step: int
    steps: int
    phase: str
    losses: Mapping[str, float]
    images_per_s: float
    metrics: Mapping[str, float] | None = None
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
    kept_tasks: Sequence[str] = (),
) -> Iterator[Progress]:
    """Train, or resume an interrupted run; yield after every step.

    The same recipe, data and numbers of threads and processes give the same weights, interrupted
    or not.

    Args:
        recipe: the recipe.
        sets: the data.
        labels: detection and segmentation class names, kept in the checkpoint.
        initial_weights: YOLOX checkpoint, or None for random weights.
        run: folder of the run: checkpoint.pt and log.csv.
        validate: returns metrics of the averaged weights.
        network: network to train; None builds the recipe's network from `initial_weights`, from
            which detections are distilled in either case.
        board: write TensorBoard files too.
        kept_tasks: tasks that `network` can do already; they are exported too.
    """
    torch.set_num_threads(recipe.threads)
    # OpenCV's threads would compete with torch's for the same cores.
    cv2.setNumThreads(1)
    with process_group(recipe.device) as process:
        state = RunState(recipe, sets, labels, initial_weights, network, process, kept_tasks)
        run.mkdir(parents=True, exist_ok=True)
        step = state.resume(run) if (run / FILE).exists() else 0
        log = RunLog(run, step, board) if process.first else None
        while state.phase < len(recipe.phases):
            for now in _phase(state, sets, step, validate, run):
                step = now.step
                values = {**now.losses, **now.controls, 'gmacs': now.gmacs, **(now.metrics or {})}
                finished = state.phase == len(recipe.phases)
                if log is not None:
                    log.add(step, now.phase, values)
                    if step % recipe.checkpoint_every == 0 or now.metrics or finished:
                        state.save(run, step)
                yield now
        if log is not None:
            log.close()


def _phase(
    state: RunState,
    sets: Sequence[SampleSet],
    step: int,
    validate: Validate | None,
    run: Path,
) -> Iterator[Progress]:
    """Take the remaining steps of a phase, and end it."""
    recipe, process = state.recipe, state.process
    phase, begun = recipe.phases[state.phase], state.begun
    end = begun + phase.steps
    if step == begun:
        state.begin(phase)
    if state.validation_due:
        # The run ended during a validation: it is repeated before the next step.
        metrics = _validated(state, validate) if validate is not None else None
        last = _stops(state, phase) or step == end
        state.validation_due = False
        if last:
            state.end_phase(step)
        yield _progress(state, phase, step, StepResult({}, {}, 0), 0.0, metrics)
        if last:
            return
    left = range(step, end)
    for batch in batches(
        sets, recipe.canvases, phase.batch_size, recipe.seed, left, process.share
    ):
        started = time.perf_counter()
        state.switch_if_due(phase, step - begun)
        result = state.step(batch, phase, step - begun)
        step += 1
        speed = phase.batch_size * process.count / (time.perf_counter() - started)
        last = step == end
        final = last and state.phase == len(recipe.phases) - 1
        metrics = None
        if validate is not None and (step % recipe.validate_every == 0 or final):
            state.validation_due = True
            if process.first:
                # A validation that fails, for example on a damaged file, costs no training.
                state.save(run, step)
            metrics = _validated(state, validate)
            state.validation_due = False
            last = _stops(state, phase) or last
        if last:
            state.end_phase(step)
        yield _progress(state, phase, step, result, speed, metrics)
        if last:
            return


def _validated(state: RunState, validate: Validate) -> dict[str, float] | None:
    """Validate the averaged weights in the first process."""
    if not state.process.first:
        return None
    average = state.average
    if state.process.device.type != 'cpu':
        average = copy.deepcopy(average).cpu()
    metrics = dict(validate(average))
    state.history.append(metrics)
    return metrics


def _stops(state: RunState, phase: Phase) -> bool:
    """Return in every process whether the phase's stopping criterion is met."""
    met = phase.stop is not None and phase.stop.reached(state.history)
    return broadcast_bool(met, state.process) if phase.stop is not None else False


def _progress(
    state: RunState,
    phase: Phase,
    step: int,
    result: StepResult,
    speed: float,
    metrics: Mapping[str, float] | None,
) -> Progress:
    return Progress(
        step,
        state.recipe.steps,
        phase.name,
        result.losses,
        speed,
        metrics,
        result.controls,
        result.macs / 1e9,
        state.macs / 1e9,
    )
