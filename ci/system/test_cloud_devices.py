"""Devices against greengrass-cloud: connections with mutual TLS on both versions of MQTT, policies, presence, messages, HTTPS."""
import json
import re
import time

import pytest
from cloud import Cloud
from cloud_device import ANY, VERSIONS, Certificate, Five, Fleet, allow, https, mosquitto, refuses
from device import until


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    cloud = Cloud(tmp_path_factory.mktemp("devices")).start()
    yield Fleet(cloud)
    assert cloud.stop() == 0, cloud.log()[-3000:]


@pytest.fixture(params=sorted(VERSIONS))
def connect(request):
    return VERSIONS[request.param]


# --- who may connect ---

def test_a_device_talks_to_another(fleet, connect):
    (one, first), (two, second) = fleet.thing(), fleet.thing()
    with connect(first, one) as a, connect(second, two) as b:
        assert b.subscribe(f"lamps/{one}/+") == [1]
        a.publish(f"lamps/{one}/state", {"on": True})
        assert b.expect(f"lamps/{one}/state") == {"on": True}


@pytest.mark.parametrize("where", ["MQTT", "HTTPS"])
def test_mqtt_is_spoken_on_both_ports_when_alpn_asks_for_it(fleet, where):
    name, certificate = fleet.thing()
    with Five(certificate, name, where=where, alpn="x-amzn-mqtt-ca") as device:
        assert not device.refused()
        assert device.publish("a") in (0, 0x10)


@pytest.mark.parametrize("where", ["MQTT", "HTTPS"])
def test_https_is_spoken_on_both_ports_when_alpn_asks_for_it(fleet, where):
    _, certificate = fleet.thing()
    status, answer, _ = https(certificate, "POST", "/topics/a?qos=1", body=b"x", where=where, alpn="x-amzn-http-ca")
    assert (status, answer["message"]) == (200, "OK")


def test_only_registered_active_certificates_with_a_policy_connect(fleet, connect):
    name, good = fleet.thing()
    unknown = Certificate.make(fleet.cloud)
    fleet.iot.update_certificate(certificateId=unknown.id, newStatus="INACTIVE")
    fleet.iot.delete_certificate(certificateId=unknown.id)
    inactive = Certificate.make(fleet.cloud, active=False)
    inactive.allow(ANY)
    bare = Certificate.make(fleet.cloud)
    revoked = Certificate.make(fleet.cloud)
    revoked.allow(ANY)
    fleet.iot.update_certificate(certificateId=revoked.id, newStatus="REVOKED")
    for certificate in (unknown, inactive, bare, revoked):
        with connect(certificate, name) as device:
            assert device.refused(), certificate.id
    with connect(good, name) as device:
        assert not device.refused()


def test_a_certificate_registered_without_an_authority_connects(fleet, connect):
    from test_cloud_iot import pem, signed
    own, key = signed("own")
    made = fleet.iot.register_certificate_without_ca(certificatePem=pem(own), status="ACTIVE")
    certificate = Certificate(fleet.cloud, made["certificateId"], pem(own), pem(key))
    certificate.allow(ANY)
    with connect(certificate, "own") as device:
        assert not device.refused()


def test_the_user_name_of_the_sdks_is_ignored_and_mosquitto_does_what_the_sdks_do(fleet):
    name, certificate = fleet.thing()
    for version in ("mqttv311", "mqttv5"):
        sent = mosquitto("mosquitto_pub", certificate, "-V", version, "-i", name, "-u", "?SDK=mosquitto", "-t", f"m/{name}", "-m", version, "-r", "-q", "1")
        assert sent.returncode == 0, sent.stderr
        got = mosquitto("mosquitto_sub", certificate, "-V", version, "-i", name, "-t", f"m/{name}", "-C", "1", "-W", "10", "-q", "1")
        assert got.stdout.strip() == version, got.stderr
    fleet.iot.update_certificate(certificateId=certificate.id, newStatus="INACTIVE")
    assert mosquitto("mosquitto_pub", certificate, "-i", name, "-t", "a", "-m", "x").returncode != 0


# --- policies ---

def own_policy(fleet):
    thing = "${iot:Connection.Thing.ThingName}"
    return allow(
        ("iot:Connect", fleet.arn(f"client/{thing}")), ("iot:Publish", [fleet.arn(f"topic/up/{thing}/*"), fleet.arn("topic/echo/*")]),
        ("iot:Subscribe", [fleet.arn(f"topicfilter/down/{thing}/*"), fleet.arn("topicfilter/echo/*")]),
        ("iot:Receive", [fleet.arn(f"topic/down/{thing}/*"), fleet.arn("topic/echo/ok")]))


