"""A frozen backbone sees each picture once; the training is the same."""

import logging
import pathlib
import signal
import subprocess
import sys
import tracemalloc

import keras
import numpy as np
import pytest

from input import eval_pipeline, pipeline, sources, spec
from input import features as features_lib
from models import split
from tests.conftest import REPO, make_engine, make_recipe
from tests.trainer.test_main import call, final_arrays, lines, tiny
from trainer import errors, feature_tables, features, main, results, session

FROZEN = (
    "train.model = @small_resnet",
    "small_resnet.depth = 8",
    "small_resnet.width = 4",
    'train.trainable = "head"',
    "train.evaluate_every = '10 steps'",
    "train.checkpoint_every = '5 steps'",
    "train.deterministic = True",
)


def train(model_dir: pathlib.Path, *bindings: str) -> int:
    return call(main, *tiny(model_dir, *FROZEN, *bindings))


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> pathlib.Path:
    """A run whose backbone sees every picture in every step."""
    model_dir = tmp_path_factory.mktemp("plain")
    assert train(model_dir, "train.cache_features = False") == 0
    return model_dir


def evals(model_dir: pathlib.Path) -> list[tuple]:
    keys = ("step", "split", "top_1_accuracy", "examples")
    return [tuple(e[k] for k in keys) for e in lines(model_dir, "eval")]


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_training_is_the_same(plain, tmp_path, caplog, replicas) -> None:
    caplog.set_level(logging.INFO, "absl")
    engine = "one_device" if replicas == 1 else "mirrored"
    assert train(tmp_path, f"make_engine.name = '{engine}'") == 0
    assert "the features of 96 pictures, 16 each, are computed once" in (
        caplog.text
    )
    ours, theirs = final_arrays(tmp_path), final_arrays(plain)
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_allclose(
            ours[name], array, rtol=1e-5, atol=1e-6, err_msg=name
        )
    assert evals(tmp_path) == evals(plain) != []
    for mine, other in zip(
        lines(tmp_path, "eval"), lines(plain, "eval"), strict=True
    ):
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-5)


