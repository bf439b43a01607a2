//! Proves a plugin before it is deployed: generated, recorded and hostile events go through the real
//! sandbox, with no journal and no socket. `relevo plugin check` and `relevo plugin bench` call it.

mod check;
mod generate;
mod hostile;
mod lane;
mod learn;
mod measure;
mod migrate;
mod repeat;
mod report;
mod rows;
mod samples;

pub use check::{Options, as_asked, prove};
pub use measure::{Measured, measure};
pub use report::{Check, Outcome, Report};
pub use samples::{SampleError, Samples};
