"""Time of kerasner.layers.LSTM beside keras.layers.LSTM, alone and in Bidirectional, on a CPU.

    python benchmarks/lstm.py [--shape 32,50,128,200 ...] [--seconds 2]

Run it on both stacks. Both layers hold the same weights, run the same batches under tf.function,
in turns, and their results are compared first. A training step is the outputs in training mode and
the gradients of the inputs and of all weights. Full batches come without a mask, ragged ones have
lengths from 1 to T, evenly spread, and a mask.
"""

import argparse
import statistics
import time

import _common
import keras
import numpy as np
import tensorflow as tf

import kerasner

SHAPES = ["32,50,128,200", "256,30,128,128", "1,20,128,200", "10,30,250,200"]  # B, T, D, units
PEER = "keras.layers.LSTM"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", action="append", help="batch,steps,width,units")
    parser.add_argument("--seconds", type=float, default=2.0, help="time spent on each line")
    arguments = parser.parse_args()
    rows = []
    for shape in arguments.shape or SHAPES:
        batch, steps, width, units = map(int, shape.split(","))
        for bidirectional in (False, True):
            layers = pair(width, units, bidirectional)
            for ragged in (False, True):
                inputs, *mask = data(batch, steps, width, ragged)
                for training in (False, True):
                    runs = {
                        name: step(layer, ragged, training, width) for name, layer in layers.items()
                    }
                    check(runs, inputs, *mask)
                    times = in_turns(runs, (inputs, *mask), arguments.seconds)
                    ours, theirs = times["kerasner"], times[PEER]
                    rows.append({
                        "B, T, D, units": shape.replace(",", ", "),
                        "directions": 1 + bidirectional,
                        "batch": "ragged" if ragged else "full",
                        "step": "training" if training else "inference",
                        "kerasner ms": round(1e3 * ours, 2),
                        f"{PEER} ms": round(1e3 * theirs, 2),
                        "our time / peer's": round(ours / theirs, 2),
                    })  # fmt: skip
    versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
    _common.write(f"lstm-tf{tf.__version__}", {**versions, "medians": rows})


def pair(width: int, units: int, bidirectional: bool) -> dict[str, keras.layers.Layer]:
    """Our layer and Keras's, with the same weights."""
    ours = kerasner.layers.LSTM(units, bidirectional=bidirectional)
    theirs = keras.layers.LSTM(units, return_sequences=True)
    if bidirectional:
        theirs = keras.layers.Bidirectional(theirs)
    for layer in (ours, theirs):
        layer(tf.zeros([1, 1, width]))
    theirs.set_weights(ours.get_weights())
    return {"kerasner": ours, PEER: theirs}


def data(batch: int, steps: int, width: int, ragged: bool) -> list[tf.Tensor]:
    """Inputs, and the mask if the batch is ragged."""
    rng = np.random.default_rng(0)
    inputs = tf.constant(rng.normal(size=(batch, steps, width)), tf.float32)
    if not ragged:
        return [inputs]
    lengths = rng.permutation(np.linspace(steps if batch == 1 else 1, steps, batch).astype(int))
    return [inputs, tf.sequence_mask(lengths, steps)]


def step(layer, masked: bool, training: bool, width: int):
    """A compiled function of inputs and mask: the outputs at real steps, or gradients too."""
    variables = [v if isinstance(v, tf.Variable) else v.value for v in layer.trainable_variables]
    signature = [tf.TensorSpec([None, None, width]), tf.TensorSpec([None, None], tf.bool)]

    @tf.function(input_signature=signature[: 1 + masked])
    def run(inputs, mask=None):
        if not training:
            return [layer(inputs, mask=mask, training=False)]
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, mask=mask, training=True)
            real = outputs if mask is None else tf.where(mask[..., None], outputs, 0.0)
            loss = tf.reduce_mean(real**2)
        return tape.gradient(loss, [inputs, *variables])

    return run


def check(runs: dict, inputs: tf.Tensor, mask: tf.Tensor | None = None) -> None:
    """Both give the same; the first call also traces."""
    arguments = [inputs] if mask is None else [inputs, mask]
    ours, theirs = (run(*arguments) for run in runs.values())
    for a, b in zip(ours, theirs, strict=True):
        if mask is not None and a.shape[:2] == mask.shape:
            a, b = (tf.boolean_mask(x, mask) for x in (a, b))
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def in_turns(runs: dict, arguments: tuple, seconds: float) -> dict[str, float]:
    """Median time of a call of each, in turns, after calls that warm it up."""
    times = {name: [] for name in runs}
    end = None
    while end is None or time.perf_counter() < end or len(times[PEER]) < 10:
        for name, run in runs.items():
            started = time.perf_counter()
            run(*arguments)
            times[name].append(time.perf_counter() - started)
        if end is None and len(times[PEER]) == 5:
            end = time.perf_counter() + seconds
            times = {name: [] for name in runs}
    return {name: statistics.median(values) for name, values in times.items()}


if __name__ == "__main__":
    main()
