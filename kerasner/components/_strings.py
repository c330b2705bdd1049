"""Strings of the data: counting them, and which of them a table can hold."""

from collections import Counter

import tensorflow as tf


def counted(*strings: tf.Tensor) -> Counter[str]:
    """How often each string occurs in tensors of any shape, in the order of the first ones."""
    flat = tf.concat([tf.reshape(part, [-1]) for part in strings], 0)
    distinct, _, numbers = tf.unique_with_counts(flat)
    counts: Counter[str] = Counter()
    for string, number in zip(distinct.numpy(), numbers.numpy().tolist(), strict=True):
        counts[string.decode("utf-8", "replace")] += number
    return counts


def is_line(string: str) -> bool:
    """Whether a table can hold it: TensorFlow takes neither empty lines nor line breaks."""
    return bool(string) and "\n" not in string and "\r" not in string
