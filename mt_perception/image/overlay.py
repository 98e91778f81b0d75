# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Visualisation: boxes, classes and depth drawn into copies of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.image.encodings import check_image
from mt_perception.image.palette import DARK, LIGHT, UNKNOWN, WARNING, colour, ink_on
from mt_perception.image.text import Line, draw_lines, text_height, text_size
from mt_perception.reports import CAMERA_UNKNOWN, NETWORK, RELATIVE
from mt_perception.types import DepthMap, Detections, Result, Segmentation

Picture = NDArray[np.uint8]

_SEGMENTATION_OPACITY = 0.5
# Classes below this part of the image are left out of the legend.
_LEGEND_SHARE = 0.005
_LEGEND_LENGTH = 8
_INSET_SHARE = 0.3
# Far ends of a depth scale that read well, in metres.
_SCALES_M = (0.5, 1, 2, 3, 5, 8, 10, 15, 20, 30, 50, 100)
# Farthest over nearest distance of a scale, and its marks as shares of the farthest.
_SCALE_RATIO = 10.0
_TICKS = (1.0, 0.5, 0.2, 0.1)
# Shortest and longest long side of a panel of a sheet, in pixels.
_PANEL_SIDES = (640, 960)


def draw(image: Picture, result: Result) -> Picture:
    """Return a copy of the image with classes, boxes, a small depth map and a status line.

    Args:
        image: uint8 (H, W, 3) BGR; it is not changed.
        result: The pipeline's result for it.

    Example:
        >>> import numpy as np
        >>> from mt_perception import Pipeline, draw
        >>> image = np.zeros((240, 320, 3), np.uint8)
        >>> draw(image, Pipeline.load('cspnano').run(image)).shape
        (240, 320, 3)
    """
    check_image(image)
    picture = image.copy()
    if result.segmentation is not None:
        draw_segmentation(picture, result.segmentation)
    if result.detections is not None:
        draw_detections(picture, result.detections)
    if result.depth is not None:
        height, width = (round(side * _INSET_SHARE) for side in image.shape[:2])
        if min(height, width) > 1:
            picture[-height:, -width:] = depth_picture(result.depth, (height, width))
            corner = (image.shape[1] - width, image.shape[0] - height)
            cv2.rectangle(picture, corner, (image.shape[1], image.shape[0]), LIGHT, 1)
    draw_status(picture, result)
    return picture


