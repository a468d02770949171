#!/usr/bin/env python3
"""Measurements of samsungchat.py, each figure beside its floor.

    python .ci/bench.py [NAME] [--json]    every part, or one; JSON lines
    python .ci/bench.py smoke              every part in small: whether it runs at all

Server, load and floor are processes of their own.  The floor is a plain sendto() loop to the same sockets with
datagrams of the same size, at the same pace, measured in turns with ours: on a busy machine the ratio is what
stays true.
"""

import argparse
import collections
import contextlib
import functools
import gc
import json
import os
import platform
import select
import selectors
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import samsungchat as chat
import test_samsungchat as suite

BENCH_SECONDS = 290.0
TEXT = "x" * 60


class Child:
    """A process of a measurement: every line that it reads is answered by a line of JSON."""

    def __init__(self, *arguments):
        command = [sys.executable, os.path.abspath(__file__), "--child", *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", bufsize=1
        )
        self.first = self.answer()

    def tell(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a process of the measurement ended")
        return json.loads(line)

    def ask(self, *words):
        self.tell(*words)
        return self.answer()

    def ready(self):
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process.stdout.close()

    def kill(self):
        self.process.kill()
        self.process.wait()


def answer_lines(first, answer):
    """Be a Child: say the first line, then answer each that comes; the end of the input is the end."""
    print(json.dumps(first), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(*line.split())), flush=True)


