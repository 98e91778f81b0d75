# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the moving picture of the README: the four panels of a video as an animated WebP.

`python tools/moving_picture.py vtest.avi docs/perception.webp --first 575 --frames 60 --every 1`
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mt_perception import Options, Pipeline, open_source
from mt_perception.image.overlay import sheet

QUALITY = 62


@click.command()
@click.argument('video')
@click.argument('out', type=click.Path(dir_okay=False, path_type=Path))
@click.option('--model', default='cspnano', show_default=True)
@click.option('--first', default=0, show_default=True, help='First frame.')
@click.option('--frames', default=50, show_default=True, help='Number of frames.')
@click.option('--every', default=2, show_default=True, help='Use every n-th frame.')
@click.option('--width', default=800, show_default=True, help='Width in pixels.')
def main(
    video: str, out: Path, model: str, first: int, frames: int, every: int, width: int
) -> None:
    """Write the panels of VIDEO to OUT."""
    pipeline = Pipeline.load(model, Options(tracking=True))
    with open_source(video) as source:
        rate_hz = (source.rate_hz or 10.0) / every
        chosen = islice(source, first, first + frames * every, every)
        pictures = [Image.fromarray(panel) for panel in panels(pipeline, chosen, width)]
    pictures[0].save(
        out,
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 / rate_hz),
        loop=0,
        quality=QUALITY,
        method=6,
    )
    click.echo(f'{out}: {len(pictures)} frames, {out.stat().st_size / 1e6:.2f} MB')


def panels(pipeline: Pipeline, frames: Iterator, width: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the four panels of each frame, uint8 (H, width, 3) RGB."""
    for frame in frames:
        picture = sheet(frame.image, pipeline.run(frame))
        height = round(picture.shape[0] * width / picture.shape[1])
        small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        yield np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8)


if __name__ == '__main__':
    main()
