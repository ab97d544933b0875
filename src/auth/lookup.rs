//! The secret of a user that the file does not name, asked of the server by a login of the proxy's own.

use std::time::Duration;

use tokio_postgres::config::SslMode;
use tokio_postgres::types::Type;
use tokio_postgres::{Config, NoTls};

use super::users::Secret;
use crate::server::{Upstream, UpstreamError};

/// How a secret is looked up.
#[derive(Debug, Clone)]
pub(super) struct Lookup {
    pub query: String,
    pub user: String,
    pub database: Option<String>,
}

/// Why nothing was found out.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    #[error(transparent)]
    Connect(#[from] UpstreamError),
    #[error("auth.query failed: {0}")]
    Server(#[from] tokio_postgres::Error),
    #[error("auth.query took longer than {0:?}")]
    Timeout(Duration),
}

impl Lookup {
    /// Asks for the secret of `user`; `None` where there is no such user, or it has none. Connecting and asking may each
    /// take as long as `limit`.
    pub async fn ask(
        &self,
        upstream: &Upstream,
        password: Option<&str>,
        database: &str,
        user: &str,
        limit: Duration,
    ) -> Result<Option<Secret>, LookupError> {
        let stream = upstream.connect(limit).await?;
        let mut config = Config::new();
        // Encryption is the stream's own.
        config.user(&self.user).dbname(database).ssl_mode(SslMode::Disable);
        config.application_name("staleguard auth.query");
        if let Some(password) = password {
            config.password(password);
        }
        let asked = async {
            let (client, connection) = config.connect_raw(stream, NoTls).await?;
            let driver = tokio::task::spawn_local(connection);
            let rows = client.query_typed(&self.query, &[(&user, Type::TEXT)]).await;
            drop(client);
            let _ = driver.await;
            let rows = rows?;
            let [row] = rows.as_slice() else { return Ok(None) };
            let secret: Option<String> = row.try_get(1)?;
            Ok::<_, LookupError>(secret.as_deref().map(Secret::read))
        };
        tokio::time::timeout(limit, asked).await.unwrap_or(Err(LookupError::Timeout(limit)))
    }
}
