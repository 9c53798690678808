"""A client that says just what a test makes it say: MQTT 3.1.1 and 5 packets made and read by hand."""
import collections
import dataclasses
import itertools
import socket
import struct
import time

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = range(1, 16)
NAMES = ["", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ",
         "PINGRESP", "DISCONNECT", "AUTH"]
# How long an answer may take on a loaded machine, and how long nothing must come to count as nothing.
PATIENCE, QUIET = 8, 0.25

# MQTT 5 properties: name, and how the value is written.
PROPERTIES = {
    0x01: ("payload_format", "byte"), 0x02: ("message_expiry", "u32"), 0x03: ("content_type", "text"), 0x08: ("response_topic", "text"),
    0x09: ("correlation_data", "binary"), 0x0B: ("subscription_identifier", "length"), 0x11: ("session_expiry", "u32"),
    0x12: ("assigned_client_id", "text"), 0x13: ("server_keep_alive", "u16"), 0x15: ("authentication_method", "text"),
    0x16: ("authentication_data", "binary"), 0x17: ("request_problem_information", "byte"), 0x18: ("will_delay", "u32"),
    0x19: ("request_response_information", "byte"), 0x1A: ("response_information", "text"), 0x1C: ("server_reference", "text"),
    0x1F: ("reason_string", "text"), 0x21: ("receive_maximum", "u16"), 0x22: ("topic_alias_maximum", "u16"), 0x23: ("topic_alias", "u16"),
    0x24: ("maximum_qos", "byte"), 0x25: ("retain_available", "byte"), 0x26: ("user", "pair"), 0x27: ("maximum_packet_size", "u32"),
    0x28: ("wildcard_available", "byte"), 0x29: ("subscription_identifiers_available", "byte"), 0x2A: ("shared_available", "byte")}
CODES = {name: (code, kind) for code, (name, kind) in PROPERTIES.items()}
MANY = ("user", "subscription_identifier")


def length(value):
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def text(value):
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack(">H", len(data)) + data


def properties(values):
    out = b""
    for name, value in (values or {}).items():
        code, kind = CODES[name]
        for each in value if name in MANY and isinstance(value, list) else [value]:
            out += bytes([code])
            out += {"byte": lambda v: bytes([v]), "u16": lambda v: struct.pack(">H", v), "u32": lambda v: struct.pack(">I", v), "length": length,
                    "text": text, "binary": text, "pair": lambda v: text(v[0]) + text(v[1])}[kind](each)
    return length(len(out)) + out


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        assert self.at + count <= len(self.data), f"cut short: {self.data!r}"
        self.at += count
        return self.data[self.at - count:self.at]

    def u8(self):
        return self.take(1)[0]

    def u16(self):
        return struct.unpack(">H", self.take(2))[0]

    def binary(self):
        return self.take(self.u16())

    def length(self):
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    def rest(self):
        return self.take(len(self.data) - self.at)

    def more(self):
        return self.at < len(self.data)

    def properties(self):
        inner, found = Reader(self.take(self.length())), {}
        while inner.more():
            name, kind = PROPERTIES[inner.u8()]
            value = {"byte": inner.u8, "u16": inner.u16, "u32": lambda: struct.unpack(">I", inner.take(4))[0], "length": inner.length,
                     "text": lambda: inner.binary().decode(), "binary": inner.binary,
                     "pair": lambda: (inner.binary().decode(), inner.binary().decode())}[kind]()
            if name in MANY:
                found.setdefault(name, []).append(value)
            else:
                assert name not in found, f"{name} twice"
                found[name] = value
        return found


@dataclasses.dataclass
class Packet:
    kind: int
    flags: int
    id: int = None
    code: int = None
    codes: list = None
    present: bool = None
    topic: str = None
    payload: bytes = None
    properties: dict = dataclasses.field(default_factory=dict)

    @property
    def qos(self):
        return self.flags >> 1 & 3

    @property
    def retain(self):
        return bool(self.flags & 1)

    @property
    def dup(self):
        return bool(self.flags & 8)


