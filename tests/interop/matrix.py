"""Calls each vendor's device SDK with each vendor's server SDK, through the gateway.

matrix.py ENVIRONMENTS GATEWAY prints a table of how the calls ended, and exits with 1 when one of them
ended in another way than in the vendor's cloud. ENVIRONMENTS is what `run` has made.
"""

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
ENVIRONMENTS, GATEWAY = pathlib.Path(sys.argv[1]), sys.argv[2]
OUTCOMES = ["success", "offline", "timeout", "device error", "wrong secret"]
ASKED = {"n": 1}
# What a device answers of itself, and a service by its code.
BROKEN = {"error": "broken"}
PAYLOADS = {"timeout": {"quiet": True}, "device error": {"break": True}}


@dataclasses.dataclass(frozen=True)
class Server:
    """A cloud SDK, and what it says in place of an answer."""

    sdk: str
    program: str
    actions: tuple
    offline: str
    timeout: str
    wrong_secret: str

    def expected(self, action, outcome):
        if outcome == "success":
            return {"answer": {"heard": ASKED}}
        if outcome == "device error":
            # RRPC has no place for it but the payload.
            return {"failed": "500"} if action == "InvokeThingService" else {"answer": BROKEN}
        kind, what = getattr(self, outcome.replace(" ", "_")).split(" ", 1)
        return {kind: what}


@dataclasses.dataclass(frozen=True)
class Device:
    """A device SDK, and a device of gateway.toml."""

    sdk: str
    command: tuple
    product: str
    name: str
    secret: str


def python(environment):
    return ENVIRONMENTS / environment / "bin" / "python"


ALIYUN = ("RRpc", "RRpc, Topic", "InvokeThingService")
ALIYUN_FAILURES = ("failed iot.messagebroker.OFFLINE", "failed iot.messagebroker.TIMEOUT")
TENCENT = (
    "iotcloud-2018.PublishRRPCMessage",
    "iotcloud-2021.PublishRRPCMessage",
    "iotexplorer.PublishRRPCMessage",
)
EXCEPTION = "raised TencentCloudSDKException"
TENCENT_OFFLINE = f"{EXCEPTION} FailedOperation.DeviceOffline"
TENCENT_SECRET = f"{EXCEPTION} AuthFailure.SignatureFailure"
SERVERS = [
    Server(
        "aliyun-python-sdk-iot",
        "aliyun_rpc.py",
        ALIYUN,
        *ALIYUN_FAILURES,
        # The SDK says this when the gateway has signed the same string as itself.
        "raised ServerException InvalidAccessKeySecret",
    ),
    Server(
        "alibabacloud-iot20180120",
        "aliyun_tea.py",
        ALIYUN,
        *ALIYUN_FAILURES,
        "raised ClientException SignatureDoesNotMatch",
    ),
    Server(
        "tencentcloud-sdk-python",
        "tencent.py",
        TENCENT,
        TENCENT_OFFLINE,
        f"{EXCEPTION} FailedOperation.RRPCTimeout",
        TENCENT_SECRET,
    ),
    Server(
        "tencentcloud-sdk-python",
        "tencent.py",
        ("iotexplorer.CallDeviceRRPCSync",),
        TENCENT_OFFLINE,
        "failed Timeout",
        TENCENT_SECRET,
    ),
]
DEVICES = [
    Device(
        "aliyun-iot-linkkit",
        (python("aliyun_device"), "aliyun.py"),
        "a1testPK001",
        "device1",
        "0123456789abcdef0123456789abcdef",
    ),
    Device(
        "alibabacloud-iot-device-sdk",
        ("node", "aliyun_node.js"),
        "a1testPK001",
        "nodedev1",
        "fedcba9876543210fedcba9876543210",
    ),
    Device(
        "tencent-iot-device",
        (python("tencent_device"), "tencent.py"),
        "KL4J2TEST1",
        "airConditioner1",
        "MDEyMzQ1Njc4OWFiY2RlZg==",
    ),
]


