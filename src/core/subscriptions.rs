//! Who gets a message: the routing table of a hub.
//!
//! **Not covered by semantic versioning**: it is public for benchmarks and tests, and may change in any
//! release.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::index::TopicIndex;
use super::topic::TopicFilter;

/// What a client asks for with a subscription (MQTT 5 §3.8.3.1). `Q` is the quality of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribeOptions<Q> {
    /// The highest quality of service the client wants.
    pub qos: Q,
    /// Whether the client does not want what it published itself [MQTT-3.8.3-3].
    pub no_local: bool,
}

/// One copy of a message, for one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient<C, Q> {
    /// Who gets it.
    pub client: C,
    /// The highest quality of service that the client's subscriptions allow.
    pub qos: Q,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Routed {
    /// How many copies were due: one for each client and one for each share group that matched.
    /// Zero means that nobody is subscribed.
    pub matched: usize,
    /// How many of them were accepted. Zero, with `matched` above zero, means that nobody could
    /// take the message.
    pub delivered: usize,
    /// Whether the publisher is subscribed itself, not only in a share group, and was spared its own
    /// copy.
    pub spared: bool,
}

/// What a filter counts for in [`Subscriptions::bytes_of`]: its bytes, the share name included, and 32 for
/// each level, which is a place of its own in the table, and one more that a search may have to look at.
///
/// ```
/// use tower_mqtt::core::{subscriptions::bytes, topic::TopicFilter};
///
/// assert_eq!(bytes(&TopicFilter::new("recipes/+")?), 9 + 2 * 32);
/// # Ok::<(), tower_mqtt::core::topic::TopicError>(())
/// ```
pub fn bytes(filter: &TopicFilter) -> usize {
    filter.as_str().len() + 32 * filter.levels().count()
}

/// The subscriptions of all clients of a hub.
///
/// `C` is the key of a client, `Q` the quality of service. Routing takes `&self` only, so that the
/// threads of a hub can route at the same time.
///
/// There is no limit on subscriptions here: [`count_of`](Self::count_of), [`bytes_of`](Self::bytes_of) and
/// [`TopicFilter::levels`] are there for a hub to set one for each client.
///
/// ```
/// use tower_mqtt::core::subscriptions::{SubscribeOptions, Subscriptions};
/// use tower_mqtt::core::topic::TopicFilter;
///
/// let mut subscriptions = Subscriptions::new();
/// let options = SubscribeOptions { qos: 1, no_local: false };
/// subscriptions.subscribe("oven", &TopicFilter::new("recipes/#")?, options);
/// for cook in ["anna", "ben"] {
///     subscriptions.subscribe(cook, &TopicFilter::new("$share/kitchen/recipes/+")?, options);
/// }
///
/// let mut out = Vec::new();
/// let routed = subscriptions.route("recipes/soup", None, &mut out);
/// assert_eq!((routed.matched, routed.delivered), (2, 2));
/// assert_eq!((out[0].client, out[1].client), ("oven", "anna"));
/// # Ok::<(), tower_mqtt::core::topic::TopicError>(())
/// ```
#[derive(Debug)]
pub struct Subscriptions<C, Q> {
    index: TopicIndex<Box<Entry<C, Q>>>,
    clients: HashMap<C, Filters>,
    len: usize,
}

/// The filters of one client.
#[derive(Debug, Default)]
struct Filters {
    set: HashSet<TopicFilter>,
    /// Of all of them.
    bytes: usize,
}

impl<C: Copy + Eq + Hash, Q: Copy + Ord> Subscriptions<C, Q> {
    /// A table without subscriptions.
    pub fn new() -> Self {
        Self { index: TopicIndex::new(), clients: HashMap::new(), len: 0 }
    }

    /// The number of subscriptions: pairs of a client and a filter.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no subscriptions.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Subscribes a client. A second subscription of the client to the same filter replaces the
    /// first [MQTT-3.8.4-3]; the options it had are given back.
    ///
    /// The same filter with another share name, or with none, is another filter.
    pub fn subscribe(
        &mut self,
        client: C,
        filter: &TopicFilter,
        options: SubscribeOptions<Q>,
    ) -> Option<SubscribeOptions<Q>> {
        let entry = self.index.get_or_insert_with(filter, Box::default);
        let replaced = entry.members(filter.share_name()).insert(client, options);
        if replaced.is_none() {
            self.len += 1;
            let filters = self.clients.entry(client).or_default();
            filters.set.insert(filter.clone());
            filters.bytes += bytes(filter);
        }
        replaced
    }

