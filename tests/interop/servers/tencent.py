"""Calls a device with tencentcloud-sdk-python-iotcloud or -iotexplorer, which sign as TC3."""

import base64

import server
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.iotcloud.v20180614 import iotcloud_client as iotcloud_2018
from tencentcloud.iotcloud.v20210408 import iotcloud_client as iotcloud_2021
from tencentcloud.iotexplorer.v20190423 import iotexplorer_client as iotexplorer

APIS = {
    "iotcloud-2018": (iotcloud_2018, iotcloud_2018.IotcloudClient),
    "iotcloud-2021": (iotcloud_2021, iotcloud_2021.IotcloudClient),
    "iotexplorer": (iotexplorer, iotexplorer.IotexplorerClient),
}
options = server.arguments(
    __doc__,
    *(f"{api}.PublishRRPCMessage" for api in APIS),
    "iotexplorer.CallDeviceRRPCSync",
)
api, action = options.action.split(".")
module, Client = APIS[api]
endpoint = HttpProfile(protocol="http", endpoint=f"127.0.0.1:{options.port}")
client = Client(
    Credential(server.KEY, options.secret), "ap-guangzhou", ClientProfile(httpProfile=endpoint)
)
request = getattr(module.models, f"{action}Request")()
request.ProductId = options.product
request.DeviceName = options.device
request.Payload = options.payload
try:
    reply = getattr(client, action)(request)
except TencentCloudSDKException as error:
    server.raised(error, error.get_code())
else:
    # Only CallDeviceRRPCSync has a status.
    status = getattr(reply, "Status", "Replied")
    if status == "Replied":
        server.answered(base64.b64decode(reply.PayloadBase64))
    else:
        server.failed(status)
