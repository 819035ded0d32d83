//! One run: three replicas at one store, their callers and workers, and what goes wrong.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use connector_bridge::{
    clock,
    domain::{
        call_id::{CallId, HashKey},
        json::Object,
        shared::Owner,
    },
    inbox::Arrival,
    wire::Message,
};

use super::{
    caller,
    dice::Dice,
    history::{History, Kept, Said, What},
    plan::{Class, Fault, Plan, SLOTS, StoreIs, Times},
    replica::{Link, Process, opened, owner},
    setting::{SETTINGS, Setting},
    workers::Workers,
};
use crate::support::fake_store::{FakeStore, Fate};

/// What all parts of a run share.
pub(crate) struct World {
    pub(crate) store: FakeStore,
    plan: Plan,
    history: Arc<Mutex<History>>,
    processes: Mutex<Vec<Arc<Process>>>,
    slots: Mutex<[usize; SLOTS]>,
    clocks: Mutex<[i64; SLOTS]>,
    workers: Mutex<Workers>,
    store_is: Arc<Mutex<StoreIs>>,
    persons: BTreeMap<CallId, usize>,
    jitter: Mutex<Dice>,
    posts: AtomicUsize,
    messages: AtomicUsize,
    on_the_way: AtomicI64,
}

impl World {
    fn new(seed: u64, plan: Plan) -> Arc<Self> {
        let history = Arc::new(Mutex::new(History::new()));
        let store_is = Arc::new(Mutex::new(StoreIs::Up));
        let persons = (0..2).map(|person| {
            let claims = claims(person);
            let claims = Object::parse(claims.as_bytes()).unwrap();
            (CallId::of(&HashKey::public(), "c", &claims), person)
        });
        let persons: BTreeMap<_, _> = persons.collect();
        let store = FakeStore::new();
        store.fates(fates(Dice::new(seed, 3), plan.store_trouble, Arc::clone(&store_is)));
        let (watching, known) = (Arc::clone(&history), persons.clone());
        store.watch(move |(call, before, after)| {
            let mut history = watching.lock().unwrap();
            let before = before.and_then(|before| opened(before)).map(|it| history.kept(&it));
            if let Some(after) = opened(after).map(|it| history.kept(&it)) {
                history.add(What::Wrote { person: known[&call], before, after });
            }
        });
        let watching = Arc::clone(&history);
        store.watch_beats(move |owner| {
            let mut history = watching.lock().unwrap();
            let process = history.process_of(owner);
            history.add(What::Beat { process });
        });
        let workers = Workers::new(Dice::new(seed, 4), plan.workers, plan.times);
        Arc::new(Self {
            store,
            plan,
            history,
            processes: Mutex::default(),
            slots: Mutex::default(),
            clocks: Mutex::default(),
            workers: Mutex::new(workers),
            store_is,
            persons,
            jitter: Mutex::new(Dice::new(seed, 5)),
            posts: AtomicUsize::new(0),
            messages: AtomicUsize::new(0),
            on_the_way: AtomicI64::new(0),
        })
    }

    pub(crate) fn add(&self, what: What) {
        self.history().add(what);
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap()
    }

