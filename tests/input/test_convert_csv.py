"""Tests of input/convert_csv.py and input/manifest.py."""

import os

import pytest

from input import convert_csv, dataset
from input.convert_sources import Picture
from input.errors import DataError
from tests.input.conftest import (
    image_bytes,
    make_folder,
    read_records,
    run_convert,
)

NAMES = [f"{i}.png" for i in range(6)]


@pytest.fixture
def root(tmp_path):
    """A folder with 0.png to 5.png and a folder `deep` with 6.png."""
    return make_folder(tmp_path / "in", [*NAMES, "deep/6.png"])


def read(root, text, **options):
    data = text if isinstance(text, bytes) else text.encode()
    return convert_csv.read_csv("list.csv", data, str(root), **options)


def labels(source):
    """Labels by split and name."""
    return {
        split: {picture.name: picture.label for picture in pictures}
        for split, pictures in source.splits.items()
    }


CAT_DOG = {"train": {"0.png": 0, "1.png": 1}}


@pytest.mark.parametrize(
    "text",
    [
        "path,label\n0.png,cat\n1.png,dog\n",
        "path,label\n0.png,cat\n1.png,dog",  # no end of the last line
        "\ufeffpath,label\n0.png,cat\n1.png,dog\n",  # byte order mark
        "path,label\r\n0.png,cat\r\n1.png,dog\r\n",
        "path,label\r0.png,cat\r1.png,dog\r",
        "path;label\n0.png;cat\n1.png;dog\n",
        "path\tlabel\n0.png\tcat\n1.png\tdog\n",
        "sep=;\r\npath;label\r\n0.png;cat\r\n1.png;dog\r\n",
        "label,path\ncat,0.png\ndog,1.png\n",
        "Path , LABEL\n0.png , cat\n 1.png,dog \n",
        'path,label\n"0.png","cat"\n"1.png","dog"\n',
        "id,path,note,label\n7,0.png,x,cat\n8,1.png,y,dog\n",
        'path,note,label\n0.png,"two\nlines, and commas",cat\n1.png,,dog\n',
        "path,label\n\n./0.png,cat\n,\ndeep/../1.png,dog\n\n",
    ],
)
def test_ways_to_write_the_same(root, text):
    source = read(root, text)
    assert labels(source) == CAT_DOG
    assert source.class_names == ("cat", "dog")
    assert source.default_split == "train:0.8,validation:0.1,test:0.1"


def test_pictures(root):
    source = read(root, "path,label\n0.png,a\ndeep/6.png,b\n")
    size = (root / "deep" / "6.png").stat().st_size
    picture = source.splits["train"][1]
    assert picture == Picture("deep/6.png", 1, size, str(root))
    assert picture.read() == (root / "deep" / "6.png").read_bytes()


def test_names_with_commas_quotes_newlines_and_umlauts(root):
    names = ["a,b.png", 'say "hi".png', "two\nlines.png", "Käse.png"]
    for seed, name in enumerate(names):
        (root / name).write_bytes(image_bytes("x.png", seed))
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    lines = [f"{name},{'xy'[i % 2]}" for i, name in enumerate(quoted)]
    source = read(root, "\n".join(["path,label", *lines]))
    assert labels(source) == {"train": {n: i % 2 for i, n in enumerate(names)}}


def test_absolute_paths_and_other_names_of_the_root(root, tmp_path):
    os.symlink(root, tmp_path / "link")
    text = (
        f"path,label\n{root.parent}/./{root.name}/0.png,cat\n"
        f"{tmp_path}/link/1.png,dog\n"
        "gs://bucket/pictures/2.png,dog\n"
    )
    aliases = (f"{tmp_path}/link", "gs://bucket/pictures")
    source = read(root, text, aliases=aliases)
    assert labels(source)["train"] == {"0.png": 0, "1.png": 1, "2.png": 1}


def test_lines_are_counted_from_what_excel_adds(root):
    with pytest.raises(DataError, match="line 3: nowhere.png: not found"):
        read(root, "sep=,\npath,label\nnowhere.png,cat\n")


def test_splits(root):
    text = (
        "path,label,split\n0.png,b,train\n1.png,a,Train\n2.png,a,val\n"
        "3.png,b,valid\n4.png,a,validation\n5.png,b,test\n"
    )
    source = read(root, text)
    assert labels(source) == {
        "train": {"0.png": 1, "1.png": 0},
        "validation": {"2.png": 0, "3.png": 1, "4.png": 0},
        "test": {"5.png": 1},
    }
    assert list(source.splits) == ["train", "validation", "test"]
    assert source.default_split == ""


