# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A network of another project: its ONNX file, inputs and outputs."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from mt_perception.errors import ModelError
from mt_perception.model.sessions import open_session

PROBE_TIMEOUT_S = 60.0
_MAX_BYTES = (1 << 31) - 1


@dataclass(frozen=True)
class Tensor:
    """An input or output.

    Attributes:
        name: Its name.
        kind: ONNX element type (``TensorProto.FLOAT`` …).
        shape: Its sides; -1 where a side is not fixed. Empty if unknown.
    """

    name: str
    kind: int
    shape: tuple[int, ...]

    def __str__(self) -> str:
        sides = ', '.join('?' if side < 0 else str(side) for side in self.shape)
        return f'{self.name} ({sides})'


@dataclass(frozen=True, eq=False)
class Network:
    """A network as one self-contained file.

    Attributes:
        path: The file it was read from.
        model: The graph with all weights.
        inputs: The inputs without initialisers; the image is the first with four sides.
        outputs: The outputs.
        session: Runs it.
    """

    path: Path
    model: onnx.ModelProto
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    session: ort.InferenceSession

    @property
    def image(self) -> Tensor:
        """The image input.

        Raises:
            ModelError: No input has four sides.
        """
        for tensor in self.inputs:
            if len(tensor.shape) == 4:
                return tensor
        raise ModelError(
            f'{self.path} has the inputs {", ".join(map(str, self.inputs))}; expected an image '
            '(1, 3, H, W) or (1, H, W, 3)'
        )

    @property
    def channels_last(self) -> bool:
        """Whether the image input is (1, H, W, 3)."""
        shape = self.image.shape
        return shape[3] == 3 and shape[1] != 3

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W) of the image input; None if it is not fixed."""
        shape = self.image.shape
        height, width = shape[1:3] if self.channels_last else shape[2:4]
        return (height, width) if height > 0 and width > 0 else None

    @property
    def detector_outputs(self) -> tuple[Tensor, ...]:
        """The outputs without the maps of other tasks, which have four sides; else all."""
        rows = tuple(output for output in self.outputs if len(output.shape) != 4)
        return rows or self.outputs

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the network once, at most ``PROBE_TIMEOUT_S``.

        Raises:
            ModelError: ONNX Runtime fails, or the time is over.
        """
        options = ort.RunOptions()
        timer = threading.Timer(PROBE_TIMEOUT_S, setattr, (options, 'terminate', True))
        timer.start()
        try:
            return [np.asarray(v) for v in self.session.run(None, dict(feeds), options)]
        except Exception as error:
            # ONNX Runtime's exceptions have no common base class.
            raise ModelError(f'{self.path} fails on an image: {error}') from error
        finally:
            timer.cancel()


def read_network(path: Path) -> Network:
    """Read an ONNX file; external data is packed into the graph.

    Raises:
        ModelError: The file cannot be read, is not ONNX, has more than 2 GB, or ONNX Runtime
            refuses it.
    """
    try:
        # Loading by path also reads weights from other files.
        model = onnx.load(str(path))
    except (OSError, ValueError, DecodeError, onnx.checker.ValidationError) as error:
        raise ModelError(f'{path} cannot be read as ONNX: {error}; name an ONNX file') from error
    _drop_weight_inputs(model)
    if model.ByteSize() > _MAX_BYTES:
        raise ModelError(f'{path} has {model.ByteSize()} bytes with its weights; at most 2 GB')
    return Network(
        path=path,
        model=model,
        inputs=tuple(map(_tensor, model.graph.input)),
        outputs=tuple(map(_tensor, model.graph.output)),
        session=open_session(path.name, model.SerializeToString()),
    )


def _drop_weight_inputs(model: onnx.ModelProto) -> None:
    """Weights that are inputs too, as old exporters wrote them, prevent constant folding."""
    weights = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(kept)


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    tensor = value.type.tensor_type
    sides = [side.dim_value if side.HasField('dim_value') else -1 for side in tensor.shape.dim]
    return Tensor(value.name, tensor.elem_type, tuple(side if side > 0 else -1 for side in sides))
