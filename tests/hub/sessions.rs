//! Sessions: takeover, presence, last wills and keep-alive.

use std::time::{Duration, Instant};

use tower_mqtt::Hub;
use tower_mqtt::hub::{Change, Identity, Presence};

use super::raw::{Connect, Packet, Properties, Raw};
use super::{client, hub, soon};

async fn connected(presence: &mut Presence) -> String {
    match soon(presence.next()).await {
        Some(Change::Connected(info)) => info.client_id.to_string(),
        other => panic!("nobody connected: {other:?}"),
    }
}

async fn disconnected(presence: &mut Presence) -> String {
    match soon(presence.next()).await {
        Some(Change::Disconnected(info)) => info.client_id.to_string(),
        other => panic!("nobody disconnected: {other:?}"),
    }
}

#[tokio::test]
async fn presence_is_a_list_and_what_changes_from_then_on() {
    let (hub, address) = hub(2).await;
    let first = client(address, "first").await;
    let (present, mut presence) = hub.presence();
    let ids: Vec<_> = present.iter().map(|info| &*info.client_id).collect();
    assert_eq!(ids, ["first"]);
    assert!(present[0].peer.is_some_and(|peer| peer.ip().is_loopback()));
    let _second = client(address, "second").await;
    assert_eq!(connected(&mut presence).await, "second");
    drop(first);
    assert_eq!(disconnected(&mut presence).await, "first");
    let link = hub.link("third");
    assert_eq!(connected(&mut presence).await, "third");
    drop(link);
    assert_eq!(disconnected(&mut presence).await, "third");
    soon(hub.shutdown(Duration::from_secs(5))).await;
    assert_eq!(disconnected(&mut presence).await, "second");
    assert!(soon(presence.next()).await.is_none());
}

#[tokio::test]
async fn a_reader_that_is_far_behind_is_told_how_much_it_missed() {
    let (hub, address) = hub(1).await;
    let (_, mut late) = hub.presence();
    let (_, mut presence) = hub.presence();
    for _ in 0..600 {
        let mut brief = client(address, "brief").await;
        connected(&mut presence).await;
        brief.disconnect().await;
        disconnected(&mut presence).await;
    }
    assert_eq!(soon(late.next()).await, Some(Change::Missed(1200 - 1024)));
    assert_eq!(connected(&mut late).await, "brief");
}

