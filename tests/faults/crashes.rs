//! A process is killed at each point of a call, or paused and woken; the caller tries again at
//! another.

use std::{sync::Arc, time::Duration};

use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinHandle};

use crate::{
    caller::{Caller, request},
    cluster::Cluster,
    fleet::{Fleet, NAMES, Setup, Store},
    history::{Answer, Asked, History, Life, Message},
    load::{Load, MIXED, new_call_at},
    support::{
        proxy::{Flow, Proxy},
        real::{NatsServer, until},
    },
    totals::{MACHINE, calls_of, finish},
    worker::{self, Worker},
};

/// The connector of these calls, and how long the worker thinks where it thinks.
const CONNECTOR: &str = NAMES[0];
const THINKS: &str = "decide 700";

/// When the claim of an owner that died has ended: its deadline, and the second behind it.
const CLAIM: Duration = Duration::from_secs(2 + 1);

/// Kills and retries, over and over.
pub(crate) struct Crashes<'a> {
    pub(crate) fleet: &'a mut Fleet,
    pub(crate) server: &'a NatsServer,
}

/// A caller's request that may be left without an answer.
fn ask(fleet: &Fleet, to: (Life, u16), asked: &Asked) -> JoinHandle<Option<Answer>> {
    let (history, asked) = (Arc::clone(&fleet.history), asked.clone());
    tokio::spawn(async move {
        let answer = Caller::default().ask(&history, to, &asked, (1, false)).await;
        answer.ok().flatten()
    })
}

/// The messages of a call, once there are so many.
async fn until_messages(history: &History, asked: &Asked, count: usize) -> Vec<Message> {
    until("a worker gets the call", async || {
        let messages = history.messages_of(&asked.claims);
        (messages.len() >= count).then_some(messages)
    })
    .await
}

