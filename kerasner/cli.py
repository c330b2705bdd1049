"""The command line: `kerasner VERB ...`, or `python -m kerasner VERB ...`.

TensorFlow is imported only where a verb needs it: help and wrong names are answered at once.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from kerasner import config as configuration
from kerasner._version import __version__
from kerasner.errors import ConfigError, DataError, KerasnerError, nearest
from kerasner.pretrained import names as pretrained_names
from kerasner.pretrained import pretrained

if TYPE_CHECKING:
    from kerasner.bio import Report, Score
    from kerasner.tagger import Entity, Tagger

_LEAVE = ("exit", "stop", "quit", "q")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the arguments; None: those of the process.

    Returns:
        The exit code: 0, 2 after wrong input (one line on stderr says what is wrong), 130 after
        Ctrl-C, 141 where the reader of the output has gone.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # JSON is UTF-8, whatever the locale
    try:
        options = _parser().parse_args(argv)
        with _messages():
            options.verb(options)
        sys.stdout.flush()
    except KerasnerError as error:
        print(f"kerasner: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Python flushes stdout once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


def _train(options: argparse.Namespace) -> None:
    _import_tensorflow()
    from kerasner import training

    data = training.read_data(options.config, options.set)
    # Keras writes its progress to stdout, which belongs to the results.
    with contextlib.redirect_stdout(sys.stderr):
        verbose = 1 if sys.stderr.isatty() else 2
        tagger = training.train_model(options.config, options.set, verbose, data)
    _report(training.evaluate(tagger, data))


def _evaluate(options: argparse.Namespace) -> None:
    _import_tensorflow()
    from kerasner import training

    _report(training.evaluate_model(options.config, options.set))


def _predict(options: argparse.Namespace) -> None:
    with _input(options.file) as source:
        tagger = _tagger(options)
        lines = _lines(source)
        while batch := list(islice(lines, options.batch_size)):
            if options.entities:
                answers = [list(map(_entity, found)) for found in tagger.entities(batch)]
            else:
                answers = zip(*tagger(batch), strict=True)
            for answer in answers:
                print(json.dumps(answer, ensure_ascii=False))
            sys.stdout.flush()


def _interact(options: argparse.Namespace) -> None:
    tagger = _tagger(options)
    print("x::", end="", flush=True)
    for line in _lines(sys.stdin.buffer):
        if line.strip() in _LEAVE:
            return
        found = [f"{e.text}  {e.label}  {e.score:.3f}" for e in tagger.entities([line])[0]]
        print(">>", "\n   ".join(found) or "no entities")
        print("x::", end="", flush=True)
    print()


def _export(options: argparse.Namespace) -> None:
    print(_tagger(options).export(options.folder, options.version))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="kerasner", description="Named entity recognition in Keras.")
    parser.add_argument("--version", action="version", version=f"kerasner {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    def add(name: str, verb: Callable[[argparse.Namespace], None], summary: str) -> _Parser:
        added = verbs.add_parser(name, help=summary, description=summary)
        added.set_defaults(verb=verb)
        return added

    train = add("train", _train, "Train a model; one that was stopped goes on.")
    evaluate = add("evaluate", _evaluate, "Score a trained model on the valid and test parts.")
    for verb in (train, evaluate):
        verb.add_argument(
            "config", metavar="CONFIG", help="name of a configuration, or path of its .json file"
        )
    predict = add("predict", _predict, "Tag lines of text; writes a line of JSON for each.")
    interact = add("interact", _interact, "Tag what is typed in; leave with exit, stop, quit or q.")
    export = add("export", _export, "Write a SavedModel that needs TensorFlow alone.")
    for verb in (predict, interact, export):
        verb.add_argument(
            "name",
            metavar="NAME",
            help="folder of a trained model, path of a configuration (.json), a model that comes "
            f"with kerasner ({', '.join(pretrained_names()) or 'none'}), or name of a "
            "configuration",
        )
    for verb in (train, evaluate, predict, interact, export):
        verb.add_argument(
            "--set",
            metavar="path.to.key=value",
            action="append",
            default=[],
            help="change a value of the configuration; may be repeated",
        )
    predict.add_argument(
        "-f", "--file", default="-", help="UTF-8 text, one sample a line; -, the default: stdin"
    )
    predict.add_argument(
        "-b", "--batch-size", type=_positive, default=256, help="lines a batch (default 256)"
    )
    predict.add_argument(
        "--entities", action="store_true", help="write entities instead of [[token], [tag]]"
    )
    export.add_argument("folder", metavar="DIR", help="new, or a SavedModel to be replaced")
    export.add_argument(
        "--version", type=int, metavar="N", help="write to DIR/N, as TensorFlow Serving expects it"
    )
    return parser


class _Parser(argparse.ArgumentParser):
    """Complains in one line, like everything else."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


