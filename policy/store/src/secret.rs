//! Random identifiers and secrets.

use std::io;

use crate::{audit::hexadecimal, error::StoreError};

/// Random octets, in hexadecimal.
pub(crate) fn random_hex(octets: usize) -> Result<String, StoreError> {
    let mut random = vec![0; octets];
    getrandom::fill(&mut random)
        .map_err(|error| StoreError::Random(io::Error::other(error.to_string())))?;
    Ok(hexadecimal(&random))
}
