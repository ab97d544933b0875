//! TLS with the server: when, how it begins, and what the server's certificate must say.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::reload::Reloading;
use super::{ALPN, Named, TlsError, paths, provider, versions};
use crate::config::tls::{MinVersion, Negotiation, ServerMode, TlsSettings};
use crate::telemetry::Metrics;

/// Length 8 and the request code 80877103 (PostgreSQL documentation, Message Formats, SSLRequest).
pub const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// TLS with the server.
#[derive(Debug)]
pub struct ServerTls {
    config: Reloading<Arc<ClientConfig>, TlsError>,
    /// What is asked of the server: `Prefer` or more.
    pub mode: ServerMode,
    /// How it begins.
    pub negotiation: Negotiation,
    name: ServerName<'static>,
}

/// What became of an offer of TLS to the server.
#[derive(Debug)]
pub enum Offered {
    /// The server speaks TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// It has declined.
    Declined(TcpStream),
}

/// Why TLS with the server did not come about.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// Neither yes nor no.
    #[error("it answers an SSLRequest with byte {0:#04x} in place of S or N: is this PostgreSQL?")]
    Answer(u8),
    /// The connection broke before an answer.
    #[error("the connection broke before an SSLRequest was answered: {0}")]
    Unanswered(io::Error),
    /// The handshake failed.
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
    /// It speaks TLS, and not PostgreSQL's protocol, or an older PostgreSQL's.
    #[error("TLS began at once, and it does not name PostgreSQL's protocol (ALPN)")]
    NoAlpn,
}

impl ServerTls {
    /// Reads what the settings name. `None` where no TLS is spoken with the server, which is reached at `host`.
    pub fn new(settings: &TlsSettings, host: &str, metrics: &Metrics) -> Result<Option<Self>, TlsError> {
        let mode = settings.server;
        if mode == ServerMode::Disable {
            return Ok(None);
        }
        let negotiation = settings.server_negotiation;
        if negotiation == Negotiation::Direct && mode < ServerMode::Require {
            return Err(TlsError::Clash(
                "tls.server_negotiation = direct needs tls.server = require or more: where TLS begins at once nothing can be declined",
            ));
        }
        let name = settings.server_name.as_deref().unwrap_or(host);
        let name =
            ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name { name: name.to_owned() })?;
        let files = Files::of(settings)?;
        let watched = paths([files.ca.as_ref(), files.certificate.as_ref(), files.key.as_ref()]);
        let min = settings.min_version;
        let make = move || files.config(mode, min).map(Arc::new);
        let config = Reloading::new("certificates for the server", watched, metrics, make)?;
        Ok(Some(Self { config, mode, negotiation, name }))
    }

    /// Reads the files again now.
    pub fn reload(&self) {
        self.config.force();
    }

    /// Offers TLS on a new connection, as the settings say.
    pub async fn offer(&self, mut stream: TcpStream) -> Result<Offered, HandshakeError> {
        if self.negotiation == Negotiation::Direct {
            let stream = self.handshake(stream).await?;
            if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
                return Err(HandshakeError::NoAlpn);
            }
            return Ok(Offered::Tls(Box::new(stream)));
        }
        stream.write_all(&SSL_REQUEST).await.map_err(HandshakeError::Unanswered)?;
        // One byte and no more: what follows it belongs to the handshake.
        match stream.read_u8().await.map_err(HandshakeError::Unanswered)? {
            b'S' => Ok(Offered::Tls(Box::new(self.handshake(stream).await?))),
            b'N' => Ok(Offered::Declined(stream)),
            other => Err(HandshakeError::Answer(other)),
        }
    }

    async fn handshake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let config: Arc<ClientConfig> = Arc::clone(&*self.config.get());
        let connector = TlsConnector::from(config);
        connector.connect(self.name.clone(), stream).await.map_err(HandshakeError::Handshake)
    }
}

/// The files that the settings name.
#[derive(Debug, Clone)]
pub(super) struct Files {
    ca: Option<Named>,
    certificate: Option<Named>,
    key: Option<Named>,
}

impl Files {
    pub fn of(settings: &TlsSettings) -> Result<Self, TlsError> {
        let verifies = settings.server >= ServerMode::VerifyCa;
        let ca = match &settings.server_ca {
            None if !verifies => None,
            ca => Some(Named::needed("tls.server_ca", ca, "tls.server = verify-ca or verify-full")?),
        };
        let (certificate, key) = match (&settings.server_certificate, &settings.server_key) {
            (None, None) => (None, None),
            (certificate, key) => (
                Some(Named::needed("tls.server_certificate", certificate, "tls.server_key")?),
                Some(Named::needed("tls.server_key", key, "tls.server_certificate")?),
            ),
        };
        Ok(Self { ca, certificate, key })
    }

    pub fn config(&self, mode: ServerMode, min: MinVersion) -> Result<ClientConfig, TlsError> {
        let provider = provider();
        let roots = self.ca.as_ref().map(Named::roots).transpose()?;
        let verifier = Verifier { provider: provider.clone(), roots, names: mode == ServerMode::VerifyFull };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(min))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => builder
                .with_client_auth_cert(certificate.certificates()?, key.key()?)
                .map_err(|reason| TlsError::Pair { setting: certificate.setting, reason })?,
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }
}

/// Looks at the server's certificate as libpq does: at its chain where an authority is named, at its name under
/// `verify-full`. The server proves in each case that it has the certificate's key.
struct Verifier {
    provider: Arc<CryptoProvider>,
    roots: Option<RootCertStore>,
    names: bool,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("names", &self.names).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let algorithms = self.provider.signature_verification_algorithms;
        if let Some(roots) = &self.roots {
            let shown = ParsedCertificate::try_from(end_entity)?;
            verify_server_cert_signed_by_trust_anchor(&shown, roots, intermediates, now, algorithms.all)?;
            if self.names {
                verify_server_name(&shown, server_name)?;
            }
        } else if self.names {
            return Err(Error::General("no authority to verify the certificate by".to_owned()));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
