# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The report: whole, self-contained, and safe whatever a bag calls its things."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_model import write_tiny_model

pytest.importorskip('jinja2')
pytest.importorskip('matplotlib')

from mt_perception.errors import OutputError
from mt_perception.evaluation import report
from mt_perception.evaluation.datasets.sample_source import SampleSource
from mt_perception.evaluation.datasets.truth import GroundTruth, Sample, TrueObjects
from mt_perception.evaluation.job import Job, all_metrics, run_job
from mt_perception.evaluation.predictor import Predictor
from mt_perception.evaluation.record_writer import RecordWriter
from mt_perception.evaluation.records import FrameRecord
from mt_perception.evaluation.report import write_report
from mt_perception.evaluation.report.frame_pictures import (
    BEST,
    SAMPLE,
    TYPICAL,
    WORST,
    Pictures,
    Shown,
    choose,
    draw,
)
from mt_perception.evaluation.report.models import model_graphs
from mt_perception.evaluation.report.page import render
from mt_perception.evaluation.report.plots import class_bars
from mt_perception.evaluation.report.svg import Ink
from mt_perception.evaluation.report.tables import metrics_table
from mt_perception.evaluation.runner import evaluate
from mt_perception.evaluation.runs import Run, read_run
from mt_perception.evaluation.shared_classes import restrict_metrics
from mt_perception.geometry.camera import typical
from mt_perception.reports import Execution
from mt_perception.types import (
    DEPTH,
    DETECTION,
    SEGMENTATION,
    DepthMap,
    Detections,
    Frame,
    Result,
    Segmentation,
)

LABELS = ('cup', 'door')
HOSTILE = '</title></svg><script>alert(1)</script><img src=x onerror=alert(1)>"\'&$x_1$\x07'


@pytest.fixture(scope='module')
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp('model'))


class Page(HTMLParser):
    """Tags and attributes of a page, and whether its tags are in balance."""

    VOID = frozenset({'meta', 'img', 'input', 'br', 'link', 'hr'})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ''
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


class Scenes(SampleSource):
    """A few images with all kinds of truth."""

    def __init__(self, name: str, kind: str, labels: tuple[str, ...], count: int) -> None:
        super().__init__(name, kind, ('boxes', 'labels', 'depth'), count)
        self.name = name  # Unlike real sources, without making it safe.
        self.labels = labels
        self.count = count

    def __iter__(self):
        rng = np.random.default_rng(0)
        for index in range(self.count):
            image = rng.integers(100, 120, (48, 64, 3), np.uint8)
            objects = TrueObjects(
                np.array([[4, 4, 30, 40], [34, 8, 60, 44]], np.float32),
                np.array([0, 1]),
                np.zeros(2, np.bool_),
                np.array([900.0, 900.0]),
                frozenset({0, 1}),
                self.labels,
            )
            truth = GroundTruth(
                objects,
                (np.arange(48 * 64).reshape(48, 64) % 64 > 30).astype(np.uint8),
                self.labels,
                np.full((48, 64), 2, np.float32),
            )
            stamp = index * 100_000_000 + (500_000_000 if index > 5 else 0)
            yield Sample(Frame(image, stamp), truth, f'{self.name}/{index}', self.name)

    def close(self) -> None:
        """Nothing to close."""


