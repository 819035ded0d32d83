//! What came of one attack, in numbers; and what is held against it.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::OpenOptions,
    io::Write as _,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    callers::{End, Sample, Who},
    limits::MEMORY_BYTES_MAX,
    scenario::{FreshCallers, Most, Nats, Scenario},
};

/// The deadline of good callers' connector, by which a call is answered, and what two processes on a
/// busy machine may add between the bridge and the caller.
const DEADLINE: Duration = Duration::from_millis(3_500);
const SLACK: Duration = Duration::from_millis(250);

/// How slow an answer may be under attack, for all but one of a hundred calls, and how slow `/livez`
/// for every probe. The goals are twice the quiet time and 100 ms, and both are printed. But times
/// are the machine's, so that only what no machine excuses is a failure: a kubelet gives up a probe
/// after 1 s unless told otherwise.
const GROSS: Duration = Duration::from_secs(1);

/// Above this before any attack, somebody else is at work on the machine, and no time is held.
const BUSY: Duration = Duration::from_millis(100);

/// When the quiet time ends, the attack ends, and the time after it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) attack: Instant,
    pub(crate) attack_end: Instant,
    pub(crate) after: Instant,
}

/// Requests of one kind in one stretch of time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) sent: usize,
    /// Answered rightly and in time.
    pub(crate) right: usize,
    pub(crate) late: usize,
    pub(crate) fallbacks: usize,
    pub(crate) wrong: BTreeMap<String, usize>,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
}

impl Group {
    fn of<'a>(samples: impl Iterator<Item = &'a Sample>) -> Self {
        let mut group = Self::default();
        let mut times = Vec::new();
        for sample in samples {
            group.sent += 1;
            match &sample.end {
                // Whoever got no answer would only make the figures better.
                End::Wrong(why) => *group.wrong.entry(why.clone()).or_default() += 1,
                _ if sample.took > DEADLINE + SLACK => group.late += 1,
                End::Fallback => group.fallbacks += 1,
                End::Right => group.right += 1,
            }
            if !matches!(sample.end, End::Wrong(_)) {
                times.push(sample.took);
            }
        }
        times.sort();
        let at = |share: usize| times.get(times.len() * share / 100).copied();
        group.p50 = at(50).unwrap_or_default();
        group.p99 = at(99).or(times.last().copied()).unwrap_or_default();
        group.max = times.last().copied().unwrap_or_default();
        group
    }

    fn json(&self) -> Value {
        let ms = |time: Duration| (time.as_secs_f64() * 10_000.0).round() / 10.0;
        json!({
            "sent": self.sent, "right": self.right, "late": self.late, "fallbacks": self.fallbacks,
            "wrong": self.wrong, "p50_ms": ms(self.p50), "p99_ms": ms(self.p99),
            "max_ms": ms(self.max),
        })
    }
}

/// What came of the attack.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) scenario: &'static Scenario,
    /// What the attackers counted.
    pub(crate) attackers: BTreeMap<String, u64>,
    /// Of each who asked: quiet, under attack, after it.
    pub(crate) groups: Vec<(Who, [Group; 3])>,
    pub(crate) most: Most,
    /// The most memory of its control group.
    pub(crate) used: Option<u64>,
    /// How long after the beginning of the attack the process was no more.
    pub(crate) died: Option<Duration>,
    pub(crate) killed_for_memory: bool,
    pub(crate) panics: f64,
    /// Fallbacks of calls that were made long after whatever else happened in the middle.
    pub(crate) fallbacks_later: usize,
}

impl Figures {
    /// Divides the requests.
    pub(crate) fn divided(samples: &[Sample], times: Times) -> Vec<(Who, [Group; 3])> {
        let of = |who| {
            let stretch = |from: Option<Instant>, until: Option<Instant>| {
                Group::of(samples.iter().filter(|sample| {
                    sample.who == who
                        && from.is_none_or(|from| sample.sent >= from)
                        && until.is_none_or(|until| sample.sent < until)
                }))
            };
            let quiet = stretch(None, Some(times.attack));
            let attacked = stretch(Some(times.attack), Some(times.attack_end));
            (who, [quiet, attacked, stretch(Some(times.after), None)])
        };
        [Who::Kept, Who::Fresh, Who::Probe].map(of).into()
    }

    /// Those of calls that were made when all should be well again.
    pub(crate) fn fallbacks_later(samples: &[Sample], middle: Instant) -> usize {
        let later = samples.iter().filter(|sample| sample.sent > middle + DEADLINE);
        later.filter(|sample| sample.end == End::Fallback).count()
    }

    fn group(&self, who: Who) -> &[Group; 3] {
        &self.groups.iter().find(|(found, _)| *found == who).unwrap().1
    }

