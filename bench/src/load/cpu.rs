//! The CPU time of processes, as the kernel's scheduler counts it.

use std::fs;

/// What one thread has used, in nanoseconds.
fn of_thread(path: &std::path::Path) -> u64 {
    let text = fs::read_to_string(path.join("schedstat")).unwrap_or_default();
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What all threads of these processes have used together, in nanoseconds. A thread that has ended
/// is not counted any more; the programs that are measured keep theirs.
pub(super) fn used(processes: &[u32]) -> u64 {
    let folders = processes.iter().filter_map(|id| fs::read_dir(format!("/proc/{id}/task")).ok());
    folders.flatten().flatten().map(|thread| of_thread(&thread.path())).sum()
}
