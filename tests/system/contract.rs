//! schemathesis compares the OpenAPI document with the running program: what the document allows is
//! answered accordingly, what it forbids is refused, and no request ends in a 5xx.

use std::{path::Path, process::Command};

use crate::world::{Switch::*, World, seed};
use serde_json::json;

/// Requests of each kind for each operation; `CONTRACT_EXAMPLES=100` raises the number.
const EXAMPLES: &str = "6";

#[tokio::test(flavor = "multi_thread")]
async fn the_running_program_is_what_its_openapi_document_says() {
    let program =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/schemathesis/bin/schemathesis");
    assert!(
        program.exists(),
        "there is no {}: run tests/python.sh, as `make tools/tests` does",
        program.display()
    );
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .listing("gambling", "bets.example")
        .config("[api]\nfailed_per_s = 0\n")
        .start()
        .await;
    world
        .device("home", "phone", ("address", "127.0.7.9"))
        .await;
    world
        .api
        .put("/v1/households/home/people/emma", json!({}))
        .await
        .ok();
    world.toggle("home", "gambling", Block).await;
    let examples = std::env::var("CONTRACT_EXAMPLES").unwrap_or_else(|_| EXAMPLES.to_owned());
    let mut command = Command::new(program);
    command
        .args([
            "--config-file",
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemathesis.toml"),
        ])
        .args([
            "run",
            &format!("http://{}/openapi.json", world.daemon.addresses().api()),
        ])
        .args([
            "--header",
            &format!("Authorization: Bearer {}", world.daemon.key()),
        ])
        // An event stream is endless; other tests read it.
        .args(["--exclude-path-regex", "/events$"])
        .args([
            "--checks",
            "all",
            "--phases",
            "examples,coverage,fuzzing",
            "--continue-on-failure",
            "--warnings",
            "off",
        ])
        .args([
            "--max-examples",
            &examples,
            "--seed",
            &seed().to_string(),
            "--workers",
            "2",
            "--no-color",
        ])
        .current_dir(world.folder());
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .expect("schemathesis was installed");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("Test cases:"), "{said}");
    println!(
        "{}",
        &said[said.find("API Operations:").unwrap_or_default()..]
    );
}
