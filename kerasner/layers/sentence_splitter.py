"""Finds where sentences start, inside the graph."""

from __future__ import annotations

import dataclasses

import keras
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class _Rules:
    """Patterns of whole tokens, without the period."""

    # A period after one of these ends no sentence ...
    abbreviation: str
    # ... and after one of these only if a word follows that often starts sentences.
    unit: str
    starter: str


_RULES = {
    "en": _Rules(
        abbreviation=(
            r"(?i:Mr|Mrs|Ms|Dr|Prof|Rev|Gov|Sen|Rep|Gen|Lt|Col|Capt|Sgt|Maj|Adm|St|vs|No|"
            r"Jan|Feb|Aug|Sept|Oct|Nov|Dec)"
        ),
        unit=r"(?:\p{L}\.)*\p{L}|Inc|Corp|Co|Ltd|Bros|Jr|Sr|etc|al",
        starter=(
            r"The|A|An|This|That|These|Those|It|He|She|They|We|You|I|His|Her|Its|Their|There|But|"
            r"And|In|On|At|If|When|While|After|Before|However|For|As|By|What|Who|Why|How"
        ),
    ),
    "ru": _Rules(
        abbreviation=(
            r"\p{Lu}|(?i:в|вв|ул|пр|просп|пл|пер|наб|им|т|е|к|н|о|э|ст|стр|рис|табл|см|ср|гл|обл|"
            r"респ|р|пос|дер|чел|кв|ч|дж|проф|акад|доц|чл|корр|зам|нач|ген|полк|подп|кап|лейт|"
            r"сер|тел|напр|англ|лат|нем|фр|mr|mrs|dr|st|no)"
        ),
        unit=r"\d*гг?|(?:\p{L}\.)+\p{L}|д|п|др|руб|коп|тыс|млн|млрд|трлн|долл|м|км|кг",
        starter=(
            r"В|Во|На|По|С|Со|Он|Она|Оно|Они|Это|Этот|Эта|Эти|Но|И|А|Как|Мы|Вы|Я|Его|Ее|Её|Их|При|"
            r"Для|Если|Когда|После|Однако|Также|Кроме|За|Из|К|О|Об|От|До|Так|Тогда"
        ),
    ),
}
_TERMINAL = r"[.!?…。！？]+"
_NUMBER = r"\d{1,3}"
# What Tokenizer makes of the number in front of a line.
_LINE_NUMBER = r"\d{1,3}\."
_CLOSER = r"[)\]}»”’'\x{2019}]|''"
# A straight quote before one of these, or at the end of a paragraph, does not open.
_AFTER_CLOSING_QUOTE = r"[,;:.!?)—–-]|--|"
# Signs at the start of a sentence: the token after them tells whether it starts one.
_OPENER = r"[(\[{«“„‘\"—–-]|--|``"
# What starts no sentence: lower-case words, and signs that go on with one.
_CONTINUATION = r"\p{Ll}\C*|[,;:%/]|[.!?…]+"


