//! Sequences that once got another reply through the proxy, as short as they could be made.

use super::script::{Msg, Step};

/// What went wrong, and the sequence. Each runs on both proxies.
pub fn found() -> Vec<(&'static str, Vec<Step>)> {
    let wrong = |values: usize, formats: Vec<u16>| Msg::Bind {
        portal: String::new(),
        statement: "s".into(),
        formats,
        values: vec![Some(b"1".to_vec()); values],
        results: vec![],
    };
    let update = Msg::Parse("s".into(), "UPDATE projects SET name = $2 WHERE id = $1".into(), vec![]);
    let execute = Msg::Execute(String::new(), 0);
    vec![
        (
            "what follows a checked write that the server refuses waited for ever",
            vec![
                query("SELECT name FROM projects WHERE id = 1"),
                query("UPDATE projects SET name = 'a', name = 'b' WHERE id = 1"),
                query("SELECT name FROM projects WHERE id = 1"),
            ],
        ),
        (
            "a Bind of too few values in a failed transaction found another error, and cost its statement the rewrite",
            vec![
                Step::Send(vec![update.clone(), Msg::Sync]),
                Step::Send(vec![wrong(1, vec![]), Msg::Sync]),
                Step::Send(vec![wrong(3, vec![]), Msg::Sync]),
                Step::Send(vec![wrong(2, vec![]), execute, Msg::Sync]),
                query("BEGIN; SELECT 1 / 0"),
                Step::Send(vec![wrong(1, vec![]), Msg::Sync]),
            ],
        ),
        (
            "parameter formats of a wrong number were accepted",
            vec![
                Step::Send(vec![update, wrong(2, vec![0, 0, 0]), Msg::Sync]),
                Step::Send(vec![wrong(3, vec![0, 0]), Msg::Sync]),
            ],
        ),
    ]
}

fn query(sql: &str) -> Step {
    Step::Send(vec![Msg::Query(sql.into())])
}
