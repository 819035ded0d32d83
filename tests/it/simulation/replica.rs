//! One process of the bridge: the real pipeline, memory, inbox and shared calls, at a connection
//! and a store that can fail.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use connector_bridge::{
    call::{Call, Posted},
    clock,
    domain::{
        call_id::{CallId, HashKey},
        seal::SealKeys,
        shared::{Owner, Revision, SharedPhase, SharedRecord, UnixMicros},
        trace_context::SpanRef,
    },
    inbox::{Arrival, Token},
    journal::Notes,
    lane::Lane,
    memory::Memory,
    pipeline::{Answered, Pipeline},
    store::SharedCalls,
    traces::RequestSpan,
    wire::{Message, NotSent, Store, StoreFault, Stored, Wire, Written},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
};

use super::{
    gate::{Flag, Gate},
    history::{Answer, Said, What, taken},
    plan::StoreIs,
    world::World,
};

/// So many failures in a row, and the store is not asked until it is seen to be back.
const FAILURES_MAX: u32 = 3;

/// How often a store that is away is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The connection to NATS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Up,
    /// Nothing gets through, and nobody has noticed.
    Mute,
    Down,
}

/// The connection of one process.
pub(crate) struct Line {
    world: Arc<World>,
    process: usize,
    gate: Arc<Gate>,
    link: Mutex<Link>,
    connected: Flag,
    /// When the connection was lost.
    lost: Mutex<Option<Instant>>,
    available: Arc<Flag>,
    failures: Mutex<u32>,
    clock_off_by: Mutex<i64>,
    arrivals: mpsc::UnboundedSender<(Token, usize, Said, Arrival)>,
}

impl Line {
    fn link(&self) -> Link {
        *self.link.lock().unwrap()
    }

    /// Hears how an operation of the store went, as the real connection does.
    fn hear<T>(&self, result: &Result<T, StoreFault>) {
        let mut failures = self.failures.lock().unwrap();
        match result {
            Ok(_) => *failures = 0,
            Err(StoreFault::Unavailable) => *failures = FAILURES_MAX,
            Err(StoreFault::Timeout | StoreFault::Full | StoreFault::Error) => *failures += 1,
        }
        if *failures >= FAILURES_MAX {
            *failures = 0;
            self.store_seems_away();
        }
    }

    fn store_seems_away(&self) {
        if !self.available.set(false) {
            return;
        }
        let process = self.process;
        self.world.add(What::StoreSeems { process, available: false });
        let (world, gate) = (Arc::clone(&self.world), Arc::clone(&self.gate));
        let available = Arc::clone(&self.available);
        world.on_the_way(1);
        tokio::spawn(async move {
            while !gate.is_dead() {
                tokio::time::sleep(LOOK_EVERY).await;
                let is_up = world.process(process).is_some_and(|it| it.line.link() == Link::Up);
                if is_up && matches!(world.store_is(), StoreIs::Up | StoreIs::Slow(_)) {
                    tokio::time::sleep(world.notices_after()).await;
                    break;
                }
            }
            world.on_the_way(-1);
            if !gate.is_dead() {
                world.add(What::StoreSeems { process, available: true });
                available.set(true);
            }
        });
    }

    /// An operation of the store over this connection.
    async fn operate<T>(
        &self,
        end: Instant,
        operation: impl Future<Output = Result<T, StoreFault>>,
    ) -> Result<T, StoreFault> {
        self.world.shuffle().await;
        self.gate.pass().await;
        let result = match self.link() {
            Link::Down => Err(StoreFault::Unavailable),
            Link::Up => operation.await,
            Link::Mute => Err(StoreFault::Timeout),
        };
        let is_lost =
            self.link() != Link::Up && result.as_ref().err() != Some(&StoreFault::Unavailable);
        let result = if is_lost {
            clock::sleep_until(end).await;
            let is_noticed = self.link() == Link::Down;
            Err(if is_noticed { StoreFault::Unavailable } else { StoreFault::Timeout })
        } else {
            result
        };
        self.gate.pass().await;
        self.hear(&result);
        result
    }
}

impl Store for Line {
    fn is_available(&self) -> bool {
        self.available.is_set()
    }

    async fn available(&self) {
        self.available.wait().await;
    }

