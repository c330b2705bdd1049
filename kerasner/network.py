"""The tagging network: features of each token, recurrent or convolutional layers, CRF."""

from collections.abc import Sequence
from typing import Any, Protocol

import keras
import tensorflow as tf

from kerasner.adversarial import adversarial_step
from kerasner.encoders import BidirectionalGRU, Convolution, build_layer
from kerasner.layers.crf import CRF
from kerasner.layers.lstm import LSTM

UNKNOWN_ID = 1  # of TextVectorization: 0 is padding, 1 is any unknown word
NO_FEATURES = ("words", "chars", "mask")  # inputs that are not used as they are


class TaggingNetwork(Protocol):
    """What tagging, evaluation and storage need of a network: a Keras model with these.

    Attributes:
        tags: names of the tags in the order of their ids.
        scheme: of the tags, see `kerasner.schemes`.
        use_crf: whether tags depend on each other.
        temperature: by which potentials are divided where scores are computed.
        named_layers: the layers that have weights, by the names under which these are stored.
        variables: all of them.
    """

    tags: list[str]
    scheme: str
    use_crf: bool
    temperature: float
    named_layers: dict[str, keras.layers.Layer]
    variables: list[Any]

    def token_features(self, inputs: dict[str, tf.Tensor], training=None) -> tf.Tensor:
        """Features of single tokens: inputs of shape [..., ], [..., C], ... -> float [..., D]."""

    def tag_potentials(
        self, features: tf.Tensor, mask: tf.Tensor, training=None, places=None
    ) -> tf.Tensor:
        """Features [B, T, D] and mask bool [B, T] -> [B, N + T, N + 1], as of a CRF layer.

        With places, int32 [B, T], features are rows [R, D], of which each token has the one there.
        """

    def __call__(self, inputs: dict[str, tf.Tensor], training=None) -> tf.Tensor:
        """The one after the other."""


