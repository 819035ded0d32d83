//! One call, start to finish. Read this file first.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use crate::{
    cache::CacheKeys,
    call::Call,
    clock,
    domain::{
        breaker::Heard,
        call_id::CallId,
        connector::Connector,
        fallback::default_answer,
        outcome::{Outcome, Reason, Source},
        record::Round,
        reply::{self, NoDecision, Reply},
        sending::{Miss, Next, Sending, heard},
        trace_context::TraceContext,
    },
    inbox::{Arrival, Inbox, Sent, Token},
    lane::Lane,
    memory::{Begun, Lead, Memory, Receipt},
    metrics::{CallResult, MessageResult},
};

/// How often what is over is forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// What the pipeline needs of the message bus. `nats.rs` is the real one.
pub trait Wire: Send + Sync + 'static {
    /// Whether a message could be sent now.
    fn is_connected(&self) -> bool;

    /// Waits until there is a connection.
    fn connected(&self) -> impl Future<Output = ()> + Send;

    /// Hands a message to the connection. What comes back for `token` goes to
    /// [`Pipeline::deliver`].
    fn publish(
        &self,
        token: Token,
        message: Message<'_>,
    ) -> impl Future<Output = Result<(), NotSent>> + Send;
}

/// The bus did not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotSent;

/// A message to the workers.
pub struct Message<'a> {
    /// Name, step, protocol and subject.
    pub connector: &'a Connector,
    /// The same for the same claims at this connector.
    pub call_id: CallId,
    /// 1: decide anew. From 2 on: an earlier message may have reached a worker.
    pub attempt: u32,
    /// Do not start after it.
    pub deadline: SystemTime,
    /// The time left until then.
    pub time_left: Duration,
    /// What a worker needs to join the trace.
    pub trace: &'a TraceContext,
    /// The caller's body, byte for byte.
    pub body: Bytes,
}

/// What is needed to make use of a late reply.
struct Ticket {
    lane: Arc<Lane>,
    deadline: Instant,
    round: Option<(CallId, Round)>,
    cache_keys: Option<CacheKeys>,
    locales: Option<String>,
}

/// The end of a request, and how to say that its answer was delivered.
pub struct Answered {
    /// What goes back.
    pub outcome: Outcome,
    /// Where the call is remembered.
    pub receipt: Option<Receipt>,
}

/// Decides calls.
pub struct Pipeline<W> {
    wire: W,
    inbox: Inbox<Ticket>,
    memory: Arc<Memory>,
    /// Set once the bridge is stopping: no call waits longer.
    cut: watch::Sender<Option<Instant>>,
}

impl<W: Wire> Pipeline<W> {
    /// Remembers calls in `memory`, asks workers over `wire`.
    pub fn new(wire: W, memory: Memory) -> Self {
        let memory = Arc::new(memory);
        Self { wire, inbox: Inbox::default(), memory, cut: watch::Sender::new(None) }
    }

    /// Answers one request for a call, within its deadline.
    pub async fn run(&self, call: &Call) -> Answered {
        if let Some(outcome) = call.missing_claim.clone() {
            return Answered { outcome, receipt: None };
        }
        let count = |result| call.lane.metrics.call(result);
        if !call.names_person {
            count(CallResult::First);
            return Answered { outcome: self.lead(call, Lead::alone()).await, receipt: None };
        }
        let (round, outcome) = match self.memory.begin(call.id, clock::now()) {
            Begun::Lead(round, lead) => {
                count(CallResult::First);
                (round, self.lead(call, lead).await)
            }
            Begun::Join(round, leader) => {
                count(CallResult::Joined);
                (round, self.join(call, leader).await)
            }
            Begun::Replay(round, answer) => {
                count(CallResult::Replayed);
                (round, Outcome { answer, source: Source::Replay, reason: None })
            }
        };
        // A fallback is not the decision that may be recorded in the meantime.
        let is_decision = outcome.reason.is_none();
        let receipt = is_decision.then(|| self.memory.receipt(call.id, round));
        Answered { outcome, receipt }
    }

