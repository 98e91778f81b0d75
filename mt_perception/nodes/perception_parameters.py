# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node's parameters: model, input, tasks, outputs, budgets and offloading."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mt_perception.errors import OptionError
from mt_perception.execution.options import Options
from mt_perception.geometry.camera import is_rectified
from mt_perception.nodes.parameter_schema import Change, Settings, parameter, start_parameter
from mt_perception.planning.budget import AUTO

ALL_CLASSES = 'all'
NO_CONDITIONS = 'none'
NO_CAMERAS = 'none'
_CAMERA_NAME = re.compile(r'[A-Za-z_]\w*(/[A-Za-z_]\w*)*', re.ASCII)
_LONGEST_NAME = 100
"""ROS limits a namespace, of which a name is a part, to some 240 characters."""


@dataclass(frozen=True)
class PipelineParameters(Settings):
    """Parameters of the model, the input, the tasks and the outputs."""

    autostart: bool = start_parameter(
        'autostart', True, 'Configure and activate at start, without a lifecycle manager.'
    )
    cameras: tuple[str, ...] = start_parameter(
        'cameras',
        (NO_CAMERAS,),
        "Names of cameras, each a node and a namespace; 'none': one camera without a namespace.",
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
        'Threads of one network run; 0 uses one per core.',
        limits=(0, 256),
        change=Change.UNCONFIGURED,
    )
    runtime_parallel: bool = parameter(
        'runtime.parallel',
        False,
        'Run heads side by side, each on a core; without effect under a memory limit.',
        change=Change.UNCONFIGURED,
    )
    runtime_memory_mb: float = parameter(
        'runtime.memory_mb',
        0.0,
        'Upper limit on weights kept in memory, in MB; 0 disables the limit.',
        limits=(0.0, 1_000_000.0),
        change=Change.UNCONFIGURED,
    )
    runtime_providers: tuple[str, ...] = parameter(
        'runtime.providers',
        ('CPUExecutionProvider',),
        'ONNX Runtime execution providers in order of preference, by name or with options as in '
        '"OpenVINO: {device_type: CPU}"; the CPU is the fallback.',
        change=Change.UNCONFIGURED,
    )
    input_transport: str = parameter(
        'input.transport',
        'raw',
        'Subscribe to `image` or to `image/compressed`.',
        choices=('raw', 'compressed'),
        change=Change.UNCONFIGURED,
    )
    input_lazy: bool = parameter(
        'input.lazy', False, 'Unsubscribe from the image while no result has a subscriber.'
    )
    input_rectified: str = parameter(
        'input.rectified',
        'auto',
        'Whether images are rectified; then P of camera_info applies, without distortion. '
        'auto: by the name of the topic (rect, rectified).',
        choices=('auto', 'yes', 'no'),
    )
    input_size: int = parameter(
        'input.size',
        0,
        "Long side of the network's input in pixels; 0 uses the model's default.",
        limits=(0, 8192),
    )
    input_max_age_ms: float = parameter(
        'input.max_age_ms',
        0.0,
        'Drop images whose stamp is older than this on arrival, in ms; 0 disables the limit.',
        limits=(0.0, 3_600_000.0),
    )
    input_timeout_ms: float = parameter(
        'input.timeout_ms',
        2000.0,
        'Time without an image, in ms, after which diagnostics report an error.',
        limits=(10.0, 3_600_000.0),
    )
    tasks_detection_enabled: bool = parameter(
        'tasks.detection.enabled', True, 'Publish detections if subscribed.'
    )
    tasks_detection_max_rate_hz: float = parameter(
        'tasks.detection.max_rate_hz',
        0.0,
        'Maximum rate of detection, in Hz; frames in between have no result. 0: no limit.',
        limits=(0.0, 1000.0),
    )
    tasks_depth_enabled: bool = parameter(
        'tasks.depth.enabled', True, 'Publish depth and points if subscribed.'
    )
    tasks_depth_max_rate_hz: float = parameter(
        'tasks.depth.max_rate_hz',
        0.0,
        'Maximum rate of depth, in Hz; frames in between have no result. 0: no limit.',
        limits=(0.0, 1000.0),
    )
    tasks_segmentation_enabled: bool = parameter(
        'tasks.segmentation.enabled', True, 'Publish segmentation if subscribed.'
    )
    tasks_segmentation_max_rate_hz: float = parameter(
        'tasks.segmentation.max_rate_hz',
        0.0,
        'Maximum rate of segmentation, in Hz; frames in between have no result. 0: no limit.',
        limits=(0.0, 1000.0),
    )
    tasks_conditions: tuple[str, ...] = parameter(
        'tasks.conditions',
        (NO_CONDITIONS,),
        "Conditions under which a task runs, for example 'segmentation if detection finds person "
        "or dog'; or 'none'.",
    )
    detection_score_threshold: float = parameter(
        'detection.score_threshold', 0.35, 'Minimum score of a detection.', limits=(0.0, 1.0)
    )
    detection_iou_threshold: float = parameter(
        'detection.iou_threshold',
        0.65,
        'IoU above which non-maximum suppression removes the lower-scoring box of a class.',
        limits=(0.0, 1.0),
    )
    detection_max_detections: int = parameter(
        'detection.max_detections',
        100,
        'Maximum number of detections per image; the highest scores are kept.',
        limits=(1, 1000),
    )
    detection_classes: tuple[str, ...] = parameter(
        'detection.classes', (ALL_CLASSES,), "Names of the classes to publish, or 'all'."
    )
    tracking_enabled: bool = parameter(
        'tracking.enabled', True, 'Give detections an identity over time, in the field id.'
    )
    tracking_min_iou: float = parameter(
        'tracking.min_iou',
        0.2,
        'Minimum IoU of a detection with the predicted box of its track.',
        limits=(0.0, 1.0),
    )
    tracking_max_age_ms: float = parameter(
        'tracking.max_age_ms',
        1000.0,
        'Time after which a track without a detection ends, in ms.',
        limits=(1.0, 60000.0),
    )

    def check(self) -> None:
        """Check constraints between parameters."""
        super().check()
        if ALL_CLASSES in self.detection_classes and len(self.detection_classes) > 1:
            raise OptionError("detection.classes is either ['all'] or a list of class names")
        if NO_CONDITIONS in self.tasks_conditions and len(self.tasks_conditions) > 1:
            raise OptionError("tasks.conditions is either ['none'] or a list of conditions")
        names = self.camera_names()
        if len(set(names)) < len(names):
            raise OptionError(f'cameras names a camera twice: {", ".join(names)}')
        for name in names:
            fits = len(name) <= _LONGEST_NAME and _CAMERA_NAME.fullmatch(name)
            if name == NO_CAMERAS or not fits:
                raise OptionError(
                    f'cameras must be names of ROS namespaces of at most {_LONGEST_NAME} '
                    f'characters, such as front or arm/left, found {name!r:.60}'
                )

    def camera_names(self) -> tuple[str, ...]:
        """Names of the cameras; empty for one camera without a namespace."""
        return () if self.cameras == (NO_CAMERAS,) else self.cameras

    def rectified(self, topic: str) -> bool:
        """Whether images on a topic are rectified."""
        return (
            is_rectified(topic)
            if self.input_rectified == 'auto'
            else (self.input_rectified == 'yes')
        )

    def options(self) -> Options:
        """The options of the pipeline."""
        every = ALL_CLASSES in self.detection_classes
        return Options(
            size=self.input_size,
            score_threshold=self.detection_score_threshold,
            nms_iou=self.detection_iou_threshold,
            max_detections=self.detection_max_detections,
            classes=() if every else self.detection_classes,
            tracking=self.tracking_enabled,
            track_min_iou=self.tracking_min_iou,
            track_max_age_ms=self.tracking_max_age_ms,
            conditions=() if NO_CONDITIONS in self.tasks_conditions else self.tasks_conditions,
        )

    def enabled(self, task: str) -> bool:
        """Whether a task is enabled; tasks without a parameter always are."""
        switches = {p.name for p in self.parameters()}
        name = f'tasks.{task}.enabled'
        return name not in switches or self.value(name) is True