impl Crashes<'_> {
    /// The same claims at another process.
    async fn retry(&self, asked: &Asked, but: Life) -> Answer {
        let to = self.fleet.endpoints.pick(Some(but)).expect("another process");
        let history = &self.fleet.history;
        let answer = Caller::default().ask(history, to, asked, (2, false)).await;
        answer.ok().flatten().expect("an answer")
    }

    fn attempts(&self, asked: &Asked) -> Vec<u32> {
        let messages = self.fleet.history.messages_of(&asked.claims);
        messages.iter().map(|message| message.attempt).collect()
    }

    /// A process that only these calls come to.
    async fn one_apart(&mut self) -> Life {
        let nats = self.fleet.setup.nats.clone();
        self.fleet.add_apart(&nats).await
    }

    /// A retry elsewhere is the next attempt, unless the store was not well meanwhile: on a busy
    /// machine it may not be.
    fn assert_next_attempt(&self, asked: &Asked, store_faults: u64) {
        match (&self.attempts(asked)[..], self.is_shared()) {
            ([1, 2], true) | ([1, 1], false) => {}
            ([1, ..], true) if store_faults > 0 => {}
            (other, _) => panic!("attempts {other:?}, with {store_faults} faults of the store"),
        }
    }

    fn is_shared(&self) -> bool {
        self.fleet.setup.store == Store::Jetstream
    }

    /// Killed while it waits for its connection to NATS: nothing was sent.
    pub(crate) async fn before_the_dispatch(&mut self) {
        let line = Proxy::to(self.server.port).await;
        let life = self.fleet.add_apart(&format!("servers: [\"{}\"]", url(&line))).await;
        line.set(Flow::Refused);
        line.cut();
        let serving = &self.fleet[life];
        until("the connection is lost", async || {
            (serving.metric("nats_connected").await == Some(0.0)).then_some(())
        })
        .await;
        let asked = new_call_at(CONNECTOR, worker::DECIDE);
        let mut stream = TcpStream::connect(("127.0.0.1", serving.port)).await.unwrap();
        stream.write_all(&request(&asked, false)).await.unwrap();
        until("it waits", async || {
            let waits = serving.metric("requests_in_flight{connector=\"entra\"}").await;
            (waits == Some(1.0)).then_some(())
        })
        .await;
        self.fleet.kill(life);
        let answer = self.retry(&asked, life).await;
        assert_eq!(answer.source, "worker");
        assert_eq!(self.attempts(&asked), [1]);
    }

    /// Killed while the worker thinks. Asked again at once, and once more after the claim.
    pub(crate) async fn while_the_worker_thinks(&mut self) {
        let life = self.one_apart().await;
        let asked = new_call_at(CONNECTOR, THINKS);
        let (at, before) = (self.fleet.history.now(), self.fleet.store_faults().await);
        let first = ask(self.fleet, (life, self.fleet[life].port), &asked);
        until_messages(&self.fleet.history, &asked, 1).await;
        let faults = self.fleet.store_faults().await - before;
        self.fleet.kill(life);
        let after = self.fleet.store_faults().await;
        assert!(first.await.unwrap().is_none());
        if self.is_shared() {
            // Valid and in time, whatever it is: the owner may live.
            self.retry(&asked, life).await;
            tokio::time::sleep((at + CLAIM).saturating_sub(self.fleet.history.now())).await;
        }
        let answer = self.retry(&asked, life).await;
        assert!(matches!(&*answer.source, "worker" | "replay"), "{answer:?}");
        let faults = faults + self.fleet.store_faults().await - after;
        self.assert_next_attempt(&asked, faults);
    }

    /// Killed while the worker thinks; the caller waits as long as it does for an answer.
    pub(crate) async fn and_is_taken_over(&mut self) {
        let life = self.one_apart().await;
        let asked = new_call_at(CONNECTOR, THINKS);
        let (at, before) = (self.fleet.history.now(), self.fleet.store_faults().await);
        let first = ask(self.fleet, (life, self.fleet[life].port), &asked);
        until_messages(&self.fleet.history, &asked, 1).await;
        let faults = self.fleet.store_faults().await - before;
        self.fleet.kill(life);
        let after = self.fleet.store_faults().await;
        assert!(first.await.unwrap().is_none());
        tokio::time::sleep((at + CLAIM).saturating_sub(self.fleet.history.now())).await;
        let answer = self.retry(&asked, life).await;
        assert_eq!(answer.source, "worker", "{answer:?}");
        let faults = faults + self.fleet.store_faults().await - after;
        self.assert_next_attempt(&asked, faults);
        let messages = self.fleet.history.messages_of(&asked.claims);
        assert_eq!(messages[0].call_id, messages[1].call_id);
    }

    /// Killed when it has answered, and nothing of that has come to the caller. Whether the retry
    /// got the recorded decision.
    pub(crate) async fn before_the_answer_is_read(&mut self) -> bool {
        let life = self.one_apart().await;
        let line = Proxy::to(self.fleet[life].port).await;
        let before = self.fleet.store_faults().await;
        let asked = new_call_at(CONNECTOR, "decide 100");
        let first = ask(self.fleet, (life, line.port), &asked);
        until_messages(&self.fleet.history, &asked, 1).await;
        line.set(Flow::Stalled);
        let answered = requests_answered(self.fleet, life);
        answered.await;
        let faults = self.fleet.store_faults().await - before;
        self.fleet.kill(life);
        line.reset();
        assert!(first.await.unwrap().is_none());
        self.is_replayed(&asked, life, faults).await
    }

    /// Killed when the caller has its answer, and lost it.
    pub(crate) async fn after_the_answer(&mut self) -> bool {
        let life = self.one_apart().await;
        let others = self.fleet.store_faults().await;
        let asked = new_call_at(CONNECTOR, worker::DECIDE);
        let answer = ask(self.fleet, (life, self.fleet[life].port), &asked).await.unwrap();
        assert_eq!(answer.expect("an answer").source, "worker");
        self.fleet.kill(life);
        // What the owner saw of the store is gone with it; the others saw the same store.
        let faults = self.fleet.store_faults().await.saturating_sub(others);
        self.is_replayed(&asked, life, faults).await
    }

    async fn is_replayed(&self, asked: &Asked, life: Life, faults: u64) -> bool {
        let after = self.fleet.store_faults().await;
        let answer = self.retry(asked, life).await;
        let faults = faults + self.fleet.store_faults().await - after;
        let attempts = self.attempts(asked);
        match &*answer.source {
            "replay" => assert_eq!(attempts, [1]),
            // Killed before it was recorded.
            "worker" => self.assert_next_attempt(asked, faults),
            // The claim of the owner that died before it recorded lasts longer than the retry.
            source => assert!(self.is_shared(), "{source}"),
        }
        answer.source == "replay"
    }

    /// Paused while the worker thinks, woken after another process took over: it overwrites
    /// nothing.
    pub(crate) async fn paused_and_woken(&mut self) {
        let life = self.fleet.lives()[0];
        let asked = new_call_at(CONNECTOR, THINKS);
        let (at, before) = (self.fleet.history.now(), self.fleet.store_faults().await);
        let port = self.fleet[life].port;
        let first = ask(self.fleet, (life, port), &asked);
        until_messages(&self.fleet.history, &asked, 1).await;
        let faults = self.fleet.store_faults().await - before;
        self.fleet.endpoints.remove(life);
        self.fleet.pause(life);
        let after = self.fleet.store_faults_but(Some(life)).await;
        tokio::time::sleep((at + CLAIM).saturating_sub(self.fleet.history.now())).await;
        let taken_over = self.retry(&asked, life).await;
        let faults = faults + self.fleet.store_faults_but(Some(life)).await - after;
        assert_eq!(taken_over.source, "worker");
        self.fleet.resume(life);
        // Whatever the first caller gets now, it is no other decision.
        let woken = first.await.unwrap();
        self.fleet.until_all("nats_connected", 1.0).await;
        self.fleet.endpoints.add(life, port);
        if !self.is_shared() {
            return;
        }
        // Until then it knows of its own calls only.
        self.fleet.until_all("store_available", 1.0).await;
        self.assert_next_attempt(&asked, faults);
        if faults > 0 {
            // Each may have decided it for itself.
            return;
        }
        if let Some(woken) = woken.filter(|woken| woken.source != "default") {
            assert_eq!(woken.body, taken_over.body, "the paused owner said something else");
        }
        // Not even in its own memory.
        for life in self.fleet.lives() {
            let to = (life, self.fleet[life].port);
            let again = Caller::default().ask(&self.fleet.history, to, &asked, (3, false)).await;
            let again = again.unwrap().expect("an answer");
            assert_eq!((&*again.source, again.body), ("replay", taken_over.body.clone()));
        }
    }
}

