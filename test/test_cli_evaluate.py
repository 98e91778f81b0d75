# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception evaluate`` as a person uses it: files, exit status, what it says."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_bags import Contents, write_bag
from test_output import full_disk
from tiny_model import write_tiny_model

from mt_perception.cli.main import main
from mt_perception.cli.metrics_table import reliability_table
from mt_perception.evaluation.records import Summary, without_timing


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(write_tiny_model(tmp_path / 'tiny'))


def evaluate(*arguments: object) -> int:
    return main(['evaluate', *map(str, arguments)])


def summaries(out: Path) -> dict[str, dict[str, object]]:
    files = sorted(out.rglob('summary.json'))
    return {str(f.parent.relative_to(out)): json.loads(f.read_text()) for f in files}


def test_one_bag(tmp_path: Path, model: str, capfd: pytest.CaptureFixture[str]) -> None:
    bag = write_bag(tmp_path / 'kitchen')
    assert evaluate(bag, '--model', model, '--out', tmp_path / 'out') == 0
    assert list(summaries(tmp_path / 'out')) == ['kitchen']
    printed = capfd.readouterr().out
    assert 'AbsRel' in printed
    assert 'kitchen' in printed


def test_junit_in_the_output_folder(tmp_path: Path, model: str) -> None:
    bag, out = write_bag(tmp_path / 'kitchen', Contents(frames=2)), tmp_path / 'out'
    given = [bag, '--model', model, '--out', out, '--no-report', '--junit', out / 'ci.xml']
    assert evaluate(*given) == 0
    assert evaluate(*given) == 0


@pytest.mark.parametrize(
    ('part', 'name', 'value'),
    [
        ('data', 'inputs', None),
        ('data', 'inputs', [1]),
        ('data', 'notes', 3),
        ('counts', 'frames', 'two'),
        ('counts', 'macs_mean', None),
        ('timing', 'latency_ms', 3),
        ('timing', 'jobs_at_once', '2'),
        ('metrics', 'detection', 3),
        ('model', 'labels', {'detection': [[]]}),
        ('model', 'baseline', [{}]),
        ('parameters', 'swept', 'size'),
    ],
)
def test_a_damaged_summary_is_no_completed_evaluation(
    part: str,
    name: str,
    value: object,
    tmp_path: Path,
    model: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    bag, out = write_bag(tmp_path / 'kitchen', Contents(frames=1)), tmp_path / 'out'
    given = [bag, '--model', model, '--out', out, '--no-report']
    assert evaluate(*given) == 0
    path = out / 'kitchen' / 'summary.json'
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({**whole, part: {**whole[part], name: value}}))
    assert main(['compare', str(out), str(out)]) == 1
    assert 'cannot read the summary' in ' '.join(capfd.readouterr().err.split())
    # It is evaluated again; a file that was changed is not replaced.
    assert evaluate(*given) == 1
    assert 'was changed since' in ' '.join(''.join(capfd.readouterr()).split())


def test_records_that_were_cut_are_no_completed_evaluation(
    tmp_path: Path, model: str, capfd: pytest.CaptureFixture[str]
) -> None:
    bag, out = write_bag(tmp_path / 'kitchen', Contents(frames=2)), tmp_path / 'out'
    given = [bag, '--model', model, '--out', out, '--no-report']
    assert evaluate(*given) == 0
    frames = out / 'kitchen' / 'frames.jsonl'
    whole = frames.read_text()
    frames.write_text(whole[:-9])
    for options in ([], ['--fresh']):
        capfd.readouterr()
        assert evaluate(*given, *options) == 1
        # Long lines are folded, inside of words too.
        printed = ''.join(''.join(capfd.readouterr()).split())
        assert 'complete' not in printed
        assert 'frames.jsonlwaschangedsincemt_perceptionwroteit' in printed
    assert frames.read_text() == whole[:-9]
    frames.unlink()
    assert evaluate(*given) == 0
    assert len(frames.read_text()) > 0


