//! The bridges under watch, each on ports that it keeps.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{
    monitors::{free_port, until},
    support::{
        pki::{Authority, Use},
        process::Serving,
        real::{Folder, get, metric},
    },
};

/// A bridge's place: what it keeps when it is started again.
pub(crate) struct Place {
    pub(crate) port: u16,
    pub(crate) admin_port: u16,
    config: String,
    /// The port of a collector of spans, if it exports them.
    pub(crate) collector: Option<u16>,
    serving: Option<Serving>,
}

/// A connector of the section `connectors`, with the basic credential in `{folder}/password`.
pub(crate) fn connector(name: &str, protocol: &str, step: &str, more: &str) -> String {
    format!(
        "  {name}: {{protocol: {protocol}, step: {step}, {more} auth: \
         {{basic: [{{username: entra, password_file: \"{{folder}}/password\"}}]}}}}\n"
    )
}

impl Place {
    /// With lines at the root, and `connectors`.
    pub(crate) fn new(nats: &str, root: &str, connectors: &str) -> Self {
        let (port, admin_port) = (free_port(), free_port());
        let config = format!(
            "listen: 127.0.0.1:{port}\nadmin_listen: 127.0.0.1:{admin_port}\n\
             nats: {{servers: [\"{nats}\"]}}\n{root}\nconnectors:\n{connectors}"
        );
        Self { port, admin_port, config, collector: None, serving: None }
    }

    /// Starts it, and waits until it is connected to NATS.
    pub(crate) async fn start(&mut self) {
        self.start_in(Folder::new()).await;
    }

    /// In a folder that may hold more files.
    pub(crate) async fn start_in(&mut self, folder: Folder) {
        fs::write(folder.0.join("password"), "secret\n").unwrap();
        let config = self.config.replace("{folder}", folder.0.to_str().unwrap());
        let collector = self.collector.map(|port| format!("http://127.0.0.1:{port}"));
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.as_deref().unwrap_or_default());
        let pause = ("OTEL_BSP_SCHEDULE_DELAY", "200");
        let environment = [endpoint, pause].map(|(name, value)| (name, Path::new(value)));
        let environment = if collector.is_some() { &environment[..] } else { &[] };
        let serving = Serving::start_as(folder, environment, &config).await;
        self.serving = Some(serving.connected().await);
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.serving = None;
    }

    /// Sends a signal: `STOP`, `CONT`.
    pub(crate) fn signal(&self, signal: &str) {
        self.serving.as_ref().unwrap().program.signal(signal);
    }

    /// The value of a metric's series, written as in the text format without the prefix.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        metric(self.admin_port, series).await
    }

    /// Writes a file of its folder.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.serving.as_ref().unwrap().folder.0.join(name), text).unwrap();
    }

    /// Shows a certificate that ends in so many days from now on.
    pub(crate) fn certify(&self, authority: &Authority, days: i64) {
        let issued = authority.issue("localhost", Use::Server, 0, days);
        self.write("tls.crt", &issued.pem);
        self.write("tls.key", &issued.key_pem);
    }
}

/// A folder with a certificate that ends in so many days.
pub(crate) fn certified(authority: &Authority, days: i64) -> Folder {
    let folder = Folder::new();
    let issued = authority.issue("localhost", Use::Server, 0, days);
    fs::write(folder.0.join("tls.crt"), issued.pem).unwrap();
    fs::write(folder.0.join("tls.key"), issued.key_pem).unwrap();
    folder
}

/// A bridge whose standard error nobody reads; killed when dropped.
pub(crate) struct Unread {
    pub(crate) place: Place,
    child: Child,
    _folder: Folder,
}

impl Unread {
    pub(crate) async fn start(place: Place) -> Self {
        let folder = Folder::new();
        fs::write(folder.0.join("password"), "secret\n").unwrap();
        let file = folder.0.join("bridge.yaml");
        fs::write(&file, place.config.replace("{folder}", folder.0.to_str().unwrap())).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_connector-bridge"))
            .args(["serve", "--config", file.to_str().unwrap()])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let unread = Self { place, child, _folder: folder };
        until("the bridge listens", async || {
            let address = ("127.0.0.1", unread.place.admin_port);
            tokio::net::TcpStream::connect(address).await.ok().map(drop)
        })
        .await;
        until("NATS", async || {
            (unread.place.metric("nats_connected").await == Some(1.0)).then_some(())
        })
        .await;
        assert_eq!(get(unread.place.admin_port, "/readyz").await.status, 200);
        unread
    }

    /// From now on somebody reads it.
    pub(crate) fn read(&mut self) {
        if let Some(mut err) = self.child.stderr.take() {
            // Ends with the process.
            std::thread::spawn(move || std::io::copy(&mut err, &mut std::io::sink()));
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
