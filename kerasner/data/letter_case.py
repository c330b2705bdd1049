"""Sentences in capital letters, in small ones, or titled, as headlines and chats have them."""

from collections.abc import Callable, Sequence

from kerasner.data.pipeline import Sentence

LETTER_CASES: dict[str, Callable[[str], str]] = {
    "upper": str.upper,
    "lower": str.lower,
    # Not str.title, which makes "Don'T" of "don't".
    "title": str.capitalize,
}


def in_letter_case(sentences: Sequence[Sentence], case: str, n_inputs: int = 1) -> list[Sentence]:
    """Sentences whose tokens are written in another letter case.

    Args:
        sentences: the tokens of each or, with more inputs, tuples of these and further rows, which
            stay as they are.
        case: a key of LETTER_CASES.
        n_inputs: number of inputs a sentence.
    """
    change = LETTER_CASES[case]
    if n_inputs == 1:
        return [list(map(change, tokens)) for tokens in sentences]
    return [(list(map(change, tokens)), *others) for tokens, *others in sentences]
