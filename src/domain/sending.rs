//! When a call's message is sent, sent again, or given up, and what the breaker hears of it. Every
//! wait ends by the deadline.

use std::time::{Duration, Instant};

use super::{breaker::Heard, deadline::Deadline, outcome::Reason};

/// The first pause after nobody listened; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause within the grace, and after it: many calls may wait for workers that return
/// later than the connection.
const PAUSE_MAX: Duration = Duration::from_millis(160);
const PAUSE_MAX_LATER: Duration = Duration::from_millis(500);

/// The time that must be left for a message to be sent once more after the connection was lost
/// and has returned.
pub const RESEND_TIME_MIN: Duration = Duration::from_secs(1);

/// The silence of a worker counts for the breaker if the worker had at least so many quarters of a
/// call's time: less says nothing about workers, however often it happens. Time goes to a slow body,
/// to another replica, to a connection or workers that were away. What the store may cost is a
/// quarter at the most, and stays out of it.
const QUARTERS_MIN: u32 = 3;

/// A server that lives is heard within this: it is asked for a sign of life after each second in
/// which nothing came from it.
const SIGN_OF_LIFE: Duration = Duration::from_millis(1_500);

/// Who looks at a silence so long after its end stood still meanwhile, and has not yet read what
/// came.
const STOOD_STILL: Duration = Duration::from_millis(500);

/// How long a call waits for what is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a worker, or for the connection, from the first trouble on.
    pub grace: Duration,
    /// For both, from when the connection was lost.
    pub reconnect_grace: Duration,
}

/// What a call sees of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Whether a message could be sent now.
    pub is_up: bool,
    /// When it was last lost, where it ever was.
    pub lost: Option<Instant>,
    /// How many bytes have come over it, where that is known.
    pub heard: Option<u64>,
}

/// How one message went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// It was not sent: its time was over before the connection could take it.
    TooLate,
    /// It was not sent: the connection did not take it.
    NotSent,
    /// The server says that nobody listens, so no worker has it.
    NoResponders,
    /// The connection was lost after it was sent, and has returned.
    Interrupted,
    /// The deadline came without a reply.
    Silence {
        /// Whether the connection was lost in between, and the reply perhaps with it.
        connection_lost: bool,
    },
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send the message now.
    Send,
    /// Wait for the connection, at the longest until then; then ask again.
    AwaitConnection(Instant),
    /// Wait until then; then ask again.
    Pause(Instant),
    /// Answer with the fallback.
    GiveUp(Reason),
}

/// The sends of one call so far.
#[derive(Debug)]
pub struct Sending {
    arrived: Instant,
    deadline: Deadline,
    patience: Patience,
    /// Set at the first trouble: one grace for all troubles of a call.
    grace_ends: Option<Instant>,
    not_before: Option<Instant>,
    pause: Duration,
    resent: bool,
    /// When the last message was to be sent, and what had been heard by then.
    sent: Option<(Instant, Option<u64>)>,
    last: Option<Miss>,
    /// Whether the last silence was that of a worker who had time.
    is_telling: bool,
}

impl Sending {
    /// Nothing sent yet of a call whose first byte came at `arrived`.
    pub fn new(arrived: Instant, deadline: Deadline, patience: Patience) -> Self {
        Self {
            arrived,
            deadline,
            patience,
            grace_ends: None,
            not_before: None,
            pause: PAUSE_MIN,
            resent: false,
            sent: None,
            last: None,
            is_telling: false,
        }
    }

    /// What to do at `now`. `cut` is the end of all calls where the bridge is stopping.
    pub fn next(&mut self, now: Instant, line: Line, cut: Option<Instant>) -> Next {
        let end = self.deadline.cut_to(cut);
        self.is_telling &= self.was_heard(line);
        if end.has_passed(now) {
            let is_cut = !self.deadline.has_passed(now);
            return Next::GiveUp(if is_cut {
                Reason::ShuttingDown
            } else {
                self.reason(line.is_up)
            });
        }
        if let Some(Miss::Silence { .. }) = self.last {
            return Next::GiveUp(self.reason(line.is_up));
        }
        let untaken = matches!(self.last, Some(Miss::NoResponders | Miss::NotSent));
        if !line.is_up || untaken {
            let patience_ends = self.patience_ends(now, line.lost);
            if now >= patience_ends {
                let nobody = line.is_up && self.last == Some(Miss::NoResponders);
                let reason = if nobody { Reason::NoResponders } else { Reason::Disconnected };
                return Next::GiveUp(reason);
            }
            let until = end.instant().min(patience_ends);
            if !line.is_up {
                return Next::AwaitConnection(until);
            }
            if let Some(not_before) = self.not_before.filter(|not_before| now < *not_before) {
                return Next::Pause(not_before.min(until));
            }
        }
        self.sent = Some((now, line.heard));
        Next::Send
    }

