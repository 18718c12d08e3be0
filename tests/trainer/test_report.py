"""The report: numbers, structure, escaping, and runs that broke off."""

import html.parser
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from sklearn import datasets

from trainer import report
from trainer.errors import ConfigError
from trainer.results import EvaluationResult, Mistake

_VOID = {"meta", "img", "br", "link", "input", "hr"}
FACTS = {
    "name": "digits-resnet",
    "lockstep_version": "0.1.0",
    "tensorflow": "2.21.0",
    "keras": "3.15.1",
    "python": "3.11.2",
    "git_commit": "9b1c2ad",
    "seed": 17,
    "engine": "mirrored",
    "num_replicas": 2,
    "precision": "float32",
    "global_batch_size": 64,
    "parameters": 272474,
    "train_examples": 1440,
    "started": 1763770000,
}


class Page(html.parser.HTMLParser):
    """Checks that tags nest, and collects what the tests ask for."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tables, self.text = [], [], ""
        self._open = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in _VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" in self._open:
            return
        self.text += data
        if "td" in self._open or "th" in self._open:
            self.tables[-1][-1][-1] += data.replace("\u202f", " ")

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def table(self, *first_header):
        """The rows of the table whose header begins so."""
        for rows in self.tables:
            if rows[0][: len(first_header)] == list(first_header):
                return rows
        raise AssertionError(f"no table {first_header}")


def logged(steps=200, restart_at=None):
    """The lines of a run that falls from 2.3, noisily."""
    rng = np.random.default_rng(0)
    lines = [{"kind": "run", "step": 0, "time": 1000.0}]
    time = 1000.0
    for step in range(2, steps + 1, 2):
        time += 0.5
        done = step / steps
        lines.append(
            {
                "kind": "train",
                "step": step,
                "time": time,
                "loss": 2.3 * 0.01**done * rng.uniform(0.7, 1.3),
                "top_1_accuracy": min(1.0, 0.1 + done),
                "learning_rate": 0.4 * (1 - done),
                "images_per_second": 3000.0,
                "input_wait_fraction": 0.031,
                "gradient_norm": rng.uniform(0.5, 2),
            }
        )
        if step % 50 == 0:
            lines.append(evaluated(step, time))
        if step == restart_at:
            time += 900
            lines.append({"kind": "run", "step": step, "time": time})
    return lines


def evaluated(step, time, split="test"):
    return {
        "kind": "eval",
        "split": split,
        "step": step,
        "time": time,
        "loss": 0.05,
        "top_1_accuracy": 0.95,
        "top_5_accuracy": 0.999,
        "examples": 360,
    }


def result_of(matrix, names=None, mistakes=()):
    names = names or tuple(str(i) for i in range(len(matrix)))
    return EvaluationResult(
        split="test",
        step=200,
        metrics={"loss": 0.0712, "top_5_accuracy": 1.0},
        class_names=tuple(names),
        confusion_matrix=np.asarray(matrix, np.int64),
        mistakes=tuple(mistakes),
    )


def digits_result():
    """356 of 360 digits right; two nines were taken for fours."""
    matrix = np.diag([36] * 10)
    for label, predicted, count in ((9, 4, 2), (1, 8, 1), (3, 5, 1)):
        matrix[label, label] -= count
        matrix[label, predicted] += count
    digits = datasets.load_digits()
    pictures = (digits.images * 15.9).astype(np.uint8)[..., None]
    mistakes = [
        Mistake(pictures[i], label, predicted, confidence, f"digits/{i}.png")
        for i, label, predicted, confidence in (
            (9, 9, 4, 0.98),
            (19, 9, 4, 0.91),
            (11, 1, 8, 0.7),
            (13, 3, 5, 0.5),
        )
    ]
    return result_of(matrix, mistakes=mistakes)


def write_run(folder, lines=(), facts=None, result=None, config=None, tail=""):
    if facts is not None:
        (folder / "run.json").write_text(json.dumps(facts))
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + tail)
    if config is not None:
        (folder / "operative_config.gin").write_text(config)
    if result is not None:
        result.save(str(folder / "evaluation" / f"{result.split}.npz"))


def page_of(folder):
    path = report.write_report(str(folder))
    assert path == str(folder / "report.html")
    with open(path, encoding="utf-8") as file:
        return Page(file.read())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A complete run with a restart."""
    folder = tmp_path_factory.mktemp("digits")
    counts = {"train": [144] * 10, "test": [36] * 10}
    write_run(
        folder,
        logged(restart_at=100),
        FACTS | {"label_counts": counts},
        digits_result(),
        "train.model = @small_resnet  # <depth> & 'width'\n",
    )
    return folder, page_of(folder)


