# make demo and make test need Python 3.11 or newer and a package index, nothing else: see `make help`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2
# The newest Python that this project supports, for `make test-newest`.
PYTHON_NEWEST ?= python3.13
# Compiling takes longer than running in the fast tests.
FAST_XLA := --xla_backend_optimization_level=0
FAST := -m pytest -m "not slow and not pod and not tpu and not extras" -n $(WORKERS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-pod test-tpu test-extras test-beam test-web test-oldest test-newest wheel reference lint types bench install install-tpu clean

help:  ## show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | \
		awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'
	@echo "  PYTHON=python3.12 chooses the Python that makes $(VENV); WORKERS=4 the processes of the tests"

demo: $(STAMP)  ## prepare, train, evaluate and separate on bundled clips; writes demo_output/
	$(BIN)/python -m experiments.demo

test: $(STAMP)  ## run the fast tests
	XLA_FLAGS="$(FAST_XLA) $$XLA_FLAGS" $(BIN)/python $(FAST)

test-oldest:  ## run the fast tests on the oldest JAX that is supported
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --disable-pip-version-check -q -e '.[dev]' jax==0.8.0
	.venv-oldest/bin/python -m pip install --disable-pip-version-check -q --no-deps -r requirements-encoder.txt
	XLA_FLAGS="$(FAST_XLA) $$XLA_FLAGS" .venv-oldest/bin/python $(FAST)

test-newest:  ## run the fast tests on the newest Python and the newest release of every package
	$(PYTHON_NEWEST) -m venv .venv-newest
	.venv-newest/bin/python -m pip install --disable-pip-version-check -q --upgrade --upgrade-strategy eager -e '.[dev]'
	.venv-newest/bin/python -m pip install --disable-pip-version-check -q --no-deps -r requirements-encoder.txt
	XLA_FLAGS="$(FAST_XLA) $$XLA_FLAGS" .venv-newest/bin/python $(FAST)

test-slow: $(STAMP)  ## run the slow tests
	$(BIN)/python -m pytest -m "slow and not extras and not tpu"

test-pod: $(STAMP)  ## run the tests of several processes, of injected faults, and of buckets
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[gcs]'
	$(BIN)/python -m pytest -m pod

test-tpu: install-tpu  ## compile for TPUs, without one
	$(BIN)/python -m pytest -m tpu

test-extras: $(STAMP)  ## run the tests of what needs the packages of an extra
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[benchmark,ray,video,open-sounds,notebook,reference]'
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps -c constraints.txt tinysoundfont
	$(BIN)/python -m pytest -m "extras and not beam and not web"

test-beam:  ## run the Beam tests, in an environment of their own: Beam needs an older protobuf
	$(PYTHON) -m venv .venv-beam
	.venv-beam/bin/python -m pip install --disable-pip-version-check -q -e '.[beam,dev]'
	.venv-beam/bin/python -m pytest -m beam -W "ignore::DeprecationWarning"

test-web:  ## run the tests of the page with Chromium, in an environment of their own: gradio needs an older pillow
	$(PYTHON) -m venv .venv-web
	grep -v '^pillow==' constraints.txt > .venv-web/constraints.txt
	.venv-web/bin/python -m pip install --disable-pip-version-check -q -c .venv-web/constraints.txt -e '.[web,browser,dev]'
	.venv-web/bin/python -m pip install --disable-pip-version-check -q --no-deps -r requirements-encoder.txt
	.venv-web/bin/python -m pytest -m web

reference: $(STAMP)  ## build the API's pages from docstrings: build/reference/index.html
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[reference]'
	$(BIN)/python -m docs.reference

lint: $(STAMP)  ## check format, style, and that the declared dependencies are those that are imported
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/deptry .

types: $(STAMP)  ## check types
	$(BIN)/pyright

bench: $(STAMP)  ## time separation, training, the data pipeline, the towers and exports
	$(BIN)/python -m benchmarks.separation
	$(BIN)/python -m benchmarks.command
	$(BIN)/python -m benchmarks.profile
	$(BIN)/python -m benchmarks.data_pipeline
	$(BIN)/python -m benchmarks.towers
	$(BIN)/python -m benchmarks.windows
	$(BIN)/python -m benchmarks.exports

wheel: $(STAMP)  ## build the wheel into dist/
	rm -rf build dist
	$(BIN)/python -m pip wheel --disable-pip-version-check -q --no-deps --wheel-dir dist .

install: $(STAMP)  ## make .venv and install everything that development needs

install-tpu: $(STAMP)  ## add libtpu (700 MB), which compiles for TPUs and drives them
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[tpu]'

$(STAMP): pyproject.toml constraints.txt requirements-encoder.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "audiosep_jax needs Python 3.11 or newer, but '$(PYTHON)' is missing or older:" \
		"install one and name it, as in: make PYTHON=python3.12"; exit 1; }
	@echo "installing into $(VENV): a few minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]' 'pyright[nodejs]'
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps -r requirements-encoder.txt
	@touch $@

clean:  ## remove the environment, caches and the demo's results
	rm -rf $(VENV) .venv-beam .venv-newest .venv-oldest .venv-web demo_output build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
