"""A section of the page, and how templates become HTML."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ...backends.explain_text import scaled

TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor, heading, and HTML."""

    id: str
    title: str
    html: Markup


def render(template: str, **values: Any) -> Markup:
    """A template of the folder ``templates`` with values, which are escaped unless they are Markup."""
    return Markup(_environment().get_template(template).render(**values))


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters["scaled"] = lambda value, unit="": scaled(value, unit).strip()
    return made
