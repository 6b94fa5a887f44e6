// A device with alibabacloud-iot-device-sdk: aliyun_node.js PORT PRODUCT DEVICE SECRET prints "ready" and
// serves until its input ends. It says no ext, and answers RRPC over system topics and its service
// "echo". {"quiet": true} is not answered, and {"break": true} makes it fail.
"use strict";

const { device: connect } = require("alibabacloud-iot-device-sdk");

const [port, productKey, deviceName, deviceSecret] = process.argv.slice(2);
const requests = `/sys/${productKey}/${deviceName}/rrpc/request/`;
const heard = (asked) => {
  if (asked.break) return { error: "broken" };
  return asked.quiet ? undefined : { heard: asked };
};

const device = connect({
  productKey,
  deviceName,
  deviceSecret,
  brokerUrl: `mqtt://127.0.0.1:${port}/`,
});

device.on("error", (error) => {
  console.error(String(error));
  process.exit(1);
});

device.onService("echo", ({ id, params }, reply) => {
  const data = heard(params);
  if (data) reply({ id, code: data.error ? 500 : 200, data }, "sync");
});

device.on("message", (topic, payload) => {
  if (!topic.startsWith(requests)) return;
  const asked = JSON.parse(payload);
  // A service, which the SDK has answered.
  if (asked.method) return;
  const answer = heard(asked);
  if (answer) device.publish(topic.replace("/request/", "/response/"), JSON.stringify(answer));
});

// The SDK subscribes by itself when it is connected, one topic after another; this comes behind them.
device.on("connect", () =>
  device.subscribe(`/${productKey}/${deviceName}/user/get`, () => console.log("ready")),
);

process.stdin.resume().on("end", () => device.end(false, () => process.exit(0)));
