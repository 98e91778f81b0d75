# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
import yaml

pytest.importorskip('torch')

from mt_perception.errors import ModelError
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


@pytest.mark.parametrize(
    ('section', 'said'),
    [
        ({'balancing': {'kind': 'votes'}}, 'balancing.kind: expected fixed'),
        ({'balancing': {'kind': 'gradnorm', 'alpha': -1}}, 'balancing.alpha'),
        ({'device': 'abacus'}, 'device: expected auto'),
        ({'sets': [{'name': 'x', 'kind': 'coco', 'folder': 'x', 'weight': 1,
                    'voc_labels': True}], 'voc_teacher': None}, 'set voc_teacher to a file'),
    ],
)  # fmt: skip
def test_what_is_wrong_in_an_option_is_named(
    tmp_path: Path, section: dict[str, object], said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        read_recipe(changed(tmp_path, **section))
