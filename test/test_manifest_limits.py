# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Both sides of the limits of a manifest's sections, on plain data without files."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from mt_perception.errors import ModelError
from mt_perception.model.early_exit import NO_EXITS, EarlyExit
from mt_perception.model.external_data import has_external_data
from mt_perception.model.fields import Fields, all_of, is_name, names, strings
from mt_perception.model.manifest import Manifest, build_manifest
from mt_perception.model.paths import MAX_PATHS, Paths
from mt_perception.model.split import parse_cut
from mt_perception.model.task_graph import IMAGE, Block, TaskGraph

SHA = '0a' * 32


def block(inputs: dict[str, str], *outputs: str, macs: int = 5) -> dict[str, Any]:
    return {
        'file': 'a.onnx', 'sha256': SHA, 'inputs': inputs, 'outputs': list(outputs), 'macs': macs,
        'parameters': 0, 'skippable': False,
    }  # fmt: skip


def of_block(original: str, inputs: dict[str, str]) -> dict[str, Any]:
    row = block(inputs)
    del row['outputs'], row['skippable']
    return {'of': original, **row}


def path(name: str, macs: float, **fields: Any) -> dict[str, Any]:
    return {
        'name': name, 'variants': [], 'scale': 1.0, 'relative_macs': macs, 'relative_latency': 1.0,
        'accuracy': {}, **fields,
    }  # fmt: skip


def gate(*tensors: str) -> dict[str, Any]:
    row = block({f'x{i}': tensor for i, tensor in enumerate(tensors)})
    del row['outputs'], row['skippable']
    return row


def manifest() -> dict[str, Any]:
    """Depth with an early output and segmentation, two variants, paths, a policy and a cut."""
    return {
        'format': 1, 'name': 'm', 'version': '1', 'licence': 'MIT', 'description': '',
        'input': {'size': 64, 'min_size': 32, 'max_size': 96, 'multiple': 32, 'pad_value': 7},
        'reference_size': [40, 60],
        'blocks': {
            'trunk': block({'x': IMAGE}, 's4', 's8'),
            'first': block({'x': 'trunk/s4'}, 'map'),
            'second': block({'x': 'trunk/s8', 'y': 'first/map'}, 'map'),
            'masks': block({'x': 'trunk/s8'}, 'ids', 'logits'),
        },
        'tasks': {
            'depth': {'kind': 'depth', 'outputs': {'depth': 'second/map'},
                      'early': {'depth': 'first/map'}, 'labels': []},
            'segmentation': {'kind': 'segmentation', 'outputs': {'class_ids': 'masks/ids'},
                             'labels': ['a', 'b'], 'confidence': {'logits': 'masks/logits'}},
        },
        'accuracy': [],
        'variants': {'light': of_block('trunk', {'x': IMAGE}),
                     'thin': of_block('second', {'z': 'first/map'})},
        'paths': [path('full', 1.0), path('first', 0.8, early=True),
                  path('small', 0.3, variants=['light', 'thin'], scale=0.5)],
        'policy': {'file': 'p.onnx', 'sha256': SHA, 'macs': 1, 'parameters': 1, 'size': [8, 512],
                   'calibration': {0.5: 0.25, 1: 1}},
        'early_exit': {'gates': {'depth': gate('first/map', 'trunk/s8')},
                       'thresholds': {0.4: 3.0, 0.8: 1.0}},
        'cut': {
            'encoder': block({'x': IMAGE}, 'latent'),
            'tables': {'file': 't.json', 'sha256': SHA},
            'remote': {'second': block({'z': 'latent'}, 'map'),
                       'masks': block({'z': 'latent'}, 'ids')},
            'rates': [{'payload_bytes': 0, 'accuracy': {'depth': 0.1}}],
            'channels': 3, 'stride': 8,
        },
    }  # fmt: skip


def with_value(place: str, value: Any) -> dict[str, Any]:
    data: Any = manifest()
    node = data
    *way, last = place.split('.')
    for key in way:
        node = node[int(key)] if isinstance(node, list) else node[key]
    node[int(last) if isinstance(node, list) else last] = value
    return dict(data)


