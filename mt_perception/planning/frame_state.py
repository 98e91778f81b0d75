# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that outlives a frame of one camera: views, results, spending, rates, latency."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import TaskError
from mt_perception.execution.frame_run import FrameRun
from mt_perception.execution.options import Options
from mt_perception.execution.plan import expected_share
from mt_perception.execution.postprocess.warp import warped
from mt_perception.image.change import change, is_scene_cut, to_change_image
from mt_perception.image.optical_flow import OpticalFlow, to_flow_image
from mt_perception.image.pyramid import ImagePyramid
from mt_perception.model.manifest import Manifest
from mt_perception.planning.budget import Budget, Spending
from mt_perception.planning.depth_correction import DepthCorrection
from mt_perception.planning.latency_controller import LatencyController
from mt_perception.planning.task_rates import TaskRates
from mt_perception.reports import Execution
from mt_perception.tracking.tracker import NO_TRACK, Tracker, TrackerOptions
from mt_perception.types import Detections, Frame, Intrinsics, TaskResult

_RECENT = 32
"""Latest frames whose slowest publication is expected to recur."""

_UNCERTAIN_SCORE = 0.1
"""Lowest score of a detection that may continue a track."""

_MOST_CANDIDATES = 300
"""Maximum number of detections to track, uncertain ones among them."""


@dataclass(frozen=True, eq=False)
class View:
    """The small images of a frame that later frames are compared with.

    Attributes:
        stamp_ns: Stamp of the frame.
        size: Shape of its image.
        intrinsics: Its camera.
        change_image: The image for change detection; see ``image.change``.
        flow_image: The image for optical flow, see ``image.optical_flow``; None if unused.
    """

    stamp_ns: int
    size: tuple[int, ...]
    intrinsics: Intrinsics | None
    change_image: NDArray[np.int16]
    flow_image: NDArray[np.uint8] | None

    def age_ms(self, frame: Frame) -> float:
        """Return how much older than a frame it is."""
        return (frame.stamp_ns - self.stamp_ns) * 1e-6


