# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Triton's Python backend: decodes a payload to the latents of the remote model.

Not run on a Triton server by us; see README.md beside this folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from mt_perception.errors import PerceptionError
from mt_perception.model.folder import read_manifest
from mt_perception.offload.payload import SYMBOLS, PayloadLimits
from mt_perception.offload.protocol import InferenceRequest
from mt_perception.offload.split_model import cut_of, read_codec
from mt_perception.server.served_model import admit


class TritonPythonModel:
    """The model class that Triton loads from this file."""

    def initialize(self, args: dict[str, Any]) -> None:
        """Read the codec of the model folder that config.pbtxt names."""
        parameters = json.loads(args['model_config'])['parameters']
        folder = Path(parameters['model_folder']['string_value'])
        self._manifest = read_manifest(folder)
        self._codec = read_codec(folder, cut_of(self._manifest))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Decode each request on its own: frames may differ in size."""
        return [self._decoded(request) for request in requests]

    def _decoded(self, request: Any) -> Any:
        content = pb_utils.get_input_tensor_by_name(request, 'payload').as_numpy()
        try:
            asked = InferenceRequest(self._manifest.name, '', '', content.tobytes())
            payload = admit(asked, self._manifest, PayloadLimits()).payload
            if payload.kind != SYMBOLS:
                raise PerceptionError('this host accepts features, no images')
            symbols = self._codec.decode(payload.body, payload.rate, payload.shape)
            latent = self._codec.dequantise(symbols, payload.rate)[None]
        except PerceptionError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        tensor = pb_utils.Tensor('latent', np.ascontiguousarray(latent))
        return pb_utils.InferenceResponse(output_tensors=[tensor])