    /// Ends a subscription. Returns whether there was one.
    pub fn unsubscribe(&mut self, client: C, filter: &TopicFilter) -> bool {
        let Some(filters) = self.clients.get_mut(&client) else { return false };
        if !filters.set.remove(filter) {
            return false;
        }
        filters.bytes -= bytes(filter);
        if filters.set.is_empty() {
            self.forget(client);
        }
        self.detach(client, filter);
        true
    }

    /// Ends all subscriptions of a client, at a cost that depends on those alone.
    pub fn remove_client(&mut self, client: C) {
        for filter in self.forget(client).unwrap_or_default().set {
            self.detach(client, &filter);
        }
    }

    /// The filters a client is subscribed to, in no particular order.
    pub fn filters_of(&self, client: C) -> impl Iterator<Item = &TopicFilter> {
        self.clients.get(&client).into_iter().flat_map(|filters| &filters.set)
    }

    /// Whether a client is subscribed to exactly this filter.
    pub fn contains(&self, client: C, filter: &TopicFilter) -> bool {
        self.clients.get(&client).is_some_and(|filters| filters.set.contains(filter))
    }

    /// The number of filters a client is subscribed to.
    pub fn count_of(&self, client: C) -> usize {
        self.clients.get(&client).map_or(0, |filters| filters.set.len())
    }

    /// The [`bytes()`] of the filters a client is subscribed to.
    pub fn bytes_of(&self, client: C) -> usize {
        self.clients.get(&client).map_or(0, |filters| filters.bytes)
    }

    /// Finds who gets a message that `publisher` sent to `topic`, and appends it to `out`. The
    /// publisher is `None` for a message of the hub itself.
    ///
    /// See [`route_with`](Self::route_with); here every client accepts.
    pub fn route(
        &self,
        topic: &str,
        publisher: Option<C>,
        out: &mut Vec<Recipient<C, Q>>,
    ) -> Routed {
        self.route_with(topic, publisher, || false, out, |_| true)
    }

    /// Finds who gets a message among the clients that `accepts` lets through, and appends it
    /// to `out`.
    ///
    /// First comes one delivery for each client with matching filters of its own, with the
    /// highest quality of service among them [MQTT-3.3.4-2]. Then comes one for each matching
    /// share group, to the next member in turn; members that do not accept are passed over.
    /// Groups differ by share name and by filter. A client in a group may get a copy of its own as
    /// well.
    ///
    /// Subscriptions with `no_local` do not match what their client published, and with `not_itself` no
    /// subscription does. `not_itself` is asked only when the publisher would get its own message, so
    /// that it costs other messages nothing.
    ///
    /// Each `true` from `accepts` becomes exactly one delivery, so that it may reserve a place in
    /// the client's queue. It is asked once for each copy, or for a group until one accepts.
    pub fn route_with(
        &self,
        topic: &str,
        publisher: Option<C>,
        not_itself: impl Fn() -> bool,
        out: &mut Vec<Recipient<C, Q>>,
        mut accepts: impl FnMut(C) -> bool,
    ) -> Routed {
        let from = Publisher { client: publisher, not_itself, spared: Cell::new(false) };
        let start = out.len();
        let mut groups = Vec::new();
        let mut overlap = Overlap::default();
        self.index.find_all(topic, |entry| {
            overlap.add(&entry.own, &from, start, out);
            groups.extend(entry.groups.values());
        });
        let spared = from.spared.get();
        let mut matched = out.len() - start;
        out.extract_if(start.., |delivery| !accepts(delivery.client)).for_each(drop);
        for group in groups {
            matched += usize::from(group.members.wants(&from).next().is_some());
            out.extend(group.next(&from, &mut accepts));
        }
        Routed { matched, delivered: out.len() - start, spared }
    }

    /// Takes a client out of the table of clients, but not yet out of the index.
    fn forget(&mut self, client: C) -> Option<Filters> {
        let filters = self.clients.remove(&client);
        if self.clients.len() * 4 < self.clients.capacity() {
            self.clients.shrink_to(self.clients.len() * 2);
        }
        filters
    }

    /// Takes a subscription out of the index.
    fn detach(&mut self, client: C, filter: &TopicFilter) {
        self.index.remove_if(filter, |entry| {
            entry.remove(filter.share_name(), client);
            entry.own.is_empty() && entry.groups.is_empty()
        });
        self.len -= 1;
    }
}