    fn wall(&self) -> UnixMicros {
        let right = self.world.store.wall();
        UnixMicros(right.0.saturating_add_signed(*self.clock_off_by.lock().unwrap() * 1_000))
    }

    async fn read(&self, call: CallId, end: Instant) -> Result<Option<Stored>, StoreFault> {
        let read = self.operate(end, self.world.store.read(call, end)).await;
        let (process, person) = (self.process, self.world.person(call));
        let record = match &read {
            Ok(there) => Ok(there.as_ref().and_then(|there| self.world.kept(&there.record))),
            Err(fault) => Err(*fault),
        };
        self.world.add(What::Read { process, person, record });
        read
    }

    async fn write(
        &self,
        call: CallId,
        revision: Revision,
        life_seconds: u64,
        record: Vec<u8>,
        end: Instant,
    ) -> Result<Written, StoreFault> {
        let (process, person) = (self.process, self.world.person(call));
        self.gate.pass().await;
        if let Some(record) = self.world.owned(&record, process) {
            self.world.add(What::Asked { process, person, record });
        }
        let write = self.world.store.write(call, revision, life_seconds, record, end);
        let written = self.operate(end, write).await;
        self.world.add(What::Told { process, person, written: taken(&written) });
        written
    }

    async fn beat(&self, owner: Owner, life_seconds: u64, end: Instant) -> Result<(), StoreFault> {
        self.gate.pass().await;
        self.world.owner_is(owner, self.process);
        let beat = self.world.store.beat(owner, life_seconds, end);
        self.operate(end, beat).await
    }

    async fn last_beat(&self, owner: Owner, end: Instant) -> Result<Revision, StoreFault> {
        let last = self.world.store.last_beat(owner, end);
        self.operate(end, last).await
    }
}

impl Wire for Line {
    fn line(&self) -> connector_bridge::domain::sending::Line {
        let (is_up, lost) = (self.connected.is_set(), *self.lost.lock().unwrap());
        connector_bridge::domain::sending::Line { is_up, lost, heard: None }
    }

    async fn connected(&self) {
        self.connected.wait().await;
    }

    async fn publish(
        &self,
        token: Token,
        message: Message<'_>,
        mut may_go: impl FnMut() -> bool + Send,
    ) -> Result<(), NotSent> {
        if !may_go() {
            return Err(NotSent::HeldBack);
        }
        assert!(self.is_connected(), "nothing is sent while disconnected");
        assert!(!self.gate.is_shut() && !self.gate.is_dead(), "who stands still sends nothing");
        let reaches = self.link() == Link::Up;
        let number = self.world.send(self.process, &message, reaches);
        if !reaches {
            return Ok(());
        }
        for (after, said, arrival) in self.world.worked(message.call_id, message.attempt) {
            let (world, process) = (Arc::clone(&self.world), self.process);
            world.on_the_way(1);
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                world.shuffle().await;
                world.on_the_way(-1);
                let there = world.process(process).filter(|it| it.line.link() == Link::Up);
                if let Some(there) = there {
                    drop(there.line.arrivals.send((token, number, said, arrival)));
                }
            });
        }
        Ok(())
    }
}

