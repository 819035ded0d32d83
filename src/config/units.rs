//! How single values are written: durations, sizes, addresses, names.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use http::HeaderName;
use ipnet::IpNet;

use crate::domain::{
    connector::Subject,
    decision::{MESSAGE_CHARS_MAX, UserMessage},
};

/// What one value is, or what is wrong with it.
pub(super) type Parsed<T> = Result<T, String>;

const DURATIONS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZES: [(&str, u64); 3] = [("KiB", 1024), ("MiB", 1024 * 1024), ("B", 1)];

/// A number with `ms`, `s`, `m`, `h` or `d`, within `bounds`.
pub fn duration(bounds: RangeInclusive<Duration>) -> impl Fn(&str) -> Parsed<Duration> {
    move |text| {
        let ms = quantity(text, &DURATIONS)
            .ok_or_else(|| format!("{text:?} is not a number with ms, s, m, h or d"))?;
        let duration = Duration::from_millis(ms);
        if bounds.contains(&duration) {
            return Ok(duration);
        }
        let [least, most] = [bounds.start(), bounds.end()].map(|bound| write_duration(*bound));
        Err(format!("{text} is outside {least} to {most}"))
    }
}

/// A number with `B`, `KiB` or `MiB`, within `bounds` in bytes.
pub(super) fn size(bounds: RangeInclusive<usize>) -> impl Fn(&str) -> Parsed<usize> {
    move |text| {
        let bytes = quantity(text, &SIZES)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .ok_or_else(|| format!("{text:?} is not a number with B, KiB or MiB"))?;
        let [least, most] = [bounds.start(), bounds.end()].map(|bound| write_size(*bound));
        let fits = bounds.contains(&bytes);
        fits.then_some(bytes).ok_or_else(|| format!("{text} is outside {least} to {most}"))
    }
}

/// `amount` with the unit that it ends in; decimals as far as they make whole smallest units.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (amount, unit) = text.split_at_checked(at)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    let (whole, decimals) = amount.trim_end().split_once('.').unwrap_or((amount.trim_end(), "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 6 {
        return None;
    }
    let scale = 10_u64.pow(u32::try_from(decimals.len()).ok()?);
    let decimals = decimals.parse::<u64>().ok()?.checked_mul(*factor)?;
    let whole = whole.parse::<u64>().ok()?.checked_mul(*factor)?;
    (decimals % scale == 0).then(|| whole.checked_add(decimals / scale))?
}

/// The way back: as few digits as it takes.
pub(super) fn write_duration(duration: Duration) -> String {
    write_quantity(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &DURATIONS)
}

/// The way back: as few digits as it takes.
pub(super) fn write_size(bytes: usize) -> String {
    write_quantity(bytes as u64, &SIZES)
}

fn write_quantity(amount: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, factor): &&(&str, u64)| amount >= *factor && amount.is_multiple_of(*factor);
    let largest = units.iter().filter(fits).max_by_key(|(_, factor)| *factor);
    let smallest = units.iter().min_by_key(|(_, factor)| *factor);
    largest
        .or(smallest)
        .map_or_else(String::new, |(unit, factor)| format!("{}{unit}", amount / factor))
}

/// A whole number within `bounds`.
pub(super) fn number<T>(bounds: RangeInclusive<T>) -> impl Fn(&str) -> Parsed<T>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    move |text| match text.parse() {
        Ok(number) if bounds.contains(&number) => Ok(number),
        Ok(_) => Err(format!("{text} is outside {} to {}", bounds.start(), bounds.end())),
        Err(_) => Err(format!(
            "{text:?} is not a whole number from {} to {}",
            bounds.start(),
            bounds.end()
        )),
    }
}

/// `true` or `false`.
pub(super) fn boolean(text: &str) -> Parsed<bool> {
    text.parse().map_err(|_| format!("{text:?} is neither true nor false"))
}

/// One of these words.
pub(super) fn one_of<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&str) -> Parsed<T> {
    move |text| {
        let found = words.iter().find(|(word, _)| *word == text);
        let names = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        found.map(|(_, value)| *value).ok_or_else(|| format!("{text:?} is none of {}", names()))
    }
}

/// An IP address and a port.
pub(super) fn address(text: &str) -> Parsed<SocketAddr> {
    text.parse().map_err(|_| format!("{text:?} is not an IP address with a port, as 0.0.0.0:8080"))
}

/// One of the two addresses by which browsers know this machine, and which nobody else reaches.
pub(super) fn loopback(text: &str) -> Parsed<SocketAddr> {
    let address = address(text)?;
    let ip = address.ip();
    match ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST {
        true => Ok(address),
        false => Err(format!("{text:?} is neither at 127.0.0.1 nor at [::1], as 127.0.0.1:8081")),
    }
}

