#!/usr/bin/env python3
# /// script
# requires-python = ">=3.8"
# dependencies = []
# ///
"""SamsungChat: a chatroom over UDP for the machines of one network, in one file.

    python samsungchat.py server
    python samsungchat.py client --cli
    python samsungchat.py --help

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
     7  room log                the numbered entries, in memory
     8  delivery                round trip, token bucket, drawn timers
     9  server                  the room: admits, takes, numbers and hands out
    10  client                  one member: logs in, sends, repairs, resumes
    11  screen model            what a screen shows, decided but not drawn
    12  event loop              sockets, clock and entropy around a core, on a thread
    13  console                 terminal and pipe
    14  command line            flags, passwords, exit codes

Glossary: *room*, the one conversation; *member*, who is in it; *entry*, a numbered line of the log; *session*,
the keys shared with one peer; *datagram*, bytes on the wire; *message*, a decoded datagram; *event*, what a
core tells its owner; *text*, what a person typed; *instance*, the secret of one client process; *member id*,
its public digest; *head*, the newest entry's number; *taken*, the highest number of a sender in the log.

An attacker who listens learns who talks to whom, when and how much, but no text, and nothing to test password
guesses on.  One who takes part in a login, as a client or as a false server, gets one guess for each login.
Who knows the password can read the room and can run a false server for newcomers.  The cryptography is built
from hashlib's primitives in published ways and has not been audited; Python integers are not constant-time.
"""

import argparse
import codecs
import collections
import contextlib
import datetime
import enum
import errno
import gc
import getpass
import hashlib
import hmac
import ipaddress
import json
import os
import pathlib
import queue
import re
import selectors
import shutil
import signal
import socket
import sqlite3
import struct
import sys
import threading
import time
import unicodedata
from dataclasses import dataclass, replace
from typing import Any, Callable, Deque, Dict, Iterator, List, Optional, Sequence, TextIO, Tuple, Union

__version__ = "1.0.0"

# ======================================================================================================
# 1. Limits and timers
# ======================================================================================================
# Every table has a maximum, every rate a bucket, every wait an end.  They stand here together, each with
# its unit in its name and its reason beside it.  Timers are drawn from [t, 2t] unless they say otherwise.

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
ANSWER_DATAGRAMS_MAX = 16  # What one SYNC is answered with.
FLUSH_DATAGRAMS_MAX = 16  # New entries of one turn of the loop.
RECEIVE_DATAGRAMS_MAX = 256  # Read from a socket in one turn.
REPLAY_WINDOW = 1024  # Counters; reordering wider than this loses datagrams, which repair brings back.
OUTBOX_PARTS_MAX = 4096  # Typed but not yet taken.
SHOWN_MEMBERS_MAX = 4096  # Member ids of which a client remembers the highest number shown.
LEFT_MEMBERS_MAX = 4096  # Leaves that a client remembers while it asks for the roster.

LOG_ENTRIES_MIN = 10_000  # Kept in any case ...
LOG_SECONDS_MIN = 60  # ... and as long as this ...
LOG_BYTES_MAX = 64 * 1024 * 1024  # ... but never more than this.
EARLIER_DEFAULT = 50  # Messages shown to a newcomer.
EARLIER_SEARCH_MAX = 2000  # Entries of a log in memory that are looked through for them.
EARLIER_MAX = 500  # Messages of history in one request ...
EARLIER_PER_TURN = 4  # ... and requests answered in one turn.
HISTORY_ROWS = 512  # Read from the file at once.
FORGET_SECONDS = 3600  # Between two looks for entries that are too old.
STUCK_SECONDS = 1.0  # Between two tries to write to a disk that is full.

MEMBERS_MAX = 1000
RATE_PARTS = 30  # A member's parts a second ...
RATE_SECONDS = 4  # ... and its burst, in seconds' worth: a pasted page passes.

COOKIE_SECONDS = 10
HALF_OPEN_MAX = 2000
HALF_OPEN_SECONDS = 10
LOGIN_QUEUE_MAX = 256
LOGINS_PER_TURN = 4  # About 2 ms each: the room waits 10 ms at most.
LOGIN_BURST = 32  # Unproven logins of one address ...
LOGIN_SECONDS = 10  # ... one more each so many seconds.
ADDRESSES_MAX = 4096  # Addresses of which unproven logins are counted.
GHOST_PING_SECONDS = 0.1
GHOST_SECONDS = 2.0  # A holder silent for so long while asked loses its name.
SILENT_SECONDS = 30.0  # Then a member is dropped.
BAN_SECONDS = 600.0
BANS_MAX = 1000
ENDED_SECONDS = 30.0  # An ended session still answers with its BYE.
ENDED_MAX = 4096
SWEEP_SECONDS = 1.0
TURN_SECONDS = 0.0001  # From a turn that left work undone to the next.
SLEEP_SECONDS = 5.0  # A longer gap between turns was sleep, not silence.
BEAT_SECONDS = (0.05, 0.3, 1.5)  # After the newest entry: tail loss leaves no gap to see.
CLOSE_SECONDS = (0.0, 0.05, 0.2)  # SERVER_CLOSED is said three times.

KEEP_ALIVE_SECONDS = 2.4  # Its double stays below SLEEP_SECONDS.
GRACE_SECONDS = 0.02  # Reordering, before a gap counts as loss.
RETRY_SECONDS = 0.1  # First repeat while no round trip is known; doubles up to ...
RETRY_SECONDS_MIN = 0.02
RETRY_SECONDS_MAX = 1.0
UNANSWERED_SECONDS = 4.0  # Then the client says "reconnecting" and looks for the server anew.
HELLO_SECONDS = 0.15
LOOK_SECONDS = 5.0  # Without a word from a server: "no server answered".
LOGIN_SECONDS_MAX = 30.0  # From the first HELLO to WELCOME, with a server that answers.
KEYS_SECONDS = 0.5  # After a wrong KEYS the true server may still speak.
KEYS_TESTED_MAX = 2
ASKED_MAX = 64  # SYNCs on their way whose round trip is measured.
AGAIN_SECONDS = 0.5  # Between attempts, doubles up to ...
AGAIN_SECONDS_MAX = 1.5
AGAIN_WRONG_SECONDS_MAX = 60.0  # ... or up to this, where the password was wrong.
LEAVE_SECONDS = 1.0  # For the server to confirm a BYE.
DISCOVERY_SECONDS = 1.0
FOUND_MAX = 50  # Servers that a search lists.
PIPE_SECONDS = 60.0  # A pipe gives a lost connection up after this.

CLASSIC_SECONDS = 3600.0  # An original client never says goodbye; silent for so long, it has left.
CLASSIC_BYTES_MAX = 1000  # Of one of its datagrams.
CLASSIC_SEEN_MAX = 256  # Addresses of original clients that the log has named.

SOCKET_BYTES = 4 * 1024 * 1024
SEND_WAIT_SECONDS = 0.05  # For room in the socket's buffer.
SEGMENTS_MAX = 40  # Of one GSO send; the kernel's limit is 64 and 65,507 bytes.
SWITCH_SECONDS = 0.0005  # Python's lock: how long a busy main thread may delay a send.
GARBAGE_OBJECTS = 50_000  # New objects between two walks; a fan-out makes thousands, none of them in cycles.
BACKLOG_LINES_MAX = 256  # A pipe reads on when fewer lines are waiting.

HISTORY_LINES_MAX = 200  # Typed lines that Up recalls.
EDITOR_ROWS_MAX = 8  # Of a long line being typed.
PRESENCE_NAMES_MAX = 8  # Of a run of joins and leaves.
PRESENCE_SECONDS = 1.0  # A terminal waits so long for more of them.

# ======================================================================================================
# 2. Errors
# ======================================================================================================
# Faults by owner: the peer's is MalformedDatagram, caught in one place in each core; the person's is
# UsageError; the machine's is OSError, seen only in the loop and above; ours is an assert.


class MalformedDatagram(Exception):
    """The peer sent what the protocol does not allow; the argument is the reason it is counted under."""


class LogFailure(Exception):
    """The history cannot be written now; the argument is the sentence that says why."""


class UsageError(Exception):
    """What the person typed cannot be used; the argument is the sentence that says what to do."""


USERNAME_TAKEN = "USERNAME_TAKEN"
USERNAME_INVALID = "USERNAME_INVALID"
WRONG_PASSWORD = "WRONG_PASSWORD"
ROOM_FULL = "ROOM_FULL"
TRY_LATER = "TRY_LATER"
KICKED = "KICKED"
SUPERSEDED = "SUPERSEDED"
VERSION_MISMATCH = "VERSION_MISMATCH"
SERVER_CLOSED = "SERVER_CLOSED"
UNKNOWN_SESSION = "UNKNOWN_SESSION"  # Advice between programs; no person sees it.
NO_ANSWER = "NO_ANSWER"  # Said by the client itself, as WRONG_PASSWORD is.

REFUSALS: Dict[str, str] = {
    USERNAME_TAKEN: "This name is in use; choose another.",
    USERNAME_INVALID: "This name cannot be used; choose another.",
    WRONG_PASSWORD: "The password is wrong, or this is not the server that you mean.",
    ROOM_FULL: "The room is full; try again when somebody has left.",
    TRY_LATER: "The server is busy; try again in a few seconds.",
    KICKED: "You were removed from the room; it stays closed to you for ten minutes.",
    SUPERSEDED: "Your name was silent and somebody else has taken it; log in again.",
    VERSION_MISMATCH: "The server speaks another version; use the same samsungchat.py on both machines.",
    SERVER_CLOSED: "The server has closed the room.",
    NO_ANSWER: "No server answered. Check that it is running, the address and the port, that a firewall lets "
    "UDP through, and that both machines are on the same network.",
}

# ======================================================================================================
# 3. Text
# ======================================================================================================
# What people type and read.  Names are checked where they enter; texts travel as they are and are made safe
# in one place, display_text, where they are shown.

_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2065\u3164\uffa0")
_EAST_ASIAN = frozenset(("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC"))


def clean_name(text: str) -> str:
    """Return the name in its one spelling (NFKC), or raise UsageError with the rule that it breaks.

    A name has 1 to 32 characters and at most 64 bytes: letters, digits, marks and ``_ - .``, beginning with
    a letter or digit, its letters of one script, so that no name can be spelt with another's look-alikes.
    """
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
    # SECURITY: test_a_name_cannot_be_spelt_with_look_alike_letters
    if len({_script(character) for character in name if unicodedata.category(character)[0] == "L"}) > 1:
        raise UsageError("The letters of a name are of one script.")
    return name


def _script(letter: str) -> str:
    """Name the script of a letter: the first word of its Unicode name, East Asia's counted as one."""
    word = unicodedata.name(letter, "UNNAMED").split(" ")[0]
    return "EAST ASIAN" if word in _EAST_ASIAN else word


def name_key(name: str) -> str:
    """Return what two names must not share: NFKC(casefold(NFKC)), as in Unicode 3.13, D145."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def clean_text(text: str) -> str:
    """Return a message's text as it is sent, or raise UsageError: empty, or too long (with its size)."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode("utf-8")
    size = len(text.encode("utf-8"))
    if not text.strip():
        raise UsageError("There is nothing to send.")
    if size > TEXT_BYTES_MAX:
        raise UsageError(
            "This message has %s bytes; at most %s fit. Send it in pieces."
            % (format(size, ","), format(TEXT_BYTES_MAX, ","))
        )
    return text


def split_parts(text: str) -> List[bytes]:
    """Cut a text between characters into parts of at most PART_BYTES_MAX bytes of UTF-8."""
    return split_bytes(text.encode("utf-8"), PART_BYTES_MAX)


