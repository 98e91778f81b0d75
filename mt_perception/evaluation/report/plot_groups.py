# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The plots of a section, group by group, with a sentence on how to read each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mt_perception.evaluation.metrics.error_kinds import KINDS
from mt_perception.evaluation.records import Json, value_at
from mt_perception.evaluation.report import plots, time_plots
from mt_perception.evaluation.report.metric_columns import (
    COST,
    HEADLINES,
    Column,
)
from mt_perception.evaluation.report.plots import Series
from mt_perception.evaluation.report.svg import Ink, colour
from mt_perception.evaluation.runs import Run
from mt_perception.evaluation.shared_classes import restrict_metrics, shared_labels
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION

_MOST_CONFUSED = 20
_MOST_OUTLINES = 4
_MOST_BARS = 6
_MOST_STAGES = 10
_COST_TITLES = {'MMAC': 'computation', 'ms': 'time'}
_SIZES = ('ap_small', 'ap_medium', 'ap_large')


@dataclass(frozen=True)
class Plot:
    """One plot with a heading of its own and a sentence on how to read it."""

    title: str
    svg: str
    caption: str = ''


def inks(runs: Sequence[Run]) -> list[Ink]:
    """A colour for each model; the points of its sweep get paler and paler."""
    models: dict[str, int] = {}
    found: list[Ink] = []
    for run in runs:
        points = models.setdefault(_line(run), 0)
        models[_line(run)] += 1
        shade = colour(list(models).index(_line(run)))
        found.append(Ink(run.label, shade, max(0.25, 1 - 0.3 * points)))
    return found


def trade_offs(runs: Sequence[Run], anchor: str) -> list[Plot]:
    """Curves over a sweep, and points for single runs, on the classes that all have."""
    if len(runs) < 2:
        return []
    shared = shared_labels([run.summary for run in runs])
    metrics = [restrict_metrics(run.summary, shared) for run in runs]
    measured = {f.title: [value_at(each, f.path) for each in metrics] for f in HEADLINES}
    known = {title: sum(v is not None for v in values) for title, values in measured.items()}
    # Depth as it is, unless more runs can be compared after a fit.
    del measured['AbsRel' if known['AbsRel fitted'] > known['AbsRel'] else 'AbsRel fitted']
    ground = 'On the classes that all models have.' if shared else ''
    found: list[Plot] = []
    for cost in COST[:2]:
        panels = [
            (cost, figure, _series(runs, measured[figure.title], cost))
            for figure in HEADLINES
            if known[figure.title] > 1 and figure.title in measured
        ]
        if panels:
            svg = plots.trade_off(panels, f'{anchor}-cost{len(found)}')
            caption = ground if any(f.path[0] in shared for _, f, _ in panels) else ''
            found.append(Plot(f'Accuracy against {_COST_TITLES[cost.title]}', svg, caption))
    return found


def one_of_each(runs: Sequence[Run]) -> list[tuple[Ink, Run]]:
    """The first run of every model: bars and outlines of a whole sweep say nothing."""
    first: dict[str, tuple[Ink, Run]] = {}
    for ink, run in zip(inks(runs), runs, strict=True):
        first.setdefault(_line(run), (ink, run))
    return list(first.values())


def _series(runs: Sequence[Run], accuracies: Sequence[float | None], cost: Column) -> list[Series]:
    """Runs of one model that differ in swept parameters make one line."""
    lines: dict[str, list[tuple[str, float, float]]] = {}
    shades: dict[str, Ink] = {}
    for ink, run, y in zip(inks(runs), runs, accuracies, strict=True):
        x = cost.of(run.summary)
        shades.setdefault(_line(run), Ink(_line(run), ink.colour))
        if x is not None and y is not None:
            lines.setdefault(_line(run), []).append((run.point, x * cost.scale, y))
    return [
        Series(
            shades[name],
            tuple(point for point, _, _ in line),
            tuple(x for _, x, _ in line),
            tuple(y for _, _, y in line),
        )
        for name, line in lines.items()
    ]


def _line(run: Run) -> str:
    """The name that all points of a sweep share."""
    return run.label.removesuffix(run.point).strip()


def _measured(runs: Sequence[Run], metric: str) -> list[tuple[Ink, Mapping[str, Json]]]:
    """Colour and figures of the runs that have figures of a metric."""
    return [
        (ink, run.summary.metrics[metric])
        for ink, run in one_of_each(runs)
        if run.summary.metrics.get(metric)
    ][:_MOST_BARS]


def detection(runs: Sequence[Run], anchor: str) -> list[Plot]:
    """Average precision by class and by size."""
    found = [(name, f) for name, f in _measured(runs, DETECTION) if f.get('classes')]
    if not found:
        return []
    counts: dict[str, int] = {}
    for _, figures in found:
        counts.update({k: v['objects'] for k, v in figures['classes'].items()})
    by_class = [(n, {k: v['ap'] or 0.0 for k, v in f['classes'].items()}) for n, f in found]
    by_size = [(n, {k.removeprefix('ap_'): f[k] or 0.0 for k in _SIZES}) for n, f in found]
    sizes = {'small': 3, 'medium': 2, 'large': 1}
    return [
        Plot(
            'Average precision by class',
            plots.class_bars(by_class, counts, f'{anchor}-classes'),
            'With the number of objects; the most frequent classes.',
        ),
        Plot(
            'By size of the object',
            plots.class_bars(by_size, sizes, f'{anchor}-sizes', counted=False),
            'Small: below 32 by 32 pixels of the image; large: above 96 by 96.',
        ),
        Plot(
            'Which threshold to choose',
            plots.operating_points(
                [(ink, f['operating_points']) for ink, f in found], f'{anchor}-points'
            ),
            'At an overlap of 0.5, over all classes; the dot is a score threshold of 0.35.',
        ),
        *_score_reliability(found, anchor),
        *_error_kinds(found, anchor),
    ]


