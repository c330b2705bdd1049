"""Writing named arrays into an .npz file whose bytes depend on nothing but the arrays."""

import contextlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_DATE = (1980, 1, 1, 0, 0, 0)  # NumPy would store the time of writing


def save(path: Path, arrays: Mapping[str, Any], compress: bool = False) -> None:
    """Writes beside `path` first, then renames. Read it with `numpy.load(allow_pickle=False)`.

    Raises:
        OSError: the file cannot be written.
    """
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with zipfile.ZipFile(beside, "w") as target:
            for name, array in arrays.items():
                entry = zipfile.ZipInfo(f"{name}.npy", _DATE)
                entry.compress_type = method
                with target.open(entry, "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
        os.replace(beside, path)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
