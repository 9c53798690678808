"""Who may call greengrass-cloud, and how it says no: signatures, keys, users, STS and IAM, by the AWS CLI and boto3."""
import datetime
import json
import socket
import ssl
import urllib.error
import urllib.request

import pytest
from botocore import auth, awsrequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

TRUST_ACCOUNT = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]})


def code(excinfo):
    return excinfo.value.response["Error"]["Code"]


def test_the_printed_lines_are_all_that_the_aws_cli_needs(cloud):
    identity = cloud.json("sts", "get-caller-identity")
    assert identity["Arn"] == f"arn:aws:iam::{identity['Account']}:user/admin"
    assert identity["UserId"].startswith("AIDA") and len(identity["Account"]) == 12
    # An access key's secret half is nobody's business but its owner's.
    secret = cloud.credentials()["AWS_SECRET_ACCESS_KEY"]
    assert secret not in cloud.log() and secret not in cloud.output.read_text()


def test_https_is_served_with_a_certificate_of_the_own_authority(cloud):
    assert cloud.client("sts", https=True).get_caller_identity()["Account"] == cloud.account()
    context = ssl.create_default_context(cafile=cloud.ca)
    port = int(cloud.https.rsplit(":", 1)[1])
    for name in ("localhost", "127.0.0.1", socket.gethostname()):
        with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain, server_hostname=name) as secure:
            assert secure.version() in ("TLSv1.2", "TLSv1.3")
    with pytest.raises(ssl.SSLCertVerificationError), socket.create_connection(("127.0.0.1", port)) as plain:
        context.wrap_socket(plain, server_hostname="elsewhere.example.com")


def test_a_wrong_secret_is_told_as_each_kind_of_service_tells_it(cloud):
    wrong = {"AWS_SECRET_ACCESS_KEY": "wrong"}
    assert cloud.refused("sts", "get-caller-identity", environment=wrong)[0] == "SignatureDoesNotMatch"
    assert cloud.refused("s3api", "list-buckets", environment=wrong)[0] == "SignatureDoesNotMatch"
    name, text = cloud.refused("secretsmanager", "list-secrets", environment=wrong)
    assert name == "InvalidSignatureException" and "does not match the signature you provided" in text


def test_an_unknown_key_and_a_wrong_token_are_refused(cloud):
    unknown = {"AWS_ACCESS_KEY_ID": "AKIAAAAAAAAAAAAAAAAA"}
    assert cloud.refused("sts", "get-caller-identity", environment=unknown)[0] == "InvalidClientTokenId"
    assert cloud.refused("secretsmanager", "list-secrets", environment=unknown)[0] == "UnrecognizedClientException"
    assert cloud.refused("s3api", "list-buckets", environment=unknown)[0] == "InvalidAccessKeyId"
    token = {"AWS_SESSION_TOKEN": "not-one-of-ours"}
    assert cloud.refused("sts", "get-caller-identity", environment=token)[0] == "InvalidClientTokenId"
    assert cloud.refused("s3api", "list-buckets", environment=token)[0] == "InvalidToken"


def signed(cloud, service, when, method="POST", body=b"Action=GetCallerIdentity&Version=2011-06-15", headers=None, path="/"):
    """A request signed at another time than now."""
    own = cloud.credentials()
    request = awsrequest.AWSRequest(method, cloud.url + path, data=body, headers=headers or {"Content-Type": "application/x-www-form-urlencoded"})
    signer = (auth.S3SigV4Auth if service == "s3" else auth.SigV4Auth)(
        Credentials(own["AWS_ACCESS_KEY_ID"], own["AWS_SECRET_ACCESS_KEY"]), service, own["AWS_DEFAULT_REGION"])
    request.context["timestamp"] = when.strftime("%Y%m%dT%H%M%SZ")
    real = auth.get_current_datetime if hasattr(auth, "get_current_datetime") else None
    try:
        if real:
            auth.get_current_datetime = lambda: when
        signer.add_auth(request)
    finally:
        if real:
            auth.get_current_datetime = real
    return request


def send(request):
    """Status and body, without a client that repairs anything."""
    prepared = request.prepare()
    data = prepared.body if prepared.body else None
    plain = urllib.request.Request(prepared.url, data=data, headers=dict(prepared.headers), method=prepared.method)
    try:
        with urllib.request.urlopen(plain, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def ago(**time):
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) - datetime.timedelta(**time)


