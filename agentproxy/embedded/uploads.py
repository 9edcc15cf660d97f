"""Uploaded files: kept below one private directory that is made at the first upload and removed at the end."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

MOST_UPLOAD = 10 * 1024 * 1024


class UploadError(Exception):
    """An upload that is not taken: ``status``, ``text`` and the ``location`` of the fault ("" for none)."""

    def __init__(self, status: int, text: str, location: str = "") -> None:
        super().__init__(text)
        self.status, self.text, self.location = status, text, location


class Uploads:
    """The uploads of one server."""

    def __init__(self) -> None:
        self._directory: Path | None = None

    def take(self, data: bytes, content_type: str) -> Path:
        """Keep the file in the multipart body *data* and return where it is.

        :raises UploadError: 400 larger than 10 MiB; 422 no multipart body, no file, two files, or no usable name.
        """
        name, content = _only_file(data, content_type)
        if len(content) > MOST_UPLOAD:
            raise UploadError(400, "file size exceeds 10MB limit")
        base = name.rpartition("/")[2]
        if base in ("", ".", "..") or "\0" in base or len(base.encode("utf-8", "replace")) > 255:
            raise UploadError(422, "the file needs a name of at most 255 bytes", "file")
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="agentapi-uploads-"))
        directory = self._directory / hashlib.sha256(content).hexdigest()[:16]
        directory.mkdir(mode=0o755, exist_ok=True)
        (directory / base).write_bytes(content)
        return directory / base

    def remove(self) -> None:
        """Remove everything uploaded; twice does no harm."""
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None


def _only_file(data: bytes, content_type: str) -> tuple[str, bytes]:
    from email.parser import HeaderParser  # dear, and only for this

    head = HeaderParser().parsestr(f"Content-Type: {content_type}\r\n\r\n")
    boundary = head.get_boundary()
    if head.get_content_type() != "multipart/form-data":
        raise _unreadable("request Content-Type isn't multipart/form-data")
    if not boundary:
        raise _unreadable("no multipart boundary param in Content-Type")
    mark = b"--" + boundary.encode("latin-1", "replace")
    files = []
    _before, *parts = (b"\r\n" + data).split(b"\r\n" + mark)
    last = next((at for at, part in enumerate(parts) if part.startswith(b"--")), None)
    if last is None:
        raise _unreadable("unexpected EOF" if parts else "multipart: NextPart: EOF")
    for part in parts[:last]:
        fields, _blank, content = part.partition(b"\r\n\r\n")
        text = fields.lstrip(b"\r\n").decode("utf-8", "replace")
        headers = HeaderParser().parsestr(text + "\r\n\r\n")
        if headers.get_param("name", header="content-disposition") == "file":
            files.append((str(headers.get_filename() or ""), content))
    if not files:
        raise UploadError(422, "File required", "file")
    if len(files) > 1:
        raise UploadError(422, "Multiple files received but only one was expected", "file")
    return files[0]


def _unreadable(why: str) -> UploadError:
    return UploadError(422, f"cannot read multipart form: {why}", "body")
