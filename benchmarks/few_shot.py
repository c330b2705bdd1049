"""Chunk-wise F1 of a tagger learnt from a few sentences, over many draws of these.

    python benchmarks/few_shot.py COLLECTION3 --draws 30
    python benchmarks/few_shot.py COLLECTION3 --curve

Of each type of entity: sentences of the train part are drawn one after another until so many of
them hold an entity of the type, as `ner_few_shot_iterator` draws them; all drawn ones are learnt
from, with the settings of the configuration. F1 is that of whole entities on the test part: mean,
and standard deviation over the draws. Time is that of one training: features, machines and their
probabilities, without reading of files. Memory is the most that the process had held when the first
training of a size was over, and what it held before any; sizes are measured from few sentences to
many, each type in a process of its own.

Results are written as they come; the same command goes on where it was stopped.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import time
from pathlib import Path

import _common

CURVE = "5:30,10:30,20:30,50:10,100:10,200:5,500:3,1000:3"
DOCS = Path(__file__).parents[1] / "docs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="folder of a data set")
    parser.add_argument("--config", default="ner_few_shot_ru_simulate")
    parser.add_argument("--labels", default="PER,LOC,ORG", help="types of entities")
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--sentences", type=int, default=10)
    parser.add_argument(
        "--curve",
        nargs="?",
        const=CURVE,
        help=f"instead of one number of sentences many, each with its draws: {CURVE}",
    )
    parser.add_argument("--plot", help="of the curve; by default docs/NAME.svg")
    parser.add_argument("--part", default="test", choices=["valid", "test"])
    parser.add_argument("--set", action="append", default=[], help="path.to.key=value")
    arguments = parser.parse_args()

    sizes = {arguments.sentences: arguments.draws}
    name = f"few_shot-{Path(arguments.config).stem}-{arguments.sentences}"
    if arguments.curve:
        sizes = {int(n): int(draws) for n, draws in _pairs(parser, arguments.curve)}
        name = f"few_shot-{Path(arguments.config).stem}-curve"
    about = {"config": arguments.config, "part": arguments.part, "set": arguments.set}
    result = _earlier(name, about)
    for label in arguments.labels.split(","):
        _in_own_process(label, sizes, arguments, name, result)
    if arguments.curve:
        place = Path(arguments.plot or DOCS / f"{name}.svg")
        plot(result["F1 by type"], place)
        print(place)


def _pairs(parser: argparse.ArgumentParser, text: str) -> list[tuple[str, ...]]:
    pairs = [tuple(item.split(":")) for item in text.split(",")]
    if not all(len(pair) == 2 and all(map(str.isdecimal, pair)) for pair in pairs):
        parser.error(f"--curve: expected sentences:draws, such as {CURVE}; received {text!r}")
    return pairs


def _earlier(name: str, about: dict) -> dict:
    """What an earlier run has measured."""
    path = _common.RESULTS / f"{name}.json"
    about = {**about, "set": [_common._shortened(item) for item in about["set"]]}
    if not path.exists():
        return {**about, "F1 by type": {}}
    result = json.loads(path.read_text(encoding="utf-8"))
    if any(result.get(key) != value for key, value in about.items()):
        sys.exit(f"{path} is of other settings; move it away to measure these: {about}")
    return result


def _in_own_process(label: str, sizes: dict, arguments, name: str, result: dict) -> None:
    """Measures what is missing; peak memory is that of a process, so each type has one."""
    of_type = result["F1 by type"].setdefault(label, {})
    missing = {
        size: draws
        for size, draws in sorted(sizes.items())
        if len(of_type.get(str(size), {}).get("F1", ())) < draws
    }
    if not missing:
        return
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(label, missing, of_type, arguments, sender))
    process.start()
    sender.close()
    try:
        while True:
            size, entry = receiver.recv()
            of_type[str(size)] = entry
            _common.write(name, result)
    except EOFError:  # it has ended
        process.join()
    if process.exitcode:
        sys.exit(process.exitcode)


def _measure(label: str, sizes: dict[int, int], done: dict, arguments, sender) -> None:
    from kerasner.data import NerFewShotIterator, pipeline
    from kerasner.errors import ConfigError
    from kerasner.evaluation import Scorer
    from kerasner.evaluation import metrics as find_metrics
    from kerasner.recipe import read, resolve
    from kerasner.training import fit_pipeline

    resolved = resolve(
        arguments.config, [f"dataset_reader.data_path={arguments.data}", *arguments.set]
    )
    whole = {**resolved, "dataset_iterator": {"class_name": "data_learning_iterator"}}
    parts = read(whole)
    data = {p: list(zip(*parts.instances(p), strict=True)) for p in ("train", "valid", "test")}
    chainer = batches = None

    def encoded(drawn, part):
        return pipeline.encoded(*drawn.instances(part), chainer.encode, chainer.tag_vocab)

    for size, draws in sizes.items():
        entry = done.get(str(size)) or {"F1": [], "seconds": [], "sentences": []}
        for seed in range(len(entry["F1"]), draws):
            try:
                drawn = NerFewShotIterator(data, label, size, seed=seed)
            except ConfigError as error:
                print(error, file=sys.stderr)
                break
            if chainer is None:
                # The pipeline is the same for all draws, as are the batches of the test part.
                chainer = fit_pipeline(resolved, drawn).chainer
                batches = pipeline.evaluation_batches(encoded(drawn, arguments.part))
                untrained = chainer.network
            before = _peak()
            start = time.monotonic()
            learnt = pipeline.evaluation_batches(encoded(drawn, "train"))
            network = chainer.main.fitted(untrained, learnt)
            entry["seconds"].append(round(time.monotonic() - start, 2))
            entry.setdefault("MB before", before)
            entry.setdefault("MB at most", _peak())
            entry["sentences"].append(len(drawn.instances("train")[0]))
            scores = Scorer(network, find_metrics([{"name": "ner_f1"}], {}))(batches)[1]
            entry["F1"].append(round(scores["ner_f1"], 2))
            print(label, size, seed, entry["F1"][-1], flush=True)
            sender.send((size, _summary(entry)))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _summary(entry: dict) -> dict:
    scores = entry["F1"]
    summary = {
        "mean": round(statistics.mean(scores), 2),
        "deviation": round(statistics.pstdev(scores), 2),
        "draws": len(scores),
        "sentences learnt from": round(statistics.mean(entry["sentences"]), 1),
        "seconds of training": round(statistics.median(entry["seconds"]), 2),
        "slowest": max(entry["seconds"]),
    }
    return {**entry, **summary}


def plot(by_type: dict, place: Path) -> None:
    """F1 over the number of sentences, a line a type, with the deviation around it."""
    import matplotlib

    matplotlib.use("svg" if place.suffix == ".svg" else "agg")
    matplotlib.rcParams["svg.hashsalt"] = "kerasner"  # the same file each time
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2))
    numbers: set[int] = set()
    for label, of_type in by_type.items():
        points = sorted((int(size), e["mean"], e["deviation"]) for size, e in of_type.items())
        if not points:
            continue
        sizes, means, deviations = zip(*points, strict=True)
        numbers |= set(sizes)
        (line,) = axes.plot(sizes, means, marker="o", markersize=4, label=label)
        lower, upper = (
            [m + sign * d for m, d in zip(means, deviations, strict=True)] for sign in (-1, 1)
        )
        axes.fill_between(sizes, lower, upper, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set_xscale("log")
    axes.set_xticks(sorted(numbers), [f"{number:,}" for number in sorted(numbers)])
    axes.minorticks_off()
    axes.set_xlabel("sentences that hold the entity")
    axes.set_ylabel("F1, mean and deviation of the draws")
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    place.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(place, metadata={"Date": None} if place.suffix == ".svg" else None, dpi=150)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
