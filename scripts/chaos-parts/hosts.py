"""Hosts made of network namespaces on one wire, a rank started by hand on each, and a packet filter to part them.

Needs root, iproute2 and iptables.
"""
import itertools
import os
import re
import secrets
import shutil
import subprocess
import time

from job import Wrong

NUMBERS = itertools.count(1)


def lack():
    """What is missing to make hosts; None if nothing is."""
    if os.geteuid() != 0:
        return "making hosts needs root"
    missing = [tool for tool in ("ip", "iptables") if not shutil.which(tool)]
    return f"making hosts needs the command {missing[0]}" if missing else None


class Hosts:
    """A job of one rank a host, in a directory. Use it with `with`: whatever happens, nothing of it stays."""

    def __init__(self, options, out, count):
        self.options, self.out, self.count = options, out, count
        self.name = f"ls-chaos-{os.getpid()}-{next(NUMBERS)}"
        self.secret = secrets.token_hex(32)
        self.ranks = []

    def __enter__(self):
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            self.ip(f"netns add {self.name}-wire")
            self.ip(f"-n {self.name}-wire link add wire type bridge")
            self.ip(f"-n {self.name}-wire link set wire up")
            for host in range(self.count):
                self.add(host)
        except BaseException:
            self.__exit__()
            raise
        return self

    def add(self, host):
        own, wire = f"{self.name}-{host}", f"{self.name}-wire"
        self.ip(f"netns add {own}")
        self.ip(f"link add eth0 netns {own} type veth peer name eth{host} netns {wire}")
        self.ip(f"-n {wire} link set eth{host} master wire")
        self.ip(f"-n {wire} link set eth{host} up")
        self.ip(f"-n {own} addr add {self.address(host)}/24 dev eth0")
        self.ip(f"-n {own} link set eth0 up")
        self.ip(f"-n {own} link set lo up")

    def __exit__(self, *_):
        for rank in self.ranks:
            if rank.poll() is None:
                rank.kill()
            rank.wait()
        for host in [*range(self.count), "wire"]:
            subprocess.run(["ip", "netns", "del", f"{self.name}-{host}"], stderr=subprocess.DEVNULL)

    @staticmethod
    def address(host):
        return f"10.96.0.{host + 1}"

    @staticmethod
    def ip(arguments):
        subprocess.run(["ip", *arguments.split()], check=True)

    def filter(self, host, rule):
        """Adds a rule to a host's packet filter."""
        subprocess.run(["ip", "netns", "exec", f"{self.name}-{host}", "iptables", *rule.split()], check=True)

    def start(self, flags=(), resume=False):
        """Starts all ranks."""
        command = [self.options.lockstep, *self.options.task, "--out", str(self.out / "run"),
                   "--metrics", str(self.out / "metrics.jsonl"), *flags]
        if resume:
            command.append("--resume")
        for host in range(self.count):
            environment = {
                "RANK": str(host), "WORLD_SIZE": str(self.count), "MASTER_ADDR": self.address(0),
                "MASTER_PORT": "29500",
                "LOCKSTEP_SECRET": self.secret, "LOCKSTEP_TIMEOUT": str(self.options.timeout),
                "LOCKSTEP_PEER_TIMEOUT": str(max(1, round(self.options.peer_timeout)))}
            with open(self.out / f"rank-{host}.log", "wb") as log:
                # `ip netns exec` becomes the program: the process is the rank.
                self.ranks.append(subprocess.Popen(
                    ["ip", "netns", "exec", f"{self.name}-{host}", *command], stdout=log, stderr=log,
                    stdin=subprocess.DEVNULL, start_new_session=True, env=os.environ | environment))

    def said(self, host):
        return (self.out / f"rank-{host}.log").read_text(errors="replace")

    def digest(self):
        """The digest that a rank has printed at the end; None if none has."""
        said = "\n".join(self.said(host) for host in range(self.count))
        return next(iter(re.findall(r"^weights sha256 ([0-9a-f]{64})$", said, re.M)), None)

    def wait_for_steps(self, count):
        """Waits until so many steps are committed; gives whether the job still runs."""
        metrics = self.out / "metrics.jsonl"
        deadline = time.monotonic() + self.options.deadline
        while not metrics.exists() or metrics.read_bytes().count(b"\n") < count:
            if any(rank.poll() is not None for rank in self.ranks):
                return False
            if time.monotonic() > deadline:
                raise Wrong(f"hang: no {count} steps within {self.options.deadline} s\n{self.all_said()}")
            time.sleep(0.01)
        return True

    def end(self):
        """Waits for the end of all; their statuses, by rank."""
        limit = self.options.deadline + 60 * self.options.peer_timeout
        try:
            return [rank.wait(timeout=limit) for rank in self.ranks]
        except subprocess.TimeoutExpired:
            raise Wrong(f"hang: ranks run on after {limit:.0f} s\n{self.all_said()}") from None

    def all_said(self):
        return "\n".join(f"[{host}] {line}" for host in range(self.count) for line in self.said(host).splitlines()[-8:])