@keras.saving.register_keras_serializable("kerasner")
class NerNetwork(keras.Model):
    """Tagger of sentences over word, character and capitalization features.

    Features -> variational dropout -> recurrent or convolutional layers, variational dropout
    between and after them -> dense layer if asked for -> CRF, or tags that do not know of each
    other. Every output is independent of padding and of the rest of the batch. It is an ordinary
    Keras model: `compile` it with `kerasner.losses.CRFLoss` and `kerasner.metrics.EntityF1`, then
    `fit`.

    Args:
        tags: names of the tags in the order of their ids.
        token_embedding: layer from word ids [..., ] to vectors [..., D], id 0 being padding; None:
            the words are vectors already.
        char_features: layer from character ids [..., C] to vectors [..., F], or None.
        n_hidden_list: units of each layer, in "rnn" of each direction.
        net_type: "rnn", bidirectional, or "cnn", convolutions along the sentence with ReLU.
        cell_type: "lstm" or "gru", of "rnn".
        cnn_filter_width: tokens that a convolution of "cnn" sees.
        use_batch_norm: normalise in "cnn", between convolution and ReLU, with the statistics of the
            tokens alone; has no effect in "rnn".
        two_dense_on_top: a dense layer with ReLU, as wide as the last of `n_hidden_list`, before
            the tags. No dropout follows it.
        use_crf: else each tag has a probability of its own (softmax). The output has the same form,
            with zero transitions, so that loss, metric and decoding are the same.
        l2_reg: adds l2_reg * sum(W ** 2) / 2 to the loss for the kernels W of recurrent,
            convolutional and dense layers, that of the tags included.
        dropout: rate of variational dropout: one mask a sentence, shared by all its steps.
        embeddings_dropout, intra_layer_dropout, top_dropout: whether it acts on the features,
            between the layers, after the last of them.
        word_dropout: probability, in training, of reading a word as unknown; of word ids alone.
        adversarial: size of the change of the features, as a part of their norm, against which
            the network is trained as well, see `kerasner.adversarial`; 0: none. Good values are
            some hundredths. A step of training costs 1.7 times as much.
        scheme, constraints: of the `CRF` layer.
        temperature: by which whoever computes probabilities from the output divides it first, as
            `unpack(output).tempered(network.temperature)`. The output itself is not divided.

    Call arguments:
        inputs: dict of
            "words": int [B, T], 0 is padding; or float [B, T, E] without `token_embedding`;
            "chars": int [B, T, C], where there are `char_features`;
            "mask": [B, T], not 0 where there is a token; may be left out where words are ids;
            any further name: float [B, T, K], used as it is, in alphabetical order ("case").
        training: Python bool or None.

    Returns:
        float32 [B, N + T, N + 1], to be read by `kerasner.layers.unpack`.

    Example: see examples/train_with_keras.py.

    References:
        Lample et al. (2016): Neural architectures for named entity recognition.
        Ma, Hovy (2016): End-to-end sequence labeling via bi-directional LSTM-CNNs-CRF.
        Gal, Ghahramani (2016): A theoretically grounded application of dropout in RNNs.
    """

    def __init__(
        self,
        tags: Sequence[str],
        token_embedding: keras.layers.Layer | None,
        char_features: keras.layers.Layer | None = None,
        n_hidden_list: Sequence[int] = (128,),
        net_type: str = "rnn",
        cell_type: str = "lstm",
        cnn_filter_width: int = 7,
        use_batch_norm: bool = False,
        two_dense_on_top: bool = False,
        use_crf: bool = True,
        l2_reg: float = 0.0,
        dropout: float = 0.5,
        embeddings_dropout: bool = True,
        intra_layer_dropout: bool = True,
        top_dropout: bool = True,
        word_dropout: float = 0.0,
        adversarial: float = 0.0,
        scheme: str = "bio",
        constraints: str = "decoding",
        temperature: float = 1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not temperature > 0:
            raise ValueError(f"Received temperature={temperature!r}; expected more than 0")
        units = [int(number) for number in n_hidden_list]
        if not units or min(units) < 1:
            raise ValueError(
                f"Received n_hidden_list={n_hidden_list!r}; expected the units of each layer"
            )
        if not adversarial >= 0:
            raise ValueError(f"Received adversarial={adversarial!r}; expected at least 0")
        if word_dropout and token_embedding is None:
            raise ValueError(f"Received word_dropout={word_dropout} for words that are no ids")
        for name, value, known in (
            ("net_type", net_type, ("rnn", "cnn")),
            ("cell_type", cell_type, ("lstm", "gru")),
        ):
            if value not in known:
                raise ValueError(f"Received {name}={value!r}; expected one of {known}")
        self._settings = {
            "tags": list(tags),
            "n_hidden_list": units,
            "net_type": net_type,
            "cell_type": cell_type,
            "cnn_filter_width": cnn_filter_width,
            "use_batch_norm": use_batch_norm,
            "two_dense_on_top": two_dense_on_top,
            "use_crf": use_crf,
            "l2_reg": l2_reg,
            "dropout": dropout,
            "embeddings_dropout": embeddings_dropout,
            "intra_layer_dropout": intra_layer_dropout,
            "top_dropout": top_dropout,
            "word_dropout": word_dropout,
            "adversarial": adversarial,
            "scheme": scheme,
            "constraints": constraints,
        }
        self.token_embedding = token_embedding
        self.char_features = char_features
        self.word_dropout = word_dropout
        self.use_crf = use_crf
        self.temperature = temperature
        self.embeddings_dropout = _dropout(dropout, embeddings_dropout)
        regularizer = keras.regularizers.L2(l2_reg / 2) if l2_reg else None
        if net_type == "cnn":
            self.encoder_layers = [
                Convolution(number, cnn_filter_width, use_batch_norm, regularizer)
                for number in units
            ]
        elif cell_type == "gru":
            self.encoder_layers = [BidirectionalGRU(number, regularizer) for number in units]
        else:
            kernels = dict.fromkeys(("kernel_regularizer", "recurrent_regularizer"), regularizer)
            self.encoder_layers = [LSTM(number, bidirectional=True, **kernels) for number in units]
        acts = [intra_layer_dropout] * (len(units) - 1) + [top_dropout]
        self.dropouts = [_dropout(dropout, switch) for switch in acts]
        self.dense = self.crf = self.independent_tags = None
        if two_dense_on_top:
            self.dense = keras.layers.Dense(
                units[-1], "relu", kernel_initializer="orthogonal", kernel_regularizer=regularizer
            )
        if use_crf:
            self.crf = CRF(
                tags=list(tags),
                scheme=scheme,
                constraints=constraints,
                kernel_regularizer=regularizer,
            )
        else:
            self.independent_tags = keras.layers.Dense(len(tags), kernel_regularizer=regularizer)

    @property
    def tags(self) -> list[str]:
        """Names of the tags in the order of their ids."""
        return list(self._settings["tags"])

    @property
    def scheme(self) -> str:
        """Tagging scheme of the tags."""
        return self._settings["scheme"]

    @property
    def named_layers(self) -> dict[str, keras.layers.Layer]:
        """The layers that have weights, by the names under which these are stored."""
        named = {"token_embedding": self.token_embedding, "char_features": self.char_features}
        for index, layer in enumerate(self.encoder_layers):
            if isinstance(layer, BidirectionalGRU):
                named[f"recurrent_{index}/forward"] = layer.forward_layer
                named[f"recurrent_{index}/backward"] = layer.backward_layer
            else:
                kind = "convolution" if isinstance(layer, Convolution) else "recurrent"
                named[f"{kind}_{index}"] = layer
        # One name for either, so that one may start from the weights of the other.
        named |= {"dense": self.dense, "crf": self.crf or self.independent_tags}
        return {name: layer for name, layer in named.items() if layer is not None}

    def token_features(self, inputs: dict[str, tf.Tensor], training=None) -> tf.Tensor:
        """Features of single tokens: inputs of shape [..., ], [..., C], ... -> float [..., D]."""
        words = inputs["words"]
        if training and self.word_dropout:
            dropped = (tf.random.uniform(tf.shape(words)) < self.word_dropout) & (words != 0)
            words = tf.where(dropped, tf.cast(UNKNOWN_ID, words.dtype), words)
        if self.token_embedding is None:
            features = [tf.cast(words, self.compute_dtype)]
        else:
            features = [self.token_embedding(words)]
        if self.char_features is not None:
            features.append(self.char_features(inputs["chars"], training=training))
        others = [inputs[name] for name in sorted(inputs) if name not in NO_FEATURES]
        features += [tf.cast(other, features[0].dtype) for other in others]
        return tf.concat(features, axis=-1)

    def tag_potentials(
        self, features: tf.Tensor, mask: tf.Tensor, training=None, places=None
    ) -> tf.Tensor:
        """Features [B, T, D] and mask bool [B, T] -> output of the CRF layer, or one like it.

        With places, int32 [B, T], features are rows [R, D], of which each token has the one there.
        """
        if places is not None and (training or not isinstance(self.encoder_layers[0], LSTM)):
            features, places = tf.gather(features, places), None
        if places is None:
            x, read = self.embeddings_dropout(features, training=training), {}
        else:  # dropout would do nothing, and takes no rows
            x, read = features, {"places": places}
        for layer, dropout in zip(self.encoder_layers, self.dropouts, strict=True):
            x = dropout(layer(x, mask=mask, training=training, **read), training=training)
            read = {}
        if self.dense is not None:
            x = self.dense(x)
        if self.crf is not None:
            return self.crf(x, mask=mask, training=training)
        return pack_independent(self.independent_tags(x), mask)

    def token_mask(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        """Where the inputs have tokens, bool [B, T]."""
        return token_mask(inputs, has_ids=self.token_embedding is not None)

    def train_step(self, data):
        size = self._settings["adversarial"]
        return adversarial_step(self, data, size) if size else super().train_step(data)

    def call(self, inputs, training=None):
        mask = self.token_mask(inputs)
        features = self.token_features(inputs, training=training)
        return self.tag_potentials(features, mask, training=training)

    def build(self, input_shape):
        """Creates all weights: a dict of shapes, as the inputs -> None."""
        shapes = {name: tuple(shape) for name, shape in input_shape.items()}
        self._input_shapes = shapes
        if self.token_embedding is None:
            width = shapes["words"][-1]
        else:
            build_layer(self.token_embedding, shapes["words"])
            width = self.token_embedding.compute_output_shape(shapes["words"])[-1]
        if self.char_features is not None:
            build_layer(self.char_features, shapes["chars"])
            width += self.char_features.compute_output_shape(shapes["chars"])[-1]
        width += sum(shapes[name][-1] for name in shapes if name not in NO_FEATURES)
        shape = (*shapes["words"][:2], width)
        for layer in self.encoder_layers:
            build_layer(layer, shape)
            shape = layer.compute_output_shape(shape)
        if self.dense is not None:
            build_layer(self.dense, shape)
            shape = (*shape[:2], self.dense.units)
        build_layer(self.crf or self.independent_tags, shape)
        self.built = True

    def get_build_config(self):
        return {"input_shape": self._input_shapes} if self.built else None

    def get_config(self):
        def serialize(layer):
            return None if layer is None else keras.saving.serialize_keras_object(layer)

        return {
            **super().get_config(),
            **self._settings,
            "temperature": self.temperature,
            "token_embedding": serialize(self.token_embedding),
            "char_features": serialize(self.char_features),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        for name in ("token_embedding", "char_features"):
            if isinstance(config[name], dict):
                config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)


def token_mask(inputs: dict[str, tf.Tensor], has_ids: bool) -> tf.Tensor:
    """Where there are tokens, bool [B, T]; `has_ids`: the words are ids, of which 0 is padding."""
    if "mask" in inputs:
        return tf.cast(inputs["mask"], tf.bool)
    if not has_ids:
        raise ValueError(f"Received {sorted(inputs)}; expected a 'mask' beside word vectors")
    return inputs["words"] != 0


def pack_independent(emissions: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Emissions [B, T, N] of tags that do not know of each other -> as a CRF layer puts out."""
    emissions = tf.cast(emissions, tf.float32)
    steps = tf.concat([emissions, tf.cast(mask, tf.float32)[..., None]], axis=-1)
    return tf.pad(steps, [[0, 0], [emissions.shape[-1], 0], [0, 0]])  # the transitions


def _dropout(rate: float, acts: bool) -> keras.layers.Layer:
    return keras.layers.SpatialDropout1D(rate if acts else 0.0)
