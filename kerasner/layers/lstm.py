"""LSTM over rows of unequal length, one or both directions, portable and cuDNN kernel in one."""

import functools
from typing import Any

import keras
import tensorflow as tf

from kerasner.layers._alignment import left_align, lengths_of, restore
from kerasner.layers._lstm_cudnn import cudnn, cudnn_of_rows
from kerasner.layers._lstm_portable import portable, portable_of_rows, trained

_DEVICES = ("CPU", "GPU")  # of the portable kernel, of cuDNN's


@keras.saving.register_keras_serializable("kerasner")
class LSTM(keras.layers.Layer):
    """Long short-term memory layer that puts out every step.

    Numbers and weights are those of `keras.layers.LSTM` and, for both directions, of
    `keras.layers.Bidirectional` around it. What differs:

    - masked steps, wherever they are, are left out of the recursion, and their output is zero;
    - every step is put out unless told otherwise;
    - both directions run in one loop that skips padding, and training uses a gradient in closed
      form whose weight gradients are one matrix product for all steps;
    - a SavedModel holds a portable and a cuDNN kernel whichever machine exported it. TensorFlow
      picks one where the model runs. That it picks is tested; cuDNN's own kernel has not been run
      yet, for want of a GPU with TensorFlow.

    Of Keras's arguments those are left out that cuDNN has no counterpart for (other activations,
    `recurrent_dropout`, no bias), and states that go in or come out. `dropout` is
    `keras.layers.SpatialDropout1D` in front of the layer. XLA cannot compile the cuDNN kernel, so
    `supports_jit` is False and Keras's `jit_compile="auto"` leaves a model with this layer alone.

    Args:
        units: width of the state of each direction.
        bidirectional: run over the rows in both directions and join the outputs.
        return_sequences: put out every step; else, as Keras does, the state after a row's last
            step, and for the backward direction that after its first.
        kernel_initializer, recurrent_initializer, bias_initializer: as in Keras.
        unit_forget_bias: add 1 to the bias of the forget gate at the start.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: as in Keras.
        kernel_constraint, recurrent_constraint, bias_constraint: as in Keras.

    Call arguments:
        inputs: float [B, T, D]; or, with `places`, rows [R, D].
        mask: bool [B, T] or None; padding may be left, right or inside.
        places: int [B, T] or None: the row of `inputs` that each step reads, 0 to R - 1 at padding
            too. Of a row that many steps read, its product with the kernel is computed once; the
            result is that of `tf.gather(inputs, places)`. For layers that are built, and tensors.
        training: Python bool or None.

    Returns:
        Floats in the layer's compute dtype, [B, T, units], or [B, units] without
        `return_sequences`; with both directions 2 * units wide, the backward one last. A row
        without steps gives zeros.

    Example:

    ```python
    layer = kerasner.layers.LSTM(100, bidirectional=True)
    outputs = layer(embedded, mask=words != 0)

    # Weights go over from Keras's layer and back:
    theirs = keras.layers.Bidirectional(keras.layers.LSTM(100, return_sequences=True))
    theirs.build(embedded.shape)
    theirs.set_weights(layer.get_weights())
    layer.set_weights(theirs.get_weights())
    ```

    References:
        Hochreiter, Schmidhuber (1997): Long short-term memory.
        Graves, Schmidhuber (2005): Framewise phoneme classification with bidirectional LSTM.
    """

    def __init__(
        self,
        units: int,
        bidirectional: bool = False,
        return_sequences: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if units < 1:
            raise ValueError(f"Received units={units}; expected at least 1")
        self.units = int(units)
        self.bidirectional = bidirectional
        self.return_sequences = return_sequences
        self.unit_forget_bias = unit_forget_bias
        self._settings = {}
        for name, initializer, regularizer, constraint in (
            ("kernel", kernel_initializer, kernel_regularizer, kernel_constraint),
            ("recurrent", recurrent_initializer, recurrent_regularizer, recurrent_constraint),
            ("bias", bias_initializer, bias_regularizer, bias_constraint),
        ):
            self._settings[name] = {
                "initializer": keras.initializers.get(initializer),
                "regularizer": keras.regularizers.get(regularizer),
                "constraint": keras.constraints.get(constraint),
            }
        self.supports_masking = True
        self.supports_jit = False

    def build(self, input_shape: Any) -> None:
        width = input_shape[-1]
        if len(input_shape) != 3 or width is None:
            raise ValueError(f"LSTM takes inputs [B, T, D] of known D; received {input_shape}")

        gates = 4 * self.units
        for direction in ("forward", "backward")[: 1 + self.bidirectional]:
            for name, kind, shape in (
                ("kernel", "kernel", (width, gates)),
                ("recurrent_kernel", "recurrent", (self.units, gates)),
                ("bias", "bias", (gates,)),
            ):
                settings = dict(self._settings[kind])
                initializer = settings.pop("initializer")
                if isinstance(initializer, keras.initializers.Initializer):
                    # Without a seed, one Keras 2 initializer draws the same numbers every time.
                    initializer = type(initializer).from_config(initializer.get_config())
                if kind == "bias" and self.unit_forget_bias:
                    initializer = functools.partial(_with_unit_forget, initializer)
                weight = self.add_weight(
                    name=f"{direction}_{name}", shape=shape, initializer=initializer, **settings
                )
                setattr(self, f"{direction}_{name}", weight)
        self.built = True

    def _weights_of(self, direction: str, dtype: tf.DType) -> list[tf.Tensor]:
        names = ("kernel", "recurrent_kernel", "bias")
        return [tf.cast(getattr(self, f"{direction}_{name}"), dtype) for name in names]

    def call(
        self,
        inputs: tf.Tensor,
        mask: tf.Tensor | None = None,
        training: bool | None = None,
        places: tf.Tensor | None = None,
    ) -> tf.Tensor:
        if places is not None and training:
            inputs, places = tf.gather(inputs, places), None
        steps = inputs if places is None else tf.cast(places, tf.int32)
        shape = steps.shape
        order = None
        if mask is None:
            lengths = tf.fill([tf.shape(steps)[0]], tf.shape(steps)[1])
        else:
            mask = tf.cast(mask, tf.bool)
            if not mask.shape.is_compatible_with(shape[:2]):
                raise ValueError(f"Expected a mask of shape {shape[:2]}; received {mask.shape}")
            order, steps = left_align(mask, steps)
            lengths = lengths_of(mask)
        weights = self._weights_of("forward", inputs.dtype)
        if self.bidirectional:
            weights += self._weights_of("backward", inputs.dtype)
        if not training:
            read = (steps,) if places is None else (inputs, steps)
            outputs = _either_kernel(read, lengths, *weights)
        elif tf.config.list_logical_devices("GPU"):
            outputs = cudnn(steps, lengths, *weights, training=True)
        else:
            outputs = trained(steps, lengths, *weights)
        if not self.return_sequences:
            return tf.ensure_shape(self._ends(outputs, lengths), [shape[0], self._width])
        if order is not None:
            outputs = restore(order, outputs)
        return tf.ensure_shape(outputs, [*shape[:2], self._width])

    def _ends(self, outputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Of aligned outputs [B, T, W] the last state of each direction -> [B, W]."""
        # A pad that changes nothing costs nothing.
        outputs = tf.pad(outputs, [[0, 0], [0, tf.maximum(1 - tf.shape(outputs)[1], 0)], [0, 0]])
        last = tf.gather(outputs, tf.maximum(lengths - 1, 0), batch_dims=1)
        return tf.concat([last[:, : self.units], outputs[:, 0, self.units :]], axis=-1)

    @property
    def _width(self) -> int:
        return self.units * (1 + self.bidirectional)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return mask if self.return_sequences else None

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (*input_shape[: 1 + self.return_sequences], self._width)

    def compute_output_spec(self, inputs: Any, mask: Any = None, training: Any = None) -> Any:
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        settings = {}
        for kind, setting in self._settings.items():
            settings[f"{kind}_initializer"] = keras.initializers.serialize(setting["initializer"])
            settings[f"{kind}_regularizer"] = keras.regularizers.serialize(setting["regularizer"])
            settings[f"{kind}_constraint"] = keras.constraints.serialize(setting["constraint"])
        return {
            **super().get_config(),
            "units": self.units,
            "bidirectional": self.bidirectional,
            "return_sequences": self.return_sequences,
            "unit_forget_bias": self.unit_forget_bias,
            **settings,
        }


def _with_unit_forget(initializer, shape, dtype=None) -> tf.Tensor:
    bias = initializer(shape, dtype=dtype)
    forget = tf.range(shape[0]) * 4 // shape[0] == 1  # gates: input, forget, cell, output
    return bias + tf.cast(forget, bias.dtype)


def _either_kernel(
    read: tuple[tf.Tensor, ...], lengths: tf.Tensor, *weights: tf.Tensor
) -> tf.Tensor:
    """Calls the portable kernel and leaves the cuDNN kernel in the graph beside it.

    Both functions bear the name of one interface and the device that they are meant for; where the
    call is placed on a GPU, TensorFlow's graph optimizer (implementation_selector) exchanges them.

    Args:
        read: inputs [B, T, D], or rows [R, D] and the places [B, T] of steps in them.
        lengths: int32 [B].
        *weights: of each direction.
    """
    for_cpu, for_gpu = _kernels(len(weights) // 3, *weights[0].shape, read[0].dtype, len(read) == 2)
    outputs = for_cpu(*read, lengths, *weights)
    if not tf.executing_eagerly():
        for_gpu.add_to_graph()
    return outputs


@functools.cache
def _kernels(directions: int, width: int, gates: int, dtype: tf.DType, of_rows: bool):
    """The two implementations for one shape of weights."""
    weights = [[width, gates], [gates // 4, gates], [gates]] * directions
    # One name a shape: the weights are arguments, so layers of one shape share an interface.
    interface = f"kerasner_lstm_{directions}x{width}x{gates}_{dtype.name}"
    if of_rows:
        read = [tf.TensorSpec([None, width], dtype), tf.TensorSpec([None, None], tf.int32)]
        functions, interface = (portable_of_rows, cudnn_of_rows), f"{interface}_rows"
    else:
        read, functions = [tf.TensorSpec([None, None, width], dtype)], (portable, cudnn)
    signature = [*read, tf.TensorSpec([None], tf.int32)]
    signature += [tf.TensorSpec(shape, dtype) for shape in weights]

    def implementation(function, device):
        return tf.function(
            function,
            input_signature=signature,
            autograph=False,
            experimental_attributes={
                "api_implements": interface,
                "api_preferred_device": device,
            },
        )

    for_cpu = implementation(functions[0], _DEVICES[0])
    with tf.init_scope():
        for_gpu = implementation(functions[1], _DEVICES[1]).get_concrete_function()
    return for_cpu, for_gpu
