from benchmarks import cases
from benchmarks import fine_tuning_contenders as fine_tuning


def test_both_contenders_take_steps() -> None:
    found = fine_tuning.measure(cases.CASES["smoke"], ["head"], 1, rounds=2)
    ((ours, theirs),) = found.values()
    assert len(ours) == len(theirs) == 2
    assert min(*ours, *theirs) > 0


def test_table() -> None:
    seconds = {"all": ([0.2, 0.2], [0.3, 0.4]), "head": ([0.1], [0.1])}
    assert fine_tuning.describe(seconds, batch=10).splitlines()[2:] == [
        '| `"all"` | 200.0 | 50.0 | 1.00 | 28.6 | 1.75 | 1.50..2.00 |',
        '| `"head"` | 100.0 | 100.0 | 2.00 | 100.0 | 1.00 | 1.00..1.00 |',
    ]