    /// When a call in trouble gives up. Workers are away as long as the connection was and a little
    /// longer, since they too have to connect again: until then, that nobody listens is part of the
    /// same trouble.
    fn patience_ends(&mut self, now: Instant, lost: Option<Instant>) -> Instant {
        let grace_ends = *self.grace_ends.get_or_insert(now + self.patience.grace);
        let returns_by = lost.map(|lost| lost + self.patience.reconnect_grace);
        returns_by.map_or(grace_ends, |returns_by| returns_by.max(grace_ends))
    }

    /// The message that [`Next::Send`] stood for went wrong.
    pub fn missed(&mut self, miss: Miss, now: Instant) {
        match miss {
            // As if it had not been tried: the deadline ends the call.
            Miss::TooLate => return,
            Miss::NoResponders | Miss::NotSent => {
                let is_later = self.grace_ends.is_some_and(|grace_ends| now >= grace_ends);
                self.not_before = Some(now + self.pause);
                let max = if is_later { PAUSE_MAX_LATER } else { PAUSE_MAX };
                self.pause = (self.pause * 2).min(max);
            }
            Miss::Interrupted => self.resent = true,
            Miss::Silence { connection_lost } => {
                self.is_telling = !connection_lost && self.worker_had_time(now);
            }
        }
        self.last = Some(miss);
    }

    fn worker_had_time(&self, now: Instant) -> bool {
        let end = self.deadline.instant();
        let all = end.saturating_duration_since(self.arrived);
        self.had() * 4 >= all * QUARTERS_MIN && now < end + STOOD_STILL
    }

    /// For how long workers had the last message.
    fn had(&self) -> Duration {
        let end = self.deadline.instant();
        self.sent.map(|(sent, _)| end.saturating_duration_since(sent)).unwrap_or_default()
    }

    /// Whether the server has given a sign of life since the last message. One that hangs keeps
    /// silent for all workers.
    fn was_heard(&self, line: Line) -> bool {
        let before = self.sent.and_then(|(_, heard)| heard);
        self.had() < SIGN_OF_LIFE || line.heard.is_none() || line.heard != before
    }

    /// Whether a message that is now sent is sent once more when the connection is lost and
    /// returns.
    pub fn may_resend(&self) -> bool {
        !self.resent
    }

    /// Whether a message went out at all.
    pub fn has_sent(&self) -> bool {
        !matches!(self.last, None | Some(Miss::NotSent | Miss::TooLate))
    }

    /// What the breaker hears of a call that is given up for `reason`: only a message that a worker
    /// had, for nearly all of a call's time, and did not answer speaks against workers.
    pub fn heard(&self, reason: Reason) -> Heard {
        match reason == Reason::Timeout && self.is_telling {
            true => Heard::TimeOut,
            false => Heard::Nothing,
        }
    }

