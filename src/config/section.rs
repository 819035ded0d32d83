//! Reading a YAML tree: every fault is kept with its path and line, and reading goes on.

use std::{
    cell::{Cell, RefCell},
    fmt,
};

use saphyr::{MarkedYaml, YamlData, YamlLoader};
use saphyr_parser::{Event, Parser, ScalarStyle, SpannedEventReceiver};

/// One fault of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where, from the root: `connectors.approve.auth.basic[0].username`.
    pub path: String,
    /// The line in the file, where there is one.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, what } = self;
        match (path.is_empty(), line) {
            (true, Some(line)) => write!(f, "{what} (line {line})"),
            (true, None) => f.write_str(what),
            (false, Some(line)) => write!(f, "{path}: {what} (line {line})"),
            (false, None) => write!(f, "{path}: {what}"),
        }
    }
}

/// The faults found so far.
#[derive(Default)]
pub(super) struct Faults(RefCell<Vec<Fault>>);

impl Faults {
    fn add(&self, path: &str, line: Option<usize>, what: impl Into<String>) {
        self.0.borrow_mut().push(Fault { path: path.to_owned(), line, what: what.into() });
    }

    /// All of them, in the order of the file.
    pub(super) fn into_all(self) -> Vec<Fault> {
        let mut faults = self.0.into_inner();
        faults.sort_by_key(|fault| fault.line);
        faults.dedup();
        faults
    }
}

/// Settings are at most 6 deep. What is deeper than this is not built: the library builds and drops
/// a tree by recursion, and a stack has an end.
const DEPTH_MAX: usize = 16;

/// The one document in `text`.
pub(super) fn load<'a>(text: &'a str, faults: &Faults) -> Option<MarkedYaml<'a>> {
    let mut loader = YamlLoader::default();
    loader.early_parse(false);
    let mut depth = 0_usize;
    for event in Parser::new_from_str(text) {
        let (event, span) = event
            .map_err(|error| faults.add("", Some(error.marker().line()), error.info()))
            .ok()?;
        if matches!(event, Event::MappingStart(..) | Event::SequenceStart(..)) {
            depth += 1;
        } else if matches!(event, Event::MappingEnd | Event::SequenceEnd) {
            depth = depth.saturating_sub(1);
        }
        if depth > DEPTH_MAX {
            faults.add("", Some(span.start.line()), "is nested too deeply");
            return None;
        }
        loader.on_event(event, span);
    }
    if let Some(error) = loader.error() {
        faults.add("", Some(error.marker().line()), error.info());
        return None;
    }
    let mut documents: Vec<MarkedYaml<'a>> = loader.into_documents();
    match (documents.pop(), documents.is_empty()) {
        (Some(document), true) => Some(document),
        (None, _) => {
            faults.add("", None, "the configuration is empty");
            None
        }
        (Some(_), false) => {
            faults.add("", None, "there is more than one document");
            None
        }
    }
}

/// One mapping. Remembers which of its keys were asked for; the others are faults.
pub(super) struct Section<'a> {
    path: String,
    line: usize,
    entries: Vec<Entry<'a>>,
    faults: &'a Faults,
}

struct Entry<'a> {
    key: String,
    node: &'a MarkedYaml<'a>,
    line: usize,
    known: Cell<bool>,
}

impl<'a> Section<'a> {
    pub(super) fn of(node: &'a MarkedYaml<'a>, path: String, faults: &'a Faults) -> Option<Self> {
        let line = node.span.start.line();
        let YamlData::Mapping(mapping) = &node.data else {
            faults.add(&path, Some(line), "must be a mapping of keys to values");
            return None;
        };
        let mut entries: Vec<Entry<'a>> = Vec::with_capacity(mapping.len());
        for (key, node) in mapping {
            let line = key.span.start.line();
            let YamlData::Representation(key, _, _) = &key.data else {
                faults.add(&path, Some(line), "has a key that is not text");
                continue;
            };
            if entries.iter().any(|entry| entry.key == **key) {
                faults.add(&join(&path, key), Some(line), "stands twice");
            }
            entries.push(Entry { key: key.to_string(), node, line, known: Cell::new(false) });
        }
        Some(Self { path, line, entries, faults })
    }