def test_variables_confine_a_device_to_its_own_topics(fleet):
    name, certificate = fleet.thing(own_policy(fleet))
    other, _ = fleet.thing()
    with Five(certificate, other) as device:
        assert device.refused() and device.reason == 0x87
    with Five(certificate, name) as device:
        assert device.subscribe(f"down/{name}/#", f"down/{other}/#", "#") == [1, 0x87, 0x87]
        assert device.publish(f"up/{name}/a") in (0, 0x10)
        assert device.publish(f"up/{other}/a") == 0x87
        assert device.publish(f"up/{name}/a", retain=True) == 0x87
        fleet.iot_data.publish(topic=f"down/{name}/x", qos=1, payload=b"for me")
        assert device.expect(f"down/{name}/x") == b"for me"


def test_what_may_not_be_received_is_not_sent(fleet):
    name, certificate = fleet.thing(own_policy(fleet))
    with Five(certificate, name) as device:
        assert device.subscribe("echo/#") == [1]
        device.publish("echo/secret", "no")
        device.silence(lambda: device.publish("echo/ok", "yes") in (0, 0x10) and "echo/ok")


def test_a_denied_publish_ends_a_connection_of_311(fleet):
    name, certificate = fleet.thing(own_policy(fleet))
    with VERSIONS["3.1.1"](certificate, name) as device:
        assert device.subscribe(f"down/{name}/a", "other") == [1, 0x80]
        try:
            device.publish("other", qos=0)
        finally:
            assert device.ended.wait(10)


def test_attributes_and_groups_of_the_thing_count(fleet):
    policy = allow(("iot:Connect", "*"), ("iot:Publish", fleet.arn("topic/site/${iot:Connection.Thing.Attributes[site]}/*")))
    name, certificate = fleet.thing(policy, attributePayload={"attributes": {"site": "berlin"}})
    shared = fleet.name("policy")
    fleet.iot.create_policy(policyName=shared, policyDocument=json.dumps(allow(("iot:Publish", fleet.arn("topic/group/*")))))
    group = fleet.group()
    fleet.iot.attach_policy(policyName=shared, target=fleet.arn(f"thinggroup/{group}"))
    with Five(certificate, name) as device:
        assert device.publish("site/berlin/a") in (0, 0x10)
        assert device.publish("site/rome/a") == 0x87
        assert device.publish("group/a") == 0x87
        # In a live session what changes in the registry counts from the next message on.
        fleet.iot.add_thing_to_thing_group(thingGroupName=group, thingName=name)
        assert device.publish("group/a") in (0, 0x10)
        assert https(certificate, "POST", "/topics/group/a?qos=1", body=b"x")[0] == 200
        fleet.iot.update_thing(thingName=name, attributePayload={"attributes": {"site": "rome"}})
        assert device.publish("site/rome/a") in (0, 0x10)
        assert device.publish("site/berlin/a") == 0x87
        fleet.iot.remove_thing_from_thing_group(thingGroupName=group, thingName=name)
        assert device.publish("group/a") == 0x87
    assert https(certificate, "POST", "/topics/group/a?qos=1", body=b"x")[0] == 403


@pytest.mark.parametrize("end", ["INACTIVE", "REVOKED", "detached", "changed"])
def test_a_live_session_ends_when_its_right_to_connect_does(fleet, connect, end):
    name, certificate = fleet.thing(policy=None)
    policy = certificate.allow(ANY)
    with connect(certificate, name) as device:
        assert not device.refused()
        if end == "detached":
            fleet.iot.detach_policy(policyName=policy, target=certificate.arn)
        elif end == "changed":
            fleet.iot.create_policy_version(policyName=policy, policyDocument=json.dumps(allow(("iot:Publish", "*"))), setAsDefault=True)
        else:
            fleet.iot.update_certificate(certificateId=certificate.id, newStatus=end)
        assert device.ended.wait(5)
    with connect(certificate, name) as device:
        assert device.refused()


def test_a_certificate_that_is_active_again_at_once_works(fleet):
    name, certificate = fleet.thing()
    for _ in range(5):
        for status in ("INACTIVE", "ACTIVE"):
            fleet.iot.update_certificate(certificateId=certificate.id, newStatus=status)
        with Five(certificate, name) as device:
            assert device.subscribe(f"again/{name}") == [1]
            assert device.publish(f"again/{name}", "x") == 0
            assert device.expect(f"again/{name}") == b"x"


