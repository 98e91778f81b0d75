# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decides how networks of other projects are used: preset, image preparation, class names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mt_perception.errors import ModelError
from mt_perception.model.importers.choice import DEPTH_OUTPUTS, KEEP, Choice
from mt_perception.model.importers.find_preset import find_preset
from mt_perception.model.importers.foreign_network import Network, read_network
from mt_perception.model.importers.label_files import metadata_labels
from mt_perception.model.importers.preprocess import Preprocess
from mt_perception.model.importers.presets import PRESETS
from mt_perception.types import DEPTH


@dataclass(frozen=True, eq=False)
class ImportedTask:
    """One task with everything decided.

    Attributes:
        choice: What the user chose, with labels.
        preset: Name of the preset.
        network: The network.
        preprocess: How the network expects its image.
    """

    choice: Choice
    preset: str
    network: Network
    preprocess: Preprocess

    def __str__(self) -> str:
        settings = self.preprocess
        size = 'any size' if settings.size is None else '{1}x{0}'.format(*settings.size)
        mean, std = (', '.join(f'{v:g}' for v in each) for each in (settings.mean, settings.std))
        return (
            f'{self.choice.task}: {self.preset} ({PRESETS[self.preset].about}), {size} '
            f'{settings.fit}, {"RGB" if settings.rgb else "BGR"}, '
            f'{"NHWC" if settings.channels_last else "NCHW"}, mean {mean}, std {std}'
        )


def plan_import(choices: Sequence[Choice], coco: Sequence[str]) -> list[ImportedTask]:
    """Read the networks and decide what the user left open.

    Args:
        choices: At most one for each task.
        coco: COCO's class names, for a network without labels that has as many classes.

    Raises:
        ModelError: A file is not a usable network, or does not fit the choices.
    """
    if not choices:
        raise ModelError('name at least one network: --detection, --segmentation or --depth')
    networks = {choice.path.resolve(): choice.path for choice in choices}
    read = {path: read_network(given) for path, given in networks.items()}
    return [plan_task(choice, read[choice.path.resolve()], tuple(coco)) for choice in choices]


def plan_task(choice: Choice, network: Network, coco: tuple[str, ...]) -> ImportedTask:
    """Decide what the user left open for one task; see `plan_import`."""
    labels = choice.labels or metadata_labels(network.model)
    name = find_preset(choice.task, choice.decode, network, len(labels))
    preset = PRESETS[name]
    if choice.task == DEPTH:
        labels = ()
        if choice.depth_kind not in DEPTH_OUTPUTS:
            raise ModelError(f'--depth-kind must be one of {", ".join(DEPTH_OUTPUTS)}')
    elif not labels:
        labels = coco
    if network.size and choice.size and network.size != choice.size:
        height, width = network.size
        raise ModelError(f'{network.path} has the fixed size {width}x{height}; drop --size')
    keep = choice.fit == KEEP
    if keep and network.size:
        raise ModelError(f'{network.path} has a fixed size; --fit is letterbox or stretch')
    settings = Preprocess(
        mean=choice.mean or preset.mean,
        std=choice.std or preset.std,
        rgb=preset.rgb if choice.rgb is None else choice.rgb,
        channels_last=(
            network.channels_last if choice.channels_last is None else choice.channels_last
        ),
        kind=network.image.kind,
        size=None if keep else network.size or choice.size or preset.size,
        fit=choice.fit or preset.fit,
    )
    return ImportedTask(replace(choice, labels=labels), name, network, settings)
