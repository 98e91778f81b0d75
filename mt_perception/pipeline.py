# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The pipeline: one frame in, one result out. Everyone's way in, with or without ROS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import CameraError, ImageError, ModelError, OptionError, TaskError
from mt_perception.execution.executor import Executor, Outcome, Runner
from mt_perception.execution.options import Options
from mt_perception.execution.postprocess.depth import depth
from mt_perception.execution.postprocess.detection import detections
from mt_perception.execution.postprocess.segmentation import segmentation
from mt_perception.execution.postprocess.warp import Output, moved
from mt_perception.execution.stages import attempt
from mt_perception.image.encodings import check_size
from mt_perception.image.letterbox import Letterbox
from mt_perception.image.optical_flow import Motion
from mt_perception.image.pyramid import Halves
from mt_perception.model.folder import open_model
from mt_perception.model.manifest import Manifest
from mt_perception.model.sessions import CPU, load_sessions
from mt_perception.planning.budget import Budget
from mt_perception.planning.conditions import parse_rules, with_deciders
from mt_perception.planning.path_policy import PolicyNet
from mt_perception.planning.plan import Plan
from mt_perception.planning.planner import Planner
from mt_perception.types import (
    DEPTH,
    DETECTION,
    SEGMENTATION,
    DepthMap,
    Detections,
    Execution,
    Frame,
    Result,
    Segmentation,
)

PlanSource = Callable[[Frame, frozenset[str]], Plan]
"""Decides what to run: (the frame, the tasks that somebody wants) → a plan."""


