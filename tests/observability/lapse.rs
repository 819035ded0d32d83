//! Time-lapse: rules as they are delivered, with every duration divided.

/// By what durations are divided: a minute becomes a second.
pub(crate) const FACTOR: u64 = 60;

/// Keys whose value is a duration.
const KEYS: [&str; 4] = ["for: ", "group_wait: ", "group_interval: ", "repeat_interval: "];

/// The same YAML with every duration divided: those of [`KEYS`], and the ranges and offsets in
/// expressions. Comments stay.
pub(crate) fn hastened(yaml: &str) -> String {
    yaml.lines().map(|line| hastened_line(line) + "\n").collect()
}

fn hastened_line(line: &str) -> String {
    let text = line.trim_start();
    if text.starts_with('#') {
        return line.to_owned();
    }
    if let Some(key) = KEYS.iter().find(|key| text.starts_with(**key)) {
        let indent = line.len() - text.len();
        let duration = text.strip_prefix(key).unwrap();
        let divided = divided(duration).unwrap_or_else(|| panic!("not a duration: {line}"));
        return format!("{}{key}{divided}", &line[..indent]);
    }
    behind_each(&behind_each(line, "[", ']'), " offset ", ')')
}

/// The line with what stands between `start` and `end` divided, where that is a duration.
fn behind_each(line: &str, start: &str, end: char) -> String {
    let mut parts = line.split(start);
    let mut done = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        done += start;
        match part.split_once(end).and_then(|(text, rest)| Some((divided(text)?, rest))) {
            Some((duration, rest)) => done += &format!("{duration}{end}{rest}"),
            None => done += part,
        }
    }
    done
}

/// `10m` becomes `10000ms`.
fn divided(duration: &str) -> Option<String> {
    let unit = duration.trim_start_matches(|c: char| c.is_ascii_digit());
    let number: u64 = duration.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    Some(format!("{}ms", number * seconds * 1_000 / FACTOR))
}

#[test]
fn every_duration_is_divided_and_nothing_else_changes() {
    let yaml = "# for: 5m [5m]\n    for: 10m\n    expr: a[5m] / f(b[3d] offset 1h) > 2 * 86400 # [x]\n- record: a:rate5m\n";
    let wanted = "# for: 5m [5m]\n    for: 10000ms\n    expr: a[5000ms] / f(b[4320000ms] offset 60000ms) > 2 * 86400 # [x]\n- record: a:rate5m\n";
    assert_eq!(hastened(yaml), wanted);
}
