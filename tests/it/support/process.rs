//! The program as people run it: a process with arguments, two outputs and an exit code.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use super::real::{Folder, NatsServer, config_at, get, metric, signal_process, tool, until};

/// A running program; killed when dropped.
pub(crate) struct Program {
    child: Mutex<Child>,
    folder: Folder,
}

/// How a program ended, and everything that it wrote.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` where a signal killed it.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Python with what the example workers need.
pub(crate) fn python() -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", tool("NATS_PY", ".tools/python"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A file of an example worker.
pub(crate) fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/workers").join(file)
}

/// Runs a statement at an SQLite database and returns its rows as JSON.
pub(crate) fn sql(database: &Path, statement: &str) -> String {
    const RUN: &str = "import json, sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=20)
with db:
    print(json.dumps(db.execute(sys.argv[2]).fetchall()))";
    let output = python().args(["-c", RUN]).arg(database).arg(statement).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Runs the bridge's binary to its end.
pub(crate) async fn run(arguments: &[&str]) -> Ended {
    Program::start(arguments).ended().await
}

impl Program {
    /// Starts the bridge's binary, without any environment.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_in(&[], arguments)
    }

    /// Starts it in an environment that has nothing but this.
    pub(crate) fn start_in(environment: &[(&str, &Path)], arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_connector-bridge"));
        command.args(arguments).env_clear().envs(environment.iter().copied());
        Self::spawn(command)
    }

    /// Starts any program.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let folder = Folder::new();
        let file = |name| Stdio::from(File::create(folder.0.join(name)).unwrap());
        let child =
            command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err")).spawn().unwrap();
        Self { child: Mutex::new(child), folder }
    }

    /// Sends a signal, as `TERM`.
    pub(crate) fn signal(&self, signal: &str) {
        signal_process(self.pid(), signal);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    /// What it wrote to standard output so far.
    pub(crate) fn out(&self) -> String {
        fs::read_to_string(self.folder.0.join("out")).unwrap()
    }

    /// What it wrote to standard error so far.
    pub(crate) fn err(&self) -> String {
        fs::read_to_string(self.folder.0.join("err")).unwrap()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.child.lock().unwrap().try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub(crate) async fn ended(self) -> Ended {
        let status = until("the end", async || self.child.lock().unwrap().try_wait().unwrap());
        let code = status.await.code();
        Ended { code, out: self.out(), err: self.err() }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap();
        drop(child.kill());
        drop(child.wait());
    }
}

/// `serve`, with its ports and the folder of its configuration.
pub(crate) struct Serving {
    pub(crate) program: Program,
    pub(crate) port: u16,
    pub(crate) admin_port: u16,
    pub(crate) folder: Folder,
}

impl Serving {
    /// As [`super::real::Bridge::start_with`]. Returns once it listens.
    pub(crate) async fn start(server: &NatsServer, root: &str, connectors: &str) -> Self {
        let nats = format!("servers: [\"{}\"]", server.url());
        Self::start_in(Folder::new(), &nats, root, connectors).await
    }

    /// In a folder that may hold more files, with any keys of the section `nats`.
    pub(crate) async fn start_in(folder: Folder, nats: &str, root: &str, connectors: &str) -> Self {
        let config = config_at(&folder, nats, root, connectors);
        Self::start_as(folder, &[], &config).await
    }

    /// With this configuration, in an environment that has nothing but this.
    pub(crate) async fn start_as(
        folder: Folder,
        environment: &[(&str, &Path)],
        config: &str,
    ) -> Self {
        let file = folder.0.join("bridge.yaml");
        fs::write(&file, config).unwrap();
        let program =
            Program::start_in(environment, &["serve", "--config", file.to_str().unwrap()]);
        Self::listening(program, folder).await
    }

    /// As [`Self::start`], with limits that a shell's `ulimit` sets, as `-Hn 256`.
    pub(crate) async fn start_within(
        limits: &[&str],
        server: &NatsServer,
        root: &str,
        connectors: &str,
    ) -> Self {
        let folder = Folder::new();
        let nats = format!("servers: [\"{}\"]", server.url());
        let config = config_at(&folder, &nats, root, connectors);
        let file = folder.0.join("bridge.yaml");
        fs::write(&file, config).unwrap();
        let limits: String = limits.iter().map(|limit| format!("ulimit {limit} && ")).collect();
        let mut command = Command::new("/bin/sh");
        let bridge = env!("CARGO_BIN_EXE_connector-bridge");
        command.args(["-c", &format!("{limits}exec \"$0\" serve --config \"$1\""), bridge]);
        command.arg(&file).env_clear();
        Self::listening(Program::spawn(command), folder).await
    }

    /// A program that serves, once it listens.
    pub(crate) async fn listening(program: Program, folder: Folder) -> Self {
        let [port, admin_port] = until("the ports", async || {
            assert!(program.is_running(), "{}", program.err());
            let err = program.err();
            let line = err.lines().find(|line| line.contains("listening"))?;
            // As JSON or as text: the number behind the last colon of an address.
            let ports = line.split("127.0.0.1:").skip(1).map(|rest| {
                rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
            });
            ports.collect::<Vec<u16>>().try_into().ok()
        })
        .await;
        Self { program, port, admin_port, folder }
    }

    /// Waits until it is connected to NATS.
    pub(crate) async fn connected(self) -> Self {
        until("NATS", async || (self.metric("nats_connected").await == Some(1.0)).then_some(()))
            .await;
        self
    }

    /// The value of a metric's series, written as in the text format without the prefix.
    pub(crate) async fn metric(&self, series: &str) -> Option<f64> {
        metric(self.admin_port, series).await
    }

    /// What `/status` says.
    pub(crate) async fn status(&self) -> serde_json::Value {
        serde_json::from_str(&get(self.admin_port, "/status").await.body).unwrap()
    }

    /// Its resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        const PAGE_BYTES: u64 = 4_096;
        let pid = self.program.pid();
        let statm = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * PAGE_BYTES
    }
}
