//! What came of a request to call a device.

/// For who [counts](super::metrics) such requests: an extension of their responses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The product that was called, where the path does not say it and the request got so far.
    pub(super) product: Option<Box<str>>,
    /// One of a few words: `ok`, `device_error`, `unauthorized`, `invalid`, `too_many`, or the code of
    /// another [problem](super::problem).
    pub(super) result: &'static str,
}
