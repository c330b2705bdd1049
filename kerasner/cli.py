"""The command line: `kerasner VERB ...`, or `python -m kerasner VERB ...`.

TensorFlow is imported only where a verb needs it: help and wrong names are answered at once.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import importlib.util
import io
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from kerasner import config as configuration
from kerasner import downloads, requirements
from kerasner._cli_options import parser_of
from kerasner.errors import ConfigError, DataError, KerasnerError, nearest
from kerasner.pretrained import names as pretrained_names
from kerasner.pretrained import pretrained

if TYPE_CHECKING:
    from kerasner.evaluation import Evaluation
    from kerasner.tagger import Entity, Tagger

_LOG = logging.getLogger(__name__)
_LEAVE = ("exit", "stop", "quit", "q")
_SERVING_MODULES = ("aiohttp", "grpc_health", "grpc_reflection", "prometheus_client")


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
        options = parser_of(_VERBS).parse_args(argv)
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


def _install(options: argparse.Namespace) -> None:
    lines = requirements.lines(_resolved(options))
    if not lines:
        _LOG.info("%s needs nothing that is not installed with kerasner", options.config)
        return
    _LOG.info("installing %s", ", ".join(lines))
    requirements.install(lines)


def _download(options: argparse.Namespace) -> None:
    config = _resolved(options)
    if not downloads.sources(config):
        _LOG.info("%s has no files to download", options.config)
    for path in downloads.download(config):
        print(path)


def _train(options: argparse.Namespace) -> None:
    if options.download:
        downloads.download(_resolved(options))
    _import_tensorflow()
    from kerasner import recipe, training

    data = recipe.read_data(options.config, options.set)
    stdout = sys.stdout
    # Keras writes its progress to stdout, which belongs to the results.
    with contextlib.redirect_stdout(sys.stderr):
        tagger = training.train_model(
            options.config,
            options.set,
            1 if sys.stderr.isatty() else 2,
            data,
            recursive=options.recursive,
            start_epoch_num=options.start_epoch_num,
            tell=lambda event: _print(event, stdout),
        )
    _LOG.info("Scoring the best saved model")
    _report(training.evaluate(tagger, data, recipe.resolve(options.config, options.set)))


def _evaluate(options: argparse.Namespace) -> None:
    folder = configuration.user_path(options.config)
    if not _is_config(options.config) and os.path.isfile(folder / "config.json"):
        if options.set or options.data is None:
            raise ConfigError(
                f"{options.config!r} is a model: --data names the folder to score it on, and there "
                "is no configuration to --set"
            )
        _import_tensorflow()
        from kerasner import recipe, training
        from kerasner.tagger import Tagger

        config = recipe.saved_config(folder, options.data)
        _report(training.evaluate(Tagger.load(folder), recipe.read(config), config))
        return
    settings = list(options.set)
    # What is wrong with it is said before TensorFlow is there.
    config = configuration.load(options.config)
    if options.data is not None:
        settings.append(f"dataset_reader.data_path={json.dumps(options.data)}")
        if "dataset_path" in config.get("dataset_iterator", {}):
            settings.append(f"dataset_iterator.dataset_path={json.dumps(options.data)}")
    _import_tensorflow()
    from kerasner import training

    _report(training.evaluate_model(options.config, settings, download=options.download))


def _predict(options: argparse.Namespace) -> None:
    with _input(options.file) as source:
        tagger = _tagger(options)
        names = tagger.chainer.inputs
        _check_takes_text(options, names)
        samples = _samples(_lines(source), names)
        while batch := list(islice(samples, options.batch_size)):
            columns = [list(column) for column in zip(*batch, strict=True)]
            if options.entities:
                answers = [list(map(_entity, found)) for found in tagger.entities(columns[0])]
            else:
                answers = zip(*tagger(*columns), strict=True)
            for answer in answers:
                print(json.dumps(answer, ensure_ascii=False))
            sys.stdout.flush()


def _interact(options: argparse.Namespace) -> None:
    tagger = _tagger(options)
    names = tagger.chainer.inputs
    _check_takes_text(options, names)
    lines = _prompted(names)
    while sample := list(islice(_samples(lines, names), 1)):
        columns = [[value] for value in sample[0]]
        if options.entities:
            found = [f"{e.text}  {e.label}  {e.score:.3f}" for e in tagger.entities(*columns)[0]]
            print(">>", "\n   ".join(found) or "no entities")
        else:
            print(">>", *zip(*tagger(*columns), strict=True))


def _prompted(names: Sequence[str]) -> Iterator[str]:
    """What is typed after a prompt for each input in turn."""
    lines = _lines(sys.stdin.buffer)
    for name in cycle(names):
        print(f"{name}::", end="", flush=True)
        line = next(lines, None)
        if line is None:
            print()
            return
        if line.strip() in _LEAVE:
            return
        yield line


def _samples(lines: Iterable[str], names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Lines, taken in turn for each input -> the inputs of each sample.

    Of several inputs each is a list of what white space separates, a single one is a text.
    """
    if len(names) == 1:
        yield from ((line,) for line in lines)
        return
    lines = iter(lines)
    number = 0
    while rows := [tuple(line.split()) for line in islice(lines, len(names))]:
        number += len(rows)
        lengths = [len(row) for row in rows]
        if len(rows) < len(names) or len(set(lengths)) > 1:
            raise DataError(
                f"line {number}: expected a line for each of {', '.join(names)}, of as many words "
                f"as the first; received {len(rows)} lines of {lengths} words"
            )
        yield tuple(map(list, rows))


