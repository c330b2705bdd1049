"""Teaches a language model to guess which kind of name a token is: python -m kerasner.distant.

    python -m kerasner.distant lm_ru lm_ru_names names.json TEXT...

Nobody tags anything: lists of names tell which tokens of raw text to learn from, and the language
model, which stays as it is, lets that carry over to names that are in no list. The lists are a JSON
file as of the component `lexicon`, in small letters; the one called "word" is of ordinary words.
Texts are those of `python -m kerasner.pretraining`. A run that was stopped goes on when the command
is given again.
"""

import argparse
import hashlib
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kerasner import _commands, storage
from kerasner.components import TextSplitter, language_model, lexicon
from kerasner.components.language_model import LanguageModelEmbedder, LanguageModelText
from kerasner.config import check_number
from kerasner.data.text import Corpus, read_texts
from kerasner.errors import DataError
from kerasner.few_shot.language_model import INITIAL, LanguageModel
from kerasner.parts import PARTS, learn_by_parts

_LOG = logging.getLogger(__name__)
WORDS = "word"  # name of the list of ordinary words
NONE = "O"
_UNKNOWN = -1
_SMALL_LETTERS = 0.08  # share of the tokens in small letters that is learnt from
_HIDDEN = 0.6  # of the tokens, half of them without all that tells their word, half without a part
_MOST_WEIGHT = 8.0  # of a rare kind
_MAX_TOKENS = 80


class Settings(NamedTuple):
    """How kinds of names are learnt.

    Attributes:
        epochs: passes over the text.
        batch_tokens: tokens a batch, padding included.
        learning_rate: of Adam; it falls to a tenth in a straight line.
        held_out: sentences to measure with, and of no other use.
        seed: of all that is drawn.
    """

    epochs: int = 2
    batch_tokens: int = 2000
    learning_rate: float = 1e-3
    held_out: int = 2000
    seed: int = 1


class Examples:
    """Which tokens of text are examples of which kind of name.

    A token in small letters is none, and so is a capitalized one that is in the list of ordinary
    words alone. A capitalized one that is in one list of names alone is of that kind. A capital
    letter by itself within a sentence, before a full stop and a capital letter, is an initial, and
    the full stop with it; one before something else is none, if it is an ordinary word. Nothing is
    known of any other token, those in capital letters among them.

    Args:
        words: distinct tokens.
        lists: names, and ordinary words, single words in any letter case.

    Attributes:
        kinds: names of the kinds, the first of them "O".
        kind_of: the kind of each word where the place does not matter, or -1, int [V].
        capitalized: whether it begins with a capital letter, bool [V].

    References:
        Mintz et al. (2009): Distant supervision for relation extraction without labeled data.
    """

    def __init__(self, words: Sequence[bytes], lists: Mapping[str, Sequence[str]]):
        names = [name for name in lists if name != WORDS]
        self.kinds = [NONE, *names, INITIAL]
        found = {name: {entry.lower() for entry in entries} for name, entries in lists.items()}
        ordinary = found.get(WORDS, set())
        texts = [word.decode("utf-8", "replace") for word in words]
        self.capitalized = np.array([text[:1].isupper() for text in texts])
        self._is_letter = self.capitalized & (np.array([len(text) for text in texts]) == 1)
        self._is_stop = np.array([text == "." for text in texts])
        self._is_ordinary = np.array([text.lower() in ordinary for text in texts])
        self.kind_of = np.zeros(len(texts), np.int32)
        for index in np.flatnonzero(self.capitalized):
            text = texts[index].lower()
            kinds = [number for number, name in enumerate(names, 1) if text in found[name]]
            if texts[index].isupper() or len(kinds) + (text in ordinary) != 1:
                self.kind_of[index] = _UNKNOWN
            elif kinds:
                self.kind_of[index] = kinds[0]

    def of(self, batch: np.ndarray) -> np.ndarray:
        """Numbers of words [B, T], padded with -1 -> their kinds, or -1, int32 [B, T]."""

        def flags(of_words: np.ndarray, ahead: int) -> np.ndarray:
            shifted = np.full_like(batch, -1)
            shifted[:, : batch.shape[1] - ahead] = batch[:, ahead:]
            return (shifted >= 0) & of_words[shifted]

        kinds = np.where(batch >= 0, self.kind_of[batch], _UNKNOWN)
        letter, before_stop = flags(self._is_letter, 0), flags(self._is_stop, 1)
        kinds[letter & ~before_stop & flags(self._is_ordinary, 0)] = 0
        initial = letter & before_stop & flags(self.capitalized, 2)
        initial[:, :1] = False  # it may number a list
        kinds[initial] = len(self.kinds) - 1
        kinds[np.roll(initial, 1, axis=1)] = len(self.kinds) - 1  # its full stop
        return kinds


