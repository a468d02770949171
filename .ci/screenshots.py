#!/usr/bin/env python3
"""Take the README's pictures: both windows in both themes, with people who talk, and a lesson.

python .ci/screenshots.py FOLDER    needs a display and ImageMagick's import and convert
"""

import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import test_samsungchat as suite


def _picture(case, window, path):
    window.root.lift()
    until = time.monotonic() + 0.6
    case.wait(window, lambda: time.monotonic() > until)
    subprocess.run(["import", "-window", hex(window.root.winfo_id()), path], check=True)


def _say(guest, text, **more):
    guest.say(text, **more)
    guest.wait_for(suite.RECEIPT)


def _say_own(case, client, text):
    client.enter(text)
    case.wait(client, lambda: text + "\u00a0\u00a0\u2713" in client.view.text.get("1.0", "end"))


def take_screenshots(folder):
    """Put a picture of each window in each theme, and one of a lesson, into the folder."""
    os.makedirs(folder, exist_ok=True)
    take_lesson(suite.WindowTest("wait"), folder)
    for theme in ("light", "dark"):
        take_theme(suite.WindowTest("wait"), folder, theme)


def take_lesson(case, folder):
    """Put side by side the operator's window and a member's, in a quiet room with hands raised."""
    case.faults = []
    server = case.open_server(0, operator="Rina")
    port = server.app.bound[1]
    guests = dewi, budi = [suite.Guest(port, name) for name in ("dewi", "budi")]
    client = case.open_client(port, "anna", "secret")
    case.wait(client, client.chat.winfo_ismapped)
    server.root.geometry("560x560+0+0")
    client.root.geometry("420x560+570+0")
    client.root.focus_force()
    server.enter("Good morning! Exercise 3 is on the board. Raise a hand when you are stuck.")
    server.act(server.app.turn_quiet)
    case.wait(client, lambda: client.app.transcript.hushed())
    for guest, question in ((dewi, "Why does my loop never end?"), (budi, "")):
        guest.loop.call(lambda now, guest=guest, question=question: guest.loop.core.hand(question, now))
        guest.wait_for(suite.chat.Happened)
        case.wait(client, lambda place=question: len(client.app.transcript.hands()) == 1 + (not place))
    client.composer.set("Is it range(3), or range(4)?")
    client.obey("/hand")
    case.wait(client, client.app.transcript.place)
    case.wait(server, lambda: len(server.app.transcript.hands()) == 3)
    server.composer.set("Come to the board, Dewi")
    paths = [os.path.join(folder, name) for name in ("operator.png", "member.png", "lesson.png")]
    _picture(case, client, paths[1])
    _picture(case, server, paths[0])
    options = ["-bordercolor", "gray", "-border", "1", "+append", "+dither", "-colors", "128"]
    subprocess.run(["convert", *paths[:2], *options, paths[2]], check=True)
    for path in paths[:2]:
        os.remove(path)
    for guest in guests:
        guest.leave()
    case.doCleanups()


def take_theme(case, folder, theme):
    case.faults = []
    server = case.open_server(0, theme, operator="teacher")
    port = server.app.bound[1]
    server.root.geometry("+900+380")
    guests = bob, anna, mei = [suite.Guest(port, name) for name in ("bob", "\u0410\u043d\u043d\u0430", "mei")]
    _say(bob, "Good morning! The projector in room 2 works again.")
    client = case.open_client(port, "alice", "secret", theme)
    case.wait(client, client.chat.winfo_ismapped)
    client.root.geometry("960x760+0+0")
    client.root.focus_force()
    _say(bob, "Slides are at https://example.org/lab/slides.html (the password is on the board).")
    _say(mei, "\u65e9\u4e0a\u597d see you at ten")
    _say_own(
        case, client, "Thanks, Bob. I will be there a little early, because the network in the back row needs a look."
    )
    _say(anna, "\u041f\u0440\u0438\u0432\u0435\u0442! Has anybody got the exercise from last week?")
    _say(bob, suite.POEM)
    _say(mei, "stretches and makes coffee", action=True)
    _say(anna, "alice, that was yours, wasn't it?")
    _say_own(case, client, "Yes \U0001f600")
    _say(bob, "I can lend you my cable, come by later.", to_name="alice")
    server.enter("/announce Backup tonight at 22:00; please log out before.")
    carol = suite.Guest(port, "carol")
    case.wait(client, lambda: client.members.tree.exists("ncarol"))
    client.composer.set("/msg bob Great, thank you!")
    _picture(case, client, os.path.join(folder, "client-%s.png" % theme))
    case.shut(client)
    case.wait(server, lambda: len(server.table.tree.get_children()) == 5)
    _picture(case, server, os.path.join(folder, "server-%s.png" % theme))
    for guest in (*guests, carol):
        guest.leave()
    case.doCleanups()


if __name__ == "__main__":
    sys.exit(suite.NO_WINDOWS or take_screenshots(sys.argv[1]))
