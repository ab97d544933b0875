//! Servers and clients that speak TLS, and a login by SCRAM.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

use super::certs::{Authority, Pair};
use super::cluster::{Cluster, bin_dir};
use super::frames::{Frame, message, startup};
use super::proxy::to_end;
use super::raw::Raw;

/// A cluster that speaks TLS with a certificate, trusts the authority's clients, and has these lines in `pg_hba.conf`.
pub fn tls_cluster(authority: &Authority, pair: &Pair, hba: &str) -> Cluster {
    let path = authority.folder().join("pg_hba.conf");
    std::fs::write(&path, hba).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    Cluster::start(&[
        "ssl=on",
        &format!("ssl_cert_file={}", pair.certificate),
        &format!("ssl_key_file={}", pair.key),
        &format!("ssl_ca_file={}", authority.ca()),
        &format!("hba_file={}", path.display()),
    ])
}

/// psql to a port of this machine with further connection settings; whether it came through, and all that it said.
pub fn psql(port: u16, settings: &str, password: &str) -> (bool, String) {
    let connection = format!("host=localhost hostaddr=127.0.0.1 port={port} dbname=proxied {settings}");
    let mut command = Command::new(bin_dir().join("psql"));
    command.env("HOME", "/nonexistent").env("PGPASSWORD", password);
    command.args(["-w", "-X", "-A", "-t", "-c", "\\conninfo", "-c", "select 'I am ' || current_user"]);
    let (status, text) = to_end(command.arg(connection));
    (status.success(), text)
}

/// Writes a file of users.
pub fn users(folder: &Path, lines: &[(&str, &str)]) -> String {
    let path = folder.join("users.txt");
    let text: String = lines.iter().map(|(user, secret)| format!("\"{user}\" \"{secret}\"\n")).collect();
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Says who it is and goes through SCRAM; all that the other side says up to ReadyForQuery or its close.
pub fn scram(raw: &mut Raw, user: &str, password: &str) -> Vec<Frame> {
    scram_behind(raw, user, password, &[])
}

/// The same, with further messages sent along with the proof.
pub fn scram_behind(raw: &mut Raw, user: &str, password: &str, behind: &[u8]) -> Vec<Frame> {
    raw.send(&startup(&[("user", user), ("database", "proxied")]));
    let mut said = Vec::new();
    let mut client = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
    while let Ok(frame) = raw.try_frame() {
        let code = frame.body.get(..4).filter(|_| frame.tag == b'R').map(|c| c[3]);
        let data = frame.body.get(4..).unwrap_or_default().to_vec();
        let ready = frame.tag == b'Z';
        said.push(frame);
        match code {
            Some(10) => {
                let length = u32::try_from(client.message().len()).unwrap().to_be_bytes();
                raw.send(&message(b'p', &[b"SCRAM-SHA-256\0", &length[..], client.message()].concat()));
            }
            Some(11) => {
                client.update(&data).unwrap();
                let _ = raw.try_send(&[&message(b'p', client.message()), behind].concat());
            }
            Some(12) => client.finish(&data).unwrap(),
            _ if ready => break,
            _ => {}
        }
    }
    said
}
