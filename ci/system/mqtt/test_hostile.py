"""Input that stops other brokers: whoever sends it, everybody else is served as before (which the fixture `broker` checks)."""
import random
import socket
import time

import pytest
from frames import (
    CONNACK,
    PUBACK,
    PUBLISH,
    Client,
    Closed,
    acknowledge,
    connect,
    frame,
    publish,
    subscribe,
    text,
    unsubscribe,
)

SERVER_ONLY = {
    "CONNACK": b"\x20\x02\x00\x00", "CONNACK of 5": b"\x20\x03\x00\x00\x00", "SUBACK": b"\x90\x03\x00\x01\x00",
    "SUBACK of 5": b"\x90\x04\x00\x01\x00\x00", "UNSUBACK": b"\xb0\x02\x00\x01", "UNSUBACK of 5": b"\xb0\x04\x00\x01\x00\x00",
    "PINGRESP": b"\xd0\x00"}


@pytest.mark.parametrize("topic", ["é/temp", "☃", "\U0001f600/x", "é", "/é", "ÿ/#x".replace("#", "")])
def test_a_topic_may_begin_with_any_character(clients, version, name, topic):
    reader = clients(version, "r")
    reader.subscribe((topic, 1), (f"{name}/#", 1))
    sender = clients(version, "s")
    for qos in (0, 1):
        sender.publish(topic, name, qos)
    assert {m.topic for m in reader.take_all(2)} == {topic}


def test_the_last_of_a_group_may_leave_with_a_message_unacknowledged(clients, version, name):
    kept = {"clean": False, "extra": {"session_expiry": 600} if version == 5 else None}
    member = clients(version, "m", **kept)
    codes = member.subscribe(f"$share/{name}/{name}", qos=1)
    if codes != [1]:
        pytest.skip("3.1.1 has no shared subscriptions, and this broker gives it none")
    sender = clients(version, "s")
    sender.publish(name, b"one", 1)
    member.receive(PUBLISH)
    member.drop()
    sender.publish(name, b"two", 1)
    member = clients(version, "m", **kept)
    assert [m.payload for m in member.take_all(2)] == [b"one", b"two"]
    member.unsubscribe(f"$share/{name}/{name}")
    sender.publish(name, b"three", 1)
    member.quiet()


def test_an_old_connection_that_reads_again_after_a_takeover_has_no_effect(clients, open_client, version, name):
    stalled = open_client(version, receive_buffer=4096)
    stalled.connect(f"{name}-a")
    stalled.subscribe(name, qos=0)
    sender = clients(version, "s")
    for _ in range(100):
        sender.publish(name, b"x" * 50_000)
    second = clients(version, "a")
    second.disconnect()
    try:
        while stalled._fill(time.monotonic() + 0.5):
            stalled.send(frame(12))
    except Closed:
        pass
    third = clients(version, "a")
    third.subscribe(name, qos=1)
    sender.publish(name, b"on", 1)
    assert third.take().payload == b"on"


@pytest.mark.parametrize("client_id", ["a#{}", "a+{}", "a/{}", "$a{}", "{}/../x", "{} '\";--", "{}\u2028"])
def test_a_client_id_with_any_characters_may_connect_twice(open_client, version, name, client_id):
    for _ in range(3):
        client = open_client(version)
        client.connect(client_id.format(name))
        client.subscribe(name)
    client.publish(name, b"x")
    assert client.take().payload == b"x"


def test_idle_connections_to_the_tls_port_keep_nobody_out(broker, tls, open_client, name):
    idle = [socket.create_connection(("127.0.0.1", broker.tls)) for _ in range(40)]
    try:
        for number, each in enumerate(idle):
            if number % 2:
                each.sendall(b"\x16\x03\x01\x02\x00"[:1 + number % 5])  # a handshake that is never finished
        began = time.monotonic()
        for number in range(3):
            client = open_client(4, port=broker.tls, context=tls)
            client.connect(f"{name}-{number}")
        assert time.monotonic() - began < 5
    finally:
        for each in idle:
            each.close()


