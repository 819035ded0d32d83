//! Callers and their lines: half-sent bodies, trickles, resets, hang-ups.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::{
    caller::{Caller, Endpoints, request},
    fleet::{Fleet, Setup, Store},
    history::{Disturbed, End, History, Request},
    load::{Load, MIXED, new_call},
    support::{
        proxy::{Flow, Proxy},
        real::NatsServer,
    },
    totals::{MACHINE, calls_of, finish},
    worker::{self, Worker},
};

/// What a bad client does with its connection.
#[derive(Clone, Copy, Debug)]
enum Habit {
    Says,
    Nothing,
    HalfAHead,
    HalfABody,
    HalfABodyThenReset,
    ByteByByte,
    Nonsense,
}

const HABITS: [Habit; 7] = [
    Habit::Says,
    Habit::Nothing,
    Habit::HalfAHead,
    Habit::HalfABody,
    Habit::HalfABodyThenReset,
    Habit::ByteByByte,
    Habit::Nonsense,
];

/// Bad clients, until they are dropped.
pub(crate) struct BadClients {
    stops: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl BadClients {
    /// So many of each habit.
    pub(crate) fn start(fleet: &Fleet, each: usize) -> Self {
        let stops = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for number in 0..each * HABITS.len() {
            let habit = HABITS[number % HABITS.len()];
            let endpoints = Arc::clone(&fleet.endpoints);
            let stops = Arc::clone(&stops);
            let history = Arc::clone(&fleet.history);
            tasks.spawn(async move {
                while !stops.load(Ordering::Relaxed) {
                    misbehave(habit, &history, &endpoints).await;
                }
            });
        }
        Self { stops, _tasks: tasks }
    }
}

impl Drop for BadClients {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
    }
}

/// Once. Returns when the bridge has closed the connection, or the client has.
async fn misbehave(habit: Habit, history: &History, endpoints: &Endpoints) {
    let Some((life, port)) = endpoints.pick(None) else {
        return tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else {
        return tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let asked = new_call(worker::SLOW);
    let bytes = request(&asked, false);
    let head = bytes.len() - asked.claims.len();
    let sent = match habit {
        Habit::Says => &bytes[..],
        Habit::Nothing => &[],
        Habit::HalfAHead => &bytes[..head / 2],
        Habit::HalfABody | Habit::HalfABodyThenReset => &bytes[..head + 10],
        Habit::ByteByByte => &bytes[..head],
        Habit::Nonsense => b"\x16\x03\x01 nonsense\r\n\r\n",
    };
    let at = history.now();
    if stream.write_all(sent).await.is_err() {
        return;
    }
    if let Habit::Says = habit {
        // Hangs up while a worker thinks, and posts again as a caller does.
        drop(stream.set_zero_linger());
        drop(stream);
        let (attempt, done, end) = (1, history.now(), End::Left);
        let left = Request { asked: asked.clone(), life, attempt, sent: at, done, end };
        history.asked(left);
        drop(Caller::default().ask(history, (life, port), &asked, (2, false)).await);
        return;
    }
    if let Habit::HalfABodyThenReset = habit {
        drop(stream.set_zero_linger());
        return tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if let Habit::ByteByByte = habit {
        // Until the bridge does not wait any longer: it is never whole.
        for byte in bytes[head..bytes.len() - 1].chunks(1) {
            if stream.write_all(byte).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let mut rest = Vec::new();
    drop(timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_clients_and_bad_lines_of_some_callers_harm_no_other() {
    let _shared = MACHINE.read().await;
    let server = NatsServer::start().await;
    let fleet = Fleet::start(Setup::at(&[server.url()], Store::Memory), 2).await;
    let history = &fleet.history;
    let _worker = Worker::start(history, &server.url()).await;
    let load = Load::start(&fleet, MIXED);
    let bad = BadClients::start(&fleet, 20);
    load.until_more(3_000).await;
    drop(bad);

    // One process is reached over a line that fails; the other is not touched.
    let behind = fleet.lives()[0];
    let line = Proxy::to(fleet[behind].port).await;
    fleet.endpoints.remove(behind);
    fleet.endpoints.add(behind, line.port);
    for flow in [
        Flow::Delayed(Duration::from_millis(200)),
        Flow::Trickling(20),
        Flow::Stalled,
        Flow::Free,
        Flow::Refused,
    ] {
        history.disturb(Disturbed::Process(behind));
        line.set(flow);
        load.until_more(200).await;
        for _ in 0..10 {
            line.reset();
            load.until_more(20).await;
            line.cut();
            load.until_more(20).await;
        }
        line.set(Flow::Free);
        line.reset();
        load.until_more(50).await;
        history.mend(Disturbed::Process(behind));
    }
    load.until_calls(calls_of("bad clients")).await;
    load.stop().await;
    finish("bad clients", &fleet).await;
}
