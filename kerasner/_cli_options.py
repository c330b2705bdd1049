"""The options of the command line, and what they may be."""

import argparse
import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from kerasner import config as configuration
from kerasner._version import __version__
from kerasner.errors import ConfigError
from kerasner.pretrained import names as pretrained_names

Verb = Callable[[argparse.Namespace], None]


def parser_of(verbs: Mapping[str, Verb]) -> argparse.ArgumentParser:
    """Parses `kerasner VERB ...`; the attribute `verb` of the options is that of `verbs`."""
    parser = _Parser(prog="kerasner", description="Named entity recognition in Keras.")
    parser.add_argument("--version", action="version", version=f"kerasner {__version__}")
    parsers = parser.add_subparsers(metavar="VERB", required=True)

    def add(name: str, summary: str) -> _Parser:
        added = parsers.add_parser(name, help=summary, description=summary)
        added.set_defaults(verb=verbs[name])
        return added

    install = add("install", "Install what a configuration needs besides kerasner.")
    fetch = add("download", "Fetch the files that a configuration names.")
    train = add("train", "Train a model; one that was stopped goes on.")
    evaluate = add("evaluate", "Score a trained model on the valid and test parts.")
    for verb in (install, fetch, train, evaluate):
        verb.add_argument(
            "config", metavar="CONFIG", help="name of a configuration, or path of its .json file"
        )
    predict = add("predict", "Tag lines of text; writes a line of JSON for each.")
    interact = add("interact", "Tag what is typed in; leave with exit, stop, quit or q.")
    export = add("export", "Write a SavedModel that needs TensorFlow alone.")
    for verb in (predict, interact, export):
        verb.add_argument(
            "name",
            metavar="NAME",
            help="folder of a trained model, path of a configuration (.json), a model that comes "
            f"with kerasner ({', '.join(pretrained_names()) or 'none'}), or name of a "
            "configuration",
        )
    serve = add("serve", "Serve models by TensorFlow Serving's gRPC and REST.")
    _add_serve_options(serve)
    for verb in (install, fetch, train, evaluate, predict, interact, export):
        verb.add_argument(
            "--set",
            metavar="path.to.key=value",
            action="append",
            default=[],
            help="change a value of the configuration; may be repeated",
        )
    for verb in (train, evaluate, predict, interact, export):
        verb.add_argument(
            "-d", "--download", action="store_true", help="fetch the configuration's files first"
        )
    train.add_argument(
        "-e",
        "--start-epoch-num",
        type=_number,
        default=0,
        metavar="N",
        help="so many epochs count as done (default 0); a run that goes on knows it by itself",
    )
    train.add_argument(
        "--recursive",
        action="store_true",
        help="of no effect: nested configurations are trained as parts of this one",
    )
    evaluate.add_argument(
        "--data",
        metavar="DIR",
        help="folder of the data; with it, CONFIG may be the folder of a trained model",
    )
    predict.add_argument(
        "-f",
        "--input-file",
        "--file",
        dest="file",
        default="-",
        help="UTF-8 text, one sample a line; -, the default: stdin. A model of several inputs "
        "takes a line for each in turn, words separated by white space",
    )
    predict.add_argument(
        "-b", "--batch-size", type=_positive, default=256, help="samples a batch (default 256)"
    )
    for verb in (predict, interact):
        verb.add_argument(
            "--entities", action="store_true", help="write entities instead of tokens and tags"
        )
    export.add_argument(
        "folder", metavar="DIR", help="of all models; this one goes to DIR/NAME/VERSION"
    )
    export.add_argument(
        "--version",
        type=_number,
        metavar="N",
        help="number of the version, replaced where it exists; default: one more than the highest",
    )
    return parser


def _add_serve_options(serve: argparse.ArgumentParser) -> None:
    serve.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        help=f"a model that comes with kerasner ({', '.join(pretrained_names()) or 'none'}), the "
        "folder of a trained model, a folder with a SavedModel for each version, or name=folder",
    )
    serve.add_argument(
        "--model-config-file",
        type=configuration.user_path,
        metavar="FILE",
        help="instead of NAME: a ModelServerConfig of TensorFlow Serving",
    )

    def option(flag: str, kind: Callable[[str], Any], default: Any, text: str) -> None:
        shown = "" if default is None else f" (default {default})"
        serve.add_argument(flag, type=kind, default=default, metavar="N", help=text + shown)

    serve.add_argument(
        "--host", default="localhost", help="address to listen on (default localhost: this machine)"
    )
    option("--port", _port, 8500, "port of gRPC; 0: a free one")
    option(
        "--rest-port",
        _port,
        None,
        "port of REST, metrics and the page; else there are none",
    )
    option("--poll-seconds", _seconds, 1.0, "how often to look for new versions; 0: at the start")
    option("--workers", _positive, 2, "threads that call the model")
    serve.add_argument(
        "--no-batching",
        dest="batching",
        action="store_false",
        help="compute each request on its own, never several together",
    )
    option("--max-batch-size", _positive, 256, "rows to compute together")
    option("--max-batch-tokens", _positive, 8192, "tokens to compute together, estimated for texts")
    option("--batch-timeout-micros", _number, 0, "microseconds to wait for a batch to fill")
    option("--max-queue-requests", _positive, 1024, "requests that may wait")
    option("--max-queue-bytes", _positive, 2**26, "bytes of requests that may wait")
    option("--max-request-rows", _positive, 4096, "rows of a request")
    option(
        "--max-request-cells",
        _positive,
        2**22,
        "rows of a request times its longest text in bytes, or its longest row in tokens",
    )
    option("--max-row-tokens", _positive, 20_000, "tokens of a row: it is one sentence")
    option("--max-message-bytes", _positive, 2**22, "bytes of a gRPC message")
    option("--rest-max-bytes", _positive, 2**22, "bytes of the body of a REST request")
    option("--rest-timeout", _seconds, 30.0, "seconds until a REST request is given up")
    option("--grace", _seconds, 30.0, "seconds for requests under way, after SIGTERM or Ctrl-C")
    for flag, text in (
        ("--tls-cert", "certificate of the server (PEM): with it, both ports speak TLS"),
        ("--tls-key", "its private key (PEM)"),
        ("--tls-client-ca", "serve only clients with a certificate of this authority (PEM)"),
    ):
        serve.add_argument(flag, type=configuration.user_path, metavar="FILE", help=text)


class _Parser(argparse.ArgumentParser):
    """Complains in one line, like everything else."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; see {self.prog} --help")


def _positive(text: str) -> int:
    return _number(text, 1)


def _number(text: str, least: int = 0, most: float = math.inf) -> int:
    try:
        number = int(text)
    except ValueError:
        number = None
    if number is None or not least <= number <= most:
        bounds = f"of {least} or more" if most == math.inf else f"from {least} to {most}"
        raise argparse.ArgumentTypeError(f"expected a whole number {bounds}, received {text!r}")
    return number


def _port(text: str) -> int:
    return _number(text, 0, 2**16 - 1)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"expected seconds, 0 or more, received {text!r}")
    return seconds
