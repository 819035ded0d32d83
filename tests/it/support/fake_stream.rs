//! A stream in place of JetStream: keeps records, drops those that it has, and does worse on demand.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use bytes::Bytes;
use connector_bridge::{
    clock,
    wire::{Kept, NotKept},
};
use serde_json::Value;

/// What becomes of a record that is published.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// Kept, and acknowledged after so many milliseconds.
    Kept(u64),
    /// Kept, but the acknowledgement is lost.
    KeptInSilence,
    /// Lost.
    Silence,
    /// Refused at once.
    Fails(NotKept),
}

/// Records by their ids.
pub(crate) struct FakeStream {
    /// What becomes of each publishing: the first, the second, and so on; the last again and again.
    fates: Mutex<Vec<Fate>>,
    kept: Mutex<Vec<(String, Value)>>,
    asked: Mutex<usize>,
}

impl FakeStream {
    pub(crate) fn new() -> Self {
        let fates = Mutex::new(vec![Fate::Kept(0)]);
        Self { fates, kept: Mutex::default(), asked: Mutex::default() }
    }

    /// From now on this becomes of what is published.
    pub(crate) fn fates(&self, fates: &[Fate]) {
        *self.fates.lock().unwrap() = fates.to_vec();
    }

    /// What it has, in the order in which it came.
    pub(crate) fn kept(&self) -> Vec<Value> {
        self.kept.lock().unwrap().iter().map(|(_, record)| record.clone()).collect()
    }

    /// How often something was published.
    pub(crate) fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }

    pub(crate) async fn keep(&self, id: &str, json: &Bytes, end: Instant) -> Result<Kept, NotKept> {
        *self.asked.lock().unwrap() += 1;
        let fate = {
            let mut fates = self.fates.lock().unwrap();
            if fates.len() > 1 { fates.remove(0) } else { fates[0] }
        };
        let silence = async {
            clock::sleep_until(end).await;
            Err(NotKept::Unacknowledged)
        };
        match fate {
            Fate::Kept(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(self.take(id, json))
            }
            Fate::KeptInSilence => {
                self.take(id, json);
                silence.await
            }
            Fate::Silence => silence.await,
            Fate::Fails(fault) => Err(fault),
        }
    }

    fn take(&self, id: &str, json: &Bytes) -> Kept {
        let mut kept = self.kept.lock().unwrap();
        if kept.iter().any(|(known, _)| known == id) {
            return Kept::Before;
        }
        let record: Value = serde_json::from_slice(json).unwrap();
        assert_eq!(record["id"], id, "known by the same id everywhere");
        kept.push((id.to_owned(), record));
        Kept::Now
    }
}
