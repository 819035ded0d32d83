//! The way of one call to the workers and back.

use std::{
    future::pending,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::OptionFuture;
use tokio::sync::oneshot;

use super::{Pipeline, Ticket};
use crate::{
    call::Call,
    clock,
    domain::{
        breaker::Heard,
        decision::Action,
        outcome::{Outcome, Reason, Source},
        protocol::Answer,
        record::Round,
        reply::{self, NoDecision, Reply},
        sending::{Miss, Next, Sending},
    },
    inbox::{Sent, Token},
    journal::Came,
    memory::{Ended, Lead, Led},
    metrics::MessageResult,
    store::{Counts, SharedCalls},
    traces::MessageSpan,
    wire::{Message, NotSent, Wire},
};

impl<W: Wire> Pipeline<W> {
    /// Has the call decided here, for all who asked.
    pub(super) async fn decide(&self, call: &Call, lead: &mut Lead) -> Outcome {
        let body = call.body();
        let place = body.and_then(|body| Some((call.lane.take_place()?, body)));
        let reason = match (place, call.lane.pass_breaker(clock::now())) {
            (None, _) => Reason::Overload,
            (Some(_), None) => Reason::BreakerOpen,
            (Some((_place, body)), Some(passage)) => match self.ask(call, lead, &body).await {
                Ok(outcome) => {
                    // Another replica's fallback says nothing about the workers.
                    let is_decided = outcome.reason.is_none();
                    passage.settle(if is_decided { Heard::Answer } else { Heard::Nothing });
                    return outcome;
                }
                Err((reason, heard)) => {
                    passage.settle(heard);
                    reason
                }
            },
        };
        let led = lead.led();
        let outcome = lead.fall_back(self.fallback(call, reason));
        if let (Some(shared), Some(led), Some(_)) = (&self.shared, led, outcome.reason) {
            let settling = shared.fell_back(led, outcome.clone(), call.arrived);
            let memory = Arc::clone(&self.memory);
            shared.settle_behind(led.call, settling, move |counts| {
                if let Counts::First(first) = counts {
                    memory.decide(led.call, led.round, &first, clock::now());
                }
            });
        }
        outcome
    }

    /// Asks the workers, until one has decided or the rules say to give up.
    async fn ask(
        &self,
        call: &Call,
        lead: &mut Lead,
        body: &Bytes,
    ) -> Result<Outcome, (Reason, Heard)> {
        let patience = call.lane.connector.patience;
        let mut sending = Sending::new(call.arrived, call.deadline(), patience);
        loop {
            if let Some(outcome) = lead.decided() {
                return Ok(outcome);
            }
            let now = clock::now();
            match sending.next(now, self.wire.line(), self.cut()) {
                Next::GiveUp(reason) => {
                    if reason == Reason::Disconnected && !sending.has_sent() {
                        call.lane.metrics.message(MessageResult::Disconnected, None);
                    }
                    return Err((reason, sending.heard(reason)));
                }
                Next::Pause(end) => {
                    self.until(end, std::future::pending::<()>()).await;
                }
                Next::AwaitConnection(end) => {
                    self.until(end, self.connection(call)).await;
                }
                Next::Send if !lead.is_leased(now) => {
                    if let Some(elsewhere) = self.look_again(call, lead).await {
                        return Ok(elsewhere);
                    }
                }
                Next::Send => match self.send(call, lead, body, sending.may_resend()).await {
                    // Whatever came of it, a worker has answered.
                    Ok(outcome) => return outcome.map_err(|reason| (reason, Heard::Answer)),
                    Err(miss) => sending.missed(miss, clock::now()),
                },
            }
        }
    }

    /// The call may have been taken over: asks the store before a message is sent. Returns what
    /// another replica makes of it, if it does.
    async fn look_again(&self, call: &Call, lead: &mut Lead) -> Option<Outcome> {
        let shared = self.shared.as_ref()?;
        // In a box, as when it was leased.
        let ended = Box::pin(self.claim(shared, call, lead)).await?;
        Some(ended.outcome)
    }

    /// Waits for the connection; those who have waited longest go on first.
    async fn connection(&self, call: &Call) {
        let turn = self.turns.take(call.arrived);
        // It may have returned before this call took its turn.
        if !self.wire.is_connected() {
            turn.comes().await;
        }
    }

    /// Sends one message and waits for its reply, or for the decision that an earlier message of
    /// the same call brings first.
    async fn send(
        &self,
        call: &Call,
        lead: &mut Lead,
        body: &Bytes,
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
                led: lead.led(),
                cache_keys: call.cache_keys,
                locales: call.locales.clone(),
                notes: call.notes.clone(),
            },
        });
        let connector = &call.lane.connector;
        let span = call.span.message(connector, call.id, lead.attempt(), body.len());
        let message = Message {
            connector,
            call_id: call.id,
            attempt: lead.attempt(),
            deadline: deadline.instant(),
            trace: span.context(),
            body: body.clone(),
        };
        call.notes.sending(&message);
        let sent_at = match self.hand_over(lead, token, message).await {
            Ok(sent_at) => sent_at,
            Err(miss) => {
                self.inbox.close(token);
                span.ended(result_of(miss), None);
                call.notes.message_ended(result_of(miss));
                return Err(miss);
            }
        };
        call.sent(lead.attempt());
        lead.sent();
        let another = lead.decided_by_another().map(|here| {
            // In a box: it is large, and nearly all calls send one message.
            Box::pin(self.decided_by_another(call, lead.round(), here))
        });
        let ending = tokio::select! {
            biased;
            ending = ending => ending,
            Some(answer) = OptionFuture::from(another) => {
                call.message_ended(span, MessageResult::Ok, None, None);
                let (answer, _) = lead.decide(answer, clock::now());
                return Ok(Ok(Outcome { answer, source: Source::Worker, reason: None }));
            }
        };
        // The inbox always sends an ending; a missing one would be its fault, and is a silence.
        match ending.unwrap_or(Err(Miss::Silence { connection_lost: false })) {
            Ok(reply) => {
                call.notes.replied(&reply, Came::InTime);
                Ok(self.take_reply(call, lead, &reply, clock::now() - sent_at, span).await)
            }
            Err(miss) => {
                if miss == Miss::NoResponders {
                    lead.reached_nobody();
                }
                call.message_ended(span, result_of(miss), None, None);
                Err(miss)
            }
        }
    }

    /// Hands a message over, unless its time is over by then, or the call may be another replica's.
    /// Returns when.
    async fn hand_over(
        &self,
        lead: &Lead,
        token: Token,
        message: Message<'_>,
    ) -> Result<Instant, Miss> {
        let end = message.deadline;
        let mut sent_at = end;
        // The last look at the clock: the process may have stood still since the one before.
        let may_go = || {
            sent_at = clock::now();
            sent_at < end && lead.is_leased(sent_at)
        };
        match clock::until(end, self.wire.publish(token, message, may_go)).await {
            Some(Ok(())) => Ok(sent_at),
            Some(Err(NotSent::HeldBack)) if sent_at >= end => Err(Miss::TooLate),
            Some(Err(NotSent::NotTaken | NotSent::HeldBack)) | None => Err(Miss::NotSent),
        }
    }

    /// The decision that an earlier message than the last brings, here or to another replica.
    async fn decided_by_another(
        &self,
        call: &Call,
        round: Round,
        here: oneshot::Receiver<Ended>,
    ) -> Answer {
        let here = async {
            match here.await {
                Ok(Ended { outcome, .. }) => outcome.answer,
                Err(_) => pending().await,
            }
        };
        match &self.shared {
            None => here.await,
            Some(shared) => tokio::select! {
                biased;
                answer = here => answer,
                answer = shared.decided_elsewhere(call.id, round) => answer,
            },
        }
    }

    /// A reply in time: a decision, or the reason why it is none.
    async fn take_reply(
        &self,
        call: &Call,
        lead: &mut Lead,
        reply: &Reply,
        taken: Duration,
        span: MessageSpan,
    ) -> Result<Outcome, Reason> {
        let lane = &call.lane;
        match reply::read(&lane.connector, call.locales.as_deref(), reply) {
            Ok(decided) => {
                call.message_ended(span, MessageResult::Ok, Some(taken), None);
                lane.metrics.claims_not_listed.inc_by(decided.claims_not_listed);
                let answer = lane.connector.answer(&decided.decision);
                let recorded = match (&self.shared, lead.led()) {
                    // In a box, as the claim.
                    (Some(shared), Some(led)) => {
                        Box::pin(self.record(shared, led, call, lead, answer)).await
                    }
                    (None, _) | (_, None) => Some(lead.decide(answer, clock::now())),
                };
                let (answer, counts) = recorded.ok_or(Reason::Timeout)?;
                if counts {
                    lane.keep(call.cache_keys, decided.decision, reply.cache_control);
                }
                Ok(Outcome { answer, source: Source::Worker, reason: None })
            }
            Err(NoDecision::WorkerError(error)) => {
                call.message_ended(span, MessageResult::WorkerError, Some(taken), error.code);
                let code = error.code.map(i64::from);
                tracing::warn!(connector = %lane.connector.name, code, "a worker failed");
                Err(Reason::WorkerError)
            }
            Err(NoDecision::Invalid(rejection)) => {
                call.message_ended(span, MessageResult::InvalidReply, Some(taken), None);
                lane.metrics.reply_rejected(rejection);
                let reason = rejection.label();
                tracing::warn!(connector = %lane.connector.name, reason, "{}", advice(rejection));
                Err(Reason::InvalidReply)
            }
        }
    }

    /// Records a decision for other replicas too. Returns the answer that counts, and whether it is
    /// this one: where an earlier message may bring a decision too, or another replica may have the
    /// call by now, the first one counts. Then it is written before it is answered, as is a ValidationError: the person may post the form again
    /// at once.
    ///
    /// Returns nothing where this process was paused, so that another may have taken the call
    /// over, and the store does not say which decision was first.
    async fn record(
        &self,
        shared: &SharedCalls<W>,
        led: Led,
        call: &Call,
        lead: &mut Lead,
        answer: Answer,
    ) -> Option<(Answer, bool)> {
        let settling = shared.decided(led, answer.clone(), false);
        let deadline = call.deadline().cut_to(self.cut());
        let now = clock::now();
        let counts = if deadline.has_passed(now) {
            let end = now + lead.store_time_left();
            let learn = self.learn(led, answer.clone());
            match shared.settle_first(led.call, settling, end, learn).await {
                None if led.is_claimed() => return None,
                counts => counts.unwrap_or(Counts::This),
            }
        } else if lead.is_contested()
            || !lead.is_leased(now)
            || answer.action == Some(Action::ValidationError)
        {
            let end = deadline.instant().min(now + lead.store_time_left());
            let learn = self.learn(led, answer.clone());
            let counts = shared.settle_first(led.call, settling, end, learn).await;
            counts.unwrap_or(Counts::This)
        } else {
            let learn = self.learn(led, answer.clone());
            let (counts, is_this) = lead.decide(answer, now);
            if is_this {
                shared.settle_behind(led.call, settling, learn);
            }
            return Some((counts, is_this));
        };
        let is_overtaken = counts == Counts::Overtaken;
        let first = counts.answer(&answer);
        let is_first = first == answer;
        let (counts, is_this) = lead.decide(first, clock::now());
        if is_overtaken {
            self.memory.leave(led.call, led.round);
        }
        Some((counts, is_first && is_this))
    }
}

fn result_of(miss: Miss) -> MessageResult {
    match miss {
        Miss::NoResponders => MessageResult::NoResponders,
        Miss::TooLate | Miss::Silence { connection_lost: false } => MessageResult::Timeout,
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
