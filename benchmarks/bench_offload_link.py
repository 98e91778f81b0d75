# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""End-to-end latency against bandwidth: run here, send a JPEG, send features.

    python benchmarks/bench_offload_link.py models/cspnano IMAGES

Both ways of sending use the same host, protocol and replies; only the payload differs: a JPEG of
the network's input, or what the encoder makes of it at one rate. A frame's latency is from the
image to its results, letterbox and post-processing included, on an idle link. Robot, link and
host are processes of their own on this machine, with cores of their own if there are enough. A
host worth the name is faster than this machine; the last columns leave out what the network takes
there, so that what is left is the robot's part and the link's.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from remote_process import RemoteProcess
from shaping_proxy import ShapingProxy

from mt_perception.graph.plan import Plan
from mt_perception.offload.breaker import Breaker
from mt_perception.offload.client import PRECISION
from mt_perception.offload.digest import model_digest
from mt_perception.offload.endpoint import Endpoint
from mt_perception.offload.exchange import Exchange
from mt_perception.offload.halves import RobotHalf
from mt_perception.offload.payload import JPEG, Payload, pack
from mt_perception.offload.protocol import Reply, Request
from mt_perception.pipeline import Pipeline
from mt_perception.runtime.executor import Outcome, Runner
from mt_perception.sources import open_source
from mt_perception.types import Frame

MBIT_S = (0.25, 0.5, 1.0, 2.0, 5.0, 20.0)
PATIENCE_S = 60.0

Encode = Callable[[NDArray[np.uint8]], Payload]


class Sender:
    """A runner that sends every frame and waits for the reply, however long it takes."""

    def __init__(self, exchange: Exchange, pipeline: Pipeline, encode: Encode) -> None:
        self._exchange = exchange
        self._pipeline = pipeline
        self._encode = encode
        self._numbers = itertools.count()
        self.sizes: list[int] = []
        self.host_ms: list[float] = []

    def run(self, plan: Plan, image: NDArray[np.uint8]) -> Outcome:
        manifest = self._pipeline.manifest
        content = pack(self._encode(image))
        self.sizes.append(len(content))
        request = Request(
            manifest.name,
            manifest.version,
            str(next(self._numbers)),
            content,
            tuple(sorted(plan.results or ())),
            self._pipeline.options.score_threshold,
            PRECISION,
        )
        call = self._exchange.send(request, PATIENCE_S)
        call.wait(PATIENCE_S)
        reply = self._exchange.receive(call)
        if not isinstance(reply, Reply):
            raise RuntimeError(reply.sentence)
        self.host_ms.append(sum(reply.server_ms.values()))
        return Outcome(reply.tensors, {}, {})


def jpeg(pipeline: Pipeline, quality: int) -> Encode:
    """The network's input as a JPEG file."""
    digest = model_digest(pipeline.manifest)

    def encode(image: NDArray[np.uint8]) -> Payload:
        _, body = cv2.imencode('.jpg', image[0], [cv2.IMWRITE_JPEG_QUALITY, quality])
        height, width = image.shape[1:3]
        return Payload(JPEG, 0, digest, (3, height, width), 0, '', body.tobytes())

    return encode


def latencies(pipeline: Pipeline, runner: Runner, frames: list[Frame]) -> float:
    """Median milliseconds of a frame."""
    pipeline.runner = runner
    return float(
        np.median([pipeline.run(frame).execution.latency_ms['total'] for frame in frames])
    )


@contextmanager
def linked(
    host: RemoteProcess, manifest_name: str, version: str, **link: float
) -> Iterator[Exchange]:
    """An exchange over a link of these properties, warm."""
    with ShapingProxy(host.address, **link) as proxy:
        exchange = Exchange(Endpoint(proxy.address), manifest_name, version, Breaker())
        try:
            if not exchange.connected(PATIENCE_S):
                raise RuntimeError(str(exchange.last_failure))
            yield exchange
        finally:
            exchange.close()