def _check_takes_text(options: argparse.Namespace, names: Sequence[str]) -> None:
    if options.entities and len(names) > 1:
        raise ConfigError(f"--entities takes texts alone; this model takes {', '.join(names)}")


def _export(options: argparse.Namespace) -> None:
    tagger = _tagger(options)
    from kerasner.serving.export import model_name, next_version  # they need TensorFlow

    folder = Path(options.folder) / model_name(options.name)
    version = next_version(folder) if options.version is None else options.version
    print(tagger.export(folder, version))


def _serve(options: argparse.Namespace) -> None:
    if bool(options.names) == bool(options.model_config_file):
        raise ConfigError("serve takes the names of models or a --model-config-file, one of both")
    models: dict[str, Path | str] = {}
    for text in options.names:
        name, model = _served(text)
        if name in models:
            raise ConfigError(f"{text!r}: another model is served as {name!r}; give name=folder")
        models[name] = model
    missing = [name for name in _SERVING_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"serve needs {', '.join(missing)}, not installed here: pip install 'kerasner[serving]'"
        )
    _import_tensorflow()
    from kerasner.serving.server import app

    given = {field.name for field in dataclasses.fields(app.Settings)} & vars(options).keys()
    settings = app.Settings(models=models, **{name: getattr(options, name) for name in given})
    asyncio.run(app.run(settings))


def _served(text: str) -> tuple[str, Path | str]:
    """NAME of `serve` -> what requests call the model, and its folder or own name."""
    name, equals, rest = text.partition("=")
    if not name:
        raise ConfigError(f"{text!r}: expected a name before '='")
    model = rest if equals else name
    folder = configuration.user_path(model)
    if os.path.isdir(folder):
        try:
            holds = os.listdir(folder)
        except OSError as error:
            raise ConfigError(f"cannot read {model}: {error.strerror}") from error
        if _holds_model(holds):
            return name if equals else folder.resolve().name, folder
    if model in pretrained_names():
        return name, model
    if os.path.isdir(folder):
        place = folder.resolve()
        if "saved_model.pb" in holds and place.name.isdecimal():
            raise ConfigError(
                f"{model!r}: this is one version of a model; give its parent, {place.parent}"
            )
        models = [str(folder / entry) for entry in sorted(holds) if _is_model(folder / entry)]
        raise ConfigError(
            f"{model!r}: expected the folder of a trained model, or one with a SavedModel in a "
            "subfolder for each version, such as 1"
            + (f"; in it are {', '.join(models[:5])}" if models else "")
        )
    raise ConfigError(
        f"{model!r}: neither a folder nor a model that comes with kerasner: "
        f"{nearest(model, pretrained_names())}"
    )


def _is_model(folder: Path) -> bool:
    try:
        return _holds_model(os.listdir(folder))
    except OSError:  # no folder, or one that may not be read
        return False


def _holds_model(entries: Iterable[str]) -> bool:
    """Whether a folder of these entries is a trained model, or holds versions of a SavedModel."""
    return any(entry == "config.json" or entry.isdecimal() for entry in entries)


def _tagger(options: argparse.Namespace) -> "Tagger":
    """The model of a folder, a configuration's path, or a name."""
    name, folder = options.name, configuration.user_path(options.name)
    # os.path, unlike Path, answers False where a folder may not be read or a name is too long.
    is_model = os.path.isfile(folder / "config.json")
    is_config = not is_model and _is_config(name)
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

        return build_model(name, options.set, download=options.download)
    if name in pretrained_names():
        _import_tensorflow()
        return pretrained(name)
    valid = dict.fromkeys([*pretrained_names(), *configuration.names()])
    what = "the folder holds no model" if os.path.isdir(folder) else "no model is called so"
    raise ConfigError(f"{name!r}: {what}: {nearest(name, valid)}")


def _is_config(name: str) -> bool:
    return name.endswith(".json") or name in configuration.names()


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


def _resolved(options: argparse.Namespace) -> dict[str, Any]:
    return configuration.resolve(
        configuration.override(configuration.load(options.config), options.set)
    )


def _report(scores: Mapping[str, "Evaluation"]) -> None:
    """Scores of each part: to be read on stderr, to be parsed on stdout."""
    for part, score in scores.items():
        print(f"{part}: {score.report}", file=sys.stderr)
        _print({part: score.event()})


def _print(event: Mapping[str, Any], file: TextIO | None = None) -> None:
    print(json.dumps(event, ensure_ascii=False), file=file, flush=True)


_VERBS = {
    "install": _install,
    "download": _download,
    "train": _train,
    "evaluate": _evaluate,
    "predict": _predict,
    "interact": _interact,
    "export": _export,
    "serve": _serve,
}