    fn reason(&self, is_up: bool) -> Reason {
        match self.last {
            // No trouble was seen: the request itself took all the time.
            None | Some(Miss::TooLate) if is_up && self.grace_ends.is_none() => Reason::Timeout,
            None
            | Some(Miss::TooLate | Miss::NotSent | Miss::Interrupted)
            | Some(Miss::Silence { connection_lost: true }) => Reason::Disconnected,
            Some(Miss::NoResponders) => Reason::NoResponders,
            Some(Miss::Silence { connection_lost: false }) => Reason::Timeout,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{ms, start};

    const UP: Line = Line { is_up: true, lost: None, heard: None };
    /// Not there yet since the start.
    const DOWN: Line = Line { is_up: false, lost: None, heard: None };

    fn lost(at: Instant) -> Line {
        Line { lost: Some(at), ..DOWN }
    }

    fn returned(lost: Instant) -> Line {
        Line { lost: Some(lost), ..UP }
    }

    fn patience(reconnect_grace: u64) -> Patience {
        Patience { grace: ms(500), reconnect_grace: ms(reconnect_grace) }
    }

    fn sending(now: Instant) -> Sending {
        // 5,000 ms and the reserve
        Sending::new(now, Deadline::of(now, ms(5_100)), patience(3_000))
    }

    #[test]
    fn nobody_listening_is_asked_again_only_within_the_grace() {
        let start = start();
        let (mut sending, mut now, mut sent_at) = (sending(start), start, Vec::new());
        let reason = loop {
            match sending.next(now, UP, None) {
                Next::Send => {
                    sent_at.push((now - start).as_millis());
                    sending.missed(Miss::NoResponders, now);
                }
                Next::Pause(until) => now = until,
                Next::AwaitConnection(_) => panic!("it is connected"),
                Next::GiveUp(reason) => break reason,
            }
        };
        assert_eq!(sent_at, [0, 20, 60, 140, 300, 460]);
        assert_eq!((reason, now - start), (Reason::NoResponders, ms(500)));
    }

    #[test]
    fn a_connection_that_takes_nothing_is_tried_again_only_within_the_grace() {
        let start = start();
        let (mut sending, mut now, mut sends) = (sending(start), start, 0);
        let reason = loop {
            match sending.next(now, UP, None) {
                Next::Send => {
                    sends += 1;
                    sending.missed(Miss::NotSent, now);
                }
                Next::Pause(until) => now = until,
                Next::AwaitConnection(_) => panic!("it is connected"),
                Next::GiveUp(reason) => break reason,
            }
        };
        assert_eq!((reason, sends, now - start), (Reason::Disconnected, 6, ms(500)));
        assert!(!sending.has_sent());
    }

    #[test]
    fn nothing_is_sent_while_disconnected_and_one_grace_covers_all_troubles() {
        let start = start();
        let mut sending = sending(start);
        assert_eq!(sending.next(start, DOWN, None), Next::AwaitConnection(start + ms(500)));
        assert_eq!(sending.next(start + ms(300), UP, None), Next::Send);
        sending.missed(Miss::NoResponders, start + ms(300));
        assert_eq!(sending.next(start + ms(300), UP, None), Next::Pause(start + ms(320)));
        let next = sending.next(start + ms(320), DOWN, None);
        assert_eq!(next, Next::AwaitConnection(start + ms(500)));
        assert_eq!(sending.next(start + ms(500), DOWN, None), Next::GiveUp(Reason::Disconnected));
    }

    #[test]
    fn a_lost_connection_is_waited_for_from_when_it_was_lost_and_at_least_for_the_grace() {
        let start = start();
        // Lost so long before; how long the call waits.
        for (before, waits) in [(0, 3_000), (1_000, 2_000), (2_700, 500), (3_000, 500)] {
            let line = lost(start);
            let arrived = start + ms(before);
            let mut sending = sending(arrived);
            let end = arrived + ms(waits);
            assert_eq!(sending.next(arrived, line, None), Next::AwaitConnection(end), "{before}");
            let next = sending.next(end, line, None);
            assert_eq!(next, Next::GiveUp(Reason::Disconnected), "{before}");
        }
        let mut short = Sending::new(start, Deadline::of(start, ms(2_100)), patience(3_000));
        let end = start + ms(2_000);
        assert_eq!(short.next(start, lost(start), None), Next::AwaitConnection(end));
        assert_eq!(short.next(end, lost(start), None), Next::GiveUp(Reason::Disconnected));
    }

    #[test]
    fn workers_that_return_later_than_the_connection_are_waited_for_as_long() {
        let start = start();
        let (mut sending, line) = (sending(start), returned(start));
        let (mut now, mut sent_at) = (start + ms(1_000), Vec::new());
        let reason = loop {
            match sending.next(now, line, None) {
                Next::Send => {
                    sent_at.push((now - start).as_millis());
                    sending.missed(Miss::NoResponders, now);
                }
                Next::Pause(until) => now = until,
                Next::AwaitConnection(_) => panic!("it is connected"),
                Next::GiveUp(reason) => break reason,
            }
        };
        assert_eq!(sent_at, [1_000, 1_020, 1_060, 1_140, 1_300, 1_460, 1_620, 1_780, 2_100, 2_600]);
        assert_eq!((reason, now - start), (Reason::NoResponders, ms(3_000)));
    }

    #[test]
    fn only_a_worker_who_had_nearly_all_of_the_time_and_could_be_heard_speaks_for_the_breaker() {
        let start = start();
        let end = start + ms(5_000);
        let silence = Miss::Silence { connection_lost: false };
        // When the message went out, how it went, when that was seen.
        for (sent_after, miss, seen, heard) in [
            (0, silence, end, Heard::TimeOut),
            (1_250, silence, end, Heard::TimeOut),
            (1_251, silence, end, Heard::Nothing),
            (4_800, silence, end, Heard::Nothing),
            (0, Miss::Silence { connection_lost: true }, end, Heard::Nothing),
            (0, silence, end + ms(499), Heard::TimeOut),
            (0, silence, end + ms(500), Heard::Nothing),
            (0, Miss::NoResponders, end, Heard::Nothing),
            (0, Miss::NotSent, end, Heard::Nothing),
            (0, Miss::TooLate, end, Heard::Nothing),
            (0, Miss::Interrupted, end, Heard::Nothing),
        ] {
            let mut sending = sending(start);
            assert_eq!(sending.next(start + ms(sent_after), UP, None), Next::Send);
            sending.missed(miss, seen);
            let Next::GiveUp(reason) = sending.next(seen, UP, None) else { panic!("it is over") };
            assert_eq!(sending.heard(reason), heard, "{sent_after} {miss:?}");
        }
        let mut cut = sending(start);
        assert_eq!(cut.next(start, UP, None), Next::Send);
        cut.missed(silence, start + ms(4_000));
        let next = cut.next(start + ms(4_000), UP, Some(start + ms(4_000)));
        assert_eq!(next, Next::GiveUp(Reason::ShuttingDown));
        assert_eq!(cut.heard(Reason::ShuttingDown), Heard::Nothing);
    }

    #[test]
    fn a_server_that_gave_no_sign_of_life_keeps_silent_for_its_workers() {
        let start = start();
        let heard = |bytes| Line { heard: Some(bytes), ..UP };
        for (limit, before, after, says) in [
            (15_000, 7, 8, Heard::TimeOut),
            (15_000, 7, 7, Heard::Nothing),
            (1_000, 7, 7, Heard::TimeOut),
        ] {
            let deadline = Deadline::of(start, ms(limit));
            let mut sending = Sending::new(start, deadline, patience(3_000));
            assert_eq!(sending.next(start, heard(before), None), Next::Send);
            sending.missed(Miss::Silence { connection_lost: false }, deadline.instant());
            let next = sending.next(deadline.instant(), heard(after), None);
            assert_eq!(next, Next::GiveUp(Reason::Timeout));
            assert_eq!(sending.heard(Reason::Timeout), says, "{limit} {before} {after}");
        }
    }

    #[test]
    fn of_several_messages_the_last_one_counts_for_the_breaker() {
        let start = start();
        let mut sending = sending(start);
        assert_eq!(sending.next(start, UP, None), Next::Send);
        sending.missed(Miss::Interrupted, start + ms(3_000));
        assert_eq!(sending.next(start + ms(3_000), UP, None), Next::Send);
        sending.missed(Miss::Silence { connection_lost: false }, start + ms(5_000));
        assert_eq!(sending.heard(Reason::Timeout), Heard::Nothing);
    }

    #[test]
    fn a_message_that_came_too_late_to_be_sent_was_not_sent() {
        let start = start();
        let mut sending = sending(start);
        assert_eq!(sending.next(start + ms(4_999), UP, None), Next::Send);
        sending.missed(Miss::TooLate, start + ms(5_001));
        assert!(!sending.has_sent());
        assert_eq!(sending.next(start + ms(5_001), UP, None), Next::GiveUp(Reason::Timeout));
    }

    #[test]
    fn a_message_that_reached_a_worker_is_not_sent_again_because_it_kept_silent() {
        for (connection_lost, reason) in [(false, Reason::Timeout), (true, Reason::Disconnected)] {
            let start = start();
            let mut sending = sending(start);
            sending.missed(Miss::Silence { connection_lost }, start + ms(5_000));
            assert_eq!(sending.next(start + ms(5_000), UP, None), Next::GiveUp(reason));
            assert_eq!(sending.next(start + ms(4_000), UP, None), Next::GiveUp(reason));
        }
    }

    #[test]
    fn a_lost_and_returned_connection_is_used_once_more() {
        let start = start();
        let mut sending = sending(start);
        assert!(sending.may_resend());
        sending.missed(Miss::Interrupted, start + ms(2_000));
        assert_eq!(sending.next(start + ms(2_000), UP, None), Next::Send);
        assert!(!sending.may_resend());
    }

    #[test]
    fn the_deadline_ends_everything_and_the_cut_of_a_shutdown_is_named() {
        let start = start();
        let cut = Some(start + ms(1_000));
        for (line, reason) in [(DOWN, Reason::Disconnected), (UP, Reason::Timeout)] {
            let next = sending(start).next(start + ms(5_000), line, None);
            assert_eq!(next, Next::GiveUp(reason), "the request itself took all the time");
        }
        assert_eq!(
            sending(start).next(start + ms(1_000), UP, cut),
            Next::GiveUp(Reason::ShuttingDown)
        );
        let mut silent = sending(start);
        silent.missed(Miss::Silence { connection_lost: false }, start + ms(1_000));
        assert_eq!(silent.next(start + ms(1_000), UP, cut), Next::GiveUp(Reason::ShuttingDown));
        let mut short = Sending::new(start, Deadline::of(start, ms(300)), patience(3_000));
        assert_eq!(short.next(start, DOWN, None), Next::AwaitConnection(start + ms(270)));
    }
}
