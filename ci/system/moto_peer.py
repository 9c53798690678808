"""moto's server beside ours: the same calls to both must have the same shapes of answers and the same errors."""
import datetime

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError


def shape(value, without):
    """What kind of thing a value is, member by member; a list is as its first item. Members in `without` are left out."""
    if isinstance(value, dict):
        return {key: shape(member, without) for key, member in value.items() if key != "ResponseMetadata" and key not in without}
    if isinstance(value, list):
        return [shape(value[0], without)] if value else []
    if isinstance(value, datetime.datetime):
        return "time"
    return type(value).__name__


class Pair:
    """Two clients of one service, ours and moto's; a call on the pair is made on both and compared."""

    def __init__(self, ours, theirs, service):
        self.ours, self.theirs = ours.client(service), theirs.client(service)

    def call(self, operation, only_ours=(), only_theirs=(), **arguments):
        """The answers of both. Arguments that are callables are given each side's earlier answers by the caller."""
        answers = []
        for side, client in enumerate((self.ours, self.theirs)):
            own = {name: value(side) if callable(value) else value for name, value in arguments.items()}
            try:
                answers.append((getattr(client, operation)(**own), None))
            except ClientError as error:
                answers.append((None, error.response["Error"]["Code"]))
        (ours, our_error), (theirs, their_error) = answers
        assert our_error == their_error, f"{operation}: ours {our_error}, moto's {their_error}"
        if our_error is None:
            mine, other = shape(ours, only_ours), shape(theirs, only_theirs)
            assert mine == other, f"{operation}\nours   {mine}\nmoto's {other}"
        return ours, theirs


class Moto:
    def __init__(self, url):
        self.url = url

    def client(self, service):
        return boto3.client(
            service, endpoint_url=self.url, region_name="us-east-1", aws_access_key_id="AKIAMOTO", aws_secret_access_key="moto",
            config=Config(retries={"max_attempts": 0}))


@pytest.fixture(scope="session")
def moto_server():
    from moto.server import ThreadedMotoServer
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield Moto(f"http://{host}:{port}")
    server.stop()


@pytest.fixture
def pair(cloud, moto_server):
    """Makes pairs: `pair("iot")`."""
    import urllib.request
    urllib.request.urlopen(urllib.request.Request(f"{moto_server.url}/moto-api/reset", method="POST"), timeout=10).read()
    return lambda service: Pair(cloud, moto_server, service)
