"""What may stand between the features of tokens and their tags, besides the LSTM.

Each layer takes inputs [B, T, D] with a mask bool [B, T] that may have gaps anywhere, and gives
zeros at masked steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from kerasner.layers._alignment import left_align, lengths_of, restore


class _SentenceLayer(keras.layers.Layer):
    """What the layers of this file share: [B, T, D] -> [B, T, F], a function of each sentence."""

    width: int

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return mask

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (*input_shape[:2], self.width)

    def compute_output_spec(self, inputs: Any, mask: Any = None, training: bool | None = None):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)

    def _by_sentence(
        self,
        function: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
        inputs: tf.Tensor,
        mask: tf.Tensor | None,
    ) -> tf.Tensor:
        """Calls a function of sentences padded at their end, which need not mind what it puts out
        for padding, and which gets at least one row and one step."""
        shape = inputs.shape
        batch, steps = tf.shape(inputs)[0], tf.shape(inputs)[1]
        mask = tf.ones([batch, steps], tf.bool) if mask is None else tf.cast(mask, tf.bool)
        extra = [[0, tf.maximum(1 - batch, 0)], [0, tf.maximum(1 - steps, 0)]]
        inputs, mask = tf.pad(inputs, [*extra, [0, 0]]), tf.pad(mask, extra)
        order, aligned = left_align(mask, inputs)
        aligned_mask = tf.sequence_mask(lengths_of(mask), tf.shape(mask)[1])
        outputs = restore(order, function(aligned, aligned_mask))
        outputs = tf.where(mask[..., None], outputs, tf.zeros([], outputs.dtype))
        return tf.ensure_shape(outputs[:batch, :steps], [*shape[:2], self.width])


@keras.saving.register_keras_serializable("kerasner")
class BidirectionalGRU(_SentenceLayer):
    """Gated recurrent units over the sentence in both directions; puts out every step.

    The cells are Keras's own. They run in a loop of core operations on every device, so that a
    model exported anywhere runs anywhere; `kerasner.layers.LSTM` is faster, on a GPU by far.

    Args:
        units: width of the state of each direction.
        kernel_regularizer: of the input and the recurrent kernels.

    Call arguments:
        inputs: float [B, T, D].
        mask: bool [B, T] or None.
        training: Python bool or None.

    Returns:
        float [B, T, 2 * units], the backward direction last, in the layer's compute dtype.

    Example: `BidirectionalGRU(100)(embedded, mask=words != 0)`

    References:
        Cho et al. (2014): Learning phrase representations using RNN encoder-decoder.
    """

    def __init__(self, units: int, kernel_regularizer: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = int(units)
        self.width = 2 * self.units
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.forward_layer, self.backward_layer = (
            keras.layers.RNN(
                keras.layers.GRUCell(
                    self.units,
                    kernel_regularizer=self.kernel_regularizer,
                    recurrent_regularizer=self.kernel_regularizer,
                    dtype=self.dtype_policy,
                ),
                return_sequences=True,
                name=name,
                dtype=self.dtype_policy,
            )
            for name in ("forward", "backward")
        )

    def build(self, input_shape: Any) -> None:
        build_layer(self.forward_layer, tuple(input_shape))
        build_layer(self.backward_layer, tuple(input_shape))
        self.built = True

    def call(self, inputs: tf.Tensor, mask: Any = None, training: bool | None = None) -> tf.Tensor:
        def both_directions(rows: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
            lengths = lengths_of(mask)
            backward = tf.reverse_sequence(rows, lengths, seq_axis=1)
            forward = self.forward_layer(rows, mask=mask, training=training)
            backward = self.backward_layer(backward, mask=mask, training=training)
            return tf.concat([forward, tf.reverse_sequence(backward, lengths, seq_axis=1)], -1)

        return self._by_sentence(both_directions, inputs, mask)

    def get_config(self) -> dict[str, Any]:
        regularizer = keras.regularizers.serialize(self.kernel_regularizer)
        return {**super().get_config(), "units": self.units, "kernel_regularizer": regularizer}


@keras.saving.register_keras_serializable("kerasner")
class Convolution(_SentenceLayer):
    """Convolution along the sentence, batch normalisation if asked for, ReLU.

    Masked steps are zeros to the convolution, like the steps beyond the ends of a sentence, and do
    not count in the means and variances of batch normalisation: no output depends on padding.

    Args:
        filters: width F of the outputs.
        kernel_size: width of the convolution in tokens.
        batch_norm: whether to normalise between convolution and ReLU.
        kernel_regularizer: of the kernel.

    Call arguments:
        inputs: float [B, T, D].
        mask: bool [B, T] or None.
        training: Python bool or None; whether the statistics are those of the batch.

    Returns:
        float [B, T, F] in the layer's compute dtype.

    Example: `Convolution(64, 7, batch_norm=True)(embedded, mask=words != 0)`

    References:
        Collobert et al. (2011): Natural language processing (almost) from scratch.
        Ioffe, Szegedy (2015): Batch normalization.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int = 7,
        batch_norm: bool = False,
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.width = int(filters)
        self.kernel_size = int(kernel_size)
        self.batch_norm = batch_norm
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.convolution = keras.layers.Conv1D(
            self.width,
            self.kernel_size,
            padding="same",
            kernel_initializer="orthogonal",
            kernel_regularizer=self.kernel_regularizer,
            dtype=self.dtype_policy,
        )
        self.normalization = None
        if batch_norm:
            self.normalization = keras.layers.BatchNormalization(dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        build_layer(self.convolution, tuple(input_shape))
        if self.normalization is not None:
            build_layer(self.normalization, (*input_shape[:2], self.width))
        self.built = True

    def call(self, inputs: tf.Tensor, mask: Any = None, training: bool | None = None) -> tf.Tensor:
        def convolve(rows: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
            x = self.convolution(tf.where(mask[..., None], rows, tf.zeros([], rows.dtype)))
            if self.normalization is not None:
                # The mean over no token at all would be no number.
                counted = mask | ~tf.reduce_any(mask)
                x = self.normalization(x, mask=counted, training=training)
            return tf.nn.relu(x)

        return self._by_sentence(convolve, inputs, mask)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.width,
            "kernel_size": self.kernel_size,
            "batch_norm": self.batch_norm,
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }


def build_layer(layer: keras.layers.Layer, shape: tuple[int | None, ...]) -> None:
    """Creates the weights of a layer under its own name, if it has none yet."""
    if not layer.built:
        with tf.name_scope(layer.name):
            layer.build(shape)


def both_sides(states: tf.Tensor) -> tf.Tensor:
    """States of both directions -> what they know left and right of each place, without its own.

    Args:
        states: [B, T, 2 * U], of a recurrent layer over sentences that are padded at their end, the
            backward direction last.

    Returns:
        [B, T, 2 * U], zeros where there is nothing on that side.
    """
    forward, backward = tf.split(states, 2, axis=-1)
    left = tf.pad(forward, [[0, 0], [1, 0], [0, 0]])[:, :-1]
    right = tf.pad(backward, [[0, 0], [0, 1], [0, 0]])[:, 1:]
    return tf.concat([left, right], axis=-1)
