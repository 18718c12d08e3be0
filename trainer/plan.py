"""What `--dry_run` shows: a run in numbers, before it costs anything."""

import dataclasses
import time

import numpy as np
import tensorflow as tf

from input import dataset
from models import summary
from trainer import session

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
        f"engine      {parts.engine.describe()}",
        f"batch       {batch} global, {batch // replicas} per replica",
        f"steps       {horizon.total_steps:,} in all, "
        f"{horizon.steps_per_epoch:,.1f} an epoch, "
        f"{horizon.total_steps * batch:,} images",
        f"evaluation  {splits}; eval_data every {recipe.evaluate_every}",
        f"checkpoint  every {recipe.checkpoint_every}",
        f"model       {model.name}, {parameters:,} parameters",
        f"compute     {2 * macs / 1e9:,.3f} GFLOPs an image forward, about "
        f"{6 * macs / 1e9:,.3f} for a training step",
        f"precision   {recipe.precision}",
        f"memory      about {_memory(parts) / _MIB:,.0f} MiB a replica",
        "learning rate by step:",
    ]
    return "\n".join([*lines, *_learning_rates(parts)])


def _splits(info: dataset.DatasetInfo) -> str:
    return ", ".join(f"{s} {info.examples(s):,}" for s in info.splits)


def _learning_rates(parts: session.Session) -> list[str]:
    recipe, last = parts.recipe, parts.recipe.horizon.total_steps - 1
    points = np.unique(np.linspace(0, last, _CURVE_POINTS).round().astype(int))
    rate = recipe.optimizer.learning_rate
    return [
        f"  {step:>10,}  "
        f"{float(rate(tf.constant(int(step), tf.int64), recipe.horizon)):.6g}"
        for step in points
    ]


def _memory(parts: session.Session) -> int:
    """Returns an estimate: weights, slots and gradients, and activations."""
    recipe = parts.recipe
    number_bytes = 4 if recipe.precision == "float32" else 2
    rows = recipe.global_batch_size // parts.engine.num_replicas
    weights = sum(
        v.shape.num_elements() * v.dtype.size
        for v in parts.state.variables().values()
    )
    gradients = 4 * summary.parameter_count(parts.state.model)
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
    if not tf.config.list_logical_devices("GPU"):
        batch = min(batch, _CPU_ROWS * replicas)
    tried = dataclasses.replace(
        parts,
        recipe=dataclasses.replace(parts.recipe, global_batch_size=batch),
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