def burn(share, seconds):
    """Keep this thread busy for a share of the time, two milliseconds at once."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pause = time.monotonic() + 0.002
        while time.monotonic() < pause:
            pass
        time.sleep(0.002 / share - 0.002)


def serve_child(port="0", history="", traced=""):
    """Serve on loopback, as run_server() does, and tell figures of this process; ``traced``: its memory, too."""
    chat.tune_process()
    if traced:
        tracemalloc.start()
    now = time.monotonic()
    sockets = chat.open_server_sockets("127.0.0.1", int(port))
    began = int(time.time() * 1000)
    log = chat.Log(began, history)
    server = chat.Server(log, "bench", os.urandom, now, time.time() - now, members_max=5000, rate=0)
    loop = chat.Loop(server, sockets, lambda event: None)

    def answer(word, *values):
        if word == "gso":
            loop.sender.segmented = values[0] == "1" and sys.platform == "linux"
        elif word == "busy":
            burn(0.2, float(values[0]))
        elif word == "memory":
            gc.collect()
        memory = tracemalloc.get_traced_memory()[0] if traced else None
        return {"cpu": time.process_time(), "memory": memory, "gso": loop.sender.segmented}

    loop.start()
    answer_lines(sockets[0].getsockname()[1], answer)
    loop.call(server.close)
    loop.join(2)
    log.close()


def floor_child():
    """Send to sockets in a plain loop whenever a datagram comes.

    SIZE ROUNDS PLACE ... is answered by the seconds of CPU that so many loops took, without the waiting.
    """
    with chat.open_socket(socket.AF_INET, ("127.0.0.1", 0)) as out:

        def answer(size, rounds, *places):
            data, send, taken = bytes(int(size)), out.sendto, 0.0
            addresses = [(host, int(port)) for host, port in (place.split(":") for place in places)]
            for _ in range(int(rounds)):
                out.recv(2048)
                began = time.thread_time()
                for address in addresses:
                    send(data, address)
                taken += time.thread_time() - began
            return taken

        answer_lines(out.getsockname()[1], answer)


def flood_child(port, seconds):
    """Send 5,000 datagrams of junk and 200 attempts to log in a second, from eight other addresses."""
    sockets = [chat.open_socket(socket.AF_INET, ("127.0.0.%d" % last, 0)) for last in range(2, 10)]
    server, sent, began = ("127.0.0.1", int(port)), 0, time.monotonic()
    print(json.dumps("ready"), flush=True)
    while time.monotonic() < began + float(seconds):
        each = sockets[sent % 8]
        each.setblocking(False)
        junk = bytes((chat.VERSION_BYTE,)) + os.urandom(100)
        each.sendto(chat.encode_unsealed(chat.Hello(os.urandom(16))) if sent % 25 == 0 else junk, server)
        with contextlib.suppress(BlockingIOError):
            answer = each.recv(2048)
            if answer[1] == chat.Offer.code:
                offer = suite.decode_unsealed(answer)
                each.sendto(chat.encode_unsealed(chat.Login(offer.nonce, offer.cookie, os.urandom(32))), server)
        sent += 1
        time.sleep(max(0.0, began + sent / 5000 - time.monotonic()))
    print(json.dumps(sent), flush=True)


CHILDREN = {"server": serve_child, "floor": floor_child, "flood": flood_child}


class Seat:
    """One member of a crowd: a client and its socket.  Asleep, it stores what arrives, with the time."""

    def __init__(self, number, address):
        self.name, self.address, self.asleep = "m%d" % number, address, False
        # A machine of its own, as far as the server can see; only Linux has all of 127/8.
        host = "127.1.%d.%d" % divmod(number, 250) if sys.platform == "linux" else "127.0.0.1"
        self.socket = chat.open_socket(socket.AF_INET, (host, 0))
        self.socket.setblocking(False)
        self.place = "%s:%d" % self.socket.getsockname()
        self.client = chat.Client(os.urandom, time.time() - time.monotonic(), earlier=0)
        self.stored, self.heard, self.due = [], [], 0.0
        self.said = self.sent = self.welcomed = self.present = self.floors = 0

    def login(self, now):
        self.client.login(self.name, "bench", [self.address], now)
        self.step(now)

    def say(self, text, now):
        self.client.say(text, now)
        self.said += 1
        self.step(now)

    def step(self, now, at=None):
        """Let the client act; what it is told was heard ``at``."""
        self.client.tick(now)
        for datagram in self.client.outgoing():
            with contextlib.suppress(OSError):
                self.socket.sendto(datagram.data, datagram.address)
        for event in self.client.events():
            if suite.SAID(event):
                self.heard.append((event.text, at or now))
            elif suite.RECEIPT(event):
                self.sent += 1
            elif isinstance(event, chat.Connected):
                self.present += 1
        self.due = self.client.deadline() or now + 60

    def read(self, now):
        receive = self.socket.recv
        try:
            while True:
                data = receive(2048)
                if data[0] != chat.VERSION_BYTE:
                    self.floors += 1
                    continue
                self.welcomed += data[1] == chat.Welcome.code
                if self.asleep:
                    self.stored.append((now, data))
                else:
                    self.client.receive(data, self.address, now)
        except BlockingIOError:
            if not self.asleep:
                self.step(now)

    def wake(self, now):
        """Do what it would have done with each datagram when that came."""
        self.asleep, stored, self.stored = False, self.stored, []
        for at, data in stored:
            self.client.receive(data, self.address, now)
            self.step(now, at)
        self.step(now)


class Crowd:
    """Many clients in one process.  What all members are sent alike is decoded once for all of them."""

    def __init__(self, port, count):
        self.seats = [Seat(number, ("127.0.0.1", port)) for number in range(count)]
        self.selectors = {False: selectors.DefaultSelector(), True: selectors.DefaultSelector()}
        for seat in self.seats:
            self.selectors[False].register(seat.socket, selectors.EVENT_READ, seat)
        self.drained_at = self.ticked_at = 0.0

    def close(self):
        for seat in self.seats:
            seat.socket.close()
        for each in self.selectors.values():
            each.close()

    def sleep(self, seats, watched=False):
        """Let them only store what arrives; watched, as soon as it does."""
        for seat in seats:
            self.selectors[seat.asleep].unregister(seat.socket)
            seat.asleep = True
            self.selectors[not watched].register(seat.socket, selectors.EVENT_READ, seat)

    def wake(self):
        self.drain()
        for seat in [seat for seat in self.seats if seat.asleep]:
            for each in self.selectors.values():
                with contextlib.suppress(KeyError):
                    each.unregister(seat.socket)
            seat.wake(time.monotonic())
            self.selectors[False].register(seat.socket, selectors.EVENT_READ, seat)

    def drain(self):
        """Store what has arrived for those asleep."""
        for key, _ in self.selectors[True].select(0):
            key.data.read(time.monotonic())
        self.drained_at = time.monotonic()

    def turn(self, wait=0.001, drain_seconds=0.01):
        for key, _ in self.selectors[False].select(wait):
            key.data.read(time.monotonic())
        now = time.monotonic()
        if now >= self.drained_at + drain_seconds:
            self.drain()
        if now >= self.ticked_at + 0.005:
            self.ticked_at = now
            for seat in self.seats:
                if not seat.asleep and seat.due <= now:
                    seat.step(now)

    def run(self, seconds, until=lambda: False):
        """Go on until it is so; raises RuntimeError where that takes too long, if there is an ``until``."""
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                return False
            self.turn()
        return True

    def login(self, seconds=60):
        """Log all in, 64 at once, each asleep as soon as it is in; return the seconds that took."""
        began, waiting, busy = time.monotonic(), list(self.seats), []
        while waiting or busy:
            while waiting and len(busy) < 64:
                busy.append(waiting.pop())
                busy[-1].login(time.monotonic())
            self.turn()
            self.sleep([seat for seat in busy if seat.client.state is chat.State.CONNECTED])
            busy = [seat for seat in busy if not seat.asleep]
            if time.monotonic() > began + seconds:
                raise RuntimeError("logins did not finish: %d" % (len(waiting) + len(busy)))
        return time.monotonic() - began

    def settle(self, seconds=60):
        """Wake all, and wait until each knows who is here."""
        self.wake()
        if not self.run(seconds, lambda: all(seat.present for seat in self.seats)):
            raise RuntimeError("%d did not settle" % sum(not seat.present for seat in self.seats))


@contextlib.contextmanager
def crowd_of(count, *server):
    """Yield a server and a crowd that is in its room."""
    child = Child("server", *server)
    crowd = Crowd(child.first, count)
    try:
        crowd.login()
        crowd.settle()
        yield child, crowd
    finally:
        crowd.close()
        child.close()


def talk(crowd, senders, messages, window):
    """Let the senders say so many messages each, as fast as the window allows; return the seconds it took."""
    began = time.monotonic()
    goals = {seat: seat.said + messages for seat in senders}
    while any(seat.sent < goal for seat, goal in goals.items()):
        for seat, goal in goals.items():
            while seat.said < goal and seat.said - seat.sent < window:
                seat.client.say(TEXT, time.monotonic())
                seat.said += 1
            seat.step(time.monotonic())
        crowd.turn()
        if time.monotonic() > began + 60:
            raise RuntimeError("the senders are stuck")
    return time.monotonic() - began


class FanOut:
    """Senders talk to a crowd asleep, in rounds; between them the floor sends as many datagrams as we did."""

    def __init__(self, server, crowd, floor, senders, window):
        self.server, self.crowd, self.floor, self.window = server, crowd, floor, window
        self.senders, self.sleepers = crowd.seats[:senders], crowd.seats[senders:]
        self.cpu = self.wall = self.floor_cpu = 0.0
        self.messages = self.datagrams = self.floor_datagrams = 0

    def round(self, messages):
        stored = sum(len(seat.stored) for seat in self.sleepers)
        before = self.server.ask("cpu")["cpu"]
        self.wall += talk(self.crowd, self.senders, messages, self.window)
        self.cpu += self.server.ask("cpu")["cpu"] - before
        self.crowd.drain()
        self.messages += messages * len(self.senders)
        new = (sum(len(seat.stored) for seat in self.sleepers) - stored) / len(self.sleepers)
        self.datagrams += new
        size = statistics.median(len(data) for _, data in self.sleepers[0].stored[-50:])
        rounds = max(1, int(new))
        self.measure_floor(int(size), rounds)
        self.floor_cpu += self.floor.answer()
        self.floor_datagrams += rounds

    def measure_floor(self, size, rounds):
        """Ask for one plain loop at a time, as a sender does whose text goes round before it says the next."""
        self.floor.tell(size, rounds, *[seat.place for seat in self.crowd.seats])
        sender = self.senders[0]
        for _ in range(rounds):
            before, end = sender.floors, time.monotonic() + 1
            sender.socket.sendto(b"go", ("127.0.0.1", self.floor.first))
            while sender.floors == before and time.monotonic() < end:
                self.crowd.turn()

    def run(self, rounds, messages):
        """Return the share of the messages that everybody has in the end."""
        expected = [(seat, len(seat.heard) + (messages * rounds) * len(self.senders)) for seat in self.sleepers]
        self.crowd.sleep(self.sleepers)
        for _ in range(rounds):
            self.round(messages)
        self.crowd.wake()
        self.crowd.run(20, lambda: all(len(seat.heard) >= goal for seat, goal in expected))
        missing = sum(max(0, goal - len(seat.heard)) for seat, goal in expected)
        for seat in self.crowd.seats:
            seat.heard.clear()
        return 1 - missing / (messages * rounds * len(self.senders) * len(self.sleepers))

    def figures(self, name, rounds, messages, target_ratio=None, target=None):
        arrived = self.run(rounds, messages)
        members = len(self.crowd.seats)
        each = self.cpu / self.messages / members * 1e6
        floor = self.floor_cpu / self.floor_datagrams / members * 1e6
        yield Figure(name, each, "us CPU/delivery", target, floor, target_ratio)
        yield Figure(name + ", a datagram", self.cpu / self.datagrams / members * 1e6, "us CPU", None, floor)
        yield Figure(name + ", capacity", 1e6 / each, "deliveries/s/core")
        yield Figure(name + ", seen", self.messages * members / self.wall, "deliveries/s")
        yield Figure(name + ", arrived", 100 * arrived, "%", 100.0, least=True)


class Figure:
    """A line of the table; ``floor`` is of the same run, ``target_ratio`` the most of it that we may take."""

    def __init__(self, name, value, unit, target=None, floor=None, target_ratio=None, least=False):
        self.name, self.value, self.unit, self.target, self.floor = name, value, unit, target, floor
        self.ratio = value / floor if floor else None
        self.target_ratio = target_ratio
        self.met = None
        if target is not None:
            self.met = value >= target if least else value <= target
        elif target_ratio is not None:
            self.met = self.ratio <= target_ratio

    def line(self):
        goal = self.target_ratio if self.target_ratio is not None else self.target
        numbers = ["" if number is None else figure_text(number) for number in (self.floor, self.ratio, goal)]
        verdict = {True: "met", False: "MISSED", None: ""}[self.met]
        return "%-48s %10s %-18s %8s %6s %8s %s" % (self.name, figure_text(self.value), self.unit, *numbers, verdict)


TABLE_HEAD = "%-48s %10s %-18s %8s %6s %8s" % ("figure", "value", "unit", "floor", "ratio", "target")


def figure_text(number):
    """Return a number with three digits that count."""
    if abs(number) >= 100:
        return "{:,.0f}".format(number)
    return "%.1f" % number if abs(number) >= 10 else "%.2f" % number


def quantiles(values):
    """Return the median, the 99th percentile and the maximum."""
    values = sorted(values)
    return values[len(values) // 2], values[min(len(values) - 1, len(values) * 99 // 100)], values[-1]


def share_decoding():
    """Decode in this process only once what is the same for a whole crowd: a thousand machines would, too."""
    whole = chat.decode_batch
    entries = functools.lru_cache(4096)(lambda data: whole(b"\x7f" + b"\xff" * 7 + data)[1])
    chat.decode_batch = lambda data: (int.from_bytes(data[:8], "big"), entries(data[8:]))
    chat.xor_stream = functools.lru_cache(1024)(chat.xor_stream)


# Each part yields its figures, with the numbers that were aimed at beside them.


def bench_fan_out(members, one_ratio=None, gso=None, plain=None, single=(6, 50), many=(4, 300)):
    with crowd_of(members) as (server, crowd), contextlib.closing(Child("floor")) as floor:
        name = "%d members, " % members
        yield from FanOut(server, crowd, floor, 1, 1).figures(name + "one at a time", *single, one_ratio)
        for on, label, target in ((1, "GSO", gso), (0, "sendto", plain)):
            if server.ask("gso", on)["gso"] == bool(on):
                fan_out = FanOut(server, crowd, floor, min(10, members - 1), 32)
                yield from fan_out.figures(name + "ten at full speed, " + label, *many, None, target)


def speak(crowd, senders, a_second, seconds):
    """Let the senders in turn say the time; return the delays until each sleeper heard it."""
    sleepers = crowd.seats[senders:]
    crowd.sleep(sleepers, watched=True)
    began, count = time.monotonic(), int(a_second * seconds)
    for number in range(count):
        crowd.run(began + number / a_second - time.monotonic())
        crowd.seats[number % senders].say(repr(time.monotonic()), time.monotonic())
        crowd.turn(0, 0)
    crowd.run(0.3)
    crowd.wake()
    crowd.run(10, lambda: all(len(seat.heard) >= count for seat in sleepers))
    delays = collections.defaultdict(list)
    for seat in sleepers:
        for text, at in seat.heard:
            delays[text].append((at - float(text)) * 1000)
    for seat in crowd.seats:
        seat.heard.clear()
    return delays


def delay_figures(name, delays, target=None):
    labels = ("median", "99th percentile", "maximum")
    for label, value in zip(labels, quantiles([delay for each in delays.values() for delay in each])):
        yield Figure("%s, %s" % (name, label), value, "ms", target if label == labels[1] else None)


def bench_latency(members=50, seconds=6):
    with crowd_of(members) as (server, crowd):
        quiet = speak(crowd, 5, 100, seconds)
        quiet = list(delay_figures("latency, %d members, 100 messages/s" % members, quiet, 3.0))
        yield from quiet
        flood = Child("flood", server.first, seconds + 1)
        flooded = speak(crowd, 5, 100, seconds)
        flood.close()
        yield from delay_figures("the same in a flood", flooded, 2 * quiet[1].value)


def bench_busy(members=100, seconds=3):
    with crowd_of(members) as (server, crowd):
        for name, busy in (("idle", 0), ("a fifth busy", seconds + 1)):
            if busy:
                server.tell("busy", busy)
            delays = speak(crowd, 1, 15, seconds)
            worst = quantiles([max(each) for each in delays.values()])
            name = "one to %d members, main thread %s" % (members, name)
            yield Figure(name + ", median", worst[0], "ms", 3.0)
            yield Figure(name + ", 99th percentile", worst[1], "ms")


def come_back(crowd, seconds):
    """Wait until all have been let in anew; each sleeps from then on, as if the others had machines of their own."""
    away, end = {seat: seat.welcomed for seat in crowd.seats}, time.monotonic() + seconds
    while away:
        crowd.turn()
        crowd.sleep([seat for seat, welcomed in away.items() if seat.welcomed > welcomed])
        away = {seat: welcomed for seat, welcomed in away.items() if not seat.asleep}
        if time.monotonic() > end:
            raise RuntimeError("%d did not come back" % len(away))


def bench_memory(members=50):
    """What the server's objects take for a member who has said something; counted by Python, not by the system."""
    server = Child("server", 0, "", "traced")
    crowd = Crowd(server.first, members)
    try:
        before = server.ask("memory")["memory"]
        crowd.login()
        crowd.settle()
        for seat in crowd.seats:
            seat.say(TEXT, time.monotonic())
        crowd.run(20, lambda: all(seat.sent for seat in crowd.seats))
        crowd.run(chat.HALF_OPEN_SECONDS)
        yield Figure("memory", (server.ask("memory")["memory"] - before) / members / 1024, "KiB/member", 8.0)
    finally:
        crowd.close()
        server.close()