def _score_reliability(
    found: Sequence[tuple[Ink, Mapping[str, Json]]], anchor: str
) -> Iterator[Plot]:
    """Precision by score; records of earlier versions have none."""
    bins = [(ink, figures['reliability']) for ink, figures in found if figures.get('reliability')]
    if bins:
        yield Plot(
            'Are scores probabilities?',
            plots.reliability(bins, f'{anchor}-reliability'),
            'At an IoU of 0.5, scores of 0.3 and more; a score on the dashed line '
            'is a probability.',
        )


def _error_kinds(found: Sequence[tuple[Ink, Mapping[str, Json]]], anchor: str) -> Iterator[Plot]:
    """AP50 that each kind of error costs; records of earlier versions have none."""
    runs = [(ink, figures['errors']) for ink, figures in found if figures.get('errors')]
    if runs:
        costs = [(ink, {kind: e['d_ap50'] for kind, e in kinds.items()}) for ink, kinds in runs]
        order = {kind: -place for place, kind in enumerate(KINDS)}
        yield Plot(
            'What errors cost',
            plots.class_bars(costs, order, f'{anchor}-errors', counted=False, top=None),
            'AP50 that correcting every error of a kind would add (TIDE); both: class and place.',
        )


def segmentation(runs: Sequence[Run], anchor: str) -> list[Plot]:
    """Intersection over union by class, and confusion."""
    found = _measured(runs, SEGMENTATION)
    if not found:
        return []
    pixels: dict[str, int] = {}
    for _, figures in found:
        for label, each in figures['classes'].items():
            pixels[label] = max(pixels.get(label, 0), each['pixels'])
    share = {k: round(100 * v / max(sum(pixels.values()), 1)) for k, v in pixels.items()}
    bars = [(n, {k: v['iou'] for k, v in f['classes'].items()}) for n, f in found]
    ink, first = found[0]
    kept = sorted(first['confusion'], key=lambda label: -pixels.get(label, 0))[:_MOST_CONFUSED]
    counts = {true: first['confusion'][true] for true in sorted(kept)}
    return [
        Plot(
            'Intersection over union by class',
            plots.class_bars(bars, share, f'{anchor}-iou'),
            'With the share of true pixels in per cent.',
        ),
        Plot(
            f'Confusion of {ink.name}',
            plots.confusion_map(counts, f'{anchor}-confusion'),
            'Per cent of the pixels of each true class (rows): blue is right, orange is wrong.',
        ),
    ]


def depth(runs: Sequence[Run], anchor: str) -> list[Plot]:
    """Errors by distance."""
    found = [(name, f['ranges']) for name, f in _measured(runs, DEPTH) if f.get('ranges')]
    if not found:
        return []
    caption = 'Over all pixels with true depth; depth without scale is fitted to the truth first.'
    return [Plot('By distance', plots.depth_ranges(found, f'{anchor}-ranges'), caption)]


def _parts(timing: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return the percentiles of each part of a frame: blocks instead of the whole inference."""
    blocks = timing.get('block_ms', {})
    stages = timing['latency_ms']
    parts = {k: v for k, v in stages.items() if k != 'inference' or not blocks}
    return {**parts, **blocks}


def time(runs: Sequence[Run], anchor: str) -> list[Plot]:
    """Time by stage, spread over frames, and a recording from end to end."""
    stages = [
        (ink, _parts(run.summary.timing))
        for ink, run in [*zip(inks(runs), runs, strict=True)][:_MOST_STAGES]
        if 'total' in run.summary.timing['latency_ms']
    ]
    found = []
    if stages:
        found.append(Plot('Time by stage', time_plots.stage_bars(stages, f'{anchor}-stages')))
    panels = []
    for title, path in _SPREADS:
        spread = []
        for ink, run in one_of_each(runs)[:_MOST_OUTLINES]:
            numbers = [{**f.metrics, 'latency_ms': f.latency_ms} for f in run.frames]
            values = [v for n in numbers if (v := value_at(n, path)) is not None]
            if len(values) > 1:
                spread.append((ink, values))
        if spread:
            panels.append((title, spread))
    if panels:
        svg = time_plots.histograms(panels, f'{anchor}-spread')
        found.append(Plot('How frames differ', svg))
    first = runs[0]
    if first.is_recording and len(first.frames) > 1:
        gaps = time_plots.gaps(first.frames)
        failed = sum(bool(frame.failures) for frame in first.frames)
        caption = (
            f'{gaps} {"gap" if gaps == 1 else "gaps"} between frames (shaded), {failed} '
            f'{"frame" if failed == 1 else "frames"} with a failure (lines).'
        )
        svg = time_plots.timeline(first.frames, f'{anchor}-timeline')
        found.append(Plot(f'The recording from end to end, {first.label}', svg, caption))
    return found


_SPREADS = (
    ('latency, ms', ('latency_ms', 'total')),
    ('AP of a frame', (DETECTION, 'ap')),
    ('mIoU of a frame', (SEGMENTATION, 'miou')),
    ('AbsRel of a frame', (DEPTH, 'metric', 'abs_rel')),
)
"""Title and place of the numbers of single frames."""
