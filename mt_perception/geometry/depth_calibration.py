# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The depth calibration of one camera with one model, and its file."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from mt_perception.data_files import read_yaml
from mt_perception.errors import CalibrationError, number
from mt_perception.geometry.camera import MAX_FOCAL_PX, resized
from mt_perception.geometry.depth_fit import MOST_EXPONENT, DepthFit
from mt_perception.types import FISHEYE, PINHOLE, Intrinsics

HEAD = '# Depth calibration of mt_perception.\n'
"""First line of the file."""

_SAME = 0.02
"""Largest relative difference of focal lengths and centres of one camera."""

_NUMBERS = ('fx', 'fy', 'cx', 'cy')


@dataclass(frozen=True)
class DepthCalibration:
    """Correction of depth for one camera in its place.

    Attributes:
        fit: The correction.
        camera: The camera, in pixels of its images.
        frame_id: Its optical frame; empty if unknown.
        model: Name and version of the model.
        fitted_to: Description of the data that was fitted.
        abs_rel_before: Mean relative error before, on data that was not fitted; None if unknown.
        abs_rel_after: The same with the calibration.
    """

    fit: DepthFit
    camera: Intrinsics
    frame_id: str
    model: str
    fitted_to: str = ''
    abs_rel_before: float | None = None
    abs_rel_after: float | None = None

    def refusal(self, camera: Intrinsics, frame_id: str, model: str) -> str:
        """Return why it does not apply to a camera and a model; empty if it applies.

        The same view at another image size counts as the same camera.
        """
        if model != self.model:
            return f'the calibration is of model {self.model}, not of {model}; calibrate again'
        own, other = self.frame_id.lstrip('/'), frame_id.lstrip('/')
        if own and other and own != other:
            return f'the calibration is of camera {own!r}, the image is of {other!r}'
        if self.camera.projection != camera.projection:
            return (
                f'the calibration is of another camera: a {self.camera.projection}, this one is '
                f'a {camera.projection}; calibrate this camera, or use the rectified topic'
            )
        mine = resized(self.camera, camera.height, camera.width)
        sides = dict(zip(_NUMBERS, (camera.width, camera.height) * 2, strict=True))
        for name, side in sides.items():
            ours, theirs = getattr(mine, name), getattr(camera, name)
            if abs(ours - theirs) > _SAME * side:
                return (
                    f'the calibration is of another camera: {name} is {number(ours)} px at '
                    f'{camera.width}x{camera.height}, this camera has {number(theirs)}; '
                    'calibrate this camera'
                )
        return ''

    def text(self) -> str:
        """Return the content of its file."""
        data = asdict(self)
        fit = data.pop('fit')
        content = {key: value for key, value in (*fit.items(), *data.items()) if value is not None}
        return HEAD + str(yaml.safe_dump(content, sort_keys=False))


def read_calibration(path: Path) -> DepthCalibration:
    """Read a depth calibration.

    Raises:
        CalibrationError: The file cannot be read, or a value is missing or impossible.
    """
    data = read_yaml(path, CalibrationError)
    try:
        # Calibrations of 0.7.0 and earlier have no exponent.
        numbers = {'exponent': 1.0, **data}
        fit = DepthFit(**{one.name: float(numbers[one.name]) for one in fields(DepthFit)})
        camera = _camera(data['camera'])
        errors = [
            None if data.get(name) is None else float(data[name])
            for name in ('abs_rel_before', 'abs_rel_after')
        ]
        texts = [data[name] for name in ('frame_id', 'model', 'fitted_to')]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError('frame_id, model and fitted_to must be text')
        if not (1e-6 <= fit.factor <= 1e6 and math.isfinite(fit.shift)):
            raise ValueError(f'factor {fit.factor} must be 1e-6 to 1e6, shift {fit.shift} finite')
        if not 1 / MOST_EXPONENT <= fit.exponent <= MOST_EXPONENT:
            raise ValueError(
                f'exponent {fit.exponent} must be {1 / MOST_EXPONENT:g} to {MOST_EXPONENT:g}'
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CalibrationError(
            f'{path} is not a depth calibration ({error!r}); write one with '
            '`mt_perception calibrate`'
        ) from error
    return DepthCalibration(fit, camera, *texts, *errors)


def is_calibration(text: str) -> bool:
    """Return whether a file was written by ``DepthCalibration.text``."""
    return text.startswith(HEAD)


def _camera(data: Any) -> Intrinsics:
    fx, fy, cx, cy = (float(data[name]) for name in _NUMBERS)
    width, height = int(data['width']), int(data['height'])
    possible = all(map(math.isfinite, (fx, fy, cx, cy))) and max(fx, fy) < MAX_FOCAL_PX
    if not possible or min(fx, fy, width, height) <= 0:
        raise ValueError(f'fx, fy, cx, cy {fx}, {fy}, {cx}, {cy} are impossible at that size')
    if data['projection'] not in (PINHOLE, FISHEYE):
        raise ValueError(f'projection must be {PINHOLE} or {FISHEYE}')
    return Intrinsics(fx, fy, cx, cy, width, height, data['projection'])
