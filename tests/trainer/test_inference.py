"""What an export makes of losses, precisions, preprocessings and formats."""

import dataclasses
import os
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from input import crops
from models import input_format, resnet, simple_cnn
from tests.conftest import make_engine, make_recipe
from tests.trainer import label_sets
from trainer import (
    artefact_info,
    artefacts,
    errors,
    export_formats,
    export_keras,
    export_output,
    export_tflite,
    inference,
    losses,
    parity,
    parity_worker,
    results,
    sample,
    scoring,
    session,
    trained,
)

PIXELS = np.random.default_rng(5).integers(0, 256, (6, 8, 8, 3), np.uint8)


def weights_of(recipe) -> trained.Weights:
    """Random ones, far enough from each other to tell classes apart."""
    model = session.build(recipe, make_engine(1)).state.model
    rng = np.random.default_rng(1)
    arrays = {
        v.path: rng.uniform(0.2, 1.0, v.shape).astype(np.float32)
        if "moving_variance" in v.path
        else rng.normal(0.0, 0.3, v.shape).astype(np.float32)
        for v in model.variables
    }
    return trained.Weights("nowhere", 7, {}, arrays)


def classifier(*bindings: str, **fields) -> inference.Classifier:
    recipe = dataclasses.replace(make_recipe(*bindings), **fields)
    return inference.build(recipe, weights_of(recipe))


def test_a_sigmoid_is_read_as_one() -> None:
    per_example = losses.softmax_cross_entropy().per_example
    loss = losses.Loss(per_example, probabilities=tf.nn.sigmoid)
    made = classifier(loss=loss)
    assert made.info.activation == "sigmoid"
    found = made(tf.constant(PIXELS))
    logits = found["logits"].numpy()
    np.testing.assert_allclose(
        found["probabilities"], 1 / (1 + np.exp(-logits)), rtol=1e-5
    )
    other = losses.Loss(per_example, probabilities=tf.nn.relu)
    with pytest.raises(errors.ConfigError, match="softmax and sigmoid"):
        classifier(loss=other)


def test_mixed_precision_is_given_away_in_float32() -> None:
    """Weights are float32 anyway; bfloat16 has 8 bits of each sum."""
    recipe = make_recipe('train.precision="mixed_bfloat16"')
    weights = weights_of(recipe)
    mixed = inference.build(recipe, weights)
    full = inference.build(make_recipe(), weights)
    np.testing.assert_array_equal(mixed.infer(PIXELS), full.infer(PIXELS))
    assert mixed.model.dtype_policy == keras.DTypePolicy("float32")


def test_preprocessing_is_found_by_asking() -> None:
    made = classifier()
    facts = made.info.preprocessing
    np.testing.assert_allclose(facts["scale"], [1 / 64] * 3)
    np.testing.assert_allclose(facts["offset"], [-127.5 / 64] * 3)


@pytest.mark.parametrize(
    "preprocess",
    [
        lambda x: tf.cast(x, tf.float32)[..., ::-1],
        lambda x: tf.repeat(tf.cast(x, tf.float32), 2, -1),
        lambda x: tf.cast(x, tf.float32) ** 2,
    ],
)
def test_other_preprocessings_are_no_scale(preprocess, tmp_path) -> None:
    facts = inference._affine(preprocess, (4, 4, 3))
    assert facts == {"scale": None, "offset": None}
    made = classifier()
    info = dataclasses.replace(
        made.info, preprocessing={**made.info.preprocessing, **facts}
    )
    with pytest.raises(errors.ConfigError, match="--formats=keras: the net"):
        export_keras.write(
            dataclasses.replace(made, info=info), str(tmp_path / "x.keras")
        )


def test_grey_that_is_repeated_is_a_scale_of_each_channel(tmp_path) -> None:
    """As weights for colour are given grey pictures."""

    def colour(num_classes: int, image_shape) -> keras.Model:
        wanted = input_format.named("imagenet")
        shape = wanted.network_shape(image_shape)
        model = simple_cnn.simple_cnn(num_classes, shape, filters=(4,))
        return input_format.attach(model, wanted)

    made = classifier("synthetic.image_shape = (8, 8, 1)", model=colour)
    scale = made.info.preprocessing["scale"]
    np.testing.assert_allclose(
        scale, 1 / (255 * np.array([0.229, 0.224, 0.225]))
    )
    path = str(tmp_path / "x.keras")
    export_keras.write(made, path)
    grey = PIXELS[..., :1]
    np.testing.assert_allclose(
        artefacts.load(path).probabilities(grey), made.infer(grey), atol=1e-6
    )


