//! The memory of the node: how much it may take, what each part gets of it, and what happens when
//! it runs short.
//!
//! ```text
//! limit      control group, machine, or node.memory_mib
//!   │
//! budgets    what each part gets: caches, resolutions, connections, lists, households
//!   │
//! governor   once a second: what is used; caches shrink under pressure and grow again
//! ```

mod budgets;
mod governor;
mod limit;
mod pressure;

pub use self::{
    budgets::{API_CONNECTION_OCTETS, Budgets, KnownAtStart},
    governor::{Governed, run},
    limit::find,
};
