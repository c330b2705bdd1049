"""Chunk-wise F1 of a tagger learnt from a few sentences, over many draws of these.

    python benchmarks/few_shot.py COLLECTION3 --navec TAR --draws 30

Of each type of entity: sentences of the train part are drawn one after another until so many of
them hold an entity of the type, as `ner_few_shot_iterator` draws them; all drawn ones are learnt
from, with the settings of the configuration `ner_few_shot_ru_simulate`. F1 is that of whole
entities on the test part: mean, and standard deviation over the draws. Time is that of one
training: features, machines and their probabilities, without reading of files.
"""

import argparse
import statistics
import time

import _common

from kerasner.chainer import Chainer
from kerasner.data import Conll2003Reader, NerFewShotIterator, pipeline
from kerasner.evaluation import Scorer
from kerasner.evaluation import metrics as find_metrics
from kerasner.training import fit_pipeline, resolve

CONFIG = "ner_few_shot_ru_simulate"
ORIGINAL = {"PER": 84.85, "LOC": 68.41, "ORG": 32.63}  # DeepPavlov's documentation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="folder of Collection3")
    parser.add_argument("--navec", required=True, help="navec's tar")
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--sentences", type=int, default=10)
    parser.add_argument("--part", default="test", choices=["valid", "test"])
    parser.add_argument("--set", action="append", default=[], help="path.to.key=value")
    arguments = parser.parse_args()

    settings = [f"chainer.pipe.navec.load_path={arguments.navec}", *arguments.set]
    resolved = resolve(CONFIG, settings)
    data = Conll2003Reader().read(arguments.data)
    result = {
        label: _of_type(label, data, resolved, arguments) | {"DeepPavlov's": ORIGINAL.get(label)}
        for label in ("PER", "LOC", "ORG")
    }
    _common.write(f"few_shot_{arguments.sentences}", {"F1 by type": result})


def _of_type(label: str, data, resolved, arguments) -> dict:
    scores, seconds, sizes = [], [], []
    for seed in range(arguments.draws):
        drawn = NerFewShotIterator(data, label, arguments.sentences, seed=seed)
        if not scores:
            # The pipeline is the same for all draws, as are the batches of the test part.
            chainer = fit_pipeline(resolved, drawn).chainer
            untrained = chainer.network
            batches = pipeline.evaluation_batches(_encoded(chainer, drawn, arguments.part))
        start = time.monotonic()
        learnt = pipeline.evaluation_batches(_encoded(chainer, drawn, "train"))
        network = chainer.main.fitted(untrained, learnt)
        seconds.append(time.monotonic() - start)
        sizes.append(len(drawn.instances("train")[0]))
        score = Scorer(network, find_metrics([{"name": "ner_f1"}], {}))(batches)[1]["ner_f1"]
        scores.append(score)
        print(label, seed, f"{score:.2f}", flush=True)
    return {
        "mean": round(statistics.mean(scores), 2),
        "deviation": round(statistics.pstdev(scores), 2),
        "draws": arguments.draws,
        "sentences learnt from": round(statistics.mean(sizes), 1),
        "seconds of training": round(statistics.median(seconds), 2),
    }


def _encoded(chainer: Chainer, data: NerFewShotIterator, part: str):
    return pipeline.encoded(*data.instances(part), chainer.encode, chainer.tag_vocab)


if __name__ == "__main__":
    main()
