"""A Google Cloud Storage on this machine that TensorFlow's gs:// talks to.

    python -m tests.gcs_emulator --bucket=b \
      python -m input.convert --source=digits --output=gs://b/digits

runs one command with an empty bucket `b`; the bucket ends with the command.

`google-cloud-storage` is sent to an emulator by STORAGE_EMULATOR_HOST.
TensorFlow's own client knows https://www.googleapis.com alone: it goes through
a proxy here that answers for *.googleapis.com with a certificate of a
throw-away CA. Both see the same objects, which `gcp-storage-emulator` keeps in
memory, with what that lacks and a real bucket has: preconditions on
generations, empty uploads, and no object from a request that was cut off.
"""

import argparse
import contextlib
import datetime
import http.server
import io
import json
import logging
import os
import pathlib
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import urllib.parse
from collections.abc import Iterator, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from gcp_storage_emulator import exceptions, server, storage
from gcp_storage_emulator.handlers import buckets as bucket_handlers

# An empty upload in the only form that the emulator takes it in.
_NOTHING_TYPE = "multipart/related; boundary=x"
_NOTHING = (
    b"--x\r\nContent-Type: application/json\r\n\r\n{}\r\n"
    b"--x\r\nContent-Type: application/octet-stream\r\n\r\n\r\n--x--\r\n"
)
_HOSTS = ("www.googleapis.com", "storage.googleapis.com")


@contextlib.contextmanager
def serve(*buckets: str) -> Iterator[dict[str, str]]:
    """Serves empty buckets while the context lasts.

    Yields:
        The environment variables that send a process there.
    """
    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    logging.getLogger("api.object").setLevel(logging.CRITICAL)
    objects = _Storage()
    for bucket in buckets:
        bucket_handlers.create_bucket(bucket, objects)
    with tempfile.TemporaryDirectory() as folder:
        authority, tls = _make_certificates(pathlib.Path(folder))
        plain = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), lambda *of: _Handler(objects, *of)
        )
        proxy = _Proxy(objects, tls)
        with plain, proxy:
            for each in (plain, proxy):
                threading.Thread(target=each.serve_forever, daemon=True).start()
            try:
                yield {
                    "STORAGE_EMULATOR_HOST": _url(plain),
                    "https_proxy": _url(proxy),
                    "no_proxy": "127.0.0.1,localhost",
                    "CURL_CA_BUNDLE": str(authority),
                    "GOOGLE_AUTH_TOKEN_FOR_TESTING": "any",
                }
            finally:
                for each in (plain, proxy):
                    each.shutdown()


def _url(of: socketserver.BaseServer) -> str:
    return f"http://127.0.0.1:{of.server_address[1]}"


class _PreconditionFailed(Exception):
    """The object has another generation than the request wants."""


class _Storage(storage.Storage):
    """Objects in memory, with preconditions.

    Attributes:
        lock: To be held during a request.
        expected: The `ifGenerationMatch` of the request under way; 0 means
            that there must be no such object.
        wanted: Its `generation`.
    """

    def __init__(self) -> None:
        super().__init__(use_memory_fs=True)
        self.lock = threading.Lock()
        self.expected: int | None = None
        self.wanted: int | None = None
        self._of_uploads: dict[str, int | None] = {}

    def _write_config_to_file(self) -> None:
        """Keeps no copy of everything at each write."""

    def _object_path(self, bucket: str, name: str) -> str:
        # A bucket has no folders: `a`, `a/` and `a/b` are three objects.
        return f"{bucket}/{urllib.parse.quote(name, safe='')}"

    def create_file(self, bucket, name, content, resource, upload=None):
        # A resumable upload has its precondition in its first request.
        expected = self._of_uploads.pop(upload, self.expected)
        self._check(bucket, name, expected)
        # It names the host that the writer knows, not the reader.
        del resource["mediaLink"]
        super().create_file(bucket, name, content, resource, upload)

    def create_resumable_upload(self, bucket, name, resource):
        upload = super().create_resumable_upload(bucket, name, resource)
        self._of_uploads[upload] = self.expected
        return upload

    def delete_file(self, bucket, name):
        self._check(bucket, name, self.expected)
        super().delete_file(bucket, name)

    def get_file_obj(self, bucket, name):
        resource = super().get_file_obj(bucket, name)
        generation = int(resource["generation"])
        if self.wanted not in (None, generation):
            raise exceptions.NotFound
        if self.expected not in (None, generation):
            raise _PreconditionFailed
        return resource

    def _check(self, bucket: str, name: str, expected: int | None) -> None:
        found = self.objects.get(bucket, {}).get(name, {"generation": 0})
        if expected not in (None, int(found["generation"])):
            raise _PreconditionFailed


