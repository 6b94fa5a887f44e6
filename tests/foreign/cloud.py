"""Calls a device as the vendors' cloud SDKs do, byte for byte and without them.

cloud.py SDK PORT ACTION NAME=VALUE... sends one request to 127.0.0.1 and prints one line of JSON:
{"reply": ...} when the SDK returns it; {"raised": ..., "code": ..., "message": ...} when it raises that,
and then exits with 1. Parameters are sent in the order in which they are given.

    cloud.py aliyun 8080 RRpc Timeout=3000 ProductKey=P DeviceName=D RequestBase64Byte=aGVsbG8=
    cloud.py tea 8080 InvokeThingService Args={} DeviceName=D Identifier=echo ProductKey=P
    cloud.py tencent 8080 PublishRRPCMessage ProductId=P DeviceName=D Payload={}

"aliyun" is aliyun-python-sdk-iot 8.59.0 with RPC signing, "tea" is alibabacloud-iot20180120 5.1.0 with
ACS3, "tencent" is tencentcloud-sdk-python-iotcloud 3.0.1459 with TC3. --self-test compares whole requests
with those that were recorded of them, byte for byte, and a signature that is hard to get right.
"""

import argparse
import base64
import hashlib
import hmac
import http.client
import io
import json
import sys
import time
import uuid
from pathlib import Path
from urllib.parse import quote, urlencode

FORM_TYPE = "application/x-www-form-urlencoded"
# Parameters of Aliyun's that travel in the body; all others are in the query.
IN_FORM = {"RequestBase64Byte", "MessageContent"}
# What Tencent's SDK reads of a reply; what is missing is null.
TENCENT_REPLIES = {
    "PublishRRPCMessage": ["MessageId", "PayloadBase64", "RequestId"],
    "CallDeviceRRPCSync": [
        "ClientToken",
        "Status",
        "MessageId",
        "PayloadBase64",
        "ReplyTopic",
        "RequestId",
    ],
}


class Raised(Exception):
    """What the SDK raises."""

    def __init__(self, name, code=None, message=None):
        super().__init__(name)
        self.line = {"raised": name, "code": code, "message": message}


def percent(text):
    return quote(text, safe="~")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def hmac_sha256(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256)


def canonical_query(parameters):
    return "&".join(f"{percent(name)}={percent(parameters[name])}" for name in sorted(parameters))


def rpc_string_to_sign(parameters):
    return f"POST&%2F&{percent(canonical_query(parameters))}"