def test_decoders_come_back(tmp_path) -> None:
    decoder = crops.ResizeCenterCrop(32, kept=0.75)
    facts = artefact_info.describe_decoder(decoder)
    assert facts == {"name": "resize_center_crop", "size": 32, "kept": 0.75}
    info = dataclasses.replace(
        classifier().info, preprocessing={"decode": facts}
    )
    again = artefact_info.Info.from_json(info.to_json(), "x")
    assert again == info
    assert again.decoder() == decoder
    other = dataclasses.replace(info, preprocessing={"decode": {"name": "my"}})
    with pytest.raises(errors.ConfigError, match="decoder 'my'"):
        other.decoder()
    with pytest.raises(errors.ConfigError, match="x: lockstep.json cannot"):
        artefact_info.Info.from_json(b'{"format": 2}', "x")


def test_batch_norm_is_folded_into_the_convolutions(tmp_path) -> None:
    """Of products by channel, the normalisation of the pixels is left."""
    from ai_edge_litert import interpreter

    made = classifier(model=lambda **kwargs: resnet.small_resnet(**kwargs))
    path = tmp_path / "x.tflite"
    none = np.zeros([0, 8, 8, 3], np.uint8)
    export_tflite.write(made, str(path), "float32", none)
    names = [
        detail["op_name"]
        for detail in interpreter.Interpreter(str(path))._get_ops_details()
    ]
    convolutions = sum(
        isinstance(layer, keras.layers.Conv2D) for layer in made.model.layers
    )
    assert names.count("CONV_2D") == convolutions
    assert names.count("MUL") <= 1
    found = artefacts.load(str(path)).probabilities(PIXELS)
    np.testing.assert_allclose(found, made.infer(PIXELS), atol=1e-5)


def test_a_temperature_softens(tmp_path) -> None:
    recipe = make_recipe()
    weights = weights_of(recipe)
    plain = inference.build(recipe, weights)
    kept = {"temperature": 2.0}
    result = results.EvaluationResult(
        "validation", 7, kept, tuple("0123"), np.zeros((4, 4), np.int64)
    )
    model_dir = str(tmp_path)
    result.save(f"{model_dir}/evaluation/validation.npz")
    fitted = inference.fitted_temperature(recipe, weights, model_dir)
    in_best = dataclasses.replace(weights, metrics={"temperature": 2.0})
    assert fitted == 2.0
    assert inference.fitted_temperature(recipe, in_best, "nowhere") == 2.0
    later = dataclasses.replace(weights, step=8)
    with pytest.raises(errors.ConfigError, match="no evaluation of step 8"):
        inference.fitted_temperature(recipe, later, model_dir)
    made = inference.build(recipe, weights, fitted)
    logits = plain(tf.constant(PIXELS))["logits"]
    np.testing.assert_allclose(
        made.infer(PIXELS), tf.nn.softmax(logits / 2), rtol=1e-5
    )
    np.testing.assert_array_equal(made(tf.constant(PIXELS))["logits"], logits)
    path = str(tmp_path / "x.keras")
    export_keras.write(made, path)
    np.testing.assert_allclose(
        artefacts.load(path).probabilities(PIXELS),
        made.infer(PIXELS),
        atol=1e-6,
    )


def test_parity_of_several_classes_an_example() -> None:
    """Each class is an answer; right is an example with all of them."""
    labels = np.array([[1.0, 0, 1], [0, 0, 0], [0, 1, 0]], np.float32)
    expected = np.array([[0.9, 0.1, 0.8], [0.1, 0.2, 0.3], [0.6, 0.6, 0.2]])
    said = np.array([[0.9, 0.1, 0.4], [0.1, 0.2, 0.3], [0.6, 0.7, 0.2]])
    limits = export_formats.Limits(0.5, 0.2, 0.5, 0.5)
    found = {
        "probabilities": said,
        "seconds": np.array([0.002, 0.004, 0.002]),
        "batch_seconds": np.array([0.016]),
    }
    row = parity._row(("onnx", "tensors"), found, expected, labels, 9, limits)
    assert row.difference == pytest.approx(0.4)
    assert row.mean_difference == pytest.approx(0.5 / 3)
    assert row.agreement == pytest.approx(8 / 9)
    assert row.accuracy == pytest.approx(1 / 3)
    assert row.checkpoint_accuracy == pytest.approx(2 / 3)
    assert (row.p50_ms, row.images_per_second) == (2.0, 2000.0)
    assert row.passed
    for field in ("difference", "mean_difference"):
        broken = dataclasses.replace(row, **{field: float("nan")})
        assert not broken.passed


def held_to(limits, said, expected, labels) -> bool:
    times = {"seconds": np.ones(2), "batch_seconds": np.ones(2)}
    found = {"probabilities": said, **times}
    way = ("tflite_int8", "tensors")
    return parity._row(way, found, expected, labels, 9, limits).passed


