# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Model folders: read when every byte is right, refused for every way to be wrong."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tiny_model import tiny_blocks, write_tiny_model

from mt_perception.errors import ModelError
from mt_perception.model.external_data import has_external_data
from mt_perception.model.folder import (
    open_model,
    read_manifest,
    read_manifest_data,
    write_manifest_data,
)
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


def test_a_new_manifest_replaces_no_other_file(folder: Path) -> None:
    (folder / 'manifest.yaml.part').write_text('mine')
    names = sorted(path.name for path in folder.iterdir())
    data = read_manifest_data(folder)
    data['version'] = '9.9.9'
    write_manifest_data(folder, data)
    assert (folder / 'manifest.yaml.part').read_text() == 'mine'
    assert sorted(path.name for path in folder.iterdir()) == names
    assert read_manifest(folder).version == '9.9.9'


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


def field(number: int, content: bytes, pad: int = 0) -> bytes:
    """A protobuf field of bytes; ``pad`` adds zero bytes to its length, which readers accept."""
    size = len(content)
    assert size < 128
    padded = bytes([size]) if not pad else bytes([size | 0x80, *[0x80] * (pad - 1), 0])
    tag = number << 3 | 2
    return (bytes([tag]) if tag < 128 else bytes([tag & 127 | 128, tag >> 7])) + padded + content


def with_content(folder: Path, content: bytes) -> Path:
    """Replace the file of the depth block, with the right checksum."""
    file, manifest = folder / 'depth.onnx', folder / 'manifest.yaml'
    old = hashlib.sha256(file.read_bytes()).hexdigest()
    file.write_bytes(content)
    manifest.write_text(
        manifest.read_text().replace(old, hashlib.sha256(content).hexdigest()), 'utf-8'
    )
    return folder


@pytest.mark.parametrize('pad', [0, 1, 3])
@pytest.mark.parametrize(
    'place',
    [
        *('initializer', 'sparse', 'sparse indices', 'attribute', 'attributes', 'graph', 'graphs'),
        *('sparse attribute', 'sparse attributes', 'function', 'default', 'training', 'algorithm'),
    ],
)
def test_weights_outside_in_every_place_and_spelling(folder: Path, pad: int, place: str) -> None:
    """Protobuf lets a length be written in more bytes than it needs."""
    tensor = field(13, field(1, b'location', pad) + field(2, b'x', pad), pad)
    attribute = field(5, tensor, pad)
    content = {
        'initializer': field(7, field(5, tensor, pad), pad),
        'sparse': field(7, field(15, field(2, tensor, pad)), pad),
        'sparse indices': field(7, field(15, field(1, tensor, pad)), pad),
        'attribute': field(7, field(1, field(5, attribute, pad)), pad),
        'attributes': field(7, field(1, field(5, field(10, tensor, pad))), pad),
        'sparse attribute': field(7, field(1, field(5, field(22, field(1, tensor)))), pad),
        'sparse attributes': field(7, field(1, field(5, field(23, field(2, tensor)))), pad),
        'graph': field(7, field(1, field(5, field(6, field(5, tensor)))), pad),
        'graphs': field(7, field(1, field(5, field(11, field(5, tensor)))), pad),
        'function': field(25, field(7, field(5, attribute)), pad),
        'default': field(25, field(11, attribute), pad),
        'training': field(20, field(1, field(5, tensor)), pad),
        'algorithm': field(20, field(2, field(5, tensor)), pad),
    }[place]
    whole = (folder / 'depth.onnx').read_bytes() + content
    assert 'another file' in refused(with_content(folder, whole))


def test_a_tensor_that_says_external_without_a_file(folder: Path) -> None:
    tensor = b'\x70\x01' + field(12, b'location')
    whole = (folder / 'depth.onnx').read_bytes() + field(7, field(5, tensor))
    assert 'another file' in refused(with_content(folder, whole))


def test_a_tensor_called_location_is_fine(tmp_path: Path) -> None:
    """SSD has an output of that name; properties and documentation may say it too."""
    proto = tiny_blocks()['depth']
    proto.graph.node[0].output[0] = proto.graph.node[1].input[0] = 'location'
    proto.graph.node[0].name = proto.doc_string = 'location'
    proto.graph.initializer[0].name = proto.graph.node[0].input[1] = 'location'
    onnx.helper.set_model_props(proto, {'location': 'location'})
    proto.graph.node[0].output[0] = proto.graph.node[1].input[0] = 'map'
    content = proto.SerializeToString()
    assert b'\x08location' in content
    load_sessions(open_model(write_tiny_model(tmp_path, replace={'depth': proto})))


@pytest.mark.parametrize(
    'content',
    [
        b'\x0a\x08location\xff',
        b'\x3a\x7f\x52\x08location',
        b'\x3a\x0a\x0a\x08location' * 3 + b'\x3b',
        field(7, b'\x0b' + field(1, b'location')),
        b'\xff' * 11 + b'\x08location',
    ],
)
def test_what_is_no_protobuf(folder: Path, content: bytes) -> None:
    assert 'not an ONNX file' in refused(with_content(folder, content))


def test_graphs_within_graphs_without_end(folder: Path) -> None:
    content = b'\x0a\x08location'
    for _ in range(60):
        size = bytes([len(content) & 0x7F | 0x80, len(content) >> 7])
        content = b'\x32' + size + content
        size = bytes([len(content) & 0x7F | 0x80, len(content) >> 7])
        content = b'\x2a' + size + content
        size = bytes([len(content) & 0x7F | 0x80, len(content) >> 7])
        content = b'\x0a' + size + content
    size = bytes([len(content) & 0x7F | 0x80, len(content) >> 7])
    assert 'nested deeper' in refused(with_content(folder, b'\x3a' + size + content))


def test_the_format_of_onnx_runtime_is_refused(folder: Path) -> None:
    assert 'one ONNX file' in refused(with_content(folder, b'\x00\x00\x00\x00ORTM' + b'x' * 99))


@given(st.binary(max_size=60), st.sampled_from([b'\x08location', b'\x88\x00location']))
def test_the_search_for_external_data_ends_with_an_answer(noise: bytes, key: bytes) -> None:
    for content in (noise + key, key + noise, field(7, field(5, noise[:40] + key)) + noise):
        with contextlib.suppress(ValueError):
            has_external_data(content)


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
