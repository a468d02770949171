#!/usr/bin/env python3
"""Exhaust samsungchat.py: real processes that are killed and stopped, full disks, damaged histories.

    python .ci/soak.py SECONDS    fresh seeds until the time is up, every part at least once

The storms on the simulated network have fresh seeds with ``python test_samsungchat.py --soak SECONDS``.
"""

import collections
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import samsungchat as chat
import test_samsungchat as suite

JUMPING_CLOCK = """
import os, runpy, sys, time
place, real = sys.argv.pop(1), time.time
def jumping():
    with open(place) as file:
        return real() + float(file.read() or 0)
time.time = jumping
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class ProcessStorm:
    """Real processes in a room that is killed, stopped and flooded; every text is there exactly once."""

    def __init__(self, seed, folder, stop_seconds):
        self.draw, self.stop_seconds, self.steps = random.Random(seed).random, stop_seconds, []
        self.folder, self.history = folder, os.path.join(folder, "history-%d" % seed)
        self.port = self.said = self.came = 0
        self.clients = {}  # By name: the process and the list of the objects that it has printed.
        self.given = collections.defaultdict(list)  # By name: what was typed.
        self.server, self.log = None, []
        self.serve()
        for _ in range(3):
            self.come()

    def start(self, name, *arguments):
        self.set_clock(name, 0)
        environment = {**os.environ, "SAMSUNGCHAT_PASSWORD": "s"}
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        command = [sys.executable, "-c", JUMPING_CLOCK, os.path.join(self.folder, name), chat.__file__, *arguments]
        return subprocess.Popen(command, encoding="utf-8", bufsize=1, env=environment, **options)

    def set_clock(self, name, seconds):
        place = os.path.join(self.folder, name)
        with open(place + ".new", "w") as file:
            file.write(str(seconds))
        os.replace(place + ".new", place)

    def serve(self):
        place = ("--host", "127.0.0.1", "--port", str(self.port), "--history", self.history, "--rate", "0")
        server = self.server = self.start("server", "server", "--cli", *place)
        self.port = int(server.stdout.readline().rsplit(":", 1)[1])
        threading.Thread(target=lambda: self.log.extend(server.stdout), daemon=True).start()

    def come(self):
        self.came += 1
        name = "p%d" % self.came
        process = self.start(name, "client", "--cli", "127.0.0.1:%d" % self.port, "--name", name, "--json", "--stay")
        lines = []
        threading.Thread(target=lambda: lines.extend(map(json.loads, process.stdout)), daemon=True).start()
        self.clients[name] = (process, lines)
        # Who never was in the room rightly gives up, or is told only the newest of what was said before.
        self.wait("%s does not get in" % name, lambda: any(line["event"] == "connected" for line in list(lines)))

    def pick(self):
        return list(self.clients)[int(self.draw() * len(self.clients))]

    def type(self, name, text):
        self.given[name].append(text)
        self.clients[name][0].stdin.write(text + "\n")

    def say(self):
        name = self.pick()
        for _ in range(1 + int(self.draw() * 40)):
            self.said += 1
            self.type(name, "text %d" % self.said)

    def kill_server(self):
        self.server.kill()
        self.server.wait()
        time.sleep(self.draw() * 2)
        self.serve()

    def kill_client(self):
        process, _ = self.clients.pop(self.pick())
        process.kill()
        process.wait()
        self.come()

    def stop(self):
        """Suspend a process.  A server for less than the minute after which a pipe gives the connection up."""
        if not hasattr(signal, "SIGSTOP"):
            return
        of_server = self.draw() < 0.3
        process = self.server if of_server else self.clients[self.pick()][0]
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
            time.sleep(self.draw())
        self.check()

    def wait(self, what, so):
        end = time.monotonic() + 60
        while not so():
            if time.monotonic() > end:
                raise AssertionError("%s\n%s" % (what, "\n".join(self.state())))
            time.sleep(0.1)

    def state(self):
        """Yield what the server has logged last, and where each client stands."""
        yield "server: %s" % "".join(self.log[-8:])
        for name, (process, lines) in self.clients.items():
            events = [line for line in list(lines) if line["event"] not in ("message", "sent", "joined", "left")]
            receipts = sum(line["event"] == "sent" for line in list(lines))
            facts = (name, process.poll(), receipts, len(self.given[name]), events[-3:])
            yield "%s: exit status %s, %d of %d receipts, last events %s" % facts

    def check(self):
        """Say a last text; when all have it, whatever was confirmed is in the history and on screens once."""
        first, last = next(iter(self.clients)), "the end"
        self.type(first, last)
        for name, (process, _) in self.clients.items():
            self.wait("%s has not heard the last text, or has no receipts" % name, self.has_caught_up(name, last))
            assert process.poll() is None, "%s has ended" % name
        written = list(chat.read_history(self.history))
        texts = [entry.text for _, entry in written if entry.kind == chat.TEXT]
        assert len(set(texts)) == len(texts), "a text is in the history twice"
        for name, (_, lines) in self.clients.items():
            self.check_client(name, list(lines), written)

    def has_caught_up(self, name, last):
        """Return what tells whether one has that text and a receipt for each of its own."""

        def so():
            lines = list(self.clients[name][1])
            heard = last in self.given[name] or any(line.get("text") == last for line in lines)
            return heard and sum(line["event"] == "sent" for line in lines) >= len(self.given[name])

        return so

    def check_client(self, name, lines, written):
        """What one was shown is the history from its first line on; each receipt names its own text there."""
        shown = [(line["seq"], line["text"]) for line in lines if line["event"] == "message"]
        assert [seq for seq, _ in shown] == sorted({seq for seq, _ in shown}), "%s was shown something twice" % name
        said = [(seq, entry) for seq, entry in written if entry.kind == chat.TEXT]
        others = [(seq, entry.text) for seq, entry in said if entry.name != name and shown and seq >= shown[0][0]]
        assert shown[: len(others)] == others[: len(shown)], "%s saw %s" % (name, suite.difference(shown, others))
        by_seq = {seq: (entry.name, entry.text) for seq, entry in said}
        receipts = [(line["number"], line["seq"]) for line in lines if line["event"] == "sent"]
        assert [number for number, _ in receipts] == list(range(1, len(receipts) + 1)), "receipts of %s" % name
        for number, seq in receipts:
            assert by_seq.get(seq) == (name, self.given[name][number - 1]), "receipt %d of %s is false" % (seq, name)

    def close(self):
        for process in [self.server] + [process for process, _ in self.clients.values()]:
            process.kill()
            process.wait()
            with contextlib.suppress(BrokenPipeError):  # What was typed for one that has ended.
                process.stdin.close()


def soak_processes(seed, until):
    """Storm with real processes for half a minute and more; a failure tells the seed and the steps."""
    with tempfile.TemporaryDirectory() as folder:
        storm = ProcessStorm(seed, folder, 70.0 if until - time.monotonic() > 300 else 6.0)
        try:
            storm.run(min(until, time.monotonic() + 30))
        except (AssertionError, OSError, chat.UsageError) as fault:
            raise AssertionError("processes, seed %d: %s\nsteps: %s" % (seed, fault, storm.steps)) from fault
        finally:
            storm.close()
    return len(storm.steps)


def serve_from(path):
    """Do with a history what a server does."""
    with contextlib.closing(chat.Log(1, path)) as log:
        cut = chat.batches(log, log.oldest - 1, log.head, None, 10_000)
        assert not cut or cut[-1][1] == log.head, "%s of %d" % (cut[-1][:2], log.head)
        for first, _, entries in cut:
            chat.decode_batch(chat.encode_batch(log.head, first, entries))
        log.start(50, log.head + 1)
        log.taken(b"a" * 8)


def soak_history_file(seed, until):
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
                with contextlib.suppress(chat.UsageError, chat.LogFailure), contextlib.closing(
                    chat.Log(1, path)
                ) as log:
                    cut = chat.batches(log, log.oldest - 1, log.head, None, 10_000)
                    assert not cut or cut[-1][1] == log.head, "%s of %d" % (cut[-1][:2], log.head)
                    for first, _, entries in cut:
                        chat.decode_batch(chat.encode_batch(log.head, first, entries))
                    log.start(50, log.head + 1)
                    log.taken(b"a" * 8)
            except Exception as fault:
                raise AssertionError("history file, seed %d: %r" % (seed, fault)) from fault
    return 20


def soak_full_disk(seed, until):
    """Let a server write until its files may not grow: nothing is confirmed that is not written."""
    if sys.platform != "linux":
        return 0  # Nothing else limits another process.
    import resource

    with tempfile.TemporaryDirectory() as folder:
        storm = ProcessStorm(seed, folder, 0.0)
        try:
            bound = os.path.getsize(storm.history + "-wal") + 30_000
            resource.prlimit(storm.server.pid, resource.RLIMIT_FSIZE, (bound, bound))
            storm.wait("the disk was never full", lambda: storm.say() or any("full" in line for line in storm.log))
            time.sleep(2)
            storm.kill_server()
            storm.check()
        except (AssertionError, OSError, chat.UsageError) as fault:
            raise AssertionError("full disk, seed %d: %s" % (seed, fault)) from fault
        finally:
            storm.close()
    return storm.said


# Each part's share of the time, and what it counts.  The one that fills the time comes last.
SOAKS = (
    (soak_history_file, 0.2, "damaged files"),
    (soak_full_disk, 0.2, "texts to a full disk"),
    (soak_processes, 0.6, "steps with processes"),
)


def soak(seconds):
    """Run every part once and then, with fresh seeds, for its share of the time; return the exit status."""
    first = seed = int.from_bytes(os.urandom(4), "big")
    failed, began = [], time.monotonic()
    used, counts = dict.fromkeys(SOAKS, 0.0), collections.Counter()
    while len(failed) < 20 and (time.monotonic() < began + seconds or not all(used.values())):
        part = min(SOAKS, key=lambda each: used[each] / each[1])
        started = time.monotonic()
        try:
            counts[part[2]] += part[0](seed, began + seconds)
        except AssertionError as fault:
            failed.append("%s(%d)" % (part[0].__name__, seed))
            print(fault, flush=True)
        used[part] += time.monotonic() - started
        seed += 1
    done = ", ".join("%s %s" % (format(count, ","), name) for name, count in counts.items())
    print("%d seeds from %d: %s; failed: %s" % (seed - first, first, done, ", ".join(failed) or "none"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(soak(float(sys.argv[1])))
