"""What strangers and broken clients may send to greengrass-cloud's ports, and how it bears it."""
import hashlib
import hmac
import json
import os
import socket
import threading
import time

import pytest
from botocore import auth, awsrequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from device import until


def where(cloud):
    host, port = cloud.url.removeprefix("http://").split(":")
    return host, int(port)


def exchange(cloud, raw, seconds=10):
    """Sends bytes; what comes back until the other side closes or pauses."""
    with socket.create_connection(where(cloud), timeout=seconds) as stream:
        try:
            stream.sendall(raw)
            answer = b""
            while piece := stream.recv(65536):
                answer += piece
        except (ConnectionResetError, BrokenPipeError):
            pass
        return answer


@pytest.mark.parametrize("raw", [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 1000,
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"".join(b"a%d: b\r\n" % n for n in range(500)) + b"\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nxx",
    b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"GET http://[::1 HTTP/1.1\r\n\r\n"])
def test_what_is_no_http_is_refused_and_the_program_goes_on(cloud, raw):
    answer = exchange(cloud, raw)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer[:200]
    assert cloud.account()


def head(cloud, body=b"", target="secretsmanager.ListSecrets", secret=None, path="/", headers=None):
    """A signed request's head, as bytes."""
    own = cloud.credentials()
    request = awsrequest.AWSRequest("POST", cloud.url + path, data=body, headers=headers or {
        "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target})
    keys = Credentials(own["AWS_ACCESS_KEY_ID"], secret or own["AWS_SECRET_ACCESS_KEY"])
    auth.SigV4Auth(keys, "secretsmanager", "us-east-1").add_auth(request)
    lines = [f"POST {path} HTTP/1.1", f"Host: {cloud.url.removeprefix('http://')}", "Connection: close"]
    lines += [f"{k}: {v}" for k, v in request.headers.items()]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode()


def test_a_body_that_is_too_long_is_refused(cloud):
    body = b"x" * (5 * 1024 * 1024)
    answer = exchange(cloud, head(cloud, body) + body)
    assert answer.startswith(b"HTTP/1.1 413") and b"RequestEntityTooLargeException" in answer


@pytest.mark.parametrize("body, expected", [
    (b"[1]", "InvalidParameterException"), (b'{"a":', "InvalidParameterException"), (b"\xff\xfe", "InvalidParameterException"),
    (b"[" * 100_000, "InvalidParameterException"), (b'{"MaxResults": "many"}', "InvalidParameterException"),
    (b'{"Filters": ' + b"[" * 5000 + b"]" * 5000 + b"}", "InvalidParameterException")])
def test_a_body_that_is_not_what_it_should_be_is_refused(cloud, body, expected):
    answer = exchange(cloud, head(cloud, body) + body)
    assert answer.startswith(b"HTTP/1.1 400") and expected.encode() in answer, answer[-500:]


def test_a_strangers_body_is_not_even_read(cloud):
    # Were it read, the answer would come only after the rest of the body, which never comes.
    own = dict(cloud.credentials())
    with socket.create_connection(where(cloud), timeout=10) as stream:
        raw = head(cloud, b"x" * 1000).replace(own["AWS_ACCESS_KEY_ID"].encode(), b"AKIAAAAAAAAAAAAAAAAA")
        stream.sendall(raw + b"x")
        assert b"UnrecognizedClientException" in stream.recv(65536)


def test_a_slow_client_holds_up_nobody(cloud):
    slow = [socket.create_connection(where(cloud)) for _ in range(200)]
    for stream in slow:
        stream.sendall(b"GET /health HTT")
    began = time.monotonic()
    assert cloud.client("sts").get_caller_identity()
    assert time.monotonic() - began < 5
    for stream in slow:
        stream.close()


def test_a_request_under_way_is_answered_when_the_program_is_told_to_stop(cloud):
    body = b"{}"
    with socket.create_connection(where(cloud), timeout=20) as stream:
        stream.sendall(head(cloud, body) + body[:1])
        # The key has been looked up and the body is waited for: the request is under way.
        other = socket.create_connection(where(cloud), timeout=20)
        stopping = threading.Thread(target=cloud.stop)
        time.sleep(0.3)  # nothing tells when the half of a request has been read
        stopping.start()
        until(lambda: "shutting down" in cloud.log(), "the program has been told")
        stream.sendall(body[1:])
        answer = b""
        while piece := stream.recv(65536):
            answer += piece
        assert answer.startswith(b"HTTP/1.1 200"), answer
        other.close()
    stopping.join()
    assert cloud.process.returncode == 0


def test_many_clients_at_once_each_get_their_own_answer(cloud):
    wrong = []

    def work(number):
        secrets = cloud.client("secretsmanager")
        for turn in range(20):
            name = f"s-{number}-{turn}"
            secrets.create_secret(Name=name, SecretString=name)
            if secrets.get_secret_value(SecretId=name)["SecretString"] != name:
                wrong.append(name)
    workers = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
    pages = cloud.client("secretsmanager").get_paginator("list_secrets").paginate()
    assert sum(len(page["SecretList"]) for page in pages) == 160


def test_every_answer_has_a_request_id_that_the_log_knows(cloud):
    answer = cloud.client("sts").get_caller_identity()
    identifier = answer["ResponseMetadata"]["RequestId"]
    until(lambda: f"request={identifier}" in cloud.log(), "the log has the request")
    with pytest.raises(ClientError) as refused:
        cloud.client("secretsmanager").describe_secret(SecretId="none")
    identifier = refused.value.response["ResponseMetadata"]["RequestId"]
    until(lambda: f"request={identifier}" in cloud.log(), "the log has the refusal")
    line = next(line for line in cloud.log().splitlines() if identifier in line)
    assert "operation=DescribeSecret" in line and "error=ResourceNotFoundException" in line and "status=400" in line


# --- bodies in signed chunks, as the Java and Rust SDKs send them over HTTP ---

def mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def chunked(cloud, key, pieces, trailer=None, spoil=None):
    """PUT with STREAMING-AWS4-HMAC-SHA256-PAYLOAD[-TRAILER]; `spoil` changes what is sent after it was signed."""
    own, size = cloud.credentials(), sum(map(len, pieces))
    kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" + ("-TRAILER" if trailer else "")
    request = awsrequest.AWSRequest("PUT", f"{cloud.url}/artifacts/{key}", headers={
        "Content-Encoding": "aws-chunked", "X-Amz-Decoded-Content-Length": str(size), "X-Amz-Content-SHA256": kind,
        **({"X-Amz-Trailer": trailer[0]} if trailer else {})})
    signer = auth.S3SigV4Auth(Credentials(own["AWS_ACCESS_KEY_ID"], own["AWS_SECRET_ACCESS_KEY"]), "s3", "us-east-1")
    signer.payload = lambda request: kind
    signer.add_auth(request)
    stamp = request.headers["X-Amz-Date"]
    scope = f"{stamp[:8]}/us-east-1/s3/aws4_request"
    signing = ("AWS4" + own["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in scope.split("/"):
        signing = mac(signing, part)
    previous = request.headers["Authorization"].rsplit("Signature=", 1)[1]
    empty, body = hashlib.sha256(b"").hexdigest(), b""
    for piece in [*pieces, b""]:
        text = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", stamp, scope, previous, empty, hashlib.sha256(piece).hexdigest()])
        previous = mac(signing, text).hex()
        body += b"%x;chunk-signature=%s\r\n" % (len(piece), previous.encode()) + piece + (b"\r\n" if piece or not trailer else b"")
    if trailer:
        line = f"{trailer[0]}:{trailer[1]}\n"
        text = "\n".join(["AWS4-HMAC-SHA256-TRAILER", stamp, scope, previous, hashlib.sha256(line.encode()).hexdigest()])
        body += line.encode().strip() + b"\r\n" + f"x-amz-trailer-signature:{mac(signing, text).hex()}\r\n\r\n".encode()
    body = spoil(body) if spoil else body
    lines = [f"PUT /artifacts/{key} HTTP/1.1", f"Host: {cloud.url.removeprefix('http://')}", "Connection: close"]
    lines += [f"{k}: {v}" for k, v in request.headers.items()]
    return exchange(cloud, "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body)


def test_bodies_in_signed_chunks_are_verified_chunk_by_chunk(cloud):
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="artifacts")
    pieces = [os.urandom(64 * 1024), os.urandom(64 * 1024), b"the end"]
    assert chunked(cloud, "whole", pieces).startswith(b"HTTP/1.1 200")
    got = s3.get_object(Bucket="artifacts", Key="whole")
    assert got["Body"].read() == b"".join(pieces) and "ContentEncoding" not in got
    spoiled = chunked(cloud, "spoiled", pieces, spoil=lambda body: body.replace(b"the end", b"an end."))
    assert spoiled.startswith(b"HTTP/1.1 4"), spoiled[:300]
    cut = chunked(cloud, "cut", pieces, spoil=lambda body: body[:100_000])
    assert not cut.startswith(b"HTTP/1.1 200"), cut[:300]
    assert [o["Key"] for o in s3.list_objects_v2(Bucket="artifacts")["Contents"]] == ["whole"]


def test_a_signed_trailer_has_the_checksum(cloud):
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="artifacts")
    import base64
    import zlib
    body = os.urandom(100_000)
    good = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    answer = chunked(cloud, "good", [body], trailer=("x-amz-checksum-crc32", good))
    assert answer.startswith(b"HTTP/1.1 200"), answer[:500]
    assert s3.head_object(Bucket="artifacts", Key="good", ChecksumMode="ENABLED")["ChecksumCRC32"] == good
    bad = chunked(cloud, "bad", [body], trailer=("x-amz-checksum-crc32", "AAAAAA=="))
    assert bad.startswith(b"HTTP/1.1 400") and b"BadDigest" in bad, bad[:500]
    forged = chunked(cloud, "forged", [body], trailer=("x-amz-checksum-crc32", good), spoil=lambda b: b.replace(good.encode(), b"AAAAAA=="))
    assert forged.startswith(b"HTTP/1.1 4"), forged[:500]
    assert [o["Key"] for o in s3.list_objects_v2(Bucket="artifacts")["Contents"]] == ["good"]


def test_the_health_is_json(cloud):
    answer = exchange(cloud, b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["status"] == "ok"