def split_bytes(data: bytes, most: int) -> List[bytes]:
    """Cut UTF-8 between characters into pieces of at most ``most`` bytes."""
    pieces, start = [], 0
    while start < len(data):
        end = min(start + most, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(data[start:end])
        start = end
    return pieces


def display_text(text: str, newline: str = "\n") -> str:
    """Make strangers' text safe to show: control and direction-changing characters become visible.

    Terminal escape sequences, bidirectional overrides (Unicode TR 36) and other format characters cannot act
    on the screen; joiners, which emoji and some scripts need, stay.  A line break becomes ``newline``.
    """
    # SECURITY: test_text_from_strangers_cannot_steer_a_terminal
    return "".join(character if character.isprintable() else _visible(character, newline) for character in text)


def _visible(character: str, newline: str) -> str:
    code = ord(character)
    if character == "\n":
        return newline
    if character == "\t":
        return "    "
    if code < 0x20 or code == 0x7F:
        return chr(0x2400 + code) if code < 0x20 else "\u2421"
    if unicodedata.category(character) == "Zs" or code in (0x200C, 0x200D):
        return character
    return "\\u{%04x}" % code


def text_width(text: str) -> int:
    """Return how many terminal cells a text takes: East Asian wide ones two, marks and joiners none."""
    return sum(map(_width, text))


def _width(character: str) -> int:
    if character < "\u0300":
        return 1
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def random_draw(entropy: Callable[[int], bytes], low: float, high: float) -> float:
    """Draw evenly from [low, high) with the randomness that was passed in."""
    return low + (high - low) * int.from_bytes(entropy(4), "big") / 2**32


# ======================================================================================================
# 4. Wire format
# ======================================================================================================
# Every message and every entry is a frozen dataclass with a layout: one codec for each field, in order.
# Numbers are big-endian.  Decoding bytes from the network either succeeds or raises MalformedDatagram.

VERSION = 1
VERSION_BYTE = 0xF8 | VERSION  # Never the first byte of UTF-8 text.
HEADER_BYTES = 14  # Version, type, session (4), counter (8).
TAG_BYTES = 16
EMPTY_KEY = bytes(32)


class Reader:
    """Takes fields off the front of a body; raises MalformedDatagram where it is too short."""

    def __init__(self, data: bytes) -> None:
        """Read ``data`` from its beginning."""
        self._data = data
        self._at = 0

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        end = self._at + count
        if end > len(self._data):
            raise MalformedDatagram("truncated")
        data, self._at = self._data[self._at : end], end
        return data

    def number(self, count: int) -> int:
        """Return the next ``count`` bytes as a number."""
        return int.from_bytes(self.take(count), "big")

    def string(self) -> str:
        """Return a length byte's worth of UTF-8, at most STRING_BYTES_MAX bytes."""
        size = self.number(1)
        if size > STRING_BYTES_MAX:
            raise MalformedDatagram("long string")
        return decode_text(self.take(size))

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(len(self._data) - self._at)

    def left(self) -> int:
        """Return how many bytes are left."""
        return len(self._data) - self._at


def decode_text(data: bytes) -> str:
    """Decode UTF-8 from the network; raises MalformedDatagram where it is none."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedDatagram("not UTF-8") from None


def encode_string(text: str) -> bytes:
    """Encode a length byte and at most STRING_BYTES_MAX bytes of UTF-8, cut between characters."""
    data = text.encode("utf-8")
    if len(data) > STRING_BYTES_MAX:
        data = data[:STRING_BYTES_MAX].decode("utf-8", "ignore").encode("utf-8")
    return bytes((len(data),)) + data


Codec = Tuple[Callable[[Any], bytes], Callable[[Reader], Any]]


def _raw(count: int) -> Codec:
    return bytes, lambda reader: reader.take(count)


def _number(count: int) -> Codec:
    return lambda value: value.to_bytes(count, "big"), lambda reader: reader.number(count)


def _long_text(text: str) -> bytes:
    data = text.encode("utf-8")
    return len(data).to_bytes(2, "big") + data


_STRING: Codec = (encode_string, Reader.string)
_REST: Codec = (bytes, Reader.rest)
_TEXT: Codec = (_long_text, lambda reader: decode_text(reader.take(reader.number(2))))

# --- messages


@dataclass(frozen=True)
class Hello:
    """Client: is a server there?  Also finds servers, sent to broadcast."""

    nonce: bytes


@dataclass(frozen=True)
class Offer:
    """Server: here, and this cookie proves that you can receive at your address."""

    nonce: bytes
    cookie: bytes
    server: bytes
    members: int
    members_max: int
    room: str


@dataclass(frozen=True)
class Later:
    """Server, unsealed and therefore only advice: look again."""

    nonce: bytes
    code: str


@dataclass(frozen=True)
class Login:
    """Client: the cookie, and my public share of the key exchange."""

    nonce: bytes
    cookie: bytes
    share: bytes


@dataclass(frozen=True)
class Keys:
    """Server: its public share; the header's session and the tag prove the password to the client."""

    nonce: bytes
    share: bytes


@dataclass(frozen=True)
class Proof:
    """Client, sealed: who I am, and how far I have read.

    ``entry_time`` is the time of the entry at ``cursor``; ``oldest`` the lowest number that is not yet taken;
    ``earlier`` how many messages of history to start with.
    """

    attempt: int
    instance: bytes
    name: str
    cursor: int
    entry_time: int
    oldest: int
    earlier: int


@dataclass(frozen=True)
class Welcome:
    """Server: you are in; read on from ``start``.  What stands up to ``head`` was said before."""

    name: str
    member: bytes
    room: str
    start: int
    start_time: int
    resumed: int
    head: int
    taken: int
    key_id: int
    key: bytes
    members: int


@dataclass(frozen=True)
class Refused:
    """Server: you are not in, and this is why."""

    code: str
    text: str


@dataclass(frozen=True)
class Submission:
    """A part on its way into the log; ``kind`` is an entry's, with FIRST and LAST."""

    number: int
    kind: int
    to: bytes
    text: bytes


@dataclass(frozen=True)
class Sync:
    """Client: I have everything up to ``cursor``; and here are messages that you have not taken yet."""

    cursor: int
    key_id: int
    rtt_ms: int
    messages: Tuple[Submission, ...] = ()


@dataclass(frozen=True)
class Entries:
    """Server: entries from its log (maybe none), and how far it has taken yours.

    ``echo`` is the counter of the SYNC that this answers, or 0; ``flags`` may hold ASK (SYNC now) and STUCK
    (messages wait until the server's disk has room).
    """

    echo: int
    taken: int
    flags: int
    key_id: int
    key: bytes
    batch: bytes


@dataclass(frozen=True)
class Room:
    """Server: new entries, encrypted once under the room key for all members."""

    key_id: int
    nonce: bytes
    sealed: bytes


@dataclass(frozen=True)
class Who:
    """Client: who is here?  Rows whose join is above ``after``."""

    after: int


@dataclass(frozen=True)
class Row:
    """A member in the roster; ``joined`` is the number of the entry of its join."""

    joined: int
    member: bytes
    flags: int
    name: str


@dataclass(frozen=True)
class Members:
    """Server: a page of the roster, by join, as decode_rows() reads it; ``more`` where it does not end here."""

    as_of: int
    after: int
    more: int
    rows: bytes


@dataclass(frozen=True)
class Bye:
    """Either side: this session ends.  The code is empty where somebody just leaves."""

    code: str


@dataclass(frozen=True)
class Earlier:
    """Client: the last ``count`` messages below ``before``, please; I have up to ``have`` of them."""

    before: int
    count: int
    have: int


@dataclass(frozen=True)
class History:
    """Server: entries in (start, before), in answer to EARLIER; ``flags`` may hold ASK and BEGINNING."""

    start: int
    before: int
    flags: int
    batch: bytes


ASK, STUCK, BEGINNING = 1, 2, 4

_ROW = (_number(8), _raw(8), _number(1), _STRING)


def encode_row(row: Row) -> bytes:
    """Encode one row of the roster."""
    return b"".join(put(value) for (put, _), value in zip(_ROW, vars(row).values()))


def decode_rows(data: bytes) -> List[Row]:
    """Decode the rows of a page; raises MalformedDatagram."""
    reader, rows = Reader(data), []
    while reader.left():
        rows.append(Row(*[take(reader) for _, take in _ROW]))
    return rows


_SUBMISSION = struct.Struct(">IB")


def encode_submission(message: Submission) -> bytes:
    """Encode one part inside a SYNC; only a private one names its recipient."""
    return (
        _SUBMISSION.pack(message.number, message.kind)
        + message.to
        + len(message.text).to_bytes(2, "big")
        + message.text
    )


def _put_submissions(messages: Sequence[Submission]) -> bytes:
    return b"".join(map(encode_submission, messages))


def _take_submissions(reader: Reader) -> Tuple[Submission, ...]:
    messages = []
    while reader.left():
        number, kind = _SUBMISSION.unpack(reader.take(5))
        if kind & KIND_BITS not in (TEXT, ACTION, PRIVATE) or not number:
            raise MalformedDatagram("submission kind")
        to = reader.take(8) if kind & KIND_BITS == PRIVATE else b""
        text = reader.take(reader.number(2))
        if not 0 < len(text) <= PART_BYTES_MAX:
            raise MalformedDatagram("submission size")
        decode_text(text)
        messages.append(Submission(number, kind, to, text))
    return tuple(messages)


_LAYOUTS: Dict[type, Tuple[Codec, ...]] = {
    Hello: (_raw(16),),
    Offer: (_raw(16), _raw(20), _raw(8), _number(2), _number(2), _STRING),
    Later: (_raw(16), _STRING),
    Login: (_raw(16), _raw(20), _raw(32)),
    Keys: (_raw(16), _raw(32)),
    Proof: (_number(4), _raw(16), _STRING, _number(8), _number(8), _number(4), _number(2)),
    Welcome: (
        *(_STRING, _raw(8), _STRING, _number(8), _number(8), _number(1), _number(8)),
        *(_number(4), _number(4), _raw(32), _number(2)),
    ),
    Refused: (_STRING, _TEXT),
    Sync: (_number(8), _number(4), _number(2), (_put_submissions, _take_submissions)),
    Entries: (_number(8), _number(4), _number(1), _number(4), _raw(32), _REST),
    Room: (_number(4), _raw(8), _REST),
    Who: (_number(8),),
    Members: (_number(8), _number(8), _number(1), _REST),
    Bye: (_STRING,),
    Earlier: (_number(8), _number(2), _number(8)),
    History: (_number(8), _number(8), _number(1), _REST),
}
_MESSAGE_TYPES: Dict[int, type] = dict(enumerate(_LAYOUTS, 1))
TYPE_CODES: Dict[type, int] = {kind: code for code, kind in _MESSAGE_TYPES.items()}


def encode(message: Any) -> bytes:
    """Encode a message's fields, without header."""
    layout = _LAYOUTS[type(message)]
    return b"".join([put(value) for (put, _), value in zip(layout, vars(message).values())])


def decode(code: int, body: bytes) -> Any:
    """Decode the body of a message of that type code; raises MalformedDatagram, and nothing else."""
    kind = _MESSAGE_TYPES.get(code)
    if kind is None:
        raise MalformedDatagram("unknown type")
    reader = Reader(body)
    message = kind(*[take(reader) for _, take in _LAYOUTS[kind]])
    if any(reader.rest()):
        raise MalformedDatagram("trailing bytes")
    return message


def encode_unsealed(message: Any) -> bytes:
    """Encode a whole datagram of the login; those of clients are padded, so that no answer is larger."""
    data = bytes((VERSION_BYTE, TYPE_CODES[type(message)])) + encode(message)
    return data.ljust(STRANGER_BYTES, b"\0") if isinstance(message, (Hello, Login)) else data


# --- entries

TEXT, ACTION, PRIVATE, JOINED, LEFT, NOTICE, STARTED, UNDELIVERED, SKIP = range(1, 10)
KIND_BITS, FIRST, LAST = 0x3F, 0x40, 0x80  # Kind 0 is padding.
HIDDEN, TRIMMED = 1, 2  # Why numbers are skipped.


@dataclass(frozen=True)
class Entry:
    """A line of the log.  Times are milliseconds since 1970; which fields count depends on the kind.

    A long text is a run of entries from one with FIRST to one with LAST.  A SKIP covers ``count`` numbers and
    has the time of the last of them.
    """

    kind: int
    time: int = 0
    author: bytes = b""
    number: int = 0
    name: str = ""
    to: bytes = b""
    to_name: str = ""
    text: str = ""
    count: int = 1
    why: int = 0
    first: bool = True
    last: bool = True


_TIME = ("time", _number(8))
_BODY = (("text", _TEXT),)
_AUTHOR = (_TIME, ("author", _raw(8)), ("number", _number(4)), ("name", _STRING))
_MEMBER = (_TIME, ("author", _raw(8)), ("name", _STRING), ("text", _STRING))
_ENTRY_LAYOUTS: Dict[int, Tuple[Tuple[str, Codec], ...]] = {
    TEXT: _AUTHOR + _BODY,
    ACTION: _AUTHOR + _BODY,
    PRIVATE: _AUTHOR + (("to", _raw(8)), ("to_name", _STRING)) + _BODY,
    JOINED: _MEMBER,
    LEFT: _MEMBER,
    NOTICE: (_TIME,) + _BODY,
    STARTED: (_TIME,) + _BODY,
    UNDELIVERED: (_TIME, ("number", _number(4))),
    SKIP: (_TIME, ("count", _number(8)), ("why", _number(1))),
}


def encode_entry(entry: Entry) -> bytes:
    """Encode one entry, as it stands in the log and in every batch."""
    mark = entry.kind | FIRST * entry.first | LAST * entry.last
    fields = _ENTRY_LAYOUTS[entry.kind]
    return b"".join([bytes((mark,))] + [put(getattr(entry, name)) for name, (put, _) in fields])


_PART = struct.Struct(">BQ8sI")


def encode_part(
    mark: int, at: int, author: bytes, number: int, name: str, text: bytes, to: bytes = b"", to_name: str = ""
) -> bytes:
    """Encode a TEXT, ACTION, PRIVATE or UNDELIVERED entry as encode_entry() does, several times as fast."""
    if mark & KIND_BITS == UNDELIVERED:
        return bytes((mark,)) + at.to_bytes(8, "big") + number.to_bytes(4, "big")
    recipient = to + encode_string(to_name) if to else b""
    return b"".join(
        (_PART.pack(mark, at, author, number), encode_string(name), recipient, len(text).to_bytes(2, "big"), text)
    )


def _take_entry(reader: Reader, mark: int) -> Entry:
    fields = _ENTRY_LAYOUTS.get(mark & KIND_BITS)
    if fields is None:
        raise MalformedDatagram("entry kind")
    values = {name: take(reader) for name, (_, take) in fields}
    return Entry(mark & KIND_BITS, first=bool(mark & FIRST), last=bool(mark & LAST), **values)


def decode_entry(data: bytes) -> Entry:
    """Decode one entry; raises MalformedDatagram."""
    reader = Reader(data)
    return _take_entry(reader, reader.number(1))


class RunReader:
    """Collects the parts of long texts."""

    def __init__(self) -> None:
        """No text has begun."""
        self._parts: List[str] = []

    def read(self, entry: Entry) -> Optional[str]:
        """Take an entry with text; return the whole text when it was the last part."""
        if entry.first:
            self._parts.clear()
        self._parts.append(entry.text)
        if not entry.last:
            return None
        text = "".join(self._parts)
        self._parts.clear()
        return text


MEMBERS_BYTES_MAX = DATAGRAM_BYTES_MAX - HEADER_BYTES - TAG_BYTES - 17  # For the rows of one MEMBERS datagram.
BATCH_HEAD_BYTES = 16
# What is left for entries in the larger of the two sealed forms, ENTRIES.
BATCH_BYTES_MAX = DATAGRAM_BYTES_MAX - HEADER_BYTES - TAG_BYTES - 49 - BATCH_HEAD_BYTES


def encode_batch(head: int, first: int, entries: bytes) -> bytes:
    """Encode consecutive entries, the first with the number ``first``, and the log's head."""
    return head.to_bytes(8, "big") + first.to_bytes(8, "big") + entries


def decode_batch(data: bytes) -> Tuple[int, List[Tuple[int, Entry]]]:
    """Decode a batch into the log's head and (number, entry) pairs; raises MalformedDatagram."""
    reader = Reader(data)
    head, number = reader.number(8), reader.number(8)
    entries = []
    while reader.left():
        mark = reader.number(1)
        if not mark:
            break
        entry = _take_entry(reader, mark)
        if not 0 < entry.count <= head - number + 1:
            raise MalformedDatagram("entry above the head")
        entries.append((number, entry))
        number += entry.count
    return head, entries


# --- the original program's protocol: UTF-8 text, one datagram each

CLASSIC_WELCOME, CLASSIC_WRONG = "Login berhasil!", "Password salah!"
CLASSIC = 1  # In the flags of a roster's row, and in the text of a JOINED: this member is not encrypted.
CLASSIC_TEXT = "not encrypted"


def encode_classic(text: str) -> List[bytes]:
    """Encode a text as datagrams of at most CLASSIC_BYTES_MAX bytes, cut between characters."""
    return split_bytes(text.encode("utf-8"), CLASSIC_BYTES_MAX)


def decode_classic_login(text: str) -> Optional[Tuple[str, str]]:
    """Return name and password of ``LOGIN name password``, or None."""
    words = text.split(" ", 2)
    return (words[1], words[2].rstrip("\r\n")) if len(words) == 3 and words[0] == "LOGIN" else None


def classic_line(entry: Entry, text: str) -> str:
    """Return what an original client is shown of an entry, ``text`` being the whole text of its run."""
    name, text = display_text(entry.name, " "), display_text(text)
    if entry.kind == PRIVATE:
        return "%s (private): %s" % (name, text)
    if entry.kind in (TEXT, ACTION):
        return "%s: %s" % (name, "* " + text if entry.kind == ACTION else text)
    if entry.kind == JOINED:
        return "-- %s joined" % name
    return "-- %s left" % name if entry.kind == LEFT else "-- " + text


# ======================================================================================================
# 5. Password login
# ======================================================================================================
# CPace (draft-irtf-cfrg-cpace, suite CPACE-X25519-SHA512, initiator and responder): both sides derive a
# generator from the password and meet in a Diffie-Hellman exchange on it.  Who does not know the password
# learns nothing from one exchange but whether one guess was right.  Curve25519 as in RFC 7748.

_P = 2**255 - 19
_A = 486662
_DSI = b"CPace255"
_HASH_BLOCK_BYTES = 128  # SHA-512's.
_CI = b"\x14SamsungChat 1 client\x14SamsungChat 1 server"


def x25519(scalar: bytes, point: bytes) -> bytes:
    """Multiply a point (u-coordinate, 32 bytes) by a scalar (32 bytes): RFC 7748, section 5.

    Every other reduction is only a fold, 2**255 being 19: half the time of a division, and few bits too many.
    """
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
    if swapped == "1":
        x2, z2 = x3, z3
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
    zeros = max(0, _HASH_BLOCK_BYTES - 1 - len(_lv(password)) - len(_lv(_DSI)))
    seed = _lv(_DSI) + _lv(password) + _lv(bytes(zeros)) + _lv(channel) + _lv(sid)
    return _elligator2(hashlib.sha512(seed).digest()[:32])


def cpace_key(scalar: bytes, share: bytes, sid: bytes, transcript: bytes) -> bytes:
    """Return the intermediate session key (64 bytes); raises MalformedDatagram on a low-order share.

    ``share`` is the peer's; ``transcript`` is lv(Ya) lv(ADa) lv(Yb) lv(ADb), the draft's transcript_ir.
    """
    shared = x25519(scalar, share)
    # SECURITY: test_a_low_order_share_aborts_the_login
    if not any(shared):
        raise MalformedDatagram("low-order share")
    return hashlib.sha512(_lv(_DSI + b"_ISK") + _lv(sid) + _lv(shared) + transcript).digest()


def cpace_transcript(share_a: bytes, data_a: bytes, share_b: bytes, data_b: bytes) -> bytes:
    """Join both shares and their associated data, the initiator's first."""
    return _lv(share_a) + _lv(data_a) + _lv(share_b) + _lv(data_b)


class Exchange:
    """One side of one login: draws a secret, shows its share, and derives the session key."""

    def __init__(self, password: bytes, sid: bytes, secret: bytes) -> None:
        """``secret`` is 32 random bytes; ``sid`` the client's nonce and the server's cookie."""
        self._sid = sid
        self._secret = secret
        self.share = x25519(secret, cpace_generator(password, _CI, sid))

    def start(self, peer_share: bytes, session: bytes) -> bytes:
        """Return the key as the client, from the server's share; raises MalformedDatagram."""
        return self._key(peer_share, self.share, peer_share, session)

    def finish(self, peer_share: bytes, session: bytes) -> bytes:
        """Return the key as the server, from the client's share; raises MalformedDatagram."""
        return self._key(peer_share, peer_share, self.share, session)

    def _key(self, peer_share: bytes, share_a: bytes, share_b: bytes, session: bytes) -> bytes:
        data_a = bytes((VERSION_BYTE, TYPE_CODES[Login]))
        data_b = bytes((VERSION_BYTE, TYPE_CODES[Keys])) + session
        return cpace_key(self._secret, peer_share, self._sid, cpace_transcript(share_a, data_a, share_b, data_b))


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
        """Nothing was seen."""
        self.highest = 0
        self._seen = 0

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

    __slots__ = ("id", "sent", "newest", "_header", "sealer", "_seal_key", "_open_key", "_opener", "_window")

    def __init__(self, session: bytes, key: bytes, server: bool) -> None:
        """Derive the keys from the login's ``key`` (64 bytes); ``session`` (4 bytes) names it on the wire."""

        def derive(label: bytes) -> bytes:
            return hashlib.blake2b(label, key=key, digest_size=32).digest()

        # SECURITY: test_a_datagram_cannot_be_reflected_to_its_sender
        ours, theirs = (
            (b"server to client", b"client to server") if server else (b"client to server", b"server to client")
        )
        self.id = session
        self.sent = 0
        self.newest = False
        self._seal_key, self._open_key = derive(ours + b" encrypt"), derive(theirs + b" encrypt")
        self.sealer = hashlib.blake2b(key=derive(ours + b" tag"), digest_size=TAG_BYTES)
        self._opener = hashlib.blake2b(key=derive(theirs + b" tag"), digest_size=TAG_BYTES)
        self._window = ReplayWindow()

    @property
    def highest(self) -> int:
        """The highest counter that was opened."""
        return self._window.highest

    def seal(self, message: Any) -> bytes:
        """Encrypt and tag a message with the next counter."""
        self.sent += 1
        counter = self.sent.to_bytes(8, "big")
        return self._tagged(TYPE_CODES[type(message)], counter, xor_stream(self._seal_key, counter, encode(message)))

    def tag_keys(self, message: Keys) -> bytes:
        """Return KEYS: readable, with counter 0, its tag proving that both sides have the same key."""
        return self._tagged(TYPE_CODES[Keys], bytes(8), encode(message))

    def _tagged(self, code: int, counter: bytes, body: bytes) -> bytes:
        header = bytes((VERSION_BYTE, code)) + self.id + counter
        return header + body + self._tag(self.sealer, header + body_digest(body))

    def open(self, datagram: bytes) -> Any:
        """Return the message of a sealed datagram; raises MalformedDatagram: forged, replayed, malformed.

        Sets ``newest``: whether its counter is the highest so far.  A Room's body stays encrypted.
        """
        body = self.verify(datagram)
        counter = datagram[6:HEADER_BYTES]
        self.newest = self._window.accept(int.from_bytes(counter, "big"))
        if datagram[1] != TYPE_CODES[Room]:
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


def tag_for_all(members: Sequence[Tuple[Any, Session]], bodies: Sequence[bytes]) -> List[Tuple[Any, List[bytes]]]:
    """Tag shared ROOM bodies for each (address, session): (address, [header, body, tag, header, ...]).

    The hot loop of the program; what a member does not need of its own is done once, before it.
    """
    start = bytes((VERSION_BYTE, TYPE_CODES[Room]))
    digests = [(body, body_digest(body)) for body in bodies]
    recipients = []
    for address, session in members:
        prefix, base, counter = start + session.id, session.sealer, session.sent
        pieces: List[bytes] = []
        for body, digest in digests:
            counter += 1
            header = prefix + counter.to_bytes(8, "big")
            tagger = base.copy()
            tagger.update(header + digest)
            pieces += (header, body, tagger.digest())
        session.sent = counter
        recipients.append((address, pieces))
    return recipients


class RoomKey:
    """The key that all members share for ROOM bodies; a new one is drawn when somebody leaves."""

    def __init__(self, key_id: int, key: bytes) -> None:
        """``key`` is 32 random bytes, ``key_id`` its name on the wire."""
        self.id = key_id
        self.key = key
        self._nonce = 0

    def seal(self, batch: bytes) -> bytes:
        """Return a ROOM body under the next nonce."""
        self._nonce += 1
        nonce = self._nonce.to_bytes(8, "big")
        return encode(Room(self.id, nonce, xor_stream(self.key, nonce, batch)))


@dataclass(frozen=True)
class Datagram:
    """Bytes on their way to an address."""

    data: bytes
    address: Any


@dataclass(frozen=True)
class Fanout:
    """Datagrams of one size each to many members: (address, [header, body, tag, header, body, tag, ...])."""

    sizes: Tuple[int, ...]
    recipients: List[Tuple[Any, List[bytes]]]

    def datagrams(self) -> Iterator[Datagram]:
        """Write every datagram out, one by one."""
        for address, pieces in self.recipients:
            for at in range(0, len(pieces), 3):
                yield Datagram(b"".join(pieces[at : at + 3]), address)


# ======================================================================================================
# 7. Room log
# ======================================================================================================
# Append-only and numbered 1, 2, 3, ...  An entry is encoded once.  There are two logs of one contract: in
# memory, and in a file, which keeps the newest entries in memory too and everything in SQLite.


class Record:
    """An entry as the log keeps it: its bytes, and what the server needs to know without decoding them."""

    __slots__ = ("data", "time", "author", "number", "audience")

    def __init__(
        self, data: bytes, time: int, author: bytes, number: int, audience: Optional[Tuple[bytes, ...]] = None
    ) -> None:
        """``audience`` holds the member ids that may see the entry; None is everybody."""
        self.data = data
        self.time = time
        self.author = author
        self.number = number
        self.audience = audience

    def visible(self, reader: Optional[bytes]) -> bool:
        """Return whether that member id (None: the public) may see it."""
        return self.audience is None or reader in self.audience

    def first(self) -> bool:
        """Return whether a run begins here."""
        return bool(self.data[0] & FIRST)

    def public_message(self) -> bool:
        """Return whether something that all may see begins here: what a newcomer is shown so many of."""
        return self.data[0] & KIND_BITS in (TEXT, ACTION, NOTICE) and self.first()


class MemoryLog:
    """The log in memory: keeps the newest entries, by LOG_ENTRIES_MIN, LOG_SECONDS_MIN and LOG_BYTES_MAX."""

    def __init__(self, began: int, head: int = 0) -> None:
        """``began`` is the time (ms) before which it holds nothing; the first entry is number head + 1."""
        self.began = began
        self.head = head
        self._records: Dict[int, Record] = {}
        self._taken: Dict[bytes, int] = {}
        self._bytes = 0

    @property
    def oldest(self) -> int:
        """The lowest number that is kept, or head + 1 where there is none."""
        return self.head - len(self._records) + 1

    def append(self, records: Sequence[Record]) -> None:
        """Number the records; they belong together and are trimmed together if they are a run."""
        for record in records:
            self.head += 1
            self._records[self.head] = record
            self._bytes += len(record.data)
            if record.number:
                self._taken[record.author] = record.number

    def commit(self) -> None:
        """Make everything appended permanent; then the oldest may go."""
        newest = self._records[self.head].time if self._records else 0
        while self._records and self._too_much(newest):
            self._drop_oldest()
            while self._records and not self._records[self.oldest].first():
                self._drop_oldest()

    def _too_much(self, newest: int) -> bool:
        if self._bytes > LOG_BYTES_MAX:
            return True
        return (
            len(self._records) > LOG_ENTRIES_MIN and newest - self._records[self.oldest].time > LOG_SECONDS_MIN * 1000
        )

    def _drop_oldest(self) -> None:
        record = self._records.pop(self.oldest)
        self._bytes -= len(record.data)
        if record.number and self._taken.get(record.author) == record.number:
            del self._taken[record.author]

    def records(self, first: int, last: int) -> Iterator[Record]:
        """Yield the records from ``first`` to ``last``, all of which are kept."""
        for number in range(first, last + 1):
            yield self._records[number]

    def taken(self, author: bytes) -> int:
        """Return the author's highest number among the entries, or 0."""
        return self._taken.get(author, 0)

    def agrees(self, cursor: int, entry_time: int) -> bool:
        """Return whether a reader whose entry ``cursor`` is of that time has read this log and no other."""
        if not 0 <= cursor <= self.head:
            return False
        if cursor < self.oldest:
            return self.began <= entry_time
        return self._records[cursor].time == entry_time

    def time_at(self, cursor: int) -> int:
        """Return the time with which a reader agrees whose cursor is set there."""
        return self._records[cursor].time if self.oldest <= cursor <= self.head else self.began

    def start(self, earlier: int, before: int) -> int:
        """Return the cursor that has the last ``earlier`` public messages below ``before`` ahead of it."""
        top = min(before - 1, self.head)
        start, lowest = top, max(self.oldest, top - EARLIER_SEARCH_MAX + 1)
        for number in range(top, lowest - 1, -1):
            if not earlier:
                break
            if self._records[number].public_message():
                start, earlier = number - 1, earlier - 1
        return start

    def forget(self, now: int) -> None:
        """Drop what is older than it may get: nothing here, where commit() does it."""

    def close(self) -> None:
        """Give up what it holds."""


_APPLICATION_ID = 0x53434C31  # "SCL1": marks a file as ours.
_SCHEMA_VERSION = 1
_SCHEMA = """
    CREATE TABLE room (began INTEGER NOT NULL);
    CREATE TABLE entries (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, author BLOB NOT NULL, number INTEGER NOT NULL,
        audience BLOB, public INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE INDEX numbers ON entries (author, number) WHERE number > 0;
    CREATE INDEX messages ON entries (seq) WHERE public;
"""


class SqliteLog:
    """The log in a file: what commit() has returned for is there after a crash and after a power cut.

    WAL with a full sync for each commit; all entries of one flush are one transaction.  A second database
    beside it, ``FILE-lock``, is held locked, so that no two servers write to one file; the system frees it
    however a server ends.  Readers, such as an export, may come at any time.
    """

    def __init__(self, path: str, began: int, keep_days: int = 0) -> None:
        """Open or make the file; ``began`` (ms) is for a new one, ``keep_days`` 0 keeps everything.

        Raises UsageError with a sentence: not ours, damaged, newer, read-only, full, or in use.
        """
        self._path = path
        self._keep = keep_days * 86_400_000
        self._forgot_at = 0
        self._pending: List[Tuple[int, Record]] = []
        try:
            self._check()
            self._lock = self._connect(path + "-lock")
            self._lock.execute("BEGIN EXCLUSIVE")
            self._database = self._connect(path)
            self._prepare(began)
        except (sqlite3.Error, UnicodeDecodeError) as fault:
            raise UsageError(history_failure(fault, path)) from None
        self.began = int(self._one("SELECT began FROM room"))
        head = int(self._one("SELECT seq FROM sqlite_sequence WHERE name = 'entries'"))
        self._oldest = int(self._one("SELECT min(seq) FROM entries")) or head + 1
        self._recent = MemoryLog(self.began, head)

    @staticmethod
    def _connect(path: str) -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)

    def _check(self) -> None:
        """Look at the file without changing it; raises UsageError and sqlite3.Error."""
        database = self._connect(self._path)
        try:
            mark = database.execute("PRAGMA application_id").fetchone()[0]
            version = database.execute("PRAGMA user_version").fetchone()[0]
            tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if tables and mark != _APPLICATION_ID:
                raise UsageError("%s is not a history of SamsungChat; choose another file." % self._path)
            if version > _SCHEMA_VERSION:
                raise UsageError("%s was written by a newer version; use that one, or another file." % self._path)
            if database.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("malformed")
        finally:
            database.close()

    def _prepare(self, began: int) -> None:
        database = self._database
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            database.execute("PRAGMA " + pragma).fetchall()
        database.execute("BEGIN IMMEDIATE")
        if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                database.execute(statement)
            database.execute("INSERT INTO room VALUES (?)", (began,))
            database.execute("PRAGMA application_id = %d" % _APPLICATION_ID)
            database.execute("PRAGMA user_version = %d" % _SCHEMA_VERSION)
        database.execute("COMMIT")

    def _one(self, query: str, *values: Any) -> int:
        """Return the first number that a query finds, or 0."""
        row = self._database.execute(query, values).fetchone()
        return int(row[0] or 0) if row else 0

    @property
    def head(self) -> int:
        """The newest number, appended or committed."""
        return self._recent.head

    @property
    def oldest(self) -> int:
        """The lowest number that is kept, or head + 1 where there is none."""
        return self._oldest

    def append(self, records: Sequence[Record]) -> None:
        """Number the records; commit() writes them."""
        self._pending += enumerate(records, self.head + 1)
        self._recent.append(records)

    def commit(self) -> None:
        """Write everything appended in one transaction; raises LogFailure, and may then be tried again."""
        if self._pending:
            try:
                self._write()
            except sqlite3.Error as fault:
                if self._database.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        self._database.execute("ROLLBACK")
                raise LogFailure(history_failure(fault, self._path)) from None
            self._pending.clear()
        self._recent.commit()

    def _write(self) -> None:
        rows = [
            (
                *(number, record.time, record.author, record.number),
                *(None if record.audience is None else b"".join(record.audience), record.public_message(), record.data),
            )
            for number, record in self._pending
        ]
        self._database.execute("BEGIN IMMEDIATE")
        self._database.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        self._database.execute("COMMIT")

    def records(self, first: int, last: int) -> Iterator[Record]:
        """Yield the records from ``first`` to ``last``, all of which are kept."""
        while first <= last and first < self._recent.oldest:
            top = min(last, self._recent.oldest - 1, first + HISTORY_ROWS - 1)
            for row in self._database.execute(_SELECT_RECORDS, (first, top)).fetchall():
                yield _record(*row)
            first = top + 1
        yield from self._recent.records(first, last)

    def taken(self, author: bytes) -> int:
        """Return the author's highest number among the entries, or 0."""
        written = self._one("SELECT max(number) FROM entries WHERE author = ? AND number > 0", author)
        return max(self._recent.taken(author), written)

    def agrees(self, cursor: int, entry_time: int) -> bool:
        """Return whether a reader whose entry ``cursor`` is of that time has read this log and no other."""
        if not 0 <= cursor <= self.head:
            return False
        if cursor < self._oldest:
            return self.began <= entry_time
        return self.time_at(cursor) == entry_time

    def time_at(self, cursor: int) -> int:
        """Return the time with which a reader agrees whose cursor is set there."""
        if cursor >= self._recent.oldest:
            return self._recent.time_at(cursor)
        return self._one("SELECT time FROM entries WHERE seq = ?", cursor) or self.began

    def start(self, earlier: int, before: int) -> int:
        """Return the cursor that has the last ``earlier`` public messages below ``before`` ahead of it."""
        if not earlier:
            return min(before - 1, self.head)
        first = self._one(
            "SELECT seq FROM entries WHERE public AND seq < ? ORDER BY seq DESC LIMIT 1 OFFSET ?", before, earlier - 1
        )
        return first - 1 if first else min(self._oldest, before) - 1

    def forget(self, now: int) -> None:
        """Drop what is older than ``keep_days``, in whole runs, but never the newest entry."""
        if not self._keep or now < self._forgot_at + FORGET_SECONDS * 1000:
            return
        self._forgot_at = now
        query = "SELECT min(seq) FROM entries WHERE time >= ? AND substr(data, 1, 1) >= x'40'"
        kept = self._one(query, now - self._keep) or self._recent.oldest
        kept = min(kept, self._recent.oldest, self.head)
        with contextlib.suppress(sqlite3.Error):  # A full disk: the next look finds them again.
            self._database.execute("DELETE FROM entries WHERE seq < ?", (kept,))
            self._oldest = max(self._oldest, kept)

    def close(self) -> None:
        """Close the file and free it for another server."""
        self._database.close()
        self._lock.close()


_SELECT_RECORDS = "SELECT data, time, author, number, audience FROM entries WHERE seq BETWEEN ? AND ? ORDER BY seq"


def _record(data: bytes, at: int, author: bytes, number: int, audience: Optional[bytes]) -> Record:
    """Make a record from a row of the file."""
    readers = None if audience is None else tuple(audience[start : start + 8] for start in range(0, len(audience), 8))
    return Record(data, at, author, number, readers)


def history_failure(fault: Union[sqlite3.Error, UnicodeDecodeError], path: str) -> str:
    """Return the sentence for a history that cannot be opened or written.

    A complaint that quotes damaged bytes is no UTF-8: sqlite3 then says nothing (Python 3.8), or fails to decode it.
    """
    reason = "malformed" if isinstance(fault, UnicodeDecodeError) or not str(fault) else str(fault).lower()
    for word, sentence in (
        ("locked", "%s is in use by another server; stop that one, or choose another file."),
        ("readonly", "%s is read-only; make it writable, or choose another file."),
        ("full", "The disk of %s is full; make room on it."),
        ("unable to open", "%s cannot be opened; check the folder and your rights to it."),
        ("not a database", "%s is not a history of SamsungChat; choose another file."),
        ("malformed", "%s is damaged; put a copy back in its place, or choose another file."),
    ):
        if word in reason:
            return sentence % path
    return "%s cannot be used: %s." % (path, fault)


def read_history(path: str) -> Iterator[Tuple[int, Entry]]:
    """Yield every (number, entry) of a history file, also while a server writes to it; raises UsageError."""
    log: Optional[sqlite3.Connection] = None
    try:
        place = pathlib.Path(path).resolve().as_uri() + "?mode=ro"
        log = sqlite3.connect(place, uri=True)
        if log.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
            raise UsageError("%s is not a history of SamsungChat." % path)
        for number, data in log.execute("SELECT seq, data FROM entries ORDER BY seq"):
            if not isinstance(number, int) or not isinstance(data, bytes):
                raise MalformedDatagram("damaged row")
            yield number, decode_entry(data)
    except (sqlite3.Error, UnicodeDecodeError) as fault:
        raise UsageError(history_failure(fault, path)) from None
    except MalformedDatagram:
        raise UsageError("%s is damaged; what came before this line could be read." % path) from None
    finally:
        if log is not None:
            log.close()


Log = Union[MemoryLog, SqliteLog]


def _skip(count: int, why: int, at: int) -> Tuple[int, bytes]:
    return count, encode_entry(Entry(SKIP, at, count=count, why=why))


def _pieces(log: Log, after: int, until: int, reader: Optional[bytes]) -> Iterator[Tuple[int, bytes]]:
    """Yield (numbers covered, bytes) for the entries in (after, until], blanks in place of what is not to see."""
    gone = min(until, log.oldest - 1) - after
    if gone > 0:
        yield _skip(gone, TRIMMED, log.began)
    blank = blank_time = 0
    for record in log.records(max(after + 1, log.oldest), until):
        # SECURITY: test_a_private_message_reaches_nobody_else
        if not record.visible(reader):
            blank, blank_time = blank + 1, record.time
            continue
        if blank:
            yield _skip(blank, HIDDEN, blank_time)
            blank = 0
        yield 1, record.data
    if blank:
        yield _skip(blank, HIDDEN, blank_time)


