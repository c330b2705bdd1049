"""What differs between Keras 2.15 and Keras 3."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

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
    """A loss, multiplied by the optimizer's loss scale if it has one."""
    if KERAS_3:
        return optimizer.scale_loss(loss)
    return optimizer.get_scaled_loss(loss) if _scales_losses(optimizer) else loss


def mean_loss(model: Any) -> Any:
    """The metric of the mean loss that `fit` shows, None before it is there."""
    return next((metric for metric in model.metrics if metric.name == "loss"), None)


def count_loss(model: Any, loss: Any, sentences: Any) -> None:
    """Counts a loss in the mean that `fit` shows; Keras 2 did so when it was computed."""
    if KERAS_3:
        replicas = tf.distribute.get_strategy().num_replicas_in_sync  # whose losses are summed
        mean_loss(model).update_state(loss * replicas, sample_weight=sentences)


@contextlib.contextmanager
def uncounted_losses(model: Any) -> Iterator[None]:
    """Losses that are computed meanwhile are not counted in the mean that `fit` shows."""
    if KERAS_3:
        yield
        return
    counts = [variable for metric in model.compiled_loss.metrics for variable in metric.variables]
    before = [tf.identity(variable) for variable in counts]
    yield
    for variable, value in zip(counts, before, strict=True):
        variable.assign(value)


def apply_scaled_gradients(optimizer: Any, gradients: Sequence[Any], variables: Any) -> None:
    """Takes a step along the gradients of a scaled loss."""
    if not KERAS_3 and _scales_losses(optimizer):
        gradients = optimizer.get_unscaled_gradients(gradients)
    optimizer.apply_gradients(zip(gradients, variables, strict=True))


def _scales_losses(optimizer: Any) -> bool:
    return isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer)
