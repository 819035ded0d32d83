//! What was seen of a worker from outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::domain::{call_id::CallId, reply::Reply};

/// Everything that was seen.
#[derive(Default)]
pub(super) struct Record {
    /// By case, in the order of the plan; shorter than it where there was nobody left to ask.
    pub(super) played: Vec<Played>,
    /// How many NATS services had an endpoint on the subject at the start, and at the end. Not
    /// asked where nobody listened from the start.
    pub(super) services: Option<(i64, i64)>,
    /// What came to the subject of effects, where one is listened to.
    pub(super) effects: Option<Vec<Effect>>,
}

/// A case that was played.
#[derive(Default)]
pub(super) struct Played {
    /// By call, in the order of the case.
    pub(super) seen: Vec<Seen>,
    /// What became of the worker, where it was silent.
    pub(super) afterwards: Afterwards,
}

/// What was seen of one call.
#[derive(Clone)]
pub(super) struct Seen {
    /// The time from sending it to its deadline.
    pub(super) limit: Duration,
    /// Whether the server said that nobody listens.
    pub(super) nobody: bool,
    /// Everything that came, and how long after sending.
    pub(super) replies: Vec<(Duration, Reply)>,
}

/// What became of a worker that gave no reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// It was not silent, or nobody asked.
    #[default]
    NotAsked,
    /// It answered the next call.
    Answered,
    /// Nobody listened for a while, and then somebody answered.
    CameBack,
    /// It did not answer the next call.
    Silent,
    /// Nobody listens any more.
    Gone,
}

/// A message that says that a worker did something.
pub(super) struct Effect {
    /// The call that it was done for, where the message says it.
    pub(super) call: Option<CallId>,
    pub(super) subject: String,
    /// The header `Nats-Msg-Id`.
    pub(super) message_id: Option<String>,
}

/// How often each effect was seen: by call and subject.
pub(super) struct Effects<'a>(BTreeMap<(CallId, &'a str), Vec<&'a Effect>>);

impl<'a> Effects<'a> {
    pub(super) fn count(effects: &'a [Effect]) -> Self {
        let mut counted = BTreeMap::<_, Vec<_>>::new();
        for effect in effects {
            if let Some(call) = effect.call {
                counted.entry((call, &*effect.subject)).or_default().push(effect);
            }
        }
        Self(counted)
    }

    /// The calls that had an effect.
    pub(super) fn calls(&self) -> BTreeSet<CallId> {
        self.0.keys().map(|(call, _)| *call).collect()
    }

    /// Calls with an effect that came more than once, and the most that one of them came. Where
    /// all messages of an effect have one `Nats-Msg-Id` with the call id in it, a stream drops all
    /// but the first: those are counted apart, first.
    pub(super) fn repeated(&self) -> [(usize, usize); 2] {
        let repeated = self.0.iter().filter(|(_, effects)| effects.len() > 1);
        let (dropped, done): (Vec<_>, Vec<_>) =
            repeated.partition(|((call, _), effects)| is_dropped_by_a_stream(*call, effects));
        [dropped, done].map(|repeated| {
            let calls: BTreeSet<CallId> = repeated.iter().map(|((call, _), _)| *call).collect();
            let most = repeated.iter().map(|(_, effects)| effects.len()).max();
            (calls.len(), most.unwrap_or_default())
        })
    }
}

fn is_dropped_by_a_stream(call: CallId, effects: &[&Effect]) -> bool {
    let mut ids = effects.iter().map(|effect| effect.message_id.as_deref());
    let first = ids.next().flatten().filter(|id| id.contains(&call.to_string()));
    first.is_some() && ids.all(|id| id == first)
}
