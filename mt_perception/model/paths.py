# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Paths, block variants and the path policy of a model, as its manifest describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mt_perception.errors import ModelError
from mt_perception.model.blocks import BlockFile, take_file
from mt_perception.model.fields import Fields, is_name, names, strings
from mt_perception.model.task_graph import Block, TaskGraph

FULL_PATH = 'full'


@dataclass(frozen=True)
class NetPath:
    """One way through the graph.

    Attributes:
        name: Unique in the model.
        variants: Blocks that take the place of others (see ``Block.stands_for``).
        scale: Factor on the long side of the network's input.
        relative_macs: Multiply-accumulates of all tasks, against those of the full path.
        relative_latency: Measured time of all tasks, against that of the full path.
        accuracy: Task → its main metric (AP, mIoU; AbsRel, of which less is better), measured;
            empty where it was not.
    """

    name: str
    variants: tuple[Block, ...] = ()
    scale: float = 1.0
    relative_macs: float = 1.0
    relative_latency: float = 1.0
    accuracy: Mapping[str, float] = field(default_factory=dict)


FULL = NetPath(FULL_PATH)


MAX_PATHS = 16
MAX_POLICY_SIDE = 512

POLICY = 'policy'
"""Name of the policy's block and file."""

POLICY_INPUTS = ('image', 'tasks', 'budget')
POLICY_OUTPUT = 'scores'


@dataclass(frozen=True)
class PolicySpec:
    """The small network that chooses a path for an image.

    Its graph reads ``image`` uint8 (1, h, w, 3) BGR, the whole frame at ``size``; ``tasks``
    float32 (1, T), weights in the order of the manifest's tasks, 0 for what is not wanted; and
    ``budget`` float32 (1, 1) in (0, 1]. It makes ``scores`` float32 (1, P), one for each path in
    their order; the highest one wins.

    Attributes:
        block: Its name, costs and tensors; the MACs are those of one decision.
        size: (height, width) of its image.
        calibration: Budget wanted → budget to feed, so that the mean over many images is the one
            that is wanted; rising, may be empty.
    """

    block: Block
    size: tuple[int, int]
    calibration: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Paths:
    """All that a model offers to run less of itself.

    Attributes:
        choices: The paths, ``full`` first, then the others, the most expensive first.
        policy: What chooses among them by the image, or None.
        files: Variant or policy → its file.
    """

    choices: tuple[NetPath, ...]
    policy: PolicySpec | None = None
    files: Mapping[str, BlockFile] = field(default_factory=dict)

    @property
    def variants(self) -> tuple[Block, ...]:
        """Every block that stands in for another on some path, once."""
        return tuple({b.name: b for path in self.choices for b in path.variants}.values())


ONLY_FULL = Paths((FULL,))


def parse_paths(root: Fields, graph: TaskGraph) -> Paths:
    """Read the three sections of a manifest; where they are missing there is one path, ``full``.

    Raises:
        ModelError: A field is missing, unknown or out of range, or names what is not there.
    """
    files: dict[str, BlockFile] = {}
    listed: dict[object, object] = root.take_or('variants', {})
    variants = _variants(listed, graph, files)
    rows: list[object] = root.take_or('paths', [])
    choices = tuple(_path(row, i, variants) for i, row in enumerate(rows)) or ONLY_FULL.choices
    _check_paths(choices, variants)
    data: dict[object, object] = root.take_or(POLICY, {})
    policy = _policy(data, graph, files) if data else None
    return Paths(choices, policy, files)


def _variants(
    data: Mapping[object, object], graph: TaskGraph, files: dict[str, BlockFile]
) -> dict[str, Block]:
    variants: dict[str, Block] = {}
    for name, value in data.items():
        where = f'manifest.variants.{name}'
        if not isinstance(name, str) or not is_name(name) or name in graph.blocks:
            raise ModelError(f'{where}: a variant has a name of its own, as a block has')
        fields = Fields(value, where)
        original = fields.take('of', str)
        if original not in graph.blocks:
            raise ModelError(
                f'{where}.of is {original!r:.60}; blocks are {", ".join(graph.blocks)}'
            )
        inputs = strings(fields.take('inputs', dict), f'{where}.inputs')
        # It stands exactly where the other one does, and so may read what that one could.
        readable = set(graph.blocks[original].inputs.values())
        if not set(inputs.values()) <= readable:
            raise ModelError(
                f'{where}.inputs: it may read what block {original!r} reads: '
                f'{", ".join(sorted(readable))}'
            )
        files[name] = take_file(fields, where)
        variants[name] = Block(
            name=name,
            inputs=inputs,
            outputs=graph.blocks[original].outputs,
            macs=fields.take('macs', int, lambda v: v >= 0),
            parameters=fields.take('parameters', int, lambda v: v >= 0),
            stands_for=original,
        )
        fields.finish()
    return variants