def test_a_whole_manifest() -> None:
    found = build_manifest(manifest())
    assert [one.name for one in found.session_blocks] == [
        'trunk', 'first', 'second', 'masks', 'light', 'thin', 'gate_depth',
    ]  # fmt: skip
    assert set(found.files) == {
        *('trunk', 'first', 'second', 'masks', 'light', 'thin', 'policy', 'gate_depth'),
    }
    assert found.logits == {'masks/logits'}
    assert found.early_tasks['depth'].outputs == {'depth': 'first/map'}
    assert found.early_tasks['segmentation'] == found.tasks['segmentation']
    assert not found.tasks['depth'].relative_depth
    assert found.paths.first_stage == 1
    assert [one.stands_for for one in found.paths.variants] == ['trunk', 'second']
    assert found.paths.policy is not None
    assert found.paths.policy.size == (8, 512)
    assert found.paths.policy.calibration == ((0.5, 0.25), (1.0, 1.0))
    assert found.paths.policy.block.outputs == ('scores',)
    assert found.early_exit.gates['depth'].outputs == ('gain',)
    assert found.cut is not None
    assert found.cut.latent_shape((64, 95)) == (3, 8, 11)
    assert len(found.cut.digest) == 16
    spec = found.tasks['segmentation'].confidence
    assert spec is not None
    assert (spec.slope, spec.offset) == (1.0, 0.0)


def test_macs_of_another_size() -> None:
    found = build_manifest(manifest())
    assert found.macs_at(1000, (20, 90)) == 750
    assert found.macs_at(1000, (80, 60)) == 2000
    data = manifest()
    data['input']['constant_cost'] = True
    assert build_manifest(data).macs_at(1000, (20, 90)) == 1000


def test_gains_between_budgets_are_interpolated() -> None:
    exits = build_manifest(manifest()).early_exit
    assert [exits.threshold(b) for b in (0.1, 0.4, 0.6, 0.8, 1.0)] == pytest.approx(
        [3.0, 3.0, 2.0, 1.0, 1.0]
    )
    assert EarlyExit() == NO_EXITS


@pytest.mark.parametrize(
    ('place', 'value'),
    [
        ('reference_size', [1, 65536]),
        ('blocks.trunk.macs', 0),
        ('tasks.segmentation.labels', [str(i) for i in range(255)]),
        ('tasks.segmentation.confidence', {'logits': 'masks/ids', 'slope': 0.0, 'offset': -99.9}),
        ('tasks.segmentation.confidence', {'logits': 'masks/logits', 'slope': 99, 'offset': 99.9}),
        ('paths.2.scale', 1.0),
        ('paths.2.scale', 1e-9),
        ('paths.2.relative_macs', 0.8),
        ('paths.2.relative_macs', 1e-9),
        ('paths.2.relative_latency', 2.0),
        ('paths.2.relative_latency', 1e-9),
        ('paths.0.relative_latency', 0.9),
        ('paths.0.accuracy', {'depth': 0.5}),
        ('paths.2.accuracy', {'depth': 0.0, 'x': 999_999.0}),
        ('policy.size', [512, 8]),
        ('policy.calibration', {0.5: 0.5, 0.6: 0.5}),
        ('early_exit.thresholds', {1.0: -1.0}),
        ('early_exit.thresholds', {0.1: 1.0, 0.2: 1.0}),
        ('cut.channels', 1),
        ('cut.channels', 4096),
        ('cut.stride', 1),
        ('cut.stride', 256),
        ('cut.rates', [{'payload_bytes': 1, 'accuracy': {}}] * 255),
        ('paths', [path('full', 1.0), path('first', 0.8, early=True),
                   *(path(f'p{i}', 0.5, variants=['light', 'thin']) for i in range(14))]),
    ],
)  # fmt: skip
def test_what_is_taken(place: str, value: Any) -> None:
    assert isinstance(build_manifest(with_value(place, value)), Manifest)


