"""Training, evaluation and reporting, the same on every engine."""

# First of all, so that TensorFlow starts quickly.
import input  # noqa: F401
