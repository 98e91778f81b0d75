# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depth over time: filtered, and scaled by ground or calibration; the memory of one camera."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import CalibrationError, OptionError, number
from mt_perception.execution.frame_run import FrameRun
from mt_perception.execution.options import BY_CALIBRATION, BY_GROUND, NONE, Options
from mt_perception.execution.postprocess.depth import NetworkDepth
from mt_perception.geometry.depth_calibration import DepthCalibration
from mt_perception.geometry.depth_fit import DepthFit
from mt_perception.geometry.ground import GROUND_LABELS, ground_depth, measure_ground
from mt_perception.geometry.plane import GroundPlane
from mt_perception.geometry.rays import has_rays, rays
from mt_perception.planning.depth_filter import DepthFilter
from mt_perception.planning.ground_factors import enlarge
from mt_perception.planning.ground_window import GroundWindow
from mt_perception.reports import BOTH, CALIBRATION, ScaleReport
from mt_perception.types import (
    DEPTH,
    SEGMENTATION,
    DepthMap,
    Frame,
    Intrinsics,
    Segmentation,
)

MEASURE_PERIOD_S = 0.2
"""Least time between two measurements of the ground."""

_MOST_TURN_DEG = 15.0
_MOST_RISE = 1.25
_JUMP_S = 1.0
"""A plane that jumps by more than this angle or height is ignored for this time."""

_LONG_SIDE = 26
"""Least number of measured cells along the long side of the depth output."""


_SETTINGS = (
    *('depth_scale', 'camera_height_m', 'camera_pitch_deg', 'camera_roll_deg'),
    *('depth_calibration', 'depth_filter'),
)
"""The options whose change resets the measurements."""


@dataclass(frozen=True, eq=False)
class _Cells:
    """The cells of the depth output at which the ground is measured.

    Attributes:
        key: What they depend on.
        step: Stride over the depth output.
        rows: intp (h, 1), rows of their centres in the image.
        columns: intp (w,), columns of their centres.
        x: float64 (h, w), x of their rays.
        y: float64 (h, w), y of their rays.
    """

    key: tuple[object, ...]
    step: int
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    x: NDArray[np.float64]
    y: NDArray[np.float64]


