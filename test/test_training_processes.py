# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip('torch')

import tiny_data
from test_training_loop import LABELS, RECIPE
from test_training_mt2st import ALL

from mt_perception.errors import ModelError
from mt_perception.training.checkpoint import load_checkpoint
from mt_perception.training.data.batches import SampleSet, make_batch
from mt_perception.training.data.read_datasets import read_coco, read_rgbd
from mt_perception.training.distributed import mean_gradients, mean_over_processes, process_group
from mt_perception.training.loop import train
from mt_perception.training.run_record import LOG

HERE = Path(__file__).parent
WORKER = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from test_training_processes import data, recipe, LABELS
from mt_perception.training.loop import train
folder = Path(sys.argv[1])
for _ in train(recipe(2), data(folder / 'data'), LABELS, None, folder / 'run'):
    pass
"""


def data(folder: Path) -> tuple[SampleSet, ...]:
    classes = tiny_data.classes()
    if not folder.exists():
        tiny_data.write_coco(folder / 'coco')
        tiny_data.write_rgbd(folder / 'room', 6)
    coco, room = read_coco(folder / 'coco', classes), read_rgbd(folder / 'room', classes, 500.0)
    return SampleSet('coco', tuple(coco), 2.0), SampleSet('room', tuple(room), 1.0)


def recipe(batch_size: int, kind: str = 'gradnorm'):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    from mt_perception.training.recipe import Balancing

    phase = replace(ALL, steps=3, batch_size=batch_size)
    return replace(RECIPE, phases=(phase,), balancing=Balancing(kind), device='cpu')


def run_processes(program: str, folder: Path, processes: int) -> None:
    """Run a program as torchrun would; it is given the folder, and where tests and package are."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        'MASTER_ADDR': '127.0.0.1',
        'MASTER_PORT': str(port),
        'WORLD_SIZE': str(processes),
        'OMP_NUM_THREADS': '1',
    }
    workers = [
        subprocess.Popen(
            [sys.executable, '-c', program, str(folder), str(HERE), str(HERE.parent)],
            env={**environment, 'RANK': str(rank), 'LOCAL_RANK': str(rank)},
        )
        for rank in range(processes)
    ]
    assert [worker.wait(timeout=300) for worker in workers] == [0] * processes


def test_two_processes_are_one_with_twice_the_batch(tmp_path: Path) -> None:
    sets = data(tmp_path / 'data')
    for _ in train(recipe(4), sets, LABELS, None, tmp_path / 'one'):
        pass
    run_processes(WORKER, tmp_path, 2)
    one, two = (load_checkpoint(tmp_path / name) for name in ('one', 'run'))
    assert one['macs'] == two['macs'], 'the work is split, not repeated'
    for part in ('network', 'average', 'balance'):
        for name, value in one[part].items():
            # The same sums in another order, and Adam divides small ones by their size.
            difference = (two[part][name] - value).abs().mean()
            assert difference <= 2e-4 * value.abs().mean() + 1e-5, name
    steps = {row.split(',')[0] for row in (tmp_path / 'run' / LOG).read_text().splitlines()}
    assert steps == {'1', '2', '3'}
    logged = (tmp_path / 'run' / LOG).read_text().count('gmacs')
    assert logged == 3, 'one process writes'


def test_shares_are_the_parts_of_the_whole_batch(tmp_path: Path) -> None:
    sets = data(tmp_path / 'data')
    whole = make_batch(sets, RECIPE.canvases, 6, 7, 5)
    shares = [make_batch(sets, RECIPE.canvases, 2, 7, 5, (rank, 3)) for rank in range(3)]
    assert torch.equal(whole.image, torch.cat([share.image for share in shares]))


def test_one_process_needs_nobody() -> None:
    value = torch.tensor(3.0, requires_grad=True)
    assert mean_over_processes(value) is value
    mean_gradients([value])
    with process_group('cpu') as place:
        assert (place.rank, place.count, place.first) == (0, 1, True)


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_a_missing_gpu_is_said() -> None:
    with pytest.raises(ModelError, match='finds no GPU'), process_group('cuda'):
        pass
    with process_group('auto') as place:
        assert place.device.type == 'cpu'
