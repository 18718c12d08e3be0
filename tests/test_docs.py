"""Every command that the documentation shows is run here, or by CI itself."""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import REPO

DOCUMENTS = [
    "README.md",
    *sorted(f"docs/{path.name}" for path in (REPO / "docs").glob("*.md")),
]
# Set-up and what CI runs: `make train` has a test of its own below.
BY_CI = ("make ", ".venv/bin/pre-commit", "apt-get")


def commands(document: str) -> list[str]:
    """The commands in the code blocks of a document, one string each."""
    text = (REPO / document).read_text()
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S)
    shown = [block for language, block in blocks if language in ("", "sh")]
    joined = "\n".join(shown).replace("\\\n", " ")
    return [
        line.split("  #")[0].strip()
        for line in joined.splitlines()
        if re.match(r"(python|make|apt-get|\.venv)\b", line)
    ]


def run(arguments: list[str], cwd: pathlib.Path) -> str:
    answer = subprocess.run(
        arguments,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPO)},
    )
    assert answer.returncode == 0, f"{arguments}\n{answer.stdout[-3000:]}"
    return answer.stdout


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> pathlib.Path:
    """A folder with the data that the documents speak of."""
    place = tmp_path_factory.mktemp("docs")
    rng = np.random.default_rng(0)
    for name, low in (("cat", 0), ("dog", 120)):
        (place / "PHOTOS" / name).mkdir(parents=True)
        for i in range(40):
            shape = rng.integers(130, 160, 2)
            pixels = rng.integers(low, low + 130, (*shape, 3)).astype(np.uint8)
            (place / "PHOTOS" / name / f"{i}.jpg").write_bytes(
                tf.io.encode_jpeg(pixels).numpy()
            )
    run(
        [sys.executable, "-m", "input.convert"]
        + ["--source=digits", "--output=data/digits"],
        place,
    )
    return place


def test_readme_commands_work(workplace: pathlib.Path) -> None:
    shown = [c for c in commands("README.md") if not c.startswith(BY_CI)]
    assert len(shown) >= 7
    for command in shown:
        arguments = shlex.split(command)
        if "trainer.main" in command and "--dry_run" not in command:
            # The commands are what is tested, not the training.
            arguments += ["--gin_param=train.duration='3 steps'"]
        elif "trainer.export" in command:
            # tests/trainer/test_export_docs.py has the default ones.
            arguments += ["--formats=tflite_float32"]
        elif "trainer.evaluate" in command:
            arguments += ["--gin_param=train.duration='3 steps'"]
        python = {"python": sys.executable}
        run([python.get(a, a) for a in arguments], workplace)
    for name in ("photos", "digits", "two", "small", "workers", "horovod"):
        assert (workplace / "runs" / name / "report.html").exists()


def test_pretrained_commands_work(workplace: pathlib.Path) -> None:
    convert, train = commands("docs/pretrained.md")
    python = {"python": sys.executable}
    run([python.get(a, a) for a in shlex.split(convert)], workplace)
    arguments = [python.get(a, a) for a in shlex.split(train)]
    quick = ["SIZE=32", "train.duration='3 steps'"]
    said = run([*arguments, *(f"--gin_param={q}" for q in quick)], workplace)
    assert "the features of 64 pictures, 1280 each, are computed once" in said
    assert (workplace / "runs" / "features" / "report.html").exists()


@pytest.mark.long
def test_fine_tuning_commands_work(workplace: pathlib.Path, tmp_path) -> None:
    """On pictures of 32 pixels, a step in each phase."""
    (tmp_path / "PHOTOS").symlink_to(workplace / "PHOTOS")
    shown = commands("docs/fine_tuning.md")
    assert len(shown) == 3
    for command in shown:
        arguments = [sys.executable, *shlex.split(command)[1:]]
        if "--model_dir" in command:
            arguments += ["--gin_param=SIZE=32"] + [
                "--gin_param=train.duration='2 steps'",
                "--gin_param=head/phase.duration='1 step'",
            ]
        run(arguments, tmp_path)
    metrics = (tmp_path / "runs" / "fine_tune" / "metrics.jsonl").read_text()
    assert '"phase": 2' in metrics


@pytest.mark.parametrize("recipe", sorted((REPO / "gin").glob("*.gin")))
def test_every_recipe_plans(recipe: pathlib.Path, workplace) -> None:
    """Synthetic data in place of what is not here."""
    output = run(
        [sys.executable, "-m", "trainer.main", "--dry_run"]
        + [f"--gin_file={recipe}", "--gin_param=SOURCE=@synthetic()"]
        + [
            '--gin_param=synthetic.examples={"train":64,"validation":8,"test":8}'
        ],
        workplace,
    )
    assert "one step" in output


def test_make_train_reaches_98_percent(tmp_path: pathlib.Path) -> None:
    environment = pathlib.Path(sys.prefix)
    if not (environment / "installed").exists():
        pytest.skip("not in the environment that `make setup` makes")
    output = run(
        ["make", "--no-print-directory", "train", f"VENV={environment}"]
        + [f"DATA_DIR={tmp_path}/data", f"MODEL_DIR={tmp_path}/run"],
        REPO,
    )
    last = output.splitlines()[-1]
    accuracy = float(re.search(r"top-1 accuracy ([\d.]+) % on test", last)[1])
    assert accuracy >= 98.0
    assert f"report: {tmp_path}/run/report.html" in last
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


def test_documents_name_files_that_exist() -> None:
    for document in DOCUMENTS:
        text = (REPO / document).read_text()
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            if "://" not in link:
                target = (REPO / document).parent / link
                assert target.exists(), f"{document}: {link}"
