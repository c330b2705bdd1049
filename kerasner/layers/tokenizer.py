"""Splits raw text into words with exact offsets, inside the graph."""

from __future__ import annotations

import keras
import tensorflow as tf

# What Python's str.isspace() accepts.
_SPACE = r"\t-\r\x{1c}-\x{20}\x{85}\p{Z}"
# What Python's str.splitlines() breaks at, once "\r\n" is written "\n".
_LINE_BREAK = r"[\n-\r\x{1c}-\x{1e}\x{85}\x{2028}\x{2029}]"
_TWO_LINE_BREAKS = rf"\C*{_LINE_BREAK}\C*{_LINE_BREAK}\C*"

# A character other than white space; symbols keep the marks that modify them (emoji variants).
_CHARACTER = rf"[^{_SPACE}]\p{{M}}*"
_UNICODE = rf"[\p{{L}}\p{{N}}\p{{M}}_]+|{_CHARACTER}"
_WHITESPACE = rf"[^{_SPACE}]+"

# Bytes that valid UTF-8 never holds. A lone continuation byte is matched by no pattern, so a token
# stops at it, and it counts as no character; 0xFF separates the pieces of a scanned text.
_STOP = b"\x80"
_SEPARATOR = b"\xff"

_HYPHEN = r"[-\x{2010}\x{2011}]"
_APOSTROPHE = r"['\x{2019}]"
_CLITIC = rf"{_APOSTROPHE}(?i:s|re|ve|ll|d|m)\b"
_NOT = rf"(?i:n{_APOSTROPHE}t)\b"
# Put between stops before the treebank scan: what splits a word (RE2 has no lookahead), and
# symbols beyond ASCII.
_BETWEEN_STOPS = (
    rf"{_CLITIC}|{_NOT}|-{{2,}}|"
    rf"[^\x{{00}}-\x{{7f}}{_SPACE}\p{{L}}\p{{N}}\p{{M}}\x{{2010}}\x{{2011}}\x{{2019}}]\p{{M}}*"
)
# With those symbols set off, the other non-ASCII characters are letters, digits and marks. Naming
# what they are not keeps the scan small: with \p{L} everywhere RE2's automaton outgrows its memory.
_BEYOND_ASCII = (
    r"\x{80}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{200f}\x{2012}-\x{2018}"
    r"\x{201a}-\x{2027}\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff}"
)
_L = rf"[A-Za-z{_BEYOND_ASCII}]"
_W = rf"[0-9A-Za-z_{_BEYOND_ASCII}]"

# Abbreviations that a name or number follows: they keep their dot whatever comes next.
_TITLES = (
    "Mr|Mrs|Ms|Messrs|Mme|Mlle|Dr|Prof|Rev|Hon|Gov|Sen|Rep|Gen|Lt|Col|Capt|Cpl|Sgt|Maj|Cmdr|Adm|"
    "Pres|Supt|St|Ste|Mt|Ft|vs|Ph\\.D|Jan|Feb|Aug|Sept|Sep|Oct|Nov|Dec"
)
# Abbreviations that also end sentences: they keep their dot when a space follows.
_ABBREVIATIONS = (
    "Inc|Corp|Co|Cos|Ltd|Bros|Jr|Sr|Dept|Univ|Assn|Ave|Blvd|Rd|etc|approx|est|vol|Vol|pp|cf|al|"
    "Ala|Ariz|Ark|Calif|Colo|Conn|Del|Fla|Ga|Ill|Ind|Kan|Ky|La|Mass|Md|Mich|Minn|Miss|Mo|Mont|Neb|"
    "Nev|Okla|Ore|Pa|Tenn|Tex|Va|Vt|Wash|Wis|Wyo"
)

# What OntoNotes leaves joined by a hyphen to the word that follows.
_PREFIXES = (
    "anti|bio|co|counter|cross|cyber|de|e|ex|inter|macro|mega|micro|mid|mini|multi|neo|non|pan|"
    "post|pre|pro|quasi|re|semi|sub|super|trans|tri|uh|ultra|vice|x"
)
_PREFIXED = rf"(?:(?i:{_PREFIXES}){_HYPHEN})*"
# Matches no character: no hyphen is within a word.
_NOTHING = r"[^\x{00}-\x{10ffff}]"