def bench_thousand(members=1000, idle_seconds=10):
    """Login, idling, and coming back after a restart."""
    server = Child("server")
    crowd = Crowd(server.first, members)
    try:
        before = server.ask("cpu")
        seconds = crowd.login()
        after = server.ask("cpu")
        used = (after["cpu"] - before["cpu"]) / members
        yield Figure("login, server", used * 1000, "ms CPU each", 1000 / 300)
        yield Figure("login, both sides on this machine", members / seconds, "logins/s")
        crowd.settle()
        crowd.run(3)
        before = server.ask("cpu")["cpu"]
        crowd.run(idle_seconds)
        idle = (server.ask("cpu")["cpu"] - before) / idle_seconds
        yield Figure("idle room of %d" % members, idle * 100, "% of a core", 1.5)
        server.kill()
        server = Child("server", server.first)
        began, load = time.monotonic(), time.process_time()
        come_back(crowd, 60)
        yield Figure("%d members back after a restart" % members, time.monotonic() - began, "s", 6.0)
        yield Figure("... for which the server worked", server.ask("cpu")["cpu"], "s CPU")
        yield Figure("... and all clients, in one process", time.process_time() - load, "s CPU")
        crowd.wake()
        if not crowd.run(60, lambda: all(seat.present > 1 for seat in crowd.seats)):
            raise RuntimeError("somebody does not know who is here")
        yield Figure("... until all of them know who is here", time.monotonic() - began, "s")
    finally:
        crowd.close()
        server.close()


