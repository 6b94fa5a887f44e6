//! Where the recipes are served: on a hub of our own, or through a broker.

use std::error::Error;
use std::time::Duration;

use tower_mqtt::hub::{HubBuilder, Listener, Listening};
use tower_mqtt::{Client, Hub, Link};
use url::Url;

use crate::listen::mosquitto_options;

/// A hub or a broker, and our link to it.
pub(crate) struct Place {
    hub: Option<Hub>,
    link: Link,
    /// How `mosquitto_rr` reaches it from this machine.
    options: Option<String>,
}

impl Place {
    /// Starts a hub.
    pub(crate) async fn listen(listeners: Vec<Listener>) -> Result<Self, Box<dyn Error>> {
        let hub = listeners.into_iter().fold(Hub::builder(), HubBuilder::listen);
        let hub = hub.start().await?;
        let link = hub.link("recipe-server");
        let options = hub.listeners().iter().find_map(mosquitto_options);
        Ok(Self { hub: Some(hub), link, options })
    }

    /// Connects to a broker.
    pub(crate) async fn connect(broker: &str) -> Result<Self, Box<dyn Error>> {
        let link = Client::connect(broker).await?;
        let url = Url::parse(broker)?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = url.port().unwrap_or(1883);
        let user = if url.username().is_empty() { "" } else { " -u USER -P PASSWORD" };
        let options = Some(format!("-h {host} -p {port}{user}"));
        Ok(Self { hub: None, link, options })
    }

    /// Where the hub listens.
    pub(crate) fn listening(&self) -> impl Iterator<Item = &Listening> {
        self.hub.iter().flat_map(Hub::listeners)
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// A command line that asks for a recipe.
    pub(crate) fn command(&self, category: &str, dish: &str) -> String {
        match (&self.options, self.listening().next()) {
            (Some(options), _) => format!(
                "mosquitto_rr {options} -t recipes/{category}/get \
                 -e machines/mine/recipes -m '{{\"name\":\"{dish}\"}}'"
            ),
            (None, Some(listening)) => format!(
                "cargo run --example cooking_machine --features tls,ws -- \
                 --broker {listening} '{category}/{dish}'"
            ),
            (None, None) => String::from("(the hub listens nowhere)"),
        }
    }

    /// Resolves when the link will not come up again.
    pub(crate) async fn lost(&self) {
        loop {
            self.link.disconnected().await;
            eprintln!("The connection is lost.");
            if !self.link.connected().await {
                return;
            }
            eprintln!("The connection is back.");
        }
    }

    pub(crate) async fn close(self, grace: Duration) {
        self.link.close();
        if let Some(hub) = self.hub {
            hub.shutdown(grace).await;
        }
    }
}
