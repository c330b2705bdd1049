"""Reading files in the format of CoNLL-2003: one token a line, its tag last."""

import io
import os
import re
import warnings
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

from kerasner.bio import in_bioes, iob1_to_bio, validate_tag
from kerasner.config import check_flag
from kerasner.data._input import PARTS, data_folder, read_text
from kerasner.errors import ConfigError, DataError
from kerasner.registry import register

Sample = tuple[list[str] | tuple[list[str], list[str]], list[str]]
"""(tokens, tags), or ((tokens, parts of speech), tags) if these were asked for."""

_SCHEMES = {"bio": list, "bioes": in_bioes}
_RAW = {
    "-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}",
    "``": '"', "''": '"', "`": "'",
}  # fmt: skip
# What stands in `_RAW`, and the marks of which nothing is left.
_ESCAPES = re.compile(
    r"-[LR][RSC]B-|^(``|''|`)\Z|^/(?=[.?-]\Z)|^%(?=[a-z]+\Z)|\\(?=[*/])",
)


@register("conll2003_reader")
class Conll2003Reader:
    """Reads a data set from a folder that holds `train.txt`, `valid.txt` and `test.txt`.

    One of them has to be there. A part without a file is empty; other files are not looked at.
    `read_conll` describes the format of a file.

    Example:

    ```python
    data = Conll2003Reader().read("conll2003")
    tokens, tags = data["train"][0]
    ```
    """

    def read(
        self,
        data_path: str | PathLike[str],
        dataset_name: str | None = None,
        provide_pos: bool = False,
        strict: bool = False,
        unescape: bool = False,
        scheme: str = "bio",
    ) -> dict[str, list[Sample]]:
        """Reads all parts.

        Args:
            data_path: the folder; a leading `~` is the home folder. A relative one is looked for
                in the working folder, then in the folder of downloads.
            dataset_name: what the data set is called, for messages. DeepPavlov downloaded a
                missing data set of that name; the licences of these do not allow it here.
            provide_pos: whether samples hold the second column (part of speech) too.
            strict: whether an entity that starts with `I-` is an error.
            unescape: whether tokens as treebanks write them become raw text's, `-LRB-` `(`.
            scheme: of the tags that are given on, "bio" or "bioes". The files are in BIO either
                way, and so is what a tagger answers.

        Returns:
            The samples of `train`, `valid` and `test`.
        """
        if scheme not in list(_SCHEMES):  # which may be unhashable
            raise ConfigError(f"scheme: expected 'bio' or 'bioes', received {scheme!r:.200}")
        expected = f"expected a folder with {', '.join(f'{part}.txt' for part in PARTS)}"
        if dataset_name:
            expected += f" ({dataset_name} is not downloaded: get its files and put them there)"
        folder = data_folder(data_path, expected)
        files = {part: folder / f"{part}.txt" for part in PARTS}
        if not any(map(os.path.exists, files.values())):
            try:
                problem = "holds none of its files" if any(folder.iterdir()) else "is empty"
            except OSError as error:
                problem = f"cannot be read ({error.strerror})"
            raise DataError(f"data folder {folder} {problem}: {expected}")
        convert = _SCHEMES[scheme]
        return {
            part: [
                (inputs, convert(tags))
                for inputs, tags in read_conll(file, provide_pos, strict, unescape)
            ]
            if os.path.exists(file)
            else []
            for part, file in files.items()
        }


def read_conll(
    path: str | PathLike[str],
    provide_pos: bool = False,
    strict: bool = False,
    unescape: bool = False,
) -> list[Sample]:
    """Reads the sentences of one file.

    A line holds a token, any other columns and the token's BIO tag, separated by white space; a
    blank line ends a sentence. `-DOCSTART-` lines, which start a document, are dropped. The file
    is UTF-8, with or without a byte order mark, with line ends of any system.

    An entity that starts with `I-`, as all do in the older IOB1 scheme, is changed to start with
    `B-`, and a warning tells how many there were.

    Args:
        path: the file.
        provide_pos: whether samples hold the second column (part of speech) too.
        strict: whether an entity that starts with `I-` is an error.
        unescape: whether tokens go through `unescape_token`, as OntoNotes' should.

    Returns:
        `(tokens, tags)` of every sentence, or `((tokens, parts_of_speech), tags)` with
        `provide_pos`. The tags are legal BIO.

    Example:

    ```python
    read_conll("train.txt")[0]  # (["EU", "rejects", "German", ...], ["B-ORG", "O", "B-MISC", ...])
    ```
    """
    for name, flag in (("provide_pos", provide_pos), ("strict", strict), ("unescape", unescape)):
        check_flag(name, flag)
    path = Path(path)
    samples: list[Sample] = []
    strays: list[str] = []
    for first_line, rows in _sentences(path, columns=3 if provide_pos else 2):
        tokens = [unescape_token(row[0]) if unescape else row[0] for row in rows]
        raw_tags = [row[-1] for row in rows]
        tags = iob1_to_bio(raw_tags)
        strays += [
            f"{path}:{line}: tag {raw!r} continues no entity: expected {tag!r} at its start"
            for line, (raw, tag) in enumerate(zip(raw_tags, tags, strict=True), first_line)
            if raw != tag
        ]
        samples.append(((tokens, [row[1] for row in rows]) if provide_pos else tokens, tags))
    if not samples:
        raise DataError(f"{path} holds no sentence: expected lines of a token and its tag")
    if strays and strict:
        raise DataError(strays[0])
    if strays:
        warnings.warn(
            f"{strays[0]}; tags read as B- in this file: {len(strays)} (IOB1, or damaged)",
            stacklevel=2,
        )
    return samples


def unescape_token(token: str) -> str:
    r"""A token as raw text has it, from how the Penn Treebank and OntoNotes write it.

    Brackets (`-LRB-` `(`, `-RSB-` `]`, `-LCB-` `{`, ..., inside a token too), quotation marks
    (two backquotes or apostrophes are `"`, one backquote `'`), OntoNotes' marks of speech (`/.`
    `.`, `/?` `?`, `/-` `-`, `%uh` `uh`) and backslashes before `*` and `/`.

    Example:

    ```python
    unescape_token("-LRB-")  # "("
    ```
    """
    return _ESCAPES.sub(lambda match: _RAW.get(match[0], ""), token)


def _sentences(path: Path, columns: int) -> Iterator[tuple[int, list[list[str]]]]:
    """Number of the first line and the columns of all lines, for each sentence of a file."""
    layout = "token, part of speech and tag" if columns == 3 else "token and tag"
    rows: list[list[str]] = []
    number = 0
    for number, line in enumerate(io.StringIO(read_text(path), newline=None), start=1):
        row = line.split()
        if not row or row[0] == "-DOCSTART-":
            if rows:
                yield number - len(rows), rows
                rows = []
            continue
        if len(row) < columns:
            raise DataError(
                f"{path}:{number}: expected {layout}, separated by white space, "
                f"received {line.strip()[:80]!r}"
            )
        try:
            validate_tag(row[-1])
        except DataError as error:
            raise DataError(f"{path}:{number}: {error}") from None
        rows.append(row)
    if rows:
        yield number + 1 - len(rows), rows
