"""What is done to a run: one function a kind.

A kind is a function with `@kind(NAME)` whose docstring says what it does: `--kinds NAME` and the help know it then. It
is called with the campaign and a run (a `Job`), and returns whether it did something: True counts as a round, after
False a kind is chosen again. It may also return another `Job`, which goes on in place of the run. What must not be is
raised as `Wrong`; that the run ends with status 0 and the right digest, leaves no process behind and never hangs is
checked for every kind.

`when` says at which moments a kind acts:
    "step"   the default: all workers are in the ring
    "any"    at any moment of a run
    "start"  before a run's first step; the kind waits for its own moment, and returns False when that has passed
    "run"    on a run of its own: called with the campaign and a directory, it starts a `Job` there (`campaign.start`,
             perhaps with another environment, other flags, or a wrapper that puts the run into a cgroup or a network
             namespace), does what it does, and returns the `Job`. If another end than the usual one is expected, it
             waits for that itself (`Job.end`, then `Job.destroy`), and returns None.
`proxied` kinds have the workers' connections led through `campaign.interference`. `lack` says what a kind needs and
this machine has not, if anything: `--kinds all` is then without it.
"""
import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import Callable

from hosts import Hosts, lack
from job import Job, Wrong, process_parent
from memory import SPARE, Addresses, Group, Hog, group_root

KINDS = {}


@dataclass
class Kind:
    name: str
    act: Callable
    when: str
    proxied: bool
    lack: Callable

    @property
    def purpose(self):
        return " ".join(self.act.__doc__.split())


def kind(name, when="step", proxied=False, lack=lambda: None):
    def register(act):
        KINDS[name] = Kind(name, act, when, proxied, lack)
        return act
    return register


# Kills

@kind("kill")
def kill(campaign, job, rank=None, name="kill"):
    """SIGKILL of a random worker at a random instant of a step"""
    step = campaign.step_seconds(job)
    time.sleep(campaign.random.uniform(0, 2 * step))
    rank, pid = campaign.pick(job, rank)
    if pid is None:
        return False
    whole = [record for record in job.read_metrics() if record["world_size"] == campaign.options.workers][-20:]
    moment = time.time()
    if not job.signal(pid, signal.SIGKILL):
        return False
    campaign.measure(job, name, moment, whole)
    return True


@kind("rank0")
def kill_first(campaign, job):
    """the same, of rank 0 only"""
    return kill(campaign, job, rank=0, name="rank0")


@kind("start", when="start")
def kill_at_start(campaign, job, limit=None):
    """SIGKILL of a random worker between its start and its first step"""
    if not job.wait(lambda: job.workers() or job.read_metrics(), "workers"):
        return False
    time.sleep(campaign.random.uniform(0, limit or max(0.1, campaign.first_step)))
    workers = job.workers()
    if not workers or job.read_metrics():
        return False
    pid, _ = workers[campaign.random.choice(sorted(workers))]
    # The last one that has the run's state takes the run with it: the others have not been let in yet.
    if list(job.running().values()) == [pid]:
        return False
    return job.signal(pid, signal.SIGKILL)


@kind("handshake", when="start")
def kill_in_handshake(campaign, job):
    """SIGKILL of a random worker in the first tenth of a second of its life"""
    return kill_at_start(campaign, job, limit=0.1)


@kind("join")
def kill_newcomer(campaign, job):
    """SIGKILL of a worker that has been started again, before it is let in, or of another one meanwhile"""
    random = campaign.random
    rank, pid = campaign.pick(job)
    if pid is None or not job.signal(pid, signal.SIGKILL):
        return False
    if not job.wait(lambda: job.workers().get(rank, (pid, ""))[0] != pid, "the worker's restart"):
        return False
    time.sleep(random.uniform(0, 3 * campaign.step_seconds(job)) if random.random() < 0.5 else random.uniform(0, 0.2))
    workers = job.workers()
    victim = rank if random.random() < 0.7 else random.choice(sorted(workers) or [rank])
    if victim not in workers or not job.signal(workers[victim][0], signal.SIGKILL):
        return False
    job.wait_for_step_after(time.time())
    return True


