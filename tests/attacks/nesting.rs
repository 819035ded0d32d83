//! Deeply nested JSON.

/// Below what is refused.
const LEVELS: usize = 30;

/// An object with this member and one more that is nested as deeply as is read, of [`BIG`] bytes.
pub(crate) fn nested(member: &str) -> String {
    let (open, close) = ("[".repeat(LEVELS), "]".repeat(LEVELS));
    let innermost = "1,".repeat((crate::site::BIG - 200) / 2);
    format!(r#"{{{member},"x":{open}{innermost}1{close}}}"#)
}
