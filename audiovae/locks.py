"""An output folder belongs to one command at a time.

A lock is the system's, on a hidden file: it goes with the process that holds it, however that
ends, so what is left after a kill stands in nobody's way. The file tells who holds it and is
removed at the end. It binds only commands that ask for it, and processes on other machines where
the file system passes locks on.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audiovae.atomic import CLOSED, writing
from audiovae.errors import UserError

LOCK = ".audiovae.lock"
UNKNOWN = frozenset(
    getattr(errno, name)
    for name in ("ENOLCK", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EINVAL")
    if hasattr(errno, name)
)
"""What a system or a file system says that has no locks."""
TRIES = 100
"""Times that a file is opened which others remove at that moment."""
PLACE, SHARES = 1 << 30, 1024
"""First byte that Windows locks, and how many: far from those that tell who holds it."""


def lock_in(folder: Path) -> Path:
    """Return the file of the lock of a folder that is written into."""
    return folder / LOCK


def lock_beside(folder: Path) -> Path:
    """Return the file of the lock of a folder that is replaced as a whole, as checkpoints are."""
    return folder.parent / f".{folder.name}{LOCK}"


@contextlib.contextmanager
def holding(folder: Path, lock: Path, verb: str, *, shared: bool = False) -> Iterator[None]:
    """Hold an output folder, alone or together with all that share it.

    Args:
        folder: the one that is written, for the error.
        lock: its file, of `lock_in` or `lock_beside`; folders that lack on the way to it are made,
            and removed where nothing came into them.
        verb: what is done, for the error that others get.
        shared: whether others that say so may hold it too, as jobs that divide the work do.

    Raises `UserError`, with nothing touched, where another process, or another part of this one,
    holds it, and where no file can be written. A place that is closed to this user needs no lock.
    Where the system has none that is said, and work goes on.
    """
    lacking = [place for place in (lock.parent, *lock.parent.parents) if not place.exists()]
    try:
        with writing(folder):
            descriptor = _take(folder, lock, shared)
        if descriptor is None:
            yield
            return
        try:
            _tell(descriptor, verb, shared)
            yield
        finally:
            _release(descriptor, lock, shared)
    finally:
        for place in lacking:
            with contextlib.suppress(OSError):
                place.rmdir()


def _take(folder: Path, lock: Path, shared: bool) -> int | None:
    """Return a descriptor of the file that lies at the lock's path, locked.

    None comes back where neither this file nor any other can be made.
    """
    for _ in range(TRIES):
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            # Never through a link to a file of another meaning.
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            descriptor = os.open(lock, flags, 0o666)
        except (FileNotFoundError, FileExistsError):
            if lock.parent.is_file() or lock.parent.is_symlink():
                raise
            continue  # Whoever held it has just removed the folder that it made.
        except OSError as error:
            if error.errno in CLOSED and not os.path.lexists(lock):
                return None
            raise
        try:
            _lock(descriptor, shared)
        except BlockingIOError:
            os.close(descriptor)
            break
        except OSError as error:
            if error.errno not in UNKNOWN:
                os.close(descriptor)
                raise
            text = f"{folder} is not locked ({error.strerror}): run nothing else on it meanwhile"
            print(text, file=sys.stderr, flush=True)
        if _lies_at(descriptor, lock):
            return descriptor
        os.close(descriptor)  # Whoever held it has just removed it.
    raise UserError(
        f"{folder} is in use by {_holder(lock)}: wait until that ends, or choose another output "
        "folder"
    )


def _lock(descriptor: int, shared: bool) -> None:
    """Lock a file; raise `BlockingIOError` where another has, another `OSError` where none can."""
    try:
        import fcntl
    except ImportError:
        _lock_bytes(descriptor, shared)
    else:
        # Of the open file, not of the process: two threads exclude each other as well.
        fcntl.flock(descriptor, fcntl.LOCK_NB | (fcntl.LOCK_SH if shared else fcntl.LOCK_EX))


def _lock_bytes(descriptor: int, shared: bool) -> None:
    """Do so on Windows: all of `SHARES` bytes, or to share, one that is free."""
    try:
        windows: Any = importlib.import_module("msvcrt")
    except ImportError:
        raise OSError(errno.ENOSYS, "this system has no locks") from None
    count = 1 if shared else SHARES
    for place in range(PLACE, PLACE + SHARES, count):
        os.lseek(descriptor, place, os.SEEK_SET)
        try:
            windows.locking(descriptor, windows.LK_NBLCK, count)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EDEADLK):
                raise
        else:
            return
    raise BlockingIOError(errno.EAGAIN, "locked")


def _lies_at(descriptor: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(lock))
    except OSError:
        return False


def _tell(descriptor: int, verb: str, shared: bool) -> None:
    """Write who holds a lock into its file, where there is room."""
    facts = {"verb": verb}
    if not shared:  # Of those who share it, one may have ended.
        facts |= {"process": str(os.getpid()), "host": platform.node()}
    with contextlib.suppress(OSError):
        os.truncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(facts).encode())


def _holder(lock: Path) -> str:
    """Return what a lock's file tells of who holds it."""
    try:
        with open(lock, "rb") as file:
            facts = json.loads(file.read(1000))
        verb, process, host = facts["verb"], facts.get("process"), facts.get("host")
        where = "" if host in (None, platform.node()) else f" on {host}"
        return f"audiovae {verb}" + (f", process {process}{where}" if process else "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "another command"


def _release(descriptor: int, lock: Path, shared: bool) -> None:
    """Remove a lock's file, unless others still share it, and let the lock go."""
    mine = _lies_at(descriptor, lock) and (not shared or _is_last(descriptor))
    if mine:
        with contextlib.suppress(OSError):
            lock.unlink()
            mine = False
    os.close(descriptor)
    if mine or os.name == "nt":  # Windows removes nothing that anybody has open.
        with contextlib.suppress(OSError):
            lock.unlink()


def _is_last(descriptor: int) -> bool:
    """Say whether nobody else holds a lock that was shared: it is ours alone from then on."""
    try:
        _lock(descriptor, shared=False)
    except BlockingIOError:
        return False
    except OSError:  # There are no locks here.
        pass
    return True
