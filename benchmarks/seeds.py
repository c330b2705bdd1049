"""F1 of a configuration over several seeds: trains them one after another, then scores each once.

    python benchmarks/seeds.py CONFIG --seeds 5 --folder RUNS --set dataset_reader.data_path=DATA

Seed N is `train.seed`; its model goes to RUNS/seedN. A command that was killed goes on where it was
when it is given again: finished seeds are not trained again, and what a model scored on a part is
kept in RUNS, so that no part is scored twice. While settings are chosen, --valid-only leaves the
part test alone. Commands with --only, such as `--only 1 3` and `--only 2`, share the training; one
without makes the table: mean and standard deviation (that of a sample) over the seeds. Where the
part valid is learnt from too (train.train_on_valid), it is not scored.
"""

import argparse
import gc
import json
import os
import statistics
import sys
import time
from pathlib import Path

import _common
import keras
import tensorflow as tf

import kerasner
from kerasner import recipe

SETTINGS = "settings.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", help="name of a configuration, or its file")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folder", type=Path, required=True, help="for models and scores")
    parser.add_argument("--set", action="append", default=[], help="path.to.key=value")
    parser.add_argument("--valid-only", action="store_true")
    parser.add_argument("--only", type=int, nargs="+", help="train these seeds and end")
    given = parser.parse_args()

    train, _ = recipe.train_group(recipe.resolve(given.config, given.set))
    if train.train_on_valid and given.valid_only:
        parser.error("--valid-only: the part valid is learnt from")
    parts = ["valid"] * (not train.train_on_valid) + ["test"] * (not given.valid_only)
    _check_settings(given.folder, {"config": given.config, "set": given.set})
    seeds = range(1, given.seeds + 1)
    if not set(given.only or ()) <= set(seeds):
        parser.error(f"--only {given.only}: expected some of the seeds 1 to {given.seeds}")
    runs = {
        seed: _Run(given.config, [*given.set, f"train.seed={seed}"], given.folder / f"seed{seed}")
        for seed in seeds
    }
    for seed, run in runs.items():
        if not run.is_trained and seed in (given.only or seeds):
            print(f"seed {seed}", file=sys.stderr, flush=True)
            run.train()
    if given.only:
        return
    scores = {seed: {part: run.score(part) for part in parts} for seed, run in runs.items()}
    result = {
        "tensorflow": tf.__version__,
        "settings": given.set,
        **{part: _table([scores[seed][part] for seed in seeds]) for part in parts},
        "runs": {f"seed {seed}": run.history() for seed, run in runs.items()},
    }
    _common.write(f"seeds-{Path(given.config).stem}", result)


class _Run:
    """Training and scores of one seed; all that is to be remembered lies in files.

    Args:
        config, settings: of `kerasner.train_model`.
        folder: of the model. Beside it lie FOLDER.jsonl, the reports of training, and
            FOLDER.scores.json.
    """

    def __init__(self, config: str, settings: list[str], folder: Path):
        self._config = config
        self._settings = [*settings, f"chainer.pipe.ner.save_path={json.dumps(str(folder))}"]
        self._folder = folder
        self._reports = folder.with_name(f"{folder.name}.jsonl")
        self._scores = folder.with_name(f"{folder.name}.scores.json")

    @property
    def is_trained(self) -> bool:
        # Of a run that was stopped by Ctrl-C there is a model too, but its state beside it.
        is_stopped = self._folder.with_name(f"{self._folder.name}.training").exists()
        return (self._folder / "config.json").exists() and not is_stopped

    def train(self) -> None:
        """Trains, or goes on training."""
        started = time.time()

        def note(part: str, **report: object) -> None:
            seconds = round(time.time() - started, 1)
            with open(self._reports, "a") as file:
                line = {"started": started, "seconds": seconds, "part": part, **report}
                file.write(json.dumps(line) + "\n")

        def tell(event: dict) -> None:
            for part, report in event.items():
                note(part, epoch=report["epochs_done"], metrics=report["metrics"])

        note("start")
        keras.backend.clear_session()
        gc.collect()
        kerasner.train_model(self._config, self._settings, verbose=2, tell=tell)
        if not self.is_trained:
            sys.exit("stopped; the same command goes on")
        note("end")

    def score(self, part: str) -> dict:
        """`Evaluation.event` of a part, which is scored the first time alone."""
        known = json.loads(self._scores.read_text()) if self._scores.exists() else {}
        if part not in known:
            targets = f"train.evaluation_targets={json.dumps([part])}"
            evaluated = kerasner.evaluate_model(self._config, [*self._settings, targets])
            known[part] = evaluated[part].event()
            _write(self._scores, known)
        return known[part]

    def history(self) -> dict:
        """Epochs and hours; of killed commands what came after their last report does not count.

        Without validation there are no epochs, and hours are those of the last command alone.
        """
        reports = [json.loads(line) for line in self._reports.read_text().splitlines()]
        validated = [report for report in reports if report["part"] == "valid"]
        epochs = {}
        if validated:
            best = max(validated, key=lambda report: next(iter(report["metrics"].values())))
            epochs = {
                "epochs": max(report["epoch"] for report in validated),
                "best epoch": best["epoch"],
            }
        seconds = {report["started"]: report["seconds"] for report in reports}
        scores = json.loads(self._scores.read_text())
        return {
            **epochs,
            "hours": round(sum(seconds.values()) / 3600, 2),
            **{f"F1 {part}": score["f1"] for part, score in scores.items()},
        }


def _check_settings(folder: Path, settings: dict) -> None:
    """One folder holds seeds of the same settings alone."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SETTINGS
    if not path.exists():
        _write(path, settings)
    known = json.loads(path.read_text())
    if known != settings:
        sys.exit(f"{folder} holds runs of {known}; expected another folder for {settings}")


def _write(path: Path, content: dict) -> None:
    """Whole or not at all, whatever other processes do."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(beside, path)


def _table(scores: list[dict]) -> dict:
    types = sorted({label for score in scores for label in score["types"]})
    return {
        **{
            name: _spread([score[name] for score in scores])
            for name in ("f1", "precision", "recall")
        },
        "F1 by type": {
            label: _spread([score["types"].get(label, {"f1": 0.0})["f1"] for score in scores])
            for label in types
        },
    }


def _spread(values: list[float]) -> dict:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": round(statistics.mean(values), 2), "deviation": round(deviation, 2)}


if __name__ == "__main__":
    main()
