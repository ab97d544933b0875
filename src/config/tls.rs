//! Encryption on both sides of the proxy.

use std::path::PathBuf;
use std::time::Duration;

use super::keys::Key;
use super::value::{self, Raw};

/// Whether clients speak TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientMode {
    /// None can.
    #[default]
    Disable,
    /// Who asks for it.
    Allow,
    /// All that come over TCP.
    Require,
}

/// Whether clients show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientCertificates {
    /// One that is shown must be right.
    #[default]
    Optional,
    /// Each must show one.
    Required,
}

/// What is asked of the server, in libpq's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum ServerMode {
    /// No TLS.
    #[default]
    Disable,
    /// TLS where the server offers it.
    Prefer,
    /// TLS, with whatever certificate.
    Require,
    /// TLS, with a certificate that the authority has signed.
    VerifyCa,
    /// The same, and it names the server.
    VerifyFull,
}

impl ServerMode {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Disable, Self::Prefer, Self::Require, Self::VerifyCa, Self::VerifyFull];

    /// Its name in settings and errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

/// The oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MinVersion {
    /// TLS 1.2.
    #[default]
    V12,
    /// TLS 1.3.
    V13,
}

/// How TLS with the server begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Negotiation {
    /// With an SSLRequest.
    #[default]
    Postgres,
    /// At once, as servers from PostgreSQL 17 on allow.
    Direct,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// Whether clients speak TLS.
    pub client: ClientMode,
    /// The certificate that clients see, with its chain: PEM.
    pub certificate: Option<PathBuf>,
    /// Its key: PEM.
    pub key: Option<PathBuf>,
    /// Who signs clients' certificates: PEM.
    pub client_ca: Option<PathBuf>,
    /// Whether clients show certificates.
    pub client_certificates: ClientCertificates,
    /// The oldest version, on both sides.
    pub min_version: MinVersion,
    /// How long a client may take for its handshake.
    pub handshake_timeout: Duration,
    /// What is asked of the server.
    pub server: ServerMode,
    /// Who signs the server's certificate: PEM.
    pub server_ca: Option<PathBuf>,
    /// The certificate that the server sees, with its chain: PEM.
    pub server_certificate: Option<PathBuf>,
    /// Its key: PEM.
    pub server_key: Option<PathBuf>,
    /// The name that the server's certificate must have; `None`: the upstream's host.
    pub server_name: Option<String>,
    /// How TLS with the server begins.
    pub server_negotiation: Negotiation,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            client: ClientMode::default(),
            certificate: None,
            key: None,
            client_ca: None,
            client_certificates: ClientCertificates::default(),
            min_version: MinVersion::default(),
            handshake_timeout: Duration::from_secs(10),
            server: ServerMode::default(),
            server_ca: None,
            server_certificate: None,
            server_key: None,
            server_name: None,
            server_negotiation: Negotiation::default(),
        }
    }
}

const PATH: &str = "the path of a PEM file, or nothing";

