# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""End-to-end latency against bandwidth: run here, send a JPEG, send features.

    python benchmarks/bench_offload_link.py models/cspnano IMAGES

What ``mt_perception evaluate --link`` measures, once with both ways of the link as slow and once
with only the way up. A host worth the name is faster than this machine; the last columns leave out
what the network takes there, so that what is left is the robot's part and the link's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from interleaved import medians_ms

from mt_perception.evaluation.job import Job
from mt_perception.evaluation.link.measure import measure
from mt_perception.evaluation.link.study import DELAY_MS, LOCAL, LinkSettings, LinkStudy
from mt_perception.evaluation.rate_distortion import RATE, REFERENCE, Codec
from mt_perception.execution.frame_run import run_plan
from mt_perception.image.letterbox import fit
from mt_perception.offload.payload import pack
from mt_perception.offload.split_model import SplitEncoder
from mt_perception.pipeline import Pipeline
from mt_perception.planning.path_plan import full_plan
from mt_perception.sources import open_source

MBIT_S = (0.25, 0.5, 1.0, 2.0, 5.0, 20.0)


def show(study: LinkStudy) -> None:
    """Print one table."""
    settings = study.settings
    print(
        f'\n{"up and down" if settings.down else "up only (down unlimited)"}, '
        f'{settings.delay_ms:g} ms one way'
    )
    print(
        f'{"Mbit/s":>7} {"local ms":>8} {"JPEG ms":>8} {"features ms":>11} {"of JPEG":>8} '
        f'{"of local":>8}   without the host: {"JPEG ms":>8} {"features ms":>11} {"of JPEG":>8}'
    )
    (local,) = study.find(LOCAL)
    _, picture, features = study.ways
    sent, cut = study.find(picture), study.find(features)
    for one, two in zip(sent, cut, strict=True):
        sent_net, cut_net = one.p50_ms - one.host_ms, two.p50_ms - two.host_ms
        print(
            f'{one.mbit_s:7g} {local.p50_ms:8.1f} {one.p50_ms:8.1f} {two.p50_ms:11.1f} '
            f'{two.p50_ms / one.p50_ms:8.2f} {two.p50_ms / local.p50_ms:8.2f} '
            f'                    {sent_net:8.1f} {cut_net:11.1f} {cut_net / sent_net:8.2f}'
        )
    host = [np.median([row.host_ms for row in rows]) for rows in (sent, cut)]
    print(
        f'payload: {picture} {sent[0].payload_bytes:.0f} bytes, {features} '
        f'{cut[0].payload_bytes:.0f} ({cut[0].payload_bytes / sent[0].payload_bytes:.2f} of it); '
        f'at the host: {host[0]:.0f} ms, {host[1]:.0f} ms'
    )


def encoding(folder: Path, source: str, rate: int) -> None:
    """Print what the robot still has to do, against the whole network."""
    pipeline, half = Pipeline.load(folder), SplitEncoder(folder)
    manifest = pipeline.manifest
    with open_source(source, None, None) as frames:
        image = next(iter(frames)).image
    box = fit(image.shape[:2], manifest.input.size, manifest.input.multiple)
    network_image = box.network_image(image, manifest.input.pad_value)
    plan = full_plan(manifest.graph, manifest.tasks)
    ms = medians_ms(
        {
            'encoded': lambda: pack(half.payload(network_image, rate)),
            'whole': lambda: run_plan(pipeline.runner, plan, network_image),
        },
        rounds=15,
    )
    print(
        f'encoder, codec and packing {ms["encoded"]:.1f} ms, whole network here '
        f'{ms["whole"]:.1f} ms: ratio {ms["encoded"] / ms["whole"]:.2f}'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('model', type=Path)
    parser.add_argument('source')
    parser.add_argument('--frames', type=int, default=9)
    parser.add_argument('--rate', type=int, default=-1, help='Index of the rate; -1: the best.')
    parser.add_argument('--quality', type=int, default=REFERENCE.value, help='Of the JPEG.')
    parser.add_argument('--mbit-s', type=float, nargs='+', default=MBIT_S)
    parser.add_argument('--delay-ms', type=float, default=DELAY_MS, help='Of the link, one way.')
    given = parser.parse_args()
    cv2.setNumThreads(1)
    rate = given.rate % SplitEncoder(given.model).codec.rates
    encoding(given.model, given.source, rate)
    codecs = (Codec(REFERENCE.kind, given.quality).name, Codec(RATE, rate).name)
    job = Job(given.source, str(given.model), Path())
    for down in (True, False):
        settings = LinkSettings(tuple(given.mbit_s), given.delay_ms, down, given.frames, codecs)
        show(measure(job, settings))


if __name__ == '__main__':
    main()
