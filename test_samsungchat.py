#!/usr/bin/env python3
"""The tests of samsungchat.py: standard library only.

    python test_samsungchat.py                   everything, in well under a minute
    SEED=17 python test_samsungchat.py           the main test with this one seed
    python test_samsungchat.py --soak SECONDS    fresh seeds of storms and mutated inputs, until the time is up

The server and the clients are values without sockets and without a clock, so a whole room runs in here on a
made-up clock, over a network that loses, copies, delays and reorders by a seed: class Network.  The main test
is WeatherTest: whatever the weather, every member's view is the log.
"""

import argparse
import ast
import codecs
import collections
import contextlib
import functools
import gc
import hashlib
import heapq
import html
import http.client
import importlib
import io
import json
import os
import pathlib
import queue
import random
import re
import select
import selectors
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import symtable
import sys
import tempfile
import threading
import time
import tokenize
import types
import unicodedata
import unittest
from unittest import mock

try:
    import resource
except ImportError:  # Windows.
    resource = None

os.environ["SAMSUNGCHAT_DISCOVERY"] = "127.255.255.255"  # No test leaves this machine.
os.environ["LC_ALL"] = "C.UTF-8"  # What is said is said in English.

import samsungchat as chat  # noqa: E402
from samsungchat import *  # noqa: E402, F403

# ruff: noqa: F405  (The tests speak the program's own words.)

SEEDS = range(1, 37)
_KEPT = (  # Those that failed once.
    "1991171471 4193642071 2626881216 2626881289 3422614717 3059 2097567959 2645977129 2645977309 "
    "2645977603 2645977773 2645978089 2645978322 2645978328 2962122176 2962125334 2962125515 2962126355 "
    "2962126816 2962127190 2962127324 2962127827 2962128422 3560271603"
)
KEPT_SEEDS = tuple(map(int, _KEPT.split()))
SOURCE = os.path.abspath(chat.__file__)

# ======================================================================================================
# The simulated network
# ======================================================================================================
# One heap, one seeded generator drawn only with .random() (the one sequence that Python promises not to
# change), and one made-up clock.

SERVER = ("10.0.0.1", 11111)
EPOCH = 1_000_000_000.0
TYPE_NAMES = {code: kind.__name__ for code, kind in chat.MESSAGE_TYPES.items()}


def entries_of(*kinds, own=False):
    """Return what asks of an event whether it is such an entry, somebody else's or this client's own."""
    return lambda event: isinstance(event, Happened) and event.entry.kind in kinds and bool(event.number) == own


SAID, NOTICED = entries_of(chat.TEXT, ACTION, PRIVATE), entries_of(NOTICE, STARTED)
CAME, WENT, GONE = entries_of(JOINED), entries_of(LEFT), entries_of(SKIP)
_OWN = entries_of(*chat.SUBMITTED, own=True)


def RECEIPT(event):
    """Return whether a text of this client's own is confirmed."""
    return isinstance(event, Sent) or _OWN(event)


def is_one(event, kinds):
    """Return whether an event is of one of the classes, or what one of the functions above asks for."""
    return any(isinstance(event, kind) if isinstance(kind, type) else kind(event) for kind in kinds)


# What the network does to datagrams: shares lost and copied, seconds of delay, and of more delay for some.
Weather = collections.namedtuple("Weather", "loss copies delay jitter", defaults=(0.0, 0.0, 0.0005, 0.0))


def entropy_of(draw):
    """Return a source of random bytes from one of random numbers."""
    return lambda count: bytes(int(draw() * 256) for _ in range(count))


class Person:
    """Somebody with a client in the simulated network, and everything that the client reported."""

    def __init__(self, network, name, address, client):
        self.network, self.name, self.address, self.client, self.heard = network, name, address, client, []

    def login(self, password="secret", name=None, places=(SERVER,), seconds=0.0):
        self.order("login", name or self.name, password, places, seconds=seconds)

    def order(self, what, *values, seconds=0.0, **how):
        """Call what the client takes from a person, and let so much time pass."""
        getattr(self.client, what)(*values, self.network.now, **how)
        self.network.wake(self.address)
        if seconds:
            self.network.run(seconds)

    say = functools.partialmethod(order, "say")
    leave = functools.partialmethod(order, "leave")
    finish = functools.partialmethod(order, "finish")
    earlier = functools.partialmethod(order, "earlier")
    hand = functools.partialmethod(order, "hand")

    def all(self, *kinds):
        """Return the events of those kinds, in the order in which they were reported."""
        return [event for event in self.heard if is_one(event, kinds)]

    def texts(self):
        return [event.text for event in self.all(SAID)]

    def connected(self):
        """Return whether it is in the room and knows who else is."""
        return self.client.state is State.CONNECTED and bool(self.all(Connected))

    def waiting(self):
        """Return the numbers of its own texts that are neither confirmed nor given up."""
        settled = {event.number for event in self.all(RECEIPT, NotSent)}
        return [event.number for event in self.all(Queued) if event.number not in settled]


class Crash(Exception):
    """The server dies at this moment."""


class Disk(Log):
    """A log whose disk can be full, and whose server can die just "before" or "after" something is written."""

    full = False
    crash = ""
    changed = False

    def append(self, records):
        self.changed = True
        super().append(records)

    def commit(self):
        if self.crash == "before" and self.changed:
            raise Crash
        if self.full:
            raise LogFailure("The disk is full.")
        super().commit()
        if self.crash == "after" and self.changed:
            raise Crash
        self.changed = False


class Network:
    """A server and people on one heap, one seeded generator, and one made-up clock.

    With a ``history``, the path of a file, the server remembers.
    """

    def __init__(self, seed=1, weather=None, history="", **server):
        self.draw = random.Random(seed).random
        self.entropy = entropy_of(self.draw)
        self.weather = weather or Weather()
        self.now, self.epoch = 100.0, EPOCH
        self.cores, self.people = {}, {}
        self._reports = {}  # Where what a core reports is kept, by the core's identity.
        self.cut = set()
        self.trace = collections.deque(maxlen=40)
        self.wire = []  # Every datagram sent, as (source, target, bytes).
        self.logs = []  # One for each life of the server.
        self.server_events = []
        self._heap, self._count, self._armed = [], 0, {}
        self.ports = itertools.count()
        self._options = server
        admitted, most = server.pop("classic", False), server.pop("classic_max", chat.CLASSIC_MAX)
        server.setdefault("foreign", functools.partial(Classic, admitted=admitted, most=most))
        self.history = history
        self.start_server()

    def restart_server(self, seconds=0.05):
        """Let the server die, if it has not, and another one start at its address a while later."""
        self.kill_server()
        self.run(seconds)
        self.start_server()

    def kill_server(self):
        self.cores.pop(SERVER, None)
        self.log.close()

    def start_server(self):
        self.log = Disk(int((self.now + self.epoch) * 1000), self.history)
        self.logs = [self.log] if self.history else [*self.logs, self.log]
        self.server = Server(self.log, "secret", self.entropy, self.now, self.epoch, **self._options)
        self.cores[SERVER], self._reports[id(self.server)] = self.server, self.server_events
        self.wake(SERVER)

    def order(self, what, *values):
        """Call what the server takes from the person at its screen."""
        getattr(self.server, what)(*values, self.now)
        self.wake(SERVER)

    def person(self, name, host=None, key=None, **options):
        """Put somebody into the network, who has not logged in."""
        address = (host or "10.0.1.%d" % self._next(), 5000 + self._next())
        person = Person(self, name, address, Client(self.entropy, EPOCH, **options))
        self.cores[address], self._reports[id(person.client)] = person.client, person.heard
        self.people[key or name] = person
        return person

    def _next(self):
        self._count += 1
        return self._count

    def vanish(self, person):
        del self.cores[person.address]

    def come_again(self, person):
        """Let a process that had vanished go on: it slept."""
        self.cores[person.address] = person.client
        self.wake(person.address)

    def move(self, person):
        """Give somebody another address; what was on its way to the old one is lost."""
        self.vanish(person)
        person.address = ("10.0.2.%d" % self._next(), 6000)
        self.come_again(person)

    def wake(self, address):
        """Let a core do what is due, carry off what it sends, and see that it waits for something to come."""
        core = self.cores.get(address)
        if core is None:
            return
        try:
            core.tick(self.now)
        except Crash:
            self.kill_server()
            return
        at = core.deadline()
        assert at is None or at > self.now, "deadline %r is not after %r at %s" % (at, self.now, address)
        if at is not None and self._armed.get(address) != at:
            heapq.heappush(self._heap, (at, self._next(), address, None, None))
        self._armed[address] = at
        for item in core.outgoing():
            assert not isinstance(item, Fanout) or len(set(map(len, item.bodies))) == 1, "sizes differ"
            for data, target in item.datagrams() if isinstance(item, Fanout) else [(item.data, item.address)]:
                self.send(data, address, target)
        if id(core) in self._reports:
            self._reports[id(core)] += core.events()

    def send(self, data, source, target=SERVER):
        weather = self.weather
        assert len(data) <= 1232, "a datagram of %d bytes" % len(data)
        lost = self.draw() < weather.loss or source in self.cut or target in self.cut
        self.trace.append((self.now, source, target, data, lost))
        self.wire.append((source, target, data))
        if not lost:
            for _ in range(2 if self.draw() < weather.copies else 1):
                self.inject(data, source, target, weather.delay + weather.jitter * self.draw())

    def inject(self, data, source, target=SERVER, delay=0.0):
        """Let a datagram arrive, from whom it may be."""
        heapq.heappush(self._heap, (self.now + delay, self._next(), target, data, source))

    def run(self, seconds, until=None):
        """Let time pass; return whether ``until`` came true (then at once), or True where there is none."""
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            at, _, address, data, source = heapq.heappop(self._heap)
            if data is None and self._armed.get(address) != at:
                continue
            self.now = max(self.now, at)
            self._deliver(address, data, source)
            self.wake(address)
            if until is not None and until():
                return True
        self.now = max(self.now, end)
        return until is None or until()

    def _deliver(self, address, data, source):
        """Give a core what has arrived for it, as a loop does before its turn: with all that stands next."""
        core = self.cores.get(address)
        while data is not None and core is not None:
            core.receive(data, source, self.now)
            data = None
            if self._heap:
                at, _, target, follows, _ = self._heap[0]
                if follows is not None and target == address and at <= self.now + 0.0002:
                    _, _, _, data, source = heapq.heappop(self._heap)

    def sleep(self, seconds):
        """Let the clock go on while no core runs, as when the machine sleeps."""
        self.now += seconds

    def trace_text(self):
        return "\n".join(
            "%10.4f %s -> %s %s, %d bytes%s"
            % (at, source, target, TYPE_NAMES.get(data[1] if data[1:] else 0, "?"), len(data), ", lost" * lost)
            for at, source, target, data, lost in self.trace
        )


class Peer(Core):
    """An address in the simulated network at which nothing happens by itself."""

    def __init__(self, network, name, address):
        super().__init__(EPOCH)
        self.network, self.name, self.address, self.inbox = network, name, address, []
        network.cores[address] = self

    def receive(self, datagram, address, now):
        self.inbox.append(datagram)

    def tick(self, now):
        """Do nothing."""


class Insider(Peer):
    """Somebody who may know the password and writes every datagram by hand."""

    def __init__(self, network, name, instance=bytes(16), host="10.0.3.1", voucher=bytes(16)):
        super().__init__(network, name, (host, 7000 + next(network.ports)))
        self.instance, self.voucher = instance, voucher
        self.session = self.welcome = None
        self.pace = 0.2  # Seconds that it waits for answers.

    def ask(self, data, seconds=None):
        """Send bytes, and return everything that comes meanwhile."""
        self.inbox.clear()
        self.network.send(data, self.address)
        self.network.run(seconds or self.pace)
        return list(self.inbox)

    def login_with(self, share=b"\x09" + bytes(31)):
        """Ask for a cookie; return a LOGIN with it."""
        cookie = self.offer().cookie
        return encode_unsealed(Login(self.nonce, cookie, share))

    def offer(self):
        self.nonce = self.network.entropy(16)
        return decode_unsealed(self.ask(encode_unsealed(Hello(self.nonce)))[0])

    def begin(self, password="secret"):
        """Come as far as KEYS; return the answers to LOGIN."""
        cookie = self.offer().cookie
        exchange = Exchange(password_bytes(password), self.nonce + cookie, self.network.entropy(32))
        self.login = encode_unsealed(Login(self.nonce, cookie, exchange.share))
        answers = self.ask(self.login)
        if answers and answers[0][1] == Keys.code:
            keys = decode(answers[0][1], answers[0][14:-16])
            key = exchange.key(keys.share, answers[0][2:6], server=False)
            self.session = Session(answers[0][2:6], key, server=False)
        return answers

    def prove(self, **proof):
        """Come as far as PROOF; return the answers to it."""
        self.begin()
        shown = self.session.show(self.voucher)
        usual = Proof(1, self.instance, shown, cursor=0, entry_time=0, oldest=1, earlier=0, name=self.name)
        return self.tell(replace(usual, **proof))

    def enter(self, **proof):
        """Log in; return self."""
        self.welcome = next(message for message in self.prove(**proof) if isinstance(message, Welcome))
        self.keys, self.voucher = {self.welcome.key_id: self.welcome.key}, self.welcome.voucher
        self.inbox.clear()
        return self

    def tell(self, message):
        """Seal and send a message, and return the messages that come meanwhile."""
        return [self.session.open(data) for data in self.ask(self.session.seal(message))]

    def received(self):
        """Return the messages that came since the last question."""
        return [self.session.open(data) for data in self.inbox]

    def sync(self, cursor=0, *messages):
        return self.tell(Sync(cursor, self.welcome.key_id, 0, 16, messages))

    def readable(self, message):
        """Return the entries that it can read in a message."""
        if isinstance(message, Entries):
            self.keys[message.key_id] = message.key
            return decode_batch(message.batch)[1]
        if isinstance(message, Room) and message.key_id in self.keys:
            return decode_batch(xor_stream(self.keys[message.key_id], message.nonce, message.sealed))[1]
        return []


class Original(Peer):
    """Somebody with the original program: an address and plain text, nothing else."""

    def __init__(self, network, name, host="10.0.4.1"):
        super().__init__(network, name, (host, 8000 + len(network.cores)))

    def login(self, password="secret"):
        return self.says("LOGIN %s %s" % (self.name, password))

    def says(self, text):
        """Send a text, or bytes; return the texts that come meanwhile."""
        data = text if isinstance(text, bytes) else text.encode()
        self.network.inject(data, self.address)
        self.network.run(0.2)
        return self.heard()

    def heard(self):
        """Return the texts that came since the last question."""
        inbox, self.inbox = self.inbox, []
        return [data.decode() for data in inbox]


def decode_unsealed(data):
    return decode(data[1], data[2:])


def text_entry(text, number=1, author=b"a" * 8, name="ann", at=1000, **fields):
    return Entry(chat.TEXT, at, author, number, name, text=text, **fields)


def record(entry, audience=None):
    return Record(encode_entry(entry), entry.time, entry.author, entry.number, audience and b"".join(audience))


def part(number, text, kind=chat.TEXT | chat.FIRST | chat.LAST, to=b""):
    return Submission(number, kind, to, text.encode())


def temporary_folder(test):
    """Return the path of a folder that goes with the test."""
    folder = tempfile.TemporaryDirectory()
    test.addCleanup(folder.cleanup)
    return folder.name


def numbered(count, first=0, text="message %d"):
    return [text % number for number in range(first, first + count)]


def transcript_of(events):
    """Return the screen model that has been shown these events."""
    transcript = chat.Transcript()
    for event in events:
        transcript.apply(event)
    return transcript


def queue_of(server):
    """Return the entries of the raised hands in what a server holds, in order."""
    holds = chat.Standing((number, decode_entry(record.data)) for number, record in server.standing.items())
    return [entry for _, _, entry in holds.hands.values()]


class RoomCase(unittest.TestCase):
    """A test in a simulated room, with assertions in the words of the people in it."""

    USUAL = {}  # What rooms are made with.

    def room(self, *names, seed=1, weather=None, earlier=50, **server):
        """Make a room and return the people in it; its server ``remembers`` in a file."""
        server = {**self.USUAL, **server}
        history = os.path.join(temporary_folder(self), "room.db") if server.pop("remembers", False) else ""
        self.network = network = Network(seed, weather, history, **server)
        self.addCleanup(lambda: network.log.close())
        self.server = network.server
        people = [self.arrive(name, earlier=earlier) for name in names]
        self.run_for(0.5)
        return people

    def insider(self, *names, **options):
        """Make a room; return a member in it whose datagrams are written by hand."""
        self.room(*names, **options)
        return Insider(self.network, "carol").enter()

    def stranger(self, *names, **options):
        """Make a room; return somebody outside."""
        self.room(*names, **options)
        return Insider(self.network, "eve")

    def come(self, name, password="secret", seconds=10, places=(SERVER,), **options):
        """Let somebody try to log in, and wait for the result."""
        person = self.network.person(name, **options)
        person.login(password, places=places)
        self.network.run(seconds, lambda: person.connected() or person.all(LoginFailed))
        return person

    def arrive(self, name, seconds=60, **options):
        """Let somebody log in, and wait until it is in the room."""
        person = self.come(name, seconds=seconds, **options)
        self.assertTrue(person.connected(), "%s did not get in: %s" % (name, person.heard))
        return person

    def someone(self, name):
        return self.network.people[name]

    def run_for(self, seconds):
        self.network.run(seconds)

    def say(self, name, text, seconds=1.0, **how):
        self.someone(name).say(text, seconds=seconds, **how)

    def say_all(self, name, texts, seconds=1.0):
        """Let somebody say one text after the other, and wait so long after each."""
        for text in texts:
            self.say(name, text, seconds)

    def inject(self, source, target, *datagrams, seconds=1.0):
        for data in datagrams:
            self.network.inject(data, source, target)
        self.run_for(seconds)

    def order(self, what, *values, seconds=1.0):
        self.network.order(what, *values)
        self.network.run(seconds)

    announce = functools.partialmethod(order, "say")
    kick = functools.partialmethod(order, "kick")
    close = functools.partialmethod(order, "close")

    @contextlib.contextmanager
    def cut_off(self, place=SERVER):
        """Nothing gets to a person, or an address, meanwhile, or from there."""
        self.network.cut.add(getattr(place, "address", place))
        yield
        self.network.cut.clear()

    def members(self):
        """Return what the server's own screen shows of the members, by name."""
        self.network.server.report()
        report = [event for event in self.network.server.events() if isinstance(event, ServerReport)][-1]
        return {row.name: row for row in report.members}

    def addresses(self):
        return {name: row.address for name, row in self.members().items()}

    def entries(self):
        """Return the entries that the log still holds."""
        log = self.network.log
        return [decode_entry(record.data) for _, record in log.records(log.oldest, log.head)]

    def sent(self):
        """Return the kinds of the datagrams sent since the last question, and how many there were of each."""
        sent = collections.Counter(TYPE_NAMES[data[1]] for _, _, data in self.network.wire)
        del self.network.wire[:]
        return sent

    def assertHeard(self, name, *texts):
        """Somebody was shown exactly these texts of others, in this order."""
        self.assertEqual(list(texts), self.someone(name).texts(), "what %s heard" % name)

    def assertSent(self, name, count):
        """All of somebody's texts are confirmed, each once, in order."""
        numbers = [event.number for event in self.someone(name).all(RECEIPT)]
        self.assertEqual(list(range(1, count + 1)), numbers, "what %s has sent" % name)

    def assertRefused(self, person, code):
        self.assertEqual([code], [event.code for event in person.all(LoginFailed)])

    def assertSawLeave(self, name, other, why):
        left = [(event.entry.name, event.entry.text) for event in self.someone(name).all(WENT)]
        self.assertIn((other, why), left)

    @contextlib.contextmanager
    def assertDropped(self, reason, core=None):
        """What happens meanwhile is counted as dropped for that reason, and has no other effect."""
        core = core or self.network.server
        before, head = core.dropped.get(reason, 0), self.network.log.head
        yield
        self.assertGreater(core.dropped.get(reason, 0), before, "dropped: %s" % dict(core.dropped))
        self.assertEqual(head, self.network.log.head, "something entered the log")

    @contextlib.contextmanager
    def assertNobodyNotices(self):
        """What happens meanwhile changes nothing for anybody in the room."""
        before = [len(person.heard) for person in self.network.people.values()]
        head, members = self.network.log.head, self.addresses()
        yield
        for person, count in zip(self.network.people.values(), before):
            self.assertEqual([], [event for event in person.heard[count:] if not isinstance(event, Status)])
        self.assertEqual((head, members), (self.network.log.head, self.addresses()))

    def assertRoomWorks(self):
        """Everybody in the room hears everybody else."""
        members, asked = self.members(), "%%s asks at %r" % self.network.now
        people = [person for person in self.network.people.values() if person.connected() and person.name in members]
        self.assertEqual(sorted(members), sorted(person.name for person in people))
        for person in people:
            person.say(asked % person.name)
        self.run_for(5)
        for person in people:
            self.assertEqual([], person.waiting())
            others = sorted(asked % other.name for other in people if other is not person)
            self.assertEqual(others, sorted(person.texts()[len(person.texts()) - len(others) :]))


def weight(core):
    """Return how much a core holds: the lengths of all its tables, and of the tables in them.

    It follows references, so no private name is used.  The counts of drops do not weigh.
    """
    passed = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, random.Random, Network)
    seen, todo, total = {id(core.dropped)}, [core], 0
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, passed):
            continue
        seen.add(id(thing))
        if isinstance(thing, (dict, list, collections.deque)):
            total += len(thing)
        todo += gc.get_referents(thing)
    return total


# ======================================================================================================
# Text
# ======================================================================================================


class TextTest(unittest.TestCase):
    """Names have one spelling and no look-alikes, parts join to the text again, and what is shown cannot act."""

    def test_names_have_one_spelling(self):
        names = (
            "ann ANN bob-2 a.b_c Jörg İlker Ωμέγα Владимир 한글이름 田中さん 田中タロウ ー 々 नमस्ते ٣ x1 1x q\u0301uinn"
        )
        for name in [*names.split(), "n" * 32, "ñ" * 32]:
            self.assertEqual(unicodedata.normalize("NFKC", name), clean_name(name))
        spellings = {" ann ": "ann", "ａｎｎ": "ann", "ﬁn": "fin", "Jo\u0308rg": "Jörg", "Ⅳ": "IV", "x²": "x2"}
        self.assertEqual(spellings, {typed: clean_name(typed) for typed in spellings})

    def test_names_that_are_refused(self):
        refused = ["a%sb" % character for character in " \t\u00a0/@:\x1b\u202e\u200d\u200b"]
        refused += ["_a", ".a", "-a", "\u0301a", "a\u3164", "a\u115f", "a\ufe0f", "a\u034f", "\ud800", "a\x00", "😀"]
        for name in [*refused, "", "  ", "n" * 33, "田" * 22]:
            with self.subTest(name=name), self.assertRaises(UsageError) as caught:
                clean_name(name)
            self.assertRegex(str(caught.exception), r"^A name .*\.$")

    def test_a_name_cannot_be_spelt_with_look_alike_letters(self):
        # Two with a Cyrillic letter, one with a Greek, one with a Han.
        names = {"t\u0435acher": "\u0435 is Cyrillic", "te\u0430cher": "\u0430 is Cyrillic"}
        for name, which in {**names, "teacher\u03bf": "r is Latin, \u03bf is Greek", "田a": "田 is East asian"}.items():
            with self.subTest(name=name), self.assertRaisesRegex(UsageError, "one script; here .*" + which):
                clean_name(name)

    def test_names_that_nobody_can_tell_apart_are_the_same(self):
        same = {"ann": "ANN", "straße": "STRASSE", "ﬁn": "FIN", "ａnn": "ann", "Ǆ": "ǆ", "ς": "σ", "İnci": "inci"}
        for one, other in {**same, "q\u0300q\u036f": "qq"}.items():  # Marks that NFKC does not compose.
            self.assertEqual(name_key(one), name_key(other))
        others = [("a", "a\u02ff"), ("a", "a\u0371"), ("ann", "anne")]
        for one, other in [*others, ("a.b", "ab"), ("a-b", "a_b"), ("é", "e"), ("ılgın", "ilgin")]:
            self.assertNotEqual(name_key(one), name_key(other))

    def test_parts_are_cut_between_characters_and_join_to_the_text(self):
        for letter in ["a", "é", "田", "😀", "ae\u0301田😀"]:
            text = (letter * TEXT_BYTES_MAX).encode()[:TEXT_BYTES_MAX].decode("utf-8", "ignore")
            parts = split_parts(text)
            self.assertEqual(text, "".join(part.decode() for part in parts))
            self.assertLessEqual(len(parts), RUN_PARTS_MAX)
            self.assertTrue(all(0 < len(part) <= PART_BYTES_MAX for part in parts))

    def test_texts_are_refused_by_their_size_and_never_cut_but_for_what_cannot_be_encoded(self):
        self.assertEqual("a" * TEXT_BYTES_MAX, clean_text("a" * TEXT_BYTES_MAX))
        for text in ("é" * 8193, "", " ", "\n\t"):
            with self.assertRaisesRegex(UsageError, "16,386 bytes; at most 16,384" if "é" in text else "nothing to"):
                clean_text(text)
        texts = {"a\r\nb\rc": "a\nb\nc", "a\ud800b": "a?b", "  indented\n": "  indented\n"}
        self.assertEqual(texts, {text: clean_text(text) for text in texts})

    def test_text_from_strangers_cannot_steer_a_terminal(self):
        controls = ["\x1b[2J", "\x9b2J", "\x07", "\r", "\x08", "\x7f", "\x85"]
        for text in [*controls, "\u202e", "\u2066", "\u200e", "\u2028", "\ufeff"]:
            shown = display_text("a%sb" % text, " ")
            self.assertTrue(shown.isprintable(), ascii(shown))
            self.assertTrue(shown.startswith("a") and shown.endswith("b") and len(shown) > 2, ascii(shown))
        shown = display_text("".join(map(chr, range(sys.maxunicode + 1))))
        unprintable = {character for character in shown if not character.isprintable()}
        self.assertEqual({"\n", "\u200c", "\u200d"}, {c for c in unprintable if unicodedata.category(c) != "Zs"})

    def test_text_stays_readable_when_it_is_made_safe(self):
        family = "👩\u200d👩\u200d👧 ❤\ufe0f नमस्\u200dते é 田"
        self.assertEqual(family, display_text(family))
        self.assertEqual("a\nb    c", display_text("a\nb\tc"))
        self.assertEqual("a | b", display_text("a\nb", " | "))
        self.assertEqual("␛[31m \\u{202e}␡\\u{0080}", display_text("\x1b[31m \u202e\x7f\x80"))

    def test_width_is_counted_in_terminal_cells(self):
        widths = {"": 0, "abc": 3, "é": 1, "e\u0301": 1, "田中": 4, "한글": 4, "ｱ": 1, "😀": 2, "a\u200db": 2}
        widths.update({"q\u0300": 1, "a\u20dd": 1, "한\u302e": 2})
        self.assertEqual(widths, {text: text_width(text) for text in widths})


# ======================================================================================================
# Wire format
# ======================================================================================================

MESSAGES = [
    Hello(b"n" * 16),
    Offer(b"n" * 16, b"c" * 20, b"s" * 8, 3, 1000, 1, 0, "Röom"),
    Later(b"n" * 16, TRY_LATER),
    Login(b"n" * 16, b"c" * 20, b"y" * 32),
    Keys(b"n" * 16, b"y" * 32),
    Proof(7, b"i" * 16, b"p" * 16, 2**40, 2**41, 9, 50, "ann"),
    Welcome(b"m" * 8, b"v" * 16, 12, 2**41, 1, 40, 7, 3, b"k" * 32, 5, "ann", "Room"),
    Refused(USERNAME_TAKEN, REFUSALS[USERNAME_TAKEN]),
    Sync(5, 1, 17, 16),
    Sync(5, 1, 17, 8, (part(1, "hé"), part(2, "you", PRIVATE | FIRST, b"t" * 8), part(3, "me", ACTION | LAST))),
    Entries(9, 4, 5, ASK, 2, b"k" * 32, b"a batch"),
    Room(2, b"n" * 8, b"sealed"),
    Pull(EARLIER, 12, 90, 50, 16),
    Page(STANDING, ASK, 12, b"a batch"),
    Bye(KICKED),
    Challenge(b"address."),
    Response(b"address."),
]
ENTRIES = [
    text_entry("hello"),
    text_entry("part", 2, first=True, last=False),
    text_entry("part", 3, first=False, last=True),
    Entry(ACTION, 1000, b"a" * 8, 4, "ann", text="wäves"),
    Entry(PRIVATE, 1000, b"a" * 8, 5, "ann", b"b" * 8, "bob", "psst"),
    Entry(JOINED, 1000, b"a" * 8, name="ann"),
    Entry(LEFT, 1000, b"a" * 8, name="ann", text="left"),
    Entry(NOTICE, 1000, text="dinner"),
    Entry(STARTED, 1000, text="open"),
    Entry(REFUSED, 1000, number=6),
    Entry(chat.HAND, 1000, b"a" * 8, 7, "ann", text="why?"),
    *(Entry(kind, 1000, b"a" * 8, name="ann") for kind in (chat.LOWERED, chat.CALLED, chat.MUTED, chat.LIFTED)),
    Entry(SKIP, 1000, count=12, why=HIDDEN),
]


def damaged(data):
    """Yield the data cut at every length, and with every single bit turned over."""
    for size in range(len(data)):
        yield data[:size]
    for position in range(8 * len(data)):
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        yield bytes(changed)


class WireTest(unittest.TestCase):
    """What is encoded decodes to the same, and what cannot be meant raises MalformedDatagram."""

    def test_every_entry_comes_back_and_there_is_a_sample_of_every_kind(self):
        self.assertEqual(set(chat.MESSAGE_TYPES.values()), set(map(type, MESSAGES)))
        self.assertEqual(set(range(chat.TEXT, chat.LIFTED + 1)), {entry.kind for entry in ENTRIES})
        for entry in ENTRIES:
            data = encode_entry(entry)
            self.assertEqual(entry, decode_entry(data))
            if entry.kind in (chat.TEXT, ACTION, PRIVATE):  # There is a fast way for these.
                names = entry.to + encode_string(entry.name) + (encode_string(entry.to_name) if entry.to else b"")
                fields = (entry.time, entry.author, entry.number, names, entry.text.encode())
                self.assertEqual(data, encode_part(data[2], *fields))
        for values, named in ((b"nr", {}), ((), {"reason": "", "why": ""})):
            with self.assertRaisesRegex(TypeError, "Bye has the fields reason"):
                Bye(*values, **named)
        data = b"".join(map(encode_entry, ENTRIES))
        head, entries = decode_batch(encode_batch(100, 7, data) + bytes(9))
        self.assertEqual((100, list(zip(range(7, 99), ENTRIES))), (head, entries))

    def test_two_versions_that_say_they_are_the_same_write_the_same_bytes(self):
        self.assertEqual(
            "001ec1" + "00000000000003e8" + "6161616161616161" + "00000001" + "03616e6e" + "68656c6c6f",
            encode_entry(text_entry("hello")).hex(),
        )
        written = [b"".join(map(encode, MESSAGES)), b"".join(map(encode_entry, ENTRIES))]
        digests = [hashlib.blake2b(data, digest_size=8).hexdigest() for data in written]
        self.assertEqual(["4179588c82e5ddf7", "14ae13718032a8c3"], digests)

    def test_what_is_cut_is_refused_or_says_less(self):
        for message, data in zip(MESSAGES, map(encode, MESSAGES)):
            for size in range(len(data)):
                with contextlib.suppress(MalformedDatagram):
                    less = encode(decode(message.code, data[:size]))
                    self.assertEqual(data[:size].rstrip(b"\0"), less.rstrip(b"\0"), message)
        with self.assertRaises(MalformedDatagram):
            decode_entry(b"\0\0")

    def test_what_a_newer_server_writes_is_stepped_over(self):
        newer = bytes((0x3E | chat.FIRST | chat.LAST,)) + (2**63 + 1234).to_bytes(8, "big") + b"whatever"
        joined = Entry(chat.JOINED, 1000, b"a" * 8, name="ann")
        longer = encode_entry(joined)[2:] + b"more"
        data = b"".join(len(each).to_bytes(2, "big") + each for each in (newer, longer))
        head, entries = decode_batch(encode_batch(9, 3, data))
        self.assertEqual([(3, Entry(SKIP, 1234, why=HIDDEN)), (4, joined)], entries)

    def test_blanks_cannot_lie_about_their_count(self):
        for head, first, count in [(5, 1, 6), (5, 1, 0), (5, 6, 1), (5, 5, 2), (2**64 - 1, 1, 0), (0, 0, 2**64 - 1)]:
            data = encode_entry(Entry(SKIP, 1, count=count, why=HIDDEN))
            with self.subTest(head=head, first=first, count=count), self.assertRaises(MalformedDatagram):
                decode_batch(encode_batch(head, first, data))

    def test_parts_are_refused_by_kind_number_and_size(self):
        kinds = [part(1, "a", kind) for kind in (NOTICE, SKIP, 0)]
        for wrong in [part(0, "a"), part(1, ""), part(1, "a" * 961), part(1, "a")._replace(text=b"\xff"), *kinds]:
            with self.subTest(part=wrong), self.assertRaises(MalformedDatagram):
                decode(Sync.code, encode(Sync(1, 1, 1, 16, (wrong,))))

    def test_what_follows_a_message_is_zeros(self):
        self.assertEqual(Bye(KICKED), decode(Bye.code, encode(Bye(KICKED)) + bytes(5)))
        for code, body, reason in ((Bye.code, encode(Bye(KICKED)) + b"\1", ""), (99, b"", "unknown type")):
            with self.assertRaisesRegex(MalformedDatagram, reason):
                decode(code, body)

    def test_every_entry_fits_a_datagram_and_strings_are_cut_between_characters(self):
        self.assertEqual(bytes((64,)) + "é".encode() * 32, encode_string("é" * 40))
        self.assertEqual(bytes((63,)) + "田".encode() * 21, encode_string("田" * 22))
        self.assertEqual(("é" * 32, 65), chat.decode_string(encode_string("é" * 40), 0))
        name = "田" * 21 + "a"
        largest = encode_entry(Entry(PRIVATE, 1, b"a" * 8, 1, name, b"b" * 8, name, "x" * PART_BYTES_MAX))
        self.assertLessEqual(len(largest), BATCH_BYTES_MAX)
        groups = group_submissions([part(number, "x" * PART_BYTES_MAX) for number in range(1, 33)])
        self.assertLessEqual(max(len(encode(Sync(1, 1, 1, 16, group))) for group in groups) + 30, DATAGRAM_BYTES_MAX)


# ======================================================================================================
# Password login
# ======================================================================================================

# draft-irtf-cfrg-cpace (2026-04), suite CPACE-X25519-SHA512, initiator and responder.
CPACE = {
    "PRS": "50617373776f7264",
    "CI": "0b415f696e69746961746f720b425f726573706f6e646572",
    "sid": "7e4b4791d6a8ef019b936c79fb7f2c57",
    "g": "d04bf6d41f6a289632a2e929fa29bebd51092512a7829fdde7d314b62f05a73f",
    "ya": "21b4f4bd9e64ed355c3eb676a28ebedaf6d8f17bdc365995b319097153044080",
    "ADa": "414461",
    "Ya": "1d13c89278cdadd826f6d8d7f887701430f8380ddc17611cdd6dc989ce0c9f32",
    "yb": "848b0779ff415f0af4ea14df9dd1d3c29ac41d836c7808896c4eba19c51ac40a",
    "ADb": "414462",
    "Yb": "248cccf6d5cdc3646f0ad593f9e6cef4e69d4945f8372e623512ecea32185623",
    "K": "5b067effbdc0b2a0e1d907b21ebb25cfedb96a852179a847c37e43ee71322c6b",
    "ISK_IR": "6e19b875f7a561d6b3ca3dbb9ef42ac55de3e717881018204b8922b4d5e53bb2"
    "aa82c300bea7b65d2b671da71922ddf6472301b79bc270adfa8bf413285f2263",
}
LOW_ORDER_SCALAR = "af46e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449aff"
LOW_ORDER = {  # u-coordinate: result, None for the all-zero one, which must abort the login.
    "0000000000000000000000000000000000000000000000000000000000000000": None,
    "0100000000000000000000000000000000000000000000000000000000000000": None,
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f": None,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800": None,
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157": None,
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f": None,
    "daffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff": "d8e2c776bbacd510d09fd9278b7edcd25fc5ae9adfba3b6e040e8d3b71b21806",  # noqa: E501
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f": None,
    "dbffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff": "c85c655ebe8be44ba9c0ffde69f2fe10194458d137f09bbff725ce58803cdb38",  # noqa: E501
    "d9ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff": "db64dafa9b8fdd136914e61461935fe92aa372cb056314e1231bc4ec12417456",  # noqa: E501
    "cdeb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b880": "e062dcd5376d58297be2618c7498f55baa07d7e03184e8aada20bca28888bf7a",  # noqa: E501
    "4c9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f11d7": "993c6ad11c4c29da9a56f7691fd0ff8d732e49de6250b6c2e80003ff4629a175",  # noqa: E501
}
RFC_7748 = [  # Section 5.2: scalar, u-coordinate, result.
    (
        "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
        "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
        "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
    ),
    (
        "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
        "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
        "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
    ),
    ("09" + "00" * 31, "09" + "00" * 31, "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"),
]


class LoginTest(unittest.TestCase):
    """The key exchange gives the published results, and the same key to both sides only with the same password."""

    def test_multiplication_as_in_rfc_7748(self):
        for scalar, point, result in RFC_7748:
            self.assertEqual(result, x25519(bytes.fromhex(scalar), bytes.fromhex(point)).hex())

    def test_session_key_as_published(self):
        v = {name: bytes.fromhex(value) for name, value in CPACE.items()}
        generator = cpace_generator(v["PRS"], v["CI"], v["sid"])
        self.assertEqual(v["g"], generator)
        self.assertEqual([v["Ya"], v["Yb"]], [x25519(v["ya"], generator), x25519(v["yb"], generator)])
        self.assertEqual(v["K"], x25519(v["ya"], v["Yb"]))
        transcript = v["Ya"], v["ADa"], v["Yb"], v["ADb"]
        for secret, share in ((v["ya"], v["Yb"]), (v["yb"], v["Ya"])):
            self.assertEqual(v["ISK_IR"], cpace_key(secret, share, v["sid"], *transcript))

    def test_a_low_order_share_aborts_the_login(self):
        for point, result in LOW_ORDER.items():
            found = x25519(bytes.fromhex(LOW_ORDER_SCALAR), bytes.fromhex(point))
            self.assertEqual(result or "00" * 32, found.hex())
            with self.subTest(point=point), contextlib.ExitStack() as stack:
                if result is None:
                    stack.enter_context(self.assertRaisesRegex(MalformedDatagram, "low-order"))
                cpace_key(bytes.fromhex(LOW_ORDER_SCALAR), bytes.fromhex(point), b"sid", b"transcript")

    def test_both_sides_get_the_same_key_only_with_the_same_password_nonces_and_session(self):
        client = Exchange(b"secret", b"sid", b"1" * 32)
        right = (b"secret", b"sid", b"name")
        wrong = [(b"Secret", *right[1:]), (b"", *right[1:]), (b"secret", b"dis", b"name"), (*right[:2], b"x")]
        for given in (right, *wrong):
            server = Exchange(*given[:2], b"2" * 32)
            keys = client.key(server.share, b"name", server=False), server.key(client.share, given[2], server=True)
            self.assertEqual(given == right, keys[0] == keys[1], given)

    def test_a_man_in_the_middle_gets_no_key(self):
        words = (b"right", b"right", b"guess")
        ann, server, eve = (Exchange(word, b"sid", bytes((number,)) * 32) for number, word in enumerate(words))
        for one, other in ((ann, eve), (eve, server)):
            self.assertNotEqual(one.key(other.share, b"1234", server=False), other.key(one.share, b"1234", server=True))

    def test_one_password_has_one_spelling(self):
        self.assertEqual([b"J\xc3\xb6rg"] * 2, [password_bytes("Jo\u0308rg"), password_bytes("J\u00f6rg")])
        self.assertEqual("\ufb01".encode(), password_bytes("\ufb01"), "what looks alike stays different")
        self.assertEqual(b"\xff", password_bytes("\udcff"))  # As os.fsdecode gives it for a file that is no UTF-8.

    def test_two_versions_that_say_they_are_the_same_are(self):
        """Who changes one of these bytes has made another protocol: raise the version, and then this."""
        exchange, share = Exchange(b"secret", b"n" * 16 + b"c" * 20, bytes(range(32))), b"\x09" + bytes(31)
        keys = exchange.key(share, b"sess", server=False), exchange.key(share, b"sess", server=True)
        self.assertEqual("9377cb5b24d423463ad671f71b10c1dc728a3020217b1ee14c08b320e8a4e04c", exchange.share.hex())
        self.assertEqual(["0dcb2116398aaa46", "6017a407fdb54a07"], [key[:8].hex() for key in keys])
        self.assertEqual("65abb3e17bf58b67", member_id(b"i" * 16).hex())
        points = [cpace_generator(b"x" * size, b"ci", b"sid")[:8].hex() for size in (127, 128)]
        self.assertEqual(["9ff839a67951be5d", "2a2ae58a5aa5776d"], points, "a longer password has two bytes of length")


class DoorTest(unittest.TestCase):
    """Logins that are not proven are counted for each address, in tables that have an end."""

    def setUp(self):
        self.server = Server(Log(0), "secret", os.urandom, 0.0, 0.0)

    def login(self, address, now):
        """Return a LOGIN with the cookie that somebody is given at that address."""
        self.server.receive(encode_unsealed(Hello(b"n" * 16)), address, now)
        [offer] = self.server.outgoing()
        return Login(b"n" * 16, decode_unsealed(offer.data).cookie, b"\x09" + bytes(31))

    def asks(self, host, number=0, now=0.0):
        """Return whether a LOGIN from that machine is taken."""
        address = (host, number, 0, 0)
        self.server.receive(encode_unsealed(self.login(address, now)), address, now)
        return not self.server.outgoing()

    def test_ipv6_counts_by_network_link_local_by_address_and_ipv4_within_it_as_ipv4(self):
        same = (
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::1"),
            ("::ffff:10.0.0.1", "10.0.0.1", "::ffff:a00:1"),
            ("::ffff:10.0.0.2", "10.0.0.2"),
            ("fe80::1", "fe80::1%eth0"),
            ("fe80::2%eth0",),
        )
        found = [{chat.address_place(host) for host in hosts} for hosts in same]
        self.assertEqual([1] * 5, list(map(len, found)))
        self.assertEqual(5, len(set().union(*found)))
        written = [chat.address_text((host, 5)) for host in ("10.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0")]
        self.assertEqual(["10.0.0.1:5", "10.0.0.1:5", "[fe80::1%eth0]:5"], written)

    def test_what_a_guesser_in_one_ipv6_network_has_had_is_remembered_of_so_many_addresses(self):
        with mock.patch.object(chat, "ADDRESSES_MAX", 20):
            answers = [self.asks("2001:db8:0:1::%x" % number) for number in range(LOGIN_BURST)]
            for others in (0, 19, 5, 25):
                for number in range(others):
                    self.asks("2001:db8:%x:%x::1" % (others, number))
                    self.server.tick(0.0)
                    self.server.outgoing()
                answers.append(self.asks("2001:db8:0:1:ffff::1"))
        self.assertEqual([True] * LOGIN_BURST + [False, False, False, True], answers)

    def test_a_begun_login_has_an_id_of_its_own_and_an_end(self):
        ids = set()
        for host in ("10.0.0.1", "10.0.0.2"):
            self.assertTrue(self.asks(host))
            self.server.tick(0.0)
            [keys] = self.server.outgoing()
            ids.add(keys.data[2:6])
        self.assertEqual(2, len(ids))
        for now, abandoned in ((HALF_OPEN_SECONDS - 0.1, []), (HALF_OPEN_SECONDS + 1, ["abandoned"] * 2)):
            self.server.tick(now)
            self.assertEqual(abandoned, [event.what for event in self.server.events()])

    def test_a_cookie_is_of_one_address_one_nonce_and_ten_seconds(self):
        ann, bob = ("10.0.0.1", 5), ("10.0.0.1", 6)
        login = self.login(ann, 100)
        for other, address, now, dropped in (
            (login, ann, 100 + chat.COOKIE_SECONDS, {}),
            (login, bob, 100, {"cookie": 1}),
            (replace(login, nonce=b"N" * 16), ann, 100, {"cookie": 2}),
            (login, ann, 101 + chat.COOKIE_SECONDS, {"cookie": 2, "old cookie": 1}),
            (login, ann, 99, {"cookie": 2, "old cookie": 2}),
        ):
            self.server.receive(encode_unsealed(other), address, now)
            self.assertEqual(dropped, self.server.dropped)


# ======================================================================================================
# Sealed datagrams
# ======================================================================================================


class SealingTest(unittest.TestCase):
    """What one side seals the other opens, once, unchanged; nothing else opens."""

    def setUp(self):
        self.client, self.server = Session(b"name", b"k" * 64, server=False), Session(b"name", b"k" * 64, server=True)

    def assertDoesNotOpen(self, session, datagram, reason):
        with self.assertRaisesRegex(MalformedDatagram, reason):
            session.open(datagram)

    def test_every_message_opens_on_the_other_side(self):
        for message in [message for message in MESSAGES if not isinstance(message, Room)]:
            for one, other in [(self.client, self.server), (self.server, self.client)]:
                self.assertEqual(message, other.open(one.seal(message)))

    def test_sealed_bytes_are_the_same_in_every_version_that_says_it_is_this_one(self):
        server, client = (Session(b"sess", bytes(range(64)), server=side) for side in (True, False))
        room = RoomKey(7, bytes(range(32)))
        [(shared, _)] = Fanout([room.seal(b"a batch")], [("address", server)]).datagrams()
        self.assertEqual(
            [
                "fa0e7365737300000000000000011ae250e661bc630a79c0ebc6bc04fef646e350f0ac5b7d",
                "fa0b736573730000000000000001000000070000000000000001e83b250508c7729c02c8bdeb6d4d46952fe3a05e856a96",
            ],
            [client.seal(Bye(KICKED)).hex(), shared.hex()],
        )
        self.assertEqual("10a10f06754494590c199f555ab4289f", server.seal(Keys(b"n" * 16, b"Y" * 32))[-16:].hex())

    def test_every_datagram_has_its_own_keystream(self):
        sealed = [side.seal(Bye(KICKED)) for side in (self.client, self.server) for _ in range(50)]
        self.assertEqual(100, len({datagram[14:-16] for datagram in sealed}))
        room = RoomKey(3, b"r" * 32)
        self.assertEqual(100, len({room.seal(b"a batch") for _ in range(100)}), "no nonce is used again")

    def test_a_recorded_datagram_cannot_be_replayed(self):
        recorded = [self.client.seal(Bye("%d" % number)) for number in range(5)]
        for datagram in recorded[::-1]:
            self.server.open(datagram)
        for datagram in recorded:
            self.assertDoesNotOpen(self.server, datagram, "replayed")

    def test_a_datagram_cannot_be_reflected_to_its_sender(self):
        self.assertDoesNotOpen(self.client, self.client.seal(Bye("1")), "forged")
        self.assertDoesNotOpen(self.server, self.server.seal(Bye("")), "forged")
        self.assertDoesNotOpen(self.server, Session(b"name", b"K" * 64, server=False).seal(Bye("1")), "forged")

    def test_a_damaged_datagram_does_not_open_and_leaves_no_trace(self):
        datagram = self.client.seal(Bye("1"))
        for data in damaged(datagram):
            self.assertDoesNotOpen(self.server, data, "forged|truncated")
        self.assertEqual(Bye("1"), self.server.open(datagram))

    def test_the_window_accepts_each_counter_once_if_it_is_not_too_old(self):
        for seed in range(20):
            draw = random.Random(seed).random
            window, seen, highest, at = ReplayWindow(), set(), 0, 1
            for _ in range(2000):
                at = max(1, at + int(draw() * 40) - 15 if draw() < 0.95 else at + int(draw() * 5000) - 2000)
                new = at > highest or (at not in seen and highest - at < REPLAY_WINDOW)
                raises = contextlib.nullcontext() if new else self.assertRaises(MalformedDatagram, msg="seed %d" % seed)
                with raises:
                    self.assertEqual(at > highest, window.accept(at), "seed %d" % seed)
                seen.add(at)
                highest = max(highest, at)
                self.assertEqual(highest, window.highest)

    def test_a_fan_out_is_every_body_for_every_member_and_opens_only_there(self):
        names, room = [b"%04d" % number for number in range(4)], RoomKey(3, b"r" * 32)
        sides = [[Session(name, name * 16, server=server) for server in (True, False)] for name in names]
        fanout = Fanout([room.seal(b"one"), room.seal(b"two")], [(server.id, server) for server, _ in sides])
        expected = [(client, *each) for _, client in sides for each in zip(fanout.bodies, (b"one", b"two"))]
        for (datagram, address), (client, body, batch) in zip(fanout.datagrams(), expected):
            self.assertEqual((client.id, body), (address, client.verify(datagram)))
            message = client.open(datagram)
            self.assertEqual(batch, xor_stream(b"r" * 32, message.nonce, message.sealed))
            for _, other in sides:
                self.assertDoesNotOpen(other, datagram, "replayed" if other is client else "forged")
        self.assertEqual([2] * 4, [server.sent for server, _ in sides], "no counter is left out: the window is small")


# ======================================================================================================
# Room log
# ======================================================================================================


@contextlib.contextmanager
def files_of_at_most(size):
    """Let the system refuse, meanwhile, to make a file larger than that: what a full disk looks like."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def as_nobody():
    """Give up the rights of root meanwhile, who may write to read-only files."""
    before = os.geteuid()
    os.seteuid(before or 65534)
    try:
        yield
    finally:
        os.seteuid(before)


class LogContract:
    """What every log promises: dense numbers, batches that fit, blanks for what is hidden."""

    def setUp(self):
        self.log = self.make_log(began=1000)

    def append(self, *entries, to=None):
        self.log.append([record(entry, to) for entry in entries])
        self.log.commit()

    def fill(self, count, at=1000, text="x"):
        """Append so many texts, numbered as they stand in the log; ``at`` may be a list of times."""
        times = at if isinstance(at, list) else [at] * count
        self.append(*[text_entry(text, number, at=at) for number, at in enumerate(times, self.log.head + 1)])

    def run_of(self, count, number=1, at=1000):
        marks = [(position == 0, position == count - 1) for position in range(count)]
        return [text_entry("part", number + n, at=at, first=first, last=last) for n, (first, last) in enumerate(marks)]

    def read(self, after=0, until=None, reader=None):
        """Return the (number, entry) pairs of the batches, having seen that they are dense and fit a datagram."""
        found, next_number = [], after + 1
        for first, last, data in batches(self.log, after, self.log.head if until is None else until, reader):
            self.assertEqual(next_number, first)
            self.assertLessEqual(len(data), BATCH_BYTES_MAX)
            _, entries = decode_batch(encode_batch(self.log.head, first, data))
            self.assertEqual(first, entries[0][0])
            self.assertEqual(last, entries[-1][0] + entries[-1][1].count - 1)
            found += entries
            next_number = last + 1
        return found

    def test_entries_are_numbered_from_one_and_come_back(self):
        self.assertEqual((0, 1, 1000, 0), (self.log.head, self.log.oldest, self.log.began, self.log.start(50, 1)))
        self.assertEqual([], self.read())
        entries = [text_entry("text %d" % number, number) for number in range(1, 200)]
        self.append(*entries[:50])
        self.append(*entries[50:])
        self.assertEqual((199, 1), (self.log.head, self.log.oldest))
        self.assertEqual(list(enumerate(entries, 1)), self.read())
        self.assertEqual(list(enumerate(entries, 1))[9:20], self.read(9, 20))

    def test_batches_are_cut_by_size_and_by_count(self):
        self.fill(30, text="x" * 400)
        self.assertEqual([(1, 2), (3, 4)], [cut[:2] for cut in batches(self.log, 0, 30, None)][:2])
        self.assertEqual(30, len(self.read()))
        for more, batched in ((0, [(31, 33), (34, 34)]), (1, [(35, 36), (37, 38)])):
            entry = text_entry("")
            rest = BATCH_BYTES_MAX - 3 * len(encode_entry(entry))
            self.append(*[text_entry("x" * size, at=1000) for size in (rest + more - 20, 10, 10, 1)])
            self.assertEqual(batched, [cut[:2] for cut in batches(self.log, self.log.head - 4, self.log.head, None)])

    def test_what_is_private_is_blank_for_others(self):
        two = (b"a" * 8, b"b" * 8)
        for number, audience in enumerate((None, two, two, (b"c" * 8,), None, (b"d" * 8,)), 1):
            self.append(text_entry("x", number, at=1000 + number), to=audience)
        shapes = {b"a" * 8: [1, 2, 3, (4, 1), 5, (6, 1)], b"c" * 8: [1, (2, 2), 4, 5, (6, 1)]}
        shapes.update({None: [1, (2, 3), 5, (6, 1)], b"z" * 8: [1, (2, 3), 5, (6, 1)]})
        for reader, shape in shapes.items():
            found = self.read(reader=reader)
            seen = [(number, entry.count) if entry.kind == SKIP else number for number, entry in found]
            self.assertEqual(shape, seen)
            blanks = {(entry.why, entry.time - number - entry.count) for number, entry in found if entry.kind == SKIP}
            self.assertEqual({(HIDDEN, 999)}, blanks, "it has the time of its last entry")

    def test_the_highest_number_of_each_author_is_known_and_who_has_written_or_was_written_to(self):
        self.append(text_entry("x", 1), text_entry("x", 9, b"e" * 8), Entry(JOINED, 1, b"c" * 8, name="c"))
        self.append(text_entry("x", 2), to=(b"a" * 8, b"b" * 8))
        authors = [bytes((letter,)) * 8 for letter in b"abcde"]
        self.assertEqual([2, 0, 0, 0, 9], list(map(self.log.taken, authors)))
        here = [True, not isinstance(self, MemoryLogTest), True, False, True]
        self.assertEqual(here, list(map(self.log.knows, authors)))

    def test_a_reader_of_this_log_is_recognised(self):
        self.fill(2, [1001, 1002])
        for cursor in (0, 1, 2):
            self.assertTrue(self.log.agrees(cursor, self.log.time_at(cursor)))
        self.assertEqual([1000, 1001, 1002], [self.log.time_at(cursor) for cursor in (0, 1, 2)])
        for cursor, at in [(0, 0), (1, 1002), (2, 1001), (3, 1003), (2**63, 1001)]:
            self.assertFalse(self.log.agrees(cursor, at), (cursor, at))

    def test_a_newcomer_starts_before_the_last_messages(self):
        self.append(Entry(STARTED, 1, text="open"), Entry(JOINED, 1, b"a" * 8, name="ann"), text_entry("x", 1))
        self.append(*self.run_of(3, 2))
        self.append(Entry(PRIVATE, 1, b"a" * 8, 5, "ann", b"b" * 8, "bob", "psst"), to=(b"a" * 8, b"b" * 8))
        self.append(Entry(chat.ACTION, 1, b"a" * 8, 6, "ann", text="waves"))
        self.append(Entry(LEFT, 1, b"a" * 8, name="ann", text="left"))
        self.assertEqual([9, 7, 3, 2, 2], [self.log.start(earlier, self.log.head + 1) for earlier in (0, 1, 2, 3, 50)])


@mock.patch.object(chat, "LOG_ENTRIES_MIN", 10)
class MemoryLogTest(LogContract, unittest.TestCase):
    """The log in memory meets the contract, and keeps the newest entries only."""

    def make_log(self, began):
        return Log(began)

    def test_the_newest_entries_are_kept_and_the_gone_are_named(self):
        self.fill(30)
        self.fill(1, at=61_000)
        self.assertEqual(1, self.log.oldest, "young entries are kept however many")
        self.fill(9, at=62_000)
        self.assertEqual((40, 31), (self.log.head, self.log.oldest))
        (number, gone), (following, _) = self.read(until=31)
        self.assertEqual((1, SKIP, 30, TRIMMED, 31), (number, gone.kind, gone.count, gone.why, following))
        self.assertEqual([(11, 20)], [(number, entry.count) for number, entry in self.read(10, 30)])
        self.assertEqual([40, 35, 30, 30], [self.log.start(earlier, 41) for earlier in (0, 5, 10, 50)])
        self.assertEqual([True, True, False], [self.log.agrees(*of) for of in ((5, 1000), (30, 1000), (5, 999))])

    def test_the_log_is_bounded_in_bytes(self):
        with mock.patch.object(chat, "LOG_BYTES_MAX", 20_000):
            self.fill(100, text="x" * 900)
        kept = sum(len(record.data) + RECORD_BYTES for _, record in self.log.records(self.log.oldest, self.log.head))
        self.assertTrue(18_000 < kept <= 20_000, kept)

    def test_who_has_nothing_left_in_the_log_has_sent_nothing(self):
        self.append(text_entry("x", 1, b"a" * 8), text_entry("x", 1, b"b" * 8), text_entry("x", 2, b"a" * 8))
        self.append(*[text_entry("x", number, b"c" * 8, at=99_000) for number in range(1, 10)])
        self.assertEqual([2, 0, 9], [self.log.taken(letter * 8) for letter in (b"a", b"b", b"c")])

    def test_a_clock_that_was_set_back_trims_as_one_that_went_on(self):
        self.fill(3, at=99_000)
        self.fill(10, at=1000)
        self.assertEqual(4, self.log.oldest)

    def test_runs_are_trimmed_whole(self):
        self.append(*self.run_of(5, 1), *self.run_of(5, 6))
        self.fill(2, at=99_000)
        self.assertEqual(6, self.log.oldest)

    def test_messages_are_found_behind_any_number_of_other_entries_and_without_looking_at_those(self):
        self.append(text_entry("x", 1), text_entry("x", 2), *[Entry(JOINED, 1, b"a" * 8, name="ann")] * 9000)
        self.assertEqual([0, 1, 0, 9002], [self.log.start(*of) for of in ((50, 9003), (1, 9003), (50, 2), (0, 9003))])
        self.assertEqual(0, self.log.work)
        self.append(*[Entry(JOINED, 99_000, b"a" * 8, name="ann")] * 20)
        self.assertEqual((9003, 9022), (self.log.oldest, self.log.start(50, 9023)), "no message is left")


class FileLogTest(LogContract, unittest.TestCase):
    """The log in a file meets the contract, keeps what memory does not, and forgets by age only."""

    def make_log(self, began):
        self.path = os.path.join(temporary_folder(self), "room.db")
        self.addCleanup(lambda: self.log.close())
        return Log(began, self.path, keep_days=1)

    def reopen(self):
        self.log.close()
        self.log = Log(77, self.path, keep_days=1)

    def in_the_file(self):
        """Return the numbers that another process finds in the file."""
        return [number for number, _ in read_history(self.path)]

    def test_what_memory_no_longer_keeps_is_read_from_the_file(self):
        entries = [text_entry("text %d" % number, number, at=number * 99_000) for number in range(1, 101)]
        with mock.patch.object(chat, "LOG_ENTRIES_MIN", 10):
            for entry in entries:
                self.append(entry)
            self.assertEqual(list(enumerate(entries, 1)), self.read())
            self.assertEqual(list(enumerate(entries, 1))[9:95], self.read(9, 95))
        self.assertEqual([100, 50, 0], [self.log.start(count, 101) for count in (0, 50, 200)])
        self.assertTrue(self.log.agrees(3, 3 * 99_000) and not self.log.agrees(3, 4 * 99_000))
        self.assertEqual((1, 100), (self.log.oldest, self.log.taken(b"a" * 8)))

    def test_a_commit_that_fails_writes_nothing_and_can_be_tried_again(self):
        self.append(text_entry("one", 1))
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            self.log.commit()  # There is nothing to write.
            self.log.append([record(entry) for entry in self.run_of(3, 2)])
            self.assertEqual(4, self.log.taken(b"a" * 8))
            with self.assertRaisesRegex(LogFailure, "in use"):
                self.log.commit()
            self.assertEqual([1], self.in_the_file())
            other.execute("ROLLBACK")
            other.execute("INSERT INTO entries VALUES (3, 0, '', 0, NULL, 0, '', 0)")  # Now it fails half way.
            with self.assertRaises(LogFailure):
                self.log.commit()
            other.execute("DELETE FROM entries WHERE seq = 3")
        self.log.commit()
        self.assertEqual([1, 2, 3, 4], self.in_the_file())

    @unittest.skipUnless(resource, "Windows has no limit for the size of a file")
    def test_a_disk_that_is_full_half_way_through_a_commit_costs_nothing(self):
        self.append(text_entry("one", 1))
        for size in range(1, 60, 7):
            self.log.append([record(text_entry("x" * 900, number)) for number in range(2, 40)])
            head = self.log.head
            limit = os.path.getsize(self.path + "-wal") + 1000 * size
            with files_of_at_most(limit), self.assertRaisesRegex(LogFailure, "full"):
                self.log.commit()
            self.assertEqual(head - 38, len(self.in_the_file()))
            self.log.commit()
            self.assertEqual(list(range(1, head + 1)), self.in_the_file())
        self.reopen()
        self.assertEqual(head, self.log.head)

    def test_reading_is_work_for_each_row_that_is_read_and_each_number_that_is_passed_over(self):
        for audience in (None, (b"a" * 8, b"b" * 8)) * 2:
            self.append(*[text_entry("x")] * 5, to=audience)
        self.reopen()
        for reader, rows in (((), 20), ((None,), 10), ((b"b" * 8,), 20)):
            before = self.log.work
            self.assertEqual(rows, len(list(self.log.records(1, 20, *reader))))
            self.assertEqual(20 + rows * chat.HISTORY_WORK, self.log.work - before)

    def forget(self, days):
        self.log.forget(int(days * 86_400_000))

    def test_what_is_too_old_is_forgotten_in_whole_runs(self):
        day = 86_400_000
        self.fill(3, at=day)
        self.append(*self.run_of(3, 4, at=2 * day), *self.run_of(3, 7, at=3 * day))
        self.fill(1, at=3 * day)
        self.forget(2.5)
        self.assertEqual((4, 4, list(range(4, 11))), (self.log.oldest, self.in_the_file()[0], self.in_the_file()))
        self.forget(3.5)
        self.assertEqual(7, self.log.oldest)
        (number, gone), (following, _) = self.read(until=7)
        self.assertEqual((1, SKIP, 6, TRIMMED, 7), (number, gone.kind, gone.count, gone.why, following))
        self.assertTrue(self.log.agrees(5, 1000) and not self.log.agrees(5, 999))

    def test_the_newest_message_is_never_forgotten(self):
        self.append(text_entry("old", 1), *self.run_of(3, 2))
        for _ in range(2):
            self.forget(9)
            self.assertEqual((4, 2, [2, 3, 4]), (self.log.head, self.log.oldest, self.in_the_file()))
            self.assertEqual([(1, 1), (2, 1), (3, 1), (4, 1)], [(at, entry.count) for at, entry in self.read()])
            self.reopen()

    def test_what_is_forgotten_is_nowhere_in_the_file(self):
        self.fill(8, text="a secret of long ago" * 40)
        self.fill(1)
        self.forget(9)
        self.log.close()
        self.assertNotIn(b"a secret of long ago", pathlib.Path(self.path).read_bytes())

    def test_the_hour_between_two_looks_ends_when_the_clock_is_set_back(self):
        self.fill(3, at=[int(86_400_000 * day) for day in (2, 2.02, 2.99)])
        for days, oldest in ((3.01, 2), (3.03, 2), (3.06, 3)):
            self.forget(days)
            self.assertEqual(oldest, self.log.oldest)
        self.forget(99)
        self.fill(3, at=[86_400_000 * day for day in (4, 5, 6)])
        self.forget(6)  # A day is a day.
        self.assertEqual(5, self.log.oldest)

    def test_much_is_forgotten_piece_by_piece_and_in_whole_runs(self):
        self.append(*self.run_of(4, 1), *self.run_of(4, 5), text_entry("new", 9, at=86_400_000 * 9))
        with mock.patch.object(chat, "FORGET_ROWS", 6):
            for oldest in (5, 9, 9):
                self.forget(9.5)
                self.assertEqual(oldest, self.log.oldest)

    def test_a_flood_does_not_fill_the_disk(self):
        self.log.close()
        self.log = Log(77, self.path, megabytes=1)
        for _ in range(40):
            runs = [replace(part, text="x" * 900) for _ in range(20) for part in self.run_of(10)]
            self.log.append(list(map(record, runs)))
            self.log.commit()
            self.forget(9)  # Nothing has an order to go by its age.
            self.assertLess(os.path.getsize(self.path), 1_400_000)
        self.assertTrue(800 < 8000 - self.log.oldest < 1100, self.log.oldest)
        (_, gone), (_, first) = self.read(until=self.log.oldest)
        self.assertEqual((TRIMMED, self.log.oldest - 1, True), (gone.why, gone.count, first.first))
        self.log.close()
        self.log = Log(77, self.path, megabytes=0)  # Smaller than ever; the newest stay all the same.
        with mock.patch.object(chat, "FORGET_ROWS", 500):
            for most in (1100, 600, 10, 10):
                self.assertTrue(10 <= len(self.in_the_file()) <= most, len(self.in_the_file()))
                self.log.forget(0)


class ReopenedLogTest(FileLogTest):
    """The log in a file meets the contract although every commit is followed by a new start."""

    def append(self, *entries, to=None):
        super().append(*entries, to=to)
        self.reopen()


class HistoryFileTest(unittest.TestCase):
    """A file that cannot be used is named in one sentence, and stays as it was, byte for byte."""

    def setUp(self):
        self.folder = temporary_folder(self)
        self.path = os.path.join(self.folder, "room.db")

    def write(self, data):
        pathlib.Path(self.path).write_bytes(data)

    def make(self, entries=200):
        with contextlib.closing(Log(1000, self.path)) as log:
            log.append([record(text_entry("x" * 500, number)) for number in range(1, entries + 1)])
            log.commit()
        return self.contents()["room.db"]

    def change(self, *statements):
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as database:
            for statement in statements:
                database.execute(statement)

    def contents(self):
        """Return the bytes of each file in the folder, but for those that hold locks."""
        paths = pathlib.Path(self.folder).iterdir()
        return {path.name: path.read_bytes() for path in paths if not path.name.endswith(("-lock", "-shm"))}

    def assertRefused(self, sentence, path=None):
        before = self.contents()
        with self.assertRaisesRegex(UsageError, r"\A(?=.*%s)[^\n]+\.\Z" % sentence):
            Log(1000, path or self.path).close()
        self.assertEqual(before, self.contents())

    def assertCannotBeRead(self, reason):
        with self.assertRaisesRegex(UsageError, reason):
            list(read_history(self.path))

    def test_what_is_not_ours_is_left_alone(self):
        for data in (b"my diary\n" * 1000, b"x", bytes(10_000), b"SQLite format 3\0" + b"x" * 5000):
            self.write(data)
            self.assertRefused("not a history of SamsungChat")
        self.assertEqual(["room.db"], os.listdir(self.folder))
        os.remove(self.path)
        for statement in ("CREATE TABLE stamps (price)", "PRAGMA journal_mode = WAL", "PRAGMA application_id = 7"):
            self.change(statement)
            self.assertRefused("not a history of SamsungChat")

    def test_what_is_damaged_is_left_alone_and_can_be_mended(self):
        whole = self.make()
        middle = len(whole) // 2 // 4096 * 4096
        for data in (
            *(whole[:9000], whole[:8192] + b"x" * 40_000 + whole[48_192:], whole[:4096] + bytes(len(whole))),
            whole[:middle] + bytes(4096) + whole[middle + 4096 :],  # Far from both ends.
            whole.replace(b"CREATE INDEX numbers", b"\xc1REATE INDEX numbers"),
        ):
            self.write(data)
            self.assertRefused("is damaged")
        self.assertCannotBeRead("is damaged")
        self.write(whole)
        self.change("DROP TABLE room")
        self.assertRefused("is damaged")
        self.write(whole)
        with contextlib.closing(Log(1000, self.path)) as log:
            self.assertEqual(200, log.head)

    def test_a_damaged_entry_is_a_blank_and_the_others_are_served(self):
        with contextlib.closing(Log(1, self.path)) as log:
            log.append([record(text_entry("text %d" % number, number)) for number in range(1, 12)])
            log.append([record(Entry(PRIVATE, 1, b"a" * 8, 12, "ann", b"b" * 8, "bob", "psst"), (b"a" * 8, b"b" * 8))])
            log.commit()
        damages = ["data = 7", "data = X'FF', time = -1", "data = CAST(data || X'00' AS BLOB)", "time = 'x'"]
        damages += ["author = 3", "number = 'x'", "audience = 5"]
        damages += ["data = X'%s'" % encode_entry(Entry(SKIP, 1, count=5)).hex()]
        self.change(*["UPDATE entries SET %s WHERE seq = %d" % (each, seq) for seq, each in enumerate(damages, 1)])
        self.change("DELETE FROM entries WHERE seq = 9", "UPDATE entries SET audience = NULL WHERE seq = 12")
        with contextlib.closing(Log(1, self.path)) as log:
            [(first, last, batch)] = chat.batches(log, 0, 12, None)
        _, entries = decode_batch(encode_batch(last, first, batch))
        self.assertEqual([0, 1000, 0], [entry.time for _, entry in entries[1:4]])
        read = [(number, entry.text or entry.why) for number, entry in entries]
        blanks = [(number, HIDDEN if number == 9 else TRIMMED) for number in (*range(1, 10), 12)]
        self.assertEqual([*blanks[:9], (10, "text 10"), (11, "text 11"), blanks[9]], read)
        self.assertCannotBeRead("is damaged")

    def test_a_commit_is_on_the_disk_when_it_returns(self):
        opened, connect = [], sqlite3.connect
        note = lambda *how, **more: opened.append(connect(*how, **more)) or opened[-1]  # noqa: E731
        with mock.patch.object(sqlite3, "connect", note), contextlib.closing(Log(1000, self.path)):
            modes = [opened[-1].execute("PRAGMA " + name).fetchone()[0] for name in ("synchronous", "journal_mode")]
        self.assertEqual([2, b"wal"], modes)

    def test_another_version_is_left_alone(self):
        self.make()
        for version in (0, 999):
            self.change("PRAGMA user_version = %d" % version)
            self.assertRefused("another version")
            self.assertCannotBeRead("another version")

    def test_a_place_that_is_none_is_named(self):
        self.assertRefused("cannot be opened", os.path.join(self.folder, "no", "room.db"))
        self.assertRefused("cannot be opened", self.folder)
        self.assertCannotBeRead("There is no file")

    @unittest.skipUnless(hasattr(os, "seteuid"), "Windows has other rights")
    def test_a_file_that_may_not_be_written_is_named(self):
        self.make()
        for mode, folder, sentence in ((0o444, 0o777, "is read-only"), (0o000, 0o777, "cannot be opened")):
            os.chmod(self.path, mode)
            os.chmod(self.folder, folder)
            with as_nobody(), self.assertRaisesRegex(UsageError, sentence):
                Log(1000, self.path).close()

    def test_a_history_has_one_server_at_a_time(self):
        self.make()
        with contextlib.closing(Log(1000, self.path)):
            self.assertRefused("in use by another server")
            with contextlib.suppress(OSError, NotImplementedError):  # Not everybody may, on Windows.
                os.symlink(self.path, self.path + "-too")
                self.assertRefused("in use by another server", self.path + "-too")

    def test_a_reader_does_not_keep_a_server_from_starting(self):
        for entries in (3, 6):  # In a file that was empty, and in one that was not.
            with contextlib.ExitStack() as readers:
                for name in ("", "-lock"):
                    reader = sqlite3.connect(self.path + name, isolation_level=None)
                    readers.enter_context(contextlib.closing(reader)).execute("BEGIN")
                    reader.execute("SELECT * FROM sqlite_master").fetchall()
                self.make(3)
            self.assertEqual(entries, len(list(read_history(self.path))))

    @unittest.skipUnless(resource, "Windows has no limit for the size of a file")
    def test_a_full_disk_is_named_and_nothing_half_written_stays(self):
        with files_of_at_most(2000), self.assertRaisesRegex(UsageError, "full"):
            Log(1000, self.path).close()
        self.make(3)
        self.assertEqual(3, len(list(read_history(self.path))), "nothing half written stands in the way")


# ======================================================================================================
# Delivery
# ======================================================================================================


class DeliveryTest(unittest.TestCase):
    """Repeats come when RFC 6298 says, takers keep to their rate, and drawn timers to their bounds."""

    @mock.patch.object(chat, "OUTBOX_PARTS_MAX", 3)
    def test_a_part_waits_until_it_is_settled_and_is_sent_to_whoever_has_not_got_it(self):
        outbox, queued = chat.Outbox(), [Queued(1, text_entry("ab")), Queued(2, text_entry("c"))]
        waiting = lambda again: [part.number for part in outbox.parts(again)]  # noqa: E731
        for _ in range(2):
            first = outbox.newest + 1
            outbox.add(queued[0], [b"a", b"b"])
            outbox.add(queued[1], [b"c"])
            with self.assertRaisesRegex(UsageError, "Too much"):
                outbox.add(queued[1], [b"d"])
            outbox.on_way = first
            for taken, held, new in ((-1, 0b10, True), (-1, 0b10, False), (-2, 0, False), (3, 0, False)):
                self.assertEqual(new, outbox.note_taken(first + taken, held, 5), "only what is new is news")
            self.assertEqual([[first + 2], [first, first + 2]], [waiting(again) for again in (False, True)])
            outbox.start(0, 5)  # Another server, that holds nothing.
            self.assertEqual([first, first + 1, first + 2], waiting(False))
            self.assertTrue(outbox.note_taken(first + 2, 0, 9))
            self.assertEqual([[], [], queued], [waiting(True), outbox.trimmed(8), outbox.trimmed(9)])

    def test_a_page_brings_something_new_once_and_is_of_its_view(self):
        def page(head, first, count):
            return Page(STANDING, 0, 3, encode_batch(head, first, encode_entry(text_entry("x")) * count))

        pages = chat.Pages(0)
        for first, count, new in ((4, 2, True), (4, 2, False), (6, 4, True)):
            self.assertIs(new, pages.read_page(page(9, first, count)))
            with self.assertRaisesRegex(MalformedDatagram, "not asked for"):
                pages.read_page(page(10, 6, 1))
        self.assertEqual([4, 5, 6, 7, 8, 9], [number for number, _ in pages.entries])

    def test_a_stream_takes_a_skip_as_a_whole_and_keeps_no_endless_text(self):
        stream = chat.Stream(0, 0)
        skip = Entry(SKIP, 9, count=2**40)
        self.assertEqual([], list(stream.read([(3, skip), (2 + chat.BUFFER_ENTRIES_MAX, text_entry("far"))])))
        self.assertEqual([1, 2, 2**40 + 2], [at for at, _ in stream.read([(1, text_entry("a")), (2, text_entry("b"))])])
        self.assertEqual((2**40 + 2, 9), (stream.cursor, stream.time))
        self.assertEqual([3], [entry.count for _, entry in stream.read([(2, replace(skip, count=2**40 + 4))])])
        reader = chat.RunReader()
        for _ in range(100):
            self.assertIsNone(reader.read(text_entry("x", first=False, last=False)))
        self.assertEqual("x" * chat.RUN_PARTS_MAX, reader.read(text_entry("x", first=False)))

    def test_the_repeat_time_follows_the_path_and_has_bounds(self):
        trip = RoundTrip()
        self.assertEqual(RETRY_SECONDS, trip.repeat_seconds())
        trip.measure(0.1)
        self.assertAlmostEqual(0.1 + 0.05, trip.repeat_seconds())
        trip.measure(0.2)  # Deviation 3/4 * 0.05 + 1/4 * 0.1, then mean 7/8 * 0.1 + 1/8 * 0.2.
        self.assertAlmostEqual(0.1125, trip.seconds)
        self.assertAlmostEqual(0.1125 + 0.0625, trip.repeat_seconds())
        for sample, seconds in [(0.0001, chat.GRACE_SECONDS), (30.0, RETRY_SECONDS_MAX)]:
            for _ in range(100):
                trip.measure(sample)
            self.assertEqual(seconds, trip.repeat_seconds())

    def test_a_bucket_allows_a_burst_and_then_its_rate_tells_when_it_is_ready_and_takes_tokens_back(self):
        bucket, taken = TokenBucket(10, 20, 0.0), 0
        for step in range(1001):
            taken += bucket.take(1, step / 100)
        self.assertTrue(119 <= taken <= 120, taken)
        bucket = TokenBucket(10, 20, 0.0)
        self.assertEqual([True, False], [bucket.take(20, 0.0), bucket.take(5, 0.1)])
        self.assertAlmostEqual(0.5, bucket.ready_at(5))
        self.assertEqual([False, True], [bucket.take(5, 0.49), bucket.take(5, 0.51)])
        bucket.give(50)
        self.assertEqual([False, True, False], [bucket.take(count, 0.51) for count in (21, 20, 1)], "up to its burst")
        self.assertTrue(all(TokenBucket(0, 0, 0.0).take(100, 0.0) for _ in range(100)), "a rate of 0 has no limit")

    def test_who_shares_a_bucket_has_its_burst_only_once_and_each_his_own_rate(self):
        together = TokenBucket(10, 20, 0.0)
        buckets, taken = [together.share(0.0) for _ in range(5)], [0] * 5
        self.assertTrue(all(bucket.take(4, 0.0) for bucket in buckets), "all at once")
        for step in range(1, 301):
            for number in range(5):
                taken[number] += buckets[number].take(1, step / 100)
        self.assertTrue(all(30 - 1 <= each <= 30 + 16 for each in taken) and sum(taken) <= 5 * 30 + 30, taken)
        alone = TokenBucket(10, 20, 0.0).share(0.0)
        self.assertEqual(20 + 29, sum(alone.take(1, step / 100) for step in range(300)))
        rested = together.share(9.0)
        self.assertEqual([True, False], [rested.take(count, 11.0) for count in (20, 1)], "no burst on top of its own")

    def test_a_timer_is_drawn_from_its_time_to_the_double_and_backs_off(self):
        for _ in range(200):
            alarms = chat.Alarms()
            timer = Timer(alarms, "bell", os.urandom)
            self.assertFalse(alarms.due("bell", 1e9))
            timer.start(10.0, 1.0, 3.0)
            for low in (1.0, 2.0, 3.0, 3.0):
                at = alarms["bell"]
                self.assertTrue(low <= at - 10.0 < 2 * low)
                self.assertEqual([False, True, False], [alarms.due("bell", now) for now in (at - 0.001, at, at)])
                timer.again(10.0)
        timer.start(10.0, 1.0, 3.0, at_once=True)
        self.assertTrue(alarms.due("bell", 10.0))
        timer.again(10.0)
        self.assertTrue(11.0 <= alarms["bell"] < 12.0, "it backs off from its first time")


# ======================================================================================================
# Server and client: coming in
# ======================================================================================================


class AdmissionTest(RoomCase):
    """Who knows the password gets in under a name of its own; who does not learns why, and nothing else."""

    def test_a_login_takes_three_round_trips_and_the_roster_of_many_comes_in_pages_that_are_asked_for_once(self):
        self.room(weather=Weather(delay=0.01))
        (connected,) = self.arrive("ann", seconds=0.1).all(Connected)
        self.assertEqual(("SamsungChat", ["ann"]), (connected.room, [name for _, name in connected.members]))
        names = ["a-member-with-a-rather-long-%d" % number for number in range(60)]
        self.room(*names)
        self.sent()
        for name, weather in (("ann", Weather()), ("bob", Weather(loss=0.5, copies=0.3, jitter=0.05))):
            self.network.weather = weather
            names.append(name)
            person = self.arrive(name)
            self.assertEqual(sorted(names), sorted(name for _, name in person.all(Connected)[-1].members))
            if name == "ann":
                sent = self.sent()
                self.assertEqual((1, 3), (sent["Pull"], sent["Page"]))

    def test_a_wrong_password_is_told_by_the_client_itself_and_can_be_corrected(self):
        self.room()
        ann = self.come("ann", password="Secret")
        self.assertRefused(ann, WRONG_PASSWORD)
        self.assertEqual([], ann.all(Disconnected))
        abandoned = lambda: sum(event.what == "abandoned" for event in self.network.server_events)  # noqa: E731
        ann.login("secret.")
        for seconds, count in ((3, 1), (12, 2)):  # It is known at once of who tries again, else when its time is over.
            self.run_for(seconds)
            self.assertEqual(({}, count), (self.members(), abandoned()))
        ann.login("secret")
        self.assertTrue(self.network.run(5, ann.connected))

    def test_another_password_counts_from_now_on_and_who_is_in_stays(self):
        (ann, bob) = self.room("ann", "bob", classic=True)
        eve = Insider(self.network, "eve")
        eve.begin()  # With the old one.
        self.order("set_password", "other")
        self.assertRoomWorks()
        self.assertRefused(self.come("cem"), WRONG_PASSWORD)
        self.assertEqual([chat.CLASSIC_WRONG], Original(self.network, "old").login())
        proof = Proof(1, bytes(16), bytes(16), 0, 0, 1, 0, "eve")
        self.assertEqual([Later.code], [data[1] for data in eve.ask(eve.session.seal(proof))])
        self.network.vanish(ann)
        self.run_for(40)
        self.network.come_again(ann)
        self.run_for(20)
        self.assertEqual(WRONG_PASSWORD, ann.all(Disconnected)[-1].code)
        ann.login("other", seconds=5)
        self.assertEqual({"ann", "bob"}, set(self.members()))

    def test_a_path_that_is_too_slow_is_no_wrong_password_and_a_login_is_not_repeated_for_ever(self):
        for delay, codes in ((0.9, []), (1.5, [NO_ANSWER])):
            self.room(weather=Weather(delay=delay))
            ann = self.come("ann", seconds=40)
            self.assertEqual(codes, [event.code for event in ann.all(LoginFailed)])
        self.room()
        with self.cut_off():
            self.assertRefused(self.come("ann"), NO_ANSWER)
        self.assertTrue(5 <= self.network.now - 100.5 <= 6)
        silent = FalseServer(self.network, guesses=0)
        self.come("ann", places=[silent.address])
        asked = "".join(TYPE_NAMES[data[1]][0] for data in silent.inbox)
        self.assertEqual({"", "L" * chat.LOGINS_UNANSWERED_MAX}, set(asked.rstrip("L").split("H")))

    def test_a_name_in_use_is_taken_and_one_that_breaks_the_rules_is_refused_with_the_rule(self):
        self.room("ann")
        for name in ("ann", "ANN", "ａｎｎ"):
            self.assertRefused(self.come(name, key="other " + name), USERNAME_TAKEN)
        wrong = self.come("a b")
        self.assertRefused(wrong, USERNAME_INVALID)
        self.assertIn("no spaces", wrong.all(LoginFailed)[0].text)
        self.assertEqual(["ann"], list(self.members()))
        self.assertRoomWorks()

    def test_a_full_room_refuses_newcomers_but_who_lost_its_session_is_back_at_once(self):
        ann, bob = self.room("ann", "bob", members_max=2)
        self.assertRefused(self.come("cem"), ROOM_FULL)
        bob.login()
        self.assertTrue(self.network.run(0.2, lambda: len(bob.all(Connected)) == 2))
        arrived = [event.what for event in self.network.server_events if event.what in ("joined", "back")]
        self.assertEqual((["joined", "joined", "back"], []), (arrived, ann.all(WENT)))
        self.assertRoomWorks()
        bob.leave(seconds=1)
        self.arrive("cem", key="cem again")

    def test_a_vanished_client_frees_its_name_within_seconds(self):
        for seed, weather, seconds in [(1, Weather(), 5), *((n, Weather(0.3, 0.1, 0.005, 0.05), 8) for n in range(5))]:
            ann, _ = self.room("ann", "bob", seed=seed, weather=weather)
            self.network.vanish(ann)
            self.run_for(1)
            again = self.arrive("ann", seconds=seconds, key="ann again")
            self.run_for(3)
            self.assertSawLeave("bob", "ann", "superseded")
            again.say("back", seconds=9)
            self.assertHeard("bob", "back")

    def test_the_password_is_not_enough_to_evict_a_live_member(self):
        ann, bob = self.room("ann", "bob", weather=Weather(0.3, 0.0, 0.005, 0.05), seed=3)
        for attempt in range(5):
            self.assertRefused(self.come("ann", key="false ann %d" % attempt, seconds=30), USERNAME_TAKEN)
        self.assertEqual(ann.address, self.addresses()["ann"])
        self.assertEqual([], bob.all(WENT))

    def test_a_login_that_is_said_again_and_again_evicts_no_live_member(self):
        ann, bob = self.room("ann", "bob")
        eve = Insider(self.network, "ann")
        eve.begin()
        with self.assertDropped("not yet a member"):
            self.assertEqual([], eve.tell(Sync(0, 1, 0, 16)))
        with self.cut_off(ann):
            eve.pace = 0.01
            for _ in range(2 * chat.GHOST_PINGS):
                eve.tell(Proof(1, eve.instance, bytes(16), 0, 0, 1, 0, "ann"))
        self.run_for(1)
        self.assertEqual((ann.address, []), (self.addresses()["ann"], bob.all(WENT)))

    def test_who_was_asleep_when_its_name_was_taken_is_told(self):
        ann, _ = self.room("ann", "bob")
        self.sent()
        with self.cut_off(ann):
            other = self.arrive("ann", seconds=5, key="new ann")
        asked = [data for _, target, data in self.network.wire if (target, data[1]) == (ann.address, Entries.code)]
        self.assertEqual(chat.GHOST_PINGS, len(asked))
        self.run_for(10)
        self.assertRefused(ann, SUPERSEDED)
        self.run_for(60)
        self.assertEqual(other.address, self.addresses()["ann"])

    def test_who_is_kicked_stays_out_for_ten_minutes(self):
        ann, _ = self.room("ann", "bob")
        self.kick("ANN")
        self.assertRefused(ann, KICKED)
        self.assertSawLeave("bob", "ann", "kicked")
        with self.assertRaisesRegex(UsageError, "Nobody here is called \u241bann"):
            self.kick("\x1bann")
        self.assertRefused(self.come("ann", key="same name"), KICKED)
        ann.login(name="anna", seconds=3)
        self.assertEqual([KICKED, KICKED], [event.code for event in ann.all(LoginFailed)])
        self.run_for(BAN_SECONDS)
        ann.login()
        self.assertTrue(self.network.run(5, ann.connected))

    def test_who_leaves_is_gone_at_once_and_changing_the_name_is_leaving_and_coming(self):
        ann, bob, _ = self.room("ann", "bob", "cem")
        ann.leave()
        self.assertTrue(self.network.run(0.1, lambda: ann.client.done))
        self.run_for(0.1)
        self.assertSawLeave("bob", "ann", "left")
        self.assertEqual(("left", "ann", 2), [(e.what, e.name, e.members) for e in self.network.server_events][-1])
        ann = self.arrive("ann", seconds=0.5, key="ann again")
        with self.cut_off():
            ann.leave()
            self.assertTrue(self.network.run(LEAVE_SECONDS + 0.1, lambda: ann.client.done), "though nobody answers")
        bob.login(name="bert", seconds=1)
        self.assertSawLeave("cem", "bob", "left")
        self.assertNotIn("bob", self.members())
        bob.say("me again", seconds=1)
        self.assertHeard("cem", "me again")
        with self.cut_off():
            bob.leave(seconds=RETRY_SECONDS / 2)
        self.run_for(LEAVE_SECONDS)
        self.assertNotIn("bert", self.members(), "a goodbye that is lost is said again")

    def test_leaving_is_possible_at_every_moment_of_a_login(self):
        for step in range(1, 20):
            self.room(weather=Weather(delay=0.01))
            ann = self.come("ann", seconds=step * 0.005)
            ann.leave(seconds=2)
            self.assertEqual((True, {}), (ann.client.done, self.members()), "no ghost stays")

    def test_a_login_that_a_restart_or_another_address_overtakes_starts_over(self):
        for change in (lambda ann: self.network.restart_server(0), lambda ann: self.network.move(ann)):
            self.room()
            ann = self.come("ann", seconds=0.001)
            change(ann)
            self.assertTrue(self.network.run(4, ann.connected))

    def test_another_version_is_named_unless_a_true_server_speaks_after_it(self):
        for silent, other in ((True, SERVER), (False, ("10.0.0.66", 11111))):
            self.room()
            with self.cut_off():
                ann = self.come("ann", seconds=1)
                nonce = decode_unsealed(self.network.wire[-1][2]).nonce
                keys = Session(b"evil", bytes(64), server=True).seal(Keys(nonce, bytes(32)))  # Nobody has asked for it.
                said, seconds = encode_unsealed(Later(nonce, VERSION_MISMATCH)), 10 if silent else LOOK_SECONDS - 1
                self.inject(other, ann.address, said, keys, seconds=seconds)
            self.run_for(1)
            self.assertEqual([VERSION_MISMATCH] * silent, [event.code for event in ann.all(LoginFailed)])
            self.assertEqual(silent, not ann.connected())

    def test_a_flood_in_which_nobody_is_heard_evicts_nobody(self):
        ann, bob, cem = self.room("ann", "bob", "cem")
        self.server.overloaded = True
        with self.cut_off(ann):
            false = self.come("ann", key="false ann", seconds=2.5)
        self.server.overloaded = False
        self.run_for(1)
        self.assertRefused(false, USERNAME_TAKEN)
        self.server.overloaded = True
        with self.cut_off(bob):
            self.run_for(60)
        self.server.overloaded = False
        self.run_for(5)
        self.assertEqual([], cem.all(WENT))
        self.network.vanish(ann)  # Who is really gone loses its name after the flood.
        self.server.overloaded = True
        again = self.come("ann", key="ann again", seconds=1.5)
        self.assertIn("ann", self.members())
        self.server.overloaded = False
        self.run_for(2.3)
        self.assertSawLeave("bob", "ann", "superseded")
        self.assertTrue(again.connected())

    def test_only_a_datagram_from_where_a_session_is_comes_before_those_of_strangers(self):
        (ann,) = self.room("ann", classic=True)
        old = Original(self.network, "old")
        old.login()
        data = next(data for source, _, data in reversed(self.network.wire) if source == ann.address)
        forged, elsewhere = data[:6] + b"x" * 40, ("10.0.9.9", 1)
        places = (forged, ann.address), (data, elsewhere), (b"hello", old.address), (b"hello", elsewhere)
        self.assertEqual([True, False, True, False], [self.server.knows(*place) for place in places])

    def test_a_client_of_another_version_is_told_in_its_own(self):
        future = self.stranger()
        hello = bytes((VERSION_BYTE + 1,)) + encode_unsealed(Hello(b"n" * 16))[1:35]
        (answer,) = future.ask(hello)  # Which is as long as the question.
        self.assertEqual([], future.ask(hello[:-1]))
        self.assertEqual((VERSION_BYTE + 1, Later(b"n" * 16, VERSION_MISMATCH)), (answer[0], decode_unsealed(answer)))

    def test_servers_are_found_once_each_and_answers_to_others_are_not_listed(self):
        self.room("ann")
        places = [SERVER, ("10.0.0.255", 11111)]
        for one in (True, False):
            search = Discovery(self.network.entropy, places, self.network.now, one)
            self.network.cores[("10.0.1.99", 9)] = search
            self.network.wake(("10.0.1.99", 9))
            self.run_for(0.1)
            self.assertIs(one, search.done, "who looks for one does not wait for others")
        others = encode_unsealed(Offer(b"n" * 16, b"c" * 20, b"s" * 8, 1, 1, 0, 0, "Trap"))
        for data in (others, b"noise"):
            search.receive(data, SERVER, self.network.now)
        self.network.wake(("10.0.1.99", 9))
        self.run_for(1.1)
        self.assertTrue(search.done)
        self.assertIsNone(search.deadline())
        self.assertEqual([ServerFound("SamsungChat", 1, 1000, SERVER)], search.found())
        self.assertEqual({"foreign": 1}, dict(search.dropped))

    def test_who_copies_the_id_of_a_server_does_not_hide_it(self):
        """Not in a search, where he can claim a few rooms, and not in a login at several addresses."""
        self.room("ann")
        search, asked = Discovery(self.network.entropy, [SERVER], 0.0), Peer(self.network, "asked", ("10.0.1.9", 9))
        search.tick(0.0)
        nonce = decode_unsealed(search.outgoing()[0].data).nonce
        self.network.send(encode_unsealed(Hello(nonce)), asked.address)
        self.run_for(1)
        offer, eve = decode_unsealed(asked.inbox[0]), "10.0.0.66"
        for port in range(60):
            search.receive(encode_unsealed(replace(offer, members=9)), (eve, port), 0.0)
        search.receive(encode_unsealed(offer), SERVER, 0.0)
        self.assertEqual([(eve, 0), (eve, 1), (eve, 2), (eve, 3), SERVER], [each.address for each in search.found()])
        search.receive(encode_unsealed(offer), ("127.0.0.1", 11111), 0.0)
        self.assertEqual([("127.0.0.1", 11111)], [each.address for each in search.found()], "it runs here")
        FalseServer(self.network, (eve, 11111), guesses=1, copied=offer.server)
        self.assertTrue(self.come("bob", places=((eve, 11111), SERVER)).connected())


class OperatorTest(RoomCase):
    """Who runs the server is a member whom nobody can be taken for; he calls on whom he likes, and hushes him."""

    USUAL = {"operator": "operator", "classic": True}

    def read(self):
        """Return what the operator was told that people said."""
        return [event.text for event in self.network.server_events if is_one(event, (SAID,))]

    def test_the_operator_reads_only_what_is_said_to_all_or_to_him(self):
        ann, bob = self.room("ann", "bob")
        self.say("ann", "x" * 2000)
        self.say("ann", "between us", to_name="bob")
        self.say("ann", "help", to_name="Operator")
        self.assertEqual(["x" * 2000, "help"], self.read())
        self.assertSent("ann", 3)

    def test_the_operator_speaks_to_all_and_to_one_and_is_told_what_stands_in_the_log(self):
        self.room("ann", "bob")
        self.order("speak", "hello", "")
        self.order("speak", "psst", "ANN")
        self.assertHeard("ann", "hello", "psst")
        self.assertHeard("bob", "hello")
        own = [(event.text, event.number) for event in self.network.server_events if is_one(event, (RECEIPT,))]
        self.assertEqual([("hello", 1), ("psst", 2)], own)

    def test_nobody_gets_the_operators_name_or_removes_him_and_he_takes_no_seat(self):
        self.room("ann", members_max=2)
        for name in ("operator", "OPERATOR", "\uff4fperator"):
            self.assertRefused(self.come(name), USERNAME_TAKEN)
        self.assertEqual([USERNAME_TAKEN], Original(self.network, "Operator").login())
        self.assertRaises(UsageError, self.kick, "operator")
        self.arrive("bob")
        self.assertRefused(self.come("cem"), ROOM_FULL)
        self.assertEqual(["ann", "bob"], sorted(self.members()))

    def test_the_operator_is_the_first_in_every_list_and_marked(self):
        self.room("ann", operator="zoe")
        connected = self.arrive("bob").all(Connected)[-1]
        self.assertEqual(["zoe (operator)", "ann", "bob"], list(transcript_of([connected]).described().values()))
        found = chat.json_object(connected)
        self.assertEqual((["zoe", "ann", "bob"], "zoe"), (found["members"], found["operator"]))

    def test_the_operator_stays_the_same_over_a_restart_that_remembers(self):
        self.room("ann", remembers=True)
        self.order("speak", "before", "")
        self.network.restart_server()
        self.run_for(10)
        self.order("speak", "after", "")
        self.assertHeard("ann", "before", "after")
        self.say("ann", "help", to_name="operator")
        self.assertEqual(["help"], self.read())

    # --- raised hands: one queue, the same on every screen

    def raise_hand(self, name, question=""):
        self.someone(name).hand(question, seconds=1)

    def assertQueue(self, *names):
        """Everybody in the room, the operator among them, sees these hands in this order."""
        here = [self.network.cores.get(person.address) for person in self.network.people.values()]
        people = [person for person in self.network.people.values() if person.connected() and person.client in here]
        for heard in (*(person.heard for person in people), self.network.server_events):
            self.assertEqual(list(names), [hand.name for hand in transcript_of(heard).hands()])
        self.assertEqual(list(names), [entry.name for entry in queue_of(self.network.server)])

    def test_all_see_the_same_queue_and_late_comers_too_and_another_question_keeps_the_place(self):
        self.room("ann", "bob", "cem")
        for name in ("bob", "ann", "cem"):
            self.raise_hand(name, "from " + name)
        raised_at, stands = queue_of(self.network.server)[0].time, len(self.network.server.standing)
        self.raise_hand("bob", "another")
        self.raise_hand("bob", "another one")
        self.assertEqual(raised_at, queue_of(self.network.server)[0].time)
        self.assertEqual(stands + 1, len(self.network.server.standing))  # Place and question, and none between.
        self.arrive("dan")
        self.assertQueue("bob", "ann", "cem")
        self.assertEqual("another one", queue_of(self.network.server)[0].text)
        self.someone("ann").hand(None, seconds=1)
        self.assertQueue("bob", "cem")
        self.assertSent("ann", 2)

    def test_the_operator_calls_in_turn_and_lowers_one_and_all(self):
        (ann, *_) = self.room("ann", "bob", "cem", "dan")
        self.assertRaises(UsageError, self.order, "call_next", "")
        for name in ("ann", "bob", "cem", "dan"):
            self.raise_hand(name)
        self.order("call_next", "come to the board")
        transcript = chat.Transcript()
        rung = [line.text for event in ann.heard for line in transcript.apply(event) if line.mention]
        self.assertEqual(["You are called: come to the board"], rung)
        self.order("lower", "CEM")
        self.assertQueue("bob", "dan")
        self.assertRaises(UsageError, self.order, "lower", "cem")
        self.order("lower", "all")
        self.assertQueue()

    def test_leaving_lowers_and_a_lost_connection_only_after_ten_minutes(self):
        self.room("ann", "bob", "cem", "dan")
        for name in ("ann", "bob", "cem"):
            self.raise_hand(name)
        self.someone("bob").leave()
        self.network.vanish(self.someone("ann"))
        self.network.vanish(self.someone("cem"))
        self.run_for(100)
        self.assertQueue("ann", "cem")
        self.assertRaises(UsageError, self.order, "call_next", "")  # Nobody is called who is not here.
        self.arrive("ann", key="ann again")
        self.run_for(590)
        self.assertQueue("ann")

    def test_the_queue_survives_a_restart_that_remembers_and_ends_if_nobody_comes_back(self):
        (_, bob, _) = self.room("ann", "bob", "cem", remembers=True)
        for name, question in (("ann", "one"), ("bob", "two"), ("ann", "three")):
            self.raise_hand(name, question)
        self.order("quiet", True)
        self.order("mute", "cem", 60)
        self.network.vanish(bob)
        self.network.restart_server()
        self.run_for(60)
        self.assertQueue("ann", "bob")
        self.assertEqual("three", queue_of(self.network.server)[0].text)
        self.say("cem", "hello")
        self.assertEqual([IS_MUTED], [event.code for event in self.someone("cem").all(NotSent)])
        self.run_for(600)
        self.assertQueue("ann")
        self.run_for(3600)
        self.say("cem", "hello")
        self.assertEqual([IS_MUTED, IN_QUIET], [event.code for event in self.someone("cem").all(NotSent)])

    def test_a_hand_is_raised_again_in_a_room_that_has_forgotten_it(self):
        _, bob = self.room("ann", "bob")
        bob.hand("why?")
        with self.cut_off(bob):  # He does not learn that it is raised, and ann does, who is back before him.
            self.run_for(0.1)
            self.network.restart_server()
            self.run_for(10)
        self.run_for(10)
        self.assertQueue("bob")

    def test_a_hand_that_cannot_be_is_given_back(self):
        (ann,) = self.room("ann")
        ann.hand(None)
        ann.hand("x" * 1000)
        ann.hand("what?")
        ann.hand(None, seconds=1)  # On its way already.
        self.assertEqual(["BAD_COMMAND", "TOO_LONG"], [event.code for event in ann.all(NotSent)])
        self.assertQueue()

    # --- who is not to be heard reaches nobody, and keeps what he said

    def assertNotSent(self, name, code, *texts):
        self.assertEqual([(code, text) for text in texts], [(e.code, e.text) for e in self.someone(name).all(NotSent)])

    def test_what_is_muted_reaches_nobody(self):
        (_, bob) = self.room("ann", "bob")
        bob.hand("before", seconds=1)
        self.order("mute", "bob", 1)
        self.say("bob", "x" * 2000)
        self.say("bob", "psst", to_name="ann")
        self.say("bob", "help", to_name="operator")
        bob.hand("why?", seconds=1)
        self.assertNotSent("bob", IS_MUTED, "x" * 2000, "psst", "help", "why?")
        self.assertEqual(["before"], [entry.text for entry in queue_of(self.network.server)])
        bob.hand(None, seconds=1)
        self.assertEqual([], queue_of(self.network.server))
        self.run_for(60)
        self.say("bob", "hello")
        self.assertHeard("ann", "hello")
        self.order("mute", "bob", 0)
        self.assertEqual(IS_MUTED, transcript_of(bob.heard).hushed(), "so says the entry field")
        self.order("unmute", "bob")
        self.assertEqual("", transcript_of(bob.heard).hushed())
        self.say("bob", "again")
        self.assertHeard("ann", "hello", "again")

    def test_in_a_quiet_room_only_the_operator_speaks_and_hears(self):
        (_, bob) = self.room("ann", "bob")
        self.order("quiet", True)
        self.assertEqual(IN_QUIET, transcript_of(bob.heard).hushed())
        self.say("bob", "hello")
        self.say("bob", "psst", to_name="ann")
        self.say("bob", "help", to_name="operator")
        bob.hand("why?")
        self.order("speak", "listen", "")
        self.assertNotSent("bob", IN_QUIET, "hello", "psst")
        self.assertHeard("ann", "listen")
        self.assertEqual(["help"], self.read())
        self.assertEqual(["bob"], [entry.name for entry in queue_of(self.network.server)])
        self.order("quiet", False)
        self.say("bob", "hello")
        self.assertHeard("ann", "listen", "hello")

    def test_who_is_muted_stays_so_under_another_name_and_as_another_process(self):
        (_, bob) = self.room("ann", "bob")
        near = self.arrive("dora", host=bob.address[0])
        self.order("mute", "bob", 0)
        near.login(name="dorothy")  # Nobody new.
        bob.login(name="bert", seconds=2)
        new = self.arrive("cem", host=bob.address[0])
        for person in (bob, new):
            person.say("hello")
        self.run_for(1)
        self.assertEqual([[IS_MUTED]] * 2, [[event.code for event in person.all(NotSent)] for person in (bob, new)])
        self.assertEqual({"bob", "bert", "cem"}, set(transcript_of(self.arrive("dan").heard).standing.muted))

    def test_an_original_client_is_told_what_holds_and_can_be_muted(self):
        (ann,) = self.room("ann")
        old = Original(self.network, "old")
        old.login()
        ann.hand("why?", seconds=1)
        self.order("mute", "old", 0)
        self.assertEqual(["-- ann raised a hand: why?", "-- old is muted."], old.heard()[-2:])
        self.assertEqual(["-- Not sent: " + chat.NOT_TAKEN[IS_MUTED]], old.says("hello"))
        self.assertHeard("ann")

    def test_mutes_are_bounded_and_the_oldest_ends(self):
        self.room("ann", "bob", "cem")
        with mock.patch.object(chat, "MUTES_MAX", 2):
            for name in ("ann", "bob", "bob", "cem"):
                self.order("mute", name, 0)
        for name in ("ann", "bob"):
            self.say(name, "from " + name)
        self.assertHeard("cem", "from ann")


class ClassicTest(RoomCase):
    """The original program's clients are admitted in their own words, where the server is told to."""

    USUAL = {"classic": True}

    def original(self, name, *heard, password="secret", **options):
        """Let somebody log in with the original program, and be answered so."""
        person = Original(self.network, name, **options)
        self.assertEqual(list(heard or ["Login berhasil!"]), person.login(password)[: len(heard) or 1])
        self.run_for(1)
        person.heard()
        return person

    def test_the_password_decides_and_is_never_said_aloud(self):
        self.room("ann")
        self.original("old", "Password salah!", password="wrong")
        self.original("old", "Password salah!", password="x" * (1000 - len("LOGIN old ")))  # As long as any text.
        self.original("old", "Password salah!", password="secret ")
        old = self.original("old", "Login berhasil!", password="secret\r\n")
        self.assertEqual({"ann", "old"}, set(self.members()))
        self.assertEqual(["Password salah!"], old.says("LOGIN someone else"))
        self.assertEqual([], old.says("LOGIN secret"))
        self.assertHeard("ann")

    def test_a_name_in_use_is_taken_in_either_program_and_a_full_room_full(self):
        self.room(members_max=3)
        self.arrive("ann", host="10.0.4.2")
        for name, host, answer in (
            *(("old", 1, "Login berhasil!"), ("ANN", 2, "USERNAME_TAKEN"), ("old", 2, "USERNAME_TAKEN")),
            *(("tea/cher", 1, "USERNAME_TAKEN"), ("new", 3, "Login berhasil!"), ("newer", 1, "USERNAME_TAKEN")),
            *(("x" * 64, 1, "USERNAME_TAKEN"), ("old", 1, "Login berhasil!")),
        ):
            self.original(name, answer, host="10.0.4.%d" % host)
        self.assertRefused(self.come("Old"), USERNAME_TAKEN)
        self.assertRefused(self.come("bob"), ROOM_FULL)

    def test_texts_go_both_ways_but_not_to_their_author(self):
        self.room("ann", "bob")
        old, new = self.original("old"), self.original("new")
        old.heard()
        self.assertEqual([], old.says("hello: all"))
        self.assertEqual(["old: hello: all"], new.heard())
        self.say("ann", "hi old")
        self.assertEqual([["ann: hi old"]] * 2, [old.heard(), new.heard()])
        self.say("ann", "waves", action=True)
        self.assertEqual(["ann: * waves"], old.heard())
        self.assertHeard("bob", "hello: all", "hi old", "waves")
        self.assertSent("ann", 2)

    def test_joins_leaves_announcements_and_the_end_are_notices(self):
        self.room()
        old, ann = self.original("old"), self.arrive("ann")
        self.say("ann", "a")
        ann.leave(seconds=1)
        self.announce("dinner")
        self.close()
        closed = "-- The server has closed the room."
        self.assertEqual(["-- ann joined", "ann: a", "-- ann left", "-- dinner", closed], old.heard())

    def test_private_messages_reach_their_parties_only_and_come_back_from_who_has_left(self):
        ann, _ = self.room("ann", "bob")
        old, new = self.original("old"), self.original("new")
        old.heard()
        self.say("ann", "psst", to_name="old")
        self.say("ann", "not for you", to_name="bob")
        self.assertEqual((["ann (private): psst"], []), (old.heard(), new.heard()))
        self.assertHeard("bob", "not for you")
        self.assertSent("ann", 2)
        self.network.server.kick("old", self.network.now)
        self.say("ann", "too late", to_name="old")
        self.assertIn("old has left", ann.all(NotSent)[0].reason)
        self.assertNotIn("too late", "".join(old.heard()))

    def test_long_texts_are_cut_between_characters(self):
        self.room("ann")
        old = self.original("old")
        text = "田é😀a" * 300
        self.say("ann", text)
        pieces = old.heard()
        self.assertTrue(all(piece.startswith("ann: ") for piece in pieces), "no piece seems to be another's")
        self.assertEqual(text, "".join(piece[5:] for piece in pieces))
        self.assertTrue(all(995 < len(piece.encode()) <= 1000 for piece in pieces[:-1]) and len(pieces) == 4)
        old.says(text)
        self.assertHeard("ann", text)

    def test_the_room_knows_who_is_not_encrypted_from_the_first_to_the_last(self):
        (ann,) = self.room("ann")
        old = self.original("old")
        self.original("new")
        self.original("old")  # At another port.
        first = "old uses the original program: from now on the room's messages also travel unencrypted."
        self.assertEqual([first], [event.text for event in ann.all(NOTICED)])
        self.assertEqual({CLASSIC_TEXT}, {event.entry.text for event in ann.all(CAME)})
        connected = self.arrive("bob").all(Connected)[0]
        self.assertEqual({"old", "new"}, {entry.name for _, entry in connected.standing if entry.text})
        self.kick("old")
        self.kick("new")
        last = "Nobody uses the original program any more: the room is encrypted again."
        self.assertEqual([first, last], [event.text for event in ann.all(NOTICED)])
        self.assertEqual(["-- new joined"], old.heard())

    def test_logging_in_again_from_the_same_machine_replaces_the_old_self(self):
        self.room("ann")
        before, now = self.original("old"), self.original("old")
        self.say("ann", "x")
        self.assertEqual(([], ["ann: x"]), (before.heard(), now.heard()))
        before.says("who am I?")
        self.assertHeard("ann")
        kinds = [(entry.kind, entry.name) for entry in self.entries() if entry.kind != chat.TEXT]
        joined = [(STARTED, ""), (JOINED, "ann"), (JOINED, "old"), (NOTICE, ""), (LEFT, "old"), (JOINED, "old")]
        self.assertEqual(joined, kinds)
        with self.assertNobodyNotices():
            self.assertEqual(["Login berhasil!"], now.login(), "only an answer was lost")

    def test_who_says_nothing_for_an_hour_has_left_and_is_told(self):
        self.room("ann")
        quiet, talker = self.original("quiet"), self.original("talker")
        self.run_for(1800)
        talker.says("still here")
        self.run_for(1810)
        self.assertEqual({"ann", "talker"}, set(self.members()))
        self.assertSawLeave("ann", "quiet", "timed out")
        self.assertEqual("-- You were silent for an hour and have left the room; log in again.", quiet.heard()[-1])
        self.assertEqual("-- quiet left", talker.heard()[-1])

    def test_a_kicked_original_client_is_told_and_stays_out_under_another_name_and_at_another_port_too(self):
        self.room("ann")
        near, old = self.original("near"), self.original("old")
        self.kick("old")
        self.assertEqual([chat.CLASSIC_WORDS["kicked"]], old.heard())
        self.assertSawLeave("ann", "old", "kicked")
        self.assertEqual([], old.says("I am still here!"))
        for name in ("old", "other", "near"):
            self.original(name, "USERNAME_TAKEN")
        self.assertRefused(self.come("bob", host=old.address[0]), ADDRESS_CLOSED)
        self.assertEqual("Login berhasil!", near.login()[-1])
        self.original("far", host="10.0.4.2")
        self.run_for(600)
        self.assertEqual("Login berhasil!", old.login()[0])

    def test_strange_datagrams_get_no_answer_and_enter_nothing(self):
        self.room("ann")
        stranger = Original(self.network, "old")
        for text in (b"", b"\xff\xfe", b"LOGIN", b"LOGIN old", b"login old secret", b"hello", b"\xc3(", bytes(50)):
            with self.assertNobodyNotices():
                self.assertEqual([], stranger.says(text), text)
        old = self.original("old")
        for text in (b"", b"\xff\xfe", b" ", b"\n", b"\xf0\x9f", b"x" * 16_385):
            with self.assertNobodyNotices():
                self.assertEqual([], old.says(text), text)

    def test_without_the_flag_there_is_no_answer_and_one_line_for_each_address(self):
        self.room("ann", classic=False)
        for _ in range(3):
            with self.assertNobodyNotices():
                self.assertEqual([], Original(self.network, "old").login())
                self.assertEqual([], Original(self.network, "old", host="10.0.4.9").login("guess"))
                self.assertEqual([], Original(self.network, "old", host="10.0.4.8").says("hello"))
        for number in range(chat.CLASSIC_SEEN_MAX):
            Original(self.network, "old", host="10.5.%d.%d" % divmod(number, 256)).login()
        tried = [event.address[0] for event in self.network.server_events if event.what == "foreign"]
        self.assertEqual(["10.0.4.1", "10.0.4.9", "10.5.0.0"], tried[:3])
        self.assertEqual(chat.CLASSIC_SEEN_MAX, len(tried), "nobody fills the log")
        self.room(foreign=None)  # A server that knows no other protocol.
        with self.assertDropped("foreign"):
            self.assertEqual([], Original(self.network, "old").login())

    def test_guessing_as_an_original_client_is_slow(self):
        self.room()
        eve = Original(self.network, "eve")
        answers = [eve.login("guess%d" % number) for number in range(80)]
        self.assertEqual([["Password salah!"]] * 8, answers[:8])
        self.assertEqual(8 + 1, sum(map(bool, answers)), "one in ten seconds")
        self.run_for(8)
        self.assertEqual("Login berhasil!", eve.login()[0])
        self.assertEqual([["Password salah!"], []], [eve.login("guess") for _ in range(2)], "no guess is given")

    def test_one_guesser_does_not_lock_the_other_original_clients_out(self):
        self.room()
        eve = Original(self.network, "eve", host="10.0.4.9")
        for _ in range(100):
            eve.login("guess")
        self.original("old")
        before = len(self.network.server_events)
        for number in range(2920):
            self.inject(("10.7.%d.%d" % divmod(number, 256), 1), SERVER, b"LOGIN eve guess", seconds=0.01)
        self.assertTrue(55 <= len(self.network.server_events) - before <= 32 + 29)
        self.assertEqual(["Login berhasil!"], Original(self.network, "older").login()[:1])
        self.assertEqual([], Original(self.network, "new", host="10.0.4.2").login(), "who has never been here")
        self.run_for(10)
        self.original("new", host="10.0.4.2")

    def test_fifty_original_clients_who_come_at_once_all_get_in(self):
        self.room()
        crowd = [Original(self.network, "n%d" % number, host="10.0.5.%d" % number) for number in range(50)]
        self.assertEqual([["Login berhasil!"]] * 50, [each.login()[:1] for each in crowd])

    def test_two_names_that_flap_at_one_address_do_not_fill_the_log(self):
        self.room("ann")
        before, events = self.network.log.head, len(self.network.server_events)
        for number in range(6000):
            login = b"LOGIN %s secret" % (b"a", b"b", b"ann")[number % 3]
            self.inject(("10.0.4.1", 1), SERVER, login, seconds=0.01)
        self.assertLessEqual(self.network.log.head - before, 2 * (8 + 6) + 1)
        self.assertLessEqual(len(self.network.server_events) - events, 2 * (8 + 6))
        self.original("old", host="10.0.4.2")

    def test_a_spoofed_login_turns_little_of_the_room_on_a_victim(self):
        self.room("ann", classic_max=6)
        for number in range(300):
            self.network.inject(b"LOGIN n%d secret" % number, ("10.6.6.%d" % (6 + number // 200), 1 + number))
        self.run_for(2)
        del self.network.wire[:]
        self.say("ann", "x" * 900)
        texts = collections.Counter(target[0] for _, target, data in self.network.wire if data.startswith(b"ann: "))
        self.assertEqual({"10.6.6.6": 4, "10.6.6.7": 2}, texts)
        self.original("old", "USERNAME_TAKEN")
        self.assertIn("no seat is left", self.network.server_events[-1].why)
        self.kick("n200")
        self.original("old")
        self.run_for(10)
        self.inject(("10.6.6.6", 2), SERVER, b"LOGIN renamed secret")
        self.assertIn("renamed", self.members(), "nobody more")

    def test_a_name_of_64_kilobytes_is_neither_hashed_nor_logged(self):
        self.room("ann")
        eve, events = Original(self.network, "eve"), len(self.network.server_events)
        with mock.patch.object(chat, "password_bytes", side_effect=AssertionError):
            for name, password in (("x" * 65_000, "guess"), ("x" * 65, "secret"), ("eve", "\u0315\u0300" * 500)):
                with self.assertNobodyNotices(), self.assertDropped("size of a login"):
                    self.assertEqual([], eve.says("LOGIN %s %s" % (name, password)))
        self.assertEqual([], self.network.server_events[events:])

    def test_an_original_client_cannot_flood_the_room(self):
        self.room("ann", rate=5)
        old = self.original("old")
        self.inject(old.address, SERVER, *[b"flood %d" % number for number in range(100)])
        self.assertTrue(20 <= len(self.someone("ann").texts()) <= 30)
        self.run_for(10)
        self.assertEqual(WINDOW_PARTS, len(self.someone("ann").texts()), "of what came at once")
        old.says("long " * 3000)
        self.assertEqual(15_000, len(self.someone("ann").texts()[-1]))

    def test_while_the_disk_is_full_they_are_told_that_it_is_lost(self):
        self.room("ann", remembers=True)
        old = self.original("old")
        self.network.log.full = True
        self.say("ann", "waits", 3)
        old.says("lost")
        self.assertEqual([], Original(self.network, "new").login())
        self.network.log.full = False
        self.run_for(3)
        self.assertEqual([chat.CLASSIC_WORDS["goes on"], "ann: waits"], old.heard())
        self.assertHeard("ann")


class ClassicClientTest(unittest.TestCase):
    """The client of an original server speaks its protocol, and claims nothing that it cannot know."""

    def setUp(self):
        self.now = 100.0
        self.client = ClassicClient(entropy_of(random.Random(1).random), EPOCH)
        self.client.login("ann", "pass word", [SERVER], self.now)

    def sent(self, seconds=0.0):
        """Let time pass in small steps; return the texts that go out."""
        sent, end = [], self.now + seconds
        while self.now <= end:
            self.client.tick(self.now)
            sent += [datagram.data.decode() for datagram in self.client.outgoing()]
            self.now += 0.1
        return sent

    def hears(self, *texts, address=SERVER):
        """Take texts of the server; return what is reported, but for the status line."""
        for text in texts:
            self.client.receive(text if isinstance(text, bytes) else text.encode(), address, self.now)
        self.client.tick(self.now)
        return [event for event in self.client.events() if not isinstance(event, Status)]

    def come_in(self):
        self.assertEqual(["LOGIN ann pass word"], self.sent())
        return self.hears("Login berhasil!")

    def test_a_refused_login_says_why_and_one_that_succeeds_what_this_server_cannot_do(self):
        for answer, code in (("Password salah!", WRONG_PASSWORD), ("USERNAME_TAKEN", USERNAME_TAKEN)):
            (failed,) = self.hears(answer)
            self.assertEqual(code, failed.code)
            self.client.login("ann", "pass word", [SERVER], self.now)
        connected, notice = self.come_in()
        marked = [entry.author for _, entry in connected.standing if entry.text == CLASSIC_TEXT]
        self.assertEqual(("ann", [connected.member], False), (connected.name, marked, connected.again))
        self.assertIn("not confirmed", notice.text)
        self.assertIs(State.CONNECTED, self.client.state)

    def test_a_login_is_repeated_until_there_is_an_answer_or_none(self):
        sent = self.sent(10)
        self.assertTrue(3 <= len(sent) <= 8 and set(sent) == {"LOGIN ann pass word"}, sent)
        self.assertEqual([NO_ANSWER], [event.code for event in self.client.events() if isinstance(event, LoginFailed)])

    def test_what_is_sent_is_not_confirmed_and_what_the_protocol_does_not_have_is_said(self):
        self.come_in()
        self.client.say("hello", self.now)
        queued, sent = self.hears()
        self.assertEqual((1, "hello", Sent(1, False)), (queued.number, queued.entry.text, sent))
        self.client.say("田" * 1000, self.now)
        self.assertEqual(["hello"] + ["田" * 333] * 3 + ["田"], self.sent())
        self.hears()
        self.client.say("psst", self.now, to_name="bob")
        self.client.say("waves", self.now, action=True)
        self.client.earlier(50, self.now)
        not_sent, other, earlier = self.hears()
        self.assertEqual(("psst", "waves"), (not_sent.text, other.text))
        self.assertEqual(EarlierRead((), True), earlier)
        self.assertEqual([], self.sent())

    def test_what_others_say_is_told_from_what_the_server_and_strangers_say(self):
        self.come_in()
        said, notice, odd = self.hears("bob: hi: there", "Server shutting down", "x" * 33 + ": y\r\n")
        self.assertEqual(("bob", "hi: there", False), (said.entry.name, said.text, said.earlier))
        self.assertEqual(("Server shutting down", "x" * 33 + ": y"), (notice.text, odd.text))
        self.assertEqual([], self.hears(b"", b"\xff", "Login berhasil!"))
        self.assertEqual([], self.hears("eve: hi", address=("10.0.9.9", 1)))
        self.assertEqual({"not UTF-8", "not from the server"}, set(self.client.dropped))
        self.client.login("ann", "secret", [("fe80::1", 11111, 0, 0)], self.now)
        self.assertIsInstance(self.hears("Login berhasil!", address=("fe80::1", 11111, 7, 3))[0], Connected)
        self.assertEqual("y", self.hears("x" * 32 + ": y", address=("fe80::1", 11111, 7, 3))[0].text)


# ======================================================================================================
# Server and client: talking
# ======================================================================================================


class TalkTest(RoomCase):
    """What is said reaches everybody whom it is for, once, in one order, and its author learns that."""

    def test_everybody_else_hears_what_is_said(self):
        ann, _, _ = self.room("ann", "bob", "cem", weather=Weather(delay=0.01))
        self.say("ann", "hello", seconds=0.021)  # One way to the server and one back.
        self.assertHeard("bob", "hello")
        self.say("bob", "hi")
        self.assertHeard("ann", "hi")
        self.assertHeard("bob", "hello")
        self.assertHeard("cem", "hello", "hi")
        self.assertSent("ann", 1)
        self.assertEqual(["hello"], [event.entry.text for event in ann.all(Queued)])

    def test_what_cannot_be_sent_is_said_and_given_back(self):
        (ann,) = self.room("ann")
        nobody = ("psst", "no\x1bbody", "Nobody here is called no\u241bbody.")
        wrong = [("x" * 20_000, "", "20,000 bytes"), (" ", "", "nothing to"), nobody]
        for number, (text, to_name, reason) in enumerate(wrong, 1):
            ann.say(text, to_name=to_name)
            event = ann.all(NotSent)[-1]
            self.assertEqual((number, text), (event.number, event.text))
            self.assertIn(reason, event.reason)

    def test_a_private_message_to_somebody_who_has_left_comes_back_though_another_has_the_name(self):
        ann, bob = self.room("ann", "bob", weather=Weather(delay=0.01))
        with self.cut_off(ann):
            ann.say("psst " * 400, to_name="bob")
            bob.leave(seconds=0.5)
            other = self.arrive("bob", key="other bob", earlier=0)
        self.run_for(10)
        (event,) = ann.all(NotSent)
        self.assertEqual((1, "psst " * 400), (event.number, event.text))
        self.assertIn("bob has left", event.reason)
        self.assertEqual([], ann.all(RECEIPT))
        self.say("ann", "hello")
        self.assertEqual(["hello"], other.texts())

    def test_the_rate_limit_delays_and_loses_nothing_and_lets_nothing_be_sent_again(self):
        _, bob = self.room("ann", "bob", earlier=0, rate=10)
        self.say_all("ann", numbered(300), seconds=0.0)
        self.run_for(8)
        self.assertTrue(105 <= len(bob.texts()) <= 121, bob.texts())
        self.assertLess(self.sent_by("ann", 10), 10 * 10 + 20)
        self.run_for(20)
        self.assertHeard("bob", *numbered(300))
        self.assertSent("ann", 300)

    def test_a_newcomer_is_shown_that_it_is_in_and_then_the_last_messages(self):
        self.room("ann")
        for text in numbered(10):  # Joins and leaves are no messages.
            self.say("ann", text, seconds=0.1)
            self.arrive("bob").leave()
        for number, earlier in enumerate((3, 0, 50)):
            newcomer = self.arrive("cem%d" % number, earlier=earlier)
            self.run_for(0.5)
            self.assertEqual(numbered(10)[10 - min(earlier, 10) :], newcomer.texts())
            self.assertLessEqual({event.earlier for event in newcomer.all(SAID)}, {True})
            self.assertIsInstance([event for event in newcomer.heard if not isinstance(event, Status)][0], Connected)
        self.say("ann", "after")
        self.assertEqual(["after"], [event.text for event in newcomer.all(SAID) if not event.earlier])

    def test_the_status_line_counts_what_waits(self):
        ann, _ = self.room("ann", "bob")
        with self.cut_off():
            self.say("ann", "hello", seconds=3)
            status = ann.all(Status)[-1]
            self.assertEqual((State.CONNECTED, 1, 2), (status.state, status.waiting, status.silent))
        self.run_for(2)
        status = ann.all(Status)[-1]
        self.assertEqual((State.CONNECTED, 0, 0), (status.state, status.waiting, status.silent))
        self.assertLessEqual(status.rtt_ms, 2)
        self.assertTrue(all(one != other for one, other in zip(ann.all(Status), ann.all(Status)[1:])), "only changes")

    def test_who_finishes_before_it_is_in_the_room_waits_until_everything_is_confirmed(self):
        self.room("bob", weather=Weather(0.4, 0.1, 0.01, 0.02), earlier=0)
        ann = self.network.person("ann")
        self.say_all("ann", numbered(60), seconds=0.0)
        ann.finish()
        ann.login()
        self.assertTrue(self.network.run(40, lambda: ann.client.done))
        self.assertSent("ann", 60)
        self.run_for(10)
        self.assertHeard("bob", *numbered(60))
        cem = self.network.person("cem")  # Who has nothing to say waits until everything is shown.
        cem.finish()
        cem.login()
        self.assertTrue(self.network.run(40, lambda: cem.client.done))
        self.assertEqual((numbered(50, 10), 1), (cem.texts(), len(cem.all(Connected))))
        dan = self.arrive("dan")
        dan.earlier(5)
        dan.finish()
        self.assertTrue(self.network.run(40, lambda: dan.client.done))
        self.assertEqual(1, len(dan.all(EarlierRead)))

    def test_an_idle_room_says_little(self):
        self.room("ann", "bob")
        self.run_for(10)
        del self.network.wire[:]
        self.run_for(60)
        self.assertLess(sum(len(data) for _, _, data in self.network.wire), 60 * 300)
        kinds = self.sent()
        self.assertEqual({"Room", "Sync", "Entries"}, set(kinds))
        self.assertTrue(2 * 60 / chat.HEARTBEAT_SECONDS - 2 <= kinds["Room"] <= 2 * 60 / chat.HEARTBEAT_SECONDS + 2)
        self.assertTrue(2 * 2 <= kinds["Sync"] <= 2 * 5, kinds)
        self.assertEqual(kinds["Sync"], kinds["Entries"])

    def test_a_message_takes_one_datagram_in_and_one_to_each_and_one_beat_where_none_follows(self):
        ann, _, _ = self.room("ann", "bob", "cem")
        self.run_for(10)
        del self.network.wire[:]
        self.say("ann", "hello", seconds=1.2)
        ways = {(TYPE_NAMES[data[1]], source == ann.address) for source, _, data in self.network.wire}
        self.assertEqual({("Sync", True), ("Room", False)}, ways)
        self.assertEqual({"Sync": 1, "Room": 3 * 2}, self.sent())
        del self.network.wire[:]
        for text in numbered(30):
            self.say("bob", text, seconds=0.1)
        self.assertEqual({"Sync": 30, "Room": 3 * 30}, self.sent())

    def sent_by(self, name, seconds):
        del self.network.wire[:]
        self.run_for(seconds)
        return len([source for source, _, _ in self.network.wire if source == self.someone(name).address])

    def test_a_long_message_passes_the_lowest_rate_and_a_part_that_was_lost_is_sent_again_and_no_other(self):
        self.room("ann", "bob", weather=Weather(delay=0.001), rate=1)
        self.network.weather = Weather(loss=0.5, delay=0.001)
        self.say("ann", "x" * TEXT_BYTES_MAX, seconds=0.0005)
        self.network.weather = Weather(delay=0.001)
        self.assertLess(self.sent_by("ann", 5), 16)
        self.assertHeard("bob", "x" * TEXT_BYTES_MAX)

    def test_what_gets_no_answer_is_not_asked_for_at_full_rate(self):
        ann, _ = self.room("ann", "bob")
        receive = self.server.receive
        self.server.receive = lambda data, place, now: place == ann.address or receive(data, place, now)
        ann.say("x" * 3000)
        self.assertLess(self.sent_by("ann", 20), 150)

    def test_a_server_that_is_gone_is_missed_within_seconds_though_nobody_speaks(self):
        people = self.room("ann", "bob", "cem")
        self.run_for(30)
        self.network.kill_server()
        self.run_for(2 * chat.QUIET_SECONDS + chat.UNANSWERED_SECONDS + 0.1)
        self.assertEqual({State.RECONNECTING}, {person.client.state for person in people})
        self.assertEqual([1, 1, 1], [len(person.all(Disconnected)) for person in people])

    def test_lost_heartbeats_disconnect_nobody(self):
        people = self.room("ann", "bob", weather=Weather(loss=0.3), seed=3)
        self.run_for(300)
        self.assertEqual([[], []], [person.all(Disconnected) for person in people])


# ======================================================================================================
# Server and client: losing each other
# ======================================================================================================


class TroubleTest(RoomCase):
    """Sleep, silence, another address, another server: everybody comes back by itself, and nothing is lost."""

    def test_a_short_silence_makes_no_noise_and_after_thirty_seconds_a_member_is_gone(self):
        ann, bob = self.room("ann", "bob")
        with self.cut_off(ann):
            self.run_for(28)
        self.run_for(10)
        self.assertEqual(([], []), (bob.all(WENT), bob.all(CAME)[1:]))
        self.assertRoomWorks()
        with self.cut_off(ann):
            self.sent()
            self.run_for(37)
            self.assertNotIn(
                (ann.address, Entries.code), {(to, data[1]) for _, to, data in self.network.wire}, "in vain"
            )
            self.assertEqual(["bob"], list(self.members()))
            self.assertSawLeave("bob", "ann", "timed out")
            self.arrive("ann", seconds=0.5, key="other ann")

    def test_patience_ends_but_not_in_a_sleep_and_is_given_anew_after_each_return(self):
        for returns, seconds, asleep, codes in ((1, 40, 0, [NO_ANSWER]), (4, 15, 0, []), (1, 8, 60, [])):
            self.room("bob")
            ann = self.arrive("ann", patience=20.0)
            for _ in range(returns):
                with self.cut_off():
                    self.run_for(seconds)
                    self.network.sleep(asleep)
                self.run_for(10)
            self.assertEqual(codes, [event.code for event in ann.all(LoginFailed)])
            self.assertEqual([not codes] * 2, [ann.connected(), ann.client.deadline() is not None])

    def test_who_waits_in_vain_because_the_password_is_another_one_is_told_so(self):
        for closes in (False, True):
            self.room("bob")
            ann = self.arrive("ann", patience=20.0)
            if closes:
                self.close()
            self.network.kill_server()
            FalseServer(self.network, SERVER, guesses=99)
            self.run_for(60)
            told = [event.code for event in ann.all(Disconnected, LoginFailed)]
            self.assertEqual(["", WRONG_PASSWORD, WRONG_PASSWORD], told)

    def test_a_sleep_of_the_server_or_of_the_whole_world_is_no_silence(self):
        for world in (True, False):
            _, bob = self.room("ann", "bob")
            self.say("ann", "good night", seconds=0.0)
            if world:
                self.network.sleep(60)
            else:
                del self.network.cores[SERVER]
                self.run_for(60)
                self.network.cores[SERVER] = self.server
                self.network.wake(SERVER)
            self.run_for(10)
            self.assertEqual([], bob.all(WENT, *[Disconnected] * world))
            self.assertHeard("bob", "good night")
            self.assertRoomWorks()

    def test_a_client_that_slept_is_back_at_once(self):
        _, bob = self.room("ann", "bob")
        self.network.vanish(bob)
        self.say_all("ann", numbered(20))
        self.network.come_again(bob)
        self.run_for(0.2)
        self.assertHeard("bob", *numbered(20))
        self.assertEqual([], bob.all(Disconnected))
        self.network.vanish(bob)
        self.run_for(2)
        waited = [data for _, target, data in self.network.wire if target == bob.address][-1]
        self.say_all("ann", numbered(5, 20))
        self.network.cores[bob.address] = bob.client
        self.inject(SERVER, bob.address, waited, seconds=0.2)
        self.assertHeard("bob", *numbered(25))

    def test_who_has_moved_is_served_there_within_two_round_trips_and_found_though_it_only_listens(self):
        ann, bob = self.room("ann", "bob", weather=Weather(delay=0.05))
        for number in range(0, 10, 2):
            self.network.move(ann)
            self.say("ann", "message %d" % number, seconds=0.151)
            self.assertEqual(ann.address, self.addresses()["ann"])
            self.network.move(bob)
            self.say("ann", "message %d" % (number + 1), seconds=1.5)
        self.run_for(9)
        self.assertHeard("bob", *numbered(10))
        self.assertEqual((bob.address, []), (self.addresses()["bob"], bob.all(WENT)))
        self.network.move(ann)
        ann.say("hello", seconds=0.151)
        self.say("bob", "hi", seconds=0.101)
        self.assertHeard("ann", "hi")

    def test_who_belongs_here_comes_back_over_every_gap_as_who_it_was(self):
        for history in (False, True):
            ann, _ = self.room("ann", "bob", remembers=history)
            for gap in (self.network.restart_server, ann.login, self.network.restart_server):
                gap()
                self.run_for(10)
                self.assertRoomWorks()
            self.network.vanish(ann)
            self.run_for(60)
            self.assertEqual(["bob"], list(self.members()))
            self.network.come_again(ann)
            self.run_for(10)
            self.assertRoomWorks()
            self.assertEqual((1, []), (len({event.member for event in ann.all(Connected)}), ann.all(LoginFailed)))

    def test_who_comes_back_to_a_name_that_is_taken_is_told_and_to_a_room_that_is_full_waits(self):
        for name, most, codes in (("ann", 9, [USERNAME_TAKEN]), ("bob", 1, [])):
            (ann,) = self.room("ann", members_max=most)
            with self.cut_off(ann):
                self.network.restart_server()
                other = self.arrive(name, key="other")
                self.run_for(10)
            self.run_for(20)
            self.assertEqual(codes, [event.code for event in ann.all(LoginFailed)])
            other.leave(seconds=5)
            self.assertEqual([] if codes else ["ann"], list(self.members()))

    def test_history_can_be_asked_for_while_the_connection_is_lost(self):
        self.room("ann", "bob")
        self.say("ann", "before")
        cem = self.arrive("cem", earlier=0)
        self.close(seconds=0.3)
        self.network.kill_server()
        self.assertIs(State.RECONNECTING, cem.client.state)
        cem.earlier(5, seconds=3)
        self.network.start_server()
        self.run_for(10)
        self.assertEqual(1, len(cem.all(EarlierRead)), "it is answered, though the log is another one")
        self.assertRoomWorks()

    def test_a_server_that_closes_tells_its_members_and_ends_however_late_it_is(self):
        for late in (0, 3):
            people = self.room("ann", "bob")
            self.close(seconds=0)
            self.network.sleep(late)
            self.run_for(1)
            self.assertTrue(self.network.server.done)
            for person in people:
                self.assertEqual([REFUSALS[SERVER_CLOSED]], [event.text for event in person.all(Disconnected)])
            self.network.restart_server()
            self.run_for(5)
            self.assertRoomWorks()

    def test_a_restart_without_traffic_is_noticed_as_soon_as_the_heartbeat_is_missing(self):
        ann, _ = self.room("ann", "bob")
        self.run_for(30)
        self.network.restart_server()
        self.run_for(2 * chat.QUIET_SECONDS + 2)
        self.assertEqual(["ann", "bob"], sorted(self.members()))
        self.assertEqual([], ann.all(Disconnected))
        self.assertEqual(["The room was opened."], [event.text for event in ann.all(NOTICED)])

    @mock.patch.object(chat, "LOG_ENTRIES_MIN", 20)
    def test_what_is_no_longer_kept_is_named_and_who_left_meanwhile_is_gone(self):
        _, bob, cem = self.room("ann", "bob", "cem")
        with self.cut_off(bob):
            self.say("ann", "first", seconds=5)
            cem.leave()
            for text in numbered(100):
                self.announce(text)
        self.run_for(5)
        (missing,) = bob.all(GONE)
        self.assertEqual([], bob.texts())
        notices = [event for event in bob.all(NOTICED) if event.text.startswith("message")]
        self.assertEqual((missing.seq + 1, "message 99"), (notices[0].seq, notices[-1].text))
        self.assertEqual(["ann", "bob"], sorted(name for _, name in bob.all(Connected)[-1].members))
        self.say("bob", "psst", to_name="cem")
        self.assertEqual(["psst"], [event.text for event in bob.all(NotSent)])
        self.assertRoomWorks()

    @mock.patch.multiple(chat, LOG_ENTRIES_MIN=20, LOG_SECONDS_MIN=1)
    def test_own_texts_that_were_trimmed_meanwhile_are_confirmed(self):
        ann, _ = self.room("ann", "bob", weather=Weather(delay=0.01))
        ann.say("hello")
        with self.cut_off(ann):
            for text in numbered(100):
                self.announce(text, seconds=0.1)
            ann.say("again")  # It comes back itself.
        self.run_for(10)
        self.assertEqual({Sent: 1, Happened: 2}, {type(event): event.number for event in ann.all(RECEIPT)})
        self.assertHeard("bob", "hello", "again")

    def test_a_new_key_and_the_end_of_a_conversation_are_asked_for_when_they_were_lost(self):
        for seed in range(10):
            _, bob, _, dan = self.room("ann", "bob", "cem", "dan", seed=seed)
            with self.cut_off(bob):
                dan.leave(seconds=0.02)
            self.sent()
            self.say("ann", "hello", seconds=0.02)
            self.assertEqual(1, self.sent()["Sync"], "the key may come yet")
            self.run_for(0.02)
            self.assertHeard("bob", "hello")
            self.assertGreater(bob.client.dropped.get("unknown room key", 0), 0)
            with self.cut_off(bob):
                self.say("ann", "bye", seconds=0.01)
            self.run_for(0.2)
            self.assertHeard("bob", "hello", "bye")

    def test_what_an_older_key_hides_is_read_although_it_was_overtaken(self):
        _, bob, cem = self.room("ann", "bob", "cem")
        self.network.weather = Weather(delay=0.1)
        self.say("ann", "hello", seconds=0.15)
        self.network.weather = Weather(delay=0.001)
        cem.leave(seconds=1)
        self.assertHeard("bob", "hello")
        self.assertNotIn("unknown room key", bob.client.dropped)

    def test_the_first_question_of_a_new_session_may_be_lost(self):
        for seed in range(10):
            (ann,) = self.room("ann", seed=seed, weather=Weather(delay=0.005))
            with self.cut_off():
                self.say("ann", "hello", seconds=0.2)
            ann.login()
            self.assertTrue(self.network.run(5, lambda: ann.client.state is State.CONNECTED))  # noqa: B023
            self.sent()
            with self.cut_off():
                self.run_for(0.4)
            self.run_for(1.5)
            self.assertNotIn("Proof", self.sent())
            self.assertSent("ann", 1)

    def test_a_session_that_is_heard_again_while_a_login_waits_goes_on(self):
        unheard = (Sync.code, Proof.code)
        for seed in range(5):
            (ann,) = self.room("ann", seed=seed)
            with self.cut_off(ann):
                self.run_for(6)
            self.server.receive = lambda *what, take=self.server.receive: what[0][1] in unheard or take(*what)
            self.run_for(2)
            self.assertIs(State.CONNECTED, ann.client.state)

    def test_much_is_caught_up_with_at_once(self):
        _, bob = self.room("ann", "bob", weather=Weather(delay=0.005), rate=0)
        with self.cut_off(bob):
            self.say_all("ann", numbered(20, text="%d" + "x" * 16_000))
        self.assertTrue(self.network.run(5, lambda: bob.texts()))
        self.run_for(0.4)
        self.assertEqual(20, len(bob.texts()))

    def test_a_login_that_is_cut_off_before_the_first_entry_misses_nothing(self):
        self.room("ann")
        self.say_all("ann", numbered(60), seconds=0.05)
        bob = self.network.person("bob", earlier=5)
        bob.login()
        self.assertTrue(self.network.run(5, lambda: bob.client.state is State.CONNECTED))
        bob.login(seconds=5)
        self.assertHeard("bob", *numbered(5, 55))


# ======================================================================================================
# Server and client: a room that remembers
# ======================================================================================================


class MemoryTest(RoomCase):
    """With a history, whatever happens to the server: what has a receipt is there once, and nobody misses anything."""

    USUAL = {"remembers": True}

    @mock.patch.multiple(chat, LOG_ENTRIES_MIN=5, LOG_SECONDS_MIN=1)
    def test_who_was_away_for_long_gets_what_it_missed_from_the_file(self):
        _, bob = self.room("ann", "bob", rate=0)
        with self.cut_off(bob):
            self.say_all("ann", numbered(60))
        self.run_for(20)
        self.assertHeard("bob", *numbered(60))
        self.assertEqual([], bob.all(GONE))
        self.assertEqual([False, True], [event.again for event in bob.all(Connected)])

    # --- a disk that is full

    def test_no_room_is_opened_on_a_disk_that_is_full(self):
        with mock.patch.object(Disk, "full", True), self.assertRaises(LogFailure):
            self.room()

    def full_disk(self, *names):
        """Make a room whose disk is full, and let the first one in it say "one"."""
        people = self.room(*names)
        self.network.log.full = True
        self.say(names[0], "one", 2)
        return people

    def make_room(self, seconds=10):
        self.network.log.full = False
        self.run_for(seconds)

    def assertStuck(self, *expected):
        for name in ("ann", "bob"):
            told = itertools.groupby(event.stuck for event in self.someone(name).all(Status))
            self.assertEqual([False, *expected], [stuck for stuck, _ in told])

    def test_while_the_disk_is_full_members_are_told_and_messages_wait(self):
        self.full_disk("ann", "bob")
        self.sent()
        self.say("bob", "two", 40)
        self.assertLess(self.sent()["Sync"], 4, "what the server holds is not sent again")
        self.assertStuck(True)
        self.assertHeard("bob")
        self.assertSent("ann", 0)
        self.assertEqual({"ann", "bob"}, set(self.members()))
        self.make_room(3)
        self.assertStuck(True, False)
        self.assertHeard("bob", "one")
        self.assertHeard("ann", "two")
        self.assertSent("ann", 1)
        stuck = [event.why for event in self.network.server_events if event.what in ("stuck", "goes on")]
        self.assertEqual(["The disk is full.", ""], stuck)

    def test_what_is_written_can_be_read_while_the_disk_is_full_though_nothing_is_shown_yet(self):
        self.room("ann")
        self.say("ann", "before")
        cem = self.arrive("cem", earlier=0)
        self.network.log.full = True
        self.say("ann", "waits", 3)
        self.assertEqual(["before"], self.texts(self.pull(cem)))
        self.assertEqual([], self.pull(cem))

    def test_a_login_waits_for_room_on_the_disk(self):
        self.full_disk("ann")
        self.assertRefused(self.come("cem", seconds=60), TRY_LATER)
        bob = self.come("bob", seconds=15)
        self.assertFalse(bob.connected() or bob.all(LoginFailed))
        self.make_room()
        self.assertTrue(bob.connected())
        self.assertHeard("bob", "one")

    def test_nobody_gets_the_name_of_a_silent_member_while_the_disk_is_full(self):
        _, bob = self.room("ann", "bob")
        self.network.vanish(bob)
        again = self.come("bob", key="bob again", seconds=1)  # The holder is asked now.
        self.network.log.full = True
        self.say("ann", "one", 10)
        self.assertFalse(again.connected())
        self.make_room()
        self.assertTrue(again.connected())
        self.assertSent("ann", 1)

    # --- earlier messages

    def page(self, person, count):
        """Ask for earlier messages; return the answer."""
        before = len(person.all(EarlierRead))
        person.earlier(count)
        self.assertTrue(self.network.run(60, lambda: len(person.all(EarlierRead)) > before))
        return person.all(EarlierRead)[-1]

    def pull(self, person, count=50):
        """Ask for earlier messages until there are none; return all events, oldest first."""
        found = []
        for _ in range(100):
            answer = self.page(person, count)
            found[:0] = answer.events
            if answer.beginning:
                return found
        raise AssertionError("no beginning in sight")

    def texts(self, events):
        return [event.text for event in events if SAID(event)]

    def test_one_can_page_back_to_the_beginning_in_any_weather(self):
        for remembers in (True, False):
            self.room("ann", "bob", rate=0, remembers=remembers)
            texts = ["%d %s" % (number, "x" * (number % 7) ** 5) for number in range(150)]
            for number, text in enumerate(texts):
                self.say(("ann", "bob")[number % 2], text, 0.05)
            self.announce("the end", seconds=5)
            cem = self.arrive("cem", earlier=5)
            self.network.weather = Weather(0.3, 0.2, 0.002, 0.02)
            events = self.pull(cem, 40)
            self.assertEqual(texts, self.texts(events) + cem.texts())
            seqs = [event.seq for event in events]
            self.assertEqual(seqs, sorted(set(seqs)))
            self.assertEqual(("The room was opened.", True), (events[0].text, events[0].earlier))

    def test_paging_begins_where_it_was_and_takes_as_many_as_asked(self):
        self.room("ann", rate=0)
        self.say_all("ann", numbered(30), 0.1)
        bob = self.arrive("bob", earlier=10)
        began = self.network.now
        for count, asked, first in ((7, 7, 13), (6, 6, 7), (1, 0, 6)):
            self.assertEqual(numbered(count, first), self.texts(self.page(bob, asked).events))
        self.assertLess(self.network.now - began, chat.GRACE_SECONDS, "at once")
        self.say("ann", "news")
        self.assertEqual(numbered(6), self.texts(self.pull(bob)))

    def test_earlier_private_messages_are_for_their_parties(self):
        self.room("ann")
        bob = Insider(self.network, "bob", b"b" * 16).enter()
        eve = Insider(self.network, "eve", b"e" * 16, host="10.0.3.2").enter()
        self.run_for(1)
        self.say("ann", "psst", to_name="bob")
        self.say("ann", "hi")
        for member, texts in ((bob, ["psst", "hi"]), (eve, ["hi"])):
            answers = member.tell(Pull(EARLIER, 0, self.network.log.head, 50, 16))
            entries = [entry for message in answers for _, entry in decode_batch(message.batch)[1]]
            self.assertEqual(texts, [entry.text for entry in entries if entry.kind in (chat.TEXT, PRIVATE)])

    @mock.patch.multiple(chat, LOG_ENTRIES_MIN=20, LOG_SECONDS_MIN=1)
    def test_what_is_forgotten_is_not_paged(self):
        self.room("ann", remembers=False, rate=0)
        self.say_all("ann", numbered(60))
        texts = self.texts(self.pull(self.arrive("bob", earlier=2), 5))
        self.assertEqual(numbered(len(texts), 58 - len(texts)), texts)


# ======================================================================================================
# Attacks
# ======================================================================================================
# Each test is a sentence about an attacker: a stranger, a listener who can also speak from any address, a
# false server, or a member.  samsungchat.py names these tests where a line holds the hole closed.


class AttackTest(RoomCase):
    """No attacker gets further than the module docstring says."""

    def sealed(self, *targets):
        """Return the sealed datagrams on the wire so far, to those targets."""
        codes = {kind.code for kind in (Hello, Offer, Later, Login, Keys)}
        return [data for _, target, data in self.network.wire if target in targets and data[1] not in codes]

    # --- a listener

    def advise(self, person, code, session, seconds):
        """Let somebody say to a client, from the server's address, what is not sealed."""
        self.inject(SERVER, person.address, encode_unsealed(Later(session + bytes(12), code)), seconds=seconds)

    def test_nothing_on_the_wire_can_be_read(self):
        self.room(weather=Weather(0.2, 0.1, 0.01, 0.02), room="Chamber of secrets")
        annabel, _, cemile = (self.arrive(name) for name in ("annabel", "boblina", "cemile"))
        self.say("annabel", "the treasure is under the oak", seconds=5)
        self.say("annabel", "the key is under the mat", to_name="boblina", seconds=5)
        cemile.leave(seconds=5)
        self.assertHeard("boblina", "the treasure is under the oak", "the key is under the mat")
        wire = b"\n".join(data for _, _, data in self.network.wire).lower()
        for word in ("annabel", "boblina", "cemile", "treasure", "oak", "under", "secret\x00", "left"):
            self.assertNotIn(word.encode(), wire)
        self.assertNotIn(annabel.all(Connected)[0].member, wire)
        self.assertLess(6, len({data[1] for _, _, data in self.network.wire}), "most types of messages were seen")
        self.assertEqual([], [data for _, _, data in self.network.wire if data[0] < 0xF5], "no text in UTF-8 begins so")

    def test_a_recorded_session_cannot_be_replayed(self):
        _, bob = self.room("ann", "bob")
        self.say("ann", "pay him")
        recorded = list(self.network.wire)
        for waiting in (0, 5, 20):
            self.run_for(waiting)
            with self.assertNobodyNotices():
                for source, target, data in recorded:
                    self.network.inject(data, source, target)
                self.run_for(3)
        self.assertGreater(self.server.dropped["replayed"], 0)
        self.assertGreater(bob.client.dropped["replayed"], 0)
        self.assertRoomWorks()

    def test_a_recorded_login_cannot_be_replayed(self):
        insider = self.stranger()
        insider.begin()
        proof = insider.session.seal(Proof(1, bytes(16), bytes(16), 0, 0, 1, 0, "eve"))
        insider.ask(proof)
        insider.tell(Bye(""))
        self.assertEqual({}, self.members())
        for waiting in (0, 5, 20):
            self.run_for(waiting)
            insider.ask(insider.login)
            insider.ask(proof)
            self.assertEqual({}, self.members())
        self.assertEqual((2, 1), (self.server.dropped["late login"], self.server.dropped["old cookie"]))

    def test_a_forged_datagram_has_no_effect(self):
        ann, bob = self.room("ann", "bob")
        self.say("ann", "hello")
        to_server, to_bob = self.sealed(SERVER)[-1], self.sealed(bob.address)[-1]
        with self.assertNobodyNotices():
            self.inject(ann.address, SERVER, *damaged(to_server))
            self.inject(SERVER, bob.address, *damaged(to_bob))
        self.assertGreater(self.server.dropped["forged"], 8 * len(to_server) - 8 * 6)
        self.assertRoomWorks()

    def test_a_datagram_sent_back_has_no_effect(self):
        self.room("ann", "bob")
        self.say("ann", "hello")
        with self.assertNobodyNotices():
            for source, target, data in list(self.network.wire):
                self.network.inject(data, target, source)
            self.run_for(3)
        self.assertRoomWorks()

    # --- an address that is not his own

    def spoof(self, insider, *messages, host="10.6.6.6"):
        """Let an insider send messages from another address; return what listens there, and the bytes sent."""
        victim = Peer(self.network, "victim", (host, 666))
        sealed = list(map(insider.session.seal, messages))
        self.inject(victim.address, SERVER, *sealed, seconds=0.2)
        return victim, sum(map(len, sealed))

    def respond(self, insider, victim, *through):
        """Answer the newest challenge from where it came, or from others; return what comes there then."""
        response = Response(insider.session.open(victim.inbox[-1]).token)
        victim.inbox.clear()
        for each in through or [victim]:
            self.inject(each.address, SERVER, insider.session.seal(response), seconds=0.2)
        return [insider.session.open(data) for data in victim.inbox]

    def test_who_repeats_a_datagram_from_elsewhere_leads_a_client_away_until_the_next(self):
        (ann, bob) = self.room("ann", "bob")
        with self.cut_off(bob):
            self.say("ann", "lost")
            data = next(data for _, target, data in reversed(self.network.wire) if target == bob.address)
        self.inject(("10.6.6.6", 1), bob.address, data, seconds=0.01)
        bob.say("hello")
        self.assertEqual("10.6.6.6", self.network.wire[-1][1][0])
        self.run_for(3)
        self.assertHeard("ann", "hello")

    def test_who_passes_a_login_on_and_goes_leaves_a_client_in_the_room(self):
        (ann,) = self.room("ann")
        whole, relay = self.network.send, Peer(self.network, "relay", ("10.6.6.6", 1))
        relay.receive = lambda data, source, now: self.network.inject(data, source, SERVER)

        def send(data, source, target=SERVER):
            whole(data, relay.address if data[1] == Offer.code else source, target)

        with mock.patch.object(self.network, "send", send):
            bob = self.arrive("bob")
        self.network.cores.pop(relay.address)
        bob.say("hello", seconds=3)
        self.assertHeard("ann", "hello")

    def assertChallenged(self, victim, count):
        self.assertEqual([(Challenge.code, 38)] * count, [(data[1], len(data)) for data in victim.inbox])

    def test_an_address_that_proves_nothing_gets_no_more_than_came_from_it(self):
        carol = self.insider("ann", "bob", rate=0)
        for number in range(1, 4):  # To log in anew brings the victim nothing.
            carol.inbox.clear()
            questions = [Sync(0, 1, 0, 16), Pull(EARLIER, 0, 1, 99, 16), Response(bytes(8))] * 9
            victim, sent = self.spoof(carol, *questions)
            self.assertChallenged(victim, 18)
            self.assertLess(18 * 38, sent)
            self.assertIn(Entries, map(type, carol.received()), "where it is known to receive, it is served")
            carol = Insider(self.network, "carol%d" % number, carol.instance, voucher=carol.voucher).enter()
        for text, count in (("as long", 1), ("shorter", 0)):
            victim, _ = self.spoof(carol, Bye(text[count - 1 :]))
            self.assertChallenged(victim, count)

    def test_a_login_that_goes_on_elsewhere_is_answered_where_it_began(self):
        self.room("ann")
        for name, kind in (("carol", Welcome), ("ann", Refused)):
            carol = Insider(self.network, name, name.encode() * 4)
            carol.begin()
            carol.inbox.clear()
            proof = Proof(1, carol.instance, bytes(16), 0, 0, 1, 0, name)
            victim, _ = self.spoof(carol, *[proof] * 3, host=name)
            self.assertIn(kind, map(type, carol.received()))
            self.assertChallenged(victim, 3)
            self.respond(carol, victim)
            victim, _ = self.spoof(carol, proof, host=name)
            self.assertIn(kind, [type(carol.session.open(data)) for data in victim.inbox], "who receives there, is in")

    def test_a_session_that_is_over_says_so_only_where_its_member_receives(self):
        carol = self.insider("ann")
        carol.tell(Bye(""))
        victim, _ = self.spoof(carol, *[Sync(0, 1, 0, 16)] * 9)
        self.assertChallenged(victim, 9)
        self.assertEqual([Bye("")], self.respond(carol, victim))

    def test_a_response_from_another_address_moves_nobody(self):
        carol = self.insider("ann", "bob")
        here, _ = self.spoof(carol, Sync(0, 1, 0, 16))
        other = Peer(self.network, "other", ("10.6.6.7", 666))
        self.respond(carol, here, other)
        self.assertEqual((carol.address, []), (self.addresses()["carol"], other.inbox))
        here, _ = self.spoof(carol, Sync(0, 1, 0, 16))
        del self.network.wire[:]
        response = carol.session.seal(Response(carol.session.open(here.inbox[-1]).token))
        late = carol.session.seal(Response(bytes(8)))
        self.inject(here.address, SERVER, late, response)
        self.assertEqual(carol.address, self.addresses()["carol"])

    def test_a_live_member_that_has_just_moved_keeps_its_name(self):
        carol = self.insider("ann")
        new, _ = self.spoof(carol, Sync(0, 1, 0, 16))
        self.network.vanish(carol)
        other = self.come("carol", seconds=1)
        self.assertChallenged(new, 2)  # One more, and not one for each ping.
        self.respond(carol, new)
        self.run_for(3)
        self.assertRefused(other, USERNAME_TAKEN)
        self.assertEqual(new.address, self.addresses()["carol"])

    # --- an instance that is not his own

    def believe_a_false_server(self, person):
        """Let somebody log in at a server in the true one's place that knows the password; return the PROOF it saw."""
        self.network.kill_server()
        liar = LyingServer(self.network, SERVER)
        self.network.cut.update(other.address for other in self.network.people.values() if other is not person)
        self.network.run(30, lambda: bool(liar.proofs))
        self.network.cut.clear()
        self.network.start_server()
        return liar.proofs[-1]

    def test_an_instance_is_not_enough_to_take_its_members_place(self):
        ann, _ = self.room("ann", "bob", remembers=True)
        self.say("bob", "psst", to_name="ann")
        seen = self.believe_a_false_server(ann)
        for change in (None, None, ann.leave, self.network.restart_server):
            here = not change
            (change or str)()
            for name, shown in (("eve", seen.shown), ("ann", bytes(16))):
                answers = Insider(self.network, name, seen.instance).prove(attempt=2**32 - 1, shown=shown)
                self.assertEqual([Refused(ANOTHER_LOGIN, REFUSALS[ANOTHER_LOGIN])], answers)
            self.run_for(20)
            self.assertEqual(here, "ann" in self.members(), "its owner is not locked out")
        self.assertEqual(1, len({event.member for event in ann.all(Connected)}))
        self.assertEqual([], ann.all(LoginFailed))

    def test_who_comes_first_under_an_instance_that_he_has_seen_locks_nobody_out(self):
        self.room("bob")
        ann = self.come("ann", seconds=0)
        seen = self.believe_a_false_server(ann)
        Insider(self.network, "eve", seen.instance).enter(attempt=2**32 - 1)
        self.run_for(20)
        self.assertEqual((["ann", "bob", "eve"], []), (sorted(self.members()), ann.all(LoginFailed)))

    def test_a_lost_welcome_locks_nobody_out_and_changes_nobody(self):
        for welcomed in (True, False):
            self.room("bob")
            ann = self.come("ann", seconds=1 if welcomed else 0)
            if welcomed:  # By another room.
                self.network.restart_server()
            self.network.run(20, lambda: "ann" in self.members())
            self.network.vanish(ann)
            self.run_for(10)
            self.network.come_again(ann)
            self.run_for(10)
            self.assertEqual(1, len({event.member for event in ann.all(Connected)}))
            self.assertEqual([], ann.all(LoginFailed))
            self.assertRoomWorks()

    def test_a_late_attempt_of_an_older_login_neither_moves_a_member_nor_ends_the_server(self):
        for vanished in (False, True):  # Then both wait until it is known that who has the name is gone.
            ann, _ = self.room("ann", "bob")
            if vanished:
                self.network.vanish(ann)
            name, sides = "ann" if vanished else "eve", []
            for number, attempt in enumerate((5, 3)):
                eve = Insider(self.network, name, b"e" * 16, host="10.3.0.%d" % number)
                eve.pace, eve.voucher = 0.05, sides[0].voucher if sides else bytes(16)
                answers = eve.prove(attempt=attempt)
                eve.voucher = answers[0].voucher if answers and not sides else bytes(16)
                eve.inbox.clear()
                sides.append(eve)
            self.run_for(5)
            self.assertIn(Refused(ANOTHER_LOGIN, REFUSALS[ANOTHER_LOGIN]), answers + sides[1].received())
            self.assertEqual(sides[0].address, self.addresses()[name])
            self.say("bob", "still here")

    def test_advice_that_is_not_sealed_disconnects_nobody(self):
        ann, bob = self.room("ann", "bob")
        session = self.sealed(bob.address)[-1][2:6]
        with self.assertNobodyNotices():
            for code in (UNKNOWN_SESSION, TRY_LATER, VERSION_MISMATCH, SERVER_CLOSED, KICKED, SUPERSEDED):
                self.advise(bob, code, session, 0.0002)
            bye = Session(session, b"?" * 64, server=True).seal(Bye(KICKED))
            self.inject(SERVER, bob.address, bye, seconds=0.0002)
        self.assertIs(State.CONNECTED, bob.client.state)
        self.run_for(5)
        self.assertEqual(([], []), (bob.all(Disconnected, LoginFailed), ann.all(WENT)))
        for _ in range(200):
            self.advise(bob, UNKNOWN_SESSION, session, 0.05)
        self.assertEqual(1, len(bob.all(Connected)), "it causes no logins either")
        self.assertRoomWorks()

    def test_advice_about_a_question_that_may_still_be_answered_is_not_taken(self):
        (ann,) = self.room("ann", weather=Weather(delay=0.1))
        for waited, hellos in ((0.3, False), (0.6, True)):
            self.run_for(10)
            with self.cut_off():
                self.say("ann", "hello", seconds=waited)
            session = self.sealed(SERVER)[-1][2:6]
            self.sent()
            self.advise(ann, UNKNOWN_SESSION, session, 0.05)
            self.assertEqual(hellos, "Hello" in self.sent())

    def test_who_does_not_hear_the_login_cannot_disturb_it(self):
        self.room(weather=Weather(delay=0.02))
        ann = self.come("ann", seconds=0)
        for _ in range(60):
            nonce = self.network.entropy(16)
            keys = Session(b"evil", bytes(64), server=True).seal(Keys(nonce, bytes(32)))
            others = (Later(nonce, TRY_LATER), Offer(nonce, bytes(20), bytes(8), 1, 9, 0, 0, "Trap"))
            self.inject(SERVER, ann.address, *map(encode_unsealed, others), keys, seconds=0.002)
        self.run_for(1)
        self.assertTrue(ann.connected())
        self.assertEqual(180, ann.client.dropped["not of this login"] + ann.client.dropped["unknown session"])

    def test_one_false_key_does_not_end_a_login(self):
        self.room(weather=Weather(delay=0.02))
        ann = self.come("ann", seconds=0)
        nonce = decode_unsealed(self.network.wire[-1][2]).nonce
        self.run_for(0.05)
        keys = Session(b"evil", bytes(64), server=True).seal(Keys(nonce, b"\x09" + bytes(31)))
        self.inject(SERVER, ann.address, keys)
        self.assertTrue(ann.connected())
        self.assertEqual(1, ann.client.dropped["forged"])

    # --- a stranger

    def test_a_stranger_gets_no_answer_larger_than_its_question(self):
        stranger = self.stranger("ann")
        draw, answers = self.network.draw, 0
        known = [data for _, target, data in self.network.wire if target == SERVER]
        for number in range(1500):
            data = known[int(draw() * len(known))][: int(draw() * 400)]
            if number % 3:
                data = self.network.entropy(int(draw() * 200))
            if number % 3 == 1:
                data = bytes((VERSION_BYTE, int(draw() * 16))) + data
            elif number % 3 == 2:
                data = bytes((0xF8 + int(draw() * 8), int(draw() * 16))) + data
            sizes = [len(answer) for answer in stranger.ask(data, seconds=0.002)]
            self.assertLessEqual(sum(sizes), len(data))
            answers += len(sizes)
        self.assertGreater(answers, 100)
        self.assertRoomWorks()

    def test_two_servers_cannot_be_made_to_answer_each_other(self):
        self.room("ann")
        place = ("10.0.0.2", 11111)
        for code in chat.MESSAGE_TYPES:
            for version in (VERSION_BYTE, VERSION_BYTE + 1):
                self.network.cores[place] = Server(Log(1), "secret", self.network.entropy, self.network.now, EPOCH)
                del self.network.wire[:]
                self.inject(place, SERVER, bytes((version, code)) + bytes(158), seconds=0.1)
                talk = [data for source, target, data in self.network.wire if place in (source, target)]
                self.assertLessEqual(len(talk), 1, code)

    def test_a_spoofed_address_costs_no_multiplication(self):
        stranger = self.stranger()
        login = stranger.login_with()
        other = replace(decode_unsealed(login), nonce=b"?" * 16)
        with self.assertDropped("cookie"), mock.patch.object(chat, "Exchange", side_effect=AssertionError):
            self.network.inject(login, ("10.6.6.6", stranger.address[1]))
            self.network.inject(encode_unsealed(other), stranger.address)
            self.run_for(1)
        self.assertEqual(2, self.server.dropped["cookie"])

    def test_a_low_order_share_gets_no_answer_and_a_repeated_login_costs_no_multiplication(self):
        stranger = self.stranger()
        self.assertEqual([], stranger.ask(stranger.login_with(bytes(32))))
        self.assertEqual({"low-order share": 1}, dict(self.server.dropped))
        first = stranger.begin()
        with mock.patch.object(chat, "Exchange", side_effect=AssertionError):
            for _ in range(40):
                self.assertEqual(first, stranger.ask(stranger.login))

    def test_guessing_online_is_slow(self):
        stranger = self.stranger()
        stranger.pace = 0.01
        for count, least, most in ((40, LOGIN_BURST, LOGIN_BURST), (20, 10, 11)):
            for _ in range(3):  # Who knows the password gives nobody another guess.
                Insider(self.network, "bob", self.network.entropy(16)).enter().tell(Bye(""))
            answers = [stranger.begin("guess %d" % number)[0][1] for number in range(count)]
            tested = answers.count(Keys.code)  # The server showed whether these are right.
            self.assertTrue(least <= tested <= most, tested)
            self.assertEqual(count - tested, answers.count(Later.code))
            self.arrive("ann", seconds=0.5, key="ann %d" % count).leave()  # Who is elsewhere is not locked out.
            self.run_for(10 * LOGIN_SECONDS)

    def test_who_asks_anew_while_he_waits_keeps_his_place_and_pays_once(self):
        self.room()
        ann, bob = ("10.0.3.1", 7000), ("10.0.3.2", 7000)
        for address in [ann] + [bob] * (LOGIN_BURST + 9) + [ann]:
            login = self.login_of(address)
            self.server.receive(login, address, self.network.now)
            self.assertEqual([], self.answers(Later))
        self.assertEqual([[ann], [bob], []], [self.answers(Keys, turn=True) for _ in range(3)])
        self.server.receive(login, ann, self.network.now)
        self.assertEqual([ann], self.answers(Keys), "the newest LOGIN was answered, and is again without a turn")

    def test_the_room_goes_on_while_somebody_logs_in(self):
        self.room("ann")
        for number in range(3):
            address = ("10.0.3.%d" % number, 7000)
            self.server.receive(self.login_of(address), address, self.network.now)
            self.server.outgoing()
        answered = []
        for talk in (False, True, True, True):
            if talk:
                self.server.say("hello", self.network.now)
            answered.append(len(self.answers(Keys, turn=True)))
        self.assertEqual([1, 0, 1, 0], answered, "one a turn, but none where there is talk, though not twice")

    def answers(self, kind, turn=False):
        """Return to which addresses the server has just sent such messages, or sends some in a turn."""
        if turn:
            self.server.tick(self.network.now)
        single = [item for item in self.server.outgoing() if isinstance(item, Datagram)]
        return [datagram.address for datagram in single if datagram.data[1] == kind.code]

    def login_of(self, address):
        """Return a LOGIN from an address, with a cookie that was given to it."""
        nonce = self.network.entropy(16)
        self.server.receive(encode_unsealed(Hello(nonce)), address, self.network.now)
        offer = decode_unsealed(self.server.outgoing()[-1].data)
        return encode_unsealed(Login(nonce, offer.cookie, b"\x09" + bytes(31)))

    def test_a_server_full_of_begun_logins_lets_strangers_in(self):
        self.room("ann")
        with mock.patch.object(chat, "HALF_OPEN_MAX", 20):
            begun = [Insider(self.network, "eve", host="10.7.0.%d" % number) for number in range(25)]
            self.assertEqual([Keys.code] * 25, [each.begin("guess")[0][1] for each in begun])
            self.arrive("bob", seconds=1)
            oldest = begun[0].ask(begun[0].session.seal(Sync(0, 1, 0, 16)))
            self.assertEqual([Later.code], [data[1] for data in oldest], "it is forgotten")

    def test_one_address_with_thousands_of_ports_keeps_no_stranger_out(self):
        self.room("ann")
        with mock.patch.object(chat, "LOGIN_BURST", 2000):
            crowd = [("10.7.7.%d" % (number % 2), number) for number in range(2000)]
            self.ask_to_come_in(crowd)
            self.assertEqual(2000 - LOGIN_QUEUE_MAX, len(self.answers(Later)))
        self.ask_to_come_in([("10.8.8.8", 1), ("10.8.8.8", 2), ("10.9.9.9", 1)])
        turns = [address[0][3:] for _ in range(10) for address in self.answers(Keys, turn=True)]
        self.assertEqual(["7.7.0", "7.7.1", "8.8.8", "9.9.9", "7.7.0", "7.7.1", "8.8.8"], turns[:7])

    def test_four_thousand_addresses_that_guess_keep_no_stranger_out(self):
        self.room("ann")
        crowd = [("10.7.%d.%d" % divmod(number, 250), 7000) for number in range(4000)]
        with mock.patch.object(chat, "Exchange", **{"return_value.key.side_effect": chat.MalformedDatagram("a guess")}):
            self.ask_to_come_in(crowd)
            for _ in range(4000):
                self.server.tick(self.network.now)
            self.ask_to_come_in(crowd)
            self.assertEqual([], self.answers(Later))
        for name in ("bob", "cem", "dan"):
            self.arrive(name, host="10.9.9.9", seconds=0.02)

    def ask_to_come_in(self, crowd):
        """Send a LOGIN from every address; no arithmetic comes of it yet."""
        logins = [(self.login_of(address), address) for address in crowd]
        with mock.patch.object(chat, "Exchange", side_effect=AssertionError):
            for login, address in logins:
                self.server.receive(login, address, self.network.now)

    def test_one_address_that_fills_the_room_keeps_no_stranger_out(self):
        self.room(members_max=4)
        crowd = [self.arrive("m%d" % number, host="10.9.9.9") for number in range(4)]
        for number in (0, 1, 2):
            self.arrive("s%d" % number, seconds=1)
        for loser in crowd[:0:-1]:
            self.assertRefused(loser, chat.CROWDED_OUT)
            self.assertSawLeave("m0", loser.name, "crowded out")
        logins = [data for _, target, data in self.network.wire if data[1] == Login.code]
        self.run_for(60)
        self.assertEqual(logins, [data for _, target, data in self.network.wire if data[1] == Login.code], "no fight")
        self.assertRefused(self.come("s3"), chat.ROOM_FULL)
        crowd[3].login(seconds=5)
        self.assertEqual({"m0", "s0", "s1", "s2"}, set(self.members()), "equal shares; nobody takes another's")

    def test_thirty_people_behind_one_address_and_a_thousand_on_this_machine_come_at_once_and_notice_nothing(self):
        usual, few = {"LOGIN_BURST": LOGIN_BURST}, {"LOGIN_BURST": 3, "LOGIN_QUEUE_MAX": 20}
        for count, host, within, limits in ((30, "10.9.9.9", 0.5, usual), (60, "127.0.0.1", 4, few)):
            with mock.patch.multiple(chat, **limits):
                self.room(members_max=count)
                crowd = [self.come("m%d" % number, host=host, seconds=0) for number in range(count)]
                self.run_for(within)
                self.assertEqual(0, sum(not person.connected() for person in crowd))
                for person in crowd:
                    person.say("hello from " + person.name)
                self.run_for(0.5)
                self.assertEqual({count - 1}, {len(person.texts()) for person in crowd})

    # --- a server that knows the password and lies

    def lied_to(self):
        self.room()
        self.liar = LyingServer(self.network)
        self.victim = self.come("victim", seconds=1, places=[self.liar.address])
        return self.victim.client

    def lie(self, *entries, head=99, first=1):
        """Let it say that these entries stand in its log."""
        batch = encode_batch(head, first, b"".join(map(encode_entry, entries)))
        self.tell_lie(Entries(0, 0, 0, 0, 1, bytes(32), batch))

    def tell_lie(self, message):
        self.inject(self.liar.address, self.victim.address, self.liar.session.seal(message), seconds=0.01)

    def test_a_roster_that_never_comes_holds_back_only_so_much(self):
        with mock.patch.object(chat, "HELD_EVENTS_MAX", 10):
            self.lied_to()
            for number in range(1, 12):
                self.assertEqual([], self.victim.all(Connected))
                self.lie(Entry(NOTICE, 5, text="notice %d" % number), first=number)
        for head, connected in ((5, 1), (11, 2)):  # What is not held any more has to be in the view that counts.
            self.tell_lie(Page(STANDING, 0, head, encode_batch(head, head + 1, b"")))
            self.assertEqual(connected, len(self.victim.all(Connected)))
        self.assertEqual(11, len(self.victim.all(NOTICED)))
        self.assertIsInstance(self.victim.all(Connected, NOTICED)[0], Connected)

    def test_members_are_those_of_the_view_and_of_the_log_behind_it(self):
        ann, bob, eve = (Entry(JOINED, 9, name.encode(), name=name) for name in ("ann", "bob", "eve"))
        for until, listed, here in ((109, (ann, bob), (ann, eve)), (112, (ann,), (ann,))):
            for log_first in (True, False):
                client = self.lied_to()
                view = encode_batch(until, until - len(listed) + 1, b"".join(map(encode_entry, listed)))
                tell_view = functools.partial(self.tell_lie, Page(STANDING, 0, until - len(listed), view))
                tell_log = lambda: self.lie(Entry(SKIP, 9, count=109), eve, replace(bob, kind=LEFT), head=112)  # noqa: E731
                for tell in (tell_log, tell_view) if log_first else (tell_view, tell_log):
                    tell()
                for entry in (ann, bob, eve):
                    client.say("hi", self.network.now, to_name=entry.name)
                named = [event.entry.to_name for event in client.events() if isinstance(event, Queued)]
                self.assertEqual([entry.name for entry in here], named)

    def test_a_server_cannot_keep_busy_who_leaves(self):
        client = self.lied_to()
        self.victim.leave()
        self.tell_lie(Entries(0, 0, 0, ASK, 1, bytes(32), encode_batch(0, 1, b"")))
        client.tick(self.network.now)
        self.assertGreater(client.deadline(), self.network.now)

    def test_what_is_said_twice_is_shown_once_and_what_never_ends_not_at_all(self):
        self.lied_to()
        self.tell_lie(Page(STANDING, 0, 5, encode_batch(5, 6, b"")))
        self.victim.say("mine")
        self.lie(*(text_entry("x%d" % number, number) for number in (5, 5, 6, 7, 6)))
        own = self.victim.all(Connected)[0].member
        self.lie(text_entry("mine", 1, own, last=False), text_entry("mi", 1, own), first=6)
        self.assertEqual(["x5", "x6", "x7"], self.victim.texts())
        self.assertEqual(["mi"], [event.text for event in self.victim.all(RECEIPT)])

    def test_what_another_server_says_that_it_has_taken_is_sent_to_this_one(self):
        self.lied_to()
        self.victim.say("hello")
        self.tell_lie(Entries(0, 1, 0, 0, 1, bytes(32), encode_batch(5, 6, b"")))
        self.victim.login(seconds=5)
        self.assertIn("hello", [entry.text for entry in self.entries()])

    def test_what_a_server_invents_fills_no_memory(self):
        client = self.lied_to()
        before = weight(client)
        with mock.patch.object(chat, "ROSTER_MAX", 5):
            for number in range(1, 501):
                joined = encode_entry(Entry(JOINED, 5, b"%8d" % number, name="m%d" % number))
                self.tell_lie(Page(STANDING, ASK, 0, encode_batch(10**6, number, joined)))
        self.assertGreater(len(self.liar.inbox), 500, "the next page is asked for at once")
        self.assertLess(weight(client), before + 300)
        with mock.patch.multiple(chat, SHOWN_MEMBERS_MAX=5, HELD_EVENTS_MAX=5):
            for number in range(1, 401):
                self.lie(text_entry("x", author=b"%8d" % number), first=number, head=10**6)
        self.lie(Entry(SKIP, 5, count=10**12), first=900, head=10**15)
        self.lie(Entry(SKIP, 5, count=chat.BUFFER_ENTRIES_MAX + 1), first=402, head=10**15)
        self.lie(*[text_entry("y", number, first=False, last=False) for number in range(25)], first=401, head=10**15)
        self.assertLess(weight(client), before + 300)

    # --- a false server

    def test_a_false_server_tests_two_guesses_at_most(self):
        self.room()
        false = FalseServer(self.network)
        ann = self.come("ann", seconds=30, places=[false.address])
        self.assertRefused(ann, WRONG_PASSWORD)
        self.assertEqual(2, ann.client.dropped["forged"])
        self.assertEqual(0, sum(data[1] == Proof.code for data in false.inbox))

    def test_advice_does_not_undo_a_wrong_password(self):
        for reason in (TRY_LATER, VERSION_MISMATCH, UNKNOWN_SESSION):
            self.room()
            false = FalseServer(self.network, guesses=2, advice=[reason] * 99)
            ann = self.come("ann", places=[false.address])
            self.run_for(60)
            self.assertRefused(ann, WRONG_PASSWORD)
            self.assertEqual(2, ann.client.dropped["forged"], reason)

    def test_while_reconnecting_a_false_server_gets_few_guesses_however_it_changes_its_answers(self):
        for changing in (0, 1):
            (ann,) = self.room("ann")
            self.network.kill_server()
            false = FalseServer(self.network, SERVER, guesses=2)
            for number in range(60):
                false.guesses, false.advice = ((2, []), (0, [TRY_LATER]))[number % 2 * changing]
                self.run_for(10)
            self.assertIs(State.RECONNECTING, ann.client.state)
            self.assertEqual(
                [1, 1], [[event.code for event in ann.all(Disconnected)].count(code) for code in ("", WRONG_PASSWORD)]
            )
            self.assertLess(ann.client.dropped["forged"], 40)  # Ten minutes: two guesses a minute, and the first ones.
            self.assertGreater(len(false.inbox), 3)

    def test_a_false_server_among_the_addresses_does_not_keep_one_out(self):
        for order in (1, -1):
            self.room(weather=Weather(delay=0.005, jitter=0.01), seed=order + 1)
            false = FalseServer(self.network, guesses=1)
            self.arrive("ann", seconds=5, places=[SERVER, false.address][::order])

    def test_nobody_is_let_in_under_a_name_that_is_not_its_own(self):
        for under, state in (("eve", State.CONNECTING), ("ANN", State.CONNECTED)):
            self.room()
            liar = LyingServer(self.network)
            liar.under = under
            ann = self.come("ann", seconds=3, places=[liar.address])
            self.assertIs(state, ann.client.state)
            self.assertEqual(state is State.CONNECTING, "welcome under another name" in ann.client.dropped)

    # --- a member

    def test_who_is_known_to_have_everything_is_not_told_the_head_before_the_next_heartbeat(self):
        carol = self.insider("ann")
        for behind, kinds in ((1, [Entries, Room]), (0, [Entries])):
            self.announce("x", seconds=0.01)
            self.assertEqual(kinds, list(map(type, carol.sync(self.network.log.head - behind))))

    def test_who_says_something_is_answered_by_its_entry_unless_it_cannot_read_that_or_asks_again(self):
        carol = self.insider("ann", rate=0)
        for _ in range(1100):
            self.server.say("x", self.network.now)
        carol.pace = 0.01
        for number, (behind, key, most, answered) in enumerate(
            ((0, 0, 16, False), (1024, 0, 16, False), (1025, 0, 16, True), (0, 1, 16, True), (0, 0, 8, True)), 1
        ):
            sync = Sync(self.network.log.head - behind, carol.welcome.key_id - key, 0, most, (part(number, "x"),))
            self.network.wake(SERVER)
            self.assertEqual(answered, Entries in map(type, carol.tell(sync)))

    def test_who_loses_much_is_sent_the_newest_entries_again_until_it_has_them(self):
        carol = self.insider("ann", rate=0)
        carol.pace, came = 0.21, []

        def again(seconds=3):
            carol.inbox.clear()
            self.announce("x", seconds=seconds)
            came[:] = [each for each in carol.received() if isinstance(each, Entries)]
            return [len(carol.readable(each)) for each in came]

        for seconds, rtt, lossy in ((0.03, 0, 0), (0.1, 40, 0), (0.1, 25, 1)):
            again(seconds)
            answers = carol.tell(Sync(self.network.log.head - 1, 1, rtt, 16))
            self.assertEqual([1 + 6 * lossy, [2] * 9 * lossy], [list(map(type, answers)).count(Entries), again()])
        self.assertEqual([[3] * 9, [4] * 9, [4] * 9, [4], [4] * 2], [again(at) for at in (3, 3, 3, 0.03, 0.06)])
        carol.sync(self.network.log.head)
        self.assertEqual([1] * 9, again())
        self.assertEqual([False] * 2 + [True] * 7, [bool(each.flags & ASK) for each in came])
        for _ in range(chat.LOSSY_ENTRIES - 8):
            again(0)
        self.assertEqual([[4], []], [again(0.03), again(0.03)], "so many entries later")

    def test_a_private_message_reaches_nobody_else(self):
        carol = self.insider("ann", "bob")
        self.say("ann", "psst", to_name="BOB")
        seen = [entry for message in carol.received() + carol.sync(0) for _, entry in carol.readable(message)]
        self.assertIn("carol", [entry.name for entry in seen])
        self.assertEqual([], [entry for entry in seen if entry.kind == PRIVATE or "psst" in entry.text])
        self.assertGreater(sum(entry.kind == SKIP for entry in seen), 1)
        self.assertHeard("bob", "psst")
        self.assertEqual([1], [event.number for event in self.someone("ann").all(Happened) if event.number])

    def test_who_has_left_can_read_nothing_more(self):
        for out in (
            lambda carol: carol.tell(Bye("")),
            lambda carol: self.kick("carol"),
            lambda carol: self.arrive("carol", key="other carol"),
        ):
            carol = self.insider("ann", "bob")
            self.say("ann", "before")
            heard = [entry.text for message in carol.received() for _, entry in carol.readable(message)]
            self.assertIn("before", heard)
            del self.network.wire[:]
            out(carol)
            self.run_for(1)
            carol.inbox.clear()
            self.say("ann", "after")
            self.assertEqual([], carol.inbox)
            rooms = [data for _, target, data in self.network.wire if data[1] == Room.code]
            self.assertTrue(rooms)
            for room in rooms[1:]:
                message = decode(room[1], room[14:-16])
                for key in carol.keys.values():
                    self.assertNotIn(b"after", xor_stream(key, message.nonce, message.sealed))
            self.assertEqual([Bye], [type(answer) for answer in carol.sync(0)])

    def test_a_member_cannot_speak_as_the_server(self):
        carol = self.insider("ann", "bob")
        bob = self.someone("bob")
        session = self.sealed(bob.address)[-1][2:6]
        batch = encode_batch(99, 1, encode_entry(text_entry("I am ann", author=b"a" * 8)))
        body = RoomKey(carol.welcome.key_id, carol.welcome.key).seal(batch)
        overheard = [data for data in self.sealed(bob.address) if data[1] == Room.code][-1]
        header = overheard[:6] + (2**40).to_bytes(8, "big")
        forged = [header + body + tag for tag in (bytes(16), overheard[-16:])]
        forged.append(Session(session, b"c" * 64, server=True).seal(Entries(0, 0, 0, 0, 1, carol.welcome.key, batch)))
        with self.assertNobodyNotices(), self.assertDropped("forged", bob.client):
            self.inject(SERVER, bob.address, *forged)

    def test_a_member_cannot_speak_as_another_member(self):
        carol = self.insider("ann", "bob")
        carol.sync(0, part(1, "hello"))
        (said,) = self.someone("bob").all(SAID)
        self.assertEqual(("carol", member_id(carol.instance)), (said.entry.name, said.entry.author))

    def test_a_member_cannot_lie_about_its_cursor(self):
        carol = self.insider("ann", "bob")
        above = "cursor above the head"
        for cursor, reason in ((self.network.log.head + 1, above), (2**63 - 1, above), (2**63, "number too large")):
            with self.assertDropped(reason):
                self.assertNotIn(Entries, map(type, carol.sync(cursor)))
        for view, until in ((chat.MISSING, 0), (9, 0), (STANDING, self.network.log.head + 1)):
            with self.assertDropped("view above the head"):
                self.assertNotIn(Page, map(type, carol.tell(Pull(view, 0, until, 9, 16))))
        self.say("ann", "still here")
        self.assertHeard("bob", "still here")

    def test_a_member_cannot_lie_about_its_numbers(self):
        carol = self.insider("ann", "bob")
        carol.sync(0, part(2, "two"), part(40, "far"), part(2**32 - 1, "farther"))
        self.assertHeard("bob")
        carol.sync(0, part(1, "one"), part(2, "another two"))
        carol.sync(0, part(1, "another one"), part(2, "two"))
        self.assertHeard("bob", "one", "two")
        self.assertEqual([1, 2], [entry.number for entry in self.entries() if entry.kind == chat.TEXT])
        before = weight(self.server)
        for number in range(4, 2000):
            sync = carol.session.seal(Sync(0, 1, 0, 16, (part(number, "x"),)))
            self.server.receive(sync, carol.address, self.network.now)
        self.assertLess(weight(self.server), before + 6 * WINDOW_PARTS)  # A part has four fields.
        dan = Insider(self.network, "dan", b"d" * 16).enter(oldest=2**32 - 2)
        dan.sync(0, part(2**32 - 2, "last but one"), part(2**32 - 1, "last"))
        self.assertEqual({2**32 - 1}, {message.taken for message in dan.sync(0) if isinstance(message, Entries)})
        self.assertHeard("bob", "one", "two", "last but one", "last")

    def test_parts_that_are_no_message_are_dropped(self):
        first, last = chat.TEXT | chat.FIRST, chat.TEXT | chat.LAST
        for parts in (
            [part(1, "a", last)],
            [part(1, "a", first), part(2, "b", first)],
            [part(1, "a", first), part(2, "b", ACTION | chat.LAST)],
            [part(1, "a", PRIVATE | chat.FIRST, b"a" * 8), part(2, "b", PRIVATE | chat.LAST, b"b" * 8)],
            [part(1, "a", first)] + [part(number, "b", chat.TEXT) for number in range(2, 25)] + [part(25, "c", last)],
        ):
            carol = self.insider("ann", "bob")
            with self.subTest(parts=parts), self.assertDropped("parts that are no message"):
                carol.sync(0, *parts)
            carol.sync(0, part(1, "sorry"))
            self.assertHeard("bob", "sorry")

    def test_a_member_cannot_speak_for_the_server_in_its_own_session(self):
        carol = self.insider("ann", "bob")
        for message in MESSAGES:
            if not isinstance(message, (Proof, Sync, Pull, Bye, Hello, Login)):
                with self.subTest(message=message), self.assertNobodyNotices():
                    self.assertLessEqual(set(map(type, carol.tell(message))), {Room})  # A beat, maybe.
        self.assertGreater(self.server.dropped["not for a server"], 5)

    def test_a_member_cannot_flood_the_room(self):
        carol = self.insider("ann", "bob", rate=30)
        number = 0
        for _ in range(100):
            answers = carol.sync(0, *[part(number + n, "x") for n in range(1, 33)])
            number = max([number] + [message.taken for message in answers if isinstance(message, Entries)])
        self.assertLessEqual(number, 30 * RATE_SECONDS + 30 * 20 + 32)
        self.say("ann", "may I")
        self.assertIn("may I", self.someone("bob").texts())

    def test_logging_in_anew_again_and_again_gives_no_more_than_staying(self):
        self.room("ann")
        began, before = self.network.now, self.network.log.head
        for number in range(60):
            eve = Insider(self.network, "eve%d" % number, b"%16d" % number, host="10.6.6.6")
            eve.pace = 0.001
            eve.enter().sync(0, *[part(n, "x") for n in range(1, 33)])
            eve.tell(Bye(""))
        seconds = self.network.now - began
        said = sum(record.number > 0 for _, record in self.network.log.records(before + 1, self.network.log.head))
        self.assertLess(seconds, 1)
        self.assertLessEqual(said, 30 * RATE_SECONDS + 30 * seconds + 1)
        self.assertLess(self.network.log.head - before - 30 * RATE_SECONDS, 30 * 30 * seconds, "what thirty may say")

    def insiders(self, count, host="10.3.3.%d", pace=0.2, **proof):
        """Let members in, one after the other, whose datagrams are written by hand."""
        crowd = [Insider(self.network, "i%d" % n, b"%16d" % n, host.replace("%d", str(n))) for n in range(count)]
        for each in crowd:
            each.pace = pace
            each.enter(**proof)
        return crowd

    def test_who_asks_and_leaves_in_one_turn_gets_a_goodbye_and_who_forges_gets_nothing(self):
        carol = self.insider("ann", "bob")
        messages = (Pull(EARLIER, 0, 1, 9, 16), Pull(STANDING, 0, 0, 0, 16), Sync(0, 1, 0, 16), Bye(""))
        self.inject(carol.address, SERVER, *map(carol.session.seal, messages), seconds=0.2)
        self.assertEqual([Bye], list(map(type, carol.received())))
        data = carol.session.seal(Bye(""))
        with self.assertDropped("forged"):
            self.assertEqual([], carol.ask(data[:-1] + bytes((data[-1] ^ 1,))))
        self.assertEqual(1, len(carol.ask(data)))
        self.assertRoomWorks()

    def test_answers_are_rationed_whatever_is_asked_for(self):
        self.room(rate=0)
        for _ in range(1000):
            self.announce("x" * 100, seconds=0)
        for least, most, question in ((64, 112, Sync(0, 1, 0, 16)), (0, 2, Pull(EARLIER, 0, 1000, 500, 16))):
            with mock.patch.multiple(chat, ANSWER_BURST=3 * ANSWER_WORK_MAX, ANSWER_RATE=1):
                carol = Insider(self.network, "carol", bytes((question.code,)) * 16).enter()
            carol.pace = 0.01
            answers = sum(len(carol.tell(question)) for _ in range(30))
            self.assertTrue(least <= answers <= most, answers)
            self.announce("news")
            self.assertEqual([Room], list(map(type, carol.received()))[:1])  # That is not an answer.
            carol.tell(Bye(""))  # Whoever returns has what is left.

    def private_history(self, *names):
        """Make a room in whose file lie 4,000 private messages of others and 1,000 for all."""
        self.room(*names, remembers=True, rate=0)
        psst = Entry(PRIVATE, 1, b"x" * 8, 1, "xan", b"y" * 8, "yul", "psst")
        self.network.log.append([record(psst, (psst.author, psst.to))] * 4000 + [record(text_entry("hi"))] * 1000)
        self.order("say", "the end of that", seconds=1)
        self.network.restart_server()
        self.server = self.network.server
        self.run_for(5)

    def test_questions_that_are_much_work_are_rationed(self):
        self.private_history("ann")
        with mock.patch.multiple(chat, ANSWER_BURST=10_000, ANSWER_RATE=2000):
            (eve,) = self.insiders(1)
        log, eve.pace = self.network.log, 0.01
        for question in (Sync(0, 1, 0, 16), Pull(EARLIER, 0, 5000, 500, 16), Sync(0, 1, 0, 1)):
            before = log.work
            self.assertGreater(sum(bool(eve.tell(question)) for _ in range(200)), 3)
            self.assertTrue(4000 < log.work - before < 14_000 + ANSWER_WORK_MAX, log.work - before)
            self.run_for(10)
        eve.tell(Bye(""))
        self.assertRoomWorks()

    def test_twenty_who_ask_for_much_at_once_take_a_bounded_time_of_each_turn(self):
        self.private_history()
        crowd, log, answered = self.insiders(20), self.network.log, set()
        for member, question in itertools.product(crowd, (Sync(0, 1, 0, 16), Pull(EARLIER, 0, 5000, 500, 16))):
            self.server.receive(member.session.seal(question), member.address, self.network.now)
        for _ in range(100):
            before = log.work
            self.server.tick(self.network.now)
            answered.update(self.answers(Page))
            self.assertLess(log.work - before, 2 * ANSWER_WORK_MAX)
        self.assertEqual({member.address for member in crowd}, answered)

    def test_a_quiet_members_line_waits_for_no_crowd_of_loud_ones(self):
        for hosts, near in (("10.3.3.3", "10.3.3.3"), ("10.3.3.%d", "10.3.4.1")):
            self.room(rate=0, classic=True)
            crowd, old = self.insiders(20, hosts), Original(self.network, "old")
            quiet = [Insider(self.network, host, b"%16s" % host.encode(), host).enter() for host in (near, "10.3.5.1")]
            old.login()
            with mock.patch.object(chat, "FLUSH_DATAGRAMS_MAX", 1), mock.patch.object(chat, "TURN_SECONDS", 0.01):
                for speakers in (crowd, crowd, crowd + quiet):
                    self.run_for(0.05)
                    head = self.network.log.head
                    for each in speakers:
                        lines = range(1, 2 if each in quiet else 33)  # Ten make a turn.
                        parts = tuple(part(number, each.name[0] * 90) for number in lines)
                        self.network.inject(each.session.seal(Sync(0, 1, 0, 16, parts)), each.address)
                self.network.inject(b"old", old.address)
                self.run_for(0.7)
            said = [entry for entry in self.entries() if entry.kind == chat.TEXT]
            first = [decode_entry(record.data).name for _, record in self.network.log.records(head + 1, head + 3)]
            self.assertEqual(sorted(["old", near, "10.3.5.1"]), sorted(first))
            self.assertEqual(20 * 32 + 3, len(said))
            self.assertGreater(len({entry.name for entry in said[-20:]}), 18, "they take turns")

    def test_who_was_kicked_is_not_back_as_a_new_process_with_another_name(self):
        eve, _ = self.room("eve", "bob")
        self.kick("eve")
        self.assertRefused(self.come("mallory", host=eve.address[0]), ADDRESS_CLOSED)
        self.arrive("dan")  # From another address.

    def test_others_at_the_address_of_who_was_kicked_stay_and_come_back_as_themselves(self):
        self.room(remembers=True)
        eve, bob, cem, dan = (self.arrive(name, host="10.5.5.5") for name in ("eve", "bob", "cem", "dan"))
        self.say("bob", "hello")
        with self.cut_off(bob):
            self.network.restart_server()
            self.run_for(40)
            self.kick("eve")
        with self.cut_off(cem):
            self.run_for(40)
        self.assertSawLeave("dan", "cem", "timed out")
        dan.login(name="daniel")
        dan.name = "daniel"
        self.run_for(10)
        self.assertEqual({"bob", "cem", "daniel"}, set(self.members()))
        self.assertRoomWorks()

    def test_a_pardon_lifts_name_instance_and_address_at_once(self):
        self.room()
        with mock.patch.object(chat, "GUESTS_MAX", 0):
            eve, bob = (self.arrive(name, host="10.5.5.5") for name in ("eve", "bob"))
        self.order("bans")
        self.kick("eve", seconds=60)
        self.order("bans")
        listed = [(event.name, event.why) for event in self.network.server_events if "kept out" in event.what]
        self.assertEqual([("", ""), ("eve", "9 min 00 s")], listed)
        with self.assertRaisesRegex(UsageError, "Nobody called \u241bbob is kept out"):
            self.order("pardon", "\x1bbob")
        bob.login(seconds=5)  # A member is known in any case.
        self.order("pardon", "EVE")
        self.arrive("mallory", host="10.5.5.5")
        eve.login(seconds=5)
        self.assertRoomWorks()

    @mock.patch.multiple(chat, BANS_MAX=2, ENDED_MAX=2)
    def test_bans_and_ended_sessions_are_bounded_and_the_oldest_go(self):
        self.room()
        crowd = self.insiders(3)
        for member in crowd:
            self.kick(member.name, seconds=0)
        for member, kind in zip(crowd, (Later, Bye, Bye)):
            data = member.ask(member.session.seal(Sync(0, 1, 0, 16)))[-1]
            self.assertEqual(kind.code, data[1])
        for member, admitted in zip(crowd, (True, False, False)):
            again = Insider(self.network, member.name, member.instance, "10.3.4.1", member.voucher)
            answers = again.prove(attempt=9)
            self.assertEqual(admitted, Welcome in map(type, answers), answers)

    def test_the_secret_instance_is_not_shown_to_others(self):
        self.room()
        carol = Insider(self.network, "carol", instance=b"carol's instance").enter()
        dan = Insider(self.network, "dan", instance=b"dan's instance..").enter()
        carol.sync(0, part(1, "hello"))
        shown = dan.sync(0) + dan.tell(Pull(STANDING, 0, 0, 0, 16))
        self.assertNotIn(b"carol's instance", b"".join(encode(message) for message in shown))

    def test_history_a_client_asks_for_is_bounded(self):
        self.room("ann", rate=0, remembers=True)
        for _ in range(3000):
            self.server.say("x", self.network.now)
        self.network.wake(SERVER)
        carol = Insider(self.network, "carol").enter(earlier=65535)
        self.assertLessEqual(len(carol.sync(carol.welcome.start)), ANSWER_DATAGRAMS_MAX + 1)
        with mock.patch.object(chat, "ANSWER_BURST", 30_000):
            crowd = self.insiders(5, "10.3.9.9", pace=0.01, earlier=65535)
        ahead = [self.network.log.head - each.welcome.start for each in crowd]
        self.assertEqual([True] * 3 + [False] * 2, [count > 3000 for count in ahead], "logging in anew resets nothing")

    # --- anybody

    def test_ten_thousand_mutated_datagrams_do_no_harm(self):
        people = self.room("ann", "bob")
        for name in ("ann", "bob"):
            self.say(name, "hello", to_name="bob")
        wire, draw = list(self.network.wire), self.network.draw
        self.run_for(40)
        cores = [self.server] + [person.client for person in people]
        before = [weight(core) for core in cores]
        for _ in range(10_000):
            source, target, data = wire[int(draw() * len(wire))]
            self.network.inject(mutated(data, draw), source, target)
            self.network.run(0.0003)
        self.run_for(40)
        self.assertRoomWorks()
        self.run_for(40)
        for core, weighed in zip(cores, before):
            self.assertLessEqual(weight(core), weighed + 30)


def mutated(data, draw):
    """Return a datagram with some bytes changed, cut, doubled or inserted."""
    data = bytearray(data)
    for _ in range(1 + int(draw() * 4)):
        at, kind = int(draw() * (len(data) + 1)), int(draw() * 5)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << int(draw() * 8)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            del data[at : at + 1 + int(draw() * 8)]
        elif kind == 3:
            data[at:at] = bytes(int(draw() * 256) for _ in range(1 + int(draw() * 8)))
        elif data:
            data[at % len(data)] = int(draw() * 256)
    return bytes(data)


class FalseServer(Peer):
    """A server that does not know the password: answers every LOGIN with new guesses, and unsealed ``advice``."""

    def __init__(self, network, address=("10.0.0.66", 11111), guesses=99, advice=(), copied=b"false..."):
        super().__init__(network, "false", address)
        self.guesses, self.advice, self.session, self.id = guesses, list(advice), None, copied

    def receive(self, datagram, address, now):
        super().receive(datagram, address, now)
        with contextlib.suppress(MalformedDatagram):  # What it cannot read.
            for data in self.answers(datagram) if datagram[1:] else ():
                self.network.send(data, self.address, address)

    def answers(self, datagram):
        if datagram[1] == Hello.code:
            yield encode_unsealed(Offer(decode_unsealed(datagram).nonce, bytes(20), self.id, 1, 9, 0, 0, "Trap"))
        elif datagram[1] == Login.code:
            login = decode_unsealed(datagram)
            for number in range(min(self.guesses, 5)):
                yield self.keys(login, b"guess %d" % number)
            for reason in [self.advice.pop(0)] if self.advice else []:
                yield encode_unsealed(Later(login.nonce, reason))

    def keys(self, login, password):
        """Return the answer to a LOGIN of who takes that for the password."""
        exchange = Exchange(password, login.nonce + login.cookie, self.network.entropy(32))
        self.session = Session(b"evil", exchange.key(login.share, b"evil", server=True), server=True)
        return self.session.seal(Keys(login.nonce, exchange.share))


class LyingServer(FalseServer):
    """A server that does know the password, admits everybody (``under`` another name), and means harm."""

    under = ""

    def __init__(self, *place):
        super().__init__(*place)
        self.proofs = []  # What was shown to it, the newest last.

    def answers(self, datagram):
        if datagram[1] == Login.code:
            yield self.keys(decode_unsealed(datagram), b"secret")
        elif datagram[1] == Proof.code and self.session:
            proof = self.session.open(datagram)
            name = self.under or proof.name
            self.proofs.append(proof)
            welcome = Welcome(member_id(proof.instance), bytes(16), 0, 0, 0, 99, 0, 1, bytes(32), 1, name, "Trap")
            yield self.session.seal(welcome)
        else:
            yield from super().answers(datagram)


# ======================================================================================================
# The main test
# ======================================================================================================
# People talk, whisper, move, vanish, come back and are kicked, while the network and the server do their worst.
# First only safety is demanded; then the weather clears, and everything has to have come right soon.

HEALING_SECONDS = 30
HELD = entries_of(*chat.HOLDING)
LOG_TIMED = (SAID, CAME, WENT, NOTICED, HELD)


class Storm:
    """One run of the main test, drawn from a seed; with the path of a history, the server remembers."""

    def __init__(self, seed, history="", size=4):
        options = {"rate": (30, 0, 5)[seed % 3], "classic": seed % 4 < 2, "members_max": size + 12}
        options["operator"] = "operator"
        self.network = Network(seed, history=history, **options)
        self.draw = self.network.draw
        self.present, self.everybody, self.said, self.size = [], [], 0, size
        self.absent = []  # Names of those who vanished.
        self.insiders = []  # Members who know the password and mean harm.
        self.spent = collections.Counter()  # Bytes sent by strangers, by the address that they came from.
        self.kicked = []  # From where nobody new may come, and until when.
        self.deceived = set()  # Ids of who have believed a false server.
        self.false = None  # A server that does not know the password.
        self.starts = 1  # Of the server.
        for name in ["ann", "bob", "cem", "dan"] + ["member%d" % number for number in range(4, size)]:
            self.come(name)

    # --- what happens

    def pick(self, things):
        return things[int(self.draw() * len(things))]

    def text(self, size=0):
        self.said += 1
        return "text %d %s" % (self.said, "x" * size)

    def come(self, name):
        person = self.network.person(name, key="%s %d" % (name, len(self.everybody)), earlier=self.pick((0, 5, 50)))
        person.login(places=(SERVER, self.false.address)[:: self.pick((1, -1))] if self.false else (SERVER,))
        self.present.append(person)
        self.everybody.append(person)

    def say(self):
        for _ in range(1 + int(self.draw() * 3)):
            self.pick(self.present).say(self.text(), action=self.draw() < 0.1)

    def burst(self):
        person = self.pick(self.present)
        for _ in range(int(self.draw() * 60)):
            person.say(self.text())

    def say_at_length(self):
        self.pick(self.present).say(self.text(int(self.draw() * 16_000)))

    def whisper(self):
        self.pick(self.present).say(self.text(int(self.draw() * 1500)), to_name=self.pick(self.everybody).name)

    def announce(self):
        self.network.order("say", self.text(int(self.draw() * 2000)))

    def turn_weather(self):
        loss, copies = self.draw() ** 2 * 0.5, self.draw() ** 2 * 0.5
        self.network.weather = Weather(loss, copies, self.draw() ** 3 * 0.2, self.draw() ** 3 * 0.5)

    def cut(self):
        self.network.cut.add(self.pick([SERVER] + [person.address for person in self.present]))

    def mend(self):
        self.network.cut.clear()

    def move(self):
        self.network.move(self.pick(self.present))

    def vanish(self):
        if len(self.present) > 2:
            person = self.pick(self.present)
            self.present.remove(person)
            self.network.vanish(person)
            self.absent.append(person.name)

    def come_back(self):
        if self.absent:
            self.come(self.absent.pop())

    def leave(self):
        if len(self.present) > 2:
            person = self.pick(self.present)
            self.present.remove(person)
            (person.leave if self.draw() < 0.5 else person.finish)()

    def join(self):
        if len(self.present) < self.size + 3:
            self.come("new%d" % len(self.everybody))

    def restart(self):
        self.network.log.crash = self.pick(("", "before", "after"))
        self.network.run(self.draw() * 2, lambda: SERVER not in self.network.cores)
        self.network.restart_server(0.05 + self.draw() ** 3 * 20)
        self.forget()

    def forget(self):
        """Let the server have been started anew."""
        self.starts += 1
        self.kicked.clear()

    def fill_disk(self):
        self.network.log.full = True

    def make_room(self):
        self.network.log.full = False

    def say_as_original(self):
        """Let one of three people with the original program log in, maybe at another port, or say something."""
        number = int(self.draw() * 3)
        text = self.text(int(self.draw() * 2000)) if self.draw() < 0.7 else "LOGIN old%d secret" % number
        self.network.inject(text.encode(), ("10.0.4.%d" % number, 4000 + int(self.draw() * 2)))

    def speak(self):
        with contextlib.suppress(UsageError):
            self.network.order("speak", self.text(), self.pick(self.present).name if self.draw() < 0.3 else "")

    def raise_hand(self):
        """Let somebody raise the hand, ask another question, or lower it."""
        self.pick(self.present).hand(self.pick((None, "", self.text())))

    def look_at_hands(self):
        """Let the operator call somebody, or lower somebody's hand or all."""
        with contextlib.suppress(UsageError):
            self.network.order(*self.pick((("call_next", self.text()), ("lower", "all"), ("lower", self.someone()))))

    def hush(self):
        """Let the operator mute somebody or everybody, or lift that."""
        with contextlib.suppress(UsageError):
            ways = (("mute", self.someone(), int(self.draw() * 3)), ("unmute", self.someone()))
            self.network.order(*self.pick((*ways, *ways, ("quiet", True), ("quiet", False), ("quiet", False))))

    def someone(self):
        return self.pick(self.everybody).name

    def kick(self):
        if len(self.present) > 2:
            member = self.network.server.names.get(chat.name_key(self.pick(self.present + self.insiders).name))
            if member is not None:
                self.network.order("kick", member.name)
                self.kicked.append((member.address[0], self.network.now + BAN_SECONDS))

    def log_in_again(self):
        self.pick(self.present).login()

    def wait(self):
        self.network.run(self.draw() * 15)

    def sleep(self):
        self.network.sleep(self.draw() * 60)

    # --- what attackers do

    def attack(self):
        """Let strangers replay, reflect, redirect, damage and invent datagrams."""
        recorded = [item for item in self.network.wire[-400:] if item[2][0] == VERSION_BYTE]
        for _ in range(int(self.draw() * 30)):
            (source, target, data), stranger = self.pick(recorded), self.victim()
            junk = bytes((VERSION_BYTE, int(self.draw() * 20))) + self.network.entropy(int(self.draw() * 200))
            ways = [(data, source, target), (data, target, source), (data, stranger, target)]
            ways += [(mutated(data, self.draw), source, target), (junk, source, target), (junk, stranger, target)]
            self.inject(*self.pick(ways))

    def inject(self, data, source, target=SERVER):
        self.spent[source] += len(data)
        self.network.inject(data, source, target, delay=self.draw() * 2)

    def victim(self):
        """Return an address at which nobody has asked for anything."""
        return "10.0.6.%d" % int(self.draw() * 9), 9000

    def stranger(self, name="", instance=b"", host="10.0.3.%d"):
        """Return somebody new, at one of three addresses."""
        name, instance = name or "eve%d" % next(self.network.ports), instance or self.network.entropy(16)
        return Insider(self.network, name, instance, host.replace("%d", str(int(self.draw() * 3))))

    def enter(self, stranger, **proof):
        """Let somebody in who knows the password, if the weather allows it; return whether it did."""
        with contextlib.suppress(IndexError, StopIteration, AttributeError, MalformedDatagram):
            self.insiders.append(stranger.enter(**proof))
            return True
        return False

    def intrude(self):
        self.enter(self.stranger())

    def log_in_anew(self):
        """Let somebody come again and again under invented names, each with a text."""
        for _ in range(int(self.draw() * 20)):
            stranger = self.stranger()
            stranger.pace = self.pick((0.01, 0.1))
            if self.enter(stranger):
                sync = Sync(0, 0, 0, 16, (part(1, self.text(int(self.draw() * 900))),))
                self.inject(stranger.session.seal(sync), stranger.address)

    def ask_for_much(self):
        """Let insiders ask fifty times a second for all that there is, in their own names or in a victim's."""
        head = self.network.log.head
        questions = [Sync(0, 0, 0, 16), Pull(EARLIER, 0, head, 500, 16), Pull(STANDING, 0, head, 0, 16)]
        for _ in range(int(self.draw() * 100) if self.insiders else 0):
            insider = self.pick(self.insiders)
            question = self.pick((*questions, questions[0], Response(bytes(8))))
            self.inject(insider.session.seal(question), self.pick((insider.address, self.victim())))

    def log_in_as_original(self):
        """Let somebody name victims in original logins, under names that flap and with passwords that he guesses."""
        for _ in range(int(self.draw() * 40)):
            text = "LOGIN flap%d %s" % (int(self.draw() * 9), self.pick(("secret", "guess")))
            self.inject(text.encode(), ("10.0.7.%d" % int(self.draw() * 2), int(self.draw() * 9)))

    def guess(self):
        for _ in range(int(self.draw() * 60)):
            stranger = self.stranger(host="10.0.8.1")
            stranger.pace = 0.01
            with contextlib.suppress(IndexError, MalformedDatagram):
                stranger.begin("guess")

    def deceive(self):
        """Let a server that does not know the password copy the room's offer, for those who come from now on."""
        offers = [data for source, _, data in self.network.wire if source == SERVER and data[1] == Offer.code]
        advice = [self.pick((TRY_LATER, VERSION_MISMATCH, UNKNOWN_SESSION))] * int(self.draw() * 9)
        place, copied = ("10.0.0.66", 11111), decode_unsealed(offers[-1]).server
        self.false = FalseServer(self.network, place, int(self.draw() * 3), advice, copied)

    def stand_in(self):
        """Let a server that knows the password take the true one's place, and use the instances that it is shown."""
        if not self.network.history:  # Such a room knows nobody after a restart.
            return
        known = {event.member for person in self.everybody for event in person.all(Connected)}
        self.network.kill_server()
        liar = LyingServer(self.network, SERVER)
        self.network.run(self.draw() * 15, lambda: bool(liar.proofs))
        self.network.start_server()
        self.forget()
        for proof in liar.proofs:
            self.deceived.add(member_id(proof.instance))
            for name, shown in ((proof.name, bytes(16)), ("eve", proof.shown)):
                entered = self.enter(self.stranger(name, proof.instance), attempt=2**32 - 1, shown=shown)
                assert not entered or member_id(proof.instance) not in known, "a stranger is taken for %s" % proof.name

    def flood(self):
        """Let somebody ask for a member's name while junk keeps that one from being heard."""
        network, person = self.network, self.pick(self.present)
        usual, network.weather = network.weather, Weather()
        network.cut.clear()
        network.run(0.1)
        key, stranger = chat.name_key(person.name), self.stranger(person.name)
        with contextlib.suppress(IndexError, MalformedDatagram):
            stranger.begin()
        member = network.server.names.get(key)
        if person.connected() and member and member.address == person.address:
            network.server.overloaded = True
            network.cut.add(person.address)
            self.enter(stranger)
            network.run(self.draw() * 40)
            network.server.overloaded = False
            network.cut.clear()
            network.run(5)
            assert network.server.names.get(key) is member, "%s was evicted" % person.name
        network.weather = usual

    def come_after_kick(self):
        for host, until in self.kicked:
            if self.network.now < until - 2:
                assert not self.enter(self.stranger(host=host)), "who was kicked is back"

    def do_mischief(self):
        """Let one of them send messages full of lies, some damaged before they are sealed."""
        if not self.insiders or self.draw() < 0.3:  # A session may have ended with its server.
            self.intrude()
            return
        insider, whole = self.pick(self.insiders), chat.encode
        others = [message for message in MESSAGES if not isinstance(message, Sync)]  # Its texts would come twice.
        number = lambda: self.pick((0, 1, int(self.draw() * 40), int(self.draw() * 2**31)))  # noqa: E731
        for _ in range(int(self.draw() * 20)):
            kinds = (chat.TEXT, ACTION, PRIVATE, FIRST | chat.TEXT, FIRST | LAST | chat.TEXT, LAST | PRIVATE)
            texts = [part(number(), self.text(int(self.draw() * 900)), self.pick(kinds), bytes(8)) for _ in range(3)]
            texts = [text if text.kind & chat.KIND_BITS == PRIVATE else text._replace(to=b"") for text in texts]
            shown = insider.session.show(insider.voucher)
            proof = Proof(number(), insider.instance, shown, number(), number(), number(), 9, "eve")
            lies = [Sync(number(), number(), 9, 16, (self.pick(texts),))]
            lies += [Pull(view, number(), number(), 9, 16) for view in (STANDING, EARLIER)]
            damage = (lambda message: mutated(whole(message), self.draw)) if self.draw() < 0.5 else whole
            with mock.patch.object(chat, "encode", damage):
                data = insider.session.seal(self.pick((*lies, proof, self.pick(others))))
            self.network.send(data, insider.address)

    def set_clock(self):
        """Set a clock: somebody's, or the server's; back only where restarts need not be told apart by time."""
        seconds = (self.draw() - 0.5) * 2 * 86400 * self.draw() ** 2
        if self.draw() < 0.5:
            self.pick(self.present).client.epoch += seconds
        else:
            self.network.epoch += seconds if self.network.history else abs(seconds)
            self.network.server.epoch = self.network.epoch

    CHANCES = [(say, 40), (whisper, 8), (burst, 3), (say_at_length, 3), (announce, 3), (turn_weather, 6)]
    CHANCES += [(cut, 4), (mend, 5), (move, 4), (vanish, 2), (come_back, 3), (leave, 1), (join, 2), (restart, 2)]
    CHANCES += [(kick, 2), (log_in_again, 1), (wait, 1), (sleep, 0.5)]
    CHANCES += [(fill_disk, 1), (make_room, 3), (say_as_original, 8)]
    CHANCES += [(speak, 4), (raise_hand, 6), (look_at_hands, 3), (hush, 3)]
    CHANCES += [(attack, 5), (do_mischief, 6), (set_clock, 2), (log_in_anew, 1), (ask_for_much, 2), (guess, 0.5)]
    CHANCES += [(log_in_as_original, 2), (deceive, 1), (stand_in, 1), (flood, 1), (come_after_kick, 3)]

    def run(self, steps=60):
        """Let everything happen, demanding safety; then heal, and demand that all is well soon."""
        total = sum(chance for _, chance in self.CHANCES)
        self.network.run(2.0)
        for _ in range(steps):
            at = self.draw() * total
            for action, chance in self.CHANCES:
                at -= chance
                if at < 0:
                    action(self)
                    break
            self.retry_refused()
            self.network.run(self.draw() ** 2 * 1.5)
        self.check(whole=False)
        self.heal()
        self.check(whole=True)

    def retry_refused(self):
        """Do what a person does who was refused: try again, or go away when kicked."""
        for person in list(self.present):
            failed = person.all(LoginFailed)
            if person.client.state is State.IDLE and failed:
                assert failed[-1].code != chat.CROWDED_OUT, "%s lost its seat" % person.name
                if failed[-1].code in (KICKED, SUPERSEDED):
                    self.present.remove(person)
                else:
                    person.login()
        if not self.present:  # Whoever had not left was kicked.
            self.join()

    def heal(self):
        """Clear the weather; wait until everybody is in the room and has said everything, and once more."""
        self.network.cut.clear()
        self.make_room()
        if self.false:
            self.network.vanish(self.false)
        self.network.order("quiet", False)
        self.network.weather = Weather(delay=0.002, jitter=0.002)
        self.settle()
        for person in self.present:
            for other in self.present[:7]:
                person.say(self.text(), to_name=other.name)
            person.say(self.text())
        self.network.order("say", "the end")
        self.network.run(2.0)
        self.settle()
        self.network.run(2.0)

    def settle(self):
        began = self.network.now
        while not all(person.connected() and not person.waiting() for person in self.present):
            waiting = [(person.name, person.client.state, len(person.waiting())) for person in self.present]
            # Where little is taken in a second, long texts that wait need their time.
            bound = HEALING_SECONDS * (4 if 0 < self.network.server.rate < 10 else 1)
            assert self.network.now < began + bound, "not well after %d s: %s" % (bound, waiting)
            self.network.run(0.5)
            self.retry_refused()

    # --- what must hold

    def check(self, whole):
        """Check every log and every view; ``whole``: everybody has reached the head by now."""
        self.lives = [LogLines(log) for log in self.network.logs]
        for life in self.lives:
            life.check_numbers()
        self.check_victims()
        for person in self.present if whole else []:
            transcript = transcript_of(person.heard)
            names = set(map(chat.name_key, transcript.described()))
            assert names == set(self.network.server.names), "%s lists others" % person.name
            hands, waiting = [hand.name for hand in transcript.hands()], queue_of(self.network.server)
            assert hands == [entry.name for entry in waiting], "%s sees another queue: %s" % (person.name, hands)
        for person in self.everybody:
            if not self.deceived.intersection(event.member for event in person.all(Connected)):
                self.check_view(person, whole and person in self.present)
            self.check_receipts(person, whole and person in self.present)
        if whole:
            assert not [event for person in self.present for event in person.heard if GONE(event)]

    def check_victims(self):
        """Who is named by attackers gets no more than the rules allow, and guesses are few."""
        got, spent, tested, seconds = collections.Counter(), collections.Counter(), set(), self.network.now - 100
        for source, target, data in self.network.wire:
            counts = source == SERVER and data.decode(errors="replace") not in chat.CLASSIC_WORDS.values()
            got[target[0]] += len(data) * counts
            if target[0] == "10.0.8.1" and data[1] == Keys.code:
                tested.add(data)
        for address, count in self.spent.items():
            spent[address[0]] += count
        logins = sum(data[1] == Login.code for _, _, data in self.network.wire)
        said = sum(life.classic_bytes() for life in self.lives)
        allowed = {"10.0.6.": 38 * logins, "10.0.7.": CLASSIC_PLACE_MAX * said}
        for host in spent:
            most = spent[host] + allowed.get(host[:7], got[host])
            assert got[host] <= most, "%s gets %d" % (host, got[host])
        assert len(tested) <= LOGIN_BURST * self.starts + seconds / LOGIN_SECONDS, "%d guesses" % len(tested)

    def check_view(self, person, whole):
        """A person's view of each life of the server is a stretch of its log without gaps, in order."""
        connected = person.all(Connected)
        if not connected:
            return
        member, views = connected[0].member, collections.defaultdict(list)
        for event in person.all(*LOG_TIMED):
            began = [life.log.began for life in self.lives if life.log.began <= event.entry.time]
            line = event.seq, event.entry.kind, event.entry.author, event.text
            views[max(0, len(began) - 1)].append(line)  # A clock may have been set back.
        shown = collections.Counter()
        for number, life in enumerate(self.lives):
            view = views[number]
            if view:
                before = any(views[earlier] for earlier in range(number))
                first = 1 if before else view[0][0]
                last = life.log.head if whole and number == len(self.lives) - 1 else view[-1][0]
                expected = life.lines(member, first, last, shown)
                pairs = itertools.zip_longest(view, expected)
                at = next((n for n, (one, other) in enumerate(pairs) if one != other), 0)
                faults = person.name, view[at : at + 2], expected[at : at + 2], len(view), len(expected)
                assert view == expected, "%s saw %s instead of %s, %d lines instead of %d" % faults
                life.note_shown(view, shown)
        assert not whole or views[len(self.lives) - 1], "%s saw nothing" % person.name
        texts = person.texts()
        assert len(set(texts)) == len(texts), "%s was shown something twice" % person.name

    def check_receipts(self, person, whole):
        """Every text is settled at most once; what is confirmed is in the log where the receipt says."""
        queued = {event.number: event.entry.text for event in person.all(Queued)}
        settled = [event.number for event in person.all(RECEIPT, NotSent) if event.number in queued]
        assert len(set(settled)) == len(settled), "%s settled twice" % person.name
        assert not whole or sorted(settled) == sorted(queued), "%s waits for %s" % (person.name, person.waiting())
        for event in person.all(RECEIPT):
            places = [event.seq] if isinstance(event, Happened) else range(1, 2**16)  # What was read over is somewhere.
            found = [life for life in self.lives for seq in places if life.texts.get(seq) == queued[event.number]]
            if isinstance(event, Sent):  # A refusal that was read over cannot be told from a text.
                found += [life for life in self.lives if {HAS_LEFT, IS_MUTED, IN_QUIET} & {*life.texts.values()}]
            assert found, "%s: %s is not in the log" % (person.name, event)
        if not self.network.history:  # What a room has forgotten may be refused when it is sent again.
            return
        hushed = {event.text for event in person.all(NotSent) if event.code in (IS_MUTED, IN_QUIET)}
        texts = [text for life in self.lives for text in life.texts.values() if text]
        heard = [event.entry.text for event in self.network.server_events if is_one(event, (SAID, HELD))]
        assert not hushed - {""} & {*texts, *heard}, "what %s was not to say was heard" % person.name
        assert not hushed - {*queued.values()}, "what %s said was not kept" % person.name
        if whole:
            codes = (HAS_LEFT, NO_SUCH_NAME, IS_MUTED, IN_QUIET, "BAD_COMMAND")
            others = [event for event in person.all(NotSent) if event.code not in codes]
            assert not others, others


class LogLines:
    """A log as lines that a person may see: a message of many parts is one line, at its last number."""

    def __init__(self, log):
        self.log, self.texts, self._lines, self._numbers = log, {}, [], collections.defaultdict(list)
        run = []
        for seq, record in log.records(1, log.head):
            entry = decode_entry(record.data)
            run = [entry.text] if entry.first else run + [entry.text]
            if record.number:
                self._numbers[record.author].append(record.number)
            if entry.last:
                line = replace(entry, author=record.author or entry.author, text="".join(run))
                self._lines.append((seq, line, record.audience))
                self.texts[seq] = line.text

    def check_numbers(self):
        """Everything is in the log at most once, in its author's order."""
        for numbers in self._numbers.values():
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), numbers
        texts = [line.text for _, line, _ in self._lines if line.kind in (chat.TEXT, ACTION, PRIVATE)]
        assert len(set(texts)) == len(texts), "a text is in the log twice"

    def lines(self, member, first, last, shown):
        """Return what a member is to see from first to last, but for what it was shown in an earlier life."""
        found = []
        for seq, line, audience in self._lines:
            own = line.author == member and line.kind != chat.MUTED
            repeated = line.number and line.kind not in chat.HOLDING and line.number <= shown[line.author]
            if first <= seq <= last and not own and not repeated and (audience is None or member in audience):
                found.append((seq, line.kind, line.author, line.text or ""))
        return found

    def classic_bytes(self):
        """Return how many bytes all of it is in the original protocol."""
        return sum(sum(map(len, chat.classic_datagrams(line, line.text or ""))) for _, line, _ in self._lines)

    def note_shown(self, view, shown):
        numbers = {seq: line.number for seq, line, _ in self._lines}
        for seq, _, author, _ in view:
            shown[author] = max(shown[author], numbers[seq])


def run_storm(seed, size=4, steps=60):
    """Run the main test with a seed; a failure tells the seed and the last lines of the wire."""
    storm = None
    with tempfile.TemporaryDirectory() as folder:
        try:
            storm = Storm(seed, os.path.join(folder, "room.db") if seed % 2 else "", size)
            storm.run(steps)
        except Exception as fault:
            trace = storm.network.trace_text() if storm else ""
            kind = type(fault).__name__
            raise AssertionError("SEED=%d, %d people: %s: %s\n%s" % (seed, size, kind, fault, trace)) from fault
        finally:
            if storm is not None:
                storm.network.log.close()


class WeatherTest(unittest.TestCase):
    """Whatever the weather: every member's view is the log, and once it clears all is well within seconds."""

    def test_every_view_is_the_log_whatever_the_weather(self):
        seeds = [int(os.environ["SEED"])] if "SEED" in os.environ else list(KEPT_SEEDS) + list(SEEDS)
        for seed in seeds:
            run_storm(seed)

    def test_a_seed_always_gives_the_same_run(self):
        runs = []
        for _ in range(2):
            storm = Storm(5)
            storm.run(steps=10)
            runs.append(hashlib.sha256(repr(storm.network.wire).encode()).digest())
        self.assertEqual(*runs)


class FiguresTest(RoomCase):
    """The figures that the program was asked for, on the simulated network."""

    def test_everything_arrives_once_in_one_order_at_thirty_per_cent_loss_within_20_seconds_and_at_fifty(self):
        for loss, seconds in ((0.3, 20), (0.5, 120)):
            people, orders = self.room("ann", "bob", "cem", "dan", earlier=0), []
            self.network.weather = Weather(loss, 0.1, 0.0005, 0.05)
            for number in range(75):
                for person in people:
                    person.say("%s %d" % (person.name, number))
                self.run_for(0.01)
            arrived = lambda: all(len(each.texts()) >= 225 and not each.waiting() for each in people)  # noqa: B023, E731
            self.assertTrue(self.network.run(seconds - 0.75, arrived))
            for person in people:
                orders.append({event.seq: event.text for event in person.all(SAID)})
                own = person.all(RECEIPT)
                self.assertEqual((225, 75), (len(person.texts()), len(own)))
                orders[-1].update((event.seq, "%s %d" % (person.name, event.number - 1)) for event in own)
            self.assertEqual([orders[0]] * 4, orders)
            self.assertEqual(300, len(set(orders[0].values())))

    def delays(self, loss, pause, count, delay=0.001, jitter=0.02):
        """Return how late ``count`` messages of eight people were at the others, sorted, and how many datagrams."""
        people = self.room(*"abcdefgh", earlier=0, rate=0)
        self.network.weather = Weather(loss, 0.0, delay, jitter)
        for step in range(20):  # The path is known then.
            self.say("abcdefgh"[step % 8], "before", pause)
        self.run_for(5)
        del self.network.wire[:]
        delays, told = [], [len(person.heard) for person in people]

        def count_new():
            for at, person in enumerate(people):
                new = [event for event in person.heard[told[at] :] if SAID(event)]
                told[at] = len(person.heard)
                delays.extend(self.network.now - float(event.text) for event in new)
            return len(delays) == count * 7

        for step in range(count):
            people[step % 8].say(repr(self.network.now))
            self.network.run(pause, lambda: count_new() and False)
        self.assertTrue(self.network.run(30, count_new))
        return sorted(delays), len(self.network.wire)

    def test_a_message_is_late_by_a_few_round_trips_on_a_bad_path_not_by_seconds(self):
        aims = [(0.0, 1 / 16, 0.03, 0.05, 10), (0.3, 1 / 16, 0.06, 0.4, 30), (0.5, 1 / 16, 0.12, 0.7, 32)]
        for loss, pause, median, most, datagrams in [*aims, (0.5, 3.0, 0.12, 0.7, 150)]:
            with self.subTest(loss=loss, pause=pause):
                delays, sent = self.delays(loss, pause, 160 if pause < 1 else 48)
                self.assertLess(delays[len(delays) // 2], median)
                self.assertLess(delays[len(delays) * 99 // 100], most)
                self.assertLess(sent, datagrams * len(delays) / 7)


# ======================================================================================================
# Mutated inputs
# ======================================================================================================
# Everything that reads what strangers or people wrote is given samples with changes: it takes them or says that it
# does not, and nothing that could act on a screen gets there.

UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def show_bytes(data):
    """Let a stranger's text take every way to a screen; none may carry there what could act on it."""
    text = data.decode("utf-8", "replace")
    name, at, ident = text[:64], int.from_bytes(data[:8], "big"), data[:8]
    transcript, shown = chat.Transcript(), [display_text(text)]
    kinds = (chat.TEXT, ACTION, PRIVATE, JOINED, LEFT, NOTICE, SKIP, *chat.HOLDING)
    events = (
        Connected(text, name, ident, ((ident, name), (b"bob", "bob")), bool(at & 1)),
        *(Happened(1, Entry(kind, at, ident, 0, name, ident, name), text, bool(at & 1), at & 2) for kind in kinds),
        *(NotSent(0, "FULL", text, text), Queued(1, Entry(PRIVATE, at, ident, 0, name, ident, name, text))),
        Sent(1, True),
    )
    for event in events:
        for line in transcript.apply(event):
            for columns in (0, 40):
                shown.append(re.sub("\x1b\\[[0-9;]*m", "", chat.paint_line(line, True, columns)))
            shown += [drawn for code, piece in chat.split_code(line.text) for _, drawn in chat.split_links(piece)]
        plain = chat.plain_line(event)
        assert plain is None or "\n" not in plain, ascii(plain)
        shown += [plain or "", json.dumps(chat.json_object(event))]
    app, row = chat.ServerApp(open_room, 0), chat.MemberRow(name, ("h", 1), 1, 1, at / 1000)
    chat.Face(app).show = lambda event, lines: shown.extend(line.text for line in lines)
    for event in (*(Activity(what, name, ("h", 1), "X") for what in chat.ACTIVITY), ServerReport((row,), 9)):
        app.take(event)
    shown.append(chat.found_text(chat.ServerFound(text, 1, 9, ("h", 1))))
    for entry in (text_entry(text, name=name), Entry(JOINED, 1, ident, name=name)):
        shown += [piece.decode() for piece in chat.classic_datagrams(entry, entry.text)]
    for each in shown:
        assert not UNSAFE.search(each), ascii(each)
        chat.drawable(each, False)


def type_bytes(data):
    """Let a person type it, wherever something can be typed."""
    text = data.decode("utf-8", "replace")
    parsers = [
        functools.partial(chat.parse_input, commands=known) for known in (chat.CLIENT_COMMANDS, chat.SERVER_COMMANDS)
    ]
    parsers += [functools.partial(chat.parse_server, port=1), clean_name, clean_text, chat.whole_number]
    for parse in parsers:
        with contextlib.suppress(UsageError):
            parse(text)
    found = (chat.ServerFound(text, 1, 9, ("127.0.0.1", 1)),)
    for known in ((), found):
        chat.read_login(dict.fromkeys(("server", "port", "name", "password"), text), known)
    editor = chat.LineEditor()
    editor.feed(text)
    editor.complete(lambda before: chat.complete(before, ["ann", text], chat.CLIENT_COMMANDS))
    assert not UNSAFE.search("".join(editor.layout("> ", 40)[0])), ascii(text)


def fuzz_targets():
    """Return (sample, what takes its mutations) for everything that reads what strangers or people wrote."""
    targets = [(encode(message), functools.partial(decode, message.code)) for message in MESSAGES]
    targets += [(encode_entry(entry), decode_entry) for entry in ENTRIES]
    targets += [(encode_batch(100, 7, encode_entry(entry)), decode_batch) for entry in ENTRIES]
    ours, theirs = (Session(b"name", b"K" * 64, server=side) for side in (True, False))
    targets += [(theirs.seal(message), ours.open) for message in MESSAGES]
    texts = ("he\u202ello\x1b[2J\r\n\x9b w\u00f6rld \u7530\u2066\U0001f600", "```c\nint x;\n```\nhttp://a.b/c_(d).")
    targets += [(text.encode(), show_bytes) for text in texts]
    typed = ["/msg bob hello", "/earlier 20", "//etc", "/kick bob", "/me \u00b2", "LOGIN ann s", "ann", "2"]
    typed += ["[::1]:11111", "lab1:11111", "\x1b[200~a\nb\x1b[201~\x1b[A\x17\t\r"]
    targets += [(text.encode(), type_bytes) for text in typed]
    settings = json.dumps(vars(chat.Settings())).encode()
    return targets + [(settings, lambda data: chat.parse_settings(data.decode("utf-8", "replace")))]


def run_fuzz(seed, count=20_000):
    """Let everything that reads take mutations of its samples."""
    draw, targets = random.Random(seed).random, fuzz_targets()
    for number in range(count):
        sample, take = targets[number % len(targets)]
        data = mutated(sample, draw)
        try:
            with contextlib.suppress(MalformedDatagram):
                take(data)
        except Exception as fault:
            raise AssertionError("SEED=%d: %s takes %r: %r" % (seed, take, data, fault)) from fault


def run_liars(seed, count=2000):
    """Damage what a member says before it is sealed, and what a server says: nobody else notices."""
    network = Network(seed)
    people = [network.person(name) for name in ("ann", "bob", "victim")]
    insider, liar = Insider(network, "eve").enter(), LyingServer(network)
    for person in people:
        person.login(places=[liar.address if person.name == "victim" else SERVER])
    network.run(2, lambda: all(person.connected() for person in people[:2]))
    whole, cores = chat.encode, (network.server, people[2].client)
    before = [weight(core) for core in cores]
    try:
        for number in range(count):
            liar_speaks = bool(number % 2) and liar.session is not None
            sender, target = (liar, people[2].address) if liar_speaks else (insider, SERVER)
            with mock.patch.object(chat, "encode", lambda message: mutated(whole(message), network.draw)):
                data = sender.session.seal(MESSAGES[int(network.draw() * len(MESSAGES))])
            network.inject(data, sender.address, target)
            network.run(0.002)
        network.run(40)
        people[0].say("the end")
        network.run(5)
        assert people[1].texts()[-1:] == ["the end"], "the room does not work: %s" % people[1].texts()[-3:]
        for core, weighed in zip(cores, before):
            assert weight(core) < weighed + 30_000, "a core holds %d, before it was %d" % (weight(core), weighed)
    except Exception as fault:
        raise AssertionError("SEED=%d: %r\n%s" % (seed, fault, network.trace_text())) from fault


class FuzzTest(unittest.TestCase):
    """Bytes that nobody would write are taken or refused, and harm nobody else."""

    def test_inputs_that_are_cut_or_with_a_bit_turned_over_are_taken_or_refused(self):
        for sample, take in fuzz_targets():
            for data in damaged(sample):
                with contextlib.suppress(MalformedDatagram):
                    take(data)

    def test_mutated_inputs_are_taken_or_refused(self):
        run_fuzz(1)

    def test_the_lies_of_a_member_and_of_a_server_harm_nobody_else(self):
        run_liars(1)


# ======================================================================================================
# The file itself
# ======================================================================================================


class FileTest(unittest.TestCase):
    """samsungchat.py is layered as its docstring says, its pure sections do no input or output, and README is true."""

    def setUp(self):
        self.source, self.tests = read_text(SOURCE), read_text(os.path.abspath(__file__))
        self.readme = read_text(os.path.join(os.path.dirname(SOURCE), "README.md"))
        self.lines = self.source.split("\n")
        banner = "^# %s\n" % ("=" * 102)
        self.banners = [  # (line number, section, title)
            (self.source.count("\n", 0, found.end()), int(found[1]), found[2].lower())
            for found in re.finditer(banner + r"# (\d+)\. (.*)\n" + banner, self.source, re.MULTILINE)
        ]

    def section(self, line):
        """Return the section in which a line stands; 0 above the first."""
        return max((section for number, section, _ in self.banners if number <= line), default=0)

    def test_the_section_map_is_true(self):
        docstring = ast.get_docstring(ast.parse(self.source), clean=False)
        mapped = re.findall(r"^ {4}([ \d]\d)  (\S.*?)  ", docstring, re.MULTILINE)
        sections = [(section, title) for _, section, title in self.banners]
        self.assertEqual(sections, [(int(number), title) for number, title in mapped])
        found = re.search(r"each section using only those above it:(.*?)\.", self.readme, re.DOTALL)[1]
        self.assertEqual(sections, list(enumerate((" ".join(each.split()) for each in found.split(",")), 1)))

    def test_every_section_uses_only_those_above_it(self):
        tree, defined, used = ast.parse(self.source), {}, []
        for node in tree.body:
            first = min([node.lineno] + [decorator.lineno for decorator in getattr(node, "decorator_list", [])])
            code = "\n".join(self.lines[first - 1 : node.end_lineno])
            table = symtable.symtable(code, "section", "exec")
            for symbol in table.get_symbols():
                if symbol.is_assigned() or symbol.is_namespace() or symbol.is_imported():
                    defined.setdefault(symbol.get_name(), self.section(first))
            used += [(name, first) for name in global_names(table)]
        wrong = [
            "line %d (section %d) uses %s of section %d" % (line, self.section(line), name, defined[name])
            for name, line in used
            if defined.get(name, 0) > self.section(line)
        ]
        self.assertEqual([], wrong)

    def test_the_pure_sections_do_no_input_or_output(self):
        modules = {"socket", "time", "os", "threading", "random", "logging", "tkinter", "selectors", "signal", "sys"}
        calls, wrong = {"print", "open", "input"}, []
        tokens = [
            token
            for token in tokenize.generate_tokens(io.StringIO(self.source).readline)
            if token.type in (tokenize.NAME, tokenize.OP) and 2 <= self.section(token.start[0]) <= 13
        ]
        for before, token, after in zip(tokens, tokens[1:], tokens[2:]):
            section = self.section(token.start[0])
            name, free = token.string, before.string not in (".", "def")
            banned = modules - {"os"} if section == 7 else modules | {"sqlite3"}
            if free and (after.string == "." and name in banned or after.string == "(" and name in calls):
                wrong.append("line %d (section %d): %s" % (token.start[0], section, name))
        self.assertEqual([], wrong)

    def test_the_tests_that_hold_holes_closed_exist(self):
        defined = set(re.findall(r"^ +def (test_\w+)\(", self.tests, re.MULTILINE))
        attacks = read_text(os.path.join(os.path.dirname(SOURCE), ".github", "SECURITY.md"))
        for text, pattern in ((self.source, r"# SECURITY: (\w+)"), (attacks, r"`(test_\w+)` \|$")):
            named = set(re.findall(pattern, text, re.MULTILINE))
            self.assertGreater(len(named), 10)
            self.assertEqual(set(), named - defined)

    def test_a_python_that_is_too_old_reads_as_far_as_the_sentence_that_says_so(self):
        ast.parse(self.source, feature_version=(3, 6))
        self.assertLess(self.source.index("sys.version_info < (3, 8)"), self.source.index("\nif TYPE_CHECKING"))
        old = "import sys; sys.version_info = (3, 7, 16); import samsungchat"
        done = subprocess.run([sys.executable, "-c", old], stderr=subprocess.PIPE, cwd=os.path.dirname(SOURCE))
        self.assertEqual(b"samsungchat.py needs Python 3.8 or newer; this is Python 3.7.", done.stderr.strip())

    def test_every_limit_is_used(self):
        first, last = [number for number, section, _ in self.banners if section in (1, 2)]
        limits = re.findall(r"^([A-Z_]+) = ", "\n".join(self.lines[first:last]), re.MULTILINE)
        uses = collections.Counter(re.findall(r"\w+", self.source))
        self.assertEqual([], [name for name in limits if uses[name] < 2])

    def test_the_readme_names_every_flag_and_no_other(self):
        for role in ("server", "client"):
            with contextlib.redirect_stdout(io.StringIO()) as out, self.assertRaises(SystemExit):
                chat.argument_parser().parse_args([role, "--help"])
            table = self.readme.split("### `%s`" % role)[1].split("###")[0].split("\n## ")[0]
            named, found = [set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) for text in (table, out.getvalue())]
            self.assertEqual(found - {"--help"}, named)


def global_names(table):
    """Yield the names that code looks up in its module, in the table and all tables in it."""
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (table.get_type() == "module" or symbol.is_global()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from global_names(child)


def read_text(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


# ======================================================================================================
# The screen model
# ======================================================================================================


def said(name, text, seq=1, **more):
    return happened(text=text, seq=seq, **{"name": name, "author": name.encode(), **more})


def happened(kind=chat.TEXT, text="", seq=1, earlier=False, number=0, at=1_700_000_000_000, **fields):
    """Return an entry of the room as a client reports it."""
    return chat.Happened(seq, Entry(kind, at, text=text, **fields), text, earlier, number)


class TranscriptTest(unittest.TestCase):
    """Every event becomes the lines that a person expects, safe to show, the same on every screen."""

    def setUp(self):
        self.transcript = chat.Transcript()
        members = ((b"a", "alice"), (b"b", "bob"), (b"c", "carol"))
        self.entered = chat.Connected("Lab", "alice", b"a", members, False)
        self.transcript.apply(self.entered)

    def shown(self, event):
        return [line for line in self.transcript.apply(event) if line.kind != "day"]

    def kinds(self, event):
        return [line.kind for line in self.transcript.apply(event)]

    def queue(self, number, text, **fields):
        """Have a text of one's own on its way; return the line that stands for it."""
        entry = Entry(**{"kind": chat.TEXT, "author": b"a", "name": "alice", **fields, "text": text})
        self.assertEqual([], self.transcript.apply(chat.Queued(number, entry)))
        return self.transcript.on_way()[-1]

    def test_members_have_colours_of_their_own_as_long_as_there_are_enough(self):
        alike = [name for name in map("m%d".__mod__, range(99)) if chat.name_colour(name) == chat.name_colour("m0")]
        for at, name in enumerate(alike[:5]):
            self.transcript.apply(happened(JOINED, author=b"m%d" % at, name=name))
        names = list(self.transcript.described())
        self.assertEqual(8, len(set(map(self.transcript.colour, names))))
        kept = list(map(self.transcript.colour, names))
        self.transcript.apply(happened(JOINED, author=b"x", name="somebody"))
        self.assertEqual(kept, list(map(self.transcript.colour, names)))
        (line,) = self.shown(happened(chat.TEXT, "hi", author=b"m4", name=alike[4]))
        self.assertEqual(line.colour, self.transcript.colour(alike[4]))

    def test_what_was_before_one_came_does_not_change_who_is_here(self):
        self.shown(happened(JOINED, author=b"d", name="dan", earlier=True))
        self.shown(happened(LEFT, author=b"b", name="bob", earlier=True))
        self.assertEqual(["alice", "bob", "carol"], list(self.transcript.described()))

    def test_own_lines_take_their_place_in_the_log(self):
        mine = self.queue(1, "mine alice")
        self.assertEqual(("pending", False, False), (mine.state, mine.earlier, mine.mention))
        self.assertEqual(["his\n    text"], [line.text for line in self.shown(said("bob", "his\n\ttext"))])
        (mine,) = self.shown(said("alice", "mine", number=1))
        self.assertEqual(("mine", "sent", []), (mine.text, mine.state, self.transcript.on_way()))

    def test_what_was_not_sent_is_marked_and_explained(self):
        self.queue(1, "hi", kind=PRIVATE, to_name="bob")
        failed, error = self.shown(chat.NotSent(1, "LEFT", "hi", "bob has left"))
        self.assertEqual(("failed", "to bob", "error"), (failed.state, failed.private, error.kind))
        self.assertIn("bob has left", error.text)
        self.assertEqual([], self.transcript.on_way())

    def test_a_new_day_has_a_line_of_its_own_whatever_clock_is_wrong(self):
        day, line = self.transcript.apply(said("bob", "x", at=2**64 - 1))
        self.assertEqual(("Thursday, 01 January 1970", "message"), (day.text, line.kind))
        for at, day in ((2**63, []), (1_700_172_800_000, ["day"]), (1_700_000_000_000, ["day"])):
            self.assertEqual([*day, "message"], self.kinds(said("bob", "x", at=at)))
        for number in (1, 2):  # By the clock here it is 1970.
            self.queue(number, "mine", time=0)
            self.assertEqual(["message"], self.kinds(said("alice", "mine", number=number)))
        self.queue(3, "mine", time=0)
        self.assertEqual(["message"], self.kinds(chat.Sent(3, False)))

    def test_who_is_not_encrypted_is_said(self):
        self.shown(happened(JOINED, chat.CLASSIC_TEXT, author=b"o", name="old"))
        (line,) = self.shown(chat.Listed(tuple(self.transcript.described())))
        self.assertEqual("4 members here: alice, bob, carol, old (not encrypted)", line.text)
        self.assertEqual(CLASSIC_TEXT, self.transcript.standing.members[b"o"][2].text)
        self.shown(happened(LEFT, "left", author=b"o", name="old"))
        self.assertNotIn(b"o", self.transcript.standing.members)

    def test_a_run_of_joins_and_leaves_is_one_line(self):
        (first,) = self.shown(happened(JOINED, author=b"d", name="dave"))
        (second,) = self.shown(happened(LEFT, "timed out", author=b"b", name="bob"))
        self.assertEqual((first.key, "dave joined; bob lost the connection"), (second.key, second.text))
        for name, kind, words in (
            ("dave", LEFT, "bob lost the connection; dave joined and left"),
            ("bob", JOINED, "dave joined and left; bob lost the connection and came back"),
            ("carol", LEFT, "dave joined and left; bob lost the connection and came back; carol left"),
            ("dave", JOINED, "bob lost the connection and came back; carol left; dave joined"),
            ("carol", JOINED, "bob lost the connection and came back; dave joined; carol left and came back"),
        ):
            (line,) = self.shown(happened(kind, "left" * (kind == LEFT), author=name[:1].encode(), name=name))
            self.assertEqual(words, line.text)
        self.shown(happened(LEFT, "left", author=b"b", name="bob"))
        self.assertEqual(["alice", "carol", "dave"], list(self.transcript.described()))
        self.shown(said("carol", "hm"))
        (third,) = self.shown(happened(JOINED, author=b"e", name="erin"))
        self.assertNotEqual(third.key, second.key)
        for number in range(chat.MEMBERS_MAX + 9):
            (line,) = self.shown(happened(JOINED, author=b"e", name="e%d" % number))
            self.assertEqual(number + 2 > chat.PRESENCE_NAMES_MAX, " more; " in line.text)
        self.assertIn("%d more; " % (chat.MEMBERS_MAX - chat.PRESENCE_NAMES_MAX), line.text)

    def test_mentions_are_whole_words_and_not_from_history(self):
        for text, mention in (("Alice: look", True), ("malice", False), ("hey ALICE!", True), ("alice2", False)):
            with self.subTest(text):
                line = self.shown(said("bob", text))[-1]
                self.assertEqual((mention, 4), (line.mention, line.colour))  # It is the same on every screen.
        self.assertFalse(self.shown(said("bob", "alice", earlier=True))[-1].mention)
        self.assertTrue(self.shown(said("bob", "psst", kind=PRIVATE, to_name="alice"))[-1].mention)

    def test_earlier_lines_are_set_apart_on_both_sides(self):
        lines = self.shown(said("bob", "old", earlier=True)) + self.shown(said("bob", "new"))
        self.assertEqual(["earlier", "old", "now", "new"], [line.text for line in lines])
        (first,) = self.shown(happened(JOINED, author=b"d", name="dan"))
        divider, second = self.shown(happened(JOINED, author=b"e", name="erin", earlier=True))
        self.assertEqual(("earlier", "erin joined"), (divider.text, second.text))
        self.assertEqual((1_700_000_000, True, False), (second.at, second.earlier, first.earlier))
        self.transcript.apply(self.entered)  # What has come meanwhile is earlier, too.
        self.assertEqual(["earlier", "old"], [line.text for line in self.shown(said("bob", "old", earlier=True))])

    def test_what_is_read_back_is_a_block_of_its_own_before_all_others(self):
        (last,) = self.shown(said("bob", "x"))
        own = happened(PRIVATE, "psst", author=b"a", name="alice", to_name="bob", earlier=True)
        lines = self.shown(chat.EarlierRead((own, said("bob", "alice", earlier=True)), True))
        self.assertEqual(["the beginning", "psst", "alice", "end of what is earlier"], [line.text for line in lines])
        self.assertEqual(("to bob", False), (lines[1].private, lines[2].mention))
        self.assertEqual("earlier", self.shown(chat.EarlierRead((own,), False))[0].text)
        keys = [line.key for line in (last, *lines, *self.shown(said("bob", "y")))]
        self.assertEqual(sorted(set(keys)), keys)

    def test_what_happens_is_said_in_a_sentence(self):
        stuck = chat.Status(State.CONNECTED, 0, 0, 0, True)
        for event, kind, text in (
            (self.entered, "presence", "Welcome to Lab, alice; 3 members here."),
            (replace(self.entered, again=True), "presence", "Connected again to Lab as alice; 3 members here."),
            (stuck, "error", "The server's disk is full: messages wait until there is room on it."),
            (replace(stuck, stuck=False), "presence", "The server's disk has room again; what waited is sent."),
            (chat.Disconnected("It is gone."), "error", "It is gone. Trying again; what you type is kept."),
            (chat.EarlierRead((), True), "presence", "Nothing was said before."),
            (happened(SKIP, count=1), "presence", "1 earlier line no longer available."),
            (happened(NOTICE, "soon"), "notice", "soon"),
            (happened(STARTED, "the room is open"), "presence", "the room is open"),
        ):
            self.assertEqual([(kind, text)], [(line.kind, line.text) for line in self.shown(event)])

    def test_unread_messages_are_counted_while_nobody_looks_and_the_first_has_a_line_above(self):
        kinds = []
        for title in ("Lab", "(1) Lab", "(2) Lab", "Lab", "(1) Lab"):
            self.transcript.read(title == "Lab")
            kinds.append([line.kind for line in self.shown(said("bob", "x"))])
            self.assertEqual(title, self.transcript.title())
        more = [["unread", "message"], ["message"], ["message"], ["gone", "unread", "message"]]
        self.assertEqual([["message"], *more], kinds)
        for uncounted in (happened(STARTED, "x"), said("bob", "x", earlier=True), said("alice", "x", number=1)):
            self.shown(uncounted)
            self.assertEqual(1, self.transcript.unread)
        self.assertEqual("SamsungChat", chat.Transcript().title())

    def test_an_announcement_concerns_everybody_who_is_there(self):
        self.transcript.read(False)
        lines = self.shown(happened(NOTICE, "lunch"))
        self.assertEqual([("unread", False), ("notice", True)], [(line.kind, line.mention) for line in lines])
        self.assertEqual("(1) Lab", self.transcript.title())
        self.assertFalse(self.shown(happened(NOTICE, "breakfast", earlier=True))[-1].mention)
        self.assertEqual("presence", self.shown(happened(STARTED, "it is on again"))[-1].kind)

    def test_who_spoke_last_is_completed_first(self):
        self.assertEqual(["bob", "carol"], self.transcript.names())
        self.shown(said("carol", "x"))
        self.assertEqual(["carol", "bob"], self.transcript.names())

    def test_a_status_says_the_truth_in_a_few_words(self):
        for *status, text, level in (
            (State.CONNECTED, 0, 3, 0, "connected, 3 ms", "good"),
            (State.CONNECTED, 2, 3, 4, "waiting for the server since 4 s, 2 waiting", "warning"),
            (State.CONNECTED, 0, 3, 1, "waiting for the server since 1 s", "warning"),
            (State.CONNECTED, 0, 0, 0, "connected", "good"),
            (State.CONNECTING, 0, 0, 0, "connecting", "warning"),
            (State.RECONNECTING, 0, 3, 12, "reconnecting since 12 s", "error"),
            (State.LEAVING, 1, 3, 0, "leaving, 1 waiting", "error"),
        ):
            status = chat.Status(*status)
            self.assertEqual((text, level), (chat.status_text(status), chat.status_level(status)))

    def test_who_is_logged_in_but_has_not_got_the_members_yet_is_still_connecting(self):
        fresh, connected = chat.Transcript(), chat.Status(State.CONNECTED, 0, 3, 0)
        self.assertEqual(chat.Status(State.IDLE, 0, 0, 0), fresh.status)
        for event, state in (
            (replace(connected, state=State.RECONNECTING), State.RECONNECTING),
            (connected, State.CONNECTING),
            (self.entered, State.CONNECTED),
            (connected, State.CONNECTED),
        ):
            fresh.apply(event)
            self.assertEqual(replace(connected, state=state), fresh.status)


NOT_SAID = re.compile(  # Strings with spaces that no person reads, or that are no sentence of ours.
    r"(?i)[\s(]*(begin|pragma|select|insert|update|delete|cast|max\(|min\(|seq|1 from|time from| and \(typeof|\(page)"
    r"|.*\w=\w|\W*\x1b|[\x01-\x1f]|.*[<\\]|.*(#\w{6} )|-- |background surface|LOGIN|(Login|Password) \w+!$|\w+ row$"
    r"|malformed|unable to open|not a database|disk i/o|timed out|goes on|(crowded|none kept|kept) out|plus equal"
    r"|minus KP|0 KP_0|TRIED|variation selector|east asian|original room|NAME TEXT|%s (and )?(has|is) |/\w+ "
    r"|%s samsungchat|(lost the|was removed|stopped answering|joined and| and came back|not encrypted)|0x|~/"
    r"|attachment;|default-src"
    r"|%s \(private to|samsungchat.py needs|to you$|(earlier|more|raised) (line|hand)$|  \w.*  $|\{name\} %s"
)


OWN_WORDS = ("_ENGLISH_DATES", "_INDONESIAN_DATES", "_INDONESIAN", "_FETCH", "_PAGE")


def sentences(tree):
    """Return the string constants of the program that people read: templates, most of them with places to fill."""
    apart = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
            apart.add(id(node.body[0].value))
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        name = getattr(target, "id", "")
        fault = isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("MalformedDatagram", "DatabaseError")
        if fault or isinstance(node, ast.Assert) or name in OWN_WORDS:
            apart.update(id(each) for each in ast.walk(node))
    found = [each.value for each in ast.walk(tree) if isinstance(each, ast.Constant) and id(each) not in apart]
    words = [each for each in found if isinstance(each, str) and re.search(r"[a-z]{2}.* .*[a-z]{2}", each.strip())]
    return [each for each in dict.fromkeys(words) if not NOT_SAID.match(each)]


class LanguageTest(unittest.TestCase):
    """Whoever reads Indonesian reads it everywhere, and programs read what they always did."""

    def setUp(self):
        chat.use_language("id")
        self.addCleanup(chat.use_language, "en")

    def test_every_sentence_has_its_translation(self):
        lacking = [each for each in sentences(ast.parse(read_text(SOURCE))) if each not in chat.LANGUAGES["id"]]
        self.assertEqual([], lacking, "these stand in the program and not in its table of Indonesian")

    def test_a_translation_fills_the_same_places(self):
        for english, indonesian in chat.LANGUAGES["id"].items():
            places = [
                len(re.findall(r"%[-*.\d]*[a-zA-Z]|%\(\w+\)s|\{[\w:,]*\}", each)) for each in (english, indonesian)
            ]
            self.assertEqual(places[0], places[1], english)
            self.assertEqual(english[-2:] == ": ", indonesian[-2:] == ": ", english)

    def test_sentences_are_filled_in_each_other_and_what_people_wrote_stays(self):
        for english, indonesian in [
            ("Not sent: The server does not take this.", "Tidak terkirim: Server tidak menerima pesan ini."),
            ("connected, 12 ms, 3 waiting", "tersambung, 12 ms, 3 menunggu"),
            (
                "2 more; ann, bob joined; cem left and came back",
                "2 orang lagi; ann, bob bergabung; cem keluar lalu kembali",
            ),
            ("Tuesday, 24 November 2026", "Selasa, 24 November 2026"),
            ("announced: The room is full", "diumumkan: The room is full"),
            ("what bob says is left as it is", "what bob says is left as it is"),
        ]:
            self.assertEqual(indonesian, chat.local(english))

    def test_a_terminal_speaks_it_and_json_and_exports_do_not(self):
        transcript, ident = chat.Transcript(), b"i" * 8
        [line] = transcript.apply(Connected("Lab", "ann", ident, ((ident, "ann"),), False))
        self.assertEqual(
            "-- Login berhasil! Selamat datang di Lab, ann; 1 anggota di sini.", chat.paint_line(line, False)
        )
        left = Happened(1, Entry(LEFT, 1, ident, name="bob", text="timed out"), "timed out")
        self.assertIn("bob kehilangan koneksi", chat.paint_line(transcript.apply(left)[-1], False))
        self.assertEqual("-- bob lost the connection", chat.plain_line(left))
        said = Happened(2, text_entry("The room is full"), "The room is full")
        self.assertIn("The room is full", chat.paint_line(transcript.apply(said)[-1], False))

    def test_what_help_says_is_in_it(self):
        english = [re.split(r"%\(?\w+\)?[sd]?", key) for key, said in chat.LANGUAGES["id"].items() if key != said]
        pieces = {piece.strip() for key in english for piece in key if len(piece.split()) > 2}
        for role in ("server", "client"):
            with mock.patch("sys.stdout", io.StringIO()) as out, self.assertRaises(SystemExit):
                chat.argument_parser().parse_args([role, "--help"])
            text = " ".join(out.getvalue().split())
            self.assertEqual([], [piece for piece in pieces if piece in text])
            self.assertNotRegex(text, r"usage|options|\b(the|and|of|show)\b")

    def test_the_system_or_the_command_line_chooses(self):
        for variables, arguments, language in [
            ({"LANG": "id_ID.UTF-8"}, (), "id"),
            ({"LANG": "id_ID", "LC_ALL": "C"}, (), "en"),
            ({"LANG": "de_DE"}, (), "en"),
            ({"LANG": "id_ID"}, ("server", "--lang", "en"), "en"),
            ({}, ("--lang=id",), "id"),
        ]:
            with mock.patch.dict(os.environ, variables):
                if "LC_ALL" not in variables:
                    del os.environ["LC_ALL"]
                self.assertEqual(language, chat.asked_language(arguments) or chat.system_language(), variables)

    def test_what_was_chosen_in_a_window_is_spoken_again_unless_the_command_line_says_another(self):
        for asked, spoken in ((None, "Kirim"), ("en", "Send")):
            chat.use_language("en")
            with mock.patch.object(chat, "read_settings", lambda: chat.Settings(language="id")):
                chat.opened_settings(argparse.Namespace(lang=asked))
            self.assertEqual(spoken, chat.local("Send"))


class CommandTest(unittest.TestCase):
    """A typed line means one thing, and what means nothing is never sent."""

    def test_lines_and_what_they_mean(self):
        for text, *command in (
            ("hello /me", "say", "hello /me"),
            ("//etc is a folder", "say", "/etc is a folder"),
            ("/me waves", "me", "waves"),
            ("/msg bob  two words", "msg", "two words", "bob"),
            ("/msg bob one\ntwo", "msg", "one\ntwo", "bob"),
            ("/WHO", "who"),
            *((page, "say", page) for page in ("// a comment\nint x;", "/etc/hosts\n127.0.0.1", "/* C */\nreturn;")),
        ):
            with self.subTest(text):
                self.assertEqual(chat.Command(*command), chat.parse_input(text, chat.CLIENT_COMMANDS))

    def test_what_is_no_command_is_refused(self):
        for commands, *texts in (
            (chat.CLIENT_COMMANDS, "/", "/quti", "/msg", "/msg bob", "/me", "/ me x", "/\x1b[2J"),
            (chat.SERVER_COMMANDS, "/", "/earlier", "/kick", "/kick ", "/say  "),
        ):
            for text in texts:
                with self.subTest(text), self.assertRaisesRegex(UsageError, "^[^\x1b]+$"):
                    chat.parse_input(text, commands)

    def test_numbers_that_are_none_are_told(self):
        for text in ("", "\u00b2", "-1", "1.5", "9" * 10, "9" * 5000, "x"):
            self.assertEqual(-1, chat.whole_number(text))
        self.assertEqual([7, 7, 0], [chat.whole_number(text) for text in ("7", " \u0667 ", "0")])

    def test_a_name_that_is_taken_brings_a_proposal(self):
        for name, proposal in (("bob", "bob2"), ("bob2", "bob3"), ("b9", "b10"), ("x" * 32, "x" * 32)):
            self.assertEqual(proposal, chat.another_name(name))

    def test_help_names_every_command(self):
        text = "\n".join(chat.commands_help(chat.CLIENT_COMMANDS))
        for name in (*chat.CLIENT_COMMANDS, "/TEXT"):
            self.assertIn("/" + name, text)

    def test_completion(self):
        for before, *after in (
            ("b", "bob: ", "Bea: "),
            ("hi b", "hi bob ", "hi Bea "),
            ("/msg ", "/msg bob ", "/msg Bea ", "/msg alice "),
            ("/me ",),
            ("@al", "@alice: "),
            ("/m", "/msg ", "/me "),
            ("/msg be", "/msg Bea "),
            ("amsg ",),
            ("x",),
            ("",),
        ):
            with self.subTest(before):
                self.assertEqual(after, chat.complete(before, ["bob", "Bea", "alice"], chat.CLIENT_COMMANDS))

    def test_servers_are_written_in_five_ways(self):
        for text, *server in (
            ("lab1", "lab1", 11111),
            ("lab1:1", "lab1", 1),
            ("lab1:65535", "lab1", 65535),
            ("[::1]:7", "::1", 7),
            ("[::1]", "::1", 11111),
            ("::1", "::1", 11111),
        ):
            self.assertEqual(tuple(server), chat.parse_server(text, 11111))
        self.assertEqual(("7", 11111), chat.read_server("7", 11111, []))  # No choice: none was found.
        no_port = ("lab:0", "lab:65536", "lab1:" + "9" * 5000, "[::1]:123456789")
        for text in ("", "a b", "lab:x", "[::1", "a:b:c", *no_port):
            with self.subTest(text), self.assertRaisesRegex(UsageError, "from 1 to" if text in no_port else "HOST"):
                chat.parse_server(text, 11111)


class LineEditorTest(unittest.TestCase):
    """The line being typed obeys the keys that people know, whatever pieces they arrive in."""

    def type(self, *keys):
        editor = chat.LineEditor()
        self.actions = [action for key in keys for action in editor.feed(key)]
        return editor

    def test_editing_keys(self):
        for *keys, text, cursor in (
            ("abc\x7f", "ab", 2),
            ("abc\x1b[D\x1b[DX", "aXbc", 2),
            ("abc\x01X\x05Y", "XabcY", 5),
            ("one two\x17", "one ", 4),
            ("one two\x1b[1;5D\x0b", "one ", 4),
            ("abc\x15", "", 0),
            ("abc\x1b[H\x1b[3~", "bc", 0),
            ("a\x1b\rb", "a\nb", 3),
            ("日本\x02x", "日x本", 2),
            ("\x1b[5~\x1bOP\x00a", "a", 1),
            ("ab", "\x1b", "[", "D", "X", "aXb", 2),
            ("ab", "\x1b", "[D", "X", "aXb", 2),
            ("x\x1b[A", "x", 1),
            ("a", "\x1b", "xy", "axy", 3),  # Escape alone asks for nothing.
            ("never sent\x03\x1b[A", "never sent", 10),
        ):
            with self.subTest(keys=keys):
                editor = self.type(*keys)
                self.assertEqual((text, cursor), (editor.text, editor.cursor))

    def test_enter_takes_the_line_and_up_recalls_it(self):
        editor = self.type("first\rsecond\rdraft\x1b[A\x1b[A")
        self.assertEqual([("enter", "first"), ("enter", "second")], self.actions)
        self.assertEqual("first", editor.text)
        editor.feed("\x1b[B\x1b[B")
        self.assertEqual("draft", editor.text)
        lines = "".join("%d\r" % number for number in range(300))
        self.assertEqual(str(300 - chat.HISTORY_LINES_MAX), self.type(lines + "\x1b[A" * 300).text)
        self.assertEqual(["a", "b", "a"], self.type("a\rb\r  \rb\ra\r").history)
        question = chat.LineEditor(remembers=False)
        question.feed("secret\r\x1b[A")
        self.assertEqual("", question.text)

    def test_a_paste_of_many_lines_goes_in_whole_and_is_not_sent(self):
        editor = self.type("x\x1b[200~one\rtw", "o\nthree\r\n\x1b[20", "1~y")
        self.assertEqual("xone\ntwo\nthreey", editor.text)
        self.assertEqual([("paste", "one\ntwo\nthree\n")], self.actions)

    def test_control_keys_are_actions(self):
        self.type("a\x03\x03\t\x1a\x0c\x04")
        names = [name for name, _ in self.actions]
        self.assertEqual(["interrupt", "complete", "suspend", "redraw", "eof"], names)
        self.assertEqual("b", self.type("ab\t\x01\x04").text)  # Ctrl-D is the end only where nothing stands.
        self.assertEqual([("complete", "")], self.actions)

    def test_an_offered_line_is_replaced_by_typing_and_edited_by_an_arrow(self):
        keys = {"x": "x|", "\x7f": "|", "\x1b[D!": "bo!|b", "\x1b[200~page\x1b[201~": "page|", "\r": "|"}
        for key, shown in keys.items():
            editor = chat.LineEditor()
            editor.set("bob", selected=True)
            editor.feed(key)
            editor.insert("|")
            self.assertEqual((shown, False), (editor.text, editor.selected))

    def test_tab_cycles(self):
        editor = self.type("b")
        for text in ("bob: ", "bea: ", "bob: "):
            editor.complete(lambda before: ["bob: ", "bea: "] * (before == "b"))
            self.assertEqual(text, editor.text)
        editor.feed("c")
        editor.complete(lambda before: [before + "arol "])
        self.assertEqual("bob: carol ", editor.text)

    def test_rows_never_reach_the_last_cell(self):
        rows, row, cell = self.type("日本語 " * 20).layout("name> ", 31)
        self.assertTrue(all(chat.text_width(each) <= 30 for each in rows))
        self.assertEqual((len(rows) - 1, chat.text_width(rows[-1]) - 1), (row, cell))
        for text, columns, rows in (("x" * 10, 9, ["> xxxxxx", "xxxx "]), ("日ab", 2, ["> ", "日", "ab", " "])):
            self.assertEqual(rows, self.type(text).layout("> ", columns)[0])

    def test_a_hidden_line_shows_nothing_of_it(self):
        rows, _, cell = self.type("secret").layout("Password: ", 80, hidden=True)
        self.assertEqual((["Password:  "], 10), (rows, cell))
        self.assertEqual(["> a\u21b5b "], self.type("a\x1b\rb").layout("> ", 80)[0])

    def test_a_page_shows_only_the_rows_around_the_caret(self):
        editor, most = self.type("".join("%3d," % number for number in range(500))), chat.EDITOR_ROWS_MAX
        for cursor, row, first in ((0, 0, "> "), (40 * most - 3, most - 1, "> "), (40 * most - 2, most - 1, "9, ")):
            editor.cursor = cursor
            rows, *place = editor.layout("> ", 41)
            self.assertEqual((most, row), (len(rows), place[0]))
            self.assertEqual(first, rows[0][: len(first)])


class OutputTest(unittest.TestCase):
    """A pipe gets one line for each entry, a program one object, and neither gets a stranger's control codes."""

    def test_plain_lines(self):
        for event, line in (
            (said("bob", "a\nb"), "bob: a\u21b5b"),
            (said("bob", "waves", kind=ACTION), "* bob waves"),
            (said("bob", "psst", kind=PRIVATE, to_name="al\x07"), "bob (private to al\u2407): psst"),
            (happened(LEFT, "kicked", name="bob"), "-- bob was removed"),
            (happened(LEFT, "superseded", name="bob"), "-- bob stopped answering"),
            (happened(NOTICE, "soon\x1b[2J"), "-- soon\u241b[2J"),
            (happened(SKIP, count=3), "-- 3 earlier lines no longer available"),
            (happened(number=1), None),
        ):
            self.assertEqual(line, chat.plain_line(event))

    def test_rows_break_at_spaces_and_between_characters(self):
        for text, first, width, rows in (
            ("one two three", 7, 9, ["one two", "three"]),
            ("a\n  b  c", 9, 9, ["a", "  b  c"]),
            ("日本語日本語", 5, 4, ["日本", "語日", "本語"]),
            ("", 5, 5, [""]),
            ("ab cd\nab cd", 5, 2, ["ab cd", "ab", "cd"]),
        ):
            self.assertEqual(rows, chat.fold(text, first, width))

    def test_no_text_can_keep_a_screen_busy(self):
        start = time.process_time()
        for text in ("\xad" * 8192, "\t" * 16384, "\n" * 16384, "x" * 16384, "\u65e5" * 5461, "a b" * 5461):
            line = chat.Line(1, "message", display_text(text), 0.0, "eve")
            for columns in (0, 10, 80):
                self.assertLessEqual(chat.paint_line(line, False, columns).count("\n"), chat.MESSAGE_ROWS_MAX)
        for text in ("```\n" * 4096, "```a\n" * 3276, "``` " * 4096):
            chat.split_code(text)
        self.assertLess(time.process_time() - start, 5)
        for rows, last in ((chat.MESSAGE_ROWS_MAX, "x"), (201, "... 1 more row"), (300, "... 100 more rows")):
            long = chat.paint_line(chat.Line(1, "message", "\n".join("x" * rows), 0.0, "eve"), False, 80)
            self.assertEqual(last, long.split("\n")[-1].strip())

    def test_no_text_can_look_like_another_members_line(self):
        forged = "x" + " " * 200 + "09:41 bob: I resign\n09:41 bob: really"
        rows = chat.paint_line(chat.Line(1, "message", forged, 0.0, "eve"), False, 60).split("\n")
        self.assertGreater(len(rows), 2)
        self.assertTrue(all(row.startswith("      ") and len(row) < 60 for row in rows[1:]))

    def test_whatever_is_folded_fits_and_nothing_is_lost(self):
        draw = random.Random(5).random
        for _ in range(300):
            text = "".join("ab 日\n "[int(draw() * 6)] for _ in range(int(draw() * 60)))
            first, width = 2 + int(draw() * 20), 2 + int(draw() * 20)
            rows = chat.fold(text, first, width)
            self.assertTrue(all(chat.text_width(row) <= max(first, width) for row in rows), (text, rows))
            self.assertEqual("".join(text.split()), "".join("".join(rows).split()))

    def test_json_objects_are_the_contract(self):
        stamp = {"seq": 1, "time": 1.7e9}
        text = {**stamp, "from": "bob", "kind": "text", "private": False}
        connected = chat.Connected("Lab", "al", b"", ((b"1", "bob"), (b"2", "al")), True)
        private = said("bob", "psst", kind=PRIVATE, to_name="al")
        for event, name, fields in (
            (said("bob", "a\nb", seq=5), "message", {**text, "seq": 5, "text": "a\nb"}),
            (private, "message", {**text, "text": "psst", "private": True, "to": "al"}),
            (connected, "connected", {"room": "Lab", "name": "al", "members": ["al", "bob"], "again": True}),
            (chat.Listed(("al",)), "members", {"members": ["al"]}),
            (happened(JOINED, name="bob"), "joined", {**stamp, "name": "bob"}),
            (happened(JOINED, chat.CLASSIC_TEXT, name="bob"), "joined", {**stamp, "name": "bob", "classic": True}),
            (happened(LEFT, chat.CLASSIC_TEXT, name="bob"), "left", {**stamp, "name": "bob", "why": chat.CLASSIC_TEXT}),
            (happened(NOTICE, "x", earlier=True), "notice", {**stamp, "text": "x", "earlier": True}),
            (happened(SKIP, count=3), "notice", {**stamp, "time": None, "text": "3 earlier lines no longer available"}),
            (chat.Sent(9, True), "sent", {"seq": 0, "number": 9}),
            (chat.Disconnected("x"), "disconnected", {}),
            (chat.NotSent(7, "TOO_LONG", "x", "why"), "not_sent", {"number": 7, "code": "TOO_LONG", "text": "why"}),
            (happened(seq=8, number=3), "sent", {"seq": 8, "number": 3}),
            (chat.LoginFailed("KICKED", "out"), "refused", {"code": "KICKED", "text": "out"}),
        ):
            self.assertEqual({"event": name, **fields}, chat.json_object(event))
        bob = private.entry.author
        standing = chat.Standing([(1, Entry(JOINED, author=bob, text=CLASSIC_TEXT)), (2, Entry(HAND, name="bob"))])
        self.assertTrue(chat.json_object(private, standing)["classic"])
        hand = {"name": "bob", "raised": True, "text": "why?", "place": 1, "seq": 1, "time": 1.7e9}
        for kind, expected in (
            (HAND, {"event": "hand", **hand}),
            (chat.CALLED, {"event": "called", "seq": 1, "time": 1.7e9, "name": "bob", "text": "why?"}),
        ):
            found = chat.json_object(happened(kind, "why?", name="bob"), standing)
            self.assertEqual(expected, {name: found[name] for name in expected})
        self.assertIsNone(chat.json_object(chat.Sent(9, False)))

    def test_a_terminal_shows_each_kind_of_line_in_its_own_way_and_no_colour_where_none_is_wanted(self):
        head, clock = "<2m9:41 ><1;35mbob>", chat.local_time(0).strftime("%H:%M")
        for kind, fields, painted in (
            ("message", {"state": "sent"}, head + ": x\n      y"),
            ("message", {"mention": True, "earlier": True}, head + ": <1;33mx\n      y>"),
            ("message", {"earlier": True, "private": "from bob"}, head + "<35m (private)>: <2mx\n      y>"),
            ("message", {"state": "pending", "private": "to al"}, head + "<35m (to al)>: <2mx\n      y>"),
            ("action", {"state": "failed"}, head.replace("><", ">* <") + " <2mx\n      y>"),
            ("notice", {}, "<2m9:41 ><1m*** ><1mx\n      y>"),
            ("error", {}, "<31m!! x\n   y>"),
            ("day", {}, "<2m-- x\n   y -->"),
            ("presence", {}, "<2m-- x\n   y>"),
            ("log", {}, "9:41:00  x\n" + " " * 21 + "y"),
        ):
            line = chat.Line(1, kind, "x\ny", 0.0, "bob", 3, **fields)
            for colour in (True, False):
                shown = re.sub("<[0-9;]+m|>", "", painted) if not colour else painted
                found = chat.paint_line(line, colour).replace("\x1b[0m", ">").replace("\x1b[", "<")
                self.assertEqual(shown, re.sub(r"(\d+-\d+-\d+ )?" + clock, "9:41", found))

    def test_a_servers_lines_are_folded_under_their_text(self):
        for kind, indent in (("answer", 4), ("log", 21)):
            rows = chat.paint_line(chat.Line(1, kind, "word " * 40), False, 60).split("\n")
            self.assertEqual({" " * indent + "word"}, {row[: indent + 4] for row in rows[1:]})
            self.assertLess(max(map(len, rows)), 60)


# ======================================================================================================
# Real sockets
# ======================================================================================================


DEADLINE_SECONDS = 20.0  # What has not come by then never comes.


def wait_for(find, failure, step=lambda: time.sleep(0.005)):
    """Return what ``find`` returns as soon as that is something, or fail at the deadline: every wait is this one."""
    until = time.monotonic() + DEADLINE_SECONDS
    while True:
        found = find()
        if found or time.monotonic() > until:
            assert found, failure if isinstance(failure, str) else failure()
            return found
        step()


def open_room(port=0, host="127.0.0.1", log=None, password="secret", **options):
    """Return a server and its sockets."""
    now, sockets = time.monotonic(), chat.open_server_sockets(host, port)
    log = log or Log(int(time.time() * 1000))
    return Server(log, password, os.urandom, now, time.time() - now, **options), sockets


def start_room(test, port=0, host="127.0.0.1", **options):
    """Start a server on loopback that ends with the test; return its loop and its port."""
    server, sockets = open_room(port, host, **options)
    loop, bound = chat.Loop(server, sockets, lambda event: None), sockets[0].getsockname()[1]
    test.addCleanup(loop.call, server.close)  # It ends soon; nobody has to wait for it.
    loop.start()
    return loop, bound


def end_room(room):
    """Close a room, and wait for its end."""
    room.call(room.core.close)
    room.join(DEADLINE_SECONDS)


class Guest:
    """A member without a screen: what it hears can be asked for."""

    def __init__(self, port, name, password="secret", host="127.0.0.1"):
        self.events = queue.SimpleQueue()
        self.loop = chat.start_client(Client(os.urandom, 0.0), self.events.put)
        self.loop.call(lambda now: self.loop.core.login(name, password, chat.resolve(host, port), now))
        self.wait_for(Connected)

    def wait_for(self, kind):
        """Return the next event of that kind."""
        event = None
        while not is_one(event, (kind,)):
            event = self.events.get(timeout=DEADLINE_SECONDS)
        return event

    def say(self, text, **more):
        self.loop.call(lambda now: self.loop.core.say(text, now, **more))

    def leave(self):
        self.loop.call(self.loop.core.leave)


def join(test, port, name, **more):
    """Return a guest that leaves with the test."""
    guest = Guest(port, name, **more)
    test.addCleanup(guest.leave)
    return guest


class FaultySocket(socket.socket):
    """A socket in trouble: its calls raise these faults in turn, with None for none, and then no more."""

    def __init__(self, test, **faults):
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        test.addCleanup(self.close)
        self.setblocking(False)
        for name, each in faults.items():
            setattr(self, name, functools.partial(self._attempt, getattr(self, name), iter(each)))

    @staticmethod
    def _attempt(call, faults, *arguments):
        fault = next(faults, None)
        if fault is not None:
            raise fault
        return call(*arguments)


class Recorder(chat.Core):
    """A core that ends after its first datagram."""

    def __init__(self):
        super().__init__(0.0)
        self.received, self.released = [], 0

    def receive(self, datagram, address, now):
        self.received.append(datagram)
        self.done = True

    def tick(self, now):
        pass

    def release(self):
        self.released += 1


class LoopTest(unittest.TestCase):
    """The loop carries a core's datagrams over real sockets, and no fault of a socket ends it."""

    def sender(self, out, segmented=True):
        """Return a sender through a socket, a socket that receives, and two datagrams on their way to it at once."""
        inbox = chat.open_socket(("127.0.0.1", 0))
        self.addCleanup(inbox.close)
        inbox.settimeout(5)
        sender = chat.Sender([out])
        sender.segmented = segmented
        room, session = RoomKey(3, b"r" * 32), Session(b"name", b"k" * 64, server=True)
        return sender, inbox, Fanout([room.seal(b"one"), room.seal(b"two")], [(inbox.getsockname(), session)])

    def run_loop(self, core, *sockets):
        """Start a loop; return it, and the queue of what it posts."""
        events = queue.SimpleQueue()
        loop = chat.Loop(core, sockets, events.put)
        loop.start()
        return loop, events

    def test_a_burst_arrives_once_each_and_in_order_with_and_without_segmentation(self):
        texts = ["%d %s" % (number, "x" * 300) for number in range(300)]
        for segmented in (sys.platform == "linux", False):
            loop, port = start_room(self, rate=0)
            loop.sender.segmented = loop.sender.segmented and segmented
            alice, bob = [join(self, port, name) for name in ("alice", "bob")]
            alice.loop.call(lambda now, core=alice.loop.core: [core.say(text, now) for text in texts])
            self.assertEqual(texts, [bob.wait_for(SAID).text for _ in texts])
            self.assertEqual(segmented, loop.sender.segmented, "it is tried on Linux, and not given up for nothing")

    @unittest.skipUnless(socket.has_ipv6, "this machine has no IPv6")
    def test_one_socket_serves_ipv6_and_ipv4(self):
        try:
            _, port = start_room(self, host="::")
        except OSError as fault:
            self.skipTest("IPv6 is switched off here: %s" % fault)
        six, four = join(self, port, "six", host="::1"), join(self, port, "four")
        six.say("hello")
        self.assertEqual("six", four.wait_for(SAID).entry.name)

    def test_segmentation_that_the_system_refuses_is_given_up_for_good(self):
        out = FaultySocket(self)
        out.sendmsg = mock.Mock(side_effect=OSError(5, "no segmentation here"))
        sender, inbox, fanout = self.sender(out)
        for bodies in (fanout.bodies[:1], fanout.bodies, fanout.bodies):
            sender.send([replace(fanout, bodies=bodies)])
        session = Session(b"name", b"k" * 64, server=False)
        opened = [session.open(inbox.recv(99)) for _ in range(5)]
        texts = [xor_stream(b"r" * 32, message.nonce, message.sealed) for message in opened]
        self.assertEqual([b"one", *[b"one", b"two"] * 2], texts)
        self.assertEqual((False, 0, 1), (sender.segmented, sender.failed, out.sendmsg.call_count))

    def test_a_full_buffer_is_waited_for_and_says_nothing_against_segmentation(self):
        full = BlockingIOError()
        out = FaultySocket(self, sendmsg=[full] * 2, sendto=[full, None] * 3 + [full, socket.timeout(), full])
        sender, inbox, fanout = self.sender(out)
        out.settimeout = mock.Mock(wraps=out.settimeout)
        sender.send([fanout, Datagram(b"third", inbox.getsockname())])
        self.assertEqual([3, 0], [len([inbox.recv(99) for _ in range(3)]), sender.failed])
        self.assertEqual((True, False), (sender.segmented, out.getblocking()))
        sender.send([fanout])
        self.assertEqual((True, 2), (sender.segmented, sender.failed))
        self.assertEqual([mock.call(chat.SEND_WAIT_SECONDS)] * 4, out.settimeout.mock_calls)

    def test_machines_that_are_gone_stop_no_turn_for_long(self):
        out = FaultySocket(self, sendto=[BlockingIOError(), socket.timeout(), *[BlockingIOError()] * 98])
        sender, inbox, _ = self.sender(out)
        out.settimeout = mock.Mock(wraps=out.settimeout)
        sender.send([Datagram(b"%d" % number, inbox.getsockname()) for number in range(100)])
        self.assertEqual((b"99", 99), (inbox.recv(99), sender.failed))
        out.settimeout.assert_called_once_with(chat.SEND_WAIT_SECONDS)

    def flooded(self, *strangers, known=0):
        """Let a loop find that in its socket, and of known sessions so much; return its core at its first tick."""
        core, inbox, outs = Recorder(), chat.open_socket(("127.0.0.1", 0)), {}
        core.knows = lambda datagram, address: datagram == b"known"
        core.tick = lambda now: setattr(core, "seen", core.overloaded)
        for who, data in [*strangers, *[("ann", b"known")] * known]:
            outs[who] = outs.get(who) or FaultySocket(self)
            outs[who].sendto(data, inbox.getsockname())
        self.run_loop(core, inbox)[0].join(DEADLINE_SECONDS)
        return core

    def test_a_flood_of_strangers_does_not_come_before_those_in_the_room(self):
        core = self.flooded(*[("eve", b"%d" % number) for number in range(chat.STRANGERS_MAX)], known=1)
        self.assertEqual([b"known", b"0", b"1"], core.received[:3])
        self.assertEqual((1 + chat.STRANGERS_MAX, False), (len(core.received), core.seen))

    def test_who_floods_from_one_address_displaces_only_himself(self):
        flood = [("eve", b"%d" % number) for number in range(2 * chat.STRANGERS_MAX)]
        core = self.flooded(*flood[:100], ("bob", b"hello"), *flood[100:])
        self.assertEqual([flood[-1][1], b"hello"], core.received)
        self.assertTrue(core.seen, "those who are silent now may not have been heard")

    def test_who_is_silent_while_more_arrives_than_is_read_may_not_have_been_heard(self):
        with mock.patch.object(chat, "RECEIVE_DATAGRAMS_MAX", 9):
            cores = [self.flooded(known=count) for count in (8, 20)]
        self.assertEqual([(8, False), (9, True)], [(len(core.received), core.seen) for core in cores])

    @unittest.skipUnless(sys.platform == "linux", "only Linux has segmentation")
    def test_more_than_one_call_may_take_is_sent_in_several_and_a_wrong_address_is_no_reason_against_them(self):
        sender, inbox, fanout = self.sender(FaultySocket(self))
        wrong = replace(fanout, members=[(("::1", 9, 0, 0), fanout.members[0][1])])
        sender.send([wrong, replace(fanout, bodies=fanout.bodies * chat.SEGMENTS_MAX)])
        received = [inbox.recv(99) for _ in range(2 * chat.SEGMENTS_MAX)]
        self.assertEqual(len(received), len(set(received)))
        sender.send([Datagram(b"x", ("::1", 9, 0, 0)), Datagram(b"x" * 70000, ("127.0.0.1", 9))])
        self.assertEqual((4, True), (sender.failed, sender.segmented))
        inbox.settimeout(0)
        self.assertRaises(BlockingIOError, inbox.recv, 99)

    def test_what_cannot_be_done_is_said_and_the_loop_goes_on(self):
        def refuse(now):
            raise UsageError("not this")

        core = Recorder()
        loop, events = self.run_loop(core)
        loop.call(refuse)
        self.assertEqual(("not this", True), (str(events.get(timeout=5)), loop.daemon))
        loop.call(lambda now: setattr(core, "done", True))
        self.assertEqual("", events.get(timeout=5).failure)

    def test_a_closed_port_of_a_peer_does_not_end_the_receiving_and_the_core_knows_the_wall_clock(self):
        core, inbox = Recorder(), FaultySocket(self, recvfrom=[ConnectionResetError(10054, "forcibly closed")] * 2)
        inbox.bind(("127.0.0.1", 0))
        loop, _ = self.run_loop(core, inbox)
        FaultySocket(self).sendto(b"still here", inbox.getsockname())
        loop.join(DEADLINE_SECONDS)
        self.assertEqual([b"still here"], core.received)
        self.assertAlmostEqual(time.time() - time.monotonic(), core.epoch, delta=1)

    def test_a_fault_of_the_program_reaches_the_person(self):
        core = Recorder()
        core.tick = lambda now: 1 / 0
        loop, events = self.run_loop(core)
        loop.call(lambda now: None)
        self.assertIn("ZeroDivisionError", events.get(timeout=5).failure)
        self.assertEqual(1, core.released)


class NetworksTest(unittest.TestCase):
    """A search asks in every network of the machine, and a server names its addresses in all of them."""

    @unittest.skipUnless(sys.platform == "linux", "other systems have only one address to try it on")
    def test_a_search_asks_in_every_network_from_the_address_there(self):
        searches, heard = queue.SimpleQueue(), [Wire(self, "127.0.0.7")]
        heard.append(Wire(self, "127.0.0.8", heard[0].port))
        networks = {"127.0.0.3": "127.0.0.7", "127.0.0.4": "", "127.0.0.5": "127.0.0.8", "192.0.2.99": "127.0.0.7"}
        with mock.patch.object(chat, "networks", networks.items), mock.patch.dict(os.environ, SAMSUNGCHAT_DISCOVERY=""):
            chat.start_discovery(heard[0].port, searches.put)
        for each, own in zip(heard, ("127.0.0.3", "127.0.0.5")):
            (hello, address), session = wait_for(lambda each=each: [each.hears()], "no search")[0], own.encode()[-8:]
            self.assertEqual((own, Hello), (address[0], type(decode_unsealed(hello))))
            offer = Offer(decode_unsealed(hello).nonce, bytes(20), session, 1, 9, 0, 0, own)
            each.sendto(encode_unsealed(offer), address)
        rooms = [found.room for found in searches.get(timeout=DEADLINE_SECONDS)]
        self.assertEqual(["127.0.0.3", "127.0.0.5"], sorted(rooms))

    def test_a_server_names_its_addresses_in_all_networks(self):
        found = [("10.0.0.5", "10.0.0.255"), ("10.0.1.5", ""), ("127.0.0.1", "127.0.0.1")]
        for networks, *bound, addresses in (
            (found, "0.0.0.0", chat.PORT, ["10.0.0.5", "10.0.1.5"]),
            (found, "::", 1, 0, 0, ["10.0.0.5:1", "10.0.1.5:1"]),
            (found, "10.9.9.9", 1, ["10.9.9.9:1"]),
            (found[2:], "0.0.0.0", chat.PORT, ["127.0.0.1"]),
        ):
            with mock.patch.object(chat, "networks", return_value=networks):
                self.assertEqual(addresses, chat.typed_addresses(tuple(bound)))

    @unittest.skipIf(sys.platform == "win32", "it names its addresses by itself")
    def test_a_network_that_is_down_is_none_and_where_no_broadcast_address_was_given_a_search_goes_to_all(self):
        flags, own, none = struct.pack("=16xH14x", 3), struct.pack("=20x4s8x", b"\x0a\0\0\x05"), bytes(32)
        both = mock.patch("socket.if_nameindex", return_value=[(1, "down"), (2, "up")])
        with both, mock.patch("fcntl.ioctl", side_effect=[none, flags, own, none]):
            self.assertEqual([("10.0.0.5", "255.255.255.255")], chat.networks()[:-1])

    def test_the_networks_of_this_machine_can_be_bound_to_and_loopback_is_the_last(self):
        found = chat.networks()
        self.assertEqual(("127.0.0.1", "127.0.0.1"), found[-1])
        self.assertEqual(len(found), len(dict(found)))
        for own, broadcast in found:
            chat.open_socket((own, 0)).close()
            self.assertIn(broadcast.count("."), (0, 3))


# ======================================================================================================
# Apps
# ======================================================================================================


class Screen(chat.Face):
    """A face that keeps what it is shown."""

    def __init__(self, app, form=False):
        super().__init__(app)
        self.form = form
        self.shown, self.back = [], []
        app.start()

    def show(self, event, lines):
        self.shown += lines

    def put_back(self, text, reason):
        self.back.append(text)

    def wait(self, condition):
        """Take what happens until the condition holds."""
        wait_for(condition, lambda: "it did not come about; the last was %r" % self.shown[-3:], self.take_next)

    def take_next(self):
        with contextlib.suppress(queue.Empty):
            self.take(self.app.inbox.get(timeout=0.05))
        self.look()


class ClientAppTest(unittest.TestCase):
    """What lies between a person and a room is decided once, and right, for every face."""

    def app(self, port="1", form=False, name="alice", server="127.0.0.1", password="secret"):
        app = chat.ClientApp({"server": server, "port": str(port), "name": name, "password": password})
        self.addCleanup(app.shut)
        return app, Screen(app, form)

    def enter(self, **options):
        """Start a room; return it, its port, an app that is in it, and its screen."""
        room, port = start_room(self, **options)
        app, screen = self.app(port)
        screen.wait(lambda: app.entered)
        return room, port, app, screen

    def close(self, room, app, screen):
        """Close a room, and wait until that is noticed."""
        end_room(room)
        screen.wait(lambda: app.transcript.status.state is State.RECONNECTING)

    def lose(self):
        """Have a room come back in which somebody else has the name; return who was in it, and the screen."""
        room, self.port, app, screen = self.enter()
        self.close(room, app, screen)
        app.enter("for the first room")
        start_room(self, self.port)
        join(self, self.port, "alice")
        screen.wait(lambda: app.need is not None)
        self.assertEqual(("name", USERNAME_TAKEN, False), (app.need.field, app.need.code, app.entered))
        return app, screen

    def test_what_was_typed_for_one_room_is_never_sent_to_another(self):
        _, elsewhere = start_room(self)
        app, screen = self.lose()
        conversation, bob = app.transcript, join(self, elsewhere, "bob")
        app.log_in(server="127.0.0.1:%d" % elsewhere)
        screen.wait(lambda: screen.back)
        self.assertEqual((["for the first room"], 0), (screen.back, len(app.waiting)))
        self.assertIsNot(conversation, app.transcript)
        self.assertEqual([], app.transcript.on_way())
        app.enter("for the second")
        self.assertEqual("for the second", bob.wait_for(SAID).text)

    def test_a_changed_password_is_asked_for_while_the_old_one_is_still_tried(self):
        room, port, app, screen = self.enter()
        for answer in ({"password": "new"}, {}):
            self.close(room, app, screen)
            room, _ = start_room(self, port, password="another" if not answer else "new")
            screen.wait(lambda: app.need)
            self.assertEqual(("password", WRONG_PASSWORD, False), (app.need.field, app.need.code, app.entered))
            if answer:
                app.log_in(**answer)
            else:
                end_room(room)
                start_room(self, port, password="new")
            screen.wait(lambda: app.entered)
            self.assertIsNone(app.need)

    def test_r_answers_who_wrote_last_and_the_answer_goes_to_nobody_else(self):
        _, port, app, screen = self.enter()
        for text in (" ", "/r hello"):
            app.enter(text)
        self.assertEqual(["/r hello"], screen.back)
        bob = join(self, port, "bob")
        bob.say("psst", to_name="alice")
        screen.wait(lambda: app.transcript.correspondent)
        app.enter("/r  two words")
        self.assertEqual(["/msg bob two words"], list(app.waiting.values()))
        self.assertEqual(("two words", "alice"), (bob.wait_for(SAID).text, app.prompt()[:5]))

    def test_a_private_text_is_offered_back_by_itself(self):
        _, port, app, screen = self.enter()
        with mock.patch.object(app, "call"):  # Nothing leaves.
            for text in ("/msg alice psst", "hello"):
                app.enter(text)
        self.assertEqual(2, len(app.waiting))
        app.leave_room()
        app.log_in()
        screen.wait(lambda: screen.back)
        self.assertEqual(["/msg alice psst"], screen.back)

    def test_what_was_typed_waits_for_the_same_room_under_another_name(self):
        app, screen = self.lose()
        bob = join(self, self.port, "bob")
        app.log_in(name="alice2")
        self.assertEqual("for the first room", bob.wait_for(SAID).text)
        screen.wait(lambda: not app.waiting)
        self.assertEqual([], screen.back)

    def test_leaving_with_unsent_messages_asks_each_time(self):
        room, port, app, screen = self.enter()
        app.interrupt()
        self.assertIn("Ctrl-C once more leaves", screen.shown[-1].text)
        self.close(room, app, screen)
        for text in ("one", "two"):
            app.enter(text)
            app.quit()
            self.assertIsNone(app.code)
            self.assertIn("not confirmed yet", screen.shown[-1].text)
        screen.form = True  # There it is a question, which another message makes another one.
        for text, asked in (("three", "3 messages"), ("four", "4 messages")):
            app.enter(text)
            app.quit()
            self.assertEqual((asked + " not confirmed yet. Leave all the same?", "Leave"), app.question[:2])
        app.answer(False)
        self.assertIsNone(app.code)
        app.quit()
        app.answer(True)
        self.assertEqual(0, app.code)
        app.shut()
        self.assertEqual((1, "4 messages not confirmed."), (app.code, app.last_words))

    def test_a_lost_connection_and_its_return_are_said_and_then_forgotten(self):
        room, port, app, screen = self.enter()
        self.assertEqual(("", ""), app.connection())
        self.close(room, app, screen)
        self.assertRegex(" ".join(app.connection()), r"has closed the room\. Trying again since \d s.* kept .* error$")
        with mock.patch.object(chat, "BACK_SECONDS", 0.5):
            start_room(self, port)
            screen.wait(lambda: app.connection() == ("Connected again.", "good"))
            screen.wait(lambda: app.connection() == ("", ""))

    def test_who_leaves_and_comes_back_knows_what_is_his(self):
        _, port, app, screen = self.enter()
        bob = join(self, port, "bob")
        bob.say("his")
        for text in ("mine", "mine too"):
            app.enter(text)
            screen.wait(lambda: not app.waiting)
            app.leave_room()
            app.log_in()
            screen.wait(lambda: app.entered)
        screen.shown.clear()
        screen.wait(lambda: screen.shown and screen.shown[-1].text == "mine too")
        lines = {line.text: line.state for line in screen.shown if line.earlier and line.kind == "message"}
        self.assertEqual({"his": "", "mine": "sent", "mine too": "sent"}, lines)

    def test_who_is_alone_is_told_how_others_come_in(self):
        with mock.patch.object(chat, "networks", lambda: [("10.1.1.5", ""), ("127.0.0.1", "")]):
            _, port, app, screen = self.enter()
        self.assertRegex(app.invitation(), r"\S+ samsungchat.py client 10\.1\.1\.5:%d$" % port)
        join(self, port, "bob")
        screen.wait(lambda: app.invitation() == "")

    def test_it_is_known_whom_alone_a_text_reaches_while_it_is_typed(self):
        app, _ = self.app(form=True)
        for text, reached in (
            ("/msg bob  hi", ("bob", 10)),
            ("/MSG bob", ("", 0)),
            ("/r hi", ("", 0)),
            ("hi", ("", 0)),
        ):
            self.assertEqual(reached, app.addressee(text))
        app.transcript.apply(happened(PRIVATE, "psst", name="carol", author=b"c"))
        self.assertEqual(("carol", 3), app.addressee("/r hi"))

    def test_a_room_is_left_by_who_has_said_so_twice_and_no_question_outlives_it(self):
        _, _, app, _ = self.enter(room="Lab 1")
        for answer, stays in ((False, True), (True, False)):
            app.ask_leave()
            self.assertEqual(("Leave Lab 1?", "Leave"), app.question[:2])
            app.answer(answer)
            self.assertEqual((stays, None), (app.entered, app.question))
        app.ask_leave()
        app.leave_room()
        self.assertIsNone(app.question)

    def test_a_form_searches_for_servers_once_at_a_time_and_again(self):
        with mock.patch.multiple(chat, start_discovery=mock.DEFAULT, SEARCH_SECONDS=0.01) as patched:
            app, screen = self.app(form=True, server="")
            for _ in range(20):
                app.leave_room()
                screen.look()
            self.assertIn("Looking", app.search_words())
            ((port, tell),) = [call.args for call in patched["start_discovery"].call_args_list]
            tell([chat.ServerFound("Lab", 1, 9, ("127.0.0.1", 5))])
            screen.wait(lambda: patched["start_discovery"].call_count == 2)
            self.assertIn("Rooms", app.search_words())
            tell([])
            screen.wait(lambda: "firewall" in app.search_words())
            tell([chat.ServerFound("Lab", 1, 9, ("127.0.0.1", 5))])
            screen.wait(lambda: app.found)
            found = [each.room for each in app.found]
            self.assertEqual((1, ["Lab"], ""), (port, found, app.values["server"]))  # It is the person who chooses.

    def test_a_found_server_is_chosen_by_number_or_room(self):
        rooms = [chat.ServerFound(room, 1, 9, ("10.0.0.%d" % at, at)) for at, room in ((1, "Lab"), (2, "Hall"))]
        for text, host, port in (("1", 1, 1), ("hall", 2, 2), ("lab ", 1, 1), ("10.0.0.9", 9, 7)):
            self.assertEqual(("10.0.0.%d" % host, port), chat.read_server(text, 7, rooms))
        for text, said in (("3", "from 1 to 2"), ("0", "from 1 to 2"), (" ", "choose one found")):
            with self.assertRaisesRegex(UsageError, said):
                chat.read_server(text, 7, rooms)
        self.assertEqual("", chat.namesakes(rooms))

    def test_who_calls_his_server_as_another_is_called_does_not_go_unnoticed(self):
        places = [("10.0.0.%d" % at, at) for at in (1, 2, 3)]
        rooms = [chat.ServerFound(room, 1, 9, at) for room, at in zip(("Lab", "LAB", "2"), places)]
        with self.assertRaisesRegex(UsageError, "Two servers here are called Lab; ask which one is yours."):
            chat.read_server("lab", 7, rooms)
        self.assertEqual(places[1], chat.read_server("2", 7, rooms))
        app, screen = self.app(server="")
        screen.wait(lambda: app.need.hint)
        app.end_search(rooms)
        screen.wait(lambda: "Two servers here are called" in app.need.hint)
        listed = app.need.hint
        app.log_in(server="4", password="")
        self.assertEqual(("server", listed), (app.need.field, app.need.hint), "the list is there again")

    def test_a_password_is_asked_for_when_the_server_is_known_and_the_default_offered_where_it_is_in_force(self):
        (_, port), (_, public) = start_room(self), start_room(self, password=chat.PASSWORD)
        for server, field, offered in (
            ("no.such.machine.invalid", "server", ""),
            ("127.0.0.1:%d" % port, "password", ""),
            ("localhost:%d" % public, "password", chat.PASSWORD),
        ):
            app, screen = self.app(server=server, password="")
            self.assertTrue(app.need.searching)
            screen.wait(lambda app=app: not app.need.searching)
            self.assertEqual((field, offered), (app.need.field, app.default_password()))
        app.log_in(password="")
        self.assertEqual("alice (not connected)> ", app.prompt())
        screen.wait(lambda: app.entered)

    def test_the_status_says_why_no_room_was_entered(self):
        for code, status in ((NO_ANSWER, 1), (TRY_LATER, 1), (WRONG_PASSWORD, 3), (KICKED, 3), (ROOM_FULL, 3)):
            with mock.patch.object(chat, "start_thread"):
                pipe = chat.Pipe(chat.ClientApp({}), as_json=False, stay=False)
            pipe.app.need = chat.Need("", {"": "because"}, code)
            pipe.update()
            self.assertEqual((status, code + ": because"), (pipe.app.code, pipe.app.last_words))


class CommandLineTest(unittest.TestCase):
    """What a program is started with is taken as it was meant, or refused."""

    def options(self, *arguments):
        with contextlib.redirect_stderr(io.StringIO()):
            return chat.argument_parser().parse_args(arguments)

    def test_numbers_have_limits_and_some_flags_exclude_each_other(self):
        for flag, role, low, high in (
            *(("--port", "server", 0, 65535), ("--port", "client", 1, 65535), ("--earlier", "client", 0, 65535)),
            *((flag, "server", 1, 65535) for flag in ("--max-members", "--classic-max")),
            *(("--keep", "server", 1, 36500), ("--history-size", "server", 1, 10**6), ("--rate", "server", 0, 10**6)),
        ):
            for number in (low, high):
                self.assertIn(number, vars(self.options(role, flag, str(number))).values())
            for number in (low - 1, high + 1):
                self.assertRaises(SystemExit, self.options, role, flag, str(number))
        for wrong in ([], ["client", "--gui", "--cli"], ["server", "--password", "x", "--password-file", "x"]):
            self.assertRaises(SystemExit, self.options, *wrong)

    def test_a_window_is_opened_where_there_is_a_display_and_somebody_in_front_of_it(self):
        tty, pipe = mock.Mock(), mock.Mock(**{"isatty.return_value": False})
        with mock.patch.object(chat, "open_root", side_effect=lambda: "root"):
            for flags, streams, root in (
                *(([], [None, tty], "root"), ([], [tty, pipe], None), (["--gui"], [pipe, pipe], "root")),
                *((["--cli"], [tty, tty], None), (["--json"], [tty, tty], None)),
            ):
                self.assertEqual(root, chat.opened_root(self.options("client", *flags), *streams))
        with mock.patch.object(chat, "open_root", side_effect=UsageError("no display")):
            with contextlib.redirect_stderr(io.StringIO()) as err:
                self.assertIsNone(chat.opened_root(self.options("client"), tty))
            self.assertEqual("samsungchat: using the console. no display\n", err.getvalue())
            self.assertRaises(UsageError, chat.opened_root, self.options("client", "--gui"), tty)

    def test_a_password_comes_from_its_flag_its_file_or_the_environment(self):
        path = os.path.join(temporary_folder(self), "password")
        with open(path, "w", encoding="utf-8-sig") as file:
            file.write("file\n")
        for flag, value, password in (("--password", "flag", "flag"), ("--password-file", path, "file")):
            with mock.patch.dict(os.environ, SAMSUNGCHAT_PASSWORD="set"):
                self.assertEqual(password, chat.chosen_password(self.options("client", flag, value)))
                self.assertEqual("set", chat.chosen_password(self.options("client")))
        self.assertRaises(UsageError, chat.chosen_password, self.options("client", "--password", ""))


class ServerAppTest(unittest.TestCase):
    """The operator reads what happens, and who is here."""

    def test_what_happens_is_a_line_of_the_log(self):
        app = chat.ServerApp(open_room, 0)
        self.addCleanup(app.shut)
        screen, place = Screen(app), ("10.0.0.1", 5)
        for what, level, text in (
            ("joined", "muted", "ann joined from 10.0.0.1:5 (1 here)"),
            ("back", "muted", "ann is back from 10.0.0.1:5 (1 here)"),
            ("foreign", "plain", "10.0.0.1:5 tried to log in with the original program"),
            ("timed out", "warning", "ann lost the connection (1 here)"),
        ):
            app.take(chat.Activity(what, "ann", place, "", 1))
            line = screen.shown[-1]
            self.assertEqual((level, text), (line.state, line.text[: len(text)]))
        app.take(chat.ServerReport((chat.MemberRow("ann", place, 3, 1, 0.0),), 9))
        rows = [re.sub(r"\d+:\d+:\d+", "9:41", line.text) for line in screen.shown[-2:]]
        self.assertEqual(["1 of 9 members", "  ann  10.0.0.1:5  3 ms  1 message  since 9:41"], rows)
        app.take(chat.LoopEnded("a fault"))
        self.assertEqual((1, "a fault", "error"), (app.code, app.last_words, screen.shown[-1].state))


HOSTILE = "a\x1b]0;x\x07\x9b2J\u202eb\r\nc\x7f"


def hostile_events():
    """Return every event of a client, with one hostile string in every field that strangers fill."""
    kinds = (chat.TEXT, ACTION, PRIVATE, JOINED, LEFT, NOTICE, STARTED, SKIP)
    entries = [Entry(kind, 1, b"e", name=HOSTILE, to_name=HOSTILE, text=HOSTILE) for kind in kinds]
    room = [chat.Happened(seq, entry, HOSTILE, seq % 2 == 0) for seq, entry in enumerate(entries, 1)]
    members = ((b"a", HOSTILE), (b"b", "b" + HOSTILE))
    standing = ((1, Entry(JOINED, 0, b"b", name="b" + HOSTILE, text=chat.CLASSIC_TEXT)),)
    ends = [replace(room[2], number=1), chat.NotSent(1, HOSTILE, HOSTILE, display_text(HOSTILE)), chat.Sent(1, True)]
    ends.append(chat.EarlierRead(tuple(room), True))
    return [
        chat.Connected(HOSTILE, HOSTILE, b"a", members, True, standing),
        *room,
        *(event for end in ends for event in (chat.Queued(1, entries[2]), end)),
        chat.Disconnected("The server does not answer."),
        chat.Status(State.CONNECTED, 1, 1, 1, True),
        chat.LoginFailed(WRONG_PASSWORD, HOSTILE),
    ]


class HostileTextTest(unittest.TestCase):
    """No field of any event reaches any face as it came from a stranger."""

    def assertHarmless(self, *texts):
        acting = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")  # On a terminal.
        self.assertEqual([], list(filter(acting.search, texts)))

    def client(self, face, *arguments, server="x"):
        """Return a client's app that never reaches a network, and its face."""
        app = chat.ClientApp({"server": server, "port": "1", "name": "al", "password": "x"})
        for name in ("start_thread", "start_discovery", "start_client"):
            mock.patch.object(chat, name).start()
        self.addCleanup(mock.patch.stopall)
        return app, face(app, *arguments)

    def test_the_servers_that_were_found(self):
        for count in (1, 2):
            app, screen = self.client(Screen, server="")
            app.end_search([chat.ServerFound(HOSTILE, 1, 9, ("10.0.0.1", 1))] * count)
            texts = [line.text for line in screen.shown] if count == 1 else [app.need.hint]
            self.assertHarmless(*texts, chat.found_text(app.found[0]))
            self.assertEqual(2 * count - 1, "".join(texts).count(display_text(HOSTILE, " ")))  # Two: a warning too.

    def test_the_lines_of_a_client(self):
        app, screen = self.client(Screen)
        for event in hostile_events():
            app.take((app.transcript, event))
            names = [*app.transcript.names(), *app.transcript.described().values(), app.transcript.title()]
            names += [app.prompt(), *(line.name + line.private for line in screen.shown)]
            self.assertNotIn("\n", "".join(names))
            lines = [*screen.shown, *app.transcript.on_way()]
            runs = [text for line in lines for text, _ in chat.line_runs(line)]
            self.assertHarmless(*names, *runs, *(chat.paint_line(line, False, 50) for line in lines))
        self.assertHarmless(app.need.errors["password"])

    def test_the_lines_of_a_pipe(self):
        for as_json in (False, True):
            with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
                app, pipe = self.client(chat.Pipe, as_json, False)
                app.start()
                for event in hostile_events():
                    app.take((app.transcript, event))
            pipe.update()
            self.assertHarmless(out.getvalue(), err.getvalue(), app.last_words)
            self.assertEqual(16, len(out.getvalue().splitlines()) - 6 * as_json)

    def test_the_log_of_a_server(self):
        app = chat.ServerApp(functools.partial(open_room, room=HOSTILE), 0)
        self.addCleanup(app.shut)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            log = chat.PlainLog(app)
            app.start()
            for what in chat.ACTIVITY:
                app.take(chat.Activity(what, HOSTILE, ("10.0.0.1", 1), HOSTILE, 1))
            app.take(chat.ServerReport((chat.MemberRow(HOSTILE, ("10.0.0.1", 1), 1, 1, 0.0),), 9))
            app.announce(HOSTILE)
            app.ask_kick(HOSTILE)
            app.take(chat.LoopEnded("a fault"))
            log.close()
        self.assertHarmless(out.getvalue(), app.question[0])
        self.assertEqual([len(chat.ACTIVITY) + 7, 1], [out.getvalue().count(text) for text in ("\n", "a fault")])


# ======================================================================================================
# Windows, driven as a person drives them, on whatever display there is
# ======================================================================================================

try:
    _root = chat.open_root()
    _root.update_idletasks()
    _root.destroy()
    NO_WINDOWS = ""
except chat.UsageError as fault:
    NO_WINDOWS = str(fault)


POEM = "def area(radius):\n    # of a circle\n    return 3.14159 * radius ** 2\n\nprint(area(2))"
_KEPT = []  # Windows, until the end: Tk aborts when a network thread's garbage collection frees one.


class WindowTest(unittest.TestCase):
    maxDiff = None
    """What windows share: a display, real keys, and that a fault of any callback fails the test."""

    def setUp(self):
        if NO_WINDOWS:
            self.skipTest(NO_WINDOWS)
        self.faults, folder = [], temporary_folder(self)
        changed = mock.patch.dict(os.environ, XDG_CONFIG_HOME=folder, APPDATA=folder)
        changed.start()
        self.addCleanup(changed.stop)

    def open(self, make):
        root = chat.open_root()
        window = make(root)
        told = root.report_callback_exception
        root.report_callback_exception = lambda *fault: (self.faults.append(fault[1]), told(*fault))
        _KEPT.append(window)
        self.addCleanup(self.shut, window)
        window.app.start()
        window.look_at_inbox()
        root.deiconify()
        return window

    def open_client(self, port=0, name="", password="", theme="light", server="127.0.0.1"):
        values = {"server": server if port else "", "port": str(port or chat.PORT), "name": name, "password": password}
        return self.open(lambda root: chat.ClientWindow(root, chat.ClientApp(values, 50), chat.Settings(theme=theme)))

    def open_server(self, port=0, theme="light", note="", **options):
        app = chat.ServerApp(functools.partial(open_room, room="Lab 1", **options), port)
        return self.open(lambda root: chat.ServerWindow(root, app, chat.Settings(theme=theme), "Lab 1", "secret", note))

    def shut(self, window):
        """End it, as it ends by itself."""
        window.close()
        window.app.shut()
        self.assertEqual([], self.faults)

    def wait(self, window, condition):
        """Run the window until the condition holds."""

        def step():
            if self.faults:
                raise self.faults[0]
            if not window.root.tk.dooneevent(2):
                time.sleep(0.002)

        wait_for(condition, "it did not come about", step)
        self.assertEqual([], self.faults)

    def sketch(self, window, width=1000):
        """Return what is seen in a window as it is read: rows of texts and widgets, with how much room these have."""
        window.root.geometry("%dx800" % width)
        self.wait(window, lambda: window.root.winfo_width() == width)
        window.root.update()
        kinds = ("TLabel", "TButton", "TEntry", "Text", "Treeview")
        seen = [each for each in widgets(window.root) if each.winfo_viewable() and each.winfo_class() in kinds]
        corner = lambda each: (each.winfo_rootx() + 3, each.winfo_rooty() + 3)  # noqa: E731
        uncovered = [each for each in seen if window.root.winfo_containing(*corner(each)) is each]
        rows, top = [], 0
        for each in sorted(uncovered, key=lambda each: each.winfo_rooty()):
            if each.winfo_rooty() > top + 12 or not rows:
                rows, top = [*rows, []], each.winfo_rooty()
            wide, tall = each.winfo_width() > window.root.winfo_width() / 3, each.winfo_height() > 100
            self.assertLessEqual(each.winfo_rootx() - window.root.winfo_rootx() + each.winfo_width(), width)
            words = "wide " * wide + "tall " * tall + each.winfo_class()
            words = words if each.winfo_class() in kinds[2:] else str(each.cget("text"))
            rows[-1] += [(each.winfo_rootx(), words)] if words else []
        return re.sub(
            r":\d+|, \d+ ms", "", " / ".join(" | ".join(words for _, words in sorted(row)) for row in rows if row)
        )

    def press(self, window, widget, *keys):
        """Press keys in a widget that has the focus, and let the window do what it does when it is idle."""
        widget.focus_force()
        self.wait(window, lambda: window.root.focus_get() is widget)
        window.root.update()
        for key in keys:
            widget.event_generate("<%s>" % key)
            window.root.update()
        if not window.closed:
            widget.event_generate("<KeyRelease>")
            window.root.update()

    def click_close(self, window):
        """Click on the window's own close button."""
        window.root.tk.eval(window.root.protocol("WM_DELETE_WINDOW"))

    def words(self, window):
        """Return what stands on a window: its title, labels, buttons, entries of menus, headings and names of rows."""
        found = [window.root.title()]
        for widget in widgets(window.root):
            kind = widget.winfo_class()
            if kind in ("TLabel", "TButton"):
                found.append(str(widget.cget("text")))
            elif kind == "Menu" and widget.index("end") is not None:
                entries = [at for at in range(widget.index("end") + 1) if widget.type(at) == "command"]
                found += [widget.entrycget(at, "label") for at in entries]
            elif kind == "Treeview":
                found += [widget.heading(each, "text") for each in widget.cget("columns")]
                found += [str(widget.item(row, "values")[0]) for row in widget.get_children()]
        return [re.sub(r"\d+", "0", text.strip()) for text in found]

    def assert_in_both_languages(self, window):
        """Switch the language at two sizes: every word changes that is no name, and has room where it is seen."""
        said, table = {}, chat.LANGUAGES["id"]
        names = r"SamsungChat|Server|Port|Password|Ping|Menu \u25be|(\W  )?bob|Lab 0|.*(\w  \u00b7  |0\.0).*"
        self.addCleanup(chat.use_language, "en")
        for size in ("960x640", "400x500"):
            window.root.geometry(size)
            self.wait(window, lambda size=size: window.root.geometry().startswith(size))
            for language in ("id", "en"):
                window.switch_language()
                self.assertEqual(language, chat.read_settings().language)
                window.root.update()
                said[language] = self.words(window)
                shown = [each for each in widgets(window.root) if each.winfo_class() in ("TLabel", "TButton")]
                cut = [each for each in shown if each.winfo_viewable() and each.winfo_reqwidth() > each.winfo_width()]
                self.assertEqual([], [each.cget("text") for each in cut], (language, size))
            same = {one for one, other in zip(said["en"], said["id"]) if one == other and re.search("[A-Za-z]", one)}
            self.assertEqual([], [each for each in same if not re.fullmatch(names, each, re.DOTALL)])
            self.assertEqual([], [each for each in said["id"] if table.get(each, each) != each])

    def type(self, window, composer, text, *keys):
        """Type a text, and press Return or what is given."""
        composer.set(text)
        self.press(window, composer.text, *(keys or ("Return",)))


class ScreenModelForWindowsTest(unittest.TestCase):
    """What windows show is decided without them, and is right for whatever strangers write."""

    def test_every_text_is_readable_on_every_surface_and_button(self):
        for palette in chat.PALETTES.values():
            inks = ["text", "muted", "accent", "error", "good", "warning", *map("name%d".__mod__, range(8))]
            surfaces = ["background", "surface", "own", "mention", "private", "code"]
            pairs = [(palette[ink], palette[surface]) for ink in inks for surface in surfaces]
            pairs += [(palette["background"], palette[fill]) for fill in ("warning", "error", "good")]
            pairs.append((palette["text"], palette["found"]))
            for ink, fill in (("background", "accent"), ("text", "background")):
                shares = (0, 0.09, 0.18)  # As it is, pointed at, pressed.
                pairs += [(palette[ink], chat.blend(palette[fill], palette["text"], share)) for share in shares]
            for ink, surface in pairs:
                self.assertGreaterEqual(_contrast(ink, surface), 4.5, (ink, surface))

    def test_links_end_where_the_sentence_goes_on(self):
        text = "see https://a.org/x_(yy), (http://b.de). ftp://c http://... javascript:alert(1)"
        pieces = chat.split_links(text)
        self.assertEqual(["https://a.org/x_(yy)", "http://b.de"], [piece for link, piece in pieces if link])
        self.assertEqual(text, "".join(piece for _, piece in pieces))

    def test_code_is_told_from_prose(self):
        prose, fenced = "a list:\nmilk\nbread\nand tea", "look\n```py\nx = 1\n```\nnice"
        self.assertEqual([[(True, POEM)], [(False, prose)]], [chat.split_code(text) for text in (POEM, prose)])
        self.assertEqual([(False, "look"), (True, "x = 1"), (False, "nice")], chat.split_code(fenced))
        self.assertEqual([(True, "x"), (False, "a;\nb;")], chat.split_code("```\nx\n```\na;\nb;"))
        for text, is_code in (("import this", False), ("a;\nb;", True), ("a;\nb\nc", True), ("a;\nb\nc\nd", False)):
            self.assertEqual([(is_code, text)], chat.split_code(text))

    def styled(self, line, before=None):
        """Return what a window draws of a line, behind each piece its styles."""
        runs = itertools.groupby(chat.line_runs(line, before), key=lambda run: run[1])
        pieces = ["%s[%s]" % ("".join(text for text, _ in each), " ".join(tags)) for tags, each in runs]
        return "".join(pieces).replace("\n", "/").replace(chat.local_time(line.at).strftime("%H:%M"), "9:41")

    def test_each_kind_of_line_has_its_styles(self):
        gap, code = "/[plain gap]", "c\n```\n1\n2\n3\n```"
        head = "bob[{0} head who name3]  private %s[{0} head secret]  9:41/[{0} head time]"
        to_carol, coded = {"private": "to carol", "state": "sent"}, "{0} code top]2/[{0} code]3/[{0} code bottom]"
        for kind, text, fields, drawn in (
            ("gone", "x", {}, ""),
            ("divider", "now", {}, "from now on/[system divider]"),
            ("unread", "new", {}, "new/[system unread]/[system rule]"),
            ("log", "x", {"state": "muted"}, "9:41:00\t[logged time]x/[logged body muted]"),
            ("log", "x", {"state": "error"}, "9:41:00\t[logged time]x/[logged body error strong]"),
            ("answer", "x\ny", {}, "\tx/\ty/[logged code]"),
            ("notice", "x", {}, gap + "Announcement[{0} head who accent]  9:41/[{0} head time]x/[{0} body]"),
            ("action", "x", {}, gap + "bob[{0} head who name3] [{0} head action]x[{0} action]  9:41[{0} time]/[{0}]"),
            ("message", "x", to_carol, gap + head % "to carol" + "x[{0} body]\u00a0\u00a0\u2713[{0} sent]/[{0} body]"),
            ("message", code, {"private": "from bob"}, gap + head % "to you" + "c/[{0} body]1/[" + coded),
        ):
            row = "notice" if kind == "notice" else "private" if fields else "plain"
            name = "bob" * (kind != "notice")
            self.assertEqual(drawn.format(row), self.styled(chat.Line(1, kind, text, 0.0, name, 3, **fields)))

    def test_a_message_goes_on_under_the_name_of_the_one_before(self):
        before = chat.Line(1, "message", "x", 1000.0, "bob", mention=True)
        for text, drawn in (("x", "x/"), ("```\n```", "/")):  # Nothing but fences is a row too.
            self.assertEqual(drawn + "[mention body]", self.styled(replace(before, text=text), before))
        self.assertEqual("x/[mention body]", self.styled(replace(before, at=999.0 + chat.GROUP_SECONDS), before))
        for change in (
            *({"kind": "notice"}, {"name": "eve"}, {"private": "from bob"}, {"mention": False}, {"earlier": True}),
            *({"state": "sent"}, {"at": 999.0}, {"at": 1000.0 + chat.GROUP_SECONDS}),
        ):
            with self.subTest(change):
                self.assertIn(" head ", self.styled(replace(before, **change), before))

    def test_long_code_is_folded_after_twenty_rows_and_loses_nothing(self):
        for count, folded, more in (
            (20, 0, []),
            (21, 1, ["1 more line \u25be"]),
            (200, 180, ["180 more lines \u25be"]),
        ):
            text = "\n".join("  x = %d;" % number for number in range(count))
            runs = chat.line_runs(chat.Line(1, "message", text, name="bob"))
            self.assertEqual(more, [piece for piece, tags in runs if "more" in tags and piece.strip()])
            self.assertEqual(folded, sum("fold" in tags for _, tags in runs))
            self.assertEqual(text, "".join(piece for piece, tags in runs if "code" in tags).rstrip("\n"))

    def test_help_is_a_card_of_its_own(self):
        self.assertEqual({"plain", "card"}, {tags[0] for _, tags in chat.line_runs(chat.Line(1, "help", "/who"))})

    def test_settings_survive_any_text(self):
        kept = chat.Settings("lab1:11111", "bob", "dark", "id", -3)
        self.assertEqual(chat.parse_settings(json.dumps(vars(kept))), kept)
        with mock.patch.dict(os.environ, XDG_CONFIG_HOME="", APPDATA=""):
            self.assertTrue(chat.settings_path().startswith(os.path.expanduser("~")))
        for text in ("", "[]", "{", '{"server": 5, "name": ["x"], "zoom": "9"}', "null", "[" * 100000):
            self.assertEqual(chat.parse_settings(text), chat.Settings())

    def test_what_a_tk_cannot_draw_is_described(self):
        self.assertEqual(chat.drawable("hi \U0001f600!", False), "hi [grinning face]!")
        self.assertEqual(chat.drawable("\U0001d54f \U00020000 \U00010000", False), "X \u25a1 \u25a1")
        skin = "\U0001f44d\U0001f3fb\U0001f44d\U0001f3ff"
        self.assertEqual(chat.drawable(skin + "\u2764\ufe0f", False), "[thumbs up sign]" * 2 + "[heavy black heart]")
        self.assertEqual(chat.drawable("\u2713 \uc548\ub155", False), "\u2713 \uc548\ub155")
        family, flag = "\U0001f468\u200d\U0001f469\U0001f3fd\u200d\U0001f467", "\U0001f1ee\U0001f1e9"
        for emoji, thumb in ((True, "\U0001f44d"), (False, "[thumbs up sign]")):
            self.assertEqual(
                "[man, woman, girl] [flag ID] 1", chat.drawable(family + " %s 1\ufe0f\u20e3" % flag, emoji)
            )
            self.assertEqual(thumb, chat.drawable("\U0001f44d\U0001f3fd", emoji))
        joined = "\u0915\u094d\u200d\u0937 \u0645\u06cc\u200c\u062e"  # Not emoji: these scripts need their joiners.
        self.assertEqual(joined, chat.drawable(joined, True))

    def test_a_login_form_says_what_is_wrong_where_it_is(self):
        values, errors = chat.read_login({"server": "", "port": "0", "name": "two words", "password": ""}, ())
        self.assertEqual((None, ["name", "password", "port", "server"]), (values, sorted(errors)))
        values, errors = chat.read_login({"server": "lab1:5", "port": "11111", "name": "bob", "password": "x"}, ())
        self.assertEqual(values, chat.LoginValues("lab1", 5, "bob", "x"))
        for port in ("0", "65536", "x"):  # The server is not to blame.
            _, errors = chat.read_login({"server": "lab1", "port": port, "name": "bob", "password": "x"}, ())
            self.assertEqual({"port": "1 to 65535"}, errors)

    def test_places_are_counted_as_tk_counts(self):
        text, within = "a the\n\U0001f600 The the", ["2.0", "3.0"]
        self.assertEqual(chat.find_places(text, "the", 2, within), [("2.3", "2.6"), ("2.7", "2.10")])
        self.assertEqual(chat.find_places(text, "the", 2, ["2.5", "2.9", "1.0", "1.5"]), [("1.2", "1.5")])
        self.assertEqual(chat.find_places(text, "", 2, within), [])

    def test_a_name_that_is_too_long_ends_in_an_ellipsis(self):
        for width in range(1, 8):
            self.assertEqual(chat.shorten("abcdefgh", width, len), "abcdefgh"[: width - 1] + "\u2026")
        self.assertEqual(["abc", "abc"], [chat.shorten("abc", width, len) for width in (3, 5)])


def _contrast(one, other):
    """Return the contrast of two colours (WCAG 2.1)."""

    def luminance(colour):
        parts = [value / 255 for value in bytes.fromhex(colour[1:])]
        parts = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


class ClientWindowTest(WindowTest):
    """A person can log in, read, write and leave in the window, whatever the network does meanwhile."""

    def setUp(self):
        super().setUp()
        self.server, self.port = start_room(self, room="Lab 1")

    def enter(self, name="alice", **more):
        window = self.open_client(self.port, name, "secret", **more)
        self.wait(window, window.chat.winfo_ismapped)
        window.root.focus_force()
        self.wait(window, window.front)
        return window

    def guest(self, name):
        return join(self, self.port, name)

    def shown(self, window):
        return window.view.text.get("1.0", "end-1c")

    def say(self, window, text, *keys):
        self.type(window, window.composer, text, *keys)

    def wait_shown(self, window, text):
        self.wait(window, lambda: text in self.shown(window))

    def test_everything_has_its_place(self):
        form = "Bahasa Indonesia | Switch theme / SamsungChat / A chatroom for your network"
        form += " / Server | Port / TEntry | TEntry / Your name / TEntry / Password | Show / TEntry / Log in"
        self.assertEqual(form, self.sketch(self.open_client()).partition(" / Looking")[0])
        window, _ = self.enter(), self.guest("bob")
        window.find.open()
        self.wait(window, lambda: window.find.frame.winfo_ismapped() and window.members.tree.exists("nbob"))
        room = (
            "Lab 1 | 2 members | Menu \u25be / wide TEntry | Previous | Next | Close / wide tall Text | tall Treeview"
        )
        room += " / wide Text | Write a message | Send / alice  \u00b7  127.0.0.1 | connected"
        self.assertEqual(room, self.sketch(window))

    def test_it_speaks_the_language_chosen_at_once(self):
        form = self.open_client()
        form.login.button.invoke()
        form.login.find_faults()
        self.wait(form, lambda: not form.app.checking and "No room" in form.login.looking.cget("text"))
        self.assert_in_both_languages(form)
        form.login.close_faults()
        self.assert_in_both_languages(form)
        window = self.enter()
        self.assert_in_both_languages(window)
        self.guest("bob").say("hello\nhttp://lab")
        self.wait_shown(window, "hello")
        self.say(window, "/hand why?")
        self.wait(window, window.app.transcript.hands)
        window.find.open()
        window.find.needle.set("none")
        window.start_private("bob")
        window.view.text.mark_set("insert", "link.first")
        window.act(window.app.ask_leave)
        self.assert_in_both_languages(window)
        window.view.following = False
        end_room(self.server)
        self.wait(window, window.bar.winfo_ismapped)
        self.assert_in_both_languages(window)
        with mock.patch.object(chat.tk.Menu, "tk_popup"):
            self.press(window, window.view.text, "Shift-F10")
        self.assertIn("Open link", self.words(window))
        chat.use_language("id")
        with mock.patch.object(chat.tk.Menu, "tk_popup"):
            self.press(window, window.view.text, "Shift-F10")
        self.assertIn("Buka tautan", self.words(window))
        window.app.transcript.room = "Members"
        window.update()
        self.assertEqual("Members", window.room.cget("text"))  # What people wrote stays.

    # --- logging in

    def test_a_wrong_password_is_said_at_its_field_and_everything_typed_is_kept(self):
        window = self.open_client(self.port, "alice", "wrong")
        form = window.login
        self.wait(window, lambda: form.password.error.cget("text"))
        self.assertEqual((form.name.value.get(), form.password.value.get()), ("alice", "wrong"))
        form.password.value.set("secret")
        self.press(window, form.password.entry, "Return")
        self.wait(window, window.chat.winfo_ismapped)
        self.assertEqual(window.room.cget("text"), "Lab 1")
        kept = chat.read_settings()
        self.assertEqual((kept.name, kept.server), ("alice", "127.0.0.1:%d" % self.port))
        self.assertNotIn("secret", read_text(chat.settings_path()))

    def test_a_name_in_use_is_said_at_the_name(self):
        self.guest("alice")
        window = self.open_client(self.port, "alice", "secret")
        self.wait(window, lambda: window.login.name.error.cget("text"))
        self.wait(window, lambda: window.root.focus_lastfor() is window.login.name.entry)
        self.press(window, window.login.name.entry, "Key-x")
        self.assertEqual(window.login.name.value.get(), "x")  # What is typed takes the place of what was wrong.

    def test_an_empty_form_says_what_is_missing_and_where(self):
        window = self.open_client()
        window.login.server.value.set("")
        self.press(window, window.login.port.entry, "Return")
        wrong = [name for name, field in window.login.fields.items() if field.error.cget("text")]
        self.assertEqual(wrong, ["server", "password"])
        self.press(window, window.login.password.entry, "Key-x")
        self.assertEqual("", window.login.password.error.cget("text"))

    def test_the_password_is_hidden_until_it_is_asked_for(self):
        window = self.open_client()
        entry = window.login.password.entry
        (button,) = [child for child in entry.master.winfo_children() if child.winfo_class() == "TButton"]
        shown = []
        for _ in range(3):
            shown.append((entry.cget("show"), button.cget("text")))
            self.press(window, button, "space")
        self.assertEqual(shown, [("\u2022", "Show"), ("", "Hide"), ("\u2022", "Show")])
        form, left, right = window.login, set(), set()
        window.root.update()
        for widget in (form.name.label, form.name.entry, entry, form.server.label, form.server.entry, form.button):
            left.add(widget.winfo_rootx())
        for widget in (button, entry, form.name.entry, form.port.entry, form.button):
            right.add(widget.winfo_rootx() + widget.winfo_width())
        self.assertEqual((1, 1), (len(left), len(right)), "labels, fields and buttons share their edges")

    def test_a_login_that_takes_long_can_be_cancelled(self):
        window = self.open_client(9, "alice", "secret")
        form = window.login
        look = lambda: (str(form.error.cget("style")), form.button.cget("text"), form.progress.winfo_ismapped())  # noqa: E731
        for _ in range(2):
            self.wait(window, lambda: window.login.name.entry.instate(["disabled"]))
            self.assertEqual("Connecting to 127.0.0.1:9 ...", window.login.error.cget("text"))
            self.wait(window, lambda: look() == ("Small.TLabel", "Cancel", 1))
            self.press(window, window.login.button, "Escape")
            self.wait(window, lambda: window.login.name.entry.instate(["!disabled"]))
            self.wait(window, lambda: look() == ("error.TLabel", "Log in", 0))
            self.assertEqual(window.login.password.value.get(), "secret")
            window.login.button.invoke()

    def test_a_server_on_the_network_is_offered(self):
        _, self.port = start_room(self, room="Lab 1", password=chat.PASSWORD)
        window = self.open_client(self.port, "alice", server="")
        form = window.login
        self.wait(window, lambda: form.server.value.get() == "127.0.0.1")
        self.assertEqual(chat.PASSWORD, form.password.value.get())
        self.assertEqual("Rooms on this network:", form.looking.cget("text"))
        (card,) = form.cards.winfo_children()
        self.wait(window, lambda: "0 members  \u00b7  127.0.0.1" in card.cget("text"))
        form.server.value.set("lab:x")
        self.press(window, form.server.entry, "Return")
        self.press(window, form.server.entry, "Tab")
        self.assertTrue(form.server.error.cget("text"))  # It stays until what is wrong is changed.
        self.press(window, form.server.entry, "Down")
        self.assertEqual((form.server.value.get(), form.port.value.get()), ("127.0.0.1", str(self.port)))
        self.assertFalse(form.server.entry.instate(["invalid"]))
        self.assertIn("default", form.password.label.cget("text"))
        form.password.value.set("")
        self.press(window, form.cards.winfo_children()[0], "space")
        self.assertIs(form.password.entry, window.root.focus_get())

    @mock.patch.object(chat, "start_discovery")
    def test_servers_that_are_found_are_stepped_through_and_a_new_search_takes_no_focus_away(self, _):
        window, rooms = self.open_client(name="alice"), ("Lab", "LAB", "Hall")
        found = [chat.ServerFound(room, 1, 9, ("10.0.0.%d" % at, at)) for at, room in enumerate(rooms, 1)]
        form, cards = window.login, window.login.cards.winfo_children
        widget = form.server.entry

        def find(count):
            window.act(window.app.end_search, found[:count])
            window.root.update()

        find(3)
        self.assertIn("Two servers here are called Lab", form.server.error.cget("text"))
        for key, at in (("Shift_L", 0), ("Down", 1), ("Down", 2), ("Down", 2), ("Up", 1), ("Up", 0), ("Up", 0)):
            self.press(window, widget, key)
            window.update()
            self.assertEqual(["10.0.0.%d" % (at + 1), str(at + 1)], [form.server.value.get(), form.port.value.get()])
            self.assertEqual([at], [row for row, card in enumerate(cards()) if card.instate(["selected"])])
            widget = window.root.focus_get()
        self.press(window, cards()[2], "Shift_L")
        for count in (2, 3, 1):
            find(count)
            self.assertIs(cards()[min(1, count - 1)], window.root.focus_get())
        find(0)
        self.press(window, form.server.entry, "Down")
        self.assertEqual([], cards())

    def test_a_form_that_is_too_tall_is_scrolled_by_the_wheel_and_to_what_has_the_focus(self):
        window = self.open_client()
        form, root = window.login, window.root
        self.press(window, form.name.entry, *["Control-plus"] * 10)
        root.minsize(1, 1)
        root.geometry("420x220")
        self.wait(window, lambda: form.frame.winfo_height() == 220)
        root.update()
        for widget in (form.button, form.server.entry, form.button):
            self.press(window, widget, "Shift_L")
            top = widget.winfo_rooty() - root.winfo_rooty()
            self.assertTrue(0 <= top <= 220 - widget.winfo_height(), (widget, top))
        for event, more, way in (
            *(("<Button-4>", {}, 1), ("<Button-5>", {}, -1)),
            *(("<MouseWheel>", {"delta": 120}, 1), ("<MouseWheel>", {"delta": -120}, -1)),
        ):
            before = form.button.winfo_rooty()
            root.event_generate(event, **more)
            root.update()
            self.assertGreater(way * (form.button.winfo_rooty() - before), 0, event)

    # --- talking

    def test_what_is_said_is_seen_on_both_sides(self):
        window, bob = self.enter(), self.guest("bob")
        self.say(window, "hello bob")
        self.assertEqual(bob.wait_for(SAID).text, "hello bob")
        self.wait_shown(window, "hello bob\u00a0\u00a0\u2713")
        self.assertEqual(1, self.shown(window).count("hello bob"))
        bob.say("hi \U0001f389 https://example.org/a")
        self.wait_shown(window, "https://example.org/a")
        self.assertTrue(window.view.text.tag_ranges("link"))
        bob.say("and more")
        self.wait_shown(window, "and more")
        self.assertEqual(1, self.shown(window).count("bob  "), "what he says next stands under his name")
        bob.say("psst", to_name="alice")
        self.wait_shown(window, "private to you")
        self.say(window, "one", "Shift-Return", "Key-x", "Return")
        self.assertEqual("one\nx", bob.wait_for(SAID).text)

    def test_a_member_that_is_chosen_gets_a_private_message(self):
        window, bob = self.enter(), self.guest("bob")
        self.assertFalse(window.composer.other.winfo_viewable())  # Nobody would call who raises a hand.
        members, composer = window.members.tree, window.composer
        self.wait(window, lambda: members.exists("nbob"))
        composer.set("what?")
        self.wait(window, lambda: members.identify_region(20, 10) == "cell")  # No titles over one column.
        self.press(window, members, "Down", "Return")
        self.assertEqual(composer.get(), "/msg bob what?")
        self.press(window, composer.text, "Return")
        self.assertEqual(bob.wait_for(SAID).entry.kind, PRIVATE)
        self.press(window, members, "Up", "Return")
        self.assertEqual(composer.get(), "")  # Nobody writes to himself.

    def test_a_hand_takes_what_is_typed_and_an_entry_says_what_holds(self):
        self.server, self.port = start_room(self, operator="teacher")
        window, bob = self.enter(), self.guest("bob")
        act = lambda verb, *about: self.server.call(lambda now: verb(self.server.core, *about, now))  # noqa: E731
        bob.loop.call(lambda now: bob.loop.core.hand("first?", now))
        listed = lambda name: window.members.tree.set("n" + name, "Member")  # noqa: E731
        self.wait(window, lambda: window.members.tree.exists("nbob") and "bob (hand 1)" in listed("bob"))
        key = "%s-Shift-H" % window.command_key
        self.say(window, "why?", key)
        self.wait(window, lambda: "hand raised, place 2" in window.composer.about.cget("text"))
        self.assertEqual(["", "Lower hand"], [window.composer.get(), window.composer.other.cget("text")])
        self.assertEqual("alice (hand 2) (you)", listed("alice")[3:])
        self.assertEqual(["nteacher", "nbob", "nalice"], list(window.members.tree.get_children()))
        self.say(window, "/msg bob a secret", key)  # No text of a hand, raised or lowered.
        self.wait(window, lambda: not window.app.transcript.place() and not window.composer.about.winfo_ismapped())
        self.press(window, window.composer.other, "space")
        self.wait(window, window.app.transcript.place)
        self.assertEqual(["first?", ""], [hand.question for hand in window.app.transcript.hands()])
        self.assertEqual("/msg bob a secret", window.composer.get())
        self.assertIs(window.composer.text, window.root.focus_get())
        window.composer.set("")
        for verb, about, words in ((Server.quiet, (True,), "The room"), (Server.mute, ("alice", 0), "You are muted")):
            act(verb, *about)
            self.wait(window, lambda words=words: window.composer.hint.cget("text").startswith(words))
        self.say(window, "may I?")
        self.wait(window, lambda: window.composer.get() == "may I?")
        self.assertRegex(self.shown(window), r"may I\?\s+not sent")
        act(Server.lower, "bob")
        act(Server.call_next, "come to the board")
        self.wait_shown(window, "You are called: come to the board")

    def test_up_and_down_recall_and_tab_completes_and_goes_on(self):
        window = self.enter()
        self.guest("bob")
        self.wait(window, lambda: window.members.tree.exists("nbob"))
        for text, *keys, kept in (
            ("first", "Return", ""),
            ("second", "Return", ""),
            ("", "Up", "second"),
            ("", "Up", "Up", "first"),
            ("", "Up", "Up", "Down", "second"),
            ("b", "Tab", "bob: "),
            ("two\nlines", "Up", "Key-x", "twox\nlines"),  # In the second line Up goes to the first.
        ):
            self.say(window, text, *keys)
            self.assertEqual(kept, window.composer.get())
        self.say(window, "", "Tab")
        self.assertIsNot(window.root.focus_get(), window.composer.text)
        window.composer.hint.event_generate("<Button-1>")
        window.root.update()
        self.assertIs(window.root.focus_get(), window.composer.text)

    def test_the_entry_grows_with_its_lines_says_what_it_is_for_and_counts_when_it_becomes_full(self):
        window = self.enter()
        composer, most = window.composer, chat.TEXT_BYTES_MAX
        for text, rows, note, level in (
            ("", 1, "", "Small"),
            ("a\nb\nc", 3, "", "Small"),
            ("x\n" * 99, chat.EDITOR_ROWS_MAX, "", "Small"),
            ("x" * (most * 3 // 4), chat.EDITOR_ROWS_MAX, "", "Small"),
            ("x" * (most * 3 // 4 + 1), chat.EDITOR_ROWS_MAX, "12,289 of 16,384 bytes", "Small"),
            ("\u00e9" * (most // 2), chat.EDITOR_ROWS_MAX, "16,384 of 16,384 bytes", "Small"),
            ("x" * (most + 1), chat.EDITOR_ROWS_MAX, "16,385 of 16,384 bytes", "error"),
        ):
            self.type(window, composer, text, "Shift_L")
            found = composer.text.cget("height"), composer.note.cget("text"), str(composer.note.cget("style"))
            self.assertEqual((rows, note, level + ".TLabel"), found)
            self.assertEqual((not text, bool(note)), (composer.hint.winfo_ismapped(), composer.note.winfo_ismapped()))
            self.assertTrue(composer.box.instate(["focus"]) and composer.text.bbox("insert"))
        window.root.geometry("800x400")
        self.wait(window, lambda: 1 < int(composer.text.cget("height")) < chat.EDITOR_ROWS_MAX)
        self.press(window, window.view.text, "Shift_L")
        self.assertFalse(composer.box.instate(["focus"]))

    def test_the_menu_does_what_it_says_under_its_button(self):
        window = self.enter()
        (button,) = [each for each in window.here.master.winfo_children() if "Menu" in str(each.configure()["text"])]
        (menu,) = button.winfo_children()
        with mock.patch.object(chat.tk.Menu, "tk_popup") as posted, mock.patch.object(window.app, "enter") as entered:
            self.press(window, button, "space")
            right = [each.winfo_rootx() + each.winfo_width() for each in (button, window.root)]
            place = min(right[0], right[1] - menu.winfo_reqwidth()), button.winfo_rooty() + button.winfo_height()
            self.assertEqual(mock.call(*place), posted.call_args)
            options = [menu.entryconfigure(at) for at in range(menu.index("end") + 1)]
            texts = lambda each: [str(each[name][-1]).strip() for name in ("label", "accelerator") if name in each]  # noqa: E731
            rows = list(map(texts, options))
            for entry, done in (
                (["Find \u2026", "Ctrl F"], window.find.frame.winfo_ismapped),
                (["Earlier messages", ""], lambda: entered.called),
                (["Larger text", "Ctrl +"], lambda: window.zoom == 1),
                (["Smaller text", "Ctrl \u2212"], lambda: window.zoom == 0),
                (["Switch theme", ""], lambda: window.theme == "dark"),
                (["Leave the room \u2026", ""], window.question.winfo_ismapped),
            ):
                self.assertFalse(done())
                menu.invoke(rows.index(entry))
                self.wait(window, done)
        self.press(window, window.no, "Escape")
        self.assertEqual((0, window.composer.text), (window.question.winfo_ismapped(), window.root.focus_get()))
        self.assertEqual([[], rows[-1]], rows[-2:], "what ends the stay stands apart")

    def test_a_paste_that_is_much_too_long_stays_in_the_clipboard(self):
        window = self.enter()
        composer = window.composer
        for size, kept in ((chat.PASTE_CHARACTERS_MAX, chat.PASTE_CHARACTERS_MAX), (chat.PASTE_CHARACTERS_MAX + 1, 0)):
            composer.set("")
            window.root.clipboard_clear()
            window.root.clipboard_append("x" * size)
            self.press(window, composer.text, "<Paste>")
            self.assertEqual(len(composer.get()), kept)
        self.assertIn("65,537 characters", composer.note.cget("text"))

    def test_help_is_a_table_and_what_cannot_be_sent_stays_with_why(self):
        window = self.enter()
        self.say(window, "/help")
        self.assertRegex(self.shown(window), "/msg NAME TEXT  +say")
        note = window.composer.note
        for text, why in (("/none", "/none"), ("/earlier 0", "from 1"), (("x" * 99 + "\n") * 200 + "x", "20,001")):
            self.say(window, text)
            self.wait(window, lambda why=why: why in note.cget("text"))
            self.assertEqual((text, "error.TLabel"), (window.composer.get(), str(note.cget("style"))))

    def test_keys_edit_as_everywhere(self):
        window = self.enter()
        window.root.clipboard_clear()
        window.root.clipboard_append("pasted")
        for keys, kept in (
            (["Control-BackSpace"], "one two "),
            (["Control-a", "Key-x"], "x"),
            (["Control-a", "<Paste>"], "pasted"),
            (["Control-a", "Control-BackSpace"], ""),
            (["BackSpace", "Control-z"], "one two three"),
            (["KP_Enter"], ""),
        ):
            self.say(window, "one two three", *keys)
            self.assertEqual(kept, window.composer.get())
        self.press(window, window.composer.text, "Control-f", "Control-a")
        self.press(window, window.find.entry, *"ab", "Control-a", "c", "space", "d", "Control-BackSpace")
        self.assertEqual("c ", window.find.needle.get())

    def test_the_keyboard_goes_to_where_one_types(self):
        window = self.enter()
        composer = window.composer
        buttons = [each for each in widgets(window.chat) if each.winfo_class() == "TButton"]
        buttons = {str(button.cget("text")): button for button in buttons}
        (menu,) = [each for each in widgets(window.here.master) if each.winfo_class() == "Menu"]
        for name in ("1 member", "Send"):
            self.press(window, buttons[name], "Return")
            self.assertIs(composer.text, window.root.focus_get(), name)
        menu.master.focus_force()
        menu.tk.eval(menu.cget("postcommand"))  # When it is closed, it gives back the focus that it found.
        self.assertIs(composer.text, window.root.focus_get())
        window.login.name.value.set("")
        window.act(window.app.ask_leave)
        self.press(window, window.yes, "Return")
        self.wait(window, lambda: window.root.focus_get() is window.login.name.entry)
        window.app.waiting[1] = "lost with its room"
        self.click_close(window)
        self.press(window, window.no, "Return")
        self.assertTrue(window.root.focus_get().winfo_viewable())

    def test_a_private_text_shows_whom_it_reaches_until_escape_makes_it_one_for_all(self):
        window = self.enter()
        self.guest("bob")
        self.wait(window, window.app.transcript.names)
        composer = window.composer
        look = lambda: (composer.box.instate(["alternate"]), bool(composer.text.tag_ranges("addressee")))  # noqa: E731
        window.start_private("bob")
        self.press(window, composer.text, "x")
        self.assertEqual(("Only bob", True, True), (composer.note.cget("text")[:8], *look()))
        self.press(window, composer.text, "Escape")
        self.assertEqual(("x", "", False, False), (composer.get(), composer.note.cget("text"), *look()))

    def test_the_menu_has_an_edge_is_inside_the_window_and_keeps_leaving_apart(self):
        window = self.enter()
        window.root.geometry("400x500+700+300")
        window.root.update()
        (menu,) = [each for each in widgets(window.here.master) if each.winfo_class() == "Menu"]
        with mock.patch.object(chat.tk.Menu, "tk_popup", lambda menu, x, y: menu.post(x, y)):
            menu.master.invoke()
        window.root.update()
        left, top = menu.winfo_rootx() - window.root.winfo_rootx(), menu.winfo_rooty() - window.root.winfo_rooty()
        self.assertTrue(0 <= left <= 400 - menu.winfo_width() and 0 <= top <= 500 - menu.winfo_height(), (left, top))
        self.assertNotEqual(str(menu.cget("background")), str(menu.entrycget(0, "background")))  # Round them it shows.
        last = menu.index("end")
        apart = menu.type(last - 1), menu.entrycget(last, "label").strip(" \u2026")
        self.assertEqual(("separator", "Leave the room"), apart)
        menu.unpost()

    def test_the_menu_offers_what_can_be_done_with_what_is_there(self):
        window, bob = self.enter(), self.guest("bob")
        bob.say("see https://example.org/a")
        bob.say("\n".join("  x = %d;" % number for number in range(30)))
        self.wait_shown(window, "x = 29;")
        view, offered = window.view.text, []
        with mock.patch.object(chat.tk.Menu, "tk_popup"):
            for place in ("link.first", "top.first"):
                view.mark_set("insert", place)
                self.press(window, view, "Shift-F10")
                last = window.menu.index("end")
                offered.append([window.menu.entrycget(at, "label").strip() for at in range(last + 1)])
        people = ["Mention bob", "Private message to bob"]
        self.assertEqual(["Copy", "Copy link", "Open link", *people], offered[0])
        self.assertEqual(["Copy code", "Show all of it", *people], offered[1])
        for entry in (0, 1):
            window.menu.invoke(entry)
        self.assertFalse(view.tag_ranges("fold") or view.tag_ranges("more"))
        self.assertLess(view.tag_names().index("plain"), view.tag_names().index("more"))  # The later wins.
        self.assertTrue(window.root.clipboard_get().endswith("x = 29;"))
        for entry, typed in ((2, "bob: "), (2, "bob: bob "), ("end", "/msg bob bob: bob ")):
            window.menu.invoke(entry)
            self.assertEqual(typed, window.composer.get())

    def test_the_conversation_can_be_copied_from_elsewhere_and_not_be_changed(self):
        window = self.enter()
        self.say(window, "copy me")
        self.wait_shown(window, "copy me\u00a0\u00a0\u2713")
        before, view = self.shown(window), window.view.text
        view.tag_add("sel", "end-2l", "end-1c")
        self.press(window, window.composer.text, "<Copy>")
        self.assertIn("copy me", window.root.clipboard_get())
        view.tag_add("sel", "1.0", "end")
        self.press(window, window.composer.text, "<Copy>")
        self.assertNotRegex(window.root.clipboard_get(), "\u2713|\\d\\d:\\d\\d")
        for key in ("BackSpace", "Return", "Control-d", "Control-k", "<Paste>", "Tab", "Key-x"):
            self.press(window, view, key)
        self.assertEqual((before, "x"), (self.shown(window), window.composer.get()))

    # --- reading

    def test_five_thousand_messages_leave_the_window_responsive(self):
        window, bob, ticks = self.enter(), self.guest("bob"), []

        def tick():
            ticks.append(time.monotonic())
            window.root.after(5, tick)

        tick()
        view = window.view
        for number in range(26):
            bob.say("\n".join("line %d of %d" % (line, number) for line in range(200)))
        self.wait_shown(window, "line 199 of 25")
        self.assertLess(max(later - sooner for sooner, later in zip(ticks, ticks[1:])), 0.5)
        self.assertLessEqual(int(view.text.index("end-1c").split(".")[0]), chat.VIEW_LINES_MAX + 2)
        self.assertIn("no longer shown", view.text.get("1.0", "2.0"))
        self.assertIsNotNone(view.text.dlineinfo("end-1c"))

    def test_a_reader_further_up_is_not_moved_and_is_told_of_the_new(self):
        window, bob = self.enter(), self.guest("bob")
        with mock.patch.object(window, "front", lambda: False):
            bob.say("missed.")  # The line above it goes away.
            self.wait_shown(window, "missed.")
        for number in range(60):
            bob.say("line %d." % number)
        self.wait_shown(window, "line 59.")
        view = window.view.text
        self.press(window, window.composer.text, "Prior")
        top = view.get("@0,0", "@0,0 lineend")
        bob.say("are you there?")
        self.wait(window, lambda: window.root.title() == "(1) Lab 1")
        self.assertEqual(view.get("@0,0", "@0,0 lineend"), top)
        (jump,) = [each for each in view.master.winfo_children() if each.winfo_class() == "TButton"]
        self.wait(window, jump.winfo_ismapped)
        self.assertEqual(jump.cget("text"), "1 new")
        self.press(window, jump, "Return")
        self.wait(window, lambda: window.root.title() == "Lab 1")
        self.assertIs(window.composer.text, window.root.focus_get())
        self.assertIsNotNone(view.dlineinfo("end-1c"))
        self.assertTrue(view.tag_ranges("unread"))

    def test_only_what_concerns_the_person_rings_and_only_behind_another_window(self):
        window, bob, rung = self.enter(), self.guest("bob"), []
        window.root.bell = lambda: rung.append(self.shown(window).splitlines()[-1])
        bob.say("alice, one")
        self.wait_shown(window, "alice, one")
        other = self.open_client()
        other.root.focus_force()
        self.wait(other, lambda: other.front() and not window.front())
        bob.say("two")
        bob.say("alice, three")
        self.wait(window, lambda: rung)
        bob.say("four", to_name="alice")
        self.wait(window, lambda: rung[1:])
        self.assertEqual(rung, ["alice, three", "four"])

    def test_a_run_of_joins_changes_in_its_place_until_the_next_begins(self):
        window = self.enter()
        window.view.clear()
        window.view.show([chat.Line(901, "message", "one"), chat.Line(902, "presence", "bob joined", 1.0)])
        window.view.show([chat.Line(903, "message", "two"), chat.Line(902, "presence", "bob, cem joined", 1.0)])
        window.view.show([chat.Line(904, "presence", "dan left", 1.0), chat.Line(902, "presence", "late", 1.0)])
        rows = [row for row in self.shown(window).split("\n") if row.strip(" 0123456789:")]
        self.assertEqual(rows[:4], ["one", "bob, cem joined", "two", "dan left"])

    def test_find_goes_through_the_places_beside_an_emoji(self):
        window = self.enter()
        find = window.find
        self.guest("needle").say("stack")  # Only what is said counts.
        for text in ("\U0001f600 the needle", "hay", "a Needle"):
            self.say(window, text)
        self.wait_shown(window, "a Needle\u00a0\u00a0\u2713")
        self.press(window, window.composer.text, "Control-f")
        view = window.view.text
        find.needle.set("needle")
        for key, count in (("Shift_L", "2 of 2"), ("Return", "1 of 2"), ("Shift-Return", "2 of 2"), ("Up", "1 of 2")):
            self.press(window, find.entry, key)
            here = view.get(*view.tag_ranges("here"))
            self.assertEqual((count, "nN"[int(count[0]) - 1] + "eedle"), (find.count.cget("text"), here))
        self.press(window, find.entry, "Escape")
        self.assertFalse(view.tag_ranges("found"))
        self.assertFalse(find.frame.winfo_ismapped())

    def test_history_that_was_fetched_goes_above_moves_nothing_and_leaves_no_silent_hole(self):
        bob = self.guest("bob")
        for number in range(80):
            bob.say("line %d." % number)
        for _ in range(80):
            bob.wait_for(RECEIPT)
        window = self.enter()
        view = window.view.text
        for number in range(25):
            bob.say("\n".join("%d of %d" % (line, number) for line in range(200)))
        self.wait_shown(window, "199 of 24")
        self.assertNotIn("line 3.", self.shown(window))
        self.press(window, view, "Control-Home")
        top = view.get("@0,0", "@0,0 lineend")
        self.wait_shown(window, "line 3.")
        self.assertEqual(top, view.get("@0,0", "@0,0 lineend"))
        self.press(window, view, "Control-Home")  # Nothing stands before it, and nothing more is asked for.
        bob.say("and more.")
        self.wait_shown(window, "and more.")
        day, counted = time.strftime("%A, "), ("line 3.", "Nothing was said before.")
        self.assertEqual([1, 0, 1], [self.shown(window).count(text) for text in (*counted, day)])
        self.assertLess(self.shown(window).index("line 3."), self.shown(window).index("199 of 24"))
        self.press(window, view, "Control-End")
        bob.say("the last.")
        self.wait_shown(window, "the last.")
        self.assertNotIn("line 3.", self.shown(window))
        self.assertIn("no longer shown", view.get("1.0", "2.0"))

    # --- the window itself

    def test_the_theme_changes_at_once_everywhere_and_is_remembered(self):
        window = self.enter()
        self.guest("bob")
        for theme in ("dark", "light"):
            window.switch_theme()
            self.assertEqual((chat.read_settings().theme, chat.read_settings().name), (theme, "alice"))
            colours, style = chat.PALETTES[theme], chat.ttk.Style(window.root)
            self.assertEqual(colours["own"], str(window.view.text.tag_cget("own", "background")))
            pointed_at = chat.blend(colours["background"], colours["text"], 0.09)
            self.assertEqual(pointed_at, style.lookup("TButton", "background", ["active"]))
            allowed = {chat.PALETTES[theme][name] for name in ("background", "surface", "accent", "border", "error")}
            for widget in widgets(window.root):
                self.assertIn(ground(widget), allowed, str(widget))

    def test_text_and_rows_grow_and_shrink_with_keys(self):
        window, seen = self.enter(), {}
        for key, zoom in (
            *(("plus", 1), ("equal", 2), ("KP_Add", 3), ("minus", 2), ("KP_Subtract", 1), ("Key-0", 0), ("minus", -1)),
            *(("Key-0", 0), *[("plus", step) for step in (*range(1, 11), 10)], ("Key-0", 0)),
            *(("minus", step) for step in (-1, -2, -3, -4, -4)),
        ):
            self.press(window, window.composer.text, "Control-" + key)
            sizes = [-int(window.root.tk.call("font", "configure", name, "-size")) for name in ("ChatBody", "UiBody")]
            sizes.append(int(str(chat.ttk.Style(window.root).lookup("Surface.Treeview", "rowheight"))))
            self.assertEqual(sizes, seen.setdefault(zoom, sizes), key)
            self.assertEqual(zoom, chat.read_settings().zoom)
        sizes = [seen[zoom] for zoom in sorted(seen)]
        for which, most in enumerate((10, 4, 4)):  # What is around the conversation stays inside the window.
            column = [each[which] for each in sizes]
            self.assertEqual((sorted(column), most + 5), (column, len(set(column))))
        app = chat.ClientApp({**window.app.values, "server": ""})
        again = self.open(lambda root: chat.ClientWindow(root, app, chat.read_settings()))
        self.assertEqual(-4, again.zoom)  # It is remembered.

    def test_the_members_have_their_place_where_there_is_room_or_where_it_is_asked_for(self):
        self.guest("bob")
        window = self.enter()
        toggle, said = (
            window.here,
            [str(each.cget("text")) for each in widgets(window.chat) if "text" in each.configure()],
        )
        self.assertEqual((1, 1), (said.count("2 members"), said.count("Lab 1")), "what is known needs no repetition")
        self.wait(window, lambda: window.where.cget("text") == "alice  \u00b7  127.0.0.1:%d" % self.port)
        for width, press, shown in ((960, False, True), (400, False, False), (400, True, True), (960, True, False)):
            window.root.geometry("%dx500" % width)
            self.wait(window, lambda width=width: window.chat.winfo_width() == width)
            if press:
                self.press(window, toggle, "space")
            self.wait(window, lambda shown=shown: bool(window.members.frame.winfo_ismapped()) is shown)
            self.wait(window, lambda: window.view.text.winfo_height() > 300)

    def test_a_row_is_readable_in_a_wide_window_whatever_the_size_of_its_text(self):
        window = self.enter()
        view, wide = window.view.text, lambda: window.view.text.winfo_width() - 2 * int(str(view.cget("padx")))
        window.root.geometry("1900x700")
        self.wait(window, lambda: 600 < wide() < 800 and view.winfo_width() > 1600)
        before = wide()
        self.press(window, window.composer.text, *["Control-plus"] * 3)
        self.wait(window, lambda: wide() > 1.2 * before)
        window.root.geometry("400x700")
        self.wait(window, lambda: wide() == view.winfo_width() < 400)

    def test_a_lost_connection_is_a_bar_across_the_conversation_that_goes(self):
        window = self.enter()
        end_room(self.server)
        self.wait(window, lambda: window.bar.winfo_ismapped() and "Trying again" in window.bar.cget("text"))
        with mock.patch.object(chat, "BACK_SECONDS", 0.2):
            start_room(self, self.port)
            self.wait(window, lambda: window.bar.cget("text") == "Connected again.")
        self.wait(window, lambda: not window.bar.winfo_ismapped())
        self.assertNotRegex(self.shown(window), "Lab|member")  # As the header says.

    def test_what_is_found_in_folded_code_is_shown(self):
        window = self.enter()
        self.say(window, "\n".join("  x = %d;" % number for number in range(30)))
        self.wait(window, lambda: window.view.text.tag_ranges("more"))
        window.find.open()
        window.find.needle.set("x = 5;")
        self.assertTrue(window.view.text.tag_ranges("fold"))
        window.find.needle.set("x = 25;")
        self.wait(window, lambda: window.view.text.bbox("here.first"))

    def test_an_empty_room_offers_the_command_to_come_in(self):
        window = self.enter()
        self.wait(window, window.invited.winfo_ismapped)
        (copy,) = [each for each in widgets(window.invited) if each.winfo_class() == "TButton"]
        self.press(window, copy, "Return")
        self.assertRegex(window.root.clipboard_get(), r"samsungchat.py client \S+:%d$" % self.port)
        self.guest("bob")
        self.wait(window, lambda: not window.invited.winfo_ismapped())

    def test_a_link_is_opened_by_a_click_unless_text_is_being_selected(self):
        window = self.enter()
        view = window.view.text
        self.say(window, "see https://example.org/a and b")
        self.wait_shown(window, "and b\u00a0\u00a0\u2713")
        with mock.patch("webbrowser.open") as opened:
            for selected in (True, False):
                view.tag_add("sel", "1.0", "end") if selected else view.tag_remove("sel", "1.0", "end")
                x, y, width, height = view.bbox("link.first + 3c")
                view.event_generate("<Motion>", x=x + 2, y=y + 2)
                self.assertEqual("hand2", view.cget("cursor"))
                view.event_generate("<ButtonRelease-1>", x=x + 2, y=y + 2)
                window.root.update()
            self.wait(window, lambda: opened.called)
        opened.assert_called_once_with("https://example.org/a")
        view.event_generate("<Motion>", x=1, y=1)
        self.assertEqual("arrow", view.cget("cursor"))

    def test_own_lines_stand_where_the_log_has_them(self):
        window, bob, go_on = self.enter(), self.guest("bob"), threading.Event()
        self.addCleanup(go_on.set)
        self.server.call(lambda now: go_on.wait(10))
        bob.say("his")
        bob.wait_for(chat.Queued)
        self.say(window, "mine")
        self.wait_shown(window, "mine\u00a0\u00a0sending")
        go_on.set()
        self.wait_shown(window, "mine\u00a0\u00a0\u2713")
        self.assertRegex(self.shown(window), r"(?s)his.*mine")
        self.assertEqual(self.shown(window).count("mine"), 1)

    def test_what_is_sent_while_closing_arrives(self):
        window, bob = self.enter(), self.guest("bob")
        self.say(window, "my last words")
        self.click_close(window)
        if window.app.code is None:  # It asks while there is no receipt, and once.
            self.assertIn("not confirmed", window.asked.cget("text"))
            self.press(window, window.yes, "Return")
        self.wait(window, lambda: window.closed)
        window.app.shut()
        self.assertEqual(bob.wait_for(SAID).text, "my last words")
        self.assertEqual(bob.wait_for(WENT).entry.text, "left")

    def test_a_window_may_be_closed_at_any_moment(self):
        for steps in (0, 1, 5, 40):
            window = self.open_client(self.port, "zoe", "secret")
            for _ in range(steps):
                window.root.tk.dooneevent(2)
            self.shut(window)

    def test_a_fault_of_a_callback_is_shown(self):
        window = self.open_client()
        with mock.patch.object(sys, "excepthook"):
            window.root.after(0, lambda: [][1])
            wait_for(lambda: "IndexError" in window.login.error.cget("text"), "it is not told", window.root.update)
        self.assertEqual([IndexError], list(map(type, self.faults)))
        self.faults.clear()


def widgets(root):
    """Return a window's widgets, all of them."""
    found = [root]
    for widget in found:
        found += widget.winfo_children()
    return found


def ground(widget):
    """Return the colour of a widget's background."""
    if widget.winfo_class() in ("Text", "Menu", "Canvas") or not widget.master:
        return str(widget.cget("background"))
    kind = {"TProgressbar": "Horizontal.TProgressbar"}.get(widget.winfo_class(), widget.winfo_class())
    return chat.ttk.Style(widget).lookup(str(widget.cget("style")) or kind, "background")


def unseen(root):
    """Return what of a window can neither be seen whole nor be scrolled to; a text may be cut with an ellipsis."""
    found, measure = [], functools.partial(root.tk.call, "font", "measure")
    for widget in widgets(root):
        kind, around = widget.winfo_class(), [widget]
        while around[-1] is not root:
            around.append(around[-1].master)
        kinds = ("TLabel", "TButton", "TEntry", "Treeview", "Text")
        if kind not in kinds or not all(each.winfo_manager() for each in around):
            continue
        wide, high, needs, said = widget.winfo_width(), widget.winfo_reqheight(), [], ""
        if kind in ("TLabel", "TButton"):
            said = str(widget.cget("text"))
            font = chat.ttk.Style(root).lookup(str(widget.cget("style")) or kind, "font")
            if hasattr(widget, "inset"):
                needs = [(measure(font, row) + 2 * widget.inset, wide) for row in said.split("\n")]
            else:  # A row that is wrapped may end in a space, which needs none.
                needs = [(widget.winfo_reqwidth() - (kind == "TLabel") * (measure(font, " ") + 1), wide)]
        elif kind == "Treeview":
            shown = [each for each in widget.cget("columns") if each in widget.cget("displaycolumns")]
            widths = [widget.column(each, "width") for each in shown]
            titles = [measure("UiSmallBold", widget.heading(each, "text")) + 8 for each in shown]
            needs, high = [*zip(titles, widths), (sum(widths), wide)], high * 2 // 3  # It scrolls.
        elif kind == "Text":
            high = root.tk.call("font", "metrics", "ChatBody", "-linespace")
        inside = widget.winfo_ismapped() and high <= widget.winfo_height() and all(need <= room for need, room in needs)
        x = y = 0
        for each in around[:-1]:
            x, y, room = x + each.winfo_x(), y + each.winfo_y(), each.master
            right, bottom = room.winfo_width(), room.winfo_height()
            if room.winfo_class() == "Canvas":  # Its region is what can be scrolled to.
                x, y = room.canvasx(x), room.canvasy(y)
                right, bottom = (float(end) for end in str(room.cget("scrollregion")).split()[2:])
            inside = inside and 0 <= x <= right - wide and 0 <= y <= bottom - widget.winfo_height()
            if room.winfo_class() == "Canvas":
                break
        if not inside:
            found.append((str(widget), said, needs, high, widget.winfo_height()))
    return found


class EverySizeTest(WindowTest):
    """Everything can be reached and read in every state of a window, whatever its size, zoom and the screen's scale."""

    def check(self, open_window, *ways, scale=1, sizes="400x500 640x480 1100x720 1920x1080", zooms=(-2, 0, 10)):
        """Look at each state on these ways: they are called with the window, and tell what it is in."""
        root = chat.open_root()
        root.tk.call("tk", "scaling", 4 / 3 * scale)
        with mock.patch.object(chat, "open_root", lambda: root), mock.patch.object(chat, "start_discovery"):
            window = open_window()
            self.addCleanup(root.tk.call, "tk", "scaling", 4 / 3)  # All windows of a process share it.
            for way, zoom, size in itertools.product(ways, zooms, sizes.split()):
                window.root.geometry(size)
                window.root.update()
                if zoom != window.zoom:
                    window.zoom = zoom
                    window.dress()
                for state in way(window):
                    window.update()
                    window.root.update()
                    self.assertEqual([], unseen(window.root), "%s, %s, zoom %d, scale %g" % (state, size, zoom, scale))

    def client(self, window):
        app = window.app
        take = lambda event: app.take((app.transcript, event))  # noqa: E731
        app.log_in(server="127.0.0.1", port="9", name="alice", password="secret")
        yield "connecting"
        app.leave_room(max(REFUSALS.values(), key=len))
        yield "searching"
        far = [chat.ServerFound("Lab " + "W" * 28 * at, at, 99, ("192.168.100.10%d" % at, 11111)) for at in range(4)]
        for found in ([], far):
            app.end_search(found)
            yield "%d rooms found" % len(found)
        app.log_in(server="", port="70000", name="two words", password="")
        yield "errors"
        with mock.patch.object(chat, "check", lambda *_: ()):
            window.login.find_faults()
        yield "faults"
        window.login.close_faults()
        app.login, own = chat.LoginValues("192.168.100.200", 11111, "alice", "secret"), b"a" * 8
        for again in (False, True):
            take(Connected("Laboratorium " + "W" * 30, "alice", own, ((own, "alice"),), again))
            take(chat.Status(State.CONNECTED, 3, 12, 99 * again))
            yield "back" if again else "alone"
            for at, name in enumerate(("W" * 32, "M" * 31, "bob")):
                ident, text = bytes([at]) * 8, "a text that is not short, and goes on so that it wraps"
                take(Happened(2 * at + 1, Entry(JOINED, 1000, ident, name=name), ""))
                take(Happened(2 * at + 2, text_entry(text, author=ident, name=name), text))
            yield "talking"
            for typed in ("/msg %s psst" % ("W" * 32), "x" * 7000, ""):
                window.composer.set(typed)
                yield "typing %.9s" % typed
            window.find.open()
            window.find.needle.set("text")
            yield "finding"
            take(chat.Disconnected("The server has not answered for 8 s."))
            take(chat.Status(State.RECONNECTING, 3, 0, 99))
            yield "lost"
            window.find.close()
        for ask in (app.ask_leave, app.quit):
            app.waiting[1] = "on its way"
            ask()
            yield "asked %s" % app.question[0]
        take(chat.LoginFailed(USERNAME_TAKEN, REFUSALS[USERNAME_TAKEN]))
        yield "name taken"
        app.waiting[1] = "on its way"
        app.quit()
        yield "asked beside the form"
        app.answer(False)

    def server(self, window):
        for name in () if window.table.tree.exists("nbob") else ("bob", "W" * 32):
            yield "nobody"
            join(self, window.app.bound[1], name)
        self.wait(window, lambda: window.table.tree.exists("n" + "W" * 32))
        yield "members"
        window.app.ask_kick("W" * 32)
        yield "asked"
        window.app.answer(False)

    def closed(self, window):
        if window.app.loop is not None:
            window.app.call(Server.close)
            self.wait(window, lambda: window.app.loop is None)
        window.app.trouble = ""
        yield "closed"
        window.app.trouble = "Port 11111 is in use; choose another one, or end the program that has it."
        window.update()
        window.port.value.set("70000")
        window.switch.invoke()
        yield "trouble"

    def check_all(self, *ways):
        self.check(*ways)
        chat.use_language("id")
        self.addCleanup(chat.use_language, "en")
        self.check(*ways, scale=2, sizes="800x1000 1920x1080", zooms=(0,))

    def test_a_client(self):
        self.check_all(functools.partial(self.open_client, 9, "alice", "secret"), self.client)

    def test_a_server(self):
        self.check_all(self.open_server, self.server, self.closed)


class ServerWindowTest(WindowTest):
    """The server's window shows the room, and what is done there happens."""

    def open_with_guest(self, **options):
        window = self.open_server(**options)
        bob = join(self, window.app.bound[1], "bob")
        self.wait(window, lambda: window.table.tree.exists("nbob"))
        return window, bob

    def test_members_are_listed_and_announcements_heard(self):
        window, bob = self.open_with_guest(members_max=10)
        self.type(window, window.composer, "lunch at noon")
        while bob.wait_for(NOTICED).text != "lunch at noon":
            pass
        self.assertEqual(window.composer.get(), "")
        self.wait(window, lambda: window.table.tree.identify_region(20, 10) == "heading")
        columns = window.table.tree.cget("columns")
        self.assertEqual(" ".join(window.table.tree.heading(each, "text") for each in columns), " ".join(columns))
        row = window.table.tree.item("nbob", "values")
        self.assertRegex(" ".join(row), r"^bob 127\.0\.0\.1:\d+ \d+ ms 0 \d\d:\d\d$")
        self.assertEqual(window.table.count.cget("text"), "1 of 10 members")
        self.assertRegex(window.log.text.get("1.0", "end"), r"(?s)bob joined.*announced: lunch at noon")
        bob.say("back at one")
        self.wait(window, lambda: window.table.tree.set("nbob", "Messages") == "1")
        window.root.geometry("400x500")  # No room for all columns.
        self.wait(window, lambda: len(window.table.tree.cget("displaycolumns")) == 3)

    def test_everything_has_its_place(self):
        window, _ = self.open_with_guest(theme="dark")
        self.assertEqual(chat.PALETTES["dark"]["background"], window.log.text.cget("background"))
        head = "Lab 1 | Menu \u25be | Stop / open, listening on 127.0.0.1 / Address | 127.0.0.1 | Copy command"
        head += " / Password | %s | Show | Change | Copy / 1 of 1000 members | Remove" % ("\u2022" * 8)
        beside = " | Activity / wide tall Treeview | wide tall Text / wide Text | Say something to all"
        below = " / wide tall Treeview / Activity / wide tall Text / Remove bob for ten minutes? / Remove | Cancel"
        self.assertEqual(head + beside, self.sketch(window).partition(", or /")[0])
        window.act(window.app.ask_kick, "bob")
        self.assertEqual(head + below, self.sketch(window, 400).partition(" / wide Text | Say")[0])

    def test_it_speaks_the_language_chosen_at_once(self):
        _, port = start_room(self)
        self.assert_in_both_languages(self.open_server(port))
        window, bob = self.open_with_guest(members_max=10, operator="teacher")
        window.act(window.app.ask_kick, "bob")
        bob.loop.call(lambda now: bob.loop.core.hand("Why?", now))
        self.wait(window, window.app.transcript.hands)
        self.type(window, window.composer, "/none")
        self.assert_in_both_languages(window)
        window.app.answer(False)
        window.app.ask_close()
        window.app.answer(True)
        self.wait(window, lambda: window.switch.cget("text") == "Open again")
        self.assert_in_both_languages(window)

    def test_removing_somebody_asks_first(self):
        window, bob = self.open_with_guest()
        self.press(window, window.table.tree, "Down", "Button-1", "Button-1")
        self.assertIsNone(window.app.question)  # Who clicks looks at somebody.
        before = window.log.text.winfo_geometry(), window.table.tree.winfo_geometry()
        for widget, key in ((window.no, "space"), (window.table.tree, "Escape")):
            self.press(window, window.table.tree, "Delete")
            self.assertTrue(window.question.winfo_ismapped())
            self.assertIn("bob", window.asked.cget("text"))
            self.assertEqual(before, (window.log.text.winfo_geometry(), window.table.tree.winfo_geometry()))
            self.press(window, widget, key)
            self.assertFalse(window.question.winfo_ismapped())
        self.press(window, window.table.tree, "Delete")
        self.press(window, window.yes, "space")
        self.assertEqual(bob.wait_for(chat.LoginFailed).code, chat.KICKED)
        self.wait(window, lambda: not window.table.tree.exists("nbob"))

    def test_its_line_takes_commands_too_and_the_log_shows_what_they_answer(self):
        window, _ = self.open_with_guest()
        for text, answer in (("/kick bob", "was removed"), ("/bans", "kept out for"), ("/pardon BOB", "in again")):
            self.type(window, window.composer, text)
            self.wait(window, lambda answer=answer: answer in window.log.text.get("1.0", "end"))
        self.type(window, window.composer, "/pardon bob")
        self.wait(window, lambda: "Nobody called bob is kept out." in window.log.text.get("1.0", "end"))

    def test_a_lesson_is_led_from_it(self):
        window, bob = self.open_with_guest(operator="teacher")
        said = lambda: window.log.text.get("1.0", "end")  # noqa: E731
        self.wait(window, lambda: window.table.tree.exists("nteacher"))
        self.assertEqual("teacher (operator)", window.table.tree.set("nteacher", "Name"))
        bob.say("good morning")
        self.type(window, window.composer, "good morning, bob")
        self.wait(window, lambda: re.search(r"(?s)bob  .*good morning\n.*good morning, bob\W+\u2713", said()))
        window.composer.set("break at ten")
        window.composer.other.invoke()
        self.wait(window, lambda: "announced: break at ten" in said())
        self.assertFalse(window.hands.frame.winfo_ismapped())
        bob.loop.call(lambda now: bob.loop.core.hand("why?", now))
        self.wait(window, window.hands.frame.winfo_ismapped)
        self.assertEqual(("bob", "why?", "0 min"), window.hands.tree.item("nbob", "values"))
        for width in (1000, 400):
            window.root.geometry("%dx500" % width)
            self.wait(window, lambda width=width: window.root.winfo_width() == width)
            window.root.update()
            for each in (window.lower, window.mute, window.quiet, window.log.text, window.hands.tree):
                self.assertTrue(each.winfo_viewable() and each.winfo_height() > 12)
        window.composer.set("come to the board")
        window.obey("/next")
        self.wait(window, lambda: "bob is called: come to the board" in said())
        self.wait(window, lambda: not window.hands.frame.winfo_ismapped())
        for turn, words in ((window.quiet, ("is quiet", "no longer quiet")), (window.mute, ("is muted", "er muted"))):
            for each in words:
                window.table.tree.selection_set("nbob")
                window.update()
                turn.invoke()
                self.wait(window, lambda each=each: each in said())
        self.assertEqual("bob", window.table.tree.set("nbob", "Name"))
        bob.loop.call(lambda now: bob.loop.core.hand("", now))
        self.wait(window, window.hands.frame.winfo_ismapped)
        self.press(window, window.hands.tree, "Delete")
        self.wait(window, lambda: not window.hands.frame.winfo_ismapped())
        self.assertIs(window.composer.text, window.root.focus_get())
        window.act(window.app.call, Server.close)
        self.wait(window, lambda: not window.table.tree.get_children())

    def test_another_password_is_asked_for_hidden_and_what_is_shared_can_be_copied(self):
        window, _ = self.open_with_guest()
        self.type(window, window.composer, "/password")
        self.wait(window, lambda: window.root.focus_get() is window.fresh.entry)
        self.assertEqual("\u2022", window.fresh.entry.cget("show"))
        window.fresh.value.set("another")
        self.press(window, window.fresh.entry, "Return")
        self.assertFalse(window.fresh.frame.winfo_ismapped())
        self.assertIs(window.composer.text, window.root.focus_get())
        join(self, window.app.bound[1], "cem", password="another")
        window.act(window.app.share)
        for button in [each for each in widgets(window.rows) if each.winfo_class() == "TButton"]:
            if button.cget("text") in ("Copy", "Copy SHA-256"):
                button.invoke()
                self.assertIn(window.root.clipboard_get(), (*window.app.pages(), window.app.shared.sha256, "another"))
        window.act(window.app.share)
        self.assertNotIn("Web page", [str(each.cget("text")) for each in window.rows.winfo_children()[::3]])

    def test_closing_asks_once_while_somebody_is_here_whatever_else_was_asked(self):
        for agree in (self.click_close, lambda window: self.press(window, window.yes, "space")):
            window, bob = self.open_with_guest()
            self.press(window, window.table.tree, "Down", "Delete")
            self.click_close(window)
            self.assertFalse(window.closed)
            self.assertIn("1 member is here", window.asked.cget("text"))
            self.assertEqual("Close the room", window.yes.cget("text"))
            self.press(window, window.composer.text, "Key-x")
            window.update()
            self.assertIs(window.composer.text, window.root.focus_get())  # It asks once.
            agree(window)
            self.wait(window, lambda window=window: window.closed)
            bob.wait_for(chat.Disconnected)

    def test_a_port_in_use_is_said_and_another_can_be_chosen(self):
        _, port = start_room(self)
        window = self.open_server(port)
        self.assertIn(str(port), window.trouble.cget("text"))
        self.type(window, window.composer, "is anybody here?")
        self.assertIn("not open", window.composer.note.cget("text"))
        for port, label, text in (("70000", window.port.error, "65535"), ("0", window.state, "listening")):
            window.port.value.set(port)
            window.switch.invoke()
            self.assertIn(text, label.cget("text"))

    def test_what_brings_people_in_is_copied_and_the_password_hidden_until_it_is_asked_for(self):
        window = self.open_server(note="Everybody knows it.")
        self.assertEqual("Everybody knows it.", window.warning.cget("text"))
        parts = [each for each in widgets(window.rows) if each.winfo_class() != "TFrame"]
        buttons = [each for each in parts if each.winfo_class() == "TButton"]
        for button, verb, copied in zip(buttons, ("Copy command", "Copy"), (r".* client 127\.\S+:\d+$", "secret$")):
            self.press(window, button, "space")
            self.assertRegex(button.cget("text") + ": " + window.root.clipboard_get(), "^Copied: " + copied)
            self.wait(window, lambda button=button, verb=verb: button.cget("text") == verb)  # After a moment.
        texts = lambda: [str(each.cget("text")) for each in parts]  # noqa: E731
        self.assertNotIn("secret", texts())
        self.press(window, buttons[2], "space")
        self.assertIn("secret", texts())


# ======================================================================================================
# Seen from outside
# ======================================================================================================
# What people, bots and other machines see: processes, bytes on the wire, a pseudo-terminal, widgets.  Nothing here
# knows how the program is made, so that all of it may change underneath.


class Program:
    """The program as a process, in pipes or on a terminal.

    ``terminal`` may be "stdin" where only the input is one; ``changed`` is done before the program begins: another
    clock, or a peer that keeps no rule.
    """

    def __init__(self, *arguments, terminal="", columns=200, changed="", **environment):
        begin = "import sys, time, samsungchat as chat\n%s\nsys.exit(chat.main())" % changed
        ends = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.terminal = slave = None
        if terminal:
            self.terminal, slave = self.open_terminal(columns)
            ends.update(dict.fromkeys([terminal] if terminal in ends else ends, slave))
        known = {**os.environ, "SAMSUNGCHAT_PASSWORD": "s", "TERM": "xterm", "NO_COLOR": "1", **environment}
        command = [sys.executable, "-c", begin, *arguments]  # Imported, it need not be compiled each time.
        self.process = subprocess.Popen(command, env=known, cwd=os.path.dirname(SOURCE), bufsize=0, **ends)
        files = [file and file.fileno() for file in (self.process.stdin, self.process.stdout, self.process.stderr)]
        self._input, *outputs = [self.terminal if file is None else file for file in files]
        self._outputs, self._shown, self._at = dict(zip(("out", "err"), outputs)), {"out": b"", "err": b""}, {}
        for output in outputs:
            os.set_blocking(output, False)
        if slave is not None:
            os.close(slave)

    @staticmethod
    def open_terminal(columns):
        import pty

        master, slave = pty.openpty()
        Program.resize(slave, columns)
        return master, slave

    @staticmethod
    def resize(terminal, columns):
        import fcntl
        import termios

        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def type(self, text):
        os.write(self._input, text.encode())

    def shown(self, stream="out"):
        """Return everything that it has written so far; on a terminal "err" is shown there too."""
        with contextlib.suppress(OSError, KeyError):  # No more is there now, or the terminal has ended.
            for data in iter(lambda: os.read(self._outputs[stream], 65536), b""):
                self._shown[stream] += data
        return self._shown[stream].decode("utf-8", "replace")

    def close_output(self):
        """Be a reader that goes away."""
        del self._outputs["out"]
        self.process.stdout.close()

    def expect(self, pattern, stream="out"):
        """Wait until something matches that was shown since the last match; return the match."""
        news = lambda: self.shown(stream)[self._at.get(stream, 0) :]  # noqa: E731
        found = wait_for(lambda: re.search(pattern, news()), lambda: "no %r in %r" % (pattern, news()[-2000:]))
        self._at[stream] = self._at.get(stream, 0) + found.end()
        return found

    def events(self, name, **fields):
        """Return the events with that name and those fields that came as JSON lines."""
        events = map(json.loads, self.shown().split("\n")[:-1])
        return [each for each in events if {**each, "event": name, **fields} == each]

    def event(self, name, **fields):
        """Wait for the first such event."""
        return wait_for(lambda: self.events(name, **fields), lambda: "no %s %s: %s" % (name, fields, self.shown()))[0]

    def pause(self):
        """Stop it, and wait until it stands still: signals take their time."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def ended(self):
        """Return whether it has; takes what it shows, which it could not get rid of otherwise."""
        self.shown("out"), self.shown("err")
        return self.process.poll() is not None

    def finish(self, text=""):
        """Type the last text, and wait for the end; return the exit status, standard output and standard error."""
        self.type(text)
        if self.process.stdin:
            self.process.stdin.close()
        wait_for(self.ended, lambda: "it goes on: " + repr(self.shown()[-900:]))
        found = self.process.returncode, self.shown("out"), self.shown("err")
        assert "Traceback" not in found[1] + found[2], found
        return found

    def end(self):
        with self.process:
            self.process.kill()
        if self.terminal is not None:
            os.close(self.terminal)


class Wire(socket.socket):
    """A socket of the test's own on this machine."""

    def __init__(self, test, host="127.0.0.1", port=0):
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        test.addCleanup(self.close)
        self.bind((host, port))
        self.settimeout(0.02)
        self.port = self.getsockname()[1]

    def hears(self):
        """Return the next datagram and where it is from; b"" where none comes."""
        with contextlib.suppress(socket.timeout):
            return self.recvfrom(65536)
        return b"", None

    def next(self):
        """Wait for a datagram that is not empty."""
        return wait_for(lambda: self.hears()[0], "no datagram")

    def asks(self, data, port):
        """Send a datagram, which nothing loses here; return the answer."""
        self.sendto(data, ("127.0.0.1", port))
        return self.next()


class OutsideCase(unittest.TestCase):
    """Starts servers, members in pipes and people at terminals; all of them end with their test."""

    def start(self, *arguments, **more):
        program = Program(*arguments, **more)
        self.addCleanup(program.end)
        return program

    def serve(self, *arguments, port=0, **more):
        server = self.start("server", "--cli", "--host", "127.0.0.1", "--port", str(port), *arguments, **more)
        server.port = int(server.expect(r"listening on 127\.0\.0\.1:(\d+)\s")[1])
        return server

    def client(self, port, name, *arguments, **more):
        return self.start("client", "--cli", "127.0.0.1:%d" % port, "--name", name, *arguments, **more)

    def member(self, port, name, **more):
        """Return a member whose events are JSON, once it is in the room."""
        member = self.client(port, name, "--json", "--stay", **more)
        member.event("connected")
        return member

    def person(self, port, name, *arguments, **more):
        """Return a member at a terminal, once it is in the room."""
        person = self.client(port, name, *arguments, terminal="all", **more)
        person.expect(name + "> ")
        return person


class PipeTest(OutsideCase):
    """In a pipe one line in is one message, one line out is one entry, and the exit status says what happened."""

    def test_every_line_of_a_bot_is_reported_under_its_number(self):
        port = self.serve().port
        bob, ann = self.member(port, "bob"), self.client(port, "ann", "--json")
        refused = ["/nope", "/msg nobody x", "x" * 20000, "/me"]
        lines = ["hello", "", *refused, "/who", "/me waves", "//etc", "/msg bob psst", *[""] * 300, "last"]
        code, _, err = ann.finish("\n".join(lines) + "\n")
        self.assertEqual((2, 4), (code, err.count("not sent: ")))
        self.assertIn("20,000 bytes", err)
        self.assertEqual([1, 8, 9, 10, 311], [each["number"] for each in ann.events("sent")])
        codes = [(each["number"], each["code"]) for each in ann.events("not_sent")]
        self.assertEqual([(3, "BAD_COMMAND"), (4, "NO_SUCH_NAME"), (5, "TOO_LONG"), (6, "BAD_COMMAND")], sorted(codes))
        self.assertEqual(["ann", "bob"], ann.event("members")["members"])
        self.assertEqual("ann", bob.event("left")["name"])
        heard = [(each["text"], each["kind"], each["private"]) for each in bob.events("message")]
        said = [("hello", "text", False), ("waves", "action", False), ("/etc", "text", False), ("psst", "text", True)]
        self.assertEqual([*said, ("last", "text", False)], heard)

    def test_after_a_stall_the_last_word_is_that_all_is_well(self):
        server, hurried = self.serve(), {"changed": "chat.QUIET_SECONDS, chat.UNANSWERED_SECONDS = 0.2, 0.5"}
        bob, ann = self.member(server.port, "bob", **hurried), self.person(server.port, "ann", **hurried)
        server.pause()
        bob.event("disconnected")
        ann.expect("not answer.*\n")
        server.process.send_signal(signal.SIGCONT)
        with self.subTest("a bot"):
            bob.event("connected", again=True)
            bob.expect("(?i)again", "err")
        with self.subTest("a terminal"):
            ann.expect("(?i)again")

    def test_a_pipe_is_read_no_faster_than_its_lines_are_confirmed(self):
        client = self.client(self.serve().port, "ann", changed="chat.BACKLOG_LINES_MAX, chat.OUTBOX_PARTS_MAX = 4, 9")
        self.assertEqual((0, ""), client.finish("x\n" * 100)[::2])

    @unittest.skipIf(os.name == "nt", "Windows has no SIGTERM to send")
    def test_lines_that_are_given_up_are_reported_under_their_numbers(self):
        server = self.serve()
        ann, bob = self.member(server.port, "ann"), self.client(1, "bob", "--json")
        server.pause()
        ann.type("one\ntwo\n")
        bob.type("\nthree\n")
        for program in (ann, bob):
            time.sleep(0.2)  # So that the lines are read; nothing tells.
            program.process.send_signal(signal.SIGTERM)
            self.assertIn(program.finish()[0], (1, 2))
        given_up = [[(each["number"], each["code"]) for each in program.events("not_sent")] for program in (ann, bob)]
        self.assertEqual([[(1, "UNCONFIRMED"), (2, "UNCONFIRMED")], [(2, "NOT_CONNECTED")]], given_up)

    def test_into_a_file_goes_a_log_and_all_of_what_was_said_before(self):
        port, target = self.serve("--rate", "0").port, os.path.join(temporary_folder(self), "log")
        self.client(port, "ann").finish("x\n" * 2500)
        into_file = "import os; os.dup2(os.open(%r, os.O_WRONLY | os.O_CREAT), 1)" % target
        for more in ({"changed": into_file}, {}):
            flags = [] if more else ["--time"]
            _, out, _ = self.client(port, "bob", "--earlier", "2400", *flags, **more).finish()
            lines = re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ann: x$", out or read_text(target), re.MULTILINE)
            self.assertEqual(2400, len(lines))

    def test_a_refused_login_ends_with_its_code_word(self):
        path = os.path.join(temporary_folder(self), "password")
        with open(path, "w", encoding="utf-8") as file:
            file.write("one\n")
        port = self.serve("--max-members", "1", "--password-file", path).port
        ann = self.client(port, "ann", "--json", "--password", "one")
        ann.event("connected")
        for name, password, reason in (
            ("ANN", "one", "USERNAME_TAKEN"),
            ("bob", "wrong", "WRONG_PASSWORD"),
            ("bob", "one", "ROOM_FULL"),
        ):
            refused = self.client(port, name, "--json", "--password", password)
            code, _, err = refused.finish("x\n")
            self.assertEqual((3, reason), (code, refused.event("refused")["code"]))
            self.assertIn(reason, err)
        self.assertEqual(0, ann.finish("x\n")[0])
        self.assertEqual(0, self.client(port, "bob", "--password", "one").finish("x\n")[0])

    def test_the_only_server_of_the_network_is_found(self):
        port = self.serve("--room", "Lab").port
        client = self.start("client", "--cli", "--port", str(port), "--name", "alice", "--json")
        self.assertEqual((0, "Lab"), (client.finish("x\n")[0], client.event("connected")["room"]))

    def test_where_nobody_reads_only_what_is_to_be_sent_keeps_a_client(self):
        port = self.serve().port
        bob = self.member(port, "bob")
        self.client(port, "carol").finish("first\n")
        for name, more, text in (("alice", (), "second\n"), ("dave", ("--stay",), "")):
            client = self.client(port, name, *more)
            client.close_output()
            if not text:
                self.client(port, "erin").finish("hello\n")  # Something that cannot be written.
            code, _, err = client.finish(text)
            self.assertEqual((1, 1), (code, err.count("standard output was closed")))
        bob.event("message", text="second")

    def test_the_original_protocol_is_spoken_by_server_and_client(self):
        port = self.serve("--classic").port
        ann, old = self.member(port, "ann"), Wire(self)
        for password, answer in ((b"no", b"Password salah!"), (b"s", b"Login berhasil!")):
            self.assertEqual(answer, old.asks(b"LOGIN old " + password, port))
        self.assertIn(b"-- old uses the original program", old.next())
        old.sendto("héllo 田: 😀".encode(), ("127.0.0.1", port))
        ann.event("message", text="héllo 田: 😀", classic=True)
        ann.type("hi\n/msg old psst\n/me waves\n")
        self.assertEqual([b"ann: hi", b"ann (private): psst", b"ann: * waves"], [old.next() for _ in range(3)])
        code, out, _ = self.client(port, "new", "--classic").finish("hello\n/me waves\n")
        self.assertEqual(2, code, "/me cannot be said there")
        self.assertIn("whether they arrive is not confirmed", out)
        self.assertEqual([b"-- new joined", b"new: hello"], [old.next() for _ in range(2)])
        self.assertEqual(3, self.client(port, "old", "--classic", SAMSUNGCHAT_PASSWORD="no").finish("x\n")[0])

    def test_earlier_lines_come_when_they_are_asked_for(self):
        port = self.serve("--rate", "0").port
        self.client(port, "alice").finish("".join("%d\n" % number for number in range(60)))
        bob = self.client(port, "bob", "--earlier", "2", "--stay")
        bob.expect("alice: 59\n")
        bob.type("/earlier 3\n")
        self.assertEqual("55", bob.expect(r"alice: (\d+)\n")[1])
        _, out, _ = self.client(port, "eve", "--earlier", "0").finish("/earlier 3\n")  # It waits for the answer.
        self.assertEqual(["57", "58", "59"], re.findall(r"alice: (\d+)", out))


class OutsideWireTest(OutsideCase):
    """What strangers on the network can get out of a client."""

    def test_a_false_server_gets_two_guesses_in_one_login(self):
        other, false, asked = self.serve(SAMSUNGCHAT_PASSWORD="a guess").port, Wire(self), Wire(self)
        client, hellos, tested = self.client(false.port, "ann", "--json"), [], set()

        def lie():
            data, address = false.hears()
            if data and data[1] == (hellos or [data])[-1][1]:
                hellos.append(data)
                false.sendto(asked.asks(data, other), address)
            elif data:
                asked_at, keys = time.monotonic(), asked.asks(data, other)
                busy = data[:1] + b"\x03" + hellos[-1][2:18] + b"\x09TRY_LATER"  # Unsealed advice.
                for answer in (keys, keys[:-1] + bytes((keys[-1] ^ 1,)), busy):
                    false.sendto(answer, address)
                if time.monotonic() < asked_at + 0.1:  # Else it may have asked anew, and test nothing.
                    tested.add(data)

        wait_for(lambda: client.ended() or len(tested) > 1, "the login does not end", lie)
        self.assertLessEqual(len(tested), 1, "two guesses for each of these LOGINs")
        self.assertEqual((3, "WRONG_PASSWORD"), (client.finish()[0], client.event("refused")["code"]))


@unittest.skipIf(os.name == "nt", "Windows has no pseudo-terminals")
class TerminalTest(OutsideCase):
    """Nobody's half a line, password or order of words is lost, shown or mistaken at a terminal."""

    def check(self, program, *talk):
        """Type each text, and see what comes."""
        for text, pattern in talk:
            program.type(text)
            program.expect(pattern)

    def test_half_a_message_never_becomes_a_name(self):
        server = self.serve()
        ann = self.person(server.port, "ann")
        server.process.terminate()
        server.finish()
        ann.expect(r"closed the room(?s:.*)\(reconnecting")
        self.check(ann, ("ok", "> .*ok"))
        ann.pause()
        again = self.serve(port=server.port)
        self.member(server.port, "ann")
        ann.process.send_signal(signal.SIGCONT)
        ann.expect(r"ann2\]: ")
        ann.type("\r")
        self.assertEqual("ann2", again.expect(r"(\w+) joined .*2 here")[1])
        ann.expect("ann2[^\n]*> ok")

    def test_it_asks_again_for_just_what_was_wrong_and_never_shows_or_remembers_a_password(self):
        port = self.serve().port
        self.member(port, "bob")
        alice = self.start("client", "--cli", "127.0.0.1:%d" % port, terminal="all", SAMSUNGCHAT_PASSWORD="")
        alice.expect(r"Your name \[")
        self.check(alice, ("bob\r", "Password: "), ("\r", "The password is empty"))
        self.check(alice, ("Mellon\x0c", "\x1b\\[2J.*Password: "), ("\r", "!! The password is wrong"))
        alice.expect("Password: ")
        self.check(alice, ("\x1b[As\r", "!! This name is in use"))  # Up recalls nothing that was typed as an answer.
        alice.expect(r"Your name \[bob2\]: ")
        self.check(alice, ("carol\r", "Welcome to SamsungChat, carol; 2 members here."), ("\x1b[A!\r", "carol: !"))
        self.assertNotIn("Mellon", alice.shown())

    def test_an_incoming_line_leaves_the_typed_one_whole_and_a_paste_is_one_message(self):
        port = self.serve().port
        bob, alice = self.member(port, "bob"), self.person(port, "alice", columns=60)
        self.check(alice, ("half 日本", "alice> half 日本"))
        bob.type("hello\n")
        alice.expect("\r\x1b\\[J.*bob: hello[^>]*alice> half 日本")
        self.check(alice, ("語\r", "alice: half 日本語"))
        pasted = "\x1b[200~def f():\n    return 1\n\x1b[201~"
        self.check(alice, (pasted, "2 lines pasted: Enter sends them as one message"), ("\r", "alice: def"))
        bob.event("message", text="def f():\n    return 1")

    def test_a_narrower_terminal_keeps_no_old_rows_and_what_is_not_confirmed_or_not_sent_is_left_on_it(self):
        server = self.serve()
        ann = self.person(server.port, "ann", columns=60)
        self.check(ann, ("x" * 100, "x" * 45))
        ann.resize(ann.terminal, 25)
        ann.process.send_signal(signal.SIGWINCH)
        ann.expect(r"\x1b\[4A\r\x1b\[J")  # Of 59 and 46 cells it has made three rows and two.
        server.pause()
        self.check(ann, ("\x15one\r", "1 waiting"), ("/quit\r", "confirmed yet; once"), ("half", "half"))
        ann.process.terminate()
        self.assertRegex(ann.finish()[1], "(?s)not confirmed: one.*not sent: half.*1 message not confirmed")

    def test_a_client_whose_output_goes_elsewhere_asks_for_the_password(self):
        server, target = self.serve(SAMSUNGCHAT_PASSWORD=""), os.path.join(temporary_folder(self), "log")
        into_file = "import os; os.setsid(); os.dup2(os.open(%r, os.O_WRONLY | os.O_CREAT), 1)" % target
        ann = self.client(server.port, "ann", terminal="all", changed=into_file, SAMSUNGCHAT_PASSWORD="")
        ann.expect(r"Password \[samsungdagostore\]: ")
        ann.type("\n")
        server.expect("ann joined")
        self.assertEqual(0, ann.finish("hello\n\x04")[0])

    def test_every_screen_shows_the_order_of_the_log_and_a_wrong_clock_makes_no_new_days(self):
        server, wrong = self.serve(), "time.time = lambda real=time.time: real() + 2 * 86400"
        people = [self.person(server.port, name, changed=wrong) for name in ("ann", "bob", "cem")]
        server.pause()
        for person, text in zip(people, ("one", "two", "three")):
            self.check(person, (text, text), ("\r", text + "|1 waiting"))
        server.process.send_signal(signal.SIGCONT)
        dan = self.member(server.port, "dan")
        dan.type("done\n")
        dan.event("sent")
        for person in people:
            person.expect("dan: done")
            places = [person.shown().rfind(": " + event["text"]) for event in dan.events("message")]
            self.assertEqual((3, sorted(places)), (len(places), places))
            days = re.findall(r"-- \w+, \d\d \w+ \d{4} --", person.shown())
            self.assertIn(len(days), (1, 2), days)  # Two where it is midnight just now.

    def test_no_text_makes_a_terminal_work_long_or_scroll_far(self):
        port = self.serve("--rate", "0").port
        ann = self.person(port, "ann", columns=20)
        self.client(port, "bob").finish(("x%sx\n" % ("\x85" * 8190)) * 6 + "after\n")  # Each is shown as \u{0085}.
        ann.expect("after")
        self.assertLess(ann.shown().count("\n"), 6 * 1000)

    def test_what_an_original_server_refuses_is_put_back_and_not_published_by_the_next_enter(self):
        port = self.serve("--classic").port
        bob, old = self.member(port, "bob"), self.person(port, "old", "--classic")
        self.check(old, ("/me waves\r", "!! .*has no /me"), ("", r"old> \x1b\[7m/me waves\x1b\[0m "))
        for keys in ("\r", "\x15hello\r"):
            old.type(keys)
        bob.event("message", text="hello")
        self.assertEqual(["hello"], [event["text"] for event in bob.events("message")])

    def test_ctrl_c_clears_first_and_the_terminal_is_given_back(self):
        import termios

        fresh = Program.open_terminal(60)
        before = termios.tcgetattr(fresh[0])
        list(map(os.close, fresh))
        alice = self.person(self.serve().port, "alice")
        self.check(alice, ("draft\x03", "alice> "))
        self.assertNotEqual(before[3], termios.tcgetattr(alice.terminal)[3])
        termios.tcsetattr(alice.terminal, termios.TCSANOW, before)  # As a shell does when somebody has stopped it.
        alice.process.send_signal(signal.SIGCONT)
        wait_for(lambda: termios.tcgetattr(alice.terminal)[3] != before[3], "it is not taken back")
        self.check(alice, ("/help\r", "Alt-Enter"), ("\x03", "Ctrl-C once more leaves."))
        self.assertEqual(0, alice.finish("\x03")[0])
        self.assertEqual(before[:4], termios.tcgetattr(alice.terminal)[:4])

    def test_a_lesson_is_held_from_a_terminal(self):
        teacher = self.serve(terminal="all")
        alice, bot = self.person(teacher.port, "alice"), self.member(teacher.port, "bot")
        self.check(alice, ("/next\r", "Only who runs the server can do /next. Nothing was sent."))
        self.check(alice, ("\x15/hand What is a socket?\r", r"(?s)place is 1\..*alice \(hand raised, place 1\)> "))
        self.assertEqual((True, 1), tuple(bot.event("hand")[name] for name in ("raised", "place")))
        self.check(
            teacher, ("/hands\r", " 1  alice, waiting 0 min: What is a socket"), ("/quiet up\r", "/quiet on, or")
        )
        self.check(teacher, ("\x15/quiet on\r", "only the operator speaks."))
        bot.type("hello\nhello again\n")
        self.assertEqual("QUIET", bot.event("not_sent", number=2)["code"])
        self.check(alice, ("one\r", "the operator speaks"), ("\x15two\r", r"\x1b\[7mtwo\x1b\[0m "))
        self.check(teacher, ("/next Come here\r", "alice is called: Come here"))
        self.check(alice, ("", "You are called: Come here\r+\n\a"), ("", "quiet: only the operator speaks"))
        self.assertEqual("Come here", bot.event("called")["text"])
        self.check(teacher, ("/quiet off\r", "no longer quiet"), ("/mute alice x\r", "with a number"))
        self.check(teacher, ("\x15/mute alice 5\r", "alice is muted for 5 min"), ("/lower all\r", "> "))
        self.check(alice, ("", r"alice \(muted\)> "))
        self.check(teacher, ("/password\r", r"(?s)new password.*Password: "), ("chalk\r", "the password is another"))
        self.assertNotIn("chalk", teacher.shown())
        late = self.client(teacher.port, "late", "--json")
        self.assertEqual("WRONG_PASSWORD", late.event("refused")["code"])
        self.client(teacher.port, "new", "--json", "--stay", "--password", "chalk").event("connected")
        self.check(teacher, ("/password\r", "Password: "), ("\x03", "the password stays"))

    def test_the_server_takes_commands_and_announces_nothing_by_mistake(self):
        server = self.serve(terminal="all")
        bob = self.member(server.port, "bob")
        self.check(server, ("hello\r", "operator: hello"), ("/who\r", "1 of 1000 members"))
        self.assertEqual("operator", bob.event("message", text="hello")["from"])
        self.check(server, ("/kick nobody\r", "Nobody here is called nobody."), ("\x15/say lunch\r", "lunch"))
        bob.event("notice", text="lunch")  # Who is kicked in the same turn does not hear it any more.
        self.check(server, ("\x03", "1 member here; Ctrl-C once more closes"), ("/kick \t", "> /kick bob "))
        server.type("\r")
        self.check(server, ("/bans\r", "is kept out for"), ("/pardon bob\r", "may come in again"))
        self.assertEqual(("KICKED", 3), (bob.event("refused")["code"], bob.finish()[0]))
        self.assertEqual(["lunch"], [event["text"] for event in bob.events("notice")])
        code, shown, _ = server.finish("/quit\r/quit\r")
        self.assertEqual((0, 1), (code, shown.count("closing the room")))
        self.check(self.serve(terminal="stdin"), ("/who\n", "0 of 1000 members"), ("hello\n", "write /say TEXT"))


class Pane:
    """A window as a person has it: widgets, found by what stands on them or beside them, and keys."""

    def __init__(self, root):
        self.root = root

    def wait(self, find, failure="it does not come about"):
        """Let the window work until something is found."""
        return wait_for(find, failure, lambda: (self.root.update(), time.sleep(0.005)))

    def widgets(self, *classes):
        """Return the widgets of those Tk classes that can be seen."""
        return [each for each in widgets(self.root) if each.winfo_class() in classes and each.winfo_viewable()]

    def named(self, kind, text):
        """Wait for a label or a button that says that."""
        found = lambda: [each for each in self.widgets(kind) if text in str(each.cget("text"))]  # noqa: E731
        return self.wait(found, "no %s %s" % (kind, text))[0]

    def press(self, text):
        button = self.named("TButton", text)
        self.wait(lambda: button.instate(["!disabled"]))
        button.invoke()

    def fill(self, label, value):
        """Put a value into the field with that label; return the field."""
        beside = self.named("TLabel", label).master.winfo_children()
        entry = [each for each in beside if each.winfo_class() in ("TEntry", "TCombobox")][0]
        entry.delete(0, "end")
        entry.insert(0, value)
        return entry

    def texts(self):
        """Return the widgets that hold much text, the highest first: the conversation, and where one types."""
        return sorted(self.wait(lambda: self.widgets("Text")), key=lambda text: -text.winfo_height())

    def shows(self, text):
        return text in self.texts()[0].get("1.0", "end") or text in self.root.title()

    def say(self, text):
        self.texts()[-1].replace("1.0", "end", text)
        self.type("<Return>")

    def type(self, key):
        entry = self.texts()[-1]
        entry.focus_force()
        self.root.update()
        entry.event_generate(key)


class WindowCommandTest(OutsideCase):
    """Where no window can be, --gui says so and how to get one; one that is told to end does."""

    @unittest.skipUnless(sys.platform.startswith("linux"), "only X11 can be taken away")
    def test_gui_without_a_display_or_tkinter(self):
        for sentence, more in (
            ("display|tkinter", {"DISPLAY": "", "WAYLAND_DISPLAY": ""}),
            ("python3-tk", {"changed": "sys.modules['tkinter'] = None"}),
        ):
            code, _, err = self.start("server", "--gui", **more).finish()
            self.assertEqual(2, code)
            self.assertRegex(err, sentence)

    @unittest.skipIf(NO_WINDOWS or os.name == "nt", NO_WINDOWS or "no SIGTERM")
    def test_a_window_that_is_told_to_end_exits_0_and_tells_the_members(self):
        port, folder = str(Wire(self, "127.0.0.9").port), temporary_folder(self)
        server = self.start("server", "--gui", "--host", "127.0.0.1", "--port", port, XDG_CONFIG_HOME=folder)
        bob = join(self, int(port), "bob", password="s")
        server.process.terminate()
        bob.wait_for(chat.Disconnected)
        self.assertEqual((0, "", ""), server.finish())


@unittest.skipIf(NO_WINDOWS, NO_WINDOWS)
class OutsideWindowTest(OutsideCase):
    """A window mixes no two rooms, loses nothing that was read, and does only what it was asked."""

    def use(self, person, *arguments, **environment):
        """Run the program's window here, with ``person`` in front of it."""
        import tkinter

        def mainloop(root, _=0):
            _KEPT.append(root)
            person(Pane(root))

        faults, known = [], {"SAMSUNGCHAT_PASSWORD": "s", "XDG_CONFIG_HOME": temporary_folder(self), **environment}
        self.addCleanup(gc.enable)
        self.addCleanup(gc.collect)
        with mock.patch.object(tkinter.Misc, "mainloop", mainloop), mock.patch.object(
            signal, "signal"
        ), mock.patch.object(sys, "excepthook", lambda *fault: faults.append(fault)), mock.patch.dict(
            os.environ, known
        ):
            self.assertEqual(0, chat.main(arguments))
        self.assertEqual(([], False), (faults, gc.isenabled()))  # Tk aborts when another thread collects its objects.

    def test_nothing_typed_for_one_room_reaches_another(self):
        one, two = self.serve("--room", "Room A"), self.serve("--room", "Room B").port
        bob = self.member(two, "bob")

        def person(screen):
            screen.wait(lambda: screen.shows("Room A"))
            one.process.terminate()
            one.finish()
            screen.wait(lambda: screen.shows("closed the room"))
            screen.say("for A only")
            screen.texts()[-1].insert("end", "half a draft")
            self.serve(port=one.port, changed="chat.clean_name = lambda name: chat.parse_server('', 0)")
            screen.fill("Port", two)
            screen.press("Log in")
            screen.wait(lambda: screen.shows("Room B"))
            typed = screen.texts()[-1]
            self.assertEqual("half a draft", typed.get("1.0", "end-1c"))  # The person may send it, nobody else.
            screen.wait(lambda: screen.shows("Not sent in the room before: 1 message"))
            screen.type("<Up>")
            self.assertEqual("for A only", typed.get("1.0", "end-1c"))
            screen.say("for B")
            bob.event("message", text="for B")
            self.assertEqual(1, len(bob.events("message")), bob.events("message"))
            self.assertFalse(any(map(screen.shows, ("Room A", "closed the room", "for A only", "half a draft"))))

        self.use(person, "client", "--gui", "127.0.0.1:%d" % one.port, "--name", "ann", "--password", "s")

    def test_the_form_tells_what_keeps_somebody_out_and_keeps_what_is_typed(self):
        with Wire(self) as closed:
            port = closed.port

        def person(screen):
            screen.fill("Server", "127.0.0.1"), screen.fill("Port", port)
            screen.press("It does not work?")
            screen.wait(lambda: screen.shows("no server is at this port"))
            screen.named("TLabel", "What keeps you out")
            screen.root.focus_force()
            screen.root.update()
            screen.root.event_generate("<Escape>")
            screen.wait(lambda: not screen.widgets("Text"))
            screen.press("It does not work?")
            screen.press("Back")
            self.assertEqual(["127.0.0.1"], [each.get() for each in screen.widgets("TEntry", "TCombobox")][:1])
            self.assertFalse(screen.widgets("Text"))

        self.use(person, "client", "--gui")

    def test_one_search_for_servers_goes_on_however_often_the_form_comes_back(self):
        server, listener = self.serve().port, Wire(self, "127.0.0.2")

        def person(screen):
            for label, value in (("Server", "127.0.0.1"), ("Port", server), ("Your name", "ann"), ("Password", "no")):
                screen.fill(label, value)
            for _ in range(8):
                screen.press("Log in")
                screen.press("Cancel")
            while listener.hears()[0]:
                pass
            found, end, searches = screen.fill("Server", ""), time.monotonic() + 3.0, set()
            screen.wait(lambda: searches.add(listener.hears()[0][:18]) or time.monotonic() > end and found.get())
            self.assertLessEqual(len(searches - {b""}), 3, "searches in a little more than 3 s")
            self.assertEqual("127.0.0.1", found.get(), "what was found is not offered")

        where = "127.0.0.1:%d,127.0.0.2:%d" % (server, listener.port)
        self.use(person, "client", "--gui", SAMSUNGCHAT_DISCOVERY=where)

    def test_a_room_with_a_history_can_be_opened_again(self):
        path, free = os.path.join(temporary_folder(self), "room.db"), Wire(self)

        def person(screen):
            screen.named("TLabel", "Nobody is here yet.")
            screen.press("Stop")
            screen.named("TButton", "Open again")
            screen.named("TLabel", "The room is closed.")
            with Wire(self, port=free.port):  # What fails leaves the history to the next try.
                screen.press("Open again")
                screen.named("TLabel", "in use")
            for button in ("Open again", "Stop"):
                screen.press(button)
            screen.named("TButton", "Open again")

        free.close()
        self.use(person, "server", "--gui", "--host", "127.0.0.1", "--port", str(free.port), "--history", path)

    def test_consent_to_something_else_does_not_close_the_room(self):
        def person(screen):
            port = str(screen.named("TLabel", "listening on").cget("text")).rsplit(":")[-1]
            self.member(int(port), "bob")
            tables = screen.widgets("Treeview")
            find = lambda: [(each, row) for each in tables for row in each.get_children() if "bob" in row]  # noqa: E731
            table, row = screen.wait(find)[0]
            table.selection_set(row)
            screen.press("Remove")
            screen.named("TLabel", "Remove bob")
            screen.root.tk.call(screen.root.protocol("WM_DELETE_WINDOW"))
            self.assertTrue(screen.root.children, "it closes, though somebody is here")
            screen.named("TLabel", "lose")  # "Close the room?", or in other words.

        self.use(person, "server", "--gui", "--host", "127.0.0.1", "--port", "0")


LACKING = {  # What Python has here and not on Windows, as far as anybody might reach for it.
    "os": "fork getuid geteuid getpgrp tcgetpgrp setsid set_blocking waitid uname mkfifo fchmod pread pwrite",
    "signal": "SIGHUP SIGQUIT SIGALRM SIGWINCH SIGTSTP SIGCONT SIGSTOP SIGCHLD SIGPIPE SIGUSR1 SIGKILL alarm",
    "select": "poll epoll",
    "selectors": "PollSelector EpollSelector",
    "socket": "SO_REUSEPORT MSG_DONTWAIT MSG_ERRQUEUE CMSG_LEN CMSG_SPACE",
    "modules": "termios fcntl resource readline pwd grp pty tty",
}


class WindowsSocket(socket.socket):
    """Says in recvfrom() that nobody listens where it has sent something: error 10054."""

    sendmsg = None

    def __init__(self, *arguments, **more):
        super().__init__(*arguments, **more)
        if self.type == socket.SOCK_DGRAM and self.family == socket.AF_INET:
            self.setsockopt(socket.IPPROTO_IP, 11, 1)  # Linux keeps such errors in a queue: IP_RECVERR.

    def recvfrom(self, size):
        with contextlib.suppress(BlockingIOError):
            super().recvmsg(1, 512, 0x2000)  # MSG_ERRQUEUE.
            raise ConnectionResetError(10054, "An existing connection was forcibly closed by the remote host")
        return super().recvfrom(size)


class WindowsConsole:
    """In place of msvcrt: keys come one by one as UTF-16 units, from a terminal of this system."""

    def __init__(self):
        import tty

        self._decoder, self._units = codecs.getincrementaldecoder("utf-8")(), []
        if os.isatty(0):
            tty.setraw(0)

    def getwch(self):
        while not self._units:
            data = self._decoder.decode(os.read(0, 1)).encode("utf-16-le")
            self._units += map(chr, struct.unpack("<%dH" % (len(data) // 2), data))
        return self._units.pop(0)

    def kbhit(self):
        return bool(self._units or select.select([0], [], [], 0)[0])


def become_windows(words):
    """Take from this process what Windows lacks, and load the program anew; at its window somebody has his say."""
    import tkinter  # Loaded while all that it needs is here.

    def mainloop(root, _=0):
        screen = Pane(root)
        screen.wait(lambda: screen.shows("who is here?"))
        screen.say(words)
        screen.wait(lambda: screen.shows("bye"))

    clock, console, tkinter.Misc.mainloop = time.monotonic, WindowsConsole(), mainloop
    for owner, names in LACKING.items():
        for name in names.split():
            vars(sys.modules.get(owner, sys)).pop(name, None)
    sys.modules.update({**dict.fromkeys(LACKING["modules"].split()), "msvcrt": console})
    sys.modules[pathlib.Path.__module__].WindowsPath = pathlib.PosixPath
    selectors.DefaultSelector, socket.socket = selectors.SelectSelector, WindowsSocket
    time.monotonic = lambda: clock() // 0.015625 * 0.015625  # It stands still for so long there.
    sys.platform, os.name = "win32", "nt"
    importlib.reload(chat)


@unittest.skipIf(NO_WINDOWS or sys.platform != "linux", NO_WINDOWS or "it is Linux that is made to look like Windows")
class WindowsTest(OutsideCase):
    """Without what Windows lacks, and with what it does otherwise, all faces hear one another."""

    def test_a_conversation_of_all_faces_goes_on_though_a_member_and_the_server_die(self):
        like = "import test_samsungchat as test; test.become_windows('here I am \U0001f600')\n"
        like = {"changed": like + "chat.QUIET_SECONDS, chat.UNANSWERED_SECONDS = 0.2, 0.5"}
        server = self.serve(**like)
        ann, bob = self.person(server.port, "ann", **like), self.member(server.port, "bob", **like)
        gone, home = self.member(server.port, "gone", **like), temporary_folder(self)
        window = self.start("client", "--gui", "127.0.0.1:%d" % server.port, "--name", "dan", APPDATA=home, **like)
        ann.expect("dan joined")
        gone.process.kill()
        ann.type("x\xe0KI am ann \U0001f600 \r")  # The left arrow, and more.
        bob.event("message", text="I am ann \U0001f600 x")
        server.end()
        ann.expect("reconnecting")
        server = self.serve(port=server.port, terminal="all", **like)
        ann.expect("again")
        server.type("/who\r")
        server.expect("ann  127")
        bob.type("who is here?\n")
        ann.expect("bob: who is here?(?s:.*)dan: here I am \U0001f600")
        bob.event("message", text="here I am \U0001f600")
        ann.type("half a line")
        ann.expect("ann> half a line")
        ann.resize(ann.terminal, 12)
        ann.expect("ann> half a\r\n line")
        ann.type("\x03bye\r")
        self.assertEqual((0, "", ""), window.finish())
        self.assertEqual(0, bob.finish("/quit\n")[0])
        self.assertEqual(0, ann.finish("\x04")[0])


class HistoryProgramTest(OutsideCase):
    """A server with a history is killed, and exported while it runs, and loses nothing."""

    def export(self, path, *more, target="-"):
        """Export a history; return the program at its end, and what it showed."""
        program = self.start("server", "--history", path, "--export", target, *more)
        return program, program.finish()

    def test_messages_are_there_exactly_once_although_the_server_is_killed(self):
        path, draw, texts = os.path.join(temporary_folder(self), "room.db"), random.Random(4).random, []
        server = self.serve("--history", path, "--rate", "0")
        pair = [self.member(server.port, name) for name in ("ann", "bob")]
        for step in range(6):
            until = time.monotonic() + 0.1 + draw() * 0.2
            while time.monotonic() < until:
                texts.append("text %d" % len(texts))
                for member in pair:
                    member.type(texts[-1] + "\n")
                    member.shown()
                time.sleep(0.002)
            if step % 2 == 0:
                server.end()
                server = self.serve("--history", path, "--rate", "0", port=server.port)
        for member in pair:
            member.event("message", text=texts[-1]), member.event("sent", number=len(texts))
        written = [(entry.name, entry.text) for _, entry in read_history(path) if entry.kind == chat.TEXT]
        for member, name in zip(pair, ("ann", "bob")):
            self.assertEqual(texts, [event["text"] for event in member.events("message")])
            self.assertEqual(list(range(1, len(texts) + 1)), [event["number"] for event in member.events("sent")])
            seqs = [event["seq"] for kind in ("message", "sent") for event in member.events(kind)]
            self.assertEqual(len(set(seqs)), len(seqs))
            self.assertEqual(texts, [text for author, text in written if author == name])

    def test_an_export_holds_everything_while_the_server_runs_and_to_whom_something_was_private(self):
        path = os.path.join(temporary_folder(self), "room.db")
        server = self.serve("--history", path)
        bob = self.member(server.port, "bob")
        self.client(server.port, "ann").finish("hello\n/me waves\n/msg bob psst\n" + "long " * 1000 + "\n")
        _, (code, out, err) = self.export(path)
        self.assertEqual((0, ""), (code, err))
        lines = [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", "", line) for line in out.splitlines()]
        said = ["ann: hello", "* ann waves", "ann (private to bob): psst", "ann: " + "long " * 1000]
        self.assertEqual(["-- The room was opened.", "-- bob joined", "-- ann joined", *said, "-- ann left"], lines)
        exported, (_, out, _) = self.export(path, "--json")
        self.assertEqual([1, 2, 3, 4, 5, 6, 12, 13], [json.loads(line)["seq"] for line in out.splitlines()])
        for program in (bob, exported):
            event = program.event("message", text="psst")
            self.assertEqual(("ann", "bob", True), (event["from"], event["to"], event["private"]))
        target = os.path.join(temporary_folder(self), "export")
        self.assertEqual((0, "", ""), self.export(path, target=target)[1])
        self.assertIn("ann: hello\n", read_text(target))
        server.process.terminate()
        self.assertEqual(0, server.finish()[0])
        self.export(path)
        self.assertEqual(["room.db", "room.db-lock"], sorted(os.listdir(os.path.dirname(path))))

    @unittest.skipIf(os.name == "nt", "Windows has other rights")
    def test_all_that_a_program_writes_is_its_owner_s_alone(self):
        folder, wide = temporary_folder(self), {"changed": "import os; os.umask(0)"}
        history, export = (os.path.join(folder, name) for name in ("room.db", "export"))
        port = self.serve("--history", history, **wide).port
        self.start("server", "--history", history, "--export", export, **wide).finish()
        if not NO_WINDOWS:
            self.start("client", "--gui", "127.0.0.1:%d" % port, "--name", "ann", XDG_CONFIG_HOME=folder, **wide)
        settings = [] if NO_WINDOWS else ["samsungchat.json"]
        files = ["export", "room.db", "room.db-lock", "room.db-shm", "room.db-wal", *settings]
        wait_for(lambda: files == sorted(os.listdir(folder)), lambda: "only %s" % os.listdir(folder))
        self.assertEqual({0o600}, {os.stat(os.path.join(folder, name)).st_mode & 0o777 for name in files})

    def test_what_is_older_than_keep_is_forgotten(self):
        path, now = os.path.join(temporary_folder(self), "room.db"), int(time.time() * 1000)
        log = Log(1000, path)
        log.append([record(text_entry("days %d" % days, 9 - days, at=now - days * 86_400_000)) for days in (5, 3, 1)])
        log.commit()
        log.close()
        reader = self.client(self.serve("--history", path, "--keep", "2").port, "bob")
        for _, out, _ in (reader.finish(), self.export(path)[1]):
            self.assertEqual(["days 1"], re.findall("days .", out))


class CheckTest(OutsideCase):
    """Who cannot come in is told why, and what to do."""

    def test_each_fault_is_told_apart_with_what_to_do_and_only_a_login_that_would_work_exits_0(self):
        late = "was = time.time; time.time = lambda: was() + 3600"
        server, silent, closed = self.serve(changed=late), Wire(self), Wire(self)
        alone = {"changed": "chat.networks = lambda: [('127.0.0.1', '127.0.0.1')]", "SAMSUNGCHAT_DISCOVERY": ""}
        closed.close()
        at = "127.0.0.1:%d"
        cases = (
            (at % server.port, "s", 0, "✓ The password is right(?s:.*)✓ 20 of 20(?s:.*)✗ .* 3[56]\\d\\d s.\n  Set"),
            (at % server.port, "wrong", 1, "✗ The password is wrong"),
            (at % server.port, "", 1, "✗ The password was not tried"),
            (at % silent.port, "s", 1, "✗ .*silent.\n.*firewall"),
            (at % closed.port, "s", 1, "✗ .*refused.\n.*no server is at this port"),
            ("no..machine", "s", 1, "✗ There is no machine called no..machine"),
            ("--stay", "s", 1, "✗ A search at .* finds nothing(?s:.*)✗ No server was found"),
            # That no server is on this machine is no fault.
            ("--port=%d" % silent.port, "s", 1, r"\A(?!(?s:.*)A search)(?s:.*)✗ No server was found", alone),
        )
        programs = [
            self.start("client", "--check", each[0], SAMSUNGCHAT_PASSWORD=each[1], **dict(*each[4:])) for each in cases
        ]
        for program, (_, _, code, said, *_) in zip(programs, cases):
            found = program.finish()
            self.assertEqual((code, ""), found[::2], found)
            self.assertRegex(found[1], said)
        self.assertNotIn("joined", server.shown())


class ShareTest(OutsideCase):
    """Who asks a server's page gets the program, what was named and nothing else, and comes into the room with it."""

    def share(self, *arguments, **more):
        server = self.serve("--room", "<Lab>", "--share", *arguments, **more)
        server.expect("to be compared: .*\n")
        return server

    def fetch(self, server, path, method="GET", **headers):
        """Return the status, the headers and the body that a browser gets."""
        browser = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE_SECONDS)
        self.addCleanup(browser.close)
        browser.request(method, path, headers=headers)
        answer = browser.getresponse()
        return answer.status, answer.headers, answer.read().decode("utf-8")

    @unittest.skipUnless(sys.platform == "linux", "the line for another system")
    def test_a_line_of_the_page_fetches_the_program_and_comes_into_the_room(self):
        server, folder = self.share(), temporary_folder(self)
        page = self.fetch(server, "/", **{"Accept-Language": "id-ID,id;q=0.9,en;q=0.8"})[2]
        self.assertRegex(page, "(?s)<h1>&lt;Lab&gt;</h1>.*tempelkan")
        for each in (page, server.shown()):
            self.assertIn(hashlib.sha256(pathlib.Path(SOURCE).read_bytes()).hexdigest(), each)
        bob, path = self.member(server.port, "bob"), os.path.dirname(sys.executable) + ":" + os.environ["PATH"]
        there = {"cwd": folder, "env": {**os.environ, "PATH": path, "SAMSUNGCHAT_PASSWORD": "s"}}
        for system in ["Linux"] + ["macOS"] * bool(shutil.which("curl")):
            line = html.unescape(re.search("(?s)%s.*?<code>(.*?)</code>" % system, page)[1])
            said = "I am in from " + system
            subprocess.run(["sh", "-c", line], input=said.encode(), check=True, capture_output=True, **there)
            bob.event("message", text=said)
            self.assertEqual(read_text(SOURCE), read_text(os.path.join(folder, "samsungchat.py")))
            os.remove(os.path.join(folder, "samsungchat.py"))

    def test_only_what_was_named_is_shared_and_only_so_much_at_once(self):
        path = os.path.join(temporary_folder(self), "a b & ü.txt")
        pathlib.Path(path).write_text("1 + 1")
        server = self.share(path, changed="chat.SHARE_ASK_SECONDS = 1")
        page = self.fetch(server, "/", **{"Accept-Language": "en, id;q=0.5"})[2]
        link = re.search(r'href="(/files/.*?)">a b &amp; ü.txt<', page)[1]
        self.assertEqual(["1 + 1", ""], [self.fetch(server, link, method)[2] for method in ("GET", "HEAD")])
        self.assertEqual("5", self.fetch(server, link, "HEAD")[1]["Content-Length"])
        for wrong in (SOURCE, "/files/", "/../samsungchat.py", "/files/../samsungchat.py", "/test_samsungchat.py"):
            self.assertEqual(404, self.fetch(server, wrong)[0])
        self.assertEqual(501, self.fetch(server, "/", "POST")[0])
        held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(chat.SHARE_HOST_MAX)]
        self.assertFalse(self.served(server))
        drip = lambda: (time.sleep(0.1), [self.succeeds(each.send, b"x") for each in held])  # noqa: E731
        wait_for(lambda: self.served(server), "who asks slowly keeps the others out", drip)
        for each in held:
            each.close()

    def test_the_switch_of_a_window_begins_it_and_ends_it(self):
        app = chat.ServerApp(open_room, 0)
        self.addCleanup(app.shut)
        Screen(app, form=True)
        shared = []
        for _ in range(3):
            app.share()
            shared.append(bool(self.served(types.SimpleNamespace(port=app.bound[1]))))
        self.assertEqual([True, False, True], shared)

    def served(self, server):
        return self.succeeds(self.fetch, server, "/")

    def succeeds(self, act, *arguments):
        with contextlib.suppress(OSError):
            return act(*arguments)

    def test_a_room_goes_on_where_its_program_cannot_be_shared(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            server = self.serve("--share", port=taken.getsockname()[1])
            server.expect("Nothing is shared, as TCP port %d is in use; the room goes on." % server.port)
            self.member(server.port, "bob")
        for wrong in (["/no/such"], [SOURCE, SOURCE]):
            self.assertEqual(2, self.start("server", "--cli", "--share", *wrong).finish()[0])


class ServerProgramTest(OutsideCase):
    """The server says where it is, keeps a log of who came and went, and tells the members when it ends."""

    @unittest.skipIf(os.name == "nt", "Windows has no SIGTERM to send")
    def test_it_logs_who_came_and_went_and_tells_the_members_when_a_signal_ends_it(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            server = self.serve()
            alice = self.member(server.port, "alice")
            server.expect(r"alice joined from 127\.0\.0\.1:\d+ \(1 here\)")
            self.client(server.port, "bob").finish("x\n")
            server.expect(r"bob left \(1 here\)")
            server.process.send_signal(number)
            alice.event("disconnected")
            code, out, _ = server.finish()
            self.assertEqual(0, code)
            self.assertNotIn("warning", out)
        advice = "on this machine only: %s samsungchat.py client " % re.escape(os.path.basename(sys.executable))
        self.serve(SAMSUNGCHAT_PASSWORD="").expect(advice + r".*\s+.*warning: the default password is in use")

    @unittest.skipUnless(sys.platform == "linux", "asks Linux how much of a pipe is full")
    def test_a_log_that_nobody_reads_stops_neither_the_room_nor_its_end(self):
        import fcntl
        import termios

        server = self.serve(terminal="stdin", changed="chat.LOG_LINES_MAX = 30")
        log = server.process.stdout
        fcntl.fcntl(log, 1031, 4096)  # F_SETPIPE_SZ: as small as a pipe can be.

        def nobody_reads():
            size = lambda: int.from_bytes(fcntl.ioctl(log, termios.FIONREAD, bytes(4)), sys.byteorder)  # noqa: E731
            wait_for(lambda: size() > 3800, "the pipe never fills", lambda: server.type("/help\n") or time.sleep(0.005))
            server.type("/help\n" * 9)

        nobody_reads()
        ann = self.member(server.port, "ann")
        server.expect("close the room")
        told = lambda: re.search(r"\.\.\. \d+ lines missing here: nobody read the log", server.shown("out"))  # noqa: E731
        wait_for(told, "it says nothing of it", lambda: server.type("/help\n") or time.sleep(0.005))
        nobody_reads()
        other = self.serve()
        other.close_output()
        self.client(other.port, "eve").finish("x\n")  # Something that cannot be written.
        other.expect("standard output was closed; the room goes on without a log", "err")
        self.client(other.port, "eve").finish("x\n")
        server.process.send_signal(signal.SIGTERM)
        ann.event("disconnected")
        self.assertEqual(0, server.process.wait(DEADLINE_SECONDS))

    def test_what_cannot_work_is_said_in_one_sentence_and_changes_nothing(self):
        folder = temporary_folder(self)
        room, none, *files = [os.path.join(folder, name) for name in ("room.db", "no/such", *"0123")]
        for path, text in zip(files, ("Dear diary,\nno more!\n", "", "\n", "one\n\n")):
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        port, cases = self.serve("--history", room).port, []
        for *arguments, code, sentence in (
            *(("--password-file", path, 2, "must have one line") for path in files),
            ("--password-file", none, 2, "Cannot read the password file"),
            ("--keep", "3", 2, "--history"),
            ("--export", "-", 2, "--history"),
            ("--json", 2, "--export"),
            ("--history", room, 2, "is in use by another server"),
            ("--history", files[0], 2, "is not a history of SamsungChat"),
            ("--history", none, 2, "cannot be opened"),
            ("--history", room, "--export", files[0], 1, "is there already; choose another name"),
            ("--history", room, "--export", none, 1, "check the folder"),
            ("--history", none, "--export", "-", 2, "There is no file"),
            ("--room", "", 2, "room's name"),
            ("--port", "99999", 2, "0 to 65535"),
            ("--port", str(port), 1, "in use"),
            ("--host", "203.0.113.1", 1, "no address of this machine"),
            ("client", "127.0.0.1", "--name", "a b", 2, "no spaces"),
            ("client", "not a host", 2, "HOST:PORT"),
            ("client", "127.0.0.1:5", "--port", "6", 2, "name two ports"),
        ):
            if arguments[0] != "client":
                arguments = ["server", "--host", "127.0.0.1", "--port", "0", *arguments]
            cases.append((self.start(*arguments, "--cli"), arguments, code, sentence))
        for program, arguments, code, sentence in cases:
            with self.subTest(arguments):
                found, out, err = program.finish()
                self.assertEqual((code, ""), (found, out))
                self.assertRegex(err, r"^(usage: (?s:.*)\n)?samsungchat.*%s.*\n\Z" % sentence)
        self.assertEqual("Dear diary,\nno more!\n", read_text(files[0]))
        self.assertEqual(0, self.client(port, "ann").finish("it still works\n")[0])

    @unittest.skipIf(os.name == "nt", "Windows sends no Ctrl-C to one process, and has no full device")
    def test_ctrl_c_while_it_is_loaded_and_a_full_disk_under_help_are_no_tracebacks(self):
        ends = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
        with subprocess.Popen([sys.executable, "-X", "importtime", SOURCE, "server"], **ends) as program:
            next(line for line in program.stderr if "argparse" in line)
            program.send_signal(signal.SIGINT)
            self.assertNotIn("Traceback", program.stderr.read())
        self.assertEqual(-signal.SIGINT, program.returncode)
        with open("/dev/full" if sys.platform == "linux" else os.devnull, "w") as full:
            done = subprocess.run([sys.executable, SOURCE, "--help"], stdout=full, stderr=subprocess.PIPE)
        said = b"samsungchat: there is no space left for standard output\n"
        self.assertEqual((1, said) if sys.platform == "linux" else (0, b""), (done.returncode, done.stderr))

    def test_the_file_is_a_program(self):
        done = subprocess.run([sys.executable, SOURCE, "--version"], capture_output=True, timeout=DEADLINE_SECONDS)
        self.assertEqual("samsungchat %s" % chat.__version__, done.stdout.decode().strip())


# ======================================================================================================
# The command line of the tests
# ======================================================================================================


# Each part of a soak by what it counts: what takes a seed, and its share of the time.
SOAKS = {
    "storms": (run_storm, 0.65),
    "storms of up to 200": (lambda seed: run_storm(seed, 20 + seed % 181, 25), 0.15),
    "times 20,000 mutated inputs": (run_fuzz, 0.1),
    "times 2,000 lies": (run_liars, 0.1),
}


def soak(seconds, parts):
    """Run every part once, and then with fresh seeds until the time is up; return the exit status."""
    first = seed = int.from_bytes(os.urandom(4), "big")
    began, failed, counts, used = time.monotonic(), [], collections.Counter(), dict.fromkeys(parts, 0.0)
    while len(failed) < 20 and (time.monotonic() < began + seconds or not all(used.values())):
        name = min(parts, key=lambda name: used[name] / parts[name][1])
        started = time.monotonic()
        try:
            parts[name][0](seed)
        except AssertionError as fault:
            failed.append("%s %d" % (name, seed))
            print(fault, flush=True)
        used[name] += time.monotonic() - started
        counts[name] += 1
        seed += 1
    done = ", ".join("%d %s" % (count, name) for name, count in counts.items())
    print("%d seeds from %d: %s; failed: %s" % (seed - first, first, done, ", ".join(failed) or "none"))
    return 1 if failed else 0


def run_tests():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--soak", type=float, metavar="SECONDS")
    options, chosen = parser.parse_known_args()
    if options.soak is not None:
        sys.exit(soak(options.soak, SOAKS))
    if "SEED" in os.environ:
        chosen.append("WeatherTest.test_every_view_is_the_log_whatever_the_weather")
    if chosen:
        unittest.main(argv=sys.argv[:1] + chosen)
    sys.exit(run_all())


def run_all():
    """Run everything in four processes, for most of it waits: for other processes, or for windows."""
    cases = [each for each in globals().values() if isinstance(each, type) and issubclass(each, unittest.TestCase)]
    # Windows of two processes would take each other's focus.
    windows = [each for each in cases if "Window" in each.__name__]
    outside = [each for each in cases if issubclass(each, OutsideCase) and each not in windows]
    started = time.monotonic()
    command = [sys.executable, os.path.abspath(__file__)]
    ends = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8"}
    with tempfile.TemporaryDirectory() as compiled:  # Once for all: a start takes a third of its time.
        known = {**os.environ, "PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
        load = unittest.defaultTestLoader.loadTestsFromTestCase
        waiting = [test.id().split(".", 1)[1] for each in outside for test in load(each)]
        apart = ([each.__name__ for each in windows], waiting[::2], waiting[1::2])
        beside = [subprocess.Popen(command + names, env=known, **ends) for names in apart]
        here = [each for each in cases if each not in windows + outside]
        result = unittest.TextTestRunner().run(unittest.TestSuite(map(load, here)))
        outs = [each.communicate()[0] for each in beside]
    print("\n".join(outs), file=sys.stderr)
    count = result.testsRun + sum(int(re.findall(r"^Ran (\d+) tests?", out, re.MULTILINE)[-1]) for out in outs)
    good = result.wasSuccessful() and not any(each.returncode for each in beside)
    print("Ran %d tests in all in %.0f s: %s" % (count, time.monotonic() - started, "OK" if good else "FAILED"))
    return 0 if good else 1


if __name__ == "__main__":
    run_tests()