def _path(data: object, index: int, variants: Mapping[str, Block]) -> NetPath:
    where = f'manifest.paths[{index}]'
    fields = Fields(data, where)
    used = names(fields.take('variants', list), f'{where}.variants')
    unknown = [name for name in used if name not in variants]
    if unknown:
        raise ModelError(f'{where}.variants: {unknown[0]!r:.60} is not in manifest.variants')
    blocks = tuple(variants[name] for name in used)
    if len({block.stands_for for block in blocks}) < len(blocks):
        raise ModelError(f'{where}.variants: two of them stand for the same block')
    path = NetPath(
        name=fields.take('name', str, is_name),
        variants=blocks,
        scale=fields.take('scale', float, lambda v: 0 < v <= 1),
        relative_macs=fields.take('relative_macs', float, lambda v: 0 < v <= 1),
        relative_latency=fields.take('relative_latency', float, lambda v: 0 < v <= 2),
        accuracy=_accuracy(fields.take('accuracy', dict), f'{where}.accuracy'),
    )
    fields.finish()
    return path


def _accuracy(data: Mapping[object, object], where: str) -> dict[str, float]:
    fields = Fields(data, where)
    found = {str(task): fields.take(str(task), float, lambda v: 0 <= v < 1e6) for task in data}
    fields.finish()
    return found


def _check_paths(choices: tuple[NetPath, ...], variants: Mapping[str, Block]) -> None:
    first = choices[0]
    if first.name != FULL_PATH or first.variants or first.scale != 1 or first.relative_macs != 1:
        raise ModelError(
            f'manifest.paths begins with the path {FULL_PATH!r}: no variants, scale 1, '
            f'relative_macs 1; found {first.name!r}'
        )
    if len(choices) > MAX_PATHS or len({path.name for path in choices}) < len(choices):
        raise ModelError(f'manifest.paths: at most {MAX_PATHS} paths, with different names')
    costs = [path.relative_macs for path in choices]
    if costs != sorted(costs, reverse=True):
        raise ModelError('manifest.paths: the most expensive path (relative_macs) comes first')
    unused = set(variants) - {block.name for path in choices for block in path.variants}
    if unused:
        raise ModelError(f'manifest.variants: no path uses {", ".join(sorted(unused))}')


def _policy(
    data: Mapping[object, object], graph: TaskGraph, files: dict[str, BlockFile]
) -> PolicySpec:
    where = f'manifest.{POLICY}'
    if POLICY in graph.blocks or POLICY in files:
        raise ModelError(f'{where}: no block may be called {POLICY!r} beside it')
    fields = Fields(data, where)
    files[POLICY] = take_file(fields, where)
    block = Block(
        name=POLICY,
        inputs={name: name for name in POLICY_INPUTS},
        outputs=(POLICY_OUTPUT,),
        macs=fields.take('macs', int, lambda v: v >= 0),
        parameters=fields.take('parameters', int, lambda v: v >= 0),
    )
    policy = PolicySpec(
        block,
        _policy_size(fields.take('size', list), f'{where}.size'),
        _calibration(fields.take('calibration', dict), f'{where}.calibration'),
    )
    fields.finish()
    return policy


def _policy_size(value: list[object], where: str) -> tuple[int, int]:
    match value:
        case [int(height), int(width)] if (
            8 <= min(height, width) <= max(height, width) <= (MAX_POLICY_SIDE)
        ):
            return height, width
    raise ModelError(f'{where} must be [height, width], 8 to {MAX_POLICY_SIDE}, found {value!r}')


def _calibration(data: Mapping[object, object], where: str) -> tuple[tuple[float, float], ...]:
    pairs = [
        (float(wanted), float(fed))
        for wanted, fed in data.items()
        if isinstance(wanted, (int, float)) and isinstance(fed, (int, float))
    ]
    pairs.sort()
    fed = [b for _, b in pairs]
    if (
        len(pairs) != len(data)
        or not all(0 < value <= 1 for pair in pairs for value in pair)
        or fed != sorted(fed)
    ):
        raise ModelError(f'{where} must map budgets in (0, 1] to budgets in (0, 1], both rising')
    return tuple(pairs)