def table(given: argparse.Namespace, host: RemoteProcess, pipeline: Pipeline, both: bool) -> None:
    """One table: both ways of the link as slow, or only the way up."""
    manifest, half, local = pipeline.manifest, RobotHalf(given.model), pipeline.runner
    rate = given.rate % half.codec.rates
    frames = read_frames(given.source, given.frames)
    print(
        f'\n{"up and down" if both else "up only (down unlimited)"}, {given.delay_ms:g} ms one way'
    )
    print(
        f'{"Mbit/s":>7} {"local ms":>8} {"JPEG ms":>8} {"features ms":>11} {"of JPEG":>8} '
        f'{"of local":>8}   without the host: {"JPEG ms":>8} {"features ms":>11} {"of JPEG":>8}'
    )
    sizes: dict[str, list[int]] = {'JPEG': [], 'features': []}
    host_ms: dict[str, list[float]] = {'JPEG': [], 'features': []}
    for mbit_s in given.mbit_s:
        down = mbit_s if both else 0
        link = {'up': mbit_s, 'down': down, 'delay_ms': given.delay_ms}
        with linked(host, manifest.name, manifest.version, **link) as exchange:
            pictures = Sender(exchange, pipeline, jpeg(pipeline, given.quality))
            features = Sender(exchange, pipeline, lambda image: half.payload(image, rate))
            here = latencies(pipeline, local, frames)
            sent = latencies(pipeline, pictures, frames)
            cut = latencies(pipeline, features, frames)
            pipeline.runner = local
        for name, sender in (('JPEG', pictures), ('features', features)):
            sizes[name] += sender.sizes
            host_ms[name] += sender.host_ms
        sent_net = sent - float(np.median(pictures.host_ms))
        cut_net = cut - float(np.median(features.host_ms))
        print(
            f'{mbit_s:7g} {here:8.1f} {sent:8.1f} {cut:11.1f} {cut / sent:8.2f} {cut / here:8.2f} '
            f'                    {sent_net:8.1f} {cut_net:11.1f} {cut_net / sent_net:8.2f}'
        )
    means = {name: np.mean(found) for name, found in sizes.items()}
    print(
        f'payload: JPEG q{given.quality} {means["JPEG"]:.0f} bytes, features at rate {rate} '
        f'{means["features"]:.0f} ({means["features"] / means["JPEG"]:.2f} of it); at the host: '
        f'JPEG {np.median(host_ms["JPEG"]):.0f} ms, features {np.median(host_ms["features"]):.0f}'
    )


def encoding(given: argparse.Namespace, pipeline: Pipeline) -> None:
    """What the robot still has to do, against the whole network."""
    half = RobotHalf(given.model)
    frames = read_frames(given.source, given.frames)
    local = pipeline.runner

    class Encoder:
        def run(self, plan: Plan, image: NDArray[np.uint8]) -> Outcome:
            encoded.append(timed(lambda: pack(half.payload(image, given.rate % half.codec.rates))))
            ran.append(timed(lambda: local.run(plan, image)))
            return local.run(plan, image)

    encoded: list[float] = []
    ran: list[float] = []
    pipeline.runner = Encoder()
    for frame in frames:
        pipeline.run(frame)
    pipeline.runner = local
    ratio = np.median(encoded) / np.median(ran)
    print(
        f'encoder, codec and packing {np.median(encoded):.1f} ms, whole network here '
        f'{np.median(ran):.1f} ms: ratio {ratio:.2f}'
    )


def timed(work: Callable[[], object]) -> float:
    """Milliseconds that something takes."""
    start = cv2.getTickCount()
    work()
    return float((cv2.getTickCount() - start) / cv2.getTickFrequency() * 1e3)


def read_frames(source: str, count: int) -> list[Frame]:
    with open_source(source, None, None) as frames:
        return list(itertools.islice(frames, count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('model', type=Path)
    parser.add_argument('source')
    parser.add_argument('--frames', type=int, default=9)
    parser.add_argument('--rate', type=int, default=-1, help='Index of the rate; -1: the best.')
    parser.add_argument('--quality', type=int, default=75, help='Of the JPEG.')
    parser.add_argument('--mbit-s', type=float, nargs='+', default=MBIT_S)
    parser.add_argument('--delay-ms', type=float, default=5.0, help='Of the link, one way.')
    given = parser.parse_args()
    pipeline = Pipeline.load(given.model)
    encoding(given, pipeline)
    with RemoteProcess(given.model) as host:
        for both in (True, False):
            table(given, host, pipeline, both)


if __name__ == '__main__':
    main()
