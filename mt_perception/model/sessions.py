# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime sessions of a model: one per block, on the requested execution providers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnxruntime as ort

from mt_perception.errors import ModelError, OptionError
from mt_perception.model.folder import ModelFolder, read_block
from mt_perception.model.paths import POLICY
from mt_perception.model.providers import CPU, Provider, parse_providers
from mt_perception.model.task_graph import IMAGE, Block
from mt_perception.model.weight_residency import SessionStore

MAX_THREADS = 256
"""More threads in one operator are a mistake: ONNX Runtime creates them all at once."""

# ONNX Runtime's own warnings are about its optimiser; its errors reach us as exceptions.
_LOG_FATAL = 4


@dataclass(frozen=True)
class Sessions:
    """A loaded model.

    Attributes:
        by_block: Block name → session; a look-up opens the session if needed.
        providers: Execution providers in use, in order of preference.
        warnings: Warnings for the operator, for example unavailable execution providers.
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
    """Open the sessions of all blocks of a model.

    Args:
        model: The model.
        providers: Execution providers in order of preference, as ``parse_providers`` reads them
            (``CUDA``, ``TensorRT: {trt_fp16_enable: true}``). The CPU is the fallback.
        threads: Threads of one operator; 0 uses one per core.
        memory_mb: Upper limit on block files in memory, in MB (10^6 bytes); None sets no limit.

    Raises:
        ModelError: A provider is unknown, or a block is not a usable graph.
        OptionError: A provider is malformed or does not have an option, or one block alone exceeds
            the memory limit.
    """
    if not 0 <= threads <= MAX_THREADS:
        raise OptionError(f'threads must be from 0 to {MAX_THREADS}, found {threads}')
    wanted = parse_providers(providers)
    available = ', '.join(ort.get_available_providers())
    usable = [provider.name for provider in wanted if provider.is_available]
    warnings = [
        f'execution provider {provider.name} is not in this ONNX Runtime (it has {available}); '
        'running on the CPU instead'
        for provider in wanted
        if not provider.is_available
    ]
    by_block = SessionStore(
        _opener(model, providers, threads, arena=memory_mb is None),
        {name: len(content) for name, content in model.contents.items() if name != POLICY},
        None if memory_mb is None else int(memory_mb * 1e6),
    )
    # A provider of this build may still fail to start without its driver or library.
    started: set[str] = set()
    for block in model.manifest.session_blocks:
        session = by_block[block.name]
        _check_signature(block, session, model.manifest.input.fixed)
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
    """Returns a function that opens a block from memory the first time, then from disk."""
    # A reference to the model would keep all files in memory.
    path, manifest, contents = model.path, model.manifest, dict(model.contents)

    def open_block(name: str) -> ort.InferenceSession:
        content = contents.pop(name, None) or read_block(path, manifest, name)
        return open_session(name, content, providers, threads, arena)

    return open_block


def open_session(
    name: str,
    content: bytes,
    providers: Sequence[str] = (CPU,),
    threads: int = 1,
    arena: bool = True,
) -> ort.InferenceSession:
    """Open the session of one graph.

    Args:
        name: Name of the graph, for messages.
        content: The ONNX file.
        providers: Execution providers in order of preference, as ``parse_providers`` reads them;
            those that are not installed are left out.
        threads: Threads inside one operator; 0 lets ONNX Runtime take one per core.
        arena: Keep freed memory for the next run. Sessions that are opened and closed need less
            without: 68 MB instead of 91 MB with half the weights of a small model in memory.

    Raises:
        ModelError: ONNX Runtime refuses the graph.
        OptionError: A provider does not have an option.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_FATAL
    options.enable_cpu_mem_arena = arena
    # Spinning trunk and head sessions burn six times the CPU at two threads.
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    options.add_session_config_entry('session.inter_op.allow_spinning', '0')
    usable = [provider for provider in parse_providers(providers) if provider.is_available]
    try:
        session = ort.InferenceSession(
            content,
            options,
            providers=[provider.name for provider in usable],
            provider_options=[dict(provider.options) for provider in usable],
        )
    except Exception as error:
        # ONNX Runtime's exceptions have no common base class.
        raise ModelError(f'block {name!r} is refused by ONNX Runtime: {error}') from error
    _check_options(usable, session.get_provider_options())
    return session


def _check_options(
    providers: Sequence[Provider], known: Mapping[str, Mapping[str, object]]
) -> None:
    """Refuse options that ONNX Runtime dropped without a message.

    Args:
        providers: The requested providers.
        known: Started provider → its options, with defaults; some providers report none.

    Raises:
        OptionError: A provider does not have an option.
    """
    for provider in providers:
        names = known.get(provider.name, {})
        unknown = sorted(provider.options.keys() - names.keys())
        if unknown and (names or provider.name == CPU):
            raise OptionError(
                f'provider {provider.name} has no option {unknown[0]!r}; it has '
                f'{", ".join(sorted(names)) or "none"}'
            )


def session_problems(model: ModelFolder) -> list[str]:
    """Reasons for which ONNX Runtime or the manifest refuse blocks of a model, all of them."""
    problems = []
    for block in model.manifest.session_blocks:
        try:
            session = open_session(block.name, model.contents[block.name])
            _check_signature(block, session, model.manifest.input.fixed)
        except ModelError as error:
            problems.append(str(error))
    return problems


def _check_signature(
    block: Block, session: ort.InferenceSession, fixed: tuple[int, int] | None
) -> None:
    """Check that the graph has the manifest's inputs, outputs and image size."""
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
        if block.inputs[tensor.name] == IMAGE:
            _check_image_input(block, tensor, fixed)


def _check_image_input(block: Block, tensor: ort.NodeArg, fixed: tuple[int, int] | None) -> None:
    shape = list(tensor.shape)
    # A symbolic size is a string or None.
    sizes = [size if isinstance(size, int) else None for size in shape[1:3]]
    fits = sizes in ([None, None], list(fixed)) if fixed else sizes == [None, None]
    if tensor.type != 'tensor(uint8)' or len(shape) != 4 or not fits or shape[3] != 3:
        height, width = fixed or ('H', 'W')
        advice = '' if fixed else ' with dynamic height and width, or input.fixed in the manifest'
        raise ModelError(
            f'block {block.name!r} has the image input {tensor.type} {shape}; expected '
            f'tensor(uint8) [1, {height}, {width}, 3]{advice}'
        )
