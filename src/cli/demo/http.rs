//! Reads the proxy's metrics: one GET, and the few lines of Prometheus' text format that matter here.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::DemoError;

/// The body of `GET path`.
pub async fn get(address: SocketAddr, path: &str) -> Result<String, DemoError> {
    let failed = |source| DemoError::Http { url: format!("http://{address}{path}"), source };
    let mut stream = TcpStream::connect(address).await.map_err(failed)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await.map_err(failed)?;
    let reply = String::from_utf8_lossy(&reply);
    match reply.split_once("\r\n\r\n") {
        Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
        _ => Err(failed(std::io::Error::other(reply.lines().next().unwrap_or("no reply").to_owned()))),
    }
}

/// The samples of one metric: labels as written, and value.
pub fn samples<'a>(body: &'a str, metric: &str) -> Vec<(&'a str, f64)> {
    body.lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(metric)?;
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            Some((labels, value.trim().parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn samples_are_found_by_exact_name() {
        let body = "# TYPE a_total counter\na_total{x=\"1\",y=\"}\"} 3\na_total_more 9\na_total 4\n";
        assert_eq!(samples(body, "a_total"), [("x=\"1\",y=\"}\"", 3.0), ("", 4.0)]);
        assert_eq!(samples(body, "b_total"), []);
    }
}
