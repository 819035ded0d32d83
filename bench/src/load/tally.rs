//! How long calls took, and what went wrong.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::{
    Failure,
    window::{Due, Used},
};

/// Nobody waits longer for an answer.
const LONGEST: Duration = Duration::from_secs(60);

/// Enough that threads hardly meet.
const SHARDS: usize = 16;

/// Latencies and errors of one measurement.
#[derive(Debug)]
pub(super) struct Tally {
    /// In microseconds.
    latencies: Vec<Mutex<Histogram<u64>>>,
    errors: AtomicU64,
    first_error: Mutex<Option<String>>,
    unfinished: AtomicU64,
}

impl Tally {
    pub(super) fn new() -> Result<Self, Failure> {
        let longest = u64::try_from(LONGEST.as_micros())?;
        let shard = || Histogram::new_with_bounds(1, longest, 3).map(Mutex::new);
        let latencies = (0..SHARDS).map(|_| shard()).collect::<Result<_, _>>()?;
        let (errors, unfinished) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { latencies, errors, first_error: Mutex::default(), unfinished })
    }

    /// A call that has its answer. `who` made it: different numbers seldom wait for each other.
    pub(super) fn record(&self, who: usize, call: Due) {
        if !call.counts {
            return;
        }
        let took = call.at.elapsed();
        let Some(shard) = self.latencies.get(who % SHARDS) else { return };
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        shard.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros);
    }

    /// Anything but the answer that is expected; counts while warming up too.
    pub(super) fn error(&self, what: impl ToString) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let mut first = self.first_error.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| what.to_string());
    }

    /// Calls that had no answer when it was all over.
    pub(super) fn unfinished(&self, calls: usize) {
        self.unfinished.fetch_add(u64::try_from(calls).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What was found. With errors it is void, and says so.
    pub(super) fn found(&self, used: Used) -> Result<Value, Failure> {
        let mut all = Histogram::<u64>::new(3)?;
        for shard in &self.latencies {
            all.add(&*shard.lock().unwrap_or_else(PoisonError::into_inner))?;
        }
        let calls = all.len();
        let per_call = |nanos: u64| nanos as f64 / 1_000.0 / calls.max(1) as f64;
        let errors = self.errors.load(Ordering::Relaxed);
        let first_error = self.first_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(json!({
            "void": errors > 0 || calls == 0,
            "errors": errors,
            "first_error": first_error,
            "unfinished": self.unfinished.load(Ordering::Relaxed),
            "calls": calls,
            "seconds": used.time.as_secs_f64(),
            "calls_per_s": calls as f64 / used.time.as_secs_f64(),
            "p50_us": all.value_at_quantile(0.5),
            "p90_us": all.value_at_quantile(0.9),
            "p99_us": all.value_at_quantile(0.99),
            "p999_us": all.value_at_quantile(0.999),
            "max_us": all.max(),
            "cpu_us_per_call": used.watched.map(per_call),
            "load_cpu_us_per_call": per_call(used.own),
        }))
    }
}
