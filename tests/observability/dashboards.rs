//! Whether dashboards ask for what is there: each of their queries has data after good and bad days.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::{documents::path, monitors::Prometheus};

/// Panels that are empty, by title, and why. One that has data after all must be taken out.
const EMPTY: &[(&str, &str)] = &[];

/// Variables, as a dashboard that shows everything has them. Longer names first.
const VARIABLES: &[(&str, &str)] = &[
    ("$__rate_interval", "1s"),
    ("$__interval", "1s"),
    ("$__range", "5m"),
    ("$namespace", ".*"),
    ("$connector", ".+"),
    ("$instance", ".+"),
    ("$job", ".+"),
];

/// Asks every query of every file in `dashboards`, over the life of this Prometheus.
pub(crate) async fn every_dashboard_query_returns_data(prometheus: &Prometheus) {
    let files = files();
    assert!(!files.is_empty(), "there is no dashboards/*.json");
    let (mut asked, mut wrong) = (0, Vec::new());
    for file in &files {
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        for (title, query) in queries(&dashboard) {
            asked += 1;
            let name = file.file_name().unwrap().display();
            let is_listed = EMPTY.iter().any(|(panel, _)| *panel == title);
            let what = match prometheus.count_values(&filled_in(&query)).await {
                Err(error) => error,
                Ok(0) if !is_listed => "empty".to_owned(),
                Ok(1..) if is_listed => "has data: take it out of the list".to_owned(),
                Ok(_) => continue,
            };
            wrong.push(format!("{name}: {title}: {what}\n    {query}"));
        }
    }
    println!("{asked} queries of {} dashboards", files.len());
    assert!(wrong.is_empty(), "{} of {asked}:\n{}", wrong.len(), wrong.join("\n"));
}

/// All dashboards, in folders too.
fn files() -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![path("dashboards")]);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "json") {
                found.push(path);
            }
        }
    }
    found
}

/// The title of each panel, those inside rows too, with each of its queries.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let none = Vec::new();
    let list = |of: &Value, key: &str| of[key].as_array().unwrap_or(&none).clone();
    let mut panels = list(dashboard, "panels");
    panels.extend(panels.clone().iter().flat_map(|row| list(row, "panels")));
    let queries = panels.iter().flat_map(|panel| {
        let title = panel["title"].as_str().unwrap_or_default().to_owned();
        list(panel, "targets").into_iter().map(move |target| {
            (title.clone(), target["expr"].as_str().expect("a query").to_owned())
        })
    });
    queries.collect()
}

fn filled_in(query: &str) -> String {
    let mut query = query.to_owned();
    for (variable, value) in VARIABLES {
        let name = variable.trim_start_matches('$');
        query = query.replace(&format!("${{{name}}}"), value).replace(variable, value);
    }
    query
}
