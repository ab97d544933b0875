//! Cleans up when the owner cannot: after SIGKILL, SIGINT or an abort.
//!
//! A shell holds the reading end of a pipe whose writing end only the owner has. The pipe's end of file
//! comes with the owner's death, however it died; then the shell stops the server and removes the folder.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::account::FOLDER_PREFIX;

/// `$1` is the folder. An orderly owner has written `done` before it closes the pipe.
/// The server's command line names its folder: a number that was given to another process since is not hit.
const SCRIPT: &str = r#"
trap '' INT TERM HUP QUIT PIPE
word=
read -r word
[ "$word" = done ] && exit 0
case "${1##*/}" in "$2"*) ;; *) exit 1 ;; esac
[ -d "$1" ] || exit 0
pid=
[ -f "$1/data/postmaster.pid" ] && read -r pid < "$1/data/postmaster.pid"
ours() {
    [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null || return 1
    [ -r "/proc/$pid/cmdline" ] || return 0
    grep -qF "$1" "/proc/$pid/cmdline"
}
if ours "$1"; then
    kill -QUIT "$pid"
    n=0
    while ours "$1" && [ $n -lt 80 ]; do sleep 0.1; n=$((n + 1)); done
    ours "$1" && kill -KILL "$pid"
fi
rm -rf -- "$1"
"#;

/// The shell at the other end of the pipe.
#[derive(Debug)]
pub(super) struct Watchdog(Child);

impl Watchdog {
    /// Starts watching over `folder`. In a process group of its own: Ctrl-C in a terminal does not reach it.
    pub(super) fn start(folder: &Path) -> std::io::Result<Self> {
        Command::new("/bin/sh")
            .args(["-c", SCRIPT, "staleguard-watchdog"])
            .arg(folder)
            .arg(FOLDER_PREFIX)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map(Self)
    }

    /// Tells it that nothing is left to clean, and reaps it.
    pub(super) fn dismiss(&mut self) {
        if let Some(mut pipe) = self.0.stdin.take() {
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.0.wait();
    }
}
