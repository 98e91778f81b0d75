# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fuzzes everything that reads files and messages: images, format strings, bags, data sets.

Sound inputs are damaged at random places and read. Only the errors of mt_perception may be
raised, and memory and CPU time stay within what the inputs justify. Each batch is a process of its
own, so that a decoder that crashes is reported with its seed instead of ending the run.

Usage: python benchmarks/fuzz_inputs.py [--cases 200000 | --minutes 60] [--seed 0] [--kind bag]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

KINDS = {'file': 6, 'raw': 5, 'format': 2, 'depth': 1, 'bag': 2, 'coco': 2, 'labels': 1}
"""Kind → its share of the cases."""

BATCH = 1000
BATCH_CPU_S = 900
"""Limit on the CPU time of a batch; it does not depend on the load of the machine."""
BATCH_TIMEOUT_S = 20 * BATCH_CPU_S
"""Limit on the wall time of a batch, in case it waits forever."""
LONGEST_S = 5.0
MOST_MEMORY_MB = 1500
"""Of a worker with OpenCV loaded: 64 megapixels are the largest image, with one copy."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--cases', type=int, default=0, help='0: as --minutes says')
    parser.add_argument('--minutes', type=float, default=1.0)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--kind', choices=[*KINDS], help='only this kind')
    parser.add_argument('--worker', nargs=3, metavar=('KIND', 'SEED', 'CASES'), help='internal')
    arguments = parser.parse_args()
    if arguments.worker:
        kind, seed, cases = arguments.worker
        print(json.dumps(worker(kind, int(seed), int(cases))))
        return
    kinds = [arguments.kind] if arguments.kind else [k for k, n in KINDS.items() for _ in range(n)]
    end_s = time.monotonic() + arguments.minutes * 60
    totals: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    faults: list[str] = []
    slowest, memory_mb, done, batch = 0.0, 0, 0, 0
    while done < arguments.cases if arguments.cases else time.monotonic() < end_s:
        kind, seed = kinds[batch % len(kinds)], arguments.seed + batch
        report = run_batch(kind, seed)
        totals[kind].update(report['outcomes'])
        faults += report['faults']
        slowest = max(slowest, report['slowest_s'])
        memory_mb = max(memory_mb, report['memory_mb'])
        done, batch = done + BATCH, batch + 1
        if sys.stderr.isatty() or batch % 20 == 0:
            print(f'{done} cases, {len(faults)} faults', file=sys.stderr)
    for kind, outcomes in totals.items():
        ok, refused = outcomes.pop('read', 0), sum(outcomes.values())
        common = ', '.join(f'{name} {count}' for name, count in outcomes.most_common(4))
        print(f'{kind:8} {ok + refused:8} cases: {ok} read, {refused} refused ({common})')
    print(f'{done} cases; slowest {slowest:.2f} s; largest worker {memory_mb} MB')
    for fault in faults[:20]:
        print(fault)
    print(f'{len(faults)} faults')
    sys.exit(bool(faults))


def run_batch(kind: str, seed: int) -> dict:
    """Run a batch in a process of its own."""
    command = [sys.executable, __file__, '--worker', kind, str(seed), str(BATCH)]
    environment = {**os.environ, 'OPENCV_LOG_LEVEL': 'SILENT', 'OMP_NUM_THREADS': '1'}
    empty = {'outcomes': {}, 'slowest_s': 0.0, 'memory_mb': 0}
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=BATCH_TIMEOUT_S, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return {**empty, 'faults': [f'{kind} seed {seed}: no end in {BATCH_TIMEOUT_S} s']}
    if done.returncode:
        end = done.stderr.decode(errors='replace')[-2000:]
        return {**empty, 'faults': [f'{kind} seed {seed}: status {done.returncode}\n{end}']}
    return json.loads(done.stdout.splitlines()[-1])


def worker(kind: str, seed: int, cases: int) -> dict:
    """Run the cases of one batch and report."""
    from mt_perception.errors import PerceptionError

    resource.setrlimit(resource.RLIMIT_CPU, (BATCH_CPU_S, BATCH_CPU_S))
    rng = random.Random(seed)
    outcomes: Counter[str] = Counter()
    faults: list[str] = []
    slowest = 0.0
    with tempfile.TemporaryDirectory() as at:
        case = MAKERS[kind](Path(at), rng)
        for number in range(cases):
            start_s = time.process_time()
            try:
                case()
                outcomes['read'] += 1
            except PerceptionError as error:
                outcomes[getattr(error, 'reason', type(error).__name__)] += 1
            except Exception:
                faults.append(
                    f'{kind} seed {seed} case {number}\n{traceback.format_exc()[-1500:]}'
                )
            took_s = time.process_time() - start_s
            slowest = max(slowest, took_s)
            if took_s > LONGEST_S:
                faults.append(f'{kind} seed {seed} case {number} took {took_s:.1f} s')
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    if memory_mb > MOST_MEMORY_MB:
        faults.append(f'{kind} seed {seed}: {memory_mb} MB')
    return {
        'outcomes': outcomes,
        'faults': faults,
        'slowest_s': slowest,
        'memory_mb': memory_mb,
    }


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A copy with one to eight kinds of damage: flips, cuts, repeats, large numbers, splices."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        if not data:
            break
        # The beginning holds the numbers that matter.
        at = rng.randrange(len(data) if rng.random() < 0.5 else min(len(data), 200))
        what = rng.randrange(7)
        if what == 0:
            data[at] = rng.randrange(256)
        elif what == 1:
            del data[at : at + rng.choice((1, 4, 100, len(data)))]
        elif what == 2:
            data[at:at] = data[at : at + rng.choice((1, 8, 64, 400))] * rng.choice((1, 2, 50))
        elif what == 3:
            size = rng.choice((2, 4, 8))
            value = rng.choice((0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63))
            order = rng.choice(('little', 'big'))
            data[at : at + size] = (value % 256**size).to_bytes(size, order)
        elif what == 4:
            data[at : at + 4] = rng.randbytes(4)
        elif what == 5:
            data[at] ^= 1 << rng.randrange(8)
        else:
            other = rng.randrange(len(data))
            data[at : at + 32] = data[other : other + 32]
    return with_checksums(bytes(data)) if rng.random() < 0.5 else bytes(data)


def with_checksums(data: bytes) -> bytes:
    """A damaged PNG whose chunks have right checksums, so that decoders read on."""
    begin = data.find(b'\x89PNG\r\n\x1a\n')
    mended, at = bytearray(data), begin + 8
    while begin >= 0 and at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], 'big')
        mended[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, 'big')
        at = end + 4
    return bytes(mended)


def image_files() -> list[bytes]:
    """Small sound image files of every kind that this OpenCV writes."""
    import cv2
    import numpy as np

    y, x = np.mgrid[:40, :56]
    colour = np.stack([x * 4, y * 6, 255 - x * 4], 2).astype(np.uint8)
    grey, wide = colour[..., 0].copy(), colour[..., 0].astype(np.uint16) * 257
    alpha = np.dstack([colour, grey])
    progressive = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2]
    wanted = [
        *[('.jpg', p, o) for p in (colour, grey) for o in ([], progressive)],
        *[('.png', p, []) for p in (colour, grey, wide, alpha, colour.astype(np.uint16) * 257)],
        *[
            ('.tiff', p, o)
            for p in (colour, wide, grey.astype(np.float32))
            for o in ([], [259, 1])
        ],
        *[('.webp', p, [cv2.IMWRITE_WEBP_QUALITY, q]) for p in (colour, alpha) for q in (80, 101)],
        *[(kind, colour, []) for kind in ('.bmp', '.ppm', '.gif', '.avif', '.jp2')],
        ('.pgm', grey, []),
    ]
    files = []
    for kind, pixels, options in wanted:
        try:
            files.append(cv2.imencode(kind, pixels, options)[1].tobytes())
        except cv2.error:
            continue
    return files


def file_case(at: Path, rng: random.Random) -> Callable[[], None]:
    from mt_perception.image.compressed import decode
    from mt_perception.image.read import read_image

    files, path = image_files(), at / 'image'

    def case() -> None:
        data = damaged(rng.choice(files), rng)
        if rng.random() < 0.2:
            path.write_bytes(data)
            read_image(path, (40, 56))
        else:
            decode(data, rng.choice(('', 'jpeg', 'bayer_rggb8; jpeg compressed ', '16UC1; png')))

    return case


def raw_case(at: Path, rng: random.Random) -> Callable[[], None]:
    from mt_perception.image.encodings import ENCODINGS, to_bgr

    def case() -> None:
        encoding = rng.choice(ENCODINGS)
        height, width = (
            rng.choice((0, 1, 2, 3, 6, 8, 33, 2**14, 2**32 - 1, -1)) for _ in range(2)
        )
        step = rng.choice((0, width, 2 * width, 3 * width, 4 * width, 8 * width, 8 * width + 5))
        exact = max(0, step * height * rng.choice((1, 1, 1, 3)) // rng.choice((1, 1, 2)))
        length = exact if exact < 1 << 20 and rng.random() < 0.9 else rng.randrange(5000)
        to_bgr(rng.randbytes(length), encoding, height, width, step, rng.random() < 0.2)

    return case


def format_case(at: Path, rng: random.Random) -> Callable[[], None]:
    from mt_perception.image.compressed import decode
    from mt_perception.image.encodings import ENCODINGS, to_bgr

    files = image_files()
    words = [*ENCODINGS, 'jpeg', 'png', 'compressed', 'compressedDepth', 'rvl', 'tiff', '', '\0']
    words += [
        'bayer_',
        'bayer_rggb',
        'bayer_xxxx8',
        'BAYER_RGGB8',
        'h264',
        '\ud800',
        'ü',
        '9' * 50,
    ]

    def case() -> None:
        text = rng.choice((' ', '; ', ';', '')).join(rng.choices(words, k=rng.randrange(5)))
        if rng.random() < 0.7:
            decode(rng.choice(files), text)
        else:
            to_bgr(rng.randbytes(96), text, 4, 8, rng.choice((8, 16, 24)))

    return case


def depth_case(at: Path, rng: random.Random) -> Callable[[], None]:
    import struct
    from types import SimpleNamespace

    import cv2
    import numpy as np

    from mt_perception.evaluation.datasets.truth_messages import decode_depth, decode_labels

    depth = np.tile(np.linspace(0, 9000, 40).astype(np.uint16), (30, 1))
    png = cv2.imencode('.png', depth)[1].tobytes()
    rvl = struct.pack('<ii', 40, 30) + rng.randbytes(600)
    formats = (
        '16UC1; compressedDepth',
        '16UC1; compressedDepth rvl',
        '32FC1; compressedDepth',
        '',
    )

    def case() -> None:
        data = damaged(rng.choice((bytes(12) + png, png, bytes(12) + rvl)), rng)
        message = SimpleNamespace(format=rng.choice(formats), data=np.frombuffer(data, np.uint8))
        (decode_depth if rng.random() < 0.8 else decode_labels)(message)

    return case


def bags(at: Path) -> list[Path]:
    """Small sound recordings with boxes and depth: mcap, SQLite, ROS 1; plain and packed."""
    from rosbags.rosbag2 import CompressionMode, StoragePlugin

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'test'))
    from small_bags import Contents, write_bag, write_bag1

    found = []
    for storage, mode, depth in (
        (StoragePlugin.MCAP, CompressionMode.NONE, '16UC1; compressedDepth'),
        (StoragePlugin.MCAP, CompressionMode.STORAGE, '16UC1'),
        (StoragePlugin.SQLITE3, CompressionMode.NONE, '32FC1; compressedDepth'),
        (StoragePlugin.SQLITE3, CompressionMode.MESSAGE, '32FC1'),
    ):
        # Recordings that are not compressed have small images: most damage hits other bytes.
        packed = 'compressed' in depth
        contents = Contents(frames=3, compressed=packed, depth=depth, boxes=True)
        folder = write_bag(at / f'bag{len(found)}', contents, storage, mode)
        found.append(next(p for p in folder.iterdir() if p.suffix != '.yaml'))
    return [*found, write_bag1(at / 'old.bag')]


def bag_case(at: Path, rng: random.Random) -> Callable[[], None]:
    from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
    from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy
    from mt_perception.sources import open_source

    contents = [(path.suffix, path.read_bytes()) for path in bags(at)]
    classes = ClassMap(('person',), ('person',), read_taxonomy())

    def case() -> None:
        suffix, content = rng.choice(contents)
        path = at / f'fuzzed{suffix}'
        path.write_bytes(damaged(content, rng))
        if rng.random() < 0.7:
            with open_source(path, topic=rng.choice((None, '/camera/image_raw'))) as source:
                for _ in source:
                    pass
        else:
            with open_samples(str(path), SourceOptions(), classes) as samples:
                for _ in samples:
                    pass

    return case


def coco_case(at: Path, rng: random.Random) -> Callable[[], None]:
    from mt_perception.evaluation.datasets.coco import read_coco_file

    ordinary = {
        'images': [{'id': 7, 'file_name': 'a.jpg', 'width': 64, 'height': 48, 'split': 'train'}],
        'categories': [{'id': 1, 'name': 'person'}],
        'annotations': [
            {
                'id': 1, 'image_id': 7, 'category_id': 1, 'bbox': [1, 2, 30, 40], 'area': 900,
                'iscrowd': 0, 'segmentation': [[1, 1, 9, 1, 9, 9]],
            }
        ],
    }  # fmt: skip
    odd = [
        *(None, True, '', 'x', '1', [], {}, [None], -1, 0, 10**400, 1e308, -0.5, {'a': 1}),
        *(float('nan'), float('inf'), '\ud800', '../../etc/passwd', [[1, 2]], [1, 2, 3]),
    ]
    path = at / 'instances.json'

    def changed(value: object, depth: int = 0) -> object:
        if rng.random() < 0.06 * (depth > 0):
            return rng.choice(odd)
        if isinstance(value, dict):
            kept = [k for k in value if rng.random() > 0.04]
            return {k: changed(value[k], depth + 1) for k in kept}
        if isinstance(value, list):
            return [changed(v, depth + 1) for v in value * rng.choice((1, 1, 1, 2))]
        return value

    def case() -> None:
        data = json.dumps(changed(ordinary)).encode()
        path.write_bytes(damaged(data, rng) if rng.random() < 0.4 else data)
        read_coco_file(path)

    return case


def labels_case(at: Path, rng: random.Random) -> Callable[[], None]:
    import cv2
    import numpy as np

    from mt_perception.evaluation.datasets.maps import read_depth_map, read_label_map
    from mt_perception.evaluation.datasets.taxonomy import read_class_names

    pixels = np.tile(np.arange(40, dtype=np.uint8), (30, 1))
    files = [cv2.imencode('.png', p)[1].tobytes() for p in (pixels, pixels.astype(np.uint16))]
    files.append(cv2.imencode('.png', pixels, [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes())
    names = b'classes:\n  0: unlabelled\n  1: person\n  2: "wall"\nextra: &a [1, 2]\nmore: *a\n'
    path = at / 'map.png'

    def case() -> None:
        if rng.random() < 0.3:
            path.write_bytes(damaged(names, rng))
            read_class_names(path)
        else:
            path.write_bytes(damaged(rng.choice(files), rng))
            (read_label_map if rng.random() < 0.5 else read_depth_map)(path)

    return case


MAKERS: dict[str, Callable[[Path, random.Random], Callable[[], None]]] = {
    'file': file_case,
    'raw': raw_case,
    'format': format_case,
    'depth': depth_case,
    'bag': bag_case,
    'coco': coco_case,
    'labels': labels_case,
}


if __name__ == '__main__':
    main()
