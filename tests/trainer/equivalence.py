"""The trainings that every engine must repeat; also run as a worker process.

    python -m tests.trainer.equivalence ENGINE GROUP OUTPUT

writes what each process of an engine has found in a group of cases to
OUTPUT-RANK.npz.
"""

import dataclasses
import os
import sys

import numpy as np
import tensorflow as tf

from input import augment
from trainer import bindings, config, engine, engines, session

STEPS = 10
SMALL_RESNET = (
    "train.model = @small_resnet",
    "small_resnet.depth = 8",
    "small_resnet.width = 4",
)
CASES: dict[str, tuple[str, ...]] = {
    "plain": (),
    "clipping": ("sgd.clip_norm = 0.1",),
    "smoothing, decay, Nesterov": (
        "train.loss = @softmax_cross_entropy()",
        "softmax_cross_entropy.label_smoothing = 0.1",
        "sgd.weight_decay = 0.01",
        "sgd.nesterov = True",
    ),
    "accumulation": (
        "train.accumulate_steps = 2",
        "train.augment = [@random_crop()]",
        "random_crop.padding = 2",
        "simple_cnn.dropout = 0.5",
        "simple_cnn.l2 = 0.001",
    ),
    "EMA": ("train.ema_decay = 0.9",),
    "sync batch norm": (*SMALL_RESNET, 'train.batch_norm = "sync"'),
    "float16, inf": ('train.precision = "mixed_float16"',),
}
# Not needed on every engine in `make test`, but in `make test-long`.
MORE: dict[str, tuple[str, ...]] = {
    "adamw": (
        "train.optimizer = @adamw()",
        "adamw.learning_rate = @constant_schedule()",
        # Adam divides by the gradient's size: rounding errors of gradients
        # near zero become steps. A large epsilon keeps them small.
        "adamw.epsilon = 0.01",
    ),
    "augmentation, dropout, L2": (
        "train.augment = [@random_crop(), @random_flip(), @cutout()]",
        "random_crop.padding = 2",
        "cutout.size = 3",
        "simple_cnn.dropout = 0.5",
        "simple_cnn.l2 = 0.001",
    ),
    "mixing, class weights, focal loss": (
        "train.mixing = @mixup_or_cutmix()",
        "train.class_weights = @effective_number_weights()",
        "train.accumulate_steps = 2",
        "train.loss = @focal_loss()",
    ),
    "sync batch norm, accumulation, EMA": (
        *SMALL_RESNET,
        'train.batch_norm = "sync"',
        "train.accumulate_steps = 2",
        "train.ema_decay = 0.9",
    ),
    "sync batch norm, large mean": (
        *SMALL_RESNET,
        'train.batch_norm = "sync"',
    ),
    "phases, EMA, sync batch norm": (
        *SMALL_RESNET,
        "small_resnet.zero_last_gamma = False",
        'train.batch_norm = "sync"',
        "train.ema_decay = 0.9",
        "train.phases = [@head/phase(), @fine/phase()]",
        'head/phase.duration = "4 steps"',
        'head/phase.trainable = "head"',
        'fine/phase.trainable = "last 2 blocks"',
    ),
    "LARS, layer decay": (
        "train.optimizer = @lars()",
        "lars.learning_rate = @polynomial_schedule()",
        "polynomial_schedule.peak = 5.0",
        "lars.layer_decay = 0.7",
    ),
    "LAMB, groups, XLA": (
        "train.optimizer = @lamb()",
        "lamb.learning_rate = @one_cycle_schedule()",
        "one_cycle_schedule.peak = 0.02",
        # See adamw.
        "lamb.epsilon = 0.01",
        "lamb.groups = [@param_group()]",
        'param_group.match = "^head/"',
        "param_group.learning_rate_factor = 3.0",
        "param_group.weight_decay = 0.1",
        "train.jit_compile = True",
    ),
    "binary cross entropy, mixing": (
        "train.loss = @binary_cross_entropy()",
        "binary_cross_entropy.label_smoothing = 0.1",
        "binary_cross_entropy.target_threshold = 0.2",
        "train.mixing = @mixup()",
    ),
    "XLA": ("train.jit_compile = True", "sgd.clip_norm = 0.1"),
    "RandAugment, progressive resizing": (
        *SMALL_RESNET,
        'train.batch_norm = "sync"',
        "train.augment = [@rand_augment()]",
        'train.progressive_resizing = ["4 until 3 steps", "6 until 5 steps"]',
    ),
}
# Gradients are sums of float16 numbers within a replica: how the batch is split
# decides where they are rounded, to 11 bits.
TOLERANCE = {"float16, inf": 1e-3}
# Not like one device: the rows of a replica decide.
APART: dict[str, tuple[str, ...]] = {
    "local batch norm": SMALL_RESNET,
    "gradients in bfloat16": (
        'train.gradient_compression = "bfloat16"',
        "sgd.clip_norm = 0.1",
    ),
}
ALL = CASES | MORE | APART
GROUPS = {
    "asked": [*CASES, "local batch norm"],
    "more": [*MORE, "gradients in bfloat16"],
}
# Row of the global batch with an infinite pixel, by step: it is on each of two
# and each of four replicas in turn.
POISONED = {2: 0, 4: 5, 6: 10, 8: 15}


def poison(images: tf.Tensor, rows: augment.Rows) -> tf.Tensor:
    """Puts inf into one row at some steps, whichever replica has it."""
    numbers = rows.first + tf.range(rows.count)
    bad = tf.zeros([rows.count], tf.bool)
    for step, row in POISONED.items():
        bad |= (rows.seed[1] == step) & (numbers == row)
    return tf.where(bad[:, None, None, None], np.inf, images)


def brighten(images: tf.Tensor, rows: augment.Rows) -> tf.Tensor:
    """Gives all channels a mean of many times their standard deviation."""
    del rows
    return images + 1_000


AUGMENTS = {
    "float16, inf": [poison],
    "sync batch norm, large mean": [brighten],
}


def run_case(case: str, on: engine.Engine) -> dict[str, np.ndarray]:
    """Trains ten steps and evaluates; returns all there is to compare."""
    config.parse(["tests/tiny.gin"], list(ALL[case]))
    recipe = config.call("train")
    if case in AUGMENTS:
        recipe = dataclasses.replace(recipe, augment=AUGMENTS[case])
    parts = session.build(recipe, on)
    take_steps = parts.take_steps(0)
    history = []
    for _ in range(STEPS):
        values = take_steps(1)
        del values["waited"]
        values["loss_scale"] = float(parts.state.loss_scale.scale.numpy())
        history.append(values)
    found = {
        f"history/{name}": np.array([values[name] for values in history])
        for name in history[0]
    }
    found |= {
        f"variables/{name}": np.asarray(variable)
        for name, variable in parts.state.variables().items()
    }
    result = parts.evaluator(recipe.eval_data)(STEPS, iter)
    metrics = {k: v for k, v in result.metrics.items() if k != "seconds"}
    found |= {f"metrics/{k}": np.array(v) for k, v in metrics.items()}
    return found | {"confusion": result.confusion_matrix}


def main(engine_name: str, group: str, output: str) -> None:
    bindings.register()
    on = engines.make_engine(engine_name, startup_timeout=60.0)
    found = {
        f"{case}/{name}": value
        for case in GROUPS[group]
        for name, value in run_case(case, on).items()
    }
    np.savez(f"{output}-{on.host.index}.npz", **found)
    on.leave_together()
    # And one that takes TensorFlow apart waits for the other.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
