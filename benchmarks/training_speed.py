"""Time of a training epoch, beside the same network of Keras's layers and tensorflow-addons' CRF.

    python benchmarks/training_speed.py --data CONLL2003 --vectors GLOVE.txt [--batches 300]

Run it on the TensorFlow 2.15 stack (extra "addons") for the comparison; elsewhere only ours is
measured. Both networks read the same batches of the pipeline of ner_conll2003, in turns; an epoch
is extrapolated from the batches measured. The peer's words are looked up in float tables.
"""

import argparse
import time

import _common
import keras
import tensorflow as tf

from kerasner import config, recipe, training
from kerasner.chainer import Chainer
from kerasner.data import pipeline
from kerasner.losses import CRFLoss

ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of CoNLL-2003")
    parser.add_argument("--vectors", required=True, help="GloVe's text file")
    parser.add_argument("--batches", type=int, default=300)
    arguments = parser.parse_args()

    settings = [
        f"dataset_reader.data_path={arguments.data}",
        f"chainer.pipe.glove_emb.load_path={arguments.vectors}",
    ]
    resolved = config.resolve(config.override(config.load("ner_conll2003"), settings))
    data = recipe.read_data("ner_conll2003", settings)
    chainer = training.fit_pipeline(resolved, data).chainer
    sentences = pipeline.encoded(*data.instances("train"), chainer.encode, chainer.tag_vocab)
    batches = pipeline.training_batches(sentences, resolved["train"]["batch_size"], seed=0)
    per_epoch = int(batches.cardinality())
    sample = batches.take(arguments.batches).cache()

    networks = {"kerasner": chainer.network}
    networks["kerasner"].compile(chainer.main.optimizer(), CRFLoss())
    try:
        networks["Keras layers, tensorflow-addons CRF"] = peer(chainer)
    except ImportError:
        pass
    times = {name: [] for name in networks}
    for network in networks.values():
        network.fit(sample, epochs=1, verbose=0, shuffle=False)  # traces
    for _ in range(ROUNDS):
        for name, network in networks.items():
            started = time.perf_counter()
            network.fit(sample, epochs=1, verbose=0, shuffle=False)
            times[name].append(time.perf_counter() - started)
    measured = min(arguments.batches, per_epoch)
    seconds = {name: min(runs) * per_epoch / measured for name, runs in times.items()}
    result = {
        "tensorflow": tf.__version__,
        "seconds an epoch": {name: round(value, 1) for name, value in seconds.items()},
    }
    if len(seconds) == 2:
        ours, theirs = seconds.values()
        result["peer's time / ours"] = round(theirs / ours, 2)
    _common.write(f"training-speed-tf{tf.__version__}", result)


def peer(chainer: Chainer) -> keras.Model:
    """The network of ner_conll2003 as one would write it without kerasner."""
    import tensorflow_addons as tfa

    ours = chainer.network
    embedding, chars = ours.token_embedding, ours.char_features
    n_tags = len(ours.tags)

    class Peer(keras.Model):
        def __init__(self):
            super().__init__()
            rows = embedding.trainable_rows + embedding.frozen_rows
            self.words = keras.layers.Embedding(rows, embedding.output_dim, trainable=False)
            self.trained = keras.layers.Embedding(embedding.trainable_rows, embedding.output_dim)
            self.chars = keras.layers.Embedding(chars.vocabulary_size, chars.char_dim)
            self.convolution = keras.layers.TimeDistributed(
                keras.layers.Conv1D(chars.filters[0], chars.kernel_size[0], padding="same")
            )
            self.pool = keras.layers.TimeDistributed(keras.layers.GlobalMaxPooling1D())
            self.dropouts = [keras.layers.SpatialDropout1D(d.rate) for d in ours.dropouts]
            self.embeddings_dropout = keras.layers.SpatialDropout1D(ours.embeddings_dropout.rate)
            self.recurrent = [
                keras.layers.Bidirectional(keras.layers.LSTM(layer.units, return_sequences=True))
                for layer in ours.encoder_layers
            ]
            self.crf = tfa.layers.CRF(n_tags)

        def call(self, inputs, training=None):
            words = inputs["words"]
            mask = words != 0
            is_trained = tf.cast(words < embedding.trainable_rows, tf.float32)[..., None]
            own = tf.minimum(words, embedding.trainable_rows - 1)
            vectors = self.words(words) * (1 - is_trained) + self.trained(own) * is_trained
            features = [vectors, self.pool(self.convolution(self.chars(inputs["chars"])))]
            features += [inputs[name] for name in sorted(inputs) if name not in ("words", "chars")]
            x = self.embeddings_dropout(tf.concat(features, -1), training=training)
            for recurrent, dropout in zip(self.recurrent, self.dropouts, strict=True):
                x = dropout(recurrent(x, mask=mask), training=training)
            return self.crf(x, mask=mask)

        def train_step(self, batch):
            inputs, tags = batch
            with tf.GradientTape() as tape:
                _, potentials, lengths, transitions = self(inputs, training=True)
                likelihood, _ = tfa.text.crf_log_likelihood(potentials, tags, lengths, transitions)
                loss = -tf.reduce_mean(likelihood)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            return {"loss": loss}

    model = Peer()
    model.compile(chainer.main.optimizer())
    return model


if __name__ == "__main__":
    main()
