# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What robot and host have to have in common: one model, byte by byte."""

from __future__ import annotations

import hashlib

from mt_perception.offload.payload import DIGEST_BYTES
from mt_perception.runtime.manifest import Manifest


def model_digest(manifest: Manifest) -> bytes:
    """The digest that stands in payloads: of the cut's files, or of the whole model's.

    Args:
        manifest: The model.
    """
    if manifest.cut is not None:
        return manifest.cut.digest
    sums = ''.join(manifest.files[name].sha256 for name in sorted(manifest.graph.blocks))
    return hashlib.sha256(sums.encode()).digest()[:DIGEST_BYTES]
