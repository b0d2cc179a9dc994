# csnode: `make run` shows it, `make test` proves it. Both set up what they need first.
.PHONY: help run test check sim ha mutants nightly chaos rolling bench lab lab-down deb setup guest servers clean
.DEFAULT_GOAL := help
BIN := .venv/bin
ARGS ?=
SECONDS ?= 300
SEEDS ?= 0-499

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: guest ## a whole cloud on this machine and one real guest in it; Ctrl-C ends it (root; ARGS=--once: by itself)
	@$(BIN)/csnode demo $(ARGS)

test: servers ## all tests, those on real machines and networks included (root; ARGS=... goes to pytest)
	@$(BIN)/python -m tests $(ARGS)

check: setup ## linters, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/pyright

sim: setup ## virtual worlds and the matrix of mishaps (SEED=17: the story of one; SEEDS=0-9999: those)
ifdef SEED
	@$(BIN)/csnode sim --seed $(SEED)
else
	@$(BIN)/csnode sim --seeds $(SEEDS) $(ARGS)
	@$(BIN)/python -m pytest tests/sim/test_matrix.py
endif

ha: setup ## virtual worlds in which hosts fail (SEED=17: the story of one; SEEDS=0-9999: those)
ifdef SEED
	@$(BIN)/csnode sim --ha --seed $(SEED)
else
	@$(BIN)/csnode sim --ha --seeds $(SEEDS) $(ARGS)
endif

mutants: servers ## small mistakes in the code, one at a time: do the tests notice? (ARGS="--seed 7 --count 50 saga view")
	@$(BIN)/python -m tests.mutants $(ARGS)

nightly: servers ## every test, those that take long too, and 20,000 virtual worlds: two hours on two cores
	@NIGHTLY=1 $(BIN)/python -m tests
	@$(BIN)/csnode sim --seeds 0-9999 $(ARGS)
	@$(BIN)/csnode sim --ha --seeds 0-9999 $(ARGS)
	@$(BIN)/python -m tests.mutants --seed "$$(date +%j)" --count 300

chaos: servers ## kill -9 of every role under load, with a recorder and a judge (SECONDS=300 ARGS="--seed 7")
	@$(BIN)/python -m tests.system.chaos --seconds $(SECONDS) $(ARGS)

rolling: servers ## restart, up from the version before and back down, process by process, under load (ARGS="restart up")
	@$(BIN)/python -m tests.system.rolling $(ARGS)

bench: servers ## every figure, with a calibration loop beside it (ARGS=deploys: that one)
	@$(BIN)/python -m tests.bench $(ARGS)

lab: servers ## several hosts on this machine, csnode split over them; Ctrl-C ends it (root; ARGS=--detach: leaves it)
	@$(BIN)/python -m tests.lab up $(ARGS)

lab-down: ## takes the lab away, whatever is left of it
	@.venv/bin/python -m tests.lab down

deb: setup ## dist/csnode_VERSION_amd64.deb for Debian 12
	@config/deb/build.sh

setup: ## Debian packages and .venv
	@config/setup.sh

guest: ## and the guest image
	@config/setup.sh guest

servers: ## and what the tests run against
	@config/setup.sh guest test

clean: ## removes what was built: .venv, .cache, var
	rm -rf .venv .cache var build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
