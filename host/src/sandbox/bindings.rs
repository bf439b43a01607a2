//! What the contract `wit/relevo.wit` looks like in Rust, contract version 0.1.
//!
//! One world with all roles, so that they share their types. A breaking contract version gets a
//! frozen module beside this one.

wasmtime::component::bindgen!({
    path: "../wit",
    inline: "
        package relevo:host;
        world every-role {
            include relevo:plugin/imports@0.1.0;
            export relevo:plugin/lifecycle@0.1.0;
            export relevo:plugin/enrich@0.1.0;
            export relevo:plugin/route@0.1.0;
            export relevo:plugin/aggregate@0.1.0;
            export relevo:plugin/migration@0.1.0;
        }
    ",
    world: "relevo:host/every-role",
    imports: { default: trappable },
});

pub(super) use exports::relevo::plugin::{aggregate, enrich, lifecycle, migration, route};
pub(super) use relevo::plugin::{log, lookup, metrics, state, types};
