"""Layers that behave the same on one device and on many.

Batch normalisation and dropout are the two layers whose result depends on
more than the example itself: on the other examples of the batch, and on
chance. Both need to be told where in the global batch they are. The training
step does so with two context managers, entered in the thread of each replica
around the call of the model: `cross_replica` and `random_rows`.
"""

import contextlib
import contextvars
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

_PACKAGE = "lockstep"

_Shape = tuple[int | None, ...]
# Images, and the new moving mean and variance.
_Normalised = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


@dataclass(frozen=True)
class _CrossReplica:
    all_reduce_mean: Callable[[tf.Tensor], tf.Tensor]
    replicas: int


@dataclass(frozen=True)
class _Rows:
    seed: tf.Tensor
    first_row: tf.Tensor


# A new thread starts from the default, so replicas that are traced in threads
# of their own (MirroredStrategy) cannot see each other's values.
_cross_replica: contextvars.ContextVar[_CrossReplica | None] = (
    contextvars.ContextVar("cross_replica", default=None)
)
_random_rows: contextvars.ContextVar[_Rows | None] = contextvars.ContextVar(
    "random_rows", default=None
)


@contextlib.contextmanager
def cross_replica(
    all_reduce_mean: Callable[[tf.Tensor], tf.Tensor], replicas: int
) -> Iterator[None]:
    """Makes batch normalisation use the statistics of the global batch.

    Args:
        all_reduce_mean: Maps a float32 vector [channels] to its mean over the
            replicas. Called twice per layer, in the same order on every
            replica. Its gradient must be the mean over the replicas of the
            incoming gradients, as that of `tf.distribute`'s is.
        replicas: How many replicas there are, each with equally many examples.
    """
    token = _cross_replica.set(_CrossReplica(all_reduce_mean, replicas))
    try:
        yield
    finally:
        _cross_replica.reset(token)


@contextlib.contextmanager
def random_rows(seed: tf.Tensor, first_row: tf.Tensor) -> Iterator[None]:
    """Tells random layers which rows of the global batch they are given.

    Args:
        seed: int32 [2], for example the seed of the run and the step.
        first_row: int32 scalar, the index within the global batch of the
            first example that the model is called with.
    """
    rows = _Rows(
        tf.convert_to_tensor(seed, tf.int32),
        tf.convert_to_tensor(first_row, tf.int32),
    )
    token = _random_rows.set(rows)
    try:
        yield
    finally:
        _random_rows.reset(token)


