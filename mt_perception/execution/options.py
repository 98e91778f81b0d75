# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Options: settings that a user may change between two frames."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from mt_perception.errors import OptionError
from mt_perception.geometry.depth_calibration import DepthCalibration, read_calibration
from mt_perception.geometry.plane import GroundPlane
from mt_perception.model.manifest import Manifest
from mt_perception.reports import BOTH, CALIBRATION, GROUND
from mt_perception.types import DETECTION, check_field_types

NONE = 'none'
SCALES = (NONE, GROUND, CALIBRATION, BOTH)
"""Sources of the scale of depth."""

BY_GROUND, BY_CALIBRATION = (GROUND, BOTH), (CALIBRATION, BOTH)
"""Those that use the ground, and those that use a calibration."""


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
        depth_scale: ``none`` keeps the depth of the network; ``ground`` scales it by the height
            of the camera above segmented ground; ``calibration`` corrects it by
            ``depth_calibration``; ``both`` first by the calibration, then by the ground.
        camera_height_m: Height of the camera above the ground, for frames without
            ``Frame.ground``; 0 is unknown.
        camera_pitch_deg: Angle by which the camera points below the horizon.
        camera_roll_deg: Angle by which the camera rolls to its right.
        depth_calibration: File written by ``mt_perception calibrate``.
        depth_filter: Filter depth over time along the optical flow, against flicker. It needs
            stamped frames.
        tracking: Give detections an identity over time (``Detections.track_ids``). It needs
            stamped frames.
        track_min_score: Detections below this score get no identity, in [0, 1]; 0 takes
            ``score_threshold``. An evaluation keeps all detections for average precision, but
            tracks only those above this score.
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
    depth_scale: str = NONE
    camera_height_m: float = 0.0
    camera_pitch_deg: float = 0.0
    camera_roll_deg: float = 0.0
    depth_calibration: str = ''
    depth_filter: bool = False
    tracking: bool = False
    track_min_score: float = 0.0
    track_min_iou: float = 0.2
    track_max_age_ms: float = 1000.0
    conditions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_field_types(self)

    def checked(self, manifest: Manifest) -> Options:
        """Return these options if a model can serve them.

        Raises:
            OptionError: An option is out of range, or names a class that the model lacks.
            CalibrationError: The depth calibration is refused.
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
        for name in ('score_threshold', 'nms_iou', 'track_min_score', 'track_min_iou'):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f'{name} must be from 0 to 1, found {getattr(self, name)}')
        if self.max_detections < 1:
            raise OptionError(f'max_detections must be at least 1, found {self.max_detections}')
        for name in ('max_depth_m', 'track_max_age_ms'):
            if not getattr(self, name) > 0:
                raise OptionError(f'{name} must be above 0, found {getattr(self, name)}')
        self._check_scale()
        detecting = [task for task in manifest.tasks.values() if task.kind == DETECTION]
        labels = [label for task in detecting for label in task.labels]
        unknown = [name for name in self.classes if name not in labels]
        if unknown:
            raise OptionError(
                f'classes has {", ".join(unknown)}, which the model does not detect; it detects '
                f'{", ".join(labels)}'
            )
        return self

    def _check_scale(self) -> None:
        if self.depth_scale not in SCALES:
            raise OptionError(
                f'depth_scale must be {", ".join(SCALES)}, found {self.depth_scale!r}'
            )
        if not 0 <= self.camera_height_m < math.inf:
            raise OptionError(f'camera_height_m must be 0 or more, found {self.camera_height_m:g}')
        if self.camera_height_m:
            GroundPlane.from_angles(
                self.camera_height_m, self.camera_pitch_deg, self.camera_roll_deg
            )
        self.calibration()

    def calibration(self) -> DepthCalibration | None:
        """Read the depth calibration; None if it is not used.

        Raises:
            CalibrationError: The calibration is refused.
            OptionError: There is no file.
        """
        if self.depth_scale not in BY_CALIBRATION:
            return None
        if not self.depth_calibration:
            raise OptionError(
                f'depth_scale is {self.depth_scale}, but there is no calibration file; write one '
                'with `mt_perception calibrate`'
            )
        return read_calibration(Path(os.path.expanduser(self.depth_calibration)))
