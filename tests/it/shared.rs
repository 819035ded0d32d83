//! One call at several replicas: product rules of section 7 by way of the store, one test each.
//! Time is paused.

use std::sync::Arc;

use connector_bridge::wire::StoreFault;

use crate::support::{
    fake::{Bridge, Worker, pass, timed},
    fake_store::{FakeStore, Fate},
};

const CLAIMS: &str = r#"{"email":"a@b.c","city":"Ulm"}"#;
const CONTINUE: &str = r#"{"action":"Continue","tier":"gold"}"#;
const BLOCK: &str = r#"{"action":"ShowBlockPage","userMessage":"No."}"#;
const INVALID: &str = r#"{"action":"ValidationError","userMessage":"Bad zip"}"#;

fn calls(bridge: &Bridge, result: &str) -> f64 {
    bridge.metric(&format!("calls_total{{connector=\"c\",result=\"{result}\"}}"))
}

fn operations(bridge: &Bridge, operation: &str, result: &str) -> f64 {
    bridge
        .metric(&format!("store_operations_total{{operation=\"{operation}\",result=\"{result}\"}}"))
}

/// Two replicas at one store.
fn two(more: &str, first: &[Worker], second: &[Worker]) -> (Arc<FakeStore>, Bridge, Bridge) {
    let store = Arc::new(FakeStore::new());
    let replica = |script| Bridge::replica(more, script, &store);
    let (first, second) = (replica(first), replica(second));
    (store, first, second)
}

