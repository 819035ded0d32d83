//! One call, start to finish. Read this file first.

mod asking;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{oneshot, watch};

use crate::{
    budget::Share,
    cache::CacheKeys,
    call::Call,
    clock,
    domain::{
        claiming::{Claim, Claimed},
        fallback::default_answer,
        outcome::{Outcome, Reason, Source},
        protocol::Answer,
        record::{Recorded, Round},
        reply,
    },
    inbox::{Arrival, Inbox, Token},
    journal::{Came, Notes},
    lane::Lane,
    memory::{Begun, Ended, Lead, Led, Memory, Receipt, Standing},
    metrics::CallResult,
    store::{Asked, Counts, SharedCalls},
    turns::Turns,
    wire::Wire,
};

/// How often what is over is forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// When the connection returns, so many calls go on at once, and the next ones after a pause: far
/// fewer than the client has room for, and still all that may wait within a second.
const TURNS_AT_ONCE: usize = 64;
const TURNS_PAUSE: Duration = Duration::from_millis(1);

/// What is needed to make use of a late reply.
struct Ticket {
    lane: Arc<Lane>,
    deadline: Instant,
    led: Option<Led>,
    cache_keys: Option<CacheKeys>,
    locales: Option<Arc<str>>,
    notes: Notes,
}

/// The end of a request, and how to say that its answer was delivered.
pub struct Answered {
    /// What goes back.
    pub outcome: Outcome,
    /// Where the call is remembered.
    pub receipt: Option<Receipt>,
    /// The round of the call that ended so, where others share it.
    pub round: Option<Round>,
}

impl Answered {
    /// An outcome that nobody shares.
    pub fn alone(outcome: Outcome) -> Self {
        Self { outcome, receipt: None, round: None }
    }
}

/// Decides calls.
pub struct Pipeline<W> {
    wire: Arc<W>,
    inbox: Inbox<Ticket>,
    memory: Arc<Memory>,
    /// Where other replicas look too, if they are to.
    shared: Option<SharedCalls<W>>,
    /// Calls that wait for the connection.
    turns: Turns,
    /// Set once the bridge is stopping: no call waits longer.
    cut: watch::Sender<Option<Instant>>,
}

impl<W: Wire> Pipeline<W> {
    /// Remembers calls in `memory`, and in `shared` for other replicas; asks workers over `wire`.
    pub fn new(wire: Arc<W>, memory: Memory, shared: Option<SharedCalls<W>>) -> Self {
        let memory = match shared.clone() {
            Some(shared) => {
                let gives_back = shared.clone();
                memory.telling(
                    move |call, round, delivery| shared.mark(call, round, delivery),
                    move |led| gives_back.release(led),
                )
            }
            None => memory,
        };
        let (inbox, cut) = (Inbox::default(), watch::Sender::new(None));
        let turns = Turns::default();
        Self { wire, inbox, memory: Arc::new(memory), shared, turns, cut }
    }

    /// Keeps what it takes to make use of late replies within `share`.
    pub fn within(mut self, share: Arc<Share>) -> Self {
        self.inbox = self.inbox.within(share);
        self
    }

    /// Answers one request for a call, within its deadline.
    pub async fn run(&self, call: &Call) -> Answered {
        if let Some(outcome) = call.missing_claim.clone() {
            return Answered::alone(outcome);
        }
        if !call.names_person {
            call.found(CallResult::First);
            return Answered::alone(self.decide(call, &mut Lead::alone()).await);
        }
        let is_shared = self.shared.as_ref().is_some_and(SharedCalls::is_available);
        let (begun, earlier) =
            self.memory.begin(call.id, call.span.place(), is_shared, clock::now());
        if let Some(earlier) = earlier {
            call.span.follows(earlier);
        }
        let ended = match begun {
            Begun::Lead(lead) => self.lead(call, lead).await,
            Begun::Join(leader) => self.join(call, leader).await,
            Begun::Replay(ended) => {
                call.found(CallResult::Replayed);
                Ok(ended)
            }
        };
        match ended {
            Ok(Ended { round, outcome }) => {
                // A fallback is not the decision that may be recorded in the meantime.
                let is_decision = outcome.reason.is_none();
                let receipt = is_decision.then(|| self.memory.receipt(call.id, round));
                Answered { outcome, receipt, round: Some(round) }
            }
            Err(reason) => Answered::alone(self.fallback(call, reason)),
        }
    }

