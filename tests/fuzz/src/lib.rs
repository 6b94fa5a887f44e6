//! What is done with an input: every target has one function, `run`, which panics when something is
//! wrong. The fuzzer calls it, and `tests/corpus.rs` for every input of the corpus.

pub mod config;
pub mod dialects;
pub mod http;
pub mod hub;
mod server;
pub mod signatures;
pub mod templates;
pub mod topics;
