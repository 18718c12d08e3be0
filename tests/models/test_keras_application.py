"""The networks of keras.applications, rebuilt."""

import urllib.error

import keras
import numpy as np
import pytest
from keras import applications as apps

from models import input_format, keras_application, layers, stochastic_depth

SIZE = 64
SHAPE = (SIZE, SIZE, 3)
PICTURES = np.random.default_rng(0).integers(0, 256, [2, *SHAPE], np.uint8)
QUICK = [(apps.resnet, "ResNet50")]
SLOW = [
    (apps.convnext, "ConvNeXtTiny"),
    (apps.densenet, "DenseNet121"),
    (apps.efficientnet_v2, "EfficientNetV2B0"),
    (apps.inception_v3, "InceptionV3"),
    (apps.mobilenet, "MobileNet"),
    (apps.mobilenet_v2, "MobileNetV2"),
    (apps.mobilenet_v3, "MobileNetV3Small"),
    (apps.resnet_v2, "ResNet50V2"),
    (apps.vgg16, "VGG16"),
    (apps.xception, "Xception"),
]


def size_for(name: str) -> tuple[int, int, int]:
    return (96, 96, 3) if name in ("InceptionV3", "Xception") else SHAPE


@pytest.mark.parametrize(
    ("module", "name"),
    [*QUICK, *(pytest.param(*c, marks=pytest.mark.long) for c in SLOW)],
)
def test_features_are_those_of_keras(module, name, tmp_path) -> None:
    """With Keras's own normalisation on one side and ours on the other."""
    shape = size_for(name)
    keras.utils.set_random_seed(0)
    theirs = getattr(apps, name)(
        include_top=False, weights=None, input_shape=shape, pooling="avg"
    )
    path = str(tmp_path / "a.weights.h5")
    theirs.save_weights(path)
    ours = keras_application.keras_application(
        3, shape, name=name, weights=path
    )
    pictures = np.resize(PICTURES, [2, *shape])
    wanted = input_format.of(ours)
    features = keras.Model(ours.input, ours.get_layer("logits").input)
    made = features((pictures - np.array(wanted.mean)) / np.array(wanted.std))
    expected = theirs(module.preprocess_input(pictures.astype(np.float32)))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(made / scale, expected / scale, atol=1e-4)
    assert not any(
        isinstance(
            layer,
            keras.layers.BatchNormalization
            | keras.layers.Dropout
            | keras.Model,
        )
        for layer in ours.layers
    )


@pytest.fixture(scope="module")
def efficientnet() -> keras.Model:
    return keras_application.keras_application(
        3, (32, 32, 1), name="EfficientNetB0", weights=None
    )


def test_random_layers_are_ours(efficientnet) -> None:
    kinds = [type(layer) for layer in efficientnet.layers]
    assert kinds.count(layers.BatchNormalization) == 49
    assert kinds.count(stochastic_depth.StochasticDepth) == 9
    # Its own normalisation is left out: pixels come normalised.
    assert keras.layers.Rescaling not in kinds
    assert keras.layers.Normalization not in kinds
    assert input_format.of(efficientnet) is None
    assert efficientnet.input_shape == (None, 32, 32, 1)


def test_weights_of_another_network_are_refused(efficientnet, tmp_path) -> None:
    path = str(tmp_path / "b0.weights.h5")
    efficientnet.save_weights(path)
    with pytest.raises(ValueError, match="is of another architecture"):
        keras_application.keras_application(
            3, (32, 32, 3), name="MobileNet", weights=path
        )


def test_weights_as_keras_wrote_them_before_are_read(tmp_path) -> None:
    def theirs(**arguments) -> keras.Model:
        return apps.MobileNet(
            weights=None, input_shape=(32, 32, 3), **arguments
        )

    whole = theirs(include_top=False)
    path = str(tmp_path / "old.h5")
    whole.save(path)
    ours = keras_application.keras_application(
        3, (32, 32, 1), name="MobileNet", weights=path
    )
    np.testing.assert_array_equal(
        ours.get_layer("conv1").kernel, whole.get_layer("conv1").kernel
    )
    theirs(alpha=0.25, include_top=False).save(path)
    with pytest.raises(ValueError, match=r"conv1 0 \(3, 3, 3, 8\) there"):
        keras_application.keras_application(
            3, (32, 32, 3), name="MobileNet", weights=path
        )


def test_a_typo_gets_a_suggestion() -> None:
    with pytest.raises(ValueError, match="Did you mean 'EfficientNetV2B0'?"):
        keras_application.keras_application(
            3, SHAPE, name="EfficentNetV2B0", weights=None
        )


def test_images_that_are_too_small_are_refused_with_a_size() -> None:
    with pytest.raises(ValueError, match=r"cannot take images of .*299\."):
        keras_application.keras_application(
            3, (32, 32, 3), name="InceptionV3", weights=None
        )


def test_without_a_network_it_says_where_to_put_a_file(
    monkeypatch, tmp_path
) -> None:
    def fails(*arguments):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", fails)
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(ValueError, match="cannot be downloaded") as raised:
        keras_application.keras_application(
            3, (224, 224, 3), name="MobileNet", weights="imagenet"
        )
    said = str(raised.value)
    file = "mobilenet_1_0_224_tf_no_top.h5"
    assert (
        f"Put {file}, from a machine that can, into {tmp_path}/models" in said
    )
    assert f"keras_application.weights = '/PATH/{file}'" in said


def test_all_networks_of_keras_are_known() -> None:
    there = {name for name in dir(apps) if callable(getattr(apps, name))}
    assert set(keras_application.APPLICATIONS) == there
