//! Which packets are meant, and what becomes of them.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::packet::{Direction, Kind, Packet};
use super::random::Random;
use crate::core::topic::TopicFilter;

type Predicate = Arc<dyn Fn(&Packet) -> bool + Send + Sync>;

/// A choice of packets: all of a direction, and of these what each further method leaves.
///
/// ```
/// use tower_mqtt::test_util::{Kind, Packets};
///
/// let second_answer = Packets::to_client().kind(Kind::Publish).topic("clients/+/responses").nth(2);
/// let requests_of_one = Packets::to_server().publish("recipes/#").client("M7");
/// # drop((second_answer, requests_of_one));
/// ```
#[derive(Clone)]
#[must_use = "a choice does nothing by itself"]
pub struct Packets {
    direction: Option<Direction>,
    kind: Option<Kind>,
    topic: Option<TopicFilter>,
    qos: Option<u8>,
    packet_id: Option<u16>,
    connection: Option<u64>,
    client_id: Option<Box<str>>,
    predicate: Option<Predicate>,
    one_in: Option<u32>,
    counted: RangeInclusive<u64>,
}

impl Packets {
    /// Everything, in both directions.
    pub fn all() -> Self {
        Self {
            direction: None,
            kind: None,
            topic: None,
            qos: None,
            packet_id: None,
            connection: None,
            client_id: None,
            predicate: None,
            one_in: None,
            counted: 1..=u64::MAX,
        }
    }

    /// What goes in this direction.
    pub fn on(direction: Direction) -> Self {
        Self { direction: Some(direction), ..Self::all() }
    }

    /// What clients send.
    pub fn to_server() -> Self {
        Self::on(Direction::ToServer)
    }

    /// What clients get.
    pub fn to_client() -> Self {
        Self::on(Direction::ToClient)
    }

    /// Of this type.
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// PUBLISH packets to topics that match this filter.
    ///
    /// # Panics
    /// When it is no topic filter.
    pub fn publish(self, filter: &str) -> Self {
        self.kind(Kind::Publish).topic(filter)
    }

    /// With a topic that matches this filter.
    ///
    /// # Panics
    /// When it is no topic filter.
    pub fn topic(mut self, filter: &str) -> Self {
        match TopicFilter::new(filter) {
            Ok(filter) => self.topic = Some(filter),
            Err(error) => panic!("{filter:?}: {error}"),
        }
        self
    }

    /// PUBLISH packets with this QoS.
    pub fn qos(mut self, qos: u8) -> Self {
        self.qos = Some(qos);
        self.kind(Kind::Publish)
    }

    /// With this packet identifier.
    pub fn packet_id(mut self, id: u16) -> Self {
        self.packet_id = Some(id);
        self
    }

    /// Of this connection.
    pub fn connection(mut self, number: u64) -> Self {
        self.connection = Some(number);
        self
    }

    /// Of connections with this client identifier.
    pub fn client(mut self, client_id: impl Into<Box<str>>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// For which this is true. It is called with the proxy locked, and must not use it.
    pub fn matching(mut self, test: impl Fn(&Packet) -> bool + Send + Sync + 'static) -> Self {
        self.predicate = Some(Arc::new(test));
        self
    }

    /// One in `n` of them, by the seed of the proxy: with the same seed the same packets of each
    /// connection.
    pub fn one_in(mut self, n: u32) -> Self {
        self.one_in = Some(n);
        self
    }

    /// Only the `n`th of what the other methods leave, counted from 1 over all connections, from
    /// the moment when the proxy is told.
    pub fn nth(self, n: u64) -> Self {
        self.counted(n..=n)
    }

    /// Only the first `n` of them, counted as in [`nth`](Self::nth).
    pub fn first(self, n: u64) -> Self {
        self.counted(1..=n)
    }

    /// Only these, counted as in [`nth`](Self::nth).
    pub fn counted(mut self, which: RangeInclusive<u64>) -> Self {
        self.counted = which;
        self
    }

    /// All but the counting.
    fn fit(&self, packet: &Packet, random: Random) -> bool {
        fn is<T: PartialEq + ?Sized>(wanted: Option<&T>, found: Option<&T>) -> bool {
            wanted.is_none_or(|wanted| found == Some(wanted))
        }
        is(self.direction.as_ref(), Some(&packet.direction))
            && is(self.kind.as_ref(), Some(&packet.kind))
            && is(self.qos.as_ref(), Some(&packet.qos))
            && is(self.packet_id.as_ref(), packet.packet_id.as_ref())
            && is(self.connection.as_ref(), Some(&packet.connection))
            && is(self.client_id.as_deref(), packet.client_id.as_deref())
            && self.topic.as_ref().is_none_or(|filter| {
                packet.topic.as_ref().is_some_and(|topic| filter.matches(topic))
            })
            && self.predicate.as_ref().is_none_or(|test| test(packet))
            && self.one_in.is_none_or(|n| random.one_in(n))
    }
}

impl fmt::Debug for Packets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packets")
            .field("direction", &self.direction)
            .field("kind", &self.kind)
            .field("topic", &self.topic)
            .field("counted", &self.counted)
            .finish_non_exhaustive()
    }
}

/// Counts what fits.
#[derive(Debug)]
pub(super) struct Counting {
    packets: Packets,
    seen: u64,
}

impl Counting {
    pub(super) fn new(packets: Packets) -> Self {
        Self { packets, seen: 0 }
    }

    /// Whether this packet is meant.
    pub(super) fn take(&mut self, packet: &Packet, random: Random) -> bool {
        if !self.packets.fit(packet, random) {
            return false;
        }
        self.seen += 1;
        self.packets.counted.contains(&self.seen)
    }
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// With RST, to both sides: as when a process is killed or a firewall refuses.
    Reset,
    /// With FIN, to both sides, after what was under way is given up.
    Close,
}

/// What becomes of a packet.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Fault {
    /// It passes, and later rules do not see it.
    Deliver,
    /// It is lost.
    Lose,
    /// It passes so many times in a row, 0 as `Lose`.
    Repeat(u8),
    /// It passes so much later. What is behind it on the same connection overtakes it.
    Delay(Duration),
    /// It is kept until it is [released](super::Rule::release). What is behind it overtakes it.
    Hold,
    /// It is kept until a packet of this choice has passed, on whatever connection. From then on
    /// the rule does nothing any more.
    HoldUntil(Packets),
    /// It is lost, and its connection with it.
    Cut(Cut),
    /// It passes, and then its connection is lost.
    CutAfter(Cut),
}
