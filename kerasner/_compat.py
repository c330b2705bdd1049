"""What differs between Keras 2.15 and Keras 3."""

import keras

KERAS_3 = not keras.__version__.startswith("2.")

# For `Layer.add_weight`: a variable that mixed precision reads as it is stored.
NO_AUTOCAST = {"autocast": False} if KERAS_3 else {"experimental_autocast": False}
