//! What must hold whatever bytes come: one function for each target. The fuzzer calls it, and the
//! test suite does with every file in `corpus`. A promise that is broken is a panic.

mod answers;

use std::{
    collections::BTreeSet,
    fmt, str,
    sync::LazyLock,
    time::{Duration, Instant},
};

use bytes::Bytes;
use connector_bridge::{
    config::Config,
    domain::{
        call_id::{CacheKey, CallId, HashKey},
        claims::{is_filled, name_the_person, ui_locales},
        credentials::{
            AuthFault,
            api_key::ApiKeys,
            basic::BasicCredentials,
            certificate::{Certificate, Fingerprint, SubjectName},
            forwarded,
        },
        fallback::{default_answer, missing_claim},
        json::{DEPTH_MAX, JsonFault, Kind, Members, Object, Value},
        kept::{Keep, keep},
        reply::{self, CacheControl, Reply},
        seal::SealKeys,
        shared::{Revision, Seen, SharedPhase, SharedRecord, UnixMicros},
        shared_keep::SharedKeep,
    },
};
use data_encoding::BASE64;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use self::answers::{CONNECTORS, expect_default, expect_kept, expect_valid, expect_worded};

/// Takes any bytes.
pub type Target = fn(&[u8]);

/// Every target, by the name of its binary and of its folder in `corpus`.
pub const TARGETS: [(&str, Target); 6] = [
    ("authorization", authorization),
    ("call", call),
    ("configuration", configuration),
    ("forwarded_certificate", forwarded_certificate),
    ("reply", reply),
    ("store_record", store_record),
];

/// Any instant; only differences are looked at.
#[allow(clippy::disallowed_methods)]
static NOW: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Any wall-clock time, after some and before others that a record may name.
const WALL: UnixMicros = UnixMicros(1_800_000_000_000_000);

const USERNAME: &str = "entra";
const PASSWORD: &str = "pass:wörd";
const API_KEY: &str = "k+/=&% ä";

/// The values of `Authorization` headers, one a line, and the query of a URL: let in is the one
/// who knows the secret, and nobody else.
pub fn authorization(data: &[u8]) {
    static BASIC: LazyLock<BasicCredentials> =
        LazyLock::new(|| BasicCredentials::new([1; 32], [(USERNAME, PASSWORD.as_bytes())]));
    static API_KEYS: LazyLock<ApiKeys> =
        LazyLock::new(|| ApiKeys::new([1; 32], [API_KEY.as_bytes()]));
    let headers: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let verdict = BASIC.check(headers.iter().copied());
    let is_right = matches!(headers[..], [header] if is_right_header(header));
    assert_eq!(verdict.is_ok(), is_right, "{verdict:?}");
    if let Ok(query) = str::from_utf8(data) {
        let verdict = API_KEYS.check(Some(query));
        assert_eq!(verdict.is_ok(), is_right_query(query), "{verdict:?}");
    }
}

/// The scheme in any case, and the one way to write the credential in base64.
fn is_right_header(header: &[u8]) -> bool {
    let encoded = BASE64.encode(format!("{USERNAME}:{PASSWORD}").as_bytes());
    let header = str::from_utf8(header).ok().and_then(|header| header.split_once(' '));
    header.is_some_and(|(scheme, rest)| {
        scheme.eq_ignore_ascii_case("Basic") && rest.trim_matches(' ') == encoded
    })
}

/// One parameter called `code`, and its value unescaped is the key.
fn is_right_query(query: &str) -> bool {
    let named = |parameter: &&str| *parameter == "code" || parameter.starts_with("code=");
    let parameters: Vec<&str> = query.split('&').filter(named).collect();
    let [parameter] = parameters[..] else { return false };
    let mut escaped = parameter.strip_prefix("code=").unwrap_or_default().as_bytes();
    let mut unescaped = Vec::new();
    let digit = |digit: &u8| char::from(*digit).to_digit(16).map(|digit| digit as u8);
    while let [byte, rest @ ..] = escaped {
        let hex = rest.first().and_then(digit).zip(rest.get(1).and_then(digit));
        match (byte, hex) {
            (b'%', Some((high, low))) => {
                unescaped.push(high << 4 | low);
                escaped = &rest[2..];
            }
            (_, _) => {
                unescaped.push(*byte);
                escaped = rest;
            }
        }
    }
    unescaped == API_KEY.as_bytes()
}

