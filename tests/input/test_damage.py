"""Reading damaged files, under each policy."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from input import (
    damage,
    dataset,
    diagnosis,
    errors,
    eval_pipeline,
    pipeline,
    sources,
    spec,
)
from tests.input import damaged

HOST = spec.HostShare(0, 1, 1)
BATCH, STEPS = 4, 12
SKIP = ["skip_record", "skip_file"]


def train_data(directory: pathlib.Path, **kwargs) -> pipeline.TrainData:
    kwargs = {"max_corrupt_fraction": 0.5} | kwargs
    return pipeline.TrainData(
        source=sources.TFRecords(str(directory)), **kwargs
    )


def batches(
    data: pipeline.TrainData, start: int = 0, host: spec.HostShare = HOST
) -> dict[str, np.ndarray]:
    """Keys of a batch, from step `start` to `STEPS`: [rows, ...]."""
    found = data.dataset(
        host, global_batch_size=BATCH, seed=5, start_step=start
    ).take(STEPS - start)
    rows = list(found.unbatch().as_numpy_iterator())
    return {key: np.stack([row[key] for row in rows]) for key in rows[0]}


@pytest.fixture
def place(tmp_path: pathlib.Path) -> pathlib.Path:
    damaged.write(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("policy", "shuffle_bytes"), [("skip_record", 1), ("skip_file", 1 << 30)]
)
@pytest.mark.parametrize("case", damaged.CASES)
def test_what_is_lost_leaves_its_place_empty(
    place: pathlib.Path, case: str, policy: str, shuffle_bytes: int
) -> None:
    expected = batches(train_data(place, shuffle_bytes=shuffle_bytes))
    offset = damaged.damage(place, case)
    lost = damaged.CASES[case].lost if policy == "skip_record" else damaged.ALL

    data = train_data(place, on_corrupt=policy, shuffle_bytes=shuffle_bytes)
    found = batches(data)
    gone = np.isin(expected["index"], lost)
    # 12 batches of 4 are two epochs of 19 and some.
    assert 2 * len(lost) <= gone.sum() <= 3 * len(lost)
    np.testing.assert_array_equal(found["mask"], 1 - gone)
    np.testing.assert_array_equal(
        found["index"], np.where(gone, -1, expected["index"])
    )
    # channel_mean is 10; what is intact is as it was.
    assert (found["image"][gone] == 10).all()
    np.testing.assert_array_equal(
        found["image"][~gone], expected["image"][~gone]
    )
    np.testing.assert_array_equal(
        found["label"][~gone], expected["label"][~gone]
    )

    (noted,) = data.ledger.unreported()
    assert (noted.file, noted.offset) == (damaged.FILE, offset)
    assert noted.records == len(lost)
    assert damaged.CASES[case].reason in noted.reason


@pytest.mark.parametrize("policy", SKIP)
@pytest.mark.parametrize("case", ["data", "length", "deleted"])
def test_damaged_data_are_read_the_same_from_any_step(
    place: pathlib.Path, case: str, policy: str
) -> None:
    damaged.damage(place, case)
    whole = batches(train_data(place, on_corrupt=policy))
    for start in (0, 5, 11):
        part = batches(train_data(place, on_corrupt=policy), start)
        for key, rows in part.items():
            np.testing.assert_array_equal(rows, whole[key][BATCH * start :])


def test_global_batches_do_not_depend_on_hosts(place: pathlib.Path) -> None:
    damaged.damage(place, "data")
    data = train_data(place, on_corrupt="skip_record", shard_by="record")
    one = batches(data)["index"].reshape([STEPS, BATCH])
    two = [
        batches(data, host=spec.HostShare(i, 2, 1))["index"].reshape(
            [STEPS, BATCH // 2]
        )
        for i in range(2)
    ]
    np.testing.assert_array_equal(np.concatenate(two, axis=1), one)


def test_a_file_of_several_chunks(place: pathlib.Path, monkeypatch) -> None:
    monkeypatch.setattr(damage, "_CHUNK_BYTES", 500)
    expected = batches(train_data(place))
    for case in ("data", "length"):
        damaged.write(place)
        damaged.damage(place, case)
        found = batches(train_data(place, on_corrupt="skip_record"))
        gone = np.isin(expected["index"], damaged.CASES[case].lost)
        np.testing.assert_array_equal(
            found["index"], np.where(gone, -1, expected["index"])
        )


@pytest.mark.parametrize("case", damaged.CASES)
def test_fail_says_where_the_damage_is(place: pathlib.Path, case: str) -> None:
    data = train_data(place)
    offset = damaged.damage(place, case)
    lost = len(damaged.CASES[case].lost)
    with pytest.raises(errors.DataError) as error, diagnosis.explained(data):
        batches(data)
    message = str(error.value)
    assert (
        f"{damaged.FILE} at byte {offset:,}: {lost} "
        f"record{'s' if lost > 1 else ''} lost"
    ) in message
    assert damaged.CASES[case].reason in message
    assert str(place) in message
    assert 'on_corrupt = "skip_record"' in message


@pytest.mark.parametrize("case", ["data", "truncated between records"])
def test_evaluation_does_not_do_without(place: pathlib.Path, case: str) -> None:
    data = eval_pipeline.EvalData(
        source=sources.TFRecords(str(place)), split="train"
    )
    damaged.damage(place, case)
    with pytest.raises(errors.DataError) as error, diagnosis.explained(data):
        list(data.dataset(HOST, global_batch_size=BATCH))
    assert f"{damaged.FILE} at byte" in str(error.value)
    assert "skip_record" not in str(error.value)


def example(encoded: bytes, label: int) -> bytes:
    made = tf.train.Example()
    feature = made.features.feature
    feature["image/encoded"].bytes_list.value.append(encoded)
    feature["image/class/label"].int64_list.value.append(label)
    return made.SerializeToString()


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (example(b"no image", 0), "no example can be made of it"),
        (
            example(tf.io.encode_png(np.zeros([4, 4, 1], np.uint8)).numpy(), 3),
            "label 3 is not in [0, 3)",
        ),
        (b"no example", "no example can be made of it"),
    ],
    ids=["no image", "label out of range", "no example"],
)
def test_a_whole_record_that_is_no_example(
    place: pathlib.Path, record: bytes, reason: str
) -> None:
    path = place / damaged.FILE
    data = path.read_bytes()
    offset = damaged.offsets_of(data)[-1]
    path.write_bytes(data[:offset])
    with tf.io.TFRecordWriter(str(place / "one")) as writer:
        writer.write(record)
    path.write_bytes(data[:offset] + (place / "one").read_bytes())

    for policy in ("fail", "skip_record"):
        broken = train_data(place, on_corrupt=policy)
        with (
            pytest.raises(errors.DataError) as error,
            diagnosis.explained(broken),
        ):
            batches(broken)
        message = str(error.value)
        assert f"{damaged.FILE} at byte {offset:,}: 1 record lost" in message
        assert reason in message
        assert "on_corrupt" not in message


def test_errors_that_are_not_of_reading_pass(place: pathlib.Path) -> None:
    with (
        pytest.raises(tf.errors.InvalidArgumentError),
        diagnosis.explained(train_data(place)),
    ):
        tf.reshape(tf.zeros([3]), [2])


def test_damage_that_has_gone(place: pathlib.Path) -> None:
    message = diagnosis.explain(train_data(place), "corrupted record at 0")
    assert "corrupted record at 0" in message
    assert "3 of 3 files" in message
    assert "start again" in message


def test_a_search_that_takes_too_long_says_how_far_it_came(
    place: pathlib.Path,
) -> None:
    damaged.damage(place, "data")
    message = diagnosis.explain(train_data(place), "lost", seconds=-1)
    assert "0 of 3 files" in message


@pytest.mark.parametrize("policy", SKIP)
@pytest.mark.parametrize("case", damaged.CASES)
def test_sizes_are_looked_at_before_training(
    place: pathlib.Path, case: str, policy: str
) -> None:
    offset = damaged.damage(place, case)
    size_is_right = case in ("data", "length", "length's checksum")
    data = train_data(place, on_corrupt=policy)
    data.check()
    found = data.ledger.unreported()
    assert [d.offset for d in found] == ([] if size_is_right else [offset])
    # Reading finds the same again, which counts once.
    batches(data)
    assert [d.offset for d in data.ledger.unreported()] == [offset]

    strict = train_data(place, on_corrupt=policy, max_corrupt_fraction=0.1)
    if size_is_right:
        strict.check()
        return
    with pytest.raises(errors.DataError, match="of the 19 training examples"):
        strict.check()
    with pytest.raises(errors.DataError, match=r"shards of split='train' is"):
        train_data(place).check()


def test_budget() -> None:
    found = [
        damage.Damage("a", 0, 2, "gone"),
        damage.Damage("b", 40, 3, "gone"),
    ]
    damage.check_budget(found, examples=1000, max_fraction=0.005)
    with pytest.raises(errors.DataError) as error:
        damage.check_budget(found, examples=999, max_fraction=0.005)
    assert "5 of the 999 training examples are lost" in str(error.value)
    assert "max_corrupt_fraction=0.005 allows 4" in str(error.value)
    assert "b at byte 40: 3 records lost (gone)" in str(error.value)


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_a_share_is_between_0_and_1(place: pathlib.Path, value: float) -> None:
    with pytest.raises(ValueError, match="max_corrupt_fraction"):
        train_data(place, max_corrupt_fraction=value)


def test_a_long_list_is_cut_short() -> None:
    found = [damage.Damage("a", i, 2, "gone") for i in range(8)]
    lines = damage.listing(found).splitlines()
    assert len(lines) == 6
    assert lines[-1] == "  and 6 more in 3 places"


def test_each_damage_is_reported_once() -> None:
    ledger = damage.Ledger()
    one, two = (damage.Damage("a", i, 1, "gone") for i in range(2))
    ledger.note([one, one])
    assert ledger.unreported() == [one]
    # Another host has found both.
    assert ledger.report([two, one, two]) == [one, two]
    ledger.note([two])
    assert ledger.unreported() == []
    assert ledger.report([one]) == []
    assert ledger.reported() == [one, two]


def test_a_length_that_claims_too_much(place: pathlib.Path) -> None:
    """Its checksum is right; it must not be believed all the same."""
    path = place / damaged.FILE
    with tf.io.TFRecordWriter(str(place / "long")) as writer:
        writer.write(bytes(10_000))
    header = (place / "long").read_bytes()[:12]
    path.write_bytes(header + path.read_bytes()[12:])
    info = dataset.load(str(place)).splits["train"][1]
    (found,) = damage.scan(info, str(path))
    assert (found.offset, found.records) == (0, 8)
    assert found.reason == "the length of a record is damaged"