def test_links_that_lead_to_themselves(tmp_path: Path, model: str) -> None:
    """The image is refused; the others and the folder above are evaluated."""
    images = tmp_path / 'images'
    images.mkdir()
    cv2.imwrite(str(images / '0.png'), np.zeros((48, 64, 3), np.uint8))
    (images / '1.png').symlink_to('1.png')
    (images / 'above').symlink_to('../images')
    out = tmp_path / 'out'
    assert evaluate(images, '--model', model, '--out', out, '--no-report') == 0
    assert summaries(out)['images']['counts']['frames'] == 1


def test_two_runs_are_equal_but_for_timing(tmp_path: Path, model: str) -> None:
    bag = write_bag(tmp_path / 'kitchen')
    lines = []
    for out in (tmp_path / 'a', tmp_path / 'b'):
        assert evaluate(bag, '--model', model, '--out', out, '--no-report') == 0
        text = (out / 'kitchen' / 'frames.jsonl').read_text()
        lines.append([without_timing(line) for line in text.splitlines()])
    assert lines[0] == lines[1]


def test_one_bad_bag_of_ten(tmp_path: Path, model: str, capfd: pytest.CaptureFixture[str]) -> None:
    bags = [write_bag(tmp_path / f'bag{i}', Contents(frames=2)) for i in range(10)]
    next(bags[6].glob('*.mcap')).write_bytes(b'')
    out = tmp_path / 'out'
    assert evaluate(*bags, '--model', model, '--out', out, '--workers', 2, '--no-report') == 1
    assert sorted(summaries(out)) == [f'bag{i}' for i in range(10) if i != 6]
    printed = ''.join(capfd.readouterr())
    assert 'bag6' in printed
    assert '1 of 10 failed' in printed


