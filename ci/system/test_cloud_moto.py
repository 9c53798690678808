"""The same calls to greengrass-cloud and to moto's server: same shapes, same errors. What is allowed to differ stands at the call."""
import json

from moto_peer import moto_server, pair  # noqa: F401 (fixtures)

TRUST = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]})
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::a/*"}]})
TOKEN = "12345678-1234-1234-1234-12345678901"


def test_secrets_are_as_with_moto(pair):  # noqa: F811
    secrets = pair("secretsmanager")
    secrets.call("create_secret", Name="s", SecretString="one", Description="d", Tags=[{"Key": "a", "Value": "b"}], ClientRequestToken=TOKEN + "1")
    secrets.call("create_secret", Name="s", SecretString="other")
    secrets.call("create_secret", Name="empty")
    secrets.call("get_secret_value", SecretId="s")
    secrets.call("get_secret_value", SecretId="none")
    secrets.call("get_secret_value", SecretId="empty")
    secrets.call("get_secret_value", SecretId="s", VersionStage="NONE")
    secrets.call("get_secret_value", SecretId="s", VersionId=TOKEN + "9")
    secrets.call("put_secret_value", SecretId="s", SecretString="two", ClientRequestToken=TOKEN + "2")
    secrets.call("put_secret_value", SecretId="none", SecretString="two")
    secrets.call("put_secret_value", SecretId="s")
    secrets.call("get_secret_value", SecretId="s", VersionStage="AWSPREVIOUS")
    # moto tells rotation and replication of secrets that have neither.
    secrets.call("describe_secret", SecretId="s", only_theirs=("RotationEnabled", "RotationLambdaARN", "RotationRules", "ReplicationStatus", "KmsKeyId",
                                                              "LastAccessedDate", "LastRotatedDate", "NextRotationDate"),
                 only_ours=("LastAccessedDate", ))
    secrets.call("describe_secret", SecretId="none")
    secrets.call("update_secret", SecretId="s", Description="new")
    secrets.call("update_secret", SecretId="s", SecretString="three", ClientRequestToken=TOKEN + "3")
    secrets.call("update_secret_version_stage", SecretId="s", VersionStage="AWSCURRENT", MoveToVersionId=TOKEN + "2", RemoveFromVersionId=TOKEN + "3")
    # moto gives a value of update_secret an id of its own, whatever the request's token is.
    assert secrets.call("get_secret_value", SecretId="s")[0]["SecretString"] == "two"
    secrets.call("tag_resource", SecretId="s", Tags=[{"Key": "c", "Value": "d"}])
    secrets.call("untag_resource", SecretId="s", TagKeys=["c"])
    secrets.call("delete_secret", SecretId="s", RecoveryWindowInDays=7)
    secrets.call("get_secret_value", SecretId="s")
    secrets.call("delete_secret", SecretId="s", RecoveryWindowInDays=3)
    secrets.call("delete_secret", SecretId="none")
    secrets.call("restore_secret", SecretId="s")
    secrets.call("restore_secret", SecretId="none")
    secrets.call("delete_secret", SecretId="s", ForceDeleteWithoutRecovery=True)
    secrets.call("delete_secret", SecretId="none", ForceDeleteWithoutRecovery=True)
    secrets.call("describe_secret", SecretId="s")


def test_roles_and_policies_are_as_with_moto(pair):  # noqa: F811
    iam, arns = pair("iam"), {}
    iam.call("create_role", RoleName="r", AssumeRolePolicyDocument=TRUST, Description="d", only_theirs=("RoleLastUsed",))
    iam.call("create_role", RoleName="r", AssumeRolePolicyDocument=TRUST)
    iam.call("get_role", RoleName="none")
    iam.call("update_assume_role_policy", RoleName="r", PolicyDocument=TRUST)
    boundaries = ("PermissionsBoundaryUsageCount",)  # which AWS tells and moto does not
    made = iam.call("create_policy", PolicyName="p", PolicyDocument=POLICY, only_ours=boundaries)
    arns = {side: answer["Policy"]["Arn"] for side, answer in enumerate(made)}
    iam.call("create_policy", PolicyName="p", PolicyDocument=POLICY)
    iam.call("get_policy", PolicyArn=arns.get, only_ours=boundaries, only_theirs=("Tags",))
    iam.call("get_policy_version", PolicyArn=arns.get, VersionId="v1")
    iam.call("attach_role_policy", RoleName="r", PolicyArn=arns.get)
    iam.call("list_attached_role_policies", RoleName="r")
    iam.call("put_role_policy", RoleName="r", PolicyName="i", PolicyDocument=POLICY)
    iam.call("get_role_policy", RoleName="r", PolicyName="i")
    iam.call("get_role_policy", RoleName="r", PolicyName="none")
    iam.call("list_role_policies", RoleName="r")
    iam.call("delete_role", RoleName="r")
    iam.call("delete_role_policy", RoleName="r", PolicyName="i")
    iam.call("detach_role_policy", RoleName="r", PolicyArn=arns.get)
    iam.call("detach_role_policy", RoleName="r", PolicyArn=arns.get)
    iam.call("delete_role", RoleName="r")
    iam.call("delete_role", RoleName="r")


def test_identities_are_as_with_moto(pair):  # noqa: F811
    pair("sts").call("get_caller_identity")
    made = pair("iam").call("create_role", RoleName="r", AssumeRolePolicyDocument=TRUST, only_theirs=("RoleLastUsed",))
    arns = {side: answer["Role"]["Arn"] for side, answer in enumerate(made)}
    pair("sts").call("assume_role", RoleArn=arns.get, RoleSessionName="session", only_theirs=("PackedPolicySize",))


def test_objects_are_as_with_moto(pair):  # noqa: F811
    s3 = pair("s3")
    s3.call("create_bucket", Bucket="artifacts", only_theirs=("BucketArn",))
    s3.call("head_bucket", Bucket="none")
    s3.call("get_object", Bucket="artifacts", Key="none")
    s3.call("get_object", Bucket="none", Key="none")
    # moto says of every object that it is encrypted, and has versions and types of checksums where AWS has none.
    extra = ("ServerSideEncryption", "ChecksumType", "VersionId", "ChecksumAlgorithm")
    for number in range(3):
        s3.call("put_object", Bucket="artifacts", Key=f"a/{number}", Body=b"x", only_theirs=extra, only_ours=extra)
    s3.call("head_object", Bucket="artifacts", Key="none")
    s3.call("get_bucket_location", Bucket="artifacts")
    s3.call("delete_object", Bucket="artifacts", Key="none")
    s3.call("delete_bucket", Bucket="artifacts")
    s3.call("abort_multipart_upload", Bucket="artifacts", Key="k", UploadId="none")
    s3.call("create_multipart_upload", Bucket="artifacts", Key="k", only_theirs=extra, only_ours=extra)
    ours, theirs = s3.call("delete_objects", Bucket="artifacts", Delete={"Objects": [{"Key": f"a/{n}"} for n in range(3)]})
    assert sorted(d["Key"] for d in ours["Deleted"]) == sorted(d["Key"] for d in theirs["Deleted"])
