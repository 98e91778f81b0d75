# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The loaded models of one process: cameras with equal settings share the weights."""

from __future__ import annotations

import copy
from collections.abc import Hashable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from mt_perception.first_run import ensure_runs
from mt_perception.nodes.frame_worker import FrameWorker
from mt_perception.nodes.parameters import PerceptionSettings
from mt_perception.pipeline import Pipeline
from mt_perception.planning.budget import Spending
from mt_perception.planning.frame_state import FrameState
from mt_perception.resources import find_model


@dataclass(eq=False)
class SharedModel:
    """A loaded model.

    Attributes:
        pipeline: The pipeline whose weights are shared.
        accounts: Compute budget → compute spent by its cameras; None for one camera.
    """

    pipeline: Pipeline
    accounts: WeakValueDictionary[float, Spending] | None

    def for_camera(self, settings: PerceptionSettings) -> Pipeline:
        """Return a pipeline with its own state, options and budget.

        Raises:
            OptionError: The model cannot serve the settings.
        """
        pipeline = copy.copy(self.pipeline)
        pipeline.state = FrameState(self.accounts)
        pipeline.options = settings.options()
        pipeline.budget = settings.budget()
        return pipeline


class ModelPool:
    """Loads models for the cameras of one process; a model is unloaded with its last camera.

    Args:
        cameras: Number of cameras.

    Attributes:
        has_several: Whether there are several cameras.
        worker: Runs the frames of several cameras in turn.
    """

    def __init__(self, cameras: int = 1) -> None:
        self.has_several = cameras > 1
        self.worker = FrameWorker()
        self._models: WeakValueDictionary[Hashable, SharedModel] = WeakValueDictionary()

    def model(self, settings: PerceptionSettings) -> SharedModel:
        """Return the model of these settings; it stays loaded while the result is referenced.

        Raises:
            PerceptionError: The model or a setting is refused.
        """
        folder = find_model(settings.model)
        key = (
            folder,
            settings.runtime_providers,
            settings.runtime_threads,
            settings.runtime_parallel,
            settings.runtime_memory_mb,
        )
        model = self._models.get(key)
        if model is None:
            ensure_runs(folder)
            pipeline = Pipeline.load(
                folder,
                settings.options(),
                settings.runtime_providers,
                settings.runtime_threads,
                settings.runtime_memory_mb or None,
                settings.budget(),
                settings.runtime_parallel,
            )
            model = self._models[key] = SharedModel(
                pipeline, WeakValueDictionary() if self.has_several else None
            )
        return model