@dataclass(frozen=True)
class BudgetParameters(Settings):
    """Parameters of the budgets; all can change between two frames."""

    budget_compute: float = parameter(
        'budget.compute',
        1.0,
        'Average compute of a frame as a fraction of that of the full path; 1: no limit.',
        limits=(0.05, 1.0),
    )
    budget_latency_ms: float = parameter(
        'budget.latency_ms',
        0.0,
        'Target p95 latency from image arrival to last output, in ms; 0 disables it.',
        limits=(0.0, 60_000.0),
    )
    budget_path: str = parameter(
        'budget.path',
        AUTO,
        "Path of the model for every frame, or 'auto' for the one that fits the budget.",
    )
    budget_max_stale_ms: float = parameter(
        'budget.max_stale_ms',
        0.0,
        'Maximum age of reused results, in ms; 0 disables reuse. Recommended with a budget: about '
        'three frame periods.',
        limits=(0.0, 60_000.0),
    )
    budget_max_change: float = parameter(
        'budget.max_change',
        10.0,
        'Largest local change, in grey levels, at which results of a previous frame are reused.',
        limits=(0.0, 255.0),
    )
    budget_tasks_detection_weight: float = parameter(
        'budget.tasks.detection.weight',
        1.0,
        'Weight of detection relative to the other tasks when a path is selected.',
        limits=(0.0, 100.0),
    )
    budget_tasks_depth_weight: float = parameter(
        'budget.tasks.depth.weight',
        1.0,
        'Weight of depth relative to the other tasks when a path is selected.',
        limits=(0.0, 100.0),
    )
    budget_tasks_segmentation_weight: float = parameter(
        'budget.tasks.segmentation.weight',
        1.0,
        'Weight of segmentation relative to the other tasks when a path is selected.',
        limits=(0.0, 100.0),
    )


