# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the frames looked like that made the last results, and what has become of it since."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mt_perception.image.change import cells, change
from mt_perception.image.optical_flow import Motion, glance
from mt_perception.image.pyramid import Halves
from mt_perception.types import Frame, Intrinsics


@dataclass(frozen=True, eq=False)
class View:
    """A frame, as far as it matters for what its results are worth later on.

    Attributes:
        stamp_ns: Its stamp.
        size: (height, width) of its image.
        intrinsics: Its camera.
        cells: What changes are looked for in; see ``image.change``.
        glance: What motion is searched for in, see ``image.motion``; None if it never is.
    """

    stamp_ns: int
    size: tuple[int, ...]
    intrinsics: Intrinsics | None
    cells: NDArray[np.int16]
    glance: NDArray[np.uint8] | None

    def age_ms(self, frame: Frame) -> float:
        """How much older it is than a frame."""
        return (frame.stamp_ns - self.stamp_ns) * 1e-6


class LastSeen:
    """Remembers, for each task, the frame that made its last result.

    Changes are measured against that frame and not from frame to frame, so that a slow drift adds
    up. Frames without a stamp, of another size or camera, or older than what was seen (a bag that
    began again) share nothing with it.
    """

    def __init__(self) -> None:
        self._made: dict[str, View] = {}
        self._due_ns: dict[str, float] = {}
        self._now: tuple[Frame, View] | None = None
        self._previous_ns = 0

    @property
    def period_ms(self) -> float:
        """Time between the last two frames; 0 where it is not known."""
        if self._now is None or not self._previous_ns:
            return 0.0
        return max(0.0, (self._now[0].stamp_ns - self._previous_ns) * 1e-6)

    def look(self, frame: Frame, image: Halves, moves: bool) -> None:
        """Take a frame up, with its image; ``moves`` if motion may be asked for."""
        self._previous_ns = self._now[0].stamp_ns if self._now else 0
        small = glance(frame.image) if moves else None
        view = View(frame.stamp_ns, frame.image.shape, frame.intrinsics, cells(image), small)
        self._now = frame, view

    def usable(self, tasks: Collection[str], max_stale_ms: float) -> dict[str, View]:
        """Task → the frame that made its result, where that is no older than allowed."""
        if self._now is None:
            return {}
        frame, now = self._now
        return {
            task: made
            for task, made in self._made.items()
            if task in tasks
            and made.stamp_ns > 0
            and 0 <= made.age_ms(frame) <= max_stale_ms
            and (made.size, made.intrinsics) == (now.size, now.intrinsics)
        }

    def changes(self, made: Mapping[str, View]) -> dict[str, float]:
        """Task → how much has changed since, in grey levels; see ``image.change``."""
        assert self._now is not None
        now = self._now[1].cells
        found = {view: change(view.cells, now) for view in set(made.values())}
        return {task: found[view] for task, view in made.items()}

    def motions(self, made: Mapping[str, View]) -> dict[str, Motion]:
        """Task → the motion since; of those whose frame was taken up for it."""
        assert self._now is not None
        now = self._now[1].glance
        found = {
            view: Motion(view.glance, now)
            for view in set(made.values())
            if view.glance is not None and now is not None
        }
        return {task: found[view] for task, view in made.items() if view in found}

    def is_due(self, task: str, frame: Frame, period_ns: float) -> bool:
        """Whether a task that runs at most once in a period may run now."""
        due_ns = self._due_ns.get(task)
        if not period_ns or not frame.stamp_ns or due_ns is None:
            return True
        # Far before its time: the clock has jumped back.
        return not due_ns - period_ns - 1 < frame.stamp_ns < due_ns

    def made(self, frame: Frame, tasks: Collection[str], periods_ns: Mapping[str, float]) -> None:
        """Take note of the tasks that have a new result."""
        for task in tasks:
            self._made.pop(task, None)
            if self._now is not None and self._now[0] is frame:
                self._made[task] = self._now[1]
            if not frame.stamp_ns:
                self._due_ns.pop(task, None)
                continue
            # By a grid of times, so that a camera's jitter does not halve the rate.
            period_ns = periods_ns.get(task, 0.0)
            due_ns = self._due_ns.get(task, -period_ns)
            on_time = due_ns <= frame.stamp_ns < due_ns + period_ns
            self._due_ns[task] = (due_ns if on_time else frame.stamp_ns) + period_ns