    pub(crate) fn setting(&self) -> &'static Setting {
        &SETTINGS[self.plan.setting]
    }

    pub(crate) fn times(&self) -> Times {
        self.plan.times
    }

    pub(crate) fn person(&self, call: CallId) -> usize {
        self.persons[&call]
    }

    pub(crate) fn store_is(&self) -> StoreIs {
        *self.store_is.lock().unwrap()
    }

    pub(crate) fn notices_after(&self) -> Duration {
        Duration::from_millis(self.plan.notices_after)
    }

    pub(crate) fn process(&self, number: usize) -> Option<Arc<Process>> {
        self.processes.lock().unwrap().get(number).filter(|it| !it.is_dead()).cloned()
    }

    /// The process in a slot, or in another one where that is dead.
    pub(crate) fn process_at(&self, slot: usize) -> Option<(usize, Arc<Process>)> {
        let slots = *self.slots.lock().unwrap();
        let turns = (0..SLOTS).map(|turn| slots[(slot + turn) % SLOTS]);
        turns.filter_map(|number| Some((number, self.process(number)?))).next()
    }

    /// What a record says.
    pub(crate) fn kept(&self, record: &[u8]) -> Option<Kept> {
        Some(self.history().kept(&opened(record)?))
    }

    /// `process` leases calls by this name.
    pub(crate) fn owner_is(&self, owner: Owner, process: usize) {
        self.history().owner_is(owner, process);
    }

    /// What a record says that `process` writes.
    pub(crate) fn owned(&self, record: &[u8], process: usize) -> Option<Kept> {
        let record = opened(record)?;
        let mut history = self.history();
        if let Some(owner) = owner(&record) {
            history.owner_is(owner, process);
        }
        Some(history.kept(&record))
    }

    /// A request comes from `person`. Its number is written into its body as white space, which
    /// makes no difference to the call.
    pub(crate) fn posts(&self, person: usize, process: usize) -> (usize, String) {
        let post = self.posts.fetch_add(1, Ordering::Relaxed);
        self.add(What::Posted { post, person, process });
        (post, claims(person) + &" ".repeat(post))
    }

    /// A message goes to the workers. Returns its number.
    pub(crate) fn send(&self, process: usize, message: &Message<'_>, reaches: bool) -> usize {
        let post = message.body.iter().rev().take_while(|byte| **byte == b' ').count();
        let left = message.deadline.saturating_duration_since(clock::now());
        let left = u64::try_from(left.as_millis()).unwrap();
        let attempt = message.attempt;
        let number = self.messages.fetch_add(1, Ordering::Relaxed);
        self.add(What::Sent { message: number, post, process, attempt, left, reaches });
        number
    }

    /// What the workers make of a message.
    pub(crate) fn worked(&self, call: CallId, attempt: u32) -> Vec<(Duration, Said, Arrival)> {
        let mut workers = self.workers.lock().unwrap();
        let comes = workers.take(call, attempt).into_iter();
        comes.map(|(after, said)| (after, said, workers.arrival(said))).collect()
    }

    pub(crate) fn on_the_way(&self, more: i64) {
        self.on_the_way.fetch_add(more, Ordering::Relaxed);
    }

    /// Lets others that are ready go first, now and then.
    pub(crate) async fn shuffle(&self) {
        let turns = self.jitter.lock().unwrap().pick(&[0, 0, 0, 1, 2, 5]);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    fn start(self: &Arc<Self>, slot: usize) {
        if self.process(self.slots.lock().unwrap()[slot]).is_some_and(|it| !it.is_dead()) {
            return;
        }
        self.start_anew(slot);
    }

    fn start_anew(self: &Arc<Self>, slot: usize) {
        let process = self.processes.lock().unwrap().len();
        self.add(What::Started { process, slot });
        let off_by = self.clocks.lock().unwrap()[slot];
        let started = Process::start(self, process, off_by);
        self.processes.lock().unwrap().push(started);
        self.slots.lock().unwrap()[slot] = process;
    }

    fn happen(self: &Arc<Self>, fault: Fault) {
        let at = |slot: usize| {
            let process = self.slots.lock().unwrap()[slot];
            self.process(process).map(|it| (process, it))
        };
        match fault {
            Fault::Crash(slot) => {
                if let Some((process, it)) = at(slot) {
                    self.add(What::Died { process });
                    it.die();
                }
            }
            Fault::Start(slot) => self.start(slot),
            Fault::Pause(slot) => {
                if let Some((process, it)) = at(slot) {
                    self.add(What::Paused { process });
                    it.pause();
                }
            }
            Fault::Wake(slot) => {
                if let Some((process, it)) = at(slot)
                    && !it.is_running()
                {
                    self.add(What::Woke { process });
                    it.wake();
                }
            }
            Fault::Mute(slot) => drop(at(slot).map(|(_, it)| it.set_link(Link::Mute))),
            Fault::Down(slot) => drop(at(slot).map(|(_, it)| it.set_link(Link::Down))),
            Fault::Up(slot) => drop(at(slot).map(|(_, it)| it.set_link(Link::Up))),
            Fault::WorkersLeave => self.workers.lock().unwrap().are_there = false,
            Fault::WorkersReturn => self.workers.lock().unwrap().are_there = true,
            Fault::Store(how) => {
                *self.store_is.lock().unwrap() = how;
                let (is_up, how) = match how {
                    StoreIs::Up => (true, "as it should be"),
                    StoreIs::Silent => (false, "silent"),
                    StoreIs::Slow(_) => (false, "slow"),
                    StoreIs::Fails(_) => (false, "refuses"),
                };
                self.add(What::Store { is_up, how });
            }
            Fault::StoreForgets => {
                self.store.clear();
                self.add(What::StoreForgot);
            }
            Fault::Clock(slot, off_by) => {
                self.clocks.lock().unwrap()[slot] = off_by;
                if let Some((_, it)) = at(slot) {
                    it.set_clock(off_by);
                }
            }
        }
    }

    async fn go_wrong(self: Arc<Self>) {
        let mut passed = 0;
        for (at, fault) in self.plan.faults.clone() {
            tokio::time::sleep(Duration::from_millis(at - passed)).await;
            passed = at;
            self.happen(fault);
        }
    }

    /// What is remembered anywhere.
    fn left(&self) -> (usize, (usize, usize), usize) {
        let processes = self.processes.lock().unwrap();
        let live = processes.iter().filter(|it| !it.is_dead()).map(|it| it.sizes());
        let sum = live.fold((0, (0, 0)), |(calls, (wait, late)), (more, (waiting, lates))| {
            (calls + more, (wait + waiting, late + lates))
        });
        (sum.0, sum.1, self.store.len())
    }

    /// Waits until everything is forgotten, at most as long as that may take.
    async fn forget(&self) {
        let Times { deadline, window, .. } = self.times();
        // A decision may come until the window is over, and is then remembered for another one.
        // Clocks may be wrong by 10 s, and the store keeps whole seconds.
        let mut left = (deadline + window * 2) / 1_000 + 15;
        while left > 0
            && (self.left() != (0, (0, 0), 0) || self.on_the_way.load(Ordering::Relaxed) > 0)
        {
            tokio::time::sleep(Duration::from_secs(1)).await;
            left -= 1;
        }
    }
}

