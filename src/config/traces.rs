//! Where spans go: the standard variables of OpenTelemetry, as far as they decide whether and how
//! anything is exported. Sampling, batches, headers and the resource are read by its SDK.

use std::{cell::RefCell, ops::RangeInclusive, path::PathBuf, time::Duration};

use http::Uri;

use super::{ClientTlsSettings, ConfigError, Fault};

/// How spans reach the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceTransport {
    /// OTLP over HTTP, as protobuf.
    Http,
    /// OTLP over gRPC.
    Grpc,
}

/// What the bridge itself has to know of the exporter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceSettings {
    /// How spans reach the collector.
    pub transport: TraceTransport,
    /// How long one attempt to send a batch may take.
    pub timeout: Duration,
    /// How long spans wait at most before they are sent.
    pub delay: Duration,
    /// The most spans that wait to be sent.
    pub queue_max: usize,
    /// TLS to the collector, where its URL says `https`.
    pub tls: Option<ClientTlsSettings>,
    /// Whether the name of the service is configured.
    pub service_is_named: bool,
}

/// What the specification says where the variable is not set (OpenTelemetry 1.44, "OTLP exporter"
/// and "Environment variables").
const TIMEOUT: Duration = Duration::from_secs(10);
const DELAY: Duration = Duration::from_secs(5);
const QUEUE_MAX: u64 = 2_048;

/// The SDK takes the room for all of them at once, about 400 bytes each.
const QUEUE_LIMIT: u64 = 65_536;

/// The names of the samplers that the SDK has.
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

impl TraceSettings {
    /// By `variable`, which looks up one variable of the environment. None where nothing names a
    /// collector, or it is switched off. Reports every fault at once; none quotes a value.
    pub fn read(
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Option<Self>, ConfigError> {
        let variables = Variables { variable: &variable, faults: RefCell::default() };
        let settings = variables.settings();
        match variables.faults.into_inner() {
            faults if faults.is_empty() => Ok(settings),
            faults => Err(ConfigError(faults)),
        }
    }
}

struct Variables<'a> {
    variable: &'a dyn Fn(&'static str) -> Option<String>,
    faults: RefCell<Vec<Fault>>,
}

impl Variables<'_> {
    fn settings(&self) -> Option<TraceSettings> {
        let is_off = self.one("OTEL_SDK_DISABLED");
        if is_off.is_some_and(|off| off.eq_ignore_ascii_case("true")) {
            return None;
        }
        let endpoint = self.of_traces("ENDPOINT");
        let is_wanted = match self.one("OTEL_TRACES_EXPORTER").as_deref() {
            None => endpoint.is_some(),
            Some("otlp") => true,
            Some("none") => false,
            Some(_) => {
                self.fault("OTEL_TRACES_EXPORTER", "is neither otlp nor none");
                false
            }
        };
        if !is_wanted {
            return None;
        }
        let is_https = endpoint.is_some_and(|(name, endpoint)| self.is_https(name, &endpoint));
        if let Some((name, compression)) = self.of_traces("COMPRESSION")
            && !matches!(&*compression, "gzip" | "none")
        {
            self.fault(name, "is neither gzip nor none");
        }
        let sampler = self.one("OTEL_TRACES_SAMPLER");
        if sampler.is_some_and(|sampler| !SAMPLERS.contains(&&*sampler)) {
            self.fault("OTEL_TRACES_SAMPLER", "is not one of the standard samplers");
        }
        let whole = |name, range, default| self.number((name, self.one(name)), range, default);
        let queue_max = whole("OTEL_BSP_MAX_QUEUE_SIZE", 1..=QUEUE_LIMIT, QUEUE_MAX);
        whole("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1..=QUEUE_LIMIT, QUEUE_MAX);
        let delay = whole("OTEL_BSP_SCHEDULE_DELAY", 10..=HOUR_MS, millis(DELAY));
        let (name, timeout) = self.of_traces("TIMEOUT").unzip();
        let name = name.unwrap_or("OTEL_EXPORTER_OTLP_TIMEOUT");
        let timeout = self.number((name, timeout), 1..=HOUR_MS, millis(TIMEOUT));
        let tls = ClientTlsSettings { ca_file: self.file("CERTIFICATE"), own: self.own_files() };
        let attributes = self.one("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let mut names = attributes.split(',').filter_map(|pair| pair.split('=').next());
        Some(TraceSettings {
            transport: self.transport(),
            timeout: Duration::from_millis(timeout),
            delay: Duration::from_millis(delay),
            queue_max: usize::try_from(queue_max).unwrap_or(usize::MAX),
            tls: is_https.then_some(tls),
            service_is_named: self.one("OTEL_SERVICE_NAME").is_some()
                || names.any(|name| name.trim() == "service.name"),
        })
    }

    fn fault(&self, name: &str, what: impl Into<String>) {
        let (path, what) = (name.to_owned(), what.into());
        self.faults.borrow_mut().push(Fault { path, line: None, what });
    }

    /// A variable that is set. White space around it would reach the SDK.
    fn one(&self, name: &'static str) -> Option<String> {
        let value = (self.variable)(name).filter(|value| !value.trim().is_empty())?;
        if value.trim() != value {
            self.fault(name, "begins or ends with white space");
        }
        Some(value.trim().to_owned())
    }

    /// What is said of traces counts before what is said of all signals.
    fn of_traces(&self, end: &str) -> Option<(&'static str, String)> {
        let names = OTLP.iter().filter(|name| {
            let rest = name.strip_prefix("OTEL_EXPORTER_OTLP_").unwrap_or(name);
            rest.strip_prefix("TRACES_").unwrap_or(rest) == end
        });
        names.filter_map(|name| Some((*name, self.one(name)?))).next()
    }

    fn number(
        &self,
        (name, value): (&str, Option<String>),
        range: RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        let Some(value) = value else { return default };
        match value.parse() {
            Ok(number) if range.contains(&number) => number,
            Ok(_) | Err(_) => {
                let (start, end) = (range.start(), range.end());
                self.fault(name, format!("is not a whole number from {start} to {end}"));
                default
            }
        }
    }

    fn is_https(&self, name: &str, endpoint: &str) -> bool {
        let url: Option<Uri> = endpoint.parse().ok();
        let has_query = url.as_ref().is_some_and(|url| url.query().is_some());
        let has_user =
            url.as_ref().and_then(Uri::authority).is_some_and(|a| a.as_str().contains('@'));
        if has_query && name == "OTEL_EXPORTER_OTLP_ENDPOINT" {
            self.fault(name, "has a query, behind which no path can stand");
        }
        if has_user {
            self.fault(name, "has a user; write OTEL_EXPORTER_OTLP_HEADERS");
        }
        match url.as_ref().and_then(Uri::scheme_str) {
            Some("http") => false,
            Some("https") => true,
            Some(_) | None => {
                self.fault(name, "is not a URL that begins with http:// or https://");
                false
            }
        }
    }

    fn transport(&self) -> TraceTransport {
        let Some((name, protocol)) = self.of_traces("PROTOCOL") else {
            return TraceTransport::Http;
        };
        match &*protocol {
            "http/protobuf" => return TraceTransport::Http,
            "grpc" if cfg!(feature = "grpc") => return TraceTransport::Grpc,
            "grpc" => self.fault(name, "grpc needs a build with --features grpc"),
            _ => self.fault(name, "is neither http/protobuf nor grpc"),
        }
        TraceTransport::Http
    }

    fn file(&self, end: &str) -> Option<PathBuf> {
        self.of_traces(end).map(|(_, file)| PathBuf::from(file))
    }

    fn own_files(&self) -> Option<(PathBuf, PathBuf)> {
        match (self.of_traces("CLIENT_CERTIFICATE"), self.of_traces("CLIENT_KEY")) {
            (Some((_, certificate)), Some((_, key))) => Some((certificate.into(), key.into())),
            (None, None) => None,
            (Some((name, _)), None) | (None, Some((name, _))) => {
                self.fault(name, "stands alone: a certificate and its key belong together");
                None
            }
        }
    }
}

/// Those that are read here, what is said of traces first.
const OTLP: [&str; 14] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
];