impl<C: Copy + Eq + Hash, Q: Copy + Ord> Default for Subscriptions<C, Q> {
    fn default() -> Self {
        Self::new()
    }
}

/// Who is subscribed to one filter.
#[derive(Debug)]
struct Entry<C, Q> {
    own: Members<C, Q>,
    groups: HashMap<Box<str>, Group<C, Q>>,
}

impl<C: Copy + Eq + Hash, Q: Copy> Entry<C, Q> {
    fn members(&mut self, share_name: Option<&str>) -> &mut Members<C, Q> {
        match share_name {
            None => &mut self.own,
            Some(name) => &mut self.groups.entry(name.into()).or_default().members,
        }
    }

    fn remove(&mut self, share_name: Option<&str>, client: C) {
        let Some(name) = share_name else { return self.own.remove(client) };
        let Some(group) = self.groups.get_mut(name) else { return };
        group.members.remove(client);
        if group.members.is_empty() {
            self.groups.remove(name);
        }
    }
}

impl<C, Q> Default for Entry<C, Q> {
    fn default() -> Self {
        Self { own: Members::default(), groups: HashMap::new() }
    }
}

/// Clients with their options: in a list for routing, and with their places for the rest.
#[derive(Debug)]
struct Members<C, Q> {
    list: Vec<(C, SubscribeOptions<Q>)>,
    places: HashMap<C, usize>,
}

impl<C: Copy + Eq + Hash, Q: Copy> Members<C, Q> {
    fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn insert(&mut self, client: C, options: SubscribeOptions<Q>) -> Option<SubscribeOptions<Q>> {
        let place = *self.places.entry(client).or_insert(self.list.len());
        if let Some((_, old)) = self.list.get_mut(place) {
            return Some(std::mem::replace(old, options));
        }
        self.list.push((client, options));
        None
    }

    fn remove(&mut self, client: C) {
        let Some(place) = self.places.remove(&client) else { return };
        self.list.swap_remove(place);
        if let Some((moved, _)) = self.list.get(place) {
            self.places.insert(*moved, place);
        }
        if self.list.len() * 4 < self.list.capacity() {
            self.list.shrink_to(self.list.len() * 2);
            self.places.shrink_to(self.list.len() * 2);
        }
    }

    /// The members that want a message of this publisher.
    fn wants<S: Fn() -> bool>(
        &self,
        from: &Publisher<C, S>,
    ) -> impl Iterator<Item = Recipient<C, Q>> {
        self.list.iter().filter_map(|member| from.recipient(member))
    }
}

impl<C, Q> Default for Members<C, Q> {
    fn default() -> Self {
        Self { list: Vec::new(), places: HashMap::new() }
    }
}

/// Who published a message.
struct Publisher<C, S> {
    client: Option<C>,
    /// Whether it is spared its own copy whatever it subscribed with.
    not_itself: S,
    spared: Cell<bool>,
}

impl<C: Copy + Eq, S: Fn() -> bool> Publisher<C, S> {
    /// The member as a recipient, unless it is the publisher and is spared.
    fn recipient<Q: Copy>(
        &self,
        &(client, options): &(C, SubscribeOptions<Q>),
    ) -> Option<Recipient<C, Q>> {
        let itself = self.client == Some(client);
        // [MQTT-3.8.3-3]
        if itself && (options.no_local || (self.not_itself)()) {
            self.spared.set(true);
            return None;
        }
        Some(Recipient { client, qos: options.qos })
    }
}

/// The members of a shared subscription, who take turns.
#[derive(Debug)]
struct Group<C, Q> {
    members: Members<C, Q>,
    turn: AtomicUsize,
}

impl<C: Copy + Eq, Q: Copy> Group<C, Q> {
    fn next<S: Fn() -> bool>(
        &self,
        from: &Publisher<C, S>,
        accepts: &mut impl FnMut(C) -> bool,
    ) -> Option<Recipient<C, Q>> {
        let list = &self.members.list;
        // Threads that route at the same time start at different members. The order of anything
        // else does not depend on this counter.
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        for passed in 0..list.len() {
            let member = &list[first.wrapping_add(passed) % list.len()];
            let Some(delivery) = from.recipient(member) else { continue };
            if accepts(delivery.client) {
                self.turn.fetch_add(passed, Ordering::Relaxed);
                return Some(delivery);
            }
        }
        None
    }
}

impl<C, Q> Default for Group<C, Q> {
    fn default() -> Self {
        Self { members: Members::default(), turn: AtomicUsize::new(0) }
    }
}

