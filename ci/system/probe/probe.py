"""A component that does what a test tells it, through the official Python SDK.

It listens on `probe.sock` in its work folder and answers one JSON request a line:
    {"id": 1, "call": "publish_to_topic", "request": {...}}       -> {"id": 1, "response": {...}} or {"id": 1, "error": "UnauthorizedError", "message": "..."}
    {"id": 2, "stream": "subscribe_to_topic", "request": {...}}   -> the same, then {"stream": 2, "event": {...}} for each event
    {"id": 3, "close": 2}                                         -> closes stream 2
    {"id": 4, "env": true}                                        -> its environment, user and folder
"""
import json
import os
import re
import socket
import sys
import threading

import awsiot.greengrasscoreipc
from awsiot.greengrasscoreipc import client as operations
from awsiot.greengrasscoreipc import model


def snake(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Session:
    def __init__(self, connection, ipc):
        self.file = connection.makefile("rwb")
        self.lock = threading.Lock()
        self.ipc = ipc
        self.streams = {}

    def send(self, reply):
        with self.lock:
            self.file.write(json.dumps(reply).encode() + b"\n")
            self.file.flush()

    def invoke(self, request, name):
        session, number = self, request["id"]

        class Handler:
            def on_stream_event(self, event):
                session.send({"stream": number, "event": event._to_payload(), "shape": type(event).__name__})

            def on_stream_error(self, error):
                session.send({"stream": number, "error": type(error).__name__})
                return True

            def on_stream_closed(self):
                session.send({"stream": number, "closed": True})

        new = getattr(self.ipc, "new_" + name)
        operation = new(Handler()) if "stream" in request else new()
        shape = operation._request_type()._from_payload(request.get("request", {}))
        try:
            operation.activate(shape).result(10)
            response = operation.get_response().result(10)
        except Exception as error:  # every class is reported by its name: that is what the tests look at
            message = getattr(error, "message", None) or str(error)
            self.send({"id": number, "error": type(error).__name__, "message": message})
            return
        if "stream" in request:
            self.streams[number] = operation
        self.send({"id": number, "response": response._to_payload()})

    def run(self):
        for line in self.file:
            request = json.loads(line)
            if "env" in request:
                about = {"env": dict(os.environ), "cwd": os.getcwd(), "uid": os.getuid(), "gid": os.getgid(), "pid": os.getpid()}
                self.send({"id": request["id"], "response": about})
            elif "close" in request:
                self.streams.pop(request["close"]).close().result(10)
                self.send({"id": request["id"], "response": {}})
            else:
                self.invoke(request, request.get("call") or request["stream"])


def main():
    assert operations.GreengrassCoreIPCClient
    assert model.PublishToTopicRequest
    ipc = awsiot.greengrasscoreipc.connect()
    path = os.path.join(os.getcwd(), "probe.sock")
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    # A path relative to the work folder: a socket's address is short.
    listener.bind("probe.sock")
    listener.listen()
    print("probe ready", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=Session(connection, ipc).run, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