def teach(
    texts: Sequence[str | Path],
    save_path: Path,
    model: LanguageModel,
    text: LanguageModelText,
    lists: Mapping[str, Sequence[str]],
    splitter: TextSplitter,
    settings: Settings,
) -> dict[str, Any]:
    """Writes a language model that guesses kinds of names to a folder.

    Args:
        texts: files and folders, see above.
        save_path: folder of the new model. Beside it lies the state of a run that was stopped.
        model, text: a language model, and what makes its ids.
        lists: see above.
        splitter: from lines to sentences of tokens.
        settings: how.

    Returns:
        Of held-out sentences: "examples", how many tokens were known to be of a name, initials
        included, "right", the share of them, in percent, whose kind is guessed, and "right by
        place", where what tells their word is hidden.

    Raises:
        DataError: too little text, no examples of a kind in it, or no lists of names.
    """
    if reserved := sorted({NONE, INITIAL} & lists.keys()):
        raise DataError(f"a list is called {reserved[0]!r}; expected another name for it")
    if not lists.keys() - {WORDS}:
        raise DataError(f"expected a list of names at least, found {sorted(lists)}")
    for name in ("epochs", "batch_tokens", "held_out"):
        check_number(name, getattr(settings, name), 1, whole=True)
    check_number("learning_rate", settings.learning_rate, 1e-9)
    storage.check_writable(save_path.parent)
    storage.check_replaceable(save_path, f"{language_model.NAME}.json")
    corpus = Corpus.of(read_texts(texts, splitter), _MAX_TOKENS)
    n_sentences = len(corpus.splits) - 1
    if n_sentences < (least := settings.held_out + max(settings.held_out, PARTS)):
        raise DataError(
            f"expected {least} sentences at least, of which {settings.held_out} are held out "
            f"(--held-out), found {n_sentences}"
        )
    examples = Examples(corpus.words, lists)
    is_known = examples.kind_of >= 0
    counts = np.bincount(
        examples.kind_of[is_known], corpus.counts[is_known], minlength=len(examples.kinds)
    )
    listed = dict(zip(examples.kinds, counts.astype(int).tolist(), strict=True))
    if WORDS not in lists:
        _LOG.info("there is no list %r: only small letters tell what is no name", WORDS)
    _LOG.info("%d sentences; tokens known from the lists: %s", n_sentences, listed)
    lacking = [kind for kind, count in listed.items() if not count and kind != INITIAL]
    if lacking:
        raise DataError(
            f"the text has no capitalized token of the list {lacking[0]!r} that is in no other; "
            "entries of several words are not looked for"
        )
    keras.utils.set_random_seed(settings.seed)
    taught = LanguageModel(
        text.embedder.embedding,
        text.n_endings,
        **{**model.settings, "names": examples.kinds},
        dtype="float32",
    )
    taught.build()
    known = language_model.variables(model)
    for key, weight in language_model.variables(taught).items():
        if not key.startswith("guess_"):
            weight.assign(known[key])
    taught.trainable = False
    taught.guess_hidden.trainable = taught.guess_out.trainable = True
    teacher = _Teacher(taught, text(tf.constant(corpus.words)), _weights(counts))
    rng = np.random.default_rng(settings.seed)
    order = rng.permutation(n_sentences)
    held_out, learnt = order[: settings.held_out], order[settings.held_out :]
    tokens = int(np.diff(corpus.splits)[learnt].sum())
    n_steps = settings.epochs * tokens // settings.batch_tokens
    first = settings.learning_rate
    rate = keras.optimizers.schedules.PolynomialDecay(first, max(n_steps, 1), first / 10)
    optimizer = keras.optimizers.Adam(rate)
    teacher.prepare(optimizer)

    def learn(batches: Sequence[np.ndarray]) -> str:
        losses = []
        for batch in batches:
            kinds = examples.of(batch)
            drawn = examples.capitalized[batch] | (kinds > 0)
            drawn |= rng.random(batch.shape) < _SMALL_LETTERS
            losses.append(float(teacher.learn(batch, np.where(drawn, kinds, _UNKNOWN))))
        return f"loss {np.mean(losses):.4f}"

    state = save_path.with_name(f"{save_path.name}.training")
    learn_by_parts(
        learn,
        corpus,
        learnt,
        settings,
        state,
        [lists, _digest(known)],
        hidden=taught.guess_hidden,
        out=taught.guess_out,
        optimizer=optimizer,
    )
    measured = _measured(teacher, examples, corpus, held_out, rng)
    with storage.replacing_folder(save_path) as beside:
        language_model.save(text, taught, beside)
        storage.write_json(beside / "measured.json", measured)
    shutil.rmtree(state, ignore_errors=True)
    return measured


