# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Prints depth errors with the scale of the network, of the ground, and of a calibration.

python benchmarks/depth_scale.py models/cspnano --data ../shared/data --part choose

The plane of the ground, which a robot knows, is that of the true depth (a plane with nothing below
it); a frame in which it covers less than 15 % of the image has the plane of at least 4 % whose
height is within 10 % of the scene's median. Images without one keep the scale of the network. Each
frame is measured separately, without the mean over time. A calibration is made of every second
frame of a scene and measured on the others, and the other way round; scenes with one image or
several cameras, and frames whose calibration is refused, keep the scale of the network. `both` is
the calibration and then the ground. `worse` is the share of frames that the ground makes worse by
more than a fifth; --height-factor and --down-deg show what a wrong plane does. `best scale` is a
bound: the scale of each single frame fitted to that frame itself. Rendered rooms are many places,
so the means are given without them, too; the intervals are the middle 95 % of 1000 resamples of
the scenes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import CalibrationError
from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.parts import PARTS, read_parts
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy
from mt_perception.evaluation.metrics.depth import errors
from mt_perception.geometry.depth_calibration import DepthCalibration
from mt_perception.geometry.depth_calibrator import DepthCalibrator
from mt_perception.geometry.depth_fit import fit_scale
from mt_perception.geometry.plane import GroundPlane
from mt_perception.pipeline import Pipeline
from mt_perception.planning.frame_state import FrameState
from mt_perception.reports import BOTH, GROUND
from mt_perception.training.data.plane_segmentation import ground_mask
from mt_perception.training.export.model_metrics import EVALUATION_OPTIONS, ValidationSet
from mt_perception.types import DEPTH, DepthMap, Frame, Intrinsics

# The list of scenes is that of the release figures.
sys.path.insert(0, str(Path(__file__).resolve().parent))
from release_figures import MAX_RANGE_M, ROOT, scene_sets

LEAST_POINTS = 200
TRIALS, SAME_HEIGHT, SMALL_SHARE, MOST_BELOW = 400, 0.1, 0.04, 0.03
LEAST_UPRIGHT = 0.64
WORSE = 1.2
COLUMNS = (
    *('network', 'ground', 'with ground', 'worse', 'calibration', 'calibrated', 'both'),
    'best scale',
)
RENDERED = 'rendered_rooms'
OUTDOORS = ('pjlab', 'gmrpd')
RESAMPLES = 1000


@dataclass
class Measured:
    """A frame with its true depth, the depth of the network, and what is known of the ground."""

    frame: Frame
    truth: NDArray[np.float32]
    plain: DepthMap
    plane: GroundPlane | None


@click.command()
@click.argument('model', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--data', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--part', type=click.Choice(PARTS), default='choose', show_default=True)
@click.option('--scene', 'only', multiple=True, help='Measure only this scene; repeatable.')
@click.option('--height-factor', default=1.0, help='Multiplies the height of the true plane.')
@click.option('--down-deg', default=0.0, help='Turns the true plane as if the camera looked down.')
def main(
    model: Path,
    data: Path | None,
    part: str,
    only: tuple[str, ...],
    height_factor: float,
    down_deg: float,
) -> None:
    """Measure MODEL on the scenes of one part of the validation data."""
    data = data or ROOT.parent / 'shared' / 'data'
    parts = read_parts(ROOT / 'recipes' / 'splits' / 'cspnano.yaml')
    network = Pipeline.load(model, EVALUATION_OPTIONS)
    manifest = network.manifest
    parts = parts.unseen_by(f'{manifest.name} {manifest.version}')
    print_head()
    rows: dict[str, Mapping[str, float]] = {}
    for scene in scene_sets(data, parts, part):
        if only and scene.name not in only:
            continue
        frames = frames_of(network, data, scene)
        for one in frames:
            one.plane = None if one.plane is None else wrong(one.plane, height_factor, down_deg)
        rows[scene.name] = figures(model, network, frames)
        click.echo(line(scene.name, len(frames), rows[scene.name]))
    print_all_means(rows)


def frames_of(network: Pipeline, data: Path, scene: ValidationSet) -> list[Measured]:
    """The frames of a scene that have a true depth, with the ground in them."""
    options = SourceOptions(keys=scene.keys, camera=scene.focal_px)
    classes = ClassMap((), (), read_taxonomy())
    with open_samples(str(data / scene.folder), options, classes) as samples:
        frames = [
            measured(network, sample.frame, sample.truth.depth)
            for sample in samples
            if sample.truth is not None and sample.truth.depth is not None
        ]
    add_planes(frames)
    return frames