def sheet(image: Picture, result: Result) -> Picture:
    """Input, detections, segmentation and depth in one picture, two by two.

    Small images are enlarged and large ones reduced, so that labels can be read.

    Args:
        image: uint8 (H, W, 3) BGR; is not changed.
        result: The pipeline's result for it.

    Returns:
        uint8 (2 h, 2 w, 3) BGR; the panel of a task without a result states the reason.
    """
    longest = max(image.shape[:2])
    scale = min(max(longest, _PANEL_SIDES[0]), _PANEL_SIDES[1]) / longest
    size = (max(2, round(image.shape[0] * scale)), max(2, round(image.shape[1] * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    clean = np.asarray(cv2.resize(image, size[::-1], interpolation=interpolation), np.uint8)
    given = draw_status(clean.copy(), result)
    found, classes = clean.copy(), clean.copy()
    if result.detections is not None:
        draw_detections(found, result.detections, scale)
    else:
        _say_why(found, 'detection', result)
    if result.segmentation is not None:
        draw_segmentation(classes, result.segmentation)
    else:
        _say_why(classes, 'segmentation', result)
    if result.depth is not None:
        distance = depth_picture(result.depth, size)
    else:
        distance = _say_why(clean.copy(), 'depth', result)
    return np.vstack((np.hstack((given, found)), np.hstack((classes, distance))))


def draw_detections(
    picture: Picture, found: Detections, scale: float = 1.0, with_scores: bool = True
) -> Picture:
    """Draw boxes into a picture, the best score on top; return the picture.

    A label that would hide another one, of a better score, is left out.

    Args:
        picture: uint8 (h, w, 3) BGR.
        found: The detections, in pixels of the input image, best score first.
        scale: Picture pixels per image pixel.
        with_scores: Whether labels have the score; that of ground truth means nothing.
    """
    line_width = max(1, round(picture.shape[1] / 400))
    labels = [found.labels[i] for i in found.class_ids]
    shades = [colour(label, int(i)) for label, i in zip(labels, found.class_ids, strict=True)]
    corners = [[round(float(v) * scale) for v in box] for box in found.boxes]
    for (x0, y0, x1, y1), shade in reversed(list(zip(corners, shades, strict=True))):
        cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), shade, line_width)
    taken: list[tuple[int, int, int, int]] = []
    for box, label, shade, score in zip(corners, labels, shades, found.scores, strict=True):
        text = f'{label} {score:.2f}' if with_scores else label
        place = _label_place(picture, box, text_size(picture, text), taken)
        if place is not None:
            taken.append(place)
            draw_lines(picture, [Line(text, ink_on(shade))], place[:2], shade, opacity=1)
    return picture


def _label_place(
    picture: Picture,
    box: Sequence[int],
    size: tuple[int, int],
    taken: Sequence[tuple[int, int, int, int]],
) -> tuple[int, int, int, int] | None:
    """A rectangle x0, y0, x1, y1 for a label above, in or below a box; None if all are taken."""
    (width, height), (rows, columns) = size, picture.shape[:2]
    left = max(0, min(box[0], columns - width))
    for top in (box[1] - height, box[1], box[3] - height, box[3]):
        place = (left, top, left + width, top + height)
        is_free = all(
            place[2] <= x0 or x1 <= place[0] or place[3] <= y0 or y1 <= place[1]
            for x0, y0, x1, y1 in taken
        )
        if 0 <= top <= rows - height and is_free:
            return place
    return None


def draw_segmentation(picture: Picture, classes: Segmentation) -> Picture:
    """Tint a picture by class and name the classes in it; return the picture.

    Args:
        picture: uint8 (h, w, 3) BGR, of any size.
        classes: The label image.
    """
    height, width = picture.shape[:2]
    ids = cv2.resize(classes.class_ids, (width, height), interpolation=cv2.INTER_NEAREST)
    table = np.zeros((256, 3), np.uint8)
    for i, label in enumerate(classes.labels):
        table[i] = colour(label, i)
    tint = cv2.applyColorMap(ids, table[:, None])
    tinted = cv2.addWeighted(picture, 1 - _SEGMENTATION_OPACITY, tint, _SEGMENTATION_OPACITY, 0)
    cv2.copyTo(tinted, (ids < len(classes.labels)).astype(np.uint8), picture)
    # One column in OpenCV 4, one dimension in 5.
    counts = np.ravel(cv2.calcHist([ids], [0], None, [256], [0, 256]))[: len(classes.labels)]
    shares = counts / ids.size
    present = [i for i in np.argsort(-shares, kind='stable') if shares[i] >= _LEGEND_SHARE]
    legend = [
        Line(classes.labels[i], LIGHT, chip=colour(classes.labels[i], int(i)))
        for i in present[:_LEGEND_LENGTH]
    ]
    draw_lines(picture, legend, (0, height - text_height(picture) * len(legend)), DARK)
    return picture


def depth_picture(
    depth: DepthMap, size: tuple[int, int] | None = None, scale_end: float | None = None
) -> Picture:
    """A depth map in colours, bright where it is near, with a logarithmic scale.

    Args:
        depth: The depth map.
        size: (height, width) of the picture; by default the depth map's own.
        scale_end: Depth at the end of the scale; by default the depth map's own.

    Returns:
        uint8 (h, w, 3) BGR; grey where the depth is unknown.
    """
    height, width = size or depth.depth.shape
    nearest = cv2.resize(depth.depth, (width, height), interpolation=cv2.INTER_NEAREST)
    metres = np.asarray(nearest, np.float32)
    far = depth_scale_end(metres) if scale_end is None else scale_end
    # A street of 50 m and the car at 5 m are both to be told apart: equal ratios, equal steps.
    with np.errstate(divide='ignore', invalid='ignore'):
        share = 1 + np.log(metres / np.float32(far)) / np.float32(np.log(_SCALE_RATIO))
    shades = 255 - 254 * np.clip(share, 0, 1)
    shades[~np.isfinite(shades)] = 0
    table = _colours()
    table[0] = UNKNOWN
    picture = np.asarray(cv2.applyColorMap(shades.astype(np.uint8), table), np.uint8)
    scale = depth.scale
    if depth.relative or (depth.assumed_intrinsics and scale.source == NETWORK):
        scale = replace(scale, source=RELATIVE if depth.relative else CAMERA_UNKNOWN)
    is_guess = scale.source in (RELATIVE, CAMERA_UNKNOWN)
    note = Line(scale.words(), WARNING if is_guess or scale.refused else LIGHT)
    _draw_scale(picture, far, '' if depth.relative else ' m', note)
    return picture


def draw_status(picture: Picture, result: Result) -> Picture:
    """Draw time, path, network size and failures on the upper edge; return the picture."""
    run = result.execution
    height, width = run.network_size
    lines = [
        Line(
            f'{run.stage_ms.get("total", 0):.0f} ms   {run.path}   {width}x{height}   '
            f'{run.macs / 1e9:.2f} GMAC',
            LIGHT,
        )
    ]
    lines += [Line(f'{task}: {reason}', WARNING) for task, reason in result.failures.items()]
    return draw_lines(picture, lines, (0, 0), DARK)


def _say_why(picture: Picture, task: str, result: Result) -> Picture:
    picture //= 3
    failed = task in result.failures
    reason = result.failures[task] if failed else 'not run'
    line = Line(f'{task}: {reason}', WARNING if failed else LIGHT)
    return draw_lines(picture, [line], (0, 0), DARK)


def depth_scale_end(metres: NDArray[np.float32]) -> float:
    """A round distance beyond 98 % of the pixels; steady from frame to frame."""
    samples = metres[::4, ::4]
    samples = samples[np.isfinite(samples)]
    if not samples.size:
        return _SCALES_M[-1]
    reach = np.percentile(samples, 98)
    return next((end for end in _SCALES_M if end >= reach), _SCALES_M[-1])


def _colours() -> Picture:
    """Colours from far (0) to near (255), (256, 1, 3): equal steps look equal."""
    shades = np.arange(256, dtype=np.uint8)[:, None]
    return np.asarray(cv2.applyColorMap(shades, cv2.COLORMAP_INFERNO), np.uint8)


def _draw_scale(picture: Picture, far: float, unit: str, note: Line) -> None:
    """A bar of the colours on the right-hand edge with marks, and a note on the upper edge."""
    height, width = picture.shape[:2]
    row, mark = text_height(picture), text_size(picture, f'{far / 10:.2g}{unit}')[0]
    bar_width = max(3, width // 50)
    top, bottom, right = row, height - row, width - bar_width // 2
    if bottom - top < 3 * row or width < 2 * mark + bar_width:
        return
    bar = cv2.resize(_colours(), (1, bottom - top))
    picture[top:bottom, right - bar_width : right] = bar
    cv2.rectangle(picture, (right - bar_width, top), (right, bottom), LIGHT, 1)
    ticks = _TICKS if bottom - top >= 2 * row * len(_TICKS) else _TICKS[::2]
    for part in ticks:
        text = f'{part * far:.2g}{unit}'
        share = 1 + np.log(part) / np.log(_SCALE_RATIO)
        y = round(bottom - share * (bottom - top)) - row // 2
        left = right - bar_width - text_size(picture, text)[0]
        draw_lines(picture, [Line(text, LIGHT)], (left, y), DARK)
    if text_size(picture, note.text)[0] + mark + bar_width < width:
        draw_lines(picture, [note], (0, 0), DARK)
