//! What `make test` installs by `tests/install.sh` changes nothing else on the machine of whom it
//! runs for. Debian's tools are played here by scripts that write down how they were called.

// A test that cannot go on says so by failing.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    process::Command,
};

use tempfile::TempDir;

/// Of Debian's own tools those that the script needs and that are harmless.
const TOOLS: [&str; 9] = [
    "bash", "cat", "chmod", "env", "grep", "id", "mv", "rm", "tee",
];

/// A Debian machine on which `nsd` is installed; `knot` and `unbound` can be.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        fs::create_dir(machine.path("bin")).unwrap();
        for tool in TOOLS {
            let found = ["/usr/bin", "/bin"]
                .map(|folder| PathBuf::from(folder).join(tool))
                .into_iter()
                .find(|path| path.exists());
            symlink(found.unwrap(), machine.path("bin").join(tool)).unwrap();
        }
        machine.plays("sudo", "exec \"$@\"");
        for tool in ["systemctl", "update-rc.d", "find"] {
            machine.plays(tool, &format!("echo {tool} \"$@\" >>\"$SAID\""));
        }
        machine.plays(
            "apt-get",
            "echo apt-get \"$@\" >>\"$SAID\"; bash \"$POLICY_RC_D\"; echo policy says $? >>\"$SAID\"; [ \"$1\" = update ] || exit $APT_FAILS",
        );
        machine.plays("dpkg-query", "[ \"${@: -1}\" = nsd ] && echo -n installed");
        machine
            .plays("dpkg", "printf '%s\\n' /. /lib/systemd/system/$2.service /lib/systemd/system/$2@.service /etc/init.d/$2 /usr/sbin/$2");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn plays(&self, tool: &str, script: &str) {
        let path = self.path("bin").join(tool);
        fs::write(
            &path,
            format!("#!{}\n{script}\n", self.path("bin").join("bash").display()),
        )
        .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The file that says what may be started.
    fn policy(&self) -> Option<String> {
        fs::read_to_string(self.path("policy-rc.d")).ok()
    }

    /// Installs packages, and returns the exit code and what was called.
    fn installs(&self, packages: &[&str], fails: &str) -> (Option<i32>, String) {
        let mut command = Command::new(self.path("bin").join("bash"));
        command
            .arg("tests/install.sh")
            .args(packages)
            .env("PATH", self.path("bin"))
            .env("SAID", self.path("said"));
        let done = command
            .env("POLICY_RC_D", self.path("policy-rc.d"))
            .env("APT_FAILS", fails)
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(complaint.is_empty(), "{complaint}");
        let said = fs::read_to_string(self.path("said")).unwrap();
        fs::remove_file(self.path("said")).unwrap();
        (done.status.code(), said)
    }
}

#[test]
fn a_server_that_the_tests_install_does_not_start_with_the_machine() {
    let machine = Machine::new();
    let (code, said) = machine.installs(&["knot", "nsd", "unbound"], "0");
    assert_eq!(code, Some(0));
    for server in ["knot", "unbound"] {
        for told in [
            format!("systemctl disable --quiet {server}.service\n"),
            format!("update-rc.d {server} disable\n"),
        ] {
            assert!(said.contains(&told), "{told:?} is not in\n{said}");
        }
    }
    assert!(
        !said.contains("nsd.service") && !said.contains("update-rc.d nsd"),
        "it was there before: {said}"
    );
    assert!(!said.contains('@'), "a template starts nothing: {said}");
}

#[test]
fn without_systemd_a_servers_links_go_all_the_same() {
    let machine = Machine::new();
    fs::remove_file(machine.path("bin").join("systemctl")).unwrap();
    let (code, said) = machine.installs(&["knot"], "0");
    assert_eq!(code, Some(0));
    assert!(said.contains("find /etc/systemd/system -path *.wants/knot.service -delete\nupdate-rc.d knot disable\n"), "{said}");
}

#[test]
fn a_server_is_disabled_also_where_the_installation_fails() {
    let machine = Machine::new();
    let (code, said) = machine.installs(&["knot"], "100");
    assert_eq!(code, Some(100));
    assert!(
        said.contains("systemctl disable --quiet knot.service"),
        "{said}"
    );
    assert_eq!(machine.policy(), None);
}

#[test]
fn nothing_starts_while_tests_install_and_the_machines_own_policy_is_back() {
    for before in [None, Some("exit 0\n")] {
        let machine = Machine::new();
        if let Some(policy) = before {
            fs::write(machine.path("policy-rc.d"), policy).unwrap();
        }
        let (_, said) = machine.installs(&["knot"], "0");
        assert!(
            said.contains("install -y -q --no-install-recommends knot\npolicy says 101\n"),
            "{said}"
        );
        assert_eq!(machine.policy().as_deref(), before);
        assert!(!machine.path("policy-rc.d.before-tests").exists());
    }
}

#[test]
fn a_policy_that_a_killed_installation_left_is_put_back() {
    let machine = Machine::new();
    fs::write(
        machine.path("policy-rc.d"),
        "#!/bin/sh\n# from tests/install.sh\nexit 101\n",
    )
    .unwrap();
    machine.installs(&["knot"], "0");
    assert_eq!(machine.policy(), None);
    fs::write(
        machine.path("policy-rc.d"),
        "#!/bin/sh\n# from tests/install.sh\nexit 101\n",
    )
    .unwrap();
    fs::write(machine.path("policy-rc.d.before-tests"), "exit 0\n").unwrap();
    machine.installs(&["knot"], "0");
    assert_eq!(machine.policy().as_deref(), Some("exit 0\n"));
}
