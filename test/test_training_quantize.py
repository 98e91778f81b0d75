# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip('torch')
onnx = pytest.importorskip('onnx')

import tiny_data
from click.testing import CliRunner
from test_training_own_data import documented_recipe, own_data

from mt_perception.cli.quantize import quantize
from mt_perception.errors import ModelError
from mt_perception.execution.options import Options
from mt_perception.pipeline import Pipeline
from mt_perception.training.export.quantization import (
    Quantisation,
    latencies_ms,
    quantize_folder,
    quantized_nodes,
)
from mt_perception.types import Frame

MODEL = Path(__file__).parent.parent / 'models' / 'cspnano'
RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, (120, 160, 3), np.uint8) for _ in range(2)]


@pytest.fixture(scope='module')
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('models') / 'small'
    quantize_folder(MODEL, folder, IMAGES, Quantisation(('depth',)))
    return folder


def graph(name: str):  # type: ignore[no-untyped-def]
    return onnx.load(MODEL / f'{name}.onnx').graph


def test_what_follows_the_last_convolution_stays_in_floats() -> None:
    for name in ('detection', 'segmentation', 'depth'):
        nodes = {node.name: node for node in graph(name).node}
        chosen = quantized_nodes(graph(name), float_stem=True)
        assert chosen
        kinds = {nodes[n].op_type for n in chosen}
        assert kinds <= {'Conv', 'Sigmoid', 'Mul', 'Add', 'Concat', 'MaxPool', 'Relu'}
        left = [n for n in nodes.values() if n.op_type == 'Conv' and n.name not in chosen]
        made = {output for node in left for output in node.output}
        readers = [n for n in nodes.values() if set(n.input) & made]
        assert left, 'the predicting convolution'
        assert not [n for n in readers if n.op_type == 'Conv']


def test_the_stem_and_named_parts_stay_in_floats() -> None:
    trunk = graph('trunk')
    everything = quantized_nodes(trunk, float_stem=False)
    without = quantized_nodes(trunk, float_stem=True)
    stem = sorted(set(everything) - set(without))
    assert {n.op_type for n in trunk.node if n.name in stem} == {'Conv', 'Sigmoid', 'Mul'}
    assert all('/stem/' in name for name in stem)
    parts = quantized_nodes(trunk, True, ('trunk.stage2', 'trunk.stage3.0'))
    gone = set(without) - set(parts)
    assert gone
    assert all(n.startswith(('/trunk/stage2/', '/trunk/stage3/stage3.0/')) for n in gone)


def test_the_folder_loads_and_says_what_it_is(quantised: Path) -> None:
    manifest = yaml.safe_load((quantised / 'manifest.yaml').read_text())
    assert manifest['name'] == 'small'
    assert manifest['accuracy'] == [], 'it was measured on the floats'
    assert not {'variants', 'paths', 'policy', 'cut'} & manifest.keys()
    operators = {node.op_type for node in onnx.load(quantised / 'depth.onnx').graph.node}
    assert {'QuantizeLinear', 'DequantizeLinear'} <= operators
    for name in ('trunk', 'detection', 'segmentation'):
        assert (quantised / f'{name}.onnx').read_bytes() == (MODEL / f'{name}.onnx').read_bytes()
    assert (quantised / 'depth.onnx').stat().st_size < (MODEL / 'depth.onnx').stat().st_size / 2


def test_eight_bits_are_close_and_leave_the_rest_alone(quantised: Path) -> None:
    results = []
    for folder in (MODEL, quantised):
        pipeline = Pipeline.load(folder, options=Options(size=160))
        results.append(pipeline.run(Frame(IMAGES[0])))
    floats, small = results
    assert floats.segmentation is not None
    assert small.segmentation is not None
    np.testing.assert_array_equal(floats.segmentation.class_ids, small.segmentation.class_ids)
    assert floats.depth is not None
    assert small.depth is not None
    error = np.abs(small.depth.depth / floats.depth.depth - 1)
    assert 0 < np.nanmedian(error) < 0.1


def test_blocks_are_timed_turn_by_turn(quantised: Path) -> None:
    pipelines = [Pipeline.load(folder, options=Options(size=160)) for folder in (MODEL, quantised)]
    times = latencies_ms(pipelines[0], pipelines[1])
    assert set(times) == {'trunk', 'detection', 'segmentation', 'depth', 'all blocks'}
    assert all(first > 0 and second > 0 for first, second in times.values())


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no blocks \['wings'\]"):
        quantize_folder(MODEL, tmp_path / 'a', IMAGES, Quantisation(('wings',)))
    with pytest.raises(ModelError, match='choose another folder'):
        quantize_folder(MODEL, MODEL, IMAGES, Quantisation(('depth',)))
    with pytest.raises(ModelError, match='no calibration images'):
        quantize_folder(MODEL, tmp_path / 'a', [], Quantisation(('depth',)))


def test_what_it_costs_and_brings_is_printed(tmp_path: Path) -> None:
    data, recipe = own_data(tmp_path / 'data'), documented_recipe(tmp_path)
    text = (data / 'shelves' / 'instances.json').read_text()
    for ours, coco in (('person', 'bear'), ('chair', 'kite'), ('dining table', 'cup')):
        text = text.replace(ours, coco)
    (data / 'shelves' / 'instances.json').write_text(text)
    arguments = [
        str(MODEL), str(tmp_path / 'small'), '--data', str(data), '--recipe', str(recipe),
        '--blocks', 'depth', '--images', '2', '--calibration', 'minmax',
    ]  # fmt: skip
    result = CliRunner().invoke(quantize, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    shown = result.output
    assert all(name in shown for name in ('ap', 'abs_rel', 'depth, ms', 'all blocks', 'files, MB'))


@pytest.mark.parametrize('calibration', ['percentile', 'entropy'])
def test_the_command_calibrates_on_a_recipe_s_images(tmp_path: Path, calibration: str) -> None:
    data, recipe = own_data(tmp_path / 'data'), documented_recipe(tmp_path)
    arguments = [
        str(MODEL), str(tmp_path / 'small'), '--data', str(data), '--recipe', str(recipe),
        '--blocks', 'depth', '--images', '2', '--calibration', calibration, '--no-measure',
    ]  # fmt: skip
    result = CliRunner().invoke(quantize, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert f'depth in 8 bits, by {calibration}' in result.output
    Pipeline.load(tmp_path / 'small')
    assert tiny_data.LABELS
