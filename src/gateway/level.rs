//! Names that are one level of a topic: of products, devices, services and gateways.

use crate::core::topic::is_unsafe;

/// Bytes; what the vendors allow is shorter.
pub(crate) const LONGEST: usize = 128;

/// Whether this is one level of a topic, so that nobody reaches beyond it, and not a long one.
pub(crate) fn is_level(text: &str) -> bool {
    let is_wrong = |c: char| matches!(c, '/' | '+' | '#') || is_unsafe(c);
    (1..=LONGEST).contains(&text.len()) && !text.starts_with('$') && !text.contains(is_wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_level() {
        for name in ["d1", "a.b:c_d", "a$", "温度", &"x".repeat(128)] {
            assert!(is_level(name), "{name}");
        }
        for name in [
            "",
            "a/b",
            "+",
            "a#",
            "$a",
            "a\nb",
            "a\0",
            "a\u{FFFF}",
            &"x".repeat(129),
            &"温".repeat(43),
        ] {
            assert!(!is_level(name), "{name:?}");
        }
    }
}
