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
from models import frozen, summary
from trainer import (
    best,
    checkpoint,
    config,
    errors,
    preprocessing,
    session,
    writer,
)

# They decide where, how often and what follows a failure, not what is learnt.
_FREE = (
    "DATA_DIR",
    "eval_data.cache",
    "eval_data.slices",
    "make_engine.",
    "metrics.",
    "test_data.cache",
    "test_data.slices",
    "tfrecords.data_dir",
    "train.best_direction",
    "train.best_metric",
    "train.cache_features",
    "train.checkpoint_every",
    "train.evaluate_every",
    "train.features_dir",
    "train.hang_timeout",
    "train.jit_compile",
    "train.keep_checkpoints",
    "train.keep_every",
    "train.log_every",
    "train.max_rollbacks",
    "train.metrics",
    "train.on_divergence",
    "train.profile",
    "train.spike_factor",
    "train.steps_per_loop",
    "train_data.cache",
    "train_data.service",
)
# What those who use its weights may do differently from the training.
FREE_AFTERWARDS = (
    "eval_data.",
    "test_data.",
    "train.duration",
    "train.early_stopping",
    "train.eval_data",
    "train.global_batch_size",
    "train.test_data",
    "train.warm_start",
    "train_data.shard_by",
)
RUN = "run.json"
CONFIG = "operative_config.gin"
# Without it run.json says nothing of the data.
_FINGERPRINT = "data_fingerprint"
_ORDER = "train_data.shard_by"
# What no checkpoint has: the weights of a SavedModel.
_FROZEN = "saved_models"


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
        errors.ConfigError: Another training lives there, or checkpoints of
            which nothing says what training they are of.
    """
    before, old = _load(model_dir), _settings(model_dir)
    if checkpoint.of_run(model_dir).steps():
        for name, found in ((RUN, before), (CONFIG, old)):
            if not found:
                raise errors.ConfigError(
                    f"{os.path.join(model_dir, name)} is missing or damaged, "
                    "so nothing says whether the checkpoints are of this "
                    "training. Restore it from a backup, or pass "
                    "--allow_config_change to trainer.main to go on from them "
                    "as they are."
                )
    changed: list[config.Difference] = []
    if before:
        then, now = before[_FINGERPRINT][:12], _fingerprint(parts)[:12]
        changed.append(config.Difference("data set", then, now))
        if _ORDER not in free:
            order = _order(parts)
            then = before.get("data_order", order)
            changed.append(config.Difference(f"{_ORDER} is", then, order))
        then, now = (
            ", ".join(d[:12] for d in found.values()) or "none"
            for found in (before.get(_FROZEN, {}), _frozen(parts))
        )
        # A run of before they were written down says nothing.
        if _FROZEN in before:
            changed.append(
                config.Difference("content of saved_model.path is", then, now)
            )
        changed = [c for c in changed if c.old != c.new]
    if old:
        changed += [
            difference
            for difference in config.differences(
                old, config.settings(operative_config)
            )
            if not difference.name.startswith(_FREE + free)
        ]
    if changed:
        raise errors.ConfigError(
            f"--model_dir={model_dir} holds a run of a different config:\n  "
            + "\n  ".join(map(str, changed))
            + "\nUse a new --model_dir, or pass --allow_config_change to "
            "trainer.main to go on from its checkpoint with the new config."
        )


def claim(
    model_dir: str, parts: session.Session, operative_config: str
) -> None:
    """Writes run.json and operative_config.gin, and removes an earlier DONE.

    Raises:
        errors.OutputError: The disk fails.
    """
    before = _load(model_dir) or {}
    described = describe(model_dir, parts)
    described["started"] = before.get("started", described["started"])
    text = json.dumps(described, indent=1, ensure_ascii=False)
    with errors.writing(model_dir):
        files.remove(_done(model_dir))
        files.write_atomically(
            os.path.join(model_dir, CONFIG), operative_config.encode()
        )
        files.write_atomically(os.path.join(model_dir, RUN), text.encode())


def finish(model_dir: str, step: int) -> None:
    """Writes DONE: training has ended at this step.

    Raises:
        errors.OutputError: The disk fails.
    """
    path = _done(model_dir)
    with errors.writing(path):
        files.write_atomically(path, json.dumps({"step": step}).encode())


def check_not_lost(model_dir: str) -> None:
    """Makes sure that a training which had checkpoints has one still.

    Raises:
        errors.ConfigError: They have gone.
    """
    if checkpoint.of_run(model_dir).steps():
        return
    evidence = _had_checkpoints(model_dir)
    if evidence:
        raise errors.ConfigError(
            f"--model_dir={model_dir} has no checkpoint any more, but had: "
            f"{evidence}. Training will not silently start again from zero. "
            "Restore checkpoints/ from a backup, name a new --model_dir, or "
            "pass --start_anew to begin at step 0, which removes best/, DONE "
            "and STOP."
        )


def _had_checkpoints(model_dir: str) -> str:
    """Returns what tells of checkpoints that were committed, or "".

    What is best/ alone does not: it may be kept before the first checkpoint.
    """
    if files.exists(_done(model_dir)):
        return "DONE is there"
    found = ""
    begun = False
    for line in writer.read(model_dir):
        begun = begun or line["kind"] == "run"
        if writer.is_new_training(line):
            found = ""
        elif line["kind"] in ("run", "checkpoint"):
            found = f"metrics.jsonl tells of step {line['step']}"
    if not begun and best.Best(model_dir).checkpoints.steps():
        return "best/ is there, and nothing says how far it had come"
    return found


def config_of(model_dir: str) -> str:
    """Returns where the bindings of a run are kept, a gin file.

    Raises:
        errors.ConfigError: They are not there.
    """
    path = os.path.join(model_dir, CONFIG)
    if not files.exists(path):
        raise errors.ConfigError(
            f"{path} is missing, so {model_dir} is not the folder of a run. "
            "Name the model_dir of a training."
        )
    return path


def _done(model_dir: str) -> str:
    return os.path.join(model_dir, "DONE")


def _load(model_dir: str) -> dict[str, Any] | None:
    """Returns what run.json says; None where it is missing or damaged."""
    path = os.path.join(model_dir, RUN)
    try:
        found = json.loads(files.read(path))
        if isinstance(found, dict) and isinstance(found.get(_FINGERPRINT), str):
            return found
    except FileNotFoundError:
        return None
    except ValueError:
        pass
    logging.warning("%s is damaged.", path)
    return None


def _settings(model_dir: str) -> dict[str, str]:
    """Returns the bindings of the run; none where they cannot be read."""
    try:
        content = files.read(os.path.join(model_dir, CONFIG))
        return config.settings(content.decode())
    except (FileNotFoundError, UnicodeDecodeError):
        return {}


def _fingerprint(parts: session.Session) -> str:
    return parts.recipe.train_data.source.info.fingerprint


def _frozen(parts: session.Session) -> dict[str, str]:
    return frozen.digests(parts.state.model)


def _order(parts: session.Session) -> str:
    """Returns what decides, besides the config, in which order data come."""
    hosts = parts.engine.host.count
    by_file = parts.recipe.train_data.reads_by_file(hosts)
    # One host reads all files; by record the order is that of one host.
    return f"file, {hosts} hosts" if by_file and hosts > 1 else "record"


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
        "pixels": preprocessing.facts(parts.preprocess),
        "global_batch_size": recipe.global_batch_size,
        "parameters": summary.parameter_count(parts.state.model),
        _FINGERPRINT: info.fingerprint,
        _FROZEN: _frozen(parts),
        "data_order": _order(parts),
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
