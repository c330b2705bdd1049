"""The network of few-shot tagging: features of a token and its neighbours, SVMs over them."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasner.encoders import build_layer
from kerasner.few_shot.language_model import LanguageModel
from kerasner.few_shot.machines import SupportVectorMachines
from kerasner.layers import CRF, ProductQuantizedEmbedding, QuantizedEmbedding
from kerasner.network import NO_FEATURES, pack_independent, token_mask

Embedding = QuantizedEmbedding | ProductQuantizedEmbedding


@keras.saving.register_keras_serializable("kerasner")
class SvmNetwork(keras.Model):
    """Tagger of sentences by support vector machines, one a tag, in the form of `NerNetwork`.

    The features of a token are its word vector, scaled to unit length, and the further inputs as
    they are, then the same of its neighbours, weighed less; beyond the borders of the sentence
    there are zeros. With a language model its features take the place of the word vector
    (`LanguageModel.features`); where it guesses initials, these have all features of the name that
    they belong to.
    Tags know of each other by transitions alone, with `use_crf`. Nothing in it is trained by
    gradients: see `kerasner.few_shot.fitting`.

    Args:
        tags: names of the tags in the order of their ids. Each has a machine that tells it from all
            others; of two, one machine is enough.
        token_embedding: layer from word ids [..., ] to vectors [..., E], id 0 being padding; None:
            the words are vectors already, or there is a language model.
        language_model: built; the words are then the ids that it reads.
        vectors, kernel, gamma: of `SupportVectorMachines`.
        window: neighbours on either side.
        decay: how much the features of a neighbour count, to the power of its distance.
        scheme: of the tags, see `kerasner.schemes`.
        use_crf: whether tags know of each other, by the transitions of a `CRF` layer.

    Call arguments:
        inputs: dict of
            "words": int [B, T], 0 is padding; or float [B, T, E] without `token_embedding`; or
                int [B, T, 3] with `language_model`;
            "mask": [B, T], not 0 where there is a token; may be left out with `token_embedding`;
            any further name: float [B, T, K], in alphabetical order ("cap").

    Returns:
        float32 [B, N + T, N + 1], to be read by `kerasner.layers.unpack`; transitions are 0
        without a CRF.

    Example: see `kerasner.few_shot.fitting.fitted`.
    """

    temperature = 1.0  # its margins are calibrated one by one

    def __init__(
        self,
        tags: Sequence[str],
        token_embedding: Embedding | None,
        language_model: LanguageModel | None = None,
        vectors: int = 0,
        kernel: str = "rbf",
        gamma: float | None = None,
        window: int = 1,
        decay: float = 1.0,
        scheme: str = "bio",
        use_crf: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._settings = {
            "tags": list(tags),
            "vectors": vectors,
            "kernel": kernel,
            "gamma": gamma,
            "window": window,
            "decay": decay,
            "scheme": scheme,
            "use_crf": use_crf,
        }
        self.token_embedding = token_embedding
        self.language_model = language_model
        self.svm = SupportVectorMachines(len(self.machine_tags), vectors, kernel, gamma, name="svm")
        self.use_crf = use_crf
        self.crf = None
        if use_crf:
            self.crf = CRF(
                tags=list(tags),
                scheme=scheme,
                constraints="never",  # what is rare has low potentials already
                use_kernel=False,
                use_boundary=False,
                chain_initializer="zeros",
                trainable=False,
                name="crf",
            )

    def with_vectors(self, vectors: int) -> "SvmNetwork":
        """Another network over the same word vectors with so many support vectors, built."""
        settings = {**self._settings, "vectors": vectors}
        network = SvmNetwork(
            token_embedding=self.token_embedding, language_model=self.language_model, **settings
        )
        network.build(self._input_shapes)
        return network

    @property
    def tags(self) -> list[str]:
        """Names of the tags in the order of their ids."""
        return list(self._settings["tags"])

    @property
    def scheme(self) -> str:
        """Tagging scheme of the tags."""
        return self._settings["scheme"]

    @property
    def machine_tags(self) -> list[int]:
        """Ids of the tags that the machines stand for."""
        tags = self._settings["tags"]
        if len(tags) == 2:
            return [0 if tags[1] == "O" else 1]
        return list(range(len(tags)))

    @property
    def named_layers(self) -> dict[str, keras.layers.Layer]:
        """The layers that have weights, by the names under which these are stored."""
        named = {"token_embedding": self.token_embedding, "svm": self.svm, "crf": self.crf}
        return {name: layer for name, layer in named.items() if layer is not None}

    def token_features(self, inputs: dict[str, tf.Tensor], training=None) -> tf.Tensor:
        """Features of single tokens: inputs of shape [..., ], [..., K], ... -> float [..., D]."""
        words = inputs["words"]
        if self.language_model is not None:
            features = [self.language_model.token_features(words)]
        else:
            vectors = words if self.token_embedding is None else self.token_embedding(words)
            features = [tf.math.l2_normalize(tf.cast(vectors, tf.float32), axis=-1)]
        features += [
            tf.cast(inputs[name], tf.float32) for name in sorted(inputs) if name not in NO_FEATURES
        ]
        return tf.concat(features, axis=-1)

    def in_context(self, features: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Features [B, T, D] and mask bool [B, T] -> with the neighbours', [B, T, (2W + 1) D].

        Of a language model's features some have no neighbours, see `LanguageModel.features`.
        """
        window, decay = self._settings["window"], self._settings["decay"]
        own = []
        if self.language_model is not None:
            width = self.language_model.token_width
            shared, *own = self.language_model.features(features[..., :width], mask)
            features = tf.concat([shared, features[..., width:]], axis=-1)
            stand_ins = self.language_model.stand_ins(shared, mask)
            if stand_ins is not None:
                features, *own = (tf.gather(x, stand_ins, batch_dims=1) for x in (features, *own))
        features = tf.where(mask[..., None], features, 0.0)
        padded = tf.pad(features, [[0, 0], [window, window], [0, 0]])
        length = tf.shape(features)[1]
        columns = [
            padded[:, place : place + length] * decay ** abs(place - window)
            for place in range(2 * window + 1)
        ]
        return tf.concat([*columns, *own], axis=-1)

    def tag_potentials(
        self, features: tf.Tensor, mask: tf.Tensor, training=None, places=None
    ) -> tf.Tensor:
        """Features [B, T, D] and mask bool [B, T] -> tensor like the output of a CRF layer.

        With places, int32 [B, T], features are rows [R, D], of which each token has the one there.
        """
        if places is not None:
            features = tf.gather(features, places)
        emissions = self.svm(self.in_context(features, mask))
        if len(self._settings["tags"]) == 2:  # log-odds against the other tag
            place = self.machine_tags[0]
            emissions = tf.pad(emissions, [[0, 0], [0, 0], [place, 1 - place]])
        else:  # each against all others: what is normalized are the probabilities
            emissions = tf.math.log_sigmoid(emissions)
        if self.crf is not None:
            return self.crf(emissions, mask=mask)
        return pack_independent(emissions, mask)

    def call(self, inputs, training=None):
        mask = token_mask(inputs, has_ids=self.token_embedding is not None)
        return self.tag_potentials(self.token_features(inputs), mask)

    def build(self, input_shape):
        """Creates all weights: a dict of shapes, as the inputs -> None."""
        shapes = {name: tuple(shape) for name, shape in input_shape.items()}
        self._input_shapes = shapes
        context = 2 * self._settings["window"] + 1
        if self.language_model is not None:
            shared, own = self.language_model.feature_widths
        elif self.token_embedding is None:
            shared, own = shapes["words"][-1], 0
        else:
            build_layer(self.token_embedding, shapes["words"])
            shared, own = self.token_embedding.output_dim, 0
        shared += sum(shapes[name][-1] for name in shapes if name not in NO_FEATURES)
        width = context * shared + own
        build_layer(self.svm, (*shapes["words"][:2], width))
        if self.crf is not None:
            build_layer(self.crf, (*shapes["words"][:2], len(self.tags)))
        self.built = True

    def get_build_config(self):
        return {"input_shape": self._input_shapes} if self.built else None

    def get_config(self):
        layers = {"token_embedding": self.token_embedding, "language_model": self.language_model}
        for name, layer in layers.items():
            if layer is not None:
                layers[name] = keras.saving.serialize_keras_object(layer)
        return {**super().get_config(), **self._settings, **layers}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        for name in ("token_embedding", "language_model"):
            if isinstance(config.get(name), dict):
                config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)