@pytest.mark.long
def test_the_training_is_the_same_in_two_processes(plain, tmp_path) -> None:
    started = subprocess.run(
        [sys.executable, "-m", "launch.local", "--workers=2"]
        + ["--engine=multi_worker", "--", sys.executable, "-m", "trainer.main"]
        + tiny(tmp_path, *FROZEN, "make_engine.name = 'multi_worker'"),
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert started.returncode == 0, started.stdout[-3000:]
    assert "the features of 96 pictures" in started.stdout
    ours, theirs = final_arrays(tmp_path), final_arrays(plain)
    for name, array in theirs.items():
        np.testing.assert_allclose(
            ours[name], array, rtol=1e-5, atol=1e-6, err_msg=name
        )
    assert evals(tmp_path) == evals(plain)


def test_mistakes_are_shown_with_their_pictures(plain, tmp_path) -> None:
    assert train(tmp_path) == 0
    ours, theirs = (
        results.EvaluationResult.load(
            str(model_dir / "evaluation" / "validation.npz")
        ).mistakes
        for model_dir in (tmp_path, plain)
    )
    assert len(ours) > 5

    def shown(mistakes):
        return {(m.name, m.label): m.image.tobytes() for m in mistakes}

    assert shown(ours) == shown(theirs)


def test_a_run_that_goes_on_ends_with_the_same_bits(tmp_path) -> None:
    folder = f"train.features_dir = '{tmp_path}/kept'"
    assert train(tmp_path / "whole", folder) == 0
    half = ("train.duration = '10 steps'", folder)
    assert train(tmp_path / "half", *half) == 0
    kept = list((tmp_path / "kept").iterdir())
    assert len(kept) == 2  # Two splits, and the same ones in both runs.
    flags = ["--allow_config_change", *tiny(tmp_path / "half", *FROZEN, folder)]
    assert call(main, *flags) == 0
    whole, resumed = (final_arrays(tmp_path / n) for n in ("whole", "half"))
    for name, array in whole.items():
        np.testing.assert_array_equal(resumed[name], array, name)


def test_a_damaged_folder_is_made_again(tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO, "absl")
    folder = f"train.features_dir = '{tmp_path}/kept'"
    short = ("train.duration = '2 steps'", "train.eval_data = None", folder)
    assert train(tmp_path / "a", *short) == 0
    (file,) = (tmp_path / "kept").iterdir()
    content = file.read_bytes()
    flipped = bytes([content[-100] ^ 1])
    file.write_bytes(content[:-100] + flipped + content[-99:])
    caplog.clear()
    assert train(tmp_path / "b", *short) == 0
    assert "is damaged: features are computed again" in caplog.text
    assert file.read_bytes() == content
    caplog.clear()
    assert train(tmp_path / "c", *short) == 0
    assert "features are taken from" in caplog.text
    # Another normalisation, data set or weight has another name.
    assert train(tmp_path / "d", *short, "train.seed = 1") == 0
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_a_folder_that_cannot_be_used_ends_the_run_at_once(
    tmp_path, capsys, caplog
) -> None:
    caplog.set_level(logging.INFO)
    short = ("train.duration = '2 steps'", "train.eval_data = None")
    (tmp_path / "file").write_text("")
    folder = f"train.features_dir = '{tmp_path}/file'"
    assert train(tmp_path / "a", *short, folder) == 2
    assert "train.features_dir='" in capsys.readouterr().err
    assert "are computed once" not in caplog.text
    folder = f"train.features_dir = '{tmp_path}/kept'"
    assert train(tmp_path / "b", *short, folder) == 0
    (file,) = (tmp_path / "kept").iterdir()
    file.unlink()
    file.mkdir()
    assert train(tmp_path / "c", *short, folder) == 2
    assert f"{file} cannot be read: " in capsys.readouterr().err


def test_a_signal_stops_the_computing_of_features(
    tmp_path, caplog, monkeypatch
) -> None:
    def fill(*_) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(features_lib.Layout, "fill", fill)
    assert train(tmp_path) == 75
    assert "SIGTERM: stopped at step 0 of" in caplog.text
    assert "while features were computed" in caplog.text
    monkeypatch.undo()
    assert train(tmp_path) == 0


def test_phases_may_begin_with_features(tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO, "absl")
    phases = (
        "train.trainable = 'all'",
        "train.phases = [@head/phase(), @fine/phase()]",
        "head/phase.duration = '10 steps'",
        "head/phase.trainable = 'head'",
        "fine/phase.trainable = 'last 2 blocks'",
    )
    assert train(tmp_path / "kept", *phases) == 0
    assert "the features of 96 pictures" in caplog.text
    assert "the features of 50 pictures" not in caplog.text
    off = "train.cache_features = False"
    assert train(tmp_path / "plain", *phases, off) == 0
    ours, theirs = (final_arrays(tmp_path / n) for n in ("kept", "plain"))
    for name, array in theirs.items():
        np.testing.assert_allclose(
            ours[name], array, rtol=2e-4, atol=2e-5, err_msg=name
        )


@pytest.mark.parametrize(
    ("binding", "reason"),
    [
        ("train.trainable = 'all'", "the backbone learns"),
        ("train.augment = [@random_flip()]", "train.augment changes"),
        ("train.mixing = @mixup()", "train.mixing mixes"),
        ("train.model = @dropping", "'dropout' of the backbone draws"),
        ("train_data.on_corrupt = 'skip_record'", "leaves out records"),
        (
            "train.progressive_resizing = ['4 until 10 steps']",
            "changes the size",
        ),
    ],
)
def test_why_not_is_said(binding, reason) -> None:
    if "dropping" in binding:
        bindings = ("train.model = @simple_cnn", "simple_cnn.dropout = 0.5")
    else:
        bindings = (binding,)
    asked = (*FROZEN, *bindings, "train.cache_features = True")
    with pytest.raises(errors.ConfigError, match=f"True cannot be: .*{reason}"):
        session.build(make_recipe(*asked), make_engine(1))
    # What cannot be is not an error unless it is asked for.
    made = session.build(make_recipe(*asked[:-1]), make_engine(1))
    assert not made.keeps_features


def test_too_much_for_the_memory_is_not_kept(monkeypatch) -> None:
    monkeypatch.setattr("input.memory.free_bytes", lambda: 20_000)
    with pytest.raises(errors.ConfigError, match="more than half of the"):
        session.build(
            make_recipe(*FROZEN, "train.cache_features = True"), make_engine(1)
        )


def test_a_model_is_the_sum_of_its_parts() -> None:
    built = session.build(make_recipe(*FROZEN), make_engine(1))
    model = built.state.model
    parts = split.at_head(model)
    images = np.random.default_rng(0).normal(size=[3, 8, 8, 3])
    np.testing.assert_array_equal(
        parts.head(parts.base(images)), model(images, training=False)
    )
    names = [v.path for v in parts.head.trainable_variables]
    assert names == ["logits/kernel", "logits/bias"]
    assert features.frozen_until(built.spans) == 20


def test_a_model_that_is_all_head_has_no_features() -> None:
    image = keras.Input((4,))
    model = keras.Model(image, keras.layers.Dense(2)(image), name="linear")
    with pytest.raises(ValueError, match="'linear' has nothing before"):
        split.at_head(model)
    # A backbone without weights of its own is one all the same.
    made = keras.layers.Dense(2, name="logits")(keras.layers.ReLU()(image))
    assert split.at_head(keras.Model(image, made)).feature_shape == (4,)


@pytest.mark.parametrize("shape", [(3,), (4,), (2, 3, 1)])
def test_a_row_gives_back_its_features_and_its_place(shape) -> None:
    layout = features_lib.Layout(shape)
    rows = features_lib.empty(layout, 5)
    assert rows.shape[1:] == layout.row_shape
    assert np.prod(layout.row_shape) % 8 == 0
    rng = np.random.default_rng(0)
    values = rng.normal(size=[2, *shape]).astype(np.float32)
    layout.fill(rows, np.array([4, 1]), values)
    np.testing.assert_array_equal(layout.unpack(rows[[4, 1]]), values)
    assert [layout.place(rows[i]) for i in (4, 1)] == [4, 1]
    assert not rows[[0, 2, 3, 5]].any()


class TwoHosts:
    """The first of two hosts; the second says what it was told to."""

    host = spec.HostShare(0, 2, 1)

    def __init__(self, other: np.ndarray) -> None:
        self._other = other.reshape([-1]).view(np.int64)
        self.sent: list[int] = []

    def sum_over_hosts(self, numbers: np.ndarray) -> np.ndarray:
        first = sum(self.sent)
        self.sent.append(len(numbers))
        return numbers + self._other[first : first + len(numbers)]


def test_hosts_put_their_rows_together(monkeypatch) -> None:
    monkeypatch.setattr(feature_tables, "_CHUNK_BYTES", 64)
    layout = features_lib.Layout((3,))
    values = np.random.default_rng(0).normal(size=[4, 3]).astype(np.float32)
    mine, others = (features_lib.empty(layout, 4) for _ in range(2))
    layout.fill(mine, np.array([0, 2]), values[[0, 2]])
    layout.fill(others, np.array([1, 3]), values[[1, 3]])
    hosts = TwoHosts(others)
    feature_tables.share(hosts, mine)
    np.testing.assert_array_equal(layout.unpack(mine[:4]), values)
    assert [layout.place(row) for row in mine[:4]] == [0, 1, 2, 3]
    assert max(hosts.sent) == 8 and len(hosts.sent) > 1


def test_batches_have_features_in_the_order_of_the_pictures() -> None:
    source = sources.Synthetic({"train": 40}, 3, (4, 4, 3))
    host = spec.HostShare(0, 1, 2)
    layout = features_lib.Layout((2,))
    rows = features_lib.empty(layout, 40)
    numbers = np.arange(40)
    layout.fill(rows, numbers, np.stack([numbers, -numbers], axis=1))
    pictures = features_lib.pictures_of(
        eval_pipeline.EvalData(source=source, split="train")
    )
    labels = np.zeros([41], np.int32)
    for batch in pictures.dataset(host, global_batch_size=8):
        labels[batch[spec.INDEX]] = batch[spec.LABEL]
    table = features_lib.Table(layout, rows, labels)
    data = pipeline.TrainData(source=source, split="train")
    kept = features_lib.train(data, table)

    def first(of) -> list[dict]:
        made = of.dataset(host, global_batch_size=8, seed=3, start_step=2)
        return list(made.take(12).as_numpy_iterator())

    for ours, theirs in zip(first(kept), first(data), strict=True):
        for name in (spec.LABEL, spec.MASK, spec.INDEX):
            np.testing.assert_array_equal(ours[name], theirs[name])
        found = layout.unpack(ours[spec.IMAGE]).numpy()
        np.testing.assert_array_equal(found[:, 0], theirs[spec.INDEX])
        np.testing.assert_array_equal(found[:, 1], -theirs[spec.INDEX])


def test_keeping_features_takes_little_memory_beside_them(tmp_path) -> None:
    layout = features_lib.Layout((2**10,))
    rows = features_lib.empty(layout, 2**14)  # 64 MiB
    rows[:] = np.arange(len(rows), dtype=np.uint8)[:, None, None, None]
    table = features_lib.Table(layout, rows, np.zeros([len(rows)], np.int32))
    tracemalloc.start()
    feature_tables._save(f"{tmp_path}/kept", table)
    _, most = tracemalloc.get_traced_memory()
    assert most < 1.6 * rows.nbytes
    tracemalloc.reset_peak()
    found = feature_tables._load(f"{tmp_path}/kept", layout, 2**14)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The file, what NumPy reads of it, and the rows.
    assert most < 3.5 * rows.nbytes
    assert found is not None
    np.testing.assert_array_equal(found.rows, rows)
