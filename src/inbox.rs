//! Who waits for which reply. Every entry leaves: by its reply, or by the end of its time.
//!
//! There is no timer per call: one task sleeps until the earliest deadline and looks at all
//! entries then. In the usual case, where replies come long before, that is once per deadline.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use foldhash::HashMap;
use tokio::sync::{Notify, oneshot};

use crate::{
    budget::Share,
    clock,
    domain::{
        budget::Part,
        reply::Reply,
        sending::{Miss, RESEND_TIME_MIN},
    },
    ends::Ends,
    room::give_back,
};

/// The least time between two looks at all entries.
const SWEEP_PAUSE: Duration = Duration::from_millis(2);

/// Names one message in its reply subject. Not to be guessed: whoever knows it can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

/// What the bus brings for a message.
pub enum Arrival {
    /// A reply.
    Reply(Reply),
    /// The server says that nobody listens.
    NoResponders,
}

/// What ends the wait for a message.
pub type Ending = Result<Reply, Miss>;

/// A message that is about to be sent.
pub struct Sent<T> {
    /// When its sender stops waiting.
    pub deadline: Instant,
    /// Until when a late reply is still of use.
    pub late_until: Instant,
    /// Whether its sender wants to hear of a connection that was lost and has returned.
    pub may_resend: bool,
    /// What is needed to make use of a late reply.
    pub ticket: T,
}

/// All messages whose reply may still come.
pub struct Inbox<T> {
    state: Mutex<State<T>>,
    random: RandomState,
    rearm: Notify,
}

struct State<T> {
    count: u64,
    waiting: HashMap<Token, Waiting<T>>,
    /// At or before the earliest deadline in `waiting`.
    earliest: Option<Instant>,
    /// With the end of their time: they may be forgotten only some time after it.
    late: HashMap<Token, (Instant, T)>,
    late_ends: Ends<Token>,
    /// The memory for them.
    late_share: Arc<Share>,
    /// No wait lasts longer, where the bridge is stopping.
    cut: Option<Instant>,
}

struct Waiting<T> {
    /// The order of sending.
    number: u64,
    sender: oneshot::Sender<Ending>,
    sent: Sent<T>,
    connection_lost: bool,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        let state = State {
            count: 0,
            waiting: HashMap::default(),
            earliest: None,
            late: HashMap::default(),
            late_ends: Ends::new(clock::now()),
            late_share: Share::unbounded(Part::Late),
            cut: None,
        };
        Self { state: Mutex::new(state), random: RandomState::new(), rearm: Notify::new() }
    }
}

/// What it takes to make use of one late reply: its ticket with languages, and places in the map and
/// among the ends.
const LATE_BYTES: usize = 1024;

impl<T> Inbox<T> {
    /// Keeps messages that may be answered late within `share`, of which it keeps the
    /// account. Where they do not fit, those whose time ends first are forgotten early.
    pub fn within(self, share: Arc<Share>) -> Self {
        self.lock().late_share = share;
        self
    }

    /// A token for a message that is about to be sent, and what its sender waits on. Whoever drops
    /// the receiver leaves the entry to its deadline.
    pub fn open(&self, mut sent: Sent<T>) -> (Token, oneshot::Receiver<Ending>) {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        sent.deadline = state.cut.map_or(sent.deadline, |cut| cut.min(sent.deadline));
        let token = loop {
            state.count += 1;
            let token = Token(self.random.hash_one(state.count));
            if !state.waiting.contains_key(&token) && !state.late.contains_key(&token) {
                break token;
            }
        };
        let is_earlier = state.earliest.is_none_or(|earliest| sent.deadline < earliest);
        if is_earlier {
            state.earliest = Some(sent.deadline);
        }
        let number = state.count;
        state.waiting.insert(token, Waiting { number, sender, sent, connection_lost: false });
        drop(state);
        if is_earlier {
            self.rearm.notify_one();
        }
        (token, receiver)
    }

    /// The message was not sent after all.
    pub fn close(&self, token: Token) {
        self.lock().waiting.remove(&token);
    }

    /// Hands over what came. Returns what came late: its sender has stopped waiting.
    pub fn deliver(&self, token: Token, arrival: Arrival) -> Option<(T, Reply)> {
        let mut state = self.lock();
        if let Some(Waiting { sender, sent, .. }) = state.waiting.remove(&token) {
            drop(state);
            let ending = match arrival {
                Arrival::Reply(reply) => Ok(reply),
                Arrival::NoResponders => Err(Miss::NoResponders),
            };
            return Some((sent.ticket, sender.send(ending).err()?.ok()?));
        }
        match (state.late.remove(&token), arrival) {
            (Some((until, ticket)), Arrival::Reply(reply)) => {
                (clock::now() < until).then_some((ticket, reply))
            }
            (None, _) | (Some(_), Arrival::NoResponders) => None,
        }
    }

