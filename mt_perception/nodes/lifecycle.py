# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A managed node that starts itself and survives requests that make no sense."""

from __future__ import annotations

from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.clock import Clock, ClockType
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

UNCONFIGURED = 'unconfigured'
ACTIVE = 'active'


class SelfStartingNode(LifecycleNode):
    """A lifecycle node that can configure and activate itself.

    Users take an inactive node for a broken one; a lifecycle manager remains possible.

    Args:
        name: Name of the node.
        kwargs: Whatever rclpy's Node takes.
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self._guard_change_state()

    def destroy_node(self) -> None:
        """Leave the ROS graph, also while somebody still holds this object.

        rclpy forgets the state machine, and as long as that lives the node remains visible.
        """
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    @property
    def state(self) -> str:
        """The label of the lifecycle state, such as ``active``."""
        label: str = self._state_machine.current_state[1]
        return label

    def start_when_spun(self) -> None:
        """Configure and activate as soon as an executor spins the node."""

        def start() -> None:
            timer.cancel()
            self.destroy_timer(timer)
            # A lifecycle manager may have been quicker.
            if self.state == UNCONFIGURED and (
                self.trigger_configure() == TransitionCallbackReturn.SUCCESS
            ):
                self.trigger_activate()

        timer = self.create_timer(0.0, start, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _guard_change_state(self) -> None:
        """Answer an impossible transition with failure; rclpy would raise out of ``spin``."""
        service = self._service_change_state
        change_state = service.callback

        def guarded(
            request: ChangeState.Request, response: ChangeState.Response
        ) -> ChangeState.Response:
            try:
                return change_state(request, response)
            except rclpy_implementation.RCLError:
                wanted = request.transition.label or request.transition.id
                self.get_logger().warning(
                    f'transition {wanted} is not possible in state {self.state}; refused'
                )
                response.success = False
                return response

        service.callback = guarded
