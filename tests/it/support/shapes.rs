//! Bodies of one size and many shapes: what a form posts, and what somebody makes up to cost much.

use std::{fmt::Write, fs, hint::black_box, time::Duration};

use connector_bridge::domain::{
    call_id::{CallId, HashKey},
    json::Object,
};

/// Makes a body of about so many bytes.
type Make = fn(usize) -> String;

/// How the bodies are made, by name. The first is what a sign-up posts.
pub(crate) const SHAPES: [(&str, Make); 18] = [
    ("a form's claims", form),
    ("one long text", |bytes| filled("{\"a\":\"", "x", "\"}", bytes)),
    ("one long number", |bytes| filled("{\"a\":1", "0", "}", bytes)),
    ("white space", |bytes| filled("{", " \n", "}", bytes)),
    ("text beyond ASCII", |bytes| filled("{\"a\":\"", "語", "\"}", bytes)),
    ("short escapes", |bytes| filled("{\"a\":\"", r"\n", "\"}", bytes)),
    ("long escapes", |bytes| filled("{\"a\":\"", r"\u0061", "\"}", bytes)),
    ("surrogate pairs", |bytes| filled("{\"a\":\"", r"\ud83d\ude00", "\"}", bytes)),
    ("short texts", |bytes| filled("{\"a\":[", "\"\",", "0]}", bytes)),
    ("short escaped texts", |bytes| filled("{\"a\":[", r#""\n","#, "0]}", bytes)),
    ("short numbers", |bytes| filled("{\"a\":[", "1,", "0]}", bytes)),
    ("empty arrays", |bytes| filled("{\"a\":[", "[],", "0]}", bytes)),
    ("empty objects", |bytes| filled("{\"a\":[", "{},", "0]}", bytes)),
    ("arrays 30 deep", |bytes| nested("[", "1", "]", bytes)),
    ("objects 30 deep", |bytes| nested("{\"\":", "1", "}", bytes)),
    ("short members", |bytes| members(bytes, "")),
    ("members with a long beginning", |bytes| members(bytes, &"extension_".repeat(20))),
    ("members with escaped names", |bytes| members(bytes, r"\u0061\u0061\u0061\u0061")),
];

/// `piece` again and again.
fn filled(head: &str, piece: &str, tail: &str, bytes: usize) -> String {
    let room = bytes - head.len() - tail.len();
    format!("{head}{}{tail}", piece.repeat(room / piece.len()))
}

/// Members as they are in a form: names and values of some length.
fn form(bytes: usize) -> String {
    written(bytes, |body, number| {
        write!(body, r#""extension_Attribute{number:06}":"A value of {number:08} letters","#)
    })
}

/// The shortest members whose names begin so, in no order.
fn members(bytes: usize, begin: &str) -> String {
    written(bytes, |body, number| {
        // Odd, and so every number has one of its own.
        let mixed = number.wrapping_mul(0x9e37_79b1) & 0x000f_ffff;
        write!(body, "\"{begin}{mixed:x}\":1,")
    })
}

/// Nests as deep as goes together with the object around: everything, or some levels again and
/// again.
fn nested(open: &str, inner: &str, close: &str, bytes: usize) -> String {
    let tower = format!("{}{inner}{},", open.repeat(30), close.repeat(30));
    filled("{\"a\":[", &tower, "0]}", bytes)
}

fn written(bytes: usize, mut member: impl FnMut(&mut String, u32) -> std::fmt::Result) -> String {
    let mut body = "{".to_owned();
    for number in 0.. {
        let before = body.len();
        member(&mut body, number).expect("text can be written");
        if body.len() > bytes {
            body.truncate(before);
            break;
        }
    }
    body.pop();
    body.push('}');
    body
}

/// What it costs to read these claims and to make the call's id of them, `times` times over.
pub(crate) fn cost(body: &str, times: u32) -> Duration {
    let before = own_time();
    for _ in 0..times {
        let claims = Object::parse(black_box(body).as_bytes()).expect("it is an object");
        black_box(CallId::of(&HashKey::public(), "c", &claims));
    }
    own_time() - before
}

/// How long this thread has had a core: what else the machine does is not in it.
fn own_time() -> Duration {
    let times = fs::read_to_string("/proc/thread-self/schedstat").expect("it is Linux");
    let nanoseconds = times.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.expect("it is a number"))
}
