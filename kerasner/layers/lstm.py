"""LSTM over rows of unequal length, one or both directions, portable and cuDNN kernel in one."""

import functools

import keras
import tensorflow as tf

from kerasner.layers._alignment import left_align, lengths_of, restore


@keras.saving.register_keras_serializable("kerasner")
class LSTM(keras.layers.Layer):
    """Long short-term memory layer that puts out every step.

    Numbers and weights are those of `keras.layers.LSTM(return_sequences=True)` and, for both
    directions, of `keras.layers.Bidirectional` around it: `set_weights` takes what their
    `get_weights` gives. What differs:

    - masked steps, wherever they are, are left out of the recursion, and their output is zero;
    - both directions run in one loop, and training uses a gradient in closed form whose weight
      gradients are one matrix product for all steps;
    - a SavedModel holds a portable and a cuDNN kernel whichever machine exported it. TensorFlow
      picks one where the model runs.

    Args:
        units: width of the state of each direction.
        bidirectional: run over the rows in both directions and join the outputs.
        kernel_initializer, recurrent_initializer, bias_initializer: as in Keras.
        unit_forget_bias: add 1 to the bias of the forget gate at the start.
        kernel_regularizer, recurrent_regularizer, bias_regularizer: as in Keras.

    Call arguments:
        inputs: float [B, T, D].
        mask: bool [B, T] or None.
        training: Python bool or None.

    Returns:
        float [B, T, units], or [B, T, 2 * units] with the backward direction last.

    Example: `kerasner.layers.LSTM(100, bidirectional=True)(embedded, mask=words != 0)`

    References:
        Hochreiter, Schmidhuber (1997): Long short-term memory.
        Graves, Schmidhuber (2005): Framewise phoneme classification with bidirectional LSTM.
    """

    def __init__(
        self,
        units: int,
        bidirectional: bool = False,
        kernel_initializer="glorot_uniform",
        recurrent_initializer="orthogonal",
        bias_initializer="zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer=None,
        recurrent_regularizer=None,
        bias_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if units < 1:
            raise ValueError(f"Received units={units}; expected at least 1")
        self.units = int(units)
        self.bidirectional = bidirectional
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.recurrent_initializer = keras.initializers.get(recurrent_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.unit_forget_bias = unit_forget_bias
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = keras.regularizers.get(recurrent_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.supports_masking = True
        self.supports_jit = False  # the cuDNN kernel is no XLA operation

    def build(self, input_shape):
        width = input_shape[-1]
        if len(input_shape) != 3 or width is None:
            raise ValueError(f"LSTM takes inputs [B, T, D] of known D; received {input_shape}")

        gates = 4 * self.units
        for direction in ("forward", "backward")[: 1 + self.bidirectional]:
            for name, shape, initializer, regularizer in (
                ("kernel", (width, gates), self.kernel_initializer, self.kernel_regularizer),
                (
                    "recurrent_kernel",
                    (self.units, gates),
                    self.recurrent_initializer,
                    self.recurrent_regularizer,
                ),
                ("bias", (gates,), self._initial_bias, self.bias_regularizer),
            ):
                if isinstance(initializer, keras.initializers.Initializer):
                    # Without a seed, one Keras 2 initializer draws the same numbers every time.
                    initializer = type(initializer).from_config(initializer.get_config())
                weight = self.add_weight(
                    name=f"{direction}_{name}",
                    shape=shape,
                    initializer=initializer,
                    regularizer=regularizer,
                )
                setattr(self, f"{direction}_{name}", weight)
        self.built = True

    def _initial_bias(self, shape, dtype=None):
        bias = self.bias_initializer(shape, dtype=dtype)
        forget = tf.range(shape[0]) // self.units == 1  # gates: input, forget, cell, output
        return bias + tf.cast(forget & self.unit_forget_bias, bias.dtype)

    def _weights_of(self, direction: str, dtype) -> list[tf.Tensor]:
        names = ("kernel", "recurrent_kernel", "bias")
        return [tf.cast(getattr(self, f"{direction}_{name}"), dtype) for name in names]

    def call(self, inputs, mask=None, training=None):
        shape = inputs.shape
        batch, steps = tf.shape(inputs)[0], tf.shape(inputs)[1]
        if mask is None:
            mask = tf.ones([batch, steps], tf.bool)
        mask = tf.cast(mask, tf.bool)
        # Neither kernel takes an empty batch or sequence: a masked one is added where needed. (A
        # pad or a slice that changes nothing costs nothing.)
        extra = [[0, tf.maximum(1 - batch, 0)], [0, tf.maximum(1 - steps, 0)]]
        inputs, mask = tf.pad(inputs, [*extra, [0, 0]]), tf.pad(mask, extra)
        order, aligned = left_align(mask, inputs)
        lengths = lengths_of(mask)
        weights = self._weights_of("forward", inputs.dtype)
        if self.bidirectional:
            weights += self._weights_of("backward", inputs.dtype)
        if not training:
            outputs = _either_kernel(aligned, lengths, *weights)
        elif tf.config.list_logical_devices("GPU"):
            outputs = _cudnn(aligned, lengths, *weights, training=True)
        else:
            outputs = _portable(aligned, lengths, *weights, recursion=_trained_recursion)
        outputs = restore(order, outputs)
        outputs = tf.where(mask[..., None], outputs, tf.zeros([], outputs.dtype))
        return tf.ensure_shape(outputs[:batch, :steps], [*shape[:2], self._width])

    @property
    def _width(self) -> int:
        return self.units * (1 + self.bidirectional)

    def compute_mask(self, inputs, mask=None):
        return mask

    def compute_output_shape(self, input_shape):
        return (*input_shape[:2], self._width)

    def compute_output_spec(self, inputs, mask=None, training=None):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), dtype=self.compute_dtype)

    def get_config(self):
        initializer, regularizer = keras.initializers.serialize, keras.regularizers.serialize
        return {
            **super().get_config(),
            "units": self.units,
            "bidirectional": self.bidirectional,
            "kernel_initializer": initializer(self.kernel_initializer),
            "recurrent_initializer": initializer(self.recurrent_initializer),
            "bias_initializer": initializer(self.bias_initializer),
            "unit_forget_bias": self.unit_forget_bias,
            "kernel_regularizer": regularizer(self.kernel_regularizer),
            "recurrent_regularizer": regularizer(self.recurrent_regularizer),
            "bias_regularizer": regularizer(self.bias_regularizer),
        }


def _either_kernel(inputs: tf.Tensor, lengths: tf.Tensor, *weights: tf.Tensor) -> tf.Tensor:
    """Calls the portable kernel and leaves the cuDNN kernel in the graph beside it.

    Both functions bear the name of one interface and the device that they are meant for; where the
    call is placed on a GPU, TensorFlow's graph optimizer (implementation_selector) exchanges them.
    """
    portable, cudnn = _kernels(len(weights) // 3, *weights[0].shape, inputs.dtype)
    outputs = portable(inputs, lengths, *weights)
    if not tf.executing_eagerly():
        cudnn.add_to_graph()
    return outputs


@functools.cache
def _kernels(directions: int, width: int, gates: int, dtype: tf.DType):
    """The two implementations for one shape of weights."""
    shapes = [[None, None, width]] + [[width, gates], [gates // 4, gates], [gates]] * directions
    inputs, *weights = [tf.TensorSpec(shape, dtype) for shape in shapes]
    signature = [inputs, tf.TensorSpec([None], tf.int32), *weights]
    # One name a shape: the weights are arguments, so layers of one shape share an interface.
    interface = f"kerasner_lstm_{directions}x{width}x{gates}_{dtype.name}"

    def implementation(function, device):
        return tf.function(
            function,
            input_signature=signature,
            experimental_attributes={
                "api_implements": interface,
                "api_preferred_device": device,
            },
        )

    portable = implementation(_portable, "CPU")
    with tf.init_scope():
        cudnn = implementation(_cudnn, "GPU").get_concrete_function()
    return portable, cudnn


def _portable(inputs, lengths, *weights, recursion=None) -> tf.Tensor:
    """Core operations alone: [B, T, D], rows padded at their end -> [B, T, directions * units]."""
    recursion = recursion or _recursion
    rows = [inputs, tf.reverse_sequence(inputs, lengths, seq_axis=1)][: len(weights) // 3]
    projected = []
    for row, (kernel, _, bias) in zip(rows, _triples(weights), strict=True):
        time_major = tf.transpose(row, [1, 0, 2])
        flat = tf.matmul(tf.reshape(time_major, [-1, kernel.shape[0]]), kernel) + bias
        shape = tf.concat([tf.shape(time_major)[:2], [kernel.shape[1]]], 0)
        projected.append(tf.reshape(flat, shape))
    recurrent = [kernel for _, kernel, _ in _triples(weights)]
    return _joined(recursion(*projected, *recurrent), inputs, lengths)


def _joined(states: list[tf.Tensor], inputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Time-major states of each direction, as run -> [B, T, directions * units]."""
    outputs = [tf.transpose(state, [1, 0, 2]) for state in states]
    if len(outputs) == 2:
        outputs[1] = tf.reverse_sequence(outputs[1], lengths, seq_axis=1)
    joined = tf.concat(outputs, axis=-1)
    return tf.ensure_shape(joined, [None, None, len(states) * states[0].shape[-1]])


def _triples(weights) -> list[tuple]:
    return [weights[i : i + 3] for i in range(0, len(weights), 3)]


def _gates(gates: tf.Tensor, cell: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Pre-activations [B, 4U] in Keras's order and cell state [B, U] -> i, f, g, o, cell."""
    i, f, g, o = tf.split(gates, 4, axis=-1)
    i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
    return i, f, g, o, f * cell + i * g


def _arrays(tensors, steps):
    return [
        tf.TensorArray(t.dtype, steps, element_shape=t.shape[1:]).unstack(t) for t in tensors
    ]


def _recursion(*arguments: tf.Tensor) -> list[tf.Tensor]:
    """Projections [T, B, 4U] and recurrent kernels [U, 4U] of each direction -> states [T, B, U].

    The directions share a loop and not a batched product: two plain products were faster.
    """
    count = len(arguments) // 2
    projected, recurrent = arguments[:count], arguments[count:]
    steps, batch = tf.shape(projected[0])[0], tf.shape(projected[0])[1]
    units, dtype = recurrent[0].shape[0], projected[0].dtype
    inputs = _arrays(projected, steps)
    outputs = [tf.TensorArray(dtype, steps, element_shape=[None, units]) for _ in projected]
    zeros = [tf.zeros([batch, units], dtype)] * count

    def iterate(step, states, cells, outputs):
        new = ([], [], [])
        for k, kernel in enumerate(recurrent):
            gates = inputs[k].read(step) + tf.matmul(states[k], kernel)
            *_, o, cell = _gates(gates, cells[k])
            state = o * tf.tanh(cell)
            for values, value in zip(new, (state, cell, outputs[k].write(step, state)), strict=True):
                values.append(value)
        return step + 1, *new

    *_, outputs = tf.while_loop(
        lambda step, *_: step < steps, iterate, (0, zeros, zeros, outputs)
    )
    return [output.stack() for output in outputs]


@tf.custom_gradient
def _trained_recursion(*arguments: tf.Tensor):
    """`_recursion` that keeps what its gradient needs.

    Differentiating the loop itself would add up a gradient of the recurrent kernel step by step;
    here the loop back yields the gradients of the gates alone, and one product over all steps
    turns them into that of the kernel.
    """
    count = len(arguments) // 2
    projected, recurrent = arguments[:count], arguments[count:]
    steps, batch = tf.shape(projected[0])[0], tf.shape(projected[0])[1]
    units, dtype = recurrent[0].shape[0], projected[0].dtype
    inputs = _arrays(projected, steps)
    zeros = [tf.zeros([batch, units], dtype)] * count

    def empty(width):
        return [tf.TensorArray(dtype, steps, element_shape=[None, width]) for _ in range(count)]

    def forward(step, states, cells, outputs, kept_cells, kept_gates):
        new = ([], [], [], [], [])
        for k, kernel in enumerate(recurrent):
            pre = inputs[k].read(step) + tf.matmul(states[k], kernel)
            i, f, g, o, cell = _gates(pre, cells[k])
            state = o * tf.tanh(cell)
            gates = tf.concat([i, f, g, o], axis=-1)
            values = (
                state,
                cell,
                outputs[k].write(step, state),
                kept_cells[k].write(step, cell),
                kept_gates[k].write(step, gates),
            )
            for column, value in zip(new, values, strict=True):
                column.append(value)
        return step + 1, *new

    *_, outputs, kept_cells, kept_gates = tf.while_loop(
        lambda step, *_: step < steps,
        forward,
        (0, zeros, zeros, empty(units), empty(units), empty(4 * units)),
    )
    outputs, cells, gates = ([a.stack() for a in x] for x in (outputs, kept_cells, kept_gates))

    def gradient(*upstream):
        of_outputs = _arrays(upstream, steps)
        cell_at, gates_at = _arrays(cells, steps), _arrays(gates, steps)
        before = _arrays([tf.concat([zeros[0][None], c[:-1]], 0) for c in cells], steps)

        def backward(step, of_states, of_cells, of_gates):
            new = ([], [], [])
            for k, kernel in enumerate(recurrent):
                i, f, g, o = tf.split(gates_at[k].read(step), 4, axis=-1)
                squashed = tf.tanh(cell_at[k].read(step))
                of_state = of_outputs[k].read(step) + of_states[k]
                of_cell = of_cells[k] + of_state * o * (1 - squashed * squashed)
                of_pre = tf.concat(
                    [
                        of_cell * g * i * (1 - i),
                        of_cell * before[k].read(step) * f * (1 - f),
                        of_cell * i * (1 - g * g),
                        of_state * squashed * o * (1 - o),
                    ],
                    axis=-1,
                )
                values = (
                    tf.matmul(of_pre, kernel, transpose_b=True),
                    of_cell * f,
                    of_gates[k].write(step, of_pre),
                )
                for column, value in zip(new, values, strict=True):
                    column.append(value)
            return step - 1, *new

        *_, of_gates = tf.while_loop(
            lambda step, *_: step >= 0, backward, (steps - 1, zeros, zeros, empty(4 * units))
        )
        of_projected = [array.stack() for array in of_gates]
        of_recurrent = [
            tf.matmul(
                tf.reshape(output[:-1], [-1, units]),
                tf.reshape(of_pre[1:], [-1, 4 * units]),
                transpose_a=True,
            )
            for output, of_pre in zip(outputs, of_projected, strict=True)
        ]
        return of_projected + of_recurrent

    return outputs, gradient


def _cudnn(inputs, lengths, *weights, training: bool = False) -> tf.Tensor:
    """cuDNN's kernel: same arguments and results as `_portable`, on a GPU alone.

    cuDNN takes no row of length 0: such a row is run over its first step.
    """
    counts = tf.maximum(lengths, 1)
    directions = [inputs, tf.reverse_sequence(inputs, counts, seq_axis=1)]
    states = []
    for row, (kernel, recurrent, bias) in zip(directions, _triples(weights), strict=False):
        # cuDNN's parameters: each gate's transposed kernels, then two biases a gate.
        blocks = [tf.split(matrix, 4, axis=1) for matrix in (kernel, recurrent)]
        flat = [tf.reshape(tf.transpose(block), [-1]) for pair in blocks for block in pair]
        parameters = tf.concat([*flat, tf.zeros_like(bias), bias], axis=0)
        start = tf.zeros([1, tf.shape(inputs)[0], recurrent.shape[0]], inputs.dtype)
        result = tf.raw_ops.CudnnRNNV3(
            input=tf.transpose(row, [1, 0, 2]),
            input_h=start,
            input_c=start,
            params=parameters,
            sequence_lengths=counts,
            rnn_mode="lstm",
            is_training=training,
            time_major=True,
        )
        states.append(tf.ensure_shape(result.output, [None, None, recurrent.shape[0]]))
    return _joined(states, inputs, counts)
