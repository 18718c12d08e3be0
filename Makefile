# Everything runs in .venv, which the first target that needs it creates.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DATA_DIR ?= data/digits
MODEL_DIR ?= runs/digits
# Most tests wait more than they compute. A file's tests share what they set up.
SIDE_BY_SIDE := --numprocesses=2 --dist=loadfile
SHELL_SCRIPTS := .ci/run $(wildcard launch/*.sh tests/*/*.sh)
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: help setup horovod train test test-long lint format bench clean

help:  ## Show this text.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

setup: $(VENV)/installed  ## Create .venv and install Lockstep with its development tools.

# Each time: it does nothing where Horovod has been checked with the TensorFlow
# that is installed now.
horovod: $(VENV)/installed  ## Build Horovod for the TensorFlow of .venv; the wheel is kept.
	$(BIN)/python -m launch.install_horovod

$(DATA_DIR)/dataset.json: | $(VENV)/installed
	$(BIN)/python -m input.convert --source=digits --output=$(DATA_DIR)

train: $(DATA_DIR)/dataset.json | $(VENV)/installed  ## Train gin/digits.gin on scikit-learn's digits and report.
	$(BIN)/python -m trainer.main --gin_file=gin/digits.gin \
	  --gin_param='DATA_DIR="$(DATA_DIR)"' --model_dir=$(MODEL_DIR)

test: horovod  ## Run the test suite (under 20 minutes on 2 cores).
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(PYTEST_ARGS)

# Interrupted, pytest still takes down the clusters that it has started.
test-long: horovod  ## Run what takes minutes each: a real Slurm, pods (under 30 minutes; ended after 40).
	timeout --signal=INT --kill-after=60 40m \
	  $(BIN)/python -m pytest -m long $(SIDE_BY_SIDE) $(PYTEST_ARGS)

lint: $(VENV)/installed  ## Run ruff, mypy and shellcheck with the settings of pre-commit.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck $(SHELL_SCRIPTS)

format: $(VENV)/installed  ## Let ruff mend what it can.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/installed  ## Measure the training step against its peers (installs PyTorch).
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,bench]'
	$(BIN)/python -m benchmarks.step
	$(BIN)/python -m benchmarks.memory

clean:  ## Remove the environment, what was built, the data set and the run of `make train`.
	rm -rf $(VENV) build $(DATA_DIR) $(MODEL_DIR) *.egg-info
