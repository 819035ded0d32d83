//! Cached decisions that replicas share: what one keeps is written to a bucket, and every replica
//! follows that bucket, so that its own cache is warm before NATS is lost.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_nats::jetstream::{
    self, consumer::pull::OrderedConfig, context::ContextBuilder, stream::DiscardPolicy,
};
use futures_util::StreamExt;
use tokio::sync::{Notify, Semaphore, mpsc};

use super::{
    NatsWire,
    bucket::{self, Bucket, BucketFault},
    requests::ttl,
};
use crate::{
    clock,
    config::Config,
    domain::{
        call_id::CacheKey, connector::ConnectorName, seal::SealKeys, shared::Owner,
        shared_keep::SharedKeep,
    },
    lane::{Change, Lane},
    metrics::{Metrics, StoreOperation, StoreResult},
    random::Random,
    secrets::Live,
    wire::{StoreFault, Wire},
};

/// How many changes may wait to be written.
pub const CHANGES_MAX: usize = 1_024;

/// How many are written at once.
const WRITES_AT_ONCE: usize = 64;

/// How long one read or write may take: nobody waits for it.
const OPERATION_TIME_MAX: Duration = Duration::from_secs(1);

/// How long one question about the stream may take.
const BIND_TIME_MAX: Duration = Duration::from_secs(1);

/// How often a change is tried again, and the pause before. Together longer than it takes to elect
/// a leader: 4 to 7 s were measured.
const RETRIES_MAX: usize = 10;
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How often the stream is looked at while it is followed.
const LOOK_AGAIN_EVERY: Duration = Duration::from_secs(10);

/// The pause before the bucket is followed anew.
const FOLLOW_PAUSE: Duration = Duration::from_secs(1);

/// How long the bucket keeps what is too old to be used: replicas' clocks differ.
const AGE_MARGIN: Duration = Duration::from_secs(60);

/// The sharing of cached decisions.
pub struct Decisions {
    /// What this process has changed.
    pub changes: tokio::sync::Mutex<mpsc::Receiver<Change>>,
    /// The connectors at work.
    pub lanes: Vec<Arc<Lane>>,
    /// What seals decisions.
    pub keys: Arc<Live<SealKeys>>,
    /// What is counted.
    pub metrics: Metrics,
}

/// What sharing needs while it runs.
struct Sharing {
    wire: Arc<NatsWire>,
    bucket: Bucket,
    lanes: Vec<Arc<Lane>>,
    keys: Arc<Live<SealKeys>>,
    metrics: Metrics,
    random: Random,
    owner: Owner,
    /// Keys that are being written, and what has become of them meanwhile.
    writing: Mutex<HashMap<Place, Option<Change>>>,
    /// Told that the bucket may be gone.
    gone: Notify,
}

/// A key of a connector's cache.
type Place = (ConnectorName, CacheKey);

/// The bucket of decisions, where some connector shares them.
pub(super) fn bucket_of(config: &Config) -> Option<Bucket> {
    let connectors = config.connectors.iter();
    let cached = connectors.filter_map(|settings| settings.connector.fallback.cached.as_ref());
    let shared: Vec<_> = cached.filter(|rules| rules.shared).collect();
    let max_age = shared.iter().map(|rules| rules.max_age).max()?;
    let entries = shared.iter().map(|rules| rules.max_entries).sum::<u64>();
    Some(Bucket {
        name: "connector_bridge_decisions",
        max_age: max_age + AGE_MARGIN,
        max_bytes: bucket::bytes_for(usize::try_from(entries).unwrap_or(usize::MAX)),
        // A new decision is worth more than an old one.
        discard: DiscardPolicy::Old,
        create: config.calls.create,
        was_told: Arc::default(),
    })
}

