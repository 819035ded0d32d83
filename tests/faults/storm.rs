//! Everything at once, in an order that a seed says.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::{
    clients::BadClients,
    cluster::JETSTREAM,
    fleet::{DEADLINE_MAX, Fleet, Setup, Store},
    history::Disturbed,
    load::{Load, Mix},
    support::{
        proxy::{Flow, Proxy},
        real::NatsServer,
    },
    totals::{MACHINE, calls_of, finish, soak},
    worker::{self, Worker},
};

const MIX: Mix = Mix {
    callers: 64,
    pause: Duration::ZERO,
    plans: &[
        worker::DECIDE,
        worker::DECIDE,
        worker::BLOCK,
        worker::DECIDE,
        worker::DECIDE,
        worker::TWICE,
        worker::DECIDE,
        worker::INVALID,
        worker::DECIDE,
        worker::DECIDE,
        worker::DECIDE,
        worker::GARBAGE,
        worker::DECIDE,
        worker::DECIDE,
        worker::FAILS,
        worker::DECIDE,
        worker::DECIDE,
        worker::SLOW,
        worker::DECIDE,
        worker::DECIDE,
        worker::DECIDE,
        worker::DECIDE,
        worker::DECIDE,
        worker::DECIDE,
        worker::DECIDE,
        worker::DECIDE,
        worker::DECIDE,
        worker::DECIDE,
        worker::DECIDE,
        worker::SILENT_FIRST,
    ],
    asks_again: 16,
    keep: true,
};

/// The fewest faults of a storm, however fast the calls come.
const FAULTS_MIN: usize = 12;

/// Numbers that a seed determines.
struct Dice(u64);

impl Dice {
    /// Below `end`.
    fn roll(&mut self, end: u64) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn up_to(&mut self, time: Duration) -> Duration {
        Duration::from_millis(self.roll(u64::try_from(time.as_millis()).unwrap()))
    }
}

/// What all faults happen to.
struct Storm {
    server: NatsServer,
    fleet: Fleet,
    line: Proxy,
    worker_line: Proxy,
}

impl Storm {
    async fn one_fault(&mut self, dice: &mut Dice) {
        let history = Arc::clone(&self.fleet.history);
        let for_long = dice.up_to(Duration::from_secs(4));
        let wait = tokio::time::sleep(for_long);
        let lives = self.fleet.lives();
        let life = lives[usize::try_from(dice.roll(lives.len() as u64)).unwrap()];
        let fault = dice.roll(8);
        println!("storm: {:?}: fault {fault} for {for_long:?} at {life:?}", history.now());
        match fault {
            0 => {
                self.server.kill();
                wait.await;
                self.server.run().await;
            }
            1 => {
                history.disturb(Disturbed::Transport);
                self.server.signal("STOP");
                wait.await;
                self.server.signal("CONT");
                self.fleet.until_all("nats_connected", 1.0).await;
                history.mend(Disturbed::Transport);
            }
            2 => {
                self.fleet.kill(life);
                self.fleet.add_at(&self.behind_line()).await;
            }
            3 => {
                self.fleet.pause(life);
                wait.await;
                self.fleet.resume(life);
            }
            4 => {
                self.fleet.add().await;
                let old = self.fleet.processes.remove(&life).unwrap();
                self.fleet.endpoints.remove(life);
                old.program.signal("TERM");
                let ended = old.program.ended().await;
                assert_eq!(ended.code, Some(0), "{}", ended.err);
            }
            5 => {
                let flows = [
                    Flow::Stalled,
                    Flow::Delayed(Duration::from_millis(200)),
                    Flow::Trickling(60),
                    Flow::Refused,
                ];
                history.disturb(Disturbed::Transport);
                self.line.set(flows[usize::try_from(dice.roll(4)).unwrap()]);
                wait.await;
                self.line.set(Flow::Free);
                self.fleet.until_all("nats_connected", 1.0).await;
                history.mend(Disturbed::Transport);
            }
            6 => self.line.reset(),
            _ => self.worker_line.reset(),
        }
        self.fleet.until_all("nats_connected", 1.0).await;
        // No call loses both of its processes.
        tokio::time::sleep(DEADLINE_MAX + dice.up_to(Duration::from_secs(1))).await;
    }

    fn behind_line(&self) -> String {
        format!("servers: [\"nats://127.0.0.1:{}\"]", self.line.port)
    }
}

async fn rages(store: Store, scenario: &str) {
    let server = NatsServer::start_with(JETSTREAM).await;
    let line = Proxy::to(server.port).await;
    let worker_line = Proxy::to(server.port).await;
    let fleet = Fleet::start(Setup::at(&[server.url()], store), 2).await;
    // Whatever else fails, the store does too.
    fleet.history.disturb(Disturbed::Store);
    let mut storm = Storm { server, fleet, line, worker_line };
    storm.fleet.add_at(&storm.behind_line()).await;
    let history = Arc::clone(&storm.fleet.history);
    let _worker = Worker::start(&history, &storm.server.url()).await;
    let through = format!("nats://127.0.0.1:{}", storm.worker_line.port);
    let _another = Worker::start(&history, &through).await;
    let _bad = BadClients::start(&storm.fleet, 3);

    let seed = SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    println!("{scenario}: seed {seed}");
    let mut dice = Dice(u64::from(seed) | 1);
    let load = Load::start(&storm.fleet, MIX);
    let least = soak().unwrap_or_default();
    let mut faults = 0;
    while history.requests() < calls_of(scenario) * 5 / 4
        || faults < FAULTS_MIN
        || history.now() < least
    {
        storm.one_fault(&mut dice).await;
        faults += 1;
    }
    load.until_decided().await;
    load.stop().await;
    println!("{scenario}: {faults} faults");
    finish(scenario, &storm.fleet).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_fails_in_turn_and_every_call_is_answered_in_time() {
    let _shared = MACHINE.read().await;
    rages(Store::Memory, "storm").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_fails_in_turn_with_a_shared_store() {
    let _shared = MACHINE.read().await;
    rages(Store::Jetstream, "shared storm").await;
}
