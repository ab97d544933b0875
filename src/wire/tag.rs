//! The type byte that opens every frame after startup. The two directions use the same letters for different
//! messages, so each has its own module.

/// Messages from client to server.
pub mod front {
    /// Simple query.
    pub const QUERY: u8 = b'Q';
    /// Prepare a statement.
    pub const PARSE: u8 = b'P';
    /// Make a portal of a statement and its parameters.
    pub const BIND: u8 = b'B';
    /// Ask for the shape of a statement or portal.
    pub const DESCRIBE: u8 = b'D';
    /// Run a portal.
    pub const EXECUTE: u8 = b'E';
    /// Drop a statement or portal.
    pub const CLOSE: u8 = b'C';
    /// Ask the server to send what it has.
    pub const FLUSH: u8 = b'H';
    /// End of an extended-protocol cycle.
    pub const SYNC: u8 = b'S';
    /// Fast-path function call.
    pub const FUNCTION_CALL: u8 = b'F';
    /// A piece of COPY data.
    pub const COPY_DATA: u8 = b'd';
    /// End of COPY data.
    pub const COPY_DONE: u8 = b'c';
    /// The client gives up a COPY.
    pub const COPY_FAIL: u8 = b'f';
    /// Goodbye.
    pub const TERMINATE: u8 = b'X';
    /// Any answer to an authentication request: password, SASL, GSS.
    pub const PASSWORD: u8 = b'p';
}

/// Messages from server to client.
pub mod back {
    /// Any authentication request, and its success.
    pub const AUTHENTICATION: u8 = b'R';
    /// Process id and secret for CancelRequest.
    pub const KEY_DATA: u8 = b'K';
    /// A setting that the server reports.
    pub const PARAMETER_STATUS: u8 = b'S';
    /// Ready for the next query, with the transaction status.
    pub const READY: u8 = b'Z';
    /// The columns of the rows that follow.
    pub const ROW_DESCRIPTION: u8 = b'T';
    /// One row.
    pub const DATA_ROW: u8 = b'D';
    /// A statement ended well, with its command tag.
    pub const COMMAND_COMPLETE: u8 = b'C';
    /// The query text was empty.
    pub const EMPTY_QUERY: u8 = b'I';
    /// An error.
    pub const ERROR: u8 = b'E';
    /// A notice or warning.
    pub const NOTICE: u8 = b'N';
    /// A NOTIFY that reached this session.
    pub const NOTIFICATION: u8 = b'A';
    /// Reply to Parse.
    pub const PARSE_COMPLETE: u8 = b'1';
    /// Reply to Bind.
    pub const BIND_COMPLETE: u8 = b'2';
    /// Reply to Close.
    pub const CLOSE_COMPLETE: u8 = b'3';
    /// Parameter types of a described statement.
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    /// A described statement or portal returns no rows.
    pub const NO_DATA: u8 = b'n';
    /// Execute stopped at its row limit.
    pub const PORTAL_SUSPENDED: u8 = b's';
    /// The server wants COPY data.
    pub const COPY_IN: u8 = b'G';
    /// The server will send COPY data.
    pub const COPY_OUT: u8 = b'H';
    /// Both directions carry COPY data (replication).
    pub const COPY_BOTH: u8 = b'W';
    /// A piece of COPY data.
    pub const COPY_DATA: u8 = b'd';
    /// End of COPY data.
    pub const COPY_DONE: u8 = b'c';
    /// Result of a fast-path function call.
    pub const FUNCTION_RESULT: u8 = b'V';
    /// The server speaks an older minor version or not all options.
    pub const NEGOTIATE_VERSION: u8 = b'v';
}
