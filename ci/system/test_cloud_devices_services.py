"""The official SDK's clients of shadows, jobs and provisioning against greengrass-cloud, over mutual TLS, on both versions of MQTT."""
import http.server
import json
import threading

import pytest
from awsiot import iotidentity, iotjobs, iotshadow
from cloud import Cloud
from cloud_device import ANY, VERSIONS, Certificate, Five, Fleet, allow, refuses, sdk_error, services, stream
from device import until
from test_cloud_iot import ROLE, TEMPLATE, pem, request, signed


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    cloud = Cloud(tmp_path_factory.mktemp("services")).start("--claim-uses", "3")
    yield Fleet(cloud)
    assert cloud.stop() == 0, cloud.log()[-3000:]


@pytest.fixture(params=sorted(VERSIONS))
def connect(request):
    return VERSIONS[request.param]


# --- shadows ---

@pytest.mark.parametrize("named", [None, "config"])
def test_a_shadow_is_got_updated_watched_deleted_and_made_anew(fleet, connect, named):
    name, certificate = fleet.thing()
    extra = {"shadow_name": named} if named else {}
    kind = "NamedShadow" if named else "Shadow"

    def ask(what, **more):
        shape = getattr(iotshadow, f"{what}{kind}Request")
        return getattr(shadows, f"{what.lower()}_{'named_' if named else ''}shadow")(shape(thing_name=name, **extra, **more))
    with connect(certificate, name) as device:
        shadows, _, _ = services(device)
        error = sdk_error(ask("Get"))
        assert (error.code, name in error.message or named in error.message) == (404, True)
        word = "named_" if named else ""
        shape = "NamedShadow" if named else "Shadow"
        delta, deltas = stream(getattr(shadows, f"create_{word}shadow_delta_updated_stream"),
                               getattr(iotshadow, f"{shape}DeltaUpdatedSubscriptionRequest")(thing_name=name, **extra))
        document, documents = stream(getattr(shadows, f"create_{word}shadow_updated_stream"),
                                     getattr(iotshadow, f"{shape}UpdatedSubscriptionRequest")(thing_name=name, **extra))
        done = ask("Update", state=iotshadow.ShadowState(desired={"color": "red", "level": {"a": 1}})).result(10)
        assert (done.version, done.state.desired["color"]) == (1, "red") and done.client_token
        assert "timestamp" in done.metadata.desired["color"]
        told = deltas.get(timeout=10)
        assert (told.state, told.version) == ({"color": "red", "level": {"a": 1}}, 1)
        told = documents.get(timeout=10)
        assert (told.current.state.desired["color"], told.current.version) == ("red", 1)
        ask("Update", state=iotshadow.ShadowState(reported={"color": "red"}), version=1).result(10)
        found = ask("Get").result(10)
        assert (found.version, found.state.delta, found.state.reported) == (2, {"level": {"a": 1}}, {"color": "red"})
        error = sdk_error(ask("Update", state=iotshadow.ShadowState(reported={"color": "blue"}), version=1))
        assert error.code == 409
        body = json.loads(fleet.iot_data.get_thing_shadow(thingName=name, **({"shadowName": named} if named else {}))["payload"].read())
        assert body["version"] == 2
        assert ask("Delete").result(10).version == 2
        assert sdk_error(ask("Delete")).code == 404
        # The version goes on: nobody takes the new one for the old.
        assert ask("Update", state=iotshadow.ShadowState(desired={"a": 1})).result(10).version > 2
    del delta, document


def test_bad_shadow_requests_are_told_what_is_wrong(fleet):
    name, certificate = fleet.thing()
    base = f"$aws/things/{name}/shadow"
    with Five(certificate, name) as device:
        device.subscribe(f"{base}/update/rejected")
        for payload, code in (("nonsense", 400), ({"state": 1}, 400), ({"stat": {}}, 400), ({"state": {"desired": {"a": "x" * 9000}}}, 413)):
            device.publish(f"{base}/update", payload)
            answer = device.expect(f"{base}/update/rejected")
            assert answer["code"] == code and answer["message"], answer
        device.publish(f"{base}/update", {"state": {"desired": {"a": [1]}}, "version": 7, "clientToken": "t"})
        answer = device.expect(f"{base}/update/rejected")
        assert (answer["code"], answer["clientToken"]) == (409, "t")


