# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node: the newest image in; detections, depth and segmentation out.

The executor's thread receives and processes images, serves parameters and services and publishes
diagnostics. With offloading or several cameras another thread processes the frames, so a frame
that waits for a remote host delays none of these.
"""

from __future__ import annotations

import time
import traceback
from typing import TYPE_CHECKING, Any

from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import CameraInfo

from mt_perception.errors import OptionError, PerceptionError
from mt_perception.nodes.calibration_service import check_calibration_file
from mt_perception.nodes.diagnostics import (
    DiagnosticsPublisher,
    InputSnapshot,
    ModelSnapshot,
    NodeSnapshot,
)
from mt_perception.nodes.frame_processor import FrameProcessor, ReceivedImage
from mt_perception.nodes.health import Health, StampCheck
from mt_perception.nodes.lifecycle import SelfStartingNode
from mt_perception.nodes.model_pool import ModelPool
from mt_perception.nodes.node_parameters import NodeParameters
from mt_perception.nodes.offloading import offload_status
from mt_perception.nodes.on_demand_timer import OnDemandTimer
from mt_perception.nodes.parameter_schema import Change
from mt_perception.nodes.parameters import PerceptionSettings
from mt_perception.nodes.qos_events import HAS_MATCHED, QosEvents
from mt_perception.nodes.subscriptions import ImageSubscription, ImageType
from mt_perception.pipeline import Pipeline

if TYPE_CHECKING:
    from mt_perception.offload.client import OffloadClient

NAME = 'perception'

_DEMAND_S = 0.1
"""Interval of the check for subscribers while ``input.lazy`` is set; events report new ones."""

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class PerceptionNode(SelfStartingNode):
    """The perception node of one camera.

    Args:
        pool: The loaded models of the process; by default those of this node alone.
        camera: Name of the camera; empty if it is the only one.
        name: Name of the node.
        kwargs: Arguments of rclpy's Node (context, namespace, parameter_overrides …).

    Attributes:
        live: The parameters.
        health: Counts of images and frames.
        fault: Why the last transition failed; empty if it succeeded.
        inputs: The subscriptions; None unless active and, with ``input.lazy``, needed.
        processor: The loaded model; None unless configured.

    Raises:
        OptionError: A parameter given at start is refused.
    """

    def __init__(
        self, pool: ModelPool | None = None, camera: str = '', name: str = NAME, **kwargs: Any
    ) -> None:
        super().__init__(name, **kwargs)
        self._pool = pool or ModelPool()
        self._camera = camera
        self.health = Health(time.monotonic())
        self.fault = ''
        self.inputs: ImageSubscription | None = None
        self.processor: FrameProcessor | None = None
        self._stamps = StampCheck()
        self._active = False
        self._qos_events = QosEvents(
            self,
            lambda topic, policy: self.health.incompatible_qos(topic, policy),
            self._follow_demand,
        )
        try:
            self.live = NodeParameters(
                self, PerceptionSettings(), self._validate, self._follow_demand
            )
        except OptionError:
            self.destroy_node()
            raise
        for sentence in self.live.unknown:
            self.get_logger().warning(sentence)
        self._diagnostics = DiagnosticsPublisher(self, self._snapshot, self.live.unknown)
        self._demand_timer = OnDemandTimer(self, _DEMAND_S, self._follow_demand)
        if self.live.settings.autostart:
            self.start_when_spun()

    @property
    def pipeline(self) -> Pipeline | None:
        """The pipeline; None unless configured."""
        return None if self.processor is None else self.processor.pipeline

    @property
    def offload(self) -> OffloadClient | None:
        """The offload client; None unless configured with offloading."""
        return None if self.processor is None else self.processor.offload

    def destroy_node(self) -> None:
        """Stop processing and leave the ROS graph."""
        self._release()
        super().destroy_node()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and create the publishers."""
        try:
            self.processor = FrameProcessor(
                self, self._pool, lambda: self.live.settings, self.health, self._qos_events
            )
        except Exception as error:
            # rclpy discards an exception of any kind and finalizes the node.
            self.fault = str(error)
            what = self.fault if isinstance(error, PerceptionError) else traceback.format_exc()
            self.get_logger().error(f'cannot be configured: {what}')
            return FAILURE
        self.fault = ''
        for sentence in self.processor.warnings:
            self.get_logger().warning(sentence)
        manifest = self.processor.pipeline.manifest
        self.get_logger().info(f'model {manifest.name} {manifest.version} is ready')
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the camera."""
        assert self.processor is not None
        self.health = Health(time.monotonic())
        self._stamps = StampCheck()
        try:
            self.inputs = self._subscription()
        except Exception as error:
            self.fault = str(error)
            self.get_logger().error(f'cannot be activated: {error}')
            return FAILURE
        self.processor.activate(self.health)
        self.fault = ''
        self._active = True
        self.get_logger().info(f'subscribed to {self.inputs.image_topic}')
        self._follow_demand()
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe from the camera."""
        self._deactivate()
        return SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unload the model."""
        self._release()
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything."""
        self._release()
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, so that the node can be configured again."""
        self._release()
        return SUCCESS

    def _subscription(self) -> ImageSubscription:
        self.health.subscribed(time.monotonic())
        return ImageSubscription(
            self,
            self.live.settings.input_transport,
            on_arrival=self.health.image_arrived,
            on_image=self._on_image,
            on_superseded=lambda: self.health.dropped('superseded'),
            qos_events=self._qos_events,
        )

    def _follow_demand(self) -> None:
        """Subscribe while a result has a subscriber, and always unless ``input.lazy`` is set."""
        if not self._active or self.processor is None:
            self._demand_timer.stop()
            return
        settings = self.live.settings
        self.processor.ground.follow(settings)
        needed = not settings.input_lazy or self.processor.request(settings).tasks
        if needed and self.inputs is None:
            self.inputs = self._subscription()
        elif not needed and self.inputs is not None:
            self.inputs.destroy()
            self.inputs = None
        # Events cost time at each wake-up: they wait for a subscriber only without images.
        self._qos_events.due |= self.inputs is None
        if not settings.input_lazy or (HAS_MATCHED and self.inputs is None):
            self._demand_timer.stop()
        else:
            self._demand_timer.start()

    def _deactivate(self) -> None:
        self._active = False
        if self.inputs is not None:
            self.inputs.destroy()
            self.inputs = None
        if self.processor is not None:
            self.processor.deactivate()

    def _release(self) -> None:
        self._deactivate()
        if self.processor is not None:
            self.processor.close()
            self.processor = None

    def _validate(self, settings: PerceptionSettings, names: frozenset[str]) -> None:
        """Refuse what the loaded model does not support and what needs another configuration."""
        if self.pipeline is None:
            return
        for p in settings.parameters():
            changes = p.name in names and settings.value(p.name) != self.live.settings.value(
                p.name
            )
            if changes and p.change is Change.UNCONFIGURED:
                raise OptionError(
                    f'{p.name} cannot change while a model is loaded; deactivate and clean up '
                    'the node first'
                )
        if names & {'depth.calibration_file', 'depth.calibration_topic'}:
            check_calibration_file(settings)
        self.pipeline.checked_options(settings.options())
        self.pipeline.checked_budget(settings.budget())

    def _on_image(
        self, message: ImageType, camera_info: CameraInfo | None, received_s: float
    ) -> None:
        """Check the stamp of an image and hand it to the processor."""
        if self.processor is None or self.inputs is None:
            return
        stamp = self._stamps.check(
            message.header.stamp.sec,
            message.header.stamp.nanosec,
            self.get_clock().now().nanoseconds,
        )
        self.health.stamp_checked(stamp)
        max_age_ms = self.live.settings.input_max_age_ms
        if 0 < max_age_ms < stamp.age_ms:
            self.health.taken_up()
            self.health.dropped(
                'too_old',
                f'images are {stamp.age_ms:.0f} ms old on arrival, input.max_age_ms is '
                f'{max_age_ms:.0f}; a bag needs use_sim_time',
            )
            return
        image = ReceivedImage(
            message,
            camera_info,
            received_s,
            stamp,
            self.inputs.image_topic,
            self.inputs.camera_info_topic,
        )
        self.processor.submit(image)

    def _snapshot(self, now_s: float) -> NodeSnapshot:
        """The node's state, for diagnostics."""
        self._qos_events.due = True
        if self.inputs is None:
            # A lost event delays a new subscriber by a second, not for ever.
            self._follow_demand()
        if self.get_parameter('use_sim_time').value and not self.get_clock().now().nanoseconds:
            self.health.noticed(
                'no_clock', 'use_sim_time is set, but /clock has no publisher; start the simulator'
            )
        warnings = list(self.live.unknown)
        me = (self.get_name(), self.get_namespace())
        if self.get_node_names_and_namespaces().count(me) > 1:
            warnings.append(
                f'another node is named {self.get_fully_qualified_name()}: both publish on the '
                'same topics; start one with another name or namespace'
            )
        report = self.health.report(now_s)
        source = None
        if self.inputs is not None:
            silent = report.silent_s * 1e3 > self.live.settings.input_timeout_ms
            source = InputSnapshot(
                self.inputs.image_topic,
                self.inputs.camera_info_topic,
                self.inputs.silence_reason() if silent else '',
                self.live.settings.rectified(self.inputs.image_topic),
            )
        model = None
        if self.processor is not None:
            pipeline = self.processor.pipeline
            model = ModelSnapshot(
                pipeline.manifest.name,
                pipeline.manifest.version,
                pipeline.providers,
                pipeline.warnings,
                self.processor.budget_values(),
                self.processor.budget_warning(),
            )
        return NodeSnapshot(
            self._camera,
            self.state,
            self.fault,
            tuple(warnings),
            report,
            source,
            model,
            None if self.offload is None else offload_status(self.offload),
        )
