//! For each bucket of `request_duration_seconds`, the trace of the last recorded request in it.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus::proto::LabelPair;

use super::{FAMILY_WITH_EXEMPLARS, SECONDS};

/// A request whose trace is recorded.
#[derive(Clone, Copy, Debug)]
pub struct Traced {
    /// Its trace.
    pub trace_id: u128,
    /// When it was answered.
    pub at: SystemTime,
}

/// One request that stands for its bucket.
#[derive(Clone, Copy)]
pub(super) struct Exemplar {
    traced: Traced,
    seconds: f64,
}

/// As it stands behind a sample.
impl fmt::Display for Exemplar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { traced: Traced { trace_id, at }, seconds } = self;
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        write!(f, "{{trace_id=\"{trace_id:032x}\"}} {seconds} {at:.3}")
    }
}

/// At most one for each bucket of each connector and source. A lock is taken only for requests
/// whose trace is recorded.
#[derive(Clone, Default)]
pub(super) struct Exemplars(Arc<Mutex<HashMap<Key, Exemplar>>>);

/// Connector, source, and the number of the bucket.
type Key = (String, String, usize);

impl Exemplars {
    /// The request took so many seconds.
    pub(super) fn keep(&self, connector: &str, source: &str, traced: Traced, seconds: f64) {
        let bucket = SECONDS.iter().position(|bound| seconds <= *bound).unwrap_or(SECONDS.len());
        let key = (connector.to_owned(), source.to_owned(), bucket);
        self.lock().insert(key, Exemplar { traced, seconds });
    }

    /// The one of a bucket, if it is of the family that has some.
    pub(super) fn of(&self, family: &str, labels: &[LabelPair], bucket: usize) -> Option<Exemplar> {
        if family.strip_prefix("connector_bridge_") != Some(FAMILY_WITH_EXEMPLARS) {
            return None;
        }
        let label = |name| labels.iter().find(|l| l.name() == name).map(|l| l.value().to_owned());
        self.lock().get(&(label("connector")?, label("source")?, bucket)).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Exemplar>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
