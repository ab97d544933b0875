//! Precedence, every error, and the reference pages.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::keys::keys;
use super::load::{Given, Loaded};
use super::tables::{BUILT_IN, TABLE_KEYS};
use super::value::Raw;
use super::*;
use crate::catalog::{CurrentState, ExplicitPredicate, Mode, OnDeleted, VersionType};

mod entries;

/// Loads from flags, variables and a file's text. The file's path in errors is written as `FILE`.
fn load_from(
    flags: &[(&'static str, &str)],
    variables: &[(&str, &str)],
    file: Option<&str>,
) -> Result<Loaded, String> {
    let mut config = tempfile::NamedTempFile::new().unwrap();
    config.write_all(file.unwrap_or_default().as_bytes()).unwrap();
    let given = Given {
        config: file.map(|_| config.path().to_owned()),
        values: flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
    };
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load(&given, variables)
        .map_err(|error| error.to_string().replace(&config.path().display().to_string(), "FILE"))
}

fn file(text: &str) -> Result<Settings, String> {
    load_from(&[], &[], Some(text)).map(|loaded| loaded.settings)
}

#[test]
fn flags_over_environment_over_file_over_defaults() {
    let flag = [("connect_timeout", "4s")];
    let variable = [("STALEGUARD_CONNECT_TIMEOUT", "3s")];
    let text = "connect_timeout = '2s'";
    let table: &[(&[_], &[_], Option<&str>, u64)] = &[
        (&[], &[], None, 5),
        (&[], &[], Some(text), 2),
        (&[], &variable, None, 3),
        (&[], &variable, Some(text), 3),
        (&flag, &[], Some(text), 4),
        (&flag, &variable, Some(text), 4),
    ];
    for (flags, variables, file, seconds) in table {
        let loaded = load_from(flags, variables, *file).unwrap();
        assert_eq!(
            loaded.settings.connect_timeout,
            Duration::from_secs(*seconds),
            "{flags:?} {variables:?} {file:?}"
        );
    }
    let loaded = load_from(&flag, &variable, Some(text)).unwrap();
    assert_eq!(loaded.given["connect_timeout"].1, Origin::Flag("--connect-timeout".to_owned()));
}

/// A value other than the default for each setting, as flags and variables give it.
const OTHER: &[(&str, &str)] = &[
    ("listen", "0.0.0.0:1,[::]:0"),
    ("unix_socket_permissions", "0770"),
    ("upstream", "db.internal:5433"),
    ("http", "[::1]:0"),
    ("environment", "staging"),
    ("workers", "33"),
    ("connect_timeout", "250ms"),
    ("own_message_timeout", "1m 30s"),
    ("probe_interval", "1s"),
    ("mode", "off"),
    ("blind", "reject"),
    ("guard_max_rows", "50"),
    ("on_unparsed", "reject"),
    ("observations.max_rows_per_connection", "7"),
    ("observations.max_bytes_per_connection", "1GiB"),
    ("observations.ttl", "12h"),
    ("observations.conflict_hold", "0s"),
    ("conflict.sqlstate", "OL409"),
    ("conflict.lasting_sqlstate", "OL410"),
    ("conflict.retry_window", "90s"),
    ("metrics.max_users", "0"),
    ("log.format", "human"),
    ("log.level", "warn,staleguard::session=trace"),
    ("catalog.max_age", "0s"),
    ("scope", "transaction"),
    ("scope_exceptions", "application_name=worker-*:transaction,role=batch:transaction"),
    ("context.label", "comment:user,setting:App.User_Id,application_name,role,lookup:app.users.id"),
    ("context.unit", "setting:app.request_id,comment:request"),
    ("context.sticky", "true"),
    ("context.reads", "earliest"),
    ("context.after_conflict", "told"),
    ("context.learn_from", "route=GET *,action=show"),
    ("context.ttl", "168h"),
    ("context.max_rows_per_context", "9"),
    ("context.max_bytes_per_context", "1MiB"),
    ("context.max_bytes", "1GiB"),
    ("context.snapshot", "/var/lib/staleguard/contexts.jsonl"),
    ("context.store", "redis://store.internal:6380/2"),
    ("context.store_timeout", "20ms"),
    ("context.store_prefix", "app.blue-1"),
    ("tls.client", "allow"),
    ("tls.certificate", "/etc/staleguard/proxy.pem"),
    ("tls.key", "/etc/staleguard/proxy.key"),
    ("tls.client_ca", "/etc/staleguard/clients.pem"),
    ("tls.client_certificates", "required"),
    ("tls.min_version", "1.3"),
    ("tls.handshake_timeout", "500ms"),
    ("tls.server", "verify-full"),
    ("tls.server_ca", "/etc/ssl/certs/ca-certificates.crt"),
    ("tls.server_certificate", "/etc/staleguard/client.pem"),
    ("tls.server_key", "/etc/staleguard/client.key"),
    ("tls.server_name", "db.internal"),
    ("tls.server_negotiation", "direct"),
    ("auth.mode", "proxy"),
    ("auth.users", "/etc/staleguard/users.txt"),
    ("auth.query", "select usename, passwd from pg_shadow where usename = $1"),
    ("auth.query_user", "staleguard"),
    ("auth.query_database", "postgres"),
];

#[test]
fn every_setting_can_be_given_in_every_way() {
    assert_eq!(OTHER.iter().map(|(n, _)| *n).collect::<Vec<_>>(), keys().map(|k| k.name).collect::<Vec<_>>());
    for key in keys() {
        let value = OTHER.iter().find(|(name, _)| *name == key.name).unwrap().1;
        let by_flag = load_from(&[(key.name, value)], &[], None).unwrap().settings;
        let by_variable = load_from(&[], &[(&key.variable(), value)], None).unwrap().settings;
        let by_file = file(&format!("{} = {value:?}", key.name)).unwrap();
        assert_ne!(by_flag, Settings::default(), "{}", key.name);
        assert_eq!(by_flag, by_variable, "{}", key.name);
        assert_eq!(by_flag, by_file, "{}", key.name);
    }
}

#[test]
fn native_values_of_the_file() {
    let text = "listen = ['127.0.0.1:1', '[::1]:2']\nworkers = 3\n[conflict]\nsqlstate = 40002\n\
                [observations]\nmax_bytes_per_connection = 4096\n";
    let settings = file(text).unwrap();
    assert_eq!(settings.listen.len(), 2);
    assert_eq!(settings.workers, 3);
    assert_eq!(settings.conflict.sqlstate, "40002");
    assert_eq!(settings.observations.max_bytes_per_connection, 4096);
    let upstream = file("upstream = '[::1]:5432'").unwrap().upstream.unwrap();
    assert_eq!(upstream.to_string(), "[::1]:5432");
    assert_eq!(upstream, HostPort { host: "::1".to_owned(), port: 5432 }.into());
}

#[test]
fn defaults_are_what_the_table_of_settings_says() {
    let mut settings = Settings::default();
    for key in keys().filter(|key| !key.default.starts_with('(')) {
        (key.set)(&mut settings, &Raw::Text(key.default.to_owned())).expect(key.name);
        assert_eq!(settings, Settings::default(), "{}", key.name);
    }
    assert_eq!(settings.tables.len(), 13);
    let mut table = tables::defaults("public".to_owned(), "projects".to_owned(), TableDefaults::default());
    for key in TABLE_KEYS.iter().filter(|key| !key.default.starts_with(['(', '['])) {
        (key.set)(&mut table, &Raw::Text(key.default.to_owned())).expect(key.name);
        assert_eq!(table, *settings.tables[2], "{}", key.name);
    }
}

#[test]
fn a_wrong_value_names_key_value_allowed_and_origin() {
    // (setting, wrong values): each tried as a flag, a variable and in the file.
    let table: &[(&str, &[&str])] = &[
        ("listen", &["", "6442", "localhost:6442", "127.0.0.1", "127.0.0.1:1,127.0.0.1:1", "127.0.0.1:1,"]),
        ("unix_socket_permissions", &["", "0077", "0788", "01777", "rwx"]),
        (
            "upstream",
            &[
                "/run:0",
                "run/pg:1",
                "",
                "db",
                "db:",
                ":5432",
                "db:0",
                "db:65536",
                "::1:5432",
                "[::1:5432",
                "[db]:1",
                "a b:1",
            ],
        ),
        ("http", &["9642", "localhost:9642", "off"]),
        ("environment", &["", " ", "a\tb"]),
        ("workers", &["0", "-1", "1025", "many", "1.5"]),
        ("connect_timeout", &["5", "0s", "-1s", "2h", "5 parsecs", ""]),
        ("own_message_timeout", &["0s", "soon"]),
        ("probe_interval", &["0s", "2"]),
        ("mode", &["", "on", "Enforce", "none"]),
        ("blind", &["", "deny", "true"]),
        ("guard_max_rows", &["0", "100001", "all"]),
        ("on_unparsed", &["", "allow", "refuse"]),
        ("observations.max_rows_per_connection", &["0", "x", "100000001"]),
        ("observations.max_bytes_per_connection", &["1023", "1KB", "MiB", "65GiB", "99999999999999999999"]),
        ("observations.ttl", &["0s", "25h"]),
        ("observations.conflict_hold", &["-1s", "60"]),
        ("conflict.sqlstate", &["4000", "400011", "4000a", "4000-", "00000", "01000", "02000", ""]),
        ("conflict.lasting_sqlstate", &["4000", "00000", "ol409"]),
        ("conflict.retry_window", &["0s", "25h", "300"]),
        ("metrics.max_users", &["-1", "10001", "all"]),
        ("log.format", &["JSON", "text"]),
        (
            "log.level",
            &["loud", "warning", "info,debug", "info,other=debug", "info,staleguard::session=loud"],
        ),
        ("catalog.max_age", &["5", "2h"]),
        ("scope", &["", "session", "Connection", "user"]),
        (
            "scope_exceptions",
            &[
                "worker:connection",
                "application_name=worker",
                "user=x:connection",
                "role=x:all",
                "role=x:connection,role=x:connection",
                ",",
            ],
        ),
        (
            "context.label",
            &[
                "user",
                "comment:",
                "comment",
                "lookup:users",
                "lookup:.id",
                "lookup:a.",
                "guc:x",
                "role,role",
                "role,",
            ],
        ),
        ("context.unit", &["traceparent", "role", "lookup:users.id", "setting:", "comment:a,comment:a"]),
        ("context.sticky", &["", "yes", "1"]),
        ("context.reads", &["", "newest", "Latest"]),
        ("context.after_conflict", &["", "retry", "Told"]),
        ("context.learn_from", &["route", "=x", "a=b,a=b"]),
        ("context.ttl", &["0s", "169h", "3600"]),
        ("context.max_rows_per_context", &["0", "100000001", "all"]),
        ("context.max_bytes_per_context", &["1023", "65GiB", "1MB"]),
        ("context.max_bytes", &["1023", "1025GiB", ""]),
        // Whether the path can be written the proxy finds out when it stops.
        ("context.snapshot", &[]),
        ("context.store", &["", "remote", "store:6379", "rediss://store", "redis://", "redis://store/x"]),
        ("context.store_timeout", &["0ms", "11s", "50"]),
        ("context.store_prefix", &["", "a b", "a:b", "ä"]),
        ("tls.client", &["", "on", "prefer"]),
        // Whether a file can be read is found out when it is read.
        ("tls.certificate", &[]),
        ("tls.key", &[]),
        ("tls.client_ca", &[]),
        ("tls.client_certificates", &["", "none", "true"]),
        ("tls.min_version", &["", "1.1", "TLSv1.2"]),
        ("tls.handshake_timeout", &["0s", "2h", "5"]),
        ("tls.server", &["", "allow", "verify"]),
        ("tls.server_ca", &[]),
        ("tls.server_certificate", &[]),
        ("tls.server_key", &[]),
        ("tls.server_name", &[" "]),
        ("tls.server_negotiation", &["", "ssl"]),
        ("auth.mode", &["", "md5", "pass"]),
        ("auth.users", &[]),
        ("auth.query", &[" "]),
        ("auth.query_user", &[" "]),
        ("auth.query_database", &[" "]),
    ];
    assert_eq!(table.iter().map(|(n, _)| *n).collect::<Vec<_>>(), keys().map(|k| k.name).collect::<Vec<_>>());
    for (name, wrong) in table {
        let key = keys().find(|key| key.name == *name).unwrap();
        for value in *wrong {
            let errors = [
                (format!("from the flag --{}", key.flag()), load_from(&[(key.name, value)], &[], None)),
                (
                    format!("from the environment variable {}", key.variable()),
                    load_from(&[], &[(&key.variable(), value)], None),
                ),
                ("from FILE line 2".to_owned(), load_from(&[], &[], Some(&format!("\n{name} = {value:?}")))),
            ];
            for (origin, outcome) in errors {
                let expected =
                    format!("{name} = {value:?} ({origin}) is not allowed: expected {}", key.allowed);
                assert_eq!(outcome.unwrap_err(), expected);
            }
        }
    }
}

#[test]
fn lists_of_scopes_can_be_empty() {
    for name in ["scope_exceptions", "context.label", "context.unit", "context.learn_from"] {
        let key = keys().find(|key| key.name == name).unwrap();
        let by_flag = load_from(&[(key.name, "")], &[], None).unwrap().settings;
        assert_eq!(by_flag, load_from(&[], &[(&key.variable(), " ")], None).unwrap().settings, "{name}");
        assert_eq!(by_flag, file(&format!("{name} = []")).unwrap(), "{name}");
        let lists = &by_flag.scopes;
        assert_eq!(lists.unit.is_empty(), name == "context.unit");
        assert!(lists.exceptions.is_empty() && lists.label.is_empty() && lists.learn_from.is_empty());
    }
}

#[test]
fn settings_that_do_not_go_together_are_named_both() {
    let needs = "scope context needs what tells one context from another: comment:KEY";
    let room = "all contexts together must be allowed as many bytes as one";
    for (text, expected) in [
        (
            "scope = 'context'",
            format!(
                "context.label = (none) (built in) does not go with scope = \"context\" (from FILE line 1): {needs}"
            ),
        ),
        (
            "scope_exceptions = ['role=web:context']\n[context]\nlabel = []",
            format!(
                "context.label = [] (from FILE line 3) does not go with scope_exceptions = [\"role=web:context\"] (from FILE line 1): {needs}"
            ),
        ),
        (
            "context.max_bytes = '1MiB'",
            format!(
                "context.max_bytes = \"1MiB\" (from FILE line 1) does not go with context.max_bytes_per_context = 4MiB (built in): {room}"
            ),
        ),
        (
            "context.max_bytes_per_context = '1GiB'",
            format!(
                "context.max_bytes = 256MiB (built in) does not go with context.max_bytes_per_context = \"1GiB\" (from FILE line 1): {room}"
            ),
        ),
    ] {
        let error = file(text).unwrap_err();
        assert!(error.starts_with(&expected), "{text}\n{error}\n{expected}");
    }
    assert!(file("scope = 'context'\ncontext.label = 'role'").is_ok());
    assert!(file("context.max_bytes = '4MiB'").is_ok());
}

#[test]
fn errors_of_the_file() {
    let table = [
        (
            "upstraem = 'db:1'",
            "unknown setting upstraem (from FILE line 1): there is listen, unix_socket_permissions, ",
        ),
        (
            "\n\n[conflict]\n\nsql = '1'",
            "unknown setting conflict.sql (from FILE line 5): there is conflict.sqlstate",
        ),
        ("[cache]\nx = 1", "unknown setting cache (from FILE line 1): there is "),
        (
            "conflict = 5",
            "conflict = 5 (from FILE line 1) is not allowed: expected a section with conflict.sqlstate",
        ),
        ("[workers]\nn = 1", "workers = {..} (from FILE line 1) is not allowed: expected an integer"),
        ("workers = 1.5", "workers = 1.5 (from FILE line 1) is not allowed: expected an integer"),
        ("workers = true", "workers = true (from FILE line 1) is not allowed: expected an integer"),
        ("connect_timeout = 5", "connect_timeout = 5 (from FILE line 1) is not allowed: expected a duration"),
        ("listen = []", "listen = [] (from FILE line 1) is not allowed"),
        ("listen = ['x', 1]", "listen = [\"x\", 1] (from FILE line 1) is not allowed"),
        ("workers = 1\nworkers = 2", "the configuration file FILE is not valid TOML at line 2: "),
        ("workers =", "the configuration file FILE is not valid TOML at line 1: "),
        (
            "upstream = 'postgres://me:secret@db/x'",
            "upstream = \"postgres://***@db/x\" (from FILE line 1) is not allowed: expected HOST:PORT",
        ),
    ];
    for (text, expected) in table {
        let error = file(text).unwrap_err();
        assert!(error.starts_with(expected), "{text}\n{error}");
        assert!(!error.contains("secret"));
    }
}

#[test]
fn a_file_that_cannot_be_read_says_who_named_it() {
    let path = PathBuf::from("/nonexistent/staleguard.toml");
    let given = Given { config: Some(path), values: Vec::new() };
    let error = load(&given, []).unwrap_err().to_string();
    assert!(
        error.starts_with("the configuration file /nonexistent/staleguard.toml (from the flag --config)"),
        "{error}"
    );
    let variables = [("STALEGUARD_CONFIG".to_owned(), "/nonexistent/x".to_owned())];
    let error = load(&Given::default(), variables).unwrap_err().to_string();
    assert!(error.contains("(from the environment variable STALEGUARD_CONFIG) cannot be read"), "{error}");
}

#[test]
fn without_an_upstream_the_error_says_how_to_name_it() {
    let error = Settings::default().upstream().unwrap_err().to_string();
    for word in ["upstream is not set", "HOST:PORT", "--upstream", "STALEGUARD_UPSTREAM", "file"] {
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn unknown_variables_are_warned_about_unless_kubernetes_sets_them() {
    let variables = [
        ("STALEGUARD_UPSTRAEM", "db:1"),
        ("STALEGUARD_PORT", "tcp://10.0.0.1:6442"),
        ("STALEGUARD_PORT_6442_TCP_ADDR", "10.0.0.1"),
        ("STALEGUARD_SERVICE_HOST", "10.0.0.1"),
        ("PATH", "/bin"),
    ];
    let warnings = load_from(&[], &variables, None).unwrap().warnings;
    assert_eq!(warnings, ["the environment variable STALEGUARD_UPSTRAEM is no setting and has no effect"]);
}

const REFERENCE: &str = include_str!("../../docs/configuration.md");
const EXAMPLE: &str = include_str!("../../config/staleguard.toml");

#[test]
fn the_reference_page_has_every_setting() {
    for key in keys() {
        let row = format!("| `{}` | `{}` | `--{}` |", key.name, key.variable(), key.flag());
        let line =
            REFERENCE.lines().find(|line| line.starts_with(&row)).unwrap_or_else(|| panic!("no row {row}"));
        let default = key.default.trim_matches(['(', ')']);
        assert!(line.contains(default), "{line}\nlacks the default {default}");
    }
    for key in TABLE_KEYS {
        let row = format!("| `{}` |", key.name);
        let line =
            REFERENCE.lines().find(|line| line.starts_with(&row)).unwrap_or_else(|| panic!("no row {row}"));
        let default = key.default.trim_matches(['(', ')']);
        assert!(line.contains(default), "{line}\nlacks the default {default}");
    }
}

/// The example file shows every setting; with its comments taken away, what it shows is the defaults.
#[test]
fn the_example_file_shows_every_setting_with_its_default() {
    assert!(file(EXAMPLE).is_ok(), "{:?}", file(EXAMPLE));
    let uncommented: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && !rest.is_empty() => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let loaded = load_from(&[], &[], Some(&uncommented)).unwrap();
    for key in keys() {
        assert!(loaded.given.contains_key(key.name), "{} is not in the example file", key.name);
    }
    let defaults = Settings::default();
    let shown = loaded.settings;
    assert_eq!(shown.tables, defaults.tables);
    let ours = Settings { upstream: shown.upstream.clone(), workers: shown.workers, ..defaults };
    assert_eq!(shown, ours);
    for key in TABLE_KEYS {
        assert!(
            uncommented.lines().any(|line| line.starts_with(&format!("{} = ", key.name))),
            "{}",
            key.name
        );
    }
}
