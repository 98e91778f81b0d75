# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A conditional task on the node: silent where nothing calls for it, and changed while it runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.parameter import Parameter
from ros_graph import Peer, ros_graph
from sensor_msgs.msg import Image
from tiny_model import write_tiny_model

from mt_perception.nodes.lifecycle import ACTIVE
from mt_perception.nodes.perception import PerceptionNode

SECOND = 10**9
SEGMENTATION, STATS = '/perception/segmentation/image', '/perception/stats'
RED, BLUE = (0, 0, 220), (220, 0, 0)
IF_RED = 'segmentation if detection finds red'


def test_segmentation_speaks_only_where_something_red_is_seen(tmp_path: Path) -> None:
    with ros_graph() as graph:
        model = str(write_tiny_model(tmp_path / 'tiny'))
        node = graph.add(PerceptionNode, model=model, **{'tasks.conditions': [IF_RED]})
        peer = graph.add(Peer)
        peer.listen(SEGMENTATION, Image)
        peer.listen(STATS, DiagnosticArray)
        assert graph.spin_until(
            lambda: (
                node.state == ACTIVE
                and peer.images.get_subscription_count()
                and len(node.processor.publishers.subscribed()) == 2
            )
        )

        def told(stamp_s: int, colour: tuple[int, int, int]) -> dict[str, str]:
            """What the statistics say of a frame, once it has passed."""
            peer.send(np.full((64, 64, 3), colour, np.uint8), stamp_s * SECOND, True)

            def of_frame() -> list[DiagnosticArray]:
                return [m for m in peer.got[STATS] if m.header.stamp.sec == stamp_s]

            assert graph.spin_until(lambda: bool(of_frame()))
            return {v.key: v.value for s in of_frame()[0].status for v in s.values}

        def segmented() -> set[int]:
            return {message.header.stamp.sec for message in peer.got[SEGMENTATION]}

        assert told(1, BLUE)['conditions.skipped'] == 'segmentation'
        assert 'conditions.skipped' not in told(2, RED)
        assert graph.spin_until(lambda: 2 in segmented())
        assert segmented() == {2}

        refused, accepted = node.set_parameters(
            [
                Parameter('tasks.conditions', value=['segmentation if detection finds person']),
                Parameter('tasks.conditions', value=['none']),
            ]
        )
        assert not refused.successful
        assert 'does not find person' in refused.reason
        assert accepted.successful
        assert 'conditions.skipped' not in told(3, BLUE)
        assert graph.spin_until(lambda: 3 in segmented())
