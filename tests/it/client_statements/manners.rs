//! How the clients send a statement: the first time, and again.

use super::table::Value;
use crate::common::frames::{Frame, bind, bind_raw, close, describe, execute, flush, parse, sync};
use crate::common::raw::{Raw, inlined};

/// A text and its values.
pub type Text<'a> = (&'a str, &'a [Value]);

/// A client's way with a statement.
pub struct Manner {
    /// Sends it for the `n`th time in this session (from 0), and reads all replies.
    pub run: fn(&mut Raw, Text<'_>, usize) -> Vec<Frame>,
    /// It takes texts of several statements.
    pub takes_several: bool,
}

impl Manner {
    /// For texts of one statement.
    pub const fn alone(run: fn(&mut Raw, Text<'_>, usize) -> Vec<Frame>) -> Self {
        Self { run, takes_several: false }
    }
}

fn texts(values: &[Value]) -> Vec<String> {
    values.iter().map(|v| v.text()).collect()
}

/// What drivers with typed values send in binary.
fn is_binary(value: &Value) -> bool {
    matches!(value, Value::Int(_) | Value::Count(_) | Value::Uuid(_))
}

/// Bind of text parameters, with these result formats.
fn bind_text(statement: &str, values: &[Value], results: &[u16]) -> Vec<u8> {
    let texts = texts(values);
    let values: Vec<_> = texts.iter().map(|t| Some(t.as_bytes())).collect();
    bind_raw("", statement, &[], &values, results)
}

/// Bind of binary parameters, results in binary.
fn bind_binary(statement: &str, values: &[Value]) -> Vec<u8> {
    let bytes: Vec<_> = values.iter().map(|v| v.binary()).collect();
    let values: Vec<_> = bytes.iter().map(|b| Some(b.as_slice())).collect();
    bind_raw("", statement, &[1], &values, &[1])
}

/// The text with its values as literals.
pub fn literal((sql, values): Text<'_>) -> String {
    let texts = texts(values);
    inlined(sql, &texts.iter().map(String::as_str).collect::<Vec<_>>())
}

/// psycopg2, Django, PDO with emulation: a Query in autocommit.
pub fn simple(raw: &mut Raw, text: Text<'_>, _: usize) -> Vec<Frame> {
    raw.query(&literal(text))
}

/// psycopg2 by default, TypeORM, Sequelize in a transaction: BEGIN and COMMIT as Queries of their own.
pub fn simple_in_a_block(raw: &mut Raw, text: Text<'_>, _: usize) -> Vec<Frame> {
    let mut reply = raw.query("BEGIN");
    reply.extend(raw.query(&literal(text)));
    reply.extend(raw.query("COMMIT"));
    reply
}

/// node-postgres, knex, drizzle, Prisma, TypeORM: the unnamed statement, text, one cycle.
pub fn unnamed(raw: &mut Raw, (sql, values): Text<'_>, _: usize) -> Vec<Frame> {
    raw.exchange(&[
        parse("", sql, &[]),
        bind_text("", values, &[]),
        describe('P', ""),
        execute("", 0),
        sync(),
    ])
}

/// Types and values as psycopg 3 sends them: the smallest integer in binary, text with no type.
fn psycopg_bind(statement: &str, values: &[Value]) -> (Vec<u32>, Vec<u8>) {
    let types = values.iter().map(|v| match v {
        Value::Int(_) | Value::Count(_) => 21,
        Value::Numeric(_) => 1700,
        Value::Text(_) => 0,
        Value::Uuid(_) => 2950,
        Value::Time(..) => 1114,
    });
    let bytes: Vec<_> = values
        .iter()
        .map(|v| match v {
            Value::Int(n) => i16::try_from(*n).unwrap().to_be_bytes().to_vec(),
            Value::Count(n) => i16::try_from(*n).unwrap().to_be_bytes().to_vec(),
            Value::Uuid(_) => v.binary(),
            _ => v.text().into_bytes(),
        })
        .collect();
    let formats: Vec<_> = values.iter().map(|v| u16::from(is_binary(v))).collect();
    let bound: Vec<_> = bytes.iter().map(|b| Some(b.as_slice())).collect();
    (types.collect(), bind_raw("", statement, &formats, &bound, &[0]))
}

/// psycopg 3: unnamed with types, small integers in binary.
pub fn psycopg(raw: &mut Raw, (sql, values): Text<'_>, _: usize) -> Vec<Frame> {
    let (types, bind) = psycopg_bind("", values);
    raw.exchange(&[parse("", sql, &types), bind, describe('P', ""), execute("", 0), sync()])
}

/// psycopg 3 from a statement's sixth run: named, parsed in a cycle of its own.
pub fn psycopg_prepared(raw: &mut Raw, (sql, values): Text<'_>, n: usize) -> Vec<Frame> {
    let (types, bind) = psycopg_bind("_pg3_0", values);
    let mut reply = match n {
        0 => raw.exchange(&[parse("_pg3_0", sql, &types), sync()]),
        _ => Vec::new(),
    };
    reply.extend(raw.exchange(&[bind, describe('P', ""), execute("", 0), sync()]));
    reply
}

/// psycopg 3 in pipeline mode, in a transaction: BEGIN, the statement and another in one cycle.
pub fn psycopg_pipeline(raw: &mut Raw, (sql, values): Text<'_>, _: usize) -> Vec<Frame> {
    let (types, bind_values) = psycopg_bind("", values);
    let plain = |sql| [parse("", sql, &[]), bind("", &[]), describe('P', ""), execute("", 0)].concat();
    let this = [parse("", sql, &types), bind_values, describe('P', ""), execute("", 0)].concat();
    let mut reply =
        raw.exchange(&[[plain("BEGIN"), this, plain("select count(*) from notes")].concat(), sync()]);
    reply.extend(raw.exchange(&[plain("COMMIT"), sync()]));
    reply
}

/// asyncpg: named, described behind a Flush, then everything in binary.
pub fn asyncpg(raw: &mut Raw, (sql, values): Text<'_>, n: usize) -> Vec<Frame> {
    let mut reply = Vec::new();
    if n == 0 {
        raw.send(
            &[parse("__asyncpg_stmt_1__", sql, &[]), describe('S', "__asyncpg_stmt_1__"), flush()].concat(),
        );
        reply = described(raw);
    }
    reply.extend(raw.exchange(&[bind_binary("__asyncpg_stmt_1__", values), execute("", 0), sync()]));
    reply
}

/// What Parse and Describe of a statement bring before any Sync.
fn described(raw: &mut Raw) -> Vec<Frame> {
    let mut reply = raw.until('t');
    reply.push(raw.frame());
    assert!(matches!(reply.last().map(|f| f.tag), Some(b'T' | b'n')), "{reply:?}");
    reply
}

/// postgres.js: named, described behind a Flush, text, in a transaction with `begin ` simple and `commit` extended.
pub fn postgres_js(raw: &mut Raw, (sql, values): Text<'_>, n: usize) -> Vec<Frame> {
    let mut reply = raw.query("begin ");
    if n == 0 {
        raw.send(&[parse("p1", sql, &[]), describe('S', "p1"), flush()].concat());
        reply.extend(described(raw));
    }
    reply.extend(raw.exchange(&[bind_text("p1", values, &[]), execute("", 0), sync()]));
    reply.extend(raw.extended("commit", &[]));
    reply
}

/// pg8000: Parse, Describe and Bind with Execute each with its own Sync; `begin transaction` and COMMIT.
pub fn pg8000(raw: &mut Raw, (sql, values): Text<'_>, _: usize) -> Vec<Frame> {
    let mut reply = raw.extended("begin transaction", &[]);
    reply.extend(raw.exchange(&[parse("", sql, &[]), sync()]));
    reply.extend(raw.exchange(&[describe('S', ""), sync()]));
    reply.extend(raw.exchange(&[bind_text("", values, &[]), execute("", 0), sync()]));
    reply.extend(raw.extended("COMMIT", &[]));
    reply
}

/// lib/pq: Parse, Describe and Sync; then Bind and Execute of the unnamed statement that was kept.
pub fn lib_pq(raw: &mut Raw, (sql, values): Text<'_>, _: usize) -> Vec<Frame> {
    let mut reply = raw.query("BEGIN READ WRITE");
    let described = raw.exchange(&[parse("", sql, &[]), describe('S', ""), sync()]);
    // One result format for each column: binary for the integers that it knows how to read.
    let columns = described.iter().find(|f| f.tag == b'T').map_or(Vec::new(), Frame::columns);
    let formats: Vec<_> =
        columns.iter().map(|(name, _)| u16::from(name == "id" || name == "version")).collect();
    reply.extend(described);
    reply.extend(raw.exchange(&[bind_text("", values, &formats), execute("", 0), sync()]));
    reply.extend(raw.query("COMMIT"));
    reply
}

/// pgjdbc: BEGIN in the same batch, types declared, `executeUpdate` with max_rows 1; named and no longer described
/// from the second time here (the fifth there).
pub fn pgjdbc(raw: &mut Raw, (sql, values): Text<'_>, n: usize) -> Vec<Frame> {
    let types: Vec<_> = values
        .iter()
        .map(|v| match v {
            Value::Int(_) => 23,
            Value::Count(_) => 20,
            Value::Numeric(_) => 1700,
            Value::Text(_) => 1043,
            Value::Uuid(_) => 2950,
            Value::Time(..) => 0,
        })
        .collect();
    let bytes: Vec<_> = values
        .iter()
        .map(|v| match v {
            v if is_binary(v) => v.binary(),
            _ => v.text().into_bytes(),
        })
        .collect();
    let formats: Vec<_> = values.iter().map(|v| u16::from(is_binary(v))).collect();
    let bound: Vec<_> = bytes.iter().map(|b| Some(b.as_slice())).collect();
    let name = if n == 0 { "" } else { "S_1" };
    // A statement that returns no rows gets its max_rows of 1; a format for each column where they are known.
    let returning = sql.to_lowercase().contains("returning");
    let mut batch = vec![parse("", "BEGIN", &[]), bind("", &[]), execute("", 0)];
    if n < 2 {
        batch.push(parse(name, sql, &types));
    }
    batch.push(bind_raw("", name, &formats, &bound, &[]));
    if n < 2 {
        batch.push(describe('P', ""));
    }
    batch.extend([execute("", u32::from(!returning)), sync()]);
    let mut reply = raw.exchange(&batch);
    reply.extend(raw.extended("COMMIT", &[]));
    reply
}

/// Rails and PDO: named by a counter, deallocated in SQL (PDO) before the next one of the same name.
pub fn pdo(raw: &mut Raw, (sql, values): Text<'_>, n: usize) -> Vec<Frame> {
    let mut reply = match n {
        0 => Vec::new(),
        _ => raw.query("DEALLOCATE pdo_stmt_00000001"),
    };
    reply.extend(raw.exchange(&[parse("pdo_stmt_00000001", sql, &[]), sync()]));
    reply.extend(raw.exchange(&[
        bind_text("pdo_stmt_00000001", values, &[]),
        describe('P', ""),
        execute("", 0),
        sync(),
    ]));
    reply
}

/// SQLAlchemy on asyncpg, JDBC's executeBatch, psycopg's executemany: several Binds of a statement, one Sync. Here one
/// of another table before it, and one behind it.
pub fn batched(raw: &mut Raw, (sql, values): Text<'_>, n: usize) -> Vec<Frame> {
    let other = |body: &str| {
        [parse("", "update notes set body = $1 where id = 1", &[]), bind("", &[body]), execute("", 0)]
            .concat()
    };
    let mut batch = vec![other("before")];
    if n == 0 {
        batch.push(parse("S_2", sql, &[]));
    }
    batch.extend([bind_text("S_2", values, &[]), describe('P', ""), execute("", 0), other("behind"), sync()]);
    raw.exchange(&batch)
}

/// A name given by the application (node-postgres), closed and used for the next statement.
pub fn renamed(raw: &mut Raw, (sql, values): Text<'_>, n: usize) -> Vec<Frame> {
    let mut batch = match n {
        0 => Vec::new(),
        _ => vec![close('S', "given")],
    };
    batch.extend([
        parse("given", sql, &[]),
        bind_text("given", values, &[]),
        describe('P', ""),
        execute("", 0),
    ]);
    batch.push(sync());
    raw.exchange(&batch)
}