def test_what_is_no_tls_ends_that_connection_alone(broker, tls, open_client, name):
    for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(1000), connect("x"), b"\x16\x03\x01\xff\xff" + bytes(70_000)):
        with socket.create_connection(("127.0.0.1", broker.tls), 10) as other:
            try:
                other.sendall(data)
                while other.recv(4096):
                    pass
            except OSError:
                pass
    open_client(4, port=broker.tls, context=tls).connect(name)


@pytest.mark.parametrize("kind", SERVER_ONLY)
@pytest.mark.parametrize("when", ["before CONNECT", "after CONNECT"])
def test_packets_that_only_a_server_sends_end_the_connection(clients, open_client, version, name, kind, when):
    watcher = clients(version, "w")
    watcher.subscribe(name)
    client = open_client(version)
    if when == "after CONNECT":
        client.connect(f"{name}-a", will=(name, b"gone", 0, False))
    try:
        client.send(SERVER_ONLY[kind])
        assert client.ended() in ((0x81, 0x82, None) if version == 5 else (None,))
    except Closed:
        pass
    if when == "after CONNECT":
        assert watcher.take().payload == b"gone"
    assert not any(p.kind == CONNACK for p in client.inbox)


def test_a_full_broker_turns_clients_away_until_there_is_room(make, version):
    broker = make(limits={"connections": 4, "connectionsPerAddress": 4})

    def arrive(client_id):
        client = Client(broker.plain, version)
        try:
            client.connect(client_id)
            return client
        except (Closed, AssertionError):
            client.drop()
            return None
    inside = [arrive(f"c{n}") for n in range(4)]
    assert all(inside)
    for _ in range(20):
        assert arrive("surplus") is None
    inside.pop().disconnect()
    deadline = time.monotonic() + 5
    while not (late := arrive("surplus")):
        assert time.monotonic() < deadline
    late.ping()
    for client in inside:
        client.ping()
        client.drop()


@pytest.mark.parametrize("sent", [
    {"payload_format": 1}, {"message_expiry": 100}, {"content_type": "x"}, {"response_topic": "r"}, {"correlation_data": b"c"}, {"user": [("a", "b")]},
    {"topic_alias": 1}])
def test_a_client_of_version_3_gets_messages_with_properties_without_them(clients, name, sent):
    reader, sender = clients(4, "r"), clients(5, "s")
    reader.subscribe(name, qos=2)
    for qos in (0, 1, 2):
        sender.publish(name, b"x", qos, extra=sent)
        assert reader.take().payload == b"x"
    sender.publish(f"{name}/kept", b"x", 1, retain=True, extra=sent)
    reader.subscribe(f"{name}/kept", qos=1)
    assert reader.take().retain
    sender.publish(f"{name}/kept", b"", 1, retain=True)


def test_a_will_with_properties_reaches_a_client_of_version_3(clients, name):
    reader = clients(4, "r")
    reader.subscribe(name)
    clients(5, "s", will=(name, b"w", 0, False), will_extra={"user": [("a", "b")], "content_type": "t"}).drop()
    assert reader.take().payload == b"w"


def test_acknowledgements_of_what_was_never_sent_harm_nobody(clients, version, name):
    for kind in range(4, 8):
        client = clients(version, "a")
        client.send(acknowledge(kind, 4711, version=version))
        try:
            client.ping()
        except (Closed, AssertionError):
            pass
    reader = clients(version, "a")
    reader.subscribe(name, qos=2)
    reader.publish(name, b"x", 2)
    assert reader.take().payload == b"x"


def test_many_filters_and_very_deep_ones_are_served_or_refused(clients, version, name):
    client = clients(version)
    codes = []
    for part in range(4):
        codes += client.subscribe(*((f"{name}/{part}/{n}/+/#", 1) for n in range(500)))
    assert codes[0] == 1 and set(codes) <= {1, 0x97 if version == 5 else 0x80}
    deep = "/".join("x" * 20_000)
    try:
        client.subscribe(f"{name}/{deep}", qos=1)
        client.publish(f"{name}/{deep}", b"x", 1)
    except (Closed, AssertionError):
        pass


