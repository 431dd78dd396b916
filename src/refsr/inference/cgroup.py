"""The limits of Linux's control groups, which containers and services run in.

A process is in one group of each hierarchy; a limit of any group above it counts as well, and need
not be at the root of what is mounted. In a container the mount often begins at the container's own
group, while the kernel still names it by its path on the host: then only the root is there.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MOUNT = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")  # lines of "hierarchy:controllers:path"
UNLIMITED = "max"


@dataclass(frozen=True)
class Version:
    """The names of the files in a group. Limits and use are in bytes, CPU times in microseconds."""

    limits: tuple[str, ...]
    used: str
    reclaimable: str  # the line of memory.stat: page cache that is given up before anything fails


V1 = Version(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")
V2 = Version(("memory.max", "memory.high"), "memory.current", "inactive_file")


def free_memory() -> int | None:
    """Bytes left within the tightest limit of any group above; None where there is no limit.

    Page cache that was not used lately is counted as used by the kernel, but given up on demand.
    """
    found: list[int] = []
    for version, folder in groups("memory"):
        with suppress(OSError, ValueError):
            used = int(read(folder / version.used)) - reclaimable_bytes(folder, version)
            for name in version.limits:
                with suppress(OSError, ValueError):  # of a group without a limit: "max"
                    found.append(int(read(folder / name)) - max(0, used))
    return max(0, min(found)) if found else None


def usable_cores() -> float | None:
    """Cores that the CPU time allowed to any group above amounts to; None where it has no limit."""
    found: list[float] = []
    for version, folder in groups("cpu"):
        with suppress(OSError, ValueError, ZeroDivisionError):
            if version is V2:
                quota, period = read(folder / "cpu.max").split()
            else:
                quota, period = (read(folder / f"cpu.cfs_{n}_us") for n in ("quota", "period"))
            if quota != UNLIMITED and int(quota) > 0:  # version 1 writes -1
                found.append(int(quota) / int(period))
    return min(found) if found else None


def groups(controller: str) -> Generator[tuple[Version, Path]]:
    """The folders of this process's group and of all groups above it, from the lowest up."""
    lines: list[str] = []
    with suppress(OSError):
        lines = read(OWN_GROUPS).splitlines()
    paths = {V1: "/", V2: "/"}
    for line in lines:
        controllers, _, path = line.partition(":")[2].partition(":")
        if not controllers:
            paths[V2] = path
        elif controller in controllers.split(","):
            paths[V1] = path
    for version, path in paths.items():
        mounts = (MOUNT, MOUNT / "unified") if version is V2 else (MOUNT / controller,)
        lowest = PurePosixPath(os.path.normpath(f"/{path.lstrip('/')}"))
        for mount in mounts:
            for group in (lowest, *lowest.parents):
                yield version, mount / group.relative_to("/")


def reclaimable_bytes(folder: Path, version: Version) -> int:
    """Bytes of a group's page cache that were not used lately; 0 where unknown."""
    with suppress(OSError, ValueError):
        for line in read(folder / "memory.stat").splitlines():
            name, _, amount = line.partition(" ")
            if name == version.reclaimable:
                return int(amount)
    return 0


def read(path: Path) -> str:
    """The text of one of the kernel's files. Raises OSError."""
    return path.read_bytes().decode("ascii", "replace").strip()
