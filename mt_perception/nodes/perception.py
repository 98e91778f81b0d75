# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node: the newest image in; detections, depth and segmentation out.

Everything happens in the executor's one thread. While a frame is run the newest image waits in
the middleware, so latency is at most one period plus the computation; settings that change
meanwhile apply to the next frame, and no lock is needed.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.qos import qos_policy_name_from_kind
from sensor_msgs.msg import CameraInfo

from mt_perception.errors import CameraError, ImageError, OptionError, PerceptionError
from mt_perception.first_run import ensure_runs
from mt_perception.geometry.camera import Calibration, is_rectified
from mt_perception.nodes import conversions
from mt_perception.nodes.budgeting import budget_of
from mt_perception.nodes.diagnostics import Diagnostics
from mt_perception.nodes.health import ERROR, OK, WARN, Health, Stamp, StampCheck
from mt_perception.nodes.lifecycle import SelfStartingNode
from mt_perception.nodes.main import run_node
from mt_perception.nodes.node_parameters import NodeParameters
from mt_perception.nodes.offloading import change_offload, open_offload
from mt_perception.nodes.parameter_schema import Change
from mt_perception.nodes.parameters import PerceptionSettings
from mt_perception.nodes.publishers import STATS_TOPIC, Outputs, stats
from mt_perception.nodes.subscriptions import ImageSubscription, ImageType
from mt_perception.pipeline import Pipeline
from mt_perception.resources import find_model
from mt_perception.types import DEPTH, Frame, Intrinsics

if TYPE_CHECKING:
    from mt_perception.offload.client import OffloadClient

NAME = 'perception'

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


@dataclass(frozen=True)
class _Wanted:
    """What listeners and settings ask of one frame, as of the moment when it was taken up."""

    topics: frozenset[str]
    tasks: tuple[str, ...]
    stride: int