impl Decisions {
    /// Shares decisions over `wire`, forever.
    pub async fn share(self: Arc<Self>, wire: Arc<NatsWire>, config: Config) {
        let Some(bucket) = bucket_of(&config) else { return std::future::pending().await };
        let random = Random::default();
        let owner = Owner(random.next());
        let (writing, gone) = (Mutex::default(), Notify::new());
        let (lanes, keys) = (self.lanes.clone(), Arc::clone(&self.keys));
        let metrics = self.metrics.clone();
        let sharing = Sharing { wire, bucket, lanes, keys, metrics, random, owner, writing, gone };
        let sharing = Arc::new(sharing);
        let writes = async {
            let places = Arc::new(Semaphore::new(WRITES_AT_ONCE));
            let mut changes = self.changes.lock().await;
            while let Some(change) = changes.recv().await {
                if !sharing.begin(&change) {
                    continue;
                }
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                let sharing = Arc::clone(&sharing);
                tokio::spawn(async move {
                    sharing.write(change).await;
                    drop(place);
                });
            }
        };
        tokio::join!(writes, sharing.follow());
    }
}

impl Sharing {
    /// Whether a change is to be written now. While its key is being written it waits; a newer one
    /// takes its place, so that changes of one key never overtake each other.
    fn begin(&self, change: &Change) -> bool {
        match self.writing().entry((change.connector.clone(), change.key)) {
            Entry::Occupied(mut waiting) => {
                waiting.insert(Some(change.clone()));
                false
            }
            Entry::Vacant(place) => {
                place.insert(None);
                true
            }
        }
    }

    /// The change that waits for this key, if there is one; else the key is not being written
    /// any more.
    fn next(&self, place: &Place) -> Option<Change> {
        let mut writing = self.writing();
        let next = writing.get_mut(place).and_then(Option::take);
        if next.is_none() {
            writing.remove(place);
        }
        next
    }

    fn writing(&self) -> MutexGuard<'_, HashMap<Place, Option<Change>>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a change, and those of its key that come meanwhile.
    async fn write(&self, first: Change) {
        let place = (first.connector.clone(), first.key);
        let mut change = Some(first);
        while let Some(Change { keep, at, .. }) = change {
            self.write_one(&place, SharedKeep { by: self.owner, at, keep }).await;
            change = self.next(&place);
        }
    }

    /// Writes one change, and tries for a while, unless a newer one is there by then.
    async fn write_one(&self, (connector, key): &Place, told: SharedKeep) {
        let Some(lane) = self.lanes.iter().find(|lane| lane.connector.name == *connector) else {
            return;
        };
        let Some(rules) = &lane.connector.fallback.cached else { return };
        let place = format!("{connector}.{key}");
        let subject = self.bucket.subject(&place);
        let sealed = told
            .encode(clock::now(), clock::wall_micros())
            .and_then(|record| self.keys.get().seal(&place, self.random.nonce()?, &record));
        let Some(sealed) = sealed else { return };
        for is_first in std::iter::once(true).chain(std::iter::repeat_n(false, RETRIES_MAX)) {
            if !is_first {
                clock::sleep_until(clock::now() + RETRY_PAUSE).await;
                if self.is_overtaken(lane, &place, &subject, told.at).await {
                    return;
                }
            }
            let end = clock::now() + OPERATION_TIME_MAX;
            let headers = ttl((rules.max_age + AGE_MARGIN).as_secs());
            let written = self.wire.put(subject.clone(), headers, sealed.clone().into(), end).await;
            let result = written.map_or_else(StoreFault::result, |_| StoreResult::Ok);
            self.metrics.store_operation(StoreOperation::Share, result);
            match written {
                Ok(_) => return,
                Err(StoreFault::Unavailable) => self.gone.notify_one(),
                Err(StoreFault::Timeout | StoreFault::Full | StoreFault::Error) => {}
            }
        }
    }

