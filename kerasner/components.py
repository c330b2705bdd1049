"""The components that a configuration may name, under DeepPavlov's class names."""

import math
import tempfile
from collections import Counter
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from kerasner.config import check_number
from kerasner.errors import ArchiveError, ConfigError
from kerasner.layers import (
    Capitalization,
    CharCNN,
    CharSplitter,
    Lowercase,
    QuantizedEmbedding,
    Sanitizer,
    SentenceSplitter,
    Tokenizer,
)
from kerasner.network import UNKNOWN_ID, NerNetwork
from kerasner.registry import register
from kerasner.vectors import QuantizedVectors, read_glove

register("str_lower")(Lowercase)
register("sanitizer")(Sanitizer)
register("char_splitter")(CharSplitter)
register("capitalization_featurizer")(Capitalization)


@register("lazy_tokenizer")
class TextSplitter:
    """Raw text to sentences of tokens. Token lists pass as they are.

    Args:
        mode: of the `Tokenizer`: "treebank", "unicode" or "whitespace".
        language: of the `SentenceSplitter`.
        max_sentence_tokens: longer sentences are cut.
    """

    def __init__(
        self, mode: str = "treebank", language: str = "en", max_sentence_tokens: int = 200
    ):
        self.tokenizer = Tokenizer(mode)
        self.sentence_splitter = SentenceSplitter(language, max_sentence_tokens)


class _Fitted:
    """A vocabulary file read by a table in the graph.

    Tables take the path of a file: a list of 340,000 words would become part of the graph.
    """

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="kerasner-")

    def _write(self, words: list[str]) -> str:
        path = Path(self._folder.name) / "vocabulary.txt"
        path.write_text("".join(f"{word}\n" for word in words), encoding="utf-8", newline="\n")
        return str(path)


@register("simple_vocab")
class SimpleVocab(_Fitted):
    """Strings to ids: 0 is padding, 1 any unknown string, then by falling frequency.

    Over targets (`in_y`) there is neither padding nor an unknown tag: ids start at 0.

    Args:
        max_tokens: keep the most frequent strings only.
        targets: whether the strings are tags. Set by the chainer.
    """

    def __init__(self, max_tokens: int | None = None, targets: bool = False):
        super().__init__()
        self.max_tokens = max_tokens
        self.targets = targets
        self.items: list[str] = []

    @property
    def len(self) -> int:
        """Number of ids."""
        return len(self.items) + (0 if self.targets else 2)

    def fit(self, strings: tf.Tensor) -> None:
        """Collects the distinct strings of a tensor of any shape."""
        data = tf.data.Dataset.from_tensors(tf.reshape(strings, [-1]))
        if self.targets:
            lookup = keras.layers.StringLookup(num_oov_indices=0)
            lookup.adapt(data)
            self._set(lookup.get_vocabulary())
        else:
            vectorization = keras.layers.TextVectorization(
                max_tokens=self.max_tokens, standardize=None, split=None
            )
            vectorization.adapt(data)
            self._set(vectorization.get_vocabulary(include_special_tokens=False))

    def _set(self, items: list[str]) -> None:
        self.items = items
        path = self._write(items)
        if self.targets:
            self.lookup = keras.layers.StringLookup(vocabulary=path, num_oov_indices=0)
        else:
            self.lookup = keras.layers.TextVectorization(
                standardize=None, split=None, vocabulary=path
            )

    def __call__(self, strings: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.lookup(strings), tf.int32)

    def save(self, folder: Path, name: str) -> None:
        text = "".join(f"{item}\n" for item in self.items)
        (folder / f"{name}.txt").write_text(text, encoding="utf-8", newline="\n")

    def load(self, folder: Path, name: str) -> None:
        self._set(_read_lines(folder / f"{name}.txt"))


@register("glove")
class Glove(_Fitted):
    """Pretrained word vectors: quantised and frozen, but for frequent words, which are trained.

    The words of the training part that the vectors lack, or that are frequent enough to be tuned,
    get float rows of their own, started from their vector where they have one.

    Args:
        load_path: text file in the format of GloVe or word2vec, plain or gzipped.
        max_words: keep this many words, in the order of the file.
        lacking_min_count: train the words that the file lacks and that occur this often.
        tuned_min_count: train the words that the file has and that occur this often; None: none.
    """

    def __init__(
        self,
        load_path: str | None = None,
        max_words: int | None = None,
        lacking_min_count: int = 2,
        tuned_min_count: int | None = None,
    ):
        super().__init__()
        self.load_path = load_path
        self.max_words = max_words
        self.lacking_min_count = lacking_min_count
        self.tuned_min_count = tuned_min_count

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return self.embedding.output_dim

    def fit(self, words: tf.Tensor) -> None:
        """Reads the vectors and picks the trained words from a tensor of training words."""
        if not self.load_path:
            raise ConfigError("glove: load_path is needed for training: a file of word vectors")
        known, matrix = read_glove(self.load_path, self.max_words)
        row_of = {word: row for row, word in enumerate(known)}
        counts = Counter(word.decode("utf-8", "replace") for word in words.numpy().ravel())
        never = max(counts.values(), default=0) + 1
        tuned = never if self.tuned_min_count is None else self.tuned_min_count
        own = [
            word
            for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
            if word and count >= (tuned if word in row_of else self.lacking_min_count)
        ]
        self._set(own, QuantizedVectors.from_float(known, matrix))
        limit = (3 / matrix.shape[1]) ** 0.5
        rows = np.random.default_rng(0).uniform(-limit, limit, (len(own) + 2, matrix.shape[1]))
        rows[UNKNOWN_ID] = matrix.mean(axis=0)
        for row, word in enumerate(own, start=2):
            if word in row_of:
                rows[row] = matrix[row_of[word]]
        self.embedding.set_trainable(rows)

    def _set(self, own: list[str], vectors: QuantizedVectors) -> None:
        self.own, self.vectors = own, vectors
        trained = set(own)
        frozen = [row for row, word in enumerate(vectors.words) if word not in trained]
        path = self._write([*own, *(vectors.words[row] for row in frozen)])
        self.lookup = keras.layers.TextVectorization(standardize=None, split=None, vocabulary=path)
        self.embedding = QuantizedEmbedding(
            vectors.codes.shape[1],
            trainable_rows=len(own) + 2,
            frozen_rows=len(frozen),
            name="token_embedding",
        )
        self.embedding.set_frozen_quantized(vectors.codes[frozen], vectors.scales[frozen])

    def __call__(self, words: tf.Tensor) -> tf.Tensor:
        # A token that normalisation left empty is an unknown word, not padding.
        return tf.maximum(tf.cast(self.lookup(words), tf.int32), UNKNOWN_ID)

    def save(self, folder: Path, name: str) -> None:
        text = "".join(f"{word}\n" for word in self.own)
        (folder / f"{name}.txt").write_text(text, encoding="utf-8", newline="\n")
        self.vectors.save(folder / f"{name}.npz")

    def load(self, folder: Path, name: str) -> None:
        own = _read_lines(folder / f"{name}.txt")
        self._set(own, QuantizedVectors.load(folder / f"{name}.npz"))


