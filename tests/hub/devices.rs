//! What the hub knows of devices, from a dialect that reads them from a topic.

use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tower::ServiceExt;
use tower_mqtt::core::topic::{TopicFilter, TopicName};
use tower_mqtt::dialect::{
    Addressee, Carries, Dialect, IdFormat, IncomingRequest, Malformed, Message, OutgoingRequest,
    ReplyTo, Subscription,
};
use tower_mqtt::hub::{Access, Change, HubBuilder, Identity};
use tower_mqtt::{Client, Hub, InvalidRequest, Request, RequestError, Requester, Response};

use super::echo_topic::EchoTopic;
use super::raw::{Connect, Packet, Properties, Raw, property};
use super::{client, soon};

const QOS_1: u8 = 1;
const REQUEST: &str = "echo/1/lamps/1/set";
/// Devices of this product do not subscribe.
const PUSHED: &str = "echo/1/quiet/1/set";

const OFFLINE: (u8, Option<&str>) = (0x10, Some("offline"));
const NOT_SUBSCRIBED: (u8, Option<&str>) = (0x10, Some("not-subscribed"));
const NOBODY: (u8, Option<&str>) = (0x10, None);
const TAKEN: (u8, Option<&str>) = (0, None);

/// Request and answer on `echo/{id}/{product}/{device}/…`; the device calls itself
/// `{product}&{device}`.
#[derive(Debug)]
struct Devices;

impl Dialect for Devices {
    fn name(&self) -> &'static str {
        "devices"
    }

    fn id_format(&self) -> IdFormat {
        EchoTopic.id_format()
    }

    fn carries(&self) -> Carries {
        EchoTopic.carries()
    }

    fn answers_on_request_topic(&self) -> bool {
        true
    }

    fn addressee(&self, topic: &TopicName) -> Option<Addressee> {
        let mut levels = topic.as_str().strip_prefix("echo/")?.split('/').skip(1);
        let (product, device) = (levels.next()?, levels.next()?);
        assert!(product != "broken", "on purpose");
        let names = vec![format!("{product}/{device}"), format!("{product}&{device}")];
        let addressee = Addressee::new(names);
        Some(if product == "quiet" { addressee.pushed() } else { addressee })
    }

    fn response_subscription(&self, base: &TopicName, peers: &TopicFilter) -> Option<Subscription> {
        EchoTopic.response_subscription(base, peers)
    }

    fn encode_request(&self, outgoing: OutgoingRequest<'_>) -> Result<Message, InvalidRequest> {
        EchoTopic.encode_request(outgoing)
    }

    fn response_key(&self, message: &Message, base: &TopicName) -> Option<Bytes> {
        EchoTopic.response_key(message, base)
    }

    fn decode_response(&self, message: Message) -> Result<Response, Malformed> {
        EchoTopic.decode_response(message)
    }

    fn decode_request(&self, message: Message) -> Result<IncomingRequest, Malformed> {
        EchoTopic.decode_request(message)
    }

    fn encode_response(
        &self,
        reply_to: &ReplyTo,
        response: Response,
        left: Option<Duration>,
    ) -> Result<Message, Malformed> {
        EchoTopic.encode_response(reply_to, response, left)
    }
}

async fn start(builder: HubBuilder) -> (Hub, std::net::SocketAddr) {
    let hub = builder.bind("127.0.0.1:0").dialect(Devices).start().await.expect("started");
    let address = hub.local_addr().expect("bound");
    (hub, address)
}

async fn hub(workers: usize) -> (Hub, std::net::SocketAddr) {
    start(Hub::builder().workers(workers)).await
}

fn v311(client_id: &str) -> Connect {
    Connect::new(client_id).version(4)
}