    /// Waits for what the leading request gets, but not beyond the own deadline: a request whose
    /// body was slow can be older than the one that it joins.
    async fn join(&self, call: &Call, leader: oneshot::Receiver<Ended>) -> Result<Ended, Reason> {
        call.found(CallResult::Joined);
        call.joined();
        match self.until(call.deadline().instant(), leader).await {
            Some(Ok(ended)) => Ok(ended),
            // The leading request panicked.
            Some(Err(_)) => Err(Reason::WorkerError),
            None => Err(self.end_of_waiting(call)),
        }
    }

    /// Has the call decided, for all who asked: here, unless another replica does or did.
    async fn lead(&self, call: &Call, mut lead: Lead) -> Result<Ended, Reason> {
        match &self.shared {
            None => call.found(CallResult::First),
            // In a box: it is large, and most calls are without.
            Some(shared) => {
                let claim = Box::pin(self.claim(shared, call, &mut lead));
                if let Some(elsewhere) = claim.await {
                    return Ok(elsewhere);
                }
            }
        }
        let outcome = self.decide(call, &mut lead).await;
        Ok(Ended { round: lead.round(), outcome })
    }

    /// Leases a call that is shared, or looks at it again. Returns what another replica makes of
    /// it, if it does.
    async fn claim(&self, shared: &SharedCalls<W>, call: &Call, lead: &mut Lead) -> Option<Ended> {
        // What a request is found to be counts once.
        let is_first = lead.leased_as().is_none();
        let count = |result| {
            if is_first {
                call.found(result)
            }
        };
        let limit = call.lane.connector.deadline;
        let asked = shared.claim(call.id, lead, call.arrived, limit);
        let asked = self.until(call.deadline().instant(), asked).await;
        let Some(Asked { claimed, time_left, at }) = asked else {
            let outcome = self.fallback(call, self.end_of_waiting(call));
            count(CallResult::Joined);
            return Some(Ended { round: lead.round(), outcome: lead.fall_back(outcome) });
        };
        let standing = |claim: Claim| {
            let lease = shared.lease(claim.revision, at);
            Some(Standing { claim, lease, time_left })
        };
        match claimed {
            Claimed::Lead { round, unanswered, claim, taken_over } => {
                count(if taken_over { CallResult::TakenOver } else { CallResult::First });
                lead.go_on_in(round, unanswered, standing(claim));
                None
            }
            Claimed::Unsure { round, unanswered, claim } => {
                let ends = clock::now() + self.memory.window();
                if let Some(ended) = lead.replay_form(ends) {
                    count(CallResult::Replayed);
                    return Some(ended);
                }
                count(CallResult::First);
                lead.go_on_in(round, unanswered, standing(claim));
                None
            }
            Claimed::Replay(round, decided, ends) => {
                count(CallResult::Replayed);
                let answer = decided.answer.clone();
                let outcome = Outcome { answer, source: Source::Replay, reason: None };
                Some(lead.learn(decided, shared.instant(ends), Ended { round, outcome }))
            }
            Claimed::Joined { round, outcome, unanswered, ends } => {
                lead.go_on_in(round, unanswered, None);
                count(CallResult::Joined);
                if outcome.reason.is_none() {
                    let decided = Recorded::new(outcome.answer.clone());
                    let ended = Ended { round, outcome };
                    return Some(lead.learn(decided, shared.instant(ends), ended));
                }
                Some(Ended { round, outcome: lead.fall_back(outcome) })
            }
        }
    }

    /// Why a request that waited for another got nothing.
    fn end_of_waiting(&self, call: &Call) -> Reason {
        match call.deadline().has_passed(clock::now()) {
            true => Reason::Timeout,
            false => Reason::ShuttingDown,
        }
    }

