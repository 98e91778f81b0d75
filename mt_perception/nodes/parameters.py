# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of our nodes: the one declaration that code, YAML and README agree with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mt_perception.errors import OptionError
from mt_perception.nodes.declaration import Change, Settings, parameter, yaml_text
from mt_perception.runtime.options import Options

ALL_CLASSES = 'all'


@dataclass(frozen=True)
class PerceptionSettings(Settings):
    """What the perception node can be told."""

    autostart: bool = parameter(
        'autostart',
        True,
        'Configure and activate without a lifecycle manager.',
        change=Change.START,
    )
    model: str = parameter(
        'model',
        'cspnano',
        'Name of an installed model, or path of a model folder.',
        change=Change.UNCONFIGURED,
    )
    runtime_threads: int = parameter(
        'runtime.threads',
        1,
        'Threads of one network run; 0 is one per core.',
        minimum=0,
        maximum=256,
        change=Change.UNCONFIGURED,
    )
    runtime_memory_mb: float = parameter(
        'runtime.memory_mb',
        0.0,
        'Most megabytes of weights held; the others are loaded when needed. 0 holds all.',
        minimum=0.0,
        maximum=1_000_000.0,
        change=Change.UNCONFIGURED,
    )
    runtime_providers: tuple[str, ...] = parameter(
        'runtime.providers',
        ('CPUExecutionProvider',),
        'ONNX Runtime execution providers, most wanted first; the CPU is the last resort.',
        change=Change.UNCONFIGURED,
    )
    input_transport: str = parameter(
        'input.transport',
        'raw',
        'Subscribe to `image` or to `image/compressed`.',
        choices=('raw', 'compressed'),
        change=Change.UNCONFIGURED,
    )
    input_size: int = parameter(
        'input.size',
        0,
        "Long side of the network's input in pixels; 0 is the model's own.",
        minimum=0,
        maximum=8192,
    )
    input_max_age_ms: float = parameter(
        'input.max_age_ms',
        0.0,
        'Drop images whose stamp is older than this when they arrive; 0 keeps all.',
        minimum=0.0,
        maximum=3_600_000.0,
    )
    input_timeout_ms: float = parameter(
        'input.timeout_ms',
        2000.0,
        'Without an image for this long, diagnostics report an error.',
        minimum=10.0,
        maximum=3_600_000.0,
    )
    tasks_detection_enabled: bool = parameter(
        'tasks.detection.enabled', True, 'Serve detections to subscribers.'
    )
    tasks_depth_enabled: bool = parameter(
        'tasks.depth.enabled', True, 'Serve depth and points to subscribers.'
    )
    tasks_segmentation_enabled: bool = parameter(
        'tasks.segmentation.enabled', True, 'Serve segmentation to subscribers.'
    )
    detection_score_threshold: float = parameter(
        'detection.score_threshold',
        0.35,
        'Detections with a lower score are left out.',
        minimum=0.0,
        maximum=1.0,
    )
    detection_iou_threshold: float = parameter(
        'detection.iou_threshold',
        0.65,
        'Of two boxes of one class that overlap more than this, the better one stays.',
        minimum=0.0,
        maximum=1.0,
    )
    detection_max_detections: int = parameter(
        'detection.max_detections', 100, 'At most this many, best first.', minimum=1, maximum=1000
    )
    detection_classes: tuple[str, ...] = parameter(
        'detection.classes',
        (ALL_CLASSES,),
        "Names of the classes to report, or 'all'.",
    )
    depth_max_range_m: float = parameter(
        'depth.max_range_m', 20.0, 'Farther depth is NaN.', minimum=0.1, maximum=1000.0
    )
    points_stride: int = parameter(
        'points.stride',
        2,
        'Every n-th pixel of every n-th row becomes a point.',
        minimum=1,
        maximum=64,
    )

    def check(self) -> None:
        """Check values against each other."""
        if ALL_CLASSES in self.detection_classes and len(self.detection_classes) > 1:
            raise OptionError("detection.classes is either ['all'] or a list of class names")

    def options(self) -> Options:
        """What of it concerns the pipeline."""
        every = ALL_CLASSES in self.detection_classes
        return Options(
            size=self.input_size,
            score_threshold=self.detection_score_threshold,
            nms_iou=self.detection_iou_threshold,
            max_detections=self.detection_max_detections,
            classes=() if every else self.detection_classes,
            max_depth_m=self.depth_max_range_m,
        )

    def enabled(self, task: str) -> bool:
        """Whether a task may be served; those of a model beyond the three always may."""
        switches = {p.name for p in self.parameters()}
        name = f'tasks.{task}.enabled'
        return name not in switches or self.value(name) is True


@dataclass(frozen=True)
class SourceSettings(Settings):
    """What the source node can be told."""

    source: str = parameter(
        'source',
        '',
        'A folder of images, a video, a bag, or a camera such as `/dev/video0`.',
        change=Change.START,
    )
    topic: str = parameter(
        'topic', '', 'Image topic of a bag that has several; else empty.', change=Change.START
    )
    rate_hz: float = parameter(
        'rate_hz',
        0.0,
        'Images per second; 0 is the rate of the recording.',
        minimum=0.0,
        maximum=1000.0,
        change=Change.START,
    )
    loop: bool = parameter('loop', False, 'Begin again at the end.', change=Change.START)
    restamp: bool = parameter(
        'restamp',
        True,
        'Stamp images with the current time instead of the time of the recording.',
        change=Change.START,
    )
    frame_id: str = parameter(
        'frame_id',
        '',
        'Optical frame of the images; empty keeps that of the recording.',
        change=Change.START,
    )
    wait_for_subscribers: bool = parameter(
        'wait_for_subscribers', True, 'Begin when someone listens.', change=Change.START
    )


NODES: Mapping[str, type[Settings]] = MappingProxyType(
    {'perception': PerceptionSettings, 'source': SourceSettings}
)
"""Run-time name of each node → its parameters."""

_YAML_HEAD = """\
# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
# Every parameter with its default, generated from mt_perception/nodes/parameters.py.
# Copy it, keep what you change, and start with params_file:=yours.yaml. It holds in every
# namespace. QoS can be overridden too, for instance
#   qos_overrides./image.subscription.reliability: reliable
"""


def params_yaml() -> str:
    """The text of ``config/mt_perception.params.yaml``."""
    return _YAML_HEAD + yaml_text(NODES)