    fn get(&self, key: &str) -> Option<&Entry<'a>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        entry.known.set(true);
        Some(entry)
    }

    /// Whether the key is written.
    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Notes a fault at `key`, or at the section itself where `key` is empty.
    pub(super) fn fault(&self, key: &str, what: impl Into<String>) {
        let line = self.entries.iter().find(|entry| entry.key == key).map(|entry| entry.line);
        self.faults.add(&join(&self.path, key), Some(line.unwrap_or(self.line)), what);
    }

    /// The value at `key`; `None` where it is not written or not right.
    pub(super) fn value<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let entry = self.get(key)?;
        parse_scalar(entry.node, &parse).map_err(|what| self.fault(key, what)).ok()
    }

    /// The value at `key`, or `default` where it is not written.
    pub(super) fn or<T>(
        &self,
        key: &str,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        self.value(key, parse).unwrap_or(default)
    }

    /// The value at `key`, which must be written.
    pub(super) fn required<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        if !self.has(key) {
            self.fault(key, "must be written");
        }
        self.value(key, parse)
    }

    /// The values at two keys of which none is of use alone.
    pub(super) fn both<T, U>(
        &self,
        first: &str,
        parse_first: impl Fn(&str) -> Result<T, String>,
        second: &str,
        parse_second: impl Fn(&str) -> Result<U, String>,
    ) -> Option<(T, U)> {
        if self.has(first) != self.has(second) {
            self.fault(first, format!("goes together with {second}"));
        }
        self.value(first, parse_first).zip(self.value(second, parse_second))
    }

    /// The list of values at `key`; `None` where it is not written. An empty list is a fault only
    /// where the caller says so.
    pub(super) fn list<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let items = self.items(key)?;
        let mut parsed = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            match parse_scalar(item, &parse) {
                Ok(item) => parsed.push(item),
                Err(what) => {
                    let path = format!("{}[{at}]", join(&self.path, key));
                    self.faults.add(&path, Some(item.span.start.line()), what);
                }
            }
        }
        Some(parsed)
    }

    /// The list of mappings at `key`; `None` where it is not written.
    pub(super) fn sections(&self, key: &str) -> Option<Vec<Section<'a>>> {
        let path = join(&self.path, key);
        let section = |(at, item)| Section::of(item, format!("{path}[{at}]"), self.faults);
        Some(self.items(key)?.iter().enumerate().filter_map(section).collect())
    }

    fn items(&self, key: &str) -> Option<&'a [MarkedYaml<'a>]> {
        match &self.get(key)?.node.data {
            YamlData::Sequence(items) => Some(items),
            YamlData::Representation(..)
            | YamlData::Value(_)
            | YamlData::Mapping(_)
            | YamlData::Tagged(..)
            | YamlData::Alias(_)
            | YamlData::BadValue => {
                self.fault(key, "must be a list");
                None
            }
        }
    }

    /// The mapping at `key`; `None` where it is not written.
    pub(super) fn sub(&self, key: &str) -> Option<Section<'a>> {
        Section::of(self.get(key)?.node, join(&self.path, key), self.faults)
    }

    /// The text at `key` where a single word stands there, and not a list or a mapping.
    pub(super) fn word(&self, key: &str) -> Option<&'a str> {
        match &self.get(key)?.node.data {
            YamlData::Representation(text, _, _) => Some(text),
            YamlData::Value(_)
            | YamlData::Sequence(_)
            | YamlData::Mapping(_)
            | YamlData::Tagged(..)
            | YamlData::Alias(_)
            | YamlData::BadValue => None,
        }
    }

    /// Every key with its mapping.
    pub(super) fn subs(&self) -> Vec<(String, Section<'a>)> {
        let sub = |entry: &Entry<'a>| Some((entry.key.clone(), self.sub(&entry.key)?));
        self.entries.iter().filter_map(sub).collect()
    }

    /// Every key with its value.
    pub(super) fn values<T>(&self, parse: impl Fn(&str) -> Result<T, String>) -> Vec<(String, T)> {
        let value = |entry: &Entry<'a>| Some((entry.key.clone(), self.value(&entry.key, &parse)?));
        self.entries.iter().filter_map(value).collect()
    }

    /// A list that must not be empty where it is written.
    pub(super) fn refuse_empty_list(&self, key: &str, why: &str) {
        if self.items(key).is_some_and(<[_]>::is_empty) {
            self.fault(key, why);
        }
    }

    /// All keys have been asked for: the others are unknown.
    pub(super) fn finish(&self) {
        for entry in self.entries.iter().filter(|entry| !entry.known.get()) {
            self.fault(&entry.key, "is not a known key");
        }
    }
}

fn parse_scalar<T>(
    node: &MarkedYaml<'_>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<T, String> {
    match &node.data {
        YamlData::Representation(text, ScalarStyle::Plain, None)
            if matches!(&**text, "" | "~" | "null") =>
        {
            Err("has no value".to_owned())
        }
        YamlData::Representation(text, _, None) => parse(text),
        YamlData::Representation(_, _, Some(_))
        | YamlData::Value(_)
        | YamlData::Sequence(_)
        | YamlData::Mapping(_)
        | YamlData::Tagged(..)
        | YamlData::Alias(_)
        | YamlData::BadValue => Err("must be a single value".to_owned()),
    }
}

fn join(path: &str, key: &str) -> String {
    match (path.is_empty(), key.is_empty()) {
        (true, _) => key.to_owned(),
        (false, true) => path.to_owned(),
        (false, false) => format!("{path}.{key}"),
    }
}
