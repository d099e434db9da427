"""Runs one after the other, each under attack until it ends, and what came of them."""
import random
import shutil
import statistics
import time
from pathlib import Path

from interference import Interference
from job import Job, Wrong
from kinds import KINDS
from tally import HEAD, Tally


class Campaign:
    def __init__(self, options, directory):
        self.options = options
        self.directory = Path(directory)
        self.random = random.Random(options.seed)
        self.tallies = {}
        self.rounds = 0
        self.runs = 0
        self.reference = None
        # What a run takes at most, in bytes, once that has been wanted.
        self.usage = None
        self.first_step = 0.5
        self.started = time.monotonic()
        self.deadline = self.started + options.minutes * 60 if options.minutes else None
        self.interference = None
        self.environment = {}
        # The run under attack, and the last kind of it.
        self.job = None
        self.kind = None

    # How far it is

    def tally(self, name):
        return self.tallies.setdefault(name, Tally())

    def is_done(self):
        if self.deadline:
            return time.monotonic() > self.deadline
        return all(self.tally(name).rounds >= self.options.rounds for name in self.options.kinds)

    def kinds_left(self):
        """Those whose turn may come yet."""
        if self.deadline:
            return [KINDS[name] for name in self.options.kinds]
        return [KINDS[name] for name in self.options.kinds if self.tally(name).rounds < self.options.rounds]

    def is_bad(self):
        return any(tally.hangs or tally.orphans or tally.wrong for tally in self.tallies.values())

    def report(self):
        seconds = time.monotonic() - self.started
        print(f"\n{self.rounds} rounds in {self.runs} runs, {seconds:.0f} s, seed {self.options.seed}; seconds:")
        print(HEAD)
        for name, tally in self.tallies.items():
            print(tally.row(name))

    def count(self, kind):
        self.tally(kind.name).rounds += 1
        self.rounds += 1
        if self.rounds % 10 == 0:
            print(f"{self.rounds} rounds in {self.runs} runs", flush=True)

    # Runs

    def start(self, out, resume=False, **more):
        """A run as the flags have it, with what interferes with its connections."""
        more = {"environment": self.environment, "flags": self.options.flags} | more
        return Job(self.options, out, resume=resume, **more)

    def undisturbed(self):
        job = Job(self.options, self.directory / "undisturbed")
        try:
            status, digest = job.end()
            if status != 0 or digest is None:
                raise Wrong(f"the undisturbed run ended with status {status}:\n{job.log.read_text(errors='replace')}")
            self.reference = digest
            records = job.read_metrics()
            step = statistics.median(record["step_ms"] / 1000 for record in records[1:])
            self.first_step = records[0]["time"] - job.started
            seconds = time.time() - job.started
            print(f"undisturbed: {len(records)} steps of {step:.3f} s, {seconds:.1f} s, sha256 {digest}", flush=True)
        finally:
            job.destroy()

    def run(self):
        self.undisturbed()
        while not self.is_done():
            self.runs += 1
            self.attack(self.directory / f"run-{self.runs}")

    def attack(self, out):
        """One run from its start to its end."""
        self.job, self.kind = None, self.random.choice(self.kinds_left())
        try:
            if self.kind.when == "run":
                self.job = self.kind.act(self, out)
                self.count(self.kind)
            else:
                self.interfere()
                self.job = self.start(out)
                self.disturb()
            if self.job:
                self.finish(self.job, self.kind.name)
        except Wrong as wrong:
            tally = self.tally(self.kind.name)
            tally.hangs += "hang" in str(wrong)
            tally.wrong += "hang" not in str(wrong)
            text = self.job.log.read_text(errors="replace")[-4000:] if self.job else ""
            print(f"run {self.runs}, {self.kind.name}: {wrong}\n{text}", flush=True)
            if self.options.keep:
                shutil.copytree(out, f"{self.options.keep}/run-{self.runs}", dirs_exist_ok=True)
        finally:
            if self.job:
                self.job.destroy()
            if self.interference:
                self.interference.close()
                self.interference = None
                self.environment = {}
            shutil.rmtree(out, ignore_errors=True)

    def interfere(self):
        if any(KINDS[name].proxied for name in self.options.kinds):
            self.interference = Interference(self.directory, self.random)
            self.environment = self.interference.environment

    def disturb(self):
        """Rounds, until the run ends."""
        while not self.job.ended() and not self.is_done():
            kinds = [kind for kind in self.kinds_left() if kind.when != "run"]
            has_begun = bool(self.job.read_metrics())
            # Where only kinds for the start are left, the next run has the next start.
            kinds = [kind for kind in kinds if not (has_begun and kind.when == "start")]
            if not kinds:
                return
            self.kind = self.random.choice(kinds)
            if self.kind.when == "step" and not self.job.wait_until_whole():
                return
            done = self.kind.act(self, self.job)
            if isinstance(done, Job):
                self.job = done
            if done:
                self.count(self.kind)

    def finish(self, job, name):
        """The end that every run must have."""
        status, digest = job.end()
        orphans = job.left()
        if orphans:
            time.sleep(1)
            orphans = job.left()
        self.tally(name).orphans += len(orphans)
        if orphans:
            print(f"run {self.runs}: left behind: {orphans}", flush=True)
        if status != 0 or digest != self.reference:
            raise Wrong(f"status {status}, digest {digest}")
        steps = [record["step"] for record in job.read_metrics()]
        if steps != list(range(1, len(steps) + 1)):
            raise Wrong(f"the metrics have steps {steps}")

    # What kinds need

    def step_seconds(self, job):
        records = job.records[-20:]
        return statistics.median(record["step_ms"] / 1000 for record in records) if records else 0.1

    def pick(self, job, rank=None):
        """A worker that runs: rank and pid, or twice None."""
        workers = job.running()
        if rank is None and workers:
            rank = self.random.choice(sorted(workers))
        return (rank, workers[rank]) if rank in workers else (None, None)

    def measure(self, job, name, moment, whole):
        """Until the next step after a kill, how much of that is not computed again, and until all are back."""
        tally = self.tally(name)
        record = job.wait_for_step_after(moment)
        if record is None:
            return
        tally.recoveries.append(record["time"] - moment)
        # Without the fault the step would have taken what was left of it; and what the dead worker had done of it is
        # computed again by the others, each of them an equal share, rounded up to whole micro-batches.
        before = next((each["time"] for each in reversed(job.records) if each["time"] <= moment), moment)
        usual = statistics.median(each["step_ms"] for each in whole) / 1000
        compute = statistics.median(each["compute_ms"] for each in whole) / 1000
        share = -(-self.options.micro_batches // self.options.workers)
        again = -(-share // max(1, self.options.workers - 1)) * compute / share
        rest = max(0.0, usual - (moment - before))
        tally.beyond.append(max(0.0, record["time"] - moment - rest - again))
        if job.wait_until_whole():
            tally.returns.append(time.time() - moment)
