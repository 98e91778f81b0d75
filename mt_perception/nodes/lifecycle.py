# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A lifecycle node that can start itself and that refuses invalid transitions."""

from __future__ import annotations

from typing import Any

from lifecycle_msgs.srv import ChangeState, GetAvailableTransitions, GetState
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.service import Service

from mt_perception.nodes.node_parameters import ParameterNode

UNCONFIGURED = 'unconfigured'
ACTIVE = 'active'


class SelfStartingNode(ParameterNode, LifecycleNode):
    """A lifecycle node that configures and activates itself; a lifecycle manager is optional.

    Args:
        name: Name of the node.
        kwargs: Arguments of rclpy's Node.
    """

    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self._refuse_invalid_transitions()

    def destroy_node(self) -> None:
        """Leave the ROS graph, also while this object is still referenced.

        rclpy's ``destroy_node`` leaves the lifecycle state machine alive, and that keeps the node
        visible to others.
        """
        super().destroy_node()
        for value in list(vars(self).values()):
            if hasattr(value, 'destroy_when_not_in_use'):
                value.destroy_when_not_in_use()

    @property
    def state(self) -> str:
        """The label of the lifecycle state, such as ``active``."""
        response = self._lifecycle_service('get_state').callback(
            GetState.Request(), GetState.Response()
        )
        label: str = response.current_state.label
        return label

    def start_when_spun(self) -> None:
        """Configure and activate as soon as an executor spins the node."""

        def start() -> None:
            timer.cancel()
            self.destroy_timer(timer)
            # A lifecycle manager may have been faster.
            if self.state == UNCONFIGURED and (
                self.trigger_configure() == TransitionCallbackReturn.SUCCESS
            ):
                self.trigger_activate()

        timer = self.create_timer(0.0, start, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _lifecycle_service(self, name: str) -> Service:
        full_name = f'{self.get_fully_qualified_name()}/{name}'
        return next(service for service in self.services if service.srv_name == full_name)

    def _refuse_invalid_transitions(self) -> None:
        """Answer an invalid transition with failure; rclpy raises an error out of ``spin``."""
        service = self._lifecycle_service('change_state')
        available = self._lifecycle_service('get_available_transitions').callback
        change_state = service.callback

        def checked(
            request: ChangeState.Request, response: ChangeState.Response
        ) -> ChangeState.Response:
            wanted = request.transition
            transitions = available(
                GetAvailableTransitions.Request(), GetAvailableTransitions.Response()
            ).available_transitions
            # A label has precedence over an id, as in rclpy.
            known = {t.transition.label if wanted.label else t.transition.id for t in transitions}
            if (wanted.label or wanted.id) in known:
                return change_state(request, response)
            self.get_logger().warning(
                f'transition {wanted.label or wanted.id} is not available in state {self.state}'
            )
            response.success = False
            return response

        service.callback = checked
