#!/usr/bin/env python3
# /// script
# requires-python = ">=3.8"
# dependencies = []
# ///
"""SamsungChat: a chatroom over UDP for the machines of one network, in one file.

    python3 samsungchat.py server
    python3 samsungchat.py client
    python3 samsungchat.py --help

The room is a log.  The server numbers every message, join, leave and notice; a member is a cursor into that
log.  Delivery, repair after loss, history for late joiners and catching up after sleep are one mechanism:
move the cursor to the head.

Sections, each using only those above it:

     1  limits and timers       every number that bounds a table, a rate or a wait
     2  errors                  faults by owner, and the code words of refusals
     3  text                    names, parts of long messages, making strangers' text safe to show
     4  wire format             messages and log entries, and their bytes
     5  password login          CPace over X25519: prove the password, never send it
     6  sealed datagrams        encryption, tags, replay window, the shared form for a whole room
     7  room log                the numbered entries, in memory or in a file
     8  delivery                batches, round trip, token bucket, timers
     9  kinds of member         whom the log is delivered to, and how
    10  server                  the room: admits, takes, numbers and hands out
    11  client                  one member: logs in, sends, repairs, resumes
    12  the original protocol   its clients as members, and a client for its server
    13  screen model            what a screen shows, decided but not drawn
    14  event loop              sockets, clock and entropy around a core, on a thread
    15  share                   the program and handouts on a page, over HTTP, where that is asked for
    16  check                   what keeps somebody from coming in, line by line
    17  apps                    one for each role: what lies between a person and a room
    18  console                 their faces without a window: terminal, pipe, log
    19  window                  tkinter, imported only there and only when a window is opened
    20  languages               what people read, in Indonesian: data only
    21  command line            flags, passwords, exit codes

Glossary: *room*, the one conversation; *member*, who is in it; *entry*, a numbered line of the log; *session*,
the keys shared with one peer; *datagram*, bytes on the wire; *message*, a decoded datagram; *event*, what a
core tells its owner; *text*, what a person typed; *part*, as much of a text as one entry holds; *run*, the parts
of one text; *batch*, consecutive entries in one datagram; *view*, the entries that a PULL asks for; *instance*, a
client's secret while it stays with one room; *member id*, its public digest; *head*, the newest entry's number;
*taken*, the highest number of a sender in the log; *operator*, the member who runs the server; what *stands* or
*holds*, entries that newcomers have to know until others end them; *face*, the screen that an app shows itself on.

An attacker who listens learns who talks to whom, when and how much, but no text, and nothing to test password
guesses on.  One who takes part in a login gets one guess for each, as a client, or two, as a false server.
Who knows the password can read the room and can run a false server for newcomers.  With ``--classic`` the
original program's plain text is admitted, and everything said can be read.  The cryptography is built from
hashlib's primitives in published ways and has not been audited; Python integers are not constant-time.
"""

import signal

if __name__ == "__main__":  # Until main() takes it: Ctrl-C while the rest is loaded ends it without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import binascii
import bisect
import codecs
import collections
import contextlib
import datetime
import enum
import errno
import functools
import gc
import getpass
import heapq
import importlib.util
import io
import ipaddress
import itertools
import json
import os
import pathlib
import queue
import re
import selectors
import shutil
import socket
import stat
import struct
import sys
import threading
import time
import unicodedata
from typing import (
    TYPE_CHECKING,
    Any,
    BinaryIO,
    Callable,
    ClassVar,
    Deque,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    TextIO,
    Tuple,
    TypeVar,
    Union,
)

if sys.version_info < (3, 8):
    sys.exit("samsungchat.py needs Python 3.8 or newer; this is Python %d.%d." % sys.version_info[:2])
if TYPE_CHECKING:
    import hashlib
    import hmac
    import sqlite3
    from typing import dataclass_transform

    @dataclass_transform(frozen_default=True)
    class _Fields:
        """What type checkers have to be told of Value."""

else:  # Imported when first used: OpenSSL and SQLite are a tenth of the memory at the start, and --help needs neither.
    _Fields = object
    for spec in map(importlib.util.find_spec, ("hashlib", "hmac", "sqlite3")):
        if spec.name not in sys.modules:
            spec.loader = importlib.util.LazyLoader(spec.loader)
            sys.modules[spec.name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[spec.name])
        globals()[spec.name] = sys.modules[spec.name]

__version__ = "1.0.0"

# ======================================================================================================
# 1. Limits and timers
# ======================================================================================================
# Every table has a maximum, every rate a bucket, every wait an end.  They stand here together, each with
# its unit in its name and its reason beside it.  A client draws when it repeats something from [t, 2t], and so
# KEEP_ALIVE_SECONDS and QUIET_SECONDS; every other wait is as long as it says.

PORT = 11111
PASSWORD = "samsungdagostore"  # The original's.  The server warns when it is in use.
ROOM = "SamsungChat"

DATAGRAM_BYTES_MAX = 1232  # IPv6's minimum MTU less its headers: IP never fragments.
RECEIVE_BYTES_MAX = 2048  # Larger datagrams are cut here, and then fail their tag ...
RECEIVE_CLASSIC_MAX = 65535  # ... but an original client's text is whatever fits a datagram.
STRANGER_BYTES = 160  # HELLO and LOGIN are padded to this, so that no answer is larger.
STRING_BYTES_MAX = 64  # Names, room names, codes and reasons on the wire.
NAME_CHARACTERS_MAX = 32
TEXT_BYTES_MAX = 16384  # A page of code.
PART_BYTES_MAX = 960  # With both names of a private message it fits a datagram.
RUN_PARTS_MAX = 18  # TEXT_BYTES_MAX in parts, each cut up to 3 bytes early between characters.

WINDOW_PARTS = 32  # What a sender may have on its way; above RUN_PARTS_MAX, so every run fits.
BUFFER_ENTRIES_MAX = 1024  # What a client holds above its cursor.
ANSWER_DATAGRAMS_MAX = 16  # What one SYNC is answered with ...
ANSWER_WORK = 16  # ... where each is as much work as looking at so many entries in memory, a microsecond each, ...
HISTORY_WORK = 4  # ... and each row read from a file as so many more.
EARLIER_ROWS = 8  # Messages that are counted back in a file, which is as much as one of those.
ANSWER_WORK_MAX = 1024  # What one turn does for all answers: a millisecond, which those who talk do not notice.
ANSWER_RATE = 16_000  # Work a second that is done to answer one member ...
ANSWER_BURST = 128_000  # ... and at once: 15,000 rows missed in a night.  Beyond that, its questions wait.
FLUSH_DATAGRAMS_MAX = 16  # New entries of one turn of the loop.
RECEIVE_DATAGRAMS_MAX = 256  # Of known sessions that one turn takes from a socket, ...
STRANGERS_MAX = 64  # ... those of others in one turn, a millisecond's work, ...
READ_DATAGRAMS_MAX = 4096  # ... what is read for that, in some 10 ms, and how many others' may wait.
REPLAY_WINDOW = 1024  # Counters; reordering wider than this loses datagrams, which repair brings back.
OUTBOX_PARTS_MAX = 4096  # Typed but not yet taken.
SHOWN_MEMBERS_MAX = 4096  # Member ids of which a client remembers the highest number shown.
ROSTER_MAX = 65535  # Members that a client lists, and entries of a view that it keeps.
HELD_EVENTS_MAX = 20_000  # What a client keeps until the roster has come.

LOG_ENTRIES_MIN = 10_000  # Kept in any case ...
LOG_SECONDS_MIN = 60  # ... and as long as this ...
LOG_BYTES_MAX = 64 * 1024 * 1024  # ... but never more than this, ...
RECORD_BYTES = 350  # ... where each entry takes this besides its own bytes.
EARLIER_DEFAULT = 50  # Messages shown to a newcomer.
EARLIER_MAX = 500  # Messages of history in one request.
HISTORY_MEGABYTES = 1024  # Of a history file: years of talk, or some minutes of a flood that must not fill the disk.
FORGET_ROWS = 10_000  # Dropped from the file at once.
FORGET_SECONDS = 3600  # Between two looks for entries that are too old.
STUCK_SECONDS = 1.0  # Between two tries to write to a disk that is full.

MEMBERS_MAX = 1000
RATE_PARTS = 30  # A member's parts a second ...
RATE_SECONDS = 4  # ... and its burst, in seconds' worth: a pasted page passes.

COOKIE_SECONDS = 10
HALF_OPEN_MAX = 2000  # Then the oldest gives way: 5 s old at the pace at which LOGINs are answered.
HALF_OPEN_SECONDS = 10
LOGIN_QUEUE_MAX = 256  # LOGINs that wait, shared out equally among the places there; one may at each.
LOGIN_BURST = 32  # Unproven logins of one address ...
LOGIN_SECONDS = 10  # ... one more each so many seconds.
ADDRESSES_MAX = 4096  # Places of which it is known what they have had.
GHOST_PING_SECONDS = 0.1
GHOST_PINGS = 20  # A holder that answers none of so many, and could have been heard, loses its name.
SILENT_SECONDS = 30.0  # Then a member is dropped.
BAN_SECONDS = 600.0
BANS_MAX = 1000
GUESTS_MAX = 4096  # Ids of who was here: they come back although somebody else was removed from their address.
HAND_SECONDS = 600.0  # Who has lost the connection keeps a raised hand so long.
MUTES_MAX = 1000
MUTE_MINUTES_MAX = 10_000  # A week.
ENDED_SECONDS = 30.0  # An ended session, or a refused login, still answers with why.
ENDED_MAX = 4096
VOUCHERS_MAX = 4  # That a client keeps: the true server's outlasts three false ones'.
SWEEP_SECONDS = 1.0
TURN_SECONDS = 0.0001  # From a turn that left work undone to the next.
SLEEP_SECONDS = 5.0  # A longer gap between turns was sleep, not silence.
BEAT_SECONDS = 0.15  # After the newest entry the head is said again: tail loss leaves no gap to see.
LOSSY_AGE_SECONDS = 0.04  # Who has lacked an entry for two round trips and this loses much: ...
LOSSY_ENTRIES = 60  # ... until so many entries later it is sent ...
LOSSY_COUNT = 4  # ... the newest so many once more, so long after the newest one.
LOSSY_SECONDS = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.45, 0.7, 1.0)
HANDED_MAX = 64  # Of the last flushes it is known when they were.
HEARTBEAT_SECONDS = 1.5  # Then to all, as long as nothing new comes: one hears soon that the server is gone.
CLOSE_SECONDS = (0.05, 0.15)  # Between the times that SERVER_CLOSED is said.

KEEP_ALIVE_SECONDS = 12.0  # Twice that is well below SILENT_SECONDS.
QUIET_SECONDS = 2.0  # Without a heartbeat; then a client asks.
TICK_SECONDS_MAX = 4.0  # A client looks at the clock this often, so that a longer gap can only be sleep.
GRACE_SECONDS = 0.02  # Reordering, before a gap counts as loss.
REPEATS_MAX = 20  # At the pace of the path, for what has not come; then they become rarer.
RETRY_SECONDS = 0.1  # First repeat while no round trip is known; doubles up to ...
RETRY_SECONDS_MAX = 1.0
ADVICE_SECONDS = 0.5  # A server that answers within this has not forgotten the session.
UNANSWERED_SECONDS = 4.0  # Then the client says "reconnecting" and looks for the server anew.
HELLO_SECONDS = 0.15
LOOK_SECONDS = 5.0  # Without a word from a server: "no server answered".
LOGIN_SECONDS_MAX = 30.0  # From the first HELLO to WELCOME, with a server that answers.
LOGINS_UNANSWERED_MAX = 6  # Then the server may be another one since its offer: HELLO again.
KEYS_SECONDS = 0.5  # After a wrong KEYS the true server may still speak.
KEYS_TESTED_MAX = 2
ASKED_MAX = 64  # SYNCs on their way whose round trip is measured.
AGAIN_SECONDS = 0.5  # Between attempts, doubles up to ...
AGAIN_SECONDS_MAX = 1.5
AGAIN_WRONG_SECONDS_MAX = 60.0  # ... or up to this, where the password was wrong.
LEAVE_SECONDS = 1.0  # For the server to confirm a BYE.
DISCOVERY_SECONDS = 1.0
FOUND_MAX = 50  # Servers that a search lists, ...
FOUND_HOST_MAX = 4  # ... and of one host.
PIPE_SECONDS = 60.0  # A pipe gives a lost connection up after this.

CLASSIC_SECONDS = 3600.0  # An original client never says goodbye; silent for so long, it has left.
CLASSIC_BYTES_MAX = 1000  # Of one of its datagrams.
CLASSIC_MAX = 50  # Original clients; each is sent everything, at an address that proves nothing.
CLASSIC_PLACE_MAX = 4  # Of one address: whoever is named in a spoofed login is sent everything so many times.
CLASSIC_BURST = 8  # Wrong passwords of one address, and as many joins; one more each LOGIN_SECONDS.
CLASSIC_GUESS_RATE = 1.0  # Wrong passwords a second in all; the same once more where somebody has logged in before.
CLASSIC_SEEN_MAX = 256  # Addresses of original clients that have logged in, or whose try the log has named.

SOCKET_BYTES = 4 * 1024 * 1024
SEND_WAIT_SECONDS = 0.05  # For room in the socket's buffer; in vain at most once a turn.
SEGMENTS_MAX = 40  # Of one GSO send; the kernel's limit is 64 and 65,507 bytes.
SWITCH_SECONDS = 0.0005  # Python's lock: how long a busy main thread may delay a send.
GARBAGE_SECONDS = 10.0  # Between two walks of the garbage collector where there is a window.
GARBAGE_OBJECTS = 50_000  # New objects between two walks; a fan-out makes thousands, none of them in cycles.
CHECK_DATAGRAMS = 20  # That show how good the way to a server is, ...
CHECK_SECONDS = 0.02  # ... one after the other, ...
CHECK_LOST_MAX = 2  # ... of which so many may be lost.
CHECK_CLOCK_SECONDS = 60  # By which two clocks may differ.
SHARE_CONNECTIONS_MAX = 64  # A class that fetches the program at once ...
SHARE_HOST_MAX = 8  # ... and of one address.
SHARE_ASK_SECONDS = 10.0  # To ask for something, and of silence while it is answered, ...
SHARE_ANSWER_SECONDS = 600.0  # ... all of which takes at most so long: 300 MB on a slow network.
SHARE_LOOK_SECONDS = 0.2  # Between two looks at connections that take too long; closing takes as long.
BACKLOG_LINES_MAX = 256  # A pipe reads on when fewer lines are waiting.

LOG_LINES_MAX = 1000  # Of a server's log, while nobody reads it.
HISTORY_LINES_MAX = 200  # Typed lines that Up recalls.
EDITOR_ROWS_MAX = 8  # Of a long line being typed.
MENTION_CHARACTERS = 2000  # Of a text that are searched for the reader's name.
PRESENCE_NAMES_MAX = 8  # Of a run of joins and leaves.
PRESENCE_SECONDS = 1.0  # A terminal waits so long for more of them.
MESSAGE_ROWS_MAX = 200  # Of a terminal that one message may fill.
ON_WAY_ROWS_MAX = 5  # Own texts on their way that a terminal shows above its prompt.
BACK_SECONDS = 4.0  # A window says so long that the connection is back.
OFFER_SECONDS = 1.0  # What was not sent in another room is offered below what was said before in this one.
WAIT_SECONDS = 0.5  # For something to happen; on Windows a Ctrl-C is not delivered earlier.

VIEW_LINES_MAX = 5000  # Of a conversation or a log in a window; twice as many under one who reads further up.
PUMP_SECONDS = 0.02  # Between two looks of a window at its inbox ...
PUMP_EVENTS_MAX = 100  # ... and what it shows at once: a few milliseconds' worth.
GROUP_SECONDS = 300  # Messages of one author closer than this stand under one name.
SEARCH_SECONDS = 3.0  # A login form looks for servers again after this.
REPORT_SECONDS = 1.0  # A server's window asks for its members this often.
ASK_SYSTEM_SECONDS = 1.0  # For a program that is asked for the system's theme.
CODE_ROWS_MAX = 20  # Of a block in a window, until somebody asks for more.
TEXT_COLUMNS = 80  # Widest row of a conversation in a window: longer ones are hard to read.
STRIP_ADDRESSES_MAX = 2  # That a server's window shows all the time.
FOUND_SPANS_MAX = 1000  # Places that a search in a window marks.
SETTING_CHARACTERS_MAX = 255
PASTE_CHARACTERS_MAX = 65536  # What goes into the entry, to be shortened there.
SENTENCES_MAX = 1000  # That are kept as they were translated.
COUNTED_CHARACTERS_MAX = 2000  # Of a text being typed whose rows are counted; more fill the entry anyway.

# ======================================================================================================
# 2. Errors
# ======================================================================================================
# Faults by owner: the peer's is MalformedDatagram, caught in one place in each core; the person's is
# UsageError; the machine's is OSError, seen only in the loop and above; ours is an assert.


class MalformedDatagram(Exception):
    """The peer sent what the protocol does not allow; the argument is the reason it is counted under."""


class LogFailure(Exception):
    """The history, or an export of it, cannot be written; the argument is the sentence that says why."""


class UsageError(Exception):
    """What the person typed cannot be used: the sentence that says what to do, and ``code``, its word for programs."""

    def __init__(self, text: str, code: str = "BAD_COMMAND") -> None:
        super().__init__(text)
        self.code = code


USERNAME_TAKEN = "USERNAME_TAKEN"
USERNAME_INVALID = "USERNAME_INVALID"
WRONG_PASSWORD = "WRONG_PASSWORD"
ROOM_FULL = "ROOM_FULL"
TRY_LATER = "TRY_LATER"
KICKED = "KICKED"
ADDRESS_CLOSED = "ADDRESS_CLOSED"
SUPERSEDED = "SUPERSEDED"
CROWDED_OUT = "CROWDED_OUT"
ANOTHER_LOGIN = "ANOTHER_LOGIN"
VERSION_MISMATCH = "VERSION_MISMATCH"
SERVER_CLOSED = "SERVER_CLOSED"
UNKNOWN_SESSION = "UNKNOWN_SESSION"  # Advice between programs; no person sees it.
NO_ANSWER = "NO_ANSWER"  # Said by the client itself, as WRONG_PASSWORD is.
# Why a text was not sent.
NO_SUCH_NAME, TOO_LONG, FULL, HAS_LEFT = "NO_SUCH_NAME", "TOO_LONG", "FULL", "LEFT"
IN_QUIET, IS_MUTED = "QUIET", "MUTED"
NOT_CONNECTED, UNCONFIRMED = "NOT_CONNECTED", "UNCONFIRMED"

REFUSALS: Dict[str, str] = {
    USERNAME_TAKEN: "This name is in use; choose another.",
    USERNAME_INVALID: "This name cannot be used; choose another.",
    WRONG_PASSWORD: "The password is wrong, or this is not the server that you mean.",
    ROOM_FULL: "The room is full; try again when somebody has left.",
    TRY_LATER: "The server is busy; try again in a few seconds.",
    KICKED: "You were removed from the room; for ten minutes after that it stays closed to you.",
    ADDRESS_CLOSED: "Somebody at your address was removed from the room; for ten minutes after that nobody new is let "
    "in from there. Who runs the server can lift that.",
    SUPERSEDED: "Your name was silent and somebody else has taken it; log in again.",
    CROWDED_OUT: "The room is full and your address had most of its seats: yours has gone to somebody at another one.",
    ANOTHER_LOGIN: "This place in the room belongs to another login; log in again.",
    VERSION_MISMATCH: "The server speaks another version; use the same samsungchat.py on both machines.",
    SERVER_CLOSED: "The server has closed the room.",
    NO_ANSWER: "No server answered. Check that it is running, the address and the port, that a firewall lets "
    "UDP through, and that both machines are on the same network.",
}

NOT_TAKEN: Dict[str, str] = {
    HAS_LEFT: "%s has left; nobody got your private message.",
    IN_QUIET: "The room is quiet: only the operator speaks. You can raise your hand, or write to the operator alone.",
    IS_MUTED: "You are muted: what you say reaches nobody.",
}

# ======================================================================================================
# 3. Text
# ======================================================================================================
# What people type and read.  Names are checked where they enter; texts travel as they are and are made safe
# in one place, display_text, where they are shown.

_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2065\u3164\uffa0")
_CONTROLS = {**{chr(code): chr(0x2400 + code) for code in range(32)}, "\t": "    ", "\x7f": "\u2421"}
_EAST_ASIAN = frozenset(("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC"))


def clean_name(text: str) -> str:
    """Return the name in its one spelling (NFKC), or raise UsageError with the rule that it breaks."""
    name = unicodedata.normalize("NFKC", text.strip())
    if not name:
        raise UsageError("A name needs at least one letter or digit.")
    if len(name) > NAME_CHARACTERS_MAX or len(name.encode("utf-8", "replace")) > STRING_BYTES_MAX:
        raise UsageError("A name has at most %d characters and %d bytes." % (NAME_CHARACTERS_MAX, STRING_BYTES_MAX))
    for character in name:
        if not (unicodedata.category(character)[0] in "LM" or character.isdecimal() or character in "_-."):
            raise UsageError("A name has letters, digits and _ - . only, no spaces.")
        if character in _INVISIBLE or "VARIATION SELECTOR" in unicodedata.name(character, ""):
            raise UsageError("A name has no invisible characters.")
    if unicodedata.category(name[0])[0] not in "LN":
        raise UsageError("A name begins with a letter or digit.")
    scripts = {_script(character): character for character in name if _script(character)}
    # SECURITY: test_a_name_cannot_be_spelt_with_look_alike_letters
    if len(scripts) > 1:
        which = ["%s is %s" % (letter, script.capitalize()) for script, letter in scripts.items()]
        raise UsageError("The letters of a name are of one script; here %s." % ", ".join(which))
    return name


def _script(character: str) -> str:
    """Name the script of a character: the first word of its Unicode name, East Asia's counted as one."""
    name = unicodedata.name(character, "UNNAMED")
    word = name.split(" ")[0]
    if character < "A" or character == "_" or word == "COMBINING":
        return ""  # It goes with any script.
    if "ARABIC" in name:
        return "ARABIC"
    return "EAST ASIAN" if word in _EAST_ASIAN else word


def name_key(name: str) -> str:
    """Return what two names must not share: NFKC(casefold(NFKC)), as in Unicode 3.13, D145."""
    key = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    # What NFKC could not compose with its letter: a dot on an i is not seen.
    return "".join(character for character in key if not "\u0300" <= character <= "\u036f")


def clean_text(text: str) -> str:
    """Return a message's text as it is sent, or raise UsageError: empty, or too long (with its size)."""
    data = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace")
    if not text.strip():
        raise UsageError("There is nothing to send.")
    if len(data) > TEXT_BYTES_MAX:
        sizes = "{:,} bytes; at most {:,}".format(len(data), TEXT_BYTES_MAX)
        raise UsageError("This message has %s fit. Send it in pieces." % sizes, TOO_LONG)
    return data.decode("utf-8")


def split_parts(text: str, most: int = PART_BYTES_MAX) -> List[bytes]:
    """Cut a text between characters into parts of at most ``most`` bytes of UTF-8."""
    data, parts, start = text.encode("utf-8"), [], 0
    while start < len(data):
        end = min(start + most, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        parts.append(data[start:end])
        start = end
    return parts


def display_text(text: str, newline: str = "\n") -> str:
    """Make strangers' text safe to show: what could act on the screen becomes visible (Unicode TR 36)."""
    # SECURITY: test_text_from_strangers_cannot_steer_a_terminal
    return "".join(character if character.isprintable() else _visible(character, newline) for character in text)


def _visible(character: str, newline: str) -> str:
    if character == "\n":
        return newline
    if unicodedata.category(character) == "Zs" or character in "\u200c\u200d":
        return character  # Emoji and some scripts need joiners.
    return _CONTROLS.get(character) or "\\u{%04x}" % ord(character)


def text_width(text: str) -> int:
    """Return how many terminal cells a text takes: East Asian wide ones two, marks and joiners none."""
    return sum(map(_width, text))


def fold(text: str, first: int, width: int) -> List[str]:
    """Break a text into rows of at most ``width`` cells, the first of ``first``: at spaces, where there are any."""
    rows: List[str] = []
    room = first
    for line in text.split("\n"):
        row, used = "", 0
        for word in re.findall(r"\S+|\s+", line):
            cells = text_width(word)
            while used + cells > room:
                fitting = itertools.takewhile(room.__ge__, itertools.accumulate(map(_width, word)))
                cut = 0 if row.strip() else max(1, sum(1 for _ in fitting))
                rows.append(word[:cut] if cut else row.rstrip())
                cells -= text_width(word[:cut])
                row, used, room, word = "", 0, width, word[cut:].lstrip()
                cells *= bool(word)  # No row begins with the space at which the one above was broken.
            row += word
            used += cells
        rows.append(row)
        room = width
    return rows


def _width(character: str) -> int:
    if character < "\u0300":
        return 1
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def whole_number(text: str) -> int:
    """Return the number that somebody typed, or -1 where it is none or has more than nine digits."""
    text = text.strip()
    return int(text) if text.isdecimal() and len(text) <= 9 else -1


Entropy = Callable[[int], bytes]  # Returns so many random bytes.


def random_draw(entropy: Entropy, seconds: float) -> float:
    """Draw evenly from [seconds, 2 * seconds) with the randomness that was passed in."""
    return seconds + seconds * int.from_bytes(entropy(4), "big") / 2**32


_PLACE = re.compile(r"%[-*.\d]*[a-zA-Z]|\{[\w:,]*\}")  # Of a sentence: what is filled in.
LANGUAGES: Dict[str, Dict[str, str]] = {"en": {}}  # What sentences are in each, see "Languages" near the end.
_language = "en"
_sentences: Dict[str, str] = {}
_patterns: List[Tuple[Any, str]] = []


def use_language(name: str) -> None:
    """Let local() say sentences as the table of that language has them; that of English is empty.

    Its keys are the sentences as they stand in the program, with their places; ``%s`` in a value is what was filled in
    at the next place, ``%S`` the same where that is a sentence of its own.
    """
    global _language, _sentences, _patterns
    _language, _sentences = name, LANGUAGES[name]
    found = {key: value for key, value in _sentences.items() if _PLACE.search(key)}
    longest = sorted(found, key=lambda key: -len(_PLACE.sub("", key)))  # The most particular first.
    whole = ("(.+?)".join(map(re.escape, _PLACE.split(key))) for key in longest)
    _patterns = [(re.compile(pattern, re.DOTALL), found[key]) for pattern, key in zip(whole, longest)]
    local.cache_clear()


def other_language() -> str:
    """Return the name of the language that comes after the one in use."""
    names = list(LANGUAGES)
    return names[(names.index(_language) + 1) % len(names)]


def _filled(sentence: str, words: Iterator[str]) -> str:
    return re.sub("%[sS]", lambda place: (local if place.group() == "%S" else str)(next(words)), sentence)


@functools.lru_cache(SENTENCES_MAX)
def local(text: str) -> str:
    """Return an English sentence of the program, its places filled, in the language in use; anything else as it is.

    Rows and what stands between semicolons may be sentences of their own.
    """
    if text in _sentences or not _sentences:
        return _sentences.get(text, text)
    for mark in ("\n", "; "):
        parts = [(each, local(each)) for each in text.split(mark)] if mark in text else []
        if parts and (mark == "\n" or all(each != said for each, said in parts)):
            return mark.join(said for _, said in parts)
    for pattern, value in _patterns:
        match = pattern.fullmatch(text)
        if match:
            return _filled(value, iter(match.groups()))
    return text


# ======================================================================================================
# 4. Wire format
# ======================================================================================================
# Every message and every entry is a value with a layout beside it: how its fields are written, in order.
# Numbers are big-endian.  Decoding bytes from the network either succeeds or raises MalformedDatagram.


class Value(_Fields):
    """What a frozen dataclass is: the fields that a subclass annotates, equal to its like with equal fields."""

    # The standard library's take a fifth of the time to start, compiling half a dozen methods for each.
    _names: ClassVar[Tuple[str, ...]]

    def __init_subclass__(cls, **_: Any) -> None:
        """Note the fields; what the class has under a field's name is its default."""
        cls._names = tuple(getattr(cls, "__annotations__", ()))

    def __init__(self, *values: Any, **named: Any) -> None:
        fields, names = self.__dict__, self._names
        fields.update(zip(names, values))
        if len(values) == len(names) and not named:
            return  # As those that are made for every message are.
        for name in names[len(values) :]:
            fields[name] = named.pop(name) if name in named else getattr(type(self), name)
        if named or len(values) > len(names):
            raise TypeError("%s has the fields %s" % (type(self).__name__, ", ".join(names)))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("%s is a value" % type(self).__name__)

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(self) is type(other) else NotImplemented

    def __repr__(self) -> str:
        return "%s(%s)" % (type(self).__name__, ", ".join("%s=%r" % field for field in self.__dict__.items()))


Some = TypeVar("Some", bound=Value)


def replace(value: Some, **changes: Any) -> Some:
    """Return the value with other fields."""
    return type(value)(**{**vars(value), **changes})


VERSION_BYTE = 0xF8 | 2  # The version of the protocol.  Never the first byte of UTF-8 text.
HEADER_BYTES = 14  # Version, type, session (4), counter (8).
TAG_BYTES = 16


def decode_text(data: bytes) -> str:
    """Decode UTF-8 from the network; raises MalformedDatagram where it is none."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedDatagram("not UTF-8") from None


def encode_string(text: str) -> bytes:
    """Encode a length and at most STRING_BYTES_MAX bytes of UTF-8, cut between characters."""
    data = text.encode("utf-8")
    if len(data) > STRING_BYTES_MAX:
        data = data[:STRING_BYTES_MAX].decode("utf-8", "ignore").encode("utf-8")
    return bytes((len(data),)) + data


def decode_string(data: bytes, at: int) -> Tuple[str, int]:
    """Decode what encode_string() wrote at ``at``, and tell where it ends; raises MalformedDatagram."""
    if at >= len(data) or at + data[at] >= len(data):
        raise MalformedDatagram("truncated")
    if data[at] > STRING_BYTES_MAX:
        raise MalformedDatagram("long string")
    end = at + 1 + data[at]
    return decode_text(data[at + 1 : end]), end


Codec = Tuple[Callable[[Any], bytes], Callable[[bytes, int], Tuple[Any, int]]]
_STRING: Codec = (encode_string, decode_string)
_TEXT: Codec = (str.encode, lambda data, at: (decode_text(data[at:]), len(data)))  # Always the last, without a length.
_REST: Codec = (bytes, lambda data, at: (data[at:], len(data)))


class Layout:
    """How the fields of a value are written: first those of fixed size, as struct writes them, then the others."""

    def __init__(self, fixed: str, *others: Codec) -> None:
        """``fixed`` has a letter of struct's for each field; numbers have at most 63 bits."""
        self._fixed, self._others = struct.Struct(">" + fixed), others
        letters = re.findall(r"[a-zA-Z]", fixed)
        self._count, self._wide = len(letters), [at for at, letter in enumerate(letters) if letter == "Q"]

    def put(self, values: Sequence[Any]) -> bytes:
        """Encode the values of all fields."""
        data = self._fixed.pack(*values[: self._count])
        for (put, _), value in zip(self._others, values[self._count :]):
            data += put(value)
        return data

    def take(self, data: bytes, at: int = 0) -> Tuple[List[Any], int]:
        """Decode the values of all fields, which begin at ``at``, and tell where they end; raises MalformedDatagram."""
        end = at + self._fixed.size
        if end > len(data):
            raise MalformedDatagram("truncated")
        values = list(self._fixed.unpack_from(data, at))
        for wide in self._wide:
            if values[wide] >> 63:
                raise MalformedDatagram("number too large")
        for _, take in self._others:
            value, end = take(data, end)
            values.append(value)
        return values, end


# --- messages


class Message(Value):
    """What all messages have in common: the ``code`` of their type in the header, and their layout."""

    code: ClassVar[int]
    layout: ClassVar[Layout]

    def __init_subclass__(cls, code: int, layout: Layout) -> None:
        super().__init_subclass__()
        cls.code, cls.layout = code, layout


class Hello(Message, code=1, layout=Layout("16s")):
    """Client: is a server there?  Also finds servers, sent to broadcast."""

    nonce: bytes


class Offer(Message, code=2, layout=Layout("16s20s8sHHBQ", _STRING)):
    """Server: here, and this cookie proves that you can receive at your address.

    ``public`` is 1 where the default password is in force, which is no secret; ``time`` is the server's, in
    milliseconds since 1970.
    """

    nonce: bytes
    cookie: bytes
    server: bytes
    members: int
    members_max: int
    public: int
    time: int
    room: str


class Later(Message, code=3, layout=Layout("16s", _STRING)):
    """Server, unsealed and therefore only advice: look again."""

    nonce: bytes
    reason: str


class Login(Message, code=4, layout=Layout("16s20s32s")):
    """Client: the cookie, and my public share of the key exchange."""

    nonce: bytes
    cookie: bytes
    share: bytes


class Keys(Message, code=5, layout=Layout("16s32s")):
    """Server: its public share; the header's session and the tag prove the password to the client."""

    nonce: bytes
    share: bytes


class Proof(Message, code=6, layout=Layout("I16s16sQQIH", _STRING)):
    """Client, sealed: who I am, and how far I have read."""

    attempt: int
    instance: bytes
    shown: bytes  # That it has the voucher: see Session.show().
    cursor: int
    entry_time: int  # Of the entry at the cursor.
    oldest: int  # The lowest number that is not yet taken.
    earlier: int  # Messages of history to start with.
    name: str


class Welcome(Message, code=7, layout=Layout("8s16sQQBQII32sH", _STRING, _STRING)):
    """Server: you are in; read on from ``start``.  What stands up to ``head`` was said before."""

    member: bytes
    voucher: bytes  # With which this member can come back, and nobody else, whoever has seen its instance.
    start: int
    start_time: int
    resumed: int
    head: int
    taken: int
    key_id: int
    key: bytes
    members: int
    name: str
    room: str


class Refused(Message, code=8, layout=Layout("", _STRING, _TEXT)):
    """Server: you are not in, and this is why."""

    reason: str
    text: str


class Submission(NamedTuple):
    """A part on its way into the log; a tuple, because one is made for every part, in a quarter of the time."""

    number: int
    kind: int  # An entry's, with FIRST and LAST.
    to: bytes
    text: bytes


_SUBMISSION = struct.Struct(">IB")


def encode_submission(message: Submission) -> bytes:
    """Encode one part inside a SYNC; only a private one names its recipient."""
    head = _SUBMISSION.pack(message.number, message.kind) + message.to
    return head + len(message.text).to_bytes(2, "big") + message.text


def _take_submissions(data: bytes, at: int) -> Tuple[Tuple[Submission, ...], int]:
    """Decode the parts in a SYNC: the one loop over what strangers wrote that runs for every message."""
    messages, end = [], len(data)
    while at < end:
        if at + _SUBMISSION.size > end:
            raise MalformedDatagram("truncated")
        number, kind = _SUBMISSION.unpack_from(data, at)
        at += _SUBMISSION.size
        bare = kind & KIND_BITS
        if bare not in SUBMITTED or not number or (bare in HOLDING and kind != bare | FIRST | LAST):
            raise MalformedDatagram("submission kind")
        to = data[at : at + 8] if bare == PRIVATE else b""
        at += len(to) + 2
        start, at = at, at + int.from_bytes(data[at - 2 : at], "big")
        if at > end or not start + (bare not in HOLDING) <= at <= start + PART_BYTES_MAX:
            raise MalformedDatagram("submission size")
        text = data[start:at]
        decode_text(text)
        messages.append(Submission(number, kind, to, text))
    return tuple(messages), end


_SUBMISSIONS: Codec = (lambda messages: b"".join(map(encode_submission, messages)), _take_submissions)


class Sync(Message, code=9, layout=Layout("QIHB", _SUBMISSIONS)):
    """Client: I have everything up to ``cursor``; and here are messages that you have not taken yet."""

    cursor: int
    key_id: int
    rtt_ms: int
    most: int  # Datagrams of the answer.
    messages: Tuple[Submission, ...] = ()


class Entries(Message, code=10, layout=Layout("QIIBI32s", _REST)):
    """Server: entries from its log (maybe none), and how far it has taken yours."""

    echo: int  # The counter of the SYNC that this answers, or 0.
    taken: int
    early: int  # Bit n: it also has your part taken + 1 + n, which waits for its turn or for those before it.
    flags: int  # ASK (SYNC now), STUCK (messages wait until the server's disk has room).
    key_id: int
    key: bytes
    batch: bytes


class Room(Message, code=11, layout=Layout("I8s", _REST)):
    """Server: new entries, encrypted once under the room key for all members."""

    key_id: int
    nonce: bytes
    sealed: bytes


class Pull(Message, code=12, layout=Layout("BQQHB")):
    """Client: show me a view of the log up to ``until``; I have everything up to ``cursor``."""

    view: int  # STANDING, what holds now, such as the joins of those who are here, or EARLIER messages.
    cursor: int
    until: int  # 0: as of now.
    count: int  # Of EARLIER: the last so many messages.
    most: int  # Datagrams of the answer.


class Page(Message, code=13, layout=Layout("BBQ", _REST)):
    """Server: some of a view's entries, which begin behind ``start``; the batch's head is where the view ends."""

    view: int
    flags: int  # ASK (there is more), BEGINNING (nothing stands before this view).
    start: int
    batch: bytes


class Bye(Message, code=14, layout=Layout("", _STRING)):
    """Either side: this session ends.  The reason is empty where somebody just leaves."""

    reason: str


class Challenge(Message, code=15, layout=Layout("8s")):
    """Server, to an address that has not shown that its member receives there: say this to me."""

    token: bytes


class Response(Message, code=16, layout=Layout("8s")):
    """Client: you said this to me."""

    token: bytes


ASK, STUCK, BEGINNING = 1, 2, 4  # Flags.
MISSING, STANDING, EARLIER = 0, 1, 2  # Views; the first is what SYNC asks for.
MESSAGE_TYPES: Dict[int, Any] = {kind.code: kind for kind in Message.__subclasses__()}


def encode(message: Message) -> bytes:
    """Encode a message's fields, without header."""
    return message.layout.put(list(vars(message).values()))


def decode(code: int, body: bytes) -> Any:
    """Decode the body of a message of that type code; raises MalformedDatagram, and nothing else."""
    kind = MESSAGE_TYPES.get(code)
    if kind is None:
        raise MalformedDatagram("unknown type")
    values, end = kind.layout.take(body)
    if any(body[end:]):
        raise MalformedDatagram("trailing bytes")
    return kind(*values)


def encode_unsealed(message: Message) -> bytes:
    """Encode a whole datagram of the login; those of clients are padded, so that no answer is larger."""
    data = bytes((VERSION_BYTE, message.code)) + encode(message)
    return data.ljust(STRANGER_BYTES, b"\0") if isinstance(message, (Hello, Login)) else data


# --- entries

TEXT, ACTION, PRIVATE, JOINED, LEFT, NOTICE, STARTED, REFUSED, SKIP = range(1, 10)
HAND, LOWERED, CALLED, MUTED, LIFTED = HOLDING = range(10, 15)  # A MUTED without a name: the room is quiet.
SUBMITTED = frozenset((TEXT, ACTION, PRIVATE, HAND, LOWERED))
KIND_BITS, FIRST, LAST = 0x3F, 0x40, 0x80
CLASSIC_TEXT, OPERATOR = "not encrypted", "operator"  # Who is JOINED: the original program; who runs the server.
HIDDEN, TRIMMED = 1, 2  # Why numbers are skipped.
STANDS = frozenset((JOINED, HAND, MUTED))  # What a newcomer has to know, until another entry ends it.


class Entry(Value):
    """A line of the log, in which a long text is a run of them; which fields count depends on the kind."""

    kind: int
    time: int = 0  # Milliseconds since 1970.
    author: bytes = b""
    number: int = 0
    name: str = ""
    to: bytes = b""
    to_name: str = ""
    text: str = ""  # Of a REFUSED, which stands where its author's text would, the code word.
    count: int = 1  # Numbers that a SKIP covers; its time is the last one's.
    why: int = 0
    first: bool = True
    last: bool = True


_SAID = (("time", "author", "number", "name", "text"), Layout("Q8sI", _STRING, _TEXT))
_PRIVATE = (("time", "author", "number", "to", "name", "to_name", "text"), Layout("Q8sI8s", _STRING, _STRING, _TEXT))
_CAME = (("time", "author", "name", "text"), Layout("Q8s", _STRING, _STRING))
_ENTRY_LAYOUTS: Dict[int, Tuple[Tuple[str, ...], Layout]] = {
    TEXT: _SAID,
    ACTION: _SAID,
    PRIVATE: _PRIVATE,
    JOINED: _CAME,
    LEFT: _CAME,
    NOTICE: (("time", "text"), Layout("Q", _TEXT)),
    STARTED: (("time", "text"), Layout("Q", _TEXT)),
    **dict.fromkeys(HOLDING, _SAID),
    REFUSED: (("time", "number", "text"), Layout("QI", _STRING)),
    SKIP: (("time", "count", "why"), Layout("QQB")),
}


def encode_entry(entry: Entry) -> bytes:
    """Encode one entry behind its length, as it stands in the log and in every batch."""
    mark = entry.kind | FIRST * entry.first | LAST * entry.last
    names, layout = _ENTRY_LAYOUTS[entry.kind]
    data = layout.put([getattr(entry, name) for name in names])
    return (len(data) + 1).to_bytes(2, "big") + bytes((mark,)) + data


_PART = struct.Struct(">HBQ8sI")


def encode_part(mark: int, at: int, author: bytes, number: int, names: bytes, text: bytes) -> bytes:
    """Encode what a member has said as encode_entry() does, several times as fast; ``names`` are encoded."""
    return _PART.pack(_PART.size - 2 + len(names) + len(text), mark, at, author, number) + names + text


def decode_entry(data: bytes) -> Entry:
    """Decode one entry; raises MalformedDatagram, but not on what a newer server writes."""
    end = 2 + int.from_bytes(data[:2], "big")
    if not 2 < end <= len(data):
        raise MalformedDatagram("truncated")
    mark, kind = data[2], data[2] & KIND_BITS
    if kind not in _ENTRY_LAYOUTS:  # A blank; and what stands behind the last field is passed over.
        return Entry(SKIP, int.from_bytes(data[3 : min(11, end)], "big") & (1 << 63) - 1, why=HIDDEN)
    names, layout = _ENTRY_LAYOUTS[kind]
    values, _ = layout.take(data[:end], 3)
    return Entry(kind, first=bool(mark & FIRST), last=bool(mark & LAST), **dict(zip(names, values)))


class RunReader:
    """Collects the parts of long texts."""

    def __init__(self) -> None:
        self._parts: List[str] = []

    def read(self, entry: Entry) -> Optional[str]:
        """Take an entry with text; return the whole text when it was the last part."""
        if entry.first:
            self._parts = []
        if len(self._parts) < RUN_PARTS_MAX:
            self._parts.append(entry.text)
        return "".join(self._parts) if entry.last else None


_BATCH = Layout("QQ", _REST)
BATCH_BYTES_MAX = DATAGRAM_BYTES_MAX - HEADER_BYTES - TAG_BYTES - 53 - 16  # What ENTRIES, the largest form, leaves.


def encode_batch(head: int, first: int, entries: bytes) -> bytes:
    """Encode consecutive entries, the first with the number ``first``, and the log's head."""
    return head.to_bytes(8, "big") + first.to_bytes(8, "big") + entries


def decode_batch(data: bytes) -> Tuple[int, List[Tuple[int, Entry]]]:
    """Decode a batch into the log's head and (number, entry) pairs; raises MalformedDatagram."""
    (head, number, data), _ = _BATCH.take(data)
    entries, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        if not size:
            break  # The rest is padding.
        entry = decode_entry(data[at : at + 2 + size])
        at += 2 + size
        if not 0 < entry.count <= head - number + 1:
            raise MalformedDatagram("entry above the head")
        entries.append((number, entry))
        number += entry.count
    return head, entries


# ======================================================================================================
# 5. Password login
# ======================================================================================================
# CPace (draft-irtf-cfrg-cpace, suite CPACE-X25519-SHA512, initiator and responder): both sides derive a
# generator from the password and meet in a Diffie-Hellman exchange on it.  Who does not know the password
# learns nothing from one exchange but whether one guess was right.  Curve25519 as in RFC 7748.

_P = 2**255 - 19
_A = 486662
_DSI = b"CPace255"
_CI = b"\x14SamsungChat 1 client\x14SamsungChat 1 server"


def x25519(scalar: bytes, point: bytes) -> bytes:
    """Multiply a point (u-coordinate, 32 bytes) by a scalar (32 bytes): RFC 7748, section 5."""
    # Every other reduction is only a fold, 2**255 being 19: half the time of a division, and few bits too many.
    k = (int.from_bytes(scalar, "little") & ~(7 | 1 << 255)) | 1 << 254
    p, low = _P, (1 << 255) - 1
    u = int.from_bytes(point, "little") & low
    x2, z2, x3, z3 = 1, 0, u % p, 1
    swapped = "0"
    for bit in bin(k)[2:]:
        if bit != swapped:
            x2, x3, z2, z3 = x3, x2, z3, z2
            swapped = bit
        a, b = x2 + z2, x2 - z2
        da, cb = (x3 - z3) * a, (x3 + z3) * b
        total, difference = da + cb, da - cb
        total = (total & low) + 19 * (total >> 255)
        difference = (difference & low) + 19 * (difference >> 255)
        difference *= difference
        a *= a
        b *= b
        a, b = (a & low) + 19 * (a >> 255), (b & low) + 19 * (b >> 255)
        e = a - b
        x3, z3 = total * total % p, ((difference & low) + 19 * (difference >> 255)) * u % p
        x2, z2 = a * b % p, e * (a + 121665 * e) % p
    # A scalar's last bit is 0, so that nothing is left swapped.
    return (x2 * (pow(z2, -1, p) if z2 else 0) % p).to_bytes(32, "little")


def _elligator2(data: bytes) -> bytes:
    """Map 32 uniform bytes to a point of the curve: RFC 9380, section 6.7.1, with Z = 2."""
    r = int.from_bytes(data, "little") & (1 << 255) - 1
    v = -_A * pow(1 + 2 * r * r, -1, _P) % _P  # Never 0: -1/2 is not a square.
    square = pow(v * (v * v + _A * v + 1), (_P - 1) // 2, _P)
    return (v if square in (0, 1) else (-v - _A) % _P).to_bytes(32, "little")


def _lv(data: bytes) -> bytes:
    """Prepend the length, as LEB128: the draft's prepend_len."""
    prefix, size = b"", len(data)
    while size > 127:
        prefix, size = prefix + bytes((size & 127 | 128,)), size >> 7
    return prefix + bytes((size,)) + data


def cpace_generator(password: bytes, channel: bytes, sid: bytes) -> bytes:
    """Derive the generator from password, channel identifier and session id (draft: calculate_generator)."""
    zeros = max(0, 128 - 1 - len(_lv(password)) - len(_lv(_DSI)))  # SHA-512's block.
    seed = _lv(_DSI) + _lv(password) + _lv(bytes(zeros)) + _lv(channel) + _lv(sid)
    return _elligator2(hashlib.sha512(seed).digest()[:32])


def cpace_key(scalar: bytes, share: bytes, sid: bytes, *transcript: bytes) -> bytes:
    """Return the intermediate session key (64 bytes); ``share`` is the peer's, ``transcript`` Ya, ADa, Yb, ADb."""
    shared = x25519(scalar, share)
    # SECURITY: test_a_low_order_share_aborts_the_login
    if not any(shared):
        raise MalformedDatagram("low-order share")
    return hashlib.sha512(_lv(_DSI + b"_ISK") + _lv(sid) + _lv(shared) + b"".join(map(_lv, transcript))).digest()


class Exchange:
    """One side of one login: shows its share, and derives the session key from the other's."""

    def __init__(self, password: bytes, sid: bytes, secret: bytes) -> None:
        """``secret`` is 32 random bytes; ``sid`` the client's nonce and the server's cookie."""
        self.share = x25519(secret, cpace_generator(password, _CI, sid))
        self._sid, self._secret = sid, secret

    def key(self, share: bytes, session: bytes, server: bool) -> bytes:
        """Return the key of both, from the other's share; raises MalformedDatagram.  The client is the initiator."""
        share_a, share_b = (share, self.share) if server else (self.share, share)
        data_a, data_b = bytes((VERSION_BYTE, Login.code)), bytes((VERSION_BYTE, Keys.code)) + session
        return cpace_key(self._secret, share, self._sid, share_a, data_a, share_b, data_b)


def password_bytes(password: str) -> bytes:
    """Return the bytes that both sides feed to the login: NFC, UTF-8."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogateescape")


def member_id(instance: bytes) -> bytes:
    """Return the public name of a secret instance."""
    return hashlib.blake2b(instance).digest()[:8]


# ======================================================================================================
# 6. Sealed datagrams
# ======================================================================================================
# Header: version, type, session, counter.  Body: XOR with SHAKE-256(key, counter).  Tag: keyed BLAKE2b over
# header and BLAKE2b-256(body as sent).  Encrypt, then tag; verify the tag before anything else.  A ROOM body
# is encrypted and hashed once for all members; only header and tag are each member's own.


def xor_stream(key: bytes, nonce: bytes, data: bytes) -> bytes:
    """Encrypt or decrypt with the keystream SHAKE-256(key, nonce); a nonce serves once for a key."""
    count = len(data)
    stream = hashlib.shake_256(key + nonce).digest(count)
    return (int.from_bytes(data, "little") ^ int.from_bytes(stream, "little")).to_bytes(count, "little")


def body_digest(body: bytes) -> bytes:
    """Return what a tag covers of a body."""
    return hashlib.blake2b(body, digest_size=32).digest()


class ReplayWindow:
    """Remembers which of the newest REPLAY_WINDOW counters have been seen (as RFC 6479 does)."""

    __slots__ = ("highest", "_seen")

    def __init__(self) -> None:
        self.highest = self._seen = 0

    def accept(self, counter: int) -> bool:
        """Note a counter and return whether it is the highest so far; raises MalformedDatagram if not new."""
        ahead = counter - self.highest
        if ahead > 0:
            kept = self._seen << ahead if ahead < REPLAY_WINDOW else 0
            self._seen = (kept | 1) & (1 << REPLAY_WINDOW) - 1
            self.highest = counter
            return True
        # SECURITY: test_a_recorded_datagram_cannot_be_replayed
        if -ahead >= REPLAY_WINDOW or self._seen >> -ahead & 1:
            raise MalformedDatagram("replayed")
        self._seen |= 1 << -ahead
        return False


class Session:
    """The keys shared with one peer, one pair for each direction, and both counters."""

    __slots__ = ("id", "sent", "newest", "_header", "sealer", "_seal_key", "_open_key", "_opener", "window", "_proof")

    def __init__(self, session: bytes, key: bytes, server: bool) -> None:
        """Derive the keys from the login's ``key`` (64 bytes); ``session`` (4 bytes) names it on the wire."""

        def derive(label: bytes) -> bytes:
            return hashlib.blake2b(label, key=key, digest_size=32).digest()

        # SECURITY: test_a_datagram_cannot_be_reflected_to_its_sender
        ours, theirs = (b"server to client", b"client to server")[:: 1 if server else -1]
        self.id = session
        self.sent = 0
        self.newest = False
        self._seal_key, self._open_key = derive(ours + b" encrypt"), derive(theirs + b" encrypt")
        self.sealer = hashlib.blake2b(key=derive(ours + b" tag"), digest_size=TAG_BYTES)
        self._opener = hashlib.blake2b(key=derive(theirs + b" tag"), digest_size=TAG_BYTES)
        self.window = ReplayWindow()
        self._proof = derive(b"voucher")

    def show(self, voucher: bytes) -> bytes:
        """Return what shows the peer, and tells nobody else, that one has a voucher: it serves in this session only."""
        return hashlib.blake2b(self._proof, key=voucher, digest_size=16).digest()

    def seal(self, message: Any) -> bytes:
        """Encrypt and tag a message with the next counter."""
        counter, body = bytes(8), encode(message)  # KEYS stays readable: its tag proves that both have the same key.
        if message.code != Keys.code:
            self.sent += 1
            counter = self.sent.to_bytes(8, "big")
            body = xor_stream(self._seal_key, counter, body)
        header = bytes((VERSION_BYTE, message.code)) + self.id + counter
        return header + body + self._tag(self.sealer, header + body_digest(body))

    def open(self, datagram: bytes) -> Any:
        """Return the message of a sealed datagram; raises MalformedDatagram: forged, replayed, malformed.

        Sets ``newest``: whether its counter is the highest so far.  A Room's body stays encrypted.
        """
        body = self.verify(datagram)
        counter = datagram[6:HEADER_BYTES]
        self.newest = self.window.accept(int.from_bytes(counter, "big"))
        if datagram[1] not in (Keys.code, Room.code):
            body = xor_stream(self._open_key, counter, body)
        return decode(datagram[1], body)

    def verify(self, datagram: bytes) -> bytes:
        """Return the body as sent, if the peer tagged it for this session; raises MalformedDatagram."""
        if len(datagram) < HEADER_BYTES + TAG_BYTES:
            raise MalformedDatagram("truncated")
        header, body, tag = datagram[:HEADER_BYTES], datagram[HEADER_BYTES:-TAG_BYTES], datagram[-TAG_BYTES:]
        # SECURITY: test_a_forged_datagram_has_no_effect
        if not hmac.compare_digest(tag, self._tag(self._opener, header + body_digest(body))):
            raise MalformedDatagram("forged")
        return body

    @staticmethod
    def _tag(base: Any, data: bytes) -> bytes:
        tagger = base.copy()
        tagger.update(data)
        return bytes(tagger.digest())


class RoomKey:
    """The key that all members share for ROOM bodies; a new one is drawn when somebody leaves."""

    def __init__(self, key_id: int, key: bytes) -> None:
        """``key`` is 32 random bytes, ``key_id`` its name on the wire."""
        self.id, self.key, self._nonce = key_id, key, 0

    def seal(self, batch: bytes) -> bytes:
        """Return a ROOM body under the next nonce."""
        self._nonce += 1
        nonce = self._nonce.to_bytes(8, "big")
        return encode(Room(self.id, nonce, xor_stream(self.key, nonce, batch)))


class Datagram(Value):
    """Bytes on their way to an address."""

    data: bytes
    address: Any


class Fanout(Value):
    """ROOM bodies of one size on their way to many members: (address, session) of each."""

    bodies: Sequence[bytes]
    members: Sequence[Tuple[Any, Session]]

    def datagrams(self) -> Iterator[Tuple[bytes, Any]]:
        """Yield (datagram, address), those of one member behind each other.

        The hot loop of the program; what a member does not need of its own is done once, before it.  Each datagram is
        tagged as it is taken to be sent, once: made in advance, a thousand would leave the caches.
        """
        start = bytes((VERSION_BYTE, Room.code))
        digests = [(body, body_digest(body)) for body in self.bodies]
        for address, session in self.members:
            prefix, base = start + session.id, session.sealer
            for body, digest in digests:
                session.sent = counter = session.sent + 1
                header = prefix + counter.to_bytes(8, "big")
                tagger = base.copy()
                tagger.update(header + digest)
                yield header + body + tagger.digest(), address


# ======================================================================================================
# 7. Room log
# ======================================================================================================
# Append-only and numbered 1, 2, 3, ...  An entry is encoded once.  The newest stand in memory; with a history
# file, all of them are written there before they go to anyone, and what memory no longer has is read from it.


class Record(NamedTuple):
    """An entry as the log keeps it: its bytes, and what the server needs to know without decoding them."""

    data: bytes
    time: int
    author: bytes
    number: int
    audience: Optional[bytes] = None  # The one or two member ids that may see it; None is everybody.

    def visible(self, reader: Optional[bytes]) -> bool:
        """Return whether that member id (None: the public) may see it."""
        return self.audience is None or reader in (self.audience[:8], self.audience[8:])

    def first(self) -> bool:
        """Return whether a run begins here."""
        return bool(self.data[2] & FIRST)

    def sort(self) -> int:
        """Return 1 where a message to all begins, of which a newcomer is shown so many; 2 for what may hold."""
        kind = self.data[2] & KIND_BITS
        return self.first() if kind in (TEXT, ACTION, NOTICE) else 2 * (kind in HOLDING)


_APPLICATION_ID = 0x53434C32  # "SCL2": marks a file as ours, its entries as of this version of the wire.
_SCHEMA_VERSION = 3  # Of the tables and of the entries in them.
_SCHEMA = """
    BEGIN IMMEDIATE;
    CREATE TABLE room (began INTEGER NOT NULL, secret BLOB);
    CREATE TABLE entries (
        seq INTEGER PRIMARY KEY, time INTEGER NOT NULL, author BLOB NOT NULL, number INTEGER NOT NULL,
        audience BLOB, sort INTEGER NOT NULL, data BLOB NOT NULL, digest INTEGER NOT NULL);
    CREATE INDEX numbers ON entries (author, number);
    CREATE INDEX recipients ON entries (substr(audience, 9)) WHERE audience IS NOT NULL;
    CREATE INDEX messages ON entries (seq) WHERE sort = 1;
    CREATE INDEX holding ON entries (seq) WHERE sort = 2;
    INSERT INTO room VALUES (%d, NULL);
    PRAGMA application_id = %d; PRAGMA user_version = %d;
    COMMIT
"""  # Before the file is in WAL mode, so that the marks are in the file itself from the beginning.
_SETTINGS = """
    PRAGMA busy_timeout = 0; PRAGMA user_version = %d;  -- Fails where the file is read-only.
    PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON
"""
_STATE = ("CAST(max(began) AS INTEGER) FROM room", "max(seq) FROM entries", "min(seq) FROM entries")
_USED = "(page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
_COLUMNS = "seq, data, time, author, number, audience, digest"
_INSERT = "INSERT INTO entries (%s, sort) VALUES (?, ?, ?, ?, ?, ?, ?, ?)" % _COLUMNS
_SELECT_RECORDS = "SELECT %s FROM entries WHERE seq BETWEEN ? AND ?" % _COLUMNS
_VISIBLE = " AND (typeof(audience) != 'blob' OR ? IN (substr(audience, 1, 8), substr(audience, 9)))"
_COMPLAINTS = (
    ("locked", "%s is in use by another server; stop that one, or choose another file."),
    ("readonly", "%s is read-only; make it writable, or choose another file."),
    ("full", "The disk of %s is full; make room on it."),
    ("unable to open", "%s cannot be opened; check the folder and your rights to it."),
    ("not a database", "%s is not a history of SamsungChat; choose another file."),
    ("malformed|no such|codec|^$", "%s is damaged; put a copy back in its place, or choose another file."),
    ("disk i/o", "%s cannot be written: the disk or your share of it is full, or broken."),
)


@contextlib.contextmanager
def _complaints(path: str, fault: Callable[[str], Exception]) -> Iterator[None]:
    """Raise what SQLite complains about as ``fault``, with a sentence for people."""
    try:
        yield
    # A complaint that quotes damaged bytes is no UTF-8: sqlite3 then says nothing (Python 3.8), or fails to decode it.
    except (sqlite3.Error, UnicodeDecodeError) as complaint:
        sentences = [sentence for words, sentence in _COMPLAINTS if re.search(words, str(complaint).lower())]
        raise fault(sentences[0] % path if sentences else "%s cannot be used: %s." % (path, complaint)) from None


def open_history(path: str, mode: str = "rw") -> "sqlite3.Connection":
    """Open a history file, or create it ("rwc"); raises UsageError (not ours, another version) and sqlite3.Error."""
    place = pathlib.Path(path).resolve().as_uri()
    if os.path.isfile(path):  # Only looked at, without a lock and without the files that SQLite makes beside it.
        with contextlib.closing(sqlite3.connect(place + "?mode=ro&immutable=1", uri=True)) as database:
            mark, version = database.execute("SELECT * FROM pragma_application_id, pragma_user_version").fetchone()
        if mark != _APPLICATION_ID and os.path.getsize(path):
            raise UsageError("%s is not a history of SamsungChat; choose another file." % path)
        if mark and version != _SCHEMA_VERSION:
            raise UsageError("%s was written by another version; use that one, or another file." % path)
    database = sqlite3.connect(place + "?mode=" + mode, uri=True, isolation_level=None, check_same_thread=False)
    database.text_factory = bytes  # There is no text in it, unless bytes have changed by themselves.
    return database


def read_history(path: str) -> Iterator[Tuple[int, Entry]]:
    """Yield every (number, entry) of a history file, also while a server writes to it; raises UsageError."""
    if not os.path.exists(path):
        raise UsageError("There is no file %s." % path)
    try:
        with _complaints(path, UsageError), contextlib.closing(open_history(path)) as database:
            for number, data in database.execute("SELECT seq, CAST(data AS BLOB) FROM entries ORDER BY seq"):
                yield number, decode_entry(data or b"")
    except MalformedDatagram:
        raise UsageError("%s is damaged; what came before this line could be read." % path) from None


def _digest(*row: Any) -> int:
    """Return what tells that a row has changed by itself; raises TypeError where its values are of other types."""
    return binascii.crc32(b"%b %d %b %d %b" % (*row[:4], row[4] or b""))


def _record(*row: Any) -> Record:
    """Make a record from a row of the file; one that is damaged reads as one that is no longer kept."""
    with contextlib.suppress(TypeError):
        if _digest(*row[:5]) == row[5]:
            return Record(*row[:5])
    at = row[1] if isinstance(row[1], int) else 0
    return Record(encode_entry(Entry(SKIP, max(at, 0), why=TRIMMED)), 0, b"", 0)


class Log:
    """The log: keeps the newest entries in memory, by LOG_ENTRIES_MIN, LOG_SECONDS_MIN and LOG_BYTES_MAX.

    With a file, all are kept there, and what commit() has returned for is there after a crash and a power cut.
    ``FILE-lock`` beside it is held locked, so that no two servers write to one file; the system frees it however a
    server ends.  Readers, such as an export, may come at any time.
    """

    def __init__(self, began: int, path: str = "", keep_days: int = 0, megabytes: int = HISTORY_MEGABYTES) -> None:
        """``began`` is the time (ms) before which a new log holds nothing; ``keep_days`` 0 keeps what has room.

        Raises UsageError with a sentence about the file: not ours, damaged, another version, read-only, full, in use.
        """
        self.began, self.head, self.oldest = began, 0, 1  # The lowest number that is kept, or head + 1.
        self.work = 0  # What reading has cost so far: entries looked at in memory, and as much.
        self._path = str(pathlib.Path(path).resolve())
        self._keep, self._bytes_max = keep_days * 86_400_000, megabytes << 20
        self._forgot_at = 0
        self._database: Optional[sqlite3.Connection] = None
        self._opened = contextlib.ExitStack()
        if path:
            with _complaints(path, UsageError), contextlib.ExitStack() as opened:
                self._open(path, opened)
                self._opened = opened.pop_all()
        self._records: Dict[int, Record] = {}
        self._recent = self.head + 1  # The lowest number in memory.
        self._written = self.head
        self._taken: Dict[bytes, int] = {}
        self._newest: Dict[bytes, int] = {}  # The last entry in memory of each author.
        self._public: Deque[int] = collections.deque()  # Where a public message begins, in memory.
        self._bytes = 0

    def _open(self, path: str, opened: contextlib.ExitStack) -> None:
        if os.path.exists(path):
            open_history(path).close()  # What is not ours gets no companion.
        lock = sqlite3.connect(self._path + "-lock", timeout=0, isolation_level=None, check_same_thread=False)
        opened.enter_context(contextlib.closing(lock))
        # SECURITY: test_a_reader_does_not_keep_a_server_from_starting
        lock.executescript("PRAGMA journal_mode = OFF; BEGIN IMMEDIATE")  # This lock no reader can hold.
        with contextlib.suppress(OSError):
            if not os.path.getsize(path):
                os.remove(self._path)  # A reader who locks an empty file keeps that one.
        self._database = database = opened.enter_context(contextlib.closing(open_history(path, "rwc")))
        if database.execute("PRAGMA quick_check(1)").fetchone()[0] != b"ok":
            raise sqlite3.DatabaseError("malformed")
        if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            database.executescript(_SCHEMA % (self.began, _APPLICATION_ID, _SCHEMA_VERSION))
        state = [database.execute("SELECT " + number).fetchone()[0] or 0 for number in _STATE]
        self.began, self.head, self.oldest = state[0], state[1], state[2] or 1
        database.executescript(_SETTINGS % _SCHEMA_VERSION)

    def _number(self, query: str, *values: Any) -> int:
        """Return the number that a query finds in the file, or 0; raises LogFailure where it cannot be read."""
        if self._database is None:
            return 0
        with _complaints(self._path, LogFailure):
            found = self._database.execute("SELECT " + query, values).fetchone()
        self.work += HISTORY_WORK
        return found[0] if found and isinstance(found[0], int) else 0

    def append(self, records: Sequence[Record]) -> None:
        """Number the records; they belong together and are trimmed together if they are a run."""
        for record in records:
            self.head += 1
            self._records[self.head] = record
            self._bytes += len(record.data) + RECORD_BYTES
            self._newest[record.author] = self.head
            if record.number:
                self._taken[record.author] = record.number
            if record.sort() == 1:
                self._public.append(self.head)

    def commit(self) -> None:
        """Make everything appended permanent, then let the oldest go; raises LogFailure, and may be tried again."""
        if self._database is not None and self._written < self.head:
            new = self.records(self._written + 1, self.head)
            rows = [(number, *record, _digest(*record), record.sort()) for number, record in new]
            with _complaints(self._path, LogFailure), self._database:  # Takes back what fails half way.
                self._database.execute("BEGIN IMMEDIATE")
                self._database.executemany(_INSERT, rows)
                self._database.execute("COMMIT")
        self._written = self.head
        while self._records:
            record = self._records[self._recent]
            age = abs(self._records[self.head].time - record.time)  # The clock may have been set back meanwhile.
            many = len(self._records) > LOG_ENTRIES_MIN and age > LOG_SECONDS_MIN * 1000
            if record.first() and not many and self._bytes <= LOG_BYTES_MAX:
                break  # What is left of a run goes with its beginning.
            del self._records[self._recent]
            if self._newest[record.author] == self._recent:
                del self._newest[record.author]
            if self._public and self._public[0] == self._recent:
                self._public.popleft()
            self._recent += 1
            self._bytes -= len(record.data) + RECORD_BYTES
            if self._taken.get(record.author) == record.number:
                del self._taken[record.author]
        if self._database is None:
            self.oldest = self._recent

    def records(self, first: int, last: int, *reader: Optional[bytes]) -> Iterator[Tuple[int, Record]]:
        """Yield (number, record) from ``first`` to ``last``; of the file, what a reader (None: the public) may see."""
        top = min(last, self._recent - 1)
        if self._database is not None and first <= top:
            query, before = _SELECT_RECORDS + _VISIBLE * len(reader), first - 1
            with _complaints(self._path, LogFailure):
                for number, *row in self._database.execute(query, (first, top, *reader)):
                    self.work += HISTORY_WORK + number - before
                    before = number
                    yield number, _record(*row)
            self.work += top - before
        for number in range(max(first, self._recent), last + 1):
            self.work += 1
            yield number, self._records[number]

    def holding(self) -> List[Tuple[int, Record]]:
        """Return the newest entries of the file by which something holds or ends, in order."""
        query = "SELECT %s FROM entries WHERE sort = 2 ORDER BY seq DESC LIMIT %d" % (_COLUMNS, LOG_ENTRIES_MIN)
        with _complaints(self._path, LogFailure):
            rows = self._database.execute(query).fetchall() if self._database else []
        return [(number, _record(*row)) for number, *row in reversed(rows)]

    def taken(self, author: bytes) -> int:
        """Return the author's highest number among the entries, or 0."""
        written = self._number("max(number) FROM entries WHERE author = ? AND number > 0", author)
        return max(self._taken.get(author, 0), written)

    def knows(self, ident: bytes) -> bool:
        """Return whether an entry is by that member or to it: whoever has this id may read what is its own."""
        query = "1 FROM entries WHERE author = ?1 OR audience IS NOT NULL AND substr(audience, 9) = ?1 LIMIT 1"
        return ident in self._newest or bool(self._number(query, ident))

    def secret(self, fresh: bytes) -> bytes:
        """Return the room's secret of 32 bytes: that of the file, which keeps a ``fresh`` one where it has none."""
        if self._database is None:
            return fresh
        with _complaints(self._path, LogFailure):
            for (secret,) in self._database.execute("SELECT secret FROM room WHERE length(CAST(secret AS BLOB)) = 32"):
                return bytes(secret)
            self._database.execute("UPDATE room SET secret = ?", (fresh,))
        return fresh

    def agrees(self, cursor: int, entry_time: int) -> bool:
        """Return whether a reader whose entry ``cursor`` is of that time has read this log and no other."""
        if cursor < self.oldest:
            return self.began <= entry_time
        return cursor <= self.head and self.time_at(cursor) == entry_time

    def time_at(self, cursor: int) -> int:
        """Return the time with which a reader agrees whose cursor is set there."""
        record = self._records.get(cursor)
        return record.time if record else self._number("time FROM entries WHERE seq = ?", cursor) or self.began

    def start(self, earlier: int, before: int) -> int:
        """Return the cursor that has the last ``earlier`` public messages below ``before`` ahead of it."""
        if self._database is not None:
            query = "min(seq) FROM (SELECT seq FROM entries WHERE sort = 1 AND seq < ? ORDER BY seq DESC LIMIT ?)"
            self.work += earlier // EARLIER_ROWS
            return (self._number(query, before, earlier) or min(before, self.head + 1)) - 1
        at = bisect.bisect_left(self._public, before)
        return (self._public[max(at - earlier, 0)] if at and earlier else min(before, self.head + 1)) - 1

    def forget(self, now: int) -> None:
        """Drop from the file what is too old, and the oldest where it is too large: whole runs, never the newest."""
        if self._database is None:
            return
        kept, step = self.oldest, self.oldest + FORGET_ROWS
        if self._keep and not 0 <= now - self._forgot_at < FORGET_SECONDS * 1000:
            young = self._number("seq FROM entries WHERE time >= ? ORDER BY seq LIMIT 1", now - self._keep)
            kept = young or self._written
            self._forgot_at = now if kept < step else 0  # The rest at the next look.
        used = self._number(_USED)
        # SECURITY: test_a_flood_does_not_fill_the_disk
        if used > self._bytes_max:
            kept = max(kept, self.oldest + (self._written - self.oldest) * (used - self._bytes_max) // used)
        kept = min(kept, step)
        while kept > self.oldest and not all(record.first() for _, record in self.records(kept, kept)):
            kept -= 1
        if kept > self.oldest:
            with contextlib.suppress(sqlite3.Error):  # A full disk: the next look finds them again.
                self._database.execute("DELETE FROM entries WHERE seq < ?", (kept,))
                self.oldest = kept

    def close(self) -> None:
        """Give up the file, if there is one."""
        self._opened.close()


# ======================================================================================================
# 8. Delivery
# ======================================================================================================
# What to send of the log, when to repeat, how fast to take, how long the way is.  Each is told the time and
# keeps none of its own.

Cut = Tuple[int, int, bytes]  # First number, last number, entries.


def _skip(count: int, why: int, at: int) -> Tuple[int, bytes]:
    return count, encode_entry(Entry(SKIP, at, count=count, why=why))


def pieces(
    records: Iterable[Tuple[int, Record]], after: int, until: int, reader: Optional[bytes], log: Optional[Log] = None
) -> Iterator[Tuple[int, bytes]]:
    """Yield (numbers covered, bytes) that together cover (after, until]; reader None is the public.

    ``records`` are (number, record) in order; blanks stand for what is not among them or not for that reader, each with
    the time of its last number, if the log is given.
    """
    for number, record in records:
        # SECURITY: test_a_private_message_reaches_nobody_else
        if record.visible(reader):
            if number > after + 1:
                yield _skip(number - after - 1, HIDDEN, log.time_at(number - 1) if log else 0)
            yield 1, record.data
            after = number
    if after < until:
        yield _skip(until - after, HIDDEN, log.time_at(until) if log else 0)


def cut_pieces(found: Iterable[Tuple[int, bytes]], after: int) -> Iterator[Cut]:
    """Cut the pieces of what stands above ``after`` into batches that each fit a datagram."""
    chosen: List[bytes] = []
    first, number, size = after + 1, after, 0
    for count, data in found:
        if size + len(data) > BATCH_BYTES_MAX:
            yield first, number, b"".join(chosen)
            chosen, first, size = [], number + 1, 0
        chosen.append(data)
        size += len(data)
        number += count
    if chosen:
        yield first, number, b"".join(chosen)


def batches(log: Log, after: int, until: int, reader: Optional[bytes]) -> Iterator[Cut]:
    """Cut the log in (after, until], as that reader may see it, into batches; what is no longer kept is one blank."""
    kept = max(after, min(until, log.oldest - 1))
    gone = [_skip(kept - after, TRIMMED, log.began)] if kept > after else []
    found = pieces(log.records(kept + 1, until, reader), kept, until, reader, log)
    return cut_pieces(itertools.chain(gone, found), after)


class RoundTrip:
    """Estimates the round-trip time and from it when to repeat: RFC 6298, section 2."""

    def __init__(self) -> None:
        self.seconds = self._deviation = 0.0

    def measure(self, sample: float) -> None:
        """Note one round trip, in seconds."""
        if not self.seconds:
            self.seconds, self._deviation = sample, sample / 2
        else:
            self._deviation += (abs(sample - self.seconds) - self._deviation) / 4
            self.seconds += (sample - self.seconds) / 8

    def milliseconds(self) -> int:
        """Return the time as it is told and shown."""
        return min(int(self.seconds * 1000 + 0.5), 0xFFFF)

    def repeat_seconds(self) -> float:
        """Return how long to wait for an answer before a repeat, while the path is what loses: its usual time."""
        seconds = max(self.seconds + self._deviation, GRACE_SECONDS) if self.seconds else RETRY_SECONDS
        return min(seconds, RETRY_SECONDS_MAX)


class TokenBucket:
    """Allows ``rate`` tokens a second and bursts of ``burst``, such as at once; a rate of 0 allows everything."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst, self._tokens, self._at = rate, burst, float(burst), now
        self._reserve, self._advance = self, 0.0

    def share(self, now: float) -> "TokenBucket":
        """Return one of this kind that is full as far as this one is: what it does not fill itself, it takes here."""
        bucket = TokenBucket(self._rate, self._burst, now)
        bucket._tokens, bucket._reserve, bucket._advance = 0.0, self, self._burst
        return bucket

    def take(self, count: float, now: float) -> bool:
        """Take ``count`` tokens if they are there."""
        if not self._rate:
            return True
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        self._advance = min(self._advance, self._burst - self._tokens)
        lacking = max(0.0, count - self._tokens)
        if lacking and not (lacking <= self._advance and self._reserve.take(lacking, now)):
            return False
        self._advance -= lacking
        self._tokens += lacking - count
        return True

    def give(self, count: int) -> None:
        """Put tokens back."""
        self._tokens = min(self._burst, self._tokens + count)

    def ready_at(self, count: int) -> float:
        """Return when ``count`` tokens will be there, after a take() that failed."""
        return self._at + (count - self._tokens) / self._rate


class Alarms(Dict[str, float]):
    """Instants by name at which something is due; a name that is not in it is not armed."""

    def due(self, name: str, now: float) -> bool:
        """Return whether that one's time has come; it is not armed any more then."""
        if self.get(name, now + 1) > now:
            return False
        del self[name]
        return True

    def sooner(self, name: str, at: float) -> None:
        """Arm that one for then at the latest."""
        self[name] = min(at, self.get(name, at))


class Timer:
    """An alarm that is drawn from [t, 2t], so that a thousand clients do not move in step, and backs off."""

    def __init__(self, alarms: Alarms, name: str, entropy: Entropy) -> None:
        self.most = self._seconds = 0.0
        self._alarms, self._name, self._entropy = alarms, name, entropy

    def start(self, now: float, seconds: float, most: float, at_once: bool = False) -> None:
        """Arm it for ``seconds``, or for now; each again() takes twice as long as the one before, up to ``most``."""
        self._seconds, self.most, self._alarms[self._name] = seconds, most, now
        if not at_once:
            self.again(now)

    def again(self, now: float) -> None:
        """Arm it once more."""
        self._alarms[self._name] = now + random_draw(self._entropy, self._seconds)
        self._seconds = min(self._seconds * 2, self.most)


def remember(table: Dict[Any, Any], key: Any, value: Any, most: int) -> None:
    """Put something last into a table, which forgets what came first beyond ``most``."""
    table.pop(key, None)
    table[key] = value
    if len(table) > most:
        del table[next(iter(table))]


Outgoing = List[Union[Datagram, Fanout]]


class Core:
    """What server, client and search have in common: datagrams and the time go in, drained outputs come out."""

    receive_bytes = RECEIVE_BYTES_MAX

    def __init__(self, epoch: float) -> None:
        """``epoch`` is the wall clock's seconds at now = 0; the owner keeps it true when the clock is set."""
        self.epoch = epoch
        self.overloaded = False  # The owner says before tick() whether some of what came was not even read.
        self.done = False
        self.dropped: Dict[str, int] = collections.Counter()
        self._outgoing: Outgoing = []
        self._events: List[Any] = []
        self._alarms = Alarms()

    def receive(self, datagram: bytes, address: Any, now: float) -> None:
        """Take a datagram from the network; what is not allowed is counted in ``dropped`` and has no effect."""
        try:
            self._receive(datagram, address, now)
        except MalformedDatagram as fault:
            self.dropped[str(fault)] += 1

    def knows(self, datagram: bytes, address: Any) -> bool:
        """Return, cheaply and without trust, whether a datagram comes before those of strangers."""
        return True

    def _receive(self, datagram: bytes, address: Any, now: float) -> None:
        raise NotImplementedError

    def tick(self, now: float) -> None:
        """Do what is due."""
        raise NotImplementedError

    def deadline(self) -> Optional[float]:
        """Return when tick() is due without further input, or None."""
        return min(self._alarms.values(), default=None)

    def wall_ms(self, now: float) -> int:
        """Return the wall clock's milliseconds since 1970."""
        return max(0, int((now + self.epoch) * 1000))

    def release(self) -> None:
        """Give up what it holds of the machine's; its loop calls this at the end."""

    def outgoing(self) -> Outgoing:
        """Drain what is to be sent."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def events(self) -> List[Any]:
        """Drain what the owner should know."""
        events, self._events = self._events, []
        return events


@functools.lru_cache(ADDRESSES_MAX)  # Asked for with every message.
def address_place(host: str) -> str:
    """Return what counts as one place: an IPv4 address, an IPv6 /64, or one link-local IPv6 address."""
    host = host.split("%")[0]
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host)
    # SECURITY: test_ipv6_counts_by_network_link_local_by_address_and_ipv4_within_it_as_ipv4
    return str(address.ipv4_mapped or address.packed[: 16 if address.is_link_local else 8].hex())


class Turns(Dict[Any, Any]):
    """What waits for its turn, by key, at places: next is the place, and its key, whose last turn was longest ago."""

    def __init__(self) -> None:
        super().__init__()
        self._count = itertools.count(1)
        self._places: List[Tuple[int, int, str]] = []  # A heap: last turn, when it came, who.
        self._keys: Dict[str, List[Tuple[int, int, Any]]] = {}  # The same of the keys at each place.
        self.place_turns: Dict[str, int] = {}  # Who is not among them comes first.
        self._key_turns: Dict[Any, int] = {}

    def put(self, place: str, key: Any, value: Any) -> None:
        """Let something wait; what waits already is replaced where it stands."""
        if key not in self:
            if place not in self._keys:
                self._keys[place] = []
                heapq.heappush(self._places, (self.place_turns.get(place, 0), next(self._count), place))
            heapq.heappush(self._keys[place], (self._key_turns.get(key, 0), next(self._count), key))
        self[key] = value

    def next(self) -> Any:
        """Take out and return what is next."""
        place, turn = heapq.heappop(self._places)[2], next(self._count)
        key = heapq.heappop(self._keys[place])[2]
        remember(self.place_turns, place, turn, ADDRESSES_MAX)
        remember(self._key_turns, key, turn, ADDRESSES_MAX)
        if self._keys[place]:
            heapq.heappush(self._places, (turn, turn, place))
        else:
            del self._keys[place]
        return self.pop(key)

    def fits(self, place: str, most: int) -> bool:
        """Return whether one more may wait at a place, if ``most`` are shared out equally; but one may everywhere."""
        here = len(self._keys.get(place, ()))
        return here * len(self._keys) < most if here else len(self._keys) < ADDRESSES_MAX


def address_text(address: Any) -> str:
    """Return an address as people write it: HOST:PORT, an IPv6 host in brackets."""
    host = address[0].rsplit(":", "." in address[0])[-1]
    return ("[%s]:%d" if ":" in host else "%s:%d") % (host, address[1])


# ======================================================================================================
# 9. Kinds of member
# ======================================================================================================
# A member is whatever the log is delivered to.  Kinds differ in how a batch reaches their members; each has one
# deliver(), called once for all of them in a flush.  The operator's and the sealed kind are here; another may be
# handed to the server.


class Member:
    """One who is in the room; ``handle`` is what its kind finds it by, and ``session`` and so on the sealed's only."""

    __slots__ = (
        *("kind", "id", "name", "key", "handle", "address", "bucket", "answers", "joined_at", "heard_at"),
        *("messages", "taken", "told", "early", "fresh"),
        *("session", "attempt", "welcome", "cursor", "echo", "rtt_ms", "unproven"),
    )

    bucket: TokenBucket  # Rations what it says ...
    answers: TokenBucket  # ... and what it is answered.
    joined_at: float  # Seconds since 1970.
    heard_at: float
    session: Session
    welcome: Welcome

    def __init__(self, kind: "Kind", ident: bytes, name: str, address: Any, taken: int = 0) -> None:
        """``taken`` is the highest number that the log has of it; ``told``, what is there for good."""
        self.kind, self.id, self.name, self.key, self.address = kind, ident, name, name_key(name), address
        self.handle, self.taken, self.told = address, taken, taken
        self.messages = self.attempt = self.cursor = self.echo = self.rtt_ms = 0
        self.early: Dict[int, Submission] = {}  # Parts that cannot be taken yet.
        self.unproven: Any = None  # An address from which it has spoken, and has not shown that it receives there.
        self.fresh = False  # Whether it had not been here before.

    def held_parts(self) -> int:
        """Return which parts above ``told`` need not be sent again: see ENTRIES."""
        above = itertools.chain(range(self.told + 1, self.taken + 1), self.early)
        return sum([1 << number - self.told - 1 for number in above]) & 0xFFFFFFFF

    def next_run(self) -> List[Submission]:
        """Return the parts of its next message, if all have come; raises MalformedDatagram if they never fit."""
        run: List[Submission] = []
        while self.taken + 1 + len(run) in self.early:
            part = self.early[self.taken + 1 + len(run)]
            run.append(part)
            fits = bool(part.kind & FIRST) == (len(run) == 1) and part.kind & KIND_BITS == run[0].kind & KIND_BITS
            if not fits or len(run) > RUN_PARTS_MAX or part.to != run[0].to:
                self.early.clear()
                raise MalformedDatagram("parts that are no message")
            if part.kind & LAST:
                return run
        return []


class Kind:
    """A way of being in the room: its members, and how they are told what happens; of itself it tells nothing."""

    note = ""  # What a JOINED of this kind says.
    can_answer = False  # Whether a member can be asked whether it is still there.
    silent_seconds = SILENT_SECONDS  # Who says nothing for so long has left.

    def __init__(self) -> None:
        """``members`` are by what their datagrams are known by; ``stuck`` is whether the log cannot be written."""
        self.members: Dict[Any, Any] = {}
        self.stuck = False

    def deliver(self, after: int, records: Sequence[Tuple[int, Record]]) -> Outgoing:
        """Return what carries the new entries, those above ``after``, to all members of this kind."""
        raise NotImplementedError

    def tell(self, members: Iterable[Any], what: str, now: float) -> Outgoing:
        """Return what tells how the log is ("stuck", "goes on"), why they are out ("left", "closed", ...) or "ask"s."""
        return []


class Happened(Value):
    """An entry of the room's log, as a member meets it; reported once, in the order of the log."""

    seq: int  # Its number; of a long text the last part's.
    entry: Entry  # A SKIP is what the server no longer keeps.
    text: str  # Its whole text.
    earlier: bool = False  # Whether it stood there before that member was (back) here.
    number: int = 0  # Of the member's own text, whose receipt this is.


def happened(seq: int, entry: Entry, text: Optional[str], earlier: bool = False) -> Optional[Happened]:
    """Return the event for an entry at ``seq``, ``text`` being that of its run; None where there is nothing to tell."""
    silent = entry.kind == REFUSED or entry.kind == SKIP and entry.why != TRIMMED
    return None if text is None or silent else Happened(seq, entry, text, earlier, 0)


class Connected(Value):
    """In the room, or again after a gap; ``members`` are (id, name), ``standing`` the (number, entry) of what holds."""

    room: str
    name: str
    member: bytes
    members: Tuple[Tuple[bytes, str], ...]
    again: bool
    standing: Tuple[Tuple[int, Entry], ...] = ()


class Standing:
    """What holds in the room: the entries that stand until another one ends them, each with its number."""

    _ENDS: ClassVar[Dict[int, int]] = {LEFT: JOINED, LOWERED: HAND, CALLED: HAND, LIFTED: MUTED}

    def __init__(self, entries: Iterable[Tuple[int, Entry]] = ()) -> None:
        """``members`` are by id; ``hands``, in their order, and ``muted`` by the key of a name, "" being all.

        Each is (the number where it began, its entry's number, the entry).  A name's hand is its holder's, whichever
        process that is: who comes back after a crash has its place.
        """
        self._tables: Dict[int, Dict[Any, Tuple[int, int, Entry]]] = {JOINED: {}, HAND: {}, MUTED: {}}
        self.members, self.hands, self.muted = self._tables.values()
        for number, entry in entries:
            self.take(number, entry)

    def take(self, number: int, entry: Entry) -> Tuple[int, ...]:
        """Take an entry in its turn; return the numbers of those that stand no longer."""
        if entry.kind == STARTED:
            self.members.clear()
        table = self._tables.get(self._ENDS.get(entry.kind, entry.kind))
        if table is None:
            return ()
        key = entry.author if table is self.members else name_key(entry.name)
        if entry.kind not in STANDS:
            return table.pop(key)[:2] if key in table else ()
        first, before, old = table.get(key, (number, number, entry))
        if entry.kind == HAND:  # Another question is no other wait.
            entry = replace(entry, time=old.time)
        if key in table or len(table) < ROSTER_MAX:
            table[key] = first, number, entry
        return () if before == first else (before,)

    def entries(self) -> Iterator[Tuple[int, Entry]]:
        """Yield all of it in the order in which it began."""
        everything = itertools.chain.from_iterable(map(dict.values, self._tables.values()))
        for first, _, entry in sorted(everything, key=lambda each: each[:2]):
            yield first, entry

    def place(self, name: str) -> int:
        """Return where in the queue of raised hands somebody stands, from 1; 0 where he is not in it."""
        key = name_key(name)
        return list(self.hands).index(key) + 1 if key in self.hands else 0

    def hushed(self, key: str, free: bool) -> str:
        """Return the code word why somebody is not to be heard, or ""; a quiet room hushes nobody who is ``free``."""
        return IS_MUTED if key in self.muted else IN_QUIET * ("" in self.muted and not free)


_HOLDING_WORDS = {  # Without and with a text; of a LOWERED that is why the server did it, of a MUTED the minutes.
    HAND: ("{name} raised a hand.", "{name} raised a hand: {text}"),
    LOWERED: ("{name} lowered the hand.", "The hand of {name} was lowered."),
    CALLED: ("{name} is called.", "{name} is called: {text}"),
    MUTED: ("{name} is muted.", "{name} is muted for {text} min."),
    LIFTED: ("{name} is no longer muted.", ""),
}
_OWN_WORDS = {  # The same to whom it is about.
    HAND: ("Your hand is raised; your place is {place}.",) * 2,
    LOWERED: ("Your hand is lowered.",) * 2,
    CALLED: ("You are called.", "You are called: {text}"),
    MUTED: (
        "You are muted: what you say reaches nobody.",
        "You are muted for {text} min: what you say reaches nobody.",
    ),
    LIFTED: ("You are no longer muted.", ""),
}
_QUIET_WORDS = {MUTED: "The room is quiet: only the operator speaks.", LIFTED: "The room is no longer quiet."}


def holding_words(entry: Entry, place: int = 0) -> str:
    """Return the sentence that an entry of HOLDING is, safe to show; with his ``place``, to whom it is about."""
    forms = _OWN_WORDS if place else _HOLDING_WORDS
    quiet = "" if entry.name else _QUIET_WORDS.get(entry.kind, "")
    form = quiet or forms[entry.kind][bool(entry.text)]
    return form.format(name=display_text(entry.name, " "), text=display_text(entry.text, "\u21b5"), place=place)


class Operator(Kind):
    """Who runs the server: what the log says is reported to its owner, and nothing is sent."""

    note = OPERATOR
    silent_seconds = float("inf")

    def __init__(self, report: Callable[[Any], None]) -> None:
        super().__init__()
        self._report, self._runs = report, RunReader()

    def deliver(self, after: int, records: Sequence[Tuple[int, Record]]) -> Outgoing:
        """Report what the operator may see as a Happened."""
        for member in self.members.values():
            for number, record in records:
                entry = decode_entry(record.data)
                # SECURITY: test_the_operator_reads_only_what_is_said_to_all_or_to_him
                event = happened(number, entry, self._runs.read(entry)) if record.visible(member.id) else None
                if event is not None:
                    self._report(replace(event, number=entry.number) if entry.author == member.id else event)
        return []


class Ended:
    """A session that is over: what it answers, where, and until when."""

    def __init__(self, session: Session, address: Any, answer: Union[Refused, Bye], until: float) -> None:
        self.session, self.address, self.answer, self.until = session, address, answer, until


class Sealed(Kind):
    """The members of the sealed protocol, by session, who share a room key that is drawn anew when one has left."""

    can_answer = True
    BYES = {"left": "", "kicked": KICKED, "superseded": SUPERSEDED, "crowded out": CROWDED_OUT, "closed": SERVER_CLOSED}

    def __init__(self, log: Log, entropy: Entropy) -> None:
        """``head`` is the newest number that is out; ``ended`` are the sessions that are over."""
        super().__init__()
        self._log = log
        self.head = 0
        self.rekey = False
        self.room_key = RoomKey(1, entropy(32))
        self.ended: Dict[bytes, Ended] = {}

    def send(self, member: Member, message: Message) -> Datagram:
        """Seal a message for a member."""
        return Datagram(member.session.seal(message), member.address)

    def entries(self, member: Member, flags: int = 0, cut: Optional[Cut] = None, echo: int = 0) -> Datagram:
        """Seal entries for a member, or none, with what else an ENTRIES says."""
        first, _, entries = cut or (self.head + 1, 0, b"")
        batch = encode_batch(self.head, first, entries)
        key, flags = self.room_key, flags | STUCK * self.stuck
        return self.send(member, Entries(echo, member.told, member.held_parts(), flags, key.id, key.key, batch))

    def deliver(self, after: int, records: Sequence[Tuple[int, Record]]) -> Outgoing:
        """Seal the entries once for all where all may read them, else for each; a new key goes to each."""
        # A party to something private gets everything new under its own keys.
        parties = {record.audience[n : n + 8] for _, record in records if record.audience for n in (0, 8)}
        public, shared = list(batches(self._log, after, self.head, None)), dict(self.members)
        outgoing: Outgoing = []
        for member in self.members.values() if self.rekey or parties else ():
            if self.rekey or member.id in parties:
                del shared[member.handle]
                own = batches(self._log, after, self.head, member.id) if member.id in parties else public
                outgoing += [self.entries(member, 0, cut) for cut in own]
        plain = [encode_batch(self.head, first, entries) for first, _, entries in public]
        return outgoing + self.fan_out(plain, list(shared.values()))

    def fan_out(self, plain: List[bytes], members: Sequence[Member]) -> Outgoing:
        """Return the batches for the members: encrypted once, tagged for each, padded to one size for GSO."""
        if not members:
            return []
        size = max(map(len, plain))
        bodies = [self.room_key.seal(batch.ljust(size, b"\0")) for batch in plain]
        return [Fanout(bodies, [(member.address, member.session) for member in members])]

    def tell(self, members: Iterable[Member], what: str, now: float) -> Outgoing:
        """Say goodbye, except to who is silent, or anything else with an ENTRIES."""
        if what == "timed out":
            return []
        if what in self.BYES:
            return [self.end(member.session, member.address, Bye(self.BYES[what]), now) for member in members]
        return [self.entries(member, ASK * (what == "ask")) for member in members]

    def end(self, session: Session, address: Any, answer: Union[Refused, Bye], now: float) -> Datagram:
        """Let a session answer with that, now and for a while to everything."""
        remember(self.ended, session.id, Ended(session, address, answer, now + ENDED_SECONDS), ENDED_MAX)
        return Datagram(session.seal(answer), address)


# ======================================================================================================
# 10. Server
# ======================================================================================================
# The room as a value: datagrams, commands and the time go in; datagrams and events come out.  Order of trust
# for every datagram: length, kind, session, open, replay window, act, and only then believe its address.
# What arrives in one turn of the loop is taken, numbered and handed out together, in tick().


class Activity(Value):
    """What the server's own log says and the room's need not; ``what`` names a sentence of ACTIVITY."""

    what: str
    name: str = ""
    address: Any = None
    why: str = ""  # A code word or a reason.
    members: int = 0  # Who are here now.


class MemberRow(Value):
    """What the server's own screen shows of a member; ``joined_at`` is seconds since 1970."""

    name: str
    address: Any
    rtt_ms: int
    messages: int
    joined_at: float


class ServerReport(Value):
    """Who is in the room, as asked for with report()."""

    members: Tuple[MemberRow, ...]
    members_max: int


class HalfOpen:
    """A login between LOGIN and PROOF, and until it is decided whose its name is; ``answer`` is its KEYS."""

    def __init__(self, session: Session, answer: bytes, address: Any, now: float) -> None:
        self.session, self.answer, self.address = session, answer, address
        self.expires_at = now + HALF_OPEN_SECONDS
        self.proof: Any = None
        self.holder: Optional[Member] = None  # Has the name; is asked whether it is still there ...
        self.asked_at = 0.0  # ... since then, ...
        self.pings = 0  # ... and so often, as far as its answer would have been heard.


_BEATS = {"beat": BEAT_SECONDS, "heartbeat": HEARTBEAT_SECONDS}  # When the head is said again, after the newest entry.
_SERVER_TYPES = frozenset(kind.code for kind in (Offer, Later, Keys, Welcome, Refused, Entries, Room, Page, Challenge))


class Server(Core):
    """The room.  Inputs: receive, tick, the verbs of its operator, close.  Outputs: those of any core."""

    def __init__(
        self,
        log: Log,
        password: str,
        entropy: Entropy,
        now: float,
        epoch: float,
        room: str = ROOM,
        members_max: int = MEMBERS_MAX,
        rate: float = RATE_PARTS,
        foreign: Optional[Callable[["Server", float], Any]] = None,
        operator: str = "",
    ) -> None:
        """``operator`` is the name of who runs the server, if that is somebody: a member who takes no seat.

        ``foreign`` makes a kind of member that speaks plain text: what is not of the sealed protocol goes to its
        receive(text, address, now); it has tick(now) too.
        """
        super().__init__(epoch)
        self.room, self.members_max, self.rate, self.log = room, members_max, rate, log
        self.names: Dict[str, Member] = {}  # All members by name ...
        self.members: Dict[bytes, Any] = {}  # ... and by id.
        self.password, self.entropy = password_bytes(password), entropy
        self._id = entropy(8)
        self._cookie_key = entropy(32)
        self._secret = log.secret(entropy(32))  # Of vouchers.
        self._sealed = Sealed(log, entropy)
        self._foreign = foreign(self, now) if foreign else None
        self._kinds: List[Kind] = [self._sealed]
        if self._foreign is not None:
            self._kinds.append(self._foreign)
            self.receive_bytes = self._foreign.receive_bytes
        self._holds = Standing()  # What a newcomer has to know, and its records by number.
        self.standing: Dict[int, Record] = {}
        self._waiting = Turns()  # LOGINs by address: who asks again keeps his place.
        self._half_open: Dict[bytes, HalfOpen] = {}  # By session.
        self._places: Dict[str, List[TokenBucket]] = {}  # See _place().
        self._bans: Dict[str, Tuple[Member, float]] = {}  # By name: who is kept out, and until when.
        self._mutes: Dict[str, Tuple[bytes, str, float]] = {}  # By name: id and place of who is muted, and until when.
        self._away: Dict[str, float] = {}  # By name: until when a hand stays up whose member is not here.
        self._guests: Dict[bytes, None] = {}  # Ids of who was let in.
        # Who has something to take, what has been asked by whom and view, and who has something taken in this turn.
        self.submitted: Dict[bytes, Member] = {}
        self._turns = Turns()  # Members who have more than one turn takes.
        self._asked: Dict[Tuple[bytes, int], Tuple[Member, Any]] = {}
        self._took: Dict[bytes, Member] = {}
        self._handed: Deque[Tuple[int, float]] = collections.deque(maxlen=HANDED_MAX)  # Heads, and when.
        self._lossy: Dict[bytes, Tuple[Member, int]] = {}  # Who loses much, up to which head.
        self._resent = 0  # How often, since the newest entry.
        self._yielded = False
        self._ticked_at = self._unheard_at = now
        self._alarms.update(sweep=now, heartbeat=now + HEARTBEAT_SECONDS)
        self._goodbyes = list(CLOSE_SECONDS)
        self.operator: Optional[Member] = None
        self._open(operator, now)

    def _open(self, operator: str, now: float) -> None:
        """Let hold what held when the log ended, and let the operator in."""
        log = self.log
        for number, record in log.holding():
            self._keep(number, decode_entry(record.data), record)
        self._away = dict.fromkeys(self._holds.hands, now + HAND_SECONDS)
        for key, (_, _, entry) in self._holds.muted.items():
            seconds = (entry.time - self.wall_ms(now)) / 1000 + 60 * int(entry.text) if entry.text else float("inf")
            self._mutes.update({key: (entry.author, "", now + seconds)} if key else {})
        self.append(STARTED, now, text="The room was opened.")
        if operator:
            kind, ident = Operator(self.note), self._voucher(OPERATOR.encode())[:8]
            self.operator = kind.members[""] = Member(kind, ident, operator, ("", 0), log.taken(ident))
            self._kinds.append(kind)
            self.join(self.operator, now)
            here = tuple(self._holds.entries())
            self.note(Connected(self.room, operator, ident, ((ident, operator),), False, here))
        log.commit()
        self._sealed.head = log.head

    # --- inputs

    def tick(self, now: float) -> None:
        """Do what is due: expire, log in, take messages, answer, hand out, beat."""
        # SECURITY: test_a_flood_in_which_nobody_is_heard_evicts_nobody
        if self.overloaded or now - self._ticked_at > SLEEP_SECONDS:
            self._unheard_at = now  # Silence before that says nothing.
        self._ticked_at = now
        self._alarms.pop("turn", None)  # Due or not, what it is for is done now.
        if self._alarms.due("sweep", now):
            self._sweep(now)
        if self._alarms.due("ping", now):
            for half in [half for half in self._half_open.values() if half.holder]:
                self._admit(half, now)
        if self._foreign is not None:
            self._foreign.tick(now)
        if (self.submitted or self._turns) and not self._sealed.stuck:
            self._take(now)
        self._flush(now)
        if self._alarms.due("resend", now):
            self._resend(now)
        self._beat(now)
        if self._alarms.due("close", now):
            self.done = not self._goodbyes
            for kind in self._kinds:
                if kind is self._sealed or self.done:  # Plain text is not repeated.
                    self._outgoing += kind.tell(kind.members.values(), "closed", now)
            if not self.done:
                self._alarms["close"] = now + self._goodbyes.pop(0)
        # One login a turn, but what this turn hands out goes before it, once: 2 ms are long where people talk.
        self._yielded = bool(self._outgoing) and not self._yielded
        if self._waiting and not self._yielded:
            self._answer_login(now)
        if self._waiting:
            self._alarms.sooner("turn", now + TURN_SECONDS)

    def say(self, text: str, now: float) -> None:
        """Announce something to all; raises UsageError."""
        parts = split_parts(clean_text(text))
        for part in parts:
            self.append(NOTICE, now, text=part.decode("utf-8"), first=part is parts[0], last=part is parts[-1])

    def speak(self, text: str, to_name: str, now: float, action: bool = False) -> None:
        """Say something as the operator, to all or to one member; raises UsageError."""
        assert self.operator is not None, "somebody has to be here who speaks"
        to = self._named(to_name).id if to_name else b""
        self.submit(self.operator, PRIVATE if to else ACTION if action else TEXT, text, to)

    def _named(self, name: str) -> Member:
        """Return the member of that name, who is not the operator; raises UsageError."""
        member = self.names.get(name_key(name))
        if member is None:
            raise UsageError("Nobody here is called %s." % display_text(name, " "), NO_SUCH_NAME)
        if member is self.operator:
            raise UsageError("%s is you." % display_text(name, " "))
        return member

    def call_next(self, words: str, now: float) -> None:
        """Call who has waited longest of those with a raised hand who are here; raises UsageError."""
        waiting = [entry.name for key, (_, _, entry) in self._holds.hands.items() if key in self.names]
        if not waiting:
            raise UsageError("Nobody here has raised a hand.")
        if len(words.encode("utf-8", "replace")) > PART_BYTES_MAX:
            raise UsageError("What is said with a call has at most %d bytes." % PART_BYTES_MAX, TOO_LONG)
        self.append(CALLED, now, name=waiting[0], text=words)

    def lower(self, name: str, now: float) -> None:
        """Lower somebody's hand, or "all"; raises UsageError."""
        hands = {key: entry.name for key, (_, _, entry) in self._holds.hands.items()}
        key = name_key(name)
        if key not in hands and key != "all":
            raise UsageError("%s has not raised a hand." % display_text(name, " "), NO_SUCH_NAME)
        for raised in [hands[key]] if key in hands else hands.values():
            self.append(LOWERED, now, name=raised, text="operator")

    def quiet(self, on: bool, now: float) -> None:
        """Let only the operator speak, or everybody again."""
        if on != ("" in self._holds.muted):
            self.append(MUTED if on else LIFTED, now)

    def mute(self, name: str, minutes: int, now: float) -> None:
        """Let what somebody says reach nobody, for so long, or (0) until unmute(); raises UsageError."""
        self._mute(self._named(name), now + 60 * minutes if minutes else float("inf"), now)

    def _mute(self, member: Member, until: float, now: float) -> None:
        if len(self._mutes) >= MUTES_MAX and member.key not in self._mutes:
            self.unmute(next(iter(self._mutes)), now)
        self._mutes[member.key] = member.id, address_place(member.address[0]), until
        minutes = "" if until == float("inf") else "%d" % -((now - until) // 60)
        self.append(MUTED, now, author=member.id, name=member.name, text=minutes)

    def unmute(self, name: str, now: float) -> None:
        """Let somebody be heard again; raises UsageError."""
        if self._mutes.pop(name_key(name), None) is None:
            raise UsageError("%s is not muted." % display_text(name, " "), NO_SUCH_NAME)
        self.append(LIFTED, now, name=self._holds.muted[name_key(name)][2].name)

    def set_password(self, password: str, now: float) -> None:
        """Let in who knows another password from now on; who is in stays."""
        self.password = password_bytes(password)
        self._half_open = {name: half for name, half in self._half_open.items() if half.proof is not None}

    def kick(self, name: str, now: float) -> None:
        """Remove a member; keep it out for BAN_SECONDS, and whoever is new from its place; raises UsageError."""
        member = self._named(name)
        remember(self._bans, member.key, (member, now + BAN_SECONDS), BANS_MAX)
        self.leave(member, "kicked", now)

    def pardon(self, name: str, now: float) -> None:
        """Let somebody in again who was removed, and whoever is new from there; raises UsageError."""
        if name_key(name) not in self._bans:
            raise UsageError("Nobody called %s is kept out." % display_text(name, " "), NO_SUCH_NAME)
        member, _ = self._bans.pop(name_key(name))
        self.note(Activity("pardoned", member.name, member.address))

    def bans(self, now: float) -> None:
        """Report who is kept out, and for how long still."""
        for member, until in self._bans.values():
            left = "%d min %02d s" % divmod(max(0, int(until - now)), 60)
            self.note(Activity("kept out", member.name, member.address, left))
        if not self._bans:
            self.note(Activity("none kept out"))

    def report(self) -> None:
        """Ask for a ServerReport among the events."""
        here = [member for member in self.names.values() if member is not self.operator]
        rows = [MemberRow(each.name, each.address, each.rtt_ms, each.messages, each.joined_at) for each in here]
        self._events.append(ServerReport(tuple(rows), self.members_max))

    def close(self, now: float) -> None:
        """Tell the members that the room closes; ``done`` turns true shortly after."""
        self._alarms.setdefault("close", now)

    def release(self) -> None:
        """Close the log: its file can be opened anew at once."""
        self.log.close()

    def knows(self, datagram: bytes, address: Any) -> bool:
        """Return whether it says that it is of a session, and comes from where that is."""
        name, foreign = datagram[2:6], self._foreign.members if self._foreign else {}
        peer: Any = self._sealed.members.get(name) or self._half_open.get(name) or foreign.get(address)
        return peer is not None and peer.address == address

    # --- strangers: fixed-size fields, one hash, no answer larger than its question

    def _receive(self, datagram: bytes, address: Any, now: float) -> None:
        if self.done or "close" in self._alarms:
            raise MalformedDatagram("closing")
        if datagram and datagram[0] < 0xF8 and self._foreign is not None:
            self._outgoing += self._foreign.receive(decode_text(datagram), address, now)
        elif len(datagram) < HEADER_BYTES or datagram[0] < 0xF8:
            raise MalformedDatagram("foreign")
        elif datagram[0] != VERSION_BYTE:
            self._advise(datagram, VERSION_MISMATCH, address)
        elif datagram[1] in (Hello.code, Login.code):
            self._receive_stranger(datagram, address, now)
        else:
            self._receive_sealed(datagram, address, now)

    def _advise(self, datagram: bytes, code: str, address: Any) -> None:
        """Answer with LATER, in the asker's version; never what servers say, or two would talk for ever."""
        # SECURITY: test_two_servers_cannot_be_made_to_answer_each_other
        if datagram[1] in _SERVER_TYPES:
            raise MalformedDatagram("not for a server")
        later = datagram[:1] + encode_unsealed(Later(datagram[2:18].ljust(16, b"\0"), code))[1:]
        # SECURITY: test_a_stranger_gets_no_answer_larger_than_its_question
        if len(later) > len(datagram):
            raise MalformedDatagram("question shorter than its answer")
        self._outgoing.append(Datagram(later, address))

    def _receive_stranger(self, datagram: bytes, address: Any, now: float) -> None:
        if len(datagram) != STRANGER_BYTES:
            raise MalformedDatagram("size of HELLO or LOGIN")
        message = decode(datagram[1], datagram[2:])
        if isinstance(message, Login):
            self._receive_login(message, datagram, address, now)
            return
        cookie = self._cookie(address, message.nonce, int(now))
        public = int(self.password == password_bytes(PASSWORD))
        seats, time = self.seats(), self.wall_ms(now)
        offer = Offer(message.nonce, cookie, self._id, seats, self.members_max, public, time, self.room)
        self._outgoing.append(Datagram(encode_unsealed(offer), address))

    def _cookie(self, address: Any, nonce: bytes, second: int) -> bytes:
        """Return what proves, for COOKIE_SECONDS from that one, that a client receives at an address; kept nowhere."""
        stamp, place = second.to_bytes(4, "big"), repr(address[:2]).encode()
        return stamp + hashlib.blake2b(stamp + nonce + place, key=self._cookie_key, digest_size=16).digest()

    def _receive_login(self, login: Login, datagram: bytes, address: Any, now: float) -> None:
        """Take a LOGIN to be answered, unless there are too many, in all or from that address."""
        second = int.from_bytes(login.cookie[:4], "big")
        # SECURITY: test_a_spoofed_address_costs_no_multiplication
        if not hmac.compare_digest(login.cookie, self._cookie(address, login.nonce, second)):
            raise MalformedDatagram("cookie")
        if not 0 <= int(now) - second <= COOKIE_SECONDS:
            raise MalformedDatagram("old cookie")
        # The session of a LOGIN that comes again is the same.
        name = hashlib.blake2b(repr(address).encode() + datagram, key=self._cookie_key, digest_size=4).digest()
        half, place = self._half_open.get(name), address_place(address[0])
        if half is not None:
            self._outgoing.append(Datagram(half.answer, address))
            return
        if name in self._sealed.members or name in self._sealed.ended:
            raise MalformedDatagram("late login")
        waits = not self._sealed.stuck
        if waits and address not in self._waiting:
            # SECURITY: test_guessing_online_is_slow
            # SECURITY: test_one_address_with_thousands_of_ports_keeps_no_stranger_out
            waits = self._waiting.fits(place, LOGIN_QUEUE_MAX) and self._place(address, now)[0].take(1, now)
        if waits:
            self._waiting.put(place, address, (name, login, address))
        else:
            self._advise(datagram, TRY_LATER, address)

    def _place(self, address: Any, now: float) -> List[TokenBucket]:
        """Return what rations a place: its unproven logins, and what its newcomers say and are answered at once."""
        place, said = address_place(address[0]), (self.rate, max(self.rate * RATE_SECONDS, RUN_PARTS_MAX))
        kinds = (1 / LOGIN_SECONDS, LOGIN_BURST), said, (ANSWER_RATE, ANSWER_BURST)
        rations = self._places.get(place) or [TokenBucket(rate, burst, now) for rate, burst in kinds]
        remember(self._places, place, rations, ADDRESSES_MAX)
        return rations

    def _answer_login(self, now: float) -> None:
        """Do the arithmetic of the LOGIN whose turn it is, 2 to 3 ms."""
        name, login, address = self._waiting.next()
        exchange = Exchange(self.password, login.nonce + login.cookie, self.entropy(32))
        try:
            session = Session(name, exchange.key(login.share, name, server=True), server=True)
        except MalformedDatagram as fault:  # A share that can only be an attack.
            self.dropped[str(fault)] += 1
            return
        for given_up in [each for each in self._half_open.values() if each.address == address and each.proof is None]:
            given_up.expires_at = now  # Who tries again has not got in.
        half = HalfOpen(session, session.seal(Keys(login.nonce, exchange.share)), address, now)
        # SECURITY: test_a_server_full_of_begun_logins_lets_strangers_in
        remember(self._half_open, name, half, HALF_OPEN_MAX)
        self._outgoing.append(Datagram(half.answer, address))

    # --- sealed datagrams

    def _receive_sealed(self, datagram: bytes, address: Any, now: float) -> None:
        name, sealed = datagram[2:6], self._sealed
        peer: Any = sealed.members.get(name) or self._half_open.get(name) or sealed.ended.get(name)
        if peer is None:
            self._advise(datagram, UNKNOWN_SESSION, address)
            return
        message = peer.session.open(datagram)
        # SECURITY: test_a_response_from_another_address_moves_nobody
        if address != peer.address and peer.session.newest:
            self._follow(peer, message, address, len(datagram))
        if isinstance(peer, Member):
            peer.heard_at = now
            self._receive_message(peer, message, now)
        elif isinstance(peer, Ended):
            # SECURITY: test_a_session_that_is_over_says_so_only_where_its_member_receives
            if address == peer.address:
                self._outgoing.append(Datagram(peer.session.seal(peer.answer), address))
        elif isinstance(message, Proof):
            if peer.proof is None:
                peer.proof = message
                self._place(peer.address, now)[0].give(1)
                self._waiting.place_turns.pop(address_place(peer.address[0]), None)
            if peer.holder is None and not sealed.stuck:
                self._admit(peer, now)
        elif not isinstance(message, Response):
            raise MalformedDatagram("not yet a member")

    def _follow(self, peer: Any, message: Any, address: Any, size: int) -> None:
        """Move a peer to an address from which it responds to a challenge; else send one, of at most ``size`` bytes.

        What it has to say is kept nowhere: only the server, and who receives there, can know it in this session.
        """
        place = repr(address[:2]).encode()
        token = hashlib.blake2b(peer.session.id + place, key=self._cookie_key, digest_size=8).digest()
        if isinstance(message, Response):
            # SECURITY: test_a_response_from_another_address_moves_nobody
            if hmac.compare_digest(message.token, token):
                peer.address, peer.unproven = address, None
                if isinstance(peer, Member):  # What has gone to the old one meanwhile comes again.
                    self._asked[peer.id, MISSING] = peer, Sync(peer.cursor, 0, 0, ANSWER_DATAGRAMS_MAX)
            return
        peer.unproven = address
        challenge = peer.session.seal(Challenge(token))
        # SECURITY: test_an_address_that_proves_nothing_gets_no_more_than_came_from_it
        if len(challenge) <= size:
            self._outgoing.append(Datagram(challenge, address))

    def _receive_message(self, member: Member, message: Any, now: float) -> None:
        head = self._sealed.head
        if isinstance(message, Sync):
            if message.cursor > head:
                raise MalformedDatagram("cursor above the head")
            member.cursor = max(member.cursor, message.cursor)
            member.rtt_ms = message.rtt_ms
            if message.cursor < head:
                self._watch(member, message.cursor, now)
            for part in message.messages:
                if member.taken < part.number <= member.taken + WINDOW_PARTS:
                    member.early.setdefault(part.number, part)
                    self.submitted[member.id] = member
            if member.session.newest:
                member.echo = member.session.window.highest
                self._asked[member.id, MISSING] = member, message
        elif isinstance(message, Pull):
            if message.view not in (STANDING, EARLIER) or message.until > head:
                raise MalformedDatagram("view above the head")
            self._asked[member.id, message.view] = member, message
        elif isinstance(message, Proof):  # It has not got its WELCOME.
            key = self._sealed.room_key
            self._outgoing.append(self._sealed.send(member, replace(member.welcome, key_id=key.id, key=key.key)))
        elif isinstance(message, Bye):
            self.leave(member, "left", now)
        elif not isinstance(message, Response):
            raise MalformedDatagram("not for a server")

    def _watch(self, member: Member, cursor: int, now: float) -> None:
        """Count a member as lossy if it has lacked something for longer than its path takes."""
        oldest = now
        for number, at in reversed(self._handed):
            if number <= cursor:
                break
            oldest = at
        if now - oldest > 2 * member.rtt_ms / 1000 + LOSSY_AGE_SECONDS:
            self._lossy[member.id] = member, self._sealed.head + LOSSY_ENTRIES
            self._alarms.setdefault("resend", now + LOSSY_SECONDS[0])

    # --- admission

    def _admit(self, half: HalfOpen, now: float) -> None:
        """Let a newcomer in, refuse it, or ask the holder of its name whether it is still there, and see again."""
        proof, ident, text = half.proof, member_id(half.proof.instance), ""
        known, holder = self.members.get(ident), self.names.get(name_key(proof.name))
        # Nothing is here yet that is a newcomer's own, or that of one whose WELCOME may be lost.
        new = known.fresh and not known.echo if known else self.is_new(ident)
        # SECURITY: test_an_instance_is_not_enough_to_take_its_members_place
        own = new or hmac.compare_digest(proof.shown, half.session.show(self._voucher(ident)))
        try:
            half.proof = proof = replace(proof, name=clean_name(proof.name))
            reason = self.refusal(name_key(proof.name), ident, half.address)
        except UsageError as fault:
            reason, text = USERNAME_INVALID, str(fault)
        # SECURITY: test_a_late_attempt_of_an_older_login_neither_moves_a_member_nor_ends_the_server
        if known is not None and proof.attempt < known.attempt or not own:
            reason, text = ANOTHER_LOGIN, ""
        if reason == ROOM_FULL and (known or holder or self._make_room(half.address, now)):
            reason = ""
        if holder is not None and holder is not known and not reason:
            if half.holder is not holder:
                half.holder, half.asked_at, half.pings = holder, now, 0
                if holder.unproven is not None:
                    self._follow(holder, proof, holder.unproven, STRANGER_BYTES)  # Once: less than a login brings.
            # SECURITY: test_the_password_is_not_enough_to_evict_a_live_member
            if holder.heard_at > half.asked_at or not holder.kind.can_answer:
                reason = USERNAME_TAKEN
            elif half.pings < GHOST_PINGS:
                half.expires_at = now + HALF_OPEN_SECONDS
                half.pings += now >= self._unheard_at + GHOST_PING_SECONDS
                self._outgoing += holder.kind.tell([holder], "ask", now)
                self._alarms.sooner("ping", now + GHOST_PING_SECONDS)
                return
            else:
                self.leave(holder, "superseded", now)
        del self._half_open[half.session.id]
        if reason:
            refused = Refused(reason, text or REFUSALS[reason])
            self._outgoing.append(self._sealed.end(half.session, half.address, refused, now))
            self.note(Activity("refused", proof.name, half.address, reason))
        else:
            self._join(half, proof, known, now)

    def _voucher(self, ident: bytes) -> bytes:
        """Return what shows that this room has admitted that member before; kept nowhere."""
        return hashlib.blake2b(ident, key=self._secret, digest_size=16).digest()

    def refusal(self, key: str, ident: bytes, address: Any) -> str:
        """Return the code word why somebody may not come in who would take a new seat, or ""."""
        if key in self._bans or any(member.id == ident for member, _ in self._bans.values()):
            return KICKED
        # SECURITY: test_who_was_kicked_is_not_back_as_a_new_process_with_another_name
        closed = {address_place(member.address[0]) for member, _ in self._bans.values()}
        if address_place(address[0]) in closed and self.is_new(ident):
            return ADDRESS_CLOSED
        return ROOM_FULL if self.seats() >= self.members_max else ""

    def seats(self) -> int:
        """Return how many seats are taken."""
        return len(self.names) - (self.operator is not None)

    def is_new(self, ident: bytes) -> bool:
        """Return whether nobody with that id is or was here, as far as the room and its log remember."""
        return not (ident in self.members or ident in self._guests or self.log.taken(ident) or self.log.knows(ident))

    def _make_room(self, address: Any, now: float) -> bool:
        """Take the newest seat of the place that has most, if it has two more than the newcomer's; return whether."""
        newest = {address_place(member.address[0]): member for member in self.names.values()}
        seats = collections.Counter(address_place(member.address[0]) for member in self.names.values())
        [(place, most)] = seats.most_common(1)
        # SECURITY: test_one_address_that_fills_the_room_keeps_no_stranger_out
        if most < seats[address_place(address[0])] + 2:
            return False
        self.leave(newest[place], "crowded out", now)
        return True

    def note(self, event: Any) -> None:
        """Report something for the server's own log, or to the operator."""
        self._events.append(event)

    def _join(self, half: HalfOpen, proof: Proof, known: Optional[Member], now: float) -> None:
        if known is not None and known.name != proof.name:
            self.leave(known, "left", now)
            known = None
        head, ident, start, member = self._sealed.head, member_id(proof.instance), proof.cursor, known
        resumed = start <= head and self.log.agrees(start, proof.entry_time)
        if not resumed:
            # Whose log ended before ours began was here before a restart, and all of ours is news to it.
            older = 0 < proof.entry_time < self.log.began
            # SECURITY: test_history_a_client_asks_for_is_bounded
            paid = self._place(half.address, now)[2].take(proof.earlier // EARLIER_ROWS, now)
            earlier = proof.earlier if paid else min(proof.earlier, EARLIER_DEFAULT)
            start = self.log.oldest - 1 if older else self.log.start(earlier, head + 1)
        if member is None:
            member = Member(self._sealed, ident, proof.name, half.address, self.log.taken(ident))
            member.fresh = self.is_new(ident)
            self.join(member, now)
            remember(self._guests, ident, None, GUESTS_MAX)
        else:
            del self._sealed.members[member.handle]
            self.note(Activity("back", member.name, half.address, members=self.seats()))
        member.early.clear()
        member.taken, member.told = max(member.taken, proof.oldest - 1), max(member.told, proof.oldest - 1)
        member.session, member.address, member.attempt = half.session, half.address, proof.attempt
        member.handle, member.heard_at = half.session.id, now
        key, here = self._sealed.room_key, min(len(self.names), 0xFFFF)
        voucher, at = self._voucher(ident), self.log.time_at(start)
        member.welcome = Welcome(
            ident, voucher, start, at, resumed, head, member.told, key.id, key.key, here, proof.name, self.room
        )
        self._sealed.members[member.handle] = member
        self._outgoing.append(self._sealed.send(member, member.welcome))

    def join(self, member: Member, now: float) -> None:
        """Let a new member in: its JOINED stands as long as it is here."""
        self.append(JOINED, now, author=member.id, name=member.name, text=member.kind.note)
        member.joined_at, member.heard_at = now + self.epoch, now
        # SECURITY: test_logging_in_anew_again_and_again_gives_no_more_than_staying
        member.bucket, member.answers = (bucket.share(now) for bucket in self._place(member.address, now)[1:])
        self.names[member.key] = self.members[member.id] = member
        self._away.pop(member.key, None)
        for ident, place, until in list(self._mutes.values()):
            # SECURITY: test_who_is_muted_stays_so_under_another_name_and_as_another_process
            near = member.fresh and place == address_place(member.address[0])
            if member.key not in self._mutes and (member.id == ident or near):
                self._mute(member, until, now)
        if member is not self.operator:
            self.note(Activity("joined", member.name, member.address, members=self.seats()))

    def leave(self, member: Member, why: str, now: float) -> None:
        """Remove a member, and tell it so."""
        del self.names[member.key], self.members[member.id]
        del member.kind.members[member.handle]
        member.early.clear()
        if member.key in self._holds.hands and why in ("timed out", "superseded", "crowded out"):
            self._away[member.key] = now + HAND_SECONDS
        elif member.key in self._holds.hands:
            self.append(LOWERED, now, name=member.name, text=why)
        self._sealed.rekey = True
        self._outgoing += member.kind.tell([member], why, now)
        self.append(LEFT, now, author=member.id, name=member.name, text=why)
        self.note(Activity(why, member.name, member.address, members=self.seats()))

    def _sweep(self, now: float) -> None:
        self._alarms["sweep"] = now + SWEEP_SECONDS
        for member in list(self.names.values()):
            if now - max(member.heard_at, self._unheard_at) > member.kind.silent_seconds:
                self.leave(member, "timed out", now)
        self.log.forget(self.wall_ms(now))
        for half in [half for half in self._half_open.values() if now >= half.expires_at]:
            del self._half_open[half.session.id]
            if half.proof is None:
                self.note(Activity("abandoned", address=half.address))
        self._bans = {name: banned for name, banned in self._bans.items() if now < banned[1]}
        for key in [key for key, (_, _, until) in self._mutes.items() if now >= until]:
            self.unmute(key, now)
        for key in [key for key, until in self._away.items() if now >= until]:
            del self._away[key]
            if key in self._holds.hands:
                self.append(LOWERED, now, name=self._holds.hands[key][2].name, text="timed out")
        self._sealed.ended = {name: ended for name, ended in self._sealed.ended.items() if now < ended.until}

    # --- messages

    def append(self, kind: int, now: float, **fields: Any) -> None:
        """Append an entry of the server's own."""
        entry = Entry(kind, self.wall_ms(now), **fields)
        record = Record(encode_entry(entry), entry.time, entry.author, 0)
        self.log.append([record])
        self._keep(self.log.head, entry, record)

    def _keep(self, number: int, entry: Entry, record: Record) -> None:
        """Let an entry stand, if it is of such a kind, and what it ends no longer."""
        for ended in self._holds.take(number, entry):
            self.standing.pop(ended, None)
        if entry.kind in STANDS:
            self.standing[number] = record

    def submit(self, member: Member, kind: int, text: str, to: bytes = b"") -> None:
        """Have what somebody says who numbers nothing taken in its turn; raises UsageError."""
        parts = split_parts(clean_text(text))
        if len(member.early) + len(parts) > WINDOW_PARTS:
            raise UsageError("Too much is waiting to be sent; try again in a moment.", FULL)
        for part in parts:
            number = member.taken + len(member.early) + 1
            mark = kind | FIRST * (part is parts[0]) | LAST * (part is parts[-1])
            member.early[number] = Submission(number, mark, to, part)
        self.submitted[member.id] = member

    def _take(self, now: float) -> None:
        """Append what members have submitted, as far as their buckets and this turn allow; the rest a message each."""
        budget = FLUSH_DATAGRAMS_MAX * BATCH_BYTES_MAX
        submitted, self.submitted = self.submitted, {}
        for member in submitted.values():
            if self._turns or budget <= 0:
                self._turns.put(address_place(member.address[0]), member.id, member)
            else:
                budget -= self._take_from(member, budget, now)
        # SECURITY: test_a_quiet_members_line_waits_for_no_crowd_of_loud_ones
        while self._turns and budget > 0:
            budget -= self._take_from(self._turns.next(), 1, now)
        if self._turns:
            self._alarms["turn"] = now + TURN_SECONDS

    def _take_from(self, member: Member, budget: int, now: float) -> int:
        """Append one member's complete messages, until so many bytes are reached; return their bytes."""
        size = 0
        try:
            run = member.next_run()
            while run and size < budget and member.bucket.take(len(run), now):
                self._took[member.id] = member
                size += self.append_run(member, run, now)
                run = member.next_run()
        except MalformedDatagram as fault:
            self.dropped[str(fault)] += 1
            return size
        if run and size >= budget:
            self._turns.put(address_place(member.address[0]), member.id, member)
        elif run:
            self.submitted[member.id] = member
            self._alarms.sooner("turn", max(member.bucket.ready_at(len(run)), now + TURN_SECONDS))
        return size

    def append_run(self, member: Member, run: Sequence[Submission], now: float) -> int:
        """Append the parts of one message, or its refusal; return their bytes."""
        at, to, recipient = self.wall_ms(now), run[0].to, self.members.get(run[0].to)
        kind, names = run[0].kind & KIND_BITS, encode_string(member.name)
        code, audience = "", None
        if to:
            code = "" if recipient else HAS_LEFT
            audience = member.id + to
        if self._holds.muted and member is not self.operator and kind != LOWERED:
            free = kind == HAND or recipient is not None and recipient is self.operator
            # SECURITY: test_what_is_muted_reaches_nobody
            code = self._holds.hushed(member.key, free) or code
        if code:
            audience = member.id
        elif recipient:
            names = to + names + encode_string(recipient.name)
        records = []
        for part in run:
            del member.early[part.number]
            if code:
                first, last = bool(part.kind & FIRST), bool(part.kind & LAST)
                data = encode_entry(Entry(REFUSED, at, number=part.number, text=code, first=first, last=last))
            else:
                data = encode_part(part.kind, at, member.id, part.number, names, part.text)
            records.append(Record(data, at, member.id, part.number, audience))
        self.log.append(records)
        if kind >= HAND and not code:
            self._keep(self.log.head, decode_entry(records[-1].data), records[-1])
        member.taken += len(run)
        member.messages += 1
        return sum([len(record.data) for record in records])

    def _flush(self, now: float) -> None:
        """Make what is new permanent, answer every SYNC that the new entries do not answer, hand them out."""
        sealed, after = self._sealed, self._sealed.head
        if not self._commit(now):
            self._answer(after)
            return
        for member in self._took.values():
            member.told = member.taken
        sealed.head = head = self.log.head
        # SECURITY: test_who_has_left_can_read_nothing_more
        if sealed.rekey:
            sealed.room_key = RoomKey(sealed.room_key.id + 1, self.entropy(32))
        self._answer(after)
        self._took.clear()
        if head > after:
            records = list(self.log.records(after + 1, head))
            for kind in self._kinds:
                self._outgoing += kind.deliver(after, records)
            self._alarms.update((name, now + seconds) for name, seconds in _BEATS.items())
            self._handed.append((head, now))
            if self._lossy:
                self._resent = 0
                self._alarms.sooner("resend", now + LOSSY_SECONDS[0])
        sealed.rekey = False

    def _commit(self, now: float) -> bool:
        """Write the log and return whether that worked; if not, members are told, and it is tried again."""
        if "write" in self._alarms and not self._alarms.due("write", now):
            return False
        reason = ""
        try:
            self.log.commit()
        except LogFailure as fault:
            reason, self._alarms["write"] = str(fault), now + STUCK_SECONDS
        if bool(reason) != self._sealed.stuck:
            for half in self._half_open.values():
                half.holder = None  # Nobody is admitted meanwhile; who still asks is contested anew.
            what = "stuck" if reason else "goes on"
            self.note(Activity(what, why=reason))
            for kind in self._kinds:
                kind.stuck = bool(reason)
                self._outgoing += kind.tell(kind.members.values(), what, now)
        return not reason

    # --- answers

    def _answer(self, after: int) -> None:
        """Answer what members have asked for with what stands up to ``after``; the rest is about to be handed out.

        One turn does ANSWER_WORK_MAX, and each member pays for its own; who is left over comes first in the next.
        """
        now, work = self._ticked_at, ANSWER_WORK_MAX
        key_id = self._sealed.room_key.id
        asked, self._asked = self._asked, {}
        for (ident, view), (member, question) in asked.items():
            # What is handed out now shows a sender what was taken; of a gap, which may be on its way, it asks again.
            first = view == MISSING and question.most == ANSWER_DATAGRAMS_MAX and question.key_id == key_id
            near = first and after - BUFFER_ENTRIES_MAX <= question.cursor and after < self._sealed.head
            coming = near and ident in self._took
            if coming or member.handle not in self._sealed.members:
                continue
            # SECURITY: test_questions_that_are_much_work_are_rationed
            if work > 0 and member.answers.take(ANSWER_WORK_MAX, now):
                done = self._answer_question(member, view, question, after, work)
                member.answers.give(ANSWER_WORK_MAX - done)
                work -= done
                continue
            self._asked[ident, view] = member, question
            ready_at = now if work <= 0 else member.answers.ready_at(ANSWER_WORK_MAX)
            self._alarms.sooner("turn", max(ready_at, now + TURN_SECONDS))

    def _answer_question(self, member: Member, view: int, question: Any, until: int, work: int) -> int:
        """Send what the member lacks of a view, or up to ``until``, till it is more than ``work``; return how much."""
        log, before, most = self.log, self.log.work, min(max(question.most, 1), ANSWER_DATAGRAMS_MAX)
        until = until if view == MISSING else question.until or self._sealed.head
        start = self._earlier_start(question.count, until) if view == EARLIER else 0
        flags = BEGINNING * (view == EARLIER and start < log.oldest)
        have = min(max(question.cursor, start), until)
        if view == STANDING:
            log.work += len(self.standing) // 8
            standing = [(number, record) for number, record in self.standing.items() if have < number <= until]
            found = cut_pieces(pieces(standing, have, until, member.id), have)
        else:
            found = batches(log, have, min(until, max(have, log.oldest - 1) + ANSWER_WORK_MAX), member.id)
        cuts: List[Cut] = []
        for cut in itertools.islice(found, most):
            cuts.append(cut)
            if ANSWER_WORK * len(cuts) + log.work - before > work:
                break
        cuts = cuts or [(until + 1, until, b"")]
        for first, last, entries in cuts:
            more = ASK if last == cuts[-1][1] < until else 0
            if view == MISSING:
                self._outgoing.append(self._sealed.entries(member, more, (first, last, entries), member.echo))
            else:
                page = Page(view, flags | more, start, encode_batch(until, first, entries))
                self._outgoing.append(self._sealed.send(member, page))
        return ANSWER_WORK * len(cuts) + log.work - before

    def _earlier_start(self, count: int, until: int) -> int:
        """Return the cursor that has the last ``count`` messages up to ``until`` ahead of it, or all that is left."""
        start = max(self.log.start(min(count, EARLIER_MAX), until + 1), self.log.oldest - 1)
        alone = self.log.start(1, start + 1) == start  # No message stands before those.
        return min(self.log.oldest - 1 if alone else start, until)

    def _resend(self, now: float) -> None:
        """Send the newest entries once more to those who lose much, until they are known to have them.

        Where no newer entry comes soon, they are asked whether they have.
        """
        head = self._sealed.head
        for member, until in list(self._lossy.values()):
            if head > until or member.handle not in self._sealed.members:
                del self._lossy[member.id]
            else:
                cuts = batches(self.log, max(member.cursor, head - LOSSY_COUNT), head, member.id)
                paid = [cut for cut in cuts if member.answers.take(ANSWER_WORK, now)]
                self._outgoing += [self._sealed.entries(member, ASK * (self._resent > 1), cut) for cut in paid]
        self._resent += 1
        if self._resent < len(LOSSY_SECONDS):
            again_at = self._handed[-1][1] + LOSSY_SECONDS[self._resent]
            self._alarms["resend"] = max(again_at, now + LOSSY_SECONDS[0])

    def _beat(self, now: float) -> None:
        """Say where the head is: soon after the newest entry to those not known to be there, then to all."""
        due = [name for name in _BEATS if self._alarms.due(name, now)]
        if not due:
            return
        if "heartbeat" in due:
            self._alarms["heartbeat"] = now + HEARTBEAT_SECONDS
        head, here = self._sealed.head, self._sealed.members.values()
        members = [member for member in here if "heartbeat" in due or member.cursor < head]
        self._outgoing += self._sealed.fan_out([encode_batch(head, head + 1, b"")], members)


# ======================================================================================================
# 11. Client
# ======================================================================================================
# One member as a value.  It keeps a cursor into the room's log and moves it to the head; what it is missing it
# asks for with SYNC, whatever else it wants to see with PULL.  While a silent session may still be alive it pulls
# on with it and looks for the server anew at the same time; whichever answers first is believed.


class State(enum.Enum):
    """Where a client stands; the value is what people read."""

    IDLE = "not connected"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    LEAVING = "leaving"
    ENDED = "left"


class Queued(Value):
    """A text of this client's own is on its way; ``entry`` is what is going to stand in the log."""

    number: int
    entry: Entry


class Sent(Value):
    """The text with that number is in the log, and trimmed there; or, not ``confirmed``, with an original server."""

    number: int
    confirmed: bool


class NotSent(Value):
    """A text cannot be delivered: its number, the code word and the sentence that says why, and what was said."""

    number: int
    code: str
    text: str
    reason: str


class EarlierRead(Value):
    """History that was asked for, oldest first; ``beginning``: nothing stands before it."""

    events: Tuple[Happened, ...]
    beginning: bool


class Disconnected(Value):
    """The connection is lost; the client goes on trying by itself."""

    text: str
    code: str = ""  # WRONG_PASSWORD where a server is there now that does not have this password.


class LoginFailed(Value):
    """The client stopped trying, for the reason given; login() starts again."""

    code: str
    text: str


class Status(Value):
    """How it is with the connection, reported whenever that is another."""

    state: State
    waiting: int  # Own texts without receipt.
    rtt_ms: int
    silent: int  # Seconds unanswered.
    stuck: bool = False  # Whether the server's disk is full and messages wait.


class ServerFound(Value):
    """A server has answered to a search; ``public``: with the default password in force."""

    room: str
    members: int
    members_max: int
    address: Any
    public: bool = False


class LoginAttempt:
    """HELLO, LOGIN and PROOF of one login: finds a server that proves the password, and its session.

    Of its client's alarms, "login" is for when to ask again, "failed" for when it has failed.
    """

    def __init__(self, password: bytes, addresses: Sequence[Any], entropy: Entropy, alarms: Alarms, now: float) -> None:
        """Ask at all the addresses; a client never compares addresses, nonce and tag decide."""
        self.address: Any = None
        self.session: Optional[Session] = None
        self.answered = False
        self.failure = NO_ANSWER  # Why it fails, if it does now.
        self._password, self._addresses, self._entropy, self._alarms = password, addresses, entropy, alarms
        self._timer = Timer(alarms, "login", entropy)
        self._nonce = entropy(16)
        self._offers: Dict[Any, Offer] = {}  # By address; each is asked when those before it are tested.
        self._tested: List[bytes] = []
        self._exchange: Optional[Exchange] = None
        self._login = b""
        self._unanswered = 0
        self._ask_at_once(now)

    def _ask_at_once(self, now: float) -> None:
        self._alarms["failed"] = now + LOOK_SECONDS
        self._timer.start(now, HELLO_SECONDS, 2 * HELLO_SECONDS, at_once=True)

    def questions(self, proof: Proof, now: float) -> List[Datagram]:
        """Return what to send now, and arm the timer for the repeat."""
        self._timer.again(now)
        if self.session is not None:
            return [Datagram(self.session.seal(proof), self.address)]
        if self._unanswered >= LOGINS_UNANSWERED_MAX:
            # A new cookie: this one is of a server that is gone, or of an address that this client had.
            self._nonce = self._entropy(16)
            self._offers = dict(list(self._offers.items())[: len(self._tested)])
            self._exchange, self._login, self._unanswered = None, b"", 0
        if self._login:
            self._unanswered += 1
            return [Datagram(self._login, self.address)]
        hello = encode_unsealed(Hello(self._nonce))
        return [Datagram(hello, address) for address in self._addresses]

    def receive(self, datagram: bytes, address: Any, now: float) -> None:
        """Take an OFFER, KEYS or LATER; raises MalformedDatagram for what is not of this attempt."""
        tagged = datagram[1] == Keys.code
        message = decode(datagram[1], datagram[HEADER_BYTES:-TAG_BYTES] if tagged else datagram[2:])
        if not hmac.compare_digest(message.nonce, self._nonce):
            raise MalformedDatagram("not of this login")
        if not self.answered:
            self.answered, self._alarms["failed"] = True, now + LOOK_SECONDS
        if isinstance(message, Keys):
            self._receive_keys(message, datagram, now)
        elif isinstance(message, Later):
            # SECURITY: test_advice_does_not_undo_a_wrong_password
            if message.reason in (TRY_LATER, VERSION_MISMATCH) and not self._tested:
                self.failure = message.reason
                if message.reason == TRY_LATER:
                    self._alarms["failed"] = now
        # SECURITY: test_who_copies_the_id_of_a_server_does_not_hide_it
        elif address not in self._offers and len(self._offers) < KEYS_TESTED_MAX:
            self._offers[address] = message
            if len(self._offers) == len(self._tested) + 1:
                self._answer_offer(now)

    def _answer_offer(self, now: float) -> None:
        """Ask the next server that has made an offer, if there is one, for its KEYS."""
        if len(self._offers) > len(self._tested):
            self.address, offer = list(self._offers.items())[len(self._tested)]
            self._exchange = Exchange(self._password, self._nonce + offer.cookie, self._entropy(32))
            self._login = encode_unsealed(Login(self._nonce, offer.cookie, self._exchange.share))
            self._unanswered = 0
            self._ask_at_once(now)

    def _receive_keys(self, keys: Keys, datagram: bytes, now: float) -> None:
        # SECURITY: test_a_false_server_tests_two_guesses_at_most
        fresh = self.session is None and datagram not in self._tested and len(self._tested) < KEYS_TESTED_MAX
        if self._exchange is None or not fresh:
            raise MalformedDatagram("not of this login")
        self._tested.append(datagram)
        try:
            session = Session(datagram[2:6], self._exchange.key(keys.share, datagram[2:6], server=False), server=False)
            session.verify(datagram)
        except MalformedDatagram:
            # The true server may still speak, or another one that is asked now.
            self.failure, self._alarms["failed"] = WRONG_PASSWORD, now + KEYS_SECONDS
            self._answer_offer(now)
            raise
        self.session, self.failure = session, NO_ANSWER
        self._ask_at_once(now)


class Stream:
    """Puts numbered entries into order: a cursor, and what waits above a gap."""

    def __init__(self, cursor: int, entry_time: int) -> None:
        """Everything up to ``cursor`` is known, whose entry has that time."""
        self.cursor = cursor
        self.time = entry_time
        self._above: Dict[int, Entry] = {}

    def read(self, entries: Sequence[Tuple[int, Entry]]) -> Iterator[Tuple[int, Entry]]:
        """Yield what comes next, of a SKIP what is new, each with the cursor that is then behind it."""
        ready: Iterable[Tuple[int, Entry]] = entries
        if self._above or entries and entries[0][0] > self.cursor + 1:
            self._above.update(pair for pair in entries if pair[0] <= self.cursor + BUFFER_ENTRIES_MAX)
            ready = ((number, self._above[number]) for number in sorted(self._above))
        for number, entry in ready:
            if number > self.cursor + 1:
                break
            self._above.pop(number, None)
            covered = number + entry.count - 1 - self.cursor
            if covered > 0:
                self.cursor, self.time = self.cursor + covered, entry.time
                yield self.cursor, entry if entry.count == covered else replace(entry, count=covered)


class Pages(Stream):
    """A view of the log up to ``until``, read page by page; see Pull."""

    def __init__(self, until: int, count: int = 0) -> None:
        """``until`` 0 is where the server's head is."""
        super().__init__(0, 0)
        self.until, self.count = until, count
        self.entries: List[Tuple[int, Entry]] = []
        self.start = -1  # Not known yet.

    def read_page(self, page: Page) -> bool:
        """Take a page; return whether it brings something new; raises MalformedDatagram."""
        head, entries = decode_batch(page.batch)
        if self.start < 0 and page.start <= head and self.until in (0, head):
            self.start, self.cursor, self.until = page.start, page.start, head
        if self.start < 0 or head != self.until:
            raise MalformedDatagram("not asked for")
        before = self.cursor
        self.entries += [pair for pair in self.read(entries) if pair[1].why != HIDDEN]
        del self.entries[ROSTER_MAX:]
        return self.cursor > before


class Outbox:
    """What this client has said and the log has not confirmed, in parts whose numbers only grow.

    ``settled`` <= ``taken`` <= ``on_way`` <= ``newest``: nothing up to the first is needed any more, the server has
    taken everything up to the second, and each up to the third was sent at least once.
    """

    def __init__(self) -> None:
        self.settled = self.taken = self.on_way = self.newest = 0
        self.texts: Dict[int, Queued] = {}  # By the number of the last part.
        self._parts: Dict[int, Submission] = {}
        self._early = (0, 0)  # Which parts the server holds and has not taken: see ENTRIES.
        self._taken_head = 0  # Where the log ended when that much was taken.

    def add(self, queued: Queued, parts: Sequence[bytes]) -> None:
        """Take a text on its way; raises UsageError where too much waits."""
        if len(self._parts) + len(parts) > OUTBOX_PARTS_MAX:
            raise UsageError("Too much is waiting to be sent; try again when the connection is back.", FULL)
        for part in parts:
            self.newest += 1
            mark = queued.entry.kind | FIRST * (part is parts[0]) | LAST * (part is parts[-1])
            self._parts[self.newest] = Submission(self.newest, mark, queued.entry.to, part)
        self.texts[self.newest] = queued

    def parts(self, again: bool) -> List[Submission]:
        """Return what may be sent now and was not yet; ``again``: and what was, but may be lost."""
        numbers = range((self.taken if again else self.on_way) + 1, min(self.taken + WINDOW_PARTS, self.newest) + 1)
        base, held = self._early
        return [self._parts[number] for number in numbers if not held >> number - base - 1 & 1]

    def start(self, taken: int, head: int) -> None:
        """A new session: the server has taken so much, and what else was on its way may be lost."""
        self.taken = self.on_way = max(self.settled, min(taken, self.newest))
        self._early = (self.taken, 0)
        self._taken_head = head

    def note_taken(self, taken: int, early: int, head: int) -> bool:
        """The server has taken so much, and holds ``early`` of what follows; return whether that is news."""
        if not self.taken <= taken <= self.newest or (taken, early) == self._early:
            return False
        if taken > self.taken:
            self.taken, self._taken_head = taken, head
            self.on_way = max(self.on_way, taken)
        self._early = (taken, early)
        return True

    def settle(self, number: int) -> Optional[Queued]:
        """Return the text whose last part has that number, if it waited: nothing up to it will be sent again."""
        queued = self.texts.pop(number, None)
        if queued is not None:
            for at in range(self.settled + 1, number + 1):
                self._parts.pop(at, None)
            self.settled = max(self.settled, number)
            self.taken, self.on_way = max(self.taken, number), max(self.on_way, number)
        return queued

    def trimmed(self, cursor: int) -> List[Queued]:
        """Settle the texts taken before an entry that has passed already: they did not come back, but were trimmed."""
        gone = [] if cursor < self._taken_head else list(itertools.takewhile(self.taken.__ge__, self.texts))
        return [queued for queued in map(self.settle, gone) if queued is not None]


class Client(Core):
    """One member.  Inputs: login, say, earlier, finish, leave, receive, tick.  Outputs: as the server's."""

    def __init__(self, entropy: Entropy, epoch: float, earlier: int = EARLIER_DEFAULT, patience: float = 0.0) -> None:
        """``earlier`` messages of history are asked for; ``patience`` seconds without a connection end it."""
        super().__init__(epoch)
        self.state = State.IDLE
        self._entropy, self._earlier, self._patience = entropy, earlier, patience
        self._vouchers: List[bytes] = []  # That servers gave for the instance, the newest first.
        self._instance = self._id = b""
        self._name = self._room = ""
        self._password = b""
        self._addresses: Sequence[Any] = ()
        # Login.
        self._attempt: Optional[LoginAttempt] = None
        self._attempts = 0
        self._again = Timer(self._alarms, "again", entropy)
        self._login_until = 0.0
        self._returns = False
        self._disproved = False  # While reconnecting, a server was found that has another password.
        # Reading.
        self._session: Optional[Session] = None
        self._address: Any = None
        self._keys: Dict[int, bytes] = {}
        self._stream = Stream(0, 0)
        self._runs = RunReader()
        self._head = self._earlier_until = 0
        self._first = 1  # The first number that was reported, or would have been.
        self._views: Dict[int, Pages] = {}
        self._shown: Dict[bytes, int] = {}
        self._standing = Standing()  # What holds here: as the view had it, and the log behind it.
        self._standing_as_of = 0
        self._held: List[Any] = []  # What happened in the room, until the members are known.
        self._stuck = False
        # Writing.
        self._outbox = Outbox()
        self._said = 0
        self._finishing = False
        # Asking; see _arm().
        self._retry = Timer(self._alarms, "retry", entropy)
        self._repeats = 0  # Since something that was missing has come: then what still is has all its time again.
        self._asked_at: Dict[int, float] = {}
        self._unanswered_at: Optional[float] = None  # Never None while reconnecting.
        self._quiet_seconds = random_draw(entropy, QUIET_SECONDS)
        self._round_trip = RoundTrip()
        self._ticked_at = 0.0
        self._status: Optional[Status] = None

    # --- inputs

    def login(self, name: str, password: str, addresses: Sequence[Any], now: float) -> None:
        """Start to log in at the addresses; what is not sent yet stays so.  Ends in Connected or LoginFailed."""
        self._name, self._password, self._addresses = name, password_bytes(password), addresses
        self._login_until = now + LOGIN_SECONDS_MAX
        self._returns = False
        self._enter(State.CONNECTING)
        self._look(now)

    def say(self, text: str, now: float, action: bool = False, to_name: str = "", number: int = 0) -> None:
        """Send a text to all, or to one member; reports Queued, then Happened or Sent, or NotSent.

        ``number`` is the caller's own for it, higher than any before; by itself the client counts from 1.
        """
        self._offer(PRIVATE if to_name else ACTION if action else TEXT, text, to_name, number, now)

    def hand(self, question: Optional[str], now: float, number: int = 0) -> None:
        """Raise the hand, with a question or none (""), or ask another one; None lowers it.  Reports as say() does."""
        self._offer(LOWERED if question is None else HAND, question or "", "", number, now)

    def _offer(self, kind: int, text: str, to_name: str, number: int, now: float) -> None:
        self._said = number = number or self._said + 1
        to_name = display_text(to_name, " ")  # It comes back in sentences.
        try:
            text = clean_text(text) if text or kind not in HOLDING else ""
            self._submit(Queued(number, Entry(kind, self.wall_ms(now), self._id, 0, self._name, b"", to_name, text)))
        except UsageError as fault:
            self._events.append(NotSent(number, fault.code, text, str(fault)))

    def _submit(self, queued: Queued) -> None:
        """Put a text on its way; raises UsageError."""
        entry = queued.entry
        if entry.kind == PRIVATE:
            here = {name_key(each.name): ident for ident, (_, _, each) in self._standing.members.items()}
            if name_key(entry.to_name) not in here:
                raise UsageError("Nobody here is called %s. Nothing was sent." % entry.to_name, NO_SUCH_NAME)
            queued = replace(queued, entry=replace(entry, to=here[name_key(entry.to_name)]))
        parts = split_parts(entry.text) or [b""]
        if entry.kind in HOLDING and len(parts) > 1:
            said = "A question has at most %d bytes; say more when you are called."
            raise UsageError(said % PART_BYTES_MAX, TOO_LONG)
        on_way = [each.entry.kind for each in self._outbox.texts.values()] if entry.kind == LOWERED else [HAND]
        if HAND not in on_way and not self._standing.place(self._name):
            raise UsageError("Your hand is not raised.")
        self._outbox.add(queued, parts)
        self._events.append(queued)

    def earlier(self, count: int, now: float) -> None:
        """Ask for the last ``count`` messages before the first that was shown; reports EarlierRead."""
        if self._first <= 1:
            self._events.append(EarlierRead((), True))
        elif EARLIER not in self._views:
            self._views[EARLIER] = Pages(self._first - 1, min(max(count, 1), EARLIER_MAX))
            if self._session is not None:  # Else it is asked with the next one.
                self._alarms["ask"] = now

    def finish(self, now: float) -> None:
        """Leave as soon as everything that was said is confirmed."""
        self._finishing = True

    def leave(self, now: float) -> None:
        """Say goodbye; ``done`` turns true when the server has confirmed it, or shortly after."""
        if self.state is State.LEAVING:
            return
        if self._attempt is not None and self._attempt.session is not None:  # The room may have let it in by now.
            self._session, self._address = self._attempt.session, self._attempt.address
        session = self._session
        self._enter(State.LEAVING if session else State.ENDED)
        if session is not None:
            self._session = session
            self._alarms["left"] = now + LEAVE_SECONDS
            self._retry.start(now, RETRY_SECONDS, RETRY_SECONDS_MAX, at_once=True)

    def tick(self, now: float) -> None:
        """Do what is due."""
        if now - self._ticked_at > SLEEP_SECONDS:
            if self._unanswered_at is not None:
                self._unanswered_at = now
            if self._session is not None:
                self._alarms["ask"] = now
        self._ticked_at = now
        if self._session is not None and self.state is not State.LEAVING:
            self._tick_session(now)
        if self.state is State.LEAVING:
            self._alarms.pop("ask", None)
            if self._alarms.due("left", now):
                self._enter(State.ENDED)
            elif self._alarms.due("retry", now):
                self._send(Bye(""))
                self._retry.again(now)
        elif self.state not in (State.IDLE, State.ENDED):
            self._tick_login(now)
        silent = 0 if self._unanswered_at is None else int(now - self._unanswered_at)
        rtt_ms, waiting = self._round_trip.milliseconds(), len(self._outbox.texts)
        status = Status(self.state, waiting, rtt_ms, silent, self._stuck)
        if status != self._status:
            self._status = status
            self._events.append(status)
        if self.state not in (State.IDLE, State.ENDED):
            self._alarms["tick"] = now + (TICK_SECONDS_MAX if self._unanswered_at is None else 1.0)

    # --- outputs

    def _report(self, *events: Any) -> None:
        """Report what happened in the room, behind Connected, and note who came and went."""
        if STANDING in self._views:
            self._held += events
            if len(self._held) > HELD_EVENTS_MAX:
                del self._views[STANDING]
                self._report_connected()
                self._views[STANDING] = Pages(self._stream.cursor)  # What was told now is part of that view.
            return
        for event in events:
            self._events.append(event)
            if isinstance(event, Happened) and not event.earlier and event.seq > self._standing_as_of:
                self._standing.take(event.seq, event.entry)

    def _report_connected(self) -> None:
        # Its own JOINED may be newer than the view, and is not reported.
        here = tuple(self._standing.entries())
        names = {self._id: self._name, **{entry.author: entry.name for _, entry in here if entry.kind == JOINED}}
        self._events.append(Connected(self._room, self._name, self._id, tuple(names.items()), self._returns, here))
        self._returns = True
        held, self._held = self._held, []
        self._report(*held)

    # --- login

    def _enter(self, state: State) -> None:
        """Take a state without a session, and stop whatever was tried."""
        self.state = state
        self.done = state is State.ENDED
        self._session = self._attempt = self._unanswered_at = None
        self._again.most = 0.0
        self._alarms.clear()

    def _look(self, now: float) -> None:
        """Start an attempt, unless one is under way or waits; the session, if there still is one, goes on meanwhile."""
        if self._attempt is None and "again" not in self._alarms:
            self._attempts += 1
            if not self._vouchers:  # A room that knows this instance, if its WELCOME was lost, would not believe it.
                self._instance = self._entropy(16)
                self._id = member_id(self._instance)
            self._attempt = LoginAttempt(self._password, self._addresses, self._entropy, self._alarms, now)

    def _tick_login(self, now: float) -> None:
        if self._alarms.due("again", now):
            self._look(now)
        failed, ask = self._alarms.due("failed", now), self._alarms.due("login", now)
        lost_at = self._unanswered_at if self.state is State.RECONNECTING else None
        if self._patience and lost_at is not None and now >= lost_at + self._patience:
            words = "" if self._disproved else "The connection was lost and did not come back."
            self._fail(WRONG_PASSWORD if self._disproved else NO_ANSWER, words)
        elif self._attempt is not None and failed:
            self._attempt_failed(self._attempt.failure, now)
        elif self._attempt is not None and ask:
            session, cursor, at = self._attempt.session, self._stream.cursor, self._stream.time
            shown = session.show((*self._vouchers, bytes(16))[0]) if session else b""
            oldest = self._outbox.settled + 1
            proof = Proof(self._attempts, self._instance, shown, cursor, at, oldest, self._earlier, self._name)
            self._outgoing += self._attempt.questions(proof, now)

    def _attempt_failed(self, code: str, now: float) -> None:
        """Try again later where that can help, else tell the person."""
        answered = self._attempt is not None and self._attempt.answered
        self._attempt = None
        helps = answered and code in (TRY_LATER, NO_ANSWER, ANOTHER_LOGIN) and now < self._login_until
        most = AGAIN_WRONG_SECONDS_MAX if code == WRONG_PASSWORD else AGAIN_SECONDS_MAX
        if code == WRONG_PASSWORD and self.state is State.RECONNECTING and not self._disproved:
            self._disproved = True
            self._events.append(Disconnected("The server has another password now, or it is another one.", code))
        if self.state is State.CONNECTING and not helps:
            self._fail(code)
        elif self._again.most < most:
            self._again.start(now, AGAIN_SECONDS, most)
        else:  # A longer wait is not shortened by another kind of failure.
            self._again.again(now)

    def _fail(self, code: str, text: str = "") -> None:
        self._enter(State.IDLE)
        self._events.append(LoginFailed(code, text or REFUSALS[code]))

    def _receive_refused(self, refused: Refused, now: float) -> None:
        if refused.reason == ANOTHER_LOGIN:
            del self._vouchers[:1]  # Another server's; the one before it may be the true one's, else it comes as new.
        if refused.reason == ANOTHER_LOGIN or refused.reason == ROOM_FULL and self.state is not State.CONNECTING:
            self._attempt_failed(refused.reason, now)
        else:
            code = refused.reason if refused.reason in REFUSALS else TRY_LATER
            self._fail(code, display_text(refused.text, " "))

    def _receive_welcome(self, welcome: Welcome, now: float) -> None:
        attempt = self._attempt
        assert attempt is not None, "WELCOME is taken by an attempt's session only"
        if name_key(welcome.name) != name_key(self._name):
            raise MalformedDatagram("welcome under another name")
        self._session, self._address = attempt.session, attempt.address
        self._name, self._room = welcome.name, welcome.room
        self._keys = {welcome.key_id: welcome.key}
        others = [voucher for voucher in self._vouchers if voucher != welcome.voucher]
        self._vouchers = [welcome.voucher, *others][:VOUCHERS_MAX]
        self._earlier_until = self._head = welcome.head
        if not welcome.resumed:
            self._stream, self._runs = Stream(welcome.start, welcome.start_time), RunReader()
            self._first = welcome.start + 1
            self._standing = Standing()
            asked = self._views.pop(EARLIER, None)
            if asked is not None:
                self.earlier(asked.count, now)
        # What is still held was before the view of the members that is asked for now.
        self._held = [replace(event, earlier=True) if isinstance(event, Happened) else event for event in self._held]
        self._views[STANDING] = Pages(0)
        self._outbox.start(welcome.taken, welcome.head)
        self._asked_at.clear()
        self._alarms["ask"] = now
        self.state = State.CONNECTED
        self._repeats = 0
        self._hear(now)

    # --- datagrams

    def _receive(self, datagram: bytes, address: Any, now: float) -> None:
        if len(datagram) < 6 or datagram[0] != VERSION_BYTE:
            raise MalformedDatagram("foreign")
        code, name, attempt, session = datagram[1], datagram[2:6], self._attempt, self._session
        mine = session is not None and name == session.id
        if code == Later.code and mine:
            # A server says, unsealed, that it does not know this session: look for it anew, give nothing up.
            unanswered = self._unanswered_at is not None and now - self._unanswered_at >= ADVICE_SECONDS
            # SECURITY: test_advice_that_is_not_sealed_disconnects_nobody
            if decode(code, datagram[2:]).reason == UNKNOWN_SESSION and unanswered:
                self._look(now)
            return
        if code in (Offer.code, Keys.code, Later.code) and attempt is not None:
            attempt.receive(datagram, address, now)
            return
        receivers = self._RECEIVERS
        if attempt is not None and attempt.session is not None and not mine:
            session, receivers = attempt.session, self._VERDICTS
        if session is None or name != session.id:
            raise MalformedDatagram("unknown session")
        message = session.open(datagram)
        if receivers is self._VERDICTS:
            self._alarms["failed"] = now + LOOK_SECONDS
        # SECURITY: test_who_repeats_a_datagram_from_elsewhere_leads_a_client_away_until_the_next
        if session.newest:
            if attempt is not None and receivers is self._VERDICTS:
                attempt.address = address
            else:
                self._address = address
        if isinstance(message, Challenge):  # No sign that the server hears: what waits for an answer is repeated.
            self._outgoing.append(Datagram(session.seal(Response(message.token)), address))
            return
        if type(message) not in receivers:
            raise MalformedDatagram("out of place")
        receivers[type(message)](self, message, now)

    def _hear(self, now: float) -> None:
        """The session lives: whatever else was tried meanwhile is not needed."""
        self._unanswered_at, self._disproved = None, False
        if self.state is State.LEAVING:
            return
        self._alarms["quiet"] = now + self._quiet_seconds
        self._attempt, self._again.most = None, 0.0
        self._alarms.pop("again", None)
        if self.state is State.RECONNECTING:
            self.state = State.CONNECTED
            if STANDING not in self._views:
                self._report_connected()

    def _receive_bye(self, bye: Bye, now: float) -> None:
        if self.state is State.LEAVING:
            self._enter(State.ENDED)
        elif bye.reason in (KICKED, SUPERSEDED, CROWDED_OUT):
            self._fail(bye.reason)
        elif self.state is State.CONNECTING:
            self._fail(SERVER_CLOSED)
        else:
            if self.state is State.CONNECTED:
                self._events.append(Disconnected(REFUSALS[SERVER_CLOSED]))
            self._enter(State.RECONNECTING)
            self._unanswered_at = now
            self._again.start(now, AGAIN_SECONDS, AGAIN_SECONDS_MAX)

    # --- reading

    def _receive_entries(self, entries: Entries, now: float) -> None:
        self._hear(now)
        asked_at = self._asked_at.pop(entries.echo, None)
        if asked_at is not None:
            self._round_trip.measure(now - asked_at)
        if entries.flags & ASK:
            self._alarms["ask"] = now
        self._stuck = bool(entries.flags & STUCK)
        # The newest key counts, and the one before for what was overtaken on its way.
        self._keys[entries.key_id] = entries.key
        for old in [other for other in self._keys if other < max(self._keys) - 1]:
            del self._keys[old]
        head = self._read(entries.batch)
        if self._outbox.note_taken(entries.taken, entries.early, head):
            self._repeats = 0

    def _receive_room(self, room: Room, now: float) -> None:
        self._hear(now)
        key = self._keys.get(room.key_id)
        if key is None:
            self._alarms.sooner("ask", now + GRACE_SECONDS)
            raise MalformedDatagram("unknown room key")
        self._read(xor_stream(key, room.nonce, room.sealed))

    def _read(self, batch: bytes) -> int:
        """Take a batch: move the cursor over what follows it, keep what is above a gap.  Returns its head."""
        head, entries = decode_batch(batch)
        missed = self._stream.cursor < self._head
        self._head = max(self._head, head)
        for seq, entry in self._stream.read(entries):
            self._advance(seq, entry)
            if missed:
                self._repeats = 0
        return head

    def _advance(self, seq: int, entry: Entry) -> None:
        """Report what the cursor has just moved over, unless it was shown before."""
        text, earlier = self._runs.read(entry), seq <= self._earlier_until
        if text is None:
            return
        event: Any = None
        shown = self._shown.get(entry.author, 0)
        if entry.kind == REFUSED or entry.author == self._id and entry.kind != MUTED:
            queued = self._outbox.settle(entry.number)
            if queued is not None and entry.kind == REFUSED:
                reason = NOT_TAKEN.get(entry.text, "The server does not take this.")
                reason = reason.replace("%s", queued.entry.to_name)
                event = NotSent(queued.number, entry.text, queued.entry.text, reason)
            elif queued is not None:
                event = Happened(seq, entry, text, earlier, queued.number)
        # A server that has forgotten takes some again: a text is not shown twice, but a hand stands raised there.
        elif not entry.number or entry.number > shown or entry.kind in HOLDING:
            event = happened(seq, entry, text, earlier)
            if entry.number > shown:
                remember(self._shown, entry.author, entry.number, SHOWN_MEMBERS_MAX)
        if event is not None:
            self._report(event)

    def _receive_page(self, page: Page, now: float) -> None:
        self._hear(now)
        view = self._views.get(page.view)
        if view is None:
            raise MalformedDatagram("not asked for")
        if view.read_page(page):
            self._repeats = 0
        if view.cursor < view.until:
            if page.flags & ASK:
                self._alarms["ask"] = now
            return
        del self._views[page.view]
        if page.view == STANDING:
            self._standing, self._standing_as_of = Standing(view.entries), view.until
            self._report_connected()
        else:
            runs, self._first = RunReader(), view.start + 1
            told = [happened(seq, entry, runs.read(entry), earlier=True) for seq, entry in view.entries]
            self._events.append(EarlierRead(tuple(filter(None, told)), bool(page.flags & BEGINNING)))

    _RECEIVERS: ClassVar[Dict[type, Any]] = {Bye: _receive_bye, Entries: _receive_entries}
    _RECEIVERS.update({Room: _receive_room, Page: _receive_page})
    _VERDICTS: ClassVar[Dict[type, Any]] = {Welcome: _receive_welcome, Refused: _receive_refused, Bye: _receive_bye}

    # --- asking

    def _tick_session(self, now: float) -> None:
        """Send what is new, ask for what is missing, and see whether the server is still there."""
        for queued in self._outbox.trimmed(self._stream.cursor):
            self._report(Sent(queued.number, True))
        repeat, asked = self._alarms.due("retry", now), self._alarms.due("ask", now)
        self._repeats += repeat
        most = max(ANSWER_DATAGRAMS_MAX >> self._repeats, 1)
        parts = self._outbox.parts(again=repeat)
        if repeat or asked:
            for view, reader in self._views.items():
                self._send(Pull(view, reader.cursor, reader.until, reader.count, most))
        if repeat or asked or parts or self._alarms.due("quiet", now) or self._alarms.due("keep", now):
            for group in group_submissions(parts):
                sync = Sync(self._stream.cursor, max(self._keys), self._round_trip.milliseconds(), most, group)
                remember(self._asked_at, self._send(sync), now, ASKED_MAX)
            if parts:
                self._outbox.on_way = max(self._outbox.on_way, parts[-1].number)
            if self._unanswered_at is None:
                self._unanswered_at = now
            self._alarms.pop("quiet", None)
            self._alarms["keep"] = now + random_draw(self._entropy, KEEP_ALIVE_SECONDS)
        self._arm(now, repeat)
        if self._unanswered_at is not None and now - self._unanswered_at >= UNANSWERED_SECONDS:
            # The server has been silent for too long: look for it anew, and pull on with what there is.
            if self.state is State.CONNECTED:
                self.state = State.RECONNECTING
                self._events.append(Disconnected("The server does not answer."))
            self._look(now)
        caught_up = self._stream.cursor >= self._earlier_until and not self._views
        if self._finishing and not self._outbox.texts and caught_up:
            self.leave(now)

    def _arm(self, now: float, repeat: bool) -> None:
        """Repeat while something is missing, at the pace of the path, which loss does not slow; but not for ever."""
        missing = self._stream.cursor < self._head or self._views or self._outbox.parts(again=True)
        if not missing and self._unanswered_at is None:
            self._repeats = 0
            self._alarms.pop("retry", None)
        elif repeat and self._repeats > REPEATS_MAX:
            self._retry.again(now)
        elif "retry" not in self._alarms:
            self._retry.start(now, self._round_trip.repeat_seconds(), RETRY_SECONDS_MAX)

    def _send(self, message: Message) -> int:
        """Seal a message for the server; return its counter."""
        assert self._session is not None, "only a session seals"
        self._outgoing.append(Datagram(self._session.seal(message), self._address))
        return self._session.sent


def group_submissions(parts: Sequence[Submission]) -> List[Tuple[Submission, ...]]:
    """Share parts out over SYNCs by their size; there is always one SYNC."""
    groups: List[Tuple[Submission, ...]] = [()]
    for part in parts:
        groups[-1] += (part,)
        if sum(len(encode_submission(each)) for each in groups[-1]) > BATCH_BYTES_MAX:
            groups[-1:] = [groups[-1][:-1], (part,)]
    return groups


class Discovery(Core):
    """Looks for servers: HELLO to everybody, three times; its result is what it has ``found``."""

    def __init__(self, entropy: Entropy, addresses: Sequence[Any], now: float, one: bool = False) -> None:
        """Ask at the addresses, broadcast ones among them, for DISCOVERY_SECONDS, or until ``one`` has answered."""
        super().__init__(0.0)
        self._one = one
        self._nonce = entropy(16)
        self._addresses = addresses
        shares = {"first": 0.0, "second": 0.2, "third": 0.5, "end": 1.0}
        self._alarms.update((name, now + DISCOVERY_SECONDS * share) for name, share in shares.items())
        self._offers: Dict[Any, Offer] = {}  # By address: what else an OFFER claims can be copied.

    def _receive(self, datagram: bytes, address: Any, now: float) -> None:
        if datagram[:2] != bytes((VERSION_BYTE, Offer.code)):
            raise MalformedDatagram("foreign")
        offer = decode(datagram[1], datagram[2:])
        of_host = sum(each[0] == address[0] for each in self._offers)
        # SECURITY: test_who_copies_the_id_of_a_server_does_not_hide_it
        if offer.nonce == self._nonce and len(self._offers) < FOUND_MAX and of_host < FOUND_HOST_MAX:
            self._offers.setdefault(address, offer)
            self.done = self._one

    def found(self) -> List[ServerFound]:
        """Return the servers that have answered; one on this machine once, by its loopback address."""
        # Safe, as only programs on this machine can send from there; elsewhere a copied id hides nobody.
        own = {address: offer.server for address, offer in self._offers.items() if address[0].startswith("127.")}
        left = [each for each in self._offers.items() if each[0] in own or each[1].server not in own.values()]
        return [ServerFound(each.room, each.members, each.members_max, at, bool(each.public)) for at, each in left]

    def tick(self, now: float) -> None:
        """Ask again where it is time; end where it is over."""
        for name in ("first", "second", "third"):
            if self._alarms.due(name, now):
                hello = encode_unsealed(Hello(self._nonce))
                self._outgoing += [Datagram(hello, address) for address in self._addresses]
        self.done = self.done or self._alarms.due("end", now)


# ======================================================================================================
# 12. The original protocol
# ======================================================================================================
# The course project's: UTF-8 text, a datagram each, "LOGIN name password" first.  All that is known of it stands
# here: a kind of member for our server, and a client for its server.  Nothing is encrypted, confirmed or repeated,
# and addresses prove nothing.

CLASSIC_WELCOME, CLASSIC_WRONG = "Login berhasil!", "Password salah!"
CLASSIC_FULL = "no seat is left for the original program, or none at that address"
CLASSIC_REFUSALS = {CLASSIC_WRONG: WRONG_PASSWORD, USERNAME_TAKEN: USERNAME_TAKEN}
CLASSIC_WORDS = {
    "kicked": "-- " + REFUSALS[KICKED],
    "timed out": "-- You were silent for an hour and have left the room; log in again.",
    "crowded out": "-- " + REFUSALS[CROWDED_OUT],
    "closed": "-- " + REFUSALS[SERVER_CLOSED],
    "stuck": "-- The server's disk is full: what you say is lost until there is room.",
    "goes on": "-- The server's disk has room again.",
}
CLASSIC_NOTICE = (
    "This is an original server: messages travel unencrypted, and whether they arrive is not confirmed. "
    "It has no list of members, no history, no /me and no /msg."
)


def classic_datagrams(entry: Entry, text: str) -> List[bytes]:
    """Return what an original client is sent of an entry, ``text`` being the whole text of its run.

    Its author's name stands before every piece, so that no piece seems to be somebody else's.
    """
    name, text, lead = display_text(entry.name, " "), display_text(text, "\u21b5"), "-- "
    if entry.kind in (TEXT, ACTION, PRIVATE):
        text = "* " * (entry.kind == ACTION) + text
        lead = "%s%s: " % (name, " (private)" * (entry.kind == PRIVATE))
    elif entry.kind in (JOINED, LEFT):
        text = "%s %s" % (name, "joined" if entry.kind == JOINED else "left")
    elif entry.kind in HOLDING:
        text = holding_words(entry)
    elif entry.kind == REFUSED:
        text = "Not sent: %s" % NOT_TAKEN.get(entry.text, entry.text)
    start = lead.encode("utf-8")
    return [start + piece for piece in split_parts(text, CLASSIC_BYTES_MAX - len(start))]


class Classic(Kind):
    """Members who use the original program, known by their addresses; or, not ``admitted``, who tries to be one."""

    note = CLASSIC_TEXT
    silent_seconds = CLASSIC_SECONDS  # The protocol knows no goodbye.

    def __init__(self, room: Server, now: float, admitted: bool = True, most: int = CLASSIC_MAX) -> None:
        """``room`` is the server that they are members of, at ``most`` so many at a time."""
        super().__init__()
        self.receive_bytes = RECEIVE_CLASSIC_MAX if admitted else RECEIVE_BYTES_MAX
        self._room = room
        self._admitted, self._most = admitted, most
        # What rations wrong passwords from places where nobody has logged in, and from those where somebody has.
        self._guesses = [TokenBucket(CLASSIC_GUESS_RATE, LOGIN_BURST, now) for _ in range(2)]
        self._places: Dict[str, List[TokenBucket]] = {}  # What rations a place's wrong passwords, and its joins.
        self._seen: Dict[str, None] = {}
        self._runs = RunReader()
        self._told = False

    def receive(self, text: str, address: Any, now: float) -> Outgoing:
        """Take a datagram: a login, or a text of one who has logged in; return the answer."""
        member, words = self.members.get(address), text.split(" ", 2)
        login = len(words) == 3 and words[0] == "LOGIN"
        if not self._admitted:
            place = address_place(address[0])
            if login and place not in self._seen and len(self._seen) < CLASSIC_SEEN_MAX:
                self._seen[place] = None
                self._room.note(Activity("foreign", address=address))
            raise MalformedDatagram("foreign")
        # A text that looks like a login holds a password: it never becomes part of the conversation.
        if member is not None and not text.startswith("LOGIN "):
            self._take(member, text, now)
            return []
        if not login or self.stuck:
            raise MalformedDatagram("not logged in")
        # SECURITY: test_a_name_of_64_kilobytes_is_neither_hashed_nor_logged
        if len(words[1]) > STRING_BYTES_MAX or len(text) > CLASSIC_BYTES_MAX:
            raise MalformedDatagram("size of a login")
        return [Datagram(self._log_in(words[1], words[2].rstrip("\r\n"), address, now).encode(), address)]

    def _log_in(self, name: str, password: str, address: Any, now: float) -> str:
        """Let somebody in or not; return what the original server says then."""
        room, before, place = self._room, self.members.get(address), address_place(address[0])
        fresh = [TokenBucket(1 / LOGIN_SECONDS, CLASSIC_BURST, now) for _ in range(2)]
        guesses, joins = rations = self._places.get(place, fresh)
        remember(self._places, place, rations, ADDRESSES_MAX)
        # SECURITY: test_guessing_as_an_original_client_is_slow
        # SECURITY: test_one_guesser_does_not_lock_the_other_original_clients_out
        asked = guesses, self._guesses[place in self._seen]
        if not all(bucket.take(1, now) for bucket in asked):
            raise MalformedDatagram("too many guesses")
        if not hmac.compare_digest(password_bytes(password), room.password):
            room.note(Activity("refused", name, address, WRONG_PASSWORD))
            return CLASSIC_WRONG
        for bucket in asked:
            bucket.give(1)
        holder = room.names.get(name_key(name))
        if holder is not None and holder is before:
            return CLASSIC_WELCOME  # Only an answer was lost.
        # SECURITY: test_two_names_that_flap_at_one_address_do_not_fill_the_log
        if not joins.take(1, now):
            raise MalformedDatagram("too many logins")
        try:
            name = clean_name(name)
            reason = self._refusal(name_key(name), address)
        except UsageError:
            reason = USERNAME_INVALID
        if reason:
            # The protocol knows no other refusal, and this one makes the person choose another name.
            room.note(Activity("refused", name, address, reason))
            return USERNAME_TAKEN
        for left in (holder, before):
            if left is not None:
                room.leave(left, "left", now)
        self.members[address] = member = Member(self, room.entropy(8), name, address)
        member.fresh = True
        room.join(member, now)
        remember(self._seen, place, None, CLASSIC_SEEN_MAX)
        return CLASSIC_WELCOME

    def _refusal(self, key: str, address: Any) -> str:
        """Return why somebody may not come in under a name that is not its own already, or ""."""
        before, holder, place = self.members.get(address), self._room.names.get(key), address_place(address[0])
        reason = self._room.refusal(key, b"new", address)  # Others have 8 bytes.
        if holder is not None and reason not in (KICKED, ADDRESS_CLOSED):
            # SECURITY: test_a_name_in_use_is_taken_in_either_program_and_a_full_room_full
            return "" if holder.kind is self and holder.address[0] == address[0] else USERNAME_TAKEN
        # SECURITY: test_a_spoofed_login_turns_little_of_the_room_on_a_victim
        if before is None and not reason:
            near = sum(address_place(each[0]) == place for each in self.members)
            if near >= CLASSIC_PLACE_MAX or len(self.members) >= self._most:
                return CLASSIC_FULL
        return reason

    def _take(self, member: Member, text: str, now: float) -> None:
        """Have what somebody says taken in its turn; more than may wait is lost, as anything is in this protocol."""
        member.heard_at = now
        try:
            if self.stuck:
                raise UsageError(CLASSIC_WORDS["stuck"], FULL)
            self._room.submit(member, TEXT, text)
        except UsageError as fault:
            raise MalformedDatagram("too much at once" if fault.code == FULL else "size of a text") from None

    def deliver(self, after: int, records: Sequence[Tuple[int, Record]]) -> Outgoing:
        """Return each entry as text for all who may see it, but for nobody his own."""
        outgoing: Outgoing = []
        for _, record in records if self.members else ():
            entry = decode_entry(record.data)
            text = self._runs.read(entry)
            texts = [] if text is None else classic_datagrams(entry, text)
            for member in self.members.values():
                if (member.id != entry.author or entry.kind == MUTED) and record.visible(member.id):
                    outgoing += [Datagram(data, member.address) for data in texts]
        return outgoing

    def tell(self, members: Iterable[Member], what: str, now: float) -> Outgoing:
        """Return it as a line of the server's, where there is something to say."""
        text = CLASSIC_WORDS.get(what, "")
        return [Datagram(text.encode(), member.address) for member in members if text]

    def tick(self, now: float) -> None:
        """Tell all when the first of this kind has come, and when the last one has left."""
        if self._told != bool(self.members):
            self._told = not self._told
            text = "Nobody uses the original program any more: the room is encrypted again."
            if self.members:
                name = next(iter(self.members.values())).name
                text = "%s uses the original program: from now on the room's messages also travel unencrypted." % name
            self._room.say(text, now)


class ClassicClient(Client):
    """A member of an original server: its plain text, and nothing else.

    That protocol has no encryption, no receipts, no roster, no history and no goodbye; what cannot be known is
    not claimed: a text becomes Sent, unconfirmed.
    """

    receive_bytes = RECEIVE_CLASSIC_MAX

    def login(self, name: str, password: str, addresses: Sequence[Any], now: float) -> None:
        """Send LOGIN until the server answers; ends in Connected or LoginFailed."""
        self._login = ("LOGIN %s %s" % (name, password)).encode("utf-8", "surrogateescape")
        super().login(name, password, addresses[:1], now)

    def finish(self, now: float) -> None:
        """Leave: there is no receipt to wait for."""
        self.leave(now)

    def _look(self, now: float) -> None:
        self._retry.start(now, 4 * HELLO_SECONDS, LOOK_SECONDS, at_once=True)
        self._alarms["failed"] = now + LOOK_SECONDS

    def _tick_login(self, now: float) -> None:
        if self._alarms.due("failed", now):
            self._fail(NO_ANSWER, "%s Ours needs --classic to answer here." % REFUSALS[NO_ANSWER])
        elif self._alarms.due("retry", now):
            self._retry.again(now)
            self._send_text([self._login])

    def _submit(self, queued: Queued) -> None:
        if queued.entry.kind != TEXT:
            raise UsageError("An original server has no /me, no /msg and no /hand.")
        self._send_text(split_parts(queued.entry.text, CLASSIC_BYTES_MAX))
        self._events += [queued, Sent(queued.number, False)]

    def _send_text(self, datagrams: Sequence[bytes]) -> None:
        self._outgoing += [Datagram(data, address) for data in datagrams for address in self._addresses]

    def _receive(self, datagram: bytes, address: Any, now: float) -> None:
        if address[:2] not in [each[:2] for each in self._addresses]:
            raise MalformedDatagram("not from the server")
        text, at = decode_text(datagram).rstrip("\r\n"), self.wall_ms(now)
        if self.state is State.CONNECTED and text not in (CLASSIC_WELCOME, ""):
            self._head += 1  # What the server says is a fact like a start, and need not alert anybody.
            entry, said = Entry(STARTED, at), text[3:] if text.startswith("-- ") else text
            name, colon, rest = text.partition(": ")
            if colon and 0 < len(name) <= NAME_CHARACTERS_MAX and not text.startswith("-- "):
                entry, said = Entry(TEXT, at, member_id(name.encode("utf-8")), name=name), rest
            self._events.append(Happened(self._head, entry, said))
        elif self.state is State.CONNECTING and text == CLASSIC_WELCOME:
            self._enter(State.CONNECTED)
            own = member_id(self._name.encode("utf-8"))
            here = ((0, Entry(JOINED, at, own, name=self._name, text=CLASSIC_TEXT)),)
            self._events.append(Connected("original room", self._name, own, ((own, self._name),), False, here))
            self._events.append(Happened(0, Entry(NOTICE, at), CLASSIC_NOTICE))
        elif self.state is State.CONNECTING and text in CLASSIC_REFUSALS:
            self._fail(CLASSIC_REFUSALS[text])


# ======================================================================================================
# 13. Screen model
# ======================================================================================================
# Everything that a screen decides, and nothing that it draws: which lines an event makes, what a typed line
# means, what Tab completes, what the editor holds.  Console and window only show it.  Text from strangers
# is made safe on its way into a Line; what is shown besides lines, whoever shows it makes safe.

NAME_COLOURS = 8


class Line(Value):
    """One thing to show.  A line with a key that was shown before takes the place of that one.

    ``kind`` is "message", "action", "notice", "presence", "divider", "day", "error", "help" or, a server's, "log"
    and "answer"; and where a screen says when it is not looked at, "unread" above the first message missed, later
    "gone".  ``state`` of own lines is "pending", "sent", "unconfirmed" (no receipt will come) or "failed", of the
    log's its level, of others' ""; ``private`` "from NAME" or "to NAME"; ``at`` seconds since 1970.  Texts are safe.
    """

    key: int
    kind: str
    text: str
    at: float = 0.0
    name: str = ""
    colour: int = 0
    state: str = ""
    private: str = ""
    mention: bool = False
    earlier: bool = False


class Command(Value):
    """What a typed line means: "say", "me", "msg", or another command's name."""

    name: str
    text: str = ""
    to_name: str = ""


CLIENT_COMMANDS: Dict[str, Tuple[str, str]] = {
    "msg": ("NAME TEXT", "say something to one member only"),
    "r": ("TEXT", "answer the last private message"),
    "me": ("TEXT", "say what you do"),
    "hand": ("[QUESTION]", "raise your hand, or ask another question; /hand down lowers it"),
    "hands": ("", "list who has raised a hand"),
    "who": ("", "list the members"),
    "earlier": ("[N]", "show N more messages from before"),
    "help": ("", "show the commands"),
    "quit": ("", "leave"),
}
SERVER_COMMANDS: Dict[str, Tuple[str, str]] = {
    "who": ("", "list the members with address, round trip and messages"),
    "announce": ("TEXT", "announce something to all; so does /say"),
    "say": ("TEXT", ""),
    "msg": ("NAME TEXT", "say something to one member only, as the operator"),
    "r": ("TEXT", "answer the last private message"),
    "me": ("TEXT", "say what you do, as the operator"),
    "hands": ("", "list who has raised a hand"),
    "next": ("[WORDS]", "call who waits longest, with these words"),
    "lower": ("NAME|all", "lower somebody's hand, or all"),
    "quiet": ("on|off", "let only the operator speak"),
    "mute": ("NAME [MINUTES]", "let what somebody says reach nobody"),
    "unmute": ("NAME", "let somebody be heard again"),
    "kick": ("NAME", "remove a member, and let in nobody new from its address, for ten minutes"),
    "password": ("", "set another password; who is in stays"),
    "bans": ("", "list who is kept out, and for how long still"),
    "pardon": ("NAME", "let somebody in again, and who is new from there"),
    "help": ("", "show the commands"),
    "quit": ("", "close the room"),
}


def parse_input(text: str, commands: Dict[str, Tuple[str, str]]) -> Command:
    """Return what a typed line means; raises UsageError for what is no command or lacks something.

    A line that starts with a slash is a command, with two slashes a text that starts with one.  A text of many
    lines is sent as it is, unless its first word is a command: it is a page of code.
    """
    word, _, rest = text[1:].partition(" ")
    word, rest = word.lower(), rest.strip()
    if not text.startswith("/") or ("\n" in text and word not in commands):
        return Command("say", text)
    if text.startswith("//"):
        return Command("say", text[1:])
    if word not in commands and word in SERVER_COMMANDS:
        raise UsageError("Only who runs the server can do /%s. Nothing was sent." % word)
    if word not in commands:
        said = "There is no command /%s; /help lists them; a text that starts with a slash begins with two."
        raise UsageError(said % display_text(word, " "))
    arguments = commands[word][0]
    to_name, _, rest = rest.partition(" ") if "NAME" in arguments else ("", "", rest)
    if ("NAME" in arguments and not to_name) or ("TEXT" in arguments and not rest.strip()):
        raise UsageError("Write /%s %s." % (word, arguments))
    return Command(word, rest.strip(), to_name)


def parse_server(text: str, port: int) -> Tuple[str, int]:
    """Split HOST, HOST:PORT, [IPV6]:PORT or IPV6 into host and port; raises UsageError."""
    match = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\s]+)|(\S+))(?::(\d+))?", text.strip())
    try:
        if match is None:
            raise ValueError
        if match.group(3):
            ipaddress.IPv6Address(match.group(3).split("%")[0])
    except ValueError:
        raise UsageError("Write the server as HOST or HOST:PORT, like 192.168.1.5 or lab1:11111.") from None
    number = whole_number(match.group(4) or str(port))
    if not 0 < number < 65536:
        raise UsageError("A port is a number from 1 to 65535.")
    return match.group(1) or match.group(2) or match.group(3), number


def commands_help(commands: Dict[str, Tuple[str, str]]) -> List[str]:
    """Return one line for each command, and how to send a slash."""
    rows = [(("/%s %s" % (name, arguments)).rstrip(), about) for name, (arguments, about) in commands.items() if about]
    rows.append(("//TEXT", "say something that starts with a slash"))
    width = max(len(row) for row, _ in rows)
    return ["%-*s  %s" % (width, command, local(about)) for command, about in rows]


def complete(text: str, names: Sequence[str], commands: Dict[str, Tuple[str, str]]) -> List[str]:
    """Return what the text before the caret may be completed to: a command, or a member's name."""
    if text.startswith("/") and " " not in text:
        return ["/" + name + " " for name in commands if ("/" + name).startswith(text)]
    head, _, word = text.rpartition(" ")
    start = word[1:] if word.startswith("@") else word
    named = head.startswith("/") and "NAME" in commands.get(head[1:], ("", ""))[0]  # Then any name may follow.
    found = [name for name in names if (start or named) and name_key(name).startswith(name_key(start))]
    return [text[: len(text) - len(start)] + name + (" " if head else ": ") for name in found]


def name_colour(name: str) -> int:
    """Return a number below NAME_COLOURS that is the same for a name on every screen."""
    return hashlib.blake2b(name_key(name).encode("utf-8"), digest_size=1).digest()[0] % NAME_COLOURS


def local_time(at: float) -> datetime.datetime:
    """Return the local time of seconds since 1970; times that no calendar has become its beginning."""
    try:
        return datetime.datetime.fromtimestamp(at)
    except (OverflowError, ValueError, OSError):
        return datetime.datetime(1970, 1, 1)


def plural(count: int, word: str) -> str:
    """Return "1 word" or "2 words"."""
    return "%d %s%s" % (count, word, "" if count == 1 else "s")


def status_text(status: Status) -> str:
    """Return the state of the connection in a few words."""
    words = status.state.value
    if status.state is State.CONNECTED and status.silent >= 1:
        words = "waiting for the server since %d s" % status.silent
    elif status.state is State.RECONNECTING:
        words = "reconnecting since %d s" % status.silent
    elif status.state is State.CONNECTED and status.rtt_ms:
        words = "connected, %d ms" % status.rtt_ms
    return "%s, %d waiting" % (words, status.waiting) if status.waiting else words


class Listed(Value):
    """The answer to /who: the names of those here."""

    names: Tuple[str, ...]


class Hand(Value):
    """A raised hand, safe to show; ``at`` is since when, in seconds since 1970."""

    name: str
    question: str
    at: float


def hands_lines(hands: Sequence[Hand], now: float) -> List[str]:
    """Return the queue of raised hands, a line for each."""
    rows = [
        "%2d  %s, waiting %d min%s"
        % (place, hand.name, max(0, now - hand.at) // 60, ": " + hand.question if hand.question else "")
        for place, hand in enumerate(hands, 1)
    ]
    return rows or ["Nobody has raised a hand."]


HUSHED_WORDS = {IN_QUIET: "quiet: only the operator speaks", IS_MUTED: "muted"}


class Transcript:
    """The conversation as lines, in the order of the log, and what goes with it: members, unread count, title.

    Own texts that are not in the log yet stand apart, in on_way().  Days and what is earlier are told by the times
    and marks of entries alone, so that a wrong clock here draws no divider.
    """

    def __init__(self) -> None:
        self.room = self.name = ""
        self.status = Status(State.IDLE, 0, 0, 0)
        self.unread = 0
        self._reading = True
        self._unread: Optional[Line] = None
        self.own: Dict[bytes, None] = {}  # Ids that the person has or had, before leaving and coming back.
        self.standing = Standing()
        self._spoke: Dict[str, None] = {}  # Names, who spoke last at the end.
        self._key = 0
        self._colours: Dict[str, int] = {}  # By the key of a name.
        self._day: Optional[datetime.date] = None
        self._earlier = False
        self._on_way: Dict[int, Line] = {}
        self.presence: Optional[Line] = None  # Of the newest joins and leaves; without it, the next begins a line.
        self._came: Dict[str, Tuple[bool, str, str]] = {}  # Who was here before that run, how one went, what is said.
        self.correspondent = ""  # Who last wrote something private.

    def apply(self, event: Any) -> List[Line]:
        """Take an event of the client and return the lines to show or to replace."""
        if isinstance(event, Happened):
            return self._apply_happened(event)
        if isinstance(event, EarlierRead):
            return self._apply_earlier(event)
        if isinstance(event, Connected):
            self.room, self.name = display_text(event.room, " "), display_text(event.name, " ")
            self.own[event.member] = None
            own = [(0, Entry(JOINED, author=ident, name=name)) for ident, name in event.members]
            self.standing = Standing([*own, *event.standing])
            self._earlier, self.status = False, replace(self.status, state=State.CONNECTED)
            for name in self.described():
                self._choose_colour(name)
            words = "Connected again to %s as %s; %s here." if event.again else "Welcome to %s, %s; %s here."
            return [self.note(words % (self.room, self.name, plural(len(self.standing.members), "member")))]
        if isinstance(event, Queued):
            self._on_way[event.number] = self._message(event.entry, event.entry.text, "pending")
        elif isinstance(event, (Sent, NotSent)):
            line = self._on_way.pop(event.number, None)
            if line is None:  # It never was on its way: it is put back to be mended, and leaves no line.
                return []
            if isinstance(event, NotSent):
                return [replace(line, state="failed"), self.note("Not sent: %s" % event.reason, "error")]
            return [replace(line, state="sent" if event.confirmed else "unconfirmed")]
        elif isinstance(event, Status):
            early = event.state is State.CONNECTED and not self.room  # Nothing can be said yet.
            before, self.status = self.status, replace(event, state=State.CONNECTING) if early else event
            if event.stuck and not before.stuck:
                return [self.note("The server's disk is full: messages wait until there is room on it.", "error")]
            if before.stuck and not event.stuck:
                return [self.note("The server's disk has room again; what waited is sent.")]
        elif isinstance(event, Listed):
            here = self.described().values()
            return [self.note("%s here: %s" % (plural(len(self.standing.members), "member"), ", ".join(here)))]
        elif isinstance(event, Disconnected):
            return [self.note("%s Trying again; what you type is kept." % event.text, "error")]
        return []

    def on_way(self) -> List[Line]:
        """Return own texts that are not in the log yet."""
        return list(self._on_way.values())

    def described(self) -> Dict[str, str]:
        """Return those here, safe to show, each with how it is listed: the operator, who waits, and the others."""
        here = [entry for _, _, entry in self.standing.members.values()]
        places = {key: place for place, key in enumerate(self.standing.hands, 1)}
        last = len(places) + 1
        here.sort(key=lambda each: (each.text != OPERATOR, places.get(name_key(each.name), last), name_key(each.name)))
        found = {}
        for entry in here:
            key, name, muted = name_key(entry.name), display_text(entry.name, " "), self.is_muted(entry.name)
            hand = ["hand %d" % places[key]] if key in places else []
            marks = [display_text(entry.text, " ")] * bool(entry.text) + hand + [HUSHED_WORDS[IS_MUTED]] * muted
            found[name] = "%s (%s)" % (name, ", ".join(map(local, marks))) if marks else name
        return found

    def operator(self) -> str:
        """Return the name of the operator who is here, safe to show, or ""."""
        names = [entry.name for _, _, entry in self.standing.members.values() if entry.text == OPERATOR]
        return display_text(names[0], " ") if names else ""

    def is_muted(self, name: str = "") -> bool:
        """Return whether what somebody says reaches nobody, or without a name, whether the room is quiet."""
        return name_key(name) in self.standing.muted

    def hands(self) -> List[Hand]:
        """Return the raised hands, who waits longest first."""
        here = [entry for _, _, entry in self.standing.hands.values()]
        return [Hand(display_text(each.name, " "), display_text(each.text, " "), each.time / 1000) for each in here]

    def place(self) -> int:
        """Return the own place among them, from 1, or 0."""
        return self.standing.place(self.name)

    def hushed(self) -> str:
        """Return the code word why what this member says now would reach nobody, or ""."""
        here = self.standing.members
        speaks = OPERATOR in [here[ident][2].text for ident in self.own if ident in here]
        return self.standing.hushed(name_key(self.name), speaks)

    def colour(self, name: str) -> int:
        """Return the colour of a name: as on every screen, unless somebody else here has that and another is free."""
        return self._colours.get(name_key(name), name_colour(name))

    def _choose_colour(self, name: str) -> None:
        here = [name_key(entry.name) for _, _, entry in self.standing.members.values()][: NAME_COLOURS + 1]
        others = {self._colours.get(key) for key in here if key != name_key(name) and len(here) <= NAME_COLOURS}
        wish = self.colour(name)
        turns = [(wish + turn) % NAME_COLOURS for turn in range(NAME_COLOURS)]
        remember(self._colours, name_key(name), next((each for each in turns if each not in others), wish), MEMBERS_MAX)

    def names(self) -> List[str]:
        """Return the other members for completion: who spoke last first."""
        here = [name for name in self.described() if name_key(name) != name_key(self.name)]
        spoke = [name for name in reversed(list(self._spoke)) if name in here]
        return spoke + [name for name in here if name not in self._spoke]

    def read(self, reading: bool) -> None:
        """Note whether the person looks at the conversation; if so, nothing is unread."""
        self._reading = reading
        if reading:
            self.unread = 0

    def title(self) -> str:
        """Return the window's title, the number of unread messages first."""
        return ("(%d) " % self.unread if self.unread else "") + (self.room or "SamsungChat")

    def note(self, text: str, kind: str = "presence") -> Line:
        """Return a line that only this screen has: an answer to a command, or an error."""
        self.presence = None
        return self._line(kind, text)

    def _line(self, kind: str, text: str, at: float = 0.0, **more: Any) -> Line:
        self._key += 1
        return Line(self._key, kind, text, at, **more)

    def _apply_happened(self, event: Happened) -> List[Line]:
        entry, at = event.entry, event.entry.time / 1000
        self._on_way.pop(event.number, None)
        if not event.earlier:  # What holds is newer than that.
            self.standing.take(event.seq, entry)
        if entry.kind == SKIP:
            return [self.note(entry_words(entry) + ".")]
        lines = []
        if event.earlier != self._earlier:
            self._earlier = event.earlier
            lines.append(self._line("divider", "earlier" if event.earlier else "now", at))
        day = local_time(at).date()
        if day != self._day:
            self._day = day
            lines.append(self._line("day", day.strftime("%A, %d %B %Y"), at))
        if lines or entry.kind not in (JOINED, LEFT):
            self.presence = None
        if entry.kind in (JOINED, LEFT):
            return [*lines, self._came_or_went(entry, event.earlier)]
        if entry.kind in HOLDING:
            mine = not event.earlier and bool(entry.name) and name_key(entry.name) == name_key(self.name)
            words = holding_words(entry, (self.place() or 1) if mine else 0)
            if entry.kind == CALLED and mine:
                return [*lines, self._line("notice", words, at, name=self.operator(), mention=True)]
            gone = entry.kind == LOWERED and entry.text in ("left", "kicked")  # As the next line says.
            return [*lines, *([] if gone else [self.note(words)])]
        if entry.kind == STARTED:
            return [*lines, self._line("presence", display_text(event.text), at, earlier=event.earlier)]
        state = "sent" if event.number or entry.author in self.own else ""
        if not (state or event.earlier or self._reading):
            self.unread += 1
            if self.unread == 1:  # It goes below a line of its own, of which there is one.
                lines += [replace(self._unread, kind="gone")] if self._unread else []
                self._unread = self._line("unread", "new")
                lines.append(self._unread)
        if entry.kind == NOTICE:  # What is announced concerns everybody.
            more: Dict[str, Any] = {"mention": not event.earlier, "earlier": event.earlier}
            return [*lines, self._line("notice", display_text(event.text), at, **more)]
        if not state:
            name = display_text(entry.name, " ")
            remember(self._spoke, name, None, MEMBERS_MAX)
        return [*lines, self._message(entry, event.text, state, event.earlier)]

    def _message(self, entry: Entry, text: str, state: str, earlier: bool = False) -> Line:
        """Return the line of what somebody said; ``state`` is "" unless this client said it."""
        name, private = display_text(entry.name, " "), ""
        kind = "message" if entry.kind in (TEXT, PRIVATE) else "action"
        if entry.kind in HOLDING:
            text = "/hand " + (text if entry.kind == HAND else "down")
        if entry.kind == PRIVATE:
            own = entry.author in self.own
            private = "to " + display_text(entry.to_name, " ") if own else "from " + name
            self.correspondent = self.correspondent if own else name
        start, called = text[:MENTION_CHARACTERS], r"(?<!\w)%s(?!\w)" % re.escape(name_key(self.name))
        mention = not (state or earlier) and (entry.kind == PRIVATE or bool(re.search(called, name_key(start))))
        more = {"name": name, "colour": self.colour(name), "state": state, "private": private}
        return self._line(kind, display_text(text), entry.time / 1000, mention=mention, earlier=earlier, **more)

    def _came_or_went(self, entry: Entry, earlier: bool) -> Line:
        """Collapse a run of joins and leaves into one line."""
        name = display_text(entry.name, " ")
        if entry.kind == JOINED and not earlier:
            self._choose_colour(name)
        if self.presence is None:
            self._came = {}
            self.presence = self._line("presence", "", entry.time / 1000, earlier=earlier)
        was_here, gone, _ = self._came.get(name, (entry.kind == LEFT, "", ""))
        what = entry_words(entry)
        if entry.kind == LEFT:
            gone, what = what, what if was_here else "joined and " + what
        elif was_here:
            what = gone + " and came back"
        remember(self._came, name, (was_here, gone, what), MEMBERS_MAX)
        groups: Dict[str, List[str]] = {}
        for who, (_, _, what) in list(self._came.items())[-PRESENCE_NAMES_MAX:]:
            groups.setdefault(what, []).append(who)
        rest = len(self._came) - PRESENCE_NAMES_MAX
        words = ["%s %s" % (", ".join(names), what) for what, names in groups.items()]
        self.presence = replace(self.presence, text=("%d more; " % rest if rest > 0 else "") + "; ".join(words))
        return self.presence

    def _apply_earlier(self, event: EarlierRead) -> List[Line]:
        """Return history that was asked for: a block of lines that belongs before all others."""
        if not event.events:
            return [self.note("Nothing was said before.")]
        past = Transcript()
        past.name, past.room, past.own, past._key, past._earlier = self.name, self.room, self.own, self._key, True
        past._colours = self._colours
        top = past._line("divider", "the beginning" if event.beginning else "earlier")
        found = {line.key: line for each in event.events for line in past.apply(each)}
        end = past._line("divider", "end of what is earlier")
        self._key = past._key
        return [top, *found.values(), end]


PRESENCE_WORDS = {
    "timed out": "lost the connection",
    "kicked": "was removed",
    "superseded": "stopped answering",  # Who has come under that name is most often the same person.
    "crowded out": "lost the seat to a newcomer",
}


def entry_words(entry: Entry, text: str = "") -> str:
    """Return what an entry tells that is no message, safe to show; of who came or went, what follows the name."""
    if entry.kind == SKIP:
        return "%s no longer available" % plural(entry.count, "earlier line")
    if entry.kind == JOINED:
        return "joined (%s)" % display_text(entry.text, " ") if entry.text else "joined"
    if entry.kind == LEFT:
        return PRESENCE_WORDS.get(entry.text) or display_text(entry.text, " ")
    return holding_words(entry) if entry.kind in HOLDING else display_text(text, "\u21b5")


def plain_line(event: Any) -> Optional[str]:
    """Return an event as the one line that a pipe shows, or None: entries only, each without a line break."""
    if not isinstance(event, Happened) or event.number:
        return None
    entry, name, text = event.entry, display_text(event.entry.name, " "), display_text(event.text, "\u21b5")
    if entry.kind == PRIVATE:
        return "%s (private to %s): %s" % (name, display_text(entry.to_name, " "), text)
    if entry.kind in (TEXT, ACTION):
        return ("* %s %s" if entry.kind == ACTION else "%s: %s") % (name, text)
    return "-- " + (name + " ") * (entry.kind in (JOINED, LEFT)) + entry_words(entry, event.text)


def dated(text: str, entry: Entry) -> str:
    """Return the line of an entry as a log keeps it: behind its time."""
    return "%s  %s" % (local_time(entry.time / 1000).strftime("%Y-%m-%d %H:%M:%S"), text)


def json_object(event: Any, standing: Optional[Standing] = None) -> Optional[Dict[str, Any]]:
    """Return an event as what ``--json`` prints, times in seconds since 1970, or None; ``standing`` holds there."""
    standing = standing or Standing()
    found: Dict[str, Any]
    if isinstance(event, Connected):
        operator = [entry.name for _, entry in event.standing if entry.kind == JOINED and entry.text == OPERATOR]
        names = sorted((name for _, name in event.members), key=lambda name: (name not in operator, name_key(name)))
        found = {"event": "connected", "room": event.room, "name": event.name, "members": names}
        holds = Standing(event.standing)
        hands = [entry.name for _, _, entry in holds.hands.values()]
        more = {"operator": "".join(operator[:1]), "hands": hands, "quiet": "" in holds.muted, "again": event.again}
        return {**found, **{name: given for name, given in more.items() if given}}
    if isinstance(event, Listed):
        return {"event": "members", "members": list(event.names)}
    if isinstance(event, NotSent):
        return {"event": "not_sent", "number": event.number, "code": event.code, "text": event.reason}
    if isinstance(event, LoginFailed):
        return {"event": "refused", "code": event.code, "text": event.text}
    if isinstance(event, Sent) and event.confirmed or isinstance(event, Happened) and event.number:
        return {"event": "sent", "seq": getattr(event, "seq", 0), "number": event.number}
    if not isinstance(event, Happened):
        return {"event": "disconnected"} if isinstance(event, Disconnected) else None
    entry = event.entry
    found = {"event": "notice", "seq": event.seq, "time": entry.time / 1000}
    if entry.kind == SKIP:
        return {**found, "time": None, "text": entry_words(entry)}
    if entry.kind == JOINED:
        found.update(event="joined", name=entry.name)
    elif entry.kind == LEFT:
        found.update(event="left", name=entry.name, why=entry.text)
    elif entry.kind in (HAND, LOWERED):
        raised, place = entry.kind == HAND, 0 if event.earlier else standing.place(entry.name)
        found.update(event="hand", name=entry.name, raised=raised, text=entry.text * raised, place=place)
    elif entry.kind == CALLED:
        found.update(event="called", name=entry.name, text=entry.text)
    elif entry.kind in (TEXT, ACTION, PRIVATE):
        found.update({"event": "message", "from": entry.name, "text": event.text})
        found.update(kind="action" if entry.kind == ACTION else "text", private=entry.kind == PRIVATE)
        if entry.kind == PRIVATE:
            found["to"] = entry.to_name
    else:
        found["text"] = holding_words(entry) if entry.kind in HOLDING else event.text
    author = entry if entry.kind == JOINED else standing.members.get(entry.author, (0, 0, entry))[2]
    more = {"earlier": event.earlier, "classic": author.kind == JOINED and author.text == CLASSIC_TEXT}
    return {**found, **{name: given for name, given in more.items() if given}}


_KEYS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1bO.|\x1b[^\[O]|[^\x1b]", re.DOTALL)
_PASTE, _PASTE_END = "\x1b[200~", "\x1b[201~"
_CARET_KEYS = (  # Keys; the way and the span on it that they move the caret over, or delete.
    ("\x01 \x1b[H \x1bOH \x1b[1~", -1, ".*", False),
    ("\x05 \x1b[F \x1bOF \x1b[4~", 1, ".*", False),
    ("\x02 \x1b[D \x1bOD", -1, ".?", False),
    ("\x06 \x1b[C \x1bOC", 1, ".?", False),
    ("\x1bb \x1b[1;5D \x1b[1;3D", -1, r"\s*[^ ]*", False),
    ("\x1bf \x1b[1;5C \x1b[1;3C", 1, r"\s*\S*", False),
    ("\x15", -1, ".*", True),
    ("\x0b", 1, ".*", True),
    ("\x7f \b", -1, ".?", True),
    ("\x1b[3~ \x04", 1, ".?", True),
    ("\x17 \x1b\x7f", -1, r"\s*[^ ]*", True),
)
_CARET = {key: (way, span, deletes) for keys, way, span, deletes in _CARET_KEYS for key in keys.split(" ")}
_RECALLS = {"\x10": 1, "\x1b[A": 1, "\x1bOA": 1, "\x0e": -1, "\x1b[B": -1, "\x1bOB": -1}
_ACTIONS = {"\x03": "interrupt", "\x04": "eof", "\t": "complete", "\x0c": "redraw", "\x1a": "suspend"}


class LineEditor:
    """The line being typed: takes keys as a terminal sends them, and returns what they ask for.

    Emacs keys and arrows as in readline; a bracketed paste goes in whole, line breaks included.  Ours, because
    readline can neither redraw around incoming lines with its cursor in place nor hold a paste as one text.
    """

    def __init__(self, remembers: bool = True) -> None:
        self.text = self._draft = self._rest = ""
        self.cursor = self._back = 0
        self.selected = False  # The whole text is: what is typed takes its place, and moving the caret keeps it.
        self.history: List[str] = []
        self._remembers = remembers  # Answers to questions are better not.
        self._choices: List[str] = []
        self._completed = ("", 0)

    def feed(self, data: str) -> List[Tuple[str, str]]:
        """Take what the terminal sent; return ("enter", text), ("paste", text), ("interrupt", "") and so on.

        The others are "eof", "complete", "redraw" and "suspend".  A key or paste that has not come whole is kept.
        """
        actions: List[Tuple[str, str]] = []
        if self._rest != "\x1b" or data[:1] in ("[", "O"):  # Else Escape was pressed alone, which asks for nothing.
            data = self._rest + data
        while data:
            if data.startswith(_PASTE):
                text, end, rest = data[len(_PASTE) :].partition(_PASTE_END)
                if not end:
                    break
                text = text.replace("\r\n", "\n").replace("\r", "\n")
                self.insert(text[:-1] if text.endswith("\n") else text)
                actions.append(("paste", text))
                data = rest
                continue
            match = _KEYS.match(data)
            if match is None:
                data = data[:32]
                break
            actions += self._press(match.group())
            data = data[match.end() :]
        self._rest = data
        return actions

    def _press(self, key: str) -> List[Tuple[str, str]]:
        if key in ("\r", "\n"):
            return [("enter", self.take())]
        if key == "\x03" and self.text:
            self.take()  # Up recalls it.
        elif key in _ACTIONS and not (key == "\x04" and self.text):
            return [(_ACTIONS[key], "")]
        elif key in _CARET:
            self._go(*_CARET[key])
        elif key in _RECALLS:
            self.recall(_RECALLS[key])
        elif key in ("\x1b\r", "\x1b\n"):
            self.insert("\n")
        elif key >= " ":  # Escape sequences are below it.
            self.insert(key)
        return []

    def _go(self, way: int, span: str, deletes: bool) -> None:
        """Move the caret over the span that begins there, or delete that."""
        ahead = self.text[: self.cursor][::-1] if way < 0 else self.text[self.cursor :]
        target = self.cursor + way * next(re.finditer(span, ahead, re.DOTALL)).end()
        start, end = sorted((self.cursor, target))
        if deletes:
            self.set("" if self.selected else self.text[:start] + self.text[end:], 0 if self.selected else start)
        else:
            self.cursor, self.selected = target, False

    def take(self) -> str:
        """Return the line, and start a new one."""
        text = self.text
        if self._remembers and text.strip() and text not in self.history[-1:]:
            self.history = [*self.history, text][-HISTORY_LINES_MAX:]
        self.set("")
        self._back = 0
        return text

    def set(self, text: str, cursor: Optional[int] = None, selected: bool = False) -> None:
        """Put a text in the line's place, the caret behind it unless it is given."""
        self.text, self.cursor, self.selected = text, len(text) if cursor is None else cursor, selected and bool(text)

    def insert(self, text: str) -> None:
        """Insert a text at the caret."""
        if self.selected:
            self.set("")
        self.set(self.text[: self.cursor] + text + self.text[self.cursor :], self.cursor + len(text))

    def complete(self, candidates: Callable[[str], List[str]]) -> None:
        """Replace what is before the caret by its first completion, or where that was just done, by the next one."""
        if not self._choices or self._completed != (self.text, self.cursor):
            self._choices = candidates(self.text[: self.cursor])
        if self._choices:
            choice = self._choices.pop(0)
            self._choices.append(choice)
            self.set(choice + self.text[self.cursor :], len(choice))
            self._completed = (self.text, self.cursor)

    def recall(self, step: int) -> None:
        """Go so many lines back in the history, or forth; the line that was being typed comes last."""
        if not self._back:
            self._draft = self.text
        self._back = min(max(self._back + step, 0), len(self.history))
        self.set(self.history[-self._back] if self._back else self._draft)

    def layout(self, prompt: str, columns: int, hidden: bool = False) -> Tuple[List[str], int, int]:
        """Return the screen rows of prompt and line, EDITOR_ROWS_MAX around the caret, and the caret's row and cell."""
        shown, cursor = ("", 0) if hidden else (self.text, self.cursor)
        rows, width, row, cell = [""], 0, 0, 0
        for position, character in enumerate(prompt + shown + " "):
            text = display_text(character, "\u21b5")
            size = text_width(text)
            if width + size > max(columns - 1, 2):  # A row of full width some terminals would wrap by themselves.
                rows.append("")
                width = 0
            if position == len(prompt) + cursor:
                row, cell = len(rows) - 1, width
            rows[-1] += text
            width += size
        top = max(0, row - EDITOR_ROWS_MAX + 1)
        return rows[top : top + EDITOR_ROWS_MAX], row - top, cell


# --- what windows show


# The colours of a theme: surfaces, and texts and names that are readable on each of them.  Every pair has a contrast of
# at least 4.5 : 1 (WCAG 2.1, 1.4.3); the accent also carries the background as text.
_COLOURS = "background surface own mention private found code border text muted accent error good warning"
_COLOURS += "".join(" name%d" % number for number in range(NAME_COLOURS))
_THEMES = {
    "light": (
        "#ffffff #f4f6f9 #e9eeff #fff3c4 #f7e6fb #ffd75e #f0f2f5 #d5dae1 #1b1f24 #5a6470 #1428a0",
        "#b3261e #1b7a3a #855300 #0b57d0 #b3261e #1b7a3a #8a4b00 #6a3ab2 #00666b #a0226e #55610a",
    ),
    "dark": (
        "#15171c #1d2027 #222b4d #463a10 #3d2245 #7a5a00 #22262e #343a45 #e7e9ec #9da7b3 #8ea6ff",
        "#ff8f85 #74d493 #ecb955 #8ab4ff #ff9a8f #7ddc9a #f0b35a #c9a6ff #6fd6d9 #ff9bd0 #c3d166",
    ),
}
PALETTES = {theme: dict(zip(_COLOURS.split(), " ".join(rows).split())) for theme, rows in _THEMES.items()}


def blend(one: str, other: str, share: float) -> str:
    """Return the colour that lies so far on the way from one to the other."""
    pairs = zip(bytes.fromhex(one[1:]), bytes.fromhex(other[1:]))
    return "#" + "".join("%02x" % round(low + (high - low) * share) for low, high in pairs)


class Settings(Value):
    """What a window remembers, never a password."""

    server: str = ""
    name: str = ""
    theme: str = ""  # "light" or "dark"; "" is the system's.
    language: str = ""  # "en" or "id"; "" is the system's.
    zoom: int = 0  # Steps.


def parse_settings(text: str) -> Settings:
    """Return the settings in a text; what is damaged or missing counts as not set."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    values = found if isinstance(found, dict) else {}
    kept = {name: values[name] for name, unset in vars(Settings()).items() if type(values.get(name)) is type(unset)}
    texts = {name: text[:SETTING_CHARACTERS_MAX] for name, text in kept.items() if name != "zoom"}
    return Settings(**{**kept, **texts})


class LoginValues(Value):
    """A login form as it was filled in."""

    server: str
    port: int
    name: str
    password: str


LOGIN_FIELDS = {USERNAME_TAKEN: "name", USERNAME_INVALID: "name", WRONG_PASSWORD: "password", NO_ANSWER: "server"}


def read_login(values: Dict[str, str], found: Sequence[ServerFound]) -> Tuple[Optional[LoginValues], Dict[str, str]]:
    """Return the values of a login, or None and what is wrong by field; for ``found`` see read_server()."""
    errors: Dict[str, str] = {}
    host = name = ""
    port = whole_number(values["port"])
    if not 0 < port < 65536:
        errors["port"] = "1 to 65535"
        port = PORT  # The server is not to blame.
    try:
        host, port = read_server(values["server"], port, found)
    except UsageError as fault:
        errors["server"] = str(fault)
    try:
        name = clean_name(values["name"])
    except UsageError as fault:
        errors["name"] = str(fault)
    if not values["password"]:
        errors["password"] = "The password is empty; type the one of the room."
    return (None if errors else LoginValues(host, port, name, values["password"])), errors


def read_server(text: str, port: int, found: Sequence[ServerFound]) -> Tuple[str, int]:
    """Return host and port of a server as it was typed: an address, or which of those found; raises UsageError."""
    number = whole_number(text)
    if found and (number == 0 or number > len(found)):
        raise UsageError("Type a number from 1 to %d, or an address." % len(found))
    of_name = [each for each in found if name_key(each.room) == name_key(text.strip())]
    named = found[number - 1 : number] if number > 0 else of_name  # Somebody's room may be called 1.
    if len(named) > 1:
        raise UsageError(namesakes(named))
    if named:
        return named[0].address[0], named[0].address[1]
    if not text.strip():
        raise UsageError("Type the address that the server shows, or choose one found on this network.")
    return parse_server(text, port)


def namesakes(found: Sequence[ServerFound]) -> str:
    """Return the sentence that warns of servers of one name among those found, or ""."""
    keys = [name_key(each.room) for each in found]
    twice = [display_text(each.room, " ") for each, key in zip(found, keys) if keys.count(key) > 1]
    return "Two servers here are called %s; ask which one is yours." % twice[0] if twice else ""


def found_text(found: ServerFound) -> str:
    """Return a server that was found as the two rows of a card."""
    return "%s\n%s  \u00b7  %s" % (
        display_text(found.room, " "),
        local(plural(found.members, "member")),
        address_text(found.address),
    )


_LINK = re.compile(r"(?<!\w)https?://[^\s<>\"'`{}|\\^]+", re.IGNORECASE)


def split_links(text: str) -> List[Tuple[bool, str]]:
    """Cut a text into (is the address of a web page, piece); the pieces together are the text."""
    pieces, at = [], 0
    for match in _LINK.finditer(text):
        link = match.group().rstrip(".,;:!?*_~")
        while link.endswith((")", "]")) and link.count(link[-1]) > link.count("(" if link[-1] == ")" else "["):
            link = link[:-1].rstrip(".,;:!?")
        if link.endswith("/") and link.count("/") == 2:
            continue
        pieces += [(False, text[at : match.start()]), (True, link)]
        at = match.start() + len(link)
    return [piece for piece in pieces + [(False, text[at:])] if piece[1]]


_FENCED = re.compile(r"^```[^`\n]*\n(.*?)(?:``` *$|(\Z))", re.MULTILINE | re.DOTALL)
_CODE_LINE = re.compile(r"  |.*(?:[{};]|\):)$|(?:#include|import|from|def|class|return|SELECT|\$|>>>|</?\w+)[ >]")


def split_code(text: str) -> List[Tuple[bool, str]]:
    """Cut a text into (is code, lines): what stands between ```, or the whole of a paste that looks like code."""
    pieces, at = [], 0
    for match in _FENCED.finditer(text):
        if match.group(2) is None:  # What is never closed opened nothing.
            pieces += [(False, text[at : match.start()]), (True, match.group(1))]
            at = match.end()
    lines = [line for line in text.split("\n") if line.strip()]
    looks_like_code = not pieces and len(lines) > 1 and 3 * sum(map(bool, map(_CODE_LINE.match, lines))) >= len(lines)
    blocks = [(code, block.strip("\n")) for code, block in [*pieces, (looks_like_code, text[at:])]]
    return [(code, block) for code, block in blocks if block.strip()]


_EMOJI = re.compile("[\u231a\u231b\u23e9-\u23fa\u2600-\u2712\u2714-\u27bf\u2b1b-\u2b55\ufe0f\U00010000-\U0010ffff]")
_FLAG = "[\U0001f1e6-\U0001f1ff]{2}"
_SEQUENCE = re.compile(
    _FLAG + "|(?:.[\ufe0f\U0001f3fb-\U0001f3ff]{0,2}\u200d)+.|\ufe0f?\u20e3|[\ufe0f\U0001f3fb-\U0001f3ff]"
)


def drawable(text: str, emoji: bool) -> str:
    """Return the text with what a Tk cannot draw replaced: emoji by their names, what else it is by a box.

    No Tk draws several characters as one: flags and the like become a word in brackets, marks of skin colour go.
    """
    text = _SEQUENCE.sub(lambda match: _sequence_word(match.group()), text)
    return text if emoji else _EMOJI.sub(lambda match: _described(match.group()), text)


def _sequence_word(sequence: str) -> str:
    """Return in brackets what a flag is of, or the characters that are joined are; where they are no emoji, those."""
    if re.match(_FLAG, sequence):
        return "[flag %s]" % "".join(chr(ord(letter) - 0x1F1E6 + 65) for letter in sequence)
    parts = [part for part in sequence if unicodedata.category(part) == "So"]
    if "\u200d" not in sequence or not parts:
        return re.sub("[\ufe0f\u20e3\U0001f3fb-\U0001f3ff]", "", sequence)
    return "[%s]" % ", ".join(unicodedata.name(part, "symbol").lower() for part in parts[:8])


def _described(character: str) -> str:
    plain = unicodedata.normalize("NFKC", character)
    if unicodedata.category(character) == "So":
        return "[%s]" % unicodedata.name(character, "symbol").lower()
    return plain if max(plain) < "\U00010000" else "\u25a1"


def shorten(text: str, width: int, measure: Callable[[str], int]) -> str:
    """Return the text, cut with an ellipsis where ``measure`` finds it wider than the width."""
    if measure(text) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if measure(text[:middle] + "\u2026") <= width else (low, middle - 1)
    return text[:low] + "\u2026"


Run = Tuple[str, Tuple[str, ...]]
_STATES = {"pending": "sending \u2026", "sent": "\u2713", "failed": "not sent", "unconfirmed": "sent, unconfirmed"}
_DIVIDERS = {"earlier": "earlier messages", "now": "from now on"}


def line_runs(line: Line, before: Optional[Line] = None) -> List[Run]:
    """Return a line as pieces of text, each with the names of its styles; below ``before`` it may need no header.

    The first style is that of the whole row: "plain", "own", "mention", "private", "notice" or "system".
    """
    if line.kind == "gone":
        return []
    if line.kind == "help":
        title: List[Run] = [("\n", ("plain", "gap")), (local("Commands") + "\n", ("card", "head"))]
        return [*title, (local(line.text) + "\n", ("card",))]
    if line.kind in ("presence", "error", "divider", "day", "unread"):
        rule: List[Run] = [("\n", ("system", "rule"))] if line.kind == "unread" else []
        return [(local(_DIVIDERS.get(line.text, line.text)) + "\n", ("system", line.kind)), *rule]
    clock = local_time(line.at).strftime("%H:%M:%S")
    if line.kind == "log":
        weight = ("strong",) * (line.state in ("error", "warning"))
        return [(clock + "\t", ("logged", "time")), (local(line.text) + "\n", ("logged", "body", line.state, *weight))]
    if line.kind == "answer":
        return [("\t" + local(line.text).replace("\n", "\n\t") + "\n", ("logged", "code"))]
    claims = {"notice": line.kind == "notice", "private": line.private, "own": line.state, "mention": line.mention}
    row = next((row for row, claimed in claims.items() if claimed), "plain")
    name, colour, text = line.name, "name%d" % line.colour, line.text
    if line.kind == "notice":
        name, colour, text = name or local("Announcement"), "accent", local(text)
    head: List[Run] = [("\n", ("plain", "gap")), (name, (row, "head", "who", colour))]
    state: List[Run] = [("\u00a0\u00a0" + local(_STATES[line.state]), (row, line.state))] if line.state else []
    if line.kind == "action":
        end = [("  " + clock[:5], (row, "time")), *state, ("\n", (row,))]
        return [*head, (" ", (row, "head", "action")), *_body(line.text, row, "action"), *end]
    if line.private:
        to = line.private if line.private.startswith("to ") else "to you"
        head.append(("  " + local("private " + to), (row, "head", "secret")))
    runs = [] if _continues(before, line) else [*head, ("  %s\n" % clock[:5], (row, "head", "time"))]
    for is_code, block in split_code(text):
        if not is_code:
            runs += [*_body(block, row, "body"), ("\n", (row, "body"))]
            continue
        last, folds = block.count("\n"), block.count("\n") >= CODE_ROWS_MAX
        for at, each in enumerate(block.split("\n")):  # The first and the last have room above and below.
            tags = {"top": at == 0, "bottom": at == last, "fold": folds and at >= CODE_ROWS_MAX}
            runs.append((each + "\n", (row, "code", *(tag for tag, holds in tags.items() if holds))))
        if folds:
            runs.append((local(plural(last + 1 - CODE_ROWS_MAX, "more line")) + " \u25be\n", (row, "more")))
    last_text, styles = runs.pop() if runs else ("\n", (row, "body"))  # A text may be nothing but fences.
    return [*runs, (last_text[:-1], styles), *state, ("\n", styles)]


def _continues(before: Optional[Line], line: Line) -> bool:
    """Return whether a message goes on under the name of the one before."""
    if before is None or (before.kind, line.kind) != ("message", "message"):
        return False
    fields = ("name", "private", "mention", "earlier")
    same = all(getattr(before, field) == getattr(line, field) for field in fields)
    return same and bool(before.state) == bool(line.state) and 0 <= line.at - before.at < GROUP_SECONDS


def _body(text: str, row: str, style: str) -> List[Run]:
    return [(piece, (row, style, "link") if link else (row, style)) for link, piece in split_links(text)]


def status_level(status: Status) -> str:
    """Return "good" while all is well, "warning" while something is awaited, "error" while there is no connection."""
    if status.state is State.CONNECTED:
        return "warning" if status.silent else "good"
    return "warning" if status.state is State.CONNECTING else "error"


def find_places(text: str, needle: str, astral: int, within: Sequence[str]) -> List[Tuple[str, str]]:
    """Return where a text holds another, whatever its case, as a Tk Text's "line.column" of both ends.

    ``within`` are the ends of the ranges that count, in any order; ``astral`` is how many columns a character beyond
    the BMP takes there.  Ours, because Tk's own search without case ends the program at such a character (Tk 8.6.13).
    """
    places, pattern = [], re.compile(re.escape(needle), re.IGNORECASE)
    ends = (tuple(map(int, end.split("."))) for end in within)
    spans = sorted(zip(ends, ends))
    for row, line in enumerate(text.split("\n") if needle else (), 1):
        for match in pattern.finditer(line):
            heads = (line[:column] for column in match.span())
            start, end = (len(head) + (astral - 1) * sum(character > "\uffff" for character in head) for head in heads)
            at = bisect.bisect_right(spans, ((row, start), (float("inf"), 0)))
            if at and spans[at - 1][1] >= (row, end):
                places.append(("%d.%d" % (row, start), "%d.%d" % (row, end)))
    return places


# ======================================================================================================
# 14. Event loop
# ======================================================================================================
# Sockets, clock and entropy around a core, on a thread of its own.  One turn: wait, receive what is there,
# run what other threads asked for, tick, send, hand the events on.  No section above this one sees OSError.
# What arrives is read at once and sorted: too much of it is then strangers' loss, not everybody's delay.

_UDP_SEGMENT = 103  # From linux/udp.h; one sendmsg() becomes many datagrams (Linux 4.18).


class LoopEnded(Value):
    """The loop is over; ``failure`` holds a sentence where it was by a fault."""

    failure: str = ""


class Sender:
    """Sends datagrams through the sockets; many to one member in one call where the system can (GSO)."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        """The first socket of each family sends; an IPv6 address is known by its four fields."""
        self.failed, self._waits = 0, True
        self.segmented = sys.platform == "linux"
        self._sockets = {each.family == socket.AF_INET6: each for each in reversed(sockets)}

    def send(self, items: Sequence[Union[Datagram, Fanout]]) -> None:
        """Send everything; what the system refuses is counted in ``failed`` and repaired like any loss."""
        self._waits = True
        for item in items:
            if isinstance(item, Datagram):
                self._send(item.data, item.address)
            elif len(item.bodies) > 1 and self.segmented:
                for at in range(0, len(item.bodies), SEGMENTS_MAX):
                    self._send_segmented(Fanout(item.bodies[at : at + SEGMENTS_MAX], item.members))
            else:
                for data, address in item.datagrams():
                    self._send(data, address)

    def _send(self, data: bytes, address: Any) -> None:
        try:
            each = self._sockets[len(address) == 4]
            try:
                each.sendto(data, address)
            except BlockingIOError:  # Wait a moment for room in its buffer.
                # What the system holds for machines that are gone can fill it for seconds (Linux: until ARP gives up).
                # SECURITY: test_machines_that_are_gone_stop_no_turn_for_long
                if not self._waits:
                    raise
                each.settimeout(SEND_WAIT_SECONDS)
                self._waits = False
                try:
                    each.sendto(data, address)
                    self._waits = True
                finally:
                    each.setblocking(False)
        except (OSError, KeyError):
            self.failed += 1

    def _send_segmented(self, fanout: Fanout) -> None:
        """Send each member's datagrams, which are of one size, in one call."""
        size, count = HEADER_BYTES + len(fanout.bodies[0]) + TAG_BYTES, len(fanout.bodies)
        control = [(socket.IPPROTO_UDP, _UDP_SEGMENT, struct.pack("=H", size))]
        datagrams = fanout.datagrams()
        for address, _ in fanout.members:
            own = [data for data, _ in itertools.islice(datagrams, count)]
            try:
                # One buffer: the system takes it faster than it walks through many small ones.
                self._sockets[len(address) == 4].sendmsg((b"".join(own),), control, 0, address)
            except (OSError, KeyError) as fault:
                failed = self.failed
                for data in own:
                    self._send(data, address)
                # What is refused at once and taken one by one shows a system without segmentation.
                self.segmented = self.segmented and (self.failed > failed or isinstance(fault, BlockingIOError))


class Loop(threading.Thread):
    """A thread that runs a core and owns its sockets; events reach the owner through ``post``, called on it."""

    def __init__(self, core: Core, sockets: Sequence[socket.socket], post: Callable[[Any], None]) -> None:
        super().__init__(name="network", daemon=True)
        self.core, self.post = core, post
        self.sender = Sender(sockets)
        self.send = self.sender.send
        self._sockets = list(sockets)
        self._strangers: List[Tuple[bytes, Any]] = []
        self._calls: Deque[Callable[[float], None]] = collections.deque()
        self._wake_in, self._wake_out = socket.socketpair()
        for each in (*self._sockets, self._wake_in, self._wake_out):
            each.setblocking(False)

    def call(self, act: Callable[[float], None]) -> None:
        """Run ``act(now)`` on the network thread; a UsageError of it becomes an event."""
        self._calls.append(act)
        with contextlib.suppress(OSError):  # Full: it is going to wake anyway.  Closed: it is over.
            self._wake_out.send(b"\0")

    def run(self) -> None:
        """Take turns until the core is done, or has a fault; LoopEnded is the last event."""
        failure = ""
        try:
            with selectors.DefaultSelector() as selector:
                for each in (*self._sockets, self._wake_in):
                    selector.register(each, selectors.EVENT_READ)
                while not self.core.done:
                    self._turn(selector)
        except LogFailure as fault:
            failure = str(fault)
        except Exception as fault:  # A fault of ours must reach the person, not vanish with a thread.
            failure = "The program has a fault (%s: %s). Please start it again." % (type(fault).__name__, fault)
            if os.environ.get("SAMSUNGCHAT_DEBUG"):
                raise
        finally:
            for each in (*self._sockets, self._wake_in, self._wake_out):
                each.close()
            self.core.release()
            self.post(LoopEnded(failure))

    def _turn(self, selector: selectors.BaseSelector) -> None:
        deadline = self.core.deadline()
        wait = 0.0 if self._strangers else None if deadline is None else deadline - time.monotonic()
        # Below a millisecond a selector would round up; look and go on instead.
        ready = selector.select(wait if wait is None or wait >= 0.001 else 0)
        now = time.monotonic()
        self.core.epoch = time.time() - now
        self.core.overloaded = False
        for key, _ in ready:
            self._drain(key.fileobj, now)
        self._receive_strangers(now)
        while self._calls:
            try:
                self._calls.popleft()(now)
            except UsageError as fault:
                self.post(fault)
        self.core.tick(now)
        outgoing = self.core.outgoing()
        if outgoing:
            self.send(outgoing)
        for event in self.core.events():
            self.post(event)

    def _drain(self, each: Any, now: float) -> None:
        if each is self._wake_in:
            with contextlib.suppress(OSError):
                each.recv(4096)
            return
        core, recvfrom, most = self.core, each.recvfrom, RECEIVE_DATAGRAMS_MAX
        for _ in range(READ_DATAGRAMS_MAX):
            try:
                data, address = recvfrom(core.receive_bytes)
            except OSError:  # Nothing more; or, on Windows, one peer's port is closed, and the next turn goes on.
                return
            # SECURITY: test_a_flood_of_strangers_does_not_come_before_those_in_the_room
            if core.knows(data, address):
                core.receive(data, address, now)
                most -= 1
                if not most:
                    break
            elif len(data) <= RECEIVE_BYTES_MAX:
                self._strangers.append((data, address))
        core.overloaded = True

    def _receive_strangers(self, now: float) -> None:
        """Take what one turn may; where that is not all, the newest of each address, and so many of those wait."""
        strangers = self._strangers
        if len(strangers) > STRANGERS_MAX:
            self.core.overloaded = True
            # SECURITY: test_who_floods_from_one_address_displaces_only_himself
            strangers = list({address: (data, address) for data, address in strangers}.values())
        for data, address in strangers[:STRANGERS_MAX]:
            self.core.receive(data, address, now)
        self._strangers = strangers[STRANGERS_MAX:READ_DATAGRAMS_MAX]


def start_thread(target: Callable[..., Any], *arguments: Any) -> threading.Thread:
    """Run something that may wait for ever on a thread that does not keep the program alive."""
    thread = threading.Thread(target=target, args=arguments, daemon=True)
    thread.start()
    return thread


def networks() -> List[Tuple[str, str]]:
    """Return this machine's (address, broadcast address or "") in its networks, the likeliest first, loopback last."""
    outward = ""
    found: List[Tuple[str, str]] = []
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        found += _interfaces(asked)
        asked.connect(("192.0.2.1", 9))  # Sends nothing: asks the system which of its addresses it would use.
        outward = asked.getsockname()[0]
    return sorted(found, key=lambda network: network[0] != outward) + [("127.0.0.1", "127.0.0.1")]


# Of linux/sockios.h and macOS's sys/sockio.h: SIOCGIFFLAGS, SIOCGIFADDR, SIOCGIFBRDADDR.
_GET_FLAGS, _GET_ADDRESS, _GET_BROADCAST = (
    (0x8913, 0x8915, 0x8919) if sys.platform == "linux" else (0xC0206911, 0xC0206921, 0xC0206923)
)
_UP, _BROADCASTS, _LOOPBACK = 1, 2, 8


def _interfaces(asked: socket.socket) -> Iterator[Tuple[str, str]]:
    if sys.platform == "win32":
        for address in socket.gethostbyname_ex(socket.gethostname())[2]:
            yield address, "255.255.255.255"  # Goes out where the socket is bound.
        return
    import fcntl

    for _, name in socket.if_nameindex():
        request = name.encode().ljust(40, b"\0")
        with contextlib.suppress(OSError):  # It has no IPv4 address.
            flags = int.from_bytes(fcntl.ioctl(asked, _GET_FLAGS, request)[16:18], sys.byteorder)
            if flags & _UP and not flags & _LOOPBACK:
                own = socket.inet_ntoa(fcntl.ioctl(asked, _GET_ADDRESS, request)[20:24])
                broadcasts = flags & _BROADCASTS
                target = socket.inet_ntoa(fcntl.ioctl(asked, _GET_BROADCAST, request)[20:24]) if broadcasts else ""
                yield own, "255.255.255.255" if target == "0.0.0.0" else target  # It was given none.


def resolve(host: str, port: int) -> List[Any]:
    """Return the socket addresses of a host; raises UsageError where there are none.  May take seconds."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        said = "There is no machine called %s. Check the name, or type its address."
        raise UsageError(said % display_text(host, " ")) from None
    return list(dict.fromkeys(entry[4] for entry in found if entry[0] in (socket.AF_INET, socket.AF_INET6)))


def open_socket(address: Any) -> socket.socket:
    """Open a UDP socket bound to the address, IPv6 or IPv4; raises OSError."""
    options = [("SOL_SOCKET", "SO_RCVBUF", SOCKET_BYTES), ("SOL_SOCKET", "SO_SNDBUF", SOCKET_BYTES)]
    options += [("SOL_SOCKET", "SO_BROADCAST", 1), ("IPPROTO_IPV6", "IPV6_V6ONLY", 0)]
    options += [("SOL_SOCKET", "SO_EXCLUSIVEADDRUSE", 1)]  # Windows: nobody else binds the same port.
    with contextlib.ExitStack() as unless_bound:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        opened = unless_bound.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        for level, option, value in options:
            with contextlib.suppress(OSError, AttributeError):  # Not every kind of socket has them all.
                opened.setsockopt(getattr(socket, level), getattr(socket, option), value)
        opened.bind(address)
        unless_bound.pop_all()
    return opened


def open_server_sockets(host: str, port: int) -> List[socket.socket]:
    """Open the server's socket, and those that hear searches where a bound host would not.

    Raises UsageError for a host that cannot be, OSError with a sentence where the system refuses.
    """
    addresses = resolve(host, port)
    try:
        opened = [open_socket(addresses[0])]
    except OSError as fault:
        said = "Cannot listen on %s: %s." % (address_text((host, port)), fault.strerror)
        if fault.errno == errno.EADDRINUSE:
            said = "Port %d is in use: another server may be running. Stop that, or choose another port." % port
        elif fault.errno in (errno.EACCES, errno.EPERM):
            said = "Port %d needs more rights than you have. Choose one above 1023." % port
        elif fault.errno == errno.EADDRNOTAVAIL:
            said = "%s is no address of this machine. Leave --host out to listen on all of them."
            said %= display_text(host, " ")
        raise OSError(fault.errno, said) from None
    own, bound_port = opened[0].getsockname()[:2]
    if ":" not in own and own != "0.0.0.0":
        broadcast = "127.255.255.255" if own.startswith("127.") else dict(networks()).get(own)
        for heard in filter(None, {"255.255.255.255", broadcast}):
            with contextlib.suppress(OSError):
                opened.append(open_socket((heard, bound_port)))
    return opened


def search_ways(port: int, host: str = "") -> List[Tuple[str, Any]]:
    """Return where to look for servers, everywhere or at a host: own addresses, and what to ask from there.

    SAMSUNGCHAT_DISCOVERY (addresses, comma-separated) replaces everywhere; raises UsageError for what cannot be.
    """
    if host:
        return [("::" if ":" in address[0] else "0.0.0.0", address) for address in resolve(host, port)]
    given = os.environ.get("SAMSUNGCHAT_DISCOVERY", "").split(",")
    ways = [("0.0.0.0", parse_server(each, port)) for each in given if each.strip()]
    return ways or [(own, (broadcast, port)) for own, broadcast in networks() if broadcast]


def start_discovery(port: int, tell: Callable[[List[ServerFound]], None], host: str = "") -> None:
    """Look for servers on every network; ``tell`` is called with those found, in about a second.

    With a ``host`` it looks there only, until one answers; raises UsageError where there is no such machine.
    """
    asked: List[Tuple[socket.socket, Any]] = []
    for own, target in search_ways(port, host):
        with contextlib.suppress(OSError):  # The address has gone meanwhile.
            asked.append((open_socket((own, 0)), target))

    def send(items: Sequence[Any]) -> None:
        for item in items:
            with contextlib.suppress(OSError):
                asked[item.address][0].sendto(item.data, asked[item.address][1])

    core = Discovery(os.urandom, range(len(asked)), time.monotonic(), bool(host))
    # Its one event is that the loop has ended.
    loop = Loop(core, [each for each, _ in asked], lambda _: tell(core.found()))
    loop.send = send
    loop.start()


def start_client(client: Client, post: Callable[[Any], None]) -> Loop:
    """Run a client that is not logged in; raises OSError without a network."""
    sockets = [open_socket(("0.0.0.0", 0))]
    with contextlib.suppress(OSError):  # A machine without IPv6.
        sockets.append(open_socket(("::", 0)))
    loop = Loop(client, sockets, post)
    loop.start()
    return loop


# ======================================================================================================
# 15. Share
# ======================================================================================================
# How everybody has the program in a minute: over HTTP, on the TCP port of the room's number, one page, the program
# and the files that were named.  What is asked for is looked up in a table, never used as a path.

PROGRAM = "samsungchat.py"
_FETCH = {  # What fetches the program and starts the client, of the program's address and the room's.
    "Windows (PowerShell)": "cd ~; iwr -UseBasicParsing '{url}' -OutFile {program}; py {program} client {room}",
    "macOS (Terminal)": "curl -gfsSO '{url}' && python3 {program} client {room}",
    "Linux (Terminal)": "python3 -c \"import urllib.request as u; u.urlretrieve('{url}', '{program}')\" && "
    "python3 {program} client {room}",
}
_PAGE_LEAD = (
    "Join the room: copy the line for your system (a click selects it), paste it there and press Enter. It fetches "
    "the program and starts it. It needs Python 3.8 or newer, from python.org."
)
_PAGE_END = (
    "This page comes over plain HTTP: whoever controls the network can have changed it, and the program. If you do "
    "not trust the network, fetch the program only, and before you start it compare its SHA-256 (Get-FileHash, "
    "shasum -a 256, sha256sum) with the one on the screen of who runs the room. It is to be:"
)
_PAGE = """<!DOCTYPE html>
<html lang="{language}"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{room}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem }}
h1 {{ line-height: 1.2; overflow-wrap: anywhere }}
h2 {{ font-size: 1rem; margin: 1.5rem 0 .25rem }}
p {{ margin: .5rem 0 }}
code {{ display: block; padding: .75rem; border: 1px solid #8888; border-radius: .5rem; overflow-wrap: anywhere;
  user-select: all; -webkit-user-select: all }}
a {{ display: block; padding: .5rem 0; overflow-wrap: anywhere }}
</style>
{body}
</html>
"""


def typed_addresses(bound: Any) -> List[str]:
    """Return what to type on other machines to reach a server bound there, most likely first."""
    hosts = [bound[0]]
    if bound[0] in ("0.0.0.0", "::"):
        hosts = [address for address, _ in networks()[:-1]] or ["127.0.0.1"]  # Loopback only where there is no other.
    return hosts if bound[1] == PORT else [address_text((host, bound[1])) for host in hosts]


def prefers_indonesian(accepted: str) -> bool:
    """Return whether a browser's Accept-Language (RFC 9110, 12.5.4) puts Indonesian before English."""
    found = re.findall(r"\b(id|en)\b[\w-]*(?:\s*;\s*q=([01](?:\.\d{1,3})?))?", accepted.lower())
    return max(found, key=lambda language: float(language[1] or 1), default=("en", ""))[0] == "id"


def shared_files(paths: Sequence[str]) -> Dict[str, str]:
    """Return the paths of files to share by their names; raises UsageError where one cannot be."""
    found: Dict[str, str] = {}
    for path in paths:
        name = os.path.basename(path)
        if not (os.path.isfile(path) and os.access(path, os.R_OK)):
            raise UsageError("There is no file %s to share, or you may not read it." % path)
        if name in found:
            raise UsageError("Two of the files to share are called %s; rename one." % name)
        found[name] = os.path.abspath(path)
    return found


class Share:
    """The program and files on a page of their own, from a thread of their own, until close()."""

    def __init__(self, room: str, bound: Any, files: Dict[str, str]) -> None:
        """Serve at the address of the room's socket; raises OSError."""
        import urllib.parse

        program = pathlib.Path(__file__).read_bytes()
        self.sha256 = hashlib.sha256(program).hexdigest()
        self._room = room
        self._files = {"/files/" + urllib.parse.quote(os.fsencode(name)): path for name, path in files.items()}
        self._table: Dict[str, Callable[[], Any]] = {"/" + PROGRAM: lambda: io.BytesIO(program)}
        self._table.update((name, functools.partial(open, path, "rb")) for name, path in self._files.items())
        self._web = _serve_web(bound, self._find)

    def close(self) -> None:
        """Serve no more."""
        self._web.shutdown()
        self._web.server_close()

    def _find(self, path: str, accepted: str, own: Any) -> Tuple[Dict[str, str], BinaryIO]:
        """Return headers and body of what is asked for; raises KeyError or OSError where there is none."""
        if path == "/":
            language = "id" if prefers_indonesian(accepted) else "en"
            kind = {"Content-Type": "text/html; charset=utf-8", "Content-Language": language, "Vary": "Accept-Language"}
            return kind, io.BytesIO(self.page(language, own).encode("utf-8", "replace"))
        # SECURITY: test_only_what_was_named_is_shared_and_only_so_much_at_once
        body = self._table[path]()
        name = "attachment; filename*=UTF-8''" + path.rpartition("/")[2]
        return {"Content-Type": "application/octet-stream", "Content-Disposition": name}, body

    def page(self, language: str, own: Any) -> str:
        """Return the page in that language; ``own`` is the address under which it was reached."""
        import html

        words, address = LANGUAGES[language], (address_text(own).rpartition(":")[0].strip("[]"), own[1])
        room = typed_addresses(address)[0]
        values = {"url": "http://%s/%s" % (address_text(address), PROGRAM), "program": PROGRAM}
        values["room"] = "'%s'" % room if "[" in room else room
        blocks = [("h1", self._room), ("p", words.get(_PAGE_LEAD, _PAGE_LEAD))]
        for system, line in _FETCH.items():
            blocks += [("h2", system), ("code", line.format(**values))]
        for title, paths in (("The program", {"/" + PROGRAM: PROGRAM}), ("Files", self._files)):
            blocks += [("h2", words.get(title, title))] if paths else []
            blocks += [('a href="%s"' % href, os.path.basename(path)) for href, path in paths.items()]
        blocks += [("p", words.get(_PAGE_END, _PAGE_END)), ("code", self.sha256)]
        safe = [(tag, html.escape(display_text(text, " ")), tag.split()[0]) for tag, text in blocks]
        return _PAGE.format(language=language, room=safe[0][1], body="\n".join("<%s>%s</%s>" % each for each in safe))


_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
}


def _serve_web(bound: Any, find: Callable[[str, str, Any], Tuple[Dict[str, str], BinaryIO]]) -> Any:
    """Answer GET and HEAD with what ``find`` returns of path, Accept-Language and own address; raises OSError."""
    import http.server

    until: Dict[Any, Tuple[str, float]] = {}  # By connection: whose it is, and when it ends.

    class Web(http.server.ThreadingHTTPServer):
        def verify_request(self, request: Any, client_address: Any) -> bool:
            of_host = sum(each == client_address[0] for each, _ in list(until.values()))
            # SECURITY: test_only_what_was_named_is_shared_and_only_so_much_at_once
            if len(until) >= SHARE_CONNECTIONS_MAX or of_host >= SHARE_HOST_MAX:
                return False
            until[request] = (client_address[0], time.monotonic() + SHARE_ASK_SECONDS)
            return True

        def service_actions(self) -> None:
            for request, (_, end) in list(until.items()):
                if time.monotonic() > end:
                    with contextlib.suppress(OSError):
                        request.shutdown(socket.SHUT_RDWR)

        def shutdown_request(self, request: Any) -> None:
            until.pop(request, None)
            super().shutdown_request(request)

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Who goes away in the middle is no fault."""

    class Answer(http.server.BaseHTTPRequestHandler):
        server_version, sys_version, timeout = "SamsungChat", "", SHARE_ASK_SECONDS

        def do_GET(self) -> None:
            until[self.connection] = (self.client_address[0], time.monotonic() + SHARE_ANSWER_SECONDS)
            asked = (self.path.partition("?")[0], self.headers.get("Accept-Language", ""))
            try:
                headers, body = find(*asked, self.connection.getsockname())
            except (KeyError, OSError):
                self.send_error(404)
                return
            with body:
                self.send_response(200)
                for header in {**headers, **_HEADERS, "Content-Length": str(body.seek(0, os.SEEK_END))}.items():
                    self.send_header(*header)
                self.end_headers()
                body.seek(0)
                if self.command == "GET":
                    shutil.copyfileobj(body, self.wfile)

        do_HEAD = do_GET

        def log_message(self, *arguments: Any) -> None:
            """Who fetches what is nobody's business."""

    web, six = Web(bound[:2], Answer, bind_and_activate=False), ":" in bound[0]
    web.socket.close()
    family = socket.AF_INET6 if six else socket.AF_INET
    web.socket = socket.create_server(bound, family=family, backlog=SHARE_CONNECTIONS_MAX, dualstack_ipv6=six)
    threading.Thread(target=web.serve_forever, args=(SHARE_LOOK_SECONDS,), name="share", daemon=True).start()
    return web


# ======================================================================================================
# 16. Check
# ======================================================================================================
# What keeps somebody from coming in: asked of the system and the network, one after the other, and waiting for each.
# It stops before PROOF: nobody in the room hears of it, the operator of a login that was not completed.

TK_MISSING = (
    "Windows need tkinter, which this Python lacks. Debian, Ubuntu: apt install python3-tk; Fedora: dnf install "
    "python3-tkinter; macOS: brew install python-tk, or the installer from python.org. --cli needs none of it."
)


class Finding(Value):
    """A line of a check: whether that is as it should be, what was found, and what to do; ``login``: one would work."""

    good: bool
    text: str
    remedy: str = ""
    login: bool = False

    def lines(self) -> str:
        """Return it for a person, with a tick or a cross."""
        remedy = "\n  " + local(self.remedy) if self.remedy and not self.good else ""
        return "%s %s%s" % ("\u2713" if self.good else "\u2717", local(self.text), remedy)


_UNREACHED = {
    "refused": "The machine is there, and no server is at this port. Check the port, and that the server runs.",
    "silent": "The machine is off or another one, or a firewall, there or here, lets no UDP through at this port, or "
    "the network keeps its machines apart, as for guests.",
    "unreachable": "This machine knows no way there. Check the address, and the cable or the Wi-Fi.",
}


def check(server: str, port: int, password: str) -> Iterator[Finding]:
    """Yield what a login needs at a server, or "" for one that is found; takes some seconds."""
    version = "Python %s, on %s" % (sys.version.split()[0], sys.platform)
    windows = importlib.util.find_spec("_tkinter") is not None
    yield Finding(windows, ("%s, with tkinter." if windows else "%s, without tkinter.") % version, TK_MISSING)
    own = ", ".join(address for address, _ in networks()[:-1])
    said = "This machine's addresses: %s." % own if own else "This machine is in no network."
    yield Finding(bool(own), said, "Connect the cable or the Wi-Fi.")
    found: List[Any] = []
    try:
        for way in search_ways(port):
            finding = _check_search(*way, found)
            if finding.good or not way[0].startswith("127."):  # That there is no server on this machine is no fault.
                yield finding
        if server:
            place = parse_server(server, port)
            found = [address for _, address in search_ways(place[1], place[0])]
            if address_text(found[0]) != address_text(place):
                yield Finding(True, "%s is %s." % (display_text(place[0], " "), ", ".join(map(address_text, found))))
    except UsageError as fault:
        yield Finding(False, str(fault))
        return
    if not found:
        yield Finding(False, "No server was found.", "Type its address, if there is one. %s" % REFUSALS[NO_ANSWER])
    for address in found if server else found[:1]:
        findings = list(_check_server(address, password))
        yield from findings
        if findings[0].good:
            return


def _check_search(own: str, target: Any, found: List[Any]) -> Finding:
    """Search on one way, and add the addresses of what is found."""
    way = "A search at %s" % address_text(target)
    try:
        with open_socket((own, 0)) as asked:
            offers = _greet(asked, target, 3, 0.3, FOUND_MAX)
    except OSError as fault:
        return Finding(False, "%s cannot be sent: %s." % (way, fault.strerror), _UNREACHED["unreachable"])
    servers = {address: offer for offer, address, _ in offers if isinstance(offer, Offer)}
    found += servers
    rooms = ["%s at %s" % (display_text(offer.room, " "), address_text(each)) for each, offer in servers.items()]
    remedy = "Servers behind a firewall or in another network are not found this way; name the address."
    return Finding(bool(rooms), "%s finds %s." % (way, ", ".join(rooms) or "nothing"), remedy)


def _greet(asked: socket.socket, target: Any, count: int, pause: float, most: int) -> List[Tuple[Any, Any, float]]:
    """Send HELLOs there (None: where it is connected) and return answers, their addresses and seconds; raises OSError.

    Waits a second behind the last one, if not so many have come before.
    """
    sent: Dict[bytes, float] = {}
    found: List[Tuple[Any, Any, float]] = []
    for wait in [pause] * (count - 1) + [1.0]:
        nonce = os.urandom(16)
        sent[nonce] = now = time.monotonic()
        hello = encode_unsealed(Hello(nonce))
        _ = asked.sendto(hello, target) if target else asked.send(hello)
        until = now + wait
        while now < until:
            for data, address in _heard(asked, until - now, Offer, Later):
                with contextlib.suppress(MalformedDatagram, KeyError):
                    message = decode(data[1], data[2:])
                    found.append((message, address, time.monotonic() - sent.pop(message.nonce)))
            if len(found) >= most:
                return found
            now = time.monotonic()
    return found


def _heard(asked: socket.socket, seconds: float, *kinds: Any) -> Iterator[Tuple[bytes, Any]]:
    """Yield a datagram of our version and these kinds, and its address, if one comes in that time; raises OSError."""
    asked.settimeout(max(seconds, 0.001))
    with contextlib.suppress(socket.timeout):
        data, address = asked.recvfrom(RECEIVE_BYTES_MAX)
        if data[:2] in [bytes((VERSION_BYTE, kind.code)) for kind in kinds] and len(data) > HEADER_BYTES + TAG_BYTES:
            yield data, address


def _check_server(address: Any, password: str) -> Iterator[Finding]:
    """Look whether there is a server, whether the password is right, how good the way is, and at the clocks."""
    answers: List[Tuple[Any, Any, float]] = []
    why = "silent"
    with contextlib.ExitStack() as opened:
        try:
            asked = opened.enter_context(open_socket(("::" if ":" in address[0] else "0.0.0.0", 0)))
            asked.connect(address)
            answers = _greet(asked, None, 3, 0.3, 1)
        except ConnectionError:  # The machine itself has answered.
            why = "refused"
        except OSError:
            why = "unreachable"
        if not answers or not isinstance(answers[0][0], Offer):
            remedy = REFUSALS.get(answers[0][0].reason, _UNREACHED[why]) if answers else _UNREACHED[why]
            yield Finding(False, "Nobody lets you in at %s: %s." % (address_text(address), why), remedy)
            return
        offer, _, seconds = answers[0]
        ahead = abs(offer.time / 1000 - time.time() + seconds / 2)
        room = "%s, %s" % (display_text(offer.room, " "), plural(offer.members, "member"))
        yield Finding(True, "%s answers: %s." % (address_text(address), room))
        if password or offer.public:
            code = _login_failure(asked, address, password or PASSWORD)
            said = REFUSALS[code] if code else "The password is right: you can log in."
            yield Finding(not code, said, login=not code)
        else:
            yield Finding(False, "The password was not tried, as none was given.", "Give it, to have it tried.")
        with contextlib.suppress(OSError):
            answers = _greet(asked, None, CHECK_DATAGRAMS, CHECK_SECONDS, CHECK_DATAGRAMS)
        times = sorted(seconds for *_, seconds in answers)
        half = times[len(times) // 2] * 1000 if times else 0.0
        said = "%d of %d datagrams came back, half of them within %.1f ms." % (len(times), CHECK_DATAGRAMS, half)
        remedy = "Messages arrive all the same, later. Use a cable, or go nearer to the Wi-Fi."
        yield Finding(len(times) >= CHECK_DATAGRAMS - CHECK_LOST_MAX, said, remedy)
        said = "This machine's clock and the server's differ by %d s." % ahead
        yield Finding(ahead <= CHECK_CLOCK_SECONDS, said, "Set the wrong one: times on screens are the server's.")


def _login_failure(asked: socket.socket, address: Any, password: str) -> str:
    """Log in as far as before PROOF; return the code of what is wrong, "" where the password is right."""
    alarms, now = Alarms(), time.monotonic()
    attempt = LoginAttempt(password_bytes(password), [address], os.urandom, alarms, now)
    with contextlib.suppress(OSError):
        while attempt.session is None and not alarms.due("failed", now):
            if alarms.due("login", now):
                for question in attempt.questions(Proof(0, b"", b"", 0, 0, 0, 0, ""), now):
                    asked.send(question.data)
            for data, _ in _heard(asked, HELLO_SECONDS, Offer, Keys, Later):
                with contextlib.suppress(MalformedDatagram):
                    attempt.receive(data, address, time.monotonic())
            now = time.monotonic()
    return "" if attempt.session else attempt.failure


# ======================================================================================================
# 17. Apps
# ======================================================================================================
# One for each role: what lies between a person and a room and needs no screen.  A typed line: face, enter(),
# parse_input(), the core's say() with its number; then Queued, and it is on its way, and Happened with that number,
# and it stands in the conversation.  An event: network thread, inbox, take(), Transcript.apply(), the face's show().
# Every command and every event is taken in one place.  A face shows what the app holds, and decides nothing.


class Typed(Value):
    """What a reader read: a terminal's keys ("": it has a new size), or a pipe's line; None is the end of the input."""

    text: Optional[str]


STOPPED, OPENED = "stopped", "opened"  # The system ends it; a room is open.


class OutputClosed(Exception):
    """Standard output was closed by its reader, or cannot be written; the argument says which."""


def complain(text: str) -> None:
    """Write one line of diagnostics to standard error."""
    with contextlib.suppress(OSError, ValueError):
        print("samsungchat: " + local(text), file=sys.stderr, flush=True)


class App:
    """What both roles have: a core behind its loop, what comes from it and from readers, and an end."""

    commands = SERVER_COMMANDS
    face: "Face"

    def __init__(self) -> None:
        self.inbox: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        self.code: Optional[int] = None  # The exit status, at the end.
        self.last_words = ""  # Why it ends, where no line has said it.
        self.loop: Optional[Loop] = None  # While there is a network, or the room is open.
        self.transcript = Transcript()  # A server's is of lines alone; nobody logs in there.
        self.need: Optional[Need] = None  # While a login is asked for; another one is another question.
        self.login: Optional[LoginValues] = None  # Of the room that a client is in, or tries to enter.
        self.values: Dict[str, str] = {}
        self.question: Optional[Tuple[str, str, Callable[[], None]]] = None  # The question, the word for yes, the act.
        self.waiting: Dict[int, str] = {}  # Own texts without receipt, as they were typed; what a server says has none.

    def call(self, act: Callable[[Any, float], None]) -> None:
        """Have the network thread, where it runs, do something: ``act`` gets the core and the time."""
        if self.loop is not None:
            core = self.loop.core
            self.loop.call(lambda now: act(core, now))

    def complete(self, before: str) -> List[str]:
        """Return what the text before the caret may be completed to."""
        return complete(before, self.transcript.names(), self.commands)

    def addressee(self, text: str) -> Tuple[str, int]:
        """Return whom alone a text reaches that is being typed, and how many characters say so; else "" and 0."""
        match = re.match(r"/(?:msg\s+(\S+)|r) +", text, re.IGNORECASE)
        name = display_text(match.group(1) or self.transcript.correspondent, " ") if match else ""
        return (name, match.end()) if match and name else ("", 0)

    def help(self) -> List[str]:
        """Return a line for each command, and the keys of the face."""
        return [*commands_help(self.commands), *[self.face.keys] * bool(self.face.keys)]

    def prompt(self) -> str:
        """Return what stands before the line being typed: the own name, and what is to be known before one types."""
        transcript, status = self.transcript, self.transcript.status
        notes = [status_text(status)]
        if not (status.waiting or status.silent or status.state is not State.CONNECTED):
            notes = self.notes()
        return "%s%s> " % (transcript.name, " (%s)" % ", ".join(map(local, notes)) if notes else "")

    def notes(self) -> List[str]:
        """Return what is to be known before one types: the own place among raised hands, and why nobody would hear."""
        place, why = self.transcript.place(), self.transcript.hushed()
        return ["hand raised, place %d" % place] * bool(place) + [HUSHED_WORDS.get(why, "")] * bool(why)

    def pressed(self, command: str, draft: str) -> Tuple[str, str]:
        """Return the line that a command's button enters, and what stays typed: a draft is its text if no command."""
        taken = draft.strip() and not draft.startswith("/")
        return ("%s %s" % (command, draft), "") if taken else (command, draft)

    def default_password(self) -> str:
        """Return what Enter alone answers where a password is asked for."""
        return ""

    def tell(self, level: str, text: str, mention: bool = False, event: Any = None) -> None:
        """Add a line to a log of what happens: "good", "warning", "error", "accent", "muted" or "plain"."""
        line = self.transcript.note(text, "log")
        self.face.show(event, [replace(line, at=time.time(), state=level, mention=mention)])

    def ask(self, question: str, yes: str, act: Callable[[], None]) -> None:
        """Ask before something is done; to ask that twice in a row is an answer."""
        if self.question is not None and self.question[0] == question:
            self.answer(True)
        else:
            self.question = (question, yes, act)

    def answer(self, sure: bool) -> None:
        """Do what was asked, or leave it."""
        question, self.question = self.question, None
        if sure and question is not None:
            question[2]()

    def end(self, code: int, last_words: str = "") -> None:
        """Come to the end, with that exit status."""
        self.code, self.last_words = code, last_words


# --- client


class Need(Value):
    """What a login lacks: ``field`` is the first that is missing or wrong, "" where it is none of the form's.

    ``errors`` are the sentences beside their fields ("" for none), ``code`` the word of a refusal, ``hint`` a sentence
    that blames nothing.  While ``searching`` nothing has to be answered yet.
    """

    field: str
    errors: Dict[str, str]
    code: str = ""
    hint: str = ""
    searching: bool = False


def default_name() -> str:
    """Return the login name of the person as a chat name, or "guest"."""
    try:
        return clean_name(re.sub(r"[^\w.-]", "", getpass.getuser()))
    except (UsageError, KeyError, ImportError, OSError):
        return "guest"


def another_name(name: str) -> str:
    """Return a name to propose in place of one that is taken: with the next number behind it."""
    stem = name.rstrip("0123456789")
    try:
        return clean_name("%s%d" % (stem, int(name[len(stem) :] or 1) + 1))
    except UsageError:
        return name


NOTHING_FOUND = (
    "No room answers on this network yet. Check that the server is running, that a firewall lets UDP through, and that "
    "both machines are on the same network; or type the address that the server shows."
)


class ClientApp(App):
    """A client: asks for a login until it is in a room, then carries what is said both ways."""

    commands = CLIENT_COMMANDS

    def __init__(self, values: Dict[str, str], earlier: int = EARLIER_DEFAULT, classic: bool = False) -> None:
        """``values`` are what a login takes, "" where it is not known: "server", "port", "name" and "password"."""
        super().__init__()
        self.values = values
        self.found: Sequence[ServerFound] = ()
        self.entered = self.checking = False
        self._earlier, self._classic = earlier, classic
        self._number = 0
        self._unsent: List[str] = []  # Those that were meant for a room that was left.
        self._sure = self._finishing = self._earlier_there = False
        self._search_at = self._offer_at = self._back_until = 0.0
        self._lost = self._invitation = ""
        self._searched = False
        self._asked: Sequence[ServerFound] = ()  # The server that was named, if it has answered.

    def start(self) -> None:
        """Log in, or ask for what that lacks; raises OSError."""
        self._renew()
        self.log_in()

    def _renew(self) -> None:
        """Leave, and start with a new core and transcript: a client belongs to one room, and so does what was typed."""
        self.call(lambda core, now: core.leave(now))
        self.question = None
        self._unsent += self.waiting.values()
        self.waiting, self._sure, self.entered = {}, False, False
        own, self.transcript = self.transcript.own, Transcript()
        self.transcript.own, transcript = own, self.transcript
        client = (ClassicClient if self._classic else Client)(os.urandom, 0.0, self._earlier, self.face.patience)
        self.loop = start_client(client, lambda event: self.inbox.put((transcript, event)))

    # --- logging in

    def log_in(self, **given: str) -> None:
        """Log in with these values and those known, or ask for what is missing or wrong.

        A server may be given as one that was found, too: by its number or its room's name.
        """
        self.values.update(given)
        if given.get("password") == "":
            self.values["password"] = self.default_password()
        values, errors = read_login(self.values, self.found)
        if list(errors) == ["password"] and not self._classic and not self._named()[1]:
            self._look(self._named()[0], given)
        elif values is None:
            self._ask(next(iter(errors)), {name: text for name, text in errors.items() if name in given})
        if values is None:
            return
        if self.login is not None and (values.server, values.port) != (self.login.server, self.login.port):
            self._renew()
        self.login, self.need, self.transcript.name = values, None, values.name
        self.note("Connecting to %s ..." % address_text((values.server, values.port)))
        name, password = values.name, values.password
        # To find the addresses may take seconds: it is the network thread's, and the time is another afterwards.
        addresses = functools.partial(resolve, values.server, values.port)
        self.call(lambda core, _: core.login(name, password, addresses(), time.monotonic()))

    def _named(self) -> Tuple[Tuple[str, int], List[ServerFound]]:
        """Return host and port of the server that is named, and what it has answered; raises UsageError."""
        place = read_server(self.values["server"], whole_number(self.values["port"]), self.found)
        return place, [each for each in (*self.found, *self._asked) if each.address[:2] == place]

    def default_password(self) -> str:
        """Return the default password where the room that is named says that it is in force, else ""."""
        with contextlib.suppress(UsageError):
            return PASSWORD * any(each.public for each in self._named()[1])
        return ""

    def _look(self, place: Tuple[str, int], given: Dict[str, str]) -> None:
        """Ask the server there what it is, then go on to log in."""
        self.need = need = Need("password", {}, "", "Looking for %s ..." % address_text(place), True)

        def go_on(found: Sequence[ServerFound], why: str = "") -> None:
            if self.need is need and why:
                self._ask("server", {"server": why}, NO_ANSWER)
            elif self.need is need:
                self._asked = [ServerFound("", 0, 0, place, any(each.public for each in found))]
                self.log_in(**given)

        def look() -> None:
            try:
                start_discovery(place[1], functools.partial(self._later, go_on), place[0])
            except UsageError as fault:
                self._later(go_on, (), str(fault))

        start_thread(look)  # To find the address may take seconds.

    def _later(self, act: Callable[..., None], *arguments: Any) -> None:
        """Have that done on the app's own thread."""
        self.inbox.put((None, functools.partial(act, *arguments)))

    def _ask(self, field: str, errors: Dict[str, str], code: str = "") -> None:
        """Have the face ask; where nothing but a server lacks, and a form does not show those found, search first."""
        searching = field == "server" and not (errors or self._classic or self.face.form)
        hint = "Looking for servers on this network ..." if searching else ""
        if field == "server" and errors and self.found:
            hint = self._choices()
        self.need = Need(field, errors, code, hint, searching)

    def _choices(self) -> str:
        """Return the servers that were found, each with its number."""
        rows = ["%d  %s" % (at, found_text(each)) for at, each in enumerate(self.found, 1)]
        return "\n".join(["On this network; type a number or a name:", *rows, namesakes(self.found)]).rstrip()

    def pass_time(self, now: float) -> None:
        """Offer again what was not sent, and search where that is due; wants a call twice a second.

        Only one search is under way at a time; for a form there is one again and again.
        """
        if self._unsent and self.entered and now >= self._offer_at:
            unsent, self._unsent = self._unsent, []
            self.note("Not sent in the room before: %s; Up recalls what you typed." % plural(len(unsent), "message"))
            # A private text must not become part of another one.
            private = any(text.startswith("/") for text in unsent)
            self.face.put_back(unsent[0] if private else "\n".join(unsent), "")
        searches = self.need is not None and (self.face.form or self.need.searching and self.need.field == "server")
        if searches and not self._classic and now >= self._search_at:  # An original server answers no search.
            self._search_at = float("inf")
            try:
                start_discovery(self._port(), functools.partial(self._later, self.end_search))
            except OSError:
                self.end_search(())

    def _port(self) -> int:
        port = whole_number(self.values["port"])
        return port if 0 < port < 65536 else PORT

    def end_search(self, found: Sequence[ServerFound]) -> None:
        """Take the only server, or have the person choose."""
        self.found, self._searched = found, True
        self._search_at = time.monotonic() + SEARCH_SECONDS
        if self.need is None or not self.need.searching:
            return
        if len(found) == 1:
            self.note("Found %s at %s." % (display_text(found[0].room, " "), address_text(found[0].address)))
            self.log_in(server="1")
        else:
            self.need = Need("server", {}, NO_ANSWER, self._choices() if found else REFUSALS[NO_ANSWER])

    def ask_leave(self) -> None:
        """Ask whether the room is to be left."""
        self.ask("Leave %s?" % self.transcript.room, "Leave", self.leave_room)

    def search_words(self) -> str:
        """Return what there is to say of the search for servers."""
        if self._classic:
            return ""
        if not self._searched:
            return "Looking for rooms on this network ..."
        return "Rooms on this network:" if self.found else NOTHING_FOUND

    def leave_room(self, why: str = "") -> None:
        """Leave the room, or stop trying to enter it, and ask anew."""
        self._renew()
        self._ask("", {"": why})

    def find_faults(self, **given: str) -> None:
        """Check with these values what keeps the person from coming in; the face is shown each Finding."""
        self.values.update(given)
        server, port, password = self.values["server"], self._port(), self.values["password"]
        self.checking = True

        def look() -> None:
            for finding in itertools.chain(check(server, port, password), [None]):
                self._later(self._show_finding, finding)

        start_thread(look)

    def _show_finding(self, finding: Optional[Finding]) -> None:
        self.checking = finding is not None
        if finding is not None:
            self.tell("good" if finding.good else "error", finding.lines(), event=finding)

    # --- what happens

    def take(self, event: Any) -> None:
        """Take an event of a core, with the transcript that it is for, or with None what is to be done here."""
        transcript, event = event
        if transcript is None:
            event()
        if transcript is not self.transcript:
            return  # An older core's.
        if isinstance(event, UsageError):
            event = LoginFailed(NO_ANSWER, str(event))
        lines = transcript.apply(event)
        self.face.show(event, lines)
        if isinstance(event, (Happened, Sent)):
            self.waiting.pop(event.number, None)
        elif isinstance(event, NotSent):
            self.face.put_back(self.waiting.pop(event.number, event.text), "" if lines else event.reason)
        elif isinstance(event, EarlierRead):
            self._earlier_there = not event.beginning
        elif isinstance(event, Connected):
            self.entered = self._earlier_there = True
            self._back_until = time.monotonic() + BACK_SECONDS * event.again
            if self.login is not None and not self._classic:  # Those of the original have no such command.
                self._invitation = self._invite(self.login.server, self.login.port)
            self.need = None
            self._offer_at = time.monotonic() + OFFER_SECONDS
        elif isinstance(event, Disconnected) and not event.code:
            self._lost = event.text
        elif isinstance(event, Disconnected) and event.code and not self.face.finishes:
            # The client goes on with the old one meanwhile, and may be back before an answer.
            self.entered, self.question = False, None
            self._ask("password", {"password": "Type the new one, or wait for the room to come back."}, event.code)
        elif isinstance(event, LoginFailed):
            self.entered, self.question = False, None
            field = LOGIN_FIELDS.get(event.code, "")
            self._ask(field, {field: display_text(event.text, " ")}, event.code)
        elif isinstance(event, LoopEnded) and event.failure and self.face.form:
            self.leave_room(event.failure)
        elif isinstance(event, LoopEnded):
            self.end(1 if event.failure else 0, event.failure)

    def note(self, text: str, kind: str = "presence") -> None:
        """Show a line that only this screen has."""
        self.face.show(None, [self.transcript.note(text, kind)])

    # --- what a person does

    def enter(self, text: str) -> None:
        """Obey a typed line, or send it under its number; they count from 1, refused and empty ones too."""
        self._number += 1
        self._sure = self._sure and text.strip() == "/quit"
        if not text.strip() or self._finishing:
            return
        try:
            if not self.entered:
                raise UsageError("Not connected: this was not sent.", NOT_CONNECTED)
            command = parse_input(text, CLIENT_COMMANDS)
            if command.name == "r":
                if not self.transcript.correspondent:
                    raise UsageError("Nobody has written to you alone yet.")
                command = Command("msg", command.text, self.transcript.correspondent)
                text = "/msg %s %s" % (command.to_name, command.text)  # Sent later, it must not go to somebody else.
            if command.name == "quit":
                self.quit()
            elif command.name == "help":
                self.note("\n".join(self.help()), "help")
            elif command.name == "hands":
                self.note("\n".join(hands_lines(self.transcript.hands(), time.time())), "help")
            elif command.name == "who":
                self.take((self.transcript, Listed(tuple(self.transcript.described()))))
            elif command.name == "earlier":
                count = whole_number(command.text) if command.text else EARLIER_DEFAULT
                if not 0 < count <= EARLIER_MAX:
                    raise UsageError("Write /earlier N, with a number from 1 to %d." % EARLIER_MAX)
                self.call(lambda core, now: core.earlier(count, now))
            else:
                number, action = self._number, command.name == "me"
                self.waiting[number] = text
                if command.name == "hand":
                    question = None if command.text.lower() == "down" else command.text
                    self.call(lambda core, now: core.hand(question, now, number))
                    return
                self.call(lambda core, now: core.say(command.text, now, action, command.to_name, number))
        except UsageError as fault:
            self.take((self.transcript, NotSent(self._number, fault.code, text, str(fault))))

    def raised(self) -> bool:
        """Return whether the own hand is raised, or will be when all that was typed has arrived."""
        asked = [text for text in self.waiting.values() if text.lower().startswith("/hand")]
        return asked[-1].lower() != "/hand down" if asked else self.transcript.place() > 0

    def pressed(self, command: str, draft: str) -> Tuple[str, str]:
        """The same; the button for raised hands lowers the own one."""
        lowers = command == "/hand" and self.raised()
        return ("/hand down", draft) if lowers else super().pressed(command, draft)

    def connection(self) -> Tuple[str, str]:
        """Return what is to be said of a connection that is lost or is back, and its level; "" while all is well."""
        status = self.transcript.status
        if status.state is State.RECONNECTING:
            words = "%s Trying again since %d s; what you type is kept and sent then."
            return words % (self._lost, status.silent), "error"
        return ("Connected again.", "good") if time.monotonic() < self._back_until else ("", "")

    def invitation(self) -> str:
        """Return what others type to come in, while nobody else is here, or ""."""
        return self._invitation if self.entered and len(self.transcript.described()) == 1 else ""

    def _invite(self, host: str, port: int) -> str:
        """Return what is typed on other machines to come in where this client did."""
        here = host == "localhost" or host.startswith(("127.", "::1"))
        return join_command(typed_addresses(("0.0.0.0" if here else host, port))[0])

    def fetch_earlier(self) -> None:
        """Show more of what was said before, if there is more and it was not asked for yet."""
        if self._earlier_there:
            self._earlier_there = False  # Until the answer has come.
            self.call(lambda core, now: core.earlier(EARLIER_DEFAULT, now))

    def quit(self, question: str = "") -> None:
        """Leave; where there is a question, and while texts have no receipt, only when told twice in a row."""
        if self.face.finishes:
            self._finishing = True
            self.call(lambda core, now: core.finish(now))
            return
        messages = plural(len(self.waiting), "message")
        if self.waiting and self.face.form:
            self.ask("%s not confirmed yet. Leave all the same?" % messages, "Leave", self.stop)
            return
        if self.waiting:
            question = "%s not confirmed yet; once more leaves all the same." % messages
        if question and not self._sure:
            self._sure = True
            self.note(question)
        else:
            self.stop()

    interrupt = functools.partialmethod(quit, "Ctrl-C once more leaves.")  # It may have been meant to copy something.

    def stop(self) -> None:
        """End at once."""
        self.end(0)

    def shut(self) -> None:
        """Leave the network; what is on its way has a moment to arrive, and what may be lost is said."""
        if self.loop is not None:
            if self.transcript.status.state is State.CONNECTED:
                self.call(lambda core, now: core.finish(now))
                self.loop.join(LEAVE_SECONDS)
            self.call(lambda core, now: core.leave(now))
            self.loop.join(LEAVE_SECONDS + 0.5)
        self.entered = False
        while not self.inbox.empty():
            event = self.inbox.get()
            if isinstance(event, tuple) and isinstance(event[1], (Happened, Sent, NotSent)):
                self.take(event)
        if self.waiting and not self.code:
            self.end(1, "%s not confirmed." % plural(len(self.waiting), "message"))


# --- server


ACTIVITY: Dict[str, Tuple[str, str]] = {
    "joined": ("muted", "{name} joined from {address} ({members} here)"),
    "back": ("muted", "{name} is back from {address} ({members} here)"),
    "left": ("muted", "{name} left ({members} here)"),
    **{why: ("warning", "{name} %s ({members} here)" % words) for why, words in PRESENCE_WORDS.items()},
    "kept out": ("plain", "{name} ({address}) is kept out for {why} more, and whoever is new at that address"),
    "none kept out": ("plain", "nobody is kept out"),
    "pardoned": ("good", "{name} ({address}) may come in again, and whoever is new at that address"),
    "refused": ("error", "refused {name} from {address}, who is told: {why}"),
    "abandoned": ("error", "login from {address} was not completed: wrong password, or the connection broke"),
    "foreign": ("plain", "{address} tried to log in with the original program, which this room does not admit"),
    "stuck": ("plain", "{why} Messages wait until then."),
    "goes on": ("plain", "the history is written again"),
}


def join_command(address: str) -> str:
    """Return what to type to join a server there; Python is called as it is called here."""
    python = "py" if os.name == "nt" else os.path.basename(sys.executable or "python3")
    return "%s samsungchat.py client %s" % (python, address)


class ServerApp(App):
    """A server: opens the room, keeps a log of what happens, and obeys the operator."""

    def __init__(
        self,
        open_room: Callable[[int], Any],
        port: int,
        notes: Sequence[str] = (),
        files: Optional[Dict[str, str]] = None,
    ) -> None:
        """``open_room`` takes a port, returns a server and its sockets; ``notes`` are said when it is open.

        ``files`` are shared from the beginning, by their names and with the program; None: nothing is.
        """
        super().__init__()
        self.bound: Any = None
        self.shared: Optional[Share] = None
        self._shares, self._files, self._room = files is not None, files or {}, ROOM
        self.trouble = ""  # Why it is not open.
        self.report = ServerReport((), 0)
        self.transcript.status = Status(State.CONNECTED, 0, 0, 0)  # For the prompt: nobody is connected to it.
        self._open_room, self.port, self._notes = open_room, port, notes
        self.password = ""  # Another than the room was made with.
        self.operator = ""  # Its name, if the room has one: then what is typed is said.
        self._sure = self._ending = False
        self._report_at = 0.0

    def start(self, port: Optional[int] = None) -> None:
        """Open the room, on another port if one is given; raises what open_room() does, unless a form can mend it."""
        port = self.port if port is None else port
        try:
            server, sockets = self._open_room(port)
        except (UsageError, LogFailure, OSError) as fault:
            if not self.face.form:
                raise
            self.trouble = getattr(fault, "strerror", None) or str(fault)
            self.tell("error", self.trouble)
            return
        self.port, self.trouble, self.bound = port, "", sockets[0].getsockname()
        self._room = server.room
        if self.password:
            server.set_password(self.password, time.monotonic())
        self.operator = self.transcript.name = server.operator.name if server.operator else ""
        self.loop = Loop(server, sockets, self.inbox.put)
        self.loop.start()
        lines = ["listening on %s" % address_text(self.bound), "room: %s" % display_text(server.room, " ")]
        for address in typed_addresses(self.bound):
            own = address == "::1" or address.startswith(("127.", "[::1]"))
            where = "on this machine only: %s" if own else "on other machines: %s"
            lines.append(where % join_command(address))
        self._show(OPENED, [*lines, *self._notes])
        if self._shares:
            self.share()

    def share(self) -> None:
        """Share the program and files over HTTP, or no more; the room goes on where that cannot be."""
        self._shares = self.shared is None
        self._end_share()
        if self.loop is None or not self._shares:
            self.tell("plain", "the program is not shared any more")
            return
        try:
            self.shared = Share(self._room, self.bound, self._files)
        except OSError as fault:
            in_use, other = "TCP port %d is in use" % self.bound[1], str(fault.strerror).partition(" (while")[0]
            why = in_use if fault.errno == errno.EADDRINUSE else other
            self.tell("error", "Nothing is shared, as %s; the room goes on." % why)
            return
        for page in self.pages():
            self.tell("accent", "the program is shared: %s in a browser" % page)
        self.tell("plain", "SHA-256 of %s, to be compared: %s" % (PROGRAM, self.shared.sha256))

    def pages(self) -> List[str]:
        """Return the addresses of the page that is shared."""
        port, found = self.bound[1], typed_addresses(self.bound)
        places = [each if each.endswith(":%d" % port) else address_text((each, port)) for each in found]
        return ["http://%s/" % each for each in places]

    def _end_share(self) -> None:
        if self.shared is not None:
            self.shared.close()
        self.shared = None

    def _show(self, event: Any, texts: Sequence[str]) -> None:
        """Show what is said to the operator only, as it stands."""
        self.face.show(event, [self.transcript.note(text, "answer") for text in texts])

    def take(self, event: Any) -> None:
        """Take an event of the server; what strangers have written in it is made safe to show."""
        if isinstance(event, Activity):
            level, sentence = ACTIVITY[event.what]
            name, why = display_text(event.name, " "), display_text(REFUSALS.get(event.why, event.why), " ")
            address = address_text(event.address) if event.address else ""
            self.tell(level, sentence.format(name=name, address=address, why=why, members=event.members))
            self._report_at = 0.0
        elif isinstance(event, Happened):
            shown = self.transcript.apply(event)
            if event.entry.kind in HOLDING:
                self.tell("accent", holding_words(event.entry), mention=event.entry.kind == HAND)
            elif event.entry.kind in (TEXT, ACTION, PRIVATE):  # The rest stands in the log of what happens.
                self.face.show(event, shown)
        elif isinstance(event, Connected):
            self.transcript.apply(event)
        elif isinstance(event, ServerReport):
            self.report = event
            lines = ["%d of %d members" % (len(event.members), event.members_max)]
            for row in sorted(event.members, key=lambda row: name_key(row.name)):
                name, since = display_text(row.name, " "), local_time(row.joined_at).strftime("%H:%M:%S")
                counts = "%d ms  %s" % (row.rtt_ms, plural(row.messages, "message"))
                lines.append("  %s  %s  %s  since %s" % (name, address_text(row.address), counts, since))
            self._show(event, lines)
        elif isinstance(event, UsageError):
            self._show(event, [str(event)])
        elif isinstance(event, LoopEnded):
            self.loop, self.report, self.trouble = None, ServerReport((), 0), event.failure
            self.transcript.standing = Standing()
            self._end_share()
            self.tell("error" if event.failure else "warning", event.failure or "the room is closed")
            if self._ending or not self.face.form:
                self.end(1 if event.failure else 0, event.failure)

    def pass_time(self, now: float) -> None:
        """Do what is due by time: ask who is here, where that is shown all the time."""
        if self.face.form and now >= self._report_at:
            self._report_at = now + REPORT_SECONDS
            self.call(lambda core, _: core.report())

    # --- what the operator does

    def enter(self, text: str) -> None:
        """Obey a typed line."""
        self._sure = False
        try:
            command = parse_input(text, SERVER_COMMANDS) if text.strip() else Command("")
            to_name = command.to_name
            if command.name == "r":
                to_name = self.transcript.correspondent
                if not to_name:
                    raise UsageError("Nobody has written to you alone yet.")
            spoken = command.name in ("msg", "r", "me") or command.name == "say" and text[:4].lower() != "/say"
            lonely = not self.operator and (spoken or command.name == "hands")
            if lonely and not (self.face.form and command.name == "say"):
                raise UsageError("There is no operator in this room; write /say TEXT to announce something.")
            if spoken and self.operator:
                self.speak(command.text, command.name == "me", to_name)
            elif command.name in ("say", "announce"):
                self.announce(command.text)
            elif command.name in self._ABOUT:
                act, about = self._ABOUT[command.name], command.to_name or command.text
                self.call(lambda core, now: act(core, about, now))
            elif command.name == "mute":
                self.mute(command.to_name, command.text)
            elif command.name == "quiet":
                if command.text not in ("on", "off"):
                    raise UsageError("Write /quiet on, or /quiet off.")
                self.call(lambda core, now: core.quiet(command.text == "on", now))
            elif command.name == "hands":
                self._show(None, hands_lines(self.transcript.hands(), time.time()))
            elif command.name == "password":
                self.ask_password()
            elif command.name == "bans":
                self.call(Server.bans)
            elif command.name == "who":
                self.call(lambda core, _: core.report())
            elif command.name == "quit":
                self.stop()
            elif command.name == "help":
                self._show(None, self.help())
        except UsageError as fault:
            self.face.put_back(text, str(fault))

    _ABOUT: ClassVar[Dict[str, Callable[[Server, str, float], None]]] = {
        "next": Server.call_next,
        "kick": Server.kick,
        "pardon": Server.pardon,
        "lower": Server.lower,
        "unmute": Server.unmute,
    }

    def mute(self, name: str, minutes: str = "") -> None:
        """Let what somebody says reach nobody, for so many minutes or ("") until it is lifted; raises UsageError."""
        count = whole_number(minutes) if minutes else 0
        if minutes and not 0 < count <= MUTE_MINUTES_MAX:
            raise UsageError("Write /mute NAME MINUTES, with a number from 1 to %d." % MUTE_MINUTES_MAX)
        self.call(lambda core, now: core.mute(name, count, now))

    def speak(self, text: str, action: bool = False, to_name: str = "") -> None:
        """Say something as the operator, to all or to one member; raises UsageError."""
        text = clean_text(text)
        if self.loop is None:
            raise UsageError("The room is not open.")
        self.call(lambda core, now: core.speak(text, to_name, now, action))

    def announce(self, text: str) -> None:
        """Announce something to all; raises UsageError."""
        text = clean_text(text)
        if self.loop is None:
            raise UsageError("The room is not open.")
        self.call(lambda core, now: core.say(text, now))
        self.tell("accent", "announced: %s" % display_text(text, " "))

    def ask_password(self) -> None:
        """Ask for another password, hidden; raises UsageError."""
        if not self.face.hides:
            raise UsageError("Here nothing can be typed hidden; start the server with another password.")
        self.need = Need("password", {}, hint="Type the room's new password; Enter alone leaves it as it is.")

    def log_in(self, password: str) -> None:
        """Take what was asked for: let in who knows another password from now on; "" leaves it."""
        self.need = None
        if password:
            self.password = password
            self.call(lambda core, now: core.set_password(password, now))
            self.tell("warning", "the password is another one from now on; who is in stays")
        else:
            self.tell("plain", "the password stays as it is")

    def nobody(self) -> str:
        """Return why no members are listed, or "" while there are some."""
        closed = "The room is closed." if self.bound else "The room is not open."
        return "" if self.report.members else "Nobody is here yet." if self.loop else closed

    def turn_quiet(self) -> None:
        """Let only the operator speak, or everybody again."""
        self.enter("/quiet %s" % ("off" if self.transcript.is_muted() else "on"))

    def turn_mute(self, name: str) -> None:
        """Let what somebody says reach nobody, or all again."""
        self.enter("/%s %s" % ("unmute" if self.transcript.is_muted(name) else "mute", name))

    def ask_kick(self, name: str) -> None:
        """Ask whether somebody is to be removed."""
        question = "Remove %s for ten minutes?" % display_text(name, " ")
        self.ask(question, "Remove", lambda: self.call(lambda core, now: core.kick(name, now)))

    def ask_close(self, leave: bool = False) -> None:
        """Ask whether the room is to be closed, and the window too; to ask that twice in a row is an answer."""
        count = len(self.report.members) or len(self.transcript.names())  # The report may be older.
        act = self.stop if leave else functools.partial(self.call, Server.close)
        here = ("%s is here." if count == 1 else "%s are here.") % plural(count, "member")
        question = ("%s Close the room and this window?" if leave else "%s Close the room?") % here
        if count:
            self.ask(question, "Close the room", act)
        else:
            act()

    def stop(self) -> None:
        """Tell the members, close the room, and end."""
        if self.loop is None:
            self.end(0)
        elif not self._ending:
            self.tell("plain", "closing the room")
            self.call(Server.close)
        self._ending = True

    quit = stop  # What was said stands in everybody's log.

    def interrupt(self) -> None:
        """Close the room; while members are here, only when told twice in a row."""
        others = len(self.transcript.names())
        if self.need is not None:
            self.log_in("")
        elif not others or self._sure:
            self.stop()
        else:
            self._sure = True
            self._show(None, ["%s here; Ctrl-C once more closes the room." % plural(others, "member")])

    def shut(self) -> None:
        """Leave the network: the members are told."""
        self._end_share()
        if self.loop is not None:
            self.call(Server.close)
            self.loop.join(2.0)


# --- faces


class Face:
    """What an app needs of a screen.  What the app holds (need, question, transcript, code) update() shows."""

    form = False  # Shows a login as a whole and servers as they come, and is still there when the room is gone.
    hides = False  # Can ask for something that nobody else is to read.
    finishes = False  # Nobody can be asked whether to leave: that waits until all is confirmed.
    patience = 0.0  # Seconds after which a lost connection is given up; 0 is never.
    failed = 0  # An exit status of the face's own.
    keys = ""  # What they do, in a line of /help.

    def __init__(self, app: App) -> None:
        self.app: Any = app
        app.face = self

    def run(self) -> int:
        """Start the app and show it until its end; return the exit status.  Raises what its start() does."""
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            if hasattr(signal, name):  # A handler may call the put() of a SimpleQueue.
                signal.signal(getattr(signal, name), lambda *_: self.app.inbox.put(STOPPED))
        try:
            self.app.start()
            self.live()
        except OutputClosed:
            self.app.end(1)
        finally:
            self.app.shut()
            self.close()
        if self.app.last_words:
            complain(self.app.last_words)
        return int(self.app.code or self.failed)

    def live(self) -> None:
        """Take what happens, until the end."""
        self.look()
        while self.app.code is None:
            with contextlib.suppress(queue.Empty):
                self.take(self.app.inbox.get(timeout=WAIT_SECONDS))
            self.look()

    def look(self) -> None:
        """Do what is due by time, and show what has come of all."""
        self.app.pass_time(time.monotonic())
        self.update()

    def take(self, event: Any) -> None:
        """Take one event of the inbox."""
        if event == STOPPED:
            self.app.stop()
        elif isinstance(event, Typed):
            self.read(event.text)
        else:
            self.app.take(event)

    def read(self, text: Optional[str]) -> None:
        """Take what this face's reader thread has read."""

    def show(self, event: Any, lines: Sequence[Line]) -> None:
        """Show lines, or what takes the place of such; those of an EarlierRead belong before all others.

        ``event`` is what they tell of; where it is None, or becomes no lines, some faces have nothing to show.
        """

    def update(self) -> None:
        """Show what the app holds: members, state, title, what is on its way, what it asks, and the end."""

    def put_back(self, text: str, reason: str) -> None:
        """Offer a text that was not sent for mending, and say why where no line has said it ("": one has)."""

    def close(self) -> None:
        """Give the screen back."""


# ======================================================================================================
# 18. Console
# ======================================================================================================
# The faces without a window.  A terminal, the client's or the server's, shows lines above the one being typed; a
# pipe shows one line for each entry; a server without a terminal writes its log.


def write(text: str) -> None:
    """Write to standard output; raises OutputClosed, and lets nothing more come out then."""
    try:
        print(text, end="", flush=True)
    except (OSError, ValueError) as fault:
        discard_output()
        full = getattr(fault, "errno", 0) == errno.ENOSPC
        why = "there is no space left for standard output" if full else "standard output was closed"
        raise OutputClosed(why) from None


def discard_output() -> None:
    """Let nothing more come out: what is left in the buffer must not fail once more when Python ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def read_bytes(inbox: "queue.SimpleQueue[Any]", lines: bool, room: Optional[threading.Semaphore] = None) -> None:
    """Post what standard input brings, whole lines or as it comes, until its end; runs on a thread.

    Reads the descriptor itself: a daemon thread that holds sys.stdin's lock would hang the end of Python.
    Python has no sys.stdin where the descriptor is closed, and another file may have its number.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest, data = "", b"" if sys.stdin is None else b"\n"
    while data:
        try:
            data = os.read(sys.stdin.fileno(), 65536)
        except OSError:
            data = b""
        text = rest + decoder.decode(data, not data)
        pieces = text.split("\n") if lines else [text, ""]
        rest = pieces.pop()
        for piece in pieces + ([rest] if rest and not data else []):
            if room is not None:
                room.acquire()
            inbox.put(Typed(piece.rstrip("\r") if lines else piece))
    inbox.put(Typed(None))


def is_terminal(stream: Optional[TextIO]) -> bool:
    """Return whether a standard stream is a terminal on which lines can be redrawn.

    A program in the background may not change its terminal: the system would stop it.
    """
    if stream is None or not stream.isatty() or os.environ.get("TERM") == "dumb":
        return False
    try:
        return not hasattr(os, "tcgetpgrp") or os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except OSError:
        return True  # Not the terminal that controls this program: nobody stops it.


# --- terminal

_NAME_SGR = ("36", "32", "33", "35", "94", "96", "92", "95")  # 34, the common blue, is not readable on black.
_LEADS = {"error": "!! ", "presence": "-- ", "divider": "-- ", "day": "-- ", "help": "-- "}


def paint(text: str, sgr: str, colour: bool) -> str:
    """Wrap a text in a Select Graphic Rendition sequence (ECMA-48), where colours are shown."""
    return "\x1b[%sm%s\x1b[0m" % (sgr, text) if colour and sgr and text else text


def paint_line(line: Line, colour: bool, columns: int = 0) -> str:
    """Return a line as a terminal shows it, folded to ``columns`` (0: not folded).

    Further rows are indented, so that no text can look like another member's line.
    """
    told = local(line.text) if line.kind in ("answer", "log", "notice", *_LEADS) else line.text
    if line.kind in ("answer", "log"):
        lead = local_time(line.at).strftime("%Y-%m-%d %H:%M:%S  ") if line.kind == "log" else ""
        indent = len(lead) or 4
        return lead + ("\n" + " " * indent).join(_rows(told, len(lead), indent, columns))
    if line.kind in _LEADS:
        text = told + (" --" if line.kind in ("divider", "day") else "")
        rows = _rows(text, 3, 3, columns)
        return paint(_LEADS[line.kind] + "\n   ".join(rows), "31" if line.kind == "error" else "2", colour)
    clock, lead = local_time(line.at).strftime("%H:%M "), "*** "
    painted = paint(lead, "1", colour)
    if line.kind != "notice":
        private = " (%s)" % local(re.sub("^from .*", "private", line.private)) if line.private else ""
        form = "* %s%s " if line.kind == "action" else "%s%s: "
        lead = form % (line.name, private)
        painted = form % (paint(line.name, "1;" + _NAME_SGR[line.colour], colour), paint(private, "35", colour))
    rows = _rows(told, len(clock) + text_width(lead), len(clock), columns)
    dim = line.earlier or line.state in ("pending", "failed")
    claims = {"1;33": line.mention, "2": dim, "1": line.kind == "notice"}
    sgr = next((sgr for sgr, claimed in claims.items() if claimed), "")
    return paint(clock, "2", colour) + painted + paint(("\n" + " " * len(clock)).join(rows), sgr, colour)


def _rows(text: str, first: int, indent: int, columns: int) -> List[str]:
    """Return the rows of a text of which the first begins at that cell and the others at ``indent``."""
    rows = fold(text, max(columns - 1 - first, 8), max(columns - 1 - indent, 8)) if columns else text.split("\n")
    more = len(rows) - MESSAGE_ROWS_MAX
    return rows if more <= 0 else [*rows[:MESSAGE_ROWS_MAX], local("... %s" % plural(more, "more row"))]


class Terminal(Face):
    """A terminal with the line being typed at its foot, which incoming lines never damage.

    A login is asked for one question after the other; what was being typed waits meanwhile.
    """

    hides = True
    keys = "Tab completes, Up recalls, Alt-Enter begins a new row, Ctrl-C clears the line, Ctrl-D ends."

    def __init__(self, app: App) -> None:
        """Take the terminal over; close() gives it back as it was."""
        super().__init__(app)
        self._line, self._answer = LineEditor(), LineEditor(remembers=False)
        self._need: Optional[Need] = None
        self._question = self._default = ""
        self._held: Optional[Line] = None  # A run of joins and leaves, which waits a moment for more of the same.
        self._held_until = 0.0
        self._colour = not os.environ.get("NO_COLOR")
        self._foot: Tuple[Any, ...] = ()
        self._above: List[int] = []  # How wide each row is that was drawn above the caret's.
        self._cell = self._columns = 0  # Where the caret is there, and how wide the terminal was.
        self._saved: Any = None
        self._take_over()
        if os.name == "nt":
            os.system("")  # Switches the console's escape sequences on.
            start_thread(self._read_windows)
        else:
            start_thread(read_bytes, app.inbox, False)
            for changed in (signal.SIGWINCH, signal.SIGCONT):
                signal.signal(changed, lambda *_: app.inbox.put(Typed("")))

    def _take_over(self) -> None:
        if os.name != "nt":
            import termios

            self._saved = self._saved or termios.tcgetattr(0)
            raw = termios.tcgetattr(0)
            raw[0] &= ~(termios.IXON | termios.ICRNL | termios.INLCR)
            raw[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
            raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
            termios.tcsetattr(0, termios.TCSADRAIN, raw)
        write("\x1b[?2004h")  # Bracketed paste, which also old terminals ignore without harm.

    def _read_windows(self) -> None:
        import msvcrt  # type: ignore[import-not-found,unused-ignore]

        names = dict(zip("HPKMGOS", ("\x1b[A", "\x1b[B", "\x1b[D", "\x1b[C", "\x1b[H", "\x1b[F", "\x1b[3~")))
        while True:
            key = msvcrt.getwch()  # type: ignore[attr-defined,unused-ignore]
            if key in ("\0", "\xe0"):
                key = names.get(msvcrt.getwch(), "")  # type: ignore[attr-defined,unused-ignore]
            elif key == "\r" and msvcrt.kbhit():  # type: ignore[attr-defined,unused-ignore]
                key = "\x1b\r"  # More follows at once: this is a paste, and the line goes on.
            elif "\ud800" <= key < "\udc00":  # The first half of an emoji.
                pair = key + msvcrt.getwch()  # type: ignore[attr-defined,unused-ignore]
                key = pair.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            self.app.inbox.put(Typed(key))

    def close(self) -> None:
        """Leave on the screen what was typed and not sent, and give the terminal back."""
        for text in self.app.waiting.values():
            self._tell("not confirmed: %s" % display_text(text))
        if self._line.text.strip():
            self._tell("not sent: %s" % display_text(self._line.text))
        self._give_back()

    def _give_back(self) -> None:
        with contextlib.suppress(OutputClosed):
            write(self._erased() + "\x1b[?2004l")
        if self._saved is not None:
            import termios

            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSADRAIN, self._saved)

    def _suspend(self) -> None:
        """Give the terminal back, stop as Ctrl-Z asks, and take it over again when continued."""
        if hasattr(signal, "SIGTSTP"):
            import termios

            self._give_back()
            # The whole group, as the terminal itself would: a shell script around it must stop too.
            os.kill(0, signal.SIGTSTP)
            self._take_over()
            termios.tcflush(0, termios.TCIFLUSH)  # What was typed while stopped was meant for the shell.

    # --- what is typed

    def read(self, text: Optional[str]) -> None:
        """Take keys, and hand on what they ask for."""
        if text is None:
            self.app.stop()
        if text == "" and is_terminal(sys.stdin):  # Who stopped it from outside has given the terminal to a shell.
            self._take_over()
        for action, about in self._editor().feed(text or ""):
            self._act(action, about)
        self._draw()

    def _editor(self) -> LineEditor:
        return self._answer if self._question else self._line

    def _act(self, action: str, text: str) -> None:
        if action == "enter" and self._question and self._need is not None:
            self._question = ""
            field = self._need.field
            self.app.log_in(**({field: text or self._default} if field else {}))
            self.update()
        elif action == "enter":
            self.app.enter(text)
        elif action == "complete":
            self._editor().complete(self.app.complete)
        elif action == "paste" and "\n" in text.rstrip("\n"):
            lines = plural(text.rstrip("\n").count("\n") + 1, "line")
            self._tell("%s pasted: Enter sends them as one message, Ctrl-C discards them." % lines)
        elif action == "interrupt":
            self.app.interrupt()
        elif action == "eof":
            self.app.quit()
        elif action == "suspend":
            self._suspend()
        elif action == "redraw":
            write("\x1b[2J\x1b[H")
            self._above, self._cell = [], 0

    def put_back(self, text: str, reason: str) -> None:
        """Put a text into the line, where nothing is typed yet."""
        if reason:
            self._tell(reason, "error")
        if not self._line.text or self._line.selected:  # What was put back and not touched gives way to the next.
            self._line.set(text, selected=True)
            self._draw()

    # --- what is shown

    def show(self, event: Any, lines: Sequence[Line]) -> None:
        """Write lines above the line being typed; one that mentions the reader rings."""
        for line in lines:
            if self._held is not None and line.key != self._held.key:
                self._show_held()
            if line.kind == "presence" and line.at:
                self._held_until = self._held_until if self._held else time.monotonic() + PRESENCE_SECONDS
                self._held = line
            elif line.kind not in ("unread", "gone"):
                text = paint_line(line, self._colour, shutil.get_terminal_size().columns)
                self._draw(text.replace("\n", "\r\n") + "\r\n" + "\a" * line.mention)

    def _show_held(self) -> None:
        line, self._held = self._held, None
        self.app.transcript.presence = None
        self.show(None, [replace(line, at=0.0)] if line else [])

    def _tell(self, text: str, kind: str = "presence") -> None:
        self.show(None, [Line(0, kind, text)])

    def update(self) -> None:
        """Show the question that is asked now, or the line being typed, and what is on its way above it."""
        if self._held is not None and time.monotonic() >= self._held_until:
            self._show_held()
        if self.app.need is not self._need:
            self._need = self.app.need
            self._ask(self._need)
        # Windows does not say that its console has another size.
        if self._drawn() != self._foot or shutil.get_terminal_size().columns != self._columns:
            self._draw()

    def _ask(self, need: Optional[Need]) -> None:
        """Say what is wrong, and ask for it with what Enter alone answers."""
        self._question = ""
        if need is None or need.field == "password":
            self._answer.set("")  # Half a password must not show as something else.
        if need is None:
            return
        for text in need.errors.values():
            self._tell(text, "error")
        if need.hint:
            self._tell(need.hint)
        if need.code == KICKED:
            self.app.end(3)
        if need.code == KICKED or need.searching:
            return
        known, login = self.app.values.get(need.field, ""), self.app.login
        mistyped = need.errors and not need.code
        default, form = "", "Press Enter to try again%s: "
        if need.field == "server":
            known = address_text((login.server, login.port)) if login and login.port != PORT else known
            default = "1" if self.app.found else known
            form = "Server%s: " if default else "Server address%s: "
        elif need.field == "name":
            usual = default_name() if mistyped or not known else known
            default = another_name(known) if need.code else usual
            form = "Your name%s: "
        elif need.field == "password":
            default, form = self.app.default_password(), "Password%s: "
        self._question, self._default = local(form) % (" [%s]" % default if default else ""), default
        if mistyped and need.field != "password":
            self._answer.set(known, selected=True)

    def _drawn(self) -> Tuple[Any, ...]:
        """Return what stands at the foot: rows of what is on its way, the prompt, and whether the line is hidden."""
        if self._question:
            return ((), self._question, self._need is not None and self._need.field == "password")
        return (tuple(self.app.transcript.on_way()[-ON_WAY_ROWS_MAX:]), self.app.prompt(), False)

    def _draw(self, above: str = "") -> None:
        self._foot = self._drawn()
        on_way, prompt, hidden = self._foot
        columns = shutil.get_terminal_size().columns
        rows, row, cell = self._editor().layout(prompt, columns, hidden)
        waiting = [paint_line(line, False).replace("\n", "\u21b5")[:columns] for line in on_way]
        waiting = [shorten(text, columns - 2, text_width) for text in waiting]
        above += "".join(paint(text, "2", self._colour) + "\r\n" for text in waiting)
        up = "\x1b[%dA" % (len(rows) - 1 - row) if row < len(rows) - 1 else ""
        right = "\x1b[%dC" % cell if cell else ""
        shown, lead = "\r\n".join(rows), len(prompt)
        if self._editor().selected and not hidden:
            lead = lead if shown.startswith(prompt) else 0
            shown = shown[:lead] + paint(shown[lead:-1], "7", True) + " "
        text = self._erased() + above + shown + up + "\r" + right
        self._above, self._cell, self._columns = list(map(text_width, [*waiting, *rows[:row]])), cell, columns
        write(text)

    def _erased(self) -> str:
        columns, up = shutil.get_terminal_size().columns, len(self._above)
        # A terminal that becomes narrower folds what was drawn; xterm alone cuts it.
        if columns < self._columns and "XTERM_VERSION" not in os.environ:
            up = sum(max(1, -(-width // columns)) for width in self._above) + self._cell // columns
        self._above, self._cell = [], 0
        return ("\x1b[%dA" % up if up else "") + "\r\x1b[J"


# --- pipe, log


class Pipe(Face):
    """A client in a pipe: one line in is one message, one line out is one entry, or one object for each event."""

    finishes = True
    patience = PIPE_SECONDS

    def __init__(self, app: ClientApp, as_json: bool, stay: bool, with_time: bool = False) -> None:
        """``stay`` after the end of the input; ``with_time``: what is written is a log."""
        super().__init__(app)
        self._json, self._stay, self._time = as_json, stay, with_time
        self._lines: Deque[Optional[str]] = collections.deque()  # Until the client is in the room.
        self._room = threading.Semaphore(BACKLOG_LINES_MAX)
        self._read = self._settled = 0
        self._deaf = False
        start_thread(read_bytes, app.inbox, True, self._room)

    def read(self, text: Optional[str]) -> None:
        """Take a line."""
        self._read += text is not None
        self._lines.append(text)

    def update(self) -> None:
        """Hand lines on as soon as there is a room, and let as many be read as are settled; nobody can be asked."""
        app = self.app
        while app.entered and self._lines:
            text = self._lines.popleft()
            if text is not None:
                app.enter(text)
            elif not self._stay:
                app.quit()
        settled = self._read - len(self._lines) - len(app.waiting)
        for _ in range(settled - self._settled):
            self._room.release()
        self._settled = max(settled, self._settled)
        if app.need is not None and not app.need.searching and app.code is None:
            text = app.need.errors.get(app.need.field) or app.need.hint
            app.end(1 if app.need.code in (NO_ANSWER, TRY_LATER) else 3, "%s: %s" % (app.need.code, text))

    def show(self, event: Any, lines: Sequence[Line]) -> None:
        """Write what an event is to a program or a reader; what is about the client itself, to standard error."""
        for each in event.events if isinstance(event, EarlierRead) else [event]:
            found = json_object(each, self.app.transcript.standing) if self._json else plain_line(each)
            if found is not None and not self._deaf:
                text = dated(str(found), each.entry) if self._time else str(found)
                self._write(json.dumps(found) if self._json else text)
        if isinstance(event, NotSent):
            self.failed = self.failed or 2
            complain("not sent: %s: %s" % (display_text(event.code, " "), event.reason))
        told = isinstance(event, (Disconnected, Status)) or getattr(event, "again", False)
        for line in lines:
            if told or line.kind == "help" or (isinstance(event, Listed) and not self._json):
                complain(line.text)

    def _write(self, text: str) -> None:
        """Write a line; where nobody reads any more, only what is still to be sent is a reason to stay."""
        try:
            write(text + "\n")
        except OutputClosed as fault:
            self._deaf, self.failed = True, 1
            complain("%s; leaving when everything is sent." % fault)
            if self._stay:
                self.app.quit()

    def close(self) -> None:
        """Report to a program every line that is given up, under its number."""
        app, why = self.app, "It is not known whether this has arrived."
        for number, text in list(app.waiting.items()) if self._json else ():
            app.take((app.transcript, NotSent(number, UNCONFIRMED, text, why)))
        while self._json and self._lines:
            app.enter(self._lines.popleft() or "")


class PlainLog(Face):
    """A server whose standard output is no terminal: writes its log, and takes commands from a terminal.

    The log is written on a thread of its own: a reader that pauses or goes away stops neither the room nor its end.
    """

    def __init__(self, app: ServerApp) -> None:
        super().__init__(app)
        self._log: "queue.Queue[Optional[str]]" = queue.Queue(LOG_LINES_MAX)
        self._dropped = 0
        self._writer = start_thread(self._write_log)
        if is_terminal(sys.stdin):
            start_thread(read_bytes, app.inbox, True)

    def _write_log(self) -> None:
        try:
            for text in iter(self._log.get, None):
                write(text + "\n")
        except OutputClosed as fault:
            complain("%s; the room goes on without a log." % fault)

    def read(self, text: Optional[str]) -> None:
        """Take a line."""
        if text:
            self.app.enter(text)

    def show(self, event: Any, lines: Sequence[Line]) -> None:
        """Write lines."""
        for line in lines:
            self._write(paint_line(line, False))

    def put_back(self, text: str, reason: str) -> None:
        """Say why a line was not obeyed."""
        self._write(reason)

    def _write(self, text: str) -> None:
        """Have a line written; where too many wait it is only counted, and what is missing is said later."""
        try:
            if self._dropped:
                self._log.put_nowait("... %s missing here: nobody read the log" % plural(self._dropped, "line"))
                self._dropped = 0
            self._log.put_nowait(text)
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Write what is left, unless nobody reads it."""
        with contextlib.suppress(queue.Full):
            self._log.put(None, timeout=LEAVE_SECONDS)
        self._writer.join(LEAVE_SECONDS)


# ======================================================================================================
# 19. Window
# ======================================================================================================
# The faces with windows: they show what the apps hold, and hand on what the person does.  The network runs on its own
# thread and reaches this one through the app's inbox, which the window empties.  tkinter is imported only
# here, and only when a window is opened.  Colours and fonts are named in the tables that apply_theme reads.

tk: Any = None  # tkinter and its ttk, as soon as open_root() has found them.
ttk: Any = None

OTHER_LANGUAGE = "Bahasa Indonesia"  # Which is "English" in Indonesian: what is there to be read once it is chosen.

XS, S, M, L = "3p", "6p", "9p", "12p"  # The scale of spaces; a point is 4/3 pixels at 96 dots an inch.


def open_root() -> Any:
    """Return a new root window, not shown yet; raises UsageError with what to do where there can be none."""
    global tk, ttk
    try:
        import tkinter
        import tkinter.ttk
    except ImportError:
        raise UsageError(TK_MISSING) from None
    tk, ttk = tkinter, tkinter.ttk
    with contextlib.suppress(Exception):  # Only Windows has windll, and not every Windows has shcore.
        import ctypes

        ctypes.windll.shcore.SetProcessDpiAwareness(1)  # type: ignore[attr-defined,unused-ignore]
    try:
        root = tk.Tk(className="SamsungChat")
    except tk.TclError as fault:
        raise UsageError("No window can be opened, there is no display (%s). --cli needs none." % fault) from None
    root.withdraw()
    scaling, system = float(root.tk.call("tk", "scaling")), root.tk.call("tk", "windowingsystem")
    if system == "x11":
        dots = re.search(r"Xft\.dpi:\s*(\d+)", _ask_system("xrdb", "-query"))
        scaling = int(dots.group(1)) / 72 if dots else scaling
    root.tk.call("tk", "scaling", 4 / 3 if system == "aqua" else max(4, round(scaling * 3)) / 3)
    return root


def _ask_system(*command: str) -> str:
    """Return what a small program of the system prints, or "" where that fails or takes long."""
    import subprocess

    try:
        asked = subprocess.run(command, stdout=-1, stderr=-3, stdin=-3, timeout=ASK_SYSTEM_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return asked.stdout.decode("utf-8", "replace")


def system_theme() -> str:
    """Return "dark" where the system says so in a way that needs no extra packages, else "light"."""
    if sys.platform == "win32":
        with contextlib.suppress(OSError, ImportError):
            import winreg

            path = r"Software\Microsoft\Windows\CurrentVersion\Themes\Personalize"
            with winreg.OpenKey(winreg.HKEY_CURRENT_USER, path) as key:
                return "light" if winreg.QueryValueEx(key, "AppsUseLightTheme")[0] else "dark"
    mac = ("defaults", "read", "-g", "AppleInterfaceStyle")
    usual = ("gsettings", "get", "org.gnome.desktop.interface", "color-scheme")
    answer = _ask_system(*(mac if sys.platform == "darwin" else usual))
    return "dark" if "dark" in answer.lower() else "light"


def settings_path() -> str:
    """Return where this person's settings are kept."""
    places = {"win32": ("APPDATA", "~"), "darwin": ("", "~/Library/Application Support")}
    variable, folder = places.get(sys.platform, ("XDG_CONFIG_HOME", "~/.config"))
    return os.path.join(os.environ.get(variable) or os.path.expanduser(folder), "samsungchat.json")


def read_settings() -> Settings:
    """Return what was remembered; where that cannot be read, nothing was."""
    try:
        with open(settings_path(), encoding="utf-8") as file:
            return parse_settings(file.read(16 * SETTING_CHARACTERS_MAX))
    except (OSError, ValueError):
        return Settings()


def px(widget: Any, length: float) -> int:
    """Return in pixels of this screen what is so many at 96 dots an inch."""
    return int(widget.winfo_pixels("%gp" % (length * 0.75)))


def draws_emoji(root: Any) -> bool:
    """Return whether this Tk can be given characters beyond the BMP and coloured ones.

    Tk before 8.6.10 cannot; on X11, libXft before 2.3.5 ends the whole program (X Error: BadLength).
    """
    try:
        import ctypes

        able = root.tk.call("tk", "windowingsystem") != "x11" or ctypes.CDLL("libXft.so.2").XftGetVersion() >= 20305
    except (OSError, AttributeError, ImportError):
        able = False
    return able and bool(root.tk.call("package", "vsatisfies", root.tk.call("info", "patchlevel"), "8.6.10-"))


# --- the look
#
# A row holds options, "option=value" or, in a state of the widget only, "option:state=value".  A value is a colour of
# the palette ("accent+9": so many hundredths of the way to the text's), a font, a word of Tk's, or a length in pixels
# at 96 dots an inch ("28z": it grows with the text).  Some options go together under one name:

OPTIONS = {
    "fill": ("background", "lightcolor", "darkcolor"),
    "edge": ("lightcolor", "darkcolor"),
    "ring": ("bordercolor", "lightcolor", "darkcolor"),
    "row": ("background", "lmargincolor", "rmargincolor"),
    "indent": ("lmargin1", "lmargin2", "rmargin"),
    "selection": ("selectbackground", "inactiveselectbackground"),
}
# Each font twice: with "Chat" for what is said, with "Ui" for all else, which grows only as far as the window lets it.
FONTS = (
    *(("Body", "TkDefaultFont", 14, "normal", "roman"), ("Bold", "TkDefaultFont", 14, "bold", "roman")),
    *(("Italic", "TkDefaultFont", 14, "normal", "italic"), ("Code", "TkFixedFont", 13, "normal", "roman")),
    *(("Small", "TkDefaultFont", 12, "normal", "roman"), ("SmallBold", "TkDefaultFont", 12, "bold", "roman")),
    *(("Title", "TkDefaultFont", 20, "bold", "roman"), ("Rule", "TkDefaultFont", 1, "normal", "roman")),
)
# Styles of ttk widgets; "Ghost.TButton" is a TButton but for what it says.  Each comes a second time as "Surface." and
# its name, with the colours background and surface exchanged.
STYLES = {
    ".": "fill=background foreground=text font=UiBody bordercolor=border troughcolor=background relief=flat"
    " insertcolor=accent selectbackground=accent selectforeground=background selectbackground:!focus=accent"
    " selectforeground:!focus=background background:disabled=background foreground:disabled=muted",
    "Rule.TFrame": "background=border",
    "Field.TFrame": "relief=raised borderwidth=1 fill:alternate=private ring:focus=accent",
    "Bold.TLabel": "font=UiBold",
    "Title.TLabel": "font=UiTitle",
    "Muted.TLabel": "foreground=muted",
    "Small.TLabel": "font=UiSmall foreground=muted",
    "Caption.TLabel": "font=UiSmallBold foreground=muted",
    **{level + ".TLabel": "font=UiSmall foreground=" + level for level in ("accent", "error", "good", "warning")},
    "Bar.TLabel": "font=UiSmallBold foreground=background padding=16,7 fill=error",
    "good.Bar.TLabel": "fill=good",
    "TButton": "padding=12,7 width=0 borderwidth=1 focusthickness=0 anchor=center fill=background bordercolor=border"
    " ring:focus=accent fill:disabled=surface fill:pressed=background+18 fill:active=background+9"
    " foreground:disabled=muted",
    "Primary.TButton": "fill=accent foreground=background bordercolor=accent bordercolor:focus=text"
    " edge:focus=background fill:pressed=accent+18 fill:active=accent+9",
    "Ghost.TButton": "padding=8,4 font=UiSmall foreground=muted bordercolor=background fill:disabled=background"
    " foreground:disabled=border+30 foreground:active=text",
    "Slim.Ghost.TButton": "padding=0,4 foreground=accent",
    "Card.TButton": "padding=10,7 font=UiSmall justify=left anchor=w fill=surface fill:selected=own"
    " ring:selected=accent",
    "TEntry": "padding=7 borderwidth=1 insertwidth=1 fieldbackground=background edge=background bordercolor=border"
    " ring:invalid=error ring:focus=accent edge:disabled=surface fieldbackground:disabled=surface",
    "Horizontal.TProgressbar": "fill=accent troughcolor=surface bordercolor=surface borderwidth=0 arrowsize=6",
    "Vertical.TScrollbar": "gripcount=0 arrowsize=10 width=10 borderwidth=1 fill=border bordercolor=background"
    " fill:disabled=background fill:pressed=muted fill:active=border+30",
    "Treeview": "rowheight=28z fieldbackground=background ring=background bordercolor:focus=accent"
    " background:selected=own foreground:selected=text",
    "Treeview.Heading": "font=UiSmallBold foreground=muted borderwidth=0 padding=4,4 background:active=background",
}
# Widgets that have no style, by their class, and the tags of a Text, the last of which wins.
WIDGETS = {
    **dict.fromkeys(("Tk", "Canvas"), "background=background"),
    "TEntry": "font=UiBody",
    "Menu": "background=border foreground=text font=UiBody relief=flat borderwidth=1 activeborderwidth=0"  # Its edge.
    " activebackground=own activeforeground=text disabledforeground=muted",
    "MenuEntry": "background=surface",
    "Text": "background=background foreground=text font=ChatBody selection=accent selectforeground=background"
    " insertbackground=accent highlightbackground=background highlightcolor=accent",
}
TAGS = {
    "plain": "row=background indent=16 spacing3=4",
    **{name: "row=%s indent=16 spacing3=4" % name for name in ("own", "mention", "private")},
    "logged": "row=background lmargin1=16 lmargin2=92z rmargin=16 tabs=92z spacing3=4",
    "system": "row=background indent=16 spacing3=4 spacing1=8 font=ChatSmall foreground=muted justify=center",
    "head": "font=ChatBold spacing1=8",
    "action": "font=ChatItalic",
    "code": "font=ChatCode row=code lmargin1=28 lmargin2=46 rmargin=28 wrap=char spacing1=1 spacing3=1",
    "more": "font=ChatSmall foreground=accent row=code lmargin1=28 rmargin=28 spacing1=4 spacing3=8",
    "fold": "elide=true",
    "card": "font=ChatCode row=surface indent=16 lmargin2=46 spacing1=1 spacing3=1",
    "top": "spacing1=8",
    "bottom": "spacing3=8",
    "gap": "font=ChatRule spacing1=4 spacing3=0",
    **{"name%d" % number: "foreground=name%d" % number for number in range(NAME_COLOURS)},
    **dict.fromkeys(("time", "pending", "unconfirmed"), "font=ChatSmall foreground=muted"),
    "sent": "font=ChatSmall foreground=good",
    "failed": "font=ChatSmall foreground=error",
    "secret": "font=ChatSmallBold foreground=accent",
    **{level: "foreground=" + level for level in ("accent", "error", "good", "warning", "muted")},
    "strong": "font=ChatBold",
    "day": "font=ChatSmallBold spacing1=16",
    "unread": "font=ChatSmallBold foreground=accent justify=right spacing3=0",
    "rule": "font=ChatRule background=accent spacing1=0 spacing3=0",
    "link": "foreground=accent underline=true",
    "notice": "row=accent foreground=background underlinefg=background indent=16 spacing3=4",
    "addressee": "background=private foreground=text",
    "found": "background=found foreground=text",
    "here": "background=warning foreground=background",
}
ICON = ((6, 4, 42, 8), (2, 8, 46, 30), (6, 30, 42, 34), (8, 34, 22, 38), (8, 38, 16, 42), (8, 42, 11, 45))  # A bubble.


def apply_theme(root: Any, colours: Dict[str, str], zoom: int, ui_zoom: int) -> None:
    """Give every widget, shown or to come, its colours and fonts.

    ``zoom`` counts steps of a tenth that what is said has grown, ``ui_zoom`` those of all else.
    """
    known, growth = root.tk.splitlist(root.tk.call("font", "names")), 1.1**ui_zoom
    for (name, face, size, weight, slant), (kind, steps) in itertools.product(FONTS, (("Chat", zoom), ("Ui", ui_zoom))):
        family = root.tk.call("font", "actual", face, "-family")
        pixels = -px(root, max(1, size * 1.1**steps if size > 1 else 1))
        options = ("-family", family, "-size", pixels, "-weight", weight, "-slant", slant)
        root.tk.call("font", "configure" if kind + name in known else "create", kind + name, *options)
    style = ttk.Style(root)
    style.theme_use("clam")
    thumb = ("Vertical.Scrollbar.thumb", {"expand": "1", "sticky": "nswe"})  # No arrows.
    style.layout("Vertical.TScrollbar", [("Vertical.Scrollbar.trough", {"sticky": "ns", "children": [thumb]})])
    swapped = {**colours, "background": colours["surface"], "surface": colours["background"]}
    for name in ("TFrame", "TLabel", *STYLES):
        rows = [row for parent, row in STYLES.items() if ("." + name).endswith("." + parent)]
        for prefix, ground in (("", colours), ("Surface.", swapped)):
            plain, states = _look(root, growth, ground, "background=background", *rows)
            style.configure(prefix + name, **plain)
            style.map(prefix + name, **states)
    tags = {name: _look(root, 1.1**zoom, colours, row)[0] for name, row in TAGS.items()}
    waiting = [root]
    for widget in waiting:
        waiting += widget.winfo_children()
        kind = "Tk" if widget is root else widget.winfo_class()
        widget.configure(**_look(root, growth, colours, WIDGETS.get(kind, ""))[0])
        for name in tags if kind in ("Text", "Treeview") else ():
            known = widget.tag_configure(name)  # Text came to colour margins with Tk 8.6.6.
            widget.tag_configure(name, **{option: value for option, value in tags[name].items() if option in known})
        for name in (*tags, "sel") if kind == "Text" else ():
            widget.tag_raise(name)
    if "ChatIcon" not in root.tk.splitlist(root.tk.call("image", "names")):
        root.tk.call("image", "create", "photo", "ChatIcon", "-width", 48, "-height", 48)
        for box in ICON:
            root.tk.call("ChatIcon", "put", colours["accent"], "-to", *box)
        root.tk.call("wm", "iconphoto", ".", "-default", "ChatIcon")


def _look(root: Any, growth: float, colours: Dict[str, Any], *rows: str) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """Return the options that rows of the look hold, and the options by state; what comes later wins."""
    plain: Dict[str, Any] = {}
    states: Dict[str, Dict[str, Any]] = {}
    for options, state, value in re.findall(r"(\w+)(?::(!?\w+))?=(\S+)", " ".join(rows)):
        colour, _, share = value.partition("+")
        if colour in colours:
            value = blend(colours[colour], colours["text"], int(share or 0) / 100)
        elif value[0].isdigit():
            value = [px(root, float(part.strip("z")) * (growth if "z" in part else 1)) for part in value.split(",")]
        for option in OPTIONS.get(options, (options,)):
            (states.setdefault(option, {}) if state else plain)[state or option] = value
    return plain, {option: list(choices.items()) for option, choices in states.items()}


# --- the parts of both windows


def cut(widget: Any, text: str, room: int) -> str:
    """Return a text, cut with an ellipsis where it is wider than so many pixels in the widget's font."""
    font = ttk.Style(widget).lookup(str(widget.cget("style")) or widget.winfo_class(), "font")
    return shorten(text, room, lambda part: int(widget.tk.call("font", "measure", font, part)))


def say(widget: Any, what: Any, words: Callable[[Any], str] = local) -> None:
    """Show on a widget what ``words`` makes of something, again in each language: by default of a sentence of ours.

    What people wrote is no sentence of ours: there ``words`` is str.
    """
    if not hasattr(widget, "said"):
        on(widget, "<<ThemeChanged>>", lambda: show_said(widget))
    widget.said = functools.partial(words, what)
    show_said(widget)


def show_said(widget: Any) -> None:
    """Show what is said on a widget; with ``inset`` what of it has room, and an ellipsis."""
    text = widget.said()
    if hasattr(widget, "inset"):
        room = max(widget.winfo_width(), 2) - 2 * int(widget.inset)
        text = "\n".join(cut(widget, row, room) for row in text.split("\n"))
    widget.configure(text=text)


def put(parent: Any, style: str, row: int = 0, column: int = 0, **more: Any) -> Any:
    """Make the ttk widget that a style is for, on the ground that its parent has, and place it with grid().

    In a frame the column ``grow`` takes the room that is left.  ``text`` is a sentence of ours, as say() takes it; that
    of a label that has a ``wraplength`` goes on in the next row where the label ends; that of one with ``inset`` is
    cut, which leaves so much at both its sides.
    """
    inset, text = more.pop("inset", None), more.pop("text", "")
    place = {name: more.pop(name) for name in ("sticky", "padx", "pady", "rowspan", "columnspan") if name in more}
    grow = more.pop("grow", 0)
    filled = isinstance(parent, (tk.Tk, tk.Text)) or style in ("TButton", "Primary.TButton")
    ground = "" if filled else parent.cget("style").partition("Surface.")[1]
    widget = getattr(ttk, style.rpartition("T")[2])(parent, style=ground + style, **more)
    widget.grid(row=row, column=column, **place)
    widget.columnconfigure(grow, weight=1)
    if inset is not None:
        widget.inset = px(widget, inset)
        widget.configure(width=1)
        on(widget, "<Configure>", lambda: show_said(widget))
    if inset is not None or text:
        say(widget, text)
    if "wraplength" in more:
        widget.bind("<Configure>", lambda event: widget.configure(wraplength=event.width - 4))
    return widget


def on(widget: Any, events: str, act: Callable[[], Any]) -> None:
    """Do something at each of these events; where it returns "break", nothing else is done."""
    for event in events.split():
        widget.bind(event, lambda _: act(), add=True)


def show_if(shown: Any, widget: Any) -> None:
    """Show a widget where grid() has put it, or hide it."""
    (widget.grid if shown else widget.grid_remove)()


def show_text(label: Any, text: str) -> None:
    """Show a text in its label, or hide that while there is none."""
    say(label, text)
    show_if(text, label)


def add_scrollbar(widget: Any, column: int, scroll: Callable[..., Any]) -> None:
    """Put a scrollbar beside what stands in row 1 of its parent."""
    bar = put(widget.master, "Vertical.TScrollbar", 1, column, sticky="ns", command=scroll, takefocus=False)
    widget.configure(yscrollcommand=bar.set)
    widget.master.rowconfigure(1, weight=1)


def add_secret_button(parent: Any, row: int, column: int, show: Callable[[bool], Any]) -> None:
    """Put a button there that shows a password, or hides it again, and says which it will do."""
    shown = True

    def turn() -> None:
        nonlocal shown
        shown = not shown
        say(button, "Hide" if shown else "Show")
        show(shown)

    button = put(parent, "Slim.Ghost.TButton", row, column, sticky="e", command=turn)
    turn()


class Window(Face):
    """What both windows have: the root, theme and zoom, and faults that do not stay unseen."""

    form = True
    composer: "Composer"
    fault_labels: Sequence[Any]  # Where a fault of this program is told.

    def __init__(self, root: Any, app: App, settings: Settings, width: int, height: int) -> None:
        """Take over a root that open_root() made; ``width`` and ``height`` are lengths as px() takes them."""
        super().__init__(app)
        self.root = root
        self.settings = settings
        self.theme = settings.theme if settings.theme in PALETTES else system_theme()
        self.drawn: Callable[[str], str] = functools.partial(drawable, emoji=draws_emoji(root))  # As this Tk can.
        self.closed = False
        self.zoom = min(max(settings.zoom, -4), 10)
        self._ui_zoom = 0
        self._update_at = 0.0
        root.report_callback_exception = self.report_fault
        self._asked: Any = None
        self.question = ttk.Frame(root, style="Surface.Field.TFrame", padding=M)
        self.question.columnconfigure(0, weight=1)
        self.asked = put(self.question, "TLabel", columnspan=3, sticky="we", pady=(0, M), wraplength="240p")
        yes, no = (functools.partial(self.act, app.answer, sure) for sure in (True, False))
        self.yes = put(self.question, "Primary.TButton", 1, 1, padx=S, command=yes)
        self.no = put(self.question, "TButton", 1, 2, text="Cancel", command=no)
        room = (root.winfo_screenwidth(), root.winfo_screenheight())
        root.geometry("%dx%d" % (min(px(root, width), room[0]), min(px(root, height), room[1])))
        root.minsize(px(root, 340), px(root, 400))
        on(root, "<Configure>", self.fit)
        self.command_key = "Command" if root.tk.call("tk", "windowingsystem") == "aqua" else "Control"
        root.event_delete("<<LineStart>>", "<Control-a>")  # That is Emacs', and X11's only.
        root.event_add("<<SelectAll>>", "<%s-a>" % self.command_key)
        for kind in ("Text", "TEntry"):
            root.bind_class(kind, "<Control-BackSpace>", self._delete_word)
        for key in ("Return", "KP_Enter"):
            root.bind_class("TButton", "<%s>" % key, lambda event: event.widget.invoke())
        for keys, by in (("plus equal KP_Add", 1), ("minus KP_Subtract", -1), ("0 KP_0", 0)):
            for key in keys.split():
                on(root, "<%s-%s>" % (self.command_key, key), functools.partial(self.zoom_by, by))

    def live(self) -> None:
        """Show the window until it is closed."""
        gc.disable()
        self._collect_garbage()
        self.look_at_inbox()
        self.root.deiconify()
        self.root.mainloop()

    def look_at_inbox(self) -> None:
        """Take what other threads have put there, a bounded number at a time, and look again soon."""
        inbox, count, now = self.app.inbox, 0, time.monotonic()
        try:
            while count < PUMP_EVENTS_MAX and not inbox.empty():
                count += 1
                self.take(inbox.get())
            self.app.pass_time(now)
            if count or now >= self._update_at:
                self._update_at = now + WAIT_SECONDS
                self.update()
            if self.app.code is not None:
                self.close()
        finally:
            if not self.closed:
                self.root.after(5 if count == PUMP_EVENTS_MAX else int(PUMP_SECONDS * 1000), self.look_at_inbox)

    def act(self, do: Callable[..., Any], *arguments: Any) -> None:
        """Do what the person asks for, and show at once what comes of it."""
        do(*arguments)
        self.update()

    def obey(self, command: str) -> None:
        """Obey the command of a button; what is typed may be its text, and who pressed it types on."""
        line, left = self.app.pressed(command, self.composer.get())
        if not left:
            self.composer.take()
        self.composer.type_on("")
        self.act(self.enter, line)

    def enter(self, text: str) -> None:
        """Hand on what is said, or a command."""
        self.app.enter(text)

    def alert(self, lines: Sequence[Line]) -> None:
        """Ring and flash for lines that concern a person who is in another window."""
        if any(line.mention for line in lines) and not self.front():
            self.root.bell()
            with contextlib.suppress(Exception):  # Only Windows can flash a taskbar.
                import ctypes

                frame = int(self.root.frame(), 16)
                ctypes.windll.user32.FlashWindow(frame, True)  # type: ignore[attr-defined,unused-ignore]

    def show_question(self) -> None:
        """Show above the entry, or at a form's foot, what the app asks; it moves nothing, and gives the focus back."""
        question, box = self.app.question, self.composer.box
        if question is self._asked:
            return
        self._asked = question
        if question is None:
            self.question.place_forget()
            if box.winfo_viewable():
                self.composer.type_on("")
            elif self.root.focus_lastfor() in (self.yes, self.no):
                self.no.tk_focusNext().focus_set()
        else:
            say(self.asked, self.drawn(question[0]))
            say(self.yes, question[1])
            above, foot = (box, 0) if box.winfo_viewable() else (self.root, 1)
            self.question.place(in_=above, relx=1, rely=foot, y="-6p", anchor="se")
            self.question.lift()
            self.fit()
            self.no.focus_set()

    def _collect_garbage(self) -> None:
        """Do on this thread what Python does on any: Tk aborts when another one frees its objects."""
        gc.collect()
        self.root.after(int(GARBAGE_SECONDS * 1000), self._collect_garbage)

    def add_menu(self, parent: Any, entries: Sequence[Any], last: Sequence[Any] = (), **place: Any) -> None:
        """Add a button with a menu of these (label, key, act), of what every window can do, and apart what is last."""

        def post() -> None:
            self.pop_up(menu, button.winfo_rootx() + button.winfo_width(), button.winfo_rooty() + button.winfo_height())

        button = put(parent, "Ghost.TButton", 0, text="Menu \u25be", command=post, **place)
        menu = tk.Menu(button, tearoff=False)
        menu.configure(postcommand=lambda: self.composer.type_on(""))  # What has the focus then gets it back.
        own = (
            ("Switch theme", "", self.switch_theme),
            (OTHER_LANGUAGE, "", self.switch_language),
            ("Larger text", "+", lambda: self.zoom_by(1)),
            ("Smaller text", "\u2212", lambda: self.zoom_by(-1)),
        )

        def fill() -> None:
            menu.delete(0, "end")
            for label, key, act in (*entries, *own, *last):
                if (label, key, act) in last:
                    menu.add_separator()
                keys = key and "%s %s  " % (self.command_key.replace("Control", "Ctrl"), key)
                menu.add_command(label="  %s  " % local(label), accelerator=keys, command=act)

        on(menu, "<<ThemeChanged>>", fill)  # As say() does.

    def _delete_word(self, event: Any) -> None:
        """Delete what is selected, or the word before the caret."""
        widget, text = event.widget, event.widget.winfo_class() == "Text"
        if not (widget.tag_ranges("sel") if text else widget.selection_present()):
            widget.event_generate("<<SelectPrevWord>>")
        widget.event_generate("<<Clear>>")

    def pop_up(self, menu: Any, x: int, y: int) -> None:
        """Show a menu there, or as near to it as it is inside the window; its entries stand off its edge."""
        look, root = _look(self.root, 1, PALETTES[self.theme], WIDGETS["MenuEntry"])[0], self.root
        for at in range(menu.index("end") + 1):
            menu.entryconfigure(at, **look)
        menu.update_idletasks()
        x = min(x, root.winfo_rootx() + root.winfo_width() - menu.winfo_reqwidth())
        y = min(y, root.winfo_rooty() + root.winfo_height() - menu.winfo_reqheight())
        menu.tk_popup(max(x, root.winfo_rootx()), max(y, root.winfo_rooty()))

    def switch_theme(self) -> None:
        """Turn light to dark or dark to light, at once and for good."""
        self.theme = "light" if self.theme == "dark" else "dark"
        self.remember(theme=self.theme)
        self.dress()

    def switch_language(self) -> None:
        """Speak the next language, at once and for good; lines that were shown before stay as they are."""
        language = other_language()
        use_language(language)
        self.remember(language=language)
        self.dress()
        self.update()

    def remember(self, **settings: Any) -> None:
        """Keep settings for the next time, where that is possible."""
        self.settings = replace(self.settings, **settings)
        with contextlib.suppress(OSError, ValueError):
            os.makedirs(os.path.dirname(settings_path()), exist_ok=True)
            with open(settings_path(), "w", encoding="utf-8") as file:
                file.write(json.dumps(vars(self.settings), indent=2) + "\n")

    def zoom_by(self, by: int) -> None:
        """Make the text larger or smaller; 0 undoes it."""
        self.zoom = min(max(self.zoom + by, -4), 10) if by else 0
        self.remember(zoom=self.zoom)
        self.dress()

    def dress(self) -> None:
        """Give everything its colours and fonts."""
        self._ui_zoom = self._fitting_zoom()
        apply_theme(self.root, PALETTES[self.theme], self.zoom, self._ui_zoom)
        self.fit()

    def fit(self) -> None:
        """Do what is needed when texts or the window have another size."""
        if self._fitting_zoom() != self._ui_zoom:
            self.dress()
        if self._asked:
            self.question.place(width=min(self.question.place_info()["in"].winfo_width(), px(self.root, 400)))

    def _fitting_zoom(self) -> int:
        """Return how far what surrounds the conversation may grow, so that all of it stays inside."""
        room = min(self.root.winfo_width() / px(self.root, 340), self.root.winfo_height() / px(self.root, 400))
        return min(self.zoom, 0) + len([step for step in range(1, self.zoom + 1) if 1.1**step <= room])

    def front(self) -> bool:
        """Return whether the person is in this window."""
        return bool(str(self.root.tk.call("focus", "-displayof", ".")))

    def close(self) -> None:
        """Close the window; its loop ends."""
        if not self.closed:
            self.closed = True
            for waiting in self.root.tk.splitlist(self.root.tk.call("after", "info")):
                self.root.tk.call("after", "cancel", waiting)
            self.root.update_idletasks()
            self.root.destroy()

    def put_back(self, text: str, reason: str) -> None:
        """Offer a text that was not sent for mending, where nothing is typed, and say why."""
        if not self.composer.get():
            self.composer.set(text)
        if reason:
            self.composer.show_note(reason, "error")

    def report_fault(self, kind: Any, fault: Any, trace: Any) -> None:
        """Show a line about a fault of this program."""
        sys.excepthook(kind, fault, trace)
        text = "The program has a fault (%s: %s). What you see may be incomplete." % (kind.__name__, fault)
        for label in self.fault_labels:
            show_text(label, text)


_CUT = Line(0, "divider", "lines that were here are no longer shown")
UNCOPIED = (*_STATES, "time", "more")  # Tags of what is beside a text.
READING_KEYS = ("Up", "Down", "Left", "Right", "Prior", "Next", "Home", "End", "Escape", "Shift_L", "Shift_R")


class View:
    """Lines to read, select and copy, those on their way at the foot.

    Follows its end, except under somebody who reads further up.  Of joins and leaves, and of the line above what is
    unread, the newest may change: a line with its key takes its place.
    """

    def __init__(self, window: Window, parent: Any, name: str, columns: int = 0, **place: Any) -> None:
        """``columns`` is how many letters a row is wide at most; 0 is all that there is room for."""
        self.following = True
        self._window = window
        self._columns = columns
        self.frame = put(parent, "TFrame", sticky="nswe", **place)
        self.text = tk.Text(self.frame, name=name, wrap="word", width=1, height=1, borderwidth=0, cursor="arrow")
        self.text.configure(highlightthickness="1.5p", insertwidth="0.75p", padx=0, pady=0)
        self.text.grid(row=1, sticky="nswe")
        self._jump = ttk.Button(self.frame, style="Primary.TButton", command=self.to_end)
        add_scrollbar(self.text, 1, self.scroll)
        self.clear()
        self.text.bind("<Key>", self._key)
        self.text.bind("<Tab>", lambda event: event.widget.tk_focusNext().focus_set() or "break")
        on(self.text, "<<Paste>> <<Cut>> <<Clear>> <<PasteSelection>> <<Undo>> <<Redo>>", lambda: "break")
        seen = "<MouseWheel> <Button-4> <Button-5> <KeyRelease> <B1-Motion> <ButtonRelease-1>"
        on(self.text, seen, lambda: self.frame.after_idle(self.look))
        if name != "faults":  # There one types beside a conversation.
            on(self.text, "<ButtonRelease-1>", lambda: window.composer.type_on(""))
        on(self.text, "<Configure>", self._follow)
        self.text.tag_bind("more", "<ButtonRelease-1>", lambda event: self.unfold("@%d,%d" % (event.x, event.y)))
        self.text.tag_bind("link", "<ButtonRelease-1>", self._open_link)
        for tag in ("link", "more"):
            self.text.tag_bind(tag, "<Enter>", lambda _: self.text.configure(cursor="hand2"))
            self.text.tag_bind(tag, "<Leave>", lambda _: self.text.configure(cursor="arrow"))

    def clear(self) -> None:
        """Forget everything."""
        self._before: Optional[Line] = None
        self._newest: Dict[str, int] = {}  # Keys of the lines that may change, by the tag that these have.
        self._on_way: List[Line] = []
        self.text.delete("1.0", "end")
        self.text.mark_set("foot", "1.0")

    def _pieces(self, lines: Sequence[Line], before: Optional[Line], tag: str = "") -> List[Any]:
        """Return what Text.insert() takes for lines that ``before`` stands above, all with that tag."""
        pairs = zip((before, *lines), lines)
        runs = [run for above, line in pairs for run in line_runs(line, above)]
        return [piece for text, tags in runs for piece in (self._window.drawn(text), tags + (tag,) * bool(tag))] or [""]

    def show(self, lines: Sequence[Line]) -> None:
        """Add lines, or change them; of too many the oldest go, later if somebody may read them.  update() follows."""
        for line in {line.key: line for line in lines}.values():
            tag = {"presence": "presencekey", "unread": "unreadkey", "gone": "unreadkey"}.get(line.kind, "")
            if tag and line.key == self._newest.get(tag):
                ranges = self.text.tag_ranges(tag)
                if ranges:  # Else it was among the oldest lines, and is gone.
                    self.text.delete(ranges[0], ranges[-1])  # Text.replace() would move who reads below.
                    self.text.insert(ranges[0], *self._pieces([line], None, tag))
                continue
            if tag:
                self.text.tag_remove(tag, "1.0", "end")
                self._newest[tag] = line.key
            self.text.insert("foot", *self._pieces([line], self._before, tag))
            self._before = line
        surplus = int(self.text.index("end-1c").split(".")[0]) - VIEW_LINES_MAX * (1 if self.following else 2)
        if surplus > 1:
            self.text.delete("1.0", "%d.0" % (surplus + 1))
            self.text.insert("1.0", *self._pieces([_CUT], None))

    def update(self, on_way: List[Line], new: int) -> None:
        """Show at the foot what is on its way, and follow the end; where it is not in sight, offer to go there."""
        if on_way != self._on_way:
            self._on_way, foot = on_way, self.text.index("foot")
            self.text.delete("foot", "end-1c")
            self.text.insert("end", *self._pieces(on_way, self._before))
            self.text.mark_set("foot", foot)
        self._follow()
        if self.following:
            self._jump.place_forget()
        else:
            text, style = ("%d new" % new, "Primary.TButton") if new else ("Latest", "TButton")
            self._jump.configure(style=style)
            say(self._jump, text)
            self._jump.place(in_=self.text, relx=0.5, rely=1.0, y="-9p", anchor="s")

    def _follow(self) -> None:
        self._fit()
        if self.following:
            self.text.see("end")

    def _fit(self) -> None:
        """Keep rows readable, in the middle of a wide window."""
        wide = int(self.text.tk.call("font", "measure", "ChatBody", "x" * self._columns)) + 2 * px(self.text, 16)
        margin = max((self.text.winfo_width() - wide) // 2, 0) if self._columns else 0
        if margin != int(str(self.text.cget("padx"))):
            self.text.configure(padx=margin)

    def around(self, tag: str, at: str) -> str:
        """Return what the range of a tag holds that is there, or ""."""
        place = self.text.tag_prevrange(tag, at + " +1c")
        return str(self.text.get(*place)) if place and self.text.compare(at, "<", place[1]) else ""

    def code(self, at: str) -> str:
        """Return the block of code that is there, what is folded too, or ""."""
        if not {"code", "more"}.intersection(self.text.tag_names(at)):
            return ""
        top = self.text.tag_prevrange("top", at + " lineend")[0]
        return str(self.text.get(top, self.text.tag_nextrange("bottom", top)[1])).rstrip("\n")

    def selected(self) -> str:
        """Return what is selected, but no times and no ticks."""
        if not self.text.tag_ranges("sel"):
            return ""
        tags, pieces = set(self.text.tag_names("sel.first")), []
        for what, value, _ in self.text.dump("sel.first", "sel.last", text=True, tag=True):
            if what == "text":
                pieces.append("\n" * value.count("\n") if tags.intersection(UNCOPIED) else value)
            else:
                (tags.add if what == "tagon" else tags.discard)(value)
        return "".join(pieces)

    def folded(self, at: str) -> Any:
        """Return the range of what is not shown of the code that is there, if there is such."""
        top = self.text.tag_prevrange("top", at + " lineend")[0]
        return self.text.tag_nextrange("fold", top, self.text.tag_nextrange("bottom", top)[1])

    def unfold(self, at: str) -> None:
        """Show the rest of the code that is there."""
        fold = self.folded(at)
        self.text.tag_remove("fold", *fold)
        self.text.delete(*self.text.tag_nextrange("more", fold[1]))
        self.look()

    def show_before(self, lines: Sequence[Line]) -> None:
        """Show lines that belong before all others; what is seen stays in its place, and of too many the newest go."""
        days, day = [line for line in lines if line.kind == "day"], self.text.tag_nextrange("day", "1.0")
        if days and day and self.text.get(*day) == local(days[-1].text) + "\n":  # It is going to stand above them.
            self.text.delete(*day)
        self.text.mark_set("top", "@0,0")
        self.text.insert("1.0", *self._pieces(lines, None))
        if self.text.compare("%d.0" % (2 * VIEW_LINES_MAX + 1), "<", "end-1c"):
            self.text.delete("%d.0" % (2 * VIEW_LINES_MAX), "foot")
            self.text.insert("foot", *self._pieces([_CUT], None))
        if not self.following:
            self.text.yview("top")
            self.look()

    def scroll(self, *where: Any) -> str:
        """Scroll as Text.yview() does."""
        self.text.yview(*where)
        self.look()
        return "break"

    def look(self) -> None:
        """Find out whether the end is seen."""
        self.following = self.text.dlineinfo("end-1c") is not None
        self._window.update()

    def to_end(self) -> None:
        """Go to the end and follow it from now on; what is typed next goes where it can be sent."""
        self.following = True
        self._window.composer.type_on("")
        self._window.update()

    def _key(self, event: Any) -> Optional[str]:
        """Let only those keys through that cannot change the text; what is typed goes where it can be sent."""
        if event.keysym in READING_KEYS or re.match(r"F\d", event.keysym):
            return None
        if event.state & (0x8 if sys.platform == "darwin" else 0x4):
            return "break" if event.keysym.lower() in (*"dkhtoivxyz", "backspace") else None
        if event.char.isprintable() and event.char:
            self._window.composer.type_on(event.char)
        return "break"

    def _open_link(self, event: Any) -> None:
        place = self.text.tag_prevrange("link", "@%d,%d+1c" % (event.x, event.y))
        if place and not self.text.tag_ranges("sel"):
            self.open_link(self.text.get(*place))

    def open_link(self, link: str) -> None:
        """Open a page in the browser of the system."""
        import webbrowser

        start_thread(webbrowser.open, link)


class Field:
    """A field of a form: its label above, what is wrong with it below."""

    def __init__(self, parent: Any, label: str, row: int, column: int = 0, **place: Any) -> None:
        self.value = tk.StringVar(parent)
        self.frame = put(parent, "TFrame", row, column, **{"sticky": "nwe", **place})
        self.frame.rowconfigure(0, minsize="19.5p")
        self.label = put(self.frame, "Small.TLabel", text=label, sticky="sw", pady=(0, XS))
        self.entry = ttk.Entry(self.frame, textvariable=self.value, width=1)
        self.entry.grid(row=1, columnspan=2, sticky="we")
        self.error = put(self.frame, "error.TLabel", 2, columnspan=2, sticky="we", pady=(XS, 0), wraplength="240p")
        self.value.trace_add("write", lambda *_: self.complain(""))

    def complain(self, text: str) -> None:
        """Say below the field what is wrong, or with "" that nothing is."""
        self.entry.state(["invalid" if text else "!invalid"])
        say(self.error, text)  # Its place stays, so that nothing jumps.


class Composer:
    """Where a message is typed: grows with its lines, recalls, completes, keeps what cannot be sent."""

    def __init__(self, window: Any, parent: Any, hint: str, other: Tuple[str, str], **place: Any) -> None:
        """What is sent, the window's enter() takes; ``other`` is what a second button says, and its command."""
        self._window = window
        self._editor = LineEditor()
        self._typed: Optional[str] = None
        frame = put(parent, "TFrame", sticky="we", padding=[L, XS, L, S], **place)
        box = self.box = put(frame, "Field.TFrame", sticky="we", padding="2.25p")
        self.text = tk.Text(box, name="entry", height=1, width=1, wrap="word", borderwidth=0, undo=True)
        self.text.configure(highlightthickness=0, padx=S, pady="5.25p", insertwidth="0.75p")
        self.text.grid(row=0, sticky="we")
        self.hint = put(self.text, "Muted.TLabel", text=hint, cursor="xterm", inset=0)
        self.hint.grid_remove()
        self.hint.bind("<Button-1>", lambda _: self.text.focus_set())
        near: Dict[str, Any] = {"sticky": "s", "padx": "1.5p", "pady": "1.5p"}
        label, command = other
        self.other = put(box, "TButton", 0, 1, text=label, command=functools.partial(window.obey, command), **near)
        self.button = put(box, "Primary.TButton", 0, 2, text="Send", command=self.enter, **near)
        self.note = put(frame, "error.TLabel", 1, sticky="we", pady=(XS, 0), wraplength="240p")
        self.about = put(frame, "accent.TLabel", 2, sticky="we", pady=(XS, 0), wraplength="240p")
        self.about.grid_remove()
        bind = functools.partial(on, self.text)
        bind("<Return> <KP_Enter>", self.enter)
        bind("<Shift-Return>", lambda: self.type_on("\n"))
        bind("<Up>", lambda: self._recall(1))
        bind("<Down>", lambda: self._recall(-1))
        bind("<Tab>", self._complete)
        bind("<FocusIn>", lambda: box.state(["focus"]))
        bind("<FocusOut>", lambda: box.state(["!focus"]))
        bind("<<Modified>>", self._changed)
        bind("<Configure>", self._grow)
        bind("<<Paste>>", self._paste)
        self._changed()

    def tell(self, hint: str, about: Sequence[str]) -> None:
        """Say where one types what is to be known before, and below it what is so."""
        say(self.hint, hint)
        say(self.about, about, lambda words: "  \u00b7  ".join(map(local, words)))
        show_if(about, self.about)

    def get(self) -> str:
        """Return what is typed."""
        return str(self.text.get("1.0", "end-1c"))

    def set(self, text: str, after: str = "") -> None:
        """Put a text in the place of what is typed; the caret stands behind it, and ``after`` behind that."""
        self.text.replace("1.0", "end-1c", text)
        caret = self.text.index("end-1c")
        self.text.insert(caret, after)
        self.text.mark_set("insert", caret)
        self.text.see("insert")
        self._changed()

    def type_on(self, text: str) -> str:
        """Take the focus, and what was typed elsewhere or stands for a key."""
        self.text.focus_set()
        if text:
            if self.text.tag_ranges("sel"):
                self.text.delete("sel.first", "sel.last")
            self.text.insert("insert", text)
            self.text.see("insert")
        return "break"

    def take(self) -> str:
        """Return what is typed, which Up recalls from now on, and begin anew."""
        self._editor.set(self.get())
        self.set("")
        return self._editor.take()

    def enter(self) -> str:
        """Send what is typed; what cannot be sent is put back."""
        self.text.focus_set()
        if self.get().strip():
            self._window.enter(self.take())
        return "break"

    def show_note(self, text: str, level: str = "Small") -> None:
        """Say something below what is typed; "" takes it away."""
        self.note.configure(style=level + ".TLabel")
        show_text(self.note, text)

    def _changed(self) -> None:
        self.text.edit_modified(False)
        text, before = self.get(), self._typed
        if text == before:  # To say that nothing is modified is a modification, too.
            return
        self._typed = text
        size = len(text.encode("utf-8", "replace"))
        words = "{:,} of {:,} bytes".format(size, TEXT_BYTES_MAX) if 4 * size > 3 * TEXT_BYTES_MAX else ""
        self.show_note(words, "error" if size > TEXT_BYTES_MAX else "Small")
        self._address(text, not words)
        if text:
            self.hint.place_forget()
        else:
            self.hint.place(x=S, rely=0.5, anchor="w", bordermode="outside", relwidth=1, width="-12p")
        self._grow()

    def _address(self, text: str, told: bool) -> None:
        """Show whom alone what is typed will reach, and in words if so told."""
        name, length = self._window.app.addressee(text)
        self.text.tag_remove("addressee", "1.0", "end")
        self.text.tag_add("addressee", "1.0", "1.0 +%dc" % length)
        self.box.state(["alternate" if name else "!alternate"])
        if name and told:
            self.show_note("Only %s will read this. Escape: all." % name, "accent")

    def address_all(self) -> None:
        """Make what is typed for one member a message to all."""
        self.text.delete("1.0", "1.0 +%dc" % self._window.app.addressee(self.get())[1])

    def _grow(self) -> None:
        height = int(self.text.tk.call("font", "metrics", "ChatBody", "-linespace"))
        most = max(1, self._window.root.winfo_height() // (4 * height))
        rows = min(self._rows("1.0", "end-1c") + 1, EDITOR_ROWS_MAX, most)
        if rows != int(self.text.cget("height")):
            self.text.configure(height=rows)
            self.text.see("insert")

    def _paste(self) -> Optional[str]:
        """Replace what is selected; leave in the clipboard what would take Tk seconds to lay out, to be refused."""
        with contextlib.suppress(tk.TclError):
            size = len(self.text.clipboard_get())
            if size > PASTE_CHARACTERS_MAX:
                words = "{:,} characters cannot be pasted; at most {:,} bytes fit."
                self.show_note(words.format(size, TEXT_BYTES_MAX), "error")
                return "break"
            if self.text.tag_ranges("sel"):  # On X11 Tk would leave it.
                self.text.delete("sel.first", "sel.last")
        return None

    def _rows(self, start: str, end: str) -> int:
        """Return how many rows lie between; of a long text, where Tk would count for minutes, the most shown."""
        if self.text.winfo_width() <= px(self.text, 24):
            return 0
        if len(self.text.get(start, end)) > COUNTED_CHARACTERS_MAX:
            return EDITOR_ROWS_MAX
        return int(self.text.tk.call(self.text, "count", "-displaylines", start, end) or 0)

    def _recall(self, by: int) -> Optional[str]:
        """Recall in the first or last line; elsewhere the caret moves."""
        if self._rows(*(("1.0", "insert") if by > 0 else ("insert", "end-1c"))):
            return None
        self._editor.set(self.get(), 0)
        self._editor.recall(by)
        self.set(self._editor.text)
        return "break"

    def _complete(self) -> str:
        """Complete what is before the caret; where there is nothing, Tab goes on to the next widget."""
        before = self.text.get("1.0", "insert")
        self._editor.set(self.get(), len(before))
        self._editor.complete(self._window.app.complete)
        if self._editor.text != self.get():
            self.set(self._editor.text[: self._editor.cursor], self._editor.text[self._editor.cursor :])
        elif not before or before.endswith(" "):
            self.text.tk_focusNext().focus_set()
        return "break"


class MemberTable:
    """The members: the name, cut where it is too long, and in further columns what there is room for."""

    def __init__(self, parent: Any, columns: Dict[str, str], act: Callable[[str], Any], **place: Any) -> None:
        """``columns`` are titles and the widest usual text; one is a list at the side; ``act`` gets the name chosen."""
        self._columns, self._look = columns, ([0], [""])
        self._titles = list(columns)
        self._act = act
        self._rows: Dict[str, Tuple[str, ...]] = {}
        self._cells: Dict[str, Tuple[str, ...]] = {}
        ground, headings = ("", "headings") if len(columns) > 1 else ("Surface.", "")
        self.frame = put(parent, ground + "TFrame", sticky="nswe", **place)
        self.count = put(self.frame, "Caption.TLabel", sticky="w", padx=L, pady=(M, XS))
        self.tree = ttk.Treeview(self.frame, columns=self._titles, selectmode="browse", height=1)
        self.tree.configure(show=headings, style=ground + "Treeview")
        words = max(filter(str.isalpha, columns.values()))  # The longest get what room is left.
        for at, (title, text) in enumerate(columns.items()):
            side = "w" if at < 2 else "e"
            self.tree.heading(title, anchor=side)
            self.tree.column(title, anchor=side, stretch=text == words)
        self.tree.grid(row=1, columnspan=2, sticky="nswe", padx=(M, 0), pady=(0, S))
        add_scrollbar(self.tree, 2, self.tree.yview)
        on(self.tree, "<Return> <Delete>" + " <Double-Button-1>" * (len(columns) == 1), self.choose)
        on(self.tree, "<FocusIn>", self._focus)
        on(self.tree, "<Configure> <<ThemeChanged>>", self.fit)

    def show(self, rows: Dict[str, Tuple[str, ...]], colour: Callable[[str], int] = name_colour) -> None:
        """Show who is here: by name, in order, the cells of each row; in a list each in its colour."""
        if rows == self._rows:
            return
        old, pad = self._cells, px(self.tree, 8)
        rooms = [self.tree.column(title, "width") - pad for title in self._titles]
        self._rows = rows
        self._cells = {name: tuple(map(functools.partial(cut, self.tree), row, rooms)) for name, row in rows.items()}
        self.tree.delete(*("n" + name for name in old if name not in rows))
        for place, (name, cells) in enumerate(self._cells.items()):
            if name not in old:
                tags = "name%d" % colour(name) if len(self._titles) == 1 else ()
                self.tree.insert("", place, iid="n" + name, tags=tags, values=cells)
            elif cells != old[name]:
                self.tree.item("n" + name, values=cells)
            self.tree.move("n" + name, "", place)

    def choose(self) -> None:
        """Act on the row that is selected."""
        if self.chosen():
            self._act(self.chosen())

    def chosen(self) -> str:
        """Return the name in the row that is selected, or ""."""
        return "".join(row[1:] for row in self.tree.selection())

    def fit(self) -> None:
        """Make the columns as wide as their texts, and leave out the last ones where there is no room for them."""
        measure, pad = functools.partial(self.tree.tk.call, "font", "measure"), px(self.tree, 18)
        widths = [
            max(measure("UiBody", text), measure("UiSmallBold", local(title))) + pad
            for title, text in self._columns.items()
        ]
        for title in self._titles:
            self.tree.heading(title, text=local(title))
        room = self.tree.winfo_width() - px(self.tree, 4)
        shown = [title for title, end in zip(self._titles, itertools.accumulate(widths)) if end <= room]
        look = (widths, shown)
        if look != self._look:
            self._look = look
            self.tree.configure(displaycolumns=shown or self._titles[:1])
            for title, width in zip(self._titles, widths):
                self.tree.column(title, width=width, minwidth=px(self.tree, 48))
            self.tree.update_idletasks()  # The stretched columns share what is left.
        rows, self._rows = self._rows, {}
        self.show(rows)

    def _focus(self) -> None:
        rows = self.tree.get_children()
        if rows and not self.tree.selection():
            self.tree.selection_set(rows[0])
            self.tree.focus(rows[0])


# --- client


class LoginForm:
    """Where, who, and the password: one centred column; says beside each field what is wrong with it."""

    def __init__(self, window: "ClientWindow") -> None:
        self._window = window
        self._need: Any = ()
        self._found: Sequence[ServerFound] = ()
        self.frame = ttk.Frame(window.root)
        canvas = self._canvas = tk.Canvas(self.frame, highlightthickness=0, yscrollincrement="12p", width=1, height=1)
        canvas.grid(row=1, columnspan=3, sticky="nswe")
        add_scrollbar(canvas, 3, canvas.yview)
        column = self._column = ttk.Frame(canvas)
        self._item = canvas.create_window(0, 0, window=column, anchor="n")
        column.columnconfigure(0, weight=1)
        for widget in (canvas, column):
            on(widget, "<Configure>", self._place)
        window.root.bind("<FocusIn>", lambda event: self._see(event.widget), add=True)
        for keys, way in (("<Button-4>", -1), ("<Button-5>", 1)):
            on(window.root, keys, functools.partial(canvas.yview_scroll, way, "units"))
        window.root.bind(
            "<MouseWheel>", lambda event: canvas.yview_scroll(-1 if event.delta > 0 else 1, "units"), add=True
        )
        wide: Dict[str, Any] = {"columnspan": 2, "sticky": "we"}
        put(column, "Title.TLabel", text="SamsungChat", columnspan=2, sticky="w")
        put(column, "Small.TLabel", 1, text="A chatroom for your network", columnspan=2, sticky="w")
        self.server = Field(column, "Server", 2, pady=(L, 0))
        self.port = Field(column, "Port", 2, 1, padx=(M, 0), pady=(L, 0))
        self.port.entry.configure(width=7)
        self.name = Field(column, "Your name", 3, columnspan=2)
        self.password = Field(column, "Password", 4, columnspan=2)
        self.fields = {"server": self.server, "port": self.port, "name": self.name, "password": self.password}
        entry = self.password.entry
        add_secret_button(entry.master, 0, 1, lambda shown: entry.configure(show="" if shown else "\u2022"))
        self.button = put(column, "Primary.TButton", 5, text="Log in", command=self.submit, pady=(S, 0), **wide)
        self.progress = put(column, "Horizontal.TProgressbar", 6, mode="indeterminate", pady=(M, 0), **wide)
        self.error = put(column, "error.TLabel", 7, wraplength="240p", pady=(S, 0), **wide)
        self.looking = put(column, "Small.TLabel", 8, wraplength="240p", pady=(L, XS), **wide)
        self.cards = put(column, "TFrame", 9, **wide)
        for key, by in (("<Down>", 1), ("<Up>", -1)):
            on(self.server.entry, key, functools.partial(self._step, by))
        for field in self.fields.values():
            on(field.entry, "<Return> <KP_Enter>", self.submit)
        faults = put(self.frame, "Ghost.TButton", 2, text="It does not work?", command=self.find_faults, sticky="w")
        faults.grid(columnspan=3, padx=S, pady=XS)
        put(self.frame, "Ghost.TButton", 0, 1, text=OTHER_LANGUAGE, command=window.switch_language, pady=S)
        put(self.frame, "Ghost.TButton", 0, 2, text="Switch theme", command=window.switch_theme, padx=S, pady=S)
        self.frame.columnconfigure(0, weight=1)
        self.faults = ttk.Frame(self.frame)
        self.faults.columnconfigure(0, weight=1)
        self.faults.rowconfigure(1, weight=1)
        self.asked = put(self.faults, "Title.TLabel", sticky="w", padx=L, pady=M)
        self.findings = View(window, self.faults, "faults", row=1)
        self.back = put(self.faults, "TButton", 2, text="Back", command=self.close_faults, pady=M)

    def submit(self) -> None:
        """Log in with what is typed; while that is tried, stop it."""
        app, values = self._window.app, {name: field.value.get() for name, field in self.fields.items()}
        self._window.act(app.leave_room if app.need is None else functools.partial(app.log_in, **values))

    def find_faults(self) -> None:
        """Show over the form what keeps the person from coming in, with what is typed, as it is found."""
        self.faults.place(relwidth=1, relheight=1)
        self.back.focus_set()
        if not self._window.app.checking:
            self.findings.clear()
            self._window.app.find_faults(**{name: field.value.get() for name, field in self.fields.items()})

    def close_faults(self) -> None:
        """Show the form again."""
        self.faults.place_forget()
        self.server.entry.focus_set()

    def show(self, need: Optional[Need], found: Sequence[ServerFound]) -> None:
        """Ask for what is needed, or show with None that a login is tried; offer the servers that were found."""
        if need is not self._need:
            self._need, busy = need, need is None
            errors = need.errors if need else {}
            say(self.button, "Cancel" if busy else "Log in")
            for name, field in self.fields.items():
                field.entry.state(["disabled" if busy else "!disabled"])
                field.complain(errors.get(name, ""))
            login = self._window.app.login
            words = "Connecting to %s ..." % address_text((login.server, login.port)) if busy and login else ""
            self.error.configure(style="Small.TLabel" if words else "error.TLabel")
            show_text(self.error, words or errors.get("", ""))
            show_if(busy, self.progress)
            (self.progress.start if busy else self.progress.stop)()
            self._focus()
        app = self._window.app
        app.values.update(server=self.server.value.get(), port=self.port.value.get())
        public = app.default_password() and self.password.value.get() in ("", app.default_password())
        say(self.password.label, "Password (the default, known to all)" if public else "Password")
        show_text(self.looking, app.search_words())
        if found != self._found:
            at = self._cards().index(self.frame.focus_get()) if self.frame.focus_get() in self._cards() else -1
            for card in self._cards():
                card.destroy()
            self._found = found
            for row, each in enumerate(found):
                take = functools.partial(self._take, row)
                card = put(self.cards, "Card.TButton", row, command=take, sticky="we", pady=(0, XS), inset=11)
                say(card, each, lambda found: self._window.drawn(found_text(found)))
                on(card, "<Down>", functools.partial(self._step, 1))
                on(card, "<Up>", functools.partial(self._step, -1))
            if found and at >= 0:
                self._cards()[min(at, len(found) - 1)].focus_set()
        if found and need and not self.server.value.get():
            self._take(0)
            self.server.complain(namesakes(found))
        for row, card in enumerate(self._cards()):
            card.state(["selected" if row == self._taken() else "!selected"])

    def _focus(self) -> None:
        """Put the focus where something is wrong, or where something is to be typed first."""
        fields = list(self.fields.values())
        wrong = [field.entry for field in fields if field.entry.instate(["invalid"])]
        empty = [field.entry for field in fields if not field.value.get()]
        first = self.button if self._need is None else (wrong + empty + [self.password.entry])[0]
        first.focus_set()
        if self._need is not None:
            first.select_range(0, "end")

    def _cards(self) -> List[Any]:
        return list(self.cards.winfo_children())

    def _taken(self) -> int:
        """Return which card stands in the fields, or -1."""
        places = [(address_text(each.address).rpartition(":")[0], str(each.address[1])) for each in self._found]
        typed = (self.server.value.get(), self.port.value.get())
        return places.index(typed) if typed in places else -1

    def _step(self, by: int) -> None:
        """Take the next card, or the one before."""
        if self._found:
            at = min(max(self._taken() + by, 0), len(self._found) - 1)
            self._take(at)
            self._cards()[at].focus_set()

    def _take(self, row: int) -> None:
        """Log in at a server that was found; what is still to be typed has the focus then."""
        address = self._found[row].address
        self.server.value.set(address_text(address).rpartition(":")[0])
        self.port.value.set(str(address[1]))
        self.password.value.set(self.password.value.get() or PASSWORD * self._found[row].public)
        self._focus()

    def _place(self) -> None:
        """Put the column into the middle, from where only another size of the window moves it."""
        canvas, column, gap = self._canvas, self._column, px(self._canvas, 24)
        width, height = canvas.winfo_width(), canvas.winfo_height()
        growth = int(canvas.tk.call("font", "metrics", "UiBody", "-linespace")) / px(canvas, 17)
        top = max(px(canvas, 12), int(height / 2 - px(canvas, 250) * growth))
        canvas.itemconfigure(self._item, width=max(gap, min(width - gap, int(px(canvas, 320) * max(growth, 1)))))
        canvas.coords(self._item, width // 2, top)
        canvas.configure(scrollregion=(0, 0, width, max(height, top + column.winfo_reqheight() + gap)))

    def _see(self, widget: Any) -> None:
        """Scroll to a widget of the form that has got the focus."""
        if str(widget).startswith(str(self._column)):
            top, height = widget.winfo_rooty() - self._canvas.winfo_rooty(), self._canvas.winfo_height()
            below = top + widget.winfo_height() - height
            if top < 0 or below > 0:
                step = px(self._canvas, 16)
                self._canvas.yview_scroll(min(top, 0) // step or -(-below // step), "units")


class FindBar:
    """Finds a text in a view: every place marked, one of them looked at."""

    def __init__(self, window: "ClientWindow", parent: Any, **place: Any) -> None:
        self._window = window
        self._places: Sequence[Tuple[str, str]] = ()
        self._at = 0
        self.needle = tk.StringVar(parent)
        self.frame = put(parent, "TFrame", padding=[L, XS], sticky="we", **place)
        self.frame.grid_remove()
        self.entry = ttk.Entry(self.frame, textvariable=self.needle, width=12)
        self.entry.grid(row=0, sticky="we")
        self.count = put(self.frame, "Small.TLabel", 0, 1, width=11, anchor="center")
        acts = (("Previous", lambda: self.search(-1)), ("Next", lambda: self.search(1)), ("Close", self.close))
        for column, (text, act) in enumerate(acts, 2):
            put(self.frame, "Ghost.TButton", 0, column, text=text, command=act)
        on(self.entry, "<Return> <Up>", lambda: self.search(-1))
        on(self.entry, "<Shift-Return> <Down>", lambda: self.search(1))
        self.needle.trace_add("write", lambda *_: self.search())

    def open(self) -> None:
        """Show the bar, what it held selected."""
        self.frame.grid()
        self.entry.focus_set()
        self.entry.select_range(0, "end")
        self.search()

    def close(self) -> None:
        """Hide the bar and what it marked."""
        if self.frame.winfo_manager():
            self.frame.grid_remove()
            for tag in ("found", "here"):
                self._window.view.text.tag_remove(tag, "1.0", "end")
            self._window.composer.type_on("")

    def search(self, by: int = 0) -> None:
        """Look for what was typed: at the last place, for that is mostly meant, or so many further than before."""
        view, text, count = self._window.view, self._window.view.text, len(self._places)
        astral = int(text.tk.call("string", "length", "\U0001f600"))
        within = [str(end) for tag in ("body", "action", "code") for end in text.tag_ranges(tag)]
        self._places = find_places(text.get("1.0", "end-1c"), self.needle.get(), astral, within)
        if len(self._places) != count:
            self._at = -1
        self._at = (self._at + by) % max(len(self._places), 1)
        for tag, places in (
            ("found", self._places[-FOUND_SPANS_MAX:]),
            ("here", self._places[self._at : self._at + 1]),
        ):
            text.tag_remove(tag, "1.0", "end")
            for place in places:
                text.tag_add(tag, *place)
        if self._places:
            if "fold" in text.tag_names(self._places[self._at][0]):
                view.unfold(self._places[self._at][0])
            text.see(self._places[self._at][0])
            view.following = False
            view.frame.after_idle(view.look)
        found = "%d of %d" % (self._at + 1, len(self._places)) if self._places else "not found"
        say(self.count, found if self.needle.get() else "")


class ClientWindow(Window):
    """A client: the login form until it is in the room, then the room with header, members and status line."""

    app: ClientApp
    keys = (
        "Shift+Enter begins a new row, Up recalls, Tab completes, Ctrl+F finds, Ctrl+Shift+H raises or lowers your "
        "hand, Ctrl+plus and minus zoom."
    )

    def __init__(self, root: Any, app: ClientApp, settings: Settings) -> None:
        super().__init__(root, app, settings, 960, 640)
        self._transcript = app.transcript
        self._members_wanted: Optional[bool] = None
        self.login = LoginForm(self)
        chat = self.chat = ttk.Frame(root)
        chat.columnconfigure(0, weight=1)
        chat.rowconfigure(3, weight=1)
        wide: Dict[str, Any] = {"columnspan": 2, "sticky": "we"}
        header = put(chat, "TFrame", padding=[L, S, S, S], **wide)
        self.room = put(header, "Bold.TLabel", sticky="we", inset=0)
        self.here = put(header, "Ghost.TButton", 0, 1, command=functools.partial(self.place_members, True))
        put(chat, "Rule.TFrame", 1, height=1, **wide)
        self.view = View(self, chat, "conversation", TEXT_COLUMNS, row=3)
        bar = self.bar = ttk.Label(self.view.frame)
        on(bar, "<Configure>", lambda: bar.configure(wraplength=bar.winfo_width() - px(bar, 32)))
        self.invited = put(self.view.frame, "Surface.TFrame", 2, columnspan=2, sticky="we", padding=[L, S])
        words = "Nobody else is here yet. Others come in with"
        put(self.invited, "Small.TLabel", text=words, sticky="we", wraplength="240p")
        self.invitation = put(self.invited, "TLabel", 1, sticky="we", wraplength="240p")
        copy = put(self.invited, "TButton", 0, 1, rowspan=2, text="Copy", padx=(S, 0))
        copy.configure(command=lambda: self._copy(app.invitation()))
        self.menu = tk.Menu(self.view.text, tearoff=False)
        self.find = FindBar(self, chat, row=2)
        self.members = MemberTable(chat, {"Member": "m" * 14}, self.start_private, row=2, column=1, rowspan=3)
        self.composer = Composer(self, chat, "Write a message", ("Hand", "/hand"), row=4)
        put(chat, "Rule.TFrame", 5, height=1, **wide)
        status = put(chat, "TFrame", 6, padding=[L, XS], **wide)
        self.where = put(status, "Small.TLabel", sticky="we", inset=0)
        self.state = put(status, "TLabel", 0, 1, sticky="e")
        self.fault_labels = (self.login.error, self.composer.note)
        hand = functools.partial(self.obey, "/hand")
        entries = (
            ("Find \u2026", "F", self.find.open),
            ("Raise or lower your hand", "Shift+H", hand),
            ("Earlier messages", "", lambda: app.enter("/earlier")),
        )
        last = (("Leave the room \u2026", "", lambda: self.act(app.ask_leave)),)
        self.add_menu(header, entries, last, column=2)
        on(chat, "<Configure>", self.place_members)
        on(self.composer.text, "<Prior>", lambda: self.view.scroll("scroll", -1, "pages"))
        on(self.composer.text, "<Next>", lambda: self.view.scroll("scroll", 1, "pages"))
        root.protocol("WM_DELETE_WINDOW", lambda: self.act(app.quit))
        on(root, "<%s-f>" % self.command_key, self.find.open)
        on(root, "<%s-Shift-H>" % self.command_key, lambda: app.entered and hand())
        on(root, "<Escape>", self._escape)
        typed = self.composer.text
        on(root, "<<Copy>>", lambda: None if root.focus_get() is typed and typed.tag_ranges("sel") else self._copy())
        for event in ("<Button-2>" if self.command_key == "Command" else "<Button-3>", "<Menu>", "<Shift-F10>"):
            self.view.text.bind(event, self._open_menu)
        on(root, "<FocusIn> <FocusOut>", lambda: root.after_idle(self.update))
        remembered = {"server": settings.server, "name": settings.name or default_name()}
        for name, text in app.values.items():
            self.login.fields[name].value.set(text or remembered.get(name, ""))
        self.dress()

    def place_members(self, turn: bool = False) -> None:
        """Show the column of members where it was asked for, or where there is room for it; or else than now."""
        if turn:
            self._members_wanted = not self.members.frame.winfo_manager()
            self.composer.type_on("")
        wide = self.chat.winfo_width() >= px(self.chat, 640)
        show_if(wide if self._members_wanted is None else self._members_wanted, self.members.frame)

    def start_private(self, name: str) -> None:
        """Turn what is being typed into a private message."""
        if name != self.app.transcript.name:
            draft = re.sub(r"^/msg +\S* *", "", self.composer.get())
            self.composer.set("/msg %s %s" % (name, draft))
            self.composer.text.focus_set()

    def enter(self, text: str) -> None:
        """Hand on what was typed, and look at what comes of it."""
        super().enter(text)
        self.view.to_end()

    def _copy(self, text: str = "") -> None:
        """Copy a text, or what is selected."""
        text = text or self.view.selected()
        if text:
            self.root.clipboard_clear()
            self.root.clipboard_append(text)

    def _open_menu(self, event: Any) -> str:
        """Offer what can be done with what is there."""
        view, keyed = self.view, event.type == tk.EventType.KeyPress
        x, y = (view.text.bbox("insert") or (0, 0))[:2] if keyed else (event.x, event.y)
        at = view.text.index("insert" if keyed else "@%d,%d" % (x, y))
        link, code, said = view.around("link", at), view.code(at), view.around("body", at) or view.around("action", at)
        self.menu.delete(0, "end")
        texts = ((view.selected() or said.strip(), "Copy"), (code, "Copy code"), (link, "Copy link"))
        offers = [(label, functools.partial(self._copy, text)) for text, label in texts if text]
        if code and view.folded(at):
            offers.append(("Show all of it", functools.partial(view.unfold, at)))
        if link:
            offers.append(("Open link", functools.partial(self.view.open_link, link)))
        who = view.text.tag_prevrange("who", at + " lineend") if said or code or view.around("who", at) else ()
        for name in [name for name in self.app.transcript.names() if who and self.drawn(name) == view.text.get(*who)]:
            offers.append(("Mention %s" % name, functools.partial(self._mention, name)))
            offers.append(("Private message to %s" % name, functools.partial(self.start_private, name)))
        for label, act in offers:
            self.menu.add_command(label="  %s  " % local(label), command=act)
        if offers:
            self.composer.type_on("")  # What has the focus gets it back.
            self.pop_up(self.menu, view.text.winfo_rootx() + x, view.text.winfo_rooty() + y)
        return "break"

    def _mention(self, name: str) -> None:
        """Begin what is typed with a name, or name somebody in it."""
        self.composer.type_on(name + (" " if self.composer.get().strip() else ": "))

    def _escape(self) -> None:
        if self.app.question:
            self.act(self.app.answer, False)
        elif self.app.entered and self.find.frame.winfo_manager():
            self.find.close()
        elif self.app.entered:
            self.composer.address_all()
        elif self.login.faults.winfo_ismapped():
            self.login.close_faults()
        elif self.app.need is None:
            self.act(self.app.leave_room)

    def show(self, event: Any, lines: Sequence[Line]) -> None:
        """Add lines, in the room; the form tells by itself what goes on under it."""
        if self.app.transcript is not self._transcript:  # What was said is another room's; what is half typed stays.
            self._transcript = self.app.transcript
            self.view.clear()
        if isinstance(event, Connected):  # The header says where, and with how many.
            lines = [replace(line, text="Connected again.") for line in lines if event.again]
        if isinstance(event, Finding):
            self.login.findings.show(lines)
        elif isinstance(event, EarlierRead):
            self.view.show_before(lines)
        elif self.app.entered or isinstance(event, Connected):
            self.view.show(lines)
            self.alert(lines)

    def update(self) -> None:
        """Show what the app holds, and note whether the person looks at the latest lines."""
        app, view, transcript, login = self.app, self.view, self.app.transcript, self.app.login
        server = address_text((login.server, login.port)) if login else ""
        self.show_question()  # What it gives the focus back to may have to give it on to the form.
        transcript.read(self.front() and view.following)
        if not view.following and float(view.text.yview()[0]) == 0.0:
            app.fetch_earlier()
        if login and app.entered and not self.chat.winfo_manager():
            self.login.frame.pack_forget()
            self.chat.pack(fill="both", expand=True)
            self.composer.type_on("")
            self.remember(server=server, name=login.name)
        elif not app.entered:
            self.chat.pack_forget()
            self.login.frame.pack(fill="both", expand=True)
            self.login.show(app.need, app.found)
        self.root.title(drawable(transcript.title(), False))
        rows = transcript.described()
        if transcript.name in rows:
            rows[transcript.name] += " (%s)" % local("you")
        self.members.show({name: ("\u25cf  " + self.drawn(label),) for name, label in rows.items()}, transcript.colour)
        say(self.here, plural(len(rows), "member"))  # Nowhere else: one number is enough.
        say(self.room, self.drawn(transcript.room), str)
        say(self.where, self.drawn("  \u00b7  ".join((transcript.name, server))), str)
        self.state.configure(style=status_level(transcript.status) + ".TLabel")
        say(self.state, status_text(transcript.status))
        words, level = app.connection()
        self.bar.configure(style=level + ".Bar.TLabel", wraplength=self.view.frame.winfo_width() - px(self.root, 32))
        say(self.bar, words)
        self.bar.place(in_=self.view.frame, relwidth=1) if words else self.bar.place_forget()
        self.composer.tell(NOT_TAKEN.get(transcript.hushed(), "Write a message"), app.notes())
        say(self.composer.other, "Lower hand" if app.raised() else "Hand")
        show_if(transcript.operator(), self.composer.other)  # Nobody else calls who waits.
        say(self.invitation, app.invitation(), str)
        show_if(app.invitation(), self.invited)
        view.update(transcript.on_way(), transcript.unread)
        say(self.login.asked, "Looking \u2026" if app.checking else "What keeps you out")
        self.login.findings.update([], 0)


# --- server


class ServerWindow(Window):
    """A server: state and addresses on top, hands and members, the conversation, and a line to speak in it."""

    app: ServerApp
    hides = True

    def __init__(self, root: Any, app: ServerApp, settings: Settings, room: str, password: str, note: str) -> None:
        """``password`` is what people type to come in, ``note`` what is to be said of it."""
        self._shown: Any = ()
        self._need: Optional[Need] = None
        super().__init__(root, app, settings, 1000, 640)
        root.columnconfigure((0, 1), weight=1, uniform="half")
        self._room, self._password, self._note = room, password, note
        strip = put(root, "Surface.TFrame", padding=[L, M], columnspan=2, sticky="we")
        say(put(strip, "Bold.TLabel", sticky="we", inset=0), self.drawn(room), str)
        self.state = put(strip, "TLabel", 1, sticky="we", pady=(0, XS), inset=0)
        self.add_menu(strip, [("Share the program, or no more", "", app.share)], column=1, rowspan=2)
        self.switch = put(strip, "TButton", 0, 2, rowspan=2, padx=(S, 0), command=self.open_or_close)
        self.trouble = put(strip, "error.TLabel", 2, columnspan=3, sticky="we", wraplength="240p")
        self.port = Field(strip, "Another port", 3, sticky="w", pady=(XS, 0))
        self.port.entry.configure(width=8)
        self.rows = put(strip, "TFrame", 4, columnspan=3, sticky="we", grow=1)
        self.warning = put(strip, "warning.TLabel", 5, columnspan=3, sticky="we", pady=(XS, 0), wraplength="240p")
        self.fresh = Field(strip, "New password", 6, columnspan=3, pady=(S, 0))
        secret, keep = self.fresh.entry, functools.partial(self.act, app.log_in, "")
        change = lambda: self.act(app.log_in, self.fresh.value.get())  # noqa: E731
        self.fresh.error.grid_remove()
        add_secret_button(secret.master, 0, 1, lambda shown: secret.configure(show="" if shown else "\u2022"))
        put(secret.master, "TButton", 1, 2, text="Change", command=change, padx=(S, 0))
        put(secret.master, "TButton", 1, 3, text="Cancel", command=keep, padx=(S, 0))
        on(secret, "<Return> <KP_Enter>", change)
        columns = {"Name": "m" * 6, "Question": "m" * 8, "Waiting": "99 min"}
        lower = lambda name: self.enter("/lower %s" % name)  # noqa: E731
        self.hands = MemberTable(root, columns, lower, row=1)
        self.hands.frame.grid_remove()
        self.hands.tree.configure(show="")  # What these are needs no words.
        acts = (("Call next", functools.partial(self.obey, "/next")), ("Lower", self.hands.choose))
        _, self.lower, _ = self._add_buttons(self.hands, *acts, ("Lower all", functools.partial(lower, "all")))
        columns = {"Name": "m" * 9, "Address": "255.255.255.255:65535", "Round trip": "9999 ms"}
        columns.update({"Messages": "99999", "Since": "00:00"})
        self.table = MemberTable(root, columns, lambda name: self.act(app.ask_kick, name), row=2)
        self.empty = ttk.Label(self.table.frame, style="Small.TLabel")
        self.empty.place(in_=self.table.tree, relx=0.5, rely=0.5, anchor="center")
        mute = ("Mute", lambda: app.turn_mute(self.table.chosen()))
        self.mute, self.remove = self._add_buttons(self.table, mute, ("Remove", self.table.choose))
        hint = "Say something to all, or /help"
        self.composer = Composer(self, root, hint, ("Announce", "/announce"), row=4, columnspan=2)
        self.fault_labels = (self.composer.note,)
        self.log = View(self, root, "log", row=3)
        self.title = put(self.log.frame, "Caption.TLabel", sticky="w", padx=L, pady=(M, XS))
        self.quiet = put(self.log.frame, "Ghost.TButton", columnspan=2, sticky="e", padx=S, pady=(S, 0))
        self.quiet.configure(command=lambda: self.act(app.turn_quiet))
        root.protocol("WM_DELETE_WINDOW", lambda: self.act(app.ask_close, True))
        on(root, "<Escape>", lambda: keep() if app.need else self.act(app.answer, False))
        self.dress()

    def _add_buttons(self, table: MemberTable, *acts: Tuple[str, Callable[[], Any]]) -> List[Any]:
        """Put buttons above a table, and return them."""
        frame = put(table.frame, "TFrame", 0, 1, sticky="e", pady=(S, 0))
        on(table.tree, "<<TreeviewSelect>>", self.update)
        found = [(at, text, functools.partial(self.act, act)) for at, (text, act) in enumerate(acts)]
        return [put(frame, "Ghost.TButton", 0, at, text=text, command=act) for at, text, act in found]

    def fit(self) -> None:
        """Put members and log side by side where there is room, else one above the other."""
        wide = self.root.winfo_width() >= px(self.root, 960)
        for table in (self.table, *[self.hands] * bool(self.hands.frame.winfo_manager())):
            table.frame.grid(columnspan=1 if wide else 2)
        self.log.frame.grid(row=1 if wide else 3, column=int(wide), columnspan=1 if wide else 2, rowspan=1 + wide)
        self.root.rowconfigure(2, weight=1)
        self.root.rowconfigure(3, weight=0 if wide else 1)
        super().fit()

    def open_or_close(self) -> None:
        """Close the room, or open it, on another port where one was asked for."""
        number = whole_number(self.port.value.get())
        if self.app.loop is not None:
            self.act(self.app.ask_close)
        elif 0 <= number < 65536:
            self.act(self.app.start, number)
        else:
            self.port.complain("0 to 65535")

    def show(self, event: Any, lines: Sequence[Line]) -> None:
        """Add lines to the log: who is here is shown beside it."""
        if event == OPENED:  # The rest stands above.
            lines = [replace(lines[0], kind="log", at=time.time(), state="good")]
        self.log.show([] if isinstance(event, ServerReport) else lines)
        self.alert(lines)

    def _show_rows(self) -> None:
        """Show what people need to come in, with buttons that copy it."""
        app, password = self.app, self.app.password or self._password
        for child in self.rows.winfo_children():
            child.destroy()
        addresses = typed_addresses(app.bound)[:STRIP_ADDRESSES_MAX]
        rows = [("Address", each, {"Copy command": join_command(each)}) for each in addresses]
        if app.shared:
            page = app.pages()[0]
            rows.append(("Web page", page, {"Copy": page, "Copy SHA-256": app.shared.sha256}))
        for row, (title, shown, copies) in enumerate([*rows, ("Password", "", {"Copy": password})]):
            put(self.rows, "Small.TLabel", row, text=title, sticky="w", padx=(0, M))
            value = put(self.rows, "TLabel", row, 1, sticky="we", inset=0)
            say(value, shown, str)
            buttons = put(self.rows, "TFrame", row, 2, sticky="e", padx=(M, 0))
            for column, (verb, copied) in enumerate(copies.items(), 2):
                copy = put(buttons, "Slim.Ghost.TButton", 0, column, text=verb, padx=(XS, 0))
                copy.configure(command=functools.partial(self._copy, copied, copy, verb))
        secret, hidden = self.drawn(password), "\u2022" * 8
        add_secret_button(buttons, 0, 0, lambda shown: say(value, secret if shown else hidden, str))
        change = functools.partial(self.act, app.ask_password)
        put(buttons, "Slim.Ghost.TButton", 0, 1, text="Change", command=change, padx=(XS, 0))
        show_text(self.warning, "" if app.password else self._note)

    def update(self) -> None:
        """Show what the app holds."""
        app, report = self.app, self.app.report
        self.root.title(local("%s \u2013 SamsungChat server" % drawable(self._room, False)))
        is_open, trouble, bound, *_ = shown = (app.loop is not None, app.trouble, app.bound, app.password, app.shared)
        if shown != self._shown:
            self._shown = shown
            if is_open:
                self.state.configure(style="Surface.good.TLabel")
                say(self.state, "open, listening on %s" % address_text(bound))
                say(self.switch, "Stop")
                self.switch.configure(style="TButton")
            else:
                self.state.configure(style="Surface.error.TLabel")
                say(self.state, "not open" if trouble else "closed")
                say(self.switch, "Open again" if bound else "Try again")
                self.switch.configure(style="Primary.TButton")
            show_text(self.trouble, trouble)
            show_if(trouble, self.port.frame)
            self.port.value.set(str(app.port))
            if bound:
                self._show_rows()
        hands, tall = app.transcript.hands(), self.root.winfo_height() >= px(self.root, 560)
        show_if(app.need, self.fresh.frame)
        show_if(is_open and not app.need and (tall or not hands), self.rows)
        if app.need is not self._need:
            self._need = app.need
            self.fresh.value.set("")
            self.fresh.entry.focus_set() if app.need else self.composer.type_on("")
        self.show_question()
        self.log.update([], 0)
        quiet, operates = app.transcript.is_muted(), is_open and bool(app.operator)
        say(self.title, "Quiet: only you speak" if quiet else "Conversation" if operates else "Activity")
        say(self.quiet, "Let all speak" if quiet else "Quiet")
        for button in (self.quiet, self.mute, self.composer.other):
            show_if(operates, button)
        self._show_members(report)
        self._show_hands(hands, 5 if tall else 2)

    def _show_members(self, report: ServerReport) -> None:
        labels, name = self.app.transcript.described(), self.table.chosen()
        rows: Dict[str, Tuple[str, ...]] = {}
        here = {row.name: row for row in sorted(report.members, key=lambda row: name_key(row.name))}
        for each in {**labels, **here}:
            row, label = here.get(each), self.drawn(labels.get(each, display_text(each, " ")))
            cells = ("", "", "", "")
            if row:
                since = local_time(row.joined_at).strftime("%H:%M")
                cells = (address_text(row.address), "%d ms" % row.rtt_ms, str(row.messages), since)
            rows[each] = (label, *cells)
        self.table.show(rows)
        count = "%d of %d members" % (len(here), report.members_max)
        say(self.table.count, count if report.members_max else "Members")
        say(self.empty, self.app.nobody())
        (self.empty.lower if here else self.empty.lift)()
        say(self.mute, "Unmute" if name and self.app.transcript.is_muted(name) else "Mute")
        for button in (self.mute, self.remove):
            button.state(["!disabled" if name and name != self.app.operator else "disabled"])

    def _show_hands(self, hands: Sequence[Hand], most: int) -> None:
        rows: Dict[str, Tuple[str, ...]] = {}
        for hand in hands:
            waited = local("%d min" % (max(0, time.time() - hand.at) // 60))
            rows[hand.name] = (self.drawn(hand.name), self.drawn(hand.question), waited)
        if bool(hands) != bool(self.hands.frame.winfo_manager()):
            if str(self.root.focus_get()).startswith(str(self.hands.frame)):
                self.composer.type_on("")
            show_if(hands, self.hands.frame)
            self.fit()
        say(self.hands.count, plural(len(hands), "raised hand"))
        self.hands.tree.configure(height=min(max(len(hands), 1), most))
        self.hands.show(rows)
        self.lower.state(["!disabled" if self.hands.chosen() else "disabled"])

    def _copy(self, text: str, button: Any, verb: str) -> None:
        self.root.clipboard_clear()
        self.root.clipboard_append(text)

        def say_again() -> None:
            if button.winfo_exists():
                say(button, verb)

        say(button, "Copied")
        button.after(1500, say_again)


# ======================================================================================================
# 20. Languages
# ======================================================================================================
# What people read, in the languages other than English: data only; see use_language().  Words are those of the
# original's program where it had them.

_ENGLISH_DATES = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April May June July"
_ENGLISH_DATES += " August September October November December"
_INDONESIAN_DATES = "Senin Selasa Rabu Kamis Jumat Sabtu Minggu Januari Februari Maret April Mei Juni Juli"
_INDONESIAN_DATES += " Agustus September Oktober November Desember"
_INDONESIAN: Dict[str, str] = {
    **dict(zip(_ENGLISH_DATES.split(), _INDONESIAN_DATES.split())),
    "%A, %d %B %Y": "%S, %s %S %s",
    # Counts.
    "%d member": "%s anggota",
    "%d members": "%s anggota",
    "%d message": "%s pesan",
    "%d messages": "%s pesan",
    "%d line": "%s baris",
    "%d lines": "%s baris",
    "%d more row": "%s baris lagi",
    "%d more rows": "%s baris lagi",
    "%d more line": "%s baris lagi",
    "%d more lines": "%s baris lagi",
    "%d earlier line": "%s baris sebelumnya",
    "%d earlier lines": "%s baris sebelumnya",
    # Why a login, a name or a text is refused.
    "This name is in use; choose another.": "Username sudah digunakan; pilih yang lain.",
    "This name cannot be used; choose another.": "Username ini tidak bisa digunakan; pilih yang lain.",
    "The password is wrong, or this is not the server that you mean.": "Password salah, atau ini bukan server yang "
    "Anda maksud.",
    "The room is full; try again when somebody has left.": "Ruang sudah penuh; coba lagi setelah ada yang keluar.",
    "The server is busy; try again in a few seconds.": "Server sedang sibuk; coba lagi beberapa detik lagi.",
    "You were removed from the room; for ten minutes after that it stays closed to you.": "Anda sudah dikeluarkan "
    "dari ruang ini; selama sepuluh menit sejak itu Anda belum bisa masuk lagi.",
    "Somebody at your address was removed from the room; for ten minutes after that nobody new is let in from "
    "there. Who runs the server can lift that.": "Seseorang di alamat Anda dikeluarkan dari ruang; selama sepuluh "
    "menit sejak itu orang baru dari alamat tersebut belum bisa masuk. Pengelola bisa mencabut larangan ini.",
    "Your name was silent and somebody else has taken it; log in again.": "Anda lama tidak terhubung dan username "
    "Anda sudah dipakai orang lain; silakan login lagi.",
    "The room is full and your address had most of its seats: yours has gone to somebody at another one.": "Ruang "
    "sudah penuh dan alamat Anda memakai tempat paling banyak: tempat Anda diberikan kepada orang dari alamat lain.",
    "This place in the room belongs to another login; log in again.": "Tempat di ruang ini milik login lain; silakan "
    "login lagi.",
    "The server speaks another version; use the same samsungchat.py on both machines.": "Versi server berbeda; pakai "
    "samsungchat.py yang sama di kedua komputer.",
    "The server has closed the room.": "Server sudah menutup ruang.",
    "No server answered. Check that it is running, the address and the port, that a firewall lets UDP through, and "
    "that both machines are on the same network.": "Tidak ada server yang menjawab. Periksa apakah server berjalan, "
    "alamat dan port-nya benar, firewall meloloskan UDP, dan kedua komputer berada di jaringan yang sama.",
    "A name needs at least one letter or digit.": "Username harus berisi paling sedikit satu huruf atau angka.",
    "A name has at most %d characters and %d bytes.": "Username paling panjang %s karakter dan %s byte.",
    "A name has letters, digits and _ - . only, no spaces.": "Username hanya boleh berisi huruf, angka, dan _ - . "
    "tanpa spasi.",
    "A name has no invisible characters.": "Username tidak boleh berisi karakter yang tidak terlihat.",
    "A name begins with a letter or digit.": "Username diawali huruf atau angka.",
    "The letters of a name are of one script; here %s.": "Huruf-huruf dalam username harus dari satu aksara; di "
    "sini: %s.",
    "There is nothing to send.": "Tidak ada yang bisa dikirim.",
    "{:,} bytes; at most {:,}": "%s byte; paling banyak %s",
    "This message has %s fit. Send it in pieces.": "Pesan ini terlalu panjang (%S). Kirim sedikit demi sedikit.",
    # The history file.
    "%s is in use by another server; stop that one, or choose another file.": "%s sedang dipakai server lain; "
    "hentikan server itu, atau pilih berkas lain.",
    "%s is read-only; make it writable, or choose another file.": "%s hanya bisa dibaca; izinkan penulisan, atau "
    "pilih berkas lain.",
    "The disk of %s is full; make room on it.": "Disk untuk %s penuh; kosongkan sebagian.",
    "%s cannot be opened; check the folder and your rights to it.": "%s tidak bisa dibuka; periksa folder dan hak "
    "akses Anda.",
    "%s is not a history of SamsungChat; choose another file.": "%s bukan riwayat SamsungChat; pilih berkas lain.",
    "%s is damaged; put a copy back in its place, or choose another file.": "%s rusak; kembalikan salinannya, atau "
    "pilih berkas lain.",
    "%s cannot be written: the disk or your share of it is full, or broken.": "%s tidak bisa ditulis: disk atau "
    "jatah Anda penuh, atau disk rusak.",
    "%s cannot be used: %s.": "%s tidak bisa dipakai: %s.",
    "%s was written by another version; use that one, or another file.": "%s ditulis oleh versi lain; pakai versi "
    "itu, atau berkas lain.",
    "There is no file %s.": "Tidak ada berkas %s.",
    "%s is damaged; what came before this line could be read.": "%s rusak; yang sebelum baris ini masih terbaca.",
    # The server, and the client.
    "The room was opened.": "Ruang dibuka.",
    "Nobody here is called %s.": "Tidak ada yang bernama %s di sini.",
    "Nobody called %s is kept out.": "Tidak ada yang bernama %s yang sedang dilarang masuk.",
    "%d min %02d s": "%s menit %s detik",
    "Too much is waiting to be sent; try again when the connection is back.": "Terlalu banyak pesan yang menunggu; "
    "coba lagi setelah koneksi pulih.",
    "Nobody here is called %s. Nothing was sent.": "Tidak ada yang bernama %s di sini. Tidak ada yang dikirim.",
    "The connection was lost and did not come back.": "Koneksi terputus dan tidak pulih.",
    "The server has another password now, or it is another one.": "Password server sudah diganti, atau ini server "
    "yang lain.",
    "The server does not take this.": "Server tidak menerima pesan ini.",
    "%s has left; nobody got your private message.": "%s sudah keluar; pesan pribadi Anda tidak sampai ke siapa pun.",
    "The server does not answer.": "Server tidak menjawab.",
    # The original protocol.
    "You were silent for an hour and have left the room; log in again.": "Anda diam selama satu jam dan dikeluarkan "
    "dari ruang; silakan login lagi.",
    "The server's disk is full: what you say is lost until there is room.": "Disk server penuh: pesan Anda hilang "
    "sampai ada tempat lagi.",
    "The server's disk has room again.": "Disk server sudah punya tempat lagi.",
    "no seat is left for the original program, or none at that address": "tidak ada tempat lagi untuk program "
    "asli, atau di alamat itu",
    "This is an original server: messages travel unencrypted, and whether they arrive is not confirmed. It has no list "
    "of members, no history, no /me and no /msg.": "Ini server program asli: pesan dikirim tanpa enkripsi, dan "
    "sampainya tidak dipastikan. Tidak ada daftar anggota, riwayat, /me, maupun /msg.",
    "Nobody uses the original program any more: the room is encrypted again.": "Tidak ada lagi yang memakai program "
    "asli: ruang ini terenkripsi lagi.",
    "%s uses the original program: from now on the room's messages also travel unencrypted.": "%s memakai program "
    "asli: mulai sekarang pesan di ruang ini juga dikirim tanpa enkripsi.",
    "%s Ours needs --classic to answer here.": "%S Server kami perlu --classic agar menjawab di sini.",
    # Commands.
    "say something to one member only": "kirim pesan kepada satu anggota saja",
    "answer the last private message": "balas pesan pribadi terakhir",
    "say what you do": "ceritakan apa yang Anda lakukan",
    "list the members": "tampilkan daftar anggota",
    "show N more messages from before": "tampilkan N pesan sebelumnya",
    "show the commands": "tampilkan perintah",
    "leave": "keluar",
    "list the members with address, round trip and messages": "tampilkan anggota dengan alamat, ping, dan jumlah pesan",
    "remove a member, and let in nobody new from its address, for ten minutes": "keluarkan seorang anggota, dan "
    "jangan izinkan orang baru dari alamatnya masuk, selama sepuluh menit",
    "list who is kept out, and for how long still": "tampilkan siapa yang dilarang masuk, dan berapa lama lagi",
    "let somebody in again, and who is new from there": "izinkan seseorang masuk lagi, juga orang baru dari sana",
    "close the room": "tutup ruang",
    "say something that starts with a slash": "kirim pesan yang diawali garis miring",
    "There is no command /%s; /help lists them; a text that starts with a slash begins with two.": "Tidak ada "
    "perintah /%s; /help menampilkan semuanya; pesan yang diawali garis miring ditulis dengan dua garis miring.",
    "Write /%s %s.": "Tulis /%s %s.",
    "Write the server as HOST or HOST:PORT, like 192.168.1.5 or lab1:11111.": "Tulis server sebagai HOST atau "
    "HOST:PORT, misalnya 192.168.1.5 atau lab1:11111.",
    "A port is a number from 1 to 65535.": "Port adalah angka dari 1 sampai 65535.",
    # States and what happens.
    "not connected": "tidak tersambung",
    "connecting": "menyambungkan",
    "connected": "tersambung",
    "reconnecting": "menyambungkan ulang",
    "leaving": "sedang keluar",
    "left": "keluar",
    "waiting for the server since %d s": "sudah %s detik menunggu server",
    "reconnecting since %d s": "sudah %s detik menyambungkan ulang",
    "connected, %d ms": "tersambung, %s ms",
    "%s, %d waiting": "%S, %s menunggu",
    "Connected again to %s as %s; %s here.": "Tersambung lagi ke %s sebagai %s; %S di sini.",
    "Welcome to %s, %s; %s here.": "Login berhasil! Selamat datang di %s, %s; %S di sini.",
    "Not sent: %s": "Tidak terkirim: %S",
    "%s here: %s": "%S di sini: %s",
    "The server's disk is full: messages wait until there is room on it.": "Disk server penuh: pesan menunggu sampai "
    "ada tempat.",
    "The server's disk has room again; what waited is sent.": "Disk server sudah punya tempat lagi; pesan yang "
    "menunggu kini dikirim.",
    "%s Trying again since %d s; what you type is kept and sent then.": "%S Sudah %s detik mencoba lagi; yang Anda "
    "ketik disimpan dan dikirim nanti.",
    "Connected again.": "Tersambung lagi.",
    "Nobody else is here yet. Others come in with": "Belum ada orang lain di sini. Yang lain bisa masuk dengan",
    "Copy code": "Salin kode",
    "Copy link": "Salin tautan",
    "Open link": "Buka tautan",
    "Show all of it": "Tampilkan semuanya",
    "Mention %s": "Sebut %s",
    "Private message to %s": "Pesan pribadi untuk %s",
    "Only %s will read this. Escape: all.": "Hanya %s yang akan membacanya. Escape: semua.",
    "%s Trying again; what you type is kept.": "%S Mencoba lagi; yang Anda ketik tetap disimpan.",
    "%d more": "%s orang lagi",
    "%s joined": "%s bergabung",
    "%s joined (%s)": "%s bergabung (%S)",
    "%s left": "%s keluar",
    "%s lost the connection": "%s kehilangan koneksi",
    "%s was removed": "%s dikeluarkan",
    "%s stopped answering": "%s tidak menjawab lagi",
    "%s lost the seat to a newcomer": "%s kehilangan tempat karena pendatang baru",
    "%s joined and left": "%s bergabung lalu keluar",
    "%s joined and lost the connection": "%s bergabung lalu kehilangan koneksi",
    "%s joined and was removed": "%s bergabung lalu dikeluarkan",
    "%s joined and stopped answering": "%s bergabung lalu tidak menjawab lagi",
    "%s joined and lost the seat to a newcomer": "%s bergabung lalu kehilangan tempat karena pendatang baru",
    "%s left and came back": "%s keluar lalu kembali",
    "%s lost the connection and came back": "%s kehilangan koneksi lalu kembali",
    "%s was removed and came back": "%s dikeluarkan lalu kembali",
    "%s stopped answering and came back": "%s tidak menjawab lalu kembali",
    "%s lost the seat to a newcomer and came back": "%s kehilangan tempat lalu kembali",
    "Nothing was said before.": "Belum ada yang dibicarakan sebelumnya.",
    "the beginning": "awal percakapan",
    "earlier": "sebelumnya",
    "earlier messages": "pesan sebelumnya",
    "now": "sekarang",
    "from now on": "mulai sekarang",
    "new": "baru",
    "end of what is earlier": "akhir pesan sebelumnya",
    "%s no longer available": "%S tidak tersedia lagi",
    "%s no longer available.": "%S tidak tersedia lagi.",
    "private": "pribadi",
    "sending \u2026": "mengirim \u2026",
    "not sent": "tidak terkirim",
    "sent, unconfirmed": "terkirim, belum pasti sampai",
    "to %s": "kepada %s",
    # Logging in.
    "1 to 65535": "1 sampai 65535",
    "0 to 65535": "0 sampai 65535",
    "The password is empty; type the one of the room.": "Password kosong; ketik password ruang ini.",
    "Type a number from 1 to %d, or an address.": "Ketik angka dari 1 sampai %s, atau sebuah alamat.",
    "Type the address that the server shows, or choose one found on this network.": "Ketik alamat yang ditampilkan "
    "server, atau pilih salah satu yang ditemukan di jaringan ini.",
    "Two servers here are called %s; ask which one is yours.": "Ada dua server bernama %s di sini; tanyakan yang mana "
    "server Anda.",
    "Connecting to %s ...": "Menyambungkan ke %s ...",
    "Looking for %s ...": "Mencari %s ...",
    "Looking for servers on this network ...": "Mencari server di jaringan ini ...",
    "On this network; type a number or a name:": "Di jaringan ini; ketik angka atau nama:",
    "Not sent in the room before: %s; Up recalls what you typed.": "Tidak terkirim di ruang sebelumnya: %S; tombol "
    "panah atas menampilkan lagi yang Anda ketik.",
    "Found %s at %s.": "Ditemukan %s di %s.",
    "Type the new one, or wait for the room to come back.": "Ketik password yang baru, atau tunggu ruang ini kembali.",
    "Not connected: this was not sent.": "Tidak tersambung: pesan ini tidak terkirim.",
    "Nobody has written to you alone yet.": "Belum ada yang mengirim pesan pribadi kepada Anda.",
    "Write /earlier N, with a number from 1 to %d.": "Tulis /earlier N, dengan angka dari 1 sampai %s.",
    "%s not confirmed yet. Leave all the same?": "%S belum pasti sampai. Tetap keluar?",
    "%s not confirmed yet; once more leaves all the same.": "%S belum pasti sampai; ulangi sekali lagi untuk tetap "
    "keluar.",
    "Ctrl-C once more leaves.": "Tekan Ctrl-C sekali lagi untuk keluar.",
    "%s not confirmed.": "%S belum pasti sampai.",
    "There is no machine called %s. Check the name, or type its address.": "Tidak ada komputer bernama %s. Periksa "
    "namanya, atau ketik alamatnya.",
    "The program has a fault (%s: %s). Please start it again.": "Ada kesalahan dalam program (%s: %s). Silakan "
    "jalankan lagi.",
    "The program has a fault (%s: %s). What you see may be incomplete.": "Ada kesalahan dalam program (%s: %s). "
    "Tampilan mungkin tidak lengkap.",
    "Cannot listen on %s: %s.": "Tidak bisa membuka %s: %s.",
    "Port %d is in use: another server may be running. Stop that, or choose another port.": "Port %s sedang dipakai: "
    "mungkin server lain sedang berjalan. Hentikan itu, atau pilih port lain.",
    "Port %d needs more rights than you have. Choose one above 1023.": "Port %s perlu hak akses lebih tinggi. Pilih "
    "port di atas 1023.",
    "%s is no address of this machine. Leave --host out to listen on all of them.": "%s bukan alamat komputer ini. "
    "Hilangkan --host agar semua alamatnya dipakai.",
    # The server's log.
    "{name} joined from {address} ({members} here)": "%s bergabung dari %s (%s di sini)",
    "{name} is back from {address} ({members} here)": "%s kembali dari %s (%s di sini)",
    "{name} left ({members} here)": "%s keluar (%s di sini)",
    "{name} lost the connection ({members} here)": "%s kehilangan koneksi (%s di sini)",
    "{name} was removed ({members} here)": "%s dikeluarkan (%s di sini)",
    "{name} stopped answering ({members} here)": "%s tidak menjawab lagi (%s di sini)",
    "{name} lost the seat to a newcomer ({members} here)": "%s kehilangan tempat karena pendatang baru (%s di sini)",
    "{name} ({address}) is kept out for {why} more, and whoever is new at that address": "%s (%s) dilarang masuk "
    "selama %S lagi, juga orang baru di alamat itu",
    "nobody is kept out": "tidak ada yang dilarang masuk",
    "{name} ({address}) may come in again, and whoever is new at that address": "%s (%s) boleh masuk lagi, juga orang "
    "baru di alamat itu",
    "refused {name} from {address}, who is told: {why}": "%s dari %s ditolak, dan diberi tahu: %S",
    "login from {address} was not completed: wrong password, or the connection broke": "login dari %s tidak "
    "selesai: password salah, atau koneksi terputus",
    "{address} tried to log in with the original program, which this room does not admit": "%s mencoba login dengan "
    "program asli, yang tidak diterima di ruang ini",
    "{why} Messages wait until then.": "%S Pesan menunggu sampai saat itu.",
    "the history is written again": "riwayat ditulis lagi",
    "listening on %s": "menunggu koneksi di %s",
    "room: %s": "ruang: %s",
    "on this machine only: %s": "hanya di komputer ini: %s",
    "on other machines: %s": "di komputer lain: %s",
    "%d of %d members": "%s dari %s anggota",
    "  %s  %s  %s  since %s": "  %s  %s  %S  sejak %s",
    "%d ms  %s": "%s ms  %S",
    "the room is closed": "ruang ditutup",
    "The room is not open.": "Ruang belum dibuka.",
    "announced: %s": "diumumkan: %s",
    "Remove %s for ten minutes?": "Keluarkan %s selama sepuluh menit?",
    "Remove": "Keluarkan",
    "%s is here.": "%S di sini.",
    "%s are here.": "%S di sini.",
    "%s Close the room?": "%S Tutup ruang?",
    "%s Close the room and this window?": "%S Tutup ruang dan jendela ini?",
    "Close the room": "Tutup ruang",
    "closing the room": "menutup ruang",
    "%s here; Ctrl-C once more closes the room.": "%S di sini; Ctrl-C sekali lagi menutup ruang.",
    # The terminal.
    "there is no space left for standard output": "tidak ada tempat lagi untuk keluaran standar",
    "standard output was closed": "keluaran standar sudah ditutup",
    "... %s": "... %S",
    "Tab completes, Up recalls, Alt-Enter begins a new row, Ctrl-C clears the line, Ctrl-D ends.": "Tab melengkapi, "
    "panah atas mengulang, Alt-Enter membuat baris baru, Ctrl-C menghapus baris, Ctrl-D mengakhiri.",
    "not sent: %s": "tidak terkirim: %s",
    "not confirmed: %s": "belum pasti sampai: %s",
    "not sent: %s: %s": "tidak terkirim: %s: %S",
    "It is not known whether this has arrived.": "Tidak diketahui apakah ini sudah sampai.",
    "%s; leaving when everything is sent.": "%S; keluar setelah semuanya terkirim.",
    "%s; the room goes on without a log.": "%S; ruang berjalan terus tanpa log.",
    "... %s missing here: nobody read the log": "... %S hilang di sini: tidak ada yang membaca log",
    "standard output": "keluaran standar",
    "it is not UTF-8 text": "bukan teks UTF-8",
    "%s pasted: Enter sends them as one message, Ctrl-C discards them.": "%S ditempel: Enter mengirimnya sebagai satu "
    "pesan, Ctrl-C membuangnya.",
    "Press Enter to try again%s: ": "Tekan Enter untuk mencoba lagi%s: ",
    "Server%s: ": "Server%s: ",
    "Server address%s: ": "Alamat server%s: ",
    "Your name%s: ": "Username%s: ",
    "Password%s: ": "Password%s: ",
    # Windows.
    "Bahasa Indonesia": "English",  # The language that the switch turns to.
    "Windows need tkinter, which this Python lacks. Debian, Ubuntu: apt install python3-tk; Fedora: dnf install "
    "python3-tkinter; macOS: brew install python-tk, or the installer from python.org. --cli needs none of it.": ""
    "Jendela memerlukan tkinter, yang tidak ada di Python ini. Debian, Ubuntu: apt install python3-tk; Fedora: dnf "
    "install python3-tkinter; macOS: brew install python-tk, atau installer dari python.org. --cli tidak "
    "memerlukannya.",
    "No window can be opened, there is no display (%s). --cli needs none.": "Jendela tidak bisa dibuka, tidak ada "
    "layar (%s). --cli tidak memerlukannya.",
    "name under which who runs the server is in the room (default: %(default)s)": "nama pengelola server di dalam "
    "ruang (bawaan: %(default)s)",
    "announce something to all; so does /say": "umumkan sesuatu kepada semua; /say juga bisa",
    "say something to one member only, as the operator": "kirim pesan kepada satu anggota saja, sebagai pengelola",
    "say what you do, as the operator": "ceritakan apa yang Anda lakukan, sebagai pengelola",
    "Say something to all, or /help": "Tulis pesan untuk semua, atau /help",
    "There is no operator in this room; write /say TEXT to announce something.": "Tidak ada pengelola di ruang ini; "
    "tulis /say TEXT untuk mengumumkan sesuatu.",
    "Too much is waiting to be sent; try again in a moment.": "Terlalu banyak pesan yang menunggu; coba lagi sebentar "
    "lagi.",
    "Announcement": "Pengumuman",
    "Commands": "Perintah",
    "Your name": "Username",
    "Password": "Password",
    "Server": "Server",
    "Port": "Port",
    "Log in": "Login",
    "Cancel": "Batal",
    "Show": "Tampilkan",
    "Hide": "Sembunyikan",
    "Menu": "Menu",
    "Send": "Kirim",
    "Announce": "Umumkan",
    "Members": "Anggota",
    "Member": "Anggota",
    "Name": "Nama",
    "Address": "Alamat",
    "Round trip": "Ping",
    "Messages": "Pesan",
    "Since": "Sejak",
    "Activity": "Kegiatan",
    "Copy": "Salin",
    "Copied": "Tersalin",
    "Back": "Kembali",
    "Close": "Tutup",
    "Latest": "Terbaru",
    "Looking \u2026": "Memeriksa \u2026",
    "Next": "Berikutnya",
    "Previous": "Sebelumnya",
    "not encrypted": "tidak terenkripsi",
    "operator": "pengelola",
    "you": "Anda",
    "Stop": "Hentikan",
    "Find \u2026": "Cari \u2026",
    "not found": "tidak ada",
    "%d of %d": "%s dari %s",
    "%d new": "%s baru",
    "Write a message": "Tulis pesan",
    "Another port": "Port lain",
    "Switch theme": "Ganti tema",
    "Larger text": "Teks lebih besar",
    "Smaller text": "Teks lebih kecil",
    "{:,} characters cannot be pasted; at most {:,} bytes fit.": "%s karakter tidak bisa ditempel; paling banyak "
    "%s byte.",
    "{:,} of {:,} bytes": "%s dari %s byte",
    "A chatroom for your network": "Ruang obrolan untuk jaringan Anda",
    "Earlier messages": "Pesan sebelumnya",
    "Leave the room \u2026": "Keluar dari ruang \u2026",
    "%s \u2013 SamsungChat server": "%s \u2013 server SamsungChat",
    "Nobody is here yet.": "Belum ada siapa pun di sini.",
    "open, listening on %s": "terbuka di %s",
    "not open": "tidak terbuka",
    "closed": "tertutup",
    "Open again": "Buka lagi",
    "Try again": "Coba lagi",
    "private to %s": "pribadi kepada %s",
    "private to you": "pribadi kepada Anda",
    "lines that were here are no longer shown": "baris yang tadinya di sini tidak ditampilkan lagi",
    "Shift+Enter begins a new row, Up recalls, Tab completes, Ctrl+F finds, Ctrl+Shift+H raises or lowers your hand, "
    "Ctrl+plus and minus zoom.": "Shift+Enter membuat baris baru, panah atas mengulang, Tab melengkapi, Ctrl+F "
    "mencari, Ctrl+Shift+H mengangkat atau menurunkan tangan, Ctrl+plus dan minus mengubah ukuran.",
    # Hands, a quiet room, the operator.
    "Hand": "Angkat tangan",
    "Lower hand": "Turunkan tangan",
    "Raise or lower your hand": "Angkat atau turunkan tangan",
    "hand %d": "tangan %s",
    "%d raised hand": "%s tangan",
    "%d raised hands": "%s tangan",
    "Question": "Pertanyaan",
    "Waiting": "Menunggu",
    "%d min": "%s menit",
    "Call next": "Panggil",
    "Lower": "Turunkan",
    "Lower all": "Turunkan semua",
    "Quiet": "Mode hening",
    "Quiet: only you speak": "Mode hening: hanya Anda yang bicara",
    "Let all speak": "Izinkan bicara",
    "Mute": "Bisukan",
    "Unmute": "Izinkan bicara",
    "Conversation": "Percakapan",
    "New password": "Password baru",
    "Change": "Ganti",
    "Web page": "Halaman web",
    "Copy SHA-256": "Salin SHA-256",
    "set another password; who is in stays": "ganti password; yang sudah di dalam tetap di dalam",
    "Here nothing can be typed hidden; start the server with another password.": "Di sini tidak ada yang bisa diketik "
    "tersembunyi; jalankan server dengan password lain.",
    "Type the room's new password; Enter alone leaves it as it is.": "Ketik password baru; Enter saja tidak "
    "mengubahnya.",
    "the password is another one from now on; who is in stays": "password sudah diganti; yang sudah di dalam tetap di "
    "dalam",
    "the password stays as it is": "password tidak berubah",
    "The room is quiet: only the operator speaks. You can raise your hand, or write to the operator alone.": "Mode "
    "hening: hanya pengelola yang bicara. Anda bisa mengangkat tangan, atau menulis kepada pengelola saja.",
    "You are muted: what you say reaches nobody.": "Anda dibisukan: pesan Anda tidak sampai ke siapa pun.",
    "The room is quiet: only the operator speaks.": "Mode hening: hanya pengelola yang bicara.",
    "The room is no longer quiet.": "Mode hening selesai: semua boleh bicara lagi.",
    "quiet: only the operator speaks": "mode hening: hanya pengelola yang bicara",
    "muted": "dibisukan",
    "{name} raised a hand.": "%s mengangkat tangan.",
    "{name} raised a hand: {text}": "%s mengangkat tangan: %s",
    "{name} lowered the hand.": "%s menurunkan tangan.",
    "The hand of {name} was lowered.": "Tangan %s diturunkan.",
    "{name} is called.": "%s dipanggil.",
    "{name} is called: {text}": "%s dipanggil: %s",
    "{name} is muted.": "%s dibisukan.",
    "{name} is muted for {text} min.": "%s dibisukan selama %s menit.",
    "{name} is no longer muted.": "%s tidak dibisukan lagi.",
    "You are called.": "Anda dipanggil.",
    "You are called: {text}": "Anda dipanggil: %s",
    "You are muted for {text} min: what you say reaches nobody.": "Anda dibisukan selama %s menit: pesan Anda tidak "
    "sampai ke siapa pun.",
    "You are no longer muted.": "Anda tidak dibisukan lagi.",
    "raise your hand, or ask another question; /hand down lowers it": "angkat tangan, atau ajukan pertanyaan lain; "
    "/hand down menurunkannya",
    "list who has raised a hand": "tampilkan siapa yang mengangkat tangan",
    "call who waits longest, with these words": "panggil yang paling lama menunggu, dengan kata-kata ini",
    "lower somebody's hand, or all": "turunkan tangan seseorang, atau semua",
    "let only the operator speak": "hanya pengelola yang boleh bicara",
    "let what somebody says reach nobody": "bisukan seseorang: pesannya tidak sampai ke siapa pun",
    "let somebody be heard again": "izinkan seseorang bicara lagi",
    "Your hand is raised; your place is {place}.": "Anda mengangkat tangan; giliran Anda nomor %s.",
    "Your hand is lowered.": "Tangan Anda sudah diturunkan.",
    "hand raised, place %d": "mengangkat tangan, giliran %s",
    "%2d  %s, waiting %d min%s": "%s  %s, menunggu %s menit%s",
    "Nobody has raised a hand.": "Belum ada yang mengangkat tangan.",
    "Nobody here has raised a hand.": "Belum ada yang mengangkat tangan di sini.",
    "%s has not raised a hand.": "%s tidak mengangkat tangan.",
    "%s is not muted.": "%s tidak dibisukan.",
    "Your hand is not raised.": "Anda tidak sedang mengangkat tangan.",
    "An original server has no /me, no /msg and no /hand.": "Server program asli tidak punya /me, /msg, dan /hand.",
    "Only who runs the server can do /%s. Nothing was sent.": "Hanya pengelola server yang bisa memakai /%s. Tidak ada "
    "yang dikirim.",
    "What is said with a call has at most %d bytes.": "Kata-kata panggilan paling panjang %s byte.",
    "A question has at most %d bytes; say more when you are called.": "Pertanyaan paling panjang %s byte; sampaikan "
    "selebihnya saat Anda dipanggil.",
    "Write /mute NAME MINUTES, with a number from 1 to %d.": "Tulis /mute NAME MENIT, dengan angka dari 1 sampai %s.",
    "Write /quiet on, or /quiet off.": "Tulis /quiet on, atau /quiet off.",
    # What keeps somebody from coming in.
    "Python %s, on %s": "Python %s, di %s",
    "%s, with tkinter.": "%S, dengan tkinter.",
    "%s, without tkinter.": "%S, tanpa tkinter.",
    "This machine's addresses: %s.": "Alamat komputer ini: %s.",
    "This machine is in no network.": "Komputer ini tidak berada di jaringan mana pun.",
    "Connect the cable or the Wi-Fi.": "Sambungkan kabel atau Wi-Fi.",
    "A search at %s": "Pencarian di %s",
    "%s finds %s.": "%S: %S.",
    "nothing": "tidak ada",
    "%s cannot be sent: %s.": "%S tidak bisa dikirim: %s.",
    "Servers behind a firewall or in another network are not found this way; name the address.": "Server di balik "
    "firewall atau di jaringan lain tidak ditemukan dengan cara ini; sebutkan alamatnya.",
    "No server was found.": "Tidak ada server yang ditemukan.",
    "Type its address, if there is one. %s": "Ketik alamatnya, kalau ada. %S",
    "Nobody lets you in at %s: %s.": "Anda tidak bisa masuk di %s: %S.",
    "refused": "ditolak",
    "silent": "tidak ada jawaban",
    "unreachable": "tidak terjangkau",
    "The machine is there, and no server is at this port. Check the port, and that the server runs.": "Komputernya "
    "ada, tetapi tidak ada server di port ini. Periksa port-nya, dan apakah servernya berjalan.",
    "--check does not know the original protocol.": "--check tidak mengenal protokol program asli.",
    "The machine is off or another one, or a firewall, there or here, lets no UDP through at this port, or the "
    "network keeps its machines apart, as for guests.": "Komputernya mati atau bukan yang itu, atau firewall di "
    "sana atau di sini tidak meloloskan UDP di port ini, atau jaringan memisahkan komputer-komputernya, seperti "
    "jaringan tamu.",
    "This machine knows no way there. Check the address, and the cable or the Wi-Fi.": "Komputer ini tidak tahu jalan "
    "ke sana. Periksa alamatnya, dan kabel atau Wi-Fi.",
    "%s answers: %s.": "%s menjawab: %s.",
    "The password is right: you can log in.": "Password benar: Anda bisa login.",
    "The password was not tried, as none was given.": "Password tidak dicoba, karena tidak diberikan.",
    "Give it, to have it tried.": "Berikan password agar dicoba.",
    "%d of %d datagrams came back, half of them within %.1f ms.": "%s dari %s datagram kembali, setengahnya dalam "
    "%s ms.",
    "Messages arrive all the same, later. Use a cable, or go nearer to the Wi-Fi.": "Pesan tetap sampai, hanya lebih "
    "lambat. Pakai kabel, atau mendekatlah ke Wi-Fi.",
    "This machine's clock and the server's differ by %d s.": "Jam komputer ini dan jam server berbeda %s detik.",
    "Set the wrong one: times on screens are the server's.": "Setel yang salah: waktu di layar mengikuti server.",
    "say what keeps you from coming in, line by line, and what to do": "jelaskan baris demi baris mengapa Anda "
    "tidak bisa masuk, dan apa yang harus dilakukan",
    "It does not work?": "Tidak berhasil?",
    "What keeps you out": "Mengapa Anda tidak bisa masuk",
    # The page that shares the program.
    "There is no file %s to share, or you may not read it.": "Tidak ada berkas %s untuk dibagikan, atau Anda tidak "
    "boleh membacanya.",
    "Two of the files to share are called %s; rename one.": "Dua berkas yang dibagikan bernama %s; ganti nama salah "
    "satunya.",
    "the program is shared: %s in a browser": "program dibagikan: buka %s di browser",
    "the program is not shared any more": "program tidak dibagikan lagi",
    "SHA-256 of %s, to be compared: %s": "SHA-256 dari %s, untuk dicocokkan: %s",
    "Share the program, or no more": "Bagikan program, atau hentikan",
    "TCP port %d is in use": "port TCP %s sedang dipakai",
    "Nothing is shared, as %s; the room goes on.": "Tidak ada yang dibagikan, karena %S; ruang berjalan terus.",
    "share the program, and these files, on a web page: HTTP, TCP port of the same number": "bagikan program, dan "
    "berkas-berkas ini, lewat halaman web: HTTP, port TCP dengan nomor yang sama",
    # The command line.
    "The password is empty; choose one that is not.": "Password kosong; pilih yang tidak kosong.",
    "Cannot read the password file %s: %s.": "Berkas password %s tidak bisa dibaca: %s.",
    "The password file %s must have one line, the password.": "Berkas password %s harus berisi satu baris, yaitu "
    "password.",
    "must be a whole number from %d to %d": "harus bilangan bulat dari %s sampai %s",
    "A chatroom over UDP for the machines of one network.": "Ruang obrolan lewat UDP untuk komputer "
    "dalam satu jaringan.",
    "Environment: SAMSUNGCHAT_PASSWORD, the password; SAMSUNGCHAT_DISCOVERY, where a client looks for servers "
    "(addresses, comma-separated); NO_COLOR, no colours. Exit status: 0 done; 1 no server answered, or the "
    "connection was lost for good, or the system refused something; 2 usage, or a line that could not be sent; 3 "
    "login refused or kicked.": "Variabel lingkungan: SAMSUNGCHAT_PASSWORD, password; SAMSUNGCHAT_DISCOVERY, di mana "
    "klien mencari server (alamat, dipisah koma); NO_COLOR, tanpa warna. Status keluar: 0 selesai; 1 tidak ada server "
    "yang menjawab, atau koneksi terputus untuk seterusnya, atau sistem menolak sesuatu; 2 pemakaian salah, atau "
    "ada baris yang tidak bisa dikirim; 3 login ditolak atau dikeluarkan.",
    "usage: ": "pemakaian: ",
    "positional arguments": "argumen",
    "options": "pilihan",
    "optional arguments": "pilihan",
    "show this help message and exit": "tampilkan bantuan ini",
    "show program's version number and exit": "tampilkan versi program",
    "%(prog)s: error: %(message)s\n": "%(prog)s: kesalahan: %(message)s\n",
    "argument %(argument_name)s: %(message)s": "argumen %(argument_name)s: %(message)s",
    "the following arguments are required: %s": "argumen berikut wajib diisi: %s",
    "unrecognized arguments: %s": "argumen tidak dikenal: %s",
    "invalid choice: %(value)r (choose from %(choices)s)": "pilihan salah: %(value)r (pilih dari %(choices)s)",
    "expected one argument": "perlu satu argumen",
    "not allowed with argument %s": "tidak bisa bersama argumen %s",
    "run the room": "jalankan ruang",
    "Run the room on this machine.": "Jalankan ruang di komputer ini.",
    "join a room": "masuk ke ruang",
    "Join a room as a member.": "Masuk ke ruang sebagai anggota.",
    "where the server is (default: look for it)": "letak server (bawaan: dicari)",
    "open a window (default where there is a display)": "buka jendela (bawaan jika ada layar)",
    "use the terminal, or what stands in its place": "pakai terminal, atau penggantinya",
    "the language: English or Indonesian (default: the system's)": "bahasa: Inggris atau Indonesia (bawaan: bahasa "
    "sistem)",
    "admit the original program too, which is not encrypted": "terima juga program asli, yang tidak terenkripsi",
    "with --classic: most members with it (default: %(default)s)": "dengan --classic: jumlah terbanyak anggotanya "
    "(bawaan: %(default)s)",
    "with --export: one JSON object a line": "dengan --export: satu objek JSON per baris",
    "address to listen on (default: %(default)s; :: for IPv6 too)": "alamat yang dibuka (bawaan: %(default)s; :: juga "
    "untuk IPv6)",
    "UDP port (default: %(default)s; 0: any free)": "port UDP (bawaan: %(default)s; 0: yang kosong)",
    "name of the room (default: %(default)s)": "nama ruang (bawaan: %(default)s)",
    "keep the room's history in this file (default: in memory)": "simpan riwayat ruang di berkas ini (bawaan: di "
    "memori)",
    "with --history: forget what is older (default: keep all)": "dengan --history: hapus yang lebih lama (bawaan: "
    "simpan semua)",
    "with --history: most megabytes, beyond which the oldest entries go (default: %d)": "dengan --history: ukuran "
    "terbesar dalam megabyte; lebih dari itu yang terlama dihapus (bawaan: %s)",
    "write the history as text into FILE, or - for standard output, and end": "tulis riwayat sebagai teks ke FILE, "
    "atau - untuk keluaran standar, lalu selesai",
    "most members (default: %(default)s)": "jumlah anggota terbanyak (bawaan: %(default)s)",
    "messages a second per member (default: %(default)s; 0: no limit)": "pesan per detik tiap anggota (bawaan: "
    "%(default)s; 0: tanpa batas)",
    "talk to an original server, unencrypted": "bicara dengan server program asli, tanpa enkripsi",
    "print one JSON object a line": "cetak satu objek JSON per baris",
    "in a pipe: go on receiving after the end of the input": "dalam pipe: tetap menerima setelah masukan habis",
    "in a pipe: write the time before each line, as into a file": "dalam pipe: tulis waktu di depan tiap baris, "
    "seperti ke dalam berkas",
    "UDP port (default: %d)": "port UDP (bawaan: %s)",
    "your name in the room (default: ask, or your login name)": "username Anda di ruang (bawaan: ditanyakan, atau "
    "nama login Anda)",
    "earlier messages to show (default: %(default)s)": "pesan sebelumnya yang ditampilkan (bawaan: %(default)s)",
    "read the password from a file": "baca password dari berkas",
    "the password; other users of this machine can see it": "password; pengguna lain di komputer ini bisa melihatnya",
    "using the console. %s": "memakai konsol. %S",
    "--keep, --history-size and --export are about a history; name it with --history FILE.": "--keep, --history-size, "
    "dan --export menyangkut riwayat; sebutkan dengan --history FILE.",
    "--json is for --export.": "--json hanya untuk --export.",
    "A room's name has 1 to %d bytes.": "Nama ruang terdiri dari 1 sampai %s byte.",
    "warning: %s (--password-file sets another)": "peringatan: %s (--password-file memilih yang lain)",
    "the default password is in use; anybody can know it": "password bawaan sedang dipakai; siapa pun bisa "
    "mengetahuinya",
    "Password (the default, known to all)": "Password (bawaan, diketahui semua orang)",
    "No room answers on this network yet. Check that the server is running, that a firewall lets UDP through, and that "
    "both machines are on the same network; or type the address that the server shows.": "Belum ada ruang yang "
    "menjawab di jaringan ini. Periksa apakah server berjalan, firewall meloloskan UDP, dan kedua komputer ada di "
    "jaringan yang sama; atau ketik alamat yang ditampilkan server.",
    "Looking for rooms on this network ...": "Mencari ruang di jaringan ini ...",
    "Rooms on this network:": "Ruang di jaringan ini:",
    "The room is closed.": "Ruang ditutup.",
    "Leave %s?": "Keluar dari %s?",
    "Leave": "Keluar",
    "Copy command": "Salin perintah",
    "%s is there already; choose another name.": "%s sudah ada; pilih nama lain.",
    "There is no space left for %s: the export is not whole.": "Tidak ada tempat lagi untuk %s: ekspor tidak utuh.",
    "Standard output is closed; name a file to export to.": "Keluaran standar ditutup; sebutkan berkas tujuan ekspor.",
    "%s cannot be written; check the folder and your rights.": "%s tidak bisa ditulis; periksa folder dan hak Anda.",
    "%s and --port %d name two ports; leave one of them out.": "%s dan --port %s menyebut dua port; hilangkan salah "
    "satunya.",
    "An original server cannot be searched for; name it.": "Server program asli tidak bisa dicari; sebutkan alamatnya.",
    "no password given (--password-file, SAMSUNGCHAT_PASSWORD); trying the default one": "password tidak diberikan "
    "(--password-file, SAMSUNGCHAT_PASSWORD); mencoba password bawaan",
    # The shared page.
    _PAGE_LEAD: "Masuk ke ruang obrolan: salin baris untuk sistem Anda (klik untuk memilihnya), tempelkan di sana, "
    "lalu tekan Enter. Programnya akan diunduh dan dijalankan. Perlu Python 3.8 atau yang lebih baru, dari python.org.",
    "The program": "Programnya",
    "Files": "Berkas",
    _PAGE_END: "Halaman ini dikirim lewat HTTP biasa: siapa pun yang menguasai jaringan bisa mengubah halaman ini dan "
    "programnya. Kalau Anda tidak percaya pada jaringannya, unduh programnya saja, lalu sebelum dijalankan "
    "cocokkan SHA-256-nya (Get-FileHash, shasum -a 256, sha256sum) dengan yang ada di layar pembuka ruang:",
}
LANGUAGES["id"] = _INDONESIAN


# ======================================================================================================
# 21. Command line
# ======================================================================================================
# Flags, passwords, exit codes; what these mean stands at the end of --help.


def chosen_password(options: argparse.Namespace) -> Optional[str]:
    """Return the password from its flag, its file or SAMSUNGCHAT_PASSWORD, in this order; raises UsageError."""
    if options.password is not None:
        if not options.password:
            raise UsageError("The password is empty; choose one that is not.")
        return str(options.password)
    if options.password_file is not None:
        try:
            with open(options.password_file, encoding="utf-8-sig") as file:
                password, _, more = file.read(4096).partition("\n")
        except (OSError, UnicodeDecodeError) as fault:
            reason = getattr(fault, "strerror", None) or "it is not UTF-8 text"
            raise UsageError("Cannot read the password file %s: %s." % (options.password_file, reason)) from None
        if more or not password:
            raise UsageError("The password file %s must have one line, the password." % options.password_file)
        return password
    return os.environ.get("SAMSUNGCHAT_PASSWORD") or None


def _count(low: int, high: int, text: str) -> int:
    if not low <= whole_number(text) <= high:
        raise argparse.ArgumentTypeError(local("must be a whole number from %d to %d") % (low, high))
    return int(text)


def _add(role: Any, flag: str, about: str, metavar: str = "", default: Any = None, limits: Any = ()) -> None:
    """Add a switch, or a flag with a value: a text, or a whole number within limits."""
    kind = functools.partial(_count, *limits) if limits else str
    value = {"metavar": metavar, "default": default, "type": kind} if metavar else {"action": "store_true"}
    role.add_argument(flag, help=local(about), **value)


_HELP_END = (
    "Environment: SAMSUNGCHAT_PASSWORD, the password; SAMSUNGCHAT_DISCOVERY, where a client looks for "
    "servers (addresses, comma-separated); NO_COLOR, no colours. Exit status: 0 done; 1 no server answered, or "
    "the connection was lost for good, or the system refused something; 2 usage, or a line that could not be sent; "
    "3 login refused or kicked."
)


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    about, end = local("A chatroom over UDP for the machines of one network."), local(_HELP_END)
    vars(argparse).update(_=local)  # Its own words, which it would ask gettext for.
    parser = argparse.ArgumentParser(prog="samsungchat.py", description=about, epilog=end)
    words = local("show program's version number and exit")
    parser.add_argument("--version", action="version", version="samsungchat " + __version__, help=words)
    roles = parser.add_subparsers(dest="role", metavar="{server,client}", required=True)
    server = roles.add_parser("server", help=local("run the room"), description=local("Run the room on this machine."))
    client = roles.add_parser("client", help=local("join a room"), description=local("Join a room as a member."))
    where = local("where the server is (default: look for it)")
    client.add_argument("server", metavar="SERVER[:PORT]", nargs="?", help=where)
    for role in (server, client):
        face = role.add_mutually_exclusive_group()
        _add(face, "--gui", "open a window (default where there is a display)")
        _add(face, "--cli", "use the terminal, or what stands in its place")
        words = local("the language: English or Indonesian (default: the system's)")
        role.add_argument("--lang", choices=tuple(LANGUAGES), help=words)
        secret = role.add_mutually_exclusive_group()
        _add(secret, "--password-file", "read the password from a file", "FILE")
        _add(secret, "--password", "the password; other users of this machine can see it", "TEXT")
    _add(server, "--classic", "admit the original program too, which is not encrypted")
    most = "with --classic: most members with it (default: %(default)s)"
    _add(server, "--classic-max", most, "N", CLASSIC_MAX, (1, 65535))
    _add(server, "--json", "with --export: one JSON object a line")
    _add(server, "--host", "address to listen on (default: %(default)s; :: for IPv6 too)", "ADDRESS", "0.0.0.0")
    _add(server, "--port", "UDP port (default: %(default)s; 0: any free)", "N", PORT, (0, 65535))
    _add(server, "--room", "name of the room (default: %(default)s)", "NAME", ROOM)
    operator = "name under which who runs the server is in the room (default: %(default)s)"
    _add(server, "--operator", operator, "NAME", OPERATOR)
    _add(server, "--history", "keep the room's history in this file (default: in memory)", "FILE")
    _add(server, "--keep", "with --history: forget what is older (default: keep all)", "DAYS", None, (1, 36500))
    size = "with --history: most megabytes, beyond which the oldest entries go (default: %d)" % HISTORY_MEGABYTES
    _add(server, "--history-size", size, "MB", None, (1, 1_000_000))
    _add(server, "--export", "write the history as text into FILE, or - for standard output, and end", "FILE")
    _add(server, "--max-members", "most members (default: %(default)s)", "N", MEMBERS_MAX, (1, 65535))
    about = "share the program, and these files, on a web page: HTTP, TCP port of the same number"
    server.add_argument("--share", metavar="FILE", nargs="*", help=local(about))
    rate = "messages a second per member (default: %(default)s; 0: no limit)"
    _add(server, "--rate", rate, "N", RATE_PARTS, (0, 1_000_000))
    _add(client, "--classic", "talk to an original server, unencrypted")
    _add(client, "--json", "print one JSON object a line")
    _add(client, "--check", "say what keeps you from coming in, line by line, and what to do")
    _add(client, "--stay", "in a pipe: go on receiving after the end of the input")
    _add(client, "--time", "in a pipe: write the time before each line, as into a file")
    _add(client, "--port", "UDP port (default: %d)" % PORT, "N", None, (1, 65535))
    _add(client, "--name", "your name in the room (default: ask, or your login name)", "NAME")
    _add(client, "--earlier", "earlier messages to show (default: %(default)s)", "N", EARLIER_DEFAULT, (0, 65535))
    return parser


def tune_process() -> None:
    """Set the interpreter up to serve: short turns at Python's lock, few walks of the garbage collector."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS)


def system_language() -> str:
    """Return the language of this person's system, "en" where it is none of ours (POSIX 8.2; Windows: LANGID)."""
    name = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    if os.name == "nt" and not name:
        with contextlib.suppress(Exception):
            import ctypes

            found = ctypes.windll.kernel32.GetUserDefaultUILanguage()  # type: ignore[attr-defined,unused-ignore]
            name = "id" if found & 0x3FF == 0x21 else ""
    return "id" if re.match("(id|in)(_|$)", name) else "en"


def asked_language(arguments: Sequence[str]) -> str:
    """Return what --lang says, before the command line is read: --help is in that language too."""
    found = re.findall("\0--lang[=\0](%s)(?=\0)" % "|".join(LANGUAGES), "\0%s\0" % "\0".join(arguments))
    return str(found[-1]) if found else ""


def opened_root(options: argparse.Namespace, *streams: Optional[TextIO]) -> Any:
    """Return a root for a window, or None for the console; raises UsageError where --gui cannot be obeyed."""
    piped = options.json or any(stream is not None and not stream.isatty() for stream in streams)
    if options.cli or (piped and not options.gui):
        return None
    try:
        return open_root()
    except UsageError as fault:
        if options.gui:
            raise
        complain("using the console. %s" % fault)
        return None


def opened_settings(options: argparse.Namespace) -> Settings:
    """Return a window's settings, and speak their language where the command line asks for none."""
    settings = read_settings()
    if not options.lang and settings.language in LANGUAGES:
        use_language(settings.language)
    return settings


def run_server(options: argparse.Namespace) -> int:
    """Run a server in a window or on the console; return the exit status; raises UsageError, LogFailure, OSError."""
    if (options.keep or options.history_size or options.export) and not options.history:
        raise UsageError("--keep, --history-size and --export are about a history; name it with --history FILE.")
    if options.json and not options.export:
        raise UsageError("--json is for --export.")
    if options.export:
        use_language("en")
        return export_history(options.history, options.export, options.json)
    room = display_text(options.room, " ").strip()
    if not 0 < len(room.encode("utf-8")) <= STRING_BYTES_MAX:
        raise UsageError("A room's name has 1 to %d bytes." % STRING_BYTES_MAX)
    given = chosen_password(options)
    password = given or PASSWORD
    note = "" if given else "the default password is in use; anybody can know it"
    notes = ["warning: %s (--password-file sets another)" % note] if note else []
    files = None if options.share is None else shared_files(options.share)
    tune_process()
    root = opened_root(options, sys.stdout)
    both = is_terminal(sys.stdin) and is_terminal(sys.stdout)
    operator = clean_name(options.operator) if both or root is not None else ""  # Else nobody is there.

    def open_room(port: int) -> Tuple[Server, List[socket.socket]]:
        with contextlib.ExitStack() as opened:
            kept = (options.keep or 0, options.history_size or HISTORY_MEGABYTES)
            log = Log(int(time.time() * 1000), options.history or "", *kept)
            opened.enter_context(contextlib.closing(log))
            sockets = [opened.enter_context(each) for each in open_server_sockets(options.host, port)]
            now = time.monotonic()
            limits = (options.max_members, options.rate)
            foreign = functools.partial(Classic, admitted=options.classic, most=options.classic_max)
            server = Server(log, password, os.urandom, now, time.time() - now, room, *limits, foreign, operator)
            opened.pop_all()  # From now on they are the loop's.
        return server, sockets

    app = ServerApp(open_room, options.port, notes, files)
    if root is not None:
        return ServerWindow(root, app, opened_settings(options), room, password, note).run()
    if not both:  # A log is read by programs, too.
        use_language("en")
    return (Terminal(app) if both else PlainLog(app)).run()


def export_history(path: str, target: str, as_json: bool) -> int:
    """Write a history as text or JSON lines; return the exit status.  Raises UsageError and LogFailure."""
    if target == "-" and sys.stdout is None:
        raise UsageError("Standard output is closed; name a file to export to.")
    lines = history_lines(path, as_json)
    first = next(lines, "")  # What cannot be read leaves no file behind.
    try:
        with contextlib.ExitStack() as files:
            out = sys.stdout if target == "-" else files.enter_context(open(target, "x", encoding="utf-8"))
            out.writelines(itertools.chain([first], lines))
            out.flush()
    except FileExistsError:
        raise LogFailure("%s is there already; choose another name." % target) from None
    except OSError as fault:
        if target == "-":
            discard_output()
        if not isinstance(fault, BrokenPipeError):  # Else the reader has seen enough.
            full = "There is no space left for %s: the export is not whole."
            other = "%s cannot be written; check the folder and your rights."
            sentence = full if fault.errno == errno.ENOSPC else other
            raise LogFailure(sentence % ("standard output" if target == "-" else target)) from None
    return 0


def history_lines(path: str, as_json: bool) -> Iterator[str]:
    """Yield the lines of an export; raises UsageError."""
    runs, standing = RunReader(), Standing()
    for number, entry in read_history(path):
        event = happened(number, entry, runs.read(entry))
        standing.take(number, entry)
        if event is not None and as_json:
            yield json.dumps(json_object(event, standing)) + "\n"
        elif event is not None:
            yield dated(str(plain_line(event)), entry) + "\n"


def run_client(options: argparse.Namespace) -> int:
    """Run a client in a window, on a terminal or in a pipe; return the exit status; raises UsageError, OSError."""
    server, port = "", options.port or PORT
    if options.server is not None:
        server, port = parse_server(options.server, port)
    if port != (options.port or port):
        raise UsageError("%s and --port %d name two ports; leave one of them out." % (options.server, options.port))
    name = clean_name(options.name) if options.name is not None else ""
    password = chosen_password(options)
    if options.check and options.classic:
        raise UsageError("--check does not know the original protocol.")
    values = {"server": server, "port": str(port), "name": name, "password": password or ""}
    app = ClientApp(values, options.earlier, options.classic)
    root = None if options.check else opened_root(options, sys.stdin, sys.stdout)
    if root is not None:
        return ClientWindow(root, app, opened_settings(options)).run()
    if is_terminal(sys.stdin) and is_terminal(sys.stdout) and not (options.json or options.check):
        return Terminal(app).run()
    if options.classic and not server:
        raise UsageError("An original server cannot be searched for; name it.")
    values["name"] = name or default_name()
    if password is None and is_terminal(sys.stdin) and is_terminal(sys.stderr):
        values["password"] = password = getpass.getpass(local("Password%s: ") % (" [%s]" % PASSWORD)) or PASSWORD
    if options.check:
        works = False
        for finding in check(server, port, password or ""):
            works = works or finding.login
            write(finding.lines() + "\n")
        return int(not works)
    if password is None:
        values["password"] = PASSWORD
        complain("no password given (--password-file, SAMSUNGCHAT_PASSWORD); trying the default one")
    with_time = options.time or (sys.stdout is not None and stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode))
    use_language("en")
    return Pipe(app, options.json, options.stay, with_time).run()


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command line; return the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            encoding = None if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="backslashreplace")
    arguments = sys.argv[1:] if arguments is None else arguments
    use_language(asked_language(arguments) or system_language())
    try:
        try:
            options = argument_parser().parse_args(arguments)
        except (SystemExit, OSError):
            write("")  # What is left of --help.
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # SECURITY: test_all_that_a_program_writes_is_its_owner_s_alone
        os.umask(0o077)
        for needed in (hashlib, hmac):
            vars(needed)  # Loads it, while there is one thread.
        return run_server(options) if options.role == "server" else run_client(options)
    except (UsageError, LogFailure, OutputClosed) as fault:
        complain(str(fault))
        return 2 if isinstance(fault, UsageError) else 1
    except OSError as fault:
        complain("%s%s" % ("%s: " % fault.filename if fault.filename else "", fault.strerror or fault))
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
