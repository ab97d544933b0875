//! Sequences that once got another reply through the proxy, as short as they could be made.

use super::script::{Msg, Step};

/// What went wrong, and the sequence. Each runs on both proxies.
pub fn found() -> Vec<(&'static str, Vec<Step>)> {
    vec![(
        "what follows a checked write that the server refuses waited for ever",
        vec![
            query("SELECT name FROM projects WHERE id = 1"),
            query("UPDATE projects SET name = 'a', name = 'b' WHERE id = 1"),
            query("SELECT name FROM projects WHERE id = 1"),
        ],
    )]
}

fn query(sql: &str) -> Step {
    Step::Send(vec![Msg::Query(sql.into())])
}