@pytest.mark.parametrize(
    ('place', 'value', 'says'),
    [
        ('reference_size', [1, 65537], 'reference_size'),
        ('reference_size', [0, 5], 'reference_size'),
        ('blocks.trunk.macs', -1, 'macs is out of range'),
        ('blocks.trunk.parameters', -1, 'parameters is out of range'),
        ('blocks.trunk.sha256', SHA.upper(), 'sha256'),
        ('blocks.trunk.file', '', 'leaves the model folder'),
        ('blocks.gate_depth', block({'x': IMAGE}, 'y'), 'already has the name'),
        ('blocks.policy', block({'x': IMAGE}, 'y'), "'policy' is taken by a block"),
        ('variants.policy', of_block('trunk', {'x': IMAGE}), r'taken by|no path uses policy'),
        ('tasks.segmentation.labels', [str(i) for i in range(256)], 'other tasks 1 to 255'),
        ('tasks.depth.labels', ['a'], 'depth has none'),
        ('tasks.segmentation.confidence.logits', 'first/map', 'expected one of masks/ids, masks'),
        ('tasks.segmentation.confidence.slope', 100.0, 'slope is out of range'),
        ('tasks.segmentation.confidence.slope', -0.1, 'slope is out of range'),
        ('tasks.segmentation.confidence.offset', 100.0, 'offset is out of range'),
        ('tasks.segmentation.confidence.offset', -100.0, 'offset is out of range'),
        ('tasks.segmentation.early', {'x': 'masks/ids'}, 'early must name exactly: class_ids'),
        ('paths.2.scale', 0.0, 'scale is out of range'),
        ('paths.2.scale', 1.1, 'scale is out of range'),
        ('paths.2.relative_macs', 0.0, 'relative_macs is out of range'),
        ('paths.2.relative_macs', 0.81, 'falling relative_macs'),
        ('paths.2.relative_latency', 0.0, 'relative_latency is out of range'),
        ('paths.2.relative_latency', 2.1, 'relative_latency is out of range'),
        ('paths.2.accuracy', {'depth': -0.1}, 'accuracy.depth is out of range'),
        ('paths.2.accuracy', {'depth': 1e6}, 'accuracy.depth is out of range'),
        ('paths.2.name', 'first', 'different names'),
        ('paths.2.variants', ['light'], 'no path uses thin'),
        ('paths.2.variants', ['light', 'dark'], "'dark' is not in manifest.variants"),
        ('paths.0', path('full', 0.9), "must be 'full'"),
        ('paths.0', path('full', 1.0, early=True), "must be 'full'"),
        ('paths.1.early', False, 'lacks the path of closed gates'),
        ('paths.1.scale', 0.9, 'lacks the path of closed gates'),
        ('paths.1.variants', ['light'], 'lacks the path of closed gates'),
        ('variants.light.of', 'neck', 'blocks are trunk, first, second, masks'),
        ('variants.thin.inputs', {'x': 'trunk/s4'}, 'may read only .*: first/map, trunk/s8'),
        ('variants.light.surprise', 1, 'unknown fields: surprise'),
        ('policy.size', [7, 512], 'policy.size'),
        ('policy.size', [8, 513], 'policy.size'),
        ('policy.surprise', 1, 'unknown fields: surprise'),
        ('policy.calibration', {0.0: 0.5}, 'calibration must map'),
        ('policy.calibration', {0.5: 1.01}, 'calibration must map'),
        ('policy.calibration', {0.5: 0.5, 'a': 0.5}, 'calibration must map'),
        ('policy.calibration', {0.5: 0.6, 0.6: 0.5}, 'calibration must map'),
        ('early_exit.thresholds', {0.0: 1.0}, 'thresholds must map'),
        ('early_exit.thresholds', {1.01: 1.0}, 'thresholds must map'),
        ('early_exit.thresholds', {0.5: 'x'}, 'thresholds must map'),
        ('early_exit.thresholds', {0.5: float('inf')}, 'thresholds must map'),
        ('early_exit.thresholds', {0.5: 1.0, 0.6: 2.0}, 'thresholds must map'),
        ('early_exit.gates', {}, 'gates is out of range'),
        ('early_exit.gates.segmentation', gate('trunk/s8'), 'not a task with early outputs'),
        ('early_exit.gates.walls', gate('trunk/s8'), "'walls' is not a task"),
        ('early_exit.gates.depth', gate('second/map'), "not compute 'second/map'; it computes f"),
        ('cut.channels', 0, 'channels'),
        ('cut.channels', 4097, 'channels'),
        ('cut.stride', 257, 'stride'),
        ('cut.rates', [{'payload_bytes': -1, 'accuracy': {}}], r'rates\[0\].payload_bytes'),
        ('cut.rates', [{'payload_bytes': 1, 'accuracy': {}}] * 256, 'rates is out of range'),
        ('cut.rates', [{'payload_bytes': 1, 'accuracy': {}, 'x': 1}], r'\[0\] has unknown fields'),
        ('cut.tables.x', 1, 'tables has unknown fields: x'),
        ('cut.encoder', block({'x': 'trunk/s4'}, 'latent'), "encoder must read 'image' and ret"),
        ('cut.encoder', block({'x': IMAGE}, 'latent', 'more'), "encoder must read 'image'"),
        ('cut.remote', {'masks': block({'z': 'latent'}, 'ids')}, "'second/map', which no block"),
        ('tasks.' + 'a' * 33, {}, 'lower-case letters'),
        ('accuracy', [{'task': '', 'metric': 'm', 'value': 1, 'data': 'd'}], 'task is out of'),
        ('accuracy', [{'task': 't', 'metric': 'm', 'value': 1, 'data': 'd', 'x': 1}], 'unknown'),
    ],
)  # fmt: skip
def test_what_is_refused(place: str, value: Any, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        build_manifest(with_value(place, value))


def test_paths_are_at_most_sixteen_and_of_different_blocks() -> None:
    assert MAX_PATHS == 16
    data = manifest()
    data['paths'] += [path(f'p{i}', 0.3) for i in range(13)]
    assert len(build_manifest(data).paths.choices) == 16
    data['paths'].append(path('one', 0.3))
    with pytest.raises(ModelError, match='at most 16 paths'):
        build_manifest(data)
    data = manifest()
    data['variants']['other'] = copy.deepcopy(data['variants']['light'])
    data['paths'][2]['variants'] = ['light', 'other']
    with pytest.raises(ModelError, match='two variants replace the same block'):
        build_manifest(data)
    data = manifest()
    data['input'] = {'fixed': [32, 64], 'pad_value': 0}
    with pytest.raises(ModelError, match='fixed input size has no path with a scale'):
        build_manifest(data)
    del data['variants'], data['paths'][2]
    assert build_manifest(data).input.fixed == (32, 64)
    assert Paths((build_manifest(data).paths.choices[0],)).first_stage is None


def test_sections_that_are_left_out() -> None:
    data = manifest()
    for section in ('variants', 'paths', 'policy', 'early_exit', 'cut'):
        del data[section]
    del data['tasks']['depth']['early']
    found = build_manifest(data)
    assert (found.paths.policy, found.cut, found.early_exit) == (None, None, NO_EXITS)
    assert [one.name for one in found.paths.choices] == ['full']
    assert parse_cut({}, {}) is None
    data['tasks'] = {}
    with pytest.raises(ModelError, match='tasks is empty'):
        build_manifest(data)
    with pytest.raises(ModelError, match='format is 2, this mt_perception reads 1'):
        build_manifest({**data, 'format': 2})


def test_fields() -> None:
    fields = Fields({'a': 1, 'b': True, 'c': 'x', 'd': [3, 9], 'e': 0.5, 'f': 'y'}, 'here')
    assert 'a' in fields
    assert fields.take('a', float) == 1.0
    assert 'a' not in fields
    with pytest.raises(ModelError, match=r'here\.a is missing'):
        fields.take('a', float)
    for kind in (int, float, str):
        copied = Fields({'b': True}, 'here')
        with pytest.raises(ModelError, match=f'here.b must be of type {kind.__name__}'):
            copied.take('b', kind)
    assert fields.take('b', bool) is True
    assert fields.take_or('missing', 7) == 7
    assert fields.take_or('c', 'z') == 'x'
    with pytest.raises(ModelError, match=r'here\.e is out of range: 0\.5'):
        fields.take_or('e', 1.0, lambda value: value > 1)
    fields.finish(later=('d', 'f'))
    with pytest.raises(ModelError, match='here has unknown fields: d, f'):
        fields.finish()
    assert fields.take_size('d', 3, 9) == (3, 9)
    for wrong in ([2, 9], [3, 10], [3], [3, 4, 5], [3, True], [3, 4.0], [3, 4, 'x']):
        with pytest.raises(ModelError, match=r'must be \[height, width\], 3 to 9 pixels each'):
            Fields({'d': wrong}, 'here').take_size('d', 3, 9)
    with pytest.raises(ModelError, match='here must be a mapping, found list'):
        Fields([], 'here')
    long = Fields({'a': 'x' * 99}, 'here')
    with pytest.raises(ModelError, match=f"found str '{'x' * 59}$"):
        long.take('a', int)


def test_problems_are_collected() -> None:
    def fails(*problems: str) -> Callable[[], int]:
        def read() -> int:
            raise ModelError(*problems)

        return read

    assert all_of([lambda: 1, lambda: 2]) == [1, 2]
    with pytest.raises(ModelError) as caught:
        all_of([fails('a'), lambda: 1, fails('b', 'c')])
    assert tuple(caught.value.problems) == ('a', 'b', 'c')


def test_names_of_things() -> None:
    assert is_name('a' * 64)
    assert all(map(is_name, ('a', '0', 'A_b.c-9')))
    assert not any(map(is_name, ('', 'a' * 65, '_a', '.a', 'a b', 'a\n')))
    assert names(['b', 'a'], 'here') == ('b', 'a')
    for wrong in (['a', 'a'], ['a', ''], ['a', 1]):
        with pytest.raises(ModelError, match='here must be a list of different'):
            names(wrong, 'here')
    assert strings({'a': 'b'}, 'here') == {'a': 'b'}
    for mapping in ({}, {'a': 1}, {1: 'a', 'b': 'c'}):
        with pytest.raises(ModelError, match='here must map names to tensors'):
            strings(mapping, 'here')


def test_blocks_are_sorted_as_they_were_given() -> None:
    """Among those that can run, the first listed comes first."""
    rows = [('d', 'b/o'), ('c', IMAGE), ('b', IMAGE), ('a', 'c/o')]
    blocks = [Block(name, {'x': tensor}, ('o',), 1, 1) for name, tensor in rows]
    graph = TaskGraph(blocks, {'t': ['d/o', IMAGE], 'u': ['a/o']})
    assert list(graph.blocks) == ['c', 'b', 'd', 'a']
    assert [one.name for one in graph.blocks_for(['u', 't'])] == ['c', 'b', 'd', 'a']
    assert [one.name for one in graph.ancestors(['d/o'])] == ['b', 'd']
    latent = TaskGraph([Block('a', {'x': 'latent'}, ('o',), 1, 1)], {'t': ['a/o']}, 'latent')
    assert [one.name for one in latent.ancestors(['a/o', 'latent'])] == ['a']
    with pytest.raises(ModelError, match="'latent' is used twice"):
        TaskGraph([Block('latent', {'x': 'latent'}, ('o',), 1, 1)], {}, 'latent')


def nested(depth: int, inner: bytes) -> bytes:
    """A tensor of a graph of an attribute of a node, as deep as the messages are."""
    content, tags = inner, [b'\x0a', b'\x2a', b'\x32']  # Graph.node, Node.attribute, Attribute.g
    for level in range(depth - 1):
        size = len(content)
        length = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
        content = tags[(depth - 2 - level) % 3] + length + content
    size = len(content)
    return b'\x3a' + bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14]) + content


