//! What things can be called.

use crate::core::topic::is_unsafe;
use crate::gateway::config::error::shown;

/// Bytes; what the vendors allow is shorter.
const LONGEST: usize = 128;

/// What can be a level of a topic, so that nobody reaches beyond it, and has none of these as well.
pub(super) fn level(name: &str, forbidden: &[char]) -> Result<(), String> {
    let is_wrong = |c: char| matches!(c, '/' | '+' | '#') || is_unsafe(c) || forbidden.contains(&c);
    if (1..=LONGEST).contains(&name.len()) && !name.starts_with('$') && !name.contains(is_wrong) {
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
