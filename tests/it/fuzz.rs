//! What the fuzzer has found, and what it began with, on every run of the tests.

use std::{
    collections::BTreeSet,
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

use self::targets::TARGETS;

#[allow(unreachable_pub, reason = "the fuzzer's binaries call it too")]
#[path = "../../fuzz/src/targets.rs"]
pub(super) mod targets;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The names in a folder, without what stands behind a dot.
fn names_in(folder: &str) -> BTreeSet<String> {
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    fs::read_dir(root().join(folder)).unwrap().map(|entry| stem(entry.unwrap().path())).collect()
}

#[test]
fn every_target_has_a_binary_and_a_corpus_and_there_are_no_others() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names_in("fuzz_targets"), targets);
    assert_eq!(names_in("corpus"), targets);
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for target in targets {
        let path = format!("fuzz_targets/{target}.rs");
        assert!(manifest.contains(&format!("name = \"{target}\"\npath = \"{path}\"")), "{target}");
        let binary = fs::read_to_string(root().join(path)).unwrap();
        assert!(binary.contains(&format!("connector_bridge_fuzz::{target}(data)")), "{target}");
    }
}

#[test]
fn no_bytes_of_the_corpus_break_what_must_hold_for_all() {
    for (name, target) in TARGETS {
        let folder = root().join("corpus").join(name);
        let files: Vec<PathBuf> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty(), "{name} has no corpus");
        for file in files {
            let bytes = fs::read(&file).unwrap();
            assert!(catch_unwind(|| target(&bytes)).is_ok(), "{name} breaks at {}", file.display());
        }
    }
}
