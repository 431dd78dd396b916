"""Writing files atomically, checking that they can be written, and reasons in plain words."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from refsr.errors import DataError, DiskFullError, PhotoError

REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than allowed",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOENT: "no such folder",
    errno.ENOTDIR: "no such folder",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "the link points to itself or may not be followed",
}
# For os.open: in a folder that others may write to, a link leads anywhere and a pipe never ends.
NO_LINKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
FULL = (errno.ENOSPC, errno.EDQUOT)
MOUNTS = Path("/proc/self/mountinfo")  # where Linux lists what is mounted
BLOCK = 4096  # bytes: what the smallest file takes of a disk
PAUSES = (0.02, 0.05, 0.1, 0.2, 0.4)  # seconds, between tries to replace a file on Windows


def reason(error: OSError) -> str:
    """Why the operating system refused, in a few plain words, to end a sentence with."""
    return REASONS.get(error.errno or 0, error.strerror or "the system refused")


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` is a file; False for names that no file can have."""
    with suppress(OSError, ValueError):
        return Path(path).is_file()
    return False


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` is a folder; False for names that no folder can have."""
    with suppress(OSError, ValueError):
        return Path(path).is_dir()
    return False


def make_folder(folder: Path) -> None:
    """Make a folder for results unless it exists. Raises DataError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"The folder {folder} cannot be made: {reason(error)}.") from error


def real_path(path: str | os.PathLike[str]) -> Path:
    """The absolute path behind links; a link to itself is no error here."""
    return Path(os.path.realpath(path))


def _refusal(path: str | os.PathLike[str], error: OSError | RuntimeError) -> PhotoError:
    """The error for a file that cannot be written, with the reason."""
    name, kind = os.fspath(path), PhotoError
    if not isinstance(error, OSError):
        why = "the name is not possible"  # pathlib's answer to a loop of links
    elif error.errno == errno.ENOENT and Path(path).parent.is_dir():  # as of /proc
        why = "its folder takes no new files"
    else:
        why = reason(error)
        kind = DiskFullError if error.errno in FULL else PhotoError
    return kind(f"{name} cannot be written: {why}.")


def without_links(path: str, flags: int) -> int:
    """An ``opener`` for ``open``: for files of refsr's own in folders that others may write to.

    Raises OSError where a link is in the place of the file. A pipe is not waited for.
    """
    return os.open(path, flags | NO_LINKS, 0o666)


def atomic_write(path: str | os.PathLike[str], data: bytes, *, follow_links: bool = True) -> None:
    """Write ``data`` to ``path``, which holds either all of it or what it held before.

    Raises PhotoError as ``atomic_file`` does.
    """
    with atomic_file(path, follow_links=follow_links) as file:
        file.write(data)


@contextmanager
def atomic_file(path: str | os.PathLike[str], *, follow_links: bool = True) -> Generator[BinaryIO]:
    """Open a file to write that appears at ``path`` only when it is complete.

    The bytes go to a temporary file ``.refsr-*.tmp`` in the same folder, are flushed to the disk
    (fsync) and then replace ``path`` in one step. A link is followed, or replaced itself without
    ``follow_links``: for files of refsr's own. On any error the temporary file is removed; only a
    killed process can leave one behind.

    Raises PhotoError where ``path`` is a folder, device or write-protected, or its folder is
    missing, may not be written or is full.
    """
    try:
        target = _target(path) if follow_links else Path(path).parent.resolve() / Path(path).name
        temporary, handle = _create_beside(target)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            with suppress(OSError):  # keep the permissions of the file that is replaced
                temporary.chmod(target.stat(follow_symlinks=follow_links).st_mode & 0o777)
            _replace(temporary, target)
        except BaseException:  # an interrupt must leave nothing behind either
            temporary.unlink(missing_ok=True)
            raise
    except (OSError, RuntimeError) as error:
        raise _refusal(path, error) from error


def _replace(temporary: Path, target: Path) -> None:
    """Put ``temporary`` in the place of ``target``.

    Windows refuses while somebody has ``target`` open, often a virus scanner for a moment.
    """
    for pause in PAUSES if sys.platform == "win32" else ():
        try:
            temporary.replace(target)
            return
        except PermissionError:
            time.sleep(pause)
    temporary.replace(target)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Check that a file can be written at ``path``, by making a small one beside it.

    Only this also holds on network drives, for root, with access lists and on a full disk.

    Raises PhotoError where ``path`` is a folder, device or mounted file, is write-protected, or its
    folder is missing or cannot be written; DiskFullError where there is no room.
    """
    try:
        temporary, handle = _create_beside(_target(path))
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(bytes(BLOCK))
        finally:
            temporary.unlink()
    except (OSError, RuntimeError) as error:
        if (
            getattr(error, "errno", None) != errno.EFBIG
        ):  # a limit on files, which this one may keep
            raise _refusal(path, error) from error


def _target(path: str | os.PathLike[str]) -> Path:
    """The path behind links, checked to be missing or a writable file."""
    name = os.fspath(path)
    try:
        target = Path(path).resolve()
    except ValueError as error:  # a zero byte in the name
        raise PhotoError(f"{name!r} cannot be written: the name is not possible.") from error
    if not target.parent.is_dir():
        raise PhotoError(f"The folder {target.parent} does not exist; make it first.")
    with suppress(FileNotFoundError):
        mode = target.stat().st_mode
        if stat.S_ISDIR(mode):
            raise PhotoError(f"{name} is a folder; give the name of a file to write.")
        if not stat.S_ISREG(mode):  # for root, /dev/null itself would become a file
            raise PhotoError(f"{name} is no ordinary file; give the name of a file to write.")
        if not os.access(target, os.W_OK):
            raise PhotoError(f"{name} exists and is write-protected.")
        if is_mounted(target):
            raise PhotoError(f"{name} is mounted and cannot be replaced; mount its folder instead.")
    return target


def is_mounted(target: Path) -> bool:
    """Whether a file is a mount of its own, as containers have it: nothing can take its place."""
    with suppress(OSError):  # no Linux
        points = (line.split(b" ")[4] for line in MOUNTS.read_bytes().splitlines())
        escaped = os.fsencode(target).replace(b"\\", rb"\134")
        for character in b" \t\n":
            escaped = escaped.replace(bytes([character]), rb"\%03o" % character)
        return escaped in points
    return False


def _create_beside(target: Path) -> tuple[Path, int]:
    """Create a temporary file in the folder of ``target``, with the permissions of the umask."""
    temporary = target.parent / f".refsr-{secrets.token_hex(8)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return temporary, os.open(temporary, flags, 0o666)
