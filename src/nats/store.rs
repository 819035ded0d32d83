//! The store in JetStream: reads and writes of calls, and whether it can be used.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::{HeaderValue, header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE};
use bytes::Bytes;
use tokio::sync::watch;

use super::{
    NatsWire,
    bucket::{Bucket, BucketFault, RECORD_BYTES_USUAL},
    requests::ttl,
};
use crate::{
    clock,
    domain::{
        call_id::CallId,
        shared::{Owner, Revision, UnixMicros},
    },
    metrics::Metrics,
    pipeline::Pipeline,
    wire::{OPERATION_TIME_MAX, Store, StoreFault, Stored, Wire, Written},
};

/// So many failures in a row, and the store is not asked until it has proved to be back.
const FAILURES_MAX: u32 = 3;

/// How often a store that is away is looked for: at first, while a new leader is elected, and
/// later.
const LOOK_PAUSE: Duration = Duration::from_millis(500);
const LOOK_PAUSE_LATER: Duration = Duration::from_secs(5);
const LOOKS_AT_FIRST: u32 = 30;

/// How often a stream that is there is looked at: somebody may have changed it, or the cluster may
/// have grown.
const LOOK_AGAIN_EVERY: Duration = Duration::from_secs(60);

/// How long one of those looks may take.
const LOOK_TIME_MAX: Duration = Duration::from_secs(1);

/// How long the proof is kept that a write was taken.
const PROOF_LIFE_SECONDS: u64 = 1;

/// Whether the bucket of calls can be used.
pub(super) struct Health {
    available: watch::Sender<bool>,
    reads: Failures,
    writes: Failures,
}

/// Failures in a row.
#[derive(Default)]
struct Failures(AtomicU32);

impl Default for Health {
    fn default() -> Self {
        let available = watch::Sender::new(false);
        Self { available, reads: Failures::default(), writes: Failures::default() }
    }
}

impl Health {
    /// Returns whether that is new.
    fn set(&self, is_available: bool) -> bool {
        self.reads.0.store(0, Ordering::Relaxed);
        self.writes.0.store(0, Ordering::Relaxed);
        self.available.send_if_modified(|was| std::mem::replace(was, is_available) != is_available)
    }

    /// Hears how an operation of one kind went that had `time`. Reads may fail where writes do not.
    fn hear<T>(&self, kind: &Failures, result: &Result<T, StoreFault>, time: Duration) {
        match result {
            Ok(_) => kind.0.store(0, Ordering::Relaxed),
            // The call had little time left; that is not the store's fault.
            Err(StoreFault::Timeout) if time < OPERATION_TIME_MAX / 2 => {}
            Err(StoreFault::Unavailable) => {
                self.set(false);
            }
            Err(StoreFault::Timeout | StoreFault::Full | StoreFault::Error) => {
                if kind.0.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_MAX {
                    self.set(false);
                }
            }
        }
    }
}

impl NatsWire {
    /// Keeps the bucket of calls: finds it, creates it, notices that it is back. Forever.
    async fn keep_calls(&self, bucket: &Bucket, metrics: &Metrics) {
        let mut available = self.health.available.subscribe();
        let mut looks = 0;
        loop {
            self.connected().await;
            let looked = self.look_for(bucket).await;
            let is_in_use = self.is_available();
            match looked {
                Ok(()) => {
                    if self.health.set(true) {
                        tracing::info!("the store is available");
                    }
                    looks = 0;
                }
                // Whether it can still be used is for those who use it to find out.
                Err(BucketFault::Store(_)) if is_in_use => {}
                Err(fault) => {
                    self.health.set(false);
                    if looks == 0 {
                        tracing::error!(
                            %fault,
                            "the store is not available: calls are decided without it, and a \
                             retry at another replica is decided anew"
                        );
                    }
                    looks += 1;
                }
            }
            metrics.store_available.set(i64::from(self.is_available()));
            let lost = available.wait_for(|is_available| !is_available);
            clock::until(clock::now() + LOOK_AGAIN_EVERY, lost).await;
            metrics.store_available.set(i64::from(self.is_available()));
            // A new connection is looked at without a pause.
            if !self.is_available() && self.is_connected() {
                let is_first = looks < LOOKS_AT_FIRST;
                let pause = if is_first { LOOK_PAUSE } else { LOOK_PAUSE_LATER };
                clock::sleep_until(clock::now() + pause).await;
            }
        }
    }