def test_a_clock_that_is_off_is_told_so(cloud):
    assert send(signed(cloud, "sts", ago(minutes=4)))[0] == 200
    status, body = send(signed(cloud, "sts", ago(minutes=6)))
    assert status == 403 and "SignatureDoesNotMatch" in body and "Signature expired" in body
    status, body = send(signed(cloud, "sts", ago(minutes=-6)))
    assert status == 403 and "Signature not yet current" in body
    listing = {"method": "GET", "body": b"", "headers": {"X-Amz-Note": "none"}}
    assert send(signed(cloud, "s3", ago(minutes=10), **listing))[0] == 200
    status, body = send(signed(cloud, "s3", ago(minutes=20), **listing))
    assert status == 403 and "RequestTimeTooSkewed" in body


def test_what_was_signed_cannot_be_changed_on_the_way(cloud):
    request = signed(cloud, "sts", ago())
    request.data = b"Action=AssumeRole&Version=2011-06-15"
    assert send(request)[0] == 403
    request = signed(cloud, "secretsmanager", ago(), body=b"{}", headers={"Content-Type": "application/x-amz-json-1.1"})
    request.headers["X-Amz-Target"] = "secretsmanager.ListSecrets"
    status, body = send(request)
    assert status == 403 and "x-amz-target" in body


