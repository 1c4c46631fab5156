//! Memory and CPU time of a process, from Linux' `/proc`.

use std::{fs, time::Duration};

/// Clock ticks a second in `/proc/PID/stat`: `USER_HZ`, 100 on every architecture that Rust
/// supports.
const TICKS_PER_SECOND: u32 = 100;

/// Memory and CPU time of a process at one moment.
#[derive(Clone, Copy, Debug)]
pub struct ResourceUsage {
    /// Resident memory (`VmRSS`), in bytes.
    pub resident: u64,
    /// Peak resident memory (`VmHWM`), in bytes.
    pub peak: u64,
    /// CPU time of all threads, user and system.
    pub cpu: Duration,
}

impl ResourceUsage {
    /// Reads `/proc`; fails the test if the process has ended.
    pub(super) fn of(process: u32) -> Self {
        let read = |file: &str| {
            fs::read_to_string(format!("/proc/{process}/{file}"))
                .unwrap_or_else(|error| panic!("process {process}: {error}"))
        };
        let status = read("status");
        let kilobytes = |key: &str| -> u64 {
            let value = status.lines().find_map(|line| {
                line.strip_prefix(key)?
                    .split_whitespace()
                    .next()?
                    .parse()
                    .ok()
            });
            value.unwrap_or_else(|| panic!("no {key} for process {process}"))
        };
        let stat = read("stat");
        // The second field is the command's name, which may have spaces; the fields after its
        // parenthesis are counted.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        // utime and stime: fields 14 and 15 of proc_pid_stat(5), 11 and 12 after the name.
        let ticks: u32 = fields[11..13]
            .iter()
            .map(|field| field.parse::<u32>().expect("ticks are a number"))
            .sum();
        Self {
            resident: kilobytes("VmRSS:") * 1024,
            peak: kilobytes("VmHWM:") * 1024,
            cpu: Duration::from_secs(1) * ticks / TICKS_PER_SECOND,
        }
    }
}
