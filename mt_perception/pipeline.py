# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The pipeline: one frame in, one result out, with or without ROS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import ImageError, ModelError
from mt_perception.execution.executor import Executor
from mt_perception.execution.frame_run import FrameRun, LapClock, Runner
from mt_perception.execution.options import Options
from mt_perception.execution.plan import Plan, with_tensors
from mt_perception.execution.postprocess.task_result import task_result
from mt_perception.image.encodings import check_image
from mt_perception.image.letterbox import Letterbox
from mt_perception.image.pyramid import ImagePyramid
from mt_perception.model.folder import open_model
from mt_perception.model.manifest import Manifest
from mt_perception.model.providers import CPU
from mt_perception.model.sessions import load_sessions
from mt_perception.model.task_graph import IMAGE
from mt_perception.planning.budget import Budget
from mt_perception.planning.conditions import (
    check_conditions,
    parse_conditions,
    with_deciding_tasks,
)
from mt_perception.planning.frame_state import FrameState
from mt_perception.planning.gated_plan import GATED_PATH
from mt_perception.planning.path_policy import PolicyNet
from mt_perception.planning.planner import Planner
from mt_perception.reports import BudgetReport, Execution, ReuseReport
from mt_perception.resources import find_model
from mt_perception.types import (
    DEPTH,
    DETECTION,
    SEGMENTATION,
    DepthMap,
    Detections,
    Frame,
    Result,
    Segmentation,
)


