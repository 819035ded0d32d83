//! What one run consists of, all of it drawn from its seed: the times, the callers, the workers,
//! and what goes wrong when.

use connector_bridge::wire::StoreFault;

use super::dice::Dice;

/// What may go wrong in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Healthy,
    SlowWorkers,
    Crashes,
    Pauses,
    LossyStore,
    StoreOutages,
    LostConnections,
    WrongClocks,
    Everything,
}

impl Class {
    pub(crate) const ALL: [Self; 9] = [
        Self::Healthy,
        Self::SlowWorkers,
        Self::Crashes,
        Self::Pauses,
        Self::LossyStore,
        Self::StoreOutages,
        Self::LostConnections,
        Self::WrongClocks,
        Self::Everything,
    ];

    /// Every seed belongs to one class.
    pub(crate) fn of(seed: u64) -> Self {
        Self::ALL[usize::try_from(seed % Self::ALL.len() as u64).unwrap()]
    }
}

/// How many replicas there are.
pub(crate) const SLOTS: usize = 3;

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) class: Class,
    /// Which of the prepared settings is in force.
    pub(crate) setting: usize,
    pub(crate) times: Times,
    pub(crate) presses: Vec<Press>,
    pub(crate) faults: Vec<(u64, Fault)>,
    pub(crate) workers: Habits,
    /// How many of a hundred store operations are lost, are not acknowledged, are slow.
    pub(crate) store_trouble: (u64, u64, u64),
    /// How much later than need be a store that is back is noticed, in milliseconds.
    pub(crate) notices_after: u64,
}

/// Milliseconds that follow from the setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) deadline: u64,
    pub(crate) caller_waits: u64,
    pub(crate) window: u64,
}

/// A person presses the button: one request, and one more where no answer came.
#[derive(Clone, Debug)]
pub(crate) struct Press {
    pub(crate) at: u64,
    pub(crate) person: usize,
    pub(crate) first: Try,
    pub(crate) second: Try,
    /// How long after a delivered ValidationError the form is posted again unchanged.
    pub(crate) again_after: Option<u64>,
}

/// One request: to which slot, and what becomes of its connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Try {
    pub(crate) slot: usize,
    pub(crate) fate: Connection,
    /// How soon a broken connection makes the caller try again; without it the caller waits.
    pub(crate) notices_after: Option<u64>,
    /// How long the answer takes to its last byte.
    pub(crate) writes_for: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    Holds,
    /// It breaks when the answer is written.
    LosesAnswer,
    /// The caller hangs up after so long.
    BreaksAfter(u64),
}

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Crash(usize),
    Start(usize),
    Pause(usize),
    Wake(usize),
    /// The connection to NATS: lost, noticed as lost, there again.
    Mute(usize),
    Down(usize),
    Up(usize),
    WorkersLeave,
    WorkersReturn,
    Store(StoreIs),
    StoreForgets,
    Clock(usize, i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreIs {
    Up,
    Silent,
    Slow(u64),
    Fails(StoreFault),
}

/// How workers behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// Whether a worker returns the decision that it made for the same call, from attempt 2 on.
    pub(crate) deduplicates: bool,
    /// Of a hundred messages: quick, slower, slow; the others get no reply.
    pub(crate) quick: u64,
    pub(crate) slower: u64,
    pub(crate) slow: u64,
    /// Of a hundred replies, how many are nonsense or failures, and how many come twice.
    pub(crate) bad: u64,
    pub(crate) twice: u64,
    /// Of a hundred decisions, how many are about the form.
    pub(crate) about_form: u64,
}

impl Plan {
    pub(crate) fn of(seed: u64, settings: &[Times]) -> Self {
        let class = Class::of(seed);
        let dice = &mut Dice::new(seed, 1);
        let setting = dice.index(settings.len());
        let times = settings[setting];
        let presses = presses(dice, times);
        let is = |other| class == other || class == Class::Everything;
        let faults = faults(&mut Dice::new(seed, 2), class, times);
        let store_trouble = match is(Class::LossyStore) {
            true => {
                let usual = dice.pick(&[(5, 5, 10), (0, 20, 0), (20, 0, 0), (2, 2, 40)]);
                if class == Class::Everything { (3, 3, 5) } else { usual }
            }
            false => (0, 0, 0),
        };
        let is_slow = class != Class::Healthy && dice.percent(30) || is(Class::SlowWorkers);
        let workers = habits(dice, is_slow);
        let late = is(Class::StoreOutages) || is(Class::LostConnections);
        let notices_after = if late { dice.pick(&[0, 0, 700, 3_000]) } else { 0 };
        Self { class, setting, times, presses, faults, workers, store_trouble, notices_after }
    }
}

