# Needs make and Python >= 3.11, nothing else; installs into .venv, .kmm and the cache folder (KMM_CACHE).
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m
WORKERS ?= $(shell expr 2 \* "$$(nproc)")
PYTEST := $(RUN) pytest -n $(WORKERS) --dist loadgroup
STAMP := $(VENV)/installed
POLICY_STAMP := policy/.venv/installed
UV_FLAGS := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --custom-compile-command 'make lock'

.DEFAULT_GOAL := help
.PHONY: help venv policy tools check test test-fast engine-test test-node golden docs lock demo demo-down bench

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP)  ## Install the locked Python packages into .venv

# Made anew when the lock changes, so that nothing stays that the lock does not hold.
$(STAMP): requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python >= 3.11 is needed, $(PYTHON) is older or missing. Name one: make PYTHON=python3.12 ...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo '$(PYTHON) lacks venv or ensurepip (Debian, Ubuntu: apt install python3-venv).' >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN) pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

policy: $(POLICY_STAMP)  ## Install what the policy pack needs into policy/.venv

$(POLICY_STAMP): policy/requirements.lock
	$(PYTHON) -m venv --clear policy/.venv
	policy/.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

tools: $(STAMP)  ## Find or install the pinned command-line tools
	$(RUN) tools.bootstrap

check: $(STAMP)  ## Check format, lint and types
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy -p kmm -p tools

test: $(STAMP)  ## Run all tests; without an engine those that need none
	$(PYTEST) -m 'not node'

test-fast: $(STAMP)  ## Run the tests that need no engine
	$(PYTEST) -m 'not engine and not node'

engine-test: $(STAMP)  ## Run the tests on the real engine
	$(PYTEST) -m engine

test-node: $(STAMP)  ## Run the tests on real nodes, a kubelet here and a VM; needs root
	@trap 'status=$$?; $(RUN) tools.real down; exit $$status' EXIT INT TERM; \
		$(RUN) pytest -v -s --dist worksteal --max-worker-restart 0 --tx '2*popen//python=tests/node/lane $(VENV)/bin/python' tests/node

golden: $(STAMP)  ## Write the golden manifests anew; read the diff before you commit it
	$(RUN) pytest -m 'not engine and not node' --update-golden

docs: $(STAMP)  ## Write docs/reference from the code
	$(RUN) tools.reference

lock: $(STAMP)  ## Write the locks from requirements*.txt
	$(RUN) uv pip compile $(UV_FLAGS) requirements.txt -o requirements.lock
	$(RUN) uv pip compile $(UV_FLAGS) -c requirements.lock requirements-dev.txt -o requirements-dev.lock
	$(RUN) uv pip compile $(UV_FLAGS) policy/requirements.txt -o policy/requirements.lock

demo: $(STAMP)  ## Deploy sample modules to an embedded cluster; REAL=1: to a virtual machine's kernel, as root
	$(RUN) tools.demo up $(if $(REAL),--real)

demo-down: $(STAMP)  ## Destroy the demo's stack and cluster
	$(RUN) tools.demo down

bench: $(STAMP)  ## Measure node listing and the engine
	$(RUN) bench.nodes
	$(RUN) bench.up
