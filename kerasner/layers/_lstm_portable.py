"""The recursion of the LSTM in core operations: no time for padding, gradient in closed form."""

from typing import Any, NamedTuple

import tensorflow as tf

from kerasner.layers._alignment import lengths_of


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


def portable(inputs: tf.Tensor, lengths: tf.Tensor, *weights: tf.Tensor) -> tf.Tensor:
    """Core operations alone: [B, T, D], rows padded at their end -> [B, T, directions * units]."""
    kernels, recurrent, biases = weights[::3], weights[1::3], weights[2::3]
    packing = _packing(inputs, lengths, len(kernels))
    rows = _packed([inputs] * len(kernels), packing)
    projected = _projected(rows, kernels, biases)
    states, _ = _recursion(projected, recurrent, packing.counts)
    return tf.concat(_unpacked(states, packing, inputs), axis=-1)


def portable_of_rows(
    rows: tf.Tensor, places: tf.Tensor, lengths: tf.Tensor, *weights: tf.Tensor
) -> tf.Tensor:
    """`portable` of `tf.gather(rows, places)`; a row that many steps read is projected once."""
    kernels, recurrent, biases = weights[::3], weights[1::3], weights[2::3]
    packing = _packing(places, lengths, len(kernels))
    projected = _projected([rows] * len(kernels), kernels, biases)
    flat = tf.reshape(places, [-1])
    read = [tf.gather(flat, of_steps) for of_steps in packing.sources]
    states, _ = _recursion(projected, recurrent, packing.counts, read)
    return tf.concat(_unpacked(states, packing, places), axis=-1)


@tf.custom_gradient
def trained(inputs: tf.Tensor, lengths: tf.Tensor, *weights: tf.Tensor):
    """What `portable` computes, with a gradient in closed form.

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