def test_shadows_over_the_api_have_the_errors_of_the_model(fleet):
    data, (name, _) = fleet.iot_data, fleet.thing()
    refuses(data.get_thing_shadow, "ResourceNotFoundException", thingName=name)
    refuses(data.delete_thing_shadow, "ResourceNotFoundException", thingName=name)
    refuses(data.update_thing_shadow, "InvalidRequestException", thingName=name, payload=b"nonsense")
    for number in range(5):
        data.update_thing_shadow(thingName=name, shadowName=f"s{number}", payload=json.dumps({"state": {"reported": {"n": number}}}))
    refuses(data.update_thing_shadow, "ConflictException", thingName=name, shadowName="s1", payload=json.dumps({"state": {"reported": {"n": 9}}, "version": 9}))
    refuses(data.update_thing_shadow, "RequestEntityTooLargeException", thingName=name, payload=json.dumps({"state": {"reported": {"n": "x" * 9000}}}))
    one = data.list_named_shadows_for_thing(thingName=name, pageSize=3)
    two = data.list_named_shadows_for_thing(thingName=name, pageSize=3, nextToken=one["nextToken"])
    assert one["results"] + two["results"] == [f"s{n}" for n in range(5)] and "nextToken" not in two
    refuses(data.list_named_shadows_for_thing, "InvalidRequestException", thingName=name, nextToken="nonsense")


# --- jobs ---

def test_a_job_is_noticed_begun_reported_and_done(fleet, connect):
    name, certificate = fleet.thing()
    with connect(certificate, name) as device:
        _, jobs, _ = services(device)
        changes, changed = stream(jobs.create_job_executions_changed_stream, iotjobs.JobExecutionsChangedSubscriptionRequest(thing_name=name))
        nexts, following = stream(jobs.create_next_job_execution_changed_stream, iotjobs.NextJobExecutionChangedSubscriptionRequest(thing_name=name))
        none = jobs.start_next_pending_job_execution(iotjobs.StartNextPendingJobExecutionRequest(thing_name=name)).result(10)
        assert none.execution is None
        first = fleet.job(fleet.arn(f"thing/{name}"), document={"do": "first"}, timeoutConfig={"inProgressTimeoutInMinutes": 5})
        assert [j.job_id for j in changed.get(timeout=10).jobs["QUEUED"]] == [first]
        told = following.get(timeout=10).execution
        assert (told.job_id, told.job_document, told.status) == (first, {"do": "first"}, "QUEUED")
        second = fleet.job(fleet.arn(f"thing/{name}"), document={"do": "second"})
        assert [j.job_id for j in changed.get(timeout=10).jobs["QUEUED"]] == [first, second]
        pending = jobs.get_pending_job_executions(iotjobs.GetPendingJobExecutionsRequest(thing_name=name)).result(10)
        assert ([j.job_id for j in pending.queued_jobs], pending.in_progress_jobs) == ([first, second], [])
        begun = jobs.start_next_pending_job_execution(
            iotjobs.StartNextPendingJobExecutionRequest(thing_name=name, status_details={"step": "1"})).result(10).execution
        assert (begun.job_id, begun.status, begun.version_number, begun.status_details) == (first, "IN_PROGRESS", 2, {"step": "1"})
        described = jobs.describe_job_execution(iotjobs.DescribeJobExecutionRequest(thing_name=name, job_id="$next", include_job_document=True)).result(10)
        assert (described.execution.job_id, described.execution.job_document) == (first, {"do": "first"})

        def report(job, status, **more):
            return jobs.update_job_execution(iotjobs.UpdateJobExecutionRequest(thing_name=name, job_id=job, status=status, **more))
        error = sdk_error(report(first, "SUCCEEDED", expected_version=1, include_job_execution_state=True))
        assert (error.code, error.execution_state.version_number) == ("VersionMismatch", 2)
        done = report(first, "SUCCEEDED", expected_version=2, include_job_execution_state=True, include_job_document=True).result(10)
        assert (done.execution_state.status, done.job_document) == ("SUCCEEDED", {"do": "first"})
        assert sdk_error(report(first, "FAILED")).code == "InvalidStateTransition"
        assert sdk_error(report("none", "FAILED")).code == "ResourceNotFound"
        assert sdk_error(report(second, "CANCELED")).code == "InvalidRequest"
        assert sdk_error(jobs.describe_job_execution(iotjobs.DescribeJobExecutionRequest(thing_name=name, job_id=first))).code == "TerminalStateReached"
        assert following.get(timeout=10).execution.job_id == second
        report(second, "REJECTED").result(10)
        assert following.get(timeout=10).execution is None
        for job, status, count in ((first, "SUCCEEDED", "numberOfSucceededThings"), (second, "REJECTED", "numberOfRejectedThings")):
            assert fleet.iot.describe_job_execution(jobId=job, thingName=name)["execution"]["status"] == status
            described = fleet.iot.describe_job(jobId=job)["job"]
            assert (described["status"], described["jobProcessDetails"][count]) == ("COMPLETED", 1)
    del changes, nexts


