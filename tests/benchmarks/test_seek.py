import pathlib

from benchmarks import seek
from input import pipeline, sources


def test_its_data_set_is_one(tmp_path: pathlib.Path) -> None:
    info = seek.write(tmp_path, shards=8, records=9)
    data = pipeline.TrainData(source=sources.TFRecords(str(tmp_path)))
    data.check()
    assert info.examples("train") == 72
    found = seek.measure(str(tmp_path), rounds=1)
    assert list(found) == [1, 2, 8]
    for times in found.values():
        assert min(times.first, times.late, times.records) > 0
    assert list(seek.measure_policies(str(tmp_path), rounds=1)) == [
        "fail",
        "skip_record",
        "skip_file",
    ]


def test_tables() -> None:
    times = seek.Seek(first=0.1, late=0.25, epoch=5.0, records=0.5)
    assert seek.describe({4: times}).splitlines()[-1] == (
        "| 4 | 5.00 | 0.50 | 0.10 | 0.25 | 2.0% | 5.0% |"
    )
    table = seek.describe_policies({"fail": 2.0, "skip_record": 3.0})
    assert table.splitlines()[-1] == "| `skip_record` | 3.00 | 1.50 |"