fn url(line: &Proxy) -> String {
    format!("nats://127.0.0.1:{}", line.port)
}

/// Waits until a process has answered a call from a worker's decision.
async fn requests_answered(fleet: &Fleet, life: Life) {
    const SERIES: &str = "requests_total{action=\"continue\",code=\"200\",connector=\"entra\",\
        source=\"worker\",step=\"before-create\"}";
    until(SERIES, async || fleet[life].metric(SERIES).await.filter(|count| *count >= 1.0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_is_killed_at_each_point_of_a_call_and_the_retry_is_decided() {
    let _shared = MACHINE.read().await;
    let server = NatsServer::start().await;
    let mut fleet = Fleet::start(Setup::at(&[server.url()], Store::Memory), 2).await;
    let history = Arc::clone(&fleet.history);
    let _worker = Worker::start(&history, &server.url()).await;
    let load = Load::start(&fleet, MIXED);
    let mut crashes = Crashes { fleet: &mut fleet, server: &server };
    for _ in 0..3 {
        crashes.before_the_dispatch().await;
        crashes.while_the_worker_thinks().await;
        crashes.before_the_answer_is_read().await;
        crashes.after_the_answer().await;
        crashes.paused_and_woken().await;
    }
    load.until_calls(calls_of("processes killed")).await;
    load.stop().await;
    finish("processes killed", &fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_had_claimed_is_replayed_or_taken_over_elsewhere() {
    const ROUNDS: usize = 6;
    let _shared = MACHINE.read().await;
    let cluster = Cluster::start().await;
    let urls = [cluster.url(0), cluster.url(1), cluster.url(2)];
    let mut fleet = Fleet::start(Setup::at(&urls, Store::Jetstream), 3).await;
    let history = Arc::clone(&fleet.history);
    fleet.watch_store();
    let _worker = Worker::start(&history, &cluster.url(0)).await;
    let load = Load::start(&fleet, MIXED);
    let mut crashes = Crashes { fleet: &mut fleet, server: &cluster.servers[0] };
    let (mut before_read, mut after_answer) = (0, 0);
    for _ in 0..ROUNDS {
        crashes.before_the_dispatch().await;
        crashes.while_the_worker_thinks().await;
        crashes.and_is_taken_over().await;
        before_read += usize::from(crashes.before_the_answer_is_read().await);
        after_answer += usize::from(crashes.after_the_answer().await);
    }
    println!(
        "{ROUNDS} takeovers; of {ROUNDS} each replayed: killed before the answer was read \
         {before_read}, after it {after_answer}"
    );
    // A process may die before it has recorded; most have by then.
    assert!(before_read + after_answer >= ROUNDS, "{before_read}, {after_answer}");
    load.until_calls(calls_of("claims left behind")).await;
    load.stop().await;
    finish("claims left behind", &fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_paused_process_had_claimed_is_taken_over_and_not_overwritten() {
    let _shared = MACHINE.read().await;
    let cluster = Cluster::start().await;
    let mut fleet = Fleet::start(Setup::at(&[cluster.url(0)], Store::Jetstream), 3).await;
    // A process that has just woken finds the store silent, and does without for a moment.
    fleet.watch_store();
    let _worker = Worker::start(&fleet.history, &cluster.url(0)).await;
    let load = Load::start(&fleet, MIXED);
    let mut crashes = Crashes { fleet: &mut fleet, server: &cluster.servers[0] };
    for _ in 0..6 {
        crashes.paused_and_woken().await;
    }
    load.until_calls(calls_of("owners paused")).await;
    load.stop().await;
    finish("owners paused", &fleet).await;
}
