//! The floor of a hub that calls its devices: an ntex-mqtt server with a map of who is subscribed to
//! what and a map of waiters, and nothing else. One thread for all of it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use ntex::SharedCfg;
use ntex::service::{fn_factory_with_config, fn_service};
use ntex::util::{ByteString, Bytes};
use ntex_mqtt::v5::codec::PublishProperties;
use ntex_mqtt::v5::{self, MqttSink};
use ntex_mqtt::{MqttServer, MqttServiceConfig, QoS};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::{Semaphore, oneshot};
use tower_mqtt_peers::Error;

/// As in `benches/scale/devices.rs`.
const IN_FLIGHT: usize = 256;

const ANSWERS: &str = "clients/bare/responses";

#[derive(Default)]
struct Hub {
    subscribed: RefCell<HashMap<ByteString, MqttSink>>,
    next: Cell<u64>,
    waiting: RefCell<HashMap<u64, oneshot::Sender<Bytes>>>,
}

#[derive(Debug)]
struct Failed;

impl From<()> for Failed {
    fn from((): ()) -> Self {
        Self
    }
}

impl TryFrom<Failed> for v5::PublishAck {
    type Error = Failed;

    fn try_from(failed: Failed) -> Result<Self, Failed> {
        Err(failed)
    }
}

fn main() -> Result<(), Error> {
    let system = ntex::rt::System::build().name("bare").signals(false);
    system.build(ntex::rt::DefaultRuntime).block_on(serve())
}

async fn serve() -> Result<(), Error> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    println!("mqtt://{}", listener.local_addr()?);
    let server = ntex::server::build().listen("bare", listener, async |_| {
        let hub = Rc::new(Hub::default());
        ntex::rt::spawn(obey(Rc::clone(&hub))).detach();
        let answered = Rc::clone(&hub);
        MqttServer::new().v5(v5::MqttServer::new(async |handshake: v5::Handshake| {
            Ok::<_, Failed>(handshake.ack(()))
        })
        .protocol(fn_factory_with_config(async move |session: v5::Session<()>| {
            let hub = Rc::clone(&hub);
            Ok::<_, Failed>(fn_service(async move |message: v5::ProtocolMessage| {
                Ok::<_, Failed>(hub.protocol(&session, message))
            }))
        }))
        .publish(fn_factory_with_config(async move |_: v5::Session<()>| {
            let hub = Rc::clone(&answered);
            Ok::<_, Failed>(fn_service(async move |answer: v5::Publish| {
                hub.answered(&answer).await;
                Ok::<_, Failed>(answer.ack())
            }))
        })))
    })?;
    let mqtt = MqttServiceConfig::new()
        .set_max_receive(u16::MAX)
        .set_max_receive_size(0)
        .set_max_send(u16::MAX);
    let config: SharedCfg = SharedCfg::new("bare").add(mqtt).into();
    server.config("bare", config).workers(1).disable_signals().run().await?;
    Ok(())
}

/// For each line, a number of devices, calls each of them once, and writes how many seconds that took.
async fn obey(hub: Rc<Hub>) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let start = Instant::now();
        match hub.call_each(&line).await {
            Ok(()) => println!("{}", start.elapsed().as_secs_f64()),
            Err(error) => println!("{error}"),
        }
    }
}

impl Hub {
    fn protocol(
        &self,
        session: &v5::Session<()>,
        message: v5::ProtocolMessage,
    ) -> v5::ProtocolMessageAck {
        let v5::ProtocolMessage::Subscribe(mut subscribe) = message else { return message.ack() };
        // Sending without waiting for acknowledgements needs somebody who hears of them.
        session.sink().publish_ack_cb(|_, _| {});
        for mut subscription in &mut subscribe {
            let filter = ByteString::from(subscription.topic().as_str());
            self.subscribed.borrow_mut().insert(filter, session.sink().clone());
            subscription.confirm(QoS::AtLeastOnce);
        }
        subscribe.ack()
    }

    async fn answered(&self, answer: &v5::Publish) {
        let id = answer.packet().properties.correlation_data.as_deref();
        let id = id.and_then(|id| id.try_into().ok()).map(u64::from_be_bytes);
        let waiter = id.and_then(|id| self.waiting.borrow_mut().remove(&id));
        if let (Some(waiter), Ok(payload)) = (waiter, answer.read_all().await) {
            let _ = waiter.send(payload);
        }
    }

    async fn call_each(self: &Rc<Self>, count: &str) -> Result<(), Error> {
        let slots = Arc::new(Semaphore::new(IN_FLIGHT));
        let mut calls = Vec::new();
        for number in 0..count.parse::<usize>()? {
            let slot = Arc::clone(&slots).acquire_owned().await?;
            let hub = Rc::clone(self);
            calls.push(ntex::rt::spawn(async move {
                let topic = format!("devices/{number}/echo");
                let answer = hub.call(topic.into(), Bytes::from(vec![b'x'; 64])).await;
                drop(slot);
                answer
            }));
        }
        for call in calls {
            call.await.map_err(|_| "a call panicked")??;
        }
        Ok(())
    }

    async fn call(&self, topic: ByteString, payload: Bytes) -> Result<Bytes, Error> {
        let id = self.next.replace(self.next.get() + 1);
        let (waiter, answer) = oneshot::channel();
        self.waiting.borrow_mut().insert(id, waiter);
        let properties = PublishProperties {
            response_topic: Some(ByteString::from_static(ANSWERS)),
            correlation_data: Some(Bytes::copy_from_slice(&id.to_be_bytes())),
            ..PublishProperties::default()
        };
        let sink = self.subscribed.borrow().get(&topic).cloned().ok_or("nobody is subscribed")?;
        let publish = sink.publish(topic).properties(|p| *p = properties);
        publish.send_at_least_once_no_block(payload).map_err(|_| "a device takes nothing")?;
        Ok(answer.await?)
    }
}
