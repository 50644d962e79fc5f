"""Files that are whole or not there; and in one line, what hinders writing them."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from audiovae.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where nothing more fits: disk, quota, or the longest file allowed."""
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
"""What it says where this user may not write."""
FREE_SOME = "free some space and run it again"


def why_not(error: OSError) -> str:
    """Return what the system says of a place that can't be written, and the mend."""
    said = error.strerror or str(error)
    if error.errno in FULL:
        return f"{said}: {FREE_SOME}"
    if error.errno in CLOSED:
        return f"{said}: change its permissions, or write to another place"
    return f"{said}: check the place"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Write to a place; an `OSError` becomes a `UserError` that names the place and the mend."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} can't be written: {why_not(error)}") from None


class Pouring:
    """A file for writers that end the process where a write fails, as PyTorch's does.

    After a failure it takes all that comes, and `check` tells.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write, or only seem to."""
        if self.error is None:
            try:
                self.file.write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        """Do nothing: `pour` flushes."""

    def check(self) -> None:
        """Raise the first failure."""
        if self.error is not None:
            raise self.error


def pour(path: Path, give: Callable[[Pouring], object]) -> None:
    """Write what `give` writes into its file to `path`, flushed to the disk.

    Raises `OSError` where that fails, whatever `give` makes of it.
    """
    with open(path, "wb") as file:
        target = Pouring(file)
        give(target)
        target.check()
        file.flush()
        os.fsync(file.fileno())


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name in its folder, flush it, and move it into place.

    Raises `UserError` where that can't be done.
    """
    temporary = path.with_name(f".{path.name[:64]}.{os.getpid()}.part")
    try:
        with writing(path):
            pour(temporary, lambda file: file.write(content))
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Give a new folder that takes the place of `folder` at the end, if all went well.

    Raises `UserError` where nothing can be written.
    """
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            yield temporary
            temporary.chmod(0o755)
            replace_folder(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(new: Path, folder: Path) -> None:
    """Move `new` to `folder`; a crash between the two renames leaves the old one beside it."""
    old = folder.with_name(f".{folder.name}.old")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(old, ignore_errors=True)