def test_headline(whole):
    _, page = whole
    text = page.text.replace("\u202f", " ")
    headline = re.sub(r"\s+", " ", text[: text.index("Training\n")])
    for expected in (
        "digits-resnet",
        "Top-1 accuracy98.9 %",
        "356 of 360 test images, 95 % interval 97.2–99.6 %",
        "Loss0.0712",
        "Steps2008.9 epochs of 1,440 images, batch 64",
        "Training time50 s1 restart, pauses left out",
        "Images per second3,0003.1 % waiting for input",
        "Parameters272,474",
        "Enginemirrored2 replicas, float32",
    ):
        assert expected in headline


def test_curves_have_alternative_texts_and_restarts(whole):
    _, page = whole
    charts = [a for a in page.all("svg") if a.get("class") == "chart"]
    assert [a["aria-label"].split(" over")[0] for a in charts] == [
        "Loss",
        "Top-1 accuracy",
        "Learning rate",
        "Speed",
        "Gradient norm",
    ]
    assert all(a["role"] == "img" and a["viewbox"] for a in charts)
    assert "test from 95.0\u202f% to 95.0\u202f%" in charts[1]["aria-label"]
    assert "Restarted once (dashed line), at step 100." in page.text
    dashed = [a for a in page.all("path") if "dasharray" in a.get("style", "")]
    assert len(dashed) == 6  # one in each pair of axes; speed has two


def test_a_rollback_is_marked_and_told(tmp_path):
    lines = logged()
    back = {"kind": "rollback", "step": 150, "to_step": 100}
    lines.append(back | {"reason": "the loss is nan"})
    write_run(tmp_path, lines, FACTS)
    page = page_of(tmp_path)
    assert (
        "Rolled back from step 150 to 100 (dotted line): the loss is nan."
        in page.text
    )
    assert any("dasharray" in a.get("style", "") for a in page.all("path"))


def test_tables(whole):
    _, page = whole
    matrix = page.table("", "0", "1")
    assert matrix[10] == ["9", "", "", "", "", "2", "", "", "", "", "34"]
    assert page.table("True", "Predicted")[1:] == [
        ["9", "4", "2", "5.6 %"],
        ["1", "8", "1", "2.8 %"],
        ["3", "5", "1", "2.8 %"],
    ]
    scores = page.table("Class", "Examples", "Precision")
    assert scores[1] == [
        "9 (among the weakest)",
        *("36", "100.0 %", "94.4 %", "97.1 %"),
    ]
    assert scores[-1] == [
        "Mean of 10 classes",
        *("360", "98.9 %", "98.9 %", "98.9 %"),
    ]
    counts = page.table("Class", "train", "test")
    assert counts[1] == ["0", "144", "36"]
    assert counts[11:] == [
        ["All", "1,440", "360"],
        ["Smallest class", "144", "36"],
        ["Median", "144", "36"],
        ["Largest class", "144", "36"],
        ["Classes without any", "0", "0"],
    ]
    assert ["Git commit", "9b1c2ad"] in page.tables[-1]


def test_mistakes_are_pictures_with_captions(whole):
    _, page = whole
    pictures = page.all("img")
    assert [p["alt"] for p in pictures][:1] == ["9, taken for 4: digits/9.png"]
    assert len(pictures) == 4
    for picture in pictures:
        assert picture["src"].startswith("data:image/png;base64,iVBOR")
        assert picture["class"] == "pixelated"


def test_page_is_accessible_and_stands_alone(whole):
    folder, page = whole
    content = (folder / "report.html").read_text("utf-8")
    code = re.sub(r"data:image/png;base64,[\w+/=]+", "", content)
    assert not re.search(r"//\w|@import|<script|<link", code)
    for attributes in (a for _, a in page.tags):
        for key in ("src", "href", "xlink:href"):
            assert attributes.get(key, "#").startswith(("#", "data:image/png"))
    assert all("scope" in a for a in page.all("th"))
    assert all(a.get("alt") for a in page.all("img"))
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    used = re.findall(r"url\(#(\w+)\)", content)
    assert used and set(used) <= set(ids)
    variables = set(re.findall(r"var\(--(\w+)\)", content))
    assert all(f"--{name}:" in content for name in variables)
    assert "prefers-color-scheme: dark" in content


def test_config_is_shown_as_it_is(whole):
    _, page = whole
    assert "train.model = @small_resnet  # <depth> & 'width'" in page.text
    assert page.all("details")


