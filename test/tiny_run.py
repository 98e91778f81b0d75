# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Folders of finished training runs, without a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mt_perception.network.branched import describe
from mt_perception.network.multitask import Multitask
from mt_perception.training.checkpoint import save_checkpoint


def save_run(run: Path, network: Multitask, labels: Sequence[Sequence[str]], **state: Any) -> Path:
    """Write the checkpoint of a network, with labels of detection and segmentation.

    Args:
        run: The folder; it is made.
        network: The trained network.
        labels: Names of detection's and of segmentation's classes.
        state: Entries of the checkpoint that are added or replaced.
    """
    run.mkdir()
    weights = network.state_dict()
    save_checkpoint(
        run,
        {
            'step': 1,
            'network': weights,
            'average': weights,
            'optimizer': {},
            'name': 'cspnano',
            'structure': describe(network),
            'detection_labels': list(labels[0]),
            'segmentation_labels': list(labels[1]),
            **state,
        },
    )
    return run
