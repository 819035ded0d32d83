//! Every log message stands in docs/logs.md, with its level and its fields.

use std::{fs, path::Path};

/// A message as it stands in the code.
struct Message {
    level: String,
    text: String,
    fields: Vec<String>,
}

/// What stands between the parenthesis that was opened before `code` and the one that closes it.
fn arguments(code: &str) -> &str {
    let (mut depth, mut in_text, mut escaped) = (1, false, false);
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'(' if !in_text => depth += 1,
            b')' if !in_text => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &code[..at];
        }
    }
    panic!("a macro without an end");
}

/// The macros of `code`. The text comes last, and fields stand before it, each on its own or on
/// one line, as rustfmt puts them.
fn messages(code: &str) -> Vec<Message> {
    let mut found = Vec::new();
    for level in ["error", "warn", "info", "debug", "trace"] {
        for rest in code.split(&format!("tracing::{level}!(")).skip(1) {
            let arguments = arguments(rest).trim().trim_end_matches(',');
            // A format argument may stand behind the text.
            let start = arguments.find('"').unwrap();
            let start = match arguments[start..].starts_with("\"none\"") {
                true => arguments.rfind(", \"").or(arguments.rfind("\n")).unwrap(),
                false => start,
            };
            let (fields, text) = arguments.split_at(start);
            let text = text.trim().trim_start_matches([',', '"', ' ']);
            let text = text.split("\\\n").map(str::trim_start).collect::<String>();
            let text = text.trim_start_matches('"').split('"').next().unwrap().to_owned();
            let name = |field: &str| {
                let name = field.split('=').next().unwrap().trim().trim_start_matches('%');
                (!name.is_empty()).then(|| name.to_owned())
            };
            let fields = split_fields(fields).iter().filter_map(|field| name(field)).collect();
            found.push(Message { level: level.to_owned(), text, fields });
        }
    }
    found
}

/// At the commas that stand in no parenthesis.
fn split_fields(fields: &str) -> Vec<String> {
    let (mut depth, mut all) = (0, vec![String::new()]);
    for c in fields.chars() {
        match c {
            '(' | '{' => depth += 1,
            ')' | '}' => depth -= 1,
            ',' if depth == 0 => {
                all.push(String::new());
                continue;
            }
            _ => {}
        }
        all.last_mut().unwrap().push(c);
    }
    all
}

fn all_messages() -> Vec<Message> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                // The module of tests begins at the margin.
                found.extend(messages(text.split("\n#[cfg(test)]").next().unwrap()));
            }
        }
    }
    found
}

/// Rows of the table of all messages.
fn documented() -> Vec<(String, String, String)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/logs.md");
    let text = fs::read_to_string(file).unwrap();
    let table = text.split("## Every message").nth(1).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        (cells[0].to_owned(), cells[1].to_owned(), cells[2].to_owned())
    });
    rows.filter(|(level, _, _)| !level.contains("---")).collect()
}

/// Whether a documented message is this one: an ellipsis stands for what is filled in.
fn is_said_in(text: &str, documented: &str) -> bool {
    documented.split('`').skip(1).step_by(2).any(|message| match message.split_once('…') {
        Some((start, end)) => text.starts_with(start) && text.ends_with(end),
        None => message == text,
    })
}

#[test]
fn every_log_message_is_documented_with_its_level_and_fields() {
    let (messages, documented) = (all_messages(), documented());
    assert!(messages.len() >= 35, "only {} messages", messages.len());
    for Message { level, text, fields } in &messages {
        // Warnings about the configuration, and the advice about replies, have rows of their own.
        if ["{warning}", "{}"].contains(&&**text) {
            continue;
        }
        let rows: Vec<_> =
            documented.iter().filter(|(_, said, _)| is_said_in(text, said)).collect();
        let [(row_level, _, row_fields)] = &rows[..] else {
            panic!("{text:?} stands {} times in docs/logs.md", rows.len());
        };
        assert_eq!(row_level, level, "{text:?}");
        if row_fields == "above" {
            continue;
        }
        for field in fields {
            assert!(row_fields.contains(&format!("`{field}`")), "{text:?} has {field}");
        }
    }
}

#[test]
fn every_documented_message_is_there() {
    let messages = all_messages();
    let code =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pipeline/asking.rs"));
    let advice = code.unwrap().replace("\\\n         ", "");
    for (_, said, _) in documented() {
        for message in said.split('`').skip(1).step_by(2) {
            let said = format!("`{message}`");
            let is_there = messages.iter().any(|known| is_said_in(&known.text, &said))
                || advice.contains(&format!("\"{message}\""));
            assert!(is_there, "{message:?} is not logged anywhere");
        }
    }
}
