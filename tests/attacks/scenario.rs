//! How an attack is played: a quiet time, the attack, and a time to see that all is well again.

use std::time::{Duration, Instant};

use tokio::{sync::Mutex, time::sleep};

use crate::{
    attackers::Attackers,
    callers::Callers,
    figures::{Figures, Times},
    site::Site,
};

/// One at a time: each wants both cores.
static MACHINE: Mutex<()> = Mutex::const_new(());

/// The soft and the hard limit that containers often have.
pub(crate) const DESCRIPTORS: u64 = 1_024;

/// Enough for all connections that there can be by default.
pub(crate) const DESCRIPTORS_ENOUGH: u64 = 8_192;

const QUIET: Duration = Duration::from_secs(5);

/// What is left of the attack is over soon after it: the longest that the bridge waits for anything
/// of a stranger is `read_timeout`, 5 s.
const SETTLES: Duration = Duration::from_secs(1);
const AFTER: Duration = Duration::from_secs(4);

/// Whether good callers on new connections are promised an answer during the attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FreshCallers {
    AreAnswered,
    /// Strangers may take all places for connections, and then nobody else gets one.
    MayBeTurnedAway,
}

/// Whether NATS is there all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nats {
    Stays,
    Restarts,
}

/// An attack.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) descriptors: u64,
    pub(crate) tls: bool,
    pub(crate) fresh: FreshCallers,
    pub(crate) nats: Nats,
}

impl Scenario {
    /// Over plain HTTP, with places enough for everybody.
    pub(crate) const fn plain(name: &'static str) -> Self {
        let fresh = FreshCallers::AreAnswered;
        Self { name, descriptors: DESCRIPTORS, tls: false, fresh, nats: Nats::Stays }
    }

    /// One that takes all places.
    pub(crate) const fn crowd(name: &'static str) -> Self {
        Self { fresh: FreshCallers::MayBeTurnedAway, ..Self::plain(name) }
    }

    /// One that would take all places if there were no more descriptors than usual.
    pub(crate) const fn crowd_accepted(name: &'static str) -> Self {
        Self { descriptors: DESCRIPTORS_ENOUGH, ..Self::crowd(name) }
    }

    /// A scenario within TLS.
    pub(crate) const fn within_tls(self) -> Self {
        Self { tls: true, ..self }
    }
}

/// How long the attack lasts.
fn attack_time() -> Duration {
    let seconds = std::env::var("ATTACKS_SECONDS").ok();
    Duration::from_secs(seconds.map_or(12, |seconds| seconds.parse().expect("a number")))
}

/// Plays it, prints the figures, and holds the promises against them.
pub(crate) async fn play(scenario: &'static Scenario, attack: impl FnOnce(&Site) -> Attackers) {
    play_with(scenario, attack, async |_: &mut Site| Vec::new()).await;
}

/// Plays a scenario while something else happens in the middle of it, which says what promises it
/// broke.
pub(crate) async fn play_with(
    scenario: &'static Scenario,
    attack: impl FnOnce(&Site) -> Attackers,
    meanwhile: impl AsyncFnOnce(&mut Site) -> Vec<String>,
) {
    let _alone = MACHINE.lock().await;
    let mut site = Site::start(scenario.descriptors, scenario.tls).await;
    let mut most = Most::default();
    let callers = Callers::start(&site);
    lives_for(QUIET, &site, &mut most).await;

    let begun = Instant::now();
    let attackers = attack(&site);
    let third = attack_time() / 3;
    let mut lives = lives_for(third, &site, &mut most).await;
    let mut broken = Vec::new();
    let middle = Instant::now();
    if lives {
        broken.extend(meanwhile(&mut site).await);
        lives = lives_for((third * 3).saturating_sub(begun.elapsed()), &site, &mut most).await;
    }
    let died = (!lives).then(|| begun.elapsed());
    let attack_end = Instant::now();
    let attackers = attackers.stop();

    let mut panics = 0.0;
    if lives {
        lives_for(SETTLES, &site, &mut most).await;
    }
    let times = Times { attack: begun, attack_end, after: Instant::now() };
    if lives {
        lives_for(AFTER, &site, &mut most).await;
        panics = site.serving.metric("panics_total").await.unwrap();
    }
    let samples = callers.stop();
    let group = site.group.as_ref();
    let figures = Figures {
        scenario,
        attackers,
        groups: Figures::divided(&samples, times),
        most,
        used: group.map(|group| group.bytes_at_most()),
        died,
        killed_for_memory: group.is_some_and(|group| group.killed() > 0),
        panics,
        fallbacks_later: Figures::fallbacks_later(&samples, middle),
    };
    figures.show();
    figures.hold(broken);
}

/// The most of what the process had at once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Most {
    pub(crate) resident: u64,
    pub(crate) descriptors: usize,
}

/// Lets time pass and looks at what the process has. Whether it lives at the end of it.
async fn lives_for(time: Duration, site: &Site, most: &mut Most) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < time {
        sleep(Duration::from_millis(50)).await;
        most.resident = site.resident_at_most().unwrap_or_default().max(most.resident);
        most.descriptors = site.descriptors().unwrap_or_default().max(most.descriptors);
        if !site.serving.program.is_running() {
            return false;
        }
    }
    true
}
