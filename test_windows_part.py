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


_KEPT = []  # Windows, until the end: Tk aborts when a network thread's garbage collection frees one.


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
        _KEPT.append(window)
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


class ScreenModelForWindowsTest(unittest.TestCase):
    """What windows show is decided without them, and is right for whatever strangers write."""

    def test_every_text_is_readable_on_every_surface(self):
        for palette in chat.PALETTES.values():
            surfaces = [palette.background, palette.surface, palette.own, palette.mention, palette.code]
            inks = [palette.text, palette.muted, palette.accent, palette.error, palette.good, palette.warning]
            for ink in (*inks, *palette.names):
                for surface in surfaces:
                    self.assertGreaterEqual(_contrast(ink, surface), 4.5, (ink, surface))
            for surface in (palette.accent, palette.warning):
                self.assertGreaterEqual(_contrast(palette.background, surface), 4.5)

    def test_buttons_stay_readable_when_pointed_at_and_pressed(self):
        for palette in chat.PALETTES.values():
            for ink, fill in ((palette.background, palette.accent), (palette.text, palette.background)):
                for share in (0.09, 0.18):
                    self.assertGreaterEqual(_contrast(ink, chat.blend(fill, palette.text, share)), 4.5)

    def test_links_end_where_the_sentence_goes_on(self):
        pieces = chat.split_links("see https://a.org/x_(y), (http://b.de/). ftp://c http:// javascript:alert(1)")
        self.assertEqual([piece for link, piece in pieces if link], ["https://a.org/x_(y)", "http://b.de/"])
        self.assertEqual(
            "".join(piece for _, piece in pieces),
            "see https://a.org/x_(y), (http://b.de/). ftp://c http:// javascript:alert(1)",
        )

    def test_code_is_told_from_prose(self):
        self.assertEqual(chat.split_code(POEM), [(True, POEM)])
        self.assertEqual(chat.split_code("a list:\nmilk\nbread\nand tea"), [(False, "a list:\nmilk\nbread\nand tea")])
        fenced = chat.split_code("look\n```py\nx = 1\n```\nnice")
        self.assertEqual(fenced, [(False, "look"), (True, "x = 1"), (False, "nice")])

    def test_settings_survive_any_text(self):
        kept = chat.Settings("lab1:11111", "bob", "dark")
        self.assertEqual(chat.parse_settings(chat.format_settings(kept)), kept)
        for text in ("", "[]", "{", '{"server": 5, "name": ["x"]}', "null", "[" * 100000):
            self.assertEqual(chat.parse_settings(text), chat.Settings())

    def test_what_a_tk_cannot_draw_is_described(self):
        self.assertEqual(chat.drawable("hi \U0001f600!", False), "hi :grinning face:!")
        self.assertEqual(chat.drawable("\U0001d54f \U00020000", False), "X \u25a1")
        self.assertEqual(chat.drawable("\u2713 \uc548\ub155", False), "\u2713 \uc548\ub155")

    def test_a_login_form_says_what_is_wrong_where_it_is(self):
        values, errors = chat.read_login("", "0", "two words", "")
        self.assertIsNone(values)
        self.assertEqual(sorted(errors), ["name", "password", "port", "server"])
        values, errors = chat.read_login("lab1:5", "11111", "bob", "x")
        self.assertEqual(values, chat.LoginValues("lab1", 5, "bob", "x"))

    def test_places_are_counted_as_tk_counts(self):
        self.assertEqual(chat.find_places("a\n\U0001f600 The the", "the", 2), [("2.3", "2.6"), ("2.7", "2.10")])
        self.assertEqual(chat.find_places("a", "", 2), [])

    def test_only_the_first_unread_message_has_the_line_above(self):
        transcript = chat.Transcript()
        transcript.read(False)
        said = [chat.Said(n, 0, b"", "bob", "hello", False, False, False) for n in range(3)]
        kinds = [[line.kind for line in transcript.apply(event)] for event in said]
        self.assertEqual(kinds[0][-2:], ["unread", "message"])
        self.assertEqual(kinds[1:], [["message"], ["message"]])
        transcript.read(True)
        transcript.read(False)
        self.assertEqual([line.kind for line in transcript.apply(said[0])], ["gone", "unread", "message"])

    def test_a_name_that_is_too_long_ends_in_an_ellipsis(self):
        self.assertEqual(chat.shorten("abcdefgh", 5, len), "abcd\u2026")
        self.assertEqual(chat.shorten("abc", 5, len), "abc")


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
        self.server, self.port = start_room()
        self.addCleanup(lambda: self.stop(self.server))

    def stop(self, server):
        server.call(server.core.close)
        server.join(2.0)

    def enter(self, name="alice", **more):
        window = self.open_client(self.port, name, "secret", **more)
        self.wait(window, lambda: window._entered)
        window.root.focus_force()
        self.wait(window, window.front)
        return window

    def guest(self, name):
        guest = Guest(self.port, name)
        self.addCleanup(guest.leave)
        return guest

    def shown(self, window):
        return window.chat.conversation.text.get("1.0", "end-1c")

    def type(self, window, text):
        window.chat.composer.set(text)
        window.chat.composer.enter()

    def test_a_wrong_password_is_said_at_its_field_and_everything_typed_is_kept(self):
        window = self.open_client(self.port, "alice", "wrong")
        self.wait(window, lambda: window.form.password.error.cget("text"))
        self.assertEqual(window.form.name.value.get(), "alice")
        self.assertEqual(window.form.password.value.get(), "wrong")
        window.form.password.value.set("secret")
        window.form.submit()
        self.wait(window, lambda: window._entered)
        self.assertEqual(window.chat.room.cget("text"), "Lab 1")
        self.assertEqual(chat.read_settings().name, "alice")
        self.assertNotIn("secret", chat.format_settings(chat.read_settings()))

    def test_a_name_in_use_is_said_at_the_name(self):
        self.guest("alice")
        window = self.open_client(self.port, "alice", "secret")
        self.wait(window, lambda: window.form.name.error.cget("text"))

    def test_an_empty_form_says_what_is_missing_and_where(self):
        window = self.open_client()
        window.form.server.value.set("")
        window.form.submit()
        wrong = [name for name, field in window.form.fields.items() if field.error.cget("text")]
        self.assertEqual(wrong, ["server", "password"])

    def test_a_login_that_takes_long_can_be_cancelled(self):
        window = self.open_client(9, "alice", "secret")
        self.assertTrue(window.form.busy)
        window.form.submit()
        self.assertFalse(window.form.busy)
        self.assertEqual(window.form.password.value.get(), "secret")

    def test_what_is_said_is_seen_on_both_sides(self):
        window, bob = self.enter(), self.guest("bob")
        self.type(window, "hello bob")
        self.assertEqual(bob.wait_for(chat.Said).text, "hello bob")
        self.wait(window, lambda: "hello bob\u00a0\u00a0\u2713" in self.shown(window))
        bob.say("hi \U0001f389 https://example.org/a")
        self.wait(window, lambda: "https://example.org/a" in self.shown(window))
        self.assertTrue(window.chat.conversation.text.tag_ranges("link"))
        bob.say("psst", to_name="alice")
        self.wait(window, lambda: "private to you" in self.shown(window))
        window.chat.start_private("bob")
        self.type(window, window.chat.composer.get() + "what?")
        self.assertTrue(bob.wait_for(chat.Said).private)

    def test_a_restarted_server_is_found_again_and_the_draft_is_kept(self):
        window = self.enter()
        window.chat.composer.set("a thought that is not finished")
        self.stop(self.server)
        self.wait(window, lambda: window.transcript.status.state is chat.State.RECONNECTING)
        self.assertIn("reconnecting", window.chat.state.cget("text"))
        self.server, _ = start_room(self.port)
        self.wait(window, lambda: window.transcript.status.state is chat.State.CONNECTED)
        self.assertEqual(window.chat.composer.get(), "a thought that is not finished")
        self.assertTrue(window._entered)

    def test_five_thousand_messages_leave_the_window_responsive(self):
        window, slowest = self.enter(), [0.0]
        ticks = [time.monotonic()]

        def tick():
            now = time.monotonic()
            slowest[0] = max(slowest[0], now - ticks[-1])
            ticks.append(now)
            window.root.after(5, tick)

        tick()
        for number in range(5200):
            said = chat.Said(number, 1000 * number, b"x", "bob", "message %d" % number, False, False, False)
            window.inbox.put((window._generation, said))
        self.wait(window, lambda: "message 5199" in window.chat.conversation.text.get("end-3l", "end"))
        self.assertLess(slowest[0], 0.5)
        lines = int(window.chat.conversation.text.index("end-1c").split(".")[0])
        self.assertLessEqual(lines, chat.VIEW_LINES_MAX + 1)
        self.assertTrue(window.chat.conversation.following)

    def test_a_reader_further_up_is_not_moved_and_is_told_of_the_new(self):
        window = self.enter()
        for number in range(100):
            window.chat.conversation.show([window.transcript.note("line %d" % number)])
        view = window.chat.conversation
        self.wait(window, lambda: view.text.dlineinfo("end-1c"))
        view._scroll("moveto", "0.0")
        top = view.text.index("@0,0")
        bob = self.guest("bob")
        bob.say("are you there?")
        self.wait(window, lambda: window.transcript.unread == 1)
        self.assertEqual(view.text.index("@0,0"), top)
        self.assertEqual(window.root.title(), "(1) Lab 1")
        self.wait(window, lambda: view._jump.winfo_ismapped())
        self.assertEqual(view._jump.cget("text"), "1 new")
        view._jump.invoke()
        self.wait(window, lambda: window.root.title() == "Lab 1")
        self.assertTrue(view.following)
        self.assertTrue(view.text.tag_ranges("unread"))

    def test_find_goes_through_the_places_beside_an_emoji(self):
        window = self.enter()
        for text in ("\U0001f600 the needle", "hay", "a Needle"):
            window.chat.conversation.show([window.transcript.note(text)])
        window.find()
        window.chat.find.needle.set("needle")
        self.assertEqual(window.chat.find.count.cget("text"), "2 of 2")
        window.chat.find.step(1)
        self.assertEqual(window.chat.find.count.cget("text"), "1 of 2")
        view = window.chat.conversation.text
        self.assertEqual(view.get(*view.tag_ranges("here")), "needle")
        window.chat.find.close()
        self.assertFalse(view.tag_ranges("found"))

    def test_a_text_too_long_is_kept_and_its_size_shown(self):
        window = self.enter()
        self.type(window, "x" * 20000)
        self.assertEqual(len(window.chat.composer.get()), 20000)
        self.assertIn("20,000", window.chat.composer.note.cget("text"))

    def test_up_recalls_and_tab_completes(self):
        window, composer = self.enter(), None
        self.guest("bob")
        self.wait(window, lambda: "bob" in window.transcript.names())
        composer = window.chat.composer
        self.type(window, "first")
        self.type(window, "second")
        composer._recall(1)
        composer._recall(1)
        self.assertEqual(composer.get(), "first")
        composer.set("b")
        composer._complete()
        self.assertEqual(composer.get(), "bob: ")

    def test_a_server_on_the_network_is_offered(self):
        options = chat.ClientOptions(None, self.port, "alice", "", 50)
        window = self.open(lambda root: chat.ClientWindow(root, options, chat.Settings(theme="light")))
        self.wait(window, lambda: window.form.server.value.get() == "127.0.0.1")
        self.assertIn("Lab 1", str(window.form.server.widget.cget("values")))

    def test_earlier_messages_go_above_and_move_nothing(self):
        bob = self.guest("bob")
        for number in range(80):
            bob.say("line %d." % number)
        bob.wait_for(chat.Sent)
        self.wait_until_sent(bob)
        window = self.enter()
        self.wait(window, lambda: "line 79." in self.shown(window))
        self.assertNotIn("line 3.", self.shown(window))
        view = window.chat.conversation
        view._scroll("moveto", "0.0")
        top = view.text.get("@0,0", "@0,0 lineend")
        window.send("/earlier 100")
        self.wait(window, lambda: "line 3." in self.shown(window))
        self.assertEqual(view.text.get("@0,0", "@0,0 lineend"), top)
        self.assertLess(self.shown(window).index("line 3."), self.shown(window).index("line 79."))

    def wait_until_sent(self, guest):
        for _ in range(79):
            guest.wait_for(chat.Sent)

    def test_help_is_a_table(self):
        window = self.enter()
        self.type(window, "/help")
        self.assertIn("/msg NAME TEXT  say", self.shown(window))
        self.type(window, "/nonsense")
        self.assertIn("/nonsense", window.chat.composer.note.cget("text"))

    def test_what_is_selected_in_the_conversation_is_copied_though_the_caret_is_elsewhere(self):
        window = self.enter()
        window.chat.conversation.show([window.transcript.note("copy me")])
        view = window.chat.conversation.text
        view.tag_add("sel", "end-2l", "end-1c")
        window.chat.composer.text.focus_force()
        window.chat.composer.text.event_generate("<<Copy>>")
        self.assertIn("copy me", window.root.clipboard_get())

    def test_the_conversation_cannot_be_changed_by_typing(self):
        window = self.enter()
        view = window.chat.conversation.text
        before = self.shown(window)
        view.focus_force()
        self.wait(window, lambda: window.root.focus_get() is view)
        for keys in ("<BackSpace>", "<Return>", "<Control-d>", "<Control-k>", "<<Paste>>", "<Key-x>"):
            view.event_generate(keys)
        self.assertEqual(self.shown(window), before)
        self.assertEqual(window.chat.composer.get(), "x")

    def test_the_theme_changes_at_once_and_is_remembered(self):
        window = self.enter()
        window.switch_theme()
        self.assertEqual(window.chat.conversation.text.cget("background"), chat.PALETTES["dark"].background)
        self.assertEqual(chat.read_settings().theme, "dark")
        self.assertEqual(chat.read_settings().name, "alice")
        window.zoom_by(1)
        window.zoom_by(0)

    def test_what_is_sent_while_closing_arrives(self):
        window, bob = self.enter(), self.guest("bob")
        window.send("my last words")
        window.close()
        window.leave()
        self.assertEqual(bob.wait_for(chat.Said).text, "my last words")

    def test_closing_leaves_the_room(self):
        window, bob = self.enter(), self.guest("bob")
        window.close()
        window.leave()
        self.assertEqual(bob.wait_for(chat.MemberLeft).why, "left")

    def test_a_window_may_be_closed_at_any_moment(self):
        for steps in (0, 1, 5, 40):
            window = self.open_client(self.port, "zoe", "secret")
            for _ in range(steps):
                window.root.tk.dooneevent(2)
            window.close()
            window.leave()
        self.assertEqual(self.faults, [])

    def test_a_fault_of_a_callback_is_shown(self):
        window = self.enter()
        hook, sys.excepthook = sys.excepthook, lambda *_: None
        try:
            window._report_fault(ValueError, ValueError("broken"), None)
        finally:
            sys.excepthook = hook
        self.assertIn("broken", self.shown(window))


