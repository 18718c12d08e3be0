"""The formats that trainer.export writes: their files, limits and packages."""

import dataclasses
import importlib.util
from collections.abc import Callable, Sequence

import numpy as np

from trainer import (
    errors,
    export_keras,
    export_onnx,
    export_saved_model,
    export_tflite,
    inference,
)

_EXTRA = ".[export]"


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much an artefact may differ from the checkpoint.

    Attributes:
        difference: Of any probability of any example, in [0, 1].
        mean_difference: The mean over examples of the largest difference of
            each, in [0, 1].
        agreement: Share of examples with the same answer, at least.
        lost_accuracy: How much lower the share of right answers may be.
    """

    difference: float
    mean_difference: float
    agreement: float
    lost_accuracy: float


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be written.

    Attributes:
        classifier: The network.
        name: Of the model, for people and servers.
        version: Of the SavedModel, at least 1.
        examples: For calibration, uint8 [n, H, W, C]; none where no format
            needs them.
    """

    classifier: inference.Classifier
    name: str
    version: int
    examples: np.ndarray


@dataclasses.dataclass(frozen=True)
class Format:
    """One of them.

    Attributes:
        path: Where its artefact is below the output, with {name} and
            {version}.
        write: Writes it to a path.
        limits: What its parity is held against, unless flags say otherwise.
        packages: What is imported to write and check it, besides TensorFlow.
        calibrated: Whether `Job.examples` are needed.
    """

    path: str
    write: Callable[[Job, str], None]
    limits: Limits
    packages: tuple[str, ...] = ()
    calibrated: bool = False

    def place(self, name: str, version: int) -> str:
        """Returns the path below the output."""
        return self.path.format(name=name, version=version)


def _tflite(kind: export_tflite.Kind, limits: Limits) -> Format:
    return Format(
        path=f"{{name}}_{kind}.tflite",
        write=lambda job, path: export_tflite.write(
            job.classifier, path, kind, job.examples
        ),
        limits=limits,
        packages=("ai_edge_litert",),
        calibrated=kind == "int8",
    )


# The same sums in another order differ by less than 1e-4.
_SAME = Limits(1e-4, 1e-4, 0.99, 0.01)
# Rounding moves a logit a little, and where the network hesitates between two
# classes that is much of a probability: of some hundred examples the worst
# differs by 0.5 in a sound int8 network, and by no more after calibration with
# five times the examples. What tells a broken one is the mean, the answers,
# and how many of them are right.
FORMATS: dict[str, Format] = {
    "saved_model": Format(
        path="saved_model/{name}/{version}",
        write=lambda job, path: export_saved_model.write(
            job.classifier, path, job.name
        ),
        limits=_SAME,
        packages=("tensorflow_serving",),
    ),
    "tflite_float32": _tflite("float32", _SAME),
    "tflite_float16": _tflite("float16", Limits(0.1, 0.01, 0.98, 0.02)),
    "tflite_dynamic": _tflite("dynamic", Limits(0.6, 0.05, 0.95, 0.03)),
    "tflite_int8": _tflite("int8", Limits(0.8, 0.1, 0.9, 0.05)),
    "keras": Format(
        path="{name}.keras",
        write=lambda job, path: export_keras.write(job.classifier, path),
        limits=_SAME,
    ),
    "onnx": Format(
        path="{name}.onnx",
        write=lambda job, path: export_onnx.write(job.classifier, path),
        limits=_SAME,
        packages=("tf2onnx", "onnx", "onnxruntime"),
    ),
}


def choose(names: Sequence[str]) -> dict[str, Format]:
    """Returns formats by name, in the order given.

    Raises:
        errors.ConfigError: One is unknown, or a package that it needs is not
            installed.
    """
    chosen = {}
    for name in names:
        if name not in FORMATS:
            raise errors.ConfigError(
                f"--formats: {name!r} is none. Choose from: "
                f"{', '.join(FORMATS)}."
            )
        chosen[name] = FORMATS[name]
        require(name, chosen[name].packages)
    if not chosen:
        raise errors.ConfigError(
            f"--formats is empty. Choose from: {', '.join(FORMATS)}."
        )
    return chosen


def require(what: str, packages: Sequence[str]) -> None:
    """Raises errors.ConfigError where a package is not installed."""
    missing = [p for p in packages if importlib.util.find_spec(p) is None]
    if missing:
        raise errors.ConfigError(
            f"{what} needs the package {', '.join(missing)}, which is not "
            f"installed. Run, in Lockstep's folder: pip install '{_EXTRA}'"
        )
