//! How much memory the node may take: `node.memory_mib`, the limit of its control group, or a share
//! of the machine's memory; and how much is in use. All of it is read from files of the kernel.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// Of a control group's limit, in eighths: sockets, the page cache and the programs that build lists
/// count there as well.
const GROUP_EIGHTHS: u64 = 7;
/// Of the machine's memory, where no control group limits the node: a half, and no more than this.
/// A larger answer cache saves few further queries.
const MACHINE_DIVISOR: u64 = 2;
const MACHINE_OCTETS_MAX: u64 = 4 << 30;
/// Without a limit a control group of version 1 shows the largest number of pages.
const UNLIMITED_FROM: u64 = 1 << 60;
/// Where nothing can be read, in octets.
const UNKNOWN_OCTETS: u64 = 512 << 20;

/// What the node may take, and what it is compared with.
#[derive(Debug)]
pub struct MemoryLimit {
    /// For the whole process, in octets.
    pub octets: u64,
    pub source: LimitSource,
    /// The control group with the lowest limit, if there is one.
    pub group: Option<ControlGroup>,
}

/// Where the limit comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitSource {
    Configured,
    ControlGroup,
    Machine,
}

impl fmt::Display for LimitSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configured => "node.memory_mib",
            Self::ControlGroup => "the limit of the control group",
            Self::Machine => "the memory of the machine",
        })
    }
}

/// A control group with a limit on memory.
#[derive(Debug, PartialEq, Eq)]
pub struct ControlGroup {
    folder: PathBuf,
    hierarchy: Hierarchy,
    /// In octets.
    pub limit: u64,
}

/// The two versions of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hierarchy {
    V1,
    V2,
}

/// Finds the limit. `configured_mib` is `node.memory_mib`; 0 stands for none.
pub fn find(configured_mib: u64) -> MemoryLimit {
    find_below(Path::new("/"), configured_mib)
}

fn find_below(root: &Path, configured_mib: u64) -> MemoryLimit {
    let machine = machine(root);
    let group = ControlGroup::of_process(root)
        .filter(|group| machine.is_none_or(|machine| group.limit < machine));
    let (octets, source) = match (&group, configured_mib) {
        (Some(group), 0) => (group.limit / 8 * GROUP_EIGHTHS, LimitSource::ControlGroup),
        (None, 0) => {
            let share = machine.map_or(UNKNOWN_OCTETS, |machine| machine / MACHINE_DIVISOR);
            (share.min(MACHINE_OCTETS_MAX), LimitSource::Machine)
        }
        (_, mib) => (mib << 20, LimitSource::Configured),
    };
    MemoryLimit {
        octets,
        source,
        group,
    }
}

/// The machine's memory, in octets.
fn machine(root: &Path) -> Option<u64> {
    field(&root.join("proc/meminfo"), "MemTotal:").map(|kib| kib << 10)
}

/// What the process has in memory that the kernel cannot drop, in octets.
pub fn process() -> Option<u64> {
    let status = Path::new("/proc/self/status");
    Some((field(status, "RssAnon:")? + field(status, "RssShmem:")?) << 10)
}

