"""The tagging network: features of each token, recurrent layers, CRF."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from kerasner.layers.crf import CRF
from kerasner.layers.lstm import LSTM

UNKNOWN_ID = 1  # of TextVectorization: 0 is padding, 1 is any unknown word


@keras.saving.register_keras_serializable("kerasner")
class NerNetwork(keras.Model):
    """Bidirectional LSTM-CRF over word, character and capitalization features.

    Features -> variational dropout -> stacked bidirectional LSTM -> variational dropout -> CRF.
    Every output is independent of padding and of the rest of the batch. It is an ordinary Keras
    model: `compile` it with `kerasner.losses.CRFLoss` and `kerasner.metrics.EntityF1`, then `fit`.

    Args:
        tags: names of the tags in the order of their ids.
        token_embedding: layer from word ids [..., ] to vectors [..., D]; id 0 is padding.
        char_features: layer from character ids [..., C] to vectors [..., F], or None.
        n_hidden_list: units a direction of each LSTM layer.
        dropout: rate of variational dropout: one mask a sentence, shared by all its steps.
        embeddings_dropout, intra_layer_dropout, top_dropout: whether it acts on the features,
            between LSTM layers, before the CRF.
        word_dropout: probability, in training, of reading a word as unknown.
        scheme, constraints: of the `CRF` layer.

    Call arguments:
        inputs: dict of
            "words": int [B, T], 0 is padding;
            "chars": int [B, T, C], where there are `char_features`;
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
        token_embedding: keras.layers.Layer,
        char_features: keras.layers.Layer | None = None,
        n_hidden_list: Sequence[int] = (128,),
        dropout: float = 0.5,
        embeddings_dropout: bool = True,
        intra_layer_dropout: bool = True,
        top_dropout: bool = True,
        word_dropout: float = 0.0,
        scheme: str = "bio",
        constraints: str = "decoding",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not n_hidden_list:
            raise ValueError("Received an empty n_hidden_list; expected the units of each layer")
        self._settings = {
            "tags": list(tags),
            "n_hidden_list": [int(units) for units in n_hidden_list],
            "dropout": dropout,
            "embeddings_dropout": embeddings_dropout,
            "intra_layer_dropout": intra_layer_dropout,
            "top_dropout": top_dropout,
            "word_dropout": word_dropout,
            "scheme": scheme,
            "constraints": constraints,
        }
        self.token_embedding = token_embedding
        self.char_features = char_features
        self.word_dropout = word_dropout
        rate = dropout if embeddings_dropout else 0.0
        self.embeddings_dropout = keras.layers.SpatialDropout1D(rate)
        self.recurrent_layers = [LSTM(units, bidirectional=True) for units in n_hidden_list]
        last = len(n_hidden_list) - 1
        self.dropouts = [
            keras.layers.SpatialDropout1D(
                dropout if (top_dropout if layer == last else intra_layer_dropout) else 0.0
            )
            for layer in range(last + 1)
        ]
        self.crf = CRF(tags=list(tags), scheme=scheme, constraints=constraints)

    @property
    def tags(self) -> list[str]:
        """Names of the tags in the order of their ids."""
        return list(self._settings["tags"])

    @property
    def scheme(self) -> str:
        """Tagging scheme of the tags."""
        return self._settings["scheme"]

    def token_features(self, inputs: dict[str, tf.Tensor], training=None) -> tf.Tensor:
        """Features of single tokens: inputs of shape [..., ] and [..., C] -> float [..., D]."""
        words = inputs["words"]
        if training and self.word_dropout:
            dropped = (tf.random.uniform(tf.shape(words)) < self.word_dropout) & (words != 0)
            words = tf.where(dropped, tf.cast(UNKNOWN_ID, words.dtype), words)
        features = [self.token_embedding(words)]
        if self.char_features is not None:
            features.append(self.char_features(inputs["chars"], training=training))
        others = [inputs[name] for name in sorted(inputs) if name not in ("words", "chars")]
        features += [tf.cast(other, features[0].dtype) for other in others]
        return tf.concat(features, axis=-1)

    def tag_potentials(self, features: tf.Tensor, mask: tf.Tensor, training=None) -> tf.Tensor:
        """Features [B, T, D] and mask bool [B, T] -> output of the CRF layer."""
        x = self.embeddings_dropout(features, training=training)
        for recurrent, dropout in zip(self.recurrent_layers, self.dropouts, strict=True):
            x = dropout(recurrent(x, mask=mask, training=training), training=training)
        return self.crf(x, mask=mask, training=training)

    def call(self, inputs, training=None):
        features = self.token_features(inputs, training=training)
        return self.tag_potentials(features, inputs["words"] != 0, training=training)

    def build(self, input_shape):
        """Creates all weights: a dict of shapes, as the inputs -> None."""
        shapes = {name: tuple(shape) for name, shape in input_shape.items()}
        self._input_shapes = shapes
        _build(self.token_embedding, shapes["words"])
        width = self.token_embedding.compute_output_shape(shapes["words"])[-1]
        if self.char_features is not None:
            _build(self.char_features, shapes["chars"])
            width += self.char_features.compute_output_shape(shapes["chars"])[-1]
        width += sum(shapes[name][-1] for name in shapes if name not in ("words", "chars"))
        shape = (*shapes["words"], width)
        for recurrent in self.recurrent_layers:
            _build(recurrent, shape)
            shape = recurrent.compute_output_shape(shape)
        _build(self.crf, shape)
        self.built = True

    def get_build_config(self):
        return {"input_shape": self._input_shapes} if self.built else None

    def get_config(self):
        def serialize(layer):
            return None if layer is None else keras.saving.serialize_keras_object(layer)

        return {
            **super().get_config(),
            **self._settings,
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


def _build(layer: keras.layers.Layer, shape: tuple[int | None, ...]) -> None:
    if not layer.built:
        with tf.name_scope(layer.name):
            layer.build(shape)
