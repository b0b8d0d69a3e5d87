"""A prefix of an S3 bucket: whole objects, conditional creation, and patience with the network.

Requests that failed for a passing reason (throttling, a dropped connection, a 5xx) are repeated
with capped, jittered pauses until a deadline; botocore repeats single parts of large transfers
likewise.  Credentials, region and endpoint come from the standard AWS environment.
"""

import dataclasses
import functools
import hashlib
import logging
import mimetypes
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ray_slm.errors import StorageError

logger = logging.getLogger(__name__)

SCHEME = "s3://"
DEADLINE_SECONDS = 300.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 20.0
CONNECTIONS = 32
PASSING = ("SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "InternalError")
ABSENT = ("NoSuchKey", "404", "NotFound")
Answer = TypeVar("Answer")


class Entry(NamedTuple):
    """An object as a listing shows it; the age is by the server's own clock."""

    key: str
    num_bytes: int
    age_seconds: float
    etag: str


@dataclasses.dataclass(frozen=True)
class Bucket:
    """All keys below are relative to ``prefix``, which is empty or ends in a slash."""

    name: str
    prefix: str

    @property
    def url(self) -> str:
        """``s3://name/prefix`` without a slash at the end."""
        return f"{SCHEME}{self.name}/{self.prefix}".rstrip("/")

    def get(self, key: str) -> bytes | None:
        """The content of a small object; None when there is none."""

        def read() -> bytes:
            return bytes(client().get_object(**self._at(key))["Body"].read())

        return self._unless_absent(key, read)

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        return self._unless_absent(key, lambda: client().head_object(**self._at(key))) is not None

    def put(self, key: str, content: bytes) -> None:
        """Write a small object, over another if there is one."""
        self._patiently(key, lambda: client().put_object(**self._at(key), Body=content))

    def create(self, key: str, content: bytes) -> bool:
        """Write an object unless there is one; whether the object there now is this content.

        A repeated request may find what its own first try wrote: that counts as written.
        """
        if self._patiently(key, lambda: self._create_once(key, content)):
            return True
        return self.get(key) == content

    def upload(self, key: str, path: Path) -> None:
        """Write a file of any size."""

        kind = mimetypes.guess_type(key)[0] or "application/octet-stream"

        def send() -> None:
            with path.open("rb") as file:
                about = {"ContentType": kind}  # so that a browser shows a report
                client().upload_fileobj(file, self.name, self.prefix + key, ExtraArgs=about)

        self._patiently(key, send)

    def download(self, key: str, path: Path) -> str | None:
        """Read an object into a file; its SHA-256 in hex, or None when there is no object."""
        with path.open("w+b") as file:

            def receive() -> bool:
                file.seek(0)
                file.truncate()
                client().download_fileobj(self.name, self.prefix + key, file)
                return True

            if self._unless_absent(key, receive) is None:
                return None
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()

    def entries(self, prefix: str) -> list[Entry]:
        """All objects whose key begins with ``prefix``, in order of their keys."""
        return self._patiently(prefix, lambda: list(self._entries(prefix)))

    def delete(self, key: str) -> None:
        """Remove an object; no error when there is none."""
        self._patiently(key, lambda: client().delete_object(**self._at(key)))

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self.name, "Key": self.prefix + key}

    def _create_once(self, key: str, content: bytes) -> bool:
        from botocore.exceptions import ClientError

        try:
            client().put_object(**self._at(key), Body=content, IfNoneMatch="*")
        except ClientError as error:
            if _status(error) == 412:
                return False
            raise
        return True

    def _unless_absent(self, key: str, action: Callable[[], Answer]) -> Answer | None:
        """None when the object does not exist."""
        from botocore.exceptions import ClientError

        def attempt() -> Answer | None:
            try:
                return action()
            except ClientError as error:
                if _code(error) in ABSENT:
                    return None
                raise

        return self._patiently(key, attempt)

    def _entries(self, prefix: str) -> Iterator[Entry]:
        pages = client().get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.name, Prefix=self.prefix + prefix):
            now = _served_at(page)
            for found in page.get("Contents", ()):
                key = found["Key"].removeprefix(self.prefix)
                age = now - found["LastModified"].timestamp()
                yield Entry(key, found["Size"], age, found["ETag"])

    def _patiently(self, key: str, action: Callable[[], Answer]) -> Answer:
        return patiently(f"{self.url}/{key}", action)


def parse(url: str) -> Bucket:
    """The bucket and prefix of ``s3://bucket/prefix``."""
    name, _, prefix = url.removeprefix(SCHEME).partition("/")
    if not url.startswith(SCHEME) or not name or "@" in name or ":" in name:
        raise ValueError(
            f"{url.partition('@')[2] or url!r}: expected s3://bucket/prefix; endpoint and keys "
            "come from AWS_ENDPOINT_URL, AWS_PROFILE or a role, never from the URL"
        )
    prefix = "/".join(part for part in prefix.split("/") if part)
    return Bucket(name, f"{prefix}/" if prefix else "")


def patiently(what: str, action: Callable[[], Answer], deadline: float | None = None) -> Answer:
    """Do it, again after each passing failure, for ``deadline`` seconds (DEADLINE_SECONDS).

    Raises StorageError naming ``what`` and the number of attempts when patience ends, ValueError
    when the request can never succeed (no credentials, no such bucket, no permission).
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    end = time.monotonic() + (DEADLINE_SECONDS if deadline is None else deadline)
    attempt = 0
    while True:
        attempt += 1
        try:
            return action()
        except (BotoCoreError, Boto3Error, ClientError) as error:
            if not _passing(error):
                raise ValueError(f"{what}: {error}; {_remedy(error)}") from error
            pause = random.uniform(0, 1) * min(
                LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(attempt, 16)
            )
            if time.monotonic() + pause > end:
                raise StorageError(f"{what}: {error} after {attempt} attempts") from error
            if attempt > 2:
                logger.warning("%s: %s; attempt %d follows", what, error, attempt + 1)
            time.sleep(pause)


@functools.cache
def client() -> Any:
    """One client per process; its threads share it."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": 3},
    )
    return boto3.client("s3", config=config)


def _passing(error: Exception) -> bool:
    """Whether the same request may well succeed later."""
    from boto3.exceptions import RetriesExceededError
    from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError
    from botocore.exceptions import ConnectionError as NoConnection

    if isinstance(error, ClientError):
        return _status(error) in (409, 429) or _status(error) >= 500 or _code(error) in PASSING
    passing = (HTTPClientError, NoConnection, IncompleteReadError, RetriesExceededError)
    return isinstance(error, passing)


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _served_at(page: Any) -> float:
    """The server's time of an answer, in seconds since the epoch."""
    from email.utils import parsedate_to_datetime

    date = page["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(date).timestamp() if date else time.time()


def _remedy(error: Exception) -> str:
    code = _code(error) if hasattr(error, "response") else type(error).__name__
    return {
        "NoSuchBucket": "make the bucket first; ray-slm makes none",
        "AccessDenied": "the role needs Get, Put, Delete and List on this prefix",
        "NoCredentialsError": "set AWS_PROFILE, or run where a role is attached",
        "NoRegionError": "set AWS_REGION",
    }.get(code, "check the bucket, AWS_ENDPOINT_URL and the credentials")
