import numpy as np
import pytest
import tensorflow as tf

from input import augment, mixing
from tests.conftest import make_engine, make_recipe
from trainer import class_weights, errors, losses, objective, session

CROSS_ENTROPY = losses.softmax_cross_entropy()
RNG = np.random.default_rng(0)
LOGITS = tf.constant(RNG.normal(size=[4, 3]), tf.float32)


def rows(count: int) -> augment.Rows:
    return augment.Rows(tf.constant([0, 1]), tf.constant(0), count, count)


def test_a_mixed_example_has_mixed_labels() -> None:
    goal = objective.Objective(loss=CROSS_ENTROPY, mixing=mixing.mixup())
    share = tf.constant([0.25, 1.0, 0.5, 0.0])
    targets = objective.Targets(
        tf.constant([0, 1, 2, 0]), tf.constant([2, 0, 1, 1]), share
    )
    own = share[:, None] * tf.one_hot(targets.labels, 3)
    soft = own + (1 - share[:, None]) * tf.one_hot(targets.partners, 3)
    expected = tf.nn.softmax_cross_entropy_with_logits(soft, LOGITS)
    np.testing.assert_allclose(goal(targets, LOGITS), expected, rtol=1e-5)
    assert targets.dominant.numpy().tolist() == [2, 1, 2, 1]


def test_a_threshold_sees_the_mixed_labels() -> None:
    """A part of both above the threshold is all of both."""
    loss = losses.binary_cross_entropy(target_threshold=0.2)
    share = tf.constant([0.7, 0.9, 0.5, 0.1])
    targets = objective.Targets(
        tf.constant([0, 1, 2, 0]), tf.constant([2, 0, 2, 1]), share
    )
    hard = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1], [0, 1, 0]], np.float32)
    goal = objective.Objective(loss=loss, mixing=mixing.mixup())
    expected = tf.nn.sigmoid_cross_entropy_with_logits(hard, LOGITS)
    expected = tf.reduce_mean(expected, axis=1)
    np.testing.assert_allclose(goal(targets, LOGITS), expected, rtol=1e-5)
    weighed = objective.Objective(
        loss=loss, mixing=mixing.mixup(), class_weights=[0.0, 2.0, 4.0]
    )
    np.testing.assert_allclose(
        weighed(targets, LOGITS), expected * [1.2, 1.8, 4.0, 1.8], rtol=1e-5
    )


