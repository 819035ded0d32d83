//! The command line: what is asked for, and the exit code of how it ended.

mod check;
mod demo;
mod schema;
mod send;
mod serve;
mod worker_check;

use std::{
    fmt,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use lexopt::{Arg, ValueExt};

use crate::{app::StartError, config::Config, traces::TraceError};

const HELP: &str = "\
connector-bridge: lets NATS workers decide API connector calls

Usage:
  connector-bridge serve --config FILE
      runs the bridge
  connector-bridge check --config FILE [--files]
      validates a configuration and prints it with all defaults; with --files
      also reads the files that it names
  connector-bridge send URL [--protocol P] [--step S] [--claims FILE]
                        [--user U --password-file F] [--api-key-file F]
                        [--cert F --key F] [--ca F] [--decided]
      plays the caller once and prints what the person would see
      (defaults: --protocol entra, --step before-create, sample claims, the
      certificate authorities of the system); with --decided a fallback is a
      failure too
  connector-bridge demo [--once] [--nats-server PATH]
      starts a nats-server, an example worker and the bridge, plays sample
      sign-ups, and opens the playground's page; with --once it ends after the
      samples, without a page
  connector-bridge worker-check SUBJECT [--server URL]
                        [--credentials-file F | --nkey-file F | --token-file F |
                        --user U --password-file F] [--ca F] [--cert F --key F]
                        [--protocol P] [--step S] [--connector NAME]
                        [--claims FILE] [--deadline D] [--burst N] [--wait D]
                        [--effects SUBJECT] [--inbox-prefix PREFIX]
                        [--format text|json]
      plays the bridge: sends the worker on SUBJECT every kind of call, and says
      row by row whether its replies keep the contract
      (defaults: --server nats://127.0.0.1:4222; connector, protocol and step as
      in connectors.NAME.STEP, else worker-check, entra, before-create; sample
      claims; the protocol's deadline; --burst 200; --wait 5s for a worker to
      start; with --effects it counts the messages that the worker publishes for
      one kind of effect; --inbox-prefix as nats.inbox_prefix of the bridge)
  connector-bridge schema [config|decision|call|event]
      prints a JSON Schema
  connector-bridge --help | --version

Exit codes: 0 done, 64 command line, 69 an address cannot be bound (for
worker-check: NATS cannot be reached, or refuses something), 70 internal, 78
configuration. send: 1 where the answer breaks the contract or, with --decided,
no worker decided; worker-check: 1 where a row fails; demo --once: 1 where a
sign-up came out otherwise than it should.
";

/// How a command ended otherwise than well.
#[derive(Debug)]
pub enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// The configuration, or a file that it names, is wrong.
    Config(String),
    /// A listen address cannot be bound, or a server is not there.
    Unavailable(String),
    /// Something that should never fail.
    Internal(String),
    /// The command did its work, and what it found is not as it should be. Already printed.
    Found,
}

impl Failure {
    /// The codes of `sysexits.h`; 1 where the command itself worked.
    fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 64,
            Failure::Unavailable(_) => 69,
            Failure::Internal(_) => 70,
            Failure::Config(_) => 78,
            Failure::Found => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(text) => write!(f, "{text}\nTry connector-bridge --help."),
            Failure::Config(text) | Failure::Unavailable(text) | Failure::Internal(text) => {
                f.write_str(text)
            }
            Failure::Found => Ok(()),
        }
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Failure::Usage(error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let text = error.to_string();
        match error {
            StartError::Config(_) | StartError::Traces(TraceError::Unusable(_)) => {
                Failure::Config(text)
            }
            StartError::Listen { .. } => Failure::Unavailable(text),
            StartError::Internal(_) | StartError::Traces(TraceError::Internal(_)) => {
                Failure::Internal(text)
            }
        }
    }
}

/// Runs what the command line asks for.
pub fn run(arguments: lexopt::Parser) -> ExitCode {
    match dispatch(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.to_string();
            if !text.is_empty() {
                // Nobody is left to tell where standard error is closed.
                drop(writeln!(std::io::stderr(), "connector-bridge: {text}"));
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(mut arguments: lexopt::Parser) -> Result<(), Failure> {
    if asks_for_help(arguments.clone()) {
        print(HELP);
        return Ok(());
    }
    match arguments.next()? {
        Some(Arg::Value(command)) => match command.string()?.as_str() {
            "serve" => serve::run(arguments),
            "check" => check::run(arguments),
            "send" => send::run(arguments),
            "demo" => demo::run(arguments),
            "schema" => schema::run(arguments),
            "worker-check" => worker_check::run(arguments),
            other => Err(Failure::Usage(format!("unknown command {other:?}"))),
        },
        Some(Arg::Long("version") | Arg::Short('V')) => {
            print(&format!("connector-bridge {} ({})\n", crate::VERSION, crate::REVISION));
            Ok(())
        }
        Some(other @ (Arg::Long(_) | Arg::Short(_))) => Err(other.unexpected().into()),
        None => Err(Failure::Usage("no command given".to_owned())),
    }
}

/// Whether help is asked for, before or behind a command.
fn asks_for_help(mut arguments: lexopt::Parser) -> bool {
    arguments.raw_args().is_ok_and(|mut words| words.any(|word| word == "--help" || word == "-h"))
}

/// Prints to standard output. A reader that has gone away is not missed.
fn print(text: &str) {
    let mut out = std::io::stdout();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Options that take a value: `--name VALUE` or `--name=VALUE`.
fn file(arguments: &mut lexopt::Parser) -> Result<PathBuf, Failure> {
    Ok(arguments.value()?.into())
}

/// Both values, or none.
fn both<T, U>(
    options: &str,
    first: Option<T>,
    second: Option<U>,
) -> Result<Option<(T, U)>, Failure> {
    match (first, second) {
        (Some(first), Some(second)) => Ok(Some((first, second))),
        (None, None) => Ok(None),
        (_, _) => Err(Failure::Usage(format!("{options} go together"))),
    }
}

fn read_config(file: Option<&Path>) -> Result<Config, Failure> {
    let file = file.ok_or_else(|| Failure::Usage("--config FILE is missing".to_owned()))?;
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::Config(format!("{}: cannot be read: {}", file.display(), error.kind()))
    })?;
    let config = Config::parse(&text);
    config.map_err(|error| Failure::Config(format!("{}: {error}", file.display())))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Internal(format!("no runtime: {error}")))
}
