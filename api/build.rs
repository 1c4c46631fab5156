//! Embeds the files of the parents' app: those of `app/dist/`, which `make app` builds, or without
//! them a page that says so.
//!
//! Cargo looks for changes in the folder that was embedded. `make app` touches this file, so that
//! the first build of the app is noticed, too.

use std::{env, fs, io, path::Path};

fn main() -> io::Result<()> {
    let built = Path::new("app/dist");
    let folder = match built.join("index.html").is_file() {
        true => built,
        false => Path::new("unbuilt"),
    };
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", folder.display());
    let out = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    let out = Path::new(&out);
    // The library's own function for this prints each file as a warning of Cargo.
    let files = memory_serve::assets_to_code("app", &fs::canonicalize(folder)?, out, true, |_| {});
    let files = files.replace("memory_serve::Asset", "Asset");
    let all = format!("&[(\"app\", {files})]");
    fs::write(out.join("memory_serve_assets.rs"), all)
}
