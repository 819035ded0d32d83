//! Several bridge processes behind one load balancer.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use connector_bridge::domain::protocol::Protocol;
use tokio::task::JoinHandle;

use crate::{
    caller::Endpoints,
    checker::{Contract, Memory, Rules},
    history::{Disturbance, Disturbed, History, Life},
    support::{
        process::Serving,
        real::{Folder, get, until, value_of},
    },
    worker::inbox_of,
};

/// Where calls are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    Memory,
    /// With one key that encrypts records.
    Jetstream,
}

impl Store {
    fn keys(self) -> &'static str {
        match self {
            Store::Memory => "store: memory",
            Store::Jetstream => "store: jetstream, encryption_key_files: [\"{folder}/key\"]",
        }
    }

    /// What this store promises.
    pub(crate) fn rules(self) -> Rules {
        let memory = match self {
            Store::Memory => Memory::Process,
            Store::Jetstream => Memory::Shared,
        };
        Rules { contracts: contracts(), memory }
    }
}

/// Every connector of every fleet: name, protocol, step, deadline in milliseconds.
const CONNECTORS: [(&str, &str, &str, u64); 4] = [
    ("entra", "entra", "before-create", 2_000),
    ("b2c", "b2c", "after-federation", 1_500),
    ("policy", "b2c-policy", "custom", 2_500),
    ("patient", "entra", "before-create", 10_000),
];

/// Those of most calls.
pub(crate) const NAMES: [&str; 3] = [CONNECTORS[0].0, CONNECTORS[1].0, CONNECTORS[2].0];

/// One whose deadline is long enough for a retry to outwait what a killed process has left behind.
pub(crate) const PATIENT: &str = CONNECTORS[3].0;

/// The longest deadline of [`NAMES`].
pub(crate) const DEADLINE_MAX: Duration = Duration::from_millis(CONNECTORS[2].3);

const MESSAGE: &str = "Not now.";

