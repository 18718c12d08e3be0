"""How a pipeline of tf.data uses the cores: all of them, from the start.

tf.data tunes itself in a thread for each iterator, which sleeps for up to a
minute between two looks and is not woken to end: whoever lets go of an iterator
in the meantime, as a process that has finished does, waits for it.
"""

import tensorflow as tf

# tf.data takes no more than there are cores.
_ALL_CORES = 1024


def options() -> tf.data.Options:
    """Returns options for a whole pipeline, whose order is fixed.

    What is `tf.data.AUTOTUNE` in it is then the number of cores, where it runs.
    """
    chosen = tf.data.Options()
    chosen.deterministic = True
    chosen.autotune.enabled = False
    chosen.autotune.initial_parallelism = _ALL_CORES
    return chosen