def test_the_search_for_external_data() -> None:
    """Messages are nested to 100 levels, and an integer has at most ten bytes."""
    key = b'\x08location'
    assert not has_external_data(nested(100, b'') + key[:0])
    # Field 19 of no message holds the key, so that the walk begins.
    start = b'\x9a\x01' + bytes([len(key)]) + key
    assert not has_external_data(start)
    assert not has_external_data(start + nested(100, b''))
    with pytest.raises(ValueError, match='deeper than 100'):
        has_external_data(start + nested(101, b''))
    for field in (b'\x08' + b'\xff' * 9 + b'\x01', b'\x09' + bytes(8), b'\x0d' + bytes(4), b''):
        assert not has_external_data(start + field)
    for wrong, says in (
        (b'\x08' + b'\xff' * 10 + b'\x01', 'longer than 10 bytes'),
        (b'\x08\xff', 'cut off'),
        (b'\x09' + bytes(7), 'a field of 8 bytes'),
        (b'\x0d' + bytes(3), 'a field of 4 bytes'),
        (b'\x0a\x02\x01', 'a field of 2 bytes'),
        (b'\x0b', 'wire type 3'),
        (b'\x0e', 'wire type 6'),
    ):
        with pytest.raises(ValueError, match=says):
            has_external_data(start + wrong)
    # A location of 0 is inside the file, 1 is outside of it.
    for tensor, outside in ((b'\x70\x00', False), (b'\x70\x01', True), (b'\x6a\x00', True)):
        graph = b'\x2a' + bytes([len(tensor)]) + tensor
        model = start + b'\x3a' + bytes([len(graph)]) + graph
        assert has_external_data(model) == outside