/// A file name.
pub(super) fn path(text: &str) -> Parsed<PathBuf> {
    self::text(text).map(PathBuf::from)
}

/// Any text that is not empty and holds no control character.
pub(super) fn text(text: &str) -> Parsed<String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    let is_printable = !text.chars().any(char::is_control);
    is_printable.then(|| text.to_owned()).ok_or_else(|| "holds a control character".to_owned())
}

/// A message for the person who signs up.
pub(super) fn message(text: &str) -> Parsed<UserMessage> {
    if text.chars().count() > MESSAGE_CHARS_MAX {
        return Err(format!("is longer than {MESSAGE_CHARS_MAX} characters"));
    }
    UserMessage::parse(text).ok_or_else(|| "is blank".to_owned())
}

/// The URL of a NATS server, without credentials in it.
pub(super) fn nats_url(text: &str) -> Parsed<String> {
    let address = text.split_once("://").map_or(text, |(_, address)| address);
    // The text is not repeated: what stands before the @ is a secret.
    if address.contains('@') {
        return Err("holds credentials; name them by file".to_owned());
    }
    if address.is_empty() {
        return Err(format!("{text:?} names no server"));
    }
    match text.parse::<async_nats::ServerAddr>() {
        Ok(server) if matches!(server.scheme(), "nats" | "tls") => Ok(text.to_owned()),
        Ok(server) if matches!(server.scheme(), "ws" | "wss") => {
            Err(format!("{text:?}: {} is not supported", server.scheme()))
        }
        Ok(_) | Err(_) => Err(format!("{text:?} is not a URL as nats://host:4222")),
    }
}

/// A network, as `10.0.0.0/8`, or a single address.
pub(super) fn network(text: &str) -> Parsed<IpNet> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    let network = text.parse::<IpNet>().or_else(|_| address());
    network.map_err(|_| format!("{text:?} is not a network as 10.0.0.0/8, nor an IP address"))
}

/// The name of an HTTP header.
pub(super) fn header_name(text: &str) -> Parsed<HeaderName> {
    text.parse().map_err(|_| format!("{text:?} is not the name of a header"))
}

/// A subject that can be published to.
pub(super) fn subject(text: &str) -> Parsed<Subject> {
    Subject::parse(text)
        .ok_or_else(|| format!("{text:?} is not a subject that can be published to"))
}

/// The first tokens of a subject.
pub(super) fn subject_prefix(text: &str) -> Parsed<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let ok = text.split('.').all(|token| !token.is_empty() && token.chars().all(fits));
    let ok = ok && text.len() <= 128;
    ok.then(|| text.to_owned())
        .ok_or_else(|| format!("{text:?} is not tokens of A-Z, a-z, 0-9, _ and - joined by dots"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_with_a_unit() {
        let parse = duration(Duration::ZERO..=Duration::from_secs(86_400 * 365));
        for (text, ms) in [
            ("0s", Some(0)),
            ("50ms", Some(50)),
            ("3.5s", Some(3_500)),
            ("15 s", Some(15_000)),
            ("2m", Some(120_000)),
            ("1.5h", Some(5_400_000)),
            ("1d", Some(86_400_000)),
            ("0.5ms", None),
            ("15", None),
            ("s", None),
            ("-1s", None),
            ("1e3s", None),
            ("1 sec", None),
            ("1S", None),
            ("99999999999999999999d", None),
            ("366d", None),
        ] {
            assert_eq!(parse(text).ok(), ms.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn a_size_is_a_number_with_a_unit_and_both_are_written_as_they_are_read() {
        let parse = size(1..=1024 * 1024);
        for (text, bytes) in
            [("64KiB", Some(65_536)), ("1B", Some(1)), ("1MiB", Some(1_048_576)), ("0B", None)]
        {
            assert_eq!(parse(text).ok(), bytes, "{text}");
        }
        for bad in ["64kb", "64", "2MiB", "64 KB"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for text in ["64KiB", "1MiB", "3B"] {
            assert_eq!(write_size(parse(text).unwrap()), text);
        }
        for text in ["0ms", "50ms", "3500ms", "15s", "2m", "1h", "1d"] {
            let read = duration(Duration::ZERO..=Duration::MAX)(text).unwrap();
            assert_eq!(write_duration(read), text);
        }
    }

    #[test]
    fn a_server_url_holds_no_credentials_and_the_fault_does_not_repeat_them() {
        let fault = nats_url("nats://bridge:s3cret@nats:4222").unwrap_err();
        assert!(!fault.contains("s3cret"), "{fault}");
        assert!(nats_url("nats://nats:4222").is_ok());
        assert!(nats_url("nats.example").is_ok());
        assert!(nats_url("tls://nats:4222").is_ok());
        for bad in ["", "http://x", "ws://nats:80", "nats://"] {
            assert!(nats_url(bad).is_err(), "{bad}");
        }
    }
}