fn presses(dice: &mut Dice, times: Times) -> Vec<Press> {
    let persons = dice.between(1, 2);
    let mut presses = Vec::new();
    for person in 0..usize::try_from(persons).unwrap() {
        let mut at = dice.pick(&[0, 0, dice.clone().below(2_000)]);
        for _ in 0..dice.between(1, 3) {
            presses.push(Press {
                at,
                person,
                first: a_try(dice, times, true),
                second: a_try(dice, times, false),
                again_after: dice.percent(70).then(|| dice.between(30, 12_000)),
            });
            at += match dice.below(6) {
                0 => 0,
                1 => dice.between(1, 60),
                2 => dice.between(100, times.deadline),
                3 => dice.between(times.deadline, times.caller_waits + 3_000),
                4 => dice.between(times.window - 1_000, times.window + 1_000),
                _ => dice.between(100, times.window),
            };
        }
    }
    presses
}

fn a_try(dice: &mut Dice, times: Times, is_first: bool) -> Try {
    let fate = match dice.below(if is_first { 10 } else { 20 }) {
        0..2 => Connection::LosesAnswer,
        2 => Connection::BreaksAfter(dice.between(1, 3_000)),
        3 => Connection::BreaksAfter(dice.between(1, times.deadline)),
        _ => Connection::Holds,
    };
    let notices_after = dice.percent(70).then(|| dice.between(1, 3_000));
    let writes_for = dice.pick(&[0, 0, 1, 30]);
    Try { slot: dice.index(SLOTS), fate, notices_after, writes_for }
}

fn habits(dice: &mut Dice, is_slow: bool) -> Habits {
    let (quick, slower, slow) = match is_slow {
        true => dice.pick(&[(40, 20, 30), (10, 30, 50), (0, 50, 20), (60, 0, 0)]),
        false => dice.pick(&[(80, 20, 0), (50, 50, 0), (70, 25, 5)]),
    };
    Habits {
        deduplicates: dice.percent(50),
        quick,
        slower,
        slow,
        bad: dice.pick(&[0, 0, 5, 20]),
        twice: dice.pick(&[0, 10, 40]),
        about_form: dice.pick(&[0, 30, 30, 90]),
    }
}

fn faults(dice: &mut Dice, class: Class, times: Times) -> Vec<(u64, Fault)> {
    let mut faults = Vec::new();
    let has =
        |dice: &mut Dice, other| class == other || class == Class::Everything && dice.percent(60);
    // Most of what goes wrong does so around the first requests.
    let when = |dice: &mut Dice| match dice.below(4) {
        0 => dice.below(50),
        1 => dice.below(times.deadline),
        2 => dice.below(times.caller_waits + 2_000),
        _ => dice.below(times.window),
    };
    if has(dice, Class::Crashes) {
        for _ in 0..dice.between(1, 2) {
            let (at, slot) = (when(dice), dice.index(SLOTS));
            faults.push((at, Fault::Crash(slot)));
            if dice.percent(70) {
                faults.push((at + dice.between(100, 10_000), Fault::Start(slot)));
            }
        }
    }
    if has(dice, Class::Pauses) {
        for _ in 0..dice.between(1, 2) {
            let (at, slot) = (when(dice), dice.index(SLOTS));
            let time =
                dice.pick(&[50, 300, 2_000, times.deadline + 700, times.caller_waits + 3_000]);
            faults.push((at, Fault::Pause(slot)));
            faults.push((at + dice.between(time / 2, time * 3 / 2), Fault::Wake(slot)));
        }
    }
    if has(dice, Class::StoreOutages) {
        for _ in 0..dice.between(1, 2) {
            let at = when(dice);
            let how = match dice.below(6) {
                0 | 1 => StoreIs::Silent,
                2 => StoreIs::Slow(dice.between(60, 2_000)),
                3 => StoreIs::Fails(StoreFault::Full),
                4 => StoreIs::Fails(StoreFault::Error),
                _ => StoreIs::Fails(StoreFault::Unavailable),
            };
            faults.push((at, Fault::Store(how)));
            faults.push((at + dice.between(50, 10_000), Fault::Store(StoreIs::Up)));
        }
        if dice.percent(20) {
            faults.push((when(dice), Fault::StoreForgets));
        }
    }
    if has(dice, Class::LostConnections) {
        for _ in 0..dice.between(1, 2) {
            let (at, all) = (when(dice), dice.percent(50));
            let one = dice.index(SLOTS);
            let (noticed, back) = (dice.pick(&[0, 0, 500, 3_000]), dice.between(20, 8_000));
            for slot in (0..SLOTS).filter(|slot| all || *slot == one) {
                if noticed > 0 {
                    faults.push((at, Fault::Mute(slot)));
                }
                faults.push((at + noticed, Fault::Down(slot)));
                faults.push((at + noticed + back + dice.below(500), Fault::Up(slot)));
            }
        }
    }
    if has(dice, Class::WrongClocks) {
        for slot in 0..SLOTS {
            let off_by = |dice: &mut Dice| i64::try_from(dice.below(10_001)).unwrap() - 5_000;
            let off = off_by(dice);
            faults.push((0, Fault::Clock(slot, off)));
            if dice.percent(50) {
                let off = off_by(dice);
                faults.push((when(dice), Fault::Clock(slot, off)));
            }
        }
    }
    if matches!(class, Class::SlowWorkers | Class::Everything) && dice.percent(40) {
        let at = when(dice);
        faults.push((at, Fault::WorkersLeave));
        faults.push((at + dice.between(20, 3_000), Fault::WorkersReturn));
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}
