# Two commands for everyone: `make demo` runs the main job, `make test` passes the tests. Both set up what they need.
PY := .venv/bin/python

.PHONY: demo test bench lint setup clean

setup:
	@./setup.sh

demo: setup
	$(PY) -m testbed run experiments/quickstart.yaml

test: setup lint
	$(PY) -m pytest

bench: setup
	$(PY) -m testbed.bench

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

clean:
	$(PY) -m testbed clean