def parse(first, body, version):
    packet, data = Packet(first >> 4, first & 15), Reader(body)
    if packet.kind == CONNACK:
        packet.present, packet.code = bool(data.u8() & 1), data.u8()
        if version == 5 and data.more():
            packet.properties = data.properties()
    elif packet.kind == PUBLISH:
        packet.topic = data.binary().decode()
        if packet.qos:
            packet.id = data.u16()
        if version == 5:
            packet.properties = data.properties()
        packet.payload = data.rest()
    elif packet.kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
        packet.id = data.u16()
        packet.code = data.u8() if data.more() else 0
        if data.more():
            packet.properties = data.properties()
    elif packet.kind in (SUBACK, UNSUBACK):
        packet.id = data.u16()
        if version == 5:
            packet.properties = data.properties()
        packet.codes = list(data.rest())
    elif packet.kind == DISCONNECT:
        packet.code = data.u8() if data.more() else 0
        if data.more():
            packet.properties = data.properties()
    assert not data.more(), f"{NAMES[packet.kind]} with more than it should hold: {body!r}"
    return packet


def frame(kind, flags=0, body=b""):
    return bytes([kind << 4 | flags]) + length(len(body)) + body


def connect(client_id="", version=4, clean=True, keep_alive=60, will=None, username=None, password=None, extra=None, will_extra=None,
            name="MQTT", level=None, flags=0):
    """A CONNECT. `will` is (topic, payload, qos, retain); `flags` adds bits."""
    flags |= 2 if clean else 0
    payload = text(client_id)
    if will:
        topic, message, qos, retain = will
        flags |= 4 | qos << 3 | (32 if retain else 0)
        payload += (properties(will_extra) if version == 5 else b"") + text(topic) + text(message)
    if username is not None:
        flags |= 128
        payload += text(username)
    if password is not None:
        flags |= 64
        payload += text(password)
    body = text(name) + bytes([version if level is None else level, flags]) + struct.pack(">H", keep_alive)
    return frame(CONNECT, 0, body + (properties(extra) if version == 5 else b"") + payload)


def publish(topic, payload=b"", qos=0, retain=False, dup=False, id=None, version=4, extra=None):
    body = text(topic) + (struct.pack(">H", id) if qos else b"") + (properties(extra) if version == 5 else b"")
    return frame(PUBLISH, (8 if dup else 0) | qos << 1 | (1 if retain else 0), body + (payload if isinstance(payload, bytes) else payload.encode()))


def subscribe(id, filters, version=4, extra=None):
    """`filters` are pairs of a filter and its options byte, which begins with the QoS."""
    body = struct.pack(">H", id) + (properties(extra) if version == 5 else b"")
    return frame(SUBSCRIBE, 2, body + b"".join(text(topic) + bytes([options]) for topic, options in filters))


def unsubscribe(id, filters, version=4):
    return frame(UNSUBSCRIBE, 2, struct.pack(">H", id) + (properties({}) if version == 5 else b"") + b"".join(map(text, filters)))


def acknowledge(kind, id, code=None, version=4, extra=None):
    body = struct.pack(">H", id)
    if version == 5 and (code is not None or extra):
        body += bytes([code or 0]) + (properties(extra) if extra else b"")
    return frame(kind, 2 if kind == PUBREL else 0, body)


# Subscription options of MQTT 5, to be added to the QoS.
NO_LOCAL, RETAIN_AS_PUBLISHED, RETAIN_IF_NEW, RETAIN_NEVER = 4, 8, 16, 32


class Closed(Exception):
    """The broker has ended the connection."""