    /// Waits for what the leading request gets, but not beyond the own deadline: a request whose
    /// body was slow can be older than the one that it joins.
    async fn join(&self, call: &Call, leader: oneshot::Receiver<Outcome>) -> Outcome {
        let deadline = call.deadline();
        match self.until(deadline.instant(), leader).await {
            Some(Ok(outcome)) => outcome,
            // The leading request panicked.
            Some(Err(_)) => self.fallback(call, Reason::WorkerError),
            None if deadline.has_passed(clock::now()) => self.fallback(call, Reason::Timeout),
            None => self.fallback(call, Reason::ShuttingDown),
        }
    }

    /// Has the call decided, for all who asked.
    async fn lead(&self, call: &Call, mut lead: Lead) -> Outcome {
        let reason = match (call.lane.take_place(), call.lane.pass_breaker(clock::now())) {
            (None, _) => Reason::Overload,
            (Some(_), None) => Reason::BreakerOpen,
            (Some(_place), Some(passage)) => match self.ask(call, &mut lead).await {
                Ok(outcome) => {
                    passage.settle(Heard::Answer);
                    return outcome;
                }
                Err((reason, heard)) => {
                    passage.settle(heard);
                    reason
                }
            },
        };
        lead.fall_back(self.fallback(call, reason))
    }

    /// Asks the workers, until one has decided or the rules say to give up.
    async fn ask(&self, call: &Call, lead: &mut Lead) -> Result<Outcome, (Reason, Heard)> {
        let mut sending = Sending::new(call.deadline(), call.lane.connector.grace);
        loop {
            if let Some(outcome) = lead.decided() {
                return Ok(outcome);
            }
            match sending.next(clock::now(), self.wire.is_connected(), self.cut()) {
                Next::GiveUp(reason) => {
                    if reason == Reason::Disconnected && !sending.has_sent() {
                        call.lane.metrics.message(MessageResult::Disconnected, None);
                    }
                    // Who was not asked cannot have kept silent.
                    let heard = if sending.has_sent() { heard(reason) } else { Heard::Nothing };
                    return Err((reason, heard));
                }
                Next::Pause(end) => {
                    self.until(end, std::future::pending::<()>()).await;
                }
                Next::AwaitConnection(end) => {
                    self.until(end, self.wire.connected()).await;
                }
                Next::Send => match self.send(call, lead, sending.may_resend()).await {
                    Ok(outcome) => return outcome.map_err(|reason| (reason, heard(reason))),
                    Err(miss) => sending.missed(miss, clock::now()),
                },
            }
        }
    }

    /// Sends one message and waits for its reply, or for the decision that an earlier message of
    /// the same call brings first.
    async fn send(
        &self,
        call: &Call,
        lead: &mut Lead,
        may_resend: bool,
    ) -> Result<Result<Outcome, Reason>, Miss> {
        let deadline = call.deadline().cut_to(self.cut());
        let (token, ending) = self.inbox.open(Sent {
            deadline: deadline.instant(),
            late_until: call.late_until(self.memory.window()).max(deadline.instant()),
            may_resend,
            ticket: Ticket {
                lane: Arc::clone(&call.lane),
                deadline: deadline.instant(),
                round: lead.round(),
                cache_keys: call.cache_keys,
                locales: call.locales.clone(),
            },
        });
        let sent_at = clock::now();
        let message = Message {
            connector: &call.lane.connector,
            call_id: call.id,
            attempt: lead.attempt(),
            deadline: clock::wall_at(deadline.instant()),
            time_left: deadline.left(sent_at),
            trace: &call.trace,
            body: call.body.clone(),
        };
        let taken = clock::until(deadline.instant(), self.wire.publish(token, message)).await;
        if taken != Some(Ok(())) {
            self.inbox.close(token);
            return Err(Miss::NotSent);
        }
        lead.sent();
        let ending = match lead.decided_by_another() {
            None => ending.await,
            Some(other) => tokio::select! {
                ending = ending => ending,
                Ok(outcome) = other => {
                    call.lane.metrics.message(MessageResult::Ok, None);
                    return Ok(Ok(outcome));
                }
            },
        };
        // The inbox always sends an ending; a missing one would be its fault, and is a silence.
        match ending.unwrap_or(Err(Miss::Silence { connection_lost: false })) {
            Ok(reply) => Ok(self.take_reply(call, lead, &reply, clock::now() - sent_at)),
            Err(miss) => {
                if miss == Miss::NoResponders {
                    lead.reached_nobody();
                }
                call.lane.metrics.message(result_of(miss), None);
                Err(miss)
            }
        }
    }

