# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import yaml

pytest.importorskip('torch')

from mt_perception.errors import ModelError, SourceError
from mt_perception.training.recipe import read_recipe

FOLDER = Path(__file__).parent.parent / 'recipes'
# offload.yaml is of another kind: it cuts a trained network, on the images of one of these.
RECIPES = sorted(p for p in FOLDER.glob('*.yaml') if 'phases' in yaml.safe_load(p.read_text()))


@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_every_recipe_can_be_read(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.steps > 0
    assert 'coco' in {spec.kind for spec in recipe.sets}


@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_shipped_weights_never_see_non_commercial_data(path: Path) -> None:
    assert not [s for s in read_recipe(path).sets if 'nc_' in s.folder]


def test_a_recipe_of_another_kind_uses_the_images_of_one_of_these() -> None:
    others = set(FOLDER.glob('*.yaml')) - set(RECIPES)
    for path in others:
        assert FOLDER / yaml.safe_load(path.read_text())['images_of'] in RECIPES


SET = {'name': 'x', 'kind': 'rgbd', 'folder': 'x', 'weight': 1.0}


def changed(tmp_path: Path, **values: object) -> Path:
    recipe = yaml.safe_load(RECIPES[0].read_text())
    for key, value in values.items():
        if value is None:
            del recipe[key]
        else:
            recipe[key] = value
    path = tmp_path / 'recipe.yaml'
    path.write_text(yaml.safe_dump(recipe))
    return path


@pytest.mark.parametrize(
    ('values', 'said'),
    [
        ({'seed': None}, 'missing fields: .*seed'),
        ({'speed': 3}, 'unknown fields: speed'),
        ({'canvases': [[320, 400]]}, 'multiples of 32'),
        ({'precision': 'float16'}, 'float16'),
        ({'sets': 'coco'}, 'sets: expected a list'),
        ({'sets': [{'name': 'x', 'kind': 'video', 'folder': 'x', 'weight': 1}]}, 'video'),
        ({'phases': [{'name': 'x'}]}, 'phases.* missing fields'),
        ({'balancing': {'kind': 'votes'}}, 'balancing.kind: expected fixed'),
        ({'balancing': {'kind': 'gradnorm', 'alpha': -1}}, 'balancing.alpha'),
        ({'device': 'abacus'}, 'device: expected auto'),
        (
            {'sets': [{**SET, 'kind': 'coco', 'voc_labels': True}], 'voc_teacher': None},
            'set voc_teacher to a file',
        ),
        ({'seed': -1}, 'seed: expected a number from 0 to'),
        ({'seed': 'x'}, "seed: expected a whole number, found 'x'"),
        ({'threads': 0}, 'threads: expected a number from 1 to 1024, found 0'),
        ({'threads': 10**9}, 'threads: expected a number from 1 to 1024'),
        ({'validate_every': 0}, 'validate_every: expected at least 1, found 0'),
        ({'checkpoint_every': True}, 'checkpoint_every: expected a whole number'),
        ({'weight_decay': '1e-4'}, "found '1e-4'; write it as 0.0001"),
        ({'canvases': []}, 'canvases: expected a list of .height, width.'),
        ({'canvases': [[0, 32]]}, 'canvases: expected a list of'),
        ({'canvases': [[10016, 32]]}, 'of at most 4096'),
        ({'ema_decay': 2}, 'ema_decay: expected a number from 0 to 1'),
        ({'remote_teacher': 3}, 'remote_teacher: expected true or false'),
        ({'detection_labels': ['a']}, 'detection_labels: expected text'),
        ({'sets': [{**SET, 'zoom': 1e9}]}, 'zoom: expected a number from 1 to 32'),
        ({'sets': [{**SET, 'weight': 1e300}]}, 'weight: expected a number from 0 to 1e'),
        ({'sets': [{**SET, 'names': {70000: 'x'}}]}, 'names: 70000 is no pixel value'),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, values: dict[str, object], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        read_recipe(changed(tmp_path, **values))


def test_yaml_that_executes_is_not_executed(tmp_path: Path) -> None:
    path = tmp_path / 'evil.yaml'
    path.write_text("!!python/object/apply:os.system ['touch evil']")
    with pytest.raises((ModelError, yaml.YAMLError)):
        read_recipe(path)
    assert not (tmp_path / 'evil').exists()


def _places(value: object, place: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """The places of all values of a recipe, lists and maps included."""
    items: list[tuple[object, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value[:1]))
    found = [(*place, key) for key, _ in items]
    return found + [one for key, inner in items for one in _places(inner, (*place, key))]


WHOLE = {
    'balancing': {'kind': 'gradnorm', 'rate': 0.1, 'alpha': 1.0},
    'structure': {
        'kind': 'antler', 'variety': 0.5, 'images': 8, 'targets': {'depth': 0.1},
        'phases': [{'name': 'a', 'steps': 1, 'batch_size': 1, 'weights': {'depth': 1},
                    'learning_rates': {}}],
    },
    'gating': {
        'paths': [{'name': 'a', 'scale': 1.0, 'compute': 0.7, 'light': ['depth']}],
        'temperatures': [5, 1], 'least_budget': 0.5, 'reference_detector': 'x',
    },
    'pixel_teacher': {
        'backbone': 'b', 'weights': {}, 'steps': 3, 'fresh': 2, 'batch_size': 2,
        'context': [{'seen': 'a', 'said': 'b', 'meant': 'c', 'least': 0.1}],
    },
}  # fmt: skip


def test_values_of_other_types_are_read_or_refused(tmp_path: Path) -> None:
    text = changed(tmp_path, **WHOLE).read_text()
    places = _places(yaml.safe_load(text))
    assert len(places) > 60
    path = tmp_path / 'recipe.yaml'
    for place in places:
        for wrong in ('x', '', -1, 1.5, True, None, [], [None], {}, {'a': 1}, 1 << 62):
            recipe = yaml.safe_load(text)
            holder = recipe
            for key in place[:-1]:
                holder = holder[key]
            holder[place[-1]] = wrong
            path.write_text(yaml.safe_dump(recipe))
            with suppress(ModelError, SourceError):
                read_recipe(path)


def test_a_phase_or_recipe_without_anything_to_train_is_named(tmp_path: Path) -> None:
    recipe = yaml.safe_load(RECIPES[0].read_text())
    phases = [{**recipe['phases'][0], 'weights': {'depth': 0}}, *recipe['phases']]
    with pytest.raises(ModelError, match='no loss has a weight above 0; remove the phase'):
        read_recipe(changed(tmp_path, phases=phases))
    sets = [{**one, 'weight': 0} for one in recipe['sets']]
    with pytest.raises(ModelError, match='expected at least one with a weight above 0'):
        read_recipe(changed(tmp_path, sets=sets))


@pytest.mark.parametrize('loss', ['soft_labels', 'teacher_boxes', 'relative_depth'])
def test_a_loss_without_data_is_named(tmp_path: Path, loss: str) -> None:
    recipe = yaml.safe_load(RECIPES[0].read_text())
    phases = [{**recipe['phases'][0], 'weights': {'depth': 1, loss: 1}}]
    with pytest.raises(ModelError, match=f'loss {loss}, but no set; set {loss}: true'):
        read_recipe(changed(tmp_path, phases=phases, sets=[SET]))
