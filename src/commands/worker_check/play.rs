//! Plays a bridge: sends the cases one after the other and notes what comes.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{
    cases::{self, Call, Case, Owes, Pace, Time},
    options::Options,
    record::{Afterwards, Effect, Played, Record, Seen},
};
use crate::{
    clock,
    commands::Failure,
    domain::{
        call_id::CallId,
        connector::Connector,
        deadline::Deadline,
        trace_context::{SpanRef, TraceContext},
    },
    inbox::{Arrival, Token},
    nats::{self, ANSWERS_WITHIN, Direct, Heard, Incoming, Other, Outgoing},
    random::Random,
    wire::Message,
};

/// How far the deadline of a late call has passed when it is sent.
const OVER: Duration = Duration::from_secs(1);

/// The pause between looks whether somebody listens by now.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The least time in which a reply that should not come is waited for.
const SILENCE_MIN: Duration = Duration::from_millis(500);

/// How many times the slowest reply so far that time is, if that is longer.
const SILENCE_TIMES: u32 = 3;

/// The most time.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// A bridge that is played.
struct Play<'a> {
    options: &'a Options,
    outgoing: Outgoing,
    incoming: Incoming,
    random: Random,
    log: Log,
}

/// What was sent, and what came.
#[derive(Default)]
struct Log {
    /// Everything that was sent, by token.
    sent: Vec<Sent>,
    /// All calls that were sent, by how messages write their ids.
    calls: HashMap<String, CallId>,
    effects: Vec<Effect>,
}

/// A message that was sent.
struct Sent {
    at: Instant,
    /// None where it was no call.
    call: Option<CallId>,
    seen: Seen,
}

/// The tokens of the calls of a case, and what became of the worker.
struct Turn {
    tokens: Vec<usize>,
    afterwards: Afterwards,
}

/// Connects, sends `cases`, and notes what is seen.
pub(super) async fn play(options: &Options, cases: &[Case]) -> Result<Record, Failure> {
    let server = &options.server;
    let unavailable = |why: String| Failure::Unavailable(format!("{server}: {why}"));
    let connected = Direct::connect(&options.config, &options.secrets).await;
    let cannot = |why: String| unavailable(format!("no connection: {why}"));
    let Direct { outgoing, mut incoming } = connected.map_err(cannot)?;
    if let Some(effects) = &options.effects {
        incoming.listen(effects).await.map_err(unavailable)?;
    }
    let (random, log) = (Random::default(), Log::default());
    let play = Play { options, outgoing, incoming, random, log };
    play.all(cases).await.map_err(unavailable)
}

