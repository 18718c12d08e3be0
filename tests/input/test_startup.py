"""A process begins with TensorFlow and without what nobody uses."""

import json
import os
import platform
import subprocess
import sys

import pytest

from tests.conftest import REPO

SCRIPT = """
import gc, json, sys
import trainer.evaluate, trainer.main
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


# Each thread has something of malloc while all the others have.
ARENAS = """
import ctypes, threading
import trainer
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
together = threading.Barrier(40)
def allocate():
    libc.malloc(100_000)
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(40)]
for thread in threads: thread.start()
for thread in threads: thread.join()
file = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


def run(script: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPO,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="about glibc's malloc"
)
def test_malloc_has_one_arena_a_core() -> None:
    cores = len(os.sched_getaffinity(0))
    assert run(ARENAS).count("<heap nr=") <= cores
    own = run(ARENAS, MALLOC_ARENA_MAX=str(cores + 3))
    assert own.count("<heap nr=") == cores + 3


def test_what_is_imported() -> None:
    assert json.loads(run(SCRIPT)) == {
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
