//! How an error is written into logs and answers.

use std::error::Error;

/// An error and its causes, from the outermost to the innermost, separated by colons.
pub fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
