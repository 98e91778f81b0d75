# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A runner that offloads frames to remote hosts and meets the deadline without them.

A frame is encoded and sent. If no response has arrived by the time at which a local run must start
to meet the deadline, the local run starts. A response that arrives during the local run is still
used; a later one is dropped. Frames run one at a time, so results keep the order of frames.
"""

from __future__ import annotations

import itertools
import math
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mt_perception.errors import ModelError
from mt_perception.execution.frame_run import FrameRun, Runner
from mt_perception.execution.options import Options
from mt_perception.execution.plan import Stage
from mt_perception.model.manifest import Manifest
from mt_perception.offload.deadline import (
    MARGIN_S,
    DurationEstimate,
    DurationEstimates,
    OffloadFrame,
)
from mt_perception.offload.decision import (
    NEVER,
    TOO_SHORT,
    Decision,
    DecisionInputs,
    OffloadPolicy,
    Rates,
)
from mt_perception.offload.endpoint import Endpoint
from mt_perception.offload.host_pool import HostPool
from mt_perception.offload.inference_client import InferenceClient
from mt_perception.offload.key_frames import KeyFrames
from mt_perception.offload.link_estimate import link_values
from mt_perception.offload.payload import pack
from mt_perception.offload.protocol import InferenceRequest, InferenceResponse
from mt_perception.offload.response_validation import validate_response
from mt_perception.offload.settings import OffloadSettings
from mt_perception.offload.split_model import SplitEncoder
from mt_perception.pipeline import Pipeline
from mt_perception.reports import OffloadReport


class OffloadClient:
    """Runs stages on remote hosts where that is better, else on this machine.

    Args:
        folder: The model folder; its cut is used.
        manifest: The manifest of the model.
        local: Runs stages on this machine.
        settings: Endpoints, deadline and policy.
        options: Returns the pipeline's options; hosts drop detections below their threshold.
        on_close: Called when the client is closed.

    Attributes:
        hosts: The remote hosts.
        frames_remote: Number of frames with results of a host.
        frames_local: Number of frames with local results.
        warnings: Warnings for the operator.

    Raises:
        ModelError: The model has no cut.
        OffloadError: An endpoint cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        local: Runner,
        settings: OffloadSettings,
        options: Callable[[], Options] = Options,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings = settings
        self.warnings = tuple(w for endpoint in settings.endpoints for w in endpoint.warnings())
        self.frames_remote = 0
        self.frames_local = 0
        self._manifest = manifest
        self._local = local
        self._options = options
        self._on_close = on_close
        self._encoder = SplitEncoder(folder, settings.providers, settings.threads)
        # With several hosts a late frame is repeated at one that has no reference.
        self._key_frames = KeyFrames(self._encoder) if len(settings.endpoints) == 1 else None
        self._rates = Rates(manifest, self._encoder.cut)
        remote = self._encoder.cut.graph.tasks.values()
        self._remote_tensors = frozenset(tensor for names in remote for tensor in names)
        tasks = manifest.tasks.values()
        self._all_tensors = {tensor for task in tasks for tensor in task.outputs.values()}
        self._policy = OffloadPolicy(settings.decision)
        self._local_times = DurationEstimates()
        self._encode_times = DurationEstimates()
        # Distinguishes responses for this client from those for an earlier one.
        self._session = uuid.uuid4().hex[:12]
        self._numbers = itertools.count()
        self.hosts = HostPool(settings.endpoints, manifest.name, settings.breaker)
        if settings.decision.mode != NEVER:
            # Connects while the first frames run locally.
            self.hosts.available(time.monotonic())

    def close(self) -> None:
        """Cancel unfinished requests and close the connections."""
        self._on_close()
        self.hosts.close()

    def __enter__(self) -> OffloadClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def change(self, deadline_ms: float, mode: str) -> None:
        """Change settings from the next frame on; link estimates are kept."""
        decision = replace(self.settings.decision, mode=mode)
        self.settings = replace(self.settings, deadline_ms=deadline_ms, decision=decision)
        self._policy.settings = decision

    def run(self, stage: Stage, run: FrameRun) -> None:
        """Run a stage; with the first stage of a frame a host may run all stages."""
        if run.offload is not None:
            self._run_local(stage, run)
            return
        now_s = time.monotonic()
        frame = self._frame(stage, run, now_s)
        hosts, blocked = self._available(now_s)
        decision = self._decide(frame, hosts, blocked, now_s)
        run.offload = self._report(decision, hosts, now_s)
        if decision.rate is None:
            self._run_local(stage, run)
        else:
            run.offload = self._run_remote(frame, hosts, decision.rate, run.offload)
        if run.offload.remote:
            self.frames_remote += 1
        else:
            self.frames_local += 1

    def _available(self, now_s: float) -> tuple[list[InferenceClient], str]:
        if self.settings.decision.mode == NEVER:
            return [], NEVER
        return self.hosts.available(now_s)

    def _frame(self, stage: Stage, run: FrameRun, now_s: float) -> OffloadFrame:
        deadline_s = run.deadline_s
        if deadline_s is None:
            deadline_s = run.received_s + self.settings.deadline_ms * 1e-3
        local, *later = (self._local_time(one, run) for one in run.plan.stages)
        return OffloadFrame(
            run=run,
            stage=stage,
            deadline_s=deadline_s,
            local=local,
            later=tuple(later),
            encode=self._encode_times.of(run.network_size),
        )

    def _local_time(self, stage: Stage, run: FrameRun) -> DurationEstimate:
        return self._local_times.of((stage.block_names, run.network_size))

    def _report(
        self, decision: Decision, hosts: Sequence[InferenceClient], now_s: float
    ) -> OffloadReport:
        host = hosts[0] if hosts else self.hosts.preferred
        link = link_values(host.link_state(now_s))
        return OffloadReport(
            remote=False,
            reason=decision.reason,
            breaker=host.breaker.state.value,
            failure_rate=link['failure_rate'],
            round_trip_ms=link.get('round_trip_ms'),
            mbit_s=link.get('mbit_s'),
        )

    def _decide(
        self,
        frame: OffloadFrame,
        hosts: Sequence[InferenceClient],
        blocked: str,
        now_s: float,
    ) -> Decision:
        if not hosts:
            return Decision(None, blocked, frame.local_typical_s)
        if not frame.local.known:
            # Without the duration of a local run its latest start is unknown.
            return Decision(None, 'unmeasured', 0.0)
        if not frame.tensors <= self._remote_tensors:
            return Decision(None, 'not_remote', frame.local_typical_s)
        tasks = [task for stage in frame.run.plan.stages for task in stage.tasks]
        options = self._rates.options(tasks, frame.run.network_size)
        host = hosts[0]
        inputs = DecisionInputs(
            now_s=now_s,
            remaining_s=frame.deadline_s - now_s - MARGIN_S,
            local_s=frame.local_typical_s,
            local_upper_s=frame.local_upper_s,
            encode_s=frame.encode.upper_s,
            link=host.link_state(now_s),
            reply_bytes=host.reply_bytes,
            rates=options,
        )
        decision = self._policy.decide(inputs)
        if host.on_trial and decision.rate is None and decision.reason != TOO_SHORT:
            # A host that returns is tried regardless of older estimates.
            cheapest = min(options, key=lambda option: option.payload_bytes)
            return Decision(cheapest.rate, 'trial', math.nan, explores=True)
        return decision

    def _run_local(self, stage: Stage, run: FrameRun) -> None:
        start_s = time.monotonic()
        self._local.run(stage, run)
        self._local_time(stage, run).add(time.monotonic() - start_s)

    def _run_remote(
        self,
        frame: OffloadFrame,
        hosts: Sequence[InferenceClient],
        rate: int,
        report: OffloadReport,
    ) -> OffloadReport:
        """Run all stages on a host, and the first one locally if the response is late."""
        run, start_s = frame.run, time.monotonic()
        try:
            request = self._request(frame, hosts[0], rate)
        except Exception as error:
            # ONNX Runtime's exceptions have no common base class.
            self._run_local(frame.stage, run)
            return replace(report, failure=f'encoder: {error}'[:200])
        sent_s = time.monotonic()
        frame.encode.add(sent_s - start_s)
        self._rates.add(rate, len(request.payload), run.network_size)
        run.blocks.append(self._encoder.cut.encoder)

        def validate(response: InferenceResponse) -> None:
            tasks = [task for task in self._manifest.tasks.values() if frame.serves(task)]
            validate_response(response.tensors, tasks, run.network_size)

        pending = self.hosts.send(hosts, request, frame.deadline_s, validate)
        # A machine that encodes more slowly than usual also runs more slowly than usual.
        slowness = max(1.0, (sent_s - start_s) / frame.encode.typical_s)
        response = pending.wait(frame.latest_start_s(slowness))
        local_run = response is None
        if response is None:
            self._run_local(frame.stage, run)
            response = pending.wait(-math.inf)
        report = replace(
            report,
            rate=rate,
            payload_bytes=len(request.payload),
            requests=pending.sent,
            local_run=local_run,
            encode_ms=(sent_s - start_s) * 1e3,
        )
        if response is None or pending.winner is None:
            self._policy.record_failure(time.monotonic())
            if self._key_frames is not None:
                self._key_frames.forget()
            return replace(report, failure=pending.cancel().reason)
        self._policy.record_success()
        if self._key_frames is not None:
            self._key_frames.confirm(response.kept)
        run.tensors |= response.tensors
        return replace(
            report,
            remote=True,
            endpoint=pending.winner.endpoint.address,
            reply_ms=(pending.done_s - sent_s) * 1e3,
            server_ms={stage.removesuffix('_ms'): ms for stage, ms in response.server_ms.items()},
        )

    def _request(self, frame: OffloadFrame, host: InferenceClient, rate: int) -> InferenceRequest:
        source = frame.run.frame
        coder = self._key_frames or self._encoder
        payload = coder.payload(frame.run.image, rate, source.stamp_ns, source.frame_id)
        return InferenceRequest(
            model=self._manifest.name,
            # The payload's digest identifies the weights; hosts count versions on their own.
            version='',
            request_id=f'{self._session}-{next(self._numbers)}',
            payload=pack(payload),
            tensors=tuple(sorted(frame.tensors)),
            min_score=self._options().score_threshold,
            precision=host.link_state(time.monotonic()).precision,
            complete=frame.tensors == self._all_tensors,
        )