    /// The connection was lost: replies to what was sent so far may be lost with it.
    pub fn connection_lost(&self) {
        self.lock().waiting.values_mut().for_each(|waiting| waiting.connection_lost = true);
    }

    /// The connection has returned: tells those who may still send once more.
    pub fn connection_returned(&self, now: Instant) {
        let mut state = self.lock();
        state.end_where(|waiting| {
            let left = waiting.sent.deadline.saturating_duration_since(now);
            let resends =
                waiting.connection_lost && waiting.sent.may_resend && left >= RESEND_TIME_MIN;
            resends.then_some(Miss::Interrupted)
        });
    }

    /// No wait lasts longer than until `end`.
    pub fn cut(&self, end: Instant) {
        let mut state = self.lock();
        state.waiting.values_mut().for_each(|waiting| {
            waiting.sent.deadline = waiting.sent.deadline.min(end);
        });
        state.cut = Some(end);
        state.earliest = state.earliest.map(|earliest| earliest.min(end));
        drop(state);
        self.rearm.notify_one();
    }

    /// Ends waits at their deadlines, forever.
    pub async fn keep_deadlines(&self) {
        loop {
            let now = clock::now();
            let earliest = self.lock().end_passed(now);
            let rearmed = self.rearm.notified();
            match earliest {
                None => rearmed.await,
                Some(earliest) => {
                    let wake_at = earliest.max(now + SWEEP_PAUSE);
                    clock::until(wake_at, rearmed).await;
                }
            }
        }
    }

    /// Forgets late messages whose time is over.
    pub fn forget_late(&self, now: Instant) {
        let mut state = self.lock();
        while let Some((_, token)) = state.late_ends.pop_passed(now) {
            state.late.remove(&token);
        }
        give_back(&mut state.late);
        give_back(&mut state.waiting);
        state.late_share.set_held(state.late.len() * LATE_BYTES);
    }

    /// How many messages are waited for, and how many may still be answered late.
    pub fn len(&self) -> (usize, usize) {
        let state = self.lock();
        (state.waiting.len(), state.late.len())
    }

    /// Whether no reply is expected any more.
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// Ends what has passed its deadline; returns the earliest that is left.
    fn end_passed(&mut self, now: Instant) -> Option<Instant> {
        if self.earliest.is_some_and(|earliest| earliest <= now) {
            self.end_where(|waiting| {
                let connection_lost = waiting.connection_lost;
                (waiting.sent.deadline <= now).then_some(Miss::Silence { connection_lost })
            });
            self.earliest = self.waiting.values().map(|waiting| waiting.sent.deadline).min();
        }
        self.earliest
    }