fn contracts() -> Vec<Contract> {
    let contracts = CONNECTORS.iter().map(|(connector, protocol, step, deadline)| {
        let protocol = Protocol::named(protocol).unwrap();
        let default = match protocol.name {
            "b2c-policy" => {
                (409, format!(r#"{{"version":"1.0.0","status":409,"userMessage":"{MESSAGE}"}}"#))
            }
            _ => (
                200,
                format!(
                    r#"{{"version":"1.0.0","action":"ShowBlockPage","userMessage":"{MESSAGE}"}}"#
                ),
            ),
        };
        let (step, deadline) = (protocol.step(step).unwrap(), Duration::from_millis(*deadline));
        Contract { connector, protocol, step, deadline, default }
    });
    contracts.collect()
}

/// Lines of the section `connectors`, with `more` in each.
fn connectors(more: &str) -> String {
    let auth = r#"{basic: [{username: entra, password_file: "{folder}/password"}]}"#;
    let lines = CONNECTORS.iter().map(|(name, protocol, step, deadline)| {
        format!(
            "  {name}: {{protocol: {protocol}, step: {step}, deadline: {deadline}ms, auth: {auth}, \
             fallback: {{message: \"{MESSAGE}\"{more}\n"
        )
    });
    lines.collect()
}

/// `store_operations_total` in a text: operation and result, how often.
fn operations(metrics: &str) -> Vec<((String, String), u64)> {
    let lines = metrics.lines().filter_map(|line| {
        let labels = line.strip_prefix("connector_bridge_store_operations_total{")?;
        let (labels, count) = labels.split_once("} ")?;
        let label = |name: &str| Some(labels.split_once(name)?.1.split('"').nth(1)?.to_owned());
        let count = count.parse().ok().filter(|count| *count > 0)?;
        Some(((label("operation=")?, label("result=")?), count))
    });
    lines.collect()
}

async fn watch_store(history: Arc<History>, admin_ports: Vec<u16>) {
    const EVERY: Duration = Duration::from_millis(200);
    let mut faults: BTreeMap<u16, u64> = BTreeMap::new();
    let mut last = history.now();
    loop {
        tokio::time::sleep(EVERY).await;
        for port in &admin_ports {
            let operations = operations(&get(*port, "/metrics").await.body);
            let bad = operations.iter().filter(|((_, result), _)| !is_healthy(result));
            let count = bad.map(|(_, count)| count).sum();
            if faults.insert(*port, count).is_some_and(|before| before != count) {
                // What was noticed since the last look had begun before.
                let (from, until) = (last.saturating_sub(EVERY * 2), history.now());
                let what = Disturbed::Store;
                history.events().disturbances.push(Disturbance { what, from, until });
            }
        }
        last = history.now();
    }
}

fn is_healthy(result: &str) -> bool {
    matches!(result, "ok" | "conflict")
}

/// What the processes of a fleet have in common.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) store: Store,
    /// Keys of the section `nats`.
    pub(crate) nats: String,
    /// More keys of the section `calls`, each behind a comma.
    pub(crate) calls: String,
    /// Lines at the root.
    pub(crate) root: String,
    /// Ends the section `fallback` of every connector, and adds other keys: `}, grace: 1s}`.
    pub(crate) connectors: String,
}

impl Setup {
    /// Whose breaker never opens.
    pub(crate) fn at(urls: &[String], store: Store) -> Self {
        let urls: Vec<String> = urls.iter().map(|url| format!("\"{url}\"")).collect();
        Self {
            store,
            nats: format!("servers: [{}]", urls.join(", ")),
            calls: String::new(),
            root: "drain_delay: 1s\nshutdown_grace: 10s".to_owned(),
            connectors: "}, breaker: {failures: 1000000}}".to_owned(),
        }
    }
}

/// The processes.
pub(crate) struct Fleet {
    pub(crate) history: Arc<History>,
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) setup: Setup,
    pub(crate) processes: BTreeMap<Life, Serving>,
    lives: usize,
    watch: Option<JoinHandle<()>>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
    }
}

impl std::ops::Index<Life> for Fleet {
    type Output = Serving;

    fn index(&self, life: Life) -> &Serving {
        &self.processes[&life]
    }
}

impl Fleet {
    /// So many processes, all connected and with callers.
    pub(crate) async fn start(setup: Setup, count: usize) -> Self {
        let mut fleet = Self::empty(setup);
        for _ in 0..count {
            fleet.add().await;
        }
        fleet
    }

    /// None yet.
    pub(crate) fn empty(setup: Setup) -> Self {
        Self {
            history: Arc::new(History::new()),
            endpoints: Arc::default(),
            setup,
            processes: BTreeMap::new(),
            lives: 0,
            watch: None,
        }
    }

    /// One more; its callers come once it is connected.
    pub(crate) async fn add(&mut self) -> Life {
        let nats = self.setup.nats.clone();
        self.add_at(&nats).await
    }

    /// One more with other keys of the section `nats`.
    pub(crate) async fn add_at(&mut self, nats: &str) -> Life {
        let life = self.add_apart(nats).await;
        self.endpoints.add(life, self[life].port);
        life
    }

    /// One more that the load balancer does not know.
    pub(crate) async fn add_apart(&mut self, nats: &str) -> Life {
        self.lives += 1;
        let life = Life(self.lives);
        let folder = Folder::new();
        std::fs::write(folder.0.join("key"), [7; 32]).unwrap();
        std::fs::write(folder.0.join("nats-password"), "secret").unwrap();
        let nats = format!("{nats}, inbox_prefix: {}", inbox_of(life));
        let setup = &self.setup;
        let root = format!("calls: {{{}{}}}\n{}", setup.store.keys(), setup.calls, setup.root);
        let connectors = connectors(&self.setup.connectors);
        let serving = Serving::start_in(folder, &nats, &root, &connectors).await.connected().await;
        if self.setup.store == Store::Jetstream {
            // The gauge alone does not say that it was found.
            until("the store", async || {
                let is_found = serving.program.err().contains("the store is available");
                let is_available = serving.metric("store_available").await == Some(1.0);
                (is_found && is_available).then_some(())
            })
            .await;
        }
        self.processes.insert(life, serving);
        life
    }

