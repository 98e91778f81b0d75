# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a run writes while it goes on: one CSV row for every number, and TensorBoard on request."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mt_perception.errors import ModelError

LOG = 'log.csv'
BOARD = 'tensorboard'


class RunLog:
    """The log of a run, continued after its last checkpoint.

    Args:
        run: folder of the run.
        step: of the checkpoint; what was logged after it is forgotten, for it is done again.
        board: whether TensorBoard's files are written too.

    Raises:
        ModelError: TensorBoard is asked for and not installed.
    """

    def __init__(self, run: Path, step: int, board: bool = False) -> None:
        self._path = run / LOG
        rows = []
        if self._path.exists():
            rows = self._path.read_text(encoding='utf-8').splitlines(keepends=True)
        kept = [row for row in rows if int(row.partition(',')[0]) <= step]
        self._path.write_text(''.join(kept), encoding='utf-8')
        self._board: Any = None
        if board:
            if find_spec('tensorboard') is None:
                raise ModelError(
                    'TensorBoard is not installed: pip install mt_perception[tensorboard]'
                )
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(run / BOARD), purge_step=step + 1)

    def add(self, step: int, phase: str, values: Mapping[str, float]) -> None:
        """Write the numbers of a step."""
        with self._path.open('a', newline='', encoding='utf-8') as file:
            rows = csv.writer(file)
            for name, value in values.items():
                rows.writerow((step, phase, name, f'{value:.6g}'))
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is still in memory."""
        if self._board is not None:
            self._board.close()
