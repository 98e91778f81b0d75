# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A baseline: one or several plain ONNX networks that together produce one result."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from mt_perception.errors import ModelError, TaskError
from mt_perception.evaluation.records import Json
from mt_perception.reports import Execution
from mt_perception.types import (
    DEPTH,
    DETECTION,
    SEGMENTATION,
    DepthMap,
    Detections,
    Frame,
    Result,
    Segmentation,
)

Output = Detections | DepthMap | Segmentation


class Adapter(Protocol):
    """Input and output conventions of one kind of network."""

    @property
    def task(self) -> str:
        """The task that the network serves."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Its class names; empty for depth."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of its input in pixels."""

    def prepare(self, frame: Frame) -> NDArray[Any]:
        """The network's input for a frame."""

    def finish(self, outputs: Sequence[NDArray[Any]], frame: Frame) -> Output:
        """The result in pixels of the frame's image.

        Raises:
            TaskError: The outputs have another form.
        """


@dataclass(frozen=True, eq=False)
class Net:
    """One network.

    Attributes:
        name: Name of its file, without the suffix.
        kind: Name of its adapter.
        sha256: Of the file, lower-case hex.
        macs: Multiply-accumulates of one frame; None without the ``onnx`` package.
        adapter: Its input and output conventions.
        session: Runs it.
    """

    name: str
    kind: str
    sha256: str
    macs: int | None
    adapter: Adapter
    session: ort.InferenceSession


class Baseline:
    """Separate networks that run one after the other on every frame.

    Args:
        nets: The networks; each serves another task.

    Attributes:
        name: The networks' names, joined by ``+``.
        labels: Task → class names, for every task it serves.
        identity: ``name``, ``version``, ``sha256``, ``labels``, and ``baseline``: name, kind and
            MACs of each network.

    Raises:
        ModelError: Two networks serve one task.
    """

    def __init__(self, nets: Sequence[Net]) -> None:
        tasks = [net.adapter.task for net in nets]
        if len(set(tasks)) != len(tasks):
            raise ModelError(
                f'{" and ".join(tasks)}: two networks of a baseline serve one task; give each its '
                'own --baseline'
            )
        self._nets = tuple(nets)
        self.name = '+'.join(net.name for net in nets)
        self.labels: Mapping[str, tuple[str, ...]] = {
            net.adapter.task: net.adapter.labels for net in nets
        }
        self.identity: Mapping[str, Json] = {
            'name': self.name,
            'version': '',
            'sha256': '+'.join(net.sha256 for net in nets),
            'labels': self.labels,
            'baseline': [{'name': n.name, 'kind': n.kind, 'macs': n.macs} for n in nets],
        }

    def run(self, frame: Frame, wanted: Iterable[str] | None = None) -> Result:
        """Run one frame, one network after the other.

        Args:
            frame: The frame; its image is not changed.
            wanted: The requested tasks; None means all.

        Returns:
            The results; a network that failed is named in ``failures``. A network whose
            multiply-accumulates are unknown counts as 0.
        """
        tasks = frozenset(self.labels if wanted is None else wanted)
        nets = [net for net in self._nets if net.adapter.task in tasks]
        results: dict[str, Any] = {}
        failures: dict[str, str] = {}
        stages = {'preprocess': 0.0, 'inference': 0.0, 'postprocess': 0.0}
        blocks = {net.name: 0.0 for net in nets}
        start = time.perf_counter()
        for net in nets:
            try:
                results[net.adapter.task] = _run(net, frame, stages, blocks)
            except TaskError as error:
                failures[net.adapter.task] = str(error)
        stages['total'] = (time.perf_counter() - start) * 1e3
        return Result(
            stamp_ns=frame.stamp_ns,
            frame_id=frame.frame_id,
            detections=results.get(DETECTION),
            depth=results.get(DEPTH),
            segmentation=results.get(SEGMENTATION),
            execution=Execution(
                tasks=tuple(net.adapter.task for net in nets),
                blocks=tuple(net.name for net in nets),
                path='full',
                reason='a baseline has one path',
                macs=sum(net.macs or 0 for net in nets),
                network_size=nets[0].adapter.size if nets else (0, 0),
                stage_ms=stages,
                block_ms=blocks,
            ),
            failures=failures,
        )


def _run(net: Net, frame: Frame, stages: dict[str, float], blocks: dict[str, float]) -> Output:
    """Run one network and add its times to the stages."""
    start = time.perf_counter()
    image = net.adapter.prepare(frame)
    prepared = time.perf_counter()
    stages['preprocess'] += (prepared - start) * 1e3
    try:
        outputs = net.session.run(None, {net.session.get_inputs()[0].name: image})
    except Exception as error:
        # ONNX Runtime's exceptions have no base class of their own.
        raise TaskError(f'{net.name} failed: {error}') from error
    ran = time.perf_counter()
    blocks[net.name] += (ran - prepared) * 1e3
    stages['inference'] += (ran - prepared) * 1e3
    found = net.adapter.finish([np.asarray(output) for output in outputs], frame)
    stages['postprocess'] += (time.perf_counter() - ran) * 1e3
    return found