@keras.saving.register_keras_serializable("kerasner")
class SentenceSplitter(keras.layers.Layer):
    """Marks the tokens that start a sentence.

    A sentence ends after `.`, `!`, `?` or `…` and the closing quotes and brackets that follow,
    unless the period belongs to an abbreviation, an initial or a number that opens a line of a
    list, or the next word starts with a lower-case letter. A straight `"` closes if an odd number
    of them stand before it in its paragraph. A paragraph always starts a sentence, and longer
    sentences are cut after every `max_tokens` tokens. Each text is split on its own, at a cost
    linear in its tokens.

    Args:
        language: `"en"` or `"ru"`; which abbreviations are known.
        max_tokens: The most tokens of a sentence.
        **kwargs: Passed to `keras.layers.Layer`.

    Call arguments:
        tokens: ragged string tensor `[B, None]`, as from `Tokenizer`.
        paragraph_starts: ragged bool tensor `[B, None]`, as from `Tokenizer`.

    Returns:
        A ragged bool tensor `[B, None]`, True for the first token of each sentence.

    Raises:
        ValueError: If `language` is none of the above or `max_tokens` is no positive integer.

    Example:

    >>> out = Tokenizer()(["He left. They stayed."])
    >>> SentenceSplitter()(out["tokens"], out["paragraph_starts"])
    <tf.RaggedTensor [[True, False, False, True, False, False]]>
    """

    def __init__(self, language: str = "en", max_tokens: int = 200, **kwargs) -> None:
        super().__init__(**kwargs)
        if language not in _RULES:
            raise ValueError(f"language must be one of {sorted(_RULES)}, received: {language!r}")
        if not isinstance(max_tokens, int) or max_tokens < 1:
            raise ValueError(f"max_tokens must be a positive integer, received: {max_tokens!r}")
        self.language = language
        self.max_tokens = max_tokens

    def call(self, tokens: tf.RaggedTensor, paragraph_starts: tf.RaggedTensor) -> tf.RaggedTensor:
        words = tokens.values
        splits = tokens.row_splits
        firsts = tf.boolean_mask(splits[:-1], splits[1:] > splits[:-1])
        paragraphs = tf.tensor_scatter_nd_update(
            paragraph_starts.values, firsts[:, tf.newaxis], tf.ones_like(firsts, tf.bool)
        )
        neighbour = _Neighbours(words, paragraphs)

        # Few tokens can end a sentence; only they and what stands beside them is looked at closely.
        places = tf.where(_is(words, rf"{_TERMINAL}|\C*\."))[:, 0]
        ends = _scatter(places, self._ends(words, places, neighbour), words)
        line_numbers = _scatter(places, _is(tf.gather(words, places), _LINE_NUMBER), words)

        # A paragraph's first token starts it, whatever it is, so no text of a batch sees another.
        closers = self._closers(words, paragraphs, neighbour) & ~paragraphs
        places = tf.where(_last_other(ends, closers) & ~closers)[:, 0]
        word, after = tf.gather(words, places), neighbour(places, 1)
        goes_on = _is(word, _CONTINUATION) | (_is(word, _OPENER) & _is(after, _CONTINUATION))
        starts = paragraphs | line_numbers | _scatter(places, ~goes_on, words)

        starts |= _position_in_segment(starts) % self.max_tokens == 0
        return tokens.with_values(starts)

    def _ends(self, words: tf.Tensor, places: tf.Tensor, neighbour: _Neighbours) -> tf.Tensor:
        """Whether the tokens at `places` end a sentence."""
        rules = _RULES[self.language]
        word, before, after = tf.gather(words, places), neighbour(places, -1), neighbour(places, 1)
        number = _is(before, _NUMBER)
        first_number = number & _is(neighbour(places, -2), rf"{_TERMINAL}|")
        # A starter before a period is an initial.
        before_starter = _is(after, rules.starter) & (neighbour(places, 2) != ".")
        inside = (
            _is(before, rules.abbreviation)
            | first_number
            | (number & _is(after, _NUMBER))
            | (_is(before, rules.unit) & ~before_starter)
        )
        # Dots at the start of a paragraph end nothing.
        ends = _is(word, _TERMINAL) & (before != "") & ~((word == ".") & inside)
        return ends | (_is(word, rf"(?:{rules.unit})\.") & before_starter)

    @staticmethod
    def _closers(words: tf.Tensor, paragraphs: tf.Tensor, neighbour: _Neighbours) -> tf.Tensor:
        """Whether each token is a quote or bracket that closes."""
        quotes = words == '"'
        places = tf.where(quotes)[:, 0]
        closing = tf.gather(_odd_before(quotes, paragraphs), places)
        closing |= _is(neighbour(places, 1), _AFTER_CLOSING_QUOTE)
        return _is(words, _CLOSER) | _scatter(places, closing, words)

    def compute_output_spec(self, tokens, paragraph_starts):  # Keras 3 cannot trace ragged inputs
        return keras.KerasTensor(tokens.shape, "bool")

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "language": self.language,
            "max_tokens": self.max_tokens,
        }


class _Neighbours:
    """Looks up the tokens beside others, within a paragraph; `""` beyond its borders."""

    def __init__(self, words: tf.Tensor, paragraphs: tf.Tensor) -> None:
        self._words = words
        self._paragraph = _segments(paragraphs)

    def __call__(self, places: tf.Tensor, distance: int) -> tf.Tensor:
        last = tf.size(self._words, tf.int64) - 1
        others = tf.clip_by_value(places + distance, 0, tf.maximum(last, 0))
        same = (others == places + distance) & (
            tf.gather(self._paragraph, others) == tf.gather(self._paragraph, places)
        )
        return tf.where(same, tf.gather(self._words, others), "")


def _is(words: tf.Tensor, pattern: str) -> tf.Tensor:
    return tf.strings.regex_full_match(words, pattern)


def _scatter(places: tf.Tensor, flags: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    return tf.scatter_nd(places[:, tf.newaxis], flags, tf.shape(like, tf.int64))


def _count_before(flags: tf.Tensor) -> tf.Tensor:
    return tf.cumsum(tf.cast(flags, tf.int32), exclusive=True)


def _segments(starts: tf.Tensor) -> tf.Tensor:
    """Numbers the segments; the first element must start one."""
    return tf.cumsum(tf.cast(starts, tf.int32)) - 1


def _position_in_segment(starts: tf.Tensor) -> tf.Tensor:
    first = tf.where(starts)[:, 0]
    return tf.range(tf.size(starts, tf.int64)) - tf.gather(first, _segments(starts))


def _odd_before(flags: tf.Tensor, segment_starts: tf.Tensor) -> tf.Tensor:
    """Whether an odd number of flags stand before each place in its segment."""
    before = _count_before(flags)
    origin = tf.gather(tf.boolean_mask(before, segment_starts), _segments(segment_starts))
    return (before - origin) % 2 == 1


def _last_other(flags: tf.Tensor, skipped: tf.Tensor) -> tf.Tensor:
    """The flag of the nearest place before each one that is not skipped, or False."""
    others = tf.concat([[False], tf.boolean_mask(flags, ~skipped)], 0)
    return tf.gather(others, _count_before(~skipped))
