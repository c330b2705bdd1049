"""The pipelines that come with kerasner, a JSON file each, as a tree of paths.

Example:

```python
from kerasner import configs

configs.ner.ner_conll2003  # Path(".../kerasner/configs/ner/ner_conll2003.json")
```
"""

from . import ner

__all__ = ["ner"]
