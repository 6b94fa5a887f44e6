use super::*;
use crate::hub::{Hub, Identity};

const MINUTE: Duration = Duration::from_mins(1);

/// A client of a real hub, as what it says of others is made by it alone.
async fn client(name: &str, client_id: &str) -> ClientInfo {
    let hub = Hub::builder().start().await.unwrap();
    let link = hub.link(client_id);
    assert!(link.connected().await);
    let mut info = hub.presence().0.remove(0);
    info.identity = Identity::new(name);
    info.keep_alive = MINUTE;
    info
}

fn find(table: &Table, now: Instant, device: &str) -> Whereabouts {
    table.find("a1", device, || now)
}

#[tokio::test]
async fn a_device_is_there_until_it_leaves() {
    let lamp = client("a1/lamp", "a1&lamp|ext=1|").await;
    let (mut table, now) = (Table::of(std::slice::from_ref(&lamp)), Instant::now());
    assert_eq!(find(&table, now, "lamp"), Whereabouts::Connected { since: lamp.since, ext: true });
    assert_eq!(find(&table, now, "other"), Whereabouts::Absent);
    assert_eq!(table.connected().collect::<Vec<_>>(), [("a1", "lamp", lamp.since)]);
    assert_eq!(table.count(), 1);
    table.leave(&ClientInfo { has_left: true, ..lamp }, now);
    assert_eq!(find(&table, now, "lamp"), Whereabouts::Absent);
    assert!(table.present.products.is_empty() && table.lost.products.is_empty());
}

#[tokio::test]
async fn a_device_that_is_lost_may_be_back_within_a_keep_alive() {
    let lamp = client("a1/lamp", "lamp").await;
    let (mut table, now) = (Table::of(std::slice::from_ref(&lamp)), Instant::now());
    table.leave(&lamp, now);
    let almost = now + Duration::from_secs(59);
    assert_eq!(find(&table, almost, "lamp"), Whereabouts::JustLost);
    assert_eq!(find(&table, now + MINUTE, "lamp"), Whereabouts::Absent);
    table.arrive(&lamp);
    let there = Whereabouts::Connected { since: lamp.since, ext: false };
    assert_eq!(find(&table, almost, "lamp"), there);
    table.leave(&ClientInfo { has_left: true, ..lamp.clone() }, now);
    assert_eq!(find(&table, almost, "lamp"), Whereabouts::Absent, "its loss is forgotten");

    let unwatched = ClientInfo { keep_alive: Duration::ZERO, ..lamp };
    table.arrive(&unwatched);
    table.leave(&unwatched, now);
    assert_eq!(find(&table, now, "lamp"), Whereabouts::Absent);
    assert!(table.lost.products.is_empty());
}

#[tokio::test]
async fn of_several_connections_the_last_one_counts() {
    let first = client("a1/lamp", "lamp|ext=1,timestamp=1|").await;
    let second = client("a1/lamp", "lamp|timestamp=2|").await;
    let (now, both) = (Instant::now(), [second.clone(), first.clone()]);
    let mut table = Table::of(&both);
    let there = |info: &ClientInfo, ext| Whereabouts::Connected { since: info.since, ext };
    assert_eq!(find(&table, now, "lamp"), there(&second, false));
    table.leave(&second, now);
    assert_eq!(find(&table, now, "lamp"), there(&first, true));
    table.arrive(&second);
    table.leave(&first, now);
    assert_eq!(find(&table, now, "lamp"), there(&second, false));
    // Its end is heard after the beginning of the next with the same client identifier.
    let again = ClientInfo { since: second.since + MINUTE, ..second.clone() };
    table.arrive(&again);
    table.leave(&second, now);
    assert_eq!(find(&table, now, "lamp"), there(&again, false));
}

#[tokio::test]
async fn what_was_missed_is_made_up_for() {
    let (lamp, oven) = (client("a1/lamp", "lamp").await, client("a1/oven", "oven").await);
    let (mut table, now) = (Table::of(&[lamp]), Instant::now());
    table.replace(std::slice::from_ref(&oven), now);
    assert_eq!(find(&table, now, "lamp"), Whereabouts::JustLost);
    assert!(matches!(find(&table, now, "oven"), Whereabouts::Connected { .. }));
}

#[tokio::test]
async fn who_is_no_device_is_not_listed() {
    let mut table = Table::default();
    for name in ["key:LTAI/x", "gateway", "a/b/c", "/a"] {
        let other = client(name, "x").await;
        table.arrive(&other);
        table.leave(&other, Instant::now());
    }
    assert!(table.present.products.is_empty() && table.lost.products.is_empty());
}

#[tokio::test]
async fn so_many_lost_devices_are_remembered_and_no_more() {
    let info = client("a1/lamp", "lamp").await;
    let (mut table, now) = (Table::default(), Instant::now());
    let lost = |table: &mut Table, number: usize, now| {
        let lamp = ClientInfo { identity: Identity::new(format!("a1/{number}")), ..info.clone() };
        table.arrive(&lamp);
        table.leave(&lamp, now);
    };
    for number in 0..=LOST {
        lost(&mut table, number, now);
    }
    assert_eq!(find(&table, now, "0"), Whereabouts::Absent, "the first is forgotten");
    assert_eq!(find(&table, now, "1"), Whereabouts::JustLost);
    assert_eq!(table.lost.count, LOST);
    // One that comes and goes takes one place.
    for _ in 0..3 * LOST {
        lost(&mut table, LOST, now);
        assert!(table.order.len() <= 2 * LOST);
    }
    assert_eq!(table.lost.count, LOST);
    assert_eq!(find(&table, now, "1"), Whereabouts::JustLost);
    assert_eq!(find(&table, now, &LOST.to_string()), Whereabouts::JustLost);
    lost(&mut table, 7, now + MINUTE);
    assert_eq!(table.order.len(), 1, "those whose time is over are forgotten");
    assert_eq!((table.lost.count, table.lost.products["a1"].len()), (1, 1));
}
