//! What the bridge has: so much memory, so many descriptors, one core.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

/// The least that is documented for a pod.
pub(crate) const MEMORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The core of the bridge. Everything else of a scenario runs on the others.
const CORE: usize = 0;

/// How the kernel offers control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    /// Where groups with a limit of memory are made.
    fn root(self) -> &'static Path {
        Path::new(match self {
            Version::One => "/sys/fs/cgroup/memory",
            Version::Two => "/sys/fs/cgroup",
        })
    }
}

/// A control group of its own with a limit of memory; removed when dropped.
pub(crate) struct ControlGroup {
    folder: PathBuf,
    version: Version,
}

impl ControlGroup {
    /// Says so, and returns none, where there cannot be one.
    pub(crate) fn new() -> Option<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "connector-bridge-attacks-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let is_one = Version::One.root().join("memory.limit_in_bytes").exists();
        let version = if is_one { Version::One } else { Version::Two };
        let group = Self { folder: version.root().join(name), version };
        match group.limit() {
            Ok(()) => Some(group),
            Err(error) => {
                eprintln!(
                    "ATTENTION: no control group limits the bridge's memory ({}: {error}; it needs \
                     root). What it used is held against the limit afterwards, and nothing kills it.",
                    group.folder.display()
                );
                None
            }
        }
    }

    fn limit(&self) -> std::io::Result<()> {
        let limit = MEMORY_BYTES_MAX.to_string();
        let file = |name: &str| self.folder.join(name);
        match self.version {
            Version::One => {
                fs::create_dir(&self.folder)?;
                fs::write(file("memory.limit_in_bytes"), &limit)?;
                // Only there where swap is counted.
                drop(fs::write(file("memory.memsw.limit_in_bytes"), &limit));
            }
            Version::Two => {
                // Already so, or the folder below has no such file.
                drop(fs::write(Version::Two.root().join("cgroup.subtree_control"), "+memory"));
                fs::create_dir(&self.folder)?;
                fs::write(file("memory.max"), &limit)?;
                drop(fs::write(file("memory.swap.max"), "0"));
            }
        }
        Ok(())
    }

    /// The most memory that it had at once, with what the kernel had for it.
    pub(crate) fn bytes_at_most(&self) -> u64 {
        let name = match self.version {
            Version::One => "memory.max_usage_in_bytes",
            Version::Two => "memory.peak",
        };
        let text = fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// How many of its processes were killed for want of memory.
    pub(crate) fn killed(&self) -> u64 {
        let name = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = fs::read_to_string(self.folder.join(name)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.unwrap().trim().parse().unwrap()
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // A process that was just killed may still be leaving.
        for _ in 0..100 {
            // There is none where it could not be made.
            if fs::remove_dir(&self.folder).is_ok() || !self.folder.exists() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        eprintln!("{} is left behind", self.folder.display());
    }
}

/// A program with its limits. It sees its control group as a container does: at the root. What it
/// writes to standard error goes through a pipe, or the pages of that file would be its own memory.
/// Its process is the one that is spawned: each step takes the place of the one before.
pub(crate) fn limited(
    program: &Path,
    group: Option<&ControlGroup>,
    descriptors: u64,
    folder: &Path,
) -> Command {
    const SCRIPT: &str = r#"set -e
mkfifo "$1/err"; cat "$1/err" >&2 & exec 2> "$1/err"
folder=$2 root=$3 descriptors=$4 core=$5; shift 5
if test -n "$folder"; then
    echo $$ > "$folder/cgroup.procs"
    exec unshare --mount --cgroup sh -c 'set -e
        mount --bind "$1" "$2"; descriptors=$3 core=$4; shift 4
        exec taskset -c $core prlimit --nofile=$descriptors:$descriptors "$@"
    ' sh "$folder" "$root" "$descriptors" "$core" "$@"
fi
exec taskset -c $core prlimit --nofile=$descriptors:$descriptors "$@""#;
    let mut command = Command::new("sh");
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.args(["-c", SCRIPT, "sh"]).arg(folder);
    match group {
        Some(group) => command.arg(&group.folder).arg(group.version.root()),
        None => command.args(["", ""]),
    };
    command.args([descriptors.to_string(), CORE.to_string()]).arg(program);
    command
}

/// Leaves the bridge's core to it, and takes all descriptors that there are.
pub(crate) fn make_way() {
    let process = std::process::id().to_string();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    // A process that was moved already sees fewer.
    static CORES: AtomicU64 = AtomicU64::new(0);
    let cores = CORES.fetch_max(cores as u64, Ordering::Relaxed).max(cores as u64);
    if cores == 1 {
        eprintln!("ATTENTION: there is one core only: attackers take time from the bridge.");
    } else {
        let others = format!("{}-{}", CORE + 1, cores - 1);
        run("taskset", &["-a", "-c", "-p", &others, &process]);
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let hard = line.split_whitespace().nth(4).unwrap();
    run("prlimit", &["--pid", &process, &format!("--nofile={hard}:{hard}")]);
}

/// Has this thread wait for the processor behind all others: what good callers measure is to be the
/// bridge's time, and not that of attackers on the same core.
pub(crate) fn stand_back() {
    let path = fs::read_link("/proc/thread-self").unwrap();
    run("renice", &["-n", "10", "-p", path.file_name().unwrap().to_str().unwrap()]);
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}
