//! What holds for every input: the canonical form, and that any bytes as reply give a
//! contract-valid answer.

use std::{fmt::Write, sync::LazyLock};

use connector_bridge::{
    config::Config,
    domain::{
        call_id::{CallId, HashKey},
        connector::Connector,
        fallback::default_answer,
        json::Object,
        protocol::{PROTOCOLS, Step},
        reply::{self, Reply},
    },
};
use proptest::{collection, prelude::*};

use crate::fuzz::targets;

/// A JSON value that can be written in many ways.
#[derive(Clone, Debug, PartialEq)]
enum Json {
    Word(&'static str),
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Members with distinct names.
fn object(value: impl Strategy<Value = Json>) -> impl Strategy<Value = Vec<(String, Json)>> {
    collection::btree_map(".{0,6}", value, 0..6).prop_map(|members| members.into_iter().collect())
}

fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        prop::sample::select(vec!["null", "true", "false"]).prop_map(Json::Word),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?".prop_map(Json::Number),
        ".{0,12}".prop_map(Json::String),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..5).prop_map(Json::Array),
            object(inner).prop_map(Json::Object),
        ]
    })
}

/// Writes a value in a way that `style` picks: order of members, white space, escapes.
fn write(out: &mut String, value: &Json, style: &mut u64) {
    let mut pick = |n: u64| {
        *style =
            style.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*style >> 33) % n
    };
    let space = [" ", "", "\n", "\t \r"][usize::try_from(pick(4)).unwrap()];
    out.push_str(space);
    match value {
        Json::Word(word) => out.push_str(word),
        Json::Number(number) => out.push_str(number),
        Json::String(text) => write_string(out, text, pick(2) == 0),
        Json::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                write(out, item, style);
            }
            out.push(']');
        }
        Json::Object(members) => {
            let turn = if members.is_empty() { 0 } else { pick(members.len() as u64) };
            let mut members: Vec<_> = members.iter().collect();
            members.rotate_left(usize::try_from(turn).unwrap());
            let escaped = pick(2) == 0;
            out.push('{');
            for (at, (name, value)) in members.into_iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                write_string(out, name, escaped);
                out.push(':');
                write(out, value, style);
            }
            out.push('}');
        }
    }
    out.push_str(space);
}

fn write_string(out: &mut String, text: &str, escaped: bool) {
    if !escaped {
        out.push_str(&serde_json::to_string(text).unwrap());
        return;
    }
    out.push('"');
    for unit in text.encode_utf16() {
        write!(out, "\\u{unit:04x}").unwrap();
    }
    out.push('"');
}

fn written(members: &[(String, Json)], mut style: u64) -> String {
    let mut out = String::new();
    write(&mut out, &Json::Object(members.to_vec()), &mut style);
    out
}

fn id(text: &str) -> CallId {
    CallId::of(&HashKey::public(), "c", &Object::parse(text.as_bytes()).unwrap())
}

/// The id by its definition: each part with its kind and its length, members by their names.
fn id_by_definition(members: &[(String, Json)]) -> String {
    let key = blake3::derive_key("connector-bridge 2026-11 call id", b"");
    let mut parts = Vec::new();
    part(&mut parts, 'p', "call");
    part(&mut parts, 'c', "c");
    members_by_definition(&mut parts, members);
    blake3::keyed_hash(&key, &parts).to_hex()[..32].to_owned()
}

fn part(parts: &mut Vec<u8>, kind: char, text: &str) {
    parts.push(kind as u8);
    parts.extend((text.len() as u64).to_be_bytes());
    parts.extend(text.as_bytes());
}

fn members_by_definition(parts: &mut Vec<u8>, members: &[(String, Json)]) {
    let mut members: Vec<_> = members.iter().collect();
    members.sort_by_key(|(name, _)| name.as_bytes());
    for (name, value) in members {
        part(parts, 'k', name);
        value_by_definition(parts, value);
    }
    part(parts, '}', "");
}

fn value_by_definition(parts: &mut Vec<u8>, value: &Json) {
    match value {
        Json::Word(word) => part(parts, 'w', word),
        Json::Number(number) => part(parts, 'n', number),
        Json::String(text) => part(parts, 's', text),
        Json::Array(items) => {
            part(parts, '[', "");
            items.iter().for_each(|item| value_by_definition(parts, item));
            part(parts, ']', "");
        }
        Json::Object(members) => {
            part(parts, '{', "");
            members_by_definition(parts, members);
        }
    }
}

