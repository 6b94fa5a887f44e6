//! Clients that we did not write.

use tokio::process::Command;
use tower_mqtt::Hub;
use tower_mqtt::hub::{Change, Transport};

use super::Kitchen;
use super::programs::{mosquitto_client, node, output, python, soon, spawn};

/// What every program that asks is told to ask.
const QUESTION: [&str; 3] = ["echo", "soup", "bread"];
const ANSWER: &str = "soup 200 soup\nbread 200 bread\n";

impl Kitchen {
    fn port(&self, transport: Transport) -> u16 {
        self.address(transport).port()
    }

    fn ca(&self) -> String {
        self.authority.certificate().display().to_string()
    }

    /// One of mosquitto's programs, over TLS or the Unix socket.
    fn mosquitto(&self, program: &str, transport: Transport) -> Command {
        if transport == Transport::Unix {
            let mut command = Command::new(program);
            command.arg("--unix").arg(super::socket(&self.authority));
            return command;
        }
        let mut command = mosquitto_client(program, self.port(transport));
        command.args(["--cafile", &self.ca()]);
        command
    }
}

#[tokio::test]
async fn paho_is_answered_over_tls_and_web_socket() {
    let kitchen = Kitchen::open(Hub::builder()).await;
    for (transport, websocket) in
        [(Transport::Tls, false), (Transport::WebSocket, true), (Transport::SecureWebSocket, true)]
    {
        let mut ask = python("ask.py", kitchen.port(transport));
        if transport != Transport::WebSocket {
            ask.args(["--ca", &kitchen.ca()]);
        }
        ask.args(websocket.then_some("--websocket"));
        ask.args(QUESTION);
        assert_eq!(output(ask).await, ANSWER, "{transport:?}");
    }
}

#[tokio::test]
async fn a_browsers_mqtt_js_is_answered_over_web_socket() {
    let kitchen = Kitchen::open(Hub::builder()).await;
    for transport in [Transport::WebSocket, Transport::SecureWebSocket] {
        let mut ask = node("ask.js");
        ask.env("NODE_EXTRA_CA_CERTS", kitchen.ca());
        ask.arg(kitchen.over(transport).to_string()).args(QUESTION);
        assert_eq!(output(ask).await, ANSWER, "{transport:?}");
    }
}

#[tokio::test]
async fn mosquitto_rr_is_answered_over_tls_and_a_unix_socket() {
    let kitchen = Kitchen::open(Hub::builder()).await;
    for transport in [Transport::Tls, Transport::Unix] {
        let mut ask = kitchen.mosquitto("mosquitto_rr", transport);
        ask.args(["-t", "echo", "-e", "answers/rr", "-m", "soup", "-W", "20"]);
        assert_eq!(output(ask).await, "soup\n", "{transport:?}");
    }
}

#[tokio::test]
async fn mosquitto_sub_gets_what_mosquitto_pub_sends() {
    let kitchen = Kitchen::open(Hub::builder()).await;
    let (_, mut presence) = kitchen.hub.presence();
    for (from, to, version) in [
        (Transport::Tls, Transport::Unix, "5"),
        (Transport::Unix, Transport::Tls, "mqttv311"),
        (Transport::Tls, Transport::Unix, "mqttv31"),
        (Transport::Unix, Transport::Tls, "mqttv31"),
    ] {
        let mut subscribe = kitchen.mosquitto("mosquitto_sub", to);
        subscribe.args(["-V", version, "-i", "sub", "-t", "news", "-q", "1", "-C", "1"]);
        let subscriber = spawn(subscribe);
        while !matches!(soon(presence.next()).await, Some(Change::Connected(info)) if &*info.client_id == "sub")
        {
        }
        // What comes before its subscription goes to nobody.
        let printed = tokio::spawn(subscriber.wait_with_output());
        while !printed.is_finished() {
            let mut publish = kitchen.mosquitto("mosquitto_pub", from);
            publish.args(["-V", version, "-t", "news", "-m", "soup", "-q", "1"]);
            output(publish).await;
        }
        let printed = printed.await.expect("no panic").expect("it runs").stdout;
        assert_eq!(String::from_utf8_lossy(&printed), "soup\n");
    }
}
