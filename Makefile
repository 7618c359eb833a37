# Two commands for everyone: `make demo` runs the main job, `make test` passes the tests. Both set up what they need.
PY := .venv/bin/python

.PHONY: demo test bench lint lock audit setup clean

setup:
	@./setup.sh

# 3: finished, but not valid. On a shared machine other load may have disturbed it, so it gets one more chance, aloud.
demo: setup
	@$(PY) -m testbed run experiments/quickstart.yaml; status=$$?; \
	if [ $$status = 3 ]; then \
		echo "demo: that run was not valid (reasons above), most likely disturbed by other load; once more"; \
		$(PY) -m testbed run experiments/quickstart.yaml; status=$$?; \
	fi; exit $$status

# What measures time or makes networks has the machine for itself; the rest shares its cores.
test: setup lint
	$(PY) -m pytest -n auto -m "not shaped and not docker"
	$(PY) -m pytest -m "shaped or docker"

bench: setup
	$(PY) -m testbed.bench

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# The hashes of every file of each version that is pinned, for all Pythons and systems: after a pin was changed by hand.
# PyTorch is not in it, as setup.sh chooses among builds of which some have no file on the index.
LOCK := .venv/bin/uv pip compile -q --generate-hashes --no-annotate --universal --python-version 3.11 \
	--custom-compile-command "make lock"
lock: setup
	.venv/bin/pip install -q uv==0.13.9
	$(LOCK) --no-deps requirements.lock -o requirements.lock
	$(LOCK) .ci/audit.in -o .ci/audit.lock

audit: setup
	.ci/audit

clean:
	$(PY) -m testbed clean
