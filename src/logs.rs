//! Log lines: made where they happen, written by a thread of their own, dropped and counted
//! rather than waited for. Their level can be changed while the bridge runs.

mod json;

use std::{
    io::{self, BufWriter, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tracing::{Level, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets},
    layer::{Context, SubscriberExt},
    reload,
    util::SubscriberInitExt,
};

use self::json::JsonLines;
use crate::{
    config::{LogFormat, LogLevel, LogSettings},
    metrics::Metrics,
};

/// How many lines may wait to be written.
const LINES_MAX: usize = 8_192;

/// How many bytes of lines that wait are written at once.
const BATCH_BYTES: usize = 32 * 1024;

/// How long the thread rests when it has written what there was. Lines that come meanwhile are
/// written together: to wake it for each would cost more than the line.
const BATCH_PAUSE: Duration = Duration::from_millis(10);

/// Writes what is left when it is dropped.
pub struct Logs {
    _guard: WorkerGuard,
    dropped: ErrorCounter,
    level: Mutex<LogLevel>,
    filter: reload::Handle<Targets, Registry>,
}

/// Sends the log lines of this process to standard error.
pub fn start(settings: LogSettings, metrics: &Metrics) -> Logs {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LINES_MAX)
        .finish(InBatches(BufWriter::with_capacity(BATCH_BYTES, io::stderr())));
    let dropped = writer.error_counter();
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    let lines = match settings.format {
        LogFormat::Json => lines.event_format(JsonLines).boxed(),
        LogFormat::Text => lines.with_target(false).boxed(),
    };
    let (targets, filter) = reload::Layer::new(targets(settings.level));
    let count = Count(metrics.clone());
    // In a process with several bridges, as in tests, the first one's logs are everybody's.
    drop(
        tracing_subscriber::registry().with(lines.and_then(count).with_filter(targets)).try_init(),
    );
    Logs { _guard: guard, dropped, level: Mutex::new(settings.level), filter }
}

/// Rests after each flush, which ends a batch.
struct InBatches<W>(W);

impl<W: Write> Write for InBatches<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        thread::sleep(BATCH_PAUSE);
        Ok(())
    }
}

/// Which lines are written at `level`.
fn targets(level: LogLevel) -> Targets {
    let level = level_filter(level);
    // Libraries speak of their own affairs below a warning.
    Targets::new()
        .with_target(env!("CARGO_CRATE_NAME"), level)
        // The end of a client that has lost its connection; `nats` says so in its own words.
        .with_target("async_nats::connector", LevelFilter::OFF)
        .with_default(level.min(LevelFilter::WARN))
}

impl Logs {
    /// Brings the counter of dropped lines up to date.
    pub fn refresh(&self, metrics: &Metrics) {
        let dropped = self.dropped.dropped_lines() as u64;
        let counter = &metrics.log_messages_dropped;
        counter.inc_by(dropped.saturating_sub(counter.get()));
    }

    /// The least important level that is written now.
    pub fn level(&self) -> LogLevel {
        *self.lock()
    }

    /// From now on, until the process ends, lines from this level up are written. So is this change,
    /// where either level has warnings.
    pub fn set_level(&self, level: LogLevel) {
        let mut current = self.lock();
        let (from, to) = (current.word(), level.word());
        if self.filter.reload(targets(level.max(*current))).is_ok() {
            tracing::warn!(from, to, "the log level is changed");
            *current = level;
            drop(self.filter.reload(targets(level)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, LogLevel> {
        self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts panics and logs where they happened: their text may hold claims and is not logged.
pub fn count_panics(metrics: &Metrics) {
    let panics = metrics.panics.clone();
    std::panic::set_hook(Box::new(move |info| {
        panics.inc();
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a panic: the call gets its fallback");
    }));
}

fn level_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

struct Count(Metrics);

impl<S: Subscriber> Layer<S> for Count {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        self.0.logged(match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        });
    }
}
