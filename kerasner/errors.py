"""What kerasner raises when something that comes from outside is not as it should be."""

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grpc


class KerasnerError(Exception):
    """Input from outside is wrong; the message is one line: what is wrong, what was expected."""


class ConfigError(KerasnerError):
    """A config, an override or an option names something unknown or gives it a wrong value."""


class DataError(KerasnerError):
    """A data set is missing, incomplete, or not in the format that its reader expects."""


class ArchiveError(KerasnerError):
    """A model archive is missing, damaged, or not made for this version."""


class ServiceError(KerasnerError):
    """A server did not answer a request, or not as a server of this model does.

    Attributes:
        address: of the server.
        code: gRPC's status, such as `grpc.StatusCode.NOT_FOUND`.
    """

    def __init__(self, message: str, address: str, code: "grpc.StatusCode"):
        super().__init__(message)
        self.address = address
        self.code = code

    def __reduce__(self) -> tuple:  # to cross processes; by default only the message would
        return type(self), (*self.args, self.address, self.code)


def nearest(name: object, names: Iterable[str]) -> str:
    """Says which valid name was probably meant, for the end of an error message.

    Args:
        name: what was given.
        names: the valid names.

    Returns:
        `did you mean 'x'?` if a valid name is spelt alike (upper and lower case being the same),
        else all valid names.

    Example:

    ```python
    nearest("ner_conl2003", ["ner_conll2003", "ner_rus"])  # "did you mean 'ner_conll2003'?"
    nearest("bert", ["ner_conll2003", "ner_rus"])  # "valid names are ner_conll2003, ner_rus"
    ```
    """
    by_folded = {valid.casefold(): valid for valid in names}
    if not by_folded:
        return "there are no valid names"
    close = difflib.get_close_matches(str(name).casefold(), by_folded, n=1)
    if close:
        return f"did you mean {by_folded[close[0]]!r}?"
    return f"valid names are {', '.join(by_folded.values())}"
