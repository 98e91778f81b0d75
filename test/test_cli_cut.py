# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`mt_perception cut` asks the pixel teacher, trains both stages, and goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip('torch')

import onnx
import tiny_data
from click.testing import CliRunner
from onnx import helper, numpy_helper
from test_training_pixels import CLASSES, RECIPE, backbone, finished_run

from mt_perception.cli.cut import cut
from mt_perception.network.picodet import PicoDet
from mt_perception.training.checkpoint import load_checkpoint

__all__ = ['backbone']

CUT = """
images_of: images.yaml
detector: picodet.onnx
seed: 1
threads: 1
precision: float32
bit_prices: [1.0, 0.2]
weights: {pixels: 1.0, backbone: [1.0, 1.0, 1.0, 1.0], pyramid: 1.0, detector: 1.0, answers: 1.0}
checkpoint_every: 1
imitate: {steps: 2, batch_size: 2, canvases: [[64, 64]], learning_rate: 0.001, warmup: 1}
finish: {steps: 1, batch_size: 2, canvases: [[64, 96]], learning_rate: 0.001, warmup: 1}
widen: {steps: STEPS, batch_size: 2, canvases: [[64, 96]], learning_rate: 0.001, warmup: 1}
"""


def write_detector(path: Path) -> None:
    """A checkpoint of random weights: its convolutions, in their order."""
    torch.manual_seed(0)
    nodes, weights = [], []
    for name, module in PicoDet(len(CLASSES.detection)).named_modules():
        if isinstance(module, torch.nn.Conv2d):
            weights += [
                numpy_helper.from_array(value.detach().numpy(), f'{name}.{part}')
                for part, value in module.named_parameters()
            ]
            inputs = ['image', f'{name}.weight', f'{name}.bias']
            nodes.append(helper.make_node('Conv', inputs, [f'{name}.made']))
    graph = helper.make_graph(nodes, 'detector', [], [], weights)
    onnx.save(helper.make_model(graph), str(path))


def test_a_cut_is_trained_and_goes_on(tmp_path: Path, backbone: Path) -> None:
    data = tmp_path / 'data'
    tiny_data.write_coco(data / 'coco')
    write_detector(data / 'picodet.onnx')
    (tmp_path / 'images.yaml').write_text(RECIPE)
    recipe, out = tmp_path / 'cut.yaml', tmp_path / 'runs' / 'cut'
    arguments = [str(recipe), '--network', str(finished_run(tmp_path / 'network'))]
    arguments += ['--data', str(data), '--out', str(out)]
    for steps in (1, 2):
        recipe.write_text(CUT.replace('STEPS', str(steps)))
        result = CliRunner().invoke(cut, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert f'{3 + steps}/{3 + steps}' in result.output
        assert load_checkpoint(out)['step'] == 3 + steps
    opinions = list((tmp_path / 'runs' / 'cache' / 'pixels').iterdir())
    assert opinions
    assert all(path.name.count('.') == 1 for path in opinions), 'nothing unfinished is left'
