//! Request-response by hand over rumqttc: a map of one-shot channels, as its users write it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PublishProperties};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::sync::oneshot;
use tower_mqtt_peers::{Ask, Error, Load, Respond, host_and_port, measure, run, serve_at};

const REQUESTS: &str = "bench/echo";
const RESPONSES: &str = "clients/rumqttc/responses";

fn main() -> Result<(), Error> {
    run(respond, ask)
}

/// Connected and subscribed.
async fn connect(
    address: &str,
    client_id: &str,
    filter: &str,
) -> Result<(AsyncClient, EventLoop), Error> {
    let (host, port) = host_and_port(address)?;
    let mut options = MqttOptions::new(client_id, host, port);
    options.set_receive_maximum(Some(u16::MAX)).set_outgoing_inflight_upper_limit(u16::MAX);
    let mut network = options.network_options();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    let (client, mut events) = AsyncClient::new(options, 16_384);
    client.subscribe(filter, QoS::AtLeastOnce).await?;
    while !matches!(events.poll().await?, Event::Incoming(Packet::SubAck(_))) {}
    Ok((client, events))
}

fn quality(qos: u8) -> QoS {
    if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce }
}

async fn respond(options: Respond) -> Result<(), Error> {
    let address = options.broker()?;
    let (client, events) = connect(&address, "responder", REQUESTS).await?;
    tokio::spawn(answer(client, events));
    serve_at(&address).await
}

async fn answer(client: AsyncClient, mut events: EventLoop) -> Result<(), Error> {
    loop {
        let Event::Incoming(Packet::Publish(request)) = events.poll().await? else { continue };
        let Some(asked) = request.properties else { continue };
        let Some(topic) = asked.response_topic else { continue };
        let properties =
            PublishProperties { correlation_data: asked.correlation_data, ..Default::default() };
        let (qos, payload) = (request.qos, request.payload);
        client.try_publish_with_properties(topic, qos, false, payload, properties)?;
    }
}

#[derive(Default)]
struct Waiters {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Bytes>>>,
}

impl Waiters {
    fn add(&self) -> (u64, oneshot::Receiver<Bytes>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (waiter, answer) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, waiter);
        (id, answer)
    }

    fn answered(&self, correlation_data: &[u8], payload: Bytes) {
        let Ok(id) = correlation_data.try_into().map(u64::from_be_bytes) else { return };
        let waiter = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(waiter) = waiter {
            let _ = waiter.send(payload);
        }
    }
}

#[derive(Clone)]
struct Asker {
    client: AsyncClient,
    waiters: Arc<Waiters>,
    payload: Bytes,
    qos: QoS,
}

impl Ask for Asker {
    async fn ask(&mut self) -> Result<usize, Error> {
        let (id, answer) = self.waiters.add();
        let properties = PublishProperties {
            response_topic: Some(RESPONSES.to_owned()),
            correlation_data: Some(Bytes::copy_from_slice(&id.to_be_bytes())),
            ..PublishProperties::default()
        };
        let payload = self.payload.clone();
        self.client.publish_with_properties(REQUESTS, self.qos, false, payload, properties).await?;
        Ok(answer.await?.len())
    }
}

async fn ask(load: Load) -> Result<(), Error> {
    let (client, mut events) = connect(&load.address, "requester", RESPONSES).await?;
    let waiters = Arc::new(Waiters::default());
    let waiting = Arc::clone(&waiters);
    tokio::spawn(async move {
        loop {
            let Event::Incoming(Packet::Publish(answer)) = events.poll().await? else { continue };
            if let Some(id) = answer.properties.and_then(|p| p.correlation_data) {
                waiting.answered(&id, answer.payload);
            }
        }
        #[expect(unreachable_code, reason = "it says what `?` returns")]
        Ok::<_, Error>(())
    });
    let payload = vec![b'x'; load.payload].into();
    measure(&load, Asker { client, waiters, payload, qos: quality(load.qos) }).await
}