def _digest(weights: Mapping[str, tf.Variable]) -> str:
    digest = hashlib.sha256()
    for weight in weights.values():
        digest.update(np.ascontiguousarray(weight))
    return digest.hexdigest()


def _weights(counts: np.ndarray) -> np.ndarray:
    """How much a token of each kind counts: rare ones more, and initials, which are not counted."""
    return np.minimum(np.sqrt(counts[1:].max() / np.maximum(counts, 1)), _MOST_WEIGHT)


class _Teacher:
    """One step of learning, over numbers of words [B, T] and kinds [B, T], both padded with -1."""

    def __init__(self, model: LanguageModel, ids: tf.Tensor, weights: np.ndarray):
        self._model, self._ids = model, ids
        self._weights = tf.constant(weights, tf.float32)
        place, word = model.guess_widths
        # What tells the word itself comes last.
        vector = np.arange(place + word) - place < model.word_dim
        of_place = np.arange(place + word) < place
        masks = [np.ones(place + word), of_place | ~vector, of_place]
        self._masks = tf.constant(np.stack(masks), tf.float32)
        numbers = tf.TensorSpec([None, None], tf.int32)
        self.learn = tf.function(self._learn, input_signature=[numbers, numbers])
        self.logits = tf.function(
            self._logits, input_signature=[numbers, numbers, tf.TensorSpec([], tf.int32)]
        )

    def prepare(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Takes the optimizer that is to be used."""
        layers = (self._model.guess_hidden, self._model.guess_out)
        self._variables = [weight for layer in layers for weight in layer.trainable_weights]
        optimizer.build(self._variables)
        self._optimizer = optimizer

    def _inputs(self, batch: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
        mask = batch >= 0
        ids = tf.where(mask[..., None], tf.gather(self._ids, tf.maximum(batch, 0)), 0)
        shared, own = self._model.plain_features(self._model.token_features(ids), mask)
        return tf.boolean_mask(self._model.guess_inputs(shared, own, mask), chosen)

    def _learn(self, batch: tf.Tensor, kinds: tf.Tensor) -> tf.Tensor:
        chosen = kinds >= 0
        inputs, right = self._inputs(batch, chosen), tf.boolean_mask(kinds, chosen)
        shares = tf.math.log([[1 - _HIDDEN, _HIDDEN / 2, _HIDDEN / 2]])
        which = tf.random.categorical(shares, tf.shape(right)[0])[0]
        inputs *= tf.gather(self._masks, which)
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                right, self._model.guess(inputs)
            )
            total = tf.reduce_sum(losses * tf.gather(self._weights, right))
            loss = tf.math.divide_no_nan(total, tf.cast(tf.size(right), tf.float32))
        gradients = tape.gradient(loss, self._variables)
        self._optimizer.apply_gradients(zip(gradients, self._variables, strict=True))
        return loss

    def _logits(self, batch: tf.Tensor, kinds: tf.Tensor, hidden: tf.Tensor) -> tf.Tensor:
        return self._model.guess(self._inputs(batch, kinds >= 0) * self._masks[hidden])


def _measured(
    teacher: _Teacher,
    examples: Examples,
    corpus: Corpus,
    sentences: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, Any]:
    right, by_place, count = 0, 0, 0
    for batch in corpus.batches(sentences, 4000, rng):
        kinds = examples.of(batch)
        kinds[kinds == 0] = _UNKNOWN
        expected = kinds[kinds >= 0]
        guessed = [teacher.logits(batch, kinds, hidden).numpy().argmax(-1) for hidden in (0, 2)]
        right += int((guessed[0] == expected).sum())
        by_place += int((guessed[1] == expected).sum())
        count += len(expected)
    return {
        "examples": count,
        "right": round(100 * right / max(count, 1), 1),
        "right by place": round(100 * by_place / max(count, 1), 1),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("kerasner.distant", description=__doc__.split(":")[0])
    parser.add_argument("model", help="a language model: its name or its folder")
    parser.add_argument("folder", type=Path, help="where the new one is written")
    parser.add_argument("lists", help='JSON file of lists of names, and "word"; or names_ru')
    _commands.add_texts(parser)
    _commands.add_splitter(parser)
    _commands.add_settings(parser, Settings)
    options = parser.parse_args(argv)
    splitter = _commands.splitter_of(parser, options)

    def work() -> dict[str, Any]:
        lists = lexicon.find_lists(options.lists, "lists")
        source = LanguageModelEmbedder(options.model)
        source.fit()
        return teach(
            options.texts,
            options.folder.absolute(),
            source.embedding,
            source.text,
            lists,
            splitter,
            _commands.settings_of(options, Settings),
        )

    return _commands.exit_code(work)


if __name__ == "__main__":
    _commands.run(main)
