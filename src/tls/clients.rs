//! TLS as clients see it.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

use super::reload::Reloading;
use super::{ALPN, Named, TlsError, end_point, paths, provider, versions};
use crate::config::tls::{ClientCertificates, ClientMode, MinVersion, TlsSettings};
use crate::server::Stream;
use crate::telemetry::Metrics;

/// What is made of the files.
struct Identity {
    config: Arc<ServerConfig>,
    end_point: Option<Vec<u8>>,
}

/// A handshake that succeeded.
pub struct Shaken {
    /// The connection.
    pub stream: Stream,
    /// What SCRAM binds to the certificate that was shown.
    pub end_point: Option<Vec<u8>>,
    /// The client has named the protocol.
    pub alpn: bool,
    /// The client has shown a certificate.
    pub certified: bool,
}

/// TLS with clients.
#[derive(Debug)]
pub struct ClientTls {
    identity: Reloading<Identity, TlsError>,
    /// Clients over TCP must speak TLS.
    pub required: bool,
    /// They must show a certificate.
    pub certified: bool,
}

impl ClientTls {
    /// Reads certificate and key. `None` where clients speak no TLS.
    pub fn new(settings: &TlsSettings, metrics: &Metrics) -> Result<Option<Self>, TlsError> {
        if settings.client == ClientMode::Disable {
            return Ok(None);
        }
        let needed_by = "TLS with clients (tls.client)";
        let certificate = Named::needed("tls.certificate", &settings.certificate, needed_by)?;
        let key = Named::needed("tls.key", &settings.key, needed_by)?;
        let required = settings.client == ClientMode::Require;
        let certified = settings.client_certificates == ClientCertificates::Required;
        if certified && !required {
            return Err(TlsError::Clash(
                "tls.client_certificates = required needs tls.client = require: a client without TLS shows no certificate",
            ));
        }
        let ca = match &settings.client_ca {
            None if certified => {
                Some(Named::needed("tls.client_ca", &None, "tls.client_certificates = required")?)
            }
            None => None,
            ca => Some(Named::needed("tls.client_ca", ca, needed_by)?),
        };
        let files = paths([Some(&certificate), Some(&key), ca.as_ref()]);
        let min = settings.min_version;
        let make = move || identity(&certificate, &key, ca.as_ref(), min);
        let identity = Reloading::new("certificate for clients", files, metrics, make)?;
        Ok(Some(Self { identity, required, certified }))
    }

    /// Reads the files again now.
    pub fn reload(&self) {
        self.identity.force();
    }

    /// Shakes hands with a client that has been told to begin.
    pub async fn accept(&self, stream: TcpStream) -> std::io::Result<Shaken> {
        let identity = self.identity.get();
        let stream = TlsAcceptor::from(identity.config.clone()).accept(stream).await?;
        let (_, connection) = stream.get_ref();
        Ok(Shaken {
            end_point: identity.end_point.clone(),
            alpn: connection.alpn_protocol() == Some(ALPN),
            certified: connection.peer_certificates().is_some_and(|shown| !shown.is_empty()),
            stream: Stream::Tls(Box::new(stream.into())),
        })
    }
}

fn identity(
    certificate: &Named,
    key: &Named,
    ca: Option<&Named>,
    min: MinVersion,
) -> Result<Identity, TlsError> {
    let provider: Arc<CryptoProvider> = provider();
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions(min))?;
    let builder = match ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let roots = Arc::new(ca.roots()?);
            // Who shows none is refused behind the handshake, in words, where each must show one.
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| ca.wrong(error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = certificate.certificates()?;
    let end_point = chain.first().and_then(|own| end_point::of(own));
    let mut config = builder
        .with_single_cert(chain, key.key()?)
        .map_err(|reason| TlsError::Pair { setting: certificate.setting, reason })?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // As PostgreSQL: no session is taken up again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Identity { config: Arc::new(config), end_point })
}
