# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Chooses a path for a frame: a trained policy, or a mix of the worthwhile paths."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import ModelError
from mt_perception.image.pyramid import ImagePyramid, resized
from mt_perception.model.folder import ModelFolder
from mt_perception.model.paths import POLICY, POLICY_INPUTS, POLICY_OUTPUT, NetPath
from mt_perception.model.sessions import open_session

_HOLD = 1.0
"""Credit or debt, in frames of the full path, up to which a video stays on its path."""

Scores = Callable[[ImagePyramid, Sequence[float], float], NDArray[np.float32]]
"""(image, weight of each task of the model, budget) → (P,) scores; the highest wins."""

PULL = 0.05
"""Change of the policy's budget input for each frame of credit or debt."""

FAR = 3.0
"""Credit or debt, in frames, from which on the policy's choice is restricted."""


def path_values(
    paths: Sequence[NetPath], weights: Mapping[str, float], less_is_better: Collection[str]
) -> tuple[float, ...]:
    """Return the value of each path: its accuracy relative to the first path, weighted by task.

    Without measured accuracies the value of a path is its cost.

    Args:
        paths: The paths, the full one first.
        weights: Wanted task → weight.
        less_is_better: Tasks whose metric is an error.
    """
    known = [t for t in weights if all(path.accuracy.get(t, 0) > 0 for path in paths)]
    total = sum(weights[task] for task in known)
    if not total:
        return tuple(path.relative_macs for path in paths)
    first = paths[0].accuracy

    def relative(path: NetPath, task: str) -> float:
        ratio = path.accuracy[task] / first[task]
        return 1 / ratio if task in less_is_better else ratio

    return tuple(
        sum(weights[task] * relative(path, task) for task in known) / total for path in paths
    )


def worthwhile(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """Return the choices on the upper concave hull of value over cost, cheapest first.

    A mixture of two neighbours on the hull has the largest value at its mean cost.
    """
    order = sorted(range(len(costs)), key=lambda i: (costs[i], -values[i]))
    hull: list[int] = []
    for i in order:
        if hull and (values[i] <= values[hull[-1]] or costs[i] <= costs[hull[-1]]):
            continue
        while len(hull) > 1 and _slope(costs, values, hull[-2], hull[-1]) < _slope(
            costs, values, hull[-1], i
        ):
            hull.pop()
        hull.append(i)
    return hull


def _slope(costs: Sequence[float], values: Sequence[float], i: int, j: int) -> float:
    return (values[j] - values[i]) / (costs[j] - costs[i])


def mixed_choice(
    costs: Sequence[float],
    values: Sequence[float],
    budget: float,
    credit: float,
    current: int | None = None,
) -> int:
    """Return the choice for one frame, so that frames cost the budget on average.

    One of the two choices around the budget is taken, so that the sum spent stays closest to the
    sum allowed (error diffusion). On video the current choice is kept until the difference of
    both sums reaches a frame: results of two paths differ, and a change appears as flicker.

    Args:
        costs: Cost of each choice.
        values: Value of each choice.
        budget: Wanted mean cost.
        credit: Unspent budget of earlier frames; negative if overspent.
        current: Choice of the last frame of a video; None between unrelated images.
    """
    hull = worthwhile(costs, values)
    # Credit of still scenes may buy more than the budget; a debt is paid off.
    spare = credit - max(-1.0, min(1.0, credit))
    upper = next((n for n, i in enumerate(hull) if costs[i] >= budget + spare), len(hull) - 1)
    low, high = hull[max(0, upper - 1)], hull[upper]
    if current in (low, high) and -_HOLD < credit < _HOLD:
        return current
    return high if budget + credit >= (costs[low] + costs[high]) / 2 else low


class PathPolicy:
    """Chooses a path from the image, within a budget.

    Args:
        scores: The model's policy.
        calibration: (wanted budget, budget input) pairs, rising; empty feeds the wanted budget.
    """

    def __init__(self, scores: Scores, calibration: Sequence[tuple[float, float]] = ()) -> None:
        self._scores = scores
        self._calibration = calibration

    def choose(
        self,
        image: ImagePyramid,
        weights: Sequence[float],
        costs: Sequence[float],
        allowed: Sequence[int],
        budget: float,
        credit: float,
    ) -> int:
        """Return the path for one frame.

        The budget input of the policy follows credit and debt; a large credit or debt restricts
        the choice, since images unlike the calibration images would miss the budget.

        Args:
            image: The frame's image, uint8 (H, W, 3), BGR.
            weights: Weight of each task of the model; 0 for tasks that do not run.
            costs: Cost of each path for this frame, as a fraction of everything.
            allowed: The paths to choose from.
            budget: Wanted mean cost.
            credit: Unspent budget of earlier frames; negative if overspent.
        """
        wanted = min(1.0, max(1e-3, budget + PULL * credit))
        scores = self._scores(image, weights, self._fed(wanted))
        if credit < -FAR:
            within = [i for i in allowed if costs[i] <= budget]
            allowed = within or [min(allowed, key=lambda i: costs[i])]
        elif credit > FAR:
            beyond = [i for i in allowed if costs[i] >= budget]
            allowed = beyond or [max(allowed, key=lambda i: costs[i])]
        # Of equal scores the cheaper path wins; paths are listed with the most expensive first.
        return max(allowed, key=lambda i: (float(scores[i]), i))

    def _fed(self, budget: float) -> float:
        if not self._calibration:
            return budget
        wanted, fed = zip(*self._calibration, strict=True)
        return float(np.interp(budget, wanted, fed))


class PolicyNet:
    """Runs the path policy of a model, always on the CPU: it takes less time than a transfer.

    Args:
        model: A model with a policy.

    Raises:
        ModelError: The graph is refused, or does not match the manifest.
    """

    def __init__(self, model: ModelFolder) -> None:
        spec = model.manifest.paths.policy
        if spec is None:
            raise ModelError(f'model {model.manifest.name} has no policy')
        self._size = spec.size
        self._paths = len(model.manifest.paths.choices)
        self._session = open_session(POLICY, model.contents[POLICY])
        found = {tensor.name for tensor in self._session.get_inputs()}
        if found != set(POLICY_INPUTS):
            raise ModelError(
                f'the policy reads {", ".join(sorted(found))}; expected {", ".join(POLICY_INPUTS)}'
            )
        tasks = [1.0] * len(model.manifest.tasks)
        self(np.zeros((*self._size, 3), np.uint8), tasks, 1.0)

    def __call__(
        self, image: NDArray[np.uint8] | ImagePyramid, weights: Sequence[float], budget: float
    ) -> NDArray[np.float32]:
        """Score the paths for an image.

        Args:
            image: uint8 (H, W, 3), BGR, of any size.
            weights: Weight of each task of the model; 0 for tasks that are not wanted.
            budget: In (0, 1].

        Returns:
            float32 (P,): one score for each path; the highest wins.

        Raises:
            ModelError: The graph fails, or returns another shape or values that are not finite.
        """
        height, width = self._size
        small = resized(image, height, width)
        feeds = {
            'image': small[None],
            'tasks': np.array([weights], np.float32),
            'budget': np.array([[budget]], np.float32),
        }
        try:
            (scores,) = self._session.run([POLICY_OUTPUT], feeds)
        except Exception as error:
            # ONNX Runtime's exceptions have no base class of their own.
            raise ModelError(f'the policy failed: {error}') from error
        if scores.shape != (1, self._paths) or not np.isfinite(scores).all():
            raise ModelError(
                f'the policy returned {scores.dtype} {scores.shape}; expected (1, {self._paths}), '
                'finite'
            )
        return np.asarray(scores[0], np.float32)
