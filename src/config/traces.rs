//! Where spans go: the standard variables of OpenTelemetry, as far as they decide whether and how
//! anything is exported. Sampling, batches, headers and the resource are read by its SDK.

use std::{path::PathBuf, time::Duration};

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
const QUEUE_MAX: usize = 2_048;

/// The most spans that may wait: each takes about a kilobyte.
const QUEUE_LIMIT: usize = 1_000_000;

impl TraceSettings {
    /// By `variable`, which looks up one variable of the environment. None where nothing names a
    /// collector, or it is switched off.
    pub fn read(
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Option<Self>, ConfigError> {
        let set = |name| variable(name).filter(|value| !value.trim().is_empty());
        // What is said of traces counts before what is said of all signals.
        let of_traces = |own, common| {
            set(own).map(|value| (own, value)).or_else(|| set(common).map(|value| (common, value)))
        };
        let is_off = set("OTEL_SDK_DISABLED").is_some_and(|off| off.eq_ignore_ascii_case("true"));
        let exporter = set("OTEL_TRACES_EXPORTER");
        let endpoint =
            of_traces("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT");
        let is_wanted = match exporter.as_deref().map(str::trim) {
            None => endpoint.is_some(),
            Some("otlp") => true,
            Some("none") => false,
            Some(_) if is_off => false,
            Some(_) => return Err(fault("OTEL_TRACES_EXPORTER", "is neither otlp nor none")),
        };
        if is_off || !is_wanted {
            return Ok(None);
        }
        let is_https = match &endpoint {
            None => false,
            Some((name, endpoint)) => {
                let url: Option<Uri> = endpoint.trim().parse().ok();
                match url.as_ref().and_then(Uri::scheme_str) {
                    Some("http") => false,
                    Some("https") => true,
                    Some(_) | None => {
                        let what = "is not a URL that begins with http:// or https://";
                        return Err(fault(name, what));
                    }
                }
            }
        };
        let protocol =
            of_traces("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL");
        let transport = match &protocol {
            None => TraceTransport::Http,
            Some((name, protocol)) => match protocol.trim() {
                "http/protobuf" => TraceTransport::Http,
                "grpc" if cfg!(feature = "grpc") => TraceTransport::Grpc,
                "grpc" => {
                    return Err(fault(name, "grpc needs a build with --features grpc"));
                }
                _ => return Err(fault(name, "is neither http/protobuf nor grpc")),
            },
        };
        let compression =
            of_traces("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION");
        if let Some((name, compression)) = &compression
            && !matches!(compression.trim(), "gzip" | "none")
        {
            return Err(fault(name, "is neither gzip nor none"));
        }
        let timeout = of_traces("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT");
        let timeout = timeout.and_then(|(_, ms)| ms.trim().parse().ok());
        let queue_max = set("OTEL_BSP_MAX_QUEUE_SIZE").and_then(|max| max.trim().parse().ok());
        let file = |own, common| of_traces(own, common).map(|(_, file)| PathBuf::from(file));
        let ca_file =
            file("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE");
        let certificate = file(
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        );
        let key = file("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY");
        let own = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(fault("OTEL_EXPORTER_OTLP_CLIENT_KEY", "belongs to the certificate"));
            }
            (None, Some(_)) => {
                return Err(fault("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "belongs to the key"));
            }
        };
        Ok(Some(Self {
            transport,
            timeout: timeout.map_or(TIMEOUT, Duration::from_millis),
            queue_max: queue_max.unwrap_or(QUEUE_MAX).clamp(1, QUEUE_LIMIT),
            tls: is_https.then_some(ClientTlsSettings { ca_file, own }),
            service_is_named: set("OTEL_SERVICE_NAME").is_some()
                || set("OTEL_RESOURCE_ATTRIBUTES")
                    .is_some_and(|attributes| attributes.contains("service.name=")),
        }))
    }
}

fn fault(name: &str, what: &str) -> ConfigError {
    ConfigError(vec![Fault { path: name.to_owned(), line: None, what: what.to_owned() }])
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
        assert_eq!((settings.timeout, settings.queue_max), (TIMEOUT, QUEUE_MAX));
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
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
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
    fn each_fault_names_its_variable() {
        for (variable, value) in [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "unix:///socket"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ] {
            let ConfigError(faults) = read(&[ENDPOINT, (variable, value)]).unwrap_err();
            assert_eq!(faults[0].path, variable, "{value}");
        }
        let half = ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "a.pem");
        let ConfigError(faults) = read(&[ENDPOINT, half]).unwrap_err();
        assert_eq!(faults[0].path, "OTEL_EXPORTER_OTLP_CLIENT_KEY");
    }

    #[cfg(not(feature = "grpc"))]
    #[test]
    fn grpc_is_refused_where_it_is_not_built_in() {
        let ConfigError(faults) =
            read(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).unwrap_err();
        assert!(faults[0].what.contains("--features grpc"));
    }
}
