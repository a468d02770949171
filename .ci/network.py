#!/usr/bin/env python3
"""Two switches without a gateway, in network namespaces: found, roaming, without a cable; needs root and iproute2."""

import os
import queue
import shutil
import subprocess
import sys
import threading
import time

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "samsungchat.py")
SPACE = "chat%d-" % os.getpid()
PLACES = ("switches", "server", "second", "ann", "bob")
CABLES = [("server", "left", "10.77.1.1"), ("server", "right", "10.77.2.1"), ("second", "right", "10.77.2.9")]
CABLES += [("ann", "left", "10.77.1.2"), ("bob", "right", "10.77.2.2")]


def ip(place, *words):
    subprocess.run(["ip", "-n", SPACE + place, *words], check=True, timeout=20)


def build():
    for place in PLACES:
        subprocess.run(["ip", "netns", "add", SPACE + place], check=True, timeout=20)
        ip(place, "link", "set", "lo", "up")
    for switch in ("left", "right"):
        ip("switches", "link", "add", switch, "type", "bridge")
        ip("switches", "link", "set", switch, "up")
    for place, switch, address in CABLES:
        plug = "%s-%s" % (place, switch)
        ip("switches", "link", "add", plug, "type", "veth", "peer", "name", switch, "netns", SPACE + place)
        ip("switches", "link", "set", plug, "master", switch, "up")
        ip(place, "addr", "add", address + "/24", "broadcast", "+", "dev", switch)
        ip(place, "link", "set", switch, "up")


class Program:
    """The program at a place.  What it prints is waited for with a deadline."""

    def __init__(self, place, *arguments):
        command = ["ip", "netns", "exec", SPACE + place, sys.executable, PROGRAM, *arguments, "--cli"]
        environment = {**os.environ, "SAMSUNGCHAT_PASSWORD": "secret", "SAMSUNGCHAT_DISCOVERY": ""}
        ways = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(command, env=environment, encoding="utf-8", bufsize=1, **ways)
        self.lines, self.seen = queue.SimpleQueue(), []
        threading.Thread(target=lambda: [self.lines.put(line) for line in self.process.stdout], daemon=True).start()

    def say(self, text):
        self.process.stdin.write(text + "\n")

    def expect(self, *words):
        until = time.monotonic() + 30
        while not all(any(word in line for line in self.seen) for word in words):
            try:
                self.seen.append(self.lines.get(timeout=max(0.01, until - time.monotonic())))
            except queue.Empty:
                raise SystemExit("%s: %s expected, seen: %s" % (self.process.args, words, self.seen)) from None
            assert '"left"' not in self.seen[-1], self.seen[-1]


def check(start):
    def talk(word):
        for name, one, other in (("ann", ann, bob), ("bob", bob, ann)):
            one.say("%s says: %s" % (name, word))
            other.expect("%s says: %s" % (name, word))
        print("ok:", word, flush=True)

    start("server", "server", "--room", "Lab 1").expect("listening on 0.0.0.0:11111", "10.77.1.1", "10.77.2.1")
    ann, bob = (start(name, "client", "--json", "--stay", "--name", name) for name in ("ann", "bob"))
    talk("found on both networks")
    for place, address in (("ann", "10.77.1.1"), ("bob", "10.77.2.1:11111")):
        start(place, "client", address, "--name", place + "-2").say("typed " + address)
        bob.expect("typed " + address)
    start("bob", "client", "--name", "ann").expect("USERNAME_TAKEN")
    talk("addresses typed, a name taken")
    ip("ann", "addr", "del", "10.77.1.2/24", "dev", "left")
    ip("ann", "addr", "add", "10.77.1.77/24", "broadcast", "+", "dev", "left")
    talk("another address")
    ip("switches", "link", "set", "bob-right", "down")
    ann.say("while the cable was out")
    time.sleep(8)
    ip("switches", "link", "set", "bob-right", "up")
    bob.expect("while the cable was out")
    talk("eight seconds without a cable")
    start("second", "server", "--host", "10.77.2.9", "--room", "Lab 2").expect("10.77.2.9")
    start("bob", "client", "--name", "carl").expect("Lab 1", "Lab 2")
    start("ann", "client", "--json", "--name", "carl").expect('"room": "Lab 1"')
    talk("two servers on one network, one on the other")


def main():
    if not shutil.which("ip") or subprocess.call(["unshare", "--net", "true"], stderr=subprocess.DEVNULL):
        print("Made-up networks need Linux, root and iproute2: nothing was checked here.")
        return
    programs = []
    try:
        build()
        check(lambda *arguments: programs.append(Program(*arguments)) or programs[-1])
    finally:
        for program in programs:
            program.process.kill()
            program.process.wait()
        for place in PLACES:
            subprocess.run(["ip", "netns", "del", SPACE + place], stderr=subprocess.DEVNULL, timeout=20)


if __name__ == "__main__":
    main()
