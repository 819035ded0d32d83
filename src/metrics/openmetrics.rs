//! The OpenMetrics text format 1.0, which the library does not write: the same families, their
//! buckets with the traces of requests that fell into them.

use std::fmt::Write;

use prometheus::proto::{Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::exemplars::Exemplars;

/// What this is, for the header `Content-Type`.
pub const OPENMETRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All families, in their order.
pub(super) fn text(families: &[MetricFamily], exemplars: &Exemplars) -> String {
    let mut text = String::new();
    for family in families {
        let name = family.name();
        // A counter's family has the name without the ending of its samples.
        let (kind, family_name) = match family.get_field_type() {
            MetricType::COUNTER => ("counter", name.strip_suffix("_total").unwrap_or(name)),
            MetricType::HISTOGRAM => ("histogram", name),
            MetricType::GAUGE => ("gauge", name),
            MetricType::SUMMARY | MetricType::UNTYPED => continue,
        };
        let help = escaped(family.help());
        // Writing to a string never fails.
        let _ = writeln!(text, "# HELP {family_name} {help}\n# TYPE {family_name} {kind}");
        for metric in family.get_metric() {
            match family.get_field_type() {
                MetricType::COUNTER => {
                    let value = metric.get_counter().get_value();
                    let _ = writeln!(text, "{family_name}_total{} {value}", labels(metric));
                }
                MetricType::HISTOGRAM => histogram(&mut text, name, metric, exemplars),
                MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => {
                    let value = metric.get_gauge().get_value();
                    let _ = writeln!(text, "{name}{} {value}", labels(metric));
                }
            }
        }
    }
    text.push_str("# EOF\n");
    text
}

fn histogram(text: &mut String, name: &str, metric: &Metric, exemplars: &Exemplars) {
    let histogram: &Histogram = metric.get_histogram();
    let own = pairs(metric.get_label());
    let comma = if own.is_empty() { "" } else { "," };
    let count = histogram.get_sample_count();
    let buckets = histogram.get_bucket().iter();
    let buckets = buckets.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
    let buckets = buckets.filter(|(bound, _)| bound.is_finite()).chain([(f64::INFINITY, count)]);
    for (at, (bound, count)) in buckets.enumerate() {
        // The form of the standard: 20.0 and not 20.
        let bound = if bound.is_finite() { format!("{bound:?}") } else { "+Inf".to_owned() };
        let _ = write!(text, "{name}_bucket{{{own}{comma}le=\"{bound}\"}} {count}");
        if let Some(exemplar) = exemplars.of(name, metric.get_label(), at) {
            let _ = write!(text, " # {exemplar}");
        }
        text.push('\n');
    }
    let (own, sum) = (labels(metric), histogram.get_sample_sum());
    let _ = writeln!(text, "{name}_sum{own} {sum}\n{name}_count{own} {count}");
}

fn labels(metric: &Metric) -> String {
    match metric.get_label() {
        [] => String::new(),
        labels => format!("{{{}}}", pairs(labels)),
    }
}

fn pairs(labels: &[LabelPair]) -> String {
    let pairs =
        labels.iter().map(|label| format!("{}=\"{}\"", label.name(), escaped(label.value())));
    pairs.collect::<Vec<_>>().join(",")
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