def batches(log: Log, after: int, until: int, reader: Optional[bytes], most: int) -> List[Tuple[int, int, bytes]]:
    """Cut the entries in (after, until], as that reader may see them, into at most ``most`` batches.

    Each is (first number, last number, entries), and fits a datagram.
    """
    cut: List[Tuple[int, int, bytes]] = []
    pieces: List[bytes] = []
    first, number, size = after + 1, after, 0
    for count, data in _pieces(log, after, until, reader):
        if size + len(data) > BATCH_BYTES_MAX:
            cut.append((first, number, b"".join(pieces)))
            if len(cut) == most:
                return cut
            pieces, first, size = [], number + 1, 0
        pieces.append(data)
        size += len(data)
        number += count
    if pieces:
        cut.append((first, number, b"".join(pieces)))
    return cut


# ======================================================================================================
# 8. Delivery
# ======================================================================================================
# When to repeat, how fast to take, how long the way is.  Each is told the time and keeps none of its own.


class RoundTrip:
    """Estimates the round-trip time and from it when to repeat: RFC 6298, section 2."""

    __slots__ = ("seconds", "_deviation")

    def __init__(self) -> None:
        """Nothing was measured."""
        self.seconds = 0.0
        self._deviation = 0.0

    def measure(self, sample: float) -> None:
        """Note one round trip, in seconds."""
        if not self.seconds:
            self.seconds, self._deviation = sample, sample / 2
        else:
            self._deviation += (abs(sample - self.seconds) - self._deviation) / 4
            self.seconds += (sample - self.seconds) / 8

    def retry_seconds(self) -> float:
        """Return how long to wait for an answer before the first repeat."""
        if not self.seconds:
            return RETRY_SECONDS
        return min(max(self.seconds + 4 * self._deviation, RETRY_SECONDS_MIN), RETRY_SECONDS_MAX)


class TokenBucket:
    """Allows ``rate`` tokens a second and bursts of ``burst``; a rate of 0 allows everything."""

    __slots__ = ("_rate", "_burst", "_tokens", "_at")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        """A new bucket is full."""
        self._rate, self._burst, self._tokens, self._at = rate, burst, float(burst), now

    def take(self, count: int, now: float) -> bool:
        """Take ``count`` tokens if they are there."""
        if not self._rate:
            return True
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < count:
            return False
        self._tokens -= count
        return True

    def give(self, count: int) -> None:
        """Put tokens back."""
        self._tokens = min(self._burst, self._tokens + count)

    def ready_at(self, count: int) -> float:
        """Return when ``count`` tokens will be there, after a take() that failed."""
        return self._at + (count - self._tokens) / self._rate

    def full(self, now: float) -> bool:
        """Return whether nothing is missing."""
        return self._tokens + (now - self._at) * self._rate >= self._burst


class Timer:
    """A timer that is drawn from [t, 2t], so that a thousand clients do not move in step, and backs off."""

    __slots__ = ("at", "most", "_entropy", "_seconds")

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        """Start unarmed: ``at`` is None."""
        self.at: Optional[float] = None
        self._entropy = entropy
        self.most = self._seconds = 0.0

    def start(self, now: float, seconds: float, most: float, at_once: bool = False) -> None:
        """Arm it for ``seconds``, or for now; each again() takes twice as long as the one before, up to ``most``."""
        self._seconds, self.most = seconds, most
        if at_once:
            self.at = now
        else:
            self.again(now)

    def again(self, now: float) -> None:
        """Arm it once more."""
        self.at = now + random_draw(self._entropy, self._seconds, 2 * self._seconds)
        self._seconds = min(self._seconds * 2, self.most)

    def stop(self) -> None:
        """Disarm it; again() goes on where it was."""
        self.at = None

    def due(self, now: float) -> bool:
        """Return whether its time has come."""
        return self.at is not None and now >= self.at


def earliest(*instants: Optional[float]) -> Optional[float]:
    """Return the earliest of the instants that are armed, or None."""
    return min((at for at in instants if at is not None), default=None)


# ======================================================================================================
# 9. Server
# ======================================================================================================
# The room as a value: datagrams, commands and the time go in; datagrams and events come out.  Order of trust
# for every datagram: length, kind, session, open, replay window, act, and only then believe its address.
# What arrives in one turn of the loop is taken, numbered and handed out together, in tick().


@dataclass(frozen=True)
class MemberArrived:
    """Somebody has joined the room, or (``resumed``) is back under an old name without having left."""

    name: str
    address: Any
    resumed: bool
    members: int


@dataclass(frozen=True)
class MemberDeparted:
    """Somebody has left the room: "left", "timed out", "kicked" or "superseded"."""

    name: str
    why: str
    members: int


@dataclass(frozen=True)
class LoginRefused:
    """Somebody who knows the password was not admitted."""

    name: str
    address: Any
    code: str


@dataclass(frozen=True)
class LoginAbandoned:
    """A login was begun and not completed: the password was wrong, or the connection broke."""

    address: Any


@dataclass(frozen=True)
class ClassicTried:
    """An original client has tried to log in where they are not admitted; reported once for each address."""

    address: Any


@dataclass(frozen=True)
class HistoryStuck:
    """The history cannot be written, for the reason given; "" when it goes on."""

    reason: str


@dataclass(frozen=True)
class MemberRow:
    """What the server's own screen shows of a member; ``joined_at`` is seconds since 1970."""

    name: str
    address: Any
    rtt_ms: int
    messages: int
    joined_at: float
    classic: bool = False


@dataclass(frozen=True)
class ServerReport:
    """The state of the room, as asked for with report()."""

    members: Tuple[MemberRow, ...]
    members_max: int
    entries: int
    dropped: Tuple[Tuple[str, int], ...]


class Member:
    """One member as the server knows it: its session, its cursor, and what it has sent."""

    __slots__ = (
        *("id", "name", "key", "session", "address", "attempt", "welcome", "joined", "joined_at", "row"),
        *("cursor", "taken", "early", "bucket", "heard_at", "sync", "echo", "told", "rtt_ms", "messages"),
    )

    def __init__(
        self, member: bytes, name: str, bucket: TokenBucket, taken: int, joined: int, joined_at: float
    ) -> None:
        """``joined`` is the number of its JOINED entry; its session is given by admit()."""
        self.id = member
        self.name = name
        self.key = name_key(name)
        self.bucket = bucket
        self.taken = self.told = taken  # Taken into the log; written there for good.
        self.joined = joined
        self.joined_at = joined_at
        self.row = encode_row(Row(joined, member, 0, name))
        self.early: Dict[int, Submission] = {}
        self.sync: Optional[Sync] = None
        self.echo = self.rtt_ms = self.messages = 0

    def admit(self, login: "HalfOpen", attempt: int, welcome: Welcome, now: float) -> None:
        """Give it the session of a login; an earlier session of the same instance ends with that."""
        self.session = login.session
        self.address = login.address
        self.attempt = attempt
        self.welcome = welcome
        self.cursor = 0
        self.sync = None
        self.heard_at = now

    def next_run(self) -> List[Submission]:
        """Return the parts of its next message, if all have come; raises MalformedDatagram if they never fit."""
        run: List[Submission] = []
        part = self.early.get(self.taken + 1)
        while part is not None:
            run.append(part)
            fits = bool(part.kind & FIRST) == (len(run) == 1) and part.kind & KIND_BITS == run[0].kind & KIND_BITS
            if not fits or len(run) > RUN_PARTS_MAX or part.to != run[0].to:
                self.early.clear()
                raise MalformedDatagram("parts that are no message")
            if part.kind & LAST:
                return run
            part = self.early.get(self.taken + 1 + len(run))
        return []


class ClassicMember:
    """A member who uses the original program: an address, without keys, cursor or receipts."""

    __slots__ = ("id", "name", "key", "address", "bucket", "taken", "joined", "joined_at", "heard_at", "messages")

    def __init__(self, member: bytes, name: str, address: Any, bucket: TokenBucket, now: float) -> None:
        """``member`` is a member id that was drawn for it."""
        self.id = member
        self.name = name
        self.key = name_key(name)
        self.address = address
        self.bucket = bucket
        self.taken = self.joined = self.messages = 0
        self.joined_at = 0.0
        self.heard_at = now


class HalfOpen:
    """A login between LOGIN and PROOF."""

    __slots__ = ("session", "address", "question", "answer", "expires_at", "refusal", "proven")

    def __init__(self, session: Session, address: Any, question: Tuple[Any, bytes], answer: bytes, now: float) -> None:
        """``question`` and ``answer`` are the LOGIN and the KEYS, for when the LOGIN is repeated."""
        self.session = session
        self.address = address
        self.question = question
        self.answer = answer
        self.expires_at = now + HALF_OPEN_SECONDS
        self.refusal: Optional[Refused] = None
        self.proven = False


@dataclass(frozen=True)
class Contest:
    """A newcomer who waits to see whether the holder of a name is still there."""

    login: HalfOpen
    proof: Proof
    address: Any
    holder: bytes
    started_at: float


_SERVER_TYPES = frozenset(TYPE_CODES[kind] for kind in (Offer, Later, Keys, Welcome, Refused, Entries, Room, Members))


class Server:
    """The room.  Inputs: receive, tick, say, kick, report, close.  Outputs: outgoing, events, deadline, done."""

    def __init__(
        self,
        log: Log,
        password: str,
        entropy: Callable[[int], bytes],
        now: float,
        epoch: float,
        room: str = ROOM,
        members_max: int = MEMBERS_MAX,
        rate: float = RATE_PARTS,
        classic: bool = False,
    ) -> None:
        """``entropy`` returns so many random bytes; ``epoch`` is the wall clock's seconds at now = 0.

        The owner keeps ``epoch`` true when the wall clock is set.  ``classic`` admits the original program's
        clients, who are not encrypted.
        """
        self.epoch = epoch
        self.room = room
        self.members_max = members_max
        self.rate = rate
        self.done = False
        self.dropped: Dict[str, int] = collections.Counter()
        self._log = log
        self._password = password_bytes(password)
        self._entropy = entropy
        self._id = entropy(8)
        self._cookie_key = entropy(32)
        self._room_key = RoomKey(1, entropy(32))
        self._rekey = False
        self._members: Dict[bytes, Member] = {}
        self._names: Dict[str, Union[Member, ClassicMember]] = {}
        self._classic = classic
        self._classics: Dict[Any, ClassicMember] = {}
        self._classic_seen: Dict[str, None] = {}
        self._classic_runs = RunReader()
        self._sessions: Dict[bytes, Member] = {}
        self._half_open: Dict[bytes, HalfOpen] = {}
        self._questions: Dict[Tuple[Any, bytes], HalfOpen] = {}
        self._ended: Dict[bytes, Tuple[Session, Bye, float]] = {}
        self._logins: Dict[Tuple[Any, bytes], None] = {}
        self._contests: Dict[bytes, Contest] = {}
        self._addresses: Dict[str, TokenBucket] = {}
        self._bans: Dict[Union[bytes, str], float] = {}
        self._submitted: Dict[bytes, Member] = {}
        self._asked: Dict[bytes, Member] = {}
        self._outgoing: List[Union[Datagram, Fanout]] = []
        self._events: List[Any] = []
        self._took: Dict[bytes, Member] = {}
        self._pasts: Dict[bytes, Earlier] = {}
        self._flushed = log.head
        self._stuck = False
        self._write_at: Optional[float] = None
        self._ticked_at = now
        self._sweep_at = now + SWEEP_SECONDS
        self._take_at: Optional[float] = None
        self._ping_at: Optional[float] = None
        self._beats: List[float] = []
        self._closing: List[float] = []
        self._receivers: Dict[type, Callable[[Member, Any, float], None]] = {
            Proof: self._receive_repeated_proof,
            Sync: self._receive_sync,
            Who: self._receive_who,
            Earlier: self._receive_earlier,
            Bye: self._receive_bye,
        }
        self._append(Entry(STARTED, self._time(now), text="The room was opened."))
        log.commit()
        self._flushed = log.head

    # --- inputs

    def receive(self, datagram: bytes, address: Any, now: float) -> None:
        """Take a datagram from the network; what is not allowed is counted in ``dropped`` and has no effect."""
        try:
            self._receive(datagram, address, now)
        except MalformedDatagram as fault:
            self.dropped[str(fault)] += 1

    def tick(self, now: float) -> None:
        """Do what is due: expire, log in, take messages, answer, hand out, beat."""
        if now - self._ticked_at > SLEEP_SECONDS:
            for member in self._members.values():
                member.heard_at = now
        self._ticked_at = now
        if now >= self._sweep_at:
            self._sweep(now)
        self._decide_contests(now)
        self._start_logins(now)
        self._take(now)
        self._flush(now)
        self._answer_earlier()
        self._beat(now)
        self._say_closed(now)

    def say(self, text: str, now: float) -> None:
        """Announce something to all; raises UsageError."""
        parts = split_parts(clean_text(text))
        last, at = len(parts) - 1, self._time(now)
        notices = [
            Entry(NOTICE, at, text=part.decode("utf-8"), first=position == 0, last=position == last)
            for position, part in enumerate(parts)
        ]
        self._append(*notices)

    def kick(self, name: str, now: float) -> None:
        """Remove a member and keep its id and name out for BAN_SECONDS; raises UsageError."""
        member = self._names.get(name_key(name))
        if member is None:
            raise UsageError("Nobody here is called %s." % display_text(name, " "))
        for banned in (member.id, member.key):
            self._bans.pop(banned, None)
            self._bans[banned] = now + BAN_SECONDS
        while len(self._bans) > BANS_MAX:
            del self._bans[next(iter(self._bans))]
        if isinstance(member, ClassicMember):
            self._leave_classic(member, "kicked", now)
        else:
            self._leave(member, "kicked", Bye(KICKED), now)

    def report(self) -> None:
        """Ask for a ServerReport among the events."""
        rows = tuple(
            MemberRow(member.name, member.address, member.rtt_ms, member.messages, member.joined_at)
            for member in self._members.values()
        ) + tuple(
            MemberRow(member.name, member.address, 0, member.messages, member.joined_at, True)
            for member in self._classics.values()
        )
        drops = tuple(sorted(self.dropped.items()))
        self._events.append(ServerReport(rows, self.members_max, self._flushed, drops))

    def close(self, now: float) -> None:
        """Tell the members that the room closes; ``done`` turns true shortly after."""
        if not self._closing:
            self._closing = [now + seconds for seconds in CLOSE_SECONDS]

    # --- outputs

    def outgoing(self) -> List[Union[Datagram, Fanout]]:
        """Drain what is to be sent."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def events(self) -> List[Any]:
        """Drain what the owner should know."""
        events, self._events = self._events, []
        return events

    def deadline(self) -> Optional[float]:
        """Return when tick() is due without further input."""
        waiting = self._ticked_at + TURN_SECONDS if self._logins or self._asked or self._pasts else None
        beat = self._beats[0] if self._beats else None
        closing = self._closing[0] if self._closing else None
        return earliest(self._sweep_at, self._take_at, self._ping_at, self._write_at, beat, closing, waiting)

    # --- strangers: fixed-size fields, one hash, no answer larger than its question

    def _receive(self, datagram: bytes, address: Any, now: float) -> None:
        if self._closing:
            raise MalformedDatagram("closing")
        if datagram and datagram[0] < 0xF8:
            self._receive_classic(decode_text(datagram), address, now)
            return
        if len(datagram) < HEADER_BYTES:
            raise MalformedDatagram("foreign")
        code = datagram[1]
        if datagram[0] != VERSION_BYTE:
            self._advise(datagram, VERSION_MISMATCH, address)
        elif code == TYPE_CODES[Hello]:
            self._receive_hello(datagram, address, now)
        elif code == TYPE_CODES[Login]:
            self._receive_login(datagram, address, now)
        else:
            self._receive_sealed(datagram, address, now)

    def _send_stranger(self, answer: bytes, question: bytes, address: Any) -> None:
        # SECURITY: test_a_stranger_gets_no_answer_larger_than_its_question
        if len(answer) > len(question):
            raise MalformedDatagram("question shorter than its answer")
        self._outgoing.append(Datagram(answer, address))

    def _advise(self, datagram: bytes, code: str, address: Any) -> None:
        """Answer with LATER, in the asker's version; never what servers say, or two would talk for ever."""
        # SECURITY: test_two_servers_cannot_be_made_to_answer_each_other
        if datagram[1] in _SERVER_TYPES:
            raise MalformedDatagram("not for a server")
        nonce = datagram[2:18].ljust(16, b"\0")
        self._send_stranger(datagram[:1] + encode_unsealed(Later(nonce, code))[1:], datagram, address)

    def _receive_hello(self, datagram: bytes, address: Any, now: float) -> None:
        if len(datagram) != STRANGER_BYTES:
            raise MalformedDatagram("size of HELLO")
        nonce = decode(datagram[1], datagram[2:]).nonce
        cookie = self._cookie(address, nonce, int(now).to_bytes(4, "big"))
        offer = Offer(nonce, cookie, self._id, self._count(), self.members_max, self.room)
        self._send_stranger(encode_unsealed(offer), datagram, address)

    def _cookie(self, address: Any, nonce: bytes, stamp: bytes) -> bytes:
        place = repr(address[:2]).encode()
        return stamp + hashlib.blake2b(stamp + nonce + place, key=self._cookie_key, digest_size=16).digest()

    def _receive_login(self, datagram: bytes, address: Any, now: float) -> None:
        if len(datagram) != STRANGER_BYTES:
            raise MalformedDatagram("size of LOGIN")
        login = decode(datagram[1], datagram[2:])
        stamp = login.cookie[:4]
        # SECURITY: test_a_spoofed_address_costs_no_multiplication
        if not hmac.compare_digest(login.cookie, self._cookie(address, login.nonce, stamp)):
            raise MalformedDatagram("cookie")
        if not 0 <= int(now) - int.from_bytes(stamp, "big") <= COOKIE_SECONDS:
            raise MalformedDatagram("old cookie")
        question = (address, datagram)
        known = self._questions.get(question)
        if known is not None:
            self._send_stranger(known.answer, datagram, address)
        elif question not in self._logins:
            self._queue_login(question, now)

    def _queue_login(self, question: Tuple[Any, bytes], now: float) -> None:
        address, datagram = question
        waiting = len(self._logins)
        full = self._stuck or waiting >= LOGIN_QUEUE_MAX or waiting + len(self._half_open) >= HALF_OPEN_MAX
        # SECURITY: test_guessing_online_is_slow
        if full or not self._login_bucket(address, now).take(1, now):
            self._advise(datagram, TRY_LATER, address)
        else:
            self._logins[question] = None

    def _login_bucket(self, address: Any, now: float) -> TokenBucket:
        """Return the bucket of an address, an IPv6 one counted by its /64; an empty one when all are in use."""
        place = address_place(address[0])
        bucket = self._addresses.get(place)
        if bucket is None:
            bucket = TokenBucket(1 / LOGIN_SECONDS, LOGIN_BURST, now)
            if len(self._addresses) >= ADDRESSES_MAX:
                return TokenBucket(1 / LOGIN_SECONDS, 0, now)
            self._addresses[place] = bucket
        return bucket

    def _start_logins(self, now: float) -> None:
        for question in list(self._logins)[:LOGINS_PER_TURN]:
            del self._logins[question]
            try:
                self._start_login(question, now)
            except MalformedDatagram as fault:
                self.dropped[str(fault)] += 1

    def _start_login(self, question: Tuple[Any, bytes], now: float) -> None:
        address, datagram = question
        login = decode(datagram[1], datagram[2:])
        name = self._entropy(4)
        while name in self._sessions or name in self._half_open or name in self._ended:
            name = self._entropy(4)
        exchange = Exchange(self._password, login.nonce + login.cookie, self._entropy(32))
        session = Session(name, exchange.finish(login.share, name), server=True)
        answer = session.tag_keys(Keys(login.nonce, exchange.share))
        half = HalfOpen(session, address, question, answer, now)
        self._half_open[name] = self._questions[question] = half
        self._send_stranger(answer, datagram, address)

    # --- sealed datagrams

    def _receive_sealed(self, datagram: bytes, address: Any, now: float) -> None:
        name = datagram[2:6]
        member = self._sessions.get(name)
        if member is None:
            self._receive_half_open(name, datagram, address, now)
            return
        message = member.session.open(datagram)
        newest = member.session.newest
        member.heard_at = now
        receiver = self._receivers.get(type(message))
        if receiver is None:
            raise MalformedDatagram("not for a server")
        receiver(member, message, now)
        # SECURITY: test_an_old_datagram_cannot_move_a_member
        if newest:
            member.address = address

    def _receive_half_open(self, name: bytes, datagram: bytes, address: Any, now: float) -> None:
        half = self._half_open.get(name)
        if half is not None:
            message = half.session.open(datagram)
            if not isinstance(message, Proof):
                raise MalformedDatagram("not yet a member")
            self._receive_proof(half, message, address, now)
        elif name in self._ended:
            session, bye, _ = self._ended[name]
            session.open(datagram)
            self._outgoing.append(Datagram(session.seal(bye), address))
        else:
            self._advise(datagram, UNKNOWN_SESSION, address)

    def _receive_proof(self, half: HalfOpen, proof: Proof, address: Any, now: float) -> None:
        if not half.proven:
            half.proven = True
            self._login_bucket(address, now).give(1)
        if half.session.newest:
            half.address = address
        if half.refusal is not None:
            self._outgoing.append(Datagram(half.session.seal(half.refusal), half.address))
        elif half.session.id not in self._contests and not self._stuck:
            self._admit(half, proof, now)

    def _receive_repeated_proof(self, member: Member, proof: Proof, now: float) -> None:
        self._send(member, replace(member.welcome, key_id=self._room_key.id, key=self._room_key.key))

    def _receive_sync(self, member: Member, sync: Sync, now: float) -> None:
        if sync.cursor > self._flushed:
            raise MalformedDatagram("cursor above the head")
        member.cursor = max(member.cursor, sync.cursor)
        member.rtt_ms = sync.rtt_ms
        for message in sync.messages:
            if member.taken < message.number <= member.taken + WINDOW_PARTS:
                member.early.setdefault(message.number, message)
                self._submitted[member.id] = member
        if member.session.newest:
            member.sync, member.echo = sync, member.session.highest
            self._asked[member.id] = member

    def _receive_who(self, member: Member, who: Who, now: float) -> None:
        # Members stand in the order in which they joined; their rows are encoded once.
        rows = [other.row for other in self._members.values() if other.joined > who.after]
        if self._classics:
            classics = [other for other in self._classics.values() if other.joined > who.after]
            rows = sorted(rows + [encode_row(Row(other.joined, other.id, CLASSIC, other.name)) for other in classics])
        page, size = 0, 0
        while page < len(rows) and size + len(rows[page]) <= MEMBERS_BYTES_MAX:
            size += len(rows[page])
            page += 1
        self._send(member, Members(self._flushed, who.after, page < len(rows), b"".join(rows[:page])))

    def _receive_earlier(self, member: Member, earlier: Earlier, now: float) -> None:
        if not 0 < earlier.before <= self._flushed + 1:
            raise MalformedDatagram("history above the head")
        self._pasts[member.id] = earlier

    def _receive_bye(self, member: Member, bye: Bye, now: float) -> None:
        self._send(member, Bye(""))
        self._leave(member, "left", Bye(""), now)

    # --- admission

    def _admit(self, half: HalfOpen, proof: Proof, now: float) -> None:
        """Let a newcomer in, refuse it, or ask the holder of its name whether it is still there."""
        ident = member_id(proof.instance)
        known = self._members.get(ident)
        if known is not None and proof.attempt < known.attempt:
            self.dropped["late attempt"] += 1
            return
        try:
            name = clean_name(proof.name)
        except UsageError as fault:
            self._refuse(half, proof.name, USERNAME_INVALID, str(fault))
            return
        holder = self._names.get(name_key(name))
        if isinstance(holder, ClassicMember):
            self._refuse(half, name, USERNAME_TAKEN)
        elif self._banned(ident, now) or self._banned(name_key(name), now):
            self._refuse(half, name, KICKED)
        elif holder is not None and holder is not known:
            self._contests[half.session.id] = Contest(half, replace(proof, name=name), half.address, holder.id, now)
            half.expires_at = now + HALF_OPEN_SECONDS
            self._ping_at = now
        elif known is None and self._count() >= self.members_max:
            self._refuse(half, name, ROOM_FULL)
        else:
            self._join(half, replace(proof, name=name), known, now)

    def _count(self) -> int:
        return len(self._members) + len(self._classics)

    def _banned(self, key: Union[bytes, str], now: float) -> bool:
        return self._bans.get(key, 0.0) > now

    def _refuse(self, half: HalfOpen, name: str, code: str, text: str = "") -> None:
        half.refusal = Refused(code, text or REFUSALS[code])
        self._outgoing.append(Datagram(half.session.seal(half.refusal), half.address))
        self._events.append(LoginRefused(name, half.address, code))

    def _decide_contests(self, now: float) -> None:
        """Ask the holders of contested names for a sign of life, and decide where they gave one or had time."""
        if self._ping_at is None or now < self._ping_at:
            return
        for name, contest in list(self._contests.items()):
            holder = self._members.get(contest.holder)
            # SECURITY: test_the_password_is_not_enough_to_evict_a_live_member
            if holder is not None and holder.heard_at > contest.started_at:
                del self._contests[name]
                self._refuse(contest.login, contest.proof.name, USERNAME_TAKEN)
            elif holder is None or now >= contest.started_at + GHOST_SECONDS:
                del self._contests[name]
                if holder is not None:
                    self._leave(holder, "superseded", Bye(SUPERSEDED), now)
                self._admit(contest.login, contest.proof, now)
            else:
                self._send(holder, self._entries(holder, ASK, b""))
        self._ping_at = now + GHOST_PING_SECONDS if self._contests else None

    def _join(self, half: HalfOpen, proof: Proof, known: Optional[Member], now: float) -> None:
        if known is not None and known.name != proof.name:
            self._leave(known, "left", Bye(""), now)
            known = None
        resumed, start = self._start(proof)
        head = self._flushed
        ident = member_id(proof.instance)
        member = known or self._new_member(ident, proof.name, now)
        member.taken = max(member.taken, proof.oldest - 1)
        member.told = max(member.told, proof.oldest - 1)
        if known is not None:
            del self._sessions[known.session.id]
        key = self._room_key
        count = self._count()
        welcome = Welcome(
            *(proof.name, ident, self.room, start, self._log.time_at(start), resumed),
            *(head, member.told, key.id, key.key, min(count, 0xFFFF)),
        )
        member.admit(half, proof.attempt, welcome, now)
        self._sessions[half.session.id] = member
        self._forget_login(half)
        self._send(member, welcome)
        self._events.append(MemberArrived(member.name, member.address, known is not None, count))

    def _start(self, proof: Proof) -> Tuple[bool, int]:
        """Return whether a client resumes, and the cursor it is to start from.

        A client whose log ended before ours began was here before a restart: all of ours is news to it.
        """
        if self._log.agrees(proof.cursor, proof.entry_time) and proof.cursor <= self._flushed:
            return True, proof.cursor
        if proof.entry_time and proof.entry_time < self._log.began:
            return False, self._log.oldest - 1
        return False, self._log.start(proof.earlier, self._flushed + 1)

    def _new_member(self, ident: bytes, name: str, now: float) -> Member:
        bucket = TokenBucket(self.rate, max(self.rate * RATE_SECONDS, RUN_PARTS_MAX), now)
        self._append(Entry(JOINED, self._time(now), ident, name=name))
        member = Member(ident, name, bucket, self._log.taken(ident), self._log.head, now + self.epoch)
        self._members[ident] = self._names[member.key] = member
        return member

    def _forget_login(self, half: HalfOpen) -> None:
        self._half_open.pop(half.session.id, None)
        self._questions.pop(half.question, None)

    def _leave(self, member: Member, why: str, bye: Optional[Bye], now: float) -> None:
        """Remove a member; with a ``bye`` its session answers with that for a while."""
        del self._members[member.id], self._names[member.key], self._sessions[member.session.id]
        for table in (self._submitted, self._asked, self._took, self._pasts):
            table.pop(member.id, None)
        if bye is not None:
            if bye.code:
                self._send(member, bye)
            self._ended[member.session.id] = (member.session, bye, now + ENDED_SECONDS)
            if len(self._ended) > ENDED_MAX:
                del self._ended[next(iter(self._ended))]
        self._append(Entry(LEFT, self._time(now), member.id, name=member.name, text=why))
        # SECURITY: test_who_has_left_can_read_nothing_more
        self._rekey = True
        self._events.append(MemberDeparted(member.name, why, self._count()))

    def _sweep(self, now: float) -> None:
        """Drop what has had its time."""
        self._sweep_at = now + SWEEP_SECONDS
        for member in [other for other in self._members.values() if now - other.heard_at > SILENT_SECONDS]:
            self._leave(member, "timed out", None, now)
        self._log.forget(self._time(now))
        for classic in [other for other in self._classics.values() if now - other.heard_at > CLASSIC_SECONDS]:
            self._leave_classic(classic, "timed out", now)
        for half in [other for other in self._half_open.values() if now >= other.expires_at]:
            self._forget_login(half)
            if not half.proven:
                self._events.append(LoginAbandoned(half.address))
        for place in [place for place, bucket in self._addresses.items() if bucket.full(now)]:
            del self._addresses[place]
        for name in [name for name, (_, _, until) in self._ended.items() if now >= until]:
            del self._ended[name]
        for key in [key for key, until in self._bans.items() if now >= until]:
            del self._bans[key]

    # --- messages

    def _time(self, now: float) -> int:
        return max(0, int((now + self.epoch) * 1000))

    def _append(self, *entries: Entry) -> None:
        self._log.append([Record(encode_entry(entry), entry.time, entry.author, 0) for entry in entries])

    def _take(self, now: float) -> None:
        """Append what members have submitted, as far as their buckets and this turn allow."""
        self._take_at = None
        if self._stuck:
            return
        budget = FLUSH_DATAGRAMS_MAX * BATCH_BYTES_MAX
        waiting, self._submitted = self._submitted, {}
        for member in waiting.values():
            if budget <= 0:
                self._submitted[member.id] = member
                self._take_at = now + TURN_SECONDS
                continue
            try:
                budget -= self._take_member(member, budget, now)
            except MalformedDatagram as fault:
                self.dropped[str(fault)] += 1

    def _take_member(self, member: Member, budget: int, now: float) -> int:
        """Append one member's complete messages; return their bytes."""
        size = 0
        run = member.next_run()
        while run and size < budget and member.bucket.take(len(run), now):
            size += self._append_run(member, run, now)
            run = member.next_run()
        if run:
            self._submitted[member.id] = member
            ready_at = now if size >= budget else member.bucket.ready_at(len(run))
            self._take_at = earliest(self._take_at, max(ready_at, now + TURN_SECONDS))
        return size

    def _recipient(self, ident: bytes) -> Union[Member, ClassicMember, None]:
        found = self._members.get(ident)
        return found or next((other for other in self._classics.values() if other.id == ident), None)

    def _append_run(self, member: Member, run: List[Submission], now: float) -> int:
        at = self._time(now)
        audience: Optional[Tuple[bytes, ...]] = None
        to = run[0].to
        recipient = self._recipient(to)
        if to:
            audience = (member.id, to) if recipient else (member.id,)
        to_name = recipient.name if recipient else ""
        records, early = [], member.early
        for part in run:
            kind = part.kind if recipient or not to else part.kind & ~KIND_BITS | UNDELIVERED
            data = encode_part(kind, at, member.id, part.number, member.name, part.text, to, to_name)
            records.append(Record(data, at, member.id, part.number, audience))
            del early[part.number]
        self._log.append(records)
        member.taken += len(run)
        member.messages += 1
        self._took[member.id] = member
        return sum([len(record.data) for record in records])

    def _send(self, member: Member, message: Any) -> None:
        self._outgoing.append(Datagram(member.session.seal(message), member.address))

    def _entries(self, member: Member, flags: int, entries: bytes, first: int = 0, echo: int = 0) -> Entries:
        batch = encode_batch(self._flushed, first or self._flushed + 1, entries)
        flags |= STUCK * self._stuck
        return Entries(echo, member.told, flags, self._room_key.id, self._room_key.key, batch)

    def _flush(self, now: float) -> None:
        """Make what is new permanent, answer every SYNC that the new entries do not answer, hand them out."""
        if not self._commit(now):
            self._answer(self._flushed)
            return
        after, self._flushed = self._flushed, self._log.head
        if self._rekey:
            self._room_key = RoomKey(self._room_key.id + 1, self._entropy(32))
        for member in self._took.values():
            member.told = member.taken
        self._answer(after)
        self._took.clear()
        if self._flushed > after:
            self._hand_out(after)
            self._beats = [now + seconds for seconds in BEAT_SECONDS]
        self._rekey = False

    def _commit(self, now: float) -> bool:
        """Write the log and return whether that worked; if not, members are told, and it is tried again."""
        if self._write_at is not None and now < self._write_at:
            return False
        reason = ""
        try:
            self._log.commit()
        except LogFailure as fault:
            reason = str(fault)
        self._write_at = now + STUCK_SECONDS if reason else None
        if bool(reason) != self._stuck:
            self._stuck = bool(reason)
            self._events.append(HistoryStuck(reason))
            for member in self._members.values():
                self._send(member, self._entries(member, 0, b""))
        return not reason

    def _answer(self, after: int) -> None:
        """Answer the SYNCs of this turn with what stands up to ``after``; the rest is about to be handed out."""
        budget = RECEIVE_DATAGRAMS_MAX
        asked, self._asked = self._asked, {}
        for member in asked.values():
            sync = member.sync
            if sync is None:
                continue
            if budget <= 0:
                self._asked[member.id] = member
                continue
            current = sync.cursor == after < self._flushed and sync.key_id == self._room_key.id
            if not (current and member.id in self._took):
                budget -= self._answer_sync(member, sync, after)
            member.sync = None

    def _answer_sync(self, member: Member, sync: Sync, until: int) -> int:
        cut = batches(self._log, sync.cursor, until, member.id, ANSWER_DATAGRAMS_MAX)
        for first, last, entries in cut:
            flags = ASK if last == cut[-1][1] < until else 0
            self._send(member, self._entries(member, flags, entries, first, member.echo))
        if not cut:
            self._send(member, self._entries(member, 0, b"", 0, member.echo))
        return max(1, len(cut))

    def _answer_earlier(self) -> None:
        """Answer some of the requests for history with what follows the last entry that each has."""
        for ident, asked in list(self._pasts.items())[:EARLIER_PER_TURN]:
            del self._pasts[ident]
            member, before = self._members[ident], asked.before
            start = max(self._log.start(min(asked.count, EARLIER_MAX), before), self._log.oldest - 1)
            cut = batches(self._log, max(start, asked.have), before - 1, ident, ANSWER_DATAGRAMS_MAX)
            for first, last, entries in cut or [(before, before - 1, b"")]:
                flags = BEGINNING * (start < self._log.oldest) | ASK * (bool(cut) and last == cut[-1][1] < before - 1)
                self._send(member, History(start, before, flags, encode_batch(before - 1, first, entries)))

    def _hand_out(self, after: int) -> None:
        """Send the entries above ``after``: once for all where all may read them, else sealed for each."""
        # A party to something private gets everything new under its own keys.
        audiences = [record.audience for record in self._log.records(after + 1, self._flushed) if record.audience]
        parties = {ident: True for audience in audiences for ident in audience}
        public = batches(self._log, after, self._flushed, None, self._flushed)
        shared = []
        for member in self._members.values():
            if member.id in parties:
                own = batches(self._log, after, self._flushed, member.id, self._flushed)
            elif self._rekey:
                own = public
            else:
                shared.append(member)
                continue
            for first, _, entries in own:
                self._send(member, self._entries(member, 0, entries, first))
        self._fan_out([encode_batch(self._flushed, first, entries) for first, _, entries in public], shared)
        if self._classics:
            self._hand_out_classic(after)

    def _fan_out(self, plain: List[bytes], members: List[Member]) -> None:
        """Send the batches to the members: encrypted once, tagged for each, padded to one size for GSO."""
        if not members:
            return
        size = max(map(len, plain))
        bodies = [self._room_key.seal(batch.ljust(size, b"\0")) for batch in plain]
        recipients = tag_for_all([(member.address, member.session) for member in members], bodies)
        sizes = tuple(HEADER_BYTES + len(body) + TAG_BYTES for body in bodies)
        self._outgoing.append(Fanout(sizes, recipients))

    def _beat(self, now: float) -> None:
        """Say where the head is, a few times after the newest entry, to those not known to be there."""
        if not self._beats or now < self._beats[0]:
            return
        while self._beats and now >= self._beats[0]:
            del self._beats[0]
        behind = [member for member in self._members.values() if member.cursor < self._flushed]
        self._fan_out([encode_batch(self._flushed, self._flushed + 1, b"")], behind)

    # --- original clients

    def _receive_classic(self, text: str, address: Any, now: float) -> None:
        """Take a datagram of the original program: a login, or a text of one who has logged in."""
        member = self._classics.get(address)
        login = decode_classic_login(text)
        if not self._classic:
            if login is not None:
                self._note_classic(address)
            raise MalformedDatagram("foreign")
        if member is not None and (login is None or name_key(login[0]) != member.key):
            self._take_classic(member, text, now)
        elif login is None or self._stuck:
            raise MalformedDatagram("not logged in")
        else:
            self._login_classic(login[0], login[1], address, now)

    def _note_classic(self, address: Any) -> None:
        place = address_place(address[0])
        if place not in self._classic_seen and len(self._classic_seen) < CLASSIC_SEEN_MAX:
            self._classic_seen[place] = None
            self._events.append(ClassicTried(address))

    def _login_classic(self, name: str, password: str, address: Any, now: float) -> None:
        bucket = self._login_bucket(address, now)
        # SECURITY: test_guessing_as_an_original_client_is_slow
        if not bucket.take(1, now):
            raise MalformedDatagram("too many guesses")
        if not hmac.compare_digest(password_bytes(password), self._password):
            self._events.append(LoginRefused(name, address, WRONG_PASSWORD))
            self._outgoing.append(Datagram(CLASSIC_WRONG.encode(), address))
            return
        bucket.give(1)
        try:
            name = clean_name(name)
            reason = self._classic_refusal(name, address, now)
        except UsageError:
            reason = USERNAME_INVALID
        if reason:
            # The protocol knows no other refusal, and this one makes the person choose another name.
            self._events.append(LoginRefused(name, address, reason))
            self._outgoing.append(Datagram(USERNAME_TAKEN.encode(), address))
        else:
            self._outgoing.append(Datagram(CLASSIC_WELCOME.encode(), address))
            self._join_classic(name, address, now)

    def _classic_refusal(self, name: str, address: Any, now: float) -> str:
        holder = self._names.get(name_key(name))
        own = isinstance(holder, ClassicMember) and address_place(holder.address[0]) == address_place(address[0])
        if self._banned(name_key(name), now):
            return KICKED
        if holder is not None and not own:
            return USERNAME_TAKEN
        return ROOM_FULL if holder is None and self._count() >= self.members_max else ""

    def _join_classic(self, name: str, address: Any, now: float) -> None:
        holder = self._names.get(name_key(name))
        if isinstance(holder, ClassicMember):
            if holder.address == address:
                return
            self._leave_classic(holder, "left", now)
        first = not self._classics
        bucket = TokenBucket(self.rate, self.rate * RATE_SECONDS, now)
        member = ClassicMember(self._entropy(8), name, address, bucket, now)
        self._append(Entry(JOINED, self._time(now), member.id, name=name, text=CLASSIC_TEXT))
        member.joined, member.joined_at = self._log.head, now + self.epoch
        self._classics[address] = self._names[member.key] = member
        self._events.append(MemberArrived(name, address, False, self._count()))
        if first:
            self.say(
                "%s uses the original program: from now on the room's messages also travel unencrypted." % name, now
            )

    def _leave_classic(self, member: ClassicMember, why: str, now: float) -> None:
        del self._classics[member.address], self._names[member.key]
        self._append(Entry(LEFT, self._time(now), member.id, name=member.name, text=why))
        self._events.append(MemberDeparted(member.name, why, self._count()))
        if not self._classics:
            self.say("Nobody uses the original program any more: the room is encrypted again.", now)

    def _take_classic(self, member: ClassicMember, text: str, now: float) -> None:
        """Append what an original client says; beyond its rate it is lost, as anything is in its protocol."""
        member.heard_at = now
        try:
            parts = split_parts(clean_text(text))
        except UsageError:
            raise MalformedDatagram("size of a text") from None
        if self._stuck or not member.bucket.take(len(parts), now):
            raise MalformedDatagram("too much at once")
        at, last = self._time(now), len(parts) - 1
        records = []
        for position, part in enumerate(parts):
            member.taken += 1
            mark = TEXT | FIRST * (position == 0) | LAST * (position == last)
            data = encode_part(mark, at, member.id, member.taken, member.name, part)
            records.append(Record(data, at, member.id, member.taken))
        self._log.append(records)
        member.messages += 1

    def _hand_out_classic(self, after: int) -> None:
        """Send the entries above ``after`` to the original clients, each as text, but nobody his own."""
        for record in self._log.records(after + 1, self._flushed):
            entry = decode_entry(record.data)
            text = self._classic_runs.read(entry)
            if text is not None and entry.kind != UNDELIVERED:
                self._send_classics(classic_line(entry, text), entry.author, record)

    def _send_classics(self, line: str, author: bytes = b"", record: Optional[Record] = None) -> None:
        for member in self._classics.values():
            if member.id != author and (record is None or record.visible(member.id)):
                self._outgoing += [Datagram(data, member.address) for data in encode_classic(line)]

    # --- the end

    def _say_closed(self, now: float) -> None:
        if self._closing and now >= self._closing[0]:
            self._closing = [at for at in self._closing if at > now]
            for member in self._members.values():
                self._send(member, Bye(SERVER_CLOSED))
            if not self._closing:
                self._send_classics("-- " + REFUSALS[SERVER_CLOSED])
            self.done = not self._closing


