# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The rules of the house, checked on the source: layers, safety, headers, sizes."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / 'mt_perception'
MODULES = sorted(PACKAGE.rglob('*.py'))
SKIPPED = {'build', 'dist', 'install', 'log', 'out', 'runs', '__pycache__'}

# Who may import whom: only parts of lower layers; in layer 0 also each other.
LAYERS = {
    'errors': 0,
    'reports': 0,
    'types': 0,
    'data_files': 0,
    'image': 0,
    'geometry': 0,
    'resources': 0,
    'interfaces': 0,
    'model': 1,
    'execution': 2,
    'planning': 3,
    'tracking': 2,
    'pipeline': 4,
    'sources': 3,
    'network': 3,
    'first_run': 5,
    'offload': 5,
    'server': 6,
    'evaluation': 7,
    'training': 8,
    'nodes': 9,
    'cli': 10,
}
# What a robot need not install, and where alone it may be used; so may ROS messages in nodes/.
ONLY_IN = {
    'rclpy': {'nodes'},
    'launch': {'nodes'},
    'launch_ros': {'nodes'},
    'ament_index_python': {'nodes'},
    'rosidl': {'interfaces'},
    'torch': {'network', 'training'},
    'onnx': {'network', 'training', 'evaluation', 'model'},
    'scipy': {'training', 'evaluation'},
    'pycocotools': {'training', 'evaluation'},
    'click': {'cli'},
    'rich': {'cli'},
    'rosbags': {'sources', 'evaluation'},
}
CODE_RUNNERS = {'eval', 'exec', 'compile', '__import__'}
UNSAFE_MODULES = {'pickle', 'cPickle', 'dill', 'marshal', 'shelve', 'joblib'}


def sources() -> list[Path]:
    """Every Python file that belongs to the project, wherever it lies."""
    return [
        file
        for file in sorted(ROOT.rglob('*.py'))
        if not any(
            part in SKIPPED or part.startswith('.') for part in file.relative_to(ROOT).parts
        )
    ]


def part_of(file: Path) -> str:
    """The part of the house a file belongs to; empty for the package's own __init__."""
    first = file.relative_to(PACKAGE).parts[0]
    return '' if first == '__init__.py' else first.removesuffix('.py')


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, 'imports are absolute'
            for alias in node.names:
                yield f'{node.module}.{alias.name}'


def for_each(files: list[Path]) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """Make a check of one file a test of each folder; a test of each file costs seconds."""
    folders = sorted({file.parent for file in files})

    def decorate(check: Callable[[Path], None]) -> Callable[[Path], None]:
        @pytest.mark.parametrize('folder', folders, ids=lambda path: str(path.relative_to(ROOT)))
        def test(folder: Path) -> None:
            for file in files:
                if file.parent == folder:
                    check(file)

        return test

    return decorate


@for_each(MODULES)
def test_imports_only_go_down(file: Path) -> None:
    here = part_of(file)
    for name in imports(ast.parse(file.read_text())):
        top, *rest = name.split('.')
        if rest and top == 'mt_perception':
            there = rest[0]
            # The package's own names (its version) are everyone's; the package itself offers the
            # public API, lazily (test_api).
            if there not in LAYERS or there == here or not here:
                continue
            assert here in LAYERS, f'{here!r} has no layer; add it to ARCHITECTURE and here'
            below = LAYERS[there] < LAYERS[here] or LAYERS[there] == 0 == LAYERS[here]
            assert below, f'{here} may not import {name}'
        kind = top.split('_')[0] if top.startswith('rosidl_') else top
        allowed = ONLY_IN.get(kind, {'nodes'} if top.endswith('_msgs') else {here})
        assert here in allowed, f'{here} may not import {name}'


def test_importing_the_package_is_cheap() -> None:
    code = 'import sys, mt_perception; print(*sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, check=True)
    loaded = set(done.stdout.decode().split())
    assert not loaded & {'numpy', 'cv2', 'onnxruntime', 'torch', 'rclpy', 'yaml', 'rosbags'}


def test_the_pipeline_needs_no_torch_and_no_ros() -> None:
    code = 'import sys, mt_perception.pipeline; print(*sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, check=True)
    assert not set(done.stdout.decode().split()) & {'torch', 'rclpy', 'onnx', 'scipy', 'rich'}