def print_all_means(rows: Mapping[str, Mapping[str, float]]) -> None:
    """Print the means over indoor places and over all scenes."""
    indoors = [row for name, row in rows.items() if not name.startswith((RENDERED, *OUTDOORS))]
    print_means('mean over indoor places', indoors)
    print_means('mean over scenes', list(rows.values()))


def measured(network: Pipeline, frame: Frame, truth: NDArray[np.float32]) -> Measured:
    """The depth of the network, and the ground in the true depth."""
    frame = replace(frame, stamp_ns=0)
    plain = network.run(frame, [DEPTH], state=FrameState()).depth
    assert plain is not None
    plane = None if frame.intrinsics is None else true_plane(truth, frame.intrinsics)
    return Measured(frame, truth, plain, plane)


def add_planes(frames: Sequence[Measured]) -> None:
    """Give frames that show little ground the plane at the height of the others."""
    heights = [one.plane.height_m for one in frames if one.plane is not None]
    if len(heights) < 2:
        return
    height = float(np.median(heights))
    if np.max(np.abs(np.array(heights) / height - 1)) > SAME_HEIGHT:
        return
    for one in frames:
        if one.plane is None and one.frame.intrinsics is not None:
            one.plane = small_plane(one.truth, one.frame.intrinsics, height)


def true_plane(truth: NDArray[np.float32], camera: Intrinsics) -> GroundPlane | None:
    """The ground in the true depth; None if none is visible."""
    depth = np.nan_to_num(truth, posinf=0.0)
    on_ground = ground_mask(depth, camera.fx)
    return plane_through(points_of(depth, camera)[on_ground])


def small_plane(
    truth: NDArray[np.float32], camera: Intrinsics, height: float
) -> GroundPlane | None:
    """The ground in the true depth if its height is known, by random sample consensus."""
    depth = np.nan_to_num(truth, posinf=0.0)
    measured = (depth > 0) & (depth < MAX_RANGE_M)
    points, lower = points_of(depth, camera), np.arange(len(depth))[:, None] > 0.4 * len(depth)
    rng = np.random.default_rng(0)
    low, some = points[measured & lower], points[measured]
    if len(low) < LEAST_POINTS:
        return None
    some = some[rng.integers(0, len(some), 4000)]
    tolerance = 0.015 + 0.015 * some[:, 2]
    best, most = None, SMALL_SHARE
    for corners in low[rng.integers(0, len(low), (TRIALS, 3))]:
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
        length = float(np.linalg.norm(normal))
        if length < 1e-9:
            continue
        normal *= np.sign(normal[1]) / length
        below = some @ normal - float(corners[0] @ normal)
        right = abs(float(corners[0] @ normal) / height - 1) < SAME_HEIGHT
        share = float((np.abs(below) < tolerance).mean())
        closed = (below > 2 * tolerance).mean() < MOST_BELOW
        if right and closed and normal[1] > LEAST_UPRIGHT and share > most:
            best, most = some[np.abs(below) < tolerance], share
    return None if best is None else plane_through(best)


def wrong(plane: GroundPlane, height_factor: float, down_deg: float) -> GroundPlane:
    """The plane of a camera that is higher by a factor and looks down by more degrees."""
    (x, y, z), angle = plane.normal, np.radians(down_deg)
    down = float(y * np.sin(angle) + z * np.cos(angle))
    normal = (x, float(y * np.cos(angle) - z * np.sin(angle)), down)
    return GroundPlane(normal, plane.height_m * height_factor)


def points_of(depth: NDArray[np.float32], camera: Intrinsics) -> NDArray[np.float64]:
    """The points of all pixels, (h, w, 3); the camera has no distortion."""
    rows, columns = np.indices(depth.shape)
    x, y = (columns - camera.cx) / camera.fx * depth, (rows - camera.cy) / camera.fy * depth
    return np.stack([x, y, depth], axis=-1).astype(np.float64)


def plane_through(points: NDArray[np.float64]) -> GroundPlane | None:
    """The plane normal · p = height of points (N, 3), by least squares."""
    if len(points) < LEAST_POINTS:
        return None
    solution = np.linalg.lstsq(points, np.ones(len(points)), rcond=None)[0]
    a, b, c = (float(value) for value in solution)
    return GroundPlane((a, b, c), 1 / float(np.linalg.norm(solution)))


