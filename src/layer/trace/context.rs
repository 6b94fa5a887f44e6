//! W3C Trace Context as user properties.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio::task::futures::TaskLocalFuture;

use crate::core::packet::UserProperties;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// The longest `tracestate` that is passed on: what every implementation must manage (W3C Trace
/// Context §3.3.1.5). A longer one is dropped.
const LONGEST_STATE: usize = 512;

/// `sampled` and `random`; the other bits must be sent as zero (W3C Trace Context §3.2.2.5).
const KNOWN_FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b01;

tokio::task_local! {
    static CURRENT: Option<TraceContext>;
}

/// Which trace an exchange belongs to, and which of its spans it is
/// ([W3C Trace Context](https://www.w3.org/TR/trace-context/)).
///
/// A [`TraceLayer`](super::TraceLayer) puts it into the request's
/// [extensions](crate::message::Parts::extensions), for handlers that carry the trace to elsewhere,
/// such as an HTTP call.
///
/// ```
/// use tower_mqtt::core::packet::UserProperties;
/// use tower_mqtt::layer::trace::TraceContext;
///
/// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let properties: UserProperties = [("traceparent", text)].into_iter().collect();
/// let context = TraceContext::read(&properties).unwrap();
/// assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// assert_eq!(context.traceparent(), text);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
    state: Option<Arc<str>>,
}

impl TraceContext {
    /// The context of the request that this task is handling, under a `TraceLayer`.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok().flatten()
    }

    /// Reads it from the user properties `traceparent` and `tracestate`. `None` when there is no
    /// valid one: absent, malformed, or more than one.
    pub fn read(properties: &UserProperties) -> Option<Self> {
        let mut parents = properties.iter().filter(|(name, _)| *name == TRACEPARENT);
        let (Some((_, parent)), None) = (parents.next(), parents.next()) else { return None };
        let mut context = Self::parse(parent)?;
        let states = properties.iter().filter(|(name, _)| *name == TRACESTATE);
        let state = states.map(|(_, state)| state).collect::<Vec<_>>().join(",");
        context.state = (1..=LONGEST_STATE).contains(&state.len()).then(|| state.into());
        Some(context)
    }

    /// Writes it into the user properties, in place of what is there.
    pub fn write(&self, properties: &mut UserProperties) {
        properties.remove(TRACEPARENT);
        properties.remove(TRACESTATE);
        properties.push(TRACEPARENT, self.traceparent());
        if let Some(state) = &self.state {
            properties.push(TRACESTATE, state.to_string());
        }
    }

    /// The value of `traceparent`.
    pub fn traceparent(&self) -> String {
        let Self { trace_id, span_id, flags, .. } = self;
        format!("00-{}-{}-{flags:02x}", Hex(trace_id), Hex(span_id))
    }

    /// The id of the trace: 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        Hex(&self.trace_id).to_string()
    }

    /// The id of the span: 16 hexadecimal digits.
    pub fn span_id(&self) -> String {
        Hex(&self.span_id).to_string()
    }

    /// What tracing systems tell each other, as it came.
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The first span of a new trace.
    pub(super) fn root() -> Self {
        Self { trace_id: random(), span_id: random(), flags: SAMPLED, state: None }
    }

    /// Another span of the same trace.
    pub(super) fn child(&self) -> Self {
        Self { span_id: random(), ..self.clone() }
    }

    /// W3C Trace Context §3.2.2: `version "-" trace-id "-" parent-id "-" flags`. A later version may
    /// have more behind another dash.
    fn parse(text: &str) -> Option<Self> {
        let (version, rest) = text.split_once('-')?;
        let (trace_id, rest) = rest.split_once('-')?;
        let (span_id, rest) = rest.split_once('-')?;
        let [version] = unhex(version)?;
        let flags = match (version, rest.split_once('-')) {
            (0xff, _) | (0, Some(_)) => return None,
            (_, None) => rest,
            (_, Some((flags, _))) => flags,
        };
        let [flags] = unhex(flags)?;
        let (trace_id, span_id) = (unhex(trace_id)?, unhex(span_id)?);
        let is_valid = trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(Self { trace_id, span_id, flags: flags & KNOWN_FLAGS, state: None })
    }
}

/// Runs `future` as the handling of a request with this context.
pub(super) fn enter<F: Future>(
    context: Option<TraceContext>,
    start: impl FnOnce() -> F,
) -> TaskLocalFuture<Option<TraceContext>, F> {
    let future = CURRENT.sync_scope(context.clone(), start);
    CURRENT.scope(context, future)
}

/// The last bytes of a fresh request id. Never all zero: of 16 bytes the first hold the time, and
/// the last 8 are random, where chance does what it must not once in 10^19.
fn random<const N: usize>() -> [u8; N] {
    loop {
        let id = crate::id::fresh();
        let bytes = id.last_chunk::<N>().expect("an id has 16 bytes");
        if *bytes != [0; N] {
            return *bytes;
        }
    }
}

/// As hexadecimal digits in lower case.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// From hexadecimal digits in lower case, as the standard wants them; exactly `N` bytes.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    if pairs.len() != N {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn properties(pairs: &[(&str, &str)]) -> UserProperties {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn what_the_standard_calls_invalid_is_no_context() {
        for invalid in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(
                TraceContext::read(&properties(&[("traceparent", invalid)])),
                None,
                "{invalid}"
            );
        }
        let twice = properties(&[("traceparent", VALID), ("traceparent", VALID)]);
        assert_eq!(TraceContext::read(&twice), None);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known_and_unknown_flags_are_not_sent_on() {
        let later =
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-f1-what-the-future-brings";
        let context = TraceContext::read(&properties(&[("traceparent", later)])).unwrap();
        assert_eq!(context.traceparent(), VALID);
    }

    #[test]
    fn the_state_is_passed_on_unless_it_is_too_long() {
        let with = |state: &str| {
            let pairs = [("traceparent", VALID), ("tracestate", state), ("tracestate", "b=2")];
            let mut written = UserProperties::new();
            TraceContext::read(&properties(&pairs)).unwrap().child().write(&mut written);
            written.get("tracestate").map(str::to_owned)
        };
        assert_eq!(with("a=1").as_deref(), Some("a=1,b=2"));
        assert_eq!(with(&"x".repeat(512)), None);
    }

    #[test]
    fn a_child_is_another_span_of_the_same_trace() {
        let root = TraceContext::root();
        let child = root.child();
        assert_eq!(child.trace_id(), root.trace_id());
        assert_ne!(child.span_id(), root.span_id());
        assert_ne!(TraceContext::root().trace_id(), root.trace_id());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            trace_id in any::<[u8; 16]>(), span_id in any::<[u8; 8]>(), flags in 0..=3_u8,
        ) {
            prop_assume!(trace_id != [0; 16] && span_id != [0; 8]);
            let context = TraceContext { trace_id, span_id, flags, state: Some("a=1".into()) };
            let mut written = UserProperties::new();
            context.write(&mut written);
            prop_assert_eq!(TraceContext::read(&written), Some(context));
        }

        #[test]
        fn nothing_from_the_wire_panics(text in "\\PC{0,70}") {
            TraceContext::parse(&text);
        }
    }
}