class Raw:
    """A connection over which a test sends what it likes."""

    def __init__(self, port, version=4, context=None, receive_buffer=None, session=None):
        self.version, self.ids = version, itertools.count(1)
        self.inbox, self.buffer, self.open = collections.deque(), b"", True
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost", session=session)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.drop()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Closed(str(error)) from error

    def drop(self):
        """Ends the connection without a word."""
        self.open = False
        self.socket.close()

    def reset(self):
        """Ends it with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.drop()

    # --- packets in ---
    def _fill(self, deadline):
        """Reads more bytes; False when the deadline passes first."""
        self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            data = self.socket.recv(1 << 16)
        except TimeoutError:
            return False
        except OSError as error:
            self.open = False
            raise Closed(str(error)) from error
        if not data:
            self.open = False
            raise Closed("end of stream")
        self.buffer += data
        while True:
            shape = self._first()
            if not shape:
                return True
            head, size = shape
            body, self.buffer, first = self.buffer[head:head + size], self.buffer[head + size:], self.buffer[0]
            self.inbox.append(parse(first, body, self.version))

    def _first(self):
        size = shift = 0
        for place, byte in enumerate(self.buffer[1:5]):
            size |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return (place + 2, size) if len(self.buffer) >= place + 2 + size else None
        return None

    def receive(self, *kinds, seconds=PATIENCE):
        """The next packet of these kinds, or of any; the others stay."""
        deadline = time.monotonic() + seconds
        while True:
            for packet in self.inbox:
                if not kinds or packet.kind in kinds:
                    self.inbox.remove(packet)
                    return packet
            if not self._fill(deadline):
                wanted = " or ".join(NAMES[kind] for kind in kinds) or "anything"
                raise AssertionError(f"no {wanted} within {seconds} s; there is {list(self.inbox)}")

    def ended(self, seconds=PATIENCE):
        """Waits for the broker to end the connection; returns the reason that it gave, MQTT 5 only."""
        deadline = time.monotonic() + seconds
        try:
            while self._fill(deadline):
                pass
        except Closed:
            reasons = [packet.code for packet in self.inbox if packet.kind == DISCONNECT]
            return reasons[0] if reasons else None
        raise AssertionError(f"the connection still stands after {seconds} s; there is {list(self.inbox)}")

    def quiet(self, seconds=QUIET, kind=PUBLISH):
        """Nothing of this kind arrives, up to an answer to a ping and a while after it."""
        self.send(frame(PINGREQ))
        self.receive(PINGRESP)
        deadline = time.monotonic() + seconds
        while self._fill(deadline):
            pass
        found = [packet for packet in self.inbox if packet.kind == kind]
        assert not found, found


class Client(Raw):
    """The same with the exchanges that tests need most."""

    def connect(self, client_id="", code=0, **options):
        self.send(connect(client_id, self.version, **options))
        answer = self.receive(CONNACK)
        assert answer.code == code, answer
        return answer

    def disconnect(self, code=None, extra=None):
        body = b"" if code is None and not extra else bytes([code or 0]) + properties(extra)
        self.send(frame(DISCONNECT, 0, body))
        self.ended()
        self.drop()

    def subscribe(self, *filters, qos=0, options=0, extra=None):
        """Subscribes to all of them with one packet; returns the codes."""
        id = next(self.ids)
        self.send(subscribe(id, [f if isinstance(f, tuple) else (f, qos | options) for f in filters], self.version, extra))
        answer = self.receive(SUBACK)
        assert answer.id == id and len(answer.codes) == len(filters), answer
        return answer.codes

    def unsubscribe(self, *filters):
        id = next(self.ids)
        self.send(unsubscribe(id, filters, self.version))
        answer = self.receive(UNSUBACK)
        assert answer.id == id, answer
        return answer.codes

    def publish(self, topic, payload=b"", qos=0, retain=False, extra=None):
        """Publishes, and waits until the broker has the message; returns its answer."""
        id = next(self.ids) if qos else None
        self.send(publish(topic, payload, qos, retain, id=id, version=self.version, extra=extra))
        if qos == 0:
            self.ping()
            return None
        answer = self.receive(PUBACK if qos == 1 else PUBREC)
        assert answer.id == id, answer
        if qos == 2 and answer.code < 0x80:
            self.send(acknowledge(PUBREL, id, version=self.version))
            done = self.receive(PUBCOMP)
            assert done.id == id, done
        return answer

    def ping(self):
        self.send(frame(PINGREQ))
        self.receive(PINGRESP)

    def answer(self, packet):
        """Acknowledges a message as far as its QoS asks for."""
        if packet.qos == 1:
            self.send(acknowledge(PUBACK, packet.id))
        elif packet.qos == 2:
            self.send(acknowledge(PUBREC, packet.id))
            release = self.receive(PUBREL)
            assert release.id == packet.id, release
            self.send(acknowledge(PUBCOMP, packet.id))

    def take(self, seconds=PATIENCE):
        """The next message, acknowledged."""
        packet = self.receive(PUBLISH, seconds=seconds)
        self.answer(packet)
        return packet

    def take_all(self, count, seconds=PATIENCE):
        return [self.take(seconds) for _ in range(count)]