def test_the_gate_of_int8() -> None:
    """Rounding that a few examples suffer from passes, and damage does not."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (256, 10))
    logits[0, :2] = 9.0  # It hesitates between two.
    labels = logits.argmax(1)
    labels[:50] = rng.integers(0, 10, 50)

    def softmax(x: np.ndarray) -> np.ndarray:
        exponentials = np.exp(x - x.max(1, keepdims=True))
        return exponentials / exponentials.sum(1, keepdims=True)

    limits = export_formats.FORMATS["tflite_int8"].limits
    expected = softmax(logits)
    rounded = logits + rng.normal(0, 0.2, logits.shape)
    rounded[0, :2] = 10.0, 7.5
    assert np.abs(softmax(rounded) - expected)[0].max() > 0.4
    assert held_to(limits, softmax(rounded), expected, labels)
    some = logits.copy()  # A third with other answers.
    some[::3] = some[::3, ::-1]
    # One example in fourteen that was right is wrong now, and none the other
    # way: the answers alone would pass.
    worse = logits.copy()
    worse[50::14, :] = np.roll(worse[50::14], 1, 1)
    assert (worse.argmax(1) == logits.argmax(1)).mean() > limits.agreement
    for broken in (logits / 5, logits * 0, some, worse, logits[:, ::-1]):
        assert not held_to(limits, softmax(broken), expected, labels)


def test_label_sets(tmp_path, monkeypatch) -> None:
    """Their accuracy is that of evaluation: all classes of an example."""
    manifest = label_sets.write_pictures(tmp_path / "pictures")
    label_sets.convert(manifest, tmp_path / "data")
    recipe = label_sets.make_label_set_recipe(tmp_path / "data")
    made = inference.build(recipe, weights_of(recipe))
    assert made.info.activation == "sigmoid"
    drawn = sample.draw(made.data, made.data.decode, 99)
    assert drawn.labels.dtype == np.float32
    np.testing.assert_array_equal(drawn.labels, drawn.images.mean((1, 2)) > 105)
    monkeypatch.setattr(parity, "_ask", lambda _, *rest: ask(*rest))
    monkeypatch.setattr(parity_worker, "_SECONDS", 0.001)
    ask = parity_worker.main
    path = str(tmp_path / "x.tflite")
    none = np.zeros([0, 6, 6, 3], np.uint8)
    export_tflite.write(made, path, "float32", none)
    chosen = export_formats.FORMATS["tflite_float32"].limits
    (row,) = parity.check(
        made,
        drawn,
        {"tflite_float32": path},
        {"tflite_float32": chosen},
        str(tmp_path),
    )
    evaluated = made.parts.evaluator(made.data)(0, iter).metrics
    assert row.examples == evaluated["examples"] == 20
    assert row.accuracy == pytest.approx(evaluated[scoring.accuracy_name(True)])
    assert row.agreement == 1


def test_a_sample_is_spread_over_the_files() -> None:
    recipe = make_recipe('synthetic.examples={"train":3000,"validation":50}')
    drawn = sample.draw(recipe.train_data, recipe.eval_data.decode, 30)
    assert drawn.images.shape == (30, 8, 8, 3)
    # Files of 1,024, 1,024 and 952 examples; labels go round robin in each.
    starts = (2048, 0, 1024)
    numbers = [start + i for start in starts for i in range(10)]
    assert drawn.labels.tolist() == [n % 4 for n in numbers]
    every = sample.draw(recipe.eval_data, recipe.eval_data.decode, 999)
    assert len(every.encoded) == 50


def test_a_failed_export_leaves_nothing(tmp_path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    for output in (there, tmp_path / "a" / "b"):
        with (
            pytest.raises(KeyboardInterrupt),
            export_output.staged(str(output)) as staging,
        ):
            path = pathlib.Path(staging.path("x.onnx"))
            path.write_bytes(b"x")
            raise KeyboardInterrupt
    assert list(tmp_path.rglob("*")) == [there]
    killed, running = (there / f".export-{name}" for name in ("old", "new"))
    for folder in (killed, running):
        (folder / "made").mkdir(parents=True)
    os.utime(killed, (0, 0))
    with export_output.staged(str(there)):
        assert not killed.exists() and running.exists()
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(errors.ConfigError, match="cannot be written to"),
        export_output.staged(str(tmp_path / "file")),
    ):
        pass


def test_a_server_on_an_object_store_never_sees_half(monkeypatch) -> None:
    """Of a version the graph comes last; without it nothing is loaded."""
    sent = []
    monkeypatch.setattr(
        export_output.gcs, "write", lambda path, content: sent.append(path)
    )
    with export_output.staged("gs://b/e") as staging:
        place = pathlib.Path(staging.path("saved_model/m/1"))
        (place / "variables").mkdir(parents=True)
        for name in ("saved_model.pb", "variables/variables.index"):
            (place / name).write_bytes(b"x")
        staging.commit(["saved_model/m/1"], {})
    assert sent == [
        "gs://b/e/saved_model/m/1/variables/variables.index",
        "gs://b/e/saved_model/m/1/saved_model.pb",
        "gs://b/e/export.json",
    ]