/// The settings of TLS.
pub const TLS_KEYS: &[Key] = &[
    Key {
        name: "tls.client",
        default: "disable",
        allowed: "disable, allow or require",
        meaning: "TLS with clients: none, for those who ask for it, or for all that come over TCP",
        set: |s, raw| {
            s.tls.client = match value::text(raw)?.as_str() {
                "disable" => ClientMode::Disable,
                "allow" => ClientMode::Allow,
                "require" => ClientMode::Require,
                _ => return None,
            };
            Some(())
        },
    },
    Key {
        name: "tls.certificate",
        default: "(none)",
        allowed: PATH,
        meaning: "The certificate that clients see, followed by those that lead from it to its authority",
        set: |s, raw| path(raw).map(|v| s.tls.certificate = v),
    },
    Key {
        name: "tls.key",
        default: "(none)",
        allowed: PATH,
        meaning: "The key of tls.certificate, without a passphrase",
        set: |s, raw| path(raw).map(|v| s.tls.key = v),
    },
    Key {
        name: "tls.client_ca",
        default: "(none)",
        allowed: PATH,
        meaning: "Certificates of the authorities that sign clients' certificates; without it none are asked for",
        set: |s, raw| path(raw).map(|v| s.tls.client_ca = v),
    },
    Key {
        name: "tls.client_certificates",
        default: "optional",
        allowed: "optional or required",
        meaning: "Whether each client over TCP must show a certificate; one that is shown must be right in either case",
        set: |s, raw| {
            s.tls.client_certificates = match value::text(raw)?.as_str() {
                "optional" => ClientCertificates::Optional,
                "required" => ClientCertificates::Required,
                _ => return None,
            };
            Some(())
        },
    },
    Key {
        name: "tls.min_version",
        default: "1.2",
        allowed: "1.2 or 1.3, in quotes",
        meaning: "The oldest version of TLS that is spoken, on both sides",
        set: |s, raw| {
            s.tls.min_version = match value::text(raw)?.as_str() {
                "1.2" => MinVersion::V12,
                "1.3" => MinVersion::V13,
                _ => return None,
            };
            Some(())
        },
    },
    Key {
        name: "tls.handshake_timeout",
        default: "10s",
        allowed: "a duration from 1ms to 1h with its unit, such as 500ms or 10s",
        meaning: "How long a client may take for its TLS handshake",
        set: |s, raw| {
            value::duration(raw, Duration::from_millis(1), Duration::from_secs(3600))
                .map(|v| s.tls.handshake_timeout = v)
        },
    },
    Key {
        name: "tls.server",
        default: "disable",
        allowed: "disable, prefer, require, verify-ca or verify-full",
        meaning: "TLS with the server, in the words of libpq's sslmode; from require on never without",
        set: |s, raw| {
            let text = value::text(raw)?;
            ServerMode::ALL.into_iter().find(|m| m.name() == text).map(|m| s.tls.server = m)
        },
    },
    Key {
        name: "tls.server_ca",
        default: "(none)",
        allowed: PATH,
        meaning: "Certificates of the authorities that sign the server's certificate",
        set: |s, raw| path(raw).map(|v| s.tls.server_ca = v),
    },
    Key {
        name: "tls.server_certificate",
        default: "(none)",
        allowed: PATH,
        meaning: "The certificate that the proxy shows to the server",
        set: |s, raw| path(raw).map(|v| s.tls.server_certificate = v),
    },
    Key {
        name: "tls.server_key",
        default: "(none)",
        allowed: PATH,
        meaning: "The key of tls.server_certificate, without a passphrase",
        set: |s, raw| path(raw).map(|v| s.tls.server_key = v),
    },
    Key {
        name: "tls.server_name",
        default: "(the host of upstream)",
        allowed: "a host name or an IP address, or nothing",
        meaning: "The name that the server's certificate must have under verify-full, and that the server is told in the handshake",
        set: |s, raw| {
            s.tls.server_name = match raw {
                Raw::Text(text) if text.is_empty() => None,
                raw => Some(value::text(raw)?),
            };
            Some(())
        },
    },
    Key {
        name: "tls.server_negotiation",
        default: "postgres",
        allowed: "postgres or direct",
        meaning: "How TLS with the server begins: with an SSLRequest, or at once, as servers from PostgreSQL 17 on allow",
        set: |s, raw| {
            s.tls.server_negotiation = match value::text(raw)?.as_str() {
                "postgres" => Negotiation::Postgres,
                "direct" => Negotiation::Direct,
                _ => return None,
            };
            Some(())
        },
    },
];

/// A path; none where the text is empty.
pub(super) fn path(raw: &Raw) -> Option<Option<PathBuf>> {
    match raw {
        Raw::Text(text) if text.is_empty() => Some(None),
        raw => value::text(raw).map(|text| Some(text.into())),
    }
}