@kind("checkpoint")
def kill_in_checkpoint(campaign, job):
    """SIGKILL of a random worker while a checkpoint is written"""
    checkpoints = job.out / "checkpoints"

    def begun():
        with contextlib.suppress(OSError):
            return any(not re.fullmatch(r"step-\d+", name) for name in os.listdir(checkpoints))
        return False

    deadline = time.monotonic() + campaign.options.deadline
    while not begun():
        if job.ended() or time.monotonic() > deadline:
            return False
    time.sleep(campaign.random.uniform(0, 0.02))
    rank, pid = campaign.pick(job, rank=0 if campaign.random.random() < 0.5 else None)
    if pid is None or not job.signal(pid, signal.SIGKILL):
        return False
    job.wait_for_step_after(time.time())
    return True


@kind("launcher", when="any")
def kill_launcher(campaign, job):
    """SIGKILL of the launcher: all workers must be gone within 2 s, and --resume must go on"""
    job.wait(lambda: len(job.read_metrics()) > 1, "steps")
    time.sleep(campaign.random.uniform(0, 1))
    pids = dict(job.workers())
    if job.ended():
        return True
    job.process.kill()
    job.process.wait()
    deadline = time.monotonic() + 2
    while any(job.is_worker(pid) and process_parent(pid) is not None for pid, _ in pids.values()):
        if time.monotonic() > deadline:
            raise Wrong("workers outlive their launcher by 2 s")
        time.sleep(0.005)
    has_checkpoint = any((job.out / "checkpoints").glob("step-*"))
    if not has_checkpoint:
        shutil.rmtree(job.out)
    return campaign.start(job.out, resume=has_checkpoint)


# Standing still

@kind("stop")
def stop(campaign, job):
    """SIGSTOP of a random worker, and SIGCONT after a random time, shorter or longer than --peer-timeout"""
    rank, pid = campaign.pick(job)
    moment = time.time()
    if pid is None or not job.signal(pid, signal.SIGSTOP):
        return False
    time.sleep(campaign.random.uniform(0, 2 * campaign.options.peer_timeout))
    job.signal(pid, signal.SIGCONT)
    job.wait_for_step_after(moment)
    return True


@kind("stopall")
def stop_all(campaign, job):
    """SIGSTOP of all workers at once, and SIGCONT after a random time, as for stop: the same workers go on"""
    workers = job.running()
    if not workers or not all([job.signal(pid, signal.SIGSTOP) for pid in workers.values()]):
        for pid in workers.values():
            job.signal(pid, signal.SIGCONT)
        return False
    time.sleep(campaign.random.uniform(0, 2 * campaign.options.peer_timeout))
    moment = time.time()
    for pid in workers.values():
        job.signal(pid, signal.SIGCONT)
    job.wait_for_step_after(moment)
    if not job.ended() and job.running() != workers:
        raise Wrong(f"all workers stood still together, which is nobody's fault: of {workers} came {job.running()}")
    return True


# Connections

@kind("cut", proxied=True)
def cut(campaign, job):
    """a TCP connection of a worker, with another one or with the coordinator, is reset"""
    if not campaign.interference.cut():
        return False
    job.wait_for_step_after(time.time())
    return True


@kind("stall", proxied=True)
def stall(campaign, job):
    """a TCP connection passes nothing for a random time"""
    if not campaign.interference.stall(campaign.random.uniform(0, 2 * campaign.options.peer_timeout)):
        return False
    job.wait_for_step_after(time.time())
    return True


# Sizes

