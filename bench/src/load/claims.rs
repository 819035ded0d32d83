//! What is posted: claims like those of a sign-up, with another e-mail address each time, so that
//! each call is a new one.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

const DIGITS: usize = 20;

/// Bodies of one length that differ in the digits of an e-mail address.
#[derive(Debug)]
pub(super) struct Claims {
    body: Vec<u8>,
    /// Where the digits begin.
    at: usize,
    next: AtomicU64,
}

impl Claims {
    /// Bodies of so many bytes; of as many as are needed where that is too few.
    pub(super) fn new(bytes: usize) -> Self {
        let head = r#"{"email":"person-"#;
        let mut body = format!("{head}{:0DIGITS$}@example.com\"", 0);
        for (name, value) in [
            ("displayName", "Ada Lovelace"),
            ("givenName", "Ada"),
            ("surname", "Lovelace"),
            ("ui_locales", "de-AT"),
            ("postalCode", "1010"),
            ("country", "Austria"),
            ("objectId", "6d3ab1c5-2f1a-4f5e-9b0e-0c6f0d9a7b11"),
        ] {
            push_if_room(&mut body, name, value, bytes);
        }
        let is_room = |body: &String| body.len() + 100 < bytes;
        for number in (0..).take_while(|_| bytes > 0) {
            if !is_room(&body) {
                break;
            }
            let name = format!("extension_0a1b2c3d_Attribute{number:04}");
            push_if_room(&mut body, &name, "What the person has typed.", bytes);
        }
        let left = bytes.saturating_sub(body.len() + r#","city":""}"#.len());
        body += &format!(r#","city":"{}"}}"#, "w".repeat(left));
        // Another start for each run, so that no call was there before.
        let start =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        let next = AtomicU64::new(u64::try_from(start).unwrap_or(0) * 1_000);
        Self { body: body.into_bytes(), at: head.len(), next }
    }

    /// A body to write digits into.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The number of the next call.
    pub(super) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Makes a copy of `body` the body of this call.
    pub(super) fn number(&self, body: &mut [u8], mut number: u64) {
        let digits = body.iter_mut().skip(self.at).take(DIGITS);
        for digit in digits.rev() {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
        }
    }
}

fn push_if_room(body: &mut String, name: &str, value: &str, bytes: usize) {
    let member = format!(r#","{name}":"{value}""#);
    if body.len() + member.len() + r#","city":""}"#.len() <= bytes {
        *body += &member;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn bodies_are_json_of_the_length_asked_for_and_differ() {
        for bytes in [200, 700, 2_000, 64_000] {
            let claims = Claims::new(bytes);
            let mut bodies: Vec<Vec<u8>> = vec![claims.body().to_vec(); 2];
            for body in &mut bodies {
                claims.number(body, claims.next());
                let read: Value = serde_json::from_slice(body).unwrap();
                assert!(read["email"].as_str().unwrap().ends_with("@example.com"));
                assert_eq!(body.len(), bytes);
            }
            assert_ne!(bodies[0], bodies[1]);
        }
    }
}
