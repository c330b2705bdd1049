"""Train a tagger with plain Keras: no configuration, the stock compile and fit.

    python examples/train_with_keras.py CONLL2003_FOLDER GLOVE.txt
"""

import sys

import keras
import tensorflow as tf

from kerasner import NerNetwork, layers, losses, metrics
from kerasner.data import pipeline, read_conll
from kerasner.vectors import read_glove

folder, glove = sys.argv[1:]
train, valid = (read_conll(f"{folder}/{part}.txt") for part in ("train", "valid"))

# Text to ids: Keras layers, fitted on tf.data.
words, vectors = read_glove(glove, max_words=100_000)
normalize, split = layers.Lowercase(), layers.CharSplitter()
word_ids = keras.layers.TextVectorization(standardize=None, split=None, vocabulary=words)
char_ids = keras.layers.TextVectorization(standardize=None, split=None)
char_ids.adapt(tf.data.Dataset.from_tensors(split([t for tokens, _ in train for t in tokens])))
tags = sorted({tag for _, row in train for tag in row})
tag_ids = keras.layers.StringLookup(vocabulary=tags, num_oov_indices=0)


def encode(tokens):
    return {"words": word_ids(normalize(tokens)), "chars": char_ids(split(tokens))}


def dataset(samples):
    return pipeline.encoded([t for t, _ in samples], [y for _, y in samples], encode, tag_ids)


# Ids to tags: an ordinary Keras model.
embedding = layers.QuantizedEmbedding(vectors.shape[1], trainable_rows=2, frozen_rows=len(words))
embedding.set_frozen(vectors)
chars = layers.CharCNN(filters=50, vocabulary_size=char_ids.vocabulary_size())
model = NerNetwork(tags, embedding, chars, n_hidden_list=[100])
model.compile(keras.optimizers.Adam(3e-3), losses.CRFLoss(), metrics=[metrics.EntityF1(tags)])
model.fit(
    pipeline.training_batches(dataset(train), batch_size=16),
    validation_data=pipeline.evaluation_batches(dataset(valid)),
    epochs=10,
    callbacks=[keras.callbacks.EarlyStopping("val_f1", mode="max", patience=3)],
)
