import pathlib
import shutil

import numpy as np
import pytest

from input import crops, errors, eval_pipeline, pipeline, spec, tfds_directory
from tests.input import foreign

HOST = spec.HostShare(index=0, count=1, replicas=1)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> pathlib.Path:
    """A `data_dir` of TensorFlow Datasets with one data set, `pets`."""
    data_dir = tmp_path_factory.mktemp("tfds")
    foreign.write_tfds(data_dir)
    return data_dir


@pytest.fixture
def pets(prepared: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the folder of its version, to be spoilt."""
    shutil.copytree(prepared / "pets" / "1.0.0", tmp_path / "pets" / "1.0.0")
    return tmp_path / "pets" / "1.0.0"


def rows(data: eval_pipeline.EvalData) -> dict[int, tuple[int, np.ndarray]]:
    found = {}
    for batch in data.dataset(HOST, global_batch_size=4).as_numpy_iterator():
        for i in np.flatnonzero(batch["mask"]):
            found[int(batch["index"][i])] = (
                int(batch["label"][i]),
                batch["image"][i],
            )
    return found


def test_by_directory(prepared: pathlib.Path) -> None:
    source = tfds_directory.TfdsDirectory(str(prepared / "pets" / "1.0.0"))
    info = source.info
    assert {split: info.examples(split) for split in info.splits} == {
        "train": 19,
        "test": 7,
    }
    assert info.class_names == foreign.CLASSES
    assert info.label_counts == {}
    assert info.image_shape is None
    assert info.channel_mean == (123.675, 116.28, 103.53)
    (shard,) = info.shards("test")
    assert shard.file == "pets-test.tfrecord-00000-of-00001"
    source.check("test")
    data = eval_pipeline.EvalData(
        source=source,
        split="test",
        decode=crops.ResizeCenterCrop(size=20, kept=1.0),
    )
    found = rows(data)
    assert sorted(found) == list(range(7))
    for index, (label, image) in found.items():
        assert label == (100 + index) % 3
        # The middle of the picture, without resizing: no loss at all.
        np.testing.assert_array_equal(
            image, foreign.picture(100 + index)[:, 5:25]
        )
    assert source.names("test", [0, 6]) == ["100.png", "106.png"]


def test_by_name(prepared: pathlib.Path) -> None:
    by_name = tfds_directory.TfdsDirectory("pets", data_dir=str(prepared))
    version = tfds_directory.TfdsDirectory("pets:1.0.0", str(prepared))
    directory = tfds_directory.TfdsDirectory(str(prepared / "pets/1.0.0"))
    assert by_name.info == directory.info == version.info
    assert by_name.directory == directory.directory


def test_grey_pictures_of_one_size(tmp_path: pathlib.Path) -> None:
    folder = foreign.write_tfds(tmp_path, shape=(20, 30, 1), sizes={"train": 5})
    source = tfds_directory.TfdsDirectory(str(folder))
    assert source.info.image_shape == (20, 30, 1)
    assert source.info.channel_mean == (pytest.approx(114.495),)
    assert source.info.channel_std == (pytest.approx(57.63),)
    data = eval_pipeline.EvalData(source=source, split="train")
    label, image = rows(data)[4]
    assert label == 1
    np.testing.assert_array_equal(image, foreign.picture(4, (20, 30, 1)))
    with pytest.raises(ValueError, match="must both have 1 value"):
        tfds_directory.TfdsDirectory(str(folder), channel_mean=[1.0])
    given = tfds_directory.TfdsDirectory(
        str(folder), channel_mean=[1.0], channel_std=[2.0]
    )
    assert given.info.channel_mean == (1.0,)


def test_fingerprint_follows_the_contents(prepared, tmp_path) -> None:
    one = tfds_directory.TfdsDirectory(str(prepared / "pets/1.0.0")).info
    other = foreign.write_tfds(tmp_path, sizes={"train": 19, "test": 8})
    info = tfds_directory.TfdsDirectory(str(other)).info
    assert info.fingerprint != one.fingerprint


def shorten(folder: pathlib.Path, split: str, keep: float) -> None:
    path = folder / f"pets-{split}.tfrecord-00000-of-00001"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def test_truncated_file(pets: pathlib.Path) -> None:
    shorten(pets, "train", 0.5)
    source = tfds_directory.TfdsDirectory(str(pets))
    source.check("test")
    with pytest.raises(errors.DataError, match="A file is truncated"):
        source.check("train")
    data = pipeline.TrainData(
        source=source,
        decode=crops.ResizeCenterCrop(size=8),
        on_corrupt="skip_record",
        max_corrupt_fraction=0.6,
    )
    data.check()
    found = list(
        data.dataset(HOST, global_batch_size=19, seed=1)
        .take(1)
        .as_numpy_iterator()
    )
    (lost,) = data.ledger.unreported()
    assert lost.reason == "the length of a record is damaged"
    assert lost.records == 19 - found[0]["mask"].sum() == 10


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (
            lambda d: (d / "dataset_info.json").unlink(),
            {},
            "name_or_directory=.*Give a folder with dataset_info.json",
        ),
        (
            lambda d: (d / "dataset_info.json").write_text("{"),
            {},
            "name_or_directory=.*Give a folder with dataset_info.json",
        ),
        (
            lambda d: (d / "pets-train.tfrecord-00000-of-00001").unlink(),
            {},
            "1 of the 1 files of split 'train' are missing",
        ),
        (
            lambda d: None,
            {"image": "photo"},
            "has no feature 'photo'; it has: file_name, image, label, weight",
        ),
        (lambda d: None, {"image": "label"}, "not an Image of uint8"),
        (lambda d: None, {"label": "weight"}, "not a ClassLabel"),
        (
            lambda d: (d / "label.labels.txt").write_text("cat\n"),
            {},
            "needs two",
        ),
    ],
)
def test_errors(pets, change, arguments, message) -> None:
    change(pets)
    with pytest.raises(errors.DataError, match=message):
        tfds_directory.TfdsDirectory(str(pets), **arguments)


def test_other_formats_are_refused(tmp_path: pathlib.Path) -> None:
    folder = foreign.write_tfds(tmp_path, sizes={"train": 2})
    path = folder / "dataset_info.json"
    text = path.read_text()
    path.write_text(text.replace('"tfrecord"', '"array_record"'))
    with pytest.raises(errors.DataError, match="format 'array_record', but"):
        tfds_directory.TfdsDirectory(str(folder))


def test_nothing_prepared_under_a_name(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.DataError, match="holds no prepared data"):
        tfds_directory.TfdsDirectory("mnist", data_dir=str(tmp_path))
    with pytest.raises(errors.DataError, match="no_such_thing"):
        tfds_directory.TfdsDirectory("no_such_thing", data_dir=str(tmp_path))
