"""Runs a SavedModel in a process without kerasner, asked by JSON lines; see speed.py."""

import json
import sys
import time

import _common
import tensorflow as tf

base = _common.status("VmRSS")
started = time.perf_counter()
model = tf.saved_model.load(sys.argv[1])
tag = model.signatures["serving_default"]
load = time.perf_counter() - started

for line in sys.stdin:
    request = json.loads(line)
    answer = {"load": load, "base": base, "version": tf.__version__}
    if request:
        texts, size = request["texts"], request["batch_size"]
        cpu, wall = time.process_time(), time.perf_counter()
        for start in range(0, len(texts), size):
            result = tag(text=tf.constant(texts[start : start + size]))
            result["tags"].numpy()
        answer |= {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    answer |= {"rss": _common.status("VmRSS"), "peak": _common.status("VmHWM")}
    print(json.dumps(answer), flush=True)