class _Handler(server.RequestHandler):
    """Answers one request on a connection, plain or encrypted."""

    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        self.close_connection = True
        body = self._read_body()
        if self.path.endswith("/storageLayout"):
            # TensorFlow asks before it renames a folder.
            self._answer(200, {"hierarchicalNamespace": {"enabled": False}})
            return
        query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
        if not body and query.get("uploadType") == ["media"]:
            # TensorFlow marks a folder so.
            body = _NOTHING
            self.path = self.path.replace("=media", "=multipart", 1)
            del self.headers["Content-Type"]
            self.headers["Content-Type"] = _NOTHING_TYPE
        del self.headers["Transfer-Encoding"]
        del self.headers["Content-Length"]
        self.headers["Content-Length"] = str(len(body))
        self.rfile = io.BytesIO(body)
        with self.storage.lock:
            self.storage.expected = _integer(query.get("ifGenerationMatch"))
            self.storage.wanted = _integer(query.get("generation"))
            try:
                server.Router(self).handle(self.command)
            except _PreconditionFailed:
                error = {"code": 412, "message": "conditionNotMet"}
                self._answer(412, {"error": error})

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _read_body(self) -> bytes:
        """Reads to the end; a client that is killed leaves no half object."""
        # TensorFlow says how long a body is, and sends it in chunks.
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self._read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self._read_line(), 16):
            body += self._read(size)
            self._read_line()
        self._read_line()
        return body

    def _read(self, size: int) -> bytes:
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionAbortedError
        return data

    def _read_line(self) -> bytes:
        line = self.rfile.readline()
        if not line.endswith(b"\n"):
            raise ConnectionAbortedError
        return line.strip()

    def _answer(self, status: int, message: dict[str, object]) -> None:
        content = json.dumps(message).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def send_header(self, keyword: str, value: str) -> None:
        if keyword == "Location" and isinstance(self.request, ssl.SSLSocket):
            value = value.replace("http://", "https://", 1)
        super().send_header(keyword, value)

    def end_headers(self) -> None:
        self.send_header("Connection", "close")
        super().end_headers()


def _integer(values: list[str] | None) -> int | None:
    return int(values[0]) if values else None


class _Proxy(socketserver.ThreadingTCPServer):
    """Answers what is asked of googleapis.com through CONNECT, itself."""

    daemon_threads = True

    def __init__(self, objects: _Storage, tls: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.objects = objects
        self.tls = tls

    def handle_error(self, request, client_address) -> None:
        """Says nothing: a client that is killed ends within a request."""


class _Tunnel(socketserver.StreamRequestHandler):
    server: _Proxy

    def handle(self) -> None:
        target = self.rfile.readline().split()[1].decode()
        while self.rfile.readline().strip():
            pass
        if target.partition(":")[0] not in _HOSTS:
            self.request.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            return
        self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        tls = self.server.tls
        with tls.wrap_socket(self.request, server_side=True) as encrypted:
            _Handler(
                self.server.objects, encrypted, self.client_address, self.server
            )


def _make_certificates(
    folder: pathlib.Path,
) -> tuple[pathlib.Path, ssl.SSLContext]:
    """Returns a CA's certificate, and a context that speaks for `_HOSTS`."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = _name("throw-away CA of a test")
    authority = (
        _certificate(issuer, issuer, authority_key)
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.DNSName(h) for h in _HOSTS])
    certificate = (
        _certificate(_name(_HOSTS[0]), issuer, key)
        .add_extension(names, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    trusted, own = folder / "ca.pem", folder / "server.pem"
    trusted.write_bytes(authority.public_bytes(pem))
    own.write_bytes(
        key.private_bytes(
            pem,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(pem)
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(own)
    return trusted, tls


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    """Returns a certificate of a key, good for a day, to be signed."""
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
    )


def main(arguments: Sequence[str]) -> int:
    """Runs a command with a bucket; returns its exit code."""
    parser = argparse.ArgumentParser(
        description="Runs a command with an empty gs:// bucket of its own."
    )
    parser.add_argument("--bucket", default="b", help="Its name.")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args(arguments)
    if not asked.command:
        parser.error("there is no command to run")
    with serve(asked.bucket) as environment:
        return subprocess.run(
            asked.command, env=os.environ | environment
        ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
