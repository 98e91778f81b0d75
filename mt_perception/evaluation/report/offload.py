# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Offload in the report: accuracy over bytes, and time of a frame over narrow links."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mt_perception.evaluation.link.study import LOCAL, LinkRow, LinkStudy
from mt_perception.evaluation.metrics.delta_mtl import delta_mtl
from mt_perception.evaluation.rate_distortion import (
    IMAGE,
    JPEG,
    RATE,
    REFERENCE,
    WEBP,
    Codec,
    bytes_needed,
    parse_codec,
)
from mt_perception.evaluation.report.metric_columns import BYTES, HEADLINES, Column
from mt_perception.evaluation.report.offload_plots import Curve, link_curves, rate_curves
from mt_perception.evaluation.report.plot_groups import Plot
from mt_perception.evaluation.report.tables import Cell, Row, Table
from mt_perception.evaluation.runs import Run

TITLES = {IMAGE: 'no loss', JPEG: 'JPEG', WEBP: 'WebP', RATE: 'features'}
_KINDS = (JPEG, WEBP, RATE)


def codec_of(run: Run) -> Codec | None:
    """The codec that the frames of a run passed through."""
    text = run.summary.parameters.get('codec')
    return parse_codec(text) if text else None


def codec_runs(runs: Sequence[Run]) -> dict[Codec, Run]:
    """The runs whose frames passed through a codec, those of the first such model."""
    coded = [(codec, run) for run in runs if (codec := codec_of(run)) is not None]
    return {codec: run for codec, run in coded if run.model == coded[0][1].model}


def title_of(codec: Codec) -> str:
    """Name of a codec in the report."""
    name = {JPEG: 'q', WEBP: 'q', RATE: 'rate '}.get(codec.kind)
    return TITLES[codec.kind] + ('' if name is None else f' {name}{codec.value}')


def rate_table(runs: Sequence[Run]) -> Table | None:
    """Bytes and accuracy of every codec, and how much is lost against the image itself."""
    coded = codec_runs(runs)
    if len(coded) < 2:
        return None
    figures = _measured(coded.values())
    whole, reference = coded.get(Codec(IMAGE)), coded.get(REFERENCE)
    sizes = {codec: BYTES.of(run.summary) or 0.0 for codec, run in coded.items()}
    full = None if reference is None else sizes[REFERENCE]
    rows = []
    for codec, run in coded.items():
        gains = {} if whole is None or codec.kind == IMAGE else _gains(run, whole)
        cells = [
            Cell(BYTES.text(sizes[codec])),
            Cell(f'{sizes[codec] / full:.2f}' if full else '-'),
        ]
        for figure in figures:
            cells.append(Cell(figure.text(figure.of(run.summary))))
            gain = gains.get(figure.path[0])
            cells.append(Cell('-' if gain is None else f'{100 * gain:+.1f} %'))
        rows.append(Row(title_of(codec), '', tuple(cells)))
    columns = [
        (BYTES.title, BYTES.explanation),
        ('of JPEG', f'of the bytes at q{REFERENCE.value}'),
    ]
    for figure in figures:
        columns.append((f'{figure.title}\N{NO-BREAK SPACE}{figure.arrow}', figure.explanation))
        columns.append(('change', 'against no loss; below 0 is worse'))
    return Table('Offload: accuracy over bytes', tuple(columns), tuple(rows), _needed(coded))


def rate_plots(runs: Sequence[Run], anchor: str) -> list[Plot]:
    """Curves of every task's main figure over bytes."""
    coded = codec_runs(runs)
    panels = []
    for figure in _measured(coded.values()):
        curves = [
            Curve(TITLES[kind], tuple(points), tuple(str(c.value) for c in codecs))
            for kind in _KINDS
            if (found := _points(coded, kind, figure))
            for codecs, points in [zip(*found, strict=True)]
        ]
        whole = coded.get(Codec(IMAGE))
        line = None if whole is None else figure.of(whole.summary)
        if curves:
            panels.append((figure, curves, line))
    if not panels:
        return []
    caption = (
        "Every codec compresses the network's own input. Numbers at points are qualities "
        'and indices of rates; the dotted line is without loss.'
    )
    return [Plot('Accuracy over bytes', rate_curves(panels, f'{anchor}-rates'), caption)]


