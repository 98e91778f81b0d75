# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Processes the images of a configured node: message to frame, pipeline, results to messages."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo

from mt_perception.errors import CameraError, ImageError, OptionError
from mt_perception.execution.options import BY_GROUND, NONE
from mt_perception.geometry.camera import Calibration
from mt_perception.geometry.plane import GroundPlane
from mt_perception.nodes.budget_check import BudgetCheck
from mt_perception.nodes.calibration_service import CalibrationService
from mt_perception.nodes.diagnostics import ERROR, OK, WARN, LogThrottle
from mt_perception.nodes.frame_worker import FrameSlot
from mt_perception.nodes.ground_source import GroundSource
from mt_perception.nodes.health import Health, Stamp
from mt_perception.nodes.image_decoder import ImageDecoder
from mt_perception.nodes.model_pool import ModelPool
from mt_perception.nodes.offloading import change_offload, open_offload
from mt_perception.nodes.parameters import PerceptionSettings
from mt_perception.nodes.publishers import Publishers, Request
from mt_perception.nodes.qos_events import QosEvents
from mt_perception.nodes.stats import stats
from mt_perception.nodes.subscriptions import ImageType
from mt_perception.nodes.topics import CONFIDENCE_TOPIC, OBSTACLES_TOPIC, STATS_TOPIC
from mt_perception.types import DEPTH, Frame, Intrinsics, Result

if TYPE_CHECKING:
    from mt_perception.offload.client import OffloadClient


@dataclass(frozen=True)
class ReceivedImage:
    """An image message with its circumstances.

    Attributes:
        message: The image.
        camera_info: Its camera info; None if there is none.
        received_s: Monotonic time of its arrival.
        stamp: Its stamp.
        image_topic: The topic it arrived on.
        camera_info_topic: The topic of camera infos.
    """

    message: ImageType
    camera_info: CameraInfo | None
    received_s: float
    stamp: Stamp
    image_topic: str
    camera_info_topic: str


_Examined = tuple[
    CameraInfo, tuple[tuple[int, int], bool, str, str], Intrinsics | None, dict[str, str]
]
"""A camera info with its circumstances; the camera and the warnings that result."""


