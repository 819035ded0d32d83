//! The program itself, as a process of its own.

use std::{
    fs,
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use crate::support::real::{Answer, Folder, NatsServer, exchange, until, value_of};

/// A running `connector-bridge serve`; killed when dropped.
pub(super) struct Process {
    process: Child,
    folder: Folder,
    pub(super) port: u16,
    admin_port: u16,
}

impl Process {
    /// With lines at the root, these connectors and this log level.
    pub(super) async fn start(
        server: &NatsServer,
        root: &str,
        connectors: &str,
        log_level: &str,
    ) -> Self {
        // Another program may take a port between its being found and its being used.
        for _ in 0..10 {
            let bridge = Self::try_start(server, root, connectors, log_level);
            if let Some(bridge) = bridge.until_ready().await {
                return bridge;
            }
        }
        panic!("no free ports");
    }

    fn try_start(server: &NatsServer, root: &str, connectors: &str, log_level: &str) -> Self {
        let folder = Folder::new();
        let free = [(); 2].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
        let [port, admin_port] = free.map(|listener| listener.local_addr().unwrap().port());
        let config = format!(
            "listen: 127.0.0.1:{port}\nadmin_listen: 127.0.0.1:{admin_port}\n\
             log: {{level: {log_level}}}\nnats: {{servers: [\"{}\"]}}\n{root}\n\
             connectors:\n{connectors}",
            server.url()
        );
        let file = folder.0.join("config.yaml");
        fs::write(&file, config).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_connector-bridge"))
            .args(["serve", "--config"])
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.0.join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { process, folder, port, admin_port }
    }

    /// `None` where its ports cannot be had.
    async fn until_ready(mut self) -> Option<Self> {
        const UNAVAILABLE: i32 = 69;
        let port = self.admin_port;
        let process = std::cell::RefCell::new(&mut self.process);
        let is_ready = until("the bridge is ready", async || {
            if let Some(status) = process.borrow_mut().try_wait().unwrap() {
                assert_eq!(status.code(), Some(UNAVAILABLE));
                return Some(false);
            }
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok().map(|_| true)
        });
        is_ready.await.then_some(self)
    }

    async fn admin(&self, path: &str) -> Answer {
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        exchange(self.admin_port, head.as_bytes()).await
    }

    /// The value of a metric's series, written as in the text format without the prefix.
    pub(super) async fn metric(&self, series: &str) -> Option<f64> {
        value_of(series, &self.admin("/metrics").await.body)
    }

    /// What `/status` says.
    pub(super) async fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.admin("/status").await.body).unwrap()
    }

    /// Waits until it is connected to NATS.
    pub(super) async fn connected(&self) {
        until("the bridge is connected", async || {
            (self.status().await["nats"]["connected"] == true).then_some(())
        })
        .await;
    }

    /// Everything that it has logged.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.folder.0.join("log")).unwrap()
    }

    /// Its resident memory in bytes.
    pub(super) fn resident_bytes(&self) -> u64 {
        const PAGE_BYTES: u64 = 4_096;
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.process.id())).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * PAGE_BYTES
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
