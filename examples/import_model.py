# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Learn how to turn an ONNX network of another project into a model folder, and run it.

python examples/import_model.py yolox_nano.onnx street.jpg my_model
"""

from __future__ import annotations

import sys

import cv2

from mt_perception import Pipeline
from mt_perception.cli.main import main as mt_perception


def main(network: str, picture: str, folder: str) -> None:
    """Import a detector with COCO's classes and run it on a picture."""
    # The same as on the command line. The family of the network is recognised by its outputs; see
    # docs/import.md for networks of segmentation and depth, and for your own labels.
    arguments = ['--detection', network, '--test', picture, '--licence', 'Apache-2.0']
    status = mt_perception(['import', folder, *arguments])
    if status:
        raise SystemExit(status)

    pipeline = Pipeline.load(folder)
    result = pipeline.run(cv2.imread(picture))
    for detection in result.detections.filter(min_score=0.5):
        print(detection.label, f'{detection.score:.2f}', detection.box.round())


if __name__ == '__main__':
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:4])