/// What PUBACK says of the device.
async fn ask(asker: &mut Raw, topic: &str) -> (u8, Option<&'static str>) {
    let (reason, properties) = asker.ask_why(topic, b"", &Properties::none()).await;
    let said = properties.user("device");
    let known = ["offline", "not-subscribed"].into_iter();
    (reason, said.map(|said| known.into_iter().find(|known| *known == said).expect("known")))
}

/// Asks until the worker of the asker has heard of the end of a client.
async fn ask_until(asker: &mut Raw, topic: &str, wanted: (u8, Option<&str>)) {
    soon(async { while ask(asker, topic).await != wanted {} }).await;
}

/// A requester over the network, or one of the hub's own process.
async fn requester(hub: &Hub, inside: bool) -> Requester {
    let link = if inside {
        hub.link("inside")
    } else {
        let address = hub.local_addr().expect("bound");
        let url = format!("mqtt://{address}?client_id=outside");
        soon(Client::connect(&url)).await.expect("connected")
    };
    soon(Requester::builder(link).dialect(Devices).build()).await.expect("subscribed")
}

fn call(requester: &Requester, address: &str) -> JoinHandle<Result<Response, RequestError>> {
    let request = Request::new(address, "on").expect("a topic name");
    tokio::spawn(requester.clone().oneshot(request.timeout(Duration::from_secs(2))))
}

/// Answers one request on its own topic, as a device does.
async fn answer(device: &mut Raw, payload: &[u8]) {
    let request = device.message().await;
    device.publish(0x30, &request.topic, payload, &Properties::none()).await;
}

#[tokio::test]
async fn a_device_is_known_by_client_identifier_and_user_name() {
    let ways = [
        v311("lamps&1"),
        v311("lamps&1|securemode=3,signmethod=hmacsha1|"),
        v311("some").credentials("lamps&1", "secret"),
        Connect::new("other").credentials("lamps&1;12010126;abcde;1700003600", "secret"),
    ];
    for workers in [1, 2] {
        let (_hub, address) = hub(workers).await;
        let mut asker = client(address, "asker").await;
        for way in &ways {
            assert_eq!(ask(&mut asker, REQUEST).await, OFFLINE, "{way:?}");
            let mut device = Raw::connect(address, way).await;
            assert_eq!(ask(&mut asker, REQUEST).await, NOT_SUBSCRIBED, "{way:?}");
            assert_eq!(ask(&mut asker, "echo/1/lamps/2/set").await, OFFLINE);
            assert_eq!(ask(&mut asker, "other/1").await, NOBODY);
            device.subscribe("echo/+/lamps/1/#", QOS_1).await;
            assert_eq!(ask(&mut asker, REQUEST).await, TAKEN);
            device.disconnect().await;
            ask_until(&mut asker, REQUEST, OFFLINE).await;
        }
    }
}

#[tokio::test]
async fn a_name_that_is_too_long_is_none() {
    let (_hub, address) = hub(1).await;
    let mut asker = client(address, "asker").await;
    for (length, expected) in [(1024, NOT_SUBSCRIBED), (1025, OFFLINE)] {
        let device = "1".repeat(length - "lamps&".len());
        let _device = client(address, &format!("lamps&{device}")).await;
        assert_eq!(ask(&mut asker, &format!("echo/1/lamps/{device}/set")).await, expected);
    }
}

#[tokio::test]
async fn a_gateway_answers_for_the_devices_behind_it() {
    for workers in [1, 2] {
        let builder = Hub::builder().workers(workers).authenticate(async |credentials| {
            let identity = Identity::new(credentials.client_id.clone());
            Ok(match &*credentials.client_id {
                "gateway" => identity.device("quiet/1").device("lamps/1"),
                _ => identity,
            })
        });
        let (_hub, address) = start(builder).await;
        let mut asker = client(address, "asker").await;
        let mut gateway = Raw::connect(address, &v311("gateway")).await;
        assert_eq!(ask(&mut asker, REQUEST).await, NOT_SUBSCRIBED);
        assert_eq!(ask(&mut asker, PUSHED).await, TAKEN);
        assert_eq!(gateway.message().await.topic, PUSHED);
        gateway.disconnect().await;
        ask_until(&mut asker, PUSHED, OFFLINE).await;
    }
}