def figures(model: Path, network: Pipeline, frames: Sequence[Measured]) -> Mapping[str, float]:
    """AbsRel of a scene by the source of the scale, and the shares of frames that have one."""
    grounded = Pipeline.load(model, replace(EVALUATION_OPTIONS, depth_scale=GROUND))
    plain = [abs_rel(one.plain.depth, one.truth) for one in frames]
    ground, with_ground = np.array([with_scale(grounded, one) for one in frames]).T
    calibrated, both, has_fit = list(plain), list(ground), 0
    for half, calibration in calibrations(network, frames):
        with TemporaryDirectory() as folder:
            file = Path(folder) / 'depth.yaml'
            file.write_text(calibration.text())
            options = replace(EVALUATION_OPTIONS, depth_scale=BOTH, depth_calibration=str(file))
            pipeline = Pipeline.load(model, options)
            for index in range(half, len(frames), 2):
                one, has_fit = frames[index], has_fit + 1
                depth = calibration.fit.apply(1 / one.plain.depth)
                calibrated[index] = abs_rel(depth, one.truth)
                both[index] = with_scale(pipeline, one)[0]
    return {
        'network': float(np.mean(plain)),
        'ground': float(np.mean(ground)),
        'with ground': float(np.mean(with_ground)),
        'worse': float(np.mean(ground > WORSE * np.array(plain))),
        'calibration': float(np.mean(calibrated)),
        'calibrated': has_fit / len(frames),
        'both': float(np.mean(both)),
        'best scale': float(np.mean([best_scale(one) for one in frames])),
    }


def with_scale(pipeline: Pipeline, one: Measured) -> tuple[float, bool]:
    """AbsRel of a frame with the ground, and whether the ground gave a scale."""
    frame = replace(one.frame, ground=one.plane)
    found = pipeline.run(frame, [DEPTH], state=FrameState()).depth
    assert found is not None
    return abs_rel(found.depth, one.truth), found.scale.source in (GROUND, BOTH)


def calibrations(
    network: Pipeline, frames: Sequence[Measured]
) -> list[tuple[int, DepthCalibration]]:
    """The calibrations of both halves, each with the half (0 or 1) to which it applies."""
    found: list[tuple[int, DepthCalibration]] = []
    if len(frames) < 2 or len({one.plain.intrinsics for one in frames}) > 1:
        return found
    manifest = network.manifest
    for half in (0, 1):
        calibrator = DepthCalibrator()
        for one in frames[1 - half :: 2]:
            calibrator.add_map(one.plain, one.truth)
        try:
            model = f'{manifest.name} {manifest.version}'
            found.append((half, calibrator.calibrate('', model, '')))
        except CalibrationError:
            continue
    return found


def best_scale(one: Measured) -> float:
    """AbsRel of one frame with the scale fitted to itself."""
    depth, truth = one.plain.depth, one.truth
    there = (truth > 0) & (truth <= MAX_RANGE_M) & np.isfinite(depth)
    return abs_rel(fit_scale(1 / depth[there], truth[there]).apply(1 / depth), truth)


def print_head() -> None:
    """Print the first two rows of the table."""
    click.echo('| scene | images | ' + ' | '.join(COLUMNS) + ' |\n|' + '---|' * (len(COLUMNS) + 2))


def print_means(name: str, rows: Sequence[Mapping[str, float]]) -> None:
    """Print means over scenes and their intervals."""
    if not rows:
        return
    values = np.array([[row[key] for key in COLUMNS] for row in rows])
    click.echo(line(name, len(rows), dict(zip(COLUMNS, values.mean(axis=0), strict=True))))
    picks = np.random.default_rng(0).integers(0, len(rows), (RESAMPLES, len(rows)))
    low, high = np.quantile(values[picks].mean(axis=1), (0.025, 0.975), axis=0)
    spans = [f'{a:.3f} to {b:.3f}' for a, b in zip(low, high, strict=True)]
    click.echo('| 95 % | | ' + ' | '.join(spans) + ' |')


def abs_rel(depth: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """AbsRel over the pixels with true depth in the range of the release figures."""
    there = (truth > 0) & (truth <= MAX_RANGE_M) & np.isfinite(depth)
    return errors(depth[there], truth[there])['abs_rel'] if there.any() else np.nan


def line(name: str, images: int, row: Mapping[str, float]) -> str:
    """One row of the table."""
    return f'| {name} | {images} | ' + ' | '.join(f'{row[key]:.3f}' for key in COLUMNS) + ' |'


if __name__ == '__main__':
    main()
