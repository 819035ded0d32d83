//! Who may talk to the playground: its own page, in a browser on this machine, and nothing that
//! another site in the same browser can make it send.
//!
//! A name of another site that is made to point to this machine (DNS rebinding) stands in `Host`. A
//! page of another origin is named in `Origin`, also one on another port of this machine, and cannot
//! set the header of our own without asking first, which nobody answers.

use http::{
    HeaderMap, HeaderName,
    header::{HOST, ORIGIN},
};

/// Every request to the interface carries it; forms, pictures and links cannot.
const OWN: HeaderName = HeaderName::from_static("connector-playground");

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    /// `Host` is not a name of this machine.
    Host,
    /// It comes from a page of another origin.
    Origin,
    /// It does not come from the page's own code.
    Header,
}

impl Stranger {
    pub(super) fn text(self) -> &'static str {
        match self {
            Stranger::Host => "the playground is at 127.0.0.1, [::1] or localhost only\n",
            Stranger::Origin => "the playground takes no requests from other pages\n",
            Stranger::Header => "the header connector-playground is missing\n",
        }
    }
}

/// Checks a request for a file of the page.
pub(super) fn may_look(headers: &HeaderMap) -> Result<(), Stranger> {
    let host = only(headers, &HOST).ok_or(Stranger::Host)?;
    if !is_this_machine(host) {
        return Err(Stranger::Host);
    }
    // Not sent with a link, nor by our own page when it reads.
    if headers.contains_key(ORIGIN) {
        let origin = only(headers, &ORIGIN).and_then(|origin| origin.strip_prefix("http://"));
        if !origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host)) {
            return Err(Stranger::Origin);
        }
    }
    Ok(())
}

/// Checks a request to the interface.
pub(super) fn may_act(headers: &HeaderMap) -> Result<(), Stranger> {
    may_look(headers)?;
    if only(headers, &HeaderName::from_static("sec-fetch-site"))
        .is_some_and(|site| site != "same-origin")
    {
        return Err(Stranger::Origin);
    }
    only(headers, &OWN).map(drop).ok_or(Stranger::Header)
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok()
}

/// With any port: that of a forwarded one is another than our own.
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        Some(_) | None => host,
    };
    name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1]"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(*name, value.parse().unwrap());
            headers
        })
    }

    #[test]
    fn only_names_of_this_machine_and_its_own_origin_are_let_in() {
        use Stranger::{Header, Host, Origin};
        type Row = (&'static [(&'static str, &'static str)], Result<(), Stranger>);
        const OWN: (&str, &str) = ("connector-playground", "1");
        let rows: [Row; 22] = [
            (&[("host", "127.0.0.1:8081"), OWN], Ok(())),
            (&[("host", "localhost:9999"), OWN], Ok(())),
            (&[("host", "LocalHost:1"), OWN], Ok(())),
            (&[("host", "[::1]:8081"), OWN], Ok(())),
            (&[("host", "localhost"), OWN], Ok(())),
            (&[("host", "localhost:1"), ("origin", "http://localhost:1"), OWN], Ok(())),
            (&[("host", "localhost:1"), ("sec-fetch-site", "same-origin"), OWN], Ok(())),
            (&[OWN], Err(Host)),
            (&[("host", "localhost"), ("host", "localhost"), OWN], Err(Host)),
            (&[("host", "evil.example:8081"), OWN], Err(Host)),
            (&[("host", "127.0.0.1.evil.example"), OWN], Err(Host)),
            (&[("host", "localhost.evil.example:8081"), OWN], Err(Host)),
            (&[("host", "10.0.0.1:8081"), OWN], Err(Host)),
            (&[("host", "127.0.0.1:8081@evil"), OWN], Err(Host)),
            (&[("host", ""), OWN], Err(Host)),
            (&[("host", "localhost:1"), ("origin", "http://localhost:2"), OWN], Err(Origin)),
            (&[("host", "localhost:1"), ("origin", "http://127.0.0.1:1"), OWN], Err(Origin)),
            (&[("host", "localhost:1"), ("origin", "https://localhost:1"), OWN], Err(Origin)),
            (&[("host", "localhost:1"), ("origin", "null"), OWN], Err(Origin)),
            (&[("host", "localhost:1"), ("sec-fetch-site", "cross-site"), OWN], Err(Origin)),
            (&[("host", "localhost:1"), ("sec-fetch-site", "same-site"), OWN], Err(Origin)),
            (&[("host", "localhost:1"), ("origin", "http://localhost:1")], Err(Header)),
        ];
        for (lines, wanted) in rows {
            assert_eq!(may_act(&headers(lines)), wanted, "{lines:?}");
        }
    }

    #[test]
    fn a_link_may_lead_to_the_page_but_not_to_the_interface() {
        let link = headers(&[("host", "localhost:1"), ("sec-fetch-site", "cross-site")]);
        assert_eq!(may_look(&link), Ok(()));
        assert_eq!(may_act(&link), Err(Stranger::Origin));
        let rebound = headers(&[("host", "evil.example")]);
        assert_eq!(may_look(&rebound), Err(Stranger::Host));
    }
}