def bench_catchup(entries=10_000):
    with crowd_of(2) as (server, crowd):
        reader = crowd.seats[1]
        crowd.sleep([reader])
        talk(crowd, crowd.seats[:1], entries, 32)
        crowd.drain()
        reader.stored.clear()
        before, began = server.ask("cpu")["cpu"], time.monotonic()
        crowd.wake()
        if not crowd.run(30, lambda: len(reader.heard) >= entries):
            raise RuntimeError("only %d entries were caught up with" % len(reader.heard))
        yield Figure("catching up on %d entries" % entries, time.monotonic() - began, "s")
        yield Figure("... for which the server worked", server.ask("cpu")["cpu"] - before, "s CPU")


def commit_seconds(folder, mode, entries):
    """Return the seconds that one commit of so many entries takes in the middle, in a mode of SQLite's."""
    opened, connect = [], sqlite3.connect
    with mock.patch.object(sqlite3, "connect", lambda *how, **more: opened.append(connect(*how, **more)) or opened[-1]):
        log = chat.Log(1, os.path.join(folder, "commit-%s-%d" % (mode, entries)))
    opened[0].execute("PRAGMA synchronous = " + mode)
    taken = []
    for at in range(100):
        log.append([suite.record(suite.text_entry(TEXT, number=at + 1)) for _ in range(entries)])
        began = time.perf_counter()
        log.commit()
        taken.append(time.perf_counter() - began)
    log.close()
    return statistics.median(taken)