def test_same_run_gives_the_same_bytes(whole):
    folder, _ = whole
    before = (folder / "report.html").read_bytes()
    report.write_report(str(folder))
    assert (folder / "report.html").read_bytes() == before
    assert not [name for name in os.listdir(folder) if "tmp" in name]


def test_names_are_escaped(tmp_path):
    evil = "<script>alert('x')</script>"
    long = "pneumono" * 30
    picture = np.zeros((8, 8, 3), np.uint8)
    write_run(
        tmp_path,
        logged(20),
        FACTS | {"name": evil, "label_counts": {evil: [3, 4]}},
        result_of(
            [[3, 1], [0, 0]],
            [evil, f'"猫 {long}'],
            [Mistake(picture, 0, 1, 0.9, 'a"><img onerror=x>\udcff.png')],
        ),
        evil,
        json.dumps(evaluated(20, 1.0, evil)),
    )
    page = page_of(tmp_path)
    assert not page.all("script") and not page.all("i")
    assert len(page.all("img")) == 1
    assert page.text.count(evil) >= 8
    assert f'"猫 {long}' in page.text


def test_without_anything(tmp_path):
    page = page_of(tmp_path)
    assert "No step was logged." in page.text
    assert "no evaluation of this run yet" in page.text
    for name in ("run.json", "metrics.jsonl", "operative_config.gin"):
        assert f"{name} is missing" in page.text


def test_crash_after_ten_steps(tmp_path):
    write_run(
        tmp_path, logged(10), {"name": "crash"}, tail='{"kind": "train", "st'
    )
    page = page_of(tmp_path)
    assert "metrics.jsonl: damaged line 7" in page.text
    assert "not evaluated yet" in page.text
    assert "train from" in page.all("svg")[0]["aria-label"]


@pytest.mark.parametrize("content", ["", '{"name": "x', "[1, 2]"])
def test_damaged_run_json(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    assert "run.json" in page_of(tmp_path).text


def test_damaged_evaluation_falls_back_to_the_log(tmp_path):
    write_run(tmp_path, logged(50), FACTS)
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "test.npz").write_bytes(b"PK\3\4half")
    page = page_of(tmp_path)
    assert "test.npz is not a readable evaluation result" in page.text
    row = page.table("Split", "Step")[1]
    assert row[:5] == ["test", "50", "360", "95.0 %", "92.2–96.8 %"]


def test_losses_that_are_not_finite_are_announced(tmp_path):
    lines = logged(20)
    lines[3]["loss"] = float("nan")
    lines[4]["loss"] = None
    lines[5]["gradient_norm"] = float("inf")
    write_run(tmp_path, lines, FACTS)
    text = page_of(tmp_path).text
    assert "loss of training is not finite at 2 logged steps, first at" in text
    assert "gradient norm of training is not finite at 1 logged step," in text


@pytest.mark.parametrize("classes", [1, 2, 13, 20, 21, 60, 200, 201, 1000])
def test_any_number_of_classes(tmp_path, classes):
    rng = np.random.default_rng(0)
    matrix = np.diag(rng.integers(20, 50, classes))
    matrix[0] = 0  # one class without examples
    matrix += (
        rng.integers(0, 2, matrix.shape) * (np.arange(classes) > 0)[:, None]
    )
    picture = rng.integers(0, 255, (300, 200, 3), np.uint8)
    mistakes = [Mistake(picture, classes - 1, 0, 0.9, "x.jpg")] * 30
    names = [f"class {i} собака" for i in range(classes)]
    counts = {"train": [1300] * classes, "test": [50] * classes}
    facts = FACTS | {"class_names": names, "label_counts": counts}
    write_run(tmp_path, logged(), facts, result_of(matrix, names, mistakes))
    page = page_of(tmp_path)
    assert os.path.getsize(tmp_path / "report.html") < 3e6
    assert len(page.all("img")) == 24
    assert "no examples" in page.text
    classes_seen = [a.get("class", "") for _, a in page.tags]
    assert any("matrix" in c for c in classes_seen) == (classes <= 20)
    assert ("heat" in classes_seen) == (20 < classes <= 200)
    assert all(name in page.text for name in names)


def test_missing_folder_is_a_config_error():
    with pytest.raises(ConfigError, match="'/nowhere'.*no such folder"):
        report.write_report("/nowhere")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--model_dir=/nowhere"], 2, "no such folder"),
        (["--model_dir={}"], 0, "report.html"),
    ],
)
def test_binary(tmp_path, arguments, code, said):
    done = subprocess.run(
        [sys.executable, "-m", "trainer.report"]
        + [argument.format(tmp_path) for argument in arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert said in (done.stderr if code else done.stdout)
    assert "Traceback" not in done.stderr