#[tokio::test(start_paused = true)]
async fn a_call_decided_at_one_replica_is_replayed_at_another_byte_for_byte() {
    for reply in [CONTINUE, BLOCK] {
        let (_, a, b) = two("", &[Worker::Says(reply)], &[Worker::Silent]);
        let first = a.post_and_lose(CLAIMS).await;
        pass(20_000).await;
        let second = b.post(r#"{ "city": "Ulm", "email": "a@b.c" }"#).await;
        assert_eq!((&*first.source, &*second.source), ("worker", "replay"));
        assert_eq!((first.status, first.body), (second.status, second.body));
        assert_eq!(first.call_id, second.call_id);
        assert_eq!((b.got().len(), calls(&b, "replayed")), (0, 1.0));
    }
}

#[tokio::test(start_paused = true)]
async fn the_window_begins_with_the_decision_wherever_it_is_replayed() {
    let (store, a, b) = two("", &[Worker::Says(CONTINUE)], &[Worker::Says(BLOCK)]);
    a.post(CLAIMS).await;
    pass(44_000).await;
    assert_eq!(b.post(CLAIMS).await.source, "replay");
    pass(1_500).await;
    assert_eq!(b.post(CLAIMS).await.source, "worker", "the window is over at both");
    assert_eq!(b.attempts(), [1]);
    assert_eq!(store.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_in_flight_at_one_replica_is_joined_at_another() {
    for reply in [CONTINUE, BLOCK, INVALID] {
        let (_, a, b) = two("", &[Worker::SaysAfter(3_000, reply)], &[Worker::Silent]);
        let (first, (second, ms)) = tokio::join!(a.post(CLAIMS), async {
            pass(1_000).await;
            timed(b.post(CLAIMS)).await
        });
        assert_eq!(first, second, "the same answer and source");
        assert_eq!((&*first.source, b.got().len()), ("worker", 0));
        assert!((2_000..2_400).contains(&ms), "{ms}");
        assert_eq!((calls(&b, "joined"), calls(&b, "first")), (1.0, 0.0));
    }
}

#[tokio::test(start_paused = true)]
async fn who_joined_at_another_replica_gets_the_fallback_of_the_first() {
    let (_, a, b) = two("deadline: 2s", &[Worker::Silent], &[Worker::Says(CONTINUE)]);
    let (first, second) = tokio::join!(a.post(CLAIMS), async {
        pass(500).await;
        b.post(CLAIMS).await
    });
    assert_eq!(first, second);
    assert_eq!((&*first.source, b.got().len()), ("default", 0));
}

#[tokio::test(start_paused = true)]
async fn after_a_fallback_another_replica_asks_at_once_as_the_next_attempt() {
    let (_, a, b) = two("deadline: 2s", &[Worker::Silent], &[Worker::Says(CONTINUE)]);
    a.post(CLAIMS).await;
    pass(1_000).await;
    let (heard, ms) = timed(b.post(CLAIMS)).await;
    assert_eq!((&*heard.source, b.attempts()), ("worker", vec![2]));
    assert!(ms < 20, "{ms}");
}

#[tokio::test(start_paused = true)]
async fn the_window_of_a_fallback_begins_with_its_arrival() {
    for (after, attempt) in [(42_500, 2), (43_500, 1)] {
        let (_, a, b) = two("deadline: 2s", &[Worker::Silent], &[Worker::Says(CONTINUE)]);
        a.post(CLAIMS).await;
        pass(after).await;
        b.post(CLAIMS).await;
        assert_eq!(b.attempts(), [attempt], "{after} ms after its answer");
    }
}

#[tokio::test(start_paused = true)]
async fn a_window_shorter_than_the_deadline_does_not_end_a_claim() {
    let store = Arc::new(FakeStore::new());
    let config = "calls: {store: jetstream, replay_window: 1s}\nconnectors:\n  \
        c: {protocol: entra, step: before-create, auth: none, deadline: 3s}";
    let a = Bridge::at_store(config, &[Worker::Silent], &store);
    let b = Bridge::at_store(config, &[Worker::Says(CONTINUE)], &store);
    let (first, second) = tokio::join!(a.post(CLAIMS), async {
        pass(1_500).await;
        b.post(CLAIMS).await
    });
    assert_eq!((first, b.got().len()), (second, 0));
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_written_is_tried_again() {
    for fate in [Fate::Fails(StoreFault::Error), Fate::Lost] {
        let (store, a, b) = two("", &[Worker::Says(CONTINUE)], &[Worker::Silent]);
        let mut operations = 0;
        store.fates(move |_| {
            operations += 1;
            if (2..4).contains(&operations) { fate } else { Fate::Done(1) }
        });
        a.post(CLAIMS).await;
        pass(2_000).await;
        assert_eq!(b.post(CLAIMS).await.source, "replay", "{fate:?}");
    }
    // Also where the decision should have been written before it was answered.
    let (store, a, b) = two("deadline: 2s", &[Worker::Silent], &[Worker::SaysAfter(9, CONTINUE)]);
    a.post(CLAIMS).await;
    pass(1_000).await;
    let (heard, ()) = tokio::join!(b.post(CLAIMS), async {
        pass(5).await;
        store.fates(|_| Fate::Fails(StoreFault::Unavailable));
        store.set_available(false);
    });
    assert_eq!((&*heard.source, b.attempts()), ("worker", vec![2]));
    pass(3_000).await;
    store.fates(|_| Fate::Done(1));
    store.set_available(true);
    pass(1_000).await;
    let c = Bridge::replica("deadline: 2s", &[Worker::Silent], &store);
    assert_eq!(c.post(CLAIMS).await.source, "replay");
}

#[tokio::test(start_paused = true)]
async fn a_late_decision_answers_the_retry_at_another_replica() {
    let (_, a, b) = two("deadline: 2s", &[Worker::SaysAfter(5_000, CONTINUE)], &[Worker::Silent]);
    assert_eq!(a.post(CLAIMS).await.source, "default");
    pass(4_000).await;
    let heard = b.post(CLAIMS).await;
    assert_eq!((&*heard.source, b.got().len()), ("replay", 0));
}

#[tokio::test(start_paused = true)]
async fn a_late_decision_at_one_replica_answers_who_asks_again_at_another() {
    let (_, a, b) = two("deadline: 2s", &[Worker::SaysAfter(3_000, BLOCK)], &[Worker::Silent]);
    a.post(CLAIMS).await;
    let (heard, ms) = timed(b.post(CLAIMS)).await;
    assert_eq!((heard.status, &*heard.source), (200, "worker"));
    assert!(heard.body.contains("No."), "{heard:?}");
    assert!((1_000..1_500).contains(&ms), "{ms}");
    assert_eq!(a.post(CLAIMS).await.body, heard.body);
}

#[tokio::test(start_paused = true)]
async fn of_two_attempts_at_two_replicas_the_first_decision_counts_at_both() {
    let a_says = [Worker::SaysAfter(2_500, BLOCK)];
    let (_, a, b) = two("deadline: 2s", &a_says, &[Worker::SaysAfter(700, CONTINUE)]);
    a.post(CLAIMS).await;
    // It is decided at about 2,600 ms: after the first message's reply, which came late.
    let heard = b.post(CLAIMS).await;
    assert!(heard.body.contains("No."), "{heard:?}");
    assert_eq!(b.attempts(), [2]);
    pass(1_000).await;
    for bridge in [&a, &b] {
        assert_eq!(bridge.post(CLAIMS).await.body, heard.body);
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_died_is_taken_over_from_when_its_claim_ends() {
    let (_, a, b) = two("deadline: 2s", &[Worker::Silent], &[Worker::Says(CONTINUE)]);
    let (_, (heard, ms)) = tokio::join!(a.post_and_hang_up(CLAIMS, 1_500), async {
        pass(1_000).await;
        a.kill();
        timed(b.post(CLAIMS)).await
    });
    assert_eq!((&*heard.source, b.attempts()), ("worker", vec![2]), "{ms}");
    assert!((1_500..1_900).contains(&ms), "half a second after the deadline: {ms}");
    assert_eq!(calls(&b, "taken_over"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_a_crash_is_decided_in_the_workers_time_and_two_seconds_more() {
    for retried_after in [1, 100, 600, 1_000, 5_000] {
        let thinks = [Worker::SaysAfter(3_000, CONTINUE)];
        let (_, a, b) = two("", &[Worker::Silent], &thinks);
        let (_, (heard, ms)) = tokio::join!(a.post_and_hang_up(CLAIMS, 1_600), async {
            pass(1_500).await;
            a.kill();
            pass(retried_after).await;
            timed(b.post(CLAIMS)).await
        });
        assert_eq!((&*heard.source, b.attempts()), ("worker", vec![2]), "{ms}");
        assert_eq!(a.got()[0].call_id, heard.call_id);
        assert!((4_800..5_050).contains(&ms), "{retried_after} ms after the crash: {ms}");
        assert_eq!(calls(&b, "taken_over"), 1.0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_lives_is_waited_for_however_long_its_worker_takes() {
    let (store, a, b) = two("", &[Worker::SaysAfter(13_000, BLOCK)], &[Worker::Silent]);
    let (first, second) = tokio::join!(a.post(CLAIMS), async {
        pass(500).await;
        b.post(CLAIMS).await
    });
    assert_eq!((&first, &*first.source, b.got().len()), (&second, "worker", 0));
    let beats = store.beats();
    assert!((30..34).contains(&beats), "{beats}");
    pass(20_000).await;
    assert!(store.beats() <= beats + 1, "who has no leases does not beat");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_decided_soon_needs_no_beat() {
    let (store, a, _) = two("", &[Worker::SaysAfter(300, CONTINUE)], &[Worker::Silent]);
    for claims in [CLAIMS, r#"{"email":"b@b.c"}"#] {
        a.post(claims).await;
        pass(1_000).await;
    }
    assert_eq!(store.beats(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_reading_of_an_owners_beat_is_for_all_who_wait_for_it() {
    let (_, a, b) = two("", &[Worker::SaysAfter(5_000, CONTINUE)], &[Worker::Silent]);
    let persons: Vec<&'static str> = (0..40)
        .map(|person| &*Box::leak(format!(r#"{{"email":"{person}@b.c"}}"#).into_boxed_str()))
        .collect();
    let all = async |bridge: &Bridge| {
        futures_util::future::join_all(persons.iter().map(|claims| bridge.post(claims))).await
    };
    tokio::join!(all(&a), async {
        pass(100).await;
        all(&b).await
    });
    assert_eq!((b.got().len(), calls(&b, "joined")), (0, 40.0));
    let readings = operations(&b, "watch", "ok");
    assert!((10.0..=50.0).contains(&readings), "{readings} in 5 s");
}

#[tokio::test(start_paused = true)]
async fn who_cannot_reach_the_store_learns_nothing_about_an_owner() {
    let (_, a, b) = two("", &[Worker::SaysAfter(6_000, CONTINUE)], &[Worker::Silent]);
    let (first, second, ()) = tokio::join!(
        a.post(CLAIMS),
        async {
            pass(500).await;
            b.post(CLAIMS).await
        },
        async {
            // Single readings get lost, never those of the record in between.
            pass(600).await;
            for _ in 0..20 {
                pass(200).await;
                a.cut_off_store(true);
                pass(30).await;
                a.cut_off_store(false);
            }
        }
    );
    assert_eq!((first, b.got().len()), (second, 0));
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_was_cut_off_sends_nothing_once_another_has_taken_over() {
    for (thinks, sources) in [(200, ["replay", "worker"]), (5_000, ["worker", "worker"])] {
        let b_says = [Worker::SaysAfter(thinks, CONTINUE)];
        let (_, a, b) = two("grace: 9s", &[Worker::Absent], &b_says);
        let (first, second, sent) = tokio::join!(
            a.post(CLAIMS),
            async {
                pass(600).await;
                b.post(CLAIMS).await
            },
            async {
                pass(100).await;
                a.disconnect();
                a.cut_off_store(true);
                let sent = a.got().len();
                pass(3_500).await;
                a.reconnect();
                // The store is found a moment later.
                pass(100).await;
                a.cut_off_store(false);
                sent
            }
        );
        assert_eq!(b.attempts(), [2]);
        assert_eq!(a.got().len(), sent, "{thinks}: sent after it was taken over");
        assert_eq!([&*first.source, &*second.source], sources);
        assert_eq!(first.body, second.body);
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_cannot_ask_the_store_again_does_not_send_as_if_nobody_had_been_asked() {
    let (_, a, _) = two("grace: 9s", &[Worker::Absent], &[Worker::Silent]);
    let (heard, ()) = tokio::join!(a.post(CLAIMS), async {
        pass(100).await;
        a.disconnect();
        a.cut_off_store(true);
        pass(3_500).await;
        a.worker(&[Worker::Says(CONTINUE)]);
        a.reconnect();
    });
    assert_eq!((&*heard.source, a.attempts().last()), ("worker", Some(&2)));
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_nobody_has_taken_over_goes_on_with_its_own_attempt() {
    let (_, a, _) = two("grace: 9s", &[Worker::Absent], &[Worker::Silent]);
    let (heard, ()) = tokio::join!(a.post(CLAIMS), async {
        pass(100).await;
        a.disconnect();
        a.cut_off_store(true);
        pass(3_500).await;
        a.worker(&[Worker::Says(CONTINUE)]);
        a.cut_off_store(false);
        a.reconnect();
    });
    assert_eq!((&*heard.source, a.attempts().last()), ("worker", Some(&1)));
    assert_eq!(calls(&a, "first"), 1.0, "counted once");
}

#[tokio::test(start_paused = true)]
async fn a_decision_under_a_lease_that_was_over_is_answered_only_if_it_was_first() {
    let (_, a, b) = two("", &[Worker::SaysAfter(4_000, BLOCK)], &[Worker::Says(CONTINUE)]);
    let (first, second, ()) = tokio::join!(
        a.post(CLAIMS),
        async {
            pass(600).await;
            b.post(CLAIMS).await
        },
        async {
            pass(500).await;
            a.cut_off_store(true);
            pass(3_000).await;
            a.cut_off_store(false);
        }
    );
    assert_eq!(b.attempts(), [2]);
    assert_eq!(first.body, second.body, "the first decision counts at both");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_breaks_off_gives_its_lease_back() {
    let (_, a, b) = two("", &[Worker::Panics], &[Worker::Says(CONTINUE)]);
    assert_eq!(a.post(CLAIMS).await.source, "default");
    pass(10).await;
    let (heard, ms) = timed(b.post(CLAIMS)).await;
    assert_eq!((&*heard.source, b.attempts()), ("worker", vec![2]));
    assert!(ms < 20, "{ms}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_version_0_1_0_is_not_taken_over_before_its_time() {
    let (store, a, b) = two("", &[Worker::Silent], &[Worker::Says(CONTINUE)]);
    let (_, (heard, ms)) = tokio::join!(a.post_and_hang_up(CLAIMS, 9_000), async {
        pass(50).await;
        store.rewrite(|record| record.replace(",\"beats\":true", ""));
        a.kill();
        timed(b.post(CLAIMS)).await
    });
    assert_eq!((&*heard.source, b.got().len()), ("default", 0), "its own deadline came first");
    assert!((14_500..15_000).contains(&ms), "{ms}");
}

#[tokio::test(start_paused = true)]
async fn who_joined_waits_no_longer_than_the_own_deadline() {
    let store = Arc::new(FakeStore::new());
    let a = Bridge::replica("deadline: 10s", &[Worker::Silent], &store);
    let b = Bridge::replica("deadline: 2s", &[Worker::Silent], &store);
    let (_, (heard, ms)) = tokio::join!(a.post(CLAIMS), async {
        pass(500).await;
        timed(b.post(CLAIMS)).await
    });
    assert_eq!((&*heard.source, b.got().len()), ("default", 0));
    assert!((1_900..1_905).contains(&ms), "{ms}");
}

#[tokio::test(start_paused = true)]
async fn a_validation_error_delivered_at_one_replica_is_checked_again_at_another() {
    let (_, a, b) = two("", &[Worker::Says(INVALID)], &[Worker::Says(CONTINUE)]);
    assert_eq!(a.post(CLAIMS).await.status, 400);
    pass(50).await;
    assert_eq!(b.post(CLAIMS).await.source, "worker");
    assert_eq!(b.attempts(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_validation_error_delivered_here_is_checked_again_before_the_store_knows() {
    let (_, a, _) = two("", &[Worker::Says(INVALID), Worker::Says(CONTINUE)], &[Worker::Silent]);
    assert_eq!(a.post(CLAIMS).await.status, 400);
    assert_eq!(a.post(CLAIMS).await.source, "worker");
    assert_eq!(a.attempts(), [1, 1]);
}

/// From now on the write number `nth` has this fate; the others are done in 1 ms.
fn write(store: &FakeStore, nth: usize, fate: Fate) {
    let mut writes = 0;
    store.fates(move |is_write| {
        writes += usize::from(is_write);
        if is_write && writes == nth { fate } else { Fate::Done(1) }
    });
}

#[tokio::test(start_paused = true)]
async fn a_form_posted_again_at_once_is_checked_again_however_slow_the_store_is() {
    for slow in [50, 190, 4_000] {
        let (store, a, b) = two("", &[Worker::Says(INVALID)], &[Worker::Says(CONTINUE)]);
        write(&store, 2, Fate::Done(slow));
        assert_eq!(a.post(CLAIMS).await.status, 400);
        let heard = b.post(CLAIMS).await;
        assert_eq!((&*heard.source, b.attempts()), ("worker", vec![1]), "{slow} {heard:?}");
    }
    for slow in [50, 190, 4_000] {
        let says = [Worker::Says(INVALID), Worker::SaysAfter(200, CONTINUE)];
        let (store, a, _) = two("", &says, &[Worker::Silent]);
        write(&store, 2, Fate::Done(slow));
        assert_eq!(a.post(CLAIMS).await.status, 400);
        let heard = a.post(CLAIMS).await;
        assert_eq!((heard.status, a.attempts()), (200, vec![1, 1]), "{slow} {heard:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_validation_error_delivered_while_the_store_was_away_is_checked_again_afterwards() {
    let (store, a, b) = two("", &[Worker::SaysAfter(500, INVALID)], &[Worker::Says(CONTINUE)]);
    let (first, ()) = tokio::join!(a.post(CLAIMS), async {
        pass(200).await;
        store.set_available(false);
    });
    assert_eq!(first.status, 400);
    pass(5_000).await;
    store.set_available(true);
    pass(1_000).await;
    assert_eq!(b.post(CLAIMS).await.source, "worker");
    assert_eq!(b.attempts(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_validation_error_delivered_only_to_who_joined_elsewhere_is_delivered() {
    let (_, a, b) = two("", &[Worker::SaysAfter(1_000, INVALID)], &[Worker::Says(CONTINUE)]);
    let (_, joined) = tokio::join!(a.post_and_hang_up(CLAIMS, 700), async {
        pass(500).await;
        b.post(CLAIMS).await
    });
    assert_eq!((joined.status, &*joined.source), (400, "worker"));
    pass(100).await;
    assert_eq!(b.post(CLAIMS).await.source, "worker");
    assert_eq!(b.attempts(), [1], "decided anew");
}

#[tokio::test(start_paused = true)]
async fn a_late_validation_error_was_delivered_to_nobody() {
    let (_, a, b) = two("deadline: 2s", &[Worker::SaysAfter(3_000, INVALID)], &[Worker::Silent]);
    assert_eq!(a.post(CLAIMS).await.source, "default");
    pass(2_000).await;
    let heard = b.post(CLAIMS).await;
    assert_eq!((heard.status, &*heard.source), (400, "replay"));
}

#[tokio::test(start_paused = true)]
async fn an_undelivered_validation_error_is_replayed_from_the_own_memory_where_the_store_fails() {
    let says = [Worker::Says(INVALID), Worker::Says(CONTINUE)];
    let (store, a, _) = two("", &says, &[Worker::Silent]);
    a.post_and_lose(CLAIMS).await;
    pass(10).await;
    store.fates(|_| Fate::Lost);
    let heard = a.post(CLAIMS).await;
    assert_eq!((&*heard.source, a.attempts()), ("replay", vec![1]), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn a_replay_counts_although_its_mark_was_not_acknowledged() {
    let (store, a, b) = two("", &[Worker::Says(INVALID)], &[Worker::Says(CONTINUE)]);
    a.post_and_lose(CLAIMS).await;
    pass(100).await;
    write(&store, 2, Fate::Unacknowledged);
    let heard = b.post_and_lose(CLAIMS).await;
    assert_eq!((&*heard.source, b.got().len()), ("replay", 0), "{heard:?}");
    pass(100).await;
    assert_eq!(b.post(CLAIMS).await.source, "worker", "and only once");
}

#[tokio::test(start_paused = true)]
async fn what_was_read_counts_although_the_claim_then_failed() {
    let (store, a, b) = two("deadline: 2s", &[Worker::Silent], &[Worker::Says(CONTINUE)]);
    a.post(CLAIMS).await;
    pass(1_000).await;
    write(&store, 2, Fate::Fails(StoreFault::Full));
    assert_eq!(b.post(CLAIMS).await.source, "worker");
    assert_eq!(b.attempts(), [2], "a worker was asked before");
}

#[tokio::test(start_paused = true)]
async fn a_decision_under_a_claim_that_nobody_acknowledged_is_recorded() {
    let (store, a, b) = two("deadline: 2s", &[Worker::Silent], &[Worker::Says(CONTINUE)]);
    a.post(CLAIMS).await;
    pass(1_000).await;
    // The claim is refused, the record read, the claim taken without a word, and then nothing.
    let mut operations = 0;
    store.fates(move |_| {
        operations += 1;
        match operations {
            3 => Fate::Unacknowledged,
            4 | 5 => Fate::Lost,
            _ => Fate::Done(1),
        }
    });
    assert_eq!(b.post(CLAIMS).await.source, "worker");
    assert_eq!(b.attempts(), [2]);
    pass(1_000).await;
    let c = Bridge::replica("deadline: 2s", &[Worker::Says(BLOCK)], &store);
    assert_eq!(c.post(CLAIMS).await.source, "replay");
}

#[tokio::test(start_paused = true)]
async fn a_hostile_record_breaks_nothing_and_is_soon_forgotten() {
    let claimed = b"\x00{\"version\":1,\"round\":5,\"unanswered\":4294967295,\
        \"ends\":18446744073709551615,\"phase\":{\"claimed\":{\"owner\":9,\"until\":1}}}\n";
    let decided = b"\x00{\"version\":1,\"round\":5,\"unanswered\":0,\
        \"ends\":18446744073709551615,\"phase\":{\"decided\":{\"status\":200,\"action\":null,\
        \"since\":0,\"delivery\":\"yes\",\"replayed_by\":null}}}\nforged";
    let (store, a, b) = two("", &[Worker::Says(CONTINUE)], &[Worker::Says(CONTINUE)]);
    a.post(CLAIMS).await;
    pass(100).await;
    store.spoil(claimed);
    assert_eq!(b.post(CLAIMS).await.source, "worker");
    pass(100).await;
    store.spoil(decided);
    let c = Bridge::replica("", &[Worker::Says(CONTINUE)], &store);
    assert_eq!(c.post(CLAIMS).await.body, "forged", "who may write the store may decide");
    store.clear();
    pass(45_100).await;
    assert_eq!(c.post(CLAIMS).await.source, "worker");
    assert_eq!(c.front.pipeline.sizes().0, 1);
}

#[tokio::test(start_paused = true)]
async fn an_undelivered_validation_error_is_replayed_once_by_all_replicas_together() {
    let store = Arc::new(FakeStore::new());
    let replica = || Bridge::replica("", &[Worker::Says(INVALID)], &store);
    let (a, b, c) = (replica(), replica(), replica());
    a.post_and_lose(CLAIMS).await;
    pass(10).await;
    let (second, third) = tokio::join!(b.post_and_lose(CLAIMS), c.post_and_lose(CLAIMS));
    let mut sources = [second.source, third.source];
    sources.sort();
    assert_eq!(sources, ["replay", "worker"]);
    pass(10).await;
    assert_eq!(a.post_and_lose(CLAIMS).await.source, "replay", "of the new decision");
}

#[tokio::test(start_paused = true)]
async fn without_the_store_a_call_costs_250_ms_at_most_and_is_decided_with_the_same_id() {
    let (store, a, b) = two("", &[Worker::Says(CONTINUE)], &[Worker::Says(CONTINUE)]);
    store.fates(|_| Fate::Lost);
    let (first, ms) = timed(a.post(CLAIMS)).await;
    assert!((240..=251).contains(&ms), "{ms}");
    store.set_available(false);
    let (second, ms) = timed(b.post(CLAIMS)).await;
    assert!(ms <= 2, "{ms}: known to be away");
    assert_eq!((&*first.source, &*second.source), ("worker", "worker"));
    assert_eq!(first.call_id, second.call_id);
    assert_eq!((a.attempts(), b.attempts()), (vec![1], vec![1]));
    assert!(operations(&a, "claim", "timeout") >= 1.0);
    assert_eq!(operations(&b, "claim", "unavailable"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_call_with_little_time_gives_the_store_a_quarter_of_it() {
    let (store, a, _) = two("deadline: 400ms", &[Worker::Says(CONTINUE)], &[Worker::Silent]);
    store.fates(|_| Fate::Lost);
    let (heard, ms) = timed(a.post(CLAIMS)).await;
    assert_eq!(heard.source, "worker");
    assert!(ms <= 95, "{ms}");
}

#[tokio::test(start_paused = true)]
async fn a_full_or_broken_store_is_given_up_at_once() {
    for fault in [StoreFault::Full, StoreFault::Error, StoreFault::Unavailable] {
        let (store, a, _) = two("", &[Worker::Says(CONTINUE)], &[Worker::Silent]);
        store.fates(move |_| Fate::Fails(fault));
        let (heard, ms) = timed(a.post(CLAIMS)).await;
        assert_eq!((&*heard.source, ms), ("worker", 0), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_acknowledgement_does_not_make_a_replica_wait_for_itself() {
    let (store, a, b) = two("", &[Worker::Says(CONTINUE)], &[Worker::Silent]);
    let mut first = true;
    store.fates(move |_| match std::mem::take(&mut first) {
        true => Fate::Unacknowledged,
        false => Fate::Done(1),
    });
    let (heard, ms) = timed(a.post(CLAIMS)).await;
    assert_eq!((&*heard.source, a.attempts()), ("worker", vec![1]));
    assert!((100..150).contains(&ms), "one write's time: {ms}");
    assert_eq!(b.post(CLAIMS).await.source, "replay", "it was claimed all the same");
}

#[tokio::test(start_paused = true)]
async fn a_lost_acknowledgement_of_a_decision_is_recognised() {
    let (store, a, b) = two("", &[Worker::Says(CONTINUE)], &[Worker::Silent]);
    let mut writes = 0;
    store.fates(move |is_write| {
        writes += usize::from(is_write);
        if is_write && writes == 2 { Fate::Unacknowledged } else { Fate::Done(1) }
    });
    a.post(CLAIMS).await;
    pass(1_000).await;
    assert_eq!(b.post(CLAIMS).await.source, "replay");
    assert_eq!(operations(&a, "record", "timeout"), 1.0);
    assert_eq!(operations(&a, "record", "ok"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_decision_made_while_the_store_was_away_is_recorded_when_it_is_back() {
    let (store, a, b) = two("", &[Worker::Says(CONTINUE)], &[Worker::Silent]);
    store.set_available(false);
    a.post(CLAIMS).await;
    pass(5_000).await;
    store.set_available(true);
    pass(500).await;
    assert_eq!(b.post(CLAIMS).await.source, "replay");
}

#[tokio::test(start_paused = true)]
async fn two_decisions_made_without_the_store_become_one_when_it_is_back() {
    let (store, a, b) = two("", &[Worker::Says(CONTINUE)], &[Worker::Says(BLOCK)]);
    store.set_available(false);
    let first = a.post(CLAIMS).await;
    let second = b.post(CLAIMS).await;
    assert_ne!(first.body, second.body);
    pass(1_000).await;
    store.set_available(true);
    pass(1_000).await;
    let (first, second) = (a.post(CLAIMS).await, b.post(CLAIMS).await);
    assert_eq!((&*first.source, &*second.source), ("replay", "replay"));
    assert_eq!(first.body, second.body);
    assert_eq!((a.got().len(), b.got().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn nine_at_once_at_three_replicas_are_one_call() {
    let store = Arc::new(FakeStore::new());
    let replica = || Bridge::replica("", &[Worker::SaysAfter(100, CONTINUE)], &store);
    let bridges = [replica(), replica(), replica()];
    let posts = (0..9).map(|at| bridges[at % 3].post(CLAIMS));
    let heard = futures_util::future::join_all(posts).await;
    assert!(heard.iter().all(|one| *one == heard[0]), "{heard:?}");
    let messages: usize = bridges.iter().map(|bridge| bridge.got().len()).sum();
    assert_eq!(messages, 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_replaced_and_counted() {
    let (store, a, b) = two("", &[Worker::Says(CONTINUE)], &[Worker::Says(BLOCK)]);
    a.post(CLAIMS).await;
    pass(100).await;
    store.spoil(b"\x00nonsense");
    assert_eq!(b.post(CLAIMS).await.source, "worker");
    assert_eq!(operations(&b, "look", "unreadable"), 1.0);
    pass(100).await;
    let c = Bridge::replica("", &[Worker::Silent], &store);
    assert_eq!(c.post(CLAIMS).await.source, "replay", "of the second decision");
}

#[tokio::test(start_paused = true)]
async fn joined_when_the_store_breaks_a_call_is_asked_about_as_the_next_attempt() {
    let (store, a, b) = two("", &[Worker::SaysAfter(9_000, CONTINUE)], &[Worker::Says(CONTINUE)]);
    let (_, heard) = tokio::join!(a.post(CLAIMS), async {
        pass(1_000).await;
        let post = b.post(CLAIMS);
        let breaks = async {
            pass(1_000).await;
            store.fates(|_| Fate::Fails(StoreFault::Unavailable));
        };
        tokio::join!(post, breaks).0
    });
    assert_eq!((&*heard.source, b.attempts()), ("worker", vec![2]));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_names_no_person_never_reaches_the_store() {
    let (store, a, _) = two("", &[Worker::Says(CONTINUE)], &[Worker::Silent]);
    a.post(r#"{"city":"Ulm"}"#).await;
    pass(100).await;
    assert_eq!(store.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn after_a_store_that_lost_everything_calls_go_on() {
    let (store, a, b) = two("", &[Worker::Says(CONTINUE)], &[Worker::Says(CONTINUE)]);
    a.post(CLAIMS).await;
    pass(100).await;
    store.clear();
    assert_eq!(b.post(CLAIMS).await.source, "worker");
    assert_eq!(a.post(CLAIMS).await.source, "replay", "from its own memory");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_retries_within_a_second_of_a_crash_are_all_decided_soon() {
    const ROUNDS: u64 = 100;
    const CALLS: u64 = 100;
    let (mut retries, mut slowest) = (0, 0);
    for round in 0..ROUNDS {
        let store = Arc::new(FakeStore::new());
        let a = Bridge::replica("", &[Worker::Silent], &store);
        let other = || Bridge::replica("", &[Worker::SaysAfter(3_000, CONTINUE)], &store);
        let others = [other(), other()];
        let persons: Vec<&'static str> = (0..CALLS)
            .map(|person| {
                &*Box::leak(format!(r#"{{"email":"{round}-{person}@b.c"}}"#).into_boxed_str())
            })
            .collect();
        // Calls are at every point between two beats, and retries at every point of a second.
        let crash = 1_500 + round * 4;
        let calls = persons.iter().enumerate().map(async |(number, claims)| {
            let number = u64::try_from(number).unwrap();
            pass(number * 13 % crash).await;
            let hung_up = tokio::time::timeout(
                std::time::Duration::from_millis(crash - number * 13 % crash + 1),
                a.post(claims),
            );
            assert!(hung_up.await.is_err());
            pass((number * 37 + round) % 1_000).await;
            timed(others[usize::try_from(number % 2).unwrap()].post(claims)).await
        });
        let (answers, ()) = tokio::join!(futures_util::future::join_all(calls), async {
            pass(crash).await;
            a.kill();
        });
        for (heard, ms) in answers {
            assert_eq!(heard.source, "worker", "{heard:?} after {ms} ms");
            assert!(ms <= 3_000 + 2_500, "{ms}");
            slowest = slowest.max(ms);
            retries += 1;
        }
        let mut asked: Vec<_> = others.iter().flat_map(Bridge::got).collect();
        assert!(asked.iter().all(|got| got.attempt == 2));
        let mut first: Vec<_> = a.got().into_iter().map(|got| got.call_id).collect();
        asked.sort_by(|one, other| one.call_id.cmp(&other.call_id));
        first.sort();
        assert!(asked.iter().map(|got| &got.call_id).eq(&first), "each once more, as itself");
    }
    println!("{retries} retries decided, the slowest after {slowest} ms");
    assert_eq!(retries, ROUNDS * CALLS);
}
