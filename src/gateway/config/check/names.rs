//! What things can be called.

use crate::gateway::config::error::shown;
use crate::gateway::level::{LONGEST, is_level};

/// What can be a level of a topic, and has none of these as well.
pub(super) fn level(name: &str, forbidden: &[char]) -> Result<(), String> {
    if is_level(name) && !name.contains(forbidden) {
        return Ok(());
    }
    let others = forbidden.iter().fold(String::new(), |text, c| match c {
        ' ' => text + " space",
        c => text + " " + c.encode_utf8(&mut [0; 4]),
    });
    let found = if name.is_empty() { "nothing".to_owned() } else { shown(name) };
    Err(format!(
        "expected 1 to {LONGEST} bytes without / + #{others} and control characters, and not $ \
         first, found {found}"
    ))
}
