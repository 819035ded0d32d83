//! When a call's message is sent, sent again, or given up. Every wait ends by the deadline.

use std::time::{Duration, Instant};

use super::{breaker::Heard, deadline::Deadline, outcome::Reason};

/// The first pause after nobody listened; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(160);

/// The time that must be left for a message to be sent once more after the connection was lost
/// and has returned.
pub const RESEND_TIME_MIN: Duration = Duration::from_secs(1);

/// How one message went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
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
    deadline: Deadline,
    grace: Duration,
    /// Set at the first trouble: one grace for all troubles of a call.
    grace_ends: Option<Instant>,
    not_before: Option<Instant>,
    pause: Duration,
    resent: bool,
    last: Option<Miss>,
}

impl Sending {
    /// Nothing sent yet.
    pub fn new(deadline: Deadline, grace: Duration) -> Self {
        Self {
            deadline,
            grace,
            grace_ends: None,
            not_before: None,
            pause: PAUSE_MIN,
            resent: false,
            last: None,
        }
    }

    /// What to do at `now`. `cut` is the end of all calls where the bridge is stopping.
    pub fn next(&mut self, now: Instant, connected: bool, cut: Option<Instant>) -> Next {
        let end = self.deadline.cut_to(cut);
        if end.has_passed(now) {
            let is_cut = !self.deadline.has_passed(now);
            return Next::GiveUp(if is_cut {
                Reason::ShuttingDown
            } else {
                self.reason(connected)
            });
        }
        if let Some(Miss::Silence { .. }) = self.last {
            return Next::GiveUp(self.reason(connected));
        }
        let untaken = matches!(self.last, Some(Miss::NoResponders | Miss::NotSent));
        let is_trouble = !connected || untaken;
        if is_trouble {
            let grace_ends = *self.grace_ends.get_or_insert(now + self.grace);
            if now >= grace_ends {
                let nobody = connected && self.last == Some(Miss::NoResponders);
                let reason = if nobody { Reason::NoResponders } else { Reason::Disconnected };
                return Next::GiveUp(reason);
            }
            let until = end.instant().min(grace_ends);
            if !connected {
                return Next::AwaitConnection(until);
            }
            if let Some(not_before) = self.not_before.filter(|not_before| now < *not_before) {
                return Next::Pause(not_before.min(until));
            }
        }
        Next::Send
    }

    /// The message that [`Next::Send`] stood for went wrong.
    pub fn missed(&mut self, miss: Miss, now: Instant) {
        self.last = Some(miss);
        match miss {
            Miss::NoResponders | Miss::NotSent => {
                self.not_before = Some(now + self.pause);
                self.pause = (self.pause * 2).min(PAUSE_MAX);
            }
            Miss::Interrupted => self.resent = true,
            Miss::Silence { .. } => {}
        }
    }

    /// Whether a message that is now sent is sent once more when the connection is lost and
    /// returns.
    pub fn may_resend(&self) -> bool {
        !self.resent
    }

    /// Whether a message went out at all.
    pub fn has_sent(&self) -> bool {
        !matches!(self.last, None | Some(Miss::NotSent))
    }

    fn reason(&self, connected: bool) -> Reason {
        match self.last {
            // No trouble was seen: the request itself took all the time.
            None if connected && self.grace_ends.is_none() => Reason::Timeout,
            None
            | Some(Miss::NotSent | Miss::Interrupted)
            | Some(Miss::Silence { connection_lost: true }) => Reason::Disconnected,
            Some(Miss::NoResponders) => Reason::NoResponders,
            Some(Miss::Silence { connection_lost: false }) => Reason::Timeout,
        }
    }
}

/// What the breaker hears of a call that ended for `reason`.
pub fn heard(reason: Reason) -> Heard {
    match reason {
        Reason::Timeout => Heard::TimeOut,
        Reason::WorkerError | Reason::InvalidReply => Heard::Answer,
        Reason::NoResponders
        | Reason::Disconnected
        | Reason::Overload
        | Reason::BreakerOpen
        | Reason::MissingClaim
        | Reason::ShuttingDown => Heard::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::{ms, start};

    fn sending(now: Instant) -> Sending {
        Sending::new(Deadline::of(now, ms(5_100)), ms(500)) // 5,000 ms and the reserve
    }

    #[test]
    fn nobody_listening_is_asked_again_only_within_the_grace() {
        let start = start();
        let (mut sending, mut now, mut sent_at) = (sending(start), start, Vec::new());
        let reason = loop {
            match sending.next(now, true, None) {
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
            match sending.next(now, true, None) {
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
        assert_eq!(sending.next(start, false, None), Next::AwaitConnection(start + ms(500)));
        assert_eq!(sending.next(start + ms(300), true, None), Next::Send);
        sending.missed(Miss::NoResponders, start + ms(300));
        assert_eq!(sending.next(start + ms(300), true, None), Next::Pause(start + ms(320)));
        assert_eq!(
            sending.next(start + ms(320), false, None),
            Next::AwaitConnection(start + ms(500))
        );
        assert_eq!(sending.next(start + ms(500), false, None), Next::GiveUp(Reason::Disconnected));
    }

    #[test]
    fn a_message_that_reached_a_worker_is_not_sent_again_because_it_kept_silent() {
        for (connection_lost, reason) in [(false, Reason::Timeout), (true, Reason::Disconnected)] {
            let start = start();
            let mut sending = sending(start);
            sending.missed(Miss::Silence { connection_lost }, start + ms(5_000));
            assert_eq!(sending.next(start + ms(5_000), true, None), Next::GiveUp(reason));
            assert_eq!(sending.next(start + ms(4_000), true, None), Next::GiveUp(reason));
        }
    }

    #[test]
    fn a_lost_and_returned_connection_is_used_once_more() {
        let start = start();
        let mut sending = sending(start);
        assert!(sending.may_resend());
        sending.missed(Miss::Interrupted, start + ms(2_000));
        assert_eq!(sending.next(start + ms(2_000), true, None), Next::Send);
        assert!(!sending.may_resend());
    }

    #[test]
    fn the_deadline_ends_everything_and_the_cut_of_a_shutdown_is_named() {
        let start = start();
        let cut = Some(start + ms(1_000));
        for (connected, reason) in [(false, Reason::Disconnected), (true, Reason::Timeout)] {
            let next = sending(start).next(start + ms(5_000), connected, None);
            assert_eq!(next, Next::GiveUp(reason), "the request itself took all the time");
        }
        assert_eq!(
            sending(start).next(start + ms(1_000), true, cut),
            Next::GiveUp(Reason::ShuttingDown)
        );
        let mut silent = sending(start);
        silent.missed(Miss::Silence { connection_lost: false }, start + ms(1_000));
        assert_eq!(silent.next(start + ms(1_000), true, cut), Next::GiveUp(Reason::ShuttingDown));
        let mut short = Sending::new(Deadline::of(start, ms(300)), ms(500));
        assert_eq!(short.next(start, false, None), Next::AwaitConnection(start + ms(270)));
    }
}
