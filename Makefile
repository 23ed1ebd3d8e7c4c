# `make` says what there is. uv is taken from PATH, else installed into ./.uv; outside this folder only its cache is written.

UV_VERSION := 0.13.8
UV := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)
RUN := $(UV) run --frozen --all-extras
SCRIPTS := startup.sh .ci/run .ci/audit .ci/sbom $(wildcard gcp_emulator/guest/shims/*)

# Where the environment forbids bytecode, each of the thousands of processes of a test run would compile all it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test check mutants sim audit sbom format clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(UV) ## a job on a rented VM, from its lease to the proof that it is off; emulated, no Google account
	@$(UV) run --frozen --no-dev --extra demo mayfly demo

test: $(UV) ## all tests (some of them: make test TESTS=tests/unit)
	$(RUN) pytest --numprocesses=logical --maxprocesses=8 --dist=worksteal $(TESTS)

check: $(UV) ## lint, format, types; shell scripts where shellcheck is installed
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	@if command -v shellcheck >/dev/null; then shellcheck $(SCRIPTS); \
	else echo 'No shellcheck, so shell scripts were not checked. On Debian and Ubuntu: apt-get install shellcheck'; fi

sim: $(UV) ## the simulation: all single and double faults, then seeds; or replay one: make sim SEED=7, make sim SCHEDULE='12:lost'
	@$(RUN) python -m tests.simulation.sim $(if $(SEED),--seed $(SEED)) $(if $(SCHEDULE),--schedule "$(SCHEDULE)") $(SIM)

mutants: $(UV) ## test the tests: break what the promises stand on, by name and line by line, and list what nobody noticed (an hour)
	$(RUN) python -m tests.mutants
	$(RUN) --group mutation mutmut run
	$(RUN) --group mutation mutmut results

audit: $(UV) ## known vulnerabilities of what uv.lock pins, as PyPI tells them; fails where it tells nothing
	@UV='$(UV)' bash .ci/audit

sbom: $(UV) ## what uv.lock pins as a CycloneDX document: sbom.cdx.json
	@UV='$(UV)' bash .ci/sbom >sbom.cdx.json

format: $(UV) ## write the code as check wants it
	$(RUN) ruff check --fix-only
	$(RUN) ruff format

clean: ## remove what the other targets made
	rm -rf .venv .uv .mayfly .mypy_cache .pytest_cache .ruff_cache .hypothesis mutants out sbom.cdx.json
	find . -name __pycache__ -prune -exec rm -rf {} +

.uv/bin/uv:
	@python3 -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo 'Python cannot make a venv here. On Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@echo 'Installing uv $(UV_VERSION) into ./.uv'
	@python3 -m venv .uv && .uv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check uv==$(UV_VERSION)
