//! Where devices are: an embedded hub, or a broker.

use std::sync::Arc;

use secrecy::ExposeSecret;

use super::builder::GatewayError;
use super::config::{self, Broker, Mqtt};
use super::devices::{Admission, Roster};
use crate::error::ConnectError;
use crate::hub::{Hub, HubBuilder};
use crate::link::{Client, Link};
use crate::tls::ClientTls;

/// The client identifier of the gateway on its own hub. No client from the network can have it.
const OWN_CLIENT: &str = "gateway";

/// The gateway's connection to the devices.
pub(super) struct Side {
    pub(super) link: Link,
    /// What a broker does not have.
    pub(super) hub: Option<Hub>,
    pub(super) roster: Option<Arc<Roster>>,
}

pub(super) async fn start(mqtt: &Mqtt, admission: Admission) -> Result<Side, GatewayError> {
    if let Some(broker) = &mqtt.broker {
        return Ok(Side { link: connect(broker).await?, hub: None, roster: None });
    }
    let hub = embedded(mqtt, Arc::new(admission)).await?;
    let roster = Some(Arc::new(Roster::of(&hub)));
    Ok(Side { link: hub.link(OWN_CLIENT), hub: Some(hub), roster })
}

async fn connect(broker: &Broker) -> Result<Link, ConnectError> {
    let mut client = Client::builder(&broker.url);
    if let Some(id) = &broker.client_id {
        client = client.client_id(id);
    }
    if let Some(user) = &broker.username {
        let password = broker.password.as_ref().map_or("", |password| password.expose_secret());
        client = client.credentials(user, password);
    }
    if let Some(ca) = &broker.ca {
        client = client.tls(ClientTls::new().ca_file(ca));
    }
    client.connect().await
}

async fn embedded(mqtt: &Mqtt, admission: Arc<Admission>) -> Result<Hub, GatewayError> {
    let gatekeeper = Arc::clone(&admission);
    let connections = mqtt.connections;
    let hub = Hub::builder()
        .limits(|limits| limits.connections = connections)
        .authenticate(move |credentials| {
            let gatekeeper = Arc::clone(&gatekeeper);
            async move { gatekeeper.authenticate(credentials).await }
        })
        .authorize(move |identity, client_id, access| {
            admission.allows(identity, client_id, access)
        });
    let tls = mqtt.tls.as_ref().map(|files| files.server().load()).transpose();
    let tls = tls.map_err(|source| GatewayError::Tls { place: "mqtt.tls", source })?;
    let listeners = config::listeners(&mqtt.listen, tls.as_ref())?;
    Ok(listeners.into_iter().fold(hub, HubBuilder::listen).start().await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Listener;

    #[tokio::test]
    async fn the_client_identifier_is_that_of_the_configuration_or_of_the_url() {
        let hub = Hub::builder().listen(Listener::tcp("127.0.0.1:0")).start().await.unwrap();
        let address = hub.local_addr().unwrap();
        let mut broker = Broker::at(&format!("mqtt://{address}?client_id=of-url"));
        assert_eq!(connect(&broker).await.unwrap().client_id(), "of-url");
        broker.client_id = Some("of-field".to_owned());
        assert_eq!(connect(&broker).await.unwrap().client_id(), "of-field");
        let random = async || connect(&Broker::at(&format!("mqtt://{address}"))).await.unwrap();
        let (one, other) = (random().await, random().await);
        assert_ne!(one.client_id(), other.client_id());
    }
}
