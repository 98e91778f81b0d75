# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The manifest: read when it is right, refused with the field's name when it is not."""

from __future__ import annotations

import contextlib
import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import COLOURS, SIZE, write_tiny_model

from mt_perception.data_files import SMALL
from mt_perception.errors import ModelError
from mt_perception.model.input_spec import read_input
from mt_perception.model.manifest import parse_manifest


@pytest.fixture(scope='module')
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = write_tiny_model(tmp_path_factory.mktemp('tiny'))
    return yaml.safe_load((folder / 'manifest.yaml').read_text())


def refused(data: object) -> str:
    with pytest.raises(ModelError) as caught:
        parse_manifest(yaml.safe_dump(data))
    return str(caught.value)


def test_a_good_manifest(good: dict[str, Any]) -> None:
    manifest = parse_manifest(yaml.safe_dump(good, sort_keys=False))
    assert manifest.name == 'tiny'
    assert manifest.input.size == SIZE
    assert manifest.tasks['detection'].labels == COLOURS
    assert list(manifest.graph.blocks) == ['trunk', 'detection', 'segmentation', 'depth']
    assert manifest.files['depth'].path.name == 'depth.onnx'


def test_all_errors_are_reported_at_once(good: dict[str, Any]) -> None:
    bad = copy.deepcopy(good)
    del bad['licence']
    bad['reference_size'] = [0, 5]
    bad['blocks']['depth']['macs'] = -1
    bad['blocks']['trunk']['file'] = '../trunk.onnx'
    bad['tasks']['depth']['kind'] = 'height'
    bad['taks'] = {}
    text = refused(bad)
    assert text.startswith('6 problems:\n- ')
    for place in (
        'manifest.licence is missing',
        'manifest.reference_size must be',
        'manifest.blocks.depth.macs is out of range',
        'manifest.blocks.trunk.file',
        'manifest.tasks.depth.kind',
        'manifest has unknown fields: taks',
    ):
        assert place in text