impl Play<'_> {
    async fn all(mut self, cases: &[Case]) -> Result<Record, String> {
        let mut turns: Vec<Turn> = Vec::new();
        let mut asked = None;
        for case in cases {
            let turn = match turns.is_empty() {
                true => self.first(case).await?,
                false => self.turn(case).await?,
            };
            if turns.is_empty() && turn.afterwards != Afterwards::Gone {
                asked = Some(self.ask_for_services().await?);
            }
            let is_over = matches!(turn.afterwards, Afterwards::Silent | Afterwards::Gone);
            turns.push(turn);
            if is_over {
                break;
            }
        }
        let mut services = None;
        if let Some(before) = asked {
            let after = self.ask_for_services().await?;
            self.listen(self.silence().max(ANSWERS_WITHIN)).await?;
            services = Some((self.services(before), self.services(after)));
        }
        let Log { sent, effects, calls: _ } = self.log;
        let seen = |token: usize| sent.get(token).map(|sent| sent.seen.clone());
        let played = turns.into_iter().map(|Turn { tokens, afterwards }| Played {
            seen: tokens.into_iter().filter_map(seen).collect(),
            afterwards,
        });
        let effects = self.options.effects.is_some().then_some(effects);
        Ok(Record { played: played.collect(), services, effects })
    }

    /// The first case, once more where the worker was just starting.
    async fn first(&mut self, case: &Case) -> Result<Turn, String> {
        let turn = self.turn(case).await?;
        let was_starting = turn.tokens.iter().any(|token| self.log.found_nobody(*token));
        match turn.afterwards {
            Afterwards::CameBack if was_starting => self.turn(case).await,
            Afterwards::CameBack
            | Afterwards::NotAsked
            | Afterwards::Answered
            | Afterwards::Silent
            | Afterwards::Gone => Ok(turn),
        }
    }

    async fn turn(&mut self, case: &Case) -> Result<Turn, String> {
        let mut tokens = Vec::with_capacity(case.calls.len());
        for call in &case.calls {
            tokens.push(self.send(call).await?);
            match case.pace {
                Pace::OneByOne => self.hear(case, &tokens).await?,
                // A reply's time ends when it is read, and so it is not left lying.
                Pace::AtOnce => self.listen(Duration::ZERO).await?,
            }
        }
        self.hear(case, &tokens).await?;
        let is_silent = |token: &usize| !self.log.has_reply(*token);
        let afterwards = match case.owes {
            Owes::Silence => Afterwards::NotAsked,
            Owes::Decision
            | Owes::DecisionOrError
            | Owes::IfItServes
            | Owes::SameDecision
            | Owes::NoDecision
                if tokens.iter().any(is_silent) =>
            {
                self.sign_of_life().await?
            }
            Owes::Decision
            | Owes::DecisionOrError
            | Owes::IfItServes
            | Owes::SameDecision
            | Owes::NoDecision => Afterwards::NotAsked,
        };
        Ok(Turn { tokens, afterwards })
    }

    /// Until all calls have a reply, or none will come any more.
    async fn hear(&mut self, case: &Case, tokens: &[usize]) -> Result<(), String> {
        let limit = match case.owes {
            Owes::Silence => return Ok(()),
            Owes::NoDecision => Some(self.silence()),
            Owes::Decision | Owes::DecisionOrError | Owes::IfItServes | Owes::SameDecision => None,
        };
        let mut open = tokens.to_vec();
        open.retain(|token| !self.log.is_settled(*token));
        let sent = open.iter().filter_map(|token| self.log.sent.get(*token));
        let ends = sent.map(|sent| sent.at + limit.unwrap_or(sent.seen.limit).min(sent.seen.limit));
        let Some(end) = ends.max() else { return Ok(()) };
        loop {
            while open.pop_if(|token| self.log.is_settled(*token)).is_some() {}
            if open.is_empty() {
                return Ok(());
            }
            match self.incoming.next(end).await {
                Some(heard) => self.note(heard)?,
                None => return Ok(()),
            }
        }
    }

    /// Whether a call like any other is answered, now that one was not.
    async fn sign_of_life(&mut self) -> Result<Afterwards, String> {
        let Options { connector, key, claims, .. } = self.options;
        let tag = format!("sign-of-life-{}", self.log.sent.len());
        let call = cases::sign_of_life(connector, key, claims, &tag);
        let call = call.map_err(|fault| format!("the claims are {fault}"))?;
        let back = clock::now() + self.options.wait;
        let mut was_gone = false;
        loop {
            let token = self.send(&call).await?;
            let end = clock::now() + self.options.connector.deadline;
            while !self.log.is_settled(token) {
                match self.incoming.next(end).await {
                    Some(heard) => self.note(heard)?,
                    None => return Ok(Afterwards::Silent),
                }
            }
            match (self.log.has_reply(token), was_gone) {
                (true, false) => return Ok(Afterwards::Answered),
                (true, true) => return Ok(Afterwards::CameBack),
                (false, _) if clock::now() >= back => return Ok(Afterwards::Gone),
                (false, _) => was_gone = true,
            }
            self.listen(LOOK_EVERY).await?;
        }
    }

    /// Sends a call as the bridge does. Returns its token.
    async fn send(&mut self, call: &Call) -> Result<usize, String> {
        let Call { protocol, step, body, id, attempt, time } = call.clone();
        let connector = Connector { protocol, step, ..self.options.connector.clone() };
        let limit = match protocol.name == self.options.connector.protocol.name {
            true => connector.deadline,
            false => connector.deadline.min(protocol.default_deadline),
        };
        let now = clock::now();
        let deadline = Deadline::of(now, limit);
        let until = match time {
            Time::Left => deadline.instant(),
            Time::Over => now.checked_sub(OVER).unwrap_or(now),
        };
        let span = SpanRef {
            trace_id: u128::from(self.random.next()) << 64 | u128::from(self.random.next() | 1),
            span_id: self.random.next() | 1,
            flags: 0,
        };
        let token = self.log.sent.len();
        let bytes = body.len();
        let message = Message {
            connector: &connector,
            call_id: id,
            attempt,
            deadline: until,
            trace: &TraceContext::root(span),
            body,
        };
        let taken = self.outgoing.send(Token(token as u64), message).await;
        taken.map_err(|_| format!("a message of {bytes} bytes was not taken"))?;
        let seen = Seen { limit: deadline.left(now), nobody: false, replies: Vec::new() };
        self.log.sent.push(Sent { at: now, call: Some(id), seen });
        self.log.calls.insert(id.to_string(), id);
        Ok(token)
    }

    fn note(&mut self, heard: Heard) -> Result<(), String> {
        self.log.note(heard, &self.options.connector)
    }

    /// Listens, and does nothing else.
    async fn listen(&mut self, time: Duration) -> Result<(), String> {
        let end = clock::now() + time;
        while let Some(heard) = self.incoming.next(end).await {
            self.note(heard)?;
        }
        Ok(())
    }

    /// Asks all NATS services who they are. Returns the token of the question.
    async fn ask_for_services(&mut self) -> Result<usize, String> {
        let token = self.log.sent.len();
        let asked = self.outgoing.ask_for_services(Token(token as u64)).await;
        asked.map_err(|_| "a question was not taken".to_owned())?;
        let seen = Seen { limit: ANSWERS_WITHIN, nobody: false, replies: Vec::new() };
        self.log.sent.push(Sent { at: clock::now(), call: None, seen });
        Ok(token)
    }

    /// How many of those who answered serve the subject.
    fn services(&self, token: usize) -> i64 {
        let answers = self.log.sent.get(token).into_iter().flat_map(|sent| &sent.seen.replies);
        let answers = answers.map(|(_, answer)| &answer.payload);
        nats::count(answers, &self.options.connector.subject)
    }

    /// How long nothing comes before it is taken for silence.
    fn silence(&self) -> Duration {
        let calls = self.log.sent.iter().filter(|sent| sent.call.is_some());
        let replies = calls.flat_map(|sent| &sent.seen.replies);
        let slowest = replies.map(|(took, _)| *took).max().unwrap_or_default();
        (slowest * SILENCE_TIMES).clamp(SILENCE_MIN, SILENCE_MAX)
    }
}

