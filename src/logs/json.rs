//! A log line as JSON, written straight into the line: with one per call, that is a good part of
//! what a call costs.

use std::fmt::{self, Write};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use crate::clock;

/// One object to a line: `timestamp`, `level`, and the fields of the event, `message` among them.
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (now, level) =
            (humantime::format_rfc3339_micros(clock::wall()), event.metadata().level());
        write!(line, "{{\"timestamp\":\"{now}\",\"level\":\"{level}\"")?;
        let mut fields = Fields { line: &mut line, written: Ok(()) };
        event.record(&mut fields);
        fields.written?;
        line.write_str("}\n")
    }
}

struct Fields<'a> {
    line: &'a mut dyn Write,
    written: fmt::Result,
}

impl Fields<'_> {
    fn add(&mut self, field: &Field, value: impl FnOnce(&mut dyn Write) -> fmt::Result) {
        let line = &mut *self.line;
        self.written = self.written.and_then(|()| {
            line.write_str(",\"")?;
            Escaped(line).write_str(field.name())?;
            line.write_str("\":")?;
            value(line)
        });
    }

    fn add_text(&mut self, field: &Field, text: fmt::Arguments<'_>) {
        self.add(field, |line| {
            line.write_char('"')?;
            Escaped(line).write_fmt(text)?;
            line.write_char('"')
        });
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_text(field, format_args!("{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, |line| write!(line, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, |line| write!(line, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, |line| write!(line, "{value}"));
    }

    /// JSON has no word for what is no number.
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, |line| match value.is_finite() {
            true => write!(line, "{value:?}"),
            false => line.write_str("null"),
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add_text(field, format_args!("{value:?}"));
    }
}

/// Writes what stands inside of a JSON string.
struct Escaped<'a>(&'a mut dyn Write);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
        while let Some(at) = rest.as_bytes().iter().position(is_special) {
            let (plain, special) = rest.split_at(at);
            self.0.write_str(plain)?;
            let mut special = special.chars();
            let code = special.next().map_or(0, u32::from);
            write!(self.0, "\\u{code:04x}")?;
            rest = special.as_str();
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Sink {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn a_line_is_one_object_with_every_kind_of_value() {
        let sink = Sink::default();
        let lines =
            tracing_subscriber::fmt().with_writer(sink.clone()).event_format(JsonLines).finish();
        let hostile = "a\"b\\c\n\u{1}\u{7f}é\u{2028}";
        tracing::subscriber::with_default(lines, || {
            let none: Option<&str> = None;
            tracing::info!(
                text = hostile,
                shown = %hostile,
                debug = ?hostile,
                none,
                some = Some("s"),
                less = -1_i64,
                many = u64::MAX,
                wide = u128::MAX,
                yes = true,
                ms = 12.5,
                whole = 3.0,
                no_number = f64::NAN,
                "a message of {}",
                "parts"
            );
        });
        let written = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert_eq!(written.matches('\n').count(), 1, "{written}");
        let mut line: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&written).unwrap();
        let timestamp = line.remove("timestamp").unwrap();
        assert!(humantime::parse_rfc3339(timestamp.as_str().unwrap()).is_ok(), "{timestamp}");
        let expected = serde_json::json!({
            "level": "INFO", "message": "a message of parts", "text": hostile, "shown": hostile,
            "debug": format!("{hostile:?}"), "some": "s", "less": -1, "many": u64::MAX,
            "wide": u128::MAX.to_string(), "yes": true, "ms": 12.5, "whole": 3.0, "no_number": null,
        });
        assert_eq!(serde_json::Value::Object(line), expected);
    }
}
