"""What the servers share: their arguments, and the one line that each prints."""

import argparse
import json

KEY = "testid"


def arguments(description, *actions):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("port", type=int, help="where the gateway serves HTTP, on 127.0.0.1")
    parser.add_argument("product")
    parser.add_argument("device")
    parser.add_argument("action", choices=actions)
    parser.add_argument("payload", help="JSON")
    parser.add_argument("--secret", default="testsecret")
    parser.add_argument("--topic", help="a custom topic, for RRpc")
    parser.add_argument("--timeout", type=int, default=8000, help="of RRpc, in milliseconds")
    return parser.parse_args()


def answered(payload):
    """The device's answer."""
    print(json.dumps({"answer": json.loads(payload)}))


def service_answered(result):
    """What a service has answered, in the envelope of Aliyun's."""
    envelope = json.loads(result)
    if envelope["code"] == 200:
        answered(json.dumps(envelope["data"]))
    else:
        failed(envelope["code"])


def failed(*codes):
    """A reply that says that there is no answer."""
    print(json.dumps({"failed": " ".join(str(code) for code in codes)}))


def raised(error, code):
    """What the SDK has raised."""
    print(json.dumps({"raised": f"{type(error).__name__} {code}"}))
