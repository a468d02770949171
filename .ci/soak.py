#!/usr/bin/env python3
"""Exhaust samsungchat.py: real processes that are killed and stopped, full disks, damaged histories.

    python .ci/soak.py SECONDS    fresh seeds until the time is up, every part at least once

The storms on the simulated network have fresh seeds with ``python test_samsungchat.py --soak SECONDS``.
"""

import collections
import contextlib
import functools
import os
import random
import signal
import socket
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import samsungchat as chat
import test_samsungchat as suite

# Makes a program's wall clock that of the system and the seconds that a file says.
JUMPING_CLOCK = """
def jumping(real=time.time, place=%r):
    with open(place) as file:
        return real() + float(file.read() or 0)
time.time = jumping
"""


class ProcessStorm:
    """Real processes in a room that is killed, stopped and flooded; every text is there exactly once."""

    def __init__(self, seed, folder, stop_seconds):
        self.draw, self.stop_seconds, self.steps = random.Random(seed).random, stop_seconds, []
        self.folder, self.history = folder, os.path.join(folder, "history-%d" % seed)
        self.port = self.said = self.came = 0
        self.clients = {}  # By name.
        self.given = collections.defaultdict(list)  # By name: what was typed.
        self.serve()
        for _ in range(3):
            self.come()

    def start(self, name, *arguments):
        self.set_clock(name, 0)
        return suite.Program(*arguments, changed=JUMPING_CLOCK % os.path.join(self.folder, name))

    def set_clock(self, name, seconds):
        place = os.path.join(self.folder, name)
        with open(place + ".new", "w") as file:
            file.write(str(seconds))
        os.replace(place + ".new", place)

    def serve(self):
        place = ("--host", "127.0.0.1", "--port", str(self.port), "--history", self.history, "--rate", "0")
        self.server = self.start("server", "server", "--cli", *place)
        self.port = int(self.server.expect(r"listening on 127\.0\.0\.1:(\d+)\r?\n")[1])

    def come(self):
        self.came += 1
        name = "p%d" % self.came
        where = ("client", "--cli", "127.0.0.1:%d" % self.port, "--name", name, "--json", "--stay")
        self.clients[name] = self.start(name, *where)
        # Who never was in the room rightly gives up, or is told only the newest of what was said before.
        self.wait("%s does not get in" % name, lambda: self.clients[name].events("connected"))

    def pick(self):
        return list(self.clients)[int(self.draw() * len(self.clients))]

    def type(self, name, text):
        self.given[name].append(text)
        self.clients[name].type(text + "\n")

    def say(self):
        name = self.pick()
        for _ in range(1 + int(self.draw() * 40)):
            self.said += 1
            self.type(name, "text %d" % self.said)

    def kill_server(self):
        self.server.end()
        time.sleep(self.draw() * 2)
        self.serve()

    def kill_client(self):
        self.clients.pop(self.pick()).end()
        self.come()

    def stop(self):
        """Suspend a process.  A server for less than the minute after which a pipe gives the connection up."""
        if not hasattr(signal, "SIGSTOP"):
            return
        of_server = self.draw() < 0.3
        process = (self.server if of_server else self.clients[self.pick()]).process
        process.send_signal(signal.SIGSTOP)
        time.sleep(self.draw() * min(self.stop_seconds, 50 if of_server else 70))
        process.send_signal(signal.SIGCONT)

    def flood(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            for number in range(3000):
                junk = bytes((chat.VERSION_BYTE, number % 20)) + os.urandom(int(self.draw() * 200))
                out.sendto(junk, ("127.0.0.1", self.port))

    def jump(self):
        """Set the clock of the server or of a client by up to a day, in either direction."""
        self.set_clock("server" if self.draw() < 0.5 else self.pick(), (self.draw() - 0.5) * 2 * 86400)

    ACTIONS = (say, say, say, say, say, say, kill_server, kill_client, stop, flood, jump)

    def run(self, until):
        while time.monotonic() < until:
            action = self.ACTIONS[int(self.draw() * len(self.ACTIONS))]
            self.steps.append(action.__name__)
            action(self)
            self.read()
            time.sleep(self.draw())
        self.check()

    def read(self):
        """Take what all of them have printed, or they would stand still in front of full pipes."""
        return [program for program in (self.server, *self.clients.values()) if program.ended()]

    def wait(self, what, so):
        end = time.monotonic() + 60
        while not so():
            if time.monotonic() > end:
                ends = ["%s: %s" % (name, client.shown()[-300:]) for name, client in self.clients.items()]
                raise AssertionError("\n".join([what, "server: " + self.server.shown()[-600:], *ends]))
            self.read()
            time.sleep(0.1)

    def check(self):
        """Say a last text; when all have it, whatever was confirmed is in the history and on screens once."""
        last = "the end"
        self.type(next(iter(self.clients)), last)
        for name in self.clients:
            late = "%s has not heard the last text, or has no receipts" % name
            self.wait(late, functools.partial(self.has_caught_up, name, last))
        assert not self.read(), "somebody has ended"
        written = list(chat.read_history(self.history))
        texts = [entry.text for _, entry in written if entry.kind == chat.TEXT]
        assert len(set(texts)) == len(texts), "a text is in the history twice"
        for name in self.clients:
            self.check_client(name, written)

    def has_caught_up(self, name, last):
        client, given = self.clients[name], self.given[name]
        return len(client.events("sent")) >= len(given) and (last in given or client.events("message", text=last))

    def check_client(self, name, written):
        """What one was shown is the history from its first line on; each receipt names its own text there."""
        client = self.clients[name]
        shown = [(event["seq"], event["text"]) for event in client.events("message")]
        assert [seq for seq, _ in shown] == sorted({seq for seq, _ in shown}), "%s was shown something twice" % name
        said = [(seq, entry) for seq, entry in written if entry.kind == chat.TEXT]
        others = [(seq, entry.text) for seq, entry in said if entry.name != name and shown and seq >= shown[0][0]]
        assert shown[: len(others)] == others[: len(shown)], "%s saw %s" % (name, suite.difference(shown, others))
        by_seq = {seq: (entry.name, entry.text) for seq, entry in said}
        receipts = [(event["number"], event["seq"]) for event in client.events("sent")]
        assert [number for number, _ in receipts] == list(range(1, len(receipts) + 1)), "receipts of %s" % name
        for number, seq in receipts:
            assert by_seq.get(seq) == (name, self.given[name][number - 1]), "receipt %d of %s is false" % (seq, name)

    def close(self):
        for program in (self.server, *self.clients.values()):
            program.end()


def soak_processes(seed):
    """Storm with real processes; a failure tells the seed and the steps."""
    with tempfile.TemporaryDirectory() as folder:
        storm = ProcessStorm(seed, folder, 70.0 if seed % 8 == 0 else 4.0)
        try:
            storm.run(time.monotonic() + 8)
        except (AssertionError, OSError, chat.UsageError) as fault:
            raise AssertionError("processes, seed %d: %s\nsteps: %s" % (seed, fault, storm.steps)) from fault
        finally:
            storm.close()


def serve_from(path):
    """Do with a history what a server does."""
    with contextlib.closing(chat.Log(1, path)) as log:
        cut = list(chat.batches(log, log.oldest - 1, log.head, None))
        assert not cut or cut[-1][1] == log.head, "%s of %d" % (cut[-1][:2], log.head)
        for first, _, entries in cut:
            chat.decode_batch(chat.encode_batch(log.head, first, entries))
        log.start(50, log.head + 1)
        log.taken(b"a" * 8)


def soak_history_file(seed):
    """Damage a history: opening and reading it, and serving from it, work or say a sentence."""
    draw = random.Random(seed).random
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "history")
        log = chat.Log(1, path)
        log.append([suite.record(entry) for entry in suite.ENTRIES * 20 if entry.kind != chat.SKIP])
        log.commit()
        log.close()
        with open(path, "rb") as file:
            whole = file.read()
        for _ in range(20):
            with open(path, "wb") as file:
                file.write(suite.mutated(whole, draw))
            try:
                with contextlib.suppress(chat.UsageError):
                    list(chat.read_history(path))
                with contextlib.suppress(chat.UsageError, chat.LogFailure):
                    serve_from(path)
            except Exception as fault:
                raise AssertionError("history file, seed %d: %r" % (seed, fault)) from fault


def soak_full_disk(seed):
    """Let a server write until its files may not grow: nothing is confirmed that is not written."""
    if sys.platform != "linux":
        return  # Nothing else limits another process.
    import resource

    with tempfile.TemporaryDirectory() as folder:
        storm = ProcessStorm(seed, folder, 0.0)
        try:
            bound = os.path.getsize(storm.history + "-wal") + 30_000
            resource.prlimit(storm.server.process.pid, resource.RLIMIT_FSIZE, (bound, bound))
            storm.wait("the disk was never full", lambda: storm.say() or "full" in storm.server.shown())
            time.sleep(2)
            storm.kill_server()
            storm.check()
        except (AssertionError, OSError, chat.UsageError) as fault:
            raise AssertionError("full disk, seed %d: %s" % (seed, fault)) from fault
        finally:
            storm.close()


SOAKS = {
    "storms of processes": (soak_processes, 0.6),
    "damaged histories": (soak_history_file, 0.2),
    "full disks": (soak_full_disk, 0.2),
}

if __name__ == "__main__":
    sys.exit(suite.soak(float(sys.argv[1]), SOAKS))