class PerceptionNode(SelfStartingNode):
    """The perception node.

    Args:
        kwargs: Whatever rclpy's Node takes (context, namespace, parameter_overrides …).

    Raises:
        OptionError: A parameter given at start is refused.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(NAME, **kwargs)
        self.health = Health(time.monotonic())
        self.fault = ''
        self.pipeline: Pipeline | None = None
        self.offload: OffloadClient | None = None
        self.inputs: ImageSubscription | None = None
        self._outputs: Outputs | None = None
        self._stamps = StampCheck()
        try:
            self.live = NodeParameters(
                self, PerceptionSettings(), self._validate, self._apply_settings
            )
        except OptionError:
            self.destroy_node()
            raise
        for sentence in self.live.unknown:
            self.get_logger().warning(sentence)
        self._diagnostics = Diagnostics(self)
        if self.live.settings.autostart:
            self.start_when_spun()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and offer the outputs."""
        settings = self.live.settings
        try:
            folder = find_model(settings.model)
            ensure_runs(folder)
            self.pipeline = Pipeline.load(
                folder,
                settings.options(),
                settings.runtime_providers,
                settings.runtime_threads,
                settings.runtime_memory_mb or None,
                budget_of(settings),
            )
            self.offload = open_offload(self.pipeline, folder, settings)
            self._outputs = Outputs(self, self.pipeline.manifest, self._on_incompatible_qos)
        except Exception as error:
            # Whatever it is: rclpy hides what a transition raises, and finalizes the node.
            self._release()
            self.fault = str(error)
            what = self.fault if isinstance(error, PerceptionError) else traceback.format_exc()
            self.get_logger().error(f'cannot be configured: {what}')
            return FAILURE
        self.fault = ''
        unsafe = () if self.offload is None else self.offload.warnings
        for sentence in (*self.pipeline.warnings, *unsafe):
            self.get_logger().warning(sentence)
        manifest = self.pipeline.manifest
        self.get_logger().info(f'model {manifest.name} {manifest.version} is ready')
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen to the camera."""
        self.health = Health(time.monotonic())
        self._stamps = StampCheck()
        try:
            self.inputs = ImageSubscription(
                self,
                self.live.settings.input_transport,
                on_arrival=self.health.image_arrived,
                on_image=self._on_image,
                on_superseded=lambda: self.health.dropped('superseded'),
                on_incompatible_qos=self._on_incompatible_qos,
            )
        except Exception as error:
            self.fault = str(error)
            self.get_logger().error(f'cannot be activated: {error}')
            return FAILURE
        self.fault = ''
        self.get_logger().info(f'listening to {self.inputs.image_topic}')
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen no more."""
        self._stop_listening()
        return SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget the model."""
        self._release()
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of everything."""
        self._release()
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to the beginning."""
        self._release()
        return SUCCESS

    def _stop_listening(self) -> None:
        if self.inputs is not None:
            self.inputs.destroy()
            self.inputs = None

    def _release(self) -> None:
        self._stop_listening()
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None
        if self.offload is not None:
            self.offload.close()
            self.offload = None
        self.pipeline = None

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
        self.pipeline.checked_options(settings.options())
        self.pipeline.checked_budget(budget_of(settings))

    def _apply_settings(self) -> None:
        """Use changed settings from the next frame on."""
        settings = self.live.settings
        if self.pipeline is not None:
            self.pipeline.budget = budget_of(settings)
            self.pipeline.options = settings.options()
        change_offload(self.offload, settings)

    def _on_incompatible_qos(self, topic: str, policy: Any) -> None:
        name = qos_policy_name_from_kind(policy)
        self.health.incompatible_qos(self.resolve_topic_name(topic), name)

    def _on_image(
        self, message: ImageType, camera_info: CameraInfo | None, arrived_s: float
    ) -> None:
        """One image from the camera: run it if it is any good and somebody wants something."""
        if self.pipeline is None or self._outputs is None:
            return
        settings = self.live.settings
        header = message.header
        stamp = self._stamps.look(
            header.stamp.sec, header.stamp.nanosec, self.get_clock().now().nanoseconds
        )
        self.health.stamp_looked_at(stamp)
        if 0 < settings.input_max_age_ms < stamp.age_ms:
            self.health.dropped(
                'too_old',
                f'images are {stamp.age_ms:.0f} ms old on arrival, input.max_age_ms allows '
                f'{settings.input_max_age_ms:.0f}; a bag needs use_sim_time',
            )
            return
        demand = self._outputs.demand()
        demanded = self._outputs.tasks_for(demand)
        tasks = [
            task
            for task in self.pipeline.manifest.tasks
            if task in demanded and settings.enabled(task)
        ]
        if not tasks:
            self.health.idle += 1
            return
        wanted = _Wanted(demand, tuple(tasks), settings.points_stride)
        try:
            self._run(message, camera_info, stamp, wanted, arrived_s)
        except ImageError as error:
            self.health.rejected(error.reason, str(error))
            if STATS_TOPIC in demand:
                values = {'rejected': error.reason}
                self._outputs.publish_stats(header, WARN, str(error), values)
        except Exception as error:
            # A defect of ours must not take the robot's perception away for good.
            if self.context.ok():
                self.health.frame_done(_since_ms(arrived_s), {'node': repr(error)})
                self.get_logger().error(traceback.format_exc())

    def _run(
        self,
        message: ImageType,
        camera_info: CameraInfo | None,
        stamp: Stamp,
        wanted: _Wanted,
        arrived_s: float,
    ) -> None:
        assert self.pipeline is not None
        assert self._outputs is not None
        image = conversions.image_from(message)
        camera = self._camera(camera_info, image.shape[:2], DEPTH in wanted.tasks)
        frame = Frame(image, stamp.stamp_ns, message.header.frame_id, camera, arrived_s)
        info = camera_info if camera is not None else None
        deadline_s = None
        if self.offload is not None:
            deadline_s = arrived_s + self.offload.settings.deadline_ms * 1e-3
        result = self.pipeline.run(frame, wanted.tasks, deadline_s)
        made = self._outputs.publish(
            wanted.topics, message.header, frame, result, info, wanted.stride
        )
        self.pipeline.record_published()
        latency_ms = _since_ms(arrived_s)
        self.health.frame_done(latency_ms, result.failures)
        if STATS_TOPIC in wanted.topics:
            values = {
                **stats(result.execution, result.failures),
                'latency_ms.node': latency_ms,
                'age_ms': stamp.age_ms,
                'made': ' '.join(made),
            }
            level = ERROR if result.failures else OK
            self._outputs.publish_stats(message.header, level, result.execution.reason, values)

    def _camera(
        self, message: CameraInfo | None, size: tuple[int, int], needed: bool
    ) -> Intrinsics | None:
        """The camera of an image of (height, width); None, with a warning, where there is none."""
        if message is None:
            if needed and self.inputs is not None:
                self.health.noticed(
                    'camera_info_missing',
                    f'no camera_info on {self.inputs.camera_info_topic}: depth is scaled for a '
                    'typical lens, and there are no points',
                )
            return None
        rectified = self.inputs is not None and is_rectified(self.inputs.image_topic)
        if (concern := Calibration.from_message(message).concern(rectified)) is not None:
            self.health.noticed(f'camera_info_{concern[0]}', concern[1])
        try:
            return conversions.intrinsics_from(message, size, rectified)
        except CameraError as error:
            self.health.noticed(f'camera_info_{error.reason}', str(error))
            return None


def _since_ms(start_s: float) -> float:
    return (time.monotonic() - start_s) * 1e3


def main(args: Sequence[str] | None = None) -> int:
    """Run the perception node until it is told to stop.

    Returns:
        The exit status of the process.
    """
    return run_node(PerceptionNode, args)
