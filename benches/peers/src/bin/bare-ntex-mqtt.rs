//! The floor: request-response by hand over ntex-mqtt, with a map of waiters and nothing else. No
//! deadlines, no limits, no reconnect, no thread to cross: asking and connection share one.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use clap::{Args, Parser};
use ntex::service::fn_service;
use ntex::util::{ByteString, Bytes};
use ntex::{SharedCfg, connect::Connector};
use ntex_mqtt::v5::codec::{PublishProperties, SubscriptionOptions};
use ntex_mqtt::v5::{self, MqttSink, client::Connect, client::MqttConnector};
use ntex_mqtt::{MqttServer, MqttServiceConfig, QoS};
use tokio::sync::oneshot;
use tower_mqtt_peers::{Error, Laps, Load, Respond, measure_callers, serve_at};

#[derive(Parser)]
enum Role {
    /// Answers until its standard input closes.
    Respond(Respond),
    /// Asks for a while and writes a measurement as JSON.
    Ask(Load),
    /// Is many clients, each of which answers at `devices/{number}/echo`.
    Devices(Devices),
}

#[derive(Args)]
struct Devices {
    #[arg(long)]
    address: String,
    #[arg(long)]
    count: usize,
}

pub(crate) fn main() -> Result<(), Error> {
    let role = Role::parse();
    let system = ntex::rt::System::build().name("bare").signals(false);
    system.build(ntex::rt::DefaultRuntime).block_on(async move {
        match role {
            Role::Respond(options) => respond(options).await,
            Role::Ask(load) => ask(load).await,
            Role::Devices(devices) => be_devices(devices).await,
        }
    })
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

/// Sends without waiting for the acknowledgement.
fn send(
    sink: &MqttSink,
    topic: ByteString,
    properties: PublishProperties,
    payload: Bytes,
    qos: QoS,
) {
    let publish = sink.publish(topic).properties(|p| *p = properties);
    if qos == QoS::AtMostOnce {
        let _ = publish.send_at_most_once(payload);
    } else {
        ntex::rt::spawn(async move { publish.send_at_least_once(payload).await }).detach();
    }
}

/// Sends a request's payload back to its response topic.
async fn answer(sink: &MqttSink, request: &v5::Publish) {
    let asked = &request.packet().properties;
    let properties = PublishProperties {
        correlation_data: asked.correlation_data.clone(),
        ..PublishProperties::default()
    };
    let topic = asked.response_topic.clone().unwrap_or_default();
    let payload = request.read_all().await.unwrap_or_default();
    send(sink, topic, properties, payload, request.qos());
}

fn config() -> SharedCfg {
    let mqtt = MqttServiceConfig::new()
        .set_max_receive(u16::MAX)
        .set_max_receive_size(0)
        .set_max_send(u16::MAX);
    SharedCfg::new("bare").add(mqtt).into()
}

async fn respond(options: Respond) -> Result<(), Error> {
    match options.broker {
        Some(address) => respond_through(&address).await,
        None => respond_directly().await,
    }
}

async fn respond_directly() -> Result<(), Error> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = format!("mqtt://{}", listener.local_addr()?);
    let server = ntex::server::build().listen("bare", listener, async |_| {
        MqttServer::new().v5(v5::MqttServer::new(async |handshake: v5::Handshake| {
            Ok::<_, Failed>(handshake.ack(()))
        })
        .protocol(async |message: v5::ProtocolMessage| {
            Ok::<_, Failed>(match message {
                v5::ProtocolMessage::Subscribe(mut subscribe) => {
                    subscribe.iter_mut().for_each(|mut s| s.confirm(QoS::AtLeastOnce));
                    subscribe.ack()
                }
                other => other.ack(),
            })
        })
        .publish(ntex::service::fn_factory_with_config(
            async |session: v5::Session<()>| {
                Ok::<_, Failed>(fn_service(async move |request: v5::Publish| {
                    answer(session.sink(), &request).await;
                    Ok::<_, Failed>(request.ack())
                }))
            },
        )))
    })?;
    server.config("bare", config()).workers(1).disable_signals().run();
    serve_at(&address).await
}

async fn respond_through(address: &str) -> Result<(), Error> {
    answer_at(address, "responder", "bench/echo").await?;
    serve_at(address).await
}

