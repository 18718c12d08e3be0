"""The names that a gin file can use.

The only list of them. Everything here is plain Python that knows nothing of
gin; to make a new model, decoder or augmentation available, add its line.
"""

from input import (
    augment,
    colour,
    crops,
    decode,
    erasing,
    eval_pipeline,
    geometry,
    imagenet_records,
    mixing,
    pipeline,
    policies,
    sampling,
    sources,
    tfds_directory,
)
from models import resnet, simple_cnn
from trainer import (
    class_weights,
    config,
    engines,
    losses,
    optimizers,
    recipe,
    schedules,
    scoring,
)

_NAMES = (
    ("trainer", "train", recipe.Recipe),
    ("trainer", "make_engine", engines.make_engine),
    ("trainer", "metrics", scoring.Scoring),
    ("input", "train_data", pipeline.TrainData),
    ("input", "eval_data", eval_pipeline.EvalData),
    ("input", "test_data", eval_pipeline.EvalData),
    ("input", "tfrecords", sources.TFRecords),
    ("input", "oversample", sampling.oversample),
    ("input", "undersample", sampling.undersample),
    ("input", "imagenet_records", imagenet_records.ImagenetRecords),
    ("input", "tfds", tfds_directory.TfdsDirectory),
    ("input", "synthetic", sources.Synthetic),
    ("input", "as_stored", decode.AsStored),
    ("input", "random_resized_crop", crops.RandomResizedCrop),
    ("input", "resize_center_crop", crops.ResizeCenterCrop),
    ("input", "random_crop", augment.random_crop),
    ("input", "random_flip", augment.random_flip),
    ("input", "cutout", augment.cutout),
    ("input", "mixup", mixing.mixup),
    ("input", "cutmix", mixing.cutmix),
    ("input", "mixup_or_cutmix", mixing.mixup_or_cutmix),
    ("input", "random_vertical_flip", augment.random_vertical_flip),
    ("input", "random_shift", geometry.random_shift),
    ("input", "random_rotation", geometry.random_rotation),
    ("input", "random_zoom", geometry.random_zoom),
    ("input", "random_shear", geometry.random_shear),
    ("input", "random_brightness", colour.random_brightness),
    ("input", "random_contrast", colour.random_contrast),
    ("input", "random_saturation", colour.random_saturation),
    ("input", "random_hue", colour.random_hue),
    ("input", "random_grey", colour.random_grey),
    ("input", "random_invert", colour.random_invert),
    ("input", "random_posterise", colour.random_posterise),
    ("input", "random_solarise", colour.random_solarise),
    ("input", "random_auto_contrast", colour.random_auto_contrast),
    ("input", "random_equalise", colour.random_equalise),
    ("input", "random_sharpness", colour.random_sharpness),
    ("input", "random_erasing", erasing.random_erasing),
    ("input", "rand_augment", policies.rand_augment),
    ("input", "trivial_augment", policies.trivial_augment),
    ("input", "auto_augment", policies.auto_augment),
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
    ("trainer", "focal_loss", losses.focal_loss),
    ("trainer", "balanced_weights", class_weights.balanced_weights),
    (
        "trainer",
        "effective_number_weights",
        class_weights.effective_number_weights,
    ),
)


def register() -> None:
    """Makes all names known to gin; to be called before parsing."""
    for module, name, function in _NAMES:
        config.register(function, name, module)
