import dataclasses
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import files
from input import (
    crops,
    dataset,
    decode,
    errors,
    eval_pipeline,
    pipeline,
    sources,
    spec,
)
from tests.conftest import write_dataset


def hosts(count: int, replicas: int = 1) -> list[spec.HostShare]:
    return [spec.HostShare(i, count, replicas) for i in range(count)]


def train_data(directory: pathlib.Path, **kwargs) -> pipeline.TrainData:
    return pipeline.TrainData(
        source=sources.TFRecords(str(directory)), **kwargs
    )


@pytest.fixture(scope="module")
def photo_data(tmp_path_factory) -> pathlib.Path:
    """Two files of six times the same JPEG of 60x80 pixels."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, [6, 8, 3]).astype(np.float32)
    picture = tf.cast(tf.image.resize(coarse, [60, 80]), tf.uint8)
    folder = tmp_path_factory.mktemp("photos")
    encoded = tf.io.encode_jpeg(picture, quality=95).numpy()
    shards = files.write(folder, [encoded], shards=2, records=6)
    dataset.save(files.description(shards), str(folder))
    return folder


def rows(batches: tf.data.Dataset, count: int) -> list[list[int]]:
    return [b["index"].numpy().tolist() for b in batches.take(count)]


def test_batch_is_what_the_contract_says(tiny_data: pathlib.Path) -> None:
    batches = train_data(tiny_data).dataset(
        hosts(1)[0], global_batch_size=6, seed=0
    )
    assert batches.element_spec == spec.batch_spec(6, (4, 4, 1))
    batch = next(iter(batches))
    # write_dataset paints each picture with its own number.
    assert batch["image"].numpy()[:, 0, 0, 0].tolist() == (
        batch["index"].numpy().tolist()
    )
    assert (batch["label"].numpy() == batch["index"].numpy() % 3).all()


def test_epochs_run_into_each_other(tiny_data: pathlib.Path) -> None:
    batches = train_data(tiny_data).dataset(
        hosts(1)[0], global_batch_size=8, seed=0
    )
    flat = sum(rows(batches, 6), [])
    for epoch in range(4):
        assert sorted(flat[12 * epoch : 12 * epoch + 12]) == list(range(12))


def test_start_step_continues_the_stream(tiny_data: pathlib.Path) -> None:
    data = train_data(tiny_data, shuffle_bytes=1)
    share = hosts(1)[0]
    whole = rows(data.dataset(share, global_batch_size=5, seed=4), 12)
    for start in (1, 2, 5, 11):
        part = data.dataset(
            share, global_batch_size=5, seed=4, start_step=start
        )
        assert rows(part, 12 - start) == whole[start:]


@pytest.mark.parametrize("count", [2, 3])
def test_by_record_global_batches_do_not_depend_on_hosts(
    tiny_data: pathlib.Path, count: int
) -> None:
    data = train_data(tiny_data, shard_by="record")
    one = rows(data.dataset(hosts(1)[0], global_batch_size=6, seed=2), 5)
    many = [
        rows(data.dataset(h, global_batch_size=6, seed=2), 5)
        for h in hosts(count)
    ]
    assert [sum(parts, []) for parts in zip(*many, strict=True)] == one


def test_by_file_hosts_read_their_own_files(tiny_data: pathlib.Path) -> None:
    data = train_data(tiny_data, shard_by="file")
    seen = [
        set(sum(rows(data.dataset(h, global_batch_size=4, seed=0), 8), []))
        for h in hosts(2)
    ]
    assert seen == [{*range(5), *range(8, 12)}, {5, 6, 7}]


def test_too_few_files_for_the_hosts(tiny_data: pathlib.Path) -> None:
    data = train_data(tiny_data, shard_by="file")
    with pytest.raises(errors.DataError, match=r"3 file\(s\) for 4 hosts"):
        data.dataset(hosts(4)[0], global_batch_size=4, seed=0)


def test_auto_says_what_it_chose(tiny_data: pathlib.Path, caplog) -> None:
    data = train_data(tiny_data)
    with caplog.at_level("INFO", "absl"):
        data.dataset(hosts(2)[0], global_batch_size=4, seed=0)
    assert "chose 'record': 0 MiB are cheap" in caplog.text


@pytest.mark.parametrize("batch_size", [1, 4, 12, 64])
@pytest.mark.parametrize(
    ("count", "replicas"), [(1, 1), (1, 2), (2, 2), (3, 1)]
)
def test_evaluation_covers_every_example_once(
    tiny_data: pathlib.Path, batch_size: int, count: int, replicas: int
) -> None:
    global_batch_size = batch_size * count * replicas
    data = eval_pipeline.EvalData(
        source=sources.TFRecords(str(tiny_data)), split="train"
    )
    found, lengths = [], set()
    for host in hosts(count, replicas):
        batches = list(data.dataset(host, global_batch_size=global_batch_size))
        lengths.add(len(batches))
        for batch in batches:
            assert batch["image"].shape == (batch_size, 4, 4, 1)
            real = batch["mask"].numpy() > 0
            found += batch["index"].numpy()[real].tolist()
            assert (batch["index"].numpy()[~real] == -1).all()
    assert sorted(found) == list(range(12))
    assert lengths == {data.steps(global_batch_size) * replicas}


def test_label_outside_the_classes(tmp_path: pathlib.Path) -> None:
    info = write_dataset(tmp_path)
    source = sources.TFRecords(str(tmp_path))
    source.__dict__["info"] = dataclasses.replace(info, class_names=("a", "b"))
    data = pipeline.TrainData(source=source)
    batches = data.dataset(hosts(1)[0], global_batch_size=12, seed=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="2 classes"):
        next(iter(batches))


@pytest.mark.parametrize(
    ("size", "suggestion"), [(0, "such as 4"), (6, "4 or 8"), (-4, "multiple")]
)
def test_batch_that_cannot_be_divided(size: int, suggestion: str) -> None:
    with pytest.raises(ValueError, match=suggestion):
        spec.HostShare(0, 2, 2).replica_batch_size(size)


def test_contract_names_what_is_wrong() -> None:
    expected = spec.batch_spec(2, (4, 4, 1))
    broken = {k: v for k, v in expected.items() if k != "mask"}
    with pytest.raises(ValueError, match=r"train .* missing keys \['mask'\]"):
        spec.check(broken, expected, "train")
    wrong = expected | {"label": tf.TensorSpec((2,), tf.int64)}
    with pytest.raises(
        ValueError, match="'label' .* int64; it must be .*int32"
    ):
        spec.check(wrong, expected, "train")


def crops_of(data: pipeline.TrainData, start_step: int = 0, seed: int = 3):
    """The images of steps up to 5: random crops of the tiny pictures."""
    batches = data.dataset(
        hosts(1)[0], global_batch_size=5, seed=seed, start_step=start_step
    )
    return [b["image"].numpy() for b in batches.take(5 - start_step)]


def test_random_crops_are_a_function_of_seed_and_position(
    photo_data: pathlib.Path,
) -> None:
    data = train_data(photo_data, decode=crops.RandomResizedCrop(size=8))
    whole = crops_of(data)
    for start in (1, 3):
        np.testing.assert_array_equal(crops_of(data, start), whole[start:])
    # All records are the same picture: what differs are the crops. A few take
    # the whole image, where no window of the drawn area has fitted.
    flat = np.concatenate(whole).reshape(25, -1)
    assert len(np.unique(flat, axis=0)) >= 20
    other = np.concatenate(crops_of(data, seed=4)).reshape(25, -1)
    assert len(np.unique(np.concatenate([flat, other]), axis=0)) >= 40


def test_hosts_that_read_their_own_files_draw_their_own_crops(
    photo_data: pathlib.Path,
) -> None:
    data = train_data(
        photo_data, decode=crops.RandomResizedCrop(size=8), shard_by="file"
    )
    one, other = (
        next(iter(data.dataset(host, global_batch_size=8, seed=0)))["image"]
        for host in hosts(2)
    )
    both = np.concatenate([one, other]).reshape(8, -1)
    assert len(np.unique(both, axis=0)) == 8


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: crops.RandomResizedCrop(size=0), "size=0"),
        (
            lambda: crops.RandomResizedCrop(size=1, min_area=0.0),
            "min_area=0.0",
        ),
        (
            lambda: crops.RandomResizedCrop(size=1, max_aspect=0.5),
            "max_aspect",
        ),
        (lambda: crops.ResizeCenterCrop(size=1, kept=1.5), "kept=1.5"),
    ],
)
def test_decoders_refuse_bad_values(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_as_stored_needs_one_size(tiny_data: pathlib.Path) -> None:
    info = dataclasses.replace(
        sources.TFRecords(str(tiny_data)).info, image_shape=None
    )
    with pytest.raises(errors.DataError, match="random_resized_crop"):
        decode.AsStored().output_shape(info)


def test_names_come_from_the_records(tiny_data: pathlib.Path) -> None:
    source = sources.TFRecords(str(tiny_data))
    assert source.names("train", [0, 4, 5, 11]) == [
        "0.png",
        "4.png",
        "5.png",
        "11.png",
    ]


def test_synthetic_reads_like_a_data_set() -> None:
    data = eval_pipeline.EvalData(
        source=sources.Synthetic(examples={"train": 2500}, num_classes=7),
        split="train",
    )
    batches = data.dataset(hosts(1)[0], global_batch_size=500)
    index = np.concatenate([b["index"].numpy() for b in batches])
    labels = np.concatenate([b["label"].numpy() for b in batches])
    assert sorted(index) == list(range(2500))
    assert (labels == index % 7).all()


@pytest.mark.parametrize(
    ("hosts_", "replicas"), [(1, 2), (2, 1), (2, 2), (1, 4)]
)
def test_micro_batches_have_the_same_rows_on_any_replicas(
    tiny_data: pathlib.Path, hosts_: int, replicas: int
) -> None:
    """Micro-batch m of a step: the same examples in the same order."""
    data, size, micro = train_data(tiny_data, shard_by="record"), 16, 2
    one = rows(
        data.dataset(
            hosts(1)[0], global_batch_size=size, seed=3, micro_batches=micro
        ),
        3,
    )
    # [steps, micro, rows]
    expected = np.reshape(one, [3, micro, -1])
    many = [
        rows(
            data.dataset(
                host, global_batch_size=size, seed=3, micro_batches=micro
            ),
            3 * replicas,
        )
        for host in hosts(hosts_, replicas)
    ]
    # [hosts, steps, replicas, micro, rows]
    dealt = np.reshape(many, [hosts_, 3, replicas, micro, -1])
    found = dealt.transpose([1, 3, 0, 2, 4]).reshape([3, micro, -1])
    np.testing.assert_array_equal(found, expected)
    assert one == rows(
        data.dataset(hosts(1)[0], global_batch_size=size, seed=3), 3
    )


def test_batch_that_micro_batches_cannot_divide(
    tiny_data: pathlib.Path,
) -> None:
    with pytest.raises(ValueError, match="2 replica.* in 3 micro-batches each"):
        train_data(tiny_data).dataset(
            hosts(1, 2)[0], global_batch_size=16, seed=0, micro_batches=3
        )
