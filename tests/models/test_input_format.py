"""What weights say of the pixels they were trained on."""

import keras
import numpy as np
import pytest

from models import input_format


@pytest.mark.parametrize(
    ("name", "mode"),
    [("signed", "tf"), ("imagenet", "torch"), ("caffe", "caffe")],
)
def test_names_are_keras_s_modes(name: str, mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, [2, 4, 4, 3])
    found = input_format.named(name)
    ours = (pixels - np.array(found.mean)) / np.array(found.std)
    theirs = keras.applications.imagenet_utils.preprocess_input(
        pixels.astype(np.float32), mode=mode
    )
    if mode == "caffe":
        theirs = theirs[..., ::-1]  # Blue first: we turn it in the graph.
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_the_scales_go_from_black_to_white() -> None:
    for name, white in (("pixels", 255), ("unit", 1), ("signed", 1)):
        found = input_format.named(name)
        assert (255 - found.mean[0]) / found.std[0] == white
    assert input_format.named("data") is None


def test_grey_pictures_are_taken_and_colour_for_grey_weights_is_not() -> None:
    colour = input_format.named("imagenet")
    assert colour.network_shape((8, 6, 1)) == (8, 6, 3)
    assert colour.network_shape((8, 6, 3)) == (8, 6, 3)
    grey = input_format.InputFormat((30.0,), (20.0,))
    with pytest.raises(ValueError, match=r"3 channel\(s\), but .* on 1\."):
        grey.network_shape((8, 6, 3))


def test_a_deviation_on_the_wrong_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="Multiply one on the scale 0..1"):
        input_format.InputFormat((0.485,) * 3, (0.229,) * 3)
    with pytest.raises(ValueError, match="of the same length"):
        input_format.InputFormat((1.0,), (1.0,) * 3)


def test_it_stays_with_its_model() -> None:
    image = keras.Input((4, 4, 3))
    model = keras.Model(image, keras.layers.Flatten()(image))
    assert input_format.of(model) is None
    wanted = input_format.named("signed", 224)
    assert input_format.of(input_format.attach(model, wanted)) == wanted
