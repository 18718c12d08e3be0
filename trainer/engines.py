"""Chooses and starts an engine."""

import os
from typing import Literal

import tensorflow as tf
from absl import logging

from trainer import (
    cluster,
    engine,
    errors,
    horovod,
    launched,
    strategies,
)

EngineName = Literal[
    "auto", "one_device", "mirrored", "multi_worker", "tpu", "horovod"
]


def make_engine(
    name: EngineName = "auto",
    virtual_devices: int | None = None,
    startup_timeout: float = 300.0,
) -> engine.Engine:
    """Chooses and starts an engine.

    Args:
        name: `one_device`; `mirrored`: all GPUs of this host, or all logical
            CPU devices where there is none; `multi_worker`: the same on
            several processes, which LOCKSTEP_WORKERS or TF_CONFIG name;
            `horovod`: one device for each process that Horovod's launcher or
            launch.local has started; `tpu`: all cores of a TPU; `auto`: picks
            one of them from what is visible, and logs what and why.
        virtual_devices: Splits the CPU into this many logical devices, at
            least 1, for tests and laptops. GPUs are hidden.
        startup_timeout: Seconds to wait for the other processes, or for the
            hosts of a TPU, above 0.

    Raises:
        errors.ConfigError: The engine cannot start on this machine; the
            message says what is missing and how to get it.
        errors.EngineError: Another process, or the TPU, did not come in time.
    """
    if startup_timeout <= 0:
        raise errors.ConfigError(
            f"make_engine.startup_timeout={startup_timeout} must be above 0 "
            "seconds."
        )
    if name == "auto":
        name, reason = _choose(virtual_devices)
        logging.info("make_engine.name='auto' chose %r: %s.", name, reason)
    if virtual_devices is not None:
        if name in ("multi_worker", "tpu", "horovod"):
            raise errors.ConfigError(
                f"make_engine.virtual_devices={virtual_devices} is for "
                f"one_device and mirrored, not for {name!r}. Leave it unset."
            )
        _split_cpu(virtual_devices)
    if name in ("one_device", "mirrored"):
        _check_alone(name)
    if name == "horovod":
        return horovod.start(startup_timeout)
    if name == "multi_worker":
        return strategies.multi_worker(
            cluster.from_environment(), startup_timeout
        )
    if name == "tpu":
        return strategies.tpu(startup_timeout)
    if name == "one_device":
        return engine.OneDevice()
    return strategies.mirrored(_devices(virtual_devices))


def _check_alone(name: str) -> None:
    """Raises errors.ConfigError where a launcher has started several of us.

    Each would take itself for the whole training, in the same model_dir.
    """
    variable, count = launched.processes(os.environ)
    if count > 1:
        raise errors.ConfigError(
            f"make_engine.name={name!r} is for one process, but {variable} "
            f'says that {count} have been started. Use "multi_worker" or '
            '"horovod", as your launcher does (docs/launch.md), or start one '
            f"process. If each is a training of its own, unset {variable}."
        )


def _choose(virtual_devices: int | None) -> tuple[EngineName, str]:
    """Returns what `auto` means here, and why."""
    if virtual_devices is None:
        if horovod.is_launched():
            return "horovod", "Horovod's launcher has started this process"
        if cluster.variable() is not None:
            return "multi_worker", "the environment names a cluster of workers"
        if os.environ.get("TPU_NAME"):
            return "tpu", "TPU_NAME names one"
        if tf.config.list_physical_devices("TPU"):
            return "tpu", "a TPU is visible"
        count = len(tf.config.list_physical_devices("GPU"))
        if count:
            name: EngineName = "mirrored" if count > 1 else "one_device"
            return name, f"{count} GPU(s) are visible"
        count = len(tf.config.list_logical_devices("CPU"))
    else:
        count = virtual_devices
    name = "mirrored" if count > 1 else "one_device"
    return name, f"no GPU or TPU, {count} CPU device(s)"


def _devices(virtual_devices: int | None) -> list[str]:
    """Returns the names of the devices of a mirrored engine."""
    kind = "CPU" if virtual_devices else "GPU"
    found = tf.config.list_logical_devices(kind)
    found = found or tf.config.list_logical_devices("CPU")
    return [device.name for device in found]


def _split_cpu(count: int) -> None:
    if count < 1:
        raise errors.ConfigError(
            f"make_engine.virtual_devices={count} must be at least 1, or None "
            "to leave the CPU whole."
        )
    cpus = tf.config.list_physical_devices("CPU")
    try:
        # Where one is visible, variables land there.
        tf.config.set_visible_devices([], "GPU")
        tf.config.set_logical_device_configuration(
            cpus[0], [tf.config.LogicalDeviceConfiguration()] * count
        )
    except RuntimeError as error:
        started = len(tf.config.list_logical_devices("CPU"))
        gpus = len(tf.config.list_logical_devices("GPU"))
        if (started, gpus) == (count, 0):
            return
        raise errors.ConfigError(
            f"make_engine.virtual_devices={count}, but TensorFlow has already "
            f"started with {started} CPU device(s) and {gpus} GPU(s). Make the "
            "engine before anything else uses TensorFlow."
        ) from error
