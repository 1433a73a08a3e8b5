"""Large files: Git LFS uploads, Xet uploads into a folder, and reading both back."""

from __future__ import annotations

import hashlib
import os
import struct
import threading
from pathlib import Path

from tests.support.loophub.state import File, HubError

# Layout of an MDB shard (xet-core, merklehash and mdb_shard): a 48-byte header, then file records of 48-byte rows.
_ROW = 48
_HAS_VERIFICATION, _HAS_METADATA = 1 << 31, 1 << 30


def _hash_text(raw: bytes) -> str:
    """Xet writes a hash as four little-endian 64-bit words."""
    return "".join(raw[start : start + 8][::-1].hex() for start in range(0, 32, 8))


class Blobs:
    """The bytes of large files, by sha256, whichever way they arrived."""

    def __init__(self, root: Path) -> None:
        self.folder, self.cas = root / "blobs", root / "cas"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._xet: dict[str, str] = {}
        self._read_shards: set[Path] = set()
        self._lock = threading.Lock()

    def path(self, sha256: str) -> Path:
        return self.folder / sha256

    def put(self, sha256: str, data: bytes) -> None:
        if hashlib.sha256(data).hexdigest() != sha256:
            raise HubError(400, "sha256 mismatch")
        self.path(sha256).write_bytes(data)

    def xet_hash(self, sha256: str) -> str | None:
        """The Xet hash of a file that ``hf_xet`` uploaded, read from the shards it left in the folder."""
        with self._lock:
            for shard in set(self.cas.rglob("shards/*.mdb")) - self._read_shards:
                self._read_shards.add(shard)
                self._xet.update(_files_of_shard(shard.read_bytes()))
            return self._xet.get(sha256)

    def large_file(self, sha256: str, size: int | None, use_xet: bool) -> File:
        """The file that a commit refers to.

        Raises:
            HubError: 400 if it was never uploaded or has another size.
        """
        xet_hash = self.xet_hash(sha256) if use_xet else None
        stored = self.path(sha256)
        if not stored.exists() and xet_hash is None:
            raise HubError(400, "LFS pointer pointed to a file that does not exist")
        actual = stored.stat().st_size if stored.exists() else size
        if actual is None or size not in (None, actual):
            raise HubError(400, "size mismatch")
        return File.large(sha256, actual, xet_hash)

    def read(self, file: File, refresh_url: str, authorization: str) -> bytes:
        """The bytes of a large file; a Xet upload is put together by ``hf_xet``, which asks ``refresh_url`` for a
        token.
        """
        assert file.sha256 is not None
        stored = self.path(file.sha256)
        if not stored.exists():
            import hf_xet

            partial = f"{stored}.{threading.get_ident()}"
            headers = {"authorization": authorization}
            session = hf_xet.XetSession()
            with session.new_file_download_group(token_refresh_url=refresh_url, token_refresh_headers=headers) as group:
                group.start_download_file(hf_xet.XetFileInfo(file.xet_hash, file.size), partial)
            os.replace(partial, stored)
        return stored.read_bytes()


def _files_of_shard(data: bytes) -> dict[str, str]:
    """sha256 → Xet hash for every file of a shard."""
    files, offset = {}, _ROW
    while offset + _ROW <= len(data) and data[offset : offset + 32] != b"\xff" * 32:
        xet_hash = _hash_text(data[offset : offset + 32])
        flags, segments = struct.unpack("<II", data[offset + 32 : offset + 40])
        offset += _ROW + _ROW * segments
        if flags & _HAS_VERIFICATION:
            offset += _ROW * segments
        if flags & _HAS_METADATA:
            files[_hash_text(data[offset : offset + 32])] = xet_hash
            offset += _ROW
    return files
