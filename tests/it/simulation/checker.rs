//! Holds a history against what is promised. A promise that is broken is a sentence.

mod answers;
mod decisions;
mod leases;
mod messages;
mod records;
mod waits;

use super::{
    history::{Answer, Event, Kept, Phase, Said, What},
    plan::Times,
    setting::SETTINGS,
    world::Run,
};

/// Time enough for one thing after another to happen where nothing is slow.
const SOON: i64 = 50;

/// Everything that is promised and did not hold.
pub(crate) fn broken_promises(run: &Run) -> Vec<String> {
    let told = Told::of(run);
    let mut broken = Vec::new();
    answers::check(&told, &mut broken);
    messages::check(&told, &mut broken);
    records::check(&told, &mut broken);
    leases::check(&told, &mut broken);
    decisions::check(&told, &mut broken);
    waits::check(&told, &mut broken);
    broken
}

/// A moment: its millisecond, and its place in the history.
pub(crate) type Moment = (i64, usize);

/// A request.
pub(crate) struct Post {
    pub(crate) number: usize,
    pub(crate) person: usize,
    pub(crate) process: usize,
    pub(crate) at: Moment,
    pub(crate) answered: Option<(Moment, Answer)>,
    pub(crate) delivered: Option<Moment>,
    /// The messages that were sent for it.
    pub(crate) messages: Vec<usize>,
}

impl Post {
    /// Whether it was in flight at `moment`.
    pub(crate) fn is_open_at(&self, moment: Moment) -> bool {
        self.at < moment && self.answered.as_ref().is_none_or(|(answered, _)| *answered > moment)
    }
}

/// A message to the workers.
pub(crate) struct Message {
    pub(crate) at: Moment,
    pub(crate) post: usize,
    pub(crate) attempt: u32,
    pub(crate) left: i64,
    pub(crate) came: Vec<(Moment, Said)>,
    pub(crate) reaches: bool,
}

/// A process, and when it did not run or was cut off.
#[derive(Default)]
pub(crate) struct Process {
    pub(crate) died: Option<Moment>,
    still: Vec<(i64, i64)>,
    cut_off: Vec<(i64, i64)>,
}

impl Process {
    pub(crate) fn always_ran(&self) -> bool {
        self.died.is_none() && self.still.is_empty()
    }
}

/// A history, sorted by what it is about.
pub(crate) struct Told<'a> {
    pub(crate) run: &'a Run,
    pub(crate) times: Times,
    pub(crate) posts: Vec<Post>,
    pub(crate) messages: Vec<Message>,
    pub(crate) processes: Vec<Process>,
    /// Whether the store and the ways to it never failed.
    pub(crate) store_is_healthy: bool,
    /// Whether all clocks agree.
    pub(crate) clocks_agree: bool,
    /// When the store did not do what it was asked.
    pub(crate) outages: Vec<(i64, i64)>,
}

impl<'a> Told<'a> {
    fn of(run: &'a Run) -> Self {
        let mut told = Self {
            run,
            times: SETTINGS[run.plan.setting].times,
            posts: Vec::new(),
            messages: Vec::new(),
            processes: Vec::new(),
            store_is_healthy: run.plan.store_trouble == (0, 0, 0),
            clocks_agree: true,
            outages: Vec::new(),
        };
        for (index, Event { at, what }) in run.history.events.iter().enumerate() {
            told.hear((*at, index), what);
        }
        told
    }

