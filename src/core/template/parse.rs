//! From the text of a template to its levels.

use super::{Affix, Level, MAX_CAPTURES, split_level};
use crate::core::topic::TopicError;

/// Why a text is no topic template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The text around the captures is not part of a topic name.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// A `{` without `}` in the same level, or a `}` without `{`.
    #[error("the braces in the level `{level}` are not in pairs")]
    UnclosedBrace {
        /// The level as written.
        level: String,
    },
    /// A level has more than one capture, so that the border between them would be a guess.
    #[error("the level `{level}` has more than one capture")]
    TwoCaptures {
        /// The level as written.
        level: String,
    },
    /// The braces are empty.
    #[error("the capture in the level `{level}` has no name")]
    EmptyName {
        /// The level as written.
        level: String,
    },
    /// A name has characters other than `A`-`Z`, `a`-`z`, `0`-`9` and `_`.
    #[error("the capture name `{name}` has characters other than letters, digits and `_`")]
    InvalidName {
        /// The name as written.
        name: String,
    },
    /// Two captures have the same name.
    #[error("the capture name `{name}` is used twice")]
    DuplicateName {
        /// The name as written.
        name: String,
    },
    /// A `{name*}` is not the whole last level.
    #[error("the capture `{name}*` must be the whole last level")]
    RestNotLast {
        /// The name as written, without the `*`.
        name: String,
    },
    /// The first level starts with `$` and has a capture. Such topics match no filter with a
    /// wildcard in their first level [MQTT-4.7.2-1], so it would never be received.
    #[error("the level `{level}` starts with `$` and must not have a capture")]
    ReservedCapture {
        /// The level as written.
        level: String,
    },
    /// There are more than [`MAX_CAPTURES`] captures.
    #[error("a template has at most 8 captures")]
    TooManyCaptures,
}

pub(super) fn levels(text: &str) -> Result<Vec<Level>, TemplateError> {
    let mut levels = Vec::new();
    let mut rest = Some(text);
    while let Some(tail) = rest {
        let (text, next) = split_level(tail);
        let level = parse_level(text)?;
        match &level {
            Level::Rest { name } if next.is_some() => {
                return Err(TemplateError::RestNotLast { name: name.to_string() });
            }
            Level::Capture { .. } if levels.is_empty() && text.starts_with('$') => {
                return Err(TemplateError::ReservedCapture { level: text.to_owned() });
            }
            _ => {}
        }
        levels.push(level);
        rest = next;
    }
    check_names(&levels)?;
    Ok(levels)
}

fn parse_level(level: &str) -> Result<Level, TemplateError> {
    let owned = || level.to_owned();
    let unpaired = || Err(TemplateError::UnclosedBrace { level: level.to_owned() });
    let Some((prefix, tail)) = level.split_once('{') else {
        return if level.contains('}') { unpaired() } else { Ok(Level::Literal(level.into())) };
    };
    let Some((name, suffix)) = tail.split_once('}') else { return unpaired() };
    if suffix.contains('{') {
        return Err(TemplateError::TwoCaptures { level: owned() });
    }
    if prefix.contains('}') || name.contains('{') || suffix.contains('}') {
        return unpaired();
    }
    let (name, is_rest) = name.strip_suffix('*').map_or((name, false), |name| (name, true));
    if name.is_empty() {
        return Err(TemplateError::EmptyName { level: owned() });
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(TemplateError::InvalidName { name: name.to_owned() });
    }
    match is_rest {
        true if prefix.is_empty() && suffix.is_empty() => Ok(Level::Rest { name: name.into() }),
        true => Err(TemplateError::RestNotLast { name: name.to_owned() }),
        false => Ok(Level::Capture {
            name: name.into(),
            affix: Affix { prefix: prefix.into(), suffix: suffix.into() },
        }),
    }
}

fn check_names(levels: &[Level]) -> Result<(), TemplateError> {
    let mut names = Vec::with_capacity(MAX_CAPTURES);
    for name in levels.iter().filter_map(Level::name) {
        if names.contains(&name) {
            return Err(TemplateError::DuplicateName { name: name.to_owned() });
        }
        if names.len() == MAX_CAPTURES {
            return Err(TemplateError::TooManyCaptures);
        }
        names.push(name);
    }
    Ok(())
}
