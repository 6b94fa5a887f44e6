//! Topics, filters and templates by number.

use tower_mqtt::core::template::TopicTemplate;
use tower_mqtt::core::topic::TopicFilter;

/// Topics that the filter and the template with the same number match, and no other.
pub(crate) fn topics(len: usize) -> Vec<String> {
    (0..len).map(|n| format!("kitchens/{n}/recipes/soup/get")).collect()
}

pub(crate) fn filter(n: usize) -> TopicFilter {
    TopicFilter::new(format!("kitchens/{n}/recipes/+/get")).expect("it is a filter")
}

pub(crate) fn template(n: usize) -> TopicTemplate {
    let text = format!("kitchens/{n}/recipes/{{category}}/get");
    TopicTemplate::new(text).expect("it is a template")
}

/// The numbers below `len`, which is a power of ten, each once before any comes again, in an order
/// that no cache foresees.
pub(crate) fn scattered(len: usize) -> impl FnMut() -> usize {
    // It shares no factor with a power of ten, so its multiples are all numbers below one.
    const STRIDE: usize = 618_033_989;
    let mut at = 0;
    move || {
        at = (at + STRIDE) % len;
        at
    }
}