/// The body of a caller's request: whoever reads it sees the same object, and the same object is
/// the same call however it is written.
pub fn call(data: &[u8]) {
    let read = Object::parse(data);
    match (&read, serde_json::from_slice::<OtherMembers>(data)) {
        (Ok(claims), Ok(other)) => {
            assert!(is_same_object(claims.members(), &other));
            assert_eq!((other.has_twice(), other.depth() <= DEPTH_MAX), (false, true));
        }
        // Numbers are not converted here, so that none is too large.
        (Ok(_), Err(fault)) => {
            assert!(fault.to_string().contains("number out of range"), "{fault}");
        }
        (Err(JsonFault::KeyTwice), Ok(other)) => assert!(other.has_twice()),
        (Err(JsonFault::TooDeep), Ok(other)) => assert!(other.depth() > DEPTH_MAX),
        (Err(fault @ (JsonFault::NotJson | JsonFault::NotObject)), Ok(_)) => panic!("{fault}"),
        (Err(_), Err(_)) => {}
    }
    let Ok(claims) = read else { return };
    let id_of = |claims: &Object<'_>| CallId::of(&HashKey::public(), "c", claims);
    let id = id_of(&claims);
    assert_ne!(id, CallId::of(&HashKey::public(), "d", &claims));
    let around = [b" \r\n\t", data, b"\t\n\r "].concat();
    let mut members: Vec<String> = claims
        .members()
        .map(|(name, value)| format!("{} : {}", serde_json::Value::from(name), value.text()))
        .collect();
    members.reverse();
    let reversed = format!("{{{}}}", members.join(" , ")).into_bytes();
    for same in [data, &around, &reversed] {
        assert_eq!(id_of(&Object::parse(same).expect("it was an object")), id);
    }
    let names: Vec<String> = claims.members().map(|(name, _)| name.to_owned()).collect();
    let key = CacheKey::same_values(&HashKey::public(), "c", &claims, &names);
    let is_filled = |name: &String| is_filled(&claims, name);
    assert_eq!(key.is_some(), names.iter().all(is_filled));
    for key in key.into_iter().chain([CacheKey::same_call(id)]) {
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    assert_eq!(name_the_person(&claims, &names), names.iter().any(is_filled));
    let locales = ui_locales(&claims);
    for connector in CONNECTORS.iter() {
        expect_default(connector, &default_answer(connector, locales.as_deref()));
        let missing = missing_claim(connector, &claims);
        assert_eq!(missing.is_none(), is_filled(&"a".to_owned()));
        missing.iter().for_each(|missing| expect_valid(connector, &missing.answer));
    }
}

/// JSON as others read it. Not a `serde_json::Value`, to which some names of members mean more.
#[derive(Deserialize)]
#[serde(untagged)]
enum Other {
    Null(()),
    Boolean(bool),
    Number(#[allow(dead_code, reason = "how others read numbers does not matter")] f64),
    String(String),
    Array(Vec<Other>),
    Object(OtherMembers),
}

impl Other {
    fn has_twice(&self) -> bool {
        match self {
            Other::Null(()) | Other::Boolean(_) | Other::Number(_) | Other::String(_) => false,
            Other::Array(items) => items.iter().any(Other::has_twice),
            Other::Object(members) => members.has_twice(),
        }
    }

    fn depth(&self) -> usize {
        match self {
            Other::Null(()) | Other::Boolean(_) | Other::Number(_) | Other::String(_) => 0,
            Other::Array(items) => 1 + items.iter().map(Other::depth).max().unwrap_or(0),
            Other::Object(members) => members.depth(),
        }
    }
}

/// The members of an object as they come, also those that come twice.
struct OtherMembers(Vec<(String, Other)>);

impl OtherMembers {
    fn has_twice(&self) -> bool {
        let names: BTreeSet<&String> = self.0.iter().map(|(name, _)| name).collect();
        names.len() < self.0.len() || self.0.iter().any(|(_, value)| value.has_twice())
    }

    fn depth(&self) -> usize {
        1 + self.0.iter().map(|(_, value)| value.depth()).max().unwrap_or(0)
    }
}

impl<'de> Deserialize<'de> for OtherMembers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsTheyCome;

        impl<'de> Visitor<'de> for AsTheyCome {
            type Value = OtherMembers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(OtherMembers(members))
            }
        }

        deserializer.deserialize_map(AsTheyCome)
    }
}

