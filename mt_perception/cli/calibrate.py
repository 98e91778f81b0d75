# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception calibrate``: correction of depth for one camera in its place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.markup import escape

from mt_perception.cli.evaluate import source_options
from mt_perception.cli.new_path import NewPath
from mt_perception.cli.shared_options import COUNT, TOLERANCE_MS, FiniteRange, threads_option
from mt_perception.errors import CalibrationError, SourceError
from mt_perception.evaluation.datasets.open_samples import (
    SourceOptions,
    check_source,
    open_samples,
)
from mt_perception.evaluation.datasets.scan_truth import PixelDepths, ScanTruth
from mt_perception.evaluation.datasets.taxonomy import DEFAULT_TAXONOMY, ClassMap, read_taxonomy
from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.output import check_new_text, write_new_text
from mt_perception.execution.options import Options
from mt_perception.geometry.depth_calibration import DepthCalibration, is_calibration
from mt_perception.geometry.depth_calibrator import DepthCalibrator
from mt_perception.pipeline import Pipeline
from mt_perception.resources import find_model
from mt_perception.types import DEPTH, Frame

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FAR_M = 1000.0
"""Limit on the network's depth before calibration; high enough to drop none."""

_TAPE_RADIUS = 2
"""A tape measure gives one point; the pixels within this radius are used too."""


@click.command()
@click.argument('source')
@click.option('--model', default='cspnano', help='Installed model or model folder.')
@click.option(
    '--out', default='depth_calibration.yaml', type=NewPath(), help='Calibration file to write.'
)
@click.option('--topic', help='Image topic of a bag.')
@click.option('--depth-topic', help='Topic with true depth.')
@click.option('--scan-topic', help='Topic of a laser scanner; its pose is on /tf_static.')
@click.option(
    '--distance-px',
    type=(FiniteRange(), FiniteRange()),
    metavar='U V',
    help='Pixel (column, row) with a distance measured by hand.',
)
@click.option('--metres', type=float, help='Measured distance along the optical axis.')
@click.option('--camera-info', type=_FILE, help='Calibration file (YAML).')
@click.option('--focal-px', type=float, help='Focal length in pixels, without a calibration.')
@click.option(
    '--truth',
    type=click.Path(exists=True, file_okay=False),
    help='Folder of true depth, for a source without depth images.',
)
@click.option('--split', help='Part of a data set.')
@click.option(
    '--tolerance-ms',
    type=TOLERANCE_MS,
    default=20.0,
    help='Largest time offset of true depth, in ms.',
)
@click.option('--limit', type=COUNT, default=0, help='Number of frames; 0: all.')
@click.option('--size', default=0, help="Long side of the network's input; 0: the model's own.")
@threads_option(0)
def calibrate(source: str, out: Path, **given: Any) -> None:
    """Fit the depth of a model to known distances in SOURCE.

    SOURCE is a bag or a folder with depth images, a bag with a laser scanner (--scan-topic), or
    any image with one distance (--distance-px U V --metres M). The error of each half of the
    frames is measured with the fit of the other half; then all frames are fitted. Use the file
    with --depth-scale calibration or both, the parameters depth.scale and
    depth.calibration_file, or Options(depth_calibration=…).
    """
    if (given['distance_px'] is None) != (given['metres'] is None):
        raise click.UsageError('--distance-px and --metres must be given together')
    if given['metres'] is not None and not 0 < given['metres'] < _FAR_M:
        raise click.UsageError(f'--metres must be above 0 and below {_FAR_M:g}')
    console = Console()
    check_new_text(out, is_calibration)
    settings = _source_options(given)
    check_source(source, settings)
    folder = find_model(given['model'])
    options = Options(size=given['size'], max_depth_m=_FAR_M)
    pipeline = Pipeline.load(folder, options, threads=given['threads'])
    if DEPTH not in pipeline.manifest.tasks:
        raise CalibrationError(f'the model {pipeline.manifest.name} has no depth')
    calibrator = DepthCalibrator()
    frame_id = ''
    for frame, known in _known(source, settings, given):
        depth = pipeline.run(Frame(frame.image, intrinsics=frame.intrinsics), [DEPTH]).depth
        if depth is None:
            continue
        if isinstance(known, PixelDepths):
            calibrator.add(depth, *known)
        else:
            calibrator.add_map(depth, known)
        frame_id = frame.frame_id
    manifest = pipeline.manifest
    model = f'{manifest.name} {manifest.version}'
    # Folders and videos have no frame ids.
    frame_id = '' if frame_id == 'camera' else frame_id
    found = calibrator.calibrate(frame_id, model, Path(source).name)
    write_new_text(out, found.text(), is_calibration)
    _print(found, out, console)


def _source_options(given: dict[str, Any]) -> SourceOptions:
    others = {'boxes_topic': 'none', 'labels_topic': 'none', 'class_names': None}
    depth = 'none' if given['scan_topic'] else given['depth_topic']
    return source_options({**others, **given, 'depth_topic': depth})


def _known(
    source: str, settings: SourceOptions, given: dict[str, Any]
) -> Iterator[tuple[Frame, Any]]:
    """Frames with their true depth map, or with single pixels of known depth."""
    classes = ClassMap((), (), read_taxonomy(DEFAULT_TAXONOMY))
    with ExitStack() as stack:
        samples = stack.enter_context(open_samples(source, settings, classes))
        scans = None
        if given['scan_topic']:
            tolerance_ns = round(given['tolerance_ms'] * 1e6)
            scans = ScanTruth(Path(os.path.expanduser(source)), given['scan_topic'], tolerance_ns)
            stack.callback(scans.close)
        for sample in islice(samples, given['limit'] or None):
            if given['distance_px'] is not None:
                yield sample.frame, _tape(sample, given['distance_px'], given['metres'])
                return
            if scans is not None:
                known = _scan(sample, scans)
                if known is not None:
                    yield sample.frame, known
            elif sample.truth is not None and sample.truth.depth is not None:
                yield sample.frame, sample.truth.depth


def _scan(sample: Sample, scans: ScanTruth) -> PixelDepths | None:
    frame = sample.frame
    if frame.intrinsics is None:
        raise SourceError(
            f'{sample.source} has no camera_info, which a laser scan needs; give --camera-info'
        )
    return scans.find(frame.stamp_ns, frame.frame_id, frame.intrinsics)


def _tape(sample: Sample, pixel: tuple[float, float], metres: float) -> PixelDepths:
    height, width = sample.frame.image.shape[:2]
    u, v = round(pixel[0]), round(pixel[1])
    if not (0 <= u < width and 0 <= v < height):
        raise click.UsageError(f'--distance-px {u} {v} is outside of the {width}x{height} image')
    around = np.arange(-_TAPE_RADIUS, _TAPE_RADIUS + 1)
    rows, columns = np.meshgrid(
        np.clip(v + around, 0, height - 1), np.clip(u + around, 0, width - 1), indexing='ij'
    )
    return PixelDepths(rows.ravel(), columns.ravel(), np.full(rows.size, metres))


def _print(found: DepthCalibration, out: Path, console: Console) -> None:
    fit = found.fit
    console.print(fit.text(), highlight=False)
    if found.abs_rel_after is None:
        console.print('the error was not measured: there is only one frame')
    else:
        before = (
            'no unit' if found.abs_rel_before is None else f'AbsRel {found.abs_rel_before:.3f}'
        )
        console.print(
            f'on the half that was not fitted: {before} before, AbsRel '
            f'{found.abs_rel_after:.3f} after',
            highlight=False,
        )
    console.print(f'written to {escape(str(out))}', highlight=False)
