//! Whether the owners of leases live: the own beats, and what is seen of those of others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::Inner;
use crate::{
    clock,
    domain::{
        lease::{BEAT_EVERY, Quiet},
        shared::Owner,
    },
    metrics::{StoreOperation, StoreResult},
    wire::{OPERATION_TIME_MAX, Store, StoreFault},
};

/// How long the store keeps a beat: longer than anybody waits for the next one.
const BEAT_LIFE_SECONDS: u64 = 5;

/// The pause before a beat that failed is tried again.
const BEAT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How often one owner is looked at, however many calls wait for it.
const WATCH_EVERY: Duration = Duration::from_millis(100);

/// Owners that nobody has waited for so long are forgotten.
const WATCHED_FOR: Duration = Duration::from_secs(10);

/// What is seen of the beats of others.
#[derive(Default)]
pub(super) struct Owners(Mutex<HashMap<Owner, Watched>>);

#[derive(Clone, Copy)]
struct Watched {
    asked: Instant,
    quiet: Option<Quiet>,
}

impl Owners {
    /// What is known of `owner`, and whether it is to be looked at now.
    fn watched(&self, owner: Owner, now: Instant) -> (Option<Quiet>, bool) {
        let mut owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = owners.get_mut(&owner) {
            let is_due = now >= watched.asked + WATCH_EVERY;
            if is_due {
                watched.asked = now;
            }
            return (watched.quiet, is_due);
        }
        owners.retain(|_, watched| now < watched.asked + WATCHED_FOR);
        owners.insert(owner, Watched { asked: now, quiet: None });
        (None, true)
    }

    /// Notes what a reading showed.
    fn note(&self, owner: Owner, see: impl FnOnce(Option<Quiet>) -> Quiet) -> Option<Quiet> {
        let mut owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let watched = owners.get_mut(&owner)?;
        watched.quiet = Some(see(watched.quiet));
        watched.quiet
    }
}

impl<S: Store> Inner<S> {
    /// How long no beat of `owner` has come. Read anew unless somebody has done so just now.
    pub(super) async fn watch(&self, owner: Owner) -> Option<Quiet> {
        let asked = clock::now();
        let (known, is_due) = self.owners.watched(owner, asked);
        if !is_due {
            return known;
        }
        let read = self.store.last_beat(owner, asked + OPERATION_TIME_MAX).await;
        self.metrics.store_operation(StoreOperation::Watch, result_of(&read));
        match read {
            Ok(beat) => {
                let answered = clock::now();
                self.owners.note(owner, |before| Quiet::seen(before, beat, asked, answered))
            }
            // That says something about the store, and nothing about the owner.
            Err(_) => known,
        }
    }

    /// Beats as long as this process has leases.
    pub(super) async fn beat(self: Arc<Self>) {
        let mut pause = BEAT_EVERY;
        loop {
            clock::sleep_until(clock::now() + pause).await;
            if !self.leases.go_on() {
                return;
            }
            let sent = clock::now();
            if clock::until(sent + BEAT_EVERY, self.store.available()).await.is_none() {
                continue;
            }
            let sent = clock::now();
            let beat =
                self.store.beat(self.owner, BEAT_LIFE_SECONDS, sent + OPERATION_TIME_MAX * 2);
            let beat = beat.await;
            self.metrics.store_operation(StoreOperation::Beat, result_of(&beat));
            pause = match beat {
                Ok(()) => {
                    self.leases.acknowledged(sent, clock::now());
                    BEAT_EVERY.saturating_sub(clock::now() - sent)
                }
                Err(_) => BEAT_AGAIN_AFTER,
            };
        }
    }
}

fn result_of<T>(result: &Result<T, StoreFault>) -> StoreResult {
    match result {
        Ok(_) => StoreResult::Ok,
        Err(fault) => fault.result(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::shared::Revision;

    #[test]
    fn an_owner_is_looked_at_once_for_all_who_wait_for_it_and_forgotten_after_them() {
        let (owners, now) = (Owners::default(), clock::now());
        assert_eq!(owners.watched(Owner(1), now), (None, true));
        let quiet = owners.note(Owner(1), |_| Quiet::seen(None, Revision(1), now, now));
        assert_eq!(owners.watched(Owner(1), now + WATCH_EVERY / 2), (quiet, false));
        assert_eq!(owners.watched(Owner(1), now + WATCH_EVERY), (quiet, true));
        let later = now + WATCH_EVERY + WATCHED_FOR;
        owners.watched(Owner(2), later);
        assert_eq!(owners.0.lock().unwrap().len(), 1);
    }
}
