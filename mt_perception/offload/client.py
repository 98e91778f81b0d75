# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The offload client: a runner that has frames finished elsewhere, and never waits too long.

A frame is encoded and sent; if its reply has not come by the time at which a local run must begin
to meet the deadline, that run begins. A reply that comes while it runs is still taken; one that
comes later is thrown away. Frames are taken one at a time, so results come in the order of frames.
"""

from __future__ import annotations

import itertools
import math
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mt_perception.errors import ProtocolError
from mt_perception.execution.frame_run import FrameRun, Runner
from mt_perception.execution.options import Options
from mt_perception.execution.plan import Stage
from mt_perception.model.manifest import Manifest
from mt_perception.offload.circuit_breaker import CircuitBreaker
from mt_perception.offload.deadline import (
    SPARE_S,
    RunTime,
    RunTimes,
    Work,
)
from mt_perception.offload.decision import (
    NEVER,
    TOO_SHORT,
    Decision,
    DecisionInputs,
    OffloadPolicy,
    Rates,
)
from mt_perception.offload.failures import Failure
from mt_perception.offload.inference_client import Call, InferenceClient
from mt_perception.offload.link_estimate import link_values
from mt_perception.offload.payload import pack
from mt_perception.offload.protocol import InferenceRequest, InferenceResponse
from mt_perception.offload.response_validation import validate_response
from mt_perception.offload.settings import OffloadSettings
from mt_perception.offload.split_model import SplitEncoder
from mt_perception.pipeline import Pipeline
from mt_perception.reports import OffloadReport


class OffloadClient:
    """Runs plans on a remote host where that is better, and here where it is not.

    Args:
        folder: The model folder, whose cut is used.
        manifest: Its manifest.
        local: What runs plans here.
        settings: What it was told.
        options: Tells the pipeline's options, for what the host may leave out of its replies.

    Attributes:
        exchange: The robot's end of the link.
        frames_remote: Frames that were finished by the host.
        frames_local: Frames that were finished here.
        warnings: What an operator should know, in sentences.

    Raises:
        ModelError: The model cannot be cut.
        OffloadError: The endpoint cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        local: Runner,
        settings: OffloadSettings,
        options: Callable[[], Options] = Options,
    ) -> None:
        self.settings = settings
        self.warnings = settings.endpoint.warnings()
        self.frames_remote = 0
        self.frames_local = 0
        self._manifest = manifest
        self._local = local
        self._options = options
        self._half = SplitEncoder(folder, settings.providers, settings.threads)
        self._rates = Rates(manifest, self._half.cut)
        remote = self._half.cut.graph.tasks.values()
        self._remote_tensors = frozenset(tensor for names in remote for tensor in names)
        self._decider = OffloadPolicy(settings.decision)
        self._local_times = RunTimes()
        self._encode_times = RunTimes()
        # Replies to a client of an earlier life must not be taken for this one's.
        self._session = uuid.uuid4().hex[:12]
        self._numbers = itertools.count()
        breaker = CircuitBreaker(settings.breaker)
        self.exchange = InferenceClient(settings.endpoint, manifest.name, breaker)
        if settings.decision.mode != NEVER:
            # Connects while the first frames are still run here.
            self.exchange.gate(time.monotonic())

    def close(self) -> None:
        """Cancel what is on its way and close the connection."""
        self.exchange.close()

    def change(self, deadline_ms: float, mode: str) -> None:
        """Other settings from the next frame on; what is known of the link stays known."""
        decision = replace(self.settings.decision, mode=mode)
        self.settings = replace(self.settings, deadline_ms=deadline_ms, decision=decision)
        self._decider.settings = decision

    def run(self, stage: Stage, run: FrameRun) -> None:
        """Run a stage; the first stage of a frame decides who finishes the whole frame."""
        if run.offload is not None:
            self._run_local(stage, run)
            return
        now_s = time.monotonic()
        work = self._work(stage, run, now_s)
        decision = self._decide(work, now_s)
        run.offload = self._report(decision, now_s)
        if decision.rate is None:
            self._run_local(stage, run)
        else:
            run.offload = self._run_remote(work, decision.rate, run.offload)
        if run.offload.remote:
            self.frames_remote += 1
        else:
            self.frames_local += 1

    def _work(self, stage: Stage, run: FrameRun, now_s: float) -> Work:
        deadline_s = run.deadline_s
        if deadline_s is None:
            deadline_s = run.received_s + self.settings.deadline_ms * 1e-3
        local, *later = (self._local_time(one, run) for one in run.plan.stages)
        return Work(
            run=run,
            stage=stage,
            deadline_s=deadline_s,
            local=local,
            later=tuple(later),
            encode=self._encode_times.of(run.network_size),
        )

    def _local_time(self, stage: Stage, run: FrameRun) -> RunTime:
        return self._local_times.of((stage.block_names, run.network_size))

    def _report(self, decision: Decision, now_s: float) -> OffloadReport:
        link = link_values(self.exchange.state(now_s))
        return OffloadReport(
            remote=False,
            reason=decision.reason,
            breaker=self.exchange.breaker.state.value,
            failure_rate=link['failure_rate'],
            round_trip_ms=link.get('round_trip_ms'),
            mbit_s=link.get('mbit_s'),
        )

    def _decide(self, work: Work, now_s: float) -> Decision:
        if self.settings.decision.mode == NEVER:
            return Decision(None, NEVER, work.local_usual_s)
        gate = self.exchange.gate(now_s)
        if gate:
            return Decision(None, gate, work.local_usual_s)
        if not work.local.known:
            # A local run can only be put off if its time is known.
            return Decision(None, 'unmeasured', 0.0)
        if not work.tensors <= self._remote_tensors:
            return Decision(None, 'not_remote', work.local_usual_s)
        tasks = [task for stage in work.run.plan.stages for task in stage.tasks]
        options = self._rates.options(tasks, work.run.network_size)
        situation = DecisionInputs(
            now_s=now_s,
            left_s=work.deadline_s - now_s - SPARE_S,
            local_s=work.local_usual_s,
            local_most_s=work.local_most_s,
            encode_s=work.encode.most_s,
            link=self.exchange.state(now_s),
            reply_bytes=self.exchange.reply_bytes,
            rates=options,
        )
        decision = self._decider.decide(situation)
        if self.exchange.on_trial and decision.rate is None and decision.reason != TOO_SHORT:
            # A host that comes back is tried whatever was known of the link before.
            cheapest = min(options, key=lambda option: option.payload_bytes)
            return Decision(cheapest.rate, 'trial', math.nan, explores=True)
        return decision

    def _run_local(self, stage: Stage, run: FrameRun) -> None:
        start_s = time.monotonic()
        self._local.run(stage, run)
        self._local_time(stage, run).add(time.monotonic() - start_s)

    def _run_remote(self, work: Work, rate: int, report: OffloadReport) -> OffloadReport:
        """Let the host finish the frame; run it here as well if the reply takes too long."""
        run, start_s = work.run, time.monotonic()
        try:
            request = self._request(work, rate)
        except Exception as error:
            # ONNX Runtime's exceptions have no base class of their own.
            self._run_local(work.stage, run)
            return replace(report, failure=f'encoder: {error}'[:200])
        sent_s = time.monotonic()
        work.encode.add(sent_s - start_s)
        self._rates.add(rate, len(request.payload), run.network_size)
        run.blocks.append(self._half.cut.encoder)
        call = self.exchange.send(request, work.deadline_s - sent_s)
        # A machine that encodes more slowly than usual will also run more slowly than usual.
        slowness = max(1.0, (sent_s - start_s) / work.encode.usual_s)
        call.wait(work.latest_start_s(slowness) - sent_s)
        answer = self._answer(work, call) if call.done else None
        local_run = not isinstance(answer, InferenceResponse)
        if local_run:
            self._run_local(work.stage, run)
            if answer is None:
                answer = self._answer(work, call) if call.done else self.exchange.give_up(call)
        report = replace(
            report,
            rate=rate,
            payload_bytes=len(request.payload),
            local_run=local_run,
            encode_ms=(sent_s - start_s) * 1e3,
        )
        if not isinstance(answer, InferenceResponse):
            self._decider.lost(time.monotonic())
            assert answer is not None
            return replace(report, failure=answer.reason)
        self._decider.won()
        run.tensors |= answer.tensors
        return replace(
            report,
            remote=True,
            reply_ms=(call.done_s - sent_s) * 1e3,
            server_ms={stage.removesuffix('_ms'): ms for stage, ms in answer.server_ms.items()},
        )

    def _request(self, work: Work, rate: int) -> InferenceRequest:
        payload = self._half.payload(
            work.run.image, rate, work.run.frame.stamp_ns, work.run.frame.frame_id
        )
        return InferenceRequest(
            model=self._manifest.name,
            # The payload's digest names the weights; hosts count versions in their own way.
            version='',
            request_id=f'{self._session}-{next(self._numbers)}',
            payload=pack(payload),
            tensors=tuple(sorted(work.tensors)),
            min_score=self._options().score_threshold,
            precision=self.exchange.state(time.monotonic()).precision,
        )

    def _answer(self, work: Work, call: Call) -> InferenceResponse | Failure:
        """What a call that is done came to."""
        reply = self.exchange.receive(call)
        if isinstance(reply, Failure):
            return reply
        try:
            tasks = [task for task in self._manifest.tasks.values() if work.serves(task)]
            validate_response(reply.tensors, tasks, work.run.network_size)
        except ProtocolError as error:
            return self.exchange.refuse(call, error)
        self.exchange.accept()
        return reply


def offload(pipeline: Pipeline, folder: Path, settings: OffloadSettings) -> OffloadClient:
    """Let a pipeline use a remote host from now on.

    Args:
        pipeline: The pipeline; it keeps what runs it now for what is run here.
        folder: Its model folder.
        settings: How.

    Raises:
        ModelError: The model cannot be cut.
        OffloadError: The endpoint cannot be used.
    """
    local, manifest = pipeline.runner, pipeline.manifest
    client = OffloadClient(folder, manifest, local, settings, lambda: pipeline.options)
    pipeline.runner = client
    return client
