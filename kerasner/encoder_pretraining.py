"""Gives a tagger a start from raw text: python -m kerasner.encoder_pretraining.

    python -m kerasner.encoder_pretraining ner_rus start TEXT... --set dataset_reader.data_path=DATA
    python -m kerasner train ner_rus --set dataset_reader.data_path=DATA \\
        --set chainer.pipe.ner.load_path=start

Character features, tuned word vectors and the first recurrent layer of a configuration's network
learn to predict each word of the text from both sides of its sentence. The network stays as it is,
so that this costs nothing when it tags. Texts are those of `python -m kerasner.pretraining`, cut
into tokens as the configuration says. A run that was stopped goes on when the command is given
again.
"""

import argparse
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasner import _commands, recipe, storage, tokenization, training, word_prediction
from kerasner.checkpoint import fingerprint
from kerasner.encoders import both_sides, build_layer
from kerasner.errors import ConfigError
from kerasner.network import NerNetwork
from kerasner.pipe import variables
from kerasner.word_prediction import Settings

_LOG = logging.getLogger(__name__)
_WORD_DROPOUT = 0.05  # share of the tokens whose features are zeros in training
_DROPOUT = 0.15  # rate, on the inputs and outputs of the recurrent layer


def pretrain_encoder(
    config: recipe.Config,
    texts: Sequence[str | Path],
    save_path: str | Path,
    settings: Iterable[str] = (),
    learning: Settings = Settings(),  # noqa: B008, a tuple
) -> dict[str, float]:
    """Trains the encoder of a network on raw text and writes it to a folder.

    It knows no tags yet: the folder is a `load_path` of `ner`, where training starts. It starts
    itself from the `load_path` that the configuration has, if any.

    Args:
        config: as of `kerasner.train_model`. Its data set gives the vocabularies.
        texts: files and folders, see `kerasner.data.text.read_texts`.
        save_path: new folder, or that of another start. Beside it lies the state of a run that was
            stopped.
        settings: changes of the configuration, of the form "path.to.key=value".
        learning: how it learns.

    Returns:
        What was measured, see `kerasner.word_prediction.Learner.measured`.

    Raises:
        kerasner.errors.KerasnerError: a wrong configuration, data set or setting, or too little
            text.

    References:
        Dai, Le (2015): Semi-supervised sequence learning.
        Melamud, Goldberger, Dagan (2016): context2vec: learning generic context embedding with
        bidirectional LSTM.
    """
    save_path = Path(save_path).absolute()
    word_prediction.check(texts, learning)
    storage.check_writable(save_path.parent)
    storage.check_replaceable(save_path, storage.START_FILE)
    resolved = recipe.resolve(config, settings)
    _check(resolved)
    start = recipe.start_values(resolved, save_path)
    data = recipe.read(resolved)
    keras.utils.set_random_seed(learning.seed)
    tagger = training.fit_pipeline(resolved, data)
    splitter = tagger.chainer.text_splitter
    tokenization.check(splitter.tokenizer.mode, data.instances("train")[0])
    training.take_weights(tagger, start)
    predictor = EncoderPredictor(tagger.model)
    rng = np.random.default_rng(learning.seed)
    text = word_prediction.read(texts, splitter, learning, rng)
    words = tf.constant(text.corpus.words)

    # Dropout is the predictor's affair: here it would fall on all places of a word at once.
    def vectors(numbers: tf.Tensor, training: bool = False) -> tf.Tensor:
        distinct, place = tf.unique(tf.reshape(numbers, [-1]))
        inputs = tagger.chainer.encode(tf.gather(words, distinct))
        features = tagger.model.token_features(inputs, training=False)
        return tf.gather(features, tf.reshape(place, tf.shape(numbers)))

    learner = word_prediction.Learner(predictor, vectors, text.corpus.counts, learning)
    state = save_path.with_name(f"{save_path.name}.training")
    run = fingerprint(resolved, [data.instances(part) for part in ("train", "valid")])
    word_prediction.fit(learner, text, learning, state, run)
    measured = learner.measured(text, learning)
    tagger.save_start(save_path)
    shutil.rmtree(state, ignore_errors=True)
    _LOG.info("written to %s: a load_path of ner, where a tagger is trained", save_path)
    return measured


