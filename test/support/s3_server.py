"""An S3 that serves some files to who signs as botocore, AWS's own implementation, signs.

python s3_server.py SETTINGS, where SETTINGS is JSON: accessKeyId, secretAccessKey, region, sessionToken or null, and
objects, a file by /BUCKET/KEY. Prints its port, then a line of JSON for each request. A key that begins with "cut-" is
cut off half-way the first time that it is asked for.
"""

import datetime
import json
import pathlib
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

SETTINGS = json.loads(sys.argv[1])
CREDENTIALS = Credentials(SETTINGS["accessKeyId"], SETTINGS["secretAccessKey"])
SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})"
)
was_cut = set()


def refusal(handler):
    """The S3 error of a request that is not rightly signed, or None."""
    match = SIGNED.fullmatch(handler.headers.get("authorization", ""))
    if not match:
        return "AccessDenied"
    key_id, date, region, names, signature = match.groups()
    if key_id != CREDENTIALS.access_key:
        return "InvalidAccessKeyId"
    if region != SETTINGS["region"]:
        return "AuthorizationHeaderMalformed"
    if handler.headers.get("x-amz-security-token") != SETTINGS["sessionToken"]:
        return "InvalidToken"
    timestamp = handler.headers["x-amz-date"]
    then = datetime.datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    if date != timestamp[:8] or abs(datetime.datetime.now(datetime.timezone.utc) - then) > datetime.timedelta(minutes=15):
        return "RequestTimeTooSkewed"
    signed = names.split(";")
    if not {"host", "x-amz-content-sha256", "x-amz-date"} <= set(signed):
        return "AccessDenied"
    request = AWSRequest(
        method=handler.command,
        url=f"http://{handler.headers['host']}{handler.path}",
        headers={name: handler.headers[name] for name in signed if name != "host"},
    )
    request.context["timestamp"] = timestamp
    auth = S3SigV4Auth(CREDENTIALS, "s3", region)
    expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    return None if signature == expected else "SignatureDoesNotMatch"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        error = refusal(self)
        path = SETTINGS["objects"].get(unquote(self.path))
        if error is None and path is None:
            error = "NoSuchKey"
        range_asked = self.headers.get("range")
        print(json.dumps({"path": self.path, "error": error, "range": range_asked}), flush=True)
        if error is not None:
            body = f"<?xml version='1.0'?><Error><Code>{error}</Code><Message>no</Message></Error>".encode()
            return self.answer(404 if error == "NoSuchKey" else 403, {"content-type": "application/xml"}, body)
        body = pathlib.Path(path).read_bytes()
        etag = '"1"'
        first = 0
        if range_asked and self.headers.get("if-range") == etag:
            first = int(re.fullmatch(r"bytes=(\d+)-", range_asked).group(1))
        headers = {"etag": etag}
        if first > 0:
            headers["content-range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
        is_cut = "/cut-" in self.path and self.path not in was_cut
        was_cut.add(self.path)
        self.answer(206 if first > 0 else 200, headers, body[first:], is_cut)

    def answer(self, status, headers, body, is_cut=False):
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if is_cut else body)
        self.close_connection = self.close_connection or is_cut

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
