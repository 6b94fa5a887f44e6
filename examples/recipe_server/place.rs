//! Where the recipes are served: on a hub of our own, or through a broker.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tower_mqtt::{Client, Hub, Link};
use url::Url;

/// A hub or a broker, and our link to it.
pub(crate) struct Place {
    hub: Option<Hub>,
    link: Link,
    /// What a client on this machine calls it.
    host: String,
    port: u16,
    needs_password: bool,
}

impl Place {
    /// Starts a hub.
    pub(crate) async fn listen(address: &str) -> Result<Self, Box<dyn Error>> {
        let hub = Hub::builder().bind(address).start().await?;
        let bound = hub.local_addr().ok_or("the hub is not bound")?;
        let host = match bound.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let link = hub.link("recipe-server");
        let (host, port) = (host.to_string(), bound.port());
        Ok(Self { hub: Some(hub), link, host, port, needs_password: false })
    }

    /// Connects to a broker.
    pub(crate) async fn connect(broker: &str) -> Result<Self, Box<dyn Error>> {
        let link = Client::connect(broker).await?;
        let url = Url::parse(broker)?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port().unwrap_or(1883);
        Ok(Self { hub: None, link, host, port, needs_password: !url.username().is_empty() })
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// A command line that asks for a recipe.
    pub(crate) fn command(&self, category: &str, dish: &str) -> String {
        let Self { host, port, .. } = self;
        let user = if self.needs_password { " -u USER -P PASSWORD" } else { "" };
        format!(
            "mosquitto_rr -h {host} -p {port}{user} -t recipes/{category}/get \
             -e machines/mine/recipes -m '{{\"name\":\"{dish}\"}}'"
        )
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