class ServerWindowTest(WindowTest):
    """The server's window shows the room, and what is done there happens."""

    def open_with_guest(self):
        window = self.open_server()
        port = window.bound_port
        bob = Guest(port, "bob")
        self.addCleanup(bob.leave)
        self.wait(window, lambda: window.table.tree.exists("nbob"))
        return window, bob

    def test_members_are_listed_and_announcements_heard(self):
        window, bob = self.open_with_guest()
        window.line.value.set("lunch at noon")
        window.announce()
        while bob.wait_for(chat.Announced).text != "lunch at noon":
            pass
        self.assertIn("bob joined", window.log.text.get("1.0", "end"))

    def test_removing_somebody_asks_first(self):
        window, bob = self.open_with_guest()
        window.table.tree.selection_set("nbob")
        window.table._remove()
        self.assertIn("bob", window.question.label.cget("text"))
        window.question.yes.invoke()
        self.assertEqual(bob.wait_for(chat.LoginFailed).code, chat.KICKED)
        self.wait(window, lambda: not window.table.tree.exists("nbob"))

    def test_closing_asks_while_somebody_is_here(self):
        window, bob = self.open_with_guest()
        window.close()
        self.assertFalse(window.closed)
        window.question.yes.invoke()
        self.assertTrue(window.closed)
        window.leave()
        bob.wait_for(chat.Disconnected)

    def test_stop_and_open_again(self):
        window = self.open_server()
        window.switch()
        self.wait(window, lambda: window._loop is None)
        window.switch()
        self.assertIsNotNone(window._loop)

    def test_a_port_in_use_is_said_and_another_can_be_chosen(self):
        server, port = start_room()
        self.addCleanup(lambda: server.call(server.core.close))
        window = self.open_server(port)
        self.assertIn(str(port), window.strip.trouble.cget("text"))
        window.strip.port.value.set("0")
        window.switch()
        self.assertIsNotNone(window._loop)

    def test_both_themes(self):
        for theme in chat.PALETTES:
            window = self.open_server(theme=theme)
            self.assertEqual(window.log.text.cget("background"), chat.PALETTES[theme].background)
            self.shut(window)