@kind("scale")
def scale(campaign, job):
    """`lockstep scale` to a random number of workers"""
    def ask(size):
        command = [campaign.options.lockstep, "scale", "-n", str(size), "--out", str(job.out)]
        answer = subprocess.run(command, capture_output=True)
        if answer.returncode != 0:
            job.wait(lambda: False, "the end", limit=5)  # It had ended.

    size = campaign.random.randint(1, 2 * campaign.options.workers)
    ask(size)
    if job.wait_until_whole(size):
        ask(campaign.options.workers)
    return True


# Hosts that reach each other badly: one rank a host, started by hand

def hosts(campaign, out, least=2):
    return Hosts(campaign.options, out, campaign.random.randint(least, max(least, campaign.options.workers)))


@kind("closed", when="run", lack=lack)
def closed_ports(campaign, out):
    """hosts (as root) of which one takes connections on MASTER_PORT only: no rank trains, and all say what does not
    answer"""
    with hosts(campaign, out) as job:
        closed = campaign.random.randrange(job.count)
        verdict = campaign.random.choice(["DROP", "REJECT", "REJECT --reject-with tcp-reset"])
        job.filter(closed, f"-A INPUT -i eth0 -p tcp --syn ! --dport 29500 -j {verdict}")
        job.start()
        statuses = job.end()
        if 0 in statuses or job.digest():
            raise Wrong(f"host {closed} {verdict}: ranks ended with {statuses}\n{job.all_said()}")
        if any(job.address(closed) not in job.said(host) for host in range(job.count)):
            raise Wrong(f"host {closed} {verdict}: not everybody says where it fails\n{job.all_said()}")


@kind("parted", when="run", lack=lack)
def parted_hosts(campaign, out):
    """two of several hosts part in the middle of a run, both ways, one way, or for large packets only: one rank is shut
    out and told so, the others go on"""
    random = campaign.random
    with hosts(campaign, out, least=3) as job:
        one, other = random.sample(range(1, job.count), 2)
        rule = random.choice(["-j DROP", "-j REJECT --reject-with tcp-reset", "-m length --length 1000: -j DROP"])
        job.start()
        if not job.wait_for_steps(random.randint(2, 20)):
            raise Wrong(f"the job ended early\n{job.all_said()}")
        if "reset" in rule:
            rule = f"-p tcp {rule}"
        job.filter(one, f"-A INPUT -s {job.address(other)} {rule}")
        if random.random() < 0.5:
            job.filter(other, f"-A INPUT -s {job.address(one)} {rule}")
        statuses = job.end()
        gone = [host for host, status in enumerate(statuses) if status != 0]
        # It may have come to its end before anybody noticed.
        if job.digest() != campaign.reference or len(gone) > 1 or not set(gone) <= {one, other}:
            raise Wrong(f"{one} and {other} parted, {rule}: {statuses}, digest {job.digest()}\n{job.all_said()}")
        if gone and "fenced" not in job.said(gone[0]):
            raise Wrong(f"rank {gone[0]} was not told that it is shut out\n{job.all_said()}")


@kind("coordinator", when="run", lack=lack)
def coordinator_gone(campaign, out):
    """rank 0 of ranks started by hand is killed, or its host is cut off: the others write a checkpoint, say why they
    stop, and end with 76; --resume goes on to the same digest"""
    random = campaign.random
    with hosts(campaign, out) as job:
        job.start()
        if not job.wait_for_steps(random.randint(2, 20)):
            raise Wrong(f"the job ended early\n{job.all_said()}")
        if random.random() < 0.5:
            job.ranks[0].kill()
        else:
            job.filter(0, "-A INPUT -i eth0 -j DROP")
            job.filter(0, "-A OUTPUT -o eth0 -j DROP")
            # It would go on alone, which is right; here it is in the way of --resume.
            time.sleep(random.uniform(0, campaign.options.peer_timeout))
            job.ranks[0].kill()
        statuses = job.end()[1:]
        said = [job.said(host) for host in range(1, job.count)]
        if set(statuses) != {76} or any("the coordinator went with rank 0" not in text for text in said):
            raise Wrong(f"the others ended with {statuses}\n{job.all_said()}")
        shutil.rmtree(out / "again", ignore_errors=True)
        with hosts(campaign, out / "again") as again:
            (out / "run").rename(again.out / "run")
            again.start(resume=True)
            statuses = again.end()
            if set(statuses) != {0} or again.digest() != campaign.reference:
                raise Wrong(f"resumed: {statuses}, digest {again.digest()}\n{again.all_said()}")