def is_true(call: ast.Call, option: str) -> bool:
    """Whether a call has option=True; anything but a literal counts as true."""
    return any(
        keyword.arg == option
        and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value)
        for keyword in call.keywords
    )


def dangers(tree: ast.AST) -> Iterator[str]:
    for name in imports(tree):
        if name.split('.')[0] in UNSAFE_MODULES:
            yield f'imports {name}'
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in CODE_RUNNERS or called in {'os.system', 'os.popen', 'yaml.load'}:
            yield f'calls {called}'
        if called.endswith('torch.load') and not any(
            k.arg == 'weights_only' and isinstance(k.value, ast.Constant) and k.value.value is True
            for k in node.keywords
        ):
            yield 'torch.load without weights_only=True'
        for option in ('shell', 'allow_pickle'):
            if is_true(node, option):
                yield f'{called} with {option}=True'


@for_each([f for f in sources() if f.parent.name != 'test'])
def test_nothing_runs_what_a_file_says(file: Path) -> None:
    assert list(dangers(ast.parse(file.read_text()))) == []


# What reads the output of a program that we started ourselves.
OWN_OUTPUT = {'interfaces/generation.py', 'evaluation/link/shaped_link.py'}


@for_each(MODULES)
def test_yaml_and_json_are_read_within_limits(file: Path) -> None:
    if str(file.relative_to(PACKAGE)) in {'data_files.py', *OWN_OUTPUT}:
        return
    calls = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Call)]
    found = {ast.unparse(call.func) for call in calls}
    assert not found & {'yaml.safe_load', 'json.load', 'json.loads'}, 'use data_files'


def test_the_search_for_dangers_finds_them() -> None:
    for code in (
        'import pickle',
        'from pickle import loads',
        'eval(x)',
        'os.system(x)',
        'yaml.load(x)',
        'torch.load(x)',
        'torch.load(x, weights_only=False)',
        'torch.load(x, weights_only=flag)',
        'subprocess.run(x, shell=True)',
        'np.load(x, allow_pickle=flag)',
    ):
        assert len(list(dangers(ast.parse(code)))) == 1, code
    for code in (
        'model.eval()',
        're.compile(x)',
        'yaml.safe_load(x)',
        'torch.load(x, weights_only=True)',
        'subprocess.run(x, shell=False)',
    ):
        assert not list(dangers(ast.parse(code))), code


@for_each(sources())
def test_headers(file: Path) -> None:
    text = file.read_text()
    lines = [line for line in text.splitlines() if not line.startswith('#!')]
    assert lines[:2] == [
        '# SPDX-FileCopyrightText: 2026 mt_perception authors',
        '# SPDX-License-Identifier: Apache-2.0',
    ]
    # A test is named like what it tests.
    named = file.name.startswith('test_') and file.parent.name == 'test'
    assert named or ast.get_docstring(ast.parse(text)), 'a module says what it is'


@for_each(MODULES)
def test_files_and_functions_fit_in_view(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) < 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            # Counted without the docstring, which may be as long as it needs to be.
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert length < 60, f'{node.name} has {length} lines'


@for_each(MODULES)
def test_the_library_does_not_print_or_promise(file: Path) -> None:
    text = file.read_text()
    for word in ('TODO', 'FIXME', 'XXX', 'NotImplementedError'):
        assert word not in text
    calls = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)]
    assert not any(isinstance(c.func, ast.Name) and c.func.id == 'print' for c in calls)


def test_no_file_names_a_place_on_the_machine_it_was_made_on() -> None:
    places = [('/' + part + '/').encode() for part in ('work', 'root')]
    texts = {'.py', '.md', '.yaml', '.yml', '.toml', '.xml', '.txt', '.cfg', '.json', '.sh', ''}
    for file in ROOT.rglob('*'):
        parts = file.relative_to(ROOT).parts
        hidden = parts[0].startswith('.') and parts[0] not in {'.ci', '.pre-commit-config.yaml'}
        if hidden or SKIPPED & set(parts) or file.suffix not in texts or not file.is_file():
            continue
        if file.stat().st_size > 1 << 20:
            continue
        content = file.read_bytes()
        assert not any(place in content for place in places), file
