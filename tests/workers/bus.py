"""A small NATS client, for one thread: what tests need to stand where the bridge or nobody stands."""

import collections
import itertools
import json
import socket
import time
from dataclasses import dataclass

from checking import SOON_SECONDS


@dataclass(frozen=True)
class Message:
    subject: str
    headers: dict[str, str]
    payload: bytes


class Bus:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=SOON_SECONDS)
        self.unread = b""
        self.waiting: dict[int, collections.deque[Message]] = {}
        self.pongs = 0
        self.numbers = itertools.count(1)
        self._send(b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\n')
        self.flush()

    def close(self) -> None:
        self.socket.close()

    def subscribe(self, subject: str) -> int:
        """From when this returns, messages are kept for `next`."""
        number = next(self.numbers)
        self.waiting[number] = collections.deque()
        self._send(f"SUB {subject} {number}\r\n".encode())
        self.flush()
        return number

    def unsubscribe(self, number: int) -> None:
        self._send(f"UNSUB {number}\r\n".encode())
        del self.waiting[number]

    def publish(self, subject: str, payload: bytes, reply: str = "", headers: dict[str, str] | None = None) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        head = f"NATS/1.0\r\n{lines}\r\n".encode()
        self._send(f"HPUB {subject} {reply} {len(head)} {len(head) + len(payload)}\r\n".encode() + head + payload + b"\r\n")

    def flush(self) -> None:
        """Returns when the server has passed on everything that was published here."""
        wanted = self.pongs + 1
        self._send(b"PING\r\n")
        end = time.monotonic() + SOON_SECONDS
        while self.pongs < wanted:
            self._read(end)

    def next(self, number: int, seconds: float = SOON_SECONDS) -> Message | None:
        """The next message of a subscription; None where none comes in time."""
        end = time.monotonic() + seconds
        while not self.waiting[number]:
            try:
                self._read(end)
            except TimeoutError:
                return None
        return self.waiting[number].popleft()

    def arrived(self, number: int) -> list[Message]:
        """All messages of a subscription that the server has sent so far."""
        self.flush()
        messages = list(self.waiting[number])
        self.waiting[number].clear()
        return messages

    def request(self, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> Message:
        number = self.subscribe(inbox := self._inbox())
        self.publish(subject, payload, inbox, headers)
        reply = self.next(number)
        self.unsubscribe(number)
        if reply is None:
            raise TimeoutError(f"no reply from {subject}")
        return reply

    def services(self, verb: str, subject: str, count: int) -> list[dict]:
        """What services at this subject say to `INFO` or `STATS`, once there are as many of them."""
        end = time.monotonic() + SOON_SECONDS
        while len(found := self._asked(verb, subject, count)) != count:
            if time.monotonic() > end:
                raise TimeoutError(f"{len(found)} services at {subject}, not {count}")
            time.sleep(0.05)
        return found

    def is_served(self, subject: str) -> bool:
        """Whether a service is at this subject."""
        return bool(self._asked("INFO", subject, 1))

    def _asked(self, verb: str, subject: str, count: int) -> list[dict]:
        number = self.subscribe(inbox := self._inbox())
        self.publish(f"$SRV.{verb}", b"", inbox)
        found: list[dict] = []
        # A moment more than those need that are wanted, to hear of those that are not.
        while (reply := self.next(number, 0.1 if len(found) == count else 0.5)) and reply.payload:
            service = json.loads(reply.payload)
            found += [service for each in service["endpoints"] if each["subject"] == subject]
        self.unsubscribe(number)
        return found

    def _inbox(self) -> str:
        return f"_INBOX.{id(self)}.{next(self.numbers)}"

    def _send(self, data: bytes) -> None:
        self.socket.settimeout(SOON_SECONDS)
        self.socket.sendall(data)

    def _read(self, end: float) -> None:
        """Reads one line of the protocol, and what belongs to it."""
        line = self._until(b"\r\n", end)
        verb, *words = line.decode().split(" ")
        match verb.upper():
            case "PING":
                self._send(b"PONG\r\n")
            case "PONG":
                self.pongs += 1
            case "MSG" | "HMSG":
                total = int(words[-1])
                data = self._exactly(total + 2, end)[:total]
                length = int(words[-2]) if verb.upper() == "HMSG" else 0
                self._keep(words[0], int(words[1]), data[:length].decode(), data[length:])
            case "-ERR":
                raise RuntimeError(line.decode())

    def _keep(self, subject: str, number: int, head: str, payload: bytes) -> None:
        fields = (line.split(":", 1) for line in head.split("\r\n")[1:] if ":" in line)
        headers = {name: value.strip() for name, value in fields}
        if number in self.waiting:
            self.waiting[number].append(Message(subject, headers, payload))

    def _until(self, mark: bytes, end: float) -> bytes:
        while mark not in self.unread:
            self._receive(end)
        line, self.unread = self.unread.split(mark, 1)
        return line

    def _exactly(self, count: int, end: float) -> bytes:
        while len(self.unread) < count:
            self._receive(end)
        data, self.unread = self.unread[:count], self.unread[count:]
        return data

    def _receive(self, end: float) -> None:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError("nothing comes from nats-server")
        self.socket.settimeout(left)
        data = self.socket.recv(65_536)
        if not data:
            raise ConnectionError("nats-server has closed the connection")
        self.unread += data
