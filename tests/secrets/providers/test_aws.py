"""AWS Secrets Manager and Parameter Store, as moto serves them to boto3."""

from __future__ import annotations

import json
import logging
import pickle
import traceback
from typing import Any

import boto3
import pytest

from polvo_adapters.errors import ConfigurationError, SecretError
from polvo_adapters.secrets import ParameterStore, Secret, SecretsManager
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.double_o_server import DoubleOServer, Reply

VALUE = "hunter2-the-value"


@pytest.fixture
def manager(aws: str) -> Any:
    return boto3.session.Session().client("secretsmanager")


@pytest.fixture
def parameters(aws: str) -> Any:
    return boto3.session.Session().client("ssm")


def failed(secret: Secret) -> SecretError:
    with pytest.raises(SecretError) as caught:
        secret.get()
    assert VALUE not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None
    return caught.value


def test_secrets_manager(manager: Any) -> None:
    manager.create_secret(Name="prod/db", SecretString=json.dumps({"user": "ada", "password": VALUE}))
    manager.create_secret(Name="plain@x", SecretString=VALUE)
    manager.create_secret(Name="bytes", SecretBinary=VALUE.encode())
    manager.create_secret(Name="binary", SecretBinary=b"\xff\xfe")
    assert Secret("aws-secretsmanager://prod/db#password").get() == VALUE
    assert Secret("aws-secretsmanager://plain%40x").get() == VALUE
    assert Secret("aws-secretsmanager://bytes").get() == VALUE
    arn = manager.describe_secret(SecretId="plain@x")["ARN"].replace("@", "%40")
    assert Secret(f"aws-secretsmanager://{arn}").get() == VALUE
    assert failed(Secret("aws-secretsmanager://binary")).reason == "no text"
    assert "'password', 'user'" in str(failed(Secret("aws-secretsmanager://prod/db#pass")))
    missing = failed(Secret("aws-secretsmanager://nope"))
    assert (missing.reason, missing.final, missing.name) == ("not found", True, "nope")


def test_versions(manager: Any, clock: VirtualClock) -> None:
    first = manager.create_secret(Name="db", SecretString="first")["VersionId"]
    made = Secret("aws-secretsmanager://db", clock=clock, background=False)
    assert made.get() == "first"
    manager.put_secret_value(SecretId="db", SecretString="second")
    assert made.get() == "first"
    clock.advance(300)
    assert made.get() == "second"
    assert Secret("aws-secretsmanager://db?version_stage=AWSPREVIOUS").get() == "first"
    assert Secret(f"aws-secretsmanager://db?version_id={first}").get() == "first"
    assert SecretsManager(version_stage="AWSCURRENT").secret("db").get() == "second"


def test_parameter_store(parameters: Any) -> None:
    parameters.put_parameter(Name="/prod/db/password", Value=VALUE, Type="SecureString")
    parameters.put_parameter(Name="plain", Value='{"a": "b"}', Type="String")
    assert Secret("aws-ssm:///prod/db/password").get() == VALUE
    assert Secret("aws-ssm://plain#a").get() == "b"
    assert Secret(ParameterStore(), "/prod/db/password").get() == VALUE
    assert (failed(Secret("aws-ssm:///nope")).reason, failed(Secret("aws-ssm:///nope")).final) == ("not found", True)


def test_nothing_of_it_is_in_the_log(manager: Any, parameters: Any, caplog: pytest.LogCaptureFixture) -> None:
    manager.create_secret(Name="db", SecretString=VALUE)
    parameters.put_parameter(Name="db", Value=VALUE, Type="SecureString")
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    assert boto3.session.Session().client("secretsmanager").get_secret_value(SecretId="db")["SecretString"] == VALUE
    assert VALUE in caplog.text  # which is what boto3 does
    caplog.clear()
    for provider in (SecretsManager(), ParameterStore()):
        assert provider.secret("db").get() == VALUE
    assert VALUE not in caplog.text
    boto3.session.Session().client("secretsmanager").get_secret_value(SecretId="db")
    assert VALUE in caplog.text  # what others do with it goes on as before


@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_ACCESS_KEY_ID"])
def test_settings_that_are_missing(aws: str, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    for each in ("AWS_DEFAULT_REGION", "AWS_PROFILE", name, *(["AWS_SECRET_ACCESS_KEY"] if "KEY" in name else [])):
        monkeypatch.delenv(each, raising=False)
    if name == "AWS_REGION":
        with pytest.raises(ConfigurationError, match="AWS_REGION"):
            Secret("aws-ssm:///db").get()
    else:
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        error = failed(Secret("aws-ssm:///db"))
        assert (error.reason, error.final) == ("denied", False)


def test_a_service_that_cannot_be_reached(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    error = failed(Secret(SecretsManager(endpoint_url="http://127.0.0.1:9", timeout=2), "db"))
    assert (error.reason, error.final) == ("unreachable", False)
    with DoubleOServer() as failing:
        failing.always = Reply(500)
        error = failed(Secret(ParameterStore(endpoint_url=failing.url), "db"))
    assert (error.reason, len(failing.received)) == ("unavailable", 3)


def test_it_is_pickled_without_its_client(manager: Any) -> None:
    manager.create_secret(Name="db", SecretString=VALUE)
    made = Secret("aws-secretsmanager://db")
    assert made.get() == VALUE
    pickled = pickle.dumps(made)
    assert VALUE.encode() not in pickled
    assert pickle.loads(pickled).get() == VALUE