class FrameState:
    """The memory of one camera's frames.

    Changes are measured against the frame that produced a task's last result, not from frame to
    frame, so a slow drift accumulates. Frames without a stamp, of another size or camera, or
    older than the last one (a bag that starts again) share nothing with earlier frames.

    Args:
        accounts: Compute budget → compute spent by the cameras that share it, so cameras with a
            still scene leave compute to the others; None for a separate account.

    Attributes:
        lock: Held while a frame runs, so that threads with one camera wait for each other.
        spending: Compute spent against the budget.
        controller: Keeps the latency; None without a wanted latency.
        rates: Which tasks are deferred when the budget is small.
        tracker: Identities of detected objects.
        depth: Filter and scale of depth over time.
        path: Path of the last stamped frame that ran; empty before the first.
        last: Execution of the last frame; None before the first.
        outside_ms: Time that a frame spends outside of the pipeline, from its arrival to its
            last output; 0 until ``record_published`` was called.
    """

    def __init__(self, accounts: MutableMapping[float, Spending] | None = None) -> None:
        self.lock = threading.RLock()
        self._accounts = accounts
        self.depth = DepthCorrection()
        self._options = Options()
        self._budget = Budget()
        self.last: Execution | None = None
        self.path = ''
        self.outside_ms = 0.0
        self._publishing_s: deque[float] = deque(maxlen=_RECENT)
        self._ended_s = 0.0
        self._last_frame: Frame | None = None
        self._reset_spending()
        self.forget()

    def _reset_spending(self) -> None:
        compute = self._budget.compute
        self.spending = Spending(compute)
        if self._accounts is not None:
            self.spending = self._accounts.setdefault(compute, self.spending)
        latency_ms = self._budget.latency_ms
        self.controller = LatencyController(latency_ms) if latency_ms else None

    def configure(self, options: Options, budget: Budget, manifest: Manifest) -> None:
        """Take over settings for the next frame; what a change makes invalid is dropped."""
        self.depth.configure(options, f'{manifest.name} {manifest.version}')
        if options is not self._options:
            changed = options != self._options
            self._options = options
            if changed:
                self.forget()
        if budget is not self._budget and budget != self._budget:
            self._budget = budget
            self._reset_spending()

    def forget(self) -> None:
        """Drop earlier results, so that none is reused."""
        self.rates = TaskRates()
        self.tracker = Tracker(
            TrackerOptions(
                self._options.track_min_score or self._options.score_threshold,
                self._options.track_min_iou,
                max_age_ms=self._options.track_max_age_ms,
            )
        )
        self._candidate_options: tuple[Options, Options] | None = None
        self._views: dict[str, View] = {}
        self._results: dict[str, TaskResult] = {}
        self._due_ns: dict[str, float] = {}
        self._current: tuple[Frame, View] | None = None
        self._previous_ns = 0

    @property
    def period_ms(self) -> float:
        """Time between the last two frames; 0 if unknown."""
        if self._current is None or not self._previous_ns:
            return 0.0
        return max(0.0, (self._current[0].stamp_ns - self._previous_ns) * 1e-6)

    @property
    def publishing_s(self) -> float:
        """Time from the end of a run to its last output: the slowest of the latest frames."""
        return max(self._publishing_s, default=0.0)

    def observe(self, frame: Frame, image: ImagePyramid) -> None:
        """Take up a frame: make the small images that change and motion are measured in.

        Without a staleness limit no result is reused, and nothing is computed.
        """
        if not self._budget.max_stale_ms:
            return
        self._previous_ns = self._current[0].stamp_ns if self._current else 0
        flow_image = to_flow_image(image) if self._budget.compute < 1 else None
        view = View(
            frame.stamp_ns, frame.image.shape, frame.intrinsics, to_change_image(image), flow_image
        )
        self._current = frame, view

    def reusable(self, tasks: Collection[str]) -> dict[str, View]:
        """Return task → the view of its last result, for results that are fresh enough."""
        if self._current is None:
            return {}
        frame, now = self._current
        return {
            task: view
            for task, view in self._views.items()
            if task in tasks
            and view.stamp_ns > 0
            and 0 <= view.age_ms(frame) <= self._budget.max_stale_ms
            and (view.size, view.intrinsics) == (now.size, now.intrinsics)
        }

    def changes(self, views: Mapping[str, View]) -> dict[str, float]:
        """Return task → change since its view, in grey levels; see ``image.change``."""
        assert self._current is not None
        now = self._current[1].change_image
        found = {view: change(view.change_image, now) for view in set(views.values())}
        return {task: found[view] for task, view in views.items()}

    def has_cut(self, view: View) -> bool:
        """Return whether the scene was cut since a view."""
        assert self._current is not None
        return is_scene_cut(view.change_image, self._current[1].change_image)

    def motions(self, views: Mapping[str, View]) -> dict[str, OpticalFlow]:
        """Return task → motion since its view, for views with a flow image."""
        assert self._current is not None
        now = self._current[1].flow_image
        found = {
            view: OpticalFlow(view.flow_image, now)
            for view in set(views.values())
            if view.flow_image is not None and now is not None
        }
        return {task: found[view] for task, view in views.items() if view in found}

    def is_due(self, task: str, frame: Frame) -> bool:
        """Return whether a task with a maximum rate may run on a frame."""
        period_ns = self._budget.period_ns(task)
        due_ns = self._due_ns.get(task)
        if not period_ns or not frame.stamp_ns or due_ns is None:
            return True
        # Far before its time: the clock has jumped back.
        return not due_ns - period_ns - 1 < frame.stamp_ns < due_ns

    def reused(self, task: str, motion: OpticalFlow | None, frame: Frame) -> TaskResult:
        """Return a task's last result for a later frame.

        Args:
            task: The task.
            motion: Motion since the result; None leaves it unchanged.
            frame: The later frame.

        Raises:
            TaskError: There is no earlier result.
        """
        if task not in self._results:
            raise TaskError(f'task {task!r} has no earlier result to reuse')
        result = self._results[task]
        if motion is None:
            return result
        return warped(result, motion, (frame.image.shape[0], frame.image.shape[1]))

    def tracked(
        self, make: Callable[[Options], TaskResult], options: Options, frame: Frame
    ) -> TaskResult:
        """Return detections with identities.

        Args:
            make: Makes the detections for given options.
            options: The options. Detections below their threshold continue tracks (ByteTrack),
                and are not returned.
            frame: The frame.
        """
        if self._candidate_options is None or self._candidate_options[0] is not options:
            low = min(options.score_threshold, _UNCERTAIN_SCORE)
            lower = replace(options, score_threshold=low, max_detections=_MOST_CANDIDATES)
            self._candidate_options = options, lower
        found = make(self._candidate_options[1])
        assert isinstance(found, Detections)
        sure = options.track_min_score or options.score_threshold
        ids = np.full(len(found), NO_TRACK, np.int64)
        # The best score is first.
        candidates = np.count_nonzero(found.scores >= min(sure, _UNCERTAIN_SCORE))
        ids[:candidates] = self.tracker.update(found[:candidates], frame.stamp_ns)
        ids[found.scores < sure] = NO_TRACK
        kept = np.count_nonzero(found.scores >= options.score_threshold)
        return replace(found, track_ids=ids)[: min(kept, options.max_detections)]

    def commit(self, run: FrameRun, execution: Execution, now_s: float) -> None:
        """Store the state for the next frames.

        Args:
            run: The finished run of the frame.
            execution: Its account.
            now_s: ``time.monotonic()`` at the end of the run.
        """
        plan = run.plan
        if plan.stages:
            self.path = plan.path if run.frame.stamp_ns else ''
        self.last, self._last_frame, self._ended_s = execution, run.frame, now_s
        new = {task: result for task, result in run.results.items() if task not in plan.reuse}
        self._results.update(new)
        if self._budget.max_stale_ms:
            for result in new.values():
                _make_read_only(result)
        self._note_views(run.frame, new)
        blocks_ms = sum(run.block_ms.get(name, 0.0) for name in plan.block_names)
        # Blocks that ran on another machine say nothing about this one.
        if self.controller is not None and blocks_ms:
            rest_ms = execution.stage_ms['total'] - blocks_ms + self.outside_ms
            share = expected_share(plan, run.block_ms)
            self.controller.observe(time.perf_counter(), blocks_ms, rest_ms, share)

    def record_published(self, now_s: float) -> None:
        """Record that the last output of the last frame is out."""
        if self._last_frame is None or self.last is None:
            return
        self._publishing_s.append(now_s - self._ended_s)
        if self._last_frame.received_s is not None:
            latency_ms = (now_s - self._last_frame.received_s) * 1e3
            self.outside_ms = max(0.0, latency_ms - self.last.stage_ms['total'])

    def _note_views(self, frame: Frame, tasks: Collection[str]) -> None:
        """Remember which frame produced the results of tasks, and when they are due again."""
        for task in tasks:
            self._views.pop(task, None)
            if self._current is not None and self._current[0] is frame:
                self._views[task] = self._current[1]
            if not frame.stamp_ns:
                self._due_ns.pop(task, None)
                continue
            # Due times lie on a grid, so that a camera's jitter does not halve the rate.
            period_ns = self._budget.period_ns(task)
            due_ns = self._due_ns.get(task, -period_ns)
            on_time = due_ns <= frame.stamp_ns < due_ns + period_ns
            self._due_ns[task] = (due_ns if on_time else frame.stamp_ns) + period_ns


def _make_read_only(result: TaskResult) -> None:
    """Protect the arrays of a result that later frames may reuse."""
    for value in vars(result).values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
