"""What a broker has acknowledged, it still has after it was stopped, and after it was killed."""
import threading

import pytest
from frames import PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Client, Closed, acknowledge, publish

ENDS = ["stop", "kill"]


def lasting(version):
    return {"clean": False, "extra": {"session_expiry": 86400} if version == 5 else None}


class Peer:
    """Connects to a broker that comes and goes."""

    def __init__(self, broker, version):
        self.broker, self.version = broker, version

    def __call__(self, client_id, **options):
        made = Client(self.broker.plain, self.version)
        made.connected = made.connect(client_id, **{**lasting(self.version), **options})
        return made


@pytest.fixture
def peer(own_broker, version):
    return Peer(own_broker, version)


def again(broker, end):
    getattr(broker, end)()
    broker.start()


@pytest.mark.parametrize("end", ENDS)
def test_sessions_queues_and_retained_messages_outlive_the_process(own_broker, peer, end):
    client = peer("away")
    client.subscribe(("a/+", 2), ("gone", 1))
    client.unsubscribe("gone")
    client.disconnect()
    sender = peer("sender", clean=True)
    for number in range(200):
        sender.publish("a/x", str(number), 1 + number % 2)
    sender.publish("kept", b"kept", 1, retain=True)
    sender.publish("removed", b"x", 1, retain=True)
    sender.publish("removed", b"", 1, retain=True)
    again(own_broker, end)
    client = peer("away")
    assert client.connected.present
    assert [int(m.payload) for m in client.take_all(200)] == list(range(200))
    sender = peer("sender", clean=True)
    assert not sender.connected.present
    sender.publish("a/y", b"new", 2)
    sender.publish("gone", b"x", 1)
    assert client.take().payload == b"new"
    client.quiet()
    client.subscribe("#", qos=1)
    assert [(m.topic, m.payload) for m in client.take_all(1)] == [("kept", b"kept")]
    client.quiet()


@pytest.mark.parametrize("end", ENDS)
def test_exchanges_go_on_where_they_stood(own_broker, peer, end):
    client = peer("c")
    client.subscribe("in", qos=2)
    sender = peer("s")
    sender.publish("in", b"one", 1)
    sender.publish("in", b"two", 2)
    sender.publish("in", b"three", 2)
    one, two, three = (client.receive(PUBLISH) for _ in range(3))
    client.send(acknowledge(PUBREC, three.id))
    client.receive(PUBREL)
    # And one in the other direction, received and not yet released.
    client.send(publish("out", b"once", 2, id=77, version=client.version))
    client.receive(PUBREC)
    watcher = peer("w")
    watcher.subscribe("out", qos=2)
    again(own_broker, end)
    client = peer("c")
    back = [client.receive(PUBLISH, PUBREL) for _ in range(3)]
    assert {(p.kind, p.id) for p in back} == {(PUBLISH, one.id), (PUBLISH, two.id), (PUBREL, three.id)}
    assert all(p.dup for p in back if p.kind == PUBLISH)
    client.send(acknowledge(PUBACK, one.id))
    client.send(acknowledge(PUBREC, two.id))
    assert client.receive(PUBREL).id == two.id
    client.send(acknowledge(PUBCOMP, two.id) + acknowledge(PUBCOMP, three.id))
    client.send(publish("out", b"once", 2, dup=True, id=77, version=client.version))
    assert client.receive(PUBREC).id == 77
    client.send(acknowledge(PUBREL, 77, version=client.version))
    assert client.receive(PUBCOMP).id == 77
    client.quiet()
    client.disconnect()
    again(own_broker, end)
    client = peer("c")
    assert client.connected.present
    client.quiet()
    client.quiet(kind=PUBREL)


def test_a_message_that_was_not_delivered_twice_before_is_not_after_a_restart(own_broker, peer):
    """The receiver had it, and said so: it does not come again."""
    client = peer("c")
    client.subscribe("in", qos=1)
    sender = peer("s")
    for number in range(50):
        sender.publish("in", str(number), 1)
    client.take_all(50)
    client.ping()
    client.disconnect()
    again(own_broker, "stop")
    client = peer("c")
    client.quiet()


@pytest.mark.parametrize("round", range(3))
def test_no_acknowledged_message_is_lost_when_the_process_is_killed_under_load(own_broker, peer, round):
    client = peer("away")
    client.subscribe("load", qos=1)
    client.disconnect()
    acknowledged, sent = [], 0
    sender = peer("sender", clean=True)
    killer = threading.Timer(0.3 + 0.25 * round, own_broker.kill)
    killer.start()
    try:
        while True:
            if sent - len(acknowledged) < 50:
                sent += 1
                sender.send(publish("load", sent.to_bytes(4) + b"x" * 500, 1, id=sent % 65535 + 1, version=sender.version))
            else:
                sender.receive(PUBACK)
                acknowledged.append(len(acknowledged) + 1)
    except Closed:
        pass
    killer.join()
    assert acknowledged
    own_broker.start()
    client = peer("away")
    assert client.connected.present
    got = []
    while len(got) < len(acknowledged):
        got.append(int.from_bytes(client.take().payload[:4]))
    assert got == list(range(1, len(got) + 1))


def test_the_broker_stops_when_it_is_asked_to_with_clients_connected(own_broker, peer, version):
    client = peer("c")
    own_broker.stop(10)
    assert client.ended() == (0x8B if version == 5 else None)


def test_the_time_of_a_session_and_of_a_message_runs_while_the_broker_is_down(own_broker):
    five = Peer(own_broker, 5)
    five("short", extra={"session_expiry": 1}).disconnect()
    client = five("long")
    client.subscribe("t", qos=1)
    client.disconnect()
    sender = five("s", clean=True, extra=None)
    sender.publish("t", b"short", 1, extra={"message_expiry": 1})
    sender.publish("t", b"long", 1, extra={"message_expiry": 600})
    own_broker.stop()
    threading.Event().wait(2.1)  # the time that is tested
    own_broker.start()
    assert not five("short").connected.present
    client = five("long")
    got = client.take()
    assert got.payload == b"long" and 590 < got.properties["message_expiry"] <= 598
    client.quiet()