#[tokio::test]
async fn a_requester_is_told_where_the_device_is() {
    for (workers, inside) in [(1, false), (1, true), (2, false), (2, true)] {
        let (hub, address) = hub(workers).await;
        let requester = requester(&hub, inside).await;
        let error = async || soon(call(&requester, "lamps/1/set")).await.expect("no panic").err();
        assert_eq!(error().await, Some(RequestError::Offline));
        let mut device = Raw::connect(address, &v311("lamps&1")).await;
        assert_eq!(error().await, Some(RequestError::NotSubscribed));
        device.subscribe("echo/+/lamps/1/#", QOS_1).await;
        let called = call(&requester, "lamps/1/set");
        answer(&mut device, b"done").await;
        assert_eq!(soon(called).await.expect("no panic").expect("answered").payload(), "done");
        let (_, mut presence) = hub.presence();
        device.disconnect().await;
        assert!(matches!(soon(presence.next()).await, Some(Change::Disconnected(_))));
        if workers == 2 {
            // The requester's worker may not have heard of it: then the call is lost on its way.
            soon(async { while error().await == Some(RequestError::Timeout) {} }).await;
        }
        assert_eq!(error().await, Some(RequestError::Offline));
    }
}

#[tokio::test]
async fn a_sender_without_properties_gets_a_plain_acknowledgement() {
    let (_hub, address) = hub(1).await;
    let mut old = Raw::connect(address, &v311("old")).await;
    assert_eq!(ask(&mut old, REQUEST).await, TAKEN, "3.1.1 has no reason codes");
    // [MQTT-3.1.2-29]
    let terse = Properties::none().number(property::REQUEST_PROBLEM_INFORMATION, 0);
    let mut terse = Raw::connect(address, &Connect::new("terse").properties(terse)).await;
    assert_eq!(ask(&mut terse, REQUEST).await, NOBODY);
    // [MQTT-3.4.2-3]
    let _lamp = Raw::connect(address, &v311("lamps&1")).await;
    for (size, said) in [(30, NOBODY), (100, NOT_SUBSCRIBED)] {
        let small = Properties::none().number(property::MAXIMUM_PACKET_SIZE, size);
        let mut small = Raw::connect(address, &Connect::new("small").properties(small)).await;
        assert_eq!(ask(&mut small, REQUEST).await, said, "{size}");
    }
}

#[tokio::test]
async fn what_is_for_a_device_that_does_not_subscribe_is_pushed_to_it() {
    for (workers, inside) in [(1, false), (1, true), (2, false), (2, true)] {
        let (hub, address) = hub(workers).await;
        let requester = requester(&hub, inside).await;
        let offline = soon(call(&requester, "quiet/1/set")).await.expect("no panic");
        assert_eq!(offline.expect_err("nobody"), RequestError::Offline);
        // Others who ask are subscribed to the same topics, and do not get in the way.
        let mut other = client(address, "other").await;
        other.subscribe("echo/+/#", QOS_1).await;
        let mut device = Raw::connect(address, &v311("quiet&1")).await;
        for n in 0..3_u8 {
            let called = call(&requester, "quiet/1/set");
            answer(&mut device, &[n]).await;
            let response = soon(called).await.expect("no panic").expect("answered");
            assert_eq!(response.payload()[..], [n]);
        }
        for _ in 0..3 {
            assert_eq!(
                (other.message().await.payload, other.message().await.qos),
                (b"on".to_vec(), 0)
            );
        }
    }
}

