//! What `cargo test` and editors pass to every test program: for those that have their own `main`.

use clap::Args;

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option")]
pub(crate) struct Harness {
    #[arg(hide = true)]
    filters: Vec<String>,
    #[arg(long, hide = true)]
    skip: Vec<String>,
    #[arg(long, hide = true)]
    list: bool,
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

impl Harness {
    /// Whether a program that is one test of this name is to run it. Otherwise says why not.
    pub(crate) fn runs(&self, name: &str) -> bool {
        if self.list {
            println!("{name}: test");
        } else if self.is_filtered_out(name) {
            println!("{name}: filtered out");
        } else {
            return true;
        }
        false
    }

    fn is_filtered_out(&self, name: &str) -> bool {
        let means = |filter: &String| name.contains(filter.as_str());
        let chosen = self.filters.is_empty() || self.filters.iter().any(means);
        !chosen || self.skip.iter().any(means) || (self.ignored && !self.include_ignored)
    }
}