def sync_seconds(folder):
    """Return the seconds that a write and its sync to the disk take in the middle: the floor of a commit."""
    taken = []
    with open(os.path.join(folder, "floor"), "wb") as file:
        for _ in range(100):
            began = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def bench_history(members=100, messages=(50, 300)):
    """What it costs to write everything down before it goes out."""
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Child("floor")) as floor:
        path = os.path.join(folder, "history")
        with crowd_of(members, 0, path) as (server, crowd):
            name = "%d members, --history" % members
            yield from FanOut(server, crowd, floor, 1, 1).figures(name + ", one at a time", 3, messages[0])
            several = FanOut(server, crowd, floor, min(10, members - 1), 32)
            yield from several.figures(name + ", several at full speed", 3, messages[1])
        synced = sync_seconds(folder) * 1000
        for mode in ("FULL", "NORMAL", "OFF"):
            each = commit_seconds(folder, mode, 1) * 1000
            yield Figure("a commit of 1 entry, synchronous %s" % mode, each, "ms", None, synced)
        yield Figure("a commit of 100 entries", commit_seconds(folder, "FULL", 100) * 1000, "ms", None, synced)


class Stamped(list):
    """Events, each said text replaced by how long it was on its way."""

    def __init__(self, network):
        super().__init__()
        self.network, self.delays = network, []

    def __iadd__(self, events):
        self.extend(events)
        self.delays += [self.network.now - float(event.text) for event in events if suite.SAID(event)]
        return self


