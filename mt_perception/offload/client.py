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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import ProtocolError
from mt_perception.execution.executor import Outcome, Runner
from mt_perception.execution.options import Options
from mt_perception.model.manifest import Manifest
from mt_perception.offload.circuit_breaker import CircuitBreaker
from mt_perception.offload.deadline import (
    SPARE_S,
    Arrival,
    RunTime,
    RunTimes,
    Work,
    wanted_tensors,
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
from mt_perception.offload.link_estimate import link_facts
from mt_perception.offload.payload import pack
from mt_perception.offload.protocol import InferenceRequest, InferenceResponse
from mt_perception.offload.response_validation import validate_response
from mt_perception.offload.settings import OffloadSettings
from mt_perception.offload.split_model import SplitEncoder
from mt_perception.pipeline import Pipeline
from mt_perception.planning.plan import Plan
from mt_perception.types import Fact


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
        self.warnings = settings.endpoint.warnings
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
        self._afterwards = RunTime()
        self._arrival: Arrival | None = None
        self._ran_s = math.nan
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

    @contextmanager
    def frame(
        self, stamp_ns: int = 0, frame_id: str = '', arrived_s: float | None = None
    ) -> Iterator[None]:
        """Work on one frame from its arrival to its publication.

        The deadline counts from the arrival, and what is done after the run is learnt and kept
        free. Without this it counts from the beginning of the run to its end.

        Args:
            stamp_ns: The frame's stamp, for the host's logs.
            frame_id: The frame's optical frame, likewise.
            arrived_s: When it arrived, monotonic; None is now.
        """
        now_s = time.monotonic()
        self._arrival = Arrival(now_s if arrived_s is None else arrived_s, stamp_ns, frame_id)
        self._ran_s = math.nan
        try:
            yield
        finally:
            self._arrival = None
            if math.isfinite(self._ran_s):
                self._afterwards.add(time.monotonic() - self._ran_s)

    def run(self, plan: Plan, image: NDArray[np.uint8]) -> Outcome:
        """Run a plan on the network's input, uint8 (1, H, W, 3)."""
        now_s = time.monotonic()
        work = self._work(plan, image, now_s)
        decision = self._decide(work, now_s)
        facts: dict[str, Fact] = {
            'offload.remote': False,
            'offload.reason': decision.reason,
            'offload.breaker': self.exchange.breaker.state.value,
            **link_facts(self.exchange.state(now_s)),
        }
        if decision.rate is None:
            outcome = self._here(work, facts)
        else:
            outcome = self._there(work, decision.rate, facts)
        self._ran_s = time.monotonic()
        if outcome.facts['offload.remote']:
            self.frames_remote += 1
        else:
            self.frames_local += 1
        return outcome

    def _work(self, plan: Plan, image: NDArray[np.uint8], now_s: float) -> Work:
        arrival = self._arrival or Arrival(now_s)
        size = (image.shape[1], image.shape[2])
        after_s = self._afterwards.most_s if self._arrival is not None else 0.0
        return Work(
            plan=plan,
            image=image,
            size=size,
            tensors=wanted_tensors(plan, self._manifest),
            arrival=arrival,
            deadline_s=arrival.arrived_s + self.settings.deadline_ms * 1e-3 - after_s,
            local=self._local_times.of((plan.block_names, size)),
            encode=self._encode_times.of(size),
        )

    def _decide(self, work: Work, now_s: float) -> Decision:
        if self.settings.decision.mode == NEVER:
            return Decision(None, NEVER, work.local.usual_s)
        gate = self.exchange.gate(now_s)
        if gate:
            return Decision(None, gate, work.local.usual_s)
        if not work.local.known:
            # How long a local run takes must be known before one is put off.
            return Decision(None, 'unmeasured', 0.0)
        if not work.tensors <= self._remote_tensors:
            return Decision(None, 'not_remote', work.local.usual_s)
        options = self._rates.options(work.plan.tasks, work.size)
        situation = DecisionInputs(
            now_s=now_s,
            left_s=work.deadline_s - now_s - SPARE_S,
            local_s=work.local.usual_s,
            local_most_s=work.local.most_s,
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

    def _here(self, work: Work, facts: dict[str, Fact]) -> Outcome:
        """Run it on this machine."""
        start_s = time.monotonic()
        outcome = self._local.run(work.plan, work.image)
        work.local.add(time.monotonic() - start_s)
        return replace(outcome, facts={**outcome.facts, **facts})

    def _there(self, work: Work, rate: int, facts: dict[str, Fact]) -> Outcome:
        """Have it run by the host, and here as well if that takes too long."""
        start_s = time.monotonic()
        try:
            request = self._request(work, rate)
        except Exception as error:
            # ONNX Runtime's exceptions have no base class of their own.
            return self._here(work, {**facts, 'offload.failure': f'encoder: {error}'[:200]})
        sent_s = time.monotonic()
        work.encode.add(sent_s - start_s)
        self._rates.add(rate, len(request.payload), work.size)
        facts |= {'offload.rate': rate, 'offload.payload_bytes': len(request.payload)}
        call = self.exchange.send(request, work.deadline_s - sent_s)
        # A machine that encodes more slowly than usual will also run more slowly than usual.
        slowness = max(1.0, (sent_s - start_s) / work.encode.usual_s)
        call.wait(work.latest_start_s(slowness) - sent_s)
        answer = self._answer(work, call) if call.done else None
        local = None
        if not isinstance(answer, InferenceResponse):
            local = self._here(work, facts)
            if answer is None:
                answer = self._answer(work, call) if call.done else self.exchange.give_up(call)
        facts['offload.local_run'] = local is not None
        latency_ms = {'offload_encode': (sent_s - start_s) * 1e3}
        if isinstance(answer, InferenceResponse):
            self._decider.won()
            facts['offload.remote'] = True
            latency_ms['offload_reply'] = (call.done_s - sent_s) * 1e3
            latency_ms |= {f'offload_{stage[:-3]}': ms for stage, ms in answer.server_ms.items()}
            for guard in work.plan.guards.values():
                # What was found there decides which conditional tasks are given out here.
                guard(answer.tensors)
            done = Outcome({}, {}, {}) if local is None else local
            return replace(
                done,
                tensors=answer.tensors,
                failures={},
                latency_ms={**latency_ms, **done.latency_ms},
                facts=facts,
                beside=(self._half.cut.encoder,),
            )
        self._decider.lost(time.monotonic())
        facts['offload.failure'] = answer.reason
        assert local is not None
        return replace(
            local,
            beside=(self._half.cut.encoder,),
            latency_ms={**latency_ms, **local.latency_ms},
            facts={**local.facts, **facts},
        )

    def _request(self, work: Work, rate: int) -> InferenceRequest:
        payload = self._half.payload(
            work.image, rate, work.arrival.stamp_ns, work.arrival.frame_id
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
            tasks = [task for task in self._manifest.tasks.values() if work.is_for(task)]
            validate_response(reply.tensors, tasks, work.size)
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
