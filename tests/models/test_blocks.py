import keras
import pytest

from models import blocks, resnet, simple_cnn

SMALL = {"weights": None, "input_shape": (64, 64, 3)}


def names(model: keras.Model) -> list[str]:
    return [block.name for block in blocks.blocks(model)]


def test_our_models_have_the_blocks_that_their_papers_draw() -> None:
    assert names(resnet.small_resnet(10, (16, 16, 3), depth=14)) == [
        "stem",
        *(f"stage{i}_block{j}" for i in (1, 2, 3) for j in (1, 2)),
        "head",
    ]
    assert len(names(resnet.resnet(10, (64, 64, 3), depth=50))) == 16 + 2
    assert names(simple_cnn.simple_cnn(10, (8, 8, 3), filters=(4, 8))) == [
        "conv1",
        "conv2",
        "dense",
        "head",
    ]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            keras.applications.EfficientNetB0,
            # Table 1 of the paper: 1 + 2 + 2 + 3 + 3 + 4 + 1 blocks.
            ["stem"]
            + [
                f"block{stage + 1}{'abcd'[i]}"
                for stage, count in enumerate((1, 2, 2, 3, 3, 4, 1))
                for i in range(count)
            ]
            + ["top_conv", "head"],
        ),
        (
            keras.applications.MobileNetV3Small,
            ["conv", "expanded_conv"]
            + [f"expanded_conv_{i}" for i in range(1, 11)]
            + ["conv_1", "conv_2", "head"],
        ),
        (
            keras.applications.VGG16,
            [f"block{i}" for i in range(1, 6)] + ["fc1", "fc2", "head"],
        ),
    ],
    ids=["efficientnet", "mobilenet", "vgg"],
)
def test_keras_applications(make, expected: list[str]) -> None:
    assert names(make(classes=3, **SMALL)) == expected


def test_every_layer_is_in_one_block_and_in_order() -> None:
    model = resnet.small_resnet(10, (16, 16, 3), depth=8)
    found = [x for block in blocks.blocks(model) for x in block.layers]
    assert [x.name for x in found] == [x.name for x in model.layers]


def unnamed(x: keras.KerasTensor) -> keras.KerasTensor:
    """A block of two branches whose names say nothing."""
    one = keras.layers.Conv2D(4, 1)(x)
    other = keras.layers.Conv2D(4, 3, padding="same")(x)
    other = keras.layers.BatchNormalization()(other)
    return keras.layers.Add()([one, other])


def test_blocks_are_found_without_names() -> None:
    image = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(2.0)(image)
    x = keras.layers.Conv2D(4, 3, name="first")(x)
    x = keras.layers.ReLU()(x)
    x = unnamed(unnamed(x))
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    x = keras.layers.Dropout(0.5, name="head_dropout")(x)
    model = keras.Model(image, keras.layers.Dense(2, name="logits")(x))
    found = blocks.blocks(model)
    assert [len(block.layers) for block in found] == [4, 4, 5, 2]
    assert found[0].name == "first"
    assert found[-2].layers[-1].name == "mean"
    assert [x.name for x in found[-1].layers] == ["head_dropout", "logits"]


def test_a_head_is_what_is_called_so() -> None:
    image = keras.Input((4,))
    x = keras.layers.Dense(3, name="body")(image)
    x = keras.layers.Dense(3, name="head_hidden")(x)
    model = keras.Model(image, keras.layers.Dense(2, name="logits")(x))
    assert [len(block.layers) for block in blocks.blocks(model)] == [2, 2]


def test_a_model_inside_a_model_is_one_block_of_its_leaves() -> None:
    body = keras.Sequential(
        [keras.layers.Conv2D(2, 1, name="a"), keras.layers.ReLU(name="b")],
        name="body",
    )
    image = keras.Input((4, 4, 3), name="image")
    x = keras.layers.Flatten(name="flat")(body(image))
    model = keras.Model(image, keras.layers.Dense(2, name="logits")(x))
    first, head = blocks.blocks(model)
    assert [x.name for x in first.layers] == ["image", "a", "b", "flat"]
    assert [x.name for x in head.layers] == ["logits"]


def test_a_sequential_model_is_a_chain() -> None:
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, name="one"),
            keras.layers.Dense(2, name="two"),
        ]
    )
    assert names(model) == ["one", "head"]


def test_refuses_what_has_no_blocks() -> None:
    class Own(keras.Model):
        pass

    with pytest.raises(ValueError, match="'own' is not functional"):
        blocks.blocks(Own(name="own"))
    image = keras.Input((4,))
    plain = keras.Model(image, keras.layers.ReLU()(image), name="plain")
    with pytest.raises(ValueError, match="'plain' has no layer with a kernel"):
        blocks.blocks(plain)
