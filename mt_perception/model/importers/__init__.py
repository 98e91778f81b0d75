# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Makes model folders of ONNX networks from other projects; needs the package ``onnx``.

A network stays as it is. Two small graphs around it adapt it: ``prepare`` turns the uint8 image
of the model folder into the network's input, and one graph for each task decodes the network's
outputs into the tensors that post-processing reads.
"""