_TLS_FILES = (
    'offload.tls.ca_file',
    'offload.tls.certificate_file',
    'offload.tls.key_file',
    'offload.tls.server_name',
)


@dataclass(frozen=True)
class OffloadParameters(Settings):
    """Parameters of offloading to a remote host."""

    offload_enabled: bool = parameter(
        'offload.enabled',
        False,
        'Offload the later part of the network to a remote host; see docs/offload.md.',
        change=Change.UNCONFIGURED,
    )
    offload_endpoint: str = parameter(
        'offload.endpoint',
        '127.0.0.1:8001',
        'HOST:PORT of the remote host, which serves the same model.',
        change=Change.UNCONFIGURED,
    )
    offload_endpoints: tuple[str, ...] = parameter(
        'offload.endpoints',
        ('none',),
        'HOST:PORT of several remote hosts in order of preference; none: offload.endpoint.',
        change=Change.UNCONFIGURED,
    )
    offload_mode: str = parameter(
        'offload.mode',
        'auto',
        'auto: if better than a local run; always: if the host can reply in time; never.',
        choices=('auto', 'always', 'never'),
    )
    offload_deadline_ms: float = parameter(
        'offload.deadline_ms',
        200.0,
        'Time from image arrival to last output, in ms; a local run starts in time to meet it.',
        limits=(1.0, 60_000.0),
    )
    offload_tls_enabled: bool = parameter(
        'offload.tls.enabled',
        False,
        'Use TLS and verify the certificate of the host.',
        change=Change.UNCONFIGURED,
    )
    offload_tls_ca_file: str = parameter(
        'offload.tls.ca_file',
        '',
        "PEM file with trusted CA certificates; empty uses the system's.",
        change=Change.UNCONFIGURED,
    )
    offload_tls_certificate_file: str = parameter(
        'offload.tls.certificate_file',
        '',
        'PEM file with the client certificate, for mutual TLS.',
        change=Change.UNCONFIGURED,
    )
    offload_tls_key_file: str = parameter(
        'offload.tls.key_file',
        '',
        'PEM file with the private key of the client certificate.',
        change=Change.UNCONFIGURED,
    )
    offload_tls_server_name: str = parameter(
        'offload.tls.server_name',
        '',
        "Name in the host's certificate, if it differs from the endpoint.",
        change=Change.UNCONFIGURED,
    )
    offload_token_file: str = parameter(
        'offload.token_file',
        '',
        'File with the access token of this robot.',
        change=Change.UNCONFIGURED,
    )

    def check(self) -> None:
        """Check constraints between parameters: TLS files without TLS are an error."""
        super().check()
        given = [name for name in _TLS_FILES if self.value(name)]
        if given and not self.offload_tls_enabled:
            raise OptionError(f'{given[0]} is set, but offload.tls.enabled is not: set it, too')
        if bool(self.offload_tls_certificate_file) != bool(self.offload_tls_key_file):
            raise OptionError(
                'offload.tls.certificate_file and offload.tls.key_file belong together'
            )
