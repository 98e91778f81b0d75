# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a model folder once in a process of its own, with limits on time and memory.

A graph can loop for ever or allocate any amount of memory when it is loaded or run. The caller
of `first_run` survives both and gets all problems of the model at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from mt_perception.data_files import SMALL, parse_json, read_text
from mt_perception.errors import ModelError, PerceptionError
from mt_perception.model.folder import MANIFEST

if TYPE_CHECKING:
    from mt_perception.types import Detections, Result

TIMEOUT_S = 60.0
MEMORY_BYTES = 2 << 30
MEMORY_PER_FILE_BYTE = 6
"""Sessions hold weights several times while ONNX Runtime optimises a graph."""

_OUT_OF_MEMORY = 3
_SMALLEST_BOX = 2.0


@dataclass(frozen=True)
class FirstRun:
    """Outcome of one run.

    Attributes:
        problems: Reasons for which the model is refused; empty if it works.
        warnings: Suspicious results on the given image; empty without an image.
        total_ms: Time of the frame in ms.
        detections: Number of detections.
    """

    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    total_ms: float = 0.0
    detections: int = 0


def first_run(
    folder: Path,
    image: Path | None = None,
    picture: Path | None = None,
    timeout_s: float = TIMEOUT_S,
) -> FirstRun:
    """Load a model folder and run one frame in a child process on the CPU.

    The child has 2 GiB of memory and six times the size of the files.

    Args:
        folder: The model folder.
        image: Image file to run; None runs a frame of noise on every path.
        picture: File for the image with its results in four panels; needs ``image``.
        timeout_s: The child is killed after this time.
    """
    size = sum(file.stat().st_size for file in folder.rglob('*.onnx') if file.is_file())
    memory_bytes = MEMORY_BYTES + MEMORY_PER_FILE_BYTE * size
    command = [sys.executable, '-m', __name__, str(folder), '--memory', str(memory_bytes)]
    command += [] if image is None else ['--image', str(image)]
    command += [] if picture is None else ['--picture', str(picture)]
    # The child finds the package where this process found it.
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, sys.path))}
    environment |= {'OMP_NUM_THREADS': '1', 'MALLOC_ARENA_MAX': '2'}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return FirstRun((f'the model does not load and run a frame within {timeout_s:g} s',))
    if done.returncode == 0:
        found = parse_json(done.stdout, 'first run', ModelError, SMALL)
        return FirstRun(**{**found, **{k: tuple(found[k]) for k in ('problems', 'warnings')}})
    return FirstRun((_death(done, memory_bytes),))


def ensure_runs(folder: Path) -> None:
    """Run a model folder once with limits, unless these very files have passed before.

    Models that passed are listed by checksum in the user's cache folder.

    Raises:
        ModelError: The model does not work within the limits, or its manifest cannot be read.
    """
    stamp = _stamp(folder)
    if stamp.exists():
        return
    problems = first_run(folder).problems
    if problems:
        raise ModelError(f'{folder}: {"; ".join(problems)}')
    # Without a writable cache the model runs again next time.
    with contextlib.suppress(OSError):
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()


def _stamp(folder: Path) -> Path:
    """The file that says that a model passed; its name is the manifest's checksum."""
    text = read_text(folder / MANIFEST)
    name = hashlib.sha256(f'{version("onnxruntime")}\n{text}'.encode()).hexdigest()
    cache = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return Path(cache) / 'mt_perception' / 'checked_models' / name


def _death(done: subprocess.CompletedProcess[bytes], memory_bytes: int) -> str:
    """The reason for which a child ended without a report."""
    if done.returncode == _OUT_OF_MEMORY:
        return f'the model needs more than {memory_bytes / 1e6:.0f} MB of memory'
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return (
            f'the model crashes ONNX Runtime ({name}), or needs more than '
            f'{memory_bytes / 1e6:.0f} MB of memory'
        )
    last = done.stderr.decode(errors='replace').strip().splitlines()[-1:]
    return f'the first run failed: {" ".join(last) or f"status {done.returncode}"}'


def main(arguments: Sequence[str] | None = None) -> int:
    """The child: print a ``FirstRun`` as JSON; status 3 means out of memory."""
    parser = ArgumentParser()
    parser.add_argument('folder', type=Path)
    parser.add_argument('--image', type=Path)
    parser.add_argument('--picture', type=Path)
    parser.add_argument('--memory', type=int, required=True)
    given = parser.parse_args(arguments)
    resource.setrlimit(resource.RLIMIT_DATA, (given.memory, given.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        found = _run(given.folder, given.image, given.picture)
    except MemoryError:
        return _OUT_OF_MEMORY
    sys.stdout.write(json.dumps(asdict(found)))
    return 0


def _run(folder: Path, image: Path | None, picture: Path | None) -> FirstRun:
    import cv2

    from mt_perception.image import overlay
    from mt_perception.image.compressed import decode
    from mt_perception.model.folder import open_model
    from mt_perception.model.sessions import session_problems
    from mt_perception.pipeline import Pipeline
    from mt_perception.types import Frame

    try:
        problems = session_problems(open_model(folder))
        if problems:
            return FirstRun(tuple(problems))
        pipeline = Pipeline.load(folder)
        if image is None:
            return FirstRun(())
        pixels = decode(image.read_bytes())
        result = pipeline.run(Frame(pixels))
    except PerceptionError as error:
        return FirstRun((str(error),))
    if picture is not None:
        cv2.imwrite(str(picture), overlay.sheet(pixels, result))
    return FirstRun(
        problems=tuple(f'{task}: {reason}' for task, reason in result.failures.items()),
        warnings=tuple(_suspicions(result)),
        total_ms=result.execution.stage_ms['total'],
        detections=0 if result.detections is None else len(result.detections),
    )


def _suspicions(result: Result) -> Iterator[str]:
    """Results that a photograph should not have."""
    import numpy as np

    if result.detections is not None:
        yield from _suspicious_boxes(result.detections)
    if result.segmentation is not None:
        ids = np.unique(result.segmentation.class_ids)
        if len(ids) == 1:
            yield 'segmentation: all pixels have one class; check mean, std and colour order'
    if result.depth is not None:
        known = result.depth.depth[np.isfinite(result.depth.depth)]
        if not known.size:
            yield 'depth: no pixel has a depth; check the kind of depth'
        elif np.ptp(known) <= 1e-3 * abs(float(known.mean())):
            yield 'depth: the same value at all pixels; check mean, std and colour order'


def _suspicious_boxes(found: Detections) -> Iterator[str]:
    if not len(found):
        yield 'detection: no box; check the decoder, mean, std and colour order'
        return
    sides = (found.boxes[:, 2:] - found.boxes[:, :2]).min(axis=1)
    tiny = int((sides < _SMALLEST_BOX).sum())
    if 2 * tiny >= len(found):
        yield (
            f'detection: {tiny} of {len(found)} boxes are smaller than {_SMALLEST_BOX:g} pixels; '
            'check the decoder: coordinates may be relative to the image'
        )


if __name__ == '__main__':
    sys.exit(main())
