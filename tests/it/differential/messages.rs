//! What a client sends: messages and steps.

use crate::common::frames;

/// One message of the client. `@V@` in a text or value stands for the version read last, `@V+@` for the next.
#[derive(Debug, Clone)]
pub enum Msg {
    /// Simple query.
    Query(String),
    /// Name, text, declared types.
    Parse(String, String, Vec<u32>),
    /// Bind.
    Bind {
        portal: String,
        statement: String,
        formats: Vec<u16>,
        values: Vec<Option<Vec<u8>>>,
        results: Vec<u16>,
    },
    /// Describe of a statement (`S`) or portal (`P`).
    Describe(char, String),
    /// Portal, most rows.
    Execute(String, u32),
    /// Close of a statement (`S`) or portal (`P`).
    Close(char, String),
    /// Rows for a COPY that a Query before it has begun, and their end.
    Copy(String),
    /// Call of a function of one argument: its OID, the argument as text.
    Function(u32, String),
    /// Flush.
    Flush,
    /// Sync.
    Sync,
}

impl Msg {
    /// The message's bytes; `None` if it wants a version and none is known.
    pub fn bytes(&self, version: Option<i64>) -> Option<Vec<u8>> {
        let text = |text: &str| match version {
            _ if !text.contains("@V") => Some(text.to_owned()),
            Some(v) => Some(text.replace("@V@", &v.to_string()).replace("@V+@", &(v + 1).to_string())),
            None => None,
        };
        Some(match self {
            Self::Query(sql) => frames::query(&text(sql)?),
            Self::Parse(name, sql, oids) => frames::parse(name, &text(sql)?, oids),
            Self::Bind { portal, statement, formats, values, results } => {
                let known = |v: &Option<Vec<u8>>| match v.as_deref().map(std::str::from_utf8) {
                    Some(Ok(v)) => text(v).map(|v| Some(v.into_bytes())),
                    _ => Some(v.clone()),
                };
                let values = values.iter().map(known).collect::<Option<Vec<_>>>()?;
                let values: Vec<_> = values.iter().map(Option::as_deref).collect();
                frames::bind_raw(portal, statement, formats, &values, results)
            }
            Self::Describe(kind, name) => frames::describe(*kind, name),
            Self::Execute(portal, rows) => frames::execute(portal, *rows),
            Self::Close(kind, name) => frames::close(*kind, name),
            Self::Copy(rows) => [frames::copy_data(rows.as_bytes()), frames::copy_done()].concat(),
            Self::Function(oid, argument) => frames::function_call(*oid, &[argument.as_bytes()]),
            Self::Flush => frames::flush(),
            Self::Sync => frames::sync(),
        })
    }
}

/// One step of a sequence.
#[derive(Debug, Clone)]
pub enum Step {
    /// Messages sent in one write; the last is Query, Sync or Flush.
    Send(Vec<Msg>),
    /// A Query whose last value is the version that the messages behind it mean.
    Versioned(String, Vec<Vec<Msg>>),
}

/// A text without parameters as Parse, Bind, Describe and Execute.
pub fn cycle(sql: &str) -> Vec<Msg> {
    let bind = Msg::Bind {
        portal: String::new(),
        statement: String::new(),
        formats: vec![],
        values: vec![],
        results: vec![],
    };
    vec![
        Msg::Parse(String::new(), sql.into(), vec![]),
        bind,
        Msg::Describe('P', String::new()),
        Msg::Execute(String::new(), 0),
    ]
}