def address_place(host: str) -> str:
    """Return what counts as one place when attempts are limited: an IPv4 address, or an IPv6 /64."""
    host = host.split("%")[0]
    if ":" not in host:
        return host
    if host.lower().startswith("::ffff:") and "." in host:
        return host.rsplit(":", 1)[1]
    return ipaddress.IPv6Address(host).packed[:8].hex()


def address_text(address: Any) -> str:
    """Return an address as people write it: HOST:PORT, an IPv6 host in brackets."""
    host, port = address[0], address[1]
    if host.lower().startswith("::ffff:") and "." in host:
        host = host.rsplit(":", 1)[1]
    return ("[%s]:%d" if ":" in host else "%s:%d") % (host, port)


# ======================================================================================================
# 10. Client
# ======================================================================================================
# One member as a value.  It keeps a cursor into the room's log and moves it to the head; everything that it
# asks of the server is a SYNC.  While a silent session may still be alive it pulls on with it and looks for
# the server anew at the same time; whichever answers first is believed.


class State(enum.Enum):
    """Where a client stands; the value is what people read."""

    IDLE = "not connected"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    LEAVING = "leaving"
    ENDED = "left"


@dataclass(frozen=True)
class Connected:
    """The client is in the room; comes again after each reconnect.  ``members`` are (id, name), itself included.

    ``classic`` are the ids of those who use the original program and are not encrypted.
    """

    room: str
    name: str
    member: bytes
    members: Tuple[Tuple[bytes, str], ...]
    again: bool
    classic: Tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Said:
    """Somebody else said something; reported once, whole.  ``earlier``: before this client was (back) here."""

    seq: int
    time: int
    author: bytes
    name: str
    text: str
    action: bool
    private: bool
    earlier: bool


@dataclass(frozen=True)
class Queued:
    """A text of this client's own was accepted for sending; ``number`` counts them from 1."""

    number: int
    time: int
    text: str
    action: bool
    to_name: str


@dataclass(frozen=True)
class Sent:
    """The text with that number is in the log for good, at ``seq`` (0: it is, but was trimmed meanwhile)."""

    number: int
    seq: int


@dataclass(frozen=True)
class SentUnconfirmed:
    """The text with that number went to an original server, which confirms nothing."""

    number: int


@dataclass(frozen=True)
class NotSent:
    """A text cannot be delivered, for the reason given; ``number`` is 0 where it was never queued."""

    number: int
    text: str
    reason: str


@dataclass(frozen=True)
class MemberJoined:
    """Somebody came into the room; ``classic``: with the original program, not encrypted."""

    seq: int
    time: int
    member: bytes
    name: str
    earlier: bool
    classic: bool = False


@dataclass(frozen=True)
class MemberLeft:
    """Somebody left the room: "left", "timed out", "kicked" or "superseded"."""

    seq: int
    time: int
    member: bytes
    name: str
    why: str
    earlier: bool


@dataclass(frozen=True)
class Announced:
    """The server said something to all."""

    seq: int
    time: int
    text: str
    earlier: bool


@dataclass(frozen=True)
class Missing:
    """``count`` entries are no longer kept by the server and cannot be shown."""

    seq: int
    count: int


@dataclass(frozen=True)
class EarlierRead:
    """History that was asked for, oldest first, as Said, Announced, MemberJoined, MemberLeft and Missing.

    ``beginning``: nothing stands before it.
    """

    events: Tuple[Any, ...]
    beginning: bool


@dataclass(frozen=True)
class ServerStuck:
    """The server's disk is full and messages wait; with ``stuck`` False they go on."""

    stuck: bool


@dataclass(frozen=True)
class Disconnected:
    """The connection is lost; the client goes on trying by itself."""

    text: str


@dataclass(frozen=True)
class LoginFailed:
    """The client stopped trying, for the reason given; login() starts again."""

    code: str
    text: str


@dataclass(frozen=True)
class Status:
    """What a status line shows; ``waiting`` counts own texts without receipt, ``silent`` seconds unanswered."""

    state: State
    waiting: int
    rtt_ms: int
    silent: int


@dataclass(frozen=True)
class ServerFound:
    """A server has answered to a search."""

    room: str
    members: int
    members_max: int
    address: Any


@dataclass(frozen=True)
class DiscoveryEnded:
    """The search is over."""


class LoginAttempt:
    """HELLO, LOGIN and PROOF of one login: finds a server that proves the password, and its session."""

    def __init__(self, password: bytes, addresses: Sequence[Any], entropy: Callable[[int], bytes], now: float) -> None:
        """Ask at all the addresses; a client never compares addresses, nonce and tag decide."""
        self.address: Any = None
        self.session: Optional[Session] = None
        self.advice = ""
        self.heard_at: Optional[float] = None
        self.wrong_at: Optional[float] = None
        self.started_at = now
        self.timer = Timer(entropy)
        self._password = password
        self._addresses = addresses
        self._entropy = entropy
        self._nonce = entropy(16)
        self._offers: Dict[bytes, Tuple[Offer, Any]] = {}
        self._exchange: Optional[Exchange] = None
        self._login = b""
        self._tested: List[bytes] = []
        self._restart(now)

    def _restart(self, now: float) -> None:
        self.timer.start(now, HELLO_SECONDS, 2 * HELLO_SECONDS, at_once=True)

    def questions(self, proof: Proof, now: float) -> List[Datagram]:
        """Return what to send now, and arm the timer for the repeat."""
        self.timer.again(now)
        if self.session is not None:
            return [Datagram(self.session.seal(proof), self.address)]
        if self._login:
            return [Datagram(self._login, self.address)]
        hello = encode_unsealed(Hello(self._nonce))
        return [Datagram(hello, address) for address in self._addresses]

    def receive(self, datagram: bytes, address: Any, now: float) -> None:
        """Take an OFFER, KEYS or LATER; raises MalformedDatagram for what is not of this attempt."""
        code = datagram[1]
        if code == TYPE_CODES[Keys]:
            self._receive_keys(datagram, now)
            return
        message = decode(code, datagram[2:])
        if not hmac.compare_digest(message.nonce, self._nonce):
            raise MalformedDatagram("not of this login")
        self.heard_at = now
        if isinstance(message, Later):
            self.advice = message.code
        elif message.server not in self._offers and len(self._offers) < KEYS_TESTED_MAX:
            self._offers[message.server] = (message, address)
            if self._exchange is None:
                self._answer_offer(message, address, now)

    def _answer_offer(self, offer: Offer, address: Any, now: float) -> None:
        self.address = address
        self._exchange = Exchange(self._password, self._nonce + offer.cookie, self._entropy(32))
        self._login = encode_unsealed(Login(self._nonce, offer.cookie, self._exchange.share))
        self._restart(now)

    def _receive_keys(self, datagram: bytes, now: float) -> None:
        keys = decode(datagram[1], datagram[HEADER_BYTES:-TAG_BYTES])
        # SECURITY: test_a_false_server_tests_two_guesses_at_most
        fresh = self.session is None and datagram not in self._tested and len(self._tested) < KEYS_TESTED_MAX
        if self._exchange is None or not fresh or not hmac.compare_digest(keys.nonce, self._nonce):
            raise MalformedDatagram("not of this login")
        self._tested.append(datagram)
        self.heard_at = now
        session = Session(datagram[2:6], self._exchange.start(keys.share, datagram[2:6]), server=False)
        try:
            session.verify(datagram)
        except MalformedDatagram:
            self._try_another(now)
            raise
        self.session = session
        self.wrong_at = None
        self._restart(now)

    def _try_another(self, now: float) -> None:
        """Turn to the next server that has made an offer, or give the true one a moment to speak."""
        others = list(self._offers.values())[len(self._tested) :]
        if others:
            self._answer_offer(others[0][0], others[0][1], now)
        else:
            self.wrong_at = now + KEYS_SECONDS


class Stream:
    """Puts numbered entries into order: a cursor, and what waits above a gap."""

    def __init__(self, cursor: int, entry_time: int) -> None:
        """Everything up to ``cursor`` is known, whose entry has that time."""
        self.cursor = cursor
        self.time = entry_time
        self._above: Dict[int, Entry] = {}

    def read(self, entries: Sequence[Tuple[int, Entry]]) -> Iterator[Tuple[int, Entry]]:
        """Yield what comes next, as (numbers covered, entry); the cursor is behind each as it is yielded."""
        for number, entry in entries:
            end = number + entry.count - 1
            if number <= self.cursor + 1 <= end:
                yield self._step(end, entry)
                continue
            for at in range(max(number, self.cursor + 1), min(end, self.cursor + BUFFER_ENTRIES_MAX) + 1):
                self._above[at] = replace(entry, count=1) if entry.count > 1 else entry
        while self.cursor + 1 in self._above:
            yield self._step(self.cursor + 1, self._above.pop(self.cursor + 1))

    def _step(self, end: int, entry: Entry) -> Tuple[int, Entry]:
        covered, self.cursor, self.time = end - self.cursor, end, entry.time
        return covered, entry

    def drop_above(self) -> None:
        """Nothing is missing: forget what was kept and has been overtaken."""
        self._above.clear()