def predictor(name: str, labels: tuple[str, ...], skill: float) -> Predictor:
    """A model that is right about as often as its skill says."""
    tasks = (DETECTION, SEGMENTATION, DEPTH)

    def run(frame: Frame) -> Result:
        rng = np.random.default_rng(int(frame.image[0, 0, 0]))
        shift = np.float32((1 - skill) * rng.uniform(0, 20))
        boxes = np.array([[4, 4, 30, 40], [34, 8, 60, 44]], np.float32) + shift
        classes = (np.arange(48 * 64).reshape(48, 64) % 64 > 30 + shift).astype(np.uint8)
        depth = np.full((48, 64), 2 + 0.1 * float(shift), np.float32)
        return Result(
            frame.stamp_ns,
            '',
            Detections(boxes, np.array([0.9, 0.6], np.float32), np.array([0, 1]), labels),
            DepthMap(depth, typical(48, 64)),
            Segmentation(classes, labels),
            Execution(
                tasks,
                ('trunk',),
                'full' if frame.stamp_ns else 'light',
                'full',
                int(1e8 * skill),
                (48, 64),
                {'preprocess': 1.0, 'trunk': 10 * skill, 'total': 1 + 10 * skill},
            ),
        )

    labels_by_task = {DETECTION: labels, SEGMENTATION: labels, DEPTH: ()}
    identity = {'name': name, 'version': '1', 'sha256': 'a' * 64, 'labels': labels_by_task}
    return Predictor(name, labels_by_task, identity, run)


def make_run(
    folder: Path, name: str, skill: float, *, source: str = 'lab', kind: str = 'bag',
    labels: tuple[str, ...] = LABELS, **swept: object,
) -> Run:  # fmt: skip
    with RecordWriter(folder) as writer:
        evaluate(
            Scenes(source, kind, labels, 12),
            predictor(name, labels, skill),
            all_metrics(),
            writer,
            parameters={'swept': swept, 'source': source},
        )
    return read_run(folder)


