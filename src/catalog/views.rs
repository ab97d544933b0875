//! What has been seen of the catalogs of the upstream's databases.

/// The views, shared by all sessions.
#[derive(Debug, Default)]
pub struct Views {}
