# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Learn how to read a video, follow objects over time, and write the results as a video.

python examples/video.py film.mp4 out.mp4
"""

from __future__ import annotations

import sys
from collections import Counter

import cv2

from mt_perception import Options, Pipeline, open_source


def main(film: str, out: str) -> None:
    """Draw the detections into a video and count the objects."""
    # With tracking, an object keeps its track_id from frame to frame.
    pipeline = Pipeline.load('cspnano', Options(tracking=True))
    tracks: dict[int, str] = {}
    writer = None
    # A source is a folder, video, bag or camera; every frame has an image and a stamp.
    with open_source(film) as source:
        for frame in source:
            result = pipeline.run(frame, tasks=['detection'])
            tracks |= {detection.track_id: detection.label for detection in result.detections}
            picture = result.draw()
            if writer is None:
                size = (picture.shape[1], picture.shape[0])
                codec = cv2.VideoWriter.fourcc(*'mp4v')
                writer = cv2.VideoWriter(out, codec, source.rate_hz or 10.0, size)
            writer.write(picture)
    if writer is not None:
        writer.release()
    for label, count in Counter(tracks.values()).most_common():
        print(f'{label}: {count} objects')


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:3])
