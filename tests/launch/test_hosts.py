"""Slurm's notation; also against scontrol, where there is one."""

import re
import subprocess

import pytest

from launch import hosts

LISTS = {
    "node1": ["node1"],
    "a,b": ["a", "b"],
    "gpu[1-3]": ["gpu1", "gpu2", "gpu3"],
    "gpu[08-10]": ["gpu08", "gpu09", "gpu10"],
    "gpu[098-101,7]": ["gpu098", "gpu099", "gpu100", "gpu101", "gpu7"],
    "gpu[1,3-4],login,cpu[2]": ["gpu1", "gpu3", "gpu4", "login", "cpu2"],
    "r[0-1]n[1-2]": ["r0n1", "r0n2", "r1n1", "r1n2"],
    "n[1-2]-ib": ["n1-ib", "n2-ib"],
    "run-[0-1].run": ["run-0.run", "run-1.run"],
    "n[0-0]": ["n0"],
    "10.0.0.1,10.0.0.2": ["10.0.0.1", "10.0.0.2"],
}
# Not in Slurm's notation: text after the last bracket.
GOES_ON = re.compile(r"\][^,\[]+(,|$)")


@pytest.mark.parametrize("text", LISTS)
def test_expand(text: str) -> None:
    assert hosts.expand(text) == LISTS[text]


@pytest.mark.parametrize("text", [t for t in LISTS if not GOES_ON.search(t)])
def test_expand_agrees_with_slurm(text: str, slurm) -> None:
    answer = subprocess.run(
        ["scontrol", "show", "hostnames", text],
        capture_output=True,
        text=True,
        check=True,
        env=slurm,
    )
    assert answer.stdout.split() == hosts.expand(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("a,,b", "empty"),
        ("a[1-2", "without its '\\]'"),
        ("a]1", "without its '\\['"),
        ("a[x]", "no number"),
        ("a[]", "no number"),
        ("a[3-1]", "ends before it begins"),
    ],
)
def test_expand_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hosts.expand(text)


@pytest.mark.parametrize(
    ("text", "counts"),
    [("1", [1]), ("2,1", [2, 1]), ("4(x3),1", [4, 4, 4, 1]), ("8(x1)", [8])],
)
def test_tasks_per_node(text: str, counts: list[int]) -> None:
    assert hosts.tasks_per_node(text) == counts


@pytest.mark.parametrize("text", ["", "0", "2,", "2(x0)", "2(3)", "two"])
def test_tasks_per_node_says_what_is_wrong(text: str) -> None:
    with pytest.raises(ValueError, match="not a list of tasks per node"):
        hosts.tasks_per_node(text)
