"""Models: plain functions from class count and image shape to a Keras model."""
