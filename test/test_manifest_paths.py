# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Paths of a model folder: read when they are right, refused with the field's name when not."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from tiny_model import write_tiny_model
from tiny_paths import COSTS, PATHS, POLICY_MACS, policy_net, write_tiny_paths

from mt_perception.errors import ModelError
from mt_perception.model.folder import open_model, read_manifest
from mt_perception.model.paths import FULL
from mt_perception.model.sessions import load_sessions
from mt_perception.pipeline import Pipeline
from mt_perception.planning.path_policy import PolicyNet


def test_a_folder_without_paths_has_one(tmp_path: Path) -> None:
    paths = read_manifest(write_tiny_model(tmp_path)).paths
    assert paths.choices == (FULL,)
    assert paths.variants == ()
    assert paths.policy is None


def test_a_good_folder(tmp_path: Path) -> None:
    model = open_model(write_tiny_paths(tmp_path))
    manifest, paths = model.manifest, model.manifest.paths
    assert tuple(path.name for path in paths.choices) == PATHS
    assert tuple(path.relative_macs for path in paths.choices) == COSTS
    assert paths.choices[1].accuracy['depth'] > paths.choices[0].accuracy['depth']
    (light,) = paths.variants
    assert light.stands_for == 'trunk'
    assert light.outputs == manifest.graph.blocks['trunk'].outputs
    assert light.tensor('s8') == 'trunk/s8'
    assert 'trunk_light' not in manifest.graph.blocks
    assert paths.policy is not None
    assert paths.policy.block.macs == POLICY_MACS
    assert {'trunk_light', 'policy'} <= set(model.contents)
    sessions = load_sessions(model)
    assert 'trunk_light' in sessions.by_block
    assert 'policy' not in sessions.by_block


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    for name in ('trunk_light', 'policy'):
        folder = write_tiny_paths(tmp_path / name)
        (folder / f'{name}.onnx').write_bytes(b'something else')
        with pytest.raises(ModelError, match='sha256'):
            open_model(folder)


def change(place: str, value: Any) -> Any:
    """An edit that sets one field, such as ``paths.1.scale``."""

    def edit(data: Any) -> None:
        *way, last = place.split('.')
        for key in way:
            data = data[int(key) if isinstance(data, list) else key]
        data[int(last) if isinstance(data, list) else last] = value

    return edit


@pytest.mark.parametrize(
    ('place', 'value', 'words'),
    [
        ('variants.trunk_light.of', 'neck', 'blocks are trunk'),
        ('variants.trunk_light.inputs', {'image': 'depth/depth_per_focal'}, 'may read'),
        ('variants.trunk_light.file', '../trunk.onnx', 'leaves the model folder'),
        ('variants.trunk_light.outputs', ['s8'], 'unknown fields: outputs'),
        ('variants.trunk_light.macs', -1, 'out of range'),
        ('variants.trunk', {'of': 'trunk'}, 'that no block has'),
        ('variants.unused', None, 'mapping'),
        ('paths.0.scale', 0.5, "must be 'full'"),
        ('paths.0.name', 'whole', "must be 'full'"),
        ('paths.1.name', 'full', 'different names'),
        ('paths.1.variants', ['trunk_lite'], 'not in manifest.variants'),
        ('paths.1.scale', 1.5, 'scale is out of range'),
        ('paths.1.scale', 0, 'scale is out of range'),
        ('paths.1.relative_macs', float('nan'), 'not finite'),
        ('paths.1.relative_macs', 0.1, 'falling relative_macs'),
        ('paths.1.relative_latency', 0.0, 'out of range'),
        ('paths.1.accuracy', {'detection': 'good'}, 'accuracy.detection'),
        ('paths.1.speed', 3, 'unknown fields: speed'),
        ('policy.size', [12], 'policy.size'),
        ('policy.size', [1, 4000], 'policy.size'),
        ('policy.calibration', {0.5: 0.6, 0.7: 0.3}, 'ascending'),
        ('policy.calibration', {0.5: 2.0}, 'in (0, 1]'),
        ('policy.calibration', {'half': 0.5}, 'in (0, 1]'),
        ('policy.sha256', 'x', 'sha256'),
        ('blocks.policy', None, 'mapping'),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, place: str, value: Any, words: str) -> None:
    folder = write_tiny_paths(tmp_path, edit=change(place, value))
    with pytest.raises(ModelError) as caught:
        read_manifest(folder)
    assert words in str(caught.value)


def test_two_variants_for_one_block(tmp_path: Path) -> None:
    def edit(data: Any) -> None:
        data['variants']['other'] = data['variants']['trunk_light']
        data['paths'][1]['variants'] = ['trunk_light', 'other']

    with pytest.raises(ModelError, match='same block'):
        read_manifest(write_tiny_paths(tmp_path, edit=edit))


def test_a_variant_that_nobody_uses(tmp_path: Path) -> None:
    def edit(data: Any) -> None:
        data['variants']['other'] = data['variants']['trunk_light']

    with pytest.raises(ModelError, match='no path uses other'):
        read_manifest(write_tiny_paths(tmp_path, edit=edit))


def test_a_policy_for_another_number_of_paths(tmp_path: Path) -> None:
    def edit(data: Any) -> None:
        content = policy_net(paths=2).SerializeToString()
        (tmp_path / 'policy.onnx').write_bytes(content)
        data['policy']['sha256'] = hashlib.sha256(content).hexdigest()

    folder = write_tiny_paths(tmp_path, edit=edit)
    with pytest.raises(ModelError, match=r'expected \(1, 3\)'):
        Pipeline.load(folder)


def test_a_policy_with_other_inputs(tmp_path: Path) -> None:
    def edit(data: Any) -> None:
        data['policy'] |= {k: data['blocks']['depth'][k] for k in ('file', 'sha256')}

    with pytest.raises(ModelError, match='expected image, tasks, budget'):
        PolicyNet(open_model(write_tiny_paths(tmp_path, edit=edit)))
