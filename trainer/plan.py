"""What `--dry_run` shows: a run in numbers, before it costs anything."""

import dataclasses
import json
import math
import time
from typing import Any

import numpy as np
import tensorflow as tf

from input import dataset, files
from models import summary
from trainer import errors, phases, preprocessing, session

_CPU_ROWS = 8
_CURVE_POINTS = 9
_MIB = 2**20


def describe(parts: session.Session) -> str:
    """Returns the plan of a run as lines of text."""
    recipe, info = parts.recipe, parts.recipe.train_data.source.info
    horizon, batch = recipe.horizon, recipe.global_batch_size
    replicas = parts.engine.num_replicas
    model = parts.state.model
    macs = summary.multiply_accumulates(model)
    splits = ", ".join(data.split for data in recipe.evaluations) or "none"
    parameters = summary.parameter_count(model)
    lines = [
        f"data        {_splits(info)}; {info.num_classes} classes",
        f"images      {' x '.join(map(str, recipe.train_data.image_shape))}",
        f"pixels      {_pixels(parts)}",
        f"engine      {parts.engine.describe()}",
        f"batch       {batch} global, {batch // replicas} per replica",
        f"steps       {horizon.total_steps:,} in all, "
        f"{horizon.steps_per_epoch:,.1f} an epoch, "
        f"{horizon.total_steps * batch:,} images",
        f"evaluation  {splits}; eval_data every {recipe.evaluate_every}",
        f"checkpoint  every {recipe.checkpoint_every}",
        f"model       {model.name}, {parameters:,} parameters",
        *_phases(parts),
        f"compute     {2 * macs / 1e9:,.3f} GFLOPs an image forward, about "
        f"{6 * macs / 1e9:,.3f} for a training step",
        *_features(parts),
        f"precision   {recipe.precision}",
        f"memory      about {_memory(parts) / _MIB:,.0f} MiB a replica",
        "learning rate by step:",
    ]
    return "\n".join([*lines, *_learning_rates(parts)])


def facts(parts: session.Session) -> dict[str, Any]:
    """Returns the numbers of the plan, for programs (launch/plan.py).

    Returns:
        JSON types: `model`, its name; `parameters`, trainable ones;
        `gradient_bytes`, what an all-reduce adds up in a step of the phase
        in which most learns;
        `flops_per_image_forward` and `flops_per_image_step`, a multiply-add
        counting as two; `image_shape`; `precision`; `gradient_compression`;
        `global_batch_size`; `replicas`, of the engine here; `train_examples`;
        `steps_per_epoch`; `total_steps`.
    """
    recipe, model = parts.recipe, parts.state.model
    macs = summary.multiply_accumulates(model)
    # Gradients have the type of the weights: float32 in every precision.
    gradients = [
        sum(math.prod(v.shape) * v.value.dtype.size for v in updater.weights)
        for updater in parts.state.updaters
    ]
    return {
        "model": model.name,
        "parameters": summary.parameter_count(model),
        "gradient_bytes": max(gradients),
        "flops_per_image_forward": 2 * macs,
        "flops_per_image_step": 6 * macs,
        "image_shape": list(recipe.train_data.image_shape),
        "precision": recipe.precision,
        "gradient_compression": recipe.gradient_compression,
        "global_batch_size": recipe.global_batch_size,
        "replicas": parts.engine.num_replicas,
        "train_examples": recipe.train_data.examples,
        "steps_per_epoch": recipe.horizon.steps_per_epoch,
        "total_steps": recipe.horizon.total_steps,
    }


def save(parts: session.Session, path: str) -> None:
    """Writes `facts` as JSON.

    Raises:
        errors.ConfigError: The file cannot be written.
    """
    text = json.dumps(facts(parts), indent=2) + "\n"
    try:
        files.write_atomically(path, text.encode())
    except (tf.errors.OpError, OSError) as error:
        raise errors.ConfigError(
            f"--plan_file={path} cannot be written: {errors.reason(error)}. "
            "Name a file in a folder of yours."
        ) from error


