# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Model folders: read when every byte is right, refused for every way to be wrong."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tiny_model import tiny_blocks, write_tiny_model

from mt_perception.errors import ModelError
from mt_perception.model.folder import open_model, read_manifest
from mt_perception.model.sessions import load_sessions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / 'tiny')


def refused(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        open_model(folder)
    return str(caught.value)


def test_a_good_folder(folder: Path) -> None:
    model = open_model(str(folder))
    assert model.contents['depth'] == (folder / 'depth.onnx').read_bytes()
    assert read_manifest(folder).name == model.manifest.name == 'tiny'


def test_a_folder_made_of_links_as_colcon_installs_it(folder: Path, tmp_path: Path) -> None:
    installed = tmp_path / 'share' / 'tiny'
    installed.mkdir(parents=True)
    for file in folder.iterdir():
        (installed / file.name).symlink_to(file)
    assert open_model(installed).manifest.name == 'tiny'
    whole = tmp_path / 'latest'
    whole.symlink_to(folder)
    assert open_model(whole).manifest.name == 'tiny'


def test_a_changed_file(folder: Path) -> None:
    file = folder / 'depth.onnx'
    file.write_bytes(file.read_bytes()[:-1] + b'x')
    assert 'sha256' in refused(folder)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])


def _empty(file: Path) -> None:
    file.write_bytes(b'')


def _directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


def _outside(file: Path) -> None:
    """The very same bytes, but elsewhere."""
    shutil.move(file, file.parent.parent / 'elsewhere')
    file.symlink_to(file.parent.parent / 'elsewhere')


def _huge(file: Path) -> None:
    with file.open('wb') as stream:
        stream.truncate(1 << 40)  # Sparse: takes no space, but would take memory.


@pytest.mark.parametrize('name', ['depth.onnx', 'manifest.yaml'])
@pytest.mark.parametrize('damage', [_cut, _empty, Path.unlink, _directory, _pipe, _loop, _huge])
def test_damaged_files(folder: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(folder / name)
    assert refused(folder)


def test_a_link_out_of_the_folder(folder: Path) -> None:
    _outside(folder / 'depth.onnx')
    assert 'leaves the model folder' in refused(folder)


def test_what_is_no_folder(tmp_path: Path, folder: Path) -> None:
    assert 'is this a model folder?' in refused(tmp_path / 'missing')
    assert 'is this a model folder?' in refused(folder / 'depth.onnx')
    assert refused(Path('nul\0byte'))
    (folder / 'manifest.yaml').write_bytes(b'\xff\xfe\x00')
    assert 'UTF-8' in refused(folder)


@pytest.mark.parametrize(
    'location', ['../../x', '/etc/passwd', 'weights.bin', '*/_ORT_MEM_ADDR_/*']
)
def test_weights_outside_the_graph(tmp_path: Path, location: str) -> None:
    proto = tiny_blocks()['depth']
    tensor = proto.graph.initializer[0]
    tensor.ClearField('raw_data')
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value=location)
    assert 'another file' in refused(write_tiny_model(tmp_path, replace={'depth': proto}))


def test_weights_outside_a_nested_graph(tmp_path: Path) -> None:
    """The tensor hides in a branch of an If."""
    value = helper.make_tensor('v', TensorProto.FLOAT, [1], np.ones(1, np.float32))
    value.ClearField('float_data')
    value.data_location = TensorProto.EXTERNAL
    value.external_data.add(key='location', value='../../x')
    branch = helper.make_graph(
        [helper.make_node('Constant', [], ['o'], value=value)],
        'branch',
        [],
        [helper.make_tensor_value_info('o', TensorProto.FLOAT, [1])],
    )
    proto = tiny_blocks()['depth']
    proto.graph.node.append(
        helper.make_node('If', ['c'], ['o'], then_branch=branch, else_branch=branch)
    )
    assert 'another file' in refused(write_tiny_model(tmp_path, replace={'depth': proto}))


def test_weights_outside_under_an_unusual_spelling(tmp_path: Path) -> None:
    """Protobuf lets a length of 8 be written in more than one byte."""
    folder = write_tiny_model(tmp_path)
    entry = b'\x0a\x88\x80\x00location\x12\x01x'
    content = (folder / 'depth.onnx').read_bytes() + entry
    (folder / 'depth.onnx').write_bytes(content)
    manifest = (folder / 'manifest.yaml').read_text()
    old = hashlib.sha256(content[: -len(entry)]).hexdigest()
    new = hashlib.sha256(content).hexdigest()
    (folder / 'manifest.yaml').write_text(manifest.replace(old, new))
    assert 'another file' in refused(folder)


def test_a_tensor_whose_name_only_contains_location_is_fine(tmp_path: Path) -> None:
    proto = tiny_blocks()['depth']
    onnx.helper.set_model_props(proto, {'where': 'locations', 'camera_location': 'x'})
    assert open_model(write_tiny_model(tmp_path, replace={'depth': proto}))


class _Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, ...]]:
        return os.mkdir, (str(self.target),)


def test_a_pickle_is_never_opened(folder: Path, tmp_path: Path) -> None:
    """Neither as a block nor as a manifest, even with the right checksum."""
    target = tmp_path / 'written'
    content = pickle.dumps(_Bomb(target))
    manifest = (folder / 'manifest.yaml').read_text()
    old = hashlib.sha256((folder / 'depth.onnx').read_bytes()).hexdigest()
    (folder / 'manifest.yaml').write_text(
        manifest.replace(old, hashlib.sha256(content).hexdigest())
    )
    (folder / 'depth.onnx').write_bytes(content)
    model = open_model(folder)
    with pytest.raises(ModelError, match="block 'depth' is refused"):
        load_sessions(model)
    (folder / 'manifest.yaml').write_bytes(content)
    assert refused(folder)
    assert not target.exists()