/// The claims of a person: what makes the call.
fn claims(person: usize) -> String {
    format!(r#"{{"email":"{person}@example.com","city":"Ulm"}}"#)
}

fn fates(
    mut dice: Dice,
    (lost, unacknowledged, slow): (u64, u64, u64),
    store_is: Arc<Mutex<StoreIs>>,
) -> impl FnMut(bool) -> Fate + Send {
    move |_| {
        let usual = Fate::Done(dice.pick(&[0, 1, 1, 2, 4]));
        match *store_is.lock().unwrap() {
            StoreIs::Silent => return Fate::Lost,
            StoreIs::Slow(ms) => return Fate::Done(dice.between(ms / 2, ms)),
            StoreIs::Fails(fault) => return Fate::Fails(fault),
            StoreIs::Up => {}
        }
        match dice.below(100) {
            roll if roll < lost => Fate::Lost,
            roll if roll < lost + unacknowledged => Fate::Unacknowledged,
            roll if roll < lost + unacknowledged + slow => Fate::Done(dice.between(20, 1_500)),
            _ => usual,
        }
    }
}

/// One run with everything that happened in it.
pub(crate) struct Run {
    pub(crate) class: Class,
    pub(crate) plan: Plan,
    pub(crate) history: History,
}

impl Run {
    pub(crate) fn of(seed: u64) -> Self {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let times: Vec<_> = SETTINGS.iter().map(|setting| setting.times).collect();
            let world = World::new(seed, Plan::of(seed, &times));
            run(&world).await
        })
    }
}

async fn run(world: &Arc<World>) -> Run {
    (0..SLOTS).for_each(|slot| world.start_anew(slot));
    let faults = tokio::spawn(Arc::clone(world).go_wrong());
    let presses = world.plan.presses.clone().into_iter();
    let callers: Vec<_> =
        presses.map(|press| tokio::spawn(caller::press(Arc::clone(world), press))).collect();
    for caller in callers {
        caller.await.unwrap();
    }
    faults.await.unwrap();
    // Whatever still stands still goes on in the end.
    (0..SLOTS).for_each(|slot| world.happen(Fault::Wake(slot)));
    world.forget().await;
    // What looks for a record that is gone by now gives up.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (calls, messages, records) = world.left();
    let processes = std::mem::take(&mut *world.processes.lock().unwrap());
    let someone_died = processes.iter().any(|it| it.is_dead());
    processes.iter().for_each(|it| it.die());
    drop(processes);
    // Two tasks of each process end now, and nothing else may be left; of the dead, what they
    // were doing is.
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let tasks = if someone_died { 0 } else { tasks };
    world.add(What::Left { calls, messages, records, tasks });
    let history = std::mem::replace(&mut *world.history(), History::new());
    let plan = Plan {
        presses: world.plan.presses.clone(),
        faults: world.plan.faults.clone(),
        ..world.plan
    };
    Run { class: plan.class, plan, history }
}