    fn end_where(&mut self, ends: impl Fn(&Waiting<T>) -> Option<Miss>) {
        let ended = self.waiting.extract_if(|_, waiting| ends(waiting).is_some());
        let mut ended: Vec<_> = ended.collect();
        // Who has waited longest goes on first, whatever the order of the map.
        ended.sort_unstable_by_key(|(_, waiting)| waiting.number);
        for (token, waiting) in ended {
            if let Some(miss) = ends(&waiting) {
                // Nobody listening any more is no fault: the entry stays for a late reply.
                drop(waiting.sender.send(Err(miss)));
            }
            let late_until = waiting.sent.late_until;
            self.late.insert(token, (late_until, waiting.sent.ticket));
            self.late_ends.push(late_until, token);
        }
        while self.late.len() * LATE_BYTES > self.late_share.limit() {
            let Some((_, token)) = self.late_ends.pop_first() else { break };
            if self.late.remove(&token).is_some() {
                self.late_share.refuse();
            }
        }
        self.late_share.set_held(self.late.len() * LATE_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ends::TICK, room::SPARE_MAX};

    const DEADLINE: Duration = Duration::from_secs(5);
    const WINDOW: Duration = Duration::from_secs(45);

    fn sent(ticket: u32, may_resend: bool) -> Sent<u32> {
        let now = clock::now();
        Sent { deadline: now + DEADLINE, late_until: now + WINDOW, may_resend, ticket }
    }

    fn reply(text: &'static str) -> Arrival {
        Arrival::Reply(Reply { payload: text.into(), ..Reply::default() })
    }

    fn started() -> Arc<Inbox<u32>> {
        let inbox = Arc::new(Inbox::default());
        let sweeper = Arc::clone(&inbox);
        tokio::spawn(async move { sweeper.keep_deadlines().await });
        inbox
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_reaches_its_sender_once() {
        let inbox = started();
        let (token, receiver) = inbox.open(sent(1, false));
        assert!(inbox.deliver(Token(token.0 ^ 1), reply("forged")).is_none());
        assert!(inbox.deliver(token, reply("a")).is_none());
        assert!(inbox.deliver(token, reply("again")).is_none());
        assert_eq!(receiver.await.unwrap().unwrap().payload, "a");
        assert!(inbox.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_at_the_deadline_and_a_late_reply_brings_the_ticket_back() {
        let inbox = started();
        let start = clock::now();
        let (token, receiver) = inbox.open(sent(7, false));
        let silence = Miss::Silence { connection_lost: false };
        assert_eq!(receiver.await.unwrap().err(), Some(silence));
        assert!(clock::now() - start <= DEADLINE + SWEEP_PAUSE);
        let (ticket, late) = inbox.deliver(token, reply("late")).expect("late");
        assert_eq!((ticket, &*late.payload), (7, b"late".as_slice()));
        assert!(inbox.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_after_the_window_is_of_no_use_even_if_it_is_not_forgotten_yet() {
        for (after, is_taken) in [(WINDOW - Duration::from_millis(1), true), (WINDOW, false)] {
            let (inbox, start) = (started(), clock::now());
            let (token, receiver) = inbox.open(sent(7, false));
            assert!(receiver.await.unwrap().is_err());
            clock::sleep_until(start + after).await;
            assert_eq!(inbox.deliver(token, reply("late")).is_some(), is_taken, "{after:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_waited_longest_is_told_first() {
        let inbox = started();
        let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..100 {
            let ((_, receiver), told) = (inbox.open(sent(number, false)), told.clone());
            tokio::spawn(async move {
                drop(receiver.await);
                told.send(number).unwrap();
            });
        }
        for number in 0..100 {
            assert_eq!(hears.recv().await, Some(number));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_deadline_that_comes_second_is_kept() {
        let inbox = started();
        let (_, _slow) = inbox.open(sent(1, false));
        tokio::time::sleep(Duration::from_millis(10)).await;
        let start = clock::now();
        let soon = Sent { deadline: start + Duration::from_millis(50), ..sent(2, false) };
        let (_, receiver) = inbox.open(soon);
        assert!(receiver.await.unwrap().is_err());
        assert!(clock::now() - start < Duration::from_millis(60));
    }

    #[tokio::test(start_paused = true)]
    async fn unanswered_messages_are_gone_after_their_window() {
        let inbox = started();
        let receivers: Vec<_> = (0..1_000).map(|n| inbox.open(sent(n, false)).1).collect();
        for receiver in receivers {
            assert!(receiver.await.unwrap().is_err());
        }
        assert_eq!(inbox.len(), (0, 1_000));
        clock::sleep_until(clock::now() + WINDOW + TICK).await;
        inbox.forget_late(clock::now());
        assert!(inbox.is_empty());
        assert!(inbox.lock().late_ends.pop_first().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_room_of_a_rush_that_is_over_is_given_back() {
        let inbox = started();
        let receivers: Vec<_> = (0..10_000).map(|n| inbox.open(sent(n, false)).1).collect();
        for receiver in receivers {
            assert!(receiver.await.unwrap().is_err());
        }
        inbox.forget_late(clock::now());
        assert!(inbox.lock().waiting.capacity() <= SPARE_MAX);
        assert!(inbox.lock().late.capacity() >= 10_000);
        clock::sleep_until(clock::now() + WINDOW + TICK).await;
        inbox.forget_late(clock::now());
        assert!(inbox.lock().late.capacity() <= SPARE_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_is_gone_makes_its_reply_a_late_one() {
        let inbox = started();
        let (token, receiver) = inbox.open(sent(3, false));
        drop(receiver);
        assert_eq!(inbox.deliver(token, reply("x")).map(|(ticket, _)| ticket), Some(3));
    }

    #[tokio::test(start_paused = true)]
    async fn only_who_may_resend_and_has_a_second_left_hears_of_the_returned_connection() {
        let inbox = started();
        let (_, mut yes) = inbox.open(sent(1, true));
        let (_, mut no) = inbox.open(sent(2, false));
        let short = Sent { deadline: clock::now() + Duration::from_millis(999), ..sent(3, true) };
        let (_, mut too_late) = inbox.open(short);
        inbox.connection_lost();
        let (_, mut after) = inbox.open(sent(4, true));
        inbox.connection_returned(clock::now());
        assert_eq!(yes.try_recv().unwrap().err(), Some(Miss::Interrupted));
        for waits in [&mut no, &mut too_late, &mut after] {
            assert!(waits.try_recv().is_err());
        }
        assert_eq!(no.await.unwrap().err(), Some(Miss::Silence { connection_lost: true }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_ends_every_wait_earlier() {
        let inbox = started();
        let (_, receiver) = inbox.open(sent(1, true));
        let start = clock::now();
        inbox.cut(start + Duration::from_secs(1));
        let (_, later) = inbox.open(sent(2, true));
        assert!(receiver.await.unwrap().is_err());
        assert!(later.await.unwrap().is_err());
        assert!(clock::now() - start < Duration::from_millis(1_010));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_behind_the_deadline_changes_nothing() {
        let inbox = started();
        let (_, receiver) = inbox.open(sent(1, true));
        let start = clock::now();
        inbox.cut(start + DEADLINE * 2);
        assert!(receiver.await.unwrap().is_err());
        assert!(clock::now() - start < DEADLINE + Duration::from_millis(10));
    }
}
