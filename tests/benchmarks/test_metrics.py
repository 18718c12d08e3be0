import re

from absl import flags

from benchmarks import metrics


def test_says_how_long_it_takes(capsys) -> None:
    flags.FLAGS(["metrics", "--examples=60", "--classes=3", "--peer_classes=2"])
    metrics.main(["metrics"])
    said = capsys.readouterr().out
    assert "60 examples, 3 classes" in said
    assert re.search(r"all metrics, 1,000 resamples +\d+\.\d\d s", said)
    assert re.search(r"AUC and AP of 2 classes, scikit-learn +\d", said)
    assert re.search(r"ratio, scikit-learn / ours +\d", said)
