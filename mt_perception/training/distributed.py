# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Data-parallel training with `torchrun`: replicated weights, divided batches.

Losses are means over labelled elements, of which one process may have more than another. Each loss
is therefore divided by the mean count over the processes, so that the mean of the gradients is
exactly the gradient of the whole batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from mt_perception.errors import ModelError

CPU = torch.device('cpu')


@dataclass(frozen=True)
class Process:
    """Rank, world size and device of this process."""

    rank: int = 0
    count: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """Whether this process writes files, validates and prints."""
        return self.rank == 0

    @property
    def share(self) -> tuple[int, int]:
        """Rank and number of processes: this process's part of a batch."""
        return self.rank, self.count


@contextmanager
def process_group(device: str) -> Iterator[Process]:
    """Join the process group that torchrun started, if there is one.

    Args:
        device: cpu, cuda, or auto (cuda if there is a GPU).

    Raises:
        ModelError: the device is cuda and torch finds no GPU.
    """
    if device == 'cuda' and not torch.cuda.is_available():
        raise ModelError('device is cuda, but torch finds no GPU; set device to auto or cpu')
    kind = 'cuda' if device != 'cpu' and torch.cuda.is_available() else 'cpu'
    count = int(os.environ.get('WORLD_SIZE', '1'))
    index = int(os.environ.get('LOCAL_RANK', '0'))
    where = torch.device(kind, index) if kind == 'cuda' else torch.device('cpu')
    if kind == 'cuda':
        torch.cuda.set_device(where)
    if count == 1 or distributed.is_initialized():
        yield Process(_rank(), _count(), where)
        return
    distributed.init_process_group('nccl' if kind == 'cuda' else 'gloo')
    try:
        yield Process(_rank(), _count(), where)
    finally:
        distributed.destroy_process_group()


def _is_single_process() -> bool:
    return not (distributed.is_available() and distributed.is_initialized())


def _rank() -> int:
    return 0 if _is_single_process() else distributed.get_rank()


def _count() -> int:
    return 1 if _is_single_process() else distributed.get_world_size()


def mean_over_processes(value: Tensor) -> Tensor:
    """Return the mean of a number over all processes, without gradient."""
    if _is_single_process():
        return value
    shared = value.detach().clone()
    distributed.all_reduce(shared)
    return shared / distributed.get_world_size()


def mean_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace every gradient by its mean over all processes, in one all-reduce."""
    if _is_single_process():
        return
    # A gradient that one process lacks counts as zero, so that all processes send equal sizes.
    trained = [p for p in parameters if p.requires_grad]
    if not trained:
        return
    flat = torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trained]
    )
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    begin = 0
    for parameter in trained:
        part = flat[begin : begin + parameter.numel()].view_as(parameter)
        begin += parameter.numel()
        if parameter.grad is not None:
            parameter.grad.copy_(part)


def broadcast_bool(value: bool, process: Process) -> bool:
    """Return the first process's value in every process."""
    if process.count == 1:
        return value
    shared = torch.tensor(float(value), device=process.device)
    distributed.broadcast(shared, 0)
    return bool(shared.item())
