# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Prints depth errors with the scale of the network, of the ground, and of a calibration.

python benchmarks/depth_scale.py models/cspnano --data ../shared/data --part choose

The known camera height is that of the ground in the true depth (a plane with nothing below it);
images without one keep the scale of the network. Each frame is measured separately, without the
median over seconds. A calibration is made of every second frame of a scene and measured on the
others, and the other way round; a scene with one image has none.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import CalibrationError
from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.parts import PARTS, read_parts
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy
from mt_perception.evaluation.metrics.depth import errors
from mt_perception.execution.options import Options
from mt_perception.geometry.depth_calibrator import DepthCalibrator
from mt_perception.geometry.plane import GroundPlane
from mt_perception.pipeline import Pipeline
from mt_perception.planning.frame_state import FrameState
from mt_perception.training.data.plane_segmentation import ground_mask
from mt_perception.types import DEPTH, DepthMap, Frame, Intrinsics

# The list of scenes is that of the release figures.
sys.path.insert(0, str(Path(__file__).resolve().parent))
from release_figures import MAX_RANGE_M, ROOT, scene_sets

LEAST_POINTS = 200
Measured = list[tuple[DepthMap, NDArray[np.float32], bool, DepthMap]]


@click.command()
@click.argument('model', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--data', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--part', type=click.Choice(PARTS), default='choose', show_default=True)
def main(model: Path, data: Path | None, part: str) -> None:
    """Measure MODEL on the scenes of one part of the validation data."""
    data = data or ROOT.parent / 'shared' / 'data'
    parts = read_parts(ROOT / 'recipes' / 'splits' / 'cspnano.yaml')
    network = Pipeline.load(model)
    grounded = Pipeline.load(model, Options(depth_scale='ground'))
    click.echo('| scene | images | network | with ground | ground | calibration |')
    click.echo('|---|---|---|---|---|---|')
    rows = []
    for scene in scene_sets(data, parts, part):
        options = SourceOptions(keys=scene.keys, camera=scene.focal_px)
        classes = ClassMap((), (), read_taxonomy())
        frames: Measured = []
        with open_samples(str(data / scene.folder), options, classes) as samples:
            for sample in samples:
                if sample.truth is None or sample.truth.depth is None:
                    continue
                frames.append(measured(network, grounded, sample.frame, sample.truth.depth))
        row = figures(frames)
        rows.append(row)
        click.echo(line(scene.name, len(frames), sum(one[2] for one in frames), row))
    means = {key: float(np.nanmean([row[key] for row in rows])) for key in rows[0]}
    click.echo(line('mean over scenes', len(rows), 0, means))


def measured(
    network: Pipeline, grounded: Pipeline, frame: Frame, truth: NDArray[np.float32]
) -> tuple[DepthMap, NDArray[np.float32], bool, DepthMap]:
    """Depth of the network, true depth, whether the ground gave a scale, and depth with it."""
    frame = replace(frame, stamp_ns=0)
    plain = network.run(frame, [DEPTH], state=FrameState()).depth
    assert plain is not None
    plane = None if frame.intrinsics is None else true_plane(truth, frame.intrinsics)
    scaled = plain
    if plane is not None:
        found = grounded.run(replace(frame, ground=plane), [DEPTH], state=FrameState()).depth
        scaled = plain if found is None else found
    return plain, truth, scaled.scale.source == 'ground', scaled


def true_plane(truth: NDArray[np.float32], camera: Intrinsics) -> GroundPlane | None:
    """The ground in the true depth; None if none is visible."""
    depth = np.nan_to_num(truth, posinf=0.0)
    rows, columns = np.nonzero(ground_mask(depth, camera.fx))
    if len(rows) < LEAST_POINTS:
        return None
    z = depth[rows, columns].astype(np.float64)
    x, y = (columns - camera.cx) / camera.fx * z, (rows - camera.cy) / camera.fy * z
    # normal / height of the plane normal · p = height, by least squares.
    solution = np.linalg.lstsq(np.stack([x, y, z], axis=1), np.ones(len(z)), rcond=None)[0]
    a, b, c = (float(value) for value in solution)
    return GroundPlane((a, b, c), 1 / float(np.linalg.norm(solution)))


def figures(frames: Measured) -> Mapping[str, float]:
    """AbsRel of a scene by the source of the scale."""
    found = {
        'network': float(np.mean([abs_rel(plain.depth, t) for plain, t, _, _ in frames])),
        'ground': float(np.mean([abs_rel(scaled.depth, t) for _, t, _, scaled in frames])),
        'calibration': np.nan,
    }
    halves = [frames[0::2], frames[1::2]]
    if not all(halves):
        return found
    values = []
    for fitted, others in (halves, halves[::-1]):
        calibrator = DepthCalibrator()
        for plain, truth, _, _ in fitted:
            # Scenes of several cameras: the same scale and shift for all of them.
            calibrator.add_map(replace(plain, intrinsics=fitted[0][0].intrinsics), truth)
        try:
            fit = calibrator.calibrate('', '', '').fit
        except CalibrationError:
            values += [abs_rel(plain.depth, truth) for plain, truth, _, _ in others]
            continue
        values += [abs_rel(fit.apply(1 / plain.depth), truth) for plain, truth, _, _ in others]
    return {**found, 'calibration': float(np.mean(values))}


def abs_rel(depth: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """AbsRel over the pixels with true depth in the range of the release figures."""
    there = (truth > 0) & (truth <= MAX_RANGE_M) & np.isfinite(depth)
    return errors(depth[there], truth[there])['abs_rel'] if there.any() else np.nan


def line(name: str, images: int, ground: int, row: Mapping[str, float]) -> str:
    """One row of the table."""
    return (
        f'| {name} | {images} | {row["network"]:.3f} | {ground} | {row["ground"]:.3f} | '
        f'{row["calibration"]:.3f} |'
    )


if __name__ == '__main__':
    main()