INTEGERS = "path,label\n0.png,2\n1.png,0\n2.png,10\n"


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("path,label\n0.png,1\n1.png,0\n", (), ("0", "1")),
        ("path,label\n0.png,1\n1.png,0\n", ("cat", "dog"), ("cat", "dog")),
        ("path,label\n0.png,1\n1.png,0\n", tuple("abc"), tuple("abc")),
        ("path,label\n0.png,b\n1.png,a\n", ("b", "a"), ("b", "a")),
        # Not all are integers: names, sorted as text.
        ("path,label\n0.png,10\n1.png,9\n2.png,x\n", (), ("10", "9", "x")),
    ],
)
def test_class_names(root, text, names, expected):
    source = read(root, text, class_names=names)
    assert source.class_names == expected
    first = text.splitlines()[1].split(",")[1]
    label = source.splits["train"][0].label
    assert (label == int(first)) if first == "1" else expected[label] == first


@pytest.mark.parametrize(
    ("labels", "warnings"),
    [
        (["cat", "dog"], []),
        (["0", "1"], []),
        (
            ["cat", "Cat", "dog", "CAT "],
            ["list.csv: 'CAT', 'Cat', 'cat' are different classes. If they"],
        ),
        (
            ["caf\u00e9", "cafe\u0301"],
            [r"list.csv: 'cafe\u0301', 'caf\xe9' are different classes."],
        ),
        (
            ["0", "1", "cat"],
            ["list.csv: the labels 0, 1 are taken as names, because not all"],
        ),
        (
            ["0.0", "1.0"],
            ["list.csv: the labels 0.0, 1.0 are taken as names, because not"],
        ),
    ],
)
def test_doubtful_class_names(root, caplog, labels, warnings):
    lines = [f"{i}.png,{label}\n" for i, label in enumerate(labels)]
    read(root, "path,label\n" + "".join(lines))
    assert len(caplog.messages) == len(warnings)
    for message, begin in zip(caplog.messages, warnings, strict=True):
        assert message.startswith(begin)


@pytest.mark.parametrize(
    ("text", "names", "message"),
    [
        (INTEGERS, (), "0 .. 10 there is no 1, 3, 4, 5, 6, 7, 8, 9. Number"),
        ("path,label\n0.png,1\n1.png,2\n", (), "0 .. 2 there is no 0."),
        (INTEGERS, tuple("abc"), "line 4: label 10 has no name: --class_names"),
        ("path,label\n0.png,-1\n1.png,0\n", (), "line 2: label -1 is below 0"),
        (
            "path,label\n0.png,a\n1.png,x\n",
            ("a", "b"),
            "line 3: label 'x' is not among --class_names",
        ),
        ("path,label\n0.png,a\n1.png,a\n", (), r"found 1 class\(es\) \(a\)"),
        ("path,label\n", (), "names no images below its first line"),
        ("path,label,split\n0.png,a,test\n", (), "has the splits test but no"),
        (
            "path,label,split\n0.png,a,train\n1.png,b,train\n2.png,c,test\n",
            (),
            "the split 'test' has classes that are missing in train: c",
        ),
        ("", (), "line 1 has the columns none, but must name"),
        ("0.png,cat\n", (), "line 1 has the columns 0.png, cat, but must"),
        ("path|label\n0.png|cat\n", (), r"line 1 has the columns path\|label,"),
        ("file;label\n", (), "line 1 has the columns file, label, but must"),
        ("path,label,label\n", (), "line 1 has the column 'label' twice"),
        (b"\xff\xfep\0", (), "list.csv is UTF-16. Save it as UTF-8."),
        (
            b"path,label\n0.png,cat\n1.png,K\xe4tzchen\n",
            (),
            "1 line.s. that are not UTF-8:\n  line 3: b'1.png,K.xe4tzchen'",
        ),
    ],
)
def test_manifests_that_are_wrong(root, text, names, message):
    with pytest.raises(DataError, match=message):
        read(root, text, class_names=names)


