//! Cached decisions that replicas share: what one keeps is written to a bucket, and every replica
//! follows that bucket, so that its own cache is warm before NATS is lost.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{
    self, consumer::pull::OrderedConfig, context::ContextBuilder, stream::DiscardPolicy,
};
use futures_util::StreamExt;
use tokio::sync::{Semaphore, mpsc};

use super::{
    NatsWire,
    bucket::{self, Bucket, BucketFault},
    store::ttl,
};
use crate::{
    clock,
    config::Config,
    domain::{call_id::CacheKey, kept::SharedKeep, seal::SealKeys, shared::Owner},
    lane::{Change, Lane},
    metrics::{Metrics, StoreOperation, StoreResult},
    random::Random,
    secrets::Live,
    wire::{StoreFault, Wire, Written},
};

/// How many changes may wait to be written.
pub const CHANGES_MAX: usize = 1_024;

/// How many are written at once.
const WRITES_AT_ONCE: usize = 64;

/// How long one write may take.
const WRITE_TIME_MAX: Duration = Duration::from_secs(1);

/// How often a change is tried to be written, and the pause between. Together longer than it takes
/// to elect a leader: 4 to 7 s were measured.
const TRIES_MAX: u32 = 10;
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The pause before the bucket is followed anew.
const FOLLOW_PAUSE: Duration = Duration::from_secs(1);

/// How long the bucket keeps what is too old to be used: replicas' clocks differ.
const AGE_MARGIN: Duration = Duration::from_secs(60);

/// The sharing of cached decisions.
pub struct Decisions {
    /// What this process has changed.
    pub changes: mpsc::Receiver<Change>,
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
}

/// The bucket of decisions, where some connector shares them.
fn bucket_of(config: &Config) -> Option<Bucket> {
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
    })
}

impl Decisions {
    /// Shares decisions over `wire`, forever.
    pub async fn share(self, wire: Arc<NatsWire>, config: Config) {
        let Self { mut changes, lanes, keys, metrics } = self;
        let Some(bucket) = bucket_of(&config) else { return std::future::pending().await };
        let random = Random::default();
        let owner = Owner(random.next());
        let sharing = Arc::new(Sharing { wire, bucket, lanes, keys, metrics, random, owner });
        let writes = async {
            let places = Arc::new(Semaphore::new(WRITES_AT_ONCE));
            while let (Ok(place), Some(change)) =
                (Arc::clone(&places).acquire_owned().await, changes.recv().await)
            {
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
    /// Writes a change, and tries for a while.
    async fn write(&self, change: Change) {
        let Change { connector, key, keep } = change;
        let Some(lane) = self.lanes.iter().find(|lane| lane.connector.name == connector) else {
            return;
        };
        let Some(rules) = &lane.connector.fallback.cached else { return };
        let place = format!("{connector}.{key}");
        let told = SharedKeep { by: self.owner, keep };
        let sealed = told
            .encode(clock::now(), clock::wall_ms())
            .and_then(|record| self.keys.get().seal(&place, self.random.nonce(), &record));
        let Some(sealed) = sealed else { return };
        for _ in 0..TRIES_MAX {
            let end = clock::now() + WRITE_TIME_MAX;
            let subject = self.bucket.subject(&place);
            let headers = ttl((rules.max_age + AGE_MARGIN).as_secs());
            let written = self.wire.put(subject, headers, sealed.clone().into(), end).await;
            let result = match written {
                Ok(Written::As(_) | Written::Conflict) => StoreResult::Ok,
                Err(StoreFault::Timeout) => StoreResult::Timeout,
                Err(StoreFault::Unavailable) => StoreResult::Unavailable,
                Err(StoreFault::Full) => StoreResult::Full,
                Err(StoreFault::Error) => StoreResult::Error,
            };
            self.metrics.store_operation(StoreOperation::Share, result);
            if result == StoreResult::Ok {
                return;
            }
            clock::sleep_until(clock::now() + RETRY_PAUSE).await;
        }
    }

    /// Takes over what the bucket holds and what comes to it, forever.
    async fn follow(&self) {
        let mut was_told = false;
        loop {
            self.wire.connected().await;
            if let Err(fault) = self.follow_over_one_connection(&mut was_told).await
                && !was_told
            {
                was_told = true;
                tracing::warn!(%fault, "cached decisions are not shared for now");
            }
            clock::sleep_until(clock::now() + FOLLOW_PAUSE).await;
        }
    }

    async fn follow_over_one_connection(&self, was_told: &mut bool) -> Result<(), FollowFault> {
        self.bucket.bind(&self.wire, WRITE_TIME_MAX).await?;
        let Some(client) = self.wire.client() else { return Ok(()) };
        let mut changed = self.wire.client.clone();
        changed.mark_unchanged();
        let context: jetstream::Context =
            ContextBuilder::new().timeout(WRITE_TIME_MAX).build((*client).clone());
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
        let opened = self.keys.get().open(place, sealed);
        let told =
            opened.and_then(|record| SharedKeep::decode(&record, clock::now(), clock::wall_ms()));
        let result = match told {
            // What this process wrote is in its cache, or was overtaken there.
            Some(told) if told.by == self.owner => return,
            Some(told) => {
                lane.take_over(key, told.keep);
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
