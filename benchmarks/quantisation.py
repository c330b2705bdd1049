"""What word vectors at 8 bits, and fewer of them, cost a trained model.

    python benchmarks/quantisation.py MODEL_FOLDER --data CONLL2003 --vectors GLOVE.txt

The model is evaluated with the float vectors of the file, with its int8 vectors, and with the first
200,000, 100,000, 50,000 of them, the others read as unknown. Nothing is trained again.
"""

import argparse
import sys

import _common
import keras
import numpy as np
import tensorflow as tf

import kerasner
from kerasner.network import UNKNOWN_ID
from kerasner.vectors import read_glove

WORDS = (200_000, 100_000, 50_000)


class FirstIds(keras.layers.Layer):
    """An embedding that reads ids from a limit on as unknown."""

    def __init__(self, embedding, limit):
        super().__init__()
        self.embedding = embedding
        self.limit = limit

    def call(self, ids):
        return self.embedding(tf.where(ids < self.limit, ids, UNKNOWN_ID))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", required=True, help="folder of CoNLL-2003")
    parser.add_argument("--vectors", required=True, help="GloVe's text file")
    parser.add_argument("--part", default="valid", choices=["valid", "test"])
    arguments = parser.parse_args()

    chainer = kerasner.Tagger.load(arguments.model).chainer
    samples = _common.sentences(arguments.data, arguments.part)
    int8 = chainer.network.token_embedding
    variants = {"float32, all words": _float_embedding(chainer, arguments.vectors)}
    variants[f"int8, all {int8.frozen_rows:,} words"] = int8
    for count in WORDS:
        if count < int8.frozen_rows:
            variants[f"int8, {count:,} words"] = FirstIds(int8, int8.trainable_rows + count)
    scores = {}
    for name, embedding in variants.items():
        chainer.network.token_embedding = embedding
        scores[name] = round(kerasner.Tagger(chainer, {}).evaluate(samples).total.f1, 3)
    _common.write(
        f"quantisation-{arguments.part}",
        {"command": " ".join(["python", *sys.argv]), "F1": scores},
    )


def _float_embedding(chainer, path: str) -> keras.layers.Embedding:
    """The table of the model with the frozen words' vectors as they stand in the file."""
    int8 = chainer.network.token_embedding
    glove = next(s.component for s in chainer._steps if hasattr(s.component, "own"))
    words, matrix = read_glove(path)
    row_of = {word: row for row, word in enumerate(words)}
    own = set(glove.own)
    frozen = [row_of[word] for word in glove.vectors.words if word not in own]
    trained = np.array(tf.convert_to_tensor(int8.embeddings))
    trained[0] = 0.0
    table = np.concatenate([trained, matrix[frozen]])
    embedding = keras.layers.Embedding(*table.shape)
    embedding.build(None)
    embedding.set_weights([table])
    return embedding


if __name__ == "__main__":
    main()
