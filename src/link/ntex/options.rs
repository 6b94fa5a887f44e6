//! How to connect: what the address says, and what the builder sets.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use ulid::Ulid;
use url::Url;

use super::Reconnect;
use super::address::{Address, decode};
use crate::error::ConnectError;
use crate::link::OutgoingLimits;
#[cfg(feature = "tls")]
use crate::tls::ClientTls;

/// The longest client identifier, user name or password in bytes (MQTT 5 §1.5.4).
const MAX_FIELD: usize = 65_535;

#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) address: Address,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<ClientTls>,
    /// Of the request that opens a WebSocket.
    #[cfg(feature = "ws")]
    pub(super) headers: Vec<(String, Secret)>,
    pub(super) client_id: String,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    /// Seconds; 0: none.
    pub(super) keep_alive: u16,
    pub(super) clean_start: bool,
    /// Seconds; `u32::MAX`: for ever.
    pub(super) session_expiry: u32,
    pub(super) connect_timeout: Duration,
    pub(super) maximum_packet_size: NonZeroU32,
    pub(super) receive_maximum: NonZeroU16,
    pub(super) outgoing: OutgoingLimits,
    pub(super) reconnect: Reconnect,
}

/// A password or the like, which is never shown.
#[derive(Clone)]
pub(super) struct Secret(pub(super) Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Options {
    fn new(address: Address) -> Self {
        Self {
            address,
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(feature = "ws")]
            headers: Vec::new(),
            client_id: format!("tower-mqtt-{}", Ulid::new()),
            user: None,
            password: None,
            keep_alive: 30,
            clean_start: true,
            session_expiry: 0,
            connect_timeout: Duration::from_secs(10),
            maximum_packet_size: NonZeroU32::new(1024 * 1024).unwrap_or(NonZeroU32::MAX),
            receive_maximum: NonZeroU16::MAX,
            outgoing: OutgoingLimits::default(),
            reconnect: Reconnect::default(),
        }
    }

    /// Reads `scheme://user:password@host:port?key=value`. What is wrong is said without the
    /// address itself, as that holds the password.
    pub(super) fn parse(address: &str) -> Result<Self, ConnectError> {
        let url = Url::parse(address).map_err(|error| invalid(error.to_string()))?;
        let mut options = Self::new(Address::of(&url, address)?);
        if !url.username().is_empty() {
            options.user = Some(decode(url.username(), "the user name")?);
        }
        options.password =
            url.password().map(|password| Secret(percent_decode_str(password).collect()));
        for (key, value) in url.query_pairs() {
            options.set(&key, &value)?;
        }
        Ok(options)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), ConnectError> {
        match key {
            "client_id" => value.clone_into(&mut self.client_id),
            "keep_alive" => self.keep_alive = number(key, value)?,
            "clean_start" => {
                self.clean_start =
                    value.parse().map_err(|_| invalid("clean_start must be true or false"))?;
            }
            "session_expiry" => self.session_expiry = number(key, value)?,
            "connect_timeout" => {
                self.connect_timeout = Duration::from_secs(number::<u32>(key, value)?.into());
            }
            "maximum_packet_size" => self.maximum_packet_size = number(key, value)?,
            "receive_maximum" => self.receive_maximum = number(key, value)?,
            #[cfg(feature = "tls")]
            "ca" => self.tls = Some(self.tls.take().unwrap_or_default().ca_file(value)),
            #[cfg(not(feature = "tls"))]
            "ca" => return Err(invalid("ca needs the feature `tls` of tower-mqtt")),
            _ => {
                return Err(invalid(format!(
                    "there is no option {key:?}; there are client_id, keep_alive, clean_start, \
                     session_expiry, connect_timeout, maximum_packet_size, receive_maximum and ca"
                )));
            }
        }
        Ok(())
    }

    /// What no type keeps from being set.
    pub(super) fn check(&self) -> Result<(), ConnectError> {
        for (name, text) in
            [("client_id", Some(&self.client_id)), ("the user name", self.user.as_ref())]
        {
            let Some(text) = text else { continue };
            if text.contains('\0') {
                return Err(invalid(format!("{name} must not contain the null character")));
            }
            if text.len() > MAX_FIELD {
                return Err(invalid(format!("{name} has more than {MAX_FIELD} bytes")));
            }
        }
        if self.client_id.is_empty() {
            return Err(invalid("client_id must not be empty"));
        }
        if self.password.as_ref().is_some_and(|password| password.0.len() > MAX_FIELD) {
            return Err(invalid(format!("the password has more than {MAX_FIELD} bytes")));
        }
        #[cfg(any(feature = "tls", feature = "ws"))]
        self.check_scheme()?;
        Ok(())
    }

    /// What would be left unused without a word, to somebody's surprise.
    #[cfg(any(feature = "tls", feature = "ws"))]
    fn check_scheme(&self) -> Result<(), ConnectError> {
        let scheme = self.address.scheme;
        #[cfg(feature = "tls")]
        if self.tls.is_some() && !scheme.has_tls() {
            return Err(invalid(format!(
                "{scheme} is without TLS, for which there are settings: mqtts:// or wss:// has it"
            )));
        }
        #[cfg(feature = "ws")]
        for (name, value) in &self.headers {
            if !scheme.has_web_socket() {
                return Err(invalid(format!("{scheme} has no HTTP headers, as {name}")));
            }
            super::connect::check_header(name, &value.0)?;
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, ConnectError> {
    value.parse().map_err(|_| {
        let name = std::any::type_name::<T>();
        let range = match name.rsplit("::").next().unwrap_or(name) {
            "u16" => "0 to 65535",
            "u32" => "0 to 4294967295",
            "NonZero<u16>" => "1 to 65535",
            _ => "1 to 4294967295",
        };
        invalid(format!("{key} must be a whole number from {range}"))
    })
}

pub(super) fn invalid(text: impl Into<String>) -> ConnectError {
    ConnectError::Address(text.into().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_everything_from_the_address() {
        let options = Options::parse(
            "mqtt://an%40na:p%3A%2Fw@broker.local:1884?client_id=M%207&keep_alive=5\
             &clean_start=false&session_expiry=60&connect_timeout=3&maximum_packet_size=4096\
             &receive_maximum=20",
        );
        let options = options.expect("valid");
        assert_eq!(options.address.to_string(), "broker.local:1884");
        assert_eq!(options.user.as_deref(), Some("an@na"));
        assert_eq!(options.password.as_ref().map(|p| p.0.as_slice()), Some(b"p:/w".as_slice()));
        assert_eq!(options.client_id, "M 7");
        assert_eq!((options.keep_alive, options.session_expiry), (5, 60));
        assert_eq!(options.connect_timeout, Duration::from_secs(3));
        assert!(!options.clean_start);
        assert_eq!((options.maximum_packet_size.get(), options.receive_maximum.get()), (4096, 20));
        assert!(!format!("{options:?}").contains("p:/w"));
    }

    #[test]
    fn has_defaults() {
        let options = Options::parse("mqtt://[::1]").expect("valid");
        assert_eq!(options.address.to_string(), "[::1]:1883");
        assert!(options.user.is_none() && options.password.is_none() && options.clean_start);
        let other = Options::parse("mqtt://[::1]").expect("valid");
        assert_ne!(options.client_id, other.client_id);
    }

    #[test]
    fn says_what_is_wrong_and_never_the_password() {
        let table = [
            ("", "relative URL without a base"),
            ("broker:1883", "it must begin with mqtt://"),
            ("http://u:secret@broker", "it must begin with mqtt://"),
            ("mqtt://", "the host is missing"),
            ("mqtt:broker", "the host is missing"),
            ("mqtt://u:secret@", "empty host"),
            ("mqtt://u:secret@broker:70000", "invalid port number"),
            ("mqtt://u:secret@broker/topic", "only a query may follow"),
            ("mqtt://u:secret@broker#x", "only a query may follow"),
            ("mqtt://u:secret@broker?clientid=x", "there is no option \"clientid\""),
            (
                "mqtt://u:secret@broker?keep_alive=-1",
                "keep_alive must be a whole number from 0 to 65535",
            ),
            (
                "mqtt://u:secret@broker?receive_maximum=0",
                "receive_maximum must be a whole number from 1 to 65535",
            ),
            ("mqtt://u:secret@broker?clean_start=yes", "clean_start must be true or false"),
            ("mqtt://%ff:secret@broker", "the user name is not UTF-8"),
        ];
        for (address, expected) in table {
            let error = Options::parse(address).expect_err(address).to_string();
            assert!(error.contains(expected), "{address}: {error}");
            assert!(!error.contains("secret"), "{address}: {error}");
        }
    }

    #[cfg(all(feature = "tls", feature = "ws"))]
    #[test]
    fn what_the_scheme_has_no_use_for_is_refused() {
        let with_header = |address: &str, name: &str, value: &[u8]| {
            let mut options = Options::parse(address).expect("valid");
            options.headers.push((name.to_owned(), Secret(value.to_vec())));
            options.check()
        };
        let table = [
            (
                Options::parse("mqtt://h?ca=ca.pem").and_then(|o| o.check()),
                "mqtt:// is without TLS",
            ),
            (Options::parse("ws://h?ca=ca.pem").and_then(|o| o.check()), "ws:// is without TLS"),
            (with_header("mqtt://h", "X-A", b"b"), "mqtt:// has no HTTP headers"),
            (with_header("ws://h", "X A", b"b"), "\"X A\" can be no HTTP header"),
            (with_header("ws://h", "X-A", b"secret\n"), "header X-A has control characters"),
        ];
        for (checked, expected) in table {
            let error = checked.expect_err(expected).to_string();
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        }
        assert!(with_header("ws://h", "X-A", b"b").is_ok());
    }

    #[test]
    fn what_mqtt_cannot_carry_is_refused() {
        let long = "x".repeat(65_536);
        for address in [
            "mqtt://h?client_id=a%00b",
            "mqtt://h?client_id=",
            "mqtt://a%00b@h",
            &format!("mqtt://u:{long}@h"),
        ] {
            let checked = Options::parse(address).and_then(|options| options.check());
            assert!(matches!(checked, Err(ConnectError::Address(_))), "{address:.40}");
        }
    }
}
