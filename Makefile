# Every target does the set-up it needs: a virtual environment in .venv with the versions in
# constraints.txt. `make help` lists the targets and the variables.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest
# Two processes take one file of tests after another, those that took longest last time first. One
# thread in each: with more, threads wait for each other.
SIDE_BY_SIDE := OMP_NUM_THREADS=1 $(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder
# Without compiled files, each run and each process that a test starts compiles everything again.
unexport PYTHONDONTWRITEBYTECODE

DATA ?= data/textures
BACKBONE ?= efficientnet-lite0
# Text in single quotes for the shell: folders may have blanks, & and quotes.
quote = '$(subst ','\'',$(1))'
OUT ?= out/$(shell basename -- $(call quote,$(DATA)))
# The command knows its heads; asked when a recipe needs them, for the environment comes first.
HEADS ?= $(shell $(BIN)/headstart train-heads --list-heads)
MODE ?= top
MODEL ?= $(OUT)/model.onnx
STORE := $(OUT)/$(subst /,-,$(subst :,-,$(BACKBONE))).h5

# Without an NVIDIA GPU, gigabytes of CUDA libraries would be dead weight: take PyTorch's CPU
# build, from an index that is configured already or else from PyTorch's own. torchvision has to come
# from the same one: with another build, "operator torchvision::nms does not exist". Where no index
# has it, Headstart itself makes do (core/torchvision_import).
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
TORCHVISION := $(shell sed -n 's/^torchvision==//p' constraints.txt)
CPU_BUILDS := "torch==$(TORCH)+cpu" "torchvision==$(TORCHVISION)+cpu" -c constraints.txt
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
GPU := $(shell command -v nvidia-smi >/dev/null 2>&1 && echo gpu)
ifeq ($(shell uname -s)-$(GPU),Linux-)
INSTALL_TORCH = $(PIP) install -q $(CPU_BUILDS) 2>/dev/null || \
	$(PIP) install -q --retries 1 --extra-index-url $(TORCH_INDEX) $(CPU_BUILDS) 2>/dev/null || \
	$(PIP) install -q "torch==$(TORCH)+cpu" -c constraints.txt
else
INSTALL_TORCH = $(PIP) install -q "torch==$(TORCH)" -c constraints.txt
endif

# With an NVIDIA GPU, onnxruntime-gpu takes the place of onnxruntime: both bring the same Python
# package, so one has to go before the other is whole. Its CUDA libraries are those of PyTorch's
# build. Where it has no build for the machine, the CPU does the work. Each install puts
# onnxruntime back, which pyproject.toml asks for, hence this after each.
ORT_GPU := $(shell sed -n 's/^onnxruntime-gpu==//p' constraints.txt)
ifeq ($(GPU),gpu)
INSTALL_ORT_GPU = $(PIP) install -q --no-deps "onnxruntime-gpu==$(ORT_GPU)" 2>/dev/null \
	&& $(PIP) uninstall -q -y onnxruntime \
	&& $(PIP) install -q --no-deps --force-reinstall "onnxruntime-gpu==$(ORT_GPU)" \
	|| echo "onnxruntime-gpu $(ORT_GPU) cannot be installed here; networks run on the CPU"
else
INSTALL_ORT_GPU = :
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo-data features train-heads finetune predict report quick test test-all check bench clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22
	@echo "Variables: DATA=$(DATA) BACKBONE=$(BACKBONE) OUT=$(OUT) HEADS=$(if $(wildcard $(BIN)/headstart),$(HEADS),all) MODE=$(MODE)"

setup: $(VENV)/installed  ## make .venv with everything in it

$(VENV)/created:
	@echo "setting up $(VENV) (once; a few minutes)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: pyproject.toml constraints.txt $(VENV)/created
	@$(INSTALL_TORCH)
	@$(PIP) install -q -c constraints.txt -e ".[torch]"
	@$(INSTALL_ORT_GPU)
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@$(PIP) install -q -c constraints.txt -e ".[dev]"
	@$(INSTALL_ORT_GPU)
	@touch $@

demo-data: $(VENV)/installed
	@if [ $(call quote,$(DATA)) = data/textures ]; then $(BIN)/headstart demo-data data/textures; fi

features: demo-data  ## embed DATA with BACKBONE into a feature store under OUT
	@$(BIN)/headstart features $(call quote,$(DATA)) --backbone $(call quote,$(BACKBONE)) --out $(call quote,$(STORE))

train-heads: features  ## train and compare HEADS on the features; results under OUT
	@$(BIN)/headstart train-heads $(call quote,$(STORE)) --heads $(call quote,$(HEADS)) --out $(call quote,$(OUT))

finetune: demo-data  ## fine-tune BACKBONE on DATA in MODE (head, top, all); results under OUT-MODE
	@$(BIN)/headstart finetune $(call quote,$(DATA)) --backbone $(call quote,$(BACKBONE)) --mode $(call quote,$(MODE)) \
		--out $(call quote,$(OUT)-$(MODE))

predict: $(VENV)/installed  ## predict DATA with MODEL (default OUT/model.onnx)
	@$(BIN)/headstart predict $(call quote,$(MODEL)) $(call quote,$(DATA))

report: $(VENV)/installed  ## write OUT/report.html again
	@$(BIN)/headstart report $(call quote,$(OUT))

quick: $(VENV)/installed-dev  ## run the tests that need no torch, network export, browser or Ray
	@$(SIDE_BY_SIDE) --level quick

test: $(VENV)/installed-dev  ## run the tests, two at a time
	@$(SIDE_BY_SIDE)

test-all: $(VENV)/installed-dev  ## run every test, kills and breadth included (hours)
	@$(PYTEST) --level all

check: $(VENV)/installed-dev  ## lint, format, types, layers, documents
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(PYTEST) -q --level quick tests/docs

bench: demo-data $(VENV)/installed-dev  ## run the short benchmarks on DATA: today's ratios against the recorded ones
	@$(BIN)/python benchmarks/bench.py $(call quote,$(DATA))

clean:  ## remove what was generated, except .venv
	rm -rf out data/textures .mypy_cache .ruff_cache .pytest_cache
