import collections
import pathlib

import numpy as np
import pytest

from input import errors, pipeline, sampling, sources, spec
from tests.conftest import write_dataset

ALONE = spec.HostShare(0, 1, 1)


@pytest.mark.parametrize(
    ("resample", "wanted"),
    [
        (sampling.oversample(), [80, 80, 80, 0]),
        (sampling.undersample(), [5, 5, 5, 0]),
        (sampling.oversample(0.5), [80, 40, 20, 0]),
        (sampling.undersample(0.5), [20, 10, 5, 0]),
    ],
)
def test_examples_of_an_epoch(resample, wanted: list[int]) -> None:
    assert resample([80, 20, 5, 0]) == wanted


@pytest.mark.parametrize("wanted", [[7, 7], [100, 3], [1, 0], [23, 11]])
def test_epochs_are_equally_large_and_fair(wanted: list[int]) -> None:
    counts = np.array([[10, 0], [3, 5], [0, 1], [9, 2]])
    plan = sampling.Plan(counts, wanted)
    sizes = np.array([plan.sizes(epoch) for epoch in range(176)])
    assert (sizes.sum(axis=1) == sum(wanted)).all()
    # 176 is a multiple of both numbers of examples, 22 and 8.
    fair = counts / counts.sum(axis=0) @ np.array(wanted)
    np.testing.assert_allclose(sizes.mean(axis=0), fair)


@pytest.fixture
def skewed(tmp_path: pathlib.Path) -> pathlib.Path:
    """24 examples in 3 shards: 18 of class 0, 4 of 1, 2 of 2."""
    labels = [0, 0, 0, 1, 0, 0, 0, 0] * 2 + [0, 0, 1, 0, 2, 0, 1, 2]
    write_dataset(tmp_path, (8, 8, 8), label=lambda number: labels[number])
    return tmp_path


def data(folder: pathlib.Path, resample, **kwargs) -> pipeline.TrainData:
    return pipeline.TrainData(
        source=sources.TFRecords(str(folder)), resample=resample, **kwargs
    )


def stream(of: pipeline.TrainData, count: int, **kwargs) -> list[int]:
    """The indices of rows, one batch of a row after the other."""
    batches = of.dataset(ALONE, global_batch_size=1, seed=3, **kwargs)
    return [int(b["index"][0]) for b in batches.take(count)]


def labels_of(of: pipeline.TrainData, count: int) -> list[int]:
    batches = of.dataset(ALONE, global_batch_size=1, seed=3)
    return [int(b["label"][0]) for b in batches.take(count)]


def test_an_epoch_of_an_oversampled_split(skewed: pathlib.Path) -> None:
    found = data(skewed, sampling.oversample())
    assert found.label_counts == [18, 18, 18]
    assert found.examples == 54
    seen = collections.Counter(labels_of(found, 54))
    assert seen == {0: 18, 1: 18, 2: 18}
    # 18 times class 0 once, 4 of class 1 come 4 or 5 times, 2 of class 2 9.
    times = collections.Counter(stream(found, 54))
    assert set(times.values()) == {1, 4, 5, 9}


def test_the_examples_of_an_undersampled_class_go_round(
    skewed: pathlib.Path,
) -> None:
    found = data(skewed, sampling.undersample())
    assert found.examples == 6
    epochs = np.reshape(stream(found, 6 * 18), [18, 6])
    labels = np.reshape(labels_of(found, 6 * 18), [18, 6])
    for epoch in labels:
        assert collections.Counter(epoch.tolist()) == {0: 2, 1: 2, 2: 2}
    # Of 18 examples 2 in each of 18 epochs: each has come twice.
    times = collections.Counter(epochs[labels == 0].tolist())
    assert len(times) == 18 and set(times.values()) == {2}


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize(
    "resample", [sampling.oversample(), sampling.undersample(), None]
)
def test_a_restart_continues_the_stream(
    skewed: pathlib.Path, resample, copies: int
) -> None:
    found = data(skewed, resample, shuffle_bytes=1, copies=copies)
    whole = stream(found, 90)
    for start in (1, 10, 51, 77):
        part = stream(found, 90 - start, start_step=start)
        assert part == whole[start:]


@pytest.mark.parametrize("count", [2, 3])
def test_the_same_global_batches_at_any_number_of_hosts(
    skewed: pathlib.Path, count: int
) -> None:
    found = data(skewed, sampling.oversample(), shard_by="record")

    def rows(host: spec.HostShare) -> np.ndarray:
        batches = found.dataset(host, global_batch_size=6, seed=3)
        return np.array([b["index"] for b in batches.take(10)])

    parts = [rows(spec.HostShare(i, count, 1)) for i in range(count)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), rows(ALONE))


@pytest.mark.parametrize("policy", ["encoded", "decoded"])
@pytest.mark.parametrize("resample", [sampling.oversample(), None])
def test_the_same_stream_from_memory(
    skewed: pathlib.Path, resample, policy: str
) -> None:
    read = data(skewed, resample, copies=2)
    held = data(skewed, resample, copies=2, cache=policy)
    for start in (0, 17):
        found = stream(held, 120, start_step=start)
        assert found == stream(read, 120, start_step=start)


def test_copies_stand_in_a_row(skewed: pathlib.Path) -> None:
    found = data(skewed, None, copies=3)
    assert found.examples == 24
    indices = np.reshape(stream(found, 72), [24, 3])
    assert (indices == indices[:, :1]).all()
    assert sorted(indices[:, 0]) == list(range(24))


def test_labels_that_are_not_those_of_dataset_json(
    skewed: pathlib.Path,
) -> None:
    path = skewed / "train-00001-of-00003.tfrecord"
    path.write_bytes((skewed / "train-00000-of-00003.tfrecord").read_bytes())
    other = skewed / "train-00002-of-00003.tfrecord"
    other.write_bytes(path.read_bytes())
    with pytest.raises(errors.DataError, match="but dataset.json says"):
        data(skewed, sampling.oversample()).dataset(
            ALONE, global_batch_size=1, seed=0
        )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: sampling.oversample(0.0), r"power=0.0 must be in"),
        (lambda folder: sampling.undersample(1.5), r"power=1.5 must be in"),
        (lambda folder: data(folder, None, copies=0), "copies=0 must be at"),
        (
            lambda folder: data(
                folder, sampling.oversample(), on_corrupt="skip_record"
            ),
            "resample does not go together with on_corrupt",
        ),
        (
            lambda folder: data(folder, sampling.oversample(), shard_by="file"),
            "resample does not go together with shard_by",
        ),
    ],
)
def test_values_out_of_range(skewed, make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(skewed)
