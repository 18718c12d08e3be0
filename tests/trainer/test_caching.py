"""Training on splits that are held in memory."""

import json
import pathlib

from tests.trainer.test_main import call, tiny
from trainer import main

ALWAYS = ("train.deterministic=True", "train.log_every='5 steps'")
POLICIES = (
    'train_data.cache = "decoded"',
    'eval_data.cache = "encoded"',
)


def train(model_dir: pathlib.Path, *bindings: str) -> int:
    """Trains in this process and returns the exit code."""
    return call(main, *tiny(model_dir, *ALWAYS, *bindings))


def losses(model_dir: pathlib.Path) -> list[tuple[str, int, float]]:
    text = (model_dir / "metrics.jsonl").read_text()
    found = [json.loads(line) for line in text.splitlines()]
    return [(e["kind"], e["step"], e["loss"]) for e in found if "loss" in e]


def test_a_cache_changes_nothing(tmp_path: pathlib.Path) -> None:
    assert train(tmp_path / "plain") == 0
    assert train(tmp_path / "held", *POLICIES) == 0
    assert losses(tmp_path / "held") == losses(tmp_path / "plain") != []
    # A run may go on with another one.
    assert train(tmp_path / "plain", *POLICIES) == 0


def test_what_does_not_fit_ends_the_run_at_once(
    tmp_path: pathlib.Path, capsys
) -> None:
    assert train(tmp_path, *POLICIES, "train_data.cache_bytes=1000") == 2
    said = capsys.readouterr().err
    assert (
        "cache=\"decoded\" of split 'train' takes 19,968 bytes for 96" in said
    )
    assert "the most it may take (cache_bytes)" in said
    assert not (tmp_path / "run.json").exists()
