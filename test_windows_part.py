"""The windows, driven as a person drives them, on whatever display there is; merged into test_samsungchat.py."""

import os
import queue
import subprocess
import sys
import tempfile
import time
import unittest

import samsungchat as chat

os.environ["SAMSUNGCHAT_DISCOVERY"] = "127.255.255.255"

try:
    _root = chat.open_root()
    _root.update_idletasks()
    _root.destroy()
    NO_WINDOWS = ""
except chat.UsageError as fault:
    NO_WINDOWS = str(fault)


def start_room(port=0, password="secret", room="Lab 1"):
    """Start a real server on loopback; return its loop and its port."""
    sockets = chat.open_server_sockets("127.0.0.1", port)
    now = time.monotonic()
    epoch = time.time() - now
    server = chat.Server(chat.MemoryLog(int(time.time() * 1000)), password, os.urandom, now, epoch, room)
    loop = chat.Loop(server, sockets, lambda event: None)
    bound = sockets[0].getsockname()[1]
    loop.start()
    return loop, bound


class Guest:
    """A member without a screen: what it hears can be asked for."""

    def __init__(self, port, name, password="secret"):
        self.events = queue.SimpleQueue()
        self.heard = []
        self.loop = chat.start_client(self.events.put, 50)
        chat.start_login(self.loop, "127.0.0.1", port, name, password)
        self.wait_for(chat.Connected)

    def wait_for(self, kind, seconds=10.0):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            event = self.events.get(timeout=max(until - time.monotonic(), 0.01))
            self.heard.append(event)
            if isinstance(event, kind):
                return event
        raise AssertionError("no %s came" % kind.__name__)

    def say(self, text, **more):
        self.loop.call(lambda now: self.loop.core.say(text, now, **more))

    def leave(self):
        self.loop.call(self.loop.core.leave)
        self.loop.join(2.0)


class WindowTest(unittest.TestCase):
    """What windows share: a display, a fault of any callback fails the test, and no test sleeps."""

    def setUp(self):
        if NO_WINDOWS:
            self.skipTest(NO_WINDOWS)
        self.faults = []
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        for name in ("XDG_CONFIG_HOME", "APPDATA"):
            before = os.environ.get(name)
            os.environ[name] = folder.name
            self.addCleanup(lambda name=name, before=before: _restore(name, before))

    def open(self, make):
        root = chat.open_root()
        window = make(root)
        root.report_callback_exception = lambda kind, fault, trace: self.faults.append(fault)
        root.deiconify()
        self.addCleanup(self.shut, window)
        return window

    def open_client(self, port=0, name="", password="", theme="light"):
        options = chat.ClientOptions("127.0.0.1" if port else None, port or chat.PORT, name, password, 50)
        return self.open(lambda root: chat.ClientWindow(root, options, chat.Settings(theme=theme)))

    def open_server(self, port=0, theme="light", members_max=10):
        def open_room(port):
            sockets = chat.open_server_sockets("127.0.0.1", port)
            now = time.monotonic()
            log = chat.MemoryLog(int(time.time() * 1000))
            return chat.Server(log, "secret", os.urandom, now, time.time() - now, "Lab 1", members_max), sockets

        options = chat.ServerOptions(open_room, port, "Lab 1", "secret", "", members_max)
        return self.open(lambda root: chat.ServerWindow(root, options, chat.Settings(theme=theme)))

    def shut(self, window):
        if not window.closed:
            chat.Window.close(window)
        window.leave()
        self.assertEqual(self.faults, [])

    def wait(self, window, condition, seconds=10.0):
        """Run the window until the condition holds."""
        until = time.monotonic() + seconds
        while not condition():
            if self.faults:
                raise self.faults[0]
            if time.monotonic() > until:
                raise AssertionError("it did not come about")
            if not window.root.tk.dooneevent(2):
                time.sleep(0.002)
        self.assertEqual(self.faults, [])


def _restore(name, value):
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


# --- screenshots

POEM = "def area(radius):\n    # of a circle\n    return 3.14159 * radius ** 2\n\nprint(area(2))"


def _picture(window, path):
    window.root.lift()
    until = time.monotonic() + 0.6
    while time.monotonic() < until:
        window.root.update()
        time.sleep(0.01)
    ident = window.root.winfo_id()
    frame = window.root.tk.call("wm", "frame", ".") if not ident else hex(ident)
    subprocess.run(["import", "-window", str(frame), path], check=True)


def _converse(port):
    guests = {name: Guest(port, name) for name in ("bob", "\u0410\u043d\u043d\u0430", "mei")}
    return guests


def take_screenshots(folder):
    """Put a picture of each window in each theme into the folder."""
    os.makedirs(folder, exist_ok=True)
    case = WindowTest("wait")
    case.faults = []
    for theme in ("light", "dark"):
        take_theme(case, folder, theme)


def take_theme(case, folder, theme):
    server = case.open_server(0, theme)
    port = server._loop._sockets[0].getsockname()[1]
    server.root.geometry("+1000+500")
    guests = _converse(port)
    bob, anna, mei = guests.values()
    bob.say("Good morning! The projector in room 2 works again.")
    bob.wait_for(chat.Sent)
    client = case.open_client(port, "alice", "secret", theme)
    case.wait(client, lambda: client._entered)
    client.root.focus_force()
    bob.say("Slides are at https://example.org/lab/slides.html (the password is on the board).")
    bob.wait_for(chat.Sent)
    mei.say("\u65e9\u4e0a\u597d \U0001f389 see you at ten")
    mei.wait_for(chat.Sent)
    client.send("Thanks, Bob. I will be there a little early, because the network in the back row needs a look.")
    case.wait(client, lambda: not client.transcript.status.waiting)
    anna.say("\u041f\u0440\u0438\u0432\u0435\u0442! Has anybody got the exercise from last week?")
    anna.wait_for(chat.Sent)
    bob.say(POEM)
    bob.wait_for(chat.Sent)
    mei.say("stretches and makes coffee", action=True)
    mei.wait_for(chat.Sent)
    anna.say("alice, that was yours, wasn't it?")
    anna.wait_for(chat.Sent)
    client.send("Yes \U0001f600")
    case.wait(client, lambda: not client.transcript.status.waiting)
    bob.say("I can lend you my cable, come by later.", to_name="alice")
    bob.wait_for(chat.Sent)
    server._loop.call(lambda now: server._server.say("Backup tonight at 22:00; please log out before.", now))
    carol = Guest(port, "carol")
    case.wait(client, lambda: "carol" in client.transcript.members())
    client.composer = client.chat.composer
    client.chat.composer.set("/msg bob Great, thank you!")
    case.wait(client, lambda: not client.inbox.qsize())
    _picture(client, os.path.join(folder, "client-%s.png" % theme))
    if Shot.extra:
        Shot.extra(client, folder, theme)
    chat.Window.close(client)
    client.leave()
    case.wait(server, lambda: len(server.table.tree.get_children()) == 4)
    _picture(server, os.path.join(folder, "server-%s.png" % theme))
    if Shot.server:
        Shot.server(server, folder, theme)
    for guest in (*guests.values(), carol):
        guest.leave()
    chat.Window.close(server)
    server.leave()
    case.doCleanups()


class Shot:
    extra = None
    server = None


if __name__ == "__main__":
    if "--screenshots" in sys.argv:
        take_screenshots(sys.argv[-1])
    else:
        unittest.main()
