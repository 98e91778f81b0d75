# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bytes of a frame of a sequence: features, images and video for the same remote network.

    pip install av
    python benchmarks/bytes_over_time.py models/cspnano VIDEO_OR_BAG --frames 60

The network of the host runs on the decoded frames of each codec; features pass its decoder first.
AP, mIoU and AbsRel are measured against its own results on the uncompressed frames, so they
measure the effect of the codec and not the accuracy of the network. Video is coded without delay:
no frame waits for a later one.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.evaluation.datasets.pseudo_truth import pseudo_truth
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy
from mt_perception.evaluation.metrics.depth import DepthMetric
from mt_perception.evaluation.metrics.detection import DetectionMetric
from mt_perception.evaluation.metrics.segmentation import SegmentationMetric
from mt_perception.evaluation.rate_distortion import bytes_needed
from mt_perception.execution.frame_run import FrameRun
from mt_perception.execution.plan import Stage
from mt_perception.model.folder import read_manifest
from mt_perception.model.split import LATENT
from mt_perception.offload.key_frames import KeyFrames
from mt_perception.offload.payload import SYMBOLS, Payload
from mt_perception.offload.split_model import RemoteModel, SplitEncoder
from mt_perception.pipeline import Pipeline
from mt_perception.sources import open_source
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION, Result

Image = NDArray[np.uint8]
Tensors = dict[str, NDArray[Any]]
FIGURES = ('AP', 'mIoU', 'AbsRel')


class HostNetwork:
    """The host's network, on features or on images."""

    def __init__(self, folder: Path) -> None:
        self.remote = RemoteModel(folder)
        graph = self.remote.cut.graph
        self._pipeline = Pipeline.load(folder)
        self._pipeline.runner = self
        self._names = [block.name for block in graph.blocks_for(list(graph.tasks))]
        (self._decoder,) = (b for b in graph.blocks.values() if LATENT in b.inputs.values())
        (self._seen,) = map(self._decoder.tensor, self._decoder.outputs)
        self._tensors: Tensors = {}

    def run(self, stage: Stage, run: FrameRun) -> None:
        """Called by the pipeline, which turns the tensors into results."""
        run.tensors |= self._tensors

    def of_image(self, image: Image) -> Result:
        names = [name for name in self._names if name != self._decoder.name]
        given = {self._seen: image.transpose(2, 0, 1)[None].astype(np.float32)}
        return self._result(image, self.remote._blocks.run(names, given))

    def of_latent(self, latent: NDArray[np.float32], image: Image) -> Result:
        tasks = [DETECTION, SEGMENTATION, DEPTH]
        return self._result(image, self.remote.run(latent[None], tasks))

    def _result(self, image: Image, tensors: Tensors) -> Result:
        self._tensors = tensors
        return self._pipeline.run(image)


@dataclass(frozen=True)
class Row:
    """One codec at one quality."""

    kind: str
    name: str
    size: float
    figures: tuple[float, float, float]


class Comparison:
    """Results against those on the uncompressed frames."""

    def __init__(self, network: HostNetwork, images: Sequence[Image]) -> None:
        self._labels = read_manifest_labels(network)
        self._truths = [
            pseudo_truth(network.of_image(image), self._labels, 'uncompressed') for image in images
        ]

    def row(self, kind: str, name: str, sizes: Sequence[float], results: Iterator[Result]) -> Row:
        detection, segmentation, depth = DetectionMetric(), SegmentationMetric(), DepthMetric(1e3)
        for truth, result in zip(self._truths, results, strict=True):
            detection.observe(result.detections, truth.objects)
            mask = result.segmentation
            segmentation.observe(mask.class_ids, truth.segmentation, mask.labels)
            depth.observe(result.depth.depth, truth.depth)
        figures = (
            detection.evaluate()['ap'],
            segmentation.evaluate()['miou'],
            depth.evaluate()['metric']['abs_rel'],
        )
        return Row(kind, name, float(np.mean(sizes)), figures)


def read_manifest_labels(network: HostNetwork) -> ClassMap:
    tasks = network.remote.manifest.tasks
    return ClassMap(tasks[DETECTION].labels, tasks[SEGMENTATION].labels, read_taxonomy())


def features(
    network: HostNetwork, encoder: SplitEncoder, images: Sequence[Image], rate: int, kind: str
) -> tuple[list[int], Iterator[Result]]:
    """Frames through the features of one rate, each alone or as differences to key frames."""
    coder, payloads, key = KeyFrames(encoder), [], None
    pairs: list[tuple[Payload, Payload | None]] = []
    for image in images:
        if kind == 'features':
            payload = encoder.payload(image[None], rate)
        else:
            payload = coder.payload(image[None], rate, 0, '')
            coder.confirm(kept=True)
        pairs.append((payload, key))
        key = payload if payload.kind == SYMBOLS else key
        payloads.append(len(payload.body))
    results = (
        network.of_latent(network.remote.latent(payload, reference), image)
        for (payload, reference), image in zip(pairs, images, strict=True)
    )
    return payloads, results


