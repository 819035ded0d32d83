//! W3C Trace Context: where in a trace something happens, and how that travels in headers.

use data_encoding::HEXLOWER;

/// One span of one trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanRef {
    /// Never zero.
    pub trace_id: u128,
    /// Never zero.
    pub span_id: u64,
    /// Bit 0: the span is recorded.
    pub flags: u8,
}

/// How many characters a `traceparent` has.
const TRACEPARENT_CHARS: usize = 2 + 1 + 32 + 1 + 16 + 1 + 2;

impl SpanRef {
    /// The value of the header `traceparent`.
    pub fn traceparent(&self) -> String {
        let mut text = String::with_capacity(TRACEPARENT_CHARS);
        text.push_str("00-");
        HEXLOWER.encode_append(&self.trace_id.to_be_bytes(), &mut text);
        text.push('-');
        HEXLOWER.encode_append(&self.span_id.to_be_bytes(), &mut text);
        text.push('-');
        HEXLOWER.encode_append(&[self.flags], &mut text);
        text
    }
}

/// A span, and what others have said of its trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The span.
    pub span: SpanRef,
    /// Entries of others in `tracestate`, as they stood there.
    others: String,
}

/// The bridge's key in `tracestate`.
const VENDOR: &str = "connector-bridge";

/// The longest `tracestate` that is passed on (W3C Trace Context, section 3.3.1.5).
const TRACESTATE_CHARS_MAX: usize = 512;

/// Sampled, and that the trace id is random; what others mean is not known, so they are not passed
/// on (W3C Trace Context, level 2, section 3.2.2.5).
const FLAGS_KNOWN: u8 = 0b11;

/// The bridge's own entry in it: its key, an equals sign, and sixteen digits.
const OWN_ENTRY_CHARS: usize = VENDOR.len() + 1 + 16;

impl TraceContext {
    /// The first span of a trace.
    pub fn root(span: SpanRef) -> Self {
        Self { span, others: String::new() }
    }

    /// What these headers say; `None` where `traceparent` is not valid.
    pub fn read(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let mut fields = traceparent.split('-');
        let (version, trace_id) = (hex(fields.next()?, 2)?, hex(fields.next()?, 32)?);
        let (span_id, flags) = (hex(fields.next()?, 16)?, hex(fields.next()?, 2)?);
        let fits = version != 0xff
            && (version != 0 || fields.next().is_none())
            && trace_id != 0
            && span_id != 0;
        let span = SpanRef {
            trace_id,
            span_id: u64::try_from(span_id).ok()?,
            flags: u8::try_from(flags).ok()? & FLAGS_KNOWN,
        };
        fits.then(|| Self { span, others: others(tracestate.unwrap_or_default()) })
    }

    /// Another span of the same trace.
    pub fn at(&self, span: SpanRef) -> Self {
        Self { span, others: self.others.clone() }
    }

    /// The value of the header `tracestate`: the bridge's own entry first.
    pub fn tracestate(&self) -> String {
        let mut text = String::with_capacity(OWN_ENTRY_CHARS + 1 + self.others.len());
        text.push_str(VENDOR);
        text.push('=');
        HEXLOWER.encode_append(&self.span.span_id.to_be_bytes(), &mut text);
        if !self.others.is_empty() {
            text.push(',');
            text.push_str(&self.others);
        }
        text
    }
}

fn others(tracestate: &str) -> String {
    let mut kept = String::new();
    if !tracestate.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return kept;
    }
    for entry in tracestate.split(',').map(str::trim) {
        let is_own = entry.split('=').next() == Some(VENDOR);
        let length = OWN_ENTRY_CHARS + 1 + kept.len() + 1 + entry.len();
        if !entry.is_empty() && !is_own && length <= TRACESTATE_CHARS_MAX {
            if !kept.is_empty() {
                kept.push(',');
            }
            kept.push_str(entry);
        }
    }
    kept
}

/// A number of so many digits, all of them in lower case.
fn hex(text: &str, length: usize) -> Option<u128> {
    let fits = text.len() == length && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    u128::from_str_radix(text, 16).ok().filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_valid_context_is_continued_and_a_hostile_one_is_none() {
        let parent = TraceContext::read(PARENT, Some("a=1, connector-bridge=2")).unwrap();
        assert_eq!(parent.span.traceparent(), PARENT);
        let next = parent.at(SpanRef { span_id: 7, ..parent.span });
        assert_eq!(
            next.span.traceparent(),
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000007-01"
        );
        assert_eq!(next.tracestate(), "connector-bridge=0000000000000007,a=1");
        let zeros = format!("00-1-{}", "0".repeat(50));
        for hostile in [
            "",
            "00",
            zeros.as_str(),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-\r\n",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::read(hostile, None), None, "{hostile:?}");
        }
        let flags = parent.span.traceparent().replace("-01", "-ff");
        assert_eq!(TraceContext::read(&flags, None).unwrap().span.flags, 0b11);
        let hostile_state = TraceContext::read(PARENT, Some("a=1\r\nx: y")).unwrap();
        assert_eq!(hostile_state.tracestate(), "connector-bridge=b7ad6b7169203331");
    }

    #[test]
    fn a_state_that_grows_too_long_loses_entries_and_never_a_part_of_one() {
        let entry = format!("k={}", "v".repeat(98));
        let state = [&*entry; 6].join(",");
        let context = TraceContext::read(PARENT, Some(&state)).unwrap();
        let passed_on = context.tracestate();
        assert!(passed_on.len() <= TRACESTATE_CHARS_MAX, "{}", passed_on.len());
        assert_eq!(passed_on.matches(&entry).count(), 4);
        let one_too_long = "x".repeat(TRACESTATE_CHARS_MAX - OWN_ENTRY_CHARS);
        let context = TraceContext::read(PARENT, Some(&one_too_long)).unwrap();
        assert_eq!(context.tracestate().len(), OWN_ENTRY_CHARS);
    }

    #[test]
    fn what_the_bridge_writes_it_reads() {
        let span = SpanRef { trace_id: 1, span_id: u64::MAX, flags: 0 };
        let context = TraceContext::root(span);
        let state = context.tracestate();
        assert_eq!(TraceContext::read(&span.traceparent(), Some(&state)), Some(context));
    }
}
