# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Budgets of a running node: live parameters, what statistics say, and the same plans as here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from ros_graph import PATIENCE_S, RosGraph, patch
from test_perception_node import DEPTH, DETECTIONS, STATS, Bench, values
from tiny_model import COLOURS
from tiny_paths import write_tiny_paths

from mt_perception.nodes.budget_check import FRAMES
from mt_perception.nodes.frame_publisher import FramePublisher
from mt_perception.nodes.perception import PerceptionNode
from mt_perception.nodes.result_collector import ResultCollector
from mt_perception.nodes.round_trip_predictor import SynchronousPlayer
from mt_perception.nodes.stats import report_values
from mt_perception.pipeline import Pipeline
from mt_perception.planning.budget import Budget
from mt_perception.types import Frame

RELIABLE = {'qos_overrides./image.subscription.reliability': 'reliable'}


@pytest.fixture(scope='session')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_paths(tmp_path_factory.mktemp('paths'))


def stats(bench: Bench) -> list[dict[str, str]]:
    return [values(message.status[0]) for message in bench.got(STATS)]


def test_ros2_param_set_takes_effect_on_the_next_frame(graph: RosGraph, model: Path) -> None:
    bench = Bench(graph, model, DETECTIONS, DEPTH, STATS)
    # What `ros2 param set` does: a call of the service, from another node, over DDS.
    client = bench.peer.create_client(SetParameters, '/perception/set_parameters')
    assert client.wait_for_service(PATIENCE_S)

    def param_set(name: str, value: Any) -> Any:
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        answer = client.call_async(request)
        assert graph.spin_until(answer.done)
        return answer.result().results[0]

    bench.pass_frame()
    expected = ['full']
    for name, value, path in (
        ('budget.path', 'light', 'light'),
        ('budget.path', 'small', 'small'),
        ('budget.path', 'auto', 'full'),
        ('budget.compute', 0.25, 'light'),
        ('budget.compute', 1, 'full'),
        ('budget.max_stale_ms', 5000.0, 'full'),
        ('budget.max_change', 9.0, 'reuse'),
    ):
        assert param_set(name, value).successful, name
        bench.pass_frame()
        expected.append(path)
    assert [s['path'] for s in stats(bench)] == expected
    assert stats(bench)[1]['reason'] == 'path light is pinned'
    assert stats(bench)[4]['budget.compute'] == '0.250'
    again = stats(bench)[-1]
    assert again['reuse.age_ms'] == '1000.000'
    assert again['macs'] == '0'
    assert again['made'].split() == [DETECTIONS.replace('/perception', '~'), '~/depth/image']
    for name, value, words in (
        ('budget.path', 'lite', 'this model has auto, full, light, small'),
        ('budget.compute', 0.0, '0.05'),
        ('budget.latency_ms', -1.0, '60000'),
    ):
        refused = param_set(name, value)
        assert not refused.successful
        assert words in refused.reason
    assert bench.node.live.settings.budget_path == 'auto'


def test_a_refused_budget_changes_nothing_else(graph: RosGraph, model: Path) -> None:
    bench = Bench(graph, model)
    before = bench.node.pipeline.options, bench.node.pipeline.budget
    for bad in (('budget.path', 'lite'), ('input.size', 67)):
        parameters = [
            Parameter(name, value=value)
            for name, value in (('detection.score_threshold', 0.7), ('budget.compute', 0.5), bad)
        ]
        assert not bench.node.set_parameters_atomically(parameters).successful
        assert (bench.node.pipeline.options, bench.node.pipeline.budget) == before


def test_a_path_that_the_model_lacks_is_no_configuration(graph: RosGraph, model: Path) -> None:
    node = graph.add(PerceptionNode, model=str(model), **{'budget.path': 'lite'})
    assert graph.spin_until(lambda: node.fault)
    assert 'this model has auto, full, light, small' in node.fault


def test_diagnostics_say_plan_reason_and_what_was_spent(graph: RosGraph, model: Path) -> None:
    settings = {'budget.compute': 0.6, 'budget.tasks.depth.weight': 3.0}
    bench = Bench(graph, model, DETECTIONS, **settings)
    for _ in range(4):
        bench.pass_frame()
    told = values(bench.diagnostics()['perception'])
    assert told['path'] in ('full', 'light', 'small')
    assert 'budget 0.6' in told['reason'] or told['path'] == 'full'
    assert told['budget.compute'] == '0.600'
    assert 0.2 <= float(told['budget.realised']) <= 1.01
    assert bench.node.pipeline.budget.weight('depth') == 3