def rpc_signature(secret, string_to_sign):
    digest = hmac.new(f"{secret}&".encode(), string_to_sign.encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode()


def acs3_authorization(key, secret, query, headers):
    """`headers` are all signed; their names are in small letters."""
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    names = ";".join(sorted(headers))
    body = headers["x-acs-content-sha256"]
    canonical = f"POST\n/\n{canonical_query(query)}\n{lines}\n{names}\n{body}"
    string_to_sign = f"ACS3-HMAC-SHA256\n{sha256(canonical.encode())}"
    signature = hmac_sha256(secret.encode(), string_to_sign).hexdigest()
    return f"ACS3-HMAC-SHA256 Credential={key},SignedHeaders={names},Signature={signature}"


def tc3_authorization(key, secret, service, host, timestamp, body):
    names = "content-type;host"
    lines = f"content-type:application/json\nhost:{host}\n"
    canonical = f"POST\n/\n\n{lines}\n{names}\n{sha256(body)}"
    date = time.strftime("%Y-%m-%d", time.gmtime(timestamp))
    scope = f"{date}/{service}/tc3_request"
    string_to_sign = f"TC3-HMAC-SHA256\n{timestamp}\n{scope}\n{sha256(canonical.encode())}"
    signing = f"TC3{secret}".encode()
    for part in [date, service, "tc3_request"]:
        signing = hmac_sha256(signing, part).digest()
    signature = hmac_sha256(signing, string_to_sign).hexdigest()
    return f"TC3-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"


def send(options, target, headers, body):
    """The status, the content type and the body of the reply. The headers are sent in their order."""
    connection = http.client.HTTPConnection("127.0.0.1", options.port, timeout=options.patience)
    # It connects by itself when there is none.
    connection.sock = options.socket
    connection.putrequest("POST", target, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    reply = connection.getresponse()
    return reply.status, reply.getheader("Content-Type"), reply.read()


def query_and_form(parameters):
    query = {name: value for name, value in parameters.items() if name not in IN_FORM}
    form = {name: value for name, value in parameters.items() if name in IN_FORM}
    return query, form


def utc(options):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(options.time))


def aliyun(options):
    query, form = query_and_form(options.parameters)
    query |= {
        "Version": "2018-01-20",
        "Action": options.action,
        "Format": "JSON",
        "RegionId": "cn-shanghai",
        "Timestamp": utc(options),
        "SignatureMethod": "HMAC-SHA1",
        "SignatureType": "",
        "SignatureVersion": "1.0",
        "SignatureNonce": options.nonce,
        "AccessKeyId": options.key,
    }
    string_to_sign = rpc_string_to_sign(query | form)
    query["Signature"] = rpc_signature(options.secret, string_to_sign)
    body = urlencode(form).encode()
    headers = {
        "Host": f"127.0.0.1:{options.port}",
        "User-Agent": "AlibabaCloud (Linux;x86_64) Python/3.11.7 Core/2.16.1 python-requests/2.18.3",
        "Accept-Encoding": "identity",
        "Accept": "*/*",
        "Connection": "keep-alive",
        "x-acs-action": options.action,
        "x-acs-version": "2018-01-20",
        "x-sdk-invoke-type": "normal",
    }
    if form:
        headers["Content-Type"] = FORM_TYPE
    headers["x-sdk-client"] = "python/2.0.0"
    if form:
        headers["Content-MD5"] = base64.b64encode(hashlib.md5(body).digest()).decode()
    try:
        reply = send(options, f"/?{urlencode(query, quote_via=quote, safe='~')}", headers, body)
    except OSError as error:
        raise Raised("ClientException", "SDK.HttpError", str(error)) from error
    return aliyun_reply(*reply, string_to_sign)


def aliyun_reply(status, _, body, string_to_sign):
    if status // 100 == 2:
        return json.loads(body)
    try:
        error = json.loads(body)
    except ValueError:
        error = {}
    code = error.get("Code", "SDK.UnknownServerError")
    message = error.get("Message", f"ServerResponseBody: {body.decode()}")
    if status == 400 and code == "SignatureDoesNotMatch":
        # It reads the server's string behind the first colon, and dies when there is none.
        parts = message.split(":")
        if len(parts) < 2:
            raise Raised("IndexError", None, "list index out of range")
        if parts[1] == string_to_sign:
            code, message = "InvalidAccessKeySecret", "The AccessKeySecret is incorrect."
    raise Raised("ServerException", code, message)


def tea(options):
    query, form = query_and_form(options.parameters)
    body = urlencode(form).encode()
    headers = {
        "host": f"127.0.0.1:{options.port}",
        "x-acs-version": "2018-01-20",
        "x-acs-action": options.action,
        "user-agent": "AlibabaCloud (Linux; x86_64) Python/3.11.7 Core/0.4.3 TeaDSL/2",
        "x-acs-date": utc(options),
        "x-acs-signature-nonce": options.nonce,
        "accept": "application/json",
    }
    if form:
        headers["content-type"] = FORM_TYPE
    headers["x-acs-content-sha256"] = sha256(body)
    headers["x-acs-credentials-provider"] = "static_ak"
    headers["Authorization"] = acs3_authorization(options.key, options.secret, query, headers)
    # It sends a space as "+", and signs it as "%20".
    target = f"/?{urlencode(query)}"
    try:
        reply = send(options, target, {"Accept-Encoding": "identity"} | headers, body)
    except OSError as error:
        raise Raised("UnretryableException", None, str(error)) from error
    return tea_reply(*reply)


def tea_reply(status, _, body):
    reply = json.loads(body)
    if status < 400:
        return reply
    name = "ClientException" if status < 500 else "ServerException"
    raise Raised(name, reply.get("Code"), reply.get("Message"))


def tencent(options):
    body = json.dumps(options.parameters).encode()
    host = f"127.0.0.1:{options.port}"
    headers = {
        "User-Agent": "python-requests/2.34.2",
        "Accept-Encoding": "gzip, deflate",
        "Accept": "*/*",
        "Connection": "keep-alive",
        "X-TC-TraceId": options.trace,
        "Content-Type": "application/json",
        "Host": host,
        "X-TC-Action": options.action,
        "X-TC-RequestClient": "SDK_PYTHON_3.0.1459",
        "X-TC-Timestamp": str(options.time),
        "X-TC-Version": options.version,
        "X-TC-Region": "ap-guangzhou",
        "X-TC-Language": "zh-CN",
        "Authorization": tc3_authorization(
            options.key, options.secret, options.service, host, options.time, body
        ),
    }
    try:
        reply = send(options, "/", headers, body)
    except OSError as error:
        raise Raised("TencentCloudSDKException", "ClientNetworkError", str(error)) from error
    return tencent_reply(options.action, *reply)


def tencent_reply(action, status, content_type, body):
    if status != 200:
        raise Raised("TencentCloudSDKException", "ServerNetworkError", body.decode())
    response = json.loads(body)["Response"]
    # With any other content type, even with a charset, an error passes for an answer without fields.
    if content_type in ("application/json", "text/plain") and "Error" in response:
        error = response["Error"]
        _ = response["RequestId"]
        raise Raised("TencentCloudSDKException", error["Code"], error["Message"])
    return {name: response.get(name) for name in TENCENT_REPLIES[action]}


class Recorder:
    """A socket whose other end answers at once."""

    def __init__(self):
        self.sent = b""

    def sendall(self, data):
        self.sent += data

    def makefile(self, mode):
        body = b'{"Response": {}}'
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
        return io.BytesIO(head.encode() + body)

    def close(self):
        pass


ALIYUN_PAYLOAD = "RequestBase64Byte=aGVsbG8gd29ybGQ="
# How each request under recorded/ was made.
RECORDED = {
    "aliyun": [
        "RRpc",
        *["ProductKey=a1testPK001", "DeviceName=dev-ok", "Timeout=3000"],
        ALIYUN_PAYLOAD,
        "--time=1795508695",
        "--nonce=437868076c7b9200ca9ff70d44b06f12",
    ],
    "tea": [
        "RRpc",
        *["DeviceName=dev-ok", "ProductKey=a1testPK001", "Timeout=3000"],
        "Topic=/a1testPK001/dev-ok/user/get",
        ALIYUN_PAYLOAD,
        "--time=1795894655",
        "--nonce=df667256f34077fde8ee2a7385e32e53",
    ],
    "tencent": [
        "PublishRRPCMessage",
        *["ProductId=KL4J2TEST1", "DeviceName=dev-ok", 'Payload={"payload": "rrpc test"}'],
        "--key=AKIDtestid",
        "--time=1795508697",
        "--trace=6f1c2f0e-7a3b-4d5c-9e8f-0a1b2c3d4e5f",
    ],
}


def self_test():
    for sdk, given in RECORDED.items():
        options = arguments([sdk, "18080", *given])
        options.socket = Recorder()
        COMMANDS[sdk](options)
        recorded = (Path(__file__).parent / "recorded" / f"{sdk}.http").read_bytes()
        assert options.socket.sent == recorded, options.socket.sent.decode()

    headers = {
        "host": "127.0.0.1:18555",
        "x-acs-version": "2018-01-20",
        "x-acs-action": "InvokeThingService",
        "user-agent": "AlibabaCloud (Linux; x86_64) Python/3.11.7 Core/0.4.3 TeaDSL/2",
        "x-acs-date": "2026-11-28T19:37:35Z",
        "x-acs-signature-nonce": "df667256f34077fde8ee2a7385e32e53",
        "accept": "application/json",
        "x-acs-content-sha256": sha256(b""),
        "x-acs-credentials-provider": "static_ak",
    }
    query = {
        "Args": '{"n": "x y*~\u00e9+/"}',
        "DeviceName": "dev-ok",
        "Identifier": "echo",
        "ProductKey": "a1testPK001",
    }
    authorization = acs3_authorization("testid", "testsecret", query, headers)
    assert authorization.endswith(
        "Signature=a9d84222b92a0fdd113d15895c3a6e35acd93ff2acaa5c2514e31c666ffc8fa1"
    ), authorization


COMMANDS = {"aliyun": aliyun, "tea": tea, "tencent": tencent}


def arguments(given=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sdk", choices=COMMANDS)
    parser.add_argument("port", type=int)
    parser.add_argument("action")
    parser.add_argument("parameters", nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--key", default="testid")
    parser.add_argument("--secret", default="testsecret")
    parser.add_argument("--nonce", default=uuid.uuid4().hex)
    parser.add_argument("--trace", default=str(uuid.uuid4()), help="a header of Tencent's")
    parser.add_argument("--time", type=int, default=int(time.time()), help="of the signature, Unix")
    parser.add_argument("--patience", type=float, default=10, help="seconds to wait for the reply")
    parser.add_argument("--service", default="iotcloud", help="of Tencent's, or iotexplorer")
    parser.add_argument("--version", default="2021-04-08", help="of Tencent's API")
    parser.set_defaults(socket=None)
    options = parser.parse_args(given)
    options.parameters = dict(parameter.split("=", 1) for parameter in options.parameters)
    return options


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return
    options = arguments()
    try:
        line = {"reply": COMMANDS[options.sdk](options)}
    except Raised as raised:
        line = raised.line
    print(json.dumps(line))
    sys.exit("raised" in line)


if __name__ == "__main__":
    main()
