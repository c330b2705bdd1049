"""Train a tagger with plain Keras: python examples/train_with_keras.py CONLL2003 GLOVE.txt MODEL"""

import pathlib
import sys

import keras
import tensorflow as tf

from kerasner import NerNetwork, layers, losses, metrics
from kerasner.data import pipeline, read_conll
from kerasner.vectors import read_glove

if len(sys.argv) != 4:
    sys.exit(__doc__)
data, glove, model_file = sys.argv[1:]
train, valid = (read_conll(f"{data}/{part}.txt") for part in ("train", "valid"))
words, vectors = read_glove(glove, max_words=100_000)
word_file = pathlib.Path(f"{model_file}.words")
word_file.write_text("\n".join(words), encoding="utf-8")

lower, split = layers.Lowercase(), layers.CharSplitter()
word_ids = keras.layers.TextVectorization(standardize=None, split=None, vocabulary=str(word_file))
char_ids = keras.layers.TextVectorization(standardize=None, split=None)
char_ids.adapt(tf.data.Dataset.from_tensors(split([t for tokens, _ in train for t in tokens])))
known_chars = char_ids.get_vocabulary(include_special_tokens=False)
pathlib.Path(f"{model_file}.chars").write_text("\n".join(known_chars), encoding="utf-8")
tag_ids = keras.layers.StringLookup(num_oov_indices=0)
tag_ids.adapt(tf.data.Dataset.from_tensors([tag for _, tags in train for tag in tags]))


def encode(tokens):
    return {"words": word_ids(lower(tokens)), "chars": char_ids(split(tokens))}


train, valid = (pipeline.encoded(*zip(*s, strict=True), encode, tag_ids) for s in (train, valid))

embedding = layers.QuantizedEmbedding(vectors.shape[1], trainable_rows=2, frozen_rows=len(words))
embedding.set_frozen(vectors)
chars = layers.CharCNN(filters=50, vocabulary_size=char_ids.vocabulary_size())
tags = tag_ids.get_vocabulary()
batches = pipeline.training_batches(train, batch_size=16)
model = NerNetwork(tags, embedding, chars, n_hidden_list=[100])
model.compile(keras.optimizers.Adam(3e-3), losses.CRFLoss(), metrics=[metrics.EntityF1(tags)])
model(next(iter(batches))[0])  # builds it
best = {"monitor": "val_f1", "mode": "max"}
model.fit(
    batches,
    validation_data=pipeline.evaluation_batches(valid),
    epochs=15,
    callbacks=[
        keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True, **best),
        keras.callbacks.ModelCheckpoint(f"{model_file}.keras", save_best_only=True, **best),
        keras.callbacks.BackupAndRestore(f"{model_file}.backup"),  # goes on after a kill
    ],
)

tokens = ["Bernhard", "Riemann", "lived", "in", "Göttingen", "."]
inputs = {name: ids[None] for name, ids in encode(tf.constant(tokens)).items()}
for token, tag in zip(tokens, layers.unpack(model(inputs)).decode()[0].numpy(), strict=True):
    print(token, tags[tag])
