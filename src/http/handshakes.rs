//! TLS handshakes, on a thread of their own with a small share of the cores.
//!
//! A handshake costs a signature before its client has proved anything, and a recorded hello can be
//! sent any number of times. So the threads that serve callers never do that work: they wait for it
//! as they wait for a worker.

use std::{
    io,
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::fair::Fair;
use crate::{budget::Source, clock};

/// The most handshakes that wait for their turn. With an RSA key and the smallest share that is two
/// or three seconds of work: who waits longer would be gone by the time of its turn.
const WAITING_MAX: usize = 512;

/// Less is not slept for, but slept for later.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// A thread that shakes hands. It ends with the last of these.
#[derive(Clone)]
pub struct Handshakes(Arc<Owner>);

impl Handshakes {
    /// Starts a thread that takes this share of one core at most.
    pub fn start(share: f64) -> io::Result<Self> {
        let queue = Arc::new(Queue {
            waiting: Mutex::new((Fair::new(WAITING_MAX), Open::Yes)),
            changed: Condvar::new(),
        });
        let own = Arc::clone(&queue);
        thread::Builder::new().name("handshakes".to_owned()).spawn(move || {
            // At the same priority as all others: now and then it holds a lock for which a serving
            // thread waits, and where cores are short a thread of low priority would hold it for long.
            own.work(Pace::new(share));
        })?;
        Ok(Self(Arc::new(Owner(queue))))
    }

    /// Does `work`, which comes from `address`, on that thread. Nothing where too many wait, and
    /// this is the one that has to go.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        address: IpAddr,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        let work = async move { drop(sender.send(work.await)) };
        let job = Arc::new(Job {
            source: Source::of(address),
            work: Mutex::new(Some(Box::pin(work))),
            is_queued: AtomicBool::new(false),
            is_given_up: AtomicBool::new(false),
            queue: Arc::clone(&self.0.0),
        });
        Arc::clone(&job).wake();
        let _waiting = Waiting(job);
        receiver.await.ok()
    }
}

/// Ends the thread when dropped.
struct Owner(Arc<Queue>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.lock().1 = Open::No;
        self.0.changed.notify_one();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Yes,
    No,
}

