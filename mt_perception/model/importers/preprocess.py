# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The graph ``prepare``: from the image of a model folder to the input of a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import ArrayLike

from mt_perception.model.importers.graph_builder import FLOAT, INT64, UINT8, GraphBuilder, Shape
from mt_perception.model.input_spec import LETTERBOX

IMAGE_OUTPUT = 'network_image'
SCALE_OUTPUT = 'scale'
CONTENT_OUTPUT = 'content'


@dataclass(frozen=True)
class Preprocess:
    """The image that a network expects.

    Attributes:
        mean: Subtracted from each channel, in units of 0–255.
        std: Each channel is divided by it afterwards, in units of 0–255.
        rgb: Channel order: True for RGB, False for BGR.
        channels_last: (1, H, W, 3) instead of (1, 3, H, W).
        kind: ONNX element type of the input.
        size: (H, W) of the network; None if it follows the image.
        fit: ``letterbox``, ``stretch`` or ``keep`` (only without ``size``).
        pad_value: Grey level of the letterbox border.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    rgb: bool
    channels_last: bool
    kind: int
    size: tuple[int, int] | None
    fit: str
    pad_value: int = 114


def prepare_graph(
    settings: Preprocess,
    resize: bool,
    constants: Mapping[str, tuple[ArrayLike, int]],
) -> onnx.ModelProto:
    """Build the graph.

    Args:
        settings: How the network expects its image.
        resize: Whether the graph resizes the image to ``settings.size``; otherwise the image
            already has this size. A graph that resizes also returns ``scale`` float32 (4,),
            network pixels per image pixel along x, y, x, y, and ``content`` float32 (2,), the
            fractions of height and width of the input that the image covers.
        constants: Further inputs of the network: name → value and ONNX element type.
    """
    graph = GraphBuilder('prepare')
    sides = ('H', 'W') if resize or settings.size is None else settings.size
    image = graph.input('image', UINT8, (1, *sides, 3))
    # Planes first: with three channels as the innermost axis the same steps take 80 times as long.
    value = graph.op('Transpose', image, perm=[0, 3, 1, 2])
    if settings.rgb:
        value = graph.op('Gather', value, graph.integers(2, 1, 0), axis=1)
    value = graph.op('Cast', value, to=FLOAT)
    if resize:
        value = _resized(graph, image, value, settings)
    factor = 1 / np.array(settings.std).reshape(1, 3, 1, 1)
    offset = -np.array(settings.mean).reshape(1, 3, 1, 1) * factor
    if (factor != 1).any():
        value = graph.op('Mul', value, graph.constant(factor))
    if offset.any():
        value = graph.op('Add', value, graph.constant(offset))
    height, width = settings.size or sides
    shape: Shape = (1, 3, height, width)
    if settings.channels_last:
        value = graph.op('Transpose', value, perm=[0, 2, 3, 1])
        shape = (1, height, width, 3)
    graph.output(value, IMAGE_OUTPUT, settings.kind, shape)
    for name, (constant, kind) in constants.items():
        graph.output(graph.constant(constant), name, kind, np.shape(constant))
    return graph.build()


def _resized(graph: GraphBuilder, image: str, value: str, settings: Preprocess) -> str:
    """Resize and pad (1, 3, H, W) to the network's size; adds the outputs scale and content."""
    assert settings.size is not None
    target = graph.constant(settings.size)
    shape = graph.op('Slice', graph.op('Shape', image), graph.integers(1), graph.integers(3))
    given = graph.op('Cast', shape, to=FLOAT)
    content = target
    if settings.fit == LETTERBOX:
        ratio = graph.op('ReduceMin', graph.op('Div', target, given), keepdims=1)
        content = graph.op('Round', graph.op('Mul', given, ratio))
        content = graph.op('Max', graph.op('Min', content, target), graph.constant([1, 1]))
    whole = graph.op('Cast', content, to=INT64)
    sizes = graph.op('Concat', graph.integers(1, 3), whole, axis=0)
    value = graph.op('Resize', value, '', '', sizes, mode='linear', antialias=1)
    if settings.fit == LETTERBOX:
        missing = graph.op('Sub', graph.integers(*settings.size), whole)
        pads = graph.op('Concat', graph.integers(0, 0, 0, 0, 0, 0), missing, axis=0)
        value = graph.op('Pad', value, pads, graph.constant(float(settings.pad_value)))
    scale = graph.columns(graph.op('Div', content, given), 1, 0, 1, 0)
    graph.output(scale, SCALE_OUTPUT, FLOAT, (4,))
    graph.output(graph.op('Div', content, target), CONTENT_OUTPUT, FLOAT, (2,))
    return value
