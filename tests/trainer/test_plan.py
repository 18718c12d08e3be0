"""The plan's numbers for programs."""

import json

import pytest

from tests.conftest import make_engine, make_recipe
from tests.trainer.test_main import call, tiny
from trainer import main, plan, session


def test_facts_of_a_known_network() -> None:
    bindings = ("train.model = @small_resnet", "small_resnet.depth = 20")
    parts = session.build(
        make_recipe(
            *bindings,
            "synthetic.image_shape = (32, 32, 3)",
            "synthetic.num_classes = 10",
            'train.precision = "mixed_bfloat16"',
        ),
        make_engine(2),
    )
    facts = plan.facts(parts)
    # tests/models/test_summary.py has the multiply-adds by hand.
    assert facts["flops_per_image_forward"] == 2 * 40_551_040
    assert facts["flops_per_image_step"] == 6 * 40_551_040
    assert facts["gradient_bytes"] == 4 * facts["parameters"]
    assert facts["parameters"] == pytest.approx(0.27e6, rel=0.02)
    assert facts["precision"] == "mixed_bfloat16"
    assert (facts["global_batch_size"], facts["replicas"]) == (16, 2)
    assert (facts["train_examples"], facts["total_steps"]) == (96, 20)
    assert facts["steps_per_epoch"] == 6.0
    assert facts["image_shape"] == [32, 32, 3]


def test_plan_file_holds_them(tmp_path, capsys) -> None:
    path = tmp_path / "plan.json"
    run = tiny(tmp_path / "never")
    assert call(main, "--dry_run", f"--plan_file={path}", *run) == 0
    assert "one step" in capsys.readouterr().out
    facts = json.loads(path.read_text())
    assert facts["global_batch_size"] == 16
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


@pytest.mark.parametrize("micro_batches", [3, 16])
def test_a_step_is_tried_in_micro_batches(micro_batches: int) -> None:
    recipe = make_recipe(
        "train.global_batch_size = 96",
        f"train.accumulate_steps = {micro_batches}",
    )
    text = plan.try_one_step(session.build(recipe, make_engine(2)))
    rows = {3: 6, 16: 16}[micro_batches]
    assert f"of {rows} rows a replica: loss" in text


def test_plan_file_needs_a_dry_run(tmp_path, capsys) -> None:
    assert call(main, "--plan_file=plan.json", *tiny(tmp_path)) == 2
    assert "--plan_file=plan.json needs --dry_run" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_plan_file_that_cannot_be_written(tmp_path, capsys) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "plan.json"
    run = tiny(tmp_path / "never")
    assert call(main, "--dry_run", f"--plan_file={path}", *run) == 2
    assert f"--plan_file={path} cannot be written" in capsys.readouterr().err