fn is_same_object(members: Members<'_>, other: &OtherMembers) -> bool {
    let mut others: Vec<_> = other.0.iter().collect();
    others.sort_by(|(one, _), (other, _)| one.cmp(other));
    members.clone().count() == others.len()
        && members
            .zip(others)
            .all(|((name, value), (other, as_other))| name == other && is_same(value, as_other))
}

/// Whether both see the same, but for the values of numbers.
fn is_same(value: Value<'_>, other: &Other) -> bool {
    match (value.kind(), other) {
        (Kind::Null, Other::Null(())) | (Kind::Number(_), Other::Number(_)) => true,
        (Kind::Boolean, Other::Boolean(other)) => value.text() == other.to_string(),
        (Kind::String(text), Other::String(other)) => text.unescaped() == *other,
        (Kind::Array(items), Other::Array(others)) => {
            assert_eq!(items.is_empty(), others.is_empty());
            items.clone().count() == others.len()
                && items.zip(others).all(|(item, other)| is_same(item, other))
        }
        (Kind::Object(members), Other::Object(other)) => is_same_object(members, other),
        (_, _) => false,
    }
}

/// A configuration: what is accepted reads back from what is printed of it.
pub fn configuration(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match Config::parse(text) {
        Ok(config) => {
            let effective = config.effective();
            let again =
                Config::parse(&effective).unwrap_or_else(|faults| panic!("{faults}\n{effective}"));
            assert_eq!(again.effective(), effective);
            // What has a name comes back in the order of names.
            assert_eq!(letters(&format!("{again:?}")), letters(&format!("{config:?}")));
            assert_eq!(letters(&again.warnings().concat()), letters(&config.warnings().concat()));
        }
        Err(faults) => {
            assert!(!faults.0.is_empty());
            assert!(!faults.to_string().is_empty());
        }
    }
}

/// The letters of a text, without regard to where they stand.
fn letters(text: &str) -> Vec<u8> {
    let mut letters = text.as_bytes().to_vec();
    letters.sort_unstable();
    letters
}

/// The lines of a header with a client certificate, its DER, a subject or a fingerprint: a
/// certificate is the same in whatever way it comes, and a name is what it is written as.
pub fn forwarded_certificate(data: &[u8]) {
    let read = |lines: &[&[u8]]| {
        let read = forwarded::read(lines.iter().copied())?;
        Ok::<_, AuthFault>(read.map(|forwarded| forwarded.certificate))
    };
    if let Ok(Some(Certificate { subject: Some(name), .. })) = read(&[data]) {
        expect_same_letters(&name);
    }
    assert_eq!(read(&[data, data]), Err(AuthFault::Malformed));
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    assert!(lines.len() == 1 || read(&lines) == Err(AuthFault::Malformed));

    let certificate = Certificate::from_der(data);
    certificate.iter().flat_map(|own| &own.subject).for_each(expect_same_letters);
    let base64 = BASE64.encode(data);
    let escaped = base64.replace('+', "%2B");
    let pem = format!("-----BEGIN CERTIFICATE-----%0A{escaped}%0A-----END CERTIFICATE-----%0A");
    for line in [base64.clone(), pem.clone(), format!("By=a;Cert=\"{pem}\"")] {
        let wanted = certificate.clone().map(Some).ok_or(AuthFault::Malformed);
        assert!(line.is_empty() || read(&[line.as_bytes()]) == wanted, "{line}");
    }

    let Ok(text) = str::from_utf8(data) else { return };
    if let Some(fingerprint) = Fingerprint::parse(text) {
        assert_eq!(Fingerprint::parse(&fingerprint.to_string()), Some(fingerprint));
    }
    if let Some(name) = SubjectName::parse(text) {
        expect_name(&name);
    }
}

