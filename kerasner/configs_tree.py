"""Configurations as attributes: `configs.ner.ner_conll2003` is the path of that JSON file."""

from pathlib import Path
from typing import Union

from kerasner.registry import unknown


class ConfigTree:
    """A folder of JSON files whose names are attributes.

    The folder is read at each access, so files added later are found. A package can take the
    place of the tree by handing on its two special methods:

    ```
    _tree = ConfigTree(Path(__file__).parent)
    __getattr__, __dir__ = _tree.__getattr__, _tree.__dir__
    ```

    Args:
        folder: The folder to show.

    Example:

    ```python
    configs = ConfigTree("configs")
    configs.ner.ner_conll2003  # Path("configs/ner/ner_conll2003.json")
    ```
    """

    def __init__(self, folder: str | Path):
        self._folder = Path(folder)

    def __getattr__(self, name: str) -> Union[Path, "ConfigTree"]:
        # Copying and pickling ask for special names before __init__ has run.
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__} has no attribute '{name}'")
        entries = self._entries()
        if name not in entries:
            raise AttributeError(f"no configuration {unknown(name, entries)} (in {self._folder})")
        path = entries[name]
        return path if path.is_file() else ConfigTree(path)

    def __dir__(self) -> list[str]:
        return list(self._entries())

    def __repr__(self) -> str:
        return f"ConfigTree({str(self._folder)!r})"

    def _entries(self) -> dict[str, Path]:
        files = self._folder.glob("*.json")
        folders = (path for path in self._folder.glob("*/") if any(path.rglob("*.json")))
        paths = {path.stem: path for path in sorted([*files, *folders])}
        return {name: path for name, path in paths.items() if name.isidentifier()}