def test_examples_of_several_classes_are_mixed_too() -> None:
    several = tf.constant([[1.0, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    loss = losses.binary_cross_entropy()
    goal = objective.Objective(loss=loss, mixing=mixing.mixup(1.0))
    images = tf.constant(RNG.uniform(size=[4, 2, 2, 1]), tf.float32)
    _, targets = goal.mix(images, several, tf.ones([4]), rows(4))
    share = targets.share[:, None]
    assert (share.numpy() < 1).any()
    soft = share * several + (1 - share) * targets.partners
    expected = tf.nn.sigmoid_cross_entropy_with_logits(soft, LOGITS)
    np.testing.assert_allclose(
        goal(targets, LOGITS), tf.reduce_mean(expected, axis=1), rtol=1e-5
    )
    dominant = np.where(share >= 0.5, several, targets.partners)
    np.testing.assert_array_equal(targets.dominant, dominant)


def test_class_weights_are_for_examples_of_one_class() -> None:
    goal = objective.Objective(
        loss=losses.binary_cross_entropy(), class_weights=[1.0, 1.0, 1.0]
    )
    several = tf.ones([4, 3])
    with pytest.raises(ValueError, match="train.class_weights weighs"):
        goal(objective.Targets(several, several, tf.ones([4])), LOGITS)


def test_padding_is_mixed_into_nobody() -> None:
    goal = objective.Objective(loss=CROSS_ENTROPY, mixing=mixing.mixup(1.0))
    images = tf.constant(RNG.uniform(size=[4, 2, 2, 1]), tf.float32)
    mask = tf.constant([1.0, 0.0, 1.0, 1.0])
    mixed, targets = goal.mix(images, tf.constant([0, 0, 1, 2]), mask, rows(4))
    np.testing.assert_array_equal(mixed[0], images[0])
    assert targets.share[0] == 1
    assert (np.abs(mixed[2:] - images[2:]) > 0).all()


def test_without_mixing_all_stays() -> None:
    goal = objective.Objective(loss=CROSS_ENTROPY)
    images = tf.zeros([3, 2, 2, 1])
    labels = tf.constant([2, 0, 1])
    same, targets = goal.mix(images, labels, tf.ones([3]), rows(3))
    assert same is images
    np.testing.assert_array_equal(
        goal(targets, LOGITS[:3]), CROSS_ENTROPY(labels, LOGITS[:3])
    )


def test_classes_are_weighed() -> None:
    goal = objective.Objective(
        loss=CROSS_ENTROPY, class_weights=[0.5, 2.0, 0.0]
    )
    labels = tf.constant([0, 1, 2, 1])
    targets = objective.Targets(labels, labels, tf.ones([4]))
    plain = CROSS_ENTROPY(labels, LOGITS)
    np.testing.assert_allclose(
        goal(targets, LOGITS), plain * [0.5, 2.0, 0.0, 2.0], rtol=1e-6
    )


def test_balanced_weights_give_each_class_the_same_say() -> None:
    counts = [900, 90, 10]
    weights = class_weights.balanced_weights()(counts)
    np.testing.assert_allclose(
        np.multiply(weights, counts), [1000 / 3] * 3, rtol=1e-6
    )


def test_effective_numbers() -> None:
    """The figures of beta = 0.9: 1 - 0.9 ** n, of n = 1 and 2."""
    weights = class_weights.effective_number_weights(0.9)([1, 2])
    assert weights[0] / weights[1] == pytest.approx(0.19 / 0.1)
    # The mean over the examples is 1.
    assert (weights[0] + 2 * weights[1]) / 3 == pytest.approx(1)


@pytest.mark.parametrize("beta", [0.0, 0.999999])
def test_effective_numbers_at_both_ends(beta: float) -> None:
    counts = [500, 20]
    weights = class_weights.effective_number_weights(beta)(counts)
    expected = class_weights.balanced_weights()(counts) if beta else [1, 1]
    np.testing.assert_allclose(weights, expected, rtol=1e-3)


def test_focal_loss() -> None:
    labels = tf.constant([0, 1, 2, 1])
    np.testing.assert_allclose(
        losses.focal_loss(0.0)(labels, LOGITS),
        CROSS_ENTROPY(labels, LOGITS),
        rtol=1e-5,
    )
    # A softmax of 3/4 and 1/4.
    logits = tf.math.log(tf.constant([[3.0, 1.0]]))
    found = losses.focal_loss(2.0)(tf.constant([0]), logits)
    assert float(found[0]) == pytest.approx(0.25**2 * -np.log(0.75))


def test_focal_loss_has_a_gradient_where_all_is_right() -> None:
    logits = tf.constant([[100.0, -100.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = losses.focal_loss(0.5)(tf.constant([0]), logits)
    assert np.isfinite(tape.gradient(value, logits)).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.focal_loss(-1.0), "gamma=-1.0 must be at least 0"),
        (
            lambda: class_weights.effective_number_weights(1.0),
            r"beta=1.0 must be in \[0, 1\)",
        ),
    ],
)
def test_values_out_of_range(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


MIXED = ("train.mixing = @mixup_or_cutmix()", "train_data.copies = 2")


def test_an_example_without_a_partner() -> None:
    recipe = make_recipe(*MIXED, "train.global_batch_size = 12")
    with pytest.raises(errors.ConfigError, match="be a multiple of 4.*of 8."):
        session.build(recipe, make_engine(2))


def test_training_learns_from_mixed_weighted_examples() -> None:
    recipe = make_recipe(
        "train.mixing = @mixup()",
        "train.loss = @focal_loss()",
        "train.class_weights = @balanced_weights()",
        "train_data.resample = @oversample()",
        "train.num_classes = 6",
    )
    take_steps = session.build(recipe, make_engine(2)).take_steps(0)
    first = take_steps(5)
    for _ in range(8):
        last = take_steps(5)
    assert last["loss"] < 0.7 * first["loss"]
    assert last["correct"] > first["correct"]


def test_refuses_an_augmentation_that_does_not_fit_the_images() -> None:
    recipe = make_recipe(
        "train.augment = [@random_flip(), @random_hue()]",
        "synthetic.image_shape = (8, 8, 1)",
    )
    message = r"train.augment does not fit images of \(8, 8, 1\): .*in colour"
    with pytest.raises(errors.ConfigError, match=message):
        session.build(recipe, make_engine(1))