    /// Whether the bucket is there, and a record of the usual size can be written and read.
    async fn look_for(&self, bucket: &Bucket) -> Result<(), BucketFault> {
        bucket.bind(self, LOOK_TIME_MAX).await?;
        let end = clock::now() + LOOK_TIME_MAX;
        // Each proof under a name of its own: one that replaces itself fits into a full bucket.
        let name = format!("proof-{}-{:016x}", self.instance(), self.random.next());
        let subject = bucket.subject(&name);
        let proof = Bytes::from_static(&[0; RECORD_BYTES_USUAL as usize]);
        let written = self.put(subject.clone(), ttl(PROOF_LIFE_SECONDS), proof, end).await;
        written.map_err(BucketFault::Store)?;
        match self.last(bucket, &subject, end).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(BucketFault::Store(StoreFault::Error)),
            Err(fault) => Err(BucketFault::Store(fault)),
        }
    }

    /// The connection is gone, and with it what was asked over it.
    pub(super) fn connection_lost(&self) {
        self.health.set(false);
        self.requests_lost();
    }
}

/// Keeps the store, and the deadlines of what is asked of it, forever.
pub async fn keep_store(pipeline: Arc<Pipeline<NatsWire>>, metrics: Metrics) {
    let wire = pipeline.wire();
    let calls = async {
        match &wire.calls {
            Some(bucket) => wire.keep_calls(bucket, &metrics).await,
            None => std::future::pending().await,
        }
    };
    let forget = clock::every(LOOK_PAUSE, || wire.requests.forget_late(clock::now()));
    tokio::join!(calls, wire.requests.keep_deadlines(), forget);
}

impl Store for NatsWire {
    fn is_available(&self) -> bool {
        *self.health.available.borrow()
    }

    async fn available(&self) {
        let mut available = self.health.available.subscribe();
        if available.wait_for(|is_available| *is_available).await.is_err() {
            std::future::pending().await
        }
    }

    fn wall(&self) -> UnixMicros {
        clock::wall_micros()
    }

    async fn read(&self, call: CallId, end: Instant) -> Result<Option<Stored>, StoreFault> {
        let bucket = self.calls.as_ref().ok_or(StoreFault::Unavailable)?;
        let asked = clock::now();
        let read = self.last(bucket, &bucket.subject(&call.to_string()), end).await;
        self.health.hear(&self.health.reads, &read, end.saturating_duration_since(asked));
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
        let bucket = self.calls.as_ref().ok_or(StoreFault::Unavailable)?;
        let mut headers = ttl(life_seconds);
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(revision.0));
        let subject = bucket.subject(&call.to_string());
        let asked = clock::now();
        let written = self.put(subject, headers, record.into(), end).await;
        self.health.hear(&self.health.writes, &written, end.saturating_duration_since(asked));
        written
    }

    async fn beat(&self, owner: Owner, life_seconds: u64, end: Instant) -> Result<(), StoreFault> {
        let bucket = self.calls.as_ref().ok_or(StoreFault::Unavailable)?;
        let (subject, asked) = (bucket.subject(&beat_key(owner)), clock::now());
        let written = self.put(subject, ttl(life_seconds), Bytes::new(), end).await;
        self.health.hear(&self.health.writes, &written, end.saturating_duration_since(asked));
        written.map(|_| ())
    }

    async fn last_beat(&self, owner: Owner, end: Instant) -> Result<Revision, StoreFault> {
        let bucket = self.calls.as_ref().ok_or(StoreFault::Unavailable)?;
        let (subject, asked) = (bucket.subject(&beat_key(owner)), clock::now());
        let read = self.last(bucket, &subject, end).await;
        self.health.hear(&self.health.reads, &read, end.saturating_duration_since(asked));
        read.map(|beat| beat.map_or(Revision::NONE, |beat| beat.revision))
    }
}

/// Where an owner's beats lie. No call has this key: a call id has no hyphen.
fn beat_key(Owner(owner): Owner) -> String {
    format!("owner-{owner:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_gone_is_not_asked_and_one_that_keeps_silent_not_for_long() {
        let is_available = |faults: &[StoreFault], time| {
            let health = Health::default();
            health.set(true);
            faults.iter().for_each(|fault| health.hear::<()>(&health.writes, &Err(*fault), time));
            *health.available.borrow()
        };
        let time = OPERATION_TIME_MAX;
        let silence = [StoreFault::Timeout; 3];
        assert!(!is_available(&[StoreFault::Unavailable], time));
        assert!(is_available(&silence[..2], time) && !is_available(&silence, time));
        assert!(!is_available(&[StoreFault::Full, StoreFault::Error, StoreFault::Timeout], time));
        assert!(is_available(&silence, time / 4), "those calls had no time");
        let health = Health::default();
        health.set(true);
        for fault in silence {
            health.hear::<()>(&health.writes, &Err(fault), time);
            health.hear(&health.writes, &Ok(()), time);
        }
        assert!(*health.available.borrow(), "not in a row");
        for fault in silence {
            health.hear::<()>(&health.reads, &Err(fault), time);
            health.hear(&health.writes, &Ok(()), time);
        }
        assert!(!*health.available.borrow(), "it can only be written");
    }
}
