"""Backbones from files of Keras and TensorFlow."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import (
    ends,
    frozen,
    input_format,
    layers,
    resnet,
    saved,
    stochastic_depth,
)
from tests.conftest import make_engine

SHAPE = (8, 8, 3)
IMAGES = np.random.default_rng(0).normal(size=[4, *SHAPE]).astype(np.float32)


def settle(model: keras.Model) -> keras.Model:
    """Gives all variables, moving statistics too, a value of their own."""
    rng = np.random.default_rng(1)
    for v in model.variables:
        if v.dtype == "float32":
            v.assign(rng.uniform(0.1, 0.5, v.shape))
    return model


@pytest.fixture(scope="module")
def theirs() -> keras.Model:
    """A model as people save them: nested, augmenting, with dropouts."""
    inner = keras.Sequential(
        [
            keras.layers.Conv2D(4, 3, padding="same"),
            keras.layers.BatchNormalization(scale=False),
            keras.layers.ReLU(),
            keras.layers.Dropout(0.4, noise_shape=(None, 1, 1, 1)),
        ],
        name="inner",
    )
    image = keras.Input(SHAPE)
    x = keras.layers.RandomFlip()(image)
    x = inner(keras.layers.Rescaling(0.5)(x))
    x = x + keras.layers.Conv2D(4, 1, name="head_like")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(0.3)(x)
    x = keras.layers.Dense(6, activation="softmax")(x)
    model = keras.Model(image, x, name="theirs")
    model.compile(loss="mse")
    return settle(model)


@pytest.fixture(scope="module")
def path(theirs, tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("saved") / "theirs.keras"
    theirs.save(file)
    return str(file)


def features(model: keras.Model) -> keras.Model:
    return keras.Model(model.input, model.get_layer("logits").input)


def test_a_keras_file_gives_its_features(theirs, path) -> None:
    model = saved.keras_file(
        3, SHAPE, path=path, normalisation="pixels", dropout=0.2
    )
    expected = keras.Model(theirs.input, theirs.layers[-1].input)
    np.testing.assert_allclose(
        features(model)(IMAGES, training=False),
        expected(IMAGES, training=False),
        rtol=1e-5,
    )
    assert model.output_shape == (None, 3)
    assert input_format.of(model) == input_format.named("pixels")
    kinds = [type(layer) for layer in model.layers]
    assert layers.BatchNormalization in kinds
    assert stochastic_depth.StochasticDepth in kinds
    for absent in (
        keras.layers.BatchNormalization,
        keras.layers.Dropout,
        keras.layers.RandomFlip,
        keras.Sequential,
    ):
        assert absent not in kinds
    # What is called as our heads are belongs to the backbone.
    assert "base_head_like" in [layer.name for layer in model.layers]


def test_its_training_does_not_depend_on_how_a_batch_is_split(path) -> None:
    model = features(
        saved.keras_file(3, SHAPE, path=path, normalisation="pixels")
    )
    model.trainable = False  # Batch norm sees the whole batch otherwise.

    def run(images, first):
        with layers.random_rows([1, 2], first):
            return model(images, training=True).numpy()

    halves = np.concatenate([run(IMAGES[:2], 0), run(IMAGES[2:], 2)])
    np.testing.assert_allclose(run(IMAGES, 0), halves, rtol=1e-6)
    assert not np.array_equal(halves, model(IMAGES, training=False))


def test_where_to_cut_may_be_said(theirs, path) -> None:
    model = saved.keras_file(
        3, SHAPE, path=path, normalisation="unit", cut_at="inner"
    )
    assert model.get_layer("logits").input.shape == (None, 4)
    with pytest.raises(ValueError, match="cut_at='iner' is no layer of .*It"):
        saved.keras_file(
            3, SHAPE, path=path, normalisation="unit", cut_at="iner"
        )


def test_weights_need_their_architecture(tmp_path) -> None:
    build = functools.partial(resnet.small_resnet, depth=8, width=2)
    whole = settle(build(num_classes=5, image_shape=SHAPE))
    file = str(tmp_path / "a.weights.h5")
    whole.save_weights(file)
    make = functools.partial(
        saved.keras_file, 3, SHAPE, path=file, normalisation="data"
    )
    model = make(architecture=build)
    np.testing.assert_allclose(
        features(model)(IMAGES), features(whole)(IMAGES), rtol=1e-5
    )
    assert input_format.of(model) is None
    with pytest.raises(ValueError, match="say of which network"):
        make()
    other = functools.partial(resnet.small_resnet, depth=14, width=2)
    with pytest.raises(
        ValueError, match=r"of another architecture.*and 25 more"
    ):
        make(architecture=other)
    wider = functools.partial(resnet.small_resnet, depth=8, width=3)
    with pytest.raises(ValueError, match=r"vars/0 \(2,\) there, \(3,\) here"):
        make(architecture=wider)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((9, 8, 3), r"takes images of \(8, 8, 3\)"), ((8, 8, 2), "2 channel")],
)
def test_other_images_are_refused(path, shape, message) -> None:
    with pytest.raises(ValueError, match=message):
        saved.keras_file(3, shape, path=path, normalisation="pixels")


def test_what_is_no_keras_file_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        saved.keras_file(3, SHAPE, path="none.keras", normalisation="unit")
    file = tmp_path / "a.keras"
    file.write_bytes(b"text")
    with pytest.raises(ValueError, match=r"a\.keras' cannot be loaded"):
        saved.keras_file(3, SHAPE, path=str(file), normalisation="unit")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    """A SavedModel with two signatures."""
    module = tf.Module()
    module.kernel = tf.Variable(tf.reshape(tf.range(12.0), [3, 4]))
    spec = tf.TensorSpec([None, *SHAPE], tf.float32, name="images")

    @tf.function(input_signature=[spec])
    def embed(images):
        mean = tf.reduce_mean(images, [1, 2]) @ module.kernel
        return {"map": images, "mean": mean}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def decode(text):
        return {"length": tf.strings.length(text)}

    path = str(tmp_path_factory.mktemp("frozen"))
    tf.saved_model.save(module, path, {"embed": embed, "decode": decode})
    return path


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_saved_model_needs_no_place_for_its_weights(folder, replicas) -> None:
    engine = make_engine(replicas)
    with engine.scope():
        layer = frozen.Frozen(folder, "embed", "mean")
        layer.build(IMAGES.shape)

    @tf.function
    def run():
        return engine.run(layer, tf.constant(IMAGES))

    kernel = np.arange(12.0).reshape([3, 4])
    for made in engine.local_results(run()):
        np.testing.assert_allclose(
            made, IMAGES.mean((1, 2)) @ kernel, rtol=1e-4
        )
    assert not layer.variables


def test_a_saved_model_is_one_frozen_layer(folder, tmp_path) -> None:
    model = saved.saved_model(
        3,
        SHAPE,
        path=folder,
        normalisation="signed",
        signature="embed",
        output="mean",
        dropout=0.0,
    )
    kernel = np.arange(12.0).reshape([3, 4])
    np.testing.assert_allclose(
        features(model)(IMAGES), IMAGES.mean((1, 2)) @ kernel, rtol=1e-4
    )
    assert [v.path for v in model.variables] == ["logits/kernel", "logits/bias"]
    model.save(tmp_path / "again.keras")
    again = keras.saving.load_model(tmp_path / "again.keras")
    np.testing.assert_allclose(again(IMAGES), model(IMAGES), rtol=1e-6)


@pytest.mark.parametrize(
    ("signature", "output", "message"),
    [
        (
            None,
            None,
            "None is not in .* It has: decode: .*; embed: images float",
        ),
        ("embd", None, "'embd' is not in"),
        ("decode", None, "must take one float32 batch"),
        ("embed", None, "output=None is not given .*gives: map, mean"),
    ],
)
def test_what_there_is_is_said(folder, signature, output, message) -> None:
    with pytest.raises(ValueError, match=message):
        frozen.Frozen(folder, signature, output)


def test_a_saved_model_of_other_images_is_refused(folder) -> None:
    layer = frozen.Frozen(folder, "embed", "mean")
    with pytest.raises(ValueError, match=r"takes images of shape \(None, 8"):
        layer(ends.images((9, 9, 3)))
    with pytest.raises(ValueError, match="is no SavedModel"):
        frozen.Frozen("nowhere")


def export(path: str, *functions: str) -> None:
    """Writes a SavedModel with one function under some names."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, *SHAPE], tf.float32)])
    def embed(images):
        return tf.reduce_mean(images, [1, 2])

    tf.saved_model.save(module, path, dict.fromkeys(functions, embed))


def test_the_usual_signature_need_not_be_named(tmp_path) -> None:
    # What keras.Model.export writes.
    export(str(tmp_path), "serve", "serving_default")
    layer = frozen.Frozen(str(tmp_path))
    np.testing.assert_allclose(layer(IMAGES), IMAGES.mean((1, 2)), rtol=1e-4)


def test_a_saved_model_that_changes_itself_is_refused(tmp_path) -> None:
    image = keras.Input(SHAPE)
    x = keras.layers.RandomFlip()(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    keras.Model(image, x).export(tmp_path, verbose=False)
    with pytest.raises(ValueError, match=r"changes variables .* @keras_file"):
        frozen.Frozen(str(tmp_path))