def test_jobs_of_a_namespace_have_topics_of_their_own(fleet):
    name, certificate = fleet.thing()
    base, space = f"$aws/things/{name}/jobs", "namespace-aws-gg-deployment"
    with Five(certificate, name) as device:
        device.subscribe(f"{base}/notify", f"{base}/notify-next", f"{base}/notify-{space}", f"{base}/notify-next-{space}",
                         f"{base}/+/{space}/get/+", f"{base}/+/{space}/update/+", f"{base}/{space}/get/+", f"{base}/get/+")
        job = fleet.job(fleet.arn(f"thing/{name}"), namespaceId="aws-gg-deployment")
        assert [j["jobId"] for j in device.expect(f"{base}/notify-{space}")["jobs"]["QUEUED"]] == [job]
        assert device.expect(f"{base}/notify-next-{space}")["execution"]["jobId"] == job
        device.publish(f"{base}/get", {"clientToken": "plain"})
        answer = device.expect(f"{base}/get/accepted")
        assert (answer["queuedJobs"], answer["clientToken"]) == ([], "plain")
        device.publish(f"{base}/$next/{space}/get", {"clientToken": "jobs-nucleus-lite"})
        answer = device.expect(f"{base}/$next/{space}/get/accepted")
        assert (answer["execution"]["jobId"], answer["clientToken"]) == (job, "jobs-nucleus-lite")
        device.publish(f"{base}/{job}/{space}/update", {"status": "IN_PROGRESS", "expectedVersion": 1, "clientToken": "u"})
        answer = device.expect(f"{base}/{job}/{space}/update/accepted")
        assert answer["clientToken"] == "u"
        device.publish(f"{base}/{job}/{space}/update", {"status": "SUCCEEDED", "statusDetails": {"detailed-deployment-status": "SUCCESSFUL"}})
        device.expect(f"{base}/{job}/{space}/update/accepted")
    assert fleet.iot.describe_job(jobId=job)["job"]["status"] == "COMPLETED"
    assert job not in [j["jobId"] for j in fleet.iot.list_jobs()["jobs"]]
    assert job in [j["jobId"] for j in fleet.iot.list_jobs(namespaceId="aws-gg-deployment")["jobs"]]


def test_joining_a_group_begins_its_continuous_jobs_and_leaving_takes_them_back(fleet):
    name, certificate = fleet.thing()
    top = fleet.group()
    low = fleet.name("group")
    fleet.iot.create_thing_group(thingGroupName=low, parentGroupName=top)
    job = fleet.job(fleet.arn(f"thinggroup/{top}"), targetSelection="CONTINUOUS")
    topic = f"$aws/things/{name}/jobs/notify-next"
    with Five(certificate, name) as device:
        device.subscribe(topic)
        fleet.iot.add_thing_to_thing_group(thingGroupName=low, thingName=name)
        assert device.expect(topic)["execution"]["jobId"] == job
        fleet.iot.remove_thing_from_thing_group(thingGroupName=low, thingName=name)
        assert device.expect(topic).get("execution") is None
        assert fleet.iot.describe_job_execution(jobId=job, thingName=name)["execution"]["status"] == "REMOVED"
        fleet.iot.add_thing_to_thing_group(thingGroupName=top, thingName=name)
        assert device.expect(topic)["execution"]["executionNumber"] == 2
    assert fleet.iot.describe_job(jobId=job)["job"]["status"] == "IN_PROGRESS"


# --- provisioning by claim ---