def entry_event(seq: int, covered: int, entry: Entry, text: str, earlier: bool) -> Any:
    """Return the event for an entry at ``seq``, or None; ``text`` is the whole text of its run."""
    if entry.kind in (TEXT, ACTION, PRIVATE):
        action, private = entry.kind == ACTION, entry.kind == PRIVATE
        return Said(seq, entry.time, entry.author, entry.name, text, action, private, earlier)
    if entry.kind in (NOTICE, STARTED):
        return Announced(seq, entry.time, text, earlier)
    if entry.kind == JOINED:
        return MemberJoined(seq, entry.time, entry.author, entry.name, earlier, entry.text == CLASSIC_TEXT)
    if entry.kind == LEFT:
        return MemberLeft(seq, entry.time, entry.author, entry.name, entry.text, earlier)
    return Missing(seq, covered) if entry.kind == SKIP and entry.why == TRIMMED else None


class Past:
    """One request for history: pulls the entries in (start, before) as a cursor does, then tells them."""

    def __init__(self, before: int, count: int, entropy: Callable[[int], bytes], now: float) -> None:
        """Ask for the last ``count`` messages below ``before``."""
        self.timer = Timer(entropy)
        self.timer.start(now, RETRY_SECONDS, RETRY_SECONDS_MAX, at_once=True)
        self._before, self._count = before, count
        self._stream: Optional[Stream] = None
        self._runs = RunReader()
        self._events: List[Any] = []

    def question(self, now: float) -> Earlier:
        """Return what to send now, and arm the timer for the repeat."""
        self.timer.again(now)
        return Earlier(self._before, self._count, self._stream.cursor if self._stream else 0)

    def receive(self, answer: History, now: float) -> Optional[Tuple[int, EarlierRead]]:
        """Take an answer; return the number it begins at, and the event, when all is there."""
        if answer.before != self._before or answer.start >= answer.before:
            raise MalformedDatagram("not asked for")
        stream = self._stream = self._stream or Stream(answer.start, 0)
        for covered, entry in stream.read(decode_batch(answer.batch)[1]):
            text = self._runs.read(entry)
            if text is not None:
                self._events.append(entry_event(stream.cursor, covered, entry, text, True))
        if stream.cursor >= self._before - 1:
            events = tuple(event for event in self._events if event is not None)
            return answer.start + 1, EarlierRead(events, bool(answer.flags & BEGINNING))
        self.timer.start(now, RETRY_SECONDS, RETRY_SECONDS_MAX, at_once=bool(answer.flags & ASK))
        return None


class Client:
    """One member.

    Inputs: login, say, earlier, finish, leave, receive, tick.  Outputs: outgoing, events, deadline, done.
    """

    def __init__(
        self,
        entropy: Callable[[int], bytes],
        epoch: float,
        earlier: int = EARLIER_DEFAULT,
        patience: Optional[float] = None,
    ) -> None:
        """``earlier`` messages of history are asked for; ``patience`` seconds without a connection end it.

        ``entropy`` returns so many random bytes; ``epoch`` is the wall clock's seconds at now = 0, which the
        owner keeps true.
        """
        self.epoch = epoch
        self.state = State.IDLE
        self.done = False
        self.dropped: Dict[str, int] = collections.Counter()
        self._entropy = entropy
        self._earlier = earlier
        self._patience = patience
        self._instance = entropy(16)
        self._id = member_id(self._instance)
        self._name = ""
        self._room = ""
        self._password = b""
        self._addresses: Sequence[Any] = ()
        # Login.
        self._attempt: Optional[LoginAttempt] = None
        self._attempts = 0
        self._again = Timer(entropy)
        self._lost_at: Optional[float] = None
        self._login_until: Optional[float] = None
        # Reading.
        self._session: Optional[Session] = None
        self._address: Any = None
        self._keys: Dict[int, bytes] = {}
        self._key_id = 0
        self._stream = Stream(0, 0)
        self._runs = RunReader()
        self._head = self._earlier_until = 0
        self._first = 1
        self._past: Optional[Past] = None
        self._stuck = False
        self._shown: Dict[bytes, int] = {}
        self._roster: Dict[bytes, Tuple[int, str]] = {}
        self._left: Dict[bytes, int] = {}
        self._classics: Dict[bytes, None] = {}
        self._resumed = self._again_connected = False
        self._who = Timer(entropy)
        self._who_after = self._who_as_of = 0
        self._listed: Dict[bytes, None] = {}
        self._held: Optional[List[Any]] = None
        # Writing.
        self._outbox: Dict[int, Submission] = {}
        self._receipts: Dict[int, Queued] = {}
        # Numbers: typed, confirmed up to before _oldest, in the log for the server, sent at least once.
        self._said = self._number = self._taken = self._on_way = 0
        self._oldest = 1
        self._taken_head = 0
        self._finishing = False
        # SYNC.
        self._retry = Timer(entropy)
        self._busy = False
        self._ask_at: Optional[float] = None
        self._asked_at: Dict[int, float] = {}
        self._unanswered_at: Optional[float] = None
        self._round_trip = RoundTrip()
        self._leave_until: Optional[float] = None
        self._ticked_at = 0.0
        self._status: Optional[Status] = None
        self._outgoing: List[Datagram] = []
        self._events: List[Any] = []

    # --- inputs

    def login(self, name: str, password: str, addresses: Sequence[Any], now: float) -> None:
        """Start to log in at the addresses; what is not sent yet stays so.  Ends in Connected or LoginFailed."""
        self._name = name
        self._password = password_bytes(password)
        self._addresses = addresses
        self._drop_session()
        self._login_until = now + LOGIN_SECONDS_MAX
        self._lost_at = None
        self._again.stop()
        self.state = State.CONNECTING
        self._look(now)

    def say(self, text: str, now: float, action: bool = False, to_name: str = "") -> None:
        """Send a text to all, or to one member; reports Queued, then Sent or NotSent."""
        try:
            text = clean_text(text)
            to = self._find(to_name) if to_name else b""
            parts = split_parts(text)
            if len(self._outbox) + len(parts) > OUTBOX_PARTS_MAX:
                raise UsageError("Too much is waiting to be sent; try again when the connection is back.")
        except UsageError as fault:
            self._report(NotSent(0, text, str(fault)))
            return
        kind = PRIVATE if to else ACTION if action else TEXT
        for position, part in enumerate(parts):
            self._number += 1
            marks = FIRST * (position == 0) | LAST * (position == len(parts) - 1)
            self._outbox[self._number] = Submission(self._number, kind | marks, to, part)
        self._said += 1
        queued = Queued(self._said, int((now + self.epoch) * 1000), text, action, to_name)
        self._receipts[self._number] = queued
        self._report(queued)

    def _find(self, name: str) -> bytes:
        key = name_key(name)
        for member, (_, other) in self._roster.items():
            if name_key(other) == key:
                return member
        raise UsageError("Nobody here is called %s." % display_text(name, " "))

    def earlier(self, count: int, now: float) -> None:
        """Ask for the last ``count`` messages before the first that was shown; reports EarlierRead."""
        if self._past is None:
            self._past = Past(self._first, min(max(count, 1), EARLIER_MAX), self._entropy, now)

    def finish(self, now: float) -> None:
        """Leave as soon as everything that was said is confirmed."""
        self._finishing = True

    def leave(self, now: float) -> None:
        """Say goodbye; ``done`` turns true when the server has confirmed it, or shortly after."""
        self._attempt = None
        self._again.stop()
        if self._session is None:
            self._end()
        elif self.state is not State.LEAVING:
            self.state = State.LEAVING
            self._leave_until = now + LEAVE_SECONDS
            self._retry.start(now, RETRY_SECONDS, RETRY_SECONDS_MAX, at_once=True)

    def receive(self, datagram: bytes, address: Any, now: float) -> None:
        """Take a datagram from the network; what is not allowed is counted in ``dropped`` and has no effect."""
        try:
            self._receive(datagram, address, now)
        except MalformedDatagram as fault:
            self.dropped[str(fault)] += 1

    def tick(self, now: float) -> None:
        """Do what is due."""
        if now - self._ticked_at > SLEEP_SECONDS:
            self._unanswered_at = None
            if self._session is not None and self._ticked_at:
                self._ask_at = now
        self._ticked_at = now
        if self._session is not None and self.state in (State.CONNECTED, State.RECONNECTING):
            self._tick_sync(now)
        if self.state is State.LEAVING:
            self._tick_leave(now)
        elif self.state not in (State.IDLE, State.ENDED):
            self._tick_login(now)
        self._tell_status(now)

    # --- outputs

    def outgoing(self) -> List[Datagram]:
        """Drain what is to be sent."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def events(self) -> List[Any]:
        """Drain what the owner should know."""
        events, self._events = self._events, []
        return events

    def deadline(self) -> Optional[float]:
        """Return when tick() is due without further input."""
        if self.state in (State.IDLE, State.ENDED):
            return None
        if self.state is State.LEAVING:
            return earliest(self._retry.at, self._leave_until)
        attempt = self._attempt
        lost_until = self._lost_at + self._patience if self._lost_at is not None and self._patience else None
        second = self._ticked_at + 1.0 if self._unanswered_at is not None else None
        return earliest(
            *(self._retry.at, self._ask_at, self._who.at, self._again.at, lost_until, second),
            self._past.timer.at if self._past and self._session else None,
            *((attempt.timer.at, attempt.wrong_at, self._attempt_until()) if attempt else ()),
        )

    def _report(self, event: Any) -> None:
        self._events.append(event)

    def _report_in_room(self, event: Any) -> None:
        """Report what happened in the room, once Connected was reported."""
        (self._events if self._held is None else self._held).append(event)

    def _end(self) -> None:
        self.state = State.ENDED
        self.done = True

    def _tell_status(self, now: float) -> None:
        silent = 0 if self._unanswered_at is None else int(now - self._unanswered_at)
        since = silent if self._lost_at is None else int(now - self._lost_at)
        status = Status(self.state, len(self._receipts), int(self._round_trip.seconds * 1000 + 0.5), since)
        if status != self._status:
            self._status = status
            self._report(status)

    # --- login

    def _look(self, now: float) -> None:
        """Start a new attempt; the session, if there still is one, goes on meanwhile."""
        self._attempts += 1
        self._again.stop()
        self._attempt = LoginAttempt(self._password, self._addresses, self._entropy, now)

    def _proof(self) -> Proof:
        return Proof(
            self._attempts,
            self._instance,
            self._name,
            self._stream.cursor,
            self._stream.time,
            self._oldest,
            self._earlier,
        )

    def _attempt_until(self) -> float:
        """Return when the current attempt has had its time: longer with a server that answers."""
        attempt = self._attempt
        assert attempt is not None, "only a running attempt has an end"
        return (attempt.started_at if attempt.heard_at is None else attempt.heard_at) + LOOK_SECONDS

    def _tick_login(self, now: float) -> None:
        if self._patience and self._lost_at is not None and now >= self._lost_at + self._patience:
            self._fail(NO_ANSWER, "The connection was lost and did not come back.", now)
        elif self._again.due(now):
            self._look(now)
        attempt = self._attempt
        if attempt is None:
            return
        if attempt.wrong_at is not None and now >= attempt.wrong_at:
            self._attempt_failed(WRONG_PASSWORD, now)
        elif attempt.advice == TRY_LATER and attempt.session is None:
            self._attempt_failed(TRY_LATER, now)
        elif now >= self._attempt_until():
            self._attempt_failed(attempt.advice if attempt.advice in REFUSALS else NO_ANSWER, now)
        elif attempt.timer.due(now):
            self._outgoing += attempt.questions(self._proof(), now)

    def _attempt_failed(self, code: str, now: float) -> None:
        """Try again later where that can help, else tell the person."""
        answered = self._attempt is not None and self._attempt.heard_at is not None
        self._attempt = None
        helps = answered and code in (TRY_LATER, NO_ANSWER)
        if self._login_until is not None and not (helps and now < self._login_until):
            self._fail(code, REFUSALS[code], now)
        elif code == WRONG_PASSWORD:
            self._again_after(now, AGAIN_WRONG_SECONDS_MAX)
        else:
            self._again_after(now, AGAIN_SECONDS_MAX)

    def _again_after(self, now: float, most: float) -> None:
        if self._again.most == most:
            self._again.again(now)
        else:
            self._again.start(now, AGAIN_SECONDS, most)

    def _fail(self, code: str, text: str, now: float) -> None:
        """Stop trying and say why."""
        self._attempt = None
        self._again = Timer(self._entropy)
        self._drop_session()
        self.state = State.IDLE
        self._report(LoginFailed(code, text))

    def _drop_session(self) -> None:
        self._session = self._ask_at = self._unanswered_at = None
        self._retry.stop()
        self._who.stop()

    def _receive_refused(self, refused: Refused, now: float) -> None:
        if refused.code == ROOM_FULL and self._login_until is None:
            self._attempt_failed(refused.code, now)
        else:
            code = refused.code if refused.code in REFUSALS else TRY_LATER
            self._fail(code, display_text(refused.text, " ") or REFUSALS[code], now)

    def _receive_welcome(self, welcome: Welcome, now: float) -> None:
        attempt = self._attempt
        assert attempt is not None, "WELCOME is taken by an attempt's session only"
        self._session, self._address = attempt.session, attempt.address
        self._again_connected, self._login_until = self._login_until is None, None
        self._name, self._room = welcome.name, welcome.room
        self._resumed = bool(welcome.resumed)
        if not welcome.resumed:
            self._stream, self._runs = Stream(welcome.start, welcome.start_time), RunReader()
            self._first, self._past = welcome.start + 1, None
            self._roster.clear()
        self._left.clear()
        self._asked_at.clear()
        self._keys.clear()
        self._learn_key(welcome.key_id, welcome.key)
        self._earlier_until = self._head = welcome.head
        self._taken = self._on_way = max(self._oldest - 1, min(welcome.taken, self._number))
        self._taken_head = welcome.head
        self._held = self._held or []
        self._who_after = 0
        self._who.start(now, self._round_trip.retry_seconds(), RETRY_SECONDS_MAX, at_once=True)
        self._ask_at = now
        self._busy = False
        self._lost_at = None
        self.state = State.CONNECTED
        self._hear(now)

    # --- datagrams

    def _receive(self, datagram: bytes, address: Any, now: float) -> None:
        if len(datagram) < 2 or datagram[0] != VERSION_BYTE:
            raise MalformedDatagram("foreign")
        code, attempt = datagram[1], self._attempt
        if code == TYPE_CODES[Later] and self._session is not None and datagram[2:6] == self._session.id:
            self._receive_advice(datagram, now)
        elif code in (TYPE_CODES[Offer], TYPE_CODES[Keys], TYPE_CODES[Later]):
            if attempt is None:
                raise MalformedDatagram("not of this login")
            attempt.receive(datagram, address, now)
        elif self._session is not None and datagram[2:6] == self._session.id:
            self._receive_sealed(self._session, datagram, now)
        elif attempt is not None and attempt.session is not None and datagram[2:6] == attempt.session.id:
            self._receive_verdict(attempt, datagram, now)
        else:
            raise MalformedDatagram("unknown session")

    def _receive_advice(self, datagram: bytes, now: float) -> None:
        """A server says, unsealed, that it does not know this session: look for it anew, give nothing up."""
        if (
            decode(datagram[1], datagram[2:]).code == UNKNOWN_SESSION
            and self._attempt is None
            and self._again.at is None
        ):
            # SECURITY: test_advice_that_is_not_sealed_disconnects_nobody
            self._look(now)

    def _receive_verdict(self, attempt: LoginAttempt, datagram: bytes, now: float) -> None:
        assert attempt.session is not None, "the caller has matched its id"
        message = attempt.session.open(datagram)
        attempt.heard_at = now
        if isinstance(message, Welcome):
            self._receive_welcome(message, now)
        elif isinstance(message, Refused):
            self._receive_refused(message, now)
        elif isinstance(message, Bye):
            self._receive_bye(message, now)
        else:
            raise MalformedDatagram("before WELCOME")

    def _receive_sealed(self, session: Session, datagram: bytes, now: float) -> None:
        message = session.open(datagram)
        self._hear(now)
        if isinstance(message, Entries):
            self._receive_entries(message, now)
        elif isinstance(message, Room):
            self._receive_room(message, now)
        elif isinstance(message, Members):
            self._receive_members(message, now)
        elif isinstance(message, History):
            self._receive_history(message, now)
        elif isinstance(message, Bye):
            self._receive_bye(message, now)

    def _hear(self, now: float) -> None:
        """The session lives: whatever else was tried meanwhile is not needed."""
        self._unanswered_at = None
        if self.state is State.RECONNECTING:
            self._lost_at = None
            self.state = State.CONNECTED
        if self.state is State.CONNECTED:
            self._attempt = None
            self._again = Timer(self._entropy)

    def _receive_bye(self, bye: Bye, now: float) -> None:
        if self.state is State.LEAVING:
            self._end()
        elif bye.code == SERVER_CLOSED:
            self._lose(REFUSALS[SERVER_CLOSED], now)
            self._drop_session()
            self._again_after(now, AGAIN_SECONDS_MAX)
        elif bye.code in (KICKED, SUPERSEDED):
            self._fail(bye.code, REFUSALS[bye.code], now)

    def _lose(self, text: str, now: float) -> None:
        self._lost_at = now
        self.state = State.RECONNECTING
        self._report(Disconnected(text))

    # --- reading

    def _receive_entries(self, entries: Entries, now: float) -> None:
        asked_at = self._asked_at.pop(entries.echo, None)
        if asked_at is not None:
            self._round_trip.measure(now - asked_at)
        if entries.flags & ASK:
            self._ask_at = now
        if bool(entries.flags & STUCK) != self._stuck:
            self._stuck = not self._stuck
            self._report(ServerStuck(self._stuck))
        self._learn_key(entries.key_id, entries.key)
        head = self._read(entries.batch, now)
        self._settle(entries.taken, head, now)

    def _learn_key(self, key_id: int, key: bytes) -> None:
        """Keep the newest key, and the one before for what was overtaken on its way."""
        self._keys[key_id] = key
        self._key_id = max(self._keys)
        for old in [other for other in self._keys if other < self._key_id - 1]:
            del self._keys[old]

    def _receive_room(self, room: Room, now: float) -> None:
        key = self._keys.get(room.key_id)
        if key is None:
            self._ask_at = earliest(self._ask_at, now + GRACE_SECONDS)
            raise MalformedDatagram("unknown room key")
        self._read(xor_stream(key, room.nonce, room.sealed), now)

    def _read(self, batch: bytes, now: float) -> int:
        """Take a batch: move the cursor over what follows it, keep what is above a gap.  Returns its head."""
        head, entries = decode_batch(batch)
        self._head = max(self._head, head)
        for covered, entry in self._stream.read(entries):
            self._busy = False
            self._advance(covered, entry)
        if self._stream.cursor >= self._head:
            self._stream.drop_above()
        return head

    def _advance(self, covered: int, entry: Entry) -> None:
        """Report what the cursor has just moved over, unless it is this client's own or was shown before."""
        seq = self._stream.cursor
        earlier = seq <= self._earlier_until
        text = self._runs.read(entry)
        if entry.kind in (JOINED, LEFT, STARTED):
            self._read_roster(entry, seq, earlier)
        if entry.kind == UNDELIVERED:
            self._read_undelivered(entry)
        elif entry.author == self._id:
            if text is not None and entry.number:
                self._confirm(entry.number, seq)
        elif text is not None and (not entry.number or self._note_shown(entry.author, entry.number)):
            event = entry_event(seq, covered, entry, text, earlier)
            if event is not None:
                self._report_in_room(event)
        self._settle_trimmed()

    def _receive_history(self, answer: History, now: float) -> None:
        if self._past is None:
            raise MalformedDatagram("not asked for")
        read = self._past.receive(answer, now)
        if read is not None:
            self._past = None
            self._first, event = read
            self._report(event)

    def _note_shown(self, author: bytes, number: int) -> bool:
        """Return whether that number is new to the reader; a server that has forgotten takes some again."""
        highest = self._shown.pop(author, 0)
        self._shown[author] = max(highest, number)
        if len(self._shown) > SHOWN_MEMBERS_MAX:
            del self._shown[next(iter(self._shown))]
        return number > highest

    def _read_undelivered(self, entry: Entry) -> None:
        queued = self._receipts.get(entry.number)
        if queued is not None:
            self._forget_outbox(entry.number)
            reason = "%s has left; nobody got your private message." % display_text(queued.to_name, " ")
            self._report_in_room(NotSent(queued.number, queued.text, reason))

    # --- roster

    def _read_roster(self, entry: Entry, seq: int, earlier: bool) -> None:
        ident = entry.author
        if entry.kind == STARTED:
            self._roster = {other: row for other, row in self._roster.items() if row[0] > seq}
        elif entry.kind == LEFT:
            self._left[ident] = seq
            if self._roster.get(ident, (0, ""))[0] < seq:
                self._roster.pop(ident, None)
        elif self._resumed or not earlier:  # Else the roster that was asked for is newer.
            self._add_row(ident, seq, entry.name)
        while len(self._left) > LEFT_MEMBERS_MAX:
            del self._left[next(iter(self._left))]

    def _add_row(self, ident: bytes, joined: int, name: str) -> None:
        """A row counts unless the same member left later or joined again."""
        if joined > self._left.get(ident, 0) and joined >= self._roster.get(ident, (0, ""))[0]:
            self._roster[ident] = (joined, name)

    def _receive_members(self, page: Members, now: float) -> None:
        if self._who.at is None or page.after != self._who_after:
            raise MalformedDatagram("not asked for")
        rows = decode_rows(page.rows)
        if not page.after:
            self._who_as_of, self._listed = page.as_of, {}
            self._classics.clear()
        for row in rows:
            self._add_row(row.member, row.joined, row.name)
            if row.flags & CLASSIC:
                self._classics[row.member] = None
            self._listed[row.member] = None
            self._who_after = max(self._who_after, row.joined)
        if page.more and rows:
            self._who.start(now, self._round_trip.retry_seconds(), RETRY_SECONDS_MAX, at_once=True)
            return
        self._who.stop()
        # Who was here before the list was made and is not on it has left, though its LEFT may be trimmed.
        self._roster = {
            ident: row for ident, row in self._roster.items() if ident in self._listed or row[0] > self._who_as_of
        }
        held, self._held = self._held or [], None
        members = tuple((ident, name) for ident, (_, name) in self._roster.items())
        self._report(Connected(self._room, self._name, self._id, members, self._again_connected, tuple(self._classics)))
        self._events += held

    # --- writing

    def _settle(self, taken: int, head: int, now: float) -> None:
        """What the server has taken need not be sent again; its receipt is the entry that comes back."""
        if self._taken < taken <= self._number:
            self._taken, self._taken_head = taken, head
            self._on_way = max(self._on_way, taken)
            self._busy = False
            self._settle_trimmed()

    def _settle_trimmed(self) -> None:
        """A text that was taken before an entry already passed, and did not come back, was trimmed."""
        if self._oldest <= self._taken and self._stream.cursor >= self._taken_head:
            for number in [number for number in self._receipts if number <= self._taken]:
                self._confirm(number, 0)

    def _confirm(self, number: int, seq: int) -> None:
        queued = self._receipts.get(number)
        if queued is not None:
            self._forget_outbox(number)
            self._report_in_room(Sent(queued.number, seq))

    def _forget_outbox(self, number: int) -> None:
        """A text is settled: nothing up to the number of its last part will be sent again."""
        del self._receipts[number]
        for at in range(self._oldest, number + 1):
            self._outbox.pop(at, None)
        self._oldest = max(self._oldest, number + 1)
        self._taken = max(self._taken, number)
        self._on_way = max(self._on_way, number)

    # --- SYNC

    def _tick_sync(self, now: float) -> None:
        if self._who.due(now):
            self._send(Who(self._who_after))
            self._who.again(now)
        if self._past is not None and self._past.timer.due(now):
            self._send(self._past.question(now))
        fresh = self._parts(self._on_way + 1)
        due = self._retry.due(now)
        if fresh or due or (self._ask_at is not None and now >= self._ask_at):
            self._send_sync(self._parts(self._taken + 1) if due else fresh, now)
        self._arm(now, due)
        if self._unanswered_at is not None and now - self._unanswered_at >= UNANSWERED_SECONDS:
            self._suspect(now)
        if self._finishing and not self._receipts and self._held is None:
            self.leave(now)

    def _parts(self, first: int) -> List[Submission]:
        """Return the parts from ``first`` on that may be on their way."""
        return [
            self._outbox[number]
            for number in range(first, min(self._taken + WINDOW_PARTS, self._number) + 1)
            if number in self._outbox
        ]

    def _send_sync(self, parts: List[Submission], now: float) -> None:
        """Say how far the cursor is, and send the parts in as many datagrams as they need."""
        rtt_ms = min(int(self._round_trip.seconds * 1000 + 0.5), 0xFFFF)
        for group in group_submissions(parts):
            self._send(Sync(self._stream.cursor, self._key_id, rtt_ms, group))
            assert self._session is not None, "only a session sends SYNC"
            self._asked_at[self._session.sent] = now
        while len(self._asked_at) > ASKED_MAX:
            del self._asked_at[next(iter(self._asked_at))]
        if parts:
            self._on_way = max(self._on_way, parts[-1].number)
        self._ask_at = None
        if self._unanswered_at is None:
            self._unanswered_at = now

    def _arm(self, now: float, due: bool) -> None:
        """Repeat soon, and backing off, while something is missing; else keep the session alive."""
        gap = self._stream.cursor < self._head
        if gap or self._on_way > self._taken or self._unanswered_at is not None:
            if not self._busy:
                seconds = self._round_trip.retry_seconds()
                seconds = max(seconds, GRACE_SECONDS) if self._unanswered_at is not None else GRACE_SECONDS
                self._retry.start(now, seconds, RETRY_SECONDS_MAX)
                self._busy = True
            elif due:
                self._retry.again(now)
        elif self._busy or due or self._retry.at is None:
            self._retry.start(now, KEEP_ALIVE_SECONDS, KEEP_ALIVE_SECONDS)
            self._busy = False

    def _suspect(self, now: float) -> None:
        """The server has been silent for too long: look for it anew, and pull on with what there is."""
        if self.state is State.CONNECTED:
            self._lose("The server does not answer.", now)
            self._lost_at = self._unanswered_at
        if self._attempt is None and self._again.at is None:
            self._look(now)

    def _tick_leave(self, now: float) -> None:
        if self._leave_until is not None and now >= self._leave_until:
            self._end()
        elif self._retry.due(now):
            self._send(Bye(""))
            self._retry.again(now)

    def _send(self, message: Any) -> None:
        assert self._session is not None, "only a session seals"
        self._outgoing.append(Datagram(self._session.seal(message), self._address))