def test_a_narrower_policy_takes_subscriptions_away_in_a_live_session(fleet):
    name, certificate = fleet.thing(policy=None)
    policy = certificate.allow(ANY)
    with Five(certificate, name) as device:
        assert device.subscribe(f"a/{name}", f"b/{name}") == [1, 1]
        narrower = allow(("iot:Connect", "*"), (["iot:Subscribe", "iot:Receive"], [fleet.arn(f"topicfilter/b/{name}"), fleet.arn(f"topic/b/{name}")]))
        fleet.iot.create_policy_version(policyName=policy, policyDocument=json.dumps(narrower), setAsDefault=True)
        fleet.iot_data.publish(topic=f"a/{name}", qos=1, payload=b"no")
        device.silence(lambda: fleet.iot_data.publish(topic=f"b/{name}", qos=1, payload=b"yes") and f"b/{name}")


def test_what_only_the_control_plane_says_nobody_else_says(fleet):
    name, certificate = fleet.thing()
    with Five(certificate, name) as device:
        for topic in (f"$aws/events/presence/connected/{name}", "$SYS/broker/version"):
            assert device.publish(topic) == 0x87, topic
            assert https(certificate, "POST", f"/topics/{topic}?qos=1", body=b"x")[0] in (400, 403)
        refuses(fleet.iot_data.publish, "InvalidRequestException", topic="$aws/events/presence/connected/x", payload=b"x")


# --- presence ---

def test_presence_and_subscriptions_are_told(fleet, connect):
    watcher, eye = fleet.thing()
    name, certificate = fleet.thing()
    with Five(eye, watcher) as watch:
        watch.subscribe(f"$aws/events/presence/+/{name}", f"$aws/events/subscriptions/+/{name}")
        with connect(certificate, name) as device:
            up = watch.expect(f"$aws/events/presence/connected/{name}")
            assert (up["clientId"], up["eventType"], up["principalIdentifier"], up["ipAddress"]) == (name, "connected", certificate.id, "127.0.0.1")
            device.subscribe("some/topic")
            told = watch.expect(f"$aws/events/subscriptions/subscribed/{name}")
            assert (told["topics"], told["sessionIdentifier"]) == (["some/topic"], up["sessionIdentifier"])
        down = watch.expect(f"$aws/events/presence/disconnected/{name}")
        assert (down["clientInitiatedDisconnect"], down["disconnectReason"]) == (True, "CLIENT_INITIATED_DISCONNECT")
        assert (down["sessionIdentifier"], down["versionNumber"]) == (up["sessionIdentifier"], up["versionNumber"])


def test_a_second_connection_of_one_client_id_takes_over_and_each_has_its_session(fleet):
    watcher, eye = fleet.thing()
    name, certificate = fleet.thing()
    with Five(eye, watcher) as watch:
        watch.subscribe(f"$aws/events/presence/+/{name}")
        with Five(certificate, name) as first, Five(certificate, name):
            assert first.ended.wait(5)
            assert first.reason == 0x8E
            events = []
            until(lambda: events.append(json.loads(watch.messages.get(timeout=10)[1])) or len(events) == 3, "three events")
            old, new = (e for e in events if e["eventType"] == "connected")
            (down,) = (e for e in events if e["eventType"] == "disconnected")
            assert down["disconnectReason"] == "DUPLICATE_CLIENTID"
            assert down["sessionIdentifier"] == old["sessionIdentifier"] != new["sessionIdentifier"]
            assert new["versionNumber"] > old["versionNumber"] == down["versionNumber"]


def test_a_connection_that_is_ended_publishes_its_will_unless_told_not_to(fleet):
    from awscrt import mqtt5
    watcher, eye = fleet.thing()
    name, certificate = fleet.thing()
    will = mqtt5.PublishPacket(topic=f"wills/{name}", payload="gone", qos=mqtt5.QoS.AT_LEAST_ONCE)
    with Five(eye, watcher) as watch:
        watch.subscribe(f"wills/{name}")
        with Five(certificate, name, will=will) as device:
            fleet.iot_data.delete_connection(clientId=name, preventWillMessage=True)
            assert device.ended.wait(5)
        with Five(certificate, name, will=will):
            fleet.iot_data.delete_connection(clientId=name)
            watch.silence(lambda: f"wills/{name}")
        # Nor does a device that was locked out have a last word.
        with Five(certificate, name, will=will) as device:
            fleet.iot.update_certificate(certificateId=certificate.id, newStatus="REVOKED")
            assert device.ended.wait(5)
        assert watch.messages.empty()


# --- messages ---

