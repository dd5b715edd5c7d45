"""The page: its sections, style and script, in one file that loads nothing and lets nothing be loaded."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from .section import TEMPLATES, Section, render


def page(title: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section], *, small: bool = False) -> str:
    """The HTML of a page. ``small``: without a heading, for a notebook."""
    style, script = (_file(name) for name in ("style.css", "script.js"))
    return str(
        render(
            "page.html",
            title=title,
            facts=facts,
            sections=sections,
            small=small,
            style=style,
            script=script,
            policy=_policy(script),
        )
    )


def _file(name: str) -> Markup:
    """A file of ours, as it is."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def _policy(script: str) -> str:
    """What a browser may do with the page: run this one script, and load nothing."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


def frame(html: str, height: int) -> str:
    """A page as an element of another one, apart from its styles and scripts."""
    found: Any = render("frame.html", html=html, height=height)
    return str(found)