@contextlib.contextmanager
def running(command, **options):
    """A program, and the first line that it prints; it is ended as it ends by itself."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
    ) as program:
        try:
            yield program.stdout.readline().strip()
        finally:
            program.stdin.close()
            if command[0] == GATEWAY:
                program.terminate()
            try:
                program.wait(20)
            except subprocess.TimeoutExpired:
                program.kill()


def run_gateway():
    ports = ["--listen-http", "127.0.0.1:0", "--listen-mqtt", "mqtt://127.0.0.1:0"]
    return running([GATEWAY, "--config", HERE / "gateway.toml", *ports])


def run_device(device, port):
    program, script = device.command
    return running(
        [program, HERE / "devices" / script, port, device.product, device.name, device.secret],
        env={**os.environ, "NODE_PATH": str(ENVIRONMENTS / "node" / "node_modules")},
    )


def calls_of(device):
    for server in SERVERS:
        for action in server.actions:
            # Tencent's devices have no services, and no topics of their own.
            if device.product != "KL4J2TEST1" or action in ["RRpc", *TENCENT, *SERVERS[-1].actions]:
                yield server, action


def call(port, server, action, device, outcome):
    """How the call ends, as the SDK's user sees it."""
    action, *topic = action.split(", ")
    payload = PAYLOADS.get(outcome, ASKED)
    command = [python("servers"), HERE / "servers" / server.program, port]
    command += [device.product, device.name, action, json.dumps(payload)]
    if outcome == "timeout":
        command += ["--timeout", "1000"]
    if topic:
        command += ["--topic", f"/{device.product}/{device.name}/user/get"]
    if outcome == "wrong secret":
        command += ["--secret", "wrong"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    try:
        return json.loads(ended.stdout)
    except ValueError:
        return {"died": (ended.stderr.splitlines() or [""])[-1]}


def call_device(device, http, mqtt):
    """All calls of a device, with how they have ended."""
    ended = {}

    def call_all(*outcomes):
        for server, action in calls_of(device):
            for outcome in outcomes:
                key = (server, action, device, outcome)
                ended[key] = call(http, *key)

    call_all("offline")
    with run_device(device, mqtt) as said:
        if said != "ready":
            sys.exit(f"{device.sdk} does not get ready")
        call_all("success", "timeout", "device error", "wrong secret")
    return ended


def print_table(rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def report(ended):
    """Prints the table; whether all ended as expected."""
    rows, differences, said = [["server", "call", "device", *OUTCOMES]], [], {}
    for device in DEVICES:
        for server, action in calls_of(device):
            row = [server.sdk, action, device.sdk]
            for outcome in OUTCOMES:
                actual = ended[server, action, device, outcome]
                expected = server.expected(action, outcome)
                row.append("ok" if actual == expected else "DIFFERS")
                if actual != expected:
                    differences.append(f"{row[:3]} {outcome}: {actual}, not {expected}")
                elif outcome not in ("success", "device error"):
                    said[f"{server.sdk} {server.actions[0]}", outcome] = json.dumps(expected)
            rows.append(row)
    print_table(rows)
    print("\nWhat the SDKs made of it:")
    print_table([[*key, value] for key, value in said.items()])
    print(f"\n{(len(rows) - 1) * len(OUTCOMES)} calls, {len(differences)} differ")
    print("\n".join(differences))
    return not differences


def main():
    with run_gateway() as said:
        ready = re.fullmatch(r"ready: http 127\.0\.0\.1:(\d+), mqtt 127\.0\.0\.1:(\d+)", said)
        if not ready:
            sys.exit(f"the gateway does not get ready: {said}")
        with concurrent.futures.ThreadPoolExecutor(len(DEVICES)) as pool:
            parts = [pool.submit(call_device, device, *ready.groups()) for device in DEVICES]
        ended = {}
        for part in parts:
            ended |= part.result()
    sys.exit(not report(ended))


if __name__ == "__main__":
    main()
