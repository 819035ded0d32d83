//! The two buckets in JetStream: how they are defined, bound and, where that is wanted, created.
//!
//! Each is a stream named and laid out as NATS's key-value buckets are, so that `nats kv` shows
//! it, but with a definition of its own: per-message TTL, reads from the leader only, memory
//! storage. The client's key-value API loses TTLs on update and reads stale values.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::{
    HeaderMap,
    jetstream::stream::{Config as StreamConfig, DiscardPolicy, StorageType},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    NatsWire,
    requests::{ApiReply, Refusal},
    stream::{Properties, Without, Wrong, told},
};
use crate::{
    clock,
    config::{CallStore, Config},
    wire::StoreFault,
};

/// The bucket of calls, where they are shared.
pub(super) fn of_calls(config: &Config) -> Option<Bucket> {
    let calls = &config.calls;
    let deadlines = config.connectors.iter().map(|settings| settings.connector.deadline);
    let longest = calls.replay_window + deadlines.max().unwrap_or_default();
    (calls.store == CallStore::Jetstream).then(|| Bucket {
        name: "connector_bridge_calls",
        max_age: (longest * 2).max(MAX_AGE_MIN),
        max_bytes: bytes_for(calls.max_entries),
        // Better without a claim than without somebody else's.
        discard: DiscardPolicy::New,
        create: calls.create,
        was_told: Arc::default(),
    })
}

/// Room for so many records of the usual size.
pub(super) fn bytes_for(entries: usize) -> u64 {
    (entries as u64).saturating_mul(RECORD_BYTES_USUAL).clamp(BYTES_MIN, BYTES_MAX)
}

/// The least time that a bucket keeps records: longer than any call.
const MAX_AGE_MIN: Duration = Duration::from_secs(120);

/// A record with its subject, its headers and what the server adds.
pub(super) const RECORD_BYTES_USUAL: u64 = 1_024;

/// The least and the most room that is asked for.
const BYTES_MIN: u64 = 1024 * 1024;
const BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// What a stream has to be like.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    /// The name, as `nats kv` shows it.
    pub(super) name: &'static str,
    /// Longer than any record lives: what the server does where it forgets a TTL.
    pub(super) max_age: Duration,
    pub(super) max_bytes: u64,
    /// What happens when that is reached.
    pub(super) discard: DiscardPolicy,
    /// Whether the bridge creates it, and changes it where it is not as needed.
    pub(super) create: bool,
    /// Whether it was said that it has less room than was asked for.
    pub(super) was_told: Arc<AtomicBool>,
}

/// The largest record: an answer or a decision, of a reply of at most 64 KiB, and its envelope.
pub(super) const RECORD_BYTES_MAX: i32 = 128 * 1024;

/// The most copies in a cluster.
const REPLICAS_MAX: usize = 3;

/// The property that says how many there are.
const COPIES: &str = "num_replicas";

/// The server's codes for what happens often.
const STREAM_NOT_FOUND: u64 = 10_059;

/// When a stream was made, as the server words it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Created(String);

/// What the server says of a stream.
#[derive(Deserialize)]
struct Info {
    created: Created,
    config: Properties,
}

/// Why a bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum BucketFault {
    #[error("{}", match .0 {
        StoreFault::Timeout => "no answer in time; the rights to ask may be missing",
        StoreFault::Unavailable => "there is no JetStream, or no leader",
        StoreFault::Full => "it is full",
        StoreFault::Error => "an answer that makes no sense",
    })]
    Store(StoreFault),
    #[error("there is no stream {0}, and calls.create is false")]
    Missing(String),
    #[error("of the stream {stream}, {what}; {why}")]
    Unfit { stream: String, what: String, why: String },
    #[error("{action}: {description} ({code})")]
    Refused { action: &'static str, description: String, code: u64 },
}

impl Refusal {
    fn of(self, action: &'static str) -> BucketFault {
        BucketFault::Refused { action, description: self.description, code: self.err_code }
    }
}

impl Bucket {
    /// The name of the stream.
    pub(super) fn stream(&self) -> String {
        format!("KV_{}", self.name)
    }