def offload(pipeline: Pipeline, hosts: str | Sequence[str] | OffloadSettings) -> OffloadClient:
    """Let remote hosts finish a pipeline's frames where that is better.

    Args:
        pipeline: A pipeline that was loaded from a model folder.
        hosts: ``HOST:PORT`` of a remote host, several of them in order of preference, or
            settings. Addresses alone are used without TLS.

    Returns:
        The client. Closing it, or leaving it as a context manager, returns the pipeline to
        local runs.

    Raises:
        ModelError: The model has no cut.
        OffloadError: An endpoint cannot be used.

    Example:
        >>> import numpy as np
        >>> from mt_perception import Pipeline
        >>> from mt_perception.offload.client import offload
        >>> pipeline = Pipeline.load('cspnano')
        >>> with offload(pipeline, '127.0.0.1:8001'):
        ...     result = pipeline.run(np.zeros((240, 320, 3), np.uint8))
        >>> result.execution.offload.remote  # No host listens there: the frame ran locally.
        False
    """
    if pipeline.folder is None:
        raise ModelError('offloading needs a pipeline that was loaded from a model folder')
    if not isinstance(hosts, OffloadSettings):
        addresses = [hosts] if isinstance(hosts, str) else hosts
        hosts = OffloadSettings([Endpoint(address) for address in addresses])
    local = pipeline.runner

    def restore() -> None:
        pipeline.runner = local

    client = OffloadClient(
        pipeline.folder, pipeline.manifest, local, hosts, lambda: pipeline.options, restore
    )
    pipeline.runner = client
    return client