_SYNC_BYTES_MAX = DATAGRAM_BYTES_MAX - HEADER_BYTES - TAG_BYTES - 14


def group_submissions(parts: Sequence[Submission]) -> List[Tuple[Submission, ...]]:
    """Share parts out over SYNCs by their size; there is always one SYNC."""
    groups: List[List[Submission]] = [[]]
    size = 0
    for part in parts:
        count = len(encode_submission(part))
        if groups[-1] and size + count > _SYNC_BYTES_MAX:
            groups.append([])
            size = 0
        groups[-1].append(part)
        size += count
    return [tuple(group) for group in groups]


class ClassicClient:
    """A member of an original server: its plain text, and nothing else.  Inputs and outputs as Client's.

    That protocol has no encryption, no receipts, no roster, no history and no goodbye; what cannot be known is
    not claimed: a text becomes SentUnconfirmed.
    """

    def __init__(self, entropy: Callable[[int], bytes], epoch: float) -> None:
        """``entropy`` and ``epoch`` as Client's."""
        self.epoch = epoch
        self.state = State.IDLE
        self.done = False
        self.dropped: Dict[str, int] = collections.Counter()
        self._timer = Timer(entropy)
        self._login = b""
        self._name = ""
        self._addresses: Sequence[Any] = ()
        self._until = 0.0
        self._seq = self._said = 0
        self._outgoing: List[Datagram] = []
        self._events: List[Any] = []

    def login(self, name: str, password: str, addresses: Sequence[Any], now: float) -> None:
        """Send LOGIN until the server answers; ends in Connected or LoginFailed."""
        self._name, self._addresses = name, addresses[:1]
        self._login = ("LOGIN %s %s" % (name, password)).encode("utf-8", "surrogateescape")
        self._until = now + LOOK_SECONDS
        self._timer.start(now, 4 * HELLO_SECONDS, LOOK_SECONDS, at_once=True)
        self._enter(State.CONNECTING)

    def _enter(self, state: State) -> None:
        self.state = state
        self._events.append(Status(state, 0, 0, 0))

    def say(self, text: str, now: float, action: bool = False, to_name: str = "") -> None:
        """Send a text to all; reports Queued and SentUnconfirmed, or NotSent."""
        try:
            text = clean_text(text)
            if action or to_name:
                raise UsageError("An original server has no /me and no /msg.")
        except UsageError as fault:
            self._events.append(NotSent(0, text, str(fault)))
            return
        self._said += 1
        at = int((now + self.epoch) * 1000)
        self._send(encode_classic(text))
        self._events += [Queued(self._said, at, text, False, ""), SentUnconfirmed(self._said)]

    def _send(self, datagrams: Sequence[bytes]) -> None:
        self._outgoing += [Datagram(data, address) for data in datagrams for address in self._addresses]

    def earlier(self, count: int, now: float) -> None:
        """Report that an original server keeps nothing."""
        self._events.append(EarlierRead((), True))

    def finish(self, now: float) -> None:
        """Leave: there is no receipt to wait for."""
        self.leave(now)

    def leave(self, now: float) -> None:
        """End; the protocol knows no goodbye."""
        self._enter(State.ENDED)
        self.done = True

    def receive(self, datagram: bytes, address: Any, now: float) -> None:
        """Take a datagram; what is not from the server or not text is counted and has no effect."""
        try:
            if address[:2] not in [each[:2] for each in self._addresses]:
                raise MalformedDatagram("not from the server")
            text = decode_text(datagram).rstrip("\r\n")
        except MalformedDatagram as fault:
            self.dropped[str(fault)] += 1
            return
        if self.state is State.CONNECTING:
            self._receive_verdict(text, now)
        elif self.state is State.CONNECTED:
            self._receive_text(text, now)

    def _receive_verdict(self, text: str, now: float) -> None:
        if text == CLASSIC_WELCOME:
            self._timer.stop()
            self._enter(State.CONNECTED)
            own = member_id(self._name.encode("utf-8"))
            self._events.append(Connected("original room", self._name, own, ((own, self._name),), False, (own,)))
            self._events.append(Announced(0, int((now + self.epoch) * 1000), CLASSIC_NOTICE, False))
        elif text in (CLASSIC_WRONG, USERNAME_TAKEN):
            code = WRONG_PASSWORD if text == CLASSIC_WRONG else USERNAME_TAKEN
            self._fail(code, REFUSALS[code])

    def _fail(self, code: str, text: str) -> None:
        self._timer.stop()
        self._enter(State.IDLE)
        self._events.append(LoginFailed(code, text))

    def _receive_text(self, text: str, now: float) -> None:
        if text in (CLASSIC_WELCOME, ""):
            return
        self._seq += 1
        at = int((now + self.epoch) * 1000)
        name, colon, said = text.partition(": ")
        if colon and 0 < len(name) <= NAME_CHARACTERS_MAX:
            author = member_id(name.encode("utf-8"))
            self._events.append(Said(self._seq, at, author, name, said, False, False, False))
        else:
            self._events.append(Announced(self._seq, at, text, False))

    def tick(self, now: float) -> None:
        """Repeat LOGIN, or give it up."""
        if self.state is State.CONNECTING and now >= self._until:
            self._fail(NO_ANSWER, REFUSALS[NO_ANSWER])
        elif self._timer.due(now):
            self._send([self._login])
            self._timer.again(now)

    def outgoing(self) -> List[Datagram]:
        """Drain what is to be sent."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def events(self) -> List[Any]:
        """Drain what the owner should know."""
        events, self._events = self._events, []
        return events

    def deadline(self) -> Optional[float]:
        """Return when tick() is due."""
        return earliest(self._timer.at, self._until) if self.state is State.CONNECTING else None


CLASSIC_NOTICE = (
    "This is an original server: messages travel unencrypted, and whether they arrive is not confirmed. "
    "It has no list of members, no history, no /me and no /msg."
)


class Discovery:
    """Looks for servers: HELLO to everybody, three times; its result is an event for each server found."""

    def __init__(self, entropy: Callable[[int], bytes], addresses: Sequence[Any], now: float) -> None:
        """Ask at the addresses, broadcast ones among them, for DISCOVERY_SECONDS."""
        self.epoch = 0.0
        self.done = False
        self.dropped: Dict[str, int] = collections.Counter()
        self._nonce = entropy(16)
        self._addresses = addresses
        self._until = now + DISCOVERY_SECONDS
        self._hellos = [now + DISCOVERY_SECONDS * share for share in (0.0, 0.2, 0.5)]
        self._found: Dict[bytes, None] = {}
        self._outgoing: List[Datagram] = []
        self._events: List[Any] = []

    def receive(self, datagram: bytes, address: Any, now: float) -> None:
        """Take an OFFER; each server counts once, whichever of its addresses answered first."""
        try:
            if datagram[:2] != bytes((VERSION_BYTE, TYPE_CODES[Offer])):
                raise MalformedDatagram("foreign")
            offer = decode(datagram[1], datagram[2:])
        except MalformedDatagram as fault:
            self.dropped[str(fault)] += 1
            return
        if offer.nonce == self._nonce and offer.server not in self._found and len(self._found) < FOUND_MAX:
            self._found[offer.server] = None
            self._events.append(ServerFound(offer.room, offer.members, offer.members_max, address))

    def tick(self, now: float) -> None:
        """Ask again where it is time; end where it is over."""
        while self._hellos and now >= self._hellos[0]:
            del self._hellos[0]
            self._outgoing += [Datagram(encode_unsealed(Hello(self._nonce)), address) for address in self._addresses]
        if now >= self._until and not self.done:
            self.done = True
            self._events.append(DiscoveryEnded())

    def outgoing(self) -> List[Datagram]:
        """Drain what is to be sent."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def events(self) -> List[Any]:
        """Drain what was found."""
        events, self._events = self._events, []
        return events

    def deadline(self) -> Optional[float]:
        """Return when tick() is due."""
        return None if self.done else min([self._until] + self._hellos)


# ======================================================================================================
# 11. Screen model
# ======================================================================================================
# Everything that a screen decides, and nothing that it draws: which lines an event makes, what a typed line
# means, what Tab completes, what the editor holds.  Console and window only show it.  Text from strangers
# is made safe here, on its way into a Line, and nowhere else.

NAME_COLOURS = 8


@dataclass(frozen=True)
class Line:
    """One thing to show.  A line with a key that was shown before takes the place of that one.

    ``kind`` is "message", "action", "notice", "presence", "divider", "day" or "error"; ``state`` of own lines
    "pending", "sent" or "failed", of others' ""; ``private`` "from NAME" or "to NAME".  Texts are safe to show.
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


@dataclass(frozen=True)
class Command:
    """What a typed line means: "say", "me", "msg", or another command's name."""

    name: str
    text: str = ""
    to_name: str = ""


CLIENT_COMMANDS: Dict[str, Tuple[str, str]] = {
    "msg": ("NAME TEXT", "say something to one member only"),
    "me": ("TEXT", "say what you do"),
    "who": ("", "list the members"),
    "help": ("", "show the commands"),
    "quit": ("", "leave"),
}
SERVER_COMMANDS: Dict[str, Tuple[str, str]] = {
    "who": ("", "list the members with address, round trip and messages"),
    "say": ("TEXT", "announce something to all"),
    "kick": ("NAME", "remove a member for ten minutes"),
    "help": ("", "show the commands"),
    "quit": ("", "close the room"),
}


def parse_input(text: str, commands: Dict[str, Tuple[str, str]]) -> Command:
    """Return what a typed line means; raises UsageError for what is no command or lacks something.

    A line that starts with a slash is a command, with two slashes a text that starts with one.
    """
    if not text.startswith("/"):
        return Command("say", text)
    if text.startswith("//"):
        return Command("say", text[1:])
    word, _, rest = text[1:].partition(" ")
    rest = rest.strip()
    if word not in commands:
        raise UsageError("There is no command /%s; /help lists them. Nothing was sent." % display_text(word, " "))
    arguments = commands[word][0]
    to_name = ""
    if arguments.startswith("NAME"):
        to_name, _, rest = rest.partition(" ")
        rest = rest.strip()
    if (arguments.startswith("NAME") and not to_name) or (arguments.endswith("TEXT") and not rest):
        raise UsageError("Write /%s %s." % (word, arguments))
    return Command(word, rest, to_name)


def commands_help(commands: Dict[str, Tuple[str, str]]) -> List[str]:
    """Return one line for each command, and how to send a slash."""
    rows = ["/" + " ".join(filter(None, (name, arguments))) for name, (arguments, _) in commands.items()]
    width = max(map(len, rows))
    lines = ["%-*s  %s" % (width, row, about) for row, (_, about) in zip(rows, commands.values())]
    return lines + (
        ["%-*s  %s" % (width, "//TEXT", "say something that starts with a slash")] if "msg" in commands else []
    )


def complete(text: str, names: Sequence[str], commands: Dict[str, Tuple[str, str]]) -> List[str]:
    """Return what the text before the caret may be completed to: a command, or a member's name."""
    if text.startswith("/") and " " not in text:
        return ["/" + name + " " for name in commands if ("/" + name).startswith(text)]
    head, _, word = text.rpartition(" ")
    start = word[1:] if word.startswith("@") else word
    at_start = not head
    found = [name for name in names if start and name_key(name).startswith(name_key(start))]
    lead = text[: len(text) - len(start)]
    return [lead + name + (": " if at_start else " ") for name in found]


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
    words = [status.state.value]
    if status.state is State.CONNECTED and status.silent >= 1:
        words = ["waiting for the server since %d s" % status.silent]
    elif status.state is State.RECONNECTING:
        words = ["reconnecting since %d s" % status.silent]
    elif status.state is State.CONNECTED and status.rtt_ms:
        words.append("%d ms" % status.rtt_ms)
    if status.waiting:
        words.append("%d waiting" % status.waiting)
    return ", ".join(words)


class Transcript:
    """The conversation as lines, and what goes with it: members, unread count, title."""

    def __init__(self) -> None:
        """Start empty, in front of the reader."""
        self.room = ""
        self.name = ""
        self.status = Status(State.IDLE, 0, 0, 0)
        self.unread = 0
        self.attention = False
        self._reading = True
        self._members: Dict[bytes, str] = {}
        self._spoke: Dict[str, None] = {}
        self._key = 0
        self._day: Optional[datetime.date] = None
        self._earlier = False
        self._own: Dict[int, Line] = {}
        self._presence: Optional[Line] = None
        self._came: List[Tuple[str, str]] = []
        self._appliers: Dict[type, Callable[[Any], List[Line]]] = {
            Connected: self._apply_connected,
            Said: self._apply_said,
            Queued: self._apply_queued,
            Sent: self._apply_sent,
            NotSent: self._apply_not_sent,
            MemberJoined: self._apply_joined,
            MemberLeft: self._apply_left,
            Announced: self._apply_announced,
            Missing: self._apply_missing,
            Disconnected: self._apply_disconnected,
            LoginFailed: self._apply_failed,
            Status: self._apply_status,
        }

    def apply(self, event: Any) -> List[Line]:
        """Take an event of the client and return the lines to show or to replace."""
        applier = self._appliers.get(type(event))
        return applier(event) if applier else []

    def members(self) -> List[str]:
        """Return the names of those here, safe to show, in order."""
        return sorted(self._members.values(), key=name_key)

    def names(self) -> List[str]:
        """Return the other members for completion: who spoke last first."""
        here = [name for name in self.members() if name_key(name) != name_key(self.name)]
        spoke = [name for name in reversed(list(self._spoke)) if name in here]
        return spoke + [name for name in here if name not in self._spoke]

    def read(self, reading: bool) -> None:
        """Note whether the person looks at the conversation; if so, nothing is unread."""
        self._reading = reading
        if reading:
            self.unread = 0
            self.attention = False

    def title(self) -> str:
        """Return the window's title, the number of unread messages first."""
        count = "(%d) " % self.unread if self.unread else ""
        return count + (self.room or "SamsungChat")

    def end_presence(self) -> None:
        """The next join or leave begins a new line."""
        self._presence = None

    def note(self, text: str, kind: str = "presence") -> Line:
        """Return a line that only this screen has: an answer to a command, or an error."""
        self._presence = None
        return self._line(kind, text)

    def _line(self, kind: str, text: str, at: float = 0.0, **more: Any) -> Line:
        self._key += 1
        return Line(self._key, kind, text, at, **more)

    def _dated(self, at: float, earlier: bool, collapse: bool = False) -> List[Line]:
        """Return the dividers that go before a line of that time."""
        lines = []
        if earlier != self._earlier:
            self._earlier = earlier
            self._presence = None
            lines.append(self._line("divider", "earlier" if earlier else "now", at))
        day = local_time(at).date()
        if day != self._day:
            self._day = day
            self._presence = None
            lines.append(self._line("day", day.strftime("%A, %d %B %Y"), at))
        if not collapse:
            self._presence = None
        return lines

    def _apply_connected(self, event: Connected) -> List[Line]:
        self.room, self.name = display_text(event.room, " "), event.name
        self._members = {member: display_text(name, " ") for member, name in event.members}
        self._earlier = False
        words = "Connected again to %s as %s; %s here." if event.again else "Welcome to %s, %s; %s here."
        return [self.note(words % (self.room, self.name, plural(len(self._members), "member")))]

    def _apply_said(self, event: Said) -> List[Line]:
        name, text = display_text(event.name, " "), display_text(event.text)
        lines = self._dated(event.time / 1000, event.earlier)
        mention = not event.earlier and (event.private or self._mentioned(event.text))
        self._spoke.pop(name, None)
        self._spoke[name] = None
        if len(self._spoke) > MEMBERS_MAX:
            del self._spoke[next(iter(self._spoke))]
        if not self._reading and not event.earlier:
            self.unread += 1
            self.attention = self.attention or mention
        more = {"name": name, "colour": name_colour(event.name), "mention": mention, "earlier": event.earlier}
        private = "from %s" % name if event.private else ""
        kind = "action" if event.action else "message"
        return lines + [self._line(kind, text, event.time / 1000, private=private, **more)]

    def _mentioned(self, text: str) -> bool:
        name = re.escape(name_key(self.name))
        return bool(name) and bool(re.search(r"(?<!\w)%s(?!\w)" % name, name_key(text)))

    def _apply_queued(self, event: Queued) -> List[Line]:
        at = event.time / 1000
        lines = self._dated(at, False)
        private = "to %s" % display_text(event.to_name, " ") if event.to_name else ""
        kind, text = "action" if event.action else "message", display_text(event.text)
        more = {"name": self.name, "colour": name_colour(self.name), "state": "pending", "private": private}
        line = self._own[event.number] = self._line(kind, text, at, **more)
        return lines + [line]

    def _apply_sent(self, event: Sent) -> List[Line]:
        line = self._own.pop(event.number, None)
        return [replace(line, state="sent")] if line else []

    def _apply_not_sent(self, event: NotSent) -> List[Line]:
        line = self._own.pop(event.number, None)
        return ([replace(line, state="failed")] if line else []) + [self.note("Not sent: " + event.reason, "error")]

    def _apply_joined(self, event: MemberJoined) -> List[Line]:
        name = display_text(event.name, " ")
        self._members[event.member] = name
        return self._came_or_went(event.time / 1000, event.earlier, name, "joined")

    def _apply_left(self, event: MemberLeft) -> List[Line]:
        name, why = display_text(event.name, " "), display_text(event.why, " ")
        self._members.pop(event.member, None)
        return self._came_or_went(event.time / 1000, event.earlier, name, why)

    def _came_or_went(self, at: float, earlier: bool, name: str, why: str) -> List[Line]:
        """Collapse a run of joins and leaves into one line."""
        lines = self._dated(at, earlier, collapse=True)
        if self._presence is None:
            self._came = []
            self._presence = self._line("presence", "", at, earlier=earlier)
        self._came.append((name, why))
        groups: Dict[str, List[str]] = {}
        for who, what in self._came[-PRESENCE_NAMES_MAX:]:
            groups.setdefault(what, []).append(who)
        rest = len(self._came) - PRESENCE_NAMES_MAX
        words = ["%s %s" % (", ".join(names), PRESENCE_WORDS.get(what, what)) for what, names in groups.items()]
        self._presence = replace(self._presence, text=("%d more; " % rest if rest > 0 else "") + "; ".join(words))
        return lines + [self._presence]

    def _apply_announced(self, event: Announced) -> List[Line]:
        lines = self._dated(event.time / 1000, event.earlier)
        return lines + [self._line("notice", display_text(event.text), event.time / 1000, earlier=event.earlier)]

    def _apply_missing(self, event: Missing) -> List[Line]:
        return [self.note(plural(event.count, "earlier line") + " no longer available.")]

    def _apply_disconnected(self, event: Disconnected) -> List[Line]:
        return [self.note(event.text + " Trying again; what you type is kept and sent later.", "error")]

    def _apply_failed(self, event: LoginFailed) -> List[Line]:
        return [self.note("%s: %s" % (event.code, event.text), "error")]

    def _apply_status(self, event: Status) -> List[Line]:
        self.status = event
        return []


PRESENCE_WORDS = {
    "timed out": "lost the connection",
    "kicked": "was removed",
    "superseded": "lost the name to a newcomer",
}


def plain_line(event: Any) -> Optional[str]:
    """Return an event as the one line that a pipe shows, or None: entries only, each without a line break."""
    if isinstance(event, Said):
        name, text = display_text(event.name, " "), display_text(event.text, "\u21b5")
        if event.private:
            return "%s (private): %s" % (name, text)
        return "* %s %s" % (name, text) if event.action else "%s: %s" % (name, text)
    if isinstance(event, (MemberJoined, MemberLeft)):
        why = "joined" if isinstance(event, MemberJoined) else event.why
        return "-- %s %s" % (display_text(event.name, " "), display_text(PRESENCE_WORDS.get(why, why), " "))
    if isinstance(event, Announced):
        return "-- " + display_text(event.text, "\u21b5")
    if isinstance(event, Missing):
        return "-- %s no longer available" % plural(event.count, "earlier line")
    return None


def json_object(event: Any) -> Optional[Dict[str, Any]]:
    """Return an event as the object that ``--json`` prints, or None; times are seconds since 1970."""
    if isinstance(event, Connected):
        names = sorted((name for _, name in event.members), key=name_key)
        return {"event": "connected", "room": event.room, "name": event.name, "members": names}
    if isinstance(event, Said):
        kind = "action" if event.action else "text"
        said = {"from": event.name, "text": event.text, "kind": kind, "private": event.private}
        return _json_entry("message", event, said)
    if isinstance(event, MemberJoined):
        return _json_entry("joined", event, {"name": event.name})
    if isinstance(event, MemberLeft):
        return _json_entry("left", event, {"name": event.name, "why": event.why})
    if isinstance(event, Announced):
        return _json_entry("notice", event, {"text": event.text})
    if isinstance(event, Missing):
        text = "%s no longer available" % plural(event.count, "earlier line")
        return {"event": "notice", "seq": event.seq, "time": None, "text": text}
    if isinstance(event, Sent):
        return {"event": "sent", "seq": event.seq, "number": event.number}
    if isinstance(event, NotSent):
        return {"event": "not_sent", "number": event.number, "text": event.reason}
    if isinstance(event, Disconnected):
        return {"event": "disconnected"}
    if isinstance(event, LoginFailed):
        return {"event": "refused", "code": event.code, "text": event.text}
    return None


def _json_entry(name: str, event: Any, more: Dict[str, Any]) -> Dict[str, Any]:
    entry = {"event": name, "seq": event.seq, "time": event.time / 1000}
    entry.update(more)
    if event.earlier:
        entry["earlier"] = True
    return entry


