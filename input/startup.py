"""The first things a process does: a quick start, and a bound on its memory.

Keras imports scikit-learn, matplotlib and pandas wherever they are installed,
for wrappers and plots that nobody here uses, and the garbage collector goes
over a hundred thousand new functions again and again. Together that is half of
the processor time that a process spends before its first line, and each worker,
each restart and each command pays it.

glibc's malloc gives each thread an arena of its own, up to eight a core, and
keeps what is freed in each. Records are read in one thread and freed in
another, so that most of a training's memory would be free memory of arenas.
"""

import ctypes
import gc
import importlib
import os
import sys

_UNUSED = ("matplotlib", "pandas", "sklearn")
_M_ARENA_MAX = -8  # Of malloc.h.


def limit_arenas() -> None:
    """Gives malloc one arena a core; to be called before threads start.

    MALLOC_ARENA_MAX, where it is set, stays in force. Without glibc it does
    nothing.
    """
    if "MALLOC_ARENA_MAX" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, len(os.sched_getaffinity(0)))


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