def link_table(study: LinkStudy) -> Table:
    """Time of a frame over every link: run here, sent as a picture, sent as features."""
    sent = [way for way in study.ways if way != LOCAL]
    (local,) = study.find(LOCAL)
    by_link: dict[float, dict[str, LinkRow]] = {}
    for way in sent:
        for row in study.find(way):
            by_link.setdefault(row.mbit_s, {})[way] = row
    rows = [
        Row(
            f'{mbit_s:g} Mbit/s',
            '',
            (
                Cell(f'{local.p50_ms:.0f}'),
                *(Cell(f'{found[way].p50_ms:.0f}') for way in sent),
                *_of_reference(found, sent),
            ),
        )
        for mbit_s, found in sorted(by_link.items())
    ]
    kilobytes = {way: study.find(way)[0].payload_bytes * 1e-3 for way in sent}
    ways = [(way_title(way), f'ms, median; {kilobytes[way]:.1f} kB') for way in sent]
    ratios = [(f'{way_title(way)} / {way_title(REFERENCE.name)}', '') for way in _ratios(sent)]
    columns = (('local', 'ms, median'), *ways, *ratios)
    return Table(
        f'Offload: a frame over a link, {study.model["name"]}', columns, tuple(rows), _note(study)
    )


def link_plots(studies: Sequence[LinkStudy], anchor: str) -> list[Plot]:
    """Time of a frame against bandwidth."""
    return [
        Plot(
            f'End-to-end time against bandwidth, {study.model["name"]}',
            link_curves(
                {way_title(way): study.find(way) for way in study.ways if way != LOCAL},
                study.find(LOCAL)[0].p50_ms,
                f'{anchor}-link{number}',
            ),
            _note(study),
        )
        for number, study in enumerate(studies)
    ]


def way_title(way: str) -> str:
    """Name in the report of a way to run a frame."""
    return 'local' if way == LOCAL else title_of(parse_codec(way))


def _measured(runs: Iterable[Run]) -> list[Column]:
    """One figure for each task that was measured."""
    summaries = [run.summary for run in runs]
    found = [f for f in HEADLINES if any(f.of(summary) is not None for summary in summaries)]
    metric = any(f.title == 'AbsRel' for f in found)
    return [f for f in found if not (metric and f.title == 'AbsRel fitted')]


def _points(
    coded: Mapping[Codec, Run], kind: str, figure: Column
) -> list[tuple[Codec, tuple[float, float]]]:
    """Codecs of one kind with (bytes, figure), in the order of their bytes."""
    points = []
    for codec, run in coded.items():
        size, value = BYTES.of(run.summary), figure.of(run.summary)
        if codec.kind == kind and size is not None and value is not None:
            points.append((codec, (size, value)))
    return sorted(points, key=lambda point: point[1])


def _gains(run: Run, whole: Run) -> dict[str, float]:
    """Task → relative gain of a run against the one without loss."""
    change = delta_mtl(run.summary.metrics, whole.summary.metrics, '')
    return {} if change is None else {part.task: part.change for part in change.tasks}


def _needed(coded: Mapping[Codec, Run]) -> str:
    """Bytes that each kind needs for the accuracy of the reference; a sentence for each metric."""
    if REFERENCE not in coded:
        return ''
    reference = coded[REFERENCE].summary
    full = BYTES.of(reference) or 1.0
    said = []
    for figure in _measured(coded.values()):
        goal = figure.of(reference)
        if goal is None:
            continue
        needs = []
        for kind in (RATE, WEBP):
            points = [point for _, point in _points(coded, kind, figure)]
            need = bytes_needed(points, goal, figure.higher) if points else None
            if points:
                text = 'never' if need is None else f'at {need / full:.2f} of its bytes'
                needs.append(f'{TITLES[kind]} {text}')
        if needs:
            said.append(
                f'As good as {title_of(REFERENCE)} in {figure.title} ({figure.text(goal)}): '
                f'{", ".join(needs)}.'
            )
    return ' '.join(said)


def _ratios(sent: Sequence[str]) -> list[str]:
    """The ways that are compared with the reference, where that was measured."""
    return [way for way in sent if way != REFERENCE.name] if REFERENCE.name in sent else []


def _of_reference(found: Mapping[str, LinkRow], sent: Sequence[str]) -> list[Cell]:
    return [Cell(f'{found[w].p50_ms / found[REFERENCE.name].p50_ms:.2f}') for w in _ratios(sent)]


def _note(study: LinkStudy) -> str:
    settings = study.settings
    host = ', '.join(
        f'{way_title(way)} {study.find(way)[-1].host_ms:.0f} ms'
        for way in study.ways
        if way != LOCAL
    )
    back = 'both ways as narrow' if settings.down else 'the way back not limited'
    return (
        f'Measured on this machine with {settings.frames} frames; robot, link and host are '
        f'processes on it, {study.machine["cores"]} cores of {study.machine["processor"]}. '
        f'{settings.delay_ms:g} ms one way, {back}. Every frame is sent and waited for: no '
        f'deadline, no decision. Of that time at the host: {host}.'
    )
