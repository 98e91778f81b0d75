# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Prints depth in scenes left out of the last training stage, by cross-validation.

python benchmarks/left_out_scenes.py START --data ../shared/data --out left_out

The shipped depth head learns, in recipes/cspnano_scenes.yaml, from the scenes that all other
stages leave out, so it cannot be measured there. This command trains that recipe once for each
group of those scenes, without the group's scenes, and measures them with the result. START is
where that stage starts, a run of recipes/cspnano_heads.yaml or a model. Scenes of the part
`report` form four groups, with similar places in one of them; the part `choose`, which selects
recipes, is one group. Each training takes eight minutes of a core; what is done is not done again.
The tables are those of release_figures.py, and with --scale those of depth_scale.py.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import yaml

from mt_perception.cli.main import main as mt_perception
from mt_perception.errors import PerceptionError
from mt_perception.evaluation.datasets.parts import CHOOSE, PARTS, REPORT, Parts, read_parts
from mt_perception.evaluation.datasets.recording import read_recording
from mt_perception.evaluation.predictor import RunSettings, open_predictor
from mt_perception.pipeline import Pipeline
from mt_perception.training.export.model_metrics import EVALUATION_OPTIONS, ValidationSet
from mt_perception.types import DEPTH

sys.path.insert(0, str(Path(__file__).resolve().parent))
from depth_scale import figures, frames_of, line, print_all_means, print_head
from release_figures import DEPTHS, ROOT, depth_of, peers, print_scenes, scene_sets

RECIPE = ROOT / 'recipes' / 'cspnano_scenes.yaml'
# The kitchen and the sidewalks are in no training.
GROUPS = {
    REPORT: (
        ('hololens_lounge', 'region_rgb', 'nc_kitchen'),
        ('hololens_foosball', 'pjlab_pj_2', 'pjlab_pj_4', 'gmrpd_1', 'gmrpd_2'),
        ('tum_fr3_cabinet', 'tum_fr3_office', 'tum_fr3_sitting'),
        ('ycbv_scene1', 'rendered_rooms'),
    ),
    CHOOSE: (
        (
            *('hololens_corridor', 'tum_fr2_desk', 'ycbv_scene2', 'ycbv_scene3', 'milk_table'),
            *('pjlab_pj_3', 'rendered_rooms'),
        ),
    ),
}


@click.command()
@click.argument('start', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--data', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--out', required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option('--part', type=click.Choice(PARTS), default=CHOOSE, show_default=True)
@click.option('--scale', is_flag=True, help='Measure the ground and calibrations, too.')
def main(start: Path, data: Path | None, out: Path, part: str, scale: bool) -> None:
    """Train the last stage from START without each group of scenes, and measure the group."""
    data = data or ROOT.parent / 'shared' / 'data'
    parts = read_parts(ROOT / 'recipes' / 'splits' / 'cspnano.yaml')
    scenes = {scene.name: scene for scene in scene_sets(data, parts, part)}
    try:
        models = {
            name: trained_without(start, data, out / f'{part}_{index}', parts, part, group)
            for index, group in enumerate(GROUPS[part])
            for name in group
            if name in scenes
        }
        print_scenes(depths(models, data, scenes))
        if scale:
            click.echo()
            print_scales(models, data, scenes)
    except PerceptionError as error:
        raise click.ClickException(str(error)) from error


def trained_without(
    start: Path, data: Path, folder: Path, parts: Parts, part: str, group: tuple[str, ...]
) -> Path:
    """Train the recipe without the scenes of a group, and return the model's folder."""
    model = folder / 'model'
    if (model / 'manifest.yaml').exists():
        return model
    folder.mkdir(parents=True, exist_ok=True)
    kept = only(parts, part, group)
    (folder / 'parts.yaml').write_text(yaml.safe_dump(kept))
    recipe = folder / 'recipe.yaml'
    plan = yaml.safe_load(RECIPE.read_text()) | {'parts': 'parts.yaml'}
    plan['sets'] = [
        one
        for one in plan['sets']
        if one['folder'] not in kept['scenes'] or scenes_of(data / one['folder']) - set(group)
    ]
    recipe.write_text(yaml.safe_dump(plan, sort_keys=False))
    places = ['--data', str(data), '--start', str(start), '--cache', str(folder.parent / 'cache')]
    command('train', str(recipe), *places, '--out', str(folder / 'run'))
    command('export', str(folder / 'run'), str(model), '--version', 'left-out')
    return model


def command(*arguments: str) -> None:
    """Run a command of the package."""
    if mt_perception(list(arguments)):
        raise click.ClickException(f'mt_perception {" ".join(arguments)} failed')


def scenes_of(folder: Path) -> set[str]:
    """The scenes of a data set; one that knows of none is a scene with the name of its folder."""
    recording = read_recording(folder)
    return set(() if recording is None else recording.scenes.values()) or {folder.name}


def only(parts: Parts, part: str, group: tuple[str, ...]) -> Mapping[str, Any]:
    """Parts with the scenes of a group alone, as plain data."""
    images = {
        folder: {part: sorted(names[part])}
        for folder, names in parts.images.items()
        if part in names and Path(folder).name in group
    }
    scenes = {
        folder: {part: sorted(names[part] & set(group))}
        for folder, names in parts.scenes.items()
        if names.get(part, frozenset()) & set(group)
    }
    return {'images': images, 'scenes': scenes}


def depths(
    models: Mapping[str, Path], data: Path, scenes: Mapping[str, ValidationSet]
) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Measure each scene with the model that was trained without it, and with other networks."""
    settings = RunSettings(EVALUATION_OPTIONS, tasks=(DEPTH,))
    opened = {path: open_predictor(str(path), settings) for path in set(models.values())}
    found = {
        'ours, full': {n: depth_of(opened[path], data, scenes[n]) for n, path in models.items()}
    }
    for name, network in peers(DEPTHS, data, DEPTH).items():
        found[name] = {n: depth_of(network, data, scenes[n]) for n in models}
    return found


def print_scales(
    models: Mapping[str, Path], data: Path, scenes: Mapping[str, ValidationSet]
) -> None:
    """Print the same scenes with the ground, and with calibrations."""
    print_head()
    rows = {}
    for name, path in models.items():
        network = Pipeline.load(path, EVALUATION_OPTIONS)
        frames = frames_of(network, data, scenes[name])
        rows[name] = figures(path, network, frames)
        click.echo(line(name, len(frames), rows[name]))
    print_all_means(rows)


if __name__ == '__main__':
    main()
