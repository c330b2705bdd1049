"""Time of the CRF's training step and decoding, beside tensorflow-addons' functions.

    python benchmarks/crf.py [--repeats 60]

Run it on the TensorFlow 2.15 stack (extra "addons") for the comparison; elsewhere only ours is
measured. A training step is the mean log-likelihood and its gradient with respect to emissions and
transitions; both sides are tf.functions of unknown batch size and length, called in turns. Then
time a token by length, and the memory that one long batch adds to a process.
"""

import argparse
import multiprocessing
import statistics
import time

import _common
import numpy as np
import tensorflow as tf

from kerasner import linear_chain

SHAPES = [(32, 50, 9), (32, 50, 37), (256, 100, 9)]  # sentences, tokens, tags
LENGTHS = [100, 1_000, 10_000]
LONG_BATCH = (4, 9)  # sentences, tags
MEMORY_SHAPE = (32, 2_000, 37)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=60, help="calls of each function")
    repeats = parser.parse_args().repeats

    rows = []
    for shape in SHAPES:
        for task, sides in functions(shape[-1]).items():
            milliseconds, ratio = measure(sides, chain(*shape), repeats)
            rows.append({"task": task, "shape": list(shape), "milliseconds": milliseconds})
            if ratio is not None:
                rows[-1]["peer's time / ours"] = round(ratio, 2)
    by_length = {}
    for task, sides in functions(LONG_BATCH[1]).items():
        ours = {"kerasner": sides["kerasner"]}
        by_length[task] = {}
        for length in LENGTHS:
            arguments = chain(LONG_BATCH[0], length, LONG_BATCH[1])
            milliseconds, _ = measure(ours, arguments, max(repeats * 100 // length, 3))
            tokens = LONG_BATCH[0] * length
            by_length[task][length] = round(1e3 * milliseconds["kerasner"] / tokens, 3)
    print_table(rows)
    _common.write(
        f"crf-tf{tf.__version__}",
        {
            "tensorflow": tf.__version__,
            "repeats": repeats,
            "times": rows,
            f"microseconds a token by length, {LONG_BATCH[0]} sentences at once": by_length,
            f"MB added at {list(MEMORY_SHAPE)}": memory(),
        },
    )


def chain(batch: int, steps: int, n_tags: int) -> tuple[tf.Tensor, ...]:
    """Emissions, lengths, transitions and tags; sentences are at least half as long as `steps`."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(steps // 2, steps + 1, batch)
    lengths[0] = steps
    return (
        tf.constant(rng.normal(size=(batch, steps, n_tags)), tf.float32),
        tf.constant(lengths, tf.int32),
        tf.constant(rng.normal(size=(n_tags, n_tags)), tf.float32),
        tf.constant(rng.integers(0, n_tags, (batch, steps)), tf.int32),
    )


def functions(n_tags: int) -> dict[str, dict]:
    """Task -> name -> function of a chain; the peer's only where it is installed."""
    signature = [
        tf.TensorSpec([None, None, n_tags]),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([n_tags, n_tags]),
        tf.TensorSpec([None, None], tf.int32),
    ]

    def training_step(log_likelihood):
        def step(emissions, lengths, transitions, tags):
            with tf.GradientTape() as tape:
                tape.watch([emissions, transitions])
                value = tf.reduce_mean(log_likelihood(emissions, lengths, transitions, tags))
            return value, tape.gradient(value, [emissions, transitions])

        return tf.function(step, input_signature=signature)

    def decoding(decode):
        return tf.function(lambda e, n, t, tags: decode(e, n, t), input_signature=signature)

    training = {"kerasner": training_step(linear_chain.log_likelihood)}
    decode = {"kerasner": decoding(linear_chain.viterbi)}
    try:
        from tensorflow_addons.text import crf_decode, crf_log_likelihood
    except ImportError:
        pass
    else:
        training["tensorflow-addons"] = training_step(
            lambda e, n, t, tags: crf_log_likelihood(e, tags, n, t)[0]
        )
        decode["tensorflow-addons"] = decoding(lambda e, n, t: crf_decode(e, t, n))
    return {"training step": training, "decoding": decode}


def measure(sides: dict, arguments: tuple, repeats: int) -> tuple[dict[str, float], float | None]:
    """Median milliseconds of each side, and the median of the peer's time over ours."""
    times = {name: [] for name in sides}
    for function in sides.values():
        function(*arguments)  # traces
        function(*arguments)
    for _ in range(repeats):
        for name, function in sides.items():
            started = time.perf_counter()
            tf.nest.map_structure(lambda tensor: tensor.numpy(), function(*arguments))
            times[name].append(1e3 * (time.perf_counter() - started))
    medians = {name: round(statistics.median(runs), 3) for name, runs in times.items()}
    if len(times) == 1:
        return medians, None
    ours, theirs = times["kerasner"], times["tensorflow-addons"]
    return medians, statistics.median(b / a for a, b in zip(ours, theirs, strict=True))


def memory() -> dict[str, dict[str, int]]:
    """What a long batch adds to the peak of a fresh process, in MB."""
    added = {}
    for task, sides in functions(MEMORY_SHAPE[-1]).items():
        added[task] = {}
        for name in sides:
            # A process each: memory that was used once is not given back.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                added[task][name] = pool.apply(added_memory, (task, name))
    return added


def added_memory(task: str, name: str) -> int:
    function = functions(MEMORY_SHAPE[-1])[task][name]
    arguments = chain(*MEMORY_SHAPE)
    function(*chain(1, 2, MEMORY_SHAPE[-1]))  # traces
    before = _common.status("VmHWM")
    function(*arguments)
    return (_common.status("VmHWM") - before) // 1000


def print_table(rows: list[dict]) -> None:
    print(f"{'task':14} {'shape':16} {'kerasner ms':>12} {'addons ms':>10} {'ratio':>6}")
    for row in rows:
        times = row["milliseconds"]
        peer, ratio = times.get("tensorflow-addons", ""), row.get("peer's time / ours", "")
        print(f"{row['task']:14} {row['shape']!s:16} {times['kerasner']:12} {peer:>10} {ratio:>6}")


if __name__ == "__main__":
    main()
