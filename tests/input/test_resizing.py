import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from input import augment, resizing
from tests.input import pillow

ROWS = augment.Rows(tf.constant([0, 0]), tf.constant(0), 4, 4)


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize(
    ("height", "width"), [(32, 48), (24, 17), (63, 95), (64, 96), (1, 1)]
)
@pytest.mark.parametrize("compiled", [False, True])
def test_shrinks_as_pillow(
    height: int, width: int, channels: int, compiled: bool
) -> None:
    pictures = pillow.pictures(64, 96, channels)
    shrink = tf.function(
        lambda images: resizing.resize(height, width)(images, ROWS),
        jit_compile=compiled,
    )
    found = shrink(tf.constant(pictures, tf.float32)).numpy()
    expected = np.stack(
        [
            np.asarray(
                Image.fromarray(p.squeeze()).resize(
                    (width, height), Image.Resampling.BILINEAR
                )
            ).reshape(height, width, channels)
            for p in pictures
        ]
    )
    assert np.abs(found - expected).max() <= 1
    # Pillow counts in fixed point; what lies between two levels may fall apart.
    assert np.mean(found != expected) < 0.01


def test_refuses_no_pixels() -> None:
    with pytest.raises(ValueError, match="height=0 and width=3"):
        resizing.resize(0, 3)
