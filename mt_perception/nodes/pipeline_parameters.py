# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node's parameters of model, input, tasks and outputs."""

from __future__ import annotations

from dataclasses import dataclass

from mt_perception.errors import OptionError
from mt_perception.nodes.declaration import Change, Settings, parameter
from mt_perception.runtime.options import Options

ALL_CLASSES = 'all'
NO_CONDITIONS = 'none'


@dataclass(frozen=True)
class PipelineParameters(Settings):
    """What the perception node can be told of its model, its input, tasks and outputs."""

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
    tasks_detection_max_rate_hz: float = parameter(
        'tasks.detection.max_rate_hz',
        0.0,
        'Run detection at most so often; frames between have none. 0: every frame.',
        minimum=0.0,
        maximum=1000.0,
    )
    tasks_depth_enabled: bool = parameter(
        'tasks.depth.enabled', True, 'Serve depth and points to subscribers.'
    )
    tasks_depth_max_rate_hz: float = parameter(
        'tasks.depth.max_rate_hz',
        0.0,
        'Run depth at most so often; frames between have none. 0: every frame.',
        minimum=0.0,
        maximum=1000.0,
    )
    tasks_segmentation_enabled: bool = parameter(
        'tasks.segmentation.enabled', True, 'Serve segmentation to subscribers.'
    )
    tasks_segmentation_max_rate_hz: float = parameter(
        'tasks.segmentation.max_rate_hz',
        0.0,
        'Run segmentation at most so often; frames between have none. 0: every frame.',
        minimum=0.0,
        maximum=1000.0,
    )
    tasks_conditions: tuple[str, ...] = parameter(
        'tasks.conditions',
        (NO_CONDITIONS,),
        "Tasks that run only where another finds something, such as 'segmentation if detection "
        "finds person or dog'; or 'none'.",
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
        super().check()
        if ALL_CLASSES in self.detection_classes and len(self.detection_classes) > 1:
            raise OptionError("detection.classes is either ['all'] or a list of class names")
        if NO_CONDITIONS in self.tasks_conditions and len(self.tasks_conditions) > 1:
            raise OptionError("tasks.conditions is either ['none'] or a list of conditions")

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
            conditions=() if NO_CONDITIONS in self.tasks_conditions else self.tasks_conditions,
        )

    def enabled(self, task: str) -> bool:
        """Whether a task may be served; those of a model beyond the three always may."""
        switches = {p.name for p in self.parameters()}
        name = f'tasks.{task}.enabled'
        return name not in switches or self.value(name) is True
