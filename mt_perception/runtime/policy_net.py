# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The policy of a model as a session: an image and a budget in, a score for each path out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import ModelError
from mt_perception.image.halves import Halves, resized
from mt_perception.runtime.manifest_paths import POLICY, POLICY_INPUTS, POLICY_OUTPUT
from mt_perception.runtime.model_folder import ModelFolder
from mt_perception.runtime.sessions import open_session


class PolicyNet:
    """Runs the policy of a model; on the CPU, where it takes less than moving its input would.

    Args:
        model: A model with a policy.

    Raises:
        ModelError: Its graph is refused, or does not do what the manifest says.
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
        self, image: NDArray[np.uint8] | Halves, weights: Sequence[float], budget: float
    ) -> NDArray[np.float32]:
        """Score the paths for an image.

        Args:
            image: uint8 (H, W, 3), BGR, of any size.
            weights: Of each task of the model, 0 for those that are not wanted.
            budget: In (0, 1].

        Returns:
            float32 (P,): one score for each path; the highest is best.

        Raises:
            ModelError: The graph fails, or gives something else.
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
                f'the policy gave {scores.dtype} {scores.shape}; expected (1, {self._paths}), '
                'finite'
            )
        return np.asarray(scores[0], np.float32)
