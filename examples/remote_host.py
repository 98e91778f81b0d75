# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Learn how to let a remote host finish frames, here over the loopback.

mt_perception serve &
python examples/remote_host.py film.mp4 127.0.0.1:8001
"""

from __future__ import annotations

import itertools
import sys

from mt_perception import Pipeline, open_source
from mt_perception.offload.client import offload
from mt_perception.offload.decision import ALWAYS, DecisionSettings
from mt_perception.offload.endpoint import Endpoint
from mt_perception.offload.settings import OffloadSettings


def main(film: str, address: str = '127.0.0.1:8001', frames: int = 30) -> None:
    """Send frames to a host and print where each was finished."""
    pipeline = Pipeline.load('cspnano')
    # "always" shows the link; the default "auto" sends a frame only if that is better.
    settings = OffloadSettings(
        [Endpoint(address)], deadline_ms=1000.0, decision=DecisionSettings(ALWAYS)
    )
    with offload(pipeline, settings) as client, open_source(film) as source:
        for frame in itertools.islice(source, int(frames)):
            report = pipeline.run(frame).execution.offload
            if report.remote:
                print(f'host: {report.payload_bytes} bytes, reply in {report.reply_ms:.0f} ms')
            else:
                print(f'here: {report.failure or report.reason}')
    print(f'{client.frames_remote} of {client.frames_remote + client.frames_local} by the host')


if __name__ == '__main__':
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:3])