#[tokio::test]
async fn a_message_is_pushed_at_its_own_qos_and_never_twice() {
    for workers in [1, 2] {
        let (hub, address) = hub(workers).await;
        let mut device = client(address, "quiet&1").await;
        let mut asker = client(address, "asker").await;
        asker.publish(0x30, PUSHED, b"0", &Properties::none()).await;
        assert_eq!(device.message().await.qos, 0);
        assert_eq!(ask(&mut asker, PUSHED).await, TAKEN);
        assert_eq!(device.message().await.qos, 1);
        // Asked by one who is subscribed itself, and the device has subscribed after all.
        asker.subscribe("echo/#", QOS_1).await;
        device.subscribe("echo/+/quiet/1/#", 0).await;
        for topic in [PUSHED, "echo/2/quiet/1/set"] {
            assert_eq!(ask(&mut asker, topic).await, TAKEN);
            let message = device.message().await;
            assert_eq!((message.topic.as_str(), message.qos), (topic, 0));
        }
        assert_eq!((hub.stats().forwarded, hub.stats().unmatched), (4, 0));
    }
}

#[tokio::test]
async fn a_push_has_the_bounds_of_a_subscription() {
    let (_hub, address) = start(Hub::builder().limits(|limits| limits.queued_messages = 2)).await;
    let one = Properties::none().number(property::RECEIVE_MAXIMUM, 1);
    let mut device = Raw::connect(address, &Connect::new("quiet&1").properties(one)).await;
    let mut asker = client(address, "asker").await;
    let mut reasons = Vec::new();
    for _ in 0..4 {
        reasons.push(ask(&mut asker, PUSHED).await.0);
    }
    assert_eq!(reasons, [0, 0, 0, 0x97], "one is on its way and two wait");
    for _ in 0..3 {
        assert_eq!(device.message().await.topic, PUSHED);
    }
}

/// It is asked here by the worker of the slow client, for a message of another worker.
#[tokio::test]
async fn a_dialect_that_panics_costs_no_worker() {
    let builder = Hub::builder().workers(2).limits(|limits| limits.queued_messages = 2);
    let (hub, address) = start(builder).await;
    let one = Properties::none().number(property::RECEIVE_MAXIMUM, 1);
    let mut slow = Raw::connect(address, &Connect::new("slow").properties(one)).await;
    assert_eq!(slow.subscribe("t", QOS_1).await, 1);
    let mut sender = client(address, "sender").await;
    let request = Properties::none().text(property::RESPONSE_TOPIC, "echo/1/broken/1/set");
    for n in 0..4_u8 {
        assert_eq!(sender.ask("t", &[n], &request).await, 0);
    }
    // One is on its way and two wait; for the fourth the hub answers.
    soon(async {
        while hub.stats().overflowed == 0 {
            sender.ping().await;
            sender.read().await;
        }
    })
    .await;
    for n in 0..3_u8 {
        assert_eq!(slow.message().await.payload, [n]);
    }
}

#[tokio::test]
async fn nothing_is_pushed_to_a_device_that_may_not_subscribe_to_it() {
    for workers in [1, 2] {
        let builder =
            Hub::builder().workers(workers).authorize(|_, client_id, access| match access {
                Access::Subscribe(filter) => client_id != "quiet&1" || filter.as_str() != PUSHED,
                _ => true,
            });
        let (_hub, address) = start(builder).await;
        let mut device = client(address, "quiet&1").await;
        let mut asker = client(address, "asker").await;
        assert_eq!(ask(&mut asker, PUSHED).await, NOT_SUBSCRIBED);
        let allowed = "echo/2/quiet/1/set";
        assert_eq!(ask(&mut asker, allowed).await, TAKEN);
        assert_eq!(device.message().await.topic, allowed);
    }
}

