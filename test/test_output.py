# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Commands write into folders of their own and remove only what they wrote."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_model import write_tiny_model

from mt_perception.cli import demo, evaluate, replay, run, video_writer
from mt_perception.cli.main import main
from mt_perception.cli.picture_writer import PictureWriter
from mt_perception.errors import OutputError
from mt_perception.evaluation.output import MARKER, OutputFolder, write_new_text, write_text


@contextmanager
def full_disk(free_bytes: int) -> Iterator[None]:
    """No file can grow beyond a size, which fails with an OSError as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / 'rec'
    folder.mkdir()
    for index in range(3):
        cv2.imwrite(str(folder / f'frame_{index:06d}.png'), np.full((48, 64, 3), 90, np.uint8))
    (folder / 'video.mp4').write_bytes(b'my film')
    return folder


@pytest.mark.parametrize('out', ['{rec}', '{rec}/..', '{rec}/../link', '{rec}/../rec/'])
@pytest.mark.parametrize('command', ['run', 'evaluate'])
def test_an_output_that_is_or_holds_the_source_is_refused(
    images: Path, tmp_path: Path, out: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'link').symlink_to(images)
    before = contents(tmp_path)
    tiny = str(write_tiny_model(tmp_path / 'tiny'))
    before = contents(tmp_path)
    place = out.format(rec=images)
    assert main([command, str(images), '--model', tiny, '--out', place]) == 1
    assert 'is or holds the source' in ' '.join(capsys.readouterr().err.split())
    assert contents(tmp_path) == before


def test_a_source_in_the_current_folder(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = str(write_tiny_model(tmp_path / 'tiny'))
    monkeypatch.chdir(images)
    before = contents(images)
    assert main(['run', 'frame_000000.png', '--model', tiny, '--out', '.']) == 1
    assert contents(images) == before


def test_a_current_folder_that_was_removed(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'removed').mkdir()
    monkeypatch.chdir(tmp_path / 'removed')
    (tmp_path / 'removed').rmdir()
    with pytest.raises(OutputError, match='cannot write to out: No such file'):
        OutputFolder(Path('out'), [images])


def test_a_folder_with_other_files_is_refused(images: Path, tmp_path: Path) -> None:
    tiny = str(write_tiny_model(tmp_path / 'tiny'))
    photos = tmp_path / 'photos'
    photos.mkdir()
    (photos / 'frame_000000.png').write_bytes(b'mine')
    assert main(['run', str(images), '--model', tiny, '--out', str(photos)]) == 1
    assert main(['evaluate', str(images), '--model', tiny, '--out', str(photos)]) == 1
    assert contents(photos) == {'frame_000000.png': b'mine'}


def test_a_changed_file_is_not_replaced(tmp_path: Path) -> None:
    output = OutputFolder(tmp_path / 'out')
    for name in ('a.txt', 'b.txt'):
        output.file(name).write_text('old')
    output.finish()
    (tmp_path / 'out' / 'b.txt').write_text('edited by hand')
    again = OutputFolder(tmp_path / 'out')
    with pytest.raises(OutputError, match='was changed since'):
        again.file('b.txt')
    with pytest.raises(OutputError, match=r'b\.txt was changed'):
        again.remove_earlier()
    assert contents(tmp_path / 'out').keys() == {'a.txt', 'b.txt', MARKER}
    (tmp_path / 'out' / 'b.txt').unlink()
    again.remove_earlier()
    assert contents(tmp_path / 'out').keys() == {MARKER}


def test_a_file_in_the_way_keeps_the_earlier_ones(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = str(write_tiny_model(tmp_path / 'tiny'))
    arguments = ['run', str(images), '--model', tiny, '--out', str(tmp_path / 'out')]
    assert main(arguments) == 0
    (tmp_path / 'out' / 'video.mp4').write_bytes(b'my film')
    before = contents(tmp_path / 'out')
    assert main([*arguments, '--save-video']) == 1
    assert 'did not write it' in capsys.readouterr().err
    assert contents(tmp_path / 'out') == before


def test_the_results_of_another_command_are_kept(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = str(write_tiny_model(tmp_path / 'tiny'))
    out = tmp_path / 'out'
    given = (str(images), '--model', tiny, '--out')
    assert main(['evaluate', *given, str(out), '--no-report']) == 0
    evaluation = next(out.rglob('summary.json')).parent
    before = contents(out)
    assert main(['run', *given, str(evaluation)]) == 1
    assert 'holds results of another command' in capsys.readouterr().err
    assert contents(out) == before
    # A run of its own is replaced, with its records and pictures.
    for more in (['--jsonl'], ['--show-every', '1'], []):
        assert main(['run', *given, str(tmp_path / 'run'), *more]) == 0


def test_commands_have_default_folders_of_their_own() -> None:
    defaults = [
        next(option.default for option in command.params if option.name == 'out')
        for command in (demo.demo, evaluate.evaluate, replay.replay, run.run)
    ]
    assert defaults == ['out/demo', 'out/evaluation', 'out/replay', 'out/run']


def test_a_marker_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    (tmp_path / 'precious').write_text('mine')
    output = OutputFolder(tmp_path / 'out')
    output.file('a').write_text('')
    with (tmp_path / 'out' / MARKER).open('a') as marker:
        marker.write('["../precious", null]\n["..", null]\nnonsense\n')
    OutputFolder(tmp_path / 'out').remove_earlier()
    assert contents(tmp_path).keys() == {'precious', f'out/{MARKER}'}


@pytest.mark.parametrize('content', [b'', b'\xff\xfe\n["a.txt", null]\n'])
def test_a_damaged_marker(content: bytes, tmp_path: Path) -> None:
    """Of a full disk, or of another program."""
    (tmp_path / MARKER).write_bytes(content)
    folder = OutputFolder(tmp_path)
    folder.file('b.txt').write_text('ours')
    folder.finish()
    folder.remove_earlier()
    assert not (tmp_path / 'b.txt').exists()


def test_a_full_disk_names_the_folder(tmp_path: Path) -> None:
    with (
        full_disk(0),
        pytest.raises(OutputError, match='cannot write to'),
        OutputFolder(tmp_path / 'new').exclusive(),
    ):
        pass


def test_folders_of_other_commands_do_not_block(tmp_path: Path) -> None:
    OutputFolder(tmp_path / 'out' / 'evaluation').file('a').write_text('')
    OutputFolder(tmp_path / 'out').file('b')
    (tmp_path / 'other' / 'mine').mkdir(parents=True)
    (tmp_path / 'other' / 'mine' / 'notes').write_text('')
    with pytest.raises(OutputError, match='for example mine'):
        OutputFolder(tmp_path / 'other')


def test_a_claimed_folder_lists_what_is_new(tmp_path: Path) -> None:
    folder = tmp_path / 'model'
    with OutputFolder(folder).claimed():
        (folder / 'a.onnx').write_bytes(b'1')
    (folder / 'notes').write_text('mine')
    with OutputFolder(folder).claimed():
        (folder / 'a.onnx').write_bytes(b'22')
        (folder / 'b.onnx').write_bytes(b'3')
    OutputFolder(folder).remove_earlier()
    assert contents(folder).keys() == {'notes', MARKER}


@pytest.mark.parametrize('command', ['run', 'evaluate'])
def test_two_commands_do_not_share_a_folder(
    command: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = str(write_tiny_model(tmp_path / 'model')), tmp_path / 'out'
    given = [command, str(images), '--model', model, '--out', str(out)]
    given += ['--no-report'] if command == 'evaluate' else ['--jsonl']
    folder = out / images.name if command == 'evaluate' else out
    with OutputFolder(folder).exclusive():
        before = sorted(folder.iterdir())
        assert main(given) == 1
        shown = capsys.readouterr()
        assert 'another command is writing to' in ' '.join((shown.out + shown.err).split())
        assert sorted(folder.iterdir()) == before
    assert main(given) == 0
    # The marker lists every file, so the next command may replace them.
    assert main([*given, *(['--fresh'] if command == 'evaluate' else [])]) == 0


def test_a_named_file_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / 'graph.dot'
    write_new_text(path, 'digraph {}', lambda text: text.startswith('digraph'))
    write_new_text(path, 'digraph {1}', lambda text: text.startswith('digraph'))
    path.write_bytes(b'\xff\xfe')
    with pytest.raises(OutputError, match='choose another name'):
        write_new_text(path, 'digraph {}', lambda text: True)
    assert path.read_bytes() == b'\xff\xfe'


def test_a_file_beside_the_written_one_stays(tmp_path: Path) -> None:
    (tmp_path / 'a.txt.partial').write_text('mine')
    write_text(tmp_path / 'a.txt', 'text')
    assert contents(tmp_path) == {'a.txt': b'text', 'a.txt.partial': b'mine'}


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / 'a.txt'
    write_text(path, 'old')
    with full_disk(1000), pytest.raises(OutputError, match='cannot write to'):
        write_text(path, 'x' * 5000)
    assert contents(tmp_path) == {'a.txt': b'old'}


def add_to_video(folder: OutputFolder, image: np.ndarray) -> None:
    with PictureWriter(folder, 0, 10.0) as writer:
        for _ in range(20):
            writer.add(image)


@pytest.mark.parametrize('has_h264', [False, True])
def test_a_picture_and_a_video_on_a_full_disk(
    tmp_path: Path, has_h264: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_h264:
        pytest.importorskip('av')
    monkeypatch.setattr(video_writer, 'has_h264', lambda: has_h264)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    with full_disk(5000), pytest.raises(OutputError, match=r'cannot write to .*frame_000000'):
        PictureWriter(OutputFolder(tmp_path / 'a'), 1, None).add(noise)
    with full_disk(5000), pytest.raises(OutputError, match='free some space'):
        add_to_video(OutputFolder(tmp_path / 'b'), noise)


@pytest.mark.parametrize(('command', 'extra'), [('evaluate', []), ('run', ['--jsonl'])])
def test_a_command_on_a_full_disk_fails(
    images: Path,
    tmp_path: Path,
    command: str,
    extra: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip('jinja2')
    tiny = str(write_tiny_model(tmp_path / 'tiny'))
    out = tmp_path / 'out'
    with full_disk(3000):
        status = main([command, str(images), '--model', tiny, '--out', str(out), *extra])
    shown = capsys.readouterr()
    assert status == 1
    assert 'written to' not in shown.out
    assert not (out / 'report.html').exists()


def test_evaluate_without_room_for_the_report_fails(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('jinja2')
    tiny = str(write_tiny_model(tmp_path / 'tiny'))
    out = tmp_path / 'out'
    arguments = ['evaluate', str(images), '--model', tiny, '--out', str(out)]
    assert main([*arguments, '--no-report']) == 0
    capsys.readouterr()
    with full_disk(20000):
        assert main(arguments) == 1
    shown = capsys.readouterr()
    assert 'written to' not in shown.out
    assert 'report.html' in ' '.join(shown.err.split())
    assert os.listdir(out) != []
    assert main(arguments) == 0
    assert (out / 'report.html').stat().st_size > 20000
