//! Runs plugins: wasmtime, its limits, and one file for each capability that a plugin may use.