class DepthCorrection:
    """Filters a network's depth over time and corrects its scale, frame by frame.

    Ground: the factor of each part of the image that shows ground, continued to what is near it,
    from the measurements of the last seconds. A measurement that is refused changes nothing.

    Frames without a stamp, of another camera, or older than the last one share nothing with
    earlier frames.
    """

    def __init__(self) -> None:
        self._settings: tuple[object, ...] = ()
        self._options = Options()
        self._model = ''
        self._calibration: DepthCalibration | None = None
        self._fault = ''
        self._plane: GroundPlane | None = None
        self._no_plane = ''
        self._reset()

    def _reset(self) -> None:
        self._filter = DepthFilter()
        self._window = GroundWindow()
        self._planes = PlaneGate()
        self._source: tuple[Intrinsics, DepthFit | None] | None = None
        self._last_ns = 0
        self._tried_ns = 0
        self._cells: _Cells | None = None
        self._expected: tuple[object, NDArray[np.float32]] | None = None
        self._factors: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    def reload(self) -> None:
        """Read the calibration again with the next frame."""
        self._settings = ()

    def configure(self, options: Options, model: str) -> None:
        """Apply the settings of depth; a change resets the measurements.

        Args:
            options: Settings.
            model: Name and version of the model.
        """
        settings = model, *(getattr(options, name) for name in _SETTINGS)
        is_new, self._options, self._model = options is not self._options, options, model
        if settings != self._settings:
            self._reset()
            self._settings = settings
        elif not is_new:
            return
        self._plane, self._no_plane = None, ''
        try:
            self._plane = _plane(options)
        except OptionError as error:
            self._no_plane = str(error)
        # Also for equal options that are set anew: the file may have been written meanwhile.
        self._calibration, self._fault = None, ''
        try:
            self._calibration = options.calibration()
        except OptionError as error:
            # It was readable when the options were set; depth stays uncorrected.
            self._fault = str(error)

    @property
    def is_needed(self) -> bool:
        """Whether the depth of the network is filtered or scaled."""
        return self._options.depth_filter or self._options.depth_scale != NONE

    def with_ground(
        self, wanted: frozenset[str], served: Collection[str], frame: Frame
    ) -> frozenset[str]:
        """Return the wanted tasks, and segmentation if the ground is due to be measured."""
        if self._options.depth_scale not in BY_GROUND or DEPTH not in wanted:
            return wanted
        age_s = (frame.stamp_ns - self._tried_ns) * 1e-9
        is_due = not (frame.stamp_ns and self._tried_ns and 0 <= age_s < MEASURE_PERIOD_S)
        return wanted | {SEGMENTATION} if is_due and SEGMENTATION in served else wanted

    def depth_map(
        self, run: FrameRun, network: NetworkDepth, image: NDArray[np.uint8] | None = None
    ) -> DepthMap:
        """Return the depth map of a frame, filtered and with its scale.

        Args:
            run: The frame, with its segmentation if there is one.
            network: The depth of the network.
            image: uint8 (h, w, 3), the network's input, if it is there.

        Raises:
            TaskError: The depth of the network is invalid.
        """
        frame, options = run.frame, self._options
        if options.depth_filter:
            network = self._filter.filtered(frame, network, image)
        if options.depth_scale == NONE:
            return network.depth_map(options.max_depth_m)
        fit, why = None, ''
        if options.depth_scale in BY_CALIBRATION:
            fit, why = self._calibrated(network, frame)
            network = network if fit is None else network.corrected(fit)
        if options.depth_scale == CALIBRATION:
            return self._without_ground(network, fit, why)
        found = run.results.get(SEGMENTATION)
        segmentation = found if isinstance(found, Segmentation) else None
        self._follow(frame, network.camera, fit)
        reasons = why, self._measure(network, frame, segmentation)
        why = '; '.join(reason for reason in reasons if reason)
        if not self._window:
            return self._without_ground(network, fit, why)
        cells = self._cells_of(network)
        metres, report, logs = self._window.correction(
            frame.stamp_ns, network.relative, cells.x.shape
        )
        report = replace(report, refused=why or None)
        if metres is not None:
            network = network.corrected(metres)
        if fit is not None:
            report = replace(
                report, source=BOTH, factor=fit.factor * report.factor, shift=fit.shift,
                exponent=fit.exponent,
            )  # fmt: skip
        factors = self._enlarged(logs, cells.step, (len(network.values), network.values.shape[1]))
        scaled = replace(network, values=network.values * factors)
        return scaled.depth_map(options.max_depth_m, report)

    def _enlarged(
        self, logs: NDArray[np.float32], step: int, size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """The factors of all cells, kept until the next measurement."""
        last = self._factors
        if last is None or last[0] is not logs or last[1].shape != size:
            self._factors = last = logs, enlarge(np.exp(logs), step, size)
        return last[1]

    def _calibrated(self, network: NetworkDepth, frame: Frame) -> tuple[DepthFit | None, str]:
        """The calibration of this camera, or None and the reason."""
        if self._calibration is None:
            return None, self._fault
        why = self._calibration.refusal(network.camera, frame.frame_id, self._model)
        return (None, why) if why else (self._calibration.fit, '')

    def _without_ground(self, network: NetworkDepth, fit: DepthFit | None, why: str) -> DepthMap:
        """Return the depth of the network, or of the calibration, with the reason."""
        report = None
        if fit is not None:
            report = ScaleReport(
                CALIBRATION, fit.factor, fit.shift, fit.spread, exponent=fit.exponent
            )
        plain = network.depth_map(self._options.max_depth_m, report)
        return replace(plain, scale=replace(plain.scale, refused=why or None))

    def _follow(self, frame: Frame, camera: Intrinsics, fit: DepthFit | None) -> None:
        """Discard measurements that do not apply to this frame."""
        source = camera, fit
        if not frame.stamp_ns or frame.stamp_ns < self._last_ns or source != self._source:
            self._window.clear()
            self._planes = PlaneGate()
            self._tried_ns = 0
        self._source, self._last_ns = source, frame.stamp_ns

    def _measure(
        self,
        network: NetworkDepth,
        frame: Frame,
        segmentation: Segmentation | None,
    ) -> str:
        """Measure the ground of a frame; return why it was not measured."""
        if segmentation is not None:
            # Whatever follows: what is refused now is refused in the next frame, too.
            self._tried_ns = frame.stamp_ns
        plane = frame.ground or self._plane
        if plane is None:
            return frame.no_ground or self._no_plane
        why = self._planes.refusal(plane, frame.stamp_ns)
        if why:
            return why
        if self._planes.has_jumped:
            # What was measured with the last plane may be as wrong as it was.
            self._window.clear()
        if network.assumed:
            return 'the camera is unknown: the ground needs its focal length (camera_info)'
        if not has_rays(network.camera):
            return (
                'the image is of a fisheye with unknown distortion and not rectified; use the '
                'rectified topic'
            )
        if segmentation is None:
            return '' if self._window else 'there is no segmentation of the ground'
        is_ground = _are_ground(segmentation.labels)
        if not is_ground.any():
            return f'the segmentation has no class {" or ".join(sorted(GROUND_LABELS))}'
        cells = self._cells_of(network)
        classes = segmentation.class_ids[cells.rows, cells.columns]
        height, width = classes.shape
        try:
            found = measure_ground(
                network.inverse(cells.step)[:height, :width],
                self._ground(plane, cells),
                is_ground.take(classes, mode='clip') & (classes < len(is_ground)),
                network.relative,
            )
        except CalibrationError as error:
            return str(error)
        self._window.add(frame.stamp_ns, found)
        return ''

    def _cells_of(self, network: NetworkDepth) -> _Cells:
        """The cells of a depth output, kept while camera and sizes stay the same."""
        key = network.letterbox, network.values.shape, network.camera
        if self._cells is None or self._cells.key != key:
            self._cells = _cells(network, key)
        return self._cells

    def _ground(self, plane: GroundPlane, cells: _Cells) -> NDArray[np.float32]:
        """The expected depth, kept while plane and cells stay the same."""
        key = plane, cells.key
        if self._expected is None or self._expected[0] != key:
            self._expected = key, ground_depth(plane, cells.x, cells.y)
        return self._expected[1]


class PlaneGate:
    """Ignores a ground plane that jumps, until it has stayed at its new place for a second.

    Attributes:
        has_jumped: Whether the last plane was the first that is used after a jump.
    """

    def __init__(self) -> None:
        self.has_jumped = False
        self._accepted: GroundPlane | None = None
        self._candidate: tuple[GroundPlane, int] | None = None

    def refusal(self, plane: GroundPlane, stamp_ns: int) -> str:
        """Check a plane; return why it is ignored, empty if it is used."""
        accepted, self.has_jumped = self._accepted, False
        if not stamp_ns or accepted is None or plane == accepted or _near(plane, accepted):
            self._accepted, self._candidate = plane, None
            return ''
        if self._candidate is None or not _near(plane, self._candidate[0]):
            self._candidate = plane, stamp_ns
        elif stamp_ns - self._candidate[1] >= _JUMP_S * 1e9:
            self._accepted, self._candidate, self.has_jumped = plane, None, True
            return ''
        return (
            f'the ground plane jumped from {_words(accepted)} to {_words(plane)}; it is '
            f'used after {_JUMP_S:g} s'
        )


@lru_cache(maxsize=4)
def _are_ground(labels: tuple[str, ...]) -> NDArray[np.bool_]:
    """Which classes lie on the ground."""
    return np.array([name in GROUND_LABELS for name in labels])


def _near(a: GroundPlane, b: GroundPlane) -> bool:
    cosine = sum(p * q for p, q in zip(a.normal, b.normal, strict=True))
    ratio = max(a.height_m, b.height_m) / min(a.height_m, b.height_m)
    return cosine >= math.cos(math.radians(_MOST_TURN_DEG)) and ratio <= _MOST_RISE


def _words(plane: GroundPlane) -> str:
    pitch = math.degrees(math.asin(max(-1.0, min(1.0, plane.normal[2]))))
    return f'{number(plane.height_m, 2)} m at pitch {pitch:.0f} degrees'


def _plane(options: Options) -> GroundPlane:
    """The plane of the options.

    Raises:
        OptionError: The height is unknown.
    """
    if not options.camera_height_m:
        raise OptionError(
            'the height of the camera is unknown: set depth.camera_height_m (--camera-height-m)'
        )
    return GroundPlane.from_angles(
        options.camera_height_m, options.camera_pitch_deg, options.camera_roll_deg
    )


def _cells(network: NetworkDepth, key: tuple[object, ...]) -> _Cells:
    """The cells whose centres lie in the image, and their pixels and rays."""
    box, camera = network.letterbox, network.camera
    step = max(1, max(network.values.shape) // _LONG_SIDE)
    centres = []
    for cells, side, content, scale, image in zip(
        network.values.shape,
        box.network_size,
        box.content_size,
        (box.scale_y, box.scale_x),
        box.image_size,
        strict=True,
    ):
        stride = side / cells
        inside = np.arange(0, math.ceil(content / stride), step)
        pixels = (inside + 0.5) * (stride / scale) - 0.5
        centres.append(pixels[pixels <= image - 1])
    grid = np.stack(np.meshgrid(centres[1], centres[0]), axis=-1)
    x, y = np.moveaxis(rays(camera, grid).reshape(grid.shape), -1, 0)
    rows, columns = (np.maximum(centre, 0).astype(np.intp) for centre in centres)
    return _Cells(key, step, rows[:, None], columns, x, y)
