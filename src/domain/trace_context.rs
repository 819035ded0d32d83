//! W3C Trace Context: what travels with every message, so that workers can join a trace.

/// The values of the headers `traceparent` and `tracestate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// `00-{trace id}-{span id}-{flags}`
    pub traceparent: String,
    /// The bridge's own entry first.
    pub tracestate: String,
}

/// The bridge's key in `tracestate`.
const VENDOR: &str = "connector-bridge";

/// The longest `tracestate` that is passed on (W3C Trace Context, section 3.3.1.5).
const TRACESTATE_CHARS_MAX: usize = 512;

impl TraceContext {
    /// A new trace, not sampled.
    pub fn new(trace_id: u128, span_id: u64) -> Self {
        let (trace_id, span_id) = (trace_id.max(1), span_id.max(1));
        Self {
            traceparent: format!("00-{trace_id:032x}-{span_id:016x}-00"),
            tracestate: format!("{VENDOR}={span_id:016x}"),
        }
    }

    /// The next span of the caller's trace; `None` where `traceparent` is not valid.
    pub fn continued(traceparent: &str, tracestate: Option<&str>, span_id: u64) -> Option<Self> {
        let mut fields = traceparent.split('-');
        let (version, trace_id) = (fields.next()?, fields.next()?);
        let (parent_id, flags) = (fields.next()?, fields.next()?);
        let fits = hex(version, 2)
            && version != "ff"
            && (version != "00" || fields.next().is_none())
            && hex(trace_id, 32)
            && hex(parent_id, 16)
            && hex(flags, 2)
            && [trace_id, parent_id].iter().all(|id| id.bytes().any(|digit| digit != b'0'));
        let printable = |state: &&str| {
            !state.is_empty() && state.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        };
        let span_id = span_id.max(1);
        let mut state = format!("{VENDOR}={span_id:016x}");
        for entry in tracestate.filter(printable).unwrap_or_default().split(',').map(str::trim) {
            let is_own = entry.split('=').next() == Some(VENDOR);
            if !entry.is_empty() && !is_own && state.len() + entry.len() < TRACESTATE_CHARS_MAX {
                state.push(',');
                state.push_str(entry);
            }
        }
        fits.then(|| Self {
            traceparent: format!("00-{trace_id}-{span_id:016x}-{flags}"),
            tracestate: state,
        })
    }
}

fn hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_context_is_continued_and_a_hostile_one_is_none() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let next = TraceContext::continued(parent, Some("a=1, connector-bridge=2"), 7).unwrap();
        assert_eq!(next.traceparent, "00-0af7651916cd43dd8448eb211c80319c-0000000000000007-01");
        assert_eq!(next.tracestate, "connector-bridge=0000000000000007,a=1");
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
        ] {
            assert_eq!(TraceContext::continued(hostile, None, 7), None, "{hostile:?}");
        }
        let hostile_state = TraceContext::continued(parent, Some("a=1\r\nx: y"), 7).unwrap();
        assert_eq!(hostile_state.tracestate, "connector-bridge=0000000000000007");
    }

    #[test]
    fn a_new_context_is_never_all_zero() {
        let new = TraceContext::new(0, 0);
        assert!(TraceContext::continued(&new.traceparent, None, 1).is_some());
    }
}