def bench_loss(losses=(0, 10, 30, 50)):
    """Ten members on the simulated network, half a millisecond to two apart; ten messages a second."""
    for loss in losses:
        delays = delays_at(loss / 100)
        for label, value in zip(("median", "99th percentile", "maximum"), quantiles(delays)):
            yield Figure("delivery at %d %% loss, %s" % (loss, label), value, "ms")
        yield Figure("delivery at %d %% loss, arrived" % loss, len(delays) / 18, "%", 100.0, least=True)


def delays_at(loss):
    network = suite.Network(1, rate=0)
    people = [network.person("m%d" % number, earlier=0) for number in range(10)]
    for person in people:
        person.heard = Stamped(network)
        person.login()
    network.run(10, lambda: all(person.connected() for person in people))
    network.weather = suite.Weather(loss, 0.0, 0.0005, 0.0015)
    for number in range(200):
        people[number % 10].say(repr(network.now))
        network.run(0.1)
    network.run(60, lambda: all(len(person.heard.delays) >= 180 for person in people))
    return [delay * 1000 for person in people for delay in person.heard.delays]


def bench_smoke():
    """Run every part in small."""
    yield from bench_fan_out(4, single=(1, 5), many=(1, 10))
    yield from bench_latency(8, 0.3)
    yield from bench_busy(4, 0.3)
    yield from bench_thousand(4, 1)
    yield from bench_memory(2)
    yield from bench_catchup(300)
    yield from bench_history(4, (3, 5))
    yield from bench_loss((30,))


