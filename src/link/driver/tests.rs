use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use super::*;
use crate::core::topic::TopicName;
use crate::link::fake::{self, Fake, FakeTransport, Written};
use crate::link::{Link, OutgoingLimits};

/// What happened to a [`Probe`], and what it does when it is polled.
#[derive(Default)]
struct Notes {
    seen: Vec<String>,
    publish: Vec<&'static str>,
    unwanted: Vec<&'static str>,
    takes: Option<&'static str>,
    /// Acknowledges itself: the message of this distance from the one that it took.
    holds: Option<AckId>,
    deadline: Option<Instant>,
    done: bool,
}

type Shared = Arc<Mutex<Notes>>;

struct Probe {
    notes: Shared,
    filter: &'static str,
    requester: bool,
}

impl Probe {
    fn see(&self, what: String) {
        self.notes.lock().unwrap().seen.push(what);
    }

    fn subscription(&self) -> [Subscription; 1] {
        [Subscription::new(TopicFilter::new(self.filter).unwrap())]
    }
}

impl Endpoint for Probe {
    fn is_requester(&self) -> bool {
        self.requester
    }

    fn connected(&mut self, out: &mut Outbox<'_>) {
        self.see(format!("connected {}", out.endpoint()));
        out.subscribe(&self.subscription(), (1, 1));
    }

    fn disconnected(&mut self, _: &mut Outbox<'_>) {
        self.see("disconnected".into());
    }

    fn message(
        &mut self,
        message: Message,
        ack: Option<AckId>,
        out: &mut Outbox<'_>,
    ) -> Result<Verdict, Message> {
        let (takes, holds) = {
            let notes = self.notes.lock().unwrap();
            (notes.takes == Some(message.topic.as_str()), notes.holds)
        };
        self.see(format!("message {}", message.topic));
        match (takes, holds, ack) {
            (false, ..) => Err(message),
            (true, Some(distance), Some(ack)) => {
                out.acknowledge(ack + distance, ReasonCode::SUCCESS);
                Ok(Verdict::Held)
            }
            (true, ..) => Ok(Verdict::Taken),
        }
    }

    fn still_wanted(&mut self, _: Token, message: &mut Message, _: Instant) -> bool {
        !self.notes.lock().unwrap().unwanted.contains(&message.topic.as_str())
    }

    fn outcome(&mut self, token: Token, outcome: Outcome, message: Message, _: &mut Outbox<'_>) {
        let outcome = match outcome {
            Outcome::Acknowledged(acknowledgement) => {
                format!("acknowledged with {acknowledgement}")
            }
            other => format!("{other:?}"),
        };
        self.see(format!("{} {token:?} {outcome}", message.topic));
    }

    fn subscribed(&mut self, _: Token, reasons: &[ReasonCode], _: &mut Outbox<'_>) {
        self.see(format!("subscribed {}", reasons.len()));
    }

