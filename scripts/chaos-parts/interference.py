"""A TCP proxy in a thread, through which workers' connections are led, to be cut and stalled. See redirect.c."""
import selectors
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

BUFFER = 1 << 20


class Pair:
    """A connection of a worker and its continuation to the destination."""

    def __init__(self, near, far):
        self.ends = {near: far, far: near}
        self.waiting = {near: b"", far: b""}  # What is to be written to each.
        self.ended = set()  # Ends that will send no more.
        self.passed_on = set()  # Those of them of which the other side knows.
        self.stalled_until = 0.0
        self.bytes = 0


class Interference:
    def __init__(self, directory, random):
        self.random = random
        library = Path(directory) / "redirect.so"
        if not library.exists():
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(Path(__file__).with_name("redirect.c")), "-ldl"],
                           check=True)
        self.path = Path(directory) / f"proxy-{time.monotonic_ns()}"
        self.environment = {"LD_PRELOAD": str(library), "LOCKSTEP_CHAOS_SOCKET": str(self.path)}
        self.selector = selectors.DefaultSelector()
        self.lock = threading.Lock()
        self.pairs = []
        self.jobs = []
        self.is_open = True
        self.wake, self.woken = socket.socketpair()
        self.requests = socket.socket(socket.AF_UNIX)
        self.requests.bind(str(self.path))
        self.requests.listen(256)
        self.register(self.requests, selectors.EVENT_READ, self.asked)
        self.register(self.woken, selectors.EVENT_READ, lambda end, _: end.recv(4096))
        self.thread = threading.Thread(target=self.loop, daemon=True)
        self.thread.start()

    # From the script's thread

    def cut(self):
        """Resets a connection that is in use; False if there is none."""
        return self.with_a_pair(self.drop)

    def stall(self, seconds):
        """Nothing passes one connection for so long."""
        def stall(pair):
            pair.stalled_until = time.monotonic() + seconds
            self.watch(pair)
        return self.with_a_pair(stall)

    def with_a_pair(self, action):
        done = threading.Event()
        found = []

        def act():
            used = [pair for pair in self.pairs if pair.bytes > 0]
            if used:
                pair = self.random.choice(used)
                found.append(pair)
                action(pair)
            done.set()

        with self.lock:
            self.jobs.append(act)
        self.wake.send(b"x")
        done.wait(5)
        return bool(found)

    def close(self):
        self.is_open = False
        self.wake.send(b"x")
        self.thread.join()

    # On the proxy's thread

    def register(self, end, events, action):
        end.setblocking(False)
        self.selector.register(end, events, action)

    def loop(self):
        while self.is_open:
            pauses = [pair.stalled_until - time.monotonic() for pair in self.pairs if pair.stalled_until]
            for key, events in self.selector.select(max(0.001, min(pauses)) if pauses else None):
                if key.fileobj.fileno() >= 0:
                    key.data(key.fileobj, events)
            with self.lock:
                jobs, self.jobs = self.jobs, []
            for job in jobs:
                job()
            for pair in self.pairs:
                if pair.stalled_until and pair.stalled_until <= time.monotonic():
                    pair.stalled_until = 0.0
                    self.watch(pair)
        for pair in list(self.pairs):
            self.drop(pair)
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()
        self.wake.close()
        self.path.unlink()

    def asked(self, requests, _):
        channel, _ = requests.accept()
        with channel:
            channel.settimeout(1)
            try:
                self.answer(channel)
            except OSError:
                pass  # It has been killed meanwhile.

    def answer(self, channel):
        """Somebody wants to connect: its destination is tried, and a port that stands for it is told."""
        question = channel.recv(6)
        if len(question) == 6:
            far = socket.socket()
            try:
                far.connect((socket.inet_ntoa(question[:4]), struct.unpack("!H", question[4:])[0]))
            except OSError:
                far.close()
                channel.send(b"\0\0")
                return
            listener = socket.create_server(("127.0.0.1", 0), backlog=1)

            def accepted(listener, _):
                self.selector.unregister(listener)
                near, _ = listener.accept()
                listener.close()
                for end in (near, far):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    end.setblocking(False)
                pair = Pair(near, far)
                self.pairs.append(pair)
                self.watch(pair)

            self.register(listener, selectors.EVENT_READ, accepted)
            channel.send(struct.pack("!H", listener.getsockname()[1]))

    def watch(self, pair):
        """Reads where there is room at the other end, writes where something waits; neither while the pair is stalled."""
        for end, other in pair.ends.items():
            events = 0
            if not pair.stalled_until:
                if end not in pair.ended and len(pair.waiting[other]) < BUFFER:
                    events |= selectors.EVENT_READ
                if pair.waiting[end]:
                    events |= selectors.EVENT_WRITE
            known = end.fileno() in self.selector.get_map()
            if events and known:
                self.selector.modify(end, events, lambda end, events: self.pass_on(pair, end, events))
            elif events:
                self.selector.register(end, events, lambda end, events: self.pass_on(pair, end, events))
            elif known:
                self.selector.unregister(end)

    def pass_on(self, pair, end, events):
        other = pair.ends[end]
        try:
            if events & selectors.EVENT_READ:
                data = end.recv(BUFFER)
                if data:
                    pair.bytes += len(data)
                    if not pair.waiting[other]:
                        with_room = self.send(other, data)
                        data = data[with_room:]
                    pair.waiting[other] += data
                else:
                    pair.ended.add(end)
            if events & selectors.EVENT_WRITE and pair.waiting[end]:
                pair.waiting[end] = pair.waiting[end][self.send(end, pair.waiting[end]):]
            for one in pair.ended - pair.passed_on:
                if not pair.waiting[pair.ends[one]]:
                    pair.passed_on.add(one)
                    pair.ends[one].shutdown(socket.SHUT_WR)
        except OSError:
            return self.drop(pair)
        if len(pair.ended) == 2 and not any(pair.waiting.values()):
            return self.drop(pair, reset=False)
        self.watch(pair)

    @staticmethod
    def send(end, data):
        try:
            return end.send(data)
        except BlockingIOError:
            return 0

    def drop(self, pair, reset=True):
        """Both ends are closed, and reset: what is on its way is lost then."""
        if pair in self.pairs:
            self.pairs.remove(pair)
        for end in pair.ends:
            if end.fileno() < 0:
                continue
            if end.fileno() in self.selector.get_map():
                self.selector.unregister(end)
            if reset:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()