    fn hear(&mut self, at: Moment, what: &What) {
        match what {
            What::Posted { post, person, process } => self.posts.push(Post {
                number: *post,
                person: *person,
                process: *process,
                at,
                answered: None,
                delivered: None,
                messages: Vec::new(),
            }),
            What::Answered { post, answer } => {
                self.posts[*post].answered = Some((at, answer.clone()));
            }
            What::Delivered { post } => self.posts[*post].delivered = Some(at),
            What::Sent { message, post, attempt, left, reaches, .. } => {
                self.posts[*post].messages.push(*message);
                let (left, came) = (i64::try_from(*left).unwrap(), Vec::new());
                let (post, attempt, reaches) = (*post, *attempt, *reaches);
                self.messages.push(Message { at, post, attempt, left, came, reaches });
            }
            What::Came { message, said } => self.messages[*message].came.push((at, *said)),
            What::Started { .. } => self.processes.push(Process::default()),
            What::Died { process } => self.processes[*process].died = Some(at),
            What::Paused { process } => self.processes[*process].still.push((at.0, i64::MAX)),
            What::Woke { process } => close(&mut self.processes[*process].still, at.0),
            What::Link { process, is_up, .. } => {
                self.store_is_healthy = false;
                let cut_off = &mut self.processes[*process].cut_off;
                if *is_up { close(cut_off, at.0) } else { cut_off.push((at.0, i64::MAX)) }
            }
            What::Store { is_up, .. } => {
                self.store_is_healthy = false;
                if *is_up {
                    close(&mut self.outages, at.0)
                } else {
                    self.outages.push((at.0, i64::MAX))
                }
            }
            What::StoreForgot => self.store_is_healthy = false,
            What::Clock { .. } => self.clocks_agree = false,
            What::Lost { .. }
            | What::Asked { .. }
            | What::Told { .. }
            | What::Wrote { .. }
            | What::Beat { .. }
            | What::Read { .. }
            | What::StoreSeems { .. }
            | What::Left { .. } => {}
        }
    }

    /// Whether nothing is wrong with the store, nor with what claims depend on.
    pub(crate) fn is_sound(&self) -> bool {
        self.store_is_healthy && self.clocks_agree
    }

    /// Whether a process lived and ran all the time.
    pub(crate) fn ran(&self, process: usize, from: i64, to: i64) -> bool {
        let Process { died, still, .. } = &self.processes[process];
        died.is_none_or(|(died, _)| died > to) && !meets(still, from, to)
    }

    /// Whether it was connected all the time, and for a while before.
    pub(crate) fn was_connected(&self, process: usize, from: i64, to: i64) -> bool {
        !meets(&self.processes[process].cut_off, from - SOON, to)
    }

    pub(crate) fn person_of(&self, message: &Message) -> usize {
        self.posts[message.post].person
    }

    /// What the store has of a person at a moment, where that counts then.
    pub(crate) fn record_at(&self, person: usize, moment: Moment) -> Option<(Moment, &'a Kept)> {
        let before = self.run.history.events[..moment.1].iter().enumerate().rev();
        for (index, Event { at, what }) in before {
            match what {
                What::StoreForgot => return None,
                What::Wrote { person: whose, after, .. } if *whose == person => {
                    return (moment.0 < after.ends).then_some(((*at, index), after));
                }
                _ => {}
            }
        }
        None
    }

    /// Whether so long no beat of a process came to the store between two moments.
    pub(crate) fn was_silent(&self, process: usize, from: Moment, to: Moment, ms: i64) -> bool {
        let beats = self.between(from, to).filter_map(|((at, _), what)| {
            matches!(what, What::Beat { process: who } if *who == process).then_some(at)
        });
        let mut last = from.0;
        beats.chain([to.0]).any(|at| at - std::mem::replace(&mut last, at) >= ms)
    }

    /// The moment before everything that happens later than at `ms`.
    pub(crate) fn end_of(&self, ms: i64) -> Moment {
        (ms, self.run.history.events.partition_point(|event| event.at <= ms))
    }

    /// Everything between two moments.
    pub(crate) fn between(
        &self,
        from: Moment,
        to: Moment,
    ) -> impl DoubleEndedIterator<Item = (Moment, &'a What)> {
        let events = &self.run.history.events[from.1..to.1.max(from.1)];
        let numbered = events.iter().enumerate();
        numbered.map(move |(index, event)| ((event.at, from.1 + index), &event.what))
    }

    /// Claims that another process had when this one looked, from its post on until `to`.
    pub(crate) fn foreign_claims(
        &self,
        post: &Post,
        to: Moment,
    ) -> impl DoubleEndedIterator<Item = Moment> {
        let (person, process) = (post.person, post.process);
        self.between(post.at, to).filter_map(move |(at, what)| match what {
            What::Read { process: who, person: whose, record: Ok(Some(record)) }
                if (*who, *whose) == (process, person) =>
            {
                matches!(record.phase, Phase::Claimed { process: owner, .. } if owner != process)
                    .then_some(at)
            }
            _ => None,
        })
    }
}

fn close(spans: &mut [(i64, i64)], at: i64) {
    spans.iter_mut().filter(|(_, end)| *end == i64::MAX).for_each(|(_, end)| *end = at);
}

fn meets(spans: &[(i64, i64)], from: i64, to: i64) -> bool {
    spans.iter().any(|(start, end)| *start <= to && from <= *end)
}