@pytest.mark.skipif(not find_spec('jinja2'), reason='the report needs the extra "eval"')
def test_a_report_on_a_full_disk_is_an_error(
    tmp_path: Path, model: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The records fit and the report does not: nothing says that it was written."""
    bag = write_bag(tmp_path / 'kitchen', Contents(frames=2))
    out = tmp_path / 'out'
    with full_disk(20_000):
        assert evaluate(bag, '--model', model, '--out', out) == 1
    printed = ' '.join(''.join(capfd.readouterr()).split())
    assert 'cannot write to' in printed
    assert 'written to' not in printed
    assert not (out / 'report.html').exists()
    assert list(summaries(out)) == ['kitchen']
    # With space the run goes on where it stopped.
    assert evaluate(bag, '--model', model, '--out', out) == 0
    assert (out / 'report.html').stat().st_size > 20_000


def test_a_sweep_goes_on_where_it_stopped(
    tmp_path: Path, model: str, capfd: pytest.CaptureFixture[str]
) -> None:
    bag = write_bag(tmp_path / 'kitchen')
    out = tmp_path / 'out'
    sweep = ('--sweep', 'size=64,96', '--sweep', 'score_threshold=0,0.5', '--no-report')
    assert evaluate(bag, '--model', model, '--out', out, *sweep) == 0
    found = summaries(out)
    assert len(found) == 4
    assert found['kitchen/size=96,score_threshold=0.5']['parameters']['swept'] == {
        'size': 96,
        'score_threshold': 0.5,
    }
    lost = out / 'kitchen' / 'size=64,score_threshold=0.5' / 'summary.json'
    kept = out / 'kitchen' / 'size=64,score_threshold=0.0' / 'summary.json'
    before = kept.read_text()
    lost.unlink()
    # A summary without its records is not complete either.
    (out / 'kitchen' / 'size=96,score_threshold=0.0' / 'frames.jsonl').unlink()
    capfd.readouterr()
    assert evaluate(bag, '--model', model, '--out', out, *sweep) == 0
    assert '2 of 4 are complete' in capfd.readouterr().out
    assert lost.is_file()
    assert kept.read_text() == before
    assert evaluate(bag, '--model', model, '--out', out, *sweep, '--fresh') == 0
    assert kept.read_text() != before


def test_two_cameras_name_both_and_the_option(
    tmp_path: Path, model: str, capfd: pytest.CaptureFixture[str]
) -> None:
    bag = write_bag(tmp_path / 'two', Contents(cameras=['/l/image', '/r/image']))
    out = tmp_path / 'out'
    assert evaluate(bag, '--model', model, '--out', out) == 1
    printed = ' '.join(capfd.readouterr().out.split())
    assert '--topic' in printed
    assert '/l/image, /r/image' in printed
    assert evaluate(bag, '--model', model, '--out', out, '--topic', '/l/image') == 0


def test_a_table_of_confidence_names_its_run() -> None:
    rows = [{'confidence': 0.9, 'accuracy': 0.8, 'pixels': 10}]
    metrics = {'segmentation': {'reliability': rows, 'ece': 0.1}}
    parameters = {'swept': {'budget': 0.6}}
    summary = Summary('bag', {'name': 'tiny'}, {}, parameters, metrics, {}, {}, {}, {}, {})
    table = reliability_table(summary)
    assert table is not None
    assert str(table.caption).startswith('bag tiny budget=0.6: confidence')


def test_images_with_truth_beside_them(tmp_path: Path, model: str) -> None:
    images, known = tmp_path / 'images', tmp_path / 'known' / 'depth_mm'
    images.mkdir()
    known.mkdir(parents=True)
    cv2.imwrite(str(images / 'a.png'), np.full((48, 64, 3), 100, np.uint8))
    cv2.imwrite(str(known / 'a.png'), np.full((48, 64), 500, np.uint16))
    out = tmp_path / 'out'
    options = ('--model', model, '--out', out, '--truth', known.parent, '--focal-px', 60)
    assert evaluate(images, *options) == 0
    figures = summaries(out)['images']['metrics']['depth']['metric']
    # DEPTH_OF_WHITE × brightness × focal length, against half a metre.
    assert figures['abs_rel'] == pytest.approx(abs(0.02 * 100 / 255 * 60 - 0.5) / 0.5, rel=1e-3)


@pytest.mark.parametrize(
    ('arguments', 'status', 'words'),
    [
        (['--sweep', 'speed=1'], 1, 'parameters: size'),
        (['--size', '63'], 1, 'size must be'),
        (['--camera-info', '{tmp}/c.yaml', '--focal-px', '3'], 2, 'not both'),
        (['--class-names', '{tmp}/none.yaml'], 2, 'does not exist'),
        (['--out', '/proc/no'], 1, 'cannot write'),
        (['--model', 'nothing-like-this'], 1, 'neither a folder nor installed'),
        (['--baseline', 'onnx:nothing.onnx'], 1, 'cannot be read'),
    ],
)
def test_wrong_use_says_what_to_do(
    tmp_path: Path,
    model: str,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    words: str,
) -> None:
    bag = write_bag(tmp_path / 'kitchen')
    (tmp_path / 'c.yaml').write_text('')
    given = [text.format(tmp=tmp_path) for text in arguments]
    assert evaluate(bag, '--model', model, '--out', tmp_path / 'out', *given) == status
    assert words in ' '.join(''.join(capfd.readouterr()).split())


@pytest.mark.skipif(find_spec('ray') is not None, reason='ray is installed')
def test_ray_where_it_is_missing(
    tmp_path: Path, model: str, capfd: pytest.CaptureFixture[str]
) -> None:
    bag = write_bag(tmp_path / 'kitchen')
    arguments = ('--model', model, '--out', tmp_path / 'out', '--engine', 'ray')
    assert evaluate(bag, *arguments) == 1
    assert "pip install 'ray[serve]'" in ''.join(capfd.readouterr())