class WindowCommandTest(unittest.TestCase):
    """Where no window can be, --gui says so and how to get one; without it the console starts and says why."""

    def run_program(self, *arguments, **more):
        environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
        command = [sys.executable, chat.__file__, *arguments]
        return subprocess.run(command, env=environment, stdin=-3, capture_output=True, timeout=20, **more)

    @unittest.skipUnless(sys.platform.startswith("linux"), "only X11 can be taken away")
    def test_gui_without_a_display(self):
        done = self.run_program("client", "--gui")
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stderr.decode(), "display|tkinter")

    def test_gui_without_tkinter(self):
        code = "import sys; sys.modules['tkinter'] = None; import samsungchat; sys.exit(samsungchat.main(['server', '--gui']))"
        folder = os.path.dirname(os.path.abspath(chat.__file__))
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, stdin=-3, capture_output=True, timeout=20)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"python3-tk", done.stderr)

    @unittest.skipIf(NO_WINDOWS or os.name == "nt", NO_WINDOWS or "no SIGTERM")
    def test_a_window_that_is_told_to_end_exits_0(self):
        arguments = ("server", "--gui", "--host", "127.0.0.1", "--port", "0")
        with tempfile.TemporaryDirectory() as folder:
            environment = dict(os.environ, XDG_CONFIG_HOME=folder, PYTHONUNBUFFERED="1")
            program = subprocess.Popen(
                [sys.executable, chat.__file__, *arguments], stdin=-3, stderr=-1, env=environment
            )
            time.sleep(0.7)
            program.terminate()
            self.assertEqual((program.wait(10), program.stderr.read()), (0, b""))
            program.stderr.close()


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


