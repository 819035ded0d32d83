//! Single reads and writes of the store, and the steps that are made of them.

use std::time::{Duration, Instant};

use super::{Counts, Inner};
use crate::{
    clock,
    domain::{
        call_id::CallId,
        claiming::Claimant,
        record::Round,
        settling::{self, Mark, Settle, Settling},
        shared::{CLAIM_MARGIN, Delivery, Revision, Seen, SharedRecord, UnixMicros},
    },
    memory::Lead,
    metrics::{StoreOperation, StoreResult},
    wire::{OPERATION_TIME_MAX, Store, StoreFault, Stored, Written},
};

impl<S: Store> Inner<S> {
    /// Who leases a call that `lead` leads here.
    pub(super) fn claimant(
        &self,
        lead: &Lead,
        arrived: Instant,
        limit: Duration,
        now: Instant,
    ) -> Claimant {
        let wall = self.store.wall();
        Claimant {
            owner: self.owner,
            round: lead.round(),
            new_round: lead.new_round(),
            unanswered: lead.unanswered(),
            over: lead.over(),
            leased: lead.leased_as().filter(|revision| *revision != Revision::NONE),
            arrived: wall.minus(now.saturating_duration_since(arrived)),
            until: wall.plus((arrived + limit + CLAIM_MARGIN).saturating_duration_since(now)),
            ends: wall.plus((arrived + self.window).saturating_duration_since(now)),
        }
    }

    /// Does something that nobody waits for, once the store is there and not too much of it goes
    /// on; it is told when to end.
    pub(super) async fn work<T>(&self, work: impl AsyncFnOnce(Instant) -> T) -> T {
        self.store.available().await;
        let place = self.at_work.acquire().await;
        let done = work(clock::now() + OPERATION_TIME_MAX * 2).await;
        drop(place);
        done
    }

    /// Marks a delivery. Returns whether there is nothing more to do.
    pub(super) async fn mark(
        &self,
        call: CallId,
        round: Round,
        delivery: Delivery,
        end: Instant,
    ) -> bool {
        let Ok(seen) = self.read(StoreOperation::Look, call, end).await else { return false };
        match settling::mark(seen, round, delivery, self.store.wall()) {
            Mark::Leave => true,
            Mark::Wait => false,
            Mark::Write(revision, record) => {
                let write = self.write(StoreOperation::Deliver, call, revision, &record, end);
                matches!(write.await, Ok(Written::As(_)))
            }
        }
    }

    /// Writes an end. Returns what counts.
    pub(super) async fn settle(
        &self,
        call: CallId,
        settling: &Settling,
        end: Instant,
    ) -> Result<Counts, StoreFault> {
        let mut settle = Settle::Write(settling.revision, settling.record());
        loop {
            settle = match settle {
                Settle::Leave => return Ok(Counts::Overtaken),
                Settle::Decided(answer) => return Ok(Counts::First(answer)),
                Settle::Write(revision, record) => {
                    let write = self.write(StoreOperation::Record, call, revision, &record, end);
                    match write.await {
                        Ok(Written::As(_)) => return Ok(Counts::This),
                        // It may have been taken, or not be seen yet.
                        Ok(Written::Conflict) | Err(StoreFault::Timeout) => {
                            let seen = self.read(StoreOperation::Look, call, end).await?;
                            settling.read(seen, self.store.wall())
                        }
                        Err(fault) => return Err(fault),
                    }
                }
            };
            if clock::now() >= end {
                return Err(StoreFault::Timeout);
            }
        }
    }

    pub(super) async fn read(
        &self,
        operation: StoreOperation,
        call: CallId,
        end: Instant,
    ) -> Result<Seen, StoreFault> {
        let end = end.min(clock::now() + OPERATION_TIME_MAX);
        let read = self.store.read(call, end).await;
        let seen = read.map(|there| match there {
            None => {
                (false, Seen { revision: Revision::NONE, written: UnixMicros(0), record: None })
            }
            Some(Stored { revision, written, record }) => {
                let opened = self.keys.get().open(&call.to_string(), &record);
                let record = opened.and_then(|record| SharedRecord::decode(&record));
                let wall = self.store.wall();
                let record = record.map(|record| record.believed(wall, self.window));
                (record.is_none(), Seen { revision, written, record })
            }
        });
        let result = match &seen {
            Ok((false, _)) => StoreResult::Ok,
            Ok((true, _)) => StoreResult::Unreadable,
            Err(fault) => fault.result(),
        };
        self.metrics.store_operation(operation, result);
        seen.map(|(_, seen)| seen)
    }

    pub(super) async fn write(
        &self,
        operation: StoreOperation,
        call: CallId,
        revision: Revision,
        record: &SharedRecord,
        end: Instant,
    ) -> Result<Written, StoreFault> {
        let end = end.min(clock::now() + OPERATION_TIME_MAX);
        let life_seconds = record.life_seconds(self.store.wall());
        let seal = |nonce| self.keys.get().seal(&call.to_string(), nonce, &record.encode());
        let sealed = self.random.nonce().and_then(seal);
        let written = match sealed {
            Some(sealed) => self.store.write(call, revision, life_seconds, sealed, end).await,
            None => Err(StoreFault::Error),
        };
        let result = match written {
            Ok(Written::As(_)) => StoreResult::Ok,
            Ok(Written::Conflict) => StoreResult::Conflict,
            Err(fault) => fault.result(),
        };
        self.metrics.store_operation(operation, result);
        written
    }
}
