"""Support vector machines as a Keras layer: what scikit-learn has fitted, in TensorFlow's ops."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

KERNELS = ("rbf", "linear")


@keras.saving.register_keras_serializable("kerasner")
class SupportVectorMachines(keras.layers.Layer):
    """Binary support vector machines that share their support vectors.

    A machine's margin is `sum_s coefficients[s] * kernel(vectors[s], x) + intercept`, above 0 on
    the side of its class. What the layer puts out is `scale * margin + offset`: with the values of
    Platt's method, the log-odds of the class. The weights are set, not trained.

    Args:
        machines: number of machines, M.
        vectors: number of support vectors, S. Of no account in "linear", where each machine is one
            vector of weights.
        kernel: "rbf", exp(-gamma |s - x|^2), or "linear".
        gamma: of "rbf"; None: 1 / D.
        **kwargs: Passed to `keras.layers.Layer`.

    Call arguments:
        inputs: float32 tensor [..., D].

    Returns:
        A float32 tensor [..., M].

    Example:

    ```python
    layer = SupportVectorMachines(machines=1, vectors=2, gamma=0.5)
    layer.build((None, 3))
    layer.set(vectors=np.eye(3)[:2], coefficients=[[1.0], [-1.0]], intercepts=[0.0])
    layer([[1.0, 0.0, 0.0]])  # above 0: the first vector is of the class
    ```

    References:
        - Cortes, Vapnik (1995): Support-vector networks.
        - Platt (1999): Probabilistic outputs for support vector machines.
    """

    def __init__(
        self,
        machines: int,
        vectors: int = 0,
        kernel: str = "rbf",
        gamma: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"trainable": False, "dtype": "float32", **kwargs})
        if kernel not in KERNELS:
            raise ValueError(f"Received kernel={kernel!r}; expected one of {KERNELS}")
        self.machines = machines
        self.n_vectors = vectors
        self.kernel = kernel
        self.gamma = gamma

    def build(self, input_shape: Any) -> None:
        width = input_shape[-1]
        self.rate = 1.0 / width if self.gamma is None else self.gamma
        rows = width if self.kernel == "linear" else self.n_vectors
        if self.kernel == "rbf":
            self.vectors = self._weight("vectors", (rows, width))
        self.coefficients = self._weight("coefficients", (rows, self.machines))
        self.intercepts = self._weight("intercepts", (self.machines,))
        self.scale = self._weight("scale", (self.machines,))
        self.offset = self._weight("offset", (self.machines,))
        self.built = True

    def _weight(self, name: str, shape: tuple[int, ...]) -> Any:
        return self.add_weight(name=name, shape=shape, initializer="zeros", trainable=False)

    def set(self, **weights: np.ndarray) -> None:
        """Sets weights of the built layer by their names; `vectors` [S, D], `coefficients` [S, M]
        ([D, M] in "linear"), `intercepts`, `scale` and `offset` [M]."""
        for name, value in weights.items():
            getattr(self, name).assign(np.asarray(value, np.float32))

    def margins(self, inputs: tf.Tensor) -> tf.Tensor:
        """Features [..., D] -> the machines' decision functions [..., M]."""
        inputs = tf.convert_to_tensor(inputs, tf.float32)
        rows = tf.reshape(inputs, [-1, inputs.shape[-1]])
        if self.kernel == "rbf":
            vectors = tf.convert_to_tensor(self.vectors)
            squares = tf.reduce_sum(rows**2, -1)[:, None] + tf.reduce_sum(vectors**2, -1)
            distances = squares - 2.0 * tf.matmul(rows, vectors, transpose_b=True)
            rows = tf.exp(-self.rate * tf.maximum(distances, 0.0))
        margins = tf.matmul(rows, tf.convert_to_tensor(self.coefficients)) + self.intercepts
        return tf.reshape(margins, tf.concat([tf.shape(inputs)[:-1], [self.machines]], 0))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.scale * self.margins(inputs) + self.offset

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.machines)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "machines": self.machines,
            "vectors": self.n_vectors,
            "kernel": self.kernel,
            "gamma": self.gamma,
        }