def test_tasks_at_their_own_rates(graph: RosGraph, model: Path) -> None:
    # The bench's frames are a second apart; without depth nothing waits for its topic.
    bench = Bench(graph, model, DETECTIONS, STATS, **{'tasks.detection.max_rate_hz': 0.5})
    bench.topics = (STATS,)
    for _ in range(6):
        bench.pass_frame()
    assert [m.header.stamp.sec for m in bench.got(DETECTIONS)] == [1, 3, 5]
    assert [s['policy.not_due'] for s in stats(bench) if 'policy.not_due' in s] == [
        'detection'
    ] * 3


def film() -> list[Frame]:
    """A still scene with noise, then things that move, then frames dark and bright."""
    random = np.random.default_rng(2)
    frames = []
    for number in range(36):
        image = patch((0, 0, 255))
        if 12 <= number < 24:
            image = np.roll(image, 5 * number, axis=1)
        elif number >= 24:
            image = np.full_like(image, random.integers(0, 255))
        noisy = np.clip(image + random.normal(0, 2, image.shape), 0, 255).astype(np.uint8)
        frames.append(Frame(noisy, (number + 1) * 66_666_667, 'camera_optical'))
    return frames


@pytest.mark.parametrize('compute', [1.0, 0.5])
def test_the_same_frames_make_the_same_plans_here_and_through_ros(
    graph: RosGraph, model: Path, compute: float
) -> None:
    graph.add(
        PerceptionNode,
        model=str(model),
        **RELIABLE,
        **{'budget.compute': compute, 'budget.max_stale_ms': 400.0},
        **{'tasks.depth.max_rate_hz': 4.0},
    )
    node = graph.add(lambda **kwargs: Node('replay', **kwargs))
    player = SynchronousPlayer(
        graph.executor, FramePublisher(node), ResultCollector(node, labels=COLOURS)
    )
    assert player.connect(PATIENCE_S)
    names = ('detection', 'segmentation', 'depth')
    budget = Budget(
        compute=compute,
        max_stale_ms=400.0,
        weights=dict.fromkeys(names, 1.0),
        max_rate_hz={**dict.fromkeys(names, 0.0), 'depth': 4.0},
    )
    pipeline = Pipeline.load(model, budget=budget)
    paths = []
    for frame in film():
        record = player.step(frame, PATIENCE_S)
        run = pipeline.run(frame).execution
        assert record is not None
        assert record.stats['path'] == run.path
        assert record.stats['reason'] == run.reason
        assert int(record.stats['macs']) == run.macs
        assert report_values(record.stats) == run.values()
        paths.append(run.path)
    assert {'full', 'reuse'} <= set(paths)
    assert compute == 1 or len(set(paths)) > 2


def report(bench: Bench) -> Any:
    return bench.diagnostics()['perception']


def test_a_fresh_node_reports_no_plan(graph: RosGraph, model: Path) -> None:
    """Loading runs every path once; that is nobody's choice."""
    bench = Bench(graph, model, DETECTIONS, STATS)
    found = values(report(bench))
    assert 'path' not in found
    assert 'reason' not in found
    bench.pass_frame()
    assert values(report(bench))['path'] == 'full'


@pytest.mark.parametrize(
    ('name', 'impossible', 'possible'),
    [('budget.compute', 0.05, 0.9), ('budget.latency_ms', 0.01, 60_000.0)],
)
def test_a_budget_that_cannot_be_met_is_a_warning(
    graph: RosGraph, model: Path, name: str, impossible: float, possible: float
) -> None:
    bench = Bench(graph, model, DETECTIONS, STATS, **{name: impossible})
    for _ in range(FRAMES):
        bench.pass_frame()
    told = report(bench)
    assert told.level == DiagnosticStatus.WARN
    assert f'{name} {impossible:g} is not met' in told.message
    if name == 'budget.compute':
        assert 'the cheapest path costs' in told.message
        reason = stats(bench)[-1]['reason']
        assert 'no path is within budget 0.05' in reason
    assert bench.node.set_parameters([Parameter(name, value=possible)])[0].successful
    for _ in range(FRAMES):
        bench.pass_frame()
    assert report(bench).level == DiagnosticStatus.OK
