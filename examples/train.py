# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Learn how to train the detector on your own labelled images, from the shipped weights.

    python examples/train.py my_images my_model 1000

`my_images` has `images/` and `instances.json` in COCO format.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mt_perception.cli.main import main as mt_perception
from mt_perception.resources import find_model

RECIPE = """\
network: cspnano
detection_labels: {folder}/instances.json   # its categories become the classes
validation_split: held_out                  # every fifth block of five images
seed: 1
threads: 1
precision: bfloat16
canvases: [[320, 416], [416, 320]]          # height, width
validate_every: {steps}
checkpoint_every: 100
sets:
  - {{name: mine, kind: coco, folder: {folder}, split: train, weight: 1.0}}
phases:
  - name: detection                         # the trunk is frozen: other tasks do not change
    steps: {steps}
    batch_size: 4
    weights: {{detection: 1.0}}
    learning_rates: {{detection: 0.001}}
"""


def main(images: str, model: str, steps: str = '1000') -> None:
    """Train, and write a model folder with the measured accuracy."""
    folder, run = Path(images).resolve(), f'{model}_run'
    recipe = Path(f'{model}_recipe.yaml')
    recipe.write_text(RECIPE.format(folder=folder.name, steps=steps), encoding='utf-8')
    data = ['--data', str(folder.parent)]
    start = ['--start', str(find_model('cspnano'))]
    # The same commands as on the command line; see docs/training.md.
    for command in (
        ['train', str(recipe), *data, '--out', run, *start],
        ['export', run, model, *data],
    ):
        if mt_perception(command):
            raise SystemExit(1)
    print(f'run it with: mt_perception run SOURCE --model {model}')


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:4])
