# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a Triton model repository from the cut of a model folder: decode, then the remote half.

Usage: python tools/triton_repository.py cspnano /path/of/repository

The result is parsed with Triton's own schema by a test; it was not run on a Triton server by us.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import onnxruntime as ort
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as config

from mt_perception.model.folder import read_file, read_manifest
from mt_perception.model.split import LATENT
from mt_perception.offload.split_model import cut_of
from mt_perception.resources import find_model

DECODE = Path(__file__).resolve().parent.parent / 'deploy' / 'triton' / 'decode' / 'model.py'
VERSION = '1'
"""Triton knows whole numbers only."""

TYPES = {
    'tensor(float)': config.TYPE_FP32,
    'tensor(int64)': config.TYPE_INT64,
    'tensor(uint8)': config.TYPE_UINT8,
}


def main() -> None:
    """Write the repository that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('model', help='name of a model, or its folder')
    parser.add_argument('repository', type=Path, help='folder to write')
    arguments = parser.parse_args()
    for name in write_repository(find_model(arguments.model), arguments.repository):
        print(arguments.repository / name)


def write_repository(folder: Path, repository: Path) -> list[str]:
    """Write the repository.

    Args:
        folder: The model folder; Triton must find it at the same place, for the codec's tables.
        repository: Where to.

    Returns:
        The names of the models in it, the one that robots ask for last.

    Raises:
        ModelError: The model has no cut.
    """
    manifest = read_manifest(folder)
    cut = cut_of(manifest)
    decode = f'{manifest.name}_decode'
    steps = [decode]
    _write(repository, _decode_config(decode, folder, cut.channels))
    shutil.copyfile(DECODE, _version(repository, decode) / 'model.py')
    ensemble = _ensemble(manifest.name)
    _step(ensemble, decode, {'payload': 'payload'}, {LATENT: LATENT})
    types: dict[str, tuple[int, list[int]]] = {}
    for name, block in cut.graph.blocks.items():
        model = f'{manifest.name}_{name}'
        steps.append(model)
        content = read_file(folder, cut.files[name])
        made = _block_config(model, content)
        _write(repository, made)
        (_version(repository, model) / 'model.onnx').write_bytes(content)
        outputs = {output: block.tensor(output) for output in block.outputs}
        _step(ensemble, model, dict(block.inputs), outputs)
        for tensor in made.output:
            types[outputs[tensor.name]] = tensor.data_type, list(tensor.dims)
    for task in manifest.tasks.values():
        for name in task.outputs.values():
            kind, dims = types[name]
            ensemble.output.add(name=name, data_type=kind, dims=dims)
    _write(repository, ensemble)
    return [*steps, manifest.name]


def _decode_config(name: str, folder: Path, channels: int) -> Any:
    made = config.ModelConfig(name=name, backend='python')
    made.input.add(name='payload', data_type=config.TYPE_UINT8, dims=[1, -1])
    made.output.add(name=LATENT, data_type=config.TYPE_FP32, dims=[1, channels, -1, -1])
    made.parameters['model_folder'].string_value = str(folder.resolve())
    return made


def _block_config(name: str, content: bytes) -> Any:
    """One block, as ONNX Runtime sees it."""
    made = config.ModelConfig(name=name, platform='onnxruntime_onnx', backend='onnxruntime')
    session = ort.InferenceSession(content, providers=['CPUExecutionProvider'])
    for tensors, field in (
        (session.get_inputs(), made.input),
        (session.get_outputs(), made.output),
    ):
        for tensor in tensors:
            dims = [size if isinstance(size, int) else -1 for size in tensor.shape]
            field.add(name=tensor.name, data_type=TYPES[tensor.type], dims=dims)
    return made


def _ensemble(name: str) -> Any:
    made = config.ModelConfig(name=name, platform='ensemble')
    made.input.add(name='payload', data_type=config.TYPE_UINT8, dims=[1, -1])
    return made


def _step(ensemble: Any, model: str, inputs: dict[str, str], outputs: dict[str, str]) -> None:
    step = ensemble.ensemble_scheduling.step.add(model_name=model, model_version=-1)
    step.input_map.update(inputs)
    step.output_map.update(outputs)


def _version(repository: Path, name: str) -> Path:
    folder = repository / name / VERSION
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write(repository: Path, made: Any) -> None:
    # Also an ensemble, which has no files, needs the folder of its version.
    _version(repository, made.name)
    text = text_format.MessageToString(made)
    (repository / made.name / 'config.pbtxt').write_text(text, encoding='utf-8')


if __name__ == '__main__':
    main()
