//! How much memory this process may take: what its control group says, or the machine has. The only
//! place that reads those files.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Without any limit the process is a guest on a machine: of that, it takes a half at most.
const OF_THE_MACHINE: usize = 2;

/// The names of the limits, by version: in v2 the kernel slows down above the first, and kills above
/// the second.
const LIMITS: [&str; 3] = ["memory.high", "memory.max", "memory.limit_in_bytes"];

/// The most bytes that this process may take.
pub fn of_this_process() -> Option<usize> {
    limit_under(Path::new("/"))
}

fn limit_under(root: &Path) -> Option<usize> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let machine = fs::read_to_string(root.join("proc/meminfo")).ok();
    let machine = machine.as_deref().and_then(total);
    let limits = folders(&groups).into_iter().flat_map(|folder| {
        let folder = root.join("sys/fs/cgroup").join(folder);
        LIMITS.map(|name| fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok())
    });
    // Without a limit, v1 names a number larger than any machine.
    let limits = limits.flatten().filter(|limit| machine.is_none_or(|machine| *limit < machine));
    limits.min().or(machine.map(|machine| machine / OF_THE_MACHINE))
}

/// Where limits of this process may stand below `/sys/fs/cgroup`: its own group, and all above it,
/// as far as it sees them. What it sees as the root may be a group of a container.
fn folders(groups: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let mounts: &[&str] = match controllers {
            // v2, alone or beside v1.
            "" => &["", "unified"],
            _ if controllers.split(',').any(|name| name == "memory") => &["memory"],
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        // A path that leads out of the container's root is not there.
        let ancestors = path.ancestors().filter(|path| !path.starts_with(".."));
        let ancestors = ancestors.chain(std::iter::once(Path::new("")));
        folders.extend(ancestors.flat_map(|at| mounts.iter().map(move |m| Path::new(m).join(at))));
    }
    folders
}

/// The memory of the machine.
fn total(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;
    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:       1048576 kB\nMemFree: 1 kB\n");

    /// The limit where these files are there.
    fn limit(files: &[(&str, &str)]) -> Option<usize> {
        let name = format!("connector-bridge-limit-{}-{:p}", std::process::id(), files);
        let root = std::env::temp_dir().join(name);
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let limit = limit_under(&root);
        drop(fs::remove_dir_all(&root));
        limit
    }

    #[test]
    fn the_smallest_limit_of_the_groups_that_it_is_in_counts() {
        for (files, mib) in [
            // A container in v2 sees its own group as the root.
            (vec![("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "67108864\n")], 64),
            (
                vec![
                    ("proc/self/cgroup", "0::/a/b\n"),
                    ("sys/fs/cgroup/a/b/memory.max", "max\n"),
                    ("sys/fs/cgroup/a/memory.max", "134217728\n"),
                ],
                128,
            ),
            (
                vec![
                    ("proc/self/cgroup", "0::/a\n"),
                    ("sys/fs/cgroup/a/memory.max", "134217728\n"),
                    ("sys/fs/cgroup/a/memory.high", "67108864\n"),
                ],
                64,
            ),
            // v1, beside an empty v2.
            (
                vec![
                    ("proc/self/cgroup", "7:cpu:/x\n5:memory:/pod/c\n0::/\n"),
                    ("sys/fs/cgroup/memory/pod/c/memory.limit_in_bytes", "67108864\n"),
                    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ],
                64,
            ),
            // A container in v1: the path is that of the host, the limit stands at the root.
            (
                vec![
                    ("proc/self/cgroup", "5:memory:/kubepods/pod1/c1\n"),
                    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n"),
                ],
                64,
            ),
            (
                vec![
                    ("proc/self/cgroup", "0::/../../elsewhere\n"),
                    ("sys/fs/cgroup/memory.max", "67108864\n"),
                ],
                64,
            ),
        ] {
            let files = [files, vec![MACHINE]].concat();
            assert_eq!(limit(&files), Some(mib * MIB), "{files:?}");
        }
    }

    #[test]
    fn without_a_limit_it_is_half_of_the_machine() {
        for group in ["max\n", "9223372036854771712\n", "nonsense"] {
            let own = ("proc/self/cgroup", "0::/\n");
            let files = [own, ("sys/fs/cgroup/memory.max", group), MACHINE];
            assert_eq!(limit(&files), Some(512 * MIB), "{group}");
        }
        assert_eq!(limit(&[MACHINE]), Some(512 * MIB));
        assert_eq!(limit(&[]), None);
    }
}