def _treebank(hyphen: str, before_initials: str, before_words: str, end: str) -> str:
    """Pattern of a token, as the Penn Treebank has it but for hyphens.

    These are told by the arguments, patterns all: what joins a word to the next, what may stand
    before initials (`U.S.`) and before words, and what may end words and numbers.

    Ordered: the first alternative that matches at a place wins. An alternative that ends in a space
    asks for one to follow; the space is stripped from the token afterwards. What an alternative
    reads ahead in vain a later one must take in, or the scan would cost the square of the text.
    """
    return "|".join(
        [
            rf"(?i:https?://|ftp://|www\.)[^{_SPACE}<>\"]*(?:{_W}|[/=#&-])",
            rf"{_W}+(?:[.-]{_W}+)*@{_W}+(?:[.-]{_W}+)*",
            r"(?m:^)\d{1,3}\. ",  # "1. Name": a numbered line
            rf"(?:{_TITLES})\.(?:{hyphen}{_W}+)*",
            rf"(?:{_ABBREVIATIONS})\.(?: |(?:{hyphen}{_W}+)+)",
            rf"{before_initials}(?:{_L}\.){{2,}}(?:{hyphen}{_W}+)*",  # U.S., a.m., U.N.-led
            r"\p{Lu}\. ",  # the initial in "M. Smith"
            r"[A-Z]{1,3}\$",  # US$
            _CLITIC,
            _NOT,
            # Numbers: 5.40, .333, 1,000, 1996-08-22, 3-1, 6/4, 1:04.541, +44.
            rf"[+.]?\d(?:{_W}|\.{_W}|[,:/+]\d|{hyphen}{_W}|&{_L})*{end}",
            # Words: O'Brien, all-rounder, S&P, U.S, fifth-, end.of
            rf"{before_words}{_W}(?:{_W}|\.{_W}|[:/]\d|{hyphen}{_W}|&{_L}|{_APOSTROPHE}{_L})*{end}",
            r"\.{2,}",
            r"-{2,}",
            r"\*{2,}",
            r"``",
            r"''",
            _CHARACTER,
        ]
    )


_PATTERNS = {
    "treebank": _treebank(_HYPHEN, rf"(?:{_W}+{_HYPHEN})*", "", rf"{_HYPHEN}?"),
    "ontonotes": _treebank(_NOTHING, _PREFIXED, _PREFIXED, rf"(?:{_HYPHEN} )?"),
    "unicode": _UNICODE,
    "whitespace": _WHITESPACE,
}


