//! What passes untouched.

use crate::common::raw::{commands, rows};
use crate::common::twin::stage;

#[test]
fn harness_twins_begin_equal() {
    let cluster = crate::common::cluster::cluster();
    for sql in ["select * from projects order by id", "table portfolios", "select 'projects'::regclass::oid"]
    {
        assert_eq!(cluster.direct("direct").query(sql), cluster.direct("proxied").query(sql));
    }
}

#[test]
fn simple_and_extended_queries_pass() {
    let stage = stage();
    let mut twin = stage.twin();
    let reply = twin.query("select id, body from notes order by id");
    assert_eq!(rows(&reply), [["1", "hello"], ["2", "world"], ["3", "NULL"]]);
    let reply = twin.extended("select body from notes where id = $1", &["2"]);
    assert_eq!(rows(&reply), [["world"]]);
    assert_eq!(commands(&twin.query("update notes set body = 'x' where id = 9")), ["UPDATE 0"]);
}
