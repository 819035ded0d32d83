//! A nats-server of our own, on a port that it chooses.

use std::{
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde::Deserialize;
use tokio::sync::watch;

use crate::{
    clock,
    commands::print,
    playground::{Faults, NatsFault},
};

/// How long the server may take to say where it listens.
const START_TIMEOUT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A nats-server; ended when dropped.
pub(super) struct NatsServer {
    program: PathBuf,
    folder: PathBuf,
    process: Option<Child>,
    /// Where it listens, also after it was started again.
    pub(super) url: String,
}

#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
}

impl NatsServer {
    /// Starts `program` and waits until it listens. `folder` is where it says so.
    pub(super) async fn start(program: &Path, folder: &Path) -> Result<Self, String> {
        let (program, folder) = (program.to_owned(), folder.to_owned());
        let mut server = Self { program, folder, process: None, url: String::new() };
        server.run("-1").await?;
        Ok(server)
    }

    /// Stops it and starts it again, as `faults` say, for ever. Where it does not start again, it
    /// counts as stopped, and can be told once more.
    pub(super) async fn obey(&mut self, faults: &watch::Sender<Faults>) -> Infallible {
        let mut told = faults.subscribe();
        loop {
            // Held for no longer: whoever sets faults waits for whoever looks at them.
            let wanted = told.borrow_and_update().nats;
            match (wanted, &self.process) {
                (NatsFault::Stopped, Some(_)) => self.stop(),
                (NatsFault::None, None) => {
                    let port = self.url.rsplit(':').next().unwrap_or_default().to_owned();
                    if let Err(error) = self.run(&port).await {
                        self.stop();
                        print(&format!("\n{error}\n"));
                        faults.send_modify(|faults| faults.nats = NatsFault::Stopped);
                    }
                }
                (NatsFault::Stopped, None) | (NatsFault::None, Some(_)) => {}
            }
            if told.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn run(&mut self, port: &str) -> Result<(), String> {
        let program = self.program.display();
        let process = Command::new(&self.program)
            .args(["--addr", "127.0.0.1", "--port", port, "--ports_file_dir"])
            .arg(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                format!("{program}: {error}; put nats-server on PATH or name it with --nats-server")
            })?;
        let process = self.process.insert(process);
        let until = clock::now() + START_TIMEOUT;
        while clock::now() < until {
            if let Some(url) = url(&self.folder, process.id()) {
                self.url = url;
                return Ok(());
            }
            if let Ok(Some(status)) = process.try_wait() {
                return Err(format!("{program} ended at once: {status}"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(format!("{program} does not say where it listens"))
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

/// From the file that the server with this process id writes once it listens.
fn url(folder: &Path, id: u32) -> Option<String> {
    let files = fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let ending = format!("_{id}.ports");
    let mut files = files.filter(|path| path.to_string_lossy().ends_with(&ending));
    let ports: Ports = serde_json::from_slice(&fs::read(files.next()?).ok()?).ok()?;
    ports.nats.into_iter().next()
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.stop();
    }
}
