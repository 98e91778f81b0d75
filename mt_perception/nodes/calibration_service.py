# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The service ``~/calibrate``: fits depth to a temporary depth camera."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from mt_perception.errors import CalibrationError, OptionError, PerceptionError
from mt_perception.evaluation.datasets.maps import at_size, valid_metres
from mt_perception.evaluation.datasets.truth_messages import decode_depth
from mt_perception.evaluation.output import check_new_text, write_new_text
from mt_perception.execution.options import BY_GROUND
from mt_perception.geometry.depth_calibration import (
    DepthCalibration,
    is_calibration,
    read_calibration,
)
from mt_perception.geometry.depth_calibrator import DepthCalibrator
from mt_perception.nodes.conversions import stamp_ns
from mt_perception.nodes.parameters import PerceptionSettings
from mt_perception.reports import BOTH, CALIBRATION
from mt_perception.types import Result

DURATION_S = 20.0
"""Time for which depth images are collected."""

_TOLERANCE_NS = 30_000_000
_KEPT = 5
"""Upper limit on depth images and on results that wait for a match."""

_QOS = QoSProfile(depth=_KEPT, reliability=ReliabilityPolicy.BEST_EFFORT)


class CalibrationService:
    """Pairs depth images with the depth of the network and writes a calibration.

    Results arrive in the frame thread, depth images in the executor's thread, hence the lock.

    Args:
        node: The node.
        settings: Returns the current settings.
        model: Name and version of the model.
        started: Called when depth is needed for a calibration.
        calibrated: Called after a calibration was written.

    Attributes:
        duration_s: Time for which depth images are collected.
    """

    def __init__(
        self,
        node: Node,
        settings: Callable[[], PerceptionSettings],
        model: str,
        started: Callable[[], None],
        calibrated: Callable[[], None],
    ) -> None:
        self._node = node
        self._settings = settings
        self._model = model
        self._started = started
        self._calibrated = calibrated
        self.duration_s = DURATION_S
        self._lock = threading.Lock()
        self._calibrator: DepthCalibrator | None = None
        # A separate group: the call waits while images and parameters are served.
        self._service = node.create_service(
            Trigger, '~/calibrate', self._on_call, callback_group=MutuallyExclusiveCallbackGroup()
        )

    @property
    def is_collecting(self) -> bool:
        """Whether depth is needed for a calibration."""
        return self._calibrator is not None

    def destroy(self) -> None:
        """Remove the service."""
        # The executor keeps a removed service until it waits next, but the model is unloaded now.
        self._calibrated = lambda: None
        self._node.destroy_service(self._service)

    def observe(self, result: Result) -> None:
        """Add the depth of one frame."""
        if self._calibrator is None or result.depth is None or not result.stamp_ns:
            return
        if result.depth.scale.source in BY_GROUND:
            # It was in progress when the calibration began.
            return
        with self._lock:
            self._results.append(result)
            self._frame_id = result.frame_id
            self._pair()

    async def _on_call(self, request: Any, response: Any) -> Any:
        try:
            found = await self._calibrate()
            response.success = True
            response.message = _words(found)
        except PerceptionError as error:
            response.message = str(error)
        self._node.get_logger().info(f'calibration: {response.message}')
        return response

    async def _calibrate(self) -> DepthCalibration:
        settings = self._settings()
        topic, file = settings.depth_calibration_topic, settings.depth_calibration_file
        if not topic or not file:
            raise CalibrationError(
                'set depth.calibration_topic (depth image, aligned with the image) and '
                'depth.calibration_file (where to write)'
            )
        path = Path(os.path.expanduser(file))
        check_new_text(path, is_calibration)
        self._results: deque[Result] = deque(maxlen=_KEPT)
        self._images: deque[tuple[int, NDArray[np.float32]]] = deque(maxlen=_KEPT)
        self._fault, self._frame_id, self._depth_images = '', '', 0
        self._calibrator = DepthCalibrator()
        self._started()
        subscription = self._node.create_subscription(Image, topic, self._on_depth, _QOS)
        done: Future = Future()
        timer = self._node.create_timer(
            self.duration_s,
            lambda: done.set_result(None),
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )
        try:
            await done
        finally:
            self._node.destroy_timer(timer)
            self._node.destroy_subscription(subscription)
            with self._lock:
                calibrator, self._calibrator = self._calibrator, None
        if self._fault and not len(calibrator):
            raise CalibrationError(self._fault)
        if not len(calibrator):
            raise CalibrationError(self._nothing(topic))
        found = calibrator.calibrate(self._frame_id, self._model, topic)
        write_new_text(path, found.text(), is_calibration)
        self._calibrated()
        wanted = BOTH if settings.depth_scale in BY_GROUND else CALIBRATION
        (result,) = self._node.set_parameters([Parameter('depth.scale', value=wanted)])
        if not result.successful:
            raise CalibrationError(
                f'wrote {path}, but depth.scale cannot be {wanted}: {result.reason}'
            )
        return found

    def _nothing(self, topic: str) -> str:
        """Why there is no pair of a depth image and an image."""
        if not self._depth_images:
            return f'no depth image arrived on {topic} in {self.duration_s:g} s; check the topic'
        if not self._results:
            return f'no image was processed in {self.duration_s:g} s; check the image topic'
        return (
            f'no depth image on {topic} has the stamp of an image within '
            f'{_TOLERANCE_NS // 1_000_000} ms; check the topic and both clocks'
        )

    def _on_depth(self, message: Image) -> None:
        self._depth_images += 1
        try:
            metres = decode_depth(message)
        except PerceptionError as error:
            self._fault = str(error)
            return
        with self._lock:
            self._images.append((stamp_ns(message.header.stamp), metres))
            self._pair()

    def _pair(self) -> None:
        """Add every result that has a depth image of its time."""
        for result in list(self._results):
            near = [
                (abs(stamp - result.stamp_ns), index)
                for index, (stamp, _) in enumerate(self._images)
            ]
            if self._calibrator is None or not near or min(near)[0] > _TOLERANCE_NS:
                continue
            metres = self._images[min(near)[1]][1]
            self._results.remove(result)
            depth = result.depth
            assert depth is not None
            size = (depth.depth.shape[0], depth.depth.shape[1])
            try:
                truth = valid_metres(at_size(metres, size, 'the depth image'))
                self._calibrator.add_map(depth, truth)
            except PerceptionError as error:
                self._fault = str(error)


def check_calibration_file(settings: PerceptionSettings) -> None:
    """Check that ``depth.calibration_file`` can be read, or that ``~/calibrate`` may write it.

    Raises:
        OptionError: The file is no calibration, or does not exist and ``~/calibrate`` cannot
            write it without ``depth.calibration_topic``.
    """
    if not settings.depth_calibration_file:
        return
    path = Path(os.path.expanduser(settings.depth_calibration_file))
    # Not Path.exists, which raises where a folder must not be read or the name is too long.
    if os.path.exists(path):
        read_calibration(path)
    elif not settings.depth_calibration_topic:
        raise OptionError(
            f'depth.calibration_file: {path} does not exist; write it with `mt_perception '
            'calibrate`, or set depth.calibration_topic before, so that ~/calibrate writes it'
        )


def _words(found: DepthCalibration) -> str:
    text = f'{found.fit.text()}, {found.fitted_to}'
    if found.abs_rel_before is not None:
        text += f'; AbsRel {found.abs_rel_before:.3f} before'
    return text if found.abs_rel_after is None else f'{text}, {found.abs_rel_after:.3f} after'
