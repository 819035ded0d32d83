//! Callers that call all the time, each connector in a manner that can be changed.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::timeout,
};

use crate::support::real::post_head;

/// How long a caller waits, Entra's 20 s and something.
const CALLER_WAITS: Duration = Duration::from_secs(25);

/// The most callers at a connector.
pub(crate) const CALLERS_MAX: usize = 32;

/// What is posted as the password, in Base64 with the user name.
const RIGHT: &str = "ZW50cmE6c2VjcmV0";
const WRONG: &str = "ZW50cmE6d3Jvbmc=";

/// How a connector is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// What the workers are told, in turn.
    pub(crate) plans: &'static [&'static str],
    /// How many call at once; at most [`CALLERS_MAX`].
    pub(crate) at_once: usize,
    /// Each of so many requests has a wrong password, if any.
    pub(crate) wrong_password: Option<usize>,
    /// How many people there are; each is asked about with a new form every time.
    pub(crate) people: usize,
    /// Each of so many requests repeats the one before, if any.
    pub(crate) repeats: Option<usize>,
    /// Each of so many requests has a body that is no JSON, if any.
    pub(crate) nonsense: Option<usize>,
}

/// As on a good day.
pub(crate) const GOOD: Manner = Manner {
    plans: &["decide 0", "decide 5", "block 0", "decide 0", "invalid 0"],
    at_once: 1,
    wrong_password: None,
    people: 20,
    repeats: None,
    nonsense: None,
};

/// The callers; gone when dropped.
pub(crate) struct Traffic {
    manners: BTreeMap<&'static str, watch::Sender<Manner>>,
    _callers: JoinSet<()>,
}

impl Traffic {
    /// Calls each connector at these ports in turn.
    pub(crate) fn start(connectors: &[(&'static str, Vec<u16>)]) -> Self {
        let mut callers = JoinSet::new();
        let mut manners = BTreeMap::new();
        for (connector, ports) in connectors {
            let (sender, manner) = watch::channel(GOOD);
            manners.insert(*connector, sender);
            for number in 0..CALLERS_MAX {
                callers.spawn(call(connector, ports.clone(), number, manner.clone()));
            }
        }
        Self { manners, _callers: callers }
    }

    /// From now on this connector is called so.
    pub(crate) fn set(&self, connector: &str, manner: Manner) {
        self.manners[connector].send_replace(manner);
    }

    /// From now on all are called well.
    pub(crate) fn set_all_good(&self) {
        for manner in self.manners.values() {
            manner.send_replace(GOOD);
        }
    }
}

async fn call(
    connector: &'static str,
    ports: Vec<u16>,
    number: usize,
    mut manner: watch::Receiver<Manner>,
) {
    const PAUSE: Duration = Duration::from_millis(100);
    let mut count = number;
    loop {
        let Ok(now) = manner.wait_for(|manner| number < manner.at_once).await.map(|now| *now)
        else {
            return;
        };
        count += 1;
        let is_due = |each: Option<usize>| each.is_some_and(|each| count.is_multiple_of(each));
        let claims = claims(&now, count);
        let claims = if is_due(now.nonsense) { "no JSON" } else { &claims };
        let password = if is_due(now.wrong_password) { WRONG } else { RIGHT };
        let port = ports[count % ports.len()];
        post(port, connector, password, claims).await;
        if is_due(now.repeats) {
            post(port, connector, password, claims).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A form that nobody has filled in before, of one of few people.
fn claims(manner: &Manner, count: usize) -> String {
    static FORMS: AtomicUsize = AtomicUsize::new(0);
    let form = FORMS.fetch_add(1, Ordering::Relaxed);
    let (person, plan) = (count % manner.people, manner.plans[count % manner.plans.len()]);
    format!(r#"{{"email":"p{person}@example.com","displayName":"Form {form}","plan":"{plan}"}}"#)
}

/// Whatever comes back, if anything: the bridge may be dead, and counts by itself.
async fn post(port: u16, connector: &str, password: &str, claims: &str) {
    let head = post_head(connector, claims.len()).replace(RIGHT, password);
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request = format!("{head}Connection: close\r\n\r\n{claims}");
        stream.write_all(request.as_bytes()).await?;
        stream.read_to_end(&mut Vec::new()).await
    };
    drop(timeout(CALLER_WAITS, exchange).await);
}

/// So many requests over one connection, which all repeat one call.
pub(crate) async fn repeat(port: u16, connector: &str, times: usize) -> std::io::Result<()> {
    let claims = r#"{"email":"again@example.com","plan":"decide 0"}"#;
    let head = post_head(connector, claims.len());
    let mut all = format!("{head}\r\n{claims}").repeat(times - 1);
    all += &format!("{head}Connection: close\r\n\r\n{claims}");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut answers, mut requests) = stream.split();
    let reads = async { tokio::io::copy(&mut answers, &mut tokio::io::sink()).await };
    tokio::try_join!(requests.write_all(all.as_bytes()), reads).map(drop)
}