    /// From now on, whenever these processes say that the store did not answer in time, it counts
    /// as ill: on a busy machine it may be.
    pub(crate) fn watch_store(&mut self) {
        let history = Arc::clone(&self.history);
        let ports = self.processes.values().map(|serving| serving.admin_port).collect();
        self.watch = Some(tokio::spawn(watch_store(history, ports)));
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, life: Life) {
        self.history.disturb(Disturbed::Process(life));
        self.endpoints.remove(life);
        self.processes.remove(&life);
    }

    /// SIGSTOP. Callers still come.
    pub(crate) fn pause(&self, life: Life) {
        self.history.disturb(Disturbed::Process(life));
        self[life].program.signal("STOP");
    }

    /// SIGCONT.
    pub(crate) fn resume(&self, life: Life) {
        self[life].program.signal("CONT");
        self.history.mend(Disturbed::Process(life));
    }

    pub(crate) fn lives(&self) -> Vec<Life> {
        self.processes.keys().copied().collect()
    }

    /// A series of every process that runs, summed up.
    pub(crate) async fn sum(&self, series: &str) -> f64 {
        let mut sum = 0.0;
        for serving in self.processes.values() {
            sum += serving.metric(series).await.unwrap_or_else(|| panic!("{series}"));
        }
        sum
    }

    /// What the processes that run say of the store, summed up: operation and result, how often.
    pub(crate) async fn store_operations(&self) -> BTreeMap<(String, String), u64> {
        self.store_operations_but(None).await
    }

    /// Without one of them, which may be paused.
    async fn store_operations_but(&self, but: Option<Life>) -> BTreeMap<(String, String), u64> {
        let mut sums = BTreeMap::new();
        let processes = self.processes.iter().filter(|(life, _)| Some(**life) != but);
        for (_, serving) in processes {
            for (series, count) in operations(&get(serving.admin_port, "/metrics").await.body) {
                *sums.entry(series).or_default() += count;
            }
        }
        sums
    }

    /// How often the store was not well, as the processes that run say.
    pub(crate) async fn store_faults(&self) -> u64 {
        self.store_faults_but(None).await
    }

    /// Without one of them, which may be paused.
    pub(crate) async fn store_faults_but(&self, but: Option<Life>) -> u64 {
        let operations = self.store_operations_but(but).await;
        operations
            .iter()
            .filter(|((_, result), _)| !is_healthy(result))
            .map(|(_, count)| count)
            .sum()
    }

    /// Waits until every process that runs has this value.
    pub(crate) async fn until_all(&self, series: &str, value: f64) {
        for serving in self.processes.values() {
            until(series, async || (serving.metric(series).await == Some(value)).then_some(()))
                .await;
        }
    }

    /// No process has panicked, or been late by its own measure. One that was stopped is late for
    /// what it had before: its time goes on.
    pub(crate) async fn assert_sound(&self) {
        for (life, serving) in &self.processes {
            let metrics = get(serving.admin_port, "/metrics").await.body;
            assert_eq!(value_of("panics_total", &metrics), Some(0.0), "{life:?}");
            let was_stopped = self.history.was_disturbed(Disturbed::Process(*life));
            for connector in NAMES.iter().filter(|_| !was_stopped) {
                let series = format!("late_responses_total{{connector=\"{connector}\"}}");
                assert_eq!(value_of(&series, &metrics), Some(0.0), "{life:?}: {series}");
            }
            assert!(!serving.program.err().contains("panic"), "{}", serving.program.err());
        }
    }
}
