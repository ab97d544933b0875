//! Settings that change what becomes of a statement: the modes.

use std::io::Write;

use crate::common::conflict::on_project;
use crate::common::proxy::Proxy;
use crate::common::raw::{BOTH, commands};
use crate::common::twin::{Stage, stage, stage_with};

/// A stage whose proxy reads this configuration file.
pub(crate) fn configured(text: &str) -> Stage {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    stage_with(&["--config", file.path().to_str().unwrap()])
}

/// Everything that the proxy counts of the tables that it protects.
fn counted(proxy: &Proxy) -> f64 {
    let names =
        ["staleguard_writes_total", "staleguard_unchecked_writes_total", "staleguard_blind_writes_total"];
    names.iter().map(|name| proxy.metric(name, &[])).sum()
}

#[test]
fn tables_of_mode_off_are_left_alone() {
    let stage = configured("mode = 'off'\n[tables.projects]\n[tables.users]\nmode = 'enforce'\n");
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, "select id, name, version from projects where id = $1", &[id]);
        stage
            .behind()
            .ok(&format!("update projects set version = version + 1, name = 'theirs' where id = {id}"));
        for (sql, values) in [
            ("update projects set name = 'mine' where id = $1", &[id][..]),
            ("update projects set version = 2, name = 'back' where id = $1", &[id]),
            ("update projects set name = 'set' where status = $1", &["open"]),
            ("delete from projects where id = $1 and budget < 0", &[id]),
        ] {
            let reply = mine.say(protocol, sql, values);
            assert_eq!(commands(&reply).len(), 1, "{sql}: {reply:?}");
        }
        assert_eq!(stage.version("projects", &format!("id = {id}")), "2");
        // Nothing hidden is asked for: the server has the client's own text.
        let reply = mine.say(protocol, "select name from projects where id = $1", &[id]);
        assert_eq!(crate::common::raw::rows(&reply), [["set"]]);
    }
    assert_eq!(counted(&stage.proxy), 0.0);
    // The other table is protected all the same.
    let mut mine = stage.session();
    mine.ok("select * from users");
    let key = mine.value("select id from users order by id limit 1");
    stage.other_writes(&format!("update users set email = 'theirs' where id = '{key}'"));
    let reply = mine.query(&format!("update users set email = 'mine' where id = '{key}'"));
    assert_eq!(crate::common::raw::sqlstate(&reply), "40001", "{reply:?}");
    let said = |words: &[&str]| stage.proxy.log().lines().iter().any(|l| words.iter().all(|w| l.contains(w)));
    assert!(said(&["not protected", "public.projects", "\"mode\":\"off\"", "its mode is off"]));
    assert!(said(&["\"protected\"", "public.users", "\"mode\":\"enforce\""]));
}

#[test]
fn mode_off_for_all_tables() {
    let stage = stage_with(&["--mode", "off"]);
    let mut mine = stage.session();
    mine.ok("select * from projects");
    assert_eq!(mine.ok("update projects set name = 'x' where id = 1"), "UPDATE 1");
    assert_eq!(stage.version("projects", "id = 1"), "1");
    assert_eq!(counted(&stage.proxy), 0.0);
    // By default it is on.
    let stage = self::stage();
    let mut mine = stage.session();
    mine.ok("select * from projects");
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    on_project("1", 1, Some(2)).check(&mine.query("update projects set name = 'x' where id = 1"), 'I');
}