#[tokio::test]
async fn a_client_that_connects_again_takes_its_session_over() {
    for workers in [1, 2] {
        let (hub, address) = hub(workers).await;
        let mut old = client(address, "a").await;
        assert_eq!(old.subscribe("t", 1).await, 1);
        let (_, mut presence) = hub.presence();
        // With two workers the second connection lands on the other one.
        let mut new = client(address, "a").await;
        assert_eq!(old.read().await, Some(Packet::Disconnect { reason: 0x8E }));
        assert_eq!(old.read().await, None);
        assert_eq!(disconnected(&mut presence).await, "a");
        assert_eq!(connected(&mut presence).await, "a");
        // The subscriptions of the old one are gone, and the new one can make its own.
        assert_eq!(new.ask("t", b"", &Properties::none()).await, 0x10);
        assert_eq!(new.subscribe("t", 1).await, 1);
        assert_eq!(hub.presence().0.len(), 1);
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_can_be_taken_over() {
    for (workers, version) in [(1, 5), (2, 5), (1, 4)] {
        let (hub, address) = hub(workers).await;
        let connect = Connect::new("deaf").version(version);
        let mut deaf = Raw::connect(address, &connect).await;
        assert_eq!(deaf.subscribe("t", 0).await, 0);
        let mut sender = client(address, "sender").await;
        let payload = vec![0; 512 * 1024];
        while hub.stats().overflowed == 0 {
            sender.ask("t", &payload, &Properties::none()).await;
        }
        let started = Instant::now();
        let mut new = Raw::connect(address, &connect).await;
        assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
        new.ping().await;
        assert_eq!(new.read().await, Some(Packet::PingResp));
        assert_eq!(hub.presence().0.len(), 2);
    }
}

#[tokio::test]
async fn a_session_of_this_process_is_taken_over_only_from_this_process() {
    for workers in [1, 2] {
        let (hub, address) = hub(workers).await;
        let link = hub.link("a");
        assert!(soon(link.connected()).await);
        let (_, connack) = Raw::try_connect(address, &Connect::new("a")).await;
        assert!(matches!(connack, Packet::ConnAck { reason: 0x85, .. }), "{connack:?}");
        assert!(link.is_connected());
        let new = hub.link("a");
        assert!(soon(new.connected()).await);
        soon(link.disconnected()).await;
        assert!(!soon(link.connected()).await);
        assert_eq!(hub.presence().0.len(), 1);
    }
}

#[tokio::test]
async fn of_many_that_take_each_other_over_one_is_left() {
    for workers in [1, 2] {
        let (hub, address) = hub(workers).await;
        let (_, mut presence) = hub.presence();
        let attempts: Vec<_> = (0..50)
            .map(|_| {
                tokio::spawn(async move {
                    let (raw, answer) = Raw::try_connect(address, &Connect::new("a")).await;
                    (raw, matches!(answer, Packet::ConnAck { reason: 0, .. }))
                })
            })
            .collect();
        let mut accepted = Vec::new();
        for attempt in attempts {
            let (raw, ok) = soon(attempt).await.expect("no panic");
            accepted.extend(ok.then_some(raw));
        }
        // The stream alternates: no two sessions of one client at a time.
        let mut here = false;
        let arrivals = accepted.len();
        for _ in 0..2 * arrivals - 1 {
            match soon(presence.next()).await {
                Some(Change::Connected(_)) if !here => here = true,
                Some(Change::Disconnected(_)) if here => here = false,
                other => panic!("out of turn: {other:?}"),
            }
        }
        assert!(here);
        assert_eq!(hub.presence().0.len(), 1);
        // And the client can come back.
        let mut last = client(address, "a").await;
        last.ping().await;
        assert_eq!(last.read().await, Some(Packet::PingResp));
    }
}

#[tokio::test]
async fn a_will_is_published_for_a_client_that_is_lost_and_only_then() {
    for (workers, version) in [(1, 5), (2, 5), (1, 4)] {
        let (_hub, address) = hub(workers).await;
        let mut watcher = client(address, "watcher").await;
        assert_eq!(watcher.subscribe("gone/#", 1).await, 1);
        let connect = |id: &str| {
            Connect::new(id).version(version).will(&format!("gone/{id}"), "lost", 1, false)
        };
        let mut polite = Raw::connect(address, &connect("polite")).await;
        polite.disconnect().await;
        assert_eq!(polite.read().await, None);
        let lost = Raw::connect(address, &connect("lost")).await;
        drop(lost);
        // The polite one's would have come first.
        let will = watcher.message().await;
        assert_eq!((will.topic.as_str(), &will.payload[..]), ("gone/lost", &b"lost"[..]));
        let _old = Raw::connect(address, &connect("again")).await;
        let _new = Raw::connect(address, &connect("again")).await;
        assert_eq!(watcher.message().await.topic, "gone/again");
    }
}

#[tokio::test]
async fn disconnect_with_will_publishes_the_will() {
    let (_hub, address) = hub(1).await;
    let mut watcher = client(address, "watcher").await;
    assert_eq!(watcher.subscribe("gone", 1).await, 1);
    let mut a = Raw::connect(address, &Connect::new("a").will("gone", "a", 1, false)).await;
    a.send(&[0xE0, 1, 0x04]).await;
    assert_eq!(watcher.message().await.payload, b"a");
}

#[tokio::test]
async fn a_silent_client_is_closed_after_one_and_a_half_keep_alives() {
    for version in [5, 4] {
        let (hub, address) = hub(1).await;
        let (_, mut presence) = hub.presence();
        let started = Instant::now();
        let mut silent =
            Raw::connect(address, &Connect::new("silent").version(version).keep_alive(2)).await;
        let _no_keep_alive = Raw::connect(address, &Connect::new("quiet").version(version)).await;
        connected(&mut presence).await;
        connected(&mut presence).await;
        assert_eq!(disconnected(&mut presence).await, "silent");
        let elapsed = started.elapsed();
        assert!((Duration::from_secs(2)..Duration::from_secs(6)).contains(&elapsed), "{elapsed:?}");
        if version == 5 {
            assert_eq!(silent.read().await, Some(Packet::Disconnect { reason: 0x8D }));
        }
        assert_eq!(silent.read().await, None);
    }
}

#[tokio::test]
async fn a_client_that_pings_in_time_stays() {
    let (_hub, address) = hub(1).await;
    let mut a = Raw::connect(address, &Connect::new("a").keep_alive(1)).await;
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(3) {
        a.ping().await;
        assert_eq!(a.read().await, Some(Packet::PingResp));
        let quiet = tokio::time::timeout(Duration::from_millis(500), a.read()).await;
        assert!(quiet.is_err(), "{quiet:?}");
    }
}

/// ntex-mqtt's own answer to keep-alive 0 is to close after half a minute.
#[tokio::test]
async fn keep_alive_zero_is_no_keep_alive() {
    let (hub, address) = hub(1).await;
    let _five = Raw::connect(address, &Connect::new("five")).await;
    let _old = Raw::connect(address, &Connect::new("old").version(4)).await;
    let (_, mut presence) = hub.presence();
    let nobody_left = tokio::time::timeout(Duration::from_secs(34), presence.next()).await;
    assert!(nobody_left.is_err(), "{nobody_left:?}");
}

#[tokio::test]
async fn presence_tells_who_has_said_good_bye_from_who_was_lost() {
    let (hub, address) = hub(1).await;
    let (_, mut presence) = hub.presence();
    for version in [3, 4, 5] {
        for says in [true, false] {
            let connect = Connect::new("a").version(version).keep_alive(30);
            let mut raw = Raw::connect(address, &connect).await;
            assert_eq!(connected(&mut presence).await, "a");
            if says {
                raw.disconnect().await;
            }
            drop(raw);
            match soon(presence.next()).await {
                Some(Change::Disconnected(info)) => {
                    assert_eq!(info.has_left, says, "{version}");
                    assert_eq!(info.keep_alive, Duration::from_secs(30));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn who_was_late_catches_up() {
    let (hub, address) = hub(1).await;
    let (_, mut late) = hub.presence();
    let (_, mut presence) = hub.presence();
    let _stays = client(address, "stays").await;
    assert_eq!(connected(&mut presence).await, "stays");
    for _ in 0..513 {
        drop(client(address, "a").await);
        connected(&mut presence).await;
        disconnected(&mut presence).await;
    }
    assert!(matches!(soon(late.next()).await, Some(Change::Missed(_))));
    let present = late.catch_up();
    assert_eq!(present.iter().map(|info| &*info.client_id).collect::<Vec<_>>(), ["stays"]);
    let _next = client(address, "next").await;
    assert_eq!(connected(&mut late).await, "next", "what was missed is forgotten");
    drop(hub);
    while soon(late.next()).await.is_some() {}
    assert!(late.catch_up().is_empty());
}

/// Whoever is verified keeps the client identifier that it has, and gives it to itself only.
#[tokio::test]
async fn nobody_takes_over_the_session_of_another() {
    let builder = Hub::builder().authenticate(async |credentials| {
        Ok(Identity::new(credentials.username.unwrap_or_default()))
    });
    for workers in [1, 2] {
        let hub = builder.clone().bind("127.0.0.1:0").workers(workers).start().await;
        let hub = hub.expect("started");
        let address = hub.local_addr().expect("bound");
        let by = |user: &str| Connect::new("lamp").credentials(user, "");
        let mut anna = Raw::connect(address, &by("anna")).await;
        for (version, refused) in [(5, 0x85), (4, 2), (3, 2)] {
            let (_, said) = Raw::try_connect(address, &by("bert").version(version)).await;
            assert!(
                matches!(said, Packet::ConnAck { reason, .. } if reason == refused),
                "{said:?}"
            );
        }
        anna.ping().await;
        assert_eq!(anna.read().await, Some(Packet::PingResp));
        let mut again = Raw::connect(address, &by("anna")).await;
        assert_eq!(anna.read().await, Some(Packet::Disconnect { reason: 0x8E }));
        let (_, mut presence) = hub.presence();
        again.disconnect().await;
        assert_eq!(disconnected(&mut presence).await, "lamp");
        Raw::connect(address, &by("bert")).await;
    }
}