@keras.saving.register_keras_serializable("kerasner")
class Tokenizer(keras.layers.Layer):
    """Splits texts into tokens with the offsets at which they stand.

    Every character other than white space belongs to exactly one token, and
    `text[start:end] == token` holds for every token. Bytes that are not valid UTF-8 are read as
    Python's `bytes.decode("utf-8", "replace")` reads them; offsets count the code points of that
    normalised text. The cost is linear in the length of the text.

    Args:
        mode: How texts are split.

            - `"treebank"`: close to the Penn Treebank as CoNLL-2003 writes it. Clitics (`'s`,
              `n't`), the final period, brackets and quotes are tokens of their own; `U.S.`,
              `Mr.`, the initial `M.`, `5.40`, `1996-08-22`, `all-rounder`, web and mail addresses
              stay whole. Quotes are kept as written.
            - `"ontonotes"`: the same, but hyphens between words are tokens of their own
              (`five-year` is three), unless after a prefix (`anti-war`, `co-founder`), as in
              OntoNotes 5.
            - `"unicode"`: runs of letters, digits, marks and underscores are words, each other
              character is a token, hyphens too (`пресс`, `-`, `служба`), as the Russian
              Collection3 has it.
            - `"whitespace"`: what Python's `str.split()` gives.
        **kwargs: Passed to `keras.layers.Layer`.

    Call arguments:
        text: string tensor `[B]`, or a list of strings.

    Returns:
        A dict:

        - `tokens`: ragged string `[B, None]`.
        - `starts`, `ends`: ragged int32 `[B, None]`, code-point offsets into `text`.
        - `paragraph_starts`: ragged bool `[B, None]`, True for the first token of a text and for a
          token before which a blank line stands (two line breaks, only white space between).
        - `text`: string `[B]`, the normalised text.

    Raises:
        ValueError: If `mode` is none of the above, or `text` is not of rank 1.

    Example:

    >>> Tokenizer()(["They don't sell U.S. steel."])["tokens"]
    <tf.RaggedTensor [[b'They', b'do', b"n't", b'sell', b'U.S.', b'steel', b'.']]>

    References:
        - [Penn Treebank tokenization](https://www.cis.upenn.edu/~treebank/tokenization.html)
        - [CoNLL-2003](https://aclanthology.org/W03-0419/)
    """

    def __init__(self, mode: str = "treebank", **kwargs) -> None:
        super().__init__(**kwargs)
        if mode not in _PATTERNS:
            raise ValueError(f"mode must be one of {sorted(_PATTERNS)}, received: {mode!r}")
        self.mode = mode
        # Keras 3 would convert lists of strings to its float dtype.
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True

    def call(self, text: tf.Tensor) -> dict[str, tf.Tensor | tf.RaggedTensor]:
        text = tf.convert_to_tensor(text, tf.string)
        if text.shape.rank not in (None, 1):
            raise ValueError(f"text must be of shape [batch], received: {text.shape}")
        text = tf.strings.unicode_transcode(
            tf.ensure_shape(text, [None]), "UTF-8", "UTF-8", replace_control_characters=False
        )
        scanned = text
        if self.mode in ("treebank", "ontonotes"):
            scanned = tf.strings.regex_replace(scanned, _BETWEEN_STOPS, _STOP + rb"\0" + _STOP)
        scanned = tf.strings.regex_replace(
            scanned, _PATTERNS[self.mode], _SEPARATOR + rb"\0" + _SEPARATOR
        )
        # A row of n tokens becomes n times (gap, token), then (last gap, nothing).
        pieces = tf.strings.split(scanned + _SEPARATOR, _SEPARATOR)
        positions = tf.cumsum(tf.strings.length(pieces.values, unit="UTF8_CHAR"))
        pairs = tf.reshape(pieces.values, [-1, 2])
        row_ends = pieces.row_splits // 2
        # The row ends with the n-th text's n surplus pairs before it.
        row_splits = row_ends - tf.range(tf.size(row_ends, tf.int64))
        rows = tf.ragged.row_splits_to_segment_ids(row_splits)
        places = tf.range(tf.size(rows, tf.int64)) + rows

        gaps, tokens = tf.unstack(tf.gather(pairs, places), num=2, axis=1)
        tokens = tf.strings.strip(tokens)
        row_origins = tf.gather(tf.concat([[0], positions], 0), pieces.row_splits)
        starts = tf.gather(positions, 2 * places) - tf.gather(row_origins, rows)
        ends = starts + tf.strings.length(tokens, unit="UTF8_CHAR")

        def ragged(values: tf.Tensor) -> tf.RaggedTensor:
            return tf.RaggedTensor.from_row_splits(values, row_splits, validate=False)

        return {
            "tokens": ragged(tokens),
            "starts": ragged(starts),
            "ends": ragged(ends),
            "paragraph_starts": ragged(self._paragraph_starts(gaps, row_splits)),
            "text": text,
        }

    @staticmethod
    def _paragraph_starts(gaps: tf.Tensor, row_splits: tf.Tensor) -> tf.Tensor:
        """Marks the first token of each row and the tokens whose gap holds a blank line."""
        # Few gaps are longer than one byte, and only those can hold two line breaks.
        long_gaps = tf.where(tf.strings.length(gaps) > 1)
        held = tf.strings.regex_replace(tf.gather_nd(gaps, long_gaps), "\r\n", "\n")
        blank_line = tf.strings.regex_full_match(held, _TWO_LINE_BREAKS)
        starts = tf.scatter_nd(long_gaps, blank_line, tf.shape(gaps, tf.int64))
        nonempty = row_splits[1:] > row_splits[:-1]
        firsts = tf.boolean_mask(row_splits[:-1], nonempty)
        return tf.tensor_scatter_nd_update(
            starts, firsts[:, tf.newaxis], tf.ones_like(firsts, tf.bool)
        )

    def get_config(self) -> dict:
        return {**super().get_config(), "mode": self.mode}