/// A process of the bridge.
pub(crate) struct Process {
    number: usize,
    gate: Arc<Gate>,
    line: Arc<Line>,
    pipeline: Arc<Pipeline<Line>>,
    lane: Arc<Lane>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Process {
    pub(crate) fn start(world: &Arc<World>, number: usize, clock_off_by: i64) -> Arc<Self> {
        let gate = Arc::new(Gate::default());
        let (arrivals, mut arrived) = mpsc::unbounded_channel();
        let line = Arc::new(Line {
            world: Arc::clone(world),
            process: number,
            gate: Arc::clone(&gate),
            link: Mutex::new(Link::Up),
            connected: Flag::new(true),
            lost: Mutex::default(),
            available: Arc::new(Flag::new(true)),
            failures: Mutex::default(),
            clock_off_by: Mutex::new(clock_off_by),
            arrivals,
        });
        let setting = world.setting();
        let window = setting.config.calls.replay_window;
        let memory = Memory::new(window, setting.config.calls.max_entries);
        let keys = Arc::clone(&setting.secrets.seal_keys);
        let shared = SharedCalls::new(Arc::clone(&line), window, keys, setting.metrics.clone());
        let pipeline = Arc::new(Pipeline::new(Arc::clone(&line), memory, Some(shared)));
        let lane =
            Arc::new(Lane::new(setting.connector().clone(), &setting.metrics, usize::MAX, None));
        let (keeper, reader) = (Arc::clone(&pipeline), Arc::clone(&pipeline));
        let (keepers_gate, readers_gate) = (Arc::clone(&gate), Arc::clone(&gate));
        let keep = tokio::spawn(async move { keepers_gate.hold(keeper.keep()).await });
        let history = Arc::clone(world);
        let read = tokio::spawn(async move {
            let read = async {
                while let Some((token, message, said, arrival)) = arrived.recv().await {
                    history.add(What::Came { message, said });
                    reader.deliver(token, arrival);
                }
            };
            readers_gate.hold(read).await;
        });
        let tasks = Mutex::new(vec![keep.abort_handle(), read.abort_handle()]);
        if world.store_is() != StoreIs::Up {
            line.store_seems_away();
        }
        Arc::new(Self { number, gate, line, pipeline, lane, tasks })
    }

    /// A request comes. What comes back breaks where the process dies.
    pub(crate) fn post(
        &self,
        world: &Arc<World>,
        post: usize,
        body: String,
    ) -> oneshot::Receiver<Answered> {
        let (sender, receiver) = oneshot::channel();
        let (world, gate) = (Arc::clone(world), Arc::clone(&self.gate));
        let (pipeline, lane) = (Arc::clone(&self.pipeline), Arc::clone(&self.lane));
        let task = tokio::spawn(async move {
            let run = async {
                let span = SpanRef { trace_id: 1, span_id: 1, flags: 0 };
                let span = RequestSpan::unrecorded(span);
                let body = Bytes::from(body);
                let call = Call::read(
                    lane,
                    clock::now(),
                    Posted { body, is_kept: true, tells_body: false },
                    &HashKey::public(),
                    span,
                    Notes::default(),
                );
                let answered = pipeline.run(&call.unwrap()).await;
                world.add(What::Answered { post, answer: Answer::of(&answered.outcome) });
                drop(sender.send(answered));
            };
            gate.hold(run).await;
        });
        self.tasks.lock().unwrap().push(task.abort_handle());
        receiver
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.gate.is_dead()
    }

    pub(crate) fn is_running(&self) -> bool {
        !self.gate.is_dead() && !self.gate.is_shut()
    }

    /// It stops, and nothing of it goes on.
    pub(crate) fn die(&self) {
        self.gate.die();
        self.tasks.lock().unwrap().drain(..).for_each(|task| task.abort());
    }

    pub(crate) fn pause(&self) {
        self.gate.shut();
    }

    /// Returns whether it had stood still.
    pub(crate) fn wake(&self) -> bool {
        self.gate.open()
    }

    pub(crate) fn set_link(&self, link: Link) {
        let before = std::mem::replace(&mut *self.line.link.lock().unwrap(), link);
        let process = self.number;
        if before == link || self.is_dead() {
            return;
        }
        let (is_up, is_noticed) = (link == Link::Up, link != Link::Mute);
        self.line.world.add(What::Link { process, is_up, is_noticed });
        match link {
            Link::Mute => {}
            Link::Down => {
                *self.line.lost.lock().unwrap() = Some(clock::now());
                self.line.connected.set(false);
                self.line.store_seems_away();
                self.pipeline.connection_lost();
            }
            Link::Up => {
                self.line.connected.set(true);
                self.pipeline.connection_returned();
            }
        }
    }

    pub(crate) fn set_clock(&self, off_by: i64) {
        *self.line.clock_off_by.lock().unwrap() = off_by;
        self.line.world.add(What::Clock { process: self.number, off_by });
    }

    /// Calls, and messages that are waited for or may be answered late.
    pub(crate) fn sizes(&self) -> (usize, (usize, usize)) {
        self.pipeline.sizes()
    }
}

/// What a record says; nothing where it cannot be read.
pub(crate) fn opened(record: &[u8]) -> Option<SharedRecord> {
    SharedRecord::decode(&SealKeys::default().open("", record)?)
}

/// Who claims by this record.
pub(crate) fn owner(record: &SharedRecord) -> Option<Owner> {
    match record.phase {
        SharedPhase::Claimed { owner, .. } => Some(owner),
        SharedPhase::FellBack(_) | SharedPhase::Decided(_) => None,
    }
}
