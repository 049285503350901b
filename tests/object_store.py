"""A real S3 server of a test's own, which can go away and come back with what it holds."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock
from urllib.request import Request, urlopen

from moto.server import ThreadedMotoServer

from tests.postgres import free_port

SECRET = "s3cret/of+the+store"
BUCKET = "artifacts"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "key-of-the-store",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",  # else who lacks credentials looks for them in a cloud
}


class ObjectStore:
    """One server, in this process."""

    def __init__(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._server = ThreadedMotoServer("127.0.0.1", port, verbose=False)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of whoever reads or writes it."""
        return {**ENVIRONMENT, "MLFLOW_S3_ENDPOINT_URL": self.url}

    @property
    def client(self) -> Any:
        """Boto3's."""
        import boto3

        with mock.patch.dict(os.environ, ENVIRONMENT):
            return boto3.client("s3", endpoint_url=self.url)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        """Refuse connections; what is stored stays."""
        self._server.stop()
        assert self._server._server is not None
        self._server._server.server_close()

    def objects(self, bucket: str = BUCKET) -> dict[str, bytes]:
        """Return everything in a bucket, by key."""
        client = self.client
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        keys = [each["Key"] for page in pages for each in page.get("Contents", ())]
        return {key: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


@contextmanager
def running_object_store() -> Iterator[ObjectStore]:
    """Yield a server with an empty bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    store = ObjectStore()
    store.start()
    try:
        # What it holds is the process's, whichever server was asked to keep it.
        urlopen(Request(f"{store.url}/moto-api/reset", method="POST")).close()
        store.client.create_bucket(Bucket=BUCKET)
        yield store
    finally:
        store.stop()
