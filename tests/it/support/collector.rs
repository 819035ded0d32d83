//! A collector of spans that nobody here wrote (rotel): it speaks OTLP, and prints what it gets.

use std::{collections::BTreeMap, net::TcpListener, process::Command, sync::Mutex};

use super::{
    process::Program,
    real::{tool, until},
};

/// Takes spans; killed when dropped.
pub(crate) struct Collector {
    program: Program,
    /// Where OTLP over HTTP is spoken.
    pub(crate) port: u16,
    /// Where OTLP over gRPC is spoken.
    #[cfg_attr(not(feature = "grpc"), expect(dead_code, reason = "nobody speaks it"))]
    pub(crate) grpc_port: u16,
}

/// A span as the collector printed it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Span {
    pub(crate) trace_id: String,
    pub(crate) parent_id: String,
    pub(crate) id: String,
    pub(crate) name: String,
    /// `SERVER`, `PRODUCER` or `CONSUMER`.
    pub(crate) kind: String,
    /// `UNSET` or `ERROR`.
    pub(crate) status: String,
    /// Nanoseconds since 1970.
    pub(crate) start: u128,
    pub(crate) end: u128,
    pub(crate) attributes: BTreeMap<String, String>,
    /// Trace and span ids.
    pub(crate) links: Vec<(String, String)>,
    pub(crate) events: Vec<String>,
    /// Attributes of the program that sent it.
    pub(crate) resource: BTreeMap<String, String>,
}

impl Span {
    pub(crate) fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// Ports that nobody had a moment ago.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let [port, grpc_port] = free_ports();
        let mut command =
            Command::new(tool("COLLECTOR", ".tools/rotel-0.0.1a15/rotel/rotel-agent"));
        command.args(["start", "--exporter", "blackhole", "--batch-timeout", "20ms"]);
        command.args(["--debug-log", "traces", "--debug-log-verbosity", "detailed"]);
        command.args(["--otlp-http-endpoint", &format!("127.0.0.1:{port}")]);
        command.args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc_port}")]);
        let collector = Self { program: Program::spawn(command), port, grpc_port };
        until("the collector listens", async || {
            let is_running = collector.program.is_running();
            assert!(is_running, "{}{}", collector.program.out(), collector.program.err());
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        collector
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Everything that it printed.
    pub(crate) fn printed(&self) -> String {
        self.program.out() + &self.program.err()
    }

    /// Every span so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        spans(&self.program.out())
    }

    /// Waits until there are as many spans as that, and none more.
    pub(crate) async fn until_spans(&self, count: usize) -> Vec<Span> {
        self.until_spans_of(|_| true, count).await
    }

    /// The same for the spans of a request's trace, which is found by its call id.
    pub(crate) async fn until_trace(&self, call_id: &str, count: usize) -> Vec<Span> {
        let is_request = |span: &Span| span.attribute("connector-bridge.call.id") == call_id;
        let request = until("the request", async || self.spans().into_iter().find(is_request));
        let trace_id = request.await.trace_id;
        self.until_spans_of(|span| span.trace_id == trace_id, count).await
    }

    async fn until_spans_of(&self, is_meant: impl Fn(&Span) -> bool, count: usize) -> Vec<Span> {
        let before = Mutex::new(String::new());
        let spans = until("the spans", async || {
            let printed = self.program.out();
            let mut spans = spans(&printed);
            spans.retain(&is_meant);
            // The last one may be half printed.
            let is_whole =
                std::mem::replace(&mut *before.lock().unwrap(), printed.clone()) == printed;
            (is_whole && spans.len() >= count).then_some(spans)
        })
        .await;
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans
    }
}

/// Which list a line with an arrow belongs to.
enum List {
    Resource,
    Attributes,
    Links,
    Events,
}

fn spans(printed: &str) -> Vec<Span> {
    let (mut found, mut span, mut resource) = (Vec::new(), None::<Span>, BTreeMap::new());
    let mut list = List::Resource;
    for line in printed.lines() {
        if line.starts_with("ResourceSpans #") {
            found.extend(span.take());
            resource.clear();
            list = List::Resource;
        } else if line.starts_with("Span #") {
            found.extend(span.replace(Span { resource: resource.clone(), ..Span::default() }));
        } else if let Some(pair) = line.trim_start().strip_prefix("-> ") {
            // `name: Str(value)`, or `name: value` in links and events.
            let (name, value) = pair.split_once(": ").unwrap_or((pair.trim_end_matches(':'), ""));
            let typed = value.split_once('(').map(|(_, value)| value.trim_end_matches(')'));
            let typed = (name.to_owned(), typed.unwrap_or(value).to_owned());
            match (&list, &mut span) {
                (List::Resource, _) => drop(resource.insert(typed.0, typed.1)),
                (List::Attributes, Some(span)) => drop(span.attributes.insert(typed.0, typed.1)),
                (List::Links, Some(span)) if name == "Trace ID" => {
                    span.links.push((value.to_owned(), String::new()));
                }
                (List::Links, Some(span)) if name == "ID" => {
                    span.links.last_mut().unwrap().1 = value.to_owned();
                }
                (List::Events, Some(span)) if name == "Name" => span.events.push(value.to_owned()),
                (List::Attributes | List::Links | List::Events, _) => {}
            }
        } else if let Some(span) = &mut span {
            match line.trim() {
                "Attributes:" => list = List::Attributes,
                "Links:" => list = List::Links,
                "Events:" => list = List::Events,
                _ => {}
            }
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            let code = |prefix| value.strip_prefix(prefix).unwrap_or(value).to_owned();
            match name.trim() {
                "Trace ID" => span.trace_id = value.to_owned(),
                "Parent ID" => span.parent_id = value.to_owned(),
                "ID" => span.id = value.to_owned(),
                "Name" => span.name = value.to_owned(),
                "Kind" => span.kind = code("SPAN_KIND_"),
                "Start time" => span.start = value.parse().unwrap_or(0),
                "End time" => span.end = value.parse().unwrap_or(0),
                "Status code" => span.status = code("STATUS_CODE_"),
                _ => {}
            }
        }
    }
    found.extend(span);
    found
}
