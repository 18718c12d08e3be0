"""A process begins with TensorFlow and without what nobody uses."""

import json
import subprocess
import sys

from tests.conftest import REPO

SCRIPT = """
import gc, json, sys
import trainer
found = {name: name in sys.modules for name in
         ("tensorflow", "keras", "sklearn", "matplotlib", "pandas")}
from sklearn import datasets
from matplotlib import pyplot
import keras
print(json.dumps(found | {
    "later": [datasets.__name__, pyplot.__name__],
    "collecting": gc.isenabled(),
    "permanent": gc.get_freeze_count() > 100_000,
    "layers": [len(keras.Sequential([keras.layers.Dense(2)]).layers)],
}))
"""


def test_what_is_imported() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "tensorflow": True,
        "keras": True,
        "sklearn": False,
        "matplotlib": False,
        "pandas": False,
        "later": ["sklearn.datasets", "matplotlib.pyplot"],
        "collecting": True,
        "permanent": True,
        "layers": [1],
    }
