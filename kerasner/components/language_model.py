"""The language model as a component: from tokens to the ids that it reads."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasner import registry, storage
from kerasner.components._files import TableFile, read_lines, write_lines
from kerasner.components._shipped import shipped_or_found
from kerasner.components._strings import counted, is_line
from kerasner.errors import ArchiveError, ConfigError
from kerasner.few_shot.language_model import LanguageModel
from kerasner.layers import Capitalization, Lowercase, Sanitizer

NAME = "language_model"  # of the files in the folder of a language model
_ENDING = 3  # characters
_SHORT = "^" * _ENDING  # stands before a word, so that each has an ending
_LEVELS = 127  # of a quantised weight, on either side of 0
_SMALL = 1024  # numbers; weights below stay as they are


@registry.register("language_model")
class LanguageModelEmbedder:
    """Features of tokens from a language model, frozen; for `ner_svm`, in place of word vectors.

    Takes tokens in their letter case. `python -m kerasner.pretraining` trains language models.

    Args:
        load_path: name of a language model that comes with kerasner, or the folder of one. Of no
            account where a trained tagger is loaded: that has it in its own folder.

    Attributes:
        embedding: the language model.
        text: what makes its ids.
    """

    def __init__(self, load_path: str | None = None):
        self._load_path = load_path

    def fit(self, *tokens: tf.Tensor) -> None:
        """Reads the language model; nothing is learnt from the tokens."""
        if not isinstance(self._load_path, str) or not self._load_path:
            raise ConfigError(
                "language_model: load_path: expected the name or the folder of a language model, "
                f"received {self._load_path!r:.200}"
            )
        where = f"{NAME}: load_path"
        with shipped_or_found(self._load_path, NAME, where) as (place, _):
            self.load(place, NAME)

    def __call__(self, tokens: tf.Tensor) -> tf.Tensor:
        return self.text(tokens)

    def save(self, folder: Path, name: str) -> None:
        save(self.text, self.embedding, folder, name)

    def load(self, folder: Path, name: str) -> None:
        self.text, self.embedding = load(folder, name)


class LanguageModelText(keras.layers.Layer):
    """Tokens to the ids that a `LanguageModel` reads: strings [N] -> int32 [N, 3].

    They are those of the word, of its letters (see `Capitalization`), and of its last three
    characters. Words are in lower case, digits evened out, as in the taggers.

    Args:
        embedder: class_name of the component of the word vectors, and its settings.
        sanitizer: settings of the layer `Sanitizer`.
        ending_min_words: endings that fewer distinct words have are unknown.
    """

    def __init__(
        self,
        embedder: Mapping[str, Any],
        sanitizer: Mapping[str, Any],
        ending_min_words: int = 20,
    ):
        super().__init__(trainable=False, dtype="float32")
        self.settings = {
            "embedder": dict(embedder),
            "sanitizer": dict(sanitizer),
            "ending_min_words": ending_min_words,
        }
        settings = dict(embedder)
        self.embedder = registry.get(settings.pop("class_name"), "embedder")(**settings)
        self._lowercase, self._sanitizer = Lowercase(), Sanitizer(**sanitizer)
        self._capitalization = Capitalization("extended")

    @property
    def n_endings(self) -> int:
        """Number of ids of last characters: padding and unknown ones come first."""
        return len(self._endings) + 2

    def fit(self, tokens: tf.Tensor) -> None:
        """Reads the word vectors, and picks the words and endings that get vectors of their own."""
        words = self._words(tokens)
        self.embedder.fit(words)
        endings: Counter[str] = Counter()
        for ending, count in counted(_endings(tf.unique(words)[0])).items():
            if is_line(ending) and count >= self.settings["ending_min_words"]:
                endings[ending] = count
        self._set(sorted(endings) or [_SHORT])  # a table cannot be empty

    def _set(self, endings: list[str]) -> None:
        self._endings = endings
        self._file = TableFile(endings)
        self._ending_ids = keras.layers.TextVectorization(
            standardize=None, split=None, vocabulary=self._file.path
        )
        self._lookup = self.embedder.lookup  # tracked, so that a SavedModel holds its table

    def call(self, tokens: tf.Tensor) -> tf.Tensor:
        words = self._words(tokens)
        kinds = tf.cast(self._capitalization(tokens), tf.int32)
        letters = tf.reduce_sum(kinds * (tf.range(tf.shape(kinds)[-1]) + 1), axis=-1)
        endings = tf.maximum(tf.cast(self._ending_ids(_endings(words)), tf.int32), 1)
        return tf.stack([self.embedder(words), letters, endings], axis=-1)

    def _words(self, tokens: tf.Tensor) -> tf.Tensor:
        return self._sanitizer(self._lowercase(tokens))

    def save(self, folder: Path, name: str) -> None:
        """Writes its tables, the word vectors among them."""
        write_lines(folder / f"{name}-endings.txt", self._endings)
        self.embedder.save(folder, f"{name}-vectors")

    def load(self, folder: Path, name: str) -> None:
        """Reads what `save` wrote."""
        self.embedder.load(folder, f"{name}-vectors")
        self._set(read_lines(folder / f"{name}-endings.txt"))


def save(text: LanguageModelText, model: LanguageModel, folder: Path, name: str = NAME) -> None:
    """Writes a language model into an existing folder, its large weights as 8-bit integers."""
    text.save(folder, name)
    storage.write_json(folder / f"{name}.json", {"text": text.settings, "model": model.settings})
    stored = {}
    for key, value in _weights(model).items():
        if value.size < _SMALL:
            stored[key] = value
        else:
            scale = np.maximum(np.abs(value).max(axis=0, keepdims=True), 1e-12) / _LEVELS
            stored[key] = np.round(value / scale).astype(np.int8)
            stored[f"{key}:scale"] = scale
    storage.save_weights(folder / f"{name}-weights.npz", stored)


def load(folder: Path, name: str = NAME) -> tuple[LanguageModelText, LanguageModel]:
    """Reads what `save` wrote; the model is built, and not trainable.

    Raises:
        ArchiveError: the folder holds no language model, or a damaged one.
    """
    content = storage.read_json(folder / f"{name}.json")
    try:
        text = LanguageModelText(**content["text"])
        text.load(folder, name)
        model = LanguageModel(text.embedder.embedding, text.n_endings, **content["model"])
    except (KeyError, TypeError, ValueError) as error:
        raise ArchiveError(f"{folder / f'{name}.json'}: damaged: {error}") from error
    model.build()
    model.trainable = False
    path = folder / f"{name}-weights.npz"
    stored = storage.load_weights(path)
    for key, weight in variables(model).items():
        value = stored.get(key)
        if value is None or value.shape != tuple(weight.shape):
            raise ArchiveError(f"{path}: damaged: expected {key} of shape {tuple(weight.shape)}")
        if value.dtype == np.int8:
            scale = stored.get(f"{key}:scale")
            if scale is None or scale.shape != (1, *value.shape[1:]):
                raise ArchiveError(f"{path}: damaged: expected the scale of {key}")
            value = value * scale
        weight.assign(value)
    return text, model


def variables(model: LanguageModel) -> dict[str, Any]:
    """All weights of a language model, by the names under which they are stored."""
    return {**storage.layer_weights(model), **model.statistics}


def _weights(model: LanguageModel) -> dict[str, np.ndarray]:
    return {key: np.asarray(weight) for key, weight in variables(model).items()}


def _endings(words: tf.Tensor) -> tf.Tensor:
    """The last three characters of words, strings of any shape."""
    return tf.strings.substr(tf.strings.join([_SHORT, words]), -_ENDING, _ENDING, "UTF8_CHAR")