/// Trap: a client that answers on the topic of the request hears its answer as the next request.
#[tokio::test]
async fn a_device_does_not_hear_its_own_answer() {
    let subscriptions = ["echo/+/lamps/1/#", "echo/#", "#", "$share/g/#"];
    for (workers, version, filter) in
        subscriptions.into_iter().flat_map(|f| [(1, 4, f), (2, 4, f), (1, 5, f)])
    {
        let (hub, address) = hub(workers).await;
        let mut monitor = client(address, "monitor").await;
        monitor.subscribe("echo/#", 0).await;
        let mut device = Raw::connect(address, &Connect::new("lamps&1").version(version)).await;
        device.subscribe(filter, 0).await;
        let mut asker = client(address, "asker").await;
        assert_eq!(ask(&mut asker, REQUEST).await, TAKEN);
        answer(&mut device, b"answer").await;
        // What the device publishes elsewhere comes back to it, after all that would have come before.
        device.subscribe("other", 0).await;
        device.publish(0x30, "other", b"", &Properties::none()).await;
        assert_eq!(device.message().await.topic, "other", "{filter} {version}");
        device.publish(0x30, "echo/end", b"end", &Properties::none()).await;
        let mut seen = Vec::new();
        while seen.last().is_none_or(|payload| payload != b"end") {
            seen.push(monitor.message().await.payload);
        }
        seen.sort_unstable();
        assert_eq!(seen, [&b""[..], b"answer", b"end"], "a request, an answer, and the end");
        drop(hub);
    }
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_says_nothing_of_its_sender() {
    for filter in [None, Some("echo/#")] {
        let (_hub, address) = hub(1).await;
        let mut device = client(address, "quiet&1").await;
        if let Some(filter) = filter {
            device.subscribe(filter, QOS_1).await;
        }
        assert_eq!(ask(&mut device, PUSHED).await, NOBODY);
        device.ping().await;
        assert_eq!(device.read().await, Some(Packet::PingResp), "it is not pushed back");
    }
}

#[tokio::test]
async fn a_takeover_leaves_the_name_to_the_later_session() {
    for workers in [1, 2] {
        let (_hub, address) = hub(workers).await;
        let mut asker = client(address, "asker").await;
        for _ in 0..20 {
            let mut first = Raw::connect(address, &v311("quiet&1")).await;
            let mut second = Raw::connect(address, &v311("quiet&1")).await;
            assert_eq!(first.read().await, None, "it is taken over");
            assert_eq!(ask(&mut asker, PUSHED).await, TAKEN);
            assert_eq!(second.message().await.topic, PUSHED);
            second.disconnect().await;
            ask_until(&mut asker, PUSHED, OFFLINE).await;
        }
    }
}

#[tokio::test]
async fn of_two_clients_with_a_name_the_last_is_meant() {
    for workers in [1, 2] {
        let (hub, address) = hub(workers).await;
        let mut asker = client(address, "asker").await;
        let named = |client_id| Connect::new(client_id).credentials("quiet&1", "secret");
        let mut first = Raw::connect(address, &named("first")).await;
        let mut second = Raw::connect(address, &named("second")).await;
        assert_eq!(ask(&mut asker, PUSHED).await, TAKEN);
        assert_eq!(second.message().await.topic, PUSHED);
        let (_, mut presence) = hub.presence();
        second.disconnect().await;
        assert!(matches!(soon(presence.next()).await, Some(Change::Disconnected(_))));
        assert_eq!(ask(&mut asker, PUSHED).await, TAKEN);
        assert_eq!(first.message().await.topic, PUSHED);
    }
}

/// Devices come and go while they are asked: each hears CONNACK first, and nothing is left of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_come_and_go_while_they_are_asked() {
    let (_hub, address) = hub(2).await;
    let coming = tokio::spawn(async move {
        for _ in 0..200 {
            let mut device = Raw::connect(address, &v311("quiet&1")).await;
            assert_eq!(device.message().await.topic, PUSHED);
        }
    });
    let asking = tokio::spawn(async move {
        let mut asker = client(address, "asker").await;
        while !coming.is_finished() {
            let said = ask(&mut asker, PUSHED).await;
            assert!([TAKEN, OFFLINE].contains(&said), "{said:?}");
        }
        ask_until(&mut asker, PUSHED, OFFLINE).await;
        coming.await
    });
    soon(asking).await.expect("no panic").expect("no panic");
}

