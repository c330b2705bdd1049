"""What word vectors at 8 bits, and fewer of them, cost a trained model.

    python benchmarks/quantisation.py MODEL_FOLDER --data CONLL2003 --vectors GLOVE.txt

The model is evaluated with the float vectors of the file, with its int8 vectors, and with the first
200,000, 100,000, 50,000 of them, the others read as unknown. Nothing is trained again.
"""

import argparse

import _common
import numpy as np
import tensorflow as tf

import kerasner
from kerasner.network import UNKNOWN_ID
from kerasner.vectors import read_glove

WORDS = (200_000, 100_000, 50_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", required=True, help="folder of CoNLL-2003")
    parser.add_argument("--vectors", required=True, help="GloVe's text file")
    parser.add_argument("--part", default="valid", choices=["valid", "test"])
    arguments = parser.parse_args()

    chainer = kerasner.Tagger.load(arguments.model).chainer
    samples = _common.sentences(arguments.data, arguments.part)
    layer = chainer.network.token_embedding
    int8 = layer.call
    table = tf.Variable(_float_table(chainer, arguments.vectors))

    def first(count):
        limit = layer.trainable_rows + count
        return lambda ids: int8(tf.where(ids < limit, ids, UNKNOWN_ID))

    lookups = {
        "float32, all words": lambda ids: tf.gather(table, ids),
        f"int8, all {layer.frozen_rows:,} words": int8,
    }
    lookups |= {f"int8, {n:,} words": first(n) for n in WORDS if n < layer.frozen_rows}
    scores = {}
    for name, lookup in lookups.items():
        layer.call = lookup
        scores[name] = round(kerasner.Tagger(chainer, {}).evaluate(samples).total.f1, 3)
    _common.write(f"quantisation-{arguments.part}", {"F1": scores})


def _float_table(chainer, path: str) -> np.ndarray:
    """Vectors of all ids, those of the frozen words as they stand in the file."""
    glove = chainer.embedder
    words, matrix = read_glove(path)
    row_of = {word: row for row, word in enumerate(words)}
    own = set(glove.own)
    frozen = [row_of[word] for word in glove.vectors.words if word not in own]
    trained = np.array(tf.convert_to_tensor(glove.embedding.embeddings))
    trained[0] = 0.0
    return np.concatenate([trained, matrix[frozen]])


if __name__ == "__main__":
    main()