def test_an_unsigned_request_gets_the_health_and_nothing_else(cloud):
    with urllib.request.urlopen(cloud.url + "/health", timeout=5) as answer:
        assert json.load(answer)["status"] == "ok"
    for path in ("/", "/things", "/bucket/key", "/?Action=GetCallerIdentity"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(cloud.url + path, timeout=5)
        assert refused.value.code == 403 and b"Missing Authentication Token" in refused.value.read()


def test_what_is_not_served_says_so(cloud):
    name, text = cloud.refused("dynamodb", "list-tables")
    assert name == "UnknownOperationException" and "greengrass-cloud does not serve 'dynamodb'" in text
    name, text = cloud.refused("iam", "list-users")
    assert name == "InvalidAction" and "ListUsers" in text
    name, text = cloud.refused("secretsmanager", "get-random-password")
    assert name == "UnknownOperationException" and "GetRandomPassword" in text
    assert cloud.refused("s3api", "get-bucket-lifecycle-configuration", "--bucket", "none")[0] == "NotImplemented"


def test_another_region_is_refused_with_the_right_one_named(cloud):
    name, text = cloud.refused("secretsmanager", "list-secrets", "--region", "eu-west-1")
    assert name == "InvalidSignatureException" and "us-east-1" in text


def test_a_missing_or_wrong_member_is_named(cloud):
    iam = cloud.client("iam", config=Config(parameter_validation=False))
    with pytest.raises(ClientError) as refused:
        iam.create_role(AssumeRolePolicyDocument=TRUST_ACCOUNT)
    assert code(refused) == "ValidationError" and "'RoleName'" in str(refused.value)
    with pytest.raises(ClientError) as refused:
        iam.create_role(RoleName="a b", AssumeRolePolicyDocument=TRUST_ACCOUNT)
    assert "roleName" in str(refused.value) and "pattern" in str(refused.value)
    with pytest.raises(ClientError) as refused:
        iam.list_roles(MaxItems=5000)
    assert "less than or equal to 1000" in str(refused.value)


def test_two_users_work_at_once_and_one_of_them_leaves(cloud):
    assert cloud.command("user", "add", "anna").stdout.startswith("added anna, access key AKIA")
    assert cloud.json("sts", "get-caller-identity", user="anna")["Arn"].endswith(":user/anna")
    assert cloud.json("sts", "get-caller-identity")["Arn"].endswith(":user/admin")
    cloud.json("secretsmanager", "create-secret", "--name", "shared", "--secret-string", "x", user="anna")
    assert cloud.json("secretsmanager", "get-secret-value", "--secret-id", "shared")["SecretString"] == "x"
    listed = cloud.command("user", "list").stdout.splitlines()
    assert [line.split("\t")[0] for line in listed] == ["admin", "anna"]
    cloud.command("user", "remove", "anna")
    assert cloud.refused("sts", "get-caller-identity", user="anna")[0] == "InvalidClientTokenId"
    refused = cloud.command("user", "remove", "admin", check=False)
    assert refused.returncode != 0 and "last user" in refused.stderr


def test_a_console_password_is_read_from_standard_input(cloud):
    refused = cloud.command("user", "add", "anna", "--password", stdin="short\n", check=False)
    assert refused.returncode != 0 and "12 characters" in refused.stderr
    cloud.command("user", "add", "anna", "--password", stdin="a long password\n")
    assert "anna" in cloud.command("user", "list").stdout and "\tconsole" in cloud.command("user", "list").stdout
    cloud.command("user", "password", "anna", "--remove")
    assert "\tconsole" not in cloud.command("user", "list").stdout


def test_credentials_go_to_a_file_that_only_its_owner_reads(cloud):
    file = cloud.folder / "keys.sh"
    cloud.command("credentials", "--output", file)
    assert file.stat().st_mode & 0o777 == 0o600 and "AWS_SECRET_ACCESS_KEY" in file.read_text()
    again = cloud.command("credentials", "--output", file, check=False)
    assert again.returncode != 0


@pytest.fixture
def role(cloud):
    """A role that may read one bucket, by an attached policy."""
    iam = cloud.client("iam")
    arn = iam.create_role(RoleName="reader", AssumeRolePolicyDocument=TRUST_ACCOUNT)["Role"]["Arn"]
    policy = iam.create_policy(PolicyName="read", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": ["arn:aws:s3:::artifacts", "arn:aws:s3:::artifacts/*"]},
        {"Effect": "Deny", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::artifacts/private/*"}]}))["Policy"]["Arn"]
    iam.attach_role_policy(RoleName="reader", PolicyArn=policy)
    return arn


def test_a_roles_keys_do_what_its_policies_allow_and_no_more(cloud, role):
    own = cloud.client("s3")
    own.create_bucket(Bucket="artifacts")
    own.put_object(Bucket="artifacts", Key="a", Body=b"public")
    own.put_object(Bucket="artifacts", Key="private/b", Body=b"private")
    answer = cloud.client("sts").assume_role(RoleArn=role, RoleSessionName="core-1")
    keys = answer["Credentials"]
    assert keys["AccessKeyId"].startswith("ASIA")
    assert answer["AssumedRoleUser"]["Arn"].endswith(":assumed-role/reader/core-1")
    assert cloud.client("sts", keys=keys).get_caller_identity()["Arn"] == answer["AssumedRoleUser"]["Arn"]
    s3 = cloud.client("s3", keys=keys)
    assert s3.get_object(Bucket="artifacts", Key="a")["Body"].read() == b"public"
    assert s3.list_objects_v2(Bucket="artifacts")["KeyCount"] == 2
    for call in (lambda: s3.get_object(Bucket="artifacts", Key="private/b"),
                 lambda: s3.put_object(Bucket="artifacts", Key="a", Body=b"x"),
                 lambda: s3.delete_object(Bucket="artifacts", Key="a"),
                 lambda: s3.copy_object(Bucket="artifacts", Key="c", CopySource="artifacts/a"),
                 lambda: s3.list_buckets(), lambda: s3.create_bucket(Bucket="another")):
        with pytest.raises(ClientError) as refused:
            call()
        assert code(refused) == "AccessDenied"
    deleted = s3.delete_objects(Bucket="artifacts", Delete={"Objects": [{"Key": "a"}]})
    assert [e["Code"] for e in deleted["Errors"]] == ["AccessDenied"]
    with pytest.raises(ClientError) as refused:
        cloud.client("secretsmanager", keys=keys).list_secrets()
    assert code(refused) == "AccessDeniedException"
    with pytest.raises(ClientError) as refused:
        cloud.client("iam", keys=keys).create_role(RoleName="mine", AssumeRolePolicyDocument=TRUST_ACCOUNT)
    assert code(refused) == "AccessDenied" and "iam:CreateRole" in str(refused.value)


def test_a_session_policy_takes_away_and_a_policy_that_goes_takes_its_rights_with_it(cloud, role):
    cloud.client("s3").create_bucket(Bucket="artifacts")
    none = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"}]})
    sts = cloud.client("sts")
    narrowed = sts.assume_role(RoleArn=role, RoleSessionName="narrow", Policy=none)["Credentials"]
    with pytest.raises(ClientError) as refused:
        cloud.client("s3", keys=narrowed).list_objects_v2(Bucket="artifacts")
    assert code(refused) == "AccessDenied"
    keys = sts.assume_role(RoleArn=role, RoleSessionName="wide")["Credentials"]
    cloud.client("s3", keys=keys).list_objects_v2(Bucket="artifacts")
    iam = cloud.client("iam")
    attached = iam.list_attached_role_policies(RoleName="reader")["AttachedPolicies"]
    iam.detach_role_policy(RoleName="reader", PolicyArn=attached[0]["PolicyArn"])
    with pytest.raises(ClientError) as refused:
        cloud.client("s3", keys=keys).list_objects_v2(Bucket="artifacts")
    assert code(refused) == "AccessDenied"
    iam.delete_role(RoleName="reader")
    with pytest.raises(ClientError) as refused:
        cloud.client("s3", keys=keys).list_objects_v2(Bucket="artifacts")
    assert code(refused) == "InvalidAccessKeyId"


def test_a_role_is_assumed_only_by_those_it_trusts(cloud):
    iam, sts = cloud.client("iam"), cloud.client("sts")
    trust = json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "credentials.iot.amazonaws.com"}, "Action": "sts:AssumeRole"}]})
    arn = iam.create_role(RoleName="devices", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    with pytest.raises(ClientError) as refused:
        sts.assume_role(RoleArn=arn, RoleSessionName="me")
    assert code(refused) == "AccessDenied" and "sts:AssumeRole" in str(refused.value)
    with pytest.raises(ClientError) as refused:
        sts.assume_role(RoleArn=arn.replace("devices", "nobody"), RoleSessionName="me")
    assert code(refused) == "AccessDenied"
    iam.update_assume_role_policy(RoleName="devices", PolicyDocument=TRUST_ACCOUNT)
    with pytest.raises(ClientError) as refused:
        sts.assume_role(RoleArn=arn, RoleSessionName="me", DurationSeconds=7200)
    assert "MaxSessionDuration" in str(refused.value)
    assert sts.assume_role(RoleArn=arn, RoleSessionName="me", DurationSeconds=900)["Credentials"]


def test_iam_as_the_greengrass_installer_uses_it(cloud):
    policy = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:GetBucketLocation"], "Resource": "*"}]})
    assert cloud.refused("iam", "get-role", "--role-name", "GreengrassV2TokenExchangeRole")[0] == "NoSuchEntity"
    role = cloud.json("iam", "create-role", "--role-name", "GreengrassV2TokenExchangeRole", "--assume-role-policy-document", TRUST_ACCOUNT)["Role"]
    assert role["AssumeRolePolicyDocument"] == json.loads(TRUST_ACCOUNT)
    assert cloud.refused("iam", "create-role", "--role-name", "GreengrassV2TokenExchangeRole", "--assume-role-policy-document", TRUST_ACCOUNT)[0] \
        == "EntityAlreadyExists"
    assert cloud.refused("iam", "create-policy", "--policy-name", "p", "--policy-document", "{}")[0] == "MalformedPolicyDocument"
    made = cloud.json("iam", "create-policy", "--policy-name", "Access", "--policy-document", policy)["Policy"]
    cloud.aws("iam", "attach-role-policy", "--role-name", role["RoleName"], "--policy-arn", made["Arn"])
    assert cloud.json("iam", "get-policy", "--policy-arn", made["Arn"])["Policy"]["AttachmentCount"] == 1
    version = cloud.json("iam", "get-policy-version", "--policy-arn", made["Arn"], "--version-id", "v1")
    assert version["PolicyVersion"]["Document"] == json.loads(policy)
    assert cloud.refused("iam", "delete-policy", "--policy-arn", made["Arn"])[0] == "DeleteConflict"
    assert cloud.refused("iam", "attach-role-policy", "--role-name", role["RoleName"], "--policy-arn", "arn:aws:iam::aws:policy/None")[0] == "NoSuchEntity"
    cloud.aws("iam", "put-role-policy", "--role-name", role["RoleName"], "--policy-name", "inline", "--policy-document", policy)
    assert cloud.json("iam", "get-role-policy", "--role-name", role["RoleName"], "--policy-name", "inline")["PolicyDocument"] == json.loads(policy)
    assert cloud.json("iam", "list-role-policies", "--role-name", role["RoleName"])["PolicyNames"] == ["inline"]


def test_a_list_goes_on_page_by_page_and_a_made_up_token_is_refused(cloud):
    iam = cloud.client("iam")
    for number in range(7):
        iam.create_role(RoleName=f"role-{number}", AssumeRolePolicyDocument=TRUST_ACCOUNT)
    pages = list(iam.get_paginator("list_roles").paginate(PaginationConfig={"PageSize": 3}))
    assert [len(page["Roles"]) for page in pages] == [3, 3, 1]
    assert [role["RoleName"] for page in pages for role in page["Roles"]] == [f"role-{n}" for n in range(7)]
    marker = iam.list_roles(MaxItems=3)["Marker"]
    for wrong in ("made-up", marker + "A", marker[:-1]):
        with pytest.raises(ClientError) as refused:
            iam.list_roles(Marker=wrong)
        assert code(refused) == "InvalidInput"
    with pytest.raises(ClientError) as refused:
        iam.list_policies(Marker=marker)
    assert code(refused) == "InvalidInput"
