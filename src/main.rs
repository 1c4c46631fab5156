//! The program. Its command line is in [`cli`], everything else in the rooms.

mod cli;
mod config;
mod daemon;
mod login;
mod memory;
mod oidc;
mod stores;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ox-protect: {error:#}");
            ExitCode::FAILURE
        }
    }
}