class Pipeline:
    """A loaded model that turns frames into results.

    Args:
        manifest: What the model offers.
        runner: Runs the stages of a plan.
        planner: Makes the plan of each frame; by default a planner without a path policy.
        options: Settings; may be replaced between two frames.
        providers: ONNX Runtime execution providers in use, in order of preference.
        warnings: Warnings for the operator, for example unavailable execution providers.
        folder: The model folder, if the model was loaded from one.

    Attributes:
        manifest: What the model offers.
        runner: Runs the stages of a plan; may be replaced, for example by an offload client.
        providers: Execution providers in use, in order of preference.
        warnings: Warnings for the operator.
        folder: The model folder; None if the model was not loaded from one.
        state: The memory of the camera whose frames are run without a state of their own.

    Raises:
        OptionError: The model cannot serve the options.

    Example:
        >>> import numpy as np
        >>> from mt_perception import Pipeline
        >>> pipeline = Pipeline.load('cspnano')
        >>> result = pipeline.run(np.zeros((240, 320, 3), np.uint8), tasks=['detection'])
        >>> len(result.detections), result.depth is None
        (0, True)
    """

    def __init__(
        self,
        manifest: Manifest,
        runner: Runner,
        planner: Planner | None = None,
        options: Options | None = None,
        providers: tuple[str, ...] = (CPU,),
        warnings: tuple[str, ...] = (),
        folder: Path | None = None,
    ) -> None:
        self.manifest = manifest
        self.runner = runner
        self.providers = providers
        self.warnings = warnings
        self.folder = folder
        self.state = FrameState()
        self._planner = planner or Planner(manifest)
        self._budget = Budget()
        self._options = self.checked_options(options or Options())

    @classmethod
    def load(
        cls,
        model: Path | str,
        options: Options | None = None,
        providers: Sequence[str] = (CPU,),
        threads: int = 1,
        memory_mb: float | None = None,
        budget: Budget | None = None,
        parallel: bool = False,
    ) -> Pipeline:
        """Load a model and run each of its paths once, so that the first frame is not slower.

        Args:
            model: Name of an installed model, or a model folder.
            options: Settings; may be replaced between two frames.
            providers: ONNX Runtime execution providers in order of preference.
            threads: Threads of one operator; 0 lets ONNX Runtime use one for each core.
            memory_mb: Upper limit on weights kept in memory, in MB (10^6 bytes); blocks are then
                loaded when they run, which takes time. None keeps all weights.
            budget: Compute and latency budget; may be replaced between two frames.
            parallel: Run blocks that do not read one another side by side, each on a core; without
                effect under a memory limit.

        Raises:
            ModelError: There is no such model, it is refused, or a task fails on a first image.
            OptionError: The model cannot serve the options, or not within the memory or budget.
        """
        folder = find_model(str(model))
        content = open_model(folder)
        sessions = load_sessions(content, providers, threads, memory_mb)
        policy = None if content.manifest.paths.policy is None else PolicyNet(content)
        pipeline = cls(
            content.manifest,
            Executor(sessions.by_block, parallel and memory_mb is None),
            Planner(content.manifest, policy),
            options=options,
            providers=sessions.providers,
            warnings=sessions.warnings,
            folder=folder,
        )
        pipeline._warm_up()
        pipeline.budget = budget or Budget()
        return pipeline

    def _warm_up(self) -> None:
        """Run every path once on noise, with a memory of its own.

        Raises:
            ModelError: A task fails.
        """
        size = self.network_long_side
        noise = np.random.default_rng(0).integers(0, 255, (size * 3 // 4, size, 3), np.uint8)
        budgets = [Budget(path=path.name) for path in self.manifest.paths.choices]
        budgets += [Budget(compute=1 - 1e-6)] if self.manifest.early_exit.gates else []
        for self.budget in budgets:
            result = self.run(Frame(noise), state=FrameState(), confidence=True)
            if result.failures:
                raise ModelError(
                    'the model does not do what its manifest says (path '
                    f'{result.execution.path}): '
                    + '; '.join(f'{task}: {reason}' for task, reason in result.failures.items())
                )

    @property
    def options(self) -> Options:
        """The settings from the next frame on; assigning invalid ones raises OptionError."""
        return self._options

    @options.setter
    def options(self, options: Options) -> None:
        self._options = self.checked_options(options)

    @property
    def budget(self) -> Budget:
        """The budget from the next frame on; assigning an invalid one raises OptionError."""
        return self._budget

    @budget.setter
    def budget(self, budget: Budget) -> None:
        self._budget = self.checked_budget(budget)

    def checked_options(self, options: Options) -> Options:
        """Return options if the model can serve them.

        Raises:
            OptionError: An option is out of range, or names a task or class that the model lacks.
            CalibrationError: The depth calibration is refused.
        """
        check_conditions(options.conditions, self.manifest.tasks)
        return options.checked(self.manifest)

    def checked_budget(self, budget: Budget) -> Budget:
        """Return a budget if the model can keep it.

        Raises:
            OptionError: A value is out of range, or names a path that the model lacks.
        """
        return budget.checked((p.name for p in self.manifest.paths.choices), self.manifest.tasks)

    @property
    def network_long_side(self) -> int:
        """Long side of the network's input on the full path, in pixels."""
        return self._long_side(self._options)

    def run(
        self,
        frame: Frame | NDArray[np.uint8],
        tasks: Iterable[str] | None = None,
        deadline_s: float | None = None,
        state: FrameState | None = None,
        confidence: bool = False,
    ) -> Result:
        """Run one frame.

        Several threads may call this; frames with one state run one after the other.

        Args:
            frame: The frame, or its image, uint8 (H, W, 3), BGR. It is not changed.
            tasks: Names of the wanted tasks; None runs every task of the model.
            deadline_s: ``time.monotonic()`` by which the last output has to be published; only
                an offload client uses it. None sets no deadline here.
            state: Memory of the frame's camera, if there are several; None takes ``self.state``.
            confidence: Compute the confidence of tasks whose model has one, too.

        Returns:
            The results of the wanted tasks. A task that failed is in ``failures``, and costs no
            other task its result. A task that its condition skipped is in ``execution.skipped``.

        Raises:
            ImageError: The image is not a uint8 BGR image, or its size is out of range.
            ModelError: A wanted task is not in this model.
        """
        frame = frame if isinstance(frame, Frame) else Frame(frame)
        check_image(frame.image)
        _check_stamp(frame.stamp_ns)
        state = self.state if state is None else state
        with state.lock:
            start = time.perf_counter()
            options, budget = self._options, self._budget
            state.configure(options, budget, self.manifest)
            image = ImagePyramid(frame.image)
            state.observe(frame, image)
            plan = self._plan(frame, image, tasks, options, budget, state)
            if confidence:
                plan = with_tensors(plan, self.manifest.logits)
            letterbox = self.manifest.input.letterbox(
                frame.image.shape[:2], self._long_side(options), plan.scale
            )
            stage_ms = {'plan': (time.perf_counter() - start) * 1e3}

            # What publishing takes is kept free.
            deadline_s = None if deadline_s is None else deadline_s - state.publishing_s
            run = FrameRun(plan, frame, network_size=letterbox.network_size, deadline_s=deadline_s)
            for task in plan.reuse:
                run.complete(task, partial(state.reused, task, plan.reuse[task], frame))
            stage_ms |= self._run_stages(run, image, letterbox, options, state)
            stage_ms['total'] = (time.perf_counter() - start) * 1e3

            execution = self._execution(run, stage_ms, state)
            state.commit(run, execution, time.monotonic())
            return _result(run, execution)

    def record_published(self, state: FrameState | None = None) -> None:
        """Record that the last output of the last frame is published.

        Latency budget and deadlines then include the time that publishing takes.
        """
        state = self.state if state is None else state
        with state.lock:
            state.record_published(time.monotonic())

    def _long_side(self, options: Options) -> int:
        return options.size or self.manifest.input.size

    def _plan(
        self,
        frame: Frame,
        image: ImagePyramid,
        tasks: Iterable[str] | None,
        options: Options,
        budget: Budget,
        state: FrameState,
    ) -> Plan:
        if isinstance(tasks, str):
            raise ModelError(f'expected a list of task names, found the string {tasks!r}')
        conditions = parse_conditions(options.conditions)
        wanted = with_deciding_tasks(self.manifest.tasks if tasks is None else tasks, conditions)
        wanted = state.depth.with_ground(wanted, self.manifest.tasks, frame)
        long_side, active = self._long_side(options), tuple(conditions.values())
        return self._planner.plan(frame, image, wanted, long_side, budget, state, active)

    def _run_stages(
        self,
        run: FrameRun,
        image: ImagePyramid,
        letterbox: Letterbox,
        options: Options,
        state: FrameState,
    ) -> dict[str, float]:
        """Run the stages whose gates open; return the times of their parts in ms."""
        ms = dict.fromkeys(('preprocess', 'inference', 'postprocess'), 0.0)
        clock = LapClock()
        last: list[Callable[[], None]] = []
        if run.plan.stages:
            pad_value = self.manifest.input.pad_value
            # The network releases it, and the filter of depth reads it, too.
            run.tensors[IMAGE] = network_image = letterbox.network_image(image, pad_value)
        ms['preprocess'] = clock.lap_ms()
        for stage in run.plan.stages:
            opens = stage.gate is None or stage.gate.opens(run)
            if not opens and not stage.early_exit:
                run.skipped += stage.tasks
                continue
            if opens and not run.has_results_of(stage):
                self.runner.run(stage, run)
            ms['inference'] += clock.lap_ms()
            run.second_stage += stage.tasks if opens and stage.early_exit else ()
            specs = self.manifest.tasks if opens and not stage.early else self.manifest.early_tasks
            for task in stage.tasks:
                make = partial(task_result, specs[task], run, letterbox)
                if task == DEPTH and state.depth.is_needed:
                    # After the segmentation, which may be of a later stage.
                    scaled = partial(state.depth.depth_map, run, image=network_image[0])
                    last.append(partial(run.complete, task, partial(make, options, scaled)))
                elif task == DETECTION and options.tracking and run.frame.stamp_ns:
                    run.complete(task, partial(state.tracked, make, options, run.frame))
                else:
                    run.complete(task, partial(make, options))
            ms['postprocess'] += clock.lap_ms()
        for complete in last:
            complete()
        ms['postprocess'] += clock.lap_ms()
        return ms

    def _execution(
        self, run: FrameRun, stage_ms: dict[str, float], state: FrameState
    ) -> Execution:
        plan = run.plan
        macs = self.manifest.macs_at(sum(block.macs for block in run.blocks), run.network_size)
        policy = [] if plan.policy is None else [plan.policy]
        macs += sum(block.macs for block in policy)
        state.spending.add(macs, plan.full_macs)
        reuse = None
        if plan.change is not None:
            names = ' '.join(sorted(plan.reuse)) or None
            reuse = ReuseReport(plan.change, names, plan.age_ms)
        return Execution(
            tasks=tuple(task for task in plan.tasks if task not in run.skipped),
            blocks=tuple(block.name for block in (*policy, *run.blocks)),
            path=plan.path,
            reason=plan.reason,
            macs=macs,
            network_size=run.network_size,
            stage_ms=stage_ms,
            block_ms=run.block_ms,
            loaded_bytes=run.loaded_bytes,
            skipped=tuple(run.skipped),
            not_due=plan.not_due,
            second_stage=tuple(run.second_stage) if plan.path == GATED_PATH else None,
            budget=BudgetReport(state.spending.budget, state.spending.realised),
            reuse=reuse,
            depth_scale=run.depth_scale,
            offload=run.offload,
        )


def _result(run: FrameRun, execution: Execution) -> Result:
    results = dict(run.results)
    return Result(
        stamp_ns=run.frame.stamp_ns,
        frame_id=run.frame.frame_id,
        # The manifest guarantees that a task named like a kind is of that kind.
        detections=cast('Detections | None', results.pop(DETECTION, None)),
        depth=cast('DepthMap | None', results.pop(DEPTH, None)),
        segmentation=cast('Segmentation | None', results.pop(SEGMENTATION, None)),
        execution=execution,
        failures=run.task_failures,
        extra=results,
        image=run.frame.image,
    )


def _check_stamp(stamp_ns: int) -> None:
    if not isinstance(stamp_ns, (int, np.integer)) or not 0 <= stamp_ns < 1 << 63:
        raise ImageError(
            'bad_stamp', f'stamp_ns must be an integer from 0 in nanoseconds, found {stamp_ns!r}'
        )
