//! What states runs have come to. A promise says nothing about a state that was never reached.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    ops::Index,
};

use connector_bridge::{domain::outcome::Source, wire::StoreFault};

use super::{
    history::{Decision, Event, Phase, Said, What},
    world::Run,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// Workers got more than one message of a call.
    AskedMoreThanOnce,
    /// Workers were told that they may have been asked before.
    AskedAgain,
    /// A message went out twice for one request.
    SentAgain,
    /// A message went out without a claim.
    AskedUnclaimed,
    /// A lease of another process was taken over; before its time was up.
    TakenOver,
    TakenOverEarly,
    /// A process has made its own lease anew before it sent anything.
    LeasedAnew,
    /// A request got what another one got, in its own process or in another.
    Joined,
    JoinedElsewhere,
    Replayed,
    FormReplayed,
    FellBack,
    CachedAnswer,
    /// A decision that came after its request was answered is recorded.
    LateDecision,
    /// A request was answered by a decision that came to another process.
    DecidedElsewhere,
    /// A write came second.
    LostToAnother,
    /// A write without an acknowledgement was seen to have been taken.
    OwnWriteSeen,
    /// The end of a call was written long after its answer.
    WrittenLater,
    /// A process died, or stood still, while a worker was asked.
    DiedAsking,
    StoodStillAsking,
}

use State::*;

/// In how many runs each state was reached.
#[derive(Default)]
pub(crate) struct Counts {
    runs: u64,
    states: BTreeMap<State, u64>,
}

impl Index<State> for Counts {
    type Output = u64;

    fn index(&self, state: State) -> &u64 {
        self.states.get(&state).unwrap_or(&0)
    }
}

impl Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} runs", self.runs)?;
        self.states.iter().try_for_each(|(state, runs)| write!(f, ", {state:?} {runs}"))
    }
}

impl Counts {
    pub(crate) fn of(run: &Run) -> Self {
        let mut reached = Reached::default();
        run.history.events.iter().for_each(|event| reached.hear(event));
        let states = reached.states.into_iter().map(|state| (state, 1)).collect();
        Self { runs: 1, states }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        for (state, runs) in &other.states {
            *self.states.entry(*state).or_default() += runs;
        }
    }
}

#[derive(Default)]
struct Reached {
    states: Vec<State>,
    posts: Vec<Post>,
    /// For each message, its post, and when it was sent.
    messages: Vec<(usize, i64)>,
    /// Which decision came to which process.
    came: Vec<(Decision, usize)>,
}

#[derive(Default)]
struct Post {
    person: usize,
    process: usize,
    messages: usize,
    has_claim: bool,
    /// The last write was not acknowledged.
    is_unsure: bool,
    has_joined: bool,
    answered: Option<i64>,
    fell_back: Option<i64>,
}

impl Reached {
    fn reach(&mut self, state: State) {
        if !self.states.contains(&state) {
            self.states.push(state);
        }
    }

    /// The requests of a process about a person that are in flight.
    fn open(&mut self, process: usize, person: usize) -> impl Iterator<Item = &mut Post> {
        self.posts.iter_mut().filter(move |post| {
            (post.process, post.person) == (process, person) && post.answered.is_none()
        })
    }

    fn asks(&self, process: usize) -> bool {
        self.posts
            .iter()
            .any(|post| post.process == process && post.answered.is_none() && post.messages > 0)
    }

    fn hear(&mut self, Event { at, what }: &Event) {
        match what {
            What::Posted { person, process, .. } => {
                let (person, process) = (*person, *process);
                self.posts.push(Post { person, process, ..Post::default() });
            }
            What::Sent { post, attempt, .. } => self.sent(*at, *post, *attempt),
            What::Came { message, said: Said::Decision(decision) } => {
                let (post, _) = self.messages[*message];
                self.came.push((*decision, self.posts[post].process));
                if self.posts[post].fell_back.is_some_and(|answered| answered < *at) {
                    self.reach(LateDecision);
                }
            }
            What::Answered { post, answer } => {
                let it = &mut self.posts[*post];
                it.answered = Some(*at);
                it.fell_back = it.answered.filter(|_| answer.reason.is_some());
                let (asked, elsewhere) = (it.messages > 0, it.has_joined);
                match answer.source {
                    Source::Worker if !asked && elsewhere => self.reach(JoinedElsewhere),
                    Source::Worker if !asked => self.reach(Joined),
                    Source::Worker => self.decided(*post, answer.decision),
                    Source::Replay if answer.is_about_form() => self.reach(FormReplayed),
                    Source::Replay => self.reach(Replayed),
                    Source::Cache => self.reach(CachedAnswer),
                    Source::Default => self.reach(FellBack),
                }
            }
            What::Told { process, person, written } => {
                let written = *written;
                for post in self.open(*process, *person) {
                    post.has_claim |= written == Ok(true);
                    post.is_unsure = written == Err(StoreFault::Timeout);
                }
                if written == Ok(false) {
                    self.reach(LostToAnother);
                }
            }
            What::Read { process, person, record: Ok(Some(record)) } => {
                let Phase::Claimed { process: owner, .. } = record.phase else { return };
                let mut is_own = false;
                for post in self.open(*process, *person).filter(|post| post.messages == 0) {
                    is_own |= owner == *process && post.is_unsure;
                    post.has_claim |= owner == *process;
                    post.has_joined |= owner != *process;
                }
                if is_own {
                    self.reach(OwnWriteSeen);
                }
            }
            What::Wrote { before, after, person } => {
                let Phase::Claimed { process, until } =
                    before.as_ref().map_or(Phase::FellBack, |before| before.phase.clone())
                else {
                    return;
                };
                match after.phase {
                    Phase::Claimed { process: now, .. } if now != process => {
                        self.reach(TakenOver);
                        if *at < until {
                            self.reach(TakenOverEarly);
                        }
                    }
                    Phase::FellBack | Phase::Decided { .. } => {
                        let last = self.posts.iter().rfind(|post| post.person == *person);
                        let answered = last.and_then(|post| post.answered);
                        if answered.is_some_and(|answered| answered + 200 < *at) {
                            self.reach(WrittenLater);
                        }
                    }
                    Phase::Claimed { .. } => {
                        let before = before.as_ref();
                        let same = before.map(|before| (before.round, before.unanswered));
                        if same == Some((after.round, after.unanswered)) {
                            self.reach(LeasedAnew);
                        }
                    }
                }
            }
            What::Died { process } if self.asks(*process) => self.reach(DiedAsking),
            What::Paused { process } if self.asks(*process) => self.reach(StoodStillAsking),
            _ => {}
        }
    }

    fn sent(&mut self, at: i64, post: usize, attempt: u32) {
        self.messages.push((post, at));
        let person = self.posts[post].person;
        let of_person = self.messages.iter().filter(|(post, _)| self.posts[*post].person == person);
        let more = of_person.count() > 1;
        let it = &mut self.posts[post];
        it.messages += 1;
        let (again, claimed) = (it.messages > 1, it.has_claim);
        for (state, is_so) in [
            (AskedMoreThanOnce, more),
            (AskedAgain, attempt > 1),
            (SentAgain, again),
            (AskedUnclaimed, !claimed),
        ] {
            if is_so {
                self.reach(state);
            }
        }
    }

    /// A request that has asked is answered with a decision: perhaps with one of another process.
    fn decided(&mut self, post: usize, decision: Option<Decision>) {
        let process = self.posts[post].process;
        if !self.came.iter().any(|(it, here)| Some(*it) == decision && *here == process) {
            self.reach(DecidedElsewhere);
        }
    }
}