/// What can go on, and waits for the thread.
struct Queue {
    waiting: Mutex<(Fair<Arc<Job>>, Open)>,
    changed: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, (Fair<Arc<Job>>, Open)> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Arc<Job>) {
        let too_many = self.lock().0.push(job.source, job);
        self.changed.notify_one();
        if let Some(job) = too_many {
            job.give_up();
        }
    }

    /// The next one; nothing at the end.
    fn next(&self) -> Option<Arc<Job>> {
        let mut waiting = self.lock();
        loop {
            match (waiting.0.pop(), waiting.1) {
                (Some(job), _) => return Some(job),
                (None, Open::No) => return None,
                (None, Open::Yes) => {
                    waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    fn work(&self, mut pace: Pace) {
        let mut before = clock::thread_cpu();
        while let Some(job) = self.next() {
            job.go_on();
            drop(job);
            let after = clock::thread_cpu();
            let pause = pace.pause(clock::now(), after.saturating_sub(before));
            before = after;
            if let Some(pause) = pause {
                thread::sleep(pause);
            }
        }
    }
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One handshake: goes on whenever it is woken, when its turn has come.
struct Job {
    source: Source,
    work: Mutex<Option<Work>>,
    is_queued: AtomicBool,
    is_given_up: AtomicBool,
    queue: Arc<Queue>,
}

impl Wake for Job {
    fn wake(self: Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::AcqRel) {
            Arc::clone(&self.queue).push(self);
        }
    }
}

impl Job {
    fn go_on(self: &Arc<Self>) {
        // First, so that whatever comes from now on wakes it again.
        self.is_queued.store(false, Ordering::Release);
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(future) = work.as_mut() {
            let waker = Waker::from(Arc::clone(self));
            let poll = || future.as_mut().poll(&mut Context::from_waker(&waker));
            match catch_unwind(AssertUnwindSafe(poll)) {
                Ok(Poll::Pending) => {}
                // One that panics, which is counted, takes no other with it.
                Ok(Poll::Ready(())) | Err(_) => *work = None,
            }
        }
        drop(work);
        if self.is_given_up.load(Ordering::SeqCst) {
            self.give_up();
        }
    }

    /// Lets go of the connection: at once or, if the thread is just at work on it, right after.
    fn give_up(&self) {
        self.is_given_up.store(true, Ordering::SeqCst);
        let work = match self.work.try_lock() {
            Ok(mut work) => work.take(),
            Err(_) => None,
        };
        drop(work);
    }
}

/// Gives a job up when dropped: nobody waits for it any longer.
struct Waiting(Arc<Job>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// Keeps to a share of one core. Low priority would not do: under a quota, what this thread takes
/// from an idle core is missing to the others afterwards.
struct Pace {
    /// The pause that a second of work is followed by.
    rest: f64,
    /// Until when there is nothing more to do by that.
    free_at: Option<Instant>,
}

impl Pace {
    fn new(share: f64) -> Self {
        Self { rest: 1.0 / share.clamp(0.001, 1.0) - 1.0, free_at: None }
    }

    /// The pause that is due `now` that so much more of the core's time was `used`.
    fn pause(&mut self, now: Instant, used: Duration) -> Option<Duration> {
        let from = self.free_at.map_or(now, |free_at| free_at.max(now));
        let free_at = from + used.mul_f64(self.rest);
        self.free_at = Some(free_at);
        Some(free_at.saturating_duration_since(now)).filter(|pause| *pause >= PAUSE_MIN)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{
        http::listener::{self, Terms, Tls},
        lifecycle,
        metrics::Metrics,
        secrets::Live,
        tls::{ClientTls, ServerTls},
    };

    const SOMEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// How long anything that should happen soon may take on a busy machine.
    const SOON: Duration = Duration::from_secs(20);

    /// A stranger that shows by being dropped that its connection is let go of.
    struct Connection(mpsc::Sender<()>);

    impl Drop for Connection {
        fn drop(&mut self) {
            self.0.send(()).unwrap_or_default();
        }
    }

    #[tokio::test]
    async fn work_is_done_on_a_thread_of_its_own_and_goes_on_when_it_is_woken() {
        let handshakes = Handshakes::start(1.0).unwrap();
        let (bytes, more) = oneshot::channel();
        let work = async {
            let before = thread::current().name().map(str::to_owned);
            let more: u8 = more.await.unwrap();
            (before, more, thread::current().name().map(str::to_owned))
        };
        let later = async {
            tokio::task::yield_now().await;
            bytes.send(7).unwrap();
        };
        let name = Some("handshakes".to_owned());
        let (done, ()) = tokio::join!(handshakes.run(SOMEWHERE, work), later);
        assert_eq!(done, Some((name.clone(), 7, name)));
        // One that panics takes no other with it.
        let panics = async { assert!(thread::panicking(), "as it should") };
        assert_eq!(handshakes.run(SOMEWHERE, panics).await, None);
        assert_eq!(handshakes.run(SOMEWHERE, async { 8 }).await, Some(8));
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_longer_is_let_go_of() {
        let handshakes = Handshakes::start(1.0).unwrap();
        let (sender, gone) = mpsc::channel();
        let gone = || gone.recv_timeout(SOON).unwrap();
        // While it waits for bytes.
        let connection = Connection(sender.clone());
        let silent = async move {
            let _connection = connection;
            std::future::pending::<()>().await;
        };
        let given_up =
            tokio::time::timeout(Duration::from_millis(20), handshakes.run(SOMEWHERE, silent));
        assert!(given_up.await.is_err());
        gone();
        // While the thread is at work on it, and while it waits for its turn behind that.
        let (go_on, blocked) = mpsc::channel::<()>();
        let waker: Arc<Mutex<Option<Waker>>> = Arc::default();
        let wakes = Arc::clone(&waker);
        let connection = Connection(sender.clone());
        let long = async move {
            let _connection = connection;
            blocked.recv().unwrap_or_default();
            // Whoever may wake it keeps it alive, as a socket does that is part of it.
            let keep = |context: &mut Context<'_>| {
                *wakes.lock().unwrap() = Some(context.waker().clone());
                Poll::<()>::Pending
            };
            std::future::poll_fn(keep).await;
        };
        let connection = Connection(sender);
        let behind = async move { drop(connection) };
        let both = async {
            tokio::join!(handshakes.run(SOMEWHERE, long), handshakes.run(SOMEWHERE, behind))
        };
        assert!(tokio::time::timeout(Duration::from_millis(20), both).await.is_err());
        gone();
        go_on.send(()).unwrap();
        gone();
    }

    #[tokio::test]
    async fn the_oldest_of_the_busiest_address_goes_where_too_many_wait() {
        let handshakes = Handshakes::start(1.0).unwrap();
        let (go_on, blocked) = mpsc::channel::<()>();
        let (started, is_blocked) = oneshot::channel();
        let long = async move {
            started.send(()).unwrap();
            blocked.recv().unwrap_or_default();
        };
        let other = handshakes.clone();
        let long = tokio::spawn(async move { other.run(SOMEWHERE, long).await });
        is_blocked.await.unwrap();
        let honest: IpAddr = [192, 0, 2, 1].into();
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0..=WAITING_MAX {
            let handshakes = handshakes.clone();
            let address = if number == 0 { honest } else { SOMEWHERE };
            waiting.spawn(async move { (number, handshakes.run(address, async {}).await) });
        }
        let first = waiting.join_next().await.unwrap().unwrap();
        assert_eq!(first, (1, None), "the oldest of the address that sends many");
        go_on.send(()).unwrap();
        assert_eq!(long.await.unwrap(), Some(()));
        for (number, done) in waiting.join_all().await {
            assert_eq!(done, Some(()), "{number}");
        }
    }

    #[test]
    fn the_thread_keeps_to_its_share() {
        let start = clock::now();
        let at = |ms| start + Duration::from_millis(ms);
        let used = Duration::from_micros;
        let mut quarter = Pace::new(0.25);
        assert_eq!(quarter.pause(at(0), used(2_000)), Some(Duration::from_millis(6)));
        assert_eq!(quarter.pause(at(6), used(100)), None);
        assert_eq!(quarter.pause(at(6), used(300)), Some(used(1_200)), "with what was left");
        // Time that was not used is not saved up.
        assert_eq!(quarter.pause(at(5_000), used(2_000)), Some(Duration::from_millis(6)));
        let mut whole = Pace::new(1.0);
        assert_eq!(whole.pause(at(0), used(1_000_000)), None);
    }

    #[tokio::test]
    async fn calls_on_open_connections_are_answered_while_handshakes_are_at_work() {
        let (server, gate) = ServerTls::behind_a_gate();
        let client = ClientTls::of_own(&server).unwrap();
        let tls = Tls {
            shown: Arc::new(Live::fixed(server)),
            authorities: None,
            handshakes: Handshakes::start(1.0).unwrap(),
        };
        let listener = listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let terms = Terms { tls: Some(Arc::new(tls)), ..Terms::plain(SOON, 100) };
        let service = |_, _, _| async { http::Response::new(String::from("answer")) };
        let (stop, stopping) = lifecycle::new();
        let metrics = Metrics::new().unwrap();
        let serving = listener::serve(listener, terms, metrics, stopping, service);
        // A runtime of its own, which stands still as soon as a handshake does.
        let serving = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(serving).unwrap();
        });
        let connect = async || {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            client.connect("localhost", stream).await.unwrap()
        };
        let mut open = connect().await;
        gate.shut();
        let connect = &connect;
        let handshakes = futures_util::future::join_all((0..10).map(|_| connect()));
        let calls = async {
            gate.until_somebody_waits().await;
            for _ in 0..3 {
                open.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
                let mut answer = vec![0; 1_000];
                let read = open.read(&mut answer).await.unwrap();
                assert!(answer[..read].starts_with(b"HTTP/1.1 200 OK"));
            }
            gate.open();
        };
        let (shaken, ()) =
            tokio::time::timeout(SOON, async { tokio::join!(handshakes, calls) }).await.unwrap();
        assert_eq!(shaken.len(), 10);
        assert_eq!(gate.threads(), ["handshakes"]);
        drop((stop, open, shaken));
        serving.join().unwrap();
    }
}