# Little memory

@kind("memory", when="run")
def small_memory(campaign, out):
    """a run in a memory cgroup (as root; where none can be made, under `ulimit -v`): one that is too small for the model
    is refused in one line before anything starts; one that something else fills up in the middle of the run ends in the
    right digest or in a line that names what was killed"""
    root = group_root()
    if root is None:
        return small_addresses(campaign, out)
    workers = campaign.options.workers
    if campaign.random.random() < 0.5:
        limit = round(campaign.random.uniform(0.8, 1) * SPARE * workers)
        with Group(root, limit) as group:
            job = campaign.start(out, wrapper=group.wrapper)
            status, digest, text = the_end(job)
        refusals = text.count("make the model smaller")
        if status != 1 or digest or refusals != 1 or job.read_metrics() or "SIGKILL" in text:
            raise Wrong(f"{limit} bytes for {workers} workers: status {status}, {refusals} refusals\n{text}")
        return
    most = usage(campaign, root, out)
    limit = 2 * most + SPARE * workers
    with Group(root, limit) as group:
        flags = [*campaign.options.flags, "--max-restarts", "3"]
        job = campaign.start(out, wrapper=group.wrapper, flags=flags)
        share = campaign.random.uniform(0.3, 1)
        if not job.wait(lambda: len(job.read_metrics()) > campaign.random.randint(1, 20), "steps"):
            raise Wrong(f"the run ended early\n{job.log.read_text(errors='replace')}")
        with Hog(group, limit - round(share * most)):
            status, digest, text = the_end(job)
    if status == 0 and digest == campaign.reference:
        return
    if status == 0 or digest or "lockstep: " not in text or "SIGKILL" not in text or is_crash(text):
        raise Wrong(f"{share:.2f} of {most} bytes left: status {status}, digest {digest}\n{text[-4000:]}")


def small_addresses(campaign, out):
    with Addresses(round(campaign.random.uniform(50e6, 2e9))) as limit:
        job = campaign.start(out, wrapper=limit.wrapper, flags=[*campaign.options.flags, "--max-restarts", "3"])
        status, digest, text = the_end(job)
    if status == 0 and digest == campaign.reference:
        return
    if status == 0 or digest or not text.strip() or is_crash(text):
        raise Wrong(f"{limit.bytes} bytes of addresses: status {status}, digest {digest}\n{text[-4000:]}")


def the_end(job):
    """Waits for the end of a run that may end in any way: status, digest and what it said. Nothing of it may stay."""
    try:
        status, digest = job.end()
        deadline = time.monotonic() + 2
        while job.left():
            if time.monotonic() > deadline:
                raise Wrong(f"left behind: {job.left()}")
            time.sleep(0.01)
        return status, digest, job.log.read_text(errors="replace")
    finally:
        job.destroy()


def usage(campaign, root, out):
    """What a run takes at most, in bytes; found out once."""
    if not campaign.usage:
        with Group(root) as group:
            job = campaign.start(out.with_name("usage"), wrapper=group.wrapper)
            status, digest, text = the_end(job)
            if status != 0 or digest != campaign.reference:
                raise Wrong(f"in a cgroup without a limit: status {status}\n{text[-4000:]}")
            campaign.usage = group.peak()
        shutil.rmtree(job.out, ignore_errors=True)
    return campaign.usage


def is_crash(text):
    return any(word in text for word in ("Fatal error", "Backtrace", "SIGSEGV", "SIGABRT", "SIGILL", "SIGBUS"))
