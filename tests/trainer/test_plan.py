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


PHASES = (
    "train.global_batch_size = 32",
    "train.phases = [@head/phase(), @fine/phase()]",
    # Twelve times as long in the batches of eight that a CPU tries.
    'head/phase.duration = "5 epochs"',
    'head/phase.trainable = "head"',
    "head/phase.optimizer = @lars()",
    "lars.learning_rate = @head/constant_schedule()",
    "head/constant_schedule.value = 7.0",
    'fine/phase.trainable = "last 2 blocks"',
    "fine/phase.freeze_batch_norm = True",
)


def test_phases_are_shown_before_they_cost_anything() -> None:
    parts = session.build(make_recipe(*PHASES), make_engine(1))
    text = plan.describe(parts)
    # A dense layer of 8 inputs and 4 outputs; of a second one of 2 * 2 * 8
    # inputs and 8 outputs, and 3 x 3 convolutions of 3, 4 and 8 channels.
    head, dense, convolution = 36, 264, 296
    learn, all_of_them = head + dense + convolution, 708
    assert (
        f"phase 1     steps 0 to 15: trainable 'head'; {head} of "
        f"{all_of_them} parameters learn" in text
    )
    assert (
        "phase 2     steps 15 to 20: trainable 'last 2 blocks', batch norm "
        f"frozen; {learn} of {all_of_them} parameters learn" in text
    )
    rates = [line.split() for line in text.splitlines()[-12:]]
    assert ["14", "7"] in rates and ["15", "0.05"] in rates
    assert plan.facts(parts)["gradient_bytes"] == 4 * learn
    assert "of 8 rows a replica: loss" in plan.try_one_step(parts)


def test_a_run_without_phases_says_nothing_of_them() -> None:
    parts = session.build(make_recipe(), make_engine(1))
    assert "phase" not in plan.describe(parts)


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