def test_all_bad_lines_are_listed_with_their_numbers(root, tmp_path):
    (tmp_path / "outside.png").touch()
    text = (
        "path,label,split\n"
        "0.png,cat,train\n"
        "1.png,cat\n"
        '"2.png",cat,train,"more\nlines"\n'
        "2.png,,train\n"
        ",dog,train\n"
        "absent.png,dog,train\n"
        "deep\\6.png,dog,train\n"
        "deep/../0.png,dog,train\n"
        "../outside.png,dog,train\n"
        "/outside.png,dog,train\n"
        "gs://other/0.png,dog,train\n"
        "deep,dog,train\n"
        "3.png,dog,holdout\n"
        "4.png,,\n"
    )
    with pytest.raises(DataError) as e:
        read(root, text)
    assert str(e.value).splitlines() == [
        "list.csv has 14 bad line(s):",
        "  line 3: 2 columns instead of 3 (path, label, split)",
        "  line 4: 4 columns instead of 3 (path, label, split)",
        "  line 6: the label is empty",
        "  line 7: the path is empty",
        "  line 8: absent.png: not found",
        "  line 9: deep\\6.png: not found; write / in place of \\ between "
        "folders",
        "  line 10: 0.png is there twice, first in line 2",
        f"  line 11: ../outside.png is outside of {root}",
        f"  line 12: /outside.png is outside of {root}",
        f"  line 13: gs://other/0.png is outside of {root}",
        "  line 14: deep is not a file",
        "  line 15: split='holdout' is not one of train, validation, val, "
        "valid, test",
        "  line 16: split='' is not one of train, validation, val, valid, test",
        "  line 16: the label is empty",
        f"Correct or delete them. Paths are relative to {root}; --root=FOLDER "
        "gives another folder.",
    ]


def test_of_many_bad_lines_the_first(root):
    lines = [f"x{i}.png,cat" for i in range(1000)]
    with pytest.raises(DataError) as e:
        read(root, "\n".join(["path,label", *lines]))
    shown = str(e.value).splitlines()
    assert shown[0] == "list.csv has 1,000 bad line(s):"
    assert shown[20:22] == ["  line 21: x19.png: not found", "  and 980 more"]


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ('"2.png,dog\n3.png,cat\n', "line 4: unexpected end of data; what fol"),
        ('"2.png"x,dog\n', "line 4: ',' expected after '\"'; what follows"),
        ("2.png\0,dog\n", "line 4: "),
    ],
)
def test_broken_quotes(root, end, message):
    with pytest.raises(DataError) as e:
        read(root, "path,label\n0.png,cat\n1.png,dog\n" + end)
    assert message in str(e.value)


def run(*flags):
    return run_convert("--source=csv", *flags)


def test_from_beginning_to_end(root, tmp_path, capsys):
    manifest = root / "list.csv"
    lines = [f"{name},{'ab'[i % 2]}" for i, name in enumerate(NAMES)]
    manifest.write_text("\n".join(["path,label", *lines]))
    # An output beside the pictures is no harm: it is not in the list.
    output = root / "out"
    flags = (f"--input={manifest}", f"--output={output}")
    assert run(*flags, "--split=train:0.5,test:0.5") == 0
    records = read_records(output)
    assert sorted(records) == NAMES
    for name, (_, label, data) in records.items():
        assert label == int(name[0]) % 2
        assert data == (root / name).read_bytes()
    info = dataset.load(str(output))
    assert info.class_names == ("a", "b")
    assert {sum(counts) for counts in info.label_counts.values()} == {3}
    assert "--gin_file=gin/folder.gin" in capsys.readouterr().out


def test_root_and_class_names(root, tmp_path):
    manifest = tmp_path / "elsewhere" / "list.csv"
    manifest.parent.mkdir()
    lines = [f"{name},{i % 2}" for i, name in enumerate(NAMES)]
    manifest.write_text("\n".join(["path,label", *lines]))
    flags = (f"--input={manifest}", f"--output={tmp_path}/out")
    flags += ("--split=train:1",)
    assert run(*flags) == 3
    assert run(*flags, f"--root={root}", "--class_names=dog,cat") == 0
    assert dataset.load(f"{tmp_path}/out").class_names == ("dog", "cat")


def test_what_is_no_image_is_named(root, tmp_path, capsys):
    (root / "text.jpg").write_text("no image")
    (root / "list.csv").write_text("path,label\n0.png,a\ntext.jpg,b\n1.png,b\n")
    flags = (f"--input={root}/list.csv", f"--output={tmp_path}/out")
    assert run(*flags, "--split=train:1") == 3
    assert (
        "text.jpg: not an image, begins with 6e 6f" in capsys.readouterr().err
    )


@pytest.mark.parametrize("label", ["300000000", "9" * 5000])
def test_a_label_that_is_too_large(root, label):
    """Nothing is made for each number below it."""
    with pytest.raises(DataError, match=r"line 3: label \d{9} is too large"):
        read(root, f"path,label\n0.png,0\n1.png,{label}\n")
