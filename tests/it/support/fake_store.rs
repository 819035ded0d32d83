//! A store in place of JetStream: records with revisions and an end of life, and faults on demand.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use connector_bridge::{
    clock,
    domain::{
        call_id::CallId,
        shared::{Owner, Revision, UnixMicros},
    },
    wire::{StoreFault, Stored, Written},
};
use tokio::sync::{oneshot, watch};

/// What becomes of one read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Done and acknowledged after so many milliseconds.
    Done(u64),
    /// Never arrives.
    Lost,
    /// Done, but the acknowledgement is lost.
    Unacknowledged,
    /// Refused.
    Fails(StoreFault),
}

/// What becomes of the next read or write, asked for each; `true` for a write.
type Fates = Box<dyn FnMut(bool) -> Fate + Send>;

/// A write that took place: whose call, what lay there, and what lies there now.
pub(crate) type Change<'a> = (CallId, Option<&'a Bytes>, &'a Bytes);

/// Is told of every write that takes place.
type Watcher = Box<dyn FnMut(Change<'_>) + Send>;

/// Is told of every beat.
type BeatWatcher = Box<dyn FnMut(Owner) + Send>;

/// Records that several bridges share.
pub(crate) struct FakeStore {
    server: Arc<Mutex<Server>>,
    fates: Mutex<Fates>,
    available: watch::Sender<bool>,
    beats: AtomicU64,
    start: Instant,
}

/// What is at the other end of the connection.
#[derive(Default)]
struct Server {
    records: HashMap<CallId, (Stored, Instant)>,
    beats: HashMap<Owner, (Revision, Instant)>,
    last: u64,
    watcher: Option<Watcher>,
    beat_watcher: Option<BeatWatcher>,
}

/// What the wall clock shows when a test begins.
pub(crate) const WALL_START: u64 = 1_800_000_000_000_000;

impl FakeStore {
    /// An empty one, where everything takes 1 ms.
    pub(crate) fn new() -> Self {
        Self {
            server: Arc::default(),
            fates: Mutex::new(Box::new(|_| Fate::Done(1))),
            available: watch::Sender::new(true),
            beats: AtomicU64::new(0),
            start: clock::now(),
        }
    }

    /// From now on this is what becomes of each read and write.
    pub(crate) fn fates(&self, fates: impl FnMut(bool) -> Fate + Send + 'static) {
        *self.fates.lock().unwrap() = Box::new(fates);
    }

    /// From now on `watcher` is told of every write that takes place.
    pub(crate) fn watch(&self, watcher: impl FnMut(Change<'_>) + Send + 'static) {
        self.server.lock().unwrap().watcher = Some(Box::new(watcher));
    }

    /// The same of every beat.
    pub(crate) fn watch_beats(&self, watcher: impl FnMut(Owner) + Send + 'static) {
        self.server.lock().unwrap().beat_watcher = Some(Box::new(watcher));
    }

    /// Whether bridges think that it is worth asking.
    pub(crate) fn set_available(&self, is_available: bool) {
        self.available.send_replace(is_available);
    }

    pub(crate) fn is_available(&self) -> bool {
        *self.available.borrow()
    }

    pub(crate) async fn available(&self) {
        self.available.subscribe().wait_for(|is_available| *is_available).await.unwrap();
    }

    /// A wall clock that moves as the paused time does.
    pub(crate) fn wall(&self) -> UnixMicros {
        UnixMicros(WALL_START).plus(clock::now() - self.start)
    }

    /// Forgets everything, as when the server starts anew.
    pub(crate) fn clear(&self) {
        let mut server = self.server.lock().unwrap();
        server.records.clear();
        server.beats.clear();
    }

    /// How many beats have been written.
    pub(crate) fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        let now = clock::now();
        let mut server = self.server.lock().unwrap();
        server.records.retain(|_, (_, ends)| now < *ends);
        server.records.len()
    }

    /// Writes every record otherwise that is text.
    pub(crate) fn rewrite(&self, write: impl Fn(&str) -> String) {
        for (stored, _) in self.server.lock().unwrap().records.values_mut() {
            stored.record = write(std::str::from_utf8(&stored.record).unwrap()).into();
        }
    }

    /// Puts other bytes in the place of every record.
    pub(crate) fn spoil(&self, bytes: &'static [u8]) {
        let mut server = self.server.lock().unwrap();
        server
            .records
            .values_mut()
            .for_each(|(stored, _)| stored.record = Bytes::from_static(bytes));
    }

    pub(crate) async fn read(
        &self,
        call: CallId,
        end: Instant,
    ) -> Result<Option<Stored>, StoreFault> {
        self.suffer(false, end, move |server| server.live(call).cloned()).await
    }

    pub(crate) async fn write(
        &self,
        call: CallId,
        revision: Revision,
        life_seconds: u64,
        record: Vec<u8>,
        end: Instant,
    ) -> Result<Written, StoreFault> {
        let life = Duration::from_secs(life_seconds);
        let start = self.start;
        self.suffer(true, end, move |server| {
            let written = UnixMicros(WALL_START).plus(clock::now() - start);
            let record = record.into();
            server.write(call, life, Stored { revision, written, record })
        })
        .await
    }

    pub(crate) async fn beat(
        &self,
        owner: Owner,
        life_seconds: u64,
        end: Instant,
    ) -> Result<(), StoreFault> {
        self.beats.fetch_add(1, Ordering::Relaxed);
        let life = Duration::from_secs(life_seconds);
        self.suffer(true, end, move |server| {
            server.last += 1;
            if let Some(watcher) = &mut server.beat_watcher {
                watcher(owner);
            }
            server.beats.insert(owner, (Revision(server.last), clock::now() + life));
        })
        .await
    }

    pub(crate) async fn last_beat(
        &self,
        owner: Owner,
        end: Instant,
    ) -> Result<Revision, StoreFault> {
        self.suffer(false, end, move |server| {
            let beat = server.beats.get(&owner).filter(|(_, ends)| clock::now() < *ends);
            beat.map_or(Revision::NONE, |(beat, _)| *beat)
        })
        .await
    }

    /// What is sent arrives, also where its sender has stopped waiting by then.
    async fn suffer<T: Send + 'static>(
        &self,
        is_write: bool,
        end: Instant,
        work: impl FnOnce(&mut Server) -> T + Send + 'static,
    ) -> Result<T, StoreFault> {
        let fate = (self.fates.lock().unwrap())(is_write);
        let server = Arc::clone(&self.server);
        let (sender, receiver) = oneshot::channel();
        match fate {
            Fate::Fails(fault) => return Err(fault),
            Fate::Lost => {}
            Fate::Unacknowledged => drop(work(&mut server.lock().unwrap())),
            Fate::Done(ms) => {
                let there = Duration::from_millis(ms) / 2;
                tokio::spawn(async move {
                    let arrives = clock::now() + there;
                    clock::sleep_until(arrives).await;
                    let done = work(&mut server.lock().unwrap());
                    clock::sleep_until(arrives + there).await;
                    drop(sender.send(done));
                });
                return match clock::until(end, receiver).await {
                    Some(Ok(done)) => Ok(done),
                    Some(Err(_)) | None => Err(StoreFault::Timeout),
                };
            }
        }
        clock::sleep_until(end).await;
        Err(StoreFault::Timeout)
    }
}

impl Server {
    fn live(&self, call: CallId) -> Option<&Stored> {
        let (stored, ends) = self.records.get(&call)?;
        (clock::now() < *ends).then_some(stored)
    }

    /// Writes in place of `new.revision`.
    fn write(&mut self, call: CallId, life: Duration, new: Stored) -> Written {
        let there = self.live(call).cloned();
        if there.as_ref().map_or(Revision::NONE, |there| there.revision) != new.revision {
            return Written::Conflict;
        }
        if let Some(watcher) = &mut self.watcher {
            watcher((call, there.as_ref().map(|there| &there.record), &new.record));
        }
        self.last += 1;
        let revision = Revision(self.last);
        self.records.insert(call, (Stored { revision, ..new }, clock::now() + life));
        Written::As(revision)
    }
}
