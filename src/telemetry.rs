//! Log lines: made where they happen, written by a thread of their own, dropped and counted
//! rather than waited for.

use std::io;

use tracing::{Level, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    Layer, filter::LevelFilter, filter::Targets, layer::Context, layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{
    config::{LogFormat, LogLevel, LogSettings},
    metrics::Metrics,
};

/// How many lines may wait to be written.
const LINES_MAX: usize = 8_192;

/// Writes what is left when it is dropped.
pub struct Logs {
    _guard: WorkerGuard,
    dropped: ErrorCounter,
}

/// Sends the log lines of this process to standard error.
pub fn start(settings: LogSettings, metrics: &Metrics) -> Logs {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LINES_MAX)
        .finish(io::stderr());
    let dropped = writer.error_counter();
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    let lines = match settings.format {
        LogFormat::Json => lines.json().flatten_event(true).with_target(false).boxed(),
        LogFormat::Text => lines.with_target(false).boxed(),
    };
    let level = level(settings.level);
    // Libraries speak of their own affairs below a warning.
    let targets = Targets::new()
        .with_target(env!("CARGO_CRATE_NAME"), level)
        // The end of a client that has lost its connection; `nats` says so in its own words.
        .with_target("async_nats::connector", LevelFilter::OFF)
        .with_default(level.min(LevelFilter::WARN));
    let count = Count(metrics.clone());
    // In a process with several bridges, as in tests, the first one's logs are everybody's.
    drop(
        tracing_subscriber::registry().with(lines.and_then(count).with_filter(targets)).try_init(),
    );
    Logs { _guard: guard, dropped }
}

impl Logs {
    /// Brings the counter of dropped lines up to date.
    pub fn refresh(&self, metrics: &Metrics) {
        let dropped = self.dropped.dropped_lines() as u64;
        let counter = &metrics.log_messages_dropped;
        counter.inc_by(dropped.saturating_sub(counter.get()));
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

fn level(level: LogLevel) -> LevelFilter {
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
