"""What the commands that learn from raw text share: `python -m kerasner.pretraining`, `.distant`
and `.encoder_pretraining`."""

import argparse
import contextlib
import json
import logging
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from kerasner.components import TextSplitter
from kerasner.errors import KerasnerError

_Settings = TypeVar("_Settings", bound=NamedTuple)


def add_option(
    parser: argparse.ArgumentParser, flag: str, default: Any, meaning: str, **more: Any
) -> None:
    """An option of the type of its default, which its help tells."""
    parser.add_argument(
        flag,
        type=type(default),
        default=default,
        help=f"{meaning.replace('%', '%%')}; default: %(default)s",
        **more,
    )


def add_settings(parser: argparse.ArgumentParser, settings: type[NamedTuple]) -> None:
    """An option for each field of settings, which all have defaults and a line of docstring."""
    meanings = dict(re.findall(r"^ *(\w+): (.+)\.$", settings.__doc__, re.MULTILINE))
    for name, value in settings._field_defaults.items():
        add_option(parser, f"--{name.replace('_', '-')}", value, meanings[name])


def settings_of(options: argparse.Namespace, settings: type[_Settings]) -> _Settings:
    """What the options of `add_settings` came to."""
    return settings(**{name: getattr(options, name) for name in settings._fields})


def add_texts(parser: argparse.ArgumentParser) -> None:
    """Texts to read."""
    parser.add_argument("texts", nargs="+", help="files of text, or folders of CoNLL-2003's format")


def add_splitter(parser: argparse.ArgumentParser) -> None:
    """How texts are cut into sentences of tokens."""
    add_option(parser, "--language", "ru", "of the sentence splitter")
    add_option(parser, "--tokenizer", "unicode", "mode, see lazy_tokenizer")


def splitter_of(parser: argparse.ArgumentParser, options: argparse.Namespace) -> TextSplitter:
    """The splitter that the options of `add_splitter` ask for; ends the program without one."""
    try:
        return TextSplitter(options.tokenizer, options.language)
    except ValueError as error:  # an unknown mode or language
        parser.error(str(error))


def exit_code(work: Callable[[], Mapping[str, Any]]) -> int:
    """Does the work, logging to stderr, and prints what it returns, or what is wrong."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    logging.getLogger("absl").setLevel(logging.WARNING)  # how long TensorFlow took to save
    try:
        measured = work()
    except KerasnerError as error:
        print(f"kerasner: error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(measured))
    return 0


def run(main: Callable[[], int]) -> None:
    """Ends the program with what `main` returns, or without a traceback where it is stopped."""
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