/// The longest time that a number of milliseconds may say.
const HOUR_MS: u64 = 3_600_000;

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<TraceSettings>, ConfigError> {
        TraceSettings::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    #[test]
    fn spans_are_exported_where_a_collector_is_named_and_nobody_says_no() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), Ok(None));
        let settings = read(&[ENDPOINT]).unwrap().unwrap();
        assert_eq!(settings.transport, TraceTransport::Http);
        assert_eq!((settings.timeout, settings.delay, settings.queue_max), (TIMEOUT, DELAY, 2_048));
        assert_eq!(settings.tls, None);
        assert!(read(&[("OTEL_TRACES_EXPORTER", "otlp")]).unwrap().is_some());
        for off in [("OTEL_TRACES_EXPORTER", "none"), ("OTEL_SDK_DISABLED", "TRUE")] {
            assert_eq!(read(&[ENDPOINT, off]), Ok(None), "{off:?}");
        }
    }

    #[test]
    fn what_is_said_of_traces_counts_first() {
        let settings = read(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://[::1]:4318/v1/traces"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2500"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "1"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "common"),
            ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "own"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=b,service.name=mine"),
        ]);
        let settings = settings.unwrap().unwrap();
        assert_eq!(settings.timeout, Duration::from_millis(2_500));
        assert_eq!(settings.queue_max, 1);
        assert_eq!(settings.tls.unwrap().ca_file, Some("own".into()));
        assert!(settings.service_is_named);
    }

    #[test]
    fn each_fault_names_its_variable_and_quotes_nothing() {
        for (variable, value) in [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "unix:///socket"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", " http://secret:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://secret:4318\n"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://user:secret@collector:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0"),
            ("OTEL_BSP_SCHEDULE_DELAY", "0"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "1000000"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-1"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "a.pem"),
        ] {
            let ConfigError(faults) = read(&[ENDPOINT, (variable, value)]).unwrap_err();
            assert!(faults.iter().all(|fault| fault.path == variable), "{value}: {faults:?}");
            assert!(!format!("{faults:?}").contains("secret"), "{value}: {faults:?}");
        }
        let query = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/?x=1");
        assert!(read(&[query]).is_err());
        let two = [ENDPOINT, ("OTEL_BSP_SCHEDULE_DELAY", "x"), ("OTEL_TRACES_SAMPLER", "x")];
        assert_eq!(read(&two).unwrap_err().0.len(), 2);
    }

    #[test]
    fn a_service_is_named_by_its_key_alone() {
        for (attributes, is_named) in [
            ("a=b, service.name=mine", true),
            ("xservice.name=mine", false),
            ("a=service.name=", false),
        ] {
            let settings = read(&[ENDPOINT, ("OTEL_RESOURCE_ATTRIBUTES", attributes)]);
            assert_eq!(settings.unwrap().unwrap().service_is_named, is_named, "{attributes}");
        }
    }

    #[cfg(not(feature = "grpc"))]
    #[test]
    fn grpc_is_refused_where_it_is_not_built_in() {
        let ConfigError(faults) =
            read(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap_err();
        assert!(faults[0].what.contains("--features grpc"));
    }
}
