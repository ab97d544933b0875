//! The HTTP endpoints: `/metrics`, `/health`, `/ready`, `/status`, and a line on `/`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

use super::health::{HEARTBEAT_LIMIT, Heartbeats, Readiness};

/// What the endpoints report on.
#[derive(Clone)]
pub struct Endpoints {
    /// What `/metrics` renders.
    pub metrics: PrometheusHandle,
    /// What `/health` goes by.
    pub heartbeats: Arc<Heartbeats>,
    /// What `/ready` goes by.
    pub readiness: Arc<Readiness>,
    /// What `/status` tells.
    pub status: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
}

/// The routes.
pub fn router(endpoints: Endpoints) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/status", get(status))
        .with_state(endpoints)
}

async fn index() -> &'static str {
    concat!("staleguard ", env!("CARGO_PKG_VERSION"), ": see /metrics, /health, /ready and /status\n")
}

async fn metrics(State(endpoints): State<Endpoints>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], endpoints.metrics.render())
}

async fn health(State(endpoints): State<Endpoints>) -> (StatusCode, String) {
    let stuck = endpoints.heartbeats.stuck(HEARTBEAT_LIMIT);
    if stuck.is_empty() {
        return (StatusCode::OK, "healthy\n".to_owned());
    }
    let lines = stuck.iter().map(|(worker, silence)| {
        format!("unhealthy: worker {worker} has not moved for {} s\n", silence.as_secs())
    });
    (StatusCode::SERVICE_UNAVAILABLE, lines.collect())
}

async fn status(State(endpoints): State<Endpoints>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], format!("{:#}\n", (endpoints.status)()))
}

async fn ready(State(endpoints): State<Endpoints>) -> (StatusCode, String) {
    match endpoints.readiness.check() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}
