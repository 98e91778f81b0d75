# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Builds the sdist, and the wheel from the sdist, into a folder.

`python tools/distributions.py dist`. It works on a copy, because setuptools writes into the tree
that it builds, and needs no network: setuptools is that of this environment.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOT_SHIPPED = shutil.ignore_patterns(
    '.git', '.venv*', '.*_cache', '__pycache__', 'build', 'dist', 'out', 'runs', 'site',
    '*.egg-info', 'shared',
)  # fmt: skip


def build(into: Path) -> tuple[Path, Path]:
    """Build both and return (wheel, sdist)."""
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        tree = Path(temporary, 'source')
        shutil.copytree(ROOT, tree, ignore=NOT_SHIPPED)
        _run([sys.executable, 'setup.py', '-q', 'sdist', '-d', str(into.resolve())], tree)
        sdist = max(into.glob('*.tar.gz'), key=lambda file: file.stat().st_mtime_ns)
        unpacked = Path(temporary, 'sdist')
        with tarfile.open(sdist) as archive:
            # Before 3.11.4 there is no filter; the file is our own.
            safe = {'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}
            archive.extractall(unpacked, **safe)  # noqa: S202
        pip = [sys.executable, '-m', 'pip', '-q', '--disable-pip-version-check', 'wheel']
        quiet = [*pip, '--no-deps', '--no-build-isolation', '--no-index', '-w', temporary]
        _run([*quiet, str(next(unpacked.iterdir()))], Path(temporary))
        built = next(Path(temporary).glob('*.whl'))
        wheel = Path(shutil.move(str(built), str(into / built.name)))
    return wheel, sdist


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def main() -> None:
    """Build into a folder and print the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path)
    for file in build(parser.parse_args().folder):
        print(f'{file}  {file.stat().st_size / 1e6:.1f} MB')


if __name__ == '__main__':
    main()
