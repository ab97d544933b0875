//! Orders of messages and of ends of transactions that a proxy is easily wrong about.

use crate::common::conflict::on_project;
use crate::common::frames::{bind, describe, execute, flush, parse, query, sync};
use crate::common::raw::shape;
use crate::common::twin::{same, stage};

const WRITE: &str = "update projects set name = $1 where id = $2";

/// One cycle of the unnamed statement, with Sync.
fn cycle(sql: &str, values: &[&str]) -> Vec<Vec<u8>> {
    vec![parse("", sql, &[]), bind("", values), describe('P', ""), execute("", 0), sync()]
}

fn both(sides: &mut crate::common::twin::Twin, bytes: &[u8]) {
    sides.direct.send(bytes);
    sides.proxied.send(bytes);
}

#[test]
fn a_write_bound_in_a_cycle_that_has_failed_is_skipped_with_it() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.exchange(&[parse("w", WRITE, &[]), sync()]);
    both(&mut twin, &[parse("", "selec", &[]), flush(), bind("w", &["x", "1"])].concat());
    same(&twin.direct.until('E'), &twin.proxied.until('E'));
    both(&mut twin, &[execute("", 0), sync()].concat());
    same(&twin.direct.until('Z'), &twin.proxied.until('Z'));
    assert_eq!(shape(&twin.query("select 1")), "TDCZ");
    assert_eq!(shape(&twin.exchange(&[bind("w", &["x", "1"]), execute("", 0), sync()])), "2CZ");
}
