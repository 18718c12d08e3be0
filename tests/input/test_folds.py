"""Tests of input/folds.py: from --folds to the examples of a fold."""

import json
import shutil

import numpy as np
import pytest

from input import dataset, doctor, eval_pipeline, folds, sources, spec
from input.errors import DataError
from tests.input.conftest import make_folder, read_records, run_convert

ONE_HOST = spec.HostShare(index=0, count=1, replicas=1)
NAMES = [f"{c}/{i}.png" for c in "abc" for i in range(12)]


def run(root, output, *flags):
    return run_convert(
        "--source=folder", f"--input={root}", f"--output={output}", *flags
    )


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    """36 pictures of three classes in five folds."""
    place = tmp_path_factory.mktemp("folds")
    root = make_folder(place / "in", NAMES)
    assert run(root, place / "out", "--folds=5", "--shards=2") == 0
    return place / "out"


def test_folds_are_stratified_and_everything_is_in_one(folded):
    info = dataset.load(str(folded))
    assert list(info.splits) == [f"fold_{i}" for i in range(5)]
    counts = np.array([info.label_counts[s] for s in info.splits])
    assert counts.sum(axis=0).tolist() == [12, 12, 12]
    assert counts.min() == 2 and counts.max() == 3
    assert {sum(c) for c in counts} == {7, 8}
    assert sorted(read_records(folded)) == sorted(NAMES)


def test_statistics_are_of_all_folds(folded, tmp_path):
    root = make_folder(tmp_path / "in", NAMES)
    assert run(root, tmp_path / "whole", "--split=train:1") == 0
    whole = dataset.load(str(tmp_path / "whole"))
    info = dataset.load(str(folded))
    assert info.channel_mean == whole.channel_mean
    assert info.channel_std == whole.channel_std


def test_the_doctor_knows_the_statistics_of_folds(folded, tmp_path, capsys):
    place = tmp_path / "copy"
    shutil.copytree(folded, place)
    assert doctor.main(["doctor", str(place)]) == 0
    file = place / "dataset.json"
    content = json.loads(file.read_text())
    content["channel_mean"] = [1.0, 2.0, 3.0]
    file.write_text(json.dumps(content))
    assert doctor.main(["doctor", str(place)]) == 3
    assert "channel_mean is (1.0, 2.0, 3.0), found is (" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("fold", range(5))
def test_a_fold_is_validated_on_one_and_trained_on_the_others(folded, fold):
    source = sources.TFRecords(str(folded), fold=fold)
    stored = {name: split for name, (split, *_) in read_records(folded).items()}
    seen = {}
    for split in ("train", "validation"):
        source.check(split)
        count = source.info.examples(split)
        seen[split] = source.names(split, range(count))
        data = eval_pipeline.EvalData(source=source, split=split)
        batches = list(data.dataset(ONE_HOST, global_batch_size=1))
        labels = {int(b["index"][0]): int(b["label"][0]) for b in batches}
        assert labels == {
            i: "abc".index(name[0]) for i, name in enumerate(seen[split])
        }
        counts = np.bincount(list(labels.values()))
        assert tuple(counts) == source.info.label_counts[split]
    assert {stored[name] for name in seen["validation"]} == {f"fold_{fold}"}
    assert sorted(seen["train"] + seen["validation"]) == sorted(NAMES)


def test_each_fold_has_a_fingerprint_of_its_own(folded):
    """A run must not go on with another fold."""
    prints = {
        sources.TFRecords(str(folded), fold=fold).info.fingerprint
        for fold in (None, 0, 1, 2, 3, 4)
    }
    assert len(prints) == 6


@pytest.mark.parametrize("fold", [5, -1])
def test_no_such_fold(folded, fold):
    with pytest.raises(DataError, match=rf"fold={fold} must be 0 .. 4: the da"):
        sources.TFRecords(str(folded), fold=fold)


def test_no_folds_or_no_fold_chosen(folded, tmp_path):
    root = make_folder(tmp_path / "in", NAMES)
    assert run(root, tmp_path / "out") == 0
    with pytest.raises(
        DataError, match="no folds: it has train, validation, t"
    ):
        sources.TFRecords(str(tmp_path / "out"), fold=0)
    with pytest.raises(DataError, match="It has: fold_0.*tfrecords.fold = 0"):
        sources.TFRecords(str(folded)).check("train")


def test_a_test_split_is_kept_out_of_the_folds(tmp_path, capsys):
    root = make_folder(tmp_path / "in", NAMES)
    flags = ("--split=train:0.75,test:0.25", "--folds=3")
    assert run(root, tmp_path / "out", *flags) == 0
    assert "--gin_param=tfrecords.fold=0 --model" in capsys.readouterr().out
    info = sources.TFRecords(str(tmp_path / "out"), fold=2).info
    assert info.label_counts == {
        "train": (6, 6, 6),
        "validation": (3, 3, 3),
        "test": (3, 3, 3),
    }


def test_more_than_ten_folds_are_in_order(tmp_path, capsys):
    root = make_folder(tmp_path / "in", NAMES)
    assert run(root, tmp_path / "out", "--folds=12") == 0
    assert (
        "--gin_param=tfrecords.fold=0 --gin_param=train.test_data=None --model"
    ) in capsys.readouterr().out
    info = dataset.load(str(tmp_path / "out"))
    assert folds.names(info) == [f"fold_{i}" for i in range(12)]
    assert folds.of(info, 11).label_counts["validation"] == (1, 1, 1)


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (
            ("--split=train:0.5,validation:0.5", "--folds=3"),
            2,
            "--folds=3: there is a split 'validation', with 18 pictures",
        ),
        (
            ("--split=train:0.5,fold_7:0.5", "--folds=3"),
            2,
            "'fold_7' is the name of a fold",
        ),
        (("--folds=37",), 2, "--folds=37: each fold needs a picture, but"),
    ],
)
def test_folds_that_cannot_be(tmp_path, capsys, flags, code, message):
    root = make_folder(tmp_path / "in", NAMES)
    assert run(root, tmp_path / "out", *flags) == code
    assert message in capsys.readouterr().err
