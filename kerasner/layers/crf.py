"""A linear-chain CRF as an ordinary Keras layer."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kerasner import linear_chain, schemes
from kerasner.layers._alignment import left_align, lengths_of, restore

_CONSTRAINTS = ("decoding", "always", "never")


class Potentials(NamedTuple):
    """What a `CRF` layer puts out.

    Attributes:
        emissions: float32 [B, T, N], boundary potentials included.
        mask: bool [B, T].
        transitions: float32 [N, N]; `transitions[i, j]`: tag j follows tag i.
    """

    emissions: tf.Tensor
    mask: tf.Tensor
    transitions: tf.Tensor

    def log_likelihood(self, tags: tf.Tensor) -> tf.Tensor:
        """Log-probability of the tags int [B, T], any at masked steps -> float32 [B]."""
        n_tags = self.emissions.shape[-1]
        known = ~self.mask | ((tags >= 0) & (tags < n_tags))
        tf.debugging.Assert(
            tf.reduce_all(known), [f"Expected tag ids from 0 to {n_tags - 1}; received", tags]
        )
        _, emissions, tags = left_align(self.mask, self.emissions, tags)
        return linear_chain.log_likelihood(
            emissions, lengths_of(self.mask), self.transitions, tags
        )

    def decode(self) -> tf.Tensor:
        """Most probable tags (Viterbi) -> int32 [B, T], 0 at masked steps."""
        order, emissions = left_align(self.mask, self.emissions)
        tags, _ = linear_chain.viterbi(emissions, lengths_of(self.mask), self.transitions)
        return restore(order, tags)

    def marginals(self) -> tf.Tensor:
        """Posterior probability of each tag -> float32 [B, T, N], zeros at masked steps."""
        order, emissions = left_align(self.mask, self.emissions)
        return restore(
            order, linear_chain.marginals(emissions, lengths_of(self.mask), self.transitions)
        )


def unpack(packed: tf.Tensor) -> Potentials:
    """Reads the output of a `CRF` layer, float32 [B, N + T, N + 1].

    The first N rows of each sample are the transitions, the others its steps: N emissions and,
    in the last column, the mask.
    """
    n_tags = packed.shape[-1] - 1
    # One sample's copy carries the gradient of all; a sum keeps an empty batch legal.
    transitions = tf.reduce_sum(packed[:1, :n_tags, :n_tags], axis=0)
    return Potentials(packed[:, n_tags:, :n_tags], packed[:, n_tags:, n_tags] > 0.5, transitions)


@keras.saving.register_keras_serializable("kerasner")
class CRF(keras.layers.Layer):
    """Linear-chain conditional random field on top of a sequence of features.

    The layer puts out one tensor that holds everything its loss, its metric and its decoder need,
    so that a model which ends in it works with the stock `compile` and `fit`:

    - train with `kerasner.losses.CRFLoss`, measure with `kerasner.metrics.EntityF1`;
    - `unpack(outputs)` gives emissions, mask and transitions, and from them `.decode()`,
      `.marginals()` and `.log_likelihood(tags)`.

    The mask is part of the output; no Keras mask leaves the layer. Losses are a value a sentence,
    so a sample weight is one number a sentence.

    Args:
        units: number of tags N; may be left out where `tags` is given.
        tags: names of the tags in the order of their ids. Needed for constraints.
        scheme: "bio", "iob1" or "bioes".
        constraints: "decoding": sequences that the scheme forbids have probability zero outside
            training; "always": in training too; "never". Without `tags` there are none.
        use_kernel: project the inputs to N emissions; else the inputs are the emissions.
        use_boundary: learn potentials for the first and the last tag.
        chain_initializer, chain_regularizer, chain_constraint: of the transitions.
        boundary_initializer, boundary_regularizer, boundary_constraint: of the boundaries.
        kernel_initializer, kernel_regularizer, kernel_constraint: of the projection.
        use_bias, bias_initializer, bias_regularizer, bias_constraint: of its bias.

    Call arguments:
        inputs: float [B, T, D].
        mask: bool [B, T] or None; padding may be left, right or inside.
        training: Python bool or None.

    Returns:
        float32 [B, N + T, N + 1], whatever the dtype policy; read it with `unpack`.

    Example:

    ```python
    words = keras.Input([None], dtype="int32")
    x = keras.layers.Embedding(1000, 50, mask_zero=True)(words)
    x = kerasner.layers.LSTM(64, bidirectional=True)(x)
    model = keras.Model(words, kerasner.layers.CRF(tags=["O", "B-PER", "I-PER"])(x))
    model.compile("adam", kerasner.losses.CRFLoss())
    ```

    References:
        Lafferty, McCallum, Pereira (2001): Conditional random fields.
    """

    def __init__(
        self,
        units: int | None = None,
        tags: list[str] | None = None,
        scheme: str = "bio",
        constraints: str = "decoding",
        use_kernel: bool = True,
        use_boundary: bool = True,
        chain_initializer="glorot_uniform",
        chain_regularizer=None,
        chain_constraint=None,
        boundary_initializer="zeros",
        boundary_regularizer=None,
        boundary_constraint=None,
        kernel_initializer="glorot_uniform",
        kernel_regularizer=None,
        kernel_constraint=None,
        use_bias: bool = True,
        bias_initializer="zeros",
        bias_regularizer=None,
        bias_constraint=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if units is None and not tags:
            raise ValueError("CRF needs `units`, the number of tags, or `tags`, their names")
        if tags and units not in (None, len(tags)):
            raise ValueError(f"Received units={units} and {len(tags)} tags: {tags}")
        if constraints not in _CONSTRAINTS:
            raise ValueError(f"Received constraints={constraints!r}; expected {_CONSTRAINTS}")
        self.units = len(tags) if units is None else int(units)
        if self.units < 1:
            raise ValueError(f"Received units={units}; expected at least 1")
        self.tags = list(tags) if tags else None
        self.scheme = scheme
        self.constraints = constraints
        self.use_kernel = use_kernel
        self.use_boundary = use_boundary
        self.use_bias = use_bias
        self._settings = {}
        for name, initializer, regularizer, constraint in (
            ("chain", chain_initializer, chain_regularizer, chain_constraint),
            ("boundary", boundary_initializer, boundary_regularizer, boundary_constraint),
            ("kernel", kernel_initializer, kernel_regularizer, kernel_constraint),
            ("bias", bias_initializer, bias_regularizer, bias_constraint),
        ):
            self._settings[name] = {
                "initializer": keras.initializers.get(initializer),
                "regularizer": keras.regularizers.get(regularizer),
                "constraint": keras.constraints.get(constraint),
            }
        self.supports_masking = True
        self._legality = schemes.legality(self.tags, scheme) if self.tags else None

    def build(self, input_shape):
        width = input_shape[-1]
        if len(input_shape) != 3 or width is None:
            raise ValueError(f"CRF takes inputs [B, T, D] of known D; received {input_shape}")
        if not self.use_kernel and width != self.units:
            raise ValueError(
                f"Without a kernel the inputs are the emissions: expected {self.units} columns, "
                f"received {width}"
            )
        if self.use_kernel:
            self.kernel = self._weight("kernel", (width, self.units), "kernel")
            if self.use_bias:
                self.bias = self._weight("bias", (self.units,), "bias")
        self.transitions = self._weight("transitions", (self.units, self.units), "chain")
        if self.use_boundary:
            self.left_boundary = self._weight("left_boundary", (self.units,), "boundary")
            self.right_boundary = self._weight("right_boundary", (self.units,), "boundary")
        self.built = True

    def _weight(self, name: str, shape: tuple[int, ...], kind: str):
        return self.add_weight(name=name, shape=shape, **self._settings[kind])

    def call(self, inputs, mask=None, training=None):
        emissions = inputs
        if self.use_kernel:
            emissions = tf.matmul(inputs, tf.cast(self.kernel, inputs.dtype))
            if self.use_bias:
                emissions += tf.cast(self.bias, inputs.dtype)
        emissions = tf.cast(emissions, tf.float32)
        batch, steps = tf.shape(emissions)[0], tf.shape(emissions)[1]
        if mask is None:
            mask = tf.ones([batch, steps], tf.bool)
        mask = tf.cast(mask, tf.bool)
        transitions, left, right = self._chain(training)
        counts = tf.cast(mask, tf.int32)
        is_first = mask & (tf.cumsum(counts, axis=1) == 1)
        is_last = mask & (tf.cumsum(counts, axis=1, reverse=True) == 1)
        emissions += tf.where(is_first[..., None], left, 0.0)
        emissions += tf.where(is_last[..., None], right, 0.0)

        steps_packed = tf.concat([emissions, tf.cast(mask, tf.float32)[..., None]], -1)
        chain_packed = tf.pad(transitions, [[0, 0], [0, 1]])[None]
        packed = tf.concat([tf.repeat(chain_packed, batch, axis=0), steps_packed], axis=1)
        return tf.ensure_shape(packed, [None, None, self.units + 1])

    def _chain(self, training) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Transitions [N, N] and boundaries [N], [N], float32, constraints applied."""
        transitions = tf.cast(self.transitions, tf.float32)
        left = right = tf.zeros([self.units])
        if self.use_boundary:
            left = tf.cast(self.left_boundary, tf.float32)
            right = tf.cast(self.right_boundary, tf.float32)
        constrained = self.constraints == "always" or (
            self.constraints == "decoding" and not training
        )
        if self._legality is None or not constrained:
            return transitions, left, right
        chain = zip(self._legality, (left, right, transitions), strict=True)
        left, right, transitions = (
            tf.where(np.asarray(allowed), potentials, linear_chain.FORBIDDEN)
            for allowed, potentials in chain
        )
        return transitions, left, right

    def compute_mask(self, inputs, mask=None):
        return None

    def compute_output_shape(self, input_shape):
        steps = input_shape[1]
        return (
            input_shape[0],
            None if steps is None else steps + self.units,
            self.units + 1,
        )

    def compute_output_spec(self, inputs, mask=None, training=None):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype="float32")

    def get_config(self):
        settings = {}
        for kind, setting in self._settings.items():
            settings[f"{kind}_initializer"] = keras.initializers.serialize(setting["initializer"])
            settings[f"{kind}_regularizer"] = keras.regularizers.serialize(setting["regularizer"])
            settings[f"{kind}_constraint"] = keras.constraints.serialize(setting["constraint"])
        return {
            **super().get_config(),
            "units": self.units,
            "tags": self.tags,
            "scheme": self.scheme,
            "constraints": self.constraints,
            "use_kernel": self.use_kernel,
            "use_boundary": self.use_boundary,
            "use_bias": self.use_bias,
            **settings,
        }
