# Two commands do everything on a fresh machine: `make demo` and `make test`. `make` alone lists the others.
# Written for POSIX sh and for GNU make 3.81, which is what macOS has.
#   make demo PYTHON=/path/to/python3.12      another Python (3.11 to 3.13) than the one that is found
#   make demo TORCH_INDEX=<url>               another index of torch wheels, such as PyTorch's for CPU only
SHELL := /bin/sh
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo serve test lint test-unit chaos soak fuzz openapi bench-convergence bench-starts bench-step bench-api lock clean runtime dev bench

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' Makefile

demo: runtime ## set up, start the service, train, and compare WarpAdam with AdamW on a held-out domain
	@$(BIN)/warpadam demo

serve: runtime ## set up and start the service on this machine
	@$(BIN)/warpadam serve

test: lint ## set up, lint, types, import fences, and every test
	@scripts/browser
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadgroup

lint: dev ## set up, then ruff, mypy and the import fences
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test-unit: dev ## the tests that need no Ray and take no ten seconds
	$(BIN)/python -m pytest -m "not ray and not slow" --ignore tests/integration

bench-convergence: bench ## set up, then WarpAdam against its peers: hours, resumable; BENCH=--quick takes minutes
	$(BIN)/python -m benchmarks.convergence $(BENCH)

bench-starts: bench ## set up, then what a family's start is worth: hours, resumable; BENCH=--quick or "--plan short", "--rules"
	$(BIN)/python -m benchmarks.starts $(BENCH)

chaos: dev ## kill every part of a real service, 60 rounds on each database; see chaos/chaos.md (CHAOS="--seed 7 --rounds 10")
	$(BIN)/python -m tests.chaos $(CHAOS)

fuzz: dev ## send thousands of requests that schemathesis makes up, on each database, with keys and without (FUZZ="--seed 7 --cases 200")
	$(BIN)/python -W ignore -m tests.fuzz $(FUZZ)

openapi: dev ## write docs/openapi.json anew after a change of the API
	$(BIN)/python -m api.openapi > docs/openapi.json.new && mv docs/openapi.json.new docs/openapi.json

soak: dev ## 200 small jobs and a burst of 1000 submits through one service; see chaos/soak/chaos.md (CHAOS="--database both")
	$(BIN)/python -m tests.chaos --rounds 0 --database sqlite --soak 200 --burst 1000 --output chaos/soak $(CHAOS)

bench-step: dev ## set up, then measure what a step costs beside AdamW's, in time and in bytes
	$(BIN)/python -m benchmarks.step

bench-api: dev ## set up, then measure the API under load, on both databases, in minutes; BENCH=--quick takes two
	$(BIN)/python -m benchmarks.api $(BENCH)

lock: ## write the lock files anew from pyproject.toml (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv: see docs.astral.sh/uv" >&2; exit 1; }
	scripts/lock.sh

clean: ## remove the environment and every cache; data and results stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build warpadam.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

runtime:
	@scripts/install runtime

dev:
	@scripts/install dev

bench:
	@scripts/install bench
