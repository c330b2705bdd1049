"""What differs between Keras 2.15 and Keras 3."""

from collections.abc import Sequence
from typing import Any

import keras

KERAS_3 = not keras.__version__.startswith("2.")

# For `Layer.add_weight`: a variable that mixed precision reads as it is stored.
NO_AUTOCAST = {"autocast": False} if KERAS_3 else {"experimental_autocast": False}


def check_backend() -> None:
    """Raises ImportError where Keras runs on another backend than TensorFlow."""
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ImportError(
            f"kerasner needs Keras on TensorFlow, but the backend is {backend!r}: "
            "set KERAS_BACKEND=tensorflow before Keras is imported"
        )


def scaled_loss(optimizer: Any, loss: Any) -> Any:
    """A loss as the optimizer wants it: larger where it scales losses for 16-bit gradients."""
    if KERAS_3:
        return optimizer.scale_loss(loss)
    return optimizer.get_scaled_loss(loss) if _scales_losses(optimizer) else loss


def count_loss(model: Any, loss: Any, sentences: Any) -> None:
    """Counts a loss in the mean that `fit` shows; Keras 2 did so when it was computed."""
    if KERAS_3:
        mean = next(metric for metric in model.metrics if metric.name == "loss")
        mean.update_state(loss, sample_weight=sentences)


def apply_scaled_gradients(optimizer: Any, gradients: Sequence[Any], variables: Any) -> None:
    """Takes a step along the gradients of a scaled loss."""
    if not KERAS_3 and _scales_losses(optimizer):
        gradients = optimizer.get_unscaled_gradients(gradients)
    optimizer.apply_gradients(zip(gradients, variables, strict=True))


def _scales_losses(optimizer: Any) -> bool:
    return isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer)
