"""The page at the root of the REST port, held in memory."""

import base64
import hashlib
import re
from importlib import resources


class Page:
    """The page and its headers.

    The policy names the page's own script and style by their hashes: no other runs, wherever it
    came from, and the page speaks to its own server only.
    """

    def __init__(self) -> None:
        source = resources.files(__package__).joinpath("page", "index.html").read_bytes()
        self.body: bytes = source
        self.headers: dict[str, str] = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": "; ".join(
                (
                    "default-src 'none'",
                    f"script-src {_hash_of('script', source)}",
                    f"style-src {_hash_of('style', source)}",
                    "img-src data:",
                    "connect-src 'self'",
                    "base-uri 'none'",
                    "form-action 'none'",
                    "frame-ancestors 'none'",
                )
            ),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        }


def _hash_of(tag: str, source: bytes) -> str:
    (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), source, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"
