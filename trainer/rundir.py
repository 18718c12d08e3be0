"""model_dir: what a run says of itself, and whether it may go on there."""

import json
import os
import platform
import subprocess
import time
from importlib import metadata
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from input import files
from models import summary
from trainer import config, errors, session

# They decide where, how often and what follows a failure, not what is learnt.
_FREE = (
    "DATA_DIR",
    "eval_data.cache",
    "make_engine.",
    "test_data.cache",
    "tfrecords.data_dir",
    "train.best_direction",
    "train.best_metric",
    "train.checkpoint_every",
    "train.evaluate_every",
    "train.hang_timeout",
    "train.jit_compile",
    "train.keep_checkpoints",
    "train.keep_every",
    "train.log_every",
    "train.max_rollbacks",
    "train.on_divergence",
    "train.profile",
    "train.spike_factor",
    "train.steps_per_loop",
    "train_data.cache",
    "train_data.service",
)


def check(
    model_dir: str,
    parts: session.Session,
    operative_config: str,
    free: tuple[str, ...] = (),
) -> None:
    """Makes sure that a model_dir holds no other training.

    Args:
        model_dir: May be empty, or not there.
        parts: What is about to run.
        operative_config: Its bindings.
        free: Beginnings of names that may differ, besides the usual ones.

    Raises:
        errors.ConfigError: Another training lives there.
    """
    before = _load(os.path.join(model_dir, "run.json"))
    path = os.path.join(model_dir, "operative_config.gin")
    if before is None:
        return
    try:
        old = config.settings(files.read(path).decode())
    except FileNotFoundError:
        return
    now = parts.recipe.train_data.source.info.fingerprint
    then = before.get("data_fingerprint", now)
    changed = [f"data set: {then[:12]} -> {now[:12]}"] if now != then else []
    changed += [
        str(difference)
        for difference in config.differences(
            old, config.settings(operative_config)
        )
        if not difference.name.startswith(_FREE + free)
    ]
    if changed:
        raise errors.ConfigError(
            f"--model_dir={model_dir} holds a run of a different config:\n  "
            + "\n  ".join(changed)
            + "\nUse a new --model_dir, or pass --allow_config_change to "
            "trainer.main to go on from its checkpoint with the new config."
        )


def claim(
    model_dir: str, parts: session.Session, operative_config: str
) -> None:
    """Writes run.json and operative_config.gin, and removes an earlier DONE."""
    before = _load(os.path.join(model_dir, "run.json")) or {}
    files.remove(os.path.join(model_dir, "DONE"))
    described = describe(model_dir, parts)
    described["started"] = before.get("started", described["started"])
    files.write_atomically(
        os.path.join(model_dir, "operative_config.gin"),
        operative_config.encode(),
    )
    files.write_atomically(
        os.path.join(model_dir, "run.json"),
        json.dumps(described, indent=1, ensure_ascii=False).encode(),
    )


def finish(model_dir: str, step: int) -> None:
    """Writes DONE: training has ended at this step."""
    files.write_atomically(
        os.path.join(model_dir, "DONE"), json.dumps({"step": step}).encode()
    )


def _load(path: str) -> dict[str, Any] | None:
    try:
        return json.loads(files.read(path))
    except FileNotFoundError:
        return None
    except ValueError:
        logging.warning("%s is damaged; it will be written anew.", path)
        return None


def describe(model_dir: str, parts: session.Session) -> dict[str, Any]:
    """Returns the contents of run.json."""
    recipe, info = parts.recipe, parts.recipe.train_data.source.info
    return {
        "name": os.path.basename(os.path.normpath(model_dir)),
        **software(),
        "python": platform.python_version(),
        "seed": recipe.seed,
        "engine": parts.engine.name,
        "num_replicas": parts.engine.num_replicas,
        "precision": recipe.precision,
        "global_batch_size": recipe.global_batch_size,
        "parameters": summary.parameter_count(parts.state.model),
        "data_fingerprint": info.fingerprint,
        "train_examples": recipe.train_data.examples,
        "label_counts": {s: list(c) for s, c in info.label_counts.items()},
        "class_names": list(info.class_names),
        "started": round(time.time(), 3),
    }


def software() -> dict[str, str | None]:
    """Returns the versions that decide what is computed; None: not known."""
    return {
        "lockstep_version": metadata.version("lockstep"),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    """Returns the commit of this code, or None outside a checkout."""
    folder = os.path.dirname(os.path.abspath(__file__))
    try:
        answer = subprocess.run(
            [
                "git",
                "-C",
                folder,
                "describe",
                "--always",
                "--dirty",
                "--abbrev=40",
            ],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
