"""A quick start: TensorFlow and Keras, imported in half the time.

Keras imports scikit-learn, matplotlib and pandas wherever they are installed,
for wrappers and plots that nobody here uses, and the garbage collector goes
over a hundred thousand new functions again and again. Together that is half of
the processor time that a process spends before its first line, and each worker,
each restart and each command pays it.
"""

import gc
import importlib
import os
import sys

_UNUSED = ("matplotlib", "pandas", "sklearn")


def import_tensorflow() -> None:
    """Imports TensorFlow with Keras; to be called before anything else does.

    What Keras did not find can be imported afterwards as usual. What has been
    imported counts as permanent for the garbage collector.
    """
    # Notices of C++ drown ours; errors still come through.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    hidden = [name for name in _UNUSED if name not in sys.modules]
    collecting = gc.isenabled()
    gc.disable()
    # None makes an import fail.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        importlib.import_module("tensorflow")
        importlib.import_module("keras")
    finally:
        for name in hidden:
            del sys.modules[name]
        gc.freeze()
        if collecting:
            gc.enable()
