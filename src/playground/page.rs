//! The page: files in this program, and what browsers are told about them.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        X_FRAME_OPTIONS,
    },
};

/// A file of the page.
pub(super) struct File {
    /// Its path on the server.
    pub(super) path: &'static str,
    /// Its media type.
    pub(super) media_type: &'static str,
    /// What is in it.
    pub(super) text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Every file. Nothing else is served, and the page needs nothing from anywhere else.
pub(super) const FILES: &[File] = &[
    File { path: "/", media_type: HTML, text: include_str!("page/index.html") },
    File { path: "/icon.svg", media_type: SVG, text: include_str!("page/icon.svg") },
    File { path: "/look.css", media_type: CSS, text: include_str!("page/look.css") },
    File { path: "/parts.css", media_type: CSS, text: include_str!("page/parts.css") },
    File { path: "/main.js", media_type: JS, text: include_str!("page/main.js") },
    File { path: "/server.js", media_type: JS, text: include_str!("page/server.js") },
    File { path: "/elements.js", media_type: JS, text: include_str!("page/elements.js") },
    File { path: "/claims.js", media_type: JS, text: include_str!("page/claims.js") },
    File { path: "/person.js", media_type: JS, text: include_str!("page/person.js") },
    File { path: "/timeline.js", media_type: JS, text: include_str!("page/timeline.js") },
    File { path: "/travel.js", media_type: JS, text: include_str!("page/travel.js") },
    File { path: "/live.js", media_type: JS, text: include_str!("page/live.js") },
    File { path: "/faults.js", media_type: JS, text: include_str!("page/faults.js") },
];

/// Nothing is loaded from elsewhere, no code stands in the page itself, no text becomes markup, and
/// no other page shows it in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

/// What goes with every answer of the playground.
pub(super) fn guard(headers: &mut HeaderMap) {
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_FRAME_OPTIONS, "DENY"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn every_file_of_the_page_is_served_and_none_is_too_long() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/playground/page");
        let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
        let there: BTreeSet<String> = names.map(|name| name.into_string().unwrap()).collect();
        let served = FILES.iter().map(|file| file.path.trim_start_matches('/'));
        let served = served.map(|name| if name.is_empty() { "index.html" } else { name });
        assert_eq!(there, served.map(str::to_owned).collect());
        for file in FILES {
            assert!(file.text.lines().count() <= 400, "{}", file.path);
        }
    }

    /// What a policy would stop, noticed before a browser is there; and what it would not.
    #[test]
    fn the_page_makes_no_markup_of_text_and_keeps_nothing() {
        for file in FILES {
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "localStorage",
                "sessionStorage",
                "indexedDB",
                "document.cookie",
                "pushState",
                "replaceState",
                "location.hash",
                "style=\"",
                "onclick=",
                "<script>",
                "https://",
            ] {
                assert!(!file.text.contains(word), "{} has {word}", file.path);
            }
        }
    }
}
