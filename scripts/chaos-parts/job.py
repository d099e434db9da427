"""One run of `lockstep train` under attack: what it shows, how it is waited for, and how its workers are signalled."""
import contextlib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path


class Wrong(Exception):
    """Something that must not be."""


def process_parent(pid):
    """The parent of a process that is there; None otherwise, also for one that is only waiting to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[1])


class Job:
    """One run of `lockstep train`, as this script sees it: through job.json and the metrics file."""

    def __init__(self, options, out, resume=False, environment=None, flags=(), wrapper=()):
        """Starts it. A wrapper is a command that becomes the one that follows it (exec): the launcher has its pid."""
        self.options = options
        self.out = Path(out)
        self.metrics = self.out / "metrics.jsonl"
        self.log = self.out.parent / (self.out.name + ".log")
        command = [*wrapper, options.lockstep, *options.task, "-n", str(options.workers), "--out", str(out),
                   "--metrics", str(self.metrics), "--max-restarts", "100000",
                   "--peer-timeout", str(options.peer_timeout)]
        if options.checkpoint_every:
            command += ["--checkpoint-every", str(options.checkpoint_every), "--keep-checkpoints", "3"]
        if resume:
            command.append("--resume")
        command += flags
        self.out.mkdir(parents=True, exist_ok=True)
        self.metrics_offset = 0
        self.records = []
        self.pids = set()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                env=os.environ | {"LOCKSTEP_TIMEOUT": str(options.timeout)} | (environment or {}))
        self.started = time.time()

    # What it shows

    def workers(self):
        """Rank to (pid, state), of workers that are there."""
        try:
            record = json.loads((self.out / "job.json").read_text())
        except (OSError, ValueError):
            return {}
        if record["launcher"]["pid"] != self.process.pid:
            return {}
        found = {}
        for worker in record["workers"]:
            self.pids.add(worker["pid"])
            if process_parent(worker["pid"]) == self.process.pid:
                found[worker["rank"]] = (worker["pid"], worker["state"])
        return found

    def running(self):
        return {rank: pid for rank, (pid, state) in self.workers().items() if state == "running"}

    def read_metrics(self):
        """Takes in the lines that have been added; a worker that takes the file over may have cut some off again."""
        try:
            with open(self.metrics, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                if size < self.metrics_offset:
                    self.metrics_offset = 0
                file.seek(self.metrics_offset)
                data = file.read()
        except OSError:
            return self.records
        whole = data.rpartition(b"\n")[0]
        if whole:
            self.metrics_offset += len(whole) + 1
            for line in whole.split(b"\n"):
                with contextlib.suppress(ValueError):
                    record = json.loads(line)
                    while self.records and self.records[-1]["step"] >= record["step"]:
                        self.records.pop()
                    self.records.append(record)
        return self.records

    def ended(self):
        return self.process.poll() is not None

    # Waiting, never for ever

    def wait(self, condition, what, limit=None):
        """Waits for a condition or the run's end; gives whether it is the condition."""
        deadline = time.monotonic() + (limit or self.options.deadline)
        while not condition():
            if self.ended():
                return False
            if time.monotonic() > deadline:
                limit = limit or self.options.deadline
                raise Wrong(f"hang: {what} did not come within {limit} s; workers: {self.workers()}")
            time.sleep(0.002)
        return True

    def wait_for_step_after(self, moment):
        """The first record of a step that was committed after a moment; None if the run ends first."""
        found = None

        def look():
            nonlocal found
            found = next((record for record in reversed(self.read_metrics()) if record["time"] > moment), None)
            return found is not None

        if not self.wait(look, "the next step"):
            return None
        # The first one, not the newest.
        return next(record for record in self.records if record["time"] > moment)

    def wait_until_whole(self, size=None):
        """Waits until all workers are in the ring again and have made a step together."""
        size = size or self.options.workers

        def look():
            records = self.read_metrics()
            return len(self.running()) == size and records and records[-1]["world_size"] == size

        return self.wait(look, f"a ring of {size}")

    # Doing things to it

    def signal(self, pid, number):
        """Signals a worker of this run, and nobody else."""
        if process_parent(pid) != self.process.pid:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def end(self):
        """Waits for the end. Gives status and digest."""
        self.wait(lambda: False, "the end of the run", limit=self.options.deadline + 600)
        text = self.log.read_text(errors="replace")
        digests = re.findall(r"^weights sha256 ([0-9a-f]{64})$", text, re.M)
        return self.process.returncode, digests[-1] if digests else None

    def left(self):
        """Workers that should be gone and are not."""
        return [pid for pid in self.pids if process_parent(pid) is not None and self.is_worker(pid)]

    def is_worker(self, pid):
        try:
            return str(self.out).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    def destroy(self):
        """Whatever happened: nothing stays."""
        self.workers()
        if not self.ended():
            self.process.kill()
            self.process.wait()
        deadline = time.monotonic() + 5
        while self.left() and time.monotonic() < deadline:
            time.sleep(0.01)
        for pid in self.left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
