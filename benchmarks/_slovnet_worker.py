"""Runs slovnet's named entity recognizer for Russian, asked by JSON lines; see speed.py.

python _slovnet_worker.py navec_news_v1_1B_250K_300d_100q.tar slovnet_ner_news_v1.tar
"""

import json
import sys
import time
from importlib.metadata import version

from navec import Navec
from slovnet import NER

vectors, weights = sys.argv[1:]
ner = NER.load(weights)
ner.navec(Navec.load(vectors))

for line in sys.stdin:
    request = json.loads(line)
    answer = {"version": f"slovnet {version('slovnet')}, {weights}"}
    if request:
        ner.infer.encoder.batch_size = request["batch_size"]
        cpu, wall = time.process_time(), time.perf_counter()
        for markup in ner.map(request["texts"]):
            len(markup.spans)
        answer |= {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    print(json.dumps(answer), flush=True)
