//! TLS on both sides of the proxy: what certificates and keys there are, and what is asked of the other side.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`clients`] | what clients see |
//! | [`server`] | how the server is reached, and what its certificate must say |
//! | [`reload`] | files that are read again when they change |
//! | [`end_point`] | what SCRAM binds to a certificate |
//!
//! Certificates and keys never reach the log.

pub mod clients;
pub mod end_point;
pub mod postgres;
pub mod reload;
pub mod server;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, RootCertStore, SupportedProtocolVersion};

use crate::config::tls::MinVersion;

/// The protocol's name in ALPN (IANA; PostgreSQL 17 asks for it where TLS begins at once).
pub const ALPN: &[u8] = b"postgresql";

/// Why TLS cannot be spoken as the settings say. The person who wrote them is at fault.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A setting that another one needs.
    #[error("{setting} is not set, and {needed_by} needs it")]
    Missing {
        /// The setting.
        setting: &'static str,
        /// What needs it.
        needed_by: &'static str,
    },
    /// A setting that means nothing, or something else than it says, beside another.
    #[error("{0}")]
    Clash(&'static str),
    /// A file that cannot be read, or holds something else.
    #[error("{setting} = {} cannot be used: {reason}", path.display())]
    File {
        /// The setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate and its key do not belong together, or cannot be used.
    #[error("{setting} cannot be used with its key: {reason}")]
    Pair {
        /// The setting of the certificate.
        setting: &'static str,
        /// The library's words.
        reason: rustls::Error,
    },
    /// A name that no certificate can have.
    #[error("the name {name} of the server is neither a host name nor an IP address")]
    Name {
        /// The name.
        name: String,
    },
    /// The library's own.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}

/// A file and the setting that names it.
#[derive(Debug, Clone)]
struct Named {
    setting: &'static str,
    path: PathBuf,
}

impl Named {
    /// The file of a setting that something else needs.
    fn needed(
        setting: &'static str,
        path: &Option<PathBuf>,
        needed_by: &'static str,
    ) -> Result<Self, TlsError> {
        let path = path.clone().ok_or(TlsError::Missing { setting, needed_by })?;
        Ok(Self { setting, path })
    }

    fn wrong(&self, reason: impl std::fmt::Display) -> TlsError {
        TlsError::File { setting: self.setting, path: self.path.clone(), reason: reason.to_string() }
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let read = std::fs::read(&self.path).map_err(|error| self.wrong(error))?;
        let all: Vec<_> = CertificateDer::pem_slice_iter(&read)
            .collect::<Result<_, _>>()
            .map_err(|error| self.wrong(error))?;
        if all.is_empty() {
            return Err(self.wrong("it holds no certificate in PEM form"));
        }
        Ok(all)
    }

    /// The parser's own words may quote the file: they are not repeated.
    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let read = std::fs::read(&self.path).map_err(|error| self.wrong(error))?;
        PrivateKeyDer::from_pem_slice(&read)
            .map_err(|_| self.wrong("it holds no private key in PEM form without a passphrase"))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|error| self.wrong(error))?;
        }
        Ok(roots)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

static FROM_12: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
static FROM_13: [&SupportedProtocolVersion; 1] = [&TLS13];

fn versions(min: MinVersion) -> &'static [&'static SupportedProtocolVersion] {
    match min {
        MinVersion::V12 => &FROM_12,
        MinVersion::V13 => &FROM_13,
    }
}

fn paths<'a>(files: impl IntoIterator<Item = Option<&'a Named>>) -> Vec<PathBuf> {
    files.into_iter().flatten().map(|named| Path::to_owned(&named.path)).collect()
}

#[cfg(test)]
mod tests;
