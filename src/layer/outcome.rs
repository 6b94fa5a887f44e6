//! How an exchange ended, in a few words: what traces and metrics tell apart.

use super::Side;
use crate::error::RequestError;
use crate::message::Response;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There was an answer with this status.
    Answered(u16),
    /// There was none; of a small number of reasons.
    Failed(&'static str),
}

/// The call was given up before its end.
pub(super) const CANCELLED: &str = "cancelled";

impl Outcome {
    pub(super) fn of<E: Side>(result: &Result<Response, E>) -> Self {
        match result {
            Ok(response) => Self::Answered(response.status().code()),
            Err(error) => {
                Self::Failed(error.as_request_error().as_ref().map_or("other", RequestError::kind))
            }
        }
    }

    /// Whether nothing came of the request, or something that is not a success.
    pub(super) fn is_error(self) -> bool {
        match self {
            Self::Answered(code) => code >= 400,
            Self::Failed(_) => true,
        }
    }
}
