# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Options: settings that a user may change between two frames."""

from __future__ import annotations

from dataclasses import dataclass

from mt_perception.errors import OptionError
from mt_perception.model.manifest import Manifest
from mt_perception.types import DETECTION, check_field_types


@dataclass(frozen=True)
class Options:
    """Settings; immutable, so that a change applies to whole frames.

    Attributes:
        size: Long side of the network's input in pixels; 0 takes the model's default.
        score_threshold: Detections with a lower score are dropped, in [0, 1].
        nms_iou: IoU above which the lower of two boxes of one class is dropped, in [0, 1].
        max_detections: Maximum number of detections; the highest scores are kept.
        classes: Labels to detect; empty detects every class.
        max_depth_m: Depth beyond this distance is unknown, in metres.
        tracking: Give detections an identity over time (``Detections.track_ids``). It needs
            stamped frames.
        track_min_iou: Smallest IoU of a detection with the predicted box of its track.
        track_max_age_ms: A track that is not detected for longer than this ends, in ms.
        conditions: Tasks that run only if another task detects a class, for example
            ``segmentation if detection finds person or dog``.

    Example:
        >>> from mt_perception import Options, Pipeline
        >>> pipeline = Pipeline.load('cspnano', Options(score_threshold=0.5))
        >>> pipeline.options = Options(classes=('person',))
        >>> pipeline.options.classes
        ('person',)
    """

    size: int = 0
    score_threshold: float = 0.35
    nms_iou: float = 0.65
    max_detections: int = 100
    classes: tuple[str, ...] = ()
    max_depth_m: float = 80.0
    tracking: bool = False
    track_min_iou: float = 0.2
    track_max_age_ms: float = 1000.0
    conditions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_field_types(self)

    def checked(self, manifest: Manifest) -> Options:
        """Return these options if a model can serve them.

        Raises:
            OptionError: An option is out of range, or names a class that the model lacks.
        """
        spec = manifest.input
        if self.size and spec.fixed is not None and self.size != spec.size:
            height, width = spec.fixed
            raise OptionError(
                f'size must be 0: the model has the fixed input size {width}x{height}; '
                f'found {self.size}'
            )
        if self.size and (
            not spec.min_size <= self.size <= spec.max_size or self.size % spec.multiple
        ):
            raise OptionError(
                f'size must be a multiple of {spec.multiple} from {spec.min_size} to '
                f'{spec.max_size}, or 0 for {spec.size}; found {self.size}'
            )
        for name in ('score_threshold', 'nms_iou', 'track_min_iou'):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f'{name} must be from 0 to 1, found {getattr(self, name)}')
        if self.max_detections < 1:
            raise OptionError(f'max_detections must be at least 1, found {self.max_detections}')
        for name in ('max_depth_m', 'track_max_age_ms'):
            if not getattr(self, name) > 0:
                raise OptionError(f'{name} must be above 0, found {getattr(self, name)}')
        detecting = [task for task in manifest.tasks.values() if task.kind == DETECTION]
        labels = [label for task in detecting for label in task.labels]
        unknown = [name for name in self.classes if name not in labels]
        if unknown:
            raise OptionError(
                f'classes has {", ".join(unknown)}, which the model does not detect; it detects '
                f'{", ".join(labels)}'
            )
        return self
