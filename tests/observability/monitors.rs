//! A real Prometheus and real Alertmanagers.

use std::{
    fmt::Write,
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::{
    documents::{ROUTES, RULES, text},
    lapse::hastened,
    receiver::{ALL, PAGE},
    support::{
        process::Program,
        real::{Folder, exchange, get, tool},
    },
};

/// How long anything may take that is waited for here, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// How often is scraped and evaluated: every 30 s, in time-lapse. A debug build on a busy machine
/// needs a part of that to be scraped.
const EVERY: &str = "500ms";

/// The path of one of the programs.
pub(crate) fn monitor(program: &str) -> PathBuf {
    tool("PROMETHEUS", ".tools/prometheus").join(program)
}

/// A port that nobody listens on just now.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Asks until there is a value.
pub(crate) async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = ask().await {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether one of these programs is at work.
async fn is_ready(port: u16) -> bool {
    let listens = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
    listens && get(port, "/-/ready").await.status == 200
}

/// `GET` of an API. HTTP/1.0, so that the answer comes in one piece.
async fn get_json(port: u16, path: &str) -> Value {
    let head = format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n");
    let answer = exchange(port, head.as_bytes()).await;
    serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{path}: {answer:?}"))
}

/// An Alertmanager; killed when dropped.
pub(crate) struct Alertmanager {
    port: u16,
    _program: Program,
    _folder: Folder,
}

impl Alertmanager {
    /// For each alert that it knows of with this name and job, whether another one mutes it.
    pub(crate) async fn are_muted(&self, name: &str, job: &str) -> Vec<bool> {
        let alerts = get_json(self.port, "/api/v2/alerts").await;
        let alerts =
            alerts.as_array().unwrap().iter().filter(|alert| {
                alert["labels"]["alertname"] == name && alert["labels"]["job"] == job
            });
        let causes = |alert: &Value| alert["status"]["inhibitedBy"].as_array().map_or(0, Vec::len);
        alerts.map(|alert| causes(alert) > 0).collect()
    }

    /// One that tells the receiver of every alert by itself, at once.
    pub(crate) async fn telling_all(receiver: u16) -> Self {
        let config = format!(
            "route: {{receiver: all, group_by: ['...'], group_wait: 0s, group_interval: {EVERY}, \
             repeat_interval: 1h}}\nreceivers: [{{name: all, webhook_configs: \
             [{{url: 'http://127.0.0.1:{receiver}{ALL}'}}]}}]\n"
        );
        Self::start(&config).await
    }

    /// The example, in time-lapse, with the receiver in place of the pager.
    pub(crate) async fn of_example(receiver: u16) -> Self {
        let config = hastened(&text(ROUTES))
            .replace("http://pager.example.com/page", &format!("http://127.0.0.1:{receiver}{PAGE}"))
            .replace("http://chat.example.com", &format!("http://127.0.0.1:{receiver}"));
        assert!(config.matches("127.0.0.1").count() == 2, "{config}");
        Self::start(&config).await
    }

    async fn start(config: &str) -> Self {
        let (folder, port) = (Folder::new(), free_port());
        let file = folder.0.join("alertmanager.yaml");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(monitor("alertmanager"));
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", folder.0.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--cluster.listen-address=", "--log.level=warn"]);
        let program = Program::spawn(command);
        until("Alertmanager", async || {
            assert!(program.is_running(), "{}", program.err());
            is_ready(port).await.then_some(())
        })
        .await;
        Self { port, _program: program, _folder: folder }
    }
}

/// What is scraped: a job, its targets' ports, and the label `namespace` where they have one.
pub(crate) struct Job {
    pub(crate) name: &'static str,
    pub(crate) namespace: Option<&'static str>,
    pub(crate) ports: Vec<u16>,
}

/// A Prometheus with the rules in time-lapse; killed when dropped.
pub(crate) struct Prometheus {
    port: u16,
    started: Instant,
    program: Program,
    _folder: Folder,
}