def mutants(version, name, seed):
    """Streams of packets, most of them right, some bent."""
    chance = random.Random(seed)
    extra = {"user": [("a", "b")], "payload_format": 1} if version == 5 else None
    good = [publish(f"{name}/x", b"payload", q, id=5, version=version, extra=extra) for q in (0, 1, 2)] + [
        subscribe(1, [(f"{name}/+", 1), ("#", 0), (f"$share/g/{name}", 1)], version), unsubscribe(2, [f"{name}/+"], version), frame(12), frame(14),
        acknowledge(4, 1), acknowledge(5, 1), acknowledge(6, 1), acknowledge(7, 1), frame(15, 0, b"\x00\x00"), frame(1, 0, text("MQTT"))]
    for _ in range(60):
        stream = connect(f"{name}-fuzz", version, will=(f"{name}/w", b"w", 1, True), extra=None)
        for _ in range(chance.randrange(1, 8)):
            packet = bytearray(chance.choice(good))
            for _ in range(chance.choice((0, 0, 1, 1, 2, 5))):
                how = chance.randrange(4)
                place = chance.randrange(len(packet))
                if how == 0:
                    packet[place] = chance.randrange(256)
                elif how == 1:
                    packet[place] ^= 1 << chance.randrange(8)
                elif how == 2:
                    packet.insert(place, chance.randrange(256))
                elif len(packet) > 1:
                    del packet[place]
            stream += packet
        yield bytes(stream)


@pytest.mark.parametrize("seed", range(4))
def test_bent_packets_harm_only_the_connection_they_come_on(open_client, clients, version, name, seed):
    for stream in mutants(version, name, seed):
        client = open_client(version)
        try:
            client.send(stream)
            client.socket.shutdown(socket.SHUT_WR)
        except (Closed, OSError):
            pass
        client.drop()
    cleaner = clients(version, "clean")
    cleaner.publish(f"{name}/w", b"", 1, retain=True)
    cleaner.publish(f"{name}/x", b"", 1, retain=True)


def test_a_client_that_goes_on_sending_hears_why_it_is_cut(clients, name):
    """Closing a socket on what is still coming would reset the connection, and the reason with it."""
    client = clients(5)
    client.send(publish("a/#", b"x", 0, version=5))
    for _ in range(100):
        try:
            client.send(publish(name, b"x" * 5000, 0, version=5))
        except Closed:
            break
    assert client.ended() in (0x81, 0x82, 0x90)


def test_a_client_that_floods_and_never_reads_harms_nobody(open_client, clients, version, name):
    flood = open_client(version, receive_buffer=4096)
    flood.connect(f"{name}-flood")
    flood.subscribe(name, qos=0)
    flood.socket.settimeout(0.5)
    block = publish(name, b"x" * 8000, version=version) * 100
    try:
        for _ in range(60):
            flood.socket.sendall(block)
    except OSError:
        pass  # held back: that is one way to bear it
    other = clients(version, "other")
    other.subscribe(f"{name}/other", qos=1)
    took = []
    for number in range(20):
        began = time.monotonic()
        other.publish(f"{name}/other", str(number), 1)
        assert other.take().payload == str(number).encode()
        took.append(time.monotonic() - began)
    assert max(took) < 2, took


def test_connections_that_say_nothing_are_ended(broker):
    with socket.create_connection(("127.0.0.1", broker.plain)) as silent:
        silent.settimeout(40)
        assert silent.recv(1) == b""


def test_half_a_connect_is_not_waited_for_without_end(broker):
    with socket.create_connection(("127.0.0.1", broker.plain)) as slow:
        slow.settimeout(40)
        slow.sendall(connect("x")[:9])
        assert slow.recv(1) == b""


def test_acknowledgements_that_flow_over_are_answered_as_far_as_they_are_read(clients, version, name):
    """A publisher that does not read its PUBACKs is held back and loses nothing once it reads."""
    sender = clients(version, "s")
    count = 1000 if version == 4 else min(1000, sender.connected.properties.get("receive_maximum", 65535))
    reader = clients(version, "r")
    reader.subscribe(name, qos=1)
    sender.send(b"".join(publish(name, str(n), 1, id=n + 1, version=version) for n in range(count)))
    assert [int(m.payload) for m in reader.take_all(count, 20)] == list(range(count))
    assert sorted(sender.receive(PUBACK).id for _ in range(count)) == list(range(1, count + 1))
