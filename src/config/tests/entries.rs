//! The tables to protect, and what is said of each.

use super::*;

#[test]
fn tables_can_be_named_in_every_form() {
    let forms = [
        "[tables.projects]\n[tables.\"app.Orders\"]\n",
        "tables = ['projects', 'app.Orders']",
        "tables = 'projects, app.Orders'",
        "[[tables]]\nname = 'public.projects'\n[[tables]]\nname = 'app.Orders'\n",
        "tables = [{ name = 'projects' }, 'app.Orders']",
    ];
    let by_flag = load_from(&[("tables", "projects,app.Orders")], &[], Some("tables = 'users'")).unwrap();
    let by_variable = load_from(&[], &[("STALEGUARD_TABLES", "projects,app.Orders")], None).unwrap();
    assert_eq!(by_flag.settings, by_variable.settings);
    for form in forms {
        let settings = file(form).unwrap();
        assert_eq!(settings.tables, by_flag.settings.tables, "{form}");
    }
    let names: Vec<_> =
        by_flag.settings.tables.iter().map(|t| (t.schema.as_str(), t.name.as_str())).collect();
    assert_eq!(names, [("public", "projects"), ("app", "Orders")]);
}

#[test]
fn every_option_of_a_table() {
    let text = "[tables.companies]\nentity = 'firm'\nversion_column = 'rev'\nversion_type = 'bigint'\nadopt = true\nmode = 'off'\nblind = 'reject'\n\
                check_delete = false\nignored_columns = ['a', 'B']\nfor_update_refreshes = true\non_deleted = 'pass'\nexplicit_predicate = 'error'\ncurrent_state = 'all'\nredact_columns = ['iban']\n";
    let settings = file(text).unwrap();
    assert_eq!(
        *settings.tables[0],
        TableSettings {
            schema: "public".to_owned(),
            name: "companies".to_owned(),
            entity: "firm".to_owned(),
            version_column: "rev".to_owned(),
            version_type: VersionType::Int8,
            adopt: true,
            mode: Mode::Off,
            blind: Blind::Reject,
            check_delete: false,
            ignored_columns: vec!["a".to_owned(), "B".to_owned()],
            for_update_refreshes: true,
            on_deleted: OnDeleted::Pass,
            explicit_predicate: ExplicitPredicate::Error,
            current_state: CurrentState::All,
            redact_columns: vec!["iban".to_owned()],
        }
    );
    assert_eq!(file("[tables.t]\nredact_columns = []").unwrap().tables[0].redact_columns, [""; 0]);
    for (name, is) in [("int2", "int2"), ("smallint", "int2"), ("integer", "int4"), ("int8", "int8")] {
        let settings = file(&format!("[tables.t]\nversion_type = '{name}'")).unwrap();
        assert_eq!(settings.tables[0].version_type.sql_name(), is);
    }
}

#[test]
fn tables_inherit_what_their_entries_do_not_say() {
    let text = "mode = 'off'\nblind = 'reject'\n[tables.a]\n[tables.b]\nmode = 'enforce'\nblind = 'allow'\n";
    let tables = file(text).unwrap().tables;
    assert_eq!(tables.iter().map(|t| t.blind).collect::<Vec<_>>(), [Blind::Reject, Blind::Allow]);
    assert_eq!(tables.iter().map(|t| t.mode).collect::<Vec<_>>(), [Mode::Off, Mode::Enforce]);
    let built_in = load_from(&[("mode", "off")], &[], None).unwrap().settings.tables;
    assert_eq!(built_in.len(), 13);
    assert!(built_in.iter().all(|t| t.mode == Mode::Off));
    let observed = file("mode = 'observe'\n[tables.t]\n[tables.u]\nmode = 'enforce'").unwrap().tables;
    assert_eq!(observed.iter().map(|t| t.mode).collect::<Vec<_>>(), [Mode::Observe, Mode::Enforce]);
}

#[test]
fn entity_types_are_singular() {
    for table in Settings::default().tables.iter() {
        assert!(BUILT_IN.contains(&(table.name.as_str(), table.entity.as_str())));
    }
    let table = [
        ("orders", "order"),
        ("companies", "company"),
        ("address", "address"),
        ("staff", "staff"),
        ("s", "s"),
        ("ties", "tie"),
    ];
    for (name, entity) in table {
        assert_eq!(
            tables::defaults("public".to_owned(), name.to_owned(), TableDefaults::default()).entity,
            entity
        );
    }
}

#[test]
fn errors_of_tables() {
    let table = [
        ("tables = 5", "tables = 5 (from FILE line 1) is not allowed: expected table names"),
        ("tables = []", "tables = [] (from FILE line 1) is not allowed"),
        ("tables = ''", "tables = \"\" (from FILE line 1) is not allowed"),
        ("tables = ['a', 5]", "tables = 5 (from FILE line 1) is not allowed"),
        ("tables = 'a.b.c'", "tables = \"a.b.c\" (from FILE line 1) is not allowed"),
        ("[tables]\nx = 5", "tables.x = 5 (from FILE line 2) is not allowed"),
        (
            "[[tables]]\nadopt = true",
            "tables.name = {..} (from FILE line 1) is not allowed: expected name = ",
        ),
        ("[[tables]]\nname = 5", "tables.name = 5 (from FILE line 2) is not allowed: expected name = "),
        (
            "[tables.a]\n[tables.\"public.a\"]",
            "table public.a is configured twice (from FILE line 2): expected one entry a table",
        ),
        (
            "[tables.app.orders]\nadopt = true",
            "unknown setting tables.app.orders (from FILE line 1): a table of another schema is written with quotes, \
             [tables.\"app.orders\"]",
        ),
        (
            "[tables.a]\nentitty = 'x'",
            "unknown setting tables.a.entitty (from FILE line 2): a table's entry has entity, ",
        ),
        ("[tables.a]\nentity = ''", "tables.a.entity = \"\" (from FILE line 2) is not allowed"),
        ("[tables.a]\nversion_column = 5", "tables.a.version_column = 5 (from FILE line 2) is not allowed"),
        (
            "[tables.a]\nversion_type = 'text'",
            "tables.a.version_type = \"text\" (from FILE line 2) is not allowed: expected int2, int4 or int8 (or",
        ),
        (
            "[tables.a]\nadopt = 'yes'",
            "tables.a.adopt = \"yes\" (from FILE line 2) is not allowed: expected true or false",
        ),
        (
            "[tables.a]\non_deleted = 'x'",
            "tables.a.on_deleted = \"x\" (from FILE line 2) is not allowed: expected conflict",
        ),
        (
            "[tables.a]\nexplicit_predicate = 'x'",
            "tables.a.explicit_predicate = \"x\" (from FILE line 2) is not allowed",
        ),
        (
            "[tables.a]\ncurrent_state = 'x'",
            "tables.a.current_state = \"x\" (from FILE line 2) is not allowed",
        ),
        ("[tables.a]\nredact_columns = 5", "tables.a.redact_columns = 5 (from FILE line 2) is not allowed"),
    ];
    for (text, expected) in table {
        let error = file(text).unwrap_err();
        assert!(error.starts_with(expected), "{text}\n{error}");
    }
    let error = load_from(&[("tables", "a,,b")], &[], None).unwrap_err();
    assert!(error.starts_with("tables = \"\" (from the flag --tables) is not allowed"), "{error}");
}