    fn poll(&mut self, _: &mut Context<'_>, out: &mut Outbox<'_>) -> Poll<()> {
        let (publish, done) = {
            let mut notes = self.notes.lock().unwrap();
            (std::mem::take(&mut notes.publish), notes.done)
        };
        for topic in publish {
            let message = Message::new(TopicName::new(topic).unwrap(), "");
            if let Err((error, _)) = out.publish(message, (5, 5)) {
                self.see(format!("{topic} {error:?}"));
            }
        }
        if done {
            out.unsubscribe(&self.subscription(), (2, 2));
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn in_flight(&self) -> usize {
        0
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.notes.lock().unwrap().deadline
    }

    fn closed(&mut self) {
        self.see("closed".into());
    }
}

struct Bench {
    fake: Fake,
    link: Link,
    driver: Driver<FakeTransport>,
}

impl Bench {
    fn new() -> Self {
        let fake = Fake::default();
        let (link, seat) = fake::link(OutgoingLimits::default());
        let driver = Driver::new(fake.transport(), seat);
        Self { fake, link, driver }
    }

    async fn attach(&mut self, filter: &'static str, requester: bool) -> Shared {
        let notes = Shared::default();
        let probe = Probe { notes: Arc::clone(&notes), filter, requester };
        self.link.attach(Box::new(probe)).await.unwrap();
        assert!(self.poll().is_pending());
        notes
    }

    fn poll(&mut self) -> Poll<()> {
        self.driver.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn happens(&mut self, event: Event) {
        self.fake.push(event);
        let _ = self.poll();
    }

    fn connect(&mut self, receive_maximum: u16) {
        self.happens(Event::Connected(fake::connection(receive_maximum)));
    }

    fn suback(&mut self, id: SendId) {
        self.happens(Event::Subscribed(id, vec![ReasonCode::GRANTED_QOS_1]));
    }
}

fn seen(notes: &Shared) -> Vec<String> {
    std::mem::take(&mut notes.lock().unwrap().seen)
}

fn publish(notes: &Shared, topics: &[&'static str]) {
    notes.lock().unwrap().publish.extend(topics);
}

fn message(topic: &str) -> Message {
    Message::new(TopicName::new(topic).unwrap(), "")
}

#[tokio::test]
async fn nothing_is_published_before_every_subscription_is_made_again() {
    let mut bench = Bench::new();
    let one = bench.attach("a", true).await;
    let two = bench.attach("b", false).await;
    bench.connect(10);
    publish(&one, &["x"]);
    publish(&two, &["y"]);
    let _ = bench.poll();
    let subscribed = [("a", 1), ("b", 2)].map(|(f, id)| Written::Subscribe(vec![f.into()], id));
    assert_eq!(bench.fake.written(), subscribed);
    assert!(!bench.link.is_connected());
    bench.suback(2);
    assert!(bench.fake.written().is_empty() && !bench.link.is_connected(), "one is missing");
    bench.suback(1);
    assert_eq!(bench.fake.published(), ["x", "y"]);
    assert!(bench.link.is_connected());

    bench.happens(Event::Disconnected);
    assert!(!bench.link.is_connected());
    publish(&one, &["z"]);
    bench.connect(10);
    assert!(bench.fake.published().is_empty());
}

#[tokio::test]
async fn messages_are_offered_to_requesters_first_and_acknowledged_once() {
    let mut bench = Bench::new();
    let responder = bench.attach("#", false).await;
    let requester = bench.attach("a", true).await;
    bench.connect(10);
    requester.lock().unwrap().takes = Some("a");
    responder.lock().unwrap().takes = Some("b");
    bench.fake.written();
    seen(&requester);
    seen(&responder);
    for (n, topic) in ["a", "b", "c"].into_iter().enumerate() {
        bench.happens(Event::Message(message(topic), Some(n as u64)));
    }
    assert_eq!(seen(&requester), ["message a", "message b", "message c"]);
    assert_eq!(seen(&responder), ["message b", "message c"]);
    assert_eq!(bench.fake.written(), [0, 1, 2].map(Written::Acknowledge));
    requester.lock().unwrap().holds = Some(100);
    bench.happens(Event::Message(message("a"), Some(3)));
    assert_eq!(bench.fake.written(), [Written::Acknowledge(103)], "by the endpoint itself");
    bench.happens(Event::Message(message("b"), None));
    assert!(bench.fake.written().is_empty(), "nothing to acknowledge at QoS 0");
}

/// A handler that blocks its thread is given up at last, and must not hold up the PUBACKs of others.
#[tokio::test]
async fn what_an_endpoint_has_not_acknowledged_is_when_it_is_gone() {
    let mut bench = Bench::new();
    let [gone, stays] = [bench.attach("a", false).await, bench.attach("b", false).await];
    bench.connect(10);
    let take = |notes: &Shared, topic, distance| {
        let mut notes = notes.lock().unwrap();
        (notes.takes, notes.holds) = (Some(topic), Some(distance));
    };
    take(&stays, "b", 100);
    bench.happens(Event::Message(message("b"), Some(1)));
    // The second acknowledges the first, the third itself.
    for (ack, distance) in [(120, 100), (20, 100), (30, 0)] {
        take(&gone, "a", distance);
        bench.happens(Event::Message(message("a"), Some(ack)));
    }
    bench.fake.written();
    gone.lock().unwrap().done = true;
    let _ = bench.poll();
    let unsubscribe = Written::Unsubscribe(vec!["a".into()], 3);
    assert_eq!(bench.fake.written(), [unsubscribe, Written::Acknowledge(20)]);

    bench.happens(Event::Disconnected);
    stays.lock().unwrap().done = true;
    let _ = bench.poll();
    assert!(bench.fake.written().is_empty(), "what came on a lost connection has no PUBACK");
}

#[tokio::test]
async fn outcomes_are_reported_to_their_endpoint() {
    let mut bench = Bench::new();
    let one = bench.attach("a", true).await;
    let two = bench.attach("b", true).await;
    bench.connect(2);
    bench.suback(1);
    bench.suback(2);
    publish(&one, &["x", "y", "z"]);
    let _ = bench.poll();
    seen(&one);
    seen(&two);
    bench.happens(Event::Acknowledged(3, ReasonCode::NOT_AUTHORIZED.into()));
    assert_eq!(seen(&one), ["x (5, 5) acknowledged with not authorized (0x87)"]);
    publish(&one, &["last"]);
    let _ = bench.poll();
    bench.happens(Event::Disconnected);
    let expected = ["y (5, 5) Lost", "z (5, 5) Lost", "last (5, 5) NotSent", "disconnected"];
    assert_eq!(seen(&one), expected);
    assert_eq!(seen(&two), ["disconnected"]);
}

#[tokio::test]
async fn what_waited_is_sent_while_it_is_wanted_and_fits() {
    let mut bench = Bench::new();
    let probe = bench.attach("a", true).await;
    bench.connect(1);
    bench.suback(1);
    publish(&probe, &["first", "unwanted", "too/large/to/be/sent", "good"]);
    let _ = bench.poll();
    assert_eq!(bench.fake.published(), ["first"]);
    seen(&probe);
    probe.lock().unwrap().unwanted = vec!["unwanted"];
    let limit = message("good").size();
    bench.fake.script().limit = Some(limit);
    bench.happens(Event::Acknowledged(2, ReasonCode::SUCCESS.into()));
    assert_eq!(bench.fake.published(), ["good"]);
    let size = message("too/large/to/be/sent").size();
    let too_large =
        format!("too/large/to/be/sent (5, 5) TooLarge {{ size: {size}, limit: {limit} }}");
    assert_eq!(seen(&probe)[1..], [too_large]);
}

#[tokio::test]
async fn a_slot_is_used_again_but_nothing_of_its_last_owner_arrives() {
    let mut bench = Bench::new();
    let first = bench.attach("a", true).await;
    bench.connect(1);
    bench.suback(1);
    publish(&first, &["x", "queued"]);
    let _ = bench.poll();
    first.lock().unwrap().done = true;
    let _ = bench.poll();
    let second = bench.attach("a", true).await;
    assert_eq!(seen(&second), ["connected 0"]);
    let written = bench.fake.written();
    let unsubscribe = Written::Unsubscribe(vec!["a".into()], 3);
    let subscribe = Written::Subscribe(vec!["a".into()], 4);
    assert_eq!(written[written.len() - 2..], [unsubscribe, subscribe]);
    bench.happens(Event::Acknowledged(2, ReasonCode::SUCCESS.into()));
    bench.happens(Event::Subscribed(3, vec![ReasonCode::SUCCESS]));
    assert!(seen(&second).is_empty());
    assert!(bench.fake.published().is_empty(), "nobody waits for what was queued");
    bench.suback(4);
    assert_eq!(seen(&second), ["subscribed 1"]);
}

#[tokio::test]
async fn a_filter_is_given_up_with_the_last_that_needs_it() {
    let mut bench = Bench::new();
    bench.connect(10);
    let probes = [bench.attach("same", true).await, bench.attach("same", false).await];
    bench.fake.written();
    probes[0].lock().unwrap().done = true;
    let _ = bench.poll();
    assert!(bench.fake.written().is_empty());
    probes[1].lock().unwrap().done = true;
    let _ = bench.poll();
    assert_eq!(bench.fake.written(), [Written::Unsubscribe(vec!["same".into()], 3)]);
}

#[tokio::test]
async fn a_kept_session_gives_up_what_nobody_needs_any_more() {
    let mut bench = Bench::new();
    bench.connect(10);
    let gone = bench.attach("gone", true).await;
    let _stays = bench.attach("stays", true).await;
    bench.happens(Event::Disconnected);
    gone.lock().unwrap().done = true;
    let _ = bench.poll();
    bench.fake.written();
    let session_present = true;
    bench.happens(Event::Connected(Connection { session_present, ..fake::connection(1) }));
    let written = bench.fake.written();
    assert_eq!(written[0], Written::Subscribe(vec!["stays".into()], 3));
    assert_eq!(written[1], Written::Unsubscribe(vec!["gone".into()], 4));
}

/// The server may not have seen an UNSUBSCRIBE that it has not acknowledged.
#[tokio::test]
async fn a_subscription_is_given_up_until_the_server_says_so() {
    let mut bench = Bench::new();
    bench.connect(10);
    let gone = bench.attach("gone", false).await;
    gone.lock().unwrap().done = true;
    let _ = bench.poll();
    let unsubscribe = |id| [Written::Unsubscribe(vec!["gone".into()], id)];
    assert_eq!(bench.fake.written()[1..], unsubscribe(2));
    let reconnect = |bench: &mut Bench| {
        bench.happens(Event::Disconnected);
        let session_present = true;
        bench.happens(Event::Connected(Connection { session_present, ..fake::connection(1) }));
        bench.fake.written()
    };
    assert_eq!(reconnect(&mut bench), unsubscribe(3));
    assert_eq!(reconnect(&mut bench), unsubscribe(4));
    bench.happens(Event::Subscribed(4, vec![ReasonCode::SUCCESS]));
    assert_eq!(reconnect(&mut bench), []);
}

#[tokio::test]
async fn pump_takes_events_without_polling_the_endpoints() {
    let mut bench = Bench::new();
    let probe = bench.attach("a", true).await;
    bench.connect(1);
    bench.suback(1);
    publish(&probe, &["x", "y"]);
    let _ = bench.poll();
    publish(&probe, &["z"]);
    bench.fake.written();
    bench.fake.push(Event::Message(message("m"), Some(9)));
    bench.fake.push(Event::Acknowledged(2, ReasonCode::SUCCESS.into()));
    bench.driver.pump();
    let [acknowledge, Written::Publish(topic, _)] = &bench.fake.written()[..] else {
        panic!("a PUBACK and what had to wait")
    };
    assert_eq!((acknowledge, topic.as_str()), (&Written::Acknowledge(9), "y"));
    assert_eq!(probe.lock().unwrap().publish, ["z"], "its handles have to wait");
}

#[tokio::test]
async fn the_end_is_told_to_every_endpoint_once() {
    for pumped in [false, true] {
        let mut bench = Bench::new();
        let probe = bench.attach("a", true).await;
        bench.connect(1);
        seen(&probe);
        bench.fake.push(Event::Closed);
        if pumped {
            bench.driver.pump();
        }
        assert!(bench.poll().is_ready());
        drop(bench.driver);
        assert_eq!(seen(&probe), ["disconnected", "closed"]);
    }
    let mut bench = Bench::new();
    let probe = bench.attach("a", true).await;
    bench.link.close();
    assert!(bench.poll().is_ready());
    assert_eq!(seen(&probe), ["closed"]);
    let probe = bench.link.attach(Box::new(Probe {
        notes: Shared::default(),
        filter: "b",
        requester: true,
    }));
    assert!(probe.await.is_err(), "it takes nobody in any more");
}

#[tokio::test]
async fn it_ends_with_the_last_handle_and_the_last_endpoint() {
    let mut bench = Bench::new();
    let probe = bench.attach("a", true).await;
    let (other, _) = fake::link(OutgoingLimits::default());
    drop(std::mem::replace(&mut bench.link, other));
    assert!(bench.poll().is_pending(), "an endpoint is left");
    probe.lock().unwrap().done = true;
    assert!(bench.poll().is_ready());
    assert_eq!(bench.fake.written(), [Written::Disconnect]);
}

#[tokio::test(start_paused = true)]
async fn it_wakes_at_the_earliest_deadline_even_when_it_moves() {
    let mut bench = Bench::new();
    let probe = bench.attach("a", true).await;
    let start = tokio::time::Instant::now();
    // Later, earlier than that, and later again when that has passed.
    for (first, moved) in [(500, 100), (300, 400), (900, 600)] {
        let at = |millis| start + Duration::from_millis(millis);
        probe.lock().unwrap().deadline = Some(at(first).into_std());
        assert!(bench.poll().is_pending());
        probe.lock().unwrap().deadline = Some(at(moved).into_std());
        std::future::poll_fn(|cx| {
            assert!(bench.driver.poll(cx).is_pending());
            if tokio::time::Instant::now() >= at(moved) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        assert!(start.elapsed() <= Duration::from_millis(moved + 1), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_busy_connection_yields() {
    let mut bench = Bench::new();
    let probe = bench.attach("a", true).await;
    bench.connect(1);
    for _ in 0..2 * EVENTS_PER_TURN {
        bench.fake.push(Event::Message(message("m"), None));
    }
    seen(&probe);
    let _ = bench.poll();
    assert_eq!(seen(&probe).len(), EVENTS_PER_TURN);
    let _ = bench.poll();
    assert_eq!(seen(&probe).len(), EVENTS_PER_TURN);
}
