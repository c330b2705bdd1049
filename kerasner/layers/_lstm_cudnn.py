"""The recursion of the LSTM by cuDNN's kernel."""

import tensorflow as tf


def cudnn(inputs, lengths, *weights, training: bool = False) -> tf.Tensor:
    """cuDNN's kernel: same arguments and results as `portable`, on a GPU alone.

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


def cudnn_of_rows(
    rows: tf.Tensor, places: tf.Tensor, lengths: tf.Tensor, *weights: tf.Tensor
) -> tf.Tensor:
    """cuDNN's counterpart of `portable_of_rows`; it has no place for finished projections."""
    return cudnn(tf.gather(rows, places), lengths, *weights)
