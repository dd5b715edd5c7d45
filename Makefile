# Every target does its own set-up: in a fresh clone, `make demo` and `make test` are enough.
# Settings: PYTHON (3.10 to 3.13), VENV (where the environment goes), EXTRAS (which extras of pyproject.toml go into it: tests that need others are
# skipped), PIP_ARGS, PYTEST_ARGS, BENCH_ARGS and POLYBENCH_ARGS (more arguments).

PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= dev,demo,docs
PIP_ARGS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=
POLYBENCH_ARGS ?=
GPU_ARGS ?=
PART ?= tests

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PEERS := $(VENV)/.peers
LINKS := unspool/backends unspool/compiler unspool/dsl unspool/stdlib

PROGRAMS := tests/programs stdlib examples

.DEFAULT_GOAL := help
.PHONY: help setup links demo test check docs package bench gpu gpu-bundle experiments pictures golden clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: $(INSTALLED) ## make the environment in .venv and install everything into it

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --editable '.[$(EXTRAS)]'
	@touch $@

links: $(LINKS) ## link the four folders below unspool/, for type checkers only

$(LINKS): unspool/%:
	@ln -sfn ../$* $@

$(PEERS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --editable '.[bench]'
	@touch $@

demo: $(INSTALLED) ## learn to denoise one photograph, apply it to another; writes demo-out/
	$(BIN)/python -m examples.denoise

test: $(INSTALLED) ## run the tests
	$(BIN)/python -m pytest --quiet --numprocesses auto --dist worksteal $(PYTEST_ARGS)

check: $(INSTALLED) links ## ruff, mypy --strict on the library, formatted programs, import floors
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m unspool fmt --check $(PROGRAMS)
	$(BIN)/python -m pytest --quiet tests/test_floors.py

docs: $(INSTALLED) ## the documentation as a site in build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

package: $(INSTALLED) ## build sdist and wheel into build/dist, install the wheel elsewhere and try it
	$(BIN)/python .ci/package.py

bench: $(PEERS) ## time the unrolled suite and PolyBench against their peers, about 35 minutes; writes benchmarks/results/
	$(BIN)/python -m benchmarks.unrolled $(BENCH_ARGS)
	$(BIN)/python -m benchmarks.polybench $(POLYBENCH_ARGS)

gpu: ## PART=tests: the tests that need a GPU; PART=bench: the unrolled suite there; adds to benchmarks/results/
	$(PYTHON) .ci/gpu.py $(PART) $(GPU_ARGS)

gpu-bundle: ## collect the wheels that a GPU machine without network lacks, into build/gpu-bundle
	$(PYTHON) .ci/gpu.py bundle

experiments: $(PEERS) ## the long runs: the experiments of docs/experiments/, 50,000 mutated programs, 10,000 random nests, other slow tests; the benchmarks at full size
	$(BIN)/python -m pytest --quiet --slow -m slow --numprocesses auto --dist worksteal $(PYTEST_ARGS)
	$(BIN)/python -m experiments --publish
	$(BIN)/python -m benchmarks.unrolled --full $(BENCH_ARGS)

pictures: $(INSTALLED) ## draw anew how the algorithms of the library converge, for their pages, about 5 minutes
	$(BIN)/python -m docs.pictures

golden: $(INSTALLED) ## write the golden files anew (then read the diff)
	$(BIN)/python -m pytest --quiet --update-golden $(PYTEST_ARGS)

clean: ## remove what the targets made, the environment excepted
	rm -rf build demo-out $(filter-out benchmarks/results/nvidia-%,$(wildcard benchmarks/results/*)) .pytest_cache .mypy_cache .ruff_cache .hypothesis $(LINKS)