/// Bytes that are nearly JSON: what texts are made of, in any order, or a text with one byte
/// changed, left out or doubled.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&str; 40] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\"\\u0061\"",
        "\"b\":",
        "{\"a\":",
        "[[[[[[[[",
        "]]]]]]]]",
        "\\ud83d",
        "\\ude00",
        "\\u00e9",
        "\\n",
        "\\",
        "1",
        "-",
        "0",
        "01",
        ".5",
        "1.",
        "e5",
        "E+",
        "true",
        "false",
        "null",
        "nul",
        "NaN",
        " ",
        "\n",
        "\t\r",
        "\u{b}",
        "\u{feff}",
        "\0",
        "\u{1f}",
        "é",
        "{}",
    ];
    let pieces = collection::vec(prop::sample::select(PIECES.to_vec()), 0..30)
        .prop_map(|pieces| pieces.concat().into_bytes());
    let object_of_pieces = collection::vec(prop::sample::select(PIECES.to_vec()), 0..8)
        .prop_map(|pieces| format!("{{\"a\":{}}}", pieces.concat()).into_bytes());
    let changed = (object(json()), any::<u64>(), any::<prop::sample::Index>(), any::<u8>(), 0..4)
        .prop_map(|(members, style, at, byte, how)| {
            let mut bytes = written(&members, style).into_bytes();
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, bytes[at]),
                _ => {}
            }
            bytes
        });
    prop_oneof![pieces, object_of_pieces, changed]
}

fn connectors() -> Vec<Connector> {
    let steps =
        PROTOCOLS.iter().flat_map(|protocol| protocol.steps.iter().map(move |s| (protocol, s)));
    let section = |(at, (protocol, step)): (usize, (&&_, &Step))| {
        let protocol: &connector_bridge::domain::protocol::Protocol = protocol;
        format!(
            "  c{at}: {{protocol: {}, step: {}, auth: none, fallback: {{default: refuse}}}}\n",
            protocol.name, step.name
        )
    };
    let text: String = steps.enumerate().map(section).collect();
    let config = Config::parse(&format!("connectors:\n{text}")).unwrap();
    config.connectors.into_iter().map(|settings| settings.connector).collect()
}

/// One of every protocol and step.
static CONNECTORS: LazyLock<Vec<Connector>> = LazyLock::new(connectors);

/// Bytes that are nearly a decision.
fn nearly_a_decision() -> impl Strategy<Value = Vec<u8>> {
    let action = prop_oneof!["Continue", "ShowBlockPage", "ValidationError", ".{0,12}"];
    let decision =
        (action, object(json()), any::<u64>()).prop_map(|(action, mut members, style)| {
            members.retain(|(name, _)| name != "action");
            members.push(("action".to_owned(), Json::String(action)));
            written(&members, style).into_bytes()
        });
    let decision = decision.boxed();
    let broken = (decision.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(
        |(mut bytes, at, byte)| {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        },
    );
    prop_oneof![decision, broken, collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_white_space_and_escapes_make_the_same_call(
        members in object(json()), one in any::<u64>(), other in any::<u64>()
    ) {
        prop_assert_eq!(id(&written(&members, one)), id(&written(&members, other)));
    }

    #[test]
    fn the_id_is_what_its_definition_says(members in object(json()), style in any::<u64>()) {
        prop_assert_eq!(id(&written(&members, style)).to_string(), id_by_definition(&members));
    }

    #[test]
    fn another_reader_of_json_takes_and_refuses_the_same_and_sees_the_same(
        bytes in nearly_json()
    ) {
        targets::call(&bytes);
    }

    #[test]
    fn anything_else_makes_another_call(
        members in object(json()), others in object(json()), style in any::<u64>()
    ) {
        let same = members == others;
        prop_assert_eq!(id(&written(&members, style)) == id(&written(&others, style)), same);
    }

    #[test]
    fn one_changed_value_makes_another_call(
        members in object(json()), at in any::<prop::sample::Index>(), value in json()
    ) {
        prop_assume!(!members.is_empty());
        let mut changed = members.clone();
        let at = at.index(changed.len());
        prop_assume!(changed[at].1 != value);
        changed[at].1 = value;
        prop_assert_ne!(id(&written(&members, 1)), id(&written(&changed, 1)));
    }

    #[test]
    fn any_bytes_as_reply_give_a_contract_valid_answer(payload in nearly_a_decision()) {
        for connector in CONNECTORS.iter() {
            let reply = Reply { payload: payload.clone().into(), ..Reply::default() };
            let answer = match reply::read(connector, Some("de"), &reply) {
                Ok(decided) => connector.answer(&decided.decision),
                Err(_) => default_answer(connector, Some("de")),
            };
            let read = connector.protocol.read(connector.step, answer.status, &answer.body);
            prop_assert!(!answer.is_decision() || read.is_ok(), "{:?}: {:?}", answer, read);
        }
    }

    #[test]
    fn no_bytes_at_all_make_the_reader_of_claims_panic(bytes in collection::vec(any::<u8>(), 0..300)) {
        drop(Object::parse(&bytes));
    }
}