/// The number behind a word at the beginning of a line.
fn field(file: &Path, word: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let mut lines = text.lines();
    lines.find_map(|line| {
        line.strip_prefix(word)?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    })
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

impl ControlGroup {
    /// The one with the lowest limit, of the process's own group and those above it.
    fn of_process(root: &Path) -> Option<Self> {
        let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
        let found = groups.lines().flat_map(|line| Self::of_line(root, line));
        found.min_by_key(|group| group.limit)
    }

    /// The groups with a limit that a line of `/proc/self/cgroup` names:
    /// `hierarchy:controllers:path` (`cgroups(7)`).
    fn of_line(root: &Path, line: &str) -> Vec<Self> {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            return Vec::new();
        };
        let mounts: &[(&str, Hierarchy)] = if controllers.is_empty() {
            &[
                ("sys/fs/cgroup", Hierarchy::V2),
                ("sys/fs/cgroup/unified", Hierarchy::V2),
            ]
        } else if controllers.split(',').any(|name| name == "memory") {
            &[("sys/fs/cgroup/memory", Hierarchy::V1)]
        } else {
            &[]
        };
        // In a container the path may be that of the host, and the mount the group itself.
        let above = Path::new(path.trim_start_matches('/')).ancestors();
        let folders = above.flat_map(|path| {
            mounts
                .iter()
                .map(move |(mount, hierarchy)| (root.join(mount).join(path), *hierarchy))
        });
        folders
            .filter_map(|(folder, hierarchy)| Self::at(folder, hierarchy))
            .collect()
    }

    fn at(folder: PathBuf, hierarchy: Hierarchy) -> Option<Self> {
        let files: &[&str] = match hierarchy {
            Hierarchy::V1 => &["memory.limit_in_bytes"],
            Hierarchy::V2 => &["memory.max", "memory.high"],
        };
        let limits = files.iter().filter_map(|file| number(&folder.join(file)));
        let limit = limits.filter(|limit| *limit < UNLIMITED_FROM).min()?;
        Some(Self {
            folder,
            hierarchy,
            limit,
        })
    }

    /// What the group has in memory that the kernel cannot drop, in octets.
    pub fn used(&self) -> Option<u64> {
        let stat = self.folder.join("memory.stat");
        let (file, dropped) = match self.hierarchy {
            Hierarchy::V1 => (
                "memory.usage_in_bytes",
                ["total_inactive_file ", "total_active_file "],
            ),
            Hierarchy::V2 => ("memory.current", ["inactive_file ", "active_file "]),
        };
        let pages: u64 = dropped.iter().filter_map(|word| field(&stat, word)).sum();
        Some(number(&self.folder.join(file))?.saturating_sub(pages))
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A machine of 8 GiB with these files.
    fn machine_with(files: &[(&str, &str)]) -> TempDir {
        let root = TempDir::new().unwrap();
        let meminfo = ("proc/meminfo", "MemTotal:  8388608 kB\nMemFree: 1 kB\n");
        for (file, text) in files.iter().chain([&meminfo]) {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn found(files: &[(&str, &str)], configured_mib: u64) -> (u64, LimitSource) {
        let limit = find_below(machine_with(files).path(), configured_mib);
        (limit.octets >> 20, limit.source)
    }

    #[test]
    fn the_limit_is_configured_or_of_the_group_or_of_the_machine() {
        use LimitSource::{Configured, ControlGroup, Machine};
        let own = ("proc/self/cgroup", "0::/a.slice/b.service\n");
        let own_limit = ("sys/fs/cgroup/a.slice/b.service/memory.max", "536870912\n");
        assert_eq!(found(&[], 0), (4_096, Machine));
        assert_eq!(found(&[], 300), (300, Configured));
        assert_eq!(found(&[own], 0), (4_096, Machine), "a group without files");
        assert_eq!(found(&[own, own_limit], 0), (448, ControlGroup));
        assert_eq!(found(&[own, own_limit], 300), (300, Configured));
        let unlimited = ("sys/fs/cgroup/a.slice/b.service/memory.max", "max\n");
        assert_eq!(found(&[own, unlimited], 0), (4_096, Machine));
        let above = ("sys/fs/cgroup/a.slice/memory.max", "268435456\n");
        assert_eq!(found(&[own, own_limit, above], 0), (224, ControlGroup));
        let high = ("sys/fs/cgroup/a.slice/b.service/memory.high", "268435456\n");
        assert_eq!(found(&[own, own_limit, high], 0), (224, ControlGroup));
        let vast = ("sys/fs/cgroup/a.slice/memory.max", "99999999999999\n");
        assert_eq!(found(&[own, vast], 0), (4_096, Machine));
    }

    #[test]
    fn groups_of_version_1_and_of_containers_are_found() {
        use LimitSource::{ControlGroup, Machine};
        let own = ("proc/self/cgroup", "5:cpu:/x\n4:memory:/docker/abc\n0::/\n");
        let unlimited = (
            "sys/fs/cgroup/memory/memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        assert_eq!(found(&[own, unlimited], 0), (4_096, Machine));
        let inside = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n");
        assert_eq!(found(&[own, inside], 0), (224, ControlGroup));
        let other = ("sys/fs/cgroup/cpu/x/memory.limit_in_bytes", "1024\n");
        assert_eq!(found(&[own, unlimited, other], 0), (4_096, Machine));
        let unified = ("sys/fs/cgroup/unified/memory.max", "268435456\n");
        assert_eq!(found(&[own, unified], 0), (224, ControlGroup));
    }

    #[test]
    fn what_the_kernel_can_drop_is_not_used() {
        let used = |files: &[(&str, &str)]| {
            let root = machine_with(files);
            let group = ControlGroup::of_process(root.path()).unwrap();
            group.used()
        };
        let v2 = [
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "1000000\n"),
            ("sys/fs/cgroup/memory.current", "900000\n"),
            (
                "sys/fs/cgroup/memory.stat",
                "anon 1\nfile 5\ninactive_file 300000\nactive_file 100000\n",
            ),
        ];
        assert_eq!(used(&v2), Some(500_000));
        let v1 = [
            ("proc/self/cgroup", "4:memory:/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "900000\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "inactive_file 9\ntotal_inactive_file 300000\ntotal_active_file 1\n",
            ),
        ];
        assert_eq!(used(&v1), Some(599_999));
        assert_eq!(used(&v2[..2]), None, "nothing is known");
        assert!(process().is_some_and(|octets| octets > 1 << 16));
    }
}