/// The name in a certificate can be written. What is of one kind may change places within a part.
fn expect_same_letters(name: &SubjectName) {
    let again = SubjectName::parse(&name.to_string()).expect("a certificate has that name");
    assert_eq!(letters(&again.to_string()), letters(&name.to_string()), "{name} {again}");
    expect_name(&again);
}

/// A name is what it is written as, also with white space behind the commas between its parts.
fn expect_name(name: &SubjectName) {
    let (mut spaced, mut is_escaped) = (String::new(), false);
    for c in name.to_string().chars() {
        spaced.push(c);
        if c == ',' && !is_escaped {
            spaced.push_str("  ");
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    for text in [name.to_string(), spaced] {
        assert_eq!(SubjectName::parse(&text).as_ref(), Some(name), "{text}");
    }
}

/// A worker's reply, its `Cache-Control`, and the languages of a person: the answer is in the
/// words of the caller's contract, and lets nobody in who was not let in.
pub fn reply(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let cache_control = CacheControl::parse(&text);
    let payload = Bytes::copy_from_slice(data);
    let reply = Reply { payload, service_error: None, cache_control };
    for connector in CONNECTORS.iter() {
        let Ok(decided) = reply::read(connector, Some(&text), &reply) else {
            expect_default(connector, &default_answer(connector, Some(&text)));
            continue;
        };
        expect_worded(connector, &decided.decision);
        let rules = connector.fallback.cached.as_ref().expect("every connector has a cache");
        let (same_call, same_values) = keep(rules, decided.decision, cache_control, *NOW);
        for keep in [same_call, same_values] {
            if let Keep::Replace(kept) = keep {
                assert!(!kept.is_fresh(*NOW + rules.max_age));
                expect_kept(connector, &kept);
            }
        }
    }
}

/// What lies in a store, sealed or not: what opens is what was sealed, and what is read is written
/// as it was read.
pub fn store_record(data: &[u8]) {
    static SEALED: LazyLock<SealKeys> =
        LazyLock::new(|| SealKeys::from_secrets([b"secret".as_slice()].into_iter()));
    read_record(data);
    if let Some(record) = SealKeys::default().open("place", data) {
        assert_eq!(SealKeys::default().seal("place", [0; 12], &record).as_deref(), Some(data));
        read_record(&record);
    }
    if let Some(record) = SEALED.open("place", data) {
        let nonce = data.get(1..13).and_then(|nonce| nonce.try_into().ok()).expect("it opened");
        assert_eq!(SEALED.seal("place", nonce, &record).as_deref(), Some(data));
        assert_eq!(SEALED.open("elsewhere", data), None);
        read_record(&record);
    }
}

fn read_record(bytes: &[u8]) {
    if let Some(record) = SharedRecord::decode(bytes) {
        assert_eq!(SharedRecord::decode(&record.encode()).as_ref(), Some(&record));
        expect_believed(record);
    }
    for connector in CONNECTORS.iter() {
        let Some(told) = SharedKeep::decode(bytes, connector, *NOW, WALL) else { continue };
        assert!(told.at <= *NOW);
        let written = told.encode(*NOW, WALL).expect("what was read can be told");
        assert_eq!(SharedKeep::decode(&written, connector, *NOW, WALL).as_ref(), Some(&told));
        if let Keep::Replace(kept) = &told.keep {
            expect_kept(connector, kept);
        }
    }
}

/// No record is believed to count for longer than calls are remembered.
fn expect_believed(record: SharedRecord) {
    let window = Duration::from_secs(45);
    assert!((1..=7_200).contains(&record.life_seconds(WALL)));
    let believed = record.believed(WALL, window);
    assert!(believed.ends.since(WALL) <= window);
    assert_eq!(believed.clone().believed(WALL, window), believed);
    if let SharedPhase::Decided(decided) = &believed.phase {
        let again = decided.clone().written_before(WALL);
        assert_eq!(again.is_over(), decided.is_over());
    }
    let seen = Seen { revision: Revision(1), written: WALL, record: Some(believed) };
    assert_eq!(seen.live(WALL.plus(window)), None);
}
