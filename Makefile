# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
# A newcomer runs `make demo` and `make test`; CI runs .ci/run, which calls more of these targets.

PYTHON ?= python3
VENV := .venv
VENV_TRAIN := .venv-train
VENV_COLCON := .venv-colcon
VENV_RAY := .venv-ray
VENV_DOCS := .venv-docs
COLCON := colcon-core colcon-ros colcon-python-setup-py colcon-test-result \
  colcon-package-selection colcon-recursive-crawl colcon-metadata colcon-output
# One thread for each of pytest's workers: more of them compete for the cores.
export OMP_NUM_THREADS ?= 1
# Threads of torch that wait by spinning make two of them slower than one.
export OMP_WAIT_POLICY ?= PASSIVE
# Environments are installed without bytecode. A program that may not keep what it compiles needs up to a second
# more of a core at each start, and the tests start hundreds.
unexport PYTHONDONTWRITEBYTECODE
# Tests that run at once: one more than cores, because many wait for nodes and hosts.
WORKERS ?= $(shell expr $$(env -u OMP_NUM_THREADS nproc) + 1)
PYTEST := -m pytest -n $(WORKERS) --dist loadgroup
# Mutants of each folder.
SAMPLE ?= 40

.PHONY: help demo test test-train test-colcon test-ray mutants lint format docs bench coverage wheel licences clean

help:
	@echo 'make demo        a video through the perception node, pictures in out/demo/'
	@echo 'make test        the test suite, without torch'
	@echo 'make test-train  the tests that need torch, in an environment of their own'
	@echo 'make test-colcon checks that colcon test runs the tests, with colcon from PyPI'
	@echo 'make test-ray    the tests on a local cluster of Ray, in an environment of their own'
	@echo 'make mutants     share of changed expressions that a test detects, by folder (hours)'
	@echo 'make lint        ruff and mypy'
	@echo 'make docs        the documentation site in site/'
	@echo 'make bench       benchmarks; they print ratios; GROUP=core, graph, node or offload'
	@echo 'make coverage    the tests, and which lines they run'
	@echo 'make wheel       a wheel and an sdist in dist/'
	@echo 'make licences    licences of what is installed'
	@echo 'make clean       remove environments, caches and outputs'

demo:
	@$(PYTHON) tools/environment.py $(VENV) --ros
	@$(VENV)/bin/mt_perception demo

test:
	@$(PYTHON) tools/environment.py $(VENV) --ros --extras dev,eval,offload,serve
	@$(VENV)/bin/python $(PYTEST)

test-train:
	@$(PYTHON) tools/environment.py $(VENV_TRAIN) --extras check,eval,offload,train
	@$(VENV_TRAIN)/bin/mypy $$(find mt_perception/network mt_perception/training -name '*.py') \
	  mt_perception/cli/train.py mt_perception/cli/export.py mt_perception/cli/cut.py \
	  mt_perception/cli/quantize.py mt_perception/cli/cascade.py
	@$(VENV_TRAIN)/bin/python $(PYTEST) \
	  $$(grep -lE "importorskip\('torch'" test/test_*.py)

# An environment of its own: colcon brings plugins of pytest.
test-colcon:
	@$(PYTHON) tools/environment.py $(VENV) --ros --extras dev,eval,offload,serve
	@test -x $(VENV_COLCON)/bin/colcon || $(VENV)/bin/python -m venv $(VENV_COLCON)
	@$(VENV_COLCON)/bin/pip install -q --no-compile --disable-pip-version-check $(COLCON) 'setuptools<80'
	@PATH="$(CURDIR)/$(VENV_COLCON)/bin:$$PATH" $(VENV)/bin/python -m pytest test/test_colcon.py

# The tests' cluster; a failed start of it is repeated.
test-ray:
	@$(PYTHON) tools/environment.py $(VENV_RAY) --extras test,serve,ray
	@$(VENV_RAY)/bin/python tools/ray_cluster.py $(VENV_RAY)/bin/python -m pytest -k ray \
	  $$(grep -lE "importorskip\('ray" test/test_*.py)

# Goes on where it stopped.
mutants:
	@$(PYTHON) tools/environment.py $(VENV) --ros --extras dev,eval,offload,serve
	@$(VENV)/bin/python tools/mutants.py --sample $(SAMPLE) --out out/mutants.jsonl

lint:
	@$(PYTHON) tools/environment.py $(VENV) --ros --extras dev,eval,offload,serve
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

format:
	@$(PYTHON) tools/environment.py $(VENV) --ros --extras dev,eval,offload,serve
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

# Reads the sources of the package and imports nothing of it, so the site needs no ONNX Runtime.
docs:
	@test -x $(VENV_DOCS)/bin/python || $(PYTHON) -m venv $(VENV_DOCS)
	@$(VENV_DOCS)/bin/pip install -q --no-compile --disable-pip-version-check mkdocs-material 'mkdocstrings[python]'
	@PYTHONPATH=. NO_MKDOCS_2_WARNING=1 $(VENV_DOCS)/bin/mkdocs build -q -d site

# Groups of benchmarks: make bench GROUP=graph. The default needs neither ROS nor data. Those of offload need
# ARGUMENTS='models/cspnano IMAGES'; each file of benchmarks/ has its usage in its first lines.
BENCH_core := start preprocessing postprocessing pipeline gates
BENCH_graph := order memory sharing parallel
BENCH_node := node_latency latency_loop
BENCH_offload := reply offload_link offload_faults offload_hosts
GROUP ?= core

bench:
	@test -n '$(BENCH_$(GROUP))' || { echo 'GROUP is core, graph, node or offload'; exit 2; }
	@$(PYTHON) tools/environment.py $(VENV) --ros --extras dev,eval,offload,serve
	@for name in $(BENCH_$(GROUP)); do echo "# $$name"; \
	  $(VENV)/bin/python benchmarks/bench_$$name.py $(ARGUMENTS) || exit 1; done

# Lines that the tests run, without those that need PyTorch.
coverage:
	@$(PYTHON) tools/environment.py $(VENV) --ros --extras dev,eval,offload,serve
	@$(VENV)/bin/python $(PYTEST) --cov=mt_perception --cov-report=term:skip-covered

# A wheel and an sdist in dist/.
wheel:
	@$(PYTHON) tools/environment.py $(VENV) --ros --extras dev,eval,offload,serve
	@$(VENV)/bin/python tools/distributions.py dist

licences:
	@$(PYTHON) tools/environment.py $(VENV) --ros --extras dev,eval,offload,serve
	@$(VENV)/bin/python tools/licences.py

clean:
	rm -rf $(VENV) $(VENV_TRAIN) $(VENV_COLCON) $(VENV_RAY) $(VENV_DOCS) build dist site out *.egg-info .mypy_cache .pytest_cache .ruff_cache
