//! How a name is shown to people.

use policy::{lists::index_key::prefix_of_name, name::NameRef};

/// A name, or the address or network that it stands for in the lists.
pub fn shown(name: NameRef<'_>) -> String {
    match prefix_of_name(name) {
        Some(network) if network.prefix_len() == network.max_prefix_len() => {
            network.addr().to_string()
        }
        Some(network) => network.to_string(),
        None => name.to_string(),
    }
}
