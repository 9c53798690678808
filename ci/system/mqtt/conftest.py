"""Fixtures of the MQTT tests: brokers, clients that say what a test wants, and names that no other test uses."""
import itertools
import ssl

import pytest
from brokers import Certificates, Greengrass
from brokers import broker as make_broker
from frames import Client

COUNT = itertools.count(1)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def shared_broker(certificates, tmp_path_factory):
    made = make_broker(tmp_path_factory.mktemp("broker"), certificates, persistent=True)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def broker(shared_broker):
    """A broker that runs for all tests, and that no test may harm."""
    yield shared_broker
    shared_broker.died()
    with Client(shared_broker.plain) as probe:
        probe.connect(f"probe-{next(COUNT)}")
        topic = f"probe/{next(COUNT)}"
        probe.subscribe(topic, qos=1)
        probe.publish(topic, b"alive", 1)
        assert probe.take().payload == b"alive"
        probe.disconnect()


@pytest.fixture
def own_broker(certificates, tmp_path):
    """A broker for one test, which may stop and start it."""
    made = make_broker(tmp_path / "broker", certificates, persistent=True)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def make(certificates, tmp_path):
    """Starts a broker of ours with this in its configuration."""
    made = []

    def make(**configuration):
        made.append(Greengrass(tmp_path / f"made-{len(made)}", certificates, **configuration).start())
        return made[-1]
    yield make
    for each in made:
        each.died()
        each.stop()


@pytest.fixture
def name():
    """A topic level and client id of this test's own."""
    return f"n{next(COUNT)}"


@pytest.fixture(params=[4, 5], ids=["3.1.1", "5"])
def version(request):
    return request.param


@pytest.fixture
def open_client(broker):
    """Opens connections that end with the test."""
    made = []

    def open_client(version=4, port=None, **options):
        made.append(Client(port or broker.plain, version, **options))
        return made[-1]
    yield open_client
    for each in made:
        each.drop()


@pytest.fixture
def clients(open_client, name):
    """Connects clients of one version with ids of this test's own: clients(5) or clients(5, "b", clean=False)."""
    def connect(version, suffix="a", **options):
        made = open_client(version)
        made.connected = made.connect(f"{name}-{suffix}", **options)
        return made
    return connect


@pytest.fixture(scope="session")
def tls(certificates):
    """A client's TLS with the test device's certificate."""
    context = ssl.create_default_context(cafile=certificates.ca)
    context.load_cert_chain(certificates.client, certificates.client_key)
    return context
