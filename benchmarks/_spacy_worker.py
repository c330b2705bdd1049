"""Runs the named entity recognizer of spaCy's en_core_web_sm, asked by JSON lines; see speed.py."""

import json
import sys
import time
from pathlib import Path

import en_core_web_sm
import spacy

folder = next(Path(en_core_web_sm.__file__).parent.glob("en_core_web_sm-*"))
nlp = spacy.load(folder, exclude=["tagger", "parser", "attribute_ruler", "lemmatizer", "senter"])
assert nlp.pipe_names == ["tok2vec", "ner"], nlp.pipe_names

for line in sys.stdin:
    request = json.loads(line)
    answer = {"version": f"spaCy {spacy.__version__}, {folder.name}"}
    if request:
        cpu, wall = time.process_time(), time.perf_counter()
        for doc in nlp.pipe(request["texts"], batch_size=request["batch_size"]):
            len(doc.ents)
        answer |= {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    print(json.dumps(answer), flush=True)