def _say_own(case, client, text):
    client.send(text)
    case.wait(client, lambda: text + "\u00a0\u00a0\u2713" in client.chat.conversation.text.get("1.0", "end"))


def take_screenshots(folder):
    """Put a picture of each window in each theme into the folder."""
    os.makedirs(folder, exist_ok=True)
    case = WindowTest("wait")
    case.faults = []
    for theme in ("light", "dark"):
        take_theme(case, folder, theme)


def take_theme(case, folder, theme):
    server = case.open_server(0, theme)
    port = server.bound_port
    server.root.geometry("+900+380")
    guests = _converse(port)
    bob, anna, mei = guests.values()
    bob.say("Good morning! The projector in room 2 works again.")
    bob.wait_for(chat.Sent)
    client = case.open_client(port, "alice", "secret", theme)
    case.wait(client, lambda: client._entered)
    client.root.geometry("960x760+0+0")
    client.root.focus_force()
    bob.say("Slides are at https://example.org/lab/slides.html (the password is on the board).")
    bob.wait_for(chat.Sent)
    mei.say("\u65e9\u4e0a\u597d \U0001f389 see you at ten")
    mei.wait_for(chat.Sent)
    _say_own(
        case, client, "Thanks, Bob. I will be there a little early, because the network in the back row needs a look."
    )
    anna.say("\u041f\u0440\u0438\u0432\u0435\u0442! Has anybody got the exercise from last week?")
    anna.wait_for(chat.Sent)
    bob.say(POEM)
    bob.wait_for(chat.Sent)
    mei.say("stretches and makes coffee", action=True)
    mei.wait_for(chat.Sent)
    anna.say("alice, that was yours, wasn't it?")
    anna.wait_for(chat.Sent)
    _say_own(case, client, "Yes \U0001f600")
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
