#!/usr/bin/env python3
"""Measurements of samsungchat.py, each figure beside what was aimed at.

    python .ci/bench.py [NAME]    every part, or one
    python .ci/bench.py smoke     every part in small: whether it runs at all

Server and load are processes of their own.  A busy machine slows everything: two versions are compared in paired runs.
"""

import argparse
import contextlib
import functools
import itertools
import json
import os
import platform
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import samsungchat as chat
import test_samsungchat as suite

TEXT = "x" * 60


class Child:
    """A process of a measurement: every line that it reads is answered by a line of JSON."""

    def __init__(self, *arguments):
        command = [sys.executable, os.path.abspath(__file__), "--child", *map(str, arguments)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, encoding="utf-8", bufsize=1, **pipes)
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

    def close(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.communicate(timeout=5)
        self.kill()

    def kill(self):
        self.process.kill()
        self.process.wait()


def answer_lines(first, answer):
    """Be a Child: say the first line, then answer each that comes; the end of the input is the end."""
    print(json.dumps(first), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(*line.split())), flush=True)


def serve_child(port="0", history=""):
    """Serve on loopback, as run_server() does, and tell figures of this process."""
    chat.tune_process()
    now = time.monotonic()
    sockets = chat.open_server_sockets("127.0.0.1", int(port))
    log = chat.Log(int(time.time() * 1000), history)
    server = chat.Server(log, "bench", os.urandom, now, time.time() - now, members_max=5000, rate=0)
    loop = chat.Loop(server, sockets, lambda event: None)

    def answer(word, *values):
        if word == "gso":
            loop.sender.segmented = values[0] == "1" and sys.platform == "linux"
        return {"cpu": time.process_time(), "gso": loop.sender.segmented}

    loop.start()
    answer_lines(sockets[0].getsockname()[1], answer)
    loop.call(server.close)
    loop.join(2)


def newcomers_child(port, count):
    """Let so many more members log in, 64 at once, and go."""
    crowd = Crowd(int(port), int(count), "newcomer")
    print(json.dumps("ready"), flush=True)
    crowd.login()
    crowd.close()


def insiders_child(port, count, a_second):
    """Let so many members ask for all that the log has, each so often a second or (0) as fast as they can."""
    crowd, pace, pull = Crowd(int(port), int(count), "insider"), float(a_second), chat.Pull(chat.EARLIER, 0, 0, 500, 16)
    crowd.login()
    print(json.dumps("ready"), flush=True)
    end = time.monotonic() + 60
    for seat, question in itertools.cycle(itertools.product(crowd.seats, (chat.Sync(0, 1, 0, 16), pull))):
        if time.monotonic() > end:
            break
        with contextlib.suppress(OSError):
            seat.socket.sendto(seat.client._session.seal(question), seat.address)
        seat.arrived()
        time.sleep(pace and 1 / (pace * len(crowd.seats)))


def flood_child(port, a_second, session):
    """Send what attackers would until killed: junk, HELLOs, LOGINs with a cookie, and SYNCs forged of a session."""
    address, nonce, out = ("127.0.0.1", int(port)), os.urandom(16), chat.open_socket(("127.0.0.1", 0))
    out.sendto(chat.encode_unsealed(chat.Hello(nonce)), address)
    cookie = chat.decode(chat.Offer.code, out.recv(2048)[2:]).cookie
    makers = [
        lambda: os.urandom(160),
        lambda: chat.encode_unsealed(chat.Hello(os.urandom(16))),
        lambda: chat.encode_unsealed(chat.Login(nonce, cookie, os.urandom(32))),
        lambda: bytes((chat.VERSION_BYTE, chat.Sync.code)) + bytes.fromhex(session) + os.urandom(154),
    ]
    volleys = [b"".join(make() for _ in range(40)) for make in makers * 50]
    print(json.dumps("ready"), flush=True)
    began, control = time.monotonic(), [(socket.IPPROTO_UDP, 103, (160).to_bytes(2, sys.byteorder))]  # See chat.Sender.
    for number, volley in enumerate(itertools.cycle(volleys), 1):
        with contextlib.suppress(OSError):
            out.sendmsg([volley], control, 0, address)
        time.sleep(max(0.0, began + number * 40 / float(a_second) - time.monotonic()))


