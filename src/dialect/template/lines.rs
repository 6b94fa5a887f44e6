//! The lines of a template: which captures each may have, and must.

use thiserror::Error;

use crate::core::template::{TemplateError, TopicTemplate};

/// What the id is called in a line.
pub(super) const ID: &str = "id";
/// What the status is called in a line.
pub(super) const STATUS: &str = "status";

/// How a scheme writes its topics. A capture has the same name, and the same value, in every line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lines<'a> {
    /// The topic of a [`Request`](crate::Request): who is asked, and for what.
    pub address: &'a str,
    /// The wire topic of a request: every capture of the address, and `{id}`.
    pub request: &'a str,
    /// The wire topic of an answer: captures of the address, `{id}`, and perhaps `{status}`. The same
    /// as the request's where both go to one topic.
    pub response: &'a str,
}

/// Why lines are no scheme.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LineError {
    /// A line is not a template.
    #[error("{line}: {source}")]
    Template {
        /// The line.
        line: Box<str>,
        /// What is wrong with it.
        source: TemplateError,
    },
    /// A line has no place for something that it must have.
    #[error("{line} has no {{{name}}}")]
    Missing {
        /// The line.
        line: Box<str>,
        /// The capture.
        name: Box<str>,
    },
    /// A line has a capture that nothing fills.
    #[error("{line}: nothing fills {{{name}}}")]
    Unknown {
        /// The line.
        line: Box<str>,
        /// The capture.
        name: Box<str>,
    },
}

pub(super) fn parse(line: &str) -> Result<TopicTemplate, LineError> {
    TopicTemplate::new(line).map_err(|source| LineError::Template { line: line.into(), source })
}

/// The address is whatever the other lines make of it, but the id is not a part of it.
pub(super) fn address(line: &str) -> Result<TopicTemplate, LineError> {
    let template = parse(line)?;
    only(&template, |name| name != ID && name != STATUS)?;
    Ok(template)
}

/// A responder must find the whole address in a request, a requester must have all that it writes.
pub(super) fn request(line: &str, address: &TopicTemplate) -> Result<TopicTemplate, LineError> {
    let template = parse(line)?;
    only(&template, |name| name == ID || has(address, name))?;
    for name in address.names().chain([ID]) {
        needs(&template, name)?;
    }
    Ok(template)
}

pub(super) fn response(line: &str, address: &TopicTemplate) -> Result<TopicTemplate, LineError> {
    let template = parse(line)?;
    only(&template, |name| name == ID || name == STATUS || has(address, name))?;
    needs(&template, ID)?;
    Ok(template)
}

pub(super) fn has(template: &TopicTemplate, name: &str) -> bool {
    template.names().any(|known| known == name)
}

fn needs(template: &TopicTemplate, name: &str) -> Result<(), LineError> {
    if has(template, name) {
        return Ok(());
    }
    Err(LineError::Missing { line: template.as_str().into(), name: name.into() })
}

fn only(template: &TopicTemplate, known: impl Fn(&str) -> bool) -> Result<(), LineError> {
    match template.names().find(|name| !known(name)) {
        None => Ok(()),
        Some(name) => Err(LineError::Unknown { line: template.as_str().into(), name: name.into() }),
    }
}
