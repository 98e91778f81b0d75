# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Both halves of a cut network in one process, and the payload between them."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mt_perception.graph.plan import Plan
from mt_perception.offload.halves import RemoteHalf, RobotHalf
from mt_perception.offload.payload import pack, unpack
from mt_perception.runtime.executor import Outcome


class CutRunner:
    """Runs plans as a robot and a perfect remote host would together.

    Args:
        folder: A model folder with a cut.
        rate: Index of the rate.

    Attributes:
        rate: Index of the rate; may be changed between two frames.

    Raises:
        ModelError: The folder is refused, or has no cut.
    """

    def __init__(self, folder: Path, rate: int) -> None:
        self.robot = RobotHalf(folder)
        self.remote = RemoteHalf(folder)
        self.rate = rate

    def run(self, plan: Plan, image: NDArray[np.uint8]) -> Outcome:
        """Encode, pack, unpack and finish; the plan's blocks are the remote half's own."""
        start = time.perf_counter()
        payload = self.robot.payload(image, self.rate)
        data = pack(payload)
        sent = time.perf_counter()
        latent = self.remote.latent(unpack(data))
        tensors = self.remote.run(latent[None], plan.tasks)
        end = time.perf_counter()
        latency_ms = {'encode': (sent - start) * 1e3, 'remote': (end - sent) * 1e3}
        facts = {'offload.rate': self.rate, 'offload.payload_bytes': len(data)}
        blocks = (self.robot.cut.encoder, *self.remote.cut.graph.blocks_for(plan.tasks))
        return Outcome(tensors, {}, latency_ms, facts=facts, beside=blocks)
