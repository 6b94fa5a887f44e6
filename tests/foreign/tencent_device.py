"""A device as Tencent's SDKs make it: tencent_device.py PORT prints "ready" and serves.

The SDK for Python reads JSON and writes JSON; what is not JSON, is empty or has no length gets no
answer. It remembers one process id: of calls that overlap, all answers go to the last one. The SDK for
C carries any bytes; it copies each process id over the one before, and stale digits of a longer one
stay behind it. Both answer at QoS 0. They log in with SHA-1; with --sha256 as the SDK for Java does.
--protocol 3.1 is the SDK for Python's own. --explorer uses the topics of IoT Explorer, of which the SDKs know
nothing.
"""

import base64
import hmac
import json
import threading
import time

import vendor

parser = vendor.arguments(__doc__, "KL4J2TEST1", "airConditioner1")
parser.add_argument("--secret", default="MDEyMzQ1Njc4OWFiY2RlZg==")
parser.add_argument("--sdk", choices=["python", "c"], default="python")
parser.add_argument("--sha256", action="store_true")
parser.add_argument("--explorer", action="store_true", help="$iotrrpc instead of $rrpc")
parser.add_argument("--after", type=int, default=1, help="answer when so many requests are there")
parser.add_argument("--late", type=float, default=0, help="seconds until it answers")
options = parser.parse_args()

device = f"{options.product}/{options.device}"
down, up = ("$iotrrpc/down", "$iotrrpc/up") if options.explorer else ("$rrpc/rxd", "$rrpc/txd")
process_id = ""
waiting = []


def credentials():
    client_id = f"{options.product}{options.device}"
    application, method = ("12010126", "sha256") if options.sha256 else ("21010406", "sha1")
    # The SDK for Python gives the time in milliseconds, and it is over at once.
    now = int(time.time())
    expiry = now * 1000 if options.sdk == "python" and not options.sha256 else now + 600
    user = f"{client_id};{application};abcde;{expiry}"
    key = base64.b64decode(options.secret)
    return client_id, user, f"{hmac.new(key, user.encode(), method).hexdigest()};hmac{method}"


def reply_of_python(payload):
    try:
        reply = json.loads(payload)
        len(reply)
    except (ValueError, TypeError):
        return None
    return json.dumps(reply)


def remember(new):
    """Whether the SDK takes the request."""
    global process_id
    if options.sdk == "python":
        process_id = new
        return True
    if len(new) > 16:
        return False
    process_id = new + process_id[len(new) :]
    return True


def on_message(client, userdata, message):
    reply = reply_of_python(message.payload) if options.sdk == "python" else message.payload
    if reply is None or not remember(message.topic.rsplit("/", 1)[1]):
        return
    waiting.append(reply)
    if len(waiting) < options.after:
        return
    replies = waiting.copy()
    waiting.clear()
    if options.late:
        threading.Timer(options.late, answer, [client, replies]).start()
    else:
        answer(client, replies)


def answer(client, replies):
    for reply in replies:
        client.publish(f"{up}/{device}/{process_id}", reply, qos=0)


client = vendor.client(options, *credentials())
client.on_message = on_message
vendor.serve(client, options, [f"{down}/{device}/+"])
