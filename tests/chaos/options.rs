//! The command line.

use std::net::SocketAddr;

use clap::Parser;

use super::harness::Harness;

/// Faults by a seeded schedule, and what must be true all the same.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
pub(crate) struct Options {
    /// Runs one seed after the other for so long. Without it: once each.
    #[arg(long)]
    pub(crate) seconds: Option<u64>,
    /// The first seed. Without it: a few fixed ones.
    #[arg(long)]
    pub(crate) seed: Option<u64>,

    /// Is a responder of this pair, for another process of this program.
    #[arg(long, hide = true, requires = "at")]
    answer_as: Option<String>,
    #[arg(long, hide = true)]
    at: Option<SocketAddr>,

    #[command(flatten)]
    pub(crate) harness: Harness,
}

impl Options {
    pub(crate) fn child(&self) -> Option<(String, SocketAddr)> {
        Some((self.answer_as.clone()?, self.at?))
    }
}
