"""The container of a kernel file: a zip archive without compression, whose comment is the SHA-256 of all bytes before it.

Reading checks the digest, then the archive, then the digest of every entry against ``manifest.json``; nothing is unpacked
to disk. Every fault is one :class:`DataError`. Writing is atomic: other processes see a whole file or none.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import secrets
import stat
import zipfile
import zlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from ..compiler.diagnostics import DataError

#: Version of the container, of the manifest and of the interface of kernels; a file of another one is refused.
FORMAT = 4
MANIFEST = "manifest.json"
_DIGEST = 64  # hexadecimal digits at the end of a file
_MAX_FILE = 4 << 30
_MAX_ENTRIES = 10_000
_MAX_TEXT = 64 << 20
_NAME = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)*\.[a-z0-9]+")


def pack(manifest: Mapping[str, Any], entries: Mapping[str, bytes]) -> bytes:
    """The bytes of a kernel file: entries by name, and a manifest that has their sizes and digests, too."""
    listed = {name: {"size": len(data), "sha256": _sha256(data)} for name, data in entries.items()}
    text = json.dumps({"format": FORMAT, **manifest, "entries": listed}, indent=1, ensure_ascii=False, allow_nan=False)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {MANIFEST: text.encode(), **entries}.items():
            archive.writestr(zipfile.ZipInfo(name), data)
        archive.comment = b"0" * _DIGEST
    data = buffer.getvalue()[:-_DIGEST]
    return data + _sha256(data).encode()


def write(path: Path, data: bytes) -> None:
    """Write a file whole, or not at all. Raises DataError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from None


def read(source: str | PathLike[str]) -> bytes:
    """The bytes of a file. Raises DataError."""
    path = Path(source)
    try:
        size = path.stat().st_size
        if size > _MAX_FILE:
            raise DataError(f"{path} has {size} bytes, more than a kernel file may have ({_MAX_FILE})")
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def unpack(data: bytes, name: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest and the entries of a kernel file, every digest checked. Raises DataError; ``name`` is what it calls the file."""
    if not data.startswith(b"PK"):
        raise DataError(f"{name} is no kernel file")
    if not secrets.compare_digest(data[-_DIGEST:], _sha256(data[:-_DIGEST]).encode()):
        raise DataError(f"{name} is damaged: its bytes do not match their digest (cut off, or changed since it was written)")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = _entries(archive, len(data))
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError, EOFError, OSError) as error:
        raise DataError(f"{name} is damaged: {error}") from None
    text = entries.pop(MANIFEST, None)
    if text is None:
        raise DataError(f"{name} is no kernel file: it has no {MANIFEST}")
    manifest = _manifest(text, name)
    listed = manifest["entries"]
    if not isinstance(listed, dict) or listed.keys() != entries.keys():
        raise DataError(f"{name} is damaged: its manifest lists other entries than it has")
    for entry, content in entries.items():
        if not isinstance(listed[entry], dict) or listed[entry].get("sha256") != _sha256(content):
            raise DataError(f"{name} is damaged: the digest of {entry} is not the one its manifest has")
    return manifest, entries


def _entries(archive: zipfile.ZipFile, total: int) -> dict[str, bytes]:
    """Every entry, read into memory. Raises ValueError for what no kernel file has."""
    infos = archive.infolist()
    if len(infos) > _MAX_ENTRIES:
        raise ValueError(f"it has {len(infos)} entries")
    if sum(i.file_size for i in infos) > total:
        raise ValueError("its entries are larger than the file")
    found: dict[str, bytes] = {}
    for info in infos:
        if not _NAME.fullmatch(info.filename):
            raise ValueError(f"it has an entry with the name {info.filename[:80]!r}")
        if info.filename in found:
            raise ValueError(f"it has two entries {info.filename}")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
            raise ValueError(f"{info.filename} is compressed or encrypted")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise ValueError(f"{info.filename} is a link or no regular file")
        found[info.filename] = archive.read(info)
    return found


def _manifest(text: bytes, name: str) -> dict[str, Any]:
    if len(text) > _MAX_TEXT:
        raise DataError(f"{name} is damaged: its manifest has {len(text)} bytes")
    try:
        manifest = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is damaged: its manifest does not parse: {str(error)[:200]}") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int) or "entries" not in manifest:
        raise DataError(f"{name} is no kernel file: its manifest lacks the format or the entries")
    if manifest["format"] != FORMAT:
        raise DataError(
            f"{name} has format {manifest['format']}, written by unspool {manifest.get('unspool')}; this version reads format "
            f"{FORMAT}: compile the program again"
        )
    return manifest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
