"""The language model of few-shot tagging: what a word is like, and what its place asks for."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasner.encoders import both_sides, build_layer
from kerasner.layers import LSTM

LETTERS = 7  # none of the kinds of `Capitalization("extended")`, and these six
# How much groups of features of unit length count, and how sharply clusters are told apart: chosen
# on the valid part of Collection3.
_WORD, _EXPECTATION = 0.5, 0.5
_SHARPNESS = 12.0
_GUESS_UNITS = 128
INITIAL = "initial"  # the kind of names that are letters with full stops
_INITIALS = 6  # tokens of three initials


@keras.saving.register_keras_serializable("kerasner")
class LanguageModel(keras.layers.Layer):
    """Predicts a word from both sides of its sentence; what it computes for that are features.

    A token comes as three ids: its word, how its letters are capitalized, and its last characters.
    Their vectors make one vector of the token (E wide). From it a dense network makes the *type* of
    the token, and an LSTM in each direction over the sentence, with a dense network over what the
    two know left and right of a place, makes the *expectation* at that place. The log-probability
    of a word at a place is the product of type and expectation, plus a bias of the word and the log
    of its frequency. So both live in one space, in which words that can stand in the same places
    are close, whatever they are about.

    It is trained by `kerasner.pretraining` and frozen afterwards. On top of it a dense network may
    guess of which kind of name a token is, see `kerasner.distant`.

    Args:
        token_embedding: layer from word ids [...] to vectors [..., D], id 0 being padding.
        endings: number of ids of last characters, padding and unknown ones included.
        units: width of the LSTM of each direction.
        dim: width K of types and expectations.
        hidden: width of the hidden layer of both dense networks.
        ending_dim: width of the vectors of last characters.
        clusters: number of kinds of tokens, see `features`.
        names: kinds of names that are guessed, the first of them "O", no name; empty: none.
        dropout: rate, on the inputs and outputs of the LSTM.
        word_dropout: probability, in training, that the LSTM reads a word as unknown.
        **kwargs: Passed to `keras.layers.Layer`.

    Call arguments:
        inputs: token vectors, float [B, T, E], as `token_vectors` gives them.
        mask: bool [B, T].
        training: Python bool or None.

    Returns:
        Expectations, float32 [B, T, K]; that of a place does not depend on its own token.

    Example:

    ```python
    vectors = language_model.token_vectors(ids)  # int [B, T, 3] -> [B, T, E]
    expectations = language_model(vectors, mask=ids[..., 0] != 0)
    types, bias = language_model.types(vectors)
    ```

    References:
        Melamud, Goldberger, Dagan (2016): context2vec: learning generic context embedding with
        bidirectional LSTM.
        Peters et al. (2018): Deep contextualized word representations.
    """

    def __init__(
        self,
        token_embedding: keras.layers.Layer,
        endings: int,
        units: int = 256,
        dim: int = 128,
        hidden: int = 256,
        ending_dim: int = 32,
        clusters: int = 256,
        names: Sequence[str] = (),
        dropout: float = 0.15,
        word_dropout: float = 0.05,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.settings = {
            "units": units,
            "dim": dim,
            "hidden": hidden,
            "ending_dim": ending_dim,
            "clusters": clusters,
            "names": list(names),
            "dropout": dropout,
            "word_dropout": word_dropout,
        }
        self.supports_masking = True
        policy = {"dtype": self.dtype_policy}
        self.token_embedding = token_embedding
        self.endings = endings
        self.ending_embedding = keras.layers.Embedding(endings, ending_dim, dtype="float32")
        self.lstm = LSTM(units, bidirectional=True, **policy)
        self.context_hidden = keras.layers.Dense(hidden, "relu", **policy)
        self.context_out = keras.layers.Dense(dim, dtype="float32")
        self.type_hidden = keras.layers.Dense(hidden, "relu", **policy)
        self.type_out = keras.layers.Dense(dim + 1, dtype="float32")
        self.guess_hidden = self.guess_out = None
        if names:
            self.guess_hidden = keras.layers.Dense(_GUESS_UNITS, "relu", dtype="float32")
            self.guess_out = keras.layers.Dense(len(names), dtype="float32")
        self._dropout = keras.layers.Dropout(dropout, dtype="float32")

    @property
    def dim(self) -> int:
        """Width of types and expectations."""
        return self.settings["dim"]

    @property
    def word_dim(self) -> int:
        """Width of the word vectors, with which token vectors begin."""
        return self.token_embedding.output_dim

    @property
    def width(self) -> int:
        """Width of token vectors, E."""
        return self.word_dim + LETTERS + self.settings["ending_dim"]

    def build(self, input_shape: Any = None) -> None:
        if self.built:
            return
        settings, width = self.settings, self.width
        build_layer(self.token_embedding, (None,))
        build_layer(self.ending_embedding, (None,))
        build_layer(self.lstm, (None, None, width))
        build_layer(self.context_hidden, (None, None, 2 * settings["units"]))
        build_layer(self.type_hidden, (None, width))
        for layer in (self.context_out, self.type_out):
            build_layer(layer, (None, settings["hidden"]))
        if self.guess_hidden is not None:
            build_layer(self.guess_hidden, (None, sum(self.guess_widths)))
            build_layer(self.guess_out, (None, _GUESS_UNITS))
        # Of running text, set when training ends. What differs from the means is telling.
        self.mean_type = self._statistic("mean_type", (self.dim,))
        self.mean_expectation = self._statistic("mean_expectation", (self.dim,))
        self.centroids = self._statistic("centroids", (settings["clusters"], self.dim))
        self.built = True

    def _statistic(self, name: str, shape: tuple[int, ...]) -> Any:
        return self.add_weight(
            name=name, shape=shape, dtype="float32", initializer="zeros", trainable=False
        )

    @property
    def statistics(self) -> dict[str, Any]:
        """The weights that are set when training ends, by their names."""
        names = ("mean_type", "mean_expectation", "centroids")
        return {name: getattr(self, name) for name in names}

    @property
    def named_layers(self) -> dict[str, keras.layers.Layer]:
        """The layers that have weights, by the names under which these are stored."""
        named = {
            "token_embedding": self.token_embedding,
            "ending_embedding": self.ending_embedding,
            "lstm": self.lstm,
            "context_hidden": self.context_hidden,
            "context_out": self.context_out,
            "type_hidden": self.type_hidden,
            "type_out": self.type_out,
            "guess_hidden": self.guess_hidden,
            "guess_out": self.guess_out,
        }
        return {name: layer for name, layer in named.items() if layer is not None}

    def token_vectors(self, ids: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Ids of tokens, int [..., 3] -> float32 [..., E]; zeros where the word is 0."""
        words, letters, endings = tf.unstack(ids, axis=-1)
        if training and self.settings["word_dropout"]:
            drawn = tf.random.uniform(tf.shape(words)) < self.settings["word_dropout"]
            words = tf.where(drawn & (words > 1), tf.ones_like(words), words)
        vectors = tf.concat(
            [
                tf.math.l2_normalize(tf.cast(self.token_embedding(words), tf.float32), axis=-1),
                tf.one_hot(letters, LETTERS),
                tf.cast(self.ending_embedding(endings), tf.float32),
            ],
            axis=-1,
        )
        return vectors * tf.cast(words > 0, tf.float32)[..., None]

    def types(self, vectors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Token vectors [..., E] -> types [..., K] and biases [...]."""
        outputs = self.type_out(self.type_hidden(vectors))
        return outputs[..., :-1], outputs[..., -1]

    def call(self, inputs, mask=None, training=None):
        states = self.lstm(self._dropout(inputs, training=training), mask=mask, training=training)
        sides = self._dropout(tf.cast(both_sides(states), tf.float32), training=training)
        return self.context_out(self.context_hidden(sides))

    def token_features(self, ids: tf.Tensor) -> tf.Tensor:
        """Ids of tokens, int [..., 3] -> what `features` takes, float32 [..., K + E]."""
        vectors = self.token_vectors(ids)
        return tf.concat([self.types(vectors)[0], vectors], axis=-1)

    @property
    def token_width(self) -> int:
        """Width of `token_features`, K + E."""
        return self.dim + self.width

    def features(self, tokens: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Features of tokens in their sentences, in groups of unit length.

        Args:
            tokens: of `token_features`, [B, T, K + E].
            mask: bool [B, T].

        Returns:
            What to use of a token and of its neighbours: letters, type and the probabilities of
            the kinds of names, if any, [B, T, F]; and what to use of the token alone: word vector,
            expectation, the sum of type and expectation, and the square roots of the probabilities
            of the clusters near that sum, [B, T, G].
        """
        shared, own = self.plain_features(tokens, mask)
        if self.guess_out is None:
            return shared, own
        guesses = tf.nn.softmax(self.guess(self.guess_inputs(shared, own, mask)))
        return tf.concat([shared, guesses], axis=-1), own

    def stand_ins(self, shared: tf.Tensor, mask: tf.Tensor) -> tf.Tensor | None:
        """Which token each is to be taken for: itself, or, of an initial, the name that it is of.

        That "J." belongs to a name can only be told from the rest of that name, which follows it or
        else comes before it. Without guesses of initials there is nothing to tell.

        Args:
            shared: as `features` gives it, [B, T, F].
            mask: bool [B, T].

        Returns:
            Numbers of tokens, int32 [B, T], or None.
        """
        names = self.settings["names"]
        if INITIAL not in names:
            return None
        guesses = shared[..., -len(names) :]
        is_initial = (guesses[..., names.index(INITIAL)] > 0.5) & mask
        is_name = (guesses[..., 0] < 0.5) & mask & ~is_initial
        own = tf.broadcast_to(tf.range(tf.shape(mask)[1]), tf.shape(mask))
        following, preceding = own, own
        for _ in range(_INITIALS):
            onward = tf.concat([following[:, 1:], following[:, -1:]], axis=1)
            back = tf.concat([preceding[:, :1], preceding[:, :-1]], axis=1)
            following = tf.where(is_initial, onward, following)
            preceding = tf.where(is_initial, back, preceding)
        found = own
        for other in (preceding, following):
            found = tf.where(tf.gather(is_name, other, batch_dims=1), other, found)
        return found

    def plain_features(self, tokens: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What `features` returns, without guesses."""
        types, vectors = tf.split(tokens, [self.dim, self.width], axis=-1)
        types = _unit(types - tf.convert_to_tensor(self.mean_type))
        expectations = _unit(self(vectors, mask=mask) - tf.convert_to_tensor(self.mean_expectation))
        both = _unit(types + expectations)
        closeness = tf.matmul(both, tf.convert_to_tensor(self.centroids)[None], transpose_b=True)
        words, letters, _ = tf.split(vectors, [self.word_dim, LETTERS, -1], axis=-1)
        own = [
            _WORD * words,
            _EXPECTATION * expectations,
            both,
            tf.sqrt(tf.nn.softmax(_SHARPNESS * closeness)),
        ]
        return tf.concat([letters, types], axis=-1), tf.concat(own, axis=-1)

    def guess_inputs(self, shared: tf.Tensor, own: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Of `plain_features`, what `guess` takes: [B, T, sum(guess_widths)].

        What tells of the place comes first: letters and types of the tokens before and after it,
        its own letters, its expectation; then what tells which word it is.
        """
        shared = tf.where(mask[..., None], shared, 0.0)
        before = tf.pad(shared, [[0, 0], [1, 0], [0, 0]])[:, :-1]
        after = tf.pad(shared, [[0, 0], [0, 1], [0, 0]])[:, 1:]
        letters, types = tf.split(shared, [LETTERS, self.dim], axis=-1)
        words, expectations, both = tf.split(own, [self.word_dim, self.dim, -1], axis=-1)
        place = [before, after, letters, expectations]
        return tf.concat([*place, words, types, both], axis=-1)

    def guess(self, inputs: tf.Tensor) -> tf.Tensor:
        """Logits of the kinds of names, [..., names]; inputs as of `guess_inputs`."""
        return self.guess_out(self.guess_hidden(inputs))

    @property
    def guess_widths(self) -> tuple[int, int]:
        """Widths of what `guess_inputs` tells of a token's place, and of its word."""
        place = 3 * LETTERS + 3 * self.dim
        return place, self.word_dim + 2 * self.dim + self.settings["clusters"]

    @property
    def feature_widths(self) -> tuple[int, int]:
        """Widths F and G of `features`."""
        own = self.word_dim + 2 * self.dim + self.settings["clusters"]
        return LETTERS + self.dim + len(self.settings["names"]), own

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.dim)

    def get_config(self) -> dict[str, Any]:
        embedding = keras.saving.serialize_keras_object(self.token_embedding)
        return {
            **super().get_config(),
            **self.settings,
            "endings": self.endings,
            "token_embedding": embedding,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LanguageModel":
        config = dict(config)
        config["token_embedding"] = keras.saving.deserialize_keras_object(config["token_embedding"])
        return cls(**config)


def _unit(vectors: tf.Tensor) -> tf.Tensor:
    return tf.math.l2_normalize(vectors, axis=-1)