CHILDREN = {"server": serve_child, "newcomers": newcomers_child, "insiders": insiders_child, "flood": flood_child}


class Seat:
    """One member of a crowd: a client and its socket."""

    def __init__(self, name, number, address):
        self.name, self.address, self.away = "%s%d" % (name, number), address, False
        # A machine of its own, as far as the server can see; only Linux has all of 127/8.
        host = "127.1.%d.%d" % divmod(number, 250) if sys.platform == "linux" else "127.0.0.1"
        self.socket = chat.open_socket((host, 0))
        self.socket.setblocking(False)
        self.client = chat.Client(os.urandom, time.time() - time.monotonic(), earlier=0)
        self.heard, self.due = [], 0.0
        self.said = self.sent = self.welcomed = self.present = 0

    def login(self, now):
        self.client.login(self.name, "bench", [self.address], now)
        self.step(now)

    def say(self, text, now):
        self.client.say(text, now)
        self.said += 1
        self.step(now)

    def step(self, now):
        """Let the client act; what it is told was heard at that time."""
        self.client.tick(now)
        for datagram in self.client.outgoing():
            self.session = datagram.data[2:6]
            with contextlib.suppress(OSError):
                self.socket.sendto(datagram.data, datagram.address)
        for event in self.client.events():
            if suite.SAID(event):
                self.heard.append((event.text, now))
            elif suite.RECEIPT(event):
                self.sent += 1
            elif isinstance(event, chat.Connected):
                self.present += 1
        self.due = self.client.deadline() or now + 60

    def arrived(self):
        """Return what lies in the socket, and the time."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.socket.recv(2048))
        return self, time.monotonic(), found

    def take(self, now, datagrams):
        for data in datagrams:
            self.welcomed += data[1] == chat.Welcome.code
            self.client.receive(data, self.address, now)
        self.step(now)


class Crowd:
    """Many clients in one process.  What all members are sent alike is decoded once for all of them."""

    def __init__(self, port, count, name="m"):
        self.seats = [Seat(name, number, ("127.0.0.1", port)) for number in range(count)]
        self.selector = selectors.DefaultSelector()
        for seat in self.seats:
            self.selector.register(seat.socket, selectors.EVENT_READ, seat)
        self.ticked_at = 0.0

    def close(self):
        for seat in self.seats:
            seat.socket.close()
        self.selector.close()

    def rest(self, seats):
        """Let them do nothing, as if the others had machines of their own."""
        for seat in seats:
            seat.away = True
            self.selector.unregister(seat.socket)

    def wake(self):
        for seat in [seat for seat in self.seats if seat.away]:
            seat.away = False
            self.selector.register(seat.socket, selectors.EVENT_READ, seat)

    def turn(self, wait=0.001):
        """Read all sockets, so that each datagram has its time, and only then work on it."""
        for seat, now, found in [key.data.arrived() for key, _ in self.selector.select(wait)]:
            seat.take(now, found)
        now = time.monotonic()
        if now >= self.ticked_at + 0.005:
            self.ticked_at = now
            for seat in self.seats:
                if seat.due <= now and not seat.away:
                    seat.step(now)

    def run(self, seconds, until=lambda: False):
        """Go on until it is so; return whether it came about in time."""
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                return False
            self.turn()
        return True

    def demand(self, seconds, until, what):
        """Go on until it is so; return the seconds that it took."""
        began = time.monotonic()
        if not self.run(seconds, until):
            raise RuntimeError(what)
        return time.monotonic() - began

    def login(self, seconds=60):
        """Log all in, 64 at once, until each knows who is here; return the seconds that the logins took."""
        waiting, busy = list(self.seats), []

        def entered():
            nonlocal busy
            while waiting and len(busy) < 64:
                busy.append(waiting.pop())
                busy[-1].login(time.monotonic())
            self.rest([seat for seat in busy if seat.client.state is chat.State.CONNECTED])
            busy = [seat for seat in busy if not seat.away]
            return not waiting and not busy

        taken = self.demand(seconds, entered, "not all could log in")
        self.wake()
        self.demand(seconds, lambda: all(seat.present for seat in self.seats), "somebody does not know who is here")
        return taken

    def talk(self, senders, messages, window):
        """Let senders say so many messages each, as fast as the window allows; return the seconds it took."""
        goals = {seat: seat.said + messages for seat in senders}

        def said():
            for seat, goal in goals.items():
                while seat.said < goal and seat.said - seat.sent < window:
                    seat.say(TEXT, time.monotonic())
            return all(seat.sent >= goal for seat, goal in goals.items())

        return self.demand(60, said, "the senders are stuck")


@contextlib.contextmanager
def crowd_of(count, *server):
    """Yield a server and a crowd that is in its room."""
    child = Child("server", *server)
    crowd = Crowd(child.first, count)
    try:
        crowd.login()
        yield child, crowd
    finally:
        crowd.close()
        child.close()


def fan_out(name, server, crowd, senders, window, rounds, messages, target=None):
    """Let senders talk to the rest of a crowd in rounds; yield what a delivery costs the server."""
    members, listeners, count = len(crowd.seats), crowd.seats[senders:], rounds * messages * senders
    goals = [(seat, len(seat.heard) + count) for seat in listeners]
    before = server.ask("cpu")["cpu"]
    seconds = sum(crowd.talk(crowd.seats[:senders], messages, window) for _ in range(rounds))
    cpu = (server.ask("cpu")["cpu"] - before) * 1e6 / members
    crowd.run(20, lambda: all(len(seat.heard) >= goal for seat, goal in goals))
    yield Figure(name, cpu / count, "us CPU/delivery", target)
    yield Figure(name + ", seen", count * members / seconds, "deliveries/s")
    yield Figure(name + ", missing", sum(max(0, goal - len(seat.heard)) for seat, goal in goals), "messages", 0)


class Figure:
    """A line of the table, with the most that was aimed at."""

    def __init__(self, name, value, unit, target=None):
        self.name, self.value, self.unit, self.target = name, value, unit, target

    def line(self):
        value = ("%.3g" if self.value < 100 else "%.0f") % self.value
        aim = "" if self.target is None else "%g %s" % (self.target, "MISSED" * (self.value > self.target))
        return "%-60s %10s %-18s %8s" % (self.name, value, self.unit, aim)


def spread(name, values, unit, target=None):
    """Yield the median, the 99th percentile, which has the target, and the maximum."""
    values = sorted(values)
    yield Figure(name + ", median", statistics.median(values), unit)
    yield Figure(name + ", 99th percentile", values[min(len(values) - 1, len(values) * 99 // 100)], unit, target)
    yield Figure(name + ", maximum", values[-1], unit)


def share_decoding():
    """Decode in this process only once what is the same for a whole crowd: a thousand machines would, too."""
    whole = chat.decode_batch
    entries = functools.lru_cache(4096)(lambda data: whole(b"\x7f" + b"\xff" * 7 + data)[1])
    chat.decode_batch = lambda data: (int.from_bytes(data[:8], "big"), entries(data[8:]))
    chat.xor_stream = functools.lru_cache(1024)(chat.xor_stream)


# Each part yields its figures, with the numbers that were aimed at beside them.


def bench_fan_out(members, one=None, gso=None, plain=None, single=(6, 50), many=(4, 300), remembers=False):
    with tempfile.TemporaryDirectory() as folder, crowd_of(
        members, 0, os.path.join(folder, "history") if remembers else ""
    ) as (server, crowd):
        name = "%d members%s, " % (members, ", --history" if remembers else "")
        yield from fan_out(name + "one at a time", server, crowd, 1, 1, *single, one)
        for on, label, target in ((1, "GSO", gso), (0, "sendto", plain)):
            if server.ask("gso", on)["gso"] == bool(on):
                label = name + "ten at full speed, " + label
                yield from fan_out(label, server, crowd, min(10, members - 1), 32, *many, target)


def speak(crowd, senders, a_second, seconds):
    """Let the senders in turn say the time; return the milliseconds until each other member heard it."""
    began, count, listeners = time.monotonic(), int(a_second * seconds), crowd.seats[senders:]
    for seat in crowd.seats:
        seat.heard.clear()
    for number in range(count):
        crowd.run(began + number / a_second - time.monotonic())
        crowd.seats[number % senders].say(repr(time.monotonic()), time.monotonic())
    crowd.run(10, lambda: all(len(seat.heard) >= count for seat in listeners))
    return [(at - float(text)) * 1000 for seat in listeners for text, at in seat.heard]


def bench_latency(members=50, seconds=6, newcomers=300):
    with crowd_of(members) as (server, crowd):
        quiet = speak(crowd, 5, 100, seconds)
        quiet = list(spread("latency, %d members, 100 messages/s" % members, quiet, "ms", 3.0))
        yield from quiet
        with contextlib.closing(Child("newcomers", server.first, newcomers)):
            busy = speak(crowd, 5, 100, seconds)
        yield from spread("the same while %d log in" % newcomers, busy, "ms", 2 * quiet[1].value)


def bench_thousand(members=1000, idle_seconds=10):
    """Login, idling, and coming back after a restart."""
    server = Child("server")
    crowd = Crowd(server.first, members)
    try:
        before, seconds = server.ask("cpu")["cpu"], crowd.login()
        yield Figure("login, server", (server.ask("cpu")["cpu"] - before) / members * 1000, "ms CPU each", 1000 / 300)
        yield Figure("login, both sides on this machine", members / seconds, "logins/s")
        crowd.run(3)
        before = server.ask("cpu")["cpu"]
        crowd.run(idle_seconds)
        idle = (server.ask("cpu")["cpu"] - before) / idle_seconds
        yield Figure("idle room of %d" % members, idle * 100, "% of a core", 1.5)
        server.kill()
        server = Child("server", server.first)
        welcomed, present = [{seat: getattr(seat, name) for seat in crowd.seats} for name in ("welcomed", "present")]

        def back():
            crowd.rest([seat for seat in crowd.seats if not seat.away and seat.welcomed > welcomed[seat]])
            return all(seat.away for seat in crowd.seats)

        seconds = crowd.demand(60, back, "somebody did not come back")
        yield Figure("%d members back after a restart" % members, seconds, "s", 6.0)
        yield Figure("... for which the server worked", server.ask("cpu")["cpu"], "s CPU")
        crowd.wake()
        known = lambda: all(seat.present > present[seat] for seat in crowd.seats)  # noqa: E731
        yield Figure("... until all know who is here", seconds + crowd.demand(60, known, "somebody is unsure"), "s")
    finally:
        crowd.close()
        server.close()


def bench_catchup(entries=10_000):
    with crowd_of(2) as (server, crowd):
        reader = crowd.seats[1]
        crowd.rest([reader])
        crowd.talk(crowd.seats[:1], entries, 32)
        reader.arrived()
        before = server.ask("cpu")["cpu"]
        crowd.wake()
        seconds = crowd.demand(30, lambda: len(reader.heard) >= entries, "not all entries were caught up with")
        yield Figure("catching up on %d entries" % entries, seconds, "s")
        yield Figure("... for which the server worked", server.ask("cpu")["cpu"] - before, "s CPU")


def bench_attack(members=20, seconds=6, rows=50_000):
    """A room that twenty insiders press with questions about a history that is private to others."""
    with tempfile.TemporaryDirectory() as folder:
        path, parties = os.path.join(folder, "history"), (b"x" * 8, b"y" * 8)
        psst = chat.Entry(chat.PRIVATE, 1, parties[0], 1, "xan", parties[1], "yul", TEXT)
        with contextlib.closing(chat.Log(1, path)) as log:
            log.append([suite.record(psst, parties)] * rows)
            log.commit()
        with crowd_of(members, 0, path) as (server, crowd):
            quiet = list(spread("%d members, --history" % members, speak(crowd, 5, 50, seconds), "ms"))
            yield from quiet
            for a_second, name in ((50, "20 insiders ask 50 times a second each"), (0, "20 insiders ask all the time")):
                with contextlib.ExitStack() as insiders:
                    insiders.callback(Child("insiders", server.first, 20, a_second).kill)
                    pressed = speak(crowd, 5, 50, seconds)
                yield from spread(name, pressed, "ms", 2 * quiet[1].value)
                yield Figure(name + ", heard", len(pressed) / (50 * seconds * (members - 5)) * 100, "%")


def bench_flood(members=20, seconds=6, rates=((20_000, 15.0), (100_000, 250.0))):
    """A room whose server is flooded from one address; only Linux can send so much from one process."""
    with crowd_of(members) as (server, crowd):
        session = crowd.seats[-1].session.hex()
        for a_second, target in rates:
            with contextlib.ExitStack() as flood:
                flood.callback(Child("flood", server.first, a_second, session).kill)
                pressed = speak(crowd, 5, 50, seconds)
            yield from spread("beside a flood of %d a second" % a_second, pressed, "ms", target)


class Paths(suite.Network):
    """A network on which some have a path of their own, and all may share a slow link with a short queue."""

    paths, bytes_a_second, queue_seconds, taken_until = {}, 0, 0.1, {}

    def send(self, data, source, target=suite.SERVER):
        usual = self.weather
        self.weather = self.paths.get(source, self.paths.get(target, usual))
        if self.bytes_a_second:
            way = source == suite.SERVER
            waits = max(self.taken_until.get(way, 0.0) - self.now, 0.0)
            lost = 1.0 if waits > self.queue_seconds else self.weather.loss
            self.weather = self.weather._replace(loss=lost, delay=self.weather.delay + waits)
            if lost < 1.0:
                self.taken_until = {**self.taken_until, way: self.now + waits + len(data) / self.bytes_a_second}
        super().send(data, source, target)
        self.weather = usual


def lateness(weather, pause, count, members=8, bad=0, bytes_a_second=0):
    """Let people who know their paths talk; return how late (ms) it was at others with good paths, and the network."""
    network = Paths(8, rate=0)
    people = [network.person("m%d" % number, earlier=0) for number in range(members)]
    for person in people:
        person.login()
    network.run(20, lambda: all(person.connected() for person in people))
    network.bytes_a_second = bytes_a_second
    network.weather = suite.Weather() if bad else weather
    network.paths = {person.address: weather for person in people[:bad]}
    for step in range(3 * members):
        people[step % members].say("before")
        network.run(min(pause, 0.1))
    network.run(5)
    delays, counted, talkers = [], {person: len(person.heard) for person in people}, people[bad:]
    del network.wire[:]

    def note():
        for person in talkers:
            new = [event for event in person.heard[counted[person] :] if suite.SAID(event)]
            counted[person] = len(person.heard)
            delays.extend((network.now - float(event.text)) * 1000 for event in new)
        return len(delays) >= count * (len(talkers) - 1)

    for step in range(count):
        talkers[step % len(talkers)].say(repr(network.now))
        network.run(pause, lambda: note() and False)
    network.run(60, note)
    return delays, network


def late(name, weather, pause, count, median=None, most=None, **more):
    delays, network = lateness(weather, pause, count, **more)
    for figure, target in zip(spread(name, delays, "ms", most), (median, most, None)):
        figure.target = target
        yield figure
    yield Figure(name + ", sent", len(network.wire) / count, "datagrams/message")
    yield Figure(name + ", bytes", sum(len(data) for _, _, data in network.wire) / count, "bytes/message")


def bench_loss(losses=(0, 10, 30, 50), round_trips=(1, 20, 200), count=160, lossy=200):
    """Eight members on the simulated network, sixteen messages a second, but where it says otherwise."""
    for loss in losses:
        aims = {0: (None, None), 30: (60, 400), 50: (120, 700)}.get(loss, (None, None))
        yield from late(
            "%d %% loss, 20 ms jitter" % loss, suite.Weather(loss / 100, 0, 0.001, 0.02), 1 / 16, count, *aims
        )
    for round_trip in round_trips:
        for loss in losses:
            weather = suite.Weather(loss / 100, 0, round_trip / 2000, round_trip / 10_000)
            yield from late("%d %% loss, round trip %d ms" % (loss, round_trip), weather, 1 / 16, count)
    bad = suite.Weather(losses[-1] / 100, 0, 0.001, 0.02)
    yield from late("a message in 3 s at %d %% loss" % losses[-1], bad, 3.0, count // 4, 120, 700)
    yield from late("10 on clean paths beside 2 at %d %%" % losses[-1], bad, 1 / 16, count, members=12, bad=2)
    yield from late("1 Mbit/s with a queue of 100 ms", suite.Weather(), 1 / 16, count, bytes_a_second=125_000)
    began = time.process_time()
    lateness(suite.Weather(0.1, 0, 0.001, 0.02), 0.5, 10, members=lossy)
    seconds = time.process_time() - began
    yield Figure(
        "a room of %d at 10 %% loss, both sides" % lossy, seconds * 1e6 / (10 + 3 * lossy) / lossy, "us CPU/delivery"
    )


def bench_smoke():
    """Run every part in small."""
    yield from bench_fan_out(4, single=(1, 5), many=(1, 10))
    yield from bench_fan_out(4, single=(1, 3), many=(1, 5), remembers=True)
    yield from bench_latency(8, 0.3, 4)
    yield from bench_thousand(4, 1)
    yield from bench_catchup(300)
    yield from bench_loss((30,), (20,), 16, 20)
    yield from bench_attack(8, 0.3, 1000)
    yield from bench_flood(8, 0.3, ((1000, 15.0),))


BENCHES = {
    "10": functools.partial(bench_fan_out, 10, single=(4, 300)),
    "100": functools.partial(bench_fan_out, 100, 6.0, 0.5, 0.8),
    "1000": functools.partial(bench_fan_out, 1000, 6.0, 0.5, 0.8, single=(4, 15), many=(2, 60)),
    "history": functools.partial(bench_fan_out, 100, single=(3, 50), many=(3, 300), remembers=True),
    "latency": bench_latency,
    "thousand": bench_thousand,
    "catchup": bench_catchup,
    "loss": bench_loss,
    "attack": lambda: itertools.chain(bench_attack(), bench_flood()),
    "smoke": bench_smoke,
}


def bench(name):
    """Run one part or all, and print their figures; return the exit status: whether every part could be run."""
    share_decoding()
    with contextlib.suppress(ImportError, ValueError, OSError):  # A crowd needs many open files.
        import resource

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(5000, hard), hard))
    began, failed = time.monotonic(), []
    machine = "%s, Python %s, %d cores" % (platform.platform(), platform.python_version(), os.cpu_count() or 1)
    print(machine, "%-60s %10s %-18s %8s" % ("figure", "value", "unit", "aim"), sep="\n", flush=True)
    for part in [name] if name else [part for part in BENCHES if part != "smoke"]:
        print("[%3d s] %s ..." % (time.monotonic() - began, part), file=sys.stderr, flush=True)
        try:
            for figure in BENCHES[part]():
                print(figure.line(), flush=True)
        except (OSError, RuntimeError) as fault:
            failed.append("%s: %s" % (part, fault))
    print("[%3d s] done" % (time.monotonic() - began), *failed, sep="\n", file=sys.stderr)
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("part", nargs="?", choices=list(BENCHES), metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        CHILDREN[options.child[0]](*options.child[1:])
    else:
        sys.exit(bench(options.part))


if __name__ == "__main__":
    main()
