"""The bytes of Greengrass IPC, for the tests that send what no SDK would: frames are made and read by hand."""
import json
import socket
import struct
import zlib

APPLICATION_MESSAGE, APPLICATION_ERROR, PING, CONNECT, CONNECT_ACK = 0, 1, 2, 4, 5
TERMINATE = 2


def _text(name, value):
    name, value = name.encode(), value.encode()
    return bytes([len(name)]) + name + b"\x07" + struct.pack(">H", len(value)) + value


def _number(name, value):
    return bytes([len(name)]) + name.encode() + b"\x04" + struct.pack(">i", value)


def frame(kind, flags=0, stream=0, payload=b"", **texts):
    headers = _number(":message-type", kind) + _number(":message-flags", flags) + _number(":stream-id", stream)
    headers += b"".join(_text(name, value) for name, value in texts.items())
    head = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = head + struct.pack(">I", zlib.crc32(head)) + headers + payload
    return body + struct.pack(">I", zlib.crc32(body))


def request(stream, operation, document):
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return frame(APPLICATION_MESSAGE, stream=stream, payload=text, **{
        "operation": f"aws.greengrass#{operation}", "service-model-type": f"aws.greengrass#{operation}Request",
        ":content-type": "application/json"})


def _headers(data):
    found, at = {}, 0
    while at < len(data):
        name = data[at + 1:at + 1 + data[at]].decode()
        at += 1 + data[at]
        kind = data[at]
        at += 1
        if kind == 4:
            found[name] = struct.unpack_from(">i", data, at)[0]
            at += 4
        else:
            length = struct.unpack_from(">H", data, at)[0]
            found[name] = data[at + 2:at + 2 + length].decode()
            at += 2 + length
    return found


class Raw:
    """A connection to the socket of a device."""

    def __init__(self, device, token=None, seconds=10):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(seconds)
        self.socket.connect(str(device.root / "ipc.socket"))
        self.file = self.socket.makefile("rb")
        self.last = 0
        self.accepted = None
        if token is not None:
            hello = json.dumps({"authToken": token}).encode()
            self.send(frame(CONNECT, payload=hello, **{":version": "0.1.0", ":content-type": "application/json"}))
            answer = self.read()
            self.accepted = bool(answer and answer[0].get(":message-type") == CONNECT_ACK and answer[0][":message-flags"] & 1)

    def send(self, data):
        self.socket.sendall(data)

    def read(self):
        """The next frame, as headers and payload; None at the end."""
        try:
            prelude = self.file.read(12)
            if len(prelude) < 12:
                return None
            total, headers = struct.unpack_from(">II", prelude)
            rest = self.file.read(total - 12)
        except ConnectionError:
            return None
        return _headers(rest[:headers]), rest[headers:-4]

    def call(self, operation, document):
        """Sends a request and returns the first frame of its stream: (headers, document)."""
        self.last += 1
        self.send(request(self.last, operation, document))
        while True:
            answer = self.read()
            if answer is None:
                return None
            if answer[0].get(":stream-id") == self.last:
                return answer[0], json.loads(answer[1] or b"null")

    def close(self):
        self.file.close()
        self.socket.close()
