# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime sessions: one for each block, on the execution providers that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnxruntime as ort

from mt_perception.errors import ModelError
from mt_perception.model.folder import ModelFolder, read_block
from mt_perception.model.paths import POLICY
from mt_perception.model.task_graph import IMAGE, Block
from mt_perception.model.weight_residency import SessionStore

CPU = 'CPUExecutionProvider'

# ONNX Runtime's own warnings are about its optimiser; its errors reach us as exceptions.
_LOG_FATAL = 4


@dataclass(frozen=True)
class Sessions:
    """A loaded model.

    Attributes:
        by_block: Block name → its session; within a memory budget, opened when looked up.
        providers: The execution providers in use, most wanted first.
        warnings: What was asked for and could not be had, in words for an operator.
    """

    by_block: SessionStore
    providers: tuple[str, ...]
    warnings: tuple[str, ...]


def load_sessions(
    model: ModelFolder,
    providers: Sequence[str] = (CPU,),
    threads: int = 1,
    memory_mb: float | None = None,
) -> Sessions:
    """Make a session for every block of a model.

    Args:
        model: The model.
        providers: Execution providers, most wanted first, by ONNX Runtime's names with or without
            ``ExecutionProvider`` (``CUDA``, ``tensorrt``). The CPU is always the last resort.
        threads: Threads inside one operator; 0 lets ONNX Runtime take one per core.
        memory_mb: Most megabytes (10^6 bytes) of block files to hold at any time; None holds all.

    Raises:
        ModelError: A provider's name is unknown, or a block is no usable graph.
        OptionError: One block alone is larger than the memory allows.
    """
    wanted = _known(providers)
    available = ort.get_available_providers()
    usable = [name for name in wanted if name in available]
    warnings = [
        f'execution provider {name} is not in this ONNX Runtime (it has {", ".join(available)}); '
        'running on the CPU instead'
        for name in wanted
        if name not in available
    ]
    by_block = SessionStore(
        _opener(model, usable, threads, arena=memory_mb is None),
        {name: len(content) for name, content in model.contents.items() if name != POLICY},
        None if memory_mb is None else int(memory_mb * 1e6),
    )
    # A provider can be built in and still not start, for want of a driver or a library.
    started: set[str] = set()
    for block in (*model.manifest.graph.blocks.values(), *model.manifest.paths.variants):
        session = by_block[block.name]
        _check_signature(block, session)
        started.update(session.get_providers())
    warnings += [
        f'execution provider {name} did not start; running on the CPU instead'
        for name in usable
        if name not in started
    ]
    return Sessions(by_block, tuple(n for n in usable if n in started), tuple(warnings))


def _opener(
    model: ModelFolder, providers: Sequence[str], threads: int, arena: bool
) -> Callable[[str], ort.InferenceSession]:
    """Opens blocks: from what was read the first time, and then from disk."""
    # The model itself would keep everything that was read in memory.
    path, manifest, contents = model.path, model.manifest, dict(model.contents)

    def open_block(name: str) -> ort.InferenceSession:
        content = contents.pop(name, None) or read_block(path, manifest, name)
        return open_session(name, content, providers, threads, arena)

    return open_block


def _known(providers: Sequence[str]) -> list[str]:
    """The providers by ONNX Runtime's own names, without repeats, the CPU at the end."""
    known = {name.lower(): name for name in ort.get_all_providers()}
    names = []
    for provider in (*providers, CPU):
        key = provider.lower().removesuffix('executionprovider') + 'executionprovider'
        if key not in known:
            raise ModelError(
                f'execution provider {provider!r} is unknown; '
                f'known are {", ".join(known.values())}'
            )
        names.append(known[key])
    return list(dict.fromkeys(names))


def open_session(
    name: str,
    content: bytes,
    providers: Sequence[str] = (CPU,),
    threads: int = 1,
    arena: bool = True,
) -> ort.InferenceSession:
    """Make the session of one graph.

    Args:
        name: Name of the graph, for the error.
        content: The ONNX file.
        providers: Execution providers by ONNX Runtime's names, most wanted first.
        threads: Threads inside one operator; 0 lets ONNX Runtime take one per core.
        arena: Keep what a run frees for the next run. Sessions that come and go do better without:
            with half the weights of a small model held, the process took 68 MB instead of 91.

    Raises:
        ModelError: ONNX Runtime refuses the graph.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_FATAL
    options.enable_cpu_mem_arena = arena
    # Spinning trunk and head sessions burn six times the CPU at two threads.
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    options.add_session_config_entry('session.inter_op.allow_spinning', '0')
    try:
        return ort.InferenceSession(content, options, providers=list(providers))
    except Exception as error:
        # ONNX Runtime's exceptions have no base class of their own.
        raise ModelError(f'block {name!r} is refused by ONNX Runtime: {error}') from error


def _check_signature(block: Block, session: ort.InferenceSession) -> None:
    """The graph reads and makes what the manifest says, and takes images of any size."""
    for kind, found, expected in (
        ('inputs', [tensor.name for tensor in session.get_inputs()], set(block.inputs)),
        ('outputs', [tensor.name for tensor in session.get_outputs()], set(block.outputs)),
    ):
        if set(found) != expected:
            raise ModelError(
                f'block {block.name!r} has the {kind} {", ".join(found)}; '
                f'its manifest says {", ".join(sorted(expected))}'
            )
    for tensor in session.get_inputs():
        if block.inputs[tensor.name] != IMAGE:
            continue
        shape = tensor.shape
        # A symbolic size is a string or None.
        fixed = len(shape) != 4 or any(isinstance(size, int) for size in shape[1:3])
        if tensor.type != 'tensor(uint8)' or fixed or shape[3] != 3:
            raise ModelError(
                f'block {block.name!r} takes images as {tensor.type} {shape}; expected '
                'tensor(uint8) [1, H, W, 3] with dynamic height and width: export it so'
            )