/// Merges the deliveries to a client whose filters overlap. The first matching filter has each
/// client once, so nothing is looked up until a second one matches.
struct Overlap<C> {
    places: HashMap<C, usize>,
}

impl<C: Copy + Eq + Hash> Overlap<C> {
    fn add<Q: Copy + Ord, S: Fn() -> bool>(
        &mut self,
        members: &Members<C, Q>,
        from: &Publisher<C, S>,
        start: usize,
        out: &mut Vec<Recipient<C, Q>>,
    ) {
        if members.is_empty() {
            return;
        }
        if out.len() == start {
            out.extend(members.wants(from));
            return;
        }
        if self.places.is_empty() {
            self.places.extend((start..out.len()).map(|place| (out[place].client, place)));
        }
        for delivery in members.wants(from) {
            let place = *self.places.entry(delivery.client).or_insert(out.len());
            match out.get_mut(place) {
                Some(first) => first.qos = first.qos.max(delivery.qos), // [MQTT-3.3.4-2]
                None => out.push(delivery),
            }
        }
    }
}

impl<C> Default for Overlap<C> {
    fn default() -> Self {
        Self { places: HashMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Table = Subscriptions<u8, u8>;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::new(text).unwrap()
    }

    fn qos(qos: u8) -> SubscribeOptions<u8> {
        SubscribeOptions { qos, no_local: false }
    }

    fn not_own(qos: u8) -> SubscribeOptions<u8> {
        SubscribeOptions { qos, no_local: true }
    }

    fn routed(table: &Table, topic: &str, publisher: Option<u8>) -> Vec<(u8, u8)> {
        let mut out = Vec::new();
        table.route(topic, publisher, &mut out);
        out.iter().map(|delivery| (delivery.client, delivery.qos)).collect()
    }

    #[test]
    fn overlapping_filters_give_one_delivery_with_the_highest_qos() {
        let mut table = Table::new();
        for (text, level) in [("a/#", 0), ("a/+", 2), ("a/b", 1)] {
            table.subscribe(1, &filter(text), qos(level));
        }
        assert_eq!(routed(&table, "a/b", None), [(1, 2)]);
        assert_eq!(routed(&table, "a", None), [(1, 0)]);
    }

    #[test]
    fn a_second_subscription_replaces_the_first() {
        let mut table = Table::new();
        assert_eq!(table.subscribe(1, &filter("a"), qos(2)), None);
        assert_eq!(table.subscribe(1, &filter("a"), not_own(0)), Some(qos(2)));
        assert_eq!((table.len(), table.count_of(1), table.bytes_of(1)), (1, 1, 33));
        assert_eq!(routed(&table, "a", None), [(1, 0)]);
        assert_eq!(table.subscribe(1, &filter("$share/g/a"), qos(1)), None);
        assert_eq!(routed(&table, "a", None), [(1, 0), (1, 1)]);
        assert_eq!(table.bytes_of(1), "a".len() + "$share/g/a".len() + 64);
        assert!(table.unsubscribe(1, &filter("a")) && !table.unsubscribe(1, &filter("a")));
        assert_eq!(routed(&table, "a", None), [(1, 1)]);
        assert_eq!(table.bytes_of(1), "$share/g/a".len() + 32);
        assert!(table.unsubscribe(1, &filter("$share/g/a")));
        assert!(table.is_empty() && table.index.is_empty() && table.clients.is_empty());
    }

    #[test]
    fn threads_can_route_at_the_same_time() {
        let mut table = Table::new();
        for client in 0..4 {
            table.subscribe(client, &filter("$share/g/a"), qos(0));
        }
        let turns = || (0..100).flat_map(|_| routed(&table, "a", None)).collect::<Vec<_>>();
        let mut all = std::thread::scope(|scope| {
            let other = scope.spawn(turns);
            [turns(), other.join().unwrap()].concat()
        });
        all.sort_unstable();
        assert!(all.chunks(50).all(|turns| turns.iter().all(|turn| *turn == turns[0])));
    }

    #[test]
    fn a_publisher_that_is_spared_gets_no_copy_whatever_it_subscribed_with() {
        let mut table = Table::new();
        for text in ["#", "a", "$share/g/a"] {
            table.subscribe(1, &filter(text), qos(1));
        }
        table.subscribe(2, &filter("$share/g/a"), qos(0));
        for _ in 0..2 {
            let mut out = Vec::new();
            let routed = table.route_with("a", Some(1), || true, &mut out, |_| true);
            assert_eq!(routed, Routed { matched: 1, delivered: 1, spared: true });
            assert_eq!(out, [Recipient { client: 2, qos: 0 }]);
        }
        let asked = || -> bool { panic!("nobody gets what it published itself") };
        table.route_with("b/c", Some(2), asked, &mut Vec::new(), |_| true);
    }

    #[test]
    fn no_local_counts_for_its_own_subscription_only() {
        let mut table = Table::new();
        table.subscribe(1, &filter("a"), not_own(2));
        let nobody_else = Routed { spared: true, ..Routed::default() };
        assert_eq!(table.route("a", Some(1), &mut Vec::new()), nobody_else);
        assert_eq!(routed(&table, "a", Some(2)), [(1, 2)]);
        table.subscribe(1, &filter("+"), qos(0));
        assert_eq!(routed(&table, "a", Some(1)), [(1, 0)]);
        assert_eq!(routed(&table, "a", Some(2)), [(1, 2)]);
    }

    #[test]
    fn members_of_a_group_take_turns() {
        let mut table = Table::new();
        for client in 0..3 {
            table.subscribe(client, &filter("$share/g/a"), qos(0));
        }
        let turns: Vec<_> = (0..6).flat_map(|_| routed(&table, "a", None)).map(|d| d.0).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn groups_differ_by_name_and_by_filter() {
        let mut table = Table::new();
        for text in ["$share/g/a", "$share/h/a", "$share/g/+"] {
            table.subscribe(1, &filter(text), qos(0));
            table.subscribe(2, &filter(text), qos(0));
        }
        let mut out = Vec::new();
        let routed = table.route("a", None, &mut out);
        assert_eq!((routed.matched, routed.delivered, out.len()), (3, 3, 3));
    }

    #[test]
    fn a_refusal_is_told_from_nobody() {
        let mut table = Table::new();
        let mut out = vec![Recipient { client: 9, qos: 0 }];
        assert_eq!(table.route("a", None, &mut out), Routed::default());
        for client in 0..3 {
            table.subscribe(client, &filter("$share/g/a"), qos(0));
        }
        table.subscribe(7, &filter("a"), qos(0));
        let none = table.route_with("a", None, || false, &mut out, |_| false);
        assert_eq!(none, Routed { matched: 2, ..Routed::default() });
        let one = table.route_with("a", None, || false, &mut out, |client| client == 2);
        assert_eq!(one, Routed { matched: 2, delivered: 1, spared: false });
        assert_eq!(out.iter().map(|delivery| delivery.client).collect::<Vec<_>>(), [9, 2]);
    }

    #[test]
    fn a_crowd_leaves_nothing_behind() {
        let mut table = Subscriptions::<u32, u8>::new();
        for client in 0..2_000 {
            table.subscribe(client, &filter("all"), qos(0));
            table.subscribe(client, &filter("$share/g/all"), qos(0));
            table.subscribe(client, &filter(&format!("clients/{client}/#")), qos(0));
        }
        for client in 1..2_000 {
            table.remove_client(client);
        }
        assert_eq!((table.len(), table.filters_of(0).count()), (3, 3));
        assert!(table.index.get(&filter("all")).unwrap().own.list.capacity() < 16);
        assert!(table.clients.capacity() < 16);
        table.remove_client(0);
        assert!(table.is_empty() && table.index.is_empty() && table.clients.is_empty());
    }

    #[derive(Clone, Debug)]
    enum Action {
        Subscribe(u8, TopicFilter, SubscribeOptions<u8>),
        Unsubscribe(u8, TopicFilter),
        Remove(u8),
        Route(String, Option<u8>, bool, u8),
    }

    fn any_filter() -> impl Strategy<Value = TopicFilter> {
        r"(\$share/[gh]/)?([ab]|\+)(/([ab]|\+)){0,1}(/#)?".prop_map(|text| filter(&text))
    }

    fn action() -> impl Strategy<Value = Action> {
        let options =
            (0..3u8, any::<bool>()).prop_map(|(qos, no_local)| SubscribeOptions { qos, no_local });
        let publisher = proptest::option::of(0..4u8);
        prop_oneof![
            6 => (0..4u8, any_filter(), options).prop_map(|(c, f, o)| Action::Subscribe(c, f, o)),
            2 => (0..4u8, any_filter()).prop_map(|(c, f)| Action::Unsubscribe(c, f)),
            1 => (0..4u8).prop_map(Action::Remove),
            4 => ("[ab](/[ab]){0,2}", publisher, any::<bool>(), any::<u8>())
                .prop_map(|(t, p, s, a)| Action::Route(t, p, s, a)),
        ]
    }

    type Model = Vec<(u8, TopicFilter, SubscribeOptions<u8>)>;

    /// Routes through table and model. The bits of `accepting` say which clients accept.
    fn compare(
        table: &Table,
        model: &Model,
        topic: &str,
        publisher: Option<u8>,
        not_itself: bool,
        accepting: u8,
    ) -> Result<(), TestCaseError> {
        let accepts = |client: u8| accepting >> client & 1 == 1;
        let mut own = BTreeMap::<u8, u8>::new();
        let mut groups = BTreeMap::<&TopicFilter, Vec<u8>>::new();
        let mut spared = false;
        for (client, filter, options) in model {
            if !filter.matches(topic) {
                continue;
            }
            if publisher == Some(*client) && (options.no_local || not_itself) {
                spared |= filter.share_name().is_none();
                continue;
            }
            if filter.share_name().is_some() {
                groups.entry(filter).or_default().push(*client);
            } else {
                let qos = own.entry(*client).or_default();
                *qos = options.qos.max(*qos);
            }
        }
        let matched = own.len() + groups.len();
        own.retain(|client, _| accepts(*client));
        groups.retain(|_, members| members.iter().any(|client| accepts(*client)));

        let (mut out, mut accepted) = (Vec::new(), 0);
        let routed = table.route_with(
            topic,
            publisher,
            || not_itself,
            &mut out,
            |client| {
                accepted += usize::from(accepts(client));
                accepts(client)
            },
        );
        let delivered = own.len() + groups.len();
        prop_assert_eq!(routed, Routed { matched, delivered, spared });
        prop_assert_eq!((out.len(), accepted), (delivered, delivered));
        let to_groups = out.split_off(own.len());
        prop_assert_eq!(out.iter().map(|d| (d.client, d.qos)).collect::<BTreeMap<_, _>>(), own);
        for delivery in to_groups {
            let of = |members: &Vec<u8>| members.contains(&delivery.client);
            prop_assert!(accepts(delivery.client) && groups.values().any(of));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn agrees_with_a_list(actions in proptest::collection::vec(action(), 0..80)) {
            let (mut table, mut model) = (Table::new(), Model::new());
            for action in actions {
                match action {
                    Action::Subscribe(client, filter, options) => {
                        let at = model.iter().position(|(c, f, _)| (*c, f) == (client, &filter));
                        let old = at.map(|at| model.swap_remove(at).2);
                        prop_assert_eq!(table.subscribe(client, &filter, options), old);
                        model.push((client, filter, options));
                    }
                    Action::Unsubscribe(client, filter) => {
                        let before = model.len();
                        model.retain(|(c, f, _)| (*c, f) != (client, &filter));
                        prop_assert_eq!(table.unsubscribe(client, &filter), model.len() < before);
                    }
                    Action::Remove(client) => {
                        table.remove_client(client);
                        model.retain(|(c, ..)| *c != client);
                    }
                    Action::Route(topic, publisher, not_itself, accepting) => {
                        compare(&table, &model, &topic, publisher, not_itself, accepting)?;
                    }
                }
                prop_assert_eq!(table.len(), model.len());
            }
            for client in 0..4 {
                let filters: HashSet<_> = table.filters_of(client).collect();
                let expected = model.iter().filter(|(c, ..)| *c == client).map(|(_, f, _)| f);
                prop_assert_eq!(filters, expected.collect());
                table.remove_client(client);
            }
            prop_assert!(table.is_empty() && table.index.is_empty() && table.clients.is_empty());
        }

        #[test]
        fn turns_are_fair_among_those_who_accept(members in 1..8u8, accepting in 1..=255u8, rounds in 1..5usize) {
            let mut table = Table::new();
            for client in 0..members {
                table.subscribe(client, &filter("$share/g/a"), qos(0));
            }
            let accepts = |client: u8| accepting >> client & 1 == 1;
            let able: Vec<_> = (0..members).filter(|client| accepts(*client)).collect();
            let mut out = Vec::new();
            for _ in 0..rounds * able.len() {
                table.route_with("a", None, || false, &mut out, accepts);
            }
            for client in able {
                prop_assert_eq!(out.iter().filter(|d| d.client == client).count(), rounds);
            }
        }
    }
}