    /// Prints it, and writes it where it is wanted.
    pub(crate) fn show(&self) {
        let mut text = format!("\n{} ({} descriptors)\n", self.scenario.name, self.descriptors());
        let counts = self.attackers.iter().map(|(what, count)| format!("{count} {what}"));
        writeln!(text, "  attackers: {}", counts.collect::<Vec<_>>().join(", ")).unwrap();
        for (who, groups) in &self.groups {
            for (when, group) in ["quiet", "attacked", "after"].iter().zip(groups) {
                let Group { sent, right, late, fallbacks, wrong, p50, p99, max } = group;
                let times = format!("p50 {p50:.1?}, p99 {p99:.1?}, at most {max:.1?}");
                write!(text, "  {who:?} {when}: {right} of {sent} right in time, {times}").unwrap();
                if fallbacks + late + wrong.len() > 0 {
                    write!(text, "; {fallbacks} fallbacks, {late} late, wrong: {wrong:?}").unwrap();
                }
                text.push('\n');
            }
        }
        let [quiet, attacked, _] = self.group(Who::Kept);
        let ratio = attacked.p99.as_secs_f64() / quiet.p99.as_secs_f64();
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let used = self.used.map_or("unknown".to_owned(), |used| format!("{:.1} MiB", mib(used)));
        let life = match (self.died, self.killed_for_memory) {
            (None, _) => "alive".to_owned(),
            (Some(died), true) => format!("killed for want of memory after {died:.1?}"),
            (Some(died), false) => format!("gone after {died:.1?}"),
        };
        let resident = mib(self.most.resident);
        writeln!(
            text,
            "  p99 {ratio:.1} times the quiet one; memory at most {resident:.1} MiB, {used} with the \
             kernel's; descriptors at most {}; {life}",
            self.most.descriptors
        )
        .unwrap();
        println!("{text}");
        if let Some(path) = std::env::var_os("ATTACKS_REPORT") {
            let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
            writeln!(file, "{}", self.json(&life)).unwrap();
        }
    }

    fn descriptors(&self) -> u64 {
        self.scenario.descriptors
    }

    fn json(&self, life: &str) -> Value {
        let groups = self.groups.iter().map(|(who, groups)| {
            let [quiet, attacked, after] = groups.each_ref().map(Group::json);
            let name = format!("{who:?}").to_lowercase();
            (name, json!({"quiet": quiet, "attacked": attacked, "after": after}))
        });
        json!({
            "attack": self.scenario.name, "descriptors": self.descriptors(),
            "attackers": self.attackers, "groups": groups.collect::<serde_json::Map<_, _>>(),
            "resident_bytes": self.most.resident, "used_bytes": self.used,
            "descriptors_at_most": self.most.descriptors, "life": life,
        })
    }

    /// Whether everything was kept that good callers can rely on; more may be broken already.
    pub(crate) fn hold(&self, mut broken: Vec<String>) {
        broken.extend(self.broken());
        assert!(broken.is_empty(), "{}: broken: {broken:#?}", self.scenario.name);
    }

    fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut hold = |holds: bool, promise: String| {
            if !holds {
                broken.push(promise);
            }
        };
        hold(self.died.is_none(), "the process lives".into());
        hold(!self.killed_for_memory, "it has memory enough".into());
        // Where nothing limits it. Pages of the program's file are not counted where something does.
        let is_within = self.used.is_some() || self.most.resident <= MEMORY_BYTES_MAX;
        hold(is_within, "it keeps to the limit of memory".into());
        hold(self.panics == 0.0, "nothing panics".into());
        hold(self.fallbacks_later == 0, "workers decide again when NATS is back".into());
        let nats_stays = self.scenario.nats == Nats::Stays;
        let is_busy = self.group(Who::Kept)[0].p99 > BUSY;
        if is_busy {
            println!(
                "ATTENTION: the machine is busy with something else, so that times say nothing"
            );
        }
        for (who, groups) in &self.groups {
            for (when, group) in ["quiet", "attacked", "after"].iter().zip(groups) {
                if *when == "after" && self.died.is_some() {
                    continue;
                }
                let what = format!("{who:?} {when}");
                let is_attacked = *when == "attacked";
                hold(group.late == 0, format!("{what}: no answer is late"));
                let fallbacks = if is_attacked && !nats_stays { 0 } else { group.fallbacks };
                hold(fallbacks == 0, format!("{what}: workers decide"));
                let turned_away = is_attacked
                    && *who == Who::Fresh
                    && self.scenario.fresh == FreshCallers::MayBeTurnedAway;
                hold(group.wrong.is_empty() || turned_away, format!("{what}: all are answered"));
                hold(group.sent > 0, format!("{what}: somebody asks"));
                // On a new connection a handshake comes first, behind those of strangers.
                let is_timed = *who != Who::Fresh && nats_stays && !is_busy;
                hold(group.p99 <= GROSS || !is_timed, format!("{what}: within {GROSS:?}"));
            }
        }
        let slowest = self.group(Who::Probe).iter().map(|group| group.max).max().unwrap();
        hold(slowest <= GROSS || is_busy, format!("/livez answers within {GROSS:?}"));
        broken
    }
}