class Pipeline:
    """A model, ready to run.

    Args:
        manifest: What the model offers.
        runner: What runs its blocks.
        plan_source: Decides what to run for each frame; by default the planner.
        options: Settings; may be replaced between two frames.

    Attributes:
        manifest: What the model offers.
        runner: What runs its blocks.
        providers: Execution providers in use, most wanted first.
        warnings: What was asked for and could not be had, in words for an operator.
        planner: Decides what to run, within a budget; None beside a ``plan_source``.

    Raises:
        OptionError: The model cannot serve the options.
    """

    def __init__(
        self,
        manifest: Manifest,
        runner: Runner,
        plan_source: PlanSource | Planner | None = None,
        options: Options | None = None,
        providers: tuple[str, ...] = (CPU,),
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.manifest = manifest
        self.providers = providers
        self.warnings = warnings
        self.runner = runner
        source = plan_source or Planner(manifest)
        self.planner = source if isinstance(source, Planner) else None
        self._plan_source = None if isinstance(source, Planner) else source
        self._last: dict[str, Output] = {}
        self._options = (options or Options()).checked(manifest)

    @classmethod
    def load(
        cls,
        folder: Path | str,
        options: Options | None = None,
        providers: Sequence[str] = (CPU,),
        threads: int = 1,
        memory_mb: float | None = None,
        budget: Budget | None = None,
    ) -> Pipeline:
        """Load a model folder and run it once, so that the first frame is not the slow one.

        Args:
            folder: The model folder.
            options: Settings; may be replaced between two frames.
            providers: ONNX Runtime execution providers, most wanted first.
            threads: Threads inside one operator; 0 lets ONNX Runtime take one per core.
            memory_mb: Most megabytes (10^6 bytes) of weights to hold at any time; blocks are
                loaded when their turn comes, which takes time. None holds all.
            budget: What may be spent on a frame; may be replaced between two frames.

        Raises:
            ModelError: The folder is refused, or a task fails on a first image.
            OptionError: The model cannot serve the options, not in so little memory, or not
                within the budget.
        """
        model = open_model(folder)
        sessions = load_sessions(model, providers, threads, memory_mb)
        policy = None if model.manifest.paths.policy is None else PolicyNet(model)
        pipeline = cls(
            model.manifest,
            Executor(sessions.by_block),
            Planner(model.manifest, policy),
            options=options,
            providers=sessions.providers,
            warnings=sessions.warnings,
        )
        size = pipeline.network_long_side
        noise = np.random.default_rng(0).integers(0, 255, (size * 3 // 4, size, 3), np.uint8)
        for path in model.manifest.paths.choices:
            pipeline.budget = Budget(path=path.name)
            failures = pipeline.run(Frame(noise)).failures
            if failures:
                raise ModelError(
                    f'the model does not do what its manifest says (path {path.name}): '
                    + '; '.join(f'{task}: {reason}' for task, reason in failures.items())
                )
        pipeline.budget = budget or Budget()
        return pipeline

    @property
    def options(self) -> Options:
        """The settings; assigning others takes effect with the next frame."""
        return self._options

    @options.setter
    def options(self, options: Options) -> None:
        checked = options.checked(self.manifest)
        if checked != self._options and self.planner is not None:
            self.planner.forget()
        self._options = checked

    @property
    def budget(self) -> Budget:
        """What may be spent on a frame; assigning another takes effect with the next one."""
        return Budget() if self.planner is None else self.planner.budget

    @budget.setter
    def budget(self, budget: Budget) -> None:
        if self.planner is None:
            raise OptionError('a pipeline with a plan source of its own keeps no budget')
        self.planner.budget = budget

    @property
    def network_long_side(self) -> int:
        """Long side of the network's input in pixels."""
        return self._options.size or self.manifest.input.size

    def run(self, frame: Frame, wanted: Iterable[str] | None = None) -> Result:
        """Run one frame.

        Args:
            frame: The frame; its image is not changed.
            wanted: The tasks that somebody wants; None means all that the model serves.

        Returns:
            The results of the tasks that were wanted. A task that failed is named in
            ``failures``; the others have their results all the same. A task that its condition
            left out has neither, and is not among ``execution.tasks``.

        Raises:
            ImageError: The image is no uint8 BGR image of a size that a camera has.
            ModelError: A wanted task is not of this model.
        """
        start = time.perf_counter()
        options = self._options
        _check_image(frame.image)
        rules = parse_rules(options.conditions)
        tasks = with_deciders(self.manifest.tasks if wanted is None else wanted, rules)
        halves = Halves(frame.image)
        plan = self._plan(frame, halves, tasks)
        planned = time.perf_counter()
        spec = self.manifest.input
        letterbox = spec.letterbox(frame.image.shape[:2], self.network_long_side, plan.scale)
        outcome, image = Outcome({}, {}, {}), None
        if plan.blocks:
            image = letterbox.network_image(halves, spec.pad_value)
        prepared = time.perf_counter()
        tried = attempt(plan, self.manifest, letterbox, options)
        if image is not None:
            outcome = self.runner.run(tried.plan, image)
        plan = tried.served()
        ran = time.perf_counter()
        results, failures = self._postprocess(plan, outcome, letterbox, frame, options)
        end = time.perf_counter()
        started = tuple(block for block in plan.blocks if block.name in outcome.latency_ms)
        blocks = (*outcome.beside, *started)
        macs = self.manifest.macs_at(sum(block.macs for block in blocks), letterbox.network_size)
        execution = Execution(
            tasks=plan.tasks,
            blocks=tuple(block.name for block in (*plan.choice, *blocks)),
            path=plan.path,
            reason=plan.reason,
            macs=macs + sum(block.macs for block in plan.choice),
            network_size=letterbox.network_size,
            latency_ms={
                'plan': (planned - start) * 1e3,
                'preprocess': (prepared - planned) * 1e3,
                **outcome.latency_ms,
                'postprocess': (end - ran) * 1e3,
                'total': (end - start) * 1e3,
            },
            loaded_bytes=outcome.loaded_bytes,
            facts={**plan.facts, **outcome.facts},
        )
        if self.planner is not None:
            self.planner.finished(plan, execution, failures)
        self._last.update({t: made for t, made in results.items() if t not in plan.reuse})
        return Result(
            stamp_ns=frame.stamp_ns,
            frame_id=frame.frame_id,
            # The manifest sees to it that a task called like a kind is of that kind.
            detections=cast('Detections | None', results.pop(DETECTION, None)),
            depth=cast('DepthMap | None', results.pop(DEPTH, None)),
            segmentation=cast('Segmentation | None', results.pop(SEGMENTATION, None)),
            execution=execution,
            failures=failures,
            extra=results,
        )

    def _plan(self, frame: Frame, image: Halves, wanted: frozenset[str]) -> Plan:
        if self._plan_source is not None:
            return self._plan_source(frame, wanted)
        assert self.planner is not None
        return self.planner.plan(frame, image, wanted, self.network_long_side)

    def _postprocess(
        self, plan: Plan, outcome: Outcome, letterbox: Letterbox, frame: Frame, options: Options
    ) -> tuple[dict[str, Output], dict[str, str]]:
        """Results by task, and the reasons of those tasks that have none."""
        results: dict[str, Output] = {}
        failures: dict[str, str] = {}
        for task in plan.tasks:
            try:
                if task in plan.reuse:
                    results[task] = self._again(task, plan.reuse[task], frame)
                else:
                    results[task] = self._made(task, outcome, letterbox, frame, options)
            except (TaskError, CameraError) as error:
                failures[task] = str(error)
        return results, failures

    def _again(self, task: str, motion: Motion | None, frame: Frame) -> Output:
        """The last result of a task, moved along with the scene."""
        if task not in self._last:
            raise TaskError(f'task {task!r} has no earlier result to give again')
        last = self._last[task]
        if motion is None:
            return last
        return moved(last, motion, (frame.image.shape[0], frame.image.shape[1]))

    def _made(
        self, task: str, outcome: Outcome, letterbox: Letterbox, frame: Frame, options: Options
    ) -> Output:
        """A task's result of what the network gave."""
        spec = self.manifest.tasks[task]
        outputs = {name: outcome.tensor(t) for name, t in spec.outputs.items()}
        if spec.kind == DETECTION:
            return detections(outputs, letterbox, spec.labels, options)
        if spec.kind == SEGMENTATION:
            return segmentation(outputs['class_ids'], letterbox, spec.labels)
        return depth(outputs['depth_per_focal'], letterbox, frame.intrinsics, options.max_depth_m)


def _check_image(image: NDArray[Any]) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(
            'wrong_type',
            f'expected a uint8 image (H, W, 3), BGR, found {image.dtype} {image.shape}; '
            'convert it with mt_perception.image.encodings',
        )
    check_size(*image.shape[:2])
