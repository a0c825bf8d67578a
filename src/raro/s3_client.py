"""The client that all S3 calls of a process share, and what its errors mean in our words.

Endpoint, region, credentials, a CA of one's own, proxies and retries come from boto3's usual variables and files
(AWS_ENDPOINT_URL, AWS_PROFILE, AWS_CA_BUNDLE, HTTPS_PROXY, AWS_MAX_ATTEMPTS, a role, ...). A client takes a tenth of a second
or more to make, so one is made for each set of settings and kept: threads may share it, and a forked process makes its own,
for its parent's connections are not its own. Other settings, a credentials file written anew and an error make another one.
Source: https://boto3.amazonaws.com/v1/documentation/api/latest/guide/clients.html ("Multithreading or multiprocessing").
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import BadInput, ServiceFailed
from .storage import first_line

if TYPE_CHECKING:
    from botocore.client import BaseClient

# Parts of the error codes that no second try mends, and what does.
REFUSALS = {
    "NoSuchBucket": "check the bucket's name and AWS_ENDPOINT_URL",
    "InvalidBucketName": "check the bucket's name",
    "NoSuchKey": "check the prefix",
    "InvalidAccessKeyId": "check AWS_ACCESS_KEY_ID: the store does not know it",
    "SignatureDoesNotMatch": "check AWS_SECRET_ACCESS_KEY: it is not the one of this AWS_ACCESS_KEY_ID",
    "AccessDenied": "ask for the right to it: these credentials have none",
    "403": "ask for the right to it: these credentials have none",
    "404": "check the bucket and the prefix",
}
# Those that fresh credentials mend: a secret that is renewed beside the run, a session that somebody begins again.
EXPIRED = ("ExpiredToken", "TokenRefreshRequired")
RENEW = "put fresh credentials where these came from (a secret, a file, `aws sso login`) and start again"
RETRIES = {"AWS_MAX_ATTEMPTS": "5", "AWS_RETRY_MODE": "standard"}  # five attempts of each request, with growing waits
FILES = {"AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials", "AWS_CONFIG_FILE": "~/.aws/config"}


@contextmanager
def speaking(uri: str) -> Iterator[BaseClient]:
    """The client, its errors told in our words, naming the address. Raises BadInput, ServiceFailed."""
    try:
        from boto3.exceptions import RetriesExceededError, S3UploadFailedError
        from botocore import exceptions
        from s3transfer.exceptions import S3DownloadFailedError
    except ModuleNotFoundError:
        raise BadInput(f"'{uri}' needs boto3, which is not installed", "pip install 'raro-pipelines[tracking]'") from None
    try:
        yield _client(os.getpid(), _settings())
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
        raise BadInput(f"no credentials for '{uri}'", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role") from error
    except S3DownloadFailedError:  # s3transfer found another ETag between two parts
        raise BadInput(f"an object of '{uri}' changed while it was read", "start again when nobody writes to it") from None
    except (exceptions.ClientError, S3UploadFailedError) as error:
        _client.cache_clear()
        said = error if isinstance(error, exceptions.ClientError) else error.__context__  # what made an upload fail
        code = str(getattr(said, "response", {}).get("Error", {}).get("Code", "")) or first_line(error)
        if any(word in code for word in EXPIRED):
            raise ServiceFailed(f"the credentials for '{uri}' have run out: {code}", RENEW) from error
        if remedy := next((remedy for word, remedy in REFUSALS.items() if word in code), ""):
            raise BadInput(f"the store refuses '{uri}': {code}", remedy) from error
        # What answers a HEAD has no words: S3 says 400 there of a session that has run out.
        remedy = f"try again; if the credentials are a session's, {RENEW}" if code == "400" else "try again"
        raise ServiceFailed(f"the store of '{uri}' failed: {code}", remedy) from error
    except (exceptions.CredentialRetrievalError, exceptions.SSOError, exceptions.TokenRetrievalError) as error:
        _client.cache_clear()
        raise ServiceFailed(f"no credentials for '{uri}': {unsaid(error)}", RENEW) from None
    except (exceptions.BotoCoreError, exceptions.HTTPClientError, RetriesExceededError) as error:
        _client.cache_clear()
        line = f"the store of '{uri}' does not answer: {first_line(error)}"
        raise ServiceFailed(line, "check AWS_ENDPOINT_URL and the network") from error


def unsaid(error: BaseException) -> str:
    """Who could not give credentials. Botocore's own line holds all that a `credential_process` said, a secret perhaps, and
    ours is recorded."""
    return f"{getattr(error, 'kwargs', {}).get('provider', type(error).__name__)} gives none"


def parts(uri: str) -> tuple[str, str]:
    """(bucket, key or prefix without slashes at its ends). Raises BadInput."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if not bucket:
        raise BadInput(f"'{uri}' names no bucket", "write s3://bucket/prefix")
    return bucket, prefix.strip("/")


def _settings() -> tuple[tuple[str, str], ...]:
    """All that a client is made from: the variables that boto3 reads, and when its files were written."""
    read = re.compile(r"AWS_.*|REQUESTS_CA_BUNDLE|.*_proxy", re.IGNORECASE)
    words = {key: value for key, value in os.environ.items() if read.fullmatch(key)}
    for variable, usual in FILES.items():
        path = Path(os.environ.get(variable) or usual).expanduser()
        words[f"{variable} written"] = str(path.stat().st_mtime_ns) if path.is_file() else ""
    return tuple(sorted(words.items()))


@functools.lru_cache(maxsize=4)
def _client(process: int, settings: tuple[tuple[str, str], ...]) -> BaseClient:
    """process, settings: another of either is another client."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, CredentialRetrievalError, PartialCredentialsError

    attempts, mode = (os.environ.get(name) or usual for name, usual in RETRIES.items())
    if not attempts.isdecimal() or int(attempts) < 1:
        raise BadInput(
            f"AWS_MAX_ATTEMPTS '{attempts}' is not a number of attempts", "write a whole number from 1 on, or unset it"
        )
    try:
        return boto3.Session().client("s3", config=Config(retries={"mode": mode, "total_max_attempts": int(attempts)}))
    except (CredentialRetrievalError, PartialCredentialsError):
        raise
    except (BotoCoreError, ValueError) as error:  # nothing was asked of the store yet: what boto3 was given is wrong
        remedy = "check the AWS_ variables, and the profile in ~/.aws"
        raise BadInput(f"an S3 client cannot be created: {first_line(error)}", remedy) from error
