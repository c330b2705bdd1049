"""What quantised word vectors save, and what they cost in speed, exactness and F1.

    python benchmarks/embeddings.py MODEL_FOLDER --data CONLL2003 --vectors GLOVE.txt --navec TAR

For GloVe's vectors and for navec's, as float32 in `keras.layers.Embedding`, as int8 and as codes
of pieces: size of the file and of the layer's variables, words looked up per CPU second (ids as
frequent as words are in text; the ratio is to float32, measured in turn), and the error, the mean
over the words of |vector - quantised| / |vector|. navec has no vectors but its quantised ones:
these count as exact.

Then F1 of a trained model with each of them in place of the vectors it was trained with, and with
the first 200,000, 100,000, 50,000 int8 vectors, the others read as unknown. Nothing is trained
again.
"""

import argparse
import tempfile
import time
from pathlib import Path

import _common
import keras
import numpy as np
import tensorflow as tf

import kerasner
from kerasner import _vector_file
from kerasner.layers import ProductQuantizedEmbedding, QuantizedEmbedding
from kerasner.navec import read_navec
from kerasner.network import UNKNOWN_ID
from kerasner.product_vectors import ProductVectors
from kerasner.vectors import QuantizedVectors, read_glove

SHAPES = ((32, 30), (256, 30))
SUBSPACES = (10, 25, 50)
WORDS = (200_000, 100_000, 50_000)
ROUNDS, CALLS = 21, 20
LAYERS = {QuantizedVectors: QuantizedEmbedding, ProductVectors: ProductQuantizedEmbedding}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", required=True, help="folder of CoNLL-2003")
    parser.add_argument("--vectors", required=True, help="GloVe's text file")
    parser.add_argument("--navec", required=True, help="navec's tar")
    parser.add_argument("--part", default="valid", choices=["valid", "test"])
    arguments = parser.parse_args()

    words, matrix = read_glove(arguments.vectors)
    quantised = {"int8": QuantizedVectors.from_float(words, matrix)}
    seconds = {}
    for subspaces in SUBSPACES:
        start = time.process_time()
        name = f"{subspaces} pieces of 256"
        quantised[name] = ProductVectors.from_float(words, matrix, subspaces)
        seconds[name] = round(time.process_time() - start, 1)
    glove = _compare(words, matrix, quantised)

    navec, _ = read_navec(arguments.navec)
    decoded = navec.rows()
    pieces = f"{navec.codes.shape[1]} pieces of {navec.codebook.shape[1]}"
    other = {"int8": QuantizedVectors.from_float(navec.words, decoded), pieces: navec}
    result = {
        f"{len(words):,} words of GloVe, {matrix.shape[1]} numbers each": glove,
        "CPU seconds to quantise them": seconds,
        f"{len(navec.words):,} words of navec, {navec.dim} numbers each": _compare(
            navec.words, decoded, other
        ),
        f"F1 on {arguments.part}": _f1(arguments, words, matrix, quantised),
    }
    _common.write(f"embeddings-{arguments.part}", result)


def _compare(words: list[str], matrix: np.ndarray, quantised: dict) -> dict:
    """Size, speed and error of each way to hold the vectors."""
    exact = keras.layers.Embedding(len(words) + 1, matrix.shape[1])
    exact.build((None,))
    exact.set_weights([np.concatenate([np.zeros_like(matrix[:1]), matrix])])
    layers = {"float32": exact}
    rows = {"float32": {"MB on disk": _disk(_Exact(words, matrix)), "error": 0.0}}
    for name, vectors in quantised.items():
        layers[name] = LAYERS[type(vectors)].from_vectors(vectors, trainable_rows=1)
        rows[name] = {"MB on disk": _disk(vectors), "error": _error(vectors, matrix)}
    for name, layer in layers.items():
        memory = sum(weight.nbytes for weight in layer.get_weights())
        rows[name]["MB in memory"] = round(memory / 1e6, 1)
    for shape in SHAPES:
        speeds = _speeds(layers, shape, len(words))
        for name, speed in speeds.items():
            key = f"words per CPU second, {list(shape)}"
            rows[name][key] = round(float(np.median(speed)))
            ratios = [
                ours / float32 for ours, float32 in zip(speed, speeds["float32"], strict=True)
            ]
            rows[name][f"ratio, {list(shape)}"] = round(float(np.median(ratios)), 2)
    return rows


class _Exact:
    """Float vectors with a file like that of the quantised ones."""

    def __init__(self, words, matrix):
        self.words, self.matrix = words, matrix

    def save(self, path):
        _vector_file.save(path, self.words, matrix=self.matrix)


def _disk(vectors) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npz"
        vectors.save(path)
        return round(path.stat().st_size / 1e6, 1)


def _error(vectors, matrix: np.ndarray) -> float:
    total = 0.0
    for start in range(0, len(matrix), 10_000):
        part = slice(start, start + 10_000)
        distance = np.linalg.norm(vectors.rows(part) - matrix[part], axis=1)
        total += float((distance / np.maximum(np.linalg.norm(matrix[part], axis=1), 1e-12)).sum())
    return round(total / len(matrix), 4)


def _speeds(layers: dict, shape: tuple[int, int], n_words: int) -> dict[str, list[float]]:
    """Words per CPU second of each layer in each round."""
    # Zipf's law with exponent 1; the ids follow the frequency.
    uniform = np.random.default_rng(0).uniform(size=shape)
    ids = tf.constant(np.exp(uniform * np.log(n_words)).astype(np.int64))
    signature = [tf.TensorSpec([None, None], tf.int64)]
    functions = {name: tf.function(layer, signature) for name, layer in layers.items()}
    speeds = {name: [] for name in layers}
    for function in functions.values():
        function(ids)
    for _ in range(ROUNDS):
        for name, function in functions.items():
            start = time.process_time()
            for _ in range(CALLS):
                function(ids).numpy()
            speeds[name].append(CALLS * ids.shape.num_elements() / (time.process_time() - start))
    return speeds


def _f1(arguments, words: list[str], matrix: np.ndarray, quantised: dict) -> dict[str, float]:
    chainer = kerasner.Tagger.load(arguments.model).chainer
    samples = _common.sentences(arguments.data, arguments.part)
    layer = chainer.network.token_embedding
    row_of = {word: row for row, word in enumerate(words)}
    vocabulary = chainer.embedder.lookup.get_vocabulary(include_special_tokens=False)
    frozen = [row_of[word] for word in vocabulary[len(chainer.embedder.own) :]]
    trained = np.array(tf.convert_to_tensor(layer.embeddings))
    exact = tf.Variable(np.concatenate([np.zeros_like(trained[:1]), trained[1:], matrix[frozen]]))

    def made(vectors):
        quantised_layer = LAYERS[type(vectors)].from_vectors(vectors.subset(frozen), len(trained))
        quantised_layer.set_trainable(trained)
        return quantised_layer.call

    def first(count):
        limit = layer.trainable_rows + count
        return lambda ids: lookups["int8"](tf.where(ids < limit, ids, UNKNOWN_ID))

    lookups = {"float32": lambda ids: tf.gather(exact, ids)}
    lookups |= {name: made(vectors) for name, vectors in quantised.items()}
    lookups |= {f"int8, {n:,} words": first(n) for n in WORDS if n < layer.frozen_rows}
    scores = {}
    for name, lookup in lookups.items():
        layer.call = lookup
        scores[name] = round(kerasner.Tagger(chainer, {}).evaluate(samples).total.f1, 3)
    return scores


if __name__ == "__main__":
    main()