async fn be_devices(Devices { address, count }: Devices) -> Result<(), Error> {
    for number in 0..count {
        let topic = format!("devices/{number}/echo");
        answer_at(&address, &format!("device{number}"), &topic).await?;
    }
    serve_at("all are subscribed").await
}

/// Connects, and answers from then on.
async fn answer_at(address: &str, client_id: &str, topic: &str) -> Result<(), Error> {
    let client = connect(address, client_id).await?;
    let sink = client.sink();
    let for_answers = sink.clone();
    let router = client.resource(
        topic,
        fn_service(async move |request: v5::Publish| {
            answer(&for_answers, &request).await;
            Ok::<_, Failed>(request.ack())
        }),
    );
    ntex::rt::spawn(router.start_default()).detach();
    subscribe(&sink, topic).await
}

async fn connect(address: &str, client_id: &str) -> Result<v5::client::Client, Error> {
    let address = address.trim_start_matches("mqtt://").to_owned();
    let connector = MqttConnector::<String, _>::new().connector(Connector::default());
    let service = ntex::ServiceFactory::pipeline(&connector, config()).await;
    let service = service.map_err(|_| "the connector cannot be made")?;
    let connect = Connect::new(address).client_id(client_id.to_owned()).max_receive(u16::MAX);
    let client = service.call(connect).await;
    client.map_err(|error| format!("{error:?}").into())
}

async fn subscribe(sink: &MqttSink, filter: &str) -> Result<(), Error> {
    let options = SubscriptionOptions { qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() };
    sink.subscribe(None).topic_filter(filter.to_owned().into(), options).send().await?;
    Ok(())
}

/// The map, and what answers are looked up by.
#[derive(Default)]
struct Waiters {
    next: Cell<u64>,
    waiting: RefCell<HashMap<u64, oneshot::Sender<Bytes>>>,
}

const RESPONSES: &str = "clients/bare/responses";

async fn ask(load: Load) -> Result<(), Error> {
    let client = connect(&load.address, "requester").await?;
    let sink = client.sink();
    let waiters = Rc::new(Waiters::default());
    let answered = Rc::clone(&waiters);
    let router = client.resource(
        RESPONSES,
        fn_service(async move |answer: v5::Publish| {
            let id = answer.packet().properties.correlation_data.as_deref();
            let id = id.and_then(|id| id.try_into().ok()).map(u64::from_be_bytes);
            let waiter = id.and_then(|id| answered.waiting.borrow_mut().remove(&id));
            if let (Some(waiter), Ok(payload)) = (waiter, answer.read_all().await) {
                let _ = waiter.send(payload);
            }
            Ok::<_, Failed>(answer.ack())
        }),
    );
    ntex::rt::spawn(router.start_default()).detach();
    subscribe(&sink, RESPONSES).await?;

    let asker = Rc::new(Asker {
        sink,
        waiters,
        payload: Bytes::from(vec![b'x'; load.payload]),
        qos: if load.qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce },
    });
    measure_callers(&load, async |laps| run(&asker, load.in_flight, &laps).await).await
}

struct Asker {
    sink: MqttSink,
    waiters: Rc<Waiters>,
    payload: Bytes,
    qos: QoS,
}

impl Asker {
    async fn call(&self) -> Result<Bytes, Error> {
        let id = self.waiters.next.replace(self.waiters.next.get() + 1);
        let (waiter, answer) = oneshot::channel();
        self.waiters.waiting.borrow_mut().insert(id, waiter);
        let properties = PublishProperties {
            response_topic: Some(ByteString::from_static(RESPONSES)),
            correlation_data: Some(Bytes::copy_from_slice(&id.to_be_bytes())),
            ..PublishProperties::default()
        };
        let topic = ByteString::from_static("bench/echo");
        send(&self.sink, topic, properties, self.payload.clone(), self.qos);
        Ok(answer.await?)
    }
}

async fn run(asker: &Rc<Asker>, in_flight: usize, laps: &Laps) -> Result<(), Error> {
    let mut callers = Vec::new();
    for _ in 0..in_flight {
        callers.push(ntex::rt::spawn(call_until_end(laps.clone(), Rc::clone(asker))));
    }
    for caller in callers {
        caller.await.map_err(|_| "a caller panicked")??;
    }
    Ok(())
}

async fn call_until_end(mut laps: Laps, asker: Rc<Asker>) -> Result<(), Error> {
    while laps.go_on() {
        laps.answered(asker.call().await?.len())?;
    }
    Ok(())
}
