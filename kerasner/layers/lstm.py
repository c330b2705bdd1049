"""LSTM over rows of unequal length, one or both directions, portable and cuDNN kernel in one."""

import functools
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from kerasner.layers._alignment import left_align, lengths_of, restore

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
            outputs = _cudnn(steps, lengths, *weights, training=True)
        else:
            outputs = _trained(steps, lengths, *weights)
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
    portable, cudnn = _kernels(len(weights) // 3, *weights[0].shape, read[0].dtype, len(read) == 2)
    outputs = portable(*read, lengths, *weights)
    if not tf.executing_eagerly():
        cudnn.add_to_graph()
    return outputs


@functools.cache
def _kernels(directions: int, width: int, gates: int, dtype: tf.DType, of_rows: bool):
    """The two implementations for one shape of weights."""
    weights = [[width, gates], [gates // 4, gates], [gates]] * directions
    # One name a shape: the weights are arguments, so layers of one shape share an interface.
    interface = f"kerasner_lstm_{directions}x{width}x{gates}_{dtype.name}"
    if of_rows:
        read = [tf.TensorSpec([None, width], dtype), tf.TensorSpec([None, None], tf.int32)]
        functions, interface = (_portable_of_rows, _cudnn_of_rows), f"{interface}_rows"
    else:
        read, functions = [tf.TensorSpec([None, None, width], dtype)], (_portable, _cudnn)
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

    portable = implementation(functions[0], _DEVICES[0])
    with tf.init_scope():
        cudnn = implementation(functions[1], _DEVICES[1]).get_concrete_function()
    return portable, cudnn


class _Packing(NamedTuple):
    """The real steps of a batch, packed: all first steps, all second ones, and so on.

    Rows stand by falling length, so each step of the recursion is that of the first `counts[step]`
    rows, and padding costs nothing.

    Attributes:
        counts: int32 [L], rows that have each step, for the longest row's L steps, at least one.
        steps: int32 [P], the step of each packed place.
        sources: for each direction int32 [P], which of the B * T steps each is read from.
    """

    counts: tf.Tensor
    steps: tf.Tensor
    sources: list[tf.Tensor]


def _packing(like: tf.Tensor, lengths: tf.Tensor, directions: int) -> _Packing:
    lengths, order = tf.math.top_k(lengths, k=tf.size(lengths))
    longest = tf.reduce_max(tf.concat([lengths, [1]], 0))
    running = tf.range(longest)[:, None] < lengths
    counts = lengths_of(running)
    step, row = tf.unstack(tf.cast(tf.where(running), tf.int32), axis=1)
    start = tf.gather(order, row) * tf.shape(like)[1]
    sources = [start + step, start + tf.gather(lengths, row) - 1 - step]
    return _Packing(counts, step, sources[:directions])


def _packed(tensors: list[tf.Tensor], packing: _Packing) -> list[tf.Tensor]:
    """For each direction [B, T, X] -> [P, X]."""
    return [
        tf.gather(tf.reshape(tensor, [-1, tensor.shape[-1]]), sources)
        for tensor, sources in zip(tensors, packing.sources, strict=True)
    ]


def _unpacked(packed: list[tf.Tensor], packing: _Packing, like: tf.Tensor) -> list[tf.Tensor]:
    """For each direction [P + 1, X], of which the last row fills the padding -> [B, T, X]."""
    batch, steps = tf.shape(like)[0], tf.shape(like)[1]
    count = tf.size(packing.steps)
    unpacked = []
    for rows, sources in zip(packed, packing.sources, strict=True):
        index = count + tf.scatter_nd(sources[:, None], tf.range(-count, 0), [batch * steps])
        unpacked.append(tf.reshape(tf.gather(rows, index), [batch, steps, rows.shape[-1]]))
    return unpacked


def _portable(inputs: tf.Tensor, lengths: tf.Tensor, *weights: tf.Tensor) -> tf.Tensor:
    """Core operations alone: [B, T, D], rows padded at their end -> [B, T, directions * units]."""
    kernels, recurrent, biases = weights[::3], weights[1::3], weights[2::3]
    packing = _packing(inputs, lengths, len(kernels))
    rows = _packed([inputs] * len(kernels), packing)
    projected = _projected(rows, kernels, biases)
    states, _ = _recursion(projected, recurrent, packing.counts)
    return tf.concat(_unpacked(states, packing, inputs), axis=-1)


def _portable_of_rows(
    rows: tf.Tensor, places: tf.Tensor, lengths: tf.Tensor, *weights: tf.Tensor
) -> tf.Tensor:
    """`_portable` of `tf.gather(rows, places)`; a row that many steps read is projected once."""
    kernels, recurrent, biases = weights[::3], weights[1::3], weights[2::3]
    packing = _packing(places, lengths, len(kernels))
    projected = _projected([rows] * len(kernels), kernels, biases)
    flat = tf.reshape(places, [-1])
    read = [tf.gather(flat, of_steps) for of_steps in packing.sources]
    states, _ = _recursion(projected, recurrent, packing.counts, read)
    return tf.concat(_unpacked(states, packing, places), axis=-1)


@tf.custom_gradient
def _trained(inputs: tf.Tensor, lengths: tf.Tensor, *weights: tf.Tensor):
    """What `_portable` computes, with a gradient in closed form.

    Differentiating the loop itself would add up a gradient of the recurrent kernel step by step;
    here the loop back yields the gradients of the gates alone, and one product over all steps
    turns them into that of a kernel.
    """
    kernels, recurrent, biases = weights[::3], weights[1::3], weights[2::3]
    packing = _packing(inputs, lengths, len(kernels))
    rows = _packed([inputs] * len(kernels), packing)
    projected = _projected(rows, kernels, biases)
    states, kept = _recursion(projected, recurrent, packing.counts, keep=True)

    def gradient(upstream):
        of_states = _packed(tf.split(upstream, len(kernels), axis=-1), packing)
        of_gates = _recursion_back(of_states, kept, recurrent, packing.counts)
        # All but the first steps, and where the states before them are.
        later = tf.range(packing.counts[0], tf.size(packing.steps))
        before = later - tf.gather(packing.counts, tf.gather(packing.steps, later) - 1)
        of_weights, of_rows = [], []
        for k, of_gate in enumerate(of_gates):
            of_weights += [
                tf.matmul(rows[k], of_gate, transpose_a=True),
                tf.matmul(
                    tf.gather(states[k], before), of_gate[packing.counts[0] :], transpose_a=True
                ),
                tf.reduce_sum(of_gate, axis=0),
            ]
            of_row = tf.matmul(of_gate, kernels[k], transpose_b=True)
            of_rows.append(tf.pad(of_row, [[0, 1], [0, 0]]))
        return tf.add_n(_unpacked(of_rows, packing, inputs)), None, *of_weights

    return tf.concat(_unpacked(states, packing, inputs), axis=-1), gradient


def _projected(rows, kernels, biases) -> list[tf.Tensor]:
    return [
        tf.nn.bias_add(tf.matmul(row, kernel), bias)
        for row, kernel, bias in zip(rows, kernels, biases, strict=True)
    ]


def _array(steps: tf.Tensor, width: int, dtype: tf.DType) -> tf.TensorArray:
    return tf.TensorArray(dtype, steps, element_shape=[None, width], infer_shape=False)


def _step(tensor: tf.Tensor, start: Any, count: tf.Tensor) -> tf.Tensor:
    """Rows [start, start + count): a view where memory allows, by fewer operations than [:]."""
    return tf.slice(tensor, [start, 0], [count, tensor.shape[-1]])


def _recursion(
    projected: list[tf.Tensor],
    recurrent: tuple[tf.Tensor, ...],
    counts: tf.Tensor,
    read: list[tf.Tensor] | None = None,
    keep: bool = False,
) -> tuple[list[tf.Tensor], list[list[tf.Tensor]]]:
    """Runs each direction over projections with its recurrent kernel [U, 4U].

    The directions share a loop and not a batched product: two plain products are faster.

    Args:
        projected: packed [P, 4U]; or, with `read`, of rows [R, 4U].
        recurrent, counts: of `_Packing`.
        read: int32 [P], the row that each packed place reads.
        keep: whether to return what `_recursion_back` needs.

    Returns:
        For each direction the packed states and a row of zeros, [P + 1, U], and with `keep` what
        `_recursion_back` needs: the gates, the cell state before each step and, after it, its tanh,
        each [P, U].
    """
    units, dtype = recurrent[0].shape[0], projected[0].dtype
    steps, starts = tf.size(counts), tf.cumsum(counts, exclusive=True)
    directions = range(len(recurrent))
    zeros = [tf.zeros([counts[0], units], dtype) for _ in directions]
    arrays = [
        [_array(steps + 1, units, dtype), *(_array(steps, units, dtype) for _ in range(6 * keep))]
        for _ in directions
    ]

    def iterate(step, states, cells, arrays):
        start, count = tf.gather(starts, step), tf.gather(counts, step)
        new_states, new_cells, new_arrays = [], [], []
        for k in directions:
            gates = tf.matmul(_step(states[k], 0, count), recurrent[k])
            if read is None:
                gates += _step(projected[k], start, count)
            else:
                # Picked here and not before the loop, where it would pass through memory.
                gates += tf.gather(projected[k], tf.slice(read[k], [start], [count]))
            i, f, g, o = tf.split(gates, 4, axis=-1)
            i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
            before = _step(cells[k], 0, count)
            cell = f * before + i * g
            squashed = tf.tanh(cell)
            state = o * squashed
            new_states.append(state)
            new_cells.append(cell)
            values = (state, i, f, g, o, before, squashed)
            new_arrays.append(
                [array.write(step, x) for array, x in zip(arrays[k], values, strict=False)]
            )
        return step + 1, new_states, new_cells, new_arrays

    some_rows = [tf.TensorShape([None, units]) for _ in directions]
    *_, arrays = tf.while_loop(
        lambda step, *_: step < steps,
        iterate,
        (0, zeros, zeros, arrays),
        shape_invariants=(
            tf.TensorShape([]),
            some_rows,
            some_rows,
            tf.nest.map_structure(lambda _: tf.TensorShape(None), arrays),
        ),
    )
    for own in arrays:
        own[0] = own[0].write(steps, tf.zeros([1, units], dtype))
    packed = [[tf.ensure_shape(x.concat(), [None, units]) for x in own] for own in arrays]
    return [own[0] for own in packed], [own[1:] for own in packed]


def _recursion_back(
    upstream: list[tf.Tensor],
    kept: list[list[tf.Tensor]],
    recurrent: tuple[tf.Tensor, ...],
    counts: tf.Tensor,
) -> list[tf.Tensor]:
    """From gradients of the packed states [P, U] those of the gates before activation [P, 4U]."""
    units, dtype = recurrent[0].shape[0], upstream[0].dtype
    steps, starts = tf.size(counts), tf.cumsum(counts, exclusive=True)
    directions = range(len(recurrent))
    nothing = [tf.zeros([0, units], dtype) for _ in directions]
    sigmoid_gradient, tanh_gradient = tf.raw_ops.SigmoidGrad, tf.raw_ops.TanhGrad

    def iterate(step, of_states, of_cells, arrays):
        start, count = tf.gather(starts, step), tf.gather(counts, step)
        new_states, new_cells, new_arrays = [], [], []
        for k in directions:
            i, f, g, o, before, squashed = (_step(x, start, count) for x in kept[k])
            # Rows that end with this step come in.
            more = [[0, count - tf.shape(of_states[k])[0]], [0, 0]]
            of_state = tf.pad(of_states[k], more) + _step(upstream[k], start, count)
            of_cell = tf.pad(of_cells[k], more)
            of_cell += tanh_gradient(y=squashed, dy=of_state * o)
            of_gate = tf.concat(
                [
                    sigmoid_gradient(y=i, dy=of_cell * g),
                    sigmoid_gradient(y=f, dy=of_cell * before),
                    tanh_gradient(y=g, dy=of_cell * i),
                    sigmoid_gradient(y=o, dy=of_state * squashed),
                ],
                axis=-1,
            )
            new_states.append(tf.matmul(of_gate, recurrent[k], transpose_b=True))
            new_cells.append(of_cell * f)
            new_arrays.append(arrays[k].write(step, of_gate))
        return step - 1, new_states, new_cells, new_arrays

    some_rows = [tf.TensorShape([None, units]) for _ in directions]
    *_, arrays = tf.while_loop(
        lambda step, *_: step >= 0,
        iterate,
        (steps - 1, nothing, nothing, [_array(steps, 4 * units, dtype) for _ in directions]),
        shape_invariants=(
            tf.TensorShape([]),
            some_rows,
            some_rows,
            [tf.TensorShape(None) for _ in directions],
        ),
    )
    return [tf.ensure_shape(array.concat(), [None, 4 * units]) for array in arrays]


def _cudnn(inputs, lengths, *weights, training: bool = False) -> tf.Tensor:
    """cuDNN's kernel: same arguments and results as `_portable`, on a GPU alone.

    cuDNN takes no empty batch or sequence and no row of length 0: a row or a step is added where
    needed, and a row of length 0 is run over its first step.
    """
    batch, steps = tf.unstack(tf.shape(inputs)[:2])
    # A pad or a slice that changes nothing costs nothing.
    extra = [[0, tf.maximum(1 - batch, 0)], [0, tf.maximum(1 - steps, 0)]]
    inputs, lengths = tf.pad(inputs, [*extra, [0, 0]]), tf.pad(lengths, extra[:1])
    counts = tf.maximum(lengths, 1)
    directions = [inputs, tf.reverse_sequence(inputs, counts, seq_axis=1)]
    outputs = []
    for row, kernel, recurrent, bias in zip(
        directions, weights[::3], weights[1::3], weights[2::3], strict=False
    ):
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
        output = tf.ensure_shape(result.output, [None, None, recurrent.shape[0]])
        outputs.append(tf.transpose(output, [1, 0, 2]))
    if len(outputs) == 2:
        outputs[1] = tf.reverse_sequence(outputs[1], counts, seq_axis=1)
    real = tf.sequence_mask(lengths, tf.shape(inputs)[1])[..., None]
    joined = tf.where(real, tf.concat(outputs, axis=-1), tf.zeros([], inputs.dtype))
    return joined[:batch, :steps]


def _cudnn_of_rows(
    rows: tf.Tensor, places: tf.Tensor, lengths: tf.Tensor, *weights: tf.Tensor
) -> tf.Tensor:
    """cuDNN's counterpart of `_portable_of_rows`; it has no place for finished projections."""
    return _cudnn(tf.gather(rows, places), lengths, *weights)
