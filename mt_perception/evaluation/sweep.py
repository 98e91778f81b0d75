# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Plans the jobs of sources, models and a grid of parameters, each in its own folder."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from mt_perception.errors import OptionError
from mt_perception.evaluation.datasets.sample_source import safe_name, source_name, unique
from mt_perception.evaluation.job import Job
from mt_perception.evaluation.predictor import RunSettings
from mt_perception.evaluation.rate_distortion import ALL, parse_codec, standard_codecs
from mt_perception.evaluation.records import Json

Grid: TypeAlias = Mapping[str, Sequence[Json]]


_Setter: TypeAlias = Callable[[RunSettings, Json], RunSettings]


def _option(name: str) -> _Setter:
    return lambda settings, value: replace(
        settings, options=replace(settings.options, **{name: value})
    )


def _budget(name: str) -> _Setter:
    return lambda settings, value: replace(
        settings, budget=replace(settings.budget, **{name: value})
    )


def _codec(text: str) -> str:
    return ALL if text == ALL else parse_codec(text).name


_PARAMETERS: Mapping[str, tuple[Callable[[str], Json], _Setter]] = {
    'size': (int, _option('size')),
    'score_threshold': (float, _option('score_threshold')),
    'nms_iou': (float, _option('nms_iou')),
    'max_detections': (int, _option('max_detections')),
    'max_depth_m': (float, _option('max_depth_m')),
    'threads': (int, lambda settings, value: replace(settings, threads=value)),
    'budget': (float, _budget('compute')),
    'latency_ms': (float, _budget('latency_ms')),
    'stale_ms': (float, _budget('max_stale_ms')),
    'path': (str, _budget('path')),
    'provider': (str, lambda settings, value: replace(settings, providers=(value,))),
    'codec': (_codec, lambda settings, value: replace(settings, codec=value)),
}

SWEEPABLE = tuple(_PARAMETERS)
"""The parameters that a sweep may vary."""


def parse_grid(texts: Sequence[str]) -> Grid:
    """Parse ``size=256,320`` and similar.

    Raises:
        OptionError: A parameter is unknown or given twice, or a value is no number.
    """
    grid: dict[str, tuple[Json, ...]] = {}
    for text in texts:
        name, equals, values = text.partition('=')
        if name not in _PARAMETERS or not equals or name in grid:
            raise OptionError(
                f'expected one --sweep NAME=VALUE,VALUE… for each parameter, found {text!r}; '
                f'parameters: {", ".join(SWEEPABLE)}'
            )
        try:
            parsed = tuple(_PARAMETERS[name][0](value) for value in values.split(','))
        except ValueError as error:
            raise OptionError(f'--sweep {text}: expected numbers; {error}') from error
        grid[name] = tuple(dict.fromkeys(parsed))
    return grid


def plan_jobs(
    sources: Sequence[str], models: Sequence[str], grid: Grid, base: Job, out: Path
) -> list[Job]:
    """The jobs of every source with every model at every point of the grid.

    Folders are ``out/SOURCE``, then ``/MODEL`` if there are several, then ``/size=256,…`` in a
    sweep, made of safe characters only.

    Args:
        sources: Paths of the sources.
        models: Model folders and baselines.
        grid: Parameter → its values.
        base: The common settings of the jobs.
        out: Folder of the whole evaluation.

    Raises:
        ModelError: The codecs of a model are needed and its folder is refused.
    """
    used: Counter[str] = Counter()
    names = [unique(source_name(source), used).replace('#', '-') for source in sources]
    used.clear()
    folders = [unique(_model_name(model), used).replace('#', '-') for model in models]
    jobs = []
    for (source, name), (model, folder) in itertools.product(
        zip(sources, names, strict=True), zip(models, folders, strict=True)
    ):
        place = out / name / folder if len(models) > 1 else out / name
        for values in itertools.product(*(_values(model, *row) for row in grid.items())):
            swept = tuple(zip(grid, values, strict=True))
            jobs.append(
                replace(
                    base,
                    source=source,
                    model=model,
                    name=name,
                    folder=place / _point_name(swept) if swept else place,
                    settings=_settings(base.settings, swept),
                    swept=swept,
                )
            )
    return jobs


def _values(model: str, parameter: str, values: Sequence[Json]) -> Sequence[Json]:
    """The values of a parameter; ``all`` expands to the codecs of a model."""
    if parameter != 'codec' or ALL not in values:
        return values
    return standard_codecs(model)


def _settings(settings: RunSettings, swept: Sequence[tuple[str, Json]]) -> RunSettings:
    for name, value in swept:
        settings = _PARAMETERS[name][1](settings, value)
    return settings


def _model_name(model: str) -> str:
    kind, colon, rest = model.partition(':')
    if not colon:
        return safe_name(Path(os.path.realpath(os.path.expanduser(model))).name)
    # A baseline: onnx:dir/a.onnx+dir/b.onnx:kind.
    nets = [Path(part.split(':')[0]).stem for part in rest.split('+')]
    return safe_name('+'.join([kind, *nets]))


def _point_name(swept: Sequence[tuple[str, Json]]) -> str:
    return ','.join(f'{name}={safe_name(str(value))}' for name, value in swept)