def _splits(info: dataset.DatasetInfo) -> str:
    return ", ".join(f"{s} {info.examples(s):,}" for s in info.splits)


def _features(parts: session.Session) -> list[str]:
    """Returns a line where a frozen backbone sees each picture once."""
    if not parts.keeps_features:
        return []
    return ["features    of the frozen backbone are computed once, and kept"]


def _pixels(parts: session.Session) -> str:
    return preprocessing.describe(
        parts.state.model, parts.recipe.train_data.image_shape
    )


def _learning_rates(parts: session.Session) -> list[str]:
    last = parts.recipe.horizon.total_steps - 1
    points = np.linspace(0, last, _CURVE_POINTS).round().astype(int)
    points = np.union1d(points, [phase.start for phase in parts.spans])

    def rate(step: int) -> float:
        phase = phases.at(parts.spans, step)
        return float(phase.learning_rate(tf.constant(step, tf.int64)))

    return [f"  {step:>10,}  {rate(int(step)):.6g}" for step in points]


def _phases(parts: session.Session) -> list[str]:
    """Returns a line for each phase, and none where all learns all the time."""
    recipe = parts.recipe
    if recipe.trainable == "all" and not recipe.phases:
        return []
    all_of_them = sum(math.prod(v.shape) for v in parts.freezing.weights)
    lines = []
    for phase, updater in zip(parts.spans, parts.state.updaters, strict=True):
        learning = sum(math.prod(v.shape) for v in updater.weights)
        name = f"phase {phase.index + 1}" if recipe.phases else "phase"
        lines.append(
            f"{name:<11} steps {phase.start:,} to {phase.until:,}: "
            f"{phase.describe()}; {learning:,} of {all_of_them:,} parameters "
            "learn"
        )
    return lines


def _memory(parts: session.Session) -> int:
    """Returns an estimate: weights, slots and gradients, and activations."""
    recipe = parts.recipe
    number_bytes = 4 if recipe.precision == "float32" else 2
    shares = parts.engine.num_replicas * recipe.accumulate_steps
    rows = recipe.global_batch_size // shares
    weights = sum(
        v.shape.num_elements() * v.dtype.size
        for v in parts.state.variables().values()
    )
    gradients = 4 * max(
        sum(math.prod(v.shape) for v in updater.weights)
        for updater in parts.state.updaters
    )
    activations = summary.activation_bytes(
        parts.state.model, rows, number_bytes
    )
    return weights + gradients + activations


def try_one_step(parts: session.Session) -> str:
    """Takes one step and returns what it gave, in one line.

    On a CPU the step is tried with a few rows, since a batch meant for
    accelerators may not fit.
    """
    replicas = parts.engine.num_replicas
    batch = parts.recipe.global_batch_size
    on_cpu = not tf.config.list_logical_devices("GPU")
    if on_cpu and parts.engine.name != "tpu":
        # As many rows in each micro-batch, and at least one.
        micro_batches = parts.recipe.accumulate_steps
        rows = micro_batches * max(1, _CPU_ROWS // micro_batches)
        batch = min(batch, rows * replicas)
    tried = dataclasses.replace(
        parts,
        recipe=dataclasses.replace(
            parts.recipe,
            global_batch_size=batch,
            # An epoch has more steps then; the stages and phases are those of
            # the session.
            duration="1 step",
            profile=None,
            progressive_resizing=(),
            phases=(),
        ),
    )
    began = time.monotonic()
    values = tried.take_steps(0)(1)
    seconds = time.monotonic() - began
    loss = values["loss"] / max(values["examples"], 1)
    return (
        f"one step    of {batch // replicas} rows a replica: loss {loss:.4f}, "
        f"gradient norm {values['gradient_norm']:.4g}, {seconds:.1f} s with "
        "compilation"
    )