def _check(config: Mapping[str, Any]) -> None:
    """Raises ConfigError where nothing of a resolved configuration can learn from raw text."""
    entry = recipe.main_entry(config)
    where = f"chainer.pipe ({entry['class_name']})"
    if entry["class_name"] != "ner":
        raise ConfigError(f"{where}: expected ner, whose network learns from raw text")
    if (net_type := entry.get("net_type", "rnn")) != "rnn":
        raise ConfigError(
            f'{where}.net_type: expected "rnn", of whose directions each knows one side; received '
            f"{net_type!r}"
        )
    inputs, _ = variables(config["chainer"])
    if len(inputs) > 1:
        raise ConfigError(
            f"chainer.in: expected the tokens alone, received {inputs}: raw text has no "
            f"{' and no '.join(inputs[1:])}"
        )


class EncoderPredictor(keras.layers.Layer):
    """A network's first recurrent layer, as a `kerasner.word_prediction.Predictor`.

    Vectors are the token features of the network. From them a dense network makes types, and from
    what each direction knows beside a place another one makes the expectation there. Both are of no
    use afterwards.

    Args:
        network: built; its layers are shared, not copied.
        dim: width of types and expectations.
        hidden: units of both dense networks.
    """

    def __init__(self, network: NerNetwork, dim: int = 128, hidden: int = 256):
        super().__init__(name="predictor")
        self.supports_masking = True
        self.token_embedding = network.token_embedding
        self.char_features = network.char_features
        self.recurrent = network.encoder_layers[0]
        self.context_hidden = keras.layers.Dense(hidden, "relu")
        self.context_out = keras.layers.Dense(dim, dtype="float32")
        self.type_hidden = keras.layers.Dense(hidden, "relu")
        self.type_out = keras.layers.Dense(dim + 1, dtype="float32")

    def build(self, input_shape: Any) -> None:
        build_layer(self.context_hidden, (None, None, 2 * self.recurrent.units))
        build_layer(self.context_out, (None, None, self.context_hidden.units))
        build_layer(self.type_hidden, (None, input_shape[-1]))
        build_layer(self.type_out, (None, self.type_hidden.units))
        self.built = True

    def types(self, vectors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Vectors [N, E] -> types [N, K] and biases [N]."""
        outputs = self.type_out(self.type_hidden(vectors))
        return outputs[..., :-1], outputs[..., -1]

    def call(self, inputs: tf.Tensor, mask: tf.Tensor | None = None, training: Any = None):
        if training:
            read = tf.random.uniform(tf.shape(inputs)[:2]) >= _WORD_DROPOUT
            inputs = tf.nn.dropout(tf.where(read[..., None], inputs, 0.0), _DROPOUT)
        sides = both_sides(self.recurrent(inputs, mask=mask, training=training))
        if training:
            sides = tf.nn.dropout(sides, _DROPOUT)
        return self.context_out(self.context_hidden(sides))


def main(argv: Sequence[str] | None = None) -> int:
    about = __doc__.split(":")[0]
    parser = argparse.ArgumentParser("kerasner.encoder_pretraining", description=about)
    parser.add_argument("config", help="path of a JSON file, or name of an installed configuration")
    parser.add_argument("folder", type=Path, help="where it is written to start from")
    _commands.add_texts(parser)
    change = "change a value of the configuration; may be repeated"
    parser.add_argument(
        "--set", action="append", default=[], metavar="path.to.key=value", help=change
    )
    _commands.add_settings(parser, Settings)
    options = parser.parse_args(argv)
    return _commands.exit_code(
        lambda: pretrain_encoder(
            options.config,
            options.texts,
            options.folder,
            options.set,
            _commands.settings_of(options, Settings),
        )
    )


if __name__ == "__main__":
    _commands.run(main)
