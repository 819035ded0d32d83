//! A nats-server of our own, on a port that it chooses.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde::Deserialize;

use crate::clock;

/// How long the server may take to say where it listens.
const START_TIMEOUT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A running nats-server; ended when dropped.
pub(super) struct NatsServer {
    process: Child,
    /// Where it listens.
    pub(super) url: String,
}

#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
}

impl NatsServer {
    /// Starts `program` and waits until it listens. `folder` is where it says so.
    pub(super) async fn start(program: &Path, folder: &Path) -> Result<Self, String> {
        let process = Command::new(program)
            .args(["--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                let program = program.display();
                format!("{program}: {error}; put nats-server on PATH or name it with --nats-server")
            })?;
        let mut server = Self { process, url: String::new() };
        let until = clock::now() + START_TIMEOUT;
        while clock::now() < until {
            if let Some(url) = url(folder) {
                server.url = url;
                return Ok(server);
            }
            if let Ok(Some(status)) = server.process.try_wait() {
                return Err(format!("{} ended at once: {status}", program.display()));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(format!("{} does not say where it listens", program.display()))
    }
}

/// From the file that the server writes once it listens.
fn url(folder: &Path) -> Option<String> {
    let files = fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let mut files = files.filter(|path| path.extension().is_some_and(|ending| ending == "ports"));
    let ports: Ports = serde_json::from_slice(&fs::read(files.next()?).ok()?).ok()?;
    ports.nats.into_iter().next()
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
