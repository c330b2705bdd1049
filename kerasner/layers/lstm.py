"""LSTM over rows of unequal length, one or both directions, portable and cuDNN kernel in one."""

import functools

import keras
import tensorflow as tf

from kerasner.layers._alignment import left_align, lengths_of, restore

_DEVICES = ("CPU", "GPU")  # of the portable kernel, of cuDNN's


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
            outputs = _trained(aligned, lengths, *weights)
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
            autograph=False,
            experimental_attributes={
                "api_implements": interface,
                "api_preferred_device": device,
            },
        )

    portable = implementation(_portable, _DEVICES[0])
    with tf.init_scope():
        cudnn = implementation(_cudnn, _DEVICES[1]).get_concrete_function()
    return portable, cudnn


def _portable(inputs, lengths, *weights) -> tf.Tensor:
    """Core operations alone: [B, T, D], rows padded at their end -> [B, T, directions * units].

    Works on packed steps: rows stand by falling length, and each step of the loop computes those
    rows alone that have not ended, so that padding costs nothing.
    """
    batch, steps = tf.shape(inputs)[0], tf.shape(inputs)[1]
    order = tf.argsort(lengths, direction="DESCENDING", stable=True)
    sorted_lengths = tf.gather(lengths, order)
    running = tf.transpose(tf.sequence_mask(sorted_lengths, steps))
    places = tf.where(running)  # (step, row) by step
    step, row = tf.cast(places[:, 0], tf.int32), tf.cast(places[:, 1], tf.int32)
    counts = tf.math.count_nonzero(running, axis=1, dtype=tf.int32)
    start = tf.gather(order, row) * steps
    forward = start + step
    backward = start + tf.gather(sorted_lengths, row) - 1 - step
    triples = _triples(weights)
    flat = tf.reshape(inputs, [-1, inputs.shape[-1]])
    order_of = [forward, backward][: len(triples)]
    projected = [
        tf.matmul(tf.gather(flat, steps_read), kernel) + bias
        for steps_read, (kernel, _, bias) in zip(order_of, triples, strict=True)
    ]
    states = _packed_recursion(projected, [kernel for _, kernel, _ in triples], counts)
    outputs = [
        tf.scatter_nd(steps_read[:, None], state, [batch * steps, state.shape[-1]])
        for steps_read, state in zip(order_of, states, strict=True)
    ]
    joined = tf.concat(outputs, axis=-1)
    return tf.reshape(joined, [batch, steps, joined.shape[-1]])


def _trained(inputs, lengths, *weights) -> tf.Tensor:
    """What `_portable` computes, with a gradient in closed form."""
    rows = [inputs, tf.reverse_sequence(inputs, lengths, seq_axis=1)]
    triples = _triples(weights)
    projected = []
    for row, (kernel, _, bias) in zip(rows, triples, strict=False):
        time_major = tf.transpose(row, [1, 0, 2])
        flat = tf.matmul(tf.reshape(time_major, [-1, kernel.shape[0]]), kernel) + bias
        shape = tf.concat([tf.shape(time_major)[:2], [kernel.shape[1]]], 0)
        projected.append(tf.reshape(flat, shape))
    states = _trained_recursion(*projected, *(kernel for _, kernel, _ in triples))
    return _joined(states, lengths)


def _joined(states: list[tf.Tensor], lengths: tf.Tensor) -> tf.Tensor:
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


def _packed_recursion(
    projected: list[tf.Tensor], recurrent: list[tf.Tensor], counts: tf.Tensor
) -> list[tf.Tensor]:
    """Packed projections [P, 4U] and recurrent kernels [U, 4U] of each direction -> states [P, U].

    Of the P steps the first counts[0] belong to step 0 of as many rows, the next counts[1] to
    step 1 of the first counts[1] of these rows, and so on. The directions share a loop and not a
    batched product: two plain products are faster.
    """
    units, dtype = recurrent[0].shape[0], projected[0].dtype
    starts = tf.cumsum(counts, exclusive=True)
    steps = tf.size(counts)
    rows = tf.reduce_max(tf.concat([counts, [0]], 0))
    zeros = [tf.zeros([rows, units], dtype)] * len(projected)
    outputs = [
        tf.TensorArray(dtype, steps, infer_shape=False, element_shape=[None, units])
        for _ in projected
    ]

    def iterate(step, states, cells, outputs):
        count, start = counts[step], starts[step]
        new = ([], [], [])
        for k, kernel in enumerate(recurrent):
            gates = projected[k][start : start + count] + tf.matmul(states[k][:count], kernel)
            *_, o, cell = _gates(gates, cells[k][:count])
            state = o * tf.tanh(cell)
            values = (state, cell, outputs[k].write(step, state))
            for column, value in zip(new, values, strict=True):
                column.append(value)
        return step + 1, *new

    states = [tf.TensorShape([None, units])] * len(projected)
    *_, outputs = tf.while_loop(
        lambda step, *_: step < steps,
        iterate,
        (0, zeros, zeros, outputs),
        shape_invariants=(
            tf.TensorShape([]),
            states,
            states,
            [tf.TensorShape(None)] * len(projected),
        ),
    )
    return [tf.ensure_shape(output.concat(), [None, units]) for output in outputs]


@tf.custom_gradient
def _trained_recursion(*arguments: tf.Tensor):
    """Projections [T, B, 4U] and recurrent kernels [U, 4U] of each direction -> states [T, B, U].

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
    return _joined(states, counts)
