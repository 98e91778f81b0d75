# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The manifest sections ``variants``, ``paths`` and ``policy``: cheaper ways through the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mt_perception.errors import ModelError
from mt_perception.model.blocks import BlockFile, take_costs, take_file
from mt_perception.model.fields import Fields, is_name, names, strings
from mt_perception.model.task_graph import Block, TaskGraph

FULL_PATH = 'full'


@dataclass(frozen=True)
class NetPath:
    """One way through the graph.

    Attributes:
        name: Unique in the model.
        variants: Blocks that replace others (see ``Block.stands_for``).
        early: Whether tasks end with their early outputs.
        scale: Factor on the long side of the network's input.
        relative_macs: Multiply-accumulates of all tasks, relative to the full path.
        relative_latency: Measured time of all tasks, relative to the full path.
        accuracy: Task → measured value of its main metric (AP, mIoU, AbsRel); empty if not
            measured. Higher is better except for AbsRel.
    """

    name: str
    variants: tuple[Block, ...] = ()
    early: bool = False
    scale: float = 1.0
    relative_macs: float = 1.0
    relative_latency: float = 1.0
    accuracy: Mapping[str, float] = field(default_factory=dict)


FULL = NetPath(FULL_PATH)

MAX_PATHS = 16
_POLICY_SIDE = (8, 512)

POLICY = 'policy'
"""Block name of the path policy."""

POLICY_INPUTS = ('image', 'tasks', 'budget')
POLICY_OUTPUT = 'scores'


@dataclass(frozen=True)
class PolicySpec:
    """A small network that chooses a path for an image.

    Inputs: ``image`` uint8 (1, h, w, 3) BGR, the whole frame resized to ``size``; ``tasks``
    float32 (1, T), task weights in the manifest's order, 0 for tasks not requested; ``budget``
    float32 (1, 1) in (0, 1]. Output: ``scores`` float32 (1, P), one score for each path in the
    manifest's order; the path with the highest score runs.

    Attributes:
        block: Name, tensors and cost; the MACs are those of one decision.
        size: (height, width) of the input image.
        calibration: Pairs of requested budget and input budget, ascending. With the input
            budget, the mean cost over many images equals the requested budget. May be empty.
    """

    block: Block
    size: tuple[int, int]
    calibration: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Paths:
    """The paths of a model.

    Attributes:
        choices: The paths in order of falling cost; ``full`` is first.
        policy: The network that chooses a path for an image, or None.
        files: Name of a variant or of the policy → its file.
    """

    choices: tuple[NetPath, ...]
    policy: PolicySpec | None = None
    files: Mapping[str, BlockFile] = field(default_factory=dict)

    @property
    def variants(self) -> tuple[Block, ...]:
        """All variants that a path uses, without repeats."""
        return tuple({b.name: b for path in self.choices for b in path.variants}.values())

    @property
    def first_stage(self) -> int | None:
        """Index of the path that is the first stage of the full path; None if there is none."""
        for index, path in enumerate(self.choices):
            if path.early and not path.variants and path.scale == 1:
                return index
        return None


ONLY_FULL = Paths((FULL,))


def parse_paths(root: Fields, graph: TaskGraph, early: bool) -> Paths:
    """Read the three sections; a manifest without them has one path, ``full``.

    Args:
        root: The manifest.
        graph: The task graph.
        early: Whether a task has early outputs.

    Raises:
        ModelError: A field is missing, unknown or out of range, or refers to an unknown name.
    """
    files: dict[str, BlockFile] = {}
    listed: dict[object, object] = root.take_or('variants', {})
    variants = _variants(listed, graph, files)
    rows: list[object] = root.take_or('paths', [])
    choices = tuple(_path(row, i, variants) for i, row in enumerate(rows)) or ONLY_FULL.choices
    _check_paths(choices, variants, early)
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
            raise ModelError(f'{where}: a variant needs a valid block name that no block has')
        fields = Fields(value, where)
        original = fields.take('of', str)
        if original not in graph.blocks:
            raise ModelError(
                f'{where}.of is {original!r:.60}; blocks are {", ".join(graph.blocks)}'
            )
        inputs = strings(fields.take('inputs', dict), f'{where}.inputs')
        # A variant runs in place of its original, when only those tensors are known to exist.
        readable = set(graph.blocks[original].inputs.values())
        if not set(inputs.values()) <= readable:
            raise ModelError(
                f'{where}.inputs: a variant of {original!r} may read only the tensors '
                f'that {original!r} reads: {", ".join(sorted(readable))}'
            )
        files[name] = take_file(fields, where)
        variants[name] = Block(
            name=name,
            inputs=inputs,
            outputs=graph.blocks[original].outputs,
            **take_costs(fields),
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
        raise ModelError(f'{where}.variants: two variants replace the same block')
    path = NetPath(
        name=fields.take('name', str, is_name),
        variants=blocks,
        early=fields.take_or('early', False),
        scale=fields.take('scale', float, lambda v: 0 < v <= 1),
        relative_macs=fields.take('relative_macs', float, lambda v: 0 < v <= 1),
        relative_latency=fields.take('relative_latency', float, lambda v: 0 < v <= 2),
        accuracy=fields.take_accuracy(),
    )
    fields.finish()
    return path


def _check_paths(choices: tuple[NetPath, ...], variants: Mapping[str, Block], early: bool) -> None:
    first = choices[0]
    if replace(first, accuracy={}, relative_latency=1.0) != FULL:
        raise ModelError(
            f'the first of manifest.paths must be {FULL_PATH!r} with no variants, scale 1 and '
            f'relative_macs 1; found {first.name!r}'
        )
    if not early and any(path.early for path in choices):
        raise ModelError('manifest.paths: a path is early, but no task has early outputs')
    if len(choices) > MAX_PATHS or len({path.name for path in choices}) < len(choices):
        raise ModelError(f'manifest.paths must be at most {MAX_PATHS} paths with different names')
    costs = [path.relative_macs for path in choices]
    if costs != sorted(costs, reverse=True):
        raise ModelError('manifest.paths must be in order of falling relative_macs')
    unused = set(variants) - {block.name for path in choices for block in path.variants}
    if unused:
        raise ModelError(f'manifest.variants: no path uses {", ".join(sorted(unused))}')


def _policy(
    data: Mapping[object, object], graph: TaskGraph, files: dict[str, BlockFile]
) -> PolicySpec:
    where = f'manifest.{POLICY}'
    if POLICY in graph.blocks or POLICY in files:
        raise ModelError(f'{where}: the name {POLICY!r} is taken by a block; rename the block')
    fields = Fields(data, where)
    files[POLICY] = take_file(fields, where)
    block = Block(
        name=POLICY,
        inputs={name: name for name in POLICY_INPUTS},
        outputs=(POLICY_OUTPUT,),
        **take_costs(fields),
    )
    policy = PolicySpec(
        block,
        fields.take_size('size', *_POLICY_SIDE),
        _calibration(fields.take('calibration', dict), f'{where}.calibration'),
    )
    fields.finish()
    return policy


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
        raise ModelError(f'{where} must map budgets in (0, 1] to budgets in (0, 1], ascending')
    return tuple(pairs)
