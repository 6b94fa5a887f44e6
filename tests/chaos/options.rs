//! The command line.

use std::net::SocketAddr;

use clap::Parser;

/// Faults by a seeded schedule, and what must be true all the same.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option")]
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

    // What `cargo test` and editors pass to every test program.
    #[arg(hide = true)]
    filters: Vec<String>,
    #[arg(long, hide = true)]
    skip: Vec<String>,
    #[arg(long, hide = true)]
    pub(crate) list: bool,
    #[arg(long, hide = true)]
    exact: bool,
    #[arg(long, hide = true)]
    nocapture: bool,
    #[arg(long, hide = true)]
    show_output: bool,
    #[arg(long, short, hide = true)]
    quiet: bool,
    #[arg(long, hide = true)]
    ignored: bool,
    #[arg(long, hide = true)]
    include_ignored: bool,
    #[arg(long, hide = true)]
    test_threads: Option<usize>,
    #[arg(long, hide = true)]
    color: Option<String>,
    #[arg(long, hide = true)]
    format: Option<String>,
}

impl Options {
    pub(crate) fn child(&self) -> Option<(String, SocketAddr)> {
        Some((self.answer_as.clone()?, self.at?))
    }

    /// As a test of the name `chaos` would be.
    pub(crate) fn is_filtered_out(&self) -> bool {
        let means = |filter: &String| "chaos".contains(filter.as_str());
        let chosen = self.filters.is_empty() || self.filters.iter().any(means);
        !chosen || self.skip.iter().any(means) || (self.ignored && !self.include_ignored)
    }
}