/// Two devices that hear each other on the topic of a request, and answer all that they hear.
#[tokio::test]
async fn devices_that_answer_each_other_are_cut_short() {
    const TOPIC: &str = "/ext/rrpc/1/pk/dn/user/get";
    let (hub, address) = start(Hub::builder()).await;
    let mut monitor = client(address, "monitor").await;
    monitor.subscribe("#", QOS_1).await;
    let mut devices = Vec::new();
    for name in ["gateway", "device"] {
        let mut device = Raw::connect(address, &v311(name)).await;
        device.subscribe("/ext/rrpc/#", 0).await;
        devices.push(tokio::spawn(async move {
            loop {
                let message = device.message().await;
                device.publish(0x30, &message.topic, b"answer", &Properties::none()).await;
            }
        }));
    }
    let mut asker = client(address, "asker").await;
    asker.publish(0x30, TOPIC, b"request", &Properties::none()).await;
    let looped = async {
        while hub.stats().looped == 0 {
            tokio::task::yield_now().await;
        }
    };
    soon(looped).await;
    devices.iter().for_each(tokio::task::JoinHandle::abort);
    asker.publish(0x30, "end", b"", &Properties::none()).await;
    let mut seen = 0;
    while monitor.message().await.topic == TOPIC {
        seen += 1;
    }
    assert_eq!(seen, 8, "a request and what may be answers, not thousands");
}

#[tokio::test]
async fn the_name_of_another_does_not_divert_what_is_pushed() {
    const SERVICE: &str = "/ext/rrpc/1/sys/a1/d1/thing/service/get";
    let builder = Hub::builder().authorize(|_, client_id, access| match access {
        Access::Subscribe(_) => client_id.starts_with("a1&d1"),
        _ => true,
    });
    let (_hub, address) = start(builder).await;
    let mut device = Raw::connect(address, &v311("a1&d1|ext=1|")).await;
    let mut asker = client(address, "asker").await;
    assert_eq!(ask(&mut asker, SERVICE).await, TAKEN);
    assert_eq!(device.message().await.topic, SERVICE);
    // One may not subscribe, and one is a device by no dialect but that of custom topics.
    let _others = (client(address, "a1.d1").await, client(address, "sys/a1").await);
    assert_eq!(ask(&mut asker, SERVICE).await, TAKEN);
    assert_eq!(device.message().await.topic, SERVICE);
}

/// Every text that a client sends can be the name of another device; those of the hook cannot.
#[tokio::test]
async fn who_has_only_verified_names_gets_nothing_that_is_for_another() {
    const SERVICE: &str = "/ext/rrpc/1/sys/a1/other/thing/service/get";
    let builder = Hub::builder().authenticate(async |credentials| {
        let user = credentials.username.unwrap_or_default();
        let name = format!("a1/{}", user.split('&').next().unwrap_or_default());
        Ok(Identity::new(name.as_str()).device(name.as_str()).without_claimed_names())
    });
    let (_hub, address) = start(builder).await;
    let with = async |client_id: &str, user: &str| {
        Raw::connect(address, &v311(client_id).credentials(user, "")).await
    };
    let asker = Connect::new("asker").credentials("asker&a1", "");
    let mut asker = Raw::connect(address, &asker).await;
    for id in ["a1.other|ext=1|", "a1&other|ext=1|", "other&a1", "a1/other"] {
        let _thief = with(id, "thief&a1").await;
        assert_eq!(ask(&mut asker, SERVICE).await, OFFLINE, "{id}");
    }
    let mut other = with("any id|ext=1|", "other&a1").await;
    assert_eq!(ask(&mut asker, SERVICE).await, TAKEN);
    assert_eq!(other.message().await.topic, SERVICE);
}
