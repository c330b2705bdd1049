"""Exports a model by name or from a folder: _export.py MODEL PLACE."""

import sys
from pathlib import Path

import kerasner

model, place = sys.argv[1:]
tagger = kerasner.Tagger.load(model) if Path(model).is_dir() else kerasner.pretrained(model)
tagger.export(place)
