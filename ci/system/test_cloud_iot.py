"""The registry of greengrass-cloud by the unmodified AWS CLI and boto3: things, types, groups, certificates, policies, aliases, templates."""
import datetime
import json

import pytest
from cloud import Cloud
from cloud_device import ANY, Certificate, Fleet, all_pages, allow, refuses
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

TEMPLATE = {
    "Parameters": {"SerialNumber": {"Type": "String"}, "AWS::IoT::Certificate::Id": {"Type": "String"}},
    "Resources": {
        "thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Fn::Join": ["", ["dev-", {"Ref": "SerialNumber"}]]}}},
        "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "Active"}}}}
ROLE = "arn:aws:iam::123456789012:role/provisioning"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    cloud = Cloud(tmp_path_factory.mktemp("iot")).start()
    yield Fleet(cloud)
    assert cloud.stop() == 0, cloud.log()[-3000:]


def named(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def pem(thing):
    if hasattr(thing, "public_bytes"):
        return thing.public_bytes(serialization.Encoding.PEM).decode()
    return thing.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def request(common_name="device", key=None):
    key = key or ec.generate_private_key(ec.SECP256R1())
    return pem(x509.CertificateSigningRequestBuilder().subject_name(named(common_name)).sign(key, hashes.SHA256())), pem(key)


def signed(common_name, issuer=None, issuer_key=None, authority=False, key=None):
    """A certificate: its own issuer, or signed by another."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(named(common_name)).issuer_name(issuer.subject if issuer else named(common_name))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=30))
    builder = builder.add_extension(x509.BasicConstraints(authority, None), True)
    return builder.sign(issuer_key or key, hashes.SHA256()), key


# --- things and types ---

def test_a_thing_is_created_once_and_described(fleet):
    iot, name = fleet.iot, fleet.name()
    made = iot.create_thing(thingName=name, attributePayload={"attributes": {"color": "red"}})
    assert made["thingArn"] == fleet.arn(f"thing/{name}")
    again = iot.create_thing(thingName=name, attributePayload={"attributes": {"color": "red"}})
    assert again["thingId"] == made["thingId"]
    refuses(iot.create_thing, "ResourceAlreadyExistsException", thingName=name, attributePayload={"attributes": {"color": "blue"}})
    found = iot.describe_thing(thingName=name)
    assert (found["version"], found["attributes"], found["defaultClientId"]) == (1, {"color": "red"}, name)
    refuses(iot.describe_thing, "ResourceNotFoundException", thingName="none")


@pytest.mark.parametrize("name", ["a b", "a/b", "ä", "a" * 129])
def test_a_thing_has_a_name_as_aws_allows_it(fleet, name):
    assert "thingName" in refuses(fleet.unchecked.create_thing, "InvalidRequestException", thingName=name)


def test_attributes_are_merged_replaced_and_removed_and_versions_count(fleet):
    iot, name = fleet.iot, fleet.name()
    iot.create_thing(thingName=name, attributePayload={"attributes": {"a": "1", "b": "2"}})
    iot.update_thing(thingName=name, attributePayload={"attributes": {"c": "3", "a": ""}, "merge": True}, expectedVersion=1)
    found = iot.describe_thing(thingName=name)
    assert (found["attributes"], found["version"]) == ({"b": "2", "c": "3"}, 2)
    refuses(iot.update_thing, "VersionConflictException", thingName=name, attributePayload={"attributes": {}}, expectedVersion=1)
    iot.update_thing(thingName=name, attributePayload={"attributes": {"d": "4"}})
    assert iot.describe_thing(thingName=name)["attributes"] == {"d": "4"}
    refuses(iot.update_thing, "InvalidRequestException", thingName=name, attributePayload={"attributes": {f"a{n}": "x" for n in range(4)}})
    refuses(iot.update_thing, "ResourceNotFoundException", thingName="none", attributePayload={"attributes": {"d": "4"}})
    refuses(iot.delete_thing, "VersionConflictException", thingName=name, expectedVersion=1)
    iot.delete_thing(thingName=name)
    iot.delete_thing(thingName=name)


def test_a_thing_type_is_given_deprecated_and_deleted(fleet):
    iot, kind, name = fleet.iot, fleet.name("type"), fleet.name()
    properties = {"thingTypeDescription": "d", "searchableAttributes": ["a"]}
    made = iot.create_thing_type(thingTypeName=kind, thingTypeProperties=properties)
    assert iot.create_thing_type(thingTypeName=kind, thingTypeProperties=properties)["thingTypeId"] == made["thingTypeId"]
    refuses(iot.create_thing_type, "ResourceAlreadyExistsException", thingTypeName=kind, thingTypeProperties={"thingTypeDescription": "other"})
    iot.create_thing(thingName=name, thingTypeName=kind)
    refuses(iot.create_thing, "ResourceNotFoundException", thingName=fleet.name(), thingTypeName="none")
    assert [t["thingName"] for t in iot.list_things(thingTypeName=kind)["things"]] == [name]
    refuses(iot.delete_thing_type, "InvalidRequestException", thingTypeName=kind)
    iot.deprecate_thing_type(thingTypeName=kind)
    assert iot.describe_thing_type(thingTypeName=kind)["thingTypeMetadata"]["deprecated"] is True
    refuses(iot.create_thing, "InvalidRequestException", thingName=fleet.name(), thingTypeName=kind)
    iot.deprecate_thing_type(thingTypeName=kind, undoDeprecate=True)
    iot.update_thing(thingName=name, removeThingType=True)
    assert "thingTypeName" not in iot.describe_thing(thingName=name)
    assert kind in [t["thingTypeName"] for t in iot.list_thing_types()["thingTypes"]]
    refuses(iot.describe_thing_type, "ResourceNotFoundException", thingTypeName="none")


def test_things_are_listed_by_page_attribute_and_prefix(fleet):
    iot, color = fleet.iot, fleet.name("color")
    names = sorted(fleet.name("page") for _ in range(7))
    for number, name in enumerate(names):
        iot.create_thing(thingName=name, attributePayload={"attributes": {"color": f"{color}-{number % 2}"}})
    found, pages = all_pages(iot.list_things, "things", attributeName="color", attributeValue=f"{color}-0", maxResults=2)
    assert ([t["thingName"] for t in found], pages) == (names[::2], 2)
    found, _ = all_pages(iot.list_things, "things", attributeName="color", attributeValue=color, usePrefixAttributeValue=True, maxResults=3)
    assert [t["thingName"] for t in found] == names
    refuses(iot.list_things, "InvalidRequestException", nextToken="made-up")


# --- groups ---

def test_groups_nest_and_lists_go_down_and_up(fleet):
    iot = fleet.iot
    top, middle, low = (fleet.name("group") for _ in range(3))
    iot.create_thing_group(thingGroupName=top, thingGroupProperties={"thingGroupDescription": "d", "attributePayload": {"attributes": {"a": "b"}}})
    iot.create_thing_group(thingGroupName=middle, parentGroupName=top)
    iot.create_thing_group(thingGroupName=low, parentGroupName=middle)
    refuses(iot.create_thing_group, "ResourceAlreadyExistsException", thingGroupName=low, parentGroupName=top)
    refuses(iot.create_thing_group, "ResourceNotFoundException", unmodelled=True, thingGroupName=fleet.name("group"), parentGroupName="none")
    found = iot.describe_thing_group(thingGroupName=low)["thingGroupMetadata"]
    assert [g["groupName"] for g in found["rootToParentThingGroups"]] == [top, middle]
    assert found["parentGroupName"] == middle
    below = [g["groupName"] for g in iot.list_thing_groups(parentGroup=top)["thingGroups"]]
    assert below == sorted([middle, low])
    assert [g["groupName"] for g in iot.list_thing_groups(parentGroup=top, recursive=False)["thingGroups"]] == [middle]
    things = sorted(fleet.name() for _ in range(3))
    for thing in things:
        iot.create_thing(thingName=thing)
        iot.add_thing_to_thing_group(thingGroupName=low, thingName=thing)
    iot.add_thing_to_thing_group(thingGroupName=low, thingName=things[0])
    assert iot.list_things_in_thing_group(thingGroupName=top)["things"] == []
    found, pages = all_pages(iot.list_things_in_thing_group, "things", thingGroupName=top, recursive=True, maxResults=2)
    assert (found, pages) == (things, 2)
    assert [g["groupName"] for g in iot.list_thing_groups_for_thing(thingName=things[0])["thingGroups"]] == [low]
    refuses(iot.delete_thing_group, "InvalidRequestException", thingGroupName=top)
    iot.remove_thing_from_thing_group(thingGroupName=low, thingName=things[0])
    iot.remove_thing_from_thing_group(thingGroupName=low, thingName=things[0])
    assert iot.list_things_in_thing_group(thingGroupName=low)["things"] == things[1:]
    iot.delete_thing_group(thingGroupName=low)
    assert iot.list_thing_groups_for_thing(thingName=things[1])["thingGroups"] == []
    refuses(iot.describe_thing_group, "ResourceNotFoundException", thingGroupName=low)
    refuses(iot.add_thing_to_thing_group, "ResourceNotFoundException", thingGroupName=low, thingName=things[1])
    refuses(iot.add_thing_to_thing_group, "ResourceNotFoundException", thingGroupName=top, thingName="none")


def test_groups_are_updated_by_version_and_things_change_groups_in_one_call(fleet):
    iot, (one, two) = fleet.iot, (fleet.group(), fleet.group())
    changed = iot.update_thing_group(thingGroupName=one, thingGroupProperties={"thingGroupDescription": "new"}, expectedVersion=1)
    assert changed["version"] == 2
    refuses(iot.update_thing_group, "VersionConflictException", thingGroupName=one, thingGroupProperties={}, expectedVersion=1)
    refuses(iot.delete_thing_group, "VersionConflictException", thingGroupName=one, expectedVersion=1)
    thing, _ = fleet.thing(policy=None)
    iot.update_thing_groups_for_thing(thingName=thing, thingGroupsToAdd=[one])
    iot.update_thing_groups_for_thing(thingName=thing, thingGroupsToAdd=[two], thingGroupsToRemove=[one])
    assert [g["groupName"] for g in iot.list_thing_groups_for_thing(thingName=thing)["thingGroups"]] == [two]


def test_groups_nest_seven_deep_at_most(fleet):
    parent = None
    for _ in range(7):
        name = fleet.name("deep")
        fleet.iot.create_thing_group(thingGroupName=name, **({"parentGroupName": parent} if parent else {}))
        parent = name
    refuses(fleet.iot.create_thing_group, "InvalidRequestException", thingGroupName=fleet.name("deep"), parentGroupName=parent)


# --- certificates ---

def test_a_certificate_goes_through_its_states_and_is_deleted_only_when_nothing_needs_it(fleet):
    iot = fleet.iot
    thing, certificate = fleet.thing()
    (policy,) = [p["policyName"] for p in iot.list_attached_policies(target=certificate.arn)["policies"]]
    found = iot.describe_certificate(certificateId=certificate.id)["certificateDescription"]
    assert (found["status"], found["ownedBy"], found["certificateMode"]) == ("ACTIVE", fleet.known_account, "DEFAULT")
    own = x509.load_pem_x509_certificate(found["certificatePem"].encode())
    assert own.fingerprint(hashes.SHA256()).hex() == certificate.id
    refuses(iot.delete_certificate, "CertificateStateException", certificateId=certificate.id)
    for status in ("INACTIVE", "ACTIVE", "REVOKED"):
        iot.update_certificate(certificateId=certificate.id, newStatus=status)
        assert iot.describe_certificate(certificateId=certificate.id)["certificateDescription"]["status"] == status
    refuses(iot.update_certificate, "InvalidRequestException", certificateId=certificate.id, newStatus="NEW")
    assert "detached" in refuses(iot.delete_certificate, "DeleteConflictException", certificateId=certificate.id)
    refuses(iot.delete_thing, "InvalidRequestException", thingName=thing)
    assert iot.list_principal_things(principal=certificate.arn)["things"] == [thing]
    assert iot.list_thing_principals(thingName=thing)["principals"] == [certificate.arn]
    iot.detach_thing_principal(thingName=thing, principal=certificate.arn)
    refuses(iot.delete_certificate, "DeleteConflictException", certificateId=certificate.id)
    iot.detach_policy(policyName=policy, target=certificate.arn)
    iot.delete_certificate(certificateId=certificate.id)
    refuses(iot.describe_certificate, "ResourceNotFoundException", certificateId=certificate.id)
    refuses(iot.update_certificate, "ResourceNotFoundException", certificateId=certificate.id, newStatus="ACTIVE")


def test_a_forced_deletion_takes_the_policies_along(fleet):
    certificate = Certificate.make(fleet.cloud, active=False)
    certificate.allow(ANY)
    fleet.iot.delete_certificate(certificateId=certificate.id, forceDelete=True)
    refuses(fleet.iot.describe_certificate, "ResourceNotFoundException", certificateId=certificate.id)


def test_a_certificate_is_signed_for_a_request_of_a_usable_key(fleet):
    csr, _ = request("lamp")
    made = fleet.iot.create_certificate_from_csr(certificateSigningRequest=csr, setAsActive=True)
    certificate = x509.load_pem_x509_certificate(made["certificatePem"].encode())
    assert certificate.subject.rfc4514_string() == "CN=lamp"
    csr, _ = request(key=rsa.generate_private_key(65537, 2048))
    fleet.iot.create_certificate_from_csr(certificateSigningRequest=csr)
    for bad in ("nonsense", request(key=ec.generate_private_key(ec.SECP256K1()))[0], request(key=rsa.generate_private_key(65537, 1024))[0]):
        assert "CSR" in refuses(fleet.iot.create_certificate_from_csr, "InvalidRequestException", certificateSigningRequest=bad)


def test_a_certificate_of_ones_own_is_registered_without_an_authority(fleet):
    own, _ = signed("own")
    made = fleet.iot.register_certificate_without_ca(certificatePem=pem(own), status="ACTIVE")
    assert made["certificateId"] == own.fingerprint(hashes.SHA256()).hex()
    assert fleet.iot.describe_certificate(certificateId=made["certificateId"])["certificateDescription"]["certificateMode"] == "SNI_ONLY"
    refuses(fleet.iot.register_certificate_without_ca, "ResourceAlreadyExistsException", certificatePem=pem(own), status="ACTIVE")
    refuses(fleet.iot.register_certificate_without_ca, "CertificateValidationException", certificatePem="nonsense")


def test_an_authority_is_registered_by_proof_and_then_certificates_it_signed(fleet):
    iot = fleet.iot
    authority, key = signed("authority", authority=True)
    code = iot.get_registration_code()["registrationCode"]
    assert iot.get_registration_code()["registrationCode"] == code
    wrong, _ = signed("not the code", authority, key)
    proof, _ = signed(code, authority, key)
    foreign, _ = signed(code)
    refuses(iot.register_ca_certificate, "RegistrationCodeValidationException", caCertificate=pem(authority), verificationCertificate=pem(wrong))
    refuses(iot.register_ca_certificate, "CertificateValidationException", caCertificate=pem(authority), verificationCertificate=pem(foreign))
    refuses(iot.register_ca_certificate, "InvalidRequestException", caCertificate=pem(authority))
    ca = iot.register_ca_certificate(caCertificate=pem(authority), verificationCertificate=pem(proof), setAsActive=True, tags=[{"Key": "a", "Value": "b"}])
    assert iot.list_tags_for_resource(resourceArn=ca["certificateArn"])["tags"] == [{"Key": "a", "Value": "b"}]
    refuses(iot.register_ca_certificate, "ResourceAlreadyExistsException", caCertificate=pem(authority), verificationCertificate=pem(proof))
    device, _ = signed("device", authority, key)
    made = iot.register_certificate(certificatePem=pem(device), caCertificatePem=pem(authority), status="ACTIVE")
    found = iot.describe_certificate(certificateId=made["certificateId"])["certificateDescription"]
    assert found["caCertificateId"] == ca["certificateId"]
    assert [c["certificateId"] for c in iot.list_certificates_by_ca(caCertificateId=ca["certificateId"])["certificates"]] == [made["certificateId"]]
    refuses(iot.register_certificate, "CertificateValidationException", certificatePem=pem(signed("foreign")[0]))
    iot.update_ca_certificate(certificateId=ca["certificateId"], newStatus="INACTIVE", newAutoRegistrationStatus="ENABLE")
    found = iot.describe_ca_certificate(certificateId=ca["certificateId"])["certificateDescription"]
    assert (found["status"], found["autoRegistrationStatus"]) == ("INACTIVE", "ENABLE")
    refuses(iot.register_certificate, "CertificateValidationException", certificatePem=pem(signed("late", authority, key)[0]))
    iot.update_ca_certificate(certificateId=ca["certificateId"], newStatus="ACTIVE")
    refuses(iot.delete_ca_certificate, "CertificateStateException", certificateId=ca["certificateId"])
    iot.update_ca_certificate(certificateId=ca["certificateId"], newStatus="INACTIVE")
    assert ca["certificateId"] in [c["certificateId"] for c in iot.list_ca_certificates()["certificates"]]
    iot.delete_ca_certificate(certificateId=ca["certificateId"])
    refuses(iot.describe_ca_certificate, "ResourceNotFoundException", certificateId=ca["certificateId"])


def test_certificates_are_listed_newest_first_or_oldest_first(fleet):
    made = [Certificate.make(fleet.cloud, active=False).id for _ in range(4)]
    found, pages = all_pages(fleet.iot.list_certificates, "certificates", token="nextMarker", pageSize=3)
    newest = [c["certificateId"] for c in found if c["certificateId"] in made]
    assert sorted(newest) == sorted(made) and pages > 1
    found, _ = all_pages(fleet.iot.list_certificates, "certificates", token="nextMarker", pageSize=3, ascendingOrder=True)
    assert [c["certificateId"] for c in found if c["certificateId"] in made] == newest[::-1]
    dates = [c["creationDate"] for c in found]
    assert dates == sorted(dates)


def test_an_exclusive_certificate_has_one_thing(fleet):
    (one, certificate), (two, _) = fleet.thing(), fleet.thing()
    refuses(fleet.iot.attach_thing_principal, "ResourceNotFoundException", thingName="none", principal=certificate.arn)
    refuses(fleet.iot.attach_thing_principal, "ResourceNotFoundException", thingName=one, principal=fleet.arn("cert/" + "0" * 64))
    fleet.iot.attach_thing_principal(thingName=one, principal=certificate.arn, thingPrincipalType="EXCLUSIVE_THING")
    refuses(fleet.iot.attach_thing_principal, "InvalidRequestException", thingName=two, principal=certificate.arn)


# --- policies ---

def test_a_policy_has_five_versions_and_one_that_counts(fleet):
    iot, name, text = fleet.iot, fleet.name("policy"), json.dumps(ANY)
    made = iot.create_policy(policyName=name, policyDocument=text)
    assert (made["policyVersionId"], made["policyArn"], made["policyDocument"]) == ("1", fleet.arn(f"policy/{name}"), text)
    refuses(iot.create_policy, "ResourceAlreadyExistsException", policyName=name, policyDocument=text)
    for version in "2345":
        assert iot.create_policy_version(policyName=name, policyDocument=text, setAsDefault=version == "3")["policyVersionId"] == version
    refuses(iot.create_policy_version, "VersionsLimitExceededException", policyName=name, policyDocument=text)
    versions = {v["versionId"]: v["isDefaultVersion"] for v in iot.list_policy_versions(policyName=name)["policyVersions"]}
    assert versions == {"1": False, "2": False, "3": True, "4": False, "5": False}
    refuses(iot.delete_policy_version, "DeleteConflictException", policyName=name, policyVersionId="3")
    iot.set_default_policy_version(policyName=name, policyVersionId="5")
    assert iot.get_policy(policyName=name)["defaultVersionId"] == "5"
    assert iot.get_policy_version(policyName=name, policyVersionId="5")["isDefaultVersion"] is True
    refuses(iot.get_policy_version, "ResourceNotFoundException", policyName=name, policyVersionId="9")
    refuses(iot.delete_policy, "DeleteConflictException", policyName=name)
    for version in "1234":
        iot.delete_policy_version(policyName=name, policyVersionId=version)
    iot.delete_policy(policyName=name)
    refuses(iot.get_policy, "ResourceNotFoundException", policyName=name)


@pytest.mark.parametrize("document", ["nonsense", "{}", '{"Version": "2012-10-17", "Statement": []}',
                                      '{"Version": "2012-10-17", "Statement": [{"Effect": "Maybe", "Action": "iot:*", "Resource": "*"}]}',
                                      '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*"}]}',
                                      json.dumps(allow(("iot:*", ["arn:aws:iot:us-east-1:1:topic/" + "x" * 2100])))])
def test_a_malformed_policy_is_refused(fleet, document):
    refuses(fleet.iot.create_policy, "MalformedPolicyException", policyName=fleet.name("policy"), policyDocument=document)


def test_policies_are_attached_to_certificates_and_groups_and_add_up(fleet):
    iot = fleet.iot
    thing, certificate = fleet.thing(policy=None)
    top = fleet.group()
    low = fleet.name("group")
    iot.create_thing_group(thingGroupName=low, parentGroupName=top)
    iot.add_thing_to_thing_group(thingGroupName=low, thingName=thing)
    names = [fleet.name("policy") for _ in range(3)]
    for name in names:
        iot.create_policy(policyName=name, policyDocument=json.dumps(ANY))
    for name, target in zip(names, (certificate.arn, fleet.arn(f"thinggroup/{low}"), fleet.arn(f"thinggroup/{top}")), strict=True):
        iot.attach_policy(policyName=name, target=target)
        iot.attach_policy(policyName=name, target=target)
        assert iot.list_targets_for_policy(policyName=name)["targets"] == [target]
    effective = iot.get_effective_policies(principal=certificate.arn, thingName=thing)["effectivePolicies"]
    assert sorted(p["policyName"] for p in effective) == sorted(names)
    group = fleet.arn(f"thinggroup/{low}")
    assert [p["policyName"] for p in iot.list_attached_policies(target=group)["policies"]] == [names[1]]
    assert sorted(p["policyName"] for p in iot.list_attached_policies(target=group, recursive=True)["policies"]) == sorted(names[1:])
    assert [p["policyName"] for p in iot.list_principal_policies(principal=certificate.arn)["policies"]] == [names[0]]
    refuses(iot.delete_policy, "DeleteConflictException", policyName=names[0])
    refuses(iot.attach_policy, "ResourceNotFoundException", policyName="none", target=certificate.arn)
    refuses(iot.attach_policy, "ResourceNotFoundException", policyName=names[0], target=fleet.arn("thinggroup/none"))
    refuses(iot.attach_policy, "InvalidRequestException", policyName=names[0], target="nonsense")
    iot.detach_policy(policyName=names[0], target=certificate.arn)
    assert iot.list_attached_policies(target=certificate.arn)["policies"] == []


def test_a_certificate_has_ten_policies_at_most(fleet):
    certificate = Certificate.make(fleet.cloud)
    for _ in range(10):
        certificate.allow(ANY)
    name = fleet.name("policy")
    fleet.iot.create_policy(policyName=name, policyDocument=json.dumps(ANY))
    refuses(fleet.iot.attach_policy, "LimitExceededException", policyName=name, target=certificate.arn)
    assert len(fleet.iot.list_attached_policies(target=certificate.arn)["policies"]) == 10


def test_an_authorization_can_be_tried_out(fleet):
    thing, certificate = fleet.thing(allow(
        ("iot:Connect", fleet.arn("client/${iot:Connection.Thing.ThingName}")), ("iot:Publish", fleet.arn("topic/open/*")),
        ("Deny", "iot:Publish", fleet.arn("topic/open/secret"))))
    ask = [{"actionType": kind, "resources": [fleet.arn(resource)]} for kind, resource in (
        ("CONNECT", f"client/{thing}"), ("PUBLISH", "topic/open/a"), ("PUBLISH", "topic/open/secret"), ("SUBSCRIBE", "topicfilter/a"))]
    found = fleet.iot.test_authorization(principal=certificate.arn, clientId=thing, authInfos=ask)["authResults"]
    assert [r["authDecision"] for r in found] == ["ALLOWED", "ALLOWED", "EXPLICIT_DENY", "IMPLICIT_DENY"]
    assert found[0]["authInfo"] == ask[0]
    (policy,) = found[0]["allowed"]["policies"]
    assert found[2]["denied"]["explicitDeny"]["policies"] == [policy]
    more = fleet.name("policy")
    fleet.iot.create_policy(policyName=more, policyDocument=json.dumps(ANY))
    found = fleet.iot.test_authorization(
        principal=certificate.arn, clientId=thing, authInfos=ask, policyNamesToAdd=[more], policyNamesToSkip=[policy["policyName"]])["authResults"]
    assert [r["authDecision"] for r in found] == ["ALLOWED"] * 4
    refuses(fleet.iot.test_authorization, "ResourceNotFoundException", principal=fleet.arn("cert/" + "0" * 64), authInfos=ask)
    refuses(fleet.iot.test_authorization, "ResourceNotFoundException", principal=certificate.arn, authInfos=ask, policyNamesToAdd=["none"])


# --- aliases, templates, endpoints, tags ---

def test_role_aliases_are_made_changed_and_deleted(fleet):
    iot, name = fleet.iot, fleet.name("alias")
    made = iot.create_role_alias(roleAlias=name, roleArn=ROLE, credentialDurationSeconds=900)
    assert made["roleAliasArn"] == fleet.arn(f"rolealias/{name}")
    refuses(iot.create_role_alias, "ResourceAlreadyExistsException", roleAlias=name, roleArn=ROLE)
    refuses(iot.create_role_alias, "InvalidRequestException", roleAlias=fleet.name("alias"), roleArn="arn:aws:iam::123456789012:user/a-user")
    refuses(iot.create_role_alias, "InvalidRequestException", roleAlias=fleet.name("alias"), roleArn=ROLE, credentialDurationSeconds=43201)
    iot.update_role_alias(roleAlias=name, credentialDurationSeconds=1800)
    found = iot.describe_role_alias(roleAlias=name)["roleAliasDescription"]
    assert (found["credentialDurationSeconds"], found["roleArn"]) == (1800, ROLE)
    assert name in iot.list_role_aliases()["roleAliases"]
    iot.delete_role_alias(roleAlias=name)
    refuses(iot.describe_role_alias, "ResourceNotFoundException", roleAlias=name)
    refuses(iot.delete_role_alias, "ResourceNotFoundException", roleAlias=name)


def test_templates_have_versions_and_claims(fleet):
    iot, name, body = fleet.iot, fleet.name("t"), json.dumps(TEMPLATE)
    made = iot.create_provisioning_template(templateName=name, templateBody=body, provisioningRoleArn=ROLE, enabled=True, tags=[{"Key": "a", "Value": "b"}])
    assert (made["templateArn"], made["defaultVersionId"]) == (fleet.arn(f"provisioningtemplate/{name}"), 1)
    refuses(iot.create_provisioning_template, "ResourceAlreadyExistsException", templateName=name, templateBody=body, provisioningRoleArn=ROLE)
    refuses(iot.create_provisioning_template, "InvalidRequestException", templateName=fleet.name("t"), templateBody="{}", provisioningRoleArn=ROLE)
    found = iot.describe_provisioning_template(templateName=name)
    assert (json.loads(found["templateBody"]), found["enabled"], found["type"]) == (TEMPLATE, True, "FLEET_PROVISIONING")
    for version in (2, 3, 4, 5):
        assert iot.create_provisioning_template_version(templateName=name, templateBody=body, setAsDefault=version == 2)["versionId"] == version
    refuses(iot.create_provisioning_template_version, "VersionsLimitExceededException", templateName=name, templateBody=body)
    versions, pages = all_pages(iot.list_provisioning_template_versions, "versions", templateName=name, maxResults=2)
    assert ([v["versionId"] for v in versions if v["isDefaultVersion"]], len(versions), pages) == ([2], 5, 3)
    refuses(iot.delete_provisioning_template_version, "DeleteConflictException", templateName=name, versionId=2)
    refuses(iot.describe_provisioning_template_version, "ResourceNotFoundException", templateName=name, versionId=9)
    claim = iot.create_provisioning_claim(templateName=name)
    left = claim["expiration"] - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(minutes=4) < left < datetime.timedelta(minutes=6)
    iot.update_provisioning_template(templateName=name, enabled=False, description="d")
    refuses(iot.create_provisioning_claim, "InvalidRequestException", templateName=name)
    refuses(iot.create_provisioning_claim, "ResourceNotFoundException", templateName="none")
    assert name in [t["templateName"] for t in iot.list_provisioning_templates()["templates"]]
    refuses(iot.delete_provisioning_template, "DeleteConflictException", templateName=name)
    for version in (1, 3, 4, 5):
        iot.delete_provisioning_template_version(templateName=name, versionId=version)
    iot.delete_provisioning_template(templateName=name)
    refuses(iot.describe_provisioning_template, "ResourceNotFoundException", templateName=name)


def test_a_thing_is_registered_with_a_template_of_the_moment(fleet):
    csr, _ = request()
    body = {"Parameters": {"Name": {"Type": "String"}, "CSR": {"Type": "String"}}, "Resources": {
        "thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": {"Ref": "Name"}, "AttributePayload": {"a": "b"}}},
        "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateSigningRequest": {"Ref": "CSR"}, "Status": "ACTIVE"}},
        "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": json.dumps(ANY)}}}}
    name = fleet.name()
    made = fleet.iot.register_thing(templateBody=json.dumps(body), parameters={"Name": name, "CSR": csr})
    assert made["resourceArns"]["thing"] == fleet.arn(f"thing/{name}")
    assert made["resourceArns"]["certificate"] == fleet.iot.list_thing_principals(thingName=name)["principals"][0]
    assert "BEGIN CERTIFICATE" in made["certificatePem"]
    refuses(fleet.iot.register_thing, "InvalidRequestException", templateBody=json.dumps(body), parameters={"Name": name})


@pytest.mark.parametrize("kind", ["iot:Data-ATS", "iot:Data", "iot:CredentialProvider", "iot:Jobs", None])
def test_endpoints_are_told_by_type(fleet, kind):
    assert fleet.iot.describe_endpoint(**({"endpointType": kind} if kind else {}))["endpointAddress"]
    refuses(fleet.iot.describe_endpoint, "InvalidRequestException", endpointType="iot:Nonsense")


def test_tags_are_set_listed_and_taken_away(fleet):
    iot, group = fleet.iot, fleet.group(tags=[{"Key": "a", "Value": "1"}])
    arn = fleet.arn(f"thinggroup/{group}")
    iot.tag_resource(resourceArn=arn, tags=[{"Key": "b", "Value": "2"}, {"Key": "a", "Value": "3"}])
    assert iot.list_tags_for_resource(resourceArn=arn)["tags"] == [{"Key": "a", "Value": "3"}, {"Key": "b", "Value": "2"}]
    iot.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert iot.list_tags_for_resource(resourceArn=arn)["tags"] == [{"Key": "b", "Value": "2"}]
    refuses(iot.tag_resource, "ResourceNotFoundException", resourceArn=fleet.arn("thinggroup/none"), tags=[{"Key": "a", "Value": "1"}])
    refuses(iot.tag_resource, "InvalidRequestException", resourceArn=arn, tags=[{"Key": "aws:a", "Value": "1"}])


def test_what_is_not_served_says_so(fleet):
    for service, call, arguments in ((fleet.iot, "search_index", {"queryString": "a"}), (fleet.iot, "list_topic_rules", {}),
                                     (fleet.iot, "create_topic_rule", {"ruleName": "r", "topicRulePayload": {"sql": "select * from 'a'", "actions": []}}),
                                     (fleet.iot, "list_billing_groups", {})):
        with pytest.raises(service.exceptions.ClientError) as caught:
            getattr(service, call)(**arguments)
        assert "does not serve" in caught.value.response["Error"]["Message"], caught.value.response


def test_the_cli_does_the_steps_of_a_first_device(fleet):
    """As the tutorials have it, file arguments and all."""
    cloud, folder = fleet.cloud, fleet.folder
    (folder / "policy.json").write_text(json.dumps(ANY))
    name, policy = fleet.name(), fleet.name("policy")
    cloud.aws("iot", "create-thing", "--thing-name", name, "--attribute-payload", "attributes={color=red}")
    made = cloud.json("iot", "create-keys-and-certificate", "--set-as-active", "--certificate-pem-outfile", "c.pem",
                      "--private-key-outfile", "c.key", "--public-key-outfile", "c.pub")
    assert "PRIVATE KEY" in (folder / "c.key").read_text()
    cloud.aws("iot", "create-policy", "--policy-name", policy, "--policy-document", "file://policy.json")
    cloud.aws("iot", "attach-policy", "--policy-name", policy, "--target", made["certificateArn"])
    cloud.aws("iot", "attach-thing-principal", "--thing-name", name, "--principal", made["certificateArn"])
    assert cloud.json("iot", "list-thing-principals", "--thing-name", name)["principals"] == [made["certificateArn"]]
    assert cloud.refused("iot", "describe-thing", "--thing-name", "none")[0] == "ResourceNotFoundException"
    assert cloud.refused("iot", "delete-certificate", "--certificate-id", made["certificateId"])[0] == "CertificateStateException"