    /// The subject of a key.
    pub(super) fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.name)
    }

    /// Subjects that the bridge publishes to for this bucket; `keys` are those of its records.
    pub(super) fn published_to(&self, keys: &str) -> Vec<String> {
        let verbs: &[&str] = match self.create {
            true => &["INFO", "MSG.GET", "CREATE", "UPDATE"],
            false => &["INFO", "MSG.GET"],
        };
        let api = |verb: &&str| format!("$JS.API.STREAM.{verb}.{}", self.stream());
        verbs.iter().map(api).chain([self.subject(keys)]).collect()
    }

    /// The same for following what is written to it.
    pub(super) fn published_to_follow(&self) -> Vec<String> {
        ["CREATE", "DELETE", "MSG.NEXT"]
            .map(|verb| format!("$JS.API.CONSUMER.{verb}.{}.*", self.stream()))
            .to_vec()
    }

    /// Makes sure that the stream is there and as needed. Returns when it was made, which tells it
    /// from one that took its place.
    pub(super) async fn bind(
        &self,
        wire: &NatsWire,
        time: Duration,
    ) -> Result<Created, BucketFault> {
        let api = Api { wire, stream: self.stream(), time };
        let found = match api.ask::<Info>("INFO", Vec::new()).await? {
            ApiReply::Ok(info) => Some(info),
            ApiReply::Refused { error } if error.err_code == STREAM_NOT_FOUND => None,
            ApiReply::Refused { error } => return Err(error.of("to look at the stream")),
        };
        let is_clustered = wire.is_clustered();
        match found {
            Some(mut found) => {
                let mut refused = None;
                if self.create {
                    (found.config, refused) = self.mend(&api, found.config, is_clustered).await?;
                }
                self.judge(&found.config, refused)?;
                Ok(found.created)
            }
            None if self.create => self.make(&api, is_clustered).await,
            None => Err(BucketFault::Missing(self.stream())),
        }
    }

    /// With as many copies as the cluster has servers, up to three.
    async fn make(&self, api: &Api<'_>, is_clustered: bool) -> Result<Created, BucketFault> {
        let mut last = BucketFault::Store(StoreFault::Error);
        for replicas in replicas(is_clustered, 0) {
            match api.put("CREATE", &self.definition(replicas)).await? {
                ApiReply::Ok(info) => {
                    tracing::info!(stream = api.stream, replicas, "created a stream");
                    return Ok(info.created);
                }
                ApiReply::Refused { error } => last = error.of("to create the stream"),
            }
        }
        Err(last)
    }

    /// Changes what must be otherwise, as far as the server does that. More copies, where the
    /// cluster has grown, are welcome but not needed. Returns what the stream is then, and why the
    /// server refused to change it.
    async fn mend(
        &self,
        api: &Api<'_>,
        found: Properties,
        is_clustered: bool,
    ) -> Result<(Properties, Option<Refusal>), BucketFault> {
        let copies = found.get(COPIES).and_then(Value::as_u64).unwrap_or(1);
        let copies = usize::try_from(copies).unwrap_or(1);
        let mended = self.mended(&found, true);
        let is_right = mended == found;
        let mut wanted: Vec<_> =
            replicas(is_clustered, copies).map(|replicas| (replicas, mended.clone())).collect();
        if !is_right {
            // There may be no room for all that was asked for.
            wanted.extend([(copies, mended), (copies, self.mended(&found, false))]);
        }
        let mut refused = None;
        for (replicas, mut wanted) in wanted {
            wanted.insert(COPIES.to_owned(), json!(replicas));
            match api.put("UPDATE", &wanted).await {
                Ok(ApiReply::Ok(info)) => {
                    let changed: Vec<Wrong> =
                        self.wrong(&found).into_iter().map(|(wrong, _)| wrong).collect();
                    let was = told(&changed);
                    tracing::info!(stream = api.stream, replicas, was, "changed a stream");
                    return Ok((info.config, None));
                }
                Ok(ApiReply::Refused { error }) => refused = Some(error),
                Err(fault) if !is_right => return Err(fault),
                Err(_) => {}
            }
        }
        Ok((found, refused.filter(|_| !is_right)))
    }

    /// Whether records would be safe in a stream, and why not. Says it where there is less room
    /// than was asked for.
    fn judge(&self, found: &Properties, refused: Option<Refusal>) -> Result<(), BucketFault> {
        let wrong = self.wrong(found);
        let of = |kind| wrong.iter().filter(move |(_, it)| *it == kind).map(|(wrong, _)| wrong);
        let (unfit, small) = (told(of(Without::Unfit)), told(of(Without::Small)));
        let why = match (&refused, self.create) {
            (Some(Refusal { description, err_code }), _) => {
                format!("the server does not change that: {description} ({err_code})")
            }
            (None, true) => "that cannot be changed: the stream has to be made anew".to_owned(),
            (None, false) => "calls.create is false".to_owned(),
        };
        if !unfit.is_empty() {
            return Err(BucketFault::Unfit { stream: self.stream(), what: unfit, why });
        }
        // Looked at again and again, said once.
        if !small.is_empty() && !self.was_told.swap(true, Ordering::Relaxed) {
            let stream = self.stream();
            tracing::warn!(stream, what = small, why, "a stream is smaller than configured");
        }
        Ok(())
    }

    pub(super) fn definition(&self, num_replicas: usize) -> StreamConfig {
        StreamConfig {
            name: self.stream(),
            description: Some("connector-bridge".to_owned()),
            subjects: vec![self.subject(">")],
            storage: StorageType::Memory,
            num_replicas,
            max_messages: -1,
            max_messages_per_subject: 1,
            max_consumers: -1,
            max_age: self.max_age,
            max_bytes: i64::try_from(self.max_bytes).unwrap_or(i64::MAX),
            max_message_size: RECORD_BYTES_MAX,
            discard: self.discard,
            allow_message_ttl: true,
            deny_delete: true,
            ..StreamConfig::default()
        }
    }
}

/// How many copies to try for, the most first: more than there are.
fn replicas(is_clustered: bool, found: usize) -> impl Iterator<Item = usize> {
    let most = if is_clustered { REPLICAS_MAX } else { 1 };
    (found + 1..=most).rev()
}

/// The JetStream API for one stream.
struct Api<'a> {
    wire: &'a NatsWire,
    stream: String,
    time: Duration,
}

impl Api<'_> {
    async fn put(
        &self,
        verb: &str,
        config: &impl Serialize,
    ) -> Result<ApiReply<Info>, BucketFault> {
        self.ask(verb, serde_json::to_vec(config).unwrap_or_default()).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        verb: &str,
        payload: Vec<u8>,
    ) -> Result<ApiReply<T>, BucketFault> {
        let subject = format!("$JS.API.STREAM.{verb}.{}", self.stream);
        let end = clock::now() + self.time;
        let answer = self.wire.request(subject, HeaderMap::new(), payload.into(), end).await;
        let answer = answer.map_err(BucketFault::Store)?;
        serde_json::from_slice(&answer).map_err(|_| BucketFault::Store(StoreFault::Error))
    }
}