_positive.__name__ = "positive number"  # what argparse calls it in its complaint


def _tagger(options: argparse.Namespace) -> "Tagger":
    """The model of a folder, a configuration's path, or a name."""
    name, folder = options.name, configuration.user_path(options.name)
    # os.path, unlike Path, answers False where a folder may not be read or a name is too long.
    is_model = os.path.isfile(folder / "config.json")
    is_config = not is_model and (name.endswith(".json") or name in configuration.names())
    if options.set and not is_config:
        raise ConfigError(f"--set changes a configuration, which {name!r} is not")
    if is_model:
        _import_tensorflow()
        from kerasner.tagger import Tagger

        return Tagger.load(folder)
    if is_config:
        configuration.load(name)  # what is wrong with it is said before TensorFlow is imported
        _import_tensorflow()
        from kerasner.training import build_model

        return build_model(name, options.set)
    if name in pretrained_names():
        _import_tensorflow()
        return pretrained(name)
    valid = dict.fromkeys([*pretrained_names(), *configuration.names()])
    what = "the folder holds no model" if os.path.isdir(folder) else "no model is called so"
    raise ConfigError(f"{name!r}: {what}: {nearest(name, valid)}")


def _import_tensorflow() -> None:
    """Imports TensorFlow without the lines that it writes to stderr on its own.

    A user who sets TF_CPP_MIN_LOG_LEVEL sees what they ask for.
    """
    quiet = "TF_CPP_MIN_LOG_LEVEL" not in os.environ
    if quiet:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    try:
        with _silenced_stderr() if quiet else contextlib.nullcontext():
            import tensorflow as tf

            from kerasner._compat import check_backend

            check_backend()
    except ImportError as error:
        raise ConfigError(f"cannot start Keras on TensorFlow: {error}") from error
    if quiet:
        tf.get_logger().setLevel(logging.ERROR)
        logging.getLogger("absl").setLevel(logging.ERROR)


@contextlib.contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Drops what is written to file descriptor 2, by C++ code too."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextlib.contextmanager
def _messages() -> Iterator[None]:
    """Shows log messages and warnings as lines on stderr."""
    log = logging.getLogger("kerasner")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("kerasner: %(message)s"))
    level, propagate = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("default", UserWarning)  # deprecations concern programmers
            warnings.showwarning = lambda message, *_: log.warning("warning: %s", message)
            yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate


def _input(path: str) -> contextlib.AbstractContextManager[BinaryIO]:
    if path == "-":
        if sys.stdin.isatty():
            raise DataError("predict reads a pipe or, with -f, a file; to type texts: interact")
        return contextlib.nullcontext(sys.stdin.buffer)
    try:
        return open(path, "rb")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _lines(source: BinaryIO) -> Iterator[str]:
    """Lines without their ends. Only a line feed ends a line: offsets count all else."""
    for line in source:
        yield line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "replace")


def _entity(entity: "Entity") -> dict[str, Any]:
    return {**entity._asdict(), "score": round(entity.score, 6)}


def _report(reports: Mapping[str, "Report"]) -> None:
    """Scores of each part: to be read on stderr, to be parsed on stdout."""
    for part, report in reports.items():
        print(f"{part}: {report}", file=sys.stderr)
        types = {label: _scores(score) for label, score in report.types.items()}
        content = {**_scores(report.total), "tokens": report.tokens, "types": types}
        print(json.dumps({part: content}, ensure_ascii=False))


def _scores(score: "Score") -> dict[str, float]:
    return {
        "f1": round(score.f1, 2),
        "precision": round(score.precision, 2),
        "recall": round(score.recall, 2),
        "gold": score.gold,
        "predicted": score.predicted,
        "correct": score.correct,
    }