@register("ner")
class Ner:
    """The network and how it is trained.

    Args:
        n_hidden_list: units a direction of each LSTM layer.
        char_emb_dim: width of a character's embedding.
        char_filters, char_filter_width: of the character CNN.
        char_dropout: rate on the character embeddings.
        dropout_keep_prob: share that variational dropout keeps.
        embeddings_dropout, intra_layer_dropout, top_dropout: where it acts.
        word_dropout: probability, in training, of reading a word as unknown.
        constraints: of the `CRF` layer.
        optimizer: "sgd" or "adam".
        learning_rate: at the start.
        learning_rate_decay: the rate of epoch e is learning_rate / (1 + decay * e).
        momentum: of SGD.
        clip_norm: of the gradients of all weights together; None: not clipped.
        moving_average: decay of the average of the weights that is evaluated and kept; 0: none.
        save_path: folder of the trained model.
    """

    def __init__(
        self,
        n_hidden_list: tuple[int, ...] = (128,),
        char_emb_dim: int = 30,
        char_filters: int = 50,
        char_filter_width: int = 3,
        char_dropout: float = 0.0,
        dropout_keep_prob: float = 0.5,
        embeddings_dropout: bool = True,
        intra_layer_dropout: bool = True,
        top_dropout: bool = True,
        word_dropout: float = 0.0,
        constraints: str = "decoding",
        optimizer: str = "sgd",
        learning_rate: float = 0.015,
        learning_rate_decay: float = 0.05,
        momentum: float = 0.9,
        clip_norm: float | None = 5.0,
        moving_average: float = 0.999,
        save_path: str | None = None,
    ):
        self.char_settings = {
            "filters": char_filters,
            "kernel_size": char_filter_width,
            "char_dim": char_emb_dim,
            "dropout": char_dropout,
        }
        self.network_settings = {
            "n_hidden_list": n_hidden_list,
            "dropout": 1.0 - dropout_keep_prob,
            "embeddings_dropout": embeddings_dropout,
            "intra_layer_dropout": intra_layer_dropout,
            "top_dropout": top_dropout,
            "word_dropout": word_dropout,
            "constraints": constraints,
        }
        for name, value, most in (
            ("char_dropout", char_dropout, 1),
            ("dropout_keep_prob", dropout_keep_prob, 1),
            ("word_dropout", word_dropout, 1),
            ("learning_rate", learning_rate, math.inf),
            ("learning_rate_decay", learning_rate_decay, math.inf),
            ("momentum", momentum, 1),
            ("clip_norm", 0 if clip_norm is None else clip_norm, math.inf),
            ("moving_average", moving_average, 1),
        ):
            check_number(f"ner: {name}", value, 0, most)
        if optimizer not in ("sgd", "adam"):
            raise ConfigError(f"ner: optimizer {optimizer!r}; expected 'sgd' or 'adam'")
        self.optimizer_name = optimizer
        self.learning_rate = learning_rate
        self.learning_rate_decay = learning_rate_decay
        self.momentum = momentum
        self.clip_norm = clip_norm
        self.moving_average = moving_average
        self.save_path = save_path

    def network(
        self, tags: list[str], embedding: keras.layers.Layer, n_chars: int | None
    ) -> NerNetwork:
        """The untrained network; `n_chars`: size of the character vocabulary, None: none."""
        chars = None
        if n_chars is not None:
            chars = CharCNN(vocabulary_size=n_chars, **self.char_settings)
        return NerNetwork(tags, embedding, chars, **self.network_settings)

    def optimizer(self, steps_per_epoch: int) -> keras.optimizers.Optimizer:
        """A new optimizer."""
        rate = keras.optimizers.schedules.InverseTimeDecay(
            self.learning_rate, steps_per_epoch, self.learning_rate_decay, staircase=True
        )
        if self.optimizer_name == "adam":
            return keras.optimizers.Adam(rate, global_clipnorm=self.clip_norm)
        return keras.optimizers.SGD(rate, momentum=self.momentum, global_clipnorm=self.clip_norm)


def _read_lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArchiveError(f"{path}: not a readable list of words: {error}") from error
    return text.removesuffix("\n").split("\n") if text else []
