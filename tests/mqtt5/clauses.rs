//! How a file says which clauses its tests hold a server to.

/// A test, and the clauses that it is for.
pub(crate) struct Row {
    pub(crate) test: &'static str,
    /// Why mosquitto is not held to it.
    pub(crate) hub_only: Option<&'static str>,
    /// A number or a section, and what it asks for in our words.
    pub(crate) clauses: &'static [(&'static str, &'static str)],
}

/// The table of a file. `both` is for a test of both servers, `hub("why")` for one of the hub alone; the
/// test is an async function of the same name that takes a `&Server`.
macro_rules! clauses {
    ($($servers:ident $(($why:literal))? $test:ident { $($clause:literal: $says:literal,)+ })+) => {
        pub(crate) const ROWS: &[crate::clauses::Row] = &[$(crate::clauses::Row {
            test: concat!(stringify!($test)),
            hub_only: clauses!(@why $($why)?),
            clauses: &[$(($clause, $says)),+],
        }),+];
        $(mod $test { clauses!(@$servers $test); })+
    };
    (@why) => { None };
    (@why $why:literal) => { Some($why) };
    (@both $test:ident) => {
        clauses!(@hub $test);

        #[tokio::test]
        async fn mosquitto() {
            super::$test(&crate::server::Server::mosquitto().await).await;
        }
    };
    (@hub $test:ident) => {
        #[tokio::test]
        async fn hub() {
            super::$test(&crate::server::Server::hub().await).await;
        }
    };
}
