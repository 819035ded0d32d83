//! Whether a request's headers announce JSON in UTF-8.

use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};

/// An absent type is taken as JSON; a coding, another charset or a second type is not read.
pub(super) fn is_json_in_utf8(headers: &HeaderMap) -> bool {
    let is_identity = |coding: &HeaderValue| {
        coding.to_str().is_ok_and(|coding| coding.trim().eq_ignore_ascii_case("identity"))
    };
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    headers.get_all(CONTENT_ENCODING).iter().all(is_identity)
        && types.next().is_none_or(|media_type| media_type.to_str().is_ok_and(is_json))
        && types.next().is_none()
}

fn is_json(media_type: &str) -> bool {
    let mut parts = media_type.split(';').map(str::trim);
    let (kind, subtype) =
        parts.next().and_then(|essence| essence.split_once('/')).unwrap_or_default();
    let syntax = match subtype.rsplit_once('+') {
        Some(("", _)) => "",
        Some((_, syntax)) => syntax,
        None => subtype,
    };
    kind.eq_ignore_ascii_case("application")
        && syntax.eq_ignore_ascii_case("json")
        && parts.all(parameter_fits)
}

fn parameter_fits(parameter: &str) -> bool {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let is_charset = name.trim().eq_ignore_ascii_case("charset");
    !is_charset || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_in_utf8_is_read() {
        let rows: &[(&[(&str, &str)], bool)] = &[
            (&[], true),
            (&[("content-type", "application/json")], true),
            (&[("content-type", "Application/JSON; charset=UTF-8")], true),
            (&[("content-type", "application/json;charset=\"utf-8\"")], true),
            (&[("content-type", "application/problem+json; x=y")], true),
            (&[("content-encoding", "identity")], true),
            (&[("content-type", "text/plain")], false),
            (&[("content-type", "text/json")], false),
            (&[("content-type", "application/+json")], false),
            (&[("content-type", "")], false),
            (&[("content-type", "application/json; charset=utf-16")], false),
            (&[("content-type", "application/json; charset")], false),
            (&[("content-type", "application/json"), ("content-type", "text/plain")], false),
            (&[("content-encoding", "gzip")], false),
            (&[("content-encoding", "identity, gzip")], false),
        ];
        for (headers, reads) in rows {
            let mut map = HeaderMap::new();
            for (name, value) in *headers {
                let name: http::HeaderName = name.parse().unwrap();
                map.append(name, HeaderValue::from_static(value));
            }
            assert_eq!(is_json_in_utf8(&map), *reads, "{headers:?}");
        }
    }
}