    /// A reply in time: a decision, or the reason why it is none.
    fn take_reply(
        &self,
        call: &Call,
        lead: &mut Lead,
        reply: &Reply,
        taken: Duration,
    ) -> Result<Outcome, Reason> {
        let lane = &call.lane;
        match reply::read(&lane.connector, call.locales.as_deref(), reply) {
            Ok(decided) => {
                lane.metrics.message(MessageResult::Ok, Some(taken));
                lane.metrics.claims_not_listed.inc_by(decided.claims_not_listed);
                let answer = lane.connector.answer(&decided.decision);
                let (answer, counts) = lead.decide(answer, clock::now());
                if counts {
                    lane.keep(call.cache_keys, &decided.decision, reply.cache_control);
                }
                Ok(Outcome { answer, source: Source::Worker, reason: None })
            }
            Err(NoDecision::WorkerError(error)) => {
                lane.metrics.message(MessageResult::WorkerError, Some(taken));
                let code = error.code.map(i64::from);
                tracing::warn!(connector = %lane.connector.name, code, "a worker failed");
                Err(Reason::WorkerError)
            }
            Err(NoDecision::Invalid(rejection)) => {
                lane.metrics.message(MessageResult::InvalidReply, Some(taken));
                lane.metrics.reply_rejected(rejection);
                let reason = rejection.label();
                tracing::warn!(connector = %lane.connector.name, reason, "{}", advice(rejection));
                Err(Reason::InvalidReply)
            }
        }
    }

    /// What came over the bus for `token`. A late decision is recorded for the next request.
    pub fn deliver(&self, token: Token, arrival: Arrival) {
        let Some((ticket, reply)) = self.inbox.deliver(token, arrival) else { return };
        let lane = &ticket.lane;
        let now = clock::now();
        if now >= ticket.deadline {
            lane.metrics.late_replies.inc();
        }
        let Some((call, round)) = ticket.round else { return };
        let Ok(decided) = reply::read(&lane.connector, ticket.locales.as_deref(), &reply) else {
            return;
        };
        let answer = lane.connector.answer(&decided.decision);
        if self.memory.decide(call, round, &answer, now) {
            lane.keep(ticket.cache_keys, &decided.decision, reply.cache_control);
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
        tokio::join!(self.inbox.keep_deadlines(), clock::every(HOUSEKEEPING, forget));
    }

    /// The message bus.
    pub fn wire(&self) -> &W {
        &self.wire
    }

    /// How many calls are remembered, and how many messages are waited for or may be answered late.
    pub fn sizes(&self) -> (usize, (usize, usize)) {
        (self.memory.len(), self.inbox.len())
    }
}

fn result_of(miss: Miss) -> MessageResult {
    match miss {
        Miss::NoResponders => MessageResult::NoResponders,
        Miss::Silence { connection_lost: false } => MessageResult::Timeout,
        Miss::NotSent | Miss::Interrupted | Miss::Silence { connection_lost: true } => {
            MessageResult::Disconnected
        }
    }
}

fn advice(rejection: reply::Rejection) -> &'static str {
    if rejection == reply::Rejection::JetstreamAck {
        "a JetStream stream captures the connector's subject and answers before the workers do; \
         give the stream another subject, or set no_ack on it"
    } else {
        "a worker's reply is not a decision"
    }
}