def test_messages_of_128_kib_pass_and_larger_ones_do_not(fleet, connect):
    name, certificate = fleet.thing()
    with connect(certificate, name) as device:
        device.subscribe(f"large/{name}")
        device.publish(f"large/{name}", b"x" * 131072)
        assert len(device.expect(f"large/{name}")) == 131072
    with pytest.raises(fleet.iot_data.exceptions.ClientError):
        fleet.iot_data.publish(topic="a", payload=b"x" * 131073)
    assert https(certificate, "POST", "/topics/a", body=b"x" * 131073)[0] in (400, 413)


def test_basic_ingest_is_accepted(fleet, connect):
    name, certificate = fleet.thing(allow(("iot:Connect", "*"), ("iot:Publish", fleet.arn("topic/$aws/rules/*"))))
    with connect(certificate, name) as device:
        device.publish("$aws/rules/myrule/some/topic", {"a": 1})
        assert not device.ended.is_set()


def test_what_begins_with_a_dollar_is_not_delivered_to_a_plain_wildcard(fleet):
    name, certificate = fleet.thing()
    with Five(certificate, name) as device:
        assert device.subscribe("#") == [1]
        fleet.iot_data.update_thing_shadow(thingName=name, payload=json.dumps({"state": {"desired": {"a": 1}}}))
        assert device.publish(f"plain/{name}", "x") in (0, 0x10)
        # What other tests have retained comes too, in its place.
        topics = list(iter(lambda: device.messages.get(timeout=10)[0], f"plain/{name}"))
        assert not [topic for topic in topics if topic.startswith("$")]


def test_the_control_plane_publishes_retains_and_ends_connections(fleet):
    name, certificate = fleet.thing()
    with Five(certificate, name) as device:
        device.subscribe(f"r/{name}/#")
        fleet.cloud.aws("iot-data", "publish", "--topic", f"r/{name}/cli", "--qos", "1", "--payload", "from the CLI", "--retain")
        assert device.expect(f"r/{name}/cli") == b"from the CLI"
        found = fleet.iot_data.get_retained_message(topic=f"r/{name}/cli")
        assert (found["payload"], found["qos"]) == (b"from the CLI", 1)
        for number in range(3):
            device.publish(f"r/{name}/{number}", f"value {number}", retain=True)
        pages, token, topics = 0, {}, []
        while True:
            page = fleet.iot_data.list_retained_messages(maxResults=2, **token)
            topics += [t["topic"] for t in page["retainedTopics"]]
            pages += 1
            if "nextToken" not in page:
                break
            token = {"nextToken": page["nextToken"]}
        assert {f"r/{name}/{n}" for n in range(3)} <= set(topics) and pages >= 2
        device.publish(f"r/{name}/cli", b"", retain=True)
        refuses(fleet.iot_data.get_retained_message, "ResourceNotFoundException", topic=f"r/{name}/cli")
        fleet.cloud.aws("iot-data", "delete-connection", "--client-id", name)
        assert device.ended.wait(5)
    refuses(fleet.iot_data.delete_connection, "ResourceNotFoundException", clientId="nobody")


def test_properties_of_a_publish_by_the_api_arrive(fleet):
    name, certificate = fleet.thing()
    with Five(certificate, name) as device:
        device.subscribe(f"p/{name}")
        for user in ([{"a": "b"}, {"a": "c"}], json.dumps([{"a": "b"}, {"a": "c"}])):
            fleet.iot_data.publish(topic=f"p/{name}", qos=1, payload=b"x", contentType="text/plain", responseTopic="answer/here",
                                   userProperties=json.dumps(user) if isinstance(user, list) else user, correlationData="eA==", messageExpiry=100)
            assert device.expect(f"p/{name}") == b"x"
            packet = device.packets[-1]
            assert (packet.content_type, packet.response_topic, packet.correlation_data_bytes) == ("text/plain", "answer/here", b"x")
            assert [(p.name, p.value) for p in packet.user_properties] == [("a", "b"), ("a", "c")]
    refuses(fleet.iot_data.publish, "InvalidRequestException", topic="a", payload=b"x", userProperties=json.dumps({"a": 1}))


# --- HTTPS ---

