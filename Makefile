# Everything runs in .venv, which the set-up makes and then leaves alone until a pin changes.
BIN := .venv/bin
PYTEST := $(BIN)/pytest -n 2 --dist loadfile

.NOTPARALLEL:
.PHONY: help setup setup-test demo demo-rtl test test-slow verify-long unit lint format wheel-test docs bench clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.* ## /\1\t/p' Makefile | expand -t 12

setup: ## make .venv with what the demo needs
	@tools/setup.sh run

setup-test: ## make .venv with what the tests and checks need
	@tools/setup.sh test

demo: setup ## capture ResNet-18 from torch, simulate it dense and BDWP 2:8, write demo/
	@mkdir -p demo
	$(BIN)/nofm trace resnet18 --batch 512 -o demo/resnet18.safetensors
	$(BIN)/nofm simulate demo/resnet18.safetensors --method bdwp --pattern 2:8 --hardware sat-32x32 -o demo/

demo-rtl: setup-test ## train a small network by BDWP 2:4 on the chip's RTL, write demo/mlp-bdwp.png
	$(BIN)/nofm verify --network mlp --method bdwp --pattern 2:4 --steps 3 --hardware sat-4x4 -o demo/

test: setup-test ## run lint, the wheel test and all quick tests; go on past a failure
	@$(MAKE) --no-print-directory --keep-going lint wheel-test unit

unit: setup-test ## run the quick tests alone
	$(PYTEST) -m "not slow and not device"

test-slow: setup-test ## run the slow tests
	$(PYTEST) -m "slow and not device"

verify-long: setup-test ## run 1,000 random products and the slow tests of the RTL
	$(BIN)/nofm verify --hardware sat-4x4 --random 1000 --seed 1 --tool verilator
	$(PYTEST) -m "slow and not device" tests/rtl

lint: setup-test ## run ruff, mypy and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup-test ## format the code and sort its imports
	$(BIN)/ruff check --fix-only --select I .
	$(BIN)/ruff format .

wheel-test: setup-test ## build the wheel and try it in an empty environment, away from the sources
	$(BIN)/python tools/wheel_test.py

docs: setup-test ## build the documentation's site, build/docs/index.html; a warning is an error
	$(BIN)/sphinx-build -W --keep-going -q -E docs build/docs

bench: setup-test ## run every benchmark
	@set -e; for benchmark in benchmarks/*.py; do echo "== $$benchmark"; $(BIN)/python $$benchmark; done

clean: ## remove what was built, but not the environments
	rm -rf build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
