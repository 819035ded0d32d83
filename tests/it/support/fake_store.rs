//! A store in place of JetStream: records with revisions and an end of life, and faults on demand.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use bytes::Bytes;
use connector_bridge::{
    clock,
    domain::{
        call_id::CallId,
        shared::{Revision, UnixMs},
    },
    wire::{StoreFault, Written},
};
use tokio::sync::watch;

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

/// Records that several bridges share.
pub(crate) struct FakeStore {
    records: Mutex<HashMap<CallId, (Revision, Bytes, Instant)>>,
    last: Mutex<u64>,
    fates: Mutex<Fates>,
    available: watch::Sender<bool>,
    start: Instant,
}

/// What the wall clock shows when a test begins.
const WALL_START: u64 = 1_800_000_000_000;

impl FakeStore {
    /// An empty one, where everything takes 1 ms.
    pub(crate) fn new() -> Self {
        Self {
            records: Mutex::default(),
            last: Mutex::default(),
            fates: Mutex::new(Box::new(|_| Fate::Done(1))),
            available: watch::Sender::new(true),
            start: clock::now(),
        }
    }

    /// From now on this is what becomes of each read and write.
    pub(crate) fn fates(&self, fates: impl FnMut(bool) -> Fate + Send + 'static) {
        *self.fates.lock().unwrap() = Box::new(fates);
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
    pub(crate) fn wall(&self) -> UnixMs {
        UnixMs(WALL_START).plus(clock::now() - self.start)
    }

    /// Forgets everything, as when the server starts anew.
    pub(crate) fn clear(&self) {
        self.records.lock().unwrap().clear();
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.records.lock().unwrap().len()
    }

    /// Puts other bytes in the place of every record.
    pub(crate) fn spoil(&self, bytes: &'static [u8]) {
        let mut records = self.records.lock().unwrap();
        records.values_mut().for_each(|(_, record, _)| *record = Bytes::from_static(bytes));
    }

    pub(crate) async fn read(
        &self,
        call: CallId,
        end: Instant,
    ) -> Result<(Revision, Option<Bytes>), StoreFault> {
        self.suffer(false, end, || {
            let records = self.records.lock().unwrap();
            match records.get(&call).filter(|(_, _, ends)| clock::now() < *ends) {
                Some((revision, record, _)) => (*revision, Some(record.clone())),
                None => (Revision::NONE, None),
            }
        })
        .await
    }

    pub(crate) async fn write(
        &self,
        call: CallId,
        revision: Revision,
        life_seconds: u64,
        record: Vec<u8>,
        end: Instant,
    ) -> Result<Written, StoreFault> {
        self.suffer(true, end, || {
            let mut records = self.records.lock().unwrap();
            let now = clock::now();
            let there = records.get(&call).filter(|(_, _, ends)| now < *ends);
            if there.map_or(Revision::NONE, |(revision, ..)| *revision) != revision {
                return Written::Conflict;
            }
            let mut last = self.last.lock().unwrap();
            *last += 1;
            let ends = now + Duration::from_secs(life_seconds);
            records.insert(call, (Revision(*last), record.into(), ends));
            Written::As(Revision(*last))
        })
        .await
    }

    async fn suffer<T>(
        &self,
        is_write: bool,
        end: Instant,
        work: impl FnOnce() -> T,
    ) -> Result<T, StoreFault> {
        let fate = (self.fates.lock().unwrap())(is_write);
        let timeout = async {
            clock::sleep_until(end).await;
            Err(StoreFault::Timeout)
        };
        match fate {
            Fate::Fails(fault) => Err(fault),
            Fate::Lost => timeout.await,
            Fate::Unacknowledged => {
                work();
                timeout.await
            }
            Fate::Done(ms) => {
                let there_and_back = Duration::from_millis(ms);
                let arrives = clock::now() + there_and_back / 2;
                // What has been sent arrives, also where its sender has stopped waiting by then.
                clock::sleep_until(arrives).await;
                let done = work();
                let back = clock::sleep_until(arrives + there_and_back / 2);
                clock::until(end, back).await.map(|()| done).ok_or(StoreFault::Timeout)
            }
        }
    }
}