def test_devices_publish_over_https_within_their_policy(fleet):
    name, certificate = fleet.thing(allow((["iot:Publish"], fleet.arn("topic/up/*"))))
    listener, ear = fleet.thing()
    with Five(ear, listener) as device:
        device.subscribe("up/#")
        assert https(certificate, "POST", "/topics/up/a%2Fb?qos=1", body=b"one")[0] == 200
        assert device.expect("up/a/b") == b"one"
        status, answer, headers = https(certificate, "POST", "/topics/down/a?qos=1", body=b"two")
        assert (status, headers["x-amzn-errortype"]) == (403, "ForbiddenException")
        assert https(certificate, "POST", "/topics/up/a?qos=2", body=b"x")[0] == 400
        assert https(certificate, "POST", "/topics/up/a?qos=1&retain=true", body=b"x")[0] == 403
        assert https(certificate, "GET", "/nothing")[0] == 404
    fleet.iot.update_certificate(certificateId=certificate.id, newStatus="INACTIVE")
    assert https(certificate, "POST", "/topics/up/a", body=b"x")[0] == 403


def test_the_credentials_provider_gives_keys_of_the_role_and_no_more(fleet):
    iam, s3 = fleet.client("iam"), fleet.client("s3")
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "credentials.iot.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
    role, alias = fleet.name("role"), fleet.name("alias")
    arn = iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName=role, PolicyName="read", PolicyDocument=json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::artifacts/open/*"}]}))
    made = fleet.iot.create_role_alias(roleAlias=alias, roleArn=arn, credentialDurationSeconds=900)
    s3.create_bucket(Bucket="artifacts")
    for key in ("open/a", "closed/a"):
        s3.put_object(Bucket="artifacts", Key=key, Body=key.encode())
    name, certificate = fleet.thing(allow(("iot:Connect", "*"), ("iot:AssumeRoleWithCertificate", made["roleAliasArn"])))
    path, header = f"/role-aliases/{alias}/credentials", {"x-amzn-iot-thingname": name}
    status, answer, _ = https(certificate, "GET", path, headers=header)
    assert status == 200, answer
    keys = answer["credentials"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", keys["expiration"])
    left = time.mktime(time.strptime(keys["expiration"], "%Y-%m-%dT%H:%M:%SZ")) - time.mktime(time.gmtime())
    assert 600 < left <= 901
    mine = fleet.client("s3", keys={"AccessKeyId": keys["accessKeyId"], "SecretAccessKey": keys["secretAccessKey"], "SessionToken": keys["sessionToken"]})
    assert mine.get_object(Bucket="artifacts", Key="open/a")["Body"].read() == b"open/a"
    for call, arguments in ((mine.get_object, {"Key": "closed/a"}), (mine.put_object, {"Key": "open/b", "Body": b"x"})):
        with pytest.raises(mine.exceptions.ClientError) as caught:
            call(Bucket="artifacts", **arguments)
        assert caught.value.response["Error"]["Code"] == "AccessDenied"
    assert https(certificate, "GET", path)[0] == 200
    assert https(certificate, "GET", path, headers={"x-amzn-iot-thingname": "other"})[0] == 400
    assert https(certificate, "GET", "/role-aliases/none/credentials", headers=header)[0] == 403
    _, stranger = fleet.thing(allow(("iot:Connect", "*")))
    status, answer, _ = https(stranger, "GET", path)
    assert (status, answer) == (403, {"message": "Access Denied"})
    _, trusted = fleet.thing()
    assert https(trusted, "GET", "/role-aliases/none/credentials")[0] == 404
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(trust).replace("credentials.iot", "greengrass"))
    assert https(certificate, "GET", path)[0] == 403


# --- power loss ---

def test_nothing_is_lost_when_the_program_is_killed(stopped_cloud):
    cloud = stopped_cloud.start()
    fleet = Fleet(cloud)
    name, certificate = fleet.thing()
    job = fleet.job(fleet.arn(f"thing/{name}"))
    stay = {"session_expiry_interval_sec": 3600, "rejoin": True}
    with Five(certificate, name, **stay) as device:
        device.subscribe(f"later/{name}")
        device.publish(f"kept/{name}", "kept", retain=True)
        fleet.iot_data.update_thing_shadow(thingName=name, payload=json.dumps({"state": {"desired": {"a": 1}}}))
    until(lambda: not fleet.iot_data.get_connection(clientId=name)["connected"], "the device is away")
    fleet.iot_data.publish(topic=f"later/{name}", qos=1, payload=b"while away")
    cloud.kill()
    cloud.start()
    fleet.reopen()
    assert json.loads(fleet.iot_data.get_thing_shadow(thingName=name)["payload"].read())["state"]["delta"] == {"a": 1}
    assert fleet.iot_data.get_retained_message(topic=f"kept/{name}")["payload"] == b"kept"
    assert fleet.jobs_data.get_pending_job_executions(thingName=name)["queuedJobs"][0]["jobId"] == job
    with Five(certificate, name, **stay) as device:
        assert not device.refused()
        assert device.expect(f"later/{name}") == b"while away"
