"""An ONNX file, by tf2onnx: `images`, uint8 [n, H, W, C] to `probabilities`."""

import logging

from trainer import artefact_info, constants, errors, inference

# What onnxruntime has run since 2022 and tf2onnx writes in full.
_OPSET = 17


def write(classifier: inference.Classifier, path: str) -> None:
    """Writes an .onnx file.

    Raises:
        errors.ConfigError: The network has an operation that tf2onnx lacks.
    """
    import onnx
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.WARNING)
    function = constants.function(classifier, None)
    try:
        model, _ = tf2onnx.convert.from_function(
            function, function.input_signature, opset=_OPSET
        )
    except Exception as error:  # Of many kinds.
        raise errors.ConfigError(
            "--formats=onnx: the network cannot be converted: "
            f"{errors.reason(error)}. Leave this format out."
        ) from error
    onnx.helper.set_model_props(
        model, {artefact_info.FILE_NAME: classifier.info.to_json().decode()}
    )
    onnx.save(model, path)