    /// What came over the bus for `token`. A late decision is recorded for the next request.
    pub fn deliver(&self, token: Token, arrival: Arrival) {
        let Some((ticket, reply)) = self.inbox.deliver(token, arrival) else { return };
        let lane = &ticket.lane;
        // Otherwise it is the reply to an earlier message of a call that still waits.
        let is_late = clock::now() >= ticket.deadline;
        ticket.notes.replied(&reply, if is_late { Came::Late } else { Came::ToAnotherMessage });
        if is_late {
            lane.metrics.late_replies.inc();
        }
        let Some(led) = ticket.led else { return };
        let Ok(decided) = reply::read(&lane.connector, ticket.locales.as_deref(), &reply) else {
            return;
        };
        let answer = lane.connector.answer(&decided.decision);
        let memory = Arc::clone(&self.memory);
        let take = {
            let answer = answer.clone();
            move |counts: Counts| {
                if counts == Counts::Overtaken {
                    return;
                }
                let first = counts.answer(&answer);
                if memory.decide(led.call, led.round, &first, clock::now()) && first == answer {
                    ticket.lane.keep(ticket.cache_keys, decided.decision, reply.cache_control);
                }
            }
        };
        match &self.shared {
            None => take(Counts::This),
            // Another replica may have brought a decision by now.
            Some(shared) => {
                let settling = shared.decided(led, answer.clone(), is_late);
                let learn = self.learn(led, answer);
                shared.settle_late(led.call, settling, learn, move |counts| match counts {
                    Some(counts) => take(counts),
                    None if is_late && led.is_claimed() => {}
                    None => take(Counts::This),
                });
            }
        }
    }

    /// What to do with what the store says only later about a decision of a round: `this` counts,
    /// or another that was first.
    fn learn(&self, led: Led, this: Answer) -> impl FnOnce(Counts) + Send + 'static {
        let memory = Arc::clone(&self.memory);
        move |counts| {
            if counts == Counts::Overtaken {
                return memory.leave(led.call, led.round);
            }
            let first = counts.answer(&this);
            if !memory.decide(led.call, led.round, &first, clock::now()) {
                memory.correct(led.call, led.round, first);
            }
        }
    }

    /// The fallback of a call: a cached decision, else the connector's default.
    pub fn fallback(&self, call: &Call, reason: Reason) -> Outcome {
        let connector = &call.lane.connector;
        let (answer, source) = match call.lane.cached(call.cache_keys, clock::now()) {
            Some(answer) => (answer, Source::Cache),
            None => (default_answer(connector, call.locales.as_deref()), Source::Default),
        };
        Outcome { answer, source, reason: Some(reason) }
    }

    /// From now on no call waits longer than until `end`.
    pub fn cut_short(&self, end: Instant) {
        self.cut.send_replace(Some(end));
        self.inbox.cut(end);
    }

    fn cut(&self) -> Option<Instant> {
        *self.cut.borrow()
    }

    /// `future`'s output, or `None` at `end`, or at the cut where that comes earlier, even if the
    /// bridge is told to stop only meanwhile.
    async fn until<F: Future>(&self, end: Instant, future: F) -> Option<F::Output> {
        let mut cuts = self.cut.subscribe();
        let cut = async {
            if let Ok(Some(cut)) = cuts.wait_for(Option::is_some).await.map(|cut| *cut) {
                clock::sleep_until(cut).await;
            }
        };
        tokio::select! {
            output = clock::until(end, future) => output,
            () = cut => None,
        }
    }

    /// The connection was lost.
    pub fn connection_lost(&self) {
        self.inbox.connection_lost();
    }

    /// The connection is there, for the first time or again.
    pub fn connection_returned(&self) {
        self.inbox.connection_returned(clock::now());
    }

    /// Keeps deadlines and forgets what is over, forever.
    pub async fn keep(&self) {
        let forget = || {
            let now = clock::now();
            self.memory.forget(now);
            self.inbox.forget_late(now);
        };
        let housekeeping = clock::every(HOUSEKEEPING, forget);
        tokio::join!(self.inbox.keep_deadlines(), self.let_on(), housekeeping);
    }

    /// Lets calls go on that wait for the connection, once it is there, forever.
    async fn let_on(&self) {
        loop {
            self.turns.somebody().await;
            self.wire.connected().await;
            self.turns.let_on(TURNS_AT_ONCE);
            clock::sleep_until(clock::now() + TURNS_PAUSE).await;
        }
    }

    /// Waits until everything that goes on behind answers is over.
    pub async fn flush(&self) {
        if let Some(shared) = &self.shared {
            shared.flush().await;
        }
    }

    /// The message bus.
    pub fn wire(&self) -> &W {
        &self.wire
    }

    /// Whether the store that replicas share can be used, where there is one.
    pub fn store_is_available(&self) -> Option<bool> {
        self.shared.as_ref().map(SharedCalls::is_available)
    }

    /// How many calls are remembered, and how many messages are waited for or may be answered late.
    pub fn sizes(&self) -> (usize, (usize, usize)) {
        (self.memory.len(), self.inbox.len())
    }
}