def test_macs_scale_with_the_area(good: dict[str, Any]) -> None:
    manifest = parse_manifest(yaml.safe_dump(good))
    assert manifest.macs_at(1000, (SIZE, SIZE)) == 1000
    assert manifest.macs_at(1000, (SIZE // 2, SIZE)) == 500
    assert manifest.macs_at(1000, (2 * SIZE, 2 * SIZE)) == 4000


def paths(data: object, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of every value in nested mappings and lists."""
    if isinstance(data, dict):
        items: Any = data.items()
    elif isinstance(data, list):
        items = enumerate(data)
    else:
        return [at]
    return [at, *(path for key, value in items for path in paths(value, (*at, key)))]


def place(data: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        data = data[key]
    return data


def test_every_field_is_needed_and_no_other_is_known(good: dict[str, Any]) -> None:
    for path in paths(good):
        parent = place(good, path[:-1])
        free = path[:-1] in {('blocks',), ('tasks',)} or 'labels' in path[:-1]
        if not path or isinstance(parent, list) or free:
            continue
        data = copy.deepcopy(good)
        del place(data, path[:-1])[path[-1]]
        refused(data)
    for where in [(), ('input',), ('blocks', 'trunk'), ('tasks', 'depth')]:
        data = copy.deepcopy(good)
        place(data, where)['surprise'] = 1
        assert 'surprise' in refused(data)


@pytest.mark.parametrize(
    ('path', 'value', 'says'),
    [
        (('format',), 2, 'format is 2'),
        (('format',), '1', 'format'),
        (('format',), True, 'format'),
        (('name',), '../evil', 'name'),
        (('name',), '', 'name'),
        (('licence',), '', 'licence'),
        (('input', 'size'), 60, 'multiples of 8'),
        (('input', 'size'), 1024, 'min_size <= size <= max_size'),
        (('input', 'multiple'), 0, 'multiple'),
        (('input', 'pad_value'), 256, 'pad_value'),
        (('input', 'max_size'), 1 << 20, 'max_size'),
        (('reference_size',), [0, 64], 'reference_size'),
        (('reference_size',), [64], 'reference_size'),
        (('blocks', 'trunk', 'file'), '/etc/passwd', 'leaves the model folder'),
        (('blocks', 'trunk', 'file'), '../trunk.onnx', 'leaves the model folder'),
        (('blocks', 'trunk', 'file'), 'a/../../x', 'leaves the model folder'),
        (('blocks', 'trunk', 'file'), 'a\\..\\x', 'leaves the model folder'),
        (('blocks', 'trunk', 'file'), '.', 'leaves the model folder'),
        (('blocks', 'trunk', 'sha256'), 'ABC', 'sha256'),
        (('blocks', 'trunk', 'macs'), -1, 'macs'),
        (('blocks', 'trunk', 'macs'), True, 'macs'),
        (('blocks', 'trunk', 'outputs'), [], 'outputs'),
        (('blocks', 'trunk', 'outputs'), ['a', 'a'], 'outputs'),
        (('blocks', 'trunk', 'inputs'), {}, 'inputs'),
        (('blocks', 'depth', 'inputs'), {'s8': 'nowhere/s8'}, 'nowhere/s8'),
        (('blocks', 'bad name'), {}, 'bad name'),
        (('blocks',), {}, 'reads tensor'),
        (('tasks',), {}, 'at least one task'),
        (('tasks', 'normals'), {}, 'normals'),
        (('tasks', 'depth', 'labels'), ['near'], 'labels'),
        (('tasks', 'detection', 'labels'), [], 'labels'),
        (('tasks', 'detection', 'labels'), [str(i) for i in range(256)], 'labels'),
        (('tasks', 'detection', 'labels'), ['red', 1], 'labels'),
        (('tasks', 'detection', 'outputs'), {'boxes': 'detection/boxes'}, 'exactly'),
        (('tasks', 'depth', 'outputs', 'depth_per_focal'), 'depth/x', 'depth/x'),
        (('accuracy',), [{'task': 'depth'}], 'metric'),
    ],
)
def test_wrong_values(
    good: dict[str, Any], path: tuple[str, ...], value: object, says: str
) -> None:
    data = copy.deepcopy(good)
    place(data, path[:-1])[path[-1]] = value
    assert says in refused(data)


@pytest.mark.parametrize(
    'text', ['', '[]', 'a: [', '!!python/object/apply:os.system ["true"]', '[' * 5000, 'x']
)
def test_what_is_no_manifest(text: str) -> None:
    with pytest.raises(ModelError):
        parse_manifest(text)


def test_a_huge_manifest_is_not_parsed() -> None:
    with pytest.raises(ModelError, match='at most'):
        parse_manifest('#' * (SMALL.size + 1))


def test_an_alias_bomb_is_refused_at_once() -> None:
    rows = ['a: &a [x,x,x,x,x,x,x,x,x]']
    for old, new in zip('abcdefghi', 'bcdefghij', strict=True):
        rows.append(f'{new}: &{new} [{",".join([f"*{old}"] * 9)}]')
    with pytest.raises(ModelError, match=r'manifest:\d+: more than'):
        parse_manifest('\n'.join(rows))


def test_a_figure_is_a_finite_number(good: dict[str, Any]) -> None:
    row = {'task': 'depth', 'metric': 'abs_rel', 'value': float('nan'), 'data': 'x'}
    assert 'not finite' in refused({**good, 'accuracy': [row]})


def test_a_fixed_input(good: dict[str, Any]) -> None:
    data = {**good, 'input': {'fixed': [48, 64], 'pad_value': 114}}
    spec = parse_manifest(yaml.safe_dump(data)).input
    assert (spec.size, spec.fixed, spec.fit) == (64, (48, 64), 'letterbox')
    box = spec.letterbox((100, 100), spec.size)
    assert (box.content_size, box.network_size) == ((48, 48), (48, 64))
    assert spec.letterbox((1, 9999), spec.size).content_size == (1, 64)
    data['input']['fit'] = 'stretch'
    manifest = parse_manifest(yaml.safe_dump(data))
    box = manifest.input.letterbox((100, 100), 64)
    assert (box.content_size, box.network_size) == ((48, 64), (48, 64))
    assert manifest.macs_at(1000, (48, 64)) == 1000


@pytest.mark.parametrize(
    ('change', 'says'),
    [
        ({'fixed': [48]}, 'fixed must be'),
        ({'fixed': [0, 64]}, 'fixed must be'),
        ({'fixed': [48, True]}, 'fixed must be'),
        ({'fixed': [48, 1 << 20]}, 'fixed must be'),
        ({'fixed': [48, 64], 'fit': 'crop'}, 'fit is out of range'),
        ({'fixed': [48, 64], 'size': 64}, 'unknown fields: size'),
    ],
)
def test_wrong_fixed_inputs(good: dict[str, Any], change: dict[str, Any], says: str) -> None:
    assert says in refused({**good, 'input': {'pad_value': 114, **change}})


@pytest.mark.parametrize('output', ['depth', 'inverse_depth'])
def test_kinds_of_depth(good: dict[str, Any], output: str) -> None:
    data = copy.deepcopy(good)
    data['tasks']['depth']['outputs'] = {output: 'depth/depth_per_focal'}
    assert output in parse_manifest(yaml.safe_dump(data)).tasks['depth'].outputs
    data['tasks']['depth']['outputs']['depth_per_focal'] = 'depth/depth_per_focal'
    assert 'exactly' in refused(data)


@settings(max_examples=200)
@given(pick=st.integers(0, 10_000), value=st.none() | st.text(max_size=3) | st.integers())
def test_any_change_is_read_or_refused(good: dict[str, Any], pick: int, value: object) -> None:
    places = [path for path in paths(good) if path]
    path = places[pick % len(places)]
    data = copy.deepcopy(good)
    place(data, path[:-1])[path[-1]] = value
    with contextlib.suppress(ModelError):
        parse_manifest(yaml.safe_dump(data))


def test_every_shipped_model_has_a_licence() -> None:
    folders = sorted((Path(__file__).parent.parent / 'models').glob('*/manifest.yaml'))
    for file in folders:
        assert parse_manifest(file.read_text()).licence


def test_a_fourth_task_has_a_name_of_its_own(good: dict[str, Any]) -> None:
    data = copy.deepcopy(good)
    data['tasks']['doors'] = {**data['tasks']['detection'], 'labels': ['door', 'handle', 'x']}
    tasks = parse_manifest(yaml.safe_dump(data)).tasks
    assert (tasks['doors'].name, tasks['doors'].kind) == ('doors', 'detection')
    assert tasks['doors'].labels == ('door', 'handle', 'x')


@pytest.mark.parametrize(
    ('name', 'kind', 'said'),
    [
        ('depth', 'detection', 'kind'),  # what everyone takes for depth would be boxes
        ('doors', 'pose', 'kinds are'),
        ('a/b', 'detection', 'task name'),  # names become topic names
        ('Doors', 'detection', 'task name'),
    ],
)
def test_task_names_and_kinds(good: dict[str, Any], name: str, kind: str, said: str) -> None:
    data = copy.deepcopy(good)
    data['tasks'][name] = {**data['tasks']['detection'], 'kind': kind}
    assert said in refused(data)


@pytest.mark.parametrize(
    ('confidence', 'said'),
    [
        ({'logits': 'segmentation/nothing'}, 'expected one of .*segmentation/class_ids'),
        ({'slope': 1.0}, 'logits is missing'),
        ({'logits': 'segmentation/class_ids', 'slope': -1}, 'slope is out of range'),
        ({'logits': 'segmentation/class_ids', 'bias': 1}, 'unknown fields: bias'),
    ],
)
def test_wrong_confidences(good: dict[str, Any], confidence: dict[str, Any], said: str) -> None:
    data = copy.deepcopy(good)
    data['tasks']['segmentation']['confidence'] = confidence
    assert re.search(said, refused(data))


def test_depth_has_no_confidence(good: dict[str, Any]) -> None:
    data = copy.deepcopy(good)
    data['tasks']['depth']['confidence'] = {'logits': 'depth/depth_per_focal'}
    assert 'unknown fields: confidence' in refused(data)


SIZES = {'size': 64, 'min_size': 32, 'max_size': 512, 'multiple': 8, 'pad_value': 114}


@pytest.mark.parametrize(
    ('change', 'is_taken'),
    [
        *(({'pad_value': value}, 0 <= value <= 255) for value in (-1, 0, 255, 256)),
        *(({'size': value}, 32 <= value <= 512) for value in (24, 32, 512, 520)),
        *(({'size': 8, 'min_size': value}, value == 8) for value in (0, 8)),
        *(({'max_size': value}, value == 8192) for value in (8192, 8200)),
        *(({key: 36}, False) for key in ('size', 'min_size')),
        ({'max_size': 516}, False),
        *(({'multiple': value}, value == 1) for value in (0, 1)),
        ({'multiple': 256, 'size': 256, 'min_size': 256}, True),
        ({'multiple': 257, 'size': 257, 'min_size': 257, 'max_size': 514}, False),
    ],
)
def test_sizes_of_an_input(change: dict[str, int], is_taken: bool) -> None:
    if is_taken:
        assert change.items() <= vars(read_input({**SIZES, **change})).items()
        return
    with pytest.raises(ModelError, match=r'manifest\.input'):
        read_input({**SIZES, **change})


@pytest.mark.parametrize(
    ('side', 'is_taken'), [(0, False), (1, True), (8192, True), (8193, False)]
)
def test_fixed_sizes_of_an_input(side: int, is_taken: bool) -> None:
    for fixed in ([side, 5], [5, side]):
        given = {'fixed': fixed, 'pad_value': 0, 'fit': 'stretch'}
        if not is_taken:
            with pytest.raises(ModelError, match=r'manifest\.input'):
                read_input(given)
            continue
        spec = read_input(given)
        assert (spec.fixed, spec.size, spec.multiple) == (tuple(fixed), max(fixed), 1)
        assert spec.constant_cost
        box = spec.letterbox((48, 64), 0)
        assert box.content_size == box.network_size == tuple(fixed)
    with pytest.raises(ModelError, match='fit'):
        read_input({'fixed': [5, 5], 'pad_value': 0, 'fit': 'crop'})


def test_sides_of_a_scaled_path() -> None:
    spec = read_input(SIZES)
    found = [spec.side(long, scale) for long, scale in
             ((416, 0.5), (64, 0.1), (64, 2.0), (100, 0.99), (64, 1.0))]  # fmt: skip
    assert found == [208, 32, 64, 96, 64]
    # Reduced by up to 4 % more, the image saves a row; on the full path it is not.
    assert spec.letterbox((264, 352), 416, 352 / 416).network_size == (264, 352)
    wide = read_input({**SIZES, 'multiple': 32, 'size': 64})
    assert wide.letterbox((480, 640), 416, 352 / 416).content_size == (256, 341)
    assert wide.letterbox((480, 640), 352).content_size == (264, 352)
