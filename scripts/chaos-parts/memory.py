"""A limit on the memory of a run: a memory cgroup, version 1 or 2, whichever this machine has; else `ulimit -v`.

A cgroup counts what all processes of a run use, and ends one of them when that is too much. `ulimit -v` holds for the
addresses of each process by itself, and denies what is too much.
"""
import contextlib
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

from job import Wrong

ROOTS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
NUMBERS = itertools.count(1)
# What Lockstep reckons that a worker takes before it has a model: less than that for each, and every model is refused.
SPARE = 25_000_000


class Group:
    """A memory cgroup of its own, with a limit in bytes or none. Use it with `with`: it goes with what is in it."""

    def __init__(self, root, limit=None):
        self.path = root / f"lockstep-chaos-{os.getpid()}-{next(NUMBERS)}"
        self.path.mkdir()
        try:
            self.is_first_version = (self.path / "memory.limit_in_bytes").exists()
            if not self.is_first_version and not (self.path / "memory.max").exists():
                raise OSError(f"{self.path} has no memory controller")
            if limit is not None:
                self.limit(limit)
        except BaseException:
            self.path.rmdir()
            raise

    def limit(self, count):
        """What is over the limit is nowhere: there is no swap for it."""
        if self.is_first_version:
            (self.path / "memory.limit_in_bytes").write_text(str(count))
            with contextlib.suppress(OSError):
                (self.path / "memory.memsw.limit_in_bytes").write_text(str(count))
        else:
            (self.path / "memory.max").write_text(str(count))
            with contextlib.suppress(OSError):
                (self.path / "memory.swap.max").write_text("0")

    def peak(self):
        """The most that it has held, in bytes."""
        return int((self.path / ("memory.max_usage_in_bytes" if self.is_first_version else "memory.peak")).read_text())

    @property
    def wrapper(self):
        """A command that puts itself into the group and becomes the one that follows it; where memory runs out, it and
        what it starts are ended before anything else."""
        return self.into("echo 1000 >/proc/self/oom_score_adj")

    def into(self, first=":"):
        return ["sh", "-c", f'{first} && echo $$ >"{self.path}/cgroup.procs" && exec "$@"', "sh"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        deadline = time.monotonic() + 5
        while True:
            try:
                return self.path.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)


class Hog:
    """A process that fills up a group with so many bytes."""

    PROGRAM = """
import mmap, sys
left = int(sys.argv[1])
held = []
while left > 0:
    piece = mmap.mmap(-1, 1 << 20)
    for page in range(0, 1 << 20, 4096):
        piece[page] = 1
    held.append(piece)
    left -= 1 << 20
sys.stdin.read()
"""

    def __init__(self, group, count):
        self.process = subprocess.Popen(
            [*group.into(), sys.executable, "-c", self.PROGRAM, str(count)], stdin=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is not None:
            raise Wrong(f"what was to fill up the memory has ended itself, with {self.process.returncode}")
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()


class Addresses:
    """The same for the addresses of each process."""

    def __init__(self, limit):
        self.bytes = limit
        self.wrapper = ["sh", "-c", f'ulimit -v {limit // 1024} && exec "$@"', "sh"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def group_root():
    """Where this process may make memory cgroups; None if nowhere."""
    for root in ROOTS:
        with contextlib.suppress(OSError):
            with Group(root) as group:
                if (group.path / "memory.max").exists():
                    group.peak()
            return root
    return None