_KEYS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1bO.|\x1b[^\[O]|[^\x1b]", re.DOTALL)
_PASTE_END = "\x1b[201~"


class LineEditor:
    """The line being typed: takes keys as a terminal sends them, and returns what they ask for.

    Emacs keys and arrows as in readline; a bracketed paste goes in whole, line breaks included.  Ours, because
    readline can neither redraw around incoming lines with its cursor in place nor hold a paste as one text.
    """

    def __init__(self) -> None:
        """Start with an empty line and an empty history."""
        self.text = ""
        self.cursor = 0
        self.history: List[str] = []
        self._back = 0
        self._draft = ""
        self._rest = ""
        self._pasting = False
        self._choices: List[str] = []
        self._keys: Dict[str, Callable[[], None]] = {}
        for keys, act in (
            (("\x7f", "\b"), lambda: self._delete(self.cursor - 1, self.cursor)),
            (("\x1b[3~",), lambda: self._delete(self.cursor, self.cursor + 1)),
            (("\x0b",), lambda: self._delete(self.cursor, len(self.text))),
            (("\x15",), lambda: self._delete(0, self.cursor)),
            (("\x17", "\x1b\x7f"), lambda: self._delete(self._word_left(), self.cursor)),
            (("\x01", "\x1b[H", "\x1bOH", "\x1b[1~"), lambda: self._move(0)),
            (("\x05", "\x1b[F", "\x1bOF", "\x1b[4~"), lambda: self._move(len(self.text))),
            (("\x02", "\x1b[D", "\x1bOD"), lambda: self._move(self.cursor - 1)),
            (("\x06", "\x1b[C", "\x1bOC"), lambda: self._move(self.cursor + 1)),
            (("\x1bb", "\x1b[1;5D", "\x1b[1;3D"), lambda: self._move(self._word_left())),
            (("\x1bf", "\x1b[1;5C", "\x1b[1;3C"), lambda: self._move(self._word_right())),
            (("\x10", "\x1b[A", "\x1bOA"), lambda: self._recall(1)),
            (("\x0e", "\x1b[B", "\x1bOB"), lambda: self._recall(-1)),
            (("\x1b\r", "\x1b\n"), lambda: self.insert("\n")),
        ):
            self._keys.update(dict.fromkeys(keys, act))

    def feed(self, data: str) -> List[Tuple[str, str]]:
        """Take what the terminal sent; return ("enter", text), ("paste", text), ("interrupt", "") and so on.

        The others are "eof", "complete", "redraw" and "suspend".  A key that has not come whole is kept.
        """
        actions: List[Tuple[str, str]] = []
        data, self._rest = self._rest + data, ""
        while data:
            if self._pasting:
                data = self._paste(data, actions)
                continue
            match = _KEYS.match(data)
            if match is None:
                self._rest = data[:32]
                break
            self._press(match.group(), actions)
            data = data[match.end() :]
        return actions

    def _paste(self, data: str, actions: List[Tuple[str, str]]) -> str:
        text, end, rest = data.partition(_PASTE_END)
        if not end:
            self._rest = data
            return ""
        self._pasting = False
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        self.insert(text[:-1] if text.endswith("\n") else text)
        actions.append(("paste", text))
        return rest

    def _press(self, key: str, actions: List[Tuple[str, str]]) -> None:
        if key != "\t":
            self._choices = []
        if key in ("\r", "\n"):
            actions.append(("enter", self.take()))
        elif key == "\x1b[200~":
            self._pasting = True
        elif key in _EDITOR_ACTIONS:
            actions.append((_EDITOR_ACTIONS[key], ""))
        elif key == "\x04":
            if self.text:
                self._delete(self.cursor, self.cursor + 1)
            else:
                actions.append(("eof", ""))
        elif key in self._keys:
            self._keys[key]()
        elif key >= " " and not key.startswith("\x1b"):
            self.insert(key)

    def take(self) -> str:
        """Return the line, remember it, and start a new one."""
        text = self.text
        if text.strip() and text not in self.history[-1:]:
            self.history = self.history[-HISTORY_LINES_MAX:] + [text]
        self.set("")
        self._back = 0
        return text

    def set(self, text: str) -> None:
        """Put a text in the line's place, the caret behind it."""
        self.text = text
        self.cursor = len(text)

    def insert(self, text: str) -> None:
        """Insert a text at the caret."""
        self.text = self.text[: self.cursor] + text + self.text[self.cursor :]
        self.cursor += len(text)

    def complete(self, candidates: Callable[[str], List[str]]) -> None:
        """Replace what is before the caret by the next of its completions."""
        if not self._choices:
            self._choices = candidates(self.text[: self.cursor])
        if self._choices:
            after = self.text[self.cursor :]
            choice = self._choices.pop(0)
            self._choices.append(choice)
            self.set(choice + after)
            self.cursor = len(choice)

    def _delete(self, start: int, end: int) -> None:
        start = max(start, 0)
        self.text = self.text[:start] + self.text[end:]
        self.cursor = start

    def _move(self, cursor: int) -> None:
        self.cursor = min(max(cursor, 0), len(self.text))

    def _word_left(self) -> int:
        return len(self.text[: self.cursor].rstrip().rpartition(" ")[0]) + bool(
            " " in self.text[: self.cursor].rstrip()
        )

    def _word_right(self) -> int:
        match = re.compile(r"\s*\S+").match(self.text, self.cursor)
        return match.end() if match else len(self.text)

    def _recall(self, step: int) -> None:
        if not self._back:
            self._draft = self.text
        self._back = min(max(self._back + step, 0), len(self.history))
        self.set(self.history[-self._back] if self._back else self._draft)

    def layout(self, prompt: str, columns: int, hidden: bool = False) -> Tuple[List[str], int, int]:
        """Return the screen rows of prompt and line, and the row and cell of the caret.

        Rows are cut one cell short of the width, so that no terminal wraps them by itself; of a long text
        only EDITOR_ROWS_MAX rows around the caret are given.
        """
        shown = "" if hidden else self.text
        cells = [display_text(character, "\u21b5") for character in prompt + shown] + [" "]
        caret = len(prompt) + (0 if hidden else self.cursor)
        rows, width, row, cell = [""], 0, 0, 0
        for position, text in enumerate(cells):
            size = text_width(text)
            if width + size > max(columns - 1, 2):
                rows.append("")
                width = 0
            if position == caret:
                row, cell = len(rows) - 1, width
            rows[-1] += text
            width += size
        top = max(0, min(row - EDITOR_ROWS_MAX + 1, len(rows) - EDITOR_ROWS_MAX))
        return rows[top : top + EDITOR_ROWS_MAX], row - top, cell


_EDITOR_ACTIONS = {"\x03": "interrupt", "\t": "complete", "\x0c": "redraw", "\x1a": "suspend"}


# ======================================================================================================
# 12. Event loop
# ======================================================================================================
# Sockets, clock and entropy around a core, on a thread of its own.  One turn: wait, receive what is there,
# run what other threads asked for, tick, send, hand the events on.  The only place that sees OSError.

AnyClient = Union[Client, ClassicClient]
Core = Union[Server, AnyClient, Discovery]
_UDP_SEGMENT = 103  # From linux/udp.h; one sendmsg() becomes many datagrams (Linux 4.18).


@dataclass(frozen=True)
class LoopEnded:
    """The loop is over; ``failure`` holds a sentence where it was by a fault."""

    failure: str = ""


@dataclass(frozen=True)
class CommandFailed:
    """What another thread asked for cannot be done, for the reason given."""

    text: str


class Sender:
    """Sends datagrams through the sockets; many to one member in one call where the system can (GSO)."""

    def __init__(self, sockets: Sequence[socket.socket], segmented: bool = True) -> None:
        """The first socket of each family sends."""
        self.failed = 0
        self.segmented = segmented and sys.platform == "linux"
        self._sockets: Dict[bool, socket.socket] = {}
        for each in sockets:
            self._sockets.setdefault(each.family == socket.AF_INET6, each)

    def send(self, items: Sequence[Union[Datagram, Fanout]]) -> None:
        """Send everything; what the system refuses is counted in ``failed`` and repaired like any loss."""
        for item in items:
            if isinstance(item, Datagram):
                self._send(item.data, item.address)
            elif len(item.sizes) > 1 and self.segmented:
                self._send_segmented(item)
            elif len(item.sizes) > 1:
                for datagram in item.datagrams():
                    self._send(datagram.data, datagram.address)
            else:
                for address, pieces in item.recipients:
                    self._send(b"".join(pieces), address)

    def _socket(self, address: Any) -> Optional[socket.socket]:
        return self._sockets.get(len(address) == 4)

    def _send(self, data: bytes, address: Any) -> None:
        try:
            self._sockets[len(address) == 4].sendto(data, address)
        except BlockingIOError:
            self._send_patiently(data, address)
        except (OSError, KeyError):
            self.failed += 1

    def _send_patiently(self, data: bytes, address: Any) -> None:
        """Wait a moment for room in the socket's buffer; without it the datagram is lost."""
        each = self._sockets[len(address) == 4]
        try:
            with selectors.DefaultSelector() as room:
                room.register(each, selectors.EVENT_WRITE)
                room.select(SEND_WAIT_SECONDS)
            each.sendto(data, address)
        except OSError:
            self.failed += 1

    def _send_segmented(self, fanout: Fanout) -> None:
        """Send each member's datagrams, which are of one size, in as few calls as there may be."""
        control = [(socket.IPPROTO_UDP, _UDP_SEGMENT, struct.pack("=H", fanout.sizes[0]))]
        for address, pieces in fanout.recipients:
            for at in range(0, len(pieces), 3 * SEGMENTS_MAX):
                chunk = pieces[at : at + 3 * SEGMENTS_MAX]
                try:
                    if not self.segmented:
                        raise OSError("segmentation was refused before")
                    self._sockets[len(address) == 4].sendmsg(chunk, control, 0, address)
                except (OSError, KeyError) as fault:
                    self.segmented = self.segmented and isinstance(fault, (BlockingIOError, KeyError))
                    for start in range(0, len(chunk), 3):
                        self._send(b"".join(chunk[start : start + 3]), address)


class Loop:
    """Runs a core on a thread.  Events reach the owner through ``post``, called on that thread."""

    def __init__(
        self,
        core: Core,
        sockets: Sequence[socket.socket],
        post: Callable[[Any], None],
        receive_bytes: int = RECEIVE_BYTES_MAX,
    ) -> None:
        """Own the sockets from now on; start() begins.  Datagrams are cut at ``receive_bytes``."""
        self._receive_bytes = receive_bytes
        self.core = core
        self.post = post
        self.sender = Sender(sockets)
        self._sockets = list(sockets)
        self._calls: Deque[Callable[[float], None]] = collections.deque()
        self._wake_in, self._wake_out = socket.socketpair()
        for each in (*self._sockets, self._wake_in, self._wake_out):
            each.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)

    def start(self) -> None:
        """Begin to run."""
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait for the end of the thread, for so long at most."""
        self._thread.join(seconds)

    def call(self, act: Callable[[float], None]) -> None:
        """Run ``act(now)`` on the network thread; a UsageError of it becomes a CommandFailed event."""
        self._calls.append(act)
        with contextlib.suppress(OSError):  # Full: it is going to wake anyway.  Closed: it is over.
            self._wake_out.send(b"\0")

    def _run(self) -> None:
        failure = ""
        try:
            with selectors.DefaultSelector() as selector:
                for each in (*self._sockets, self._wake_in):
                    selector.register(each, selectors.EVENT_READ)
                while not self.core.done:
                    self._turn(selector)
        except Exception as fault:  # A fault of ours must reach the person, not vanish with a thread.
            failure = "The program has a fault (%s: %s). Please start it again." % (type(fault).__name__, fault)
            if os.environ.get("SAMSUNGCHAT_DEBUG"):
                raise
        finally:
            for each in (*self._sockets, self._wake_in, self._wake_out):
                each.close()
            self.post(LoopEnded(failure))

    def _turn(self, selector: selectors.BaseSelector) -> None:
        deadline = self.core.deadline()
        wait = None if deadline is None else deadline - time.monotonic()
        # Below a millisecond a selector would round up; look and go on instead.
        ready = selector.select(wait if wait is None or wait >= 0.001 else 0)
        now = time.monotonic()
        self.core.epoch = time.time() - now
        for key, _ in ready:
            self._drain(key.fileobj, now)
        while self._calls:
            self._call(self._calls.popleft(), now)
        self.core.tick(now)
        outgoing = self.core.outgoing()
        if outgoing:
            self.sender.send(outgoing)
        for event in self.core.events():
            self.post(event)

    def _drain(self, each: Any, now: float) -> None:
        if each is self._wake_in:
            with contextlib.suppress(OSError):
                each.recv(4096)
            return
        receive, recvfrom = self.core.receive, each.recvfrom
        for _ in range(RECEIVE_DATAGRAMS_MAX):
            try:
                data, address = recvfrom(self._receive_bytes)
            except ConnectionResetError:
                continue  # Windows: a peer's port is closed; says nothing about the others.
            except OSError:
                return
            receive(data, address, now)

    def _call(self, act: Callable[[float], None], now: float) -> None:
        try:
            act(now)
        except UsageError as fault:
            self.post(CommandFailed(str(fault)))


def resolve(host: str, port: int) -> List[Any]:
    """Return the socket addresses of a host; raises UsageError where there are none.  May take seconds."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        raise UsageError(
            "There is no machine called %s. Check the name, or type its address." % display_text(host, " ")
        ) from None
    return list(dict.fromkeys(entry[4] for entry in found if entry[0] in (socket.AF_INET, socket.AF_INET6)))


def open_socket(family: int, address: Any) -> socket.socket:
    """Open a UDP socket bound to the address; raises OSError."""
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            with contextlib.suppress(OSError):
                opened.setsockopt(socket.SOL_SOCKET, option, SOCKET_BYTES)
        if family == socket.AF_INET6:
            with contextlib.suppress(OSError, AttributeError):
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows: nobody else binds the same port.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        opened.bind(address)
    except OSError:
        opened.close()
        raise
    return opened


def open_server_sockets(host: str, port: int) -> List[socket.socket]:
    """Open the server's socket, and one that hears searches where a bound host would not.

    Raises UsageError for a host that cannot be, OSError with a sentence where the system refuses.
    """
    addresses = resolve(host, port)
    family = socket.AF_INET6 if len(addresses[0]) == 4 else socket.AF_INET
    try:
        opened = [open_socket(family, addresses[0])]
    except OSError as fault:
        raise OSError(fault.errno, bind_failure(fault, host, port)) from None
    bound = opened[0].getsockname()
    if family == socket.AF_INET and bound[0] != "0.0.0.0":
        broadcast = "127.255.255.255" if bound[0].startswith("127.") else "255.255.255.255"
        with contextlib.suppress(OSError):
            opened.append(open_socket(family, (broadcast, bound[1])))
    return opened


def bind_failure(fault: OSError, host: str, port: int) -> str:
    """Return the sentence for a socket that could not be bound."""
    if fault.errno in (errno.EADDRINUSE, getattr(errno, "WSAEADDRINUSE", -1)):
        return "Port %d is in use: another server may be running. Stop that one, or choose another with --port." % port
    if fault.errno in (errno.EACCES, errno.EPERM):
        return "Port %d needs more rights than you have. Choose one above 1023 with --port." % port
    if fault.errno in (errno.EADDRNOTAVAIL, getattr(errno, "WSAEADDRNOTAVAIL", -1)):
        return "%s is no address of this machine. Leave --host out to listen on all of them." % display_text(host, " ")
    return "Cannot listen on %s: %s." % (address_text((host, port)), fault.strerror)


def open_client_sockets() -> List[socket.socket]:
    """Open a socket for each family that this machine has; raises OSError where it has none."""
    opened = [open_socket(socket.AF_INET, ("0.0.0.0", 0))]
    opened[0].setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    with contextlib.suppress(OSError):
        opened.append(open_socket(socket.AF_INET6, ("::", 0)))
    return opened


def start_discovery(port: int, post: Callable[[Any], None]) -> Loop:
    """Look for servers on the network; ServerFound events come, and LoopEnded in about a second."""
    asked = os.environ.get("SAMSUNGCHAT_DISCOVERY") or "255.255.255.255,127.0.0.1"
    addresses = [(host.strip(), port) for host in asked.split(",") if host.strip()]
    loop = Loop(Discovery(os.urandom, addresses, time.monotonic()), open_client_sockets(), post)
    loop.start()
    return loop


def start_client(
    post: Callable[[Any], None], earlier: int, patience: Optional[float] = None, classic: bool = False
) -> Loop:
    """Start a client that is not logged in; ``classic`` for an original server."""
    epoch = time.time() - time.monotonic()
    client = ClassicClient(os.urandom, epoch) if classic else Client(os.urandom, epoch, earlier, patience)
    loop = Loop(client, open_client_sockets(), post, RECEIVE_CLASSIC_MAX if classic else RECEIVE_BYTES_MAX)
    loop.start()
    return loop


def start_login(loop: Loop, server: str, port: int, name: str, password: str) -> None:
    """Find the server's addresses and log in there; Connected or LoginFailed comes as an event."""

    def act(now: float) -> None:
        assert isinstance(loop.core, (Client, ClassicClient)), "only a client logs in"
        try:
            addresses = resolve(server, port)
        except UsageError as fault:
            loop.post(LoginFailed(NO_ANSWER, str(fault)))
        else:
            loop.core.login(name, password, addresses, time.monotonic())

    loop.call(act)


def local_addresses(bound: Any) -> List[str]:
    """Return the addresses at which other machines may reach a server bound there, most likely first.

    Connecting a UDP socket sends nothing; it asks the system which of its addresses it would use.
    """
    if bound[0] not in ("0.0.0.0", "::"):
        return [bound[0]]
    found: Dict[str, None] = {}
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.connect(("192.0.2.1", 9))
        found[asked.getsockname()[0]] = None
    with contextlib.suppress(OSError):
        found.update(dict.fromkeys(socket.gethostbyname_ex(socket.gethostname())[2]))
    return [host for host in found if not host.startswith("127.")] or ["127.0.0.1"]


# ======================================================================================================
# 13. Console
# ======================================================================================================
# The main thread takes everything from one inbox: events of the network thread, keys or lines of the reader
# thread, signals (a SimpleQueue's put() may be called by a handler).  A terminal shows lines above the line
# being typed; a pipe shows one line for each entry.


@dataclass(frozen=True)
class Typed:
    """What a reader thread read: keys of a terminal, or one line of a pipe; None is the end of the input."""

    text: Optional[str]


@dataclass(frozen=True)
class Resized:
    """The terminal has another size."""


@dataclass(frozen=True)
class Stopped:
    """The system asks the program to end."""


class OutputClosed(Exception):
    """Standard output was closed by its reader."""


def catch_signals(inbox: "queue.SimpleQueue[Any]") -> None:
    """Turn the signals that end a program into Stopped, and a change of the window's size into Resized."""
    for name, event in (("SIGINT", Stopped()), ("SIGTERM", Stopped()), ("SIGHUP", Stopped()), ("SIGWINCH", Resized())):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_, event=event: inbox.put(event))


def take(inbox: "queue.SimpleQueue[Any]", seconds: float = 0.5) -> Any:
    """Return the next of the inbox, or None; never waits so long that Windows could not deliver a Ctrl-C."""
    try:
        return inbox.get(timeout=seconds)
    except queue.Empty:
        return None


def complain(text: str) -> None:
    """Write one line of diagnostics to standard error."""
    with contextlib.suppress(OSError, ValueError):
        print("samsungchat: " + text, file=sys.stderr, flush=True)


def write_line(text: str) -> None:
    """Write one line to standard output; raises OutputClosed."""
    try:
        print(text, flush=True)
    except (OSError, ValueError):
        # What is left in the buffer must not fail once more when Python ends.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputClosed from None


def read_bytes(inbox: "queue.SimpleQueue[Any]", lines: bool, room: Optional[threading.Semaphore] = None) -> None:
    """Post what standard input brings, whole lines or as it comes, until its end; runs on a thread.

    Reads the descriptor itself: a daemon thread that holds sys.stdin's lock would hang the end of Python.
    Python has no sys.stdin where the descriptor is closed, and another file may have its number.
    """
    if sys.stdin is None:
        inbox.put(Typed(None))
        return
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest = ""
    while True:
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
        if not data:
            inbox.put(Typed(None))
            return


def start_reader(target: Callable[..., None], *arguments: Any) -> None:
    """Run a reader on a thread that does not keep the program alive."""
    threading.Thread(target=target, args=arguments, name="reader", daemon=True).start()


# --- terminal

_NAME_SGR = ("36", "32", "33", "35", "34", "96", "92", "95")


def wants_colour() -> bool:
    """Return whether standard output shows colours: a terminal, unless NO_COLOR or TERM=dumb say otherwise."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, sgr: str, colour: bool) -> str:
    """Wrap a text in a Select Graphic Rendition sequence (ECMA-48), where colours are shown."""
    return "\x1b[%sm%s\x1b[0m" % (sgr, text) if colour else text


def paint_line(line: Line, colour: bool) -> str:
    """Return a line of the conversation as a terminal shows it; further rows of its text are indented."""
    if line.kind in ("presence", "divider", "day"):
        return paint("-- %s --" % line.text if line.kind != "presence" else "-- " + line.text, "2", colour)
    if line.kind == "error":
        return paint("!! " + line.text, "31", colour)
    clock = paint(local_time(line.at).strftime("%H:%M "), "2", colour)
    text = line.text.replace("\n", "\n      ")
    if line.kind == "notice":
        return clock + paint("*** " + text, "1", colour)
    private = " (%s)" % ("private" if line.private.startswith("from") else line.private) if line.private else ""
    name = paint(line.name, "1;" + _NAME_SGR[line.colour], colour)
    if line.mention:
        text = paint(text, "1;33", colour)
    elif line.earlier:
        text = paint(text, "2", colour)
    lead = "* %s%s " if line.kind == "action" else "%s%s: "
    return clock + lead % (name, paint(private, "35", colour)) + text


class Terminal:
    """A terminal with the line being typed at its foot, which incoming lines never damage."""

    def __init__(self, inbox: "queue.SimpleQueue[Any]") -> None:
        """Take the terminal over; close() gives it back as it was."""
        self.editor = LineEditor()
        self.colour = wants_colour()
        self._inbox = inbox
        self._prompt = ""
        self._hidden = False
        self._row = 0
        self._saved: Any = None
        if os.name == "nt":
            os.system("")  # Switches the console's escape sequences on.
            start_reader(self._read_windows)
        else:
            self._set_raw()
            start_reader(read_bytes, inbox, False)
        self._write("\x1b[?2004h")  # Bracketed paste, which also old terminals ignore without harm.

    def _set_raw(self) -> None:
        import termios

        self._saved = termios.tcgetattr(0)
        raw = termios.tcgetattr(0)
        raw[0] &= ~(termios.IXON | termios.ICRNL | termios.INLCR)
        raw[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
        raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
        termios.tcsetattr(0, termios.TCSADRAIN, raw)

    def _read_windows(self) -> None:
        import msvcrt  # type: ignore[import-not-found,unused-ignore]

        names = {
            "H": "\x1b[A",
            "P": "\x1b[B",
            "K": "\x1b[D",
            "M": "\x1b[C",
            "G": "\x1b[H",
            "O": "\x1b[F",
            "S": "\x1b[3~",
        }
        while True:
            key = msvcrt.getwch()  # type: ignore[attr-defined,unused-ignore]
            if key in ("\0", "\xe0"):
                key = names.get(msvcrt.getwch(), "")  # type: ignore[attr-defined,unused-ignore]
            elif key == "\r" and msvcrt.kbhit():  # type: ignore[attr-defined,unused-ignore]
                key = "\x1b\r"  # More follows at once: this is a paste, and the line goes on.
            self._inbox.put(Typed(key))

    def close(self) -> None:
        """Give the terminal back."""
        with contextlib.suppress(OutputClosed):
            self._write(self._erased() + "\x1b[?2004l")
        if self._saved is not None:
            import termios

            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSADRAIN, self._saved)

    def suspend(self) -> None:
        """Give the terminal back, stop as Ctrl-Z asks, and take it over again when continued."""
        if hasattr(signal, "SIGTSTP"):
            self.close()
            os.kill(os.getpid(), signal.SIGSTOP)
            self._set_raw()
            self._write("\x1b[?2004h")
            self._draw("")

    def show(self, lines: Sequence[str], bell: bool = False) -> None:
        """Write lines above the line being typed."""
        if lines:
            self._draw("".join(line.replace("\n", "\r\n") + "\r\n" for line in lines) + "\a" * bell)

    def prompt(self, prompt: str, hidden: bool = False) -> None:
        """Show the line being typed behind that prompt, or hidden, for a password."""
        if (prompt, hidden) != (self._prompt, self._hidden):
            self._prompt, self._hidden = prompt, hidden
            self._draw("")

    def feed(self, keys: str) -> List[Tuple[str, str]]:
        """Take keys; return what they ask for, as LineEditor.feed does, without what concerns only the screen."""
        left = []
        for action, text in self.editor.feed(keys):
            if action == "redraw":
                self._write("\x1b[2J\x1b[H")
                self._row = 0
            elif action == "suspend":
                self.suspend()
            else:
                left.append((action, text))
        self._draw("")
        return left

    def redraw(self) -> None:
        """Draw the line being typed once more, as after a change of the window's size."""
        self._draw("")

    def _erased(self) -> str:
        up = "\x1b[%dA" % self._row if self._row else ""
        self._row = 0
        return up + "\r\x1b[J"

    def _draw(self, above: str) -> None:
        columns = shutil.get_terminal_size().columns
        rows, row, cell = self.editor.layout(self._prompt, columns, self._hidden)
        up = "\x1b[%dA" % (len(rows) - 1 - row) if row < len(rows) - 1 else ""
        right = "\x1b[%dC" % cell if cell else ""
        text = self._erased() + above + "\r\n".join(rows) + up + "\r" + right
        self._row = row
        self._write(text)

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except (OSError, ValueError):
            raise OutputClosed from None


# --- client


def default_name() -> str:
    """Return the login name of the person as a chat name, or "guest"."""
    try:
        return clean_name(re.sub(r"[^\w.-]", "", getpass.getuser()))
    except (UsageError, KeyError, ImportError, OSError):
        return "guest"


def parse_server(text: str, port: int) -> Tuple[str, int]:
    """Split HOST, HOST:PORT, [IPV6]:PORT or IPV6 into host and port; raises UsageError."""
    match = re.fullmatch(r"\[([^\]]+)\](?::(\d+))?|([^:\s]+):(\d+)|(\S+)", text.strip())
    if match is None:
        raise UsageError("Write the server as HOST or HOST:PORT, like 192.168.1.5 or lab1:11111.")
    host = match.group(1) or match.group(3) or match.group(5)
    number = int(match.group(2) or match.group(4) or port)
    if not 0 < number < 65536:
        raise UsageError("A port is a number from 1 to 65535.")
    if match.group(5) and ":" in host and not _is_ipv6(host):
        raise UsageError("Write the server as HOST or HOST:PORT, like 192.168.1.5 or lab1:11111.")
    return host, number


def _is_ipv6(host: str) -> bool:
    try:
        return bool(ipaddress.IPv6Address(host.split("%")[0]))
    except ValueError:
        return False


@dataclass
class ClientOptions:
    """What a client was started with; what is None is asked for."""

    server: Optional[str]
    port: int
    name: Optional[str]
    password: Optional[str]
    earlier: int
    as_json: bool = False
    stay: bool = False


def login_exit_code(code: str) -> int:
    """Return the exit status for a login that failed with that code word."""
    return 1 if code in (NO_ANSWER, TRY_LATER) else 3


