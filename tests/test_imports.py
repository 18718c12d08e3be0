"""Data flows one way, and so do imports (see docs/architecture.md)."""

import ast
import pathlib

import pytest

from tests.conftest import REPO

OURS = {"input", "models", "trainer", "launch", "benchmarks"}
ALLOWED = {
    "input": {"input"},
    "models": {"models"},
    "trainer": {"input", "models", "trainer"},
    "launch": {"launch"},
    "benchmarks": {"benchmarks", "input", "launch", "models", "trainer"},
}
# A binary whose name the design fixes: recipes are read in `trainer`.
ALSO = {"input/preview.py": {"trainer"}}
GIN_ONLY_IN = {"trainer/config.py"}
FILES = sorted(path for name in OURS for path in (REPO / name).rglob("*.py"))


def imported(path: pathlib.Path) -> set[str]:
    """All modules that a file imports, as dotted names."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(REPO)))
def test_imports_go_one_way(path: pathlib.Path) -> None:
    relative = path.relative_to(REPO)
    roots = {name.split(".")[0] for name in imported(path)}
    allowed = ALLOWED[relative.parts[0]] | ALSO.get(str(relative), set())
    assert roots & OURS <= allowed
    if str(relative) not in GIN_ONLY_IN:
        assert "gin" not in roots


def test_nobody_imports_a_binary_that_knows_more() -> None:
    names = {name.replace("/", ".").removesuffix(".py") for name in ALSO}
    for path in FILES:
        assert not imported(path) & names, path


def test_the_loop_does_not_know_its_actions() -> None:
    names = imported(REPO / "trainer" / "loop.py")
    ours = {n for n in names if n.startswith("trainer")}
    assert ours == {
        "trainer.engine",
        "trainer.state",
        "trainer.statistics",
        "trainer.step",
    }


def test_gin_folder_is_no_package() -> None:
    assert not list((REPO / "gin").rglob("*.py"))
