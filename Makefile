# Two commands for everyone: `make demo` runs the main job, `make test` passes the tests. Both set up what they need.
PY := .venv/bin/python

.PHONY: demo check test test-fast test-exact test-worlds test-alone test-shaped test-docker coverage docs bench lock audit setup clean

setup:
	@./setup.sh

# 3: finished, but not valid. On a shared machine other load may have disturbed it, so it gets one more chance, aloud.
demo: setup
	@$(PY) -m testbed run experiments/quickstart.yaml; status=$$?; \
	if [ $$status = 3 ]; then \
		echo "demo: that run was not valid (reasons above), most likely disturbed by other load; once more"; \
		$(PY) -m testbed run experiments/quickstart.yaml; status=$$?; \
	fi; exit $$status

# Seconds when little has changed: style, format, types of testbed/ and tests/.
check: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# What needs no network, container, GPU or second of CPU time, on all cores. Each core gets a run of neighbours, which
# share what their module sets up.
FAST := not shaped and not docker and not slow and not gpu
PYTEST := $(PY) -m pytest
PARALLEL := -n auto --dist worksteal
test-fast: setup
	$(PYTEST) $(PARALLEL) -m "$(FAST)"

# The same with what takes longer.
test-exact: setup
	$(PYTEST) $(PARALLEL) -m "not shaped and not docker"

# Real processes over shaped links: in several worlds side by side (tests/own_world.sh), one more than cores as they
# wait for half of their time; then what measures time alone.
WORLDS := $(shell n=$$(($$(nproc) + 1)); echo $$((n < 4 ? n : 4)))
# no:rerunfailures: an older environment may still have that plugin, which reaches its workers over the loopback of one world
WORLD := TESTS_PYTHON=$(CURDIR)/$(PY) $(PYTEST) -p no:rerunfailures --dist worksteal
test-worlds: setup
	$(WORLD) --tx "$(WORLDS)*popen//python=tests/own_world.sh" -m "shaped and not docker and not alone"

test-alone: setup
	$(WORLD) --tx "popen//python=tests/own_world.sh" -m "shaped and not docker and alone"

test-shaped:
	@$(MAKE) --no-print-directory test-worlds
	@$(MAKE) --no-print-directory test-alone

test-docker: setup
	$(PYTEST) -m docker

# Containers beside the worlds: each of them waits for most of its time.
test: check test-exact
	@$(MAKE) --no-print-directory -j2 --output-sync=line test-worlds test-docker
	@$(MAKE) --no-print-directory test-alone

# How much of testbed/ the fast tests run; what runs in child processes is not counted.
coverage: setup
	$(PYTEST) $(PARALLEL) -m "$(FAST)" --cov --cov-report term:skip-covered

# schemas/ and docs/reference are written from the code; a test holds them to it.
docs: setup
	$(PY) -m testbed.cli.reference

bench: setup
	$(PY) -m testbed.bench

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
