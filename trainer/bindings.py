"""The names that a gin file can use.

The only list of them. Everything here is plain Python that knows nothing of
gin; to make a new model, decoder or augmentation available, add its line.
"""

from input import augment, crops, decode, pipeline, sources
from models import resnet, simple_cnn
from trainer import (
    config,
    engines,
    losses,
    optimizers,
    recipe,
    schedules,
)

_NAMES = (
    ("trainer", "train", recipe.Recipe),
    ("trainer", "make_engine", engines.make_engine),
    ("input", "train_data", pipeline.TrainData),
    ("input", "eval_data", pipeline.EvalData),
    ("input", "test_data", pipeline.EvalData),
    ("input", "tfrecords", sources.TFRecords),
    ("input", "synthetic", sources.Synthetic),
    ("input", "as_stored", decode.AsStored),
    ("input", "random_resized_crop", crops.RandomResizedCrop),
    ("input", "resize_center_crop", crops.ResizeCenterCrop),
    ("input", "random_crop", augment.random_crop),
    ("input", "random_flip", augment.random_flip),
    ("input", "cutout", augment.cutout),
    ("models", "simple_cnn", simple_cnn.simple_cnn),
    ("models", "small_resnet", resnet.small_resnet),
    ("models", "resnet", resnet.resnet),
    ("trainer", "sgd", optimizers.sgd),
    ("trainer", "adam", optimizers.adam),
    ("trainer", "adamw", optimizers.adamw),
    ("trainer", "constant_schedule", schedules.constant_schedule),
    ("trainer", "cosine_schedule", schedules.cosine_schedule),
    ("trainer", "stepwise_schedule", schedules.stepwise_schedule),
    ("trainer", "softmax_cross_entropy", losses.softmax_cross_entropy),
)


def register() -> None:
    """Makes all names known to gin; to be called before parsing."""
    for module, name, function in _NAMES:
        config.register(function, name, module)
