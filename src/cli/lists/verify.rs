//! `ox-protect lists verify`: checks artefacts from the first octet to the last.

use std::{path::PathBuf, process::ExitCode};

use anyhow::bail;
use blocklist_loader::newest;
use control::causes;
use policy::lists::{blocklist::Blocklist, delta::Delta};

use crate::config::Checked;

pub fn run(checked: &Checked, files: Vec<PathBuf>) -> anyhow::Result<ExitCode> {
    let files = match files.is_empty() {
        true => newest(&checked.config.lists.directory)?
            .into_iter()
            .map(|artefact| artefact.path)
            .collect(),
        false => files,
    };
    if files.is_empty() {
        bail!("there is no artefact to verify");
    }
    let mut code = ExitCode::SUCCESS;
    for file in &files {
        let verified = match file.extension().is_some_and(|extension| extension == "oxd") {
            true => Delta::read(file).map(|delta| (delta.header, delta.sha256)),
            false => Blocklist::open(file, &checked.taxonomy)
                .map(|lists| (lists.header().clone(), lists.sha256().to_string())),
        };
        match verified {
            Ok((header, sha256)) => {
                println!(
                    "{}: ok, generation {}, {} names, sha256 {sha256}",
                    file.display(),
                    header.generation,
                    header.names
                );
            }
            Err(error) => {
                eprintln!("{}", causes(&error));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