impl Prometheus {
    pub(crate) async fn start(jobs: &[Job], alertmanagers: &[&Alertmanager]) -> Self {
        let (folder, port) = (Folder::new(), free_port());
        fs::write(folder.0.join("rules.yaml"), hastened(&text(RULES))).unwrap();
        let file = folder.0.join("prometheus.yaml");
        fs::write(&file, config(jobs, alertmanagers)).unwrap();
        let mut command = Command::new(monitor("prometheus"));
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.0.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--query.lookback-delta=5s", "--rules.alert.resend-delay=1s"])
            .args(["--enable-feature=exemplar-storage", "--log.level=warn"]);
        let program = Program::spawn(command);
        let prometheus = Self { port, started: Instant::now(), program, _folder: folder };
        until("Prometheus", async || {
            assert!(prometheus.program.is_running(), "{}", prometheus.program.err());
            is_ready(port).await.then_some(())
        })
        .await;
        prometheus
    }

    async fn get(&self, path: &str) -> Value {
        get_json(self.port, &format!("/api/v1/{path}")).await
    }

    /// The first value of a query's result, if it has any.
    pub(crate) async fn value(&self, query: &str) -> Option<f64> {
        let query = utf8_percent_encode(query, NON_ALPHANUMERIC);
        let answer = self.get(&format!("query?query={query}")).await;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    /// Waits until a query that compares has a result.
    pub(crate) async fn until(&self, query: &str) {
        until(query, async || self.value(query).await.map(drop)).await;
    }

    /// All rules that are not well, with their last error.
    pub(crate) async fn sick_rules(&self) -> Vec<String> {
        let answer = self.get("rules").await;
        let groups = answer["data"]["groups"].as_array().unwrap().iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
        let sick = rules.filter(|rule| rule["health"] != "ok");
        sick.map(|rule| format!("{}: {}", rule["name"], rule["lastError"])).collect()
    }

    /// How long it has been running.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Asks about its whole life.
    async fn get_all(&self, api: &str, query: &str) -> Value {
        let end = std::time::SystemTime::now();
        let end = end.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let start = end - self.age().as_secs_f64();
        let query = utf8_percent_encode(query, NON_ALPHANUMERIC);
        self.get(&format!("{api}?query={query}&start={start}&end={end}&step=1s")).await
    }

    /// The traces that stand for buckets of a histogram.
    pub(crate) async fn exemplars(&self, histogram: &str) -> Vec<String> {
        let answer = self.get_all("query_exemplars", histogram).await;
        let series = answer["data"].as_array().unwrap().iter();
        let exemplars = series.flat_map(|series| series["exemplars"].as_array().unwrap());
        let ids = exemplars.map(|exemplar| exemplar["labels"]["trace_id"].as_str().unwrap());
        ids.map(str::to_owned).collect()
    }

    /// How many values, over its whole life, a query has that are numbers, or what is wrong with it.
    pub(crate) async fn count_values(&self, query: &str) -> Result<usize, String> {
        let answer = self.get_all("query_range", query).await;
        if answer["status"] != "success" {
            return Err(answer["error"].to_string());
        }
        let series = answer["data"]["result"].as_array().unwrap().iter();
        let values = series.flat_map(|series| series["values"].as_array().unwrap());
        Ok(values.filter(|value| value[1] != "NaN").count())
    }
}

fn config(jobs: &[Job], alertmanagers: &[&Alertmanager]) -> String {
    let addresses = |ports: &mut dyn Iterator<Item = u16>| {
        ports.map(|port| format!("'127.0.0.1:{port}'")).collect::<Vec<_>>().join(", ")
    };
    let own = addresses(&mut alertmanagers.iter().map(|alertmanager| alertmanager.port));
    let mut config = format!(
        "global: {{scrape_interval: {EVERY}, scrape_timeout: {EVERY}, evaluation_interval: {EVERY}}}\n\
         rule_files: [rules.yaml]\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: [{own}]}}]}}]}}\n\
         scrape_configs:\n"
    );
    for Job { name, namespace, ports } in jobs {
        let targets = addresses(&mut ports.iter().copied());
        let labels = namespace
            .map_or(String::new(), |namespace| format!(", labels: {{namespace: {namespace}}}"));
        writeln!(
            config,
            "- {{job_name: {name}, static_configs: [{{targets: [{targets}]{labels}}}]}}"
        )
        .unwrap();
    }
    config
}
