"""Whoever loads a .keras file has one thing to import."""

from models import registered
from tests.conftest import REPO


def test_all_layers_of_ours_are_registered() -> None:
    imported = {module.__name__ for module in registered.MODULES}
    registering = {
        f"models.{path.stem}"
        for path in (REPO / "models").glob("*.py")
        if "@keras.saving.register_keras_serializable" in path.read_text()
    }
    assert imported == registering
