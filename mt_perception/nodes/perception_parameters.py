# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node's parameters: model, input, tasks, outputs, budgets and offloading."""

from __future__ import annotations

from dataclasses import dataclass

from mt_perception.errors import OptionError
from mt_perception.execution.options import Options
from mt_perception.nodes.parameter_schema import Change, Settings, parameter
from mt_perception.planning.budget import AUTO

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


@dataclass(frozen=True)
class BudgetParameters(Settings):
    """What the perception node can be told of budgets; all may change between two frames."""

    budget_compute: float = parameter(
        'budget.compute',
        1.0,
        'Fraction of the multiply-accumulates of running everything, on average; 1 is everything.',
        minimum=0.05,
        maximum=1.0,
    )
    budget_latency_ms: float = parameter(
        'budget.latency_ms',
        0.0,
        'Keep 95 % of the frames below this, image to last output, with cheaper paths; 0: any.',
        minimum=0.0,
        maximum=60_000.0,
    )
    budget_path: str = parameter(
        'budget.path',
        AUTO,
        "Take this path of the model for every frame that is run, or 'auto'.",
    )
    budget_max_stale_ms: float = parameter(
        'budget.max_stale_ms',
        0.0,
        'Results may be given again for so long: unchanged scenes, and small budgets. 0: never.',
        minimum=0.0,
        maximum=60_000.0,
    )
    budget_max_change: float = parameter(
        'budget.max_change',
        10.0,
        'A scene is unchanged while no place in it changes by more grey levels than this.',
        minimum=0.0,
        maximum=255.0,
    )
    budget_tasks_detection_weight: float = parameter(
        'budget.tasks.detection.weight',
        1.0,
        'How much detection matters against other tasks when a path is chosen.',
        minimum=0.0,
        maximum=100.0,
    )
    budget_tasks_depth_weight: float = parameter(
        'budget.tasks.depth.weight',
        1.0,
        'How much depth matters against other tasks when a path is chosen.',
        minimum=0.0,
        maximum=100.0,
    )
    budget_tasks_segmentation_weight: float = parameter(
        'budget.tasks.segmentation.weight',
        1.0,
        'How much segmentation matters against other tasks when a path is chosen.',
        minimum=0.0,
        maximum=100.0,
    )


_TLS_FILES = (
    'offload.tls.ca_file',
    'offload.tls.certificate_file',
    'offload.tls.key_file',
    'offload.tls.server_name',
)


@dataclass(frozen=True)
class OffloadParameters(Settings):
    """What the perception node can be told of a remote host that finishes its frames."""

    offload_enabled: bool = parameter(
        'offload.enabled',
        False,
        'Let a remote host finish frames; needs mt_perception[offload].',
        change=Change.UNCONFIGURED,
    )
    offload_endpoint: str = parameter(
        'offload.endpoint',
        '127.0.0.1:8001',
        'HOST:PORT of `mt_perception serve` with the same model.',
        change=Change.UNCONFIGURED,
    )
    offload_mode: str = parameter(
        'offload.mode',
        'auto',
        'auto: where it is better; always: where breaker and deadline allow; never: not now.',
        choices=('auto', 'always', 'never'),
    )
    offload_deadline_ms: float = parameter(
        'offload.deadline_ms',
        200.0,
        'From arrival of an image to its results; the own network is run in time to keep it.',
        minimum=1.0,
        maximum=60_000.0,
    )
    offload_tls_enabled: bool = parameter(
        'offload.tls.enabled',
        False,
        'Encrypt, and check that the host is the one it should be.',
        change=Change.UNCONFIGURED,
    )
    offload_tls_ca_file: str = parameter(
        'offload.tls.ca_file',
        '',
        "PEM file of who may vouch for the host; empty: the system's authorities.",
        change=Change.UNCONFIGURED,
    )
    offload_tls_certificate_file: str = parameter(
        'offload.tls.certificate_file',
        '',
        "PEM file of the robot's own certificate, for a host that wants one.",
        change=Change.UNCONFIGURED,
    )
    offload_tls_key_file: str = parameter(
        'offload.tls.key_file',
        '',
        'PEM file of its private key.',
        change=Change.UNCONFIGURED,
    )
    offload_tls_server_name: str = parameter(
        'offload.tls.server_name',
        '',
        "Name in the host's certificate, if it is not the endpoint's.",
        change=Change.UNCONFIGURED,
    )
    offload_token_file: str = parameter(
        'offload.token_file',
        '',
        "File with the robot's token, for a host that wants one.",
        change=Change.UNCONFIGURED,
    )

    def check(self) -> None:
        """Check values against each other: what somebody wanted encrypted never goes plain."""
        super().check()
        given = [name for name in _TLS_FILES if self.value(name)]
        if given and not self.offload_tls_enabled:
            raise OptionError(f'{given[0]} is set, but offload.tls.enabled is not: set it, too')
        if bool(self.offload_tls_certificate_file) != bool(self.offload_tls_key_file):
            raise OptionError(
                'offload.tls.certificate_file and offload.tls.key_file belong together'
            )
