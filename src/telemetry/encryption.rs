//! The labels of metrics about encryption and authentication.

/// Whom a handshake is with. The `side` label of `staleguard_tls_handshakes_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// A client.
    Client,
    /// The server.
    Server,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Client, Self::Server];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// What became of it. The `outcome` label of `staleguard_tls_handshakes_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Handshake {
    /// TLS is spoken.
    Done,
    /// The server has declined it.
    Declined,
    /// It failed.
    Failed,
    /// It took too long.
    Timeout,
}

impl Handshake {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Done, Self::Declined, Self::Failed, Self::Timeout];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Declined => "declined",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
        }
    }
}

/// What became of files that have changed. The `outcome` label of `staleguard_reloads_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reload {
    /// They are in force.
    Loaded,
    /// They cannot be used, and what was read before stays in force.
    Failed,
}

impl Reload {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Loaded, Self::Failed];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Failed => "failed",
        }
    }
}

/// What became of a client that the proxy authenticates. The `outcome` label of `staleguard_authentications_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Authenticated {
    /// It is who it says.
    Done,
    /// It is refused.
    Refused,
    /// It left before it was known.
    Gone,
    /// It is who it says, and the server does not let its session in.
    NoLogin,
}

impl Authenticated {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Done, Self::Refused, Self::Gone, Self::NoLogin];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Gone => "gone",
            Self::NoLogin => "no_login",
        }
    }
}