def pictures(ending: str, flag: int, quality: int) -> Callable[[Sequence[Image]], Any]:
    def coded(images: Sequence[Image]) -> tuple[list[int], list[Image]]:
        files = [cv2.imencode(ending, image, [flag, quality])[1] for image in images]
        return [len(f) for f in files], [cv2.imdecode(f, cv2.IMREAD_COLOR) for f in files]

    return coded


VIDEO: dict[str, tuple[str, str, dict[str, str]]] = {
    'H.264': ('libx264', 'h264', {'preset': 'veryfast', 'tune': 'zerolatency'}),
    'HEVC': ('libx265', 'hevc', {'preset': 'veryfast', 'tune': 'zerolatency'}),
    'AV1': ('libsvtav1', 'libdav1d', {'preset': '8', 'svtav1-params': 'pred-struct=1'}),
}


def video(kind: str, quality: int, fps: int) -> Callable[[Sequence[Image]], Any]:
    # The messages of SVT-AV1.
    os.environ.setdefault('SVT_LOG', '1')
    import av

    writer, reader, options = VIDEO[kind]

    def coded(images: Sequence[Image]) -> tuple[list[float], list[Image]]:
        encoder = av.CodecContext.create(writer, 'w')
        encoder.height, encoder.width = images[0].shape[:2]
        encoder.pix_fmt, encoder.framerate, encoder.gop_size = 'yuv420p', fps, 100_000
        encoder.options = {**options, 'crf': str(quality), 'x265-params': 'log-level=none'}
        decoder = av.CodecContext.create(reader, 'r')
        packets = []
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, 'bgr24')
            frame.pts = number
            packets += encoder.encode(frame)
        packets += encoder.encode(None)
        decoded = [f for packet in packets for f in decoder.decode(packet)]
        decoded += decoder.decode(None)
        total = sum(packet.size for packet in packets)
        return [total // len(images)] * len(images), [
            f.to_ndarray(format='bgr24') for f in decoded
        ]

    return coded


def rows(network: HostNetwork, folder: Path, images: Sequence[Image], fps: int) -> Iterator[Row]:
    compared, encoder = Comparison(network, images), SplitEncoder(folder)
    for kind in ('features', 'differences'):
        for rate in range(0, encoder.codec.rates, 2):
            yield compared.row(
                kind, f'rate {rate}', *features(network, encoder, images, rate, kind)
            )
    codecs: list[tuple[str, str, Callable[[Sequence[Image]], Any]]] = []
    for kind, ending, flag, qualities in (
        ('JPEG', '.jpg', cv2.IMWRITE_JPEG_QUALITY, (10, 25, 50, 75)),
        ('WebP', '.webp', cv2.IMWRITE_WEBP_QUALITY, (5, 30, 60)),
        ('AVIF', '.avif', cv2.IMWRITE_AVIF_QUALITY, (20, 40, 60)),
    ):
        codecs += [(kind, f'quality {q}', pictures(ending, flag, q)) for q in qualities]
    for kind, qualities in (
        ('H.264', (20, 27, 34)),
        ('HEVC', (20, 27, 34)),
        ('AV1', (25, 38, 50)),
    ):
        codecs += [(kind, f'crf {q}', video(kind, q, fps)) for q in qualities]
    for kind, name, coded in codecs:
        sizes, left = coded(images)
        yield compared.row(kind, name, sizes, map(network.of_image, left))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('model', type=Path)
    parser.add_argument('source')
    parser.add_argument('--frames', type=int, default=60)
    parser.add_argument('--start', type=int, default=0)
    parser.add_argument('--fps', type=int, default=10, help='Only rate control of video uses it.')
    given = parser.parse_args()
    spec = read_manifest(given.model).input
    with open_source(given.source) as source:
        frames = itertools.islice(source, given.start, given.start + given.frames)
        images = [
            spec.letterbox(f.image.shape[:2], spec.size).network_image(f.image, spec.pad_value)[0]
            for f in frames
        ]
    network = HostNetwork(given.model)
    print(f'{len(images)} frames of {images[0].shape[1]}x{images[0].shape[0]}')
    print(f'{"codec":12} {"":11} {"bytes":>8} {"AP":>7} {"mIoU":>7} {"AbsRel":>7}')
    found = []
    for row in rows(network, given.model, images, given.fps):
        found.append(row)
        print(f'{row.kind:12} {row.name:11} {row.size:8.0f} '
              + ' '.join(f'{value:7.3f}' for value in row.figures), flush=True)  # fmt: skip
    goal = max((r for r in found if r.kind == 'differences'), key=lambda r: r.size)
    print(f'bytes for the figures of differences, {goal.name} ({goal.size:.0f} bytes)')
    for kind in dict.fromkeys(row.kind for row in found):
        needed = []
        for index, name in enumerate(FIGURES):
            points = [(row.size, row.figures[index]) for row in found if row.kind == kind]
            size = bytes_needed(points, goal.figures[index], name != 'AbsRel')
            needed.append(f'{name} ' + ('not reached' if size is None else f'{size:.0f}'))
        print(f'{kind:12} {", ".join(needed)}')


if __name__ == '__main__':
    main()
