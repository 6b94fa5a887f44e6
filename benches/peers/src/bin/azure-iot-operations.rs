//! Commands of the Azure IoT Operations SDK, which speaks QoS 1 only.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use azure_iot_operations_mqtt::aio::connection_settings::MqttConnectionSettingsBuilder;
use azure_iot_operations_mqtt::session::{Session, SessionManagedClient, SessionOptionsBuilder};
use azure_iot_operations_protocol::application::ApplicationContextBuilder;
use azure_iot_operations_protocol::common::payload_serialize::{
    DeserializationError, FormatIndicator, PayloadSerialize, SerializedPayload,
};
use azure_iot_operations_protocol::rpc_command::{Executor, Invoker, executor, invoker};
use tower_mqtt_peers::{Ask, Error, Load, Respond, host_and_port, measure, run, serve_at};

/// With an executor that may not be subscribed yet.
const PATIENCE: Duration = Duration::from_millis(200);

fn main() -> Result<(), Error> {
    run(respond, ask)
}

#[derive(Clone, Debug)]
struct Payload(Vec<u8>);

impl PayloadSerialize for Payload {
    type Error = Infallible;

    fn serialize(self) -> Result<SerializedPayload, Infallible> {
        Ok(SerializedPayload {
            payload: self.0,
            content_type: "application/octet-stream".to_owned(),
            format_indicator: FormatIndicator::UnspecifiedBytes,
        })
    }

    fn deserialize(
        payload: &[u8],
        _: Option<&String>,
        _: &FormatIndicator,
    ) -> Result<Self, DeserializationError<Infallible>> {
        Ok(Self(payload.to_vec()))
    }
}

/// A client whose connection is a task of this runtime.
fn connect(address: &str, client_id: &str) -> Result<SessionManagedClient, Error> {
    let (host, port) = host_and_port(address)?;
    let connection = MqttConnectionSettingsBuilder::default()
        .client_id(client_id)
        .hostname(host)
        .tcp_port(port)
        .use_tls(false)
        .build()?;
    let options = SessionOptionsBuilder::default().connection_settings(connection).build()?;
    let session = Session::new(options).map_err(|error| error.to_string())?;
    let client = session.create_managed_client();
    tokio::spawn(session.run());
    Ok(client)
}

async fn respond(options: Respond) -> Result<(), Error> {
    let address = options.broker()?;
    let client = connect(&address, "responder")?;
    let options = executor::OptionsBuilder::default()
        .request_topic_pattern("bench/echo")
        .command_name("echo")
        .build()?;
    let context = ApplicationContextBuilder::default().build()?;
    tokio::spawn(answer(Executor::new(context, client, options)?));
    serve_at(&address).await
}

async fn answer(mut requests: Executor<Payload, Payload>) -> Result<(), Error> {
    while let Some(request) = requests.recv().await {
        let request = request?;
        let payload = request.payload.clone();
        let response = executor::ResponseBuilder::default().payload(payload)?.build()?;
        tokio::spawn(request.complete(response));
    }
    Ok(())
}

#[derive(Clone)]
struct Asker {
    invoker: Arc<Invoker<Payload, Payload>>,
    payload: Payload,
}

impl Ask for Asker {
    async fn ask(&mut self) -> Result<usize, Error> {
        let request = invoker::RequestBuilder::default()
            .payload(self.payload.clone())?
            .timeout(Duration::from_secs(10))
            .build()?;
        Ok(self.invoker.invoke(request).await?.payload.0.len())
    }
}

async fn ask(load: Load) -> Result<(), Error> {
    let client = connect(&load.address, "requester")?;
    let options = invoker::OptionsBuilder::default()
        .request_topic_pattern("bench/echo")
        .response_topic_pattern("clients/azure/responses".to_owned())
        .command_name("echo")
        .build()?;
    let context = ApplicationContextBuilder::default().build()?;
    let invoker = Arc::new(Invoker::new(context, client, options)?);
    let mut asker = Asker { invoker, payload: Payload(vec![b'x'; load.payload]) };
    // The executor does not say when it is subscribed.
    while tokio::time::timeout(PATIENCE, asker.ask()).await.is_err() {}
    measure(&load, asker).await
}
