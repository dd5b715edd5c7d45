"""What a machine is called in files of measurements."""

from __future__ import annotations

import hashlib
from functools import lru_cache

from ..build import machine, processor


@lru_cache(maxsize=1)
def machine_id() -> str:
    """The same text on machines that are alike: the processor, the cores this process may use, the caches."""
    return hashlib.sha256(f"{processor()}; {machine()}".encode()).hexdigest()[:16]
