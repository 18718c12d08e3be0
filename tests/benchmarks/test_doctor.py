import pathlib

from benchmarks import doctor, seek


def test_it_measures_all(tmp_path: pathlib.Path) -> None:
    seek.write(tmp_path, shards=2, records=3)
    seconds = doctor.measure(str(tmp_path), rounds=1)
    assert list(seconds) == [doctor.READ, doctor.DECODE, doctor.ONE, doctor.ALL]
    assert all(len(found) == 1 and found[0] > 0 for found in seconds.values())


def test_table() -> None:
    seconds = {doctor.READ: [0.5, 1.0, 1.0], doctor.DECODE: [2.0, 2.0, 4.0]}
    assert doctor.describe(seconds, 100).splitlines()[2:] == [
        "| reading the records | 100 | 100..200 | 4.00 |",
        "| reading and decoding, tf.data | 50 | 25..50 | 1.00 |",
    ]
