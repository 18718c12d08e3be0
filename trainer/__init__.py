"""Training, evaluation and reporting, the same on every engine."""

import os

# TensorFlow's C++ start-up notices drown ours; errors still come through.
# To be set before TensorFlow is first imported, hence here.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