class TerminalClient:
    """A client on a terminal: asks for what it needs, and again for just what was wrong."""

    def __init__(self, options: ClientOptions) -> None:
        """Take the terminal over and start the network thread."""
        self._options = options
        self._inbox: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        self._transcript = Transcript()
        self._asking = ""
        self._entered = False
        self._found: List[ServerFound] = []
        self._presence: Optional[Line] = None
        self._presence_until = 0.0
        self._warned = False
        self._code: Optional[int] = None
        catch_signals(self._inbox)
        self._loop = start_client(self._inbox.put, options.earlier)
        assert isinstance(self._loop.core, Client), "start_client starts a client"
        self._client = self._loop.core
        self._terminal = Terminal(self._inbox)

    def run(self) -> int:
        """Chat until the person leaves; return the exit status."""
        try:
            self._begin()
            while self._code is None:
                event = take(self._inbox, 0.25 if self._presence else 1.0)
                self._take(event)
                self._show_presence(late_only=True)
        except OutputClosed:
            self._code = 1
        finally:
            self._loop.call(self._client.leave)
            self._loop.join(LEAVE_SECONDS + 0.5)
            self._terminal.close()
        return self._code

    # --- logging in

    def _begin(self) -> None:
        """Ask for what is still missing, or log in."""
        options = self._options
        if options.server is None:
            self._note("Looking for servers on this network ...")
            self._found = []
            start_discovery(options.port, self._inbox.put)
        elif options.name is None:
            self._ask("name")
        elif options.password is None:
            self._ask("password")
        else:
            self._asking = ""
            self._note("Connecting to %s ..." % address_text((options.server, options.port)))
            self._draw_prompt()
            start_login(self._loop, options.server, options.port, options.name, options.password)

    def _ask(self, what: str) -> None:
        self._asking = what
        prompts = {
            "server": "Server [1]: " if self._found else "Server address: ",
            "name": "Your name [%s]: " % (self._options.name or default_name()),
            "password": "Password: ",
            "retry": "Press Enter to try again: ",
        }
        self._terminal.prompt(prompts[what], hidden=what == "password")

    def _answer(self, text: str) -> None:
        options = self._options
        try:
            if self._asking == "server":
                self._choose_server(text.strip())
            elif self._asking == "name":
                options.name = clean_name(text.strip() or options.name or default_name())
            elif self._asking == "password":
                options.password = text
            self._begin()
        except UsageError as fault:
            self._show([self._transcript.note(str(fault), "error")])

    def _choose_server(self, text: str) -> None:
        if self._found and (text.isdigit() or not text):
            number = int(text or "1")
            if not 1 <= number <= len(self._found):
                raise UsageError("Type a number from 1 to %d, or an address." % len(self._found))
            self._options.server, self._options.port = self._found[number - 1].address[:2]
        else:
            self._options.server, self._options.port = parse_server(text, self._options.port)

    def _searched(self) -> None:
        """The search for servers is over: take the only one, or ask."""
        if len(self._found) == 1:
            found = self._found[0]
            self._note("Found %s at %s." % (display_text(found.room, " "), address_text(found.address)))
            self._options.server, self._options.port = found.address[:2]
            self._begin()
            return
        for number, found in enumerate(self._found, 1):
            room = display_text(found.room, " ")
            self._note(
                "%d  %s at %s, %s" % (number, room, address_text(found.address), plural(found.members, "member"))
            )
        if not self._found:
            self._note("No server answered on this network. Type the address that the server shows at its start.")
        self._ask("server")

    def _failed(self, event: LoginFailed) -> None:
        """Ask again for just what was wrong."""
        if event.code == KICKED:
            self._code = 3
        elif event.code in (USERNAME_TAKEN, USERNAME_INVALID):
            self._ask("name")
        elif event.code == WRONG_PASSWORD:
            self._ask("password")
        elif event.code == NO_ANSWER and not self._entered:
            self._found = []
            self._ask("server")
        else:
            self._ask("retry")

    # --- what happens

    def _take(self, event: Any) -> None:
        if isinstance(event, Typed):
            self._take_keys(event.text)
        elif isinstance(event, Stopped):
            self._code = 0
        elif isinstance(event, Resized):
            self._terminal.redraw()
        elif isinstance(event, ServerFound):
            self._found.append(event)
        elif isinstance(event, DiscoveryEnded):
            self._searched()
        elif isinstance(event, CommandFailed):
            self._show([self._transcript.note(event.text, "error")])
        elif isinstance(event, LoopEnded):
            if event.failure:
                self._show([self._transcript.note(event.failure, "error")])
                self._code = 1
        elif event is not None:
            self._take_event(event)

    def _take_event(self, event: Any) -> None:
        if isinstance(event, Connected):
            self._entered = True
            self._asking = ""
        lines = self._transcript.apply(event)
        self._show([line for line in lines if line.state in ("", "pending")])
        if isinstance(event, NotSent) and not self._terminal.editor.text:
            self._terminal.editor.set(event.text)
            self._terminal.redraw()
        if isinstance(event, LoginFailed):
            self._failed(event)
        if not self._asking:
            self._draw_prompt()

    def _draw_prompt(self) -> None:
        status, name = self._transcript.status, self._transcript.name
        trouble = status.waiting or status.silent or status.state is not State.CONNECTED
        self._terminal.prompt("%s%s> " % (name, " (%s)" % status_text(status) if trouble else ""))

    def _note(self, text: str) -> None:
        self._show([self._transcript.note(text)])

    def _show(self, lines: Sequence[Line]) -> None:
        """Show lines; a run of joins and leaves waits a moment for more of the same."""
        for line in lines:
            if self._presence is not None and line.key != self._presence.key:
                self._show_presence()
            if line.kind == "presence" and line.at:
                if self._presence is None:
                    self._presence_until = time.monotonic() + PRESENCE_SECONDS
                self._presence = line
            else:
                self._terminal.show([paint_line(line, self._terminal.colour)], line.mention)

    def _show_presence(self, late_only: bool = False) -> None:
        line = self._presence
        if line is not None and not (late_only and time.monotonic() < self._presence_until):
            self._presence = None
            self._terminal.show([paint_line(line, self._terminal.colour)])
            self._transcript.end_presence()

    # --- what is typed

    def _take_keys(self, keys: Optional[str]) -> None:
        if keys is None:
            self._code = 0
            return
        for action, text in self._terminal.feed(keys):
            if action == "enter":
                self._enter(text)
            elif action == "complete":
                self._terminal.editor.complete(
                    lambda before: complete(before, self._transcript.names(), CLIENT_COMMANDS)
                )
                self._terminal.redraw()
            elif action == "paste" and "\n" in text.rstrip("\n"):
                lines = plural(text.rstrip("\n").count("\n") + 1, "line")
                self._note("%s pasted: Enter sends them as one message, Ctrl-C discards them." % lines)
            elif action == "interrupt" and self._terminal.editor.text:
                self._terminal.editor.set("")
                self._terminal.redraw()
            elif action in ("interrupt", "eof"):
                self._quit()

    def _enter(self, text: str) -> None:
        if self._asking:
            if self._asking == "password":
                self._terminal.editor.history.pop()
            self._answer(text)
            return
        if not text.strip():
            return
        try:
            if not self._entered:
                raise UsageError("Not connected yet; your line is kept.")
            self._obey(parse_input(text, CLIENT_COMMANDS))
        except UsageError as fault:
            self._show([self._transcript.note(str(fault), "error")])
            self._terminal.editor.set(text)
            self._terminal.redraw()

    def _obey(self, command: Command) -> None:
        if command.name == "quit":
            self._quit()
        elif command.name == "help":
            for line in commands_help(CLIENT_COMMANDS):
                self._note(line)
        elif command.name == "who":
            members = self._transcript.members()
            self._note("%s here: %s" % (plural(len(members), "member"), ", ".join(members)))
        else:
            say(self._loop, self._client, command, self._transcript)

    def _quit(self) -> None:
        waiting = self._transcript.status.waiting
        if waiting and not self._warned:
            self._warned = True
            self._note("%s not confirmed yet; quit once more to leave all the same." % plural(waiting, "message"))
        else:
            self._code = 1 if waiting else 0


def say(loop: Loop, client: Client, command: Command, transcript: Transcript) -> None:
    """Hand a text to the client; raises UsageError for one that cannot be sent, so that it can be kept."""
    text = clean_text(command.text)
    known = {name_key(name) for name in transcript.members()}
    if command.to_name and name_key(command.to_name) not in known:
        raise UsageError("Nobody here is called %s. Nothing was sent." % display_text(command.to_name, " "))
    loop.call(lambda now: client.say(text, now, command.name == "me", command.to_name))


class PipeClient:
    """A client in a pipe: one line in is one message, one line out is one entry."""

    def __init__(self, options: ClientOptions) -> None:
        """Start the network thread and the reader of standard input."""
        self._options = options
        self._inbox: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        self._transcript = Transcript()
        self._typed: Deque[Optional[str]] = collections.deque()
        self._room = threading.Semaphore(BACKLOG_LINES_MAX)
        self._connected = self._ending = False
        self._bad_lines = 0
        self._code: Optional[int] = None
        catch_signals(self._inbox)
        self._loop = start_client(self._inbox.put, options.earlier, PIPE_SECONDS)
        assert isinstance(self._loop.core, Client), "start_client starts a client"
        self._client = self._loop.core

    def run(self) -> int:
        """Carry lines both ways until the end; return the exit status."""
        try:
            server, port = self._server()
            options = self._options
            assert options.name is not None and options.password is not None, "a pipe asks nobody"
            start_login(self._loop, server, port, options.name, options.password)
            start_reader(read_bytes, self._inbox, True, self._room)
            while self._code is None:
                self._take(take(self._inbox))
        except OutputClosed:
            complain("standard output was closed; leaving the room.")
            self._code = 1
        except UsageError as fault:
            complain("%s: %s" % (NO_ANSWER, fault))
            self._code = 1
        finally:
            self._loop.call(self._client.leave)
            self._loop.join(LEAVE_SECONDS + 0.5)
        return self._code

    def _server(self) -> Tuple[str, int]:
        """Return the server named, or the only one found; raises UsageError."""
        if self._options.server is not None:
            return self._options.server, self._options.port
        found = find_servers(self._options.port)
        if not found:
            raise UsageError(REFUSALS[NO_ANSWER])
        if len(found) > 1:
            places = ", ".join("%s (%s)" % (address_text(each.address), display_text(each.room, " ")) for each in found)
            raise UsageError("Several servers answered; name one of them: %s." % places)
        return found[0].address[0], found[0].address[1]

    def _take(self, event: Any) -> None:
        if isinstance(event, Typed):
            self._typed.append(event.text)
        elif isinstance(event, Stopped):
            waiting = self._transcript.status.waiting
            if waiting:
                complain("%s not confirmed." % plural(waiting, "message"))
            self._code = 1 if waiting else 0
        elif isinstance(event, LoopEnded):
            if event.failure:
                complain(event.failure)
            self._code = 1 if event.failure else 2 if self._bad_lines else 0
        elif event is not None:
            self._show(event)
        while self._connected and self._typed:
            self._say(self._typed.popleft())

    def _show(self, event: Any) -> None:
        self._transcript.apply(event)
        if self._options.as_json:
            found = json_object(event)
            text = json.dumps(found) if found is not None else None
        else:
            text = plain_line(event)
        if text is not None:
            write_line(text)
        if isinstance(event, Connected):
            self._connected = True
        elif isinstance(event, Disconnected):
            complain(event.text + " Trying again.")
        elif isinstance(event, LoginFailed):
            complain("%s: %s" % (event.code, event.text))
            self._code = login_exit_code(event.code)
        elif isinstance(event, NotSent):
            self._refuse_line(event.reason)
        if isinstance(event, (Sent, NotSent)):
            self._room.release()

    def _refuse_line(self, reason: str) -> None:
        self._bad_lines += 1
        complain("not sent: " + reason)

    def _say(self, text: Optional[str]) -> None:
        if text is None:
            if not self._options.stay:
                self._loop.call(self._client.finish)
            return
        if text.strip():
            try:
                command = parse_input(text, CLIENT_COMMANDS)
                if command.name in ("say", "me", "msg"):
                    say(self._loop, self._client, command, self._transcript)
                    return
                self._obey(command)
            except UsageError as fault:
                self._refuse_line(str(fault))
        self._room.release()

    def _obey(self, command: Command) -> None:
        """Commands that are no message answer on standard error."""
        if command.name == "quit":
            self._typed.clear()
            self._loop.call(self._client.finish)
        elif command.name == "who":
            complain("here: " + ", ".join(self._transcript.members()))
        else:
            for line in commands_help(CLIENT_COMMANDS):
                complain(line)


def find_servers(port: int) -> List[ServerFound]:
    """Search the network for about a second and return what was found."""
    inbox: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
    loop = start_discovery(port, inbox.put)
    loop.join(2 * DISCOVERY_SECONDS)
    found = []
    while not inbox.empty():
        event = inbox.get()
        if isinstance(event, ServerFound):
            found.append(event)
    return found


# --- server


class ServerConsole:
    """The server on the console: its log on standard output, commands from a terminal."""

    def __init__(self, server: Server, sockets: List[socket.socket], notes: Sequence[str]) -> None:
        """``notes`` are said after the addresses."""
        self._inbox: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        self._bound = sockets[0].getsockname()
        self._notes = notes
        self._server = server
        self._stopping = False
        self._terminal: Optional[Terminal] = None
        catch_signals(self._inbox)
        self._loop = Loop(server, sockets, self._inbox.put)

    def run(self) -> int:
        """Serve until told to stop; return the exit status."""
        code = None
        self._loop.start()
        try:
            self._introduce()
            self._open_input()
            while code is None:
                code = self._take(take(self._inbox))
        except OutputClosed:
            code = 1
        finally:
            self._loop.call(self._server.close)
            self._loop.join(2.0)
            if self._terminal is not None:
                self._terminal.close()
        return code

    def _open_input(self) -> None:
        if is_terminal(sys.stdin) and is_terminal(sys.stdout):
            self._terminal = Terminal(self._inbox)
            self._terminal.prompt("> ")
        elif sys.stdin is not None and sys.stdin.isatty():
            start_reader(read_bytes, self._inbox, True)

    def _introduce(self) -> None:
        for line in introduction(self._bound, self._server.room):
            self._write(line)
        for note in self._notes:
            self._write(note)

    def _write(self, text: str) -> None:
        if self._terminal is not None:
            self._terminal.show([text])
        else:
            write_line(text)

    def _log(self, text: str) -> None:
        self._write("%s  %s" % (local_time(time.time()).strftime("%Y-%m-%d %H:%M:%S"), text))

    def _take(self, event: Any) -> Optional[int]:
        if isinstance(event, Stopped):
            self._stop()
        elif isinstance(event, LoopEnded):
            if event.failure:
                complain(event.failure)
            return 1 if event.failure else 0
        elif isinstance(event, Typed):
            self._take_typed(event.text)
        elif isinstance(event, Resized) and self._terminal is not None:
            self._terminal.redraw()
        elif isinstance(event, ServerReport):
            for line in report_lines(event):
                self._write(line)
        elif isinstance(event, CommandFailed):
            self._write(event.text)
        elif event is not None:
            text = log_line(event)
            if text is not None:
                self._log(text)
        return None

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._log("closing the room")
            self._loop.call(self._server.close)

    def _take_typed(self, text: Optional[str]) -> None:
        if self._terminal is None:
            if text:
                self._obey(text)
            return
        if text is None:
            self._stop()
            return
        for action, line in self._terminal.feed(text):
            if action == "enter" and line.strip():
                self._obey(line)
            elif action == "complete":
                self._terminal.editor.complete(lambda before: complete(before, [], SERVER_COMMANDS))
                self._terminal.redraw()
            elif action == "interrupt" and self._terminal.editor.text:
                self._terminal.editor.set("")
                self._terminal.redraw()
            elif action in ("interrupt", "eof"):
                self._stop()

    def _obey(self, text: str) -> None:
        try:
            command = parse_input(text, SERVER_COMMANDS)
            if command.name == "say" and not text.startswith("/say"):
                raise UsageError("Write /say TEXT to announce something, /help for the commands.")
        except UsageError as fault:
            self._write(str(fault))
            return
        server = self._server
        if command.name == "say":
            self._loop.call(lambda now: server.say(command.text, now))
            self._log("announced: " + display_text(command.text, " "))
        elif command.name == "kick":
            self._loop.call(lambda now: server.kick(command.to_name, now))
        elif command.name == "who":
            self._loop.call(lambda now: server.report())
        elif command.name == "quit":
            self._stop()
        else:
            for line in commands_help(SERVER_COMMANDS):
                self._write(line)


def is_terminal(stream: Optional[TextIO]) -> bool:
    """Return whether a standard stream is a terminal on which lines can be redrawn."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def introduction(bound: Any, room: str) -> List[str]:
    """Return what a server says first: where it listens, and what to type on the other machines."""
    port = "" if bound[1] == PORT else ":%d" % bound[1]
    lines = ["listening on " + address_text(bound), "room: " + display_text(room, " ")]
    for host in local_addresses(bound):
        own = host.startswith("127.") or host == "::1"
        where = "on this machine (the address reaches no other)" if own else "on other machines"
        shown = "[%s]" % host if ":" in host and port else host
        lines.append("%s: python samsungchat.py client %s%s" % (where, shown, port))
    return lines


def log_line(event: Any) -> Optional[str]:
    """Return an event of the server as a line of its log, safe to show."""
    if isinstance(event, MemberArrived):
        verb = "is back" if event.resumed else "joined"
        return "%s %s from %s (%d here)" % (
            display_text(event.name, " "),
            verb,
            address_text(event.address),
            event.members,
        )
    if isinstance(event, MemberDeparted):
        why = PRESENCE_WORDS.get(event.why, event.why)
        return "%s %s (%d here)" % (display_text(event.name, " "), why, event.members)
    if isinstance(event, LoginRefused):
        return "refused %s from %s: %s" % (display_text(event.name, " "), address_text(event.address), event.code)
    if isinstance(event, ClassicTried):
        who = address_text(event.address)
        return "%s tried to log in with the original program; start the server with --classic to admit it" % who
    if isinstance(event, HistoryStuck):
        return event.reason + " Messages wait until then." if event.reason else "the history is written again"
    if isinstance(event, LoginAbandoned):
        return "login from %s was not completed: wrong password, or the connection broke" % address_text(event.address)
    return None


def report_lines(report: ServerReport) -> List[str]:
    """Return the answer to /who."""
    lines = ["%d of %d members" % (len(report.members), report.members_max)]
    for row in sorted(report.members, key=lambda row: name_key(row.name)):
        since = local_time(row.joined_at).strftime("%H:%M:%S")
        where = address_text(row.address)
        counted = plural(row.messages, "message")
        lines.append("  %s  %s  %d ms  %s  since %s" % (display_text(row.name, " "), where, row.rtt_ms, counted, since))
    return lines


# ======================================================================================================
# 14. Command line
# ======================================================================================================
# Flags, passwords, exit codes: 0 done; 1 no server answered, or the connection was lost for good; 2 usage;
# 3 login refused or kicked.


def chosen_password(options: argparse.Namespace) -> Optional[str]:
    """Return the password from its flag, its file or SAMSUNGCHAT_PASSWORD, in this order; raises UsageError."""
    if options.password is not None:
        return str(options.password)
    if options.password_file is not None:
        try:
            with open(options.password_file, encoding="utf-8-sig") as file:
                text = file.read(4096)
        except (OSError, UnicodeDecodeError) as fault:
            reason = getattr(fault, "strerror", None) or "it is not UTF-8 text"
            raise UsageError("Cannot read the password file %s: %s." % (options.password_file, reason)) from None
        return text[:-1] if text.endswith("\n") else text
    return os.environ.get("SAMSUNGCHAT_PASSWORD")


def _count(low: int, high: int) -> Callable[[str], int]:
    """Return a parser for argparse of whole numbers in a range."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise argparse.ArgumentTypeError("must be a whole number from %d to %d" % (low, high))
        return number

    return parse


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="samsungchat.py",
        description="A chatroom over UDP for the machines of one network.",
        epilog="Environment: SAMSUNGCHAT_PASSWORD, the password; SAMSUNGCHAT_DISCOVERY, where a client looks for "
        "servers (addresses, comma-separated); NO_COLOR, no colours. Exit status: 0 done; 1 no server answered, or "
        "the connection was lost for good; 2 usage; 3 login refused or kicked.",
    )
    parser.add_argument("--version", action="version", version="samsungchat " + __version__)
    roles = parser.add_subparsers(dest="role", metavar="{server,client}", required=True)
    server = roles.add_parser("server", help="run the room", description="Run the room on this machine.")
    client = roles.add_parser("client", help="join a room", description="Join a room as a member.")
    for role in (server, client):
        face = role.add_mutually_exclusive_group()
        face.add_argument("--gui", action="store_true", help="open a window")
        face.add_argument("--cli", action="store_true", help="use the terminal, or a pipe")
    _add_server_arguments(server)
    _add_client_arguments(client)
    for role in (server, client):
        secret = role.add_mutually_exclusive_group()
        secret.add_argument("--password-file", metavar="FILE", help="read the password from a file")
        secret.add_argument("--password", metavar="TEXT", help="the password; other users of this machine can see it")
    return parser


def _add_server_arguments(server: argparse.ArgumentParser) -> None:
    server.add_argument(
        "--host", default="0.0.0.0", help="address to listen on (default: %(default)s; :: for IPv6 too)"
    )
    server.add_argument(
        "--port", type=_count(0, 65535), default=PORT, help="UDP port (default: %(default)s; 0: any free)"
    )
    server.add_argument("--classic", action="store_true", help="admit the original program too, which is not encrypted")
    server.add_argument("--history", metavar="FILE", help="keep the room's history in this file (default: in memory)")
    server.add_argument(
        "--keep", metavar="DAYS", type=_count(1, 36500), help="with --history: forget what is older (default: keep all)"
    )
    server.add_argument(
        "--export", metavar="FILE", help="write the history as text into FILE, or - for standard output, and end"
    )
    server.add_argument("--json", action="store_true", help="with --export: one JSON object a line")
    server.add_argument("--room", metavar="NAME", default=ROOM, help="name of the room (default: %(default)s)")
    server.add_argument(
        "--max-members",
        metavar="N",
        type=_count(1, 65535),
        default=MEMBERS_MAX,
        help="most members (default: %(default)s)",
    )
    server.add_argument(
        "--rate",
        metavar="N",
        type=_count(0, 1_000_000),
        default=RATE_PARTS,
        help="messages a second per member (default: %(default)s; 0: no limit)",
    )


def _add_client_arguments(client: argparse.ArgumentParser) -> None:
    client.add_argument("server", metavar="SERVER[:PORT]", nargs="?", help="where the server is (default: look for it)")
    client.add_argument("--port", type=_count(1, 65535), default=PORT, help="UDP port (default: %(default)s)")
    client.add_argument("--name", help="your name in the room (default: ask, or your login name)")
    client.add_argument(
        "--earlier",
        metavar="N",
        type=_count(0, 65535),
        default=EARLIER_DEFAULT,
        help="earlier messages to show (default: %(default)s)",
    )
    client.add_argument("--classic", action="store_true", help="talk to an original server, unencrypted")
    client.add_argument("--json", action="store_true", help="print one JSON object a line")
    client.add_argument("--stay", action="store_true", help="in a pipe: go on receiving after the end of the input")


def tune_process() -> None:
    """Set the interpreter up to serve: short turns at Python's lock, few walks of the garbage collector."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS)


def run_server(options: argparse.Namespace) -> int:
    """Run a server on the console; return the exit status.  Raises UsageError, LogFailure and OSError."""
    if (options.keep or options.export) and not options.history:
        raise UsageError("--keep and --export are about a history; name it with --history FILE.")
    if options.export:
        return export_history(options.history, options.export, options.json)
    room = display_text(options.room, " ").strip()
    if not 0 < len(room.encode("utf-8")) <= STRING_BYTES_MAX:
        raise UsageError("A room's name has 1 to %d bytes." % STRING_BYTES_MAX)
    password = chosen_password(options)
    notes = []
    if password is None:
        password = PASSWORD
        notes.append("warning: the default password is in use; anybody can know it (--password-file sets another)")
    if not password:
        raise UsageError("The password is empty; choose one that is not.")
    tune_process()
    sockets = open_server_sockets(options.host, options.port)
    now = time.monotonic()
    epoch = time.time() - now
    began = int(time.time() * 1000)
    log: Log = SqliteLog(options.history, began, options.keep or 0) if options.history else MemoryLog(began)
    server = Server(log, password, os.urandom, now, epoch, room, options.max_members, options.rate, options.classic)
    try:
        return ServerConsole(server, sockets, notes).run()
    finally:
        log.close()


def export_history(path: str, target: str, as_json: bool) -> int:
    """Write a history as text or JSON lines; return the exit status.  Raises UsageError and OSError."""
    with contextlib.ExitStack() as files:
        out = sys.stdout if target == "-" else files.enter_context(open(target, "x", encoding="utf-8"))
        runs = RunReader()
        for number, entry in read_history(path):
            text = runs.read(entry)
            event = entry_event(number, 1, entry, text, False) if text is not None else None
            if event is not None:
                line = json.dumps(json_object(event)) if as_json else plain_line(event)
                clock = "" if as_json else local_time(entry.time / 1000).strftime("%Y-%m-%d %H:%M:%S  ")
                out.write("%s%s\n" % (clock, line))
        out.flush()
    return 0


def run_client(options: argparse.Namespace) -> int:
    """Run a client on a terminal or in a pipe; return the exit status.  Raises UsageError and OSError."""
    server, port = parse_server(options.server, options.port) if options.server is not None else (None, options.port)
    name = clean_name(options.name) if options.name is not None else None
    password = chosen_password(options)
    chosen = ClientOptions(server, port, name, password, options.earlier, options.json, options.stay)
    if is_terminal(sys.stdin) and is_terminal(sys.stdout) and not chosen.as_json:
        return TerminalClient(chosen).run()
    if chosen.name is None:
        chosen.name = default_name()
    if chosen.password is None:
        chosen.password = PASSWORD
        complain("no password given (--password-file, SAMSUNGCHAT_PASSWORD); trying the default one")
    return PipeClient(chosen).run()


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command line; return the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            encoding = None if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="backslashreplace")
    options = argument_parser().parse_args(arguments)
    try:
        if options.gui:
            raise UsageError("This version has no windows yet; use --cli.")
        return run_server(options) if options.role == "server" else run_client(options)
    except UsageError as fault:
        complain(str(fault))
        return 2
    except LogFailure as fault:
        complain(str(fault))
        return 1
    except FileExistsError as fault:
        complain("%s is there already; choose another name." % fault.filename)
        return 1
    except OSError as fault:
        complain(fault.strerror or str(fault))
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
