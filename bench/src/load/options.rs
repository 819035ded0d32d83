//! The command line.

use std::{ffi::OsString, time::Duration};

use lexopt::{
    Arg::{Long, Short, Value},
    Parser, ValueExt,
};

use super::Failure;

/// What is measured, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who is called.
    pub target: Target,
    /// When.
    pub pace: Pace,
    /// How long calls are made before they count.
    pub warmup: Duration,
    /// How long they count.
    pub counted: Duration,
    /// The length of what is posted, in bytes.
    pub body_bytes: usize,
    /// What every answer must hold.
    pub expect: String,
    /// Whose CPU time is read.
    pub watch: Vec<u32>,
}

/// Who is called.
#[derive(Clone, Debug)]
pub enum Target {
    /// Bridges, over HTTP.
    Http(Http),
    /// A worker, over NATS.
    Nats(Nats),
    /// A bridge to which connections are held that say nothing.
    Idle {
        /// Host and port.
        address: String,
        /// How many.
        connections: usize,
    },
}

/// Where calls go over HTTP.
#[derive(Clone, Debug)]
pub struct Http {
    /// Host and port of each; connections are spread over them.
    pub addresses: Vec<String>,
    /// Calls go to `/connectors/bench`, or by turns to `/connectors/bench-0` and so on.
    pub connectors: usize,
    /// What `Authorization` says, if anything.
    pub authorization: Option<String>,
}

/// Where calls go over NATS.
#[derive(Clone, Debug)]
pub struct Nats {
    /// The server's URL.
    pub url: String,
    /// Where the worker listens.
    pub subject: String,
}

/// When calls are made.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// The next one when one has ended, with so many on their way.
    Closed(usize),
    /// So many a second, whatever becomes of them: a Poisson process.
    Open(f64),
}

impl Options {
    /// `http`, `nats` or `idle`, and options.
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self, Failure> {
        let mut parser = Parser::from_args(words);
        let Some(Value(verb)) = parser.next()? else { return Err("http, nats or idle?".into()) };
        let (mut to, mut subject, mut authorization) = (Vec::new(), String::new(), None);
        let (mut connectors, mut connections) = (1, 0);
        let mut options = Self {
            target: Target::Idle { address: String::new(), connections },
            pace: Pace::Closed(1),
            warmup: Duration::ZERO,
            counted: Duration::from_secs(1),
            body_bytes: 700,
            expect: r#""Continue""#.to_owned(),
            watch: Vec::new(),
        };
        while let Some(argument) = parser.next()? {
            match argument {
                Long("to") => to.push(parser.value()?.string()?),
                Long("subject") => subject = parser.value()?.string()?,
                Long("authorization") => authorization = Some(parser.value()?.string()?),
                Long("connectors") => connectors = parser.value()?.parse()?,
                Long("connections") => connections = parser.value()?.parse()?,
                Long("in-flight") => options.pace = Pace::Closed(parser.value()?.parse()?),
                Long("rate") => options.pace = Pace::Open(parser.value()?.parse()?),
                Long("warmup") => options.warmup = seconds(&mut parser)?,
                Long("seconds") => options.counted = seconds(&mut parser)?,
                Long("body") => options.body_bytes = parser.value()?.parse()?,
                Long("expect") => options.expect = parser.value()?.string()?,
                Long("watch") => options.watch.push(parser.value()?.parse()?),
                other @ (Short(_) | Long(_) | Value(_)) => return Err(other.unexpected().into()),
            }
        }
        let first = to.first().cloned().ok_or("--to is missing")?;
        options.target = match verb.to_str() {
            Some("http") => Target::Http(Http { addresses: to, connectors, authorization }),
            Some("nats") => Target::Nats(Nats { url: first, subject }),
            Some("idle") => Target::Idle { address: first, connections },
            Some(_) | None => return Err("http, nats or idle?".into()),
        };
        Ok(options)
    }
}

fn seconds(parser: &mut Parser) -> Result<Duration, Failure> {
    Ok(Duration::try_from_secs_f64(parser.value()?.parse()?)?)
}