    /// Whether another replica has written what was decided later.
    async fn is_overtaken(&self, lane: &Lane, place: &str, subject: &str, at: Instant) -> bool {
        let end = clock::now() + OPERATION_TIME_MAX;
        let Ok(Some(there)) = self.wire.last(&self.bucket, subject, end).await else {
            return false;
        };
        self.open(lane, place, &there.record).is_some_and(|told| told.at > at)
    }

    fn open(&self, lane: &Lane, place: &str, sealed: &[u8]) -> Option<SharedKeep> {
        let record = self.keys.get().open(place, sealed)?;
        SharedKeep::decode(&record, &lane.connector, clock::now(), clock::wall_micros())
    }

    /// Takes over what the bucket holds and what comes to it, forever.
    async fn follow(&self) {
        let mut was_told = false;
        loop {
            self.wire.connected().await;
            if let Err(fault) = self.follow_one_bucket(&mut was_told).await
                && !was_told
            {
                was_told = true;
                tracing::warn!(%fault, "cached decisions are not shared for now");
            }
            clock::sleep_until(clock::now() + FOLLOW_PAUSE).await;
        }
    }

    /// Until the bucket or the connection is another one.
    async fn follow_one_bucket(&self, was_told: &mut bool) -> Result<(), FollowFault> {
        let created = self.bucket.bind(&self.wire, BIND_TIME_MAX).await?;
        let Some(client) = self.wire.client() else { return Ok(()) };
        let mut changed = self.wire.way.clone();
        changed.mark_unchanged();
        let context: jetstream::Context =
            ContextBuilder::new().timeout(BIND_TIME_MAX).build((*client).clone());
        let names = self.lanes.iter().filter(|lane| lane.shares()).map(|l| &l.connector.name);
        let filter_subjects = names.map(|name| self.bucket.subject(&format!("{name}.>"))).collect();
        let name = Some(format!("bridge-{:016x}", self.random.next()));
        let config = OrderedConfig { name, filter_subjects, ..OrderedConfig::default() };
        let consumer = context.create_consumer_on_stream(config, self.bucket.stream()).await;
        let consumer = consumer.map_err(|error| FollowFault::Consumer(error.to_string()))?;
        let messages = consumer.messages().await;
        let mut messages = messages.map_err(|error| FollowFault::Consumer(error.to_string()))?;
        if std::mem::take(was_told) {
            tracing::info!("cached decisions are shared again");
        }
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(Ok(message)) => self.take_over(&message.subject, &message.payload),
                    Some(Err(error)) => return Err(FollowFault::Consumer(error.to_string())),
                    None => return Ok(()),
                },
                _ = changed.changed() => return Ok(()),
                // The consumer of a stream that was deleted waits for it for ever.
                _ = clock::until(clock::now() + LOOK_AGAIN_EVERY, self.gone.notified()) => {
                    if self.bucket.bind(&self.wire, BIND_TIME_MAX).await? != created {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// A key that some replica has changed.
    fn take_over(&self, subject: &str, sealed: &[u8]) {
        let place = subject.strip_prefix(&self.bucket.subject("")).unwrap_or_default();
        let parsed = place.split_once('.').and_then(|(connector, key)| {
            let lane = self.lanes.iter().find(|lane| lane.connector.name.as_str() == connector)?;
            Some((lane, key.parse::<CacheKey>().ok()?))
        });
        let Some((lane, key)) = parsed else { return };
        let result = match self.open(lane, place, sealed) {
            // What this process wrote is in its cache, or was overtaken there.
            Some(told) if told.by == self.owner => return,
            Some(told) => {
                lane.take_over(key, told.keep, told.at);
                StoreResult::Ok
            }
            None => StoreResult::Unreadable,
        };
        self.metrics.store_operation(StoreOperation::Load, result);
    }
}

/// Why decisions cannot be followed.
#[derive(Debug, thiserror::Error)]
enum FollowFault {
    #[error(transparent)]
    Bucket(#[from] BucketFault),
    #[error("{0}")]
    Consumer(String),
}