BENCHES = {
    "10": functools.partial(bench_fan_out, 10, single=(4, 300)),
    "100": functools.partial(bench_fan_out, 100, 1.5, 0.35, 0.8),
    "1000": functools.partial(bench_fan_out, 1000, 1.5, 0.3, 0.8, single=(4, 15), many=(2, 60)),
    "latency": bench_latency,
    "busy": bench_busy,
    "thousand": bench_thousand,
    "memory": bench_memory,
    "catchup": bench_catchup,
    "history": bench_history,
    "loss": bench_loss,
    "smoke": bench_smoke,
}


def bench(name, as_json):
    """Run one part or all, and print their figures; return the exit status: whether every part could be run."""
    share_decoding()
    allow_files(5000)
    began, failed = time.monotonic(), []
    print(json.dumps(machine()) if as_json else "%s\n%s" % (" ".join(machine().values()), TABLE_HEAD), flush=True)
    for part in [name] if name else [part for part in BENCHES if part != "smoke"]:
        if time.monotonic() > began + BENCH_SECONDS:
            failed.append("%s: no time left" % part)
            continue
        print("[%3d s] %s ..." % (time.monotonic() - began, part), file=sys.stderr, flush=True)
        try:
            for figure in BENCHES[part]():
                print(json.dumps({"part": part, **vars(figure)}) if as_json else figure.line(), flush=True)
        except (OSError, RuntimeError) as fault:
            failed.append("%s: %s" % (part, fault))
    print("[%3d s] done" % (time.monotonic() - began), *failed, sep="\n", file=sys.stderr)
    return 1 if failed else 0


def machine():
    """Return what the figures were measured on."""
    return {"system": platform.platform(), "python": platform.python_version(), "cores": "%s cores" % os.cpu_count()}


def allow_files(count):
    """Ask for as many open files as a crowd needs, where the system has such a limit."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(count, hard)), hard))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("part", nargs="?", choices=list(BENCHES), metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        CHILDREN[options.child[0]](*options.child[1:])
    else:
        sys.exit(bench(options.part, options.json))


if __name__ == "__main__":
    main()