def template(fleet, hook=None, body=None, **more):
    name, policy = fleet.name("t"), fleet.name("policy")
    fleet.iot.create_policy(policyName=policy, policyDocument=json.dumps(ANY))
    body = json.loads(json.dumps(body or TEMPLATE))
    body["Resources"]["policy"] = {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": policy}}
    body["DeviceConfiguration"] = {"FallbackUrl": "https://example.org"}
    extra = {"preProvisioningHook": {"targetArn": hook, "payloadVersion": "2020-04-01"}} if hook else {}
    fleet.unchecked.create_provisioning_template(
        templateName=name, templateBody=json.dumps(body), provisioningRoleArn=ROLE, enabled=True, **extra, **more)
    return name


def claim(fleet, name):
    made = fleet.iot.create_provisioning_claim(templateName=name)
    return Certificate(fleet.cloud, made["certificateId"], made["certificatePem"], made["keyPair"]["PrivateKey"])


def keys(identity):
    return identity.create_keys_and_certificate(iotidentity.CreateKeysAndCertificateRequest()).result(20)


def register(identity, name, token, **parameters):
    return identity.register_thing(iotidentity.RegisterThingRequest(template_name=name, certificate_ownership_token=token, parameters=parameters))


def test_a_device_with_a_claim_becomes_a_thing_and_connects(fleet, connect):
    name, serial = template(fleet), fleet.name("sn")
    with connect(claim(fleet, name), "claiming") as device:
        _, _, identity = services(device)
        made = keys(identity)
        own = Certificate(fleet.cloud, made.certificate_id, made.certificate_pem, made.private_key)
        assert fleet.iot.describe_certificate(certificateId=own.id)["certificateDescription"]["status"] == "PENDING_ACTIVATION"
        with connect(own, f"dev-{serial}") as early:
            assert early.refused()
        done = register(identity, name, made.certificate_ownership_token, SerialNumber=serial).result(20)
        assert (done.thing_name, done.device_configuration) == (f"dev-{serial}", {"FallbackUrl": "https://example.org"})
        # An answer that was lost on its way is given again.
        assert register(identity, name, made.certificate_ownership_token, SerialNumber=serial).result(20).thing_name == done.thing_name
    assert fleet.iot.list_thing_principals(thingName=done.thing_name)["principals"] == [own.arn]
    with connect(own, done.thing_name) as device:
        assert not device.refused()


def test_a_claim_gets_a_certificate_for_a_request_and_the_key_stays_at_home(fleet):
    name, serial = template(fleet), fleet.name("sn")
    csr, key = request("device")
    with Five(claim(fleet, name), "claiming-csr") as device:
        _, _, identity = services(device)
        made = identity.create_certificate_from_csr(iotidentity.CreateCertificateFromCsrRequest(certificate_signing_request=csr)).result(20)
        own = Certificate(fleet.cloud, made.certificate_id, made.certificate_pem, key)
        register(identity, name, made.certificate_ownership_token, SerialNumber=serial).result(20)
        error = sdk_error(identity.create_certificate_from_csr(iotidentity.CreateCertificateFromCsrRequest(certificate_signing_request="nonsense")))
        assert (error.status_code, error.error_code) == (400, "InvalidCertificateSigningRequest")
    with Five(own, f"dev-{serial}") as device:
        assert not device.refused()


def test_a_claim_is_held_to_its_template_its_token_and_its_number(fleet):
    name, other = template(fleet), template(fleet)
    with Five(claim(fleet, name), "claiming-badly") as device:
        _, _, identity = services(device)
        made = keys(identity)
        token = made.certificate_ownership_token
        error = sdk_error(register(identity, name, "nonsense", SerialNumber="1"))
        assert (error.status_code, error.error_code) == (400, "InvalidCertificateOwnershipToken")
        error = sdk_error(register(identity, name, token))
        assert error.status_code == 400 and "SerialNumber" in error.error_message
        fleet.iot.update_provisioning_template(templateName=name, enabled=False)
        assert sdk_error(register(identity, name, token, SerialNumber="1")).status_code == 400
        fleet.iot.update_provisioning_template(templateName=name, enabled=True)
        # Its policy does not let it near the other template, not even to hear the answer.
        with pytest.raises(Exception, match="."):
            register(identity, other, token, SerialNumber="1").result(25)
        # The program was told that one claim is good for three certificates.
        keys(identity), keys(identity)
        error = sdk_error(identity.create_keys_and_certificate(iotidentity.CreateKeysAndCertificateRequest()))
        assert (error.status_code, error.error_code) == (429, "LimitExceeded") and "3 certificates" in error.error_message


def test_a_revoked_claim_is_cut_off(fleet):
    bad = claim(fleet, template(fleet))
    with Five(bad, "claiming-revoked") as device:
        fleet.iot.update_certificate(certificateId=bad.id, newStatus="REVOKED")
        assert device.ended.wait(5)
    with Five(bad, "claiming-revoked") as device:
        assert device.refused()


def test_a_list_of_serial_numbers_says_who_may(fleet):
    allowed = fleet.folder / "allowed.txt"
    good, bad = fleet.name("sn"), fleet.name("sn")
    allowed.write_text(f"# batch\n{good}\n")
    name = template(fleet, hook=f"file:{allowed}")
    with Five(claim(fleet, name), "claiming-list") as device:
        _, _, identity = services(device)
        token = keys(identity).certificate_ownership_token
        error = sdk_error(register(identity, name, token, SerialNumber=bad))
        assert (error.status_code, error.error_code) == (403, "AccessDenied")
        assert register(identity, name, token, SerialNumber=good).result(20).thing_name == f"dev-{good}"


def test_a_program_is_asked_before_a_device_is_provisioned(fleet):
    asked = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            question = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append(question)
            serial = question["parameters"]["SerialNumber"]
            if serial == "broken":
                return self.send_error(500)
            answer = {"allowProvisioning": serial != "bad", "parameterOverrides": {"SerialNumber": serial + "-checked"}}
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        name = template(fleet, hook=f"http://127.0.0.1:{server.server_port}/ask")
        good = claim(fleet, name)
        with Five(good, "claiming-hook") as device:
            _, _, identity = services(device)
            made = keys(identity)
            token, serial = made.certificate_ownership_token, fleet.name("sn")
            assert sdk_error(register(identity, name, token, SerialNumber="bad")).error_code == "AccessDenied"
            assert sdk_error(register(identity, name, token, SerialNumber="broken")).status_code == 500
            assert register(identity, name, token, SerialNumber=serial).result(20).thing_name == f"dev-{serial}-checked"
        assert asked[0] == {"claimCertificateId": good.id, "certificateId": made.certificate_id, "clientId": "claiming-hook",
                            "templateArn": fleet.arn(f"provisioningtemplate/{name}"), "parameters": {"SerialNumber": "bad"}}
    finally:
        server.shutdown()


# --- just in time ---

def authority(fleet, **more):
    ca, key = signed(fleet.name("authority"), authority=True)
    proof, _ = signed(fleet.iot.get_registration_code()["registrationCode"], ca, key)
    made = fleet.iot.register_ca_certificate(caCertificate=pem(ca), verificationCertificate=pem(proof), setAsActive=True, **more)
    return made["certificateId"], ca, key


def signed_by(fleet, ca, key, common_name):
    own, own_key = signed(common_name, ca, key)
    from cryptography.hazmat.primitives import hashes
    return Certificate(fleet.cloud, own.fingerprint(hashes.SHA256()).hex(), pem(own), pem(own_key))


def test_a_certificate_of_a_registered_authority_is_registered_when_it_first_connects(fleet, connect):
    watcher, eye = fleet.thing()
    ca_id, ca, key = authority(fleet, allowAutoRegistration=True)
    own = signed_by(fleet, ca, key, "jit")
    topic = f"$aws/events/certificates/registered/{ca_id}"
    with Five(eye, watcher) as watch:
        watch.subscribe(topic)
        with connect(own, "jit") as device:
            assert device.refused()
        told = watch.expect(topic)
        assert (told["certificateId"], told["caCertificateId"], told["certificateStatus"], told["awsAccountId"]) == (
            own.id, ca_id, "PENDING_ACTIVATION", fleet.known_account)
    found = fleet.iot.describe_certificate(certificateId=own.id)["certificateDescription"]
    assert (found["status"], found["caCertificateId"]) == ("PENDING_ACTIVATION", ca_id)
    own.allow(ANY)
    fleet.iot.update_certificate(certificateId=own.id, newStatus="ACTIVE")
    with connect(own, "jit") as device:
        assert not device.refused()


def test_an_authority_that_does_not_ask_for_it_registers_nothing(fleet):
    _, ca, key = authority(fleet)
    own = signed_by(fleet, ca, key, "jit-not")
    with Five(own, "jit-not") as device:
        assert device.refused()
    refuses(fleet.iot.describe_certificate, "ResourceNotFoundException", certificateId=own.id)


def test_the_template_of_an_authority_provisions_at_once(fleet):
    body = {"Parameters": {"AWS::IoT::Certificate::CommonName": {"Type": "String"}, "AWS::IoT::Certificate::Id": {"Type": "String"}}, "Resources": {
        "thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Ref": "AWS::IoT::Certificate::CommonName"}}},
        "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "ACTIVE"}},
        "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": json.dumps(allow(("iot:*", "*")))}}}}
    _, ca, key = authority(fleet, allowAutoRegistration=True, registrationConfig={"templateBody": json.dumps(body), "roleArn": ROLE})
    name = fleet.name()
    own = signed_by(fleet, ca, key, name)
    with Five(own, name) as device:
        assert device.subscribe(f"jitp/{name}") == [1]
        assert device.publish(f"jitp/{name}", "x") == 0
        assert device.expect(f"jitp/{name}") == b"x"
    until(lambda: fleet.iot.list_thing_principals(thingName=name)["principals"] == [own.arn], "the thing is there")
