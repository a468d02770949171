"""Our server as a process and our client core for each member, for the load generator roomload.py.

    python roomload.py run --adapter .ci/adapter_samsungchat.py --servers samsungchat,ngircd --workloads W1,W6

SAMSUNGCHAT names another folder whose samsungchat.py is measured, for paired runs of two versions.
"""

import contextlib
import functools
import importlib.util
import os
import socket
import sys
import time
from pathlib import Path

from roomload import HOST, RECEIVE_BUFFER, DatagramMember, Member, Server, udp_bound  # noqa: F401

SCRIPT = Path(os.environ.get("SAMSUNGCHAT", Path(__file__).parent.parent)).resolve() / "samsungchat.py"
PASSWORD = "bench password"

sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location("samsungchat", SCRIPT)
chat = importlib.util.module_from_spec(spec)
sys.modules["samsungchat"] = chat
spec.loader.exec_module(chat)

# All members live in one process here and read the same bodies: what one has decrypted and decoded serves all, so
# that the generator, not the server, is spared.  (The results are values; nothing else changes.)
for name in ("xor_stream", "body_digest", "decode_batch"):
    setattr(chat, name, functools.lru_cache(4096)(getattr(chat, name)))


class OurMember(Member):
    tick_every = 0.02
    up = False

    def connect(self):
        self.texts = []
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self.sock.bind((HOST, 0))
        self.sock.setblocking(False)
        self.core = chat.Client(os.urandom, time.time() - time.monotonic(), 0)
        self.core.login("m%d" % self.index, PASSWORD, [(HOST, self.server.port)], time.monotonic())
        self.tick()

    def fileno(self):
        return self.sock.fileno()

    def tick(self):
        self.core.tick(time.monotonic())
        self._flush()
        self._collect()

    def _flush(self):
        for datagram in self.core.outgoing():
            with contextlib.suppress(BlockingIOError):
                self.sock.sendto(datagram.data, datagram.address)

    def receive(self):
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            for _ in range(64):
                self.core.receive(*self.sock.recvfrom(2048), time.monotonic())
        deadline = self.core.deadline()
        if deadline is not None and deadline <= time.monotonic():
            self.core.tick(time.monotonic())
        self._flush()
        self._collect()
        texts, self.texts = b"".join(self.texts), []
        return texts if self.joined else b"\0"

    def _collect(self):
        for event in self.core.events():
            if isinstance(event, chat.Happened) and not event.number:
                self.texts.append(event.text.encode())
            elif isinstance(event, chat.Connected):
                self.up = True

    def joining(self, data):
        self.joined = self.up

    def send(self, text):
        self.core.say(text.decode(), time.monotonic())
        self.tick()

    def close(self):
        self.sock.close()


class SamsungChat(Server):
    name = "samsungchat"
    about = "ours: sealed, reliable; members are our client core in the generator"
    member = OurMember
    batch = 20

    def version(self):
        return chat.__version__

    def command(self, workdir):
        (workdir / "password").write_text(PASSWORD)
        place = ["--host", HOST, "--port", str(self.port), "--password-file", str(workdir / "password")]
        return [sys.executable, str(SCRIPT), "server", "--cli", "--rate", "0", "--max-members", "2000", *place]

    def answers(self):
        return udp_bound(self.port)
