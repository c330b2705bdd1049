"""What differs between Keras 2.15 and Keras 3."""

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
