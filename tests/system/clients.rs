//! Clients that others generate from the OpenAPI document: a TypeScript one and a Python one. Both
//! are generated and compiled here, as the developer of an app would.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::world::World;

/// What an app does with the TypeScript client. The compiler checks paths, bodies and answers.
const APP: &str = r#"
import createClient from "openapi-fetch";
import type { paths } from "./schema";

const client = createClient<paths>({ baseUrl: "http://127.0.0.1:8080" });

export async function version(): Promise<number> {
  const { data, error } = await client.PUT("/v1/households/{id}/categories/{slug}", {
    params: { path: { id: "home", slug: "gambling" } },
    body: { state: "block" },
  });
  if (error) throw new Error(error.code);
  return data.version;
}

export async function timeZone(): Promise<string | null | undefined> {
  const { data } = await client.GET("/v1/households/{id}", { params: { path: { id: "home" } } });
  return data?.time_zone;
}
"#;

/// A tool that `make tools` installs below `target/`.
fn tool(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target")
        .join(path);
    assert!(
        path.exists(),
        "there is no {}: run make tools",
        path.display()
    );
    path
}

/// Runs a tool to its end. It must not complain.
fn run(command: &mut Command) -> String {
    let output = command.output().expect("the tool starts");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

/// The document of the running program, in a file.
async fn document() -> (World, PathBuf) {
    let world = World::with_zone("bets.example. 60 A 192.0.2.7")
        .start()
        .await;
    let url = format!("http://{}/openapi.json", world.daemon.addresses().api());
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    let file = world.folder().join("openapi.json");
    fs::write(&file, text).unwrap();
    (world, file)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typescript_client_compiles() {
    let (world, document) = document().await;
    // The compiler looks for packages upwards from the source.
    let folder = tempfile::tempdir_in(tool("clients")).unwrap();
    let schema = folder.path().join("schema.d.ts");
    run(
        Command::new(tool("clients/node_modules/.bin/openapi-typescript"))
            .arg(&document)
            .arg("--output")
            .arg(&schema),
    );
    fs::write(folder.path().join("app.ts"), APP).unwrap();
    run(Command::new(tool("clients/node_modules/.bin/tsc"))
        .args(["--noEmit", "--strict", "--target", "es2022"])
        .args(["--module", "esnext", "--moduleResolution", "bundler"])
        .arg(&schema)
        .arg(folder.path().join("app.ts")));
    drop(world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_compiles() {
    let (world, document) = document().await;
    let folder = world.folder().join("client");
    let configuration = world.folder().join("generator.yml");
    // Without the formatter, which changes nothing about what is generated.
    fs::write(&configuration, "post_hooks: []\n").unwrap();
    let said = run(
        Command::new(tool("openapi-python-client/bin/openapi-python-client"))
            .args(["generate", "--meta", "none", "--fail-on-warning"])
            .arg("--config")
            .arg(&configuration)
            .arg("--path")
            .arg(&document)
            .arg("--output-path")
            .arg(&folder),
    );
    let modules = "import importlib, pathlib, sys\n\
        sys.path.insert(0, '.')\n\
        files = sorted(pathlib.Path('client').rglob('*.py'))\n\
        for file in files:\n    \
            parts = [part for part in file.with_suffix('').parts if part != '__init__']\n    \
            importlib.import_module('.'.join(parts))\n\
        print(len(files), 'modules')\n";
    let imported = run(Command::new(tool("openapi-python-client/bin/python"))
        .args(["-c", modules])
        .current_dir(world.folder()));
    let count: usize = imported.split(' ').next().unwrap().parse().unwrap();
    assert!(count > 100, "only {imported} were generated: {said}");
}
