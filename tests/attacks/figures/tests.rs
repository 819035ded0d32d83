//! Samples made by hand: every promise can be broken.

use super::*;

static PLAIN: Scenario = Scenario::plain("plain");
static CROWD: Scenario = Scenario::crowd("crowd");

fn sample(who: Who, sent: Instant, ms: u64, end: End) -> Sample {
    Sample { who, sent, took: Duration::from_millis(ms), end }
}

/// What came of a scenario in which everybody asks ten times in each stretch, and one more of `who`
/// asks during the attack.
fn figures(scenario: &'static Scenario, more: Option<(Who, u64, End)>) -> Figures {
    let begun = Instant::now();
    let second = Duration::from_secs(1);
    let times =
        Times { attack: begun + second, attack_end: begun + 2 * second, after: begun + 3 * second };
    let mut samples = Vec::new();
    for stretch in [0, 1, 3] {
        for who in [Who::Kept, Who::Fresh, Who::Probe] {
            let sent = begun + second * stretch;
            samples.extend((0..10).map(|_| sample(who, sent, 2, End::Right)));
        }
    }
    if let Some((who, ms, end)) = more {
        samples.push(sample(who, begun + second, ms, end));
    }
    Figures {
        scenario,
        attackers: BTreeMap::new(),
        groups: Figures::divided(&samples, times),
        most: Most::default(),
        used: Some(0),
        died: None,
        killed_for_memory: false,
        panics: 0.0,
        fallbacks_later: 0,
    }
}

fn wrong() -> End {
    End::Wrong("closed".to_owned())
}

#[test]
fn where_all_are_answered_nothing_is_broken() {
    assert!(figures(&PLAIN, None).broken().is_empty());
    assert!(figures(&PLAIN, Some((Who::Kept, 900, End::Right))).broken().is_empty());
}

#[test]
fn each_promise_can_be_broken() {
    for (name, more) in [
        ("late", (Who::Kept, 3_800, End::Right)),
        ("slow", (Who::Kept, 1_100, End::Right)),
        ("a fallback", (Who::Kept, 2, End::Fallback)),
        ("closed", (Who::Kept, 2, wrong())),
        ("a fallback on a new connection", (Who::Fresh, 2, End::Fallback)),
        ("closed on a new connection", (Who::Fresh, 2, wrong())),
        ("a slow probe", (Who::Probe, 1_100, End::Right)),
        ("a probe without an answer", (Who::Probe, 2, wrong())),
    ] {
        assert!(!figures(&PLAIN, Some(more)).broken().is_empty(), "{name}");
    }
    let good = || figures(&PLAIN, None);
    let died = Some(Duration::from_secs(1));
    assert!(!Figures { died, ..good() }.broken().is_empty());
    assert!(!Figures { killed_for_memory: true, ..good() }.broken().is_empty());
    assert!(!Figures { panics: 1.0, ..good() }.broken().is_empty());
    assert!(!Figures { fallbacks_later: 1, ..good() }.broken().is_empty());
    let most = Most { resident: MEMORY_BYTES_MAX + 1, descriptors: 0 };
    assert!(!Figures { most, used: None, ..good() }.broken().is_empty());
}

#[test]
fn where_strangers_may_take_all_places_only_open_connections_are_held() {
    assert!(figures(&CROWD, Some((Who::Fresh, 2, wrong()))).broken().is_empty());
    assert!(!figures(&CROWD, Some((Who::Kept, 2, wrong()))).broken().is_empty());
    assert!(!figures(&CROWD, Some((Who::Probe, 2, wrong()))).broken().is_empty());
    assert!(!figures(&CROWD, Some((Who::Fresh, 2, End::Fallback))).broken().is_empty());
}

#[test]
fn percentiles_leave_out_whoever_got_no_answer() {
    let begun = Instant::now();
    let mut samples: Vec<Sample> =
        (1..=100).map(|ms| sample(Who::Kept, begun, ms, End::Right)).collect();
    samples.push(sample(Who::Kept, begun, 5_000, wrong()));
    let group = Group::of(samples.iter());
    assert_eq!((group.sent, group.right), (101, 100));
    let ms = |group: Duration| group.as_millis();
    assert_eq!((ms(group.p50), ms(group.p99), ms(group.max)), (51, 100, 100));
}