impl Log {
    fn note(&mut self, heard: Heard, connector: &Connector) -> Result<(), String> {
        match heard {
            Heard::Arrival(Token(number), arrival) => {
                let sent = usize::try_from(number).ok().and_then(|at| self.sent.get_mut(at));
                match (sent, arrival) {
                    (Some(sent), Arrival::Reply(reply)) => {
                        sent.seen.replies.push((clock::now() - sent.at, reply));
                    }
                    (Some(sent), Arrival::NoResponders) => sent.seen.nobody = true,
                    (None, _) => {}
                }
                Ok(())
            }
            Heard::Other(other) => {
                if other.subject != connector.subject.as_str() {
                    let effect = self.effect(other);
                    self.effects.push(effect);
                }
                Ok(())
            }
            Heard::Lost(why) => Err(why),
        }
    }

    /// A call names itself in a header or, failing that, anywhere in the body or the subject.
    fn effect(&self, other: Other) -> Effect {
        let Other { subject, call_id, message_id, payload } = other;
        let call = match &call_id {
            Some(named) => self.calls.get(named).copied(),
            None => {
                let id = message_id.as_deref().unwrap_or_default();
                let texts = [id.as_bytes(), &payload, subject.as_bytes()];
                texts.into_iter().find_map(|text| self.named_in(text))
            }
        };
        Effect { call, message_id }
    }

    /// The first call whose id stands in a text.
    fn named_in(&self, text: &[u8]) -> Option<CallId> {
        let named = |part| self.calls.get(std::str::from_utf8(part).ok()?).copied();
        text.windows(CallId::TEXT_LEN).find_map(named)
    }

    fn has_reply(&self, token: usize) -> bool {
        self.sent.get(token).is_some_and(|sent| !sent.seen.replies.is_empty())
    }

    fn found_nobody(&self, token: usize) -> bool {
        self.sent.get(token).is_some_and(|sent| sent.seen.nobody)
    }

    fn is_settled(&self, token: usize) -> bool {
        self.has_reply(token) || self.found_nobody(token)
    }
}