@keras.saving.register_keras_serializable(_PACKAGE)
class BatchNormalization(keras.layers.Layer):
    """Batch normalisation over the last axis of images [b, H, W, channels].

    The statistics and the four weights are float32 whatever the dtype of the
    images (float32, bfloat16 or float16). The batch is normalised by its
    biased variance, while `moving_variance` follows the unbiased one
    (divided by n - 1): the convention of TensorFlow's fused kernel and of
    PyTorch, not of `keras.layers.BatchNormalization`.

    Runs on TensorFlow's fused kernel with the statistics of the examples it
    is given, or, inside `cross_replica`, on plain operations with those of
    the global batch. `trainable = False` means inference mode, so that a
    frozen layer keeps its statistics.

    Args:
        momentum: Share in [0, 1) of the old moving average that each training
            step keeps.
        epsilon: Added to the variance.
        gamma_initializer: Initial scale, "zeros" to begin with a residual
            branch switched off.
        scale: Whether there is a scale; otherwise it is 1.
        center: Whether there is a shift; otherwise it is 0.

    Source: Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167.
    """

    def __init__(
        self,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        gamma_initializer: str = "ones",
        scale: bool = True,
        center: bool = True,
        **kwargs: Any,
    ) -> None:
        """Raises ValueError if `momentum` is outside [0, 1)."""
        super().__init__(**kwargs)
        if not 0.0 <= momentum < 1.0:
            raise ValueError(
                f"momentum={momentum}: must be at least 0 and below 1."
            )
        self.momentum = momentum
        self.epsilon = epsilon
        self.gamma_initializer = gamma_initializer
        self.scale = scale
        self.center = center
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: _Shape) -> None:
        """Makes the float32 vectors [channels], four at most."""

        def vector(
            name: str, initializer: str, trainable: bool
        ) -> keras.Variable:
            return self.add_weight(
                name=name,
                shape=(input_shape[-1],),
                dtype="float32",
                initializer=initializer,
                trainable=trainable,
                autocast=False,
                aggregation="none",
            )

        self.gamma = self.beta = None
        if self.scale:
            self.gamma = vector("gamma", self.gamma_initializer, True)
        if self.center:
            self.beta = vector("beta", "zeros", True)
        self.moving_mean = vector("moving_mean", "zeros", False)
        self.moving_variance = vector("moving_variance", "ones", False)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the normalised images, shape and dtype as given."""
        if not (training and self.trainable):
            return self._fused(inputs, is_training=False, new_share=1.0)[0]
        peers = _cross_replica.get()
        if peers is None:
            outputs, mean, variance = self._fused(
                inputs, is_training=True, new_share=1.0 - self.momentum
            )
        else:
            outputs, mean, variance = self._synchronised(inputs, peers)
        self.moving_mean.assign(mean)
        self.moving_variance.assign(variance)
        return outputs

    def _fused(
        self, inputs: tf.Tensor, *, is_training: bool, new_share: float
    ) -> _Normalised:
        return tf.compat.v1.nn.fused_batch_norm(
            inputs,
            *self._scale_and_shift(),
            self.moving_mean.value,
            self.moving_variance.value,
            epsilon=self.epsilon,
            is_training=is_training,
            exponential_avg_factor=new_share,
        )

    def _synchronised(
        self, inputs: tf.Tensor, peers: _CrossReplica
    ) -> _Normalised:
        x = tf.cast(inputs, tf.float32)
        mean = peers.all_reduce_mean(tf.reduce_mean(x, axis=[0, 1, 2]))
        centred = x - mean
        # Two messages: the mean of squares less the square of the mean, which
        # would take one, loses all digits where the mean is large.
        variance = peers.all_reduce_mean(
            tf.reduce_mean(tf.square(centred), axis=[0, 1, 2])
        )
        scale, shift = self._scale_and_shift()
        factor = scale * tf.math.rsqrt(variance + self.epsilon)
        outputs = centred * factor + shift

        count = tf.cast(peers.replicas * tf.size(x[..., 0]), tf.float32)
        unbiased = variance * count / tf.maximum(count - 1.0, 1.0)
        return (
            tf.cast(outputs, inputs.dtype),
            self._moved(self.moving_mean.value, mean),
            self._moved(self.moving_variance.value, unbiased),
        )

    def _scale_and_shift(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns float32 [channels] both, constants where they are none."""
        shape = self.moving_mean.shape
        return (
            tf.ones(shape) if self.gamma is None else self.gamma.value,
            tf.zeros(shape) if self.beta is None else self.beta.value,
        )

    def _moved(self, old: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
        return self.momentum * old + (1.0 - self.momentum) * new

    def compute_output_shape(self, input_shape: _Shape) -> _Shape:
        """Returns the input shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "gamma_initializer": self.gamma_initializer,
            "scale": self.scale,
            "center": self.center,
        }


@keras.saving.register_keras_serializable(_PACKAGE)
class Dropout(keras.layers.Layer):
    """Dropout whose masks do not depend on how the batch is split.

    Whether a feature of an example is dropped is a hash of the seed, of the
    layer's name, of the example's row in the global batch and of the
    feature's position: with the same `random_rows` seed an example loses the
    same features on one replica and on many. Layers of one model need
    different names; name them yourself, since Keras's automatic names count
    up through the process. What is kept is divided by `1 - rate`.

    Args:
        rate: Share in [0, 1) of the features that are dropped in training.

    Source: Srivastava et al. 2014,
    https://jmlr.org/papers/v15/srivastava14a.html.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        """Raises ValueError if `rate` is outside [0, 1)."""
        super().__init__(**kwargs)
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"rate={rate}: must be at least 0 and below 1.")
        self.rate = rate

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns features of the given shape [b, ...] and dtype.

        Raises:
            RuntimeError: If called in training outside `random_rows`.
        """
        if not training or self.rate == 0.0:
            return inputs
        rows = _random_rows.get()
        if rows is None:
            raise RuntimeError(
                f"Dropout layer {self.name!r} was called in training outside "
                "`models.layers.random_rows`, so it does not know which rows "
                "of the global batch it has. Enter that context around the "
                "call of the model."
            )
        shape = self._mask_shape(tf.shape(inputs))
        bits = _random_bits(rows, self.name, shape)
        keep = bits >= tf.constant(int(self.rate * 2**32), tf.uint32)
        kept = inputs / tf.cast(1.0 - self.rate, inputs.dtype)
        return tf.where(keep, kept, tf.zeros_like(kept))

    def _mask_shape(self, shape: tf.Tensor) -> tf.Tensor:
        """Returns that of the mask: each feature is drawn by itself."""
        return shape

    def compute_output_shape(self, input_shape: _Shape) -> _Shape:
        """Returns the input shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {"rate": self.rate}


def _random_bits(rows: _Rows, salt: str, shape: tf.Tensor) -> tf.Tensor:
    """Returns uint32 of `shape` [b, ...], a hash of all that names a place."""
    seed = tf.bitcast(rows.seed, tf.uint32)
    # CRC and not hash(), which Python salts anew in every process.
    key = tf.constant(zlib.crc32(salt.encode()), tf.uint32)
    key = _mix(_mix(key ^ seed[0]) ^ seed[1])
    row = rows.first_row + tf.range(shape[0])
    feature = tf.range(tf.reduce_prod(shape[1:]))
    # Each is mixed before they meet, so that neighbouring rows do not get
    # permutations of each other's bits.
    row_bits = _mix(tf.bitcast(row, tf.uint32) ^ key)  # [b]
    feature_bits = _mix(tf.bitcast(feature, tf.uint32))  # [features]
    bits = _mix(row_bits[:, tf.newaxis] ^ feature_bits)  # [b, features]
    return tf.reshape(bits, shape)


def _mix(x: tf.Tensor) -> tf.Tensor:
    """Scrambles uint32: the finaliser of MurmurHash3 (Appleby 2011)."""
    x = (x ^ tf.bitwise.right_shift(x, 16)) * 0x85EBCA6B
    x = (x ^ tf.bitwise.right_shift(x, 13)) * 0xC2B2AE35
    return x ^ tf.bitwise.right_shift(x, 16)
