# Everything runs in .venv, which the first target that needs it creates.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DATA_DIR ?= data/digits
MODEL_DIR ?= runs/digits
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

$(VENV)/horovod: $(VENV)/installed
	$(BIN)/python -m launch.install_horovod
	touch $@

horovod: $(VENV)/horovod  ## Build Horovod for the TensorFlow of .venv; the wheel is kept.

$(DATA_DIR)/dataset.json: | $(VENV)/installed
	$(BIN)/python -m input.convert --source=digits --output=$(DATA_DIR)

train: $(DATA_DIR)/dataset.json | $(VENV)/installed  ## Train gin/digits.gin on scikit-learn's digits and report.
	$(BIN)/python -m trainer.main --gin_file=gin/digits.gin \
	  --gin_param='DATA_DIR="$(DATA_DIR)"' --model_dir=$(MODEL_DIR)

test: $(VENV)/horovod  ## Run the test suite (under 20 minutes on 2 cores).
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-long: $(VENV)/horovod  ## Run what takes minutes each: jobs on a real Slurm, pods.
	$(BIN)/python -m pytest -m long $(PYTEST_ARGS)

lint: $(VENV)/installed  ## Run ruff and mypy with the settings of pre-commit.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed  ## Let ruff mend what it can.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/installed  ## Measure the training step against its peers (installs PyTorch).
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,bench]'
	$(BIN)/python -m benchmarks.step
	$(BIN)/python -m benchmarks.memory

clean:  ## Remove the environment, the data set and the run of `make train`.
	rm -rf $(VENV) $(DATA_DIR) $(MODEL_DIR) *.egg-info