@pytest.fixture(scope='module')
def page_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sweep of one model and another model, on a recording with a gap."""
    folder = tmp_path_factory.mktemp('runs')
    runs = [
        make_run(folder / 'a', 'ours', 0.9, size=416),
        make_run(folder / 'b', 'ours', 0.6, size=320),
        make_run(folder / 'c', 'theirs', 0.3),
    ]
    shown = Shown(BEST, 'key', 'AP 1.0', 'AAAA', (48, 64))
    return render('Evaluation', [runs], [Pictures((shown,))])


@pytest.mark.parametrize(
    'expected',
    [
        *('Evaluation', 'lab', 'ours size=416', 'theirs', 'AP', 'mIoU', 'AbsRel', 'Δ_MTL'),
        *(
            'Differences with confidence intervals',
            'Paths taken',
            'Temporal stability',
            'Time by stage',
        ),
        *('Accuracy against computation', 'Which threshold to choose', 'By distance'),
        *('The recording from end to end', '1 gap between', 'Confusion of ours size=416'),
    ],
)
def test_the_page_has_it_all(page_text: str, expected: str) -> None:
    assert expected in Page(page_text).text


def test_the_page_is_well_formed(page_text: str) -> None:
    page = Page(page_text)
    assert not page.open
    assert page.tags.count('svg') == 14
    ids = [value for name, value in page.attributes if name == 'id']
    assert len(ids) == len(set(ids))
    for name, value in page.attributes:
        if name in ('href', 'xlink:href') and value and value.startswith('#'):
            assert value[1:] in ids


def test_errors_and_reliability_of_detection_are_drawn(page_text: str) -> None:
    text = Page(page_text).text
    for title in ('What errors cost', 'Are scores probabilities?'):
        assert title in text


def test_nothing_is_fetched_and_nothing_runs(page_text: str) -> None:
    page = Page(page_text)
    assert not {'script', 'link', 'iframe', 'object', 'embed', 'base', 'form'} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith('on')
        if name in ('src', 'href', 'xlink:href', 'srcset', 'action'):
            assert value is not None
            assert value.startswith(('#', 'data:image/jpeg;base64,'))
    assert "default-src 'none'" in page_text
    assert not re.search(r'url\((?!#)|@import', page_text)


def test_names_from_a_bag_never_become_html(tmp_path: Path) -> None:
    shown = Shown(WORST, HOSTILE, HOSTILE, 'AAAA', (48, 64))
    runs = [
        make_run(tmp_path / 'a', HOSTILE, 0.9, source=HOSTILE, labels=(HOSTILE, 'door')),
        make_run(tmp_path / 'b', 'other', 0.5, source=HOSTILE, labels=(HOSTILE, 'door')),
    ]
    runs[0] = replace(runs[0], summary=replace(runs[0].summary, failures={f'depth: {HOSTILE}': 3}))
    text = render(
        HOSTILE, [runs, [runs[1]]], [Pictures((shown,), HOSTILE)] * 2, [(HOSTILE, HOSTILE)]
    )
    page = Page(text)
    assert not page.open
    assert 'script' not in page.tags
    assert '<script' not in text
    assert 'onerror' not in {name for name, _ in page.attributes}
    assert HOSTILE in page.text


def test_a_plot_escapes_and_does_not_typeset_names() -> None:
    svg = class_bars([(Ink('a', '#3b82f6'), {HOSTILE: 0.5})], {HOSTILE: 3}, 'x')
    assert '<script' not in svg
    assert '$x_1$' not in svg or '&lt;' in svg
    assert '#010203' not in svg
    assert 'currentColor' in svg


def test_the_report_of_several_sources(tmp_path: Path) -> None:
    one = make_run(tmp_path / 'a', 'ours', 0.9, source='lab')
    two = make_run(tmp_path / 'b', 'ours', 0.5, source='kitchen', kind='folder')
    failed = [('broken.bag', 'it is empty')]
    page = Page(render('Two', [[one], [two]], [Pictures(), Pictures()], failed))
    assert 'All sources' in page.text
    assert 'broken.bag failed: it is empty' in page.text
    # Photographs have no timeline.
    assert page.text.count('The recording from end to end') == 1


def test_figures_on_shared_classes(tmp_path: Path) -> None:
    run = make_run(tmp_path / 'a', 'ours', 0.7)
    shared = {DETECTION: frozenset({'cup'}), SEGMENTATION: frozenset({'door'})}
    metrics = restrict_metrics(run.summary, shared)
    cup = run.summary.metrics[DETECTION]['classes']['cup']
    assert metrics[DETECTION]['ap'] == pytest.approx(cup['ap'])
    assert list(metrics[SEGMENTATION]['classes']) == ['door']
    assert run.summary.metrics[DETECTION]['classes'].keys() == {'cup', 'door'}


def test_the_best_figure_stands_out_only_among_its_like(tmp_path: Path) -> None:
    ours = make_run(tmp_path / 'a', 'ours', 0.9)
    worse = make_run(tmp_path / 'b', 'worse', 0.2)
    other = make_run(tmp_path / 'c', 'other', 0.2, labels=('cup', 'cat'))

    def best(runs: list[Run]) -> set[str]:
        table = metrics_table(runs)
        styles = zip(table.columns, table.rows[0].cells, strict=True)
        return {title.split('\N{NO-BREAK SPACE}')[0] for (title, _), c in styles if c.style}

    assert {'AP', 'mIoU', 'AbsRel'} <= best([ours, worse])
    assert best([ours, other]) & {'AP', 'mIoU', 'AbsRel'} == {'AbsRel'}
    assert 'on the classes of each model' in metrics_table([ours, other]).note


def record(key: str, ap: float | None) -> FrameRecord:
    metrics = {} if ap is None else {DETECTION: {'ap': ap}}
    return FrameRecord(key, 's', 0, (1, 1), None, None, metrics)


def test_best_worst_and_typical_frames() -> None:
    frames = [record(str(i), ap) for i, ap in enumerate([0.5, 0.1, 0.9, 0.55, 0.45, 1.0, 0.0])]
    chosen = choose(frames, 2)
    assert {k for k, kind in chosen.items() if kind == WORST} == {'6', '1'}
    assert {k for k, kind in chosen.items() if kind == BEST} == {'5', '2'}
    assert {k for k, kind in chosen.items() if kind == TYPICAL} <= {'0', '3', '4'}
    far = choose([record(str(i), i / 60) for i in range(60)], 3, apart=5)
    indices = sorted(map(int, far))
    assert min(b - a for a, b in pairwise(indices)) >= 5


def test_without_truth_frames_are_taken_evenly() -> None:
    chosen = choose([record(str(i), None) for i in range(100)], 3)
    assert set(chosen.values()) == {SAMPLE}
    assert next(iter(chosen)) == '0'
    assert list(chosen)[-1] == '99'
    assert choose([], 3) == {}


def scenes(folder: Path) -> Path:
    """A folder of photographs to run a real model on."""
    (folder / 'images').mkdir(parents=True)
    rng = np.random.default_rng(1)
    for index in range(4):
        image = np.full((120, 160, 3), 90, np.uint8)
        x, y = rng.integers(0, 80, 2)
        image[y : y + 40, x : x + 60] = rng.integers(0, 255, 3)
        cv2.imwrite(str(folder / 'images' / f'{index}.png'), image)
    return folder


def test_the_report_of_a_real_evaluation(tmp_path: Path, tiny_model: Path) -> None:
    job = Job(str(scenes(tmp_path / 'lab')), str(tiny_model), tmp_path / 'out')
    run_job(job)
    write_report(tmp_path / 'report.html', 'Evaluation', [job])
    text = (tmp_path / 'report.html').read_text()
    assert len(text) < 5e6
    page = Page(text)
    sources = [value or '' for name, value in page.attributes if name == 'src']
    assert len(sources) == 4
    assert all(source.startswith('data:image/jpeg;base64,/9j/') for source in sources)
    assert 'model or the data has' not in page.text
    assert 'The task graph of each model' in page.text


def test_the_report_has_the_task_graph_of_each_model(tmp_path: Path, tiny_model: Path) -> None:
    """Once for each model; a model that is gone costs nothing else."""
    found = model_graphs(
        [str(tiny_model), str(tiny_model), 'onnx:net.onnx', str(tmp_path / 'gone')]
    )
    assert [graph.name for graph in found] == ['tiny 1']
    run = make_run(tmp_path / 'run', 'tiny', 0.5)
    text = render('Title', [[run]], [Pictures(())], models=found)
    page = Page(text)
    assert not page.open
    assert 'Models' in page.text
    for part in ('trunk', 'shared by detection, segmentation, depth', 'flowchart LR'):
        assert part in page.text


def test_pictures_say_when_they_are_not_of_what_was_measured(
    tmp_path: Path, tiny_model: Path
) -> None:
    lab = scenes(tmp_path / 'lab')
    job = Job(str(lab), str(tiny_model), tmp_path / 'out')
    run_job(job)
    run = read_run(job.folder)
    changed = replace(run.frames[0], digests={**run.frames[0].digests, 'depth': 'other'})
    assert 'has changed' in draw(job, replace(run, frames=(changed, *run.frames[1:])), 3).warning
    (lab / 'images').rename(lab / 'gone')
    made = draw(job, run, 3)
    assert made.frames == ()
    assert 'cannot be read again' in made.warning


def test_two_runs_of_one_model_are_told_apart(tmp_path: Path, tiny_model: Path) -> None:
    lab = str(scenes(tmp_path / 'lab'))
    jobs = [Job(lab, str(tiny_model), tmp_path / name) for name in ('through_node', 'in_process')]
    for job in jobs:
        run_job(job)
    write_report(tmp_path / 'report.html', 'Replay', jobs)
    text = (tmp_path / 'report.html').read_text()
    assert 'through_node' in text
    assert 'in_process' in text


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(report, 'find_spec', lambda name: None)
    with pytest.raises(OutputError, match=r'jinja2 and matplotlib; pip install'):
        write_report(tmp_path / 'report.html', 'Evaluation', [])
    assert not list(tmp_path.iterdir())