class FrameProcessor:
    """A loaded model and its publishers.

    A separate thread runs the frames if they may wait for a remote host or for other cameras.

    Settings are applied at the start of a frame, so that a frame is processed with one set.

    Args:
        node: The node.
        pool: The loaded models of the process.
        settings: Returns the current settings.
        qos_events: Receives the QoS events of the publishers.

    Attributes:
        pipeline: The pipeline.
        offload: The offload client; None if offloading is disabled.
        publishers: The publishers of the results.
        ground: The ground plane below the camera.
        calibration: The service that calibrates depth.
        health: Counts; the node replaces it at activation.

    Raises:
        PerceptionError: The model or a setting is refused.
    """

    def __init__(
        self,
        node: Node,
        pool: ModelPool,
        settings: Callable[[], PerceptionSettings],
        health: Health,
        qos_events: QosEvents,
    ) -> None:
        self._node = node
        self._settings = settings
        self._applied = current = settings()
        self.health = health
        self._throttle = LogThrottle()
        self._active = False
        self._stale_calibration = False
        self._collecting = False
        # Keeps the shared weights loaded.
        self._model = pool.model(current)
        self.pipeline = self._model.for_camera(current)
        self.offload: OffloadClient | None = open_offload(self.pipeline, current)
        try:
            self.publishers = Publishers(node, self.pipeline.manifest, qos_events)
        except Exception:
            if self.offload is not None:
                self.offload.close()
            raise
        self.ground = GroundSource(node)
        manifest = self.pipeline.manifest
        self.calibration = CalibrationService(
            node,
            settings,
            f'{manifest.name} {manifest.version}',
            qos_events.demand_changed,
            self._reload_calibration,
        )
        self._budget_check = self._new_budget_check()
        self._decoder = ImageDecoder()
        self._examined: _Examined | None = None
        self._slot: FrameSlot[ReceivedImage] | None = None
        if self.offload is not None or pool.has_several:
            self._slot = pool.worker.slot(self.process, lambda: self.health.dropped('superseded'))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings for the operator."""
        offload = () if self.offload is None else self.offload.warnings
        return (*self.pipeline.warnings, *offload)

    def budget_values(self) -> dict[str, object]:
        """The budget, its use and the last plan, for diagnostics; empty before the first frame."""
        last = self.pipeline.state.last
        if last is None or last.budget is None:
            return {}
        scale = last.depth_scale
        return {
            **({} if scale is None else {'depth_scale.source': scale.source}),
            'path': last.path,
            'reason': last.reason,
            'budget.compute': self.pipeline.budget.compute,
            'budget.realised': last.budget.realised,
        }

    def budget_warning(self) -> str:
        """A sentence on a budget that is not met; empty if it is met."""
        return self._budget_check.warning()

    def _new_budget_check(self) -> BudgetCheck:
        cheapest = min(path.relative_macs for path in self.pipeline.manifest.paths.choices)
        return BudgetCheck(self.pipeline.budget, cheapest)

    def activate(self, health: Health) -> None:
        """Process images from now on."""
        self.health = health
        self._active = True

    def deactivate(self) -> None:
        """Publish no more results; a frame in progress is discarded."""
        self._active = False
        if self._slot is not None:
            self._slot.clear()

    def close(self) -> None:
        """Finish or abandon the current frame, and remove the publishers."""
        self.deactivate()
        if self.offload is not None:
            # Cancels a pending request, so that the thread stops soon.
            self.offload.close()
        self._decoder.close()
        if self._slot is not None:
            self._slot.close()
        self.ground.destroy()
        self.calibration.destroy()
        self.publishers.destroy()

    def submit(self, image: ReceivedImage) -> None:
        """Process an image now, or put it into the worker's slot in place of a waiting image.

        Handing a frame to another thread costs up to 2 ms on a busy computer, so it is done only
        if a frame may wait for a remote host or for the frames of other cameras.
        """
        if self._slot is None:
            self.process(image)
        else:
            self._slot.submit(image)

    def request(self, settings: PerceptionSettings) -> Request:
        """The topics and tasks that subscribers, settings and a running calibration request."""
        return self.publishers.request(settings, self.calibration.is_collecting)

    def process(self, image: ReceivedImage) -> None:
        """Process an image and publish the results that have subscribers."""
        self.health.taken_up()
        settings = self._applied_settings()
        request = self.request(settings)
        if not request.tasks:
            self.health.unwanted()
            return
        try:
            self._run(image, request, settings)
        except ImageError as error:
            self.health.rejected(error.reason, str(error))
            self._publish_stats(image, request, WARN, str(error), {'rejected': error.reason})
        except Exception as error:
            # One defect must not end the node; without ROS there is nothing to report to.
            if self._node.context.ok() and self._active:
                self._report_defect(image, request, error)

    def _applied_settings(self) -> PerceptionSettings:
        settings = self._settings()
        collecting = self.calibration.is_collecting
        if settings is not self._applied or collecting != self._collecting:
            budget_changes = settings.budget() != self.pipeline.budget
            self.pipeline.budget = settings.budget()
            if budget_changes:
                self._budget_check = self._new_budget_check()
            options = settings.options()
            if collecting and options.depth_scale in BY_GROUND:
                # A calibration corrects the depth of the network; factors of the ground vary.
                options = replace(options, depth_scale=NONE)
            self.pipeline.options = options
            change_offload(self.offload, settings)
            self._applied, self._collecting = settings, collecting
        if self._stale_calibration:
            self._stale_calibration = False
            self.pipeline.state.depth.reload()
        return settings

    def _run(self, image: ReceivedImage, request: Request, settings: PerceptionSettings) -> None:
        pixels = self._decoder.decode(image.message)
        camera = self._camera(image, pixels.shape[:2], DEPTH in request.tasks)
        header = image.message.header
        ground, no_ground = self._ground(header.frame_id, settings)
        stamp_ns = image.stamp.stamp_ns
        frame = Frame(
            pixels, stamp_ns, header.frame_id, camera, image.received_s, ground, no_ground
        )
        deadline_s = None
        if self.offload is not None:
            deadline_s = image.received_s + settings.offload_deadline_ms * 1e-3
        confidence = CONFIDENCE_TOPIC in request.topics
        result = self.pipeline.run(frame, request.tasks, deadline_s, confidence=confidence)
        if not self._active:
            return
        self._note_scale(result, settings)
        self.calibration.observe(result)
        camera_info = image.camera_info if camera is not None else None
        published = self.publishers.publish(request, header, frame, result, camera_info)
        self.pipeline.record_published()
        if camera is not None and OBSTACLES_TOPIC in request.topics:
            self._check_ground(OBSTACLES_TOPIC in published)
        latency_ms = (time.monotonic() - image.received_s) * 1e3
        self.health.frame_done(latency_ms, result.failures)
        self._budget_check.add(result.execution, latency_ms)
        if STATS_TOPIC in request.topics:
            values = {
                **stats(result.execution, result.failures),
                'latency_ms.node': latency_ms,
                'age_ms': image.stamp.age_ms,
                'made': ' '.join(published),
            }
            level = ERROR if result.failures else OK
            self._publish_stats(image, request, level, result.execution.reason, values)

    def _check_ground(self, known: bool) -> None:
        if not known:
            self.health.noticed(
                'ground_unknown',
                'no obstacles are published: no ground is visible and its plane is unknown',
            )

    def _reload_calibration(self) -> None:
        """Read the calibration again with the next frame."""
        self._stale_calibration = True

    def _ground(
        self, frame_id: str, settings: PerceptionSettings
    ) -> tuple[GroundPlane | None, str]:
        """The ground below the camera; None and the reason, with a warning, if it is unknown."""
        try:
            return self.ground.plane(frame_id, settings), ''
        except (CameraError, OptionError) as error:
            why = f'no ground plane: {error}'
            self.health.noticed('ground_plane', why)
            return None, why

    def _note_scale(self, result: Result, settings: PerceptionSettings) -> None:
        """Warn if the scale of depth is not from the source in the settings."""
        scale = result.execution.depth_scale
        if scale is not None and scale.refused and scale.source != settings.depth_scale:
            self.health.noticed(
                'depth_scale', f'depth is not scaled by {settings.depth_scale}: {scale.refused}'
            )

    def _publish_stats(
        self,
        image: ReceivedImage,
        request: Request,
        level: bytes,
        message: str,
        values: Mapping[str, object],
    ) -> None:
        if STATS_TOPIC in request.topics and self._active:
            self.publishers.publish_stats(image.message.header, level, message, values)

    def _report_defect(self, image: ReceivedImage, request: Request, error: Exception) -> None:
        self.health.failed(repr(error))
        if self._throttle.allows(repr(error), time.monotonic()):
            self._node.get_logger().error(traceback.format_exc())
        values = {'dropped': 'internal_error'}
        self._publish_stats(image, request, ERROR, repr(error), values)

    def _camera(
        self, image: ReceivedImage, size: tuple[int, int], needed: bool
    ) -> Intrinsics | None:
        """The camera of an image of (height, width); None, with a warning, if it is unknown."""
        message = image.camera_info
        if message is None:
            if needed:
                self.health.noticed(
                    'camera_info_missing',
                    f'no camera_info on {image.camera_info_topic}: depth has the scale of a '
                    'typical lens, and no points are published',
                )
            return None
        rectified = self._applied.rectified(image.image_topic)
        frame_id = image.message.header.frame_id
        key = size, rectified, frame_id, image.camera_info_topic
        last = self._examined
        if last is None or last[0] is not message or last[1] != key:
            last = self._examined = (message, key, *_examined(message, *key))
        _, _, camera, warnings = last
        for name, sentence in warnings.items():
            self.health.noticed(f'camera_info_{name}', sentence)
        return camera


def _examined(
    message: CameraInfo, size: tuple[int, int], rectified: bool, frame_id: str, topic: str
) -> tuple[Intrinsics | None, dict[str, str]]:
    """Return the camera of an image of (height, width), if it is known, and warnings."""
    warnings = {}
    own, other = frame_id.lstrip('/'), message.header.frame_id.lstrip('/')
    if own and other and own != other:
        warnings['frame'] = (
            f'{topic} is of frame {other!r} and the image of {own!r}: is it the same camera? Else '
            'remap `camera_info`'
        )
    calibration = Calibration.from_message(message)
    if (concern := calibration.concern(rectified)) is not None:
        warnings[concern[0]] = concern[1]
    try:
        return calibration.intrinsics(size, rectified), warnings
    except CameraError as error:
        return None, {**warnings, error.reason: str(error)}
