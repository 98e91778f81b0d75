# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The tutorial on own data: twenty labelled street scenes make the shipped model better."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

torch = pytest.importorskip('torch')

from mt_perception.cli.main import main
from mt_perception.resources import find_model

TUTORIAL = Path(__file__).parent.parent / 'docs' / 'tutorials' / 'own-data.md'
SIZE = (120, 160)
CLASSES = {1: 'road', 2: 'sky', 3: 'building', 4: 'tree', 5: 'car'}
# BGR; not as in photographs, so that there is something to learn.
PAINT = {
    1: (60, 40, 90),
    2: (120, 200, 240),
    3: (150, 90, 60),
    4: (40, 60, 160),
    5: (200, 40, 200),
}


def scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A street: sky, buildings, a tree, the road, a car; uint8 image and class ids."""
    width = SIZE[1]
    ids = np.full(SIZE, 2, np.uint8)
    horizon = int(rng.integers(50, 70))
    for left in range(0, width, 40):
        ids[int(rng.integers(10, 40)) : horizon, left : left + 36] = 3
    x, y = int(rng.integers(20, 140)), int(rng.integers(30, 45))
    cv2.circle(ids, (x, y), 18, 4, -1)
    ids[horizon:] = 1
    x, y = int(rng.integers(10, 110)), int(rng.integers(horizon, 95))
    ids[y : y + 20, x : x + 36] = 5
    table = np.array([PAINT.get(i, (0, 0, 0)) for i in range(6)], np.float32)
    image = table[ids] * rng.uniform(0.8, 1.2) + rng.normal(0, 12, (*SIZE, 3))
    return np.clip(image, 0, 255).astype(np.uint8), ids


def write_streets(folder: Path, images: int = 20) -> None:
    (folder / 'images').mkdir(parents=True)
    (folder / 'semantic').mkdir()
    rng = np.random.default_rng(0)
    for number in range(images):
        image, ids = scene(rng)
        cv2.imwrite(str(folder / 'images' / f'{number:03}.png'), image)
        cv2.imwrite(str(folder / 'semantic' / f'{number:03}.png'), ids)
    (folder / 'classes.yaml').write_text(yaml.safe_dump({'classes': CLASSES}))


def tutorial_recipe(path: Path) -> Path:
    """The recipe of the tutorial, with fewer steps on smaller images."""
    found = re.search(r'```yaml[^\n]*\n(network: .*?)```', TUTORIAL.read_text(), re.DOTALL)
    assert found is not None
    recipe = yaml.safe_load(found.group(1))
    recipe |= {'canvases': [[128, 160]], 'validate_every': 30, 'precision': 'float32'}
    recipe['phases'][0] |= {'steps': 30, 'batch_size': 4}
    recipe['phases'][0]['learning_rates'] = {'segmentation': 0.003}
    path.write_text(yaml.safe_dump(recipe))
    return path


def mean_iou(data: Path, model: Path, out: Path) -> float:
    arguments = ['evaluate', str(data), '--split', 'held_out', '--model', str(model)]
    options = ['--task', 'segmentation', '--size', '160', '--out', str(out), '--no-report']
    assert main([*arguments, *options]) == 0
    summary = json.loads(next(out.rglob('summary.json')).read_text())
    assert summary['counts']['frames'] == 5
    return float(summary['metrics']['segmentation']['miou'])


def test_twenty_images_make_the_shipped_model_better(tmp_path: Path) -> None:
    write_streets(tmp_path / 'yard')
    recipe = tutorial_recipe(tmp_path / 'recipe.yaml')
    shipped, run, better = find_model('cspnano'), tmp_path / 'run', tmp_path / 'better'
    data = ['--data', str(tmp_path)]
    start = ['--start', str(shipped)]
    assert main(['train', str(recipe), *data, '--out', str(run), *start]) == 0
    assert main(['export', str(run), str(better), *data]) == 0
    before = mean_iou(tmp_path / 'yard', shipped, tmp_path / 'before')
    after = mean_iou(tmp_path / 'yard', better, tmp_path / 'after')
    assert after > before + 0.1, f'mIoU of the held-out images: {before:.3f} → {after:.3f}'
